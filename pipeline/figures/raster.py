"""Raster of a population: neurons in a given order over time, with regions, and behaviour above.

Signals of any size can be drawn. The time range is processed in blocks of neurons, so that the signal is never
copied as a whole: (1) frames are averaged to the columns of the image, (2) each neuron is scaled, and (3) neighbours
in the order are averaged to the rows of the image.

Scaling is (x - p) / (q - p), clipped to 0..1, where p and q are percentiles of the neuron over the columns in view.
A neuron whose p and q are equal is scaled by its maximum instead; a silent neuron is 0; NaN stays blank.

A frame is drawn from its start until the next frame starts. If that is more than `MIN_GAP` seconds later, the frame
gets the median length and the rest is left blank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipeline.errors import ArgumentError
from pipeline.signals.scaling import scale_rows

from .behavior import checked_block, draw_block, draw_events, draw_wheel
from .style import (
    LEGEND_MAX,
    RC,
    UNKNOWN_COLOR,
    UNKNOWN_REGIONS,
    Y_LABEL_WIDTH,
    StyledFigure,
    beside_legend,
    distinct_region_colors,
    natural_key,
    new_figure,
    pooled_regions,
    set_legend,
    set_suptitle,
    style,
    wrapped,
)

MIN_GAP = 1.0  # s; frames further apart have a gap between them
REGION_ALPHA = 0.30  # opacity of the region colours behind the data
BLOCK_VALUES = 16_000_000  # values of the signal in memory at a time
RASTER_HEIGHTS = {None: 4.9, "single": 3.0, "double": 4.2}  # inches, by width of the figure
STRIP_WIDTHS = {None: 0.016, "single": 0.04, "double": 0.02}  # of strips at the right, relative to the raster
WHEEL_HEIGHT = 0.6  # inches
ROW_HEIGHT = 0.14  # inches of a row of events, and of the blocks

# On white this looks exactly like "gray_r", but where there is no activity the region colours show through.
TRANSPARENT_GREYS = LinearSegmentedColormap.from_list("gray_r_ink", [(0, 0, 0, 0), (0, 0, 0, 1)])


@dataclass(frozen=True)
class _TimeBins:
    """Frames grouped by pixel column.

    Frames ``first:last`` are divided at `starts` (K,), relative to `first`, into K bins. Image column c of C shows
    bin ``columns[c]``, or nothing if that is -1. `window` is (t0, t1) in s.
    """

    first: int
    last: int
    starts: np.ndarray
    columns: np.ndarray
    window: tuple[float, float]


@dataclass(frozen=True)
class _Regions:
    """G regions of the neurons.

    `names` (G,) in natural order, numbers of neurons `counts` (G,), hex `colors` (G,), and `rows` (R,), the index of
    the region of each image row.
    """

    names: list[str]
    counts: np.ndarray
    colors: list[str]
    rows: np.ndarray


def raster(
    signal: np.ndarray,
    frame_times: np.ndarray,
    *,
    order: np.ndarray | None = None,
    regions: np.ndarray | None = None,
    region_colors: Mapping[str, str] | None = None,
    wheel: tuple[np.ndarray, np.ndarray] | None = None,
    events: Mapping[str, np.ndarray] | None = None,
    block: tuple[np.ndarray, np.ndarray] | None = None,
    t_range: tuple[float, float] | None = None,
    bg: str | None = "regions",
    scale: tuple[float, float] | None = (20, 99),
    title: str | None = None,
    max_pixels: tuple[int, int] = (1600, 1200),
    width: str | None = None,
) -> StyledFigure:
    """Draw the activity of all neurons over a time range, the first neuron of the order at the top.

    Parameters
    ----------
    signal : (N, T) array
        Activity in any unit; may be a memory map. Values that are not finite are excluded from averages.
    frame_times : (T,) array
        Start of each frame in s, increasing. Gaps of more than 1 s are left blank, in the wheel's line too.
    order : (N,) int array, optional
        Permutation: row i shows neuron ``order[i]``. Default: as stored.
    regions, region_colors : (N,) array of str, mapping; optional
        Acronym of each neuron of `signal` (not of each row); hex colour of each acronym, grey if missing. Default
        colours: `distinct_region_colors`.
    wheel : ((M,), (M,)) arrays, optional
        Times in s and velocity in rad/s, drawn above the raster.
    events : mapping of str to (n,) array, optional
        Times in s by kind, such as "reward", drawn above the raster as one row of ticks per kind. If more than 160 of
        a kind are in view, shades show their number in 150 bins instead, the darkest being the maximum.
    block : ((n,), (n,)) arrays, optional
        Starts of trials in s, in order, and probability of a stimulus on the left, drawn as a strip above the raster.
    t_range : (float, float), optional
        Start and end in s, limited to the recording. Default: 60 s, starting a third into the recording.
    bg : {"regions", "firing_rate", None}
        Region colours behind the data, a strip with the mean of each row, or neither.
    scale : (float, float) or None
        Percentiles of each neuron that become 0 and 1 (see the module); None for no scaling.
    title, max_pixels : str or None, (int, int)
        Text above the figure; maximum number of columns and rows of the image.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        Its axes have the labels "raster", "block", "events", "wheel", "region strip", "mean strip", "mean colorbar".

    Raises
    ------
    ArgumentError
        A shape does not fit, an option is unknown, or no frame is in `t_range`.

    Examples
    --------
    >>> fig = raster(np.eye(2), [0.0, 0.2], order=[1, 0], t_range=(0, 0.4), max_pixels=(2, 2))
    >>> fig.axes[0].images[-1].get_array().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    times, rank = _check_arrays(signal, frame_times, order, wheel)
    _check_choices(bg, scale, max_pixels)
    bins = _bin_time(times, _window(times, t_range), max_pixels[0])
    edges = np.linspace(0, len(rank), min(len(rank), max_pixels[1]) + 1).astype(int)
    image = _reduce(signal, rank, bins, edges, scale)
    groups = None if regions is None else _group_regions(regions, rank, edges, region_colors)
    above = _above(wheel, events, block, bins.window, times)
    return _draw(image, bins, groups, above, bg, _Labels(title, len(rank), order is not None, scale), width)


@dataclass(frozen=True)
class _Strip:
    """A strip above the raster: its `height` in inches, and the function that draws it into an axes."""

    height: float
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class _Labels:
    """Values that appear in the texts of the figure."""

    title: str | None
    n_neurons: int
    is_sorted: bool
    scale: tuple[float, float] | None


def _check_choices(bg: str | None, scale: tuple[float, float] | None, max_pixels: tuple[int, int]) -> None:
    """Refuse options that are unknown or out of range."""
    if bg not in ("regions", "firing_rate", None):
        raise ArgumentError(f"bg must be 'regions', 'firing_rate' or None, not {bg!r}")
    if scale is not None and not 0 <= scale[0] < scale[1] <= 100:
        raise ArgumentError(f"scale must be two increasing percentiles from 0 to 100, or None, not {scale}")
    if min(max_pixels) < 1:
        raise ArgumentError(f"max_pixels (columns, rows) must be at least 1 each, not {max_pixels}")


def _check_arrays(signal: Any, frame_times: Any, order: Any, wheel: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return frame times (T,) and order (N,) as arrays, after checking that all shapes agree."""
    if signal.ndim != 2 or not signal.size:
        raise ArgumentError(f"signal must be (neurons, frames) and not empty, but its shape is {signal.shape}")
    n_neurons, n_frames = signal.shape
    times = np.asarray(frame_times, dtype=float)
    if times.shape != (n_frames,):
        raise ArgumentError(f"signal has {n_frames} frames but frame_times has shape {times.shape}")
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ArgumentError("frame_times must be finite and increase from each frame to the next")
    rank = np.arange(n_neurons) if order is None else np.asarray(order)
    if rank.shape != (n_neurons,):
        raise ArgumentError(f"signal has {n_neurons} neurons but order has shape {rank.shape}")
    if not np.array_equal(np.sort(rank), np.arange(n_neurons)):
        raise ArgumentError(f"order must hold each of 0..{n_neurons - 1} once")
    if wheel is not None and np.shape(wheel[0]) != np.shape(wheel[1]):
        raise ArgumentError(f"wheel has times of shape {np.shape(wheel[0])} but velocity of {np.shape(wheel[1])}")
    return times, rank


def _frame_ends(times: np.ndarray) -> np.ndarray:
    """Return the end (T,) of each frame in s: the start of the next, or one median step later before a gap."""
    steps = np.diff(times)
    # without the gaps, which are no length of a frame
    usual = steps[steps <= MIN_GAP]
    length = float(np.median(usual)) if usual.size else MIN_GAP
    ends: np.ndarray = times + np.append(np.where(steps > MIN_GAP, length, steps), length)
    return ends


def _window(times: np.ndarray, t_range: tuple[float, float] | None) -> tuple[float, float]:
    """Return the time range to draw in s, limited to the recording."""
    begin, end = float(times[0]), float(_frame_ends(times)[-1])
    if t_range is None:
        start = float(times[len(times) // 3])
        return start, min(start + 60.0, end)
    if len(t_range) != 2 or not t_range[0] < t_range[1]:
        raise ArgumentError(
            f"t_range must be two times in s, the smaller one first, not {t_range}; "
            f"the recording is from {begin:.3f} to {end:.3f} s"
        )
    if t_range[1] <= begin or t_range[0] >= end:
        raise ArgumentError(f"t_range {t_range} s holds no frame; the recording is from {begin:.3f} to {end:.3f} s")
    return max(float(t_range[0]), begin), min(float(t_range[1]), end)


def _bin_time(times: np.ndarray, window: tuple[float, float], n_columns: int) -> _TimeBins:
    """Assign to every image column the frames that start in it, or else the frame that is still going on."""
    edges = np.linspace(*window, n_columns + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    ends = _frame_ends(times)
    # A frame that starts at an edge must not be put into the column before by a rounding error.
    low, high = np.searchsorted(times, np.stack([edges[:-1], edges[1:]]) - 1e-6 * (edges[1] - edges[0]))
    # its activity lasts into the first column
    under_way = np.searchsorted(times, window[0], side="right") - 1  # frame that began before the window
    if under_way >= 0 and ends[under_way] > window[0]:
        low[0] = under_way
    own = high > low  # (C,) columns in which a frame starts
    if not own.any():
        before, after = max(high[0] - 1, 0), min(high[0], len(times) - 1)
        raise ArgumentError(
            f"t_range {window} s lies in a gap between frames, from {ends[before]:.3f} to "
            f"{times[after]:.3f} s; the recording is from {times[0]:.3f} to {ends[-1]:.3f} s"
        )
    starts = low[own]
    shown = np.searchsorted(times, centers, side="right") - 1  # (C,) frame at the centre of each column
    lasts = (shown >= starts[0]) & (centers < ends[shown])  # False in gaps
    held = np.searchsorted(starts, shown, side="right") - 1  # (C,) bin of that frame
    # a column shows the frames that start in it, or the one that lasts over it, or nothing (-1: a gap)
    columns = np.where(own, np.cumsum(own) - 1, np.where(lasts, held, -1))
    return _TimeBins(int(starts[0]), int(high[own][-1]), starts - starts[0], columns, window)


def _reduce(
    signal: np.ndarray,
    rank: np.ndarray,
    bins: _TimeBins,
    edges: np.ndarray,
    scale: tuple[float, float] | None,
) -> np.ndarray:
    """Return the image (R, C): row r is the mean of the scaled neurons ``rank[edges[r]:edges[r + 1]]``."""
    n_rows = len(edges) - 1
    means = np.empty((n_rows, len(bins.starts)), dtype=np.result_type(signal.dtype, np.float32))
    per_row = int(np.diff(edges).max()) * (bins.last - bins.first)
    step = max(1, BLOCK_VALUES // per_row)
    for top in range(0, n_rows, step):
        cut = edges[top : top + step + 1]
        block = np.asarray(signal[rank[cut[0] : cut[-1]], bins.first : bins.last], dtype=means.dtype)
        values = _mean_bins(block, bins.starts, axis=1)
        if scale is not None:
            # Scale before averaging neighbours: otherwise the brightest neuron would dominate its row.
            values = scale_rows(values, scale)
        means[top : top + step] = _mean_bins(values, cut[:-1] - cut[0], axis=0)
    image = means[:, bins.columns]
    image[:, bins.columns < 0] = np.nan
    return image


def _mean_bins(values: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    """Return means of the finite values between `starts` along an axis; NaN for a bin without any."""
    if len(starts) == values.shape[axis]:  # one value per bin
        return np.where(np.isfinite(values), values, np.nan)
    # first without a mask: most data do not need one
    sums = np.add.reduceat(values, starts, axis=axis)
    counts = np.expand_dims(np.diff(np.append(starts, values.shape[axis])), 1 - axis).astype(values.dtype)
    if not np.all(np.isfinite(sums)):
        good = np.isfinite(values)
        sums = np.add.reduceat(np.where(good, values, 0), starts, axis=axis)
        counts = np.add.reduceat(good, starts, axis=axis, dtype=values.dtype)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        means: np.ndarray = sums / counts
        return means


def _group_regions(regions: Any, rank: np.ndarray, edges: np.ndarray, colors: Mapping[str, str] | None) -> _Regions:
    """Return the regions, the rarest pooled as "other" if there are many, and the most frequent one of each row."""
    acronyms = np.asarray(regions).astype(str)
    if acronyms.shape != rank.shape:
        raise ArgumentError(f"signal has {len(rank)} neurons but regions has shape {acronyms.shape}")
    acronyms = pooled_regions(acronyms, LEGEND_MAX)
    labels = sorted(set(acronyms.tolist()), key=lambda name: (name in UNKNOWN_REGIONS, natural_key(name)))
    lookup = {name: code for code, name in enumerate(labels)}
    codes = np.array([lookup[name] for name in acronyms[rank].tolist()])
    row_of = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    votes = np.zeros((len(edges) - 1, len(labels)), dtype=int)
    np.add.at(votes, (row_of, codes), 1)
    palette = distinct_region_colors(labels) if colors is None else colors
    chosen = [palette.get(label, UNKNOWN_COLOR) for label in labels]
    return _Regions(labels, votes.sum(axis=0), chosen, votes.argmax(axis=1))


def _above(
    wheel: Any, events: Any, block: Any, window: tuple[float, float], frame_times: np.ndarray
) -> dict[str, _Strip]:
    """Return the strips above the raster by name, from top to bottom."""
    strips = {}
    if block is not None:
        strips["block"] = _Strip(ROW_HEIGHT, partial(draw_block, block=checked_block(block), window=window))
    if events:
        strips["events"] = _Strip(ROW_HEIGHT * len(events), partial(draw_events, events=events, window=window))
    if wheel is not None:
        strips["wheel"] = _Strip(WHEEL_HEIGHT, partial(draw_wheel, wheel=wheel, window=window, frame_times=frame_times))
    return strips


@style()
def _draw(
    image: np.ndarray,
    bins: _TimeBins,
    groups: _Regions | None,
    above: Mapping[str, _Strip],
    bg: str | None,
    labels: _Labels,
    width: str | None,
) -> StyledFigure:
    """Lay out the axes and draw into them."""
    heights = [*(strip.height for strip in above.values()), RASTER_HEIGHTS.get(width, 0.0)]
    fig = new_figure((10, sum(heights) + 0.7), width)  # refuses other widths
    names = ["raster"]
    names += ["region strip"] if groups is not None else []
    names += ["mean strip", "mean colorbar"] if bg == "firing_rate" else []
    # strips and colour bar, relative to the raster
    widths = [1.0 if name == "raster" else STRIP_WIDTHS[width] for name in names]
    grid = fig.add_gridspec(len(heights), len(names), width_ratios=widths, height_ratios=heights)
    axes = {name: fig.add_subplot(grid[-1, i], label=name) for i, name in enumerate(names)}
    main = axes["raster"]
    _draw_image(main, image, bins, groups if bg == "regions" else None, labels)
    if groups is not None:
        _draw_region_strip(axes["region strip"], groups, labels.n_neurons)
        _draw_legend(fig, groups)
    # after the legend, which would also part the strips from the raster
    fig.set_layout_engine("constrained", w_pad=0.02, h_pad=0.03, wspace=0.005, hspace=0.01)
    _explain_greys(fig, main, labels.scale)
    if bg == "firing_rate":
        _draw_mean_strip(axes["mean strip"], axes["mean colorbar"], image, labels)
    for row, (name, strip) in enumerate(above.items()):
        ax = fig.add_subplot(grid[row, 0], sharex=main, label=name)
        strip.draw(ax)
        ax.tick_params(labelbottom=False, bottom=name == "wheel")
    if labels.title:
        set_suptitle(fig, labels.title)
    return fig


def _limits(image: np.ndarray) -> tuple[float, float]:
    """Return colour limits: percentiles 1 and 99.5 of the displayed values, so that outliers do not set them."""
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(q) for q in np.percentile(values, (1, 99.5)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1)


def _draw_image(ax: Axes, image: np.ndarray, bins: _TimeBins, wash: _Regions | None, labels: _Labels) -> None:
    """Draw the data, over the region colours if `wash` is given."""
    low, high = _limits(image)
    extent = (*bins.window, labels.n_neurons - 0.5, -0.5)
    options: dict[str, Any] = {"extent": extent, "aspect": "auto", "origin": "upper"}
    if wash is not None:
        # bytes: an image of floats would take four times the memory
        rgba = np.empty((*image.shape, 4), dtype=np.uint8)
        rgba[..., :3] = _row_colors(wash)[:, None]
        is_blank = (bins.columns < 0) | np.isnan(image).all(axis=0)  # gaps, and frames without any value
        rgba[..., 3] = np.where(is_blank, 0, round(255 * REGION_ALPHA))
        ax.imshow(rgba, **options)
    ax.imshow(image, cmap=TRANSPARENT_GREYS if wash is not None else "gray_r", vmin=low, vmax=high, **options)
    ax.set_xlabel("time (s)")
    ax.set_ylabel(f"cell, {'sorted' if labels.is_sorted else 'as stored'} (n = {labels.n_neurons})")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _explain_greys(fig: StyledFigure, ax: Axes, scale: tuple[float, float] | None) -> None:
    """Say above the data, left of the legend, what white and black are."""
    low, high = ax.images[-1].get_clim()
    unit = "(signal)" if scale is None else "(each cell p{:g} to p{:g} = 0 to 1)".format(*scale)
    room, size = beside_legend(fig) - Y_LABEL_WIDTH, RC["legend.fontsize"]
    note = wrapped(f"white {low:.3g}, black {high:.3g} {unit}", room, size)
    ax.set_title(note, loc="right", fontsize=size, color="0.35")


def _row_colors(groups: _Regions) -> np.ndarray:
    """Return the colour (R, 3) uint8 of the region of each image row."""
    table = np.round([np.multiply(to_rgb(color), 255) for color in groups.colors]).astype(np.uint8)
    colors: np.ndarray = table[groups.rows]
    return colors


def _bare(ax: Axes) -> None:
    """Remove ticks and frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _draw_region_strip(ax: Axes, groups: _Regions, n_neurons: int) -> None:
    """Draw one opaque colour per image row, beside the data and aligned with it."""
    extent = (0, 1, n_neurons - 0.5, -0.5)
    ax.imshow(_row_colors(groups)[:, None], extent=extent, aspect="auto", origin="upper")
    _bare(ax)


def _draw_mean_strip(ax: Axes, bar: Axes, image: np.ndarray, labels: _Labels) -> None:
    """Draw the mean of each displayed row over time, and its colour bar."""
    good = np.isfinite(image)
    counts = good.sum(axis=1)
    sums = np.where(good, image, 0).sum(axis=1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)[:, None]
    extent = (0, 1, labels.n_neurons - 0.5, -0.5)
    mappable = ax.imshow(means, cmap="inferno", extent=extent, aspect="auto", origin="upper")
    _bare(ax)
    # Not called a firing rate: scaled activity has no unit.
    text = "mean of row" if labels.scale is None else "mean of row (scaled)"
    ax.figure.colorbar(mappable, cax=bar, label=text)


def _draw_legend(fig: StyledFigure, groups: _Regions) -> None:
    """Add a legend of regions with their numbers of neurons, outside the axes."""
    entries = zip(groups.names, groups.counts, groups.colors, strict=True)
    handles = [Patch(color=color, label=f"{name or 'unknown'} ({count})") for name, count, color in entries]
    options: Any = {"title": "region (cells)", "handlelength": 1, "handleheight": 1, "labelspacing": 0.35}
    if fig.is_narrow:
        set_legend(fig, handles, **options)
    else:
        fig.legend(handles=handles, loc="outside right upper", alignment="left", **options)

"""Raster of a population: neurons in a given order against time, with regions, and behaviour above.

Signals of any size can be drawn. Within the time range, and in blocks so that no copy of the signal is
made, (1) frames are averaged to the columns of the image, (2) each neuron is scaled, and (3) neighbours
in the order are averaged to the rows of the image.

Scaling is (x - p) / (q - p), cut to 0..1, with percentiles p and q of the neuron over the columns in view.
A neuron whose p and q are equal is scaled by its maximum instead; a flat neuron is 0; NaN stays blank.

A frame is drawn from its own time until the next frame starts. Where that is more than `GAP` seconds
away, the frame gets the usual length and the rest is left blank.
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
    UNKNOWN_COLOR,
    UNKNOWN_REGIONS,
    StyledFigure,
    distinct_region_colors,
    natural_key,
    pooled_regions,
    set_suptitle,
    style,
)

GAP = 1.0  # s; two frames further apart than this have a gap between them
WASH = 0.30  # opacity of the region colours behind the data
BLOCK = 16_000_000  # values of the signal held in memory at a time
HEIGHT, WHEEL, ROW = 4.9, 0.6, 0.14  # inches of the raster, of the wheel, and of a row of events or blocks

# On white this looks exactly like "gray_r"; unlike it, the region colours show through the silence.
INK = LinearSegmentedColormap.from_list("gray_r_ink", [(0, 0, 0, 0), (0, 0, 0, 1)])


@dataclass(frozen=True)
class _TimeBins:
    """Frames grouped by pixel column.

    Frames ``first:last`` are cut at `starts` (K,) (counted from `first`) into K bins; image column c
    shows bin ``columns[c]`` (C,), or nothing where that is -1. `window` is (t0, t1) in s.
    """

    first: int
    last: int
    starts: np.ndarray
    columns: np.ndarray
    window: tuple[float, float]


@dataclass(frozen=True)
class _Regions:
    """Regions of the neurons.

    `names` (G,) in natural order, `counts` (G,) of neurons, `colors` (G,), and the region `rows` (R,)
    of each image row as an index into them.
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
) -> StyledFigure:
    """Draw activity of all neurons over a time range, row 0 of the order at the top.

    Parameters
    ----------
    signal : (N, T) array
        Activity, any unit; may be a memory map. Values that are not finite are left out of averages.
    frame_times : (T,) array
        Start of each frame in s, increasing. Where the next is more than 1 s away, a blank is left.
    order : (N,) int array, optional
        Permutation: row i shows neuron ``order[i]``. Default: as stored.
    regions, region_colors : (N,) array of str, mapping; optional
        Acronym of each neuron of `signal` (not of each row); hex colours, where a missing one is grey. Default:
        `distinct_region_colors`.
    wheel : ((M,), (M,)) arrays, optional
        Times in s and velocity in rad/s, drawn on top.
    events : mapping of str to (n,) array, optional
        Times in s by kind, such as "reward": a row of ticks each, on top. More than 160 in view are counted instead,
        in 150 bins, and the darkest shade is the most.
    block : ((n,), (n,)) arrays, optional
        Starts of the trials in s, in order, and probability of a stimulus on the left: a strip on top.
    t_range : (float, float), optional
        Start and end in s, cut to the recording. Default: 60 s from the frame a third through.
    bg : {"regions", "firing_rate", None}
        Region colours behind the data, a strip with the mean of each row, or neither.
    scale : (float, float) or None
        Percentiles that become 0 and 1 in each neuron (see the module); None: no scaling.
    title, max_pixels : str or None, (int, int)
        Text above the figure; most columns and rows of the image.

    Returns
    -------
    StyledFigure
        Its axes have labels: "raster", "block", "events", "wheel", "region strip", "mean strip", "mean colorbar".

    Raises
    ------
    ArgumentError
        If an argument is not as above, or no frame lies in `t_range`.

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
    above = _above(wheel, events, block, bins.window)
    return _draw(image, bins, groups, above, bg, _Labels(title, len(rank), order is not None, scale))


@dataclass(frozen=True)
class _Strip:
    """What stands above the raster: its `height` in inches, and what draws it into an axes."""

    height: float
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class _Labels:
    """What the texts of the figure say."""

    title: str | None
    n_neurons: int
    is_sorted: bool
    scale: tuple[float, float] | None


def _check_choices(bg: str | None, scale: tuple[float, float] | None, max_pixels: tuple[int, int]) -> None:
    """Refuse options that are not understood."""
    if bg not in ("regions", "firing_rate", None):
        raise ArgumentError(f"bg is 'regions', 'firing_rate' or None, not {bg!r}")
    if scale is not None and not 0 <= scale[0] < scale[1] <= 100:
        raise ArgumentError(f"scale is two increasing percentiles in 0..100 or None, not {scale}")
    if min(max_pixels) < 1:
        raise ArgumentError(f"max_pixels (columns, rows) are at least 1 each, not {max_pixels}")


def _check_arrays(signal: Any, frame_times: Any, order: Any, wheel: Any) -> tuple[np.ndarray, np.ndarray]:
    """Frame times (T,) and order (N,) as arrays, once all shapes agree."""
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
        raise ArgumentError(f"wheel has times {np.shape(wheel[0])} but velocities {np.shape(wheel[1])}")
    return times, rank


def _frame_ends(times: np.ndarray) -> np.ndarray:
    """End (T,) of each frame in s: the next start, or one usual frame later where a gap follows."""
    steps = np.diff(times)
    usual = steps[steps <= GAP]
    length = float(np.median(usual)) if usual.size else GAP
    ends: np.ndarray = times + np.append(np.where(steps > GAP, length, steps), length)
    return ends


def _window(times: np.ndarray, t_range: tuple[float, float] | None) -> tuple[float, float]:
    """Range to draw in s, cut to the recording."""
    begin, end = float(times[0]), float(_frame_ends(times)[-1])
    if t_range is None:
        start = float(times[len(times) // 3])
        return start, min(start + 60.0, end)
    if len(t_range) != 2 or not t_range[0] < t_range[1]:
        raise ArgumentError(
            f"t_range is two times, the smaller one first, not {t_range}; the recording has {begin:.3f} to {end:.3f} s"
        )
    if t_range[1] <= begin or t_range[0] >= end:
        raise ArgumentError(f"t_range {t_range} s holds no frame; the recording has {begin:.3f} to {end:.3f} s")
    return max(float(t_range[0]), begin), min(float(t_range[1]), end)


def _bin_time(times: np.ndarray, window: tuple[float, float], n_columns: int) -> _TimeBins:
    """Give every image column the frames that start in it, or else the frame that lasts into it."""
    edges = np.linspace(*window, n_columns + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    ends = _frame_ends(times)
    # A frame that starts at an edge must not fall to its left by a rounding error.
    low, high = np.searchsorted(times, np.stack([edges[:-1], edges[1:]]) - 1e-6 * (edges[1] - edges[0]))
    under_way = np.searchsorted(times, window[0], side="right") - 1
    if under_way >= 0 and ends[under_way] > window[0]:
        low[0] = under_way
    own = high > low
    if not own.any():
        before, after = max(high[0] - 1, 0), min(high[0], len(times) - 1)
        raise ArgumentError(
            f"t_range {window} s lies in a gap between frames, from {ends[before]:.3f} to "
            f"{times[after]:.3f} s; the recording has {times[0]:.3f} to {ends[-1]:.3f} s"
        )
    starts = low[own]
    shown = np.searchsorted(times, centers, side="right") - 1
    lasts = (shown >= starts[0]) & (centers < ends[shown])
    held = np.searchsorted(starts, shown, side="right") - 1
    columns = np.where(own, np.cumsum(own) - 1, np.where(lasts, held, -1))
    return _TimeBins(int(starts[0]), int(high[own][-1]), starts - starts[0], columns, window)


def _reduce(
    signal: np.ndarray,
    rank: np.ndarray,
    bins: _TimeBins,
    edges: np.ndarray,
    scale: tuple[float, float] | None,
) -> np.ndarray:
    """Image (R, C): mean of the scaled neurons ``rank[edges[r]:edges[r + 1]]`` in each column."""
    n_rows = len(edges) - 1
    means = np.empty((n_rows, len(bins.starts)), dtype=np.result_type(signal.dtype, np.float32))
    per_row = int(np.diff(edges).max()) * (bins.last - bins.first)
    step = max(1, BLOCK // per_row)
    for top in range(0, n_rows, step):
        cut = edges[top : top + step + 1]
        block = np.asarray(signal[rank[cut[0] : cut[-1]], bins.first : bins.last], dtype=means.dtype)
        values = _mean_bins(block, bins.starts, axis=1)
        if scale is not None:
            # Before neighbours are averaged: else the brightest neuron would stand for all.
            values = scale_rows(values, scale)
        means[top : top + step] = _mean_bins(values, cut[:-1] - cut[0], axis=0)
    image = means[:, bins.columns]
    image[:, bins.columns < 0] = np.nan
    return image


def _mean_bins(values: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    """Means of finite values between `starts` along an axis; NaN where a bin has none."""
    if len(starts) == values.shape[axis]:
        return np.where(np.isfinite(values), values, np.nan)
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
    """Regions, with the rarest pooled as "other" if too many, and the commonest one of each row."""
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


def _above(wheel: Any, events: Any, block: Any, window: tuple[float, float]) -> dict[str, _Strip]:
    """Strips above the raster, from the top."""
    strips = {}
    if block is not None:
        strips["block"] = _Strip(ROW, partial(draw_block, block=checked_block(block), window=window))
    if events:
        strips["events"] = _Strip(ROW * len(events), partial(draw_events, events=events, window=window))
    if wheel is not None:
        strips["wheel"] = _Strip(WHEEL, partial(draw_wheel, wheel=wheel, window=window))
    return strips


@style()
def _draw(
    image: np.ndarray,
    bins: _TimeBins,
    groups: _Regions | None,
    above: Mapping[str, _Strip],
    bg: str | None,
    labels: _Labels,
) -> StyledFigure:
    """Lay out and fill the axes."""
    heights = [*(strip.height for strip in above.values()), HEIGHT]
    fig = StyledFigure(figsize=(10, sum(heights) + 0.7))
    fig.set_layout_engine("constrained", w_pad=0.02, h_pad=0.03, wspace=0.005, hspace=0.01)
    names = ["raster"]
    names += ["region strip"] if groups is not None else []
    names += ["mean strip", "mean colorbar"] if bg == "firing_rate" else []
    widths = [1.0 if name == "raster" else 0.016 for name in names]
    grid = fig.add_gridspec(len(heights), len(names), width_ratios=widths, height_ratios=heights)
    axes = {name: fig.add_subplot(grid[-1, i], label=name) for i, name in enumerate(names)}
    main = axes["raster"]
    _draw_image(main, image, bins, groups if bg == "regions" else None, labels)
    if groups is not None:
        _draw_region_strip(axes["region strip"], groups, labels.n_neurons)
        _draw_legend(fig, groups)
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
    """Colour limits that most of the displayed values use."""
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(q) for q in np.percentile(values, (1, 99.5)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1)


def _draw_image(ax: Axes, image: np.ndarray, bins: _TimeBins, wash: _Regions | None, labels: _Labels) -> None:
    """Draw the data, over the colours of the regions if these are given."""
    low, high = _limits(image)
    extent = (*bins.window, labels.n_neurons - 0.5, -0.5)
    options: dict[str, Any] = {"extent": extent, "aspect": "auto", "origin": "upper"}
    if wash is not None:
        rgba = np.empty((*image.shape, 4), dtype=np.uint8)
        rgba[..., :3] = _row_colors(wash)[:, None]
        rgba[..., 3] = np.where(bins.columns < 0, 0, round(255 * WASH))  # gaps stay blank
        ax.imshow(rgba, **options)
    ax.imshow(image, cmap=INK if wash is not None else "gray_r", vmin=low, vmax=high, **options)
    ax.set_xlabel("time (s)")
    ax.set_ylabel(f"cell, {'sorted' if labels.is_sorted else 'as stored'} (n = {labels.n_neurons})")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    unit = "(signal)" if labels.scale is None else "(each cell p{:g} to p{:g} = 0 to 1)".format(*labels.scale)
    ax.set_title(f"white {low:.3g}, black {high:.3g} {unit}", loc="right", fontsize=6.5, color="0.35")


def _row_colors(groups: _Regions) -> np.ndarray:
    """Colour (R, 3) uint8 of the region of each image row."""
    table = np.round([np.multiply(to_rgb(color), 255) for color in groups.colors]).astype(np.uint8)
    colors: np.ndarray = table[groups.rows]
    return colors


def _bare(ax: Axes) -> None:
    """No ticks and no frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _draw_region_strip(ax: Axes, groups: _Regions, n_neurons: int) -> None:
    """One opaque colour per image row, right beside the data and with the same rows."""
    extent = (0, 1, n_neurons - 0.5, -0.5)
    ax.imshow(_row_colors(groups)[:, None], extent=extent, aspect="auto", origin="upper")
    _bare(ax)


def _draw_mean_strip(ax: Axes, bar: Axes, image: np.ndarray, labels: _Labels) -> None:
    """Mean of each displayed row over time, and its colour bar."""
    good = np.isfinite(image)
    counts = good.sum(axis=1)
    sums = np.where(good, image, 0).sum(axis=1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)[:, None]
    extent = (0, 1, labels.n_neurons - 0.5, -0.5)
    mappable = ax.imshow(means, cmap="inferno", extent=extent, aspect="auto", origin="upper")
    _bare(ax)
    # Scaled activity has no rate: it is not called a firing rate.
    text = "mean of row" if labels.scale is None else "mean of row (scaled)"
    ax.figure.colorbar(mappable, cax=bar, label=text)


def _draw_legend(fig: StyledFigure, groups: _Regions) -> None:
    """Region and number of neurons, outside the axes."""
    entries = zip(groups.names, groups.counts, groups.colors, strict=True)
    handles = [Patch(color=color, label=f"{name or 'unknown'} ({count})") for name, count, color in entries]
    fig.legend(
        handles=handles,
        loc="outside right upper",
        title="region (cells)",
        alignment="left",
        handlelength=1,
        handleheight=1,
        labelspacing=0.35,
    )

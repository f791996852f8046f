"""Behaviour in strips above a raster, on the same time axis: blocks, trial events and wheel velocity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EventCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipeline.errors import ArgumentError
from pipeline.signals.clock import is_in_pause

from .style import LINE_COLORS, elided

#: Colours of P(left) from 0 to 1: orange and blue, which colour-blind readers can distinguish, grey at 0.5.
BLOCKS = LinearSegmentedColormap.from_list("blocks", [(0, "#d55e00"), (0.5, "#d9d9d9"), (1, "#0072b2")])
MAX_KEY_ENTRIES = 5  # probabilities in the key
MAX_TICKS = 160  # per row; more ticks would merge, so events are counted in bins instead
COUNT_BINS = 150  # bins of these counts, over the time range
ROW_MARGIN = 0.16  # fraction of a row that is blank above and below its ticks


def checked_block(block: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return starts (n,) in s and probabilities (n,) of the trials that have both.

    Raises
    ------
    ArgumentError
        Shapes differ, or starts decrease.

    Examples
    --------
    >>> checked_block(([0, 5, np.nan], [0.5, 0.8, 0.8]))
    (array([0., 5.]), array([0.5, 0.8]))
    """
    starts, probability = (np.asarray(values, dtype=float) for values in block)
    if starts.ndim != 1 or starts.shape != probability.shape:
        raise ArgumentError(
            f"block must have as many starts as probabilities, not shapes {starts.shape} and {probability.shape}"
        )
    known = np.isfinite(starts) & np.isfinite(probability)
    if np.any(np.diff(starts[known]) < 0):
        raise ArgumentError("the starts of trials in block must not decrease")
    return starts[known], probability[known]


def draw_block(ax: Axes, block: tuple[np.ndarray, np.ndarray], window: tuple[float, float]) -> None:
    """Draw the probability of a stimulus on the left as a strip, with a key above its right end.

    A trial lasts until the next one starts; the last one has the median length.

    Parameters
    ----------
    ax : Axes
    block : ((n,), (n,)) arrays
        Starts in s and probabilities, from `checked_block`.
    window : (float, float)
        Limits of the time axis in s.

    Examples
    --------
    >>> from .style import StyledFigure
    >>> ax = StyledFigure().add_subplot()
    >>> draw_block(ax, checked_block(([0, 5, 10], [0.5, 0.8, 0.8])), (0, 12))
    >>> [float(patch.get_width()) for patch in ax.patches]
    [5.0, 10.0]
    """
    starts, probability = block
    if starts.size:
        length = float(np.median(np.diff(starts))) if starts.size > 1 else max(window[1] - starts[0], 0)
        # first trial of each block; NaN differs from everything, so trial 0 is one
        first = np.flatnonzero(np.diff(probability, prepend=np.nan) != 0)
        edges = np.append(starts[first], starts[-1] + length)
        ax.bar(edges[:-1], 1, np.diff(edges), align="edge", color=BLOCKS(probability[first]), linewidth=0)
    values = np.unique(probability)
    values = values[:: -(-len(values) // MAX_KEY_ENTRIES) or 1]  # evenly thinned; a step of 1 if there are none
    handles = [Patch(color=BLOCKS(value), label=f"{value:g}") for value in values]
    _label_rows(ax, {0.5: "P(left)"}, 1)
    ax.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=MAX_KEY_ENTRIES, handlelength=1,
        handleheight=1, borderpad=0, borderaxespad=0.3, columnspacing=1,
    )  # fmt: skip
    ax.set_xlim(*window)


def draw_events(ax: Axes, events: Mapping[str, np.ndarray], window: tuple[float, float]) -> None:
    """Draw a row for each kind of event: one tick per event, or shades for their number where ticks would merge.

    Parameters
    ----------
    ax : Axes
    events : mapping of str to (n,) array
        Times in s by name, the first on top; times that are not finite are left out.
    window : (float, float)
        Limits of the time axis in s.

    Examples
    --------
    >>> from .style import StyledFigure
    >>> ax = StyledFigure().add_subplot()
    >>> draw_events(ax, {"stimulus on": np.array([1, 3, np.nan]), "reward": np.array([4, 90])}, (0, 60))
    >>> [len(row.get_positions()) for row in ax.collections]
    [2, 1]
    """
    inside = {name: _inside(np.asarray(times, dtype=float), window) for name, times in events.items()}
    crowded = [name for name, times in inside.items() if len(times) > MAX_TICKS]
    many = {name: np.histogram(inside[name], COUNT_BINS, window)[0] for name in crowded}
    most = max((int(counts.max()) for counts in many.values()), default=0)  # one scale for all rows
    for row, (name, times) in enumerate(inside.items()):
        color = LINE_COLORS[row % len(LINE_COLORS)]
        if name not in many:
            ax.add_collection(EventCollection(times, lineoffset=row + 0.5, linelength=1 - 2 * ROW_MARGIN, color=color,
                                              linewidth=1, label=name))  # fmt: skip
            continue
        cmap = LinearSegmentedColormap.from_list(name, ["white", color])
        extent = (*window, row + 1 - ROW_MARGIN, row + ROW_MARGIN)
        ax.imshow(many[name][None], cmap=cmap, vmin=0, vmax=most, aspect="auto", interpolation="nearest",
                  extent=extent, label=name)  # fmt: skip
    _label_rows(ax, {row + 0.5: elided(name, 16) for row, name in enumerate(events)}, len(events))
    if many:
        note = f"shades: from none to {most} in {(window[1] - window[0]) / COUNT_BINS:.2g} s"
        ax.set_xlabel(note, loc="right", fontsize=7, color="0.35", labelpad=1)
    ax.set_xlim(*window)


def draw_wheel(
    ax: Axes, wheel: tuple[np.ndarray, np.ndarray], window: tuple[float, float], frame_times: np.ndarray | None = None
) -> None:
    """Draw the velocity of the wheel.

    Parameters
    ----------
    ax : Axes
    wheel : ((M,), (M,)) arrays
        Times in s and velocity in rad/s.
    window : (float, float)
        Limits of the time axis in s.
    frame_times : (T,) array, optional
        Starts of frames in s: nothing is drawn while imaging pauses.

    Examples
    --------
    >>> from .style import StyledFigure
    >>> ax = StyledFigure().add_subplot()
    >>> draw_wheel(ax, ([0, 1, 2], [0, 3, 0]), (0, 1))
    >>> ax.lines[0].get_ydata().tolist()
    [0.0, 3.0]
    """
    times, velocity = (np.asarray(values, dtype=float) for values in wheel)
    if frame_times is not None:
        velocity = np.where(is_in_pause(times, frame_times), np.nan, velocity)
    # before the envelope, whose bins are for the part in view
    inside = (times >= window[0]) & (times <= window[1])
    ax.plot(*_envelope(times[inside], velocity[inside]), color="0.15", linewidth=0.6)
    ax.axhline(0, color="0.8", linewidth=0.5, zorder=0)
    ax.set_xlim(*window)
    ax.set_ylabel("wheel\n(rad/s)")
    ax.yaxis.set_major_locator(MaxNLocator(3))


def _inside(times: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    return np.sort(times[(times >= window[0]) & (times <= window[1])])


def _label_rows(ax: Axes, names: Mapping[float, str], n_rows: int) -> None:
    """Write the names of rows at the left, row 0 on top, without a frame."""
    ax.set_yticks(list(names), list(names.values()), fontsize=7)
    # downwards, so that row 0 is on top
    ax.set_ylim(n_rows, 0)
    ax.tick_params(left=False, pad=1)
    ax.spines[:].set_visible(False)


def _envelope(times: np.ndarray, values: np.ndarray, n_bins: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a long line (n,) to the minimum and maximum of each of `n_bins` bins: it looks the same, and is fast."""
    if len(times) <= 2 * n_bins:
        return times, values
    # bins of equal numbers of samples; reduceat goes from each start to the next
    starts = np.linspace(0, len(times), n_bins, endpoint=False).astype(int)
    # fmin and fmax leave NaN out, unless a bin has nothing else
    extremes = np.stack([np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)], axis=1)
    return np.repeat(times[starts], 2), extremes.ravel()

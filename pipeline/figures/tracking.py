"""Tracked cells over days: in which sessions they were found, how many sessions share, how many are found again.

All figures take `presence`, a bool array (cells, sessions) that is True where a cell was found in a session.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.errors import ArgumentError
from pipeline.tracking.subsets import best_subsets, checked_presence, subset_counts

from .style import (
    MAX_ROWS,
    StyledFigure,
    figure_inches,
    new_figure,
    session_colors,
    set_legend,
    set_suptitle,
    settle,
    style,
)

SIZE_GAP = 0.6  # extra space between bars of subsets of different size; bars are 1 apart
BAR_WIDTH = 0.11  # inches from one bar to the next in a figure of a journal's width: their upright numbers just fit
DIGIT_WIDTH = 0.075  # inches
SETS_WIDTH = 1.3  # inches left of the bars, for dates and the label of the axis
INK, PALE = "0.2", "0.88"  # greys of bars and filled dots, and of empty dots


def found_again(presence: np.ndarray, days: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each pair of sessions, the fraction of the earlier one's cells that are found in the later one.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    days : (sessions,) floats
        Day of each session, not decreasing.

    Returns
    -------
    earlier, later : (P,) int64
        Indices of the sessions of each pair.
    gap : (P,) float64
        Days between them.
    share : (P,) float64
        Fraction found again; NaN if the earlier session has no cells.

    Examples
    --------
    >>> presence = np.array([[1, 1], [1, 0], [0, 1], [1, 0]], dtype=bool)
    >>> found_again(presence, [0, 3])
    (array([0]), array([1]), array([3.]), array([0.33333333]))
    """
    presence, day = _checked(presence), np.asarray(days, dtype=float)
    if day.shape != presence.shape[1:] or not np.all(np.diff(day) >= 0):
        raise ArgumentError(f"days must be one per session ({presence.shape[1]}) in order of time, not {day.tolist()}")
    earlier, later = np.triu_indices(presence.shape[1], k=1)
    shared = presence.T.astype(float) @ presence  # (sessions, sessions) numbers of cells
    n_cells = np.diag(shared)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        share = shared[earlier, later] / n_cells[earlier]
    return earlier, later, day[later] - day[earlier], share


def presence_order(presence: np.ndarray) -> np.ndarray:
    """Return the order (cells,) int64 by falling number of sessions, then by sessions, so that equal rows are adjacent.

    Examples
    --------
    >>> presence_order(np.array([[0, 1], [1, 1], [1, 0]], dtype=bool)).tolist()
    [1, 2, 0]
    """
    presence = _checked(presence)
    # lexsort sorts by its last key first; ~, so that True comes before False
    return np.lexsort((*~presence.T[::-1], -presence.sum(axis=1)))


def presence_map(
    presence: np.ndarray, dates: Sequence[Any], *, title: str | None = None, width: str | None = None
) -> StyledFigure:
    """Draw which cell was found in which session, cells found in most sessions on top.

    Bars above give the number of cells per session, steps at the right the number of sessions per cell.
    More than 1200 cells are averaged to 1200 rows; greys are then fractions of cells.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    dates : (sessions,) sequence
        Date or name of each session, in order of time.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        Its axes have the labels "presence", "cells per session", "sessions per cell".

    Raises
    ------
    ArgumentError
        `presence` is not a bool matrix with at least one True, or `dates` does not have one value per session.

    Examples
    --------
    >>> fig = presence_map(np.array([[0, 1], [1, 1], [1, 0]], dtype=bool), ["2024-05-01", "2024-05-02"])
    >>> fig.axes[0].images[0].get_array().astype(int).tolist()
    [[1, 1], [1, 0], [0, 1]]
    """
    presence = _checked(presence, dates)
    n_cells, n_sessions = presence.shape
    rows = presence[presence_order(presence)]
    starts = np.linspace(0, n_cells, min(n_cells, MAX_ROWS), endpoint=False).astype(int)
    image = np.add.reduceat(rows, starts, axis=0, dtype=float) / np.diff(np.append(starts, n_cells))[:, None]
    with style():
        fig = new_figure((max(3.4, 0.34 * n_sessions + 2.4), 5.4), width)
        across = 0.34 * n_sessions + 1 if width is None else fig.get_figwidth() - 1
        grid = fig.add_gridspec(2, 2, width_ratios=[across, 1], height_ratios=[0.8, 4])
        main = fig.add_subplot(grid[1, 0], label="presence")
        extent = (-0.5, n_sessions - 0.5, n_cells - 0.5, -0.5)
        main.imshow(image, cmap="gray_r", vmin=0, vmax=1 / 0.85, aspect="auto", origin="upper", extent=extent,
                    interpolation="nearest")  # fmt: skip
        for edge in np.arange(n_sessions - 1) + 0.5:
            main.axvline(edge, color="white", linewidth=1)
        main.set_xticks(range(n_sessions), list(map(str, dates)), rotation=90)
        main.set_ylabel(f"tracked cell (n = {n_cells})")
        main.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        bars = fig.add_subplot(grid[0, 0], sharex=main, label="cells per session")
        fitting = int((fig.get_figwidth() - SETS_WIDTH - 1) / n_sessions / DIGIT_WIDTH)  # digits above a bar
        _draw_bars(bars, presence, dates, 99 if width is None else 10**fitting - 1)
        _draw_steps(fig.add_subplot(grid[1, 1], sharey=main, label="sessions per cell"), rows)
        if title:
            set_suptitle(fig, title)
        settle(fig)
    return fig


def shared_counts(
    presence: np.ndarray,
    dates: Sequence[Any],
    *,
    kind: str = "all",
    n_bars: int = 40,
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw how many cells subsets of the sessions share (an UpSet plot): a bar per subset, above dots of its sessions.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    dates : (sessions,) sequence
        Date or name of each session, in order of time.
    kind : {"all", "only"}
        "all" counts the cells found in all sessions of a subset, and perhaps in others. Small subsets share most
        cells, so the subsets with most cells are drawn *for each size*. "only" counts cells found in these sessions
        and no others, and draws the subsets with most cells.
    n_bars : int
        Maximum number of bars; with "all" there is at least one per size.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm, with as many bars as fit, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        Its axes have the labels "counts", "sessions".

    Raises
    ------
    ArgumentError
        As for `presence_map`, `n_bars` is below 1, or `kind` is unknown.

    Examples
    --------
    >>> presence = np.array([[1, 1], [1, 1], [1, 0]], dtype=bool)
    >>> fig = shared_counts(presence, ["2024-05-01", "2024-05-02"])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['3', '2', '2']
    """
    presence = _checked(presence, dates)
    if n_bars < 1:
        raise ArgumentError(f"n_bars must be at least 1, not {n_bars}")
    room = np.inf if width is None else figure_inches(width) - SETS_WIDTH
    n_bars = int(min(n_bars, room / BAR_WIDTH))
    if kind == "all":
        subsets, counts = best_subsets(presence, n_each=n_bars)
        chosen = _largest_of_each_size(subsets, n_bars)
    else:
        subsets, counts = subset_counts(presence, kind)
        chosen = np.arange(min(n_bars, len(counts)))
    subsets, counts = subsets[chosen], counts[chosen]
    n_sessions = presence.shape[1]
    with style():
        fig = new_figure((max(3.2, 0.17 * len(counts) + 1.6), 2.4 + 0.16 * n_sessions), width)
        grid = fig.add_gridspec(2, 1, height_ratios=[1.9, 0.16 * n_sessions])
        top = fig.add_subplot(grid[0], label="counts")
        places = np.arange(len(counts), dtype=float)
        if kind == "all":
            size = np.unique(subsets.sum(axis=1), return_inverse=True)[1]
            places += min(SIZE_GAP, max(room / BAR_WIDTH - len(counts), 0) / max(size.max(), 1)) * size
        _draw_counts(top, places, counts)
        top.set_ylabel("cells in all of\nthese sessions" if kind == "all" else "cells in these\nsessions only")
        _draw_sets(fig.add_subplot(grid[1], sharex=top, label="sessions"), places, subsets, dates)
        if title:
            set_suptitle(fig, title)
        settle(fig)
    return fig


def survival(
    presence: np.ndarray,
    dates: Sequence[Any],
    *,
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw the fraction of a session's cells that are found in later sessions, over the days between.

    Each dot is a pair of sessions, in the colour of the earlier one. The line is the fraction over all pairs with the
    same number of days between, weighted by the cells of the earlier session.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    dates : (sessions,) sequence
        Dates, or ISO strings, in order of time.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one axes; the line has the label "all pairs".

    Raises
    ------
    ArgumentError
        There are fewer than two sessions, dates are not in order of time, or as for `presence_map`.

    Examples
    --------
    >>> presence = np.array([[1, 1], [1, 0], [0, 1], [1, 0]], dtype=bool)
    >>> fig = survival(presence, ["2024-05-01", "2024-05-04"])
    >>> fig.axes[0].lines[-1].get_xydata().round(3).tolist()
    [[3.0, 0.333]]
    """
    presence = _checked(presence, dates)
    if len(dates) < 2:
        raise ArgumentError("survival needs two sessions or more, found one")
    days = [datetime.date.fromisoformat(str(date)[:10]).toordinal() for date in dates]
    earlier, _, gap, share = found_again(presence, days)
    # cells of the earlier session: with this weight the mean over pairs is a fraction of all these cells
    weight = presence.sum(axis=0)[earlier]
    with style():
        fig = new_figure((5.4, 2.9), width)
        ax = fig.add_subplot()
        colors = session_colors(list(dates))
        for session in range(len(dates) - 1):
            own = earlier == session
            ax.plot(gap[own], share[own], "o", color=colors[session], markersize=4, markeredgecolor="white",
                    markeredgewidth=0.5, zorder=3, clip_on=False, label=f"from {dates[session]}")  # fmt: skip
        gaps = np.unique(gap[weight > 0])
        pooled = [np.average(share[of], weights=weight[of]) for of in ((gap == g) & (weight > 0) for g in gaps)]
        ax.plot(gaps, pooled, color=INK, linewidth=1, marker="_", markersize=7, zorder=2, label="all pairs")
        ax.set(ylim=(0, 1), xlabel="days between two sessions", ylabel="cells of the earlier session\nfound again")
        ax.set_xlim(0 if gap.min() > 0 else -0.5, gap.max() + max(0.04 * gap.max(), 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        dot: Any = {"marker": "o", "linestyle": "none", "markersize": 4}
        set_legend(fig, [
            Line2D([], [], color=colors[0], label=f"from {dates[0]}", **dot),
            *([Line2D([], [], color=colors[-2], label=f"from {dates[-2]}", **dot)] if len(dates) > 2 else []),
            Line2D([], [], color=INK, linewidth=1, marker="_", markersize=7, label="all pairs"),
        ], title="two sessions")  # fmt: skip
        if title:
            set_suptitle(fig, title)
        settle(fig)
    return fig


def _checked(presence: Any, dates: Sequence[Any] | None = None) -> np.ndarray:
    """Return presence as a bool array after checking it and the number of dates."""
    found = checked_presence(presence)
    if dates is not None and len(dates) != found.shape[1]:
        raise ArgumentError(f"there are {found.shape[1]} sessions but {len(dates)} dates")
    return found


def _largest_of_each_size(subsets: np.ndarray, n_bars: int) -> np.ndarray:
    """Return indices of the largest subsets of each size, in order of size; those of a size are in falling order."""
    sizes = subsets.sum(axis=1)
    present = np.unique(sizes)
    of_size = {int(size): np.flatnonzero(sizes == size) for size in present}
    kept = dict.fromkeys(of_size, 1)
    # one bar for each size first, even if these are more than n_bars
    left = n_bars - len(kept)
    # the remaining bars go to each size in turn, until bars or subsets run out
    while left > 0 and any(kept[size] < len(of_size[size]) for size in kept):
        for size in kept:
            if left > 0 and kept[size] < len(of_size[size]):
                kept[size] += 1
                left -= 1
    return np.concatenate([of_size[size][: kept[size]] for size in of_size])


def _draw_bars(ax: Axes, presence: np.ndarray, dates: Sequence[Any], most_level: int) -> None:
    """Draw the number of cells of each session, in the colours of the sessions; upright if one is above a limit."""
    counts = presence.sum(axis=0)
    bars = ax.bar(range(len(counts)), counts, width=0.8, color=session_colors(list(range(len(dates)))))
    ax.bar_label(bars, fontsize=7, rotation=90 if counts.max() > most_level else 0, padding=2)
    ax.set_ylabel("cells")
    ax.margins(y=0.35)
    ax.tick_params(labelbottom=False, bottom=False)
    ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))


def _draw_steps(ax: Axes, rows: np.ndarray) -> None:
    """Draw the number of sessions of each row as filled steps beside the image, with the number of rows of each."""
    sessions = rows.sum(axis=1)
    edges = np.arange(len(rows) + 1) - 0.5
    ax.stairs(sessions, edges, orientation="horizontal", fill=True, color=PALE)
    ax.set(xlabel="sessions", xlim=(0, rows.shape[1]))
    ax.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    ax.tick_params(labelleft=False, left=False)
    for n in np.unique(sessions):
        own = np.flatnonzero(sessions == n)
        if len(own) > 0.03 * len(rows):  # a step that is high enough for its number
            ax.annotate(f"{len(own)}", (0, own.mean()), (3, 0), textcoords="offset points", va="center", fontsize=7)


def _draw_counts(ax: Axes, places: np.ndarray, counts: np.ndarray) -> None:
    """Draw bars with their counts."""
    bars = ax.bar(places, counts, width=0.7, color=INK)
    ax.bar_label(bars, fontsize=7, rotation=90 if counts.max() > 9 else 0, padding=2)
    ax.set_xlim(-0.7, places[-1] + 0.7)
    ax.margins(y=0.18)
    ax.tick_params(labelbottom=False, bottom=False)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_sets(ax: Axes, places: np.ndarray, subsets: np.ndarray, dates: Sequence[Any]) -> None:
    """Draw a column of dots per subset, dark and joined for the sessions in it; the first session on top."""
    for row in range(0, subsets.shape[1], 2):
        ax.axhspan(row - 0.5, row + 0.5, color="0.96", linewidth=0, zorder=0)
    for chosen, color, order in ((~subsets, PALE, 1), (subsets, INK, 3)):
        bar, session = np.nonzero(chosen)
        ax.scatter(places[bar], session, s=12, color=color, linewidths=0, zorder=order)
    first = subsets.argmax(axis=1)
    # argmax finds the first True; from the right it finds the last
    last = subsets.shape[1] - 1 - subsets[:, ::-1].argmax(axis=1)
    ax.vlines(places, first, last, color=INK, linewidth=1, zorder=2)
    ax.set_yticks(range(len(dates)), list(map(str, dates)))
    ax.set_ylim(len(dates) - 0.5, -0.5)
    ax.tick_params(bottom=False, labelbottom=False, left=False)
    ax.spines[:].set_visible(False)

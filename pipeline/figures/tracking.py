"""Tracked cells over days: which are there when, how many sessions share, and how many are found again.

All figures take `presence` (cells, sessions): True where a cell was found in a session.
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

from .style import MAX_ROWS, StyledFigure, session_colors, set_legend, set_suptitle, settle, style

GAP = 0.6  # between bars of subsets of different size; bars stand 1 apart
MAX_SESSIONS = 20  # 2^20 subsets are counted in well under a second, and each further session doubles that
INK, PALE = "0.2", "0.88"


def subset_counts(presence: np.ndarray, kind: str = "all") -> tuple[np.ndarray, np.ndarray]:
    """Count the cells of every subset of the sessions.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    kind : {"all", "only"}
        Cells found in all sessions of the subset, of at most 20 sessions; or in these and no others, so that each cell
        counts once.

    Returns
    -------
    subsets : (M, sessions) bool
        Without the empty one. The largest count comes first; of equal ones the subset of fewer sessions.
    counts : (M,) int64
        Those of no cell are left out.

    Raises
    ------
    ArgumentError
        `presence` is not such a matrix, or `kind` is neither.

    Examples
    --------
    >>> subsets, counts = subset_counts(np.array([[1, 1], [1, 1], [1, 0]], dtype=bool))
    >>> subsets.astype(int).tolist(), counts.tolist()
    ([[1, 0], [0, 1], [1, 1]], [3, 2, 2])
    >>> subset_counts(np.array([[1, 1], [1, 1], [1, 0]], dtype=bool), "only")[1].tolist()
    [2, 1]
    """
    presence = _checked(presence)
    n = presence.shape[1]
    if kind not in ("all", "only"):
        raise ArgumentError(f"kind is 'all' or 'only', not {kind!r}")
    if kind == "only":
        subsets, counts = np.unique(presence[presence.any(axis=1)], axis=0, return_counts=True)
    elif n > MAX_SESSIONS:
        raise ArgumentError(
            f"{n} sessions have too many subsets; choose at most {MAX_SESSIONS} sessions, or kind='only'"
        )
    else:
        # bit s of a number says whether session s is in the subset
        counts = np.bincount(presence @ (1 << np.arange(n)), minlength=1 << n)
        for session in range(n):  # a cell of a subset is one of the subset without this session as well
            pairs = counts.reshape(-1, 2, 1 << session)
            pairs[:, 0] += pairs[:, 1]
        found = np.flatnonzero(counts[1:]) + 1
        subsets, counts = (found[:, None] >> np.arange(n)) & 1 == 1, counts[found]
    order = np.lexsort((subsets.sum(axis=1), -counts))
    return subsets[order], counts[order]


def found_again(presence: np.ndarray, days: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each pair of sessions, the share of the earlier one's cells that are found in the later one.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    days : (sessions,) floats
        In order of time.

    Returns
    -------
    earlier, later : (P,) int64
        Numbers of the sessions of each pair.
    gap : (P,) float64
        Days between them.
    share : (P,) float64
        NaN where the earlier session has no cell.

    Examples
    --------
    >>> presence = np.array([[1, 1], [1, 0], [0, 1], [1, 0]], dtype=bool)
    >>> found_again(presence, [0, 3])
    (array([0]), array([1]), array([3.]), array([0.33333333]))
    """
    presence, day = _checked(presence), np.asarray(days, dtype=float)
    if day.shape != presence.shape[1:] or not np.all(np.diff(day) >= 0):
        raise ArgumentError(
            f"days are one for each of {presence.shape[1]} sessions in order of time, not {day.tolist()}"
        )
    earlier, later = np.triu_indices(presence.shape[1], k=1)
    shared = presence.T.astype(float) @ presence
    n_cells = np.diag(shared)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        share = shared[earlier, later] / n_cells[earlier]
    return earlier, later, day[later] - day[earlier], share


def presence_order(presence: np.ndarray) -> np.ndarray:
    """Return the order (cells,) int64 that puts cells of most sessions first, and those of the same sessions together.

    Examples
    --------
    >>> presence_order(np.array([[0, 1], [1, 1], [1, 0]], dtype=bool)).tolist()
    [1, 2, 0]
    """
    presence = _checked(presence)
    return np.lexsort((*~presence.T[::-1], -presence.sum(axis=1)))


def presence_map(presence: np.ndarray, dates: Sequence[Any], *, title: str | None = None) -> StyledFigure:
    """Draw which cell was found in which session, the cells of most sessions on top.

    Above stand the numbers of cells of each session, at the right how many cells were found in so many sessions.
    More than 1200 cells are averaged to as many rows; a shade of grey is then a share of cells.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    dates : (sessions,) sequence
        Date or name of each session, in order of time.
    title : str, optional

    Returns
    -------
    StyledFigure
        Its axes have labels: "presence", "cells per session", "sessions per cell".

    Raises
    ------
    ArgumentError
        `presence` is not a matrix of bool with a cell and a session, or `dates` are not one per session.

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
        fig = StyledFigure(figsize=(max(3.4, 0.34 * n_sessions + 2.4), 5.4), layout="constrained")
        grid = fig.add_gridspec(2, 2, width_ratios=[0.34 * n_sessions + 1, 1], height_ratios=[0.8, 4])
        main = fig.add_subplot(grid[1, 0], label="presence")
        extent = (-0.5, n_sessions - 0.5, n_cells - 0.5, -0.5)
        main.imshow(image, cmap="gray_r", vmin=0, vmax=1 / 0.85, aspect="auto", origin="upper", extent=extent,
                    interpolation="nearest")  # fmt: skip
        for edge in np.arange(n_sessions - 1) + 0.5:
            main.axvline(edge, color="white", linewidth=1)
        main.set_xticks(range(n_sessions), list(map(str, dates)), rotation=90)
        main.set_ylabel(f"tracked cell (n = {n_cells})")
        main.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _draw_bars(fig.add_subplot(grid[0, 0], sharex=main, label="cells per session"), presence, dates)
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
) -> StyledFigure:
    """Draw how many cells subsets of the sessions share: a bar for each subset, above the dots of its sessions.

    Parameters
    ----------
    presence : (cells, sessions) bool array
        Of at most 20 sessions, for "all".
    dates : (sessions,) sequence
        Date or name of each session, in order of time.
    kind : {"all", "only"}
        "all" counts the cells found in all sessions of a subset, whatever the others. Small subsets share most, so
        those with most cells are drawn *of each size*, single sessions to all. "only" counts cells of these sessions
        and no others; those with most cells are drawn.
    n_bars : int
        Bars at most; with "all" at least one for each size.
    title : str, optional

    Returns
    -------
    StyledFigure
        Its axes have labels: "counts", "sessions".

    Raises
    ------
    ArgumentError
        As for `subset_counts` and `presence_map`; `n_bars` is below 1.

    Examples
    --------
    >>> presence = np.array([[1, 1], [1, 1], [1, 0]], dtype=bool)
    >>> fig = shared_counts(presence, ["2024-05-01", "2024-05-02"])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['3', '2', '2']
    """
    presence = _checked(presence, dates)
    if n_bars < 1:
        raise ArgumentError(f"n_bars is at least 1, not {n_bars}")
    subsets, counts = subset_counts(presence, kind)
    chosen = _largest_of_each_size(subsets, n_bars) if kind == "all" else np.arange(min(n_bars, len(counts)))
    subsets, counts = subsets[chosen], counts[chosen]
    n_sessions = presence.shape[1]
    with style():
        size = max(3.2, 0.17 * len(counts) + 1.6), 2.4 + 0.16 * n_sessions
        fig = StyledFigure(figsize=size, layout="constrained")
        grid = fig.add_gridspec(2, 1, height_ratios=[1.9, 0.16 * n_sessions])
        top = fig.add_subplot(grid[0], label="counts")
        places = np.arange(len(counts), dtype=float)
        if kind == "all":
            places += GAP * np.unique(subsets.sum(axis=1), return_inverse=True)[1]
        _draw_counts(top, places, counts)
        top.set_ylabel("cells in all of\nthese sessions" if kind == "all" else "cells in these\nsessions only")
        _draw_sets(fig.add_subplot(grid[1], sharex=top, label="sessions"), places, subsets, dates)
        if title:
            set_suptitle(fig, title)
        settle(fig)
    return fig


def survival(presence: np.ndarray, dates: Sequence[Any], *, title: str | None = None) -> StyledFigure:
    """Draw the share of a session's cells that are found in later ones, against the days between.

    Each dot is a pair of sessions, in the colour of the earlier one. The line is the share of all cells that could be
    found again after so many days.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    dates : (sessions,) sequence
        Dates, or ISO strings, in order of time.
    title : str, optional

    Returns
    -------
    StyledFigure
        With one axes; the line has the label "all pairs".

    Raises
    ------
    ArgumentError
        There are not two sessions, dates are none or not in order of time, or as for `presence_map`.

    Examples
    --------
    >>> presence = np.array([[1, 1], [1, 0], [0, 1], [1, 0]], dtype=bool)
    >>> fig = survival(presence, ["2024-05-01", "2024-05-04"])
    >>> fig.axes[0].lines[-1].get_xydata().round(3).tolist()
    [[3.0, 0.333]]
    """
    presence = _checked(presence, dates)
    if len(dates) < 2:
        raise ArgumentError("survival is of two sessions or more, not of one")
    days = [datetime.date.fromisoformat(str(date)[:10]).toordinal() for date in dates]
    earlier, _, gap, share = found_again(presence, days)
    weight = presence.sum(axis=0)[earlier]
    with style():
        fig = StyledFigure(figsize=(5.4, 2.9), layout="constrained")
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
    """Presence as an array of bool, once it fits the dates."""
    found = np.asarray(presence)
    if found.ndim != 2 or not found.size or found.dtype != bool:
        raise ArgumentError(f"presence is bool, (cells, sessions) and not empty; not {found.dtype} {found.shape}")
    if not found.any():
        raise ArgumentError("no cell is in any session")
    if dates is not None and len(dates) != found.shape[1]:
        raise ArgumentError(f"there are {found.shape[1]} sessions but {len(dates)} dates")
    return found


def _largest_of_each_size(subsets: np.ndarray, n_bars: int) -> np.ndarray:
    """Numbers of the largest subsets of each size, by size; the subsets are in falling order of their counts."""
    sizes = subsets.sum(axis=1)
    present = np.unique(sizes)
    of_size = {int(size): np.flatnonzero(sizes == size) for size in present}
    kept = dict.fromkeys(of_size, 1)
    left = n_bars - len(kept)
    while left > 0 and any(kept[size] < len(of_size[size]) for size in kept):  # one more of each size in turn
        for size in kept:
            if left > 0 and kept[size] < len(of_size[size]):
                kept[size] += 1
                left -= 1
    return np.concatenate([of_size[size][: kept[size]] for size in of_size])


def _draw_bars(ax: Axes, presence: np.ndarray, dates: Sequence[Any]) -> None:
    """Cells of each session, in the colours of the sessions."""
    counts = presence.sum(axis=0)
    bars = ax.bar(range(len(counts)), counts, width=0.8, color=session_colors(list(range(len(dates)))))
    ax.bar_label(bars, fontsize=6, rotation=90 if counts.max() > 99 else 0, padding=2)
    ax.set_ylabel("cells")
    ax.margins(y=0.35)
    ax.tick_params(labelbottom=False, bottom=False)
    ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))


def _draw_steps(ax: Axes, rows: np.ndarray) -> None:
    """Sessions of each row, as a filled step beside the image."""
    sessions = rows.sum(axis=1)
    edges = np.arange(len(rows) + 1) - 0.5
    ax.stairs(sessions, edges, orientation="horizontal", fill=True, color=PALE)
    ax.set(xlabel="sessions", xlim=(0, rows.shape[1]))
    ax.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    ax.tick_params(labelleft=False, left=False)
    for n in np.unique(sessions):
        own = np.flatnonzero(sessions == n)
        if len(own) > 0.03 * len(rows):
            ax.annotate(f"{len(own)}", (0, own.mean()), (3, 0), textcoords="offset points", va="center", fontsize=6)


def _draw_counts(ax: Axes, places: np.ndarray, counts: np.ndarray) -> None:
    """Bars with their numbers."""
    bars = ax.bar(places, counts, width=0.7, color=INK)
    ax.bar_label(bars, fontsize=6, rotation=90 if counts.max() > 9 else 0, padding=2)
    ax.set_xlim(-0.7, places[-1] + 0.7)
    ax.margins(y=0.18)
    ax.tick_params(labelbottom=False, bottom=False)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_sets(ax: Axes, places: np.ndarray, subsets: np.ndarray, dates: Sequence[Any]) -> None:
    """A column of dots for each subset, filled and joined where it has the session; the first session on top."""
    for row in range(0, subsets.shape[1], 2):
        ax.axhspan(row - 0.5, row + 0.5, color="0.96", linewidth=0, zorder=0)
    for chosen, color, order in ((~subsets, PALE, 1), (subsets, INK, 3)):
        bar, session = np.nonzero(chosen)
        ax.scatter(places[bar], session, s=12, color=color, linewidths=0, zorder=order)
    first = subsets.argmax(axis=1)
    last = subsets.shape[1] - 1 - subsets[:, ::-1].argmax(axis=1)
    ax.vlines(places, first, last, color=INK, linewidth=1, zorder=2)
    ax.set_yticks(range(len(dates)), list(map(str, dates)))
    ax.set_ylim(len(dates) - 0.5, -0.5)
    ax.tick_params(bottom=False, labelbottom=False, left=False)
    ax.spines[:].set_visible(False)

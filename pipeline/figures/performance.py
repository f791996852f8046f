"""Decoding score of each session over the animal's performance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.stats import linregress

from pipeline.text import METRICS, p_text

from .ndc import AXES, CHANCE, Curve, check_names, session_key, session_names, sessions_by_target
from .style import (
    StyledFigure,
    columns_in,
    grid_shape,
    label_points,
    new_figure,
    set_legend,
    set_suptitle,
    settle,
    shared_axes,
    style,
    title_panels,
)

GREY = "0.35"
MIN_SESSIONS = 3  # with two sessions a line always fits exactly, and r has no meaning


class Relation(NamedTuple):
    """Least-squares line through n points, and Pearson's r with its two-sided p; all NaN if there is no line."""

    n: int
    slope: float
    intercept: float
    r: float
    p: float


def score_over_performance(
    curves_by_target: Mapping[str, Sequence[Curve | Mapping[str, Any]]],
    *,
    metric: str = "auc",
    title: str | None = None,
    n_columns: int = 2,
    curve_axis: str = "cells",
    width: str | None = None,
) -> StyledFigure:
    """Draw the score at the largest k over behavioural performance, one panel per target, one point per session.

    Parameters
    ----------
    curves_by_target : mapping of str to sequence
        Curves of each target as in `ndc_overlay`. Those without ``performance`` are not drawn, but counted in the
        legend.
    metric : str
        Key of ``pipeline.text.METRICS``.
        Score on the y axis.
    title : str, optional
        Title above all panels.
    n_columns : int
        Maximum number of panels side by side.
    curve_axis : {"cells", "trials"}
        What k counts.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one axes per target. Lines of data have the labels ``"<date>"`` (a point), ``"interval <date>"`` (95 %
        interval of the mean score) and ``"line"``. The line needs at least 3 sessions.

    Raises
    ------
    ArgumentError
        There is no curve at all, or the metric or axis is unknown.

    Examples
    --------
    >>> def session(day, score, performance):
    ...     return Curve("a", f"2024-05-0{day}", [1, 8], [0.5, score], [0, 0], performance=performance)
    >>> sessions = [session(1, 0.6, 0.5), session(2, 0.8, 0.7), session(3, 0.7, 0.9)]
    >>> fig = score_over_performance({"choice": sessions})
    >>> fig.axes[0].texts[0].get_text()
    'r = 0.50, p = 0.667, n = 3'
    """
    check_names(metric, curve_axis)
    panels, everything, colors = sessions_by_target(curves_by_target)
    n_columns = columns_in(width, n_columns)
    across, down = grid_shape(len(panels), n_columns)
    with style():
        fig = new_figure((3.2 * across + 1.9, 2.6 * down + 0.5), width)
        grid = shared_axes(fig, len(panels), n_columns)
        for ax, sessions in zip(grid, panels.values(), strict=True):
            _draw_points(ax, sessions, [colors[session_key(curve)] for curve in sessions])
            ax.set(xlabel="rewarded trials", ylabel=f"{METRICS[metric]} at the largest k")
            ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            ax.margins(x=0.15)
        _fit_limits(fig, everything, CHANCE.get(metric))
        _legend(fig, everything, f"score of all {AXES[curve_axis]},\nor of the largest k")
        title_panels(fig, list(panels), across, pad=14)
        if title:
            set_suptitle(fig, title)
        # labels are placed in points, which needs the final place of the axes
        settle(fig)
        year = _common_year(everything)
        for ax, sessions in zip(fig.axes, panels.values(), strict=True):
            shown = [curve for curve in sessions if _performance(curve) is not None]
            # shorter labels fit beside more points; the legend names the year
            names = [name.removeprefix(year) for name in session_names(shown)]
            label_points(ax, [_point(curve) for curve in shown], names)
    return fig


def relation(points: Sequence[tuple[float, float]]) -> Relation:
    """Return the least-squares line through points (x, y), with r and p.

    Examples
    --------
    >>> n, slope, intercept, r, p = relation([(1, 1), (2, 3), (3, 2)])
    >>> round(slope, 3), round(intercept, 3), round(r, 3), round(p, 3)
    (0.5, 1.0, 0.5, 0.667)
    >>> relation([(1, 1), (2, 3)]).slope
    nan
    """
    x, y = np.reshape(np.asarray(points, dtype=float), (-1, 2)).T
    # linregress refuses equal x, and r has no meaning for equal y
    if len(x) < MIN_SESSIONS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Relation(len(x), *[float("nan")] * 4)
    fit = linregress(x, y)
    return Relation(len(x), *(float(v) for v in (fit.slope, fit.intercept, fit.rvalue, fit.pvalue)))


def _common_year(curves: Sequence[Curve]) -> str:
    """Return the common start of all dates, such as "2025-"; "" if years differ."""
    years = {str(curve.date)[:5] for curve in curves}
    return years.pop() if len(years) == 1 else ""


def _performance(curve: Curve) -> float | None:
    """Return the performance of a session, None also for NaN."""
    known = curve.performance is not None and np.isfinite(curve.performance)
    return curve.performance if known else None


def _point(curve: Curve) -> tuple[float, float]:
    """Return performance and score at the largest k of a session that has both."""
    return float(curve.performance or 0), float(curve.mean[-1])


def _draw_points(ax: Axes, sessions: Sequence[Curve], colors: Sequence[str]) -> None:
    """Draw points with their intervals, the line through them, and r, p and n above the axes."""
    points = []
    for curve, color in zip(sessions, colors, strict=True):
        if _performance(curve) is None:
            continue
        x, y = _point(curve)
        points.append((x, y))
        if curve.mean_low is not None and curve.mean_high is not None:
            ax.plot([x, x], [curve.mean_low[-1], curve.mean_high[-1]], color=color, linewidth=0.9, zorder=3,
                    label=f"interval {curve.date}")  # fmt: skip
        ax.plot([x], [y], "o", color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.7, zorder=5,
                label=f"{curve.date}")  # fmt: skip
    found = relation(points)
    if np.isfinite(found.slope):
        ends = np.array([min(x for x, _ in points), max(x for x, _ in points)])
        ax.plot(ends, found.intercept + found.slope * ends, color=GREY, linewidth=1, zorder=2, label="line")
    ax.annotate(
        _relation_text(found),
        (0, 1),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7,
        color=GREY,
    )


def _fit_limits(fig: StyledFigure, sessions: Sequence[Curve], chance: float | None) -> None:
    """Fit the scores in view, which all panels share, to those of the sessions with their intervals.

    Chance is drawn if it is in view: on an axis that begins there, scores far above it would be a line at the top.
    """
    known = [curve for curve in sessions if _performance(curve) is not None]
    sides = [side[-1] for c in known for side in (c.mean, c.mean_low, c.mean_high) if side is not None]
    drawn = [value for value in sides if np.isfinite(value)]
    if not drawn:
        return
    room = max(0.12 * (max(drawn) - min(drawn)), 0.01)
    low, high = min(drawn) - room, max(drawn) + room
    fig.axes[0].set_ylim(low, high)
    if chance is not None and low <= chance <= high:
        for ax in fig.axes:
            ax.axhline(chance, color="0.55", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, label="chance")


def _relation_text(found: Relation) -> str:
    if np.isnan(found.r):
        return f"no line through {found.n} session{'s' if found.n != 1 else ''}"
    return f"r = {found.r:.2f}, {p_text(found.p)}, n = {found.n}".replace("-", "−")


def _legend(fig: StyledFigure, everything: Sequence[Curve], head: str) -> None:
    """Add a legend of the kinds of marks, outside the axes."""
    grey: dict[str, Any] = {"color": GREY, "linestyle": "none"}
    year = _common_year(everything)
    session = f"session of {year[:4]} (darker: earlier)" if year else "session (darker: earlier)"
    handles: list[Any] = [Line2D([], [], marker="o", markersize=5, label=session, **grey)]
    if any(curve.mean_low is not None for curve in everything):
        handles.append(Line2D([], [], marker="|", markersize=9, label="95 % interval of the mean", **grey))
    if any(line.get_label() == "line" for ax in fig.axes for line in ax.lines):
        handles.append(Line2D([], [], color=GREY, linewidth=1, label="least squares"))
    if any(line.get_label() == "chance" for ax in fig.axes for line in ax.lines):
        handles.append(Line2D([], [], color="0.55", linestyle=(0, (4, 3)), linewidth=0.8, label="chance"))
    missing = {session_key(curve) for curve in everything if _performance(curve) is None}
    if missing:
        handles.append(Line2D([], [], color="none", label=f"{len(missing)} without performance"))
    set_legend(fig, handles, title=head, labelspacing=0.6)

"""k* of each session over days, with the slope of log k*."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from pipeline.decoding.fits.trend import LogKSlope, log_k_slope
from pipeline.errors import ArgumentError
from pipeline.text import p_text

from .ndc import AXES, Curve, session_key, sessions_by_target, spaced
from .style import (
    StyledFigure,
    columns_in,
    grid_shape,
    new_figure,
    set_legend,
    set_suptitle,
    shared_axes,
    style,
    title_panels,
)

GREY = "0.35"


def k_star_over_days(
    curves_by_target: Mapping[str, Sequence[Curve | Mapping[str, Any]]],
    *,
    slopes: Mapping[str, LogKSlope] | None = None,
    delta: float = 0.02,
    title: str | None = None,
    n_columns: int = 2,
    curve_axis: str = "cells",
    width: str | None = None,
) -> StyledFigure:
    """Draw k* over days, one panel per target, with the slope of log k* and its interval.

    Parameters
    ----------
    curves_by_target : mapping of str to sequence
        Curves of each target as in `ndc_overlay`; a target without curves gets an empty panel.
    slopes : mapping of str to LogKSlope, optional
        Slope of each target, with days counted from the first session of all panels; other targets have no line.
        A slope without ``mean_day`` is drawn through the mean of the target's points. Default: `log_k_slope` of the
        drawn sessions that are not at chance, without bootstrap draws.
    delta : float
        Distance from the ceiling that defines k*; only used in the legend.
    title : str, optional
        Title above all panels.
    n_columns : int
        Maximum number of panels side by side.
    curve_axis : {"cells", "trials"}
        What k* counts.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one axes per target. Lines of data have the labels ``"k* <date>"``, ``"interval <date>"`` and ``"slope"``.

    Raises
    ------
    ArgumentError
        There is no curve at all, or as in `ndc_overlay`.

    Examples
    --------
    >>> def session(date, k_star):
    ...     return Curve("a", date, [8, 16, 32], [0.6, 0.7, 0.8], [0, 0, 0], k_star=k_star)
    >>> days = [session("2024-05-01", 32), session("2024-05-02", 32), session("2024-05-04", 16)]
    >>> fig = k_star_over_days({"choice": days})
    >>> fig.axes[0].get_xlabel(), fig.axes[0].get_yscale()
    ('days from 2024-05-01', 'log')
    """
    if curve_axis not in AXES:
        raise ArgumentError(f"curve_axis must be one of {sorted(AXES)}, not {curve_axis!r}")
    panels, everything, colors = sessions_by_target(curves_by_target)
    start = min(_date(curve) for curve in everything)
    n_columns = columns_in(width, n_columns)
    across, down = grid_shape(len(panels), n_columns)
    with style():
        fig = new_figure((3.2 * across + 1.9, 2.4 * down + 0.5), width)
        grid = shared_axes(fig, len(panels), n_columns)
        for ax, (target, sessions) in zip(grid, panels.items(), strict=True):
            ax.set_yscale("log", base=2)
            _set_limits(ax, everything, start)
            slope = _slope(sessions, start) if slopes is None else slopes.get(target)
            _draw_line(ax, sessions, start, slope)
            _draw_points(ax, sessions, [colors[session_key(curve)] for curve in sessions], start)
            _write_slope(ax, sessions, slope)
            ax.set_xlabel(f"days from {start}")
            ax.set_ylabel(f"k* ({AXES[curve_axis]})")
        lines = any(line.get_label() == "slope" for ax in fig.axes for line in ax.lines)
        _legend(fig, everything, lines, f"k*: fewest {AXES[curve_axis]} within\n{delta:g} of the ceiling")
        title_panels(fig, list(panels), across, pad=14)
        if title:
            set_suptitle(fig, title)
    return fig


def _date(curve: Curve) -> np.datetime64:
    return np.datetime64(str(curve.date)[:10], "D")


def _day(curve: Curve, start: np.datetime64) -> float:
    return float((_date(curve) - start) / np.timedelta64(1, "D"))


def _bound(curve: Curve) -> float | None:
    """Return k*, or its lower bound, the largest k, if k* is above that; None if neither is known."""
    if curve.verdict == "at chance":
        return None
    return float(curve.ks[-1]) if curve.k_star_censored == "right" else curve.star


def _slope(sessions: Sequence[Curve], start: np.datetime64) -> LogKSlope:
    """Fit the slope of log2 k* per day to the sessions that have a k* or a bound."""
    known = [(curve, k) for curve in sessions if (k := _bound(curve)) is not None]
    return log_k_slope(
        [_day(curve, start) for curve, _ in known], [k for _, k in known],
        censored=[curve.k_star_censored for curve, _ in known],
    )  # fmt: skip


def _set_limits(ax: Axes, curves: Sequence[Curve], start: np.datetime64) -> None:
    """Set limits that hold all days and all k, with room for the arrows (0.55 octaves), and ticks at the ks."""
    ks = np.unique(np.concatenate([curve.ks for curve in curves]))
    ax.set_ylim(ks[0] * 2**-0.7, ks[-1] * 2**0.7)
    # 0.6 octaves between labels, and more where the axis has more than 8 octaves
    kept = spaced(ks, 0.6 * max(1, np.log2(ks[-1] / ks[0]) / 8))
    ax.set_yticks(kept, [f"{k:g}" for k in kept])
    ax.yaxis.set_minor_locator(FixedLocator(ks.tolist()))
    ax.yaxis.set_minor_formatter(NullFormatter())
    last = max(_day(curve, start) for curve in curves)
    room = max(0.06 * last, 0.5)
    ax.set_xlim(-room, last + room)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _draw_points(ax: Axes, sessions: Sequence[Curve], colors: Sequence[str], start: np.datetime64) -> None:
    """Draw k* with its interval, an arrow where only a bound is known, and a cross at the bottom without k*."""
    top = ax.get_ylim()[1]
    for curve, color in zip(sessions, colors, strict=True):
        day, k = _day(curve, start), _bound(curve)
        if k is None:
            ax.plot([day], [0.03], "x", color="0.6", markersize=4, transform=ax.get_xaxis_transform(), zorder=4)
            continue
        if curve.star_interval is not None:
            low, high = curve.star_interval
            ax.plot(
                [day] * 2, [low, min(high, top)], color=color, linewidth=1.1, zorder=3, label=f"interval {curve.date}"
            )
        if curve.k_star_censored:
            end = k * 2**-0.55 if curve.k_star_censored == "left" else k * 2**0.55
            arrow = {
                "arrowstyle": "-|>",
                "color": color,
                "linewidth": 1.1,
                "shrinkA": 0,
                "shrinkB": 0,
                "mutation_scale": 7,
            }
            ax.annotate("", (day, end), (day, k), arrowprops=arrow, zorder=3)
        ax.plot(
            [day], [k], "o", color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.7, zorder=5,
            label=f"k* {curve.date}",
        )  # fmt: skip


def _draw_line(ax: Axes, sessions: Sequence[Curve], start: np.datetime64, slope: LogKSlope | None) -> None:
    """Draw the fitted line and its interval as a band, over the days of the sessions."""
    known = [(_day(curve, start), k) for curve in sessions if (k := _bound(curve)) is not None]
    if slope is None or np.isnan(slope.slope) or len(known) < 2:
        return
    days, ks = np.transpose(known)
    if np.isnan(slope.mean_day):  # the slope was given without its line, which then has no interval
        slope = replace(slope, mean_day=float(days.mean()), mean_log_k=float(np.log2(ks).mean()), half_width=0.0)
    x = np.linspace(days.min(), days.max(), 50)
    middle, low, high = slope.line(x)
    ax.plot(x, middle, color=GREY, linewidth=1, zorder=2, label="slope")
    if np.isfinite([slope.low, slope.high]).all():
        # no k is below 1
        ax.fill_between(x, np.maximum(low, 1), np.maximum(high, 1), color="0.88", linewidth=0, zorder=0)


def _write_slope(ax: Axes, sessions: Sequence[Curve], slope: LogKSlope | None) -> None:
    """Write the slope in octaves per day, its interval and p above the axes."""
    if not sessions:
        ax.text(0.5, 0.5, "no session", transform=ax.transAxes, ha="center", color="0.4")
    text = "" if slope is None or not sessions else _slope_text(slope)
    ax.annotate(
        text, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=7, color=GREY
    )  # fmt: skip


def _slope_text(slope: LogKSlope) -> str:
    if np.isnan(slope.slope):
        return "no slope: too few sessions with k*"
    text = f"{_signed(slope.slope)} octaves per day"
    if np.isnan(slope.low):
        return f"{text}, no interval ({slope.n_sessions} sessions)"
    return f"{text} ({_signed(slope.low)} to {_signed(slope.high)}), {p_text(slope.p)}"


def _signed(value: float) -> str:
    # a typographic minus, as wide as a plus
    return f"{value:.2f}".replace("-", "−").replace("inf", "∞")


def _legend(fig: StyledFigure, everything: Sequence[Curve], lines: bool, head: str) -> None:
    """Add a legend of the kinds of marks, outside the axes."""
    grey: dict[str, Any] = {"color": GREY, "linestyle": "none"}
    handles: list[Any] = [Line2D([], [], marker="o", markersize=5, label="session (darker: earlier)", **grey)]
    if any(curve.star_interval is not None for curve in everything):
        handles.append(Line2D([], [], marker="|", markersize=9, label="95 % interval of k*", **grey))
    sides = {curve.k_star_censored for curve in everything if _bound(curve) is not None}
    if "left" in sides:
        handles.append(Line2D([], [], marker="$\\downarrow$", markersize=7, label="that many or fewer", **grey))
    if "right" in sides:
        handles.append(Line2D([], [], marker="$\\uparrow$", markersize=7, label="more than measured", **grey))
    if any(_bound(curve) is None for curve in everything):
        handles.append(
            Line2D([], [], marker="x", markersize=4, label="no k*: at chance", color="0.6", linestyle="none")
        )
    if lines:
        handles.append(Line2D([], [], color=GREY, linewidth=1, label="fit of log k*"))
        handles.append(Patch(color="0.88", label="95 % interval of the fit"))
    set_legend(fig, handles, title=head, labelspacing=0.6)

"""The trends of the code and of sensitivity over days, with what else changed: ceilings and performance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from pipeline.decoding.fits.days import MIN_DAYS, NUMBERS, DayTrend
from pipeline.errors import ArgumentError
from pipeline.settings.curves import NUMBER_METRICS
from pipeline.text import METRICS, p_text, signed

from .ndc import AXES, check_names, lowest_score
from .style import (
    Y_LABEL_WIDTH,
    StyledFigure,
    heading,
    new_figure,
    set_legend,
    set_suptitle,
    style,
    wrapped,
)

GREY = "0.35"
#: Quantities that are drawn, from the top, and the label of their axis.
ROWS = {
    "code_k": "code:\nk* of own ceiling",
    "half_k": "code:\nk of half {signal}",
    "common_k": "sensitivity:\nk of common score",
    "score": "sensitivity:\nscore of {k} {cells}",
}
#: Height of the panels of the targets side by side, inches, by width of the figure.
HEIGHTS: dict[str | None, float] = {None: 10.4, "double": 11.8, "single": 9.0}
#: Share of that height for two days, between which there is nothing but a line.
OF_A_PAIR = 0.75
#: Share of a panel's height that the label of a tick takes.
LABEL_HEIGHT = 0.09
#: Colour of the ceilings beside the scores.
CEILING = "#b35900"


def trends_over_days(
    trends: Mapping[str, Mapping[str, DayTrend]],
    *,
    ceilings: Mapping[str, Sequence[float]],
    performance: Sequence[tuple[float, float]] = (),
    start: Any = None,
    metric: str = "auc",
    curve_axis: str = "cells",
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw the trends of each target, one column per target, above what else changed over the days.

    Rows from the top: k* at the own ceiling, and k with half of d'^2, which the height of the ceiling hardly moves
    (did the code change); k at the common score and the score of k cells (are fewer cells enough), with the ceiling of
    each day; performance.

    Parameters
    ----------
    trends : mapping of str to mapping of str to DayTrend
        By target, then by quantity: "code_k", "half_k", "common_k" and "score". A target without trends gets empty
        panels.
    ceilings : mapping of str to (D,) sequence of float
        By target, the ceiling on each of the days of its trends.
    performance : sequence of (float, float), optional
        Day, and fraction of the session's trials that were rewarded.
    start : str or date, optional
        Date of day 0.
    metric : str
        Key of ``pipeline.text.METRICS``.
    curve_axis : {"cells", "trials"}
        What k counts.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With five axes per target, row by row (in a single column, target by target). Lines of data have the labels
        ``"values"``, ``"trend"``, ``"ceiling"``,
        ``"performance"`` and ``"at chance"``.

    Raises
    ------
    ArgumentError
        No target has a trend; the metric or the axis is unknown.
    """
    check_names(metric, curve_axis)
    if not any(trends.values()):
        raise ArgumentError("no target has a trend: there is nothing to draw")
    n_days = max(trend.n_days for of in trends.values() for trend in of.values())
    share = 1.0 if n_days > 2 or width is not None else OF_A_PAIR
    with style():
        fig, grid = column_grid(len(ROWS) + 1, len(trends), (3.0, 2.1, HEIGHTS[width] * share), width)
        across = columns_across(len(trends), width)
        room = None if width is None else (fig.get_figwidth() - Y_LABEL_WIDTH) / across - 0.35
        for column, (target, of_target) in zip(grid.T, trends.items(), strict=True):
            texts = [
                _panel(ax, of_target.get(quantity), room, metric) for ax, quantity in zip(column, ROWS, strict=False)
            ]
            # above the text of the first panel, whose lines are 9 points apart
            column[0].set_title(heading(target), pad=30 if room is None else 9 * (texts[0].count("\n") + 1) + 4)
            if "score" in of_target:
                _ceilings(column[list(ROWS).index("score")], of_target["score"].days, ceilings[target])
            for ax, quantity in zip(column, ROWS, strict=False):
                if quantity in of_target:
                    end_axis(ax, quantity, metric, of_target[quantity].values)
            _performance(column[-1], performance)
            column[-1].set_xlabel(f"days from {start}" if start is not None else "day")
        engine = fig.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(hspace=0.22 if width is None else 0.4)  # room for the texts above the panels
        _label_rows(grid, trends, metric, curve_axis)
        _legend(fig, trends)
        if title:
            set_suptitle(fig, title)
    return fig


def possible(values: np.ndarray, quantity: str, metric: str, known: np.ndarray) -> np.ndarray:
    """Return the ends of intervals (N,) where the quantity can be: k from 1, scores up to 1.

    An AUC or a share of correct trials is 0 or more. What is measured is drawn wherever it is: an extrapolated k may
    lie below 1, and so does its interval then.
    """
    measured = known[np.isfinite(known)].tolist()
    if quantity in NUMBERS:
        found: np.ndarray = np.maximum(values, min([1.0, *measured]))
        return found
    lowest = lowest_score(metric)
    return np.clip(values, min([lowest, *measured]), max([1.0, *measured])) if quantity == "score" else values


def end_axis(ax: Axes, quantity: str, metric: str, known: np.ndarray) -> None:
    """End the axis a little beyond what the quantity can be: a line through the days may go further."""
    low, high = ax.get_ylim()
    least, most = possible(np.array([low, high]), quantity, metric, known)
    margin = 0.04 * (most - least)
    bottom = least / 1.1 if quantity in NUMBERS else least - margin
    if low < bottom or high > most + margin:
        ax.set_ylim(max(low, bottom), min(high, most + margin))


def columns_across(n_columns: int, width: str | None) -> int:
    """Return how many columns of panels are side by side: in a journal's single column they are below each other."""
    return 1 if width == "single" else n_columns


def column_grid(
    n_rows: int, n_columns: int, inches: tuple[float, float, float], width: str | None
) -> tuple[StyledFigure, np.ndarray]:
    """Return a figure with columns of panels, and its axes (n_rows, n_columns), wherever the columns are.

    Parameters
    ----------
    n_rows, n_columns : int
    inches : (float, float, float)
        Width of a column, width beside the columns, and height of a column.
    width : {"single", "double"}, optional
        A journal's.
    """
    across = columns_across(n_columns, width)
    n_blocks = n_columns // across
    fig = new_figure((inches[0] * across + inches[1], inches[2] * n_blocks), width)
    panels = fig.subplots(n_rows * n_blocks, across, sharex=True, squeeze=False)
    return fig, np.concatenate([panels[n_rows * block : n_rows * (block + 1)] for block in range(n_blocks)], axis=1)


def _panel(ax: Axes, trend: DayTrend | None, room: float | None, metric: str) -> str:
    """Draw the values of each day with their intervals, and the line with its band; write what the slope is.

    The text, which is returned, is broken to ``room`` inches.
    """
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if trend is None:
        ax.text(0.5, 0.5, "no trend", transform=ax.transAxes, ha="center", color="0.4")
        return ""
    if trend.quantity in NUMBERS:
        _ticks_at_marks(ax, trend.values)
    low_ends, high_ends = (possible(ends, trend.quantity, metric, trend.values)
                           for ends in (trend.value_low, trend.value_high))  # fmt: skip
    for day, low, high in zip(trend.days, low_ends, high_ends, strict=True):
        if np.isfinite([low, high]).all():
            ax.plot([day] * 2, [low, high], color=GREY, linewidth=1, zorder=3, label="interval")
    ax.plot(
        trend.days, trend.values, "o", color=GREY, markersize=4.5, markeredgecolor="white", zorder=5, label="values"
    )
    if trend.at_chance:
        height = [0.04] * len(trend.at_chance)
        ax.plot(trend.at_chance, height, "x", color="0.6", markersize=4, transform=ax.get_xaxis_transform(),
                label="at chance")  # fmt: skip
    _line(ax, trend, metric)
    said, size = trend_text(trend), 6 if room is None else 7
    if room is not None:
        said = "\n".join(wrapped(line, room, size) for line in said.split("\n"))
    text = ax.annotate(
        said, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", fontsize=size, color=GREY
    )
    text.set_in_layout(False)  # panels would be made narrow by it
    return said


def _ticks_at_marks(ax: Axes, values: np.ndarray) -> None:
    """Label the powers of two on an axis of k, and put a tick at every value (D,) with a mark."""
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    known = np.unique(values[np.isfinite(values)])
    ax.yaxis.set_minor_locator(FixedLocator(known.tolist()))
    # between two powers of two there would be no number at all
    is_between = len(known) and np.floor(np.log2(known[0])) == np.floor(np.log2(known[-1]))
    if not is_between:
        ax.yaxis.set_minor_formatter(NullFormatter())
        return

    def apart(value: float, _: Any) -> str:
        return f"{value:.3g}" if np.isclose(value, labelled_values(known, ax.get_ylim())).any() else ""

    ax.yaxis.set_minor_formatter(apart)


def labelled_values(values: np.ndarray, limits: tuple[float, float]) -> list[float]:
    """Return those of increasing values (n,) whose labels do not overlap on a logarithmic axis with these limits."""
    least = (max(limits) / min(limits)) ** LABEL_HEIGHT
    found: list[float] = []
    for value in values.tolist():
        if not found or value >= found[-1] * least:
            found.append(value)
    return found


def _line(ax: Axes, trend: DayTrend, metric: str) -> None:
    """Draw the fitted line, and as a band its interval over the scatter of days."""
    if np.isnan(trend.slope):
        return
    used = trend.days[np.isfinite(trend.values)]
    x = np.linspace(used.min(), used.max(), 50)
    away = x - trend.mean_day
    middle = trend.mean_value + trend.slope * away
    scale = np.exp2 if trend.quantity in NUMBERS else np.asarray

    def ends(values: np.ndarray) -> np.ndarray:
        return possible(scale(values), trend.quantity, metric, trend.values)

    ax.plot(x, scale(middle), color=GREY, linewidth=1, zorder=2, label="trend")
    if np.isfinite(trend.low):
        half = np.hypot(trend.half_width, (trend.high - trend.slope) * away)
        ax.fill_between(x, ends(middle - half), ends(middle + half), color="0.9", linewidth=0, zorder=0)


def trend_text(trend: DayTrend) -> str:
    """Return the slope, its interval of these days, and that beyond the scatter of days, in three lines.

    Examples
    --------
    >>> nothing = np.empty(0)
    >>> print(trend_text(DayTrend("score", 8, nothing, nothing, nothing, nothing, slope=0.02, fixed_low=0.01,
    ...                           fixed_high=0.03, fixed_p=0.0004)))
    +0.020 per day
    these days: +0.010 to +0.030, p < 0.001
    beyond scatter of days: needs 4 days, has 0
    """
    if np.isnan(trend.slope):
        return f"no slope: {trend.n_days} day{'s' * (trend.n_days != 1)} with a value"
    digits, unit = (2, "octaves per day") if trend.quantity in NUMBERS else (3, "per day")
    fixed = "no interval"
    if not np.isnan(trend.fixed_low):
        fixed = _interval(trend.fixed_low, trend.fixed_high, trend.fixed_p, digits)
    beyond = f"needs {MIN_DAYS} days, has {trend.n_days}"
    if not np.isnan(trend.low):
        beyond = _interval(trend.low, trend.high, trend.p, digits)
    return f"{signed(trend.slope, digits)} {unit}\nthese days: {fixed}\nbeyond scatter of days: {beyond}"


def _interval(low: float, high: float, p: float, digits: int) -> str:
    return f"{signed(low, digits)} to {signed(high, digits)}, {p_text(p)}"


def _ceilings(ax: Axes, days: np.ndarray, ceilings: Sequence[float]) -> None:
    """Draw the score of all cells of each day beside the score of k."""
    ax.plot(days, ceilings, "_", color=CEILING, markersize=8, zorder=4, label="ceiling")


def _performance(ax: Axes, performance: Sequence[tuple[float, float]]) -> None:
    if len(performance):
        days, shares = np.transpose(performance)
        ax.plot(days, 100 * shares, "s", color="0.6", markersize=3.5, label="performance")


def _label_rows(
    grid: np.ndarray, trends: Mapping[str, Mapping[str, DayTrend]], metric: str, curve_axis: str
) -> None:  # fmt: skip
    """Label the rows at the left."""
    k = next((of["score"].k for of in trends.values() if "score" in of), "k")
    for row, label in zip(grid, [*ROWS.values(), "performance\n(% rewarded)"], strict=True):
        # of several metrics the axes of each target are of another one
        of_score = f"\n({METRICS[metric]})" if "{k}" in label and metric != "mixed" else ""
        row[0].set_ylabel(label.format(k=k, cells=AXES[curve_axis], signal=signal_of(metric)) + of_score)


def signal_of(metric: str) -> str:
    """Return what grows in proportion to the number of independent cells: of numbers it is R² / (1 − R²)."""
    return "signal" if metric in (*NUMBER_METRICS, "mixed") else "d′²"


def _legend(fig: StyledFigure, trends: Mapping[str, Mapping[str, DayTrend]]) -> None:
    """Add a legend that says which question each row answers."""
    grey: dict[str, Any] = {"color": GREY, "linestyle": "none"}
    handles: list[Any] = [
        Line2D([], [], marker="o", markersize=4.5, label="day", **grey),
        Line2D([], [], marker="|", markersize=9, label="95 % interval of the day", **grey),
        Line2D([], [], color=GREY, linewidth=1, label="trend"),
        Patch(color="0.9", label="95 %, scatter of days"),
        Line2D([], [], marker="_", markersize=8, color=CEILING, linestyle="none", label="ceiling (largest k)"),
    ]
    if any(trend.at_chance for of in trends.values() for trend in of.values()):
        handles.append(Line2D([], [], marker="x", markersize=4, color="0.6", linestyle="none", label="at chance"))
    text = wrapped(
        "Code: did the shape of the curve change? Sensitivity: are fewer cells enough for the same score? Signal to "
        "noise, performance and trials change it, too.", 1.6, 7,
    )  # fmt: skip
    set_legend(fig, handles, below=True, title=text, labelspacing=0.6)

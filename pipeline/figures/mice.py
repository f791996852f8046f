"""The trends over days of several mice, and the mean of their slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipeline.decoding.fits.days import NUMBERS, DayTrend
from pipeline.decoding.fits.mice import MIN_MICE, MiceTrend, mice_trend
from pipeline.errors import ArgumentError
from pipeline.text import METRICS, p_text, signed

from .ndc import AXES, check_names
from .style import (
    RC,
    Y_LABEL_WIDTH,
    StyledFigure,
    beside_legend,
    elided,
    heading,
    session_colors,
    set_legend,
    set_suptitle,
    style,
    wrapped,
)
from .trends import ROWS, column_grid, columns_across, end_axis, possible, signal_of

#: Colours of the mean.
INK, BAND = "black", "0.85"
#: Width of a column, inches, and characters of its title: a question with all settings that differ can be long.
COLUMN, LONGEST = 2.6, 150
#: Of a title, inches.
LINE_HEIGHT = 0.17


def mice_over_days(
    trends: Mapping[str, Mapping[str, Mapping[str, DayTrend]]],
    *,
    metric: str = "auc",
    curve_axis: str = "cells",
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw the values of each mouse over its days as a thin line, and the mean slope of the mice as a thick one.

    The thick line goes through the mean of the mice's lines at their mean day, and has the slope of ``mice_trend``; its
    band is the interval of this slope for mice like these.

    Parameters
    ----------
    trends : mapping of str to mapping of str to mapping of str to DayTrend
        By question (target), which is a column; by mouse; and by quantity: "code_k", "half_k", "common_k" and
        "score", the rows. Trends without a slope are drawn, and do not count in the mean.
    metric : str
        Key of `METRICS`.
    curve_axis : {"cells", "trials"}
        What k counts.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With four axes per question, row by row. Thin lines have the labels of their mice, the thick one "mean".

    Raises
    ------
    ArgumentError
        No mouse has a trend; the metric or the axis is unknown.
    """
    check_names(metric, curve_axis)
    mice = sorted({name for of_mice in trends.values() for name, of in of_mice.items() if of})
    if not mice:
        raise ArgumentError("no mouse has a trend: there is nothing to draw")
    colors = dict(zip(mice, session_colors(list(range(len(mice)))), strict=True))
    with style():
        fig, grid = column_grid(len(ROWS), len(trends), (COLUMN, 2.0, 8.0), width)
        for column, of_mice in zip(grid.T, trends.values(), strict=True):
            for ax, quantity in zip(column, ROWS, strict=True):
                _panel(ax, {name: of[quantity] for name, of in of_mice.items() if quantity in of}, colors, metric)
            column[-1].set_xlabel("day of the mouse")
        _label_rows(grid, trends, metric, curve_axis)
        _legend(fig, colors)
        _column_titles(fig, grid, list(trends), columns_across(len(trends), width))
        if title:
            set_suptitle(fig, title)
    return fig


def _column_titles(fig: StyledFigure, grid: np.ndarray, questions: list[str], across: int) -> None:
    """Write the question above each column, broken to its width; the legend must have been added before."""
    room = (beside_legend(fig) - Y_LABEL_WIDTH) / across - 0.35
    texts = [wrapped(elided(heading(question), LONGEST), room, RC["axes.titlesize"]) for question in questions]
    for ax, text in zip(grid[0], texts, strict=True):
        ax.set_title(text, pad=26)  # above the two lines of text
    most = max(text.count("\n") for text in texts)
    fig.set_figheight(fig.get_figheight() + LINE_HEIGHT * most * (len(questions) // across))


def _panel(ax: Axes, trends: Mapping[str, DayTrend], colors: Mapping[str, str], metric: str) -> None:
    """Draw the mice, then their mean; write what its slope is."""
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if any(trend.quantity in NUMBERS for trend in trends.values()):
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for name, trend in trends.items():
        used = np.isfinite(trend.values)
        ax.plot(trend.days[used], trend.values[used], color=colors[name], linewidth=0.8, marker="o", markersize=2.5,
                zorder=2, label=name)  # fmt: skip
    with_slope = [trend for trend in trends.values() if np.isfinite(trend.slope)]
    if not with_slope:
        _write(ax, "no mouse has a slope")
        return
    mean = mice_trend(with_slope)
    _mean_line(ax, with_slope, mean, metric)
    end_axis(ax, with_slope[0].quantity, metric, np.concatenate([trend.values for trend in trends.values()]))
    _write(ax, mean_text(mean, with_slope[0].quantity))


def _write(ax: Axes, text: str) -> None:
    """Write text above a panel."""
    ax.annotate(text, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", fontsize=7)


def _mean_line(ax: Axes, trends: list[DayTrend], mean: MiceTrend, metric: str) -> None:
    """Draw the mean slope through the mean of the mice's lines at their mean day, with the band of its interval."""
    middle = float(np.mean([trend.mean_day for trend in trends]))
    heights = [trend.mean_value + trend.slope * (middle - trend.mean_day) for trend in trends]
    height = float(mean.weights @ np.array(heights))
    days = np.concatenate([trend.scaled()[0] for trend in trends])
    x = np.linspace(days.min(), days.max(), 50)
    scale = np.exp2 if trends[0].quantity in NUMBERS else np.asarray
    known = np.concatenate([trend.values for trend in trends])

    def ends_of(values: np.ndarray) -> np.ndarray:
        return possible(scale(values), trends[0].quantity, metric, known)

    ax.plot(x, scale(height + mean.slope * (x - middle)), color=INK, linewidth=2.4, zorder=4, label="mean")
    if np.isfinite(mean.low):
        ends = np.array([height + slope * (x - middle) for slope in (mean.low, mean.high)])
        ax.fill_between(x, ends_of(ends.min(axis=0)), ends_of(ends.max(axis=0)), color=BAND, linewidth=0, zorder=0)


def mean_text(mean: MiceTrend, quantity: str) -> str:
    """Return the mean slope of mice with its interval, in two lines.

    Examples
    --------
    >>> print(mean_text(mice_trend([0.1, 0.2, 0.15]), "score"))
    +0.150 per day, 3 mice
    95 %: +0.026 to +0.274, p = 0.035
    """
    digits, unit = (2, "octaves per day") if quantity in NUMBERS else (3, "per day")
    n = len(mean.slopes)
    head = f"{signed(mean.slope, digits)} {unit}, {n} {'mouse' if n == 1 else 'mice'}"
    if not np.isfinite(mean.low):
        return f"{head}\n95 %: needs {MIN_MICE} mice"
    return f"{head}\n95 %: {signed(mean.low, digits)} to {signed(mean.high, digits)}, {p_text(mean.p)}"


def _label_rows(
    grid: np.ndarray, trends: Mapping[str, Mapping[str, Mapping[str, DayTrend]]], metric: str, curve_axis: str
) -> None:
    """Label the rows at the left."""
    ks = sorted({of["score"].k for of_mice in trends.values() for of in of_mice.values() if "score" in of})
    for row, label in zip(grid, ROWS.values(), strict=True):
        of_score = f"\n({METRICS[metric]})" if "{k}" in label else ""
        words = {"k": " or ".join(map(str, ks)), "cells": AXES[curve_axis], "signal": signal_of(metric)}
        row[0].set_ylabel(label.format(**words) + of_score)


def _legend(fig: StyledFigure, colors: Mapping[str, str]) -> None:
    dot: Any = {"linewidth": 0.8, "marker": "o", "markersize": 2.5}
    handles: list[Any] = [Line2D([], [], color=color, label=elided(name), **dot) for name, color in colors.items()]
    handles.append(Line2D([], [], color=INK, linewidth=2.4, label="mean slope of the mice"))
    if len(colors) >= MIN_MICE:
        handles.append(Patch(color=BAND, label="95 % of the mean slope"))
    set_legend(fig, handles, below=True, title="mouse")

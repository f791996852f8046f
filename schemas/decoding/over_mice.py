"""Slopes of several mice: means, and differences within mice, as rows of NDCPopulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.decoding import DayTrend, MiceTrend, NDCSettings, mice_trend, paired_level, paired_trend
from pipeline.decoding.fits.days import NUMBERS, QUANTITIES
from pipeline.decoding.fits.mice import day_scatter
from schemas.decoding.naming import names_of
from schemas.rows import content_key, number

#: Lengths of the columns question_name and pair_name.
NAME_LENGTH, PAIR_LENGTH = 255, 511
#: Standard errors in half of a 95 % interval.
Z = 1.959964


@dataclass(frozen=True)
class MouseTrends:
    """The trends of a mouse for one choice of settings.

    Attributes
    ----------
    task : dict
        Key of NDCTask.
    subject : str
    settings : NDCSettings
    trends : list of DayTrend
        By quantity; empty if the mouse has no curve.
    """

    task: dict
    subject: str
    settings: NDCSettings
    trends: list[DayTrend]

    @property
    def question(self) -> str:
        """Hash of the settings apart from n_cells: regions are compared up to as many cells as each mouse has."""
        return question_of(self.settings)

    def trend(self, quantity: str) -> DayTrend | None:
        """Return the trend of a quantity; None without a slope."""
        found = [one for one in self.trends if one.quantity == quantity and np.isfinite(one.slope)]
        return found[0] if found else None


def question_of(settings: NDCSettings) -> str:
    """Return the hash of settings apart from n_cells: equal for mice that answer the same question."""
    return content_key(replace(settings, n_cells=0).content())


def population_rows(
    mice: Sequence[MouseTrends],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of NDCPopulation.Slope, Mean and Difference."""
    asked = {one.question: replace(one.settings, n_cells=0) for one in mice}
    names = dict(zip(asked, names_of(list(asked.values())), strict=True))
    # by name, so that "choice beyond stimulus" minus "choice" is stored, and not one or the other by their hashes
    asked = dict(sorted(asked.items(), key=lambda item: names[item[0]]))
    slopes: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for quantity in QUANTITIES:
        of_question = {question: [one for one in mice if one.question == question] for question in asked}
        for question, group in of_question.items():
            more, row = _mean_of(group, quantity)
            slopes += more
            means.append({"question": question, "question_name": names[question][:NAME_LENGTH], **row})
        for (first, a), (second, b) in combinations(of_question.items(), 2):
            if pair := _difference_of(a, b, quantity):
                name = f"{names[second]} minus {names[first]}"[:PAIR_LENGTH]
                differences.append({"question": first, "other_question": second, "pair_name": name, **pair})
    return slopes, means, differences


def _mean_of(group: Sequence[MouseTrends], quantity: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of the mice, and the mean of their slopes."""
    used = [(one, trend) for one in group if (trend := one.trend(quantity)) is not None]
    row: dict[str, Any] = {"quantity": quantity, "n_mice": len(used), "n_without": len(group) - len(used)}
    if not used:
        names = ("mean_slope", "mean_low", "mean_high", "mean_p", "between_sd", "day_sd", "curve_sd")
        return [], {**row, **dict.fromkeys(names)}
    found = mice_trend([trend for _, trend in used])
    slopes = [
        {
            **one.task, "quantity": quantity, "mouse_slope": float(slope), "mouse_error": float(np.sqrt(variance)),
            "mouse_weight": float(weight), "n_mouse_days": trend.n_days,
        }
        for (one, trend), slope, variance, weight in zip(
            used, found.slopes, found.variances, found.weights, strict=True
        )
    ]  # fmt: skip
    scatter = day_scatter([trend.scaled() for _, trend in used])
    return slopes, {
        **row, **_columns(found, "mean_slope", "mean"), "day_sd": number(scatter),
        # a single mouse says nothing of others
        "between_sd": number(found.tau) if len(used) > 1 else None,
        "curve_sd": number(_curve_error([trend for _, trend in used])),
    }  # fmt: skip


def _curve_error(trends: Sequence[DayTrend]) -> float:
    """Return the standard error of a day's value by its curve alone, root mean square; NaN without intervals."""
    found = []
    for trend in trends:
        low, high = trend.value_low, trend.value_high
        known = np.isfinite(trend.values) & np.isfinite(low) & np.isfinite(high)
        low, high = (np.log2(end[known]) if trend.quantity in NUMBERS else end[known] for end in (low, high))
        found.append((high - low) / (2 * Z))
    errors = np.concatenate(found)
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")


def _difference_of(
    first: Sequence[MouseTrends], second: Sequence[MouseTrends], quantity: str
) -> dict[str, Any] | None:  # fmt: skip
    """Return the mean difference of the mice that have both slopes over two days or more; None if there is none."""
    of_mouse = {one.subject: one.trend(quantity) for one in second}
    pairs = [
        (a, b)
        for one in first
        if (a := one.trend(quantity)) is not None and (b := of_mouse.get(one.subject)) is not None
        and len(np.intersect1d(a.scaled()[0], b.scaled()[0])) > 1
    ]  # fmt: skip
    if not pairs:
        return None
    found = paired_trend(*zip(*pairs, strict=True))
    return {
        "quantity": quantity, "n_pairs": len(pairs), "difference_sd": found.tau,
        **_columns(found, "slope_difference", "difference"), **_level_of(pairs, quantity),
    }  # fmt: skip


def _level_of(pairs: Sequence[tuple[DayTrend, DayTrend]], quantity: str) -> dict[str, Any]:
    """Return the mean difference of the values of mice; of those of which both curves end, or are scored, at one k."""
    # the common score is another one for each question
    alike = [] if quantity == "common_k" else [(a, b) for a, b in pairs if a.k == b.k]
    if not alike:
        names = ("level_difference", "level_low", "level_high", "level_p", "level_sd")
        return {"n_level_pairs": 0, **dict.fromkeys(names)}
    found = paired_level(*zip(*alike, strict=True))
    return {"n_level_pairs": len(alike), "level_sd": found.tau, **_columns(found, "level_difference", "level")}


def _columns(found: MiceTrend, name: str, prefix: str) -> dict[str, Any]:
    """Return the columns of a mean with its interval and p."""
    return {name: number(found.slope)} | {
        f"{prefix}_{end}": number(getattr(found, end)) for end in ("low", "high", "p")
    }

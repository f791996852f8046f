"""What is a finding of the code: a change of k* and k_half, and of how many cells carry the signal.

k* and k_half also change together where the cells respond as before: with noise along the signal that many cells share,
and where the scores of one day, or one region, end near 1. How many cells carry the signal (``code_spread``) follows
from each cell alone. Where more of them do, fewer are needed: both k fall. A change of the code has all three.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.fits.days import OF_CODE
from pipeline.decoding.fits.families import significant
from pipeline.text import p_text
from schemas.decoding.changing_noise import SPREAD, Measured

#: Quantities that a change of the code has both of: k* and k_half.
BOTH = tuple(OF_CODE.values())

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Tested:
    """What is tested of k* and k_half: a slope over days, a mean slope of mice, or a difference.

    Attributes
    ----------
    change : str
        Column of the change of log2 of k, whose sign is its direction.
    names : mapping of str to str
        Columns of p, and what each holds for.
    verb : str
        What the share of the cells does.
    """

    change: str
    names: Mapping[str, str]
    verb: str = "changes"

    def p_of_both(self, rows: Rows) -> dict[str, float]:
        """Return p of a change that k* and k_half both have, by column: the larger of theirs.

        Parameters
        ----------
        rows : mapping of str to dict
            By quantity.

        Returns
        -------
        dict of str to float
            Those that both have; empty without two changes in one direction.
        """
        if self.direction(rows) == 0:
            return {}
        values = {column: [rows[quantity][column] for quantity in BOTH] for column in self.names}
        return {column: max(both) for column, both in values.items() if None not in both}

    def direction(self, rows: Rows) -> int:
        """Return the sign of a change that k* and k_half both have; 0 if they have none, or not in one direction."""
        changes = [rows[quantity][self.change] for quantity in BOTH if quantity in rows]
        if len(changes) < len(BOTH) or None in changes or changes[0] * changes[1] <= 0:
            return 0
        return 1 if changes[0] > 0 else -1

    def is_found(self, rows: Rows) -> bool:
        """Return whether k* and k_half both change, by one of the columns of p."""
        return any(map(significant, self.p_of_both(rows).values()))

    def doubt(self, rows: Rows, spread: float) -> str:
        """Return why a change that k* and k_half both have is no finding of the code; '' if it is, or none is found.

        Parameters
        ----------
        rows : mapping of str to dict
        spread : float
            Change, or difference, of log2 of the share of the cells that carry the signal; NaN: not known.
        """
        if not self.is_found(rows) or -spread * self.direction(rows) >= SPREAD.least:
            return ""
        if np.isnan(spread):
            return f"whether {SPREAD.name} {self.verb} is not known"
        least = SPREAD.shown(-self.direction(rows) * SPREAD.least)
        return f"{self.shown(spread)} (by at least {least} with a change of the code)"

    def shown(self, spread: float) -> str:
        """Return a change of the share of the cells as text."""
        return f"{SPREAD.name} {self.verb} by {SPREAD.shown(spread)}"

    def text(self, rows: Rows) -> str:
        """Return p of a change of both as text."""
        return ", ".join(f"{self.names[column]} {p_text(p)}".strip() for column, p in self.p_of_both(rows).items())


OF_DAYS = Tested("day_slope", {"fixed_p": "these days", "day_p": "beyond the scatter of days"})
OF_MICE = Tested("mean_slope", {"mean_p": ""}, "changes on average")
#: Within mice, between two questions.
OF_SLOPES = Tested("slope_difference", {"difference_p": ""}, "changes differently")
OF_LEVELS = Tested("level_difference", {"level_p": ""}, "differs")


def knows_spread(settings: NDCSettings) -> bool:
    """Return whether the share of the cells that carry the signal is that of the question.

    Beyond the stimulus it is not: cells of the stimulus carry the choice as well. Numbers have no classes. Over trials
    k is no number of cells.
    """
    return settings.beyond == "none" and not settings.of_numbers and settings.curve_axis == "cells"


def notes_on_mice(
    measured: Measured, names: Mapping[str, str], means: Sequence[dict[str, Any]],
    differences: Sequence[dict[str, Any]],
) -> list[str]:  # fmt: skip
    """Return a note for each change or difference of k* and k_half of several mice that is no finding of the code.

    Parameters
    ----------
    measured : Measured
    names : mapping of str to str
        Name of each question.
    means, differences : sequence of dict
        Rows of NDCPopulation.Mean and Difference.
    """
    changes, levels = measured.changes(SPREAD, knows_spread), measured.levels(SPREAD, knows_spread)
    notes = []
    for (question,), rows in _by_quantity(means, "question").items():
        mean = _of_most(changes.get(question, {}).values(), rows, "n_mice")
        notes += _said(names[question], "the mean slope", OF_MICE.doubt(rows, mean))
    for (first, second), rows in _by_quantity(differences, "question", "other_question").items():
        name = rows[BOTH[0]]["pair_name"] if BOTH[0] in rows else ""
        for tested, values, what, number in (
            (OF_SLOPES, changes, "the difference of slopes", "n_pairs"),
            (OF_LEVELS, levels, "the mean difference", "n_level_pairs"),
        ):
            of_first, of_second = values.get(first, {}), values.get(second, {})
            pairs = [of_second[one] - of_first[one] for one in of_first if one in of_second]
            notes += _said(name, what, tested.doubt(rows, _of_most(pairs, rows, number)))
    return notes


def _of_most(values: Collection[float], rows: Rows, number: str) -> float:
    """Return the mean over mice, NaN if it is known of half of those that are tested or fewer."""
    n_tested = rows[BOTH[0]][number] if BOTH[0] in rows else None
    return float(np.mean([*values])) if 2 * len(values) > (n_tested or 0) and values else np.nan


def _by_quantity(rows: Iterable[dict[str, Any]], *names: str) -> dict[tuple[str, ...], dict[str, dict[str, Any]]]:
    """Return rows by the values of some columns, then by quantity."""
    found: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), {})[row["quantity"]] = row
    return found


def _said(name: str, what: str, doubt: str) -> list[str]:
    """Return a doubt on several mice as a note; none without a doubt."""
    return [f"{name}: {what} of k* and k_half is found, but no finding of the code: {doubt}"] if doubt else []

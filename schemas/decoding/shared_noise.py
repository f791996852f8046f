"""Curves without the noise that cells share from trial to trial: a change of the code is found in them, too.

Noise along the signal that many cells share moves k* and k_half together, although each cell responds as before, and
neither drift nor the noise of the traces shows it. Where the trials of each cell are shuffled within the classes there
is none. So of enough days such curves are computed beside those that are asked for; without null labels they take
little time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.decoding import NDCSettings
from pipeline.decoding.fits.days import MIN_DAYS, OF_CODE
from pipeline.decoding.fits.families import significant
from pipeline.settings.curves import OF_INFLUENCES
from pipeline.text import p_text
from schemas.decoding.over_mice import question_of
from schemas.decoding.tables import NDCTask, settings_of
from schemas.rows import content_key

#: Quantities that a change of the code has both of: k* and k_half.
BOTH = tuple(OF_CODE.values())
NOT_KNOWN = "whether it is of noise that cells share from trial to trial is not known"

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
    """

    change: str
    names: Mapping[str, str]

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
        return {} if self.direction(rows) == 0 else self._larger(rows)

    def direction(self, rows: Rows) -> int:
        """Return the sign of a change that k* and k_half both have; 0 if they have none, or not in one direction."""
        changes = [rows[quantity][self.change] for quantity in BOTH if quantity in rows]
        if len(changes) < len(BOTH) or None in changes or changes[0] * changes[1] <= 0:
            return 0
        return 1 if changes[0] > 0 else -1

    def is_known(self, rows: Rows) -> bool:
        """Return whether anything is known of k* and k_half."""
        return bool(self._larger(rows))

    def found(self, rows: Rows) -> set[str]:
        """Return the columns of p by which k* and k_half both change."""
        return {column for column, p in self.p_of_both(rows).items() if significant(p)}

    def doubt(self, rows: Rows, without: Rows) -> str:
        """Return why a change of both that is found is none of the code; '' if none is, or without shared noise, too.

        Parameters
        ----------
        rows : mapping of str to dict
        without : mapping of str to dict
            The same of curves without shared noise; empty: there are none.
        """
        found = self.found(rows)
        if not found:
            return ""
        if not self.is_known(without):
            return NOT_KNOWN
        if self.direction(without) == self.direction(rows) and found & self.found(without):
            return ""
        return f"without noise that cells share from trial to trial {self._text(rows, without)}"

    def _text(self, rows: Rows, without: Rows) -> str:
        if not self.direction(without):
            return "k* and k_half do not change in one direction"
        if self.direction(without) != self.direction(rows):
            return "both change the other way"
        return self.text(self.p_of_both(without))

    def text(self, p_of_both: Mapping[str, float]) -> str:
        """Return p of a change of both as text."""
        return ", ".join(f"{self.names[column]} {p_text(p)}".strip() for column, p in p_of_both.items())

    def _larger(self, rows: Rows) -> dict[str, float]:
        if not set(BOTH) <= rows.keys():
            return {}
        values = {column: [rows[quantity][column] for quantity in BOTH] for column in self.names}
        return {column: max(both) for column, both in values.items() if None not in both}


OF_DAYS = Tested("day_slope", {"fixed_p": "these days", "day_p": "beyond the scatter of days"})
OF_MICE = Tested("mean_slope", {"mean_p": ""})
#: Within mice, between two questions: of slopes, and of the values themselves.
OF_PAIRS = {
    "the difference of slopes": Tested("slope_difference", {"difference_p": ""}),
    "the mean difference": Tested("level_difference", {"level_p": ""}),
}


def without_shared_noise(settings: NDCSettings) -> NDCSettings | None:
    """Return the settings of curves without shared noise; None if they have none, or trials cannot be shuffled."""
    if settings.trial_shuffled or settings.of_numbers or settings.beyond != "none":
        return None
    intervals = settings.intervals if settings.intervals != "retrained" else OF_INFLUENCES[0]
    return replace(settings, trial_shuffled=True, n_label_shuffles=0, intervals=intervals)


def beside(settings: Iterable[NDCSettings], n_sessions: int) -> list[NDCSettings]:
    """Return the settings of the curves that are computed beside those of so many sessions."""
    found = [without_shared_noise(one) for one in settings if n_sessions >= MIN_DAYS]
    return [one for one in found if one is not None]


def key_without(settings: NDCSettings) -> str:
    """Return the key in NDCParams of the curves without shared noise; '' if there are none."""
    found = without_shared_noise(settings)
    return "" if found is None else content_key(found.content())


def why_not_known(settings: NDCSettings) -> str:
    """Return why there are no curves without shared noise, and what gives them."""
    if settings.of_numbers:
        return "numbers have no classes within which trials could be shuffled"
    if settings.beyond != "none":
        return "within the strata of a stimulus trials are not shuffled"
    return f"of {MIN_DAYS} sessions or more meso ndc computes curves without it when it is asked again"


# ------------------------------------------------------------------------------------------------------ several mice


def tasks_without(tasks: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the keys of the stored tasks without shared noise that stand beside those of mice."""
    keys = [{"session_set": task["session_set"], "ndc_params": key} for task in tasks
            if (key := key_without(settings_of(task)))]  # fmt: skip
    return (NDCTask & keys).keys(order_by="KEY") if keys else []


def notes_on_mice(
    tasks: Sequence[dict[str, Any]], means: Sequence[dict[str, Any]], differences: Sequence[dict[str, Any]],
    without: tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]],
) -> list[str]:  # fmt: skip
    """Return a note for each change or difference of k* and k_half that is not found without shared noise.

    Parameters
    ----------
    tasks : sequence of dict
        Rows of NDCTask with those of NDCParams.
    means, differences : sequence of dict
        Rows of NDCPopulation.Mean and Difference.
    without : (sequence of dict, sequence of dict)
        Those of the curves without shared noise.
    """
    settings = {question_of(one): one for one in map(settings_of, tasks)}
    other = {question: question_of(found) for question, one in settings.items() if (found := without_shared_noise(one))}
    of_mice, of_pairs = _by_quantity(means, "question"), _by_quantity(differences, "question", "other_question")
    mice_without = _by_quantity(without[0], "question")
    pairs_without = _by_quantity(without[1], "question", "other_question")
    notes = []
    for (question,), rows in of_mice.items():
        if not settings[question].trial_shuffled:
            doubt = OF_MICE.doubt(rows, mice_without.get((other.get(question, ""),), {}))
            notes += _said(rows, "question_name", "the mean slope", doubt, [settings[question]])
    for pair, rows in of_pairs.items():
        both = [settings[question] for question in pair]
        if any(one.trial_shuffled for one in both):
            continue
        first, second = (other.get(question, "") for question in pair)
        for what, tested in OF_PAIRS.items():
            # which of two is subtracted follows from their names
            swapped = _negative(pairs_without.get((second, first), {}), tested.change)
            doubt = tested.doubt(rows, pairs_without.get((first, second), swapped))
            notes += _said(rows, "pair_name", what, doubt, both)
    return notes


def _by_quantity(rows: Iterable[dict[str, Any]], *names: str) -> dict[tuple[str, ...], dict[str, dict[str, Any]]]:
    """Return rows by the values of some columns, then by quantity."""
    found: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), {})[row["quantity"]] = row
    return found


def _negative(rows: Rows, change: str) -> dict[str, dict[str, Any]]:
    """Return rows of a difference as those of the reverse one."""
    return {
        quantity: {**row, change: None if row[change] is None else -row[change]} for quantity, row in rows.items()
    }  # fmt: skip


def _said(rows: Rows, name: str, what: str, doubt: str, settings: Sequence[NDCSettings]) -> list[str]:
    """Return a doubt on several mice as a note; none without a doubt."""
    if not doubt:
        return []
    why = ""
    if doubt == NOT_KNOWN:
        lacking = [one for one in settings if without_shared_noise(one) is None] or settings[:1]
        why = f" ({why_not_known(lacking[0])})"
    return [f"{rows[BOTH[0]][name]}: {what} of k* and k_half is found, but no finding of the code: {doubt}{why}"]

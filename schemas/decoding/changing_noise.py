"""Noise that changes over the days of a mouse, or of mice: what stands beside trends of the code.

Three kinds move k* and k_half although the cells respond as before: activity that drifts within sessions, the noise of
most traces, and that of a part of them. They are measured for each session and stored with it, as is the share of the
cells that carry the signal; here they are compared over days.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.code_spread import FOUND_OCTAVES
from pipeline.decoding.drift import NOTED_CHANGE, change_over_days
from pipeline.decoding.fits.families import significant
from pipeline.signals.noise import NOTED_OCTAVES
from schemas.decoding.tables import NDCComparison, TrialFeatures, settings_of
from schemas.session import Session

#: Part of the change that is noted of one mouse, which the mean of several must reach: means of slopes find less.
OF_MEAN = 0.5


@dataclass(frozen=True)
class Kind:
    """What is measured of each session: a kind of noise, or the share of the cells that carry the signal.

    Attributes
    ----------
    column : str
        Where it is stored for each session.
    name : str
    least : float
        Change along the line over the days that is noted.
    in_octaves : bool
        The change is that of log2.
    """

    column: str
    name: str
    least: float
    in_octaves: bool = False

    def scaled(self, values: Mapping[str, float]) -> list[float]:
        """Return the values of sessions in the unit in which they are compared."""
        return [float(np.log2(one)) if self.in_octaves else one for one in values.values()]

    def change(self, values: Mapping[str, float], dates: Mapping[str, datetime.date]) -> float:
        """Return by how much the line through the values of sessions changes; NaN with fewer than two days."""
        return change_over_days(self.scaled(values), [dates[eid].toordinal() for eid in values])

    def is_of(self, settings: NDCSettings) -> bool:
        """Return whether curves have such noise: those of trials shuffled for each cell have none that cells share."""
        return not (self.column == "drift_share" and settings.trial_shuffled)

    def shown(self, change: float) -> str:
        """Return a change as text."""
        return f"{2**change - 1:+.0%}" if self.in_octaves else f"{change:+.2f}"


DRIFT = Kind("drift_share", "drift within sessions", NOTED_CHANGE)
NOISE = Kind("noise_level", "noise of the traces", NOTED_OCTAVES, in_octaves=True)
#: Of a minority of the cells, which the median does not show; looked at only where that changes too little for a note.
PART = Kind("noise_mean", "noise of a part of the traces", NOTED_OCTAVES, in_octaves=True)
KINDS = (DRIFT, NOISE, PART)
SPREAD = Kind("code_spread", "the share of the cells that carry the signal", FOUND_OCTAVES, in_octaves=True)


@dataclass(frozen=True)
class Change:
    """Noise of the sessions of a target that changes over the days enough for a note.

    Attributes
    ----------
    change : float
    values : mapping of str to float
        By session.
    """

    change: float
    values: Mapping[str, float]


def noted_change(
    kind: Kind, values: Mapping[str, float | None], dates: Mapping[str, datetime.date], settings: NDCSettings
) -> Change | None:  # fmt: skip
    """Return how the noise of the sessions of a target changes; None unless it is worth a note."""
    if not kind.is_of(settings):
        return None
    known = {eid: value for eid, value in values.items() if value is not None}
    change = kind.change(known, dates)
    return Change(change, known) if abs(change) >= kind.least else None


def note_on(kind: Kind, found: Mapping[str, Change], dates: Mapping[str, datetime.date]) -> str:
    """Return a note on noise that changes of some targets, with the figures of the first one; '' if of none."""
    if not found:
        return ""
    first = next(iter(found.values()))
    least, most = (pick(first.values, key=first.values.__getitem__) for pick in (min, max))
    (low, at_low), (high, at_high) = ((first.values[eid], dates[eid]) for eid in (least, most))
    names, more = ", ".join(found), first.change > 0
    if kind is DRIFT:
        return (
            f"{names}: the activity drifts {'more' if more else 'less'} within sessions from day to day (slow: "
            f"{low:.0%} of a cell's variance on {at_low}, {high:.0%} on {at_high}). Cells share such noise, and it "
            "changes the shape of curves: a trend of k* and k_half is no finding of the code"
        )
    if kind is PART:
        return (
            f"{names}: a part of the traces is {'noisier' if more else 'less noisy'} from day to day (geometric mean "
            f"of the cells' noise level {low:.3g} on {at_low}, {high:.3g} on {at_high}; {kind.shown(first.change)} "
            "along the line over the days, while the median hardly changes). With the noise that cells have of their "
            f"own k* and k_half {'rise' if more else 'fall'} together, although the cells respond as before: a trend "
            "of both is no finding of the code"
        )
    return (
        f"{names}: the traces are {'noisier' if more else 'less noisy'} from day to day (noise level {low:.3g} on "
        f"{at_low}, {high:.3g} on {at_high}; {kind.shown(first.change)} along the line over the days). With the noise "
        f"that each cell has of its own k* and k_half {'rise' if more else 'fall'} together, although the cells "
        "respond as before: a trend of both is no finding of the code"
    )


@dataclass(frozen=True)
class Measured:
    """What is measured of the sessions of several mice.

    Attributes
    ----------
    tasks : sequence of dict
        Rows of NDCTask with those of NDCParams, and the subject.
    question_of : mapping of str to str
        Question by key of NDCParams.
    dates : mapping of str to date
        Of each session.
    values : mapping of str to mapping
        By column and task the values of the sessions; None where it is not known.
    """

    tasks: Sequence[dict[str, Any]]
    question_of: Mapping[str, str]
    dates: Mapping[str, datetime.date]
    values: Mapping[str, Mapping[tuple[str, str], Mapping[str, float | None]]]

    @classmethod
    def of(cls, tasks: Sequence[dict[str, Any]], question_of: Mapping[str, str]) -> Measured:
        """Read what is stored."""
        keys = [{name: task[name] for name in ("session_set", "ndc_params")} for task in tasks]
        dated = Session.proj("session_date")
        dates: dict[str, datetime.date] = {}
        values: dict[str, dict[tuple[str, str], dict[str, float | None]]] = defaultdict(lambda: defaultdict(dict))
        of_features = (NOISE.column, PART.column, SPREAD.column)
        for columns, table in (
            ((DRIFT.column,), NDCComparison.Drift), (of_features, TrialFeatures.proj(*of_features)),
        ):  # fmt: skip
            for row in ((table & keys) * dated).to_dicts():
                dates[row["eid"]] = row["session_date"]
                for column in columns:
                    of_task = values[column][row["session_set"], row["ndc_params"]]
                    if row[column] is not None or row["eid"] not in of_task:  # several comparisons have the same drift
                        of_task[row["eid"]] = row[column]
        return cls(tasks, question_of, dates, values)

    def changes(self, kind: Kind, is_known: Callable[[NDCSettings], bool]) -> dict[str, dict[str, float]]:
        """Return by question and subject the change over the days, where it is known of most, and of such settings."""
        return self._each(is_known, kind, lambda of_task: kind.change(of_task, self.dates))

    def levels(self, kind: Kind, is_known: Callable[[NDCSettings], bool]) -> dict[str, dict[str, float]]:
        """Return by question and subject the mean over the days, likewise."""
        return self._each(is_known, kind, lambda of_task: float(np.mean(kind.scaled(of_task))))

    def _each(
        self, is_known: Callable[[NDCSettings], bool], kind: Kind, of: Callable[[Mapping[str, float]], float]
    ) -> dict[str, dict[str, float]]:  # fmt: skip
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for task in self.tasks:
            of_task = self.values[kind.column].get((task["session_set"], task["ndc_params"]), {})
            known = {eid: value for eid, value in of_task.items() if value is not None}
            if 2 * len(known) > len(of_task) and is_known(settings_of(task)) and np.isfinite(one := of(known)):
                found[self.question_of[task["ndc_params"]]][task["subject"]] = one
        return found


def notes_on_mice(
    measured: Measured, names: Mapping[str, str], differences: Sequence[dict[str, Any]] = ()
) -> list[str]:  # fmt: skip
    """Return a note for each question of which the mice have noise that changes over days, in one direction on average.

    And one for each pair of questions, such as regions, whose code differs, and whose noise differs as well.

    Parameters
    ----------
    measured : Measured
    names : mapping of str to str
        Name of each question.
    differences : sequence of dict
        Rows of NDCPopulation.Difference.
    """
    notes: list[str] = []
    noted: set[str] = set()  # questions of which the noise of most cells changes
    for kind in KINDS:
        for question, of_mice in measured.changes(kind, kind.is_of).items():
            mean = float(np.mean(list(of_mice.values())))
            if abs(mean) >= kind.least * OF_MEAN and not (kind is PART and question in noted):
                noted |= {question} if kind is NOISE else set()
                each = ", ".join(f"{subject} {kind.shown(one)}" for subject, one in sorted(of_mice.items()))
                notes.append(
                    f"{names[question]}: {kind.name} changes over the days by {kind.shown(mean)} on average ({each}). "
                    "It moves k* and k_half although the cells respond as before: a mean slope of both is no finding "
                    "of the code"
                )
    return notes + _notes_on_pairs(measured, differences)


def _notes_on_pairs(measured: Measured, differences: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note for each pair of questions whose k differs within mice, if their noise does on average."""
    of_code = [row for row in differences if row["quantity"] in ("code_k", "half_k") and row["level_p"] is not None]
    found = {(row["question"], row["other_question"]): row["pair_name"] for row in of_code
             if significant(row["level_p"])}  # fmt: skip
    signals = {measured.question_of[task["ndc_params"]]: settings_of(task).signal for task in measured.tasks}
    notes: list[str] = []
    noted: set[str] = set()  # pairs of which the noise of most cells differs
    for kind in KINDS:
        mean = measured.levels(kind, kind.is_of)
        for (first, second), name in found.items():
            if kind is not DRIFT and signals[first] != signals[second]:  # levels of two signals have no common unit
                continue
            pairs = [mean[second][one] - mean[first][one] for one in mean[first] if one in mean[second]]
            if not pairs or (kind is PART and name in noted):
                continue
            if abs(average := float(np.mean(pairs))) >= kind.least * OF_MEAN:
                noted |= {name} if kind is NOISE else set()
                notes.append(
                    f"{name}: {kind.name} differs by {kind.shown(average)} on average over mice. It moves k* and "
                    "k_half although cells respond alike: a difference of both is no finding of the code"
                )
    return notes

"""Stored curves of several mice compared: NDCCohort, filled, and its rows as plain data."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.decoding import NDCSettings, mice_trend
from pipeline.decoding.fits.days import NUMBERS
from pipeline.decoding.fits.families import significant
from pipeline.decoding.fits.mice import MOST_WEIGHT
from pipeline.decoding.fits.power import mice_needed, trend_power
from pipeline.decoding.nulls import TARGETS
from pipeline.errors import ArgumentError, DataError, NotFoundError
from schemas.decoding import finding
from schemas.decoding.changing_noise import Measured, notes_on_mice
from schemas.decoding.over_mice import question_of
from schemas.decoding.tables import NDCCohort, NDCParams, NDCPopulation, NDCResult, NDCTask, settings_of
from schemas.queries.errors import errors_of
from schemas.queries.ids import subjects_of
from schemas.queries.sessions import session_ids
from schemas.rows import checked
from schemas.session import Session
from schemas.tracking import SessionSet, TrackingRun
from schemas.work.filling import fill

#: Slope of log2 k per day: half the cells after a week.
HALF_A_WEEK = -1 / 7
#: Questions that an error lists.
MOST_LISTED = 4


@dataclass
class MiceRun:
    """Slopes over the days of several mice.

    Attributes
    ----------
    cohort : dict
        Key of NDCCohort.
    subjects : list of str
    slopes, means, differences : list of dict
        Rows of NDCPopulation.Slope (with ``subject`` and ``question_name``), Mean and Difference. Empty as long as
        sessions of the mice have no curve yet.
    notes : list of str
    question : str
        What all are of, if only some questions were asked for: see ``about``.
    """

    cohort: dict
    subjects: list[str]
    slopes: list[dict[str, Any]] = field(default_factory=list)
    means: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    question: str = ""

    def about(self, question: str) -> MiceRun:
        """Return the slopes, means and differences of one question, or of all that begin so.

        Raises
        ------
        NotFoundError
            There is no such question.
        """
        means = _meant(question, self.means)
        if self.means and not means:
            raise NotFoundError(f"no question {question!r}", found=_listed(
                [row for row in self.means if row["quantity"] == self.means[0]["quantity"]]))  # fmt: skip
        names, keys = ({row[name] for row in means} for name in ("question_name", "question"))
        return replace(
            self, means=means, question=question,
            slopes=[row for row in self.slopes if row["question_name"] in names],
            differences=[row for row in self.differences if {row["question"], row["other_question"]} <= keys],
        )  # fmt: skip


def compare_mice(
    subjects: Sequence[str] = (), *, session_sets: Sequence[dict | str] = (), tasks: Sequence[dict] = (),
    tag: str | None = None,
) -> MiceRun:  # fmt: skip
    """Compare the slopes over days of several mice, from curves that are in the database.

    Parameters
    ----------
    subjects : sequence of str
        Each with its set of sessions that has curves on most days; of several mice, with the settings that most of them
        have. A note names a mouse whose largest set has other settings.
    session_sets : sequence of dict or str
        Keys of SessionSet, or hashes alone, one for each mouse: instead of, or with, ``subjects``. All questions
        (settings) that at least one mouse answers are compared.
    tasks : sequence of dict
        Keys of NDCTask: exactly these curves.
    tag : str, optional
        Of ``subjects``, by default those of its sessions, the sets whose sessions all have this tag.

    Returns
    -------
    MiceRun

    Raises
    ------
    DataError
        A mouse has no curve, or would be in the comparison with two sets of sessions for one question.

    Examples
    --------
    >>> compare_mice(["SP072", "SP076", "SP080"]).means  # doctest: +SKIP
    """
    within = session_ids(tag=tag) if tag else None
    if within is not None and not (subjects or session_sets or tasks):
        subjects = subjects_of(within)
    chosen, remarks = _sets_of(list(dict.fromkeys(subjects)), within)
    chosen += [{"session_set": one} if isinstance(one, str) else checked(one, SessionSet) for one in session_sets]
    found = [{name: task[name] for name in NDCTask.primary_key} for task in tasks]
    for key in chosen:
        of_set = (NDCTask & key & NDCResult.proj()).keys(order_by="KEY")
        if not of_set:
            raise NotFoundError(f"no curve of the session set {key['session_set']}", do="Compute them with: meso ndc")
        found += of_set
    if not found:
        raise DataError("no mouse to compare", expected="subjects, session sets or tasks", found="none")
    _check_one_set_each(found)
    cohort = NDCCohort.add(found)
    done = fill([NDCPopulation], cohort)
    return stored_mice(cohort, notes=[*remarks, *done.lines(), *map(str, done.unfinished)])


def stored_mice(cohort: dict, notes: Sequence[str] = ()) -> MiceRun:
    """Return the stored comparison of a cohort without computing anything."""
    tasks = ((NDCCohort.Member & cohort) * SessionSet.proj("subject") * NDCParams).to_dicts()
    subject_of = {row["session_set"]: row["subject"] for row in tasks}
    means = (NDCPopulation.Mean & cohort).to_dicts(order_by="question_name, quantity")
    name_of = {row["question"]: row["question_name"] for row in means}
    question = {row["ndc_params"]: question_of(settings_of(row)) for row in tasks}
    slopes = [
        {**row, "subject": subject_of[row["session_set"]], "question_name": name_of[question[row["ndc_params"]]]}
        for row in (NDCPopulation.Slope & cohort).to_dicts(order_by="KEY")
    ]
    slopes.sort(key=lambda row: (row["question_name"], row["quantity"], row["subject"]))
    differences = (NDCPopulation.Difference & cohort).to_dicts(order_by="pair_name, quantity")
    errors = [row["message"] for row in errors_of([NDCPopulation], cohort)]
    missing = [] if NDCPopulation & cohort or errors else ["sessions of these mice have no curve yet: meso populate"]
    remarks = [*notes, *errors, *missing, *_lopsided(slopes, means), *_of_one_quantity(means, differences)]
    if means:
        measured = Measured.of(tasks, question)
        remarks += notes_on_mice(measured, name_of, differences)
        remarks += finding.notes_on_mice(measured, name_of, means, differences)
    return MiceRun(cohort, sorted(set(subject_of.values())), slopes, means, differences, list(dict.fromkeys(remarks)))


def _lopsided(slopes: Sequence[dict[str, Any]], means: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note for each mean slope that a former version found, and that is mostly one of one mouse."""
    notes = []
    for row in means:
        what = row["question_name"], row["quantity"]
        of_mice = [one for one in slopes if (one["question_name"], one["quantity"]) == what]
        first = max(of_mice, key=lambda one: one["mouse_weight"], default={"mouse_weight": 0.0})
        if row["mean_p"] is None or not significant(row["mean_p"]) or first["mouse_weight"] <= MOST_WEIGHT:
            continue
        alike = mice_trend([one["mouse_slope"] for one in of_mice])
        notes.append(
            f"{what[0]}, {what[1]}: {first['subject']} has {first['mouse_weight']:.0%} of the weight "
            f"of the mean slope, and p = {row['mean_p']:.2g} is too small if slopes differ between mice; with mice of "
            f"equal weights p = {alike.p:.2g}, slope {alike.slope:+.2g} ({alike.low:+.2g} to {alike.high:+.2g})"
        )
    return notes


def _of_one_quantity(means: Sequence[dict[str, Any]], differences: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note for each change or difference of k* that is found and not of k_half, or the other way round."""
    asked = (
        (means, "question_name", "the mean slope", "mean_p"),
        (differences, "pair_name", "the difference of slopes", "difference_p"),
        (differences, "pair_name", "the mean difference", "level_p"),
    )
    notes = []
    for rows, name, what, p in asked:
        p_of = {(row[name], row["quantity"]): row[p] for row in rows}
        for (question, quantity), found in p_of.items():
            half = p_of.get((question, "half_k"))
            if quantity != "code_k" or found is None or half is None or significant(found) == significant(half):
                continue
            if significant(found):
                text = (
                    f"of log2 k* is found (p = {found:.2g}), but not that of log2 k_half (p = {half:.2g}), which the "
                    "height of the ceilings hardly moves: k* may differ by its ceilings alone"
                )
            else:
                text = (
                    f"of log2 k_half is found (p = {half:.2g}), but not that of log2 k* (p = {found:.2g}): a change of "
                    "the code is one of both"
                )
            notes.append(f"{question}: {what} {text}")
    return notes


@dataclass(frozen=True)
class Power:
    """What a trend over days needs, by the scatter of the mice in the database.

    Attributes
    ----------
    question, quantity : str
    slope : float
        True slope per day that is to be found.
    spacing : float
        Days from one session to the next.
    power : float
    day_sd, curve_sd, between_sd : float
        Scatter of days about the lines, the part of it that is the error of the curves (NaN: not known), and standard
        deviation of slopes between mice (0 where it is not known); see NDCPopulation.Mean.
    n_mice : int
        Mice that these are from.
    rows : list of dict
        For each number of days the power with one mouse and with several, and ``mice_needed`` (None: more than 200).
    """

    question: str
    quantity: str
    slope: float
    spacing: float
    power: float
    day_sd: float
    curve_sd: float
    between_sd: float
    n_mice: int
    rows: list[dict[str, Any]]


def power_of_trends(
    subjects: Sequence[str] = (), *, question: str = "choice", quantity: str = "code_k",
    slope: float | None = None,
    days: Sequence[int] = (4, 6, 8, 12, 16), spacing: float = 1.0, power: float = 0.8, tag: str | None = None,
) -> Power:  # fmt: skip
    """Return how many days and mice a trend needs, by the scatter of the stored curves.

    Parameters
    ----------
    subjects : sequence of str
        Mice whose scatter counts; by default all that have curves.
    question : str
        As ``compare_mice`` names it: a target, or such as 'choice beyond stimulus'; or how such a name begins. Where
        several begin so, that of most mice, or of them the one with default settings.
    quantity : {'code_k', 'half_k', 'common_k', 'score', 'd_prime'}
    slope : float, optional
        True slope per day. By default half the cells after a week; score and d' have no default.
    days : sequence of int
        Numbers of days of each mouse.
    spacing : float
        Days from one session to the next.
    power : float
    tag : str, optional
        As for ``compare_mice``.

    Returns
    -------
    Power

    Raises
    ------
    ArgumentError
        Of score or d' no slope is given.
    DataError
        No mouse has a slope for the question, or none has a third day, so that the scatter is not known; or several
        questions begin with it, as many mice answer them, and none has default settings.
    """
    if slope is None and quantity not in NUMBERS:
        raise ArgumentError(f"which slope of {quantity} per day? Give slope= (--slope), such as 0.01")
    slope = HALF_A_WEEK if slope is None else slope
    if not slope or not 0 < power < 1:
        raise ArgumentError(f"a slope is not 0, and a power between 0 and 1, not {slope:g} and {power:g}")
    names = subjects or ([] if tag else sorted(set((SessionSet & NDCResult.proj()).to_arrays("subject"))))
    run = compare_mice(names, tag=tag)
    row = _row_of(question, [row for row in run.means if row["quantity"] == quantity], quantity)
    scatter = {"day_sd": row["day_sd"], "spacing": spacing}
    between = row["between_sd"] or 0.0  # of one mouse it is not known
    rows = [
        {
            "n_days": n_days, "power_1_mouse": trend_power(slope, n_days=n_days, **scatter),
            **{
                f"power_{n_mice}_mice": trend_power(slope, n_days=n_days, n_mice=n_mice, between_sd=between, **scatter)
                for n_mice in (3, 5, 10)
            },
            "mice_needed": mice_needed(slope, n_days=n_days, between_sd=between, power=power, **scatter),
        }
        for n_days in days
    ]  # fmt: skip
    curve_sd = float("nan") if row["curve_sd"] is None else row["curve_sd"]
    return Power(row["question_name"], quantity, slope, spacing, power, row["day_sd"], curve_sd, between, row["n_mice"],
                 rows)  # fmt: skip


def _row_of(question: str, rows: Sequence[dict[str, Any]], quantity: str) -> dict[str, Any]:
    """Return the mean of the question that is meant: see ``power_of_trends``."""
    known = [row for row in rows if row["day_sd"] is not None]
    plain = question_of(NDCSettings(target=question)) if question in TARGETS else ""
    meant = _meant(question, known)
    most = max((row["n_mice"] for row in meant), default=0)
    first = [row for row in meant if row["n_mice"] == most]
    found = [row for row in first if row["question"] == plain] or first
    if len(found) == 1:
        return found[0]
    what = "several settings answer" if found else f"the scatter of {quantity} over days is not known for"
    raise DataError(
        f"{what} {question!r}", expected="one of these questions" if found else "a mouse with three days",
        found=_listed(found or rows) or "no question",
        do="Name it, or its beginning, with --question (question=)" if found or rows else None,
    )  # fmt: skip


def _meant(question: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means of a question; or with its settings, in which questions differ; or of all that begin so."""
    meant = [row for row in rows if row["question_name"] == question]
    # the settings in which questions differ follow in parentheses
    meant = meant or [row for row in rows if row["question_name"].startswith(f"{question} (")]
    return meant or [row for row in rows if row["question_name"].startswith(question)]


def _listed(rows: Sequence[dict[str, Any]]) -> str:
    """Return the first questions by their number of mice, as text."""
    rows = sorted(rows, key=lambda row: -row["n_mice"])
    texts = [f"'{row['question_name']}' ({row['n_mice']} {'mouse' if row['n_mice'] == 1 else 'mice'})" for row in rows]
    return "; ".join(texts[:MOST_LISTED]) + f"; {len(texts) - MOST_LISTED} more" * (len(texts) > MOST_LISTED)


def _sets_of(subjects: Sequence[str], within: Sequence[str] | None) -> tuple[list[dict], list[str]]:
    """Return a set for each subject, and remarks: its largest, or that with the settings that most mice have."""
    largest = {subject: _largest_set(subject, within) for subject in subjects}
    if len(subjects) < 2:
        return list(largest.values()), []
    sets = {subject: _sets_with_curves(subject, within) for subject in subjects}
    rows = ((NDCTask & NDCResult.proj()) * SessionSet.proj("subject") * NDCParams).to_dicts()
    asked = [(row["subject"], row["session_set"], question_of(settings_of(row))) for row in rows
             if row["session_set"] in sets.get(row["subject"], ())]  # fmt: skip
    # by question and subject its largest set
    best: dict[str, dict[str, str]] = defaultdict(dict)
    for subject, name, question in asked:
        best[question][subject] = max(name, best[question].get(subject, name), key=sets[subject].__getitem__)
    days = {question: sum(sets[subject][name][0] for subject, name in of.items()) for question, of in best.items()}
    common = best[max(best, key=lambda one: (len(best[one]), days[one], one))]
    chosen = {subject: {"session_set": common.get(subject, key["session_set"])} for subject, key in largest.items()}
    remarks = [
        f"{subject}: its {sets[subject][key['session_set']][0]} sessions with the settings that most mice have "
        f"(session set {key['session_set'][:8]}), not its largest set ({largest[subject]['session_set'][:8]}); "
        "--session-set takes another"
        for subject, key in chosen.items() if key != largest[subject]
    ]  # fmt: skip
    return list(chosen.values()), remarks


def _largest_set(subject: str, within: Sequence[str] | None = None) -> dict:
    """Return the key of the session set of a subject with curves of most sessions; of several the latest.

    Parameters
    ----------
    subject : str
    within : sequence of str, optional
        Ids: only sets of these sessions.
    """
    sets = _sets_with_curves(subject, within)
    if not sets:
        of = "" if within is None else " of a set whose sessions all have the tag"
        raise NotFoundError(
            f"no curve of subject {subject!r}{of}", do=f"Compute them with: meso ndc --subject {subject}"
        )
    return {"session_set": max(sets, key=sets.__getitem__)}


def _sets_with_curves(subject: str, within: Sequence[str] | None) -> dict[str, tuple[Any, ...]]:
    """Return the session sets of a subject with curves, each with the order of their size: sessions, dates."""
    sets = (SessionSet & {"subject": subject}).proj("subject", "tracking_run") * TrackingRun.proj("registered_at")
    if within is not None:
        members = SessionSet.Member & (SessionSet & {"subject": subject}).proj()
        others = {row["session_set"] for row in members.to_dicts() if row["eid"] not in set(within)}
        sets = sets - [{"session_set": one} for one in sorted(others)]
    rows = (NDCResult.proj() * Session.proj("session_date") * sets).to_dicts()
    eids: dict[str, set[str]] = defaultdict(set)
    # its latest session, and when its cells were tracked: of two runs of ROICaT for the same sessions the later counts
    last: dict[str, tuple[datetime.date, datetime.datetime]] = {}
    for row in rows:
        name, when = row["session_set"], (row["session_date"], row["registered_at"])
        eids[name].add(row["eid"])
        last[name] = max(when, last.get(name, when))
    return {name: (len(eids[name]), *last[name], name) for name in eids}


def _check_one_set_each(tasks: Sequence[dict]) -> None:
    """Raise a DataError if a mouse would count twice for one question."""
    rows = (NDCTask * SessionSet.proj("subject") * NDCParams & list(tasks)).to_dicts()
    sets: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        sets[row["subject"], question_of(settings_of(row))].add((row["session_set"], row["ndc_params"]))
    for (subject, _), found in sets.items():
        if len(found) > 1:
            raise DataError(
                f"subject {subject} would count several times for one question", expected="one set of sessions",
                found=", ".join(f"{one} with {params}" for one, params in sorted(found)),
                do="Name one session set for each mouse",
            )  # fmt: skip

"""Transfer between the sessions of a set: computed, and stored results as plain data."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.decoding import NDCSettings
from pipeline.decoding.transfer import TransferDecay
from schemas.decoding.naming import asked_notes, dates_of, names_of
from schemas.decoding.possible import check_possible
from schemas.decoding.results import Failure
from schemas.decoding.run import fill_signals, shared_set, without_result
from schemas.decoding.same_signal import check_same_signal, different_signals, note_of
from schemas.decoding.tables import NDCParams, TransferMatrix, TransferResult, TransferTask, TrialFeatures, settings_of
from schemas.decoding.transfer_rows import decay_of, square, tested
from schemas.queries.cells import n_shared_cells
from schemas.queries.errors import errors_of
from schemas.queries.tracking_runs import fovs_left_out, fovs_of_other_runs
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet
from schemas.work.filling import ask_again, fill

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Columns of ``TransferRun.table``; ``eid`` and ``session_date`` are those of the session that is tested.
COLUMNS = (
    "target", "train_date", "session_date", "gap_days", "transfer_score", "transfer_low", "transfer_high", "transfer_p",
    "transfer_q", "refit_score", "half_score", "relative", "n_train", "n_test", "train_eid", "eid", "scaler",
    "transfer_c", "transfer_null", "session_set", "ndc_params", "environment",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TargetTransfer:
    """The pairs of sessions of one target with one choice of settings.

    Attributes
    ----------
    name : str
        The target; if a target has several settings, followed by those that differ.
    settings : NDCSettings
    ndc_params : str
        Key of the settings in NDCParams.
    rows : list of dict
        Rows of TransferResult.Train, by dates of test and training, with ``train_date``, ``session_date`` of the
        test, ``gap_days``, and the columns of TransferResult and TransferMatrix.Pair (None as long as the matrix is not
        complete).
    row : dict or None
        Of TransferMatrix; None as long as sessions lack a result.
    decay : TransferDecay or None
        Pairs and line behind that row.
    failures : list of Failure
        Sessions that could not be decoded.
    """

    name: str
    settings: NDCSettings
    ndc_params: str
    rows: list[dict[str, Any]]
    row: dict[str, Any] | None
    decay: TransferDecay | None
    failures: list[Failure]

    @property
    def dates(self) -> dict[str, datetime.date]:
        """Dates of the sessions that are tested, by eid, in order."""
        return {row["eid"]: row["session_date"] for row in self.rows}

    def square(self, name: str) -> np.ndarray:
        """Return a column of ``rows`` as a matrix, (D, D) float64: row i is the training session, by date."""
        return square(self.rows, list(self.dates), name)


@dataclass(repr=False)
class TransferRun:
    """Readouts of each session of a set tested on all others.

    Attributes
    ----------
    subject, tracking_run : str
    session_set : dict
        Key of the set in SessionSet.
    scaler : {'own', 'trained'}
    n_shared : int
        Number of cells found in every session.
    targets : list of TargetTransfer
        In the order requested.
    unusable : list of Failure
        Sessions that could not be decoded for any target.
    notes : list of str
    """

    subject: str
    tracking_run: str
    session_set: dict
    scaler: str
    n_shared: int
    targets: list[TargetTransfer]
    unusable: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        n_sessions = len({row["eid"] for target in self.targets for row in target.rows})
        return f"<TransferRun of {self.subject}: {', '.join(self.decay)} in {n_sessions} sessions; see .table>"

    @property
    def table(self) -> pd.DataFrame:
        """One row for each target and pair: dates, gap in days, score with interval, p, q, further scores and keys."""
        import pandas as pd

        rows = [{**row, "target": target.name} for target in self.targets for row in target.rows]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    @property
    def matrix(self) -> dict[str, pd.DataFrame]:
        """By target the scores, with the dates of training as rows and those of the tests as columns."""
        import pandas as pd

        found = {}
        for target in self.targets:
            dates = list(target.dates.values())
            names = pd.Index(dates, name="train"), pd.Index(dates, name="test")
            found[target.name] = pd.DataFrame(target.square("transfer_score"), *names)
        return found

    @property
    def decay(self) -> dict[str, TransferDecay | None]:
        """By target how transfer depends on the days between: see ``pipeline.decoding.transfer.TransferDecay``."""
        return {target.name: target.decay for target in self.targets}

    @property
    def failures(self) -> list[Failure]:
        """All failures: first of whole sessions, then target by target."""
        return [*self.unusable, *(failure for target in self.targets for failure in target.failures)]

    def failure_lines(self) -> list[str]:
        """Return a line of text for each failure, each once."""
        named = [
            f"{one.target}: {one.message}" if one.target and len(self.targets) > 1 else one.message
            for one in self.failures
        ]
        return list(dict.fromkeys(named))


def run_transfer(
    eids: Sequence[str],
    run: dict,
    settings: Sequence[NDCSettings],
    scaler: str = "own",
    *,
    neurons_only: bool = True,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    mixed_signals: bool = False,
    progress: bool = False,
) -> TransferRun:
    """Insert the tasks of a set of sessions, compute the missing results, and return all.

    Parameters
    ----------
    eids, run, settings, neurons_only, min_cell_probability, min_silhouette, mixed_signals, progress
        As for ``schemas.decoding.run.run_ndc``. ks, delta and the ceiling do nothing here; ``r`` is the number of sets
        of folds within a session, and of random halves.
    scaler : {'own', 'trained'}
        What activity is standardised by: see ``pipeline.decoding.transfer.scaled_day``.

    Returns
    -------
    TransferRun

    Raises
    ------
    ArgumentError
        Settings have no meaning for transfer: see ``pipeline.decoding.transfer.check_transfer``.
    DataError
        There are fewer than two sessions, a session is of another subject, no cell is in all sessions, or the sessions
        were read with different signals and the settings name none.
    SettingsError
        As for ``run_ndc``.
    """
    rule: dict[str, Any] = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    rule["neurons_only"] = neurons_only

    def ask() -> tuple[TransferRun, bool]:
        found, unfinished = _run_once(eids, run, settings, scaler, rule, mixed_signals, progress)
        lacking = without_result(found, [target.rows for target in found.targets])
        found.notes += [*unfinished, *lacking]
        return found, bool(lacking) and not unfinished

    return ask_again(ask)


def _run_once(
    eids: Sequence[str], run: dict, settings: Sequence[NDCSettings], scaler: str, rule: dict[str, Any],
    mixed_signals: bool, progress: bool,
) -> tuple[TransferRun, list[str]]:  # fmt: skip
    """Do what ``run_transfer`` does, once; return also what other workers have not finished."""
    fill([Behavior], [{"eid": eid} for eid in eids], progress=progress)
    check_possible(eids, settings)
    session_set, failed = shared_set(eids, run, progress=progress, **rule)
    n_shared_cells(session_set)  # raises if there are none, before tasks are inserted that would all fail
    if not mixed_signals:
        check_same_signal(session_set, settings)
    params = TransferTask.add(session_set, settings, scaler)
    fill_signals(session_set, settings, progress=progress)
    tasks = [{**session_set, **key, "scaler": scaler} for key in params]
    steps = [
        fill([TrialFeatures], session_set, params, progress=progress),
        fill([TransferResult, TransferMatrix], tasks, progress=progress),
    ]
    found = stored_transfer(session_set, params, scaler)
    found.unusable[:0] = [Failure(eid, "", "TrackedFOV", message) for eid, message in failed.items()]
    return found, [str(jobs) for step in steps for jobs in step.unfinished]


def stored_transfer(session_set: dict, params: Sequence[dict], scaler: str) -> TransferRun:
    """Return stored results without computing anything.

    Parameters
    ----------
    session_set : dict
        Key of SessionSet.
    params : sequence of dict
        Keys of NDCParams, in the order of the targets.
    scaler : {'own', 'trained'}
    """
    of_set = (SessionSet & session_set).fetch1()
    members = Session & (SessionSet.Member & session_set).proj()
    dates = {row["eid"]: row["session_date"] for row in members.to_dicts(order_by="session_date, session_number")}
    by_key = {row["ndc_params"]: settings_of(row) for row in (NDCParams & list(params)).to_dicts()}
    settings = [by_key[key["ndc_params"]] for key in params]
    targets = [
        _stored_target(name, one, {**session_set, **key, "scaler": scaler}, dates)
        for name, one, key in zip(names_of(settings), settings, params, strict=True)
    ]
    errors = errors_of([Behavior], [{"eid": eid} for eid in dates])
    unusable = [Failure(row["key"]["eid"], "", row["table"], row["message"]) for row in errors]
    notes = [*fovs_left_out(session_set), *fovs_of_other_runs(session_set), *_notes(session_set, targets)]
    return TransferRun(
        of_set["subject"], of_set["tracking_run"], {"session_set": of_set["session_set"]}, scaler,
        n_shared_cells(session_set), targets, unusable, list(dict.fromkeys(notes)),
    )  # fmt: skip


def _stored_target(
    name: str, settings: NDCSettings, task: dict, dates: dict[str, datetime.date]
) -> TargetTransfer:  # fmt: skip
    """Return the stored pairs of one task."""
    rows = (TransferResult * TransferResult.Train.proj(..., "-transfer_nulls") & task).to_dicts()
    pairs = {(row["eid"], row["train_eid"]): row for row in (TransferMatrix.Pair & task).to_dicts()}
    nothing = {"transfer_q": None, "relative": None}
    found = [
        {
            **row, **nothing, **pairs.get((row["eid"], row["train_eid"]), {}), "session_date": dates[row["eid"]],
            "train_date": dates[row["train_eid"]], "gap_days": abs((dates[row["eid"]] - dates[row["train_eid"]]).days),
        }
        for row in rows
    ]  # fmt: skip
    order = {eid: i for i, eid in enumerate(tested(rows, dates))}
    # a session whose own result failed may still have trained readouts: such pairs come last
    found.sort(key=lambda row: (order[row["eid"]], order.get(row["train_eid"], len(order)), row["train_eid"]))
    matrix = (TransferMatrix & task).to_dicts()
    key = {column: value for column, value in task.items() if column != "scaler"}
    errors = [*errors_of([TrialFeatures], key), *errors_of([TransferResult, TransferMatrix], task)]
    failures = [Failure(row["key"].get("eid", ""), name, row["table"], row["message"]) for row in errors]
    return TargetTransfer(
        name, settings, task["ndc_params"], found, matrix[0] if matrix else None,
        decay_of(rows, dates, settings) if matrix else None, failures,
    )  # fmt: skip


def _notes(session_set: dict, targets: Sequence[TargetTransfer]) -> list[str]:
    """Return remarks on the results."""
    params = [{"ndc_params": target.ndc_params} for target in targets if not target.settings.signal]
    rows = (TrialFeatures.proj("feature_signal") & session_set & params).to_dicts()
    dates = dates_of((Session & (SessionSet.Member & session_set).proj()).to_dicts())
    notes = asked_notes({target.name: target.settings for target in targets})
    for target in targets:
        if target.decay and target.decay.at_chance:
            days = list(target.dates.values())
            at_chance = ", ".join(str(days[i]) for i in target.decay.at_chance)
            notes.append(f"{target.name}: not in the decay, as they are at chance within the day: {at_chance}")
        signals = {
            row["eid"]: row["feature_signal"] for row in rows
            if row["ndc_params"] == target.ndc_params and row["eid"] in target.dates
        }  # fmt: skip
        if different := different_signals(signals, dates):
            notes.append(note_of(different))
    return notes

"""Which sessions of a mouse to compare: those that can be used, and the sets of them that share most cells."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.behavior.trial_columns import first_failed
from pipeline.errors import DataError
from pipeline.settings.conditions import Condition
from pipeline.tracking.subsets import best_subsets
from schemas.decoding.run import match_cells
from schemas.imaging.tables import FOV, ROI
from schemas.queries.cells import presence
from schemas.queries.errors import errors_of
from schemas.queries.tracking_runs import tracking_run_of_sessions
from schemas.session import Behavior, Session, trials_of
from schemas.work.filling import fill


@dataclass(frozen=True)
class BestSet:
    """Sessions of a mouse that share most cells among all sets of as many; ``meso`` calls take it for their ids.

    Attributes
    ----------
    subject : str
    size, n_shared : int
        Numbers of sessions, and of cells found in all of them.
    eids : tuple of str
        By date.
    dates : tuple of datetime.date
    tracking_run : str
    rule : dict
        Which cells count, as ``run_ndc`` takes it: ``neurons_only``, ``min_cell_probability``, ``min_silhouette``.
    """

    subject: str
    size: int
    n_shared: int
    eids: tuple[str, ...]
    dates: tuple[datetime.date, ...]
    tracking_run: str
    rule: dict[str, Any]

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values: a row of a table."""
        return {
            "subject": self.subject, "n_sessions": self.size, "n_shared": self.n_shared, "eids": list(self.eids),
            "session_dates": list(map(str, self.dates)), "tracking_run": self.tracking_run, **self.rule,
        }  # fmt: skip


def usable(
    eids: Sequence[str], *, min_trials: int | None = None, protocol: str | None = None, trials: str = ""
) -> tuple[list[str], dict[str, str]]:  # fmt: skip
    """Return those of registered sessions that have enough trials and the protocol, and the reasons for the others.

    Trials that were not read yet are read. Without a criterion nothing is looked at.

    Parameters
    ----------
    eids : sequence of str
    min_trials : int, optional
        Least number of trials of the session.
    protocol : str, optional
        Part of the task protocol, such as 'biased', in upper or lower case.
    trials : str
        Condition: only trials that meet it are counted, and a session has one or more; by default all.

    Raises
    ------
    ArgumentError
        The text is not a condition.
    """
    condition = Condition.parse(trials).text if trials.strip() else ""
    if condition and min_trials is None:
        min_trials = 1
    reasons: dict[str, str] = {}
    keys = [{"eid": eid} for eid in eids]
    if protocol is not None:
        for row in (Session & keys).proj("task_protocol").to_dicts():
            if protocol.lower() not in row["task_protocol"].lower():
                reasons[row["eid"]] = f"its protocol is {row['task_protocol']!r}"
    if min_trials is not None:
        fill([Behavior], keys)
        n_trials: dict[str, int] = dict(zip(*(Behavior & keys).to_arrays("eid", "n_trials"), strict=True))
        errors = {row["key"]["eid"]: row["message"] for row in errors_of([Behavior], keys)}
        for eid in eids:
            if eid not in n_trials:
                reasons.setdefault(eid, errors.get(eid, "its trials are not read yet"))
                continue
            n = int((first_failed(condition, trials_of(eid)) == 0).sum()) if condition else n_trials[eid]
            if n < min_trials:
                reasons.setdefault(
                    eid, f"it has {n} trials{condition and f' with {condition}'}, fewer than {min_trials}"
                )
    return [eid for eid in eids if eid not in reasons], reasons


def best_sets(
    eids: Sequence[str], sizes: Iterable[int], *, min_trials: int | None = None, protocol: str | None = None,
    trials: str = "", tracking_run: str | None = None, n_each: int = 1, progress: bool = False, **rule: Any,
) -> tuple[list[BestSet], dict[str, str]]:  # fmt: skip
    """Return the sets of sessions that share most cells, exactly, and the reasons for sessions that are left out.

    Positions of ROIs that were not read yet are read, and matched with the UIDs.

    Parameters
    ----------
    eids : sequence of str
        Registered sessions of one subject, of which to choose.
    sizes : iterable of int
        Numbers of sessions of a set.
    min_trials, protocol, trials
        As for ``usable``.
    tracking_run : str, optional
        Start of the hash of a tracking run; by default the latest.
    n_each : int
        How many sets of each size.
    progress : bool
    **rule
        Which cells count: see SessionSet. By default neurons.

    Returns
    -------
    list of BestSet
        By size, then in falling order of shared cells; of equal ones, those of earlier sessions first. A size of which
        no set shares a cell is not there.
    dict of str to str
        Reason by eid.

    Raises
    ------
    DataError
        No session meets the criteria, or has tracked cells.
    """
    rule = {"neurons_only": True, "min_cell_probability": None, "min_silhouette": None, **rule}
    chosen, reasons = usable(eids, min_trials=min_trials, protocol=protocol, trials=trials)
    if not chosen:
        raise DataError("no session meets the criteria", do=listed(reasons) or None)
    fill([FOV, ROI], [{"eid": eid} for eid in chosen], progress=progress)
    run = tracking_run_of_sessions(chosen, tracking_run)
    tracked, untracked = match_cells(chosen, run, progress=progress)
    if not tracked:
        raise DataError("no session has tracked cells", do=listed(untracked) or None)
    _, sessions, found = presence(run, eids=tracked, **rule)
    if not found.any():
        raise DataError("no tracked cell meets the criteria", expected="lower thresholds, or all ROIs", found=f"{rule}")
    subsets, counts = best_subsets(found, sizes, n_each=n_each)
    return [
        BestSet(
            sessions[0]["subject"], int(subset.sum()), int(n), tuple(row["eid"] for row in members),
            tuple(row["session_date"] for row in members), run["tracking_run"], rule,
        )
        for subset, n in zip(subsets, counts, strict=True)
        for members in [[row for row, is_in in zip(sessions, subset, strict=True) if is_in]]
    ], {**reasons, **untracked}  # fmt: skip


def chosen_sessions(
    eids: Sequence[str], best: int | None = None, *, min_trials: int | None = None, protocol: str | None = None,
    **options: Any,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Return those of the sessions of a mouse that are to be decoded, and notes about the choice.

    Parameters
    ----------
    eids : sequence of str
    best : int, optional
        Take the so many sessions that share most cells.
    min_trials, protocol, **options
        As for ``best_sets``.

    Raises
    ------
    DataError
        No session is left, or no ``best`` sessions share a cell.
    """
    if best is None:
        chosen, reasons = usable(eids, min_trials=min_trials, protocol=protocol)
        if not chosen:
            raise DataError("no session meets the criteria", do=listed(reasons) or None)
        return chosen, _notes(reasons)
    found, reasons = best_sets(eids, [best], min_trials=min_trials, protocol=protocol, **options)
    if not found:
        raise DataError(
            f"no set of {best} sessions: {why_none([best], len(eids) - len(reasons))}",
            do=listed(reasons) or "'meso sets' shows sets of fewer",
        )
    (one,) = found
    n, dates = len(eids) - len(reasons), ", ".join(map(str, one.dates))
    return list(one.eids), [
        *_notes(reasons),
        f"the {best} of {n} sessions that share most cells, {one.n_shared}: {dates}",
    ]


def why_none(sizes: Iterable[int], n_sessions: int) -> str:
    """Return why no set of any of the sizes was found among so many sessions."""
    if min(sizes) > n_sessions:
        return f"there {'is 1 session' if n_sessions == 1 else f'are {n_sessions} sessions'} to choose from"
    return "no set of this size shares a cell"


def listed(reasons: Mapping[str, str]) -> str:
    """Return the reasons why sessions are left out as text."""
    return "; ".join(f"session {eid}: {reason}" for eid, reason in reasons.items())


def _notes(reasons: Mapping[str, str]) -> list[str]:
    return [f"session {eid} is left out: {reason}" for eid, reason in reasons.items()]

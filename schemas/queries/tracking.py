"""Which tracking run is meant, and which FOVs of a set of sessions it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import NotFoundError
from schemas.imaging.tables import FOV
from schemas.queries.errors import errors_of
from schemas.session import FOVFolder, Session
from schemas.tracking import SessionSet, TrackedFOV, TrackingFile, TrackingRun


def tracking_runs(subject: str) -> list[dict[str, Any]]:
    """Return the rows of TrackingRun of a subject, the one registered last first."""
    return (TrackingRun & {"subject": subject}).to_dicts(order_by="registered_at DESC")


def tracking_run(subject: str, named: str | None = None) -> dict[str, str]:
    """Return the key of a tracking run of a subject.

    Parameters
    ----------
    subject : str
    named : str, optional
        Its hash, or the start of it; by default the run registered last.

    Raises
    ------
    DataError
        There is no such run, or several begin so.
    """
    runs = tracking_runs(subject)
    found = [run for run in runs if run["tracking_run"].startswith(named or "")]
    if not found or (named and len(found) > 1):
        raise NotFoundError(
            f"no single tracking run {named} of {subject}" if named else f"no tracking run of {subject}",
            expected=f"the start of one of {', '.join(run['tracking_run'][:8] for run in runs)}" if runs else None,
            found=f"{len(found)} that begin so" if runs else None,
            do=f"Register one with: meso track {subject}",
        )
    return _key_of(found[0])


def tracking_run_of_sessions(
    eids: Sequence[str], named: str | None = None, uid_root: str | None = None, duplicates: str = "error"
) -> dict[str, str]:
    """Return the key of the tracking run to compare sessions by.

    Parameters
    ----------
    eids : sequence of str
        Registered sessions of one subject.
    named : str, optional
        Its hash, or the start of it. By default the run registered last, and if that lacks one of the sessions, the
        UID files are registered anew.
    uid_root, duplicates
        As for ``TrackingRun.register``; by default those of the run registered last. With ``uid_root`` the files there
        are registered.

    Raises
    ------
    DataError
        There is no such run, several begin so, or as ``TrackingRun.register``.
    """
    subject = (Session & {"eid": eids[0]}).fetch1("subject")
    if named:
        return tracking_run(subject, named)
    last = tracking_runs(subject)[:1]
    if last and uid_root is None:
        run = _key_of(last[0])
        if set(eids) <= set((TrackingFile & run).to_arrays("eid")):
            return run
        uid_root, duplicates = last[0]["uid_root"] or None, last[0]["duplicates"]
    return TrackingRun.register(subject, uid_root, duplicates)


def latest_tracking_runs(subject: str | None = None) -> list[dict[str, str]]:
    """Return the key of the tracking run registered last: of a subject, if it has any, or of every subject."""
    runs = TrackingRun & ({"subject": subject} if subject is not None else {})
    by_subject = {row["subject"]: _key_of(row) for row in runs.to_dicts(order_by="registered_at")}
    return list(by_subject.values())


def _key_of(run: dict[str, Any]) -> dict[str, str]:
    return {name: run[name] for name in TrackingRun.primary_key}


def fovs_left_out(session_set: dict) -> list[str]:
    """Return a line for each FOV of a set's sessions whose cells the set does not compare, and why."""
    compared = (SessionSet.FOV & session_set).proj()
    listed = FOVFolder.proj() & (SessionSet.Member & session_set).proj()
    fovs = (listed - compared).keys(order_by="eid, fov")
    if not fovs:
        return []
    run = (SessionSet & session_set).proj("subject", "tracking_run").fetch1()
    reasons = reasons_untracked(_key_of(run), fovs)
    return [
        f"session {key['eid']}, FOV_{key['fov']:02d}: its cells are in no comparison. "
        + reasons.get((key["eid"], key["fov"]), "It has no UID file")
        for key in fovs
    ]


def reasons_untracked(run: dict, places: Sequence[dict]) -> dict[tuple[str, int], str]:
    """Return why the cells of FOVs are not tracked, by session and FOV, where an error says so.

    Parameters
    ----------
    run : dict
        Key of a TrackingRun: errors of another one are no reasons.
    places : sequence of dict
        eid, or eid and fov, of each.
    """
    errors = errors_of([FOV], places) + errors_of([TrackedFOV], run, places)
    reasons: dict[tuple[str, int], str] = {}
    for row in errors:  # what could not be read, before what could not be matched
        reasons.setdefault((row["key"]["eid"], row["key"]["fov"]), row["message"])
    return reasons

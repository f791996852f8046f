"""Finding a tracking run, and the FOVs that a set of sessions leaves out, with the reasons."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datajoint as dj

from pipeline.errors import NotFoundError
from pipeline.reading.fov import CLASSIFIER
from pipeline.tracking.uids import SILHOUETTE
from schemas.imaging.tables import FOV, ROI
from schemas.queries.errors import errors_of
from schemas.queries.ids import one_subject
from schemas.session import FOVFolder
from schemas.tracking import SessionSet, SharedCells, TrackedFOV, TrackingFile, TrackingRun


def tracking_runs(subject: str) -> list[dict[str, Any]]:
    """Return the rows of TrackingRun of a subject, the latest registered first; one statement."""
    return (TrackingRun & {"subject": subject}).to_dicts(order_by="registered_at DESC")


def tracking_run(subject: str, named: str | None = None) -> dict[str, str]:
    """Return the key of a tracking run of a subject; one statement.

    Parameters
    ----------
    subject : str
    named : str, optional
        Hash of the run, or the start of it; by default the run registered last.

    Raises
    ------
    NotFoundError
        There is no such run, or several hashes have this start.
    """
    runs = tracking_runs(subject)
    found = [run for run in runs if run["tracking_run"].startswith(named or "")]
    if not found or (named and len(found) > 1):
        raise NotFoundError(
            f"no single tracking run {named} of {subject}" if named else f"no tracking run of {subject}",
            expected=f"the start of one of {', '.join(run['tracking_run'][:8] for run in runs)}" if runs else None,
            found=f"{len(found)} with this start" if runs else None,
            do=f"Register one with: meso track {subject}",
        )
    return _key_of(found[0])


def tracking_run_of_sessions(
    eids: Sequence[str],
    named: str | None = None,
    uid_root: str | Path | None = None,
    duplicates: str = "error",
    uid_form: str = "uuid",
) -> dict[str, str]:
    """Return the key of the tracking run to use for the comparison of sessions.

    At most three statements, unless UID files are registered: then it warns of such that may be still to come.

    Parameters
    ----------
    eids : sequence of str
        Registered sessions of one subject.
    named : str, optional
        Hash of the run, or the start of it. By default the run registered last; if that lacks one of the sessions, the
        UID files are registered again.
    uid_root, duplicates, uid_form
        As for ``TrackingRun.register``; by default those of the run registered last. If ``uid_root`` is given, the
        files there are always registered.

    Raises
    ------
    DataError
        The sessions are of several subjects, there is no such run, several hashes have this start, or as for
        ``TrackingRun.register``.
    """
    subject = one_subject(eids)
    if named:
        return tracking_run(subject, named)
    last = tracking_runs(subject)[:1]
    if last and uid_root is None:
        run = _key_of(last[0])
        if set(eids) <= set((TrackingFile & run).to_arrays("eid")):
            return run
        uid_root, duplicates = last[0]["uid_root"] or None, last[0]["duplicates"]
        uid_form = last[0]["uid_form"] or uid_form
    run = TrackingRun.register(subject, uid_root, duplicates, uid_form)
    for text in TrackingRun.notes_on(run, [_key_of(one) for one in last]):
        warnings.warn(text, stacklevel=2)
    return run


def latest_tracking_runs(subject: str | None = None) -> list[dict[str, str]]:
    """Return the key of the latest tracking run of a subject (if it has any), or of each subject; one statement."""
    runs = TrackingRun & ({"subject": subject} if subject is not None else {})
    by_subject = {row["subject"]: _key_of(row) for row in runs.to_dicts(order_by="registered_at")}
    return list(by_subject.values())


def _key_of(run: dict[str, Any]) -> dict[str, str]:
    return {name: run[name] for name in TrackingRun.primary_key}


def notes_on_fovs(session_set: dict) -> list[str]:
    """Return lines of text about FOVs whose cells a set does not compare, or finds in no other session.

    Parameters
    ----------
    session_set : dict
        Key of a SessionSet, or its row, which spares a statement.
    """
    key = {name: session_set[name] for name in SessionSet.primary_key}
    return [*fovs_left_out(key), *fovs_without_quality(session_set), *fovs_of_other_runs(key)]


def fovs_without_quality(session_set: dict) -> list[str]:
    """Return a line of text for each FOV of a set that lacks what the criteria of the set ask of its cells.

    One statement if there are no criteria, otherwise one more for each; parameter as for ``notes_on_fovs``.
    """
    key = {name: session_set[name] for name in SessionSet.primary_key}
    rule = session_set if "min_silhouette" in session_set else (SessionSet & key).fetch1()
    tracked = (TrackedFOV & (SessionSet.FOV & key).proj() & "n_tracked > 0").proj()
    known = {
        "min_silhouette": (SILHOUETTE, TrackedFOV.Member & "silhouette IS NOT NULL"),
        "min_cell_probability": (CLASSIFIER, ROI & "cell_probability IS NOT NULL"),
    }
    return [
        f"session {key['eid']}, FOV_{key['fov']:02d}: none of its cells is compared, since {criterion} of the set asks "
        f"for {dataset}, which it lacks"
        for criterion, (dataset, values) in known.items() if rule[criterion] is not None
        for key in (tracked - (values & tracked).proj()).keys(order_by="eid, fov")
    ]  # fmt: skip


def fovs_left_out(session_set: dict) -> list[str]:
    """Return a line of text for each FOV of a set's sessions that the set does not compare, with the reason.

    One statement if there is no such FOV, otherwise five.
    """
    compared = (SessionSet.FOV & session_set).proj()
    listed = FOVFolder.proj() & (SessionSet.Member & session_set).proj()
    fovs = (listed - compared).keys(order_by="eid, fov")
    if not fovs:
        return []
    run = _key_of((SessionSet & session_set).proj("subject", "tracking_run").fetch1())
    reasons = reasons_untracked(run, fovs)
    with_file = {(row["eid"], row["fov"]) for row in (TrackingFile & run & fovs).proj().to_dicts()}
    return [
        f"session {key['eid']}, FOV_{key['fov']:02d}: its cells are in no comparison. "
        + (reasons.get(place) or _untracked(run["subject"], place in with_file))
        for key in fovs
        for place in [(key["eid"], key["fov"])]
    ]


def _untracked(subject: str, has_file: bool) -> str:
    """Return why a FOV without an error is in no comparison."""
    if has_file:
        return "It could not be compared when the set was made: ask again, with meso ndc"
    return f"The tracking run has no UID file for it. If it has one by now: meso track {subject}"


def fovs_of_other_runs(session_set: dict) -> list[str]:
    """Return lines of text about the FOVs of a set that have tracked cells, none of which is in all sessions.

    So it is if a FOV was tracked again, with new UIDs, on some of the days only: a line for each whose UIDs no other
    session has, and one for each FOV some of whose UIDs others have. One statement if each FOV shares cells, otherwise
    two.
    """
    of_set = (SessionSet.FOV & session_set).proj()
    tracked = TrackedFOV & of_set & "n_tracked > 0"
    without = (tracked - (SharedCells.Cell & session_set).proj("fov")).to_dicts(order_by="eid, fov")
    if not without:
        return []
    members = TrackedFOV.Member & of_set
    elsewhere = dj.U("cell_uid").aggr(members, n_sessions="count(DISTINCT eid)") & "n_sessions > 1"
    places = [{name: row[name] for name in ("eid", "fov")} for row in without]
    found = {(row["eid"], row["fov"]) for row in (dj.U("eid", "fov") & (members & places & elsewhere)).to_dicts()}
    in_some = [
        f"FOV_{fov:02d}: no cell is in all sessions of the set, although some are in several. If it was tracked again "
        "on some of the days only, the other UID files are still to come"
        for fov in sorted({fov for _, fov in found})
    ]
    return in_some + [
        f"session {row['eid']}, FOV_{row['fov']:02d}: none of its {row['n_tracked']} UIDs is in another session of the "
        f"set, so that it shares no cell. If it was tracked again with other sessions, its UID file is still to come"
        for row in without
        if (row["eid"], row["fov"]) not in found
    ]


def reasons_untracked(run: dict, places: Sequence[dict]) -> dict[tuple[str, int], str]:
    """Return error messages that explain why FOVs have no tracked cells, by eid and FOV; two statements.

    Parameters
    ----------
    run : dict
        Key of a TrackingRun; errors of other runs are ignored.
    places : sequence of dict
        Keys with eid, or with eid and fov.
    """
    errors = errors_of([FOV], places) + errors_of([TrackedFOV], run, places)
    reasons: dict[tuple[str, int], str] = {}
    for row in errors:  # an error of FOV, which comes first, is the cause of one of TrackedFOV
        reasons.setdefault((row["key"]["eid"], row["key"]["fov"]), row["message"])
    return reasons

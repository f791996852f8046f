"""Tracking runs with what was made of them, and dropping those that nothing uses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import datajoint as dj

from pipeline.errors import DataError, NotFoundError
from schemas.cascade import Cascade
from schemas.decoding.tables import NDCResult, NDCTask
from schemas.queries.tracking_runs import tracking_run, tracking_runs
from schemas.session import Session
from schemas.tracking import SessionSet, TrackedCell, TrackedFOV, TrackingRun
from schemas.tracking import schema as tracking_schema

#: Sets of sessions that a refusal names.
MOST_NAMED = 5


def runs_with_uses(subject: str) -> list[dict[str, Any]]:
    """Return the tracking runs of a subject, the latest registered first; five statements.

    Returns
    -------
    list of dict
        tracking_run, registered_at (UTC); numbers of sessions with tracked cells, of cells, of sets of sessions, of
        curves that were asked for by settings and set (``NDCTask``), and of stored curves of sessions (``NDCResult``).

    Raises
    ------
    NotFoundError
        The subject has no registered session.
    """
    runs = tracking_runs(subject)
    if not runs and not (Session & {"subject": subject}):
        raise NotFoundError(
            f"no session of {subject} is registered", do=f"Register them with: meso ingest --subject {subject}"
        )
    own, by_run = {"subject": subject}, dj.U("tracking_run")
    sets = SessionSet.proj("subject", "tracking_run") & own
    counts = {
        "n_sessions": by_run.aggr(TrackedFOV & own, n="count(DISTINCT eid)"),
        "n_cells": by_run.aggr(TrackedCell & own, n="count(*)"),
        "n_sets": by_run.aggr(sets, n="count(*)"),
        "n_tasks": by_run.aggr(sets * NDCTask.proj(), n="count(*)"),
        "n_curves": by_run.aggr(sets * NDCResult.proj(), n="count(*)"),
    }
    found = {name: Counter({row["tracking_run"]: row["n"] for row in query.to_dicts()})
             for name, query in counts.items()}  # fmt: skip
    return [
        {"tracking_run": run["tracking_run"], "registered_at": run["registered_at"]}
        | {name: of_runs[run["tracking_run"]] for name, of_runs in found.items()}
        for run in runs
    ]


def drop_run(subject: str, named: str) -> dict[str, int]:
    """Delete a tracking run that nothing uses, with its cells and sets of sessions, and record it in ``Deletion``.

    Matching makes sets of sessions in a moment; what uses a run are curves that were asked for, and rows of a lab's own
    tables. Where the files are registered again, the run is there again under the same name.

    Parameters
    ----------
    subject : str
    named : str
        Hash of the run, or the start of it.

    Returns
    -------
    dict of str to int
        Numbers of deleted rows by table.

    Raises
    ------
    NotFoundError
        There is no such run, or several hashes have this start.
    DataError
        The run is used; the message lists by what.
    """
    if not named:  # the start of every hash
        raise NotFoundError("no tracking run is named", do=f"List them with: meso track {subject} --list")
    run = tracking_run(subject, named)
    cascade = Cascade(TrackingRun & run)
    own = {cls.__name__ for cls, _ in tracking_schema.declare_list}
    uses = {table: n for table, n in cascade.counts().items() if table.partition(".")[0] not in own}
    if uses:
        sets = (SessionSet & run & NDCTask).to_arrays("session_set", order_by="session_set").tolist()
        of_sets = f", of the sets of sessions {', '.join(one[:8] for one in sets[:MOST_NAMED])}" if sets else ""
        more = f" and {len(sets) - MOST_NAMED} more" if len(sets) > MOST_NAMED else ""
        raise DataError(
            f"tracking run {run['tracking_run'][:8]} of {subject} is used", expected="no rows that depend on it",
            found=", ".join(f"{table} {n}" for table, n in uses.items()) + of_sets + more,
            do="Delete these first: (schemas.NDCTask & {'session_set': ...}).delete()",
        )  # fmt: skip
    return cascade.delete()

"""Reports on jobs and workers, and clearing errors so that failed jobs are tried again."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import datajoint as dj

from pipeline.errors import ConfigError, MesoError
from schemas.embedding import Embedding
from schemas.imaging.tables import FOV, ROI, Activity, Recording
from schemas.rows import jobs_of
from schemas.server.binding import auto_populated
from schemas.server.connection import connect
from schemas.session import ReadsSession, Session
from schemas.work.dead_workers import reservations
from schemas.work.jobs import keys_sql
from schemas.work.states import JobStatus, WorkerState
from schemas.work.tables import Attempt, Made, Worker

#: Parts that differ between two messages about the same fault: UUIDs, hashes and numbers.
VARIABLE_PARTS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d+")

#: What is counted of a table beside its jobs by status: its possible jobs, those not done, and the mean s of a job.
POSSIBLE, MISSING, SECONDS = "possible", "missing", "seconds"


def status() -> list[dict[str, Any]]:
    """Return the numbers of jobs by table, their average duration, and the time that the pending jobs will take.

    Returns
    -------
    list of dict
        table; done, to_do, running, errors (numbers of jobs); seconds (average duration of a job); eta (s for ``to_do``
        with the present workers); longest (s) and host of the job that has been running longest. Unknown values are
        None.
    """
    numbers, present = _numbers(), workers()
    n_workers, running = max(1, len(present)), [worker for worker in present if worker["table"]]
    rows = []
    for name in (table.__name__ for table in auto_populated()):
        total, remaining, failed, reserved = (
            int(numbers.get((name, what), 0)) for what in (POSSIBLE, MISSING, JobStatus.ERROR, JobStatus.RESERVED)
        )
        # an error may be of a job that is not possible any more
        to_do = max(remaining - failed - reserved, 0)
        longest = max((row for row in running if row["table"] == name), key=lambda row: row["running_for"], default={})
        seconds = numbers.get((name, SECONDS))
        eta = None if seconds is None or not to_do else seconds * to_do / n_workers
        rows.append({
            "table": name, "done": total - remaining, "to_do": to_do, "running": reserved, "errors": failed,
            "seconds": seconds, "eta": eta, "longest": longest.get("running_for"),
            "host": longest.get("host"),
        })  # fmt: skip
    return rows


def _numbers() -> dict[tuple[str, str], float]:
    """Return what is counted by table and POSSIBLE, MISSING, SECONDS or a JobStatus; one query."""
    counts = [
        f"SELECT '{table.__name__}', '{what}', COUNT(*) FROM ({keys}) AS {what}"
        for table in auto_populated()
        for what, keys in zip((POSSIBLE, MISSING), keys_sql(table), strict=True)
    ]
    means = (
        f"SELECT table_name, '{SECONDS}', SUM(seconds) / SUM(n_made) FROM {Made.full_table_name} GROUP BY table_name"
    )
    rows = connect().query(" UNION ALL ".join([*counts, *_job_counts(), means])).fetchall()
    return {(name, what.strip()): float(number) for name, what, number in rows}


def jobs_by_status() -> Counter[tuple[str, JobStatus]]:
    """Return the number of jobs in the job tables by table and status; one query."""
    rows = connect().query(" UNION ALL ".join(_job_counts())).fetchall()
    return Counter({(name, JobStatus(status.strip())): n for name, status, n in rows})


def _job_counts() -> list[str]:
    """Return queries for table, status and number of its jobs; the status is padded with spaces on PostgreSQL."""
    return [
        f"SELECT '{table.__name__}', CAST(status AS CHAR(16)), COUNT(*) FROM {jobs_of(table).full_table_name} "
        f"GROUP BY status"
        for table in auto_populated()
    ]


def workers(include_ended: bool = False) -> list[dict[str, Any]]:
    """Return the workers and the job that each is running; two queries.

    Returns
    -------
    list of dict
        worker, host, pid, slot, environment, started, heartbeat, silent (s since the last heartbeat); state
        (``WorkerState``, or the ``EndReason`` of an ended worker); table, key and running_for (s) of its job, or None.
    """
    running = {row["worker"]: row for row in reservations()}
    nothing = {"table": None, "key": None, "running_for": None}
    rows = []
    for worker in Worker.rows(include_ended):
        job = running.get(worker["worker"], nothing)
        active = WorkerState.WORKING if job["table"] else WorkerState.IDLE
        state = worker["end_reason"] or (WorkerState.DEAD if worker["is_dead"] else active)
        names = ("worker", "host", "pid", "slot", "environment", "started", "heartbeat")
        rows.append({
            **{name: worker[name] for name in names}, "silent": float(worker["silent"]), "state": state,
            **{name: job[name] for name in nothing},
        })  # fmt: skip
    return rows


def errors(
    tables: Sequence[type[dj.Table]] | None = None,
    key: dict[str, Any] | None = None,
    *,
    stack: bool = False,
    newest: int | None = None,
) -> list[dict[str, Any]]:
    """Return the failed jobs in the job tables: table, key, message, host, completed_time; one query for each table.

    Parameters
    ----------
    tables : sequence of table classes, optional
        All populated tables by default.
    key : dict, optional
        Only jobs with these key values, e.g. of a session. Tables without these attributes are skipped.
    stack : bool
        Also return the traceback and the software versions, as ``stack``.
    newest : int, optional
        Return at most so many, the latest first; by default all, table by table.

    Raises
    ------
    ConfigError
        No table has all names of ``key`` in its key.
    """
    columns = ("error_message", "host", "completed_time", *(["error_stack"] if stack else []))
    rows = []
    for table in _with_key(tables, key or {}):
        failed = (jobs_of(table).errors & (key or {})).proj(*columns)
        found = failed.to_dicts(order_by="completed_time DESC" if newest else None, limit=newest)
        # a time may be missing, in a row that was not written here: PostgreSQL puts these first, so that others are cut
        if newest and any(row["completed_time"] is None for row in found):
            found += (failed & "completed_time IS NOT NULL").to_dicts(order_by="completed_time DESC", limit=newest)
            found = list({tuple(row[name] for name in jobs_of(table).primary_key): row for row in found}.values())
        for row in found:
            rows.append({
                "table": table.__name__, "key": {name: row[name] for name in jobs_of(table).primary_key},
                "message": row["error_message"], "host": row["host"], "completed_time": row["completed_time"],
                **({"stack": row["error_stack"]} if stack else {}),
            })  # fmt: skip
    # the newest of each table were fetched; of these, the newest of all
    return (
        sorted(rows, key=lambda row: (row["completed_time"] is not None, row["completed_time"]), reverse=True)[:newest]
        if newest
        else rows
    )


def grouped(failures: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return failures in groups, the largest first: same table, and messages that differ only in numbers and ids."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in failures:
        groups.setdefault((row["table"], VARIABLE_PARTS.sub("#", row["message"])), []).append(row)
    return sorted(groups.values(), key=len, reverse=True)


def retry(tables: Sequence[type[dj.Table]] | None = None, **key: Any) -> int:
    """Clear failed jobs, so that they are tried again, and return their number.

    Embeddings that were computed without a failed FOV are deleted, to be recomputed with or without it. Files that
    errors of reading name are registered anew, if they are others now: a person has replaced them.

    Parameters
    ----------
    tables : sequence of table classes, optional
        All populated tables by default.
    **key
        Only jobs with these key values, e.g. ``eid``.

    Raises
    ------
    ConfigError
        No table has all names of ``key`` in its key.
    """
    count = 0
    for table in _with_key(tables, key):
        failed = jobs_of(table).errors & key
        keys = failed.keys()
        count += len(keys)
        if table in (FOV, Recording, ROI, Activity) and keys:
            # before the failures are cleared: if this is cut, retry finds them again
            delete_incomplete(Embedding & [{"eid": row["eid"]} for row in keys])
        if table in ReadsSession.choosing:
            _register_anew(failed)
        Attempt.clear(table.__name__, keys)
        failed.delete()
    return count


def _register_anew(failed: dj.Table) -> None:
    """Register the files anew that failed jobs name; if a session cannot be looked at, they stay."""
    errors = defaultdict(list)
    for row in failed.to_dicts():
        errors[row["eid"]].append(row["error_message"] or "")
    for eid, messages in errors.items():
        with suppress(MesoError):  # reading it says why
            Session.File.renew(eid, messages)


def delete_incomplete(embeddings: dj.Table) -> None:
    """Delete embeddings that were made without FOVs that are now to be read, and warn of it; populate makes others.

    Embedding takes the FOVs that there are: see ``imaged_sessions``.
    """
    if n := len(embeddings):
        warnings.warn(f"{n} embeddings were made without these FOVs: deleted, to be recomputed", stacklevel=3)
        embeddings.delete(prompt=False)


def _with_key(tables: Sequence[type[dj.Table]] | None, key: dict[str, Any]) -> list[type[dj.Table]]:
    """Return the tables that have all names of a key in theirs; DataJoint would ignore unknown names."""
    tables = list(tables or auto_populated())
    found = [table for table in tables if set(key) <= set(jobs_of(table).primary_key)]
    if not found:
        raise ConfigError(f"{', '.join(key)}: not a key attribute of {', '.join(table.__name__ for table in tables)}")
    return found

"""Workers that died: they are ended, and the jobs that they had reserved are released for others.

A worker is dead when its heartbeat is silent or, on the same machine, its process is gone. A job during which several
workers died becomes an error: it may be what kills them.
"""

from __future__ import annotations

import json
from typing import Any

from schemas.server.binding import table_named
from schemas.server.connection import connect
from schemas.server.dialect import JOBS_NOW, dialect
from schemas.server.settings import prefix
from schemas.work.jobs import Job
from schemas.work.states import EndReason, JobStatus
from schemas.work.tables import Attempt, Worker

#: A job during which so many workers have died becomes an error ("poison").
MAX_WORKER_DEATHS = 3


def end_worker(worker: str, reason: EndReason, who: str) -> list[str]:
    """End the worker of another process, and release the jobs that it had reserved; return messages for the log.

    Parameters
    ----------
    worker : str
    reason : EndReason
        KILLED and SILENT count as a death for the jobs: after MAX_WORKER_DEATHS a job becomes an error. STOPPED does
        not.
    who : str
        How messages name the worker.
    """
    with connect().transaction:
        is_death = Worker.end(worker, reason) and reason != EndReason.STOPPED
        return [message for row in reservations(worker) for message in _release(row, who if is_death else "")]


def _release(row: dict[str, Any], dead: str = "") -> list[str]:
    """In a transaction, release a job of an ended worker, or fail it after too many deaths; return messages.

    Parameters
    ----------
    row : dict
        As returned by ``reservations``.
    dead : str
        Name of the worker if its death counts, otherwise ''.
    """
    job = Job(table_named(row["table"]), row["key"], row["worker"])
    if not job.hold(wait=False):  # the server has not ended the worker's transaction yet: release_dead_jobs tries again
        return []
    n_deaths = Attempt.record(row["table"], job.key, "n_deaths") if dead else 0
    if n_deaths < MAX_WORKER_DEATHS:
        job.release()
        return [f"{dead} died while running {row['table']} {job.key}"] if dead else []
    text = f"poison: {n_deaths} workers died while running this job, the last was {dead}"
    job.fail(text, "No stack: the process was killed, e.g. for using too much memory, or crashed in compiled code")
    return [text]


def reservations(worker: str | None = None) -> list[dict[str, Any]]:
    """Return the reserved jobs, of one worker or of all; one query.

    Returns
    -------
    list of dict
        table, key, worker ('' for DataJoint's own ``populate``), host, running (s).
    """
    connection = connect()
    running = dialect(connection).seconds_between("reserved_time", JOBS_NOW)
    view = connection.adapter.make_full_table_name(prefix() + "views", "job")
    whose, args = (" AND worker = %s", (worker,)) if worker is not None else ("", ())
    rows = connection.query(
        f"SELECT table_name, entry_key, worker, host, {running} FROM {view} "
        f"WHERE status = '{JobStatus.RESERVED}'{whose}",
        args=args,
    )
    return [
        {"table": table, "key": json.loads(key), "worker": worker, "host": host, "running_for": float(running)}
        for table, key, worker, host, running in rows.fetchall()
    ]


def release_dead_jobs() -> list[str]:
    """End all dead workers, and release the jobs that they had reserved; return messages for the log."""
    messages = [
        message
        for worker in Worker.rows()
        if worker["is_dead"]
        for message in end_worker(worker["worker"], EndReason.SILENT, f"process {worker['pid']} on {worker['host']}")
    ]
    for row in _reserved_by_ended():
        with connect().transaction:
            _release(row)
    return messages


def _reserved_by_ended() -> list[dict[str, Any]]:
    """Return the jobs that are still reserved by workers that have ended.

    Their rows were locked when the worker was ended, or they were reserved after that: statements of a dead process may
    reach the server late.
    """
    reserved = reservations()
    workers = [{"worker": row["worker"]} for row in reserved if row["worker"]]
    ended = set((Worker & workers & "ended IS NOT NULL").to_arrays("worker")) if workers else set()
    return [row for row in reserved if row["worker"] in ended]

"""What is done, running, waiting and failed; and trying again what failed."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import datajoint as dj

from pipeline.errors import ConfigError
from schemas.embedding import Embedding
from schemas.imaging.tables import FOV, ROI, Activity, Recording
from schemas.rows import jobs_of
from schemas.server.binding import auto_populated
from schemas.server.connection import connect
from schemas.work.runner import keys_sql, reservations
from schemas.work.states import JobStatus, WorkerState
from schemas.work.tables import Attempt, Made, Worker

#: What differs between two messages about the same fault.
PARTICULARS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d+")


def status() -> list[dict[str, Any]]:
    """Return done, left to do, running and failed jobs of every table, how long one takes, and the rest.

    Returns
    -------
    list of dict
        table, done, to_do, running, errors; ``seconds`` of a job on average; ``eta``, s with the workers that live
        now; ``longest``, s, and ``host`` of the job that runs longest. None where nothing is known.
    """
    jobs, seconds, n_workers = jobs_by_status(), _seconds(), max(1, len(living := workers()))
    running = [one for one in living if one["table"]]
    rows = []
    for name, total, remaining in _progress():
        failed, reserved = jobs[name, JobStatus.ERROR], jobs[name, JobStatus.RESERVED]
        to_do = max(remaining - failed - reserved, 0)
        longest = max((one for one in running if one["table"] == name), key=lambda one: one["running"], default={})
        eta = None if name not in seconds or not to_do else seconds[name] * to_do / n_workers
        rows.append({
            "table": name, "done": total - remaining, "to_do": to_do, "running": reserved, "errors": failed,
            "seconds": seconds.get(name), "eta": eta, "longest": longest.get("running"), "host": longest.get("host"),
        })  # fmt: skip
    return rows


def _progress() -> list[tuple[str, int, int]]:
    """Return how many jobs each table can have, and how many are not done, in one query."""
    tables = auto_populated()
    counts = " UNION ALL ".join(
        f"SELECT {i}, (SELECT COUNT(*) FROM ({possible}) AS possible), (SELECT COUNT(*) FROM ({missing}) AS missing)"
        for i, (possible, missing) in enumerate(map(keys_sql, tables))
    )
    rows = sorted(connect().query(counts).fetchall())
    return [(tables[i].__name__, total, remaining) for i, total, remaining in rows]


def jobs_by_status() -> Counter[tuple[str, JobStatus]]:
    """Return the number of jobs in the job tables by table and status, in one query."""
    counts = " UNION ALL ".join(
        f"SELECT '{table.__name__}', CAST(status AS CHAR(16)), COUNT(*) FROM {jobs_of(table).full_table_name} "
        f"GROUP BY status"
        for table in auto_populated()
    )
    return Counter({(name, JobStatus(status.strip())): n for name, status, n in connect().query(counts).fetchall()})


def _seconds() -> dict[str, float]:
    """Return how long a job of each table takes on average."""
    rows = connect().query(
        f"SELECT table_name, SUM(seconds) / SUM(n_made) FROM {Made.full_table_name} GROUP BY table_name"
    )
    return {name: float(mean) for name, mean in rows.fetchall()}


def workers(include_ended: bool = False) -> list[dict[str, Any]]:
    """Return the workers, and the job that each of them is running.

    Returns
    -------
    list of dict
        worker, host, pid, slot, environment, started, heartbeat, silent (s since then); state: a ``WorkerState``, or
        the ``EndReason`` of one that has ended; of its job table, key, running (s).
    """
    running = {row["worker"]: row for row in reservations()}
    nothing = {"table": None, "key": None, "running": None}
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
    """Return failures in the job tables: table, key, message, host, time.

    Parameters
    ----------
    tables : sequence of table classes, optional
        All by default.
    key : dict, optional
        Only jobs of this key, such as a session.
    stack : bool
        With the traceback as ``stack``, and the versions of the software.
    newest : int, optional
        Only so many, the latest first; by default all, table by table.

    Raises
    ------
    ConfigError
        A name in ``key`` is no key of any of the tables.
    """
    columns = ("error_message", "host", "completed_time", *(["error_stack"] if stack else []))
    rows = []
    for table in _with_key(tables, key or {}):
        failed = (jobs_of(table).errors & (key or {})).proj(*columns)
        for row in failed.to_dicts(order_by="completed_time DESC" if newest else None, limit=newest):
            rows.append({
                "table": table.__name__, "key": {name: row[name] for name in jobs_of(table).primary_key},
                "message": row["error_message"], "host": row["host"], "time": row["completed_time"],
                **({"stack": row["error_stack"]} if stack else {}),
            })  # fmt: skip
    return sorted(rows, key=lambda row: row["time"], reverse=True)[:newest] if newest else rows


def grouped(failures: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return failures of one table whose messages differ in numbers and ids only together, the largest group first."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in failures:
        groups.setdefault((row["table"], PARTICULARS.sub("#", row["message"])), []).append(row)
    return sorted(groups.values(), key=len, reverse=True)


def retry(tables: Sequence[type[dj.Table]] | None = None, **key: Any) -> int:
    """Clear failures, so that these jobs are tried again; return how many.

    Embeddings that were made without a FOV that had failed are deleted: they are made anew, with it or without.

    Raises
    ------
    ConfigError
        A name in ``key`` is no key of any of the tables.
    """
    count = 0
    for table in _with_key(tables, key):
        failed = jobs_of(table).errors & key
        keys = failed.keys()
        count += len(keys)
        if table in (FOV, Recording, ROI, Activity) and keys:
            # embeddings made without these FOVs are made anew
            incomplete = Embedding & [{"eid": row["eid"]} for row in keys]
            if n := len(incomplete):
                warnings.warn(f"{n} embeddings were made without these FOVs: they are made anew", stacklevel=2)
            incomplete.delete(prompt=False)
        Attempt.forget(table.__name__, keys)
        failed.delete()
    return count


def _with_key(tables: Sequence[type[dj.Table]] | None, key: dict[str, Any]) -> list[type[dj.Table]]:
    """Return the tables that have all names of a key; DataJoint would ignore the others, and restrict to everything."""
    tables = list(tables or auto_populated())
    found = [table for table in tables if set(key) <= set(jobs_of(table).primary_key)]
    if not found:
        raise ConfigError(f"{', '.join(key)}: no key of {', '.join(table.__name__ for table in tables)}")
    return found

"""Crash-safe jobs: a worker that dies, stalls or is stopped loses no work.

The life of a job in DataJoint's job tables, in the order of this module:

1. ``Queue.add``: each key that is missing in a table becomes a pending job.
2. ``Job.reserve``: one worker reserves the job with its id.
3. ``Job.populate``: the worker runs the job through DataJoint's ``_populate1``. ``Job.finish`` deletes the job in the
   transaction that inserts its rows: the rows exist if and only if the job is done.
4. ``Job.release`` or ``Job.fail``: after an error the worker makes the job pending again, or records the error.

The worker that takes jobs through these steps is in ``runner``; what becomes of the jobs of a worker that died, in
``dead_workers``.

Every change of a job is conditional on the status and the worker in its row, so that a job which another worker has
reserved in the meantime is left alone.
"""

from __future__ import annotations

import datetime
import inspect
import logging
import os
import platform
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import datajoint as dj

from pipeline.errors import DataError
from schemas.rows import jobs_of, log_level
from schemas.server.connection import connect
from schemas.server.dialect import JOBS_NOW, dialect
from schemas.server.reconnection import without_reconnect
from schemas.work.states import JobStatus
from schemas.work.tables import Attempt, Made

#: Seconds until a job is tried again after a transient error, at most.
LONGEST_DELAY = 20.0
#: Seconds that ``run_all`` waits for a job that is not due: a little longer than for any that was postponed.
LONGEST_PAUSE = LONGEST_DELAY + 2.0
#: Length of the column error_message of DataJoint's job tables.
MESSAGE_LENGTH = 2047
#: Due jobs fetched at a time, which are shuffled so that workers do not all try to reserve the first.
MAX_DUE_JOBS = 32
#: Condition for jobs that may be run now: not those postponed after a transient error.
IS_DUE = f"status = '{JobStatus.PENDING}' AND scheduled_time <= {JOBS_NOW}"


class Unfinished(NamedTuple):
    """Jobs of a table that are pending or running.

    Attributes
    ----------
    table : str
    status : JobStatus
        PENDING or RESERVED.
    n : int
    until : datetime
        When the first of them is due, UTC.
    message : str
        Why it was postponed; '' if it was not.
    """

    table: str
    status: JobStatus
    n: int
    until: datetime.datetime
    message: str

    def __str__(self) -> str:
        jobs = "1 job" if self.n == 1 else f"{self.n} jobs"
        if self.status == JobStatus.RESERVED:
            return f"{self.table}: {jobs} being run by other workers ('meso workers' lists them)"
        reason = f" ({self.message})" if self.message else ""
        return f"{self.table}: {jobs} to do, the first not before {self.until:%Y-%m-%d %H:%M:%S} UTC{reason}"


# ------------------------------------------------------------------------------------------------ 1. missing to pending


class Queue:
    """The pending jobs of a table.

    Parameters
    ----------
    table : table class
    """

    def __init__(self, table: type[dj.Table]) -> None:
        self.table, self.jobs = table, jobs_of(table)
        self.connection = self.jobs.connection

    def is_incomplete(self, *restrictions: Any) -> bool:
        """Return whether the table has keys to populate."""
        return bool(_missing(self.table, restrictions))

    def add(self, *restrictions: Any) -> int:
        """Add a job for each key that is neither in the table nor in the job table; return their number.

        One statement: DataJoint's own ``refresh`` inserts one row at a time, which takes seconds for 2000.
        """
        sql, keys = dialect(self.connection), ", ".join(self._key_columns())
        # it holds for the next transaction only, so it must come directly before the INSERT
        for statement in sql.before_insert_new:
            self.connection.query(statement)
        new = (
            f"SELECT {keys}, '{JobStatus.PENDING}', {int(dj.config['jobs.default_priority'])}, {JOBS_NOW} "
            f"FROM {self.new_keys(*restrictions)}"
        )
        columns = f"{keys}, status, priority, scheduled_time"
        return self.connection.query(sql.insert_new(self.jobs.full_table_name, columns, new)).rowcount

    def new_keys(self, *restrictions: Any) -> str:
        """Return, as SQL to follow FROM, the keys that are neither in the table nor in the job table."""
        # a restriction may be different at every call: only the queries without one are kept
        missing = keys_sql(self.table)[1] if not restrictions else _missing(self.table, restrictions).make_sql()
        same = " AND ".join(f"missing.{name} = known.{name}" for name in self._key_columns())
        return (
            f"({missing}) AS missing "
            # INSERT IGNORE alone would do the same, but try, and lock, every job that is there already
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.jobs.full_table_name} AS known WHERE {same})"
        )

    def _key_columns(self) -> list[str]:
        return [self.connection.adapter.quote_identifier(name) for name in self.jobs.primary_key]

    def due(self, *restrictions: Any) -> list[dict]:
        """Return the keys of some jobs that may be run now, by priority, in random order among equals; one query."""
        due = self._pending(restrictions) & f"scheduled_time <= {JOBS_NOW}"
        rows = due.proj("priority").to_dicts(order_by="priority, scheduled_time", limit=MAX_DUE_JOBS)
        random.shuffle(rows)
        # stable: within a priority the random order stays
        rows.sort(key=lambda row: row["priority"])
        return [{name: row[name] for name in self.jobs.primary_key} for row in rows]

    def n_pending(self, *restrictions: Any) -> int:
        """Return the number of pending jobs, including postponed ones."""
        return len(self._pending(restrictions))

    def seconds_until_due(self, *restrictions: Any) -> float | None:
        """Return the seconds until the first pending job may be run, negative if it may; None if none is pending."""
        left = dialect(self.connection).seconds_between(JOBS_NOW, "scheduled_time")
        pending = self._pending(restrictions).proj("scheduled_time").make_sql()
        (seconds,) = self.connection.query(f"SELECT MIN({left}) FROM ({pending}) AS pending").fetchone()
        return None if seconds is None else float(seconds)

    def unfinished(self, *restrictions: Any) -> list[Unfinished]:
        """Return which jobs are pending, and which are running, if there are any; one query."""
        names = ("status", "scheduled_time", "error_message")
        rows = self._of_keys(self.jobs & "status in ('pending', 'reserved')", restrictions).proj(*names).to_dicts()
        found = []
        for status in (JobStatus.PENDING, JobStatus.RESERVED):
            if those := [row for row in rows if row["status"] == status]:
                first = min(those, key=lambda row: row["scheduled_time"])
                n, message = len(those), first["error_message"] or ""
                found.append(Unfinished(self.table.__name__, status, n, first["scheduled_time"], message))
        return found

    def _pending(self, restrictions: tuple) -> dj.QueryExpression:
        return self._of_keys(self.jobs.pending, restrictions)

    def _of_keys(self, jobs: dj.QueryExpression, restrictions: tuple) -> dj.QueryExpression:
        if not restrictions:
            return jobs
        # without the check: DataJoint gives the key of a job table another lineage than that of the table's parents
        return jobs.restrict(self.table()._jobs_to_do(restrictions), semantic_check=False)


def with_new_jobs(tables: Sequence[type[dj.Table]]) -> list[type[dj.Table]]:
    """Return those of the tables to which ``Queue.add`` would add jobs, usually none; one query."""
    query = " UNION ALL ".join(
        f"SELECT {i}, EXISTS(SELECT 1 FROM {Queue(table).new_keys()})" for i, table in enumerate(tables)
    )
    return [tables[i] for i, has_new in sorted(connect().query(query).fetchall()) if has_new]


def most_urgent(tables: Sequence[type[dj.Table]]) -> list[tuple[type[dj.Table], dict]]:
    """Return some jobs of the table that has the most urgent job; among equals, of the first of the tables.

    Two queries.
    """
    query = " UNION ALL ".join(
        f"SELECT {i}, MIN(priority) FROM {jobs_of(table).full_table_name} WHERE {IS_DUE}"
        for i, table in enumerate(tables)
    )
    # the number of the table decides between equal priorities: tables are in the order of their dependencies
    found = [(priority, i) for i, priority in connect().query(query).fetchall() if priority is not None]
    if not found:
        return []
    table = tables[min(found)[1]]
    return [(table, key) for key in Queue(table).due()]


def put_off(tables: Sequence[type[dj.Table]]) -> list[Unfinished]:
    """Return the jobs, by table, that are not due for longer than LONGEST_PAUSE; one query."""
    later = f"scheduled_time > {dialect(connect()).plus_seconds(JOBS_NOW, LONGEST_PAUSE)}"
    query = " UNION ALL ".join(
        f"SELECT {i}, COUNT(*), MIN(scheduled_time) FROM {jobs_of(table).full_table_name} "
        f"WHERE status = '{JobStatus.PENDING}' AND {later}"
        for i, table in enumerate(tables)
    )
    found = sorted(row for row in connect().query(query).fetchall() if row[1])
    return [Unfinished(tables[i].__name__, JobStatus.PENDING, n, until, "") for i, n, until in found]


#: See ``keys_sql``.
_keys_sql: dict[type[dj.Table], tuple[str, str]] = {}


def keys_sql(table: type[dj.Table]) -> tuple[str, str]:
    """Return two queries as SQL: the keys of all possible jobs of a table, and those whose rows are missing.

    They are kept, as DataJoint reads the definitions of the parents from the server each time.
    """
    if table not in _keys_sql:
        _keys_sql[table] = (table()._jobs_to_do(()).make_sql(), _missing(table, ()).make_sql())
    return _keys_sql[table]


def _missing(table: type[dj.Table], restrictions: tuple) -> dj.QueryExpression:
    return (table()._jobs_to_do(restrictions) - table.proj()).proj()


# ---------------------------------------------------------------------------------------------------- 2. to 4.: one job


#: What a reservation changes in the row of a job; its arguments are those of ``reservation``.
RESERVED = (
    f"status = '{JobStatus.RESERVED}', version = %s, host = %s, pid = %s, connection_id = %s, "
    f"reserved_time = {JOBS_NOW}, error_message = ''"
)


def reservation(worker: str, connection: dj.Connection) -> tuple:
    """Return who reserves a job."""
    return worker, platform.node(), os.getpid(), connection.connection_id


def _is_of(worker: str) -> str:
    """Return the condition that a job is reserved by a worker."""
    return f"status = '{JobStatus.RESERVED}' AND version = '{worker}'"


class ReservationLost(Exception):
    """The job is not reserved by this worker any more: its rows are not inserted, as another worker may run it."""


class Job:
    """A job of a table, and the worker that runs it.

    It has the methods of a DataJoint job table that ``_populate1`` calls: ``reserve``, ``complete`` and ``error``.

    Parameters
    ----------
    table : table class
    key : dict
    worker : str
        Id of the worker.
    """

    def __init__(self, table: type[dj.Table], key: dict, worker: str) -> None:
        self.table, self.key, self.worker = table, key, worker
        self.jobs = jobs_of(table)
        self.connection = self.jobs.connection
        self.begun = time.monotonic()
        self.was_reserved = False
        #: The job was still reserved after an error: its rows were not committed, and later ones are not this worker's.
        self.was_undone = False

    # ------------------------------------------------------------------------------------------ 2. pending to reserved

    def reserve(self, key: dict | None = None) -> bool:
        """Reserve the job if it is due; return False if it is not, e.g. because another worker was first.

        DataJoint must not reconnect and repeat the statement: if only its answer was lost, the second would find the
        job reserved, by ourselves.
        """
        self.begun = time.monotonic()
        # one UPDATE with a guard, not a look and then a change: the second of two workers finds no pending job
        self.was_reserved = self._change(
            f"UPDATE {{}} SET {RESERVED}", IS_DUE, *reservation(self.worker, self.connection), reconnect=False
        )
        return self.was_reserved

    # --------------------------------------------------------------------------------------------- 3. reserved to done

    def populate(self) -> bool:
        """Run the job; return False if another worker has reserved or run it. All errors are raised."""
        with log_level(logging.CRITICAL):  # DataJoint would also log the errors
            table = self._with_finish()
            # suppress_errors would swallow KeyboardInterrupt too, and the caller would go on with the next job
            return bool(table._populate1(self.key, jobs=self, suppress_errors=False, return_exception_objects=False))

    def _with_finish(self) -> dj.Table:
        """Return the table with a ``make`` that ends with ``finish``, within the transaction that inserts the rows."""
        target = self.table()
        make = target.make

        # a three-part make of DataJoint is a generator: it yields what make_fetch returns, and gets back what
        # make_compute returned, or None to compute it; it is run twice, before and in the transaction
        def in_three_parts(key: dict) -> Iterator[Any]:
            steps = make(key)
            with without_reconnect(self.connection):
                fetched = next(steps)
            computed = yield fetched
            if computed is None:
                computed = yield next(steps)
            with without_reconnect(self.connection):
                # runs make_insert; an error in it or in finish rolls back both
                steps.send(computed)
                self.finish()
            yield

        def in_one(key: dict) -> None:
            with without_reconnect(self.connection):
                make(key)
                self.finish()

        target.make = in_three_parts if inspect.isgeneratorfunction(make) else in_one
        return target

    def finish(self) -> None:
        """Delete the job and count it, in the transaction that inserts the rows.

        Raises
        ------
        DataError
            ``make`` inserted no row.
        ReservationLost
            The job is not reserved by this worker any more.
        """
        if not self.has_rows():
            # DataJoint counts such a job as done, and adds it again at the next refresh, for ever
            raise DataError(
                f"{self.table.__name__}.make() inserted nothing", expected=f"a row for {self.key}", found="none",
                do="Let make() insert a row that says why there is no result, or raise an error",
            )  # fmt: skip
        if not self._delete():
            raise ReservationLost(f"{self.table.__name__} {self.key} is not reserved by this worker any more")
        Made.record(self.worker, self.table.__name__, time.monotonic() - self.begun)
        Attempt.forget(self.table.__name__, self.key)

    def is_possible(self) -> bool:
        """Return whether the table still has the key of the job to populate: rows that it needs may be deleted."""
        return bool(self.table()._jobs_to_do((self.key,)))

    def has_rows(self) -> bool:
        """Return whether the table has rows for the key of the job."""
        return bool(self.table & self.key)

    def complete(self, key: dict | None = None, duration: float | None = None) -> None:
        """Delete the job; after ``finish`` it is gone, but DataJoint also calls this if the rows existed before."""
        self._delete()

    def error(self, key: dict, error_message: str, error_stack: str | None = None) -> None:
        """Do nothing: after an error ``JobRunner`` decides whether the job is tried again."""

    # ------------------------------------------------------------------------------------ 4. reserved to pending, error

    def hold(self, wait: bool = True) -> bool:
        """Lock the row of the job until the transaction ends; return False if this worker has not reserved it.

        The row may be locked by a transaction of this worker whose connection was lost. The server ends it once it
        notices: for a machine that has vanished, after its keepalive time.

        Parameters
        ----------
        wait : bool
            Wait for that; if False, return False instead.
        """
        # SKIP LOCKED: ending dead workers must not wait for one that the server still takes for alive
        how = "FOR UPDATE" if wait else "FOR UPDATE SKIP LOCKED"
        query = f"SELECT 1 FROM {self.jobs.full_table_name}{self._where} AND {self._is_mine} {how}"
        return self.connection.query(query).fetchone() is not None

    def release(self, delay: float = 0.0, message: str = "") -> None:
        """Make the job pending again, due after ``delay`` s, unless another worker has reserved it."""
        later = dialect(self.connection).plus_seconds(JOBS_NOW, delay)
        self._change(
            f"UPDATE {{}} SET status = '{JobStatus.PENDING}', scheduled_time = {later}, error_message = %s",
            self._is_mine, message[:MESSAGE_LENGTH],
        )  # fmt: skip

    def fail(self, message: str, stack: str) -> bool:
        """In a transaction, give the job the status error; return False if another worker has reserved it."""
        # locked until the status has changed: between a look and the change another worker could reserve the job
        is_mine = self.hold()
        if is_mine:
            self.jobs.error(self.key, message, stack)
        return is_mine

    # ------------------------------------------------------------------------------------------------- guarded changes

    @property
    def _where(self) -> str:
        return (self.jobs & self.key).where_clause()

    @property
    def _is_mine(self) -> str:
        return _is_of(self.worker)

    def _delete(self) -> bool:
        return self._change("DELETE FROM {}", self._is_mine)

    def _change(self, statement: str, guard: str, *args: Any, reconnect: bool | None = None) -> bool:
        """Change the row of the job if it still meets a condition (the guard); return whether it did."""
        sql = f"{statement.format(self.jobs.full_table_name)}{self._where} AND {guard}"
        # PyMySQL counts rows that changed, not rows found: every statement here changes the status, or deletes
        return self.connection.query(sql, args=args, reconnect=reconnect).rowcount == 1


# ------------------------------------------------------------------------------------------------- several jobs at once


class Batch:
    """Jobs of a table that are quick and read much the same, run in one transaction by ``table.make_together``.

    The same steps as for a ``Job``, each for all of them: a job is done if and only if its rows are committed.

    Parameters
    ----------
    table : table class
        With a class method ``make_together(keys)``, which inserts rows and returns the errors of keys by number.
    keys : sequence of dict
    worker : str
        Id of the worker.

    Attributes
    ----------
    reserved : list of dict
        Keys of the jobs that this worker has reserved.
    """

    def __init__(self, table: type[dj.Table], keys: Sequence[dict], worker: str) -> None:
        self.table, self.keys, self.worker, self.jobs = table, list(keys), worker, jobs_of(table)
        self.connection = self.jobs.connection
        self.reserved: list[dict] = []

    def populate(self) -> dict[int, DataError]:
        """Reserve the jobs that are due, and run them; return the errors by their numbers in ``reserved``.

        Raises
        ------
        ReservationLost
            A job is not reserved by this worker any more; no row is inserted.
        """
        begun = time.monotonic()
        self._reserve()
        if not self.reserved:
            return {}
        with self.connection.transaction, without_reconnect(self.connection):
            there = (self.table & self.reserved).keys()
            missing = [i for i, key in enumerate(self.reserved) if key not in there]
            failed = self.table.make_together([self.reserved[i] for i in missing]) if missing else {}
            errors = {missing[i]: error for i, error in failed.items()}
            done = [key for i, key in enumerate(self.reserved) if i not in errors]
            if done:
                self._finish(done, time.monotonic() - begun)
        return errors

    def _reserve(self) -> None:
        self.connection.query(
            f"UPDATE {self.jobs.full_table_name} SET {RESERVED}{self._where(self.keys)} AND {IS_DUE}",
            args=reservation(self.worker, self.connection), reconnect=False,
        )  # fmt: skip
        self.reserved = (self.jobs & self.keys & _is_of(self.worker)).keys()

    def _finish(self, done: list[dict], seconds: float) -> None:
        """Delete the jobs, and count them."""
        n_there = len(self.table & done)
        if n_there < len(done):
            raise DataError(f"{self.table.__name__}.make_together() left out rows", expected=len(done), found=n_there)
        statement = f"DELETE FROM {self.jobs.full_table_name}{self._where(done)} AND {_is_of(self.worker)}"
        if self.connection.query(statement).rowcount < len(done):
            raise ReservationLost(f"jobs of {self.table.__name__} are not reserved by this worker any more")
        Made.record(self.worker, self.table.__name__, seconds, len(done))
        Attempt.forget(self.table.__name__, *done)

    def release(self) -> None:
        """Make those of the jobs pending again that are still reserved by this worker."""
        self.connection.query(
            f"UPDATE {self.jobs.full_table_name} SET status = '{JobStatus.PENDING}', scheduled_time = {JOBS_NOW}"
            f"{self._where(self.keys)} AND {_is_of(self.worker)}"
        )

    def _where(self, keys: list[dict]) -> str:
        return (self.jobs & keys).where_clause()


def alike(table: type[dj.Table], keys: Sequence[dict]) -> list[list[dict]]:
    """Return keys in groups of those that can be run together, in order; each alone unless the table says by what."""
    names = getattr(table, "together", None)
    if names is None:
        return [[key] for key in keys]
    groups: dict[tuple, list[dict]] = {}
    for key in keys:
        groups.setdefault(tuple(key[name] for name in names), []).append(key)
    return list(groups.values())

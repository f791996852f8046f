"""Crash-safe jobs: a worker that dies, stalls or is stopped loses no work.

This is the life of a job in DataJoint's job tables, from top to bottom:

1. ``Queue.add``: what a table lacks becomes a pending job.
2. ``Job.reserve``: one worker reserves it, by its id.
3. ``Job.populate``: the worker runs it, by DataJoint's ``_populate1``. ``Job.finish`` gives up the reservation in the
   transaction that inserts the rows: they are there if and only if the job is done.
4. ``Job.release`` or ``Job.fail``: after an error the worker gives it back, to be tried again, or notes the error.
5. ``JobRunner``: the worker, which takes jobs through these steps and decides what an error means.
6. ``end_worker``: for a worker that was stopped or died another process gives back what it had reserved.
7. ``release_dead_jobs``: all workers that are dead are ended.

Each step is guarded by the status and the worker in the job's row: what another worker has by now is not touched.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import platform
import random
import time
import traceback
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import datajoint as dj

from pipeline.errors import DataError
from schemas.provenance import environment_row
from schemas.rows import jobs_of, log_level
from schemas.server.binding import table_named
from schemas.server.connection import connect
from schemas.server.dialect import JOBS_NOW, dialect
from schemas.server.reconnection import bound, is_lost, is_passing, persist, reconnect
from schemas.server.settings import heartbeat, prefix
from schemas.work.heartbeat import Heartbeat
from schemas.work.states import EndReason, JobStatus, Status
from schemas.work.tables import MAX_MISSED_IN_NOTEBOOK, Attempt, Made, Worker

#: So many workers died while they ran the same job: it is not tried again.
MAX_WORKER_DEATHS = 3
#: A connection that was lost so often while a job was run is the job's fault: a packet too large, for example.
MAX_LOST_CONNECTIONS = 10
#: Seconds until a job is tried again after a lost connection, a deadlock or a full disk: doubled each time.
FIRST_DELAY, LONGEST_DELAY = 0.25, 20.0
#: A notebook waits for a server that has gone as many seconds; a worker until its supervisor ends it.
PATIENCE = 60.0
#: Characters of a message in a job table.
MESSAGE_LENGTH = 2047
#: Jobs looked at in one go: workers choose from as many, so that they do not all reach for the first.
BATCH = 32
#: Pending jobs that may be run now: not those that are to be tried again later.
IS_DUE = f"status = '{JobStatus.PENDING}' AND scheduled_time <= {JOBS_NOW}"


# ------------------------------------------------------------------------------------------------ 1. missing to pending


class Queue:
    """The jobs of a table that are to be run.

    Parameters
    ----------
    table : table class
    """

    def __init__(self, table: type[dj.Table]) -> None:
        self.table, self.jobs = table, jobs_of(table)
        self.connection = self.jobs.connection

    def lacks(self, *restrictions: Any) -> bool:
        """Return whether anything is missing in the table."""
        return bool(_missing(self.table, restrictions))

    def add(self, *restrictions: Any) -> int:
        """Add jobs for what is neither there nor in the job table, in one statement, and return how many.

        DataJoint's own ``refresh`` inserts one row at a time: 2000 take seconds.
        """
        quote, sql = self.connection.adapter.quote_identifier, dialect(self.connection)
        names = [quote(name) for name in self.jobs.primary_key]
        keys, same = ", ".join(names), " AND ".join(f"missing.{name} = known.{name}" for name in names)
        missing = keys_sql(self.table)[1] if not restrictions else _missing(self.table, restrictions).make_sql()
        for statement in sql.before_insert_new:
            self.connection.query(statement)
        new = (
            f"SELECT {keys}, '{JobStatus.PENDING}', {int(dj.config['jobs.default_priority'])}, {JOBS_NOW} "
            f"FROM ({missing}) AS missing "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.jobs.full_table_name} AS known WHERE {same})"
        )
        columns = f"{keys}, status, priority, scheduled_time"
        return self.connection.query(sql.insert_new(self.jobs.full_table_name, columns, new)).rowcount

    def due(self, *restrictions: Any) -> list[dict]:
        """Return the keys of some jobs that may be run now, the most urgent first, in random order among equals."""
        due = self._pending(restrictions) & f"scheduled_time <= {JOBS_NOW}"
        rows = due.proj("priority").to_dicts(order_by="priority, scheduled_time", limit=BATCH)
        random.shuffle(rows)
        rows.sort(key=lambda row: row["priority"])
        return [{name: row[name] for name in self.jobs.primary_key} for row in rows]

    def n_pending(self, *restrictions: Any) -> int:
        """Return the number of pending jobs, those for later included."""
        return len(self._pending(restrictions))

    def _pending(self, restrictions: tuple) -> dj.QueryExpression:
        pending = self.jobs.pending
        if not restrictions:
            return pending
        return pending.restrict(self.table()._jobs_to_do(restrictions), semantic_check=False)


def most_urgent(tables: Sequence[type[dj.Table]]) -> list[tuple[type[dj.Table], dict]]:
    """Return some jobs of the table with the most urgent one; of equals, the first in the order of dependencies."""
    query = " UNION ALL ".join(
        f"SELECT {i}, MIN(priority) FROM {jobs_of(table).full_table_name} WHERE {IS_DUE}"
        for i, table in enumerate(tables)
    )
    found = [(priority, i) for i, priority in connect().query(query).fetchall() if priority is not None]
    if not found:
        return []
    table = tables[min(found)[1]]
    return [(table, key) for key in Queue(table).due()]


_keys_sql: dict[type[dj.Table], tuple[str, str]] = {}


def keys_sql(table: type[dj.Table]) -> tuple[str, str]:
    """Return the queries of the keys of all jobs that a table can have, and of those whose rows it lacks.

    They are kept: DataJoint asks the server for the definitions of the parents each time.
    """
    if table not in _keys_sql:
        _keys_sql[table] = (table()._jobs_to_do(()).make_sql(), _missing(table, ()).make_sql())
    return _keys_sql[table]


def _missing(table: type[dj.Table], restrictions: tuple) -> dj.QueryExpression:
    return (table()._jobs_to_do(restrictions) - table.proj()).proj()


# ---------------------------------------------------------------------------------------------------- 2. to 4.: one job


class ReservationLost(Exception):
    """Another worker may have begun to run this job: what was computed is not inserted."""


class Job:
    """A job of a table as one worker sees it; DataJoint's ``_populate1`` takes it for its job table.

    Parameters
    ----------
    table : table class
    key : dict
    worker : str
        Its id.
    """

    def __init__(self, table: type[dj.Table], key: dict, worker: str) -> None:
        self.table, self.key, self.worker = table, key, worker
        self.jobs = jobs_of(table)
        self.connection = self.jobs.connection
        self.begun = time.monotonic()
        self.was_reserved = False

    # ------------------------------------------------------------------------------------------ 2. pending to reserved

    def reserve(self, key: dict | None = None) -> bool:
        """Reserve the job if it is pending; False if another worker was first.

        A lost connection is an error: done again, it would not find the job pending, if only the answer was lost.
        """
        self.begun = time.monotonic()
        self.was_reserved = self._change(
            f"UPDATE {{}} SET status = '{JobStatus.RESERVED}', version = %s, host = %s, pid = %s, connection_id = %s, "
            f"reserved_time = {JOBS_NOW}, error_message = ''", IS_DUE,
            self.worker, platform.node(), os.getpid(), self.connection.connection_id, reconnect=False,
        )  # fmt: skip
        return self.was_reserved

    # --------------------------------------------------------------------------------------------- 3. reserved to done

    def populate(self) -> bool:
        """Run the job; return whether this worker did. Its errors are raised, those of a server that has gone too."""
        with log_level(logging.CRITICAL):  # DataJoint logs what we say, or keep in the job table
            table = self._with_finish()
            return bool(table._populate1(self.key, jobs=self, suppress_errors=False, return_exception_objects=False))

    def _with_finish(self) -> dj.Table:
        """Return the table with a ``make`` that gives up the reservation at its end, in the transaction of its rows."""
        target = self.table()
        make = target.make

        def in_three_parts(key: dict) -> Iterator[Any]:
            steps = make(key)
            with bound(self.connection):
                fetched = next(steps)
            computed = yield fetched
            if computed is None:
                computed = yield next(steps)
            with bound(self.connection):
                steps.send(computed)
                self.finish()
            yield

        def in_one(key: dict) -> None:
            with bound(self.connection):
                make(key)
                self.finish()

        target.make = in_three_parts if inspect.isgeneratorfunction(make) else in_one
        return target

    def finish(self) -> None:
        """Give up the reservation in the transaction that inserts the rows, and count the job.

        Raises
        ------
        DataError
            Nothing was inserted.
        ReservationLost
            The reservation is not this worker's any more.
        """
        if not self.has_rows():
            raise DataError(
                f"{self.table.__name__}.make() inserted nothing", expected=f"a row for {self.key}", found="none",
                do="Let make() insert a row that says why there is nothing, or raise an error",
            )  # fmt: skip
        if not self._delete():
            raise ReservationLost(f"{self.table.__name__} {self.key} is not reserved by this worker any more")
        Made.record(self.worker, self.table.__name__, time.monotonic() - self.begun)

    def has_rows(self) -> bool:
        """Return whether the rows of the job are in its table."""
        return bool(self.table & self.key)

    def complete(self, key: dict | None = None, duration: float | None = None) -> None:
        """Delete the job; after ``finish`` it has gone, but DataJoint calls this also for what was there before."""
        self._delete()

    def error(self, key: dict, error_message: str, error_stack: str | None = None) -> None:
        """Do nothing: ``JobRunner`` decides what becomes of a job that was not done."""

    # ------------------------------------------------------------------------------------ 4. reserved to pending, error

    def hold(self, wait: bool = True) -> bool:
        """Lock the job for the rest of the transaction; False if this worker does not have it.

        Waits until the server has ended another transaction of ours whose connection was lost, one way or the other; or
        returns False then: for one whose machine has vanished, that can take as long as the server's keepalive.
        """
        how = "FOR UPDATE" if wait else "FOR UPDATE SKIP LOCKED"
        query = f"SELECT 1 FROM {self.jobs.full_table_name}{self._where} AND {self._is_mine} {how}"
        return self.connection.query(query).fetchone() is not None

    def release(self, delay: float = 0.0, message: str = "") -> None:
        """Let the job be pending again, in some seconds, unless another worker has it."""
        later = dialect(self.connection).plus_seconds(JOBS_NOW, delay)
        self._change(
            f"UPDATE {{}} SET status = '{JobStatus.PENDING}', scheduled_time = {later}, error_message = %s",
            self._is_mine, message[:MESSAGE_LENGTH],
        )  # fmt: skip

    def fail(self, message: str, stack: str) -> bool:
        """In a transaction, note an error that another try would meet again; False if another worker has the job."""
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
        return f"status = '{JobStatus.RESERVED}' AND version = '{self.worker}'"

    def _delete(self) -> bool:
        return self._change("DELETE FROM {}", self._is_mine)

    def _change(self, statement: str, guard: str, *args: Any, reconnect: bool | None = None) -> bool:
        """Change the row of the job if the guard still holds; return whether it did."""
        sql = f"{statement.format(self.jobs.full_table_name)}{self._where} AND {guard}"
        return self.connection.query(sql, args=args, reconnect=reconnect).rowcount == 1


# ---------------------------------------------------------------------------------------------------------- 5. a worker


class Outcome(NamedTuple):
    """What came of running a job.

    Attributes
    ----------
    status : Status
    message : str
        Why it is not done.
    """

    status: Status
    message: str = ""


class JobRunner:
    """A worker: it runs jobs in this process, one at a time.

    Parameters
    ----------
    worker : str, optional
        Its id, if another process beats for it; by default it beats itself from its first job on.
    slot : int
        Number within its ``meso worker``.
    dead_after : float
        Seconds without a heartbeat; by default those of a notebook.
    """

    def __init__(self, worker: str = "", slot: int = -1, dead_after: float = 0.0) -> None:
        self.beats_itself, self.worker = not worker, worker or new_worker()
        self.slot, self.dead_after = slot, dead_after or MAX_MISSED_IN_NOTEBOOK * heartbeat()
        self.connection = connect()
        self.heartbeat: Heartbeat | None = None
        self.has_begun, self.n_passing = False, 0

    def __enter__(self) -> JobRunner:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.heartbeat:
            self.heartbeat.stop()
        if self.has_begun:
            with suppress(Exception):  # the server is away: other workers will see that this one is silent
                Worker.end(self.worker, EndReason.STOPPED if kind else EndReason.FINISHED)

    def begin(self) -> None:
        """Register this worker, unless it is; ``run`` does, otherwise."""
        if self.has_begun:
            return
        Worker.begin(self.worker, self.slot, self.dead_after)
        self.has_begun = True
        if self.beats_itself:
            self.heartbeat = Heartbeat(self.connection, lambda cursor: Worker.beat(cursor, [self.worker]), heartbeat())
            self.heartbeat.start()

    def run_all(
        self, table: type[dj.Table], *restrictions: Any, progress: bool = False
    ) -> Iterator[tuple[dict, Outcome]]:
        """Run the jobs of a table until none is left, postponed ones again; yield the key of each, and what came of it.

        Parameters
        ----------
        table : table class
        *restrictions
            DataJoint restrictions on the keys.
        progress : bool
            Draw a bar.
        """
        queue = Queue(table)
        if not queue.lacks(*restrictions):
            return  # where all is there, an account that may only read can ask for it
        queue.add(*restrictions)
        if not restrictions:
            queue.jobs.refresh()  # takes away jobs of what has been deleted
        has_postponed = False
        with _bar(table, queue.n_pending(*restrictions) if progress else 0) as bar:
            while (keys := queue.due(*restrictions)) or (has_postponed and queue.n_pending(*restrictions)):
                for key in keys:
                    outcome = self.run(table, key)
                    has_postponed |= outcome.status == Status.POSTPONED
                    bar.update(outcome.status != Status.POSTPONED)
                    yield key, outcome
                if not keys:
                    time.sleep(0.2)

    def run(self, table: type[dj.Table], key: dict) -> Outcome:
        """Reserve a job and run it.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Ctrl-C, or a signal that a handler made one of; the job is pending again.
        """
        self.begin()
        job = Job(table, key, self.worker)
        try:
            is_done_here = job.populate()
        except (KeyboardInterrupt, SystemExit):
            with suppress(Exception):  # the server is away: other workers will find this one dead
                reconnect(self.connection)  # the signal may have come in the middle of an answer
                job.release()
            raise
        except ReservationLost as lost:
            return Outcome(Status.SKIPPED, str(lost))
        except Exception as error:
            patience = PATIENCE if self.beats_itself else float("inf")
            return persist(self.connection, partial(self._give_back, job, error), patience)
        self.n_passing = 0
        return Outcome(Status.DONE if is_done_here else Status.SKIPPED)

    def _give_back(self, job: Job, error: Exception) -> Outcome:
        """Decide what becomes of a job that raised an error; after a lost connection, look what became of it."""
        message = self._without_password(f"{type(error).__name__}: {error}")
        with self.connection.transaction:
            if job.hold():
                return self._postpone_or_fail(job, error, message)
        if not is_passing(error):  # it failed before the job was ours
            raise error
        if job.has_rows():  # the commit arrived, only its answer was lost; or another worker was first
            return Outcome(Status.DONE if job.was_reserved else Status.SKIPPED)
        return Outcome(Status.POSTPONED, message)

    def _postpone_or_fail(self, job: Job, error: Exception, message: str) -> Outcome:
        """Let a job that is ours be pending again, or an error."""
        if is_passing(error):
            n_lost = Attempt.record(job.table.__name__, job.key, "n_lost") if is_lost(error) else 0
            if n_lost < MAX_LOST_CONNECTIONS:
                job.release(min(LONGEST_DELAY, FIRST_DELAY * 2**self.n_passing) * random.uniform(0.5, 1), message)
                self.n_passing += 1
                return Outcome(Status.POSTPONED, message)
            message = f"the connection was lost {n_lost} times while this job was running. {message}"
        stack = self._without_password("".join(traceback.format_exception(error)))
        job.fail(message, f"{stack}\n{_here()}")
        return Outcome(Status.FAILED, message)

    def _without_password(self, text: str) -> str:
        password = self.connection.conn_info["passwd"]
        return text.replace(password, "***") if password and len(password) > 3 else text


def new_worker() -> str:
    """Return a random id."""
    return uuid.uuid4().hex


def _bar(table: type[dj.Table], n: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=n, desc=table.__name__, disable=not n)


def _here() -> str:
    """Return host, process and versions, for the reader of an error's stack."""
    row = environment_row()
    packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
    return f"{platform.node()}, process {os.getpid()}; Python {row['python_version']}, {packages} {row['git_commit']}"


# ------------------------------------------------------------------------------------------------- 6. ending a worker


def end_worker(worker: str, reason: EndReason, who: str) -> list[str]:
    """End a worker in its place, and let what it had reserved be pending again; return what was found, as messages.

    Parameters
    ----------
    worker : str
    reason : EndReason
        STOPPED; or KILLED or SILENT, which count: a job that MAX_WORKER_DEATHS workers died of is not tried again.
    who : str
        For messages.
    """
    with connect().transaction:
        is_death = Worker.end(worker, reason) and reason != EndReason.STOPPED
        return [message for row in reservations(worker) for message in _release(row, who if is_death else "")]


def _release(row: dict[str, Any], dead: str = "") -> list[str]:
    """In a transaction, let a job of an ended worker be pending again; ``dead`` if the worker's death is to count."""
    job = Job(table_named(row["table"]), row["key"], row["worker"])
    if not job.hold(wait=False):  # the server has not ended its transaction yet: the next turn sees
        return []
    n_deaths = Attempt.record(row["table"], job.key, "n_deaths") if dead else 0
    if n_deaths < MAX_WORKER_DEATHS:
        job.release()
        return [f"{dead} died while running {row['table']} {job.key}"] if dead else []
    text = f"poison: {n_deaths} workers died while running this job, the last was {dead}"
    job.fail(text, "No stack: the process was killed, for its memory or by a fault in compiled code")
    return [text]


def reservations(worker: str | None = None) -> list[dict[str, Any]]:
    """Return the jobs that are reserved, by one worker or by all.

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
        {"table": table, "key": json.loads(key), "worker": worker, "host": host, "running": float(running)}
        for table, key, worker, host, running in rows.fetchall()
    ]


# --------------------------------------------------------------------------------------------- 7. workers that are dead


def release_dead_jobs() -> list[str]:
    """End the workers that are dead, and release what they had reserved; return what was found, as messages."""
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
    """Return the jobs of workers that have ended: they could not be released then, or were reserved too late.

    What a process has sent may arrive at the server after it died, even after it was ended here.
    """
    reserved = reservations()
    workers = [{"worker": row["worker"]} for row in reserved if row["worker"]]
    ended = set((Worker & workers & "ended IS NOT NULL").to_arrays("worker")) if workers else set()
    return [row for row in reserved if row["worker"] in ended]

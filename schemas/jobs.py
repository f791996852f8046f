"""Making entries one at a time, so that whoever dies, stalls or is stopped on the way loses nothing.

DataJoint's job tables say what is to be made and by whom, and DataJoint's ``_populate1`` makes it. What that leaves
open is closed here: a reservation carries the id of its worker, is given up in the transaction that inserts the rows (a
row is there if and only if its job is done), and is pending again when its worker was stopped, died or lost its
connection.
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
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import datajoint as dj

from pipeline.errors import DataError
from schemas.database import connect, table_named
from schemas.provenance import environment_row
from schemas.reconnection import bound, is_lost, is_passing, persist, reconnect
from schemas.rows import jobs_of, log_level
from schemas.settings import heartbeat, prefix
from schemas.workers import NOTEBOOK_MISSED, POISON, Attempt, Heartbeat, Made, Worker, is_dead, new_worker

#: A connection that was lost so often while an entry was made is the entry's fault: a packet too large, for example.
LOST = 10
#: Jobs looked at in one go: workers choose from as many, so that they do not all reach for the first.
BATCH = 32
#: Seconds until an entry is tried again after a lost connection, a deadlock or a full disk: doubled each time.
FIRST_DELAY, LONGEST_DELAY = 0.25, 20.0
#: A notebook waits for a server that has gone as many seconds; a worker until its supervisor ends it.
PATIENCE = 60.0
MESSAGE_LENGTH = 2047


class Outcome(NamedTuple):
    """What became of an entry: 'made', 'skipped' (somebody else has it), 'failed', or 'again' (pending once more)."""

    what: str
    message: str = ""


class Robbed(Exception):
    """Somebody else may have begun to make this entry: what was computed is not inserted."""


class SQL(str):
    """An expression, not a value."""


class Queue:
    """The job table of a table as one worker sees it; stands in for DataJoint's ``Job`` where an entry is made.

    Parameters
    ----------
    table : table class
    worker : str
        '' for who only looks.
    """

    def __init__(self, table: type[dj.Table], worker: str = "") -> None:
        self.table, self.worker = table, worker
        self.jobs = jobs_of(table)
        self.connection = self.jobs.connection
        self.since = time.monotonic()
        self.has_reserved = False

    def lacks(self, *restrictions: Any) -> bool:
        """Say whether anything is missing in the table."""
        return bool(_missing(self.table, restrictions))

    def add(self, *restrictions: Any) -> int:
        """Add what is neither there nor waiting, in one statement, and return how many.

        DataJoint's own ``refresh`` inserts one row at a time: 2000 take seconds.
        """
        adapter, names = self.connection.adapter, self.jobs.primary_key
        keys = ", ".join(map(adapter.quote_identifier, names))
        missing = keys_sql(self.table)[1] if not restrictions else _missing(self.table, restrictions).make_sql()
        same = " AND ".join(f"missing.{name} = waiting.{name}" for name in map(adapter.quote_identifier, names))
        is_mysql = adapter.backend == "mysql"
        priority = int(dj.config["jobs.default_priority"])
        if is_mysql:  # for the next statement: otherwise it locks what it reads, and waits for whoever inserts
            self.connection.query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        done = self.connection.query(
            f"INSERT {'IGNORE ' if is_mysql else ''}INTO {self.jobs.full_table_name} "
            f"({keys}, status, priority, scheduled_time) SELECT {keys}, 'pending', {priority}, CURRENT_TIMESTAMP(3) "
            f"FROM ({missing}) AS missing WHERE NOT EXISTS "
            f"(SELECT 1 FROM {self.jobs.full_table_name} AS waiting WHERE {same})"
            f"{'' if is_mysql else ' ON CONFLICT DO NOTHING'}"
        )
        return done.rowcount

    def due(self, *restrictions: Any) -> list[dict]:
        """Return the keys of some pending jobs, the most urgent first, in random order among equals."""
        due = self._pending(restrictions) & "scheduled_time <= CURRENT_TIMESTAMP(3)"
        rows = due.proj("priority").to_dicts(order_by="priority, scheduled_time", limit=BATCH)
        random.shuffle(rows)
        rows.sort(key=lambda row: row["priority"])
        return [{name: row[name] for name in self.jobs.primary_key} for row in rows]

    def waiting(self, *restrictions: Any) -> int:
        """Return the number of pending jobs, those for later included."""
        return len(self._pending(restrictions))

    def _pending(self, restrictions: tuple) -> dj.QueryExpression:
        pending = self.jobs.pending
        if not restrictions:
            return pending
        return pending.restrict(self.table()._jobs_to_do(restrictions), semantic_check=False)

    def reserve(self, key: dict) -> bool:
        """Reserve a pending job; False if somebody else was first.

        A lost connection is an error: done again, it would not find the job pending, if only the answer was lost.
        """
        self.since = time.monotonic()
        self.has_reserved = self._update(
            key, "status = 'pending' AND scheduled_time <= CURRENT_TIMESTAMP(3)", reconnect=False,
            status="reserved", version=self.worker, host=platform.node(), pid=os.getpid(),
            connection_id=self.connection.connection_id, reserved_time=self._now(), error_message="",
        )  # fmt: skip
        return self.has_reserved

    def finish(self, key: dict) -> None:
        """Give up the reservation in the transaction that inserts the rows.

        Raises
        ------
        DataError
            Nothing was inserted.
        Robbed
            The reservation is not ours any more.
        """
        if not (self.table & key):
            raise DataError(
                f"{self.table.__name__}.make() inserted nothing", expected=f"a row for {key}", found="none",
                do="Let make() insert a row that says why there is nothing, or raise an error",
            )  # fmt: skip
        if not self._delete(key):
            raise Robbed(f"{self.table.__name__} {key} is not reserved by this worker any more")
        self._count()

    def complete(self, key: dict, duration: float | None = None) -> None:
        """Take the job away; after ``finish`` it has gone, but DataJoint calls this also for what was there before."""
        self._delete(key)

    def error(self, key: dict, error_message: str, error_stack: str | None = None) -> None:
        """Do nothing: ``Maker`` decides what becomes of an entry that failed."""

    def hold(self, key: dict, wait: bool = True) -> bool:
        """Lock a job for the rest of the transaction; False if this worker does not have it.

        Waits until the server has ended another transaction of ours whose connection was lost, one way or the other; or
        says False then: for one whose machine has vanished, that can take as long as the server's keepalive.
        """
        where = (self.jobs & key).where_clause()
        how = "FOR UPDATE" if wait else "FOR UPDATE SKIP LOCKED"
        query = f"SELECT 1 FROM {self.jobs.full_table_name}{where} AND {self._is_mine} {how}"
        return self.connection.query(query).fetchone() is not None

    def fail(self, key: dict, message: str, stack: str) -> bool:
        """In a transaction, note an error that another try would meet again; False if somebody else has the job."""
        is_mine = self.hold(key)
        if is_mine:
            self.jobs.error(key, message, stack)
        return is_mine

    def release(self, key: dict, delay: float = 0.0, message: str = "") -> None:
        """Let a job be pending again, in some seconds, unless somebody else has it."""
        self._update(
            key,
            self._is_mine,
            status="pending",
            scheduled_time=self._now(delay),
            error_message=message[:MESSAGE_LENGTH],
        )

    @property
    def _is_mine(self) -> str:
        return f"status = 'reserved' AND version = '{self.worker}'"

    def _now(self, delay: float = 0.0) -> SQL:
        """Return an expression of the time that DataJoint's job tables have, in some seconds."""
        return SQL(f"CURRENT_TIMESTAMP(3) + {self.connection.adapter.interval_expr(round(delay, 3), 'second')}")

    def _update(self, key: dict, where: str, reconnect: bool = True, **values: Any) -> bool:
        """Change one row if a condition still holds; return whether it did."""
        texts = ", ".join(f"{name} = {v if isinstance(v, SQL) else '%s'}" for name, v in values.items())
        done = self.connection.query(
            f"UPDATE {self.jobs.full_table_name} SET {texts}{(self.jobs & key).where_clause()} AND {where}",
            args=[value for value in values.values() if not isinstance(value, SQL)],
            reconnect=reconnect,
        )
        return done.rowcount == 1

    def _delete(self, key: dict) -> bool:
        where = (self.jobs & key).where_clause()
        return (
            self.connection.query(f"DELETE FROM {self.jobs.full_table_name}{where} AND {self._is_mine}").rowcount == 1
        )

    def _count(self) -> None:
        """Add one to what this worker has made, in the same transaction as the entry."""
        # one statement: on MySQL an UPDATE that finds no row locks the gap that other workers want to insert theirs in
        is_there = {"mysql": "DUPLICATE KEY UPDATE", "postgresql": "CONFLICT (worker, table_name) DO UPDATE SET"}
        made, seconds = Made.full_table_name, time.monotonic() - self.since
        self.connection.query(
            f"INSERT INTO {made} (worker, table_name, n_made, seconds) VALUES (%s, %s, 1, %s) "
            f"ON {is_there[self.connection.adapter.backend]} "
            f"n_made = {made}.n_made + 1, seconds = {made}.seconds + %s",
            args=(self.worker, self.table.__name__, seconds, seconds),
        )


_keys_sql: dict[type[dj.Table], tuple[str, str]] = {}


def keys_sql(table: type[dj.Table]) -> tuple[str, str]:
    """Return the queries of the keys of all entries that a table can have, and of those that it lacks.

    They are kept: DataJoint asks the server for the definitions of the parents each time.
    """
    if table not in _keys_sql:
        _keys_sql[table] = (table()._jobs_to_do(()).make_sql(), _missing(table, ()).make_sql())
    return _keys_sql[table]


def _missing(table: type[dj.Table], restrictions: tuple) -> dj.QueryExpression:
    return (table()._jobs_to_do(restrictions) - table.proj()).proj()


class Maker:
    """A worker: it makes entries in this process, one at a time.

    Parameters
    ----------
    worker : str, optional
        Its id, if somebody else beats for it; by default it beats itself from its first entry on.
    slot : int
        Number within its ``meso worker``.
    dead_after : float
        Seconds without a heartbeat; by default those of a notebook.
    """

    def __init__(self, worker: str = "", slot: int = -1, dead_after: float = 0.0) -> None:
        self.beats_itself, self.worker = not worker, worker or new_worker()
        self.slot, self.dead_after = slot, dead_after or NOTEBOOK_MISSED * heartbeat()
        self.connection = connect()
        self.heartbeat: Heartbeat | None = None
        self.has_begun, self.n_passing = False, 0

    def begin(self) -> None:
        """Say that this worker lives; the first entry does, otherwise."""
        Worker.begin(self.worker, self.slot, self.dead_after)
        self.has_begun = True
        if self.beats_itself:
            self.heartbeat = Heartbeat(self.connection, lambda: [self.worker])
            self.heartbeat.start()

    def __enter__(self) -> Maker:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.heartbeat:
            self.heartbeat.stop()
        if self.has_begun:
            with suppress(Exception):  # whoever comes next sees that it is silent
                Worker.end(self.worker, "stopped" if kind else "finished")

    def make(self, table: type[dj.Table], key: dict) -> Outcome:
        """Reserve an entry and make it.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Whoever stopped it; the entry is pending again.
        """
        if not self.has_begun:
            self.begin()
        queue = Queue(table, self.worker)
        try:
            with log_level(logging.CRITICAL):  # DataJoint logs what we say, or keep in the job table
                done = _finishing(table(), queue)._populate1(
                    dict(key), jobs=queue, suppress_errors=True, return_exception_objects=True
                )
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            done = key, error
        if isinstance(done, tuple):
            return self._after(queue, key, done[1])
        self.n_passing = 0
        return Outcome("made" if done else "skipped")

    def _after(self, queue: Queue, key: dict, error: BaseException) -> Outcome:
        """Decide what becomes of an entry that was not made."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            with suppress(Exception):  # the server is away: whoever comes next frees the entry
                reconnect(self.connection)  # the signal may have come in the middle of an answer
                queue.release(key)
            raise error
        if isinstance(error, Robbed):
            return Outcome("skipped", str(error))
        return persist(
            self.connection, lambda: self._note(queue, key, error), PATIENCE if self.beats_itself else float("inf")
        )

    def _note(self, queue: Queue, key: dict, error: BaseException) -> Outcome:
        message = self._without_password(f"{type(error).__name__}: {error}")
        with self.connection.transaction:
            if queue.hold(key):
                return self._give_up(queue, key, error, message)
        if not is_passing(error):  # it failed before the job was ours
            raise error
        if queue.table & key:  # the commit arrived, only its answer was lost; or it was somebody else's
            return Outcome("made" if queue.has_reserved else "skipped")
        return Outcome("again", message)

    def _give_up(self, queue: Queue, key: dict, error: BaseException, message: str) -> Outcome:
        """Let a job that is ours be pending again, or an error."""
        if is_passing(error):
            n_lost = Attempt.count(queue.table.__name__, key, "n_lost") if is_lost(error) else 0
            if n_lost < LOST:
                delay = min(LONGEST_DELAY, FIRST_DELAY * 2**self.n_passing) * random.uniform(0.5, 1)
                self.n_passing += 1
                queue.release(key, delay, message)
                return Outcome("again", message)
            message = f"the connection was lost {n_lost} times while this was made. {message}"
        stack = self._without_password("".join(traceback.format_exception(error)))
        queue.fail(key, message, f"{stack}\n{_here()}")
        return Outcome("failed", message)

    def _without_password(self, text: str) -> str:
        password = self.connection.conn_info["passwd"]
        return text.replace(password, "***") if password and len(password) > 3 else text


def _here() -> str:
    """Return host, process and versions, for whoever reads the stack of an error."""
    row = environment_row()
    packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
    return f"{platform.node()}, process {os.getpid()}; Python {row['python_version']}, {packages} {row['git_commit']}"


def _finishing(target: dj.Table, queue: Queue) -> dj.Table:
    """Return a table whose ``make`` gives up the reservation at its end, in the transaction of its rows."""
    make, connection = target.make, queue.connection

    if inspect.isgeneratorfunction(make):

        def stepwise(key: dict) -> Iterator[Any]:
            steps = make(key)
            with bound(connection):
                fetched = next(steps)
            computed = yield fetched
            if computed is None:
                computed = yield next(steps)
            with bound(connection):
                steps.send(computed)
                queue.finish(key)
            yield

        target.make = stepwise
    else:

        def at_once(key: dict) -> None:
            with bound(connection):
                make(key)
                queue.finish(key)

        target.make = at_once
    return target


def reap() -> list[str]:
    """Free what dead workers had reserved; return what was found, as messages."""
    messages = [
        message
        for worker in Worker.living()
        if is_dead(worker)
        for message in bury(worker["worker"], "silent", f"process {worker['pid']} on {worker['host']}")
    ]
    for row in _reserved_by_ended():
        with connect().transaction:
            _free(row)
    return messages


def _reserved_by_ended() -> list[dict[str, Any]]:
    """Return what workers have reserved that have ended: it could not be freed, or was reserved too late.

    What a process has sent may arrive at the server after it died, after it was buried even.
    """
    reserved = reservations()
    workers = [{"worker": row["worker"]} for row in reserved if row["worker"]]
    ended = set((Worker & workers & "ended IS NOT NULL").to_arrays("worker")) if workers else set()
    return [row for row in reserved if row["worker"] in ended]


def bury(worker: str, reason: str, who: str) -> list[str]:
    """End a worker in its place, and let what it had reserved be pending again.

    Parameters
    ----------
    worker : str
    reason : str
        'stopped'; or 'killed' or 'silent', which count: an entry that so many workers died of is not tried again.
    who : str
        For messages.
    """
    with connect().transaction:
        is_death = Worker.end(worker, reason) and reason != "stopped"
        return [message for row in reservations(worker) for message in _free(row, who if is_death else "")]


def _free(row: dict[str, Any], dead: str = "") -> list[str]:
    """In a transaction, let what an ended worker has reserved be pending again; ``dead`` if its death is to count."""
    queue, key = Queue(table_named(row["table"]), row["worker"]), row["key"]
    if not queue.hold(key, wait=False):  # the server has not ended its transaction yet: the next turn sees
        return []
    n_deaths = Attempt.count(row["table"], key, "n_deaths") if dead else 0
    if n_deaths < POISON:
        queue.release(key)
        return [f"{dead} died while it made {row['table']} {key}"] if dead else []
    text = f"poison: {n_deaths} workers died while they made this, the last was {dead}"
    queue.fail(key, text, "No stack: the process was killed, for its memory or by a fault in compiled code")
    return [text]


def reservations(worker: str | None = None) -> list[dict[str, Any]]:
    """Return what is reserved, by one worker or by anybody.

    Returns
    -------
    list of dict
        table, key, worker ('' for DataJoint's own ``populate``), host, running (s).
    """
    adapter, now = connect().adapter, "CURRENT_TIMESTAMP(3)"
    age = (
        f"TIMESTAMPDIFF(MICROSECOND, reserved_time, {now}) / 1e6"
        if adapter.backend == "mysql"
        else f"EXTRACT(EPOCH FROM {now}::timestamp - reserved_time)"
    )
    whose, args = (" AND worker = %s", (worker,)) if worker is not None else ("", ())
    view = adapter.make_full_table_name(prefix() + "views", "job")
    rows = connect().query(
        f"SELECT table_name, entry_key, worker, host, {age} FROM {view} WHERE status = 'reserved'{whose}", args=args
    )
    return [
        {"table": table, "key": json.loads(key), "worker": worker, "host": host, "running": float(running)}
        for table, key, worker, host, running in rows.fetchall()
    ]

"""The job table of a table as one worker sees it."""

from __future__ import annotations

import json
import os
import platform
import random
import time
from typing import Any

import datajoint as dj

from pipeline.errors import DataError
from schemas.rows import jobs_of
from schemas.server.connection import connect
from schemas.server.settings import prefix
from schemas.work.tables import Made

#: Jobs looked at in one go: workers choose from as many, so that they do not all reach for the first.
BATCH = 32


MESSAGE_LENGTH = 2047


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

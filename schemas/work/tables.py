"""Workers, the jobs they have done and their failures: the database schema ``workers``.

A worker is a process that runs jobs, one at a time. Jobs that it has reserved in DataJoint's job tables have its id in
the column ``version``. Whether a worker is dead is decided by its heartbeats, never by the age of a reservation: some
jobs take hours.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import datajoint as dj
import psutil

from schemas.provenance import Environment
from schemas.rows import content_key
from schemas.server.dialect import dialect
from schemas.work.heartbeat import Pulse
from schemas.work.states import EndReason

schema = dj.Schema()

#: A worker of ``meso worker`` is dead after so many missed heartbeats. Its supervisor kills it earlier.
MAX_MISSED_HEARTBEATS = 3
#: More for a notebook, whose heartbeats are sent by a thread of the same process: a long computation may delay it.
MAX_MISSED_IN_NOTEBOOK = 12


@schema
class Worker(dj.Manual):
    definition = """
    # a process that runs jobs
    worker : char(32)               # random; the column `version` of what it has reserved in the job tables
    ---
    host : varchar(255)
    pid : int32
    pid_space : varchar(64)         # where the pid counts: boot and namespace
    slot : int16                    # number within its `meso worker`; -1 is `meso populate` or a notebook
    -> Environment
    started : datetime(3)           # UTC, by the clock of the server, like all times here
    heartbeat=null : datetime(3)
    dead_after : float64            # s without a heartbeat
    ended=null : datetime(3)
    end_reason='' : varchar(16)     # finished, stopped, killed or silent
    index (ended)
    """

    @classmethod
    def begin(cls, worker: str, slot: int, dead_after: float) -> None:
        """Insert the row of this process."""
        cls.insert1({
            "worker": worker, "host": platform.node(), "pid": os.getpid(), "pid_space": pid_space(), "slot": slot,
            "started": server_time(cls.connection), "dead_after": dead_after, **Environment.current(),
        }, skip_duplicates=True)  # fmt: skip

    @classmethod
    def beat(cls, cursor: Any, workers: list[str]) -> set[str]:
        """Record a heartbeat of workers, and return those of them that another process has ended.

        Parameters
        ----------
        cursor
            Of the client's own connection, not of DataJoint's.
        workers : list of str
            Their ids; may be empty, to see only whether the server answers.
        """
        workers = workers or [""]  # an empty IN () is a syntax error
        places = ", ".join(["%s"] * len(workers))
        # a worker that has been ended gets no heartbeat: ended is final
        these = f"{cls.full_table_name} {{}} WHERE worker IN ({places}) AND ended"
        now = dialect(cls.connection).utc_now
        # the update first: a worker that is ended between the two is seen by the second
        cursor.execute(f"UPDATE {these.format(f'SET heartbeat = {now}')} IS NULL", workers)
        cursor.execute(f"SELECT worker FROM {these.format('')} IS NOT NULL", workers)
        return {row[0] for row in cursor.fetchall()}

    @classmethod
    def end(cls, worker: str, reason: EndReason) -> bool:
        """Record that a worker has ended; return False if that was recorded before."""
        done = cls.connection.query(
            f"UPDATE {cls.full_table_name} SET ended = {dialect(cls.connection).utc_now}, end_reason = %s "
            f"WHERE worker = %s AND ended IS NULL", args=(reason.value, worker),
        )  # fmt: skip
        return done.rowcount == 1

    @classmethod
    def rows(cls, include_ended: bool = False) -> list[dict[str, Any]]:
        """Return the workers in the order of their start; one query.

        The rows have the columns of the table, ``silent`` (s since the last heartbeat) and ``is_dead``: the worker has
        not ended, but it has been silent for longer than ``dead_after``, or its process on this machine is gone.
        """
        sql, columns = dialect(cls.connection), cls.heading.names
        silent = sql.seconds_between(
            "COALESCE(heartbeat, started)", sql.utc_now
        )  # the first heartbeat may not have come
        rows = cls.connection.query(
            f"SELECT {', '.join(columns)}, {silent} FROM {cls.full_table_name} "
            f"{'' if include_ended else 'WHERE ended IS NULL '}ORDER BY started"
        ).fetchall()
        workers = [dict(zip((*columns, "silent"), row, strict=True)) for row in rows]
        return [{**worker, "is_dead": _is_dead(worker)} for worker in workers]


def _is_dead(worker: dict[str, Any]) -> bool:
    if worker["ended"] is not None:
        return False
    # pids of another boot or container say nothing about this machine's processes
    if worker["pid_space"] == pid_space() and not psutil.pid_exists(worker["pid"]):
        return True
    return float(worker["silent"]) > worker["dead_after"]


@schema
class Made(dj.Manual):
    # no foreign key to Worker: on MySQL the transaction of a job would lock the worker's row, which others update
    definition = """
    # how many jobs a worker has done
    worker : char(32)               # see Worker
    table_name : varchar(64)
    ---
    n_made : int32
    seconds : float64               # from reservation to commit, in all
    """

    @classmethod
    def record(cls, worker: str, table: str, seconds: float, n: int = 1) -> None:
        """Count a job that a worker has done, or several, in the transaction that inserts their rows."""
        row = {"worker": "%s", "table_name": "%s", "n_made": f"{n:d}", "seconds": "%s"}
        name = cls.full_table_name
        more = {"n_made": f"{name}.n_made + {n:d}", "seconds": f"{name}.seconds + %s"}
        cls.connection.query(
            dialect(cls.connection).insert_or_update(name, row, cls.primary_key, more),
            args=(worker, table, seconds, seconds),
        )


@schema
class Attempt(dj.Manual):
    definition = """
    # what went wrong with the workers of a job, not with the job; cleared when it is done, and by `meso retry`
    table_name : varchar(64)
    entry : char(32)                # hash of the key of the job
    ---
    entry_key : json
    n_deaths=0 : int32              # workers that died
    n_lost=0 : int32                # connections that were lost
    """

    @classmethod
    def record(cls, table: str, key: dict, what: Literal["n_deaths", "n_lost"]) -> int:
        """Count a dead worker or a lost connection (also one to ONE's servers) of a job, and return the new number."""
        row = {"table_name": table, "entry": content_key(key), "entry_key": json.dumps(key)}
        name = cls.full_table_name
        add = dialect(cls.connection).insert_or_update(
            name, {**dict.fromkeys(row, "%s"), what: "1"}, cls.primary_key, {what: f"{name}.{what} + 1"}
        )
        cls.connection.query(add, args=[*row.values()])
        return int((cls & {"table_name": table, "entry": row["entry"]}).fetch1(what))

    @classmethod
    def forget(cls, table: str, *keys: dict) -> None:
        """Delete the counts of jobs that are done: if their rows are deleted later, they begin anew."""
        rows = cls & [{"table_name": table, "entry": content_key(key)} for key in keys]
        # looked for first: on MySQL a DELETE that finds no row locks the gap into which others insert theirs
        if rows:
            rows.delete_quick()

    @classmethod
    def clear(cls, table: str, keys: Iterable[dict]) -> None:
        """Delete the counts of jobs of a table."""
        if entries := [{"entry": content_key(key)} for key in keys]:
            (cls & {"table_name": table} & entries).delete_quick()


@schema
class Lease(dj.Manual):
    definition = """
    # what one process at a time may do; a lock of the server would outlive a machine that has vanished
    lease : varchar(32)
    ---
    holder='' : char(32)
    expires : datetime(3)
    """

    @classmethod
    @contextmanager
    def hold(cls, lease: str, holder: str, seconds: float) -> Iterator[bool]:
        """Hold a lease while a block runs; yields False if another process holds it.

        A thread renews the lease after every third of its duration, on a connection of its own that is opened at the
        first renewal, and the lease is given back at the end. If the holder vanishes, the lease expires.

        Parameters
        ----------
        lease, holder : str
        seconds : float
            Duration of the lease without renewal.
        """
        is_ours = cls.take(lease, holder, seconds)
        if not is_ours:
            yield False
            return
        renewal = Pulse(
            cls.connection, lambda cursor: cls.renew(cursor, lease, holder, seconds), seconds / 3, delay=seconds / 3
        )
        renewal.start()
        try:
            yield True
        finally:
            renewal.stop()
            with suppress(Exception):  # the connection is lost: the lease expires by itself
                cls.give_back(lease, holder)

    @classmethod
    def take(cls, lease: str, holder: str, seconds: float) -> bool:
        """Take a lease for some seconds; return False if another process holds it."""
        sql = dialect(cls.connection)
        # the row is made once, expired already; then the UPDATE decides who holds it
        if not (cls & {"lease": lease}):
            cls.insert1({"lease": lease, "expires": server_time(cls.connection)}, skip_duplicates=True)
        done = cls.connection.query(
            f"UPDATE {cls.full_table_name} SET holder = %s, expires = {sql.plus_seconds(sql.utc_now, seconds)} "
            f"WHERE lease = %s AND expires <= {sql.utc_now}",
            args=(holder, lease),
        )
        return done.rowcount == 1

    @classmethod
    def renew(cls, cursor: Any, lease: str, holder: str, seconds: float) -> None:
        """Extend a lease to some seconds from now, unless it has expired or was given back."""
        sql = dialect(cls.connection)
        cursor.execute(
            f"UPDATE {cls.full_table_name} SET expires = {sql.plus_seconds(sql.utc_now, seconds)} "
            f"WHERE lease = %s AND holder = %s AND expires > {sql.utc_now}",
            (lease, holder),
        )

    @classmethod
    def give_back(cls, lease: str, holder: str) -> None:
        """Give a lease back, so that other processes can take it."""
        now = dialect(cls.connection).utc_now
        cls.connection.query(
            f"UPDATE {cls.full_table_name} SET expires = {now} WHERE lease = %s AND holder = %s", args=(lease, holder)
        )


def server_time(connection: dj.Connection) -> Any:
    """Return the current time of the server's clock, UTC."""
    return connection.query(f"SELECT {dialect(connection).utc_now}").fetchone()[0]


@lru_cache(maxsize=1)
def pid_space() -> str:
    """Return an id of the space in which process ids are unique: this boot of the machine, and its PID namespace.

    Containers can have the host name of their machine, but see other processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux, so not in a container
        return platform.node()

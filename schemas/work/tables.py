"""Who makes entries, and the sign that they live.

A worker is a process that makes entries, one at a time. Its reservations in DataJoint's job tables carry its id in the
column ``version``. Who is dead is decided by heartbeats, never by the age of a reservation: some take hours.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import datajoint as dj

from schemas.provenance import Environment
from schemas.rows import content_key

schema = dj.Schema()


#: A worker of ``meso worker`` that has missed so many heartbeats is dead. Its supervisor kills it before.
MISSED = 3


#: The heartbeat of a notebook is a thread of the same process, which a long computation may hold up.
NOTEBOOK_MISSED = 12


#: So many workers died while they made the same entry: it is not tried again.
POISON = 3


NOW = {"mysql": "UTC_TIMESTAMP(3)", "postgresql": "timezone('utc', clock_timestamp())::timestamp(3)"}


AGE = {
    "mysql": "TIMESTAMPDIFF(MICROSECOND, {0}, UTC_TIMESTAMP(3)) / 1e6",
    "postgresql": "EXTRACT(EPOCH FROM timezone('utc', clock_timestamp()) - {0})",
}


@schema
class Worker(dj.Manual):
    definition = """
    # a process that makes entries
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
            **Environment.current(), "started": server_time(cls.connection), "dead_after": dead_after,
        }, skip_duplicates=True)  # fmt: skip

    @classmethod
    def end(cls, worker: str, reason: str) -> bool:
        """Note that a worker has ended; return whether that is news."""
        adapter = cls.connection.adapter
        done = cls.connection.query(
            f"UPDATE {cls.full_table_name} SET ended = {NOW[adapter.backend]}, end_reason = %s "
            f"WHERE worker = %s AND ended IS NULL", args=(reason, worker),
        )  # fmt: skip
        return done.rowcount == 1

    @classmethod
    def living(cls, ended: bool = False) -> list[dict[str, Any]]:
        """Return the workers that have not ended, or all, with the seconds since their last heartbeat as ``silent``."""
        age = AGE[cls.connection.adapter.backend].format("COALESCE(heartbeat, started)")
        columns = cls.heading.names
        rows = cls.connection.query(
            f"SELECT {', '.join(columns)}, {age} FROM {cls.full_table_name} "
            f"{'' if ended else 'WHERE ended IS NULL '}ORDER BY started"
        ).fetchall()
        return [dict(zip((*columns, "silent"), row, strict=True)) for row in rows]


@schema
class Made(dj.Manual):
    # no foreign key: on MySQL the transaction of an entry would lock the row that others end its worker in
    definition = """
    # how much a worker made
    worker : char(32)               # see Worker
    table_name : varchar(64)
    ---
    n_made : int32
    seconds : float64               # from reservation to commit, in all
    """


@schema
class Attempt(dj.Manual):
    definition = """
    # what went wrong with whoever made an entry, not with the entry; `meso retry` forgets it
    table_name : varchar(64)
    entry : char(32)                # hash of its key
    ---
    entry_key : json
    n_deaths=0 : int32              # workers that died
    n_lost=0 : int32                # connections that were lost
    """

    @classmethod
    def count(cls, table: str, key: dict, what: str) -> int:
        """Add one to ``n_deaths`` or ``n_lost`` of an entry, and return the number."""
        row = {"table_name": table, "entry": content_key(key)}
        cls.insert1({**row, "entry_key": key}, skip_duplicates=True)
        attempt = cls & row
        cls.connection.query(f"UPDATE {cls.full_table_name} SET {what} = {what} + 1 {attempt.where_clause()}")
        return int(attempt.fetch1(what))

    @classmethod
    def forget(cls, table: str, keys: Iterable[dict]) -> None:
        """Forget what happened to entries of a table."""
        for key in keys:
            (cls & {"table_name": table, "entry": content_key(key)}).delete_quick()


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
    def take(cls, lease: str, holder: str, seconds: float) -> bool:
        """Take a lease for some seconds, unless somebody else has it: who vanishes with it keeps it no longer."""
        adapter = cls.connection.adapter
        now = NOW[adapter.backend]
        if not (cls & {"lease": lease}):
            cls.insert1({"lease": lease, "expires": server_time(cls.connection)}, skip_duplicates=True)
        done = cls.connection.query(
            f"UPDATE {cls.full_table_name} SET holder = %s, "
            f"expires = {now} + {adapter.interval_expr(seconds, 'second')} WHERE lease = %s AND expires <= {now}",
            args=(holder, lease),
        )
        return done.rowcount == 1

    @classmethod
    def give_back(cls, lease: str, holder: str) -> None:
        """Let somebody else have a lease."""
        now = NOW[cls.connection.adapter.backend]
        cls.connection.query(
            f"UPDATE {cls.full_table_name} SET expires = {now} WHERE lease = %s AND holder = %s", args=(lease, holder)
        )


def server_time(connection: dj.Connection) -> Any:
    """Return the time of the server's clock, UTC."""
    return connection.query(f"SELECT {NOW[connection.adapter.backend]}").fetchone()[0]


@lru_cache(maxsize=1)
def pid_space() -> str:
    """Return where process ids mean something: containers on one machine may share its name, but not its processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux: no containers either
        return platform.node()

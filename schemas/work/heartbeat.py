"""The sign that workers live, and who is dead."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import datajoint as dj
import psutil

from schemas.server.settings import heartbeat
from schemas.work.tables import NOW, Worker, pid_space


def is_dead(worker: dict[str, Any]) -> bool:
    """Say whether a row of ``Worker.living`` is of a process that has gone, or been silent for too long."""
    if worker["pid_space"] == pid_space() and not psutil.pid_exists(worker["pid"]):
        return True
    return float(worker["silent"]) > worker["dead_after"]


def new_worker() -> str:
    """Return a random id."""
    return uuid.uuid4().hex


class Heartbeat(threading.Thread):
    """Beats for workers, on a connection of its own: a long transaction of theirs does not stop it.

    Parameters
    ----------
    connection : dj.Connection
        Of this process; another is made like it.
    workers : callable
        Returns the ids of those that live.

    Attributes
    ----------
    last : float
        When the last heartbeat that arrived was sent, by ``uptime``.
    lost : set of str
        Workers that others have declared dead.
    """

    def __init__(self, connection: dj.Connection, workers: Callable[[], list[str]]) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.adapter, self.connect = connection.adapter, _connects_like(connection)
        self.table, self.workers = Worker.full_table_name, workers
        self.last, self.lost, self.pause = uptime(), set[str](), heartbeat()
        self.stopped = threading.Event()

    def run(self) -> None:
        """Beat until ``stop``; while the server is away, try again."""
        connection = None
        while not self.stopped.is_set():
            sent = uptime()
            try:
                connection = connection or self.connect()
                self._beat(connection, self.workers())
                self.last = sent
            except Exception:  # whatever it is, the silence tells
                _close(connection)
                connection = None
            self.stopped.wait(max(0.0, sent + self.pause - uptime()) if connection else self.pause / 10)
        _close(connection)

    def _beat(self, connection: Any, workers: list[str]) -> None:
        workers = workers or [""]  # the server is asked all the same
        places = ", ".join(["%s"] * len(workers))
        now = NOW[self.adapter.backend]
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} SET heartbeat = {now} WHERE worker IN ({places}) AND ended IS NULL", workers
            )
            cursor.execute(f"SELECT worker FROM {self.table} WHERE worker IN ({places}) AND ended IS NOT NULL", workers)
            self.lost |= {row[0] for row in cursor.fetchall()}

    def stop(self) -> None:
        """End the thread."""
        self.stopped.set()
        self.join(self.pause)


def _connects_like(connection: dj.Connection) -> Callable[[], Any]:
    """Return a function that makes a plain connection; DataJoint's changes what warnings do in all threads."""

    def connect() -> Any:
        try:
            return connection.adapter.connect(**connection._build_connect_kwargs())
        except Exception:
            if connection.conn_info["ssl_input"] is not None:
                raise
            return connection.adapter.connect(**connection._build_connect_kwargs(use_tls=False))

    return connect


def _close(connection: Any) -> None:
    if connection is not None:
        with suppress(Exception):  # it is gone already
            connection.close()


def uptime() -> float:
    """Return seconds of a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

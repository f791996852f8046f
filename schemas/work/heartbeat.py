"""Threads that repeat something in the database on a connection of their own: heartbeats, and leases that last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import datajoint as dj


class Pulse(threading.Thread):
    """Repeats statements until ``stop``, whatever the caller does meanwhile: its long transactions do not hold it up.

    While the server is away, it tries again, ten times as often.

    Parameters
    ----------
    connection : dj.Connection
        Of this process; another is made like it, for the first beat.
    beat : callable
        Takes a cursor, whose statements commit one by one.
    pause : float
        s from one beat to the next.
    delay : float
        s until the first beat.

    Attributes
    ----------
    last : float
        When the last beat that was answered was sent, by ``uptime``.
    """

    def __init__(
        self, connection: dj.Connection, beat: Callable[[Any], object], pause: float, delay: float = 0.0
    ) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.beat, self.connect = beat, connects_like(connection)
        self.last, self.pause, self.delay = uptime(), pause, delay
        self.stopped = threading.Event()

    def run(self) -> None:
        """Beat until ``stop``."""
        connection = None
        self.stopped.wait(self.delay)
        while not self.stopped.is_set():
            sent = uptime()
            try:
                connection = connection or self.connect()
                with connection.cursor() as cursor:
                    self.beat(cursor)
                self.last = sent
            except Exception:  # whatever it is, the silence tells
                _close(connection)
                connection = None
            self.stopped.wait(max(0.0, sent + self.pause - uptime()) if connection else self.pause / 10)
        _close(connection)

    def stop(self) -> None:
        """End the thread."""
        self.stopped.set()
        self.join(self.pause)


class Heartbeat(Pulse):
    """The sign that workers live.

    Parameters
    ----------
    connection : dj.Connection
    beat : callable
        Takes a cursor, notes that workers live, and returns those that others have ended: see ``Worker.beat``.
    pause : float
        s.

    Attributes
    ----------
    lost : set of str
        Workers that others have declared dead.
    """

    def __init__(self, connection: dj.Connection, beat: Callable[[Any], set[str]], pause: float) -> None:
        self.lost: set[str] = set()
        super().__init__(connection, lambda cursor: self.lost.update(beat(cursor)), pause)


def connects_like(connection: dj.Connection) -> Callable[[], Any]:
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

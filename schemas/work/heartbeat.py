"""Threads that repeat statements on a database connection of their own: heartbeats and renewals of leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import datajoint as dj


class Pulse(threading.Thread):
    """Repeats statements until ``stop``, also while the main connection is in a long transaction.

    While the server does not answer, it tries ten times as often.

    Parameters
    ----------
    connection : dj.Connection
        Connection of this process. The thread opens another with the same settings at its first beat.
    beat : callable(cursor)
        The statements to repeat; each commits by itself.
    pause : float
        Seconds from one beat to the next.
    delay : float
        Seconds until the first beat.

    Attributes
    ----------
    last : float
        Time, by ``uptime``, at which the last beat that the server answered was sent.
    """

    def __init__(
        self, connection: dj.Connection, beat: Callable[[Any], object], pause: float, delay: float = 0.0
    ) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.beat, self.connect = beat, connects_like(connection)
        # now, and not 0: before the first beat the silence is counted from here
        self.last, self.pause, self.delay = uptime(), pause, delay
        self.stopped = threading.Event()

    def run(self) -> None:
        """Repeat ``beat`` until ``stop``."""
        connection = None
        self.stopped.wait(self.delay)
        while not self.stopped.is_set():
            sent = uptime()  # not the time of the answer, which may come late
            try:
                # not the main connection: a beat in its transaction would be seen by others at the commit only
                connection = connection or self.connect()
                with connection.cursor() as cursor:
                    self.beat(cursor)
                self.last = sent
            except Exception:  # whatever the error: others notice that the heartbeats stop
                _close(connection)
                connection = None
            self.stopped.wait(max(0.0, sent + self.pause - uptime()) if connection else self.pause / 10)
        _close(connection)

    def stop(self) -> None:
        """End the thread."""
        self.stopped.set()
        # bounded: the thread may be waiting for a server that does not answer, and is a daemon
        self.join(self.pause)


class Heartbeat(Pulse):
    """Sends the heartbeats of workers.

    Parameters
    ----------
    connection : dj.Connection
    beat : callable(cursor)
        Records that workers are alive, and returns those that another process has ended: see ``Worker.beat``.
    pause : float
        Seconds between heartbeats.

    Attributes
    ----------
    lost : set of str
        Workers that another process has ended: it took them for dead.
    """

    def __init__(self, connection: dj.Connection, beat: Callable[[Any], set[str]], pause: float) -> None:
        self.lost: set[str] = set()
        super().__init__(connection, lambda cursor: self.lost.update(beat(cursor)), pause)


def connects_like(connection: dj.Connection) -> Callable[[], Any]:
    """Return a function that opens a client connection with the settings of a DataJoint connection.

    Opening a DataJoint connection would change the warning filters, which all threads share.
    """

    def connect() -> Any:
        try:
            return connection.adapter.connect(**connection._build_connect_kwargs())
        except Exception:
            if connection.conn_info["ssl_input"] is not None:
                raise
            # like DataJoint: without a setting, TLS is tried first and then no TLS
            return connection.adapter.connect(**connection._build_connect_kwargs(use_tls=False))

    return connect


def _close(connection: Any) -> None:
    if connection is not None:
        with suppress(Exception):  # it is lost already
            connection.close()


def uptime() -> float:
    """Return the seconds of a monotonic clock that includes the time that the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

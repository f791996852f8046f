"""A connection that is one connection to the server for each thread, so that threads do not wait for each other.

All tables of DataJoint share one ``dj.Connection``, which holds one connection to the server. The page reads in several
threads: each gets its own, made when it first asks.
"""

from __future__ import annotations

import threading
from typing import Any

import datajoint as dj


class _Own(threading.local):
    """What ``dj.Connection`` notes of its connection to the server, for the calling thread."""

    conn: Any = None
    is_closed = True
    in_transaction = False


def _of_thread(name: str) -> Any:
    """Return a property that is an attribute of the calling thread's ``_Own``."""
    return property(
        lambda connection: getattr(connection._own, name),
        lambda connection, value: setattr(connection._own, name, value),
    )


class ByThread(dj.Connection):
    """DataJoint's connection with a connection to the server for each thread: see ``by_thread``."""

    _own: _Own

    @property
    def _conn(self) -> Any:
        if self._own.conn is None:
            self.connect()
        return self._own.conn

    @_conn.setter
    def _conn(self, conn: Any) -> None:
        self._own.conn = conn

    _is_closed, _in_transaction = _of_thread("is_closed"), _of_thread("in_transaction")


def by_thread(connection: dj.Connection) -> None:
    """Give each thread that uses a connection its own connection to the server, as ``only_read`` says if it was called.

    For threads that only read: transactions of one thread are unknown to the others.
    """
    connection.close()
    # all tables hold this object: it is changed in place
    vars(connection)["_own"] = _Own()
    connection.__class__ = ByThread

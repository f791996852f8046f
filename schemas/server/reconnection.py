"""Connections that notice that the server has gone, and errors that pass by themselves.

DataJoint reconnects to MySQL, but does not recognise that PostgreSQL has gone; and neither driver notices a server that
no longer answers at all, for hours.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import datajoint as dj
import psycopg2
import pymysql
from datajoint.adapters import ADAPTERS
from datajoint.adapters.mysql import MySQLAdapter
from datajoint.adapters.postgres import PostgreSQLAdapter
from datajoint.errors import LostConnectionError
from psycopg2 import errorcodes
from pymysql.constants import CR, ER

from schemas.server import dialect

T = TypeVar("T")
_only_reads = threading.Event()
#: Without an answer for the first, then as many times as the last, the second apart, a connection is lost.
#: In s. What was sent and is not confirmed stops these questions and has a time of its own: ms, Linux only.
KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
#: The same for PostgreSQL's side: what a vanished client has locked stays so until the server notices.
POSTGRESQL_KEEP_ALIVE = {
    "tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3, "tcp_user_timeout": 25_000,
}  # fmt: skip
LONGEST_WAIT = 30.0

#: What PyMySQL has no names for: its 0 is a connection that this side has closed.
CLOSED, EE_WRITE, CONNECTION_KILLED, CLIENT_INTERACTION_TIMEOUT = 0, 3, 1927, 4031
MYSQL_LOST = (
    CLOSED, ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, CONNECTION_KILLED, CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR,
    CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CLIENT_INTERACTION_TIMEOUT,
)  # fmt: skip
MYSQL_LOCKED = (ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK)
#: The disk is full, or something that lies on it.
MYSQL_FULL = (EE_WRITE, ER.DISK_FULL, ER.ERROR_ON_WRITE, ER.GET_ERRNO, ER.RECORD_FILE_FULL)
#: PostgreSQL's shutdowns: 57P01 to 57P05, but no cancelled query.
SHUTDOWN = f"{errorcodes.CLASS_OPERATOR_INTERVENTION}P"
#: Of PostgreSQL's: a rollback is a deadlock, resources are a full disk, and the system error is one of its machine.
POSTGRESQL_PASSING = (
    errorcodes.CLASS_CONNECTION_EXCEPTION, errorcodes.CLASS_TRANSACTION_ROLLBACK,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES, errorcodes.LOCK_NOT_AVAILABLE, SHUTDOWN, errorcodes.CLASS_SYSTEM_ERROR,
)  # fmt: skip


class PostgreSQL(PostgreSQLAdapter):
    """DataJoint's adapter, with connections that come back."""

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, and notice within half a minute when the server does not answer."""
        connection = super().connect(*args, **kwargs)
        _keep_alive(connection.fileno())
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"SET {name} = {value}" for name, value in POSTGRESQL_KEEP_ALIVE.items()))
            if _only_reads.is_set():
                cursor.execute(dialect.PostgreSQL.only_read)
        return connection

    def ping(self, connection: Any) -> bool:
        """Raise if the server does not answer: DataJoint does not look at what is returned."""
        if not super().ping(connection):
            raise LostConnectionError("The server does not answer.")
        return True

    def translate_error(self, error: Exception, query: str = "") -> Exception:
        """Return DataJoint's error for a lost connection too."""
        lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and error.pgcode is None
        return LostConnectionError(str(error).strip()) if lost else super().translate_error(error, query)

    def get_cursor(self, connection: Any, as_dict: bool = False) -> Any:
        """Return a cursor; that of a closed connection says so when it is used, where DataJoint expects it."""
        try:
            return super().get_cursor(connection, as_dict)
        except psycopg2.InterfaceError as error:
            return _Closed(error)


class _Closed:
    """A cursor of a closed connection."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def execute(self, *_: Any) -> None:
        raise self.error


class MySQL(MySQLAdapter):
    """DataJoint's adapter, with connections that notice when the server does not answer."""

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, and notice within half a minute when the server does not answer."""
        connection = super().connect(*args, **kwargs)
        _keep_alive(connection._sock.fileno())
        if _only_reads.is_set():
            with connection.cursor() as cursor:
                cursor.execute(dialect.MySQL.only_read)
        return connection

    def translate_error(self, error: Exception, query: str = "") -> Exception:
        """Return DataJoint's error for a lost connection, also where a shutdown or an idle timeout closed it."""
        lost = _is_lost_mysql(error)
        return LostConnectionError(*map(str, error.args)) if lost else super().translate_error(error, query)


def register() -> None:
    """Have DataJoint use these adapters."""
    ADAPTERS.update(mysql=MySQL, postgresql=PostgreSQL, postgres=PostgreSQL)


def _keep_alive(fileno: int) -> None:
    with suppress(OSError), socket.socket(fileno=socket.dup(fileno)) as sock:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEP_ALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_lost(error: BaseException) -> bool:
    """Return whether the connection was lost, or the server cannot be reached."""
    if isinstance(error, LostConnectionError):
        return True
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return error.pgcode is None or error.pgcode.startswith((errorcodes.CLASS_CONNECTION_EXCEPTION, SHUTDOWN))
    return _is_lost_mysql(error)


def _is_lost_mysql(error: BaseException) -> bool:
    if not (isinstance(error, pymysql.err.Error) and error.args):
        return False
    # a signal in the middle of an answer leaves its rest to the next question
    is_out_of_step = isinstance(error, pymysql.err.InternalError) and "sequence number" in str(error.args[0])
    return is_out_of_step or error.args[0] in MYSQL_LOST


def is_passing(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, may be gone at the next try: lost connection, deadlock, full disk."""
    while error is not None:
        if is_lost(error):
            return True
        if isinstance(error, psycopg2.Error) and (error.pgcode or "").startswith(POSTGRESQL_PASSING):
            return True
        if isinstance(error, pymysql.err.Error) and error.args and error.args[0] in (*MYSQL_LOCKED, *MYSQL_FULL):
            return True
        error = error.__cause__
    return False


def reconnect(connection: dj.Connection) -> None:
    """Connect anew, whatever state the connection is in; the server rolls back what was open."""
    with suppress(Exception):
        connection.close()
    _ = connection.in_transaction  # asking a closed connection makes DataJoint forget its transaction
    connection.connect()


@contextmanager
def bound(connection: dj.Connection) -> Iterator[None]:
    """Within a transaction, have a lost connection stay lost.

    DataJoint would reconnect, raise an error and forget the transaction; and one of its own queries, about the lineage
    of a table that is used for the first time, hides all errors. What comes after would be outside any transaction.
    """
    if connection._in_transaction:
        with connection._config.override(database__reconnect=False):
            yield
    else:
        yield


def only_read(connection: dj.Connection) -> None:
    """Have the server refuse whatever this process might write from now on, also after a lost connection."""
    _only_reads.set()
    reconnect(connection)


def persist(connection: dj.Connection, call: Callable[[], T], seconds: float = float("inf")) -> T:
    """Return what a function returns, after trying again through lost connections.

    Parameters
    ----------
    connection : dj.Connection
    call : callable
        What may be done twice.
    seconds : float
        After this time the error is raised.
    """
    begin, wait = time.monotonic(), 0.1
    while True:
        try:
            return call()
        except Exception as error:
            if not is_passing(error) or time.monotonic() - begin > seconds:
                raise
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT / 6)
            with suppress(Exception):  # the next try says why
                reconnect(connection)

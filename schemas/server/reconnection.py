"""Connections that detect a lost server, and transient errors (those that another try may not meet).

DataJoint reconnects to MySQL but does not recognise a lost connection to PostgreSQL. Without TCP keepalive neither
driver notices for hours that a server has stopped answering.
"""

from __future__ import annotations

import os
import socket
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
from datajoint.errors import IntegrityError, LostConnectionError, MissingTableError
from psycopg2 import errorcodes
from pymysql.constants import CR, ER

from pipeline.errors import ConfigError
from schemas.server import dialect, tls

T = TypeVar("T")
#: Seconds of the longest query, under "seconds", once this process must not write: see ``only_read``.
_only_reads: dict[str, float] = {}
#: TCP keepalive of our side: the first probe after KEEPIDLE s of silence, then every KEEPINTVL s; after KEEPCNT probes
#: without an answer the connection is lost. Probes are not sent while data are unacknowledged: USER_TIMEOUT (ms, Linux
#: only) limits that time.
KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
#: The same for PostgreSQL's side: the locks of a client that has vanished are held until the server notices.
POSTGRESQL_KEEP_ALIVE = {
    "tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3, "tcp_user_timeout": 25_000,
}  # fmt: skip
#: Limit of the waits between two tries of ``persist``, s.
LONGEST_WAIT = 5.0

#: Error numbers without a name in PyMySQL. It uses 0 for a connection that this side has closed.
CLOSED, EE_WRITE, CONNECTION_KILLED, CLIENT_INTERACTION_TIMEOUT = 0, 3, 1927, 4031
READ_ONLY_MODE, READ_ONLY_TRANSACTION = 1836, 1792
MYSQL_LOST = (
    CLOSED, ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, CONNECTION_KILLED, CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR,
    CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CLIENT_INTERACTION_TIMEOUT,
)  # fmt: skip
MYSQL_LOCKED = (ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK)
#: The disk is full, or a file on it cannot be written.
MYSQL_FULL = (EE_WRITE, ER.DISK_FULL, ER.ERROR_ON_WRITE, ER.GET_ERRNO, ER.RECORD_FILE_FULL)
#: The server refuses all writes: --super-read-only, --read-only, a read-only transaction.
MYSQL_READ_ONLY = (ER.OPTION_PREVENTS_STATEMENT, READ_ONLY_MODE, READ_ONLY_TRANSACTION)
READ_ONLY = (
    "The database server accepts no writes ({}). It may be a replica: connect to its primary server (DJ_HOST), or ask "
    "who runs it"
)
#: A query took longer than ``only_read`` allows.
MYSQL_TOO_SLOW = (ER.QUERY_TIMEOUT,)
#: Start of the codes of PostgreSQL's shutdowns, 57P01 to 57P05; a cancelled query (57014) is not among them.
SHUTDOWN = f"{errorcodes.CLASS_OPERATOR_INTERVENTION}P"
#: PostgreSQL's transient errors, by the start of their codes. TRANSACTION_ROLLBACK includes deadlocks,
#: INSUFFICIENT_RESOURCES a full disk, SYSTEM_ERROR I/O errors of the server's machine.
POSTGRESQL_TRANSIENT = (
    errorcodes.CLASS_CONNECTION_EXCEPTION, errorcodes.CLASS_TRANSACTION_ROLLBACK,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES, errorcodes.LOCK_NOT_AVAILABLE, SHUTDOWN, errorcodes.CLASS_SYSTEM_ERROR,
)  # fmt: skip


class PostgreSQL(PostgreSQLAdapter):
    """DataJoint's adapter, with connections that are recognised as lost, so that DataJoint reconnects."""

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, in UTC and with keepalive: a server that stops answering is noticed within half a minute."""
        options = tls.postgresql(kwargs.pop("use_tls", None))
        if ca := options.pop("sslrootcert", None):
            os.environ["PGSSLROOTCERT"] = ca  # DataJoint passes no such option on
        connection = super().connect(*args, **kwargs, **options)
        _keep_alive(connection.fileno())
        settings = [f"SET {name} = {value}" for name, value in POSTGRESQL_KEEP_ALIVE.items()]
        settings += [dialect.PostgreSQL.use_utc]
        settings += dialect.PostgreSQL().only_read(_only_reads["seconds"]) if _only_reads else ()
        with connection.cursor() as cursor:
            cursor.execute("; ".join(settings))  # at once: the server may be far away
        return connection

    def ping(self, connection: Any) -> bool:
        """Raise if the server does not answer: DataJoint ignores the return value."""
        if not super().ping(connection):
            raise LostConnectionError("The server does not answer.")
        return True

    def get_connection_id(self, connection: Any) -> int:
        """Return the id of the server's process, which the client knows."""
        return int(connection.get_backend_pid())

    def server_version(self, connection: Any) -> str:
        """Return the version that the server named when it was connected to."""
        return str(connection.get_parameter_status("server_version"))

    def translate_error(self, error: Exception, query: str = "") -> Exception:
        """Return DataJoint's error, or a ConfigError if the server accepts no writes.

        Also for a lost connection: the client's own errors have no PostgreSQL code.
        """
        code = getattr(error, "pgcode", None)
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and code is None:
            return LostConnectionError(str(error).strip())
        if code == errorcodes.RESTRICT_VIOLATION:
            # a row refers to one that is deleted: DataJoint knows FOREIGN_KEY_VIOLATION only, PostgreSQL gives either
            return IntegrityError(str(error).strip())
        if code == errorcodes.READ_ONLY_SQL_TRANSACTION and not _only_reads:
            return ConfigError(READ_ONLY.format(str(error).strip()))
        return super().translate_error(error, query)

    def get_cursor(self, connection: Any, as_dict: bool = False) -> Any:
        """Return a cursor; for a closed connection one that raises when it is used, where DataJoint catches it."""
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
    """DataJoint's adapter, with keepalive, TLS as asked for, and schemas that tell José from Jose."""

    def create_schema_sql(self, schema_name: str) -> str:
        """Return the statement; the collation is ours whatever the server's default is."""
        return f"{super().create_schema_sql(schema_name)} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, in UTC and with keepalive: a server that stops answering is noticed within half a minute."""
        connection = super().connect(*args, **{**kwargs, "use_tls": tls.mysql(kwargs.get("use_tls"))})
        _keep_alive(connection._sock.fileno())
        with connection.cursor() as cursor:
            cursor.execute(dialect.MySQL.use_utc)
            for statement in dialect.MySQL().only_read(_only_reads["seconds"]) if _only_reads else ():
                cursor.execute(statement)
        return connection

    def get_connection_id(self, connection: Any) -> int:
        """Return the id of the connection, which the client knows."""
        return int(connection.thread_id())

    def server_version(self, connection: Any) -> str:
        """Return the version of the server itself: what it names when it is connected to may be that of a proxy."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT version()")
            return str(cursor.fetchone()[0])

    def translate_error(self, error: Exception, query: str = "") -> Exception:
        """Return DataJoint's error, or a ConfigError if the server accepts no writes.

        Also for a connection that a shutdown or an idle timeout closed, or a table in a schema that is not there.
        """
        if _is_lost_mysql(error):
            return LostConnectionError(*map(str, error.args))
        number, text = (*error.args, "", "")[:2]
        if number == ER.BAD_DB_ERROR:
            return MissingTableError(str(text), query)
        if number in MYSQL_READ_ONLY and "read" in str(text) and not _only_reads:
            return ConfigError(READ_ONLY.format(text))
        return super().translate_error(error, query)


def register() -> None:
    """Make DataJoint use these adapters for new connections."""
    ADAPTERS.update(mysql=MySQL, postgresql=PostgreSQL, postgres=PostgreSQL)


def _keep_alive(fileno: int) -> None:
    """Set the keepalive of a client's socket; a Unix socket needs none, and some options are Linux only."""
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
    # after a signal in the middle of an answer, the next query would read the rest of that answer
    is_out_of_step = isinstance(error, pymysql.err.InternalError) and "sequence number" in str(error.args[0])
    return is_out_of_step or error.args[0] in MYSQL_LOST


def is_passing(error: BaseException | None) -> bool:
    """Return whether an error or its cause is transient: a lost connection, a deadlock or a full disk."""
    while error is not None:
        if is_lost(error):
            return True
        if isinstance(error, psycopg2.Error) and (error.pgcode or "").startswith(POSTGRESQL_TRANSIENT):
            return True
        if isinstance(error, pymysql.err.Error) and error.args and error.args[0] in (*MYSQL_LOCKED, *MYSQL_FULL):
            return True
        error = error.__cause__
    return False


def reconnect(connection: dj.Connection) -> None:
    """Close the connection, whatever its state, and connect again; the server rolls back an open transaction."""
    with suppress(Exception):
        connection.close()
    _ = connection.in_transaction  # on a closed connection the property resets DataJoint's transaction flag
    connection.connect()


@contextmanager
def without_reconnect(connection: dj.Connection) -> Iterator[None]:
    """Keep DataJoint from reconnecting within a transaction: the statements after a lost connection must fail too.

    DataJoint reconnects, raises an error and resets its transaction flag. One of its own queries, about the lineage of
    a table that is used for the first time, suppresses all errors: the statements after it would then run outside any
    transaction.
    """
    if connection._in_transaction:
        with connection._config.override(database__reconnect=False):
            yield
    else:
        yield


def only_read(connection: dj.Connection, seconds: float) -> None:
    """Make the server refuse every later write and stop every longer query of this process, also after it reconnects.

    Parameters
    ----------
    connection : dj.Connection
    seconds : float
        Time that a query may take.
    """
    _only_reads["seconds"] = seconds
    reconnect(connection)


def is_too_slow(error: BaseException) -> bool:
    """Return whether the server stopped a query that took longer than ``only_read`` allows."""
    if isinstance(error, psycopg2.Error):
        return error.pgcode == errorcodes.QUERY_CANCELED
    return isinstance(error, pymysql.err.Error) and bool(error.args) and error.args[0] in MYSQL_TOO_SLOW


def persist(connection: dj.Connection, call: Callable[[], T], seconds: float = float("inf")) -> T:
    """Call a function until it meets no transient error, and return its result.

    Parameters
    ----------
    connection : dj.Connection
    call : callable
        It must be safe to call again.
    seconds : float
        After this time a transient error is raised as well.
    """
    begin, wait = time.monotonic(), 0.1
    while True:
        try:
            return call()
        except Exception as error:
            if not is_passing(error) or time.monotonic() - begin > seconds:
                raise
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            with suppress(Exception):  # the next try raises the reason
                reconnect(connection)

"""The connection of this process to the database server.

``DJ_*`` variables or a ``datajoint.json`` with a host name the server; without them it is the embedded PostgreSQL.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datajoint as dj

from pipeline.errors import ConfigError
from schemas.server import attribute_lines, config_file, embedded, headings, reconnection, restrictions, tls
from schemas.server.catalogue import Catalogue
from schemas.server.dialect import dialect
from schemas.server.refusals import in_words, text_of

#: Environment variables that name a server; any of them turns the embedded PostgreSQL off.
SERVER_VARIABLES = ("DJ_HOST", "DJ_USER", "DJ_PASS", "DJ_PORT", "DJ_BACKEND", "DJ_DATABASE_NAME")

#: Oldest versions that DataJoint 2 supports.
OLDEST_VERSIONS = {"mysql": (8, 0, 13), "postgresql": (15, 0, 0)}
#: Once they are made: the connection of this process, under the key "connection", and its "catalogue".
_active: dict[str, Any] = {}


def has_own_server() -> bool:
    """Return whether a server is configured; without one the embedded PostgreSQL is used."""
    return who_names_the_server() is not None


def who_names_the_server() -> str | None:
    """Return what names a server, as text for messages: DJ_* variables, or the path of a file; None if nothing does."""
    variables = [name for name in SERVER_VARIABLES if os.environ.get(name)]
    if variables:
        return ", ".join(variables)
    path = config_file.used()
    return str(path) if path and config_file.names_server(path) else None


def connect() -> dj.Connection:
    """Return the connection of this process, made at the first call.

    Raises
    ------
    ConfigError
        No server answers, the password is wrong, or the server is MariaDB or too old.
    """
    if "connection" not in _active:
        # ROI and Activity.Trace add the attribute roi to the key of the FOV that one make() is called for
        dj.config["jobs.allow_new_pk_fields_in_computed_tables"] = True
        reconnection.register()  # before dj.conn() chooses an adapter
        restrictions.register()
        attribute_lines.register()
        headings.register()
        if "DJ_LOG_LEVEL" not in os.environ:
            logging.getLogger("datajoint").setLevel(logging.ERROR)
        config_file.refuse_what_was_read()
        _active["connection"] = _own_server() if has_own_server() else _embedded()
        _active["catalogue"] = Catalogue(_active["connection"])
    return _active["connection"]


def catalogue() -> Catalogue:
    """Return the catalogue of this process, which answers what DataJoint asks about tables."""
    connect()
    return _active["catalogue"]


def _embedded() -> dj.Connection:
    dj.config["database.backend"] = "postgresql"
    dj.config["database.port"] = 5432
    dj.config["database.name"] = None  # one database, whatever a datajoint.json says of another server
    sockets = embedded.start()
    try:
        return dj.conn(host=str(sockets), user="postgres", password="", use_tls=False)
    except Exception as error:  # as below
        raise ConfigError(embedded.not_usable(embedded.folder(), "does not answer", text_of(error))) from None


def _own_server() -> dj.Connection:
    config = dj.config.database
    place = f"{config.backend} server {config.host}:{config.port}"
    said = who_names_the_server()
    if not config.user or config.password is None:
        raise ConfigError(
            f"User and password for the {place} are missing (it is named by {said}): set DJ_USER and DJ_PASS, or "
            f"datajoint.json"
        )
    dj.config["database.use_tls"] = tls.wanted()  # dj.conn() ignores its own argument unless there is a host
    try:
        connection = dj.conn()
    except Exception as error:  # PyMySQL, psycopg2 and DataJoint each raise errors of their own
        raise ConfigError(_refusal(place, config.user, error)) from None
    check_server(connection)
    return connection


def _refusal(place: str, user: str, error: Exception) -> str:
    """Return why the server cannot be used, as a message; the wordings tested for are MySQL's and PostgreSQL's."""
    text = text_of(error)
    if "Access denied" in text or "password authentication failed" in text:
        return (
            f"The {place} refuses user {user}: wrong user name or password (DJ_USER, DJ_PASS), or no access from here"
        )
    if reason := tls.refusal(text):
        return f"The {place} is not used: {reason}"
    if reason := in_words(text):
        return f"The {place} refuses the connection: {reason}"
    return (
        f"The {place} does not answer ({text.splitlines()[0] if text else error.__class__.__name__}). Is it running, "
        f"and are DJ_HOST, DJ_PORT and DJ_BACKEND right? It is named by {who_names_the_server()}; without that the "
        f"embedded database is used"
    )


def check_server(connection: dj.Connection) -> None:
    """Refuse servers that DataJoint 2 does not support.

    Raises
    ------
    ConfigError
        The server is MariaDB, MySQL before 8.0.13 or PostgreSQL before 15.
    """
    backend = connection.adapter.backend
    banner = connection.adapter.server_version(connection._conn)
    if "mariadb" in banner.lower():
        raise ConfigError(
            f"The server is MariaDB ({banner}), which DataJoint 2 does not support: use MySQL 8.0.13 or later, "
            f"for instance with: docker compose up db"
        )
    numbers = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", banner)
    version = tuple(map(int, numbers.groups(default="0"))) if numbers else (0,)
    if version < OLDEST_VERSIONS[backend]:
        oldest = ".".join(map(str, OLDEST_VERSIONS[backend]))
        raise ConfigError(f"The server is too old: {backend} {banner}; version {oldest} or later is needed")


@contextmanager
def lock(name: str, timeout: int = 600) -> Iterator[None]:
    """Hold a named lock of the database server while a block runs: one process at a time.

    The server frees the lock when the connection ends, however it ends.

    Parameters
    ----------
    name : str
    timeout : int
        Seconds to wait for another process, on MySQL; PostgreSQL waits without limit.

    Raises
    ------
    ConfigError
        Another process still holds the lock.
    """
    connection = connect()
    sql = dialect(connection)
    held = connection.query(sql.take_lock, args={"name": name, "timeout": timeout}).fetchone()[0]
    if held != 1:
        raise ConfigError(f"Another process has held the lock {name} for {timeout} s; try again later")
    try:
        yield
    finally:
        connection.query(sql.release_lock, args={"name": name})

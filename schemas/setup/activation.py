"""Activation: connecting, and binding the table classes to the database."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # DataJoint warns at import when there is no datajoint.json: then the embedded database is used
    warnings.filterwarnings("ignore", message="No datajoint.json found")
    import datajoint as dj
from pipeline.errors import ConfigError
from schemas.server.binding import bind, is_bound
from schemas.server.connection import connect, has_own_server
from schemas.server.settings import prefix
from schemas.session import Session
from schemas.setup.migrations import LATEST, database_version, init


def activate() -> dj.Connection:
    """Connect, and bind the table classes to the database; calling it again does nothing.

    The embedded database is started, and its tables are declared and migrated, if needed. On a server of the lab only
    ``meso db init`` does that.

    Raises
    ------
    ConfigError
        As for ``connect``; the tables are missing or of another version; or the account does not see their keys.
    """
    connection = connect()
    if is_bound():
        return connection
    found = database_version(connection)
    # the embedded database is one person's; on a shared server a client must not change the tables of others
    if (found or 0) < LATEST and not has_own_server():
        init()
        return connection
    if found is None:
        raise ConfigError(
            f"The database has no tables with the prefix {prefix()}, or you may not see them. "
            f"Declare them once with: meso db init"
        )
    if found != LATEST:
        todo = "meso db init" if found < LATEST else "an update of this project"
        raise ConfigError(f"The tables are of version {found}, this code is of version {LATEST}: run {todo}")
    # nothing is declared: workers and readers have no right to, and two processes at once would collide on PostgreSQL
    bind(connection, create=False)
    _check_keys()
    return connection


def _check_keys() -> None:
    """Refuse an account to which PostgreSQL does not show the keys of tables: joins would be cross products."""
    if not Session.primary_key:
        raise ConfigError(
            "PostgreSQL shows this account no keys, so that every row would be joined with every other. "
            "Give it REFERENCES next to SELECT: meso db grant USER --role reader"
        )

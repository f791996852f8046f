"""Connect and tie the table classes to the database, setting up the embedded one on the way."""

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
    """Connect and tie the table classes to the database; the embedded one is set up on the way.

    Raises
    ------
    ConfigError
        As ``connect``; the tables are missing or of another version: ``meso db init`` makes them; or the account does
        not see their keys.
    """
    connection = connect()
    if is_bound():
        return connection
    found = database_version(connection)
    if (found or 0) < LATEST and not has_own_server():
        init()
        return connection
    if found is None:
        raise ConfigError(
            f"The database has no tables with the prefix {prefix()}, or you may not see them. "
            f"Make them once with: meso db init"
        )
    if found != LATEST:
        todo = "meso db init" if found < LATEST else "an update of this project"
        raise ConfigError(f"The tables are of version {found}, this code is of version {LATEST}: run {todo}")
    bind(connection, create=False)
    _check_keys()
    return connection


def _check_keys() -> None:
    """Refuse an account to which PostgreSQL shows tables without their keys: joins would be of everything."""
    if not Session.primary_key:
        raise ConfigError(
            "PostgreSQL shows this account no keys, so that every row would be joined with every other. "
            "Give it REFERENCES next to SELECT: meso db grant USER --role reader"
        )

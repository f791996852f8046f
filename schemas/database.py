"""The connection, and tying the table classes to it.

With ``DJ_*`` variables or a ``datajoint.json``: that server. Without: the embedded PostgreSQL.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

with warnings.catch_warnings():
    # DataJoint warns at import when there is no datajoint.json: then the embedded database is used
    warnings.filterwarnings("ignore", message="No datajoint.json found")
    import datajoint as dj
from datajoint.settings import find_config_file

from pipeline.errors import ConfigError
from schemas import embedded, reconnection
from schemas.settings import further_modules, prefix

#: Modules of tables in the order of their dependencies; each is one database schema.
MODULES = ("provenance", "workers", "session", "imaging", "embedding", "tracking", "decoding")
SERVER_VARIABLES = ("DJ_HOST", "DJ_USER", "DJ_PASS", "DJ_PORT", "DJ_BACKEND", "DJ_DATABASE_NAME")
OLDEST = {"mysql": (8, 0, 13), "postgresql": (15, 0, 0)}

#: The connection of this process, and the prefix that the classes are tied to.
_active: dict[str, Any] = {}


def has_own_server() -> bool:
    """Say whether a server is configured; without one the embedded PostgreSQL is used."""
    if any(os.environ.get(name) for name in SERVER_VARIABLES):
        return True
    return os.environ.get("DJ_IGNORE_CONFIG_FILE", "").lower() != "true" and find_config_file() is not None


def connect() -> dj.Connection:
    """Return the connection of this process, made at the first call.

    Raises
    ------
    ConfigError
        No server answers, the password is wrong, or the server is MariaDB or too old.
    """
    if "connection" not in _active:
        # ROI adds a key attribute below the FOV that one make() is about
        dj.config["jobs.allow_new_pk_fields_in_computed_tables"] = True
        reconnection.register()
        if "DJ_LOG_LEVEL" not in os.environ:
            logging.getLogger("datajoint").setLevel(logging.ERROR)
        _active["connection"] = _own_server() if has_own_server() else _embedded()
    return _active["connection"]


def _embedded() -> dj.Connection:
    dj.config["database.backend"] = "postgresql"
    dj.config["database.port"] = 5432
    return dj.conn(host=str(embedded.start()), user="postgres", password="", use_tls=False)


def _own_server() -> dj.Connection:
    config = dj.config.database
    place = f"{config.backend} server {config.host}:{config.port}"
    if not config.user or config.password is None:
        raise ConfigError(f"User and password for the {place} are missing: set DJ_USER and DJ_PASS, or datajoint.json")
    try:
        connection = dj.conn()
    except Exception as error:  # PyMySQL, psycopg2 and DataJoint each raise their own
        raise ConfigError(_refusal(place, config.user, error)) from None
    check_server(connection)
    return connection


def _refusal(place: str, user: str, error: Exception) -> str:
    text = " ".join(map(str, error.args)).strip()
    if "Access denied" in text or "password authentication failed" in text:
        return (
            f"The {place} refuses user {user}: wrong user name or password (DJ_USER, DJ_PASS), or no access from here"
        )
    return (
        f"The {place} does not answer ({text.splitlines()[0] if text else error.__class__.__name__}). Is it running, "
        f"and are DJ_HOST, DJ_PORT and DJ_BACKEND right? Without any DJ_* variable the embedded database is used"
    )


def check_server(connection: dj.Connection) -> None:
    """Refuse servers that DataJoint 2 does not support.

    Raises
    ------
    ConfigError
        MariaDB, MySQL before 8.0.13 or PostgreSQL before 15.
    """
    backend = connection.adapter.backend
    banner = str(connection.query("SELECT version()").fetchone()[0])
    if "mariadb" in banner.lower():
        raise ConfigError(
            f"The server is MariaDB ({banner}), which DataJoint 2 does not support: use MySQL 8.0.13 or later, "
            f"for instance with: docker compose up db"
        )
    numbers = re.match(r"(?:PostgreSQL )?(\d+)(?:\.(\d+))?(?:\.(\d+))?", banner)
    version = tuple(map(int, numbers.groups(default="0"))) if numbers else (0,)
    if version < OLDEST[backend]:
        oldest = ".".join(map(str, OLDEST[backend]))
        raise ConfigError(f"The server is too old: {backend} {banner}; version {oldest} or later is needed")


@contextmanager
def lock(name: str, timeout: int = 600) -> Iterator[None]:
    """Hold a lock of the database server: one process at a time, freed when its connection ends."""
    connection = connect()
    if connection.adapter.backend == "mysql":
        held = connection.query("SELECT GET_LOCK(%s, %s)", args=(name, timeout)).fetchone()[0]
        if held != 1:
            raise ConfigError(f"Another process has held the lock {name} for {timeout} s; try again later")
        release = "SELECT RELEASE_LOCK(%s)"
    else:
        connection.query("SELECT pg_advisory_lock(hashtext(%s))", args=(name,))
        release = "SELECT pg_advisory_unlock(hashtext(%s))"
    try:
        yield
    finally:
        connection.query(release, args=(name,))


def activate() -> dj.Connection:
    """Connect and tie the table classes to the database; the embedded one is set up on the way.

    Raises
    ------
    ConfigError
        As ``connect``; the tables are missing or of another version: ``meso db init`` makes them; or the account does
        not see their keys.
    """
    connection = connect()
    if "prefix" in _active:
        if _active["prefix"] != prefix():
            raise ConfigError(
                f"This process already uses the prefix {_active['prefix']}, it cannot change to {prefix()}"
            )
        return connection
    from schemas import migrations

    found = migrations.database_version(connection)
    if (found or 0) < migrations.LATEST and not has_own_server():
        migrations.init()
        return connection
    if found is None:
        raise ConfigError(
            f"The database has no tables with the prefix {prefix()}, or you may not see them. "
            f"Make them once with: meso db init"
        )
    if found != migrations.LATEST:
        todo = "meso db init" if found < migrations.LATEST else "an update of this project"
        raise ConfigError(f"The tables are of version {found}, this code is of version {migrations.LATEST}: run {todo}")
    bind(connection, create=False)
    _check_keys()
    return connection


def _check_keys() -> None:
    """Refuse an account to which PostgreSQL shows tables without their keys: joins would be of everything."""
    from schemas.session import Session

    if not Session.primary_key:
        raise ConfigError(
            "PostgreSQL shows this account no keys, so that every row would be joined with every other. "
            "Give it REFERENCES next to SELECT: meso db grant USER --role reader"
        )


def bind(connection: dj.Connection, *, create: bool) -> None:
    """Tie the table classes to their schemas, declaring what is missing if ``create``."""
    for name, module in table_modules().items():
        if not create and name not in MODULES and not _is_there(connection, prefix() + name):
            raise ConfigError(f"The tables of {module.__name__} (MESO_MODULES) are not declared yet: run meso db init")
        module.schema.activate(prefix() + name, connection=connection, create_schema=create, create_tables=create)
    _active["prefix"] = prefix()


def _is_there(connection: dj.Connection, schema: str) -> bool:
    query = "SELECT count(*) FROM information_schema.schemata WHERE schema_name = %s"
    return bool(connection.query(query, args=(schema,)).fetchone()[0])


def table_modules() -> dict[str, ModuleType]:
    """Return the modules of tables by the name of their schema: our own, then a lab's (MESO_MODULES).

    Raises
    ------
    ConfigError
        A lab's module is not there, has no schema, or one whose name is taken.
    """
    modules = {name: importlib.import_module(f"schemas.{name}") for name in MODULES}
    for path in further_modules():
        name = path.rpartition(".")[-1]
        if name in (*modules, "views"):
            raise ConfigError(
                f"MESO_MODULES: {path} would be the schema {prefix()}{name}, as another module is: give it another name"
            )
        modules[name] = _lab_module(path, prefix() + name)
    return modules


def _lab_module(path: str, name: str) -> ModuleType:
    """Return a lab's module of tables, whose schema gets this name."""
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not error.name or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"MESO_MODULES: there is no module {path}; is its folder in PYTHONPATH?") from None
    schema = getattr(module, "schema", None)
    if not isinstance(schema, dj.Schema) or schema.database not in (None, name):
        raise ConfigError(f"MESO_MODULES: {path} needs a line 'schema = dj.Schema()', without a name")
    return module


def auto_populated() -> list[type[dj.Table]]:
    """Return the tables that ``populate()`` fills, in the order of their dependencies."""
    return [
        cls
        for module in table_modules().values()
        for cls, _ in module.schema.declare_list
        if issubclass(cls, (dj.Imported, dj.Computed))
    ]


def table_named(name: str) -> type[dj.Table]:
    """Return the populated table of a name, in any case.

    Raises
    ------
    ConfigError
        There is none; the message lists those that are.
    """
    tables = {table.__name__.lower(): table for table in auto_populated()}
    if name.lower() not in tables:
        raise ConfigError(
            f"{name} is not a table that is populated; there are {', '.join(t.__name__ for t in tables.values())}"
        )
    return tables[name.lower()]

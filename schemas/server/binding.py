"""Binding the table classes to the database: which modules hold tables, those of this project and of a lab."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

with warnings.catch_warnings():
    # DataJoint warns at import when there is no datajoint.json: then the embedded database is used
    warnings.filterwarnings("ignore", message="No datajoint.json found")
    import datajoint as dj
from pipeline.errors import ConfigError
from schemas.server.connection import catalogue
from schemas.server.settings import lab_modules, prefix

#: Modules of tables by the name of their database schema, in the order of their dependencies.
MODULES = {
    "provenance": "schemas.provenance",
    "workers": "schemas.work.tables",
    "session": "schemas.session",
    "behavior": "schemas.behavior",
    "labels": "schemas.labels",
    "imaging": "schemas.imaging.tables",
    "signals": "schemas.imaging.signals",
    "embedding": "schemas.embedding",
    "tracking": "schemas.tracking",
    "decoding": "schemas.decoding.tables",
    "responses": "schemas.responses.tables",
    "days": "schemas.days.tables",
}


#: The prefix of schema names that the classes are bound with; empty until ``bind``.
_bound: dict[str, str] = {}


def bind(connection: dj.Connection, *, create: bool) -> None:
    """Bind the table classes to their database schemas.

    Parameters
    ----------
    connection : dj.Connection
    create : bool
        Declare the schemas and tables that are missing.

    Raises
    ------
    ConfigError
        ``create`` is False and the schema of a lab's module is not in the database.
    """
    modules = table_modules()
    catalogue().read([prefix() + name for name in modules])
    for name, module in modules.items():
        if not create and name not in MODULES and not _schema_exists(connection, prefix() + name):
            raise ConfigError(f"The tables of {module.__name__} (MESO_MODULES) are not declared yet: run meso db init")
        module.schema.activate(prefix() + name, connection=connection, create_schema=create, create_tables=create)
    _bound["prefix"] = prefix()


def is_bound() -> bool:
    """Return whether the table classes are bound to the database.

    Raises
    ------
    ConfigError
        They were bound with another prefix than the present MESO_PREFIX.
    """
    if _bound and _bound["prefix"] != prefix():
        raise ConfigError(f"This process already uses the prefix {_bound['prefix']}, it cannot change to {prefix()}")
    return bool(_bound)


def _schema_exists(connection: dj.Connection, schema: str) -> bool:
    query = "SELECT count(*) FROM information_schema.schemata WHERE schema_name = %s"
    return bool(connection.query(query, args=(schema,)).fetchone()[0])


def table_modules() -> dict[str, ModuleType]:
    """Return the modules of tables by the name of their schema: those of this project, then a lab's (MESO_MODULES).

    Raises
    ------
    ConfigError
        A lab's module cannot be found, has no ``schema``, or would get the name of another schema.
    """
    modules = {name: importlib.import_module(path) for name, path in MODULES.items()}
    for path in lab_modules():
        name = path.rpartition(".")[-1]
        if name in (*modules, "views"):
            raise ConfigError(
                f"MESO_MODULES: {path} would be the schema {prefix()}{name}, as another module is: give it another name"
            )
        modules[name] = _lab_module(path, prefix() + name)
    return modules


def _lab_module(path: str, name: str) -> ModuleType:
    """Import a lab's module of tables, whose schema will have this name, and check its ``schema``."""
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not error.name or not f"{path}.".startswith(f"{error.name}."):
            raise  # the module exists; something that it imports itself is missing
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
    """Return the populated table with this name, in upper or lower case.

    Raises
    ------
    ConfigError
        There is no such table; the message lists the populated tables.
    """
    tables = {table.__name__.lower(): table for table in auto_populated()}
    if name.lower() not in tables:
        raise ConfigError(
            f"{name} is not a populated table; the populated tables are "
            f"{', '.join(table.__name__ for table in tables.values())}"
        )
    return tables[name.lower()]

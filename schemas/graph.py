"""The tables and their foreign keys as a graph, for the documentation and the web page."""

from __future__ import annotations

import importlib
from types import ModuleType

import datajoint as dj

from schemas.server.binding import MODULES


def modules() -> dict[str, ModuleType]:
    """Return the modules of tables of this project by the name of their schema, in the order of their dependencies."""
    return {name: importlib.import_module(path) for name, path in MODULES.items()}


def tables() -> list[type[dj.Table]]:
    """Return all tables, without their parts."""
    return [cls for module in modules().values() for cls, _ in module.schema.declare_list]


def parts_of(table: type[dj.Table]) -> list[type[dj.Part]]:
    """Return the parts of a table."""
    return [part for part in vars(table).values() if isinstance(part, type) and issubclass(part, dj.Part)]


def links() -> set[tuple[str, str]]:
    """Return the names of parent and child of each foreign key; a part counts as its master."""
    names = {cls.full_table_name: table.__name__ for table in tables() for cls in (table, *parts_of(table))}
    return {
        (names[parent], table.__name__)
        for table in tables()
        for cls in (table, *parts_of(table))
        for parent in cls().parents()
        if names[parent] != table.__name__
    }


def kind_of(table: type[dj.Table]) -> str:
    """Return how a table is filled: 'registered' by hand, 'read' through ONE, or 'computed'."""
    if not issubclass(table, dj.Imported | dj.Computed):
        return "registered"
    return "read" if issubclass(table, dj.Imported) else "computed"

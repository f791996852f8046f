"""The tables and what they are made from, as a graph: for the documentation and the page."""

from __future__ import annotations

import importlib
from types import ModuleType

import datajoint as dj

from schemas.server.binding import MODULES


def modules() -> dict[str, ModuleType]:
    """Return our modules of tables by the name of their schema, in the order of their dependencies."""
    return {name: importlib.import_module(path) for name, path in MODULES.items()}


def tables() -> list[type[dj.Table]]:
    """Return all tables but their parts."""
    return [cls for module in modules().values() for cls, _ in module.schema.declare_list]


def parts_of(table: type[dj.Table]) -> list[type[dj.Part]]:
    """Return the parts of a table."""
    return [part for part in vars(table).values() if isinstance(part, type) and issubclass(part, dj.Part)]


def links() -> set[tuple[str, str]]:
    """Return the names of parent and child of each foreign key; those of a part are its master's."""
    names = {one.full_table_name: table.__name__ for table in tables() for one in (table, *parts_of(table))}
    return {
        (names[parent], table.__name__)
        for table in tables()
        for one in (table, *parts_of(table))
        for parent in one().parents()
        if names[parent] != table.__name__
    }


def kind_of(table: type[dj.Table]) -> str:
    """Return 'registered', 'read' (through ONE) or 'computed'."""
    if not issubclass(table, dj.Imported | dj.Computed):
        return "registered"
    return "read" if issubclass(table, dj.Imported) else "computed"

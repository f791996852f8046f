"""Definitions as a former version had them, in a process that declares its tables."""

from __future__ import annotations

import datajoint as dj


def without_lines(table: type[dj.Table], beginnings: str | tuple[str, ...]) -> None:
    """Take the lines that a later version added out of the definition of a table."""
    lines = table.definition.splitlines()
    table.definition = "\n".join(line for line in lines if not line.strip().startswith(beginnings))


def without_tables(schema: dj.Schema, names: tuple[str, ...]) -> None:
    """Have tables that a later version added not be declared."""
    schema.declare_list = [one for one in schema.declare_list if one[0].__name__ not in names]

"""Write docs/tables.md: the diagram and the definition of every table, from the tables themselves."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import datajoint as dj

from schemas import database

COLORS = {"registered": "#E8F0E9", "read": "#E0F4FC", "computed": "#FFEDE5"}

HEADER = """# The tables

Written by `make docs`; do not edit. Green is registered, blue is read through ONE, orange is computed.
"""


def tables_page() -> str:
    """Return the page; the tables must be active."""
    return "\n".join([HEADER, "```mermaid", diagram().strip(), "```", *map(section, database.MODULES)]) + "\n"


def diagram() -> str:
    """Return the tables without their parts, and their foreign keys, in mermaid."""
    tables = [cls for module in modules() for cls, _ in module.schema.declare_list]
    names = {part.full_table_name: cls.__name__ for cls in tables for part in (cls, *parts_of(cls))}
    links = {
        (names[parent], cls.__name__)
        for cls in tables
        for table in (cls, *parts_of(cls))
        for parent in table().parents()
        if names[parent] != cls.__name__
    }
    lines = ["flowchart LR", *(f"    classDef {tier} fill:{color}" for tier, color in COLORS.items())]
    for module in modules():
        lines.append(f"    subgraph {module.__name__.removeprefix('schemas.')}")
        lines += [f"        {cls.__name__}:::{tier_of(cls)}" for cls, _ in module.schema.declare_list]
        lines.append("    end")
    return "\n".join([*lines, *(f"    {parent} --> {child}" for parent, child in sorted(links))])


def modules() -> list[ModuleType]:
    """Return the modules of tables."""
    return [importlib.import_module(f"schemas.{name}") for name in database.MODULES]


def parts_of(cls: type[dj.Table]) -> list[type[dj.Part]]:
    """Return the parts of a table."""
    members = [getattr(cls, name) for name in cls.__dict__ if name[0].isupper()]
    return [part for part in members if isinstance(part, type) and issubclass(part, dj.Part)]


def tier_of(cls: type[dj.Table]) -> str:
    """Return registered, read or computed."""
    return "read" if issubclass(cls, dj.Imported) else "computed" if issubclass(cls, dj.Computed) else "registered"


def section(name: str) -> str:
    """Return the definitions of the tables of one schema."""
    module = importlib.import_module(f"schemas.{name}")
    parts = [f"\n## {name}\n\n{module.__doc__.strip()}\n"]
    for cls, _ in module.schema.declare_list:
        for table in [cls, *parts_of(cls)]:
            title = table.__name__ if table is cls else f"{cls.__name__}.{table.__name__}"
            text = "\n".join(line.strip() for line in table.definition.strip().splitlines())
            parts.append(f"### {title}\n```\n{re.sub(r' +#', '  #', text)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    database.activate()
    (Path(__file__).parent / "tables.md").write_text(tables_page())

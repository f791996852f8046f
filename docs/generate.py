"""Write docs/tables.md: the diagram and the definition of every table, from the tables themselves."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import ModuleType

from schemas import graph
from schemas.setup.activation import activate

COLORS = {"registered": "#E8F0E9", "read": "#E0F4FC", "computed": "#FFEDE5"}

HEADER = """# The tables

Written by `make docs`; do not edit. Green is registered, blue is read through ONE, orange is computed.
"""


def tables_page() -> str:
    """Return the page; the tables must be active."""
    return (
        "\n".join(
            [HEADER, "```mermaid", diagram().strip(), "```", *itertools.starmap(section, graph.modules().items())]
        )
        + "\n"
    )


def diagram() -> str:
    """Return the tables without their parts, and their foreign keys, in mermaid."""
    lines = ["flowchart LR", *(f"    classDef {kind} fill:{color}" for kind, color in COLORS.items())]
    for name, module in graph.modules().items():
        lines.append(f"    subgraph {name}")
        lines += [f"        {cls.__name__}:::{graph.kind_of(cls)}" for cls, _ in module.schema.declare_list]
        lines.append("    end")
    return "\n".join([*lines, *(f"    {parent} --> {child}" for parent, child in sorted(graph.links()))])


def section(name: str, module: ModuleType) -> str:
    """Return the definitions of the tables of one schema."""
    parts = [f"\n## {name}\n\n{module.__doc__.strip()}\n"]
    for cls, _ in module.schema.declare_list:
        for table in [cls, *graph.parts_of(cls)]:
            title = table.__name__ if table is cls else f"{cls.__name__}.{table.__name__}"
            text = "\n".join(line.strip() for line in table.definition.strip().splitlines())
            parts.append(f"### {title}\n```\n{re.sub(r' +#', '  #', text)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    activate()
    (Path(__file__).parent / "tables.md").write_text(tables_page())

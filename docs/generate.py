"""Write docs/reference/tables.md and its picture: the definition of every table, from the tables themselves."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import ModuleType

from page import pipeline_graph
from schemas import graph
from schemas.setup.activation import activate

DOCS = Path(__file__).parent
#: Fill by how a table gets its rows.
COLORS = {"registered": "#E8F0E9", "read": "#E0F4FC", "computed": "#FFEDE5"}

HEADER = """# The tables

Written by `make pages`; do not edit. Green is registered, blue is read through ONE, orange is computed.

[![The tables; what is made from a table stands to its right](../images/tables.svg)](../images/tables.svg)

Not in the picture: the schemas `provenance` and `workers`, the atlas (`BrainRegion`), to which every ROI refers, and
foreign keys that follow from others.
"""

PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" \
font-family="sans-serif" role="img">
<title>Tables and what they are made from</title>
<rect width="100%" height="100%" fill="white"/>
{shapes}
</svg>
"""
NODE = """\
<g transform="translate({x} {y})"><rect width="{width}" height="46" rx="5" fill="{fill}" stroke="#9aa5ad"/>
<text x="8" y="19" font-size="11.5" font-weight="600">{name}</text>
<text x="8" y="36" font-size="11" fill="#4c5860">{schema}</text></g>"""


def tables_page() -> str:
    """Return the page; the tables must be active."""
    return "\n".join([HEADER, *itertools.starmap(section, graph.modules().items())]) + "\n"


def tables_picture() -> str:
    """Return the tables and their foreign keys as SVG, laid out as on the page; the tables must be active."""
    picture = pipeline_graph.layout()
    arrows = [f'<path d="{edge}" fill="none" stroke="#7d8a93"/>' for edge in picture["edges"]]
    boxes = [NODE.format(**node, width=picture["node_width"], fill=COLORS[node["kind"]]) for node in picture["nodes"]]
    return PICTURE.format(**picture, shapes="\n".join([*arrows, *boxes]))


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
    (DOCS / "reference" / "tables.md").write_text(tables_page())
    (DOCS / "images" / "tables.svg").write_text(tables_picture())

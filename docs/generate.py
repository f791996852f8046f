"""Generate what follows from other files: the pages of tables and settings of a curve, and notebooks of pages."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from types import ModuleType

from page import pipeline_graph
from pipeline.settings.curves import NDCSettings
from pipeline.settings.records import Choice, Setting, by_group, settings_in
from schemas import graph
from schemas.server import config_file, embedded
from schemas.server.connection import SERVER_VARIABLES
from schemas.setup.activation import activate

DOCS = Path(__file__).parent
#: Pages of docs/ that are also notebooks, of the same name.
NOTEBOOKS = ("science/two_regions",)
#: Fill by how a table gets its rows.
COLORS = {"registered": "#E8F0E9", "read": "#E0F4FC", "computed": "#FFEDE5"}

HEADER = """# The tables

Written by `make pages`; do not edit. Green is registered, blue is read through ONE, orange is computed.

[![The tables; what is made from a table stands to its right](../images/tables.svg)](../images/tables.svg)

Not in the picture: the schemas `provenance` and `workers`, the atlas (`BrainRegion`, to which every ROI refers, and
`AtlasOutline`), and foreign keys that follow from others.
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


SETTINGS_HEADER = """# Settings of a neuron-dropping curve

Written by `make pages`; do not edit. The records are in `pipeline/settings/curves.py`.

A setting has one name: it is an argument of `meso.neuron_dropping_curves_cached` and of `pipeline.decoding.NDCSettings`
(`cv_splits=5`), a column of the table `NDCParams`, and, with dashes, an option of `meso ndc` (`--cv-splits 5`). The
same words give the same row. In Python a number may be of any numeric type, a list may be a tuple or an array; on the
command line a list has commas (`--ks 8,16,32`), and what is True or False is `--scaling` or `--no-scaling`. `meso ndc`
takes several `--target`, Python a list of `targets`; `win` (`--win -0.1 0`) is `win_start` and `win_end` together.
"""

LATER_HEADER = """## Settings that came later

The key of a row is a hash of its settings. Those below are left out of it where they say what was done before they
existed, so that rows keep the key that they had.
"""


def tables_page() -> str:
    """Return the page of the tables, which must be activated."""
    return "\n".join([HEADER, *itertools.starmap(section, graph.modules().items())]) + "\n"


def tables_picture() -> str:
    """Return the tables and their foreign keys as SVG, laid out as in ``meso serve``; the tables must be activated."""
    picture = pipeline_graph.layout()
    arrows = [f'<path d="{edge}" fill="none" stroke="#7d8a93"/>' for edge in picture["edges"]]
    boxes = [NODE.format(**node, fill=COLORS[node["kind"]]) for node in picture["nodes"]]
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


def settings_page(cls: type = NDCSettings) -> str:
    """Return the page of a class of settings: a table for each group, and those that came later."""
    parts = [SETTINGS_HEADER]
    for group, records in by_group(cls).items():
        rows = [(_names(one), _default(one), _allowed(one), one.help) for one in records]
        parts.append(f"## {group}\n\n{_table(('setting', 'default', 'allowed', 'what it does'), rows)}")
    later = [(f"`{one.name}`", f"`{one.before!r}`") for one in settings_in(cls) if one.came_later]
    return "\n".join([*parts, LATER_HEADER, _table(("setting", "what was done before"), later)])


def _names(one: Setting) -> str:
    """Return the names of a setting: its own, its letter, and its column if that is different."""
    names = [f"`{one.name}`"]
    names += [f"`{one.letter}`, `-{one.letter}`"] if one.letter else []
    names += [f"column `{one.column}`"] if one.column != one.name else []
    return "<br>".join(names)


def _default(one: Setting) -> str:
    if one.default is MISSING:
        return "must be given"
    return "none" if one.default in (None, "", ()) else f"`{one.default!r}`"


def _allowed(one: Setting) -> str:
    return ", ".join(f"`{name}`" for name in one.kind.named) if isinstance(one.kind, Choice) else one.kind.expected


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"


def notebook(page: str) -> str:
    """Return a page as a Jupyter notebook: its Python is in code cells, what is between them is text."""
    parts = re.split(r"```python\n(.*?)```\n", page, flags=re.DOTALL)
    cells = []
    for number, text in enumerate(parts):
        of_kind = {"cell_type": "code", "execution_count": None, "outputs": []} if number % 2 else {
            "cell_type": "markdown"
        }  # fmt: skip
        cells.append({**of_kind, "id": f"cell-{number}", "metadata": {}, "source": text.strip().splitlines(True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1) + "\n"


def write(folder: Path) -> None:
    """Write the notebooks, the pages and the picture below a folder, from tables in a database of their own."""
    for name in NOTEBOOKS:
        (folder / f"{name}.ipynb").write_text(notebook((DOCS / f"{name}.md").read_text()))
    (folder / "reference" / "settings.md").write_text(settings_page())
    with own_database():
        (folder / "reference" / "tables.md").write_text(tables_page())
        (folder / "images" / "tables.svg").write_text(tables_picture())


@contextmanager
def own_database() -> Iterator[None]:
    """Activate the tables in an embedded database that ends with the block, whatever the user's settings name."""
    for name in (*SERVER_VARIABLES, "MESO_PREFIX", "MESO_MODULES"):
        os.environ.pop(name, None)
    # for root the server runs as another user, who must be able to enter the folder
    with tempfile.TemporaryDirectory(prefix="meso-") as folder:
        os.environ |= {"MESO_DATA_DIR": folder, config_file.IGNORE: "true"}
        try:
            activate()
            yield
        finally:
            embedded.stop()


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)

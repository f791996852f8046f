"""Create a database as version 18 did, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.decoding import tables as decoding
from schemas.server import binding
from schemas.setup import migrations, views
from support import version_1

#: Beginnings of the lines that version 19 added.
NEW_LINES = {decoding.NDCParams: ("trials=", "labels=")}


def make() -> None:
    """Declare the tables of version 18; insert two sessions with a curve each."""
    for table, beginnings in NEW_LINES.items():
        lines = table.definition.splitlines()
        table.definition = "\n".join(line for line in lines if not line.strip().startswith(beginnings))
    del decoding.TrialFeatures.OwnLabels
    binding.MODULES.pop("labels")
    views.queries = dict  # those of this version show the new columns
    migrations.init(migrations=migrations.MIGRATIONS[:18])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

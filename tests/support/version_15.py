"""Create a database as version 15 did, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1
from support.before_responses import without_responses

#: Beginnings of the lines that version 16 added.
NEW_LINES = {decoding.NDCParams: ("beyond=",), decoding.NDCResult: ("n_minority=",)}
NEW_TABLES = ("NDCCohort", "NDCPopulation")


def make() -> None:
    """Declare the tables of version 15; insert two sessions with a curve each."""
    without_responses()
    decoding.schema.declare_list = [one for one in decoding.schema.declare_list if one[0].__name__ not in NEW_TABLES]
    for table, beginnings in NEW_LINES.items():
        lines = table.definition.splitlines()
        table.definition = "\n".join(line for line in lines if not line.strip().startswith(beginnings))
    views.queries = dict  # those of this version show the new columns
    migrations.init(migrations=migrations.MIGRATIONS[:15])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

"""Create a database as version 20 did, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1

NEW_TABLES = ("TransferTask", "TransferResult", "TransferMatrix")


def make() -> None:
    """Declare the tables of version 20; insert two sessions with a curve each."""
    decoding.schema.declare_list = [one for one in decoding.schema.declare_list if one[0].__name__ not in NEW_TABLES]
    views.queries = dict  # those of this version show the new tables
    migrations.init(migrations=migrations.MIGRATIONS[:20])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

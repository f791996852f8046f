"""Create a database as version 24 did, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.imaging import tables as imaging
from schemas.setup import migrations, views
from support import version_1


def make() -> None:
    """Declare the tables of version 24; insert two sessions with a curve each."""
    imaging.schema.declare_list = [one for one in imaging.schema.declare_list if one[0].__name__ != "AtlasOutline"]
    views.queries = dict  # those of this version show the new table
    migrations.init(migrations=migrations.MIGRATIONS[:24])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

"""Create a database as version 31 did, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.decoding.tables import NDCTask
from schemas.setup import migrations
from support import version_1

#: The version that added this part.
WITHOUT_CURVES = next(one for one in migrations.MIGRATIONS if one.title.startswith("transfer: tasks")).number


def make() -> None:
    """Declare the tables of the versions before; insert two sessions with a curve each."""
    del NDCTask.WithoutCurve
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < WITHOUT_CURVES])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

"""Create a database as version 30 did, with a comparison of two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.decoding.tables import NDCComparison
from schemas.setup import migrations
from support import version_1, version_13

#: The version that added this part.
DRIFT = next(one for one in migrations.MIGRATIONS if one.title.startswith("comparisons: drift")).number


def make() -> None:
    """Declare the tables of the versions before; insert two sessions with a curve each, and their comparison."""
    del NDCComparison.Drift
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < DRIFT])
    version_1.insert_rows()
    version_13.insert_comparison()


if __name__ == "__main__":
    make()

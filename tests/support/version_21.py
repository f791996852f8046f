"""Create a database as before the tables of responses, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.setup import migrations
from support import version_1
from support.before_responses import RESPONSES, without_responses


def make() -> None:
    """Declare the tables without those of responses; insert two sessions with a curve each."""
    without_responses()
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < RESPONSES])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

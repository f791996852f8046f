"""Create a database as before the tables of responses, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas.server import binding
from schemas.setup import migrations, views
from support import version_1

#: The version that added the schema "responses".
RESPONSES = next(one for one in migrations.MIGRATIONS if one.title.startswith("responses")).number


def make() -> None:
    """Declare the tables without those of responses; insert two sessions with a curve each."""
    del binding.MODULES["responses"]
    views.queries = dict  # those of this version show the new tables
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < RESPONSES])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

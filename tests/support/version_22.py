"""Create a database as version 22 did, with the features of two sessions: a script, run by test_database."""

from __future__ import annotations

from schemas.decoding import tables as decoding
from schemas.setup import migrations
from support import version_1

NEW_LINE = "feature_key="


def make() -> None:
    """Declare the tables of version 22; insert two sessions with features and a curve each."""
    lines = decoding.TrialFeatures.definition.splitlines()
    decoding.TrialFeatures.definition = "\n".join(line for line in lines if not line.strip().startswith(NEW_LINE))
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < 23])
    version_1.insert_rows()


if __name__ == "__main__":
    make()

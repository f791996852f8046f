"""Create a database as version 28 did, with an update and two curves: a script, run by test_database."""

from __future__ import annotations

from schemas import provenance, tracking
from schemas.setup import migrations
from support import version_1

#: The version that added these parts.
WRITINGS = next(one for one in migrations.MIGRATIONS if one.title.startswith("files of several writings")).number


def make() -> None:
    """Declare the tables of the version before; insert two sessions with a curve each, and an update."""
    del provenance.SourceUpdate.Mixture, tracking.RegisteredUIDs.OtherPlaces
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < WRITINGS])
    version_1.insert_rows()
    row = {"updated_at": "2099-01-01 00:00:00", "update_changes": [], "update_questions": {"sets": [], "runs": []}}
    provenance.SourceUpdate.insert1({"update_id": "1" * 32, **row})


if __name__ == "__main__":
    make()

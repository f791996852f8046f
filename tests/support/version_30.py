"""Create a database as version 30 did, with two curves and a deletion: a script, run by test_database."""

from __future__ import annotations

from schemas import provenance
from schemas.setup import migrations
from support import version_1

#: The version that added the files of deleted rows.
FILES = next(one for one in migrations.MIGRATIONS if one.title == "files of deleted rows").number


def make() -> None:
    """Declare the tables of the versions before; insert two sessions with a curve each, and a deletion."""
    del provenance.Deletion.File
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < FILES])
    version_1.insert_rows()
    provenance.Deletion.insert1({
        "deletion": "0" * 32, "deleted_at": provenance.now(), "deleted_by": "somebody", "deleted_from": "somewhere",
        "deleted_table": "FOV", "deleted_keys": [{"eid": version_1.EIDS[0], "fov": 0}], "deleted_rows": {"FOV": 1},
    })  # fmt: skip


if __name__ == "__main__":
    make()

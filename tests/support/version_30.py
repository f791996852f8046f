"""Create a database as version 30 did, with a comparison of two curves and a deletion: run by test_database."""

from __future__ import annotations

from schemas import provenance
from schemas.decoding.tables import NDCComparison, NDCTask
from schemas.setup import migrations
from schemas.tracking import RegisteredUIDs
from support import version_1, version_13


def make() -> None:
    """Declare the tables of version 30; insert two sessions with a curve each, their comparison, and a deletion."""
    del NDCComparison.Drift, NDCTask.WithoutCurve, provenance.Deletion.File, RegisteredUIDs.Silhouettes
    migrations.init(migrations=migrations.MIGRATIONS[:30])
    version_1.insert_rows()
    version_13.insert_comparison()
    provenance.Deletion.insert1({
        "deletion": "0" * 32, "deleted_at": provenance.now(), "deleted_by": "somebody", "deleted_from": "somewhere",
        "deleted_table": "FOV", "deleted_keys": [{"eid": version_1.EIDS[0], "fov": 0}], "deleted_rows": {"FOV": 1},
    })  # fmt: skip


if __name__ == "__main__":
    make()

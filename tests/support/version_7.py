"""Create a database as version 7 did, without hashes of ONE and records of updates: a script, run by test_database."""

from __future__ import annotations

import datetime

from schemas import provenance, rows, session, tracking
from schemas.decoding.tables import TrialFeatures
from schemas.embedding import Embedding, EmbeddingParams
from schemas.imaging.tables import FOV
from schemas.server import binding
from schemas.setup import migrations
from support.before_responses import without_responses
from support.former_tables import without_lines, without_tables
from support.version_3 import EID, insert_fov

#: Lines that version 8 added, by the class that has them.
NEW_LINES = {rows.SourceFile: "one_hash", provenance.Deletion: "deletion_reason", tracking.TrackingFile: "uid_rois"}
NEW_TABLES = ("SourceUpdate", "Done", "FormerResult")


def make() -> None:
    """Declare the tables of version 7, and insert rows of those that version 8 changes."""
    without_responses()
    # later tables, whose lines would lack the hash of ONE
    del TrialFeatures.OwnSignal, Embedding.OwnSignal, EmbeddingParams.OfSignal
    del binding.MODULES["signals"]
    migrations._store_uncompressed = lambda connection: None  # there is no table of signals yet
    for table, column in NEW_LINES.items():
        without_lines(table, column)
    without_tables(provenance.schema, NEW_TABLES)
    migrations.init(migrations=migrations.MIGRATIONS[:7])
    session.Subject.insert1({"subject": "OLD"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    session.Session.insert1({"eid": EID, "subject": "OLD", **row})
    insert_fov(EID, 0, 5, 5, 10)
    key = {"eid": EID, "fov": 0}
    file = {"dataset": "alf/FOV_00/mpci.times.npy", "file_size": 208, "sha256": "a" * 64}
    FOV.Source.insert1({**key, **file}, allow_direct_insert=True)
    provenance.Deletion.insert1({
        "deletion": "d" * 32, "deleted_at": datetime.datetime(2024, 1, 1), "deleted_by": "me", "deleted_from": "here",
        "deleted_table": "Session", "deleted_keys": [], "deleted_rows": {"Session": 1},
    })  # fmt: skip
    run = {"subject": "OLD", "tracking_run": "r" * 32}
    tracking.TrackingRun.insert1({**run, "duplicates": "error", "registered_at": datetime.datetime(2024, 1, 1)})
    uids = {"uid_origin": "/not/here.csv", "uid_sha256": "b" * 64, "uid_text": "\n\n\n\n\n"}
    tracking.TrackingFile.insert1({**run, **key, **uids})


if __name__ == "__main__":
    make()

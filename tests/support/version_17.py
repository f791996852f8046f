"""Create a database as version 17 did, with two curves and registered UIDs: a script, run by test_database."""

from __future__ import annotations

import datetime

from schemas import embedding, tracking
from schemas.decoding import tables as decoding
from schemas.imaging import tables as imaging
from schemas.server import binding
from schemas.setup import migrations, views
from support import version_1
from support.before_responses import without_responses
from support.former_tables import without_lines, without_tables

#: Beginnings of the lines that versions 18, 19, 23 and 24 added.
NEW_LINES = {
    tracking.RegisteredUIDs: ("first_date=", "first_number="),
    decoding.NDCParams: ("trials=", "labels=", "decoded_signal=", "dff_"),
    decoding.TrialFeatures: ("feature_key=",),
}
#: The line that version 18 replaced.
FORMER_LINE = "uid_values='' : char(32)            # hash of the UIDs\n"


def make() -> None:
    """Declare the tables of version 17; insert two sessions with a curve each, and UIDs of one and of a third."""
    without_responses()
    for table, beginnings in NEW_LINES.items():
        without_lines(table, beginnings)
    uids = tracking.RegisteredUIDs
    lines = uids.definition.splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip().startswith("first_registered_at"))
    uids.definition = "\n".join([*lines[:place], FORMER_LINE, *lines[place:]])
    del decoding.TrialFeatures.OwnLabels, decoding.TrialFeatures.OwnSignal
    del embedding.Embedding.OwnSignal, embedding.EmbeddingParams.OfSignal
    del binding.MODULES["labels"], binding.MODULES["signals"]
    without_tables(decoding.schema, ("TransferTask", "TransferResult", "TransferMatrix"))
    without_tables(imaging.schema, ("AtlasOutline",))
    views.queries = dict  # those of this version show the new tables
    migrations._store_uncompressed = lambda connection: None  # there is no table of signals yet
    migrations.init(migrations=migrations.MIGRATIONS[:17])
    version_1.insert_rows()
    for eid in (version_1.EIDS[0], "f" * 36):
        uids.insert1({
            "subject": "OLD", "eid": eid, "fov": 0, "uid_sha256": "c" * 64, "first_text": "a\nb\nc\n",
            "first_rois": "d" * 64, "uid_values": "e" * 32, "first_registered_at": datetime.datetime(2024, 2, 1),
        })  # fmt: skip


if __name__ == "__main__":
    make()

"""Create a database as version 16 did, with a null that took labels of others: a script, run by test_database."""

from __future__ import annotations

import datetime

from schemas import session, tracking
from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1
from support.before_responses import without_responses
from support.former_tables import without_tables

RESULT = {"session_set": "5" * 32, "ndc_params": version_1.ROWS[0]["ndc_params"], "eid": version_1.EIDS[0]}
RUNS = [{"subject": "OLD", "tracking_run": name * 32} for name in "ab"]


def make() -> None:
    """Declare the tables of version 16; insert two sessions with a curve each, and UID files in two tracking runs."""
    without_responses()
    without_tables(tracking.schema, ("RegisteredUIDs",))
    without_tables(session.schema, ("SessionTag",))
    del decoding.NDCResult.Donor
    views.queries = dict  # those of this version show the later tables
    migrations.init(migrations=migrations.MIGRATIONS[:16])
    version_1.insert_rows()
    # the trials of the second donor were deleted since
    session.Behavior.insert1({"eid": version_1.EIDS[1], "n_trials": 20}, allow_direct_insert=True)
    decoding.NDCResult.update1({**RESULT, "null_donors": [version_1.EIDS[1], "f" * 36]})
    place = {"eid": version_1.EIDS[0], "fov": 0}
    session.FOVFolder.insert1({**place, "collection": "alf/FOV_00"})
    session.FOVFolder.insert1({**place, "fov": 1, "collection": "alf/FOV_01"})
    for day, run in enumerate(RUNS, start=1):
        tracking.TrackingRun.insert1({**run, "duplicates": "error", "registered_at": datetime.datetime(2024, 2, day)})
        file = {"uid_origin": "/not/here.csv", "uid_sha256": "c" * 64, "uid_text": "a\nb\nc\n", "uid_rois": "d" * 64}
        tracking.TrackingFile.insert1({**run, **place, **file})
        # as before version 8: it is not known of which ROIs
        tracking.TrackingFile.insert1({**run, **place, **file, "fov": 1, "uid_rois": ""})


if __name__ == "__main__":
    make()

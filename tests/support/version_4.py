"""Create a database as version 4 did, with traces in rows and no columns for stores: a script, run by test_objects."""

from __future__ import annotations

from pipeline.storage.arrays import pack
from schemas import provenance, session
from schemas.imaging.tables import Activity, insert_trace_rows
from schemas.setup import migrations
from support import version_3
from support.before_responses import without_responses
from support.version_3 import EID, N_ROIS

#: The definition in version 4, word for word.
ACTIVITY = """
    # traces of all ROIs of a FOV
    -> FOV
    ---
    trace_dtype : varchar(8)            # as in the ALF file, such as <f4
    """


def make() -> None:
    """Declare the tables of version 4, and insert the activity of two FOVs."""
    without_responses()
    Activity.definition = ACTIVITY
    provenance.schema.declare_list = [one for one in provenance.schema.declare_list if one[0].__name__ != "DatabaseId"]
    provenance.DatabaseId.make_once = lambda: None
    migrations.init(migrations=migrations.MIGRATIONS[:4])
    session.Subject.insert1({"subject": "OLD"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    session.Session.insert1({"eid": EID, "subject": "OLD", **row})
    for fov in (0, 1):
        key = {"eid": EID, "fov": fov}
        version_3.insert_fov(EID, fov, N_ROIS[fov], N_ROIS[fov], version_3.N_FRAMES)
        Activity.insert1({**key, "trace_dtype": "<f4"}, allow_direct_insert=True)
        insert_trace_rows(key, ((roi, pack(trace)) for roi, trace in enumerate(version_3.matrix(fov))))


if __name__ == "__main__":
    make()

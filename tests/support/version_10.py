"""Create a database as version 10 did, with job times in the server's own time zone: a script, run by test_database."""

from __future__ import annotations

from schemas import session
from schemas.decoding import tables as decoding
from schemas.rows import jobs_of
from schemas.server.connection import connect
from schemas.setup import migrations, views
from support.before_responses import without_responses
from support.version_3 import EID

#: Columns that later versions added.
LATER_COLUMNS = {
    decoding.NDCParams: ("penalty=", "intervals="),
    decoding.NDCResult: ("c_used", "score_c1", "k_star_continuous", "k_half", "p_curve"),
    decoding.NDCResult.Curve: ("influences=",),
}
#: Of a session that was deleted.
DELETED = "00000000-0000-3000-8000-00000000dead"


def make() -> None:
    """Declare the tables of version 10; insert a session, a job that waits, one that failed, and one of no session."""
    without_responses()
    for table, columns in LATER_COLUMNS.items():
        lines = table.definition.splitlines()
        table.definition = "\n".join(line for line in lines if not line.strip().startswith(columns))
    views.queries = dict  # those of this version show the later columns
    migrations.init(migrations=migrations.MIGRATIONS[:10])
    session.Subject.insert1({"subject": "OLD"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    session.Session.insert1({"eid": EID, "subject": "OLD", **row})
    connection = connect()
    # as a client of version 10, which left the zone as the server gave it
    default = {"mysql": "SET time_zone = @@GLOBAL.time_zone", "postgresql": "RESET TIME ZONE"}
    connection.query(default[connection.adapter.backend])
    now = "CURRENT_TIMESTAMP(3)"
    for table, eid, status in (
        (session.Behavior, EID, "pending"), (session.Wheel, EID, "error"), (session.Wheel, DELETED, "error"),
    ):  # fmt: skip
        connection.query(
            f"INSERT INTO {jobs_of(table).full_table_name} (eid, status, priority, created_time, scheduled_time, "
            f"completed_time) VALUES ('{eid}', '{status}', 5, {now}, {now}, {now})"
        )


if __name__ == "__main__":
    make()

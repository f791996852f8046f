"""Create a database as version 10 did, with job times in the server's own time zone: a script, run by test_database."""

from __future__ import annotations

from schemas import session
from schemas.decoding import tables as decoding
from schemas.provenance import Environment
from schemas.rows import content_key, jobs_of
from schemas.server.connection import connect
from schemas.setup import migrations, views
from support.before_responses import without_responses
from support.former_tables import without_lines
from support.version_3 import EID

#: Columns that version 12 added to Environment.
PROCESSOR_COLUMNS = ("cpu_name", "cpu_features", "blas_kernels")
#: Columns that later versions added.
LATER_COLUMNS = {
    decoding.NDCParams: ("penalty=", "intervals="),
    decoding.NDCResult: ("c_used", "score_c1", "k_star_continuous", "k_half", "p_curve"),
    decoding.NDCResult.Curve: ("influences=",),
    Environment: PROCESSOR_COLUMNS,
}
#: Of a session that was deleted.
DELETED = "00000000-0000-3000-8000-00000000dead"
#: What this version recorded of an environment, and its key there.
CONTENT = {"python_version": "3.11.2", "packages": {"meso": "0.2.0", "numpy": "2.2.0"}, "git_commit": "a" * 40}
ENVIRONMENT = "060cdbd0710bb2f2469e5783f2264f74"


def make() -> None:
    """Declare the tables of version 10; insert a session, its jobs, a job of no session, and an environment.

    One job waits and one failed.
    """
    without_responses()
    for table, columns in LATER_COLUMNS.items():
        without_lines(table, columns)
    views.queries = dict  # those of this version show the later columns
    migrations.init(migrations=migrations.MIGRATIONS[:10])
    Environment.insert1({"environment": ENVIRONMENT, **CONTENT})
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
    assert content_key(CONTENT) == ENVIRONMENT, content_key(CONTENT)
    make()

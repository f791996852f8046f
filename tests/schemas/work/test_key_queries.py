"""The queries for the keys to populate, and those of the page's first page, with statistics that say: no rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import datajoint as dj
import pytest

import schemas
from page import queries
from schemas.queries.sessions import sessions
from schemas.server.binding import auto_populated
from schemas.setup import statistics
from schemas.work import reports
from schemas.work.jobs import keys_sql

EIDS = [f"00000000-0000-3000-8000-0000000000{n:02d}" for n in range(4)]
N_FOVS, N_ROIS = 4, 400
TABLES = (schemas.Activity, schemas.ROI, schemas.Recording, schemas.FOV, schemas.FOVFolder, schemas.Session)


@pytest.fixture
def many_rois(database) -> Iterator[None]:
    """Sessions with some thousand ROIs and their activity, without traces."""
    when = datetime.datetime(2024, 1, 1)
    fovs = [{"eid": eid, "fov": fov} for eid in EIDS for fov in range(N_FOVS)]
    zeros = dict.fromkeys(("stack_y", "stack_x", "stack_z", "roi_type", "time_offset"), 0)
    schemas.Subject.insert1({"subject": "MANY"})
    schemas.Session.insert(
        {"eid": eid, "subject": "MANY", "session_date": when.date(), "session_number": n, "ingested_at": when}
        for n, eid in enumerate(EIDS)
    )
    schemas.FOVFolder.insert({**fov, "collection": f"alf/FOV_{fov['fov']:02d}"} for fov in fovs)
    columns = {name: column for name, column in schemas.FOV.heading.attributes.items() if not column.in_key}
    row = {name: "x" if column.string else 1 for name, column in columns.items() if not column.nullable}
    direct = {"allow_direct_insert": True}
    schemas.FOV.insert(({**row, **fov} for fov in fovs), **direct)
    schemas.Recording.insert(({**fov, "frame_times": [0.0], "timeshift": [0.0]} for fov in fovs), **direct)
    schemas.ROI.insert(
        ({**fov, "roi": roi, "is_neuron": True, **zeros} for fov in fovs for roi in range(N_ROIS)), **direct
    )
    schemas.Activity.insert(({**fov, "trace_dtype": "<f4"} for fov in fovs), **direct)
    yield
    for table in TABLES:
        (table & [{"eid": eid} for eid in EIDS]).delete_quick()
    (schemas.Subject & {"subject": "MANY"}).delete_quick()


@pytest.fixture(params=["ROI", "all"])
def no_statistics(many_rois, database, backend, request) -> Iterator[None]:
    """A server whose statistics say that a table, or all, are empty, and that stops a query after some seconds."""
    if backend == "mysql":
        database.query("SET GLOBAL innodb_stats_auto_recalc = OFF")
        for table in TABLES:
            database.query(f"ANALYZE TABLE {table.full_table_name}")
        for table in TABLES if request.param == "all" else (schemas.ROI,):
            _empty_statistics(database, table)
        database.query("FLUSH TABLES")
        database.query("SET SESSION max_execution_time = 8000")
        yield
        database.query("SET SESSION max_execution_time = 0")
        database.query("SET GLOBAL innodb_stats_auto_recalc = ON")
    else:
        database.query("SET statement_timeout = 8000")
        yield
        database.query("SET statement_timeout = 0")


def _empty_statistics(database: dj.Connection, table: type[dj.Table]) -> None:
    """Write the statistics that InnoDB has of a table that was just created."""
    for change in (
        "innodb_table_stats SET n_rows = 0, clustered_index_size = 1, sum_of_other_index_sizes = 0",
        "innodb_index_stats SET stat_value = CASE WHEN stat_name LIKE 'n_diff%%' THEN 0 ELSE 1 END",
    ):
        database.query(
            f"UPDATE mysql.{change} WHERE database_name = %s AND table_name = %s",
            args=(table.database, table.table_name),
        )


def test_key_queries_do_not_depend_on_statistics(no_statistics, database):
    """`meso status`, the page and every worker waited for minutes for the keys of Embedding."""
    slow = []
    for table in auto_populated():
        for what, query in zip(("possible", "missing"), keys_sql(table), strict=True):
            try:
                database.query(f"SELECT COUNT(*) FROM ({query}) AS keys_")
            except Exception as error:
                slow.append((table.__name__, what, str(error)))
    assert slow == []
    done = {row["table"]: row["done"] for row in reports.status()}
    assert done["Activity"] >= len(EIDS) * N_FOVS


def test_init_has_rows_counted_that_are_said_not_to_be_there(no_statistics, database, backend):
    def counted() -> int:
        query = "SELECT n_rows FROM mysql.innodb_table_stats WHERE database_name = %s AND table_name = %s"
        return database.query(query, args=(schemas.ROI.database, schemas.ROI.table_name)).fetchone()[0]

    if backend == "postgresql":
        assert statistics.renew(database) == []
        return
    assert counted() == 0
    renewed = statistics.renew(database)
    assert schemas.ROI.full_table_name in renewed
    assert len(schemas.ROI()) / 2 < counted() < 2 * len(schemas.ROI())
    assert statistics.renew(database) == []


def test_the_page_does_not_depend_on_statistics(no_statistics):
    assert queries.home()
    assert queries.session(EIDS[0])
    assert {row["eid"] for row in sessions("MANY")} == set(EIDS)
    assert queries.subjects()

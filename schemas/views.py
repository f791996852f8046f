"""Plain SQL views for those who do not use DataJoint: schema ``<prefix>views``.

Each view is a DataJoint query, so that both backends get the same columns.
"""

from __future__ import annotations

import datajoint as dj

from schemas.decoding import NDCParams, NDCResult
from schemas.imaging import FOV, ROI, BrainRegion
from schemas.session import Behavior, Session, Subject
from schemas.settings import prefix
from schemas.tracking import TrackedFOV


def queries() -> dict[str, dj.QueryExpression]:
    """Return the query of each view by name."""
    sessions = Session.proj("subject", "session_date", "session_number")
    result = (
        NDCResult.proj("n_cells", "n_decoded", "ceiling", "k_star")
        * sessions
        * NDCParams.proj(
            "target", "event", "win_start", "win_end", "metric", "delta", "r", "n_label_shuffles", "class_balance"
        )
    )
    curve = NDCResult.Curve.proj(..., "-scores", "-null_scores")
    return {
        "session": Session.proj(..., "-one_cache_dir") * Subject.proj("lab"),
        "behavior": sessions * Behavior,
        "fov": sessions * FOV,
        "roi": sessions * ROI.extend(BrainRegion.proj("acronym", "region_name", "rgb", "beryl", "cosmos")),
        "tracked_cell": sessions * TrackedFOV.Member.proj("cell_uid", "silhouette"),
        "ndc_summary": result,
        "ndc_curve": result * curve,
    }


def create(connection: dj.Connection) -> None:
    """Make all views anew."""
    adapter = connection.adapter
    schema = prefix() + "views"
    connection.query(f"CREATE SCHEMA IF NOT EXISTS {adapter.quote_identifier(schema)}")
    selects = {name: query.make_sql() for name, query in queries().items()}
    for name, select in {**selects, "job": _jobs(adapter)}.items():
        view = adapter.make_full_table_name(schema, name)
        try:
            connection.query(f"CREATE OR REPLACE VIEW {view} AS {select}")  # keeps who may read it
        except Exception:  # PostgreSQL refuses to take away or reorder columns, with an error of its own
            connection.query(f"DROP VIEW {view}")
            connection.query(f"CREATE VIEW {view} AS {select}")


def _jobs(adapter) -> str:
    """Return the union of all job tables: table, status, when, where, message."""
    from schemas.database import auto_populated

    columns = ("status", "created_time", "reserved_time", "completed_time", "host", "pid", "error_message")
    # the type of status differs between job tables on PostgreSQL
    text = "CHAR(16)" if adapter.backend == "mysql" else "VARCHAR(16)"
    quoted = ", ".join(
        f"CAST({adapter.quote_identifier(name)} AS {text}) AS {name}"
        if name == "status"
        else adapter.quote_identifier(name)
        for name in columns
    )
    return " UNION ALL ".join(
        f"SELECT '{table.__name__}' AS table_name, {quoted} FROM {table.jobs.full_table_name}"
        for table in auto_populated()
    )

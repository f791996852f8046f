"""Plain SQL views for users without DataJoint, in the schema ``<prefix>views``.

Most views are DataJoint queries, so that both servers have the same columns.
"""

from __future__ import annotations

import datajoint as dj
from psycopg2.errors import InvalidTableDefinition

from schemas.days.tables import DaysParams, SharedEmbedding
from schemas.decoding.tables import NDCComparison, NDCParams, NDCResult, TransferMatrix, TransferResult
from schemas.imaging.tables import FOV, ROI, AtlasOutline, BrainRegion
from schemas.labels import LabelSet
from schemas.provenance import Environment
from schemas.responses.tables import CellResponse, Stability, WindowSet
from schemas.server.dialect import dialect
from schemas.server.settings import prefix
from schemas.session import Behavior, Session, SessionTag, Subject
from schemas.tracking import SessionSet, TrackedFOV
from schemas.work.tables import Worker


def queries() -> dict[str, dj.QueryExpression]:
    """Return the query of each view by name."""
    sessions = Session.proj("subject", "session_date", "session_number")
    asked = NDCParams.proj(
        "target", "event", "win_start", "win_end", "metric", "delta", "r", "n_label_shuffles", "null_subsets",
        "class_balance", "fold_mode", "curve_axis", "trial_shuffled", "cells", "regions", "fovs", "max_cells",
        "use_flagged_frames", "penalty", "c", "intervals", "choice_model", "imposter_align", "beyond", "trials",
        "labels", "decoded_signal", "c_range", "shared_folds",
    )  # fmt: skip
    result = NDCResult.proj(..., "-n_compared", "-n_class_1", "-environment", "-fit_parameters", "-null_donors")
    result = result * sessions * asked
    curve = NDCResult.Curve.proj(..., "-scores", "-null_scores", "-trial_means", "-influences")
    one_curve = NDCResult.proj("n_cells", "n_decoded", "ceiling", "k_star", "null_used", "verdict") * sessions * asked
    return {
        "session": Session.proj(..., "-one_cache_dir") * Subject.proj("lab"),
        "session_tag": sessions * SessionTag,
        "label_set": LabelSet.proj(...),
        "behavior": sessions * Behavior,
        "fov": sessions * FOV,
        "roi": sessions * ROI.extend(BrainRegion.proj("region_name", "rgb", "beryl", "cosmos", region="acronym")),
        "atlas_outline": AtlasOutline * BrainRegion.proj("region_name", region="acronym"),
        "tracked_cell": sessions * TrackedFOV.Member.proj("cell_uid", "silhouette"),
        "ndc_summary": result,
        "ndc_curve": one_curve * curve,
        "ndc_comparison": NDCComparison.Result * sessions * asked.proj("target"),
        "ndc_trend": NDCComparison.Trend.proj(..., "-mean_day", "-mean_log_k", "-half_width")
        * asked.proj("target")
        * SessionSet.proj("subject", "tracking_run"),
        "ndc_day_trend": NDCComparison.DayTrend.proj(..., "-line_day", "-line_value", "-line_half_width")
        * asked.proj("target")
        * SessionSet.proj("subject", "tracking_run"),
        "transfer": TransferMatrix.Pair
        * TransferResult.Train.proj(..., "-transfer_nulls")
        * sessions
        * Session.proj(train_eid="eid", train_date="session_date")
        * asked.proj("target"),
        "transfer_decay": TransferMatrix.proj(..., "-environment")
        * asked.proj("target")
        * SessionSet.proj("subject", "tracking_run"),
        "ndc_day_value": NDCComparison.DayValue * sessions * asked.proj("target"),
        **of_responses(),
        **of_days(),
    }


def of_responses() -> dict[str, dj.QueryExpression]:
    """Return the queries of the views of responses by name."""
    sessions = Session.proj("subject", "session_date", "session_number")
    windows = WindowSet.proj("window_set_name")
    return {
        "cell_response": CellResponse.Cell * windows * sessions,
        "cell_selectivity": CellResponse.Selectivity.proj(..., target="cell_target") * windows * sessions,
        "stability": Stability.Gap.proj(..., region="stable_region")
        * windows
        * SessionSet.proj("subject", "tracking_run"),
    }


def of_days() -> dict[str, dj.QueryExpression]:
    """Return the queries of the views of embeddings of several days by name."""
    sets = SessionSet.proj("subject", "tracking_run")
    of_params = DaysParams.proj("embedded", "bin_seconds", "min_type_trials", "window_set")
    return {
        "shared_embedding": SharedEmbedding.proj(..., "-environment") * of_params * sets,
        # of each cell, where it is in each session
        "shared_embedding_cell": (SharedEmbedding.Rank * TrackedFOV.Member.proj("cell_uid") & SessionSet.FOV.proj())
        * Session.proj("session_date", "session_number"),
    }


def create(connection: dj.Connection) -> None:
    """Create all views, or replace them; rights on existing views are kept.

    Parameters
    ----------
    connection : dj.Connection
    """
    adapter = connection.adapter
    schema = prefix() + "views"
    connection.query(f"CREATE SCHEMA IF NOT EXISTS {adapter.quote_identifier(schema)}")
    selects = {name: query.make_sql() for name, query in queries().items()}
    for name, select in {**selects, "job": _jobs(connection), "worker": _workers(connection)}.items():
        view = adapter.make_full_table_name(schema, name)
        try:
            # replaced in place, as dropping a view drops the rights on it
            connection.query(f"CREATE OR REPLACE VIEW {view} AS {select}")
        except InvalidTableDefinition:
            # PostgreSQL refuses to remove or change columns of a view: drop it, and grant its rights again
            rights = _rights(connection, schema, name)
            with connection.transaction:
                connection.query(f"DROP VIEW {view}")
                connection.query(f"CREATE VIEW {view} AS {select}")
                for right, grantee in rights:
                    connection.query(f"GRANT {right} ON {view} TO {grantee}")


def _rights(connection: dj.Connection, schema: str, view: str) -> list[tuple[str, str]]:
    """Return the rights of others on a view as (right, grantee), on PostgreSQL."""
    rows = connection.query(
        "SELECT privilege_type, grantee FROM information_schema.role_table_grants "
        # the owner has all rights without a grant
        "WHERE table_schema = %s AND table_name = %s AND grantee <> current_user",
        args=(schema, view),
    ).fetchall()
    quote = connection.adapter.quote_identifier
    return [(right, grantee if grantee == "PUBLIC" else quote(grantee)) for right, grantee in rows]


def release(connection: dj.Connection) -> None:
    """Make the views independent of the tables, since PostgreSQL refuses to change a column that a view shows.

    They stay as empty views, which keeps the rights on them, until ``create`` replaces them. Does nothing on MySQL.
    """
    adapter, schema = connection.adapter, prefix() + "views"
    query = dialect(connection).view_columns
    if query is None:
        return
    columns = connection.query(query, args=(schema,)).fetchall()
    for view in sorted({row[0] for row in columns}):
        empty = ", ".join(f"NULL::{kind} AS {adapter.quote_identifier(name)}" for v, name, kind in columns if v == view)
        connection.query(
            f"CREATE OR REPLACE VIEW {adapter.make_full_table_name(schema, view)} AS SELECT {empty} LIMIT 0"
        )


def _workers(connection: dj.Connection) -> str:
    """Return the SELECT of all workers with their software and the job that each is running."""
    jobs = connection.adapter.make_full_table_name(prefix() + "views", "job")
    return (
        "SELECT worker.worker, worker.host, worker.pid, slot, started, heartbeat, ended, end_reason, python_version, "
        "packages, git_commit, job.table_name, job.entry_key, job.reserved_time "
        f"FROM {Worker.full_table_name} AS worker "
        f"JOIN {Environment.full_table_name} AS software ON software.environment = worker.environment "
        f"LEFT JOIN {jobs} AS job ON job.worker = worker.worker AND job.status = 'reserved'"
    )


def _jobs(connection: dj.Connection) -> str:
    """Return the SELECT of all job tables: table, key as JSON, status, times, host, pid, worker, message."""
    from schemas.server.binding import auto_populated

    sql, quote = dialect(connection), connection.adapter.quote_identifier
    columns = ("created_time", "scheduled_time", "reserved_time", "completed_time", "host", "pid")
    quoted = ", ".join(map(quote, columns))

    def select(table: type[dj.Table]) -> str:
        key = ", ".join(f"'{name}', {quote(name)}" for name in table.jobs.primary_key)
        return (
            f"SELECT '{table.__name__}' AS table_name, {sql.text(sql.json_object(key), 512)} AS entry_key, "
            # on PostgreSQL each job table has an enum type of its own for status
            f"{sql.text(quote('status'), 16)} AS status, {quoted}, "
            f"version AS worker, error_message AS message FROM {table.jobs.full_table_name}"
        )

    return " UNION ALL ".join(map(select, auto_populated()))

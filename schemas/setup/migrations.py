"""Numbered changes of the tables, applied by ``meso db init`` on either backend.

To change a table, change its definition, and append a Migration that brings an existing database to the same state.
Applied migrations are recorded in SchemaVersion. A new database is declared at the latest version and needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import datajoint as dj
import numpy as np
from datajoint.declare import compile_attribute
from datajoint.errors import AccessError, MissingTableError
from datajoint.lineage import delete_table_lineages, get_schema_lineages

from pipeline.errors import ConfigError
from schemas.decoding.tables import NDCResult
from schemas.embedding import EmbeddingParams
from schemas.imaging.signals import Signal
from schemas.imaging.tables import FOV, ROI, Activity, BrainRegion, insert_traces
from schemas.provenance import DatabaseId, SchemaVersion, now
from schemas.rows import jobs_of
from schemas.server.binding import auto_populated, bind, table_modules
from schemas.server.connection import catalogue, connect, lock
from schemas.server.declaration import declaring
from schemas.server.dialect import JOBS_NOW, dialect
from schemas.server.refusals import in_words
from schemas.server.settings import prefix
from schemas.session import Behavior, ReadsSession, Session
from schemas.setup import collation, statistics, views
from schemas.tracking import RegisteredUIDs, TrackingFile, TrackingRun
from schemas.work.states import JobStatus
from schemas.work.tables import Attempt, Lease


@dataclass(frozen=True)
class Migration:
    """One change of the tables.

    Attributes
    ----------
    number : int
        From 1, without gaps.
    title : str
    apply : callable(connection, prefix)
        Runs SQL through ``connection.query``, before new tables are declared. It may be called again after an
        interruption (MySQL commits each change of a table by itself), so it checks what is done already.
    finish : callable(connection, prefix)
        The same, after the new tables are declared, e.g. to move rows into them.
    """

    number: int
    title: str
    apply: Callable[[dj.Connection, str], None]
    finish: Callable[[dj.Connection, str], None] = lambda connection, name_prefix: None


def _has_column(connection: dj.Connection, schema: str, table: str, column: str) -> bool:
    found = connection.query(
        "SELECT count(*) FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = %s AND column_name = %s",
        args=(schema, table, column),
    ).fetchone()[0]
    return bool(found)


def add_column(connection: dj.Connection, schema: str, table: str, line: str) -> None:
    """Add a column as DataJoint would declare it, unless the table has it, and set its comment.

    Parameters
    ----------
    connection : dj.Connection
    schema, table : str
        Names in the database, the schema with its prefix.
    line : str
        As in the definition of the table, with ``=null`` or another default for the existing rows.
    """
    adapter = connection.adapter
    name, sql, _, comment = compile_attribute(line, False, [], {}, adapter)
    full = adapter.make_full_table_name(schema, table)
    if not _has_column(connection, schema, table, name):
        connection.query(f"ALTER TABLE {full} ADD COLUMN {sql}")
    # always: an interrupted run may have added the column without it, and with it DataJoint's type
    _comment(connection, full, name, comment)


def widen(connection: dj.Connection, schema: str, table: str, line: str) -> None:
    """Change the type of a column to the wider one of its new definition; call ``views.release`` before.

    Parameters
    ----------
    connection : dj.Connection
    schema, table : str
    line : str
        The new line of the definition, such as ``name : varchar(255)  # comment``.
    """
    adapter = connection.adapter
    name, sql, _, comment = compile_attribute(line, False, [], {}, adapter)
    full = adapter.make_full_table_name(schema, table)
    wider = adapter.core_type_to_sql(line.split(":")[1].split("#", maxsplit=1)[0].strip())
    connection.query(dialect(connection).change_column_type(full, adapter.quote_identifier(name), wider, sql))
    _comment(connection, full, name, comment)


def add_columns(connection: dj.Connection, schema: str, columns: Mapping[str, Sequence[str]]) -> None:
    """Add columns to tables of a schema: by table, the lines of the definitions; see ``add_column``."""
    for table, lines in columns.items():
        for line in lines:
            add_column(connection, schema, table, line)


def _comment(connection: dj.Connection, full: str, column: str, comment: str | None) -> None:
    """Set the comment of a column, in which DataJoint keeps its type; MySQL has it in the column's declaration."""
    sql = connection.adapter.column_comment_ddl(full, column, comment or "")
    if comment and sql:
        connection.query(sql)


#: Columns of version 2 by table. Frozen: the lines of the definitions as they were in that version.
DECODING_COLUMNS = {
    "n_d_c_params": (
        "penalize_intercept=0 : bool",
        "fold_mode='stratified' : varchar(16)  # stratified or blocked (test trials next to each other in time)",
        "fold_gap=0 : int32  # trials left out between training and test, with blocked folds",
        "c_grid=null : json  # values of c to choose from in the training folds; NULL: c as it is",
        "n_bootstrap=0 : int32  # resamplings of the test trials behind the intervals",
        "curve_axis='cells' : varchar(16)  # what the ks are numbers of: cells or trials",
        "trial_shuffled=0 : bool  # trials shuffled within class for each cell: no noise correlations",
        "cells='shared' : varchar(16)  # shared, or as many random ones",
        "cells_seed=0 : int64  # of the random cells",
        "regions=null : json  # acronyms of the Allen atlas; NULL: all",
        "fovs=null : json  # numbers of FOVs; NULL: all",
        "max_cells=0 : int32  # largest k of a curve over cells; 0: all cells",
    ),
    "__trial_features": (
        "feature_cells=null : <blob>  # (cells, 2) int32, FOV and ROI of each; NULL (version 1): as SharedCells",
    ),
    "__n_d_c_result": (
        "k_star_low=null : float64  # 95 percent interval over subsets and trials; NULL: none, or no k is that near",
        "k_star_high=null : float64",
        "k_star_censored=null : varchar(8)  # left: that many or fewer; right: no k is near the ceiling; NULL: neither",
        "p_largest=null : float64  # (1 + #(null >= mean)) / (1 + shuffles) at the largest k",
        "null_used=null : varchar(16)  # how labels were shuffled",
        "null_donors=null : json  # sessions whose labels were taken, in their order",
        "fit_family=null : varchar(16)  # inverse_sqrt, information or exponential; NULL: too few k for a fit",
        "fit_parameters=null : json  # by name",
        "asymptote=null : float64  # score of infinitely many cells by the fit, with its 95 percent interval",
        "asymptote_low=null : float64",
        "asymptote_high=null : float64",
        "k50=null : float64  # cells for half the way from chance to the asymptote",
        "k50_low=null : float64  # NULL in these: none, or beyond ten times the largest k",
        "k50_high=null : float64",
        "k90=null : float64  # for 90 percent",
        "k90_low=null : float64",
        "k90_high=null : float64",
        "k95=null : float64  # for 95 percent",
        "k95_low=null : float64",
        "k95_high=null : float64",
        "verdict=null : varchar(16)  # saturated, not saturated, uncertain, decreasing, at chance or too few k",
    ),
    "__n_d_c_result__curve": (
        "mean_low=null : float64  # 95 percent interval of score_mean over subsets and trials",
        "mean_high=null : float64",
        "trial_means=null : <blob>  # (n_bootstrap,) float64, score_mean of the test trials drawn with replacement",
    ),
}


def _decoding_engine(connection: dj.Connection, name_prefix: str) -> None:
    """Add columns for settings, nulls, fits and intervals; fill in null and p of the results of version 1."""
    schema, adapter = name_prefix + "decoding", connection.adapter
    widen(connection, schema, "n_d_c_params", "metric : varchar(32)  # auc, accuracy or balanced_accuracy")
    add_columns(connection, schema, DECODING_COLUMNS)
    result, params, curve = (
        adapter.make_full_table_name(schema, name)
        for name in ("__n_d_c_result", "n_d_c_params", "__n_d_c_result__curve")
    )
    connection.query(
        # WHERE ... IS NULL, here and below: what an interrupted run has filled in stays
        f"UPDATE {result} SET null_used = (SELECT null_mode FROM {params} AS asked "
        f"WHERE asked.ndc_params = {result}.ndc_params) WHERE null_used IS NULL"
    )
    same = " AND ".join(f"{{0}}.{name} = {result}.{name}" for name in ("session_set", "ndc_params", "eid"))
    connection.query(
        f"UPDATE {result} SET p_largest = (SELECT one.p_value FROM {curve} AS one WHERE {same.format('one')} "
        f"AND one.k = (SELECT max(two.k) FROM {curve} AS two WHERE {same.format('two')})) WHERE p_largest IS NULL"
    )


def _null_subsets(connection: dj.Connection, name_prefix: str) -> None:
    """Add the column for the number of subsets averaged in a null score."""
    line = "null_subsets=0 : int32  # subsets averaged in each null score; 0: one each, in turn (before version 3)"
    add_column(connection, name_prefix + "decoding", "n_d_c_params", line)


#: Name of the table of activity in blocks of ROIs (versions 1 to 3), while its traces are moved.
BLOCKS = "_activity_blocks"


def _set_blocks_aside(connection: dj.Connection, name_prefix: str) -> None:
    """Rename the table of activity in blocks of ROIs: the new table needs its name."""
    schema, adapter = name_prefix + "imaging", connection.adapter
    if not _has_column(connection, schema, "_activity", "roi_block"):
        return
    old = adapter.make_full_table_name(schema, "_activity")
    new = adapter.make_full_table_name(schema, BLOCKS)
    # or the new table of this name would seem complete before it is: see _drop_half_declared
    delete_table_lineages(connection, schema, "_activity")
    connection.query(dialect(connection).rename_table(old, new, adapter.quote_identifier(BLOCKS)))


def _blocks_to_traces(connection: dj.Connection, name_prefix: str) -> None:
    """Move activity from blocks to one row per ROI, FOV by FOV; a FOV without rows in ROI is populated again."""
    schema = name_prefix + "imaging"
    if not _has_column(connection, schema, BLOCKS, "roi_block"):
        return
    blocks = dj.FreeTable(connection, connection.adapter.make_full_table_name(schema, BLOCKS))
    for eid, fov in sorted({(row["eid"], row["fov"]) for row in blocks.proj().to_dicts()}):
        key = {"eid": eid, "fov": fov}
        # FOVs that were moved before an interruption are skipped
        if (ROI & key) and not (Activity & key):
            parts = (blocks & key).to_arrays("traces", order_by="roi_block")
            with connection.transaction:
                insert_traces(key, np.concatenate([np.asarray(part) for part in parts]))
    # last: until then an interrupted run begins again with the blocks that are left
    blocks.drop_quick()


#: Columns that version 5 added to Activity, as the table's definition has them.
STORE_COLUMNS = (
    "trace_store=null : varchar(64)  # store of DataJoint's settings that has the traces; NULL: their rows have them",
    "trace_object=null : varchar(255)  # path of the object there",
)


def _trace_stores(connection: dj.Connection, name_prefix: str) -> None:
    """Add the columns for the place of traces; before version 4 the table of that name was the one in blocks."""
    for line in STORE_COLUMNS:
        # in a database before version 4 the new table is not declared yet, and will have the columns
        if _has_column(connection, name_prefix + "imaging", "_activity", "trace_dtype"):
            add_column(connection, name_prefix + "imaging", "_activity", line)


def _free_reserved(connection: dj.Connection, name_prefix: str) -> None:
    """Make jobs pending that were reserved before workers had ids: no heartbeat tells whether their worker is alive."""
    for table in auto_populated():
        connection.query(
            f"UPDATE {table.jobs.full_table_name} SET status = 'pending' WHERE status = 'reserved' AND version = ''"
        )


def _count_regions(connection: dj.Connection, name_prefix: str) -> None:
    """Fill FOV.Region for the existing FOVs."""
    counted = FOV.Region.full_table_name
    connection.query(
        f"INSERT INTO {counted} (eid, fov, region_id, n_region_rois, n_region_neurons) "
        f"SELECT eid, fov, region_id, COUNT(*), SUM(CASE WHEN is_neuron THEN 1 ELSE 0 END) "
        f"FROM {ROI.full_table_name} AS roi WHERE region_id IS NOT NULL AND NOT EXISTS "
        f"(SELECT 1 FROM {counted} AS done WHERE done.eid = roi.eid AND done.fov = roi.fov) "
        f"GROUP BY eid, fov, region_id"
    )


#: Line of version 8 in the tables of files that were read.
SOURCE_COLUMN = "one_hash='' : varchar(64)  # of the file in ONE when it was read, '' if ONE had none"
#: Columns of version 8 by schema and table, as the definitions have them.
RECORD_COLUMNS = {
    ("session", "_behavior__source"): SOURCE_COLUMN,
    ("session", "_wheel__source"): SOURCE_COLUMN,
    ("imaging", "_f_o_v__source"): SOURCE_COLUMN,
    ("tracking", "tracking_file"): (
        "uid_rois='' : varchar(64)  # hash of the positions of the ROIs that it was registered with, '' if not known"
    ),
    ("provenance", "deletion"): "deletion_reason='' : varchar(255)  # what was done, '' for rows deleted by a user",
}


def _records_of_changes(connection: dj.Connection, name_prefix: str) -> None:
    """Add the columns for the hash that ONE has of a file, and for what a deletion was part of."""
    for (schema, table), line in RECORD_COLUMNS.items():
        if _has_column(connection, name_prefix + schema, table, "eid" if schema != "provenance" else "deletion"):
            add_column(connection, name_prefix + schema, table, line)


#: Columns of version 9 by schema and table. Frozen: the lines of the definitions as they were in that version.
CHECKED_COLUMNS = {
    ("imaging", "_recording"): (
        "bad_frames=null : <blob>  # (n_frames,) bool, left out by Suite2p; NULL: no file, or read before version 9",
        "frame_qc=null : <blob>  # (n_frames,) uint32, class by the experimenter; NULL: as above",
        "frame_qc_names=null : json  # name of each class by its number",
    ),
    ("tracking", "tracking_run"): (
        "uid_form=null : varchar(8)  # 'uuid' or 'any' word; NULL: as before version 9, any line but blank and nan",
    ),
    ("decoding", "n_d_c_params"): (
        "use_flagged_frames=0 : bool  # also trials whose window holds a frame flagged as bad in Recording",
    ),
}


def _checked_input(connection: dj.Connection, name_prefix: str) -> None:
    """Add columns for flags of frames, what a UID is, and whether curves use flagged frames."""
    for (schema, table), lines in CHECKED_COLUMNS.items():
        for line in lines:
            add_column(connection, name_prefix + schema, table, line)


#: Columns that version 10 widened to what Alyx allows, as the definitions have them, by table of the schema "session".
WIDER_COLUMNS = {
    "subject": ("lab='' : varchar(255)",),
    "session": (
        "session_number : int32",
        "task_protocol='' : varchar(1023)",
        "projects='' : varchar(4095)  # names, separated by commas",
    ),
    "_behavior__trial": ("task_collection : varchar(255)  # alf or alf/task_XX",),
}
#: The same, of the tables of files that were read.
WIDER_SOURCE_COLUMNS = (
    "dataset : varchar(511)  # path within the session",
    "revision='' : varchar(255)  # '' for the original",
)
SOURCE_TABLES = (("session", "_behavior__source"), ("session", "_wheel__source"), ("imaging", "_f_o_v__source"))


def _as_alyx_allows(connection: dj.Connection, name_prefix: str) -> None:
    """Widen the columns that were narrower than those of Alyx."""
    for table, lines in WIDER_COLUMNS.items():
        for line in lines:
            widen(connection, name_prefix + "session", table, line)
    for schema, table in SOURCE_TABLES:
        for line in WIDER_SOURCE_COLUMNS:
            widen(connection, name_prefix + schema, table, line)


#: Columns of DataJoint's job tables that are times.
JOB_TIMES = ("created_time", "scheduled_time", "reserved_time", "completed_time")
#: The name, in Lease, by which a repeated migration sees that the times are in UTC already.
JOBS_IN_UTC = "migration: job times in UTC"


def _jobs_in_utc(connection: dj.Connection, name_prefix: str) -> None:
    """Convert the times of jobs to UTC, make pending jobs due, and delete what outlived its job.

    That is: errors whose keys were deleted, and dead workers of jobs that are done.
    """
    sql = dialect(connection)
    times = ", ".join(f"{name} = {sql.from_server_zone(name)}" for name in JOB_TIMES)
    tables = [(table, jobs_of(table)) for table in auto_populated()]
    # one transaction with its mark: applied twice, it would shift the times twice
    with connection.transaction:
        if not (Lease & {"lease": JOBS_IN_UTC}):
            for _, jobs in tables:
                connection.query(f"UPDATE {jobs.full_table_name} SET {times}")
                # clients in zones of their own have queued some for later
                connection.query(
                    f"UPDATE {jobs.full_table_name} SET scheduled_time = {JOBS_NOW} "
                    f"WHERE status = '{JobStatus.PENDING}' AND scheduled_time > {JOBS_NOW}"
                )
            Lease.insert1({"lease": JOBS_IN_UTC, "expires": now()})
    for table, jobs in tables:
        jobs.errors.restrict(dj.Not(table().key_source.proj()), semantic_check=False).delete_quick()
        for row in (Attempt & {"table_name": table.__name__}).to_dicts():
            if table & row["entry_key"]:  # done since: a later run begins anew
                Attempt.clear(table.__name__, [row["entry_key"]])


#: Columns of version 12. Frozen: the lines of the definition as they were in that version.
PROCESSOR_COLUMNS = (
    "cpu_name=null : varchar(64)  # kind of processor, as LLVM names it; NULL in these: before version 12",
    "cpu_features=null : json  # its instruction sets for numbers",
    "blas_kernels=null : json  # libraries for linear algebra with their code for the processor",
)


def _processors(connection: dj.Connection, name_prefix: str) -> None:
    """Add the columns for the kind of processor; former rows keep their keys, which are hashes without it."""
    add_columns(connection, name_prefix + "provenance", {"environment": PROCESSOR_COLUMNS})


#: Columns of version 13 by table of the schema "decoding". Frozen: the lines of the definitions as they were then.
PENALTY_COLUMNS = {
    "n_d_c_params": (
        "penalty='fixed' : varchar(8)  # unit of c: fixed (C is c), scaled (c / k) or auto (scaled, c chosen)",
    ),
    "__n_d_c_result": (
        "c_used=null : float64  # c of the real labels: chosen (penalty auto) or as set; NULL: c of the settings",
        "score_c1=null : float64  # mean score at the largest k with c = 1; NULL: penalty not auto",
    ),
}


def _penalty(connection: dj.Connection, name_prefix: str) -> None:
    """Add the columns for the penalty in units of 1/k, and for the c that was used; former curves are of a fixed C."""
    add_columns(connection, name_prefix + "decoding", PENALTY_COLUMNS)


#: Columns of version 14, in the same way.
INTERVAL_COLUMNS = {
    "n_d_c_params": (
        "intervals='test_trials' : varchar(16)  # what intervals hold for: new_trials, or test_trials (as before)",
    ),
    "__n_d_c_result": (
        "k_star_continuous=null : float64  # k* between the ks, with its 95 percent interval; NULL: before version 14",
        "k_star_continuous_low=null : float64",
        "k_star_continuous_high=null : float64",
        "k_half=null : float64  # cells with half of the squared d-prime of the largest k",
        "k_half_low=null : float64",
        "k_half_high=null : float64",
        "p_curve=null : float64  # Simes' p over all k together, behind verdict and q; NULL: before version 14",
    ),
    "__n_d_c_result__curve": (
        "influences=null : <blob>  # (n_decoded,) float64, of each decoded trial on score_mean; or trial_means",
    ),
}


def _intervals(connection: dj.Connection, name_prefix: str) -> None:
    """Add the setting and the columns of intervals for new trials, and of k* between the ks."""
    add_columns(connection, name_prefix + "decoding", INTERVAL_COLUMNS)


#: Columns of version 15 of NDCParams. Frozen: the lines of the definition as they were in that version.
CHOICE_MODEL_COLUMNS = (
    "choice_model='static' : varchar(8)  # mouse of a pseudosession: dynamic, or static as in former versions",
    "imposter_align='start' : varchar(8)  # trials of an imposter session: start, end or fraction",
)


def _choice_models(connection: dj.Connection, name_prefix: str) -> None:
    """Add the columns of the mouse in a pseudosession and of imposter sessions; former curves have those of then."""
    add_columns(connection, name_prefix + "decoding", {"n_d_c_params": CHOICE_MODEL_COLUMNS})


#: Columns of version 16 by table of the schema "decoding". Frozen: the lines of the definitions as they were then.
BEYOND_COLUMNS = {
    "n_d_c_params": (
        "beyond='none' : varchar(16)  # what the score must tell more than: none, stimulus or stimulus+history",
    ),
    "__n_d_c_result": (
        "n_minority=null : int32  # trials of the rarer class, summed over strata; NULL: not beyond the stimulus",
    ),
}


def _beyond(connection: dj.Connection, name_prefix: str) -> None:
    """Add the setting and the number of trials of curves beyond the stimulus; former curves are of no strata."""
    add_columns(connection, name_prefix + "decoding", BEYOND_COLUMNS)


def _made_of(connection: dj.Connection, name_prefix: str) -> None:
    """Fill NDCResult.Donor for the existing curves, and RegisteredUIDs from the existing tracking runs.

    Of which files the labels of a donor were is not known, and that the trials of a donor are gone neither.
    """
    with_trials = set(Behavior.to_arrays("eid"))
    for row in (NDCResult.proj("null_donors") & "null_donors is not null").to_dicts():
        donors = with_trials & set(row.pop("null_donors") or ())
        NDCResult.Donor.insert(
            ({**row, "donor": eid} for eid in sorted(donors)), skip_duplicates=True, allow_direct_insert=True
        )
    for run in TrackingRun.proj("registered_at").to_dicts(order_by="registered_at"):
        key = {name: run[name] for name in TrackingRun.primary_key}
        known = (RegisteredUIDs & {"subject": run["subject"]}).proj().to_dicts()
        # those of before version 8 do not say of which ROIs they are; of those in several runs, the first counts
        files = [
            file for file in (TrackingFile & key & "uid_rois <> ''").to_dicts()
            if {name: file[name] for name in RegisteredUIDs.primary_key} not in known
        ]  # fmt: skip
        RegisteredUIDs.keep(run["subject"], files, run["registered_at"])


#: Columns of version 18 of the UID files that stay. Frozen: the lines of the definition as they were then.
DAY_COLUMNS = (
    "first_date=null : date  # of its session, which may come back under another id; NULL: not known",
    "first_number=null : int32",
)


def _days_of_uids(connection: dj.Connection, name_prefix: str) -> None:
    """Add date and number of the session to RegisteredUIDs, whose hash of UIDs is not used any more."""
    schema, table = name_prefix + "tracking", "registered_u_i_ds"
    if not _has_column(connection, schema, table, "eid"):
        return  # of before version 17: it is declared anew
    for line in DAY_COLUMNS:
        add_column(connection, schema, table, line)
    if _has_column(connection, schema, table, "uid_values"):
        full = connection.adapter.make_full_table_name(schema, table)
        connection.query(f"ALTER TABLE {full} DROP COLUMN {connection.adapter.quote_identifier('uid_values')}")


def _fill_days(connection: dj.Connection, name_prefix: str) -> None:
    """Fill them for the sessions that are registered; of those that were deleted they are not known."""
    files, sessions = RegisteredUIDs.full_table_name, Session.full_table_name
    values = ", ".join(
        f"{column} = (SELECT one.{of_session} FROM {sessions} AS one WHERE one.eid = {files}.eid)"
        for column, of_session in (("first_date", "session_date"), ("first_number", "session_number"))
    )
    connection.query(f"UPDATE {files} SET {values} WHERE first_date IS NULL")


#: Columns of NDCParams for labels and trials of one's own. Frozen: the lines of the definition as they were then.
OWN_COLUMNS = (
    "trials='' : varchar(512)  # condition; '': all trials",
    "labels='' : varchar(32)  # LabelSet of an own target; '': a built-in one",
)


def _own_questions(connection: dj.Connection, name_prefix: str) -> None:
    """Add the settings of trials and labels of one's own; former curves have neither."""
    add_columns(connection, name_prefix + "decoding", {"n_d_c_params": OWN_COLUMNS})


#: Columns of version 23 by table of the schema "decoding". Frozen: the lines of the definitions as they were then.
FEATURE_COLUMNS = {
    "__trial_features": (
        "feature_key=null : char(32)  # hash of what the features are made of; NULL: before version 23",
    ),
}


def _what_features_are_made_of(connection: dj.Connection, name_prefix: str) -> None:
    """Add the column by which the same features are found in another tracking run; of former ones it is not known."""
    add_columns(connection, name_prefix + "decoding", FEATURE_COLUMNS)


#: Columns of version 24 by table of the schema "decoding". Frozen: the lines of the definitions as they were then.
SIGNAL_COLUMNS = {
    "n_d_c_params": (
        "decoded_signal='' : varchar(16)  # deconvolved, fluorescence or dff; '': as each FOV was read",
        "dff_neuropil=0.7 : float64  # with dff: part of the neuropil that is subtracted",
        "dff_window=60.0 : float64  # with dff: length of the running baseline's window, s",
        "dff_percentile=8.0 : float64  # with dff: percentile that is the baseline",
    ),
}


def _signals(connection: dj.Connection, name_prefix: str) -> None:
    """Add the settings of the signal; former curves are of what each FOV was read with."""
    add_columns(connection, name_prefix + "decoding", SIGNAL_COLUMNS)


#: Columns of the kind of labels, and of labels that are numbers, by schema and table. Frozen: the lines as they were.
NUMBER_COLUMNS = {
    "labels": {"label_set": ("label_kind='classes' : varchar(8)  # classes (1 and 0), or numbers",)},
    "decoding": {
        "__trial_features__trial": (
            "trial_value=null : float64  # its number, where the labels are numbers, and then no class",
        ),
    },
}


def _numbers(connection: dj.Connection, name_prefix: str) -> None:
    """Add the kind of labels, and the column for those that are numbers; former labels are classes."""
    for schema, columns in NUMBER_COLUMNS.items():
        # before version 19 there are no labels: their table is declared with the column
        if schema != "labels" or _has_column(connection, name_prefix + schema, "label_set", "label_set"):
            add_columns(connection, name_prefix + schema, columns)


#: Columns of version 32, of the schema "decoding". Frozen: the lines as they were then.
LEVEL_COLUMNS = {
    "__n_d_c_population__difference": (
        "n_level_pairs=null : int32  # mice of which both curves end at one k; NULL: before version 32",
        "level_difference=null : float64  # over days, of log2 of cells (code_k), score, d-prime; NULL: no such mouse",
        "level_low=null : float64  # 95 percent; NULL: fewer than three mice",
        "level_high=null : float64",
        "level_p=null : float64  # of no difference, two-sided",
        "level_sd=null : float64  # standard deviation between mice",
    ),
}


def _levels(connection: dj.Connection, name_prefix: str) -> None:
    """Add columns, which are NULL of populations that have been computed."""
    schema, (table,) = name_prefix + "decoding", LEVEL_COLUMNS
    # before version 16 no mice are compared: the table is declared with the columns
    if _has_column(connection, schema, table, "slope_difference"):
        add_columns(connection, schema, LEVEL_COLUMNS)


#: Column of how penalty "auto" chooses c, of the schema "decoding". Frozen: the line as it was then.
C_RANGE_COLUMNS = {
    "n_d_c_params": (
        "c_range='narrow' : varchar(8)  # with penalty auto: c of 1, 10, 100 (wide), or 1, 10, 30 (narrow) as before",
    ),
}


def _c_range(connection: dj.Connection, name_prefix: str) -> None:
    """Add the setting; former curves have their c of 1, 10 and 30."""
    add_columns(connection, name_prefix + "decoding", C_RANGE_COLUMNS)


#: Column of the folds of null labels, of the schema "decoding". Frozen: the line as it was then.
SHARED_FOLDS_COLUMNS = {
    "n_d_c_params": ("shared_folds=0 : bool  # null labels have the folds of the real ones; c_grid by pairs of folds",),
}


def _shared_folds(connection: dj.Connection, name_prefix: str) -> None:
    """Add the setting; the label vectors of former curves have folds of their own."""
    add_columns(connection, name_prefix + "decoding", SHARED_FOLDS_COLUMNS)


#: Column of the noise of traces, of the schema "decoding". Frozen: the line as it was then.
NOISE_COLUMNS = {
    "__trial_features": (
        "noise_level=null : float64  # of the traces, median over cells; NULL: before version 37, or none has one",
    ),
}


def _noise(connection: dj.Connection, name_prefix: str) -> None:
    """Add columns, which are NULL of features that have been computed."""
    add_columns(connection, name_prefix + "decoding", NOISE_COLUMNS)


#: Columns of the noise of a part of the traces, and of how many cells carry the signal. Frozen: the lines as they were.
SPREAD_COLUMNS = {
    "__trial_features": (
        "noise_mean=null : float64  # the same, geometric mean over cells; NULL: before version 38, or none has one",
        "code_spread=null : float64  # share of cells that carry the signal; NULL: before version 38, or not known",
    ),
}


def _spread(connection: dj.Connection, name_prefix: str) -> None:
    """Add columns, which are NULL of features that have been computed."""
    add_columns(connection, name_prefix + "decoding", SPREAD_COLUMNS)


def _grown_since(connection: dj.Connection, name_prefix: str) -> None:
    """Forget the hashes of files that were smaller when they were registered than when they were read.

    They may have been half copied, and nothing was claimed of them; now such a file must begin with what it was.
    """
    files = Session.File.full_table_name
    for table in ReadsSession.choosing:
        connection.query(
            f"UPDATE {files} SET sha256 = '' WHERE sha256 <> '' AND EXISTS (SELECT 1 FROM "
            f"{table.Source.full_table_name} AS one WHERE one.eid = {files}.eid AND one.dataset = {files}.dataset "
            f"AND one.file_size > {files}.file_size)"
        )


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "first tables", lambda connection, name_prefix: None),
    Migration(2, "decoding: nulls, populations, fits and comparisons", _decoding_engine),
    Migration(3, "decoding: p values over the subsets of the null", _null_subsets),
    Migration(4, "activity: one row per ROI, compressed and checksummed", _set_blocks_aside, _blocks_to_traces),
    Migration(5, "activity: traces in a store of objects", _trace_stores),
    Migration(6, "workers with heartbeats", lambda connection, name_prefix: None, _free_reserved),
    Migration(7, "rasters as tiles; regions of each FOV", lambda connection, name_prefix: None, _count_regions),
    Migration(8, "changed files: hashes of ONE, updates, former results", _records_of_changes),
    Migration(9, "flags of frames, forms of UIDs, tasks left out", _checked_input),
    Migration(10, "sessions: what Alyx allows", _as_alyx_allows),
    Migration(11, "jobs: times in UTC, no errors of deleted keys", lambda connection, name_prefix: None, _jobs_in_utc),
    Migration(12, "environments: processors", _processors),
    Migration(13, "decoding: penalty in units of 1/k", _penalty),
    Migration(14, "decoding: intervals for new trials, trends over days", _intervals),
    Migration(15, "nulls: mice that change, stored models of choice", _choice_models),
    Migration(16, "decoding: choice beyond the stimulus, slopes over mice", _beyond),
    Migration(17, "files of donors, ROIs of UIDs that stay", lambda connection, name_prefix: None, _made_of),
    Migration(18, "days of UID files that stay", _days_of_uids, _fill_days),
    Migration(19, "decoding: trials and labels of one's own", _own_questions),
    Migration(20, "tags of sessions", lambda connection, name_prefix: None),
    Migration(21, "transfer: readouts of one session tested on the others", lambda connection, name_prefix: None),
    Migration(22, "responses to kinds of trials, stability over days", lambda connection, name_prefix: None),
    Migration(23, "decoding: what features are made of", _what_features_are_made_of),
    Migration(24, "signals: the same one of all sessions, dF/F", _signals),
    Migration(25, "outlines of the atlas", lambda connection, name_prefix: None),
    Migration(26, "own labels: the trials that they are of; doubts of wheels", lambda connection, name_prefix: None),
    Migration(27, "one embedding of several days", lambda connection, name_prefix: None),
    Migration(28, "labels: numbers, decoded by regression", _numbers),
    Migration(29, "files of several writings; places of cells", lambda connection, name_prefix: None),
    Migration(30, "embeddings of a signal that is asked for", lambda connection, name_prefix: None),
    Migration(31, "drift; transfers without curves; deleted files; silhouettes", lambda connection, name_prefix: None),
    Migration(32, "decoding: values compared within mice", _levels),
    Migration(33, "decoding: how penalty auto chooses c", _c_range),
    Migration(34, "decoding: folds of null labels", _shared_folds),
    Migration(35, "files of sessions at registration", lambda connection, name_prefix: None),
    Migration(36, "files of sessions: samples of large ones", lambda connection, name_prefix: None, _grown_since),
    Migration(37, "decoding: noise of the traces", _noise),
    Migration(38, "decoding: noise of a part of the traces, cells that carry the signal", _spread),
)
LATEST = MIGRATIONS[-1].number


def database_version(connection: dj.Connection) -> int | None:
    """Return the version of the tables in the database, or None if there are none that this account may see."""
    table = connection.adapter.make_full_table_name(prefix() + "provenance", "schema_version")
    try:
        return connection.query(f"SELECT max(schema_version) FROM {table}").fetchone()[0]
    except (MissingTableError, AccessError):
        return None


def init(migrations: Sequence[Migration] = MIGRATIONS, *, separate_names: bool = False) -> list[Migration]:
    """Declare all tables, apply the migrations that the database lacks, and create the views.

    It can be run again, by several processes at once, and after an interruption.

    Parameters
    ----------
    migrations : sequence of Migration
    separate_names : bool
        Rebuild tables that take names such as Jose and José for one, instead of refusing them.

    Returns
    -------
    list of Migration
        The migrations applied now; empty for a new database.

    Raises
    ------
    ConfigError
        The database is newer than the code or merges names, or the server's log cannot hold what is written here.
    """
    connection = connect()
    _check_log(connection)
    # a lock of the server, not a row: MySQL commits at every change of a table, and would give up a row's lock
    with lock(prefix() + "init"):
        if separate_names:
            collation.mend(connection)
        collation.check(connection)
        before = database_version(connection)
        if before is not None and before > migrations[-1].number:
            raise ConfigError(
                f"The tables are of version {before}, this code is of version {migrations[-1].number}: "
                f"run an update of this project"
            )
        applied = [m for m in migrations if before is not None and m.number > before]
        if applied:
            views.release(connection)
        for migration in applied:
            migration.apply(connection, prefix())
        _drop_half_declared(connection)
        # between apply and finish: tables that were renamed are declared anew, then filled
        with declaring(catalogue()):
            bind(connection, create=True)
            for table in auto_populated():
                _ = table.jobs.heading  # declares the job table: a worker may have no right to
            _store_uncompressed(connection)
        for migration in applied:
            migration.finish(connection, prefix())
        insert_defaults()
        views.create(connection)
        statistics.renew(connection)
        new = applied if before is not None else migrations
        # last, so that an interrupted run is repeated from its first migration
        SchemaVersion.insert(
            ({"schema_version": m.number, "migration": m.title, "applied_at": now()} for m in new),
            skip_duplicates=True,
        )
    return applied


def _check_log(connection: dj.Connection) -> None:
    """Refuse a server whose log cannot hold what is written: every job would fail, and not the tables."""
    query = dialect(connection).unusable_log
    if query and (found := connection.query(query).fetchone()):
        raise ConfigError(f"The database cannot be used: {in_words(' = '.join(map(str, found)).upper())}")


def _drop_half_declared(connection: dj.Connection) -> None:
    """Drop the tables whose declaration was interrupted, so that they are declared again.

    DataJoint creates a table, on PostgreSQL then its indexes and its comments, which have the types of its columns, and
    last, in one statement, the rows of its lineage. It takes a table that exists for complete.
    """
    adapter = connection.adapter
    for name, module in table_modules().items():
        schema = prefix() + name
        ours = {cls.table_name for cls, _ in module.schema.declare_list}
        jobs, parts = {f"~~{one.lstrip('_')}" for one in ours}, tuple(f"{one}__" for one in ours)
        tables = connection.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'",
            args=(schema,),
        ).fetchall()
        complete = {key.split(".")[1] for key in get_schema_lineages(connection, schema)}
        for (table,) in tables:
            full = adapter.make_full_table_name(schema, table)
            if table in complete or not (table in ours | jobs or table.startswith(parts)):
                continue
            if connection.query(f"SELECT 1 FROM {full} LIMIT 1").fetchone():
                continue  # it was in use, and has only lost its lineage, which DataJoint adds
            with suppress(Exception):  # other tables refer to it, so it was in use
                connection.query(f"DROP TABLE {full}")


def _store_uncompressed(connection: dj.Connection) -> None:
    """Have the server store traces as they are: they are compressed already."""
    for table, column in ((Activity.Trace, "trace"), (Signal.Trace, "signal_trace")):
        for statement in dialect(connection).store_uncompressed(table.full_table_name, column):
            connection.query(statement)


def insert_defaults() -> None:
    """Insert the rows that every database has: its id, the regions of the atlas and the default embedding settings."""
    from pipeline.atlas import region_rows
    from pipeline.embedding import EmbeddingSettings

    DatabaseId.make_once()
    # the regions of the atlas never change, so they are not compared
    if len(BrainRegion()) == 0:
        BrainRegion.insert(region_rows())
    EmbeddingParams.add(EmbeddingSettings())

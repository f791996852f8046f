"""Create a database as version 1 of the tables did, with a few rows: a script, run by test_database.

The definitions are those of version 1, word for word, without the columns that came later; columns of the sessions were
narrower.
"""

from __future__ import annotations

import datajoint as dj
import numpy as np

from schemas import provenance, session, tracking
from schemas.decoding import tables as decoding
from schemas.imaging.tables import FOV, Recording
from schemas.session import Session
from schemas.setup import migrations, views
from support.before_responses import without_responses

PARAMS = """
    # settings of a neuron-dropping curve; see pipeline.decoding.NDCSettings
    ndc_params : char(32)               # hash of the rest
    ---
    target : varchar(16)                # choice, feedback, stimulus or block
    event : varchar(64)                 # ALF trials attribute
    win_start : float64                 # s after the event
    win_end : float64
    short_window : varchar(16)          # for windows without a frame: nearest, drop, next or interpolate
    scan_line_column : int8             # of stackPos: 0 row (the scan line), 1 as published
    class_balance : varchar(16)         # downsample, weights or none
    equalize_trials : bool              # as many trials in every session
    balance_seed : int64
    ks : json                           # numbers of cells
    r : int32                           # random subsets per k
    metric : varchar(16)                # auc or accuracy
    cv_splits : int32
    scaling : bool                      # standardise cells in the training fold
    c : float64                         # inverse strength of the L2 penalty
    ceiling_mode : varchar(8)           # maxk or all
    delta : float64                     # k* is within this of the ceiling
    null_mode : varchar(16)             # how labels are shuffled
    n_label_shuffles : int32
    seed : int64
    shuffle_seed : int64
    """
FEATURES = """
    # activity of the shared cells about an event of each usable trial
    -> NDCTask
    -> SharedCells
    -> SessionSet.Member
    ---
    n_usable : int32                    # trials
    trial_features : <blob>             # (n_usable, n_shared) float64, cells in the order of SharedCells
    feature_signal : varchar(64)        # what the activity is: deconvolved, fluorescence
    """
RESULT = """
    # neuron-dropping curve of the shared cells in a session
    -> TrialFeatures
    ---
    n_cells : int32
    n_compared : int32                  # sessions of the set that could be decoded and share trial counts
    n_decoded : int32                   # trials
    n_class_1 : int32                   # of those, of class 1
    ceiling : float64                   # mean score at the largest k, or of all cells
    k_star=null : int32                 # smallest k within delta of the ceiling
    -> Environment
    """
CURVE = """
    # one k
    -> master
    k : int32
    ---
    score_mean : float64
    score_sd : float64              # over random subsets
    score_low : float64             # percentiles 2.5 and 97.5 of the subsets
    score_high : float64
    null_mean=null : float64        # shuffled labels
    null_low=null : float64         # percentiles 2.5 and 97.5
    null_high=null : float64
    p_value=null : float64          # (1 + #(null >= mean)) / (1 + shuffles)
    scores : <blob>                 # (R,) float64, every subset
    null_scores : <blob>            # (S,) float64, every shuffle
    """
#: Rows of NDCParams as version 1 wrote them, with their keys: two sets of settings.
COMMON = {
    "short_window": "nearest", "scan_line_column": 0, "class_balance": "downsample", "balance_seed": 0,
    "metric": "auc", "cv_splits": 5, "scaling": True, "ceiling_mode": "maxk", "delta": 0.02, "null_mode": "permute",
    "n_label_shuffles": 100,
}  # fmt: skip
ROWS = [
    {
        "ndc_params": "d770a105c2ae40a25e6f15f699c4a9e5", **COMMON, "target": "choice",
        "event": "firstMovement_times", "win_start": -0.1, "win_end": 0.0, "equalize_trials": True,
        "ks": [8, 16, 32, 64, 128, 256, 512, 1024, 2048], "r": 50, "c": 1.0, "seed": 0, "shuffle_seed": 0,
    },
    {
        "ndc_params": "bc319f4070554b0d86d2df8e1d06024f", **COMMON, "target": "block", "event": "stimOn_times",
        "win_start": -0.4, "win_end": -0.1, "equalize_trials": False, "ks": [8, 16], "r": 3, "c": 0.5, "seed": 7,
        "shuffle_seed": 7,
    },
]  # fmt: skip
EIDS = ("00000000-0000-3000-8000-0000000000a1", "00000000-0000-3000-8000-0000000000a2")


#: Columns that later versions added to tables that are otherwise as they were.
LATER_COLUMNS = {
    Recording: ("bad_frames", "frame_qc", "frame_qc_names"), tracking.TrackingRun: ("uid_form",),
    provenance.Environment: ("cpu_name", "cpu_features", "blas_kernels"),
}  # fmt: skip


def queries() -> dict[str, dj.QueryExpression]:
    """Return the two views of version 1 that later ones change."""
    sessions = Session.proj("subject", "session_date", "session_number")
    result = (
        decoding.NDCResult.proj("n_cells", "n_decoded", "ceiling", "k_star")
        * sessions
        * decoding.NDCParams.proj(
            "target", "event", "win_start", "win_end", "metric", "delta", "r", "n_label_shuffles", "class_balance"
        )
    )
    return {"ndc_summary": result, "ndc_curve": result * decoding.NDCResult.Curve.proj(..., "-scores", "-null_scores")}


#: Types of columns before version 10, by the later ones.
NARROWER = {
    "lab='' : varchar(255)": "lab='' : varchar(64)",
    "session_number : int32": "session_number : int16",
    "varchar(1023)": "varchar(255)",
    "projects='' : varchar(4095)": "projects='' : varchar(255)",
    "task_collection : varchar(255)": "task_collection : varchar(64)",
    "dataset : varchar(511)": "dataset : varchar(255)",
    "revision='' : varchar(255)": "revision='' : varchar(64)",
}


def narrow_sessions() -> None:
    """Give the tables of sessions and their sources the columns that they had before version 10."""
    own = (session.Subject, session.Session, session.Behavior.Trial)
    for table in (*own, session.Behavior.Source, session.Wheel.Source, FOV.Source):
        for wide, narrow in NARROWER.items():
            table.definition = table.definition.replace(wide, narrow)


def make_tables() -> None:
    """Declare the tables of version 1."""
    without_responses()
    narrow_sessions()
    decoding.NDCParams.definition = PARAMS
    decoding.TrialFeatures.definition = FEATURES
    decoding.NDCResult.definition = RESULT
    decoding.NDCResult.Curve.definition = CURVE
    later = ("NDCFamily", "NDCComparison", "NDCCohort", "NDCPopulation")
    later += ("TransferTask", "TransferResult", "TransferMatrix")
    decoding.schema.declare_list = [one for one in decoding.schema.declare_list if one[0].__name__ not in later]
    for table, columns in LATER_COLUMNS.items():
        lines = table.definition.splitlines()
        table.definition = "\n".join(line for line in lines if not line.strip().startswith(columns))
    del session.Behavior.LeftOut
    session.schema.declare_list = [one for one in session.schema.declare_list if one[0].__name__ != "LeftOut"]
    views.queries = queries
    migrations.init(migrations=migrations.MIGRATIONS[:1])


def insert_rows() -> None:
    """Insert two sessions, their set, and a curve of each with the first settings."""
    when, run = "2024-01-01 00:00:00", {"subject": "OLD", "tracking_run": "0" * 32}
    session.Subject.insert1({"subject": "OLD"})
    for number, eid in enumerate(EIDS):
        row = {"session_date": f"2024-01-0{number + 1}", "session_number": 1, "ingested_at": when}
        session.Session.insert1({"eid": eid, "subject": "OLD", **row})
    tracking.TrackingRun.insert1({**run, "duplicates": "error", "registered_at": when})
    tracking.SessionSet.insert1({"session_set": "5" * 32, **run, "set_neurons_only": True})
    tracking.SessionSet.Member.insert({"session_set": "5" * 32, "eid": eid} for eid in EIDS)
    tracking.SharedCells.insert1({"session_set": "5" * 32, "n_shared": 16}, allow_direct_insert=True)
    provenance.Environment.insert1({"environment": "e" * 32, "python_version": "3.11", "packages": {}})
    decoding.NDCParams.insert(ROWS)
    task = {"session_set": "5" * 32, "ndc_params": ROWS[0]["ndc_params"]}
    decoding.NDCTask.insert1(task)
    for number, eid in enumerate(EIDS):
        key = {**task, "eid": eid}
        features = {"n_usable": 20, "trial_features": np.eye(20, 16), "feature_signal": "deconvolved"}
        decoding.TrialFeatures.insert1({**key, **features}, allow_direct_insert=True)
        row = {
            "n_cells": 16,
            "n_compared": 2,
            "n_decoded": 20,
            "n_class_1": 10,
            "ceiling": 0.9,
            "k_star": 8 * (2 - number),
        }
        decoding.NDCResult.insert1({**key, **row, "environment": "e" * 32}, allow_direct_insert=True)
        for k, p in ((8, 0.5), (16, 0.01 * (number + 1))):
            point = {"score_mean": 0.9, "score_sd": 0.1, "score_low": 0.7, "score_high": 1.0, "p_value": p}
            blobs = {"scores": np.full(50, 0.9), "null_scores": np.full(100, 0.5)}
            decoding.NDCResult.Curve.insert1({**key, "k": k, **point, **blobs}, allow_direct_insert=True)


if __name__ == "__main__":
    make_tables()
    insert_rows()

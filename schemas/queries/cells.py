"""Which tracked cells are in which sessions."""

from __future__ import annotations

from typing import Any, NamedTuple

import datajoint as dj
import numpy as np

from pipeline.errors import DataError
from schemas.imaging.tables import ROI
from schemas.queries.errors import errors_of
from schemas.queries.tracking_runs import notes_on_fovs
from schemas.session import Session
from schemas.storage import bulk
from schemas.tracking import SessionSet, SharedCells, TrackedFOV, TrackingFile


class Presence(NamedTuple):
    """Which cells of a tracking run were found in which sessions.

    Attributes
    ----------
    cells : (N,) str
        UIDs of the N cells, in lexicographic order.
    sessions : list of dict
        Rows of Session of the M sessions with UID files in the run, by date.
    found : (N, M) bool
        Whether the cell was found in the session.
    """

    cells: np.ndarray
    sessions: list[dict[str, Any]]
    found: np.ndarray


def tracked_rois(run: dict, *, neurons_only: bool = True) -> dj.QueryExpression:
    """Return a query for the tracked ROIs of a tracking run, only neurons or all; it runs no statement itself."""
    return TrackedFOV.Member & run & (ROI & "is_neuron" if neurons_only else ROI()).proj()


def tracked_sessions(run: dict) -> list[dict[str, Any]]:
    """Return the rows of Session of the sessions with UID files in a tracking run, by date; one statement."""
    return (Session & (TrackingFile & run).proj()).to_dicts(order_by="session_date, session_number")


def presence(run: dict, *, neurons_only: bool = True) -> Presence:
    """Return which cells of a tracking run were found in which sessions; two statements.

    Parameters
    ----------
    run : dict
        Key of a TrackingRun.
    neurons_only : bool
        A cell counts only in sessions where its ROI is a neuron.
    """
    sessions = tracked_sessions(run)
    column = {row["eid"]: number for number, row in enumerate(sessions)}
    rois = tracked_rois(run, neurons_only=neurons_only)
    uids, eids = bulk.columns(rois, "cell_uid", "eid", order_by=("cell_uid", "eid"))
    cells, row_of = np.unique(uids, return_inverse=True)
    found = np.zeros((len(cells), len(sessions)), dtype=bool)
    found[row_of, [column[eid] for eid in eids.tolist()]] = True
    return Presence(cells, sessions, found)


def n_shared_cells(session_set: dict) -> int:
    """Return the number of cells found in every session of a set; one statement, or a few for an error.

    Raises
    ------
    DataError
        There is no such cell, or SharedCells has no row for the set.
    """
    found = (SharedCells & session_set).to_arrays("n_shared")
    if not len(found):
        reasons = [row["message"] for row in errors_of([SharedCells], session_set)]
        raise DataError("the shared cells of the sessions could not be determined", do="; ".join(reasons) or None)
    if found[0] == 0:
        members = TrackedFOV & (SessionSet.FOV & session_set).proj()
        counts = dj.U("eid").aggr(members, cells="sum(n_tracked)").to_dicts(order_by="eid")
        raise DataError(
            "no cell is tracked in all sessions of the set", expected="1 or more", found="0",
            do="Tracked cells by session: " + ", ".join(f"{row['eid']} {row['cells']}" for row in counts)
            + ". Leave out sessions with few cells, or lower the quality criteria. "
            + " ".join(notes_on_fovs(session_set)),
        )  # fmt: skip
    return int(found[0])

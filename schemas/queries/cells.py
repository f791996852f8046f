"""Which tracked cells are in which sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import datajoint as dj
import numpy as np

from pipeline.errors import DataError, NotFoundError
from schemas.queries.errors import errors_of
from schemas.queries.tracking_runs import notes_on_fovs
from schemas.session import Session
from schemas.storage import bulk
from schemas.tracking import SessionSet, SharedCells, TrackedFOV, TrackingFile, qualified


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


def tracked_rois(
    run: dict, *, neurons_only: bool = True, min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
) -> dj.QueryExpression:  # fmt: skip
    """Return a query for the tracked ROIs of a tracking run that count by a rule; it runs no statement itself.

    Parameters
    ----------
    run : dict
        Key of a TrackingRun.
    neurons_only, min_cell_probability, min_silhouette
        See SessionSet.
    """
    return qualified(TrackedFOV.Member & run, neurons_only, min_cell_probability, min_silhouette)


def tracked_sessions(run: dict) -> list[dict[str, Any]]:
    """Return the rows of Session of the sessions with UID files in a tracking run, by date; one statement."""
    return (Session & (TrackingFile & run).proj()).to_dicts(order_by="session_date, session_number")


def presence(run: dict, *, eids: Sequence[str] | None = None, **rule: Any) -> Presence:
    """Return which cells of a tracking run were found in which sessions; two statements.

    Parameters
    ----------
    run : dict
        Key of a TrackingRun.
    eids : sequence of str, optional
        Only these sessions, and the cells found in them.
    **rule
        Where a cell counts in a session: see ``tracked_rois``.
    """
    sessions = [row for row in tracked_sessions(run) if eids is None or row["eid"] in set(eids)]
    column = {row["eid"]: number for number, row in enumerate(sessions)}
    rois = tracked_rois(run, **rule)
    if eids is not None:
        rois = rois & [{"eid": eid} for eid in column]
    uids, of_session = bulk.columns(rois, "cell_uid", "eid", order_by=("cell_uid", "eid"))
    cells, row_of = np.unique(uids, return_inverse=True)
    found = np.zeros((len(cells), len(sessions)), dtype=bool)
    found[row_of, [column[eid] for eid in of_session.tolist()]] = True
    return Presence(cells, sessions, found)


def n_shared_cells(session_set: dict) -> int:
    """Return the number of cells found in every session of a set; one statement, or a few for an error.

    Raises
    ------
    DataError
        There is no such cell, or those of the set could not be determined.
    NotFoundError
        There is no such set, or its cells have not been determined.
    """
    found = (SharedCells & session_set).to_arrays("n_shared")
    if not len(found):
        reasons = [row["message"] for row in errors_of([SharedCells], session_set)]
        # without a reason the set may be gone, with a session whose files are read again
        raise (DataError if reasons else NotFoundError)(
            "the shared cells of the sessions could not be determined", do="; ".join(reasons) or None
        )
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

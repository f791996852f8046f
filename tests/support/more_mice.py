"""Other mice: copies of the stored curves of a mouse under other keys, with other scores."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np

import schemas
from schemas.rows import content_key

#: Tables of a mouse with curves, parents first.
TABLES = (
    schemas.Subject, schemas.Session, schemas.TrackingRun, schemas.SessionSet, schemas.SessionSet.Member,
    schemas.NDCTask, schemas.SharedCells, schemas.TrialFeatures, schemas.NDCResult, schemas.NDCResult.Curve,
)  # fmt: skip


def another_mouse(name: str, session_set: dict, change: Callable[[np.ndarray, int], np.ndarray]) -> dict:
    """Copy the sessions of a set and their curves to another subject; return the key of its set.

    Parameters
    ----------
    name : str
        Subject of the copy.
    session_set : dict
    change : callable
        Returns the scores (K, R) of a curve from those of the mouse and the number of the day.
    """
    own = (schemas.SessionSet & session_set).fetch1()
    eids = (schemas.Session & (schemas.SessionSet.Member & session_set).proj()).to_arrays(
        "eid", order_by="session_date"
    )
    renamed = {eid: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {eid}")) for eid in eids}
    keys = {"session_set": content_key([name, session_set["session_set"]]), "subject": name}
    of_set = {"session_set": session_set["session_set"]}
    for table in TABLES:
        names = table.heading.names
        mine = {"subject": own["subject"], "tracking_run": own["tracking_run"], **of_set}
        rows = (table & {one: mine[one] for one in mine if one in names}).to_dicts()
        rows = [row for row in rows if row.get("eid", eids[0]) in renamed]
        if table is schemas.NDCResult.Curve:
            rows = _changed(rows, list(eids), change)
        new = [{**row, **{one: keys[one] for one in keys if one in row},
                **({"eid": renamed[row["eid"]]} if "eid" in row else {})} for row in rows]  # fmt: skip
        table.insert(new, allow_direct_insert=True, skip_duplicates=True)
    return {"session_set": keys["session_set"]}


def forget_mouse(name: str) -> None:
    """Delete a copied mouse with all that depends on it."""
    (schemas.Subject & {"subject": name}).delete(prompt=False)


def _changed(rows: list[dict], eids: list[str], change: Callable[[np.ndarray, int], np.ndarray]) -> list[dict]:
    """Return the rows of curves with changed scores."""
    found = []
    for params in {row["ndc_params"] for row in rows}:
        for day, eid in enumerate(eids):
            curve = sorted((row for row in rows if (row["ndc_params"], row["eid"]) == (params, eid)),
                           key=lambda row: row["k"])  # fmt: skip
            scores = change(np.array([row["scores"] for row in curve]), day) if curve else ()
            found += [{**row, "scores": one, "score_mean": float(one.mean())}
                      for row, one in zip(curve, scores, strict=True)]  # fmt: skip
    return found

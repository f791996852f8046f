"""The list of sessions that a lab keeps in a spreadsheet, from the database."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import datajoint as dj

from pipeline.errors import NotFoundError
from schemas import graph
from schemas.imaging.tables import FOV, BrainRegion
from schemas.rows import jobs_of
from schemas.server.connection import connect
from schemas.session import Behavior, FOVFolder, Session
from schemas.tracking import TrackedFOV, TrackingRun


def sessions(subject: str | None = None) -> list[dict[str, Any]]:
    """Return a row for each session, or those of a subject, by subject and date.

    Returns
    -------
    list of dict
        eid, subject, session_date, session_number; n_fovs read and n_folders that there are; n_rois, n_neurons;
        areas (name and number of neurons, the largest first); regions (acronyms); n_trials, performance; n_tracked ROIs
        of the subject's last tracking run; n_errors. None where nothing is known yet.

    Raises
    ------
    NotFoundError
        There is no such subject.
    """
    restriction = {"subject": subject} if subject is not None else {}
    rows = (Session & restriction).proj("subject", "session_date", "session_number", "task_protocol").to_dicts(
        order_by="subject, session_date, session_number"
    )  # fmt: skip
    if subject is not None and not rows:
        raise NotFoundError(
            f"no session of {subject} is registered", do=f"Register them with: meso ingest --subject {subject}"
        )
    by_eid = dj.U("eid")
    own = Session.proj() & restriction
    found = {
        "folders": by_eid.aggr(FOVFolder & own, n_folders="count(*)"),
        "fovs": by_eid.aggr(FOV & own, n_fovs="count(*)", all_rois="sum(n_rois)", all_neurons="sum(n_neurons)"),
        "behavior": (Behavior & own).proj("n_trials", "performance"),
        "tracked": by_eid.aggr(TrackedFOV & own & last_runs(), all_tracked="sum(n_tracked)"),
    }
    columns = {name: {row["eid"]: row for row in query.to_dicts()} for name, query in found.items()}
    areas, failures = _areas(own), _failures()
    return [
        {
            **row,
            "n_folders": columns["folders"].get(row["eid"], {}).get("n_folders", 0),
            "n_fovs": columns["fovs"].get(row["eid"], {}).get("n_fovs", 0),
            "n_rois": _int(columns["fovs"].get(row["eid"], {}).get("all_rois")),
            "n_neurons": _int(columns["fovs"].get(row["eid"], {}).get("all_neurons")),
            "areas": areas.get(row["eid"], ([], []))[0],
            "regions": areas.get(row["eid"], ([], []))[1],
            "n_trials": columns["behavior"].get(row["eid"], {}).get("n_trials"),
            "performance": columns["behavior"].get(row["eid"], {}).get("performance"),
            "n_tracked": _int(columns["tracked"].get(row["eid"], {}).get("all_tracked")),
            "n_errors": failures[row["eid"]],
        }
        for row in rows
    ]


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def last_runs() -> list[dict]:
    """Return the key of the tracking run that each subject registered last."""
    runs = TrackingRun.to_dicts(order_by="registered_at")
    return list({row["subject"]: {name: row[name] for name in TrackingRun.primary_key} for row in runs}.values())


def _areas(own: dj.QueryExpression) -> dict[str, tuple[list[tuple[str, int]], list[str]]]:
    """Return the areas (Beryl parcellation) of each session with their neurons, the largest first; and its regions."""
    inside = (FOV.Region & own) * BrainRegion.proj("beryl", "acronym")
    areas: dict[str, Counter] = defaultdict(Counter)
    acronyms: dict[str, set[str]] = defaultdict(set)
    for row in dj.U("eid", "beryl", "acronym").aggr(inside, n="sum(n_region_neurons)").to_dicts():
        areas[row["eid"]][row["beryl"]] += int(row["n"])
        acronyms[row["eid"]].add(row["acronym"])
    return {eid: (counts.most_common(), sorted(acronyms[eid])) for eid, counts in areas.items()}


def _failures() -> Counter:
    """Return the number of errors of each session."""
    selects = (
        f"SELECT eid, COUNT(*) FROM {jobs_of(table).full_table_name} WHERE status = 'error' GROUP BY eid"
        for table in of_sessions()
    )
    failures: Counter = Counter()
    for eid, n in connect().query(" UNION ALL ".join(selects)).fetchall():
        failures[eid.strip()] += n
    return failures


def of_sessions() -> list[type[dj.Table]]:
    """Return the tables that are made of sessions."""
    return [table for table in graph.tables() if graph.kind_of(table) != "registered" and "eid" in table.primary_key]

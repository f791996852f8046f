"""What the pages show, read from the database as plain values. Nothing is written, and nothing slow is computed."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import datajoint as dj
import numpy as np
from matplotlib.colors import to_hex

from page import pipeline_graph
from pipeline.atlas import BRAIN
from pipeline.errors import NotFoundError
from pipeline.figures.behavior import BLOCKS
from pipeline.figures.style import LINE_COLORS, UNKNOWN_COLOR, UNKNOWN_REGIONS, distinct_region_colors, natural_key
from pipeline.figures.tracking import presence_order
from pipeline.signals.clock import is_in_pause, pauses
from pipeline.signals.flags import blanked
from schemas import graph
from schemas.decoding.naming import names_of
from schemas.decoding.tables import NDCFamily, NDCParams, NDCResult, NDCTask, settings_of
from schemas.embedding import Embedding, EmbeddingParams, RasterTiles
from schemas.imaging.activity import activity
from schemas.imaging.tables import FOV, ROI, Activity, AtlasOutline, BrainRegion
from schemas.queries.cells import presence, tracked_rois, tracked_sessions
from schemas.queries.errors import tables_by_session
from schemas.queries.ids import known_as
from schemas.queries.sessions import TrialEvents, sessions, trial_events
from schemas.queries.tracking_runs import latest_tracking_runs, tracking_run, tracking_runs
from schemas.server.connection import connect
from schemas.session import Behavior, Session, Wheel, unchanged, wheel_velocity
from schemas.storage import bulk
from schemas.tracking import SessionSet, TrackedFOV, TrackingRun
from schemas.upkeep.mixtures import notes_of
from schemas.work import reports

#: Number of errors on the first page.
MAX_NEWEST_ERRORS = 20
#: Most cells that the page of tracked cells lists; its CSV has all.
MAX_LISTED_CELLS = 200
#: Columns that sort the sessions of a subject in time.
DATE = ("session_date", "session_number")
#: Luminance of colours whose contrast is 3 or more against the page's papers, #ffffff and #14181c (WCAG 2).
ON_SCREEN = (0.128, 0.3)
#: Areas of a session that the list of sessions names; further ones are only counted.
MAX_NAMED_AREAS = 6


def home() -> dict[str, Any]:
    """Return the picture of the tables with the progress of each, active workers and the newest errors."""
    states = {row["table"]: row for row in reports.status()}
    # tables that are populated have their numbers of jobs; the others are counted
    counts = _row_counts([table for table in graph.tables() if table.__name__ not in states])
    failing = [table for table in graph.tables() if states.get(table.__name__, {}).get("errors")]
    picture = pipeline_graph.layout()
    nothing = {"to_do": 0, "running": 0, "errors": 0}
    nodes = [
        {
            **node, "is_made": node["name"] in states,
            **states.get(node["name"], nothing | {"done": counts.get(node["name"])}),
        }
        for node in picture["nodes"]
    ]  # fmt: skip
    return {
        "picture": {**picture, "nodes": nodes},
        "workers": _of_sessions(reports.workers()),
        "errors": _of_sessions(reports.errors(failing, stack=True, newest=MAX_NEWEST_ERRORS)) if failing else [],
        "n_errors": sum(state["errors"] for state in states.values()),
        "n_sessions": counts["Session"], "n_subjects": counts["Subject"],
    }  # fmt: skip


def _of_sessions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with a key, each with ``session``: subject, date and number of the session in its key, or ""."""
    eids = {row["key"]["eid"] for row in rows if "eid" in (row["key"] or {})}
    known = (Session & [{"eid": eid} for eid in eids]).to_dicts() if eids else []
    names = {row["eid"]: f"{row['subject']} {row['session_date']} {row['session_number']:03d}" for row in known}
    return [{**row, "session": names.get((row["key"] or {}).get("eid"), "")} for row in rows]


def _row_counts(tables: Sequence[type[dj.Table]]) -> dict[str, int]:
    """Return the number of rows of each table, in one query."""
    selects = (f"SELECT '{table.__name__}', COUNT(*) FROM {table.full_table_name}" for table in tables)
    return dict(connect().query(" UNION ALL ".join(selects)).fetchall())


def session(eid: str) -> dict[str, Any]:
    """Return a session: its row of ``sessions``, FOVs, embeddings with a raster, errors, notes on files, neighbours.

    Raises
    ------
    NotFoundError
        The session is not registered.
    """
    info = (Session & {"eid": eid}).to_dicts()
    if not info:
        raise NotFoundError("the session is not registered", eid=eid, do="Register it with: meso ingest")
    (row,) = sessions(info[0]["subject"], eid=eid)
    embeddings = (Embedding & RasterTiles.proj()) * EmbeddingParams.with_kind() & {"eid": eid}
    return {
        **info[0], **row,
        "fovs": (FOV & {"eid": eid}).to_dicts(order_by="fov"),
        "embeddings": [{**found, "title": _embedding_title(found)}
                       for found in embeddings.to_dicts(order_by="embedding_params")],
        "errors": _of_sessions(reports.errors(tables_by_session(), {"eid": eid}, stack=True)),
        "notes": [one.text for one in notes_of([eid])],
        "neighbours": _neighbours(eid, info[0]["subject"]),
    }  # fmt: skip


def _embedding_title(row: dict[str, Any]) -> str:
    fovs = f", FOVs {', '.join(map(str, row['fovs']))}" if row["fovs"] else ""
    cells = "neurons" if row["neurons_only"] else "ROIs"
    signal = f", {row['signal_kind']}" if row["signal_kind"] else ""
    return f"{row['n_embedded']} {cells}{fovs}{signal}: {row['n_clusters']} clusters, locality {row['locality']:g}"


def _neighbours(eid: str, subject: str) -> dict[str, str | None]:
    """Return the ids of the subject's sessions before and after this one, None where there is none."""
    eids = (Session & {"subject": subject}).to_arrays("eid", order_by="session_date, session_number").tolist()
    place = eids.index(eid)
    return {
        "before": eids[place - 1] if place else None,
        "after": eids[place + 1] if place + 1 < len(eids) else None,
    }


def raster_key(eid: str, embedding_params: str | None = None) -> tuple[dict, dict[str, Any]]:
    """Return the key of a raster and its row of Embedding; by default of the neurons of all FOVs.

    Raises
    ------
    NotFoundError
        The session has no such raster.
    """
    restriction = {"eid": eid} | ({"embedding_params": embedding_params} if embedding_params else {})
    embeddings = (Embedding & RasterTiles.proj()) * EmbeddingParams.with_kind() & restriction
    rows = embeddings.to_dicts(order_by="embedding_params")
    if not rows:
        which = f"no raster of the embedding {embedding_params}" if embedding_params else "no raster yet"
        raise NotFoundError(f"the session has {which}", eid=eid, do=f"Compute it with: meso populate --eid {eid}")
    # first those of all FOVs, of these those of the signal that was read, and of these those of neurons only
    rows.sort(key=lambda row: (row["fovs"] != [], row["signal_kind"] is not None, not row["neurons_only"]))
    return {name: rows[0][name] for name in ("eid", "embedding_params")}, rows[0]


def cells(key: dict) -> dict[str, Any]:
    """Return the cells of a raster in Rastermap order, as columns of N values, and their regions.

    Returns
    -------
    dict
        fov, roi; ml, ap, dv (um, None where unknown); region (index into ``regions``); probability; days: number of
        sessions in which the cell was found, 0 if it is not tracked; regions: list of dict with acronym, name, area,
        and the colours allen, distinct, of_area; fovs: color and depth (mean DV, um, None if unknown) of each FOV.
    """
    names = ("fov", "roi", "region_id", "ml", "ap", "dv", "cell_probability")
    fov, roi, region_id, ml, ap, dv, probability = _in_order(key, *names)
    regions, number_of = _regions(key["eid"], region_id)
    days = _days_found(key["eid"])
    return {
        "fov": fov.tolist(), "roi": roi.tolist(),
        **{name: _rounded(column, 1) for name, column in (("ml", ml), ("ap", ap), ("dv", dv))},
        "region": [number_of[number] for number in region_id.tolist()],
        "probability": _rounded(probability, 3),
        "days": [days.get(place, 0) for place in zip(fov.tolist(), roi.tolist(), strict=True)],
        "regions": regions, "fovs": _fovs(key["eid"], fov, dv.astype(float)),
    }  # fmt: skip


def _fovs(eid: str, fov: np.ndarray, dv: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return colour and mean depth of each FOV of a session; planes at one place differ in both."""
    names = (FOV & {"eid": eid}).to_arrays("fov", order_by="fov").tolist()
    colors = distinct_region_colors(map(str, names), luminance=ON_SCREEN)
    depth = {one: dv[(fov == one) & np.isfinite(dv)] for one in names}
    return {
        str(one): {"color": colors[str(one)], "depth": round(float(depth[one].mean())) if len(depth[one]) else None}
        for one in names
    }


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return _plain(np.round(values.astype(float), digits))  # None becomes NaN, and then None again


def _in_order(key: dict, *names: str) -> list[np.ndarray]:
    """Return columns of ROI for the cells of a raster, (N,) each, in Rastermap order."""
    rois = (ROI & {"eid": key["eid"]}).proj(*(name for name in names if name not in ROI.primary_key))
    return bulk.columns(rois * (Embedding.Rank & key), *names, order_by=("embedding_rank",))


def _regions(eid: str, region_ids: np.ndarray) -> tuple[list[dict[str, str]], dict[int | None, int]]:
    """Return the regions of some ROIs with their colours, and the index of each region id in that list.

    A region has the same colour in all sessions of a subject: colours are chosen for the regions of all of them.
    """
    known = [{"region_id": int(region)} for region in set(region_ids.tolist()) - {None}]
    rows = (BrainRegion & known).to_dicts() if known else []
    by_acronym: dict[str, dict[str, str]] = {}
    for row in rows:  # the two hemispheres have different ids and the same acronym
        by_acronym[row["acronym"]] = {"name": row["region_name"], "area": row["beryl"], "allen": row["rgb"]}
    if None in region_ids.tolist():
        by_acronym.setdefault("unknown", {"name": "no region", "area": "unknown", "allen": UNKNOWN_COLOR})
    order = sorted(by_acronym, key=lambda name: (name in UNKNOWN_REGIONS, natural_key(name)))
    names, areas = (BrainRegion & (FOV.Region & _same_subject(eid))).to_arrays("acronym", "beryl")
    distinct = distinct_region_colors([*order, *names], luminance=ON_SCREEN)
    of_area = distinct_region_colors([*(region["area"] for region in by_acronym.values()), *areas], luminance=ON_SCREEN)
    numbers: dict[int | None, int] = {row["region_id"]: order.index(row["acronym"]) for row in rows}
    numbers[None] = order.index("unknown") if "unknown" in order else -1
    regions = [
        {
            "acronym": name, **by_acronym[name],
            "distinct": distinct[name], "of_area": of_area[by_acronym[name]["area"]],
            **({"allen": UNKNOWN_COLOR} if name in UNKNOWN_REGIONS else {}),
        }
        for name in order
    ]  # fmt: skip
    return regions, numbers


def _same_subject(eid: str) -> dj.QueryExpression:
    """Return the keys of all sessions of this session's subject, as a query."""
    return (Session & {"subject": (Session & {"eid": eid}).fetch1("subject")}).proj()


def _days_found(eid: str) -> dict[tuple[int, int], int]:
    """Return the number of sessions in which each tracked cell was found, by FOV and ROI of this session."""
    members = TrackedFOV.Member & latest_tracking_runs((Session & {"eid": eid}).fetch1("subject"))
    uids, n_days = bulk.columns(dj.U("cell_uid").aggr(members, n="count(*)"), "cell_uid", "n", order_by=("cell_uid",))
    days = dict(zip(uids.tolist(), n_days.tolist(), strict=True))
    own = bulk.columns(members & {"eid": eid}, "fov", "roi", "cell_uid", order_by=("fov", "roi"))
    return {(fov, roi): days[uid] for fov, roi, uid in zip(*(column.tolist() for column in own), strict=True)}


def outlines_version() -> str:
    """Return text that changes when the outlines of the atlas are computed again, "" if there are none."""
    (newest,) = dj.U().aggr(AtlasOutline, newest="max(outlined_at)").to_arrays("newest")
    return f"{newest:%Y%m%d%H%M%S%f}" if newest else ""


def outlines() -> list[dict[str, Any]]:
    """Return the outlines of the brain and of its regions, as seen from above.

    Returns
    -------
    list of dict
        acronym, name; side: left, right, or "" for the brain; polygons: corners (ML, AP), um from bregma; place: of its
        name, with room: its distance from the border, um.
    """
    side = {-1: "left", 1: "right"}
    return [
        {
            "acronym": row["acronym"], "name": row["region_name"].removesuffix(" (left)"),
            "side": "" if row["region_id"] == BRAIN else side[np.sign(row["region_id"])],
            "polygons": row["polygons"], "place": [row["name_ml"], row["name_ap"]], "room": row["name_room"],
        }
        for row in (AtlasOutline * BrainRegion).to_dicts(order_by="region_id")
    ]  # fmt: skip


def positions(key: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return ML and AP of the cells of a raster in Rastermap order, (N,) um, NaN where unknown."""
    ml, ap = _in_order(key, "ml", "ap")
    return ml.astype(float), ap.astype(float)  # None becomes NaN


def rows_in_region(key: dict, name: str) -> np.ndarray:
    """Return the rows of a raster, (n,) int64, whose cells are in a region or an area (Beryl parcellation)."""
    (region_ids,) = _in_order(key, "region_id")
    inside = (BrainRegion & [{"acronym": name}, {"beryl": name}]).to_arrays("region_id")
    return np.flatnonzero(
        np.isin(region_ids.astype(float), inside.astype(float))
    )  # None becomes NaN, which is in no region


def rows_in_fov(key: dict, fov: float) -> np.ndarray:
    """Return the rows of a raster, (n,) int64, whose cells are in a FOV."""
    (fovs,) = _in_order(key, "fov")
    return np.flatnonzero(fovs == fov)


def timeline(key: dict) -> dict[str, Any]:
    """Return wheel, trial events and blocks during a raster, on the frames of its clock.

    Returns
    -------
    dict
        clock: start of each frame, s; wheel: velocity in each frame, rad/s, or None without a wheel; events: list of
        dict with name, color and frames (fractional); blocks: list of dict with name, color, and first and last frame
        as from and to.

    Raises
    ------
    DataError
        Files of the session were read again meanwhile.
    """
    with unchanged(key["eid"], FOV, Behavior, Wheel):
        clock = np.asarray((RasterTiles & key).fetch1("tile_clock"))
        shown, wheel = trial_events(key["eid"]), _wheel(key["eid"], clock)
    return {
        "clock": np.round(clock, 3).tolist(),
        "wheel": wheel,
        "events": [
            {"name": name, "color": color, "frames": np.round(_frames(times, clock), 2).tolist()}
            for name, color, times in _colored(shown)
        ],
        "blocks": _blocks(shown.starts, shown.probability_left, clock),
    }


def _colored(shown: TrialEvents) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield name, colour and times (n,), s, of each kind of trial event."""
    for (name, times), color in zip(shown.events.items(), LINE_COLORS, strict=False):
        yield name, color, times


def _frames(times: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Return the fractional frames of the times that are within a clock, and not in a pause of it."""
    inside = times[(times >= clock[0]) & (times <= clock[-1])]  # NaN, an event that did not happen, is dropped
    inside = inside[~is_in_pause(inside, clock)]  # it would be put on a frame
    return np.interp(inside, clock, np.arange(len(clock)))


def _blocks(starts: np.ndarray, probability_left: np.ndarray, clock: np.ndarray) -> list[dict[str, Any]]:
    """Return the blocks: consecutive trials with the same probability of a left stimulus.

    A block lasts until the start of the next one, the last block until the end of the recording.
    """
    known = np.isfinite(starts) & np.isfinite(probability_left) & (starts <= clock[-1])
    starts, values = np.interp(starts[known], clock, np.arange(len(clock))), probability_left[known]
    if not len(values):
        return []
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    ends = [*starts[first][1:], len(clock)]
    return [
        {
            "name": f"P(left) {values[i]:g}",
            "color": to_hex(BLOCKS(values[i])),
            "from": float(starts[i]),
            "to": float(end),
        }
        for i, end in zip(first, ends, strict=True)
    ]


def _plain(values: np.ndarray) -> list[float | None]:
    """Return values with None for NaN, which JSON does not have."""
    return [None if value != value else value for value in values.tolist()]


def _to_digits(values: np.ndarray, n: int) -> np.ndarray:
    """Return values (N,) rounded to n significant digits, which JSON writes as short as that.

    Examples
    --------
    >>> _to_digits(np.array([0.0123456, -1234567.0, 0.0, np.nan]), 4).tolist()
    [0.01235, -1235000.0, 0.0, nan]
    """
    with np.errstate(divide="ignore"):
        size = np.log10(np.abs(values))
    places = n - 1 - np.floor(np.where(np.isfinite(size), size, 0))
    # only powers of ten from 1 up are exact
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    rounded: np.ndarray = np.round(values * up / down) / up * down
    return rounded


def _wheel(eid: str, clock: np.ndarray) -> list[float] | None:
    """Return for each frame the wheel velocity with the largest absolute value, rad/s; 0 outside of the recording."""
    found = wheel_velocity(eid)
    if found is None or not len(found[0]):
        return None
    times, velocity = found
    velocity = np.where(is_in_pause(times, clock), 0, velocity)  # the frame before a pause would have its velocity
    # index of the first wheel sample of each frame; reduceat goes from each start to the next
    # clipped: reduceat refuses an index past the end; such frames become 0 below
    starts = np.clip(np.searchsorted(times, clock), 0, len(times) - 1)
    high, low = np.maximum.reduceat(velocity, starts), np.minimum.reduceat(velocity, starts)
    fastest = np.where(high > -low, high, low)
    inside = (clock >= times[0]) & (clock <= times[-1])
    return np.round(np.where(inside, fastest, 0), 2).tolist()


def cell(eid: str, fov: int, roi: int) -> dict[str, Any]:
    """Return a ROI, its session, its region, and the ROIs of the same cell on all days.

    Raises
    ------
    NotFoundError
        There is no such ROI.
    """
    key = {"eid": eid, "fov": fov, "roi": roi}
    rows = (ROI & key).to_dicts()
    if not rows:
        fovs = (FOV & {"eid": eid}).to_dicts(order_by="fov")
        there = ", ".join(f"{row['n_rois']} in FOV {row['fov']}" for row in fovs) or "none"
        raise NotFoundError(f"there is no ROI {roi}", eid=eid, fov=fov, expected=f"a number from 0; there are {there}")
    info = (Session & {"eid": eid}).fetch1()
    region = (BrainRegion & {"region_id": rows[0]["region_id"]}).to_dicts() if rows[0]["region_id"] is not None else []
    found = TrackedFOV.Member & latest_tracking_runs(info["subject"])
    uid = (found & key).to_arrays("cell_uid")
    days: list[dict[str, Any]] = []
    if len(uid):
        members = found.proj("silhouette", "cell_uid") * FOV.proj("signal")
        days = (members * Session.proj("session_date", "session_number")
                & {"cell_uid": uid[0]}).to_dicts(order_by="session_date, session_number")  # fmt: skip
    ranks = (Embedding.Rank & key).to_dicts()
    return {
        **rows[0], "session": info, "signal": (FOV & key).fetch1("signal"), "region": region[0] if region else None,
        "cell_uid": uid[0] if len(uid) else None, "days": days, "ranks": ranks,
        "has_activity": bool(Activity.Trace & key), "has_trials": bool(Behavior.Trial & {"eid": eid}),
    }  # fmt: skip


def trace(eid: str, fov: int, roi: int) -> dict[str, list]:
    """Return the activity of a ROI at its own times, s, and the trial events as dicts of name, color and times, s.

    Raises
    ------
    NotFoundError
        The activity of the ROI is not in the database.
    DataError
        Files of the session were read again meanwhile.
    """
    with unchanged(eid, FOV, Behavior):
        found, shown = activity(ROI & {"eid": eid, "fov": fov, "roi": roi}), trial_events(eid)
    times, values = found.times[0], blanked(found.traces, found.times.flagged.get(fov))[0]
    # a value that is not there, in each pause, so that no line is drawn over it
    starts = pauses(times)[:, 0]
    places = np.searchsorted(times, starts)
    values = np.insert(values.astype(float), places, np.nan)
    return {
        "times": np.round(np.insert(times, places, starts), 3).tolist(),
        # four digits: more than a screen shows
        "values": _plain(_to_digits(values, 4)),
        "events": [
            {"name": name, "color": color, "times": np.round(at[(at >= times[0]) & (at <= times[-1])], 3).tolist()}
            for name, color, at in _colored(shown)
        ],
    }  # fmt: skip


def tracking(subject: str, named: str | None = None) -> dict[str, Any]:
    """Return in which sessions the tracked cells of a subject were found.

    Parameters
    ----------
    subject : str
    named : str, optional
        Start of the hash of a tracking run; by default the latest.

    Returns
    -------
    dict
        runs; run; sessions by date; patterns: for each combination of sessions in which cells were found, the indices
        of these sessions and the number of cells; combinations of most sessions first.

    Raises
    ------
    NotFoundError
        The subject has no such run.
    """
    key = tracking_run(subject, named)
    runs = tracking_runs(subject)
    (run,) = [row for row in runs if row["tracking_run"] == key["tracking_run"]]
    _, rows, found = presence(key)
    return {"subject": subject, "runs": runs, "run": run, "sessions": rows, "patterns": _patterns(found)}


def shared_cells(subject: str, named: str | None, eids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the ROI of each cell in each of the sessions, for cells that are neurons in all of them.

    Returns
    -------
    list of dict
        cell_uid, eid, session_date, session_number, fov, roi, silhouette; by cell, then by date.

    Raises
    ------
    NotFoundError
        The subject has no such run, or the run does not have all of the sessions.
    """
    run, eids = tracking_run(subject, named), [known_as(eid) for eid in eids]
    sessions = {row["eid"]: row for row in tracked_sessions(run) if row["eid"] in eids}
    if not eids or len(sessions) < len(set(eids)):
        raise NotFoundError(f"tracking run {run['tracking_run'][:8]} of {subject} has not all of these sessions",
                        found=", ".join(sorted(set(eids) - set(sessions))) or "none named",
                        do="Choose from those on its page")  # fmt: skip
    members = tracked_rois(run) & [{"eid": eid} for eid in sessions]
    names = ("cell_uid", "eid", "fov", "roi", "silhouette")
    columns = bulk.columns(members, *names, order_by=("cell_uid", "eid"))
    # a UID occurs once in a session, so its number of ROIs is its number of sessions
    n_found = Counter(columns[0].tolist())
    rows = [
        {**dict(zip(names, row, strict=True)), **{name: sessions[row[1]][name] for name in DATE}}
        for row in zip(*(column.tolist() for column in columns), strict=True) if n_found[row[0]] == len(sessions)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["cell_uid"], *(row[name] for name in DATE)))


def cells_by_session(subject: str, named: str | None, eids: Sequence[str]) -> dict[str, Any]:
    """Return the first ``MAX_LISTED_CELLS`` of ``shared_cells``, a row for each cell.

    Returns
    -------
    dict
        n: number of cells; cells: list of dict with uid, and rois: [eid, fov, roi] in each session, by date.
    """
    of_cell: dict[str, list[list[Any]]] = defaultdict(list)
    for row in shared_cells(subject, named, eids):
        of_cell[row["cell_uid"]].append([row["eid"], row["fov"], row["roi"]])
    listed = list(of_cell.items())[:MAX_LISTED_CELLS]
    return {"n": len(of_cell), "cells": [{"uid": uid, "rois": rois} for uid, rois in listed]}


def _patterns(found: np.ndarray) -> list[dict[str, Any]]:
    """Return the distinct rows of a presence matrix (cells, sessions), and the number of cells with each."""
    if not found.any():
        return []
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    order = presence_order(kinds)
    return [{"sessions": np.flatnonzero(kinds[i]).tolist(), "n": int(counts[i])} for i in order]


def ndc_choices(subject: str) -> list[dict[str, Any]]:
    """Return the sets of sessions of a subject that have curves, the largest and latest first, with their settings.

    Returns
    -------
    list of dict
        session_set, tracking_run, eids, dates, n_sessions; settings: list of dict with ndc_params, target, title;
        together: the ndc_params of one family of tests (FDR-adjusted together), which the page shows first.
    """
    tasks = NDCTask & (SessionSet & {"subject": subject}).proj() & NDCResult.proj()
    sets = (SessionSet & tasks.proj()).to_dicts()
    of_set = _by_set(SessionSet.Member.proj() * Session & tasks.proj(), "session_date, session_number")
    params = _by_set(tasks.proj() * NDCParams, "target, ndc_params")
    families = _by_set(NDCFamily.Member & tasks.proj(), "ndc_family")
    found = [
        {
            **row, "members": (members := of_set[row["session_set"]]), "n_sessions": len(members),
            "eids": [member["eid"] for member in members], "dates": [member["session_date"] for member in members],
            "settings": _titled(rows := params[row["session_set"]]),
            "together": _together(rows, families[row["session_set"]]),
        }
        for row in sets
    ]  # fmt: skip
    return sorted(found, key=lambda row: (row["n_sessions"], row["dates"][-1] if row["dates"] else datetime.date.min),
                  reverse=True)  # fmt: skip


def _by_set(query: dj.QueryExpression, order: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a query, grouped by session set."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in query.to_dicts(order_by=order):
        rows[row["session_set"]].append(row)
    return rows


def _titled(params: list[dict]) -> list[dict[str, str]]:
    """Return key, target and title of settings; a title names only what differs among them."""
    titles = names_of([settings_of(row) for row in params])
    return [
        {"ndc_params": row["ndc_params"], "target": row["target"], "title": title}
        for row, title in zip(params, titles, strict=True)
    ]


def _together(settings: list[dict], members: list[dict]) -> list[str]:
    """Return the settings of the family to show first: of all cells rather than of regions, then the largest."""
    known = [row["ndc_params"] for row in settings]
    of_all = {row["ndc_params"] for row in settings if not row["regions"] and not row["fovs"]}
    families: dict[str, set[str]] = defaultdict(set)
    for row in members:
        families[row["ndc_family"]].add(row["ndc_params"])
    # a family with settings that have no curve here cannot be shown as a whole
    there = [family for family in families.values() if family <= set(known)] or [set(known)]
    first = max(there, key=lambda family: (family <= of_all, len(family)))
    return [params for params in known if params in first]


def subjects() -> list[dict[str, Any]]:
    """Return every subject with its numbers of sessions, of tracking runs, and of session sets with curves."""
    by = dj.U("subject")
    n_sessions = {row["subject"]: row["n"] for row in by.aggr(Session, n="count(*)").to_dicts()}
    n_runs = {row["subject"]: row["n"] for row in by.aggr(TrackingRun, n="count(*)").to_dicts()}
    curves = SessionSet.proj("subject") & NDCResult.proj()
    n_sets = {row["subject"]: row["n"] for row in by.aggr(curves, n="count(*)").to_dicts()}
    return [
        {"subject": name, "n_sessions": n, "n_runs": n_runs.get(name, 0), "n_sets": n_sets.get(name, 0)}
        for name, n in sorted(n_sessions.items())
    ]

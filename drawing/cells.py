"""Figures of cells from rows of the database: maps, tracking, averages around events. The database is only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import datajoint as dj
import numpy as np

from pipeline import figures
from pipeline.errors import NotFoundError
from pipeline.figures.peri_event import peak_order
from pipeline.figures.style import natural_key, pooled_regions
from pipeline.signals.peri_event import EVENT_NAMES, WINDOWS, bin_edges, event_times
from pipeline.signals.peri_event import peri_event as average
from schemas.embedding import Embedding, embedding_of
from schemas.imaging.activity import CellActivity, activity
from schemas.imaging.tables import ROI, Activity, AtlasOutline, BrainRegion
from schemas.provenance import environment_row
from schemas.queries.cells import presence
from schemas.queries.tracking_runs import tracking_run
from schemas.rows import content_key
from schemas.session import Session, trials_of, unchanged
from schemas.storage import bulk

#: Numbers of a ROI that a map can show, with the labels of their colour bars.
NUMBERS = {"cell_probability": "cell probability", "dv": "DV (µm)", "time_offset": "time in the frame (s)"}
#: Most panels of a figure of averages; the smallest regions are pooled into one.
MAX_PANELS = 12
#: Acronym of cells without a region.
UNKNOWN = "unknown"


def cell_map(eid: str, color: str, space: bool, neurons_only: bool, output: Path, suffix: str) -> Path:
    """Draw and save the map of a session's cells.

    Parameters
    ----------
    eid : str
    color : {'region', 'allen', 'rank', or a key of `NUMBERS`}
    space : bool
        Draw in three dimensions.
    neurons_only : bool
        Neurons only, or all ROIs.
    output : Path
        Folder for the file.
    suffix : {'png', 'svg', 'pdf'}

    Returns
    -------
    Path
        The file.

    Raises
    ------
    NotFoundError
        The session has no such ROIs, or ``color`` is 'rank' and it has no embedding.
    """
    rois = _rois(eid, neurons_only)
    names = ("fov", "roi", "region_id", "ml", "ap", "dv", *({color} & {"cell_probability", "time_offset"}))
    cells = dict(zip(names, bulk.columns(rois, *names, order_by=("fov", "roi")), strict=True))
    provenance = {"eid": eid, "color": color, "neurons_only": neurons_only, **_code()}
    coloring: dict = {}
    if color in ("region", "allen"):
        coloring["regions"], allen = _regions(cells["region_id"], "acronym")
        coloring |= {"region_colors": allen} if color == "allen" else {}
    elif color == "rank":
        provenance |= embedding_of(eid)
        ranks = (Embedding.Rank & {name: provenance[name] for name in ("eid", "embedding_params")}).to_dicts()
        rank = {(row["fov"], row["roi"]): row["embedding_rank"] for row in ranks}
        found = [rank.get(place) for place in zip(cells["fov"].tolist(), cells["roi"].tolist(), strict=True)]
        coloring = {"values": _floats(found), "label": "Rastermap rank", "limits": (0, max(len(ranks) - 1, 1))}
    else:
        coloring = {"values": _floats(cells[color]), "label": NUMBERS[color]}
    xyz = np.column_stack([_floats(cells[axis]) for axis in ("ml", "ap", "dv")])
    if space:
        figure = figures.cell_map_3d(xyz, title=session_title(eid), **coloring)
    else:
        outlines = [np.array(corners) for row in AtlasOutline.to_dicts() for corners in row["polygons"]]
        figure = figures.cell_map(xyz, fovs=cells["fov"], outlines=outlines, title=session_title(eid), **coloring)
    kind = "map_3d" if space else "map"
    return figures.save(figure, output / f"{session_stem(kind, eid, color)}.{suffix}", provenance)


def tracking(
    subject: str, named: str | None, neurons_only: bool, output: Path, suffix: str, eids: Sequence[str] | None = None
) -> Iterator[Path]:  # fmt: skip
    """Draw presence, shared cells and survival of a subject's tracked cells; save the figures and yield the files.

    Parameters
    ----------
    subject : str
    named : str, optional
        Start of the hash of a tracking run; by default the latest.
    neurons_only : bool
        Count a cell only in sessions where it is a neuron.
    output, suffix
        As for ``cell_map``.
    eids : sequence of str, optional
        Draw only these sessions.

    Raises
    ------
    NotFoundError
        The subject has no such run, or the run has no cells.
    """
    run = tracking_run(subject, named)
    cells, sessions, found = presence(run, neurons_only=neurons_only, eids=eids)
    if not len(cells):
        raise NotFoundError(f"no ROI of {subject} is a tracked cell", do="'meso errors TrackedFOV' lists the reasons")
    shown = np.flatnonzero(found.any(axis=0))  # found: (cells, sessions) bool; sessions without a cell are left out
    sessions, found = [sessions[i] for i in shown], found[:, shown]
    dates = session_dates(sessions)
    title = f"{subject}: {len(cells)} tracked {'neurons' if neurons_only else 'ROIs'}, run {run['tracking_run'][:8]}"
    drawn = {
        "presence": figures.presence_map(found, dates, title=title),
        "shared": figures.shared_counts(found, dates, title=title),
    }
    if len(sessions) > 1:
        drawn["survival"] = figures.survival(found, dates, title=title)
    provenance = {**run, "eids": [row["eid"] for row in sessions], "neurons_only": neurons_only, **_code()}
    for name, figure in drawn.items():
        stem = figures.file_stem(f"tracking_{name}", subject, run["tracking_run"][:8])
        yield figures.save(figure, output / f"{stem}.{suffix}", provenance)


def peri_event(
    eid: str,
    windows: Sequence[str],
    by: str,
    around: tuple[float, float],
    cells: bool,
    neurons_only: bool,
    output: Path,
    suffix: str,
) -> Iterator[Path]:
    """Draw averages of a session around trial events; save the figures and yield the files.

    Parameters
    ----------
    eid : str
    windows : sequence of str
        Names in ``pipeline.signals.peri_event.WINDOWS``, a line for each.
    by : {'all', 'area', 'region'}
        Cells averaged together, a panel for each group.
    around : (float, float)
        Start and end, s from the event.
    cells : bool
        Also draw a figure for each window, with a row for each cell. Cells are ordered by their peak in every other
        trial, and the averages shown are of the remaining trials, so that noise does not look like a sequence.
    neurons_only, output, suffix
        As for ``cell_map``.

    Raises
    ------
    NotFoundError
        The session has no such ROIs, no activity or no trials.
    """
    # ROIs of a FOV whose traces could not be read have none to average
    rois = _rois(eid, neurons_only) & Activity.proj()
    with unchanged(eid):
        found, trials = activity(rois), trials_to_average(eid)
        (region_ids,) = bulk.columns(rois, "region_id", order_by=("fov", "roi"))
    regions = np.full(len(region_ids), "all cells")
    if by != "all":
        regions, _ = _regions(region_ids, "beryl" if by == "area" else "acronym")
    groups = pooled_regions(regions, MAX_PANELS)
    edges = frame_bins(found, around)
    panels = averages(found, trials, windows, edges, groups)
    counts = {group: int(np.sum(groups == group)) for group in panels}
    named = {f"{group} ({counts[group]})": lines for group, lines in panels.items()}
    unit = " and ".join(np.unique(found.signal))
    event, window = _event(windows), _bounds(windows)
    settings = {
        "windows": {name: asdict(WINDOWS[name]) for name in windows}, "by": by, "around": list(around),
        "neurons_only": neurons_only,
    }  # fmt: skip
    provenance = {"eid": eid, "parameters": content_key(settings), **settings, **_code()}
    figure = figures.peri_event_lines(named, event=event, unit=unit, window=window, title=session_title(eid))
    yield figures.save(figure, output / f"{session_stem('peri', eid, by, *windows)}.{suffix}", provenance)
    for name in dict.fromkeys(windows) if cells else ():
        times = event_times(name, trials)
        taken = np.flatnonzero(np.isfinite(times))
        order = peak_order(average(found.traces, found.times, times[taken[::2]], edges=edges).mean)
        mean = average(found.traces, found.times, times[taken[1::2]], edges=edges).mean
        figure = figures.peri_event_map(
            mean, edges, order=order, regions=regions if by != "all" else None, event=_event([name]), unit=unit,
            window=_bounds([name]), title=f"{session_title(eid)}, {name}: every other trial of {len(taken)}",
        )  # fmt: skip
        yield figures.save(figure, output / f"{session_stem('peri_cells', eid, name)}.{suffix}", provenance)


def trials_to_average(eid: str) -> dict[str, np.ndarray]:
    """Return the trials of a session, as ``trials_of`` does.

    Raises
    ------
    NotFoundError
        The session has no trials.
    """
    trials = trials_of(eid)
    if not len(trials["stimOn_times"]):
        raise NotFoundError(
            "the session has no trials", eid=eid, do=f"Read them with: meso populate Behavior --eid {eid}"
        )
    return trials


def frame_bins(found: CellActivity, around: tuple[float, float]) -> np.ndarray:
    """Return edges of bins one frame wide, (L + 1,) s from the event; of the FOV with the longest frames."""
    # the longest: with shorter bins a slower FOV would have bins without a frame
    period = max(float(np.median(np.diff(times))) for times in found.times.frame_times.values())
    return bin_edges(*around, period)


def averages(
    found: CellActivity,
    trials: Mapping[str, np.ndarray],
    windows: Sequence[str],
    edges: np.ndarray,
    groups: np.ndarray | None = None,
) -> dict[str, list[figures.Average]]:
    """Return averages around trial events for each population, or for each cell if there are no groups.

    Parameters
    ----------
    found : CellActivity
        Activity of N cells.
    trials : mapping of ALF attribute to (n,) float64
    windows : sequence of str
        Names in ``pipeline.signals.peri_event.WINDOWS``.
    edges : (L + 1,) float64, s from the event
    groups : (N,) array of str, optional
        Population of each cell.

    Returns
    -------
    dict of str to list of Average
        By population, or by row number as text: one average for each window.
    """
    names = map(str, range(len(found.traces)) if groups is None else np.unique(groups).tolist())
    lines: dict[str, list[figures.Average]] = {name: [] for name in sorted(names, key=natural_key)}
    for window in dict.fromkeys(windows):
        got = average(found.traces, found.times, event_times(window, trials), edges=edges, groups=groups)
        for row, name in enumerate(got.names.tolist()):
            lines[str(name)].append(figures.Average(window, edges, got.mean[row], got.sem[row], got.n_trials[row]))
    return lines


def session_title(eid: str) -> str:
    """Return the title of a session's figures: subject, date and number."""
    info = (Session & {"eid": eid}).fetch1()
    return f"{info['subject']} {info['session_date']} ({info['session_number']:03d})"


def session_stem(kind: str, eid: str, *parts: str) -> str:
    """Return the name of a figure of a session, without suffix."""
    info = (Session & {"eid": eid}).fetch1()
    return figures.file_stem(kind, info["subject"], info["session_date"], f"{info['session_number']:03d}", *parts)


def _code() -> dict[str, str]:
    return {"git_commit": environment_row()["git_commit"]}


def _rois(eid: str, neurons_only: bool) -> dj.QueryExpression:
    """Return the ROIs of a session, or an error if there are none."""
    rois = ROI & {"eid": eid}
    rois = rois & "is_neuron" if neurons_only else rois
    if not rois:
        raise NotFoundError(
            "the session has no ROIs" if not neurons_only else "the session has no neurons", eid=eid,
            do=f"Read them with: meso populate --eid {eid}; or use --all-rois",
        )  # fmt: skip
    return rois


def _regions(region_ids: np.ndarray, name: str) -> tuple[np.ndarray, dict[str, str]]:
    """Return the acronym of each id, (N,) str, and the Allen colour of each acronym; ``name`` is its column."""
    known = [{"region_id": int(i)} for i in {i for i in region_ids.tolist() if i is not None}]
    rows = {row["region_id"]: row for row in (BrainRegion & known).to_dicts()} if known else {}
    acronyms = [rows[i][name] if i in rows else UNKNOWN for i in region_ids.tolist()]
    return np.array(acronyms, dtype=str), {row[name]: row["rgb"] for row in rows.values()}


def _floats(values: Sequence | np.ndarray) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def session_dates(sessions: Sequence[dict]) -> list[str]:
    """Return the date of each session, with the session number where a date has several sessions."""
    dates = [str(row["session_date"]) for row in sessions]
    return [
        f"{date} ({row['session_number']:03d})" if dates.count(date) > 1 else date
        for date, row in zip(dates, sessions, strict=True)
    ]


def _event(windows: Sequence[str]) -> str:
    """Return the names of the windows' events, joined by 'or'."""
    events = list(dict.fromkeys(EVENT_NAMES[WINDOWS[name].event] for name in windows))
    return " or ".join(events)


def _bounds(windows: Sequence[str]) -> tuple[float, float] | None:
    """Return start and end of the windows, s from the event, if all have the same; None otherwise."""
    bounds = {(WINDOWS[name].start, WINDOWS[name].end) for name in windows}
    return bounds.pop() if len(bounds) == 1 else None

"""The notebook interface: functions with the names of the scripts they replace, backed by the database.

    import meso
    cells = meso.load_or_embed(eid)
    meso.plot_raster(eid)
    rows = meso.match_tracked_indices_across_sessions(eid, [other_eid])
    out = meso.neuron_dropping_curves_cached([eid, other_eid], targets=("choice",))

Missing data are read through ONE and computed on demand. Errors are subclasses of ``MesoError``; ``pipeline.errors``
says when each is raised.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import numpy as np

import schemas
from pipeline.decoding import NDCSettings
from pipeline.decoding.transfer import check_transfer
from pipeline.embedding import EmbeddingSettings
from pipeline.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConfigError,
    DamagedError,
    DataError,
    MesoError,
    NotFoundError,
    OutOfRangeError,
    SettingsError,
)
from pipeline.settings.curves import (
    EVENT_TIMES,
    TARGETS,
    check_own_name,
    check_survivorship,
    curve_settings,
    each_region,
    own_targets,
    preset,
)
from pipeline.settings.signals import SignalSettings
from pipeline.signals.resampling import common_frames, resample
from pipeline.signals.selection import Rows, chosen_rows
from schemas.decoding.run import Failure, NDCRun, match_cells, run_ndc, shared_set
from schemas.decoding.transfers import run_transfer
from schemas.imaging.activity import activity_of
from schemas.queries.errors import errors_of, failed_jobs
from schemas.queries.ids import one_subject, session_id, session_ids, subjects_of
from schemas.queries.sessions import session_ids as sessions_of
from schemas.queries.sessions import trial_events
from schemas.queries.tags import add_tag, remove_tag
from schemas.queries.tracking_runs import notes_on_fovs, tracking_run_of_sessions
from schemas.rows import in_fovs, not_empty, place_numbers
from schemas.session import unchanged
from schemas.storage.bulk import columns
from schemas.work.filling import (
    fill,
    fill_session,
    fill_sessions,
    fill_signal,
    not_read,
    registered,
    registered_of,
    unread_fovs,
)

if TYPE_CHECKING:
    import datajoint as dj
    import pandas as pd
    from matplotlib.figure import Figure

    from drawing.curves import DrawableRun
    from drawing.days import DrawableEmbedding
    from drawing.many import DrawableMany
    from drawing.responses import DrawableStability
    from drawing.transfer import DrawableTransfer
    from pipeline.responses import WindowSet
    from schemas.decoding.sets import BestSet

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "MesoError",
    "NotFoundError",
    "OutOfRangeError",
    "SettingsError",
    "best_sets",
    "cell_responses",
    "curves_of_mice",
    "embed_days",
    "embed_meso",
    "get_win_times",
    "load_or_embed",
    "match_tracked_indices_across_sessions",
    "neuron_dropping_curves_cached",
    "plot_raster",
    "plot_xyz",
    "stability",
    "tag",
    "tagged",
    "transfer",
    "trial_columns",
    "trial_type_means",
    "untag",
    "wheel_speed",
]

#: A result that ``_reported`` returns as it is.
Reported = TypeVar("Reported", "DrawableRun", "DrawableMany", "DrawableTransfer")
#: Stands for the region of a ROI that has none; no region of the atlas has this id.
NO_REGION = np.iinfo(np.int32).min
#: Columns of ROI that ``load_or_embed`` returns, or needs for the times.
ROI_COLUMNS = ("region_id", "ml", "ap", "dv", "stack_y", "stack_x")
#: Cells that a statement lists; of more, all rows of the session are read.
MAX_LISTED = 5000


def load_or_embed(
    eid: str,
    restrict: Rows = None,
    rerun: bool = False,
    *,
    filter_neurons: bool = True,
    scan_line_column: int = 0,
    signal: str | SignalSettings = "",
) -> dict[str, Any]:
    """Return the activity of a session with regions, positions and Rastermap order.

    Rows are the cells of all FOVs, ordered by FOV number, then by row of the ALF file.

    Parameters
    ----------
    eid : str
        The session's id, 8 or more of its first characters, or ``subject/date/number``. A session that is not
        registered is looked up in ONE.
    restrict : sequence of int, sequence of bool, slice or int, optional
        Rows to return, in this order, indexed as in numpy: negative numbers count from the end, and an empty list
        gives arrays of no rows and all frames. A single int is one row.
    rerun : bool
        First read again the files that have changed in ONE since they were read, and compute again what depends on
        them, as ``meso update`` does. What has not changed is not computed again.
    filter_neurons : bool
        Neurons only; False for all ROIs.
    scan_line_column : {0, 1}
        1 reproduces the times as published: see ``pipeline.signals.clock.roi_offsets``.
    signal : {'', 'deconvolved', 'fluorescence', 'dff'} or SignalSettings
        What ``roi_signal`` is, the same one of all FOVs: fluorescence and dF/F are read and computed unless they are in
        the database. By default deconvolved where it is there, or else fluorescence. The Rastermap order is of the same
        signal.

    Returns
    -------
    dict
        ``roi_signal`` (N, T), values and dtype of the files; ``roi_times`` (N, T) s, rows computed on demand,
        and ``roi_times.flagged``, the frames of each FOV that are flagged as bad (their values stay);
        ``region_labels`` (N,) acronyms; ``region_colors`` (N,) hex; ``isort`` (N,) int64, the Rastermap order
        of these rows; ``xyz`` (N, 3) ML, AP, DV in micrometres, NaN where unknown; ``roi_keys`` N keys
        of the table ROI; ``signal`` (N,) 'deconvolved', 'fluorescence' or 'dff'.

    Raises
    ------
    DataError
        No FOV can be used, FOVs differ in their number of frames, or files were read again while they were loaded.
    NotFoundError
        A FOV does not have the signal.
    OutOfRangeError
        ``restrict`` has a row that does not exist, or a mask of another length than the rows.
    ArgumentError
        ``restrict`` is something else than rows.

    Warns
    -----
    UserWarning
        A FOV is left out because it failed, some FOVs are deconvolved and others are not, or ``rerun`` could not read
        a file.
    """
    from schemas.embedding import Embedding, EmbeddingParams
    from schemas.imaging.signals import Signal

    schemas.activate()
    eid = registered(eid)
    if rerun:
        _read_again(eid)
    asked = SignalSettings.named(signal)
    settings = EmbeddingSettings(neurons_only=filter_neurons, signal=asked)
    # usually everything is in the database, and no job has failed: one statement
    embedding = Embedding & {"eid": eid, **EmbeddingParams.key_of(settings)}
    found = not_empty([unread_fovs(eid), embedding, *failed_jobs(_loaded_from(), {"eid": eid})])
    complete = not asked and found[:1] == [1]
    if not complete:
        settings = _embedded(eid, settings)
    if not complete or len(found) > 1:
        _warn_of_failures(eid, settings)
    with unchanged(eid, schemas.FOV, *([Signal] if asked else [])):
        return _loaded(eid, settings, restrict, scan_line_column, asked)


def _embedded(eid: str, settings: EmbeddingSettings) -> EmbeddingSettings:
    """Read, compute and embed what is not there of a session; return the settings of its embedding."""
    from schemas.embedding import Embedding, EmbeddingParams, settings_of_session

    fill_session(eid, behavior=False)
    if settings.signal:
        fill_signal(eid, settings.signal)
    settings = settings_of_session(eid, settings)
    params = EmbeddingParams.key_of(settings)
    if not (Embedding & {"eid": eid, **params}):
        EmbeddingParams.add(settings)
        fill([Embedding], {"eid": eid, **params})
    return settings


def _loaded(
    eid: str, settings: EmbeddingSettings, restrict: Rows, scan_line_column: int, asked: SignalSettings | None
) -> dict[str, Any]:
    """Return what ``load_or_embed`` does, of a session that has been read and embedded."""
    from schemas.embedding import EmbeddingParams

    params = EmbeddingParams.key_of(settings)
    fovs, rois, *every = _cells(eid, settings.neurons_only, *(ROI_COLUMNS if restrict is None else ()))
    rows = chosen_rows(restrict, len(rois), "restrict", eid)
    # without rows, read one cell of each FOV for the number of frames and the frame times
    read = rows if len(rows) else np.unique(fovs, return_index=True)[1]
    # each cell is read once, in the order of the database
    cell, order = np.unique(read, return_inverse=True)
    order, fovs, rois, n_cells = order[: len(rows)], fovs[cell], rois[cell], len(rois)
    if restrict is None:
        position = dict(zip(ROI_COLUMNS, every, strict=True))
    else:
        position = _of_rois(schemas.ROI & {"eid": eid}, fovs, rois, n_cells, *ROI_COLUMNS)
    found = activity_of(
        eid, fovs, rois, np.column_stack([position["stack_y"], position["stack_x"]]),
        scan_line_column=scan_line_column, signal=asked,
    )  # fmt: skip
    rank = _ranks(eid, params, fovs, rois, n_cells, order)
    _warn_of_kinds(eid, found.signal[order])
    return {
        # indexing would copy all traces, often gigabytes
        "roi_signal": found.traces if np.array_equal(order, np.arange(len(cell))) else found.traces[order],
        "roi_times": found.times.rows(order),
        **_regions(position["region_id"][order]),
        "isort": np.argsort(rank, kind="stable"),
        "xyz": np.column_stack([position[axis][order].astype(float) for axis in ("ml", "ap", "dv")]),
        "roi_keys": [found.keys[i] for i in order.tolist()],
        "signal": found.signal[order],
    }


def _read_again(eid: str) -> None:
    """Update a session from its files, and warn of what failed or what is odd about them."""
    from schemas.upkeep.update import update

    done = update([eid])
    for text in [*done.failures, *done.notes]:
        warnings.warn(text, stacklevel=4)


def _cells(eid: str, neurons_only: bool, *names: str) -> list[np.ndarray]:
    """Return FOV, number and other columns, each (N,), of the cells whose activity is in the database, in row order."""
    cells = schemas.ROI & {"eid": eid} & schemas.Activity.proj() & ("is_neuron" if neurons_only else True)
    found = columns(cells, "fov", "roi", *names, order_by=("fov", "roi"))
    if not len(found[0]):
        raise DataError(
            "the session has no neurons",
            eid=eid,
            expected="at least one",
            found="none",
            do="pass filter_neurons=False for all ROIs",
        )
    return found


def _of_rois(
    query: dj.QueryExpression, fovs: np.ndarray, rois: np.ndarray, n_cells: int, *names: str
) -> dict[str, np.ndarray]:
    """Return columns of a query with one row per ROI of a session, for some of its cells.

    Parameters
    ----------
    query : dj.QueryExpression
        Of rows of one session.
    fovs, rois : (n,) int
        FOV and number of each cell.
    n_cells : int
        Of the session: if many of them are wanted, all rows are read, as a long list in a statement takes longer.
    *names : str

    Returns
    -------
    dict of str to (n,)
        By name, and 'is_there' bool: the query has a row for the cell. Others have the values of any other cell.
    """
    if len(rois) < min(n_cells / 2, MAX_LISTED):
        query = query & in_fovs(fovs, rois)
    *places, key = (*columns(query, "fov", "roi", *names, order_by=("fov", "roi")), place_numbers(fovs, rois))
    known = place_numbers(*places[:2])
    if not len(known):
        return {"is_there": np.zeros(len(key), bool), **{name: np.zeros(len(key), int) for name in names}}
    at = np.minimum(np.searchsorted(known, key), len(known) - 1)
    return {"is_there": known[at] == key, **{name: column[at] for name, column in zip(names, places[2:], strict=True)}}


def _regions(region_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return acronyms and colours of regions, each (n,), from their ids; an id may be None."""
    unknown = {"acronym": "unknown", "rgb": "#808080"}
    ids, which = np.unique([NO_REGION if i is None else i for i in region_ids.tolist()], return_inverse=True)
    regions = _known_regions(tuple(ids.astype(int).tolist()))
    return {
        column: np.array([regions.get(i, unknown)[name] for i in ids.tolist()], dtype)[which]
        # of the lengths of the columns in the database, whichever regions are there
        for column, name, dtype in (("region_labels", "acronym", "U32"), ("region_colors", "rgb", "U7"))
    }


@lru_cache(maxsize=64)  # regions of the atlas never change, and each session has its own few
def _known_regions(ids: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    """Return acronym and colour of regions by id; one statement, once in a process."""
    asked = schemas.BrainRegion & f"region_id in ({', '.join(map(str, ids))})"
    return {row["region_id"]: row for row in asked.proj("acronym", "rgb").to_dicts()} if ids else {}


def _ranks(eid: str, params: dict, fovs: np.ndarray, rois: np.ndarray, n_cells: int, order: np.ndarray) -> np.ndarray:
    """Return the Rastermap rank of each of the rows ``order``, (n,) int64; cells that are not embedded come last."""
    ranked = schemas.Embedding.Rank & params & {"eid": eid}
    found = _of_rois(ranked, fovs, rois, n_cells, "embedding_rank")
    is_there = found["is_there"][order]
    if missing := int((~is_there).sum()):
        warnings.warn(
            f"session {eid}: {missing} of {len(order)} cells have no place in the Rastermap order and come last; "
            f"to embed the session again, first delete the old order: "
            f"(schemas.Embedding & {{'eid': '{eid}'}}).delete()", stacklevel=3,
        )  # fmt: skip
    return np.where(is_there, found["embedding_rank"][order], sys.maxsize).astype(np.int64)


def _warn_of_kinds(eid: str, signal: np.ndarray) -> None:
    """Warn if some of the rows are deconvolved and others are not."""
    kinds = sorted(set(signal))
    if len(kinds) > 1:
        warnings.warn(f"session {eid}: FOVs hold different signals ({', '.join(kinds)}); see 'signal'", stacklevel=3)


def _loaded_from() -> list[type[dj.Table]]:
    """Return the tables that ``load_or_embed`` needs of a session."""
    return [schemas.FOV, schemas.Recording, schemas.ROI, schemas.Activity, schemas.Embedding]


def _warn_of_failures(eid: str, settings: EmbeddingSettings) -> None:
    """Warn of each job that has failed of the session, or of its embedding with these settings: it lacks in the result.

    A requested signal that is not there is an error of its own.
    """
    from schemas.embedding import EmbeddingParams

    params = EmbeddingParams.key_of(settings)
    for failure in errors_of(_loaded_from(), {"eid": eid}):
        if failure["table"] == "Embedding" and (settings.signal or not params.items() <= failure["key"].items()):
            continue
        warnings.warn(f"{failure['table']}: {failure['message']}", stacklevel=3)


#: The name that loading had in the scripts where nothing was cached; here the database is the cache.
embed_meso = load_or_embed


def plot_raster(
    eid: str,
    bg: str | None = "regions",
    *,
    restr: bool = True,
    rsort: bool = True,
    scaling: bool = True,
    restrict: Rows = None,
    order: Rows = None,
    region_colors: Mapping[str, str] | None = None,
    filter_neurons: bool = True,
    signal: str | SignalSettings = "",
    t_range: tuple[float, float] | None = None,
    trials: bool = True,
    note: str = "",
    width: str | None = None,
) -> Figure:
    """Draw a raster of the session's cells, with wheel velocity, trial events and blocks above it.

    Parameters
    ----------
    eid : str
        As for ``load_or_embed``.
    bg : {'regions', 'firing_rate', None}
    restr : bool
        Draw only one minute, from a third into the recording; False for all of it.
    rsort : bool
        Rows in Rastermap order; False for the order of ``load_or_embed`` (or of ``restrict``).
    scaling : bool
        Scale each row from its 20th to its 99th percentile.
    restrict, filter_neurons, signal
        As for ``load_or_embed``.
    order : sequence of int, sequence of bool, slice or int, optional
        The i-th row from the top is row ``order[i]`` of ``restrict``, indexed as in numpy; other rows are not drawn.
        Overrides ``rsort``. To show the same cells in the same order on all days, pass the rows from
        ``match_tracked_indices_across_sessions`` as ``restrict`` and the ``isort`` of one session as ``order``.
    region_colors : mapping of acronym to hex, optional
        By default ``pipeline.figures.distinct_region_colors``.
    t_range : (float, float), optional
        Start and end, s on the session clock; overrides ``restr``.
    trials : bool
        Show events and blocks, if the session has trials.
    note : str
        Appended to the title.
    width : {'single', 'double'}, optional
        A journal's: 89 or 183 mm, with the legend, and text of 7 to 9 pt.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError, ArgumentError
        As for ``load_or_embed``, and the same for ``order``; no cell or no frame is left to draw.
    """
    from drawing.cells import session_title
    from pipeline.figures import raster
    from schemas.session import Behavior, Wheel, wheel_velocity

    schemas.activate()
    eid = registered(eid)
    with unchanged(eid, schemas.FOV, Behavior, Wheel):
        cells = load_or_embed(eid, restrict=restrict, filter_neurons=filter_neurons, signal=signal)
        fill([Behavior, Wheel], {"eid": eid})
        wheel, strips = wheel_velocity(eid), _trial_strips(eid) if trials else {}
    by = cells["isort"] if order is None and rsort else chosen_rows(order, len(cells["isort"]), "order", eid)
    if not len(by):
        raise ArgumentError(f"session {eid}: no cell to draw; 'restrict' or 'order' selects none")
    rows, rank = np.unique(by, return_inverse=True)
    if len(rows) < len(by):  # 'order' repeats a row: draw it as often
        rows, rank = by, np.arange(len(by))
    shown, clock = _shown(eid, cells, rows, t_range, restr)
    kinds = " and ".join(np.unique(cells["signal"]))
    return raster(
        shown,
        clock,
        order=None if order is None and not rsort else rank,
        regions=cells["region_labels"][rows],
        region_colors=region_colors,
        wheel=wheel,
        **strips,
        t_range=(float(clock[0]), float(clock[-1])),
        bg=bg,
        scale=(20, 99) if scaling else None,
        title=f"{session_title(eid)}, {kinds}{note}",
        width=width,
    )


def _trial_strips(eid: str) -> dict[str, Any]:
    """Return the arguments of ``pipeline.figures.raster`` for events and blocks; none if there are no trials."""
    shown = trial_events(eid)
    if not len(shown.starts):
        return {}
    return {"events": shown.events, "block": (shown.starts, shown.probability_left)}


def _shown(
    eid: str, cells: dict, rows: np.ndarray, t_range: tuple[float, float] | None, restr: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the traces (n, L) of the rows to draw, resampled to one clock, and that clock (L,), s.

    FOVs are scanned one after the other, up to a frame apart, and each has its own frame times. Frames that are flagged
    as bad are NaN.
    """
    times = cells["roi_times"]
    clock = common_frames(times.frame_times)
    if t_range is None:
        start = clock[len(clock) // 3]
        t_range = (start, start + 60) if restr else (clock[0], clock[-1])
    shown = clock[(clock >= t_range[0]) & (clock <= t_range[1])]
    if len(shown) < 2:
        raise DataError(
            "there are fewer than two frames in the time range",
            eid=eid,
            expected=f"a range within {clock[0]:.1f} to {clock[-1]:.1f} s",
            found=f"{t_range[0]} to {t_range[1]}",
        )
    out = np.empty((len(rows), len(shown)), dtype=np.float32)
    for fov, frame_times in times.frame_times.items():
        at = np.flatnonzero(times.fovs[rows] == fov)
        signal, offsets = cells["roi_signal"][rows[at]], times.offsets[rows[at]]
        out[at] = resample(
            signal,
            frame_times,
            offsets,
            shown,
            gap=np.inf,
            hold_ends=True,
            flagged=times.flagged.get(fov),
            fov=int(fov),
        )
    return out, shown


def plot_xyz(
    eid: str,
    mapping: str = "isort",
    *,
    restrict: Rows = None,
    filter_neurons: bool = True,
    axes: Any = None,
    width: str | None = None,
) -> Figure:
    """Draw the cells of a session in three dimensions, coloured by Rastermap order or by region.

    Parameters
    ----------
    eid, restrict, filter_neurons
        As for ``load_or_embed``.
    mapping : {'isort', 'regions'}
        Colour of a cell: its rank in the Rastermap order, or its region.
    axes
        Accepted because the scripts took it, and ignored.
    width
        As for ``plot_raster``.

    Raises
    ------
    ArgumentError
        ``mapping`` is something else, or as for ``load_or_embed``.
    """
    from drawing.cells import session_title
    from pipeline.figures import cell_map_3d

    if mapping not in ("isort", "regions"):
        raise ArgumentError(f"mapping must be one of isort, regions, not {mapping!r}")
    cells = load_or_embed(eid, restrict, filter_neurons=filter_neurons)
    title = session_title(cells["roi_keys"][0]["eid"]) if cells["roi_keys"] else None
    if mapping == "regions":
        return cell_map_3d(cells["xyz"], regions=cells["region_labels"], title=title, width=width)
    # the rank of each row, which is the inverse of the order
    ranks = np.argsort(cells["isort"])
    return cell_map_3d(cells["xyz"], values=ranks, label="Rastermap rank", title=title, width=width)


def get_win_times(eid: str) -> dict[str, np.ndarray]:
    """Return the 26 trial windows of a session.

    Parameters
    ----------
    eid : str
        As for ``load_or_embed``.

    Returns
    -------
    dict of str to (n, 2) float64
        By name of the window, start and end in s on the session clock of each trial that meets its conditions
        (``pipeline.signals.peri_event.WINDOWS``).

    Raises
    ------
    DataError
        The session is not known, or has no trials.
    """
    from drawing.cells import trials_to_average
    from pipeline.signals.peri_event import WINDOWS, event_times
    from schemas.session import Behavior

    schemas.activate()
    eid = registered(eid)
    fill([Behavior], {"eid": eid})
    trials, found = trials_to_average(eid), {}
    for name, window in WINDOWS.items():
        events = event_times(name, trials)
        found[name] = events[np.isfinite(events), None] + np.array([window.start, window.end])
    return found


def match_tracked_indices_across_sessions(
    *args: Any,
    anchor_eid: str | None = None,
    other_eids: Sequence[str] | None = None,
    filter_neurons: bool = True,
    tracking_run: str | None = None,
    roicat_root: str | Path | None = None,
    duplicates: str = "error",
    uid_form: str = "uuid",
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    one: Any = None,
    server_root: str | None = None,
    sanity_check: bool = True,
) -> dict[str, np.ndarray]:
    """Return the rows of the same cells, tracked across several sessions.

    Parameters
    ----------
    *args
        ``anchor_eid`` and ``other_eids``, if they are not given by name.
    anchor_eid : str
        A session, named as in ``load_or_embed``.
    other_eids : sequence of str
        Further sessions of the same subject.
    filter_neurons : bool
        As for ``load_or_embed``; the returned rows index its result.
    tracking_run : str, optional
        Start of the hash of a registered run; by default the latest. If there is none, the UID files are registered
        now.
    roicat_root : path, optional
        Root of a mirrored tree of UID files to register; by default the session folders.
    duplicates : {'error', 'first'}
        What a UID is that occurs twice in a session, if files are registered now: an error, or its first ROI counts.
    uid_form : {'uuid', 'any'}
        What a UID is, if files are registered now: a UUID, or any word.
    min_cell_probability, min_silhouette : float, optional
        A cell counts in a session only if its value there is at least this.
    one, sanity_check
        Accepted because the scripts took them, and ignored: the database has the source of each session, and rows are
        always checked against the cells. ``one`` may also stand before the ids.
    server_root
        An argument of the scripts that is not supported: mirror the tree, or use ``roicat_root``.

    Returns
    -------
    dict of eid to (n,) int64
        Element i is the same cell in every session; cells are sorted by UID. Empty if no cell is shared.

    Raises
    ------
    DataError
        The sessions are of several subjects, or there are no UID files.
    ArgumentError
        ``server_root`` is given.
    ArgumentTypeError
        ``anchor_eid`` and ``other_eids`` are something else than an id and a list of ids.

    Warns
    -----
    UserWarning
        The cells of a FOV are left out; the message gives the reason.
    """
    from schemas.tracking import SessionSet, SharedCells

    if server_root is not None:
        raise ArgumentError("server_root is not supported: use roicat_root, or mirror the tree with 'meso track'")
    anchor, others = _anchor_and_others(args, anchor_eid, other_eids)
    schemas.activate()
    known = registered_of([anchor, *others])
    eids = list(dict.fromkeys(known.get(eid) or registered(eid) for eid in [anchor, *others]))
    one_subject(eids)
    for eid in not_read(eids):
        fill_session(eid, behavior=False)
    run = tracking_run_of_sessions(eids, tracking_run, roicat_root, duplicates, uid_form)
    tracked, missing = match_cells(eids, run)
    if missing:
        raise DataError("a session has no tracked cells", do="; ".join(missing.values()))
    session_set = SessionSet.add(
        tracked,
        run,
        neurons_only=filter_neurons,
        min_cell_probability=min_cell_probability,
        min_silhouette=min_silhouette,
    )
    filled = fill([SharedCells], session_set).lines()
    for text in [*filled, *notes_on_fovs(session_set)]:
        warnings.warn(text, stacklevel=2)
    return {eid: _rows_of(session_set, eid, filter_neurons) for eid in eids}


def _anchor_and_others(args: tuple, anchor: str | None, others: Sequence[str] | None) -> tuple[str, list[str]]:
    """Return ``anchor_eid`` and ``other_eids``, given by name or in order, without a ONE client before them."""
    # a ONE client, recognised without importing ONE; or none
    if args and (args[0] is None or hasattr(args[0], "load_dataset")):
        args = args[1:]
    given = [*args, *(value for value in (anchor, others) if value is not None)]
    if len(given) != 2 or not isinstance(given[0], str | UUID) or isinstance(given[1], str):
        raise ArgumentTypeError(
            "match_tracked_indices_across_sessions(anchor_eid, other_eids) takes one id and a list of ids"
        )
    return str(given[0]), [str(eid) for eid in given[1]]


def _rows_of(session_set: dict, eid: str, neurons_only: bool) -> np.ndarray:
    """Return the rows of ``load_or_embed`` that are the shared cells of a set, (n,) int64, in the set's order."""
    shared = schemas.SharedCells.Cell & session_set & {"eid": eid}
    fovs, rois = columns(shared, "fov", "roi", order_by=("shared_cell",))
    return _rows_at(eid, fovs, rois, neurons_only)


def _rows_at(eid: str, fovs: np.ndarray, rois: np.ndarray, neurons_only: bool) -> np.ndarray:
    """Return the rows of ``load_or_embed`` of cells given by FOV and number, each (n,), (n,) int64."""
    return np.searchsorted(place_numbers(*_cells(eid, neurons_only)), place_numbers(fovs, rois))


def trial_columns(eid: str) -> pd.DataFrame:
    """Return the named columns of a session's trials, by which the setting ``trials`` selects.

    Parameters
    ----------
    eid : str
        As for ``load_or_embed``.

    Returns
    -------
    DataFrame
        A row for each trial; the columns are those of ``pipeline.settings.conditions.COLUMNS``, float64, NaN where a
        trial has no value.

    Raises
    ------
    DataError
        The trials cannot be read.
    """
    from pipeline.behavior.trial_columns import columns_table
    from schemas.session import Behavior, trials_of

    schemas.activate()
    eid = registered(eid)
    filled = fill([Behavior], {"eid": eid})
    if not (Behavior & {"eid": eid}):
        raise DataError("its trials cannot be read", eid=eid, do="; ".join(filled.lines()) or None)
    return columns_table(trials_of(eid))


def wheel_speed(eid: str, event: str, win: tuple[float, float]) -> np.ndarray:
    """Return the mean speed of the wheel about an event of each trial: numbers that can be decoded, as ``labels``.

    Parameters
    ----------
    eid : str
        As for ``load_or_embed``.
    event : str
        ALF trials attribute with times (``pipeline.settings.curves.EVENT_TIMES``).
    win : (float, float)
        Start and end of the window around it, s.

    Returns
    -------
    (n_trials,) float64
        Mean of the absolute velocity, rad/s; NaN for a trial without the event, or where the wheel was not recorded.

    Raises
    ------
    DataError
        Trials or wheel cannot be read, or the session has no wheel.
    ArgumentError
        The event is unknown, or the window does not start before it ends.
    """
    from pipeline.behavior.wheel import mean_speed
    from schemas.session import Behavior, Wheel, trials_of, wheel_velocity

    if event not in EVENT_TIMES or not win[0] < win[1]:
        raise ArgumentError(
            f"event must be one of {', '.join(EVENT_TIMES)}, and the window start before it ends, not {event!r} and "
            f"{win}"
        )
    schemas.activate()
    eid = registered(eid)
    filled = fill([Behavior, Wheel], {"eid": eid})
    with unchanged(eid, Behavior, Wheel):
        wheel, times = wheel_velocity(eid), trials_of(eid)[event]
    if wheel is None or not len(times):
        raise DataError("its trials or its wheel cannot be read", eid=eid, do="; ".join(filled.lines()) or None)
    return mean_speed(*wheel, times + win[0], times + win[1])


def neuron_dropping_curves_cached(
    eids: Sequence[str] | BestSet,
    targets: Sequence[str] = TARGETS,
    event: str | Mapping[str, str] | None = None,
    win: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    ks: Sequence[int] | int = NDCSettings.ks,
    R: int = NDCSettings.r,
    metric: str = NDCSettings.metric,
    cv_splits: int = NDCSettings.cv_splits,
    class_balance: str = NDCSettings.class_balance,
    scaling: bool = NDCSettings.scaling,
    equalize_trials: bool = NDCSettings.equalize_trials,
    ceiling_mode: str = NDCSettings.ceiling_mode,
    n_label_shuffles: int = NDCSettings.n_label_shuffles,
    shuffle_seed: int | None = NDCSettings.shuffle_seed,
    *,
    seed: int = NDCSettings.seed,
    delta: float = NDCSettings.delta,
    filter_neurons: bool = True,
    tracking_run: str | None = None,
    roicat_root: str | Path | None = None,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    cache_dir: Any = None,
    one: Any = None,
    plot: bool = True,
    progress: bool = True,
    labels: str | Mapping[str, Mapping[str, Any] | Callable[[pd.DataFrame], Any]] | None = None,
    pairs: str | None = None,
    settings: str | None = None,
    idx_map_override: Mapping[str, Sequence[int]] | None = None,
    by_region: Sequence[str] = (),
    survivorship: bool = False,
    mixed_signals: bool = False,
    **others: Any,
) -> DrawableRun | DrawableMany:
    """Compute neuron-dropping curves of the cells that sessions share, plot them, print k*.

    Results that are in the database already are not computed again.

    Parameters
    ----------
    eids : sequence of str, or BestSet
        Two or more sessions of one subject, named as in ``load_or_embed``; or one of ``best_sets``, with its tracking
        run and the cells that it counts.
    targets : sequence of str
        choice, feedback, stimulus, block, or names of labels of your own.
    event, win : optional
        Trials attribute, and window (start, end) in s around it; one for all targets, or a dict by target. By default
        the target's own (``pipeline.decoding.EVENTS``).
    ks, R, metric, cv_splits, class_balance, scaling, equalize_trials, ceiling_mode, n_label_shuffles,
    shuffle_seed, seed, delta, **others
        See ``pipeline.decoding.NDCSettings``; any of its settings can be given. ``R`` is its ``r``. With a
        ``shuffle_seed`` of None, ``seed`` is used, as in the scripts.
    filter_neurons, tracking_run, roicat_root, min_cell_probability, min_silhouette
        As for ``match_tracked_indices_across_sessions``.
    cache_dir, one
        Accepted because the scripts took them, and ignored: the database is the cache, and has the source of each
        session.
    plot : bool
        Draw the curves of all sessions over each other, in a figure for each target, with a panel for each region.
    progress : bool
        Show progress bars, and print the table at the end.
    labels : dict, optional
        Labels of your own by name: a dict of session to values, 1, 0 or NaN for each trial, or a function of the table
        of ``trial_columns`` that returns them. More than two different values are numbers, decoded by ridge regression.
        They are stored, and then are targets without being given again. Or a key of ``LabelSet``, for labels that were
        replaced since. The targets ``reaction_time`` and ``wheel_speed`` (in the window) are numbers without labels.
    pairs : {'consecutive', 'all'}, optional
        Separate curves for each pair of sessions, with all cells that the two share: more than all sessions share.
    settings : {'scripts'}, optional
        As the lab's scripts decoded (``pipeline.settings.curves.PRESETS``); settings that are given by name override
        it.
    idx_map_override : dict of session to sequence of int, optional
        The rows of ``load_or_embed`` to decode, element i the same cell in each session, as the scripts took them.
        They are compared with the cells that are decoded anyway, by tracking and settings, and refused unless they are
        these: a population is kept by its tracked cells.
    by_region : sequence of str
        Acronyms of the Allen atlas, such as ``["VISp", "RSP"]``: separate curves of the cells of each region and its
        subregions, all up to the number of shared cells of the region that has fewest. The default ks then start at 2.
    survivorship : bool
        Beside the cells that all sessions share, as many of the same session that are not tracked, and as many that no
        later session has, all up to the same k: are the cells that stay special? ``show`` prints how scores differ.
    mixed_signals : bool
        Decode sessions even if they were read with different signals, deconvolved traces and fluorescence, each from
        its own, and note it. By default this is an error, unless ``signal`` is set: then all are decoded from the same.

    Returns
    -------
    DrawableMany
        With ``pairs``: ``runs``, a DrawableRun for each pair by its dates, ``failed``, messages by pair, and ``table``
        of all. Curves are not plotted: ``runs[dates].draw()``.
    DrawableRun
        ``table`` (a DataFrame: date, eid, target, k* with its interval, ceiling, p, q, verdict ...), ``curves``,
        ``day_trends`` (of code and sensitivity) and ``figures`` by target, ``failed`` {eid: messages}, ``failures``
        (each by session and target), ``targets`` (all of that by target), ``n_shared``; methods ``draw``,
        ``draw_days``, ``draw_performance``, ``draw_regions`` and ``show``.

    Raises
    ------
    DataError
        Fewer than two sessions can be used, they are of several subjects, or they were read with different signals.
    SettingsError
        No trial of any session meets the condition ``trials``, or the window is longer than the trials of each.
    ArgumentError, ArgumentTypeError
        A setting, ``eids`` or ``idx_map_override`` is not what it should be; the message names it.
    """
    from drawing.curves import DrawableRun
    from drawing.many import DrawableMany
    from schemas.decoding.many import pairs_of, run_many
    from schemas.decoding.sets import BestSet

    if isinstance(eids, BestSet):
        filter_neurons, min_cell_probability, min_silhouette = eids.rule.values()
        tracking_run, eids = eids.tracking_run, list(eids.eids)
    if cache_dir is not None:
        warnings.warn("cache_dir is ignored: the database is the cache", stacklevel=2)
    if "r" not in others or NDCSettings.r != R:  # R at its default must not override or contradict r
        others["R"] = R
    regions = each_region(by_region)
    if not regions or ks is not NDCSettings.ks:  # curves by region have default ks of their own
        others["ks"] = ks
    wanted = curve_settings(
        targets, settings=settings, by_region=regions, labels=_stand_ins(targets, labels), event=event, win=win,
        metric=metric, cv_splits=cv_splits, class_balance=class_balance,
        scaling=scaling, equalize_trials=equalize_trials, ceiling_mode=ceiling_mode, n_label_shuffles=n_label_shuffles,
        shuffle_seed=seed if shuffle_seed is None else shuffle_seed, seed=seed, delta=delta, **others,
    )  # fmt: skip
    notes = [preset(settings).note] if settings else []
    if (pairs or regions) and idx_map_override is not None:
        raise ArgumentError(
            "idx_map_override is of all sessions and cells together: call it for each pair or region, without pairs= "
            "and by_region="
        )
    if survivorship:
        check_survivorship(wanted)
    schemas.activate()
    eids, unusable = _usable(eids, progress)
    wanted = _with_labels(wanted, labels, eids)
    run = tracking_run_of_sessions(eids, tracking_run, roicat_root)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}

    if idx_map_override is not None:
        _check_rows(idx_map_override, eids, run, wanted, neurons_only=filter_neurons, **cells)

    def ask(of: Sequence[str], progress: bool = False) -> DrawableRun:
        found = run_ndc(
            of, run, wanted, by_region=regions, survivorship=survivorship, neurons_only=filter_neurons, **cells,
            mixed_signals=mixed_signals, progress=progress,
        )  # fmt: skip
        return DrawableRun.of(found)

    if pairs is not None:
        found = DrawableMany.of(run_many("pair", pairs_of(eids, pairs), ask, progress=progress))
        found.remarks += [*notes, *unusable.values()]
        return _reported(found, progress)
    result = ask(eids, progress)
    result.notes[:0] = notes
    result.unusable += _failures(unusable)
    if plot:
        result.figures = result.draw_regions() or result.draw()
        _display_all(result.figures)
    return _reported(result, progress)


def _check_rows(
    given: Mapping[str, Sequence[int]], eids: Sequence[str], run: dict, settings: Sequence[NDCSettings], **rule: Any
) -> None:
    """Refuse rows of ``load_or_embed`` that are not those of the cells that will be decoded.

    Parameters
    ----------
    given : dict of session to sequence of int
    eids, run, settings, **rule
        As for ``run_ndc``.
    """
    from schemas.decoding.populations import population

    session_set, _ = shared_set(eids, run, **rule)
    rows = {session_id(named): np.asarray(of_session).tolist() for named, of_session in given.items()}
    for one in settings:
        decoded = {}
        for eid in sorted(eids):
            cells = population({**session_set, "eid": eid}, one)
            decoded[eid] = _rows_at(eid, cells["fov"], cells["roi"], rule["neurons_only"]).tolist()
        if _same_cells(rows) == _same_cells(decoded):
            continue
        raise ArgumentError(
            f"idx_map_override has other rows than the {len(decoded[min(eids)])} cells of {len(eids)} sessions that "
            f"are decoded for {one.target}: it has {', '.join(f'{len(r)} of {eid[:8]}' for eid, r in rows.items())}. "
            f"A population is kept by its tracked cells; to decode fewer, use regions, fovs, min_cell_probability or "
            f"min_silhouette. For cells that were matched in another way, write UID files, with a line for each ROI "
            f"that is empty for all others, and pass their folder as roicat_root"
        )


def _same_cells(rows: Mapping[str, Sequence[int]]) -> tuple[list[str], list[tuple[int, ...]]]:
    """Return sessions, and the rows of each cell in them, whatever the order of either; rows of no use if uneven."""
    eids = sorted(rows)
    return eids, sorted(zip_longest(*(rows[eid] for eid in eids), fillvalue=-1))


def _stand_ins(targets: Sequence[str], labels: Any) -> str | dict[str, str]:
    """Return the key of labels if one is given, or by own target a key that stands for it.

    Wrong settings cost no time: they are checked before labels are in the database.
    """
    return labels if isinstance(labels, str) else dict.fromkeys(own_targets(targets), "0" * 32)


def _with_labels(settings: Sequence[NDCSettings], labels: Any, eids: Sequence[str]) -> list[NDCSettings]:
    """Return settings with the keys of the labels of own targets, which are stored if they are given."""
    from schemas.labels import of_kind
    from schemas.ready_labels import with_labels

    if isinstance(labels, str):
        return [of_kind(one) for one in settings]
    keys = _own_labels(own_targets([one.target for one in settings]), labels or {}, eids)
    return with_labels([replace(one, labels=keys.get(one.target, "")) for one in settings], eids)


def _own_labels(targets: Sequence[str], labels: Mapping[str, Any], eids: Sequence[str]) -> dict[str, str]:
    """Store labels, and return by target the key of its labels: of those given, or of the last that were stored.

    Of ready-made targets it is one that stands for labels that are not there yet.
    """
    from pipeline.behavior.trial_columns import columns_table
    from schemas.labels import LabelSet
    from schemas.ready_labels import keys_of
    from schemas.session import trials_of

    for name in labels:
        check_own_name(name)
    if unused := sorted(set(labels) - set(targets)):
        raise ArgumentError(f"labels are given for {', '.join(unused)}, which is not among the targets")
    for name, values in labels.items():
        if callable(values):
            given = {eid: values(columns_table(trials_of(eid))) for eid in eids}
        else:
            given = {session_id(named): of_session for named, of_session in values.items()}
        LabelSet.add(name, given)
    # given labels stand for their name, also where they are the same as ready-made ones
    return keys_of([name for name in targets if name not in labels]) | LabelSet.named(labels) if targets else {}


def curves_of_mice(
    subjects: Sequence[str] = (),
    *,
    tag: str | None = None,
    best: int | None = None,
    min_trials: int | None = None,
    protocol: str | None = None,
    plot: bool = True,
    progress: bool = True,
    **options: Any,
) -> DrawableMany:
    """Compute the neuron-dropping curves of several mice, and compare the slopes over their days.

    Parameters
    ----------
    subjects : sequence of str
        Registered mice; by default those that have sessions with the tag. One that fails does not stop the others.
    tag : str, optional
        Only sessions with this tag.
    best : int, optional
        Of each mouse, the so many sessions that share most cells: see ``best_sets``.
    min_trials, protocol
        As for ``best_sets``.
    plot : bool
        Draw the trends of the mice, with the mean of their slopes.
    progress : bool
        Show progress bars, and print the tables at the end.
    **options
        Of ``neuron_dropping_curves_cached``.

    Returns
    -------
    DrawableMany
        ``runs``, a DrawableRun for each mouse; ``table`` of all curves; ``mice``, the slopes (``slopes``), their means
        (``means``) and the differences between targets and regions within mice (``differences``); ``failed``, messages
        by mouse; methods ``draw_mice`` and ``show``.

    Raises
    ------
    DataError
        A subject has no registered session, or none with the tag.
    ArgumentError
        Neither ``subjects`` nor ``tag`` is given, or as for ``neuron_dropping_curves_cached``.
    """
    from drawing.many import DrawableMany
    from schemas.decoding.many import run_many
    from schemas.decoding.sets import chosen_sessions

    if isinstance(subjects, str) or not (len(subjects) or tag):
        raise ArgumentError("curves_of_mice takes a list of subjects, or tag=")
    if options.get("pairs"):
        raise ArgumentError("curves_of_mice compares mice by all their sessions: pairs are for one mouse")
    schemas.activate()
    names = list(dict.fromkeys(subjects)) or subjects_of(sessions_of(tag=tag))
    mice = {name: sessions_of(subject=name, tag=tag) for name in names}
    rule = {
        "tracking_run": options.get("tracking_run"), "neurons_only": options.get("filter_neurons", True),
        **{name: options.get(name) for name in ("min_cell_probability", "min_silhouette")},
    }  # fmt: skip

    def ask(eids: Sequence[str]) -> NDCRun:
        chosen, notes = chosen_sessions(eids, best, min_trials=min_trials, protocol=protocol, **rule)
        # with pairs it would be something else
        run: Any = neuron_dropping_curves_cached(chosen, plot=False, progress=False, **options)
        return replace(run, notes=[*notes, *run.notes])

    found = DrawableMany.of(run_many("subject", mice, ask, progress=progress))
    if plot and (figure := found.draw_mice()) is not None:
        _display(figure)
    return _reported(found, progress)


def _failures(unusable: Mapping[str, str]) -> list[Failure]:
    """Return the failures of sessions that could not be read, from the message of each."""
    return [Failure(eid, "", "", message) for eid, message in unusable.items()]


def _reported(found: Reported, progress: bool) -> Reported:
    """Print the tables of a result, or warn of what is lacking."""
    if progress:
        found.show()
    elif lines := found.failure_lines():
        warnings.warn(f"left out: {'; '.join(lines)}", stacklevel=3)
    return found


def tag(name: str, eids: Sequence[str]) -> list[str]:
    """Give a tag to sessions; return the ids of those that did not have it.

    Parameters
    ----------
    name : str
        Letters, digits and ``_.+:-``, up to 64.
    eids : sequence of str
        Registered sessions, named as in ``load_or_embed``.

    Raises
    ------
    NotFoundError
        One of them is not registered; none gets the tag.
    ArgumentError
        The name cannot be a tag.
    """
    schemas.activate()
    return add_tag(name, session_ids(eids))


def untag(name: str, eids: Sequence[str] = ()) -> int:
    """Take a tag from sessions, by default from all, and return how many had it.

    Raises
    ------
    DataError
        No session has the tag, or one of ``eids`` does not have it; nothing is changed.
    """
    schemas.activate()
    return remove_tag(name, session_ids(eids))


def tagged(name: str, subject: str | None = None) -> list[str]:
    """Return the ids of the sessions with a tag, of all mice or of one, by subject and date.

    Raises
    ------
    NotFoundError
        There is none.
    """
    schemas.activate()
    return sessions_of(subject=subject, tag=name)


def trial_type_means(
    eid: str, windows: str | WindowSet | None = None, *, filter_neurons: bool = True, progress: bool = False
) -> pd.DataFrame:
    """Return the mean activity of each cell of a session in each window around trial events.

    Parameters
    ----------
    eid : str
        As for ``load_or_embed``.
    windows : str or pipeline.responses.WindowSet, optional
        Name of a stored set, or a set of your own, which is stored; by default the 26 trial windows.
    filter_neurons : bool
        Neurons only; False for all ROIs.
    progress : bool

    Returns
    -------
    DataFrame
        A row for each cell and window: eid, fov, roi, window, n (trials), mean, sem, and the means of the trials with
        even and with odd numbers.

    Raises
    ------
    NotFoundError
        The session has no trials or activity, or no set has this name.
    """
    from schemas.responses.run import fill_means, trial_type_frame

    schemas.activate()
    eid = registered(eid)
    fill_session(eid, progress=progress)
    key = fill_means([eid], windows, progress=progress)
    return trial_type_frame({"eid": eid, **key}, neurons_only=filter_neurons)


def cell_responses(
    eid: str,
    windows: str | WindowSet | None = None,
    *,
    filter_neurons: bool = True,
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Return what the single cells of a session tell: signal to noise, reliability, sparseness, selectivity.

    Parameters
    ----------
    eid, windows, filter_neurons, progress
        As for ``trial_type_means``.
    **settings
        See ``pipeline.responses.SelectivitySettings``: ``null``, ``n_label_shuffles`` ...

    Returns
    -------
    DataFrame
        A row for each cell: eid, fov, roi, is_neuron, region, beryl, signal_to_noise, split_half, sparseness, and for
        each target the AUROC, its p, and q over these cells (``auroc_choice``, ``auroc_p_choice``, ``auroc_q_choice``).

    Raises
    ------
    NotFoundError
        As for ``trial_type_means``.
    ArgumentError
        A setting is not what it should be.

    Warns
    -----
    UserWarning
        No cell is selective for a target, and with so few null labels only many cells together could be.
    """
    from pipeline.responses import SelectivitySettings
    from schemas.responses.run import run_cells

    asked = SelectivitySettings(**settings)
    schemas.activate()
    eid = registered(eid)
    fill_session(eid, progress=progress)
    found = run_cells(eid, windows=windows, settings=asked, neurons_only=filter_neurons, progress=progress)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.table


def stability(
    eids: Sequence[str],
    windows: str | WindowSet | None = None,
    *,
    filter_neurons: bool = True,
    tracking_run: str | None = None,
    roicat_root: str | Path | None = None,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    mixed_signals: bool = False,
    plot: bool = True,
    progress: bool = True,
    **settings: Any,
) -> DrawableStability:
    """Compute how stable the responses of the cells that sessions share are over days, corrected for noise.

    Parameters
    ----------
    eids : sequence of str
        Two or more sessions of one subject, named as in ``load_or_embed``.
    windows : str or pipeline.responses.WindowSet, optional
        As for ``trial_type_means``.
    filter_neurons, tracking_run, roicat_root, min_cell_probability, min_silhouette
        As for ``match_tracked_indices_across_sessions``.
    mixed_signals : bool
        Compare sessions even if they were read with different signals, deconvolved traces and fluorescence, and note
        it. By default this is an error.
    plot : bool
        Draw the stability over the days between sessions.
    progress : bool
        Show progress bars.
    **settings
        See ``pipeline.responses.StabilitySettings``: ``min_trials``, ``n_shuffles``, ``n_bootstrap`` ...

    Returns
    -------
    DrawableStability
        ``table`` (a DataFrame with a row for each pair of sessions), ``by_gap`` (by region and days between sessions,
        with intervals), ``controls``, ``slopes``, ``figures`` and ``notes``.

    Raises
    ------
    DataError
        Fewer than two sessions can be used, they are of several subjects, or they were read with different signals.
    ArgumentError
        A setting is not what it should be.

    Warns
    -----
    UserWarning
        Something was left out.
    """
    from drawing.responses import DrawableStability
    from pipeline.responses import StabilitySettings
    from schemas.responses.run import run_stability

    asked = StabilitySettings(**settings)
    schemas.activate()
    eids, unusable = _usable(eids, progress)
    run = tracking_run_of_sessions(eids, tracking_run, roicat_root)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    found = DrawableStability.of(
        run_stability(
            eids, run, windows=windows, settings=asked, neurons_only=filter_neurons, mixed_signals=mixed_signals,
            progress=progress, **cells,
        )
    )  # fmt: skip
    found.notes += unusable.values()
    for note in dict.fromkeys(found.notes):
        warnings.warn(note, stacklevel=2)
    if plot:
        _display_all(found.draw())
    return found


def embed_days(
    eids: Sequence[str],
    embedded: str = "concatenated",
    *,
    windows: str | WindowSet | None = None,
    signal: str | SignalSettings = "",
    embedding: EmbeddingSettings | None = None,
    filter_neurons: bool = True,
    tracking_run: str | None = None,
    roicat_root: str | Path | None = None,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    plot: bool = True,
    progress: bool = True,
    **settings: Any,
) -> DrawableEmbedding:
    """Sort the cells that sessions share by one Rastermap for all days.

    Parameters
    ----------
    eids : sequence of str
        Two or more sessions of one subject, named as in ``load_or_embed``.
    embedded : {'concatenated', 'trial_types'}
        What is sorted: the activity in all sessions, one after the other; or the means of each cell in kinds of trials
        of all sessions, of trials with even numbers, while those with odd numbers are shown.
    windows : str or pipeline.responses.WindowSet, optional
        Of 'trial_types': as for ``trial_type_means``.
    signal : {'', 'deconvolved', 'fluorescence', 'dff'} or SignalSettings
        The activity on all days; '' is as each FOV was read, which must be the same on all days.
    embedding : pipeline.embedding.EmbeddingSettings, optional
        Settings of Rastermap; by default those of a session, for kinds of trials without a lag in time.
    filter_neurons, tracking_run, roicat_root, min_cell_probability, min_silhouette
        As for ``match_tracked_indices_across_sessions``.
    plot : bool
        Draw the sorted cells, a panel for each day.
    progress : bool
        Show progress bars.
    **settings
        See ``pipeline.embedding_days.DaysSettings``: ``bin_seconds``, ``min_trials``.

    Returns
    -------
    DrawableEmbedding
        ``order``, ``cells`` (UIDs), ``sessions``, ``matrix(eid)`` and ``matrices`` (sorted, by session),
        ``roi_keys(eid)``, ``figures`` and ``notes``.

    Raises
    ------
    DataError
        Fewer than two sessions can be used, they are of several subjects, share no cell or have different signals.
    ArgumentError
        A setting is not what it should be.

    Warns
    -----
    UserWarning
        Something was left out.
    """
    from drawing.days import DrawableEmbedding
    from pipeline.embedding_days import DaysSettings
    from schemas.days.run import run_embedding

    asked, of_signal = DaysSettings(embedded, **settings), SignalSettings.named(signal)
    schemas.activate()
    eids, unusable = _usable(eids, progress)
    run = tracking_run_of_sessions(eids, tracking_run, roicat_root)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    found = DrawableEmbedding.of(
        run_embedding(
            eids, run, asked, windows=windows, signal=of_signal, embedding=embedding, neurons_only=filter_neurons,
            progress=progress, **cells,
        )
    )  # fmt: skip
    found.notes += unusable.values()
    for note in dict.fromkeys(found.notes):
        warnings.warn(note, stacklevel=2)
    if plot:
        _display_all(found.draw())
    return found


def transfer(
    eids: Sequence[str],
    targets: Sequence[str] = ("choice",),
    *,
    scaler: str = "own",
    labels: str | Mapping[str, Mapping[str, Any] | Callable[[pd.DataFrame], Any]] | None = None,
    filter_neurons: bool = True,
    tracking_run: str | None = None,
    roicat_root: str | Path | None = None,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    mixed_signals: bool = False,
    plot: bool = True,
    progress: bool = True,
    **settings: Any,
) -> DrawableTransfer:
    """Train a readout on each session, and test it on all others, to see whether the code is the same on later days.

    Results that are in the database already are not computed again.

    Parameters
    ----------
    eids : sequence of str
        Two or more sessions of one subject, named as in ``load_or_embed``.
    targets, labels, mixed_signals
        As for ``neuron_dropping_curves_cached``.
    scaler : {'own', 'trained'}
        Standardise the cells by all trials of each session, without labels; or those of other sessions by the training
        trials.
    filter_neurons, tracking_run, roicat_root, min_cell_probability, min_silhouette
        As for ``match_tracked_indices_across_sessions``.
    plot : bool
        Draw a figure for each target.
    progress : bool
        Show progress bars, and print the tables at the end.
    **settings
        See ``pipeline.decoding.NDCSettings``, and ``event`` and ``win`` of ``neuron_dropping_curves_cached``. ks,
        delta and the ceiling do nothing; ``R`` is the number of sets of folds within a session, and of random halves.

    Returns
    -------
    DrawableTransfer
        ``table`` (a DataFrame: dates of training and test, days between, score with interval, p, q ...), ``matrix``,
        ``decay`` and ``figures`` by target; methods ``draw`` and ``show``.

    Raises
    ------
    DataError
        Fewer than two sessions can be used, they are of several subjects, or they were read with different signals.
    SettingsError
        No trial of any session meets the condition ``trials``, or the window is longer than the trials of each.
    ArgumentError, ArgumentTypeError
        A setting or ``eids`` is not what it should be; the message names it.
    """
    from drawing.transfer import DrawableTransfer

    wanted = curve_settings(targets, labels=_stand_ins(targets, labels), **settings)
    for one in wanted:
        check_transfer(one, scaler)
    schemas.activate()
    eids, unusable = _usable(eids, progress)
    wanted = _with_labels(wanted, labels, eids)
    run = tracking_run_of_sessions(eids, tracking_run, roicat_root)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    result = DrawableTransfer.of(
        run_transfer(
            eids, run, wanted, scaler, neurons_only=filter_neurons, **cells, mixed_signals=mixed_signals,
            progress=progress,
        )
    )  # fmt: skip
    result.unusable += _failures(unusable)
    if plot:
        _display_all(result.draw())
    return _reported(result, progress)


def _usable(eids: Sequence[str], progress: bool) -> tuple[list[str], dict[str, str]]:
    """Register and read the sessions; return the ids of those that can be used, and a message for each other one."""
    if isinstance(eids, str):
        raise ArgumentTypeError("eids takes a list of session ids, not a single id")
    found: dict[str, str] = {}
    unusable: dict[str, str] = {}
    known = registered_of(eids)
    for named in dict.fromkeys(map(str, eids)):
        try:
            found[known.get(named) or registered(named)] = named
        except DataError as error:
            unusable[named] = str(error)
    if found:
        one_subject(list(found))
    unusable |= fill_sessions(list(found), progress=progress)
    usable = [eid for eid in found if eid not in unusable]
    if len(usable) < 2:
        raise DataError(
            "at least two sessions are needed to compare curves", expected="2 or more that can be used",
            found=f"{len(usable)}",
            do="; ".join(unusable.values()) or None,
        )  # fmt: skip
    return usable, unusable


def best_sets(
    subject: str,
    sizes: int | Iterable[int] = range(2, 11),
    *,
    min_trials: int | None = None,
    protocol: str | None = None,
    trials: str = "",
    tag: str | None = None,
    filter_neurons: bool = True,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    tracking_run: str | None = None,
    n_each: int = 1,
) -> list[BestSet]:
    """Return the sets of sessions of a mouse that share most cells, of each size, exactly.

    Positions of ROIs and UIDs are read on demand, not the activity.

    Parameters
    ----------
    subject : str
        Its registered sessions are considered.
    sizes : int or iterable of int
        Numbers of sessions of a set.
    min_trials : int, optional
        Only sessions with at least as many trials.
    protocol : str, optional
        Only sessions whose task protocol has this word, such as 'biased'.
    trials : str, optional
        Condition such as 'contrast > 0.1 and correct': ``min_trials``, by default 1, counts only trials that meet it.
    tag : str, optional
        Only sessions with this tag.
    filter_neurons, min_cell_probability, min_silhouette, tracking_run
        Which cells count: as for ``match_tracked_indices_across_sessions``.
    n_each : int
        How many sets of each size.

    Returns
    -------
    list of BestSet
        With ``size``, ``n_shared``, ``eids`` and ``dates``, by size; ``as_row()`` is a dict of plain values.
        ``neuron_dropping_curves_cached`` takes each in the place of ids. A size of which no set shares a cell is not
        there.

    Raises
    ------
    DataError
        The subject has no such session, or no tracked cells.
    ArgumentError
        ``trials`` is not a condition.

    Warns
    -----
    UserWarning
        A session is left out, or there are fewer sessions than each of the sizes; the message gives the reason.
    """
    from schemas.decoding import sets

    schemas.activate()
    eids, sizes = sessions_of(subject=subject, tag=tag), [sizes] if isinstance(sizes, int) else list(sizes)
    found, reasons = sets.best_sets(
        eids, sizes, min_trials=min_trials, protocol=protocol, trials=trials, n_each=n_each,
        tracking_run=tracking_run, neurons_only=filter_neurons, min_cell_probability=min_cell_probability,
        min_silhouette=min_silhouette,
    )  # fmt: skip
    for eid, reason in reasons.items():
        warnings.warn(f"session {eid} is left out: {reason}", stacklevel=2)
    if not found and sizes:
        warnings.warn(sets.why_none(sizes, len(eids) - len(reasons)), stacklevel=2)
    return found


def _display_all(figures: Mapping[str, Figure]) -> None:
    for figure in figures.values():
        _display(figure)


def _display(figure: Figure) -> None:
    """Show a figure if this runs in a notebook; elsewhere do nothing."""
    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(figure)

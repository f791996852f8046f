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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

import schemas
from pipeline.decoding import NDCSettings
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
)
from pipeline.settings.curves import TARGETS, curve_settings
from pipeline.signals.resampling import common_frames, resample
from pipeline.signals.selection import Rows, chosen_rows
from schemas.decoding.run import Failure, match_cells, run_ndc
from schemas.imaging.activity import activity_of
from schemas.queries.errors import errors_of
from schemas.queries.ids import one_subject
from schemas.queries.sessions import trial_events
from schemas.queries.tracking_runs import fovs_left_out, fovs_of_other_runs, tracking_run_of_sessions
from schemas.rows import in_fovs, place_numbers
from schemas.storage.bulk import columns
from schemas.work.filling import fill, fill_session, fill_sessions, not_read, registered, registered_of

if TYPE_CHECKING:
    import datajoint as dj
    from matplotlib.figure import Figure

    from drawing.curves import DrawableRun

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "MesoError",
    "NotFoundError",
    "OutOfRangeError",
    "embed_meso",
    "get_win_times",
    "load_or_embed",
    "match_tracked_indices_across_sessions",
    "neuron_dropping_curves_cached",
    "plot_raster",
    "plot_xyz",
]

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

    Returns
    -------
    dict
        ``roi_signal`` (N, T), values and dtype of the files; ``roi_times`` (N, T) s, rows computed on demand,
        and ``roi_times.flagged``, the frames of each FOV that are flagged as bad (their values stay);
        ``region_labels`` (N,) acronyms; ``region_colors`` (N,) hex; ``isort`` (N,) int64, the Rastermap order
        of these rows; ``xyz`` (N, 3) ML, AP, DV in micrometres, NaN where unknown; ``roi_keys`` N keys
        of the table ROI; ``signal`` (N,) 'deconvolved' or 'fluorescence'.

    Raises
    ------
    DataError
        No FOV can be used, or FOVs differ in their number of frames.
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

    schemas.activate()
    eid = registered(eid)
    if rerun:
        _read_again(eid)
    fill_session(eid, behavior=False)
    params = EmbeddingParams.key_of(EmbeddingSettings(neurons_only=filter_neurons))
    if not (Embedding & {"eid": eid, **params}):
        EmbeddingParams.add(EmbeddingSettings(neurons_only=filter_neurons))
        fill([Embedding], {"eid": eid, **params})
    _warn_of_failures(eid)
    fovs, rois = _cells(eid, filter_neurons)
    rows = chosen_rows(restrict, len(rois), "restrict", eid)
    # without rows, read one cell of each FOV for the number of frames and the frame times
    read = rows if len(rows) else np.unique(fovs, return_index=True)[1]
    # each cell is read once, in the order of the database
    cell, order = np.unique(read, return_inverse=True)
    order, fovs, rois, n_cells = order[: len(rows)], fovs[cell], rois[cell], len(rois)
    position = _of_rois(schemas.ROI & {"eid": eid}, fovs, rois, n_cells, *ROI_COLUMNS)
    found = activity_of(
        eid, fovs, rois, np.column_stack([position["stack_y"], position["stack_x"]]), scan_line_column=scan_line_column
    )
    rank = _ranks(eid, params, fovs, rois, n_cells, order)
    _warn_of_kinds(eid, found.signal[order])
    return {
        # indexing would copy all traces, often gigabytes
        "roi_signal": found.traces if np.array_equal(order, np.arange(len(cell))) else found.traces[order],
        "roi_times": found.times.rows(order),
        **_regions(position["region_id"][order]),
        "isort": np.argsort(rank, kind="stable"),
        "xyz": np.column_stack([position[axis][order].astype(float) for axis in ("ml", "ap", "dv")]),
        "roi_keys": [{"eid": eid, "fov": fov, "roi": roi} for fov, roi in _pairs(fovs[order], rois[order])],
        "signal": found.signal[order],
    }


def _read_again(eid: str) -> None:
    """Update a session from its files, and warn of what failed or what is odd about them."""
    from schemas.upkeep.update import update

    done = update([eid])
    for text in [*done.failures, *done.notes]:
        warnings.warn(text, stacklevel=4)


def _cells(eid: str, neurons_only: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return FOV and number, each (N,), of the cells whose activity is in the database, in row order."""
    cells = schemas.ROI & {"eid": eid} & schemas.Activity.proj() & ("is_neuron" if neurons_only else True)
    fovs, rois = columns(cells, "fov", "roi", order_by=("fov", "roi"))
    if not len(rois):
        raise DataError(
            "the session has no neurons",
            eid=eid,
            expected="at least one",
            found="none",
            do="pass filter_neurons=False for all ROIs",
        )
    return fovs, rois


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


def _pairs(fovs: np.ndarray, rois: np.ndarray) -> Iterable[tuple[int, int]]:
    return zip(fovs.tolist(), rois.tolist(), strict=True)


def _regions(region_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return acronyms and colours of regions, each (n,), from their ids; an id may be None."""
    unknown = {"acronym": "unknown", "rgb": "#808080"}
    ids, which = np.unique([NO_REGION if i is None else i for i in region_ids.tolist()], return_inverse=True)
    asked = ", ".join(map(str, ids.astype(int).tolist()))
    found = (schemas.BrainRegion & f"region_id in ({asked})").proj("acronym", "rgb").to_dicts() if asked else []
    regions = {row["region_id"]: row for row in found}
    return {
        column: np.array([regions.get(i, unknown)[name] for i in ids.tolist()], dtype)[which]
        # of the lengths of the columns in the database, whichever regions are there
        for column, name, dtype in (("region_labels", "acronym", "U32"), ("region_colors", "rgb", "U7"))
    }


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


def _warn_of_failures(eid: str) -> None:
    """Warn of each job of the session that has failed: its FOV is missing in the result."""
    tables = (schemas.FOV, schemas.Recording, schemas.ROI, schemas.Activity, schemas.Embedding)
    for failure in errors_of(tables, {"eid": eid}):
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
    restrict, filter_neurons
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

    cells = load_or_embed(eid, restrict=restrict, filter_neurons=filter_neurons)
    eid = cells["roi_keys"][0]["eid"] if cells["roi_keys"] else str(eid)  # whole, whatever names the session
    by = cells["isort"] if order is None and rsort else chosen_rows(order, len(cells["isort"]), "order", eid)
    if not len(by):
        raise ArgumentError(f"session {eid}: no cell to draw; 'restrict' or 'order' selects none")
    rows, rank = np.unique(by, return_inverse=True)
    if len(rows) < len(by):  # 'order' repeats a row: draw it as often
        rows, rank = by, np.arange(len(by))
    fill([Behavior, Wheel], {"eid": eid})
    signal, clock = _shown(eid, cells, rows, t_range, restr)
    kinds = " and ".join(np.unique(cells["signal"]))
    return raster(
        signal,
        clock,
        order=None if order is None and not rsort else rank,
        regions=cells["region_labels"][rows],
        region_colors=region_colors,
        wheel=wheel_velocity(eid),
        **(_trial_strips(eid) if trials else {}),
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
    for text in [*filled, *fovs_left_out(session_set), *fovs_of_other_runs(session_set)]:
        warnings.warn(text, stacklevel=2)
    return {eid: _rows_of(session_set, eid, filter_neurons) for eid in eids}


def _anchor_and_others(args: tuple, anchor: str | None, others: Sequence[str] | None) -> tuple[str, list[str]]:
    """Return ``anchor_eid`` and ``other_eids``, given by name or in order, without a ONE client before them."""
    if args and hasattr(args[0], "load_dataset"):  # a ONE client, recognised without importing ONE
        args = args[1:]
    given = [*args, *(value for value in (anchor, others) if value is not None)]
    if len(given) != 2 or not isinstance(given[0], str | UUID) or isinstance(given[1], str):
        raise ArgumentTypeError(
            "match_tracked_indices_across_sessions(anchor_eid, other_eids) takes one id and a list of ids"
        )
    return str(given[0]), [str(eid) for eid in given[1]]


def _rows_of(session_set: dict, eid: str, neurons_only: bool) -> np.ndarray:
    """Return the rows of ``load_or_embed`` that are the shared cells of a set, (n,) int64, in the set's order."""
    cells = place_numbers(*_cells(eid, neurons_only))
    shared = schemas.SharedCells.Cell & session_set & {"eid": eid}
    return np.searchsorted(cells, place_numbers(*columns(shared, "fov", "roi", order_by=("shared_cell",))))


def neuron_dropping_curves_cached(
    eids: Sequence[str],
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
    **settings: Any,
) -> DrawableRun:
    """Compute neuron-dropping curves of the cells that sessions share, plot them, print k*.

    Results that are in the database already are not computed again.

    Parameters
    ----------
    eids : sequence of str
        Two or more sessions of one subject, named as in ``load_or_embed``.
    targets : sequence of {'choice', 'feedback', 'stimulus', 'block'}
    event, win : optional
        Trials attribute, and window (start, end) in s around it; one for all targets, or a dict by target. By default
        the target's own (``pipeline.decoding.EVENTS``).
    ks, R, metric, cv_splits, class_balance, scaling, equalize_trials, ceiling_mode, n_label_shuffles,
    shuffle_seed, seed, delta, **settings
        See ``pipeline.decoding.NDCSettings``; any of its settings can be given. ``R`` is its ``r``. With a
        ``shuffle_seed`` of None, ``seed`` is used, as in the scripts.
    filter_neurons, tracking_run, roicat_root, min_cell_probability, min_silhouette
        As for ``match_tracked_indices_across_sessions``.
    cache_dir, one
        Accepted because the scripts took them, and ignored: the database is the cache, and has the source of each
        session.
    plot : bool
        Draw the curves of all sessions over each other, in a figure for each target.
    progress : bool
        Show progress bars, and print the table at the end.

    Returns
    -------
    DrawableRun
        ``table`` (a DataFrame: date, eid, target, k* with its interval, ceiling, p, q, verdict ...), ``curves``,
        ``day_trends`` (of code and sensitivity) and ``figures`` by target, ``failed`` {eid: messages}, ``failures``
        (each by session and target), ``targets`` (all of that by target), ``n_shared``; methods ``draw``,
        ``draw_days``, ``draw_performance``, ``draw_regions`` and ``show``.

    Raises
    ------
    DataError
        Fewer than two sessions can be used, or they are of several subjects.
    ArgumentError, ArgumentTypeError
        A setting or ``eids`` is not what it should be; the message names it.
    """
    from drawing.curves import DrawableRun

    if cache_dir is not None:
        warnings.warn("cache_dir is ignored: the database is the cache", stacklevel=2)
    if isinstance(eids, str):
        raise ArgumentTypeError("eids takes a list of session ids, not a single id")
    if "r" not in settings or NDCSettings.r != R:  # R at its default must not override or contradict r
        settings["R"] = R
    wanted = curve_settings(
        targets, event=event, win=win, ks=ks, metric=metric, cv_splits=cv_splits, class_balance=class_balance,
        scaling=scaling, equalize_trials=equalize_trials, ceiling_mode=ceiling_mode, n_label_shuffles=n_label_shuffles,
        shuffle_seed=seed if shuffle_seed is None else shuffle_seed, seed=seed, delta=delta, **settings,
    )  # fmt: skip
    schemas.activate()
    eids, unusable = _usable(eids, progress)
    run = tracking_run_of_sessions(eids, tracking_run, roicat_root)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    result = DrawableRun.of(run_ndc(eids, run, wanted, neurons_only=filter_neurons, **cells, progress=progress))
    result.unusable += [Failure(eid, "", "", message) for eid, message in unusable.items()]
    if plot:
        for figure in result.draw().values():
            _display(figure)
    if progress:
        result.show()
    elif result.failed:
        warnings.warn(f"left out: {'; '.join(result.failure_lines())}", stacklevel=2)
    return result


def _usable(eids: Sequence[str], progress: bool) -> tuple[list[str], dict[str, str]]:
    """Register and read the sessions; return the ids of those that can be used, and a message for each other one."""
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


def _display(figure: Figure) -> None:
    """Show a figure if this runs in a notebook; elsewhere do nothing."""
    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(figure)

"""Reading the traces and clocks of ROIs, from the database or from a store of objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TypeAlias

import datajoint as dj
import numpy as np

from pipeline.errors import ArgumentError, DamagedError, DataError, NotFoundError
from pipeline.settings.signals import SignalSettings
from pipeline.signals import clock
from pipeline.signals.flags import flagged_frames
from pipeline.storage.arrays import DAMAGED, Bytes, get_ready, unpack, unpack_rows
from pipeline.storage.places import Place, is_place, place_of, places_of
from schemas.imaging.signals import Signal, signals_used
from schemas.imaging.tables import FOV, Activity, Recording
from schemas.rows import in_fovs
from schemas.storage import bulk, stores

#: Columns of Recording with flags of frames.
FLAGS = ("bad_frames", "frame_qc", "frame_qc_names")
#: Bytes of traces that are decoded together, packed and then decoded: as many as the cache of a processor holds.
PACKED_BYTES, DECODED_BYTES = 400_000, 3_000_000
#: By FOV its number and that of each ROI, with the place of its trace.
TracePlaces: TypeAlias = dict[int, list[tuple[tuple[int, int], Place]]]


def fov_traces(
    eid: str, fov: int, rois: np.ndarray, frames: slice = slice(None), out: np.ndarray | None = None
) -> np.ndarray:
    """Return the traces of some ROIs (n,) of one FOV, (n, frames): see ``roi_traces``."""
    return roi_traces(eid, np.full(len(rois), fov), rois, frames, out)


def roi_traces(
    eid: str,
    fovs: np.ndarray,
    rois: np.ndarray,
    frames: slice = slice(None),
    out: np.ndarray | None = None,
    stored: Mapping[int, dict] | None = None,
    places: TracePlaces | None = None,
) -> np.ndarray:
    """Return the traces of some ROIs of a session, bit for bit as in the ALF files.

    Parameters
    ----------
    eid : str
    fovs, rois : (n,) int
        FOV and number of each ROI, in any order, without repeats.
    frames : slice
        Frames to return, without a step.
    out : (n, frames), optional
        Array to fill.
    stored : dict of int to dict, optional
        What ``recorded`` returned for these FOVs, to spare a query.
    places : dict of int to list, optional
        What ``trace_places`` returned for these ROIs, likewise.

    Returns
    -------
    (n, frames) array
        C-ordered and writable, in the dtype of the files or of ``out``.

    Raises
    ------
    DataError
        No ROI is requested, a ROI is requested twice, is not in the database or has a damaged trace, or the FOVs differ
        in their number of frames.
    ArgumentError
        The frames have a step, or ``out`` has another shape.
    """
    if frames.step not in (None, 1):
        raise ArgumentError(f"frames must be a slice without a step, not {frames}")
    fovs, rois = np.asarray(fovs, dtype=np.int64), np.asarray(rois, dtype=np.int64)
    if not len(rois):
        raise DataError("no ROIs are requested", eid=eid, expected="1 or more", found="0")
    stored = stored or _stored(eid, fovs)
    n_frames, dtype = _common_length(eid, stored), _common_dtype(stored)
    n_wanted = len(range(n_frames)[frames])
    if out is None:
        out = np.empty((len(rois), n_wanted), dtype)
    if out.shape != (len(rois), n_wanted):  # compiled code would write beyond its end
        raise ArgumentError(f"out must have the shape {(len(rois), n_wanted)}, not {out.shape}")
    row_of = {place: row for row, place in enumerate(zip(fovs.tolist(), rois.tolist(), strict=True))}
    if len(row_of) < len(rois):
        raise DataError(
            "a ROI is requested twice", eid=eid, expected=f"{len(rois)} different ROIs", found=f"{len(row_of)}"
        )
    found = np.zeros(len(rois), dtype=bool)
    is_direct = n_wanted == n_frames and out.dtype == dtype and out.flags.c_contiguous

    def decode(packed: Mapping[int, Bytes]) -> None:
        rows = [*packed]
        whole = out if is_direct else np.empty((len(rows), n_frames), dtype)
        try:
            unpack_rows([*packed.values()], whole, rows if is_direct else range(len(rows)))
            if not is_direct:
                out[rows] = whole[:, frames]
        except DataError:  # one is damaged, or the FOVs have several dtypes
            for row, data in packed.items():
                with locate_errors(eid, int(fovs[row]), int(rois[row])):
                    out[row] = unpack(data, np.empty(n_frames, stored[fovs[row]]["trace_dtype"]))[frames]
        found[rows] = True

    get_ready(len(rois) * n_frames * out.itemsize)
    at_once = max(1, DECODED_BYTES // max(1, n_frames * dtype.itemsize))
    waiting: dict[int, Bytes] = {}  # by row
    size = 0

    def take(fov: int, roi: int, data: Bytes) -> None:
        nonlocal size
        row = row_of.get((fov, roi))
        if row is None:  # the query may select whole FOVs: see _of_rois
            return
        waiting[row] = data
        size += len(data)
        if len(waiting) == at_once or size > PACKED_BYTES:
            decode(waiting)
            waiting.clear()
            size = 0

    # no threads: two decode no faster than one, with twice the processor time
    if places is None:
        places = trace_places(eid, fovs, rois, stored)
    _stream_wanted(eid, fovs, rois, stored, places, take)
    decode(waiting)
    if not found.all():
        _raise_missing(eid, fovs, rois, found)
    return out


def stream_traces(
    eid: str,
    rows: dj.QueryExpression,
    take: Callable[[int, int, Bytes], None],
    failed: Callable[[int, int, DataError], None] | None = None,
    activity: dict | None = None,
) -> None:
    """Call ``take`` with FOV, ROI and packed trace of each row of ``Activity.Trace``.

    Traces in rows come first, in the order that the server sends them; then those in objects, object by object.

    Parameters
    ----------
    eid : str
    rows : dj.QueryExpression
        Restricted ``Activity.Trace``, of this session only.
    take : callable(fov, roi, data)
    failed : callable(fov, roi, error), optional
        Called for each trace that cannot be read or for which ``take`` raised a DataError, which then names the ROI.
        By default the error is raised.
    activity : dict, optional
        Row of ``Activity``, if all rows are of one FOV: a trace in another object than the one it names is an error.

    Raises
    ------
    DataError
        As ``failed`` says.
    ConfigError
        A store is not configured, or does not answer.
    """
    places: list[tuple[tuple[int, int], Place]] = []

    def take_row(fov: int, roi: int, data: bytes) -> None:
        with locate_errors(eid, fov, roi, failed):
            if is_place(data):
                places.append(((fov, roi), _place_of(data, activity)))
            else:
                take(fov, roi, data)

    bulk.stream(rows, "fov", "roi", "trace", take=take_row)
    _take_from_stores(eid, places, take, failed)


def _take_from_stores(
    eid: str,
    places: Iterable[tuple[tuple[int, int], Place]],
    take: Callable[[int, int, Bytes], None],
    failed: Callable[[int, int, DataError], None] | None = None,
) -> None:
    """Call ``take`` with FOV, ROI and packed trace of each place; see ``stream_traces``."""
    for (fov, roi), data in stores.read(places):
        try:  # locate_errors would take a tenth of the time of decoding
            take(fov, roi, stores.value_or_raise(data))
        except DataError as error:
            _report(error, eid, fov, roi, failed)


def trace_places(eid: str, fovs: np.ndarray, rois: np.ndarray, stored: Mapping[int, dict]) -> TracePlaces:
    """Return by FOV where in which object the traces of some ROIs are, by one query for all of them.

    Parameters
    ----------
    eid : str
    fovs, rois : (n,) int
        FOV and number of each ROI.
    stored : dict of int to dict
        What ``recorded`` returned for these FOVs.

    Returns
    -------
    dict of int to list
        FOV and number of each ROI, with its place. A FOV is missing whose traces are in rows, or of which a place is
        damaged: reading it place by place says which.
    """
    in_objects = {fov for fov, row in stored.items() if row["trace_store"]}
    if not in_objects:
        return {}
    wanted, found = set(zip(fovs.tolist(), rois.tolist(), strict=True)), {}
    # a row for each FOV with the places of all its traces
    for fov, numbers, data in bulk.joined(_of_rois(eid, fovs, rois, stored, in_objects), "fov", "roi", "trace"):
        if of_fov := places_of(data, len(numbers)):
            keyed = [((fov, roi), place) for roi, place in zip(numbers.tolist(), of_fov, strict=True)]
            found[fov] = [one for one in keyed if one[0] in wanted]  # it may be a whole FOV: another may be damaged
    return found


def _stream_wanted(
    eid: str, fovs: np.ndarray, rois: np.ndarray, stored: Mapping[int, dict], places: TracePlaces,
    take: Callable[[int, int, Bytes], None],
) -> None:  # fmt: skip
    """Call ``take`` with the packed traces of some ROIs, and perhaps of others of their FOVs."""
    own = [fov for fov, row in stored.items() if "signal_params" in row]
    for fov in own:
        rows = Signal.Trace & {"eid": eid, "fov": fov, "signal_params": stored[fov]["signal_params"]}
        stream_traces(eid, _of_rois(eid, fovs, rois, stored, [fov], rows.proj(trace="signal_trace")), take)
    if in_rows := stored.keys() - places.keys() - set(own):
        stream_traces(eid, _of_rois(eid, fovs, rois, stored, in_rows), take)
    _take_from_stores(eid, chain.from_iterable(places[fov] for fov in stored if fov in places), take)


@contextmanager
def locate_errors(
    eid: str, fov: int, roi: int, failed: Callable[[int, int, DataError], None] | None = None
) -> Iterator[None]:
    """Add session, FOV and ROI to a DataError of the block, and raise it or pass it to ``failed``."""
    try:
        yield
    except DataError as error:
        _report(error, eid, fov, roi, failed)


def _report(
    error: DataError, eid: str, fov: int, roi: int, failed: Callable[[int, int, DataError], None] | None
) -> None:
    if error.eid:  # of another trace, which was decoded together with this one
        raise error
    located = error.located(eid=eid, fov=fov, dataset=f"ROI {roi}")
    if failed is None:
        raise located from error
    failed(fov, roi, located)


def _place_of(data: bytes, activity: dict | None) -> Place:
    """Return the place of a trace, checked against ``activity``.

    A trace in an object that ``Activity`` does not name would be lost when orphaned objects are removed.
    """
    place = place_of(data)
    if activity is None:
        return place
    store, path = activity["trace_store"], activity["trace_object"]
    if (place.store, place.path) != (store, path):
        raise DamagedError(
            "a trace is not where the row of its FOV says",
            expected=f"{path} in the store {store}" if store else "the row of the trace",
            found=f"{place.path} in the store {place.store}", do=DAMAGED,
        )  # fmt: skip
    return place


def _stored(eid: str, fovs: np.ndarray) -> dict[int, dict]:
    """Return the row of ``Activity`` of each FOV, with n_rois, n_frames and signal of ``FOV``, by FOV.

    Raises
    ------
    NotFoundError
        A FOV has no activity in the database.
    """
    return _rows_of_fovs(eid, fovs, FOV.proj("n_rois", "n_frames", "signal") * Activity)


def recorded(eid: str, fovs: np.ndarray, signal: SignalSettings | None = None) -> dict[int, dict]:
    """Return the row of ``Activity`` and ``Recording`` of each FOV, with n_rois, n_frames and signal, by FOV.

    One query for what ``roi_traces``, ``clocks`` and ``flags`` need. With ``signal`` the rows say where its traces are:
    see ``schemas.imaging.signals``.

    Raises
    ------
    NotFoundError
        A FOV has no activity, no recording or not the signal in the database.
    """
    try:
        rows = _rows_of_fovs(eid, fovs, FOV.proj("n_rois", "n_frames", "signal") * Activity * Recording)
    except NotFoundError:
        check_populated(eid, fovs, Recording, Activity)  # says which is missing of which FOV
        raise
    for row in signals_used(eid, rows, signal):
        rows[row["fov"]] |= {
            "signal": signal.kind if signal else "", "trace_dtype": row["signal_dtype"], "trace_store": None,
            "signal_params": row["signal_params"],
        }  # fmt: skip
    return rows


def _rows_of_fovs(eid: str, fovs: np.ndarray, table: dj.QueryExpression) -> dict[int, dict]:
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    rows = {row["fov"]: row for row in (table & {"eid": eid} & wanted).to_dicts(order_by="fov")}
    for key in wanted:
        if key["fov"] not in rows:
            raise NotFoundError(
                "the FOV has no activity in the database", eid=eid, fov=key["fov"], do="Populate it with: meso populate"
            )
    return rows


def _common_length(eid: str, stored: Mapping[int, dict]) -> int:
    numbers = {fov: row["n_frames"] for fov, row in stored.items()}
    if len(set(numbers.values())) > 1:
        raise DataError(
            "the FOVs differ in their number of frames, so their traces are not one matrix", eid=eid,
            expected="the same number",
            found=", ".join(f"{n} in FOV_{fov:02d}" for fov, n in sorted(numbers.items())),
            do="Read each FOV by itself, or resample them to one clock with pipeline.signals.resampling",
        )  # fmt: skip
    return next(iter(numbers.values()), 0)


def _common_dtype(stored: Mapping[int, dict]) -> np.dtype:
    """Return the dtype of the files, or a dtype that holds all of several.

    np.result_type of a single dtype would change its byte order to that of the machine.
    """
    names = {row["trace_dtype"] for row in stored.values()}
    return np.dtype(names.pop()) if len(names) == 1 else np.result_type(*names)


def _of_rois(
    eid: str,
    fovs: np.ndarray,
    rois: np.ndarray,
    stored: Mapping[int, dict],
    of: Collection[int],
    own: dj.QueryExpression | None = None,
) -> dj.QueryExpression:
    """Return a query for the traces of those of the ROIs that are in the FOVs ``of``; it may give others of these FOVs.

    The traces are those of ``own``, by default of ``Activity``. If most ROIs are wanted, whole FOVs are read: a
    condition that lists them takes the server longer than the rows.
    """
    traces, inside = Activity.Trace & {"eid": eid} if own is None else own, np.isin(fovs, list(of))
    if 2 * inside.sum() > sum(stored[fov]["n_rois"] for fov in of):
        return traces & [{"fov": fov} for fov in of]
    return traces & in_fovs(fovs[inside], rois[inside])


def _raise_missing(eid: str, fovs: np.ndarray, rois: np.ndarray, found: np.ndarray) -> None:
    missing = [f"ROI {roi} of FOV_{fov:02d}" for fov, roi in zip(fovs[~found], rois[~found], strict=True)]
    raise DamagedError(
        "traces are missing in the database", eid=eid, fov=int(fovs[~found][0]), expected=f"traces of {len(rois)} ROIs",
        found=f"{found.sum()}; none for {', '.join(missing[:5])}", do="meso verify lists what is missing",
    )  # fmt: skip


def check_populated(eid: str, fovs: np.ndarray, *tables: type[dj.Table]) -> None:
    """Raise a NotFoundError that says which FOVs of a session lack a row in which of some tables.

    Parameters
    ----------
    eid : str
    fovs : (n,) int
        Numbers of FOVs; may repeat.
    *tables : table classes
        With ``eid`` and ``fov`` in their key.
    """
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    there = {table.__name__: set((table & {"eid": eid} & wanted).to_arrays("fov").tolist()) for table in tables}
    lacking = {key["fov"]: [name for name, found in there.items() if key["fov"] not in found] for key in wanted}
    texts = [f"FOV_{fov:02d} lacks {' and '.join(names)}" for fov, names in lacking.items() if names]
    if texts:
        raise NotFoundError(
            "FOVs are not populated", eid=eid, expected=f"{' and '.join(there)} of each FOV", found="; ".join(texts),
            do=f"'meso errors {' '.join(there)}' lists failed ones; populate them, then run meso retry",
        )  # fmt: skip


def clocks(
    eid: str,
    fovs: np.ndarray,
    stack_pos: np.ndarray,
    scan_line_column: int,
    recordings: Mapping[int, dict] | None = None,
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Return the frame times of each FOV, and the offset of each ROI within its frame.

    Parameters
    ----------
    eid : str
    fovs : (n,) int
        FOV of each ROI.
    stack_pos : (n, 2) int
        y (scan line) and x (column) of each ROI in the image, pixels.
    scan_line_column : int
        See ``pipeline.signals.clock.roi_offsets``.
    recordings : dict of int to dict, optional
        What ``recorded`` returned for these FOVs, to spare a query.

    Returns
    -------
    frame_times : dict of (n_frames,) float64
        Start of each frame by FOV, s on the session's clock.
    offsets : (n,) float64
        Time of each ROI after the start of its frame, s.

    Raises
    ------
    NotFoundError
        A FOV has no recording in the database.
    """
    if recordings is None:
        wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
        recordings = {row["fov"]: row for row in (Recording & {"eid": eid} & wanted).to_dicts(order_by="fov")}
        if len(recordings) < len(wanted):
            check_populated(eid, fovs, Recording)  # says which is missing, and why
    frame_times, offsets = {}, np.empty(len(fovs))
    for row in recordings.values():
        rows = fovs == row["fov"]
        frame_times[row["fov"]] = np.asarray(row["frame_times"])
        offsets[rows] = clock.roi_offsets(np.asarray(row["timeshift"]), stack_pos[rows], scan_line_column)
    return frame_times, offsets


def flags(eid: str, fovs: Iterable[int]) -> dict[int, np.ndarray]:
    """Return which frames are flagged as bad, (n_frames,) bool, for each of these FOVs that has such a frame."""
    rows = (Recording & {"eid": eid} & [{"fov": int(fov)} for fov in set(fovs)]).proj(*FLAGS).to_dicts(order_by="fov")
    return flags_in(rows)


def flags_in(rows: Iterable[Mapping]) -> dict[int, np.ndarray]:
    """Return the same as ``flags`` from rows of ``Recording``."""
    found = {row["fov"]: flagged_frames(*(row[name] for name in FLAGS)) for row in rows}
    return {fov: flagged for fov, flagged in found.items() if flagged is not None}

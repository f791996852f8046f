"""Traces and clocks of ROIs out of the database, wherever the bytes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import datajoint as dj
import numpy as np

from pipeline.errors import ArgumentError, DamagedError, DataError, NotFoundError
from pipeline.signals import clock
from pipeline.storage.arrays import DAMAGED, Bytes, unpack
from pipeline.storage.places import Place, is_place, place_of
from schemas.imaging.tables import FOV, Activity, Recording
from schemas.rows import in_fovs
from schemas.storage import bulk, stores


def fov_traces(
    eid: str, fov: int, rois: np.ndarray, frames: slice = slice(None), out: np.ndarray | None = None
) -> np.ndarray:
    """Return the traces of some ROIs (n,) of a FOV: see ``roi_traces``."""
    return roi_traces(eid, np.full(len(rois), fov), rois, frames, out)


def roi_traces(
    eid: str, fovs: np.ndarray, rois: np.ndarray, frames: slice = slice(None), out: np.ndarray | None = None
) -> np.ndarray:
    """Return the traces of some ROIs of a session, bit by bit as in the ALF files.

    Parameters
    ----------
    eid : str
    fovs, rois : (n,) int
        FOV and number of each ROI, each ROI once, in any order.
    frames : slice
        Frames to return, without a step.
    out : (n, frames), optional
        Where to put them.

    Returns
    -------
    (n, frames), C-ordered and writable, in the dtype of the files or of ``out``

    Raises
    ------
    DataError
        No ROI is asked for, or one that is not in the database, or whose trace is damaged; the FOVs differ in their
        number of frames.
    ArgumentError
        The frames have a step.
    """
    if frames.step not in (None, 1):
        raise ArgumentError(f"frames are a stretch without a step, not {frames}")
    fovs, rois = np.asarray(fovs, dtype=np.int64), np.asarray(rois, dtype=np.int64)
    if not len(rois):
        raise DataError("no ROIs to return the activity of", eid=eid, expected="1 or more", found="0")
    stored = _stored(eid, fovs)
    n_frames, dtype = _one_length(eid, stored), _one_dtype(stored)
    n_wanted = len(range(n_frames)[frames])
    if out is None:
        out = np.empty((len(rois), n_wanted), dtype)
    row_of = {place: row for row, place in enumerate(zip(fovs.tolist(), rois.tolist(), strict=True))}
    if len(row_of) < len(rois):
        raise DataError("a ROI is asked for twice", eid=eid, expected=f"{len(rois)} ROIs", found=f"{len(row_of)}")
    found = np.zeros(len(rois), dtype=bool)

    def take(fov: int, roi: int, data: Bytes) -> None:
        row = row_of.get((fov, roi))
        if row is None:
            return
        own = np.dtype(stored[fov]["trace_dtype"])
        if n_wanted == n_frames and out.dtype == own:
            unpack(data, out[row])
        else:
            out[row] = unpack(data, np.empty(n_frames, own))[frames]
        found[row] = True

    # no threads: one core decodes several times as fast as any server sends
    stream_traces(eid, _of_rois(eid, fovs, rois, stored), take)
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
    """Call ``take`` with FOV, ROI and packed trace of each row of ``Activity.Trace``, wherever the trace is.

    Parameters
    ----------
    eid : str
    rows : dj.QueryExpression
        Rows of this session.
    take : callable
    failed : callable, optional
        Called with the error, located, of each trace that cannot be had, or that ``take`` raised; by default raised.
    activity : dict, optional
        Row of ``Activity`` of the one FOV that the rows are of: a trace in another object than it names is an error.

    Raises
    ------
    DataError
        See ``failed``.
    ConfigError
        A store is not configured, or does not answer.
    """
    places: list[tuple[tuple[int, int], Place]] = []

    def take_row(fov: int, roi: int, data: bytes) -> None:
        with of_roi(eid, fov, roi, failed):
            if is_place(data):
                places.append(((fov, roi), _place_of(data, activity)))
            else:
                take(fov, roi, data)

    bulk.stream(rows, "fov", "roi", "trace", take=take_row)
    for (fov, roi), data in stores.read(places):
        with of_roi(eid, fov, roi, failed):
            take(fov, roi, stores.whole(data))


@contextmanager
def of_roi(eid: str, fov: int, roi: int, failed: Callable[[int, int, DataError], None] | None = None) -> Iterator[None]:
    """Have a DataError say which ROI it is about, and raise it, or hand it to ``failed``."""
    try:
        yield
    except DataError as error:
        located = error.located(eid=eid, fov=fov, dataset=f"ROI {roi}")
        if failed is None:
            raise located from error
        failed(fov, roi, located)


def _place_of(data: bytes, activity: dict | None) -> Place:
    """Return a place; objects that ``Activity`` does not name are removed one day."""
    place = place_of(data)
    if activity is None:
        return place
    store, path = activity["trace_store"], activity["trace_object"]
    if (place.store, place.path) != (store, path):
        raise DamagedError(
            "a trace is not where its FOV says", expected=f"{path} in the store {store}" if store else "it in its row",
            found=f"{place.path} in the store {place.store}", do=DAMAGED,
        )  # fmt: skip
    return place


def _stored(eid: str, fovs: np.ndarray) -> dict[int, dict]:
    """Return number of ROIs, frames and dtype of each FOV."""
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    rows = (FOV.proj("n_rois", "n_frames") * Activity & {"eid": eid} & wanted).to_dicts()
    stored = {row["fov"]: row for row in rows}
    for one in wanted:
        if one["fov"] not in stored:
            raise NotFoundError("the database has no activity", eid=eid, fov=one["fov"], do="Fill it: meso populate")
    return stored


def _one_length(eid: str, stored: dict[int, dict]) -> int:
    numbers = {fov: one["n_frames"] for fov, one in stored.items()}
    if len(set(numbers.values())) > 1:
        raise DataError(
            "FOVs differ in their number of frames and cannot be one matrix", eid=eid, expected="the same number",
            found=", ".join(f"{n} in FOV_{fov:02d}" for fov, n in sorted(numbers.items())),
            do="Ask for the cells of each FOV, or bring them to one clock: pipeline.signals.resampling",
        )  # fmt: skip
    return next(iter(numbers.values()), 0)


def _one_dtype(stored: dict[int, dict]) -> np.dtype:
    """Return the dtype of the files, or one that holds all of several; numpy would change the byte order of one."""
    names = {one["trace_dtype"] for one in stored.values()}
    return np.dtype(names.pop()) if len(names) == 1 else np.result_type(*names)


def _of_rois(eid: str, fovs: np.ndarray, rois: np.ndarray, stored: dict[int, dict]) -> dj.QueryExpression:
    """Return the traces of some ROIs; a list of most ROIs would take the server longer than their rows do."""
    traces = Activity.Trace & {"eid": eid}
    if 2 * len(rois) > sum(one["n_rois"] for one in stored.values()):
        return traces & [{"fov": fov} for fov in stored]
    return traces & in_fovs(fovs, rois)


def _raise_missing(eid: str, fovs: np.ndarray, rois: np.ndarray, found: np.ndarray) -> None:
    lacking = [f"ROI {roi} of FOV_{fov:02d}" for fov, roi in zip(fovs[~found], rois[~found], strict=True)]
    raise DamagedError(
        "the database lacks activity", eid=eid, fov=int(fovs[~found][0]), expected=f"traces of {len(rois)} ROIs",
        found=f"{found.sum()}; none for {', '.join(lacking[:5])}", do="meso verify lists what is missing",
    )  # fmt: skip


def clocks(
    eid: str, fovs: np.ndarray, stack_pos: np.ndarray, scan_line_column: int
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Return the frame times of each FOV, and the offset of each ROI within its frame.

    Parameters
    ----------
    eid : str
    fovs : (n,) int
        FOV of each ROI.
    stack_pos : (n, 2) int
        Its y and x.
    scan_line_column : int
        See ``pipeline.signals.clock.roi_offsets``.

    Returns
    -------
    frame_times : dict of (n_frames,) float64
        By FOV, s on the session's clock.
    offsets : (n,) float64
        s.
    """
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    frame_times, offsets = {}, np.empty(len(fovs))
    for row in (Recording & {"eid": eid} & wanted).to_dicts(order_by="fov"):
        rows = fovs == row["fov"]
        frame_times[row["fov"]] = np.asarray(row["frame_times"])
        offsets[rows] = clock.roi_offsets(np.asarray(row["timeshift"]), stack_pos[rows], scan_line_column)
    return frame_times, offsets

"""The activity of any cells of a session, as one matrix with its times."""

from __future__ import annotations

from typing import NamedTuple

import datajoint as dj
import numpy as np

from pipeline.errors import DataError, NotFoundError
from pipeline.signals.clock import ROITimes
from schemas.imaging.reading import clocks, roi_traces
from schemas.imaging.tables import FOV, ROI, Activity
from schemas.storage import bulk


class CellActivity(NamedTuple):
    """Activity of some cells.

    Attributes
    ----------
    traces : (N, T)
        In the dtype of the files.
    keys : list of dict
        eid, fov and roi of each row.
    times : ROITimes
        (N, T) s on the session's clock, rows made on demand: every FOV has a clock of its own, and every ROI its place
        within the frame.
    signal : (N,) str
        'deconvolved' or 'fluorescence'.
    """

    traces: np.ndarray
    keys: list[dict]
    times: ROITimes
    signal: np.ndarray


def activity(
    rois: dj.QueryExpression, start: float | None = None, end: float | None = None, *, scan_line_column: int = 0
) -> CellActivity:
    """Return the activity of cells of one session; nothing else is read.

    Parameters
    ----------
    rois : dj.QueryExpression
        What has the keys of ``ROI``: ``ROI & "is_neuron"``, the members of tracked cells, any restriction or join.
    start, end : float, optional
        Stretch of time, s on the session's clock: the frames that begin in it in any of the FOVs.
    scan_line_column : {0, 1}
        See ``pipeline.signals.clock.roi_offsets``.

    Returns
    -------
    CellActivity
        Rows by FOV and ROI.

    Raises
    ------
    NotFoundError
        There are no such cells, or their activity is not in the database.
    DataError
        The query names no session, the cells are of several, or their FOVs differ in their number of frames.
    DamagedError
        An array is missing or damaged.
    """
    if "eid" not in rois.heading.names:
        raise DataError(
            "these are no ROIs", expected="a query with eid, and fov and roi unless all are meant",
            found=f"a query with {', '.join(rois.heading.names)}", do='Such as: activity(ROI & {"eid": eid})',
        )  # fmt: skip
    cells = (ROI & rois.proj()) * FOV.proj("signal") & Activity.proj()
    names = ("eid", "fov", "roi", "stack_y", "stack_x", "signal")
    eids, fovs, numbers, stack_y, stack_x, signal = bulk.columns(cells, *names, order_by=names[:3])
    if len(set(eids)) != 1:
        raise (DataError if len(eids) else NotFoundError)(
            "activity is one matrix for one session", expected="ROIs of 1 session with activity in the database",
            found=f"{len(eids)} ROIs of {len(set(eids))} sessions",
            do='Call it for each session: activity(rois & {"eid": eid})',
        )  # fmt: skip
    eid = str(eids[0])
    frame_times, offsets = clocks(eid, fovs, np.column_stack([stack_y, stack_x]), scan_line_column)
    frames = _frames(frame_times, start, end)
    traces = roi_traces(eid, fovs, numbers, frames)
    keys = [{"eid": eid, "fov": fov, "roi": roi} for fov, roi in zip(fovs.tolist(), numbers.tolist(), strict=True)]
    times = ROITimes({fov: times[frames] for fov, times in frame_times.items()}, fovs, offsets)
    return CellActivity(traces, keys, times, signal)


def _frames(frame_times: dict[int, np.ndarray], start: float | None, end: float | None) -> slice:
    """Return the frames that begin in [start, end) in any FOV: FOVs are scanned one after another."""
    first = [0 if start is None else int(np.searchsorted(times, start)) for times in frame_times.values()]
    last = [len(times) if end is None else int(np.searchsorted(times, end)) for times in frame_times.values()]
    return slice(min(first), max(last))

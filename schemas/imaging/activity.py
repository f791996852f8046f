"""The activity of any cells of one session, as a matrix with its times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import datajoint as dj
import numpy as np

from pipeline.errors import ConfigError, DataError, NotFoundError
from pipeline.settings.signals import SignalSettings
from pipeline.signals.clock import ROITimes
from pipeline.signals.flags import blanked
from pipeline.signals.resampling import common_clock, resample_fovs
from schemas.imaging.reading import clocks, flags_in, recorded, roi_traces
from schemas.imaging.tables import FOV, ROI, Activity, BrainRegion
from schemas.rows import place_numbers
from schemas.server.quick_import import without_garbage_collection
from schemas.session import unchanged
from schemas.storage import bulk


class CellActivity(NamedTuple):
    """Activity of some cells.

    Attributes
    ----------
    traces : (N, T)
        Activity, in the dtype of the files.
    keys : list of dict
        eid, fov and roi of each row.
    times : ROITimes
        (N, T), s on the session's clock. Rows are computed on demand: each FOV has a clock of its own, and each ROI an
        offset within the frame. ``times.flagged`` has the frames that are flagged as bad; `traces` keeps their values.
    signal : (N,) str
        'deconvolved', 'fluorescence' or 'dff'.
    """

    traces: np.ndarray
    keys: list[dict]
    times: ROITimes
    signal: np.ndarray

    def to_pynapple(self, *, common: bool = False) -> Any:
        """Return the activity as ``TsdFrame`` of pynapple, whose columns are the cells.

        Each column has the metadata eid, fov, roi, region (acronym), ml, ap, dv (micrometres, NaN where unknown),
        signal and time_offset. Frames that are flagged as bad are NaN.

        Parameters
        ----------
        common : bool
            One frame on an evenly spaced clock, to which each cell is interpolated from its own times
            (``pipeline.signals.resampling``; NaN in gaps). By default each FOV keeps its own clock.

        Returns
        -------
        dict of int to TsdFrame (T, n)
            By FOV; columns are numbers of ROIs. Times are the starts of frames: add the time_offset of a cell, s, for
            the time at which it was scanned.
        TsdFrame (M, N)
            With ``common``. Columns are numbered from 0, by FOV and ROI; time_offset is 0.

        Raises
        ------
        ConfigError
            pynapple is not installed.
        DataError
            With ``common``: the FOVs were not imaged at the same time.
        """
        frame = _pynapple().TsdFrame
        rows = {int(fov): np.flatnonzero(self.times.fovs == fov) for fov in np.unique(self.times.fovs)}
        about, flagged, clocks = _about(self), self.times.flagged, self.times.frame_times
        if not common:
            return {
                fov: frame(
                    t=clocks[fov], d=blanked(self.traces[at], flagged.get(fov)).T, columns=about["roi"][at],
                    metadata={name: column[at] for name, column in about.items()},
                )
                for fov, at in rows.items()
            }  # fmt: skip
        of_fov = {fov: clocks[fov] for fov in rows}
        clock = common_clock(of_fov, latest_offset=float(self.times.offsets.max()))
        resampled = resample_fovs(
            {fov: self.traces[at] for fov, at in rows.items()}, of_fov,
            {fov: self.times.offsets[at] for fov, at in rows.items()}, clock, flagged_by_fov=flagged,
        )  # fmt: skip
        order = np.concatenate(list(rows.values()))
        metadata = {name: column[order] for name, column in about.items()} | {"time_offset": np.zeros(len(order))}
        return frame(t=clock, d=resampled.T, columns=np.arange(len(order)), metadata=metadata)


def _pynapple() -> Any:
    """Return the pynapple module; raise ConfigError if it is not installed."""
    try:
        import pynapple
    except ImportError as error:
        raise ConfigError(f"pynapple is needed ({error}). Install it with: pip install '.[pynapple]'") from error
    return pynapple


def _about(cells: CellActivity) -> dict[str, np.ndarray]:
    """Return what pynapple is told about each cell, (N,) by name; one statement."""
    eid, fovs, numbers = cells.keys[0]["eid"], cells.times.fovs, np.array([key["roi"] for key in cells.keys])
    of_fovs = ROI & {"eid": eid} & [{"fov": int(fov)} for fov in np.unique(fovs)]
    names = ("fov", "roi", "region", "ml", "ap", "dv")
    found = bulk.columns(of_fovs.extend(BrainRegion.proj(region="acronym")), *names, order_by=names[:2])
    at = np.searchsorted(place_numbers(*found[:2]), place_numbers(fovs, numbers))
    return {
        "eid": np.full(len(at), eid), "fov": np.asarray(fovs, int), "roi": numbers,
        "region": np.array([acronym or "unknown" for acronym in found[2][at].tolist()]),
        **{name: column[at].astype(float) for name, column in zip(names[3:], found[3:], strict=True)},
        "signal": cells.signal, "time_offset": cells.times.offsets,
    }  # fmt: skip


def activity(
    rois: dj.QueryExpression,
    start: float | None = None,
    end: float | None = None,
    *,
    scan_line_column: int = 0,
    signal: str | SignalSettings = "",
) -> CellActivity:
    """Return the activity of some cells of one session; only their traces are read.

    Parameters
    ----------
    rois : dj.QueryExpression
        Any query with keys of ``ROI``: ``ROI & "is_neuron"``, the members of tracked cells, a restriction or a join.
    start, end : float, optional
        Time window [start, end), s on the session's clock; a frame is included if it begins in the window in any FOV.
    scan_line_column : {0, 1}
        See ``pipeline.signals.clock.roi_offsets``.
    signal : {'', 'deconvolved', 'fluorescence', 'dff'} or SignalSettings
        The activity; '' is as each FOV was read. Fluorescence and dF/F that Activity does not have are in the database
        once they have been requested: ``schemas.SignalTask.ask``, then ``meso populate Signal``.

    Returns
    -------
    CellActivity
        Rows by FOV and ROI.

    Raises
    ------
    NotFoundError
        The query has no cells, or their activity, or the signal, is not in the database.
    DataError
        The query has no attribute ``eid``, its cells are of several sessions, or the FOVs differ in their number of
        frames.
    DamagedError
        An array is missing or damaged.
    """
    if "eid" not in rois.heading.names:
        raise DataError(
            "the query does not select ROIs", expected="a query with eid, and with fov and roi unless it means all",
            found=f"a query with {', '.join(rois.heading.names)}", do='For example: activity(ROI & {"eid": eid})',
        )  # fmt: skip
    cells = ROI & rois.proj() & Activity.proj()
    eids = (dj.U("eid") & cells).to_arrays("eid").tolist()
    if len(eids) != 1:
        raise (DataError if eids else NotFoundError)(
            "activity() returns one matrix, of one session", expected="ROIs of 1 session with activity in the database",
            found=f"{len(cells)} ROIs of {len(eids)} sessions",
            do='Call it for each session: activity(rois & {"eid": eid})',
        )  # fmt: skip
    with unchanged(eids[0], FOV):
        names = ("fov", "roi", "stack_y", "stack_x")
        fovs, numbers, stack_y, stack_x = bulk.columns(cells, *names, order_by=names[:2])
        return activity_of(
            eids[0], fovs, numbers, np.column_stack([stack_y, stack_x]), start, end,
            scan_line_column=scan_line_column, signal=SignalSettings.named(signal),
        )  # fmt: skip


@without_garbage_collection()  # of each ROI there are several small objects, of which none is garbage
def activity_of(
    eid: str,
    fovs: np.ndarray,
    rois: np.ndarray,
    stack_pos: np.ndarray,
    start: float | None = None,
    end: float | None = None,
    *,
    scan_line_column: int = 0,
    signal: SignalSettings | None = None,
) -> CellActivity:
    """Return the activity of ROIs of a session whose columns have been read already.

    Parameters
    ----------
    eid : str
    fovs, rois : (n,) int
        FOV and number of each ROI, in any order, without repeats.
    stack_pos : (n, 2) int
        stack_y and stack_x of each.
    start, end, scan_line_column
        As for ``activity``, as are the errors.
    signal : SignalSettings, optional
        By default as each FOV was read.
    """
    rows = recorded(eid, fovs, signal)
    frame_times, offsets = clocks(eid, fovs, stack_pos, scan_line_column, rows)
    frames = _frames(frame_times, start, end)
    traces = roi_traces(eid, fovs, rois, frames, stored=rows)
    keys = [{"eid": eid, "fov": fov, "roi": roi} for fov, roi in zip(fovs.tolist(), rois.tolist(), strict=True)]
    flagged = {fov: of_fov[frames] for fov, of_fov in flags_in(rows.values()).items()}
    times = ROITimes({fov: times[frames] for fov, times in frame_times.items()}, fovs, offsets, flagged)
    return CellActivity(traces, keys, times, _by_fov(fovs, {fov: row["signal"] for fov, row in rows.items()}))


def _by_fov(fovs: np.ndarray, values: Mapping[int, str]) -> np.ndarray:
    """Return the value of the FOV of each ROI, (n,) str."""
    there, which = np.unique(fovs, return_inverse=True)
    return np.array([values[fov] for fov in there.tolist()])[which]


def _frames(frame_times: dict[int, np.ndarray], start: float | None, end: float | None) -> slice:
    """Return the frames that begin in [start, end) in any FOV; the FOVs are scanned in turn, so their times differ."""
    first = [0 if start is None else int(np.searchsorted(times, start)) for times in frame_times.values()]
    last = [len(times) if end is None else int(np.searchsorted(times, end)) for times in frame_times.values()]
    return slice(min(first), max(last))

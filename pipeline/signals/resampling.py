"""Traces of several FOVs on one clock, for analyses that need one matrix.

Every FOV has its own frame times and every ROI its own offset within the frame. Values between two frames are
interpolated linearly; where a FOV was not imaged they are NaN, as nothing is extrapolated or held over a gap.
Embeddings and images need a value everywhere: they use the frames that all FOVs share (``common_frames``), with the
first and last values held (``hold_ends``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from pipeline.errors import ArgumentError, DataError
from pipeline.signals.clock import bouts, frame_period
from pipeline.signals.flags import blanked

#: Frames further apart than this many frame periods have a gap between them; a single lost frame is a gap.
GAP_PERIODS = 1.5
#: ROIs read at a time.
BLOCK = 128


class Rows(Protocol):
    """Traces of a FOV that can be read some rows at a time: an array, a memory map, an HDF5 dataset, a database."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, T): ROIs, frames."""

    @property
    def dtype(self) -> np.dtype:
        """dtype of the traces."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Return the traces of some ROIs, (n, T)."""


def common_clock(
    times_by_fov: Mapping[int, np.ndarray], period: float | None = None, latest_offset: float = 0.0
) -> np.ndarray:
    """Return evenly spaced times from the latest first frame to the earliest last frame.

    Parameters
    ----------
    times_by_fov : dict of int to (T_i,) float64
        Frame times of each FOV, s.
    period : float, optional
        Time between two samples, s. Default: the median of the FOVs' frame periods.
    latest_offset : float
        Largest offset of an ROI within its frame, s. The clock starts that much later, when every ROI has been scanned.

    Returns
    -------
    (M,) float64, s

    Raises
    ------
    DataError
        There is no time at which every FOV was being imaged.
    ArgumentError
        There is no FOV, or one without frames; the period is not positive.
    """
    if not times_by_fov or not all(map(len, times_by_fov.values())):
        raise ArgumentError("a common clock needs at least one FOV, and a frame in every FOV")
    start = max(times[0] for times in times_by_fov.values()) + latest_offset
    end = min(times[-1] for times in times_by_fov.values())
    if end < start:
        raise DataError(
            "the FOVs were not imaged at the same time",
            expected="a last frame after all first ones",
            found=f"a first frame at {start:.3f} s and a last one at {end:.3f} s",
            do="Leave out the FOV that was imaged apart",
        )
    if period is None:
        period = float(np.median([frame_period(times) for times in times_by_fov.values()]))
    if not period > 0:
        raise ArgumentError(f"the period must be a time in s above 0, not {period}")
    # one more than needed, then cut: the division may round either way
    clock = start + period * np.arange(int((end - start) / period) + 2)
    common: np.ndarray = clock[clock <= end]
    return common


def common_frames(times_by_fov: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return the frame times of the first FOV at which every FOV was imaged, to within one frame period.

    Parameters
    ----------
    times_by_fov : dict of int to (T_i,) float64
        Frame times of each FOV, s.

    Returns
    -------
    (T,) float64, s
    """
    reference, *others = times_by_fov.values()
    inside = np.ones(len(reference), dtype=bool)
    for times in others:
        first, last = times[bouts(times)].T
        # FOVs are scanned in turn: a time up to one frame period before a bout's first frame is in the same scan cycle
        bout = np.searchsorted(first - frame_period(times), reference, side="right") - 1
        # ... and one up to a frame period after its last frame, likewise
        inside &= (bout >= 0) & (reference <= last[np.maximum(bout, 0)] + frame_period(times))
    return reference[inside]


def resample(
    traces: np.ndarray,
    frame_times: np.ndarray,
    offsets: np.ndarray,
    clock: np.ndarray,
    *,
    out: np.ndarray | None = None,
    gap: float | None = None,
    hold_ends: bool = False,
    flagged: np.ndarray | None = None,
    fov: int | None = None,
) -> np.ndarray:
    """Interpolate traces of a FOV linearly from each ROI's own times to a clock.

    Parameters
    ----------
    traces : (N, T)
        A NaN affects only times between the frames next to it.
    frame_times : (T,) float64, s
        Increasing.
    offsets : (N,) float64, s
        Offset of each ROI within the frame.
    clock : (M,) float64, s
        In any order.
    out : (N, M) float, optional
        Array to write to.
    gap : float, optional
        Frames further apart than this, in s, have a gap between them. Default: ``GAP_PERIODS`` frame periods. Infinity
        for no gaps.
    hold_ends : bool
        Whether the first and the last value are held beyond the ends.
    flagged : (T,) bool, optional
        Frames that are flagged as bad: as if their values were NaN.
    fov : int, optional
        Number of the FOV, for error messages.

    Returns
    -------
    (N, M) float32, or float64 for traces that need it; or ``out``
        NaN in gaps, and (without ``hold_ends``) before the first and after the last frame. Computed in float64.

    Raises
    ------
    DataError
        Numbers of ROIs or frames disagree; times do not increase; ``out`` has another shape, or is not float.
    """
    _check(traces, frame_times, offsets, fov)
    traces = blanked(traces, flagged)
    # integers become float32, as gaps need NaN; float64 stays, so as not to lose digits
    out = _output(out, (len(traces), len(clock)), np.result_type(traces.dtype, np.float32), fov)
    gap = GAP_PERIODS * frame_period(frame_times) if gap is None else gap
    lines, line_of = np.unique(offsets, return_inverse=True)
    for line, offset in enumerate(lines):  # ROIs on the same scan line share their times
        times = frame_times + offset
        frames, is_on_frame, is_covered = _places(times, clock, gap, hold_ends)
        for row in np.flatnonzero(line_of == line):
            values = np.interp(clock, times, traces[row])
            # a time exactly on a frame takes that frame's value: interpolation would spread a NaN from the next frame
            out[row] = np.where(is_on_frame, traces[row][frames], np.where(is_covered, values, np.nan))
    return out


def resample_fovs(
    traces_by_fov: Mapping[int, Rows],
    times_by_fov: Mapping[int, np.ndarray],
    offsets_by_fov: Mapping[int, np.ndarray],
    clock: np.ndarray,
    *,
    out: np.ndarray | None = None,
    gap: float | None = None,
    flagged_by_fov: Mapping[int, np.ndarray] | None = None,
    block: int = BLOCK,
) -> np.ndarray:
    """Resample the traces of several FOVs to one clock, a few ROIs at a time.

    Parameters
    ----------
    traces_by_fov : dict of int to Rows, (N_i, T_i)
        Anything that returns rows by slice: arrays, memory maps, ``schemas.exchange.export.Traces``.
    times_by_fov : dict of int to (T_i,) float64, s
    offsets_by_fov : dict of int to (N_i,) float64, s
    clock : (M,) float64, s
        For example ``common_clock(times_by_fov)``.
    out : (N, M) float, optional
        Array to write to, for example a memory map: apart from it only ``block`` ROIs are in memory.
    gap : float, optional
        See ``resample``.
    flagged_by_fov : dict of int to (T_i,) bool, optional
        Frames that are flagged as bad, of FOVs that have any.
    block : int
        ROIs read at a time.

    Returns
    -------
    (N, M) float64 if any of the traces is, else float32
        FOVs in the order of ``traces_by_fov``.

    Raises
    ------
    DataError
        As ``resample``, with the FOV in the message.
    """
    sizes = [traces.shape[0] for traces in traces_by_fov.values()]
    dtype = np.result_type(np.float32, *(traces.dtype for traces in traces_by_fov.values()))
    out = _output(out, (sum(sizes), len(clock)), dtype, None)
    first, flags = 0, flagged_by_fov or {}
    for (fov, traces), size in zip(traces_by_fov.items(), sizes, strict=True):
        offsets = offsets_by_fov[fov]
        if len(offsets) != size:
            raise DataError("traces and offsets disagree", fov=fov, expected=f"{size} ROIs", found=f"{len(offsets)}")
        for start in range(0, size, block):
            rows = slice(start, min(start + block, size))
            part = out[first + rows.start : first + rows.stop]
            resample(
                traces[rows],
                times_by_fov[fov],
                offsets[rows],
                clock,
                out=part,
                gap=gap,
                flagged=flags.get(fov),
                fov=fov,
            )
        first += size
    return out


def _places(
    times: np.ndarray, clock: np.ndarray, gap: float, hold_ends: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each time of the clock, the frame at or before it, whether it is on that frame, and has a value.

    All are (M,): int, bool, bool.
    """
    last = len(times) - 1
    before = np.clip(np.searchsorted(times, clock, side="right") - 1, 0, last)
    is_inside = (clock >= times[0]) & (clock <= times[-1])
    is_near = times[np.minimum(before + 1, last)] - times[before] <= gap
    return before, clock == times[before], np.where(is_inside, is_near, hold_ends)


def _check(traces: np.ndarray, frame_times: np.ndarray, offsets: np.ndarray, fov: int | None) -> None:
    """Raise DataError unless numbers of ROIs and frames agree and times increase."""
    expected = f"{len(offsets)} offsets and {len(frame_times)} frame times"
    if traces.shape != (len(offsets), len(frame_times)) or not len(frame_times):
        found = f"traces {traces.shape}"
        raise DataError("traces and times disagree", fov=fov, expected=expected, found=found)
    if not (np.diff(frame_times) > 0).all():
        raise DataError("frame times do not increase", fov=fov, dataset="mpci.times")


def _output(out: np.ndarray | None, shape: tuple[int, int], dtype: np.dtype, fov: int | None) -> np.ndarray:
    """Return ``out`` if it can hold the result, or a new array; raise DataError otherwise."""
    if out is None:
        out = np.empty(shape, dtype)
    if out.shape != shape or out.dtype.kind != "f":
        expected, found = f"{shape}, floats for NaN", f"{out.shape} {out.dtype}"
        raise DataError("the output array does not fit", fov=fov, expected=expected, found=found)
    return out

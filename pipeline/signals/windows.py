"""Mean activity in time windows, on each ROI's own clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from pipeline import numba_cache
from pipeline.errors import ArgumentError

#: ROIs computed at a time, to bound the memory (128 ROIs x 1,000 trials x a few arrays of 8 bytes).
CHUNK = 128
Side: TypeAlias = Literal["left", "right"]


def window_means(
    traces: np.ndarray,
    frame_times: np.ndarray,
    offsets: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    short_window: str = "nearest",
) -> np.ndarray:
    """Return each ROI's mean activity in each window.

    A frame is in an ROI's window if ``start <= frame time + offset <= end``. Only frames within windows are read.

    Parameters
    ----------
    traces : (N, T) float
    frame_times : (T,) float64, s
    offsets : (N,) float64, s
        Offset of each ROI within the frame.
    starts, ends : (n,) float64, s
        Windows that were imaged throughout, see ``trial_coverage``.
    short_window : {'nearest', 'drop', 'next', 'interpolate'}
        Value for a window without a frame: the frame nearest to its centre; NaN; the first frame after its start; or
        the trace interpolated linearly at its centre.

    Returns
    -------
    (n, N) float64
        NaN where the window holds a NaN, or with 'drop' no frame.

    Raises
    ------
    ArgumentError
        There is a window without a frame, and `short_window` is none of these.
    """
    out = np.empty((len(starts), len(traces)))
    for i in range(0, len(traces), CHUNK):
        rois = slice(i, i + CHUNK)
        out[:, rois] = _means(traces[rois], frame_times, offsets[rois], starts, ends, short_window)
    return out


def _means(
    traces: np.ndarray, frame_times: np.ndarray, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray,
    short_window: str,
) -> np.ndarray:  # fmt: skip
    """Return the means of some ROIs, (n, N), as is every array of places or numbers of frames."""
    low, count, means = _sums(traces, frame_times, offsets, starts, ends)
    with np.errstate(invalid="ignore", divide="ignore"):
        means /= count
    # an infinite activity is as unusable as NaN; 0 / 0 of empty windows is replaced below
    means[~np.isfinite(means)] = np.nan
    empty = count == 0
    if empty.any():
        trial, cell = np.nonzero(empty)
        centre = (starts + ends)[trial] / 2 - offsets[cell]
        means[empty] = _without_frame(traces, frame_times, cell, centre, low[empty], short_window)
    return means


def _sums(
    traces: np.ndarray, frame_times: np.ndarray, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first frame, the number of frames and the sum of each window of each ROI, (n, N) each."""
    # the offset is taken from the window, not added to the frames: one clock for all ROIs, instead of an (N, T) matrix
    sums, window_sums = np.zeros((len(starts), len(traces))), _compiled_for(traces)
    if window_sums is not None:
        low, count = np.empty(sums.shape, np.int64), np.empty(sums.shape, np.int64)
        lows = _n_before_last(frame_times, starts, offsets, "left")
        highs = _n_before_last(frame_times, ends, offsets, "right")
        window_sums(traces, frame_times, offsets, starts, ends, lows, highs, low, count, sums)
        return low, count, sums
    low = _n_before(frame_times, starts, offsets, "left")
    count = _n_before(frame_times, ends, offsets, "right") - low
    # places in the traces one after the other: numpy takes these four times as fast as from rows and columns
    values, places = traces.reshape(-1), low + len(frame_times) * np.arange(len(traces))
    fewest = count.min(initial=len(frame_times))
    with np.errstate(invalid="ignore"):  # of infinite activity
        for frame in range(count.max(initial=0)):
            if frame < fewest:
                sums += values.take(places + frame)
                continue
            # clipped, because the place is taken where the mask is False, too
            sums += np.where(frame < count, values.take(np.minimum(places + frame, values.size - 1)), 0.0)
    return low, count, sums


def _compiled_for(traces: np.ndarray) -> Callable[..., None] | None:
    """Return ``window_sums`` for the traces of files, if this process has numba anyway: the sums are the same."""
    is_usual = traces.dtype == np.float32 and traces.dtype.isnative and traces.flags.c_contiguous
    if not is_usual or "numba" not in sys.modules:
        return None
    return numba_cache.compiled("pipeline.signals.window_kernel", "window_sums")


def _n_before_last(frame_times: np.ndarray, times: np.ndarray, offsets: np.ndarray, side: Side) -> np.ndarray:
    """Return for each time the number of frames before it, (n,), on the clock of the ROI that has most."""
    found: np.ndarray = np.searchsorted(frame_times, (times[:, None] - offsets).max(axis=1, initial=-np.inf), side)
    return found


def _n_before(frame_times: np.ndarray, times: np.ndarray, offsets: np.ndarray, side: Side) -> np.ndarray:
    """Return ``np.searchsorted(frame_times, times[:, None] - offsets, side)``, (n, N), several times as fast.

    Offsets are shorter than a frame, so that the ROIs differ by one frame, or a few: one search for all of them.
    """
    own, of_first = times[:, None] - offsets, _n_before_last(frame_times, times, offsets, side)
    n_back = np.zeros(own.shape, dtype=np.int32)
    is_later = np.greater_equal if side == "left" else np.greater
    for back in range(1, len(frame_times) + 1):
        # the frame so many before; there is none before the first
        frame = np.where(of_first >= back, frame_times[np.maximum(of_first - back, 0)], -np.inf)
        later = is_later(frame[:, None], own)
        if not later.any():
            break
        n_back += later
    found: np.ndarray = of_first[:, None] - n_back
    return found


def _without_frame(
    traces: np.ndarray,
    frame_times: np.ndarray,
    cell: np.ndarray,
    centre: np.ndarray,
    low: np.ndarray,
    short_window: str,
) -> np.ndarray:
    """Return the values for windows without a frame; all arrays but the traces have one value per such window."""
    last = len(frame_times) - 1
    # no frame is in the window, so that those before its start are those before its centre
    after = np.minimum(low, last)
    before = np.maximum(after - 1, 0)
    to_before, to_after = centre - frame_times[before], frame_times[after] - centre
    values: np.ndarray
    if short_window == "drop":
        values = np.full(len(cell), np.nan)
    elif short_window == "next":
        values = traces[cell, after]
    elif short_window == "nearest":
        values = traces[cell, np.where(to_before <= to_after, before, after)]
    elif short_window == "interpolate":
        with np.errstate(invalid="ignore", divide="ignore"):
            # 0 / 0 where both are the same frame, at an end of the recording
            share = np.clip(np.nan_to_num(to_before / (to_before + to_after)), 0, 1)
        values = traces[cell, before] * (1 - share) + traces[cell, after] * share
    else:
        raise ArgumentError(f"short_window must be nearest, drop, next or interpolate, not {short_window!r}")
    return values

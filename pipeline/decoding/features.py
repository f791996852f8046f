"""Trial features: mean activity in a window about an event, on each ROI's own clock."""

from __future__ import annotations

import numpy as np

from pipeline.clock import bouts

#: ROIs per piece: bounds the memory of the running sums (64 x 20,000 frames x 8 bytes = 10 MB).
CHUNK = 64


def trial_coverage(frame_times: np.ndarray, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Say for each trial whether all ROIs of a FOV were imaged throughout its window.

    Parameters
    ----------
    frame_times : (T,) float64, s
    offsets : (N,) float64, s
        Offset of each ROI within the frame.
    starts, ends : (n,) float64, s
        Windows on the session clock, NaN for none.

    Returns
    -------
    (n,) str
        '' if they were, 'event' without a finite window, 'outside' before or after imaging, 'gap'
        in a gap between frames.
    """
    reason = np.full(len(starts), "", dtype="U8")
    finite = np.isfinite(starts) & np.isfinite(ends)
    first, last = frame_times[bouts(frame_times)].T
    first, last = first + offsets.max(), last + offsets.min()
    bout = np.clip(np.searchsorted(first, starts, side="right") - 1, 0, len(first) - 1)
    inside = (starts >= first[bout]) & (ends <= last[bout])
    reason[~inside] = "gap"
    reason[(starts < first[0]) | (ends > last[-1])] = "outside"
    reason[~finite] = "event"
    return reason


def window_means(
    traces: np.ndarray,
    frame_times: np.ndarray,
    offsets: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    short_window: str = "nearest",
) -> np.ndarray:
    """Return each ROI's mean activity in each window.

    A frame belongs to a ROI's window when ``start <= frame time + offset <= end``. The sums are
    differences of one running sum per ROI: there is no loop over trials.

    Parameters
    ----------
    traces : (N, T) float
    frame_times : (T,) float64, s
    offsets : (N,) float64, s
    starts, ends : (n,) float64, s
        Windows that ``trial_coverage`` found covered.
    short_window : {'nearest', 'drop', 'next', 'interpolate'}
        For a window without a frame: the frame nearest to its centre; NaN; the first frame after
        its start; or the trace interpolated linearly at its centre.

    Returns
    -------
    (n, N) float64
        NaN where the window holds a NaN, or no frame with 'drop'.
    """
    out = np.empty((len(starts), len(traces)))
    for i in range(0, len(traces), CHUNK):
        rois = slice(i, i + CHUNK)
        out[:, rois] = _means(traces[rois], frame_times, offsets[rois], starts, ends, short_window)
    return out


def _means(traces, frame_times, offsets, starts, ends, short_window) -> np.ndarray:
    """Do one chunk of ``window_means``; all index arrays are (n, N)."""
    roi = np.arange(len(traces))
    low = np.searchsorted(frame_times, starts[:, None] - offsets, side="left")
    high = np.searchsorted(frame_times, ends[:, None] - offsets, side="right")
    count = high - low
    values = np.asarray(traces, dtype=np.float64)
    bad = ~np.isfinite(values)
    sums = _running(np.where(bad, 0.0, values))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums[roi, high] - sums[roi, low]) / count
    if bad.any():
        n_bad = _running(bad)
        means[n_bad[roi, high] > n_bad[roi, low]] = np.nan
    empty = count == 0
    if empty.any():
        trial, cell = np.nonzero(empty)
        centre = (starts + ends)[trial] / 2 - offsets[cell]
        means[empty] = _without_frame(values, frame_times, cell, centre, low[empty], short_window)
    return means


def _running(values: np.ndarray) -> np.ndarray:
    """Return running sums along frames with a leading zero: (N, T + 1)."""
    return np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))


def _without_frame(values, frame_times, cell, centre, low, short_window) -> np.ndarray:
    """Return the values for windows without a frame, all arrays one entry per such window."""
    last = len(frame_times) - 1
    after = np.clip(np.searchsorted(frame_times, centre), 0, last)
    before = np.maximum(after - 1, 0)
    to_before, to_after = centre - frame_times[before], frame_times[after] - centre
    if short_window == "drop":
        return np.full(len(cell), np.nan)
    if short_window == "next":
        return values[cell, np.minimum(low, last)]
    if short_window == "nearest":
        return values[cell, np.where(to_before <= to_after, before, after)]
    if short_window == "interpolate":
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.clip(np.nan_to_num(to_before / (to_before + to_after)), 0, 1)
        return values[cell, before] * (1 - share) + values[cell, after] * share
    raise ValueError(f"short_window is nearest, drop, next or interpolate, not {short_window!r}")

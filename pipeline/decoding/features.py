"""Trial features: mean activity in a window about an event, on each ROI's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.clock import bouts

#: ROIs per piece: bounds the memory (64 x 1,000 trials x a few arrays of 8 bytes).
CHUNK = 64


@dataclass(frozen=True)
class FOVCells:
    """Cells of one FOV.

    Attributes
    ----------
    columns : (N,) int
        Their columns in the matrix of features.
    traces : (N, T) float
    frame_times : (T,) float64, s
    offsets : (N,) float64
        Offset of each cell within the frame, s.
    """

    columns: np.ndarray
    traces: np.ndarray
    frame_times: np.ndarray
    offsets: np.ndarray


def trial_features(
    fovs: Sequence[FOVCells], labels: np.ndarray, starts: np.ndarray, ends: np.ndarray, short_window: str = "nearest"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the usable trials, and what became of every trial.

    Parameters
    ----------
    fovs : sequence of FOVCells
    labels : (n,) float64
        Class of each trial, NaN for neither.
    starts, ends : (n,) float64, s
        Windows on the session clock, NaN for none.
    short_window : str
        See ``window_means``.

    Returns
    -------
    features : (usable trials, cells) float64, finite
    outcome : (n,) str
        'usable', or the first reason against it: 'label', what ``trial_coverage`` says of any FOV,
        'no frame' (with 'drop') or 'not finite'.
    """
    outcome = np.where(np.isnan(labels), "label", "").astype("U16")
    for fov in fovs:
        reason = trial_coverage(fov.frame_times, fov.offsets, starts, ends)
        outcome = np.where(outcome == "", reason, outcome)
    covered = np.flatnonzero(outcome == "")
    features = _means_of_all(fovs, starts[covered], ends[covered], short_window)
    usable = np.isfinite(features).all(axis=1)
    outcome[covered] = np.where(usable, "usable", "not finite")
    if short_window == "drop" and not usable.all():
        lost = covered[~usable]
        # what the nearest frame would have saved had no frame in its window
        saved = np.isfinite(_means_of_all(fovs, starts[lost], ends[lost], "nearest")).all(axis=1)
        outcome[lost[saved]] = "no frame"
    return features[usable], outcome


def _means_of_all(fovs: Sequence[FOVCells], starts: np.ndarray, ends: np.ndarray, short_window: str) -> np.ndarray:
    out = np.empty((len(starts), sum(len(fov.columns) for fov in fovs)))
    for fov in fovs:
        out[:, fov.columns] = window_means(fov.traces, fov.frame_times, fov.offsets, starts, ends, short_window)
    return out


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

    A frame belongs to a ROI's window when ``start <= frame time + offset <= end``. Nothing but the frames of the
    windows is touched: the loop is over the frames of the longest one.

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
    count, last = high - low, len(frame_times) - 1
    means = np.zeros(low.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        for frame in range(count.max(initial=0)):
            means += np.where(frame < count, traces[roi, np.minimum(low + frame, last)], 0.0)
        means /= count
    means[~np.isfinite(means)] = np.nan
    empty = count == 0
    if empty.any():
        trial, cell = np.nonzero(empty)
        centre = (starts + ends)[trial] / 2 - offsets[cell]
        means[empty] = _without_frame(traces, frame_times, cell, centre, low[empty], short_window)
    return means


def _without_frame(traces, frame_times, cell, centre, low, short_window) -> np.ndarray:
    """Return the values for windows without a frame, all arrays one entry per such window."""
    last = len(frame_times) - 1
    after = np.clip(np.searchsorted(frame_times, centre), 0, last)
    before = np.maximum(after - 1, 0)
    to_before, to_after = centre - frame_times[before], frame_times[after] - centre
    if short_window == "drop":
        return np.full(len(cell), np.nan)
    if short_window == "next":
        return traces[cell, np.minimum(low, last)]
    if short_window == "nearest":
        return traces[cell, np.where(to_before <= to_after, before, after)]
    if short_window == "interpolate":
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.clip(np.nan_to_num(to_before / (to_before + to_after)), 0, 1)
        return traces[cell, before] * (1 - share) + traces[cell, after] * share
    raise ValueError(f"short_window is nearest, drop, next or interpolate, not {short_window!r}")

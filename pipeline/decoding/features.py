"""Trial features: mean activity in a window about an event, on each ROI's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.signals.clock import bouts
from pipeline.signals.windows import window_means


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
        See ``pipeline.signals.windows.window_means``.

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

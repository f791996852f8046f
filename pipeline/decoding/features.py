"""Trial features: mean activity in a window around an event, on each ROI's own clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from pipeline.errors import DataError
from pipeline.signals.clock import bouts
from pipeline.signals.noise import noise_levels
from pipeline.signals.windows import window_means

#: Events of a trial in which cells may respond; and the time before the first and after the last of them, s.
TASK = ("stimOn_times", "goCue_times", "firstMovement_times", "response_times", "feedback_times")
BEFORE_TASK, AFTER_TASK = 0.5, 1.0
#: Cells, evenly spaced among all, whose noise is measured: their median is known to a few percent, in less time.
N_NOISE_CELLS = 128


@dataclass(frozen=True)
class FOVCells:
    """The cells of one FOV.

    Attributes
    ----------
    columns : (N,) int
        Columns of the feature matrix that these cells fill.
    traces : (N, T) float
    frame_times : (T,) float64, s
    offsets : (N,) float64
        Time from the start of a frame to the scan of each cell, s.
    flagged : (T,) bool, optional
        Frames that are flagged as bad: trials whose window holds one are not used.
    signal : str
        What the traces are, 'deconvolved', 'fluorescence' or 'dff'; '' where it does not matter.
    """

    columns: np.ndarray
    traces: np.ndarray
    frame_times: np.ndarray
    offsets: np.ndarray
    flagged: np.ndarray | None = None
    signal: str = ""

    def without_flags(self) -> FOVCells:
        """Return the same cells with no frame flagged as bad."""
        return replace(self, flagged=None)


def trial_features(
    fovs: Sequence[FOVCells], labels: np.ndarray, starts: np.ndarray, ends: np.ndarray, short_window: str = "nearest",
    read: Callable[[FOVCells], np.ndarray] = attrgetter("traces"),
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the features of the usable trials, and the outcome of every trial.

    Parameters
    ----------
    fovs : sequence of FOVCells
    labels : (n,) float64
        Class of each trial, NaN for neither.
    starts, ends : (n,) float64, s
        Windows on the session clock, NaN for a trial without one.
    short_window : str
        See ``pipeline.signals.windows.window_means``.
    read : callable
        Returns the traces of one of the FOVs, when they are averaged: those of one are in memory at a time. By default
        those that it has.

    Returns
    -------
    features : (usable trials, cells) float64, finite
    outcome : (n,) str
        'usable', or the first reason why it is not: 'label', what ``trial_coverage`` returns for any FOV, 'bad frame'
        (flagged, in any FOV), 'no frame' (with ``short_window='drop'``) or 'not finite'.
    """
    outcome = np.where(np.isnan(labels), "label", "").astype("U16")
    for fov in fovs:
        reason = trial_coverage(fov.frame_times, fov.offsets, starts, ends)
        # the first reason stays: a trial without a label is not also counted as not imaged
        outcome = np.where(outcome == "", reason, outcome)
    for fov in fovs:
        if fov.flagged is not None:
            covered = np.flatnonzero(outcome == "")
            outcome[covered[_holds_flagged(fov, starts[covered], ends[covered], short_window)]] = "bad frame"
    covered = np.flatnonzero(outcome == "")
    features = _means_of_all(fovs, starts[covered], ends[covered], short_window, read)
    usable = np.isfinite(features).all(axis=1)
    outcome[covered] = np.where(usable, "usable", "not finite")
    if short_window == "drop" and not usable.all():
        lost = covered[~usable]
        # trials that are finite with the nearest frame have no frame in their window; the others hold a NaN
        saved = np.isfinite(_means_of_all(fovs, starts[lost], ends[lost], "nearest", read)).all(axis=1)
        outcome[lost[saved]] = "no frame"
    return features[usable], outcome


def noise_level(fovs: Sequence[FOVCells], trials: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return median and geometric mean of the noise levels of the cells between the trials; NaN if none has one.

    Parameters
    ----------
    fovs : sequence of FOVCells
    trials : mapping of str to (n,) float64
        By ALF attribute. From half a second before their first event to a second after the last one frames are left
        out: cells that respond more, or to more, are no noisier. See ``pipeline.signals.noise``.
    """
    step = noise_cell_step(sum(len(fov.columns) for fov in fovs))
    return noise_of_cells(fov_noise_levels(fov, fov.traces, trials, step) for fov in fovs)


def noise_cell_step(n_cells: int) -> int:
    """Return which cells `fov_noise_levels` takes of so many in all FOVs: every first, second, ..."""
    return max(1, n_cells // N_NOISE_CELLS)


def fov_noise_levels(fov: FOVCells, traces: np.ndarray, trials: Mapping[str, np.ndarray], step: int) -> np.ndarray:
    """Return the noise levels of every so many cells of a FOV, whose traces are (N, T), between the trials."""
    events = np.array([trials[name] for name in TASK if name in trials])
    with_event = np.isfinite(events).any(axis=0)
    starts = np.fmin.reduce(events[:, with_event]) - BEFORE_TASK
    ends = np.fmax.reduce(events[:, with_event]) + AFTER_TASK
    left_out = _within(fov.frame_times, starts, ends)
    left_out |= False if fov.flagged is None else fov.flagged
    return noise_levels(traces[::step], fov.frame_times, fov.signal, left_out)


def noise_of_cells(levels: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return median and geometric mean of the noise levels of the cells of all FOVs; NaN if none has one.

    The median is that of most cells; a minority that is noisier, or less noisy, moves the mean.
    """
    of_all = np.concatenate(list(levels))
    known = of_all[np.isfinite(of_all)]
    if not len(known):
        return np.nan, np.nan
    return float(np.median(known)), float(np.exp(np.mean(np.log(known))))


def _within(times: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return which times (T,), in order, are in an interval (n,), (T,) bool."""
    changes = np.zeros(len(times) + 1, dtype=int)
    np.add.at(changes, np.searchsorted(times, starts, side="left"), 1)
    np.add.at(changes, np.searchsorted(times, ends, side="right"), -1)
    inside: np.ndarray = np.cumsum(changes[:-1]) > 0
    return inside


def on_first_clock(fovs: Sequence[FOVCells], offset: float) -> list[FOVCells]:
    """Return cells as if all were scanned at the times of one ROI of the first FOV, as the scripts took them to be.

    Parameters
    ----------
    fovs : sequence of FOVCells
    offset : float
        Time from the start of a frame of the first FOV to the scan of that ROI, s.

    Raises
    ------
    DataError
        The FOVs differ in their number of frames.
    """
    if len(numbers := {len(fov.frame_times) for fov in fovs}) > 1:
        raise DataError(
            "the FOVs differ in their number of frames, so they cannot have the clock of the first",
            expected="the same number", found=", ".join(map(str, sorted(numbers))),
            do="Use another short_window than first_clock",
        )  # fmt: skip
    times = fovs[0].frame_times
    return [replace(fov, frame_times=times, offsets=np.full(len(fov.offsets), offset)) for fov in fovs]


def usable_windows(fov: FOVCells, starts: np.ndarray, ends: np.ndarray, short_window: str = "nearest") -> np.ndarray:
    """Return which windows were imaged throughout and hold no flagged frame, for all cells of a FOV.

    Parameters
    ----------
    fov : FOVCells
    starts, ends : (n,) float64, s
        Windows on the session clock, NaN for a trial without one.
    short_window : str
        See ``pipeline.signals.windows.window_means``.

    Returns
    -------
    (n,) bool
    """
    usable: np.ndarray = trial_coverage(fov.frame_times, fov.offsets, starts, ends) == ""
    if fov.flagged is not None:
        covered = np.flatnonzero(usable)
        usable[covered] = ~_holds_flagged(fov, starts[covered], ends[covered], short_window)
    return usable


def _holds_flagged(fov: FOVCells, starts: np.ndarray, ends: np.ndarray, short_window: str) -> np.ndarray:
    """Return in which windows a flagged frame enters the feature of some cell, (n,) bool."""
    lines = np.unique(fov.offsets)  # cells on the same scan line share their frames
    flags = np.broadcast_to(np.asarray(fov.flagged, dtype=float), (len(lines), len(fov.frame_times)))
    shares = window_means(flags, fov.frame_times, lines, starts, ends, short_window)
    holds: np.ndarray = np.any(shares > 0, axis=1)
    return holds


def _means_of_all(
    fovs: Sequence[FOVCells], starts: np.ndarray, ends: np.ndarray, short_window: str,
    read: Callable[[FOVCells], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Return the window means of the cells of all FOVs, (n, cells) float64."""
    out = np.empty((len(starts), sum(len(fov.columns) for fov in fovs)))
    for fov in fovs:
        out[:, fov.columns] = window_means(read(fov), fov.frame_times, fov.offsets, starts, ends, short_window)
    return out


def trial_coverage(frame_times: np.ndarray, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return, for each trial, why some ROI of a FOV was not imaged throughout its window; '' if all were.

    Parameters
    ----------
    frame_times : (T,) float64, s
    offsets : (N,) float64, s
        Offset of each ROI within the frame.
    starts, ends : (n,) float64, s
        Windows on the session clock, NaN for a trial without one.

    Returns
    -------
    (n,) str
        '', 'event' (no finite window), 'outside' (before the first or after the last frame) or 'gap' (in a gap between
        imaging bouts).
    """
    reason = np.full(len(starts), "", dtype="U8")
    finite = np.isfinite(starts) & np.isfinite(ends)
    first, last = frame_times[bouts(frame_times)].T
    # the stretch in which every ROI was scanned: from the latest first scan to the earliest last one
    first, last = first + offsets.max(), last + offsets.min()
    # the last bout that begins before the window; a window that reaches over a gap ends outside of it
    bout = np.clip(np.searchsorted(first, starts, side="right") - 1, 0, len(first) - 1)
    inside = (starts >= first[bout]) & (ends <= last[bout])
    # later reasons overwrite earlier ones
    reason[~inside] = "gap"
    reason[(starts < first[0]) | (ends > last[-1])] = "outside"
    reason[~finite] = "event"
    return reason

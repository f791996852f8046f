"""Noise of traces: how much a cell's activity differs from frame to frame, beside what it does.

Each cell's own noise grows from day to day with less light or expression, or worse depth. More cells are then needed
for the same, although all of them respond as before: k* and k_half rise.
"""

from __future__ import annotations

import numpy as np

from pipeline.errors import ArgumentError
from pipeline.settings.signals import KINDS
from pipeline.signals.clock import frame_period

#: Steps from frame to frame that are used of a trace, evenly spaced: the median of so many is known well enough.
MAX_STEPS = 1024
#: With fewer, nothing is said.
MIN_STEPS = 100
#: Share of the frames, those of highest activity, whose mean is the size of a cell's events.
EVENT_SHARE = 0.01
#: Change of log2 of the noise level over the days, along their line, that is worth a note.
NOTED_OCTAVES = 0.2


def noise_levels(
    traces: np.ndarray, frame_times: np.ndarray, signal: str, left_out: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """Return the noise level of each trace: its median step from frame to frame, relative to what it measures.

    Of dF/F it is that of Rupprecht et al. 2021 (Nat Neurosci 24:1324), the median of the absolute difference of
    neighbouring frames over the square root of the frame rate. Fluorescence is divided by its median, about its
    baseline. Deconvolved activity has the units of the fluorescence, which change with the light: its median step that
    is not 0, mostly of small events that noise makes, is divided by the size of its large events, the mean of the
    highest 1 % of the frames.

    Parameters
    ----------
    traces : (N, T) float
    frame_times : (T,) float64, s
    signal : {'deconvolved', 'fluorescence', 'dff'}
    left_out : (T,) bool, optional
        Frames that are not used: flagged ones, and those of the task, in which responses are no noise.

    Returns
    -------
    (N,) float64
        Per root of Hz. NaN for a trace without steps, or without activity to compare them with, and for all if fewer
        than 100 pairs of frames are left.

    Raises
    ------
    ArgumentError
        There is no such signal.

    Examples
    --------
    >>> rng, times = np.random.default_rng(0), np.arange(5000) / 5
    >>> noise = rng.normal(size=(50, 5000))
    >>> [round(float(np.median(noise_levels(size * noise, times, "dff"))), 2) for size in (0.1, 0.2)]
    [0.04, 0.09]
    """
    if signal not in KINDS:
        raise ArgumentError(f"signal must be one of {', '.join(KINDS)}, not {signal!r}")
    used = np.ones(traces.shape[1], dtype=bool) if left_out is None else ~np.asarray(left_out, dtype=bool)
    pairs = np.flatnonzero(used[:-1] & used[1:])
    if len(pairs) < MIN_STEPS:
        return np.full(len(traces), np.nan)
    pairs = pairs[:: -(-len(pairs) // MAX_STEPS)]
    before, after = (np.asarray(traces[:, at], dtype=np.float64) for at in (pairs, pairs + 1))
    steps = np.abs(after - before)
    if signal == "deconvolved":
        steps[steps == 0] = np.nan  # between frames without events
    level, unit = _medians(steps), _units(before, signal)
    known = (level > 0) & (unit > 0)
    relative: np.ndarray = np.divide(level, unit, out=np.full(len(level), np.nan), where=known)
    return relative * float(np.sqrt(frame_period(frame_times)))


def _units(values: np.ndarray, signal: str) -> np.ndarray:
    """Return what the steps of each trace (N, T) are divided by, (N,)."""
    if signal == "dff":
        return np.ones(len(values))
    return _medians(values) if signal == "fluorescence" else _event_sizes(values)


def _medians(values: np.ndarray) -> np.ndarray:
    """Return the median of each row (N, T) without its NaN, (N,); NaN for a row of NaN."""
    ranked = np.sort(values, axis=1)  # NaN goes to the end
    n, rows = np.count_nonzero(~np.isnan(ranked), axis=1), np.arange(len(values))
    middle: np.ndarray = (ranked[rows, np.maximum(n - 1, 0) // 2] + ranked[rows, n // 2 * (n > 1)]) / 2
    return middle


def _event_sizes(values: np.ndarray) -> np.ndarray:
    """Return the mean of the highest 1 % of the values of each row (N, T), one at least, (N,); 0 for a row of NaN."""
    ranked = np.sort(np.where(np.isnan(values), -np.inf, values), axis=1)
    highest = ranked[:, -max(1, round(EVENT_SHARE * values.shape[1])) :]
    known = np.isfinite(highest)
    sizes: np.ndarray = np.where(known, highest, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return sizes

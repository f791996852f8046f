"""Sums of activity in windows, compiled: 5 times as fast as numpy, which reads places all over the traces.

This module imports numba, a quarter of a second: ``windows`` imports it where a process has numba already.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}


@njit(**OPTIONS)
def window_sums(
    traces: np.ndarray, frame_times: np.ndarray, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray,
    lows: np.ndarray, highs: np.ndarray, low: np.ndarray, count: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Fill the first frame, the number of frames and the sum of each window of each ROI.

    Parameters
    ----------
    traces : (N, T) float32
    frame_times : (T,) float64, s
    offsets : (N,) float64, s
    starts, ends : (n,) float64, s
    lows, highs : (n,) int64
        Number of frames before the start of a window of the ROI that begins last, and up to its end.
    low, count : (n, N) int64
    sums : (n, N) float64
        0 where there is no frame.
    """
    for roi in range(len(traces)):
        trace, offset = traces[roi], offsets[roi]
        for window in range(len(starts)):
            first, start = lows[window], starts[window] - offset
            while first > 0 and frame_times[first - 1] >= start:
                first -= 1
            last, end = highs[window], ends[window] - offset
            while last > 0 and frame_times[last - 1] > end:
                last -= 1
            total = 0.0
            for frame in range(first, last):
                total += trace[frame]
            low[window, roi], count[window, roi], sums[window, roi] = first, last - first, total

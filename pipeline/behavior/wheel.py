"""Speed of the wheel in windows: a number for each trial, which can be decoded."""

from __future__ import annotations

import numpy as np


def mean_speed(times: np.ndarray, velocity: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the mean of the absolute velocity in windows.

    Parameters
    ----------
    times : (L,) float64, s
        Increasing.
    velocity : (L,) float
    starts, ends : (n,) float64, s
        NaN for a trial without a window.

    Returns
    -------
    (n,) float64
        In the unit of ``velocity``, of the samples from the start to before the end. NaN without a window, and for one
        that holds no sample, or reaches beyond the first or the last.

    Examples
    --------
    >>> times, velocity = np.array([0.0, 0.1, 0.2, 0.3]), np.array([0.0, 2.0, -4.0, 0.0])
    >>> mean_speed(times, velocity, np.array([0.0, 0.1, np.nan, 0.25]), np.array([0.15, 0.3, 1.0, 0.4]))
    array([ 1.,  3., nan, nan])
    """
    first, end = np.searchsorted(times, starts), np.searchsorted(times, ends)  # NaN comes after all times
    sums = np.append(0.0, np.cumsum(np.abs(np.asarray(velocity, dtype=np.float64))))
    # comparisons with NaN are False
    inside = (starts >= times[0]) & (ends <= times[-1]) & (first < end)
    speed: np.ndarray = (sums[end] - sums[first]) / np.maximum(end - first, 1)
    return np.where(inside, speed, np.nan)

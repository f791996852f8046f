"""Drift of the activity within a session: how much of it is slow.

Slow waves of single cells are noise that many cells share. Where they grow from day to day, they lower the ceiling of
the curves and bring it nearer, so that k* falls although the cells respond to the same things in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import ArgumentError

#: Half waves of the slowest and of the fastest wave of a session that count as drift: three whole waves.
MAX_HALF_WAVES = 6
#: Trials for each wave: with fewer, waves fit the noise of single trials.
TRIALS_PER_WAVE = 10
#: Change of the share over the days, along their line, that is worth a note.
NOTED_CHANGE = 0.1


def drift_share(X: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the variance of a cell's activity that is slow within the session, the mean over cells.

    Each cell is regressed on the cosines of 1 to 6 half waves over the trials, beside the label. The variance that they
    take away is compared with what is left, with its degrees of freedom (adjusted R squared): 0 is expected where
    trials are independent, whatever their number.

    Parameters
    ----------
    X : (n, N) float
        Activity of N cells in n trials, in order.
    y : (n,) float
        Label of each trial, a class or a number: what it explains is no drift.

    Returns
    -------
    float
        Up to 1; by chance a little below 0. NaN with fewer than 10 trials, or if no cell varies.

    Raises
    ------
    ArgumentError
        There is not one label for each trial.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y, slow = rng.integers(0, 2, 300), np.sin(2 * np.pi * np.arange(300) / 300)[:, None]
    >>> noise = rng.normal(size=(300, 50)) + y[:, None]
    >>> [round(drift_share(noise + size * slow, y), 2) + 0.0 for size in (0, 2**0.5)]
    [0.0, 0.5]
    """
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise ArgumentError(f"X must be (trials, cells), with a label in y for each trial, not {X.shape} and {y.shape}")
    n = len(X)
    n_waves = min(MAX_HALF_WAVES, n // TRIALS_PER_WAVE)
    of_label = np.column_stack([np.ones(n), y - y.mean()]) if n and np.ptp(y) else np.ones((n, 1))
    if not n_waves:
        return np.nan
    waves = np.cos(np.pi * np.arange(1, n_waves + 1) * (np.arange(n)[:, None] + 0.5) / n)
    without, left = (_mean_square_left(X, part) for part in (of_label, np.column_stack([of_label, waves])))
    varies = without > 1e-12 * np.maximum(np.square(X).mean(axis=0), 1e-300)  # a constant cell leaves rounding errors
    return float(np.mean(1 - left[varies] / without[varies])) if varies.any() else np.nan


def _mean_square_left(X: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the variance (N,) that a regression of each column of X (n, N) on `of` (n, p) leaves."""
    basis = np.linalg.qr(of)[0]
    left: np.ndarray = np.square(X - basis @ (basis.T @ X)).sum(axis=0) / (len(X) - of.shape[1])
    return left


def change_over_days(shares: Sequence[float], days: Sequence[float]) -> float:
    """Return by how much the line through the shares changes from the first day to the last.

    Parameters
    ----------
    shares : (D,) sequence of float
        NaN for a day that is not used.
    days : (D,) sequence of float

    Returns
    -------
    float
        NaN with fewer than two different days.

    Examples
    --------
    >>> round(change_over_days([0.1, 0.2, 0.4], [0, 1, 3]), 3)
    0.3
    """
    known = np.isfinite(shares)
    of, at = np.asarray(shares, dtype=float)[known], np.asarray(days, dtype=float)[known]
    if len(at) < 2 or np.ptp(at) == 0:
        return np.nan
    return float(np.polyfit(at, of, 1)[0] * np.ptp(at))

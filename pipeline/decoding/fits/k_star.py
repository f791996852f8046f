"""k*: the smallest k within delta of the ceiling."""

from __future__ import annotations

import numpy as np


def k_stars(ks: np.ndarray, means: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """Return the smallest k whose mean reaches the threshold, float64; inf if none does.

    Parameters
    ----------
    ks : (K,) int
        Increasing.
    means : (K, ...) float
    thresholds : (...) float
    """
    reached = means >= thresholds
    return np.where(reached.any(axis=0), ks[reached.argmax(axis=0)], np.inf)

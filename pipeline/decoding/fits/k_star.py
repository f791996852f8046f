"""k*: the number of cells with which a curve is near its ceiling, on the grid of ks and between its values."""

from __future__ import annotations

import numpy as np

from pipeline.decoding.fits.families import chance_of, d_squared

#: Below the smallest k a curve is extended by at most this factor: an extension far from all data has no meaning.
MAX_EXTENSION = 32.0
#: d'^2 of a score at or below one half, where a logarithm of d'^2 is needed: far below what any session resolves.
LEAST_D_SQUARED = 1e-4


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


def rising(means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the least squares fit to each column that never decreases (isotonic regression), (K, C) float64.

    More cells do not carry less information, so where a mean decreases with k, it is noise or overfitting. By the
    min-max formula (Barlow et al. 1972), for all columns at once: value i is the largest over j <= i of the smallest
    over l >= i of the weighted mean of j to l.

    Parameters
    ----------
    means : (K, C) float
    weights : (K,) float
        Positive.

    Examples
    --------
    >>> rising(np.array([[0.6], [0.8], [0.7]]), np.ones(3)).round(3).ravel().tolist()
    [0.6, 0.75, 0.75]
    """
    n_ks = len(means)
    sums = np.concatenate([np.zeros((1, means.shape[1])), np.cumsum(weights[:, None] * means, axis=0)])
    totals = np.concatenate([[0.0], np.cumsum(weights)])
    fitted = np.full(means.shape, -np.inf)
    for j in range(n_ks):
        averages = (sums[j + 1 :] - sums[j]) / (totals[j + 1 :] - totals[j])[:, None]  # of j to l, for each l >= j
        # minimum over l >= i, for each i >= j: accumulated from the end
        fitted[j:] = np.maximum(fitted[j:], np.minimum.accumulate(averages[::-1], axis=0)[::-1])
    return fitted


def k_reaching(
    ks: np.ndarray, curves: np.ndarray, thresholds: np.ndarray, chance: float = 0.5, metric: str = "auc"
) -> np.ndarray:  # fmt: skip
    """Return the number of cells with which each curve reaches its threshold, (C,) float64.

    The score is interpolated linearly in log2 k. Below the smallest k it is extended with d'^2 in proportion to k, as
    for independent cells, by a factor of up to `MAX_EXTENSION`.

    Parameters
    ----------
    ks : (K,) int
        Increasing.
    curves : (K, C) float
        Not decreasing: see `rising`.
    thresholds : (C,) float
        Scores.
    chance : float
    metric : str

    Returns
    -------
    (C,) float64
        inf where the threshold is not reached; NaN where it is not above chance, and would be reached without cells.

    Examples
    --------
    >>> k_reaching(np.array([8, 16, 32]), np.array([[0.6], [0.7], [0.8]]), np.array([0.75])).round(2).tolist()
    [22.63]
    """
    found = _interpolated(np.log2(ks), curves, thresholds)
    ratio = d_squared(thresholds, metric) / np.maximum(d_squared(curves[0], metric), LEAST_D_SQUARED)
    found = np.where(thresholds <= curves[0], _extended(ks[0], ratio), found)
    return np.where(thresholds > chance, found, np.nan)


def k_halves(ks: np.ndarray, curves: np.ndarray, metric: str = "auc") -> np.ndarray:
    """Return the number of cells with half of the d'^2 that each curve has at its largest k, (C,) float64.

    d'^2, which for independent cells is in proportion to k, is interpolated linearly in log2 d'^2 and log2 k, and is
    in proportion to k below the smallest k. NaN where the score at the largest k is at chance or below. Of numbers d'^2
    is R^2 / (1 - R^2): see ``pipeline.decoding.fits.families``.

    Parameters
    ----------
    ks : (K,) int
        Increasing.
    curves : (K, C) float
        Not decreasing: see `rising`.
    metric : str

    Examples
    --------
    >>> from scipy.special import ndtr
    >>> ks = np.array([8, 16, 32, 64])
    >>> k_halves(ks, ndtr(np.sqrt(ks / 100))[:, None]).round(2).tolist()
    [32.0]
    """
    squares = np.maximum(d_squared(curves, metric), LEAST_D_SQUARED)
    half = squares[-1] / 2
    found = _interpolated(np.log2(ks), np.log2(squares), np.log2(half))
    found = np.where(half <= squares[0], _extended(ks[0], half / squares[0]), found)
    return np.where(curves[-1] > chance_of(metric), found, np.nan)


def _interpolated(log_ks: np.ndarray, curves: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return k where each curve first reaches its threshold, linear between the ks; inf where it does not."""
    reached = curves >= thresholds
    right = np.maximum(reached.argmax(axis=0), 1) if len(log_ks) > 1 else reached.argmax(axis=0)
    left = np.maximum(right - 1, 0)
    columns = np.arange(curves.shape[1])
    low, high = curves[left, columns], curves[right, columns]
    step = np.where(high > low, high - low, 1.0)
    with np.errstate(over="ignore"):  # a rise of nearly nothing is passed at once
        share = np.clip((thresholds - low) / step, 0, 1)
    logs = log_ks[left] + share * (log_ks[right] - log_ks[left])
    return np.where(reached.any(axis=0), np.exp2(logs), np.inf)


def _extended(first_k: int, ratio: np.ndarray) -> np.ndarray:
    """Return the k below the first at which d'^2 is `ratio` (at most 1) of that at the first k."""
    extended: np.ndarray = first_k * np.clip(ratio, 1 / MAX_EXTENSION, 1)
    return extended

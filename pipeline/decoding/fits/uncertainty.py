"""How far a mean score may be from the expected score: that of new trials of the same cells and new subsets.

The test trials alone give a variance V_test (of the trials' influences on the score). New trials would also train other
decoders, whose scores vary about as much again: the variance is 2 V_test + V_subsets / R. In simulated populations,
with a penalty in proportion to k, the true factor is between 1.5 and 2 (``benchmarks/statistics.py``). The interval is
made on the logit scale, because a symmetric one fails near a score of 1.
"""

from __future__ import annotations

import numpy as np
import scipy

from pipeline.decoding.fits.families import ALPHA

#: Variance from the trials over that of the test trials with the decoders as they are.
TRAINING_FACTOR = 2.0
#: Scores are clipped to this, and to 1 - 0.5 / trials, before they are put on the logit scale.
SCORE_MIN = 0.01


def score_variance(scores: np.ndarray, influences: np.ndarray, factor: float = TRAINING_FACTOR) -> np.ndarray:
    """Return the variance of the mean score of each k about the expected score, (K,) float64.

    At least 0.5 m (1 - m) / trials for a mean score m: near a score of 1, where hardly any trial has an influence, it
    would vanish.

    Parameters
    ----------
    scores : (K, R) float
        Score of each subset; NaN are ignored.
    influences : (K, n) float
        Of each labelled trial on the mean score: see ``NDCCurve.influences``.
    factor : float
        Variance from the trials over that of the test trials; 1 for decoders that stay as they are.
    """
    squares = factor * np.sum(influences**2, axis=1) + np.sum(_subset_effects(scores) ** 2, axis=1)
    variance: np.ndarray = np.maximum(squares, _least_variance(scores, influences))
    return variance


def score_interval(
    scores: np.ndarray, influences: np.ndarray, factor: float = TRAINING_FACTOR
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the bounds of the 95 % interval of the expected score of each k, (K,) float64 each.

    Parameters
    ----------
    scores, influences, factor
        As for `score_variance`.
    """
    mean, center, scale = _on_logit_scale(scores, influences)
    width = scipy.special.ndtri(1 - ALPHA / 2) * np.sqrt(score_variance(scores, influences, factor)) * scale
    # a mean of 1, whose center is clipped, belongs to its own interval
    return np.minimum(scipy.special.expit(center - width), mean), np.maximum(scipy.special.expit(center + width), mean)


def score_draws(scores: np.ndarray, influences: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """Return draws of the whole curve, (K, B) float64: normal on the logit scale, with the covariance over k.

    Parameters
    ----------
    scores, influences
        As for `score_variance`.
    n_draws : int
        B. Draw b does not depend on it.
    seed : int
    """
    by_trial, by_subset = np.sqrt(TRAINING_FACTOR) * influences, _subset_effects(scores)
    least = _least_variance(scores, influences)
    # what is missing to the least variance is one effect on all ks
    lacking = np.sqrt(np.maximum(least - np.sum(by_trial**2, axis=1) - np.sum(by_subset**2, axis=1), 0))
    effects = np.column_stack([by_trial, by_subset, lacking])
    normal = np.empty((effects.shape[1], n_draws))
    for b in range(n_draws):
        normal[:, b] = np.random.default_rng(np.random.SeedSequence([seed, b])).normal(size=len(normal))
    _, center, scale = _on_logit_scale(scores, influences)
    draws: np.ndarray = scipy.special.expit(center[:, None] + scale[:, None] * (effects @ normal))
    return draws


def mean_score(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the finite values of each row, NaN where there is none, (K,)."""
    n = np.isfinite(scores).sum(axis=1)
    return np.where(n > 0, np.nansum(scores, axis=1) / np.maximum(n, 1), np.nan)


def _subset_effects(scores: np.ndarray) -> np.ndarray:
    """Return the effect of each subset on the mean, (K, R): their squares add up to the variance of the mean."""
    n = np.isfinite(scores).sum(axis=1, keepdims=True)
    away = np.where(np.isfinite(scores), scores - mean_score(scores)[:, None], 0.0)
    effects: np.ndarray = away / np.sqrt(np.maximum(n * (n - 1), 1))
    return effects


def _least_variance(scores: np.ndarray, influences: np.ndarray) -> np.ndarray:
    _, center, _ = _on_logit_scale(scores, influences)
    clipped = scipy.special.expit(center)
    least: np.ndarray = 0.5 * clipped * (1 - clipped) / influences.shape[1]
    return least


def _on_logit_scale(scores: np.ndarray, influences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean score, its logit, and the derivative of the logit there, (K,) each."""
    mean = mean_score(scores)
    clipped = np.clip(mean, SCORE_MIN, 1 - 0.5 / influences.shape[1])
    return mean, scipy.special.logit(clipped), 1 / (clipped * (1 - clipped))

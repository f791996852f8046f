"""How far a mean score may be from the expected score: that of new trials of the same cells and new subsets.

The test trials alone give a variance V_test (of the trials' influences on the score). New trials would also train other
decoders, whose scores vary about as much again: the variance is 2 V_test + V_subsets / R. In simulated populations,
with a penalty in proportion to k, the true factor is between 1.5 and 2, and falls to 1 near a score of 1
(``benchmarks/statistics.py``). The interval is made on the logit scale, because a symmetric one fails near a score of
1. There its upper bound keeps the factor of 2: scores of 1 are frequent and the others spread downwards, so that one
somewhat below 1 may well be of decoders whose expected score is nearly 1.

Of numbers the factor is 2 at every score (``benchmarks/regression.py``). R^2, which has no lower bound, is on the scale
of -log(1 - R^2), the logarithm of the error; a rank correlation on Fisher's, atanh.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from pipeline.decoding.fits.families import ALPHA
from pipeline.settings.curves import NUMBER_METRICS

#: Variance from the trials over that of the test trials with the decoders as they are.
TRAINING_FACTOR = 2.0
#: What training adds to that of numbers with many more cells than trials (``benchmarks/regression.py intervals``).
TRAINING_OF_NUMBERS = 3.5
#: From this score on, the calibrated factor falls to 1 at a score of 1.
NEAR_ONE = 0.9875


@dataclass(frozen=True)
class VarianceRule:
    """How the variance of a mean score m of n trials follows from the influences of the trials.

    Attributes
    ----------
    factor : float
        Variance from the trials over that of the test trials.
    factor_at_one : float
        The same at a score of 1; between ``NEAR_ONE`` and 1 it lies on the line between the two.
    least : float
        The variance is at least this times m (1 - m) / n: near 1 hardly any trial has an influence.
    training : float
        Of numbers: the factor is at least 1 + this times cells / (cells + trials), as ridge regression of few trials
        changes with each of them.
    """

    factor: float = TRAINING_FACTOR
    factor_at_one: float = TRAINING_FACTOR
    least: float = 0.5
    training: float = 0.0

    def at(self, scores: np.ndarray) -> np.ndarray:
        """Return the factor at each score."""
        factors: np.ndarray = np.interp(scores, [NEAR_ONE, 1.0], [self.factor, self.factor_at_one])
        return factors

    @property
    def upwards(self) -> VarianceRule:
        """The rule for the upper bound of an interval."""
        return replace(self, factor_at_one=self.factor, least=VarianceRule.least)


#: By the setting ``intervals``: those of former versions, which near a score of 1 are wider than they need be, and
#: those that fit there, too. Influences of retrained decoders are made for a factor of 2 at every score.
RULES = {
    "calibrated": VarianceRule(factor_at_one=1.0, least=0.15, training=TRAINING_OF_NUMBERS),
    "new_trials": VarianceRule(training=TRAINING_OF_NUMBERS),
    "retrained": VarianceRule(),
}  # fmt: skip
#: Of decoders that stay as they are.
SAME_DECODERS = VarianceRule(factor=1.0, factor_at_one=1.0)
#: Scores are clipped to this, and to 1 - 0.5 / trials, before they are put on the logit scale.
SCORE_MIN = 0.01
#: R^2 and correlations are clipped so far from 1, and have at least the variance, on whose inverse fits are weighted.
NUMBERS_MIN, LEAST_OF_NUMBERS = 1e-6, 1e-8


def score_variance(
    scores: np.ndarray, influences: np.ndarray, rule: VarianceRule = RULES["calibrated"], metric: str = "auc",
    cells_per_trial: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the variance of the mean score of each k about the expected score, (K,) float64.

    Parameters
    ----------
    scores : (K, R) float
        Score of each subset; NaN are ignored.
    influences : (K, n) float
        Of each labelled trial on the mean score: see ``NDCCurve.influences``.
    rule : VarianceRule
        One of ``RULES``, or ``SAME_DECODERS``.
    metric : str
    cells_per_trial : (K,) float, optional
        Of numbers: cells of each k over labelled trials; without it the variance is too small for many cells.
    """
    effects = _effects(scores, influences, rule, metric, cells_per_trial)
    variance: np.ndarray = np.sum(effects**2, axis=1)
    return variance


def score_interval(
    scores: np.ndarray, influences: np.ndarray, rule: VarianceRule = RULES["calibrated"], metric: str = "auc",
    cells_per_trial: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the bounds of the 95 % interval of the expected score of each k, (K,) float64 each.

    Of numbers by Student's t: few large errors make much of the variance of R^2, which is then hardly known.

    Parameters
    ----------
    scores, influences, rule, metric, cells_per_trial
        As for `score_variance`.
    """
    mean, center, scale = _on_scale(scores, influences, metric)
    variances = [score_variance(scores, influences, one, metric, cells_per_trial) for one in (rule, rule.upwards)]
    quantile = scipy.special.ndtri(1 - ALPHA / 2)
    if metric in NUMBER_METRICS:
        quantile = scipy.special.stdtrit(_freedom(scores, influences, variances[0]), 1 - ALPHA / 2)
    down, up = (quantile * np.sqrt(variance) * scale for variance in variances)
    low, high = _from_scale(center - down, metric), _from_scale(center + up, metric)
    # a mean of 1, whose center is clipped, belongs to its own interval
    return np.minimum(low, mean), np.maximum(high, mean)


def _freedom(scores: np.ndarray, influences: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the degrees of freedom of a variance, (K,) float64 from 2: by the fourth moment of the influences.

    The part of the subsets counts as known (Satterthwaite 1946).
    """
    squares, n = influences**2, influences.shape[1]
    total = squares.sum(axis=1)
    spread = (squares**2).sum(axis=1) - total**2 / n  # the variance of the sum of squares
    known = np.sum(_subset_effects(scores) ** 2, axis=1)
    share = np.clip((variance - known) / np.maximum(variance, LEAST_OF_NUMBERS), 1e-3, 1)
    # at the upper end it is the normal distribution
    freedom: np.ndarray = np.clip(2 * total**2 / np.maximum(spread, 1e-300) / share**2, 2.0, 1e6)
    return freedom


def score_draws(
    scores: np.ndarray,
    influences: np.ndarray,
    n_draws: int,
    seed: int,
    rule: VarianceRule = RULES["calibrated"],
    metric: str = "auc",
    cells_per_trial: np.ndarray | None = None,
) -> np.ndarray:
    """Return draws of the whole curve, (K, B) float64: normal on the scale of intervals, with the covariance over k.

    Parameters
    ----------
    scores, influences, rule, metric, cells_per_trial
        As for `score_variance`.
    n_draws : int
        B. Draw b does not depend on it.
    seed : int
    """
    effects = _effects(scores, influences, rule, metric, cells_per_trial)
    normal = np.empty((effects.shape[1], n_draws))
    for b in range(n_draws):
        normal[:, b] = np.random.default_rng(np.random.SeedSequence([seed, b])).normal(size=len(normal))
    _, center, scale = _on_scale(scores, influences, metric)
    return _from_scale(center[:, None] + scale[:, None] * (effects @ normal), metric)


def _effects(
    scores: np.ndarray, influences: np.ndarray, rule: VarianceRule, metric: str, cells_per_trial: np.ndarray | None
) -> np.ndarray:
    """Return independent effects on the mean scores, (K, n + R + 1): their squares add up to the variance."""
    if metric in NUMBER_METRICS:
        load = np.zeros(len(scores)) if cells_per_trial is None else cells_per_trial
        factors = np.maximum(rule.factor, 1 + rule.training * load / (1 + load))
        least = np.full(len(scores), LEAST_OF_NUMBERS)
    else:
        clipped = scipy.special.expit(_on_scale(scores, influences, metric)[1])
        factors, least = rule.at(clipped), rule.least * clipped * (1 - clipped) / influences.shape[1]
    by_trial, by_subset = np.sqrt(factors)[:, None] * influences, _subset_effects(scores)
    # what is missing to the least variance is one effect on all ks
    lacking = np.sqrt(np.maximum(least - np.sum(by_trial**2, axis=1) - np.sum(by_subset**2, axis=1), 0))
    return np.column_stack([by_trial, by_subset, lacking])


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


def _on_scale(
    scores: np.ndarray, influences: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return the mean score, its value on the scale of intervals, and the derivative of the scale there, (K,) each."""
    mean = mean_score(scores)
    if metric in NUMBER_METRICS:
        most = np.minimum(mean, 1 - NUMBERS_MIN)
        if metric == "r2":
            return mean, -np.log1p(-most), 1 / (1 - most)
        most = np.maximum(most, NUMBERS_MIN - 1)
        return mean, np.arctanh(most), 1 / (1 - most**2)
    clipped = np.clip(mean, SCORE_MIN, 1 - 0.5 / influences.shape[1])
    return mean, scipy.special.logit(clipped), 1 / (clipped * (1 - clipped))


def _from_scale(values: np.ndarray, metric: str) -> np.ndarray:
    """Return the scores of values on the scale of intervals, float64 of their shape."""
    scores: np.ndarray
    if metric == "r2":
        scores = -np.expm1(-values)
    elif metric == "spearman":
        scores = np.tanh(values)
    else:
        scores = scipy.special.expit(values)
    return scores

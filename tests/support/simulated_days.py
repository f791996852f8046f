"""Simulated sessions of known truth: how often intervals of scores cover, and how often trends over days are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from pipeline.decoding import CurveFit, fit_curve, neuron_dropping_curve
from pipeline.decoding.engine import Population as Packed
from pipeline.decoding.engine import Subset
from pipeline.decoding.fits.uncertainty import score_interval, score_variance
from pipeline.decoding.folds import Groups, Validation, bootstrap_means, fold_masks
from support.populations import EPS, KINDS, Population, population

#: Subset sizes of a population of 100 cells.
KS = (8, 16, 32, 64, 100)

# ------------------------------------------------------------------------------------------------ intervals of scores


@dataclass(frozen=True)
class Coverage:
    """Intervals of many sessions of the same cells.

    Attributes
    ----------
    covered : (K,) int
        Sessions whose interval holds the mean score of the other sessions.
    n : int
        Sessions.
    score : (K,) float64
        Mean over the sessions: the expected score.
    width : (K,) float64
        Estimated standard deviation of a session's score over the true one, that over the sessions.
    test_trials : (K,) int
        Sessions covered by the interval of version 11: test trials and subsets resampled, decoders not trained again.
    """

    covered: np.ndarray
    n: int
    score: np.ndarray
    width: np.ndarray
    test_trials: np.ndarray


def coverage(
    kind: str, n_trials: int, n_sets: int, *, signal: float = 1.0, ks: Sequence[int] = (8, 32, 100), R: int = 10,
    penalty: str = "scaled",
) -> Coverage:  # fmt: skip
    """Return how often the intervals cover, over sessions of one population of 100 cells."""
    cells = population(kind, 100, np.random.default_rng([KINDS.index(kind), 21]), signal)
    means, lows, highs, variances, former = [], [], [], [], []
    for number in range(n_sets):
        rng = np.random.default_rng([number, n_trials, KINDS.index(kind), 22])
        X, y = cells.sample(n_trials, rng)
        curve = neuron_dropping_curve(X, y, ks=ks, R=R, n_label_shuffles=0, penalty=penalty, seed=number)
        low, high = score_interval(curve.scores, curve.influences)
        means.append(curve.mean)
        lows.append(low)
        highs.append(high)
        variances.append(score_variance(curve.scores, curve.influences))
        former.append(1.96 * np.sqrt((curve.influences**2).sum(axis=1) + curve.scores.var(axis=1) / R))
    m = np.array(means)
    others = (m.sum(axis=0) - m) / (n_sets - 1)
    width = np.sqrt(np.mean(variances, axis=0) / m.var(axis=0, ddof=1))
    covered = ((np.array(lows) <= others) & (others <= np.array(highs))).sum(axis=0)
    return Coverage(covered, n_sets, m.mean(axis=0), width, (np.abs(m - others) <= np.array(former)).sum(axis=0))


def retrained_variance(
    X: np.ndarray, y: np.ndarray, ks: Sequence[int], n_draws: int, rng: np.random.Generator, n_subsets: int = 4
) -> np.ndarray:
    """Return the variance of the score from the trials, (K,), by a bootstrap that trains the decoders again.

    Counts of the drawn trials are weights in training and test; copies of a trial stay in its fold. The covariance over
    the draws of the scores of two subsets, with folds of their own, is the effect of the trials without that of the
    subsets; its mean over all pairs of subsets is returned.
    """
    counts = np.array([np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y)) for _ in range(n_draws)])
    packed = Packed(X, scaling=True, penalize_intercept=False)
    away = np.empty((n_subsets, n_draws, len(ks)))
    for s in range(n_subsets):
        train, test = fold_masks(y, int(rng.integers(2**31)), Validation())
        groups = Groups.of(np.repeat(y[None], len(test), axis=0), test)
        weights = (counts[:, None].astype(float) * train).reshape(-1, len(y))
        subset = Subset(packed, rng.permutation(X.shape[1])[: max(ks)])
        values = subset.decide(weights, np.repeat(y[None], len(weights), axis=0), ks, [1.0] * len(ks))
        for k, z in enumerate(values):
            by_draw = zip(z.reshape(n_draws, *test.shape), counts[:, None], strict=True)
            away[s, :, k] = [bootstrap_means(one, groups, "auc", drawn)[0] for one, drawn in by_draw]
    away -= away.mean(axis=1, keepdims=True)
    pairs = away.sum(axis=0) ** 2 - (away**2).sum(axis=0)  # of all ordered pairs of different subsets
    variance: np.ndarray = pairs.sum(axis=0) / (n_draws - 1) / (n_subsets * (n_subsets - 1))
    return variance


# ----------------------------------------------------------------------------------------------------- trends over days

#: What changes over the days of a simulated mouse, from 0 (first day) to 1 (last).
TRUTHS = ("same", "signal", "performance", "trials", "cells", "code")


def session(truth: str, share: float, rng: np.random.Generator, n_trials: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return activity and labels of a session at a share of the way from the first day to the last.

    - same: nothing changes.
    - signal: the signal of every cell (d' squared) falls to a half.
    - performance: the cells code the stimulus, choices are decoded; from 75 to 92 % correct.
    - trials: from 400 to 80.
    - cells: from 100 to 40, drawn at random.
    - code: the share of cells that inform rises from .06 to .44, so that fewer random cells suffice.
    """
    cells = population("limited", 100, rng)
    if truth == "signal":
        cells = population("limited", 100, rng, signal=1 - share / 2)
    if truth == "code":
        cells = _sparse(0.06 * (0.44 / 0.06) ** share, rng)
    X, y = cells.sample(round(400 * 0.2**share) if truth == "trials" else n_trials, rng)
    if truth == "performance":
        y = np.where(rng.random(len(y)) < 0.75 + 0.17 * share, y, 1 - y)
    return X[:, : 100 - round(60 * share)] if truth == "cells" else X, y


def _sparse(share: float, rng: np.random.Generator) -> Population:
    """Return a population in which a share of the cells inform, all alike: a few of them in a subset are enough.

    Noise along the signal limits d' squared, so that the ceiling is about the same whatever the share.
    """
    informs = rng.permutation(100) < max(round(100 * share), 1)
    return Population(np.where(informs, 2 * rng.choice([-1.0, 1.0], 100), 0.0), EPS)


@cache
def day_curve(truth: str, share: float, number: int, penalty: str = "scaled", R: int = 10) -> CurveFit:
    """Return the fitted curve of a simulated session."""
    rng = np.random.default_rng([TRUTHS.index(truth), round(1e6 * share), number, 23])
    X, y = session(truth, share, rng)
    curve = neuron_dropping_curve(X, y, ks=[*KS, X.shape[1]], R=R, n_label_shuffles=0, penalty=penalty, seed=number)
    return fit_curve(curve.ks, curve.scores, influences=curve.influences, n_bootstrap=100, seed=number)


def mice(truth: str, n_days: int, n_mice: int, n_bank: int, compute=map) -> list[list[CurveFit]]:
    """Return the curves of simulated mice: each day is one of a bank of sessions."""
    shares = np.linspace(0, 1, n_days) if truth != "same" else np.zeros(n_days)
    tasks = [(float(share), number) for share in sorted(set(shares)) for number in range(n_bank)]
    bank = dict(zip(tasks, compute(partial(_of_task, truth), tasks), strict=True))
    rng = np.random.default_rng([TRUTHS.index(truth), n_days, 24])
    # sessions of one mouse are different ones, also where nothing changes
    numbers = [rng.permutation(n_bank)[:n_days] if n_bank >= n_days else rng.integers(n_bank, size=n_days)
               for _ in range(n_mice)]  # fmt: skip
    return [[bank[float(s), int(i)] for s, i in zip(shares, chosen, strict=True)] for chosen in numbers]


def _of_task(truth: str, task: tuple[float, int]) -> CurveFit:
    return day_curve(truth, *task)

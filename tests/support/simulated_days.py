"""Simulated sessions of known truth: how often intervals of scores cover, and how often trends over days are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from pipeline.decoding import CurveFit, FOVCells, fit_curve, neuron_dropping_curve, noise_level
from pipeline.decoding.drift import drift_share
from pipeline.decoding.fits.uncertainty import RULES, score_interval, score_variance
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
    former_width : (K,) float64
        The same with intervals='new_trials'.
    test_trials : (K,) int
        Sessions covered by the interval of version 11: test trials and subsets resampled, decoders not trained again.
    """

    covered: np.ndarray
    n: int
    score: np.ndarray
    width: np.ndarray
    former_width: np.ndarray
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
        variances.append(
            [score_variance(curve.scores, curve.influences, RULES[one]) for one in ("calibrated", "new_trials")]
        )
        former.append(1.96 * np.sqrt((curve.influences**2).sum(axis=1) + curve.scores.var(axis=1) / R))
    m = np.array(means)
    others = (m.sum(axis=0) - m) / (n_sets - 1)
    widths = np.sqrt(np.mean(variances, axis=0) / m.var(axis=0, ddof=1))
    covered = ((np.array(lows) <= others) & (others <= np.array(highs))).sum(axis=0)
    return Coverage(covered, n_sets, m.mean(axis=0), *widths, (np.abs(m - others) <= np.array(former)).sum(axis=0))


# ------------------------------------------------------------------------------------- fits from few and many trials


def same_cells(kind: str, number: int, penalty: str = "scaled") -> tuple[CurveFit, CurveFit]:
    """Return the fits of two sessions of the same 100 cells, of 200 and of 400 trials."""
    rng = np.random.default_rng([number, KINDS.index(kind), 77])
    cells, fits = population(kind, 100, rng), []
    for n in (200, 400):
        X, y = cells.sample(n, rng)
        curve = neuron_dropping_curve(X, y, ks=(4, *KS), R=10, n_label_shuffles=0, penalty=penalty, seed=number)
        fits.append(fit_curve(curve.ks, curve.scores, influences=curve.influences, n_bootstrap=200))
    return fits[0], fits[1]


# ----------------------------------------------------------------------------------------------------- trends over days

#: What changes over the days of a simulated mouse, from 0 (first day) to 1 (last).
TRUTHS = ("same", "signal", "performance", "trials", "cells", "code", "more trials", "drift", "outlier", "learning")


def session(truth: str, share: float, rng: np.random.Generator, n_trials: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return activity and labels of a session at a share of the way from the first day to the last.

    - same: nothing changes.
    - signal: the signal of every cell (d' squared) falls to a half.
    - performance: the cells code the stimulus, choices are decoded; from 75 to 92 % correct.
    - trials: from 400 to 80.
    - cells: from 100 to 40, drawn at random.
    - code: the share of cells that inform rises from .06 to .44, so that fewer random cells suffice.
    - more trials: from 80 to 400.
    - drift: the activity of every cell drifts within the session, more and more: slow waves of up to three times the
      variance of its noise.
    - outlier: the last day has a tenth of the signal.
    - learning: performance, trials (80 to 400) and drift together.
    """
    cells = population("limited", 100, rng)
    if truth in ("signal", "outlier"):
        cells = population("limited", 100, rng, signal=1 - share / 2 if truth == "signal" else 0.1 ** (share == 1))
    if truth == "code":
        cells = _sparse(0.06 * (0.44 / 0.06) ** share, rng)
    numbers = {"trials": 400 * 0.2**share, "more trials": 80 * 5**share, "learning": 80 * 5**share}
    X, y = cells.sample(round(numbers.get(truth, n_trials)), rng)
    if truth in ("performance", "learning"):
        y = np.where(rng.random(len(y)) < 0.75 + 0.17 * share, y, 1 - y)
    if truth in ("drift", "learning"):
        X = X + np.sqrt(6 * share) * _waves(*X.shape, rng)
    return X[:, : 100 - round(60 * share)] if truth == "cells" else X, y


def _waves(n: int, N: int, rng: np.random.Generator) -> np.ndarray:
    """Return a slow wave of each cell, (n, N), of variance 0.5: up to three periods a session, with any phase."""
    turns = rng.uniform(0.3, 3, N) * np.arange(n)[:, None] / n + rng.random(N)
    waves: np.ndarray = np.sin(2 * np.pi * turns)
    return waves


def _sparse(share: float, rng: np.random.Generator) -> Population:
    """Return a population in which a share of the cells inform, all alike: a few of them in a subset are enough.

    Noise along the signal limits d' squared, so that the ceiling is about the same whatever the share.
    """
    informs = rng.permutation(100) < max(round(100 * share), 1)
    return Population(np.where(informs, 2 * rng.choice([-1.0, 1.0], 100), 0.0), EPS)


@cache
def day_curve(truth: str, share: float, number: int, penalty: str = "scaled", R: int = 10) -> CurveFit:
    """Return the fitted curve of a simulated session."""
    X, y = _day(truth, share, number)
    curve = neuron_dropping_curve(X, y, ks=[*KS, X.shape[1]], R=R, n_label_shuffles=0, penalty=penalty, seed=number)
    return fit_curve(curve.ks, curve.scores, influences=curve.influences, n_bootstrap=100, seed=number)


@cache
def day_drift(truth: str, share: float, number: int) -> float:
    """Return how much of the activity of the session of `day_curve` is slow."""
    return drift_share(*_day(truth, share, number))


@cache
def day_noise(truth: str, share: float, number: int) -> tuple[float, float]:
    """Return the noise of the traces of the session of `day_curve`: the cells' own noise is one of frames."""
    rng = np.random.default_rng([TRUTHS.index(truth), round(1e6 * share), number, 27])
    # sixty trials are enough for the level
    return frames_level(_day(truth, share, number)[0][:60], 1.0 if truth == "code" else 0.7, rng)


def frames_level(X: np.ndarray, own: float | np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the noise of traces of which activity X (n, N) is the mean of five frames of each trial: median and mean.

    Of it, noise of variance `own` is that of single frames, here of dF/F: as it is independent from frame to frame,
    what the frames of a window differ by does not depend on their mean. Between the windows the activity goes from one
    trial to the next, with the same noise.
    """
    n, frames = len(X), np.arange(20 * len(X))
    windows = 20 * np.arange(n)[:, None] + np.arange(5, 10)
    noise = np.sqrt(5 * np.broadcast_to(own, X.shape[1]))[:, None] * rng.normal(size=(X.shape[1], len(frames)))
    of_windows = noise[:, windows]
    noise[:, windows] = of_windows - of_windows.mean(axis=2, keepdims=True)
    places = np.column_stack([windows[:, 0], windows[:, -1]]).ravel()
    goes_on = np.array([np.interp(frames, places, np.repeat(cell, 2)) for cell in X.T])
    times = 0.2 * frames
    cells = FOVCells(np.arange(X.shape[1]), goes_on + noise, times, np.zeros(X.shape[1]), None, "dff")
    return noise_level([cells], {"stimOn_times": times[windows[:, 0]]})


def _day(truth: str, share: float, number: int) -> tuple[np.ndarray, np.ndarray]:
    return session(truth, share, np.random.default_rng([TRUTHS.index(truth), round(1e6 * share), number, 23]))


def mice(truth: str, n_days: int, n_mice: int, n_bank: int, compute=map) -> list[list[CurveFit]]:
    """Return the curves of simulated mice: each day is one of a bank of sessions."""
    shares = _shares(truth, n_days)
    tasks = [(float(share), number) for share in sorted(set(shares)) for number in range(n_bank)]
    bank = dict(zip(tasks, compute(partial(_of_task, truth), tasks), strict=True))
    return [[bank[float(s), int(i)] for s, i in zip(shares, chosen, strict=True)]
            for chosen in _sessions_of_mice(truth, n_days, n_mice, n_bank)]  # fmt: skip


def measured(
    of: Callable[[str, float, int], float | tuple[float, float]], truth: str, n_days: int, n_mice: int, n_bank: int
) -> np.ndarray:
    """Return `day_drift`, (mice, days), or `day_noise`, (mice, days, 2), of each day of the mice of `mice`."""
    shares = _shares(truth, n_days)
    return np.array([[of(truth, float(s), int(i)) for s, i in zip(shares, chosen, strict=True)]
            for chosen in _sessions_of_mice(truth, n_days, n_mice, n_bank)])  # fmt: skip


def _shares(truth: str, n_days: int) -> np.ndarray:
    return np.linspace(0, 1, n_days) if truth != "same" else np.zeros(n_days)


def _sessions_of_mice(truth: str, n_days: int, n_mice: int, n_bank: int) -> list[np.ndarray]:
    """Return the number of the session in the bank, for each mouse and day."""
    rng = np.random.default_rng([TRUTHS.index(truth), n_days, 24])
    # sessions of one mouse are different ones, also where nothing changes
    return [rng.permutation(n_bank)[:n_days] if n_bank >= n_days else rng.integers(n_bank, size=n_days)
            for _ in range(n_mice)]  # fmt: skip


def _of_task(truth: str, task: tuple[float, int]) -> CurveFit:
    return day_curve(truth, *task)

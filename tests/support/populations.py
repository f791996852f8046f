"""Simulated populations of cells whose decoding is known: activity of two classes of trials, and the best possible AUC.

Activity is Gaussian with the same covariance in both classes, except of the kind "spiky". The best linear decoder of k
cells then has d' squared = delta' inverse(covariance) delta and an AUC of Phi(d' / sqrt 2), where delta is the
difference of the class means. The module needs nothing of the project: tests and benchmarks share it.

Kinds (a cell's own noise has variance 1):

- white: no noise is shared.
- limited: noise of variance ``eps`` along delta, which limits d' squared to 1 / eps however many cells there are
  (Moreno-Bote 2014). By default 64 of 100 cells are within 0.02 of the AUC of all, and the asymptote is 0.90.
- weak, strong: as limited, with less and with more signal.
- sparse: as limited, with all signal in a tenth of the cells.
- spiky: Poisson counts of rates that vary from cell to cell, and of a gain that varies from trial to trial (gamma).
- needle: six strong cells, the others without signal.
- lowrank: five modes share 80 % of each cell's variance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

#: Kinds in which the signal is spread over many cells, and those in which few cells or shared modes carry it.
ORDINARY = ("white", "limited", "weak", "strong", "sparse", "spiky")
EXTREME = ("needle", "lowrank")
KINDS = (*ORDINARY, *EXTREME)
#: d' squared that a cell adds on average, and variance of the noise along the signal: k* 64 of 100, asymptote 0.90.
SIGNAL, EPS = 0.13, 0.304


@dataclass(frozen=True)
class Population:
    """Cells with the distribution of their activity in both classes.

    Attributes
    ----------
    delta : (N,) float64
        Difference of the class means of each cell.
    eps : float
        Variance of the noise along delta.
    own : float
        Variance of each cell's own noise.
    modes : (N, M) float64
        Loadings of shared noise, M sources of variance 1.
    rates : (N,) float64
        Spikes per trial, for counts instead of Gaussian activity; ``delta`` is then the difference of their logarithms.
    """

    delta: np.ndarray
    eps: float = 0.0
    own: float = 1.0
    modes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    rates: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def sample(self, n: int, rng: np.random.Generator, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Return activity (n, N) float64 and labels (n,) int64 of trials in random order; ``share`` are of class 1."""
        ones = round(n * share)
        y = rng.permutation(np.repeat([0, 1], [n - ones, ones]))
        return self.activity(y, rng), y

    def activity(self, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the activity (n, N) float64 of trials of given classes (n,)."""
        n, N = len(y), len(self.delta)
        side = (np.asarray(y) - 0.5)[:, None]
        if self.rates.size:
            gain = rng.gamma(8.0, 1 / 8, (n, 1))
            return rng.poisson(gain * self.rates * np.exp(side * self.delta)).astype(np.float64)
        shared = rng.normal(size=(n, self.modes.shape[1])) @ self.modes.T if self.modes.size else 0.0
        along = np.sqrt(self.eps) * rng.normal(size=(n, 1)) * self.delta
        return side * self.delta + along + shared + np.sqrt(self.own) * rng.normal(size=(n, N))

    def d_squared(self, cells: np.ndarray | slice = slice(None)) -> float:
        """Return d' squared of the best linear decoder of some cells."""
        if self.rates.size:
            raise ValueError("the best decoder of counts has no closed form here")
        delta = self.delta[cells]
        covariance = self.own * np.eye(len(delta)) + self.eps * np.outer(delta, delta)
        if self.modes.size:
            covariance += self.modes[cells] @ self.modes[cells].T
        return float(delta @ np.linalg.solve(covariance, delta))

    def auc(self, cells: np.ndarray | slice = slice(None)) -> float:
        """Return the AUC of the best linear decoder of some cells."""
        return float(ndtr(np.sqrt(self.d_squared(cells) / 2)))

    def mean_auc(self, k: int, n_subsets: int, rng: np.random.Generator) -> float:
        """Return the best AUC of k random cells, averaged over subsets."""
        N = len(self.delta)
        return float(np.mean([self.auc(rng.permutation(N)[:k]) for _ in range(n_subsets)]))


def population(kind: str, N: int, rng: np.random.Generator, signal: float = 1.0) -> Population:
    """Return a random population of N cells of one of ``KINDS``; ``signal`` multiplies d' squared of each cell."""
    spread = np.sqrt(SIGNAL * signal) * rng.normal(size=N)
    if kind == "white":
        return Population(0.4 * spread)
    if kind == "limited":
        return Population(spread, EPS)
    if kind == "weak":
        return Population(np.sqrt(0.15) * spread, EPS)
    if kind == "strong":
        return Population(2 * spread, 0.05)
    if kind == "sparse":
        informs = rng.permutation(N) < max(1, N // 10)
        return Population(np.where(informs, np.sqrt(N / informs.sum()) * spread, 0.0), EPS)
    if kind == "spiky":
        return Population(0.6 * spread, rates=rng.gamma(1.0, 1.5, N))
    if kind == "needle":
        strong = rng.permutation(N) < 6
        return Population(np.where(strong, np.sqrt(signal) * rng.choice([-1.0, 1.0], N), 0.0))
    if kind == "lowrank":
        loadings = rng.normal(size=(N, 5))
        loadings *= np.sqrt(0.8) / np.linalg.norm(loadings, axis=1, keepdims=True)
        return Population(0.25 * spread, own=0.2, modes=loadings)
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")

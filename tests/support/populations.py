"""Simulated populations of cells whose decoding is known: activity of two classes of trials, and the best possible AUC.

Activity is Gaussian with the same covariance in both classes, except where it is counts. The best linear decoder of k
cells then has d' squared = delta' inverse(covariance) delta and an AUC of Phi(d' / sqrt 2), where delta is the
difference of the class means. The module needs nothing of the project: tests and benchmarks share it.

Kinds, in which a cell's noise has variance 1 but for the noise along delta:

- white: no noise is shared. The best direction is then that of the class means, which the strongest penalty gives.
- limited: ten modes share 30 % of each cell's variance; and noise of variance ``EPS`` along delta limits d' squared to
  1 / EPS, an AUC of 0.90, however many cells there are (Moreno-Bote 2014). 64 of 100 cells are within 0.02 of all.
- weak, strong: as limited, with less and with more signal.
- sparse: as limited, with all signal in a tenth of the cells.
- spiky: Poisson counts of rates that vary from cell to cell, and of each cell from trial to trial (gamma).
- needle: six strong cells, the others without signal.
- lowrank: five modes share 80 % of each cell's variance.
- gain: as spiky, but all cells share the variation from trial to trial.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

#: Kinds in which the signal is spread over many cells, and those in which few cells or shared modes carry it.
ORDINARY = ("white", "limited", "weak", "strong", "sparse", "spiky")
EXTREME = ("needle", "lowrank", "gain")
KINDS = (*ORDINARY, *EXTREME)
#: Mean squared difference of the class means, and variance of the noise along them.
SIGNAL, EPS = 0.12, 0.304


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
    shared_gain : bool
        All cells' rates vary together from trial to trial.
    """

    delta: np.ndarray
    eps: float = 0.0
    own: float = 1.0
    modes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    rates: np.ndarray = field(default_factory=lambda: np.zeros(0))
    shared_gain: bool = False

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
            gain = rng.gamma(8.0, 1 / 8, (n, 1 if self.shared_gain else N))
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
    if kind in ("limited", "weak", "strong", "sparse"):
        informs = rng.permutation(N) < (max(1, N // 10) if kind == "sparse" else N)
        size = {"weak": np.sqrt(0.15), "strong": 2.0}.get(kind, np.sqrt(N / informs.sum()))
        eps = 0.05 if kind == "strong" else EPS
        return Population(np.where(informs, size * spread, 0.0), eps, own=0.7, modes=_loadings(N, 10, 0.3, rng))
    if kind in ("spiky", "gain"):
        return Population(0.6 * spread, rates=rng.gamma(1.0, 1.5, N), shared_gain=kind == "gain")
    if kind == "needle":
        strong = rng.permutation(N) < 6
        return Population(np.where(strong, np.sqrt(signal) * rng.choice([-1.0, 1.0], N), 0.0))
    if kind == "lowrank":
        return Population(0.25 * spread, own=0.2, modes=_loadings(N, 5, 0.8, rng))
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")


def _loadings(N: int, n_modes: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return random loadings (N, modes) that give each cell this share of a variance of 1."""
    loadings = rng.normal(size=(N, n_modes))
    return loadings * np.sqrt(share) / np.linalg.norm(loadings, axis=1, keepdims=True)

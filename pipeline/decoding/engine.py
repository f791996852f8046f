"""The engine of neuron-dropping curves: one matrix of activity, thousands of regressions.

`Population` standardises the activity once. `Subset` packs the first neurons of one random order; its
prefixes are the subsets of a curve, and its `decide` fits every row that shares them (folds, label
vectors) together with ``pipeline.decoding.solver``. Rows that miss the tolerance are fitted anew in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.lapack import dpotrf, dpotri, spotrf, spotri

from pipeline.decoding import newton
from pipeline.decoding.solver import GRADIENT_TOLERANCE, TOLERANCE, Problem, minimise_numpy, refresh_at

try:
    from pipeline.decoding.kernels import WIDTH, minimise, pack, product
except (ImportError, RuntimeError, OSError) as failure:  # numba has no place for its cache, or no compiler for the CPU
    warnings.warn(f"decoding is several times slower, numba could not compile its kernels: {failure}", stacklevel=2)
    WIDTH, minimise = 24, minimise_numpy

    def pack(matrix: np.ndarray) -> np.ndarray:
        """Return (depth, columns) float32 in panels (P, depth, WIDTH), padded with zeros."""
        padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % WIDTH))).astype(np.float32)
        return np.ascontiguousarray(padded.reshape(len(matrix), -1, WIDTH).transpose(1, 0, 2))

    def product(left: np.ndarray, panels: np.ndarray, depth: int, out: np.ndarray) -> None:
        """Write left[:, :depth] @ matrix to ``out``, the matrix packed by ``pack``."""
        matrix = panels[:, :depth].transpose(1, 0, 2).reshape(depth, -1)
        np.matmul(left[:, :depth], matrix[:, : out.shape[1]], out=out)


#: Rows that are solved together: bounds the memory, and more would not be faster.
ROWS = 60
#: Leading modes of the trials in the dual's preconditioner: one for so many trials, at least and at most.
TRIALS_PER_MODE, LEAST_MODES, MOST_MODES = 8, 12, 28
#: Neurons of one trial up to which w is looked for itself (primal), not as a sum of trials (dual).
PRIMAL = 0.6
#: Weights from which on the loss becomes flat so unevenly that only the gradient's length tells how far it is.
STRONG = 16.0
#: Tolerances within which a row is taken that float32 does not bring nearer: primal. The dual's first test is
#: not to be trusted alone.
SLACK = 3.0
#: Standard deviation on the training trials, of that on all, from which on float32 does not suffice.
SMALLEST_SD = 1e-2
#: Standard deviation on all trials, of that on the training trials, that makes the preconditioner a loose bound.
UNEVEN = 5.0


class Population:
    """Activity of all neurons, standardised on all trials.

    Parameters
    ----------
    X : (n, N) float, finite
    scaling : bool
        Standardise each neuron on the training trials of each fold.
    penalize_intercept : bool

    Attributes
    ----------
    standard : (N, n) float32
    modes : (n, m) float32
        Leading trial modes.
    """

    def __init__(self, X: np.ndarray, *, scaling: bool = True, penalize_intercept: bool = False) -> None:
        self.X, self.scaling, self.penalised = X, scaling, penalize_intercept
        self.n, self.N = X.shape
        mean, sd = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        # without scaling all neurons share a unit, to keep float32 in its best range
        flat = newton.constant(mean, sd**2, self.n)
        if scaling:
            self.unit = np.where(flat, 1.0, sd)
        else:
            self.unit = np.full(self.N, float(np.sqrt(np.mean(sd**2))) or 1.0)
        self.shift = mean / self.unit
        self.standard = np.empty((self.N, self.n), dtype=np.float32)
        for part in np.array_split(np.arange(self.N), -(-self.N // 1024)):
            self.standard[part] = np.where(flat[part], 0, (X[:, part] - mean[part]) / self.unit[part]).T
        self.modes = self._modes()

    def _modes(self) -> np.ndarray:
        m = min(max(self.n // TRIALS_PER_MODE, LEAST_MODES), MOST_MODES, self.n - 1)
        gram = (self.standard.T @ self.standard).astype(np.float64)
        modes: np.ndarray = eigh(gram, subset_by_index=(self.n - m, self.n - 1))[1].astype(np.float32)
        return modes

    def bytes_of(self, k: int) -> int:
        """Return the bytes that a subset of up to k neurons takes while it is solved."""
        padded, features = _padded(self.n), _padded(k)
        rows = ROWS * (12 * padded + 8 * features)
        n_bytes: int = 4 * (4 * padded * features + rows + 3 * min(k, self.n) ** 2)
        return n_bytes


class Subset:
    """The first neurons of one order, of which every prefix can be decoded.

    Parameters
    ----------
    population : Population
    order : (K,) int
        Neurons, as many as the largest prefix has.
    standard : (K, n) float32, optional
        Their activity if it is not the population's own (trial-shuffled).
    raw : (n, K) float, optional
        The same in the units of ``X``.
    """

    def __init__(
        self, population: Population, order: np.ndarray, standard: np.ndarray | None = None,
        raw: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.population, self.order = population, np.asarray(order)
        self.standard = population.standard[self.order] if standard is None else standard
        self.raw = raw
        self.over_neurons = pack(self.standard)
        self.over_trials = pack(self.standard.T)

    def decide(self, weights: np.ndarray, labels: np.ndarray, ks: Sequence[int]) -> list[np.ndarray]:
        """Fit every row on the first k neurons, for each k, and return the decision values of all trials.

        Parameters
        ----------
        weights : (rows, n) float64
            C times class weight, 0 for trials that a row is not trained on.
        labels : (rows, n) 1 or 0
        ks : sequence of int

        Returns
        -------
        list of (rows, n) float32 or float64
        """
        out = [np.empty(weights.shape) for _ in ks]
        for strength, rows in _batches(weights):
            scales = _Scales(self, weights[rows], max(ks))
            for z, k in zip(out, ks, strict=True):
                z[rows] = self._solve(weights[rows], labels[rows], scales, k, strength)
        return out

    def _solve(
        self, weights: np.ndarray, labels: np.ndarray, scales: _Scales, k: int, strength: float
    ) -> np.ndarray:  # fmt: skip
        n = self.population.n
        problem = self._problem(weights, labels, scales, k, strength)
        z = np.zeros((len(weights), _padded(n)), dtype=np.float32)
        b, error = np.zeros(len(weights), dtype=np.float32), np.zeros(len(weights))
        with np.errstate(all="ignore"):
            minimise(problem, refresh_at(), z, b, error)
        values = z[:, :n] + b.astype(np.float64)[:, None]
        missed = ~(error <= (SLACK if problem.primal else 1.0)) | scales.too_small(k)
        for row in np.flatnonzero(missed):
            values[row] = newton.decision_values(
                self._raw(slice(k)), labels[row], weights[row], scaling=self.population.scaling,
                penalize_intercept=self.population.penalised,
            )  # fmt: skip
        return values

    def _raw(self, columns: slice | np.ndarray) -> np.ndarray:
        return self.population.X[:, self.order[columns]] if self.raw is None else self.raw[:, columns]

    def _problem(
        self, weights: np.ndarray, labels: np.ndarray, scales: _Scales, k: int, strength: float
    ) -> Problem:  # fmt: skip
        n, population = self.population.n, self.population
        padded = _padded(n)
        primal = k <= PRIMAL * n
        strict = scales.uneven(k) | (strength > STRONG) | (population.penalised and not population.scaling)
        if primal:
            preconditioner = self._inverse_bound(k, strength)
            modes, power, rest = np.zeros((n, 1), np.float32), np.ones(1), np.zeros(n)
        else:
            preconditioner = np.zeros((1, 1, WIDTH), dtype=np.float32)
            modes, power, rest = self._spectrum(k)
        pairs = (modes[:, :, None] * modes[:, None, :]).reshape(n, -1)
        return Problem(
            over_trials=self.over_trials, over_neurons=self.over_neurons, n=n, k=k,
            weights=_pad(weights, padded), labels=_pad(np.where(labels == 1, 1.0, -1.0), padded),
            inverse_sd=_prefix(scales.inverse_sd, k), means=_prefix(scales.means, k),
            penalised=population.penalised, primal=primal, strict=strict, tolerance=TOLERANCE,
            gradient_tolerance=GRADIENT_TOLERANCE, preconditioner=preconditioner, modes=pack(modes),
            modes_back=pack(np.ascontiguousarray(modes.T)), pairs=pack(pairs),
            eigenvalues=power.astype(np.float32), rest=_pad(rest[None], padded)[0],
        )  # fmt: skip

    def _inverse_bound(self, k: int, weight: float) -> np.ndarray:
        """Return the packed inverse of (I + weight/4 X'X), in the units in which X is stored."""
        first = self.standard[:k]
        bound = (0.25 * weight) * (first @ first.T)
        ridge = 1.0 if self.population.scaling else float(self.population.unit[0]) ** -2
        bound[np.diag_indices(k)] += ridge
        factor, failed = spotrf(bound.T, lower=True)
        inverse, failed = spotri(factor, lower=True) if not failed else (factor, failed)
        if failed:  # nearly singular: large C and neurons that repeat each other
            bound[np.diag_indices(k)] += 1e-6 * np.trace(bound) / k
            inverse = dpotri(dpotrf(bound.T.astype(np.float64), lower=True)[0], lower=True)[0]
        lower = np.tril(inverse)
        packed: np.ndarray = pack((lower + np.tril(lower, -1).T).astype(np.float32))
        return packed

    def _spectrum(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return trial modes of the first k neurons (n, m), their power above the rest, and the rest's diagonal (n,).

        The population's modes, turned once towards those of the subset (subspace iteration), and the intercept.
        """
        n, first = self.population.n, self.standard[:k]
        turned = first.T @ (first @ self.population.modes)
        turned = np.linalg.qr(turned.astype(np.float64))[0].astype(np.float32)
        seen = (first @ turned).astype(np.float64)
        power, rotation = np.linalg.eigh(seen.T @ seen)
        modes = (turned @ rotation).astype(np.float32)
        diagonal = np.einsum("ij,ij->j", first, first).astype(np.float64)
        rest = max(float(diagonal.sum() - power.sum()) / max(n - len(power), 1), 1e-3 * diagonal.mean(), 1e-30)
        power = np.maximum(power - rest, 1e-3 * rest)
        diagonal = np.maximum(diagonal - modes.astype(np.float64) ** 2 @ power, 0.1 * rest)
        # a free intercept is a constant neuron without penalty
        intercept = n if self.population.penalised else 1e3 * power.max()
        modes = np.column_stack([modes, np.full(n, n**-0.5, np.float32)])
        return modes, np.append(power, intercept), diagonal


class _Scales:
    """Means and inverse standard deviations of each neuron on each row's training trials, in stored units."""

    def __init__(self, subset: Subset, weights: np.ndarray, k: int) -> None:
        population, n = subset.population, subset.population.n
        self.scaling, train = population.scaling, weights > 0
        width = _padded(k)
        mask = _pad(train, _padded(n))
        self.means, squares = np.zeros((2, len(weights), width), dtype=np.float32)
        product(mask, subset.over_trials, n, self.means)
        count = train.sum(axis=1, keepdims=True).astype(np.float32)
        self.means /= count
        if population.scaling:
            product(mask, _squares(subset.over_trials, width), n, squares)
            self.inverse_sd = self._inverse(subset, squares / count - self.means**2, train, k)
        else:
            self.inverse_sd = np.full((len(weights), width), population.unit[0], dtype=np.float32)
            if population.penalised:  # nothing is centred: the shift of all neurons is undone
                self.means[:, :k] = -population.shift[subset.order[:k]]
        self.inverse_sd[:, k:] = 0
        self.means[:, k:] = 0

    def _inverse(self, subset: Subset, variance: np.ndarray, train: np.ndarray, k: int) -> np.ndarray:
        """Return 1 / sd; small variances, which lose their digits in a difference, are computed again."""
        inverse: np.ndarray = 1 / np.sqrt(np.maximum(variance, 1e-12))
        rows, columns = np.nonzero(variance[:, :k] < 0.05)
        for row in np.unique(rows):
            at = columns[rows == row]
            raw = np.asarray(subset._raw(at)[train[row]], dtype=np.float64)
            mean, var = raw.mean(axis=0), raw.var(axis=0)
            unit = subset.population.unit[subset.order[at]]
            flat = newton.constant(mean, var, len(raw))
            inverse[row, at] = np.where(flat, 0, unit / np.sqrt(np.where(flat, 1, var)))
        return inverse.astype(np.float32)

    def uneven(self, k: int) -> np.ndarray:
        """Say for each row whether the preconditioner, of all trials, is far from its training trials."""
        uneven: np.ndarray = self.scaling & (self.inverse_sd[:, :k].max(axis=1) > UNEVEN)
        return uneven

    def too_small(self, k: int) -> np.ndarray:
        """Say for each row whether a neuron varies too little on its training trials for float32."""
        small: np.ndarray = self.scaling & (self.inverse_sd[:, :k].max(axis=1) > 1 / SMALLEST_SD)
        return small


def _batches(weights: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Yield rows that are solved together, by the strength of their weights to the next power of two.

    A row is preconditioned by its strength: what it is solved together with must not change its result.
    """
    strength = 2.0 ** np.round(np.log2(weights.sum(axis=1) / (weights > 0).sum(axis=1)))
    for value in np.unique(strength):
        rows = np.flatnonzero(strength == value)
        for start in range(0, len(rows), ROWS):
            yield 0.8 * float(value), rows[start : start + ROWS]


def _squares(panels: np.ndarray, width: int) -> np.ndarray:
    return panels[: width // WIDTH] ** 2


def _padded(n: int) -> int:
    return n + -n % WIDTH


def _pad(values: np.ndarray, width: int) -> np.ndarray:
    out = np.zeros((len(values), width), dtype=np.float32)
    out[:, : values.shape[1]] = values
    return out


def _prefix(values: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the first k neurons, those of the panel's padding zero."""
    out = values[:, : _padded(k)].copy()
    out[:, k:] = 0
    return out

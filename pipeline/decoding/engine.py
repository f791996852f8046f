"""The engine of neuron-dropping curves: one matrix of activity, thousands of regressions.

`Population` standardises the activity once. `Subset` packs the first neurons of one random order; its
prefixes are the subsets of a curve, and its `decide` fits all rows (one per fold and label vector) together with
``pipeline.decoding.solver``. Rows that miss the tolerance are fitted again in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.lapack import dpotrf, dpotri, spotrf, spotri

from pipeline.decoding import gram, newton
from pipeline.decoding.compiled import WIDTH, minimise, pack, pack_pairs, pack_symmetric, pad, padded, product
from pipeline.decoding.solver import GRADIENT_TOLERANCE, TOLERANCE, Problem, refresh_at

#: Rows that are solved together: this bounds the memory. Each product reads the activity once for all of them, which
#: counts for large k: of 2048 neurons, rows by 128 took 11 % less time than by 60.
BATCH_ROWS = 160
#: Leading eigenvectors (modes) of the trials' Gram matrix in the dual's preconditioner: one per so many trials, within
#: these bounds. Fewer need more iterations, more take longer to factorise.
TRIALS_PER_MODE, MIN_MODES, MAX_MODES = 8, 12, 28
#: Neurons whose products with the modes are summed at once.
NEURONS_PER_BLOCK = 256
#: Packed panels whose squares are computed at once.
SQUARED_PANELS = 8
#: Up to this many neurons per trial the weights w are the unknowns (primal), above it one number per trial (dual).
#: Fewer with a weak penalty: so many neurons separate the training trials, and the loss becomes too flat to stop by.
MAX_PRIMAL_K_PER_TRIAL, MAX_PRIMAL_K_WEAK = 0.9, 0.6
#: The same per training trial where rows share their training set: below, its Gram matrix is (nearly) singular.
SHARED_PRIMAL_K_PER_TRIAL, SHARED_PRIMAL_K_WEAK = 1.05, 1.2
#: Steps per octave to which the mean weight of rows of one training set is rounded, for the preconditioner: it saves a
#: fifth of the iterations if it stands for the weight itself.
STEPS_TOGETHER = 16
#: Trial weights (C times class weight, of neurons of variance 1) above which a penalty is weak in that sense.
WEAK_IN_PRIMAL = 2.0
#: Trial weights (C times class weight) above which the penalty is so weak, and the loss so unevenly flat, that only the
#: plain length of the gradient bounds the distance to the optimum (``Problem.strict``).
WEAK_PENALTY_WEIGHT = 16.0
#: Primal: a row that float32 brings no nearer is accepted within this many tolerances. Not in the dual, where passing
#: the first of two tests does not prove convergence.
PRIMAL_SLACK = 3.0
#: Standard deviation on the training trials over that on all trials, below which float32 does not suffice.
MIN_SD_RATIO = 1e-2
#: Standard deviation on all trials over that on the training trials, above which the preconditioner, which is made from
#: all trials, is too loose a bound to stop by.
MAX_SD_RATIO = 5.0


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
        Activity, one row per neuron; constant neurons are 0.
    modes : (n, m) float32
        Leading eigenvectors of the trials' Gram matrix.
    unit, shift : (N,) float64
        Standard deviation (without ``scaling`` one for all neurons), and mean in that unit.
    """

    def __init__(self, X: np.ndarray, *, scaling: bool = True, penalize_intercept: bool = False) -> None:
        self.X, self.scaling, self.penalised = X, scaling, penalize_intercept
        self.n, self.N = X.shape
        mean, sd = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        # without scaling all neurons share one unit, which keeps values near 1, where float32 is safest
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
        """Return the leading eigenvectors of the trials' Gram matrix, (n, m) float32."""
        m = min(max(self.n // TRIALS_PER_MODE, MIN_MODES), MAX_MODES, self.n - 1)
        gram = (self.standard.T @ self.standard).astype(np.float64)
        modes: np.ndarray = eigh(gram, subset_by_index=(self.n - m, self.n - 1))[1].astype(np.float32)
        return modes

    def bytes_of(self, k: int) -> int:
        """Return the memory in bytes that solving a subset of up to k neurons takes."""
        width, features = padded(self.n), padded(k)
        # float32: vectors of kernels.State; then three copies of the activity (gathered, packed both ways), and the
        # preconditioner with its factor and its inverse, or the activity or Gram matrix of a training set, in float64
        rows = BATCH_ROWS * (12 * width + 8 * features)
        squares = 12 * self.n * min(k, self.n)
        n_bytes: int = 4 * (3 * width * features + rows + squares)
        return n_bytes


class Subset:
    """The first neurons of one random order; each prefix of them can be decoded.

    Parameters
    ----------
    population : Population
    order : (K,) int
        Neurons of the largest prefix.
    standard : (K, n) float32, optional
        Their standardised activity, where it is not the population's own (trial-shuffled).
    raw : (n, K) float, optional
        That activity in the units of ``X``.
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
        # preconditioners, which depend on k and C only: many batches of rows need the same ones
        self._spectra: dict[int, _Spectrum] = {}
        self._no_spectrum = _Spectrum.packed(
            np.zeros((population.n, 1), np.float32), np.ones(1), np.zeros(population.n)
        )
        self._products: dict[int, np.ndarray] = {}
        self._bounds: dict[tuple[int, float], np.ndarray] = {}
        # sums over the first 0, 1, 2 ... blocks of neurons: see `_sums`
        n, m = population.modes.shape
        self._blocks = [(np.zeros((n, m), np.float32), np.zeros(n, np.float32))]

    def decide(
        self, weights: np.ndarray, labels: np.ndarray, ks: Sequence[int], c: Sequence[float] | None = None,
        shared: np.ndarray | None = None, times: np.ndarray | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Fit every row on the first k neurons, for each k, and return the decision values of all trials.

        Parameters
        ----------
        weights : (rows, n) float64
            C times class weight; 0 for trials outside the row's training set.
        labels : (rows, n) 1 or 0
        ks : sequence of int
            May be repeated, with another c or times.
        c : sequence of float, optional
            For each k: the weights are multiplied by it and divided by the summed variance of the k neurons
            (``newton.total_variance``). By default they are taken as they are.
        shared : (rows,) bool, optional
            Rows whose training set many others have: they are solved together (``pipeline.decoding.gram``). By default
            none.
        times : (K, rows) or (K, 1) float, optional
            For each k, what the weights of each row are multiplied by: 1 by default.

        Returns
        -------
        list of (rows, n) float64
            One array per k.
        """
        together = np.zeros(len(weights), dtype=bool) if shared is None else shared & (not self.population.penalised)
        fits = _Fits.of(self, weights, ks, c, times, together)
        alone = np.flatnonzero(~together)
        for start in range(0, len(alone), BATCH_ROWS):
            self._decide_alone(weights, labels, alone[start : start + BATCH_ROWS], fits, range(len(ks)))
        for rows in _alike(weights > 0, np.flatnonzero(together)):
            self._decide_together(weights, labels, rows, fits)
        return list(fits.values)

    def _decide_alone(
        self, weights: np.ndarray, labels: np.ndarray, rows: np.ndarray, fits: _Fits, which: Sequence[int]
    ) -> None:  # fmt: skip
        """Fit rows that each have scales of their own; ``which`` of the fits."""
        scales = _Scales(self, weights[rows], max(fits.ks[fit] for fit in which))
        for k in dict.fromkeys(fits.ks[fit] for fit in which):
            of_k = [fit for fit in which if fits.ks[fit] == k]
            # all rows of the first fit, then of the next
            fit, at = np.repeat(of_k, len(rows)), np.tile(np.arange(len(rows)), len(of_k))
            strengths, times = fits.strengths[fit, rows[at]], fits.times[fit, rows[at]]
            factors = np.concatenate([fits.factor(one, scales.total_variance(k), len(rows)) for one in of_k])
            for some in self._batches(k, strengths):
                mine = rows[at[some]]
                scaled = weights[mine] * times[some, None] * factors[some, None]
                fits.values[fit[some], mine] = self._solve(
                    scaled, labels[mine], scales.of(at[some], k), k, strengths[some]
                )

    def _batches(self, k: int, strengths: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the places of rows that are solved together; their preconditioner is of one strength in the primal."""
        values = dict.fromkeys(strengths.tolist())
        primal = [value for value in values if self._is_primal(k, value)]
        kinds = [strengths == value for value in primal]
        if len(primal) < len(values):
            kinds.append(~np.isin(strengths, primal))
        for places in map(np.flatnonzero, kinds):
            for start in range(0, len(places), BATCH_ROWS):
                yield places[start : start + BATCH_ROWS]

    def _decide_together(self, weights: np.ndarray, labels: np.ndarray, rows: np.ndarray, fits: _Fits) -> None:
        """Fit rows of one training set."""
        scales = _Scales(self, weights[rows[:1]], max(fits.ks))
        training = gram.TrainingSet(self.standard, scales.inverse_sd[0], weights[rows[0]] > 0)
        of_set = training.rows(weights[rows], labels[rows])
        for fit in np.argsort(fits.ks, kind="stable"):
            k, strengths = fits.ks[fit], fits.strengths[fit, rows]
            times = fits.times[fit, rows] * fits.factor(fit, scales.total_variance(k), 1)
            for strength in np.unique(strengths):
                at = np.flatnonzero(strengths == strength)
                if strength > WEAK_PENALTY_WEIGHT:
                    self._decide_alone(weights, labels, rows[at], fits, [fit])
                    continue
                common = training.shared(k, primal=self._is_primal_together(k, strength, training.m))
                values, missed = common.solve(of_set.part(at, times[at]), float(strength))
                missed |= scales.too_small(k)[0]
                if missed.any():
                    values = self._exact(values, missed, weights[rows[at]] * times[at, None], labels[rows[at]], k)
                fits.values[fit, rows[at]] = values

    def _is_primal(self, k: int, strength: float) -> bool:
        """Return whether the unknowns are one weight per neuron."""
        most: float = self.population.n * (MAX_PRIMAL_K_WEAK if self._is_weak(strength) else MAX_PRIMAL_K_PER_TRIAL)
        return k <= most

    def _is_primal_together(self, k: int, strength: float, n_train: int) -> bool:
        """Return the same of rows of one training set, whose Gram matrix has to be far from singular."""
        return k <= n_train * (SHARED_PRIMAL_K_WEAK if self._is_weak(strength) else SHARED_PRIMAL_K_PER_TRIAL)

    def _is_weak(self, strength: float) -> bool:
        return strength * (1.0 if self.population.scaling else self._unit**2) > WEAK_IN_PRIMAL

    def total_variance(self, k: int) -> float:
        """Return the summed variance of the first k neurons on all trials; k if they are standardised, or constant."""
        total = 0.0 if self.population.scaling else float(self.squared_lengths(k).mean()) * self._unit**2
        return total or float(k)

    def squared_lengths(self, k: int) -> np.ndarray:
        """Return the sum over the first k neurons of the squared stored activity of each trial, (n,) float64."""
        first = self.standard[:k]
        lengths: np.ndarray = np.einsum("ij,ij->j", first, first, dtype=np.float64)
        return lengths

    @property
    def _unit(self) -> float:
        """The one unit of all neurons, without scaling."""
        return float(self.population.unit[0])

    def _solve(
        self, weights: np.ndarray, labels: np.ndarray, scales: _Scales, k: int, strengths: np.ndarray
    ) -> np.ndarray:  # fmt: skip
        """Return the decision values (rows, n) of one batch; rows that float32 does not solve are solved in float64.

        ``scales`` are those of the rows and the first k neurons, strengths (rows,) all the same in the primal.
        """
        n = self.population.n
        problem = self._problem(weights, labels, scales, k, strengths)
        z = np.zeros((len(weights), padded(n)), dtype=np.float32)
        b, error = np.zeros(len(weights), dtype=np.float32), np.zeros(len(weights))
        # a row that overflows is not an error: its NaN marks it as missed below
        with np.errstate(all="ignore"):
            minimise(problem, refresh_at(), z, b, error)
        # in float64: next to a large intercept float32 would round the differences between trials away
        values = z[:, :n] + b.astype(np.float64)[:, None]
        # not `error > ...`: NaN has to count as missed
        missed = ~(error <= (PRIMAL_SLACK if problem.primal else 1.0)) | scales.too_small(k)
        return self._exact(values, missed, weights, labels, k)

    def _exact(
        self, values: np.ndarray, missed: np.ndarray, weights: np.ndarray, labels: np.ndarray, k: int
    ) -> np.ndarray:  # fmt: skip
        """Return the decision values, of the rows that float32 has missed in float64."""
        for row in np.flatnonzero(missed):
            values[row] = newton.decision_values(
                self._raw(slice(k)), labels[row], weights[row], scaling=self.population.scaling,
                penalize_intercept=self.population.penalised,
            )  # fmt: skip
        return values

    def _raw(self, columns: slice | np.ndarray) -> np.ndarray:
        """Return the raw activity (n, columns) of some neurons of the order."""
        return self.population.X[:, self.order[columns]] if self.raw is None else self.raw[:, columns]

    def _problem(
        self, weights: np.ndarray, labels: np.ndarray, scales: _Scales, k: int, strengths: np.ndarray
    ) -> Problem:  # fmt: skip
        """Return the problem of one batch, primal or dual, with its preconditioner; arguments as for `_solve`."""
        n, population = self.population.n, self.population
        width = padded(n)
        primal = self._is_primal(k, float(strengths[0]))
        weak = (strengths > WEAK_PENALTY_WEIGHT) | (population.penalised and not population.scaling)
        if primal:
            preconditioner = self._inverse_bound(k, float(strengths[0]))
            spectrum = self._no_spectrum
        else:
            preconditioner = np.zeros((1, 1, WIDTH), dtype=np.float32)
            if k not in self._spectra:
                self._spectra[k] = _Spectrum.packed(*self._spectrum(k))
            spectrum = self._spectra[k]
        return Problem(
            over_trials=self.over_trials, over_neurons=self.over_neurons, n=n, k=k,
            weights=pad(weights, width), labels=pad(np.where(labels == 1, 1.0, -1.0), width),
            inverse_sd=scales.inverse_sd, means=scales.means,
            penalised=population.penalised, primal=primal, bounded=primal, strict=scales.uneven(k) | weak,
            tolerance=TOLERANCE, gradient_tolerance=GRADIENT_TOLERANCE, preconditioner=preconditioner,
            **spectrum._asdict(),
        )  # fmt: skip

    def _inverse_bound(self, k: int, weight: float) -> np.ndarray:
        """Return the packed inverse of (I + weight/4 X'X), (k, k), in the units in which X is stored.

        The matrix bounds the Hessian from above, as 1/4 is the largest second derivative of the logistic loss.
        """
        if (k, weight) in self._bounds:
            return self._bounds[k, weight]
        if k not in self._products:
            self._products[k] = self.standard[:k] @ self.standard[:k].T
        bound = (0.25 * weight) * self._products[k]
        # the penalty |w|^2 in stored units, where a neuron's weight is `unit` times as large
        ridge = 1.0 if self.population.scaling else float(self.population.unit[0]) ** -2
        bound[np.diag_indices(k)] += ridge
        # bound.T is the same matrix in Fortran order, which LAPACK takes without a copy
        factor, failed = spotrf(bound.T, lower=True)
        inverse, failed = spotri(factor, lower=True) if not failed else (factor, failed)
        if failed:  # nearly singular: a large C and neurons with the same activity; a preconditioner may be inexact
            bound[np.diag_indices(k)] += 1e-6 * np.trace(bound) / k
            inverse = dpotri(dpotrf(bound.T.astype(np.float64), lower=True)[0], lower=True)[0]
        # potri writes the lower triangle only
        packed: np.ndarray = pack_symmetric(inverse.astype(np.float32, copy=False))
        self._bounds[k, weight] = packed
        return packed

    def _spectrum(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return trial modes of the first k neurons (n, m), their eigenvalues above the rest, and its diagonal (n,).

        With K = XX' of these neurons and the population's modes M, they are the eigenvectors of KM (M'KM)^-1 MK, the
        Nyström approximation of K: one product with X for all k together, much cheaper than an eigendecomposition of
        each subset. One more mode is for the intercept.
        """
        n = self.population.n
        images, diagonal = (part.astype(np.float64) for part in self._sums(k))
        overlap, turn = np.linalg.eigh(self.population.modes.T.astype(np.float64) @ images)
        # bounded: modes that the subset lacks, as where it is of low rank, must not be divided by rounding errors
        root = (images @ turn) / np.sqrt(np.maximum(overlap, max(1e-6 * overlap[-1], 1e-30)))
        power, rotation = np.linalg.eigh(root.T @ root)
        power = np.maximum(power, 1e-30)
        modes = ((root @ rotation) / np.sqrt(power)).astype(np.float32)
        # mean of the eigenvalues that have no mode, from the trace; above 0 also for low rank and for silent neurons
        rest = max(float(diagonal.sum() - power.sum()) / max(n - len(power), 1), 1e-3 * diagonal.mean(), 1e-30)
        # the diagonal stands for `rest` of each mode already; 1/power is needed, so it stays positive
        power = np.maximum(power - rest, 1e-3 * rest)
        # the diagonal of K, which the approximation has to match; kept positive where modes cancel it
        diagonal = np.maximum(diagonal - modes.astype(np.float64) ** 2 @ power, 0.1 * rest)
        # a free intercept acts like a constant neuron without penalty: an eigenvalue far above all others
        intercept = n if self.population.penalised else 1e3 * power.max()
        # a penalised one is a neuron that is 1 in all trials: 11' has this vector and the eigenvalue n
        modes = np.column_stack([modes, np.full(n, n**-0.5, np.float32)])
        return modes, np.append(power, intercept), diagonal

    def _sums(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return X X' modes (n, m) and the diagonal of X X' (n,) of the first k neurons, float32.

        They are sums over blocks of neurons, which are kept. The blocks depend on k only: so do the bits.
        """
        whole, left = divmod(k, NEURONS_PER_BLOCK)
        while len(self._blocks) <= whole:
            start = NEURONS_PER_BLOCK * (len(self._blocks) - 1)
            last = self._blocks[-1]
            added = self._sums_of(slice(start, start + NEURONS_PER_BLOCK))
            self._blocks.append((last[0] + added[0], last[1] + added[1]))
        images, diagonal = self._blocks[whole]
        if not left:
            return images, diagonal
        rest = self._sums_of(slice(k - left, k))
        return images + rest[0], diagonal + rest[1]

    def _sums_of(self, neurons: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return what `_sums` returns, of some neurons of the order."""
        part = self.standard[neurons]
        return part.T @ (part @ self.population.modes), np.einsum("ij,ij->j", part, part)


class _Spectrum(NamedTuple):
    """The dual's preconditioner of the first k neurons, packed as ``Problem`` has it."""

    modes: np.ndarray
    modes_back: np.ndarray
    pairs: np.ndarray
    eigenvalues: np.ndarray
    rest: np.ndarray

    @classmethod
    def packed(cls, modes: np.ndarray, power: np.ndarray, rest: np.ndarray) -> _Spectrum:
        """Pack modes (n, m), their eigenvalues (m,) and the rest of the diagonal (n,)."""
        # pairs: so that sum_i h_i m_is m_it, the lower triangle of (m, m) for each row, is one product
        return cls(
            pack(modes), pack(np.ascontiguousarray(modes.T)), pack_pairs(modes), power.astype(np.float32),
            pad(rest[None], padded(len(modes)))[0],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Fits:
    """The fits of all rows to the first k neurons, for several k and C.

    Attributes
    ----------
    ks : list of int
    c : (K,) float64 or None
        In units of the summed variance of the neurons, by which the weights are divided; None: they are taken as they
        are.
    times : (K, rows) float64
        What the weights of each row are multiplied by.
    strengths : (K, rows) float64
        Trial weight that a row's preconditioner assumes.
    values : (K, rows, n) float64
        Receives the decision values.
    """

    ks: list[int]
    c: np.ndarray | None
    times: np.ndarray
    strengths: np.ndarray
    values: np.ndarray

    @classmethod
    def of(
        cls, subset: Subset, weights: np.ndarray, ks: Sequence[int], c: Sequence[float] | None,
        times: np.ndarray | None, together: np.ndarray,
    ) -> _Fits:  # fmt: skip
        """Return fits that have yet to be made; arguments as for ``Subset.decide``."""
        shape = (len(ks), len(weights))
        by_row = np.broadcast_to(1.0 if times is None else np.asarray(times), shape)
        # Rows whose mean weights round to the same power of two share a preconditioner, and only those: the result of a
        # row must not depend on the other rows of its batch. In one training set the weights themselves are the same.
        mean, steps = weights.sum(axis=1) / (weights > 0).sum(axis=1) * by_row, np.where(together, STEPS_TOGETHER, 1)
        # 0.8: the preconditioner is made from all trials, of which fewer are in training
        strengths = np.where(together, 1.0, 0.8) * 2.0 ** (np.round(np.log2(mean) * steps) / steps)
        fits = cls(
            [int(k) for k in ks], None if c is None else np.asarray(c, dtype=np.float64), by_row, strengths,
            np.empty((*shape, weights.shape[1])),
        )  # fmt: skip
        for fit, k in enumerate(fits.ks):
            fits.strengths[fit] *= fits.factor(fit, subset.total_variance(k), 1)
        return fits

    def factor(self, fit: int, total_variance: np.ndarray | float, n: int) -> np.ndarray:
        """Return what the weights of n rows are multiplied by in the unit of c, (n,) float64."""
        factor = 1.0 if self.c is None else self.c[fit] / total_variance
        return np.ravel(factor) * np.ones(n)


class _Scales:
    """Mean and inverse standard deviation of each neuron on each row's training trials, in stored units.

    Attributes
    ----------
    means, inverse_sd : (rows, K padded) float32
    """

    def __init__(self, subset: Subset, weights: np.ndarray, k: int) -> None:
        population, n = subset.population, subset.population.n
        self.subset, self.scaling, train = subset, population.scaling, weights > 0
        self.train = train
        width = padded(k)
        mask = pad(train, padded(n))
        self.means, squares = np.zeros((2, len(weights), width), dtype=np.float32)
        product(mask, subset.over_trials, n, self.means)
        count = train.sum(axis=1, keepdims=True).astype(np.float32)
        self.means /= count
        if population.scaling:
            _squared_sums(mask, subset.over_trials, squares)
            self.inverse_sd = self._inverse(subset, squares / count - self.means**2, train, k)
        else:
            self.inverse_sd = np.full((len(weights), width), population.unit[0], dtype=np.float32)
            if population.penalised:  # nothing is centred then, so the shift of the stored activity is undone
                self.means[:, :k] = -population.shift[subset.order[:k]]
        self.inverse_sd[:, k:] = 0
        self.means[:, k:] = 0

    def _inverse(self, subset: Subset, variance: np.ndarray, train: np.ndarray, k: int) -> np.ndarray:
        """Return 1 / sd, (rows, K padded); small variances are recomputed, as their digits cancel in a difference."""
        # stored neurons have variance 1: the floor only avoids a division by 0, values below 0.05 are replaced
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

    def of(self, rows: np.ndarray, k: int) -> _Scales:
        """Return the scales of some rows (rows,) int, and of the first k neurons, padded with 0."""
        part = copy(self)
        part.train = self.train[rows]
        part.means, part.inverse_sd = (_prefix(values, rows, k) for values in (self.means, self.inverse_sd))
        return part

    def total_variance(self, k: int) -> np.ndarray | float:
        """Return the summed variance of the first k neurons on the training trials, (rows, 1) float64.

        k if neurons are standardised, as in ``newton.total_variance``. The intercept is free: means are not replaced.
        """
        if self.scaling:
            return float(k)
        # a sum of its own for each row, with the same bits in any batch
        lengths = (self.train * self.subset.squared_lengths(k)).sum(axis=1, keepdims=True)
        means = (self.means[:, :k].astype(np.float64) ** 2).sum(axis=1, keepdims=True)
        total = (lengths / self.train.sum(axis=1, keepdims=True) - means) * self.subset._unit**2
        return np.where(total > 0, total, k)

    def uneven(self, k: int) -> np.ndarray:
        """Return (rows,) bool: whether the preconditioner, made from all trials, is far from the training trials."""
        uneven: np.ndarray = self.scaling & (self.inverse_sd[:, :k].max(axis=1) > MAX_SD_RATIO)
        return uneven

    def too_small(self, k: int) -> np.ndarray:
        """Return (rows,) bool: whether a neuron varies too little on the training trials for float32."""
        small: np.ndarray = self.scaling & (self.inverse_sd[:, :k].max(axis=1) > 1 / MIN_SD_RATIO)
        return small


def _alike(masks: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield those of some rows whose masks (of all rows) are equal."""
    groups: dict[bytes, list[int]] = {}
    for row in rows:
        groups.setdefault(masks[row].tobytes(), []).append(row)
    yield from map(np.array, groups.values())


def _squared_sums(mask: np.ndarray, panels: np.ndarray, out: np.ndarray) -> None:
    """Write mask (rows, n) @ the squared values of packed columns to ``out`` (rows, columns)."""
    # some panels at a time, whose squares stay in the processor's cache
    for start in range(0, out.shape[1] // WIDTH, SQUARED_PANELS):
        end = min(start + SQUARED_PANELS, out.shape[1] // WIDTH)
        part = np.empty((len(mask), (end - start) * WIDTH), dtype=np.float32)
        product(mask, panels[start:end] ** 2, panels.shape[1], part)
        out[:, start * WIDTH : end * WIDTH] = part


def _prefix(values: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Return the first k columns of some rows, and columns of 0 up to whole panels."""
    out: np.ndarray = values[:, : padded(k)][rows]
    out[:, k:] = 0
    return out

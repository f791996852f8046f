"""Regressions that share their training trials, solved together.

Shuffled labels that are decoded with the folds of the real labels (``shared_folds``) have the trials and the scales of
each training fold in common. What depends on these only is computed once for all label vectors: for each k the
activity, standardised and centred on the training trials, or its Gram matrix, and for each C the preconditioner. This
is the inverse of the Hessian's bound, as in the primal of ``pipeline.decoding.solver``; where the decision values are
small it is the Hessian itself.

*Primal*, fewer neurons than training trials: the unknowns are the weights w, as there. The standardised activity Z (k,
m) has only the m training trials, and no row has scales of its own.

*Dual*, otherwise: the solution is w = Za with one number a per training trial, and all that matters of the activity is
K = Z'Z, the Gram matrix. An iteration is one product with an (m, m) matrix, whatever the number of neurons: from the
residual r = a + e the direction is d = -(I + hK)^-1 r, where h is a quarter of C. Its image needs no product of its
own: with Q = I - (I + hK)^-1, which is hK (I + hK)^-1, d = rQ - r and Kd = -rQ/h.

The image of a sum of steps is the sum of their images only as far as float32 goes. With a weak penalty the rounding of
the first, long steps counts: then z is computed once more from the solution, and the iteration goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from pipeline.decoding.compiled import minimise_shared, pack, pack_symmetric, pad, padded
from pipeline.decoding.solver import TOLERANCE, SharedProblem

#: Neurons whose products are summed at once. The blocks depend on k only, and so do the bits.
NEURONS_PER_BLOCK = 512


class TrainingSet:
    """The activity of one training set, of more and more neurons.

    Parameters
    ----------
    standard : (K, n) float32
        Activity of the neurons of a subset, in their order, in stored units.
    inverse_sd : (K,) float32
        1 / standard deviation on the training trials; 0 for neurons that are constant there.
    train : (n,) bool

    Attributes
    ----------
    m : int
        Number of training trials.
    trials : (n,) int
        All trials, those in training first.
    """

    def __init__(self, standard: np.ndarray, inverse_sd: np.ndarray, train: np.ndarray) -> None:
        self.standard, self.inverse_sd, self.m = standard, inverse_sd, int(train.sum())
        self.trials = np.argsort(~train, kind="stable")
        self._sums, self._n_blocks = np.zeros((len(train), len(train)), np.float32), 0
        # of the last k
        self._shared: dict[tuple[int, bool], Shared] = {}

    def rows(self, weights: np.ndarray, labels: np.ndarray) -> Rows:
        """Return rows of this training set: weights (rows, n) float, C times class weight, and labels (rows, n)."""
        train = self.trials[: self.m]
        signs = np.where(labels[:, train] == 1, 1.0, -1.0)
        return Rows(*(pad(values, padded(self.m)) for values in (weights[:, train], signs)))

    def shared(self, k: int, *, primal: bool) -> Shared:
        """Return what the rows share, of the first k neurons, at least as many as in the call before."""
        if (k, primal) not in self._shared:
            self._shared = {key: kept for key, kept in self._shared.items() if key[0] == k}
            features = self.activity(k) if primal else self.gram(k)
            self._shared[k, primal] = Shared(features, self.trials, self.m, primal=primal)
        return self._shared[k, primal]

    def activity(self, k: int) -> np.ndarray:
        """Return the standardised activity of the first k neurons, centred on the training trials.

        (k, n) float32, in the order of ``trials``.
        """
        scaled = self.standard[:k, self.trials].astype(np.float64) * self.inverse_sd[:k, None]
        scaled -= scaled[:, : self.m].mean(axis=1, keepdims=True)
        activity: np.ndarray = scaled.astype(np.float32)
        return activity

    def gram(self, k: int) -> np.ndarray:
        """Return K of the first k neurons, at least as many as in the call before: (training trials, n) float32.

        In the order of ``trials``. Centred on the training trials: their rows and columns sum to 0.
        """
        whole, left = divmod(k, NEURONS_PER_BLOCK)
        while self._n_blocks < whole:
            start = self._n_blocks * NEURONS_PER_BLOCK
            self._sums += self._products(slice(start, start + NEURONS_PER_BLOCK))
            self._n_blocks += 1
        sums = self._sums + self._products(slice(k - left, k)) if left else self._sums
        rows = sums.take(self.trials[: self.m], axis=0).take(self.trials, axis=1).astype(np.float64)
        means = rows.mean(axis=0)
        of_train = means[: self.m]
        rows -= means + (of_train - of_train.mean())[:, None]
        gram: np.ndarray = rows.astype(np.float32)
        return gram

    def _products(self, neurons: slice) -> np.ndarray:
        """Return the products of all trials over some neurons, (n, n) float32."""
        part = self.standard[neurons] * self.inverse_sd[neurons, None]
        products: np.ndarray = part.T @ part
        return products


class Rows(NamedTuple):
    """Rows of one training set: weights and labels of +-1 of its trials, (rows, m padded) float32."""

    weights: np.ndarray
    labels: np.ndarray

    def part(self, rows: np.ndarray, times: np.ndarray) -> Rows:
        """Return some rows (part,) int, with their weights multiplied by ``times`` (part,)."""
        return Rows(self.weights[rows] * times[:, None].astype(np.float32), self.labels[rows])


class Shared:
    """What the rows of one training set share at one k.

    Parameters
    ----------
    features : (k or m, n) float32
        By which the unknowns are multiplied: the standardised activity (primal) or the Gram matrix (dual).
    trials : (n,) int
        The trials of its columns, of which the first m are in training.
    m : int
    primal : bool
    """

    def __init__(self, features: np.ndarray, trials: np.ndarray, m: int, *, primal: bool) -> None:
        self.trials, self.m, self.primal, self.depth, self.features = trials, m, primal, len(features), pack(features)
        of_train = np.ascontiguousarray(features[:, :m])
        self.products = of_train @ of_train.T if primal else of_train
        of_neurons = of_train if primal else np.zeros((1, 1), np.float32)
        self.over_trials, self.over_neurons = pack(of_neurons.T), pack(of_neurons)

    def preconditioner(self, h: float) -> np.ndarray:
        """Return -(I + hZZ')^-1 in the primal, Q = I - (I + hK)^-1 in the dual, packed, of (k, k) or (m, m) float32."""
        # in float64: in the dual an error of the inverse would be one of all images
        bound = np.multiply(self.products, h, dtype=np.float64)
        diagonal = np.diag_indices(self.depth)
        bound[diagonal] += 1
        # bound.T is the same matrix in Fortran order, which LAPACK takes without a copy; it writes the lower triangle
        inverse = dpotri(dpotrf(bound.T, lower=True, overwrite_a=True)[0], lower=True, overwrite_c=True)[0]
        negative = inverse.astype(np.float32)
        np.negative(negative, out=negative)
        if not self.primal:
            negative[diagonal] = 1 - inverse[diagonal]
        packed: np.ndarray = pack_symmetric(negative)
        return packed

    def problem(self, rows: Rows, strength: float) -> SharedProblem:
        """Return what is minimised; strength is the trial weight that the preconditioner assumes."""
        h = strength / 4
        return SharedProblem(
            n=self.m, k=self.depth, primal=self.primal, weights=rows.weights, labels=rows.labels,
            features=self.features, over_trials=self.over_trials, over_neurons=self.over_neurons,
            preconditioner=self.preconditioner(h), h=h, tolerance=TOLERANCE,
            strict=np.zeros(len(rows.weights), dtype=bool),
        )  # fmt: skip

    def solve(self, rows: Rows, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the decision values of rows, and which of them were not solved; arguments as for ``problem``.

        Returns
        -------
        values : (rows, n) float64
        missed : (rows,) bool
        """
        n_rows, n = len(rows.weights), len(self.trials)
        z, b, error = np.zeros((n_rows, padded(n)), np.float32), np.zeros(n_rows, np.float32), np.zeros(n_rows)
        with np.errstate(all="ignore"):  # a row that overflows is known by its NaN
            minimise_shared(self.problem(rows, strength), z, b, error)
        # in float64: next to a large intercept float32 would round the differences between trials away
        values = z.take(np.argsort(self.trials), axis=1) + b.astype(np.float64)[:, None]
        # not `error > 1`: NaN has to count as missed
        return values, ~(error <= 1)

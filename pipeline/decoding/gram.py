"""Regressions that share their training trials, solved by one Gram matrix.

Shuffled labels that are decoded with the folds of the real labels (``shared_folds``) have the trials and the scales of
each training fold in common. Where there are more neurons than trials, the solution is w = S^-1 X'a with one number a
per training trial, and all that matters of the activity is K, the Gram matrix of the standardised activity, centred on
the training trials. It is computed once for all label vectors, and an iteration is one product with an (n, n) matrix,
whatever the number of neurons.

The method is that of ``pipeline.decoding.solver`` (*dual*), with the bound of the Hessian as preconditioner, as in the
primal: from the residual r = a + e the direction is d = -(I + hK)^-1 r, where h is a quarter of C. Its image needs no
product of its own: with Q = I - (I + hK)^-1, which is hK (I + hK)^-1, d = rQ - r and Kd = -rQ/h.

The image of a sum of steps is the sum of their images only as far as float32 goes. With a weak penalty the rounding of
the first, long steps counts: then z is computed once more from a, and the iteration goes on from there.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from pipeline.decoding.compiled import minimise_gram, pack, pad, padded, product
from pipeline.decoding.solver import MAX_DRIFT, TOLERANCE, GramProblem

#: Neurons whose products are summed at once. The blocks depend on k only, and so do the bits.
NEURONS_PER_BLOCK = 512
#: Matrices that are inverted by LAPACK.
SMALLEST_BLOCK = 80
#: Times that z is computed from a; a row that is off even then is fitted in float64.
TURNS = 3


class TrainingSet:
    """The Gram matrices of one training set, of more and more neurons.

    Parameters
    ----------
    standard : (K, n) float32
        Activity of the neurons of a subset, in their order, in stored units.
    inverse_sd : (K,) float32
        1 / standard deviation on the training trials; 0 for neurons that are constant there.
    train : (n,) bool
    """

    def __init__(self, standard: np.ndarray, inverse_sd: np.ndarray, train: np.ndarray) -> None:
        self.standard, self.inverse_sd, self.train = standard, inverse_sd, train
        self._sums, self._n_blocks = np.zeros((len(train), len(train)), np.float32), 0

    def gram(self, k: int) -> np.ndarray:
        """Return K of the first k neurons, at least as many as in the call before: (training trials, n) float32.

        Centred on the training trials: their rows and columns sum to 0.
        """
        whole, left = divmod(k, NEURONS_PER_BLOCK)
        while self._n_blocks < whole:
            start = self._n_blocks * NEURONS_PER_BLOCK
            self._sums += self._products(slice(start, start + NEURONS_PER_BLOCK))
            self._n_blocks += 1
        sums = self._sums + self._products(slice(k - left, k)) if left else self._sums
        rows = sums[self.train].astype(np.float64)
        means = rows.mean(axis=0)
        of_train = means[self.train]
        rows -= means + (of_train - of_train.mean())[:, None]
        gram: np.ndarray = rows.astype(np.float32)
        return gram

    def _products(self, neurons: slice) -> np.ndarray:
        """Return the products of all trials over some neurons, (n, n) float32."""
        part = self.standard[neurons] * self.inverse_sd[neurons, None]
        products: np.ndarray = part.T @ part
        return products


def shrinker(gram: np.ndarray, h: float) -> np.ndarray:
    """Return Q = I - (I + hK)^-1 of a Gram matrix K (m, m), float32."""
    # in float64: an error of the inverse would be one of all images
    bound = np.multiply(gram, h, dtype=np.float64)
    bound[np.diag_indices(len(bound))] += 1
    shrunk = -_inverse(bound)
    shrunk[np.diag_indices(len(shrunk))] += 1
    return shrunk.astype(np.float32)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a symmetric positive definite matrix (m, m) float64.

    By blocks, as nearly all of it is then matrix products: in half of the time that LAPACK takes.
    """
    if len(matrix) <= SMALLEST_BLOCK:
        lower = np.tril(dpotri(dpotrf(matrix, lower=True)[0], lower=True)[0])
        inverse: np.ndarray = lower + np.tril(lower, -1).T
        return inverse
    half = len(matrix) // 2
    first, off = _inverse(matrix[:half, :half]), matrix[half:, :half]
    product_ = off @ first
    last = _inverse(matrix[half:, half:] - product_ @ off.T)
    both = last @ product_
    return np.block([[first + product_.T @ both, -both.T], [-both, last]])


def solve(
    gram: np.ndarray, train: np.ndarray, weights: np.ndarray, labels: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the decision values of rows that share their training trials, and which of them were not solved.

    Parameters
    ----------
    gram : (m, n) float32
        See ``TrainingSet.gram``.
    train : (n,) bool
        The m training trials.
    weights : (rows, n) float64
        C times class weight.
    labels : (rows, n) 1 or 0
    strength : float
        Trial weight that the preconditioner assumes.

    Returns
    -------
    values : (rows, n) float64
    missed : (rows,) bool
    """
    m, n, n_rows, width = len(gram), len(train), len(weights), padded(len(gram))
    signs = np.where(labels[:, train] == 1, 1.0, -1.0)
    problem = GramProblem(
        n=m, weights=pad(weights[:, train], width), labels=pad(signs, width),
        shrinker=pack(shrinker(gram[:, train], strength / 4)), h=strength / 4, tolerance=TOLERANCE,
        strict=np.zeros(n_rows, dtype=bool),
    )  # fmt: skip
    packed, z = pack(gram), np.zeros((n_rows, padded(n)), dtype=np.float32)
    a, of_train = np.zeros((2, n_rows, width), dtype=np.float32)
    b, error, drift = np.zeros(n_rows, dtype=np.float32), np.zeros(n_rows), np.full(n_rows, np.inf)
    for _ in range(TURNS):
        # not `drift > 1`: NaN has to count as far
        rows = np.flatnonzero(~(drift <= 1))
        if not len(rows):
            break
        part = problem._replace(weights=problem.weights[rows], labels=problem.labels[rows])
        state = a[rows], of_train[rows], b[rows], error[rows]
        with np.errstate(all="ignore"):  # a row that overflows is known by its NaN
            minimise_gram(part, *state)
            a[rows], summed, b[rows], error[rows] = state
            exact = np.zeros((len(rows), z.shape[1]), dtype=np.float32)
            product(a[rows], packed, m, exact)
            z[rows] = exact
            of_train[rows, :m] = exact[:, :n][:, train] + b[rows, None]
            spread = np.maximum(np.ptp(of_train[rows, :m], axis=1), 1)
            drift[rows] = np.abs(of_train[rows, :m] - summed[:, :m]).max(axis=1) / (MAX_DRIFT * spread)
    # in float64: next to a large intercept float32 would round the differences between trials away
    return z[:, :n] + b.astype(np.float64)[:, None], ~(np.maximum(error, drift) <= 1)

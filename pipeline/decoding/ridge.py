"""Ridge regression of numbers on activity: `predictions` one by one, and `RidgeSubset` many at once, in closed form.

A decoder minimises, over the weights w and the intercept b,

    1/2 |w|^2 + 1/2 sum_i c_i (y_i - x_i w - b)^2

where c_i is C on the training trials and 0 elsewhere: scikit-learn's ``Ridge(alpha=1 / C)``. C has the units that it
has for classes (``pipeline.decoding.folds.Validation``): with 'scaled' it is C / k, so that the prior of a decision
value is as wide at every k, in units of the noise of y. The decision value of a trial is the number that is predicted
for it.

With k neurons and n training trials either X'X (k, k) or the Gram matrix XX' (n, n) is factorised, whichever is
smaller, once for all label vectors that share training trials and C. The Gram matrices of the subsets of a curve are
sums over more and more neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.decoding import newton


def predictions(X: np.ndarray, y: np.ndarray, weights: np.ndarray, *, scaling: bool = True) -> np.ndarray:
    """Return the numbers that one regression predicts, by least squares with the penalty as further rows.

    Parameters
    ----------
    X : (n, k) float
    y : (n,) float64
    weights : (n,) float64
        C; 0 for trials outside the training set.
    scaling : bool
        Standardise each neuron on the training trials.

    Returns
    -------
    (n,) float64
        Rounded to 1e-9 of their range or size.
    """
    train = weights > 0
    Z = _scaled(np.asarray(X, dtype=np.float64), train, scaling)
    root = np.sqrt(weights[train])
    # a free intercept: the last feature, without a penalty
    rows = np.column_stack([Z[train], np.ones(int(train.sum()))]) * root[:, None]
    penalty = np.eye(Z.shape[1], Z.shape[1] + 1)
    sides = np.concatenate([y[train] * root, np.zeros(len(penalty))])
    found = np.linalg.lstsq(np.vstack([rows, penalty]), sides, rcond=None)[0]
    values: np.ndarray = _rounded((Z @ found[:-1] + found[-1])[None])[0]
    return values


def _scaled(X: np.ndarray, train: np.ndarray, scaling: bool) -> np.ndarray:
    """Return X (n, k) centred on the training trials, and with ``scaling`` standardised as by StandardScaler."""
    mean, var = X[train].mean(axis=0), X[train].var(axis=0)
    flat = newton.constant(mean, var, int(train.sum()))
    scaled: np.ndarray = (X - mean) / np.where(flat | (not scaling), 1.0, np.sqrt(var))
    return scaled


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return rows of values, each rounded to 1e-9 of its range or size, (rows, n) float64.

    Identical trials are then ties, and a row has the same bits whichever rows are solved with it.
    """
    size = 1e-9 * np.maximum(np.ptp(values, axis=1), np.maximum(np.abs(values).max(axis=1), 1e-280))[:, None]
    # a power of two: the last bits of the size change neither it nor a product with it; 1e-280: all may be 0
    unit = np.exp2(np.floor(np.log2(size)))
    rounded: np.ndarray = np.round(values / unit) * unit
    return rounded


class RidgePopulation:
    """Activity of all neurons, for regressions.

    Parameters
    ----------
    X : (n, N) float, finite
    scaling : bool
        Standardise each neuron on the training trials of each fold.
    """

    def __init__(self, X: np.ndarray, *, scaling: bool = True) -> None:
        self.X, self.scaling = X, scaling
        self.n, self.N = X.shape

    def bytes_of(self, k: int) -> int:
        """Return the memory in bytes that solving a subset of up to k neurons takes."""
        # float64: the activity as gathered, scaled and weighted; the matrices of each size with their factors
        n_bytes: int = 8 * (3 * self.n * k + 12 * self.n**2)
        return n_bytes


class RidgeSubset:
    """The first neurons of one random order; numbers can be decoded from each prefix of them.

    Parameters
    ----------
    population : RidgePopulation
    order : (K,) int
        Neurons of the largest prefix.
    """

    def __init__(self, population: RidgePopulation, order: np.ndarray) -> None:
        self.scaling = population.scaling
        self.X = np.asarray(population.X[:, np.asarray(order)], dtype=np.float64)

    def decide(
        self, weights: np.ndarray, labels: np.ndarray, ks: Sequence[int], c: Sequence[float] | None = None,
        shared: np.ndarray | None = None, times: np.ndarray | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """Fit every row on the first k neurons, for each k, and return what is predicted for all trials.

        Parameters
        ----------
        weights : (rows, n) float64
            C, or C times a number of copies of the trial; 0 for trials outside the row's training set.
        labels : (rows, n) float64
            Finite on the training trials.
        ks : sequence of int
            May be repeated, with another c or times.
        c : sequence of float, optional
            See ``pipeline.decoding.engine.Subset.decide``.
        shared : (rows,) bool, optional
            Makes no difference: rows with the same training trials always share their matrices.
        times : (K, rows) or (K, 1) float, optional
            For each k, what the weights of each row are multiplied by: 1 by default.

        Returns
        -------
        list of (rows, n) float64
            One array per k.
        """
        out = [np.empty(weights.shape) for _ in ks]
        most = weights.max(axis=1)
        # C of each row at each k
        strengths = most * np.broadcast_to(1.0 if times is None else times, (len(ks), len(weights)))
        groups: dict[bytes, list[int]] = {}
        # rows with the same training trials, whatever their C, share the matrices
        for row, share in enumerate(weights / most[:, None]):
            groups.setdefault(share.tobytes(), []).append(row)
        for rows in groups.values():
            fold = _Fold(self.X, weights[rows[0]] / most[rows[0]], self.scaling)
            for i in np.argsort(ks, kind="stable"):  # the matrices are those of more and more neurons
                k, of_rows = int(ks[i]), strengths[i, rows]
                for strength in np.unique(of_rows):
                    mine = np.array(rows)[of_rows == strength]
                    scale = strength if c is None else strength * c[i] / fold.total_variance(k)
                    out[i][mine] = fold.predicted(labels[mine], k, float(scale))
        return out


class _Fold:
    """A training set: its matrices, each computed once.

    Parameters
    ----------
    X : (n, K) float64
    shares : (n,) float64
        Weights of the trials, of which the largest is 1; 0 outside the training set.
    scaling : bool
    """

    def __init__(self, X: np.ndarray, shares: np.ndarray, scaling: bool) -> None:
        self.train, self.shares = shares > 0, shares[shares > 0]
        self.X, self.scaling = X, scaling
        Z = _scaled(X, self.train, scaling)
        # centred by the weights too: the intercept is free
        uneven = bool((self.shares != 1).any())
        self.Z: np.ndarray = Z - np.average(Z[self.train], axis=0, weights=self.shares) if uneven else Z
        self.root = np.sqrt(self.shares)
        self.weighted = self.root[:, None] * self.Z[self.train]
        self._grams: dict[int, np.ndarray] = {}
        self._inner: np.ndarray = np.empty((0, 0))

    def total_variance(self, k: int) -> float:
        """Return what C is divided by where it is in units of 1 / k (``newton.total_variance``)."""
        return newton.total_variance(self.X[:, :k], self.train, self.scaling)

    def predicted(self, labels: np.ndarray, k: int, c: float) -> np.ndarray:
        """Return the numbers predicted for all trials by the first k neurons, (rows, n) float64.

        Parameters
        ----------
        labels : (rows, n) float64
        k : int
        c : float
            Weight of the trials whose share is 1.
        """
        from scipy.linalg import cho_factor, cho_solve

        y = labels[:, self.train]
        mean = (y @ self.shares / self.shares.sum())[:, None]
        sides = (self.root * (y - mean)).T
        few = k < len(self.root)
        matrix = self._products(k) if few else self._gram(k)[self.train] * self.root[:, None]
        # 1 / c on the diagonal: c times the matrix is the Hessian, or its dual
        factor = cho_factor(matrix + np.eye(len(matrix)) / c, check_finite=False)
        if few:
            coefficients = cho_solve(factor, self.weighted[:, :k].T @ sides, check_finite=False)
            values = self.Z[:, :k] @ coefficients
        else:
            values = self._gram(k) @ cho_solve(factor, sides, check_finite=False)
        return _rounded(values.T + mean)

    def _products(self, k: int) -> np.ndarray:
        """Return X'X of the first k neurons, (k, k)."""
        if not self._inner.size:
            first = self.weighted[:, : min(len(self.root), self.weighted.shape[1])]
            self._inner = first.T @ first
        return self._inner[:k, :k]

    def _gram(self, k: int) -> np.ndarray:
        """Return the products of all trials with the training trials over the first k neurons, (n, training)."""
        if k not in self._grams:
            before = max((size for size in self._grams if size < k), default=0)
            more = self.Z[:, before:k] @ self.weighted[:, before:k].T
            self._grams[k] = self._grams[before] + more if before else more
        return self._grams[k]

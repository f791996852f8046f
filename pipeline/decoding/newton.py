"""One L2 logistic regression in float64: the exact answer that everything faster is measured by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Newton decrement, of the size of the loss, at which the optimum is reached.
DECREMENT = 1e-20


def decision_values(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    *,
    scaling: bool = True,
    penalize_intercept: bool = False,
) -> np.ndarray:
    """Fit on the trials that have a weight, and return the decision values of all.

    Damped Newton steps on ``1/2 |w|^2 + sum_i c_i log(1 + exp(-y_i f_i))`` to the last digits, the optimum
    that scikit-learn's ``StandardScaler`` and ``LogisticRegression`` approach as their tolerance goes to zero.
    With more neurons than trials the problem is rotated into the span of the trials, where the solution lies.

    Parameters
    ----------
    X : (n, k) float
    y : (n,) 0 or 1
    weights : (n,) float64
        C times the class weight, 0 for trials that are not trained on.
    scaling : bool
        Standardise each neuron on the training trials.
    penalize_intercept : bool
        As liblinear does.

    Returns
    -------
    (n,) float64
        Values that agree to 1e-9 of their range are made equal: mathematically equal trials stay so.
    """
    train = weights > 0
    features = _features(np.asarray(X, dtype=np.float64), train, scaling, centre=scaling or not penalize_intercept)
    ridge = np.ones(features.shape[1] + 1)
    ridge[-1] = float(penalize_intercept)
    A = np.column_stack([features, np.ones(len(features))])
    z = A @ _minimise(A[train], np.where(y[train] == 1, 1.0, -1.0), weights[train], ridge)
    unit = 1e-9 * max(float(np.ptp(z)), float(np.abs(z).max()), 1e-300)
    rounded: np.ndarray = np.round(z / unit) * unit
    return rounded


def _features(X: np.ndarray, train: np.ndarray, scaling: bool, centre: bool) -> np.ndarray:
    """Return the neurons standardised as StandardScaler does, rotated into the span of the training trials."""
    mean, var = X[train].mean(axis=0), X[train].var(axis=0)
    features = X - mean if centre else X
    if scaling:
        features = features / np.where(constant(mean, var, int(train.sum())), 1.0, np.sqrt(var))
    if features.shape[1] > train.sum():
        features = features @ np.linalg.qr(features[train].T)[0]
    return features


def constant(mean: np.ndarray, var: np.ndarray, n: int) -> np.ndarray:
    """Say which neurons are constant up to rounding: scikit-learn gives those the scale 1."""
    eps = np.finfo(np.float64).eps
    return var <= n * eps * var + (n * mean * eps) ** 2


def _minimise(A: np.ndarray, y: np.ndarray, c: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.special import expit

    def loss(w: np.ndarray) -> float:
        return float(0.5 * (ridge * w * w).sum() + (c * np.logaddexp(0, -y * (A @ w))).sum())

    w = np.zeros(A.shape[1])
    value = loss(w)
    for _ in range(200):
        s = expit(-y * (A @ w))
        gradient = ridge * w - A.T @ (c * y * s)
        hessian = (A.T * (c * s * (1 - s))) @ A
        hessian[np.diag_indices_from(hessian)] += ridge
        try:
            step: npt.NDArray[np.float64] = -cho_solve(cho_factor(hessian), gradient)
        except LinAlgError:  # a free intercept whose trials are all decided
            hessian[-1, -1] += 1e-12 * np.trace(hessian) / len(hessian)
            step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        decrement = -float(gradient @ step)
        if decrement <= DECREMENT * max(value, 1e-300):
            return w + step
        size = 1.0
        while loss(w + size * step) > value - 1e-4 * size * decrement and size > 1e-4:
            size /= 2
        if size <= 1e-4:  # the loss cannot tell any more: full steps end where the gradient does
            size = 1.0
            if decrement < 1e-14 * value:
                return w + step
        w = w + size * step
        value = loss(w)
    return w

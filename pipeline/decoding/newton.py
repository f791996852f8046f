"""One L2 logistic regression in float64: the exact reference for the fast engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Newton decrement, relative to the loss, at which the optimum is reached. It is below the rounding of the loss: the
#: last steps only reduce the gradient.
DECREMENT_TOLERANCE = 1e-20


def decision_values(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    *,
    scaling: bool = True,
    penalize_intercept: bool = False,
) -> np.ndarray:
    """Fit on the trials with a weight above 0, and return the decision values of all trials.

    Damped Newton steps on ``1/2 |w|^2 + sum_i c_i log(1 + exp(-y_i f_i))`` to the last digits: the optimum
    that scikit-learn's ``StandardScaler`` and ``LogisticRegression`` approach as their tolerance goes to zero.
    With more neurons than trials the problem is rotated into the span of the trials, where the solution lies.

    Parameters
    ----------
    X : (n, k) float
    y : (n,) 0 or 1
    weights : (n,) float64
        C times the class weight; 0 for trials outside the training set.
    scaling : bool
        Standardise each neuron on the training trials.
    penalize_intercept : bool
        Penalise the intercept too, as liblinear does.

    Returns
    -------
    (n,) float64
        Rounded to 1e-9 of their range, so that trials with mathematically equal values are ties in an AUC.
    """
    train = weights > 0
    features = _features(np.asarray(X, dtype=np.float64), train, scaling, centre=scaling or not penalize_intercept)
    # the intercept is the weight of a last feature that is 1 in all trials
    ridge = np.ones(features.shape[1] + 1)
    ridge[-1] = float(penalize_intercept)
    A = np.column_stack([features, np.ones(len(features))])
    z = A @ _minimise(A[train], np.where(y[train] == 1, 1.0, -1.0), weights[train], ridge)
    # far above the rounding of float64, far below any difference that matters; 1e-300: all values may be 0
    unit = 1e-9 * max(float(np.ptp(z)), float(np.abs(z).max()), 1e-300)
    rounded: np.ndarray = np.round(z / unit) * unit
    return rounded


def _features(X: np.ndarray, train: np.ndarray, scaling: bool, centre: bool) -> np.ndarray:
    """Return (n, features): the neurons, standardised as by StandardScaler.

    If they outnumber the training trials, they are rotated into the span of these: the features are then as many.
    """
    mean, var = X[train].mean(axis=0), X[train].var(axis=0)
    features = X - mean if centre else X
    if scaling:
        features = features / np.where(constant(mean, var, int(train.sum())), 1.0, np.sqrt(var))
    if features.shape[1] > train.sum():
        # exact: the penalty does not change under a rotation, and the solution has no part outside of this span
        features = features @ np.linalg.qr(features[train].T)[0]
    return features


def constant(mean: np.ndarray, var: np.ndarray, n: int) -> np.ndarray:
    """Return (k,) bool: which neurons are constant up to rounding. scikit-learn's StandardScaler scales those by 1."""
    # scikit-learn's bound of the rounding error of a variance (sklearn.preprocessing._data._is_constant_feature)
    eps = np.finfo(np.float64).eps
    return var <= n * eps * var + (n * mean * eps) ** 2


def total_variance(X: np.ndarray, train: np.ndarray, scaling: bool) -> float:
    """Return what C is divided by where it is in units of 1/k: the summed variance of the neurons as they are fitted.

    Parameters
    ----------
    X : (n, k) float
    train : (n,) bool
        Training trials, on which the variance is measured.
    scaling : bool
        Neurons are standardised: k, also where some are constant.

    Returns
    -------
    float
        k if all neurons are constant: nothing then depends on C.
    """
    if scaling:
        return float(X.shape[1])
    trained = np.asarray(X[train], dtype=np.float64)
    mean, var = trained.mean(axis=0), trained.var(axis=0)
    return float(var[~constant(mean, var, len(trained))].sum()) or float(X.shape[1])


def _minimise(A: np.ndarray, y: np.ndarray, c: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Return the weights (P,) of the features A (n, P) that minimise the loss; y is +-1, c (n,), ridge (P,)."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.special import expit

    def loss(w: np.ndarray) -> float:
        # logaddexp, as log(1 + exp(x)) overflows for large x
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
        except LinAlgError:  # all trials are saturated: nothing curves along a free intercept
            hessian[-1, -1] += 1e-12 * np.trace(hessian) / len(hessian)
            step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        decrement = -float(gradient @ step)
        if decrement <= DECREMENT_TOLERANCE * max(value, 1e-300):
            return w + step
        size = 1.0
        # Armijo's condition of sufficient decrease, with its usual constant (Nocedal & Wright, chapter 3)
        while loss(w + size * step) > value - 1e-4 * size * decrement and size > 1e-4:
            size /= 2
        if size <= 1e-4:  # the loss has no digits left to compare: take full steps, which the gradient ends
            size = 1.0
            if decrement < 1e-14 * value:
                return w + step
        w = w + size * step
        value = loss(w)
    return w

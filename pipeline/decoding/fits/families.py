"""Families of functions for neuron-dropping curves, and their weighted least squares fits.

- inverse_sqrt: score = a - b / sqrt(k)
- information: d'^2 = s k / (1 + epsilon k), information that shared noise limits (Moreno-Bote et al. 2014)
- exponential: score = a - b exp(-k / tau)

d'^2 is what independent cells add up. Of numbers, decoded by regression, that is the signal-to-noise ratio
R^2 / (1 - R^2): for numbers coded linearly in normal noise both are the linear Fisher information, times the squared
distance of the classes or the variance of the numbers. Where this package says d'^2, it is that ratio for numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from pipeline.errors import ArgumentError
from pipeline.settings.curves import METRICS, NUMBER_METRICS

#: Parameters of each family, in the order in which a tie is decided: simplest first.
FAMILIES = {
    "inverse_sqrt": ("a", "b"),
    "information": ("s", "epsilon"),
    "exponential": ("a", "b", "tau"),
}
#: d' at which Phi^-1(score) is 1: an AUC is Phi(d' / sqrt(2)), an accuracy Phi(d' / 2).
D_PRIME = {"auc": np.sqrt(2), "accuracy": 2.0, "balanced_accuracy": 2.0}
#: Values of k that a fit needs: one more than the parameters of the largest family.
MIN_KS = 4
#: Error at held-out ks, in units of the score, above which a family does not describe the curve.
MAX_HELD_OUT_ERROR = 0.03
#: Held-out errors that differ by less, in units of the score, are a tie.
HELD_OUT_TIE = 1e-6
#: Scores are clipped to this and to 1 minus this before d' is computed, which is infinite at 1.
SCORE_MAX = 0.999
#: Intervals are of 1 - ALPHA; p and q are compared with it by `significant`.
ALPHA = 0.05
#: Differences between a p and ALPHA that are rounding alone, relative to it: p is a ratio of whole numbers.
ROUNDING = 1e-9
#: The nonlinear parameter (tau, or 1/epsilon) is searched on a grid of so many values, then in so many rounds, each
#: with so many values between the neighbours of the best one.
N_THETAS, REFINE_ROUNDS, REFINE_THETAS = 48, 4, 9
#: A fit is trusted up to this many times the largest measured k; larger numbers of neurons are reported as infinite.
MAX_EXTRAPOLATION = 10.0


def significant(p: Any) -> Any:
    """Return whether p, or q, is at most 0.05, where it may be above by rounding alone.

    p is (1 + #) / (1 + S), and times a number of tests over a rank: 3 * 0.05 / 3 is 0.05000000000000001.

    Parameters
    ----------
    p : float or array of float
        NaN is not significant.

    Returns
    -------
    bool, or bool of the shape of `p`

    Examples
    --------
    >>> bool(significant(3 * 0.05 / 3)), bool(significant(0.0501)), significant(np.array([0.05, np.nan])).tolist()
    (True, False, [True, False])
    """
    return np.asarray(p, dtype=np.float64)[()] <= ALPHA * (1 + ROUNDING)


def family_curve(family: str, parameters: Mapping[str, float], k: Any, *, metric: str = "auc") -> np.ndarray:
    """Return the score of a family at `k` neurons.

    Parameters
    ----------
    family : str
        Key of `FAMILIES`.
    parameters : mapping
        Its parameters by name.
    k : array of float
    metric : str
        One of ``pipeline.settings.curves.METRICS``; only ``information`` depends on it.

    Returns
    -------
    float64 of the shape of `k`

    Raises
    ------
    ArgumentError
        The family or metric is unknown, or the parameters are not those of the family.

    Examples
    --------
    >>> family_curve("exponential", {"a": 0.9, "b": 0.4, "tau": 10}, [0, 10]).round(3).tolist()
    [0.5, 0.753]
    """
    check_metric(metric)
    if family not in FAMILIES or set(parameters) != set(FAMILIES[family]):
        raise ArgumentError(
            f"family and parameters must be one of {FAMILIES}, not {family!r} with {sorted(parameters)}"
        )
    k = np.asarray(k, dtype=np.float64)
    first, second, *rest = (np.float64(parameters[name]) for name in FAMILIES[family])
    if family == "information":
        return score_of(first * k / (1 + second * k), metric)
    x = _basis(family, k, rest[0] if rest else 1.0)
    return first - second * x


def check_metric(metric: str) -> None:
    """Raise ArgumentError unless there is a metric of this name."""
    if metric not in METRICS:
        raise ArgumentError(f"metric must be one of {sorted(METRICS)}, not {metric!r}")


def chance_of(metric: str) -> float:
    """Return the score of a decoder without information: one half of two classes, 0 of numbers."""
    return 0.0 if metric in NUMBER_METRICS else 0.5


def _basis(family: str, k: np.ndarray, theta: Any) -> np.ndarray:
    """Return the function of k in which the score is linear, or (information) in which d'^2 is proportional to it.

    1/sqrt(k), exp(-k/theta) or k / (1 + k/theta), of the shape that k and theta broadcast to.
    """
    basis: np.ndarray
    if family == "inverse_sqrt":
        # 0 * theta gives it the shape that the other families have
        basis = 1 / np.sqrt(k) + 0 * theta
    else:
        basis = np.exp(-k / theta) if family == "exponential" else k / (1 + k / theta)
    return basis


def d_prime(score: np.ndarray, metric: str) -> np.ndarray:
    """Return d' of scores of two classes, float64 of their shape; negative below one half, finite for scores of 1."""
    d: np.ndarray = D_PRIME[metric] * scipy.special.ndtri(np.clip(score, 1 - SCORE_MAX, SCORE_MAX))
    return d


def d_squared(score: np.ndarray, metric: str) -> np.ndarray:
    """Return d'^2 of scores, or of numbers R^2 / (1 - R^2), float64 of their shape.

    Negative for scores below chance, finite for scores of 1. Spearman's correlation is converted to R^2 as of normal
    variables (Pearson 1907).
    """
    if metric in NUMBER_METRICS:
        r = 2 * np.sin(np.pi / 6 * np.clip(score, -1, 1))
        r_squared = np.clip(r * np.abs(r) if metric == "spearman" else score, -SCORE_MAX, SCORE_MAX)
        ratio: np.ndarray = r_squared / (1 - r_squared)
        return ratio
    d = d_prime(score, metric)
    signed: np.ndarray = d * np.abs(d)
    return signed


def score_of(d_squared: np.ndarray, metric: str) -> np.ndarray:
    """Return the score of (signed) d'^2, the inverse of `d_squared`."""
    if metric in NUMBER_METRICS:
        r_squared: np.ndarray = d_squared / (1 + d_squared)
        if metric == "r2":
            return r_squared
        rank: np.ndarray = 6 / np.pi * np.arcsin(np.sign(r_squared) * np.sqrt(np.abs(r_squared)) / 2)
        return rank
    score: np.ndarray = scipy.special.ndtr(np.sign(d_squared) * np.sqrt(np.abs(d_squared)) / D_PRIME[metric])
    return score


def _weights(family: str, mean: np.ndarray, variance: np.ndarray, metric: str) -> np.ndarray:
    """Return the inverse variance of the mean score, or (information) of d'^2, (K,) with sum 1."""
    if family == "information" and metric in NUMBER_METRICS:
        step = 1e-5
        slope = (d_squared(mean + step, metric) - d_squared(mean - step, metric)) / (2 * step)
        # as below: the second term keeps that of a correlation near 0 from vanishing
        variance = slope**2 * variance + 2 * variance**2
    elif family == "information":
        z = scipy.special.ndtri(np.clip(mean, 1 - SCORE_MAX, SCORE_MAX))
        slope = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / D_PRIME[metric]  # d score / d d'
        # delta method: the variance of d' is that of the score over the squared slope
        variance_d = variance / slope**2
        # variance of the square of a normal variable: the second term keeps that of d'^2 near 0 from vanishing
        variance = 4 * (D_PRIME[metric] * z) ** 2 * variance_d + 2 * variance_d**2
    return 1 / variance / np.sum(1 / variance)


def _thetas(family: str, ks: np.ndarray) -> np.ndarray:
    """Return the grid of the nonlinear parameter, in neurons, (T,) float64."""
    if family == "inverse_sqrt":
        return np.ones(1)
    # An exponential with a larger tau is a straight line over the measured k, whose asymptote the data do not
    # constrain. For the information a large theta is allowed: noise limits it at a k far beyond the measured ones.
    last = 2 if family == "exponential" else 1000
    return np.geomspace(ks[0] / 8, ks[-1] * last, N_THETAS)


def _solve(family: str, x: np.ndarray, weights: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the linear parameters and the weighted square error for every theta and column.

    Parameters
    ----------
    x : (T, K) or (T, K, C) float64
        Basis, the same for all columns or one for each.
    weights, y : (K, C) float64

    Returns
    -------
    first, second, error : (T, C) float64
        a, b, error; or (information) s, 0, error.
    """

    def summed(values: np.ndarray, by: np.ndarray) -> np.ndarray:
        sums: np.ndarray = values @ by if values.ndim == 2 else np.einsum("tkc,kc->tc", values, by)
        return sums

    wy = weights * y
    syy = (wy * y).sum(axis=0)
    sxy, sxx = summed(x, wy), summed(x * x, weights)
    if family == "information":
        s = np.maximum(sxy / sxx, 0)
        return s, np.zeros_like(s), syy - 2 * s * sxy + s * s * sxx
    n, sy, sx = weights.sum(axis=0), wy.sum(axis=0), summed(x, weights)

    def error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares: np.ndarray = syy + a * a * n + b * b * sxx - 2 * a * sy + 2 * b * sxy - 2 * a * b * sx
        return squares

    spread = n * sxx - sx * sx
    # normal equations of a - b x; at 1e-12 the basis is constant to rounding, as exp(-k/theta) is 0 for a tiny theta
    b = np.where(spread > 1e-12 * n * sxx, (sx * sy - n * sxy) / np.where(spread > 0, spread, 1), 0)
    a = (sy + b * sx) / n
    inside = (b >= 0) & (a <= 1)
    # the least error under a <= 1 and b >= 0 is at the unconstrained optimum, or on one of the two boundaries
    b_top = np.maximum((sx - sxy) / np.maximum(sxx, 1e-300), 0)
    a_flat = np.broadcast_to(np.minimum(sy / n, 1), b.shape)
    top = error(np.ones_like(b), b_top) < error(a_flat, np.zeros_like(b))
    a = np.where(inside, a, np.where(top, 1.0, a_flat))
    b = np.where(inside, b, np.where(top, b_top, 0.0))
    return a, b, error(a, b)


def _best(theta: np.ndarray, solved: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Return theta and the linear parameters of the least error, (C,) each."""
    row = solved[2].argmin(axis=0)[None]
    theta = np.broadcast_to(theta if theta.ndim == 2 else theta[:, None], solved[2].shape)
    return tuple(np.take_along_axis(values, row, axis=0)[0] for values in (theta, *solved[:2]))


def _fit_family(
    family: str, ks: np.ndarray, columns: np.ndarray, variance: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the parameters (first, second, theta) of each column, (3, C), and its error at held-out ks, (C,).

    Parameters
    ----------
    ks : (K,) int
    columns : (K, C) float64
        Mean scores: the data, then bootstrap draws.
    variance : (K,) float64
        Of the mean scores.
    """
    n_ks, n_columns = columns.shape
    known = np.isfinite(columns)
    y = np.where(known, d_squared(columns, metric) if family == "information" else columns, 0)
    weights = np.where(known, _weights(family, columns[:, 0], variance, metric)[:, None], 0)
    # every column is fitted 1 + K times, once with all ks and once without each: (K, 1 + K, C) as (K, columns)
    held = np.broadcast_to(np.column_stack([np.ones(n_ks), 1 - np.eye(n_ks)])[:, :, None], (n_ks, n_ks + 1, n_columns))
    all_weights = (weights[:, None] * held).reshape(n_ks, -1)
    all_y = np.repeat(y[:, None], n_ks + 1, axis=1).reshape(n_ks, -1)
    thetas = _thetas(family, ks)
    k = ks.astype(np.float64)
    solved = _solve(family, _basis(family, k, thetas[:, None]), all_weights, all_y)
    theta, first, second = (part.reshape(n_ks + 1, n_columns) for part in _best(thetas, solved))
    # The error is over all ks but the smallest: without that one an exponential is not constrained below the second k,
    # where no prediction is wanted.
    row = np.r_[0, 2 : n_ks + 1]
    held_out = _predict(family, k[:, None], theta[row], first[row], second[row], metric)
    by = np.where(known, 1 / variance[:, None], 0)
    errors = (by * (held_out - np.where(known, columns, 0)) ** 2).sum(axis=0) / by.sum(axis=0)
    theta, first, second = theta[0], first[0], second[0]
    step = np.log(thetas[1] / thetas[0]) if len(thetas) > 1 else 0.0
    for _ in range(REFINE_ROUNDS if len(thetas) > 1 else 0):
        # a finer grid between the neighbours of the best theta, for each column its own
        finer = theta * np.exp(step * np.linspace(-1, 1, REFINE_THETAS))[:, None]
        finer = np.clip(finer, thetas[0], thetas[-1])
        solved = _solve(family, _basis(family, k[None, :, None], finer[:, None]), weights, y)
        theta, first, second = _best(finer, solved)
        # the neighbours of the best theta are now this far from it
        step *= 2 / (REFINE_THETAS - 1)
    return np.stack([first, second, theta]), np.sqrt(errors)


def _predict(
    family: str, k: np.ndarray, theta: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str
) -> np.ndarray:
    """Return the fitted scores at k, of the shape that k and the parameters broadcast to."""
    x = _basis(family, k, theta)
    score: np.ndarray = score_of(first * x, metric) if family == "information" else first - second * x
    return score


def _asymptote(family: str, parameters: np.ndarray, metric: str) -> np.ndarray:
    """Return the fitted score of infinitely many neurons, (C,)."""
    first, _, theta = parameters
    return score_of(first * theta, metric) if family == "information" else first


def _k_at(family: str, parameters: np.ndarray, level: np.ndarray, metric: str) -> np.ndarray:
    """Return the number of neurons at which the fitted score reaches `level`, (C,); inf if it never does."""
    first, second, theta = parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        if family == "information":
            # each formula is the family's curve solved for k; d here is d'^2
            d = (
                d_squared(level, metric) if metric in NUMBER_METRICS
                else np.square(D_PRIME[metric] * scipy.special.ndtri(level))
            )  # fmt: skip
            k = np.where(d < first * theta, d / (first - d / theta), np.inf)
        elif family == "exponential":
            k = theta * np.log(np.maximum(second, 1e-300) / (first - level))
        else:
            k = np.square(second / (first - level))
    return np.where(second + (family == "information") > 0, k, 0)  # a flat fit is at its level from the start


def fit(ks: np.ndarray, columns: np.ndarray, variance: np.ndarray, metric: str, chance: float) -> dict[str, Any]:
    """Return the fields of `CurveFit` that come from the fit.

    Parameters
    ----------
    ks : (K,) int
    columns : (K, 1 + B) float64
        Mean scores: the data, then bootstrap draws. Each column picks its own family.
    variance : (K,) float64
        Of the mean scores.
    metric : str
    chance : float
    """
    fits = {family: _fit_family(family, ks, columns, variance, metric) for family in FAMILIES}
    errors = np.stack([error for _, error in fits.values()])
    # argmax takes the first family within the tie, and they are ordered from the simplest
    picked = (errors <= errors.min(axis=0) + HELD_OUT_TIE).argmax(axis=0)
    quantities = {name: np.empty(columns.shape[1]) for name in ("asymptote", "k50", "k90", "k95")}
    for i, (family, (parameters, _)) in enumerate(fits.items()):
        mine = picked == i
        asymptote = _asymptote(family, parameters, metric)
        quantities["asymptote"][mine] = asymptote[mine]
        for share in (50, 90, 95):
            k = _k_at(family, parameters, chance + share / 100 * (asymptote - chance), metric)
            # below the smallest k nothing was measured: that value means "that many or fewer"
            k = np.where(k > MAX_EXTRAPOLATION * ks[-1], np.inf, np.maximum(k, ks[0]))
            quantities[f"k{share}"][mine] = np.where(asymptote > chance, k, np.nan)[mine]
    family = list(FAMILIES)[picked[0]]
    first, second, theta = fits[family][0][:, 0].tolist()
    values = (first, 1 / theta) if family == "information" else (first, second, theta)
    found: dict[str, Any] = {
        "family": family,
        "parameters": dict(zip(FAMILIES[family], values, strict=False)),
        "held_out": dict(zip(fits, errors[:, 0].tolist(), strict=True)),
    }
    for name, numbers in quantities.items():
        found |= estimates(name, numbers)
    return found


def estimates(name: str, values: np.ndarray) -> dict[str, float]:
    """Return the estimate (first value) and its interval (over the other values) as fields of `CurveFit`."""
    (low,), (high,) = draw_intervals(values[None, 1:])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def draw_intervals(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return percentiles 2.5 and 97.5 of each row, (rows,) each; NaN if fewer than two, or than half, are numbers.

    The percentiles are not interpolated between draws, which infinite ones would not allow.
    """
    low, high = np.full(len(draws), np.nan), np.full(len(draws), np.nan)
    for i, row in enumerate(draws):
        known = np.sort(row[~np.isnan(row)])
        if len(known) > 1 and len(known) >= len(row) / 2:
            # rounded outwards on both sides
            cut = int(np.floor(ALPHA / 2 * (len(known) - 1)))
            low[i], high[i] = known[cut], known[-1 - cut]
    return low, high

"""Families of curves: what they say, and their least squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from pipeline.errors import ArgumentError

FAMILIES = {  # in the order in which a tie is decided: simplest first
    "inverse_sqrt": ("a", "b"),
    "information": ("s", "epsilon"),
    "exponential": ("a", "b", "tau"),
}


D_PRIME = {"auc": np.sqrt(2), "accuracy": 2.0, "balanced_accuracy": 2.0}  # d' of Phi^-1(score) = 1


KS_MIN = 4  # ks that a fit needs: one more than the parameters of the largest family


MISFIT = 0.03  # units of the score: a family that misses ks left out by more does not describe the curve


SCORE_MAX = 0.999  # scores are cut here (and at 0.001) before d' is computed, which is infinite at 1


ALPHA = 0.05
GRID = 48  # values of tau and of epsilon that are tried


ZOOM, ROUNDS = 9, 4  # then so many between the neighbours of the best one, so often


TIE = 1e-6  # held-out errors (in units of the score) that differ by less are equal


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
        Key of `D_PRIME`; only ``information`` depends on it.

    Returns
    -------
    float64 of the shape of `k`

    Raises
    ------
    ArgumentError
        Unknown family or metric, or other parameters than those of the family.

    Examples
    --------
    >>> family_curve("exponential", {"a": 0.9, "b": 0.4, "tau": 10}, [0, 10]).round(3).tolist()
    [0.5, 0.753]
    """
    check_metric(metric)
    if family not in FAMILIES or set(parameters) != set(FAMILIES[family]):
        raise ArgumentError(f"families and their parameters are {FAMILIES}, not {family!r} with {sorted(parameters)}")
    k = np.asarray(k, dtype=np.float64)
    first, second, *rest = (np.float64(parameters[name]) for name in FAMILIES[family])
    if family == "information":
        return _score(first * k / (1 + second * k), metric)
    x = _basis(family, k, rest[0] if rest else 1.0)
    return first - second * x


def check_metric(metric: str) -> None:
    """Raise ArgumentError unless scores of this metric can be turned into d-prime."""
    if metric not in D_PRIME:
        raise ArgumentError(f"metric is one of {sorted(D_PRIME)}, not {metric!r}")


def _basis(family: str, k: np.ndarray, theta: Any) -> np.ndarray:
    """What is linear in the score: 1/sqrt(k), exp(-k/theta); or in d'^2: k / (1 + k/theta)."""
    basis: np.ndarray
    if family == "inverse_sqrt":
        basis = 1 / np.sqrt(k) + 0 * theta
    else:
        basis = np.exp(-k / theta) if family == "exponential" else k / (1 + k / theta)
    return basis


def _d_squared(score: np.ndarray, metric: str) -> np.ndarray:
    """d'^2, negative below a score of one half."""
    d = D_PRIME[metric] * ndtri(np.clip(score, 1 - SCORE_MAX, SCORE_MAX))
    signed: np.ndarray = d * np.abs(d)
    return signed


def _score(d_squared: np.ndarray, metric: str) -> np.ndarray:
    score: np.ndarray = ndtr(np.sign(d_squared) * np.sqrt(np.abs(d_squared)) / D_PRIME[metric])
    return score


def _weights(family: str, mean: np.ndarray, variance: np.ndarray, metric: str) -> np.ndarray:
    """Inverse variance of the mean score, or of d'^2, with sum 1."""
    if family == "information":
        z = ndtri(np.clip(mean, 1 - SCORE_MAX, SCORE_MAX))
        slope = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / D_PRIME[metric]  # d score / d d'
        variance_d = variance / slope**2
        # of the square of a normal variable: d'^2 near zero is not infinitely well known
        variance = 4 * (D_PRIME[metric] * z) ** 2 * variance_d + 2 * variance_d**2
    return 1 / variance / np.sum(1 / variance)


def _thetas(family: str, ks: np.ndarray) -> np.ndarray:
    """Values of the one nonlinear parameter (in neurons) that are tried first."""
    if family == "inverse_sqrt":
        return np.ones(1)
    # a slower exponential is a straight line, and where that ends no data say; shared noise may be unseen
    last = 2 if family == "exponential" else 1000
    return np.geomspace(ks[0] / 8, ks[-1] * last, GRID)


def _solve(family: str, x: np.ndarray, weights: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear parameters and weighted square error for every theta and column.

    Parameters
    ----------
    x : (T, K) or (T, K, C) float64
        Basis, for all columns or for each.
    weights, y : (K, C) float64

    Returns
    -------
    first, second, error : (T, C) float64
        a, b, error; or s, 0, error.
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
    b = np.where(spread > 1e-12 * n * sxx, (sx * sy - n * sxy) / np.where(spread > 0, spread, 1), 0)
    a = (sy + b * sx) / n
    inside = (b >= 0) & (a <= 1)
    # the least error under a <= 1 and b >= 0 is the free one, or lies on one of the two borders
    b_top = np.maximum((sx - sxy) / np.maximum(sxx, 1e-300), 0)
    a_flat = np.broadcast_to(np.minimum(sy / n, 1), b.shape)
    top = error(np.ones_like(b), b_top) < error(a_flat, np.zeros_like(b))
    a = np.where(inside, a, np.where(top, 1.0, a_flat))
    b = np.where(inside, b, np.where(top, b_top, 0.0))
    return a, b, error(a, b)


def _best(theta: np.ndarray, solved: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Theta and linear parameters (C,) of the least error."""
    row = solved[2].argmin(axis=0)[None]
    theta = np.broadcast_to(theta if theta.ndim == 2 else theta[:, None], solved[2].shape)
    return tuple(np.take_along_axis(values, row, axis=0)[0] for values in (theta, *solved[:2]))


def _fit_family(
    family: str, ks: np.ndarray, columns: np.ndarray, variance: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (3, C) of each column, and error (C,) at the ks left out."""
    n_ks, n_columns = columns.shape
    known = np.isfinite(columns)
    y = np.where(known, _d_squared(columns, metric) if family == "information" else columns, 0)
    weights = np.where(known, _weights(family, columns[:, 0], variance, metric)[:, None], 0)
    # every column once as it is, and once without each k: (K, 1 + K, C) as (K, columns)
    held = np.broadcast_to(np.column_stack([np.ones(n_ks), 1 - np.eye(n_ks)])[:, :, None], (n_ks, n_ks + 1, n_columns))
    all_weights = (weights[:, None] * held).reshape(n_ks, -1)
    all_y = np.repeat(y[:, None], n_ks + 1, axis=1).reshape(n_ks, -1)
    thetas = _thetas(family, ks)
    k = ks.astype(np.float64)
    solved = _solve(family, _basis(family, k, thetas[:, None]), all_weights, all_y)
    theta, first, second = (part.reshape(n_ks + 1, n_columns) for part in _best(thetas, solved))
    # the smallest k stays in: without it an exponential may go anywhere there, and nobody asks where
    row = np.r_[0, 2 : n_ks + 1]
    held_out = _predict(family, k[:, None], theta[row], first[row], second[row], metric)
    by = np.where(known, 1 / variance[:, None], 0)
    errors = (by * (held_out - np.where(known, columns, 0)) ** 2).sum(axis=0) / by.sum(axis=0)
    theta, first, second = theta[0], first[0], second[0]
    step = np.log(thetas[1] / thetas[0]) if len(thetas) > 1 else 0.0
    for _ in range(ROUNDS if len(thetas) > 1 else 0):
        # between the neighbours of the best theta, each column its own
        finer = theta * np.exp(step * np.linspace(-1, 1, ZOOM))[:, None]
        finer = np.clip(finer, thetas[0], thetas[-1])
        solved = _solve(family, _basis(family, k[None, :, None], finer[:, None]), weights, y)
        theta, first, second = _best(finer, solved)
        step *= 2 / (ZOOM - 1)
    return np.stack([first, second, theta]), np.sqrt(errors)


def _predict(
    family: str, k: np.ndarray, theta: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str
) -> np.ndarray:
    x = _basis(family, k, theta)
    score: np.ndarray = _score(first * x, metric) if family == "information" else first - second * x
    return score


def _asymptote(family: str, parameters: np.ndarray, metric: str) -> np.ndarray:
    first, _, theta = parameters
    return _score(first * theta, metric) if family == "information" else first


def _k_at(family: str, parameters: np.ndarray, level: np.ndarray, metric: str) -> np.ndarray:
    """Neurons with which the fitted score is `level`, (C,); inf where it never is."""
    first, second, theta = parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        if family == "information":
            d = np.square(D_PRIME[metric] * ndtri(level))
            k = np.where(d < first * theta, d / (first - d / theta), np.inf)
        elif family == "exponential":
            k = theta * np.log(np.maximum(second, 1e-300) / (first - level))
        else:
            k = np.square(second / (first - level))
    return np.where(second + (family == "information") > 0, k, 0)  # a flat fit is there from the start


def fit(ks: np.ndarray, columns: np.ndarray, variance: np.ndarray, metric: str, chance: float) -> dict[str, Any]:
    """Fields of `CurveFit` that the fit gives; the first column is the data, the others are draws."""
    fits = {family: _fit_family(family, ks, columns, variance, metric) for family in FAMILIES}
    errors = np.stack([error for _, error in fits.values()])
    # the first within TIE of the least: simplest first
    picked = (errors <= errors.min(axis=0) + TIE).argmax(axis=0)
    quantities = {name: np.empty(columns.shape[1]) for name in ("asymptote", "k50", "k90", "k95")}
    for i, (family, (parameters, _)) in enumerate(fits.items()):
        mine = picked == i
        asymptote = _asymptote(family, parameters, metric)
        quantities["asymptote"][mine] = asymptote[mine]
        for share in (50, 90, 95):
            k = _k_at(family, parameters, chance + share / 100 * (asymptote - chance), metric)
            k = np.where(k > REACH * ks[-1], np.inf, np.maximum(k, ks[0]))
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


REACH = 10.0  # a fit is believed up to this many times the largest k: what lies farther is "beyond"


def estimates(name: str, values: np.ndarray) -> dict[str, float]:
    """Estimate (first value) and interval (over the others) as fields of `CurveFit`."""
    (low,), (high,) = intervals(values[None, 1:])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def intervals(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles 2.5 and 97.5 of each row; NaN where fewer than two or not even half are numbers.

    They are draws, not numbers between two draws: infinity stays infinity.
    """
    low, high = np.full(len(draws), np.nan), np.full(len(draws), np.nan)
    for i, row in enumerate(draws):
        known = np.sort(row[~np.isnan(row)])
        if len(known) > 1 and len(known) >= len(row) / 2:
            cut = int(np.floor(ALPHA / 2 * (len(known) - 1)))
            low[i], high[i] = known[cut], known[-1 - cut]
    return low, high

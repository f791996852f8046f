"""The slope of log2 k* over days, where k* of some sessions may be censored (known as a bound only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from pipeline.decoding.fits.families import ALPHA
from pipeline.errors import ArgumentError


@dataclass(frozen=True)
class LogKSlope:
    """Change of log2 k* per day over sessions, with its 95 % interval.

    Attributes
    ----------
    slope, low, high : float
        log2 per day: -1 means half the neurons after one day. NaN where they cannot be estimated.
    p : float
        Two-sided p of the hypothesis that the slope is zero.
    n_sessions, n_censored : int
        Sessions used, and how many of these are known as a bound only.
    mean_day, mean_log_k : float
        A point on the line: the mean day, and log2 k* on it.
    half_width : float
        Half the width of the 95 % interval of ``mean_log_k``.
    """

    slope: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    n_sessions: int = 0
    n_censored: int = 0
    mean_day: float = np.nan
    mean_log_k: float = np.nan
    half_width: float = np.nan

    def line(self, days: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return fitted k* and the bounds of its 95 % interval at `days`, float64 of their shape."""
        away = np.asarray(days, dtype=np.float64) - self.mean_day
        middle = self.mean_log_k + self.slope * away
        down, up = (self.slope - self.low) * away, (self.high - self.slope) * away
        low = middle - np.hypot(self.half_width, np.where(away > 0, down, up))
        high = middle + np.hypot(self.half_width, np.where(away > 0, up, down))
        return np.exp2(middle), np.exp2(low), np.exp2(high)


def log_k_slope(
    days: Sequence[float] | np.ndarray,
    k_stars: Sequence[float] | np.ndarray,
    *,
    censored: Sequence[str] | None = None,
    draws: np.ndarray | None = None,
) -> LogKSlope:
    """Return the slope of log2 k* over days, with a 95 % interval over sessions.

    Without censored k*: least squares, and an interval from Student's t. With censored k*: maximum likelihood with
    normal scatter, where censored k* are bounds (Tobit regression), and the interval of slopes that a likelihood ratio
    test does not reject. That test is calibrated to agree with Student's t where nothing is censored.

    The scatter of sessions around the line already includes the measurement error of each k*. On a coarse grid of ks,
    and with few sessions, it can be too small by chance, even zero. With `draws` the interval is therefore at least as
    wide, and p at least as large, as the measurement error alone would make them.

    Parameters
    ----------
    days : (sessions,) float
        Day of each session, counted from any day.
    k_stars : (sessions,) float
        k* of each session; sessions with -1, NaN or infinity are left out.
    censored : (sessions,) {"", "left", "right"}, optional
        "left": k* is that many or fewer; "right": that many or more. As `CurveFit.k_star_censored`, but for "right"
        `k_stars` must hold the largest measured k.
    draws : (sessions, B) float, optional
        Bootstrap draws of each k* (`CurveFit.k_star_draws`); -1, NaN and infinity are left out.

    Returns
    -------
    LogKSlope
        Interval and p are NaN with two sessions, or if all sessions lie exactly on a line (no scatter) and there are no
        draws. All is NaN if some sessions are censored and fewer than three, on different days, are not.

    Raises
    ------
    ArgumentError
        Lengths disagree, or `censored` has another word than these three.

    Examples
    --------
    >>> found = log_k_slope([0, 2, 4, 9], [64, 32, 32, 8])
    >>> f"{found.slope:.2f} ({found.low:.2f} to {found.high:.2f})"
    '-0.32 (-0.53 to -0.11)'
    """
    x, k, side, spread = _checked_sessions(days, k_stars, censored, draws)
    n, n_censored = len(x), int(np.count_nonzero(side))
    if n < 2 or np.ptp(x) == 0:
        return LogKSlope(n_sessions=n, n_censored=n_censored)
    y = np.log2(k)
    known = side == 0
    center = x.mean()
    free = n - n_censored - 2
    enough = free >= 1 and np.ptp(x[known]) > 0
    if n_censored and not enough:  # bounds alone do not determine a slope
        return LogKSlope(n_sessions=n, n_censored=n_censored)
    weights = (x - center) / np.sum((x - center) ** 2)  # the least squares slope is weights @ y
    found = {"slope": float(weights @ y), "mean_log_k": float(y.mean())}
    # points on a line have no scatter, and a t of infinity: only the draws can give an interval
    if enough and np.std(y[known] - np.polyval(np.polyfit(x[known], y[known], 1), x[known])) > 1e-9:
        found |= _least_squares(x - center, y) if n_censored == 0 else _tobit_slope(x - center, y, side)
    if enough and spread is not None:
        found = _widen(found, float(np.sqrt(np.sum(weights**2 * spread))), float(np.sqrt(spread.sum())) / n, free)
    return LogKSlope(n_sessions=n, n_censored=n_censored, mean_day=float(center), **found)


def _checked_sessions(
    days: Any, k_stars: Any, censored: Any, draws: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return days, k*, side (-1, 0, 1) and variance of log2 k* of the n sessions that have a k*, (n,) each."""
    x, k = np.asarray(days, dtype=np.float64), np.asarray(k_stars, dtype=np.float64)
    words = [""] * len(k) if censored is None else list(censored)
    drawn = None if draws is None else np.asarray(draws, dtype=np.float64)
    lengths = [len(x), len(k), len(words), *([] if drawn is None else [len(drawn)])]
    if x.ndim != 1 or k.ndim != 1 or len(set(lengths)) > 1 or (drawn is not None and drawn.ndim != 2):
        raise ArgumentError(f"days, k_stars, censored and draws must have one value per session, not {lengths} values")
    sides = {"": 0, "left": -1, "right": 1}
    if unknown := set(words) - set(sides):
        raise ArgumentError(f"censored must hold words of {list(sides)}, not {sorted(map(str, unknown))}")
    side = np.array([sides[word] for word in words], dtype=int)
    used = np.isfinite(x) & np.isfinite(k) & (k > 0)
    spread = None
    if drawn is not None:
        known = np.isfinite(drawn) & (drawn > 0)
        logs = np.log2(np.where(known, drawn, 1))
        n = np.maximum(known.sum(axis=1), 1)
        means = (logs * known).sum(axis=1) / n
        spread = ((logs - means[:, None]) ** 2 * known).sum(axis=1) / n
        spread = spread[used]
    return x[used], k[used], side[used], spread


def _least_squares(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the fields of `LogKSlope` by least squares and Student's t; `x` (n,) must have mean zero."""
    free = len(x) - 2
    slope = float(x @ y / (x @ x))
    scatter = np.sqrt(np.sum((y - y.mean() - slope * x) ** 2) / free)
    error, width = scatter / np.sqrt(x @ x), float(scipy.special.stdtrit(free, 1 - ALPHA / 2))
    return {
        "slope": slope, "low": float(slope - width * error), "high": float(slope + width * error),
        "p": float(2 * scipy.special.stdtr(free, -abs(slope) / error)), "mean_log_k": float(y.mean()),
        "half_width": float(width * scatter / np.sqrt(len(x))),
    }  # fmt: skip


def _widen(found: dict[str, float], error: float, error_of_mean: float, free: int) -> dict[str, float]:
    """Return the fields, with an interval at least as wide and a p at least as large as measurement error implies."""
    width = float(scipy.special.stdtrit(free, 1 - ALPHA / 2))
    slope = found["slope"]
    if error == 0:
        return found
    by_draws = {"low": slope - width * error, "high": slope + width * error}
    p = float(2 * scipy.special.stdtr(free, -abs(slope) / error))
    return found | {
        "low": min(found.get("low", np.inf), by_draws["low"]),
        "high": max(found.get("high", -np.inf), by_draws["high"]),
        "p": max(found.get("p", 0.0), p),
        "half_width": max(found.get("half_width", 0.0), width * error_of_mean),
    }


def _tobit(design: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the maximum likelihood parameters (P,), found by Newton's method, and their log likelihood.

    In the parameters of Olsen (1978) the log likelihood is concave: z = design @ parameters is the standardised
    residual, and the last parameter is the inverse of the scatter (standard deviation).

    Parameters
    ----------
    design : (n, P) float64
        Last column: the measured values; the others: the predictors with a minus sign.
    side : (n,) int
        0 the value is known; -1 the true value is below it; 1 above it.
    """
    exact = side == 0
    toward = -side[~exact].astype(np.float64)  # the probability of an upper bound is Phi(z)

    def likelihood(parameters: np.ndarray) -> float:
        if parameters[-1] <= 0:
            return -np.inf
        z = design @ parameters
        known = exact.sum() * (np.log(parameters[-1]) - np.log(2 * np.pi) / 2) - np.sum(z[exact] ** 2) / 2
        return float(known + scipy.special.log_ndtr(toward * z[~exact]).sum())

    parameters = np.zeros(design.shape[1])
    # start: no slope, mean and scatter of the values as if none were censored
    parameters[-1] = 1 / max(float(np.std(design[:, -1])), 1e-3)
    parameters[0] = parameters[-1] * design[:, -1].mean()
    value = likelihood(parameters)
    for _ in range(200):
        z = design @ parameters
        push = z[~exact] * toward
        # phi / Phi from logarithms: far in the tail both underflow
        ratio = np.exp(-(push**2) / 2 - np.log(2 * np.pi) / 2 - scipy.special.log_ndtr(push))
        slope, bend = -z.copy(), -np.ones(len(z))
        slope[~exact], bend[~exact] = toward * ratio, -ratio * (push + ratio)
        gradient, hessian = design.T @ slope, (design.T * bend) @ design
        gradient[-1] += exact.sum() / parameters[-1]
        hessian[-1, -1] -= exact.sum() / parameters[-1] ** 2
        step = np.linalg.lstsq(-hessian, gradient, rcond=None)[0]
        length = 1.0
        while likelihood(parameters + length * step) < value and length > 1e-10:
            length /= 2
        parameters = parameters + length * step
        gain, value = likelihood(parameters) - value, likelihood(parameters)
        if gain < 1e-12:
            break
    return parameters, value


def _tobit_slope(x: np.ndarray, y: np.ndarray, side: np.ndarray) -> dict[str, float]:
    """Return the fields of `LogKSlope` by maximum likelihood and likelihood ratio; `x` (n,) must have mean zero."""
    from scipy.optimize import brentq

    ones = -np.ones(len(x))
    parameters, best = _tobit(np.column_stack([ones, -x, y]), side)
    scatter, slope = 1 / parameters[-1], float(parameters[1] / parameters[-1])
    n = int((side == 0).sum())
    free = n - 2
    width = float(scipy.special.stdtrit(free, 1 - ALPHA / 2))

    def statistic(other: float) -> float:
        """Return the likelihood ratio of another slope on the scale of Student's t: exactly t without censoring."""
        value = _tobit(np.column_stack([ones, y - other * x]), side)[1]
        # RSS_0 / RSS_1 = exp(2 (l_1 - l_0) / n) for normal residuals, and t^2 = free (RSS_0 / RSS_1 - 1)
        return float(np.sqrt(free * max(np.expm1(2 * (best - value) / n), 0)))

    def bound(sign: int) -> float:
        """Return the end of the interval: double the step until it is rejected, then find the root."""
        step = scatter / np.sqrt(x @ x)
        # 60 doublings: beyond that the likelihood does not bound the slope on this side
        for _ in range(60):
            if statistic(slope + sign * step) > width:
                return float(brentq(lambda other: statistic(other) - width, slope, slope + sign * step))
            step *= 2
        return sign * np.inf

    return {
        "slope": slope, "low": bound(-1), "high": bound(1), "p": float(2 * scipy.special.stdtr(free, -statistic(0.0))),
        # the maximum likelihood scatter divides by n, so / sqrt(free) here is / sqrt(n) of the unbiased one
        "mean_log_k": float(parameters[0] / parameters[-1]), "half_width": float(width * scatter / np.sqrt(free)),
    }  # fmt: skip

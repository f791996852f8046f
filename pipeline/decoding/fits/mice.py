"""The slope over days of several mice: a random-effects mean, for statements about mice that were not recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from pipeline.decoding.fits.days import DayTrend
from pipeline.decoding.fits.families import ALPHA
from pipeline.errors import ArgumentError

#: Mice that an interval needs: with two, Student's t has one degree of freedom, and the interval no use.
MIN_MICE = 3
#: Share of one mouse in the mean above which all weigh the same. The variance between mice is then hardly known, and
#: often estimated as 0, so that the mean is that of one mouse and its interval too narrow if slopes differ.
MOST_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class MiceTrend:
    """Mean slope of mice, with a 95 % interval for mice like these.

    Attributes
    ----------
    slope : float
        Mean, weighted by the inverse variance within and between mice, or with equal weights.
    low, high, p : float
        Hartung-Knapp interval, or that of a t-test over mice, and two-sided p (Student's t with M - 1 degrees of
        freedom); NaN with fewer than three.
    tau : float
        Standard deviation of the slope between mice, beyond the error of each slope (REML).
    slopes, variances, weights : (M,) float64
        Slope of each mouse, its error variance, and its share in the mean.
    """

    slope: float
    low: float
    high: float
    p: float
    tau: float
    slopes: np.ndarray
    variances: np.ndarray
    weights: np.ndarray


def mice_trend(
    slopes: Sequence[DayTrend] | Sequence[float] | np.ndarray, variances: Sequence[float] | np.ndarray | None = None,
    *, most_weight: float = MOST_WEIGHT,
) -> MiceTrend:  # fmt: skip
    """Return the mean slope of several mice by random-effects meta-analysis.

    The variance between mice is estimated by restricted maximum likelihood (REML), the interval is that of Hartung and
    Knapp (2001). Their q is not raised to 1: that is too strict for few mice. Where one of three or more mice would
    have more than `most_weight` of the weight, as with many more days than the others, that interval is too narrow if
    slopes differ between mice: all then weigh the same, and the interval is that of a t-test over mice.

    Parameters
    ----------
    slopes : (M,) sequence of DayTrend, or of float
        One for each mouse, all of the same quantity. From trends, the error variances are the residual variance about
        the lines, pooled over the mice, over the spread of each mouse's days.
    variances : (M,) float, optional
        Error variance of each slope, if slopes are numbers. Without them every slope weighs the same, and the interval
        is that of a t-test over mice.
    most_weight : float
        1 for weights by variance in any case, as in former versions.

    Returns
    -------
    MiceTrend

    Raises
    ------
    ArgumentError
        There is no mouse, a slope is not finite, a variance is negative, or lengths or quantities disagree.

    Examples
    --------
    >>> found = mice_trend([-0.2, -0.1, -0.3, -0.2], [0.01, 0.02, 0.01, 0.04])
    >>> f"{found.slope:.3f} ({found.low:.3f} to {found.high:.3f}), tau {found.tau:.2f}"
    '-0.218 (-0.350 to -0.087), tau 0.00'
    """
    b, v = _checked(slopes, variances)
    n = len(b)
    tau2 = _reml(b, v) if n > 1 else 0.0
    weights = np.ones(n) / n if np.any(v + tau2 == 0) else 1 / (v + tau2) / np.sum(1 / (v + tau2))
    if n >= MIN_MICE and weights.max() > most_weight:
        weights = np.ones(n) / n
    mean = float(weights @ b)
    low = high = p = float("nan")
    if n >= MIN_MICE:
        error, width = (
            float(np.sqrt(weights @ (b - mean) ** 2 / (n - 1))),
            float(scipy.special.stdtrit(n - 1, 1 - ALPHA / 2)),
        )
        low, high = mean - width * error, mean + width * error
        p = float(2 * scipy.special.stdtr(n - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return MiceTrend(mean, low, high, p, float(np.sqrt(tau2)), b, v, weights)


def _checked(slopes: Any, variances: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes and error variances, (M,) float64 each."""
    if len(slopes) and all(isinstance(one, DayTrend) for one in slopes):
        if variances is not None:
            raise ArgumentError("trends have their own variances: leave out variances")
        return _of_trends(slopes)
    b = np.asarray(slopes, dtype=np.float64)
    v = np.zeros(len(b)) if variances is None else np.asarray(variances, dtype=np.float64)
    if b.ndim != 1 or not len(b) or v.shape != b.shape:
        raise ArgumentError(f"slopes and variances must be (mice,), not {b.shape} and {v.shape}")
    if not np.isfinite(b).all() or not np.isfinite(v).all() or np.any(v < 0):
        raise ArgumentError("slopes must be finite, and variances finite and not negative: leave out such mice")
    return b, v


def _of_trends(trends: Sequence[DayTrend]) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope of each mouse, and its variance from the residuals of all mice."""
    if len({trend.quantity for trend in trends}) > 1:
        raise ArgumentError(f"trends must be of one quantity, not {', '.join(sorted({t.quantity for t in trends}))}")
    return _of_days([trend.scaled() for trend in trends])


def _of_days(mice: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope of each mouse's values over its days, and its variance from the residuals of all mice."""
    scatter, spreads = day_scatter(mice), []
    slopes = []
    for days, values in mice:
        away = days - days.mean()
        spreads.append(float(away @ away))
        slopes.append(float(away @ values) / spreads[-1])
    # without a third day in any mouse nothing is known of the error, and slopes weigh the same
    return np.array(slopes), (0.0 if np.isnan(scatter) else scatter**2) / np.array(spreads)


def day_scatter(mice: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the standard deviation of days about the line of their mouse, pooled over mice.

    Parameters
    ----------
    mice : sequence of (days, values)
        (D,) float each, on the scale of the slope: ``DayTrend.scaled()``.

    Returns
    -------
    float
        NaN if no mouse has a third day.

    Raises
    ------
    ArgumentError
        A mouse has fewer than two days.
    """
    squares, free = 0.0, 0
    for days, values in mice:
        if len(days) < 2 or np.ptp(days) == 0:
            raise ArgumentError("every mouse needs two or more days above chance: leave out the others")
        away = days - days.mean()
        slope = away @ values / (away @ away)
        squares += float(np.sum((values - values.mean() - slope * away) ** 2))
        free += len(days) - 2
    return float(np.sqrt(squares / free)) if free else float("nan")


def paired_trend(first: Sequence[DayTrend], second: Sequence[DayTrend]) -> MiceTrend:
    """Return the mean difference of two slopes within mice: of two regions, or two targets, of the same sessions.

    The difference is taken on each day that both have, so that what moves both on a day (the mouse's mood, the
    microscope) cancels; then its slope over the days is averaged over mice as in `mice_trend`.

    Parameters
    ----------
    first, second : (M,) sequence of DayTrend
        The same mice in the same order, all of one quantity. Several sessions of one day are averaged.

    Returns
    -------
    MiceTrend
        Of the second minus the first.

    Raises
    ------
    ArgumentError
        There is no mouse; the numbers of mice differ, or quantities; a mouse has fewer than two days in common.
    """
    return mice_trend(*_of_days(_differences(first, second)))


def paired_level(first: Sequence[DayTrend], second: Sequence[DayTrend]) -> MiceTrend:
    """Return the mean difference of two quantities within mice: of two regions, or two targets, of the same sessions.

    The difference is taken on each day that both have, averaged over these days, and then over mice as in `mice_trend`.
    Its error is the scatter of days about the line of their mouse, pooled over the mice.

    Parameters
    ----------
    first, second
        As for `paired_trend`. Numbers of cells should be of curves that end at the same k.

    Returns
    -------
    MiceTrend
        Of the second minus the first, with differences in place of slopes: of log2 of a number of cells, of a score,
        or of d'.

    Raises
    ------
    ArgumentError
        As for `paired_trend`.
    """
    mice = _differences(first, second)
    scatter = day_scatter(mice)
    error = 0.0 if np.isnan(scatter) else scatter**2
    return mice_trend([float(values.mean()) for _, values in mice], [error / len(days) for days, _ in mice])


def _differences(first: Sequence[DayTrend], second: Sequence[DayTrend]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the days and differences of each mouse."""
    if len(first) != len(second) or not len(first):
        raise ArgumentError(f"paired trends must be of the same mice, not {len(first)} and {len(second)}")
    if len({trend.quantity for trend in (*first, *second)}) > 1:
        raise ArgumentError("paired trends must be of one quantity")
    return [_difference(a, b) for a, b in zip(first, second, strict=True)]


def _difference(first: DayTrend, second: DayTrend) -> tuple[np.ndarray, np.ndarray]:
    """Return the days that both trends have, and the values of the second minus those of the first."""
    (days_a, a), (days_b, b) = first.scaled(), second.scaled()
    days = np.intersect1d(days_a, days_b)
    means = [np.array([values[own == day].mean() for day in days]) for own, values in ((days_a, a), (days_b, b))]
    return days, means[1] - means[0]


def _reml(b: np.ndarray, v: np.ndarray) -> float:
    """Return the variance between mice with the greatest restricted likelihood."""
    spread = float(np.var(b, ddof=1))
    if np.ptp(v) == 0:  # closed form
        return max(0.0, spread - float(v[0]))

    def minus_likelihood(tau2: float) -> float:
        weights = 1 / (v + tau2)
        mean = weights @ b / weights.sum()
        return float(np.log(v + tau2).sum() + np.log(weights.sum()) + weights @ (b - mean) ** 2) / 2

    # the squared deviation of the farthest mouse bounds it; a grid first, as it need not have one optimum
    top = float(np.sum((b - b.mean()) ** 2)) + 1e-300
    least = 1e-12 * top if np.any(v == 0) else 0.0
    grid = np.r_[least, np.geomspace(top * 1e-6, top, 60)]
    at = int(np.argmin([minus_likelihood(tau2) for tau2 in grid]))
    bounds = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    found = scipy.optimize.minimize_scalar(
        minus_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-10 * top}
    )
    return float(found.x) if found.fun < minus_likelihood(grid[at]) else float(grid[at])

"""Trends of curves over the days of one mouse.

Did the code change, and do fewer cells reach the same score? These are two questions. `code_trend` takes k* at the own
ceiling of each day, which is a property of the curve's shape: signal to noise, performance and the number of trials
move it little. `sensitivity_trend` takes the score of k cells, or k at a score that all days reach, which all of these
move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from pipeline.decoding.fits.curve import CurveFit
from pipeline.decoding.fits.families import ALPHA, d_prime
from pipeline.decoding.fits.k_star import k_halves, k_reaching, rising
from pipeline.errors import ArgumentError
from pipeline.settings.curves import NUMBER_METRICS

#: Quantities that have a trend, and what one unit of their slope is.
QUANTITIES = {
    "code_k": "log2 cells at the own ceiling per day",
    "half_k": "log2 cells with half of d'^2 per day",
    "common_k": "log2 cells at the common score per day",
    "score": "score per day",
    "d_prime": "d' per day",
}
#: Quantity of `code_trend` by where a curve is measured.
OF_CODE = {"ceiling": "code_k", "half": "half_k"}
#: Quantities that are numbers of cells: their trends are those of the logarithm, as cells change by factors.
NUMBERS = ("code_k", "half_k", "common_k")
#: Days that the interval beyond the scatter of days needs: with three it has one degree of freedom.
MIN_DAYS = 4
#: Leverage of a day in the line above which its own scatter decides what is found.
MOST_LEVERAGE = 0.9
#: k of the scores of `sensitivity_trend`, or the next larger one: far below the ceiling, where scores differ most.
SENSITIVITY_K = 8


@dataclass(frozen=True, eq=False)
class DayTrend:
    """A quantity on each day, and its slope over the days, with two 95 % intervals.

    Attributes
    ----------
    quantity : str
        Key of `QUANTITIES`.
    k : int
        The k of the score; for numbers of cells the largest k, at which all days end.
    days, values, value_low, value_high : (D,) float64
        Every day given, its value and the 95 % interval of that; the value is NaN for days that are not used.
    at_chance : tuple of float
        Days that are not used, because their curve is at chance and has no ceiling.
    slope : float
        Per day: of log2 of a number of cells, of a score, or of d'.
    low, high, p : float
        A trend beyond the scatter of days (Student's t over days). NaN with fewer than four days.
    fixed_low, fixed_high, fixed_p : float
        The trend of these days: only the error of each day's curve counts. It says that the days differ in this way,
        not that there would be a trend in other days. NaN without draws.
    mean_day, mean_value, half_width : float
        A point of the line, on the scale of the slope, and half of its 95 % interval over days.
    """

    quantity: str
    k: int
    days: np.ndarray
    values: np.ndarray
    value_low: np.ndarray
    value_high: np.ndarray
    at_chance: tuple[float, ...] = ()
    slope: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    fixed_low: float = np.nan
    fixed_high: float = np.nan
    fixed_p: float = np.nan
    mean_day: float = np.nan
    mean_value: float = np.nan
    half_width: float = np.nan

    @property
    def n_days(self) -> int:
        """Number of days that are used."""
        return int(np.isfinite(self.values).sum())

    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the days that are used and their values on the scale of the slope, (n_days,) float64 each."""
        used = np.isfinite(self.values)
        values = self.values[used]
        return self.days[used], np.log2(values) if self.quantity in NUMBERS else values


def code_trend(
    curves: Sequence[CurveFit], days: Sequence[float] | np.ndarray, *, delta: float = 0.02, seed: int = 0,
    at: str = "ceiling",
) -> DayTrend:  # fmt: skip
    """Return the trend of k* at the own ceiling.

    The question is whether the shape of the code changed over the days. k* is where the isotonic mean, interpolated in
    log2 k, is within `delta` of that at the largest k. All days end at the same largest k, the largest that all have:
    with more cells a curve gets nearer to its asymptote, and k* larger.

    A score near 1 is compressed, and so is one near chance: there k* falls although d'^2 has the same shape
    (`pipeline.decoding.fits.ceilings`). Half of d'^2 is at the same k whatever the ceiling.

    Parameters
    ----------
    curves : (D,) sequence of CurveFit
        One for each day, of the same metric.
    days : (D,) float
    delta : float
        Of 'ceiling'.
    seed : int
        Of the order in which the draws of the days are combined.
    at : {'ceiling', 'half'}
        Which number of cells: k*, or that with half of the d'^2 at the largest k (``CurveFit.k_half``).

    Returns
    -------
    DayTrend
        Of the quantity "code_k", or with 'half' of "half_k". Days at chance have no ceiling and are listed in
        ``at_chance``.

    Raises
    ------
    ArgumentError
        Lengths disagree, metrics differ, the curves have no k in common, or `at` has another value.

    Examples
    --------
    >>> from pipeline.decoding import fit_curve
    >>> curves = [fit_curve([8, 16, 32, 64], np.array([[0.6, 0.7, 0.8, 0.8], row]).T) for row in
    ...           ([0.6, 0.7, 0.8, 0.8], [0.6, 0.8, 0.8, 0.8])]
    >>> code_trend(curves, [0, 7]).values.round(1).tolist()
    [27.9, 24.3]
    """
    if at not in OF_CODE:
        raise ArgumentError(f"at must be ceiling or half, not {at!r}")
    aligned = _Aligned.of(curves, days, seed)

    def of(means: np.ndarray) -> np.ndarray:
        smooth = aligned.smoothed(means)
        if at == "half":
            return np.stack([k_halves(aligned.ks, day, aligned.metric) for day in smooth])
        return aligned.reaching(smooth, smooth[:, -1] - delta)

    return aligned.trend(OF_CODE[at], int(aligned.ks[-1]), of, ~aligned.at_chance)


def sensitivity_trend(
    curves: Sequence[CurveFit],
    days: Sequence[float] | np.ndarray,
    *,
    quantity: str = "common_k",
    k: int | None = None,
    delta: float = 0.02,
    seed: int = 0,
) -> DayTrend:
    """Return the trend of sensitivity.

    The question is whether fewer cells reach the same score, or the same cells a higher one. Signal to noise, the
    performance of the mouse and the number of trials change it too: alone it says nothing about the code.

    Parameters
    ----------
    curves, days, delta, seed
        As for `code_trend`.
    quantity : {'common_k', 'score', 'd_prime'}
        Number of cells with which a day reaches the common score, `delta` below the lowest ceiling of all days; or the
        score, or d' (of classes only), of k cells.
    k : int, optional
        Of the score; by default 8, or the next larger k that all days have.

    Returns
    -------
    DayTrend
        For "common_k", days at chance are not used, as they would be the lowest ceiling. Their score and d' are.

    Raises
    ------
    ArgumentError
        As `code_trend`; the quantity is unknown, or is d' of numbers; or not all days have `k`.
    """
    aligned = _Aligned.of(curves, days, seed)
    if quantity == "common_k":

        def reaching(means: np.ndarray) -> np.ndarray:
            smooth = aligned.smoothed(means)
            common = smooth[~aligned.at_chance, -1].min(axis=0) - delta
            return aligned.reaching(smooth, np.broadcast_to(common, smooth[:, -1].shape))

        return aligned.trend(quantity, int(aligned.ks[-1]), reaching, ~aligned.at_chance)
    if quantity not in QUANTITIES or quantity in NUMBERS:
        raise ArgumentError(f"quantity must be common_k, score or d_prime, not {quantity!r}")
    if quantity == "d_prime" and aligned.metric in NUMBER_METRICS:
        raise ArgumentError(f"d' is a distance of two classes: scores of numbers ({aligned.metric}) have none")
    row = _row_of(aligned.ks, k)

    def at_k(means: np.ndarray) -> np.ndarray:
        return d_prime(means[:, row], aligned.metric) if quantity == "d_prime" else means[:, row]

    return aligned.trend(quantity, int(aligned.ks[row]), at_k, np.ones(len(aligned.days), dtype=bool))


def _row_of(ks: np.ndarray, k: int | None) -> int:
    """Return the position of k, or of the default k, among the ks of all days."""
    if k is None:
        return min(int(np.searchsorted(ks, SENSITIVITY_K)), len(ks) - 1)
    if k not in ks:
        raise ArgumentError(f"k must be one that all days have, {', '.join(map(str, ks))}, not {k}")
    return int(np.searchsorted(ks, k))


@dataclass(frozen=True)
class _Aligned:
    """Curves of several days at the ks that all have.

    Attributes
    ----------
    ks : (K,) int64
    days : (D,) float64
    means : (D, K, 1 + B) float64
        The means, then draws of them, which are independent between days.
    weights : (D, K) float64
        Inverse variance of the means.
    at_chance : (D,) bool
    chances : (D,) float64
    metric : str
    """

    ks: np.ndarray
    days: np.ndarray
    means: np.ndarray
    weights: np.ndarray
    at_chance: np.ndarray
    chances: np.ndarray
    metric: str

    @classmethod
    def of(cls, curves: Sequence[CurveFit], days: Any, seed: int) -> _Aligned:
        """Return the curves at their common ks; raise ArgumentError if that is not possible."""
        days = np.asarray(days, dtype=np.float64)
        if not len(curves) or days.shape != (len(curves),) or not np.isfinite(days).all():
            raise ArgumentError(f"days must be one finite number per curve, not {days.shape} for {len(curves)} curves")
        if len({curve.metric for curve in curves}) > 1:
            raise ArgumentError(f"curves must have one metric, not {', '.join(sorted({c.metric for c in curves}))}")
        ks = np.array(sorted(set.intersection(*(set(curve.ks.tolist()) for curve in curves))), dtype=np.int64)
        if not len(ks):
            raise ArgumentError("the curves have no k in common: compute them with the same ks")
        rows = [np.searchsorted(curve.ks, ks) for curve in curves]
        n_draws = min(curve.draws.shape[1] if curve.draws.size else 0 for curve in curves)
        means = np.empty((len(curves), len(ks), 1 + n_draws))
        for i, (curve, row) in enumerate(zip(curves, rows, strict=True)):
            means[i, :, 0] = curve.mean[row]
            # Days with as many trials were drawn from the same random numbers: in one order they would vary together.
            order = np.random.default_rng(np.random.SeedSequence([seed, i])).permutation(n_draws)
            means[i, :, 1:] = curve.draws[row][:, order] if n_draws else 0
        weights = np.array([1 / curve.variance[row] for curve, row in zip(curves, rows, strict=True)])
        at_chance = np.array([curve.verdict == "at chance" for curve in curves])
        return cls(ks, days, means, weights, at_chance, np.array([c.chance for c in curves]), curves[0].metric)

    def smoothed(self, means: np.ndarray) -> np.ndarray:
        """Return the isotonic means, (D, K, C)."""
        return np.stack([rising(day, weight) for day, weight in zip(means, self.weights, strict=True)])

    def reaching(self, smooth: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """Return k where the isotonic means (D, K, C) reach their thresholds (D, C), (D, C)."""
        days = zip(smooth, thresholds, self.chances, strict=True)
        return np.stack([k_reaching(self.ks, *day, self.metric) for day in days])

    def trend(self, quantity: str, k: int, of: Callable[[np.ndarray], np.ndarray], used: np.ndarray) -> DayTrend:
        """Return the trend of what `of` makes of the means, (D, C), over the days that are used."""
        values = np.full((len(self.days), self.means.shape[2]), np.nan)
        if used.any():
            values[used] = of(self.means)[used]
        values[~np.isfinite(values)] = np.nan
        low, high = _percentiles(values[:, 1:])
        known = np.isfinite(values[:, 0])
        return DayTrend(
            quantity, k, self.days, values[:, 0], low, high, tuple(self.days[~used].tolist()),
            **_slopes(self.days[known], np.log2(values[known]) if quantity in NUMBERS else values[known]),
        )  # fmt: skip


def leverages(days: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return how much the value of each day decides the height of the line there: 0 to 1, (D,) float64; 2 in sum.

    Examples
    --------
    >>> leverages([0, 1, 2, 3, 4, 5, 20]).round(2).tolist()
    [0.23, 0.2, 0.18, 0.16, 0.15, 0.14, 0.95]
    """
    away = np.asarray(days, dtype=np.float64) - np.mean(days)
    found: np.ndarray = 1 / len(away) + away**2 / (away @ away)
    return found


def _percentiles(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return percentiles 2.5 and 97.5 of each row, (D,) each; NaN if fewer than half of its draws are numbers."""
    low, high = np.full(len(draws), np.nan), np.full(len(draws), np.nan)
    for i, row in enumerate(draws):
        known = row[np.isfinite(row)]
        if len(known) > 1 and len(known) >= len(row) / 2:
            low[i], high[i] = np.percentile(known, (100 * ALPHA / 2, 100 * (1 - ALPHA / 2)))
    return low, high


def _slopes(days: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Return the fields of `DayTrend` for values (n, 1 + B) on n days: the data, then draws."""
    n = len(days)
    if n < 2 or np.ptp(days) == 0:
        return {}
    away = days - days.mean()
    sxx = float(away @ away)
    slopes = away @ values / sxx  # a draw with a NaN on any day has none
    slope, mean = float(slopes[0]), float(values[:, 0].mean())
    found = {"slope": slope, "mean_day": float(days.mean()), "mean_value": mean}
    drawn = slopes[1:][np.isfinite(slopes[1:])]
    if len(drawn) > 1 and len(drawn) >= (len(slopes) - 1) / 2 and drawn.std() > 0:
        error, width = float(drawn.std(ddof=1)), float(scipy.special.ndtri(1 - ALPHA / 2))
        found |= {"fixed_low": slope - width * error, "fixed_high": slope + width * error}
        found["fixed_p"] = float(2 * scipy.special.ndtr(-abs(slope) / error))
    if n >= MIN_DAYS:
        scatter = float(np.sqrt(np.sum((values[:, 0] - mean - slope * away) ** 2) / (n - 2)))
        error, width = scatter / np.sqrt(sxx), float(scipy.special.stdtrit(n - 2, 1 - ALPHA / 2))
        found |= {"low": slope - width * error, "high": slope + width * error, "half_width": width * scatter / n**0.5}
        found["p"] = float(2 * scipy.special.stdtr(n - 2, -abs(slope) / error)) if error > 0 else float(slope == 0)
    return found

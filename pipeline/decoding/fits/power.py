"""How many days and mice a trend needs: the power of the tests of ``code_trend`` and ``mice_trend``."""

from __future__ import annotations

import numpy as np
import scipy

from pipeline.decoding.fits.days import MIN_DAYS
from pipeline.decoding.fits.families import ALPHA
from pipeline.decoding.fits.mice import MIN_MICE
from pipeline.errors import ArgumentError

#: Mice beyond which no number is given.
MOST_MICE = 200


def slope_error(day_sd: float, n_days: int, spacing: float = 1.0) -> float:
    """Return the standard error of a slope over equally spaced days.

    Parameters
    ----------
    day_sd : float
        Standard deviation of the days about the line.
    n_days : int
        2 or more.
    spacing : float
        Days from one session to the next.
    """
    return float(day_sd / (spacing * np.sqrt(n_days * (n_days**2 - 1) / 12)))


def trend_power(
    slope: float, day_sd: float, n_days: int, *, n_mice: int = 1, between_sd: float = 0.0, spacing: float = 1.0
) -> float:
    """Return the probability that a slope is found with p <= 0.05, two-sided.

    With one mouse: beyond the scatter of its days (Student's t over days). With several: the mean of their slopes
    (`mice_trend`), all with as many days.

    Parameters
    ----------
    slope : float
        True (mean) slope per day.
    day_sd, n_days, spacing
        As for `slope_error`. The scatter of the days includes the error of their curves.
    n_mice : int
        1, or 3 and more.
    between_sd : float
        Standard deviation of the true slopes between mice; without effect with one mouse.

    Returns
    -------
    float
        NaN where the test is not given: one mouse with fewer than four days, two mice, or fewer than two days.

    Raises
    ------
    ArgumentError
        A number is not finite, or negative where it is a deviation or a distance.

    Examples
    --------
    >>> round(trend_power(-0.15, 0.55, 8, n_mice=5, between_sd=0.05), 2)
    0.72
    """
    numbers = {"slope": slope, "day_sd": day_sd, "between_sd": between_sd, "spacing": spacing}
    for name, value in numbers.items():
        if not np.isfinite(value) or (name != "slope" and value < 0) or (name == "spacing" and value == 0):
            allowed = "" if name == "slope" else ", not negative"
            raise ArgumentError(f"{name} must be a finite number{allowed}, not {value}")
    if n_days < (MIN_DAYS if n_mice == 1 else 2) or 1 < n_mice < MIN_MICE or n_mice < 1:
        return float("nan")
    error = slope_error(day_sd, n_days, spacing)
    if n_mice == 1:
        free = n_days - 2
    else:
        # slopes of mice with the same days have equal variances: Hartung and Knapp's t is then Student's over mice
        free, error = n_mice - 1, float(np.sqrt((error**2 + between_sd**2) / n_mice))
    if error == 0:
        return float(slope != 0)
    away, limit = abs(slope) / error, float(scipy.special.stdtrit(free, 1 - ALPHA / 2))
    found, other = scipy.stats.nct.sf(limit, free, away), scipy.stats.nct.cdf(-limit, free, away)
    # scipy's nct gives NaN far from the centre: of the other side, which then counts nothing, first
    return float(found + np.nan_to_num(other)) if np.isfinite(found) else 1.0


def mice_needed(
    slope: float, day_sd: float, n_days: int, *, between_sd: float = 0.0, spacing: float = 1.0, power: float = 0.8
) -> int | None:
    """Return the least number of mice, three or more, with which a slope is found with this power.

    Parameters
    ----------
    slope, day_sd, n_days, between_sd, spacing
        As for `trend_power`.
    power : float

    Returns
    -------
    int or None
        None if 200 mice do not suffice.
    """
    words = {"between_sd": between_sd, "spacing": spacing}
    for n_mice in range(MIN_MICE, MOST_MICE + 1):
        if trend_power(slope, day_sd, n_days, n_mice=n_mice, **words) >= power:
            return n_mice
    return None


def days_needed(slope: float, day_sd: float, *, spacing: float = 1.0, power: float = 0.8, most: int = 60) -> int | None:
    """Return the least number of days with which one mouse has this power beyond the scatter of its days.

    Parameters
    ----------
    slope, day_sd, spacing
        As for `trend_power`.
    power : float
    most : int
        Days beyond which no number is given.

    Returns
    -------
    int or None
    """
    for n_days in range(MIN_DAYS, most + 1):
        if trend_power(slope, day_sd, n_days, spacing=spacing) >= power:
            return n_days
    return None

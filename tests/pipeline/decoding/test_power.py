"""Power of trends: against simulated mice that go through the tests themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, linregress, norm
from scipy.stats import t as student

from pipeline.decoding import mice_trend
from pipeline.decoding.fits.power import days_needed, mice_needed, slope_error, trend_power

N = 600


@pytest.mark.parametrize(
    ("n_mice", "n_days", "between"), [(3, 8, 0.0), (5, 4, 0.1), (5, 8, 0.1), (10, 4, 0.15)], ids=str
)
def test_power_of_several_mice_is_the_share_of_simulated_groups_that_are_found(n_mice, n_days, between):
    slope, sd = -0.15, 0.55
    rng = np.random.default_rng([n_mice, n_days])
    days = 2.0 * np.arange(n_days)
    found = 0
    for _ in range(N):
        true = slope + between * rng.normal(size=n_mice)
        values = true[:, None] * days + sd * rng.normal(size=(n_mice, n_days))
        slopes = np.polyfit(days, values.T, 1)[0]
        variance = sd**2 / ((days - days.mean()) ** 2).sum()
        found += mice_trend(slopes, np.full(n_mice, variance)).p <= 0.05
    expected = trend_power(slope, sd, n_days, n_mice=n_mice, between_sd=between, spacing=2)
    assert 0.1 < expected < 0.99
    assert abs(found / N - expected) < 3 * np.sqrt(expected * (1 - expected) / N) + 0.005


@pytest.mark.parametrize("n_days", [4, 8, 12])
def test_power_of_one_mouse_is_the_share_of_simulated_mice_that_are_found(n_days):
    rng = np.random.default_rng(n_days)
    days = np.arange(n_days)
    found = sum(linregress(days, 0.2 * days + 0.6 * rng.normal(size=n_days)).pvalue <= 0.05 for _ in range(N))
    expected = trend_power(0.2, 0.6, n_days)
    assert abs(found / N - expected) < 3 * np.sqrt(expected * (1 - expected) / N) + 0.005


def test_power_of_three_mice_is_not_1_where_the_other_side_is_unknown():
    """scipy's distribution of the other side is NaN here. The power as a mean over the scatter of three mice."""
    away, limit = 0.15 * np.sqrt(3) / slope_error(0.5, 16), student.ppf(0.975, 2)
    scatter = np.sqrt(chi2.ppf((np.arange(4000) + 0.5) / 4000, 2) / 2)
    expected = np.mean(norm.sf(limit * scatter - away) + norm.cdf(-limit * scatter - away))
    assert expected < 0.99
    assert trend_power(0.15, 0.5, 16, n_mice=3) == pytest.approx(expected, abs=1e-4)


def test_numbers_needed_are_the_first_that_suffice():
    needed = mice_needed(-0.1, 0.5, 6, between_sd=0.05)
    power = [trend_power(-0.1, 0.5, 6, n_mice=n, between_sd=0.05) for n in (needed - 1, needed)]
    assert power[0] < 0.8 <= power[1]
    days = days_needed(0.2, 0.6)
    assert trend_power(0.2, 0.6, days - 1) < 0.8 <= trend_power(0.2, 0.6, days)
    assert mice_needed(0.0, 0.5, 6) is None and days_needed(0.0, 0.5) is None
    assert mice_needed(5.0, 0.01, 6) == 3  # as strong as can be: power 1, and not NaN
    assert slope_error(1.0, 5) == pytest.approx(1 / np.sqrt(10))


def test_power_is_not_given_where_the_test_is_not():
    assert np.isnan([trend_power(1, 1, 3), trend_power(1, 1, 8, n_mice=2), trend_power(1, 1, 1, n_mice=4)]).all()
    assert trend_power(0.0, 0.5, 8, n_mice=5) == pytest.approx(0.05)
    assert (trend_power(0.1, 0, 4), trend_power(0, 0, 4)) == (1, 0)
    for words in ({"slope": np.nan}, {"day_sd": -1}, {"spacing": 0}, {"between_sd": np.inf}):
        name = next(iter(words))
        with pytest.raises(ValueError, match=f"{name} must be a finite number"):
            trend_power(**{"slope": 0.1, "day_sd": 0.5, "n_days": 8, "n_mice": 3, **words})

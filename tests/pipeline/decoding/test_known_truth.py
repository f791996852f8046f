"""The short form of benchmarks/statistics.py: sessions of known truth, with seeds."""

from __future__ import annotations

import numpy as np
import pytest
from support.populations import population
from support.simulated_days import coverage, mice, same_cells

from pipeline.decoding import code_trend, neuron_dropping_curve, sensitivity_trend
from pipeline.decoding.fits.uncertainty import RULES, score_variance


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.mark.slow
def test_intervals_cover_the_expected_score():
    found = [coverage(kind, 60, 24, ks=(8, 100), R=5) for kind in ("limited", "weak", "strong")]
    assert sum(one.covered.sum() for one in found) / (24 * 2 * 3) >= 0.92
    # the test trials alone do not; nor is the width one that would cover anything
    assert sum(one.test_trials[1] for one in found) / (24 * 3) < 0.9
    assert 1.1 < np.median([one.width for one in found]) < 1.5


@pytest.mark.slow
def test_from_half_of_the_trials_a_fit_needs_as_many_cells():
    fits = [same_cells("strong", number) for number in range(6)]
    assert sum(few.k95_low <= many.k95_high and many.k95_low <= few.k95_high for few, many in fits) >= 5
    ratio = np.log2([many.k95 / few.k95 for few, many in fits])
    assert abs(np.median(ratio)) < 0.5, ratio


def test_twice_the_test_trials_is_about_what_training_again_gives():
    rng = np.random.default_rng(5)
    X, y = population("limited", 60, rng).sample(100, rng)
    asked = {"ks": [8, 60], "R": 10, "n_label_shuffles": 0, "n_bootstrap": 100}
    curves = {one: neuron_dropping_curve(X, y, **asked, intervals=one) for one in ("new_trials", "retrained")}
    mine, again = (score_variance(curve.scores, curve.influences, RULES[one]) for one, curve in curves.items())
    assert np.all((mine / again > 0.6) & (mine / again < 1.8)), mine / again  # the variance is known to 15 %
    np.testing.assert_array_equal(*(curve.scores for curve in curves.values()))


@pytest.mark.slow
def test_a_code_that_changes_is_found_and_more_signal_is_none():
    days = np.arange(5)
    found = {
        truth: [(code_trend(curves, days), sensitivity_trend(curves, days)) for curves in mice(truth, 5, 8, 4)]
        for truth in ("code", "signal")
    }
    code = [of_code for of_code, _ in found["code"]]
    assert sum(trend.fixed_p <= 0.05 for trend in code) >= 4
    assert np.mean([trend.slope for trend in code]) < -0.3
    # a code that stays: neither these days nor the scatter of days make a trend of it
    assert sum(trend.fixed_p <= 0.05 or trend.p <= 0.05 for trend, _ in found["signal"]) <= 1
    assert abs(np.mean([trend.slope for trend, _ in found["signal"]])) < 0.15

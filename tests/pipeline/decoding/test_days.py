"""Intervals of scores, trends over days and over mice, against closed forms, scipy and a published meta-analysis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.decoding import code_trend, fit_curve, mice_trend, paired_level, sensitivity_trend
from pipeline.decoding.fits.ceilings import k_of_shape
from pipeline.decoding.fits.days import DayTrend
from pipeline.decoding.fits.uncertainty import RULES, score_draws, score_interval, score_variance

KS = np.array([4, 8, 16, 32, 64, 128])


# --- intervals of scores ----------------------------------------------------------------------------


def test_variance_is_twice_that_of_the_trials_and_that_of_the_subsets():
    rng = np.random.default_rng(0)
    scores, influences = 0.8 + 0.1 * rng.normal(size=(2, 20)), 0.01 * rng.normal(size=(2, 50))
    expected = 2 * (influences**2).sum(axis=1) + scores.var(axis=1, ddof=1) / 20
    np.testing.assert_allclose(score_variance(scores, influences), expected)
    # of one subset nothing is known about subsets
    np.testing.assert_allclose(score_variance(scores[:, :1], influences), 2 * (influences**2).sum(axis=1))


def test_interval_is_made_on_the_logit_scale():
    scores, influences = np.full((1, 5), 0.9), np.full((1, 100), 0.003)
    sd = np.sqrt(2 * 100 * 0.003**2)
    logit = np.log(0.9 / 0.1) + np.array([-1, 1]) * 1.959964 * sd / (0.9 * 0.1)
    low, high = score_interval(scores, influences)
    np.testing.assert_allclose([low[0], high[0]], 1 / (1 + np.exp(-logit)), rtol=1e-6)
    fit = fit_curve([8], scores, influences=influences)
    assert (fit.mean_low[0], fit.mean_high[0], fit.variance[0]) == pytest.approx((low[0], high[0], sd**2))


@pytest.mark.parametrize(("intervals", "least"), [("calibrated", 0.15), ("new_trials", 0.5)])
def test_a_perfect_score_has_an_interval(intervals, least):
    low, high = score_interval(np.ones((1, 5)), np.zeros((1, 60)), RULES[intervals])
    # least variance: its share of m (1 - m) / n at m = 1 - 0.5 / n
    m = 1 - 0.5 / 60
    logit = np.log(m / (1 - m)) - 1.959964 * np.sqrt(least * m * (1 - m) / 60) / (m * (1 - m))
    assert (low[0], high[0]) == (pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6), 1)
    assert 0.9 < low[0] < 0.98


def test_near_a_score_of_1_the_calibrated_variance_is_that_of_the_test_trials():
    scores, influences = np.array([[0.9], [0.9875], [0.99375], [0.9995]]), np.full((4, 1000), 0.001)
    of_trials = (influences**2).sum(axis=1)
    expected = np.array([2, 2, 1.5, 1 + 0.0005 / 0.0125]) * of_trials
    np.testing.assert_allclose(score_variance(scores, influences), expected)
    np.testing.assert_allclose(score_variance(scores, influences, RULES["new_trials"]), 2 * of_trials)
    fit = fit_curve([8, 16, 32, 64], scores, influences=influences)
    np.testing.assert_allclose(fit.variance, expected)
    former = fit_curve([8, 16, 32, 64], scores, influences=influences, intervals="new_trials")
    np.testing.assert_allclose(former.variance, 2 * of_trials)
    assert (former.mean_low <= fit.mean_low).all() and former.mean_low[2] < fit.mean_low[2]
    np.testing.assert_allclose(former.mean_high, fit.mean_high)
    with pytest.raises(ValueError, match=r"intervals must be one of .*not 'new'"):
        fit_curve([8], scores[:1], intervals="new")


def test_draws_have_the_covariance_of_trials_and_subsets():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=100)
    influences = 0.004 * np.stack([shared, shared + 0.5 * rng.normal(size=100), rng.normal(size=100)])
    scores = np.array([0.6, 0.7, 0.8])[:, None] + 0.1 * rng.normal(size=(3, 30))
    draws = score_draws(scores, influences, 4000, 0)
    mean = scores.mean(axis=1)
    logits = (np.log(draws / (1 - draws)) - np.log(mean / (1 - mean))[:, None]) * (mean * (1 - mean))[:, None]
    expected = 2 * influences @ influences.T + np.cov(scores) / 30
    np.testing.assert_allclose(np.cov(logits), expected, atol=0.08 * expected.max())
    np.testing.assert_allclose(score_draws(scores, influences, 10, 0), draws[:, :10], rtol=1e-12)


def test_intervals_without_draws_are_none():
    fit = fit_curve(KS, np.full((6, 4), 0.8), influences=np.full((6, 30), 0.01), n_bootstrap=0)
    assert np.isnan(fit.mean_low).all() and np.isnan(fit.k_star_continuous_low)
    with pytest.raises(ValueError, match=r"influences must be \(K, trials\) with K = 6, not \(5, 30\)"):
        fit_curve(KS, np.full((6, 4), 0.8), influences=np.ones((5, 30)))


# --- trends over days -------------------------------------------------------------------------------


def curve_of(half, rng=None, *, top=1.6, sd=0.01, ks=KS, n_trials=120):
    """A curve whose d'^2 is half of its asymptote at a k of `half`, with errors of trials that all k share."""
    truth = stats.norm.cdf(np.sqrt(top * ks / (ks + half) / 2))
    away = 0.0 if rng is None else sd * rng.normal()
    scores = truth[:, None] + away + np.linspace(-1, 1, 20) * 0.02
    # two equal influences per trial: sd of the mean is `sd`
    influences = np.full((len(ks), n_trials), sd / np.sqrt(2 * n_trials))
    return fit_curve(ks, scores, influences=influences, n_bootstrap=200)


def test_slope_and_interval_are_those_of_scipy():
    days = np.array([0.0, 2, 3, 7, 9])
    curves = [curve_of(half) for half in (60, 30, 40, 10, 12)]
    trend = code_trend(curves, days)
    assert trend.values == pytest.approx([curve.k_star_continuous for curve in curves])
    line = stats.linregress(days, np.log2(trend.values))
    width = stats.t.ppf(0.975, 3) * line.stderr
    assert (trend.slope, trend.p) == (pytest.approx(line.slope), pytest.approx(line.pvalue))
    assert (trend.low, trend.high) == (pytest.approx(line.slope - width), pytest.approx(line.slope + width))
    assert trend.mean_value + trend.slope * (5 - trend.mean_day) == pytest.approx(line.intercept + 5 * line.slope)
    assert trend.fixed_low < trend.slope < trend.fixed_high < 0
    assert trend.fixed_p < 0.05
    assert (trend.quantity, trend.k, trend.n_days, trend.at_chance) == ("code_k", 128, 5, ())


def test_interval_of_these_days_is_that_of_independent_errors():
    days, sd = np.arange(4.0), 0.04
    trend = sensitivity_trend([curve_of(20, sd=sd) for _ in days], days, quantity="score", k=16)
    expected = 1.96 * np.sqrt(sd**2 + (np.std(np.linspace(-1, 1, 20), ddof=1) * 0.02) ** 2 / 20) / np.sqrt(5)
    assert trend.slope == pytest.approx(0, abs=1e-12)
    # 200 draws; if the days shared their random numbers, it would be zero
    assert (trend.fixed_high - trend.fixed_low) / 2 == pytest.approx(expected, rel=0.15)


def test_fewer_than_four_days_have_no_interval_beyond_the_scatter_of_days():
    trend = code_trend([curve_of(half) for half in (60, 30, 10)], [0, 1, 2])
    assert np.isnan([trend.low, trend.high, trend.p]).all()
    assert trend.fixed_p < 0.05
    one = code_trend([curve_of(60)], [0])
    assert np.isnan([one.slope, one.fixed_low, one.low]).all() and np.isfinite(one.values).all()


def test_days_at_chance_are_listed_and_have_a_score():
    flat = replace(curve_of(20), mean=np.full(6, 0.5), verdict="at chance")
    curves, days = [curve_of(60), flat, curve_of(30), curve_of(10)], [0, 3, 4, 8]
    trend = code_trend(curves, days)
    assert trend.at_chance == (3.0,) and trend.n_days == 3 and np.isnan(trend.values[1])
    assert trend.slope == pytest.approx(code_trend([curves[i] for i in (0, 2, 3)], [0, 4, 8]).slope)
    score = sensitivity_trend(curves, days, quantity="score")
    assert score.at_chance == () and score.n_days == 4 and score.values[1] == 0.5
    assert code_trend([flat, flat], [0, 1]).n_days == 0


def test_all_days_end_at_the_same_largest_k():
    whole = [curve_of(60), curve_of(60), curve_of(60)]
    fewer = [whole[0], curve_of(60, ks=KS[:5]), curve_of(60, ks=np.r_[KS[:4], 50])]
    trend = code_trend(fewer, [0, 1, 2])
    assert trend.k == 32  # the largest k that all have
    assert np.ptp(trend.values) == 0
    cut = curve_of(60, ks=KS[:4])
    assert trend.values[0] == pytest.approx(cut.k_star_continuous)
    assert trend.values[0] < code_trend(whole, [0, 1, 2]).values[0]


def test_more_signal_is_more_sensitivity_but_the_same_code():
    # d'^2 of all k doubles from day to day: the shape of d'^2 is the same
    curves, days = [curve_of(40, top=top) for top in (0.4, 0.8, 1.6, 3.2)], [0, 1, 2, 3]
    common, score, d_prime = (sensitivity_trend(curves, days, quantity=one) for one in ("common_k", "score", "d_prime"))
    assert common.slope < -0.5 and score.slope > 0.03
    assert common.values[0] == pytest.approx(code_trend(curves, days).values[0])  # the lowest ceiling is its own
    truth = np.sqrt(np.array([0.4, 0.8, 1.6, 3.2]) * 8 / 48)
    assert (score.k, d_prime.k) == (8, 8)
    assert d_prime.values == pytest.approx(truth, rel=1e-6)
    assert score.values == pytest.approx(stats.norm.cdf(truth / np.sqrt(2)))
    assert abs(code_trend(curves, days).slope) < 0.25 < abs(common.slope)


def test_half_of_d_squared_is_at_the_same_k_whatever_the_ceiling():
    # the same shape of d'^2 in all, and ceilings of .85 to .996: by these alone k* falls to less than a half
    curves, days = [curve_of(30, top=top) for top in (2.8, 5.6, 11, 20)], [0, 1, 2, 3]
    code, half = code_trend(curves, days), code_trend(curves, days, at="half")
    assert (code.quantity, half.quantity, half.k) == ("code_k", "half_k", 128)
    assert half.values == pytest.approx([curve.k_half for curve in curves])
    assert half.values == pytest.approx(half.values[0], rel=0.01) and abs(half.slope) < 0.01
    assert code.values[-1] < code.values[0] / 2 and code.slope < -0.4
    assert half.fixed_low < half.slope < half.fixed_high
    alike = k_of_shape(KS, np.array([curve.mean for curve in curves]).T)
    assert alike == pytest.approx(code.values, rel=0.01)  # the height of the ceilings is all that differs


def test_k_of_one_shape_takes_the_shape_of_all_curves_and_the_ceiling_of_each():
    changes, days = [curve_of(half) for half in (60, 40, 22, 9)], [0, 2, 5, 8]  # the shape changes
    alike = k_of_shape(KS, np.array([curve.mean for curve in changes]).T)
    assert np.ptp(np.log2(alike)) < 0.1
    assert code_trend(changes, days).slope < -0.1
    (numbers,) = k_of_shape(KS, (KS / (KS + 30))[:, None], metric="r2")
    assert 64 < numbers < 128


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: code_trend([], []), "one finite number per curve"),
        (lambda: code_trend([curve_of(20)], [0], at="k50"), "at must be ceiling or half, not 'k50'"),
        (lambda: code_trend([curve_of(20)], [np.nan]), "one finite number per curve"),
        (lambda: code_trend([curve_of(20), curve_of(20, ks=KS + 1)], [0, 1]), "no k in common"),
        (lambda: sensitivity_trend([curve_of(20)], [0], quantity="code_k"), "not 'code_k'"),
        (lambda: sensitivity_trend([curve_of(20)], [0], quantity="score", k=9), "4, 8, 16, 32, 64, 128, not 9"),
        (lambda: code_trend([curve_of(20), replace(curve_of(20), metric="accuracy")], [0, 1]), "accuracy, auc"),
        (lambda: mice_trend([]), "mice"),
        (lambda: mice_trend([0.1, np.nan]), "finite"),
        (lambda: mice_trend([0.1, 0.2], [0.1, -0.1]), "not negative"),
        (lambda: mice_trend([0.1, 0.2], [0.1]), r"\(2,\) and \(1,\)"),
    ],
)
def test_messages(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- mice -------------------------------------------------------------------------------------------

#: Trials of the BCG vaccine (Colditz et al. 1994): cases and others among the vaccinated, then among the controls.
BCG = np.array([
    [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
    [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600],
    [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
], dtype=float).T  # fmt: skip


def test_mean_and_interval_are_those_of_the_bcg_meta_analysis():
    a, b, c, d = BCG
    found = mice_trend(np.log(a / (a + b) / (c / (c + d))), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    # log risk ratio by R's metafor, rma(method="REML", test="knha")
    assert (found.slope, found.tau**2) == (pytest.approx(-0.7145, abs=5e-5), pytest.approx(0.3132, abs=5e-5))
    assert (found.low, found.high) == (pytest.approx(-1.1084, abs=5e-5), pytest.approx(-0.3206, abs=5e-5))
    assert found.p == pytest.approx(0.0019, abs=5e-5)


@pytest.mark.parametrize("variance", [None, 0.001, 10.0])
def test_with_equal_variances_the_interval_is_that_of_a_t_test(variance):
    slopes = np.array([-0.3, -0.1, -0.25, 0.05])
    found = mice_trend(slopes, None if variance is None else [variance] * 4)
    test = stats.ttest_1samp(slopes, 0)
    assert (found.slope, found.p) == (pytest.approx(slopes.mean()), pytest.approx(test.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert found.tau**2 == pytest.approx(max(0, slopes.var(ddof=1) - (variance or 0)))


def test_mice_weigh_the_same_where_one_would_have_most_of_the_weight():
    slopes, variances = np.array([0.05, 0.1, -0.1]), np.array([1e-4, 0.03, 0.05])
    found, test = mice_trend(slopes, variances), stats.ttest_1samp(slopes, 0)
    assert (found.slope, found.p) == (pytest.approx(slopes.mean()), pytest.approx(test.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert found.weights.tolist() == pytest.approx([1 / 3] * 3)
    as_before = mice_trend(slopes, variances, most_weight=1)
    assert as_before.tau == found.tau and as_before.weights == pytest.approx(weights_of(variances + found.tau**2))
    assert as_before.slope == pytest.approx(as_before.weights @ slopes)
    # below the limit, and for two mice, which have no interval, weights are by variance
    assert mice_trend(slopes, [0.02, 0.03, 0.05]).weights[0] > 1 / 3
    assert mice_trend(slopes[:2], variances[:2]).weights[0] > 0.5


def weights_of(variances: np.ndarray) -> np.ndarray:
    return 1 / variances / (1 / variances).sum()


def test_two_mice_have_a_mean_but_no_interval():
    found = mice_trend([-0.3, -0.1], [0.01, 0.02])
    assert -0.3 < found.slope < -0.1 and np.isnan([found.low, found.high, found.p]).all()
    assert mice_trend([-0.3], [0.1]).slope == -0.3


def test_error_of_a_slope_is_the_scatter_of_all_mice_over_the_spread_of_its_days():
    rng = np.random.default_rng(3)
    days = [np.arange(5.0), np.array([0.0, 4, 8, 9]), np.array([0.0, 10])]
    trends = [code_trend([curve_of(h) for h in np.exp2(rng.normal(5, 0.5, len(one)))], one) for one in days]
    found = mice_trend(trends)
    squares = sum(np.sum((np.log2(t.values) - np.polyval(np.polyfit(x, np.log2(t.values), 1), x)) ** 2)
                  for t, x in zip(trends, days, strict=True))  # fmt: skip
    assert found.variances == pytest.approx([squares / (3 + 2 + 0) / np.sum((x - x.mean()) ** 2) for x in days])
    assert found.slopes == pytest.approx([t.slope for t in trends])


def test_interval_over_mice_covers_and_that_of_fixed_mice_does_not():
    rng = np.random.default_rng(4)
    covered = plain = 0
    for _ in range(150):
        errors = np.array([0.02, 0.05, 0.1, 0.05, 0.02])
        found = mice_trend(-0.1 + 0.1 * rng.normal(size=5) + errors * rng.normal(size=5), errors**2)
        covered += found.low <= -0.1 <= found.high
        weights = 1 / errors**2
        plain += abs(weights @ found.slopes / weights.sum() + 0.1) < 1.96 / np.sqrt(weights.sum())
    assert covered / 150 >= 0.9
    assert plain / 150 < 0.7


def trend_of(days: np.ndarray, log_k: np.ndarray) -> DayTrend:
    """Return k* of some days, without intervals."""
    none = np.full(len(days), np.nan)
    return DayTrend("code_k", 128, np.asarray(days, float), np.exp2(log_k), none, none)


def test_difference_within_mice_is_a_t_test_over_mice_where_they_have_the_same_days():
    rng = np.random.default_rng(5)
    days = np.arange(6.0)
    log_k = rng.normal(5, 1, (2, 7, 6))  # of two regions, seven mice, six days
    found = paired_level(*([trend_of(days, one) for one in region] for region in log_k))
    of_mice = (log_k[1] - log_k[0]).mean(axis=1)
    test = stats.ttest_1samp(of_mice, 0)
    assert found.slopes == pytest.approx(of_mice)
    assert (found.slope, found.p) == (pytest.approx(of_mice.mean()), pytest.approx(test.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))


def test_difference_within_mice_is_of_the_days_that_both_have_and_its_error_of_their_number():
    rng = np.random.default_rng(6)
    days = [np.array([0.0, 1, 2, 3]), np.array([0.0, 5, 9])]
    log_k = [rng.normal(5, 1, (2, len(one))) for one in days]
    first = [trend_of(one, rows[0]) for one, rows in zip(days, log_k, strict=True)]
    # the second mouse has another day of the second region alone
    second = [trend_of(days[0], log_k[0][1]), trend_of(np.r_[days[1], 20], np.r_[log_k[1][1], 99])]
    found = paired_level(first, second)
    away = [rows[1] - rows[0] for rows in log_k]
    squares = sum(np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2) for x, y in zip(days, away, strict=True))
    assert found.slopes == pytest.approx([y.mean() for y in away])
    assert found.variances == pytest.approx([squares / (2 + 1) / len(x) for x in days])


@pytest.mark.slow
def test_difference_of_k_within_mice_is_found_and_none_is_not():
    """As many cells, or half as many: both regions scatter over the days, and their difference over mice."""
    rng = np.random.default_rng(7)
    found = {0.0: 0, -1.0: 0}
    for planted in found:
        for _ in range(300):
            mice = range(int(rng.integers(3, 9)))
            days = [np.sort(rng.choice(30, int(rng.integers(2, 10)), replace=False)).astype(float) for _ in mice]
            common = [5 - 0.05 * x + rng.normal(0, 1) + rng.normal(0, 0.5, len(x)) for x in days]
            own = [planted + rng.normal(0, 0.3) for _ in mice]
            regions = [
                [trend_of(x, y + d + rng.normal(0, 0.4, len(x))) for x, y, d in zip(days, common, shifts, strict=True)]
                for shifts in ([0.0] * len(days), own)
            ]
            found[planted] += paired_level(*regions).p <= 0.05
    # 5 % of 300, with its exact 99.9 % interval; and most of those with a difference
    assert stats.binom.ppf(0.0005, 300, 0.05) <= found[0.0] <= stats.binom.ppf(0.9995, 300, 0.05)
    assert found[-1.0] >= 0.8 * 300

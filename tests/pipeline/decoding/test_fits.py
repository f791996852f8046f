"""Fitted curves, intervals, verdicts, and k* over days, against planted truth, scipy and plain numpy."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.isotonic import isotonic_regression

from pipeline.decoding import NDCCurve
from pipeline.decoding.fits.curve import MAX_EXTRAPOLATION, VERDICTS, fit_curve
from pipeline.decoding.fits.families import FAMILIES, family_curve, significant
from pipeline.decoding.fits.k_star import k_halves, k_reaching, rising
from pipeline.decoding.fits.together import benjamini_hochberg, common_ceiling_k_star
from pipeline.decoding.fits.trend import log_k_slope

KS = np.array([2, 4, 8, 16, 32, 64, 128, 256])
NORMAL = NormalDist()


def exponential(k):
    return 0.9 - 0.42 * np.exp(-np.asarray(k, float) / 20)


def inverse_sqrt(k):
    return 0.9 - 0.45 / np.sqrt(k)


def information(k):
    """AUC of two normal classes whose d' is limited to sqrt(0.08 / 0.03)."""
    return stats.norm.cdf(np.sqrt(0.08 * np.asarray(k, float) / (1 + 0.03 * np.asarray(k, float)) / 2))


TRUTH = {"exponential": exponential, "inverse_sqrt": inverse_sqrt, "information": information}
ASYMPTOTE = {"exponential": 0.9, "inverse_sqrt": 0.9, "information": NORMAL.cdf((0.08 / 0.03 / 2) ** 0.5)}


def k_at(truth, level):
    """Where a planted curve reaches a score, by bisection."""
    return optimize.brentq(lambda log_k: truth(np.exp(log_k)) - level, -3, 12, xtol=1e-12)


def planted(truth, rng, *, ks=KS, n_subsets=30, sd=0.05, trial_sd=0.0, n_trial_draws=100):
    """Noisy scores, and trial means (or None): the noise of trials is shared by neighbouring k."""
    scores = truth(ks)[:, None] + sd * np.sqrt(8 / (ks + 6))[:, None] * rng.normal(size=(len(ks), n_subsets))
    if not trial_sd:
        return scores, None
    shared = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(np.log2(ks), np.log2(ks))) / 3))
    scores = scores + trial_sd * shared @ rng.normal(size=(len(ks), 1))
    return scores, scores.mean(axis=1)[:, None] + trial_sd * shared @ rng.normal(size=(len(ks), n_trial_draws))


# --- planted curves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_curve_without_noise_is_found_again(family):
    truth, asymptote = TRUTH[family], ASYMPTOTE[family]
    fit = fit_curve(KS, np.repeat(truth(KS)[:, None], 4, axis=1))
    assert fit.family == family
    assert set(fit.parameters) == set(FAMILIES[family])
    assert fit.asymptote == pytest.approx(asymptote, abs=5e-4)
    for name, share in (("k50", 0.5), ("k90", 0.9), ("k95", 0.95)):
        expected = max(np.exp(k_at(truth, 0.5 + share * (asymptote - 0.5))), KS[0])
        assert getattr(fit, name) == pytest.approx(expected, rel=5e-3), name
    np.testing.assert_allclose(fit.predict(KS), truth(KS), atol=5e-4)
    np.testing.assert_allclose(family_curve(family, fit.parameters, [1, 500]), truth(np.array([1, 500])), atol=1e-3)


@pytest.mark.parametrize(("metric", "share"), [("auc", 2**-0.5), ("accuracy", 0.5), ("balanced_accuracy", 0.5)])
def test_each_metric_has_its_d_prime(metric, share):
    """Of two normal classes at distance d': AUC Phi(d'/sqrt 2), ideal observer right in Phi(d'/2) of the trials."""
    scores = np.array([NORMAL.cdf(np.sqrt(0.08 * k / (1 + 0.03 * k)) * share) for k in KS])
    fit = fit_curve(KS, scores[:, None], metric)
    assert fit.family == "information"
    assert fit.parameters["s"] == pytest.approx(0.08, rel=5e-3)
    assert fit.parameters["epsilon"] == pytest.approx(0.03, rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trial_sd", [0, 0.01])
def test_family_and_intervals_hold_in_repeats(family, trial_sd):
    """The right family is picked in a clear majority; 95 % intervals contain the truth about that often."""
    rng = np.random.default_rng(5)
    truth, asymptote = TRUTH[family], ASYMPTOTE[family]
    k95 = np.exp(k_at(truth, 0.5 + 0.95 * (asymptote - 0.5)))
    families, covered, near = Counter(), [], []
    for _ in range(30):
        scores, trial_means = planted(truth, rng, trial_sd=trial_sd)
        fit = fit_curve(KS, scores, trial_means=trial_means, n_bootstrap=100)
        families[fit.family] += 1
        covered.append((fit.asymptote_low <= asymptote <= fit.asymptote_high, fit.k95_low <= k95 <= fit.k95_high))
        near.append(abs(np.log2(fit.k95 / k95)))
    assert families[family] >= 24
    assert np.median(near) < 0.5
    assert np.all(np.mean(covered, axis=0) >= 0.8)  # 0.95 within four standard errors
    # and they are informative: a value far from the truth is outside
    assert not any(fit.asymptote_low <= value <= fit.asymptote_high for value in (0.5, 0.6, 0.7))


def test_weights_are_those_of_the_means():
    """Equal to least squares by scipy, with the variance of the means, on a curve of any shape."""
    rng = np.random.default_rng(2)
    scores = exponential(KS)[:, None] + np.geomspace(0.2, 0.05, 8)[:, None] * rng.normal(size=(8, 20))
    error = np.sqrt(scores.var(axis=1, ddof=1) / 20)
    expected, _ = optimize.curve_fit(
        lambda k, a, b, tau: a - b * np.exp(-k / tau), KS, scores.mean(axis=1), p0=(0.8, 0.3, 10), sigma=error
    )
    fit = fit_curve(KS, scores)
    assert fit.family == "exponential"
    np.testing.assert_allclose(list(fit.parameters.values()), expected, rtol=2e-3)


def test_held_out_error_is_that_of_refits():
    """The error of 1/sqrt(k), which is a straight line, by plain numpy without each k in turn."""
    rng = np.random.default_rng(3)
    scores = inverse_sqrt(KS)[:, None] + 0.05 * rng.normal(size=(8, 20))
    weights = 20 / scores.var(axis=1, ddof=1)
    errors = []
    for i in range(8):
        rest = (np.arange(8) != i) | (i == 0)  # the smallest k stays in
        line = np.polyfit(KS[rest] ** -0.5, scores.mean(axis=1)[rest], 1, w=np.sqrt(weights[rest]))
        errors.append(np.polyval(line, KS[i] ** -0.5) - scores.mean(axis=1)[i])
    expected = np.sqrt(np.average(np.square(errors), weights=weights))
    assert fit_curve(KS, scores).held_out["inverse_sqrt"] == pytest.approx(expected, rel=1e-6)


def test_a_tie_goes_to_the_simplest():
    fit = fit_curve(KS, np.full((8, 5), 0.8))
    assert max(fit.held_out["inverse_sqrt"], fit.held_out["exponential"]) < 1e-6
    assert fit.family == "inverse_sqrt"


# --- bootstrap --------------------------------------------------------------------------------------


def test_draws_are_seeded_one_by_one_and_resample_columns():
    rng = np.random.default_rng(4)
    scores, trial_means = planted(exponential, rng, trial_sd=0.02, n_trial_draws=30)
    few, many = (fit_curve(KS, scores, n_bootstrap=n, seed=3).draws for n in (10, 50))
    np.testing.assert_allclose(few, many[:, :10], rtol=1e-13)  # matrix products of other sizes round differently
    assert not np.array_equal(few, fit_curve(KS, scores, n_bootstrap=10, seed=4).draws)
    np.testing.assert_allclose(many.std(axis=1), scores.std(axis=1) / np.sqrt(30), rtol=0.35)
    # rows move together: a draw picks subsets, not single scores
    same = fit_curve(KS, np.repeat(scores[:1], 8, axis=0), n_bootstrap=20).draws
    np.testing.assert_allclose(same, np.repeat(same[:1], 8, axis=0))
    both = fit_curve(KS, scores, trial_means=trial_means, seed=3).draws
    expected = many[:, :30] + trial_means - scores.mean(axis=1)[:, None]
    np.testing.assert_allclose(both, expected)


def test_trials_make_intervals_wider():
    rng = np.random.default_rng(6)
    scores, trial_means = planted(exponential, rng, trial_sd=0.03)
    with_trials, without = fit_curve(KS, scores, trial_means=trial_means), fit_curve(KS, scores)
    for name in ("asymptote", "gain"):
        widths = [getattr(fit, f"{name}_high") - getattr(fit, f"{name}_low") for fit in (with_trials, without)]
        assert widths[0] > 2 * widths[1] > 0
    empty = fit_curve(KS, scores, trial_means=np.empty((8, 0)))
    np.testing.assert_array_equal(empty.draws, without.draws)


def test_intervals_are_percentiles_of_the_draws():
    rng = np.random.default_rng(7)
    fit = fit_curve(KS, planted(exponential, rng)[0])
    low, high = np.percentile(fit.draws, (2.5, 97.5), axis=1)
    np.testing.assert_allclose(fit.mean_low, low, atol=0.003)
    np.testing.assert_allclose(fit.mean_high, high, atol=0.003)
    at_half = fit.draws[-2]  # 128 is half of 256
    expected = np.percentile(fit.draws[-1] - at_half, (2.5, 97.5))
    assert (fit.gain_low, fit.gain_high) == pytest.approx(tuple(expected), abs=0.003)
    assert fit.gain == pytest.approx(fit.mean[-1] - fit.mean[-2])


def test_half_of_the_largest_k_lies_between_two_ks():
    fit = fit_curve([1, 2, 10, 30], [[0.5], [0.6], [0.7], [0.8]])
    at_15 = np.interp(np.log(15), np.log([10, 30]), [0.7, 0.8])
    assert fit.gain == pytest.approx(0.8 - at_15)
    assert np.isnan(fit_curve([20, 30], [[0.5], [0.6]]).gain)


# --- k* ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    means=st.lists(st.floats(0.3, 1), min_size=1, max_size=8),
    delta=st.floats(0, 0.3),
    ceiling=st.none() | st.floats(0.3, 1.2),
)
def test_k_star_is_that_of_the_curve(means, delta, ceiling):
    ks, scores = 2 ** np.arange(len(means)), np.array(means)[:, None]
    top = scores[-1].mean() if ceiling is None else ceiling
    expected = NDCCurve(ks, scores, np.empty((len(ks), 0)), top).k_star(delta)
    fit = fit_curve(ks, scores, ceiling=ceiling, delta=delta)
    assert fit.k_star == expected
    assert fit.k_star_censored == {-1: "right", 1: "left"}.get(expected, "")


def test_k_star_of_draws_is_measured_from_their_own_ceiling():
    rng = np.random.default_rng(8)
    fit = fit_curve(KS, planted(exponential, rng, sd=0.2)[0], delta=0.03)
    expected = [KS[np.flatnonzero(draw >= draw[-1] - 0.03)[0]] for draw in fit.draws.T]
    np.testing.assert_array_equal(fit.k_star_draws, expected)
    assert fit.k_star_low <= np.median(expected) <= fit.k_star_high
    assert {fit.k_star_low, fit.k_star_high} <= set(KS.astype(float))


def test_k_star_that_is_never_reached_has_an_open_interval():
    rng = np.random.default_rng(9)
    fit = fit_curve(KS, planted(exponential, rng)[0], ceiling=0.99)
    assert (fit.k_star, fit.k_star_high, fit.k_star_censored) == (-1, np.inf, "right")


def test_common_ceiling():
    means = np.array([[0.6, 0.7, 0.8], [0.7, 0.85, 0.95], [0.5, 0.6, 0.7]])
    ceilings = [0.8, 0.95, 0.82]
    assert common_ceiling_k_star([1, 4, 9], means, ceilings, delta=0.11).tolist() == [4, 1, 9]
    assert common_ceiling_k_star([1, 4, 9], means, ceilings, delta=0.05).tolist() == [9, 4, -1]
    draws = np.stack([means, means - 0.2], axis=2)
    both = np.stack([ceilings, ceilings], axis=1)
    assert common_ceiling_k_star([1, 4, 9], draws, both, delta=0.05).tolist() == [[9, -1], [4, 9], [-1, -1]]
    assert common_ceiling_k_star([], np.empty((2, 0)), [0.8, 0.9]).tolist() == [-1, -1]
    with pytest.raises(ValueError, match=r"\(sessions, 2\).*\(3, 3\)"):
        common_ceiling_k_star([1, 4], means, ceilings)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_common_ceiling_asks_for_no_more_than_the_own_ceiling(data):
    n_ks = data.draw(st.integers(1, 6))
    row = st.lists(st.floats(0.4, 1), min_size=n_ks, max_size=n_ks)
    means = np.array(data.draw(st.lists(row, min_size=1, max_size=5)))
    ks, delta = 2 ** np.arange(n_ks), 0.02
    common = common_ceiling_k_star(ks, means, means[:, -1], delta)
    own = [fit_curve(ks, mean[:, None], delta=delta).k_star for mean in means]
    assert np.all(common <= own)
    assert common[np.argmin(means[:, -1])] == own[np.argmin(means[:, -1])]


# --- k* between the ks ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_ks=st.integers(1, 8), n_columns=st.integers(1, 4))
def test_rising_is_scikit_learns_isotonic_regression(data, n_ks, n_columns):
    values = st.lists(st.floats(0.3, 1), min_size=n_ks, max_size=n_ks)
    means = np.array([data.draw(values) for _ in range(n_columns)]).T
    weights = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=n_ks, max_size=n_ks)))
    expected = np.column_stack([isotonic_regression(column, sample_weight=weights) for column in means.T])
    np.testing.assert_allclose(rising(means, weights), expected, atol=1e-12)


@pytest.mark.parametrize("k_true", [3.0, 8.0, 11.5, 77.0, 200.0])
def test_k_between_the_ks_is_that_of_a_straight_line_in_log_k(k_true):
    score = 0.55 + 0.04 * np.log2(KS)
    threshold = 0.55 + 0.04 * np.log2(k_true)
    assert k_reaching(KS, score[:, None], np.array([threshold])) == pytest.approx(k_true)
    fit = fit_curve(KS, score[:, None], delta=score[-1] - threshold)
    assert fit.k_star_continuous == pytest.approx(k_true)
    assert fit.k_star == KS[np.searchsorted(KS, k_true - 1e-9)]


@pytest.mark.parametrize("metric", ["auc", "accuracy"])
def test_half_of_the_information_of_independent_cells_needs_half_of_the_cells(metric):
    # d'^2 = k / 50; an AUC is Phi(d' / sqrt 2), an accuracy Phi(d' / 2)
    score = stats.norm.cdf(np.sqrt(KS / 50) / (np.sqrt(2) if metric == "auc" else 2))
    assert fit_curve(KS, score[:, None], metric).k_half == pytest.approx(128)
    # the first k is 64 and has a quarter of the information at 256: half is at 128; of 192 cells it is at 96
    assert fit_curve(KS[5:], score[5:, None], metric).k_half == pytest.approx(128)


def test_below_the_first_k_information_is_in_proportion_to_the_cells():
    scores = stats.norm.cdf(np.sqrt(KS / 50))
    # a threshold that 5 cells reach, on a curve that begins at 16
    assert k_reaching(KS[3:], scores[3:, None], stats.norm.cdf(np.sqrt([5 / 50]))) == pytest.approx(5)
    flat = np.full((3, 1), 0.9)
    assert k_halves(KS[3:6], flat) == pytest.approx(8)
    # the extension ends at a thirty-second of the first k, and a threshold at chance needs no cells at all
    assert k_reaching(KS[5:], scores[5:, None], np.array([0.5001])) == pytest.approx(2)
    assert np.isnan(k_reaching(KS, scores[:, None], np.array([0.5])))
    assert np.isinf(k_reaching(KS, scores[:, None], scores[-1:] + 0.001))


@pytest.mark.slow
def test_k_star_between_the_ks_covers_that_of_the_planted_curve():
    rng = np.random.default_rng(21)
    # of the curve at these ks: between them its true course is not known
    true = float(np.exp2(np.interp(exponential(256) - 0.02, exponential(KS), np.log2(KS))))
    assert abs(np.log2(true) - k_at(exponential, exponential(256) - 0.02) / np.log(2)) < 0.25
    fits = [fit_curve(KS, planted(exponential, rng)[0]) for _ in range(60)]
    assert sum(fit.k_star_continuous_low <= true <= fit.k_star_continuous_high for fit in fits) >= 50
    assert abs(np.mean([np.log2(fit.k_star_continuous / true) for fit in fits])) < 0.1


# --- verdicts ---------------------------------------------------------------------------------------


def test_verdicts_of_plain_cases():
    rng = np.random.default_rng(10)

    def noisy(mean, sd=0.02):
        return np.asarray(mean)[:, None] + sd * rng.normal(size=(len(mean), 30))

    verdicts = {
        "too few k": fit_curve(KS[:3], noisy(exponential(KS[:3]))),
        "at chance": fit_curve(KS, noisy(np.full(8, 0.49))),
        "decreasing": fit_curve(KS, noisy(np.linspace(0.8, 0.6, 8))),
        "not saturated": fit_curve(KS, noisy(0.55 + 0.001 * KS)),
        "saturated": fit_curve(KS, noisy(exponential(KS))),
        "uncertain": fit_curve(KS, noisy(information(KS), 0.2)),
    }
    assert {word: fit.verdict for word, fit in verdicts.items()} == {word: word for word in VERDICTS}
    for word, fit in verdicts.items():
        assert fit.explain().startswith(f"{word}: ")
        assert "nan" not in fit.explain()
    assert "the largest k is 256" in verdicts["not saturated"].explain()
    assert "or more" in verdicts["too few k"].explain()


def test_explanation_in_full():
    fit = fit_curve(KS, exponential(KS)[:, None])
    assert fit.explain() == (
        "uncertain: the fit reaches 95 % of the way from chance to its asymptote 0.90 at k = 61, the largest k is 256"
    )
    rng = np.random.default_rng(11)
    fit = fit_curve(KS[:5], exponential(KS[:5] / 4)[:, None] + 0.001 * rng.normal(size=(5, 30)))
    assert fit.verdict == "not saturated"
    assert f"at k = {fit.k95:.0f} (95 % interval {fit.k95_low:.0f} to " in fit.explain()
    flat = fit_curve(KS, np.full((8, 5), 0.8) + 0.001 * rng.normal(size=(8, 5)))
    assert "at k = 2 or fewer (95 % interval 2 to 2)" in flat.explain()
    step = fit_curve(KS, (0.5 + 0.4 * (KS > 20))[:, None] + 0.01 * rng.normal(size=(8, 30)))
    assert "no family describes the curve" in step.explain()
    assert step.verdict == "uncertain"


def test_chance_is_left_as_often_as_it_should():
    """Curves of pure noise whose p against shuffles are uniform, and related over k."""
    rng = np.random.default_rng(12)
    found = []
    for _ in range(200):
        z = np.cumsum(rng.normal(size=8)) / np.sqrt(np.arange(1, 9))
        fit = fit_curve(KS, 0.5 + 0.03 * z[:, None], p_values=stats.norm.sf(z))
        found.append(fit.verdict != "at chance")
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("n", [3, 6, 7, 12])
def test_the_least_p_of_19_shuffles_is_not_at_chance(n):
    """All ks beat all 19 shuffles: Simes' p is 1/20 exactly, as whole numbers say."""
    assert n * Fraction(1, 20) / n == Fraction(5, 100)
    ks = 2 ** np.arange(n)
    scores = 0.97 - 0.4 / ks[:, None] + 0.01 * np.random.default_rng(3).normal(size=(n, 30))
    fit = fit_curve(ks, scores, p_values=np.full(n, 1 / 20))
    assert fit.verdict != "at chance"
    assert fit.chance_p == 0.05


def test_q_is_at_most_a_twentieth_where_whole_numbers_say_so():
    """n tests of which r have p = m / S1 and the others 1: q is m n / (S1 r), which rounding must not make more."""
    for s1, n, r in product((20, 60, 100, 240, 441, 1000), range(1, 60), range(1, 60)):
        m, rest = divmod(s1 * r, 20 * n)
        if r <= n and m and not rest:
            q = benjamini_hochberg([m / s1] * r + [1.0] * (n - r))[0]
            assert q <= 0.05 and significant(q) and q == pytest.approx(0.05, rel=1e-12)
    beyond = np.nextafter(0.05, 1) + 1e-6
    assert not significant(beyond) and benjamini_hochberg([beyond])[0] == beyond
    assert significant(np.array([0.05, 3 * 0.05 / 3, 0.06, np.nan])).tolist() == [True, True, False, False]


def test_p_values_decide_about_chance_where_there_are_some():
    rng = np.random.default_rng(13)
    scores = exponential(KS)[:, None] + 0.02 * rng.normal(size=(8, 30))
    fit = fit_curve(KS, scores, p_values=np.full(8, 0.3))
    assert fit.verdict == "at chance"
    assert fit.family == "" and np.isnan(fit.k95) and np.isnan(fit.asymptote)
    assert fit.chance_p == pytest.approx(0.3)
    assert fit.k_star == 64  # still returned
    assert fit_curve(KS, scores, p_values=np.full(8, np.nan)).verdict == "saturated"


# --- bad data -----------------------------------------------------------------------

# --- one p for a curve ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("decline", [0.0, 0.5])
def test_simes_over_k_keeps_its_size_and_finds_what_the_largest_k_misses(decline):
    """One p per curve: Simes over all k loses some power where the largest k is the best, and gains where it is not."""
    rng = np.random.default_rng(31)
    n, n_null, n_ks = 400, 99, 6
    shared = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(np.arange(n_ks), np.arange(n_ks))))
    scores = rng.normal(size=(n, n_ks, n_null + 1))
    scores = np.einsum("ij,njs->nis", shared, scores)
    signal = 2.2 * np.array([0.4, 0.7, 1, 1, 1 - decline / 2, 1 - decline])
    found = {}
    for name, effect in (("none", 0 * signal), ("signal", signal)):
        real = scores[:, :, :1] + effect[:, None]
        p = (1 + (scores[:, :, 1:] >= real).sum(axis=2)) / (1 + n_null)
        simes = [
            fit_curve(KS[:n_ks], 0.6 * np.ones((n_ks, 1)), p_values=one, n_bootstrap=0).chance_p for one in p[:200]
        ]
        found[name] = np.mean(np.array(simes) <= 0.05), np.mean(p[:200, -1] <= 0.05)
    assert found["none"][0] <= 0.08
    if decline:
        assert found["signal"][0] > found["signal"][1] + 0.15
    else:
        assert found["signal"][0] > found["signal"][1] - 0.2


@pytest.mark.parametrize("n_ks", [1, 2, 3])
def test_too_few_ks_give_k_star_but_no_fit(n_ks):
    fit = fit_curve(KS[:n_ks], exponential(KS[:n_ks])[:, None] + np.array([-0.01, 0.01]))
    assert fit.verdict == "too few k"
    assert fit.k_star == KS[n_ks - 1]
    assert fit.family == "" and np.isnan(fit.asymptote)
    assert [part.size for part in fit.line()] == [0, 0]
    assert np.isnan(fit.predict([1, 2])).all()


def test_scores_of_one_are_fitted():
    fit = fit_curve(KS, np.ones((8, 5)))
    assert (fit.asymptote, fit.k95, fit.verdict) == (1, 2, "saturated")
    rising = np.array([0.7, 0.8, 0.9, 0.97, 0.999, 1, 1, 1])
    fit = fit_curve(KS, rising[:, None] + np.array([-0.0001, 0, 0]))
    assert 0.99 < fit.asymptote <= 1
    assert fit.verdict == "saturated"


def test_missing_scores_are_left_out():
    rng = np.random.default_rng(14)
    scores, _ = planted(exponential, rng)
    holes = scores.copy()
    holes[3] = np.nan
    holes[0, 5:8] = np.nan
    fit = fit_curve(KS, holes, p_values=np.full(8, 0.01))
    np.testing.assert_array_equal(fit.ks, np.delete(KS, 3))
    np.testing.assert_allclose(
        fit.mean, np.delete(np.nanmean(np.where(np.arange(8)[:, None] == 3, 0, holes), axis=1), 3)
    )
    assert fit.k95 == pytest.approx(fit_curve(KS, scores).k95, rel=0.1)
    _, trial_means = planted(exponential, rng, trial_sd=0.01)
    trial_means[2, 7] = np.nan
    fit = fit_curve(KS, scores, trial_means=trial_means)
    assert np.isfinite([fit.k95_low, fit.asymptote_high, fit.k_star_high]).all()
    assert np.flatnonzero(np.isnan(fit.k_star_draws)).tolist() == [7]


def test_without_subsets_or_draws_there_is_no_interval():
    one = fit_curve(KS, exponential(KS)[:, None])
    none = fit_curve(KS, exponential(KS)[:, None] + np.array([-0.01, 0.01]), n_bootstrap=0)
    for fit in (one, none):
        assert fit.draws.shape == (8, 0)
        assert fit.k95 == pytest.approx(61, rel=0.02)
        assert np.isnan([fit.k95_low, fit.k95_high, fit.k_star_low, fit.gain_high, *fit.mean_low]).all()
        assert fit.verdict == "uncertain"


def test_beyond_has_no_number():
    """A fit is not trusted beyond MAX_EXTRAPOLATION times the largest k."""
    rng = np.random.default_rng(15)
    slow = 0.9 - 0.4 / np.sqrt(KS[:6] / 2)
    fit = fit_curve(KS[:6], slow[:, None] + 0.002 * rng.normal(size=(6, 30)))
    assert fit.k95 == np.inf and fit.k95_high == np.inf
    assert fit.k50 < MAX_EXTRAPOLATION * 64
    assert "at no k up to 640" in fit.explain()
    assert fit.verdict == "not saturated"


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_scores_give_ordered_answers(data):
    """For any scores: no warning, no decrease, asymptote within 0..1, intervals that contain it, a known verdict."""
    n_ks = data.draw(st.integers(1, 7))
    score = st.floats(0, 1) | st.just(np.nan)
    scores = np.array(data.draw(st.lists(st.lists(score, min_size=3, max_size=3), min_size=n_ks, max_size=n_ks)))
    if not np.isfinite(scores).any():
        scores[0, 0] = 0.5
    metric = data.draw(st.sampled_from(["auc", "accuracy"]))
    fit = fit_curve(np.cumsum(np.arange(1, n_ks + 1)), scores, metric, n_bootstrap=20)
    assert fit.verdict in VERDICTS
    assert "nan" not in fit.explain()
    assert np.all(fit.mean_low <= fit.mean_high)
    k, line = fit.line()
    if fit.family:
        assert 0 <= fit.asymptote <= 1
        assert np.all(np.diff(line) >= -1e-12)
        assert line[-1] <= fit.asymptote + 1e-9
        assert k[-1] == pytest.approx(2 * fit.ks[-1])
        if np.isfinite(fit.k50):
            assert fit.ks[0] <= fit.k50 <= fit.k90 <= fit.k95
            # at k95 the fit is 95 % of the way to its asymptote
            if fit.ks[0] < fit.k95 < np.inf:
                assert fit.predict(fit.k95) == pytest.approx(0.5 + 0.95 * (fit.asymptote - 0.5), abs=1e-6)
    again = fit_curve(np.cumsum(np.arange(1, n_ks + 1)), scores, metric, n_bootstrap=20)
    np.testing.assert_array_equal(again.draws, fit.draws)
    assert again.explain() == fit.explain()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_curve([1, 2], np.ones((3, 2))), r"\(K, subsets\).*\(2,\).*\(3, 2\)"),
        (lambda: fit_curve([2, 2], np.ones((2, 2))), r"must increase.*\[2, 2\]"),
        (lambda: fit_curve([0, 2], np.ones((2, 2))), "from 1"),
        (lambda: fit_curve([1, 2], np.full((2, 2), np.nan)), "no score is finite"),
        (lambda: fit_curve([1, 2], np.ones((2, 2)), "f1"), "auc.*'f1'"),
        (lambda: fit_curve([1, 2], np.ones((2, 2)), trial_means=np.ones((3, 4))), r"K = 2.*\(3, 4\)"),
        (lambda: family_curve("line", {}, 1), "'line'"),
        (lambda: family_curve("exponential", {"a": 1}, 1), "'tau'.*'a'"),
        (lambda: benjamini_hochberg([0.1, 1.2]), "1.2"),
        (lambda: log_k_slope([1, 2], [3]), "one value per session"),
        (lambda: log_k_slope([1, 2], [3, 4], censored=["", "up"]), "'up'"),
    ],
)
def test_messages(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- slope over days --------------------------------------------------------------------------------


def test_slope_is_that_of_scipy():
    rng = np.random.default_rng(16)
    days, k_stars = np.array([0, 1, 3, 4, 9, 12]), 2 ** rng.normal(5, 1, size=6)
    expected = stats.linregress(days, np.log2(k_stars))
    found = log_k_slope(days, k_stars)
    width = stats.t.ppf(0.975, 4) * expected.stderr
    assert (found.slope, found.p) == pytest.approx((expected.slope, expected.pvalue))
    assert (found.low, found.high) == pytest.approx((expected.slope - width, expected.slope + width))
    assert (found.n_sessions, found.n_censored) == (6, 0)
    line, low, high = found.line([0, 20])
    assert np.log2(line) == pytest.approx(expected.intercept + expected.slope * np.array([0, 20]))
    # the textbook interval of a regression line
    scatter = np.sqrt(np.sum((np.log2(k_stars) - expected.intercept - expected.slope * days) ** 2) / 4)
    half = stats.t.ppf(0.975, 4) * scatter * np.sqrt(1 / 6 + (np.array([0, 20]) - days.mean()) ** 2 / np.var(days) / 6)
    np.testing.assert_allclose(np.log2(high / line), half)
    np.testing.assert_allclose(np.log2(line / low), half)


def test_sessions_without_k_star_are_left_out():
    expected = log_k_slope([0, 2, 4, 9], [64, 32, 40, 8])
    found = log_k_slope([0, 1, 2, 4, 9, 10], [64, -1, 32, 40, 8, np.nan], draws=None)
    assert found == expected


@pytest.mark.parametrize(
    ("days", "k_stars", "n", "slope"),
    [([], [], 0, np.nan), ([3], [8], 1, np.nan), ([3, 3, 3], [8, 4, 2], 3, np.nan), ([0, 2], [16, 4], 2, -1)],
)
def test_too_few_sessions_have_no_interval(days, k_stars, n, slope):
    found = log_k_slope(days, k_stars)
    assert found.slope == pytest.approx(slope, nan_ok=True)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.n_sessions == n


def test_points_on_a_line_have_an_interval_only_by_draws():
    days, k_stars = [0, 1, 2, 3], [64, 32, 16, 8]
    assert np.isnan(log_k_slope(days, k_stars).low)
    rng = np.random.default_rng(17)
    noise = 2 ** rng.normal(0, 0.3, size=(4, 20_000))
    found = log_k_slope(days, k_stars, draws=np.array(k_stars)[:, None] * noise)
    # the error of a slope whose points have an error of 0.3 each
    half = stats.t.ppf(0.975, 2) * 0.3 / np.sqrt(np.sum((np.arange(4) - 1.5) ** 2))
    assert (found.slope, found.high + 1, -1 - found.low) == pytest.approx((-1, half, half), rel=0.02)
    assert 0 < found.p < 0.05


def test_draws_only_widen():
    rng = np.random.default_rng(18)
    days, k_stars = np.arange(6), 2 ** rng.normal(5, 0.5, size=6)
    plain = log_k_slope(days, k_stars)
    little, much = (
        log_k_slope(days, k_stars, draws=k_stars[:, None] * 2 ** rng.normal(0, sd, size=(6, 500))) for sd in (0.01, 2)
    )
    assert little == plain
    assert much.low < plain.low < plain.high < much.high
    assert much.p > plain.p
    bad = np.full((6, 4), np.nan)
    bad[:, 0] = -1
    assert log_k_slope(days, k_stars, draws=bad) == plain


def test_censored_slope_without_censoring_is_least_squares():
    """A bound so far away that it is uninformative changes only the count: the calibration agrees with Student's t."""
    days, k_stars = np.array([0.0, 1, 2, 5, 9]), 2 ** np.array([6, 5.5, 5.7, 4, 3.1])
    plain = log_k_slope(days, k_stars)
    far = log_k_slope([*days, 3], [*k_stars, 2.0**40], censored=[""] * 5 + ["left"])
    assert (far.slope, far.low, far.high, far.p) == pytest.approx(
        (plain.slope, plain.low, plain.high, plain.p), rel=1e-4
    )
    assert (far.n_sessions, far.n_censored) == (6, 1)


def test_censored_slope_is_the_greatest_likelihood():
    days = np.array([0.0, 1, 2, 3, 5, 7, 9])
    logs = np.array([6.2, 6.5, 5.1, 4.4, 4.9, 3.0, 3.0])
    sides = ["", "", "", "", "", "left", "left"]
    found = log_k_slope(days, 2**logs, censored=sides)

    def loss(parameters):
        a, b, log_sd = parameters
        sd = np.exp(log_sd)
        known = stats.norm.logpdf(logs[:5], a + b * days[:5], sd).sum()
        return -known - stats.norm.logcdf(logs[5:], a + b * days[5:], sd).sum()

    best = optimize.minimize(loss, [6, -0.3, 0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    assert found.slope == pytest.approx(best.x[1], abs=1e-4)
    assert np.log2(found.line(0)[0]) == pytest.approx(best.x[0], abs=1e-3)
    assert found.low < found.slope < found.high
    # mirrored log k*, and "more" for "fewer", give the same slope with the other sign
    turned = log_k_slope(days, 2.0 ** (10 - logs), censored=["right" if side else "" for side in sides])
    assert (turned.slope, turned.low, turned.high) == pytest.approx((-found.slope, -found.high, -found.low), rel=1e-4)


@pytest.mark.slow
def test_censored_slope_covers_where_least_squares_does_not():
    rng = np.random.default_rng(19)
    days = np.arange(12.0)
    covered, plain = [], []
    for _ in range(60):
        logs = 5 - 0.3 * (days - 5.5) + 0.8 * rng.normal(size=12)
        sides = np.where(logs < 4.2, "left", "")
        k_stars = 2 ** np.maximum(logs, 4.2)
        found, naive = log_k_slope(days, k_stars, censored=sides), log_k_slope(days, k_stars)
        covered.append(found.low <= -0.3 <= found.high)
        plain.append(naive.low <= -0.3 <= naive.high)
    assert np.mean(covered) >= 0.88
    assert np.mean(plain) < np.mean(covered)


def test_nearly_all_censored_has_no_interval():
    found = log_k_slope([0, 1, 2, 3], [64, 32, 8, 8], censored=["", "", "left", "left"])
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.n_censored == 2


# --- many tests -------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_is_that_of_scipy(p):
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)


def test_q_keeps_places_shape_and_nan():
    p = np.array([[0.01, np.nan], [0.02, 0.5]])
    expected = stats.false_discovery_control([0.01, 0.02, 0.5])
    np.testing.assert_allclose(benjamini_hochberg(p), [[expected[0], np.nan], expected[1:]])
    assert benjamini_hochberg([]).shape == (0,)
    assert np.isnan(benjamini_hochberg([np.nan])).all()

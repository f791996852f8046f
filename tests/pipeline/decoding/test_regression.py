"""Numbers decoded by ridge regression: scikit-learn's predictions and folds, R^2 and Spearman's correlation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from pipeline.decoding import cv_score, fit_curve, neuron_dropping_curve, penalty_scores, sensitivity_trend
from pipeline.decoding import regression as scored
from pipeline.decoding.fits.families import _weights, d_squared, family_curve
from pipeline.decoding.fits.uncertainty import RULES, SAME_DECODERS, _freedom, score_interval, score_variance
from pipeline.decoding.folds import Validation, fold_masks
from pipeline.decoding.nulls import shuffled_labels
from pipeline.decoding.ridge import RidgePopulation, RidgeSubset, predictions
from pipeline.errors import ArgumentError


def planted(n: int = 90, N: int = 40, seed: int = 0, gain: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Return activity of cells that code a number linearly, and the number."""
    rng = np.random.default_rng(seed)
    y = 5 + 3 * rng.normal(size=n)
    X = rng.normal(size=(n, N)) + gain * (y[:, None] - 5) / 3 * rng.choice([-1, 1], size=N)
    return 4 + 2 * X, y


def by_sklearn(X, y, alpha, folds, scaling=True) -> tuple[float, float]:
    """Return R^2 of all folds together about the training means, and the mean of Spearman's correlations."""
    error, spread, ranks = 0.0, 0.0, []
    for train, test in folds:
        scaler = StandardScaler(with_std=scaling).fit(X[train])
        found = Ridge(alpha=alpha, solver="svd").fit(scaler.transform(X[train]), y[train])
        guess = found.predict(scaler.transform(X[test]))
        error += np.sum((y[test] - guess) ** 2)
        spread += np.sum((y[test] - y[train].mean()) ** 2)
        ranks.append(spearmanr(guess, y[test]).statistic)
    return float(1 - error / spread), float(np.mean(ranks))


@pytest.mark.parametrize(("n", "k"), [(60, 8), (60, 90), (61, 48)], ids=["few cells", "many cells", "as many"])
@pytest.mark.parametrize("scaling", [True, False])
@pytest.mark.parametrize("penalty", ["fixed", "scaled"])
def test_scores_are_those_of_scikit_learn(n, k, scaling, penalty):
    X, y = planted(n, k, seed=n + k)
    folds = list(KFold(5, shuffle=True, random_state=3).split(X))
    c = 0.3
    # the one c of 'scaled' is divided by the summed variance of the cells on the training trials, k if standardised
    alpha = 1 / c if penalty == "fixed" else k / c
    if penalty == "scaled" and not scaling:
        found = [by_sklearn(X, y, X[train].var(axis=0).sum() / c, [(train, test)], scaling)[1] for train, test in folds]
        expected = {"spearman": np.mean(found)}
    else:
        expected = dict(zip(("r2", "spearman"), by_sklearn(X, y, alpha, folds, scaling), strict=True))
    for metric, value in expected.items():
        score = cv_score(X, y, seed=3, metric=metric, C=c, scaling=scaling, penalty=penalty)
        assert score == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("scaling", [True, False])
def test_many_rows_together_are_the_regressions_one_by_one(scaling):
    X, _ = planted(50, 70)
    rng = np.random.default_rng(1)
    X[:, 3] = 7.0  # a silent cell
    labels = rng.normal(size=(6, 50))
    weights = np.where(rng.random((6, 50)) < 0.8, 0.7, 0.0)
    weights[2:4] = weights[0] * [[1], [3]]  # the same trials with another C, and below copies of trials
    weights[5] *= rng.integers(1, 4, size=50)
    order = rng.permutation(70)
    subset = RidgeSubset(RidgePopulation(X, scaling=scaling), order)
    ks, c = [60, 5, 5, 39], [1.0, 1.0, 10.0, 2.0]
    times = rng.integers(1, 4, size=(4, 6))
    multiplied = subset.decide(weights, labels, ks, c, None, times)
    for i, unit in enumerate(c):
        each = weights * times[i][:, None]
        np.testing.assert_allclose(multiplied[i], subset.decide(each, labels, ks[i : i + 1], [unit])[0], atol=1e-8)
    for row in range(6):
        found = subset.decide(weights, labels, ks)
        again = subset.decide(weights[row : row + 1], labels[row : row + 1], ks)
        scaled = subset.decide(weights, labels, ks, c)
        train = weights[row] > 0
        for k, one, alone, strong, unit in zip(ks, found, again, scaled, c, strict=True):
            np.testing.assert_array_equal(one[row], alone[0])  # whatever is solved together
            first = X[:, order[:k]]
            expected = predictions(first, labels[row], weights[row], scaling=scaling)
            np.testing.assert_allclose(one[row], expected, atol=1e-8)
            scaler = StandardScaler(with_std=scaling).fit(first[train])
            ridge = Ridge(alpha=1.0, solver="svd").fit(
                scaler.transform(first[train]), labels[row][train], sample_weight=weights[row][train]
            )
            np.testing.assert_allclose(one[row], ridge.predict(scaler.transform(first)), atol=1e-8)
            total = k if scaling else first[train].var(axis=0).sum()
            expected = predictions(first, labels[row], weights[row] * unit / total, scaling=scaling)
            np.testing.assert_allclose(strong[row], expected, atol=1e-8)


def test_curves_are_scores_of_subsets():
    X, y = planted(N=60)
    y[[4, 30]] = np.nan
    used = ~np.isnan(y)
    for metric in ("r2", "spearman"):
        curve = neuron_dropping_curve(X, y, ks=[7, 60], R=3, metric=metric, n_label_shuffles=4, null_subsets=2)
        order_seed, fold_seed = np.random.SeedSequence([0, 1]).spawn(2)
        order = np.random.default_rng(order_seed).permutation(60)
        folds = int(fold_seed.generate_state(1)[0])
        for row, k in enumerate((7, 60)):
            cells = X[used][:, order[:k]]
            one = cv_score(cells, y[used], seed=folds, metric=metric, penalty="scaled")
            assert curve.scores[row, 1] == pytest.approx(one, abs=1e-9)
        null = shuffled_labels(y, "permute", 4, 0, numbers=True)[1]
        assert (np.isnan(null) == np.isnan(y)).all()
        again = neuron_dropping_curve(X, y, ks=[60], R=2, metric=metric, null=null, n_label_shuffles=4, null_subsets=2)
        np.testing.assert_array_equal(again.null_scores[0], curve.null_scores[1])
        more = neuron_dropping_curve(X, y, ks=[7, 20, 60], R=4, metric=metric, n_label_shuffles=9, null_subsets=2,
                                     known=curve, n_jobs=2)  # fmt: skip
        np.testing.assert_array_equal(more.scores[::2, :3], curve.scores)
        np.testing.assert_array_equal(more.null_scores[::2, :4], curve.null_scores)
        assert curve.mean[1] > curve.null_scores[1].max()


def test_a_number_that_cells_code_is_predicted_as_well_as_theory_says():
    """Of independent cells with gain g and noise 1, R^2 is k g^2 / (1 + k g^2) with unlimited trials."""
    X, y = planted(n=3000, N=24, gain=0.25)
    curve = neuron_dropping_curve(X, y, ks=[4, 24], R=20, metric="r2", n_label_shuffles=19)
    for k, mean in zip(curve.ks, curve.mean, strict=True):
        assert mean == pytest.approx(k * 0.25**2 / (1 + k * 0.25**2), abs=0.03)
    assert curve.p_values()[-1] == 1 / 20
    noise = neuron_dropping_curve(X, np.random.default_rng(3).permutation(y), ks=[24], metric="r2", R=5)
    assert -0.02 < noise.mean[0] < 0.01 and noise.p_values()[0] > 0.05


def test_without_information_scores_are_zero_or_below_and_the_mean_scores_zero():
    rng = np.random.default_rng(0)
    X, y = np.zeros((40, 3)), rng.exponential(size=40)
    assert cv_score(X, y, metric="r2") == pytest.approx(0, abs=1e-8)
    assert cv_score(X, y, metric="spearman") == 0.0  # all predictions of a fold are equal: no order
    found = [cv_score(rng.normal(size=(40, 10)), y, metric="spearman", seed=i) for i in range(200)]
    error = np.std(found) / np.sqrt(200)
    assert abs(np.mean(found)) < 3.5 * error  # pooled over folds it would be below 0
    assert np.mean([cv_score(rng.normal(size=(40, 10)), y, metric="r2", seed=i) for i in range(50)]) < -0.05


@pytest.mark.parametrize("metric", ["r2", "spearman"])
def test_influences_are_those_of_single_trials(metric):
    rng = np.random.default_rng(2)
    y = rng.normal(size=60).round(1)  # with ties
    train, test = fold_masks(y, 0, Validation(metric=metric))
    z = np.where(test, 0.7 * y + rng.normal(size=60), 0.0)
    tested = scored.Tested.of(np.repeat(y[None], 5, axis=0), train, test)
    found = scored.influences(z, tested, metric)
    if metric == "r2":
        # the derivative of the score in the weight of a trial
        step, whole = 1e-6, scored.bootstrap_means(z, tested, "r2", np.ones((1, 60)))[0]
        more = scored.bootstrap_means(z, tested, "r2", 1 + step * np.eye(60))
        np.testing.assert_allclose(found, (more - whole) / step * np.sqrt(60 / 59), rtol=1e-3, atol=1e-8)
    else:
        for fold in range(5):
            trials = np.flatnonzero(test[fold])
            without = [np.delete(trials, i) for i in range(len(trials))]
            left_out = np.array([spearmanr(z[fold, rest], y[rest]).statistic for rest in without])
            jackknife = (len(trials) - 1) / len(trials) * np.sum((left_out - left_out.mean()) ** 2)
            assert np.sum(found[trials] ** 2) == pytest.approx(jackknife / 25)
    # about the variance that drawing the test trials again gives
    times = np.array([np.bincount(rng.integers(60, size=60), minlength=60) for _ in range(2000)], dtype=float)
    drawn = scored.bootstrap_means(z, tested, metric, times)
    assert np.sum(found**2) == pytest.approx(drawn.var(), rel=0.3)


@pytest.mark.parametrize("metric", ["r2", "spearman"])
def test_bootstrap_samples_are_scored_with_their_copies(metric):
    rng = np.random.default_rng(5)
    y = rng.normal(size=30).round(1)
    train, test = fold_masks(y, 0, Validation(3, metric))
    z = y + rng.normal(size=(3, 30)).round(1)
    tested = scored.Tested.of(np.repeat(y[None], 3, axis=0), train, test)
    times = np.array([np.bincount(rng.integers(30, size=30), minlength=30) for _ in range(5)], dtype=float)
    found = scored.bootstrap_means(z, tested, metric, times)
    for one, counts in zip(found, times, strict=True):
        copies = [np.repeat(np.flatnonzero(mask), counts[mask].astype(int)) for mask in test]
        if metric == "spearman":
            expected = np.mean([spearmanr(z[i, at], y[at]).statistic for i, at in enumerate(copies)])
        else:
            error = sum(np.sum((y[at] - z[i, at]) ** 2) for i, at in enumerate(copies))
            expected = 1 - error / sum(np.sum((y[at] - y[train[i]].mean()) ** 2) for i, at in enumerate(copies))
        assert one == pytest.approx(expected)
    whole = scored.bootstrap_means(z, tested, metric, np.ones((1, 30)))[0]
    assert scored.score(z, tested, metric) == pytest.approx(whole)


def test_folds_are_random_or_blocked_and_keep_their_gap():
    y = np.random.default_rng(0).normal(size=43)
    y[10:20] = np.nan
    used = np.flatnonzero(~np.isnan(y))
    _, test = fold_masks(y, 7, Validation(4, "r2"))
    for mask, (_, expected) in zip(test, KFold(4, shuffle=True, random_state=7).split(used), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(mask), used[expected])
    train, test = fold_masks(y, 7, Validation(4, "r2", fold_mode="blocked", fold_gap=2))
    assert all((np.diff(used[mask[used]]) >= 1).all() for mask in test)
    for one, mask in zip(train, test, strict=True):
        first, last = np.flatnonzero(mask)[[0, -1]]
        assert not one[max(first - 2, 0) : last + 3].any()


def test_shifts_of_numbers_keep_their_order():
    y = np.arange(40, dtype=float) - 10  # negative numbers are numbers
    y[5] = np.nan
    real, null = shuffled_labels(y, "linear_shift", 6, 0, numbers=True)
    assert np.isfinite(real).sum() == 39 - 2 * 9 and set(real[np.isfinite(real)]) <= set(y)
    for row in null:
        np.testing.assert_array_equal(np.isnan(row), np.isnan(real))
        assert all(b > a for a, b in pairwise(row[np.isfinite(row)]))
    _, null = shuffled_labels(y, "circular", 3, 0, numbers=True)
    assert all(sorted(row[np.isfinite(row)]) == sorted(y[np.isfinite(y)]) for row in null)


def test_the_penalty_is_chosen_as_of_classes():
    """Directions of little noise carry the number, far below the strong modes: a weak penalty finds it."""
    rng = np.random.default_rng(4)
    modes, y = rng.normal(size=(120, 6)) * 3, rng.normal(size=120)
    X = modes @ rng.normal(size=(6, 30)) + 0.3 * y[:, None] * rng.normal(size=30) + 0.1 * rng.normal(size=(120, 30))
    words = {"ks": [30], "metric": "r2"}
    scores = penalty_scores(X, y, **words)
    assert scores.shape == (3,) and scores[2] > scores[0] + 0.1
    curve = neuron_dropping_curve(X, y, **words, R=3, n_label_shuffles=0, penalty="auto")
    assert curve.c == 30 and curve.mean[0] > curve.score_c1
    wide = neuron_dropping_curve(X, y, **words, R=3, n_label_shuffles=0, penalty="auto", c_range="wide")
    assert wide.c == 100
    grid = neuron_dropping_curve(X, y, **words, R=3, n_label_shuffles=0, c_grid=[0.01, 100])
    assert grid.mean[0] == pytest.approx(wide.mean[0], abs=1e-9)
    # the inner scores by hand: every pair of folds left out, and scored on both
    order_seed, fold_seed = np.random.SeedSequence([0, 0]).spawn(2)
    order, folds = np.random.default_rng(order_seed).permutation(30), int(fold_seed.generate_state(1)[0])
    _, test = fold_masks(y, folds, Validation(5, "r2"))
    error, spread = 0.0, 0.0
    for i in range(5):
        for j in range(i + 1, 5):
            inside = ~(test[i] | test[j])
            guess = predictions(X[:, order], y, inside / 30.0)
            for mask in (test[i], test[j]):
                error += np.sum((y[mask] - guess[mask]) ** 2)
                spread += np.sum((y[mask] - y[inside].mean()) ** 2)
    one_k = penalty_scores(X[:, order], y, ks=[7], metric="r2")
    assert one_k.shape == (3,)
    assert 1 - error / spread == pytest.approx(_inner_at(X, y, 30), abs=1e-9)


def _inner_at(X: np.ndarray, y: np.ndarray, k: int) -> float:
    from pipeline.decoding.penalty import inner_scores

    order_seed, fold_seed = np.random.SeedSequence([0, 0]).spawn(2)
    order, folds = np.random.default_rng(order_seed).permutation(X.shape[1]), int(fold_seed.generate_state(1)[0])
    subset = RidgeSubset(RidgePopulation(X), order)
    return float(inner_scores(subset.decide, y[None], [k], folds, Validation(5, "r2", penalty="auto"))[0, 0])


def test_intervals_may_train_decoders_again_or_leave_them():
    X, y = planted(n=80, N=20)
    words = {"ks": [5, 20], "R": 4, "n_label_shuffles": 0}
    for metric in ("r2", "spearman"):
        plain = neuron_dropping_curve(X, y, metric=metric, **words)
        again = neuron_dropping_curve(X, y, metric=metric, **words, intervals="retrained", n_bootstrap=40)
        ratio = (again.influences**2).sum(axis=1) / (plain.influences**2).sum(axis=1)
        assert ((ratio > 0.05) & (ratio < 3)).all()
        fixed = neuron_dropping_curve(X, y, metric=metric, **words, intervals="test_trials", n_bootstrap=40)
        assert fixed.trial_means.shape == (2, 40) and not fixed.influences.size
        assert np.abs(fixed.trial_means.mean(axis=1) - fixed.mean).max() < 0.05


def test_a_curve_over_trials_has_numbers_of_trials():
    X, y = planted(n=100, N=10)
    curve = neuron_dropping_curve(X, y, ks=[20, 50, 100], R=6, metric="spearman", n_label_shuffles=3,
                                  curve_axis="trials")  # fmt: skip
    assert (
        curve.ks.tolist() == [20, 50, 100] and np.isfinite(curve.scores).all() and np.isfinite(curve.null_scores).all()
    )


def test_scores_of_independent_cells_are_of_the_family_information():
    """R^2 / (1 - R^2) of independent cells is in proportion to k; half of it is reached with half of the cells."""
    ks = np.array([4, 8, 16, 32, 64])
    r2 = 0.02 * ks / (1 + 0.02 * ks)
    rank = 6 / np.pi * np.arcsin(np.sqrt(r2) / 2)
    for metric, mean in (("r2", r2), ("spearman", rank)):
        np.testing.assert_allclose(d_squared(mean, metric), 0.02 * ks)
        np.testing.assert_allclose(family_curve("information", {"s": 0.02, "epsilon": 0}, ks, metric=metric), mean)
        rng = np.random.default_rng(0)
        fit = fit_curve(ks, mean[:, None] + 0.002 * rng.normal(size=(5, 40)), metric, delta=0.02)
        assert fit.chance == 0 and fit.k_half == pytest.approx(32, rel=0.05) and fit.verdict == "not saturated"
        assert fit.family == "information" and fit.parameters["s"] == pytest.approx(0.02, rel=0.05)
    negative = fit_curve(ks, np.full((5, 1), -0.1) + 0.01 * rng.normal(size=(5, 10)), "r2")
    assert negative.verdict == "at chance" and np.isnan(negative.k_half)
    with pytest.raises(ArgumentError, match="d' is a distance of two classes"):
        sensitivity_trend([fit, fit], [0, 1], quantity="d_prime")
    assert sensitivity_trend([fit, fit], [0, 1], quantity="score").k == 8


def test_fits_weight_the_ratio_by_its_own_variance():
    mean, error = np.array([0.1, 0.5, 0.8]), np.array([0.01, 0.02, 0.005])
    draws = mean[:, None] + error[:, None] * np.random.default_rng(0).normal(size=(3, 20000))
    for metric in ("r2", "spearman"):
        expected = 1 / d_squared(draws, metric).var(axis=1)
        found = _weights("information", mean, error**2, metric)
        np.testing.assert_allclose(found, expected / expected.sum(), rtol=0.05)


def test_intervals_are_on_scales_of_their_metric():
    scores, influences = np.array([[0.9, 0.94], [-0.3, -0.2]]), np.full((2, 50), 0.01)
    for metric in ("r2", "spearman"):
        low, high = score_interval(scores, influences, metric=metric)
        mean = scores.mean(axis=1)
        assert (low < mean).all() and (mean < high).all() and (high < 1).all()
        assert (high - mean)[0] < (mean - low)[0]  # near 1 longer downwards
        assert score_variance(scores, 0 * influences, metric=metric)[1] > 0
        # twice the squares of the influences, and the variance of the mean over the subsets
        assert score_variance(scores, influences, metric=metric)[0] == pytest.approx(2 * 50 * 1e-4 + 0.02**2)


@pytest.mark.slow
def test_intervals_of_few_trials_and_many_cells_hold_the_expected_score():
    """60 trials of 256 cells, the same in each session: the variance of the decoders is more than that of the tests."""
    rng, n_sessions = np.random.default_rng(1), 150
    gains, curves = 0.12 * rng.normal(size=256), []
    for seed in range(n_sessions):
        y = rng.normal(size=60)
        X = rng.normal(size=(60, 256)) + y[:, None] * gains
        curves.append(neuron_dropping_curve(X, y, ks=[256], R=6, metric="r2", n_label_shuffles=0, seed=seed))
    expected = np.mean([curve.mean[0] for curve in curves])
    fits = [fit_curve(curve.ks, curve.scores, "r2", influences=curve.influences) for curve in curves]
    held = sum(bool(fit.mean_low[0] <= expected <= fit.mean_high[0]) for fit in fits)
    assert binomtest(held, n_sessions, 0.92, alternative="less").pvalue > 0.01, held
    # as before: twice the variance of the test trials, and the normal distribution
    before = 0
    for curve in curves:
        error = np.sqrt(2 * (curve.influences**2).sum() + curve.scores.var(ddof=1) / 6) / (1 - curve.mean[0])
        before += abs(np.log1p(-curve.mean[0]) - np.log1p(-expected)) <= 1.96 * error
    assert binomtest(int(before), n_sessions, 0.92, alternative="less").pvalue < 0.01, before


def test_many_cells_and_few_large_errors_make_intervals_of_numbers_wider():
    rng = np.random.default_rng(0)
    scores, normal = np.full((1, 4), 0.3), 0.01 * rng.normal(size=(1, 400))
    load = [np.array([one]) for one in (0.1, 1.0, 9.0)]
    variances = [score_variance(scores, normal, metric="r2", cells_per_trial=one)[0] for one in load]
    of_trials = (normal**2).sum()
    np.testing.assert_allclose(variances, of_trials * np.array([2, 1 + 3.5 / 2, 1 + 3.5 * 0.9]))
    for rule in (RULES["retrained"], SAME_DECODERS):  # these have the variance of training, or none
        found = score_variance(scores, normal, rule, "r2", load[2])
        assert found == pytest.approx(rule.factor * of_trials)
    # of normal influences as many degrees of freedom as trials, of few large ones hardly any
    freedom = [_freedom(scores, one, score_variance(scores, one, metric="r2"))[0] for one in (normal, normal**5)]
    assert freedom[0] == pytest.approx(400, rel=0.25) and freedom[1] < 12
    width = [np.ptp(score_interval(scores, one * np.sqrt(of_trials / (one**2).sum()), metric="r2"))
             for one in (normal, normal**5)]  # fmt: skip
    assert width[1] > 1.08 * width[0]


REFUSED = {
    "classes with numbers": ({"y": "numbers", "metric": "auc"}, "labels must be -1 and 0 and 1"),
    "infinite": ({"y": "infinite"}, "labels must be finite numbers or NaN"),
    "class weights": ({"class_weight": "balanced"}, "numbers have no classes: metric='r2'"),
    "trial shuffled": ({"trial_shuffled": True}, "numbers have no classes within which"),
    "intercept": ({"penalize_intercept": True, "penalty": "fixed"}, "needs a free intercept"),
    "few": ({"y": "few"}, "5 folds need 10 trials with a number, there are 9"),
    "equal": ({"y": "equal"}, "all numbers of training fold 0 are equal"),
    "blocks": ({"y": "steps", "fold_mode": "blocked"}, "all numbers of each test fold are equal"),
    "strata": ({"strata": np.zeros(90, int)}, "the score is an AUC, not with metric='r2'"),
    "null": ({"null": np.full((100, 90), np.inf)}, "shuffled labels must be numbers or NaN"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_meaning_is_refused(changed, message):
    X, y = planted()
    labels = {
        "numbers": y, "infinite": np.append(y[:-1], np.inf), "few": np.where(np.arange(90) < 9, y, np.nan),
        "equal": np.ones(90), "steps": np.repeat(np.arange(5.0), 18),
    }  # fmt: skip
    words = {"metric": "r2", **changed}
    with pytest.raises(ArgumentError, match=message):
        neuron_dropping_curve(X, labels.get(words.pop("y", ""), y), ks=[5], R=2, n_label_shuffles=100, **words)

"""The penalty in units of 1/k, and its choice, against scikit-learn and loops."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.populations import population
from threadpoolctl import threadpool_limits

from pipeline.decoding import cv_score, engine, fit_curve, neuron_dropping_curve, penalty_scores, shuffled_labels
from pipeline.decoding.penalty import CANDIDATES, GAIN, chosen, pairs_of, sizes

METRICS = {
    "auc": roc_auc_score,
    "accuracy": lambda y, z: accuracy_score(y, z > 0),
    "balanced_accuracy": lambda y, z: balanced_accuracy_score(y, z > 0),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads only make small matrices slower."""
    with threadpool_limits(1):
        yield


def sampled(kind: str, N: int, n: int, seed: int = 0, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, N, n])
    return population(kind, N, rng).sample(n, rng, share)


def draws(repeat: int, N: int, seed: int = 0) -> tuple[np.random.SeedSequence, np.ndarray, int]:
    """Return the documented draws of a repeat: the seed of its order, the order, and the seed of its folds."""
    order, folds = np.random.SeedSequence([seed, repeat]).spawn(2)
    return order, np.random.default_rng(order).permutation(N), int(folds.generate_state(1)[0])


def decision(X: np.ndarray, y: np.ndarray, train: np.ndarray, c: float, scaling: bool = True, **options) -> np.ndarray:
    """Return scikit-learn's decision values of all trials with C = c / k, or c over the summed variance."""
    C = c / (X.shape[1] if scaling else X[train].var(axis=0).sum())
    model = LogisticRegression(C=C, tol=1e-10, max_iter=100_000, **options)
    model = make_pipeline(StandardScaler(), model) if scaling else model
    return model.fit(X[train], y[train]).decision_function(X)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("kind", "N", "n", "c", "options"),
    [
        ("limited", 300, 100, 1.0, {}),
        ("spiky", 150, 90, 3.0, {"scaling": False}),
        ("gain", 80, 120, 30.0, {"class_weight": "balanced"}),
        ("needle", 260, 60, 10.0, {"scaling": False, "class_weight": "balanced"}),
    ],
)
def test_scaled_scores_are_scikit_learns_with_c_over_k(metric, kind, N, n, c, options):
    X, y = sampled(kind, N, n, share=0.4)
    ks = [4, 30, N]
    curve = neuron_dropping_curve(
        X, y, ks=ks, R=2, n_label_shuffles=2, null_subsets=1, penalty="scaled", C=c, metric=metric, **options
    )
    assert curve.c == c and np.isnan(curve.score_c1)
    shuffled = shuffled_labels(y, "permute", 2, 0)[1]
    for i, k in enumerate(ks):
        for repeat, labels, found in (
            (0, y, curve.scores[i, 0]), (1, y, curve.scores[i, 1]), (0, shuffled[1], curve.null_scores[i, 1])
        ):  # fmt: skip
            _, order, folds = draws(repeat, N)
            Z, scores = X[:, order[:k]], []
            for train, test in StratifiedKFold(5, shuffle=True, random_state=folds).split(Z, labels):
                z = decision(Z, labels, train, c, **options)
                scores.append(METRICS[metric](labels[test], z[test]))
            assert found == pytest.approx(np.mean(scores), abs=1e-9)
            one = cv_score(Z, labels, seed=folds, penalty="scaled", C=c, metric=metric, **options)
            assert found == pytest.approx(one, abs=1e-9)


def test_blocked_folds_and_trial_curves_use_the_number_of_cells():
    X, y = sampled("limited", 40, 90)
    curve = neuron_dropping_curve(
        X, y, ks=[40], R=1, n_label_shuffles=0, penalty="scaled", fold_mode="blocked", fold_gap=2
    )
    scores, trials = [], np.arange(90)
    for test in np.array_split(trials, 5):
        train = trials[(trials < test[0] - 2) | (trials > test[-1] + 2)]
        scores.append(roc_auc_score(y[test], decision(X, y, train, 1.0)[test]))
    assert curve.mean[0] == pytest.approx(np.mean(scores), abs=1e-9)
    over_trials = neuron_dropping_curve(X, y, ks=[90], R=2, n_label_shuffles=0, penalty="scaled", curve_axis="trials")
    for repeat in range(2):
        expected = cv_score(X, y, seed=draws(repeat, 40)[2], C=1 / 40)
        assert over_trials.scores[0, repeat] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"scaling": False}], ids=str)
def test_c_grid_is_in_units_of_one_over_k(options):
    X, y = sampled("limited", 60, 90)
    grid = (0.01, 1.0, 100.0)
    curve = neuron_dropping_curve(X, y, ks=[8, 60], R=1, n_label_shuffles=0, penalty="scaled", c_grid=grid, **options)
    _, order, folds = draws(0, 60)
    for i, k in enumerate((8, 60)):
        Z, scores = X[:, order[:k]], []
        for train, test in StratifiedKFold(5, shuffle=True, random_state=folds).split(Z, y):
            inner = StratifiedKFold(5, shuffle=True, random_state=folds)
            by_c = [
                np.mean([
                    roc_auc_score(y[train][b], decision(Z[train], y[train], a, c, **options)[b])
                    for a, b in inner.split(Z[train], y[train])
                ])
                for c in grid
            ]  # fmt: skip
            best = grid[int(np.argmax(np.round(by_c, 12)))]
            scores.append(roc_auc_score(y[test], decision(Z, y, train, best, **options)[test]))
        assert curve.mean[i] == pytest.approx(np.mean(scores), abs=1e-9)


# ------------------------------------------------------------------------------------------------------- the choice


def test_pairs_are_all_of_five_folds_and_two_for_each_fold_of_more():
    assert pairs_of(5) == list(itertools.combinations(range(5), 2))
    assert pairs_of(3) == [(0, 1), (0, 2), (1, 2)]
    assert len(pairs_of(10)) == 20
    assert [sizes(k) for k in (2048, 512, 300, 100, 5)] == [[512], [128], [128], [100], [5]]
    assert sizes(2048, "narrow") == [2048, 512, 128, 32, 8]
    assert sizes(100, "narrow") == [100, 25] and sizes(5, "narrow") == [5]


def inner_by_hand(X: np.ndarray, y: np.ndarray, metric: str = "auc", c_range: str = "wide", **options) -> np.ndarray:
    """Return the inner scores of labels, by scikit-learn and loops over pairs of folds."""
    _, order, folds = draws(0, X.shape[1])
    tests = [test for _, test in StratifiedKFold(5, shuffle=True, random_state=folds).split(X, y)]
    candidates, ks = CANDIDATES[c_range], sizes(X.shape[1], c_range)
    found = {c: [] for c in candidates}
    for k, c, (i, j) in itertools.product(ks, candidates, itertools.combinations(range(5), 2)):
        train = np.setdiff1d(np.arange(len(y)), np.concatenate([tests[i], tests[j]]))
        z = decision(X[:, order[:k]], y, train, c, **options)
        found[c] += [METRICS[metric](y[test], z[test]) for test in (tests[i], tests[j])]
    return np.array([np.mean(found[c]) for c in candidates])


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["auc", "balanced_accuracy"])
@pytest.mark.parametrize("options", [{}, {"scaling": False}, {"class_weight": "balanced"}], ids=str)
def test_inner_scores_are_scikit_learns(options, metric):
    X, y = sampled("lowrank", 120, 80, share=0.4)
    found = penalty_scores(X, y, ks=[8, 120], metric=metric, **options)
    np.testing.assert_allclose(found, inner_by_hand(X, y, metric, **options), atol=1e-9)


def test_c_is_left_at_1_unless_the_gain_is_clear():
    rows = [[0.7, 0.71, 0.715], [0.7, 0.72, 0.73], [0.7, 0.72, 0.72], [0.7, 0.6, 0.5], [np.nan] * 3]
    assert chosen(np.array(rows)).tolist() == [1, 100, 10, 1, 1]
    assert chosen(np.array(rows), c_range="narrow").tolist() == [1, 30, 10, 1, 1]
    assert GAIN == 0.02
    # the mean of the gains of all sessions: 0.03 and 0.01; 0.03 and -0.02; sessions without inner fits do not count
    own = np.array([[0.6, 0.63, 0.6]])
    assert chosen(own, np.array([[0.8, 0.81, 0.8]])).tolist() == [10]
    assert chosen(own, np.array([[0.8, 0.78, 0.8]])).tolist() == [1]
    assert chosen(own, np.array([[0.8, 0.81, 0.8], [np.nan] * 3])).tolist() == [10]


@pytest.mark.parametrize(("c_range", "values"), [("wide", (1, 10, 100)), ("narrow", (1, 10, 30))])
def test_every_label_vector_has_the_c_of_its_own_inner_scores(c_range, values):
    X, y = sampled("lowrank", 120, 100)
    asked = {"ks": [8, 30, 120], "R": 3, "n_label_shuffles": 30, "null_subsets": 2}
    curve = neuron_dropping_curve(X, y, penalty="auto", c_range=c_range, **asked)
    by_c = {c: neuron_dropping_curve(X, y, penalty="scaled", C=c, **asked) for c in values}
    real = chosen(inner_by_hand(X, y, c_range=c_range)[None], c_range=c_range)[0]
    assert curve.c == real > 1
    np.testing.assert_array_equal(curve.scores, by_c[real].scores)
    assert curve.score_c1 == pytest.approx(by_c[1].mean[-1], abs=1e-12) and curve.score_c1 < curve.mean[-1]
    shuffled = shuffled_labels(y, "permute", 30, 0)[1]
    inner = [penalty_scores(X, row, ks=[120], c_range=c_range) for row in shuffled]
    cs = chosen(np.array(inner), c_range=c_range)
    assert len(set(cs)) > 1
    np.testing.assert_array_equal(curve.null_scores, [[by_c[c].null_scores[i, s] for s, c in enumerate(cs)]
                                                      for i in range(3)])  # fmt: skip


def test_sessions_that_are_compared_share_a_c_which_a_null_vector_enters_in_place_of_its_session():
    sessions = [sampled(kind, 60, 80, seed=3) for kind in ("lowrank", "limited")]
    asked = {"ks": [8, 60], "R": 2, "n_label_shuffles": 20, "null_subsets": 1, "penalty": "auto"}
    inner = [penalty_scores(X, y, ks=[60]) for X, y in sessions]
    for own, other in ((0, 1), (1, 0)):
        X, y = sessions[own]
        curve = neuron_dropping_curve(X, y, compared=inner[other][None], **asked)
        assert curve.c == chosen(np.mean(inner, axis=0)[None])[0]
        null = [penalty_scores(X, row, ks=[60]) for row in shuffled_labels(y, "permute", 20, 0)[1]]
        cs = [chosen(np.mean([one, inner[other]], axis=0)[None])[0] for one in null]
        for s, c in enumerate(cs):
            alone = neuron_dropping_curve(X, y, **{**asked, "penalty": "scaled", "C": c})
            np.testing.assert_array_equal(curve.null_scores[:, s], alone.null_scores[:, s])


X_BITS, Y_BITS = sampled("lowrank", 90, 60, share=0.4)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": "scaled"},
        {"penalty": "scaled", "scaling": False, "null_subsets": 0},
        {"penalty": "auto", "ks": (1, 9, 50, 90)},
        {"penalty": "auto", "scaling": False, "metric": "accuracy", "fold_mode": "blocked"},
        {"penalty": "auto", "trial_shuffled": True, "n_label_shuffles": 12},
        {"penalty": "auto", "curve_axis": "trials", "ks": (20, 31, 60)},
    ],
    ids=str,
)
def test_scores_have_the_same_bits_whatever_is_computed_together(monkeypatch, options):
    asked = {
        "ks": (1, 9, 50, 90), "R": 3, "n_label_shuffles": 44, "null_subsets": 1, "cv_splits": 3, "shuffle_seed": 8,
        **options,
    }  # fmt: skip
    curve = neuron_dropping_curve(X_BITS, Y_BITS, **asked)

    def assert_part(rows, R, S, **change):
        change = {"R": R, "n_label_shuffles": S, "ks": [asked["ks"][i] for i in rows], **change}
        part = neuron_dropping_curve(X_BITS, Y_BITS, **{**asked, **change})
        np.testing.assert_array_equal(part.scores, curve.scores[rows, :R])
        np.testing.assert_array_equal(part.null_scores, curve.null_scores[rows, :S])
        assert part.c == curve.c

    everything, S = list(range(len(asked["ks"]))), asked["n_label_shuffles"]
    assert_part(everything, 3, S, n_jobs=2)
    assert_part(everything[-2:], 2, 5)  # the largest k stays: c is chosen from it
    monkeypatch.setattr(engine, "BATCH_ROWS", 5)
    assert_part(everything, 1, S, memory_mb=1e-3)


def test_a_known_curve_is_extended_and_one_of_another_penalty_is_refused():
    X, y = sampled("lowrank", 60, 80)
    asked = {"ks": (8, 20, 60), "R": 3, "n_label_shuffles": 6, "penalty": "auto", "n_bootstrap": 3, "null_subsets": 2}
    whole = neuron_dropping_curve(X, y, **asked)
    known = neuron_dropping_curve(X, y, **{**asked, "ks": (8, 60), "R": 2, "n_label_shuffles": 3})
    found = neuron_dropping_curve(X, y, **asked, known=known)
    np.testing.assert_array_equal(found.scores, whole.scores)
    np.testing.assert_array_equal(found.null_scores, whole.null_scores)
    assert (found.c, found.score_c1) == (whole.c, whole.score_c1)
    with pytest.raises(ValueError, match="known curve is not of these data"):
        neuron_dropping_curve(X, y, **{**asked, "penalty": "fixed"}, known=known)


def test_cells_that_never_vary_count_as_cells_and_change_nothing_else():
    X, y = sampled("limited", 20, 60)
    X[:, ::2] = 1 / 3
    for scaling in (True, False):
        asked = {"ks": [20], "R": 2, "n_label_shuffles": 0, "penalty": "scaled", "scaling": scaling}
        found = neuron_dropping_curve(X, y, **asked)
        C = 1.0 if scaling else 2.0  # half of the cells: with scaling, C = c / 20
        alone = neuron_dropping_curve(X[:, 1::2], y, **{**asked, "ks": [10], "C": C / 2})
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-9)
        nothing = neuron_dropping_curve(np.ones((60, 4)), y, **{**asked, "ks": [4]})
        np.testing.assert_array_equal(nothing.scores, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "ridge"}, "penalty must be one of"),
        ({"penalty": "auto", "C": 2.0}, "use penalty='scaled'"),
        ({"penalty": "auto", "c_grid": (0.1, 1)}, "chooses C itself"),
        ({"penalty": "scaled", "penalize_intercept": True}, "needs a free intercept"),
    ],
)
def test_penalties_that_contradict_other_settings_are_refused(options, message):
    X, y = sampled("limited", 10, 40)
    with pytest.raises(ValueError, match=message):
        neuron_dropping_curve(X, y, ks=[10], R=1, n_label_shuffles=0, **options)


def test_two_folds_leave_no_inner_fit_and_no_choice():
    X, y = sampled("lowrank", 60, 80)
    assert np.isnan(penalty_scores(X, y, ks=[60], cv_splits=2)).all()
    asked = {"ks": [8, 60], "R": 2, "n_label_shuffles": 2, "cv_splits": 2}
    auto, scaled = (neuron_dropping_curve(X, y, penalty=penalty, **asked) for penalty in ("auto", "scaled"))
    assert auto.c == 1
    np.testing.assert_array_equal(auto.scores, scaled.scores)


def test_one_score_has_no_choice():
    X, y = sampled("limited", 10, 40)
    with pytest.raises(ValueError, match="for one score use penalty='scaled'"):
        cv_score(X, y, penalty="auto")


# ------------------------------------------------------------------ what it is for: short form of benchmarks/statistics


def mean_curves(kind: str, N: int, n: int, sets: int, ks: list[int], *asked: dict) -> list[np.ndarray]:
    """Return the mean scores (K,) over sessions of a kind, for each choice of a penalty."""
    means = []
    for seed in range(sets):
        X, y = sampled(kind, N, n, seed)
        means.append([neuron_dropping_curve(X, y, ks=ks, R=4, n_label_shuffles=0, **one).mean for one in asked])
    return list(np.mean(means, axis=0))


FIXED = [{"penalty": "fixed", "C": 10.0**e} for e in (-5, -4, -3, -2, -1, 0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "N", "n", "bound"),
    [
        ("limited", 100, 120, 0.01),
        ("sparse", 100, 400, 0.01),
        ("spiky", 400, 60, 0.01),
        ("lowrank", 100, 120, 0.02),
        ("lowrank", 800, 60, 0.02),
    ],
)
def test_auto_is_near_the_best_fixed_c_of_each_k(kind, N, n, bound):
    *fixed, auto, scaled = mean_curves(
        kind, N, n, 4, [8, 32, N], *FIXED, {"penalty": "auto"}, {"penalty": "scaled"}
    )  # fmt: skip
    best = np.max(fixed, axis=0)
    assert np.mean(auto - best) >= -bound
    # no single fixed C is as good at every k, and where modes are shared c = 1 is not
    assert np.mean(scaled - best) < -0.03 if kind == "lowrank" else np.mean(fixed[-1] - best) < -0.01


def test_there_is_no_dip_near_k_of_training_trials():
    ks = [32, 64, 128, 200, 320, 500]
    auto, fixed = mean_curves("limited", 500, 400, 2, ks, {"penalty": "auto"}, {"penalty": "fixed"})
    assert (np.diff(auto) > 0).all()  # 320 trials in training
    assert fixed[2] < fixed[1] - 0.01


def test_a_curve_that_rises_is_not_called_saturated_because_of_many_trials():
    ks = [8, 16, 32, 64, 100]
    verdicts, k_stars = {"auto": [], "fixed": []}, {"auto": [], "fixed": []}
    for seed in range(5):
        X, y = sampled("limited", 100, 400, seed)
        for penalty in verdicts:
            curve = neuron_dropping_curve(X, y, ks=ks, R=20, n_label_shuffles=0, n_bootstrap=100, penalty=penalty)
            fit = fit_curve(curve.ks, curve.scores, trial_means=curve.trial_means, ceiling=curve.ceiling)
            verdicts[penalty].append(fit.verdict)
            k_stars[penalty].append(fit.k_star)
    # truth: 64 of 100 cells are within 0.02, and the asymptote is 0.03 higher
    assert "saturated" not in verdicts["auto"] and set(k_stars["auto"]) <= {64, 100}
    assert {"saturated", "decreasing"} & set(verdicts["fixed"]) and min(k_stars["fixed"]) <= 32

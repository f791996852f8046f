"""Folds that shuffled labels share with the real ones, Gram matrices, and a grid by pairs of folds: against
scikit-learn, float64 Newton, plain numpy, and in other batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.decoding import (
    compiled,
    curves,
    cv_score,
    engine,
    gram,
    neuron_dropping_curve,
    newton,
    shuffled_labels,
    solver,
)
from pipeline.decoding.folds import Validation, fold_masks, folds_of, training_weights

Array = np.ndarray


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def data(n: int, N: int, *, modes: int = 3, effect: float = 0.4, seed: int = 0) -> tuple[Array, Array]:
    """Return activity with shared modes, of which every fifth neuron is informative, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2).astype(np.int8)
    shared = rng.normal(size=(n, modes)) @ rng.normal(size=(modes, N))
    return rng.normal(size=(n, N)) + shared + effect * y[:, None] * (np.arange(N) % 5 == 0), y


def draws(repeat: int, N: int, seed: int = 0) -> tuple[Array, int]:
    """Return the documented order of the neurons and seed of the folds of a repeat."""
    order, folds = np.random.SeedSequence([seed, repeat]).spawn(2)
    return np.random.default_rng(order).permutation(N), int(folds.generate_state(1)[0])


def decision(X: Array, y: Array, train: Array, C: float) -> Array:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-10, max_iter=100_000))
    values: Array = model.fit(X[train], y[train]).decision_function(X)
    return values


# -------------------------------------------------------------------------------------------------------------- folds


def test_null_scores_are_scikit_learns_with_the_folds_of_the_real_labels():
    X, y = data(60, 90)
    asked = {"ks": [5, 40, 90], "R": 2, "n_label_shuffles": 3, "null_subsets": 2, "C": 3.0}
    curve = neuron_dropping_curve(X, y, shared_folds=True, **asked)
    shuffled = shuffled_labels(y, "permute", 3, 0)[1]
    for (i, k), (s, labels) in itertools.product(enumerate(asked["ks"]), enumerate(shuffled)):
        scores = []
        for repeat in range(2):
            order, folds = draws(repeat, 90)
            Z = X[:, order[:k]]
            for train, test in StratifiedKFold(5, shuffle=True, random_state=folds).split(Z, y):
                scores.append(roc_auc_score(labels[test], decision(Z, labels, train, 3.0 / k)[test]))
        assert curve.null_scores[i, s] == pytest.approx(np.mean(scores), abs=1e-9)
    own = neuron_dropping_curve(X, y, **asked)
    np.testing.assert_array_equal(curve.scores, own.scores)
    assert (curve.null_scores != own.null_scores).all()


def test_a_vector_that_has_other_trials_or_a_fold_of_one_class_has_its_own_folds():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(40) % 2).astype(np.int8)
    shuffled, fewer, few, one = rng.permutation(y), rng.permutation(y), np.zeros(40, np.int8), np.zeros(40, np.int8)
    fewer[3] = -1
    how = Validation(shared_folds=True)
    train, test = fold_masks(y, 7, how)
    few[np.flatnonzero(test[2])[:6]] = 1  # one test fold holds all but one trial of this class
    few[np.flatnonzero(test[0])[0]] = 1
    one[np.flatnonzero(test[2])[:6]] = 1
    labels = np.array([y, shuffled, fewer, few, one])
    masks, shared = folds_of(labels, 7, how, None, y)
    assert shared.tolist() == [False, True, False, True, False]
    for row, (mine, common) in enumerate(zip(masks, shared, strict=True)):
        expected = (train, test) if common else fold_masks(labels[row], 7, how)
        np.testing.assert_array_equal(mine, expected)
    for alone in ({"how": Validation()}, {"real": None}, {"strata": np.arange(40) % 2}):
        words = {"how": how, "strata": None, "real": y, **alone}
        assert not folds_of(labels[:2], 7, words["how"], words["strata"], words["real"])[1].any()


def test_a_test_fold_of_one_class_has_no_score():
    X, y = data(40, 30)
    order, folds = draws(0, 30)
    tests = [test for _, test in StratifiedKFold(5, shuffle=True, random_state=folds).split(X, y)]
    labels = np.zeros(40, np.int8)
    labels[np.concatenate([tests[2][:6], tests[0][:3]])] = 1
    curve = neuron_dropping_curve(
        X, y, ks=[30], R=1, n_label_shuffles=1, null=labels[None], null_subsets=1, shared_folds=True
    )
    scores = []
    for test in (tests[0], tests[2]):
        train = np.setdiff1d(np.arange(40), test)
        scores.append(roc_auc_score(labels[test], decision(X[:, order], labels, train, 1 / 30)[test]))
    assert curve.null_scores[0, 0] == pytest.approx(np.mean(scores), abs=1e-9)


@pytest.mark.parametrize(
    "alone", [{"null_subsets": 0}, {"curve_axis": "trials", "ks": [30, 60]}, {"trial_shuffled": True}], ids=str
)
def test_where_labels_cannot_share_folds_each_has_its_own(alone):
    X, y = data(60, 30)
    asked = {"ks": [4, 30], "R": 3, "n_label_shuffles": 4, "null_subsets": 2, **alone}
    np.testing.assert_array_equal(
        neuron_dropping_curve(X, y, shared_folds=True, **asked).null_scores,
        neuron_dropping_curve(X, y, **asked).null_scores,
    )


@pytest.mark.slow
def test_p_of_noise_is_uniform_or_a_little_too_large():
    """Of 60 trials: shuffled labels are less even over the folds than the real ones, whose score scatters less."""
    p = []
    for seed in range(400):
        rng = np.random.default_rng([seed, 11])
        X, y = rng.normal(size=(60, 40)), rng.permutation(np.arange(60) % 2)
        asked = {"ks": [40], "R": 2, "n_label_shuffles": 39, "null_subsets": 2, "shuffle_seed": seed}
        p.append(neuron_dropping_curve(X, y, shared_folds=True, **asked).p_values()[0])
    # binomial: 20 of 400 are expected, 32 or more have a probability of 0.6 %
    assert 6 <= np.count_nonzero(np.array(p) <= 0.05) <= 31
    assert 0.45 <= np.mean(p) <= 0.58


# ------------------------------------------------------------------------------------------------------ Gram matrices


def shared_rows(y: Array, C: float, n_vectors: int, **how) -> tuple[Array, Array]:
    """Return weights and labels of shuffled vectors, each in five folds that are those of y."""
    rng = np.random.default_rng(1)
    masks, _ = fold_masks(y, 3, Validation())
    labels = [rng.permutation(y) for _ in range(n_vectors)]
    weights = [training_weights(row, masks, C, how.get("class_weight")) for row in labels]
    return np.concatenate(weights), np.repeat(labels, 5, axis=0)


def decided(X: Array, weights: Array, labels: Array, ks: list[int], *, scaling: bool = True, shared: bool = True):
    subset = engine.Subset(engine.Population(X, scaling=scaling), np.arange(X.shape[1]))
    return subset.decide(weights, labels, ks, None, np.full(len(weights), shared))


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Grows by the number of rows of each training set at each k, and of those missed."""
    solve, calls = gram.Shared.solve, []

    def counted(*args):
        values, missed = solve(*args)
        calls.append((len(missed), int(missed.sum())))
        return values, missed

    monkeypatch.setattr(gram.Shared, "solve", counted)
    return calls


def worst(found: Array, exact: Array) -> float:
    return float((np.abs(found - exact).max(axis=1) / np.ptp(exact, axis=1)).max())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["plain", "separable", "constant", "duplicate", "sparse", "offset"]),
    n=st.integers(40, 120),
    times=st.floats(0.2, 6.0),
    C=st.sampled_from([1e-4, 0.01, 0.1, 1.0, 10.0]),
    scaling=st.booleans(),
    balanced=st.booleans(),
    seed=st.integers(0, 100),
)
def test_gram_matrices_find_the_decision_values_of_float64(kind, n, times, C, scaling, balanced, seed):
    X, y = data(n, int(times * n), effect=6 if kind == "separable" else 0.4, seed=seed)
    if kind == "constant":
        X[:, ::3] = 0.1
    if kind == "duplicate":
        X = X[:, np.arange(X.shape[1]) // 2]
    if kind == "sparse":
        X = np.maximum(X - 1.5, 0)
    if kind == "offset":
        X = 500 + 50 * X
    C = C if scaling else C / X.var()
    weights, labels = shared_rows(y, C, 2, class_weight="balanced" if balanced else None)
    found = decided(X, weights, labels, [X.shape[1]], scaling=scaling)[0]
    exact = np.array([newton.decision_values(X, *row, scaling=scaling) for row in zip(labels, weights, strict=True)])
    assert worst(found, exact) < 1e-3


@pytest.mark.parametrize("C", [0.002, 1.0])
def test_ordinary_rows_are_solved_in_float32(solved, C):
    X, y = data(100, 1500)
    weights, labels = shared_rows(y, C, 20)
    found = decided(X, weights, labels, [50, 600, 1500])
    assert solved == [(20, 0)] * 15  # five folds of three ks
    exact = np.array([newton.decision_values(X, *row) for row in zip(labels[:10], weights[:10], strict=True)])
    assert worst(found[2][:10], exact) < 3e-4


def test_a_silent_neuron_in_training_is_decoded_in_float64(solved):
    X, y = data(60, 100)
    X[0, 3] = 1e6  # a trial that one training set leaves out: for it the neuron is 1e-5 of its scale
    weights, labels = shared_rows(y, 0.1, 2)
    found, exact = decided(X, weights, labels, [100])[0], [
        newton.decision_values(X, *row) for row in zip(labels, weights, strict=True)
    ]  # fmt: skip
    without = weights[:, 0] == 0
    assert len(solved) == 5 and without.sum() == 2
    np.testing.assert_allclose(found[without], np.array(exact)[without], rtol=1e-12)


def test_gram_matrix_is_that_of_standardised_activity_centred_on_the_training_trials():
    X, y = data(50, 1300)
    train = fold_masks(y, 0, Validation())[0][0]
    population = engine.Population(X)
    scales = X[train].std(axis=0)
    training = gram.TrainingSet(population.standard, (population.unit / scales).astype(np.float32), train)
    for k in (60, 512, 700, 1300):
        Z = (X[:, :k] - X[train, :k].mean(axis=0)) / scales[:k]
        np.testing.assert_allclose(training.gram(k), (Z[train] @ Z.T)[:, training.trials], atol=2e-5 * k)
        np.testing.assert_allclose(training.activity(k), Z.T[:, training.trials], atol=2e-5)
        alone = gram.TrainingSet(population.standard, training.inverse_sd, train)
        np.testing.assert_array_equal(training.gram(k), alone.gram(k))


@pytest.mark.parametrize("k", [30, 300], ids=["primal", "dual"])
@pytest.mark.parametrize("C", [0.001, 0.1, 1.0])
def test_compiled_and_plain_solver_agree(k, C):
    X, y = data(80, 300)
    weights, labels = shared_rows(y, C, 6)
    rows = np.flatnonzero(((weights > 0) == (weights[0] > 0)).all(axis=1))
    train = weights[0] > 0
    training = gram.TrainingSet(X.T.astype(np.float32), np.ones(300, np.float32), train)
    shared = training.shared(k, primal=k == 30)
    problem = shared.problem(training.rows(weights[rows], labels[rows]), C)
    found = []
    for minimise in (compiled.minimise_shared, solver.minimise_shared_numpy):
        z, b, error = np.zeros((6, compiled.padded(80)), np.float32), np.zeros(6, np.float32), np.zeros(6)
        n_iterations = minimise(problem, z, b, error)
        assert (error <= 1).all()
        found.append((n_iterations, z[:, :80] + b[:, None]))
    assert len(rows) == 6
    # near the floor of float32 the order of its sums, which the processor decides, costs or saves some iterations
    assert abs(found[0][0] - found[1][0]) <= 5
    assert worst(found[0][1], found[1][1]) < 1e-4


def test_a_row_has_the_same_bits_whatever_is_solved_with_it(monkeypatch):
    X, y = data(70, 900)
    weights, labels = shared_rows(y, 0.5, 9)
    ks = [20, 100, 600, 900]
    together = decided(X, weights, labels, ks)
    monkeypatch.setattr(engine, "BATCH_ROWS", 4)
    backwards = decided(X, weights[::-1], labels[::-1], ks[::-1])[::-1]
    alone = [decided(X[:, :k], weights[[7]], labels[[7]], [k])[0][0] for k in ks[:1]]
    for k, found, other in zip(ks, together, backwards, strict=True):
        np.testing.assert_array_equal(found, other[::-1], err_msg=f"k = {k}")
        np.testing.assert_array_equal(found[[7]], decided(X, weights[[7]], labels[[7]], [k])[0], err_msg=f"k = {k}")
    np.testing.assert_allclose(alone[0], together[0][7], atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": "scaled"},
        {"penalty": "auto"},
        {"penalty": "fixed", "class_weight": "balanced"},
        {"penalty": "scaled", "c_grid": (0.1, 1.0, 10.0), "n_label_shuffles": 6},
        {"penalty": "scaled", "null": "linear_shift", "n_label_shuffles": 8},
        {"penalty": "scaled", "fold_mode": "blocked"},
    ],
    ids=str,
)
def test_scores_have_the_same_bits_whatever_is_computed_together(monkeypatch, options):
    X, y = data(70, 200)
    asked = {"ks": (9, 80, 200), "R": 3, "n_label_shuffles": 30, "null_subsets": 2, "seed": 5, "shared_folds": True}
    asked |= options
    curve = neuron_dropping_curve(X, y, **asked)
    assert np.isfinite(curve.null_scores).all()
    n = asked["n_label_shuffles"]

    def assert_part(rows: list[int], S: int, **change) -> None:
        part = neuron_dropping_curve(
            X, y, **{**asked, "ks": [asked["ks"][i] for i in rows], "n_label_shuffles": S, **change}
        )
        np.testing.assert_array_equal(part.scores, curve.scores[rows])
        np.testing.assert_array_equal(part.null_scores, curve.null_scores[rows, :S])

    assert_part([0, 1, 2], n, n_jobs=2)
    assert_part([0, 2], 3)
    monkeypatch.setattr(curves, "MAX_SHARING_PER_ITEM", 4)
    assert_part([0, 1, 2], n)
    fewer = neuron_dropping_curve(X, y, **{**asked, "n_label_shuffles": 5})
    monkeypatch.undo()
    more = neuron_dropping_curve(X, y, **asked, known=fewer)
    np.testing.assert_array_equal(more.null_scores, curve.null_scores)


def test_a_known_curve_with_other_folds_is_refused():
    X, y = data(60, 80)
    asked = {"ks": (9, 80), "R": 2, "n_label_shuffles": 5, "null_subsets": 2}
    known = neuron_dropping_curve(X, y, **asked)
    with pytest.raises(ValueError, match="known curve is not of these data"):
        neuron_dropping_curve(X, y, **asked, shared_folds=True, known=known)


# ----------------------------------------------------------------------------------------------------- pairs of folds


@pytest.mark.parametrize(("penalty", "grid"), [("scaled", (0.1, 3.0, 100.0)), ("fixed", (1e-4, 0.01, 1.0))])
@pytest.mark.parametrize("n_splits", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_c_is_chosen_from_a_grid_by_leaving_out_pairs_of_folds(penalty, grid, n_splits):
    X, y = data(60, 40, effect=0.3, seed=4)
    asked = {"penalty": penalty, "c_grid": grid, "shared_folds": True}
    curve = neuron_dropping_curve(
        X, y, ks=[8, 40], R=1, n_label_shuffles=2, null_subsets=1, cv_splits=n_splits, **asked
    )
    order, folds = draws(0, 40)
    tests = [test for _, test in StratifiedKFold(n_splits, shuffle=True, random_state=folds).split(X, y)]
    used = set()

    def by_hand(labels: Array, k: int) -> float:
        Z, unit, scores = X[:, order[:k]], k if penalty == "scaled" else 1, []
        for i, test in enumerate(tests):
            inner = []
            for c in grid:
                aucs = []
                for j, other in enumerate(tests):
                    if j != i:
                        train = np.setdiff1d(np.arange(60), np.concatenate([test, other]))
                        aucs.append(roc_auc_score(labels[other], decision(Z, labels, train, c / unit)[other]))
                inner.append(np.mean(aucs))
            best = grid[int(np.argmax(np.round(inner, 12)))]
            used.add(best)
            train = np.setdiff1d(np.arange(60), test)
            scores.append(roc_auc_score(labels[test], decision(Z, labels, train, best / unit)[test]))
        return float(np.mean(scores))

    shuffled = shuffled_labels(y, "permute", 2, 0)[1]
    for i, k in enumerate((8, 40)):
        assert curve.mean[i] == pytest.approx(by_hand(y, k), abs=1e-9)
        assert curve.null_scores[i, 1] == pytest.approx(by_hand(shuffled[1], k), abs=1e-9)
        one = cv_score(X[:, order[:k]], y, seed=folds, n_splits=n_splits, **asked)
        assert curve.mean[i] == pytest.approx(one, abs=1e-9)
    assert len(used) > 1


def test_a_grid_without_an_inner_score_is_refused():
    X, y = data(40, 10)
    y = (np.arange(40) % 2 * (np.arange(40) < 20)).astype(np.int8)  # without the first two folds one class is left
    with pytest.raises(ValueError, match=r"inside training fold 0, where C is chosen from c_grid, no pair of folds"):
        cv_score(X, y, n_splits=4, fold_mode="blocked", penalty="scaled", c_grid=(1.0, 10.0), shared_folds=True)
    # two folds leave no pair: inner folds of their own
    y = np.resize([0, 1], 40).astype(np.int8)
    words = {"n_splits": 2, "penalty": "scaled", "c_grid": (1.0, 10.0)}
    assert cv_score(X, y, shared_folds=True, **words) == cv_score(X, y, **words)

"""The decoding engine against scikit-learn, float64 Newton, plain numpy and itself in other batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.decoding import curves, cv_score, engine, kernels, neuron_dropping_curve, newton, shuffled_labels, solver

#: Curves at a fixed C, which is that of scikit-learn; C in units of 1/k is tested in test_penalty.
fixed_curve = partial(neuron_dropping_curve, penalty="fixed")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads only make small matrices slower."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def fallbacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one number for every row that the engine hands on to float64."""
    exact, calls = newton.decision_values, []

    def counted(X, *args, **kwargs):
        calls.append(X.shape[1])
        return exact(X, *args, **kwargs)

    monkeypatch.setattr(newton, "decision_values", counted)
    return calls


def trial_data(n: int, k: int, *, effect: float = 0.4, share: float = 0.5, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.zeros(n, dtype=np.int8)
    y[rng.permutation(n)[: max(round(share * n), 6)]] = 1
    return rng.normal(size=(n, k)) + effect * y[:, None] * rng.choice([-1, 1], k), y


def made(kind: str, n: int, k: int, share: float = 0.5, seed: int = 0):
    """Return activity of one kind, and labels."""
    X, y = trial_data(n, k, effect=6 if kind == "separable" else 0.4, share=share, seed=seed)
    if kind == "constant columns":
        X[:, ::3] = np.resize([0.1, 1 / 3, 1e2 / 7, 0], X[:, ::3].shape[1])
    if kind == "duplicate columns":
        X = X[:, np.arange(k) // 2]
    if kind == "fluorescence":
        X = 500 + 50 * X
    if kind == "sparse":  # most cells are silent in most trials, some but for a single one
        X = np.maximum(X - 1.5, 0)
        X[1:, 0] = 0
    return X.astype(np.float32) if kind == "float32" else X, y


KINDS = ["plain", "separable", "constant columns", "duplicate columns", "float32", "fluorescence", "sparse"]


def close_pairs(z: np.ndarray, y: np.ndarray, distance: float) -> float:
    """Return the share of pairs of a 1 and a 0 whose order an error of ``distance`` can change."""
    return float((np.abs(z[y == 1][:, None] - z[y == 0]) <= 2 * distance + 1e-9 * np.ptp(z)).mean())


# ------------------------------------------------------------------------------ cv_score and float64, by scikit-learn


def sklearn_model(X: np.ndarray, y: np.ndarray, C: float, scaling: bool, penalised: bool, **options):
    """Return scikit-learn's pipeline fitted to the last digits that it can give."""
    for solver_ in ("liblinear",) if penalised else ("lbfgs", "newton-cholesky"):
        tol = 1e-12 if penalised else 1e-10
        model = LogisticRegression(C=C, tol=tol, max_iter=100_000, solver=solver_, random_state=0, **options)
        pipe = make_pipeline(StandardScaler(), model) if scaling else make_pipeline(model)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipe.fit(X.astype(np.float64), y)
        if not any(issubclass(w.category, ConvergenceWarning) for w in caught):
            break
    return pipe


def objective(F: np.ndarray, y: np.ndarray, z: np.ndarray, w: np.ndarray, b: float, C: float, penalised: bool) -> float:
    return 0.5 * (w @ w + penalised * b * b) + C * np.logaddexp(0, -np.where(y == 1, 1, -1) * z).sum()


def own_objective(F: np.ndarray, y: np.ndarray, z: np.ndarray, C: float, penalised: bool) -> float:
    """Return the objective of decision values: of the smallest weights that give them."""
    F = np.where(np.ptp(F, axis=0) > 1e-9 * np.abs(F).max(axis=0), F, 0)  # the rounding of a constant is no feature
    if penalised:
        v = np.linalg.lstsq(np.column_stack([F, np.ones(len(F))]), z, rcond=None)[0]
        return objective(F, y, z, v[:-1], v[-1], C, True)
    v = np.linalg.lstsq(F - F.mean(axis=0), z - z.mean(), rcond=None)[0]
    return objective(F, y, z, v, 0, C, False)


def assert_scikit_learns(X, y, C: float, scaling: bool, penalised: bool, n_splits: int = 3) -> None:
    expected, slack = [], []
    for train, test in StratifiedKFold(n_splits, shuffle=True, random_state=1).split(X, y):
        pipe = sklearn_model(X[train], y[train], C, scaling, penalised)
        theirs = pipe.decision_function(X.astype(np.float64))
        weights = np.zeros(len(y))
        weights[train] = C
        ours = newton.decision_values(X, y, weights, scaling=scaling, penalize_intercept=penalised)
        error = np.abs(ours - theirs).max()
        if error > 1e-4 * np.ptp(ours) + 1e-9:  # scikit-learn stopped early: ours must be the better fit
            F = pipe[:-1].transform(X.astype(np.float64))[train] if scaling else X[train].astype(np.float64)
            fitted = pipe[-1]
            found = own_objective(F, y[train], ours[train], C, penalised)
            best = objective(F, y[train], theirs[train], fitted.coef_[0], fitted.intercept_[0], C, penalised)
            assert found <= best * (1 + 1e-7)
        expected.append(roc_auc_score(y[test], theirs[test]))
        slack.append(close_pairs(ours[test], y[test], error))
    score = cv_score(X, y, n_splits=n_splits, seed=1, C=C, scaling=scaling, penalize_intercept=penalised)
    assert score == pytest.approx(np.mean(expected), abs=1e-5 + np.mean(slack))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(40, 150),
    k=st.integers(1, 200),
    share=st.sampled_from([0.5, 0.25, 0.1]),
    log_c=st.integers(-4, 4),
    scaling=st.booleans(),
    penalised=st.booleans(),
    seed=st.integers(0, 100),
)
def test_cv_score_is_scikit_learns(kind, n, k, share, log_c, scaling, penalised, seed):
    assert_scikit_learns(*made(kind, n, k, share, seed), 10.0**log_c, scaling, penalised)


@pytest.mark.parametrize(
    ("kind", "n", "k", "C", "penalised"),
    [
        pytest.param("plain", 400, 8192, 1.0, False, marks=pytest.mark.slow),
        ("plain", 1000, 64, 1.0, False),
        ("separable", 60, 300, 1e4, False),
        ("constant columns", 50, 40, 1e-4, True),
        ("duplicate columns", 60, 200, 1e4, True),
        ("sparse", 80, 120, 10.0, False),
    ],
)
def test_cv_score_is_scikit_learns_in_hard_cases(kind, n, k, C, penalised):
    assert_scikit_learns(*made(kind, n, k), C, True, penalised, n_splits=2)


@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}, {"scaling": False}], ids=str)
def test_balanced_accuracy_is_scikit_learns(options):
    X, y = trial_data(90, 20, share=0.2)
    model = sklearn_model(X, y, 1.0, options.get("scaling", True), False, class_weight=options.get("class_weight"))
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    expected = cross_val_score(model, X, y, cv=folds, scoring="balanced_accuracy").mean()
    assert cv_score(X, y, seed=3, metric="balanced_accuracy", **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_nested_choice_of_c_is_scikit_learns():
    X, y = trial_data(90, 60, effect=0.15, seed=2)
    grid, expected, chosen = [1e-4, 1e-2, 1.0, 100.0], [], set()
    for train, test in StratifiedKFold(5, shuffle=True, random_state=4).split(X, y):
        model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-9, max_iter=10_000))
        inner = StratifiedKFold(5, shuffle=True, random_state=4)
        search = GridSearchCV(model, {"logisticregression__C": grid}, cv=inner, scoring="roc_auc")
        search.fit(X[train], y[train])
        chosen.add(search.best_params_["logisticregression__C"])
        expected.append(roc_auc_score(y[test], search.decision_function(X[test])))
    assert len(chosen) > 1
    for order in (grid, grid[::-1]):
        assert cv_score(X, y, seed=4, c_grid=order) == pytest.approx(np.mean(expected), abs=1e-5)


def blocked_by_hand(X: np.ndarray, y: np.ndarray, n_splits: int, gap: int) -> float:
    scores, trials = [], np.arange(len(y))
    for test in np.array_split(trials, n_splits):
        train = trials[(trials < test[0] - gap) | (trials > test[-1] + gap)]
        z = sklearn_model(X[train], y[train], 1.0, True, False).decision_function(X[test])
        scores.append(roc_auc_score(y[test], z))
    return float(np.mean(scores))


@pytest.mark.parametrize("gap", [0, 1, 7])
def test_blocked_folds_are_contiguous_and_leave_a_gap(gap):
    X, y = trial_data(60, 12, effect=0.2)
    X = np.cumsum(X, axis=0)  # drifts: trials near the test trials would help
    expected = blocked_by_hand(X, y, 4, gap)
    assert cv_score(X, y, n_splits=4, fold_mode="blocked", fold_gap=gap) == pytest.approx(expected, abs=1e-5)
    options = {"cv_splits": 4, "fold_mode": "blocked", "fold_gap": gap}
    curve = fixed_curve(X, y, ks=[12], R=2, n_label_shuffles=0, **options)
    np.testing.assert_allclose(curve.scores, expected, atol=1e-5)


# ----------------------------------------------------------------------------------------- the engine and float64


def label_rows(y: np.ndarray, C: float, n_rows: int = 4, seed: int = 0):
    """Return weights and labels of the real and of shuffled labels, each trained on 4 of 5 trials."""
    rng = np.random.default_rng(seed)
    labels = np.array([y, *(rng.permutation(y) for _ in range(n_rows - 1))])
    return C * (rng.permuted(np.tile(np.arange(len(y)), (n_rows, 1)), axis=1) % 5 > 0), labels


def decided(X, weights, labels, ks, **options) -> list[np.ndarray]:
    subset = engine.Subset(engine.Population(X, **options), np.arange(X.shape[1]))
    return subset.decide(weights, labels, ks)


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the largest error of a row in units of the spread of its exact values (of their size if they are one)."""
    spread = np.ptp(exact, axis=1)
    size = np.where(spread > 0, spread, np.maximum(np.abs(exact).max(axis=1), 1e-6))
    return float((np.abs(found - exact).max(axis=1) / size).max())


def assert_engine_is_exact(X, y, k: int, C: float, scaling: bool, penalised: bool, tolerance: float = 1e-3) -> None:
    weights, labels = label_rows(y, C)
    fit = {"scaling": scaling, "penalize_intercept": penalised}
    found = decided(X, weights, labels, [k], **fit)[0]
    exact = np.array([newton.decision_values(X[:, :k], *row, **fit) for row in zip(labels, weights, strict=True)])
    assert distance(found, exact) < tolerance
    for one, other, row in zip(found, exact, labels, strict=True):
        # the mean AUC differs by pairs only whose order the error can change
        slack = close_pairs(other, row, np.abs(one - other).max())
        assert roc_auc_score(row, one) == pytest.approx(roc_auc_score(row, other), abs=1e-9 + slack)


@settings(max_examples=25, deadline=None, derandomize=True)  # bounds are of float32, not of arithmetic
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(40, 200),
    k=st.integers(1, 300),
    share=st.sampled_from([0.5, 0.25, 0.1]),
    C=st.sampled_from([1e-4, 0.01, 0.1, 1.0, 10.0]),
    scaling=st.booleans(),
    penalised=st.booleans(),
    seed=st.integers(0, 100),
)
def test_engine_finds_the_decision_values_of_float64(kind, n, k, share, C, scaling, penalised, seed):
    assert_engine_is_exact(*made(kind, n, k, share, seed), k, C, scaling, penalised)


@pytest.mark.parametrize(
    ("kind", "n", "k", "share", "C", "scaling", "penalised"),
    [
        pytest.param("plain", 400, 8192, 0.5, 1.0, True, False, marks=pytest.mark.slow),
        ("plain", 1000, 100, 0.5, 1.0, True, False),
        ("plain", 600, 600, 0.5, 1.0, True, False),
        # a wrong stop: the gradient was measured against an intercept far larger than the weights
        ("plain", 60, 1, 0.1, 1e-4, True, False),
        # separable: the loss is flat long before the optimum
        ("separable", 60, 1, 0.1, 10.0, True, False),
        ("separable", 60, 60, 0.1, 0.1, True, True),
        ("separable", 60, 61, 0.1, 0.1, True, True),
        ("separable", 200, 250, 0.1, 0.01, True, True),
        # without scaling a weight of 10 is one of 25000 on standardised neurons
        ("fluorescence", 60, 10, 0.25, 10.0, False, False),
        ("fluorescence", 200, 50, 0.1, 10.0, False, False),
        ("fluorescence", 60, 61, 0.25, 0.1, False, True),
        ("sparse", 200, 300, 0.3, 1.0, True, False),
        ("duplicate columns", 100, 100, 0.5, 10.0, True, False),
        ("constant columns", 100, 40, 0.5, 1.0, False, True),
    ],
)
def test_engine_finds_the_decision_values_of_float64_in_hard_cases(kind, n, k, share, C, scaling, penalised):
    assert_engine_is_exact(*made(kind, n, k, share, n + k), k, C, scaling, penalised)


@pytest.mark.parametrize(
    ("n", "k", "share", "C", "penalised", "seed"),
    [(159, 96, 0.5, 10.0, False, 444), (56, 107, 0.1, 10.0, True, 850), (194, 54, 0.1, 1.0, False, 80)],
)
def test_cells_that_fire_in_few_trials(n, k, share, C, penalised, seed):
    """Some are nearly constant in the training trials of a row, and far off in one that it leaves out."""
    assert_engine_is_exact(*made("sparse", n, k, share, seed), k, C, True, penalised)


def test_a_weak_penalty_on_as_many_neurons_as_separate_the_trials():
    """The loss is so flat that the primal stopped at another point, with its gradient small for the Hessian's bound."""
    assert_engine_is_exact(*made("fluorescence", 122, 74, 0.5, 159), 74, 10.0, False, False)


@pytest.mark.parametrize(("n", "k"), [(100, 300), (100, 256), (60, 700)])
def test_modes_of_a_subset_are_those_of_its_gram_matrix(n, k):
    rng = np.random.default_rng(n + k)
    X = rng.normal(size=(n, 5)) * np.arange(5, 0, -1) @ rng.normal(size=(5, 900)) + 0.5 * rng.normal(size=(n, 900))
    population = engine.Population(X)
    order = rng.permutation(900)
    modes, power, _ = engine.Subset(population, order)._spectrum(k)
    first = population.standard[order[:k]].astype(np.float64)
    values, vectors = np.linalg.eigh(first.T @ first)
    largest = np.argsort(power[:-1])[-5:]  # the last mode is the intercept's
    overlap = np.abs(vectors[:, -5:].T @ modes[:, largest])
    np.testing.assert_allclose(overlap, np.eye(5), atol=0.05)
    # less the mean of the eigenvalues without a mode
    np.testing.assert_allclose(power[largest], values[-5:], rtol=0.05)


@pytest.mark.parametrize("size", [1, 100, 1000])
@pytest.mark.parametrize("k", [5, 30])
def test_artefacts_in_trials_that_are_left_out_do_not_spoil_the_others(size, k):
    X, y = made("plain", 60, 30, 0.4)
    left_out = np.arange(60) % 6 == 0
    X[left_out] *= size
    weights, labels = label_rows(y, 1.0)
    weights[:, left_out] = 0
    found = decided(X, weights, labels, [k])[0][:, ~left_out]
    exact = np.array([newton.decision_values(X[:, :k], *row) for row in zip(labels, weights, strict=True)])
    assert distance(found, exact[:, ~left_out]) < 1e-3


@pytest.mark.parametrize("C", [100.0, 1e4])
@pytest.mark.parametrize("k", [5, 60, 200])
def test_engine_with_weak_penalties(k, C):
    assert_engine_is_exact(*made("plain", 80, k), k, C, True, False)


@pytest.mark.parametrize("kind", ["plain", "float32", "fluorescence"])
@pytest.mark.parametrize("options", [{}, {"scaling": False}, {"penalize_intercept": True}], ids=str)
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_ordinary_data_need_no_float64(fallbacks, kind, options, share):
    X, y = made(kind, 200, 500, share)
    decided(X, *label_rows(y, 1.0), [1, 8, 30, 128, 300, 500], **options)
    assert len(fallbacks) <= 1  # of 24: how a processor rounds can send one that is near the limit there


def test_unscaled_data_in_large_units_need_no_float64(fallbacks):
    X, y = made("plain", 100, 70)
    ks = [30, 70]
    C = 1e-6  # the same penalty as 9 for sd 1
    decided(3000 * X, *label_rows(y, C), ks, scaling=False)
    assert fallbacks == []


def test_a_neuron_almost_silent_in_training_is_decoded_in_float64(fallbacks):
    X, y = made("plain", 60, 10)
    X[0, 3] = 1e6  # a trial that some rows leave out: for those the neuron is 1e-5 of its scale
    weights, labels = label_rows(y, 1.0, 8)
    found = decided(X, weights, labels, [10])[0]
    assert len(fallbacks) == (weights[:, 0] == 0).sum() > 0
    exact = np.array([newton.decision_values(X, *row) for row in zip(labels, weights, strict=True)])
    kept = weights[:, 0] > 0
    assert distance(found[kept][:, 1:], exact[kept][:, 1:]) < 1e-3
    np.testing.assert_allclose(found[~kept], exact[~kept], rtol=1e-12)


def problem(X, y, k: int, C: float, **options) -> solver.Problem:
    subset = engine.Subset(engine.Population(X, **options), np.arange(X.shape[1]))
    weights, labels = label_rows(y, C)
    scales = engine._Scales(subset, weights, k)
    strengths = engine._Fits.of(subset, weights, [k], None, None, np.zeros(len(weights), dtype=bool)).strengths[0]
    return subset._problem(weights, labels, scales.of(np.arange(len(weights)), k), k, strengths)


@pytest.mark.parametrize("k", [20, 300], ids=["primal", "dual"])
@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_compiled_and_plain_solver_agree(k, penalised, scaling, C):
    X, y = made("plain", 100, 300, 0.4)
    p = problem(X, y, k, C, scaling=scaling, penalize_intercept=penalised)
    assert p.primal == (k == 20)
    values = []
    for minimise in (kernels.minimise, solver.minimise_numpy):
        z, b, error = np.zeros_like(p.weights), np.zeros(4, np.float32), np.zeros(4)
        with np.errstate(all="ignore"):
            iterations = minimise(p, solver.refresh_at(60), z, b, error)
        assert 1 < iterations <= 60
        values.append(z[:, :100] + b[:, None])
    assert distance(values[0], values[1]) < 1e-3


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 19), depth=st.integers(1, 90), columns=st.integers(1, 130), seed=st.integers(0, 99))
def test_packed_products_are_matrix_products(rows, depth, columns, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(depth + 3, columns)).astype(np.float32)
    left = rng.normal(size=(rows, depth + 5)).astype(np.float32)
    panels = kernels.pack(matrix)
    width = kernels.WIDTH
    assert panels.shape == (-(-columns // width), depth + 3, width)
    padded = np.pad(matrix, ((0, 0), (0, -columns % width)))
    np.testing.assert_array_equal(panels, padded.reshape(depth + 3, -1, width).swapaxes(0, 1))
    np.testing.assert_array_equal(kernels.pack(np.asfortranarray(matrix)), panels)
    out = np.full((rows, panels.shape[0] * width), np.nan, np.float32)
    kernels.product(left, panels, depth, out)
    exact = left[:, :depth].astype(np.float64) @ padded[:depth].astype(np.float64)
    np.testing.assert_allclose(out, exact, atol=1e-6 * depth)
    alone = np.empty_like(out[:1])
    kernels.product(left[-1:], panels, depth, alone)
    np.testing.assert_array_equal(alone, out[-1:])


@pytest.mark.parametrize("m", [1, 5, 70])
def test_symmetric_matrices_and_products_of_columns_are_packed_as_others(m):
    rng = np.random.default_rng(m)
    square = rng.normal(size=(m, m)).astype(np.float32)
    square += square.T
    lower = np.where(np.tri(m, dtype=bool), square, np.nan)  # what is above the diagonal is not read
    np.testing.assert_array_equal(kernels.pack_symmetric(lower), kernels.pack(square))
    columns = rng.normal(size=(30, m)).astype(np.float32)
    pairs = np.array([columns[:, t] * columns[:, u] for t in range(m) for u in range(t + 1)]).T
    np.testing.assert_array_equal(kernels.pack_pairs(columns), kernels.pack(pairs))


def test_pairs_are_won_by_the_higher_value_and_ties_count_half():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 5, size=(3, 20)).astype(np.float64)
    z[1, :4] = np.nan, np.inf, -np.inf, np.nan
    rows, mine, others = np.array([0, 1, 2, 1]), np.full((4, 8), -1), np.full((4, 9), -1)
    for group, (n_mine, n_others) in enumerate([(8, 9), (7, 2), (3, 0), (0, 9)]):
        trials = rng.permutation(20)
        mine[group, :n_mine], others[group, :n_others] = trials[:n_mine], trials[8 : 8 + n_others]
    found = kernels.pairs_won(z, rows, mine, others)
    for group, place in np.ndindex(mine.shape):
        own, theirs = z[rows[group], mine[group, place]], z[rows[group], others[group][others[group] >= 0]]
        expected = (own > theirs).sum() + 0.5 * (own == theirs).sum() if mine[group, place] >= 0 else 0
        assert found[group, place] == expected


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("c", [None, [1.0, 1.0, 20.0]])
def test_weights_times_a_number_of_each_row_have_the_bits_of_these_weights(shared, c):
    X, y = made("plain", 60, 150, 0.4)
    weights, labels = np.repeat(label_rows(y, 1.0, 1)[0], 6, axis=0), label_rows(y, 1.0, 6)[1]
    times = np.array([[0.25, 0.5, 0.25, 2, 1, 1], [4.0] * 6, [1, 2, 1, 2, 1, 2]])
    subset, together = engine.Subset(engine.Population(X), np.arange(150)), np.full(6, shared)
    found = subset.decide(weights, labels, [150, 20, 150], c, together, times)
    for i, (k, one) in enumerate(zip([150, 20, 150], found, strict=True)):
        by = times[i][:, None]
        alone = subset.decide(weights * by, labels, [k], None if c is None else c[i : i + 1], together)[0]
        np.testing.assert_array_equal(one, alone)
    np.testing.assert_array_equal(subset.decide(weights, labels, [20], None, together, np.array([[4.0]]))[0],
                                  subset.decide(4 * weights, labels, [20], None, together)[0])  # fmt: skip


def test_without_numba_scores_are_the_same_and_a_warning_says_so():
    script = """
import json, sys, warnings
sys.modules["numba"] = None
import numpy as np
from pipeline.decoding import neuron_dropping_curve
X, y = np.random.default_rng(0).normal(size=(60, 150)), np.tile([0, 1, 1], 20)
X[:, :30] += 0.5 * y[:, None]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    asked = {"ks": [1, 10, 150], "R": 3, "n_label_shuffles": 3, "penalty": "fixed"}
    ways = {"scaling": True}, {"scaling": False}, {"shared_folds": True}
    curves = [neuron_dropping_curve(X, y, **asked, **way) for way in ways]
print(json.dumps([[str(w.message) for w in caught], [c.scores.tolist() + c.null_scores.tolist() for c in curves]]))
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    messages, found = json.loads(done.stdout)
    assert sum("numba could not compile" in message for message in messages) == 1
    X, y = np.random.default_rng(0).normal(size=(60, 150)), np.tile([0, 1, 1], 20)
    X[:, :30] += 0.5 * y[:, None]
    ways = {"scaling": True}, {"scaling": False}, {"shared_folds": True}
    for way, scores in zip(ways, found, strict=True):
        curve = fixed_curve(X, y, ks=[1, 10, 150], R=3, n_label_shuffles=3, **way)
        np.testing.assert_allclose(scores, [*curve.scores, *curve.null_scores], atol=1e-3)


# ------------------------------------------------------------------------------------------------------------- bits


def test_decision_values_have_the_same_bits_whatever_is_solved_together(monkeypatch):
    X, y = made("plain", 90, 400, 0.4)
    population, order = engine.Population(X), np.random.default_rng(3).permutation(400)
    weights, labels = label_rows(y, 1.0, 14)
    ks = [1, 7, 24, 50, 55, 90, 91, 151, 400]
    together = engine.Subset(population, order).decide(weights, labels, ks)
    backwards = engine.Subset(population, order).decide(weights[::-1], labels[::-1], ks[::-1])
    for k, found, other in zip(ks, together, backwards[::-1], strict=True):
        np.testing.assert_array_equal(found, other[::-1], err_msg=f"k = {k}, rows in another order")
    monkeypatch.setattr(engine, "BATCH_ROWS", 5)
    for k, found in zip(ks, together, strict=True):
        fewer = engine.Subset(population, order[:k]).decide(weights, labels, [k])[0]
        np.testing.assert_array_equal(found, fewer, err_msg=f"k = {k} alone, 5 rows at a time")


X_BITS, Y_BITS = trial_data(60, 90, effect=0.25, share=0.4)
BITS = {
    "ks": (1, 9, 50, 90), "R": 4, "n_label_shuffles": 54, "null_subsets": 1, "seed": 5, "shuffle_seed": 8,
    "cv_splits": 3,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaling": False, "null_subsets": 0},
        {"penalize_intercept": True, "C": 0.1},
        {"trial_shuffled": True, "n_label_shuffles": 24, "null_subsets": 3},
        {"c_grid": (0.01, 1.0), "n_label_shuffles": 3},
        {"curve_axis": "trials", "ks": (20, 31, 45, 60)},
        {"ceiling_mode": "all", "ks": (1, 9, 40, 60), "class_weight": "balanced", "metric": "balanced_accuracy"},
        {"null": "linear_shift", "n_label_shuffles": 8, "n_bootstrap": 5},
    ],
    ids=str,
)
def test_scores_have_the_same_bits_whatever_is_computed_together(monkeypatch, options):
    asked = {**BITS, **options}
    curve = fixed_curve(X_BITS, Y_BITS, **asked)
    assert np.isfinite(curve.scores).all() and np.isfinite(curve.null_scores).all()

    def assert_part(rows, R, S, **change):
        R = max(R, asked["null_subsets"])  # the null is a mean over so many
        change = {"R": R, "n_label_shuffles": S, "ks": [asked["ks"][i] for i in rows], **change}
        part = fixed_curve(X_BITS, Y_BITS, **{**asked, **change})
        np.testing.assert_array_equal(part.scores, curve.scores[rows, :R])
        np.testing.assert_array_equal(part.null_scores, curve.null_scores[rows, :S])

    everything, n_shuffles = [0, 1, 2, 3], asked["n_label_shuffles"]
    assert_part(everything, 4, n_shuffles, n_jobs=2)
    assert_part([1, 2], 2, 3)
    assert_part([0], 1, n_shuffles, n_jobs=-1, memory_mb=1e-3)
    monkeypatch.setattr(engine, "BATCH_ROWS", 5)
    assert_part(everything, 3, n_shuffles)


# ---------------------------------------------------------------------------------------------------------- options


X_NDC, Y_NDC = trial_data(60, 30, share=0.4, seed=1)


def draw(r: int, seed: int = 0) -> tuple[np.random.SeedSequence, np.ndarray, int]:
    """Return the documented draws of a repeat: the seed of its order, the order, and the seed of its folds."""
    order, folds = np.random.SeedSequence([seed, r]).spawn(2)
    return order, np.random.default_rng(order).permutation(X_NDC.shape[1]), int(folds.generate_state(1)[0])


def by_hand(r: int, k: int, y: np.ndarray = Y_NDC, X: np.ndarray = X_NDC, **options) -> float:
    _, order, folds = draw(r)
    return cv_score(X[y >= 0][:, order[:k]], y[y >= 0], seed=folds, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"class_weight": "balanced", "metric": "accuracy"},
        {"penalize_intercept": True},
        {"penalize_intercept": True, "scaling": False, "class_weight": "balanced", "C": 0.1},
        {"metric": "balanced_accuracy", "C": 0.01},
        {"c_grid": (0.001, 0.1, 10.0)},
        {"fold_mode": "blocked", "fold_gap": 2},
        {"fold_mode": "blocked", "c_grid": (0.01, 1.0), "metric": "balanced_accuracy"},
    ],
    ids=str,
)
def test_curves_have_the_scores_of_cv_score(options):
    curve = fixed_curve(X_NDC, Y_NDC, ks=(3, 30), R=3, n_label_shuffles=2, cv_splits=4, **options)
    options = {**options, "n_splits": 4}
    np.testing.assert_allclose(curve.scores, [[by_hand(r, k, **options) for r in range(3)] for k in (3, 30)], atol=1e-5)
    shuffled = shuffled_labels(Y_NDC, "permute", 2, 0)[1]
    expected = [[np.mean([by_hand(r, k, row, **options) for r in range(3)]) for row in shuffled] for k in (3, 30)]
    np.testing.assert_allclose(curve.null_scores, expected, atol=1e-5)


@pytest.mark.parametrize("metric", ["auc", "balanced_accuracy"])
def test_trial_means_are_those_of_a_slow_bootstrap(metric):
    options = {"R": 3, "n_label_shuffles": 2, "cv_splits": 4, "metric": metric, "intervals": "test_trials"}
    y = np.where(np.arange(60) % 15 == 0, -1, Y_NDC).astype(np.int8)
    curve = fixed_curve(X_NDC, y, ks=(4, 30), n_bootstrap=6, **options)
    assert curve.trial_means.shape == (2, 6)
    used = np.flatnonzero(y >= 0)
    X, labels = X_NDC[used], y[used]
    score = roc_auc_score if metric == "auc" else lambda true, z: balanced_accuracy_score(true, z > 0)
    for i, k in enumerate((4, 30)):
        for b in range(6):
            drawn = np.random.default_rng(np.random.SeedSequence([0, b, 3])).integers(len(used), size=len(used))
            means = []
            for r in range(3):
                _, order, folds = draw(r)
                by_fold = []
                for train, test in StratifiedKFold(4, shuffle=True, random_state=folds).split(X, labels):
                    weights = np.isin(np.arange(len(used)), train).astype(float)
                    z = newton.decision_values(X[:, order[:k]], labels, weights)
                    again = drawn[np.isin(drawn, test)]
                    if len(set(labels[again])) == 2:
                        by_fold.append(score(labels[again], z[again]))
                means.append(np.mean(by_fold))
            assert curve.trial_means[i, b] == pytest.approx(np.mean(means), abs=1e-5)
    without = fixed_curve(X_NDC, y, ks=(4, 30), **options)
    assert without.trial_means.shape == (2, 0)
    np.testing.assert_array_equal(without.scores, curve.scores)
    np.testing.assert_array_equal(without.null_scores, curve.null_scores)


@pytest.mark.parametrize("metric", ["auc", "accuracy", "balanced_accuracy"])
def test_influences_have_the_variance_of_trials_drawn_again_within_their_class_and_fold(metric):
    y = np.where(np.arange(60) % 15 == 0, -1, Y_NDC).astype(np.int8)
    used = np.flatnonzero(y >= 0)
    X, labels = X_NDC[used], y[used]
    # a single subset: over several, the folds of each make other groups to draw from
    curve = fixed_curve(X_NDC, y, ks=(4,), R=1, n_label_shuffles=0, cv_splits=4, metric=metric)
    assert curve.influences.shape == (1, len(used))
    _, order, folds = draw(0)
    rng, again, corrected = np.random.default_rng(1), np.zeros(2000), 0.0
    for train, test in StratifiedKFold(4, shuffle=True, random_state=folds).split(X, labels):
        weights = np.isin(np.arange(len(used)), train).astype(float)
        z = newton.decision_values(X[:, order[:4]], labels, weights)
        low, high = (
            rng.choice(z[test[labels[test] == label]], (2000, (labels[test] == label).sum())) for label in (0, 1)
        )
        right = (low <= 0).sum(axis=1), (high > 0).sum(axis=1)
        sizes = low.shape[1], high.shape[1]
        again += {
            "auc": (high[:, :, None] > low[:, None]).mean(axis=(1, 2)), "accuracy": sum(right) / sum(sizes),
            "balanced_accuracy": (right[0] / sizes[0] + right[1] / sizes[1]) / 2,
        }[metric] / 4  # fmt: skip
        corrected += np.mean([n / (n - 1) for n in sizes]) / 4
    # 2,000 draws: their standard deviation is known to 1.6 %; an AUC also has a small variance of both classes together
    assert np.sqrt(np.sum(curve.influences**2)) == pytest.approx(again.std() * np.sqrt(corrected), rel=0.08)
    assert curve.influences.sum() == pytest.approx(0, abs=1e-12)  # deviations from means


def test_trial_curves_keep_nested_trials_in_the_proportion_of_the_classes():
    y = np.where(np.arange(100) % 10 == 3, -1, np.arange(100) % 4 == 0).astype(np.int8)
    seed = np.random.SeedSequence([1, 2])
    rows = [curves._fewer_trials(y, n, seed) for n in range(1, 91)]
    for n, row in enumerate(rows, start=1):
        kept = row >= 0
        np.testing.assert_array_equal(row[kept], y[kept])
        assert kept.sum() == n
        assert abs((row == 1).sum() - n * (y == 1).sum() / 90) <= 0.5
        assert n == 1 or not (kept < (rows[n - 2] >= 0)).any()


def test_trial_curves_have_the_scores_of_those_trials():
    ks = (20, 41, 60)
    options = {"curve_axis": "trials", "cv_splits": 3, "null_subsets": 0}
    curve = fixed_curve(X_NDC, Y_NDC, ks=ks, R=3, n_label_shuffles=2, **options)
    assert curve.ks.tolist() == list(ks)
    labels = [[Y_NDC] * 3, shuffled_labels(Y_NDC, "permute", 2, 0)[1]]
    for found, rows in zip((curve.scores, curve.null_scores), labels, strict=True):
        for r, row in enumerate(rows):
            order, _, folds = draw(r)
            for i, k in enumerate(ks):
                kept = curves._fewer_trials(row, k, order) >= 0
                expected = cv_score(X_NDC[kept], row[kept], seed=folds, n_splits=3)
                assert found[i, r] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="60 trials"):
        fixed_curve(X_NDC, Y_NDC, ks=[61], R=1, curve_axis="trials")
    with pytest.raises(ValueError, match="cannot have k = 8: 5 folds need as many trials of each class"):
        fixed_curve(X_NDC, Y_NDC, ks=[8, 60], R=1, curve_axis="trials")
    with pytest.raises(ValueError, match=r"k = 13: inside a training fold, where C is chosen from c_grid: 5 folds"):
        fixed_curve(X_NDC, Y_NDC, ks=[13], R=1, curve_axis="trials", c_grid=(0.1, 1.0), n_label_shuffles=0)


def test_more_trials_decode_better():
    X, y = trial_data(300, 40, effect=0.3)
    curve = fixed_curve(X, y, ks=(20, 80, 300), R=8, n_label_shuffles=0, curve_axis="trials")
    assert (np.diff(curve.mean) > 0.03).all()


def test_trials_shuffled_within_classes_lose_shared_noise_and_nothing_else():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 100).astype(np.int8)
    X = 0.4 * y[:, None] + rng.normal(size=(200, 1)) + 0.5 * rng.normal(size=(200, 40))
    options = {"ks": (40,), "R": 6, "n_label_shuffles": 30}
    kept, removed = (fixed_curve(X, y, **options, trial_shuffled=s) for s in (False, True))
    # sum over neurons: d' = 0.4 whatever k is, against 0.4 sqrt(40 / 1.25)
    assert kept.mean[0] < 0.75
    assert removed.mean[0] > 0.95
    assert abs(removed.null_scores.mean() - 0.5) < 0.1


def test_trial_shuffling_keeps_what_each_neuron_does_in_each_class():
    y = np.where(np.arange(60) < 5, -1, Y_NDC).astype(np.int8)
    work = curves._Work(X_NDC, y, np.empty((0, 60)), curves.Validation(), 0, 0, "cells", True, True, False)
    order = np.arange(30)[::-1]
    standard, raw = work._replaced(order, 2, y)
    for label in (-1, 0, 1):
        np.testing.assert_array_equal(np.sort(raw[y == label], axis=0), np.sort(X_NDC[y == label][:, order], axis=0))
    np.testing.assert_allclose(standard, ((raw - X_NDC[:, order].mean(0)) / X_NDC[:, order].std(0)).T, atol=1e-5)
    moved = raw != X_NDC[:, order]
    assert moved[y >= 0].mean() > 0.9
    assert len({tuple(column) for column in moved[y >= 0].T}) > 20  # each neuron in its own way
    assert (work._replaced(order, 3, y)[1] != raw).any()


@pytest.mark.slow
def test_p_without_noise_correlations_is_calibrated():
    p = []
    for seed in range(20):  # activity that drifts and knows nothing, labels in blocks of 20
        rng = np.random.default_rng(seed)
        X = np.cumsum(rng.normal(size=(120, 20)), axis=0)
        y, *null = np.repeat(rng.permuted(np.tile([0, 0, 0, 1, 1, 1], (20, 1)), axis=1), 20, axis=1)
        curve = fixed_curve(X, y, ks=[20], R=2, n_label_shuffles=19, null=null, trial_shuffled=True)
        p.append(curve.p_values()[0])
    assert np.mean(np.array(p) <= 0.05) <= 0.2
    assert 0.3 < np.mean(p) < 0.75


def test_labels_of_ones_own_are_the_null_and_may_leave_trials_out():
    null = np.random.default_rng(0).integers(-1, 2, (4, 60))
    curve = fixed_curve(X_NDC, Y_NDC, ks=(3, 30), R=2, n_label_shuffles=3, null=null, cv_splits=3)
    expected = [[np.mean([by_hand(r, k, y, n_splits=3) for r in range(2)]) for y in null[:3]] for k in (3, 30)]
    np.testing.assert_allclose(curve.null_scores, expected, atol=1e-5)
    for wrong in (null[:2], null[:, 1:], null + 1, null * np.nan, null[0]):
        with pytest.raises(ValueError, match="shuffled labels"):
            fixed_curve(X_NDC, Y_NDC, ks=[3], R=2, n_label_shuffles=3, null=wrong)


def test_linear_shift_leaves_the_same_edges_out_of_all_labels():
    curve = fixed_curve(X_NDC, Y_NDC, ks=[5], R=2, n_label_shuffles=4, null="linear_shift", cv_splits=3)
    real, null = shuffled_labels(Y_NDC, "linear_shift", 4, 0)
    assert (real == -1).sum() == 30
    np.testing.assert_allclose(curve.scores[0], [by_hand(r, 5, real, n_splits=3) for r in range(2)], atol=1e-5)
    expected = [np.mean([by_hand(r, 5, row, n_splits=3) for r in range(2)]) for row in null]
    np.testing.assert_allclose(curve.null_scores[0], expected, atol=1e-5)


def test_in_turn_a_shuffle_shares_its_repeat_with_the_one_fifty_before_it():
    curve = fixed_curve(X_NDC, Y_NDC, ks=[4], R=1, n_label_shuffles=52, null_subsets=0)
    row = shuffled_labels(Y_NDC, "permute", 52, 0)[1][51]
    assert curve.null_scores[0, 51] == pytest.approx(by_hand(1, 4, row), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"scaling": False}, {"C": 0.01, "n_bootstrap": 3}], ids=str)
def test_trials_left_out_by_a_label_count_for_nothing(options):
    y = np.where(np.random.default_rng(0).random(60) < 0.2, -1, Y_NDC)
    X = np.where(y[:, None] < 0, 100, 1) * X_NDC  # not in means, not in standard deviations
    given_, dropped = (
        fixed_curve(X[keep], y[keep], ks=(3, 30), R=3, n_label_shuffles=0, cv_splits=3, **options)
        for keep in (y > -2, y >= 0)
    )
    np.testing.assert_allclose(given_.scores, dropped.scores, atol=1e-5)
    assert given_.trial_means.shape == dropped.trial_means.shape


# ------------------------------------------------------------------------------------------------------ known curves


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> set[tuple]:
    """Every score that is computed: (kind, repeat or shuffle, k)."""
    scores, seen = curves._Work.scores, set()

    def counted(self, repeat, real, shuffles, ks):
        seen.update(("real", repeat, int(k)) for k in ks if real)
        seen.update(("null", int(s), int(k)) for s in shuffles for k in ks)
        return scores(self, repeat, real, shuffles, ks)

    monkeypatch.setattr(curves._Work, "scores", counted)
    return seen


@pytest.mark.parametrize(
    ("intervals", "n_bootstrap", "null_subsets"),
    [("new_trials", 0, 0), ("test_trials", 0, 0), ("test_trials", 4, 2), ("new_trials", 4, 2)],
)
def test_a_known_curve_is_extended(computed, intervals, n_bootstrap, null_subsets):
    options = {"cv_splits": 3, "n_bootstrap": n_bootstrap, "intervals": intervals, "seed": 2, "ceiling_mode": "all"}
    options["null_subsets"] = null_subsets
    small = {"ks": (4, 12), "R": 2, "n_label_shuffles": 3}
    large = {"ks": (2, 4, 12, 20), "R": 4, "n_label_shuffles": 52}
    whole = fixed_curve(X_NDC, Y_NDC, **large, **options)
    known = fixed_curve(X_NDC, Y_NDC, **small, **options)
    computed.clear()
    found = fixed_curve(X_NDC, Y_NDC, **large, **options, known=known)
    np.testing.assert_array_equal(found.scores, whole.scores)
    np.testing.assert_array_equal(found.null_scores, whole.null_scores)
    np.testing.assert_allclose(found.trial_means, whole.trial_means, rtol=1e-12)
    np.testing.assert_allclose(found.influences, whole.influences, rtol=1e-9, atol=1e-12)
    assert (found.influences.size > 0, found.trial_means.size > 0) == (
        intervals == "new_trials", intervals == "test_trials" and n_bootstrap > 0,
    )  # fmt: skip
    assert found.ceiling == whole.ceiling
    new = {("real", r, k) for r in range(4) for k in (2, 4, 12, 20, 30) if k in (2, 20, 30) or r >= 2}
    new |= {("null", s, k) for s in range(52) for k in (2, 4, 12, 20) if k in (2, 20) or s >= 3}
    again = computed - new
    assert new <= computed
    assert len(again) <= 2  # a known score and one of shuffled labels, to see that they are of these data


def test_a_known_curve_with_fewer_subsets_than_the_null_needs_gives_its_real_scores(computed):
    known = fixed_curve(X_NDC, Y_NDC, ks=[4], R=2, n_label_shuffles=3)
    whole = fixed_curve(X_NDC, Y_NDC, ks=[4], R=4, n_label_shuffles=3)
    computed.clear()
    found = fixed_curve(X_NDC, Y_NDC, ks=[4], R=4, n_label_shuffles=3, known=known)
    np.testing.assert_array_equal(found.scores, whole.scores)
    np.testing.assert_array_equal(found.null_scores, whole.null_scores)
    assert {seen for seen in computed if seen[0] == "real"} == {("real", r, 4) for r in (0, 2, 3)}  # 0 to compare


def test_a_known_curve_with_more_than_is_asked_for_needs_nothing_new(computed):
    options = {"cv_splits": 3, "seed": 2, "null_subsets": 2, "intervals": "test_trials"}
    known = fixed_curve(X_NDC, Y_NDC, ks=(4, 12), R=4, n_label_shuffles=5, **options)
    computed.clear()
    found = fixed_curve(X_NDC, Y_NDC, ks=(12,), R=2, n_label_shuffles=3, **options, known=known)
    assert len(computed) <= 2
    np.testing.assert_array_equal(found.scores, known.scores[1:, :2])
    np.testing.assert_array_equal(found.null_scores, known.null_scores[1:, :3])


@pytest.mark.parametrize(
    "change",
    [{"C": 1e-4}, {"seed": 3}, {"cv_splits": 4}, {"metric": "accuracy"}, {"X": X_NDC[::-1]}, {"shuffle_seed": 9}],
    ids=lambda change: next(iter(change)),
)
def test_a_known_curve_of_other_data_or_settings_is_refused(change):
    asked = {"X": X_NDC, "y": Y_NDC, "ks": (1, 9, 30), "R": 2, "n_label_shuffles": 3, "seed": 2, "cv_splits": 3}
    known = fixed_curve(**{**asked, **change})
    with pytest.raises(ValueError, match="known curve is not of these data"):
        fixed_curve(**asked, known=known)


DECIDING = """
import hashlib
import numpy as np
from pipeline.decoding.compiled import is_compiled
from pipeline.decoding.engine import Population, Subset

assert not is_compiled()
rng = np.random.default_rng(0)
X, labels, weights = rng.normal(size=(60, 120)), rng.integers(0, 2, (4, 60)), (rng.random((4, 60)) < 0.8).astype(float)
for values in Subset(Population(X), np.arange(120)).decide(weights, labels, [20, 120]):
    print(hashlib.sha256(values.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_process_that_compiles_computes_the_bits_of_those_that_load_what_it_compiled(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", DECIDING], env=environment, cwd=Path(__file__).parents[3], text=True, check=True,
            capture_output=True,
        )
        for _ in range(2)
    )  # fmt: skip
    assert "Compiling" in first.stderr and "Compiling" not in second.stderr
    assert first.stdout == second.stdout and len(first.stdout.split()) == 2


# -------------------------------------------------------------------------------------------------- memory and input


@pytest.mark.slow
def test_memory_does_not_grow_with_repeats_and_shuffles():
    X, y = trial_data(80, 600)
    peaks = []
    for times in (1, 4):
        tracemalloc.start()
        S = curves.MAX_VECTORS_PER_ITEM * times
        fixed_curve(X, y, ks=(10, 300, 600), R=5 * times, n_label_shuffles=S, null_subsets=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_row_and_column(dtype, value):
    X = X_NDC.astype(dtype)
    X[17, 3] = X[20, 1] = value
    y = np.where(np.arange(60) == 17, -1, Y_NDC)
    for call in (
        lambda: cv_score(X, Y_NDC),
        lambda: fixed_curve(X, Y_NDC, ks=[2], R=1, n_label_shuffles=0),
        lambda: fixed_curve(X, y, ks=[2], R=1, n_label_shuffles=0),
    ):
        with pytest.raises(ValueError, match="row 17, column 3, and 1 places more"):
            call()


def test_counts_of_spikes_and_labels_of_any_type_are_fine():
    X = np.random.default_rng(0).poisson(2, (60, 8)) + 2 * Y_NDC[:, None]
    expected = fixed_curve(X.astype(float), Y_NDC, ks=[4], R=2, n_label_shuffles=1)
    for kind in (np.int64, np.uint8, np.float32):
        found = fixed_curve(X.astype(kind), Y_NDC.astype(bool), ks=[4], R=2, n_label_shuffles=1)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert cv_score(X.astype(kind), Y_NDC.astype(float)) == cv_score(X.astype(float), Y_NDC)

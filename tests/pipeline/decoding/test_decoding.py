"""Decoding against scikit-learn, plain loops, and data whose informative cells are known."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.decoding import (
    NDCCurve,
    balanced_counts,
    cv_score,
    neuron_dropping_curve,
    pick_trials,
    target_labels,
    trial_coverage,
    window_means,
)
from pipeline.decoding.features import FOVCells, noise_level, noise_of_cells, trial_features
from pipeline.decoding.newton import decision_values
from pipeline.errors import DataError
from pipeline.signals import windows as windows_module
from pipeline.signals.noise import noise_levels

RULES = ("nearest", "drop", "next", "interpolate")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """With small matrices more threads are slower."""
    with threadpool_limits(1):
        yield


# ------------------------------------------------------------------------------------------------------ cv_score


def sklearn_model(C=1.0, scaling=True, penalize_intercept=False, **weights):
    solver = {"solver": "liblinear", "random_state": 0} if penalize_intercept else {"solver": "lbfgs"}
    model = LogisticRegression(C=C, tol=1e-10, max_iter=100_000, **solver, **weights)
    return make_pipeline(StandardScaler(), model) if scaling else make_pipeline(model)


def sklearn_score(X, y, *, n_splits=5, seed=0, metric="auc", **options):
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    scoring = {"auc": "roc_auc", "accuracy": "accuracy"}[metric]
    return cross_val_score(sklearn_model(**options), np.asarray(X, np.float64), y, cv=folds, scoring=scoring).mean()


def trial_data(n: int, k: int, *, effect: float = 0.4, share: float = 0.5, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.zeros(n, dtype=int)
    y[rng.permutation(n)[: max(round(share * n), 6)]] = 1
    return rng.normal(size=(n, k)) + effect * y[:, None] * rng.choice([-1, 1], k), y


DATA = {
    "k < n": trial_data(80, 12),
    "k > n": trial_data(50, 130),
    "k = training fold": trial_data(50, 40),
    "one neuron": trial_data(60, 1),
    "separable": trial_data(50, 10, effect=6),
    "unbalanced": trial_data(90, 20, share=0.15),
    "float32": (trial_data(60, 15)[0].astype(np.float32), trial_data(60, 15)[1]),
    "duplicate columns": (np.tile(trial_data(60, 8)[0], 3), trial_data(60, 8)[1]),
    "constant columns": (np.c_[np.tile([0.1, 1 / 3, 1e2 / 7, 0], (60, 1)), trial_data(60, 8)[0]], trial_data(60, 8)[1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metric": "accuracy"},
        {"C": 1e-3, "seed": 3},
        {"C": 10.0, "n_splits": 3, "metric": "accuracy"},
        {"scaling": False},
        {"class_weight": "balanced", "metric": "accuracy"},
        {"penalize_intercept": True},
        {"penalize_intercept": True, "scaling": False, "class_weight": "balanced", "C": 0.1},
    ],
    ids=str,
)
def test_cv_score_is_scikit_learns(name, options):
    X, y = DATA[name]
    assert cv_score(X, y, **options) == pytest.approx(sklearn_score(X, y, **options), abs=1e-5)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("scaling", [True, False])
@pytest.mark.parametrize("penalize_intercept", [True, False])
def test_decision_values_are_scikit_learns(name, scaling, penalize_intercept):
    """Scores are ranks and hide a small error; the values behind them do not."""
    X, y = DATA[name]
    train, test = next(StratifiedKFold(5).split(X, y))
    model = sklearn_model(0.5, scaling, penalize_intercept).fit(X[train].astype(float), y[train])
    weights = np.zeros(len(y))
    weights[train] = 0.5
    found = decision_values(X, y, weights, scaling=scaling, penalize_intercept=penalize_intercept)[test]
    np.testing.assert_allclose(found, model.decision_function(X[test].astype(float)), rtol=1e-4, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(
    n=st.integers(24, 60),
    k=st.integers(1, 80),
    effect=st.floats(0, 3),
    log_c=st.integers(-3, 1),
    scaling=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_cv_score_is_scikit_learns_whatever_the_shape(n, k, effect, log_c, scaling, seed):
    X, y = trial_data(n, k, effect=effect, seed=seed)
    options = {"C": 10.0**log_c, "scaling": scaling, "seed": seed}
    assert cv_score(X, y, **options) == pytest.approx(sklearn_score(X, y, **options), abs=1e-5)


@pytest.mark.parametrize("k", [5, 200])
def test_unscaled_fluorescence_far_from_zero_is_decoded_at_the_optimum(k):
    X, y = trial_data(80, k, effect=0.3)
    raw = 500 + 50 * X  # the intercept is free: a shift of all trials cannot change the score
    assert cv_score(raw, y, scaling=False) == pytest.approx(sklearn_score(50 * X, y, scaling=False), abs=1e-5)


def test_cv_score_of_columns_without_information_is_one_half():
    y = np.repeat([0, 1], 20)
    assert cv_score(np.full((40, 7), 0.1), y) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_cv_score_names_the_row_and_column_that_are_not_finite(value):
    X, y = trial_data(40, 5)
    X[17, 3] = value
    with pytest.raises(ValueError, match="row 17, column 3"):
        cv_score(X, y)
    with pytest.raises(ValueError, match="row 17, column 3"):
        neuron_dropping_curve(X, y, ks=[2], R=1, n_label_shuffles=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y + 1), "labels must be 0 and 1"),
        (lambda X, y: (X, np.where(y == 1, np.nan, 0)), "labels must be 0 and 1"),
        (lambda X, y: (X, (np.arange(40) < 4).astype(int)), "5 folds need"),
        (lambda X, y: (X, np.zeros(40, int)), "5 folds need"),
        (lambda X, y: (X, y[:-1]), r"\(40, 5\) and \(39,\)"),
        (lambda X, y: (X[:, 0], y), "neurons"),
        (lambda X, y: (X[:, :0], y), r"\(40, 0\)"),
    ],
)
def test_cv_score_refuses_what_it_cannot_score(change, message):
    with pytest.raises(ValueError, match=message):
        cv_score(*change(*trial_data(40, 5)))


def test_cv_score_refuses_an_unknown_metric_and_a_single_fold():
    X, y = trial_data(40, 5)
    with pytest.raises(ValueError, match=r"metric must be one of .*'f1'"):
        cv_score(X, y, metric="f1")
    with pytest.raises(ValueError, match="2 or more, not 1"):
        cv_score(X, y, n_splits=1)


# -------------------------------------------------------------------------------------------------------- curves


NDC = {"ks": (2, 5, 9), "R": 4, "n_label_shuffles": 3, "null_subsets": 2, "seed": 5, "shuffle_seed": 8}
X_NDC, Y_NDC = trial_data(40, 12)


@pytest.fixture(scope="module")
def curve() -> NDCCurve:
    return neuron_dropping_curve(X_NDC, Y_NDC, **NDC)


def by_hand(r: int, k: int, y=Y_NDC, seed: int = 5) -> float:
    """The documented recipe: one seed sequence per repeat, spawned into an order and folds.

    The curve's penalty is C = 1/k by default, that of a single score C = 1.
    A curve's decision values come from float32: their order is the same, sums of ranks may round differently.
    """
    order, folds = np.random.SeedSequence([seed, r]).spawn(2)
    columns = np.random.default_rng(order).permutation(X_NDC.shape[1])[:k]
    return cv_score(X_NDC[:, columns], y, seed=int(folds.generate_state(1)[0]), penalty="scaled")


def test_curve_shapes_and_types(curve):
    assert curve.ks.tolist() == [2, 5, 9]
    assert curve.ks.dtype == np.int64
    assert (curve.scores.shape, curve.null_scores.shape) == ((3, 4), (3, 3))
    assert {curve.scores.dtype, curve.null_scores.dtype, curve.mean.dtype} == {np.dtype(np.float64)}
    assert isinstance(curve.ceiling, float)


def test_scores_are_those_of_nested_subsets_drawn_by_hand(curve):
    np.testing.assert_allclose(curve.scores, [[by_hand(r, k) for r in range(4)] for k in (2, 5, 9)], atol=1e-12)


def test_null_scores_are_the_same_subsets_with_labels_permuted_by_hand(curve):
    labels = [np.random.default_rng(np.random.SeedSequence([8, s, 1])).permutation(Y_NDC) for s in range(3)]
    by_labels = [[np.mean([by_hand(r, k, y) for r in range(2)]) for y in labels] for k in (2, 5, 9)]
    np.testing.assert_allclose(curve.null_scores, by_labels, atol=1e-12)


def test_what_is_not_compiled_yet_is_compiled_in_the_calling_thread(monkeypatch):
    """Ctrl-C had to wait for threads that compiled: 29 s in one run."""
    from pipeline.decoding import compiled, curves

    def name(item: int) -> str:
        monkeypatch.setattr(compiled, "is_compiled", lambda: True)
        return threading.current_thread().name

    def names() -> list[str]:
        return [result for _, result in curves._run(name, range(6), 3)]

    monkeypatch.setattr(compiled, "is_compiled", lambda: False)
    here = threading.current_thread().name
    assert [one == here for one in names()] == [True] + [False] * 5
    assert here not in names()


def test_scores_do_not_depend_on_the_number_of_threads(curve):
    again = neuron_dropping_curve(X_NDC, Y_NDC, **NDC, n_jobs=2)
    np.testing.assert_array_equal(again.scores, curve.scores)
    np.testing.assert_array_equal(again.null_scores, curve.null_scores)


def test_scores_do_not_depend_on_what_is_asked_for_together(curve):
    part = neuron_dropping_curve(X_NDC, Y_NDC, **{**NDC, "ks": (5,), "R": 3, "n_label_shuffles": 2})
    np.testing.assert_array_equal(part.scores, curve.scores[1:2, :3])
    np.testing.assert_array_equal(part.null_scores, curve.null_scores[1:2, :2])


def test_another_seed_changes_scores_and_another_shuffle_seed_only_the_null(curve):
    other = neuron_dropping_curve(X_NDC, Y_NDC, **{**NDC, "shuffle_seed": 9})
    np.testing.assert_array_equal(other.scores, curve.scores)
    assert (other.null_scores != curve.null_scores).any()
    assert (neuron_dropping_curve(X_NDC, Y_NDC, **{**NDC, "seed": 6}).scores != curve.scores).any()


def test_in_turn_a_shuffle_has_its_own_order_whatever_r_is():
    labels = np.random.default_rng(np.random.SeedSequence([0, 3, 1])).permutation(Y_NDC)
    null = neuron_dropping_curve(X_NDC, Y_NDC, ks=[3], R=2, n_label_shuffles=4, null_subsets=0).null_scores
    assert null[0, 3] == pytest.approx(by_hand(3, 3, labels, seed=0), abs=1e-12)


def test_ceiling_is_the_mean_at_the_largest_k_or_of_all_neurons(curve):
    assert curve.ceiling == pytest.approx(curve.scores[-1].mean(), abs=1e-15)
    everything = neuron_dropping_curve(X_NDC, Y_NDC, **NDC, ceiling_mode="all")
    np.testing.assert_array_equal(everything.scores, curve.scores)
    assert everything.ceiling == pytest.approx(np.mean([by_hand(r, 12) for r in range(4)]), abs=1e-15)


def test_both_ceilings_agree_when_all_neurons_are_on_the_grid():
    modes = [
        neuron_dropping_curve(X_NDC, Y_NDC, ks=[4, 12], R=3, n_label_shuffles=0, ceiling_mode=m)
        for m in ("maxk", "all")
    ]
    assert modes[0].ceiling == modes[1].ceiling


def test_ks_are_sorted_made_unique_and_cut_at_the_number_of_neurons():
    found = neuron_dropping_curve(X_NDC, Y_NDC, ks=[9, 2, 2, 500], R=1, n_label_shuffles=0)
    assert found.ks.tolist() == [2, 9]
    assert found.null_scores.shape == (2, 0)
    assert np.isnan(found.p_values()).all()


@pytest.mark.parametrize(
    "change",
    [
        {"ks": []}, {"ks": [13]}, {"ks": [0, 2]}, {"null": "rotate"}, {"ceiling_mode": "max"}, {"R": 0},
        {"n_label_shuffles": -1}, {"metric": "f1"}, {"cv_splits": 21}, {"fold_gap": 1}, {"fold_mode": "random"},
        {"C": 0.0}, {"c_grid": (1.0, -1.0)}, {"class_weight": "even"}, {"curve_axis": "time"}, {"n_bootstrap": -1},
        {"null_subsets": -1}, {"null_subsets": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_curve_refuses(change):
    with pytest.raises(ValueError, match=r"\d|not"):
        neuron_dropping_curve(X_NDC, Y_NDC, **{**NDC, **change})


def test_progress_is_reported_in_order():
    calls = []
    neuron_dropping_curve(X_NDC, Y_NDC, **NDC, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 4) for i in range(1, 5)]  # subsets: shuffles share those of the real labels


def test_shuffles_are_decoded_from_all_subsets_where_there_are_fewer():
    curves = [neuron_dropping_curve(X_NDC, Y_NDC, **{**NDC, "R": 3, "null_subsets": m}) for m in (3, 50)]
    np.testing.assert_array_equal(curves[0].null_scores, curves[1].null_scores)
    assert curves[1].null_subsets == 3


def made_curve(mean, ceiling: float, null=None) -> NDCCurve:
    mean = np.asarray(mean, dtype=float)
    null = np.empty((len(mean), 0)) if null is None else np.asarray(null, dtype=float)
    return NDCCurve(2 ** np.arange(len(mean)), np.c_[mean - 0.1, mean + 0.1], null, ceiling)


def test_k_star_is_the_first_k_near_the_ceiling_even_if_a_later_one_is_not():
    curve = made_curve([0.6, 0.79, 0.7, 0.8], 0.8)
    assert [curve.k_star(d) for d in (0.02, 0.005, 0.3)] == [2, 8, 1]


def test_k_star_is_minus_one_when_no_k_comes_near():
    assert made_curve([0.6, 0.7], 0.9).k_star() == -1


def test_the_largest_k_is_within_any_delta_of_its_own_ceiling():
    for r in (1, 3, 7, 50):
        assert neuron_dropping_curve(X_NDC, Y_NDC, ks=[12], R=r, n_label_shuffles=0).k_star(0.0) == 12


def test_p_values_count_null_scores_at_or_above_the_mean():
    curve = made_curve([0.5, 0.75, 1.0], 1.0, [[0.5, 0.4, 0.6], [0.5, 0.75, 0.7], [0.9, 0.2, 0.3]])
    np.testing.assert_allclose(curve.p_values(), [3 / 4, 2 / 4, 1 / 4])


def test_rarer_informative_cells_need_a_larger_k():
    """Each informative cell knows the label; k* follows from how many random cells it takes to hold one."""
    k_stars = []
    for n_informative in (4, 32):
        X, y = trial_data(80, 64, effect=0)
        X[:, :n_informative] += 2.5 * y[:, None]
        curve = neuron_dropping_curve(X, y, ks=(1, 2, 4, 8, 16, 32, 64), R=6, n_label_shuffles=19)
        assert curve.ceiling > 0.9
        assert curve.p_values()[-1] == 1 / 20
        k_stars.append(curve.k_star(0.03))
    assert k_stars[0] >= 4 * k_stars[1]


def test_without_information_scores_and_null_are_near_one_half():
    X, y = trial_data(120, 30, effect=0, seed=4)
    curve = neuron_dropping_curve(X, y, ks=(5, 30), R=5, n_label_shuffles=60)
    np.testing.assert_allclose(curve.mean, 0.5, atol=0.12)
    np.testing.assert_allclose(curve.null_scores.mean(axis=1), 0.5, atol=0.03)
    assert (curve.p_values() > 0.05).all()


# ------------------------------------------------------------------------------------------------------ features


def window_mean_by_loop(trace, times, start, end, rule):
    inside = [value for time, value in zip(times, trace, strict=True) if start <= time <= end]
    if inside:
        return np.mean(inside)
    centre = (start + end) / 2
    if rule == "drop":
        return np.nan
    if rule == "next":
        return next((v for t, v in zip(times, trace, strict=True) if t >= start), trace[-1])
    if rule == "nearest":
        return trace[np.argmin(np.abs(times - centre))]
    return np.interp(centre, times, trace)


def means_by_loop(traces, times, offsets, starts, ends, rule):
    return [
        [window_mean_by_loop(x, times + o, s, e, rule) for x, o in zip(traces, offsets, strict=True)]
        for s, e in zip(starts, ends, strict=True)
    ]


# all times are multiples of 1/64 s: sums and differences are exact, and 'nearest' has no rounding ties
steps = st.lists(st.integers(1, 30) | st.just(640), min_size=1, max_size=40)
windows = st.lists(st.tuples(st.integers(-40, 700), st.integers(0, 100)), min_size=1, max_size=8)


@pytest.mark.parametrize("is_compiled", [True, False])
@settings(max_examples=120, deadline=None)
@given(steps=steps, windows=windows, n_rois=st.integers(1, 5), rule=st.sampled_from(RULES), seed=st.integers(0, 99))
def test_window_means_are_those_of_a_loop(is_compiled, steps, windows, n_rois, rule, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum([0, *steps]) / 64
    offsets = rng.integers(0, 10, n_rois) / 64
    traces = rng.normal(100, 20, (n_rois, len(times))).astype(np.float32)
    traces[rng.random(traces.shape) < 0.02] = np.nan
    starts, lengths = np.array(windows).T / 64
    import numba  # noqa: F401, without it numpy is used

    with pytest.MonkeyPatch.context() as patch:
        if not is_compiled:
            patch.setattr(windows_module, "_compiled_for", lambda traces: None)
        found = window_means(traces, times, offsets, starts, starts + lengths, rule)
    expected = means_by_loop(traces.astype(float), times, offsets, starts, starts + lengths, rule)
    if rule == "interpolate":  # beyond the ends there are no two frames to interpolate between
        centre = (starts + lengths / 2)[:, None] - offsets
        found[(centre < times[0]) | (centre > times[-1])] = np.nan
        expected = np.where((centre < times[0]) | (centre > times[-1]), np.nan, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_compiled_sums_of_windows_are_those_of_numpy_to_the_bit(monkeypatch):
    import numba  # noqa: F401, without it numpy is used

    rng = np.random.default_rng(4)
    times, offsets = np.cumsum(rng.uniform(0.05, 0.3, 3000)), rng.uniform(0, 0.3, 300)
    traces = rng.lognormal(sigma=3, size=(300, 3000)).astype(np.float32)
    traces.ravel()[rng.integers(0, traces.size, 900)] = [np.nan, np.inf, -np.inf] * 300
    starts = rng.uniform(-1, times[-1] + 1, 400)
    ends = starts + rng.uniform(-0.5, 3, 400)  # some end before they start
    assert windows_module._compiled_for(traces) and not windows_module._compiled_for(traces[:, ::2])
    compiled = window_means(traces, times, offsets, starts, ends)
    monkeypatch.setattr(windows_module, "_compiled_for", lambda traces: None)
    assert window_means(traces, times, offsets, starts, ends).tobytes() == compiled.tobytes()


def test_infinite_activity_of_both_signs_is_no_warning_in_windows_of_equal_length(monkeypatch):
    monkeypatch.setattr(windows_module, "_compiled_for", lambda traces: None)
    traces = np.array([[1.0, np.inf, -np.inf, 2.0, 3.0, 4.0]], np.float32)
    found = window_means(traces, np.arange(6.0), np.zeros(1), np.array([0.5, 2.5]), np.array([2.5, 4.5]))
    np.testing.assert_array_equal(found[:, 0], [np.nan, 2.5])


def test_many_rois_each_keep_their_own_offset():
    rng = np.random.default_rng(2)
    traces, times, offsets = rng.random((200, 60)), np.arange(60) * 0.2, rng.random(200) * 0.02
    starts = rng.uniform(0, 11, 9)
    expected = means_by_loop(traces, times, offsets, starts, starts + 0.3, "nearest")
    np.testing.assert_allclose(window_means(traces, times, offsets, starts, starts + 0.3), expected, rtol=1e-9)


def test_window_without_a_frame_by_each_rule():
    def mean(rule):
        return window_means(
            np.array([[1.0, 5.0]]), np.array([0.0, 1.0]), np.zeros(1), np.array([0.1]), np.array([0.3]), rule
        ).item()

    np.testing.assert_allclose([mean(rule) for rule in RULES], [1.0, np.nan, 5.0, 1.8])


def test_a_nan_spoils_only_the_windows_that_hold_it():
    traces = np.array([[1.0, np.nan, 3.0, 5.0]])
    found = window_means(traces, np.arange(4.0), np.zeros(1), np.array([0, 1.5, 0.5]), np.array([0.5, 3.5, 2.5]))
    np.testing.assert_array_equal(found[:, 0], [1.0, 4.0, np.nan])


def test_frames_at_both_ends_of_a_window_belong_to_it():
    found = window_means(np.array([[1.0, 2.0, 6.0, 9.0]]), np.arange(4.0), np.zeros(1), np.ones(1), 2 * np.ones(1))
    assert found.item() == 4.0


@pytest.mark.parametrize("rule", ["nearest", "drop", "next", "interpolate"])
@pytest.mark.parametrize("width", [0.05, 0.7])
def test_trials_with_a_flagged_frame_in_their_window_are_not_used(rule, width):
    """A trial is left out exactly if its features are others when the values in flagged frames are."""
    rng = np.random.default_rng(4)
    times, offsets = np.arange(200) * 0.2, np.array([0.0, 0.013, 0.021])
    traces, flagged = rng.random((3, 200)), rng.random(200) < 0.15
    starts = np.arange(1, 38, 0.31)
    ends, labels = starts + width, np.arange(len(starts)) % 2 * 1.0
    labels[5] = np.nan
    place = {"columns": np.arange(3), "frame_times": times, "offsets": offsets}
    plain, was = trial_features([FOVCells(traces=traces, **place)], labels, starts, ends, rule)
    changed, _ = trial_features([FOVCells(traces=traces + 1.0 * flagged, **place)], labels, starts, ends, rule)
    found, outcome = trial_features([FOVCells(traces=traces, flagged=flagged, **place)], labels, starts, ends, rule)
    spoiled = np.flatnonzero(was == "usable")[(plain != changed).any(axis=1)]
    assert 2 < len(spoiled) < len(plain) - 2
    bad = np.flatnonzero(outcome == "bad frame")
    assert bad[was[bad] == "usable"].tolist() == spoiled.tolist()
    assert set(was[bad]) <= {"usable", "no frame"}  # another cell may have no frame there
    np.testing.assert_array_equal(np.delete(outcome, bad), np.delete(was, bad))
    np.testing.assert_array_equal(found, plain[(plain == changed).all(axis=1)])


def test_a_flagged_frame_of_any_fov_counts():
    times, flagged = np.arange(50) * 0.2, np.arange(50) == 20
    fovs = [
        FOVCells(np.array([i]), np.ones((1, 50)), times + 0.02 * i, np.zeros(1), flagged if i else None) for i in (0, 1)
    ]
    _, outcome = trial_features(fovs, np.array([0, 1.0]), np.array([2.0, 3.9]), np.array([2.5, 4.4]))
    assert outcome.tolist() == ["usable", "bad frame"]


def test_the_noise_level_is_of_the_frames_between_the_trials_that_are_not_flagged():
    rng = np.random.default_rng(6)
    times = np.arange(3000) * 0.2
    events = {"stimOn_times": np.r_[np.arange(5.0, 500, 8), np.nan], "feedback_times": np.arange(6.0, 510, 8)[:63]}
    events["feedback_times"][3] = np.nan
    traces = 0.1 * rng.normal(size=(8, 3000))
    first, last = np.fmin(*events.values()) - 0.5, np.fmax(*events.values()) + 1
    inside = ((times[:, None] >= first) & (times[:, None] <= last)).any(axis=1)
    flagged = rng.random(3000) < 0.05
    loud = traces + 5 * (inside | flagged) * rng.normal(size=(8, 3000))
    place = {"offsets": np.zeros(4), "frame_times": times, "flagged": flagged, "signal": "dff"}
    fovs = [FOVCells(np.arange(4) + 4 * i, loud[4 * i :][:4], **place) for i in (0, 1)]
    of_cells = noise_levels(traces, times, "dff", inside | flagged)
    expected = np.median(of_cells)
    assert noise_level(fovs, events) == pytest.approx((expected, gmean(of_cells)), rel=1e-12)
    assert expected == pytest.approx(0.1 * 0.954 * np.sqrt(0.2), rel=0.02)
    assert np.isnan(noise_level([FOVCells(np.arange(8), 0 * traces, **place)], events)).all()


def test_a_minority_of_noisier_cells_moves_the_mean_of_the_noise_and_not_its_median():
    levels = np.random.default_rng(8).lognormal(0, 0.05, 100)
    noisier = np.where(np.arange(100) < 40, np.sqrt(10) * levels, levels)
    quieter = np.where(np.arange(100) < 40, levels / np.sqrt(10), levels)
    (median, mean), *others = (noise_of_cells([one[:30], one[30:]]) for one in (levels, noisier, quieter))
    for sign, (other, of_all) in zip((1, -1), others, strict=True):
        assert sign * np.log2(of_all / mean) == pytest.approx(0.4 * np.log2(10) / 2)
        assert 0 < sign * np.log2(other / median) < 0.15
    assert np.isnan(noise_of_cells([np.full(3, np.nan), np.empty(0)])).all()
    assert noise_of_cells([np.array([0.1, np.nan, 0.4])]) == pytest.approx((0.25, 0.2))


def test_unknown_short_window_is_refused():
    with pytest.raises(ValueError, match="'last'"):
        window_means(np.ones((1, 2)), np.arange(2.0), np.zeros(1), np.array([0.2]), np.array([0.4]), "last")


COVERED = [
    ("touches the first and last frame of a bout", 10.02, 20.0, ""),
    ("starts before the last ROI of the first frame", 10.01, 12.0, "outside"),
    ("ends after the last frame", 45.0, 50.01, "outside"),
    ("whole second bout", 40.02, 50.0, ""),
    ("no event", np.nan, np.nan, "event"),
    ("no end", 12.0, np.nan, "event"),
    ("infinite", 12.0, np.inf, "event"),
    ("over the gap", 19.0, 41.0, "gap"),
    ("within the gap", 25.0, 26.0, "gap"),
    ("into the gap", 19.0, 20.5, "gap"),
    ("out of the gap", 39.0, 41.0, "gap"),
    ("before imaging", 1.0, 2.0, "outside"),
    ("after imaging", 60.0, 61.0, "outside"),
]


@pytest.mark.parametrize(("start", "end", "reason"), [case[1:] for case in COVERED], ids=[case[0] for case in COVERED])
def test_trial_coverage(start, end, reason):
    times = np.r_[np.arange(10.0, 20.1, 0.5), np.arange(40.0, 50.1, 0.5)]
    found = trial_coverage(times, np.array([0.0, 0.02, 0.01]), np.array([12.0, start]), np.array([13.0, end]))
    assert found.tolist() == ["", reason]


@settings(max_examples=60, deadline=None)
@given(steps=steps, windows=windows)
def test_trial_coverage_is_that_of_a_loop_over_bouts(steps, windows):
    times, offsets = np.cumsum([0, *steps]) / 64, np.array([3, 0, 5]) / 64
    starts, lengths = np.array(windows).T / 64
    pieces = np.split(times, np.flatnonzero(np.diff(times) > 1) + 1)
    covered = trial_coverage(times, offsets, starts, starts + lengths)
    for start, end, found in zip(starts, starts + lengths, covered, strict=True):
        inside = any(all(p[0] + o <= start and end <= p[-1] + o for o in offsets) for p in pieces)
        assert (found == "") == inside


# -------------------------------------------------------------------------------------------------------- trials


CONVENTIONS = [
    ("choice", {"choice": [1, -1, 0, np.nan]}, [1, 0, np.nan, np.nan]),
    ("feedback", {"feedbackType": [1, -1, 0, np.nan]}, [1, 0, np.nan, np.nan]),
    (
        "stimulus",
        {"contrastLeft": [np.nan, 0.25, 0, np.nan, 1, 0], "contrastRight": [0.0625, np.nan, np.nan, 0, 1, 1]},
        [1, 0, np.nan, np.nan, np.nan, 1],
    ),
    ("block", {"probabilityLeft": [0.8, 0.2, 0.5, np.nan, 1 - 0.8]}, [1, 0, np.nan, np.nan, 0]),
]


@pytest.mark.parametrize(("target", "trials", "expected"), CONVENTIONS)
def test_labels_follow_the_conventions(target, trials, expected):
    found = target_labels(target, {name: np.array(values, float) for name, values in trials.items()})
    np.testing.assert_array_equal(found, expected)


def test_unknown_target_is_refused():
    with pytest.raises(ValueError, match="'reward'"):
        target_labels("reward", {})


Y30_50 = np.random.default_rng(0).permutation(np.repeat([0, 1], [30, 50]))


@pytest.mark.parametrize(("balance", "counts"), [("downsample", (30, 30)), ("weights", (30, 50)), ("none", (30, 50))])
def test_balanced_counts(balance, counts):
    assert balanced_counts(Y30_50, balance) == counts
    assert all(type(count) is int for count in balanced_counts(Y30_50, balance))


@pytest.mark.parametrize(
    ("balance", "n_total", "kept", "n_balance"),
    [
        ("downsample", None, (30, 30), 20),
        ("downsample", 40, (20, 20), 20),
        ("downsample", 1000, (30, 30), 20),
        ("none", None, (30, 50), 0),
        ("weights", 40, (15, 25), 0),
        ("none", 2, (1, 1), 0),
    ],
)
def test_picked_trials_are_as_many_as_asked_in_the_proportion_of_the_classes(balance, n_total, kept, n_balance):
    fate = pick_trials(Y30_50, balance, n_total, 0, "session")
    assert tuple(np.bincount(Y30_50[fate == "kept"], minlength=2)) == kept
    assert (fate == "balance").sum() == n_balance
    assert (fate == "equalize").sum() == 80 - sum(kept) - n_balance


@settings(max_examples=100, deadline=None)
@given(
    n0=st.integers(1, 60),
    n1=st.integers(1, 60),
    n_total=st.integers(2, 130),
    balance=st.sampled_from(["none", "downsample"]),
)
def test_both_classes_are_kept_in_proportion_whatever_the_numbers(n0, n1, n_total, balance):
    y = np.repeat([0, 1], [n0, n1])
    found = np.bincount(y[pick_trials(y, balance, n_total, 0) == "kept"], minlength=2)
    counts = np.array(balanced_counts(y, balance))
    assert found.sum() == min(n_total, counts.sum())
    assert (found >= 1).all()
    assert (np.abs(found - counts * found.sum() / counts.sum()) <= 1).all()


def test_a_smaller_pick_is_part_of_a_larger_one():
    fates = [pick_trials(Y30_50, "downsample", n, 0, "a") == "kept" for n in (20, 40)]
    assert (fates[1] | ~fates[0]).all()


def test_picks_are_reproducible_and_each_name_and_seed_has_its_own():
    names = [(0, "a"), (0, "b"), (1, "a"), (0, "a", "choice"), (0, "choice", "a")]
    picks = {name: tuple(pick_trials(Y30_50, "downsample", 30, *name)) for name in names}
    assert len(set(picks.values())) == len(names)
    assert picks == {name: tuple(pick_trials(Y30_50, "downsample", 30, *name)) for name in names}


def test_every_trial_is_picked_about_equally_often():
    often = np.mean([pick_trials(Y30_50, "downsample", 30, seed, "a") == "kept" for seed in range(400)], axis=0)
    np.testing.assert_allclose(often, np.where(Y30_50 == 0, 15 / 30, 15 / 50), atol=0.12)


def test_trials_of_one_class_are_refused_with_their_numbers():
    with pytest.raises(DataError, match="0 of class 0, 7 of class 1"):
        pick_trials(np.ones(7), "none", None, 0)

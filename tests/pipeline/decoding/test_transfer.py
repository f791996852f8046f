"""Readouts of one day on another, against scikit-learn, plain numpy and planted codes."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from support.transferring import D_PRIME, N_CELLS, codes, days

from pipeline.decoding import NDCSettings, cv_score
from pipeline.decoding.folds import Validation, fold_masks
from pipeline.decoding.transfer import (
    Day,
    _seed,
    day_readouts,
    on_other_day,
    relative_transfer,
    scaled_day,
    train,
    transfer_decay,
    transfer_scores,
)
from pipeline.errors import ArgumentError

SMALL = NDCSettings("choice", r=6, penalty="scaled", n_label_shuffles=0)
GONE = [0, 1, 3, 6, 10]


def logistic(X: np.ndarray, y: np.ndarray, C: float, weight: str | None = None) -> LogisticRegression:
    return LogisticRegression(C=C, tol=1e-10, max_iter=10_000, class_weight=weight).fit(X, y)


# --- readouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_cells", [12, 40, 150])
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("scaling", [True, False])
def test_weights_are_those_of_scikit_learn(n_cells, weight, scaling):
    rng = np.random.default_rng(n_cells)
    y = np.repeat([0, 1], [50, 40]).astype(np.int8)
    X = rng.uniform(0.5, 3, n_cells) * (rng.normal(size=(90, n_cells)) + 0.3 * y[:, None]) + rng.uniform(0, 9, n_cells)
    X[:, 3] = 7.0  # a cell that never changes
    masks = rng.random((4, 90)) < 0.7
    settings = replace(SMALL, scaling=scaling, class_balance="weights" if weight else "none")
    weights, intercepts = train(Day(X, y), masks, settings, 1.0)
    for mask, found, intercept in zip(masks, weights, intercepts, strict=True):
        scaler = StandardScaler(with_std=scaling).fit(X[mask])
        Z = scaler.transform(X[mask])
        size = n_cells if scaling else Z.var(axis=0).sum()
        expected = logistic(Z, y[mask], 1.0 / size, weight)
        z = expected.decision_function(scaler.transform(X))
        np.testing.assert_allclose(X @ found + intercept, z, atol=2e-3 * np.ptp(z))
        assert found[3] == 0


def test_a_penalised_intercept_and_a_fixed_penalty():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 20]).astype(np.int8)
    X = rng.normal(size=(80, 10)) + 0.5 * y[:, None]
    settings = replace(SMALL, penalty="fixed", penalize_intercept=True)
    weights, intercepts = train(Day(X, y), np.ones((1, 80), dtype=bool), settings, 0.1)
    scaler = StandardScaler().fit(X)
    model = LogisticRegression(C=0.1, solver="liblinear", tol=1e-10, max_iter=10_000).fit(scaler.transform(X), y)
    z = model.decision_function(scaler.transform(X))
    np.testing.assert_allclose(X @ weights[0] + intercepts[0], z, atol=1e-3 * np.ptp(z))


def by_hand(one: Day, other: Day, scaler: str, C: float) -> tuple[float, float]:
    """Return score and refit score of readouts of a day on another, by scikit-learn."""
    X, Z = one.X, other.X
    if scaler == "own":
        X, Z = (StandardScaler().fit_transform(values) for values in (X, Z))
    n_cells = X.shape[1]

    def auc(train_on: np.ndarray) -> float:
        # with the session's own scaling the readout's are not scaled again: C over the variance of the training trials
        steps = StandardScaler(with_std=scaler == "trained").fit(X[train_on])
        A = steps.transform(X[train_on])
        model = logistic(A, one.y[train_on], C / (n_cells if scaler == "trained" else A.var(axis=0).sum()))
        return roc_auc_score(other.y, model.decision_function(steps.transform(Z)))

    folds = StratifiedKFold(5, shuffle=True, random_state=_seed(SMALL.seed, 5)).split(X, one.y)
    return np.mean([auc(train_on) for train_on, _ in folds]), auc(np.arange(len(X)))


@pytest.mark.parametrize("scaler", ["own", "trained"])
def test_scores_are_those_of_scikit_learn(scaler):
    first, second = days("rotating", [0, 5], np.random.default_rng(3))
    found = transfer_scores([first, second], SMALL, scaler)
    for i, j, one, other in ((0, 1, first, second), (1, 0, second, first)):
        score, refit = by_hand(one, other, scaler, 1.0)
        assert found.cells[i][j].score == pytest.approx(score, abs=1e-3)
        assert found.cells[i][j].refit_score == pytest.approx(refit, abs=1e-3)
        assert (found.cells[i][j].n_train, found.cells[i][j].n_test) == (96, 120)
    assert np.isnan(np.diag(found.of("refit_score"))).all()


def test_the_diagonal_is_cross_validated():
    (day,) = days("fixed", [0], np.random.default_rng(4))
    found = transfer_scores([day], replace(SMALL, r=40), "trained").cells[0][0]
    # other folds, of the same number
    expected = np.mean([cv_score(day.X, day.y, seed=seed, penalty="scaled") for seed in range(40)])
    assert found.score == pytest.approx(expected, abs=0.01)
    halves = np.mean([cv_score(day.X, day.y, seed=seed, penalty="scaled", n_splits=2) for seed in range(40)])
    assert found.half_score == pytest.approx(halves, abs=0.015)
    assert found.half_score < found.score  # fewer training trials


def test_blocked_halves_are_the_earlier_and_the_later_trials():
    """Activity that swaps its sign half-way is decoded within each half, and never in the other."""
    (day,) = days("fixed", [0], np.random.default_rng(10))
    X = np.where(np.arange(120)[:, None] < 60, 1, -1) * (day.X - day.X.mean(axis=0))
    found = transfer_scores([Day(X, day.y)], replace(SMALL, fold_mode="blocked")).cells[0][0]
    assert found.half_score < 0.3


def test_all_days_share_the_chosen_penalty():
    settings = replace(SMALL, penalty="auto", c_range="wide")
    found = transfer_scores(days("fixed", [0, 1], np.random.default_rng(5)), settings, "own")
    assert found.c in (1, 10, 100)


def test_interval_is_that_of_delong():
    first, second = days("fixed", [0, 1], np.random.default_rng(6))
    (one, settings), (other, _) = (scaled_day(day, SMALL, "trained") for day in (first, second))
    found = on_other_day(day_readouts(one, settings, 1.0), other, settings)
    # the mean placement of each trial over the readouts of the folds, as if they were one
    masks = fold_masks(one.y, _seed(0, 5), Validation(), None)[0]
    weights, _ = train(one, masks, settings, 1.0)
    placements = []
    for z in (other.X @ weights.T).T:
        wins = (z[other.y == 1][:, None] > z[other.y == 0]).astype(float)
        placements.append((wins.mean(axis=1), wins.mean(axis=0)))
    ones, zeros = (np.mean(side, axis=0) for side in zip(*placements, strict=True))
    sd = np.sqrt(ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros))
    logit = stats.logistic.ppf(found.score) + np.array([-1, 1]) * 1.959964 * sd / (found.score * (1 - found.score))
    assert (found.low, found.high) == pytest.approx(stats.logistic.cdf(logit), abs=1e-3)


def test_another_scale_of_a_day_changes_nothing_with_its_own_scaler():
    first, second = days("fixed", [0, 1], np.random.default_rng(7))
    brighter = Day(second.X * np.linspace(0.2, 5, second.X.shape[1]) + 3, second.y)
    own, trained = (
        [transfer_scores([first, day], SMALL, scaler).cells[0][1].score for day in (second, brighter)]
        for scaler in ("own", "trained")
    )
    assert own[0] == pytest.approx(own[1], abs=1e-9)
    assert abs(trained[0] - trained[1]) > 0.02


@pytest.mark.parametrize(
    ("change", "scaler", "problem"),
    [
        ({}, "both", "scaler must be one of own, trained"),
        ({"scaling": False}, "own", "scaler='own' standardises each day"),
        ({"cells": "random"}, "own", "cells 'shared', not 'random'"),
        ({"c_grid": (0.1, 1.0)}, "own", "c_grid"),
        ({"null": "imposter"}, "own", "null 'auto' or"),
        ({"trial_shuffled": True}, "own", "trial_shuffled False, not True"),
        ({"n_cells": 4}, "own", "n_cells 0, not 4"),
    ],
)
def test_settings_without_meaning_are_refused(change, scaler, problem):
    with pytest.raises(ArgumentError, match=problem):
        transfer_scores(days("fixed", [0, 1], np.random.default_rng(0)), replace(SMALL, **change), scaler)


def test_other_cells_are_refused():
    first, second = days("fixed", [0, 1], np.random.default_rng(0))
    with pytest.raises(ArgumentError, match="days must have the same cells, not 40, 39"):
        transfer_scores([first, Day(second.X[:, 1:], second.y)], SMALL)


def test_a_readout_of_the_stimulus_says_nothing_beyond_it():
    """Cells of the side; the choice follows the side, so that the choice is decoded, and beyond the side it is not."""
    rng = np.random.default_rng(8)
    found = []
    for _ in range(2):
        side = rng.integers(0, 2, 200)
        y = np.where(rng.random(200) < 0.25, 1 - side, side).astype(np.int8)
        found.append(Day(rng.normal(size=(200, 20)) + side[:, None], y, strata=side))
    plain = transfer_scores([replace(day, strata=None) for day in found], SMALL)
    beyond = transfer_scores(found, replace(SMALL, beyond="stimulus", class_balance="none"))
    assert plain.cells[0][1].score > 0.68
    assert beyond.cells[0][1].score == pytest.approx(0.5, abs=0.1)
    assert beyond.cells[0][1].low < 0.5 < beyond.cells[0][1].high


# --- planted codes ----------------------------------------------------------------------------------


def halves(code: str, seed: int) -> np.ndarray:
    return transfer_scores(days(code, GONE, np.random.default_rng(seed)), SMALL).of("half_score")


def test_a_fixed_code_transfers_as_the_split_half():
    scores = np.mean([halves("fixed", seed) for seed in range(6)], axis=0)
    off = scores[~np.eye(len(GONE), dtype=bool)]
    assert off.mean() == pytest.approx(np.diag(scores).mean(), abs=0.02)
    assert off.mean() < stats.norm.cdf(D_PRIME / np.sqrt(2))  # of the best readout
    decay = transfer_decay(scores, GONE)
    assert decay.mean_low < 1 < decay.mean_high and decay.low < 0 < decay.high and decay.p > 0.05


def test_a_rotating_code_decays():
    scores = np.mean([halves("rotating", seed) for seed in range(3)], axis=0)
    decay = transfer_decay(scores, GONE)
    assert decay.high < 0 and decay.p == pytest.approx(1 / 120) and decay.mean < 0.95
    # the transfer is the cosine of the angle between the codes: 6 degrees a day
    np.testing.assert_allclose(decay.values, np.cos(np.radians(6 * decay.gaps)), atol=0.12)


@pytest.mark.slow
def test_noise_is_at_chance_with_uniform_p():
    found = [
        transfer_scores(days("noise", [0, 1, 2], np.random.default_rng(seed), n_trials=60, n_null=19),
                        replace(SMALL, r=2))
        for seed in range(12)
    ]  # fmt: skip
    off = ~np.eye(3, dtype=bool)
    scores, p = (np.array([one.of(name)[off] for one in found]) for name in ("score", "p"))
    assert scores.mean() == pytest.approx(0.5, abs=0.03)
    # 72 p of steps of 1/20: their mean has a standard error of 0.034, and as pairs share days a little more
    assert p.mean() == pytest.approx(0.525, abs=0.12)
    assert (p <= 0.05).mean() < 0.16 and p.max() > 0.9
    relative = relative_transfer(found[0].of("half_score"), "auc", np.zeros(3, dtype=bool))
    assert np.isnan(relative).all()


# --- the decay --------------------------------------------------------------------------------------


def test_relative_transfer_is_the_ratio_of_d_primes():
    d = np.array([[1.0, 0.8], [0.6, 2.0]])
    found = relative_transfer(stats.norm.cdf(d / np.sqrt(2)), "auc")
    np.testing.assert_allclose(found, d / np.array([1.0, 2.0]))


def test_decay_is_that_of_a_line_with_days_left_out_and_permuted():
    rng, gone = np.random.default_rng(9), np.array([0.0, 1, 3, 7, 8])
    scores = 0.7 + 0.1 * rng.random((5, 5)) + 0.1 * np.eye(5)
    found = transfer_decay(scores, gone)
    d = np.sqrt(2) * stats.norm.ppf(scores)
    value = {(i, j): (d[i, j] + d[j, i]) / 2 / np.sqrt(d[i, i] * d[j, j]) for i, j in combinations(range(5), 2)}
    np.testing.assert_allclose(found.values, list(value.values()))

    def slope(used: list[int], order: tuple[int, ...] = (0, 1, 2, 3, 4)) -> float:
        pairs = list(combinations(used, 2))
        gaps = [abs(gone[order[j]] - gone[order[i]]) for i, j in pairs]
        return stats.linregress(gaps, [value[pair] for pair in pairs]).slope

    assert found.slope == pytest.approx(slope([0, 1, 2, 3, 4]))
    assert found.mean == pytest.approx(np.mean(list(value.values())))
    without = np.array([slope([day for day in range(5) if day != left_out]) for left_out in range(5)])
    half = stats.t.ppf(0.975, 4) * np.sqrt(4 / 5 * ((without - without.mean()) ** 2).sum())
    assert (found.low, found.high) == pytest.approx((found.slope - half, found.slope + half))
    permuted = np.abs([slope([0, 1, 2, 3, 4], order) for order in permutations(range(5))])
    assert found.p == pytest.approx(np.mean(permuted >= abs(found.slope) - 1e-12))


def test_many_days_are_permuted_at_random():
    gone = np.arange(9.0)
    scores = 0.9 - 0.01 * np.abs(np.subtract.outer(gone, gone))
    assert transfer_decay(scores, gone).p == pytest.approx(1e-4, abs=1e-4)
    rng = np.random.default_rng(0)
    assert transfer_decay(0.8 + 0.05 * rng.random((9, 9)), gone).p > 0.01


def test_few_days_have_no_interval_and_days_at_chance_are_left_out():
    scores = np.full((4, 4), 0.8)
    found = transfer_decay(scores, [0, 1, 2, 3], known=np.array([True, False, True, False]))
    assert (found.n_days, found.at_chance, len(found.values)) == (2, (1, 3), 1)
    assert found.mean == pytest.approx(1) and np.isnan([found.mean_low, found.slope, found.p]).all()
    three = transfer_decay(scores, [0, 1, 3, 9], known=np.array([True, True, True, False]))
    assert np.isfinite([three.slope, three.mean_low, three.p]).all() and np.isnan([three.low, three.high]).all()
    nothing = transfer_decay(scores, [0, 1, 2, 3], known=np.zeros(4, dtype=bool))
    assert nothing.n_days == 0 and np.isnan(nothing.mean)
    with pytest.raises(ArgumentError, match=r"scores must be \(days, days\)"):
        transfer_decay(scores, [0, 1])


# --- numbers ----------------------------------------------------------------------------------------

NUMBERS = NDCSettings(
    "speed", labels="0" * 32, metric="r2", r=6, penalty="scaled", n_label_shuffles=0, class_balance="none"
)


def number_days(code: str, gone: list[int], seed: int, n_trials: int = 120, n_null: int = 0) -> list[Day]:
    """Return days whose cells code a normal number, in the directions of ``support.transferring``."""
    rng, found = np.random.default_rng(seed), []
    for direction in codes(code, gone, rng):
        y = rng.normal(size=n_trials)
        X = 0.5 * y[:, None] * direction + rng.normal(size=(n_trials, N_CELLS))
        null = 100 + 7 * np.array([rng.permutation(y) for _ in range(n_null)]) if n_null else None
        found.append(Day(X * rng.uniform(0.5, 2, N_CELLS) + 3, 100 + 7 * y, null=null))
    return found


@pytest.mark.parametrize("scaling", [True, False])
def test_weights_of_numbers_are_those_of_ridge(scaling):
    (day,) = number_days("fixed", [0], 1, n_trials=90)
    masks = np.random.default_rng(2).random((3, 90)) < 0.7
    weights, intercepts = train(day, masks, replace(NUMBERS, scaling=scaling), 2.0)
    for mask, found, intercept in zip(masks, weights, intercepts, strict=True):
        scaler = StandardScaler(with_std=scaling).fit(day.X[mask])
        Z = scaler.transform(day.X[mask])
        size = N_CELLS if scaling else Z.var(axis=0).sum()
        expected = Ridge(alpha=size / 2.0).fit(Z, day.y[mask]).predict(scaler.transform(day.X))
        np.testing.assert_allclose(day.X @ found + intercept, expected, atol=1e-5 * np.ptp(expected))


def test_scores_of_numbers_are_those_of_scikit_learn():
    one, other = number_days("fixed", [0, 1], 3)
    other = Day(other.X, np.where(np.arange(120) < 9, np.nan, other.y + 5))  # some trials left out, another mean
    X, Z, known = StandardScaler().fit_transform(one.X), StandardScaler().fit_transform(other.X), np.isfinite(other.y)
    scaled, asked = scaled_day(one, NUMBERS, "own")
    folds = fold_masks(one.y, _seed(0, 5), Validation(asked.cv_splits, "r2", penalty="scaled"))[0]
    squares = np.zeros(2)
    ranks = []
    for mask in folds:
        model = Ridge(alpha=X[mask].var(axis=0).sum()).fit(X[mask], one.y[mask])
        z, y = model.predict(Z)[known], other.y[known]
        squares += [((y - z) ** 2).sum(), ((y - one.y[mask].mean()) ** 2).sum()]
        ranks.append(stats.spearmanr(z, y)[0])
    found = transfer_scores([one, other], NUMBERS).cells[0][1]
    assert found.score == pytest.approx(1 - squares[0] / squares[1], abs=1e-6)
    assert found.n_test == 111 and found.low < found.score < found.high
    found = transfer_scores([one, other], replace(NUMBERS, metric="spearman")).cells[0][1]
    assert found.score == pytest.approx(np.mean(ranks), abs=1e-6)
    refit = on_other_day(day_readouts(scaled, asked, 1.0), scaled_day(other, NUMBERS, "own")[0], asked).refit_score
    model = Ridge(alpha=N_CELLS).fit(X, one.y)
    z, y = model.predict(Z)[known], other.y[known]
    assert refit == pytest.approx(1 - ((y - z) ** 2).sum() / ((y - one.y.mean()) ** 2).sum(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["r2", "spearman"])
def test_a_fixed_code_of_numbers_transfers_and_one_that_turns_decays(metric):
    asked = replace(NUMBERS, metric=metric)
    fixed, turning = (
        np.mean([transfer_scores(number_days(code, GONE, seed), asked).of("half_score") for seed in range(6)], axis=0)
        for code in ("fixed", "rotating")
    )
    decay = transfer_decay(fixed, GONE, metric=metric)
    assert decay.mean == pytest.approx(1, abs=0.08) and abs(decay.slope) < 0.01
    decay = transfer_decay(turning, GONE, metric=metric)
    assert decay.slope < -0.02 and decay.p < 0.05 and decay.values.min() < 0.75


@pytest.mark.slow
def test_numbers_that_no_cell_codes_are_at_chance_on_every_day():
    asked = replace(NUMBERS, n_label_shuffles=19)
    p = [transfer_scores(number_days("noise", [0, 1], seed, 60, 19), asked).of("p") for seed in range(12)]
    assert np.mean(np.array(p) <= 0.05) < 0.15

"""Curves beyond the stimulus: strata, matched weights and scores within strata, against scikit-learn and loops."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from support.mice import mouse_session
from support.null_cases import Case, one_session_beyond
from support.simulated_task import alf_trials
from threadpoolctl import threadpool_limits

from pipeline.decoding import cv_score, n_minority, neuron_dropping_curve, penalty_scores, target_labels, trial_strata
from pipeline.decoding.folds import Groups, influences, stratified_folds
from pipeline.decoding.nulls import null_labels
from pipeline.decoding.penalty import CANDIDATES, sizes
from pipeline.decoding.strata import matched


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads only make small matrices slower."""
    with threadpool_limits(1):
        yield


def session(n: int = 150, N: int = 12, seed: int = 0, effect: float = 0.4):
    """Return activity, choice and strata of a session whose cells follow the stimulus and a little the choice."""
    rng = np.random.default_rng([seed, n, 41])
    strata = rng.choice(4, n, p=(0.4, 0.3, 0.25, 0.05))
    y = (rng.random(n) < np.array([0.85, 0.3, 0.5, 0.97])[strata]).astype(np.int8)
    X = rng.normal(size=(n, N)) + rng.normal(size=(4, N))[strata]
    X[:, : N // 2] += effect * (2 * y[:, None] - 1)
    return X, y, strata


def decisions(X, y, strata, train, c):
    """Return scikit-learn's decision values; trials of a stratum with one class in training are not used."""
    weights = np.zeros(len(y))
    for stratum in np.unique(strata):
        inside = np.zeros(len(y), dtype=bool)
        inside[train] = strata[train] == stratum
        numbers = [(inside & (y == label)).sum() for label in (0, 1)]
        for label in (0, 1):
            weights[inside & (y == label)] = min(numbers) / max(numbers[label], 1)
    used = weights > 0
    scaler = StandardScaler().fit(X[used])
    model = LogisticRegression(C=c / X.shape[1], tol=1e-10, max_iter=100_000)
    model.fit(scaler.transform(X[used]), y[used], sample_weight=weights[used])
    return model.decision_function(scaler.transform(X))


def pooled_auc(tested, y, strata):
    """Return the AUC of pairs of one stratum and one fold, strata weighted by their rarer class, from a loop."""
    total = weight = 0.0
    for stratum in np.unique(strata):
        wins = pairs = 0.0
        for z, test in tested:
            ones, zeros = ([t for t in test if strata[t] == stratum and y[t] == label] for label in (1, 0))
            wins += sum(float(z[i] > z[j]) + 0.5 * float(z[i] == z[j]) for i in ones for j in zeros)
            pairs += len(ones) * len(zeros)
        if pairs:
            rarer = min(np.sum((strata == stratum) & (y == label)) for label in (0, 1))
            total, weight = total + rarer * wins / pairs, weight + rarer
    return total / weight


def folds_of(y, strata, seed):
    """Return the test trials of five folds, which scikit-learn stratifies by stratum and class."""
    kinds = [f"{s} {label}" for s, label in zip(strata, y, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a kind with fewer trials than folds
        return [test for _, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(kinds, kinds)]


def test_strata_are_side_contrast_and_last_choice():
    side = np.array([1, 1, -1, 1, 1, 1, -1, -1.0])
    contrast = np.array([0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0, 0])
    choice = np.array([1, 0, 1, 1, -1, 1, -1, 1.0])
    trials = alf_trials(np.full(8, 0.5), side, contrast, choice)
    last = [0, 1, 1, 1, 1, -1, 1, -1]  # of the trials with a choice: the second has none
    for beyond, columns in (("stimulus", (side, contrast)), ("stimulus+history", (side, contrast, last))):
        found = trial_strata(beyond, trials)
        expected = pd.DataFrame(dict(enumerate(columns))).groupby(list(range(len(columns)))).ngroup().to_numpy()
        assert np.array_equal(found[:, None] == found, expected[:, None] == expected), beyond
        assert set(found) == set(range(found.max() + 1))
    with pytest.raises(ValueError, match="beyond must be one of stimulus, stimulus"):
        trial_strata("none", trials)


def test_matched_weights_give_both_classes_the_same_strata():
    _, y, strata = session()
    y[:5] = -1
    train = np.random.default_rng(0).random((3, len(y))) < 0.8
    train &= y >= 0
    weights = matched(y, train, strata)
    assert not weights[~train].any() and weights.max() == 1
    for row, mask in zip(weights, train, strict=True):
        for stratum in range(4):
            sums = [row[(strata == stratum) & (y == label)].sum() for label in (0, 1)]
            rarer = min((mask & (strata == stratum) & (y == label)).sum() for label in (0, 1))
            assert sums == pytest.approx([rarer, rarer])
    assert n_minority(y, strata) == sum(min(np.sum(y[strata == s] == c) for c in (0, 1)) for s in range(4))


def test_folds_of_many_classes_are_scikit_learns():
    _, y, strata = session(97)
    kinds = 2 * strata + y
    folds = stratified_folds(kinds, 5, 3)
    for fold, test in enumerate(folds_of(y, strata, 3)):
        np.testing.assert_array_equal(np.flatnonzero(folds == fold), test)


@pytest.mark.parametrize("c", [1.0, 10.0])
def test_a_curve_within_strata_is_that_of_a_loop_with_scikit_learn(c):
    X, y, strata = session()
    curve = neuron_dropping_curve(X, y, ks=[4, 12], R=2, C=c, penalty="scaled", n_label_shuffles=0, strata=7 + strata)
    for repeat in range(2):
        order, folds = np.random.SeedSequence([0, repeat]).spawn(2)
        order = np.random.default_rng(order).permutation(12)
        tests = folds_of(y, strata, int(folds.generate_state(1)[0]))
        for row, k in enumerate((4, 12)):
            Z = X[:, order[:k]]
            tested = [(decisions(Z, y, strata, np.setdiff1d(np.arange(150), test), c), test) for test in tests]
            assert curve.scores[row, repeat] == pytest.approx(pooled_auc(tested, y, strata), abs=1e-9)
    seed = int(np.random.SeedSequence([0, 0]).spawn(2)[1].generate_state(1)[0])
    everything = cv_score(X[:, order], y, C=c, penalty="scaled", strata=strata, seed=folds.generate_state(1)[0])
    assert everything == pytest.approx(curve.scores[1, 1], abs=1e-9) and seed > 0


def test_the_penalty_is_chosen_within_strata():
    X, y, strata = session(seed=1)
    order, folds = np.random.SeedSequence([0, 0]).spawn(2)
    order = np.random.default_rng(order).permutation(12)
    tests = folds_of(y, strata, int(folds.generate_state(1)[0]))
    assert sizes(12) == [12]
    expected = []
    for c in CANDIDATES["wide"]:
        tested = []
        for i, j in itertools.combinations(range(5), 2):
            train = np.setdiff1d(np.arange(150), np.concatenate([tests[i], tests[j]]))
            z = decisions(X[:, order], y, strata, train, c)
            tested += [(z, tests[i]), (z, tests[j])]
        expected.append(pooled_auc(tested, y, strata))
    np.testing.assert_allclose(penalty_scores(X, y, ks=[12], strata=strata), expected, atol=1e-9)


def test_influences_within_strata_add_up_to_the_variance_over_new_trials():
    _, y, strata = session(200)
    rng = np.random.default_rng(5)
    test = rng.integers(5, size=200) == np.arange(5)[:, None]
    places = [np.flatnonzero(one) for one in test]
    scores, variances = [], []
    for _ in range(120):
        z = rng.normal(size=200) + 0.8 * y + strata
        scores.append(pooled_auc([(z, place) for place in places], y, strata))
        found = influences(np.tile(z, (5, 1)), Groups.of(np.tile(y, (5, 1)), test, strata), "auc")
        variances.append((found**2).sum())
    # standard error of a standard deviation of 120: 6.5 %
    assert np.sqrt(np.mean(variances)) == pytest.approx(np.std(scores), rel=0.2)


def test_every_conditional_vector_can_be_matched():
    trials = mouse_session("stationary", 120, np.random.default_rng(3))
    usable = np.arange(120)
    strata = trial_strata("stimulus", trials)
    labels = target_labels("choice", trials).astype(int)
    least = n_minority(labels, strata)
    without, found = (
        null_labels("conditional", "choice", trials, usable, 60, 0, min_per_class=least, strata=one)[1]
        for one in (None, strata)
    )
    few = np.array([n_minority(row, strata) < least for row in without])
    assert few.any() and not few.all()
    assert all(n_minority(row, strata) >= least for row in found)
    np.testing.assert_array_equal(found[~few], without[~few])  # only the others are drawn again


def test_what_has_no_meaning_within_strata_is_refused():
    X, y, strata = session()
    asked = {"ks": [4], "R": 1, "n_label_shuffles": 0}
    for words, message in (
        ({"metric": "accuracy"}, "the score is an AUC"), ({"class_weight": "balanced"}, "equal weights"),
        ({"curve_axis": "trials"}, "curve_axis='cells'"), ({"trial_shuffled": True}, "trial_shuffled=False"),
        ({"intervals": "test_trials"}, "intervals calibrated or new_trials"),
        ({"strata": strata[1:]}, "for each of 150 trials"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            neuron_dropping_curve(X, y, **asked, **{"strata": strata, **words})
    with pytest.raises(ValueError, match="only one class in any stratum"):
        neuron_dropping_curve(X, y, **asked, strata=y.astype(int))


@pytest.mark.slow
def test_cells_of_the_stimulus_decode_the_choice_and_nothing_beyond_the_stimulus():
    """The short form of ``benchmarks/statistics.py beyond``."""
    case = Case("choice", "stationary", "stimulus", 400, beyond="stimulus")
    found = [one_session_beyond(case, i, plain=i < 2) for i in range(6)]
    assert all(row["plain"] <= 0.05 for row in found[:2])
    assert sum(row["p"] <= 0.05 for row in found) <= 1
    assert abs(np.mean([row["score"] for row in found]) - 0.5) < 0.07  # three standard errors
    assert np.mean([row["minority"] for row in found]) > 50


@pytest.mark.slow
def test_cells_of_the_last_choice_score_a_half_with_history_and_those_of_the_choice_more():
    case = Case("choice", "win-stay", "last choice", 300, beyond="stimulus+history")
    of_last = [one_session_beyond(case, i, plain=not i) for i in range(4)]
    assert of_last[0]["plain"] <= 0.05 and sum(row["p"] <= 0.05 for row in of_last) <= 1
    assert abs(np.mean([row["score"] for row in of_last]) - 0.5) < 0.1
    case = Case("choice", "stationary", "stimulus", 400, beyond="stimulus", effect=0.2)
    assert all(one_session_beyond(case, i, plain=False)["p"] <= 0.05 for i in range(2))

"""The variance of retrained decoders, against scikit-learn and against sessions that are recorded again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from pipeline.decoding import NDCSettings, neuron_dropping_curve
from pipeline.decoding.engine import Population, Subset
from pipeline.decoding.folds import Validation
from pipeline.decoding.retrained import _drawn, retrained_variance
from pipeline.errors import ArgumentError

ASKED = {"ks": [3, 8], "R": 4, "n_label_shuffles": 0, "intervals": "retrained", "n_bootstrap": 20}


def session(n: int = 40, N: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return activity (n, N) and labels (n,)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], n // 2))
    return rng.normal(size=(n, N)) + 0.5 * y[:, None] * rng.choice([-1, 1], N), y


def test_the_variance_is_that_of_scikit_learn_trained_on_the_drawn_trials():
    """Copies of a trial are rows of their own, in the fold of the trial; two subsets that share cells, 8 draws."""
    X, y = session()
    counts, orders, seeds, k = _drawn(y, 8, 3), [[0, 3, 5, 6], [5, 3, 0, 4]], [11, 12], 4
    scores = np.empty((2, 8))
    for s, (order, seed) in enumerate(zip(orders, seeds, strict=True)):
        folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y))
        for b, times in enumerate(counts.astype(int)):
            of_folds = []
            for train, test in folds:
                drawn = np.unique(train[times[train] > 0])
                Z = (X[:, order] - X[drawn][:, order].mean(0)) / X[drawn][:, order].std(0)
                rows, tested = np.repeat(train, times[train]), np.repeat(test, times[test])
                model = LogisticRegression(C=1 / k, tol=1e-10, max_iter=1000).fit(Z[rows], y[rows])
                if len(set(y[tested])) == 2:
                    of_folds.append(roc_auc_score(y[tested], model.decision_function(Z[tested])))
            scores[s, b] = np.mean(of_folds)
    away = scores - scores.mean(axis=1, keepdims=True)
    expected = (away[0] * away[1]).sum() / 7
    packed = Population(X, scaling=True, penalize_intercept=False)
    subsets = [(Subset(packed, np.array(order)).decide, seed) for order, seed in zip(orders, seeds, strict=True)]
    found = retrained_variance(subsets, y, [k], Validation(penalty="scaled"), 1.0, 8, 3)
    assert found == pytest.approx([max(expected, 0)], rel=1e-6)
    assert expected > 0


def test_a_curve_that_is_continued_has_the_influences_of_one_that_is_not():
    X, y = session()
    whole = neuron_dropping_curve(X, y, **ASKED)
    again = neuron_dropping_curve(X, y, **ASKED, known=whole)
    more = neuron_dropping_curve(X, y, **{**ASKED, "ks": [3, 5, 8]}, known=whole)
    np.testing.assert_allclose(again.influences, whole.influences, rtol=1e-9)
    np.testing.assert_allclose(more.influences[[0, 2]], whole.influences, rtol=1e-9)
    plain = neuron_dropping_curve(X, y, **{**ASKED, "intervals": "new_trials"})
    ratio = whole.influences / plain.influences
    assert np.ptp(ratio, axis=1) == pytest.approx(0, abs=1e-9) and not np.allclose(ratio, 1)


@pytest.mark.parametrize("wrong", [{"n_bootstrap": 0}, {"trial_shuffled": True}, {"curve_axis": "trials"}])
def test_what_cannot_be_trained_again_is_refused(wrong):
    X, y = session()
    with pytest.raises(ArgumentError, match="intervals='retrained' needs"):
        neuron_dropping_curve(X, y, **{**ASKED, **wrong})
    with pytest.raises(ArgumentError, match="intervals='retrained' needs"):
        replace(NDCSettings("choice", intervals="retrained"), **wrong)

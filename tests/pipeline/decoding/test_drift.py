"""The share of the activity that is slow within a session, against planted variance and scikit-learn's regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from support.simulated_days import TRUTHS, session

from pipeline.decoding.drift import NOTED_CHANGE, change_over_days, drift_share
from pipeline.errors import ArgumentError


def test_the_share_is_the_adjusted_r_squared_of_the_waves_beside_the_label():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 90).astype(float)
    X = rng.normal(size=(90, 5)) + y[:, None] + np.linspace(0, 2, 90)[:, None]
    waves = np.cos(np.pi * np.arange(1, 7) * (np.arange(90)[:, None] + 0.5) / 90)
    expected = []
    for cell in X.T:
        left = [
            np.sum((cell - LinearRegression().fit(of, cell).predict(of)) ** 2) / (90 - 1 - of.shape[1])
            for of in (y[:, None], np.column_stack([y, waves]))
        ]
        expected.append(1 - left[1] / left[0])
    assert drift_share(X, y) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("planted", [0.0, 0.2, 0.6])
def test_planted_variance_is_found_whatever_the_label_and_the_number_of_trials(planted):
    for n in (60, 400):
        rng = np.random.default_rng([n, 2])
        y = rng.integers(0, 2, n).astype(float)
        slow = np.sqrt(2) * np.cos(np.pi * rng.integers(1, 7, 300) * (np.arange(n)[:, None] + 0.5) / n)
        X = np.sqrt(planted) * slow + np.sqrt(1 - planted) * rng.normal(size=(n, 300))
        for of_label in (0, 3):
            assert drift_share(X + of_label * y[:, None], y) == pytest.approx(planted, abs=0.02)


def test_cells_that_do_not_vary_and_few_trials():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(100, 4)), rng.integers(0, 2, 100).astype(float)
    constant = np.column_stack([X, np.full(100, 1e6), np.zeros(100)])
    assert drift_share(constant, y) == pytest.approx(drift_share(X, y))
    assert np.isnan(drift_share(constant[:, 4:], y))
    assert np.isnan(drift_share(X[:9], y[:9])) and np.isfinite(drift_share(X[:10], y[:10]))
    with pytest.raises(ArgumentError, match="a label in y for each trial"):
        drift_share(X, y[1:])
    assert np.isnan(change_over_days([0.1, np.nan], [0, 4])) and np.isnan(change_over_days([0.1, 0.2], [3, 3]))


def test_of_simulated_mice_those_whose_drift_grows_are_noted():
    """What changes signal, performance, trials, cells or the code is no drift (`benchmarks/statistics.py` trends)."""
    for truth in TRUTHS:
        changes = [
            change_over_days(
                [drift_share(*session(truth, day / 3, np.random.default_rng([mouse, day, 5]))) for day in range(4)],
                range(4),
            )
            for mouse in range(5)
        ]
        noted = np.abs(changes) >= NOTED_CHANGE
        assert noted.all() if truth in ("drift", "learning") else not noted.any(), truth

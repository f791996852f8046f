"""The share of the cells that carry the signal, against closed forms and planted truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.populations import EPS, Population

from pipeline.decoding.code_spread import CHUNK, code_spread


def spreads(cells: Population, n: int = 150, n_days: int = 40) -> np.ndarray:
    """Return log2 of the spread of simulated days."""
    return np.log2([code_spread(*cells.sample(n, np.random.default_rng([day, 61]))) for day in range(n_days)])


def truth(d_prime: np.ndarray) -> float:
    """Return log2 of the sparseness of Treves and Rolls of the squared d'."""
    return float(np.log2(np.mean(d_prime**2) ** 2 / np.mean(d_prime**4)))


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("share", [0.06, 0.2, 1.0])
def test_it_is_the_sparseness_of_the_true_signals_at_any_number_of_trials(share, n):
    delta = np.where(np.arange(100) < 100 * share, 1.0, 0.0) * np.random.default_rng(1).uniform(1, 1.5, 100)
    found = spreads(Population(delta, 0.0), n)
    # the logarithm of what scatters is below that of its mean
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - truth(delta)) < 0.08 + 3 * error


def test_neither_the_size_of_the_signal_nor_noise_of_all_cells_moves_it():
    cells = Population(np.random.default_rng(2).normal(size=100), 0.0)
    others = replace(cells, delta=2 * cells.delta), replace(cells, own=0.5 * cells.own)
    alike = [spreads(one).mean() for one in (cells, *others)]
    assert np.ptp(alike) < 0.1


def test_cells_are_computed_some_at_a_time_with_the_same_result(monkeypatch):
    X, y = Population(np.random.default_rng(3).normal(size=90), EPS).sample(120, np.random.default_rng(4))
    whole = code_spread(X, y)
    monkeypatch.setattr("pipeline.decoding.code_spread.CHUNK", 13)
    assert CHUNK > 90 and code_spread(X, y) == pytest.approx(whole, rel=1e-9)
    silent = np.hstack([X, np.zeros((120, 90))])  # cells that do nothing carry nothing
    assert code_spread(silent, y) == pytest.approx(whole / 2, rel=1e-9)


def test_it_is_not_known_of_few_trials_or_without_a_signal():
    rng = np.random.default_rng(5)
    assert np.isnan(code_spread(rng.normal(size=(9, 4)), np.repeat([0, 1], [6, 3])))
    assert np.isnan(code_spread(np.zeros((20, 4)), np.repeat([0, 1], 10)))
    assert np.isnan([code_spread(rng.normal(size=(60, 30)), np.repeat([0, 1], 30)) for _ in range(40)]).mean() > 0.3

"""Scores of cells that stay and of others, against a closed form and simulated mice of known truth."""

from __future__ import annotations

import numpy as np
import pytest
from support.populations import population

from pipeline.decoding import fit_curve, neuron_dropping_curve
from pipeline.decoding.fits.survivorship import CellsDifference, CellsScore, cells_difference
from pipeline.errors import ArgumentError


def test_the_variance_by_cells_is_that_of_the_mean_of_the_pool():
    """For a score that is the mean of a number of each cell: variance of a pool's mean, that of the numbers over N."""
    rng = np.random.default_rng(0)
    n_cells, k, size = 40, 12, 0.3
    found, means = [], []
    for _ in range(400):
        pool = size * rng.normal(size=n_cells)
        scores = [rng.choice(pool, k, replace=False).mean() for _ in range(60)]
        found.append(CellsScore(0.7, float(np.std(scores, ddof=1)), 0.6, 0.8, k, n_cells).of_cells)
        means.append(pool.mean())
    assert np.mean(found) == pytest.approx(size**2 / n_cells, rel=0.05)
    assert np.var(means) == pytest.approx(size**2 / n_cells, rel=0.2)


def test_errors_add_up_and_those_of_the_cells_that_stay_do_not_average_out():
    stay, other = CellsScore(0.7, 0.1, 0.66, 0.74, 10, 50), CellsScore(0.72, 0.06, 0.70, 0.74, 10, 20)
    of_trials = ((0.08**2 + 0.04**2) / (2 * 1.959964) ** 2, 0.06**2 * 10 / 10, 0.1**2 * 10 / 40)
    for n in (1, 4, 1000):
        found = cells_difference([stay] * n, [other] * n)
        error = np.sqrt((of_trials[0] + of_trials[1]) / n + of_trials[2])
        assert (found.mean, len(found.values)) == (pytest.approx(0.02), n)
        assert found.mean_high - found.mean == pytest.approx(1.959964 * error, rel=1e-5)
        assert found.high[0] - found.values[0] == pytest.approx(1.959964 * np.sqrt(sum(of_trials)), rel=1e-5)
    for wrong in (
        [],
        [other, other],
        [CellsScore(0.7, 0.1, 0.6, 0.8, 9, 20)],
        [CellsScore(0.7, 0.1, 0.6, 0.8, 10, 10)],
    ):
        with pytest.raises(ArgumentError, match="cells"):
            cells_difference([stay], wrong)


def mouse(kind: str, number: int, silent: bool = False) -> CellsDifference:
    """Return 40 cells that stay against 30 others on each of 3 days; ``silent``: which have no signal."""
    rng, k = np.random.default_rng([number, 6]), 12
    cells = population(kind, 130, rng)
    order = rng.permutation(130)
    stay, others = [], []
    for day in range(3):
        X, y = cells.sample(120, rng)
        if silent:
            X[:, order[40:]] = rng.permutation(X[:, order[40:]])
        for places, found in ((order[:40], stay), (order[40 + 30 * day : 70 + 30 * day], others)):
            curve = neuron_dropping_curve(
                X[:, places], y, ks=[k], R=8, n_label_shuffles=0, penalty="scaled", seed=number
            )
            fit = fit_curve(curve.ks, curve.scores, influences=curve.influences, n_bootstrap=50)
            sd = float(curve.scores[0].std(ddof=1))
            found.append(CellsScore(curve.mean[0], sd, fit.mean_low[0], fit.mean_high[0], k, len(places)))
    return cells_difference(stay, others)


@pytest.mark.parametrize("kind", [pytest.param("limited", marks=pytest.mark.slow), "sparse"])
def test_cells_lost_at_random_show_no_difference(kind):
    found = [mouse(kind, number) for number in range(12)]
    assert sum(one.mean_low <= 0 <= one.mean_high for one in found) >= 11


def test_cells_without_a_signal_do():
    assert sum(mouse("limited", number, silent=True).mean_high < 0 for number in range(6)) >= 5

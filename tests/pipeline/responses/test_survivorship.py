"""Cells that stay beside cells that are lost: no difference if they are lost at random, and one if they are not."""

from __future__ import annotations

import numpy as np
import pytest
from support.populations import population

from pipeline.decoding import neuron_dropping_curve


@pytest.mark.parametrize("lost", ["at random", "the weak"])
def test_cells_lost_at_random_decode_as_well_as_those_that_stay(lost):
    differences = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        mouse = population("white", 160, rng)
        X, y = mouse.sample(200, rng)
        # those that stay first
        order = rng.permutation(160) if lost == "at random" else np.argsort(-np.abs(mouse.delta))
        stay, gone = (
            neuron_dropping_curve(X[:, half], y, ks=(8, 32), R=12, n_label_shuffles=0).mean
            for half in (order[:80], order[80:])
        )
        differences.append(stay - gone)
    mean, error = np.mean(differences, axis=0), np.std(differences, axis=0, ddof=1) / np.sqrt(6)
    if lost == "at random":
        assert (np.abs(mean) < 3 * error + 0.01).all()
    else:
        assert (mean > 0.05).all()

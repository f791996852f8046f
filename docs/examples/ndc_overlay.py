"""Neuron-dropping curves of four days: fewer cells are needed on later days."""

import numpy as np

from pipeline.figures import Curve, ndc_overlay

rng = np.random.default_rng(0)
ks = np.array([2, 4, 8, 16, 32, 64, 120])
curves = []
for date, tau in (("2025-03-03", 40), ("2025-03-05", 20), ("2025-03-07", 10), ("2025-03-12", 5)):
    mean = 0.95 - 0.45 * np.exp(-ks / tau) + rng.normal(0, 0.006, 7)
    enough = ks[mean >= mean[-1] - 0.02][0]
    spread = 0.25 / np.sqrt(ks) * np.sqrt(1 - ks / 121)
    curves.append(
        Curve("001", date, ks, mean, spread, null_lo=0.44 + 0 * ks, null_hi=0.56 + 0 * ks, ceiling=mean[-1],
              k_star=enough, k_star_low=enough / 2, k_star_high=min(1.5 * enough, 120), n_trials=214)
    )  # fmt: skip

figure = ndc_overlay(curves, target="choice")

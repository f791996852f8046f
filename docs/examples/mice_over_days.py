"""The trends over days of five mice (thin), and the mean of their slopes with its interval (thick)."""

import numpy as np

from pipeline.decoding import code_trend, fit_curve, sensitivity_trend
from pipeline.figures import mice_over_days

rng = np.random.default_rng(4)
ks = np.array([4, 8, 16, 32, 64, 128])


def day(half, top):
    """A session whose d'^2 has half of its asymptote `top` at `half` neurons."""
    d_prime = np.sqrt(top * ks / (ks + half))
    mean = 1 / (1 + np.exp(-1.2 * d_prime)) + 0.01 * rng.normal()  # the AUC of two normal distributions, nearly
    return fit_curve(ks, mean[:, None] + 0.02 * rng.normal(size=(6, 20)))


def mouse(fall, rise):
    """The trends of a mouse over six to nine days: its code gets more efficient by `fall` octaves a day."""
    days = np.sort(rng.choice(12, rng.integers(6, 10), replace=False))
    curves = [day(60 * 2 ** (-fall * d), 2 + rise * d) for d in days]
    return {
        "code_k": code_trend(curves, days), "half_k": code_trend(curves, days, at="half"),
        "common_k": sensitivity_trend(curves, days), "score": sensitivity_trend(curves, days, quantity="score"),
    }  # fmt: skip


trends = {
    "choice": {f"mouse {i}": mouse(0.25 + 0.05 * rng.normal(), 0.05) for i in range(1, 6)},
    "block": {f"mouse {i}": mouse(0.0, 0.1 * rng.random()) for i in range(1, 6)},
}
figure = mice_over_days(trends, title="Five simulated mice")

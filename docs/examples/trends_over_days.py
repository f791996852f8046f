"""The trends of the code and of sensitivity over days, with ceilings and performance."""

import numpy as np

from pipeline.decoding import code_trend, fit_curve, sensitivity_trend
from pipeline.figures import trends_over_days

rng = np.random.default_rng(3)
ks, days = np.array([4, 8, 16, 32, 64, 128]), np.array([0, 1, 2, 5, 6, 8])


def day(half, top):
    """A session whose d'^2 has half of its asymptote `top` at `half` neurons."""
    d_prime = np.sqrt(top * ks / (ks + half))
    mean = 1 / (1 + np.exp(-1.2 * d_prime)) + 0.01 * rng.normal()  # the AUC of two normal distributions, nearly
    scores = mean[:, None] + 0.02 * rng.normal(size=(6, 20))
    return fit_curve(ks, scores, influences=np.full((6, 200), 0.015 / 20))


mice = {
    "the code changes": [day(half, 3) for half in (60, 52, 40, 22, 18, 9)],
    "more signal": [day(40, top) for top in (1, 1.1, 1.6, 2.4, 2.9, 4)],
}
trends = {
    name: {
        "code_k": code_trend(curves, days), "half_k": code_trend(curves, days, at="half"),
        "common_k": sensitivity_trend(curves, days), "score": sensitivity_trend(curves, days, quantity="score"),
    }
    for name, curves in mice.items()
}  # fmt: skip
figure = trends_over_days(
    trends, ceilings={name: [curve.mean[-1] for curve in curves] for name, curves in mice.items()},
    performance=list(zip(days, [0.62, 0.66, 0.71, 0.78, 0.83, 0.86], strict=True)), start="2025-03-01",
)  # fmt: skip

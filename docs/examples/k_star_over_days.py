"""k* over days, with the slope of log k*."""

import numpy as np

from pipeline.figures import Curve, k_star_over_days

rng = np.random.default_rng(1)
ks = np.array([2, 4, 8, 16, 32, 64, 128])
curves = []
for day in (1, 3, 4, 6, 9, 10, 11, 15, 16, 18, 21, 22):
    k_star = int(np.clip(ks[6 - round(day / 4 + rng.normal(0, 0.6))], 2, 128))
    low, high = k_star / 2 ** rng.uniform(0.4, 1.2), k_star * 2 ** rng.uniform(0.2, 1)
    curves.append(
        Curve("001", f"2025-03-{day:02d}", ks, 0.6 + 0.001 * ks, 0 * ks, k_star=k_star, k_star_low=low,
              k_star_high=high, k_star_censored="left" if k_star == 2 else "")
    )  # fmt: skip

figure = k_star_over_days({"choice": curves})

"""The score of all cells over the fraction of rewarded trials."""

import numpy as np

from pipeline.figures import Curve, score_over_performance

rng = np.random.default_rng(2)
targets = {"choice": 0.5, "feedback": 0.1}
panels = {}
for target, slope in targets.items():
    panels[target] = []
    for day in range(1, 13):
        performance = 0.62 + 0.02 * day + 0.03 * np.sin(7 * day)
        score = 0.8 + slope * (performance - 0.75) + rng.normal(0, 0.02)
        panels[target].append(
            Curve("001", f"2025-03-{day:02d}", [8, 120], [0.6, score], [0.05, 0], performance=performance,
                  mean_low=[0.55, score - 0.03], mean_high=[0.65, score + 0.03])
        )  # fmt: skip

figure = score_over_performance(panels)

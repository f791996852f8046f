"""A panel for each target; or, as here, for each region, all up to the same number of cells."""

import numpy as np

from pipeline.figures import Curve, ndc_panels

rng = np.random.default_rng(0)
ks = np.array([2, 4, 8, 16, 20])
dates = ["2025-03-03", "2025-03-05", "2025-03-07", "2025-03-12"]
panels = {}
for region, slowest in (("VISp", 16), ("VISam", 32), ("RSPagl", 60), ("SSp-bfd", 24)):
    panels[region] = []
    for day, date in enumerate(dates):
        mean = 0.95 - 0.45 * np.exp(-ks / (slowest / 2**day)) + rng.normal(0, 0.008, 5)
        enough = ks[mean >= mean[-1] - 0.02][0]
        panels[region].append(Curve("001", date, ks, mean, 0.2 / np.sqrt(ks), k_star=enough, n_trials=214))

figure = ndc_panels(panels, title="SP999: choice by region, up to 20 shared cells of each")

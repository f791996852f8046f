"""The share of cells that are found again, against the days between."""

import numpy as np

from pipeline.figures import survival

rng = np.random.default_rng(3)
dates = ["2025-03-03", "2025-03-05", "2025-03-07", "2025-03-12", "2025-03-14", "2025-03-15"]
first, last = rng.integers(-4, 6, 900), rng.integers(3, 16, 900)  # some cells come late, some are lost
day = np.arange(6)
found = (day >= first[:, None]) & (day <= last[:, None]) & (rng.random((900, 6)) < 0.9)

figure = survival(found[found.any(axis=1)], dates)

"""The same cells in one Rastermap order on several days: means of the trials that did not give the order."""

import numpy as np

from pipeline.embedding import EmbeddingSettings, rastermap_order
from pipeline.embedding_days import type_vectors, zscored
from pipeline.figures import days_raster
from pipeline.signals.peri_event import WINDOWS

rng = np.random.default_rng(4)
kinds = list(WINDOWS)[:12]
prefers = rng.permutation(np.repeat(np.arange(12), 15))  # the kind of trial that each cell prefers
days = {}
for date in ("2024-05-01", "2024-05-02", "2024-05-05"):
    code = 2 * np.exp(-((np.arange(12)[:, None] - prefers) ** 2) / 3)
    days[date] = [code + 0.5 * rng.normal(size=code.shape) for _ in range(2)]  # of even and of odd trials
order = rastermap_order(type_vectors([even for even, _ in days.values()]), EmbeddingSettings(time_lag_window=0))

figure = days_raster({date: zscored(odd.T[order]) for date, (_, odd) in days.items()}, columns=kinds)

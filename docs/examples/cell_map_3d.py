"""The same cells in space, coloured by a value: each cell's place in the Rastermap order."""

import numpy as np

from pipeline.figures import cell_map_3d

rng = np.random.default_rng(0)
centres = np.array([[-2600, -3600], [-1500, -2300], [-900, 1500], [2700, -1300]])
ml_ap = centres[np.arange(2400) % 4] + rng.uniform(-420, 420, (2400, 2))
depth = rng.choice([150, 300], 2400) + np.sum(ml_ap**2, axis=1) / 20_000  # the brain is round
rank = np.argsort(np.argsort(ml_ap @ [1, 2] + rng.normal(0, 400, 2400)))

figure = cell_map_3d(np.column_stack([ml_ap, -depth]), values=rank, label="Rastermap rank")

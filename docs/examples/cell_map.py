"""Cells of four FOVs seen from above, coloured by region."""

import numpy as np

from pipeline.figures import cell_map

rng = np.random.default_rng(0)
fovs = np.arange(2400) % 4
centres = np.array([[-2600, -3600], [-1500, -2300], [-900, 1500], [2700, -1300]])
ml_ap = centres[fovs] + rng.uniform(-420, 420, (2400, 2))  # um
areas = np.array(["VISp", "VISam", "MOs", "SSp-bfd"])[fovs]
layers = rng.choice(["2/3", "5"], 2400)

figure = cell_map(ml_ap, regions=np.char.add(areas, layers), fovs=fovs)

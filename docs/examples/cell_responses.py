"""How reliable the responses of single cells are, and how selective the cells are for each target."""

import numpy as np

from pipeline.decoding import benjamini_hochberg
from pipeline.figures import cell_responses
from pipeline.responses import selectivity

rng = np.random.default_rng(1)
n_trials, n_cells = 300, 500
code = rng.normal(size=(26, n_cells)) * rng.choice([0.0, 1.0], n_cells)
even, odd = (code + 0.8 * rng.normal(size=code.shape) for _ in range(2))
reliability = np.array([np.corrcoef(even[:, cell], odd[:, cell])[0, 1] for cell in range(n_cells)])
auroc, q = {}, {}
for target, share in {"choice": 0.1, "stimulus": 0.3}.items():
    labels = rng.integers(0, 2, n_trials)
    effect = rng.normal(0, 0.6, n_cells) * (rng.random(n_cells) < share)
    activity = rng.normal(size=(n_trials, n_cells)) + labels[:, None] * effect
    found = selectivity(activity, labels, [rng.permutation(labels) for _ in range(500)])
    auroc[target], q[target] = found.auroc, benjamini_hochberg(found.p)
figure = cell_responses(reliability, auroc, q)

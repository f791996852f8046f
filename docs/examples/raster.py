"""One minute of 800 cells, sorted by a sequence that follows movements, with regions, wheel, trials and blocks."""

import numpy as np

from pipeline.figures import raster

rng = np.random.default_rng(0)
times = np.arange(1000) * 0.2  # s
stimulus = 4 + np.cumsum(rng.uniform(3.5, 7, 36))
movement = stimulus + rng.gamma(3, 0.12, 36)
feedback, rewarded = movement + rng.uniform(0.2, 0.6, 36), rng.random(36) < 0.75
block = np.where(np.arange(36) < 16, 0.5, 0.8)  # probability that the stimulus is left

place = np.arange(800) / 800  # position of each cell in the sequence
latency, gain = 4 * place - 1 + rng.normal(0, 0.12, 800), rng.gamma(1, 1, 800)
signal = rng.exponential(0.5, (800, 1000)) * (rng.random((800, 1000)) < 0.04)
for start in movement:
    since = times - start - latency[:, None]
    signal += (gain * (rng.random(800) < 0.7))[:, None] * np.exp(-np.abs(since) / 0.3) * (since >= 0)
areas = np.array(["VISp2/3", "VISam2/3", "RSPagl5", "MOs5"])
regions = areas[np.clip(4 * place + rng.normal(0, 0.7, 800), 0, 3).astype(int)]
wheel = np.arange(0, 200, 0.02)
turns = np.where(rewarded, 5, -5) * np.exp(-(((wheel[:, None] - movement - 0.15) / 0.1) ** 2))

stored = rng.permutation(800)  # cells are stored in any order
figure = raster(
    signal[stored],
    times,
    order=np.argsort(stored),
    regions=regions[stored],
    wheel=(wheel, turns.sum(axis=1)),
    events={
        "stimulus on": stimulus,
        "first movement": movement,
        "reward": feedback[rewarded],
        "error": feedback[~rewarded],
    },
    block=(stimulus - 0.5, block),
    t_range=(60, 120),
    title="SP999 2025-03-03 (001), deconvolved",
)

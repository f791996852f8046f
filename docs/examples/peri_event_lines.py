"""Activity of four areas around left and right choices, mean and standard error over trials."""

import numpy as np

from pipeline.figures import Average, peri_event_lines
from pipeline.signals.clock import ROITimes
from pipeline.signals.peri_event import peri_event

rng = np.random.default_rng(1)
frames = np.arange(5000) * 0.197  # s; the second FOV is scanned 0.1 s later
times = ROITimes({0: frames, 1: frames + 0.1}, np.arange(400) % 2, rng.uniform(0, 0.02, 400))
choices, is_left = 10 + 8 * np.arange(120) + rng.uniform(0, 2, 120), rng.random(120) < 0.5
latency, traces = rng.uniform(-0.3, 1.2, 400), rng.exponential(0.5, times.shape)
for cell, trace in enumerate(traces):
    trial = np.searchsorted(choices, times[cell] - latency[cell], side="right") - 1
    since = times[cell] - choices[trial] - latency[cell]
    gain = np.where(is_left[trial], 1 + cell % 4, 4 - cell % 4)
    trace += gain * np.exp(-np.abs(since) / 0.3) * (since >= 0)

areas = np.array(["VISp", "VISam", "MOs", "SSp-bfd"])[np.arange(400) % 4]
panels = {area: [] for area in sorted(set(areas.tolist()))}
for label, chosen in (("choice left", is_left), ("choice right", ~is_left)):
    found = peri_event(traces, times, np.where(chosen, choices, np.nan), groups=areas)
    for area, mean, sem, n in zip(found.names.tolist(), found.mean, found.sem, found.n_trials, strict=True):
        panels[area].append(Average(label, found.edges, mean, sem, n))

figure = peri_event_lines(panels, event="first movement", unit="deconvolved", window=(0, 0.15))

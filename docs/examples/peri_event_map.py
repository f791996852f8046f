"""A row for each cell, sorted by its peak in every other trial; the remaining trials are shown."""

import numpy as np

from pipeline.figures import peri_event_map
from pipeline.figures.peri_event import peak_order
from pipeline.signals.clock import ROITimes
from pipeline.signals.peri_event import peri_event

rng = np.random.default_rng(1)
times = ROITimes({0: np.arange(5000) * 0.197}, np.zeros(400, int), rng.uniform(0, 0.1, 400))
events = 10 + 8 * np.arange(120) + rng.uniform(0, 2, 120)
latency, traces = rng.uniform(-0.3, 1.2, 400), rng.exponential(0.5, times.shape)
for cell, trace in enumerate(traces):
    since = times[cell] - latency[cell]
    since = since - events[np.searchsorted(events, since, side="right") - 1]
    trace += 2.5 * np.exp(-np.abs(since) / 0.3) * (since >= 0)

order = peak_order(peri_event(traces, times, events[::2]).mean)
shown = peri_event(traces, times, events[1::2])
regions = np.array(["VISp", "VISam", "MOs", "SSp-bfd"])[np.arange(400) % 4]
figure = peri_event_map(
    shown.mean, shown.edges, order=order, regions=regions, event="first movement", unit="deconvolved"
)

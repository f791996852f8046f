"""Mean speed of the wheel in windows of trials."""

from __future__ import annotations

import numpy as np

from pipeline.behavior.wheel import mean_speed


def test_speed_is_the_mean_of_the_samples_in_the_window():
    rng = np.random.default_rng(0)
    times, velocity = 5 + np.arange(1000) / 100, rng.normal(size=1000).astype(np.float32)
    starts = rng.uniform(4, 16, size=200)
    starts[::20] = np.nan
    ends = starts + rng.uniform(0.001, 0.3, size=200)
    found = mean_speed(times, velocity, starts, ends)
    for start, end, speed in zip(starts, ends, found, strict=True):
        inside = (times >= start) & (times < end)
        if not (start >= times[0] and end <= times[-1] and inside.any()):
            assert np.isnan(speed)
        else:
            assert np.isclose(speed, np.abs(velocity[inside].astype(float)).mean())
    assert 20 < np.isnan(found).sum() < 120

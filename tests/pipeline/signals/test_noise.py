"""Noise levels of traces: against planted noise, and against what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from pipeline.errors import ArgumentError
from pipeline.signals.noise import MAX_STEPS, NOTED_OCTAVES, noise_levels

PERIOD = 0.2
TIMES = np.arange(8000) * PERIOD


def recorded(noise: float, rng: np.random.Generator, *, rate: float = 0.05, gain: float = 1.0):
    """Return fluorescence, dF/F and deconvolved activity of 60 cells: events, and noise of each frame."""
    events = rng.poisson(rate, (60, len(TIMES))) * rng.gamma(4.0, 0.25, (60, len(TIMES)))
    keep = np.exp(-PERIOD / 0.7)
    dff = lfilter([1], [1, -keep], 0.5 * events, axis=1) + noise * rng.normal(size=events.shape)
    deconvolved = np.maximum(gain * (events + noise * rng.normal(size=events.shape) - noise / 2), 0)
    return {"fluorescence": gain * 100 * (1 + dff), "dff": dff, "deconvolved": deconvolved}


def level(traces: np.ndarray, signal: str, times: np.ndarray = TIMES) -> float:
    return float(np.median(noise_levels(traces, times, signal)))


def octaves(after: dict[str, np.ndarray], before: dict[str, np.ndarray], signal: str) -> float:
    return float(np.log2(level(after[signal], signal) / level(before[signal], signal)))


def test_white_noise_has_its_standard_deviation_whatever_the_frame_rate():
    rng = np.random.default_rng(1)
    expected = norm.ppf(0.75) * np.sqrt(2) * 0.3
    for rate in (5, 50):
        found = noise_levels(0.3 * rng.normal(size=(400, 4000)), np.arange(4000) / rate, "dff")
        assert np.median(found) == pytest.approx(expected / np.sqrt(rate), rel=0.005)


def test_the_level_is_that_of_plain_numpy_frame_by_frame():
    rng = np.random.default_rng(2)
    traces = np.maximum(rng.normal(size=(5, 1000)), 0)
    times, flagged = np.arange(1000) / 4, rng.random(1000) < 0.1
    for signal in ("dff", "fluorescence", "deconvolved"):
        found = noise_levels(traces + (signal == "fluorescence"), times, signal, flagged)
        for trace, one in zip(traces + (signal == "fluorescence"), found, strict=True):
            steps = [abs(b - a) for a, b, bad, worse in zip(trace, trace[1:], flagged, flagged[1:], strict=False)
                     if not (bad or worse)]  # fmt: skip
            good = trace[:-1][~(flagged[:-1] | flagged[1:])]
            unit = {
                "dff": 1.0,
                "fluorescence": np.median(good),
                "deconvolved": np.mean(np.sort(good)[-round(0.01 * len(good)) :]),
            }[signal]
            steps = [step for step in steps if step > 0] if signal == "deconvolved" else steps
            assert one == pytest.approx(np.median(steps) / unit / 2, rel=1e-12)


@pytest.mark.parametrize("signal", ["fluorescence", "dff", "deconvolved"])
def test_own_noise_that_doubles_is_noted_and_light_and_activity_are_not(signal):
    rng = np.random.default_rng(3)
    before = recorded(0.2, rng)
    assert octaves(recorded(0.2 * 2**0.5, rng), before, signal) > NOTED_OCTAVES
    assert octaves(recorded(0.2 / 2**0.5, rng), before, signal) < -NOTED_OCTAVES
    assert abs(octaves(recorded(0.2, rng, gain=1.5), before, signal)) < 0.05
    assert abs(octaves(recorded(0.2, rng, rate=0.06), before, signal)) < NOTED_OCTAVES


def test_long_traces_are_sampled_evenly():
    rng = np.random.default_rng(4)
    traces = rng.normal(size=(200, 10 * MAX_STEPS)) * np.linspace(1, 3, 10 * MAX_STEPS)
    times = np.arange(traces.shape[1]) / 5
    sampled, all_of_it = (np.median(one) for one in (
        noise_levels(traces, times, "dff"), np.median(np.abs(np.diff(traces)), axis=1) / np.sqrt(5)))  # fmt: skip
    assert sampled == pytest.approx(all_of_it, rel=0.01)


def test_traces_that_have_no_level():
    times = np.arange(200) / 5
    for signal in ("fluorescence", "dff", "deconvolved"):
        assert np.isnan(noise_levels(np.zeros((2, 200)), times, signal)).all()
        assert np.isnan(noise_levels(np.full((2, 200), np.nan), times, signal)).all()
        assert np.isnan(noise_levels(np.ones((2, 1)), times[:1], signal)).all()
        assert np.isnan(noise_levels(np.ones((2, 200)), times, signal, np.ones(100, dtype=bool))).all()
    times, rng = np.arange(101) / 5, np.random.default_rng(5)
    some = rng.normal(size=(3, 101))
    holed = some.copy()
    holed[0, 50], holed[1] = np.nan, 0
    assert np.isfinite(noise_levels(holed, times, "dff")).tolist() == [True, False, True]
    assert np.isnan(noise_levels(some[:, :100], times[:100], "dff")).all()
    with pytest.raises(ArgumentError, match="not 'spikes'"):
        noise_levels(some, times, "spikes")

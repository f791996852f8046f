"""Calcium imaging as it is recorded, simulated, and deconvolved as Suite2p does: for checks of sound data."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d
from scipy.signal import lfilter


@dataclass(frozen=True)
class Recording:
    """What is simulated.

    Attributes
    ----------
    n_rois, n_frames : int
    rate : float
        Frame rate in Hz.
    tau, tau_used : float
        Decay of the indicator in s, and what the deconvolution takes it for.
    size : float
        Of a single event, in standard deviations of the noise.
    neuropil : float
        Size of the common signal of the neuropil, relative.
    silent : float
        Share of ROIs without events.
    flashes : int
        Frames in which all ROIs are three times as bright.
    """

    n_rois: int = 30
    n_frames: int = 600
    rate: float = 5.0
    tau: float = 1.0
    tau_used: float = 1.0
    size: float = 2.0
    neuropil: float = 1.0
    silent: float = 0.3
    flashes: int = 0


def record(recording: Recording, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return fluorescence and neuropil, each (N, T)."""
    shape = recording.n_rois, recording.n_frames
    common = lfilter([1], [1, -np.exp(-1 / (2 * recording.rate))], rng.standard_normal(recording.n_frames))
    common /= common.std()
    often = np.where(rng.random(recording.n_rois) < recording.silent, 0, 0.02 * rng.lognormal(0, 1, recording.n_rois))
    events = rng.poisson(often[:, None] * np.exp(0.3 * common), shape) * rng.gamma(4, 0.25, shape)
    calcium = lfilter([1], [1, -np.exp(-1 / (recording.tau * recording.rate))], events)
    baseline = rng.lognormal(6, 0.5, (recording.n_rois, 1))
    around = baseline * (0.5 + 0.15 * recording.neuropil * common + 0.02 * rng.standard_normal(shape))
    own = baseline * (1 + 0.1 * (recording.size * calcium + rng.standard_normal(shape)))
    bright = np.ones(recording.n_frames)
    bright[rng.choice(recording.n_frames, recording.flashes, replace=False)] = 3
    bright *= 1 - 0.05 * np.linspace(0, 1, recording.n_frames)  # bleaching
    return bright * (own + 0.7 * around), bright * around


def simulate(recording: Recording, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fluorescence, neuropil and deconvolved activity, each (N, T) float32."""
    fluorescence, neuropil = record(recording, rng)
    deconvolved = deconvolve(fluorescence - 0.7 * neuropil, recording.rate, recording.tau_used)
    return fluorescence.astype(np.float32), neuropil.astype(np.float32), deconvolved.astype(np.float32)


@functools.cache
def simulated(recording: Recording, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what ``simulate`` returns for a seed; tests that share it may not write to it. Deconvolving takes long."""
    arrays = simulate(recording, np.random.default_rng(seed))
    for array in arrays:
        array.flags.writeable = False
    return arrays


def deconvolve(traces: np.ndarray, rate: float, tau: float) -> np.ndarray:
    """Return non-negative events (N, T) of traces (N, T) above their running baseline ("maximin"), as Suite2p."""
    window = int(60 * rate)
    baseline = maximum_filter1d(minimum_filter1d(gaussian_filter1d(traces, 10 * rate), window), window)
    keep = np.exp(-1 / (tau * rate))
    return np.stack([_oasis(trace, keep) for trace in traces - baseline])


def _oasis(trace: np.ndarray, keep: float) -> np.ndarray:
    """Return the events (T,) of a trace that decays by `keep` in a frame (Friedrich et al. 2017, without penalty)."""
    pools: list[tuple[float, float, int, int]] = []  # value, weight, first frame, length
    for frame, value in enumerate(trace):
        pools.append((value, 1.0, frame, 1))
        while len(pools) > 1 and pools[-2][0] * keep ** pools[-2][3] > pools[-1][0]:
            value, weight, _, length = pools.pop()
            before, heavy, first, far = pools.pop()
            decayed = keep**far
            total = heavy + decayed**2 * weight
            pools.append(((heavy * before + decayed * weight * value) / total, total, first, far + length))
    events = np.zeros(len(trace))
    for one, other in pairwise(pools):
        events[other[2]] = other[0] - one[0] * keep ** one[3]
    return events

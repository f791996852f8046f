"""Simulate calcium activity with planted codes, on the clock of the recording."""

from __future__ import annotations

import numpy as np

from pipeline.demo.behavior import Behaviour, Day
from pipeline.demo.truth import ACTIVE, N_LAGS, N_LINES, Cells, Layout, Params

_FRAME_PERIOD = 0.1969  # s, 5.08 Hz, as in IBL mesoscope sessions


LINE_PERIOD = 4.16e-5  # s from one scan line to the next


_TAU = 0.7  # s, decay of the indicator (GCaMP6f)


_BOUT_GAP = 20.0  # s between the two imaging bouts of the last day


_SECOND_BOUT = 60.0  # s, length of the second bout


_NEUROPIL, _WAVE_SIZE = 100.0, 6.0  # detector units; small, so that dF/F has the codes of the fluorescence


_N_WAVES, _WAVE_WIDTH, _WAVE_TAU = 12, 90.0, 2.0  # width in pixels, time constant in s


_AMPLITUDE = {"choice": 2.5, "feedback": 2.5, "stimulus": 2.5, "block": 0.4}  # response, in single events per frame


_N_DRIVES = N_LAGS + 4  # running at each lag, stillness, and three slow states


def frame_clock(params: Params, day: int, last_event: float) -> np.ndarray:
    """Return the start of each frame of the first FOV, (T,) s; on the last day with a second imaging bout."""
    rng = params.rng(4, day)
    period = _FRAME_PERIOD + 1e-5 * day
    start = 12.0 + rng.uniform(0, 3)
    stops = [(start, last_event + 6.0)]
    if day == params.n_days - 1:
        again = stops[0][1] + _BOUT_GAP
        stops.append((again, again + _SECOND_BOUT))
    times = np.concatenate([np.arange(first, last, period) for first, last in stops])
    return times + rng.normal(0, 5e-6, len(times))


def make_drives(params: Params, day: int, clock: np.ndarray, behaviour: Behaviour) -> np.ndarray:
    """Return factors of event rates, (_N_DRIVES, T) float32: running at increasing lags, stillness, slow states.

    Cells that follow running at different lags form the sequences that a sorted raster shows.
    """
    from scipy.signal import lfilter

    rng = params.rng(5, day)
    position = np.interp(clock, behaviour.wheel_times, behaviour.wheel_position)
    speed = np.abs(np.gradient(position, clock))
    running = lfilter([0.25], [1, -0.75], np.minimum(speed, 2.0))
    running = np.minimum(running / running.std(), 3.0)
    # np.roll wraps around, which does no harm: the first and last seconds are outside the trials
    lagged = [np.roll(running, 3 * lag) for lag in range(N_LAGS)]
    slow = []
    for tau in (15.0, 45.0, 120.0):  # s; each state is the exponential of a first-order autoregressive process
        keep = np.exp(-_FRAME_PERIOD / tau)
        state = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.standard_normal(len(clock)))
        slow.append(np.exp(1.6 * state) * 0.4)
    still = np.exp(-1.5 * lfilter([0.05], [1, -0.95], running)) * 2.0
    # bounded, because rates times drives are probabilities
    drives = np.minimum(np.stack([*(2.5 * wave for wave in lagged), still, *slow]), 8.0)
    rates: np.ndarray = (0.1 + drives).astype(np.float32)
    return rates


def _background_events(rng: np.random.Generator, layout: Layout, n_shared: int, drives: np.ndarray) -> np.ndarray:
    """Return background event sizes (N, T) float32, mostly 0.

    Shared cells have a low constant rate, so that their codes are decodable.
    """
    n_rois, n_frames = len(layout.member), drives.shape[1]
    shared = (layout.member >= 0) & (layout.member < n_shared)
    # events per frame
    rate = np.where(layout.is_cell, rng.uniform(0.015, 0.05, n_rois), 0.004).astype(np.float32)
    drive = rng.integers(_N_DRIVES, size=n_rois)
    rate[shared] = 0.008
    probability = rate[:, None] * drives[drive]
    probability[shared] = rate[shared, None]
    fires = rng.random((n_rois, n_frames), dtype=np.float32) < probability
    events = np.zeros((n_rois, n_frames), dtype=np.float32)
    events[fires] = 0.3 + rng.exponential(0.6, np.count_nonzero(fires))
    return events


def _add_code(
    rng: np.random.Generator,
    events: np.ndarray,
    target: str,
    preferred: np.ndarray,
    onset: np.ndarray,
    day: Day,
) -> None:
    """Add the responses of informative cells to their preferred trials, in place, to `events` (N, T).

    Parameters
    ----------
    rng : numpy.random.Generator
    events : (N, T) float32
    target : str
    preferred : (N,) int
        Class (-1 or +1) that each ROI responds to; 0 for none.
    onset : (N, n_trials) float64
        Start of the response in s on the first FOV's frame clock; NaN where the event is missing.
    day : Day
    """
    cells = np.flatnonzero(preferred)
    _, before, after = ACTIVE[target]
    shown = day.behaviour.represented[target]
    valid = np.isfinite(onset[0])
    onset, answers = onset[cells][:, valid], shown[valid] == preferred[cells, None]
    # the clock of the first FOV: the delay of a FOV and a line is in the onset already
    first = np.searchsorted(day.clock, onset)  # (cells, trials) frames
    stop = np.searchsorted(day.clock, onset + after - before)
    size = answers * _AMPLITUDE[target] * rng.gamma(16.0, 1 / 16.0, first.shape)
    for step in range(int((stop - first).max(initial=0))):
        frame = np.minimum(first + step, len(day.clock) - 1)
        wobble = rng.uniform(0.8, 1.2, first.shape)
        # add.at and not +=: where two responses overlap in a frame, both count
        np.add.at(events, (cells[:, None], frame), np.where(first + step < stop, size * wobble, 0))


def make_events(day: Day, fov: int, cells: Cells, layout: Layout) -> np.ndarray:
    """Return event sizes (N, T) float32 of all ROIs of a FOV: background, and the codes of its shared cells."""
    rng = day.params.rng(6, day.number, fov)
    events = _background_events(rng, layout, cells.n_shared, day.drives)
    shared = (layout.member >= 0) & (layout.member < cells.n_shared)
    # An ROI is scanned later than the start of the first FOV's frame: by the delay of its FOV and by its line.
    delay = fov_delay(day.params, fov) + layout.positions[:, 0] * LINE_PERIOD
    for target, code in day.codes.items():
        preferred = np.zeros(len(events), dtype=int)
        preferred[shared] = code[cells.shared_index[layout.member[shared]]]
        event, before, _ = ACTIVE[target]
        onset = day.behaviour.trials[event].to_numpy() + before - delay[:, None]
        _add_code(rng, events, target, preferred, onset, day)
    return events


def make_traces(rng: np.random.Generator, events: np.ndarray, is_cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return fluorescence and deconvolved activity, each (N, T) float32 in detector units, from event sizes (N, T)."""
    from scipy.signal import lfilter

    n_rois, n_frames = events.shape
    baseline = rng.lognormal(6.0, 0.4, (n_rois, 1)).astype(np.float32)
    gain = np.where(is_cell[:, None], 0.35, 0.15).astype(np.float32) * baseline
    keep = np.float32(np.exp(-_FRAME_PERIOD / _TAU))
    # float32 coefficients, or lfilter would compute in float64, with twice the memory
    calcium = lfilter(np.array([1], dtype=np.float32), np.array([1, -keep], dtype=np.float32), events, axis=1)
    bleaching = (1 - 0.03 * np.linspace(0, 1, n_frames)).astype(np.float32)
    noise = rng.standard_normal((n_rois, n_frames), dtype=np.float32)
    fluorescence = baseline * bleaching + gain * (calcium + np.float32(0.2) * noise)
    noise = rng.standard_normal((n_rois, n_frames), dtype=np.float32)
    deconvolved = np.maximum(gain * (events + np.float32(0.5) * (noise - np.float32(0.5))), 0)
    return fluorescence.astype(np.float32), deconvolved.astype(np.float32)


def make_neuropil(rng: np.random.Generator, positions: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the neuropil around each ROI, (N, T) float32 in detector units: slow waves that neighbours share.

    Parameters
    ----------
    rng : numpy.random.Generator
    positions : (N, 2) int
        Row and column in the image, pixels.
    n_frames : int
    """
    from scipy.signal import lfilter

    centres = rng.uniform(0, N_LINES, (_N_WAVES, 2))
    distance = np.linalg.norm(positions[:, None] - centres, axis=2)
    share = np.exp(-0.5 * (distance / _WAVE_WIDTH) ** 2)
    keep = np.exp(-_FRAME_PERIOD / _WAVE_TAU)
    waves = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.standard_normal((_N_WAVES, n_frames)), axis=1)
    neuropil: np.ndarray = (_NEUROPIL + _WAVE_SIZE * share @ waves).astype(np.float32)
    return neuropil


def fov_delay(params: Params, fov: int) -> float:
    """Return the delay in s from the start of a frame to the scan of a FOV: FOVs are scanned one after the other."""
    return fov * _FRAME_PERIOD / params.n_fovs

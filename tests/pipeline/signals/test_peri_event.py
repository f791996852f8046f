"""Averages around events against loops over every frame, and the trial windows against trials made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.signals.clock import ROITimes
from pipeline.signals.peri_event import WINDOWS, TrialWindow, bin_edges, event_times, peri_event, trials_into_block


def trials(n: int, **columns) -> dict[str, np.ndarray]:
    """`n` plain trials, 10 s apart: left stimulus, left block, left choice, rewarded."""
    on = 100.0 + 10 * np.arange(n)
    plain = {
        "stimOn_times": on, "firstMovement_times": on + 0.3, "feedback_times": on + 0.8, "intervals_1": on + 2,
        "choice": np.ones(n), "feedbackType": np.ones(n), "contrastLeft": np.full(n, 0.25),
        "contrastRight": np.full(n, np.nan), "probabilityLeft": np.full(n, 0.8),
    }  # fmt: skip
    return plain | {name: np.asarray(values, dtype=float) for name, values in columns.items()}


def taken(name: str | TrialWindow, **columns) -> list[int]:
    n = len(next(iter(columns.values())))
    return np.flatnonzero(np.isfinite(event_times(name, trials(n, **columns)))).tolist()


# --- windows ----------------------------------------------------------------------------------------


def test_there_are_26_windows_about_three_events():
    assert len(WINDOWS) == 26
    bounds = {(w.event, w.start, w.end) for w in WINDOWS.values()}
    assert bounds == {
        ("stimOn_times", -1.15, -1.0), ("stimOn_times", -0.4, -0.1), ("stimOn_times", 0.0, 0.2),
        ("firstMovement_times", -0.15, 0.0), ("firstMovement_times", 0.0, 0.15), ("feedback_times", 0.0, 0.3),
    }  # fmt: skip
    assert all(w.start < w.end for w in WINDOWS.values())


def test_names_of_windows_say_their_conditions():
    """Stimulus, block and choice of the 16 windows that combine them, read from their names letter by letter."""
    crossed = [name for name in WINDOWS if name.startswith(("stimL", "stimR", "sL", "sR"))]
    assert len(crossed) == 16
    for name in crossed:
        side, block, choice = (c for c in name.replace("choice", "c").removeprefix("stim").lstrip("s") if c in "LR")
        window = WINDOWS[name]
        assert window.side == {"L": "Left", "R": "Right"}[side]
        assert window.probability_left == {"L": 0.8, "R": 0.2}[block]
        assert window.choice == {"L": 1, "R": -1}[choice], "ALF: 1 is left"
        assert window.deep == name.startswith("stim")


def test_each_trial_is_in_the_windows_of_its_kind():
    kinds = {
        "blockL": {"probabilityLeft": [0.8, 0.2, 0.5, np.nan]},
        "blockR": {"probabilityLeft": [0.2, 0.8, 0.5, np.nan]},
        "block50": {"probabilityLeft": [0.5, 0.2, 0.8, np.nan]},
        "choiceL": {"choice": [1, -1, 0, np.nan]},
        "choiceR": {"choice": [-1, 1, 0, np.nan]},
        "fback1": {"feedbackType": [1, -1, 0, np.nan]},
        "fback0": {"feedbackType": [-1, 1, 0, np.nan]},
    }
    for name, columns in kinds.items():
        assert taken(name, **columns) == [0], name
    assert taken("quiescence", choice=[0, 1, np.nan]) == [0, 1, 2]


def test_times_are_those_of_the_event():
    found = event_times("choiceL", trials(3, firstMovement_times=[1.5, np.nan, 2.5]))
    np.testing.assert_array_equal(found, [1.5, np.nan, 2.5])
    table = trials(2)
    event_times("choiceR", table)
    assert np.isfinite(table["firstMovement_times"]).all(), "the trials are not written to"


def test_a_trial_is_deep_in_a_block_after_ten_of_the_same_block():
    """Also if the session ends in the block it began with, whose first trials the scripts counted as deep."""
    block = [0.8] * 15 + [0.2] * 12 + [0.8] * 12
    assert taken("stimLbLcL", probabilityLeft=block) == [10, 11, 12, 13, 14, 37, 38]
    assert trials_into_block(np.array(block)).max() == 14
    assert trials_into_block(np.array([])).tolist() == []
    assert trials_into_block(np.array([0.8, np.nan, 0.8])).tolist() == [0, 0, 0]


def test_zero_contrast_is_no_stimulus_as_in_decoding():
    assert taken("sLbLchoiceL", contrastLeft=[0.25, 0.0, np.nan], contrastRight=[np.nan, np.nan, 1.0]) == [0]


def test_inter_trial_needs_time_since_the_last_trial():
    """The first trial has none before it; whether a trial is apart from one without an end is unknown."""
    ends = np.array([108.0, 118.9, np.nan, 132.0, 140.0])
    assert taken("inter_trial", intervals_1=ends) == [0, 1, 4]


def test_trials_can_be_left_out():
    included = np.array([True, False, True])
    found = event_times("fback1", trials(3), included)
    assert np.isfinite(found).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="one bool for each of 3 trials"):
        event_times("fback1", trials(3), np.array([0, 1, 2]))
    with pytest.raises(ValueError, match=r"no window 'fback2'.*inter_trial"):
        event_times("fback2", trials(3))


def test_a_window_of_ones_own():
    hard = TrialWindow("stimOn_times", 0, 0.5, side="Right", feedback=-1)
    columns = {"contrastRight": [1, 1, np.nan], "feedbackType": [-1, 1, -1]}
    assert taken(hard, **columns) == [0]


# --- averages ---------------------------------------------------------------------------------------


def session(seed: int = 0, n_cells: int = 7, n_frames: int = 400):
    """Two FOVs half a frame apart, a gap of 20 s in both, offsets within the frame, and events everywhere."""
    rng = np.random.default_rng(seed)
    clock = np.arange(n_frames) * 0.2
    clock[250:] += 20
    times = ROITimes({0: clock, 3: clock + 0.1}, rng.choice([0, 3], n_cells), rng.uniform(0, 0.02, n_cells))
    events = np.append(rng.uniform(-5, clock[-1] + 5, 60), [np.nan, 1e6, -1e6, 55.0])
    return rng.normal(size=(n_cells, n_frames)), times, events


def by_loops(traces, times, events, edges):
    """Values (cells, events, bins), frame by frame."""
    out = np.full((len(traces), len(events), len(edges) - 1), np.nan)
    for cell, event, b in np.ndindex(out.shape):
        lag = times[cell] - events[event]
        inside = (lag >= edges[b]) & (lag < edges[b + 1])
        if inside.any():
            out[cell, event, b] = traces[cell, inside].mean()
    return out


@pytest.mark.parametrize("edges", [bin_edges(-0.5, 1.5, 0.2), np.array([-1.15, -1.0]), np.array([0, 0.05, 0.7])])
def test_averages_are_those_of_a_loop_over_frames(edges):
    traces, times, events = session()
    found = peri_event(traces, times, events, edges=edges)
    values = by_loops(traces, times, events, edges)
    n = np.isfinite(values).sum(axis=1)
    np.testing.assert_array_equal(found.n_trials, n)
    assert n.min() > 2 and n.max() < len(events), "some events have imaging and some have none"
    np.testing.assert_allclose(found.mean, np.nanmean(values, axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.sem, np.nanstd(values, axis=1, ddof=1) / np.sqrt(n), rtol=1e-12)
    assert found.names.tolist() == list(range(7))


def test_populations_are_averaged_in_each_trial_first():
    traces, times, events = session(n_cells=150)
    groups = np.array(["B", "A", "C"])[np.arange(150) % 3]
    edges = bin_edges(-0.4, 0.6, 0.2)
    found = peri_event(traces, times, events, edges=edges, groups=groups)
    values = by_loops(traces, times, events, edges)
    assert found.names.tolist() == ["A", "B", "C"]
    for row, name in enumerate("ABC"):
        with np.errstate(invalid="ignore"):
            own = values[groups == name]
            of_trials = np.nansum(own, axis=0) / np.isfinite(own).sum(axis=0)
        n = np.isfinite(of_trials).sum(axis=0)
        np.testing.assert_array_equal(found.n_trials[row], n)
        np.testing.assert_allclose(found.mean[row], np.nanmean(of_trials, axis=0), rtol=1e-9)
        np.testing.assert_allclose(found.sem[row], np.nanstd(of_trials, axis=0, ddof=1) / np.sqrt(n), rtol=1e-9)


def test_the_clock_is_that_of_the_fov_and_of_the_line():
    """A pulse in the same frame of each cell is at a lag given by the cell's own clock."""
    clock = np.arange(100) * 0.2
    times = ROITimes({0: clock, 1: clock + 0.1}, np.array([0, 0, 1]), np.array([0.0, 0.03, 0.0]))
    traces = np.zeros((3, 100))
    traces[:, 50] = 1
    found = peri_event(traces, times, np.array([10.0]), edges=np.arange(0, 0.21, 0.01) - 0.005)
    peaks = np.nanargmax(found.mean, axis=1)
    np.testing.assert_allclose(found.lags[peaks], [0, 0.03, 0.1], atol=1e-9)


def test_nothing_after_the_event_shows_before_it():
    clock = np.arange(500) * 0.2
    times = ROITimes({0: clock}, np.array([0]), np.array([0.0]))
    events = np.random.default_rng(1).uniform(10, 90, 40)
    step = (clock >= 50).astype(float)[None]
    found = peri_event(step, times, events - events + 50.0, edges=bin_edges(-0.5, 0.5, 0.2))
    np.testing.assert_array_equal(found.mean[0], found.lags > 0)


def test_events_without_imaging_give_nan_and_not_the_last_frame():
    traces, times, _ = session()
    found = peri_event(traces, times, np.array([-100.0, 1e4, 60.0]))
    assert np.isnan(found.mean).all() and np.isnan(found.sem).all()
    assert found.n_trials.max() == 0
    none = peri_event(traces, times, np.array([np.nan]), groups=np.zeros(7))
    assert np.isnan(none.mean).all() and none.mean.shape == (1, len(none.lags))


def test_one_trial_has_no_standard_error():
    traces, times, _ = session()
    found = peri_event(traces, times, np.array([20.0]))
    assert np.isfinite(found.mean).all() and np.isnan(found.sem).all()


def test_a_value_that_is_not_finite_costs_its_trial_only():
    traces, times, events = session()
    hurt = traces.copy()
    hurt[2, 30] = np.nan
    before, after = peri_event(traces, times, events), peri_event(hurt, times, events)
    assert 0 < (before.n_trials - after.n_trials)[2].sum() < 10
    np.testing.assert_array_equal(np.delete(before.mean, 2, axis=0), np.delete(after.mean, 2, axis=0))
    assert np.isfinite(after.mean).all()


def test_default_bins_are_frames_with_an_edge_at_the_event():
    traces, times, events = session()
    found = peri_event(traces, times, events)
    np.testing.assert_allclose(np.diff(found.edges), 0.2)
    assert 0.0 in found.edges.tolist()
    assert found.edges[0] <= -0.5 and found.edges[-1] >= 1.5


def test_what_does_not_fit_is_refused():
    traces, times, events = session()
    with pytest.raises(ValueError, match=r"traces are \(6, 400\) but times are \(7, 400\)"):
        peri_event(traces[:6], times, events)
    with pytest.raises(ValueError, match="increasing"):
        peri_event(traces, times, events, edges=np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="7 cells but groups"):
        peri_event(traces, times, events, groups=np.zeros(6))
    with pytest.raises(ValueError, match="steps above 0"):
        bin_edges(0, 1, 0)


def test_flagged_frames_are_in_no_average():
    rng = np.random.default_rng(6)
    traces, times = rng.random((4, 300)), {0: np.arange(300) * 0.2, 2: np.arange(300) * 0.2 + 0.05}
    fovs, offsets, events = np.array([0, 0, 2, 2]), np.array([0, 0.01, 0, 0.01]), np.arange(2, 55, 1.7)
    flagged = {2: rng.random(300) < 0.2}
    holes = np.where(np.isin(fovs, [2])[:, None] & flagged[2], np.nan, traces)
    for groups in (None, np.array(list("aabb"))):
        expected = peri_event(holes, ROITimes(times, fovs, offsets), events, groups=groups)
        found = peri_event(traces, ROITimes(times, fovs, offsets, flagged), events, groups=groups)
        for name in ("mean", "sem", "n_trials"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        without = peri_event(traces, ROITimes(times, fovs, offsets), events, groups=groups)
        assert (found.n_trials.sum(axis=1) < without.n_trials.sum(axis=1)).tolist() == (
            [False, False, True, True] if groups is None else [False, True]
        )

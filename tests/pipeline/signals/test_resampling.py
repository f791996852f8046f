"""Resampling against numpy's interpolation, planted signals and planted gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.signals.clock import bouts
from pipeline.signals.flags import blanked
from pipeline.signals.resampling import common_clock, common_frames, resample, resample_fovs

STEPS = st.lists(st.sampled_from([0.2, 0.25, 0.9, 1.5, 20.0]), max_size=30)


def fov(rng, n_rois=5, start=0.0, n_frames=200, dtype=np.float32):
    times = start + np.cumsum(rng.uniform(0.19, 0.21, n_frames))
    return rng.standard_normal((n_rois, n_frames)).astype(dtype), times, rng.choice(np.arange(8) * 3e-3, n_rois)


@given(seed=st.integers(0, 50))
def test_within_frames_it_is_numpys_interpolation_and_outside_nan(seed):
    rng = np.random.default_rng(seed)
    traces, times, offsets = fov(rng, dtype=np.float64)
    clock = rng.uniform(-2, 45, 300)
    found = resample(traces, times, offsets, clock)
    for row, trace, offset in zip(found, traces, offsets, strict=True):
        expected = np.interp(clock, times + offset, trace, left=np.nan, right=np.nan)
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


def test_float32_is_float64_interpolation_rounded_once():
    rng = np.random.default_rng(1)
    traces, times, offsets = fov(rng)
    clock = np.linspace(times[0] + 0.03, times[-1], 555)
    found = resample(traces, times, offsets, clock)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, resample(traces.astype(float), times, offsets, clock).astype(np.float32))


def test_a_planted_sinusoid_of_several_fovs_is_found_at_the_common_times():
    rng = np.random.default_rng(2)
    fovs = {number: fov(rng, start=0.025 * number) for number in (0, 3, 7)}
    times = {number: part[1] for number, part in fovs.items()}
    offsets = {number: part[2] for number, part in fovs.items()}
    own_times = {number: times[number] + offsets[number][:, None] for number in fovs}
    planted = {number: np.sin(2 * np.pi * 0.1 * t).astype(np.float32) for number, t in own_times.items()}
    clock = common_clock(times, latest_offset=0.021)
    found = resample_fovs(planted, times, offsets, clock, block=2)
    assert found.shape == (15, len(clock)) and found.dtype == np.float32
    # linear interpolation is off by at most (step * 2 pi f) ** 2 / 8
    assert np.abs(found - np.sin(2 * np.pi * 0.1 * clock)).max() < (0.21 * 2 * np.pi * 0.1) ** 2 / 8
    # with one clock for all, rows would differ by much more than that
    shifted = np.interp(clock, times[0], planted[7][0])
    assert np.abs(shifted - np.sin(2 * np.pi * 0.1 * clock)).max() > 0.05


def test_resampling_does_not_bridge_flagged_frames():
    rng = np.random.default_rng(3)
    traces, times, offsets = fov(rng)
    flagged = np.zeros(200, dtype=bool)
    flagged[[50, 51, 52, 120]] = True
    clock = np.linspace(times[1], times[-2], 4000)
    plain = resample(traces, times, offsets, clock)
    found = resample(traces, times, offsets, clock, flagged=flagged, gap=np.inf, hold_ends=True)
    for row, was, offset in zip(found, plain, offsets, strict=True):
        own = times + offset
        after = np.searchsorted(own, clock)
        near = flagged[after] | flagged[after - 1]  # the frames on both sides
        assert np.isnan(row[near]).all() and near.sum() > 100
        np.testing.assert_array_equal(row[~near], was[~near])
    several = resample_fovs({4: traces}, {4: times}, {4: offsets}, clock, flagged_by_fov={4: flagged}, block=2)
    np.testing.assert_array_equal(several, resample(traces, times, offsets, clock, flagged=flagged))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_blanked_traces_are_those_without_flagged_frames(dtype):
    traces = np.arange(12).reshape(2, 6).astype(dtype)
    flagged = np.array([0, 1, 0, 0, 1, 0], dtype=bool)
    found = blanked(traces, flagged)
    np.testing.assert_array_equal(found, np.where(flagged, np.nan, traces))
    assert traces[0, 1] == 1
    assert blanked(traces, None) is traces


def test_gaps_are_nan_and_their_edges_are_not():
    times = np.r_[np.arange(10), 30.0 + np.arange(10)]
    traces = np.arange(20.0)[None]
    clock = np.array([8.5, 9.0, 9.001, 20.0, 29.999, 30.0, 30.5])
    found = resample(traces, times, np.zeros(1), clock)
    np.testing.assert_array_equal(found, [[8.5, 9, np.nan, np.nan, np.nan, 10, 10.5]])
    held = resample(traces, times, np.zeros(1), clock, gap=100.0)
    assert np.isfinite(held).all()


@pytest.mark.parametrize(("lost", "is_gap"), [(0, False), (1, True), (3, True)])
def test_one_lost_frame_is_a_gap_and_jitter_is_not(lost, is_gap):
    times = np.delete(np.arange(40.0), np.arange(10, 10 + lost))
    times[20] += 0.4
    found = resample(np.ones((1, len(times))), times, np.zeros(1), np.array([9.5, 10.5, times[20] - 0.1]))
    assert np.isnan(found[0]).tolist() == [is_gap, lost > 1 or is_gap, False]


def test_gaps_move_with_the_offset_of_the_roi():
    times, offsets = np.r_[0.0, 1.0, 5.0, 6.0, 7.0, 8.0], np.array([0.0, 0.5])
    found = resample(np.ones((2, 6)), times, offsets, np.array([0.25, 1.25, 5.25, 8.25]))
    assert np.isnan(found).tolist() == [[False, True, False, True], [True, False, True, False]]


def test_nan_in_a_trace_stays_where_it_is():
    traces = np.ones((2, 10), np.float32)
    traces[0, 4] = np.nan
    clock = np.array([3.0, 3.5, 4.0, 4.5, 5.0, 5.5])
    found = resample(traces, np.arange(10.0), np.zeros(2), clock)
    assert np.isnan(found[0]).tolist() == [False, True, True, True, False, False]
    assert (found[1] == 1).all()


def test_infinity_stays_where_it_is():
    traces = np.array([[0.0, np.inf, np.inf, 0.0]])
    found = resample(traces, np.arange(4.0), np.zeros(1), np.array([0.0, 0.5, 1.0, 3.0]))
    np.testing.assert_array_equal(found, [[0, np.inf, np.inf, 0]])


def test_nothing_is_extrapolated_even_from_a_single_frame():
    found = resample(np.array([[7.0]]), np.array([2.0]), np.zeros(1), np.array([1.9, 2.0, 2.1]))
    np.testing.assert_array_equal(found, [[np.nan, 7, np.nan]])


def test_out_is_filled_block_by_block_and_blocks_change_nothing(tmp_path):
    rng = np.random.default_rng(3)
    parts = {number: fov(rng, n_rois=n, start=0.1 * number) for number, n in ((0, 7), (1, 1), (2, 4))}
    traces, times, offsets = ({number: part[i] for number, part in parts.items()} for i in range(3))
    clock = common_clock(times)
    whole = resample_fovs(traces, times, offsets, clock)
    out = np.memmap(tmp_path / "matrix", dtype=np.float32, mode="w+", shape=whole.shape)
    assert resample_fovs(traces, times, offsets, clock, out=out, block=3) is out
    np.testing.assert_array_equal(out, whole)
    np.testing.assert_array_equal(whole[7:8], resample(*parts[1], clock))


def test_rows_are_read_in_blocks():
    class Asked:
        shape, dtype = (10, 30), np.dtype(np.float32)
        largest = 0

        def __getitem__(self, rows):
            self.largest = max(self.largest, rows.stop - rows.start)
            return np.ones((rows.stop - rows.start, 30), np.float32)

    asked = Asked()
    found = resample_fovs({0: asked}, {0: np.arange(30.0)}, {0: np.zeros(10)}, np.arange(30.0), block=4)
    assert asked.largest == 4 and (found == 1).all()


def test_integers_become_floats():
    found = resample(np.array([[0, 1, 2]], np.int16), np.arange(3.0), np.zeros(1), np.array([0.5, 5.0]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0.5, np.nan]])


def test_common_clock_spans_what_all_fovs_cover_at_the_median_period():
    times = {0: np.arange(0, 20, 0.2), 1: 0.1 + np.arange(0, 19, 0.2), 2: 0.15 + np.arange(0, 21, 0.25)}
    clock = common_clock(times)
    assert clock[0] == 0.15 and times[1][-1] - 0.2 < clock[-1] <= times[1][-1]
    np.testing.assert_allclose(np.diff(clock), 0.2)
    np.testing.assert_allclose(np.diff(common_clock(times, period=1.5)), 1.5)
    assert common_clock(times, latest_offset=0.02)[0] == pytest.approx(0.17)


@pytest.mark.parametrize("offset", [0.0, 0.02])
def test_every_roi_covers_the_common_clock(offset):
    times = {0: np.arange(0, 20, 0.2), 1: 0.1 + np.arange(0, 20, 0.2)}
    offsets = {number: np.array([0.0, offset]) for number in times}
    traces = {number: np.ones((2, 100), np.float32) for number in times}
    assert np.isfinite(resample_fovs(traces, times, offsets, common_clock(times, latest_offset=offset))).all()


def test_common_clock_of_fovs_apart_is_refused():
    with pytest.raises(DataError, match=r"first frame at 50\.000 s and a last one at 9\.000 s"):
        common_clock({0: np.arange(10.0), 1: np.arange(50.0, 60.0)})
    for times, period in (({}, None), ({0: np.arange(3.0)}, 0.0), ({0: np.arange(3.0)}, np.nan), ({0: []}, 1.0)):
        with pytest.raises(ValueError, match=r"clock needs|period must be"):
            common_clock(times, period)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traces": np.ones((2, 9))}, r"FOV_04.*expected 2 offsets and 10 frame times, found traces \(2, 9\)"),
        ({"offsets": np.zeros(3)}, r"FOV_04.*3 offsets"),
        ({"frame_times": np.zeros(10)}, r"FOV_04, mpci.times: frame times do not increase"),
        ({"traces": np.ones((2, 0)), "frame_times": np.empty(0)}, "0 frame times"),
        ({"out": np.empty((2, 9))}, r"FOV_04.*expected \(2, 5\), floats for NaN, found \(2, 9\) float64"),
        ({"out": np.empty((2, 5), int)}, r"found \(2, 5\) int64"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(change, message):
    arguments = {
        "traces": np.ones((2, 10)), "frame_times": np.arange(10.0), "offsets": np.zeros(2), "clock": np.arange(5.0),
    }  # fmt: skip
    with pytest.raises(DataError, match=message):
        resample(**arguments | change, fov=4)


def test_offsets_that_do_not_fit_name_the_fov():
    with pytest.raises(DataError, match=r"FOV_02.*expected 3 ROIs, found 2"):
        resample_fovs({2: np.ones((3, 4))}, {2: np.arange(4.0)}, {2: np.zeros(2)}, np.arange(4.0))


def test_common_frames_of_fovs_scanned_in_turn_is_the_first_clock():
    first = np.r_[np.arange(0, 10, 0.2), np.arange(30, 40, 0.2)]
    np.testing.assert_array_equal(common_frames({0: first, 1: first + 0.07, 2: first + 0.15}), first)


def test_common_frames_leaves_out_what_another_fov_missed():
    first = np.arange(0, 40, 0.25)
    gap = first[(first < 10) | (first >= 20)]
    short = first[first < 35]
    inside = (first <= 10) | ((first >= 19.75) & (first <= 35))  # to a frame beyond each end
    np.testing.assert_array_equal(common_frames({0: first, 1: gap, 2: short}), first[inside])


def test_common_frames_of_one_fov_is_its_own_and_of_distant_ones_is_empty():
    first = np.arange(0, 5, 0.2)
    np.testing.assert_array_equal(common_frames({0: first}), first)
    assert common_frames({0: first, 1: first + 100}).shape == (0,)


@given(steps=STEPS, later=st.sampled_from([0.0, 0.05, 0.5, 3.0]))
def test_common_frames_is_that_of_a_loop(steps, later):
    first = np.cumsum([0.0, *steps])
    other = np.arange(0, 12, 0.25) + later
    other = other[(other < 4) | (other > 6)]
    spans = [(other[a] - 0.25, other[b] + 0.25) for a, b in bouts(other)]
    expected = [t for t in first if any(start <= t <= end for start, end in spans)]
    assert common_frames({3: first, 1: other}).tolist() == expected


def test_with_held_ends_and_no_gaps_it_is_numpys_interpolation_bit_by_bit():
    rng = np.random.default_rng(1)
    traces, offsets = rng.random((4, 50), dtype=np.float32), rng.random(4) * 0.02
    times, clock = np.cumsum(rng.uniform(0.1, 0.3, 50)), np.linspace(-1, 14, 70)
    found = resample(traces, times, offsets, clock, gap=np.inf, hold_ends=True)
    assert found.dtype == np.float32
    for row, trace, offset in zip(found, traces, offsets, strict=True):
        np.testing.assert_array_equal(row, np.interp(clock, times + offset, trace).astype(np.float32))


def test_resample_undoes_the_offsets_of_a_signal_linear_in_time():
    times, offsets, clock = np.arange(0, 10, 0.2), np.array([0.0, 0.013, 0.02]), np.arange(1, 9, 0.2)
    traces = 3 * (times + offsets[:, None]) + 1
    np.testing.assert_allclose(resample(traces, times, offsets, clock), [3 * clock + 1] * 3, rtol=1e-6)

"""Clocks against plain loops and dense matrices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.signals.clock import ROITimes, bouts, frame_period, is_in_pause, pauses, roi_offsets

STEPS = st.lists(st.sampled_from([0.2, 0.25, 0.9, 1.5, 20.0]), max_size=30)


@given(steps=STEPS)
def test_bouts_part_frames_at_gaps_and_hold_them_all(steps):
    times = np.cumsum([0.0, *steps])
    found = bouts(times)
    assert [i for first, last in found for i in range(first, last + 1)] == list(range(len(times)))
    assert all((np.diff(times[first : last + 1]) <= 1).all() for first, last in found)
    assert len(found) == 1 + sum(step > 1 for step in steps)


def test_a_gap_is_longer_than_the_threshold():
    times = np.array([0.0, 1.0, 2.5])
    assert bouts(times).tolist() == [[0, 1], [2, 2]]
    assert bouts(times, gap=1.5).tolist() == [[0, 2]]


def test_frame_period_is_the_median_and_ignores_a_gap():
    assert frame_period(np.array([0.0, 0.2, 0.4, 20.4, 20.6])) == pytest.approx(0.2)
    assert frame_period(np.array([3.0])) == 0.0


POSITIONS = np.array([[3, 1, 0], [0, 4, 0], [2, 2, 0]])


def test_offset_is_that_of_the_scan_line_and_on_request_as_published():
    shift = np.arange(5) * 4e-5
    assert roi_offsets(shift, POSITIONS).tolist() == [shift[3], shift[0], shift[2]]
    assert roi_offsets(shift, POSITIONS, 1).tolist() == [shift[1], shift[4], shift[2]]


@pytest.mark.parametrize("column", [0, 1])
def test_offset_by_line_and_column_is_that_of_the_pixel(column):
    shift = np.random.default_rng(0).random((4, 5))
    assert roi_offsets(shift, POSITIONS, column).tolist() == [shift[3, 1], shift[0, 4], shift[2, 2]]


@pytest.mark.parametrize(
    ("shift", "column", "numbers"),
    [
        (np.zeros(3), 0, "expected 0 to 2, found 0 to 3"),
        (np.zeros(4), 1, "expected 0 to 3, found 1 to 4"),
        (np.zeros((3, 9)), 0, "expected 0 to 2, found 0 to 3"),
        (np.zeros((4, 4)), 0, "expected 0 to 3, found 1 to 4"),
    ],
)
def test_a_roi_outside_the_scan_lines_is_refused(shift, column, numbers):
    with pytest.raises(DataError, match=numbers):
        roi_offsets(shift, POSITIONS, column)


def test_a_negative_position_does_not_count_from_the_end():
    with pytest.raises(DataError, match="found -1 to -1"):
        roi_offsets(np.zeros(5), np.array([[-1, 0, 0]]))


def test_no_rois_have_no_offsets_and_there_are_two_columns():
    assert roi_offsets(np.zeros(5), np.empty((0, 3), int)).shape == (0,)
    with pytest.raises(ValueError, match="not 2"):
        roi_offsets(np.zeros(5), POSITIONS, 2)


FRAMES = {0: np.arange(0, 2, 0.2), 3: np.arange(0, 2, 0.2) + 0.1}
FOVS = np.array([0, 3, 3, 0, 3])
OFFSETS = np.array([0.0, 0.01, 0.02, 0.03, 0.04])
DENSE = np.array([FRAMES[fov] + offset for fov, offset in zip(FOVS, OFFSETS, strict=True)])
INDICES = [
    2, -1, np.int64(3), slice(1, 4), slice(None, None, -2), slice(0, 0), [4, 0, 0], np.array([1, 3]), [],
    np.array([True, False, True, False, True]), ..., (2, 7), (-1, -1), (2, slice(3, 5)), (slice(None), 4),
    (slice(1, 3), slice(2, 9, 3)), (slice(None), [1, 2]), ([0, 2], 5), ([0, 2], slice(0, 2)),
    ([0, 2, 4], [1, 1, 9]), (np.array([3, 1]), np.array([0, -1])), ([0, 2], [5]), (1, [2, 3]), (..., 0),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_roi_times_are_indexed_like_the_whole_matrix(index):
    index = np.array(index, dtype=int) if isinstance(index, list) else index
    found = ROITimes(FRAMES, FOVS, OFFSETS)[index]
    np.testing.assert_array_equal(found, DENSE[index], strict=True)


def test_times_of_rois_behave_like_an_array():
    """Notebooks of the scripts call its methods, and calculate with it."""
    times = ROITimes(FRAMES, FOVS, OFFSETS)
    whole = times[:]
    assert (times.dtype, times.ndim, times.T.shape) == (whole.dtype, whole.ndim, whole.T.shape)
    for method in ("min", "max", "mean"):
        np.testing.assert_array_equal(getattr(times, method)(), getattr(whole, method)())
        np.testing.assert_array_equal(getattr(times, method)(axis=1), getattr(whole, method)(axis=1))
    np.testing.assert_array_equal(times - 1.5, whole - 1.5)
    np.testing.assert_array_equal(2 * times, 2 * whole)
    np.testing.assert_array_equal(times > 1, whole > 1)
    np.testing.assert_array_equal(np.floor(times), np.floor(whole))
    kept = times
    times -= whole[0, 0]
    np.testing.assert_array_equal(times, whole - whole[0, 0])
    np.testing.assert_array_equal(kept, whole)


def test_roi_times_have_the_shape_and_values_of_the_matrix():
    times = ROITimes(FRAMES, FOVS, OFFSETS)
    assert (times.shape, len(times)) == (DENSE.shape, len(DENSE))
    np.testing.assert_array_equal(np.asarray(times), DENSE)
    assert np.asarray(times, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(list(times), DENSE)


def test_roi_times_do_not_index_beyond_the_matrix():
    times = ROITimes(FRAMES, FOVS, OFFSETS)
    for index in (5, (0, 10), (0, 0, 0), [7]):
        with pytest.raises(IndexError):
            times[index]


def test_roi_times_of_no_rois_are_an_empty_matrix():
    times = ROITimes(FRAMES, np.empty(0, int), np.empty(0))
    assert np.asarray(times).shape == times.shape == (0, 10)


@given(steps=st.lists(st.sampled_from([0.2, 0.25, 0.9, 1.5, 20.0]), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_times_in_a_pause_are_after_the_last_frame_before_it_and_before_the_next(steps, seed):
    times = 3 + np.r_[0, np.cumsum(steps)]
    period = min(float(np.median(steps)), 1.0)
    asked = np.r_[np.random.default_rng(seed).uniform(0, times[-1] + 3, 200), np.nan]
    expected = [any(b - a > 1 and a + period <= time < b for a, b in pairwise(times)) for time in asked]
    assert is_in_pause(asked, times).tolist() == expected
    assert len(pauses(times)) == len(bouts(times)) - 1

"""Row indices, against numpy's own indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArgumentError, ArgumentTypeError, MesoError, OutOfRangeError
from pipeline.signals.selection import chosen_rows

N = 7
INTEGERS = st.integers(-N, N - 1)
LIMITS = st.one_of(st.none(), st.integers(-20, 20))


@given(st.lists(INTEGERS, max_size=20), st.sampled_from(["list", "int8", "int64", "uint8", "scalars", "tuple"]))
def test_whole_numbers(rows, form):
    if form == "uint8":
        rows = [abs(row) % N for row in rows]
    given = {
        "list": lambda: rows, "tuple": lambda: tuple(rows), "scalars": lambda: [np.int64(row) for row in rows],
    }.get(form, lambda: np.array(rows, dtype=form))()  # fmt: skip
    found = chosen_rows(given, N, "restrict")
    np.testing.assert_array_equal(found, np.arange(N)[np.array(rows, dtype=int)])
    assert found.dtype == np.int64


@given(st.builds(slice, LIMITS, LIMITS, LIMITS.filter(lambda step: step != 0)))
def test_slices(rows):
    np.testing.assert_array_equal(chosen_rows(rows, N, "restrict"), np.arange(N)[rows])


@given(st.lists(st.booleans(), min_size=N, max_size=N), st.booleans())
def test_a_bool_for_each_row(mask, as_list):
    found = chosen_rows(mask if as_list else np.array(mask), N, "restrict")
    np.testing.assert_array_equal(found, np.arange(N)[np.array(mask)])


@pytest.mark.parametrize("rows", [[], (), np.array([]), np.array([], dtype=int), slice(0, 0), [False] * N])
def test_no_rows(rows):
    assert chosen_rows(rows, N, "restrict").shape == (0,)


def test_a_single_row_and_all_rows():
    assert chosen_rows(np.int32(-1), N, "restrict").tolist() == chosen_rows(6, N, "restrict").tolist() == [6]
    assert chosen_rows(None, N, "restrict").tolist() == list(range(N))
    assert chosen_rows(None, 0, "restrict").shape == chosen_rows([], 0, "restrict").shape == (0,)


@pytest.mark.parametrize(
    ("rows", "kind", "told"),
    [
        ([N], OutOfRangeError, r"restrict is out of range \(expected rows 0 to 6, or -7 to -1 .*, found 7 to 7\)"),
        ([0, -N - 1], OutOfRangeError, "found -8 to 0"),
        (np.array([2**63], np.uint64), OutOfRangeError, "restrict is out of range"),
        ([True, False], OutOfRangeError, r"another length than the number of rows \(expected 7 bools, found 2\)"),
        (np.ones(N + 1, bool), OutOfRangeError, r"expected 7 bools, found 8"),
        ([1.0, 2.0], ArgumentTypeError, r"restrict must be a list of row numbers, .*, not \[1.0, 2.0\]"),
        (np.array([1.5]), ArgumentTypeError, "not an array of float64"),
        (2.0, ArgumentTypeError, "not 2.0"),
        ("3", ArgumentTypeError, "not '3'"),
        (["3", "4"], ArgumentTypeError, r"not \['3', '4'\]"),
        ([None], ArgumentTypeError, r"not \[None\]"),
        ({1, 2}, ArgumentTypeError, r"not {1, 2}"),
        (True, ArgumentTypeError, "not True"),
        (slice(0.5, 3), ArgumentTypeError, "is not a slice of rows"),
        (slice(None, None, 0), ArgumentTypeError, "is not a slice of rows"),
        ([[1, 2], [3, 4]], ArgumentError, r"not an array of shape \(2, 2\)"),
        ([[1, 2], [3]], ArgumentError, "lists of several lengths"),
    ],
)
def test_what_is_no_choice_of_rows_is_refused_by_name(rows, kind, told):
    with pytest.raises(kind, match=told) as refused:
        chosen_rows(rows, N, "restrict", "abc")
    assert isinstance(refused.value, MesoError)
    if kind is OutOfRangeError:
        assert str(refused.value).startswith("session abc: restrict")

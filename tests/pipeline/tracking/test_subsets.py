"""Best subsets of sessions against brute force over all combinations, and planted ones among many sessions."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ArgumentError
from pipeline.tracking import subsets as module
from pipeline.tracking.subsets import best_subsets, subset_counts


def brute_force(presence: np.ndarray, sizes, n_each: int) -> list[tuple[tuple[int, ...], int]]:
    """Return sessions and count of the best subsets, in the order that is promised."""
    found = []
    for size in sorted(set(sizes)):
        counted = [
            (chosen, int(presence[:, chosen].all(axis=1).sum()))
            for chosen in itertools.combinations(range(presence.shape[1]), size)
        ]
        counted.sort(key=lambda one: (-one[1], sum(2**session for session in one[0])))
        found += [one for one in counted[:n_each] if one[1]]
    return found


def as_lists(subsets: np.ndarray, counts: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    return [(tuple(np.flatnonzero(row).tolist()), int(n)) for row, n in zip(subsets, counts, strict=True)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), n_sessions=st.integers(1, 12), n_cells=st.integers(1, 60), n_each=st.integers(1, 4),
    share=st.sampled_from([0.05, 0.5, 0.9, 1.0]), n_inner=st.integers(0, 6),
)  # fmt: skip
def test_best_subsets_are_those_of_brute_force(seed, n_sessions, n_cells, n_each, share, n_inner):
    rng = np.random.default_rng(seed)
    presence = rng.random((n_cells, n_sessions)) < share * rng.random(n_sessions) ** rng.choice([0, 1])
    presence[0, 0] = True
    sizes = rng.choice(np.arange(1, 14), size=rng.integers(1, 6))
    with pytest.MonkeyPatch.context() as patch:  # few inner sessions: then there is something to search
        patch.setattr(module, "N_INNER", n_inner)
        found = as_lists(*best_subsets(presence, sizes, n_each=n_each))
    assert found == brute_force(presence, [size for size in sizes if size <= n_sessions], n_each)


def test_a_set_that_greedy_search_misses_is_found():
    """The two best sessions share nothing; a greedy search takes the best one first."""
    presence = np.zeros((100, 3), dtype=bool)
    presence[:50, 0] = presence[50:90, 1] = presence[52:91, 2] = True
    assert as_lists(*best_subsets(presence, [2])) == [((1, 2), 38)]


def test_planted_sessions_among_thirty_are_found():
    """Eight sessions share 300 cells; noise has each of 5,000 cells in a quarter of the sessions."""
    rng = np.random.default_rng(5)
    presence, planted = rng.random((5000, 30)) < 0.25, np.sort(rng.choice(30, 8, replace=False))
    presence[np.ix_(rng.choice(5000, 300, replace=False), planted)] = True
    begin = time.process_time()
    subsets, counts = best_subsets(presence, range(7, 10))
    assert time.process_time() - begin < 10
    chosen = dict(zip(subsets.sum(axis=1).tolist(), as_lists(subsets, counts), strict=True))
    assert chosen[8][0] == tuple(planted.tolist())
    assert chosen[8][1] == presence[:, planted].all(axis=1).sum()
    assert set(chosen[7][0]) < set(planted.tolist()) < set(chosen[9][0])
    for members, n in chosen.values():
        assert n == presence[:, members].all(axis=1).sum()


def test_more_sessions_than_are_counted_at_once_agree_with_all_counts():
    rng = np.random.default_rng(2)
    presence = rng.random((400, 18)) < rng.uniform(0.3, 0.95, 18)
    all_subsets, all_counts = subset_counts(presence)
    found = as_lists(*best_subsets(presence, n_each=3))
    sizes = all_subsets.sum(axis=1)
    for size in range(1, 19):
        expected = as_lists(all_subsets[sizes == size][:3], all_counts[sizes == size][:3])
        assert [one for one in found if len(one[0]) == size] == expected


def test_what_is_no_presence_is_refused():
    for wrong in (np.ones((3, 2)), np.zeros((3, 2), bool), np.ones(3, bool), np.empty((0, 2), bool)):
        with pytest.raises(ArgumentError, match="presence"):
            best_subsets(wrong)
    with pytest.raises(ArgumentError, match="sizes and n_each must be 1 or more"):
        best_subsets(np.ones((3, 2), bool), [0, 2])
    with pytest.raises(ArgumentError, match="at most 62"):
        best_subsets(np.ones((3, 63), bool))
    assert as_lists(*best_subsets(np.ones((3, 2), bool), [5])) == []

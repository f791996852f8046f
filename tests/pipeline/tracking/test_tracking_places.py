"""Places of shared cells: sound days of many kinds agree, and a day with its UIDs in another order is found."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tracking.places import MAX_COMPARED, MIN_COMPARED, cells_to_compare, compare_places

N_CELLS = 300
Day = dict[str, tuple[int, int]]


def mouse(rng: np.random.Generator, box: float = 512.0) -> np.ndarray:
    """Return the places of the cells of a FOV, (N_CELLS, 2)."""
    return rng.uniform(0, box, (N_CELLS, 2))


def day_of(
    cells: np.ndarray, rng: np.random.Generator, *, share: float = 0.7, drift: float = 60.0, warp: float = 15.0,
    wrong: float = 0.0, jitter: float = 3.0,
) -> Day:  # fmt: skip
    """Return a day: a share of the cells after a shift, turn, stretch and smooth warp (px), some matched wrongly."""
    angle = rng.uniform(-0.09, 0.09)
    turn = (1 + rng.uniform(-0.03, 0.03)) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    phase, (y, x) = rng.uniform(0, 6, 2), cells.T / 70
    places = cells @ turn + rng.uniform(-drift, drift, 2) + rng.normal(0, jitter, cells.shape)
    places += warp * np.column_stack([np.sin(x + phase[0]), np.sin(y + phase[1])])
    seen = rng.permutation(N_CELLS)[: round(share * N_CELLS)]
    mixed = seen[: round(wrong * len(seen))]
    places[mixed] = places[rng.permutation(mixed)]
    return {f"{cell:04d}": (round(places[cell, 0]), round(places[cell, 1])) for cell in seen.tolist()}


def shuffled(day: Day, rng: np.random.Generator) -> Day:
    names = list(day)
    return dict(zip([names[i] for i in rng.permutation(len(names))], day.values(), strict=True))


def chosen(days: list[Day]) -> list[Day]:
    """Return the days with the cells that are compared."""
    cells = cells_to_compare([{name: line for line, name in enumerate(day)} for day in days])
    return [{name: day[name] for name in some} for day, some in zip(days, cells, strict=True)]


def outvoted(days: list[Day]) -> list[int]:
    return [i for i, verdict in enumerate(compare_places(chosen(days))) if verdict.is_outvoted]


SOUND = {
    "as usual": {},
    "far away": {"drift": 400},
    "a strong warp": {"warp": 30, "jitter": 6},
    "a tenth matched wrongly": {"wrong": 0.1},
    "a fifth matched wrongly": {"wrong": 0.2},
    "few shared cells": {"share": 0.3},
}


@pytest.mark.parametrize("box", [512.0, 110.0])
@pytest.mark.parametrize("kind", SOUND)
def test_sound_days_agree(kind, box):
    rng = np.random.default_rng(1)
    for _ in range(20):
        cells = mouse(rng, box)
        assert outvoted([day_of(cells, rng, **SOUND[kind]) for _ in range(5)]) == []


@pytest.mark.parametrize("n_days", [3, 8])
def test_the_day_in_another_order_is_the_one_that_is_named(n_days):
    rng = np.random.default_rng(2)
    for _ in range(20):
        cells = mouse(rng)
        days = [day_of(cells, rng, wrong=0.1) for _ in range(n_days)]
        days[1] = shuffled(days[1], rng)
        verdicts = compare_places(chosen(days))
        assert [verdict.is_outvoted for verdict in verdicts] == [i == 1 for i in range(n_days)]
        assert verdicts[0].contradicts == [1] and verdicts[0].is_confirmed
        assert verdicts[1].contradicts == [i for i in range(n_days) if i != 1] and not verdicts[1].is_confirmed


def test_of_two_days_both_are_named():
    rng = np.random.default_rng(3)
    cells = mouse(rng)
    assert outvoted([day_of(cells, rng), shuffled(day_of(cells, rng), rng)]) == [0, 1]


def test_two_days_in_orders_of_their_own_are_outvoted_by_two_that_agree():
    rng = np.random.default_rng(4)
    cells = mouse(rng)
    days = [day_of(cells, rng) for _ in range(4)]
    assert outvoted([*days[:2], *(shuffled(day, rng) for day in days[2:])]) == [2, 3]


def test_an_agreement_by_chance_does_not_make_sound_days_wrong():
    """The wrong day shares with one of the others such cells only as are on the right lines."""
    rng = np.random.default_rng(7)
    cells = mouse(rng)
    days = [day_of(cells, rng) for _ in range(4)]
    right = {name: days[0][name] for name in sorted(days[0])[: len(days[0]) // 4]}
    days[0] = shuffled({name: place for name, place in days[0].items() if name not in right}, rng) | right
    days[1] = {name: place for name, place in days[1].items() if name in right}
    verdicts = compare_places(days)
    assert verdicts[0].contradicts == [2, 3] and 1 in verdicts[0].explained
    assert [verdict.is_outvoted for verdict in verdicts] == [True, False, False, False]


def test_fovs_are_known_by_their_cells():
    """Two FOVs, on three days each: the days of one say nothing of the other, whatever the numbers of the FOVs are."""
    rng = np.random.default_rng(5)
    fovs = [mouse(rng), mouse(rng)]
    days = [{f"{i} {name}": place for name, place in day_of(fovs[i], rng).items()} for i in (0, 1, 1, 0, 0, 1)]
    assert [sorted(verdict.explained) for verdict in compare_places(chosen(days))] == [
        [3, 4], [2, 5], [1, 5], [0, 4], [0, 3], [1, 2],
    ]  # fmt: skip
    days[3] = shuffled(days[3], rng)
    assert outvoted(days) == [3]


def test_too_few_cells_say_nothing():
    rng = np.random.default_rng(6)
    cells = mouse(rng)
    one, other = ({name: day[name] for name in day if name < f"{MIN_COMPARED - 1:04d}"}
                  for day in (day_of(cells, rng, share=1), day_of(cells, rng, share=1)))  # fmt: skip
    verdicts = compare_places([one, shuffled(other, rng)])
    assert [verdict.explained for verdict in verdicts] == [{}, {}]
    assert not any(verdict.is_outvoted or verdict.is_confirmed for verdict in verdicts)


def test_days_are_compared_by_the_cells_that_most_of_them_have():
    files = [dict.fromkeys(("a", "b", "c"), 0), {"b": 0, "d": 0}, {"b": 0, "c": 0}, {}]
    assert cells_to_compare(files) == [{"b": 0, "c": 0}, {"b": 0}, {"b": 0, "c": 0}, {}]
    many = {f"{i:03d}": i for i in range(2 * MAX_COMPARED)}
    assert [list(one) for one in cells_to_compare([many, many])] == [list(many)[:MAX_COMPARED]] * 2

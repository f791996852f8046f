"""Stability over days of three made mice, whose truth is known, and against plain numpy and scipy."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from support.made_mice import KEPT, made_days

from pipeline.errors import ArgumentError, DataError
from pipeline.responses import CONTROLS, MEASURES, StabilitySettings, stability

DAYS = [0, 1, 2, 4, 5, 7]
SMALL = StabilitySettings(n_shuffles=200, n_bootstrap=400)


def found_in(mouse: str, seed: int = 0, n_cells: int = 120, **words):
    rng = np.random.default_rng(seed)
    regions = np.repeat(["VISp", "RSP"], n_cells // 2)
    return stability(made_days(mouse, DAYS, n_cells, rng, **words), regions, SMALL)


@pytest.fixture(scope="module")
def fixed():
    return found_in("fixed")


def gaps_of(result, measure: str, region: str = "all") -> list:
    return [one for one in result.by_gap if (one.measure, one.region) == (measure, region)]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_fixed_code_has_stability_one_within_its_interval(fixed, measure):
    for region in ("all", "VISp", "RSP"):
        inside = [one.low <= 1 <= one.high for one in gaps_of(fixed, measure, region)]
        assert np.mean(inside) > 0.8, (measure, region)
    (slope,) = (one for one in fixed.slopes if (one.measure, one.region) == (measure, "all"))
    assert slope.low <= 0 <= slope.high
    assert fixed.corrected[measure].mean() == pytest.approx(1, abs=0.03)
    # without the correction it would seem far from stable, the more the fewer trials a day has
    assert fixed.observed[measure].max() < 0.8


def test_the_interval_of_a_fixed_code_holds_one_in_most_mice():
    settings = dataclasses.replace(SMALL, n_bootstrap=200)
    slopes, values = [], []
    for seed in range(10):
        result = stability(made_days("fixed", DAYS[:4], 40, np.random.default_rng(seed)), settings=settings)
        values += [one.low <= 1 <= one.high for one in gaps_of(result, "spearman")]
        slopes += [one.low <= 0 <= one.high for one in result.slopes if one.measure == "spearman"]
    assert np.mean(values) > 0.8 and np.mean(slopes) > 0.75


@pytest.mark.parametrize("measure", ["pearson", "population"])
def test_a_rotating_code_falls_with_the_days_as_planted(measure):
    result = found_in("rotating", n_cells=200)
    for one in gaps_of(result, measure):
        assert one.value == pytest.approx(KEPT**one.gap, abs=0.08)
    (slope,) = (one for one in result.slopes if (one.measure, one.region) == (measure, "all"))
    assert slope.high < 0
    assert slope.slope == pytest.approx(np.polyfit(result.gaps, KEPT**result.gaps, 1)[0], abs=0.02)


def test_noise_has_no_reliability_and_gets_no_number():
    result = found_in("noise")
    for measure in MEASURES:
        assert not result.reliable[measure].any()
        assert np.isnan(result.corrected[measure]).all()
        assert all(np.isnan([one.value, one.low, one.high]).all() for one in gaps_of(result, measure))
        assert {(one.n_pairs, one.n_unreliable > 0) for one in gaps_of(result, measure)} == {(0, True)}
    assert all(np.isnan(p).all() for p in result.control_p.values())


def test_numbers_are_those_of_scipy(fixed):
    days = made_days("fixed", DAYS, 120, np.random.default_rng(0))
    assert fixed.pairs.tolist() == list(map(list, combinations(range(6), 2)))
    assert fixed.gaps.tolist() == [DAYS[j] - DAYS[i] for i, j in combinations(range(6), 2)]
    i, j = fixed.pairs[3]
    a, b = days[i], days[j]
    for cell in (0, 7, 119):
        assert fixed.cell_spearman[3, cell] == pytest.approx(spearmanr(a.mean[:, cell], b.mean[:, cell])[0])
        assert fixed.cell_pearson[3, cell] == pytest.approx(pearsonr(a.mean[:, cell], b.mean[:, cell])[0])
        assert fixed.cell_reliability[i, cell] == pytest.approx(spearmanr(a.even[:, cell], a.odd[:, cell])[0])

    def mean_of(x, y):
        return np.mean([spearmanr(x[:, cell], y[:, cell])[0] for cell in range(120)])

    within = [mean_of(day.even, day.odd) for day in (a, b)]
    across = np.mean([mean_of(x, y) for x in (a.even, a.odd) for y in (b.even, b.odd)])
    assert fixed.reliability["spearman"][[i, j]] == pytest.approx(within)
    assert fixed.observed["spearman"][3] == pytest.approx(across)
    assert fixed.corrected["spearman"][3] == pytest.approx(across / np.sqrt(np.prod(within)))


def test_the_population_is_the_covariance_over_cells_of_scaled_responses(fixed):
    days = made_days("fixed", DAYS, 120, np.random.default_rng(0))

    def scaled(half):
        return (half - half.mean(axis=0)) / half.std(axis=0)

    def covariance(x, y):  # over cells, summed over windows
        return sum(np.cov(scaled(x)[w], scaled(y)[w], ddof=0)[0, 1] for w in range(len(x)))

    i, j = fixed.pairs[3]
    a, b = days[i], days[j]
    across = np.mean([covariance(x, y) for x in (a.even, a.odd) for y in (b.even, b.odd)])
    within = [covariance(day.even, day.odd) for day in (a, b)]
    assert fixed.corrected["population"][3] == pytest.approx(across / np.sqrt(np.prod(within)))


def test_controls_lie_where_they_must(fixed):
    controls = {(one.control, one.gap): one for one in fixed.controls}
    assert {name for name, _ in controls} == set(CONTROLS)
    for one in fixed.controls:
        # independent cells: no shuffled day is similar
        assert abs(one.mean) < 0.05 and one.low < one.mean < one.high < 0.5
        assert one.p == pytest.approx(1 / 201)
    assert all((p == 1 / 201).all() for p in fixed.control_p.values())


def test_cells_that_share_a_code_are_as_similar_when_exchanged_but_not_when_windows_are():
    """A response that all cells have is stable over days without any cell keeping a code of its own."""
    rng = np.random.default_rng(4)
    shared = rng.normal(size=(26, 1))
    days = []
    for day in made_days("noise", DAYS, 80, rng):
        new = {name: getattr(day, name) + shared for name in ("mean", "even", "odd")}
        days.append(dataclasses.replace(day, **new))
    result = stability(days, settings=SMALL)
    by_control = {name: np.array([one.p for one in result.controls if one.control == name]) for name in CONTROLS}
    assert (by_control["features"] < 0.01).all()
    assert np.median(by_control["neurons"]) > 0.1 and np.median(by_control["matched"]) > 0.1
    # nor has the population a pattern over cells
    assert not result.reliable["population"].any()


def test_exchange_within_regions_keeps_what_a_region_shares():
    rng = np.random.default_rng(5)
    regions = np.repeat(["A", "B"], 60)
    of_region = rng.normal(size=(26, 2))[:, np.repeat([0, 1], 60)]
    days = []
    for day in made_days("noise", DAYS, 120, rng):
        new = {name: getattr(day, name) + of_region for name in ("mean", "even", "odd")}
        days.append(dataclasses.replace(day, **new))
    result = stability(days, regions, SMALL)
    by_control = {name: np.array([one.p for one in result.controls if one.control == name]) for name in CONTROLS}
    assert (by_control["neurons"] < 0.01).all() and np.median(by_control["matched"]) > 0.1


def test_the_same_seed_gives_the_same_numbers_and_the_order_of_days_does_not_matter(fixed):
    days = made_days("fixed", DAYS, 120, np.random.default_rng(0))
    regions = np.repeat(["VISp", "RSP"], 60)
    again = stability(days[::-1], regions, SMALL)
    assert [one.value for one in again.by_gap] == pytest.approx([one.value for one in fixed.by_gap])
    same = stability(days, regions, SMALL)
    assert same.by_gap == fixed.by_gap and same.controls == fixed.controls


def test_cells_lost_at_random_do_not_change_the_stability_of_those_that_stay(fixed):
    """No survivorship by itself: half of the cells, drawn without looking, are as stable."""
    days = made_days("fixed", DAYS, 120, np.random.default_rng(0))
    kept = np.sort(np.random.default_rng(1).permutation(120)[:60])
    names = ("mean", "even", "odd", "n_even", "n_odd")
    few = [dataclasses.replace(day, **{name: getattr(day, name)[:, kept] for name in names}) for day in days]
    result = stability(few, settings=SMALL)
    for one, every in zip(gaps_of(result, "spearman"), gaps_of(fixed, "spearman"), strict=True):
        assert one.low <= every.value <= one.high


def test_windows_with_few_trials_on_one_day_and_silent_cells_are_left_out_on_all():
    days = made_days("fixed", DAYS, 40, np.random.default_rng(2))
    days[2].n_odd[:6] = 2
    days[4].even[:, 3] = 0.5  # a cell that is silent in one half of a day
    result = stability(days, settings=SMALL)
    assert result.windows.tolist() == [False] * 6 + [True] * 20
    assert np.flatnonzero(~result.cells).tolist() == [3]
    assert np.isnan(result.cell_spearman[:, 3]).all() and np.isfinite(np.delete(result.cell_spearman, 3, 1)).all()


def test_what_cannot_be_compared_is_refused():
    days = made_days("fixed", DAYS, 10, np.random.default_rng(2))
    with pytest.raises(ArgumentError, match="two or more days"):
        stability(days[:1])
    days[1].n_even[3:] = 0
    with pytest.raises(DataError, match="too few windows have 3 trials"):
        stability(days)
    days[1].n_even[:], days[1].n_odd[:] = 0, 0
    with pytest.raises(DataError, match="no cell has trials on all days"):
        stability(days)
    for wrong in ({"n_shuffles": 100}, {"n_bootstrap": 10}, {"min_trials": 0}, {"min_reliability": -0.1}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            StabilitySettings(**wrong)

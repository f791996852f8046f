"""What is embedded of several days: bins and z-scores against plain numpy, planted groups and sequences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr, zscore
from support.planted_days import adjacent_share, chance_share, perfect_share, planted_means, planted_traces

from pipeline.embedding import EmbeddingSettings, rastermap_order
from pipeline.embedding_days import DaysSettings, binned, rastermap_settings, type_vectors, zscored
from pipeline.errors import ArgumentError
from pipeline.figures import days_raster

N_GROUPS, SIZE = 8, 12


def neighbours(matrix: np.ndarray) -> float:
    """Return the mean correlation of rows that are next to each other."""
    z = zscore(matrix, axis=1)
    return float(np.mean(z[1:] * z[:-1]))


@pytest.fixture(scope="module")
def made():
    """The group of each cell, and its z-scored activity on three days."""
    rng = np.random.default_rng(1)
    groups = rng.permutation(np.repeat(np.arange(N_GROUPS), SIZE))
    return groups, [zscored(planted_traces(groups, n_frames, rng)) for n_frames in (900, 1100, 700)]


@pytest.mark.slow
def test_one_order_of_all_days_finds_the_groups(made):
    groups, days = made
    order = rastermap_order(np.hstack(days))
    found, perfect, (mean, sd) = adjacent_share(groups[order]), perfect_share(groups), chance_share(groups)
    assert found > 0.95 * perfect and found > mean + 10 * sd
    every_day = [neighbours(day[order]) for day in days]
    assert min(every_day) > 0.3
    # the same cells under other names on one day: that day does not look sorted, the others do
    mixed = days[2][np.random.default_rng(2).permutation(len(groups))]
    assert abs(neighbours(mixed[order])) < 0.1
    # also if it takes part in the order, which then follows the longer days
    other = rastermap_order(np.hstack([*days[:2], mixed]))
    assert neighbours(mixed[other]) < 0.2 < 0.3 < min(neighbours(day[other]) for day in days[:2])


@pytest.mark.slow
def test_one_order_of_all_days_finds_a_sequence():
    rng = np.random.default_rng(3)
    place = rng.permutation(80)
    days = []
    for n_frames in (1500, 1200):
        # the same wave runs over the cells, at other times on each day; a cell is 1/8 frame later than the one before
        starts = rng.choice(n_frames - 30, n_frames // 25, replace=False)
        delay = np.arange(n_frames) - starts[:, None] - place[:, None, None] / 8
        days.append(zscored(np.exp(-(delay**2) / 4).sum(axis=1) + 0.2 * rng.normal(size=(80, n_frames))))
    order = rastermap_order(np.hstack(days))
    assert abs(spearmanr(place[order], np.arange(80))[0]) > 0.9


@pytest.mark.slow
def test_the_order_of_even_trials_holds_for_odd_ones_of_planted_cells_only():
    rng = np.random.default_rng(4)
    groups = rng.permutation(np.repeat(np.arange(N_GROUPS), SIZE))
    settings = rastermap_settings(DaysSettings("trial_types"))
    for size, is_planted in ((1.5, True), (0.0, False)):
        days = [planted_means(groups, size, rng) for _ in range(4)]
        even, odd = (type_vectors(half) for half in zip(*days, strict=True))
        order = rastermap_order(even, settings)
        share, (mean, sd) = adjacent_share(groups[order]), chance_share(groups)
        halves = np.mean(zscore(even, axis=1) * zscore(odd, axis=1), axis=1)
        if is_planted:
            assert share > 0.9 * perfect_share(groups) and halves.min() > 0.2
            assert neighbours(odd[order]) > 0.3
        else:  # noise looks sorted in the trials that gave the order, and in no others
            assert abs(share - mean) < 4 * sd and abs(halves.mean()) < 0.1
            assert neighbours(even[order]) > 0.1 > abs(neighbours(odd[order]))


def test_scores_and_bins_are_those_of_numpy():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 5, (6, 50)).astype(np.float32)
    values[2] = 7
    expected = zscore(np.delete(values, 2, axis=0).astype(float), axis=1)
    found = zscored(values)
    np.testing.assert_allclose(np.delete(found, 2, axis=0), expected, atol=1e-6)
    assert not found[2].any() and found.dtype == np.float32
    values[4, 3] = np.nan
    assert np.isnan(zscored(values)[4]).all()
    clock = np.cumsum(rng.uniform(0.15, 0.25, 50)) + np.where(np.arange(50) > 30, 4.0, 0.0)
    means = binned(values[:2], clock, 0.7)
    bins = ((clock - clock[0]) // 0.7).astype(int)
    expected = np.column_stack([values[:2, bins == one].mean(axis=1) for one in np.unique(bins)])
    np.testing.assert_allclose(means, expected, rtol=1e-5)
    assert binned(values, clock, 0) is values
    vectors = type_vectors([values[:2].T, 10 * values[:2].T + 3])  # another gain and baseline change nothing
    np.testing.assert_allclose(vectors[:, :50], vectors[:, 50:], atol=1e-5)


def test_settings_without_an_effect_are_refused():
    with pytest.raises(ArgumentError, match="one of concatenated, trial_types"):
        DaysSettings("pca")
    with pytest.raises(ArgumentError, match="bin_seconds has an effect"):
        DaysSettings("trial_types", bin_seconds=1)
    with pytest.raises(ArgumentError, match="min_trials has an effect"):
        DaysSettings(min_trials=5)
    for wrong in ({"bin_seconds": -1}, {"bin_seconds": float("nan")}, {"min_trials": 0}):
        with pytest.raises(ArgumentError, match="bin_seconds must be 0 or more"):
            DaysSettings(**wrong)
    with pytest.raises(ArgumentError, match="the set of sessions says which cells"):
        rastermap_settings(DaysSettings(), EmbeddingSettings(neurons_only=False))
    assert rastermap_settings(DaysSettings()) == EmbeddingSettings()
    assert rastermap_settings(DaysSettings("trial_types")).time_lag_window == 0


def test_the_figure_has_all_days_with_the_same_greys():
    rng = np.random.default_rng(0)
    days = {f"day {i}": rng.normal(size=(20, 30 + i)) for i in range(5)}
    times = {name: 100 + np.arange(values.shape[1]) / 5 for name, values in days.items()}
    fig = days_raster(days, times=times, title="five days")
    panels = fig.axes[:5]
    for ax, values in zip(panels, days.values(), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), values)
    assert len({ax.images[0].get_clim() for ax in panels}) == 1
    assert panels[0].images[0].get_extent()[:2] == [0, 6.0]
    for wrong in ({}, {"a": np.ones((2, 3)), "b": np.ones((3, 3))}, {"a": np.ones((2, 0))}):
        with pytest.raises(ArgumentError, match="the same cells"):
            days_raster(wrong)
    with pytest.raises(ArgumentError, match="differ in number on a"):
        days_raster({"a": np.ones((2, 3))}, columns=["x"])
    assert days_raster({"a": np.full((2, 3), np.nan)}).axes

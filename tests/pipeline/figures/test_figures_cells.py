"""Cell maps, figures of tracking and of averages: numbers behind the pixels, limits, legends, ugly cases."""

from __future__ import annotations

import itertools
import re
from importlib.metadata import version
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba
from PIL import Image

from pipeline.figures import (
    Average,
    cell_map,
    cell_map_3d,
    peri_event_lines,
    peri_event_map,
    presence_map,
    save,
    shared_counts,
    survival,
)
from pipeline.figures.peri_event import peak_order
from pipeline.figures.tracking import found_again, presence_order
from pipeline.tracking.subsets import subset_counts

COLORS = {"A": "#ff0000", "B": "#00ff00", "C": "#0000ff"}
LONG = "Primary somatosensory area, barrel field, layer 2/3 " * 6


def axes_of(fig, label):
    """The axes with this label."""
    (found,) = [ax for ax in fig.axes if ax.get_label() == label]
    return found


def entries(fig):
    """Texts of the legend."""
    return [text.get_text() for text in fig.legends[0].get_texts()]


def dots(fig):
    """Positions and colours of the dots as drawn, from back to front."""
    fig.draw_without_rendering()
    drawn = axes_of(fig, "cells").collections[0]
    return np.asarray(drawn.get_offsets()), [to_hex(color) for color in drawn.get_facecolor()]


def cells(n=60, seed=0):
    """Positions of cells in three FOVs, all different, and their FOVs."""
    rng = np.random.default_rng(seed)
    fovs = np.arange(n) % 3
    return rng.uniform(-300, 300, (n, 3)) + np.array([[-2000, 0, 0], [1500, -900, -100], [0, 700, -300]])[fovs], fovs


def figure_is_whole(fig):
    """Nothing stands out of the figure."""
    fig.draw_without_rendering()
    for ax in fig.axes:
        box = ax.get_tightbbox()
        assert box is None or (box.x0 >= 0 and box.x1 <= fig.bbox.x1), ax.get_label()
    for legend in fig.legends:
        box = legend.get_window_extent()
        assert box.x1 <= fig.bbox.x1 + 1 and box.y0 >= -1


# --- cell maps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [cell_map, cell_map_3d])
def test_each_cell_has_the_colour_of_its_region(draw):
    xyz, _ = cells()
    regions = np.array(["A", "B", "C", "D"])[np.arange(60) % 4]
    fig = draw(xyz, regions=regions, region_colors=COLORS)
    assert entries(fig) == ["A (15)", "B (15)", "C (15)", "D (15)"]
    if draw is cell_map:
        at, colors = dots(fig)
        assert len(at) == 60
        for place, color in zip(at, colors, strict=True):
            (cell,) = np.flatnonzero((xyz[:, :2] == place).all(axis=1))
            assert color == COLORS.get(regions[cell], "#808080")


def test_unknown_places_are_grey_whatever_the_atlas_says():
    allen = {"A": "#ff0000", "root": "#ffffff"}
    fig = cell_map([[0, 0], [9, 9]], regions=["A", "root"], region_colors=allen)
    assert sorted(dots(fig)[1]) == ["#808080", "#ff0000"]
    fig = peri_event_map(np.eye(2), [0, 1, 2], regions=["A", "root"], region_colors=allen, order=[0, 1])
    strip = axes_of(fig, "region strip").images[0].get_array()[:, 0]
    assert [to_hex(color) for color in strip] == ["#ff0000", "#808080"]


def test_regions_do_not_bury_each_other():
    """Dots are drawn in an order that mixes regions, and always the same."""
    xyz, fovs = cells(300)
    first, again = (dots(cell_map(xyz, regions=np.sort(fovs).astype(str)))[1] for _ in range(2))
    assert first == again
    changes = sum(a != b for a, b in itertools.pairwise(first))
    assert changes > 150


def test_numbers_have_the_colours_of_the_map():
    xyz, _ = cells()
    values = np.arange(60.0)
    values[:7] = np.nan
    fig = cell_map(xyz, values=values, label="Rastermap rank", limits=(10, 50))
    at, colors = dots(fig)
    viridis = axes_of(fig, "cells").collections[0].cmap
    for i, (place, color) in enumerate(zip(at, colors, strict=True)):
        (cell,) = np.flatnonzero((xyz[:, :2] == place).all(axis=1))
        if cell < 7:
            assert color == "#c8c8c8" and i < 7, "cells without a number lie behind the others"
        else:
            assert color == to_hex(viridis((np.clip(cell, 10, 50) - 10) / 40))
    bar = fig.axes[1]
    assert bar.get_ylabel() == "Rastermap rank"
    assert axes_of(fig, "cells").collections[0].colorbar.extend == "both"
    assert entries(fig) == ["without value (7)"]


def test_limits_of_numbers_hold_most_of_those_drawn():
    xyz, _ = cells(1000)
    values = np.random.default_rng(0).normal(size=1000)
    values[:3], xyz[3] = 1e9, np.nan
    values[3] = -1e9  # not drawn
    norm = axes_of(cell_map(xyz, values=values), "cells").collections[0].norm
    assert (norm.vmin, norm.vmax) == pytest.approx(tuple(np.percentile(np.delete(values, 3), (1, 99))))
    assert -3 < norm.vmin < norm.vmax < 4


def test_plane_is_to_scale_and_holds_all_cells():
    xyz, fovs = cells()
    fig = cell_map(xyz, fovs=fovs)
    ax = axes_of(fig, "cells")
    assert ax.get_aspect() == 1
    for (low, high), column in zip((ax.get_xlim(), ax.get_ylim()), xyz.T[:2], strict=True):
        assert low < column.min() and column.max() < high, "left to right, posterior to anterior"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("ML (µm)", "AP (µm)")


def test_outlines_hold_the_cells_of_their_fov():
    xyz, fovs = cells()
    xyz[5] = np.nan
    lines = {line.get_label(): line.get_xydata() for line in axes_of(cell_map(xyz, fovs=fovs), "cells").lines}
    assert list(lines) == ["FOV 0", "FOV 1", "FOV 2"]
    for fov, corners in enumerate(lines.values()):
        own = xyz[(fovs == fov) & np.isfinite(xyz[:, 0]), :2]
        assert (corners[0] == corners[-1]).all()
        assert all((own == corner).all(axis=1).any() for corner in corners), "corners are cells"
        sides = np.diff(corners, axis=0)
        to_cells = own[:, None] - corners[None, :-1]
        turns = sides[:, 0] * to_cells[..., 1] - sides[:, 1] * to_cells[..., 0]
        assert (turns >= -1e-6).all() or (turns <= 1e-6).all(), "all cells are on one side of each side"


def test_outlines_of_the_atlas_are_below_the_cells_and_do_not_change_what_is_in_view():
    xyz, fovs = cells()
    values = np.arange(len(xyz), dtype=float)
    plain, drawn = (axes_of(cell_map(xyz, fovs=fovs, values=values, outlines=outlines), "cells")
                    for outlines in ((), [[[-5000, -7000], [5000, -7000], [0, 5000]], xyz[:3, :2]]))  # fmt: skip
    assert (plain.get_xlim(), plain.get_ylim()) == (drawn.get_xlim(), drawn.get_ylim())
    assert not plain.patches
    brain, other = drawn.patches
    assert brain.get_xy()[:-1].tolist() == [[-5000, -7000], [5000, -7000], [0, 5000]]
    np.testing.assert_array_equal(other.get_xy()[:-1], xyz[:3, :2])
    assert max(one.get_zorder() for one in drawn.patches) < min(one.get_zorder() for one in drawn.collections)


@pytest.mark.parametrize("points", [[[0, 0]], [[0, 0], [5, 5]], [[0, 0], [5, 5], [10, 10], [2, 2]]])
def test_fovs_without_an_area_have_a_line(points):
    (line,) = axes_of(cell_map(points, fovs=np.zeros(len(points), int)), "cells").lines
    assert np.unique(line.get_xydata(), axis=0).tolist() == [points[0], points[-1]][: len(points)] or (
        line.get_xydata().min() == 0 and line.get_xydata().max() == 10
    )


def test_cells_without_a_position_are_counted_and_not_drawn():
    xyz, fovs = cells()
    xyz[:4, 1], xyz[4:10, 2] = np.nan, np.nan
    assert len(dots(cell_map(xyz, fovs=fovs))[0]) == 56
    assert entries(cell_map(xyz, regions=np.full(60, "A"))) == ["A (56)", "without position (4)"]
    assert entries(cell_map_3d(xyz)) == ["without position (10)"]
    fig = cell_map(xyz * np.nan, fovs=fovs)
    assert "no cell has a position" in [text.get_text() for text in axes_of(fig, "cells").texts]


def test_rare_regions_are_pooled():
    xyz, _ = cells(400)
    regions = np.array([f"R{i}" for i in np.minimum(np.arange(400) % 45, 39)])
    shown = entries(cell_map(xyz, regions=regions))
    assert len(shown) == 30 and shown[-1].startswith("other (")
    assert sum(int(re.search(r"\((\d+)\)", text)[1]) for text in shown) == 400
    assert f"R39 ({np.sum(regions == 'R39')})" in shown, "the commonest stay"


def test_flat_axes_are_stretched_and_say_so():
    xyz, _ = cells(200)
    ax = axes_of(cell_map_3d(xyz * [1, 1, 0.5]), "cells")
    stretch = float(re.search(r"stretched ([\d.]+)×", ax.get_zlabel())[1])
    spans = np.ptp([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()], axis=1)
    drawn = np.asarray(ax._box_aspect)
    assert drawn[2] / spans[2] == pytest.approx(stretch * drawn[0] / spans[0], rel=0.05)
    assert ax.get_xlabel() == "ML (µm)"


def test_cell_maps_refuse_what_does_not_fit():
    xyz, _ = cells()
    with pytest.raises(ValueError, match="60 cells but regions"):
        cell_map(xyz, regions=["A"])
    with pytest.raises(ValueError, match="not both"):
        cell_map(xyz, regions=np.full(60, "A"), values=np.zeros(60))
    with pytest.raises(ValueError, match="one row of 3 numbers"):
        cell_map_3d(xyz[:, :2])
    with pytest.raises(ValueError, match="increasing"):
        cell_map(xyz, values=np.zeros(60), limits=(1, 1))


@pytest.mark.parametrize("draw", [cell_map, cell_map_3d])
def test_ugly_maps_are_whole(draw):
    rng = np.random.default_rng(0)
    many = rng.uniform(-4000, 4000, (25_000, 3)) * [1, 0.2, 0.2]  # too low for the legend
    regions = np.array([f"R{i}" for i in rng.integers(0, 40, 25_000)])
    figure_is_whole(draw(many, regions=regions, title=LONG))
    figure_is_whole(draw(many[:1], regions=[LONG]))
    figure_is_whole(draw(many[:1], values=[np.nan], label="x"))
    figure_is_whole(draw(many[:9] * np.nan, values=np.zeros(9)))


# --- tracking ---------------------------------------------------------------------------------------


def presence(n_cells=200, n_sessions=5, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.random((n_cells, n_sessions)) < rng.beta(1, 1, n_cells)[:, None]
    found[0] = True
    return found


def days(n):
    return [str(np.datetime64("2024-05-01") + np.timedelta64(3 * i, "D")) for i in range(n)]


@pytest.mark.parametrize("kind", ["all", "only"])
def test_counts_of_subsets_are_those_of_sets(kind):
    found = presence()
    sets = [set(np.flatnonzero(column)) for column in found.T]
    expected = {}
    for size in range(1, 6):
        for chosen in itertools.combinations(range(5), size):
            shared = set.intersection(*(sets[i] for i in chosen))
            if kind == "only":
                shared -= set().union(*(sets[i] for i in range(5) if i not in chosen))
            if shared:
                expected[chosen] = len(shared)
    subsets, counts = subset_counts(found, kind)
    assert {tuple(np.flatnonzero(s).tolist()): int(n) for s, n in zip(subsets, counts, strict=True)} == expected
    assert np.all(np.diff(counts) <= 0)


def test_too_many_sessions_are_refused():
    with pytest.raises(ValueError, match="at most 20"):
        subset_counts(np.ones((3, 21), dtype=bool))
    assert len(subset_counts(np.ones((3, 12), dtype=bool))[0]) == 2**12 - 1
    subsets, counts = subset_counts(np.ones((3, 70), dtype=bool), "only")
    assert subsets.all() and counts.tolist() == [3]


def drawn_subsets(fig):
    """The subset under each bar, read off the filled dots."""
    bars = axes_of(fig, "counts").patches
    filled = np.asarray(axes_of(fig, "sessions").collections[-2].get_offsets())
    middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    rows = [tuple(sorted(filled[np.isclose(filled[:, 0], x), 1].astype(int).tolist())) for x in middles]
    return rows, [int(bar.get_height()) for bar in bars]


def test_bars_stand_above_the_dots_of_their_sessions():
    found = presence()
    fig = shared_counts(found, days(5), n_bars=100)
    rows, heights = drawn_subsets(fig)
    assert len(rows) == 31
    assert heights == [int(found[:, list(row)].all(axis=1).sum()) for row in rows]
    sizes = [len(row) for row in rows]
    assert sizes == sorted(sizes)
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes_of(fig, "counts").patches]
    np.testing.assert_allclose(np.diff(middles), np.where(np.diff(sizes), 1.6, 1), err_msg="a gap between sizes")
    assert [text.get_text() for text in axes_of(fig, "sessions").get_yticklabels()] == days(5)
    bottom, top = axes_of(fig, "sessions").get_ylim()
    assert bottom > top, "first session on top"


def test_largest_subsets_of_each_size_are_drawn():
    """The best subset of every size is there, which a greedy search can miss."""
    found = presence(n_sessions=8)
    rows, heights = drawn_subsets(shared_counts(found, days(8), n_bars=16))
    assert len(rows) == 16
    for size in range(1, 9):
        best = max(int(found[:, list(c)].all(axis=1).sum()) for c in itertools.combinations(range(8), size))
        assert heights[[len(row) for row in rows].index(size)] == best
    rows, heights = drawn_subsets(shared_counts(found, days(8), kind="only", n_bars=4))
    assert heights == sorted(np.unique(found[found.any(axis=1)], axis=0, return_counts=True)[1])[::-1][:4]


def test_presence_is_sorted_by_sessions_and_pattern():
    found = presence()
    order = presence_order(found)
    assert sorted(order) == list(range(200))
    rows = found[order]
    assert np.all(np.diff(rows.sum(axis=1)) <= 0)
    patterns = [tuple(row) for row in rows]
    assert len([1 for a, b in itertools.pairwise(patterns) if a != b]) + 1 == len(set(patterns)), "alike ones together"
    fig = presence_map(found, days(5))
    image = axes_of(fig, "presence").images[0]
    np.testing.assert_array_equal(image.get_array(), rows)
    assert image.get_extent() == [-0.5, 4.5, 199.5, -0.5]
    heights = [bar.get_height() for bar in axes_of(fig, "cells per session").patches]
    assert heights == found.sum(axis=0).tolist()


def test_many_cells_are_averaged_and_none_is_lost():
    found = presence(25_000, 12)
    image = np.asarray(axes_of(presence_map(found, days(12)), "presence").images[0].get_array())
    assert image.shape == (1200, 12)
    np.testing.assert_allclose(image.mean(axis=0), found.mean(axis=0), atol=0.002)


def test_survival_is_the_share_found_again():
    found, gaps = presence(n_sessions=4), [0, 1, 2, 7]
    dates = [str(np.datetime64("2024-05-01") + np.timedelta64(gap, "D")) for gap in gaps]
    (ax,) = survival(found, dates).axes
    pairs = {(int(b) - int(a), float((found[:, i] & found[:, j]).sum() / found[:, i].sum()))
             for (i, a), (j, b) in itertools.combinations(enumerate(gaps), 2)}  # fmt: skip
    shown = {(int(x), float(y)) for line in ax.lines if line.get_label() != "all pairs" for x, y in line.get_xydata()}
    assert shown == pairs
    (line,) = [line for line in ax.lines if line.get_label() == "all pairs"]
    together = {int(x): y for x, y in line.get_xydata()}
    assert sorted(together) == [1, 2, 5, 6, 7]
    again = (found[:, 0] & found[:, 1]).sum() + (found[:, 1] & found[:, 2]).sum()
    assert together[1] == pytest.approx(again / found[:, :2].sum())
    assert ax.get_ylim() == (0, 1)


def test_survival_from_a_session_without_cells_is_left_out():
    found = presence(n_sessions=3)
    found[:, 0] = False
    assert np.isnan(found_again(found, [0, 1, 5])[3][:2]).all()
    line = survival(found, days(3)).axes[0].lines[-1]
    assert np.isfinite(line.get_ydata()).all() and len(line.get_ydata()) == 1


def test_figures_of_tracking_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="presence must be bool"):
        presence_map(np.ones((3, 2)), days(2))
    with pytest.raises(ValueError, match="2 sessions but 3 dates"):
        shared_counts(np.ones((3, 2), dtype=bool), days(3))
    with pytest.raises(ValueError, match="no cell is in any session"):
        shared_counts(np.zeros((3, 2), dtype=bool), days(2))
    with pytest.raises(ValueError, match="two sessions or more"):
        survival(np.ones((3, 1), dtype=bool), days(1))
    with pytest.raises(ValueError, match="order of time"):
        survival(np.ones((3, 2), dtype=bool), days(2)[::-1])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 2), (25_000, 12), (100, 1), (500, 20)])
def test_ugly_tracking_is_whole(shape):
    found = presence(*shape)
    figure_is_whole(presence_map(found, days(shape[1]), title=LONG))
    figure_is_whole(shared_counts(found, days(shape[1])))
    figure_is_whole(shared_counts(found, days(shape[1]), kind="only", title=LONG))
    if shape[1] > 1:
        figure_is_whole(survival(found, days(shape[1])))


# --- averages around events -------------------------------------------------------------------------

EDGES = np.arange(-2, 6) * 0.2


def average(label="left", level=1.0, **change):
    mean = level + np.arange(7) * 0.1
    return Average(**({"label": label, "edges": EDGES, "mean": mean, "sem": np.full(7, 0.05), "n_trials": 30} | change))


def test_lines_and_bands_are_the_averages():
    panels = {"A": [average(), average("right", 2, n_trials=np.arange(7))], "B": [average("right", 3)]}
    fig = peri_event_lines(panels, event="stimulus on", window=(0, 0.1))
    assert len(fig.axes) == 2 and len({ax.get_xlim() for ax in fig.axes}) == 1
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    colors = {}
    for ax, panel in zip(fig.axes, panels.values(), strict=True):
        for one in panel:
            (line,) = [line for line in ax.lines if line.get_label() == one.label]
            np.testing.assert_allclose(line.get_xdata(), (EDGES[:-1] + EDGES[1:]) / 2)
            np.testing.assert_array_equal(line.get_ydata(), one.mean)
            colors.setdefault(one.label, set()).add(to_rgba(line.get_color()))
        bands = [band.get_paths()[0].vertices[:, 1] for band in ax.collections]
        assert min(band.min() for band in bands) == pytest.approx(min(one.mean.min() for one in panel) - 0.05)
        assert max(band.max() for band in bands) == pytest.approx(max(one.mean.max() for one in panel) + 0.05)
    assert [len(found) for found in colors.values()] == [1, 1] and colors["left"] != colors["right"]
    assert entries(fig) == ["left (30)", "right (30)", "± standard error", "window 0 to 0.1 s"]
    assert fig.axes[0].get_xlim() == (pytest.approx(-0.4), pytest.approx(1.0))


def test_gaps_of_an_average_stay_open():
    mean = np.array([1, np.nan, 2, np.nan, np.nan, 3, 3.0])
    (ax,) = peri_event_lines({"A": [average(mean=mean)]}).axes
    (alone,) = [line for line in ax.lines if line.get_marker() == "."]
    np.testing.assert_allclose(alone.get_ydata(), [1, 2])
    assert np.isnan(ax.lines[-1].get_ydata()).sum() == 3


def test_many_labels_have_different_colours():
    fig = peri_event_lines({"A": [average(f"region {i}", i) for i in range(20)]})
    colors = {line.get_color() for line in fig.axes[0].lines if str(line.get_label()).startswith("region")}
    assert len(colors) == 20


def test_averages_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"'left': 7 bins but mean has \(6,\)"):
        average(mean=np.zeros(6))
    with pytest.raises(ValueError, match="increasing"):
        average(edges=EDGES[::-1])
    with pytest.raises(ValueError, match="no average"):
        peri_event_lines({"A": []})


def heat(fig):
    return np.ma.filled(axes_of(fig, "cells").images[0].get_array().astype(float), np.nan)


def test_rows_of_the_map_follow_the_order():
    mean = np.random.default_rng(0).random((40, 7))
    order = np.random.default_rng(1).permutation(40)
    fig = peri_event_map(mean, EDGES, order=order, normalize=False)
    np.testing.assert_array_equal(heat(fig), mean[order])
    ax = axes_of(fig, "cells")
    assert ax.get_ylim() == (39.5, -0.5) and ax.get_xlim() == (EDGES[0], EDGES[-1])
    np.testing.assert_array_equal(heat(peri_event_map(mean, EDGES, normalize=False)), mean[peak_order(mean)])
    assert np.all(np.diff(mean[peak_order(mean)].argmax(axis=1)) >= 0)


def test_rows_of_the_map_are_deviations():
    mean = np.random.default_rng(0).random((40, 7)) * np.arange(1, 41)[:, None]
    mean[3], mean[4] = 5, np.nan
    fig = peri_event_map(mean, EDGES, order=np.arange(40))
    image = heat(fig)
    expected = (mean - mean.mean(axis=1, keepdims=True)) / mean.std(axis=1, keepdims=True).clip(1e-300)
    np.testing.assert_allclose(np.delete(image, (3, 4), axis=0), np.delete(expected, (3, 4), axis=0))
    assert (image[3] == 0).all() and np.isnan(image[4]).all()
    norm = axes_of(fig, "cells").images[0].norm
    assert norm.vmin == -norm.vmax
    assert peak_order(mean)[-1] == 4, "cells without a value come last"


def test_bins_of_unequal_width_are_drawn_as_wide_as_they_are():
    fig = peri_event_map(np.arange(6.0).reshape(2, 3), [-1, 0, 0.1, 0.5], normalize=False, order=[0, 1])
    assert axes_of(fig, "cells").get_xlim() == (-1, 0.5)
    image = axes_of(fig, "cells").images[0]
    np.testing.assert_allclose(image._Ax, [-1, 0, 0.1, 0.5])


def test_region_strip_stands_beside_its_cells():
    mean = np.random.default_rng(0).random((6, 7))
    order = np.array([3, 0, 5, 1, 4, 2])
    regions = np.array(["A", "B", "C", "A", "B", "A"])
    fig = peri_event_map(mean, EDGES, order=order, regions=regions, region_colors=COLORS)
    strip = axes_of(fig, "region strip").images[0].get_array()[:, 0]
    assert [to_hex(color) for color in strip] == [COLORS[name] for name in regions[order]]
    assert entries(fig) == ["A (3)", "B (2)", "C (1)"]


def test_rows_of_many_cells_are_means_of_neighbours():
    mean = np.random.default_rng(0).random((2400, 7))
    mean[0, 3] = np.nan
    image = heat(peri_event_map(mean, EDGES, order=np.arange(2400), normalize=False))
    np.testing.assert_allclose(image, np.nanmean(mean.reshape(1200, 2, 7), axis=1))


@pytest.mark.slow
def test_ugly_averages_are_whole():
    rng = np.random.default_rng(0)
    mean = rng.random((25_000, 7))
    regions = np.array([f"R{i}" for i in rng.integers(0, 40, 25_000)])
    figure_is_whole(peri_event_map(mean, EDGES, regions=regions, title=LONG, window=(0, 0.1)))
    figure_is_whole(peri_event_map(mean[:1], EDGES, regions=[LONG]))
    figure_is_whole(peri_event_map(mean[:2] * np.nan, EDGES))
    figure_is_whole(peri_event_lines({LONG: [average(f"{LONG}{i}") for i in range(20)]}))
    figure_is_whole(peri_event_lines({str(i): [average()] for i in range(12)}, title=LONG))
    figure_is_whole(peri_event_lines({"A": [average(mean=np.full(7, np.nan))], "B": []}))


# --- files ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_carry_provenance_and_versions_and_text(kind, tmp_path):
    """With the readers of other projects: Pillow, an XML parser, and the bytes of the PDF."""
    provenance = {"eid": "e1", "embedding_params": "a1b2", "environment": "c3d4"}
    xyz, fovs = cells()
    drawings = [
        lambda: cell_map(xyz, regions=np.full(60, "VISp2/3"), fovs=fovs),
        lambda: cell_map_3d(xyz, values=xyz[:, 0], label="VISp2/3"),
        lambda: shared_counts(presence(), ["VISp2/3", *days(4)]),
        lambda: peri_event_lines({"VISp2/3": [average()]}),
    ]
    for i, draw in enumerate(drawings):
        file = save(draw(), tmp_path / f"{i}.{kind}", provenance, dpi=40)
        data = file.read_bytes()
        assert data == save(draw(), tmp_path / f"again.{kind}", provenance, dpi=40).read_bytes()
        text = '{"eid": "e1", "embedding_params": "a1b2", "environment": "c3d4"}'
        if kind == "png":
            with Image.open(file) as image:
                assert image.info["Description"] == text
                assert image.info["Software"].startswith(f"meso {version('meso')}, matplotlib ")
        elif kind == "svg":
            root = ElementTree.parse(file).getroot()
            words = [element.text for element in root.iter()]
            assert text in words
            assert any(str(word).startswith(f"meso {version('meso')}, ") for word in words)
            shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
            assert any("VISp2/3" in str(word) for word in shown)
        else:
            assert b"e1" in data and b"meso " + version("meso").encode() in data
            assert b"/Type3" not in data and b"/FontFile2" in data

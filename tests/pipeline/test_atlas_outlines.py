"""Outlines of regions against planted ones, in a volume that iblatlas itself reads and looks up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from iblatlas.atlas import AllenAtlas
from iblatlas.regions import BrainRegions
from matplotlib.path import Path as Polygon
from support.atlas_volume import CENTRES, HALF_AXES, MIDDLE, UM, brain_of_regions, region_id, write

from pipeline import atlas
from pipeline.errors import ConfigError, DataError
from pipeline.outlines import junctions, outline


def area(corners: np.ndarray) -> float:
    x, y = np.asarray(corners).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def is_in(polygons: list[np.ndarray], points: np.ndarray) -> np.ndarray:
    """Return which points are in an odd number of polygons."""
    return sum(Polygon(one).contains_points(points).astype(int) for one in polygons) % 2 == 1


def borders(polygons: list[np.ndarray]) -> set[frozenset]:
    """Return the sides of polygons, in either direction."""
    closed = [[*map(tuple, one.tolist()), tuple(one[0].tolist())] for one in polygons]
    return {frozenset(pair) for one in closed for pair in itertools.pairwise(one)}


# ---------------------------------------------------------------- an image


def test_a_box_has_four_corners_and_a_hole_is_a_polygon_of_its_own():
    labels = np.zeros((30, 40), int)
    labels[5:25, 10:38] = 3
    labels[10:15, 20:26] = 0
    found = outline(labels == 3, junctions(labels))
    outer, hole = sorted(found.polygons, key=area, reverse=True)
    assert sorted(outer.tolist()) == [[5, 10], [5, 38], [25, 10], [25, 38]]
    assert sorted(hole.tolist()) == [[10, 20], [10, 26], [15, 20], [15, 26]]
    # the largest circle within touches the hole and two sides: nowhere is there more room
    assert found.room == pytest.approx(6, abs=1) and labels[tuple(found.place.astype(int))] == 3


def test_pixels_that_touch_at_a_corner_are_two_polygons():
    labels = np.zeros((8, 8), int)
    labels[1:4, 1:4] = labels[4:7, 4:7] = 1
    found = outline(labels == 1, junctions(labels))
    assert [area(one) for one in found.polygons] == [9, 9]


@pytest.mark.parametrize("seed", range(5))
def test_what_touches_has_one_border_and_no_corner_is_off_by_more_than_the_tolerance(seed):
    """Random regions: every side is of two regions, or of one and the outside, and few corners are left."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((80, 90))
    far = [np.hypot(rows - r, columns - c) for r, c in rng.uniform(0, 80, (12, 2))]
    labels = np.where(np.hypot(rows - 40, columns - 45) < 36, 1 + np.argmin(far, axis=0), 0)
    fixed = junctions(labels)
    every = {label: outline(labels == label, fixed) for label in np.unique(labels[labels > 0]).tolist()}
    found = {label: one for label, one in every.items() if one}  # of a sliver nothing may be left
    whole = borders(outline(labels > 0, fixed).polygons)
    sides = [side for one in found.values() for side in borders(one.polygons)]
    for side in set(sides):
        assert sides.count(side) + (side in whole) == 2, side
    assert whole <= set(sides)
    assert sum(len(one.polygons[0]) for one in found.values()) < 0.2 * 2 * len(np.argwhere(np.diff(labels)))
    # by the middle of each pixel: only next to a border may one be on the wrong side
    points = np.argwhere(labels >= 0) + 0.5
    for label, one in found.items():
        wrong = is_in(one.polygons, points) != (labels.ravel() == label)
        near = Polygon(one.polygons[0])
        assert wrong.mean() < 0.02 and near.contains_point(one.place)


@pytest.mark.parametrize("seed", range(10))
def test_a_rough_border_is_the_same_from_both_sides(seed):
    """Many of its corners are equally far from the line between its ends, and the regions walk along it both ways."""
    walk = np.cumsum(np.random.default_rng(seed).integers(-2, 3, 60))
    labels = 1 + (np.arange(80) > 40 + np.clip(walk, -30, 30)[:, None])
    one, other = (borders(outline(labels == label, junctions(labels)).polygons) for label in (1, 2))
    assert len(one & other) > 3
    assert {0, 60} <= {point[0] for side in one & other for point in side}  # the whole of it, from end to end
    only = {point for side in one ^ other for point in side}
    assert all(row in (0, 60) or column in (0, 80) for row, column in only)


def test_small_pieces_are_left_out_and_of_nothing_there_is_no_outline():
    labels = np.zeros((20, 20), int)
    labels[2:12, 2:12] = labels[15:18, 15:18] = 1
    assert [area(one) for one in outline(labels == 1, junctions(labels), least=9).polygons] == [100, 9]
    assert [area(one) for one in outline(labels == 1, junctions(labels), least=10).polygons] == [100]
    assert outline(labels == 2, junctions(labels)) is None


# ---------------------------------------------------------------- a volume


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A made brain with a box of VISpor, whose deeper layer is seen where the first is missing, and fibers."""
    ids = brain_of_regions()
    ids[200:220, 150:180] = 0
    ids[200:220, 150:180, 8:] = region_id("VISpor6a")
    ids[200:220, 150:165, 6:8] = region_id("VISpor1")
    ids[200:220, 150:180, 10:] = region_id("CA1")  # below the cortex, and not seen
    ids[100:110, 140:150] = np.where(ids[100:110, 140:150] > 0, region_id("fiber tracts"), 0)
    cache = tmp_path_factory.mktemp("one")
    write(cache, ids)
    return atlas.open_volume(UM, cache)


def test_a_planted_box_is_at_its_place_in_um_from_bregma(volume):
    """Voxels 200 to 220 along AP and 150 to 180 along ML, around the indices of their middles, as iblatlas rounds."""
    (box,) = atlas.outlines(volume)[region_id("VISpor")].polygons
    # bregma is at (5739, 5400) um of the volume; the first corner is half a voxel before the middle of voxel 150
    left, right = 149.5 * 50 - 5739, 179.5 * 50 - 5739
    front, back = 5400 - 199.5 * 50, 5400 - 219.5 * 50
    # further corners are where two of its neighbours meet
    assert {(x, y) for x in (left, right) for y in (front, back)} <= set(map(tuple, box.round(6).tolist()))
    assert area(box) == pytest.approx(30 * 20 * 50**2)
    assert left > 0 and back < front < 0  # behind bregma, on the right
    assert region_id("CA1") not in atlas.outlines(volume)


def test_regions_are_those_that_iblatlas_looks_up_at_the_surface(volume):
    """iblatlas' own surface and its lookup of positions, at the middle of each voxel, in both hemispheres."""
    assert type(volume) is AllenAtlas
    volume.compute_surface()
    rows, columns = np.nonzero(np.isfinite(volume.top))
    xyz = np.column_stack([volume.bc.i2x(columns), volume.bc.i2y(rows), volume.top[rows, columns]])
    ids = volume.get_labels(xyz, mapping="Beryl-lr")
    assert (atlas.seen_from_above(volume)[rows, columns] == ids).all()
    found, points = atlas.outlines(volume), 1e6 * xyz[:, :2]
    assert set(found) == set(ids.tolist()) | {atlas.BRAIN}
    for region in set(ids.tolist()) - {atlas.BRAIN}:
        inside, own = is_in(found[region].polygons, points), ids == region
        assert (inside & own).sum() > 0.9 * (inside | own).sum(), region
        assert own[np.argmin(np.linalg.norm(points - found[region].place, axis=1))]


def test_brain_and_sides_are_those_that_were_planted(tmp_path):
    write(tmp_path, brain_of_regions())
    found = atlas.outlines(atlas.open_volume(UM, tmp_path))
    (brain,) = found[atlas.BRAIN].polygons
    # the made dome begins 4 voxels below the top and ends 14 below: where the sum of squares is one
    assert area(brain) / 1e6 == pytest.approx(np.pi * np.prod(HALF_AXES), rel=0.02)
    assert (brain.min(axis=0) + brain.max(axis=0)) / 2 == pytest.approx(np.array(MIDDLE) * 1000, abs=UM)
    regions = BrainRegions()
    beryl = dict(zip(regions.id.tolist(), regions.id[regions.mappings["Beryl-lr"]].tolist(), strict=True))
    for name, place in CENTRES.items():
        own = beryl[region_id(name)]
        for side in (1, -1):
            polygons = found[side * own].polygons
            assert is_in(polygons, np.array([place]) * [side * 1000, 1000]).all(), name
            # the hemispheres meet at the left side of the voxel in which bregma is
            assert (side * np.concatenate(polygons)[:, 0]).min() > -1.5 * UM, name
    assert len(found) == 2 * len(CENTRES) + 1


def test_a_slanted_border_is_straight():
    """Of lines at any angle between two regions, only the ends are left."""
    rows, columns = np.indices((60, 60))
    for angle in np.radians(np.arange(1, 180, 4)):
        labels = 1 + (np.sin(angle) * (rows - 30.3) > np.cos(angle) * (columns - 29.6))
        found = outline(labels == 1, junctions(labels))
        assert len(found.polygons[0]) <= 5 + 2, np.degrees(angle)


def test_missing_files_without_a_network_are_named_with_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    folder = tmp_path / "histology" / "ATLAS" / "Needles" / "Allen"
    with pytest.raises(DataError) as raised:
        atlas.open_volume(25, tmp_path)
    assert f"expected average_template_25.nrrd and annotation_25.nrrd in {folder}, found " in str(raised.value)
    assert "copy these files from a machine where 'meso atlas' has run" in str(raised.value)


def test_a_cache_that_is_no_folder_is_not_made(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder on this machine"):
        atlas.open_volume(50, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # iblatlas would download it again
    folder = write(tmp_path, brain_of_regions())
    file = folder / f"annotation_{UM}.nrrd"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match="can be neither read nor downloaded"):
        atlas.open_volume(UM, tmp_path)

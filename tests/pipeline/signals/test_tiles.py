"""Tiles of a raster, and the images made from them, against plain numpy on the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.signals.scaling import scale_rows
from pipeline.signals.tiles import (
    FACTOR,
    STEP,
    TILE_COLUMNS,
    TILE_ROWS,
    WHITE,
    Place,
    level_of,
    mean,
    n_levels,
    shrunk,
    tiles,
    view,
)

N_ROWS, N_FRAMES = 1100, 9000


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    """Scaled rows with structure along both axes."""
    rng = np.random.default_rng(0)
    slow = np.sin(np.arange(N_FRAMES) / 300 + np.arange(N_ROWS)[:, None] / 90)
    return np.clip(0.3 + 0.3 * slow + 0.2 * rng.standard_normal((N_ROWS, N_FRAMES)), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def made(matrix) -> dict[Place, np.ndarray]:
    blocks = (matrix[start : start + TILE_ROWS] for start in range(0, N_ROWS, TILE_ROWS))
    return dict(tiles(blocks, N_ROWS, N_FRAMES))


@pytest.fixture
def fetch(made):
    """Return tiles, and record which were requested."""

    def give(row_level, time_level, rows, columns):
        found = {Place(row_level, time_level, r, c): made[row_level, time_level, r, c] for r in rows for c in columns}
        give.asked.update(found)
        return found

    give.asked = set()
    return give


def reduced(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means of groups of rows and columns, by loops over the groups."""
    starts = [range(0, size, n) for size, n in zip(matrix.shape, (rows, columns), strict=True)]
    columns_done = np.stack([matrix[:, c : c + columns].mean(axis=1) for c in starts[1]], axis=1)
    return np.stack([columns_done[r : r + rows].mean(axis=0) for r in starts[0]])


@pytest.mark.slow
def test_every_resolution_is_the_mean_of_its_cells_and_frames(matrix, made):
    levels = {place[:2] for place in made}
    assert levels == {(a, b) for a in range(2) for b in range(2)}
    for a, b in levels:
        expected = reduced(matrix, FACTOR**a, FACTOR**b)
        found = np.full(expected.shape, -1.0)
        for place, tile in made.items():
            if place[:2] == (a, b):
                top, left = place.tile_row * TILE_ROWS, place.tile_column * TILE_COLUMNS
                found[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        tolerance = (STEP if a == b == 0 else 1) / 2 / WHITE
        # groups at the edge are smaller, and weighted by their size
        inner = (slice(0, N_ROWS // FACTOR**a), slice(0, N_FRAMES // FACTOR**b))
        np.testing.assert_allclose(found[inner] / WHITE, expected[inner], atol=tolerance + 1e-6)
        assert found.min() >= 0


def test_a_part_is_that_of_the_matrix(matrix, fetch):
    part = view(fetch, matrix.shape, (210.4, 640.2), (3000.7, 4800.1), (430, 1800))
    assert part.rows == (210, 641) and part.frames == (3000, 4801)
    np.testing.assert_allclose(part.values / WHITE, matrix[210:641, 3000:4801], atol=STEP / 2 / WHITE + 1e-6)
    assert {place[:2] for place in fetch.asked} == {(0, 0)}


def test_no_more_tiles_are_read_than_a_screen_needs(matrix, fetch):
    whole = view(fetch, matrix.shape, (0, N_ROWS), (0, N_FRAMES), (250, 800))
    assert {place[:2] for place in fetch.asked} == {(1, 1)}
    assert whole.rows == (0, N_ROWS) and whole.frames == (0, N_FRAMES)
    assert 250 <= whole.values.shape[0] < 500 and 800 <= whole.values.shape[1] < 1600
    group = -(-N_FRAMES // 4) // 800
    np.testing.assert_allclose(
        whole.values[:-1, :-1] / WHITE, reduced(matrix, 4, 4 * group)[:275][:-1, :-1], atol=1.01 / WHITE
    )
    # each axis has its own resolution
    fetch.asked.clear()
    view(fetch, matrix.shape, (0, N_ROWS), (0, 50), (250, 800))
    assert fetch.asked == {(1, 0, row, 0) for row in range(2)}


@pytest.mark.parametrize(
    ("rows", "frames"), [((-5, 0), (0, 10)), ((0, 10), (N_FRAMES, N_FRAMES + 5)), ((7, 7), (0, 1))]
)
def test_nothing_outside_is_shown(matrix, fetch, rows, frames):
    with pytest.raises(ValueError, match="is outside 0 to"):
        view(fetch, matrix.shape, rows, frames, (10, 10))


def test_what_lies_outside_is_left_out(matrix, fetch):
    part = view(fetch, matrix.shape, (-50, 20), (-1e9, 10), (100, 100))
    assert part.rows == (0, 20) and part.frames == (0, 10)
    assert part.values.shape == (20, 10)


@pytest.mark.parametrize(("size", "pixels"), [((700, 1201), (230, 400)), ((9, 7000), (9, 3)), ((3000, 500), (2, 600))])
def test_a_pixel_is_the_exact_mean_of_its_values_rounded_once(size, pixels):
    image = np.random.default_rng(3).integers(0, WHITE + 1, size).astype(np.uint8)
    image[: size[0] // 2] = WHITE  # the largest sums

    found = shrunk(image, pixels)

    steps = [max(n // of, 1) for n, of in zip(size, pixels, strict=True)]
    for row, column in np.ndindex(*found.shape):
        block = image[row * steps[0] : (row + 1) * steps[0], column * steps[1] : (column + 1) * steps[1]]
        assert abs(int(found[row, column]) - block.mean(dtype=np.float64)) <= 0.5 + 1e-4
    assert all(n >= min(of, whole) for n, of, whole in zip(found.shape, pixels, size, strict=True))


def test_mean_of_chosen_rows(matrix, fetch):
    rows = np.array([3, 255, 256, 900, 1099])
    found = mean(fetch, matrix.shape, rows, (100, 700), 500)
    assert found.frames == (100, 700)
    np.testing.assert_allclose(found.values[0], matrix[rows, 100:700].mean(axis=0), atol=STEP / 2 / WHITE)
    coarse = mean(fetch, matrix.shape, rows, (0, N_FRAMES), 600)
    assert coarse.values.shape == (1, N_FRAMES // 4)
    np.testing.assert_allclose(coarse.values[0], reduced(matrix[rows], 5, 4)[0], atol=1 / WHITE)


def test_mean_of_many_neighbours_reads_a_coarser_resolution(matrix, fetch):
    rows = np.arange(0, N_ROWS)
    found = mean(fetch, matrix.shape, rows, (0, 400), 400)
    assert {place[0] for place in fetch.asked} == {1}
    np.testing.assert_allclose(found.values[0], matrix[:, :400].mean(axis=0), atol=1 / WHITE)
    with pytest.raises(ValueError, match="at least one cell"):
        mean(fetch, matrix.shape, rows[:0], (0, 400), 400)


def test_levels_end_where_a_screen_has_more_pixels():
    assert n_levels(TILE_ROWS * FACTOR - FACTOR, TILE_ROWS) == 1
    assert n_levels(TILE_ROWS * FACTOR, TILE_ROWS) == 2
    assert [level_of(n, 1000, 3) for n in (999, 3999, 4000, 15_999, 16_000, 1e9)] == [0, 0, 1, 1, 2, 2]


def test_scaling_is_by_percentiles_and_survives_flat_and_silent_cells():
    rng = np.random.default_rng(1)
    traces = rng.gamma(2.0, size=(4, 1000)).astype(np.float32)
    traces[1] = 3
    traces[2] = 0
    traces[2, 5] = 7  # active in less than one per cent: both percentiles are zero
    traces[3, 10] = np.nan
    scaled = scale_rows(traces)
    low, high = np.percentile(traces[0], (20, 99))
    np.testing.assert_allclose(scaled[0], np.clip((traces[0] - low) / (high - low), 0, 1), atol=1e-6)
    assert not scaled[1].any()
    assert scaled[2].tolist() == [float(i == 5) for i in range(1000)]
    assert np.isnan(scaled[3, 10]) and np.isfinite(np.delete(scaled[3], 10)).all()
    low, high = np.nanpercentile(traces[3], (20, 99))
    np.testing.assert_allclose(
        np.delete(scaled[3], 10), np.clip((np.delete(traces[3], 10) - low) / (high - low), 0, 1), atol=1e-6
    )

"""A raster of any size as image tiles at several resolutions, and the part of it that fills a screen.

At resolution (a, b) a row is the mean of ``FACTOR**a`` neighbouring cells and a column the mean of ``FACTOR**b``
frames. The two axes are reduced independently, since users look at seconds of all cells as well as at an hour of a few.
Values go from 0 (the cell's 20th percentile) to ``WHITE`` (its 99th). At full resolution they are rounded to multiples
of ``STEP``: not visible in data this noisy, and half the space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from pipeline.errors import ArgumentError

#: Rows (or columns) of one resolution that are averaged into one of the next coarser resolution.
FACTOR = 4
#: Rows and columns of a tile; tiles at the lower and right edges have fewer.
TILE_ROWS, TILE_COLUMNS = 256, 4096
#: Resolutions with fewer rows or columns than this are not made: no screen is that small.
MIN_ROWS, MIN_COLUMNS = 256, 1024
#: Largest value of a pixel.
WHITE = 254
#: Values at full resolution are multiples of this.
STEP = 8


class Place(NamedTuple):
    """The place of a tile: its resolution, and its row and column among the tiles of that resolution."""

    row_level: int
    time_level: int
    tile_row: int
    tile_column: int


class View(NamedTuple):
    """Part of a raster.

    Attributes
    ----------
    values : (R, C) uint8
        0 to ``WHITE``.
    rows, frames : (float, float)
        First and last edge of the part: in cells, as ordered in the raster, and in frames.
    """

    values: np.ndarray
    rows: tuple[float, float]
    frames: tuple[float, float]


def n_levels(size: int, fewest: int) -> int:
    """Return the number of resolutions along an axis.

    Examples
    --------
    >>> n_levels(25_000, MIN_ROWS), n_levels(20_000, MIN_COLUMNS), n_levels(5, MIN_ROWS)
    (4, 3, 1)
    """
    levels = 1
    # -(-a // b) rounds up: an incomplete last group is a row, too
    while -(-size // FACTOR**levels) >= fewest:
        levels += 1
    return levels


def tiles(blocks: Iterable[np.ndarray], n_rows: int, n_frames: int) -> Iterator[tuple[Place, np.ndarray]]:
    """Yield the tiles of a raster at all resolutions.

    Parameters
    ----------
    blocks : iterable of (TILE_ROWS, n_frames) float32
        Rows in order, scaled to 0..1; the last block may have fewer.
    n_rows, n_frames : int
        Size of the raster.

    Yields
    ------
    Place
    (<= TILE_ROWS, <= TILE_COLUMNS) uint8

    Examples
    --------
    >>> found = dict(tiles([np.eye(2, dtype=np.float32)], 2, 2))
    >>> found[Place(0, 0, 0, 0)].tolist()
    [[254, 0], [0, 254]]
    """
    row_levels, time_levels = n_levels(n_rows, MIN_ROWS), n_levels(n_frames, MIN_COLUMNS)
    waiting: list[list[np.ndarray]] = [[] for _ in range(row_levels)]
    n_done = [0] * row_levels

    def take(level: int, block: np.ndarray) -> Iterator[tuple[Place, np.ndarray]]:
        """Yield the tiles of one tile row; its reduced rows wait until they fill a tile row of the next level."""
        image = block
        for time_level in range(time_levels):
            if time_level:
                image = means(image, axis=1)
            values = _quantized(image, STEP if level == time_level == 0 else 1)
            for column, start in enumerate(range(0, values.shape[1], TILE_COLUMNS)):
                place = Place(level, time_level, n_done[level], column)
                yield place, np.ascontiguousarray(values[:, start : start + TILE_COLUMNS])
        n_done[level] += 1
        # a tile row gives TILE_ROWS / FACTOR rows of the next level, so the buffers hold at most one tile row each
        if level + 1 < row_levels:
            waiting[level + 1].append(means(block, axis=0))
            if sum(map(len, waiting[level + 1])) == TILE_ROWS:
                yield from flush(level + 1)

    def flush(level: int) -> Iterator[tuple[Place, np.ndarray]]:
        if waiting[level]:
            block = np.concatenate(waiting[level])
            waiting[level].clear()
            yield from take(level, block)

    for block in blocks:
        yield from take(0, block)
    # finest first: the last rows of a level are also the last rows of the next
    for level in range(1, row_levels):
        yield from flush(level)


def _quantized(image: np.ndarray, step: int) -> np.ndarray:
    """Return an image of 0..1 as uint8 from 0 to WHITE, in multiples of ``step``."""
    quantized: np.ndarray = np.minimum(np.rint(image * (WHITE / step)) * step, WHITE).astype(np.uint8)
    return quantized


def means(values: np.ndarray, axis: int, n: int = FACTOR) -> np.ndarray:
    """Return the mean of every `n` neighbours along an axis of a matrix; the last mean may be of fewer.

    Examples
    --------
    >>> means(np.array([[1.0, 3.0, 5.0]]), axis=1, n=2).tolist()
    [[2.0, 5.0]]
    """
    sums = _sums(values, axis, n, values.dtype)
    sizes = _group_sizes(values.shape[axis], n).astype(sums.dtype)
    found: np.ndarray = sums / (sizes if axis else sizes[:, np.newaxis])
    return found


def _sums(values: np.ndarray, axis: int, n: int, kind: DTypeLike) -> np.ndarray:
    """Return the sum of every `n` neighbours along an axis of a matrix, as `kind`; the last sum may be of fewer."""

    def every(first: int) -> np.ndarray:
        return values[first::n] if axis == 0 else values[:, first::n]

    # several times as fast as np.add.reduceat, which casts value by value
    total = every(0).astype(kind)
    for first in range(1, min(n, values.shape[axis])):
        part = every(first)
        total[tuple(map(slice, part.shape))] += part
    return total


def _group_sizes(size: int, n: int) -> np.ndarray:
    """Return how many of `size` values each sum of `n` neighbours has, float32."""
    sizes = np.full(-(-size // n), n, np.float32)
    sizes[-1] = size - n * (len(sizes) - 1)
    return sizes


def shrunk(image: np.ndarray, pixels: tuple[int, int]) -> np.ndarray:
    """Return an image as means of neighbours, with at least as many rows and columns as a screen has, or all it has.

    Parameters
    ----------
    image : (R, C) uint8
    pixels : (int, int)
        Height and width of the screen.

    Returns
    -------
    (>= height, >= width) uint8
        Rounded once, from exact sums.

    Examples
    --------
    >>> shrunk(np.array([[0, 2, 9], [4, 6, 9]], np.uint8), (1, 1)).tolist()
    [[5]]
    >>> shrunk(np.array([[0, 2, 9], [4, 6, 9]], np.uint8), (2, 1)).tolist()
    [[4], [6]]
    """
    # rounded down, so that there are at least as many means as pixels
    groups = [max(size // n, 1) for size, n in zip(image.shape, pixels, strict=True)]
    if groups == [1, 1]:
        return image
    # whole numbers up to the single division: 257 * 255 is the largest sum that 16 bits hold
    kind = np.uint16 if np.prod(groups) <= 257 else np.uint32
    sums = image
    for axis, n in enumerate(groups):
        if n > 1:
            sums = _sums(sums, axis, n, kind)
    down, along = (_group_sizes(size, n) for size, n in zip(image.shape, groups, strict=True))
    values: np.ndarray = np.rint(sums / (down[:, np.newaxis] * along)).astype(np.uint8)
    return values


def level_of(n_shown: float, pixels: int, levels: int) -> int:
    """Return the coarsest resolution at which part of an axis still has a row (or column) for each pixel.

    Examples
    --------
    >>> level_of(20_000, 1200, 3), level_of(1000, 1200, 3)
    (2, 0)
    """
    level = 0
    # never fewer rows than pixels: what is too fine is averaged for the screen, what is too coarse cannot be undone
    while level + 1 < levels and n_shown / FACTOR ** (level + 1) >= pixels:
        level += 1
    return level


class _Cut(NamedTuple):
    """Part of an axis at one resolution: the rows (or columns) from `first` up to, but without, `last`.

    Attributes
    ----------
    level, first, last : int
    tile : int
        Rows (or columns) of a tile.
    size : int
        Cells (or frames) of the whole axis.
    """

    level: int
    first: int
    last: int
    tile: int
    size: int

    @property
    def tiles(self) -> range:
        """The tiles that the part lies in."""
        return range(self.first // self.tile, -(-self.last // self.tile))

    @property
    def window(self) -> slice:
        """The part's place in these tiles, put side by side."""
        start = self.tiles.start * self.tile
        return slice(self.first - start, self.last - start)

    def part(self, tile: int) -> tuple[slice, slice]:
        """Return where the overlap with a tile is: in the part, and in the tile."""
        start = tile * self.tile
        first, last = max(self.first, start), min(self.last, start + self.tile)
        return slice(first - self.first, last - self.first), slice(first - start, last - start)

    @property
    def edges(self) -> tuple[float, float]:
        """First and last edge, in cells (or frames)."""
        step = FACTOR**self.level
        return float(self.first * step), float(min(self.last * step, self.size))


def _cut(asked: tuple[float, float], size: int, pixels: int, fewest: int, tile: int) -> _Cut:
    first, last = max(float(asked[0]), 0.0), min(float(asked[1]), float(size))
    if not first < last:
        raise ArgumentError(f"{asked[0]:g} to {asked[1]:g} is outside 0 to {size}")
    if pixels < 1:
        raise ArgumentError(f"a screen must have at least one pixel, not {pixels}")
    level = level_of(last - first, pixels, n_levels(size, fewest))
    step = FACTOR**level
    return _Cut(level, int(first // step), int(-(-last // step)), tile, size)


#: A function of (row level, time level, tile rows, tile columns) that returns these tiles.
Fetch = Callable[[int, int, range, range], dict[Place, np.ndarray]]


def view(
    fetch: Fetch,
    shape: tuple[int, int],
    rows: tuple[float, float],
    frames: tuple[float, float],
    pixels: tuple[int, int],
) -> View:
    """Return part of a raster at about the resolution of a screen, and not coarser, unless the raster is.

    Parameters
    ----------
    fetch : callable
        See ``Fetch``.
    shape : (int, int)
        Cells and frames of the raster.
    rows, frames : (float, float)
        First and last edge of the part; what is outside the raster is left out.
    pixels : (int, int)
        Height and width of the screen.

    Raises
    ------
    ArgumentError
        The part is outside the raster, or the screen has no pixel.
    """
    down, along = _cuts(shape, rows, frames, pixels)
    values = shrunk(_joined(fetch(down.level, along.level, down.tiles, along.tiles), down, along), pixels)
    return View(values, down.edges, along.edges)


def needed(
    shape: tuple[int, int], rows: tuple[float, float], frames: tuple[float, float], pixels: tuple[int, int]
) -> tuple[int, int, range, range]:
    """Return what ``view`` of the same part fetches: resolution (a, b), tile rows and tile columns.

    Raises
    ------
    ArgumentError
        As ``view``.

    Examples
    --------
    >>> needed((25_000, 20_000), (0, 25_000), (0, 20_000), (600, 1200))
    (2, 2, range(0, 7), range(0, 1))
    """
    down, along = _cuts(shape, rows, frames, pixels)
    return down.level, along.level, down.tiles, along.tiles


def _cuts(
    shape: tuple[int, int], rows: tuple[float, float], frames: tuple[float, float], pixels: tuple[int, int]
) -> tuple[_Cut, _Cut]:
    return (
        _cut(rows, shape[0], pixels[0], MIN_ROWS, TILE_ROWS),
        _cut(frames, shape[1], pixels[1], MIN_COLUMNS, TILE_COLUMNS),
    )


def _joined(found: dict[Place, np.ndarray], down: _Cut, along: _Cut) -> np.ndarray:
    """Return a part of a raster, (rows, columns) uint8, put together from its tiles."""
    image = np.empty((down.last - down.first, along.last - along.first), np.uint8)
    for tile_row in down.tiles:
        for tile_column in along.tiles:
            tile = found[Place(down.level, along.level, tile_row, tile_column)]
            (to_rows, of_rows), (to_columns, of_columns) = down.part(tile_row), along.part(tile_column)
            image[to_rows, to_columns] = tile[of_rows, of_columns]
    return image


#: The mean over more neighbouring cells than this is computed from a coarser resolution, which reads fewer tiles.
MAX_EXACT_ROWS = 1024


def mean(fetch: Fetch, shape: tuple[int, int], rows: np.ndarray, frames: tuple[float, float], width: int) -> View:
    """Return the mean over some rows of a raster.

    Parameters
    ----------
    fetch, shape, frames
        As for ``view``.
    rows : (n,) int
        Increasing. With more than ``MAX_EXACT_ROWS`` neighbours the first and the last are rounded to rows of a coarser
        resolution.
    width : int
        Pixels along time.

    Returns
    -------
    View
        values (1, C) float32, 0 to 1.

    Raises
    ------
    ArgumentError
        There is no row, or the frames are outside the raster.
    """
    if not len(rows):
        raise ArgumentError("a mean needs at least one cell")
    along = _cut(frames, shape[1], width, MIN_COLUMNS, TILE_COLUMNS)
    level = 0
    if len(rows) > MAX_EXACT_ROWS and rows[-1] - rows[0] + 1 == len(rows):
        # at least a quarter of MAX_EXACT_ROWS are left to average, so that rounding the ends matters little
        level = level_of(len(rows), MAX_EXACT_ROWS // FACTOR, n_levels(shape[0], MIN_ROWS))
    chosen = np.unique(rows // FACTOR**level)
    total = np.zeros(along.last - along.first)
    for tile_row in np.unique(chosen // TILE_ROWS).tolist():  # one tile row at a time bounds the memory
        found = fetch(level, along.level, range(tile_row, tile_row + 1), along.tiles)
        own = chosen[chosen // TILE_ROWS == tile_row] % TILE_ROWS
        parts = [found[Place(level, along.level, tile_row, c)][own].sum(axis=0, dtype=np.int64) for c in along.tiles]
        total += np.concatenate(parts)[along.window]
    values = (total / (len(chosen) * WHITE)).astype(np.float32)[None]
    return View(values, (float(rows[0]), float(rows[-1] + 1)), along.edges)

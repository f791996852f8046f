"""Outlines of the regions in an image of labels, with few corners; regions that touch keep one common border."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy

#: Steps along the sides of a pixel, as (row, column): along its top to the right, down, to the left, and up again.
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
#: Corner of a pixel at which the step in each of these directions begins, from its upper left corner.
STARTS = ((0, 0), (0, 1), (1, 1), (1, 0))

#: The corners of a straight line that is drawn in pixels are in a band of this width, pixels: a diagonal at most. A
#: border that may be moved by it has no steps.
STAIR = 1.42

Corner = tuple[int, int]


@dataclass(frozen=True)
class Outline:
    """Outline of a region, and the place in it for its name.

    Attributes
    ----------
    polygons : list of (n, 2) float64
        Corners, without the first one again at the end. A polygon within another is a hole in it.
    place : (2,) float64
        The point within the region that is farthest from its border.
    room : float
        Distance of that point from the border.
    """

    polygons: list[np.ndarray]
    place: np.ndarray
    room: float


def junctions(labels: np.ndarray) -> np.ndarray:
    """Return the corners of pixels where three or more regions meet, or one meets itself.

    Parameters
    ----------
    labels : (R, C) int

    Returns
    -------
    (R + 1, C + 1) bool
    """
    padded = np.pad(labels, 1)
    around = [padded[:-1, :-1], padded[:-1, 1:], padded[1:, 1:], padded[1:, :-1]]
    changes = sum((one != after).astype(int) for one, after in zip(around, [*around[1:], around[0]], strict=True))
    return np.asarray(changes) >= 3


def outline(inside: np.ndarray, fixed: np.ndarray, *, tolerance: float = STAIR, least: float = 0.0) -> Outline | None:
    """Return the outline of a region of an image.

    The border is cut at the fixed corners, and each piece is simplified by itself (Douglas and Peucker 1973), so that
    two regions have the same corners along their common border.

    Parameters
    ----------
    inside : (R, C) bool
        Pixels of the region.
    fixed : (R + 1, C + 1) bool
        Corners of pixels that stay: see ``junctions``.
    tolerance : float
        Most that the border is moved by, pixels.
    least : float
        Polygons with a smaller area are left out, pixels.

    Returns
    -------
    Outline or None
        In rows and columns, (0, 0) being the upper left corner of the image; None if nothing is left.
    """
    rings = [_simplified(ring, fixed, tolerance) for ring in _rings(inside) if _area(ring) >= least]
    polygons = [ring.astype(float) for ring in rings if len(ring) > 2]
    if not polygons:
        return None
    depth = scipy.ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    place = np.unravel_index(np.argmax(depth), depth.shape)
    return Outline(polygons, np.array(place) + 0.5, float(depth.max()) - 0.5)


def _rings(inside: np.ndarray) -> Iterator[list[Corner]]:
    """Yield the closed paths along the sides of pixels around a region, clockwise, and around its holes.

    Pixels that touch at a corner only are in paths of their own.
    """
    padded = np.pad(inside, 1)
    sides: set[tuple[int, int, int]] = set()
    for direction, (down, right) in enumerate(STARTS):
        # a side is part of the border if the pixel on its other side, to the left of the step, is not in the region
        beyond = np.roll(padded, [-step for step in STEPS[direction - 1]], axis=(0, 1))
        rows, columns = np.nonzero((padded & ~beyond)[1:-1, 1:-1])
        sides.update((row + down, column + right, direction)
                     for row, column in zip(rows.tolist(), columns.tolist(), strict=True))  # fmt: skip
    while sides:
        row, column, direction = side = min(sides)
        ring: list[Corner] = []
        while side in sides:
            sides.remove(side)
            ring.append((row, column))
            row, column = row + STEPS[direction][0], column + STEPS[direction][1]
            # to the right first: this stays with the pixel where two touch at a corner
            turns = [(row, column, (direction + turn) % 4) for turn in (1, 0, 3)]
            side = next((one for one in turns if one in sides), turns[0])
            direction = side[2]
        yield ring


def _simplified(ring: list[Corner], fixed: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the corners of a closed path that are left, (n, 2) int."""
    cuts = [number for number, corner in enumerate(ring) if fixed[corner]] or [ring.index(min(ring))]
    ring = [*ring[cuts[0] :], *ring[: cuts[0]], ring[cuts[0]]]
    ends = [*(cut - cuts[0] for cut in cuts), len(ring) - 1]
    pieces = [_piece(ring[first : last + 1], tolerance)[:-1] for first, last in pairwise(ends)]
    return np.concatenate(pieces)


def _piece(path: list[Corner], tolerance: float) -> np.ndarray:
    """Return the corners of a path that are left, the same in whichever direction it is walked."""
    is_turned = path[::-1] < path
    points = np.array(path[::-1] if is_turned else path)
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    todo = [(0, len(points) - 1)]
    while todo:
        first, last = todo.pop()
        if last - first < 2:
            continue
        far = _distances(points[first + 1 : last], points[first], points[last])
        middle = first + 1 + int(np.argmax(far))
        if far.max() > tolerance:
            keep[middle] = True
            todo += [(first, middle), (middle, last)]
    kept = points[keep]
    return kept[::-1] if is_turned else kept


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the distance of each point from a line between two others, (n,)."""
    along = end - start
    share = np.clip((points - start) @ along / max(along @ along, 1), 0, 1)
    found: np.ndarray = np.linalg.norm(points - start - share[:, None] * along, axis=1)
    return found


def _area(ring: list[Corner]) -> float:
    """Return the area of a polygon (shoelace formula)."""
    rows, columns = np.array(ring).T
    return abs(float(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1))) / 2

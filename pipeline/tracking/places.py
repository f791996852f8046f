"""Whether days have the cells that they share at the same places of the image; UIDs on other lines have not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from pipeline.reading.fov import explained_by_plane

#: Two files are compared by so many of the cells that they share, at most: those that most files have.
MAX_COMPARED = 96
#: ... and at least; so much of the variance of the places of one day a plane over those of the other must explain, of
#: all these cells or else of the part of them that fits best. A FOV lies otherwise on each day, by a shift, a turn, a
#: stretch and a smooth warp: of days that match a fifth of the cells at random, a plane explains .97 or more in each of
#: 600 simulations with 20 cells, and .7 or more if both days do. Of 20 cells in a random order it explains .7 with a
#: chance of 1 in 150, and of 30 in none of 600. Of a file with 6 of 10 lines in another order it explains .7 in
#: half of them.
MIN_COMPARED, MIN_EXPLAINED, BEST_PART = 20, 0.7, 0.7
#: Times that the best part is chosen anew by the plane that fits the former one.
N_ROUNDS = 6

#: A place in the image: y, x.
Place = tuple[int, int]


@dataclass(frozen=True)
class Verdict:
    """What the places of the shared cells say of a file.

    Attributes
    ----------
    explained : dict of int to float
        By number of each file that it was compared with, the share of the variance of the places that a plane explains.
    is_outvoted : bool
        It contradicts a file that agrees with as many files as it does, or more: the UIDs of one, or of both, are on
        wrong lines.
    """

    explained: dict[int, float]
    is_outvoted: bool

    @property
    def contradicts(self) -> list[int]:
        """The files that have the shared cells at other places."""
        return [other for other, explained in self.explained.items() if explained < MIN_EXPLAINED]

    @property
    def is_confirmed(self) -> bool:
        """Whether another file has the shared cells at the same places, and none that counts more at others."""
        return not self.is_outvoted and len(self.contradicts) < len(self.explained)


def cells_to_compare(files: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """Return up to ``MAX_COMPARED`` of the cells of each file, the same ones as far as possible.

    Parameters
    ----------
    files : sequence of mapping of str to int
        The line of each UID of a file.
    """
    n_files = Counter(uid for lines in files for uid in lines)
    common = sorted((uid for uid, n in n_files.items() if n > 1), key=lambda uid: (-n_files[uid], uid))
    return [{uid: lines[uid] for uid in islice((uid for uid in common if uid in lines), MAX_COMPARED)}
            for lines in files]  # fmt: skip


def compare_places(files: Sequence[Mapping[str, Place]]) -> list[Verdict]:
    """Compare the places of the cells that files share, each with each.

    Parameters
    ----------
    files : sequence of mapping of str to (int, int)
        The place of each cell of ``cells_to_compare``; empty for a file that is not to be compared.
    """
    explained = {pair: share for pair in combinations(range(len(files)), 2)
                 if (share := _explained(*(files[i] for i in pair))) is not None}  # fmt: skip
    by_file: list[dict[int, float]] = [{} for _ in files]
    for (i, j), share in explained.items():
        by_file[i][j] = by_file[j][i] = share
    n_agree = [sum(share >= MIN_EXPLAINED for share in shares.values()) for shares in by_file]
    return [
        Verdict(shares, any(n_agree[j] >= n_agree[i] for j, share in shares.items() if share < MIN_EXPLAINED))
        for i, shares in enumerate(by_file)
    ]


def _explained(one: Mapping[str, Place], other: Mapping[str, Place]) -> float | None:
    """Return the share of the variance of the places in one file that those in the other explain; None of few cells."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) < MIN_COMPARED:
        return None
    image, places = (np.array([file[uid] for uid in shared], float) for file in (one, other))
    whole = explained_by_plane(image, places)
    if whole is None or whole >= MIN_EXPLAINED:
        return whole
    best = _best_part(image, places)
    return explained_by_plane(image[best], places[best])


def _best_part(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the numbers of the cells whose places (N, 2) a plane over the image (N, 2) explains best.

    Least trimmed squares: Rousseeuw 1984.
    """
    image, best = np.column_stack([np.ones(len(image)), image]), np.arange(len(image))
    for _ in range(N_ROUNDS):
        plane = np.linalg.lstsq(image[best], places[best], rcond=None)[0]
        best = np.argsort(((places - image @ plane) ** 2).sum(axis=1))[: round(BEST_PART * len(image))]
    return best

"""How many of the cells carry the signal: what of the code does not move with its noise.

k* and k_half follow from the cells' signals and from the noise that they share, from how strong both are, and from
scores that end at 1. This number follows from how the signal is spread over the cells.
"""

from __future__ import annotations

import numpy as np

#: Draws of parts of the trials that are averaged.
N_DRAWS = 40
#: Parts of the trials of a class: the fourth power of a difference needs as many independent estimates.
N_PARTS = 4
#: Change of log2 over the days, along their line, that a change of the code has at least. Noise along the signal moves
#: it by 0.3, as cells of more signal then have more noise, and a change over eight days is known to 0.1 to 0.4.
FOUND_OCTAVES = 0.7
#: Cells computed at a time, to bound the memory.
CHUNK = 4096


def code_spread(X: np.ndarray, y: np.ndarray, seed: int = 0) -> float:
    """Return the share of the cells that carry the signal: 1 if all do alike, 1/N if one of N does.

    It is the sparseness of Treves & Rolls 1991 (Network 2:371) of the squared d' of single cells, the square of their
    mean over the mean of their squares. Both means are of products of differences between the classes that come from
    different trials, so that neither noise nor the number of trials makes a cell of no signal one of some. A factor
    that all d' have in common cancels: it does not move with the size of the signal, nor with noise of all cells.

    Parameters
    ----------
    X : (n, N) float
        Activity of each trial and cell.
    y : (n,)
        Class of each trial, 0 or 1.
    seed : int
        Of the draws of trials.

    Returns
    -------
    float
        NaN where it is not known: fewer than 4 trials of a class, or no signal above the noise. By chance it may be
        above 1.

    Examples
    --------
    >>> rng, y = np.random.default_rng(0), np.repeat([0, 1], 100)
    >>> few, all_cells = np.arange(100) < 10, np.ones(100, dtype=bool)
    >>> [round(code_spread(np.outer(y, cells) + rng.normal(size=(200, 100)), y), 1) for cells in (few, all_cells)]
    [0.1, 1.0]
    """
    classes = [np.flatnonzero(y == one) for one in (1, 0)]
    if min(map(len, classes)) < N_PARTS:
        return np.nan
    weights = _weights(classes, len(y), np.random.default_rng(seed))
    second = fourth = 0.0
    for first in range(0, X.shape[1], CHUNK):
        cells = np.asarray(X[:, first : first + CHUNK], dtype=np.float64)
        means = [cells[trials].mean(axis=0) for trials in classes]
        squares = sum(((cells[trials] - mean) ** 2).sum(axis=0) for trials, mean in zip(classes, means, strict=True))
        sizes = np.sqrt(squares / len(y))
        differences = (weights @ (cells - means[1])).reshape(N_DRAWS, N_PARTS, -1)
        np.divide(differences, sizes, out=differences, where=sizes > 0)
        differences[..., sizes == 0] = 0  # a cell that is silent
        # of all pairs of different parts
        sums = differences.sum(axis=1)
        second += float((sums**2 - (differences**2).sum(axis=1)).sum()) / (N_PARTS * (N_PARTS - 1))
        fourth += float(differences.prod(axis=1).sum())
    if second <= 0 or fourth <= 0:
        return np.nan
    return float(second**2 / (N_DRAWS * fourth) / X.shape[1])


def _weights(classes: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """Return weights (draws x parts, n) by which trials give the difference between the classes in each part."""
    weights = np.zeros((N_DRAWS, N_PARTS, n))
    for trials, sign in zip(classes, (1, -1), strict=True):
        for draw in weights:
            shuffled = rng.permutation(trials)
            for i, part in enumerate(draw):
                part[shuffled[i::N_PARTS]] = sign / len(shuffled[i::N_PARTS])
    return weights.reshape(-1, n)

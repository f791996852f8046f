"""Simulated days of one mouse whose code is known: tests and ``benchmarks/statistics.py`` share them.

Activity is Gaussian with noise of variance 1 in each cell, so that the best readout of a day has the direction of its
code, and a readout in another direction the share of d' that is the cosine between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.decoding.transfer import Day

#: What the code does over days, and what is then true.
CODES = {
    "fixed": "the same direction on all days",
    "fixed, signal varies": "the same direction; d' varies from day to day",
    "rotating": "turns by 6 degrees a day in a plane",
    "scattered": "each day in a direction of its own about the same one, whatever the gap",
    "noise": "no information on any day",
}
N_CELLS = 40
D_PRIME = 2.0
DEGREES_PER_DAY = 6.0


def codes(code: str, gone: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return the difference of the class means of each day, (days, cells) float64."""
    stays, turns = rng.normal(size=(2, N_CELLS)) / np.sqrt(N_CELLS)
    gone = np.asarray(gone, dtype=float)
    size = np.full(len(gone), D_PRIME)
    angles = np.zeros(len(gone))
    if code == "noise":
        size[:] = 0.0
    elif code == "fixed, signal varies":
        size = D_PRIME * rng.uniform(0.6, 1.4, len(gone))
    elif code == "rotating":
        angles = np.radians(DEGREES_PER_DAY * gone)
    directions = np.cos(angles)[:, None] * stays + np.sin(angles)[:, None] * turns
    if code == "scattered":
        directions = directions + 0.5 * rng.normal(size=directions.shape) / np.sqrt(N_CELLS)
    return size[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def days(
    code: str, gone: Sequence[int], rng: np.random.Generator, *, n_trials: int = 120, n_null: int = 0
) -> list[Day]:  # fmt: skip
    """Return the days of a mouse: ``gone`` are days since the first; null labels are permuted."""
    found = []
    for direction in codes(code, gone, rng):
        y = rng.permutation(np.repeat([0, 1], n_trials // 2)).astype(np.int8)
        # units and means differ from cell to cell and from day to day, as those of fluorescence do
        gain, baseline = rng.uniform(0.5, 2, N_CELLS), rng.uniform(0, 5, N_CELLS)
        X = gain * ((y[:, None] - 0.5) * direction + rng.normal(size=(n_trials, N_CELLS))) + baseline
        null = np.array([rng.permutation(y) for _ in range(n_null)]).reshape(-1, n_trials) if n_null else None
        found.append(Day(X, y, null=null))
    return found

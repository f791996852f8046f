"""The same cells on several days with planted groups, and the closed measure of how well an order finds them."""

from __future__ import annotations

import numpy as np


def planted_traces(groups: np.ndarray, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return activity, (N, n_frames): cells of a group follow a signal of its own, half of their variance is noise."""
    signals = rng.normal(size=(groups.max() + 1, n_frames))
    return signals[groups] + rng.normal(size=(len(groups), n_frames))


def planted_means(
    groups: np.ndarray, size: float, rng: np.random.Generator, n_windows: int = 26
) -> tuple[np.ndarray, np.ndarray]:
    """Return even and odd means of a day, (windows, N) each: cells of a group respond alike, the same on every day."""
    code = np.random.default_rng(99).normal(size=(n_windows, groups.max() + 1))[:, groups]
    even, odd = (size * code + rng.normal(size=code.shape) for _ in range(2))
    return even, odd


def adjacent_share(sorted_groups: np.ndarray) -> float:
    """Return the share of neighbours in an order that are of the same group."""
    return float(np.mean(sorted_groups[1:] == sorted_groups[:-1]))


def perfect_share(groups: np.ndarray) -> float:
    """Return the share if each group is together: one pair less for each group but the first."""
    return (len(groups) - len(np.unique(groups))) / (len(groups) - 1)


def chance_share(groups: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of the share in a random order.

    Two neighbours are a random pair of cells; the standard deviation takes pairs for independent ones.
    """
    sizes, n = np.bincount(groups), len(groups)
    p = float((sizes * (sizes - 1)).sum() / (n * (n - 1)))
    return p, float(np.sqrt(p * (1 - p) / (n - 1)))

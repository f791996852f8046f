"""Which trials are decoded, and their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from pipeline.errors import ArgumentError, DataError


def target_labels(target: str, trials: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the class of every trial.

    ==========  ==========================  ==========================  ======================
    target      1                           0                           neither
    ==========  ==========================  ==========================  ======================
    choice      left (ALF choice +1)        right (-1)                  no-go
    feedback    rewarded (+1)               error (-1)                  0
    stimulus    contrast on the right only  contrast on the left only   zero contrast, both
    block       probabilityLeft 0.8         0.2                         0.5
    ==========  ==========================  ==========================  ======================

    Parameters
    ----------
    target : str
    trials : mapping of ALF attribute to (n,) float64

    Returns
    -------
    (n,) float64
        1, 0, or NaN for a trial of neither class.
    """
    if target == "choice":
        return _two_classes(trials["choice"] == 1, trials["choice"] == -1)
    if target == "feedback":
        return _two_classes(trials["feedbackType"] == 1, trials["feedbackType"] == -1)
    if target == "stimulus":
        left = np.nan_to_num(trials["contrastLeft"]) > 0
        right = np.nan_to_num(trials["contrastRight"]) > 0
        return _two_classes(right & ~left, left & ~right)
    if target == "block":
        return _two_classes(np.isclose(trials["probabilityLeft"], 0.8), np.isclose(trials["probabilityLeft"], 0.2))
    raise ArgumentError(f"target is choice, feedback, stimulus or block, not {target!r}")


def _two_classes(one: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return np.where(one, 1.0, np.where(zero, 0.0, np.nan))


def balanced_counts(y: np.ndarray, class_balance: str) -> tuple[int, int]:
    """Return how many trials of class 0 and 1 a session can give.

    Parameters
    ----------
    y : (n,) 0 or 1
    class_balance : {'downsample', 'weights', 'none'}
        'downsample' gives both classes the number of the smaller one.
    """
    counts = int(np.sum(y == 0)), int(np.sum(y == 1))
    return (min(counts), min(counts)) if class_balance == "downsample" else counts


def pick_trials(y: np.ndarray, class_balance: str, n_total: int | None, seed: int, *names: str) -> np.ndarray:
    """Pick the trials to decode, in trial order.

    Parameters
    ----------
    y : (n,) 0 or 1
        Trials with another label, such as -1, are dropped as if to balance.
    class_balance : {'downsample', 'weights', 'none'}
    n_total : int, optional
        Trials to pick (the poorest session's number), the classes in their proportion after
        balancing; None for all.
    seed : int
    *names : str
        What the draw is for (session, target): each has a sequence of its own.

    Returns
    -------
    (m,) str
        'kept', 'balance' (dropped to balance the classes) or 'equalize' (dropped to equalise
        trial counts) for each trial.

    Raises
    ------
    DataError
        A class is empty.
    """
    counts = balanced_counts(y, class_balance)
    if min(counts) == 0:
        raise DataError(
            "all usable trials are of one class",
            expected="trials of both classes",
            found=f"{np.sum(y == 0)} of class 0, {np.sum(y == 1)} of class 1",
        )
    rng = np.random.default_rng(seed_sequence(seed, *names))
    fate = np.full(len(y), "balance", dtype="U8")
    for label, count, target in zip((0, 1), counts, _shares(counts, n_total), strict=True):
        order = rng.permutation(np.flatnonzero(y == label))
        fate[order[:count]] = "equalize"
        fate[order[:target]] = "kept"
    return fate


def balanced_labels(labels: np.ndarray, class_balance: str, n_total: int | None, seed: int, *names: str) -> np.ndarray:
    """Drop trials of each of many label vectors, as ``pick_trials`` does for one.

    Parameters
    ----------
    labels : (S, n) int8
        1, 0, or -1 for a trial that is left out.
    class_balance, n_total, seed, *names
        As for ``pick_trials``; each vector has a draw of its own, that does not depend on how many there are.

    Returns
    -------
    (S, n) int8
        With -1 for the trials that are dropped as well.

    Raises
    ------
    DataError
        A class is empty in one of them.
    """
    kept = [
        pick_trials(y, class_balance, n_total, seed, *names, f"shuffle {s}") == "kept" for s, y in enumerate(labels)
    ]
    return np.where(np.reshape(kept, labels.shape), labels, -1).astype(np.int8)


def _shares(counts: tuple[int, int], n_total: int | None) -> tuple[int, int]:
    """Split n_total in the proportion of counts, at least one each."""
    if n_total is None or n_total >= sum(counts):
        return counts
    ones = min(max(round(n_total * counts[1] / sum(counts)), 1), counts[1], n_total - 1)
    return min(n_total - ones, counts[0]), ones


def seed_sequence(seed: int, *names: str) -> np.random.SeedSequence:
    """Return the seed sequence of (seed, names): the same on every machine, independent between names."""
    words = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    return np.random.SeedSequence([seed, *words])

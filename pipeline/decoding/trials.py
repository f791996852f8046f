"""Which trials are decoded, and their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from pipeline.errors import ArgumentError, DataError


def target_labels(target: str, trials: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the class of every trial for a target.

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
        # isclose, because files hold floats
        return _two_classes(np.isclose(trials["probabilityLeft"], 0.8), np.isclose(trials["probabilityLeft"], 0.2))
    raise ArgumentError(f"target must be choice, feedback, stimulus or block, not {target!r}")


def _two_classes(one: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Return 1, 0 or NaN from two (n,) bool, (n,) float64."""
    return np.where(one, 1.0, np.where(zero, 0.0, np.nan))


def labelled(y: np.ndarray) -> np.ndarray:
    """Return which trials have a label, bool of the shape of y: a class (integers: not -1), or a number (not NaN)."""
    known: np.ndarray = np.isfinite(y) if y.dtype.kind == "f" else y >= 0
    return known


def balanced_counts(y: np.ndarray, class_balance: str) -> tuple[int, int]:
    """Return how many trials of class 0 and of class 1 a session has after balancing.

    Parameters
    ----------
    y : (n,) 0 or 1
    class_balance : {'downsample', 'weights', 'none'}
        'downsample' reduces the larger class to the size of the smaller one; the others keep all trials.
    """
    counts = int(np.sum(y == 0)), int(np.sum(y == 1))
    return (min(counts), min(counts)) if class_balance == "downsample" else counts


def pick_trials(
    y: np.ndarray, class_balance: str, n_total: int | None, seed: int, *names: str, numbers: bool = False
) -> np.ndarray:
    """Return which trials are decoded, and why the others are not.

    Parameters
    ----------
    y : (n,) 0 or 1, or float64 numbers
        Trials with another label, such as -1, are dropped and counted as 'balance'; so are those whose number is NaN.
    class_balance : {'downsample', 'weights', 'none'}
    n_total : int, optional
        Trials to keep (the number of the session with the fewest), class proportions after balancing kept; None for
        all.
    seed : int
    *names : str
        What the draw is for (session, target): different names have independent draws.
    numbers : bool
        The labels are numbers, which have no classes to balance.

    Returns
    -------
    (m,) str
        For each trial 'kept', 'balance' (dropped to balance the classes) or 'equalize' (dropped to have as many
        trials in every session).

    Raises
    ------
    DataError
        A class is empty.
    """
    if numbers:
        return _equalized(y, n_total, seed, *names)
    counts = balanced_counts(y, class_balance)
    if min(counts) == 0:
        raise DataError(
            "all usable trials are of one class",
            expected="trials of both classes",
            found=f"{np.sum(y == 0)} of class 0, {np.sum(y == 1)} of class 1",
        )
    rng = np.random.default_rng(seed_sequence(seed, *names))
    fate = np.full(len(y), "balance", dtype="U8")
    # one order per class: a smaller n_total keeps a subset of the trials that a larger one keeps
    for label, count, target in zip((0, 1), counts, _shares(counts, n_total), strict=True):
        order = rng.permutation(np.flatnonzero(y == label))
        fate[order[:count]] = "equalize"
        fate[order[:target]] = "kept"
    return fate


def _equalized(y: np.ndarray, n_total: int | None, seed: int, *names: str) -> np.ndarray:
    """Return what ``pick_trials`` returns for numbers, which have no classes to balance."""
    known = np.flatnonzero(labelled(y))
    order = np.random.default_rng(seed_sequence(seed, *names)).permutation(known)
    fate = np.full(len(y), "balance", dtype="U8")
    fate[order] = "equalize"
    fate[order[:n_total]] = "kept"
    return fate


def balanced_labels(
    labels: np.ndarray, class_balance: str, n_total: int | None, seed: int, *names: str, numbers: bool = False
) -> np.ndarray:
    """Balance each of many label vectors, as ``pick_trials`` does for one.

    Parameters
    ----------
    labels : (S, n) int8 or float64
        1, 0, or -1 for a trial that is left out; or numbers, NaN for such a trial.
    class_balance, n_total, seed, *names, numbers
        As for ``pick_trials``. Each vector of classes has a draw of its own, which does not depend on how many there
        are. Vectors of numbers have that of the real labels: nothing is balanced, and all keep the same trials.

    Returns
    -------
    (S, n) int8 or float64
        The labels, with -1 or NaN also for the dropped trials.

    Raises
    ------
    DataError
        A class is empty in one of the vectors.
    """
    if numbers:
        of_numbers = [pick_trials(y, class_balance, n_total, seed, *names, numbers=True) == "kept" for y in labels]
        return np.where(np.reshape(of_numbers, labels.shape), labels, np.nan)
    kept = [
        pick_trials(y, class_balance, n_total, seed, *names, f"shuffle {s}") == "kept" for s, y in enumerate(labels)
    ]
    return np.where(np.reshape(kept, labels.shape), labels, -1).astype(np.int8)


def _shares(counts: tuple[int, int], n_total: int | None) -> tuple[int, int]:
    """Split n_total in the proportion of counts (of class 0 and 1), with at least one trial of each class."""
    if n_total is None or n_total >= sum(counts):
        return counts
    # rounding must not lose the rarer class, nor ask for more trials than it has
    ones = min(max(round(n_total * counts[1] / sum(counts)), 1), counts[1], n_total - 1)
    return min(n_total - ones, counts[0]), ones


def seed_sequence(seed: int, *names: str) -> np.random.SeedSequence:
    """Return the seed sequence of (seed, names): the same on every machine, and independent for different names."""
    # not hash(), which differs from process to process
    words = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    return np.random.SeedSequence([seed, *words])

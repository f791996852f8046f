"""Simulated sessions of biasedChoiceWorld: blocks, stimuli, and the ALF attributes of the trials.

The caller simulates the mouse: ``test_nulls`` plants the parameters of one mouse, ``benchmarks/null_calibration.py``
simulates many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CONTRASTS, SHARES = (1.0, 0.25, 0.125, 0.0625, 0.0), (2 / 9, 2 / 9, 2 / 9, 2 / 9, 1 / 9)


def blocks(n_trials: int, rng: np.random.Generator, length: Callable[[np.random.Generator], int]) -> np.ndarray:
    """Return probabilityLeft (n_trials,): 90 unbiased trials, then blocks of drawn lengths on alternating sides."""
    values, side = [0.5] * 90, rng.integers(2)
    while len(values) < n_trials:
        values += [(0.2, 0.8)[side]] * length(rng)
        side = 1 - side
    return np.array(values[:n_trials])


def stimuli(p_left: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the side (n_trials,), 1 left and -1 right, and the contrast of each stimulus."""
    side = np.where(rng.random(len(p_left)) < p_left, 1, -1)
    return side, rng.choice(CONTRASTS, len(p_left), p=SHARES)


def alf_trials(p_left: np.ndarray, side: np.ndarray, contrast: np.ndarray, choice: np.ndarray) -> dict[str, np.ndarray]:
    """Return the attributes of an ALF trials object, each (n_trials,)."""
    return {
        "probabilityLeft": p_left,
        "contrastLeft": np.where(side > 0, contrast, np.nan),
        "contrastRight": np.where(side < 0, contrast, np.nan),
        "choice": choice,
        "feedbackType": np.where(choice == side, 1.0, -1.0),
    }

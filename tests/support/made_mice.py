"""Made mice of known truth: trial-type means of the same cells on several days, and traces that have them."""

from __future__ import annotations

import numpy as np

from pipeline.responses import DayResponses

#: What the code does over days.
MICE = ("fixed", "rotating", "noise")
#: Share of a rotating code that a day keeps: after g days the corrected stability is KEPT ** g.
KEPT = 0.85
N_WINDOWS = 26


def codes(mouse: str, days: list[int], n_cells: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the true response of each cell in each window on each day, (windows, cells) each.

    Variance 1 for half of the cells, and 0.25 for the others, on all days.
    """
    size = np.where(np.arange(n_cells) % 2, 0.5, 1.0)
    if mouse == "noise":
        return [np.zeros((N_WINDOWS, n_cells)) for _ in days]
    code, found, last = rng.normal(size=(N_WINDOWS, n_cells)), [], days[0]
    for day in days:
        share = 1.0 if mouse == "fixed" else KEPT ** (day - last)
        code, last = share * code + np.sqrt(1 - share**2) * rng.normal(size=code.shape), day
        found.append(size * code)
    return found


def made_days(
    mouse: str, days: list[int], n_cells: int, rng: np.random.Generator, n_trials: tuple[int, ...] = ()
) -> list[DayResponses]:
    """Return the responses of a mouse; each day has its own number of trials per window, whose noise has variance 4."""
    n_trials = n_trials or tuple(8 + 4 * (i % 4) for i in range(len(days)))
    found = []
    for day, code, n in zip(days, codes(mouse, days, n_cells, rng), n_trials, strict=True):
        even, odd = (code + 2 / np.sqrt(n / 2) * rng.normal(size=code.shape) for _ in range(2))
        half = np.full(code.shape, n // 2)
        found.append(DayResponses(day, (even + odd) / 2, even, odd, half, half))
    return found

"""IBL's biasedChoiceWorld: what the trials of a session show, and how its blocks and stimuli are drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import DataError

Array = np.ndarray

#: Block lengths, in trials: exponential with this scale, truncated to these limits.
BLOCK_SCALE, BLOCK_LIMITS = 60.0, (20, 100)
#: Contrasts at which a model of choice has a weight; between them it is interpolated linearly.
CONTRAST_KNOTS = (0.0625, 0.125, 0.25, 0.5, 1.0)


def trial_columns(trials: Mapping[str, Array]) -> dict[str, Array]:
    """Return the trial attributes that are used, as float64 arrays of one length; raise DataError otherwise."""
    needed = ("probabilityLeft", "contrastLeft", "contrastRight", "choice", "feedbackType")
    missing = [name for name in needed if name not in trials]
    if missing:
        raise DataError("the trials lack attributes", expected=", ".join(missing), found=", ".join(map(str, trials)))
    columns = {name: np.asarray(trials[name], dtype=np.float64) for name in needed}
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise DataError("the trial attributes differ in length", expected="(trials,) each", found=sorted(shapes))
    return columns


def stimulus(trials: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return side (left 1, right -1, 0 unknown) and contrast (NaN unknown) of every trial, (..., n) float64 each."""
    left, right = trials["contrastLeft"], trials["contrastRight"]
    both = np.isfinite(left) & np.isfinite(right)
    side = np.where(np.nan_to_num(left) > np.nan_to_num(right), 1.0, -1.0)
    # At zero contrast the side is that of the 0 in contrastLeft or contrastRight. Where both or neither is given, the
    # outcome tells: a rewarded choice was to the side, an error away from it.
    nothing = np.nan_to_num(left) == np.nan_to_num(right)
    side[nothing] = (np.isfinite(left).astype(float) - np.isfinite(right))[nothing]
    by_outcome = nothing & (both | (np.isnan(left) & np.isnan(right)))
    side[by_outcome] = np.nan_to_num(trials["choice"] * trials["feedbackType"])[by_outcome]
    contrast = np.fmax(left, right)
    return side, contrast


def block_side(probability_left: Array) -> Array:
    """Return 1 in blocks of probability 0.8, -1 in those of 0.2, 0 in unbiased trials; linear between."""
    return np.nan_to_num((probability_left - 0.5) / 0.3)


def logistic(z: Any) -> Any:
    """Return the logistic function of z, an array or a number."""
    return 1 / (1 + np.exp(-z))


def contrast_knots(signed_contrast: Array) -> Array:
    """Return the factor of each knot's weight, (..., knots) float64: linear interpolation, odd in the contrast."""
    places = (0.0, *CONTRAST_KNOTS)
    columns = [np.interp(np.abs(signed_contrast), places, unit) for unit in np.eye(len(places))[1:]]
    knots: Array = np.sign(signed_contrast)[..., None] * np.stack(columns, axis=-1)
    return knots


def running_mean(values: Array, memory: float) -> Array:
    """Return the exponentially weighted mean of the values before each value, starting from 0, (n,) float64."""
    from scipy.signal import lfilter

    return lfilter([0.0, 1 / memory], [1.0, -(1 - 1 / memory)], values) if len(values) else values


def new_contrasts(contrasts: Array, rng: np.random.Generator, shows: Array | None) -> Array:
    """Return contrasts drawn from those of the session, above zero where ``shows``, (n,) float64."""
    known = contrasts[np.isfinite(contrasts)]
    known = known if len(known) else np.ones(1)
    drawn = rng.choice(known, len(contrasts))
    visible = known[known > 0]
    if shows is not None and len(visible):
        drawn = np.where(shows & (drawn == 0), rng.choice(visible, len(contrasts)), drawn)
    return drawn


@dataclass(frozen=True)
class Blocks:
    """What the blocks of simulated sessions have in common with those of the real one.

    Attributes
    ----------
    p_left : (n,) float64
        Probability of left of the real session.
    sides : (s,) float64
        Probabilities of its biased blocks, and the opposite one if there is one block only.
    whole : (b,) int
        Lengths of its complete blocks.
    stretches : list of (int, int)
        Start and stop of each stretch of biased trials, which gets new blocks; empty where nothing ever changes.
    """

    p_left: Array
    sides: Array
    whole: Array
    stretches: list[tuple[int, int]]

    @classmethod
    def of(cls, p_left: Array) -> Blocks:
        """Return the blocks of a session, given by its probabilities of left (n,) float64."""
        biased = np.isfinite(p_left) & ~np.isclose(p_left, 0.5)
        sides = np.unique(np.round(p_left[biased], 6))
        if len(sides) == 1:  # the session ended before its second block
            sides = np.unique([*sides, np.round(1 - sides[0], 6)])
        stretches = [(start, stop) for start, stop in _runs(biased.astype(float)) if biased[start]]
        # a probability that never changes has no blocks to move
        changes = len(np.unique(np.round(p_left, 6))) > 1
        return cls(p_left, sides, _whole_blocks(p_left, biased), stretches if changes else [])

    def draw(self, rng: np.random.Generator) -> Array:
        """Return probabilities of left in new blocks, with the unbiased trials where they were, (n,) float64."""
        out = self.p_left.copy()
        for start, stop in self.stretches:
            out[start:stop] = _blocks(stop - start, self.sides, self.whole, rng)
        return out


def _runs(values: Array) -> list[tuple[int, int]]:
    """Return start and stop of each run of equal values."""
    edges = np.flatnonzero(np.abs(np.diff(values)) > 1e-6) + 1
    return list(zip([0, *edges], [*edges, len(values)], strict=True)) if len(values) else []


def _whole_blocks(p_left: Array, biased: Array) -> Array:
    """Return the lengths of the complete biased blocks: those followed by another biased block, (n,) int."""
    runs = _runs(np.where(biased, p_left, -1.0))
    # the last block is cut by the end of the session, one before unbiased trials by a change of the task
    followed = [start < stop < len(biased) and biased[start] and biased[stop] for start, stop in runs]
    return np.array([stop - start for (start, stop), whole in zip(runs, followed, strict=True) if whole], dtype=int)


def _blocks(n: int, sides: Array, whole: Array, rng: np.random.Generator) -> Array:
    """Return n probabilities of left, in blocks of random lengths."""
    low, high = BLOCK_LIMITS
    usual = bool(((whole >= low) & (whole <= high)).all())  # else another task version: use its own lengths
    out, start, now = np.empty(n), 0, int(rng.integers(len(sides)))
    while start < n:
        length = _block_length(rng) if usual else int(rng.choice(whole))
        out[start : start + length] = sides[now]
        # one to len - 1 places further: any side but the present one; with two sides they alternate
        start, now = start + length, (now + int(rng.integers(1, len(sides)))) % len(sides)
    return out


def _block_length(rng: np.random.Generator) -> int:
    """Return a block length drawn as the task draws it: again until it is within the limits."""
    while True:
        length = rng.exponential(BLOCK_SCALE)
        if BLOCK_LIMITS[0] <= length <= BLOCK_LIMITS[1]:
            # rounded down, as the task rounds
            return int(length)

"""Curves judged together: k* at a common ceiling, and p adjusted for the false discovery rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.decoding.fits.families import ALPHA, ROUNDING
from pipeline.decoding.fits.k_star import k_stars
from pipeline.errors import ArgumentError


def common_ceiling_k_star(ks: Sequence[int] | np.ndarray, means: Any, ceilings: Any, delta: float = 0.02) -> np.ndarray:
    """Return k* of each session at the lowest ceiling of all sessions.

    A session with a higher ceiling needs more neurons to get near it. At the lowest ceiling all sessions are compared
    at the same score.

    Parameters
    ----------
    ks : (K,) int
        Numbers of neurons, the same in all sessions.
    means : (sessions, K) or (sessions, K, B) float
        Mean scores, or bootstrap draws of them (`CurveFit.draws`).
    ceilings : (sessions,) or (sessions, B) float
    delta : float
        k* is the smallest k whose score is within this of the lowest ceiling.

    Returns
    -------
    (sessions,) or (sessions, B) int64
        -1 where no k reaches that score.

    Raises
    ------
    ArgumentError
        Shapes disagree.

    Examples
    --------
    >>> common_ceiling_k_star([1, 2, 4], [[0.5, 0.6, 0.7], [0.6, 0.8, 0.9]], [0.7, 0.9], delta=0.1).tolist()
    [2, 1]
    """
    ks, means, ceilings = np.asarray(ks), np.asarray(means, np.float64), np.asarray(ceilings, np.float64)
    if means.ndim not in (2, 3) or means.shape[1] != len(ks) or ceilings.shape != means.shape[:1] + means.shape[2:]:
        raise ArgumentError(
            f"means must be (sessions, {len(ks)}) and ceilings (sessions,), both or neither with a last axis of draws, "
            f"not {means.shape} and {ceilings.shape}"
        )
    if not means.size:
        return np.full(ceilings.shape, -1, dtype=np.int64)
    stars = k_stars(ks, np.moveaxis(means, 1, 0), ceilings.min(axis=0) - delta)
    return np.where(np.isfinite(stars), stars, -1).astype(np.int64)


def benjamini_hochberg(p: Any) -> np.ndarray:
    """Return q: FDR-adjusted p (Benjamini-Hochberg), the smallest false discovery rate at which p is significant.

    Parameters
    ----------
    p : array of float
        From 0 to 1. NaN are not counted as tests, and stay NaN.

    Returns
    -------
    float64 of the shape of `p`

    Raises
    ------
    ArgumentError
        A p is below 0 or above 1.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p, dtype=np.float64)
    known = p[~np.isnan(p)]
    if np.any((known < 0) | (known > 1)):
        raise ArgumentError(f"p must lie between 0 and 1, not {known[(known < 0) | (known > 1)][:3].tolist()}")
    order = np.argsort(known)
    raised = known[order] * len(known) / np.arange(1, len(known) + 1)
    # 0.05 is 0.05, and not more by rounding: whoever reads a stored q compares it with 0.05
    raised = np.where(np.isclose(raised, ALPHA, rtol=ROUNDING, atol=0), ALPHA, raised)
    q = np.empty(len(known))
    # the step-up rule: q is the smallest p m / rank of this and all larger p
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1)
    found = np.full(p.shape, np.nan)
    found[~np.isnan(p)] = q
    return found


def least_q(n_curves: int, n_shuffles: int) -> float:
    """Return the smallest q that a single clear curve of a family can have, where all others are at chance.

    Its p is at least 1 / (S + 1) with S shuffled label vectors, which `benjamini_hochberg` multiplies by the number of
    curves.

    Parameters
    ----------
    n_curves : int
        Curves of the family that have a p.
    n_shuffles : int
        S.

    Examples
    --------
    >>> round(least_q(12, 100), 3), least_q(12, 239), least_q(200, 100)
    (0.119, 0.05, 1.0)
    """
    return min(n_curves / (n_shuffles + 1), 1.0)


def together_needed(n_tests: int, n_shuffles: int) -> int:
    """Return how many tests must have the least p of S shuffles for a q of 0.05, where all others are at chance.

    Examples
    --------
    >>> together_needed(12, 40), together_needed(12, 239), together_needed(538, 200)
    (6, 1, 54)
    """
    return math.ceil(n_tests / ALPHA / (n_shuffles + 1))


def shuffles_needed(n_curves: int) -> int:
    """Return the number of shuffled label vectors with which a single clear curve of a family can have q <= 0.05.

    Examples
    --------
    >>> shuffles_needed(12)
    240
    """
    return math.ceil(n_curves / ALPHA)

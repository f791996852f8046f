"""The penalty "auto": its strength c, in units of 1/k, is chosen once for each label vector.

With C = c / k the prior of a decision value has the same standard deviation at every k, and c = 1 suits populations in
which many cells carry a little of the information. Where few cells or shared modes carry it, a weaker penalty decodes
better. A strict choice of the best c loses more to its own noise than it gains, and makes the scores of shuffled labels
too high; so c = 1 is left only for a clear gain (``GAIN``). The largest value is for modes that hundreds of cells
share, decoded from few trials.

Choice: by inner cross-validations (``pipeline.decoding.inner``) that leave out every pair of folds at most two apart,
with five folds every pair. The scores are of one of the ks, a fourth of the largest (``sizes``), on the first random
subset. No choice is made for a fold or for a k: the noise of such choices costs more than they gain.

With ``c_range="narrow"``, as in former versions, c is at most 30, and the scores are averaged over several ks. This
loses up to 0.03 with modes that hundreds of cells share, and takes longer. It is the default of labels that are
numbers, of which a weak penalty decodes worse than chance where there are as many cells as trials.

Shuffled labels choose by the same rule as the real ones, so that every label vector is treated alike. Sessions that are
compared share one c, by the mean of their scores; a shuffled vector then takes the place of its session's real labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.decoding.folds import Decide, Validation, folds_of
from pipeline.decoding.inner import pair_scores
from pipeline.errors import ArgumentError

#: Values of c by ``c_range``; the first is left only for a gain.
CANDIDATES = {"wide": (1.0, 10.0, 100.0), "narrow": (1.0, 10.0, 30.0)}
#: Least gain in the mean inner score. The mean score of shuffled labels is then 0.009 above that with c = 1, without a
#: threshold still more (``benchmarks/statistics.py``). p holds, because shuffled labels choose as the real ones do.
GAIN = 0.02
#: The inner scores are of the largest k divided by this; if narrow of the largest, of that divided once, twice ...
SPACING = 4
#: Smaller subsets tell little: of fewer neurons, all are taken; if narrow, down to the second.
MIN_K, NARROW_MIN_K = 128, 8


def check(how: Validation, penalize_intercept: bool) -> None:
    """Refuse a penalised intercept of numbers, or with a penalty in units of 1/k, which would pull it to 0.

    Raises
    ------
    ArgumentError
    """
    if penalize_intercept and how.of_numbers:
        raise ArgumentError(f"metric={how.metric!r} needs a free intercept: use penalize_intercept=False")
    if penalize_intercept and how.penalty != "fixed":
        raise ArgumentError(
            f"penalty={how.penalty!r} needs a free intercept, which a small C would pull to 0: use penalty='fixed', or "
            f"penalize_intercept=False"
        )


def sizes(largest: int, c_range: str = "wide") -> list[int]:
    """Return the ks of the inner scores.

    A fourth of the largest, or 128, or the largest; if narrow the largest, a fourth of it, and so on, down to 8.
    """
    if c_range == "wide":
        return [max(largest // SPACING, min(largest, MIN_K))]
    found = [largest]
    while found[-1] // SPACING >= NARROW_MIN_K:
        found.append(found[-1] // SPACING)
    return found


def pairs_of(n_splits: int) -> list[tuple[int, int]]:
    """Return pairs of folds that are at most two apart, the last next to the first: at most two for each fold.

    The pair of two folds leaves nothing to train on: with two folds there is no choice.
    """
    near = {tuple(sorted((i, (i + step) % n_splits))) for i in range(n_splits) for step in (1, 2)}
    return sorted((i, j) for i, j in near if i != j)


def inner_scores(
    decide: Decide, labels: np.ndarray, ks: Sequence[int], seed: int, how: Validation,
    strata: np.ndarray | None = None, real: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the mean inner score of each label vector with each of ``CANDIDATES``.

    Parameters
    ----------
    decide : callable
        See ``pipeline.decoding.folds.Decide``.
    labels : (L, n) 1, 0, or -1 for trials that are left out; or numbers, NaN for these
    ks : sequence of int
        See ``sizes``.
    seed : int
        Of the folds.
    how : Validation
    strata, real
        See ``pipeline.decoding.cross_validation.cross_validate``.

    Returns
    -------
    (L, number of candidates) float64
        NaN for a label vector for which no inner fit is possible, as with blocked folds of one class.
    """
    candidates = CANDIDATES[how.c_range]
    masks, shared = folds_of(labels, seed, how, strata, real)
    fits = [(k, c) for k in ks for c in candidates]
    inner = pair_scores(decide, labels, masks, shared, pairs_of(how.n_splits), fits, how, strata)
    found = np.full((len(labels), len(candidates)), np.nan)
    if inner is None:
        return found
    for row in set(inner.vector):
        found[row] = inner.mean(np.flatnonzero(inner.vector == row)).reshape(len(ks), -1).mean(axis=0)
    return found


def chosen(scores: np.ndarray, compared: np.ndarray | None = None, c_range: str = "wide") -> np.ndarray:
    """Return the c of each label vector.

    Parameters
    ----------
    scores : (L, number of candidates) float
        Inner scores of the label vectors.
    compared : (D, number of candidates) float, optional
        Inner scores of the real labels of the other sessions that share the c.
    c_range : {'wide', 'narrow'}

    Returns
    -------
    (L,) float64
        1 where no inner score is known.
    """
    candidates = CANDIDATES[c_range]
    others = np.empty((0, len(candidates))) if compared is None else np.asarray(compared, dtype=np.float64)
    found = np.full(len(scores), candidates[0])
    for row, own in enumerate(scores):
        together = np.vstack([own, others])
        together = together[np.isfinite(together).all(axis=1)]
        if len(together):
            # rounded, so that the last bits of a processor decide neither a tie nor the threshold
            gains = np.round(together.mean(axis=0) - together.mean(axis=0)[0], 12)
            best = int(np.argmax(gains))
            found[row] = candidates[best] if gains[best] >= GAIN else candidates[0]
    return found

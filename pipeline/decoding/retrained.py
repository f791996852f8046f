"""The variance of a score by a bootstrap that trains the decoders again: a check of the interval that needs no draws.

Trials are drawn with replacement, and decoders trained and tested on those drawn: the number of times that a trial was
drawn is its weight, in the loss and in the score, and its copies stay in its fold. One subset would add the effect of
its folds, so the variance of the trials is the covariance, over the draws, of the scores of two subsets. Only the
variance is used: a draw has 63 % of the trials, so its score is too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.decoding.folds import Decide, Groups, Validation, bootstrap_means, fold_masks, training_weights
from pipeline.decoding.regression import Tested
from pipeline.decoding.trials import labelled

#: Subsets that are trained in each draw; the variance comes from all their pairs.
N_SUBSETS = 4


def retrained_variance(
    subsets: Iterable[tuple[Decide, int]],
    y: np.ndarray,
    ks: Sequence[int],
    how: Validation,
    c: float,
    n_draws: int,
    seed: int,
) -> np.ndarray:
    """Return the variance of the mean score from the trials, in training and test, (K,) float64, 0 or more.

    Parameters
    ----------
    subsets : iterable of (callable, int)
        For each subset, two or more, the function that decodes it (``pipeline.decoding.folds.Decide``), and the seed of
        its folds.
    y : (n,) 1, 0, or -1 for a trial that is left out; or numbers, NaN for such a trial
    ks : sequence of int
    how : Validation
    c : float
        Inverse strength of the penalty, in its unit.
    n_draws : int
        Two or more. Draw b does not depend on it.
    seed : int
    """
    counts = _drawn(y, n_draws, seed)
    found = []
    for decide, folds in subsets:
        train, test = fold_masks(y, folds, how)
        # a row for each draw and fold
        weights = (counts[:, None] * training_weights(y, train, c, how.class_weight)).reshape(-1, len(y))
        folds_of_y = np.repeat(y[None], len(test), axis=0)
        groups = Tested.of(folds_of_y, train, test) if how.of_numbers else Groups.of(folds_of_y, test)
        values = decide(weights, np.repeat(y[None], len(weights), axis=0), ks, how.in_units(ks))
        found.append([
            [bootstrap_means(one, groups, how.metric, drawn)[0]
             for one, drawn in zip(z.reshape(n_draws, *test.shape), counts[:, None], strict=True)]
            for z in values
        ])  # fmt: skip
    away = np.array(found)  # (subsets, K, draws)
    away -= np.nanmean(away, axis=2, keepdims=True)
    away = np.nan_to_num(away)  # a draw in which no fold has both classes
    # the sum over all ordered pairs of different subsets
    pairs = (away.sum(axis=0) ** 2 - (away**2).sum(axis=0)).sum(axis=1)
    variance: np.ndarray = np.maximum(pairs / (n_draws - 1) / (len(away) * (len(away) - 1)), 0.0)
    return variance


def _drawn(y: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """Return how often each trial is drawn in each draw, (B, n) float64; a class is never lost."""
    times = np.zeros((n_draws, len(y)))
    kinds = [labelled(y)] if y.dtype.kind == "f" else [y == label for label in (0, 1)]
    for b in range(n_draws):
        rng = np.random.default_rng(np.random.SeedSequence([seed, b, 5]))
        for kind in kinds:
            mine = np.flatnonzero(kind)
            times[b, mine] = np.bincount(rng.integers(len(mine), size=len(mine)), minlength=len(mine))
    return times

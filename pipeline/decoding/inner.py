"""Inner cross-validations of all outer folds at once, by leaving out pairs of folds.

A fit without the folds i and j, scored on j, is an inner fit of outer fold i; scored on i, it is one of outer fold j.
So the fits of all pairs are inner cross-validations of all outer folds, at less than half of the cost of folds made
anew within each training fold. They have one inner fold less than there are folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.decoding import regression
from pipeline.decoding.folds import Decide, Groups, Validation, has_both, scores_of, training_weights, varies
from pipeline.decoding.regression import Tested
from pipeline.errors import ArgumentError

#: Bytes of the decision values that a choice from a grid holds at once.
MEMORY = 64 * 2**20


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of fits without a pair of folds: each fit has a row for either fold of its pair, on which it is scored.

    Attributes
    ----------
    how : Validation
    labels : (L, n)
    strata : (n,) int or None
    vector : (rows,) int
        Label vector of each row.
    outer : (rows,) int
        The outer fold that the row is an inner fit of: the fold of the pair that it is not scored on.
    scored : Groups or Tested
        Test trials of the rows.
    scores : (fits, groups) float64
        By k and c, of the groups; empty for numbers.
    values : list of (rows, n) float64
        Predicted numbers; empty for classes.
    """

    how: Validation
    labels: np.ndarray
    strata: np.ndarray | None
    vector: np.ndarray
    outer: np.ndarray
    scored: Groups | Tested
    scores: np.ndarray
    values: list[np.ndarray]

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean score of rows (part,) int of one label vector, (fits,) float64; NaN if none is known."""
        if isinstance(self.scored, Tested):
            tested = self.scored.rows(rows)
            return np.array([regression.score(z[rows], tested, self.how.metric) for z in self.values])
        groups = self.scored
        of_group = (rows[:, None] * groups.n_strata + np.arange(groups.n_strata)).ravel()
        mine = Groups(groups.ones[of_group], groups.zeros[of_group], groups.n_strata)
        weights, scores = mine.weights(self.labels[self.vector[rows][0]], self.strata), self.scores[:, of_group]
        # a group without both classes has no score, whatever k and c are
        known = np.isfinite(scores[0])
        if not known.any():
            return np.full(len(scores), np.nan)
        found: np.ndarray = np.average(scores[:, known], axis=1, weights=weights[known])
        return found


def pair_scores(
    decide: Decide, labels: np.ndarray, masks: Sequence[tuple[np.ndarray, np.ndarray]], shared: np.ndarray,
    pairs: Sequence[tuple[int, int]], fits: Sequence[tuple[int, float]], how: Validation,
    strata: np.ndarray | None = None,
) -> PairScores | None:  # fmt: skip
    """Fit each label vector without each pair of its folds, and score it on either.

    Parameters
    ----------
    decide : callable
        See ``pipeline.decoding.folds.Decide``.
    labels : (L, n) 1, 0, or -1 for trials that are left out; or numbers, NaN for these
    masks : list of (train, test), shared : (L,) bool
        As ``pipeline.decoding.folds.folds_of`` returns them.
    pairs : sequence of (int, int)
        Numbers of folds.
    fits : sequence of (int, float)
        Each k with a C, in the unit of the penalty.
    how : Validation
    strata : (n,) int from 0, optional
        See ``pipeline.decoding.cross_validation.cross_validate``.

    Returns
    -------
    PairScores or None
        None if no fit is possible: no training trials of a vector, without a pair, have both classes.
    """
    which, weights, trains, tests, folds = [], [], [], [], []
    for row, (y, (train, test)) in enumerate(zip(labels, masks, strict=True)):
        for i, j in pairs:
            # outside the gaps around both folds, too
            both = train[i] & train[j]
            if (varies(y, both[None]) if how.of_numbers else has_both(y, both[None], strata))[0]:
                which.append(row)
                trains.append(both)
                weights.append(training_weights(y, both[None], 1.0, how.class_weight, strata)[0])
                tests.append((test[i], test[j]))
                folds.append((j, i))
    if not which:
        return None
    values = _decided(decide, np.array(weights), labels[which], shared[which], fits, how)
    # the rows twice: scored on the first fold of each pair, then on the second
    rows = np.tile(labels[which], (2, 1))
    test = np.concatenate([np.array(masks) for masks in zip(*tests, strict=True)])
    vector, outer = np.tile(which, 2), np.concatenate([np.array(side) for side in zip(*folds, strict=True)])
    if how.of_numbers:
        tested, twice = Tested.of(rows, np.tile(trains, (2, 1)), test), [np.tile(z, (2, 1)) for z in values]
        return PairScores(how, labels, strata, vector, outer, tested, np.empty((len(fits), 0)), twice)
    groups = Groups.of(rows, test, strata)
    row_of = np.repeat(np.tile(np.arange(len(which)), 2), groups.n_strata)
    scores = np.array([scores_of(z, groups, how.metric, row_of) for z in values])
    return PairScores(how, labels, strata, vector, outer, groups, scores, [])


def _decided(
    decide: Decide, weights: np.ndarray, labels: np.ndarray, shared: np.ndarray, fits: Sequence[tuple[int, float]],
    how: Validation,
) -> list[np.ndarray]:  # fmt: skip
    """Return the decision values of rows, whose weights are those of C = 1, for each k and C."""
    ks, c = [k for k, _ in fits], np.array([c for _, c in fits])
    if how.penalty == "auto":
        return decide(weights, labels, ks, c, shared)
    # C scales the loss; as in the outer fits, with which these then share preconditioners
    return decide(weights, labels, ks, how.in_units(ks), shared, c[:, None])


def chosen_by_pairs(
    decide: Decide, labels: np.ndarray, masks: Sequence[tuple[np.ndarray, np.ndarray]], shared: np.ndarray,
    ks: Sequence[int], how: Validation, strata: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Return the C of the grid with the best inner score, for each k, label vector and fold; the smallest on a tie.

    Parameters
    ----------
    decide, labels, masks, shared, how, strata
        As for ``pair_scores``.
    ks : sequence of int

    Returns
    -------
    (K, L, folds) float64

    Raises
    ------
    ArgumentError
        A training fold has no inner score.
    """
    grid, pairs = sorted(how.c_grid), list(combinations(range(how.n_splits), 2))
    bytes_of_k = 8 * len(grid) * len(pairs) * labels.size
    at_once = max(MEMORY // bytes_of_k, 1)
    parts = [
        _chosen_of(decide, labels, masks, shared, pairs, ks[start : start + at_once], grid, how, strata)
        for start in range(0, len(ks), at_once)
    ]
    return np.concatenate(parts)


def _chosen_of(
    decide: Decide, labels: np.ndarray, masks: Sequence[tuple[np.ndarray, np.ndarray]], shared: np.ndarray,
    pairs: Sequence[tuple[int, int]], ks: Sequence[int], grid: Sequence[float], how: Validation,
    strata: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Return what ``chosen_by_pairs`` returns, of some ks that are decided together."""
    fits = [(k, c) for k in ks for c in grid]
    inner = pair_scores(decide, labels, masks, shared, pairs, fits, how, strata)
    found = np.empty((len(ks), len(labels), how.n_splits))
    for row, fold in np.ndindex(found.shape[1:]):
        mine = np.flatnonzero((inner.vector == row) & (inner.outer == fold)) if inner else np.empty(0)
        scores = inner.mean(mine) if inner and len(mine) else np.array([np.nan])
        if np.isnan(scores).any():
            raise ArgumentError(
                f"inside training fold {fold}, where C is chosen from c_grid, no pair of folds leaves trials of both "
                f"classes for training and for testing: use fewer or stratified folds"
            )
        # rounded, so that the last bits of a processor do not decide a tie
        best = np.argmax(np.round(scores, 12).reshape(len(ks), -1), axis=1)
        found[:, row, fold] = np.array(grid)[best]
    return found

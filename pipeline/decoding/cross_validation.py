"""Cross-validation of many label vectors at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.decoding import regression
from pipeline.decoding.folds import Decide, Groups, TrialEffects, Validation, folds_of, scores_of, training_weights
from pipeline.decoding.inner import chosen_by_pairs
from pipeline.decoding.regression import Tested
from pipeline.errors import ArgumentError

#: Training folds whose inner cross-validation is computed together.
INNER_VECTORS = 60


def cross_validate(
    decide: Decide,
    labels: np.ndarray,
    ks: Sequence[int],
    seed: int,
    how: Validation,
    trial_effects: TrialEffects | None = None,
    c: Sequence[float] | None = None,
    strata: np.ndarray | None = None,
    real: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean test score of each label vector at each k.

    Parameters
    ----------
    decide : callable
        Fits all rows and returns their decision values: see ``Decide``.
    labels : (L, n) 1, 0, or -1 for trials that are left out; or numbers, NaN for these
    ks : sequence of int
    seed : int
        Of the folds.
    how : Validation
    trial_effects : callable, optional
        What the trials do to the score of the first label vector: see ``TrialEffects``.
    c : (L,) float, optional
        C of each label vector; by default ``how.C`` of all.
    strata : (n,) int from 0, optional
        Train with the same strata in both classes, and score within them: see ``pipeline.decoding.strata``.
    real : (n,) int, optional
        The real labels, whose folds the others may share: see ``pipeline.decoding.folds.folds_of``.

    Returns
    -------
    scores : (K, L) float64
    effects : (K, B) float64
        What ``trial_effects`` returns for the first label vector; B is 0 without it.
    """
    # one row for each label vector and fold, folds varying fastest; all rows are fitted in one call
    masks, shared = folds_of(labels, seed, how, strata, real)
    together = np.repeat(shared, how.n_splits)
    repeated = np.repeat(labels, how.n_splits, axis=0)
    times = None
    if how.c_grid:
        # without two of two folds no trials would be left
        by_pairs = how.shared_folds and how.n_splits > 2
        chosen = (
            chosen_by_pairs(decide, labels, masks, shared, ks, how, strata) if by_pairs
            else _chosen(decide, labels, [train for train, _ in masks], ks, seed, how, strata)
        )  # fmt: skip
        # C scales the loss: rows of different C are those of C = 1, times C
        c, times = [1.0] * len(labels), chosen.reshape(len(ks), -1)
    weights = [
        training_weights(y, train, one, how.class_weight, strata)
        for y, (train, _), one in zip(labels, masks, [how.C] * len(labels) if c is None else c, strict=True)
    ]
    values = decide(np.concatenate(weights), repeated, ks, how.in_units(ks), together, times)
    if how.of_numbers:
        tested = Tested.of(repeated, *(np.concatenate(side) for side in zip(*masks, strict=True)))
        return _scores_of_numbers(values, tested, how, trial_effects)
    groups = Groups.of(repeated, np.concatenate([test for _, test in masks]), strata)
    first = groups.first(how.n_splits)
    of_vector = (len(labels), how.n_splits * groups.n_strata)
    weight = np.array([
        Groups(ones, zeros, groups.n_strata).weights(y, strata)
        for y, ones, zeros in zip(labels, *(side.reshape(*of_vector, -1) for side in (groups.ones, groups.zeros)),
                                  strict=True)
    ])  # fmt: skip
    scores = np.empty((len(ks), len(labels)))
    for i, z in enumerate(values):
        by_group = scores_of(z, groups, how.metric).reshape(of_vector)
        known = np.isfinite(by_group)
        scores[i] = np.where(known, by_group * weight, 0).sum(axis=1) / np.where(known, weight, 0).sum(axis=1)
    return scores, _effects(values, first, how, trial_effects)


def _scores_of_numbers(
    values: Sequence[np.ndarray], tested: Tested, how: Validation, trial_effects: TrialEffects | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `cross_validate` returns, from the predicted numbers of each k, (rows, n) each."""
    folds = [slice(start, start + how.n_splits) for start in range(0, len(tested.test), how.n_splits)]
    scores = [[regression.score(z[rows], tested.rows(rows), how.metric) for rows in folds] for z in values]
    return np.array(scores), _effects(values, tested.rows(folds[0]), how, trial_effects)


def _effects(
    values: Sequence[np.ndarray], first: Groups | Tested, how: Validation, trial_effects: TrialEffects | None
) -> np.ndarray:
    """Return what ``trial_effects`` returns for the first label vector, (K, B), from the values of each k."""
    if trial_effects is None:
        return np.empty((len(values), 0))
    return trial_effects(np.array([z[: how.n_splits] for z in values]), first, how.metric)


def _chosen(
    decide: Decide, labels: np.ndarray, trains: Sequence[np.ndarray], ks: Sequence[int], seed: int, how: Validation,
    strata: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Return the C of the grid with the best inner cross-validation in each training fold; the smallest on a tie.

    Parameters
    ----------
    labels : (L, n)
    trains : L of (folds, n) bool
        Training trials of the folds of each label vector.

    Returns
    -------
    (K, L, folds) float64
    """
    # each outer training fold is a label vector of its own
    left_out = np.nan if how.of_numbers else -1
    inner = np.concatenate([np.where(train, y, left_out) for y, train in zip(labels, trains, strict=True)])
    grid, by_c = sorted(how.c_grid), []
    for c in grid:
        fixed = replace(how, C=c, c_grid=())
        try:
            # some at a time, as each has as many rows as there are folds
            parts = [
                cross_validate(decide, inner[start : start + INNER_VECTORS], ks, seed, fixed, strata=strata)[0]
                for start in range(0, len(inner), INNER_VECTORS)
            ]
        except ArgumentError as error:
            raise ArgumentError(f"inside a training fold, where C is chosen from c_grid: {error}") from error
        by_c.append(np.concatenate(parts, axis=1))
    # rounded, so that the last bits of a processor do not decide a tie
    chosen: np.ndarray = np.array(grid)[np.argmax(np.round(by_c, 12), axis=0)]
    return chosen.reshape(len(ks), len(labels), how.n_splits)

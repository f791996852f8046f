"""Scores of numbers: R^2 and Spearman's correlation of test trials, and what each trial does to them.

R^2 is 1 - SSE / SST, with the sums over the test trials of all folds, and SST about the mean of each fold's training
trials. Predicting that mean scores exactly 0, and noise scores below 0. Sums are pooled, because the few trials of a
fold measure SST badly, and a mean of ratios would be biased by it; the mean of the training trials is the reference,
because a decoder cannot know that of the test trials.

Spearman's correlation is the mean over folds of the correlation within each. Pooled over folds it would be below 0
without any information: where the test trials of a fold are high, the mean of its training trials is low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Tested:
    """Test trials of one row for each fold, with their true numbers.

    Attributes
    ----------
    values : (rows, n) float64
    test : (rows, n) bool
    centres : (rows,) float64
        Mean of the training trials.
    """

    values: Array
    test: Array
    centres: Array

    @classmethod
    def of(cls, values: Array, train: Array, test: Array) -> Tested:
        """Return the test trials of (rows, n) numbers, and masks of training and test trials."""
        known = np.where(train, values, 0.0)
        return cls(values, test, known.sum(axis=1) / train.sum(axis=1))

    def rows(self, which: slice | Array) -> Tested:
        """Return some of the rows."""
        return Tested(self.values[which], self.test[which], self.centres[which])


def score(z: Array, tested: Tested, metric: str) -> float:
    """Return the score of one label vector.

    Parameters
    ----------
    z : (folds, n) float64
        Predicted numbers.
    tested : Tested
        The folds of that label vector.
    metric : {'r2', 'spearman'}

    Returns
    -------
    float
        NaN if no test trials differ in their numbers.
    """
    if metric == "r2":
        error, spread = _squares(z, tested)
        return float(1 - error.sum() / spread.sum()) if spread.sum() > 0 else float("nan")
    found = np.array([_spearman(a, b) for a, b in _folds(z, tested)])
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")


def bootstrap_means(z: Array, tested: Tested, metric: str, times: Array) -> Array:
    """Return the score for each bootstrap sample of the test trials, (B,) float64.

    Parameters
    ----------
    z, tested, metric
        As for `score`.
    times : (B, n) float
        How often each trial is in each sample.
    """
    if metric == "r2":
        error, spread = (times @ squares.sum(axis=0) for squares in _squares(z, tested))
        return np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), np.nan)
    total, known = np.zeros(len(times)), np.zeros(len(times))
    for (a, b), mask in zip(_folds(z, tested), tested.test, strict=True):
        n = times[:, mask]
        # rank of each trial among the trials of the sample, all copies of one alike
        found = _correlation(n @ _below(a), n @ _below(b), n)
        total += np.nan_to_num(found)
        known += np.isfinite(found)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def influences(z: Array, tested: Tested, metric: str) -> Array:
    """Return the influence of each trial on the score: their squares add up to its variance, the decoders as they are.

    For R^2, a ratio of sums over trials, the influence is the linear one, -(e_i^2 - (1 - R^2) d_i^2) / SST, with e_i
    the error and d_i the distance from the mean. For Spearman's correlation it is that of the jackknife of each fold.

    Parameters
    ----------
    z, tested, metric
        As for `score`.

    Returns
    -------
    (n,) float64
        0 for trials that are not tested. All NaN where there is no score.
    """
    out = np.zeros(z.shape[1])
    if metric == "r2":
        error, spread = (squares.sum(axis=0) for squares in _squares(z, tested))
        if not spread.sum() > 0:
            return np.full(z.shape[1], np.nan)
        n = int(tested.test.sum())
        share = error.sum() / spread.sum()
        found: Array = (share * spread - error) / spread.sum() * np.sqrt(n / max(n - 1, 1))
        return found
    scored = [
        (a, b, mask) for (a, b), mask in zip(_folds(z, tested), tested.test, strict=True)
        if np.isfinite(_spearman(a, b))
    ]  # fmt: skip
    if not scored:
        return np.full(z.shape[1], np.nan)
    for a, b, mask in scored:
        n = len(a)
        if n > 2:
            without = 1.0 - np.eye(n)
            left_out = _correlation(without @ _below(a), without @ _below(b), without)
            # without a trial the others may be alike: then it is the only one that says anything
            away = np.nan_to_num(left_out - np.nanmean(left_out)) if np.isfinite(left_out).any() else np.zeros(n)
            out[mask] = -away * np.sqrt((n - 1) / n) / len(scored)
    return out


def _squares(z: Array, tested: Tested) -> tuple[Array, Array]:
    """Return the squared errors and the squared distances from the training mean, (rows, n); 0 if not tested."""
    error, away = (np.where(tested.test, tested.values - other, 0.0) for other in (z, tested.centres[:, None]))
    return error**2, away**2


def _folds(z: Array, tested: Tested) -> list[tuple[Array, Array]]:
    """Return predicted and true numbers of the test trials of each fold."""
    return [(row[mask], true[mask]) for row, true, mask in zip(z, tested.values, tested.test, strict=True)]


def _below(values: Array) -> Array:
    """Return (n, n): 1 where the row's value is below the column's, 1/2 where they are equal.

    A row of copies times this matrix is the mean rank of each column's value among the copies, but for a constant.
    """
    below = (values[:, None] < values).astype(np.float64)
    below += 0.5 * (values[:, None] == values)
    return below


def _spearman(predicted: Array, true: Array) -> float:
    """Return Spearman's correlation of numbers (n,) each; 0 and NaN as `_correlation` has them."""
    ranks = [
        np.searchsorted(ordered, side, "left") + np.searchsorted(ordered, side, "right")
        for side, ordered in ((predicted, np.sort(predicted)), (true, np.sort(true)))
    ]
    first, second = (rank - rank.mean() for rank in ranks)
    of_first, of_second = first @ first, second @ second
    if not of_second:
        return float("nan")
    return float(first @ second / np.sqrt(of_first * of_second)) if of_first else 0.0


def _correlation(first: Array, second: Array, times: Array) -> Array:
    """Return the correlation of each row of ranks, (rows,) float64, where each column counts several times, or never.

    0 where all predicted numbers are equal, NaN where all true ones are.

    Parameters
    ----------
    first, second : (rows, n) float64
        Ranks of the predicted and of the true numbers.
    times : (rows, n) float64
    """
    n = np.maximum(times.sum(axis=1, keepdims=True), 1)
    first, second = (side - (times * side).sum(axis=1, keepdims=True) / n for side in (first, second))
    both = (times * first * second).sum(axis=1)
    of_first, of_second = ((times * side**2).sum(axis=1) for side in (first, second))
    # ranks differ by 1/2 at least, so smaller sums of squares are rounding
    known, varies = of_second > 1e-6, of_first > 1e-6
    scale = np.sqrt(np.where(known & varies, of_first * of_second, 1.0))
    return np.where(known, np.where(varies, both / scale, 0.0), np.nan)

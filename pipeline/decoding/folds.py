"""Cross-validation of many label vectors at once: folds, training weights and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import ArgumentError

METRICS = ("auc", "accuracy", "balanced_accuracy")
FOLD_MODES = ("stratified", "blocked")

#: (weights (rows, n), labels (rows, n), ks) -> one (rows, n) of decision values for each k
Decide = Callable[[np.ndarray, np.ndarray, Sequence[int]], list[np.ndarray]]


@dataclass(frozen=True)
class Validation:
    """How a classifier is trained and scored.

    Attributes
    ----------
    n_splits : int
    metric : {'auc', 'accuracy', 'balanced_accuracy'}
    C : float
    c_grid : tuple of float
        To choose C from inside each training fold, for each k; () takes ``C``.
    class_weight : {None, 'balanced'}
    fold_mode : {'stratified', 'blocked'}
        Shuffled and stratified, or contiguous in time.
    fold_gap : int
        Trials between training and test trials of blocked folds that are in neither.
    """

    n_splits: int = 5
    metric: str = "auc"
    C: float = 1.0
    c_grid: tuple[float, ...] = ()
    class_weight: str | None = None
    fold_mode: str = "stratified"
    fold_gap: int = 0

    def __post_init__(self) -> None:
        allowed = {"metric": METRICS, "class_weight": (None, "balanced"), "fold_mode": FOLD_MODES}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ArgumentError(f"{name} is one of {values}, not {getattr(self, name)!r}")
        if self.n_splits != int(self.n_splits) or self.n_splits < 2:
            raise ArgumentError(f"folds are 2 or more, not {self.n_splits}")
        if self.fold_gap != int(self.fold_gap) or self.fold_gap < 0 or (
            self.fold_gap and self.fold_mode != "blocked"
        ):  # fmt: skip
            raise ArgumentError(f"fold_gap is a number of trials from 0, for blocked folds, not {self.fold_gap}")
        for c in (self.C, *self.c_grid):
            if not (np.isfinite(c) and c > 0):
                raise ArgumentError(f"C is positive and finite, not {c}")


def fold_masks(y: np.ndarray, seed: int, how: Validation) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test trials of each fold.

    Parameters
    ----------
    y : (n,) 1, 0, or -1 for trials that are left out
    seed : int
    how : Validation

    Returns
    -------
    train, test : (n_splits, n) bool

    Raises
    ------
    ArgumentError
        A class has fewer trials than folds; blocked folds leave a training fold without a class, or
        no test fold with both.
    """
    used = np.flatnonzero(y >= 0)
    counts = np.bincount(y[used], minlength=2)
    if counts.min() < how.n_splits:
        raise ArgumentError(
            f"{how.n_splits} folds need as many trials of each class, there are {counts[0]} of class 0 and {counts[1]} "
            f"of class 1"
        )
    test = np.zeros((how.n_splits, len(y)), dtype=bool)
    if how.fold_mode == "blocked":
        for fold, trials in enumerate(np.array_split(used, how.n_splits)):
            test[fold, trials] = True
    else:
        test[stratified_folds(y[used], how.n_splits, seed), used] = True
    near = test.copy()
    for shift in range(1, how.fold_gap + 1):
        near[:, shift:] |= test[:, :-shift]
        near[:, :-shift] |= test[:, shift:]
    train = ~near & (y >= 0)
    both = (train & (y == 1)).any(axis=1) & (train & (y == 0)).any(axis=1)
    if not both.all():
        raise ArgumentError(
            f"training fold {np.flatnonzero(~both)[0]} has trials of one class only: fewer or stratified folds"
        )
    scored = (test & (y == 1)).any(axis=1) & (test & (y == 0)).any(axis=1)
    if not scored.any():
        raise ArgumentError("no test fold has trials of both classes: fewer or stratified folds")
    return train, test


def stratified_folds(y: np.ndarray, n_splits: int, seed: int) -> np.ndarray:
    """Return the fold in which each trial is tested: those of ``StratifiedKFold(shuffle=True, random_state=seed)``.

    The same folds as scikit-learn's (a test compares them), without its checks, which would take a fifth of the
    time of a curve.

    Parameters
    ----------
    y : (n,) 0 or 1
    n_splits, seed : int

    Returns
    -------
    (n,) int
    """
    random = np.random.RandomState(seed)
    y = (y != y[0]).astype(np.intp)  # classes in the order in which they come
    ordered = np.sort(y)
    sizes = np.array([np.bincount(ordered[i::n_splits], minlength=2) for i in range(n_splits)])
    folds = np.empty(len(y), dtype=np.intp)
    for label in (0, 1):
        of_class = np.arange(n_splits).repeat(sizes[:, label])
        random.shuffle(of_class)
        folds[y == label] = of_class
    return folds


def training_weights(y: np.ndarray, train: np.ndarray, C: float, class_weight: str | None) -> np.ndarray:
    """Return the weight of each trial in the loss, (folds, n) float64: C, times the class weight of the fold."""
    weights = C * train.astype(np.float64)
    if class_weight == "balanced":
        for label in (0, 1):
            count = (train & (y == label)).sum(axis=1, keepdims=True)
            weights[:, y == label] *= train.sum(axis=1, keepdims=True) / (2 * count)
    return weights


@dataclass(frozen=True)
class Groups:
    """Test trials of each fold by class, (rows, most) int, -1 where a fold has fewer.

    Attributes
    ----------
    ones, zeros : (rows, most) int
    """

    ones: np.ndarray
    zeros: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, test: np.ndarray) -> Groups:
        """Return the groups of (rows, n) labels and test masks."""
        return cls(_listed(test & (labels == 1)), _listed(test & (labels == 0)))


def _listed(mask: np.ndarray) -> np.ndarray:
    """Return the columns in which each row is True, padded with -1."""
    counts = mask.sum(axis=1)
    out = np.full((len(mask), max(int(counts.max()), 1)), -1)
    out[np.arange(out.shape[1]) < counts[:, None]] = np.nonzero(mask)[1]
    return out


def scores_of(z: np.ndarray, groups: Groups, metric: str) -> np.ndarray:
    """Score decision values of test trials.

    Parameters
    ----------
    z : (rows, n) float
    groups : Groups
    metric : str

    Returns
    -------
    (rows,) float64
        NaN for a fold without test trials of both classes.
    """
    ones, zeros = groups.ones >= 0, groups.zeros >= 0
    n_ones, n_zeros = ones.sum(axis=1), zeros.sum(axis=1)
    high = np.where(ones, np.take_along_axis(z, groups.ones, axis=1), np.nan)
    low = np.where(zeros, np.take_along_axis(z, groups.zeros, axis=1), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "auc":  # how often class 1 is above class 0, ties counted half
            above = np.count_nonzero(high[:, :, None] > low[:, None, :], axis=(1, 2))
            level = np.count_nonzero(high[:, :, None] == low[:, None, :], axis=(1, 2))
            auc: np.ndarray = (above + 0.5 * level) / (n_ones * n_zeros)
            return auc
        right = (high > 0).sum(axis=1), (low <= 0).sum(axis=1)
        if metric == "balanced_accuracy":
            balanced: np.ndarray = (right[0] / n_ones + right[1] / n_zeros) / 2
            return balanced
        return np.where(n_ones * n_zeros > 0, sum(right) / (n_ones + n_zeros), np.nan)


def bootstrap_means(z: np.ndarray, groups: Groups, metric: str, times: np.ndarray) -> np.ndarray:
    """Return the mean score over folds with test trials drawn with replacement.

    Parameters
    ----------
    z, groups, metric
        As for `scores_of`, the folds of one label vector.
    times : (B, n) float
        How often each trial was drawn.

    Returns
    -------
    (B,) float64
        NaN where no fold has both classes.
    """
    total, known = np.zeros(len(times)), np.zeros(len(times))
    for values, one, zero in zip(z, groups.ones, groups.zeros, strict=True):
        one, zero = one[one >= 0], zero[zero >= 0]
        n_one, n_zero = times[:, one], times[:, zero]
        ones, zeros = n_one.sum(axis=1), n_zero.sum(axis=1)
        both = (ones > 0) & (zeros > 0)
        ones, zeros = np.maximum(ones, 1), np.maximum(zeros, 1)
        if metric == "auc":
            low, high = values[zero], values[one][:, None]
            wins = 0.5 * ((high > low).astype(np.float64) + (high >= low))
            score = ((n_one @ wins) * n_zero).sum(axis=1) / (ones * zeros)
        else:
            right = n_one @ (values[one] > 0), n_zero @ (values[zero] <= 0)
            balanced = metric == "balanced_accuracy"
            score = (right[0] / ones + right[1] / zeros) / 2 if balanced else sum(right) / (ones + zeros)
        total += np.where(both, score, 0)
        known += both
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def cross_validate(
    decide: Decide,
    labels: np.ndarray,
    ks: Sequence[int],
    seed: int,
    how: Validation,
    resampled: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean test score of each label vector at each k.

    Parameters
    ----------
    decide : callable
        Fits all rows and returns their decision values, see ``Decide``.
    labels : (L, n) 1, 0, or -1 for trials that are left out
    ks : sequence of int
    seed : int
        Of the folds.
    how : Validation
    resampled : (B, n) float, optional
        For a bootstrap over the trials of the first label vector.

    Returns
    -------
    scores : (K, L) float64
    bootstrap : (K, B) float64
        Of the first label vector; NaN where no fold has both classes.
    """
    masks = [fold_masks(y, seed, how) for y in labels]
    repeated = np.repeat(labels, how.n_splits, axis=0)
    if how.c_grid:
        grid = [
            _chosen(decide, y, train, [k], seed, how) for k in ks for y, (train, _) in zip(labels, masks, strict=True)
        ]
        chosen = np.array(grid).reshape(len(ks), len(labels), how.n_splits)
        values = []
        for i, k in enumerate(ks):
            weights = [
                training_weights(y, train, 1.0, how.class_weight) * chosen[i, j][:, None]
                for j, (y, (train, _)) in enumerate(zip(labels, masks, strict=True))
            ]
            values += decide(np.concatenate(weights), repeated, [k])
    else:
        weights = [
            training_weights(y, train, how.C, how.class_weight) for y, (train, _) in zip(labels, masks, strict=True)
        ]
        values = decide(np.concatenate(weights), repeated, ks)
    groups = Groups.of(repeated, np.concatenate([test for _, test in masks]))
    first = Groups(groups.ones[: how.n_splits], groups.zeros[: how.n_splits])
    scores = np.empty((len(ks), len(labels)))
    bootstrap = np.empty((len(ks), 0 if resampled is None else len(resampled)))
    for i, z in enumerate(values):
        by_fold = scores_of(z, groups, how.metric).reshape(len(labels), how.n_splits)
        known = np.isfinite(by_fold)
        scores[i] = np.where(known, by_fold, 0).sum(axis=1) / known.sum(axis=1)
        if resampled is not None:
            bootstrap[i] = bootstrap_means(z[: how.n_splits], first, how.metric, resampled)
    return scores, bootstrap


def _chosen(
    decide: Decide, y: np.ndarray, train: np.ndarray, ks: Sequence[int], seed: int, how: Validation
) -> np.ndarray:
    """Return the C of the grid that scores best inside each training fold, the smallest of equals."""
    labels = np.where(train, y, -1)
    by_c = []
    for c in sorted(how.c_grid):
        fixed = replace(how, C=c, c_grid=())
        try:
            by_c.append(cross_validate(decide, labels, ks, seed, fixed)[0][0])
        except ValueError as error:
            raise ArgumentError(f"inside a training fold, where C is chosen from c_grid: {error}") from error
    chosen: np.ndarray = np.array(sorted(how.c_grid))[np.argmax(np.round(by_c, 12), axis=0)]
    return chosen

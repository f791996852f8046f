"""Folds of label vectors, weights of their training trials, and scores of their test trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.decoding import regression
from pipeline.decoding.regression import Tested
from pipeline.decoding.strata import matched, numbers_of
from pipeline.decoding.trials import labelled
from pipeline.errors import ArgumentError
from pipeline.settings.curves import C_RANGES, FOLD_MODES, METRICS, NUMBER_METRICS, PENALTIES, own_c_range

#: A function of weights (rows, n), labels (rows, n), ks (K), c, shared and times that returns decision values, (rows,
#: n) for each k: see ``pipeline.decoding.engine.Subset.decide``. Where c is None the weights are C; else c (K)
#: multiplies them, in units of 1/k: see ``Validation.penalty``.
Decide = Callable[..., list[np.ndarray]]
#: A function of the decision values (K, folds, n) of one label vector, its test trials and the metric, that returns
#: numbers for each k: `influences`, or `bootstrap_means` with its samples.
TrialEffects = Callable[[np.ndarray, "Groups | Tested", str], np.ndarray]
#: Trials that each fold of a regression needs: one alone has no rank.
NUMBERS_PER_FOLD = 2


@dataclass(frozen=True)
class Validation:
    """How a decoder is trained and scored.

    Attributes
    ----------
    n_splits : int
        Number of folds.
    metric : {'auc', 'accuracy', 'balanced_accuracy', 'r2', 'spearman'}
        Of classes, decoded by logistic regression; the last two of numbers, by ridge regression.
    C : float
        Inverse strength of the L2 penalty, in the unit of ``penalty``.
    c_grid : tuple of float
        Values of C to choose from, inside each training fold and for each k; () uses ``C``.
    penalty : {'fixed', 'scaled', 'auto'}
        Unit of C. 'fixed': C is that of scikit-learn at every k. 'scaled': it is divided by k, so that the prior of the
        decision value has the same standard deviation at every k; where neurons are not standardised, by the summed
        variance of the k neurons on the training trials. 'auto': scaled, with C chosen once for each label vector, see
        ``pipeline.decoding.penalty``. The intercept must be free.
    class_weight : {None, 'balanced'}
        'balanced' weights trials inversely to the size of their class in the training fold.
    fold_mode : {'stratified', 'blocked'}
        Random folds, with the class proportions kept, or folds contiguous in time.
    fold_gap : int
        With blocked folds: trials on either side of the test trials that are left out of the training trials.
    c_range : {'wide', 'narrow'}
        How 'auto' chooses; by default ('') 'narrow' for numbers, and 'wide' for classes.
    shared_folds : bool
        Whether shuffled labels have the folds of the real ones, see ``folds_of``; and a C of ``c_grid`` is chosen by
        leaving out pairs of these folds, see ``pipeline.decoding.inner``. Otherwise each label vector is stratified by
        itself, and has inner folds of its own.
    """

    n_splits: int = 5
    metric: str = "auc"
    C: float = 1.0
    c_grid: tuple[float, ...] = ()
    class_weight: str | None = None
    fold_mode: str = "stratified"
    fold_gap: int = 0
    penalty: str = "fixed"
    c_range: str = ""
    shared_folds: bool = False

    def __post_init__(self) -> None:
        allowed = {
            "metric": METRICS, "class_weight": (None, "balanced"), "fold_mode": FOLD_MODES, "penalty": PENALTIES,
            "c_range": C_RANGES,
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ArgumentError(f"{name} must be one of {values}, not {getattr(self, name)!r}")
        if not self.c_range:
            object.__setattr__(self, "c_range", own_c_range(of_numbers=self.of_numbers))
        if self.n_splits != int(self.n_splits) or self.n_splits < 2:
            raise ArgumentError(f"the number of folds must be 2 or more, not {self.n_splits}")
        if self.fold_gap != int(self.fold_gap) or self.fold_gap < 0 or (
            self.fold_gap and self.fold_mode != "blocked"
        ):  # fmt: skip
            raise ArgumentError(
                f"fold_gap must be a number of trials from 0, and 0 unless folds are blocked, not {self.fold_gap}"
            )
        for c in (self.C, *self.c_grid):
            if not (np.isfinite(c) and c > 0):
                raise ArgumentError(f"C must be positive and finite, not {c}")
        if self.penalty == "auto" and (self.c_grid or self.C != 1):
            raise ArgumentError(
                f"penalty='auto' chooses C itself, not with C={self.C:g} and c_grid={self.c_grid}: use "
                f"penalty='scaled' (C / k) or 'fixed' (C)"
            )
        if self.of_numbers and self.class_weight is not None:
            raise ArgumentError(f"numbers have no classes: metric={self.metric!r} needs class_weight=None")

    @property
    def of_numbers(self) -> bool:
        """Whether the labels are numbers, and not classes."""
        return self.metric in NUMBER_METRICS

    def in_units(self, ks: Sequence[int]) -> list[float] | None:
        """Return the argument c of ``Decide`` for weights that are C in the unit of ``penalty``."""
        return None if self.penalty == "fixed" else [1.0] * len(ks)


def fold_masks(
    y: np.ndarray, seed: int, how: Validation, strata: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the training and the test trials of each fold.

    Parameters
    ----------
    y : (n,) 1, 0, or -1 for trials that are left out; or numbers, NaN for these
    seed : int
        Of random folds.
    how : Validation
    strata : (n,) int from 0, optional
        With them, stratified folds keep the proportions of class and stratum.

    Returns
    -------
    train, test : (n_splits, n) bool

    Raises
    ------
    ArgumentError
        A class has fewer trials than there are folds; a training fold lacks a class, or no test fold has both, in
        every stratum if there are strata. Of numbers: there are fewer than two for each fold; those of a training fold
        are all equal, or those of every test fold.
    """
    used = np.flatnonzero(labelled(y))
    _check_enough(y[used], how)
    test = np.zeros((how.n_splits, len(y)), dtype=bool)
    if how.fold_mode == "blocked":
        for fold, trials in enumerate(np.array_split(used, how.n_splits)):
            test[fold, trials] = True
    elif how.of_numbers:
        test[random_folds(len(used), how.n_splits, seed), used] = True
    else:
        kinds = y[used] if strata is None else 2 * strata[used] + y[used]
        test[stratified_folds(kinds, how.n_splits, seed), used] = True
    near = test.copy()
    # shifted over all trials, also those that are left out: the gap is one in time
    for shift in range(1, how.fold_gap + 1):
        near[:, shift:] |= test[:, :-shift]
        near[:, :-shift] |= test[:, shift:]
    train = ~near & labelled(y)
    if how.of_numbers:
        if not varies(y, train).all():
            raise ArgumentError(f"all numbers of training fold {np.flatnonzero(~varies(y, train))[0]} are equal")
        if not varies(y, test).any():
            raise ArgumentError("all numbers of each test fold are equal: use fewer or random folds")
        return train, test
    within = "" if strata is None else " in any stratum (side, contrast)"
    both = has_both(y, train, strata)
    if not both.all():
        raise ArgumentError(
            f"training fold {np.flatnonzero(~both)[0]} has trials of only one class{within}: use fewer or stratified "
            f"folds"
        )
    if not has_both(y, test, strata).any():
        raise ArgumentError(f"no test fold has trials of both classes{within}: use fewer or stratified folds")
    return train, test


def folds_of(
    labels: np.ndarray, seed: int, how: Validation, strata: np.ndarray | None = None, real: np.ndarray | None = None
) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:  # fmt: skip
    """Return the folds of each label vector, and whether they are those of the real labels, shared with other vectors.

    Shared folds are stratified by the real labels only. In small data a shuffled vector then has a few more trials of a
    class in one fold than in another, and its score scatters a little more than that of the real labels, so that p is
    rather too large than too small. A vector shares if it has the trials of the real labels, and both classes in each
    training fold; within strata, and of numbers, none does.

    Parameters
    ----------
    labels : (L, n) 1, 0, or -1 for trials that are left out; or numbers, NaN for these
    seed, how, strata
        As for ``fold_masks``.
    real : (n,) int, optional
        The real labels, if others are among ``labels`` that may share their folds.

    Returns
    -------
    masks : list of (train, test)
        For each label vector, as ``fold_masks`` returns them.
    shared : (L,) bool
        False for the real labels themselves, whose scores do not depend on whether there are others.
    """
    if not how.shared_folds or real is None or strata is not None or how.of_numbers:
        return [fold_masks(y, seed, how, strata) for y in labels], np.zeros(len(labels), dtype=bool)
    common = fold_masks(real, seed, how)
    shared = np.array([_can_share(y, real, *common) for y in labels], dtype=bool)
    masks = [
        common if one or (y == real).all() else fold_masks(y, seed, how) for y, one in zip(labels, shared, strict=True)
    ]
    return masks, shared


def _can_share(y: np.ndarray, real: np.ndarray, train: np.ndarray, test: np.ndarray) -> bool:
    """Return whether other labels than the real ones can be decoded with their folds."""
    same_trials = (labelled(y) == labelled(real)).all() and (y != real).any()
    return bool(same_trials and has_both(y, train, None).all() and has_both(y, test, None).any())


def _check_enough(y: np.ndarray, how: Validation) -> None:
    """Refuse labels (n,) of all used trials that are too few for the folds."""
    if how.of_numbers:
        if len(y) < NUMBERS_PER_FOLD * how.n_splits:
            raise ArgumentError(
                f"{how.n_splits} folds need {NUMBERS_PER_FOLD * how.n_splits} trials with a number, there are {len(y)}"
            )
        return
    counts = np.bincount(y, minlength=2)
    if counts.min() < how.n_splits:
        raise ArgumentError(
            f"{how.n_splits} folds need as many trials of each class, there are {counts[0]} of class 0 and "
            f"{counts[1]} of class 1"
        )


def varies(y: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return whether the numbers y (n,) in each row of masks (rows, n) differ, (rows,) bool."""
    return np.array([len(y[mask]) > 1 and bool(np.ptp(y[mask]) > 0) for mask in masks], dtype=bool)


def has_both(y: np.ndarray, masks: np.ndarray, strata: np.ndarray | None) -> np.ndarray:
    """Return whether each row of masks (rows, n) has trials of both classes, in one stratum at least, (rows,) bool."""
    if strata is None:
        both: np.ndarray = (masks & (y == 1)).any(axis=1) & (masks & (y == 0)).any(axis=1)
        return both
    return np.array([numbers_of(np.where(mask, y, -1), strata).min(axis=0).any() for mask in masks], dtype=bool)


def stratified_folds(y: np.ndarray, n_splits: int, seed: int) -> np.ndarray:
    """Return the test fold of each trial, as ``StratifiedKFold(n_splits, shuffle=True, random_state=seed)`` has them.

    The folds are scikit-learn's (a test compares them), without its input checks, which would take a fifth of the
    time of a curve.

    Parameters
    ----------
    y : (n,) int
        Classes; one may have fewer trials than there are folds.
    n_splits, seed : int

    Returns
    -------
    (n,) int
    """
    _, first, kind = np.unique(y, return_index=True, return_inverse=True)
    y = np.argsort(np.argsort(first))[kind]  # as scikit-learn numbers classes: by first occurrence
    folds = np.empty(len(y), dtype=np.intp)
    for label, of_class in enumerate(_dealt(tuple(np.bincount(y).tolist()), n_splits, seed)):
        folds[y == label] = of_class
    return folds


@lru_cache(maxsize=64)
def _dealt(counts: tuple[int, ...], n_splits: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return the test fold of each trial of each class, from the numbers of trials; kept, as shuffles have the same."""
    # the legacy generator, because scikit-learn draws with it
    random = np.random.RandomState(seed)
    # scikit-learn deals the sorted labels out to the folds in turn, so that each gets its share of every class
    ordered = np.repeat(np.arange(len(counts)), counts)
    sizes = np.array([np.bincount(ordered[i::n_splits], minlength=len(counts)) for i in range(n_splits)])
    dealt = []
    for label in range(len(counts)):
        of_class = np.arange(n_splits).repeat(sizes[:, label])
        random.shuffle(of_class)
        dealt.append(of_class)
    return tuple(dealt)


def random_folds(n: int, n_splits: int, seed: int) -> np.ndarray:
    """Return the test fold of each of n trials, (n,) int: ``KFold(n_splits, shuffle=True, random_state=seed)``."""
    order = np.random.RandomState(seed).permutation(n)  # the legacy generator, as for `stratified_folds`
    folds = np.empty(n, dtype=np.intp)
    for fold, trials in enumerate(np.array_split(order, n_splits)):
        folds[trials] = fold
    return folds


def training_weights(
    y: np.ndarray, train: np.ndarray, C: float, class_weight: str | None, strata: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """Return the weight of each trial in the loss, (folds, n) float64: C times the class weight, 0 outside training.

    Parameters
    ----------
    y : (n,) 1, 0 or -1; or numbers
    train : (folds, n) bool
    C : float
    class_weight : {None, 'balanced'}
    strata : (n,) int from 0, optional
        With them, the weights of ``pipeline.decoding.strata.matched`` instead.
    """
    if strata is not None:
        return C * matched(y, train, strata)
    weights = C * train.astype(np.float64)
    if class_weight == "balanced":
        for label in (0, 1):
            count = (train & (y == label)).sum(axis=1, keepdims=True)
            # scikit-learn's 'balanced': n / (classes x n of the class)
            weights[:, y == label] *= train.sum(axis=1, keepdims=True) / (2 * count)
    return weights


@dataclass(frozen=True)
class Groups:
    """Test trials that are compared with each other, by class: those of a fold, or of a stratum in a fold.

    Attributes
    ----------
    ones, zeros : (groups, largest number) int
        Trial numbers, padded with -1. The groups of a row, one for each stratum, follow each other.
    n_strata : int
        Groups of each row.
    """

    ones: np.ndarray
    zeros: np.ndarray
    n_strata: int = 1

    @classmethod
    def of(cls, labels: np.ndarray, test: np.ndarray, strata: np.ndarray | None = None) -> Groups:
        """Return the groups of (rows, n) labels and test masks; with strata (n,), one for each of them in each row."""
        n = 1 if strata is None else int(strata.max()) + 1
        if strata is not None:
            inside = strata == np.arange(n)[:, None]
            test = (test[:, None] & inside).reshape(-1, test.shape[1])
            labels = np.repeat(labels, n, axis=0)
        return cls(_listed(test & (labels == 1)), _listed(test & (labels == 0)), n)

    def first(self, n_rows: int) -> Groups:
        """Return the groups of the first rows."""
        n = n_rows * self.n_strata
        return Groups(self.ones[:n], self.zeros[:n], self.n_strata)

    def weights(self, labels: np.ndarray, strata: np.ndarray | None) -> np.ndarray:
        """Return the weight of each group in the score of a label vector, (groups,) float64.

        Without strata every group has the same weight. With strata, the pairs of a stratum are pooled over all rows,
        and a stratum has the weight of its rarer class.

        Parameters
        ----------
        labels : (n,) 1, 0 or -1
            The one label vector that all the groups are of.
        strata : (n,) int, optional
        """
        if strata is None:
            return np.ones(len(self.ones))
        pairs = ((self.ones >= 0).sum(axis=1) * (self.zeros >= 0).sum(axis=1)).reshape(-1, self.n_strata)
        rarer = numbers_of(labels, strata).min(axis=0)
        weights: np.ndarray = pairs * (rarer / np.maximum(pairs.sum(axis=0), 1))
        return weights.reshape(-1)


def _listed(mask: np.ndarray) -> np.ndarray:
    """Return the columns in which each row is True, padded with -1."""
    counts = mask.sum(axis=1)
    out = np.full((len(mask), max(int(counts.max()), 1)), -1)
    out[np.arange(out.shape[1]) < counts[:, None]] = np.nonzero(mask)[1]
    return out


def scores_of(z: np.ndarray, groups: Groups, metric: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the score of the test trials of each group.

    Parameters
    ----------
    z : (rows, n) float
        Decision values, one row per fold and label vector.
    groups : Groups
    metric : str
    rows : (groups,) int, optional
        Row of each group; by default each row has the groups of its strata.

    Returns
    -------
    (groups,) float64
        NaN for a group without test trials of both classes.
    """
    if rows is None:
        rows = np.repeat(np.arange(len(z)), groups.n_strata)
    ones, zeros = groups.ones >= 0, groups.zeros >= 0
    n_ones, n_zeros = ones.sum(axis=1), zeros.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "auc":  # share of pairs (one trial of each class) with class 1 above class 0; ties count half
            won = _pairs_won(z, rows, groups.ones, groups.zeros)
            auc: np.ndarray = won.sum(axis=1) / (n_ones * n_zeros)
            return auc
        high = np.where(ones, z[rows[:, None], groups.ones], np.nan)
        low = np.where(zeros, z[rows[:, None], groups.zeros], np.nan)
        # a decision value of exactly 0 is class 0, as in scikit-learn's predict
        right = (high > 0).sum(axis=1), (low <= 0).sum(axis=1)
        if metric == "balanced_accuracy":
            balanced: np.ndarray = (right[0] / n_ones + right[1] / n_zeros) / 2
            return balanced
        return np.where(n_ones * n_zeros > 0, sum(right) / (n_ones + n_zeros), np.nan)


def _pairs_won(z: np.ndarray, rows: np.ndarray, mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return over how many of the others of its group each of my trials has the higher value; ties count half."""
    from pipeline.decoding.compiled import pairs_won

    won: np.ndarray = pairs_won(np.ascontiguousarray(z, dtype=np.float64), rows, mine, others)
    return won


def bootstrap_means(z: np.ndarray, groups: Groups | Tested, metric: str, times: np.ndarray) -> np.ndarray:
    """Return the mean score over folds for each bootstrap sample of the test trials.

    Parameters
    ----------
    z, groups, metric
        As for `scores_of`, the folds of one label vector; `Tested` of numbers.
    times : (B, n) float
        How often each trial is in each sample.

    Returns
    -------
    (B,) float64
        NaN where no fold has both classes.
    """
    if isinstance(groups, Tested):
        return regression.bootstrap_means(z, groups, metric, times)
    # a fold without both classes in a sample has no score: the mean is over the others
    total, known = np.zeros(len(times)), np.zeros(len(times))
    for values, one, zero in zip(z, groups.ones, groups.zeros, strict=True):
        one, zero = one[one >= 0], zero[zero >= 0]
        n_one, n_zero = times[:, one], times[:, zero]
        ones, zeros = n_one.sum(axis=1), n_zero.sum(axis=1)
        both = (ones > 0) & (zeros > 0)
        ones, zeros = np.maximum(ones, 1), np.maximum(zeros, 1)
        if metric == "auc":
            low, high = values[zero], values[one][:, None]
            # 1, or 1/2 for a tie
            wins = 0.5 * ((high > low).astype(np.float64) + (high >= low))
            score = ((n_one @ wins) * n_zero).sum(axis=1) / (ones * zeros)
        else:
            right = n_one @ (values[one] > 0), n_zero @ (values[zero] <= 0)
            balanced = metric == "balanced_accuracy"
            score = (right[0] / ones + right[1] / zeros) / 2 if balanced else sum(right) / (ones + zeros)
        total += np.where(both, score, 0)
        known += both
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def influences(z: np.ndarray, groups: Groups | Tested, metric: str) -> np.ndarray:
    """Return the influence of each trial on the mean score over folds: their squares add up to its variance.

    The score of a fold is a mean over trials of placements (for the AUC, the share of the other class that a trial is
    on the right side of; otherwise whether it is decided rightly). A trial's influence is its deviation from the mean
    of its class in the fold, over the number of trials behind that mean. The squares then add up to the variance that
    drawing the test trials of each class with replacement gives (DeLong et al. 1988), without drawing. Of numbers:
    ``pipeline.decoding.regression.influences``.

    Parameters
    ----------
    z : (folds, n) or (K, folds, n) float
        Decision values of one label vector; of several k.
    groups, metric
        As for `scores_of`; `Tested` of numbers.

    Returns
    -------
    (n,) or (K, n) float64
        0 for trials that are not tested, or are the only one of their class in a fold. All NaN if no fold has both
        classes.
    """
    if isinstance(groups, Tested) or groups.n_strata > 1:
        of_one: Any = regression.influences if isinstance(groups, Tested) else _influences_in_strata
        found: np.ndarray = np.array([of_one(values, groups, metric) for values in z.reshape(-1, *z.shape[-2:])])
        return found.reshape(*z.shape[:-2], -1)
    ones, zeros = groups.ones >= 0, groups.zeros >= 0
    n_ones, n_zeros = ones.sum(axis=1, keepdims=True), zeros.sum(axis=1, keepdims=True)
    scored = (n_ones > 0) & (n_zeros > 0)
    out = np.zeros((*z.shape[:-2], z.shape[-1]))
    if not scored.any():
        return np.full(out.shape, np.nan)
    right = _placements(z, groups, metric, n_ones, n_zeros)
    for trials, known, n, placements in (
        (groups.ones, ones, n_ones, right[0]), (groups.zeros, zeros, n_zeros, right[1]),
    ):  # fmt: skip
        share = {"auc": 1.0, "balanced_accuracy": 0.5, "accuracy": n / np.maximum(n_ones + n_zeros, 1)}[metric]
        deviations = placements - np.where(known, placements, 0).sum(axis=-1, keepdims=True) / np.maximum(n, 1)
        # n - 1: the deviations are from the mean of the same n trials
        of_mean = share * deviations / (scored.sum() * np.sqrt(np.maximum(n * np.maximum(n - 1, 1), 1)))
        tested = known & scored
        out[..., trials[tested]] = of_mean[..., tested]
    return out


def _placements(
    z: np.ndarray, groups: Groups, metric: str, n_ones: np.ndarray, n_zeros: np.ndarray
) -> list[np.ndarray]:  # fmt: skip
    """Return the placements of trials of class 1 and 0, (..., folds, largest number); n_ones, n_zeros (folds, 1)."""
    if metric != "auc":
        # places without a trial have NaN, which is on no side
        fold = np.arange(z.shape[-2])[:, None]
        high, low = (np.where(trials >= 0, z[..., fold, trials], np.nan) for trials in (groups.ones, groups.zeros))
        return [(high > 0).astype(np.float64), (low <= 0).astype(np.float64)]
    rows = z.reshape(-1, z.shape[-1])
    times, fold = (len(rows) // z.shape[-2], 1), np.arange(len(rows))
    ones, zeros = np.tile(groups.ones, times), np.tile(groups.zeros, times)
    won = _pairs_won(rows, fold, ones, zeros), _pairs_won(-rows, fold, zeros, ones)
    above, below = (one.reshape(*z.shape[:-1], -1) for one in won)
    return [above / np.maximum(n_zeros, 1), below / np.maximum(n_ones, 1)]


def _influences_in_strata(z: np.ndarray, groups: Groups, _metric: str) -> np.ndarray:
    """Return the influences on an AUC within strata, (n,) float64; arguments as for `influences`.

    The pairs of a stratum are pooled over the folds: its AUC is a mean of the placements of either class, weighted by
    the number of trials in the fold that they are compared with. Deviations are from that AUC; those of a trial that is
    the only one of its class in the stratum are from the AUC of all strata, as it has no other to differ from.
    """
    out, n_folds, n_strata = np.zeros(z.shape[1]), len(z), groups.n_strata
    ones, zeros = ([row[row >= 0] for row in side] for side in (groups.ones, groups.zeros))
    auc, known = scores_of(z, groups, "auc").reshape(n_folds, n_strata), np.zeros((2, n_strata), dtype=int)
    known += [np.array([len(row) for row in side]).reshape(n_folds, n_strata).sum(axis=0) for side in (ones, zeros)]
    pairs = np.array([len(one) * len(zero) for one, zero in zip(ones, zeros, strict=True)]).reshape(n_folds, n_strata)
    rarer = np.where(pairs.sum(axis=0) > 0, known.min(axis=0), 0)
    if not rarer.any():
        return np.full(z.shape[1], np.nan)
    own = np.where(pairs, auc, 0)  # a fold without a pair has no AUC
    own = (own * pairs).sum(axis=0) / np.maximum(pairs.sum(axis=0), 1)
    everywhere = float(rarer @ own / rarer.sum())
    for group, (one, zero) in enumerate(zip(ones, zeros, strict=True)):
        fold, stratum = divmod(group, n_strata)
        if not (len(one) and len(zero)):
            continue
        high, low = z[fold, one][:, None], z[fold, zero]
        wins = 0.5 * ((high > low).astype(np.float64) + (high >= low))
        scale = rarer[stratum] / rarer.sum() / pairs[:, stratum].sum()
        for trials, others, placements, n in (
            (one, zero, wins.mean(axis=1), known[0, stratum]), (zero, one, wins.mean(axis=0), known[1, stratum]),
        ):  # fmt: skip
            centre = own[stratum] if n > 1 else everywhere
            out[trials] = scale * len(others) * (placements - centre) * np.sqrt(n / max(n - 1, 1))
    return out

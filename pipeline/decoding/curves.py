"""Cross-validated scores and neuron-dropping curves (NDCs).

An NDC is the decoding score of k randomly chosen neurons as a function of k (Lebedev 2014, "How to
read neuron-dropping curves?").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from pipeline.decoding import newton, ridge
from pipeline.decoding.cross_validation import cross_validate
from pipeline.decoding.fits.k_star import k_stars
from pipeline.decoding.fits.uncertainty import TRAINING_FACTOR
from pipeline.decoding.folds import (
    Groups,
    TrialEffects,
    Validation,
    bootstrap_means,
    influences,
)
from pipeline.decoding.nulls import SHIFTED, shuffled_labels
from pipeline.decoding.penalty import CANDIDATES, check, chosen, inner_scores, sizes
from pipeline.decoding.regression import Tested
from pipeline.decoding.retrained import N_SUBSETS, retrained_variance
from pipeline.decoding.trials import labelled
from pipeline.errors import ArgumentError
from pipeline.settings.curves import AXES, INTERVALS, METRICS, NULL_SUBSETS, OF_INFLUENCES, NDCSettings, check_retrained

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pipeline.decoding.engine import Population, Subset

#: With ``null_subsets=0`` shuffle s is decoded from a single subset: that of repeat s modulo this number.
SUBSETS_IN_TURN = 50
#: Mean scores that differ by less are equal: rounding is smaller, the swap of a single pair of ranks is larger.
SCORE_ROUNDING = 1e-9
#: Label vectors that are decoded together from one packed subset; more would take more memory, and leave threads idle.
MAX_VECTORS_PER_ITEM = 64
#: The same of vectors with the same folds, whose Gram matrices are computed once for all of them; and of numbers, whose
#: matrices are factorised once.
MAX_SHARING_PER_ITEM = 128
MAX_NUMBERS_PER_ITEM = 200
#: Memory that all subsets in progress may take together, MB.
MEMORY_MB = 4000

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class NDCCurve:
    """A neuron-dropping curve with all its repeats.

    Attributes
    ----------
    ks : (K,) int64
        Subset sizes: numbers of neurons, or of trials.
    scores : (K, R) float64
        Column r holds nested subsets: the first k neurons of the r-th random order.
    null_scores : (K, S) float64
        Score of each vector of shuffled labels, averaged over the first ``null_subsets`` subsets.
    ceiling : float
        Mean score at the largest k, or of all neurons.
    null_subsets : int
        Subsets averaged in each null score. With 0 each shuffle is decoded from one subset, the subsets in turn.
    trial_means : (K, B) float64
        Mean score of each k in B bootstrap samples of the test trials; sample b is the same for all k. B is 0 unless
        ``intervals="test_trials"``.
    influences : (K, n) float64
        Influence of each of the n labelled trials on the mean score of each k, in their order (see
        ``pipeline.decoding.folds.influences``); n is 0 with ``intervals="test_trials"``. With ``"retrained"`` they are
        multiplied so that twice their sum of squares is the variance of retrained decoders.
    c : float
        Inverse strength of the penalty for the real labels, in its unit: as given, or with penalty 'auto' the chosen
        one. NaN: not known.
    score_c1 : float
        With penalty 'auto': mean score at the largest k with c = 1. NaN: another penalty.
    """

    ks: np.ndarray
    scores: np.ndarray
    null_scores: np.ndarray
    ceiling: float
    null_subsets: int = 0
    trial_means: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    influences: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    c: float = float("nan")
    score_c1: float = float("nan")

    @property
    def mean(self) -> np.ndarray:
        """Mean score of each k over the subsets, (K,) float64."""
        means: np.ndarray = self.scores.mean(axis=1)
        return means

    def k_star(self, delta: float = 0.02) -> int:
        """Return the smallest k whose mean score is within ``delta`` of the ceiling; -1 if none is."""
        k = k_stars(self.ks, self.mean, self.ceiling - delta)
        return int(k) if np.isfinite(k) else -1

    def p_values(self) -> np.ndarray:
        """Return (1 + #{null >= real}) / (1 + S) of each k, (K,) float64; NaN without a null.

        The real score is averaged over the same subsets as each null score: without information in the activity,
        every rank among the null scores is then equally likely. With ``null_subsets=0`` it is averaged over all
        subsets, and p is too large (conservative): a mean over many subsets varies less than a single null score.
        """
        n_null = self.null_scores.shape[1]
        if n_null == 0:
            return np.full(len(self.ks), np.nan)
        real = self.scores[:, : self.null_subsets or None].mean(axis=1, keepdims=True)
        # the 1 counts the real labels as one of the vectors, so that p is never 0
        p: np.ndarray = (1 + (self.null_scores >= real - SCORE_ROUNDING).sum(axis=1)) / (1 + n_null)
        return p


def cv_score(
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_splits: int = 5,
    seed: int = 0,
    metric: str = "auc",
    C: float = 1.0,
    scaling: bool = True,
    penalize_intercept: bool = False,
    class_weight: str | None = None,
    fold_mode: str = "stratified",
    fold_gap: int = 0,
    c_grid: Sequence[float] = (),
    penalty: str = "fixed",
    shared_folds: bool = False,
    strata: np.ndarray | None = None,
) -> float:
    """Return the test score of one decoder: of L2 logistic regression over stratified folds, or of ridge regression.

    The mean over folds equals scikit-learn's ``StratifiedKFold(n_splits, shuffle=True, random_state=seed)`` ->
    ``StandardScaler`` on the training fold -> ``LogisticRegression(C=C)`` at its optimum; with ``penalty='scaled'``,
    ``LogisticRegression(C=C / k)``, where k is the number of neurons. Computed in float64 by Newton's method
    (``pipeline.decoding.newton``). With metric 'r2' or 'spearman' y are numbers, predicted by ``Ridge(alpha=1 / C)``
    over ``KFold(n_splits, shuffle=True, random_state=seed)``; for the scores see ``pipeline.decoding.regression``.

    Parameters
    ----------
    X : (trials, neurons) float
    y : (trials,) 0 or 1, or numbers
    n_splits : int
        Number of folds, at most the number of trials of the smaller class, or half of the numbers.
    seed : int
    metric : {'auc', 'accuracy', 'balanced_accuracy', 'r2', 'spearman'}
    C : float
    scaling : bool
    penalize_intercept : bool
        Penalise the intercept too, as liblinear does.
    class_weight : {None, 'balanced'}
    fold_mode, fold_gap, c_grid, shared_folds
        See ``pipeline.decoding.folds.Validation``; for one score the last matters with ``c_grid`` only.
    penalty : {'fixed', 'scaled'}
        Unit of C and ``c_grid``, see there.
    strata : (trials,) int, optional
        See ``neuron_dropping_curve``.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Shapes disagree; a value is not finite (the message gives row and column); labels are not 0 and 1, or no
        numbers; a class has fewer trials than folds; a setting has a value that is not allowed.
    """
    how = Validation(
        n_splits, metric, C, tuple(c_grid), class_weight, fold_mode, fold_gap, penalty, shared_folds=shared_folds
    )  # fmt: skip
    check(how, penalize_intercept)
    if penalty == "auto":
        raise ArgumentError("penalty='auto' is of a curve; for one score use penalty='scaled', with or without c_grid")
    X, y = _checked(X, y, how, every=True)
    strata = _checked_strata(strata, how, len(y))

    fit: Callable[..., np.ndarray] = (
        partial(ridge.predictions, scaling=scaling) if how.of_numbers
        else partial(newton.decision_values, scaling=scaling, penalize_intercept=penalize_intercept)
    )  # fmt: skip

    def decide(
        weights: np.ndarray, labels: np.ndarray, ks: Sequence[int], c: Sequence[float] | None, shared: np.ndarray,
        times: np.ndarray | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        total = [1.0 if c is None else newton.total_variance(X, row > 0, scaling) for row in weights]
        units = np.ones(len(ks)) if c is None else c
        by_row = np.broadcast_to(1.0 if times is None else times, (len(ks), len(weights)))
        return [
            np.array([
                fit(X, y, unit * (row * time) / variance)
                for y, row, time, variance in zip(labels, weights, of_k, total, strict=True)
            ])
            for unit, of_k in zip(units, by_row, strict=True)
        ]  # fmt: skip

    return float(cross_validate(decide, y[None], [X.shape[1]], seed, how, strata=strata)[0][0, 0])


def _checked(X: np.ndarray, y: np.ndarray, how: Validation, *, every: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return X (trials, neurons) as float32 or float64 and y (trials,) as int8, or of numbers float64.

    Raises ArgumentError if they are unusable; with ``every``, also if a trial is left out.
    """
    X, y = np.asarray(X), np.asarray(y)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape:
        raise ArgumentError(f"X must be (trials, neurons) and y (trials,), not {X.shape} and {y.shape}")
    if not np.isfinite(X).all():
        bad = np.argwhere(~np.isfinite(X))
        raise ArgumentError(f"X is not finite at row {bad[0][0]}, column {bad[0][1]}, and {len(bad) - 1} places more")
    if how.of_numbers:
        numbers = y.astype(np.float64)
        if np.isinf(numbers).any() or (every and np.isnan(numbers).any()):
            raise ArgumentError(f"labels must be finite numbers{'' if every else ' or NaN'}, not {np.unique(y)[-5:]}")
        return X, numbers
    allowed = (0, 1) if every else (-1, 0, 1)
    if not np.isin(y, allowed).all():
        raise ArgumentError(
            f"labels must be {' and '.join(map(str, allowed))}, not {np.unique(y)[:5]}; numbers are decoded with "
            f"metric='r2' or 'spearman'"
        )
    return X, y.astype(np.int8)


def _checked_strata(strata: np.ndarray | None, how: Validation, n: int) -> np.ndarray | None:
    """Return strata numbered from 0, (n,) int; raise ArgumentError if they cannot be used."""
    if strata is None:
        return None
    strata = np.asarray(strata)
    if strata.shape != (n,) or not np.issubdtype(strata.dtype, np.integer):
        raise ArgumentError(f"strata must be a whole number for each of {n} trials, not {strata.dtype} {strata.shape}")
    if how.metric != "auc" or how.class_weight is not None:
        raise ArgumentError(
            f"within strata classes have equal weights and the score is an AUC, not with metric={how.metric!r} and "
            f"class_weight={how.class_weight!r}"
        )
    return np.unique(strata, return_inverse=True)[1].reshape(-1)


def validation_words(settings: NDCSettings) -> dict[str, Any]:
    """Return the arguments of ``neuron_dropping_curve`` and ``penalty_scores`` that say how decoders are validated."""
    return {
        "metric": settings.metric, "cv_splits": settings.cv_splits, "seed": settings.seed, "scaling": settings.scaling,
        "class_weight": "balanced" if settings.class_balance == "weights" else None, "fold_mode": settings.fold_mode,
        "fold_gap": settings.fold_gap, "curve_axis": settings.curve_axis, "trial_shuffled": settings.trial_shuffled,
        "c_range": settings.c_range,
    }  # fmt: skip


def neuron_dropping_curve(
    X: np.ndarray,
    y: np.ndarray,
    *,
    ks: Sequence[int],
    R: int = 50,
    metric: str = "auc",
    cv_splits: int = 5,
    n_label_shuffles: int = 100,
    null: str | np.ndarray = "permute",
    null_subsets: int = NULL_SUBSETS,
    seed: int = 0,
    shuffle_seed: int = 0,
    scaling: bool = True,
    C: float = 1.0,
    ceiling_mode: str = "maxk",
    class_weight: str | None = None,
    penalize_intercept: bool = False,
    fold_mode: str = "stratified",
    fold_gap: int = 0,
    c_grid: Sequence[float] = (),
    intervals: str = "calibrated",
    n_bootstrap: int = 0,
    curve_axis: str = "cells",
    trial_shuffled: bool = False,
    penalty: str = "scaled",
    c_range: str = "",
    shared_folds: bool = False,
    strata: np.ndarray | None = None,
    compared: np.ndarray | None = None,
    known: NDCCurve | None = None,
    memory_mb: float = MEMORY_MB,
    n_jobs: int = 1,
    progress: bool | Callable[[int, int], None] = False,
) -> NDCCurve:
    """Return the decoding score of random subsets of k neurons, for each k.

    Repeat r draws one random order of the neurons; its first k are the subset of each k. Each vector of shuffled
    labels is decoded from the subsets of the first ``null_subsets`` repeats, with the folds of these repeats. The
    order, the folds and each label vector have seed sequences of their own, so the scores depend neither on ``n_jobs``
    nor on which ks, or how many repeats and shuffles, are computed in one call; with ``penalty='auto'`` they depend on
    the largest k, from which C is chosen. Each score is what ``cv_score`` gives for that subset, labels, folds and
    penalty, except where float32 cannot distinguish two decision values (``docs/science/engine.md``).

    With metric 'r2' or 'spearman' the labels are numbers, decoded by ridge regression; everything else is the same.

    Parameters
    ----------
    X : (trials, neurons) float
        Trials in temporal order.
    y : (trials,) 0 or 1, -1 for a trial that is left out; or numbers, NaN for such a trial
    ks : sequence of int
        Subset sizes; those above the number of columns are left out.
    R : int
        Random subsets per k.
    metric : {'auc', 'accuracy', 'balanced_accuracy', 'r2', 'spearman'}
    cv_splits : int
        Number of folds.
    n_label_shuffles : int
        S, 0 for none.
    null : {'permute', 'circular', 'linear_shift'} or (S or more, trials) int or float
        How labels are shuffled, see ``pipeline.decoding.nulls``; or the shuffled labels, as y.
    null_subsets : int
        Subsets averaged in each null score, at most R. More subsets detect weaker information at small k, and cost as
        many more fits. 0: one subset per shuffle, the subsets in turn (see ``NDCCurve.p_values``).
    seed, shuffle_seed : int
        Of the subsets and folds; of the shuffled labels.
    scaling : bool
        Standardise each neuron on the training trials of each fold.
    C : float
        Inverse strength of the L2 penalty, in the unit of ``penalty``.
    ceiling_mode : {'maxk', 'all'}
        Mean score at the largest k, or of all neurons over R sets of folds.
    class_weight : {None, 'balanced'}
    penalize_intercept : bool
        Penalise the intercept too, as liblinear does; not of numbers.
    fold_mode, fold_gap, c_grid
        See ``pipeline.decoding.folds.Validation``.
    intervals : {'calibrated', 'new_trials', 'retrained', 'test_trials'}
        What the intervals of the fit will hold for: decoders that are trained and tested on new trials (from
        ``influences``, which are the same for the first two: their fits differ), or these decoders on new test trials
        (from ``trial_means``; too narrow for other conclusions). With 'retrained' the influences have the variance of
        decoders that are trained again in each of the draws (``pipeline.decoding.retrained``).
    n_bootstrap : int
        B, bootstrap samples of the test trials for ``trial_means``, or draws of 'retrained'; without effect with
        'calibrated' and 'new_trials'.
    curve_axis : {'cells', 'trials'}
        'trials': all neurons are used and ks are numbers of trials, with the class proportions kept. A vector of
        shuffled labels with fewer than k labelled trials is scored on those that it has.
    trial_shuffled : bool
        In each repeat, permute the trials of each neuron within each class: this removes noise correlations (what
        neurons share beyond the class). For shuffled labels the classes are those of the shuffled labels. Not of
        numbers.
    penalty : {'fixed', 'scaled', 'auto'}
        Unit of C and ``c_grid``: see ``pipeline.decoding.folds.Validation``; how 'auto' chooses C is described in
        ``pipeline.decoding.penalty``. With a curve over trials k is the number of neurons, which are all used.
    c_range : {'wide', 'narrow'}, optional
        How 'auto' chooses C; 'narrow' as in former versions, and by default for numbers.
    shared_folds : bool
        Decode shuffled labels with the folds of the real labels, which takes less time, and choose from ``c_grid`` by
        leaving out pairs of folds; otherwise each label vector is decoded as by ``cv_score``. Curves in the database
        share them by default. See ``pipeline.decoding.folds.Validation``. With ``null_subsets`` 0, ``curve_axis``
        'trials', ``trial_shuffled`` or ``strata``, shuffled labels have their own folds.
    strata : (trials,) int, optional
        What the decoder must tell more than, such as the stimulus: trials with equal numbers are of one stratum. The
        decoders are trained with the same strata in both classes, and scored by pairs of one stratum, so that the
        expected score is 0.5 for neurons that know the stratum only (``pipeline.decoding.strata``). Needs metric
        'auc', intervals 'calibrated' or 'new_trials', a curve over cells and no other class weights.
    compared : (D, 3) float, optional
        With 'auto': ``penalty_scores`` of the other sessions that share the C, of whose gains the mean then decides.
    known : NDCCurve, optional
        A curve of the same X, y and settings with fewer ks, repeats or shuffles. Its scores are reused.
    memory_mb : float
        Memory that all subsets in progress may take together, MB; fewer threads run if it would not suffice.
    n_jobs : int
        Threads, -1 for one per core; each uses one BLAS thread.
    progress : bool or callable
        True for a progress bar, or a function of (done, total) units of work.

    Returns
    -------
    NDCCurve

    Raises
    ------
    ArgumentError
        As ``cv_score``; no k is between 1 and the number of neurons; k trials do not fill the folds; shuffled labels
        have another shape; ``known`` was not computed from these data.
    """
    how = Validation(
        cv_splits, metric, C, tuple(c_grid), class_weight, fold_mode, fold_gap, penalty, c_range, shared_folds
    )  # fmt: skip
    check(how, penalize_intercept)
    X, y = _checked(X, y, how)
    if how.of_numbers and trial_shuffled:
        raise ArgumentError(f"numbers have no classes within which trials are shuffled, with metric={metric!r}")
    counts = {"R": R, "n_label_shuffles": n_label_shuffles, "null_subsets": null_subsets, "n_bootstrap": n_bootstrap}
    for name, value in counts.items():
        if value != int(value) or value < (name == "R"):
            raise ArgumentError(f"{name} must be a whole number from {int(name == 'R')}, not {value}")
    words = {"ceiling_mode": (ceiling_mode, ("maxk", "all")), "curve_axis": (curve_axis, AXES)}
    for name, (word, allowed) in {**words, "intervals": (intervals, INTERVALS)}.items():
        if word not in allowed:
            raise ArgumentError(f"{name} must be one of {allowed}, not {word!r}")
    if intervals == "retrained":
        check_retrained(int(n_bootstrap), curve_axis, trial_shuffled, c_grid)
    strata = _checked_strata(strata, how, len(y))
    if strata is not None and (curve_axis != "cells" or trial_shuffled or intervals not in OF_INFLUENCES):
        raise ArgumentError(
            f"strata need curve_axis='cells', trial_shuffled=False and intervals {' or '.join(OF_INFLUENCES)}, "
            f"not {curve_axis!r}, {trial_shuffled} and {intervals!r}"
        )
    y, shuffled = _labels(y, null, n_label_shuffles, shuffle_seed)
    X, y, shuffled, strata = _used(X, y, shuffled, strata, how)
    grid, most = _grid(X, y, ks, curve_axis)
    all_ks = np.append(grid, most) if ceiling_mode == "all" and grid[-1] != most else grid
    of_trials = _TrialEffects.of(y, intervals, int(n_bootstrap), seed)
    shares = shared_folds and null_subsets > 0 and curve_axis == "cells" and not trial_shuffled
    work = _Work(
        X, y, shuffled, how, seed, of_trials, curve_axis, trial_shuffled, scaling, penalize_intercept, strata, shares
    )  # fmt: skip
    work.prepare(int(grid[-1]), _threads(work, all_ks, memory_mb, n_jobs), compared)
    tally = _Tally.empty(all_ks, len(grid), R, len(shuffled), of_trials, min(int(null_subsets), R))
    if known is not None:
        tally.take(known, work)
    tally.fill(work, progress)
    curve = tally.curve()
    if intervals == "retrained":
        curve = replace(curve, influences=work.retrained(curve, int(n_bootstrap)))
    return replace(curve, c=work.c_of([-1])[0], score_c1=work.score_c1(curve))


def penalty_scores(
    X: np.ndarray,
    y: np.ndarray,
    *,
    ks: Sequence[int],
    metric: str = "auc",
    cv_splits: int = 5,
    seed: int = 0,
    scaling: bool = True,
    class_weight: str | None = None,
    fold_mode: str = "stratified",
    fold_gap: int = 0,
    curve_axis: str = "cells",
    trial_shuffled: bool = False,
    c_range: str = "",
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """Return the inner scores of the real labels, from which ``neuron_dropping_curve`` with penalty 'auto' chooses C.

    Sessions that are compared share one C: give the curve of each the scores of the others as ``compared``.

    Parameters
    ----------
    X, y, ks, metric, cv_splits, seed, scaling, class_weight, fold_mode, fold_gap, curve_axis, trial_shuffled, strata
        As for ``neuron_dropping_curve``; only the largest possible k matters.
    c_range : {'wide', 'narrow'}, optional
        As for ``neuron_dropping_curve``.

    Returns
    -------
    (3,) float64
        Of the values of C in ``pipeline.decoding.penalty.CANDIDATES``; NaN if no inner fit is possible.

    Raises
    ------
    ArgumentError
        As ``neuron_dropping_curve``.
    """
    how = Validation(cv_splits, metric, 1.0, (), class_weight, fold_mode, fold_gap, "auto", c_range)
    X, y = _checked(X, y, how)
    strata = _checked_strata(strata, how, len(y))
    X, y, none, strata = _used(X, y, np.empty((0, len(y)), dtype=y.dtype), strata, how)
    grid, _ = _grid(X, y, ks, curve_axis)
    of_trials = _TrialEffects.of(y, "test_trials", 0, seed)
    work = _Work(X, y, none, how, seed, of_trials, curve_axis, trial_shuffled, scaling, False, strata)
    work.prepare(int(grid[-1]), 1, None)
    ((_, scores),) = _run(work.inner, [[-1]], 1)
    found: np.ndarray = scores[0]
    return found


def _used(
    X: np.ndarray, y: np.ndarray, shuffled: np.ndarray, strata: np.ndarray | None, how: Validation
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:  # fmt: skip
    """Return all without trials that no label vector uses, which blocked folds keep, as they hold time."""
    if how.fold_mode != "stratified":
        return X, y, shuffled, strata
    used = labelled(y) | labelled(shuffled).any(axis=0)
    return X[used], y[used], shuffled[:, used], None if strata is None else strata[used]


def _grid(X: np.ndarray, y: np.ndarray, ks: Sequence[int], axis: str) -> tuple[np.ndarray, int]:
    """Return those ks that are possible, sorted, (K,) int64, and the largest possible one."""
    most = X.shape[1] if axis == "cells" else int(labelled(y).sum())
    grid = np.array(sorted({int(k) for k in ks if 1 <= k <= most}), dtype=np.int64)
    if not len(grid) or min(ks) < 1:
        raise ArgumentError(f"ks must be numbers from 1 to {most}, as there are {most} {axis}, not {list(ks)}")
    return grid, most


def _labels(y: np.ndarray, null: str | np.ndarray, n: int, shuffle_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the real labels (trials,) and n shuffled ones (n, trials), of one dtype."""
    if isinstance(null, str):
        if null not in SHIFTED:
            raise ArgumentError(f"null must be one of {', '.join(SHIFTED)}, or an array of labels, not {null!r}")
        return shuffled_labels(y, null, n, shuffle_seed, numbers=y.dtype.kind == "f")
    null, of_numbers = np.asarray(null), y.dtype.kind == "f"
    sound = not np.isinf(null).any() if of_numbers else np.isin(null, (-1, 0, 1)).all()
    if null.ndim != 2 or null.shape[1] != len(y) or len(null) < n or not sound:
        raise ArgumentError(
            f"shuffled labels must be {'numbers or NaN' if of_numbers else '1, 0 or -1'}, (n_label_shuffles={n} or "
            f"more, {len(y)} trials), not {null.dtype} {null.shape}"
        )
    return y, null[:n].astype(y.dtype)


class _Work:
    """The data and settings of a curve: for each repeat, it computes the scores of some label vectors at some ks."""

    def __init__(
        self, X: np.ndarray, y: np.ndarray, shuffled: np.ndarray, how: Validation, seed: int, of_trials: _TrialEffects,
        axis: str, trial_shuffled: bool, scaling: bool, penalize_intercept: bool,
        strata: np.ndarray | None = None, shares: bool = False,
    ) -> None:  # fmt: skip
        self.population = _population(X, how, scaling, penalize_intercept)
        self.y, self.shuffled, self.how, self.seed = y, shuffled, how, seed
        self.axis, self.trial_shuffled, self.strata = axis, trial_shuffled, strata
        self.of_trials = of_trials
        #: The labels whose folds shuffled labels may have.
        self.shared = y if shares else None
        #: C of each label vector (-1: the real one), with penalty 'auto'.
        self._c: dict[int, float] = {}
        self.largest, self.n_threads, self.compared = 0, 1, np.empty((0, len(CANDIDATES[how.c_range])))

    @property
    def vectors_per_item(self) -> int:
        """Label vectors that are decoded together."""
        if self.how.of_numbers:
            return MAX_NUMBERS_PER_ITEM
        return MAX_VECTORS_PER_ITEM if self.shared is None else MAX_SHARING_PER_ITEM

    def prepare(self, largest: int, n_threads: int, compared: np.ndarray | None) -> None:
        """Set the largest k of the curve, the number of threads, and the inner scores of the other sessions."""
        self.largest, self.n_threads = largest, n_threads
        if compared is not None:
            self.compared = np.asarray(compared, dtype=np.float64).reshape(-1, self.compared.shape[1])

    def c_of(self, vectors: Sequence[int]) -> list[float]:
        """Return C of label vectors (-1: the real one), in the unit of the penalty; with 'auto' it is chosen now."""
        if self.how.penalty != "auto":
            return [self.how.C] * len(vectors)
        new, size = [vector for vector in vectors if vector not in self._c], self.vectors_per_item
        parts = [new[i : i + size] for i in range(0, len(new), size)]
        for part, scores in _run(self.inner, parts, self.n_threads):
            # a shuffle takes the place of the real labels of its session, among those of the others
            self._c.update(zip(part, chosen(scores, self.compared, self.how.c_range).tolist(), strict=True))
        return [self._c[vector] for vector in vectors]

    def inner(self, vectors: Sequence[int]) -> np.ndarray:
        """Return the inner scores of label vectors (-1: the real one) on the first subset, (L, candidates) float64."""
        labels = np.array([self.y if vector < 0 else self.shuffled[vector] for vector in vectors])
        order_seed, order, folds = self._draws(0)
        ks = sizes(self.largest, self.how.c_range) if self.axis == "cells" else [self.population.N]
        if self.axis == "trials":
            labels = np.array([_fewer_trials(row, self.largest, order_seed) for row in labels])
        found = [
            inner_scores(
                self._subset(order[: max(ks)], 0, part[0]).decide, part, ks, folds, self.how, self.strata, self.shared
            )
            for part in ([row[None] for row in labels] if self.trial_shuffled else [labels])
        ]
        return np.concatenate(found)

    def score_c1(self, curve: NDCCurve) -> float:
        """Return the mean score of the curve at its largest k with C = 1; NaN unless the penalty is 'auto'."""
        if self.how.penalty != "auto":
            return float("nan")
        if self.c_of([-1])[0] == 1:
            return float(curve.mean[-1])
        k, y = curve.ks[-1:], self.y[None]
        repeats = range(curve.scores.shape[1])
        found = _run(lambda repeat: self._solved(repeat, y, [1.0], k, None)[0], repeats, self.n_threads)
        return float(np.mean([scores[0, 0] for _, scores in found]))

    def retrained(self, curve: NDCCurve, n_draws: int) -> np.ndarray:
        """Return the influences of a curve, (K, n), with the variance of decoders that are trained again."""
        draws = [self._draws(repeat) for repeat in range(N_SUBSETS)]
        subsets = [(self._subset(order[: max(curve.ks)], 0, self.y).decide, folds) for _, order, folds in draws]
        ks = [int(k) for k in curve.ks]
        variance = retrained_variance(subsets, self.y, ks, self.how, self.c_of([-1])[0], n_draws, self.seed)
        known = TRAINING_FACTOR * (curve.influences**2).sum(axis=1)
        # a score of 1 has no influences, and keeps none
        factor = np.sqrt(np.divide(variance, known, out=np.zeros_like(known), where=known > 0))
        influences: np.ndarray = curve.influences * factor[:, None]
        return influences

    def scores(self, repeat: int, real: bool, shuffles: Sequence[int], ks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of the real labels (if ``real``), then of the shuffles, and effects of the real trials.

        Returns
        -------
        scores : (K, 1 if real + number of shuffles) float64
        effects : (K, B) float64
            As ``_TrialEffects`` has them; B is 0 without the real labels.
        """
        # the real labels first, if they are asked for: the effects are those of the first vector
        labels = np.concatenate([self.y[None][: int(real)], self.shuffled[list(shuffles)]])
        c = self.c_of([-1] * real + list(shuffles))
        effects = self.of_trials.compute if real else None
        if not self.trial_shuffled:
            return self._solved(repeat, labels, c, ks, effects)
        # Each label vector has its own activity, permuted within its own classes. Activity permuted within the real
        # classes would keep the information about them and lose that about the shuffled ones: p would be too small.
        rows = [
            self._solved(repeat, row[None], c[i : i + 1], ks, None if i else effects) for i, row in enumerate(labels)
        ]
        return np.concatenate([scores for scores, _ in rows], axis=1), rows[0][1]

    def _draws(self, repeat: int) -> tuple[np.random.SeedSequence, np.ndarray, int]:
        """Return the seed of a repeat's order, the order of the neurons, (N,) int, and the seed of the folds."""
        # Spawned: another number of neurons leaves the folds as they are. The words of this and the other SeedSequences
        # ([seed, b, 3], [seed, repeat, 4, label]; in retrained [seed, b, 5]; in nulls [seed, s, 1], [seed, n, 2]) keep
        # apart what is drawn, and stored scores depend on them. A last word of 0 would not keep apart: numpy pads with
        # zeros.
        order_seed, fold_seed = np.random.SeedSequence([self.seed, repeat]).spawn(2)
        # 32 bits, as scikit-learn's folds are seeded (RandomState)
        folds = int(fold_seed.generate_state(1)[0])
        if self.axis == "trials":  # all neurons are used, in their own order
            return order_seed, np.arange(self.population.N), folds
        return order_seed, np.random.default_rng(order_seed).permutation(self.population.N), folds

    def _solved(
        self, repeat: int, labels: np.ndarray, c: Sequence[float], ks: np.ndarray, effects: TrialEffects | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (K, L) of label vectors (L, n) on the same activity, and the first's effects (K, B)."""
        order_seed, order, folds = self._draws(repeat)
        if self.axis == "cells":
            # packed once, up to the largest k: the smaller subsets are prefixes of it
            subset = self._subset(order[: max(ks)], repeat, labels[0])
            numbers = [int(k) for k in ks]
            return cross_validate(subset.decide, labels, numbers, folds, self.how, effects, c, self.strata, self.shared)
        subset = self._subset(order, repeat, labels[0])
        parts = []
        for k in ks:
            # the order of the neurons is not used on this axis, so its seed serves for the trials
            fewer = np.array([_fewer_trials(row, int(k), order_seed) for row in labels])
            try:
                parts.append(cross_validate(subset.decide, fewer, [self.population.N], folds, self.how, effects, c))
            except ArgumentError as error:
                raise ArgumentError(f"a curve over trials cannot have k = {k}: {error}") from error
        scores, of_trials = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(of_trials)

    def _subset(self, order: np.ndarray, repeat: int, y: np.ndarray) -> Subset | ridge.RidgeSubset:
        """Return the neurons of ``order`` (K,), ready to be decoded."""
        population = self.population
        if isinstance(population, ridge.RidgePopulation):
            return ridge.RidgeSubset(population, order)
        from pipeline.decoding.engine import Subset

        return Subset(population, order, *(self._replaced(order, repeat, y) if self.trial_shuffled else ()))

    def _replaced(self, order: np.ndarray, repeat: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return activity with trials permuted within the classes of y: standardised (K, n), and raw (n, K)."""
        population = cast("Population", self.population)  # numbers have no classes
        # the trial that each neuron takes its activity from, (K, n); left-out trials keep their own
        source = np.tile(np.arange(len(y)), (len(order), 1))
        for label in (0, 1):
            trials = np.flatnonzero(y == label)
            # not seeded by k: the activity of a prefix is the same whichever larger subset it is packed in
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, repeat, 4, label]))
            source[:, trials] = rng.permuted(source[:, trials], axis=1)
        standard = np.take_along_axis(population.standard[order], source, axis=1)
        return standard, np.take_along_axis(population.X[:, order], source.T, axis=0)


def _population(
    X: np.ndarray, how: Validation, scaling: bool, penalize_intercept: bool
) -> Population | ridge.RidgePopulation:  # fmt: skip
    """Return the activity, ready for regressions of the labels' kind."""
    if how.of_numbers:
        return ridge.RidgePopulation(X, scaling=scaling)
    from pipeline.decoding.engine import Population

    return Population(X, scaling=scaling, penalize_intercept=penalize_intercept)


@dataclass(frozen=True)
class _TrialEffects:
    """What the trials do to the scores of the real labels, computed for each subset and averaged over the subsets.

    Attributes
    ----------
    name : str
        Field of NDCCurve.
    number : int
        B, numbers for each k.
    compute : callable or None
    """

    name: str
    number: int
    compute: TrialEffects | None

    @classmethod
    def of(cls, y: np.ndarray, intervals: str, n_bootstrap: int, seed: int) -> _TrialEffects:
        """Return those that intervals need."""
        if intervals != "test_trials":
            used = labelled(y)

            def compute(z: np.ndarray, groups: Groups | Tested, metric: str) -> np.ndarray:
                of_used: np.ndarray = influences(z, groups, metric)[:, used]
                return of_used

            return cls("influences", int(used.sum()), compute)
        times = _resampled(y, n_bootstrap, seed)

        def means(z: np.ndarray, groups: Groups | Tested, metric: str) -> np.ndarray:
            return np.array([bootstrap_means(of_k, groups, metric, times) for of_k in z])

        return cls("trial_means", n_bootstrap, means if n_bootstrap else None)


def _resampled(y: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    """Return how often each trial is drawn in each bootstrap sample, (B, n) float64."""
    used = np.flatnonzero(labelled(y))
    times = np.zeros((n_bootstrap, len(y)))
    for b in range(n_bootstrap):
        # sample b does not depend on B, so that a curve can be extended; nor on k, so that samples pair over the curve
        rng = np.random.default_rng(np.random.SeedSequence([seed, b, 3]))
        times[b, used] = np.bincount(rng.integers(len(used), size=len(used)), minlength=len(used))
    return times


def _fewer_trials(y: np.ndarray, n: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Return y (trials,) with n labels kept, the others -1.

    Class proportions are kept, and the trials of a smaller n are among those of a larger one. Of numbers, NaN.
    """
    rng = np.random.default_rng(seed)
    if y.dtype.kind == "f":
        numbers: np.ndarray = np.full(len(y), np.nan)
        kept = rng.permutation(np.flatnonzero(labelled(y)))[:n]
        numbers[kept] = y[kept]
        return numbers
    ones = rng.permutation(np.flatnonzero(y == 1))
    zeros = rng.permutation(np.flatnonzero(y == 0))
    n_ones = round(n * len(ones) / (len(ones) + len(zeros)))
    # beginnings of one random order of each class: the trials of a smaller n are among them
    kept = np.concatenate([ones[:n_ones], zeros[: n - n_ones]])
    out = np.full(len(y), -1, dtype=np.int8)
    out[kept] = y[kept]
    return out


class _Item(NamedTuple):
    """A unit of work for one thread: label vectors that are decoded together from one subset.

    Attributes
    ----------
    repeat : int
    real : bool
        Whether the real labels are among them.
    shuffles : list of int
    k_indices : (n,) int
        Positions in the ks of the tally.
    """

    repeat: int
    real: bool
    shuffles: list[int]
    k_indices: np.ndarray


@dataclass
class _Tally:
    """The scores of a curve while they are computed; only its methods change its arrays.

    Attributes
    ----------
    ks : (K,) int64
        The G subset sizes of the curve; then, where the ceiling is that of all neurons, their number.
    null_subsets : int
    scores : (K, R) float64
        NaN where not yet known.
    null_scores : (G, S) float64
        NaN where not yet known. While `fill` runs, sums over the subsets.
    of_trials : str
        Field of NDCCurve that holds the effects of the trials.
    trial_sums : (G, B) float64
        These effects, summed over repeats.
    n_summed : (G,) float64
        Repeats in these sums.
    """

    ks: np.ndarray
    null_subsets: int
    scores: np.ndarray
    null_scores: np.ndarray
    of_trials: str
    trial_sums: np.ndarray
    n_summed: np.ndarray

    @classmethod
    def empty(cls, ks: np.ndarray, G: int, R: int, S: int, of_trials: _TrialEffects, null_subsets: int) -> _Tally:
        """Return a tally without any score."""
        scores, null_scores = np.full((len(ks), R), np.nan), np.full((G, S), np.nan)
        sums = np.zeros((G, of_trials.number))
        return cls(ks, null_subsets, scores, null_scores, of_trials.name, sums, np.zeros(G))

    @property
    def grid(self) -> np.ndarray:
        """Subset sizes of the curve itself, (G,) int64."""
        return self.ks[: len(self.null_scores)]

    def curve(self) -> NDCCurve:
        """Return the finished curve."""
        ceiling, scores = float(self.scores[-1].mean()), self.scores[: len(self.grid)].copy()
        means = self.trial_sums / self.n_summed[:, None] if self.trial_sums.size else self.trial_sums
        curve = NDCCurve(self.grid, scores, self.null_scores, ceiling, self.null_subsets)
        return replace(curve, influences=means) if self.of_trials == "influences" else replace(curve, trial_means=means)

    def fill(self, work: _Work, progress: bool | Callable[[int, int], None]) -> None:
        """Compute every score that is missing."""
        # scores taken from a known curve are means already: only the others are summed up and divided
        items, missing = self._items(work.vectors_per_item), np.isnan(self.null_scores)
        # chosen before the threads begin: every subset needs C of the same label vectors
        work.c_of(sorted({-1 for item in items if item.real} | {s for item in items for s in item.shuffles}))
        self.null_scores[missing] = 0.0

        def compute(item: _Item) -> tuple[np.ndarray, np.ndarray]:
            return work.scores(item.repeat, item.real, item.shuffles, self.ks[item.k_indices])

        for item, (scores, effects) in _run(compute, items, work.n_threads, progress):
            self._add(item, scores, effects)
        self.null_scores[missing] /= max(self.null_subsets, 1)

    def _add(self, item: _Item, scores: np.ndarray, effects: np.ndarray) -> None:
        """Enter what ``_Work.scores`` returned for an item."""
        of_curve = item.k_indices[item.k_indices < len(self.grid)]  # the k of the ceiling has no null and no interval
        n = len(of_curve)
        # intp, because numpy would make an empty list a float array, which cannot index
        self.null_scores[np.ix_(of_curve, np.array(item.shuffles, dtype=np.intp))] += scores[:n, int(item.real) :]
        if item.real:
            self.scores[item.k_indices, item.repeat] = scores[:, 0]
            self.trial_sums[of_curve] += effects[:n]
            self.n_summed[of_curve] += 1

    def _items(self, size: int) -> list[_Item]:
        """Return what is missing as units of work, of up to ``size`` label vectors each.

        Packing a subset is expensive, so label vectors that miss the same ks of it are decoded together, as many as
        memory allows.
        """
        (K, R), (G, S) = self.scores.shape, self.null_scores.shape
        missing, null_missing = np.isnan(self.scores), np.pad(np.isnan(self.null_scores), ((0, K - G), (0, 0)))
        items = []
        for repeat in range(max(R, self.null_subsets or min(S, SUBSETS_IN_TURN))):
            # label vectors (-1: the real one) by which ks they miss
            by_missing: dict[tuple[bool, ...], list[int]] = {}
            if repeat < R:
                by_missing[tuple(missing[:, repeat])] = [-1]
            for s in self._shuffles_of(repeat):
                by_missing.setdefault(tuple(null_missing[:, s]), []).append(s)
            for pattern, vectors in by_missing.items():
                # vectors that miss no k are no work; the real one (-1) is the first of its list, as in `_Work.scores`
                for start in range(0, len(vectors) * any(pattern), size):
                    batch = vectors[start : start + size]
                    items.append(_Item(repeat, batch[0] < 0, [s for s in batch if s >= 0], np.flatnonzero(pattern)))
        return items

    def _shuffles_of(self, repeat: int) -> range:
        """Return the shuffles that are decoded from the subset of a repeat."""
        S = self.null_scores.shape[1]
        if self.null_subsets:
            return range(S if repeat < self.null_subsets else 0)
        return range(repeat, S if repeat < SUBSETS_IN_TURN else 0, SUBSETS_IN_TURN)

    def take(self, known: NDCCurve, work: _Work) -> None:
        """Copy the scores of a former curve, if those that are computed again agree with it.

        Raises
        ------
        ArgumentError
            They do not agree: the curve is of other data or settings.
        """
        _, mine, theirs = np.intersect1d(self.grid, known.ks, return_indices=True)
        if not len(mine):
            return
        n_shuffles, n_known = self.null_scores.shape[1], known.null_scores.shape[1]
        R, R_known, B = self.scores.shape[1], known.scores.shape[1], self.trial_sums.shape[1]
        same_null = bool(n_shuffles and n_known and self.null_subsets == known.null_subsets)
        _check_known(work, known, int(theirs[-1]), with_null=same_null)
        if same_null:
            s = min(n_shuffles, n_known)
            self.null_scores[mine, :s] = known.null_scores[theirs, :s]
        r = min(R, R_known)
        of_trials: np.ndarray = getattr(known, self.of_trials)
        if B and (of_trials.shape != (len(known.ks), B) or r < R_known):
            return  # its effects are of other samples, or more repeats than are wanted: they have to be computed again
        self.scores[mine, :r] = known.scores[theirs, :r]
        if B:
            self.trial_sums[mine] = of_trials[theirs] * r
            self.n_summed[mine] = r


def _check_known(work: _Work, known: NDCCurve, index: int, *, with_null: bool) -> None:
    """Raise ArgumentError unless a curve's first scores at ``known.ks[index]``, computed again, are the same."""
    k = known.ks[index : index + 1]
    again, former = [work.scores(0, True, [], k)[0][0, 0]], [known.scores[index, 0]]
    if with_null:
        repeats = range(known.null_subsets or 1)
        again.append(np.mean([work.scores(repeat, False, [0], k)[0][0, 0] for repeat in repeats]))
        former.append(known.null_scores[index, 0])
    # as SCORE_ROUNDING: np.mean and the sums of `_add` round differently
    if np.abs(np.subtract(again, former)).max() > 1e-9:
        raise ArgumentError(
            f"the known curve is not of these data and settings: at k = {k[0]} its first scores (real and "
            f"shuffled labels) are {np.round(former, 6)}, computed again they are {np.round(again, 6)}"
        )


def _threads(work: _Work, ks: np.ndarray, memory_mb: float, n_jobs: int) -> int:
    """Return how many threads may run: at most ``n_jobs``, or the cores, and as many as memory allows."""
    import os

    # not cpu_count alone: a scheduler or a container may allow fewer cores than the machine has
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    largest = int(max(ks)) if work.axis == "cells" else work.population.N
    # float64: labels, weights and training trials of an item's rows, and their decision values at each k
    n_bytes = 8 * work.vectors_per_item * work.how.n_splits * work.population.n * (len(ks) + 3)
    n_bytes += work.population.bytes_of(largest)
    return min(cores if n_jobs < 0 else n_jobs, int(memory_mb * 1e6 // n_bytes))


def _run(
    compute: Callable[[ItemT], ResultT], items: Sequence[ItemT], n_threads: int,
    progress: bool | Callable[[int, int], None] = False,
) -> Iterator[tuple[ItemT, ResultT]]:  # fmt: skip
    """Compute the items in threads with one BLAS thread each, and yield them with their results, in order.

    The order keeps sums of scores the same to the last bit, whatever the number of threads.
    """
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    if not items:
        return
    n_threads, bar = max(1, min(n_threads, len(items))), None
    if progress is True:
        from tqdm import tqdm

        bar = tqdm(total=len(items), desc="subsets", leave=False)
    # threads, because the kernels release the GIL; BLAS threads in each of them would compete for the same cores
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        results = _results(compute, items, pool) if n_threads > 1 else map(compute, items)
        for done, (item, result) in enumerate(zip(items, results, strict=True), start=1):
            yield item, result
            if bar is not None:
                bar.update()
            elif callable(progress):
                progress(done, len(items))
    if bar is not None:
        bar.close()


def _results(compute: Callable[[ItemT], ResultT], items: Sequence[ItemT], pool: Executor) -> Iterator[ResultT]:
    """Yield the results of the items, computed in the threads of a pool, in order."""
    from pipeline.decoding.compiled import is_compiled

    # compiling in the calling thread: Ctrl-C reaches no other, and Python does not end before its threads have compiled
    alone = 0 if is_compiled() else 1
    yield from map(compute, items[:alone])
    yield from pool.map(compute, items[alone:])


__all__ = ["METRICS", "NDCCurve", "cv_score", "neuron_dropping_curve", "penalty_scores"]

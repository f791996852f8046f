"""Transfer: readouts that were trained on one day decode another day, from the same cells.

A readout is a weighted sum of the cells. It is trained with the labels of its own day only, and applied unchanged to
the trials of another day. A lower score there has two causes: the code is another, or the signal of that day is weaker.
Every day is therefore also decoded by readouts of its own, with as many training trials, and a pair of days is compared
with these (``transfer_decay``).

Three scores of a readout of day i on day j, which differ in the training trials of day i only:

- `score`: those of each fold, one readout for each; on the diagonal they are tested on the fold that was left out;
- `refit_score`: all of them, so that there is none on the diagonal;
- `half_score`: those of random halves; on the diagonal they are tested on the other half.

Labels may be numbers: readouts are then ridge regressions, and R^2 counts from the mean number of their training
trials, also on another day: predicting that mean scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import scipy

from pipeline.decoding import newton
from pipeline.decoding.curves import SCORE_ROUNDING, neuron_dropping_curve, penalty_scores, validation_words
from pipeline.decoding.fits.families import ALPHA, d_squared
from pipeline.decoding.fits.uncertainty import RULES, SAME_DECODERS, score_interval
from pipeline.decoding.folds import Groups, Validation, fold_masks, influences, scores_of, training_weights
from pipeline.decoding.penalty import chosen
from pipeline.decoding.regression import Tested, score
from pipeline.decoding.ridge import RidgePopulation, RidgeSubset
from pipeline.decoding.trials import labelled
from pipeline.errors import ArgumentError
from pipeline.settings.curves import NUMBER_METRICS, NDCSettings

#: What the activity of a day is standardised by: its own mean and standard deviation, or those of the training trials.
SCALERS = ("own", "trained")
#: Days that an interval of a slope needs: without one of them three remain, with two gaps at least.
MIN_DAYS = 4
#: Up to so many days the permutation test of the decay takes all orders of the days, above it this many random ones.
MOST_DAYS, N_ORDERS = 7, 9999
#: Settings that a readout of all cells has no use for, and the values with which they do nothing.
WITHOUT_EFFECT = {
    "cells": ("shared",), "curve_axis": ("cells",), "trial_shuffled": (False,), "c_grid": ((),), "n_cells": (0,),
    "null": ("auto", "permute", "circular", "linear_shift", "pseudosession", "conditional"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Day:
    """The trials of a session that are decoded.

    Attributes
    ----------
    X : (n, N) float64
        Activity of the cells in the trials, in temporal order; column c is the same cell on all days.
    y : (n,) int8 or float64
        Class 1 or 0, -1 for a trial that is left out; or numbers, NaN for such a trial.
    strata : (n,) int, optional
        See ``pipeline.decoding.strata``.
    null : (S, n) int8 or float64, optional
        Null labels, as ``y``.
    """

    X: np.ndarray
    y: np.ndarray
    strata: np.ndarray | None = None
    null: np.ndarray | None = None

    @property
    def nulls(self) -> np.ndarray:
        """The null labels, (S, n); S is 0 without them."""
        return np.empty((0, len(self.y)), dtype=self.y.dtype) if self.null is None else self.null


@dataclass(frozen=True, eq=False)
class Readouts:
    """Linear readouts of a day: decision value, or predicted number = activity @ weights + intercept.

    Attributes
    ----------
    weights : (M, N) float64
        In the units of the activity that they were trained on.
    intercepts : (M,) float64
    centres : (M,) float64
        Of numbers: mean of the training trials.
    n_train : int
        Training trials; the mean of the readouts, rounded.
    """

    weights: np.ndarray
    intercepts: np.ndarray
    centres: np.ndarray
    n_train: int

    def decide(self, X: np.ndarray) -> np.ndarray:
        """Return the decision values of trials (n, N), (M, n) float64."""
        values: np.ndarray = self.weights @ X.T + self.intercepts[:, None]
        return values


@dataclass(frozen=True, eq=False)
class DayReadouts:
    """All readouts of a day: see the beginning of this module.

    Attributes
    ----------
    folds, whole, halves : Readouts
        Of the training trials of each fold; of all; of random halves, two of each split.
    half_score : float
        Mean score of the halves, each on the other half of its split.
    """

    folds: Readouts
    whole: Readouts
    halves: Readouts
    half_score: float


@dataclass(frozen=True, eq=False)
class TransferScore:
    """Scores of the readouts of one day on a day.

    Attributes
    ----------
    score, refit_score, half_score : float
        See the beginning of this module; ``refit_score`` is NaN on the diagonal.
    low, high : float
        95 % interval of ``score``. Off the diagonal for these readouts on new trials of the test day (the variance of
        DeLong 1988, on the logit scale). On the diagonal for readouts that are trained and tested on new trials.
    p : float
        (1 + number of null labels of the test day with a score as high) / (1 + S); NaN without null labels.
    null_scores : (S,) float64
    n_train, n_test : int
        Trials behind ``score``.
    """

    score: float
    refit_score: float
    half_score: float
    low: float
    high: float
    p: float
    null_scores: np.ndarray
    n_train: int
    n_test: int


def check_transfer(settings: NDCSettings, scaler: str) -> None:
    """Refuse settings that have no meaning for readouts that are tested on other days.

    Raises
    ------
    ArgumentError
    """
    if scaler not in SCALERS:
        raise ArgumentError(f"scaler must be one of {', '.join(SCALERS)}, not {scaler!r}")
    if scaler == "own" and not settings.scaling:
        raise ArgumentError("scaler='own' standardises each day, which scaling=False forbids: use scaler='trained'")
    for name, allowed in WITHOUT_EFFECT.items():
        if getattr(settings, name) not in allowed:
            raise ArgumentError(
                f"a readout of all shared cells on other days needs {name} {' or '.join(map(repr, allowed))}, "
                f"not {getattr(settings, name)!r}"
            )


def scaled_day(day: Day, settings: NDCSettings, scaler: str) -> tuple[Day, NDCSettings]:
    """Return a day as its readouts take it, and the settings of these.

    With the scaler 'own' each cell has mean 0 and standard deviation 1 over all trials of the day, also those that are
    left out; labels play no part in it. With 'trained' the activity stays as it is: readouts are trained on cells that
    are standardised on their training trials, and other days are scaled by the same numbers.

    Parameters
    ----------
    day : Day
    settings : NDCSettings
    scaler : {'own', 'trained'}
    """
    check_transfer(settings, scaler)
    if scaler == "trained":
        return day, settings
    mean, sd = _moments(day.X)
    return replace(day, X=(day.X - mean) / sd), replace(settings, scaling=False)


def _moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the columns, (N,) float64; 1 for a constant one."""
    mean, var = X.mean(axis=0), X.var(axis=0)
    return mean, np.where(newton.constant(mean, var, len(X)), 1.0, np.sqrt(var))


# ------------------------------------------------------------------------------------------------------- the readouts


def one_c(inner: Sequence[np.ndarray], settings: NDCSettings) -> float:
    """Return the c of the readouts of all days: by the mean of the inner scores of the days, or as set.

    Parameters
    ----------
    inner : sequence of (3,) float64
        ``inner_of`` each day, in one order for all; empty unless the penalty is 'auto'.
    settings : NDCSettings
    """
    if not len(inner):
        return settings.c
    own, others = np.array(inner[:1]), np.array(inner[1:]).reshape(-1, np.size(inner[0]))
    return float(chosen(own, others, settings.c_range)[0])


def inner_of(day: Day, settings: NDCSettings) -> np.ndarray:
    """Return the inner scores of a day, (3,) float64: see ``pipeline.decoding.penalty_scores``."""
    return penalty_scores(day.X, day.y, ks=[day.X.shape[1]], strata=day.strata, **validation_words(settings))


def day_readouts(day: Day, settings: NDCSettings, c: float) -> DayReadouts:
    """Train the readouts of a day.

    Parameters
    ----------
    day : Day
        As ``scaled_day`` returns it, with the settings.
    settings : NDCSettings
        ``r`` is the number of random halves; with blocked folds there is one split, the earlier and the later half.
    c : float
        Inverse strength of the penalty, in its unit.

    Raises
    ------
    ArgumentError
        Folds or halves cannot have trials of both classes, or enough numbers.
    """
    how = _validation(settings)
    folds = fold_masks(day.y, _seed(settings.seed, 5), how, day.strata)[0]
    n_halves = settings.r if settings.fold_mode == "stratified" else 1
    splits = [
        fold_masks(day.y, _seed(settings.seed, h, 6), replace(how, n_splits=2), day.strata) for h in range(n_halves)
    ]
    halves, others = (np.concatenate(masks) for masks in zip(*splits, strict=True))
    every = np.concatenate([folds, labelled(day.y)[None], halves])
    found, K = train(day, every, settings, c), len(folds)
    parts = (slice(K), slice(K, K + 1), slice(K + 1, None))
    of_folds, whole, of_halves = (_some(found, day.y, every, rows) for rows in parts)
    half_score = _mean_score(of_halves, day.X, day.y, others, day.strata, settings.metric)
    return DayReadouts(of_folds, whole, of_halves, half_score)


def _seed(*words: int) -> int:
    # 32 bits, as the legacy generator of the folds is seeded
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _some(found: tuple[np.ndarray, np.ndarray], y: np.ndarray, masks: np.ndarray, rows: slice) -> Readouts:
    centres = np.array([y[mask].mean() for mask in masks[rows]], dtype=np.float64)
    return Readouts(found[0][rows], found[1][rows], centres, round(masks[rows].sum(axis=1).mean()))


def _validation(settings: NDCSettings) -> Validation:
    words = validation_words(settings)
    return Validation(
        words["cv_splits"], words["metric"], class_weight=words["class_weight"], fold_mode=words["fold_mode"],
        fold_gap=words["fold_gap"], penalty=settings.penalty, c_range=words["c_range"],
    )  # fmt: skip


def train(day: Day, masks: np.ndarray, settings: NDCSettings, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Train a readout on each of some sets of trials.

    The engine returns decision values z. The weights follow from them by the condition of the optimum, that the
    gradient of the penalised loss is 0: w = sum over trials of C_t y_t / (1 + exp(y_t z_t)) x_t, with y_t = +-1; of
    numbers, w = sum of C_t (y_t - z_t) x_t. This is exact, and as precise as z.

    Parameters
    ----------
    day : Day
    masks : (M, n) bool
    settings : NDCSettings
    c : float

    Returns
    -------
    weights : (M, N) float64
    intercepts : (M,) float64
    """
    from threadpoolctl import threadpool_limits

    from pipeline.decoding.engine import Population, Subset

    X, scaling, penalised = np.asarray(day.X, dtype=np.float64), settings.scaling, settings.penalize_intercept
    numbers = settings.metric in NUMBER_METRICS
    costs = training_weights(day.y, masks, c, _validation(settings).class_weight, day.strata)
    if settings.penalty != "fixed":
        costs = np.array([row / newton.total_variance(X, row > 0, scaling) for row in costs])
    labels = np.broadcast_to(day.y, masks.shape)
    subset: RidgeSubset | Subset
    with threadpool_limits(1):
        if numbers:
            subset = RidgeSubset(RidgePopulation(X, scaling=scaling), np.arange(X.shape[1]))
        else:
            subset = Subset(Population(X, scaling=scaling, penalize_intercept=penalised), np.arange(X.shape[1]))
        (z,) = subset.decide(costs, labels, [X.shape[1]])
    sign = np.where(day.y == 1, 1.0, -1.0)
    pulls = costs * (day.y - z if numbers else sign * scipy.special.expit(-sign * z))
    weights, intercepts = np.empty((len(masks), X.shape[1])), np.empty(len(masks))
    for i, (pull, cost) in enumerate(zip(pulls, costs, strict=True)):
        used = cost > 0
        mean, sd = _moments(X[used])
        # as the engine has the cells: centred unless the intercept is penalised, scaled or not
        centre = mean if scaling or not penalised else 0.0
        weights[i] = pull[used] @ (X[used] - centre)
        if scaling:
            weights[i] /= sd**2
        intercepts[i] = np.mean(z[i, used] - X[used] @ weights[i])
    return weights, intercepts


# --------------------------------------------------------------------------------------------------------- the scores


def on_other_day(readouts: DayReadouts, test: Day, settings: NDCSettings) -> TransferScore:
    """Return the scores of the readouts of a day on another day.

    Parameters
    ----------
    readouts : DayReadouts
    test : Day
        Scaled as the training day was.
    settings : NDCSettings

    Raises
    ------
    ArgumentError
        No stratum of the test day has trials of both classes, or its numbers are all equal.
    """
    metric, strata = settings.metric, test.strata
    found, whole, halves = (
        _mean_score(one, test.X, test.y, None, strata, metric)
        for one in (readouts.folds, readouts.whole, readouts.halves)
    )
    null = np.array([_mean_score(readouts.folds, test.X, y, None, strata, metric) for y in test.nulls])
    low, high = _interval(found, _influences(readouts.folds, test, metric), metric)
    return TransferScore(
        found, whole, halves, low, high, _p(found, null), null, readouts.folds.n_train, int(labelled(test.y).sum())
    )


def on_own_day(readouts: DayReadouts, day: Day, settings: NDCSettings, inner: np.ndarray) -> TransferScore:
    """Return the scores within a day: cross-validated, and of the halves.

    The score is that of a neuron-dropping curve at its largest k, over ``r`` sets of folds. Null labels are also those
    that the readouts are trained with: training labels of the same session are no independent ones.

    Parameters
    ----------
    readouts : DayReadouts
    day : Day
    settings : NDCSettings
    inner : (D, 3) float64
        Inner scores of the other days; empty unless the penalty is 'auto'.
    """
    N = day.X.shape[1]
    curve = neuron_dropping_curve(
        day.X, day.y, ks=[N], R=settings.r, n_label_shuffles=len(day.nulls), null=day.nulls,
        null_subsets=settings.null_subsets, C=settings.c, penalty=settings.penalty, compared=inner, strata=day.strata,
        penalize_intercept=settings.penalize_intercept, shared_folds=settings.shared_folds,
        **validation_words(settings),
    )  # fmt: skip
    # test trials alone have no interval of new trials: as new_trials
    rule = RULES.get(settings.intervals, RULES["new_trials"])
    load = np.array([N / labelled(day.y).sum()])
    low, high = score_interval(curve.scores, curve.influences, rule, settings.metric, load)
    return TransferScore(
        float(curve.mean[0]), np.nan, readouts.half_score, float(low[0]), float(high[0]), float(curve.p_values()[0]),
        curve.null_scores[0], readouts.folds.n_train, int(labelled(day.y).sum()),
    )  # fmt: skip


def _tested(readouts: Readouts, y: np.ndarray, tests: np.ndarray | None = None) -> Tested:
    """Return the test trials (M, n) of readouts of numbers, by default all."""
    values = np.broadcast_to(y, (len(readouts.centres), len(y)))
    return Tested(values, np.broadcast_to(labelled(y), values.shape) if tests is None else tests, readouts.centres)


def _mean_score(
    readouts: Readouts, X: np.ndarray, y: np.ndarray, tests: np.ndarray | None, strata: np.ndarray | None, metric: str
) -> float:  # fmt: skip
    """Return the mean score of readouts, each on its test trials (M, n) or on all; R^2 of all of them together."""
    z = readouts.decide(X)
    if metric in NUMBER_METRICS:
        found = score(z, _tested(readouts, y, tests), metric)
        if np.isnan(found):
            raise ArgumentError("the numbers of the test trials are all equal")
        return found
    tests = np.broadcast_to(y >= 0, z.shape) if tests is None else tests
    groups = Groups.of(np.broadcast_to(y, z.shape), tests, strata)
    scores, weights = scores_of(z, groups, metric), groups.weights(y, strata)
    known = np.isfinite(scores)
    if not weights[known].any():
        raise ArgumentError("no stratum (side, contrast) of the test day has trials of both classes")
    return float(np.average(scores[known], weights=weights[known]))


def _influences(readouts: Readouts, test: Day, metric: str) -> np.ndarray:
    """Return the influence of each labelled trial of a day on the mean score of readouts, (n_test,) float64."""
    z, y = readouts.decide(test.X), test.y
    alone: list[Tested | Groups]
    if metric == "r2":  # of all readouts together, as the score is
        alone, rows = [_tested(readouts, y)], [z]
    elif metric in NUMBER_METRICS:
        alone, rows = [_tested(_one(readouts, m), y) for m in range(len(z))], [row[None] for row in z]
    else:
        alone, rows = [Groups.of(y[None], (y >= 0)[None], test.strata)] * len(z), [row[None] for row in z]
    of_all = [influences(row, one, metric) for row, one in zip(rows, alone, strict=True)]
    found: np.ndarray = np.mean(of_all, axis=0)[labelled(y)]
    return found


def _one(readouts: Readouts, row: int) -> Readouts:
    here = slice(row, row + 1)
    return replace(
        readouts, weights=readouts.weights[here], intercepts=readouts.intercepts[here], centres=readouts.centres[here]
    )


def _interval(found: float, of_trials: np.ndarray, metric: str) -> tuple[float, float]:
    low, high = score_interval(np.array([[found]]), of_trials[None], SAME_DECODERS, metric)
    return float(low[0]), float(high[0])


def _p(found: float, null: np.ndarray) -> float:
    return float((1 + (null >= found - SCORE_ROUNDING).sum()) / (1 + len(null))) if len(null) else np.nan


@dataclass(frozen=True, eq=False)
class TransferScores:
    """The scores of all pairs of days.

    Attributes
    ----------
    cells : (D, D) list of lists of TransferScore
        ``cells[i][j]``: trained on day i, tested on day j.
    c : float
        Inverse strength of the penalty that all readouts share.
    """

    cells: list[list[TransferScore]]
    c: float

    def of(self, name: str) -> np.ndarray:
        """Return a number of every pair, (D, D) float64: row i is the training day."""
        return np.array([[getattr(cell, name) for cell in row] for row in self.cells], dtype=np.float64)


def transfer_scores(days: Sequence[Day], settings: NDCSettings, scaler: str = "own") -> TransferScores:
    """Train on each day and test on each day, all pairs.

    Parameters
    ----------
    days : sequence of Day
        With the same cells.
    settings : NDCSettings
        Those of a curve; ks and delta do nothing. ``r``: sets of folds within a day, and random halves.
    scaler : {'own', 'trained'}
        See ``scaled_day``.

    Returns
    -------
    TransferScores

    Raises
    ------
    ArgumentError
        A setting has no meaning for transfer; days have different numbers of cells; a day has too few trials.

    Examples
    --------
    >>> rng, y = np.random.default_rng(0), np.repeat([0, 1], 30).astype(np.int8)
    >>> days = [Day(rng.normal(size=(60, 8)) + y[:, None], y) for _ in range(2)]
    >>> found = transfer_scores(days, NDCSettings("choice", r=4, penalty="scaled"))
    >>> found.of("score").shape, bool(found.of("score").min() > 0.8)
    ((2, 2), True)
    """
    if len({day.X.shape[1] for day in days}) > 1:
        raise ArgumentError(f"days must have the same cells, not {', '.join(str(day.X.shape[1]) for day in days)}")
    pairs = [scaled_day(day, settings, scaler) for day in days]
    scaled, asked = [day for day, _ in pairs], pairs[0][1]
    inner = [inner_of(day, asked) for day in scaled] if settings.penalty == "auto" else []
    c = one_c(inner, asked)
    trained = [day_readouts(day, asked, c) for day in scaled]
    cells = [
        [
            on_own_day(readouts, day, asked, np.array(inner[:j] + inner[j + 1 :]))
            if i == j else on_other_day(readouts, day, asked)
            for j, day in enumerate(scaled)
        ]
        for i, readouts in enumerate(trained)
    ]  # fmt: skip
    return TransferScores(cells, c)


# ---------------------------------------------------------------------------------------------------------- the decay


def relative_transfer(half_scores: np.ndarray, metric: str, known: np.ndarray | None = None) -> np.ndarray:
    """Return d' of each pair over that of the test day's own split half, (D, D) float64; NaN for test days at chance.

    Of numbers the place of d' has the root of the ratio of signal and noise, R^2 / (1 - R^2).

    With Gaussian activity d' of a readout is proportional to the signal of the test day, and to the cosine between the
    readout and the best one of that day (in units of the noise). The ratio takes the signal away. What remains also
    depends on how well the readout was trained: compare the same training day.

    Parameters
    ----------
    half_scores : (D, D) float
        Row: day of training. On the diagonal the split half.
    metric : str
    known : (D,) bool, optional
        Days that are above chance; by default those with a score above it.
    """
    d = _strength(half_scores, metric)
    own = np.where(_known(d, known), np.diag(d), np.nan)
    ratio: np.ndarray = d / own
    return ratio


def _strength(scores: np.ndarray, metric: str) -> np.ndarray:
    """Return d' of scores, or of numbers the root of the ratio of signal and noise, with its sign."""
    squared = d_squared(np.asarray(scores, dtype=np.float64), metric)
    strength: np.ndarray = np.sign(squared) * np.sqrt(np.abs(squared))
    return strength


def _known(d: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    above = np.diag(d) > 0
    return above if known is None else above & known


@dataclass(frozen=True, eq=False)
class TransferDecay:
    """The transfer between days over the days between them.

    Attributes
    ----------
    first, second : (P,) int
        Days of each pair, as indices; only pairs of days above chance.
    gaps : (P,) float64
        Days between them.
    values : (P,) float64
        Transfer of the pair, 1 for readouts that are as good on the other day as on their own: see ``transfer_decay``.
    n_days : int
    at_chance : tuple of int
        Days that are not used, because their split half is at chance.
    mean, mean_low, mean_high : float
        Mean over the pairs, with a 95 % interval over days; NaN with fewer than two (three) days.
    slope, low, high : float
        Change of the transfer per day between, with a 95 % interval over days; NaN with fewer than three (four) days,
        or if all gaps are equal.
    p : float
        Of no relation between transfer and gap, two-sided: permutation of the days (Mantel 1967).
    intercept : float
        Of the line, at gap 0.
    """

    first: np.ndarray
    second: np.ndarray
    gaps: np.ndarray
    values: np.ndarray
    n_days: int
    at_chance: tuple[int, ...] = ()
    mean: float = np.nan
    mean_low: float = np.nan
    mean_high: float = np.nan
    slope: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    intercept: float = np.nan


def transfer_decay(
    half_scores: np.ndarray, days: Sequence[float] | np.ndarray, *, metric: str = "auc",
    known: np.ndarray | None = None, seed: int = 0,
) -> TransferDecay:  # fmt: skip
    """Return how transfer depends on the number of days between.

    The value of a pair is (d'_ij + d'_ji) / (2 sqrt(d'_ii d'_jj)) from the halves, which all have as many training
    trials. It is 1 for a fixed code with days of equal signal, like the split half within a day. Training on the
    weaker day and testing on the stronger one, and the reverse, lose and gain about as much. As pairs share days, they
    are not independent: intervals leave out one day at a time (jackknife, Student's t with n - 1 degrees of freedom;
    Snijders and Borgatti 1999 on dyads), and p permutes the days (Mantel 1967).

    Parameters
    ----------
    half_scores : (D, D) float
    days : (D,) float
        Date of each day, counted from any day.
    metric : str
    known : (D,) bool, optional
        Days that are above chance; others have no transfer. By default those with a split half above it.
    seed : int
        Of the permutations, above seven days.

    Raises
    ------
    ArgumentError
        Shapes disagree.

    Examples
    --------
    >>> scores = np.where(np.eye(4) > 0, 0.8, 0.8 - 0.02 * np.abs(np.subtract.outer(range(4), range(4))))
    >>> found = transfer_decay(scores, [0, 1, 2, 3])
    >>> len(found.values), round(found.mean, 2), found.slope < 0
    (6, 0.87, True)
    """
    scores, days = np.asarray(half_scores, dtype=np.float64), np.asarray(days, dtype=np.float64)
    if days.ndim != 1 or scores.shape != (len(days), len(days)):
        raise ArgumentError(f"scores must be (days, days), as there are {days.shape} days, not {scores.shape}")
    d = _strength(scores, metric)
    used = np.flatnonzero(_known(d, known))
    own = np.sqrt(np.diag(d)[used])
    matrix = (d + d.T)[np.ix_(used, used)] / (2 * np.outer(own, own))
    gaps = np.abs(np.subtract.outer(days[used], days[used]))
    i, j = np.triu_indices(len(used), 1)
    at_chance = np.setdiff1d(np.arange(len(days)), used).tolist()
    fields = {name: value for name, value in _line(matrix, gaps).items() if np.isfinite(value)}
    fields |= _jackknife(matrix, gaps, fields)
    if "slope" in fields:
        fields["p"] = _mantel(matrix, gaps, seed)
    return TransferDecay(
        used[i], used[j], gaps[i, j], matrix[i, j], len(used), tuple(at_chance), **fields
    )  # fmt: skip


def _line(matrix: np.ndarray, gaps: np.ndarray) -> dict[str, float]:
    """Return mean, slope and intercept over the pairs of days; NaN where there is none."""
    i, j = np.triu_indices(len(matrix), 1)
    values, gap = matrix[i, j], gaps[i, j]
    if not len(values):
        return {"mean": np.nan, "slope": np.nan, "intercept": np.nan}
    away = gap - gap.mean()
    slope = float(away @ values / (away @ away)) if np.ptp(gap) > 0 and len(values) > 2 else np.nan
    return {"mean": float(values.mean()), "slope": slope, "intercept": float(values.mean() - slope * gap.mean())}


def _jackknife(matrix: np.ndarray, gaps: np.ndarray, found: dict[str, float]) -> dict[str, float]:
    """Return the 95 % intervals of mean and slope, leaving out one day at a time."""
    n = len(matrix)
    without = [
        _line(*(np.delete(np.delete(of_pairs, day, 0), day, 1) for of_pairs in (matrix, gaps))) for day in range(n)
    ]
    intervals: dict[str, float] = {}
    for name, (low, high) in {"mean": ("mean_low", "mean_high"), "slope": ("low", "high")}.items():
        others = np.array([one[name] for one in without])
        if name in found and n > 2 and np.isfinite(others).all():
            error = np.sqrt((n - 1) / n * np.sum((others - others.mean()) ** 2))
            width = float(scipy.special.stdtrit(n - 1, 1 - ALPHA / 2) * error)
            intervals |= {low: found[name] - width, high: found[name] + width}
    return intervals


def _mantel(matrix: np.ndarray, gaps: np.ndarray, seed: int) -> float:
    """Return the share of orders of the days with a slope as steep as theirs."""
    n = len(matrix)
    i, j = np.triu_indices(n, 1)
    if n <= MOST_DAYS:
        orders = np.array(list(permutations(range(n))))
    else:
        rng = np.random.default_rng(seed)
        # the order of the data is one of them, so that p is never 0
        orders = np.array([np.arange(n), *(rng.permutation(n) for _ in range(N_ORDERS))])
    steep = np.abs((gaps[orders[:, i], orders[:, j]] - gaps[i, j].mean()) @ matrix[i, j])
    return float(np.mean(steep >= steep[0] * (1 - 1e-9)))

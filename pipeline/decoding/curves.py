"""Cross-validated scores and neuron-dropping curves (NDCs).

An NDC is the decoding score of k randomly chosen neurons as a function of k (Lebedev 2014, "How to
read neuron-dropping curves?").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.decoding import newton
from pipeline.decoding.folds import METRICS, Validation, cross_validate
from pipeline.decoding.nulls import SHIFTED, shuffled_labels
from pipeline.errors import ArgumentError
from pipeline.settings.curves import NULL_SUBSETS

if TYPE_CHECKING:
    from pipeline.decoding.engine import Subset

#: With none to average (``null_subsets=0``), shuffle s is decoded from the subset of repeat s modulo this.
IN_TURN = 50
#: Mean scores nearer than this are equal but for rounding: smaller than one swap of ranks.
TIE = 1e-9
#: Label vectors that are decoded from one packed subset: bounds the memory.
MOST_VECTORS = 20
#: Memory that the subsets in work may take together, MB.
MEMORY_MB = 4000
AXES = ("cells", "trials")


@dataclass(frozen=True)
class NDCCurve:
    """A neuron-dropping curve with all its repeats.

    Attributes
    ----------
    ks : (K,) int64
        Numbers of neurons; or of trials.
    scores : (K, R) float64
        Column r: nested subsets, the first k neurons of the r-th random order.
    null_scores : (K, S) float64
        Mean score of each vector of shuffled labels over the first ``null_subsets`` subsets.
    ceiling : float
        Mean score at the largest k, or of all neurons.
    null_subsets : int
        0: each shuffle is decoded from one subset, the subsets in turn.
    trial_means : (K, B) float64
        Mean score of each k when the test trials are drawn anew with replacement, the same draw b for all k.
    """

    ks: np.ndarray
    scores: np.ndarray
    null_scores: np.ndarray
    ceiling: float
    null_subsets: int = 0
    trial_means: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def mean(self) -> np.ndarray:
        """Mean score of each k over the subsets, (K,) float64."""
        means: np.ndarray = self.scores.mean(axis=1)
        return means

    def k_star(self, delta: float = 0.02) -> int:
        """Return the smallest k whose mean score is within ``delta`` of the ceiling; -1 if none is."""
        near = np.flatnonzero(self.mean >= self.ceiling - delta)
        return int(self.ks[near[0]]) if near.size else -1

    def p_values(self) -> np.ndarray:
        """Return (1 + #{null >= real}) / (1 + S) of each k, (K,) float64; NaN without a null.

        Real is the mean over the same subsets as each null score, so that labels without information rank
        anywhere with the same chance. With ``null_subsets=0`` it is the mean over all subsets: p is then too
        large, the more so the more the subsets differ, for a mean varies less than single scores.
        """
        n_null = self.null_scores.shape[1]
        if n_null == 0:
            return np.full(len(self.ks), np.nan)
        real = self.scores[:, : self.null_subsets or None].mean(axis=1, keepdims=True)
        p: np.ndarray = (1 + (self.null_scores >= real - TIE).sum(axis=1)) / (1 + n_null)
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
) -> float:
    """Return the mean test score of L2 logistic regression over stratified folds.

    Equals scikit-learn's ``StratifiedKFold(n_splits, shuffle=True, random_state=seed)`` ->
    ``StandardScaler`` on the training fold -> ``LogisticRegression(C=C)`` at its optimum. Computed in
    float64 by Newton's method (``pipeline.decoding.newton``).

    Parameters
    ----------
    X : (trials, neurons) float
    y : (trials,) 0 or 1
    n_splits : int
        At most the number of trials of the smaller class.
    seed : int
    metric : {'auc', 'accuracy', 'balanced_accuracy'}
    C : float
    scaling : bool
    penalize_intercept : bool
        As liblinear does.
    class_weight : {None, 'balanced'}
    fold_mode, fold_gap, c_grid
        See ``pipeline.decoding.folds.Validation``.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Shapes that disagree, a value that is not finite (with row and column), labels other than 0
        and 1, a class with fewer trials than folds, a setting that is not one of those above.
    """
    how = Validation(n_splits, metric, C, tuple(c_grid), class_weight, fold_mode, fold_gap)
    X, y = _checked(X, y, (0, 1))

    def decide(weights: np.ndarray, labels: np.ndarray, ks: Sequence[int]) -> list[np.ndarray]:
        fit = {"scaling": scaling, "penalize_intercept": penalize_intercept}
        rows = zip(labels, weights, strict=True)
        return [np.array([newton.decision_values(X, row, weight, **fit) for row, weight in rows])]

    return float(cross_validate(decide, y[None], [X.shape[1]], seed, how)[0][0, 0])


def _checked(X: np.ndarray, y: np.ndarray, allowed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    X, y = np.asarray(X), np.asarray(y)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape:
        raise ArgumentError(f"X is (trials, neurons) and y (trials,), not {X.shape} and {y.shape}")
    if not np.isfinite(X).all():
        bad = np.argwhere(~np.isfinite(X))
        raise ArgumentError(f"X is not finite at row {bad[0][0]}, column {bad[0][1]}, and {len(bad) - 1} places more")
    if not np.isin(y, allowed).all():
        raise ArgumentError(f"labels are {' and '.join(map(str, allowed))}, not {np.unique(y)[:5]}")
    return X, y.astype(np.int8)


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
    n_bootstrap: int = 0,
    curve_axis: str = "cells",
    trial_shuffled: bool = False,
    known: NDCCurve | None = None,
    memory_mb: float = MEMORY_MB,
    n_jobs: int = 1,
    progress: bool | Callable[[int, int], None] = False,
) -> NDCCurve:
    """Return the decoding score of random subsets of k neurons, for each k.

    Repeat r draws one random order of the neurons; its first k are the subset of each k. Each vector of shuffled
    labels is decoded from the subsets of the first ``null_subsets`` repeats, with their folds' seeds. Order, folds
    and labels of each have seed sequences of their own, so the scores depend neither on ``n_jobs`` nor on which ks,
    how many repeats or shuffles are asked for together. Each score is what ``cv_score`` gives for that subset, its
    labels and folds, but for decision values that float32 cannot tell apart (``docs/science/engine.md``).

    Parameters
    ----------
    X : (trials, neurons) float
        Trials in the order of time.
    y : (trials,) 0 or 1, -1 for a trial that is left out
    ks : sequence of int
        Numbers of neurons; those above the number of columns are left out.
    R : int
        Random subsets per k.
    metric : {'auc', 'accuracy', 'balanced_accuracy'}
    cv_splits : int
    n_label_shuffles : int
        S, 0 for none.
    null : {'permute', 'circular', 'linear_shift'} or (S or more, trials) int
        How labels are shuffled, see ``pipeline.decoding.nulls``; or the shuffled labels: 1, 0, and -1 for
        a trial that is left out.
    null_subsets : int
        Subsets from which each shuffle is decoded: all R if they are fewer. More of them find weaker
        information at small k and cost that many fits. 0: one subset each, in turn (see ``NDCCurve.p_values``).
    seed, shuffle_seed : int
    scaling : bool
    C : float
    ceiling_mode : {'maxk', 'all'}
        Mean score at the largest k, or of all neurons over R sets of folds.
    class_weight : {None, 'balanced'}
    penalize_intercept : bool
        As liblinear does.
    fold_mode, fold_gap, c_grid
        See ``pipeline.decoding.folds.Validation``.
    n_bootstrap : int
        B, draws of the test trials for ``trial_means``.
    curve_axis : {'cells', 'trials'}
        'trials': all neurons, and ks are numbers of trials, the classes in their proportion. Shuffled labels
        that leave out so many trials that fewer than k are left are scored on those.
    trial_shuffled : bool
        Permute each neuron's trials within each class, anew for every repeat: what is left when neurons do not vary
        together (noise correlations). Shuffled labels are decoded after the same within their own classes.
    known : NDCCurve, optional
        A curve of the same X, y and settings with fewer ks, repeats or shuffles: its scores are taken.
    memory_mb : float
        What the subsets in work may take together; fewer threads run if need be.
    n_jobs : int
        Threads, -1 for one per core; each computes with one BLAS thread.
    progress : bool or callable
        True for a bar, or a function of (done, total) subsets.

    Returns
    -------
    NDCCurve

    Raises
    ------
    ArgumentError
        As ``cv_score``; no k is between 1 and the number of neurons; k trials do not fill the folds; shuffled labels
        of another shape; ``known`` is not of these data.
    """
    how = Validation(cv_splits, metric, C, tuple(c_grid), class_weight, fold_mode, fold_gap)
    X, y = _checked(X, y, (-1, 0, 1))
    counts = {"R": R, "n_label_shuffles": n_label_shuffles, "null_subsets": null_subsets, "n_bootstrap": n_bootstrap}
    for name, value in counts.items():
        if value != int(value) or value < (name == "R"):
            raise ArgumentError(f"{name} is a whole number from {int(name == 'R')}, not {value}")
    if ceiling_mode not in ("maxk", "all") or curve_axis not in AXES:
        raise ArgumentError(
            f"ceiling_mode is 'maxk' or 'all', curve_axis one of {AXES}; not {ceiling_mode!r}, {curve_axis!r}"
        )
    y, shuffled = _labels(y, null, n_label_shuffles, shuffle_seed)
    if fold_mode == "stratified":  # what no label vector uses does not take part in anything
        used = (y >= 0) | (shuffled >= 0).any(axis=0)
        X, y, shuffled = X[used], y[used], shuffled[:, used]
    most = X.shape[1] if curve_axis == "cells" else int((y >= 0).sum())
    grid = np.array(sorted({int(k) for k in ks if 1 <= k <= most}), dtype=np.int64)
    if not len(grid) or min(ks) < 1:
        raise ArgumentError(f"ks has numbers from 1 to the {most} {curve_axis}, not {list(ks)}")
    work = _Work(X, y, shuffled, how, seed, int(n_bootstrap), curve_axis, trial_shuffled, scaling, penalize_intercept)
    all_ks = np.append(grid, most) if ceiling_mode == "all" and grid[-1] != most else grid
    m = min(int(null_subsets), R)
    scores, null_scores, trial_means = _filled(work, grid, all_ks, R, m, known, memory_mb, n_jobs, progress)
    return NDCCurve(grid, scores[: len(grid)].copy(), null_scores, float(scores[-1].mean()), m, trial_means)


def _labels(y: np.ndarray, null: str | np.ndarray, n: int, shuffle_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the real labels and (S, trials) shuffled ones."""
    if isinstance(null, str):
        if null not in SHIFTED:
            raise ArgumentError(f"null is one of {', '.join(SHIFTED)}, or an array of labels; not {null!r}")
        return shuffled_labels(y, null, n, shuffle_seed)
    null = np.asarray(null)
    if null.ndim != 2 or null.shape[1] != len(y) or len(null) < n or not np.isin(null, (-1, 0, 1)).all():
        raise ArgumentError(
            f"shuffled labels are 1, 0 or -1, (n_label_shuffles={n} or more, {len(y)} trials); "
            f"not {null.dtype} {null.shape}"
        )
    return y, null[:n].astype(np.int8)


#: What is computed together: (repeat, with the real labels, shuffles, places of the ks).
Item = tuple[int, bool, list[int], np.ndarray]


class _Work:
    """What a curve is made of: for each repeat, the scores of some label vectors at some ks."""

    def __init__(
        self, X: np.ndarray, y: np.ndarray, shuffled: np.ndarray, how: Validation, seed: int, n_bootstrap: int,
        axis: str, trial_shuffled: bool, scaling: bool, penalize_intercept: bool,
    ) -> None:  # fmt: skip
        from pipeline.decoding.engine import Population

        self.population = Population(X, scaling=scaling, penalize_intercept=penalize_intercept)
        self.y, self.shuffled, self.how, self.seed = y, shuffled, how, seed
        self.axis, self.trial_shuffled = axis, trial_shuffled
        self.resampled = _resampled(y, n_bootstrap, seed) if n_bootstrap else None

    def scores(self, repeat: int, real: bool, shuffles: Sequence[int], ks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (K, 1 if real + shuffles) and the real labels' bootstrap (K, B or 0)."""
        labels = np.concatenate([self.y[None][: int(real)], self.shuffled[list(shuffles)]])
        resampled = self.resampled if real else None
        if not self.trial_shuffled:
            return self._solved(repeat, labels, ks, resampled)
        # each label vector has activity of its own, shuffled within its own classes: else the real ones would be
        # compared with vectors from which the shuffle has taken what it leaves them
        rows = [self._solved(repeat, row[None], ks, None if i else resampled) for i, row in enumerate(labels)]
        return np.concatenate([scores for scores, _ in rows], axis=1), rows[0][1]

    def _solved(
        self, repeat: int, labels: np.ndarray, ks: np.ndarray, resampled: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (K, L) of label vectors on the same activity, and the bootstrap of the first."""
        order_seed, fold_seed = np.random.SeedSequence([self.seed, repeat]).spawn(2)
        folds = int(fold_seed.generate_state(1)[0])
        order = np.random.default_rng(order_seed).permutation(self.population.N)
        if self.axis == "cells":
            subset = self._subset(order[: max(ks)], repeat, labels[0])
            return cross_validate(subset.decide, labels, [int(k) for k in ks], folds, self.how, resampled)
        subset = self._subset(np.arange(self.population.N), repeat, labels[0])
        parts = []
        for k in ks:
            fewer = np.array([_fewer_trials(row, int(k), order_seed) for row in labels])
            try:
                parts.append(cross_validate(subset.decide, fewer, [self.population.N], folds, self.how, resampled))
            except ValueError as error:
                raise ArgumentError(f"a curve over trials cannot have k = {k}: {error}") from error
        scores, bootstrap = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(bootstrap)

    def _subset(self, order: np.ndarray, repeat: int, y: np.ndarray) -> Subset:
        from pipeline.decoding.engine import Subset

        return Subset(self.population, order, *(self._replaced(order, repeat, y) if self.trial_shuffled else ()))

    def _replaced(self, order: np.ndarray, repeat: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return activity with trials permuted within the classes of y, standardised (K, n) and as it is (n, K)."""
        source = np.tile(np.arange(len(y)), (len(order), 1))
        for label in (0, 1):
            trials = np.flatnonzero(y == label)
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, repeat, 4, label]))
            source[:, trials] = rng.permuted(source[:, trials], axis=1)
        standard = np.take_along_axis(self.population.standard[order], source, axis=1)
        return standard, np.take_along_axis(self.population.X[:, order], source.T, axis=0)


def _resampled(y: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    """Return how often each trial is drawn in each bootstrap, (B, n) float64."""
    used = np.flatnonzero(y >= 0)
    times = np.zeros((n_bootstrap, len(y)))
    for b in range(n_bootstrap):
        rng = np.random.default_rng(np.random.SeedSequence([seed, b, 3]))
        times[b, used] = np.bincount(rng.integers(len(used), size=len(used)), minlength=len(used))
    return times


def _fewer_trials(y: np.ndarray, n: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Return labels of which n are kept, nested over n, the classes in their proportion; the others -1."""
    rng = np.random.default_rng(seed)
    ones = rng.permutation(np.flatnonzero(y == 1))
    zeros = rng.permutation(np.flatnonzero(y == 0))
    n_ones = round(n * len(ones) / (len(ones) + len(zeros)))
    kept = np.concatenate([ones[:n_ones], zeros[: n - n_ones]])
    out = np.full(len(y), -1, dtype=np.int8)
    out[kept] = y[kept]
    return out


def _filled(
    work: _Work, grid: np.ndarray, all_ks: np.ndarray, R: int, m: int, known: NDCCurve | None, memory_mb: float,
    n_jobs: int, progress: bool | Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return scores (all ks, R), null scores (K, S) and trial means (K, B); what is known is not computed."""
    S, B = len(work.shuffled), 0 if work.resampled is None else len(work.resampled)
    scores, null_scores = np.full((len(all_ks), R), np.nan), np.full((len(grid), S), np.nan)
    summed, counted = np.zeros((len(grid), B)), np.zeros(len(grid))
    if known is not None:
        _take_known(work, known, m, grid, scores, null_scores, summed, counted)
    items = _items(np.isnan(scores), np.isnan(null_scores), m)
    computed = np.isnan(null_scores)
    null_scores[computed] = 0.0
    for (repeat, real, shuffles, at), (found, bootstrap) in _run(work, items, all_ks, memory_mb, n_jobs, progress):
        inside = at[at < len(grid)]
        null_scores[np.ix_(inside, np.array(shuffles, dtype=np.intp))] += found[: len(inside), int(real) :]
        if real:
            scores[at, repeat] = found[:, 0]
        if real and B:
            summed[inside] += bootstrap[: len(inside)]
            counted[inside] += 1
    null_scores[computed] /= max(m, 1)
    return scores, null_scores, summed / counted[:, None] if B else np.empty((len(grid), 0))


def _items(missing: np.ndarray, null_missing: np.ndarray, m: int) -> list[Item]:
    """Return what there is to compute.

    Label vectors that lack the same ks of a subset are solved together, as many as memory allows.
    """
    (n_ks, R), S = missing.shape, null_missing.shape[1]
    lacking = np.pad(null_missing, ((0, n_ks - len(null_missing)), (0, 0)))
    items = []
    for repeat in range(max(R, m or min(S, IN_TURN))):
        shuffles = range(S) if repeat < m else range(repeat, S, IN_TURN) if m == 0 and repeat < IN_TURN else ()
        alike: dict[tuple[bool, ...], list[int]] = {}
        if repeat < R:
            alike[tuple(missing[:, repeat])] = [-1]
        for s in shuffles:
            alike.setdefault(tuple(lacking[:, s]), []).append(s)
        for pattern, vectors in alike.items():
            for start in range(0, len(vectors) * any(pattern), MOST_VECTORS):
                together = vectors[start : start + MOST_VECTORS]
                items.append((repeat, together[0] < 0, [s for s in together if s >= 0], np.flatnonzero(pattern)))
    return items


def _take_known(
    work: _Work, known: NDCCurve, m: int, grid: np.ndarray, scores: np.ndarray, null_scores: np.ndarray,
    summed: np.ndarray, counted: np.ndarray,
) -> None:  # fmt: skip
    """Copy what a former curve has, after its first scores were computed again."""
    _, mine, theirs = np.intersect1d(grid, known.ks, return_indices=True)
    if not len(mine):
        return
    same_null = bool(null_scores.shape[1] and known.null_scores.shape[1] and m == known.null_subsets)
    last = grid[mine[-1:]]
    again, former = [work.scores(0, True, [], last)[0][0, 0]], [known.scores[theirs[-1], 0]]
    if same_null:
        again.append(np.mean([work.scores(repeat, False, [0], last)[0][0, 0] for repeat in range(m or 1)]))
        former.append(known.null_scores[theirs[-1], 0])
    if np.abs(np.subtract(again, former)).max() > 1e-9:
        raise ArgumentError(
            f"the known curve is not of these data and settings: at k = {last[0]} its first scores (real and "
            f"shuffled labels) are {np.round(former, 6)}, computed again they are {np.round(again, 6)}"
        )
    if same_null:
        s = min(null_scores.shape[1], known.null_scores.shape[1])
        null_scores[mine, :s] = known.null_scores[theirs, :s]
    r, b = min(scores.shape[1], known.scores.shape[1]), summed.shape[1]
    if b and (known.trial_means.shape != (len(known.ks), b) or r < known.scores.shape[1]):
        return  # its bootstrap is of other draws or of more repeats: computed anew
    scores[mine, :r] = known.scores[theirs, :r]
    if b:
        summed[mine] = known.trial_means[theirs] * r
        counted[mine] = r


def _run(
    work: _Work, items: list[Item], ks: np.ndarray, memory_mb: float, n_jobs: int,
    progress: bool | Callable[[int, int], None],
) -> Iterator[tuple[Item, tuple[np.ndarray, np.ndarray]]]:  # fmt: skip
    """Compute the items in threads with one BLAS thread each, and yield them in order."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    largest = int(max(ks)) if work.axis == "cells" else work.population.N
    fit = int(memory_mb * 1e6 // work.population.bytes_of(largest))
    n_threads = max(1, min(cores if n_jobs < 0 else n_jobs, len(items), fit))

    def one(item: Item) -> tuple[np.ndarray, np.ndarray]:
        repeat, real, shuffles, at = item
        return work.scores(repeat, real, shuffles, ks[at])

    bar = None
    if progress is True:
        from tqdm import tqdm

        bar = tqdm(total=len(items), desc="subsets", leave=False)
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        results = pool.map(one, items) if n_threads > 1 else map(one, items)
        for done, (item, result) in enumerate(zip(items, results, strict=True), start=1):
            yield item, result
            if bar is not None:
                bar.update()
            elif callable(progress):
                progress(done, len(items))
    if bar is not None:
        bar.close()


__all__ = ["METRICS", "NDCCurve", "cv_score", "neuron_dropping_curve"]

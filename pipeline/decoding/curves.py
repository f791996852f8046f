"""Cross-validated scores and neuron-dropping curves (NDCs).

An NDC is the decoding score of k randomly chosen neurons as a function of k (Lebedev 2014, "How to
read neuron-dropping curves?").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

METRICS = ("auc", "accuracy")


@dataclass(frozen=True)
class NDCCurve:
    """A neuron-dropping curve with all its repeats.

    Attributes
    ----------
    ks : (K,) int64
    scores : (K, R) float64
        Column r: nested subsets, the first k neurons of the r-th random order.
    null_scores : (K, S) float64
        The same with shuffled labels.
    ceiling : float
        Mean score at the largest k, or of all neurons.
    """

    ks: np.ndarray
    scores: np.ndarray
    null_scores: np.ndarray
    ceiling: float

    @property
    def mean(self) -> np.ndarray:
        """Mean score of each k over the subsets, (K,) float64."""
        return self.scores.mean(axis=1)

    def k_star(self, delta: float = 0.02) -> int:
        """Return the smallest k whose mean score is within ``delta`` of the ceiling; -1 if none is."""
        near = np.flatnonzero(self.mean >= self.ceiling - delta)
        return int(self.ks[near[0]]) if near.size else -1

    def p_values(self) -> np.ndarray:
        """Return (1 + #{null >= mean score}) / (1 + S) of each k, (K,) float64; NaN without a null."""
        n_null = self.null_scores.shape[1]
        if n_null == 0:
            return np.full(len(self.ks), np.nan)
        return (1 + (self.null_scores >= self.mean[:, None]).sum(axis=1)) / (1 + n_null)


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
) -> float:
    """Return the mean test score of L2 logistic regression over stratified folds.

    Equals scikit-learn's ``StratifiedKFold(n_splits, shuffle=True, random_state=seed)`` ->
    ``StandardScaler`` on the training fold -> ``LogisticRegression(C=C)`` at its optimum.

    Parameters
    ----------
    X : (trials, neurons) float
    y : (trials,) 0 or 1
    n_splits : int
        At most the number of trials of the smaller class.
    seed : int
    metric : {'auc', 'accuracy'}
    C : float
    scaling : bool
    penalize_intercept : bool
        As liblinear does.
    class_weight : {None, 'balanced'}

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes that disagree, a value that is not finite (with row and column), labels other than 0
        and 1, a class with fewer trials than folds, an unknown metric.
    """
    X, y = _checked(X, y, n_splits, metric)
    return _cv_score(X, y, n_splits, seed, metric, C, scaling, penalize_intercept, class_weight)


def _checked(X: np.ndarray, y: np.ndarray, n_splits: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape:
        raise ValueError(f"X is (trials, neurons) and y (trials,), not {X.shape} and {y.shape}")
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        raise ValueError(f"X is not finite at row {bad[0][0]}, column {bad[0][1]}, and {len(bad) - 1} places more")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels are 0 and 1, not {np.unique(y)[:5]}")
    counts = np.bincount(y.astype(int), minlength=2)
    if counts.min() < n_splits or n_splits < 2:
        raise ValueError(f"{n_splits} folds need as many trials of each class (at least 2), there are {counts}")
    if metric not in METRICS:
        raise ValueError(f"metric is one of {METRICS}, not {metric!r}")
    return X, y.astype(np.int64)


def _cv_score(X, y, n_splits, seed, metric, C, scaling, penalize_intercept, class_weight) -> float:
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed).split(X, y)
    score = _auc if metric == "auc" else _accuracy
    return float(np.mean([
        score(y[test], _decision(X[train], y[train], X[test], C, scaling, penalize_intercept, class_weight))
        for train, test in folds
    ]))  # fmt: skip


def _decision(train, y, test, C, scaling, penalize_intercept, class_weight) -> np.ndarray:
    """Fit on the training fold and return decision values of the test fold."""
    from sklearn.linear_model import LogisticRegression

    mean, sd = train.mean(axis=0), train.std(axis=0)
    if scaling or not penalize_intercept:
        # a free intercept absorbs the means: without them unscaled fluorescence stays well conditioned
        train, test = train - mean, test - mean
    if scaling:
        # as StandardScaler: a column that is constant up to rounding keeps its scale
        sd[sd <= 10 * np.finfo(sd.dtype).eps * np.maximum(np.abs(mean), 1e-300)] = 1.0
        train, test = train / sd, test / sd
    if penalize_intercept:
        train, test = (np.column_stack([part, np.ones(len(part))]) for part in (train, test))
    if train.shape[1] > train.shape[0]:
        # the solution lies in the span of the trials: rotated there, the problem has n dimensions, not k
        basis = np.linalg.qr(train.T)[0]
        train, test = train @ basis, test @ basis
    model = LogisticRegression(
        C=C, solver="newton-cholesky", tol=1e-8, max_iter=200, fit_intercept=not penalize_intercept,
        class_weight=class_weight,
    )  # fmt: skip
    return model.fit(train, y).decision_function(test)


def _auc(y: np.ndarray, decision: np.ndarray) -> float:
    """Return the area under the ROC curve by ranks, ties counted half."""
    from scipy.stats import rankdata

    n_one = int(y.sum())
    ranks = rankdata(decision)[y == 1].sum()
    return (ranks - n_one * (n_one + 1) / 2) / (n_one * (len(y) - n_one))


def _accuracy(y: np.ndarray, decision: np.ndarray) -> float:
    return float(np.mean((decision > 0) == y))


def neuron_dropping_curve(
    X: np.ndarray,
    y: np.ndarray,
    *,
    ks: Sequence[int],
    R: int = 50,
    metric: str = "auc",
    cv_splits: int = 5,
    n_label_shuffles: int = 100,
    null: str = "permute",
    seed: int = 0,
    shuffle_seed: int = 0,
    scaling: bool = True,
    C: float = 1.0,
    ceiling_mode: str = "maxk",
    class_weight: str | None = None,
    n_jobs: int = 1,
    progress: bool | Callable[[int, int], None] = False,
) -> NDCCurve:
    """Return the decoding score of random subsets of k neurons, for each k.

    Repeat r draws one random order of the neurons; its first k are the subset of each k. Shuffle s
    permutes the labels and uses the order and the folds of repeat s. Order, folds and permutation of each
    repeat come from seed sequences of their own, so the scores depend neither on ``n_jobs`` nor on
    which ks, how many repeats or shuffles are asked for together.

    Parameters
    ----------
    X : (trials, neurons) float
    y : (trials,) 0 or 1
    ks : sequence of int
        Numbers of neurons; those above the number of columns are left out.
    R : int
        Random subsets per k.
    metric : {'auc', 'accuracy'}
    cv_splits : int
    n_label_shuffles : int
        S, 0 for none.
    null : {'permute'}
    seed, shuffle_seed : int
    scaling : bool
    C : float
    ceiling_mode : {'maxk', 'all'}
        Mean score at the largest k, or of all neurons over R sets of folds.
    class_weight : {None, 'balanced'}
    n_jobs : int
        Processes; each computes with one BLAS thread.
    progress : bool or callable
        True for a bar, or a function of (done, total).

    Returns
    -------
    NDCCurve

    Raises
    ------
    ValueError
        As ``cv_score``; or no k is between 1 and the number of neurons.
    """
    X, y = _checked(X, y, cv_splits, metric)
    grid = np.array(sorted({int(k) for k in ks if 1 <= k <= X.shape[1]}), dtype=np.int64)
    if not len(grid) or min(ks) < 1:
        raise ValueError(f"ks has numbers from 1 to the {X.shape[1]} neurons, not {list(ks)}")
    if null != "permute" or ceiling_mode not in ("maxk", "all") or R < 1 or n_label_shuffles < 0:
        raise ValueError(
            f"null is 'permute', ceiling_mode 'maxk' or 'all', R from 1, n_label_shuffles from 0; "
            f"not {null!r}, {ceiling_mode!r}, {R}, {n_label_shuffles}"
        )
    fit = (cv_splits, metric, C, scaling, class_weight)
    extra = [X.shape[1]] if ceiling_mode == "all" and grid[-1] != X.shape[1] else []
    real = [(r, None, [*grid, *extra]) for r in range(R)]
    shuffled = [(s, s, grid) for s in range(n_label_shuffles)]
    columns = _run([(X, y, r, s, k, seed, shuffle_seed, fit) for r, s, k in real + shuffled], n_jobs, progress)
    scores = np.array(columns[:R]).T
    null_scores = np.array(columns[R:]).T if n_label_shuffles else np.empty((len(grid), 0))
    return NDCCurve(grid, scores[: len(grid)].copy(), null_scores, float(scores[-1].mean()))


def _column(X, y, repeat, shuffle, ks, seed, shuffle_seed, fit) -> list[float]:
    """Return the scores of one order of the neurons at each k, with shuffled labels if asked."""
    order_seed, fold_seed = np.random.SeedSequence([seed, repeat]).spawn(2)
    order = np.random.default_rng(order_seed).permutation(X.shape[1])
    folds = int(fold_seed.generate_state(1)[0])
    if shuffle is not None:
        y = np.random.default_rng(np.random.SeedSequence([shuffle_seed, shuffle, 1])).permutation(y)
    cv_splits, metric, C, scaling, class_weight = fit
    return [_cv_score(X[:, order[:k]], y, cv_splits, folds, metric, C, scaling, False, class_weight) for k in ks]


def _run(calls: list[tuple], n_jobs: int, progress: bool | Callable[[int, int], None]) -> list[list[float]]:
    """Run ``_column`` for every call, in order, one BLAS thread each."""
    from joblib import Parallel, delayed, parallel_config
    from threadpoolctl import threadpool_limits

    def report(done: int) -> None:
        if callable(progress):
            progress(done, len(calls))

    with threadpool_limits(1), parallel_config("loky", inner_max_num_threads=1):
        results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_column)(*call) for call in calls)
        if progress is True:
            from tqdm import tqdm

            results = tqdm(results, total=len(calls), desc="subsets", leave=False)
        columns = []
        for column in results:
            columns.append(column)
            report(len(columns))
    return columns

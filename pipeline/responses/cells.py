"""What single cells tell: signal to noise, reliability, selectivity for a target, and sparseness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from pipeline.decoding.features import FOVCells, usable_windows
from pipeline.decoding.nulls import auto_null, null_labels
from pipeline.decoding.trials import target_labels
from pipeline.errors import ArgumentError
from pipeline.responses.trial_types import TrialTypeMeans
from pipeline.settings.curves import EVENTS
from pipeline.signals.windows import window_means

#: Fewer windows than this are no vector to correlate.
MIN_WINDOWS = 5
#: Null labels of single cells: of the session itself, or simulated.
CELL_NULLS = ("auto", "pseudosession", "circular", "permute")


def common_windows(n_even: np.ndarray, n_odd: np.ndarray, min_trials: int) -> np.ndarray:
    """Return the windows in which every cell that has trials has enough in both halves, (W,) bool.

    Parameters
    ----------
    n_even, n_odd : (W, N) int
        Trials of each half.
    min_trials : int
        Trials that are needed in each half.

    Examples
    --------
    >>> common_windows(np.array([[3, 3, 0], [3, 1, 0]]), np.array([[2, 2, 0], [3, 3, 0]]), 2)
    array([ True, False])
    """
    there = (n_even + n_odd).sum(axis=0) > 0
    if not there.any():
        return np.zeros(len(n_even), dtype=bool)
    enough: np.ndarray = np.minimum(n_even, n_odd)[:, there].min(axis=1) >= min_trials
    return enough


def unit_columns(values: np.ndarray, *, ranks: bool = False) -> np.ndarray:
    """Return columns, or their ranks, with mean 0 and length 1, (W, N) float64; NaN where a column is constant.

    The product of two such columns is their Pearson, or Spearman, correlation.

    Examples
    --------
    >>> a, b = unit_columns(np.array([[1.0], [2.0], [4.0]])), unit_columns(np.array([[0.0], [1.0], [1.0]]))
    >>> round(float((a * b).sum()), 4) == round(float(np.corrcoef([1, 2, 4], [0, 1, 1])[0, 1]), 4)
    True
    """
    values = np.asarray(values, dtype=float)
    if ranks:
        # rankdata counts NaN as the largest number
        values = np.where(np.isfinite(values).all(axis=0), scipy.stats.rankdata(values, axis=0), np.nan)
    # means of equal values differ from them in the last digit, which would become a direction
    constant = np.ptp(values, axis=0) == 0 if len(values) else np.ones(values.shape[1], dtype=bool)
    centred = values - values.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: np.ndarray = np.where(constant, np.nan, centred) / np.linalg.norm(centred, axis=0)
    return unit


def split_half(means: TrialTypeMeans, min_trials: int = 2) -> np.ndarray:
    """Return Spearman's correlation of the means of even and of odd trials over windows, (N,) float64.

    NaN for a cell whose means do not vary, and for all with fewer than `MIN_WINDOWS` windows.

    Parameters
    ----------
    means : TrialTypeMeans
    min_trials : int
        Trials that a window needs in each half, of every cell.
    """
    used = common_windows(means.n_even, means.n - means.n_even, min_trials)
    if used.sum() < MIN_WINDOWS:
        return np.full(means.mean.shape[1], np.nan)
    even, odd = (unit_columns(half[used], ranks=True) for half in (means.even, means.odd))
    found: np.ndarray = (even * odd).sum(axis=0)
    return found


def signal_to_noise(means: TrialTypeMeans, min_trials: int = 2) -> np.ndarray:
    """Return the variance of a cell's means over windows, relative to the variance over trials, (N,) float64.

    The signal is the covariance, over windows, of the means of even and of odd trials. It is not biased by noise, as
    the variance of the means would be (the signal power of Sahani and Linden 2003, with two halves), so that it is 0 on
    average, and often below, for a cell without a signal. The noise is the variance over the trials of a window,
    averaged over windows. NaN as in ``split_half``.

    Parameters
    ----------
    means : TrialTypeMeans
    min_trials : int
        As for ``split_half``.
    """
    used = common_windows(means.n_even, means.n - means.n_even, min_trials)
    if used.sum() < MIN_WINDOWS:
        return np.full(means.mean.shape[1], np.nan)
    even, odd = (half[used].astype(float) for half in (means.even, means.odd))
    signal = ((even - even.mean(axis=0)) * (odd - odd.mean(axis=0))).sum(axis=0) / (used.sum() - 1)
    noise = (means.sem[used].astype(float) ** 2 * means.n[used]).mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: np.ndarray = np.where(noise > 0, signal / noise, np.nan)
    return ratio


def sparseness(rates: np.ndarray) -> np.ndarray:
    """Return the lifetime sparseness of non-negative responses: 0 if all are equal, 1 if all but one are 0.

    (1 - a) / (1 - 1 / W), with the activity ratio a = mean(r)² / mean(r²) of Treves and Rolls (1991), scaled by Vinje
    and Gallant (2000).

    Parameters
    ----------
    rates : (W, N) float
        Responses of N cells to W kinds of trials, or of W cells on N trials: population sparseness.

    Returns
    -------
    (N,) float64
        NaN where a response is negative or not finite, or all are 0: it is not defined there.

    Examples
    --------
    >>> sparseness(np.array([[1.0, 1, 0, -1], [1, 0, 0, 1], [1, 0, 0, 1]]))
    array([ 0.,  1., nan, nan])
    """
    rates = np.asarray(rates, dtype=float)
    if len(rates) < 2:
        return np.full(rates.shape[1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = rates.mean(axis=0) ** 2 / (rates**2).mean(axis=0)
        found: np.ndarray = np.where((rates >= 0).all(axis=0), (1 - ratio) / (1 - 1 / len(rates)), np.nan)
    return found


@dataclass(frozen=True)
class SelectivitySettings:
    """Settings of what single cells tell.

    Attributes
    ----------
    null : {'auto', 'pseudosession', 'circular', 'permute'}
        Null labels, see ``pipeline.decoding.NULLS``; auto is pseudosession.
    n_label_shuffles : int
        Null labels of each target; with S of them p is 1 / (S + 1) at least.
    min_per_class : int
        Trials of each class that a target needs.
    min_trials : int
        Trials that a window needs in each half.
    shuffle_seed : int

    Raises
    ------
    ArgumentError
        A value is not allowed.
    """

    null: str = "auto"
    n_label_shuffles: int = 1000
    min_per_class: int = 5
    min_trials: int = 2
    shuffle_seed: int = 0

    def __post_init__(self) -> None:
        if self.null not in CELL_NULLS:
            raise ArgumentError(f"null must be one of {', '.join(CELL_NULLS)}, not {self.null!r}")
        least = {"n_label_shuffles": 1, "min_per_class": 1, "min_trials": 1, "shuffle_seed": 0}
        for name, lowest in least.items():
            if int(getattr(self, name)) != getattr(self, name) or getattr(self, name) < lowest:
                raise ArgumentError(f"{name} must be a whole number from {lowest}, not {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class Selectivity:
    """How well single cells tell two classes of trials apart.

    Attributes
    ----------
    auroc : (N,) float64
        Probability that a trial of class 1 has a larger value than one of class 0; 0.5 is none. NaN for a cell without
        a finite value in one of the classes.
    p : (N,) float64
        Of as large a distance from 0.5 with null labels, (1 + #) / (1 + S), two-sided. NaN as above.
    null_low, null_high : (N,) float64
        2.5th and 97.5th percentile of the AUROC with null labels.
    """

    auroc: np.ndarray
    p: np.ndarray
    null_low: np.ndarray
    null_high: np.ndarray


def selectivity(features: np.ndarray, labels: np.ndarray, shuffled: np.ndarray) -> Selectivity:
    """Return the AUROC of each cell for the labels, with its null.

    Parameters
    ----------
    features : (n, N) float
        A value of each cell on each trial. One that is not finite does not count.
    labels : (n,) int
        1 or 0; both must occur.
    shuffled : (S, n) int
        Labels without a relation to the activity, such as those of ``pipeline.decoding.null_labels``. Slow activity and
        slow labels correlate by chance, so that labels in random order are too easy to beat.

    Returns
    -------
    Selectivity

    Raises
    ------
    ArgumentError
        There are no null labels; labels are not 1 and 0, or a class is missing in a vector of labels.

    Examples
    --------
    >>> found = selectivity(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), np.array([[0, 1, 0, 1]]))
    >>> found.auroc, found.p
    (array([1.]), array([0.5]))
    """
    features, every = np.asarray(features, dtype=float), np.vstack([labels, shuffled]).astype(float)
    counts = every.sum(axis=1)
    if len(every) < 2 or not np.isin(every, (0, 1)).all() or not ((counts > 0) & (counts < every.shape[1])).all():
        raise ArgumentError("labels must be 1 and 0, with both in each vector of labels and of null labels")
    finite = np.isfinite(features)
    ranks = np.nan_to_num(scipy.stats.rankdata(np.where(finite, features, np.nan), axis=0, nan_policy="omit"))
    ones, zeros = every @ finite, (1 - every) @ finite
    with np.errstate(invalid="ignore", divide="ignore"):
        # Mann and Whitney's U by the sum of ranks, of all vectors of labels and all cells at once
        auroc = (every @ ranks - ones * (ones + 1) / 2) / (ones * zeros)
    real, null = auroc[0], auroc[1:]
    # differences that are only rounding count as equal, and what is not known as larger: both make p larger
    as_far = ~(np.abs(null - 0.5) < np.abs(real - 0.5) - 1e-12)
    p = np.where(np.isfinite(real), (1 + as_far.sum(axis=0)) / (1 + len(null)), np.nan)
    low, high = np.percentile(null, [2.5, 97.5], axis=0)
    return Selectivity(real, p, low, high)


@dataclass(frozen=True, eq=False)
class TargetSelectivity:
    """Selectivity of the cells of a FOV for a target.

    Attributes
    ----------
    target, null : str
    n_zeros, n_ones : int
        Usable trials of each class.
    found : Selectivity or None
        None with too few trials.
    """

    target: str
    null: str
    n_zeros: int
    n_ones: int
    found: Selectivity | None


def target_selectivity(
    cells: FOVCells, trials: Mapping[str, np.ndarray], target: str, settings: SelectivitySettings, *,
    short_window: str = "nearest", name: str = "",
) -> TargetSelectivity:  # fmt: skip
    """Return how well each cell of a FOV tells the classes of a target, in the window in which it is decoded.

    Parameters
    ----------
    cells : FOVCells
    trials : mapping of ALF attribute to (n,) float64
    target : {'choice', 'feedback', 'stimulus', 'block'}
    settings : SelectivitySettings
    short_window : str
        See ``pipeline.signals.windows.window_means``.
    name : str
        Of the session, so that simulated labels of different sessions are independent.

    Raises
    ------
    DataError
        No null labels with enough trials of each class were found.
    """
    labels, null = target_labels(target, trials), auto_null(target) if settings.null == "auto" else settings.null
    event, (start, end) = EVENTS[target]
    starts, ends = trials[event] + start, trials[event] + end
    usable = np.flatnonzero(~np.isnan(labels) & usable_windows(cells, starts, ends, short_window))
    n_ones = int(labels[usable].sum())
    n_zeros = len(usable) - n_ones
    if min(n_zeros, n_ones) < settings.min_per_class:
        return TargetSelectivity(target, null, n_zeros, n_ones, None)
    real, shuffled = null_labels(
        null, target, trials, usable, settings.n_label_shuffles, settings.shuffle_seed, names=(name, target),
        min_per_class=settings.min_per_class,
    )  # fmt: skip
    features = window_means(cells.traces, cells.frame_times, cells.offsets, starts[usable], ends[usable], short_window)
    return TargetSelectivity(target, null, n_zeros, n_ones, selectivity(features, real, shuffled))

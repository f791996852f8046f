"""More than the stimulus: trials of one stimulus, within which a choice is decoded and scored.

A mouse chooses by the stimulus, so that cells of the stimulus alone decode its choice. Two things take this away:
decoders are trained with weights that give both choices the same stimuli, and scored by pairs of trials of the same
stimulus only. For cells that know nothing but the stratum the expected score is then 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.behavior.task import stimulus
from pipeline.errors import ArgumentError
from pipeline.settings.curves import BEYOND

#: Minority trials (see ``n_minority``) that a session needs for more than a strong code to be found.
ENOUGH = 30


def trial_strata(beyond: str, trials: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the stratum of every trial: equal numbers are trials of the same stimulus.

    Parameters
    ----------
    beyond : {'stimulus', 'stimulus+history'}
        Strata of side and contrast (at zero contrast, of the side that is rewarded); with history also of the last
        choice before the trial: left, right, or none yet.
    trials : mapping of ALF attribute to (n,) float64

    Returns
    -------
    (n,) int64

    Raises
    ------
    ArgumentError
        ``beyond`` has another value.

    Examples
    --------
    >>> left, right = np.array([1.0, 1.0, np.nan, 1.0]), np.array([np.nan, np.nan, 1.0, np.nan])
    >>> trials = {"contrastLeft": left, "contrastRight": right}
    >>> trials |= {"choice": np.array([1.0, 1.0, -1.0, 1.0]), "feedbackType": np.ones(4)}
    >>> [len(set(trial_strata(beyond, trials)[[0, 1, 3]])) for beyond in ("stimulus", "stimulus+history")]
    [1, 3]
    """
    if beyond not in BEYOND[1:]:
        raise ArgumentError(f"beyond must be one of {', '.join(BEYOND[1:])}, not {beyond!r}")
    side, contrast = stimulus(trials)
    columns = [side, np.round(np.nan_to_num(contrast, nan=-1.0), 6)]
    if beyond == "stimulus+history":
        responds = np.isin(trials["choice"], (-1, 1))
        # the number of the last trial before this one with a choice, 0 for none
        last = np.maximum.accumulate(np.append(0, np.where(responds, np.arange(1, len(responds) + 1), 0)))[:-1]
        columns.append(np.append(0.0, trials["choice"])[last])
    strata: np.ndarray = np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1]
    return strata.reshape(-1).astype(np.int64)


def numbers_of(y: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the number of trials of each class in each stratum, (2, strata) int.

    Parameters
    ----------
    y : (n,) 1, 0, or -1 for trials that are left out
    strata : (n,) int from 0
    """
    n = int(strata.max()) + 1 if len(strata) else 0
    return np.array([np.bincount(strata[y == label], minlength=n) for label in (0, 1)])


def n_minority(y: np.ndarray, strata: np.ndarray) -> int:
    """Return the number of trials of the rarer class, summed over the strata: what a session can tell depends on it.

    Parameters
    ----------
    y, strata
        As for ``numbers_of``.

    Examples
    --------
    >>> n_minority(np.array([1, 1, 0, 0, 0, 1, -1]), np.array([0, 0, 0, 1, 1, 2, 2]))
    1
    """
    return int(numbers_of(y, strata).min(axis=0).sum())


def matched(y: np.ndarray, train: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return weights with which both classes have the same strata, (folds, n) float64.

    In a stratum with a and b trials of the classes in training, those of the class with a have the weight
    min(a, b) / a.
    Trials of strata with one class have the weight 0: they are left out.

    Parameters
    ----------
    y, strata
        As for ``numbers_of``.
    train : (folds, n) bool
    """
    weights = np.zeros(train.shape)
    for row, mask in zip(weights, train, strict=True):
        numbers = numbers_of(np.where(mask, y, -1), strata)
        share = numbers.min(axis=0) / np.maximum(numbers, 1)
        row[mask] = share[y[mask], strata[mask]]
    return weights

"""What is embedded of the same cells on several days: their activity, or their means in kinds of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.embedding import EmbeddingSettings
from pipeline.errors import ArgumentError

#: What can be embedded.
EMBEDDED = ("concatenated", "trial_types")


@dataclass(frozen=True)
class DaysSettings:
    """Settings of what is embedded of the cells that several sessions share.

    Attributes
    ----------
    embedded : {'concatenated', 'trial_types'}
        The activity of each cell in all sessions, one after the other by date; or its means in kinds of trials, of the
        trials with even numbers in all sessions, so that those with odd numbers can show whether the order holds.
    bin_seconds : float
        Of 'concatenated': the activity is averaged over bins of this length, s; 0 for every frame.
    min_trials : int
        Of 'trial_types': trials that a window needs in each half, for each cell on each day; others are left out.

    Raises
    ------
    ArgumentError
        A value is out of range, or has no effect on what is embedded.
    """

    embedded: str = "concatenated"
    bin_seconds: float = 0.0
    min_trials: int = 3

    def __post_init__(self) -> None:
        if self.embedded not in EMBEDDED:
            raise ArgumentError(f"embedded must be one of {', '.join(EMBEDDED)}, not {self.embedded!r}")
        if not 0 <= self.bin_seconds < math.inf or self.min_trials < 1:
            raise ArgumentError(
                f"bin_seconds must be 0 or more, and min_trials 1 or more, not {self.bin_seconds} and {self.min_trials}"
            )
        if self.embedded == "trial_types" and self.bin_seconds:
            raise ArgumentError("bin_seconds has an effect on embedded='concatenated' only")
        if self.embedded == "concatenated" and self.min_trials != 3:
            raise ArgumentError("min_trials has an effect on embedded='trial_types' only")


def rastermap_settings(settings: DaysSettings, asked: EmbeddingSettings | None = None) -> EmbeddingSettings:
    """Return the settings of Rastermap for several days.

    By default those of a session; kinds of trials follow each other in no time, and are compared without a lag.

    Raises
    ------
    ArgumentError
        The settings choose cells, as the set of sessions does, or a signal, as ``DaysParams`` does.
    """
    if asked is None:
        asked = EmbeddingSettings()
        return replace(asked, time_lag_window=0) if settings.embedded == "trial_types" else asked
    if asked.fovs or not asked.neurons_only:
        raise ArgumentError(
            "the set of sessions says which cells are embedded: neurons_only and fovs have no effect here"
        )
    if asked.signal:
        raise ArgumentError("signal is a setting of the days, which have the same one, and not of Rastermap")
    return asked


def binned(traces: np.ndarray, clock: np.ndarray, seconds: float) -> np.ndarray:
    """Return the means of traces over bins of a length in time.

    Parameters
    ----------
    traces : (N, T) float
    clock : (T,) float64, s
        Increasing. Bins are counted from the first frame; those without a frame, as in a gap, are left out.
    seconds : float
        Length of a bin; 0 returns the traces as they are.

    Returns
    -------
    (N, B) float

    Examples
    --------
    >>> binned(np.array([[1.0, 3.0, 5.0]]), np.array([0.0, 0.2, 7.0]), 1).tolist()
    [[2.0, 5.0]]
    """
    if not seconds:
        return traces
    number = np.floor((clock - clock[0]) / seconds)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    numbers = np.diff(starts, append=len(clock)).astype(traces.dtype)
    means: np.ndarray = np.add.reduceat(traces, starts, axis=1) / numbers
    return means


def zscored(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return each row less its mean, over its standard deviation; constant rows are 0, and rows with NaN are NaN.

    Parameters
    ----------
    values : (N, T) float
    out : (N, T) float32, optional
        Array to write to; it may be ``values``.

    Returns
    -------
    (N, T) float32

    Examples
    --------
    >>> zscored(np.array([[1.0, 3.0], [5.0, 5.0]])).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    out = np.empty(values.shape, np.float32) if out is None else out
    for row, to in zip(values, out, strict=True):  # row by row: a copy in float64 would be twice the size of the traces
        wide = row.astype(np.float64)
        is_constant = not len(wide) or wide.max() == wide.min()
        to[:] = 0 if is_constant else (wide - wide.mean()) / wide.std()
    return out


def type_vectors(days: Sequence[np.ndarray]) -> np.ndarray:
    """Return the vector of each cell over all days, each day z-scored over its windows.

    So a day with larger values, or another baseline, counts no more than the others.

    Parameters
    ----------
    days : sequence of S (W, N) float
        Means in W windows.

    Returns
    -------
    (N, S * W) float32
    """
    return np.hstack([zscored(np.asarray(means).T) for means in days])

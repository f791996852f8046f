"""Clocks: every FOV has its own frame times, and every ROI its own time offset within a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from pipeline.errors import ArgumentError, DataError

#: Frames further apart than this, in s, belong to different imaging bouts (the threshold of IBL's extractor).
GAP = 1.0


def frame_period(frame_times: np.ndarray) -> float:
    """Return the median time between frames (T,), in s; 0 for a single frame."""
    return float(np.median(np.diff(frame_times))) if len(frame_times) > 1 else 0.0


def bouts(frame_times: np.ndarray, gap: float = GAP) -> np.ndarray:
    """Return the first and last frame of each stretch without a gap.

    Parameters
    ----------
    frame_times : (T,) float64, s
    gap : float
        Frames further apart than this belong to different bouts, s.

    Returns
    -------
    (n_bouts, 2) int64
    """
    breaks = np.flatnonzero(np.diff(frame_times) > gap)
    return np.column_stack([np.r_[0, breaks + 1], np.r_[breaks, len(frame_times) - 1]])


def pauses(frame_times: np.ndarray, gap: float = GAP) -> np.ndarray:
    """Return start and end of each pause of the imaging, (n, 2) float64 in s.

    A pause begins one frame period after the start of the last frame before it.

    Parameters
    ----------
    frame_times : (T,) float64, s
    gap : float
        See ``bouts``.

    Examples
    --------
    >>> pauses(np.array([0.0, 0.2, 0.4, 5.0, 5.2])).round(3).tolist()
    [[0.6, 5.0]]
    """
    before = np.flatnonzero(np.diff(frame_times) > gap)
    ends = frame_times[before] + min(frame_period(frame_times), gap)
    return np.column_stack([ends, frame_times[before + 1]])


def is_in_pause(times: np.ndarray, frame_times: np.ndarray, gap: float = GAP) -> np.ndarray:
    """Return which times (n,) are in a pause of the imaging, (n,) bool; NaN is in none.

    Examples
    --------
    >>> is_in_pause(np.array([0.5, 3.0, 5.0, np.nan]), np.array([0.0, 0.2, 0.4, 5.0, 5.2])).tolist()
    [False, True, False, False]
    """
    inside = np.zeros(len(times), dtype=bool)
    for start, end in pauses(frame_times, gap):
        inside |= (times >= start) & (times < end)
    return inside


def roi_offsets(timeshift: np.ndarray, stack_pos: np.ndarray, scan_line_column: int = 0) -> np.ndarray:
    """Return the time from the start of a frame to the scan of each ROI.

    The scan line of an ROI is its row y, column 0 of ``stackPos``. Published IBL code indexes a
    one-dimensional ``timeshift`` with column 1, which holds x: times are then off by up to 21 ms.
    ``scan_line_column=1`` reproduces them.

    Parameters
    ----------
    timeshift : (n_lines,) or (n_lines, n_columns) float64, s
    stack_pos : (N, 2 or 3) int
        Row y, column x.
    scan_line_column : {0, 1}

    Returns
    -------
    (N,) float64, s

    Raises
    ------
    DataError
        A position is outside ``timeshift``.
    """
    if scan_line_column not in (0, 1):
        raise ArgumentError(f"scan_line_column must be 0 (row y) or 1 (as published), not {scan_line_column!r}")
    index = (stack_pos[:, scan_line_column],) if timeshift.ndim == 1 else (stack_pos[:, 0], stack_pos[:, 1])
    for positions, size in zip(index, timeshift.shape, strict=True):
        if len(positions) and not (positions.min() >= 0 and positions.max() < size):
            raise DataError(
                "an ROI is outside the scan lines",
                dataset="mpciStack.timeshift",
                expected=f"0 to {size - 1}",
                found=f"{positions.min()} to {positions.max()}",
            )
    offsets: np.ndarray = timeshift[index]
    return offsets


class ROITimes(NDArrayOperatorsMixin):
    """Times of every frame of every ROI, (N, T), computed when indexed: as a matrix they would be twice the traces.

    Arithmetic, numpy's functions and the methods of an array below compute the whole matrix.

    Parameters
    ----------
    frame_times : dict of int to (T,) float64
        Clock of each FOV, s.
    fovs : (N,) int
        FOV of each row.
    offsets : (N,) float64
        Offset of each row within the frame, s.
    flagged : dict of int to (T,) bool, optional
        Frames that are flagged as bad, of FOVs that have any. Figures and averages leave them blank.

    Examples
    --------
    >>> times = ROITimes({0: np.array([0.0, 0.2])}, np.array([0, 0]), np.array([0.0, 0.01]))
    >>> times.shape
    (2, 2)
    >>> times[1]
    array([0.01, 0.21])
    """

    dtype = np.dtype(float)
    ndim = 2

    def __init__(
        self,
        frame_times: dict[int, np.ndarray],
        fovs: np.ndarray,
        offsets: np.ndarray,
        flagged: Mapping[int, np.ndarray] | None = None,
    ):
        self.frame_times, self.fovs, self.offsets = frame_times, np.asarray(fovs), np.asarray(offsets, float)
        self.flagged = dict(flagged or {})
        self.shape = (len(self.fovs), len(next(iter(frame_times.values()), ())))

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, rows: np.ndarray) -> ROITimes:
        """Return the times of some rows (n,), computed on demand as well."""
        return ROITimes(self.frame_times, self.fovs[rows], self.offsets[rows], self.flagged)

    def __getitem__(self, index: Any) -> Any:
        """Return what the whole matrix (N, T) would give for the same index."""
        rows, *frames = index if isinstance(index, tuple) else (index,)
        if len(frames) > 1:
            raise IndexError(f"at most two indices, rows and frames, not {index!r}")
        fovs, offsets = self.fovs[rows], self.offsets[rows]
        # numpy pairs two index arrays element by element: one value each, not a block
        # a slice of rows is no index array, and gives a block
        if frames and np.ndim(fovs) == 1 and np.ndim(frames[0]) == 1 and not isinstance(rows, slice):
            pairs = np.broadcast_arrays(fovs, offsets, np.arange(self.shape[1])[frames[0]])
            return np.array([self.frame_times[int(f)][j] + o for f, o, j in zip(*pairs, strict=True)], dtype=float)
        if np.ndim(fovs) == 0:
            times = self.frame_times[int(fovs)] + offsets
        else:
            times = np.array([self.frame_times[int(f)] + o for f, o in zip(fovs, offsets, strict=True)])
            # np.array of no rows has one dimension
            times = times.reshape(len(fovs), self.shape[1])
        return times[..., frames[0]] if frames else times

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the whole matrix, 8 bytes for each ROI and frame."""
        return np.asarray(self[:], dtype=dtype)

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Let a function of numpy, arithmetic included, have the whole matrix; ``times -= 1`` gives an array."""
        if any(one is self for one in options.get("out") or ()):
            del options["out"]
        return getattr(function, method)(*(np.asarray(x) if x is self else x for x in inputs), **options)

    @property
    def T(self) -> np.ndarray:  # noqa: N802  numpy's name
        """The transposed matrix, (T, N)."""
        return np.asarray(self).T

    def min(self, axis: int | None = None) -> Any:
        """Return the first time, or that along an axis."""
        return np.asarray(self).min(axis)

    def max(self, axis: int | None = None) -> Any:
        """Return the last time, or that along an axis."""
        return np.asarray(self).max(axis)

    def mean(self, axis: int | None = None) -> Any:
        """Return the mean time, or that along an axis."""
        return np.asarray(self).mean(axis)

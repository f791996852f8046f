"""Frames that are flagged as bad: by Suite2p (motion), or by the experimenter, who gave each frame a class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: Name, and number, of the class of good frames.
OK, OK_CLASS = "ok", 0


def flagged_frames(
    bad_frames: np.ndarray | None, frame_qc: np.ndarray | None, names: Mapping[str, str] | None
) -> np.ndarray | None:
    """Return which frames are flagged as bad; None if there are no flags, or none is.

    Parameters
    ----------
    bad_frames : (T,) bool, optional
        Frames that Suite2p left out.
    frame_qc : (T,) uint32, optional
        Class of each frame.
    names : mapping of str to str, optional
        Name of each class by its number. Frames of the class called 'ok' are good; without names, those of class 0.

    Returns
    -------
    (T,) bool or None

    Examples
    --------
    >>> flagged_frames(np.array([True, False, False]), np.array([0, 2, 0]), {"0": "ok", "2": "PMT off"}).tolist()
    [True, True, False]
    """
    flags = [np.asarray(bad_frames, dtype=bool)] if bad_frames is not None else []
    if frame_qc is not None:
        good = [int(number) for number, name in (names or {}).items() if name.lower() == OK] or [OK_CLASS]
        flags.append(~np.isin(frame_qc, good))
    flagged = np.logical_or.reduce(flags) if flags else np.zeros(0, dtype=bool)
    return flagged if flagged.any() else None


def blanked(traces: np.ndarray, flagged: np.ndarray | None) -> np.ndarray:
    """Return traces (N, T) with NaN in flagged frames, as float; the same array if there are none.

    Examples
    --------
    >>> blanked(np.array([[1, 2]], dtype=np.int16), np.array([True, False])).tolist()
    [[nan, 2.0]]
    """
    if flagged is None:
        return traces
    out = np.array(traces, dtype=np.result_type(traces.dtype, np.float32))
    out[:, flagged] = np.nan
    return out


def is_flagged_at(clock: np.ndarray, frame_times: np.ndarray, flagged: np.ndarray | None) -> np.ndarray:
    """Return at which times interpolation may use a flagged frame of a FOV: one next to the time, or the one before.

    (Cells are scanned up to a frame after its start, so that the frame before may be next to the time.)

    Parameters
    ----------
    clock : (M,) float64, s
    frame_times : (T,) float64, s
    flagged : (T,) bool, optional

    Returns
    -------
    (M,) bool

    Examples
    --------
    >>> is_flagged_at(np.array([0.0, 1.0, 1.5, 2.5]), np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 0], bool)).tolist()
    [False, True, True, True]
    """
    if flagged is None:
        return np.zeros(len(clock), dtype=bool)
    last = len(frame_times) - 1
    place = np.searchsorted(frame_times, clock, side="right") - 1
    at: np.ndarray = np.logical_or.reduce([flagged[np.clip(place + step, 0, last)] for step in (-1, 0, 1)])
    return at

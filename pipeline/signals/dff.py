"""Fluorescence relative to its baseline (dF/F), after subtraction of the neuropil."""

from __future__ import annotations

import numpy as np

from pipeline.errors import DataError
from pipeline.settings.signals import DffSettings
from pipeline.signals.clock import bouts, frame_period

#: Grid points of the running percentile in each window.
GRID_PER_WINDOW = 6
#: Values of overlapping windows in memory at a time.
BLOCK_VALUES = 4_000_000
#: Median of the absolute value of a standard normal variable.
NORMAL_MEDIAN = 0.6744897501960817


def dff(
    fluorescence: np.ndarray, neuropil: np.ndarray | None, frame_times: np.ndarray, settings: DffSettings | None = None
) -> np.ndarray:
    """Return (Fc - B) / F0 of each ROI.

    Fc is F - 0.7 Fneu (``settings.neuropil``), and B its running percentile: see ``running_percentile``. F0 is the
    running percentile of F itself: neuropil takes away most of the baseline of dim ROIs, and a division by what remains
    would make their dF/F arbitrarily large. Where F0 is below the noise of F (from the median absolute difference of
    neighbouring frames), as it is for ROIs without light, F is divided by that noise; a ROI without noise is 0.

    Neuropil and running baseline are Suite2p's (Pachitariu et al. 2017, bioRxiv 061507); relative to a running baseline
    activity is shown since Jia et al. 2011 (Nat Protoc 6:28). Suite2p's filter for spikes subtracts its baseline
    and divides by nothing.

    Parameters
    ----------
    fluorescence : (n, T) float
        F, in units of the detector.
    neuropil : (n, T) float, optional
        Fneu; not needed if none is subtracted.
    frame_times : (T,) float64
        s. After a gap in the imaging the baseline begins anew.
    settings : DffSettings, optional

    Returns
    -------
    (n, T) float32

    Raises
    ------
    DataError
        The arrays differ in their shapes, or a value is not finite.
    """
    settings = settings or DffSettings()
    raw = _checked(fluorescence, frame_times, "fluorescence")
    corrected = raw
    if settings.neuropil:
        if neuropil is None or np.shape(neuropil) != raw.shape:
            raise DataError("neuropil and fluorescence differ in their shapes", expected=f"{raw.shape}",
                            found=f"{None if neuropil is None else np.shape(neuropil)}")  # fmt: skip
        corrected = raw - np.float32(settings.neuropil) * _checked(neuropil, frame_times, "neuropil")
    width = max(1, round(settings.window / (frame_period(frame_times) or np.inf)))
    noise = np.median(np.abs(np.diff(raw, axis=1)), axis=1, keepdims=True) / (NORMAL_MEDIAN * np.sqrt(2))
    out = np.empty(raw.shape, np.float32)
    for first, last in bouts(frame_times):
        bout = slice(first, last + 1)
        above = corrected[:, bout] - running_percentile(corrected[:, bout], width, settings.percentile)
        unit = np.maximum(running_percentile(raw[:, bout], width, settings.percentile), noise)
        out[:, bout] = np.divide(above, unit, out=np.zeros_like(above), where=unit > 0)
    return out


def running_percentile(values: np.ndarray, width: int, percentile: float) -> np.ndarray:
    """Return a percentile over a running window of each row, linear between grid points.

    The percentile is exact at the centres of windows that begin every sixth of their width, and of the last one. Before
    the first centre and after the last one it is constant. A row shorter than a window is one window.

    Parameters
    ----------
    values : (n, T) float
    width : int
        Of the window, in frames.
    percentile : float
        From 0 to 100; linear between values, as in ``numpy.percentile``.

    Returns
    -------
    (n, T) float64

    Examples
    --------
    >>> running_percentile(np.array([[3.0, 1, 2, 5, 4, 6]]), 3, 0).tolist()
    [[1.0, 1.0, 1.0, 2.0, 4.0, 4.0]]
    """
    n_frames = values.shape[1]
    width = min(width, n_frames)
    starts = np.unique(np.r_[np.arange(0, n_frames - width, max(1, width // GRID_PER_WINDOW)), n_frames - width])
    centres, frames = starts + (width - 1) / 2, np.arange(n_frames)
    windows = np.lib.stride_tricks.sliding_window_view(values, width, axis=1)
    out = np.empty(values.shape)
    for row, of_row in enumerate(windows):
        step = max(1, BLOCK_VALUES // width)
        parts = [np.percentile(of_row[starts[i : i + step]], percentile, axis=1) for i in range(0, len(starts), step)]
        out[row] = np.interp(frames, centres, np.concatenate(parts))
    return out


def _checked(values: np.ndarray, frame_times: np.ndarray, what: str) -> np.ndarray:
    """Return traces (n, T) as float32; raise a DataError if they are not finite, or do not have T frames."""
    traces = np.asarray(values, dtype=np.float32)
    if traces.ndim != 2 or traces.shape[1] != len(frame_times):
        raise DataError(f"{what} and times differ in their number of frames", expected=f"(ROIs, {len(frame_times)})",
                        found=f"{traces.shape}")  # fmt: skip
    if not np.isfinite(traces).all():
        raise DataError(f"{what} is not finite", expected="finite numbers", found="NaN or infinity")
    return traces

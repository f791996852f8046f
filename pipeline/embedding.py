"""Embedding by Rastermap: an order of the cells in which neighbours have similar activity."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np

from pipeline import numba_cache
from pipeline.errors import ConfigError, DataError
from pipeline.settings.signals import SignalSettings


@dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of an embedding; the defaults are those of IBL's mesoscope scripts.

    Attributes
    ----------
    n_pcs, n_clusters : int
        Principal components, and clusters that are ordered, as in Rastermap.
    locality : float
        Weight of local against global similarity, from 0 to 1, as in Rastermap.
    time_lag_window : int
        Frames over which activity is also compared with a lag, as in Rastermap.
    time_bin_size : int
        Neurons averaged in Rastermap's own image (its ``bin_size``).
    neurons_only : bool
        Whether only neurons are embedded, or all ROIs.
    fovs : tuple of int
        Numbers of the FOVs that are embedded, empty for all.
    signal : SignalSettings, optional
        The activity; by default as each FOV was read.
    """

    n_pcs: int = 100
    n_clusters: int = 30
    locality: float = 0.75
    time_lag_window: int = 5
    time_bin_size: int = 1
    neurons_only: bool = True
    fovs: tuple[int, ...] = ()
    signal: SignalSettings | None = None


def rastermap_order(traces: np.ndarray, settings: EmbeddingSettings | None = None) -> np.ndarray:
    """Return the order of the rows by Rastermap (Stringer et al. 2025; rastermap 1.0).

    Rows that are constant or not finite cannot be embedded: they come last, by row number.

    Parameters
    ----------
    traces : (N, T) float32
    settings : EmbeddingSettings, optional

    Returns
    -------
    (N,) int64
        A permutation: row ``order[0]`` is drawn first.

    Raises
    ------
    ConfigError
        rastermap is not installed.
    DataError
        Rastermap fails on the data.
    """
    settings = settings or EmbeddingSettings()
    with np.errstate(invalid="ignore"):
        spread = np.ptp(traces, axis=1)  # not finite if any value is not
    usable = np.isfinite(spread) & (spread > 0)
    rows, rest = np.flatnonzero(usable), np.flatnonzero(~usable)
    if len(rows) > 2:  # two rows have no order to find
        # without a copy of the traces where all rows are usable
        rows = rows[_fit(traces[rows] if len(rest) else traces, settings)]
    return np.concatenate([rows, rest]).astype(np.int64)


def _fit(traces: np.ndarray, settings: EmbeddingSettings) -> np.ndarray:
    """Return Rastermap's order of the rows of traces (N, T), (N,) int."""
    try:
        numba_cache.say_what_compiles()
        from rastermap import Rastermap
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"rastermap is needed to embed ({error}). Install it with: pip install '.[embed]', or '.[ingest]'"
        ) from error
    from threadpoolctl import threadpool_limits

    handlers = logging.root.handlers[:]
    model = Rastermap(
        # with fewer cells or frames than components: as many as are possible
        n_PCs=min(settings.n_pcs, min(traces.shape) - 1),
        n_clusters=settings.n_clusters,
        locality=settings.locality,
        time_lag_window=settings.time_lag_window,
        bin_size=settings.time_bin_size,
        verbose=False,
    )
    logging.root.handlers[:] = handlers  # Rastermap makes the root logger write to standard output
    try:
        # one BLAS thread: with more, sums in another order could change the order of the cells
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="data has <= 50 samples")
            # of clusters than were asked for: it goes on with those that it found
            warnings.filterwarnings("ignore", message="found fewer")
            return np.asarray(model.fit(np.asarray(traces, np.float32), compute_X_embedding=False).isort)
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise DataError(
            f"Rastermap failed ({error})", found=f"{traces.shape[0]} cells, {traces.shape[1]} frames"
        ) from error

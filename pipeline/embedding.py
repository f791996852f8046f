"""Rastermap: an order of the cells in which neighbours are active together."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ConfigError, DataError


@dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of an embedding; the defaults are those of IBL's mesoscope scripts.

    Attributes
    ----------
    n_pcs, n_clusters : int
    locality : float
    time_lag_window : int
        Frames.
    time_bin_size : int
        Neurons averaged in Rastermap's own picture (``bin_size``).
    neurons_only : bool
        Embed neurons, or all ROIs.
    fovs : tuple of int
        Numbers of the FOVs, empty for all.
    """

    n_pcs: int = 100
    n_clusters: int = 30
    locality: float = 0.75
    time_lag_window: int = 5
    time_bin_size: int = 1
    neurons_only: bool = True
    fovs: tuple[int, ...] = ()


def rastermap_order(traces: np.ndarray, settings: EmbeddingSettings | None = None) -> np.ndarray:
    """Return the order of the rows that Rastermap finds (Stringer et al. 2025, rastermap 1.0).

    Rows that are constant or not finite have no place in it; they come last, by row.

    Parameters
    ----------
    traces : (N, T) float32
    settings : EmbeddingSettings

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
        spread = np.ptp(traces, axis=1)  # not finite where a value is not
    usable = np.isfinite(spread) & (spread > 0)
    rows, rest = np.flatnonzero(usable), np.flatnonzero(~usable)
    if len(rows) > 2:  # there is nothing to order in two
        rows = rows[_fit(traces[rows] if len(rest) else traces, settings)]
    return np.concatenate([rows, rest]).astype(np.int64)


def _fit(traces: np.ndarray, settings: EmbeddingSettings) -> np.ndarray:
    try:
        from rastermap import Rastermap
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"rastermap is needed to embed ({error}). Install it with: pip install '.[ingest]'"
        ) from error
    from threadpoolctl import threadpool_limits

    handlers = logging.root.handlers[:]
    model = Rastermap(
        # fewer cells or frames than components: as many as there are
        n_PCs=min(settings.n_pcs, min(traces.shape) - 1),
        n_clusters=settings.n_clusters,
        locality=settings.locality,
        time_lag_window=settings.time_lag_window,
        bin_size=settings.time_bin_size,
        verbose=False,
    )
    logging.root.handlers[:] = handlers  # Rastermap sends everybody's log to standard output
    try:
        # one BLAS thread: sums in another order could give another order of the cells
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="data has <= 50 samples")
            return np.asarray(model.fit(np.asarray(traces, np.float32), compute_X_embedding=False).isort)
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise DataError(
            f"Rastermap fails ({error})", found=f"{traces.shape[0]} cells, {traces.shape[1]} frames"
        ) from error

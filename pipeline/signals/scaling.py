"""Scaling of traces to 0..1, so that bright cells do not hide the others."""

from __future__ import annotations

import numpy as np

#: Percentiles of a trace that are mapped to 0 and 1.
PERCENTILES = (20.0, 99.0)


def scale_rows(values: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> np.ndarray:
    """Map two percentiles of each row to 0 and 1, and clip.

    A cell that is active in less than 1 % of the frames has two equal percentiles, though it is not flat: its largest
    value is then mapped to 1.

    Parameters
    ----------
    values : (n, K) float
        NaN is ignored in the percentiles, and stays.
    percentiles : (float, float)
        From 0 to 100.

    Returns
    -------
    (n, K) float
        From 0 to 1; flat rows are 0.

    Examples
    --------
    >>> scale_rows(np.array([[0, 1, 2], [5, 5, 5]], dtype=float), (0, 100)).tolist()
    [[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]
    """
    # sorted once for all percentiles; np.nanpercentile would run Python code for each row
    ranked = np.sort(values, axis=1)  # NaN goes to the end
    last = np.maximum(np.sum(~np.isnan(ranked), axis=1) - 1, 0)
    low, high, top = (_ranked_percentile(ranked, last, q) for q in (*percentiles, 100))
    high = np.where(high > low, high, top)
    span = np.where(high > low, high - low, 1)
    scaled: np.ndarray = np.clip((values - low[:, None]) / span[:, None], 0, 1)
    return scaled


def _ranked_percentile(ranked: np.ndarray, last: np.ndarray, q: float) -> np.ndarray:
    """Return a percentile, (n,), of each sorted row (n, K) whose last number is at `last` (n,); linear in between."""
    place = last * (q / 100)
    below = np.floor(place).astype(int)
    rows = np.arange(len(ranked))
    low, high = ranked[rows, below], ranked[rows, np.minimum(below + 1, last)]
    percentile: np.ndarray = (low + (high - low) * (place - below)).astype(ranked.dtype)
    return percentile

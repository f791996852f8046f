"""How far the height of its ceiling alone moves k* of a curve.

k* is the number of cells with which the score is within ``delta`` of the ceiling. Scores near 1 are compressed, and
near chance ``delta`` is most of the way: there k* is small although d'^2 grows with the cells in the same way. So where
signal to noise brings the ceiling from 0.85 to 0.98, k* falls, and the code seems to have changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.decoding.fits.families import chance_of, d_squared, score_of
from pipeline.decoding.fits.k_star import LEAST_D_SQUARED, k_reaching, rising

#: Change of k* over the days, along their line, that is worth a note, in octaves.
NOTED_OCTAVES = 0.25


def k_of_shape(
    ks: Sequence[int] | np.ndarray, means: np.ndarray, *, delta: float = 0.02, metric: str = "auc"
) -> np.ndarray:  # fmt: skip
    """Return k* that curves would have if d'^2 had the same shape in all, and only their ceilings differed.

    The shape is the mean over the curves of d'^2 over that at the largest k.

    Parameters
    ----------
    ks : (K,) int
        Increasing.
    means : (K, D) float
        Mean scores of D curves, all above chance.
    delta : float
    metric : str

    Returns
    -------
    (D,) float64
        NaN for a ceiling at chance.

    Examples
    --------
    >>> from scipy.special import ndtr
    >>> ks = np.array([8, 16, 32, 64, 100])
    >>> curves = ndtr(np.sqrt(np.array([2.8, 11, 25]) / 2 * ks[:, None] / (ks[:, None] + 30)))  # the same shape
    >>> curves[-1].round(3).tolist(), k_of_shape(ks, curves).round().tolist()
    ([0.85, 0.98, 0.999], [57.0, 40.0, 15.0])
    """
    smooth = rising(np.asarray(means, dtype=np.float64), np.ones(len(ks)))
    squares = np.maximum(d_squared(smooth, metric), LEAST_D_SQUARED)
    shape = (squares / squares[-1]).mean(axis=1)
    curves = score_of(squares[-1] * shape[:, None], metric)
    return k_reaching(np.asarray(ks), curves, curves[-1] - delta, chance_of(metric), metric)

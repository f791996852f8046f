"""Do the cells that stay decode better than others? Scores of as many cells of two kinds, in the same sessions.

Which cells happen to be there counts: two draws of the same population have other scores, and the shared cells are the
same on every day, so that more days do not make them more. The variance of a mean over subsets, that of another draw of
the whole pool included, follows from the variance between subsets (first term of Hoeffding's decomposition of a
U-statistic, 1948): k / (N - k) times that of subsets of k of N cells, drawn without replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from pipeline.decoding.fits.families import ALPHA
from pipeline.errors import ArgumentError


@dataclass(frozen=True)
class CellsScore:
    """The score of random subsets of one kind of cells in a session.

    Attributes
    ----------
    mean : float
        Over the subsets.
    sd : float
        Standard deviation over the subsets.
    low, high : float
        95 % interval of the mean, for new trials and other subsets of the same cells.
    k : int
        Cells of a subset.
    n_cells : int
        Cells that the subsets are drawn from, more than k.
    """

    mean: float
    sd: float
    low: float
    high: float
    k: int
    n_cells: int

    @property
    def of_trials(self) -> float:
        """Variance by trials, and by subsets of these cells."""
        return float(((self.high - self.low) / (2 * scipy.special.ndtri(1 - ALPHA / 2))) ** 2)

    @property
    def of_cells(self) -> float:
        """Variance by the draw of the cells."""
        return self.sd**2 * self.k / (self.n_cells - self.k)


@dataclass(frozen=True, eq=False)
class CellsDifference:
    """Scores of other cells less those of the cells that stay, with 95 % intervals for other cells and trials.

    Attributes
    ----------
    values, low, high : (D,) float64
        Of each session.
    mean, mean_low, mean_high : float
        Over the sessions.
    p : float
        Of no difference, two-sided.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: float
    mean_low: float
    mean_high: float
    p: float


def cells_difference(shared: Sequence[CellsScore], others: Sequence[CellsScore]) -> CellsDifference:
    """Compare the cells that all sessions share with others, session by session.

    Both are decoded from the same trials, whose errors partly cancel: intervals are rather too wide.

    Parameters
    ----------
    shared : (D,) sequence of CellsScore
        The same cells in every session.
    others : (D,) sequence of CellsScore
        Other cells in every session, subsets as large.

    Raises
    ------
    ArgumentError
        There is no session, numbers of sessions or k differ, or k is not below the number of cells.

    Examples
    --------
    >>> stay, lost = CellsScore(0.8, 0.02, 0.75, 0.85, 8, 40), CellsScore(0.9, 0.02, 0.87, 0.93, 8, 24)
    >>> found = cells_difference([stay, stay], [lost, lost])
    >>> round(found.mean, 3), found.mean_low > 0
    (0.1, True)
    """
    if not len(shared) or len(shared) != len(others):
        raise ArgumentError(f"shared and other cells must be of the same sessions, not {len(shared)} and {len(others)}")
    pairs = list(zip(shared, others, strict=True))
    if any(one.k != other.k or one.k >= min(one.n_cells, other.n_cells) for one, other in pairs):
        raise ArgumentError("scores must be of the same number of cells k, drawn from more than k cells")
    n, width = len(pairs), scipy.special.ndtri(1 - ALPHA / 2)
    values = np.array([other.mean - one.mean for one, other in pairs])
    of_each = np.array([one.of_trials + other.of_trials + other.of_cells for one, other in pairs])
    of_shared = np.array([one.of_cells for one in shared])
    error = np.sqrt(of_each + of_shared)
    # the shared cells are the same in all sessions: their part does not average out
    mean, mean_error = float(values.mean()), float(np.sqrt(of_each.sum() / n**2 + of_shared.mean()))
    return CellsDifference(
        values, values - width * error, values + width * error, mean,
        float(mean - width * mean_error), float(mean + width * mean_error),
        float(2 * scipy.special.ndtr(-abs(mean) / mean_error)) if mean_error else float(mean == 0),
    )  # fmt: skip

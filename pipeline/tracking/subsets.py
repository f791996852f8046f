"""Which sessions share most cells: counts of all subsets of a few sessions, and the best subsets of many, exactly.

A cell is a number with a bit for each session in which it was found, and so is a subset of sessions. Bit s is session
s, so that of equal subsets the one of earlier sessions is the smaller number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.errors import ArgumentError

#: 2^20 subsets are counted in well under a second; each further session doubles time and memory.
MAX_COUNTED = 20
#: Sessions whose subsets are all counted in each step of the search: 2^16 counts fit into a processor's cache.
N_INNER = 16
#: Bits of a subset.
MAX_SESSIONS = 62


def checked_presence(presence: Any) -> np.ndarray:
    """Return presence as a bool array (cells, sessions).

    Raises
    ------
    ArgumentError
        It is no such matrix, or False everywhere.
    """
    found = np.asarray(presence)
    if found.ndim != 2 or not found.size or found.dtype != bool:
        raise ArgumentError(
            f"presence must be bool of shape (cells, sessions) and not empty, not {found.dtype} {found.shape}"
        )
    if not found.any():
        raise ArgumentError("presence is False everywhere: no cell is in any session")
    return found


def subset_counts(presence: np.ndarray, kind: str = "all") -> tuple[np.ndarray, np.ndarray]:
    """Count the cells of every subset of the sessions.

    Parameters
    ----------
    presence : (cells, sessions) bool array
    kind : {"all", "only"}
        "all" counts cells found in all sessions of the subset, for at most 20 sessions; "only" counts cells found in
        these sessions and no others, so that each cell counts once.

    Returns
    -------
    subsets : (M, sessions) bool
        Non-empty subsets that share a cell, in falling order of count, then in rising order of size.
    counts : (M,) int64
        Number of cells of each.

    Raises
    ------
    ArgumentError
        `presence` is not such a matrix, `kind` is unknown, or there are too many sessions for "all".

    Examples
    --------
    >>> subsets, counts = subset_counts(np.array([[1, 1], [1, 1], [1, 0]], dtype=bool))
    >>> subsets.astype(int).tolist(), counts.tolist()
    ([[1, 0], [0, 1], [1, 1]], [3, 2, 2])
    >>> subset_counts(np.array([[1, 1], [1, 1], [1, 0]], dtype=bool), "only")[1].tolist()
    [2, 1]
    """
    presence = checked_presence(presence)
    n = presence.shape[1]
    if kind not in ("all", "only"):
        raise ArgumentError(f"kind must be 'all' or 'only', not {kind!r}")
    if kind == "only":
        subsets, counts = np.unique(presence[presence.any(axis=1)], axis=0, return_counts=True)
    elif n > MAX_COUNTED:
        raise ArgumentError(
            f"{n} sessions have too many subsets to count all; choose at most {MAX_COUNTED} sessions, kind='only', or "
            f"best_subsets"
        )
    else:
        counts = _shared(_numbers(presence), n)
        found = np.flatnonzero(counts[1:]) + 1
        subsets, counts = _sessions_of(found, n), counts[found].astype(np.int64)
    order = np.lexsort((subsets.sum(axis=1), -counts))
    return subsets[order], counts[order]


def best_subsets(
    presence: np.ndarray, sizes: Iterable[int] | None = None, *, n_each: int = 1
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the subsets of sessions that share most cells, of each size, exactly.

    Branch and bound over the sessions with fewest cells; for each choice of these that can still be part of a best
    subset, the cells of all subsets of the others are counted at once. At most 2^(sessions - 16) such counts, and
    usually a few: 30 sessions of 5,000 cells take less than a second to some seconds (docs/science/sessions.md).

    Parameters
    ----------
    presence : (cells, sessions) bool array
        Of at most 62 sessions. Each session above 30 that has as many cells as the others may double the time.
    sizes : iterable of int, optional
        Numbers of sessions; by default all.
    n_each : int
        How many subsets of each size.

    Returns
    -------
    subsets : (M, sessions) bool
        Subsets that share a cell: by size, then in falling order of count; of equal ones, those of earlier sessions
        first (as numbers whose bit s is session s).
    counts : (M,) int64
        Number of cells found in all sessions of each.

    Raises
    ------
    ArgumentError
        `presence` is not such a matrix, or a size or `n_each` is below 1.

    Examples
    --------
    >>> subsets, counts = best_subsets(np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 1]], dtype=bool))
    >>> subsets.astype(int).tolist(), counts.tolist()
    ([[1, 0, 0], [1, 0, 1], [1, 1, 1]], [4, 3, 1])
    """
    presence = checked_presence(presence)
    n = presence.shape[1]
    if n > MAX_SESSIONS:
        raise ArgumentError(f"{n} sessions have too many subsets; choose at most {MAX_SESSIONS}")
    wanted = sorted(set(range(1, n + 1) if sizes is None else map(int, sizes)))
    if (wanted and wanted[0] < 1) or n_each < 1:
        raise ArgumentError(f"sizes and n_each must be 1 or more, not {wanted} and {n_each}")
    search = _Search(presence, [size for size in wanted if size <= n], n_each)
    search.run()
    numbers = np.concatenate([search.best[size][0] for size in search.sizes] or [np.empty(0, np.int64)])
    counts = np.concatenate([search.best[size][1] for size in search.sizes] or [np.empty(0, np.int64)])
    return _sessions_of(numbers, n), counts


class _Search:
    """The search of ``best_subsets``.

    Attributes
    ----------
    best : dict of int to (numbers, counts)
        By size, the best subsets so far, best first, (up to n_each,) int64 each.
    """

    def __init__(self, presence: np.ndarray, sizes: list[int], n_each: int) -> None:
        self.sizes, self.n_each = sizes, n_each
        nothing = np.empty(0, np.int64)
        self.best = dict.fromkeys(sizes, (nothing, nothing))
        # the sessions with most cells are the inner ones: a subset with one of the others is seldom a best one
        order = np.argsort(-presence.sum(axis=0), kind="stable")
        self.n_inner = min(N_INNER, len(order))
        #: The sessions of each cell, as a number, and as 0 and 1 for quick sums, (cells, sessions) float32.
        self.cells = _numbers(presence[:, order]), presence[:, order].astype(np.float32)
        #: The bit of each session in the subsets that are returned.
        self.bit = np.int64(1) << order.astype(np.int64)
        n_bits = np.bitwise_count(np.arange(1 << self.n_inner))
        #: All subsets of inner sessions by size, as positions in the counts and as subsets that are returned.
        self.by_size = np.argsort(n_bits, kind="stable")
        self.number = _sums(self.bit[: self.n_inner])[self.by_size]
        self.ends = np.concatenate([[0], np.cumsum(np.bincount(n_bits))])

    def run(self) -> None:
        self._branch(self.cells, [], list(range(self.n_inner, len(self.bit))))

    def _branch(self, cells: tuple[np.ndarray, np.ndarray], chosen: list[int], others: list[int]) -> None:
        """Count the subsets of ``chosen`` and inner sessions; then choose each of the others that may be worth it.

        Parameters
        ----------
        cells : ((n,) int64, (n, sessions) float32)
            The cells that all of ``chosen`` have, in both forms.
        chosen, others : list of int
            Outer sessions that are in the subset, and those that may still be.
        """
        if self._may_be_best(cells, len(chosen), []):
            self._count(cells[0], chosen)
        for i, session in enumerate(others):
            has_it = cells[1][:, session] > 0
            with_it, left = (cells[0][has_it], cells[1][has_it]), others[i + 1 :]
            if self._may_be_best(with_it, len(chosen) + 1, left):
                self._branch(with_it, [*chosen, session], left)

    def _may_be_best(self, cells: tuple[np.ndarray, np.ndarray], n_chosen: int, others: list[int]) -> bool:
        """Return whether a subset with the cells can be as good as the worst that is kept of its size.

        For a subset of ``more`` sessions more, a cell counts only if it is in as many of those that are left, and no
        more cells than the one with the fewest of them has, which is at most the ``more``-th largest number.
        """
        left = [*range(self.n_inner), *others]
        mask = sum(1 << session for session in left)
        in_left = np.bincount(np.bitwise_count(cells[0] & mask), minlength=len(left) + 1)
        at_least = np.cumsum(in_left[::-1])[::-1]
        sums = np.ones(len(cells[0]), np.float32) @ cells[1]
        of_sessions = np.concatenate([[len(cells[0])], np.sort(sums[left])[::-1]])
        most = np.minimum(at_least, of_sessions)
        return any(
            0 <= size - n_chosen <= len(left) and most[size - n_chosen] >= self._least(size) for size in self.sizes
        )

    def _least(self, size: int) -> int:
        """Return the number of cells that a subset of this size needs."""
        counts = self.best[size][1]
        return max(1, int(counts[-1])) if len(counts) == self.n_each else 1

    def _count(self, cells: np.ndarray, chosen: list[int]) -> None:
        """Count the cells of all subsets of the inner sessions, and keep the best."""
        counts = _shared(cells & ((1 << self.n_inner) - 1), self.n_inner)[self.by_size]
        base = self.bit[chosen].sum()
        for size in self.sizes:
            more = size - len(chosen)
            if not 0 <= more <= self.n_inner:
                continue
            of_size = slice(self.ends[more], self.ends[more + 1])
            own, least = counts[of_size], self._least(size)
            if own.max() >= least:
                good = own >= least
                self._keep(size, base + self.number[of_size][good], own[good].astype(np.int64))

    def _keep(self, size: int, numbers: np.ndarray, counts: np.ndarray) -> None:
        numbers = np.concatenate([self.best[size][0], numbers])
        counts = np.concatenate([self.best[size][1], counts])
        order = np.lexsort((numbers, -counts))[: self.n_each]
        self.best[size] = numbers[order], counts[order]


def _sums(values: np.ndarray) -> np.ndarray:
    """Return by number of a subset of n values, with a bit for each, their sum; (2^n,) int64."""
    sums = np.zeros(1, np.int64)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _numbers(presence: np.ndarray) -> np.ndarray:
    """Return the sessions of each cell as a number with one bit for each, (cells,) int64."""
    return np.asarray(presence @ (np.int64(1) << np.arange(presence.shape[1], dtype=np.int64)))


def _sessions_of(numbers: np.ndarray, n: int) -> np.ndarray:
    """Return subsets of n sessions as (M, n) bool."""
    return np.asarray((numbers[:, None] >> np.arange(n)) & 1 == 1)


def _shared(cells: np.ndarray, n: int) -> np.ndarray:
    """Return by number of a subset of n sessions how many cells are found in all of them, (2^n,) uint16 or int64.

    A sum over supersets (zeta transform): n passes over 2^n counts, instead of a comparison of each cell with each
    subset.
    """
    counts = np.bincount(cells, minlength=1 << n)
    if len(cells) < 1 << 16:
        counts = counts.astype(np.uint16)
    # in a square, first down and then across: neighbours in memory are never added to each other, which is slow
    low = n // 2
    square = counts.reshape(1 << (n - low), 1 << low)
    across = _over_supersets(square, n - low).T.copy()
    return np.ascontiguousarray(_over_supersets(across, low).T).reshape(-1)


def _over_supersets(counts: np.ndarray, n: int) -> np.ndarray:
    """Add to each row of (2^n, m) counts those of the rows whose number has the same bits and more, in place."""
    for bit in range(n):  # cells that all sessions of a subset share are shared without this session, too
        pairs = counts.reshape(-1, 2, counts.shape[1] << bit)
        pairs[:, 0] += pairs[:, 1]
    return counts

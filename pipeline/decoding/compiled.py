"""The compiled kernels, or their twins in plain numpy where numba cannot compile."""

from __future__ import annotations

import warnings

import numpy as np

from pipeline import numba_cache
from pipeline.decoding.solver import minimise_numpy, minimise_shared_numpy

__all__ = [
    "WIDTH",
    "is_compiled",
    "minimise",
    "minimise_shared",
    "pack",
    "pack_pairs",
    "pack_symmetric",
    "pad",
    "padded",
    "pairs_won",
    "product",
]

try:
    numba_cache.choose_folder()
    numba_cache.say_what_compiles()
    from pipeline.decoding.kernels import (
        WIDTH,
        minimise,
        minimise_shared,
        pack,
        pack_pairs,
        pack_symmetric,
        pairs_won,
        product,
    )
except (ImportError, RuntimeError, OSError) as failure:  # numba cannot write its cache, or has no compiler for the CPU
    warnings.warn(f"decoding is several times slower: numba could not compile its kernels ({failure})", stacklevel=2)
    WIDTH, minimise, minimise_shared = 24, minimise_numpy, minimise_shared_numpy

    def pack(matrix: np.ndarray) -> np.ndarray:
        """Return a (depth, columns) matrix as panels of columns, (P, depth, WIDTH) float32, padded with zeros."""
        padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % WIDTH))).astype(np.float32)
        return np.ascontiguousarray(padded.reshape(len(matrix), -1, WIDTH).transpose(1, 0, 2))

    def pack_symmetric(lower: np.ndarray) -> np.ndarray:
        """Return what ``pack`` returns of the symmetric matrix (m, m) whose lower triangle is given."""
        packed: np.ndarray = pack(np.tril(lower) + np.tril(lower, -1).T)
        return packed

    def pack_pairs(modes: np.ndarray) -> np.ndarray:
        """Return what ``pack`` returns of the products of each two columns of modes (n, m), a lower triangle."""
        first, second = np.tril_indices(modes.shape[1])
        packed: np.ndarray = pack(modes[:, first] * modes[:, second])
        return packed

    def product(left: np.ndarray, panels: np.ndarray, depth: int, out: np.ndarray) -> None:
        """Write left[:, :depth] @ matrix to ``out`` (rows, columns); the matrix is packed by ``pack``."""
        matrix = panels[:, :depth].transpose(1, 0, 2).reshape(depth, -1)
        np.matmul(left[:, :depth], matrix[:, : out.shape[1]], out=out)

    def pairs_won(z: np.ndarray, rows: np.ndarray, mine: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return over how many of the other trials of its group each of mine has the higher value; ties count half."""
        # NaN is on no side
        own = np.where(mine >= 0, z[rows[:, None], mine], np.nan)[:, :, None]
        values = np.where(others >= 0, z[rows[:, None], others], np.nan)[:, None]
        won: np.ndarray = np.count_nonzero(own > values, axis=2) + 0.5 * np.count_nonzero(own == values, axis=2)
        return won


def is_compiled() -> bool:
    """Return whether this process has compiled the kernels, or loaded them from numba's cache, or cannot compile."""
    return bool(getattr(minimise, "signatures", True))


def padded(n: int) -> int:
    """Return n rounded up to whole panels."""
    return n + -n % WIDTH


def pad(values: np.ndarray, width: int) -> np.ndarray:
    """Return (rows, columns) values as (rows, width) float32, padded with zeros."""
    out = np.zeros((len(values), width), dtype=np.float32)
    out[:, : values.shape[1]] = values
    return out

"""The compiled kernels, or their twins in plain numpy where numba cannot compile."""

from __future__ import annotations

import warnings

import numpy as np

from pipeline import numba_cache
from pipeline.decoding.solver import minimise_gram_numpy, minimise_numpy

__all__ = ["WIDTH", "is_compiled", "minimise", "minimise_gram", "pack", "pad", "padded", "product"]

try:
    numba_cache.choose_folder()
    numba_cache.say_what_compiles()
    from pipeline.decoding.kernels import WIDTH, minimise, minimise_gram, pack, product
except (ImportError, RuntimeError, OSError) as failure:  # numba cannot write its cache, or has no compiler for the CPU
    warnings.warn(f"decoding is several times slower: numba could not compile its kernels ({failure})", stacklevel=2)
    WIDTH, minimise, minimise_gram = 24, minimise_numpy, minimise_gram_numpy

    def pack(matrix: np.ndarray) -> np.ndarray:
        """Return a (depth, columns) matrix as panels of columns, (P, depth, WIDTH) float32, padded with zeros."""
        padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % WIDTH))).astype(np.float32)
        return np.ascontiguousarray(padded.reshape(len(matrix), -1, WIDTH).transpose(1, 0, 2))

    def product(left: np.ndarray, panels: np.ndarray, depth: int, out: np.ndarray) -> None:
        """Write left[:, :depth] @ matrix to ``out`` (rows, columns); the matrix is packed by ``pack``."""
        matrix = panels[:, :depth].transpose(1, 0, 2).reshape(depth, -1)
        np.matmul(left[:, :depth], matrix[:, : out.shape[1]], out=out)


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

"""Spreading the nonzero words of a sparse array over its mask, compiled: 4 to 20 times as fast as numpy.

Numpy first lists the positions of the words, which takes longer than everything else about a trace. Here a row is
filled with 0, and one loop goes from bit to bit of the mask. It branches for each word that is set, where LLVM's
``expandload`` branches for every word on a processor without AVX-512.

This module imports numba, a quarter of a second: ``arrays`` imports it for large reads only, see ``arrays.get_ready``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: Bits of the mask that are read at a time.
BITS = 64


@intrinsic
def _mask_bits(context: Any, mask: Any, at: Any) -> Any:
    """Return BITS bits of a mask from its byte ``at``; the first is the lowest, as packbits begins with the highest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, number = context.make_array(signature.args[0])(context, builder, args[0]).data, ir.IntType(BITS)
        bits = builder.load(builder.bitcast(builder.gep(data, [args[1]]), number.as_pointer()))
        bits.align = 1
        reverse = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(number, [number]), f"llvm.bitreverse.i{BITS}"
        )
        return builder.bswap(builder.call(reverse, [bits]))

    return types.int64(mask, types.int64), generate


@intrinsic
def _count_bits(context: Any, bits: Any) -> Any:
    """Return the number of bits that are set."""
    return types.int64(types.int64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def _first_bit(context: Any, bits: Any) -> Any:
    """Return how many bits below the lowest one that is set; there must be one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


#: Numba passes the first argument itself, which the types do not say.
_bits: Any = _mask_bits
_n_bits: Any = _count_bits
_first: Any = _first_bit
OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}


@njit(**OPTIONS)
def expand(mask: np.ndarray, values: np.ndarray, out: np.ndarray) -> bool:
    """Fill ``out`` with the values where the mask has a bit, 0 elsewhere; return False if their numbers differ.

    Parameters
    ----------
    mask : (ceil(n / 8) or more,) uint8
        One bit per word, as ``np.packbits`` makes them.
    values : (n_set,) unsigned integers
    out : (n,) of the same dtype
    """
    n_set: Any = 0
    for byte in mask:
        n_set += _n_bits(byte)
    if n_set != values.size or 8 * mask.size < out.size:  # or it would read beyond the values, or the mask
        return False
    out[:] = 0
    at, whole = 0, out.size - out.size % BITS
    for first in range(0, whole, BITS):
        bits = _bits(mask, first >> 3)
        while bits:
            out[first + _first(bits)] = values[at]
            at += 1
            bits &= bits - 1  # without its lowest bit
    for to in range(whole, out.size):
        if mask[to >> 3] >> (7 - (to & 7)) & 1:
            out[to] = values[at]
            at += 1
    return True


@njit(**OPTIONS)
def expand_rows(rests: np.ndarray, ends: np.ndarray, n_mask: int, out: np.ndarray, rows: np.ndarray) -> bool:
    """Fill rows of ``out``, each from a mask and its values; return False if their numbers differ in one.

    Parameters
    ----------
    rests : (n,) unsigned integers
        For each row ``n_mask`` words with its mask, then its values.
    ends : (n_rows,) int64
        Where those of each row end.
    n_mask : int
    out : (N, n_words), of the same dtype
    rows : (n_rows,) int64
    """
    start = 0
    for i in range(len(rows)):
        rest = rests[start : ends[i]]
        start = ends[i]
        if not expand(rest[:n_mask].view(np.uint8), rest[n_mask:], out[rows[i]]):
            return False
    return True

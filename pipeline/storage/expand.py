"""Spreading the nonzero words of a sparse array over its mask, compiled: 4 times as fast as numpy.

Numpy first lists the positions of the words, which takes longer than everything else about a trace. Here a vector of
words is filled at a time, by LLVM's ``expandload``: one instruction where the processor has AVX-512, a branch per word
where it has not.

This module imports numba, a quarter of a second: ``arrays`` imports it for large reads only, see ``arrays.get_ready``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: Words that are filled at a time, and bits of the mask that are read at a time.
LANES, BITS = 16, 64


@intrinsic
def _expand_lanes(context: Any, source: Any, at: Any, bits: Any, target: Any, to: Any) -> Any:
    """Write the next words of ``source``, from index ``at``, to those of LANES words of ``target`` whose bit is set.

    The lowest bit is that of the first word; words without a bit become 0.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, at, bits, target, to = args
        word = context.get_data_type(signature.args[0].dtype)
        vector, mask = ir.VectorType(word, LANES), ir.VectorType(ir.IntType(1), LANES)
        data = [context.make_array(kind)(context, builder, value).data for kind, value in
                ((signature.args[0], source), (signature.args[3], target))]  # fmt: skip
        is_set = builder.bitcast(builder.trunc(bits, ir.IntType(LANES)), mask)
        load = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [word.as_pointer(), mask, vector]),
            f"llvm.masked.expandload.v{LANES}i{word.width}",
        )  # fmt: skip
        words = builder.call(load, [builder.gep(data[0], [at]), is_set, ir.Constant(vector, [0] * LANES)])
        place = builder.bitcast(builder.gep(data[1], [to]), vector.as_pointer())
        # aligned to the words only; LLVM would assume the alignment of a whole vector, and crash
        builder.store(words, place).align = word.width // 8
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64), generate


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


#: Numba passes the first argument itself, which the types do not say.
_expand: Any = _expand_lanes
_bits: Any = _mask_bits
_n_bits: Any = _count_bits
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
    at, whole = 0, out.size - out.size % BITS
    for first in range(0, whole, BITS):
        bits = _bits(mask, first >> 3)
        for to in range(first, first + BITS, LANES):
            _expand(values, at, bits, out, to)
            at += _n_bits(bits & ((1 << LANES) - 1))
            bits >>= LANES
    for to in range(whole, out.size):
        if mask[to >> 3] >> (7 - (to & 7)) & 1:
            out[to] = values[at]
            at += 1
        else:
            out[to] = 0
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

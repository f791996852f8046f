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

#: Words that are filled at a time, from two bytes of the mask.
LANES = 16


@intrinsic
def _expand_lanes(context: Any, source: Any, at: Any, bits: Any, target: Any, to: Any) -> Any:
    """Write the next words of ``source``, from index ``at``, to those of LANES words of ``target`` whose bit is set.

    The highest bit is that of the first word; words without a bit become 0.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, at, bits, target, to = args
        word = context.get_data_type(signature.args[0].dtype)
        vector, mask = ir.VectorType(word, LANES), ir.VectorType(ir.IntType(1), LANES)
        half = ir.IntType(LANES)
        data = [context.make_array(kind)(context, builder, value).data for kind, value in
                ((signature.args[0], source), (signature.args[3], target))]  # fmt: skip
        reverse = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(half, [half]), f"llvm.bitreverse.i{LANES}"
        )
        is_set = builder.bitcast(builder.call(reverse, [builder.trunc(bits, half)]), mask)
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


#: Numba passes the first argument itself, which the types do not say.
_expand: Any = _expand_lanes
OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}


@njit(**OPTIONS)
def _n_bits(bits: Any) -> Any:
    """Return the number of bits of up to LANES that are set."""
    bits -= (bits >> 1) & 0x5555
    bits = (bits & 0x3333) + ((bits >> 2) & 0x3333)
    bits = (bits + (bits >> 4)) & 0x0F0F
    return (bits + (bits >> 8)) & 0x1F


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
        n_set += _n_bits(np.int64(byte))
    if n_set != values.size:  # or it would read beyond the values
        return False
    at, whole = 0, out.size - out.size % LANES
    for to in range(0, whole, LANES):
        bits = (np.int64(mask[to >> 3]) << 8) | np.int64(mask[(to >> 3) + 1])
        _expand(values, at, bits, out, to)
        at += _n_bits(bits)
    for to in range(whole, out.size):
        if mask[to >> 3] >> (7 - (to & 7)) & 1:
            out[to] = values[at]
            at += 1
        else:
            out[to] = 0
    return True

"""Layers of small integer networks by the processor's products of 16-bit pairs.

A layer multiplies columns of activations, integers from 0 to 255, by 16-bit weights into 32-bit
sums. Integers add up to the same in any order, so how the processor goes about it changes nothing:
AVX-512 and AVX2 have one instruction for two products and their sum, everything else multiplies.
The instructions are written in LLVM's own language, for a compiler does not find them in a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import I16, I32, I64, Array, load, processor, same, splat, store

ROWS = 8  # rows of weights that are multiplied at once
ACTIVATION = 255
_NAMES = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}


def pack(weights: np.ndarray) -> np.ndarray:
    """Weights (..., H, F) as int16 (..., ceil(H / 8), ceil(F / 2), 8, 2), padded with zeros.

    ValueError where one does not fit 16 bits.
    """
    *more, h, f = weights.shape
    if weights.size and (weights.min() < -(1 << 15) or weights.max() >= 1 << 15):
        raise ValueError("weights of networks must fit 16 bits")
    blocks, pairs = -(-h // ROWS), -(-f // 2)
    out = np.zeros((*more, blocks * ROWS, 2 * pairs), np.int16)
    out[..., :h, :f] = weights
    split = out.reshape(*more, blocks, ROWS, pairs, 2)
    return np.ascontiguousarray(np.moveaxis(split, -3, -2))


def pad(biases: np.ndarray) -> np.ndarray:
    """Biases (..., H) as int32, padded with zeros to a multiple of 8."""
    h = biases.shape[-1]
    out = np.zeros((*biases.shape[:-1], -(-h // ROWS) * ROWS), np.int32)
    out[..., :h] = biases
    return out


def _pairs_of_products(b: Any, x: Any, w: Any, width: int, native: bool) -> Any:
    """``x[2 i] w[2 i] + x[2 i + 1] w[2 i + 1]`` of int16 vectors, as int32."""
    vector, halves = ir.VectorType(I32, width), ir.VectorType(I16, 2 * width)
    if native:
        kind = ir.FunctionType(vector, [halves, halves])
        return b.call(cgutils.get_or_insert_function(b.module, kind, _NAMES[width]), [x, w])

    def every_other(v: Any, first: int) -> Any:
        places = [I32(2 * i + first) for i in range(width)]
        chosen = ir.Constant(ir.VectorType(I32, width), places)
        return b.sext(b.shuffle_vector(v, ir.Constant(halves, ir.Undefined), chosen), vector)

    return b.add(*(b.mul(every_other(x, i), every_other(w, i)) for i in (0, 1)))


@intrinsic  # type: ignore[misc]
def layer(
    typingctx: Any, x: Any, columns: Any, stride: Any, w: Any, block: Any, pairs: Any, bias: Any,
    shift: Any, out: Any,
) -> Any:  # fmt: skip
    """``out = clip((w x + bias) >> shift, 0, 255)``, eight rows of it, as pairs of int16.

    Arrays are contiguous: ``x`` and ``out`` int32 (pairs, stride), each element two int16 of
    consecutive rows; ``w`` what :func:`pack` makes of one network, of whose blocks of rows
    ``block`` is meant, and its first ``pairs`` pairs of columns; ``bias`` int32. Written are rows
    ``4 * block`` to ``4 * block + 3`` of ``out``, and of their columns at least the first
    ``columns``, in steps of 32: the stride must be a multiple of it.
    """
    whole = types.intp
    signature = types.void(x, whole, whole, w, whole, whole, bias, types.int32, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        px, columns, stride, pw, block, pairs, pb, shift, po = arguments
        features = processor(context)
        width = 16 if "+avx512bw" in features else 8
        native = width == 16 or "+avx2" in features
        side = 32 // width if width == 16 else 1  # vectors of columns at once
        vector, halves = ir.VectorType(I32, width), ir.VectorType(I16, 2 * width)

        arrays = [
            Array(context, b, signature.args[i], value)
            for i, value in ((0, px), (3, pw), (6, pb), (8, po))
        ]
        x32, w32, bias32, out32 = (b.bitcast(a.data, I32.as_pointer()) for a in arrays)
        total = arrays[1].shape[1]
        w32 = b.gep(w32, [b.mul(b.mul(block, total), I64(ROWS))])
        bias32 = b.gep(bias32, [b.mul(block, I64(ROWS))])
        out32 = b.gep(out32, [b.mul(b.mul(block, I64(ROWS // 2)), stride)])
        none, most = (same(vector, v) for v in (0, ACTIVATION))
        high = same(vector, 16)
        shifts = splat(b, shift, width)
        sums = [[cgutils.alloca_once(b, vector) for _ in range(side)] for _ in range(ROWS)]

        def clipped(v: Any) -> Any:
            v = b.ashr(v, shifts)
            v = b.select(b.icmp_signed(">", v, none), v, none)
            return b.select(b.icmp_signed("<", v, most), v, most)

        with cgutils.for_range_slice(b, I64(0), columns, I64(width * side), I64) as (first, _):
            for r, row in enumerate(sums):
                begin = splat(b, b.load(b.gep(bias32, [I64(r)])), width)
                for place in row:
                    b.store(begin, place)
            with cgutils.for_range(b, pairs) as loop:
                row_of_x = b.gep(x32, [b.add(b.mul(loop.index, stride), first)])
                loaded = []
                for c in range(side):
                    column = load(b, b.gep(row_of_x, [I64(c * width)]), vector)
                    loaded.append(b.bitcast(column, halves))
                row_of_w = b.gep(w32, [b.mul(loop.index, I64(ROWS))])
                for r, row in enumerate(sums):
                    one = b.load(b.gep(row_of_w, [I64(r)]))
                    weight = b.bitcast(splat(b, one, width), halves)
                    for column, place in zip(loaded, row, strict=True):
                        more = _pairs_of_products(b, column, weight, width, native)
                        b.store(b.add(b.load(place), more), place)
            for r in range(0, ROWS, 2):
                for c in range(side):
                    low, upper = (clipped(b.load(sums[r + i][c])) for i in (0, 1))
                    both = b.or_(low, b.shl(upper, high))
                    index = b.add(b.add(b.mul(I64(r // 2), stride), first), I64(c * width))
                    store(b, both, b.gep(out32, [index]))
        return context.get_dummy_value()

    return signature, generate

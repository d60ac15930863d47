"""A layer of a network in float32, for voxels side by side.

A product is added with one rounding (fused), and the sum of an output is taken in the order of the
inputs, so that every processor has the same result, whatever its vectors hold.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import F32, I64, Array, load, same, splat, store

LANES = 16  # voxels side by side
BLOCK = 8  # outputs at once
_FLOATS = ir.VectorType(F32, LANES)


@intrinsic  # type: ignore[misc]
def layer(
    typingctx: Any, x: Any, rows: Any, count: Any, w: Any, bias: Any, first: Any, cut: Any, out: Any
) -> Any:
    """``out[j] = bias[first + j] + sum of x[i] w[rows[i], j]`` over i below ``count``.

    Arrays are contiguous: ``x`` (..., LANES), ``w`` (..., H), ``bias`` and ``out`` (H, LANES)
    float32, ``rows`` int64; H is a multiple of BLOCK. Where ``cut``, what is below zero becomes it.
    """
    n = types.intp
    signature = types.void(x, rows, n, w, bias, n, types.boolean, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        places = [Array(context, b, signature.args[i], arguments[i]) for i in (0, 1, 3, 4, 7)]
        px, prows, pw, pbias, pout = (a.data for a in places)
        width = places[2].shape[1]
        pbias = b.gep(pbias, [arguments[5]])
        sums = [cgutils.alloca_once(b, _FLOATS) for _ in range(BLOCK)]
        nothing = same(_FLOATS, 0.0)
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        fused = cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{LANES}f32")
        with cgutils.for_range_slice(b, I64(0), width, I64(BLOCK), I64) as (column, _):
            for r in range(BLOCK):
                value = b.load(b.gep(pbias, [b.add(column, I64(r))]))
                b.store(splat(b, value, LANES), sums[r])
            with cgutils.for_range(b, arguments[2]) as loop:
                column_of_x = load(b, b.gep(px, [b.mul(loop.index, I64(LANES))]), _FLOATS)
                row = b.load(b.gep(prows, [loop.index]))
                begin = b.gep(pw, [b.add(b.mul(row, width), column)])
                for r in range(BLOCK):
                    weight = splat(b, b.load(b.gep(begin, [I64(r)])), LANES)
                    b.store(b.call(fused, [column_of_x, weight, b.load(sums[r])]), sums[r])
            for r in range(BLOCK):
                total = b.load(sums[r])
                positive = b.select(b.fcmp_ordered(">", total, nothing), total, nothing)
                total = b.select(arguments[6], positive, total)
                store(b, total, b.gep(pout, [b.mul(b.add(column, I64(r)), I64(LANES))]))
        return context.get_dummy_value()

    return signature, generate

"""Sums of products of rows, by vectors, in one order on every machine."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import F64, I32, I64, Array, same

LANES = 8
_FLOATS = ir.VectorType(F64, LANES)


@intrinsic  # type: ignore[misc]
def dot(typingctx: Any, rows: Any, a: Any, b: Any, size: Any) -> Any:
    """Sum of products of rows ``a`` and ``b`` of ``rows`` (float64, two axes, contiguous), of the
    first ``size`` elements, a multiple of LANES."""
    n = types.intp
    signature = types.float64(rows, n, n, n)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        rows = Array(context, b, signature.args[0], arguments[0])
        first, second, size = arguments[1:]
        sums = cgutils.alloca_once_value(b, same(_FLOATS, 0.0))
        with cgutils.for_range_slice(b, I64(0), size, I64(LANES), I64) as (i, _):
            places = (b.bitcast(rows.at(row, i), _FLOATS.as_pointer()) for row in (first, second))
            x, y = (b.load(place, align=8) for place in places)
            b.store(b.fadd(b.load(sums), b.fmul(x, y)), sums)
        found = b.load(sums)
        lanes = [b.extract_element(found, I32(lane)) for lane in range(LANES)]
        while len(lanes) > 1:
            lanes = [b.fadd(x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return signature, generate

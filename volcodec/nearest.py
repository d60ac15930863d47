"""The nearest multiples of a step, of every other element of rows, sixteen at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .entropy.expectation import BITS, HALF, whole_of
from .entropy.rows import LANES
from .kernel import kernel
from .vectors import F64, I32, Array, halves_of_pairs, load, same, splat, store

_WORDS, _FLOATS = ir.VectorType(I32, LANES), ir.VectorType(F64, LANES)
_REACH = 4 * (2 * LANES - 1)  # bytes from the first element that a block reads to the last


@intrinsic  # type: ignore[misc]
def _nearest_block(
    typingctx: Any, band: Any, at: Any, inverse: Any, lossless: Any, expected: Any, first: Any,
    out: Any,
) -> Any:  # fmt: skip
    """Sixteen elements of ``band``, every other one from ``at`` (bytes) on, to ``first`` in
    ``out``."""
    n = types.intp
    signature = types.void(band, n, types.float64, types.boolean, expected, n, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        at, inverse, lossless, first = (arguments[i] for i in (1, 2, 3, 5))
        source, told, to = (Array(context, b, signature.args[i], arguments[i]) for i in (0, 4, 6))
        start = b.gep(b.bitcast(source.data, ir.IntType(8).as_pointer()), [at])
        c, _ = halves_of_pairs(b, b.bitcast(start, I32.as_pointer()), _WORDS)
        half, bits = same(_WORDS, HALF), same(_WORDS, BITS)
        whole = b.ashr(b.add(load(b, told.at(first), _WORDS), half), bits)
        with b.if_else(lossless) as (exact, rounded):
            with exact:
                store(b, b.sub(c, whole), to.at(first))
            with rounded:
                by = splat(b, inverse, LANES)
                u = b.fsub(b.fmul(b.sitofp(c, _FLOATS), by), b.sitofp(whole, _FLOATS))
                below = b.fcmp_ordered("<", u, same(_FLOATS, 0.0))
                size = b.select(below, b.fneg(u), u)
                q = b.fptosi(b.fadd(size, same(_FLOATS, 0.5)), _WORDS)
                store(b, b.select(below, b.sub(same(_WORDS, 0), q), q), to.at(first))
        return context.get_dummy_value()

    return signature, generate


@kernel()
def nearest(
    band: np.ndarray, inverse: float, lossless: bool, expected: np.ndarray, out: np.ndarray
) -> None:
    """The nearest multiples, of one where ``lossless``, counted from what is ``expected``.

    ``band`` (int32) may have any strides; ``out`` (int32) is in raster order.
    """
    nz, ny, nx = band.shape
    sz, sy, sx = band.strides
    i = 0
    for z in range(nz):
        for y in range(ny):
            for first in range(0, nx, LANES):
                beyond = (nz - 1 - z) * sz + (ny - 1 - y) * sy + (nx - 1 - first) * sx
                if sx == 8 and beyond >= _REACH and i + first + LANES <= out.size:
                    at = z * sz + y * sy + first * sx
                    _nearest_block(band, at, inverse, lossless, expected, i + first, out)
                    continue
                for x in range(first, min(first + LANES, nx)):
                    whole = whole_of(np.int64(expected[i + x]))
                    if lossless:
                        out[i + x] = np.int32(band[z, y, x] - whole)
                    else:
                        u = band[z, y, x] * inverse - whole
                        q = np.int64(abs(u) + 0.5)
                        out[i + x] = np.int32(q if u >= 0 else -q)
            i += nx

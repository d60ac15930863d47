"""Where the symbols of a class lie in its band.

The loops go by vectors of sixteen positions, written in LLVM's own language: a compiler does not
write every other element of a row, nor elements side by side that are not so where they are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..kernel import kernel
from ..vectors import (
    F64,
    I8,
    I16,
    I32,
    I64,
    Array,
    halves_of_pairs,
    load,
    same,
    splat,
    store,
    store_pairs,
    store_some,
)
from .expectation import BITS, HALF, LIMIT, whole_of
from .rows import LANES

_WORDS, _HALVES, _BYTES = (ir.VectorType(t, LANES) for t in (I32, I16, I8))
_MOST = 4095  # of a magnitude


def _all(value: int) -> Any:
    return same(_WORDS, value)


def _within(b: Any, count: Any) -> Any:
    """Which of sixteen lanes are below ``count``."""
    lanes = ir.Constant(_WORDS, [I32(i) for i in range(LANES)])
    return b.icmp_signed("<", lanes, splat(b, b.trunc(count, I32), LANES))


def _every_other(b: Any, pointer: Any, values: Any, there: Any) -> None:
    """Store ``values`` where they are ``there``, two places apart; what lies between stays."""
    even, odd = halves_of_pairs(b, pointer, _WORDS)
    store_pairs(b, b.select(there, values, even), odd, pointer)


@intrinsic  # type: ignore[misc]
def _place_block(
    typingctx: Any, symbols: Any, expected: Any, first: Any, count: Any, halved: Any, mag: Any,
    kept: Any, keeps: Any, q: Any, z: Any, y: Any, x: Any,
) -> Any:  # fmt: skip
    """:func:`scatter` for sixteen symbols from ``first`` on, of which ``count`` count."""
    n = types.intp
    signature = types.void(symbols, expected, n, n, n, mag, kept, n, q, n, n, n)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        values = [
            Array(context, b, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        symbols, expected, first, count, halved, mag, kept, keeps, q, z, y, x = values
        s, e = (load(b, a.at(first), _WORDS) for a in (symbols, expected))
        there = _within(b, count)
        some = b.and_(b.icmp_signed("!=", b.or_(s, e), _all(0)), there)
        any_ = b.icmp_unsigned("!=", b.bitcast(some, ir.IntType(LANES)), ir.IntType(LANES)(0))
        half = splat(b, b.trunc(halved, I32), LANES)
        whole = b.ashr(b.add(e, _all(HALF)), _all(BITS))
        k = b.add(s, b.shl(whole, half))
        _every_other(b, q.at(z, y, x), k, there)
        with b.if_then(any_):
            one = I64(1)
            inside = (b.add(z, one), b.add(y, one), b.add(x, one))
            m = b.select(b.icmp_signed("<", s, _all(0)), b.sub(_all(0), s), s)
            m = b.lshr(b.add(m, half), half)
            least = b.zext(b.icmp_signed("!=", k, _all(0)), _WORDS)
            m = b.select(b.icmp_unsigned(">", m, least), m, least)
            m = b.select(b.icmp_unsigned("<", m, _all(_MOST)), m, _all(_MOST))
            place = mag.at(*inside)
            pairs = load(b, place, _WORDS)  # a magnitude and its neighbour each
            beside = b.and_(pairs, _all(0xFFFF0000))
            store(b, b.select(there, b.or_(beside, m), pairs), place)
            with b.if_then(b.icmp_signed("!=", keeps, I64(0))):
                k = b.select(b.icmp_signed("<", k, _all(LIMIT)), k, _all(LIMIT))
                k = b.select(b.icmp_signed(">", k, _all(-LIMIT)), k, _all(-LIMIT))
                _every_other(b, kept.at(*inside), k, there)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[misc]
def _rooms_block(
    typingctx: Any, predicted: Any, at: Any, expected: Any, first: Any, count: Any, least: Any,
    most: Any, inverse: Any, down: Any, up: Any,
) -> Any:  # fmt: skip
    """:func:`rooms` for sixteen symbols from ``first`` on, of which ``count`` count.

    Predictions lie two apart from ``at`` on.
    """
    n, f = types.intp, types.float64
    signature = types.void(predicted, n, expected, n, n, f, f, f, down, up)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        at, first, count, least, most, inverse = (arguments[i] for i in (1, 3, 4, 5, 6, 7))
        source, told, lows, highs = (
            Array(context, b, signature.args[i], arguments[i]) for i in (0, 2, 8, 9)
        )
        floats = ir.VectorType(F64, LANES)
        predicted, _ = halves_of_pairs(b, b.gep(source.data, [at]), _WORDS)
        p = b.sitofp(predicted, floats)
        e = load(b, told.at(first), _WORDS)
        whole = b.sitofp(b.ashr(b.add(e, _all(HALF)), _all(BITS)), floats)
        by = splat(b, inverse, LANES)
        kind = ir.FunctionType(floats, [floats])
        floor = cgutils.get_or_insert_function(b.module, kind, f"llvm.floor.v{LANES}f64")
        from_low = b.fadd(p, splat(b, least, LANES))
        from_high = b.fsub(splat(b, most, LANES), p)
        for distance, change, out in ((from_low, b.fadd, lows), (from_high, b.fsub, highs)):
            room = change(b.call(floor, [b.fmul(distance, by)]), whole)
            none, most_ = same(floats, -1.0), same(floats, 2147483647.0)
            room = b.select(b.fcmp_ordered(">", room, none), room, none)
            room = b.select(b.fcmp_ordered("<", room, most_), room, most_)
            store_some(b, b.fptosi(room, _WORDS), out.at(first), count)
        return context.get_dummy_value()

    return signature, generate


@kernel()
def rooms(
    predicted: np.ndarray, limits: np.ndarray, step: int, expected: np.ndarray,
    oz: int, oy: int, ox: int, down: np.ndarray, up: np.ndarray,
) -> None:  # fmt: skip
    """Largest magnitudes of the symbols of a class below and above zero, int32.

    Values lie within ``limits`` (least, most), ``predicted`` and the whole part of what is expected
    are taken off them, and symbols are off by no more than half of ``step``. ``predicted`` (int32,
    the band's shape) and ``expected`` have memory behind them that vectors may read.
    """
    # floor(n / step) = floor((n + 1/2) (1 / step)) exactly: whole numbers of steps are half a unit
    # away, and n has no more than 34 bits
    half = np.float64((step - 1) // 2) + 0.5
    least, most = half - np.float64(limits[0]), half + np.float64(limits[1])
    inverse = 1.0 / np.float64(step)
    count = (predicted.shape[2] - ox + 1) // 2
    i = 0
    for z in range(oz, predicted.shape[0], 2):
        for y in range(oy, predicted.shape[1], 2):
            at = (z * predicted.shape[1] + y) * predicted.shape[2] + ox
            for first in range(0, count, LANES):
                _rooms_block(
                    predicted, at + 2 * first, expected, i + first, count - first, least, most,
                    inverse, down, up,
                )  # fmt: skip
            i += count


@kernel()
def scatter(
    symbols: np.ndarray, expected: np.ndarray, halved: int, mag: np.ndarray, kept: np.ndarray,
    keeps: bool, q: np.ndarray, oz: int, oy: int, ox: int,
) -> None:  # fmt: skip
    """Write the symbols of one class into the band, in halves of a step where ``halved`` is 1.

    ``q`` takes the quantised coefficients, ``kept`` (margin 1), if it ``keeps`` any, the same
    clipped, ``mag`` (margin 1) the magnitudes of the symbols in steps, rounded up, at least one
    where ``q`` is not zero. ``kept`` and ``mag`` are zero when given.
    """
    nz, ny, nx = q.shape
    half = (nx - ox + 1) // 2
    i = 0
    for z in range(oz, nz, 2):
        for y in range(oy, ny, 2):
            at = (z * ny + y) * nx + ox
            inside = ((z + 1) * mag.shape[1] + y + 1) * mag.shape[2] + ox + 1
            for first in range(0, half, LANES):
                room = min(q.size - at, mag.size - inside) - 2 * first >= 2 * LANES
                if room and i + first + LANES <= symbols.size:
                    _place_block(
                        symbols, expected, i + first, half - first, halved, mag, kept, keeps, q,
                        z, y, 2 * first + ox,
                    )  # fmt: skip
                    continue
                for j in range(first, min(first + LANES, half)):
                    x = 2 * j + ox
                    s = np.int64(symbols[i + j])
                    k = np.int64(np.int32(s + (whole_of(np.int64(expected[i + j])) << halved)))
                    q[z, y, x] = k
                    m = ((-s if s < 0 else s) + halved) >> halved
                    if k != 0:
                        m = max(m, 1)
                        if keeps:
                            kept[z + 1, y + 1, x + 1] = min(max(k, -LIMIT), LIMIT)
                    mag[z + 1, y + 1, x + 1] = min(m, _MOST)
            i += half


@kernel()
def place(values: np.ndarray, out: np.ndarray, oz: int, oy: int, ox: int) -> None:
    """Write the values of one class, in raster order, into an array of the band's shape."""
    i = 0
    for z in range(oz, out.shape[0], 2):
        for y in range(oy, out.shape[1], 2):
            for x in range(ox, out.shape[2], 2):
                out[z, y, x] = values[i]
                i += 1

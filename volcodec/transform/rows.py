"""Interpolation of eight positions of a row at once, by vectors of 64-bit integers.

What :mod:`.layers` says of the closed loop, written in LLVM's own language, for a compiler does not
make vectors of loops over this many rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import F64, I16, I32, I64, Array, load, same, splat, store

LANES = 8
SLACK = 4 * LANES  # elements that may be read before the beginning and past the end of an array
LARGEST = 4095  # of a hint
_LONGS = ir.VectorType(I64, LANES)


def _all(value: int) -> Any:
    return same(_LONGS, value)


def _smaller(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _size(b: Any, x: Any) -> Any:
    return _larger(b, x, b.sub(_all(0), x))


def _store(b: Any, values: Any, element: Any, pointer: Any, count: Any) -> None:
    """Store as many lanes as there are positions left in the row."""
    short = b.trunc(values, ir.VectorType(element, LANES))
    enough = b.icmp_signed(">=", count, I64(LANES))
    with b.if_else(enough) as (whole, part):
        with whole:
            store(b, short, pointer)
        with part:
            for lane in range(LANES - 1):
                with b.if_then(b.icmp_signed("<", I64(lane), count)):
                    one = b.extract_element(short, I32(lane))
                    b.store(one, b.gep(pointer, [I64(lane)]))


@intrinsic  # type: ignore[misc]
def predict_block(
    typingctx: Any, r: Any, band: Any, bz: Any, by: Any, first: Any, step: Any, inverse: Any,
    p: Any, hints: Any,
) -> Any:  # fmt: skip
    """Interpolate the positions ``first`` to ``first + 7`` of a row (bz, by) of ``band`` from ``r``
    (int32, memory of SLACK on both sides), into ``p`` (int32) and ``hints`` (uint16, (2, ...)).

    ``inverse``: one over ``step``, as float64.
    """
    n = types.intp
    signature = types.void(r, n, n, n, n, n, types.float64, p, hints)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        band, bz, by, first, step, inverse = arguments[1:7]
        source, means, told = (
            Array(context, b, signature.args[i], arguments[i]) for i in (0, 7, 8)
        )
        nz, ny, nx = source.shape
        one, two, three = (I64(i) for i in (1, 2, 3))
        high = [b.and_(b.lshr(band, I64(axis)), one) for axis in (2, 1, 0)]
        z, y = (b.add(b.shl(i, one), o) for i, o in zip((bz, by), high, strict=False))
        begin = b.shl(first, one)
        x = b.add(begin, high[2])

        def every_other(pointer: Any) -> Any:
            kind = ir.VectorType(I32, 2 * LANES)
            both = load(b, pointer, kind)
            even = ir.Constant(ir.VectorType(I32, LANES), [I32(2 * i) for i in range(LANES)])
            return b.sext(b.shuffle_vector(both, ir.Constant(kind, ir.Undefined), even), _LONGS)

        total, least, most, slope, linear = (cgutils.alloca_once_value(b, _all(0)) for _ in "12345")
        fresh = cgutils.alloca_once_value(b, cgutils.true_bit)

        def take(before: Any, after: Any, farther: Any) -> None:
            """Add an axis: the neighbours, and the sum of those farther away."""
            pair = b.add(before, after)
            v = b.sub(b.mul(pair, _all(9)), farther)  # 16 times the interpolated value
            new = b.load(fresh)
            for place, found in ((least, _smaller), (most, _larger)):
                b.store(b.select(new, v, found(b, b.load(place), v)), place)
            b.store(b.add(b.load(total), v), total)
            b.store(b.add(b.load(slope), _size(b, b.sub(after, before))), slope)
            b.store(b.shl(pair, _all(3)), linear)
            b.store(cgutils.false_bit, fresh)

        def across(i: Any, size: Any, row: Any) -> None:
            """An axis along which rows lie side by side."""
            below, above = b.sub(i, one), b.add(i, one)
            above = b.select(b.icmp_signed("<", above, size), above, below)
            wide = b.and_(b.icmp_signed(">=", i, three), b.icmp_signed("<", b.add(i, three), size))
            low = b.select(wide, b.sub(i, three), below)
            up = b.select(wide, b.add(i, three), above)
            take(
                every_other(row(below)),
                every_other(row(above)),
                b.add(every_other(row(low)), every_other(row(up))),
            )

        with b.if_then(b.trunc(high[2], ir.IntType(1))):
            lanes = ir.Constant(_LONGS, [I64(2 * i) for i in range(LANES)])
            here = b.add(lanes, splat(b, begin, LANES))  # of the neighbour before
            row = source.at(z, y, begin)
            before = every_other(row)
            last = b.icmp_signed("<", b.add(here, _all(2)), splat(b, nx, LANES))
            after = b.select(last, every_other(b.gep(row, [two])), before)
            wide = b.and_(
                b.icmp_signed(">=", here, _all(2)),
                b.icmp_signed("<", b.add(here, _all(4)), splat(b, nx, LANES)),
            )
            farther = b.add(every_other(b.gep(row, [I64(-2)])), every_other(b.gep(row, [I64(4)])))
            take(before, after, b.select(wide, farther, b.add(before, after)))
        with b.if_then(b.trunc(high[1], ir.IntType(1))):
            across(y, ny, lambda i: source.at(z, i, x))
        with b.if_then(b.trunc(high[0], ir.IntType(1))):
            across(z, nz, lambda i: source.at(i, y, x))

        axes = b.add(b.add(*high[:2]), high[2])
        sum_ = b.load(total)
        alone, twice = (b.icmp_signed("==", axes, I64(i)) for i in (1, 2))
        half = b.ashr(b.add(sum_, _all(8)), _all(4))
        quarter = b.ashr(b.add(sum_, _all(16)), _all(5))
        part = b.sitofp(b.ashr(b.add(sum_, _all(24)), _all(4)), ir.VectorType(F64, LANES))
        floats = [same(part.type, v) for v in (0.5, 1 / 3)]
        third = b.fmul(b.fadd(part, floats[0]), floats[1])  # never near a whole number
        whole = b.fptosi(third, _LONGS)
        below = b.fcmp_ordered(">", b.sitofp(whole, part.type), third)
        third = b.sub(whole, b.zext(below, _LONGS))
        mean = b.select(alone, half, b.select(twice, quarter, third))
        spread = b.select(
            alone, _size(b, b.sub(sum_, b.load(linear))), b.sub(b.load(most), b.load(least))
        )
        count = b.sub(means.shape[2], first)
        _store(b, mean, I32, means.at(bz, by, first), count)
        for i, value in enumerate((b.ashr(spread, _all(2)), b.shl(b.load(slope), _all(1)))):
            limit = splat(b, b.sub(b.shl(step, I64(12)), one), LANES)
            # quotients of less than 2**12: half a step away from the next whole one is far enough
            share = b.fadd(b.sitofp(_smaller(b, value, limit), part.type), floats[0])
            steps = b.fptosi(b.fmul(share, splat(b, inverse, LANES)), _LONGS)
            _store(b, steps, I16, told.at(I64(i), bz, by, first), count)
        return context.get_dummy_value()

    return signature, generate

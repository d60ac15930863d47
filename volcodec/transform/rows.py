"""Interpolation of positions of a row at once, by vectors of integers, and what is added to it.

What :mod:`.layers` says of the closed loop, written in LLVM's own language, for a compiler does not
make vectors of loops over this many rows, nor writes every other element of one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import (
    F64,
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

LANES = 8  # positions at once
NARROW_LANES = 16  # where all values are below NARROW
NARROW = 1 << 24
SLACK = 4 * LANES  # elements that may be read before the beginning and past the end of an array
LARGEST = 4095  # of a hint
_WORDS = ir.VectorType(I32, NARROW_LANES)


def _smaller(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _size(b: Any, x: Any) -> Any:
    return _larger(b, x, b.sub(same(x.type, 0), x))


def _narrowed(b: Any, values: Any, element: Any) -> Any:
    """A vector as one of elements that may have fewer bits."""
    narrow = values.type.element.width > element.width
    return b.trunc(values, ir.VectorType(element, values.type.count)) if narrow else values


def _interpolation(lanes: int, element: Any) -> Any:
    """An intrinsic for so many positions, by integers of such a type."""
    vector = ir.VectorType(element, lanes)

    def every(value: int) -> Any:
        return same(vector, value)

    @intrinsic  # type: ignore[misc]
    def predict(
        typingctx: Any, r: Any, band: Any, bz: Any, by: Any, first: Any, step: Any, inverse: Any,
        p: Any, hints: Any,
    ) -> Any:  # fmt: skip
        """Interpolate positions of a row (bz, by) of ``band``, from ``first`` on, from ``r``
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
                kind = ir.VectorType(I32, 2 * lanes)
                both = load(b, pointer, kind)
                places = ir.Constant(ir.VectorType(I32, lanes), [I32(2 * i) for i in range(lanes)])
                even = b.shuffle_vector(both, ir.Constant(kind, ir.Undefined), places)
                return even if element is I32 else b.sext(even, vector)

            def whole(value: Any) -> Any:
                """A scalar in all lanes."""
                return splat(b, value if element is I64 else b.trunc(value, element), lanes)

            total, least, most, slope, linear = (
                cgutils.alloca_once_value(b, every(0)) for _ in "12345"
            )
            fresh = cgutils.alloca_once_value(b, cgutils.true_bit)

            def take(before: Any, after: Any, farther: Any) -> None:
                """Add an axis: the neighbours, and the sum of those farther away."""
                pair = b.add(before, after)
                v = b.sub(b.mul(pair, every(9)), farther)  # 16 times the interpolated value
                new = b.load(fresh)
                for place, found in ((least, _smaller), (most, _larger)):
                    b.store(b.select(new, v, found(b, b.load(place), v)), place)
                b.store(b.add(b.load(total), v), total)
                b.store(b.add(b.load(slope), _size(b, b.sub(after, before))), slope)
                b.store(b.shl(pair, every(3)), linear)
                b.store(cgutils.false_bit, fresh)

            def across(i: Any, size: Any, row: Any) -> None:
                """An axis along which rows lie side by side."""
                below, above = b.sub(i, one), b.add(i, one)
                above = b.select(b.icmp_signed("<", above, size), above, below)
                wide = b.and_(
                    b.icmp_signed(">=", i, three), b.icmp_signed("<", b.add(i, three), size)
                )
                low = b.select(wide, b.sub(i, three), below)
                up = b.select(wide, b.add(i, three), above)
                take(
                    every_other(row(below)),
                    every_other(row(above)),
                    b.add(every_other(row(low)), every_other(row(up))),
                )

            with b.if_then(b.trunc(high[2], ir.IntType(1))):
                two_apart = ir.Constant(vector, [element(2 * i) for i in range(lanes)])
                here = b.add(two_apart, whole(begin))  # of the neighbour before
                row = source.at(z, y, begin)
                before = every_other(row)
                last = b.icmp_signed("<", b.add(here, every(2)), whole(nx))
                after = b.select(last, every_other(b.gep(row, [two])), before)
                wide = b.and_(
                    b.icmp_signed(">=", here, every(2)),
                    b.icmp_signed("<", b.add(here, every(4)), whole(nx)),
                )
                farther = b.add(
                    every_other(b.gep(row, [I64(-2)])), every_other(b.gep(row, [I64(4)]))
                )
                take(before, after, b.select(wide, farther, b.add(before, after)))
            with b.if_then(b.trunc(high[1], ir.IntType(1))):
                across(y, ny, lambda i: source.at(z, i, x))
            with b.if_then(b.trunc(high[0], ir.IntType(1))):
                across(z, nz, lambda i: source.at(i, y, x))

            axes = b.add(b.add(*high[:2]), high[2])
            sum_ = b.load(total)
            alone = b.icmp_signed("==", axes, one)
            half = b.ashr(b.add(sum_, every(8)), every(4))
            quarter = b.ashr(b.add(sum_, every(16)), every(5))
            mean = cgutils.alloca_once_value(b, b.select(alone, half, quarter))
            floats = ir.VectorType(F64, lanes)
            with b.if_then(b.icmp_signed("==", axes, three)):
                part = b.sitofp(b.ashr(b.add(sum_, every(24)), every(4)), floats)
                # never near a whole number
                third = b.fmul(b.fadd(part, same(floats, 0.5)), same(floats, 1 / 3))
                toward = b.fptosi(third, vector)
                below = b.fcmp_ordered(">", b.sitofp(toward, floats), third)
                b.store(b.sub(toward, b.zext(below, vector)), mean)
            spread = b.select(
                alone, _size(b, b.sub(sum_, b.load(linear))), b.sub(b.load(most), b.load(least))
            )
            count = b.sub(means.shape[2], first)
            store_some(b, _narrowed(b, b.load(mean), I32), means.at(bz, by, first), count)
            top, highest = b.sub(b.shl(step, I64(12)), one), I64((1 << 31) - 1)
            if element is I32:
                top = b.select(b.icmp_signed("<", top, highest), top, highest)
            limit = whole(top)
            for i, value in enumerate((b.ashr(spread, every(2)), b.shl(b.load(slope), every(1)))):
                # quotients below 2**12: half a step away from the next whole one is far enough
                share = b.fadd(b.sitofp(_smaller(b, value, limit), floats), same(floats, 0.5))
                steps = b.fptosi(b.fmul(share, splat(b, inverse, lanes)), vector)
                short = _narrowed(b, steps, I16)
                store_some(b, short, told.at(I64(i), bz, by, first), count)
            return context.get_dummy_value()

        return signature, generate

    return predict


predict_block, predict_narrow = _interpolation(LANES, I64), _interpolation(NARROW_LANES, I32)


@intrinsic  # type: ignore[misc]
def rebuild_block(
    typingctx: Any, p: Any, q: Any, step: Any, z: Any, y: Any, first: Any, out: Any, oz: Any,
    oy: Any, ox: Any,
) -> Any:  # fmt: skip
    """Add ``step`` times ``q`` to ``p`` (int32, a band's shape), sixteen positions of a row, and
    store them where the band lies in ``out`` (int32, with SLACK), at (oz, oy, ox) + 2 (z, y, x).

    Returns bits of which the highest is that of the largest value.
    """
    n = types.intp
    signature = types.int64(p, q, n, n, n, n, out, n, n, n)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        step, z, y, first = arguments[2:6]
        means, symbols, whole = (
            Array(context, b, signature.args[i], arguments[i]) for i in (0, 1, 6)
        )
        two = I64(2)
        at = [b.add(b.mul(i, two), o) for i, o in zip((z, y, first), arguments[7:], strict=True)]
        by = splat(b, b.trunc(step, I32), NARROW_LANES)
        added = b.mul(load(b, symbols.at(z, y, first), _WORDS), by)
        values = b.add(load(b, means.at(z, y, first), _WORDS), added)
        place = whole.at(*at)
        store_pairs(b, values, halves_of_pairs(b, place, _WORDS)[1], place)
        signs = b.ashr(values, same(_WORDS, 31))
        bits = b.xor(values, signs)
        for half in (8, 4, 2, 1):
            places = [(i + half) % NARROW_LANES for i in range(NARROW_LANES)]
            turned = ir.Constant(_WORDS, [I32(i) for i in places])
            bits = b.or_(bits, b.shuffle_vector(bits, bits, turned))
        return b.zext(b.extract_element(bits, I32(0)), I64)

    return signature, generate


@intrinsic  # type: ignore[misc]
def residual_block(
    typingctx: Any, tile: Any, at: Any, p: Any, z: Any, y: Any, first: Any, out: Any
) -> Any:
    """What sixteen of ``p`` leave of the elements of ``tile`` that lie two apart from ``at`` on.

    All int32; ``out`` is as ``p`` is. Of the tile 32 elements are read.
    """
    n = types.intp
    signature = types.void(tile, n, p, n, n, n, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        at, z, y, first = (arguments[i] for i in (1, 3, 4, 5))
        source, means, left = (
            Array(context, b, signature.args[i], arguments[i]) for i in (0, 2, 6)
        )
        values, _ = halves_of_pairs(b, b.gep(source.data, [at]), _WORDS)
        store(b, b.sub(values, load(b, means.at(z, y, first), _WORDS)), left.at(z, y, first))
        return context.get_dummy_value()

    return signature, generate

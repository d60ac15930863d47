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

LANES = 8
SLACK = 4 * LANES  # elements that may be read before the beginning and past the end of an array
LARGEST = 4095  # of a hint
_I16, _I32, _I64, _F64 = (*(ir.IntType(b) for b in (16, 32, 64)), ir.DoubleType())
_LONGS = ir.VectorType(_I64, LANES)


def _all(value: int) -> Any:
    return ir.Constant(_LONGS, [_I64(value)] * LANES)


def _splat(b: Any, value: Any) -> Any:
    none = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    places = ir.Constant(ir.VectorType(_I32, LANES), [_I32(0)] * LANES)
    return b.shuffle_vector(b.insert_element(none, value, _I32(0)), none, places)


def _smaller(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _size(b: Any, x: Any) -> Any:
    return _larger(b, x, b.sub(_all(0), x))


class _Array:
    """Pointers to elements of a contiguous array."""

    def __init__(self, context: Any, b: Any, kind: Any, value: Any) -> None:
        array = cgutils.create_struct_proxy(kind)(context, b, value)
        self._b, self._data = b, array.data
        self.shape = cgutils.unpack_tuple(b, array.shape, kind.ndim)

    def at(self, *index: Any) -> Any:
        flat = index[0]
        for size, i in zip(self.shape[1:], index[1:], strict=True):
            flat = self._b.add(self._b.mul(flat, size), i)
        return self._b.gep(self._data, [flat])


def _store(b: Any, values: Any, element: Any, pointer: Any, count: Any) -> None:
    """Store as many lanes as there are positions left in the row."""
    short = b.trunc(values, ir.VectorType(element, LANES))
    enough = b.icmp_signed(">=", count, _I64(LANES))
    with b.if_else(enough) as (whole, part):
        with whole:
            b.store(short, b.bitcast(pointer, short.type.as_pointer()), align=element.width // 8)
        with part:
            for lane in range(LANES - 1):
                with b.if_then(b.icmp_signed("<", _I64(lane), count)):
                    one = b.extract_element(short, _I32(lane))
                    b.store(one, b.gep(pointer, [_I64(lane)]))


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
            _Array(context, b, signature.args[i], arguments[i]) for i in (0, 7, 8)
        )
        nz, ny, nx = source.shape
        one, two, three = (_I64(i) for i in (1, 2, 3))
        high = [b.and_(b.lshr(band, _I64(axis)), one) for axis in (2, 1, 0)]
        z, y = (b.add(b.shl(i, one), o) for i, o in zip((bz, by), high, strict=False))
        begin = b.shl(first, one)
        x = b.add(begin, high[2])

        def load(pointer: Any) -> Any:
            """Every other element from ``pointer`` on."""
            kind = ir.VectorType(_I32, 2 * LANES)
            both = b.load(b.bitcast(pointer, kind.as_pointer()), align=4)
            even = ir.Constant(ir.VectorType(_I32, LANES), [_I32(2 * i) for i in range(LANES)])
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
            take(load(row(below)), load(row(above)), b.add(load(row(low)), load(row(up))))

        with b.if_then(b.trunc(high[2], ir.IntType(1))):
            lanes = ir.Constant(_LONGS, [_I64(2 * i) for i in range(LANES)])
            here = b.add(lanes, _splat(b, begin))  # of the neighbour before
            row = source.at(z, y, begin)
            before = load(row)
            last = b.icmp_signed("<", b.add(here, _all(2)), _splat(b, nx))
            after = b.select(last, load(b.gep(row, [two])), before)
            wide = b.and_(
                b.icmp_signed(">=", here, _all(2)),
                b.icmp_signed("<", b.add(here, _all(4)), _splat(b, nx)),
            )
            farther = b.add(load(b.gep(row, [_I64(-2)])), load(b.gep(row, [_I64(4)])))
            take(before, after, b.select(wide, farther, b.add(before, after)))
        with b.if_then(b.trunc(high[1], ir.IntType(1))):
            across(y, ny, lambda i: source.at(z, i, x))
        with b.if_then(b.trunc(high[0], ir.IntType(1))):
            across(z, nz, lambda i: source.at(i, y, x))

        axes = b.add(b.add(*high[:2]), high[2])
        sum_ = b.load(total)
        alone, twice = (b.icmp_signed("==", axes, _I64(i)) for i in (1, 2))
        half = b.ashr(b.add(sum_, _all(8)), _all(4))
        quarter = b.ashr(b.add(sum_, _all(16)), _all(5))
        part = b.sitofp(b.ashr(b.add(sum_, _all(24)), _all(4)), ir.VectorType(_F64, LANES))
        floats = [ir.Constant(part.type, [ir.Constant(_F64, v)] * LANES) for v in (0.5, 1 / 3)]
        third = b.fmul(b.fadd(part, floats[0]), floats[1])  # never near a whole number
        whole = b.fptosi(third, _LONGS)
        below = b.fcmp_ordered(">", b.sitofp(whole, part.type), third)
        third = b.sub(whole, b.zext(below, _LONGS))
        mean = b.select(alone, half, b.select(twice, quarter, third))
        spread = b.select(
            alone, _size(b, b.sub(sum_, b.load(linear))), b.sub(b.load(most), b.load(least))
        )
        count = b.sub(means.shape[2], first)
        _store(b, mean, _I32, means.at(bz, by, first), count)
        for i, value in enumerate((b.ashr(spread, _all(2)), b.shl(b.load(slope), _all(1)))):
            limit = _splat(b, b.sub(b.shl(step, _I64(12)), one))
            # quotients of less than 2**12: half a step away from the next whole one is far enough
            share = b.fadd(b.sitofp(_smaller(b, value, limit), part.type), floats[0])
            steps = b.fptosi(b.fmul(share, _splat(b, inverse)), _LONGS)
            _store(b, steps, _I16, told.at(_I64(i), bz, by, first), count)
        return context.get_dummy_value()

    return signature, generate

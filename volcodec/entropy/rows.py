"""Features of sixteen positions of a row at once, by vectors of 32-bit integers.

What :mod:`.contexts` says of features, written in LLVM's own language: a compiler does not make
vectors of loops over this many arrays. The logarithm is a polynomial whose floor is exact for every
sum there can be, whether a machine rounds products before it adds them or not (and tested for all
of them).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Array,
    halves_of_pairs,
    load,
    processor,
    same,
    splat,
    store,
)
from .expectation import BITS, HALF

LANES = 16
SLACK = 2 * LANES  # elements that may be read past the end of an array, or be written of a row
CLIP = 4095  # sums are clipped here
# 16 log2(1 + t) / t on [0, 1), ascending powers: off by less than 2e-4, where no 16 log2(n) of
# whole n up to 4096 lies closer to a whole number than 2.9e-4 without being one
_LOG = (
    23.082931518554688, -11.527077674865723, 7.508827209472656,
    -4.85423469543457, 2.34293794631958, -0.5535233616828918,
)  # fmt: skip
_PAIRS = ir.VectorType(I16, 2 * LANES)
# of the whole numbers below 64
_LOGS = [((1 + n) ** 16).bit_length() - 1 for n in range(4 * LANES)]
_SMALL_LOGS = _LOGS[: 2 * LANES], _LOGS[2 * LANES :]
_BYTES, _HALVES, _WORDS, _FLOATS, _MASK = (
    ir.VectorType(t, LANES) for t in (I8, I16, I32, F32, ir.IntType(1))
)


def _all(value: int) -> Any:
    return same(_WORDS, value)


@numba.njit(cache=True, nogil=True)
def amid_zeros(shape: tuple[int, int, int]) -> np.ndarray:
    """Zeros (int32), a margin of one around ``shape``, and memory that vectors may reach into."""
    z, y, x = shape[0] + 2, shape[1] + 2, shape[2] + 2
    return np.zeros(z * y * x + SLACK, np.int32)[: z * y * x].reshape(z, y, x)


def _floats(value: float) -> Any:
    return same(_FLOATS, value)


class _Vectors:
    """Loads and arithmetic on vectors of sixteen."""

    def __init__(self, context: Any, b: Any) -> None:
        self.b = b
        self.squeezes = "+avx512f" in processor(context)
        self.looks_up = "+avx512bw" in processor(context)

    def bytes(self, pointer: Any) -> Any:
        """Sixteen bytes as words."""
        return self.b.zext(load(self.b, pointer, _BYTES), _WORDS)

    def every_other_byte(self, pointer: Any) -> Any:
        return self.b.and_(self.b.zext(load(self.b, pointer, _HALVES), _WORDS), _all(255))

    def halves(self, pointer: Any) -> Any:
        return self.b.zext(load(self.b, pointer, _HALVES), _WORDS)

    def pairs(self, pointer: Any) -> tuple[Any, Any]:
        """Of 32 halves those at even and at odd places."""
        both = load(self.b, pointer, _WORDS)
        return self.b.and_(both, _all(0xFFFF)), self.b.lshr(both, _all(16))

    def sum(self, *parts: Any) -> Any:
        total = parts[0]
        for part in parts[1:]:
            total = self.b.add(total, part)
        return total

    def any(self, *parts: Any) -> Any:
        total = parts[0]
        for part in parts[1:]:
            total = self.b.or_(total, part)
        return total

    def log(self, v: Any) -> Any:
        """floor(16 log2(1 + min(v, 4095)))."""
        b = self.b
        v = b.select(b.icmp_unsigned("<", v, _all(CLIP)), v, _all(CLIP))
        bits = b.bitcast(b.sitofp(b.add(v, _all(1)), _FLOATS), _WORDS)
        exponent = b.sub(b.lshr(bits, _all(23)), _all(127))
        one = b.or_(b.and_(bits, _all(0x7FFFFF)), _all(0x3F800000))
        t = b.fsub(b.bitcast(one, _FLOATS), _floats(1.0))
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        fused = cgutils.get_or_insert_function(b.module, kind, f"llvm.fmuladd.v{LANES}f32")
        total = _floats(_LOG[-1])
        for c in _LOG[-2::-1]:
            total = b.call(fused, [total, t, _floats(c)])
        return b.add(b.shl(exponent, _all(4)), b.fptosi(b.fmul(total, t), _WORDS))

    def logs(self, values: list[Any]) -> list[Any]:
        """The same of several vectors, looked up where all of their lanes are small."""
        if not self.looks_up:
            return [self.log(v) for v in values]
        b = self.b
        found = [cgutils.alloca_once(b, _WORDS) for _ in values]
        large = b.icmp_unsigned(">=", self.any(*values), _all(2 * _PAIRS.count))
        none = ir.IntType(LANES)(0)
        with b.if_else(b.icmp_unsigned("==", b.bitcast(large, none.type), none)) as (small, other):
            with small:
                kind = ir.FunctionType(_PAIRS, [_PAIRS] * 3)
                name = "llvm.x86.avx512.vpermi2var.hi.512"
                look_up = cgutils.get_or_insert_function(b.module, kind, name)
                low, high = (ir.Constant(_PAIRS, [I16(n) for n in half]) for half in _SMALL_LOGS)
                for v, place in zip(values, found, strict=True):
                    # the upper halves of lanes are zero, and so is the first logarithm
                    told = b.call(look_up, [low, b.bitcast(v, _PAIRS), high])
                    b.store(b.bitcast(told, _WORDS), place)
            with other:
                for v, place in zip(values, found, strict=True):
                    b.store(self.log(v), place)
        return [b.load(place) for place in found]

    def squeeze(self, v: Any, mask: Any) -> Any:
        """The lanes of ``v`` that ``mask`` names, side by side, where the processor can."""
        if not self.squeezes:
            return v
        kind = ir.FunctionType(_WORDS, [_WORDS, _WORDS, _MASK])
        name = f"llvm.x86.avx512.mask.compress.v{LANES}i32"
        f = cgutils.get_or_insert_function(self.b.module, kind, name)
        return self.b.call(f, [v, _all(0), mask])

    def size(self, v: Any) -> Any:
        negative = self.b.icmp_signed("<", v, _all(0))
        return self.b.select(negative, self.b.sub(_all(0), v), v)

    def steps(self, pointer: Any) -> tuple[Any, Any]:
        """Of 32 words those at even and at odd places."""
        return halves_of_pairs(self.b, pointer, _WORDS)

    def store_within(self, array: Array, place: Any, v: Any, count: Any) -> None:
        """Store lanes of a row of an array of one axis, all of them where there is room.

        Those from ``count`` on belong to the next row, which is stored later.
        """
        b = self.b
        room = b.icmp_signed("<=", b.add(place, I64(LANES)), array.shape[0])
        with b.if_else(room) as (whole, part):
            with whole:
                store(b, v, array.at(place))
            with part:
                for lane in range(LANES):
                    with b.if_then(b.icmp_signed("<", I64(lane), count)):
                        b.store(b.extract_element(v, I32(lane)), array.at(b.add(place, I64(lane))))


def _beside(b: Any, centre: Any, plane: Any, row: Any, dz: int, dy: int) -> Any:
    """The place in the row that lies ``dz`` planes and ``dy`` rows from a place, at most one."""
    for d, size in ((dz, plane), (dy, row)):
        if d:
            centre = b.gep(centre, [size if d > 0 else b.neg(size)])
    return centre


def _expect(v: _Vectors, symbols: Array, weights: Array, z: Any, y: Any, x: Any) -> Any:
    """Expectations, see :mod:`.expectation`, of sixteen positions two apart in a row.

    ``z`` and ``y`` count in ``symbols``, ``x`` is the place before the first.
    """
    b = v.b
    total = cgutils.alloca_once_value(b, _all(0))
    row = symbols.shape[2]
    plane = b.mul(row, symbols.shape[1])
    centre = symbols.at(z, y, x)

    def weigh(d: int, *rows: tuple[int, int], sides: bool) -> None:
        """Add a weight times the sum of the neighbours that lie that way."""
        weight = b.load(weights.at(I64(d)))
        with b.if_then(b.icmp_signed("!=", weight, I32(0))):
            found = []
            for dz, dy in rows:
                p = _beside(b, centre, plane, row, dz, dy)
                before, itself = v.steps(p)
                if sides:
                    found += [before, v.steps(b.gep(p, [I64(2)]))[0]]
                else:
                    found.append(itself)
            more = b.mul(v.sum(*found), splat(b, weight, LANES))
            b.store(b.add(b.load(total), more), total)

    beside, above = ((0, -1), (0, 1)), ((-1, 0), (1, 0))
    across = tuple((dz, dy) for dz in (-1, 1) for dy in (-1, 1))
    weigh(1, (0, 0), sides=True)
    for d, rows in ((2, beside), (4, above), (6, across)):
        weigh(d, *rows, sides=False)
        weigh(d + 1, *rows, sides=True)
    return b.load(total)


@intrinsic  # type: ignore[misc]
def feature_block(
    typingctx: Any, mag: Any, logs: Any, beside: Any, parent_mag: Any, parent_logs: Any, hints: Any,
    band: Any, before: Any, z: Any, y: Any, oz: Any, oy: Any, ox: Any, first: Any, count: Any,
    here: Any, symbols: Any, weights: Any, halved: Any, expected: Any, reciprocal: Any,
    classic: Any, column: Any, out: Any, where: Any,
) -> Any:  # fmt: skip
    """Features of the positions ``first`` to ``first + 15`` of a class in a row; which of them
    have any, as the bits of the result.

    ``z``, ``y`` count in arrays with a margin, ``oz``, ``oy``, ``ox`` is the offset of the class,
    ``count`` how many of the positions there are, ``here`` the place of the first in the class.
    Of arrays that are empty nothing is written:

    - ``expected`` (int32) takes the expectation of each position, by ``weights`` (int32, 8) from
      ``symbols`` (int32, with a margin and room), which are ``halved``, if 1;
    - ``classic`` (uint8) the classical context: sums of features times ``reciprocal`` over 2**20;
    - ``out`` and ``where`` from ``column`` on the features, four to an int32, and the places in the
      class: sixteen columns as they are or, as told by bit 16 of the result, side by side those
      whose bits are set. How many these are is told from bit 32 on.
    """
    n = types.intp
    signature = types.int64(
        mag, logs, beside, parent_mag, parent_logs, hints, n, before, n, n, n, n, n, n, n, n,
        symbols, weights, n, expected, n, classic, n, out, where,
    )  # fmt: skip

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        values = [
            Array(context, b, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        mags, log_rows, sums, parents, parent_log_rows, hint_rows, band, befores = values[:8]
        z, y, oz, oy, ox, first, count, here = values[8:16]
        symbols, weights, halved, expected, reciprocal, classic = values[16:22]
        column, outs, wheres = values[22:]
        v = _Vectors(context, b)
        one = I64(1)
        x = b.add(b.shl(first, one), ox)  # before the first position, in rows with a margin

        row = mags.shape[3]
        plane = b.mul(row, mags.shape[2])
        centre = mags.at(band, z, y, x)

        def around(dz: int, dy: int) -> tuple[Any, Any]:
            """A row: its positions, and the sums of those before and after."""
            p = _beside(b, centre, plane, row, dz, dy)
            before_it, itself = v.pairs(p)
            after_it, _ = v.pairs(b.gep(p, [I64(2)]))
            return itself, b.add(before_it, after_it)

        def wanted(array: Array) -> Any:
            return b.icmp_signed(">", array.shape[len(array.shape) - 1], I64(0))

        has_parent = b.icmp_signed(">", parents.shape[1], I64(2))
        up = b.add(first, one)
        pz, py = (b.add(b.lshr(b.sub(i, one), one), one) for i in (z, y))
        siblings = befores.shape[0]
        at = b.add(x, one)
        lanes = ir.Constant(_WORDS, [I32(i) for i in range(LANES)])
        there = b.icmp_signed("<", lanes, splat(b, b.trunc(count, I32), LANES))

        # whether anything at all is near: most of what is empty is left after this
        near = []
        for dz in (-1, 0, 1):
            for dy in (-1, 0, 1):
                p = _beside(b, centre, plane, row, dz, dy)
                near += [load(b, p, _WORDS), load(b, b.gep(p, [I64(2)]), _WORDS)]
        here_z, here_y, here_x = b.sub(z, one), b.sub(y, one), b.add(b.shl(first, one), ox)
        hints = [hint_rows.at(I64(i), here_z, here_y, here_x) for i in (0, 1)]
        near += [load(b, p, _WORDS) for p in (*hints, sums.at(z, y, at))]
        seen = cgutils.alloca_once_value(b, v.any(*near))
        with b.if_then(has_parent):
            rows = [v.bytes(parent_log_rows.at(I64(i), band, pz, py, up)) for i in (0, 1)]
            b.store(v.any(b.load(seen), *rows), seen)
        some = b.icmp_unsigned("!=", b.load(seen), _all(0))
        bits = cgutils.alloca_once_value(b, ir.IntType(LANES)(0))
        expectation, context_ = (cgutils.alloca_once_value(b, _all(0)) for _ in "ec")
        none = ir.IntType(LANES)(0)
        with b.if_then(b.icmp_unsigned("!=", b.bitcast(some, ir.IntType(LANES)), none)):
            _, along = around(0, 0)
            faces = [around(0, -1), around(0, 1), around(-1, 0), around(1, 0)]
            diagonals = [around(dz, dy) for dz in (-1, 1) for dy in (-1, 1)]
            own = [
                along,
                v.sum(*(itself for itself, _ in faces[:2])),
                v.sum(*(itself for itself, _ in faces[2:])),
                v.sum(*(sides for _, sides in faces), *(itself for itself, _ in diagonals)),
                v.sum(*(sides for _, sides in diagonals)),
            ]
            told = [v.pairs(p)[0] for p in hints]
            above = [cgutils.alloca_once_value(b, _all(0)) for _ in range(3)]
            with b.if_then(has_parent):
                for i in (0, 1):
                    b.store(v.bytes(parent_log_rows.at(I64(i), band, pz, py, up)), above[i])
                side_z, side_y = (b.sub(b.shl(o, one), one) for o in (oz, oy))
                nearest = v.sum(
                    v.halves(parents.at(band, pz, py, b.add(first, b.shl(ox, one)))),
                    v.halves(parents.at(band, pz, b.add(py, side_y), up)),
                    v.halves(parents.at(band, b.add(pz, side_z), py, up)),
                )
                b.store(nearest, above[2])
            beside, _ = v.pairs(sums.at(z, y, at))
            found = v.any(*own, *told, beside, *(b.load(place) for place in above[:2]))
            mask = b.and_(b.icmp_unsigned("!=", found, _all(0)), there)
            b.store(b.bitcast(mask, ir.IntType(LANES)), bits)
            *logs_, nearest = v.logs([*own, b.load(above[2])])
            parents_ = [b.load(above[0]), b.load(above[1]), nearest]
            with b.if_then(wanted(classic)):
                total = v.sum(*logs_, *logs_, *parents_, beside)
                mean = b.lshr(b.mul(total, splat(b, b.trunc(reciprocal, I32), LANES)), _all(20))
                least = b.select(b.icmp_unsigned("<", mean, _all(22)), mean, _all(22))
                b.store(b.select(mask, b.add(least, _all(1)), _all(0)), context_)
            with b.if_then(wanted(expected)):
                e = _expect(v, symbols, weights, z, y, x)
                e = b.ashr(e, splat(b, b.trunc(halved, I32), LANES))
                b.store(b.select(mask, e, _all(0)), expectation)
            with b.if_then(wanted(outs)):

                def put(group: Any, *values: Any) -> None:
                    shifted = (b.shl(value, _all(8 * i)) for i, value in enumerate(values))
                    store(b, v.squeeze(v.any(*shifted), mask), outs.at(group, column))

                e = b.load(expectation)
                whole = b.shl(b.ashr(b.add(e, _all(HALF)), _all(BITS)), _all(BITS))
                features = [
                    *logs_,
                    *parents_,
                    *v.logs([*told, v.size(e)]),
                    b.shl(v.size(b.sub(e, whole)), _all(2)),
                ]
                fixed = len(features) // 4
                for g in range(fixed):
                    put(I64(g), *features[4 * g : 4 * g + 4])
                with cgutils.for_range(b, b.lshr(b.add(siblings, one), one)) as loop:
                    sides = []
                    for i in (0, 1):
                        which = b.or_(b.shl(loop.index, one), I64(i))
                        has = b.icmp_signed("<", which, siblings)
                        sibling = b.load(befores.at(b.select(has, which, I64(0))))
                        for f in (0, 1):
                            told_by = v.every_other_byte(log_rows.at(I64(f), sibling, z, y, at))
                            sides.append(b.select(has, told_by, _all(0)))
                    put(b.add(I64(fixed), loop.index), *sides)
                places = b.add(lanes, splat(b, b.trunc(here, I32), LANES))
                store(b, v.squeeze(places, mask), wheres.at(column))
        with b.if_then(wanted(expected)):
            v.store_within(expected, here, b.load(expectation), count)
        with b.if_then(wanted(classic)):
            v.store_within(classic, here, b.trunc(b.load(context_), _BYTES), count)
        found = b.zext(b.ctpop(b.load(bits)), I64)
        which = b.or_(b.zext(b.load(bits), I64), b.shl(found, I64(32)))
        return b.or_(which, I64(int(v.squeezes) << LANES))

    return signature, generate


@intrinsic  # type: ignore[misc]
def logarithm_block(
    typingctx: Any, mag: Any, band: Any, z: Any, y: Any, first: Any, count: Any, out: Any,
    sums: Any,
) -> Any:  # fmt: skip
    """Logarithms of sixteen magnitudes of a row of a band, and of their sums over faces.

    ``mag`` (uint16, (8, ...)), ``out`` (uint8, (2, 8, ...)), to which they are written, and
    ``sums`` (uint16), to which both are added, have margins; ``first`` counts in rows with these.
    Lanes from ``count`` on become zero. Either of the latter may be empty.
    """
    n = types.intp
    signature = types.void(mag, n, n, n, n, n, out, sums)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        band, z, y, first, count = arguments[1:6]
        mags, outs, totals = (Array(context, b, signature.args[i], arguments[i]) for i in (0, 6, 7))
        v = _Vectors(context, b)

        def at(dz: int, dy: int, dx: int) -> Any:
            place = (b.add(i, I64(d)) for i, d in zip((z, y, first), (dz, dy, dx), strict=True))
            return v.halves(mags.at(band, *place))

        sides = ((0, 0, -1), (0, 0, 1), (0, -1, 0), (0, 1, 0), (-1, 0, 0), (1, 0, 0))
        own, faces = at(0, 0, 0), v.sum(*(at(*side) for side in sides))
        lanes = ir.Constant(_WORDS, [I32(i) for i in range(LANES)])
        there = b.icmp_signed("<", lanes, splat(b, b.trunc(count, I32), LANES))
        logs = [b.select(there, value, _all(0)) for value in v.logs([own, faces])]
        with b.if_then(b.icmp_signed("!=", outs.shape[0], I64(0))):
            for i, value in enumerate(logs):
                store(b, b.trunc(value, _BYTES), outs.at(I64(i), band, z, y, first))
        with b.if_then(b.icmp_signed("!=", totals.shape[0], I64(0))):
            p = totals.at(z, y, first)
            store(b, b.trunc(v.sum(v.halves(p), *logs), _HALVES), p)
        return context.get_dummy_value()

    return signature, generate

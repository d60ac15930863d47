"""Features of sixteen positions of a row at once, by vectors of 32-bit integers.

What :mod:`.contexts` says of features, written in LLVM's own language: a compiler does not make
vectors of loops over this many arrays. The logarithm is a polynomial whose floor is exact for every
sum there can be; sums of products are not contracted, so it is the same on every machine (and
tested for all of them).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import F32, I8, I16, I32, I64, Array, load, processor, same, splat, store

LANES = 16
SLACK = 2 * LANES  # elements that may be read past the end of an array, or be written of a row
CLIP = 4095  # sums are clipped here
# 16 log2(1 + t) / t on [0, 1), ascending powers: off by less than 2e-4, where no 16 log2(n) of
# whole n up to 4096 lies closer to a whole number than 2.9e-4 without being one
_LOG = (
    23.082931518554688, -11.527077674865723, 7.508827209472656,
    -4.85423469543457, 2.34293794631958, -0.5535233616828918,
)  # fmt: skip
_BYTES, _HALVES, _WORDS, _FLOATS, _MASK = (
    ir.VectorType(t, LANES) for t in (I8, I16, I32, F32, ir.IntType(1))
)


def _all(value: int) -> Any:
    return same(_WORDS, value)


def _floats(value: float) -> Any:
    return same(_FLOATS, value)


class _Vectors:
    """Loads and arithmetic on vectors of sixteen."""

    def __init__(self, context: Any, b: Any) -> None:
        self.b = b
        told = processor(context)
        self.squeezes = all(f"+{name}" in told for name in ("avx512f", "avx512vl", "avx512vbmi2"))

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
        total = _floats(_LOG[-1])
        for c in _LOG[-2::-1]:
            total = b.fadd(b.fmul(total, t), _floats(c))
        return b.add(b.shl(exponent, _all(4)), b.fptosi(b.fmul(total, t), _WORDS))

    def squeeze(self, v: Any, mask: Any) -> Any:
        """The lanes of ``v`` that ``mask`` names, side by side, where the processor can."""
        if not self.squeezes:
            return v
        kind = ir.FunctionType(v.type, [v.type, v.type, _MASK])
        name = f"llvm.x86.avx512.mask.compress.v{LANES}i{v.type.element.width}"
        f = cgutils.get_or_insert_function(self.b.module, kind, name)
        return self.b.call(f, [v, ir.Constant(v.type, None), mask])


@intrinsic  # type: ignore[misc]
def feature_block(
    typingctx: Any, mag: Any, logs: Any, parent_mag: Any, parent_logs: Any, hints: Any, band: Any,
    before: Any, z: Any, y: Any, oz: Any, oy: Any, ox: Any, first: Any, count: Any, here: Any,
    column: Any, out: Any, where: Any,
) -> Any:  # fmt: skip
    """Features of the positions ``first`` to ``first + 15`` of a class in a row; which of them
    have any, as the bits of the result.

    ``z``, ``y`` count in arrays with a margin, ``oz``, ``oy``, ``ox`` is the offset of the class,
    ``count`` how many of the positions there are, ``here`` the place of the first in the class.
    ``hints`` (uint16, (2, ...)) is the row alone. Written from ``column`` on are the features but
    those of expectations to ``out``, and the places in the class to ``where``: sixteen columns as
    they are or, as told by bit 16 of the result, side by side those whose bits are set. How many
    these are is told from bit 32 on.
    """
    n = types.intp
    signature = types.int64(
        mag, logs, parent_mag, parent_logs, hints, n, before, n, n, n, n, n, n, n, n, n, out, where
    )

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        rows = {
            i: Array(context, b, signature.args[i], arguments[i])
            for i in (0, 1, 2, 3, 4, 6, 16, 17)
        }
        mags, log_rows, parents, parent_log_rows, hint_rows, befores, outs, wheres = rows.values()
        band, z, y, oz, oy, ox, first, count, here, column = (
            arguments[i] for i in (5, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        )
        v = _Vectors(context, b)
        one = I64(1)
        x = b.add(b.shl(first, one), ox)  # before the first position, in rows with a margin

        def around(dz: int, dy: int) -> tuple[Any, Any]:
            """A row: its positions, and the sums of those before and after."""
            p = mags.at(band, b.add(z, I64(dz)), b.add(y, I64(dy)), x)
            before_it, itself = v.pairs(p)
            after_it, _ = v.pairs(b.gep(p, [I64(2)]))
            return itself, b.add(before_it, after_it)

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
        told = [v.pairs(hint_rows.at(I64(i), b.shl(first, one)))[0] for i in (0, 1)]
        above = [cgutils.alloca_once_value(b, _all(0)) for _ in range(3)]
        has_parent = b.icmp_signed(">", parents.shape[1], I64(2))
        up = b.add(first, one)
        with b.if_then(has_parent):
            pz, py = (b.add(b.lshr(b.sub(i, one), one), one) for i in (z, y))
            for i in (0, 1):
                b.store(v.bytes(parent_log_rows.at(I64(i), band, pz, py, up)), above[i])
            side_z, side_y = (b.sub(b.shl(o, one), one) for o in (oz, oy))
            near = v.sum(
                v.halves(parents.at(band, pz, py, b.add(first, b.shl(ox, one)))),
                v.halves(parents.at(band, pz, b.add(py, side_y), up)),
                v.halves(parents.at(band, b.add(pz, side_z), py, up)),
            )
            b.store(v.log(near), above[2])
        some = cgutils.alloca_once_value(
            b, v.any(*own, *told, *(b.load(place) for place in above[:2]))
        )
        siblings = befores.shape[0]
        at = b.add(x, one)
        with cgutils.for_range(b, siblings) as loop:
            sibling = b.load(befores.at(loop.index))
            for f in (0, 1):
                seen = v.every_other_byte(log_rows.at(I64(f), sibling, z, y, at))
                b.store(v.any(b.load(some), seen), some)
        lanes = ir.Constant(_WORDS, [I32(i) for i in range(LANES)])
        there = b.icmp_signed("<", lanes, splat(b, b.trunc(count, I32), LANES))
        mask = b.and_(b.icmp_unsigned("!=", b.load(some), _all(0)), there)
        bits = b.zext(b.bitcast(mask, ir.IntType(LANES)), I64)

        def put(row: Any, value: Any) -> None:
            store(b, v.squeeze(b.trunc(value, _BYTES), mask), outs.at(row, column))

        with b.if_then(b.icmp_unsigned("!=", bits, I64(0))):
            for f, value in enumerate(own):
                put(I64(f), v.log(value))
            for f, place in enumerate(above):
                put(I64(len(own) + f), b.load(place))
            for f, value in enumerate(told):
                put(I64(len(own) + len(above) + f), v.log(value))
            fixed = I64(len(own) + len(above) + 2 * len(told))
            with cgutils.for_range(b, siblings) as loop:
                sibling = b.load(befores.at(loop.index))
                for f in (0, 1):
                    row = b.add(b.add(fixed, b.shl(loop.index, one)), I64(f))
                    put(row, v.every_other_byte(log_rows.at(I64(f), sibling, z, y, at)))
            places = b.add(lanes, splat(b, b.trunc(here, I32), LANES))
            store(b, v.squeeze(places, mask), wheres.at(column))
        found = b.zext(b.ctpop(b.bitcast(mask, ir.IntType(LANES))), I64)
        return b.or_(b.or_(bits, b.shl(found, I64(32))), I64(int(v.squeezes) << LANES))

    return signature, generate


@intrinsic  # type: ignore[misc]
def logarithm_block(
    typingctx: Any, mag: Any, band: Any, z: Any, y: Any, first: Any, count: Any, out: Any
) -> Any:
    """Logarithms of sixteen magnitudes of a row of a band, and of their sums over faces.

    ``mag`` (uint16, (8, ...)) and ``out`` (uint8, (2, 8, ...)) have margins; ``first`` counts in
    rows with these. Lanes from ``count`` on become zero.
    """
    n = types.intp
    signature = types.void(mag, n, n, n, n, n, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        band, z, y, first, count = arguments[1:6]
        mags, outs = (Array(context, b, signature.args[i], arguments[i]) for i in (0, 6))
        v = _Vectors(context, b)

        def at(dz: int, dy: int, dx: int) -> Any:
            place = (b.add(i, I64(d)) for i, d in zip((z, y, first), (dz, dy, dx), strict=True))
            return v.halves(mags.at(band, *place))

        sides = ((0, 0, -1), (0, 0, 1), (0, -1, 0), (0, 1, 0), (-1, 0, 0), (1, 0, 0))
        own, faces = at(0, 0, 0), v.sum(*(at(*side) for side in sides))
        lanes = ir.Constant(_WORDS, [I32(i) for i in range(LANES)])
        there = b.icmp_signed("<", lanes, splat(b, b.trunc(count, I32), LANES))
        for i, value in enumerate((own, faces)):
            shown = b.select(there, v.log(value), _all(0))
            store(b, b.trunc(shown, _BYTES), outs.at(I64(i), band, z, y, first))
        return context.get_dummy_value()

    return signature, generate

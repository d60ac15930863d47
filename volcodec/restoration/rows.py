"""What the filter sees of eight voxels of a row at once, by vectors of 32-bit integers.

What :mod:`.taps` says of features, written in LLVM's own language, for a compiler does not make
vectors of loops over this many rows. Of rows, all eight voxels are read and written: arrays have
columns up to a multiple of ``LANES``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import I8, I32, I64, Array, load, same, splat, store
from .taps import CUT, EDGES, FACES, MARGIN, OWN, PAIRS, PLANES, SHIFT, SUMS

LANES: Final = 8
_WORDS, _BYTES = (ir.VectorType(t, LANES) for t in (I32, I8))
PACKED: Final = 12
"""Pairs of weights of a class, and zeros up to a multiple of four."""


def _all(value: int) -> Any:
    return same(_WORDS, value)


def _cut(b: Any, v: Any, most: int) -> Any:
    """``v`` within -most ... most."""
    for limit, beyond in ((_all(most), ">"), (_all(-most), "<")):
        v = b.select(b.icmp_signed(beyond, v, limit), limit, v)
    return v


def _voxels(b: Any, p: Any, here: Any, offset: Any = (0, 0, 0)) -> Any:
    """Eight voxels of a padded tile: (z, y, x) ``here`` are the first without an offset."""
    place = (b.add(i, I64(MARGIN + int(d))) for i, d in zip(here, offset, strict=True))
    return load(b, p.at(*place), _WORDS)


def _differences(b: Any, p: Any, here: Any, centre: Any, offset: Any) -> tuple[Any, Any]:
    """Differences to voxels at ``offset`` and at its opposite, not cut yet."""
    one, two = (b.sub(_voxels(b, p, here, o), centre) for o in (offset, -offset))
    return one, two


def _sum(b: Any, pair: tuple[Any, Any], most: int) -> Any:
    return b.add(_cut(b, pair[0], most), _cut(b, pair[1], most))


def _features(b: Any, p: Any, here: Any, centre: Any, sides: Any) -> Iterator[Any]:
    """The features, one after the other."""
    sums = [_all(0) for _ in SUMS]
    own = []
    for k, offset in enumerate(PAIRS):
        pair = _differences(b, p, here, centre, offset)
        for i, (members, most) in enumerate(SUMS):
            if k in members:
                sums[i] = b.add(sums[i], _sum(b, pair, most))
        if k < OWN:
            own.append(_sum(b, pair, CUT))
            yield own[k]
    yield from sums
    smooth = _all(0)
    for plane in range(PLANES):
        first, second = (own[EDGES[2 * plane + i]] for i in range(2))
        chosen = b.icmp_unsigned("!=", b.and_(sides, _all(1 << plane)), _all(0))
        smooth = b.add(smooth, b.select(chosen, second, first))
    yield smooth


@intrinsic  # type: ignore[misc]
def roughness_block(typingctx: Any, p: Any, z: Any, y: Any, x: Any, out: Any) -> Any:
    """Into ``out`` (int32, (1 + PLANES, nx)) of eight voxels of a padded tile: their roughness.

    And of each plane, how much rougher the first diagonal is than the second.
    """
    n = types.intp
    signature = types.void(p, n, n, n, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        tile, rows = (Array(context, b, signature.args[i], arguments[i]) for i in (0, 4))
        here = arguments[1:4]
        centre = _voxels(b, tile, here)

        def rough(k: int) -> Any:
            v = _sum(b, _differences(b, tile, here, centre, PAIRS[k]), CUT)
            minus = b.sub(_all(0), v)
            return b.select(b.icmp_signed(">", v, minus), v, minus)

        total = _all(0)
        for k in FACES:
            total = b.add(total, rough(k))
        store(b, total, rows.at(I64(0), here[2]))
        for plane in range(PLANES):
            first, second = (rough(EDGES[2 * plane + i]) for i in range(2))
            store(b, b.sub(first, second), rows.at(I64(1 + plane), here[2]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[misc]
def feature_block(typingctx: Any, p: Any, z: Any, y: Any, x: Any, sides: Any, out: Any) -> Any:
    """The features of eight voxels of a padded tile, into ``out`` (int32, (FEATURES, nx)).

    ``sides``: which diagonals are smoother, uint8, (Z, Y, nx).
    """
    n = types.intp
    signature = types.void(p, n, n, n, sides, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        tile, sides, rows = (Array(context, b, signature.args[i], arguments[i]) for i in (0, 4, 5))
        here = arguments[1:4]
        smoother = b.zext(load(b, sides.at(*here), _BYTES), _WORDS)
        features = _features(b, tile, here, _voxels(b, tile, here), smoother)
        for k, feature in enumerate(features):
            store(b, feature, rows.at(I64(k), here[2]))
        return context.get_dummy_value()

    return signature, generate


def _weights(b: Any, table: Any, seen: Any) -> Iterator[Any]:
    """The weights of eight voxels of classes ``seen``, one feature after the other.

    Four pairs of weights of a voxel are loaded at once, and turned by shuffles: a load for each, or
    gathering, is slower.
    """
    half = ir.VectorType(I32, LANES // 2)
    lanes = [b.zext(b.extract_element(seen, I32(lane)), I64) for lane in range(LANES)]

    def shuffled(one: Any, two: Any, places: list[int]) -> Any:
        return b.shuffle_vector(one, two, ir.Constant(_WORDS, [I32(i) for i in places]))

    def interleaved(one: Any, two: Any, *places: int) -> Any:
        """Four places in the lower half of ``one``, from 8 on of ``two``, then in the upper one."""
        return shuffled(one, two, [*places, *(i + 4 for i in places)])

    for first in range(0, PACKED, 4):
        loaded = [load(b, table.at(lane, I64(first)), half) for lane in lanes]
        v = [shuffled(loaded[i], loaded[i + 4], list(range(LANES))) for i in range(4)]
        early = [interleaved(v[i], v[i + 1], 0, 8, 1, 9) for i in (0, 2)]
        late = [interleaved(v[i], v[i + 1], 2, 10, 3, 11) for i in (0, 2)]
        for pair in (early, late):
            for places in ((0, 1, 8, 9), (2, 3, 10, 11)):
                both = interleaved(*pair, *places)
                yield b.ashr(b.shl(both, _all(16)), _all(16))
                yield b.ashr(both, _all(16))


@intrinsic  # type: ignore[misc]
def restored_block(
    typingctx: Any, p: Any, z: Any, y: Any, x: Any, bins: Any, sides: Any, first: Any, table: Any,
    out: Any,
) -> Any:  # fmt: skip
    """Eight restored voxels of a padded tile, into ``out`` (int32, a row).

    ``bins`` and ``sides`` (uint8, (Z, Y, nx)): see Seen; weights below ``first`` are all zero.
    ``table`` (int32, (BINS, PACKED)): weights of two features, 16 bits each, the first in the
    lower half.
    """
    n = types.intp
    signature = types.void(p, n, n, n, bins, sides, n, table, out)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        tile, classes, sides, table, row = (
            Array(context, b, signature.args[i], arguments[i]) for i in (0, 4, 5, 7, 8)
        )
        here, first = arguments[1:4], arguments[6]
        centre = _voxels(b, tile, here)
        seen = b.zext(load(b, classes.at(*here), _BYTES), _WORDS)
        low = splat(b, b.trunc(first, I32), LANES)
        some = b.bitcast(b.icmp_unsigned(">=", seen, low), I8)
        restored = cgutils.alloca_once_value(b, centre)
        with b.if_then(b.icmp_unsigned("!=", some, I8(0))):
            total = _all(1 << (SHIFT - 1))
            smoother = b.zext(load(b, sides.at(*here), _BYTES), _WORDS)
            features = _features(b, tile, here, centre, smoother)
            for feature, weight in zip(features, _weights(b, table, seen), strict=False):
                total = b.add(total, b.mul(weight, feature))
            b.store(b.add(centre, b.ashr(total, _all(SHIFT))), restored)
        store(b, b.load(restored), row.at(here[2]))
        return context.get_dummy_value()

    return signature, generate

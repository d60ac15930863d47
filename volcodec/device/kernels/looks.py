"""What an encoder asks of values, each in one pass over them.

Values are (tiles, size), unsigned integers as signed ones of the same bits: UNSIGNED is how many
bits those have, 0 for other dtypes. A program goes through a part of a tile, ``span`` voxels in
blocks, and writes one row of a table (float64, (tiles * parts, columns)). Numbers that are given
are float64. All is counted in float64, each operation rounded by itself: to be launched without
fusion.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _wide(at, valid, UNSIGNED: tl.constexpr):
    """Values as float64."""
    v = tl.load(at, mask=valid, other=0)
    if UNSIGNED:
        v = v.to(tl.int64) & ((1 << UNSIGNED) - 1)
    return v.to(tl.float64)


@triton.jit
def _is_finite(v):
    return tl.abs(v) < float("inf")


@triton.jit
def _whole(v):
    """Rounded to the nearest whole number, halves to even; not finite ones as they are."""
    size = tl.abs(v)
    near = (size + 4503599627370496.0) - 4503599627370496.0
    near = tl.where(size < 4503599627370496.0, near, size)
    return tl.where(v.to(tl.int64, bitcast=True) < 0, -near, near)


@triton.jit
def _part(size, span, parts):
    """The tile of a program, where its part begins, and where it ends."""
    tile = tl.program_id(0) // parts
    first = (tl.program_id(0) - tile * parts) * span
    return tile, first, tl.minimum(first + span, size)


@triton.jit
def _count(flags):
    return tl.sum(flags.to(tl.float64), 0)


@triton.jit(do_not_specialize=["size", "span", "parts"])
def survey(
    values, given, table, size, span, parts, UNSIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Of finite values the least and the largest, how many; how many are as ``given`` (background),
    and how many are -0."""
    tile, first, end = _part(size, span, parts)
    background = tl.load(given)
    low = tl.full([BLOCK], float("inf"), tl.float64)
    high = -low
    many = tl.zeros([BLOCK], tl.int32)
    same = tl.zeros([BLOCK], tl.int32)
    minus = tl.zeros([BLOCK], tl.int32)
    for begin in range(first, end, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        valid = i < end
        v = _wide(values + tile * size + i, valid, UNSIGNED)
        finite = valid & _is_finite(v)
        low = tl.minimum(low, tl.where(finite, v, float("inf")))
        high = tl.maximum(high, tl.where(finite, v, -float("inf")))
        many += finite.to(tl.int32)
        same += (valid & (v == background)).to(tl.int32)
        minus += (valid & (v == 0) & (v.to(tl.int64, bitcast=True) < 0)).to(tl.int32)
    row = table + tl.program_id(0) * 5
    tl.store(row, tl.min(low, 0))
    tl.store(row + 1, tl.max(high, 0))
    tl.store(row + 2, _count(many))
    tl.store(row + 3, _count(same))
    tl.store(row + 4, _count(minus))


@triton.jit(do_not_specialize=["size", "span", "parts"])
def see(
    values, bits, given, integers, hides, masks, table, size, span, parts,
    UNSIGNED: tl.constexpr, FLOATS: tl.constexpr, REAL: tl.constexpr, LATTICE: tl.constexpr,
    EXACT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What tiles hold: ``integers`` (int32) where REAL, ``hides`` and ``masks`` (uint8).

    ``bits``: the values as integers. ``given``: background, origin, pitch, unit, and what integers
    are kept within. The row: the least and the largest value that is not hidden, the largest
    integer before it is kept within anything, how many are hidden, in the mask, special, not
    finite, and differ in their bits from the first.
    """
    tile, first, end = _part(size, span, parts)
    background = tl.load(given)
    origin = tl.load(given + 1)
    pitch = tl.load(given + 2)
    unit = tl.load(given + 3)
    most = tl.load(given + 4)
    usual = tl.load(bits + tile * size)
    low = tl.full([BLOCK], float("inf"), tl.float64)
    high = -low
    largest = tl.zeros([BLOCK], tl.float64)
    covered = tl.zeros([BLOCK], tl.int32)
    masked = tl.zeros([BLOCK], tl.int32)
    special = tl.zeros([BLOCK], tl.int32)
    unusual = tl.zeros([BLOCK], tl.int32)
    differ = tl.zeros([BLOCK], tl.int32)
    for begin in range(first, end, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        valid = i < end
        at = tile * size + i
        v = _wide(values + at, valid, UNSIGNED)
        finite = _is_finite(v)
        odd = i < 0
        if FLOATS and REAL:
            odd = valid & (finite == 0)
        empty = i < 0
        if EXACT:
            empty = valid & (v == background)
        hidden = odd | empty
        low = tl.minimum(low, tl.where(valid & (hidden == 0), v, float("inf")))
        high = tl.maximum(high, tl.where(valid & (hidden == 0), v, -float("inf")))
        covered += hidden.to(tl.int32)
        masked += empty.to(tl.int32)
        special += odd.to(tl.int32)
        unusual += (valid & (finite == 0)).to(tl.int32)
        own = tl.load(bits + at, mask=valid, other=0)
        differ += (valid & (own != usual)).to(tl.int32)
        tl.store(hides + at, hidden.to(tl.uint8), mask=valid)
        tl.store(masks + at, empty.to(tl.uint8), mask=valid)
        if REAL:
            y = tl.where(odd, background, v) - origin
            if LATTICE:
                y = _whole(y / pitch)
            y = _whole(y / unit)
            there = y == y
            far = tl.where(there, tl.abs(y), float("inf"))
            largest = tl.maximum(largest, tl.where(valid, far, 0.0))
            y = tl.minimum(tl.maximum(tl.where(there, y, 0.0), -most), most)
            tl.store(integers + at, y.to(tl.int32), mask=valid)
    row = table + tl.program_id(0) * 8
    tl.store(row, tl.min(low, 0))
    tl.store(row + 1, tl.max(high, 0))
    tl.store(row + 2, tl.max(largest, 0))
    tl.store(row + 3, _count(covered))
    tl.store(row + 4, _count(masked))
    tl.store(row + 5, _count(special))
    tl.store(row + 6, _count(unusual))
    tl.store(row + 7, _count(differ))


@triton.jit
def _rounded(v, KIND: tl.constexpr):
    """Rounded to a float dtype of KIND bytes; cut to whole numbers where that is 0 (float64)."""
    if KIND == 0:
        v = v.to(tl.int64).to(tl.float64)
    if KIND == 4:
        v = v.to(tl.float32).to(tl.float64)
    if KIND == 2:
        # rounded to odd on the way, so that the second rounding is the only one
        near = v.to(tl.float32)
        wide = near.to(tl.float64)
        b = near.to(tl.int32, bitcast=True) - (tl.abs(wide) > tl.abs(v)).to(tl.int32)
        odd = tl.where(wide == v, b, b | 1).to(tl.float32, bitcast=True)
        v = odd.to(tl.float16).to(tl.float64)
    return v


@triton.jit(do_not_specialize=["size", "span", "parts"])
def outliers(
    values, decoded, hides, given, out, table, size, span, parts,
    UNSIGNED: tl.constexpr, KIND: tl.constexpr, LATTICE: tl.constexpr, SNAPS: tl.constexpr,
    BOUND: tl.constexpr, EXACT: tl.constexpr, HIDES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What must be added to what ``decoded`` (int32) makes, ``out`` (int32); how many are not 0.

    ``given``: background, origin, pitch, unit, least and largest value, ground, what that is in the
    dtype, the distance that is snapped within, slack, lattice step, the value beside the
    background, bound. ``hides`` (uint8) where it HIDES.
    """
    tile, first, end = _part(size, span, parts)
    background = tl.load(given)
    origin = tl.load(given + 1)
    pitch = tl.load(given + 2)
    unit = tl.load(given + 3)
    least = tl.load(given + 4)
    most = tl.load(given + 5)
    ground = tl.load(given + 6)
    become = tl.load(given + 7)
    snap = tl.load(given + 8)
    slack = tl.load(given + 9)
    step = tl.load(given + 10)
    beside = tl.load(given + 11)
    bound = tl.load(given + 12)
    many = tl.zeros([BLOCK], tl.int32)
    for begin in range(first, end, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        valid = i < end
        at = tile * size + i
        v = _wide(values + at, valid, UNSIGNED)
        shown = valid
        if HIDES:
            shown = shown & (tl.load(hides + at, mask=valid, other=1) == 0)
        t = tl.load(decoded + at, mask=valid, other=0).to(tl.float64) * unit
        if LATTICE:
            t = _whole(t) * pitch
        t = t + origin
        t = tl.where(t > most, most, t)
        t = _rounded(tl.where(t >= least, t, least), KIND)
        if SNAPS:
            t = tl.where(tl.abs(t - ground) <= snap, become, t)
        found = tl.zeros([BLOCK], tl.int32)
        if BOUND:
            r = v - t
            if LATTICE:
                r = r / pitch
            far = (tl.abs(r) > slack) & shown
            jumps = _whole(r / step)
            jumps = tl.minimum(tl.maximum(jumps, -2147483647.0), 2147483647.0)
            found = tl.where(far, tl.where(far, jumps, 0.0).to(tl.int32), 0)
        if EXACT:
            hits = (t == background) & shown
            off = tl.abs(v - beside) > bound
            found = tl.where(hits, -off.to(tl.int32), found)
        many += (found != 0).to(tl.int32)
        tl.store(out + at, found, mask=valid)
    tl.store(table + tl.program_id(0), _count(many))


@triton.jit(do_not_specialize=["size", "span", "parts"])
def measure(
    values, decoded, given, table, size, span, parts,
    UNSIGNED: tl.constexpr, EXACT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """How many are finite, or as the background where EXACT, in one of both only; the largest
    error, the sum of (error / scale)**2, how many are finite. ``given``: background, scale."""
    tile, first, end = _part(size, span, parts)
    background = tl.load(given)
    scale = tl.load(given + 1)
    wrong = tl.zeros([BLOCK], tl.int32)
    many = tl.zeros([BLOCK], tl.int32)
    largest = tl.zeros([BLOCK], tl.float64)
    square = tl.zeros([BLOCK], tl.float64)
    for begin in range(first, end, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        valid = i < end
        at = tile * size + i
        v = _wide(values + at, valid, UNSIGNED)
        d = _wide(decoded + at, valid, UNSIGNED)
        finite = _is_finite(v)
        off = finite != _is_finite(d)
        if EXACT:
            off = off | ((v == background) != (d == background))
        wrong += (valid & off).to(tl.int32)
        many += (valid & finite).to(tl.int32)
        error = tl.where(valid & finite, v - d, 0.0)
        largest = tl.maximum(largest, tl.abs(error))
        error = error / scale
        square += error * error
    row = table + tl.program_id(0) * 4
    tl.store(row, _count(wrong))
    tl.store(row + 1, tl.max(largest, 0))
    tl.store(row + 2, tl.sum(square, 0))
    tl.store(row + 3, _count(many))

"""Interpolation of the closed loop, hints of the open loop, and lifting."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _read(at, valid):
    return tl.load(at, mask=valid, other=0).to(tl.int64)


@triton.jit
def _size(v):
    return tl.where(v < 0, -v, v)


@triton.jit
def _in_steps(value, step, inverse):
    """min(value // step, 4095) of int64 that are not negative.

    ``inverse``: one over ``step``, float64. Quotients are less than 2**12: half a unit away from
    the next whole one is far enough for float64.
    """
    capped = tl.minimum(value, step * 4096 - 1).to(tl.float64)
    return ((capped + 0.5) * inverse).to(tl.int64).to(tl.int16)


@triton.jit
def _neighbours(r, at, u, extent, stride, valid):
    """Of positions ``u`` on an axis of the level: those at 1 and at 3 before and after.

    As 9 (A + B) - D, with A + B and |B - A|; see "Bank predicted" in docs/format.md.
    """
    a = _read(r + at - stride, valid)
    there = u + 1 < extent
    b = tl.where(there, _read(r + at + stride, valid & there), a)
    wide = (u >= 3) & (u + 3 < extent)
    far = _read(r + at - 3 * stride, valid & wide) + _read(r + at + 3 * stride, valid & wide)
    pair = a + b
    return 9 * pair - tl.where(wide, far, pair), pair, _size(b - a)


@triton.jit(do_not_specialize=["total", "by", "bx", "bs", "lz", "ly", "lx", "step"])
def predict(
    r, predicted, hints, inverse, total, by, bx, bs, lz, ly, lx, step,
    Z: tl.constexpr, Y: tl.constexpr, X: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Interpolate a band, high on the axes Z, Y, X, from the known positions of a level.

    ``r`` int32 (tiles, lz, ly, lx); ``predicted`` int32 (tiles, band), ``hints`` int16
    (tiles, 2, band); ``inverse`` float64 (1,): one over ``step``.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile = i // bs
    p = i - tile * bs
    z = p // (by * bx)
    y = (p - z * by * bx) // bx
    x = p - z * by * bx - y * bx
    z, y, x = 2 * z + Z, 2 * y + Y, 2 * x + X
    at = tile * (lz * ly * lx) + (z * ly + y) * lx + x
    total_v = tl.zeros([BLOCK], tl.int64)
    slope = tl.zeros([BLOCK], tl.int64)
    least = tl.full([BLOCK], 1 << 62, tl.int64)
    most = -least
    pair = total_v
    if X:
        v, pair, d = _neighbours(r, at, x, lx, 1, valid)
        total_v += v
        slope += d
        least, most = tl.minimum(least, v), tl.maximum(most, v)
    if Y:
        v, pair, d = _neighbours(r, at, y, ly, lx, valid)
        total_v += v
        slope += d
        least, most = tl.minimum(least, v), tl.maximum(most, v)
    if Z:
        v, pair, d = _neighbours(r, at, z, lz, ly * lx, valid)
        total_v += v
        slope += d
        least, most = tl.minimum(least, v), tl.maximum(most, v)
    if Z + Y + X == 1:
        mean = (total_v + 8) >> 4
        spread = _size(total_v - 8 * pair)
    elif Z + Y + X == 2:
        mean = (total_v + 16) >> 5
        spread = most - least
    else:
        # a third of whole numbers and a half is never near a whole number
        part = ((total_v + 24) >> 4).to(tl.float64)
        mean = tl.floor((part + 0.5) / 3.0).to(tl.int64)
        spread = most - least
    over = tl.load(inverse)
    wide = tl.zeros([BLOCK], tl.int64) + step
    h = hints + tile * 2 * bs + p
    tl.store(predicted + i, mean.to(tl.int32), mask=valid)
    tl.store(h, _in_steps(spread >> 2, wide, over), mask=valid)
    tl.store(h + bs, _in_steps(slope * 2, wide, over), mask=valid)


@triton.jit
def _differences(low, here, at, i, extent, stride, valid):
    """|after - before| and |2 here - before - after| along an axis, its ends repeated."""
    before = _read(low + at - tl.where(i > 0, stride, 0), valid)
    after = _read(low + at + tl.where(i + 1 < extent, stride, 0), valid)
    return _size(after - before), _size(2 * here - before - after)


@triton.jit(do_not_specialize=["total", "by", "bx", "bs", "lz", "ly", "lx", "step"])
def low_hints(
    low, hints, inverse, total, by, bx, bs, lz, ly, lx, step,
    Z: tl.constexpr, Y: tl.constexpr, X: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient and curvature of ``low`` (int32, (tiles, lz, ly, lx)) along the axes that a band is
    high on, into ``hints`` (int16, (tiles, 2, band)), in steps."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile = i // bs
    p = i - tile * bs
    z = p // (by * bx)
    y = (p - z * by * bx) // bx
    x = p - z * by * bx - y * bx
    at = tile * (lz * ly * lx) + (z * ly + y) * lx + x
    here = _read(low + at, valid)
    gradient = tl.zeros([BLOCK], tl.int64)
    curvature = tl.zeros([BLOCK], tl.int64)
    if X:
        g, c = _differences(low, here, at, x, lx, 1, valid)
        gradient += g
        curvature += c
    if Y:
        g, c = _differences(low, here, at, y, ly, lx, valid)
        gradient += g
        curvature += c
    if Z:
        g, c = _differences(low, here, at, z, lz, ly * lx, valid)
        gradient += g
        curvature += c
    over = tl.load(inverse)
    wide = tl.zeros([BLOCK], tl.int64) + step
    h = hints + tile * 2 * bs + p
    tl.store(h, _in_steps(gradient * 2, wide, over), mask=valid)
    tl.store(h + bs, _in_steps(curvature * 2, wide, over), mask=valid)


@triton.jit(do_not_specialize=["total", "n", "inner", "count", "first", "coef"])
def lift(values, total, n, inner, count, first, coef, BLOCK: tl.constexpr):
    """One lifting step taken back, in place: ``values`` int32 (outer, n, inner), along n.

    ``count`` positions, those that are odd (``first`` 1) or even (0), change by their neighbours.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    k = i // inner
    outer = k // count
    u = 2 * (k - outer * count) + first
    at = (outer * n + u) * inner + (i - k * inner)
    up = tl.where(u + 1 < n, inner, -inner)
    down = tl.where(u > 0, -inner, inner)
    pair = _read(values + at + up, valid) + _read(values + at + down, valid)
    t = (pair * coef + 2048) >> 12
    tl.store(values + at, (_read(values + at, valid) - t).to(tl.int32), mask=valid)

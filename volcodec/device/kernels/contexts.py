"""From decoded symbols to the tables of the next ones, and from symbols to what they stand for.

Arrays of a level have a margin of one around each band, as those of a ``contexts.LevelState``:
``mag`` (int16), ``own`` and ``faces`` (uint8: logarithms of magnitudes and of their sums over
faces) are (tiles, 8, padded band). A launch is for one class of one band: ``n`` positions in each
tile, ``cy`` by ``cx`` in a plane, at ``oz + 2 i``, ``oy + 2 j``, ``ox + 2 k`` in the band.
"""

from __future__ import annotations

import triton
import triton.language as tl

FEATURE_ROWS = 32  # of features, 24 and zeros: matrix products take powers of two
# of a class and its band: numbers that differ from launch to launch
GEOMETRY = (
    "total", "n", "cy", "cx", "oz", "oy", "ox", "band", "before", "count", "py", "px", "ps", "uy",
    "ux", "us", "by", "bx", "bs",
)  # fmt: skip
CODED = 24  # bit of what is told of a position: its symbol is in the stream


@triton.jit
def _pair(at, step, valid):
    """Sum of the two values that lie ``step`` before and after a place (int32)."""
    before = tl.load(at - step, mask=valid, other=0).to(tl.int32)
    return before + tl.load(at + step, mask=valid, other=0).to(tl.int32)


@triton.jit
def _log(log, v, valid):
    """LOG of sums that are not negative."""
    return tl.load(log + tl.minimum(v, 4095), mask=valid, other=0).to(tl.int32)


@triton.jit
def _place_of(i, n, cy, cx):
    """Tiles of positions, and their places in a class: on z, y and x."""
    tile = i // n
    p = i - tile * n
    plane = cy * cx
    iz = p // plane
    iy = (p - iz * plane) // cx
    return tile, iz, iy, p - iz * plane - iy * cx


@triton.jit
def _around(m, px, pp, valid):
    """Sums of what lies around places: on x, y and z, over edges, over corners (int32)."""
    v0 = _pair(m, 1, valid)
    v1 = _pair(m, px, valid)
    v2 = _pair(m, pp, valid)
    v3 = _pair(m, px + 1, valid) + _pair(m, px - 1, valid) + _pair(m, pp + 1, valid)
    v3 += _pair(m, pp - 1, valid) + _pair(m, pp + px, valid) + _pair(m, pp - px, valid)
    v4 = _pair(m, pp + px + 1, valid) + _pair(m, pp + px - 1, valid)
    v4 += _pair(m, pp - px + 1, valid) + _pair(m, pp - px - 1, valid)
    return v0, v1, v2, v3, v4


@triton.jit
def _faces_above(up_mag, u, oz, oy, ox, uy, ux, valid):
    """Sum of the parents on the sides of a class (int32)."""
    near = tl.load(up_mag + u + 2 * ox - 1, mask=valid, other=0).to(tl.int32)
    near += tl.load(up_mag + u + (2 * oy - 1) * ux, mask=valid, other=0).to(tl.int32)
    return near + tl.load(up_mag + u + (2 * oz - 1) * uy * ux, mask=valid, other=0).to(tl.int32)


@triton.jit
def _context_of(
    mag, own, faces, up_mag, up_own, up_faces, hints, log, tile, iz, iy, ix, valid,
    oz, oy, ox, band, before, count, py, px, ps, uy, ux, us, by, bx, bs, divisor,
    PARENT: tl.constexpr,
):  # fmt: skip
    """Contexts by the classical rule where nothing is expected; arguments as ``features`` has them.

    ``divisor``: four times the features in the mean.
    """
    z, y, x = 2 * iz + oz, 2 * iy + oy, 2 * ix + ox
    inner = ((z + 1) * py + y + 1) * px + x + 1
    v0, v1, v2, v3, v4 = _around(mag + (tile * 8 + band) * ps + inner, px, py * px, valid)
    h = hints + tile * 2 * bs + (z * by + y) * bx + x
    some = v0 | v1 | v2 | v3 | v4 | tl.load(h, mask=valid, other=0).to(tl.int32)
    some |= tl.load(h + bs, mask=valid, other=0).to(tl.int32)
    mean = _log(log, v0, valid) + _log(log, v1, valid) + _log(log, v2, valid)
    mean = 2 * (mean + _log(log, v3, valid) + _log(log, v4, valid))
    for k in range(count):
        place = (tile * 8 + ((before >> (3 * k)) & 7)) * ps + inner
        both = tl.load(own + place, mask=valid, other=0).to(tl.int32)
        both += tl.load(faces + place, mask=valid, other=0).to(tl.int32)
        some |= both
        mean += both
    if PARENT:
        u = (tile * 8 + band) * us + ((iz + 1) * uy + iy + 1) * ux + ix + 1
        both = tl.load(up_own + u, mask=valid, other=0).to(tl.int32)
        both += tl.load(up_faces + u, mask=valid, other=0).to(tl.int32)
        some |= both
        mean += both + _log(log, _faces_above(up_mag, u, oz, oy, ox, uy, ux, valid), valid)
    return tl.where(some != 0, 1 + tl.minimum(mean // divisor, 22), 0)


@triton.jit(do_not_specialize=[*GEOMETRY, "divisor"])
def classify(
    mag, own, faces, up_mag, up_own, up_faces, hints, log, maps, skips, told,
    total, n, cy, cx, oz, oy, ox, band, before, count, py, px, ps, uy, ux, us, by, bx, bs, divisor,
    PARENT: tl.constexpr, CODED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What ``keys`` tells of positions by the classical rule, where nothing is expected."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, iz, iy, ix = _place_of(i, n, cy, cx)
    key = _context_of(
        mag, own, faces, up_mag, up_own, up_faces, hints, log, tile, iz, iy, ix, valid,
        oz, oy, ox, band, before, count, py, px, ps, uy, ux, us, by, bx, bs, divisor, PARENT,
    )  # fmt: skip
    table = tl.load(maps + tile * 256 + key, mask=valid, other=0).to(tl.int32)
    is_coded = (table >= tl.load(skips + tile, mask=valid, other=0)) & valid
    flag = is_coded.to(tl.int32)
    tl.store(told + i, table | (key << 8) | (32 << 16) | (flag << CODED), mask=valid)


@triton.jit(do_not_specialize=[*GEOMETRY, "cls"])
def features(
    mag, own, faces, up_mag, up_own, up_faces, hints, q, weights, log, out, expected,
    total, n, cy, cx, oz, oy, ox, band, cls, before, count, py, px, ps, uy, ux, us, by, bx, bs,
    PARENT: tl.constexpr, EXPECTS: tl.constexpr, HALVED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Features (``out``, uint8 (24, total)) and expectations (``expected``, int32 (total,)).

    ``before``: the ``count`` bands that come first in the level, three bits each. ``up_*`` are the
    arrays of the parent level; ``hints`` int16 (tiles, 2, band); ``q`` int32 (tiles, padded band);
    ``weights`` int32 (tiles, 8, 8, 8): by band, class and axes. Empty positions have only zeros.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, iz, iy, ix = _place_of(i, n, cy, cx)
    z, y, x = 2 * iz + oz, 2 * iy + oy, 2 * ix + ox
    inner = ((z + 1) * py + y + 1) * px + x + 1
    pp = py * px
    v0, v1, v2, v3, v4 = _around(mag + (tile * 8 + band) * ps + inner, px, pp, valid)
    h = hints + tile * 2 * bs + (z * by + y) * bx + x
    h0 = tl.load(h, mask=valid, other=0).to(tl.int32)
    h1 = tl.load(h + bs, mask=valid, other=0).to(tl.int32)
    some = v0 | v1 | v2 | v3 | v4 | h0 | h1
    to = out + i
    tl.store(to, _log(log, v0, valid).to(tl.uint8), mask=valid)
    tl.store(to + total, _log(log, v1, valid).to(tl.uint8), mask=valid)
    tl.store(to + 2 * total, _log(log, v2, valid).to(tl.uint8), mask=valid)
    tl.store(to + 3 * total, _log(log, v3, valid).to(tl.uint8), mask=valid)
    tl.store(to + 4 * total, _log(log, v4, valid).to(tl.uint8), mask=valid)
    tl.store(to + 8 * total, _log(log, h0, valid).to(tl.uint8), mask=valid)
    tl.store(to + 9 * total, _log(log, h1, valid).to(tl.uint8), mask=valid)
    for k in range(count):
        sibling = (before >> (3 * k)) & 7
        place = (tile * 8 + sibling) * ps + inner
        a = tl.load(own + place, mask=valid, other=0)
        b = tl.load(faces + place, mask=valid, other=0)
        some |= a.to(tl.int32) | b.to(tl.int32)
        tl.store(to + (12 + 2 * k) * total, a, mask=valid)
        tl.store(to + (13 + 2 * k) * total, b, mask=valid)
    near = tl.zeros([BLOCK], tl.int32)
    if PARENT:
        u = (tile * 8 + band) * us + ((iz + 1) * uy + iy + 1) * ux + ix + 1
        a = tl.load(up_own + u, mask=valid, other=0)
        b = tl.load(up_faces + u, mask=valid, other=0)
        some |= a.to(tl.int32) | b.to(tl.int32)
        tl.store(to + 5 * total, a, mask=valid)
        tl.store(to + 6 * total, b, mask=valid)
        near += tl.where(some != 0, _faces_above(up_mag, u, oz, oy, ox, uy, ux, valid), 0)
    else:
        tl.store(to + 5 * total, near.to(tl.uint8), mask=valid)
        tl.store(to + 6 * total, near.to(tl.uint8), mask=valid)
    tl.store(to + 7 * total, _log(log, near, valid).to(tl.uint8), mask=valid)
    e = tl.zeros([BLOCK], tl.int32)
    if EXPECTS:
        w = weights + ((tile * 8 + band) * 8 + cls) * 8
        c = q + tile * ps + inner
        e += tl.load(w + 1, mask=valid, other=0) * _pair(c, 1, valid)
        e += tl.load(w + 2, mask=valid, other=0) * _pair(c, px, valid)
        e += tl.load(w + 3, mask=valid, other=0) * (
            _pair(c, px + 1, valid) + _pair(c, px - 1, valid)
        )
        e += tl.load(w + 4, mask=valid, other=0) * _pair(c, pp, valid)
        e += tl.load(w + 5, mask=valid, other=0) * (
            _pair(c, pp + 1, valid) + _pair(c, pp - 1, valid)
        )
        e += tl.load(w + 6, mask=valid, other=0) * (
            _pair(c, pp + px, valid) + _pair(c, pp - px, valid)
        )
        e += tl.load(w + 7, mask=valid, other=0) * (
            _pair(c, pp + px + 1, valid) + _pair(c, pp + px - 1, valid)
            + _pair(c, pp - px + 1, valid) + _pair(c, pp - px - 1, valid)
        )  # fmt: skip
        e = tl.where(some != 0, e >> HALVED, 0)
        tl.store(expected + i, e, mask=valid)
    size = tl.where(e < 0, -e, e)
    rest = e - (((e + 32) >> 6) << 6)
    tl.store(to + 10 * total, _log(log, size, valid).to(tl.uint8), mask=valid)
    tl.store(to + 11 * total, (tl.where(rest < 0, -rest, rest) * 4).to(tl.uint8), mask=valid)


@triton.jit(do_not_specialize=["b3", "total", "n", "used", "divisor", "top", "usual"])
def keys(
    x, expected, maps, skips, w1, b1, w2, b2, w3, b3, scale1, scale2, scale3, told,
    total, n, used, divisor, top, usual,
    LEARNED: tl.constexpr, EXPECTS: tl.constexpr, H1: tl.constexpr, H2: tl.constexpr,
    ROWS: tl.constexpr, CODED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What each position's features, of which ``used`` count, say of its symbol.

    ``told`` (int32): its table (bits 0 to 7), what chose that (8 to 15), the rest of the
    expectation plus 32 (16 to 22), and whether it is coded (24).
    ``maps`` (uint8, (tiles, 256)) give tables; symbols of those below ``skips`` (int32) are zero.

    LEARNED: by a network, float32 holding integers, and scales that are powers of two: every sum
    stays below 2**24, so that each is exact; ``usual`` is what it makes of zeros. Else by the
    classical rule, a mean whose ``divisor`` is four times the features in it.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    f = tl.arange(0, ROWS)
    inside = (f[:, None] < used) & valid[None, :]
    v = tl.load(x + f[:, None] * total + i[None, :], mask=inside, other=0).to(tl.int32)
    key = tl.zeros([BLOCK], tl.int32) + usual
    if LEARNED:
        if tl.max(tl.max(v, axis=0), axis=0) > 0:
            a = tl.arange(0, H1)
            b = tl.arange(0, H2)
            m1 = tl.load(w1 + a[:, None] * ROWS + f[None, :])
            m2 = tl.load(w2 + b[:, None] * H1 + a[None, :])
            h1 = tl.dot(m1, v.to(tl.float32), input_precision="ieee") + tl.load(b1 + a)[:, None]
            h1 = tl.minimum(tl.maximum(tl.floor(h1 * scale1), 0.0), 255.0)
            h2 = tl.dot(m2, h1, input_precision="ieee") + tl.load(b2 + b)[:, None]
            h2 = tl.minimum(tl.maximum(tl.floor(h2 * scale2), 0.0), 255.0)
            h3 = tl.sum(h2 * tl.load(w3 + b)[:, None], axis=0) + tl.load(b3)
            key = tl.maximum(tl.floor(h3 * scale3), 0.0).to(tl.int32)
            key = tl.minimum(key, top)
    if not LEARNED:
        weight = tl.where(f < 5, 2, tl.where((f < 8) | (f >= 12), 1, 0))
        mean = tl.sum(v * weight[:, None], axis=0) // divisor
        key = tl.where(tl.max(v, axis=0) > 0, 1 + tl.minimum(mean, 22), 0)
    tile = i // n
    table = tl.load(maps + tile * 256 + key, mask=valid, other=0).to(tl.int32)
    is_coded = (table >= tl.load(skips + tile, mask=valid, other=0)) & valid
    rest = tl.zeros([BLOCK], tl.int32)
    if LEARNED and EXPECTS:
        e = tl.load(expected + i, mask=valid, other=0)
        rest += e - (((e + 32) >> 6) << 6)
    flag = is_coded.to(tl.int32)
    tl.store(told + i, table | (key << 8) | ((rest + 32) << 16) | (flag << CODED), mask=valid)


@triton.jit(do_not_specialize=["n", "cy", "cx", "oz", "oy", "ox", "by", "bx", "bs", "step"])
def compact(
    told, expected, predicted, limits, places, kept, down, up, symbols, counts,
    n, cy, cx, oz, oy, ox, by, bx, bs, step,
    LIMITED: tl.constexpr, EXPECTS: tl.constexpr, CODED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """List the positions of a tile that are coded, and what is told of them; ``counts`` (int32).

    All its ``symbols`` (int32) become zero. LIMITED: also the largest magnitudes that are possible
    below and above zero (``down`` and ``up``, int32), given the ``limits`` (int64, (tiles, 2)) of
    the values and what was ``predicted`` (int32, (tiles, band)).
    """
    own = tl.program_id(0)
    count = own * 0
    for start in range(0, n, BLOCK):
        p = start + tl.arange(0, BLOCK)
        valid = p < n
        i = own * n + p
        tile, iz, iy, ix = _place_of(i, n, cy, cx)
        t = tl.load(told + i, mask=valid, other=0)
        tl.store(symbols + i, p * 0, mask=valid)
        flag = (t >> CODED) & 1
        keep = flag != 0
        to = own * n + count + tl.cumsum(flag, 0) - 1
        count += tl.sum(flag, 0)
        tl.store(places + to, p, mask=keep)
        tl.store(kept + to, t, mask=keep)
        if LIMITED:
            at = tile * bs + ((2 * iz + oz) * by + 2 * iy + oy) * bx + 2 * ix + ox
            size = step.to(tl.float64)
            half = ((step - 1) // 2).to(tl.float64)
            value = tl.load(predicted + at, mask=keep, other=0).to(tl.float64)
            least = tl.load(limits + 2 * tile, mask=keep, other=0).to(tl.float64)
            most = tl.load(limits + 2 * tile + 1, mask=keep, other=0).to(tl.float64)
            # quotients of 33 by 31 bits: the floor of what float64 makes of them is exact
            below = tl.floor((value - least + half) / size).to(tl.int64)
            above = tl.floor((most - value + half) / size).to(tl.int64)
            if EXPECTS:
                e = tl.load(expected + i, mask=keep, other=0)
                whole = ((e + 32) >> 6).to(tl.int64)
                below += whole
                above -= whole
            below = tl.minimum(tl.maximum(below, -1), 2147483647)
            above = tl.minimum(tl.maximum(above, -1), 2147483647)
            tl.store(down + to, below.to(tl.int32), mask=keep)
            tl.store(up + to, above.to(tl.int32), mask=keep)
    tl.store(counts + own, count)


@triton.jit(do_not_specialize=["total", "n", "cy", "cx", "oz", "oy", "ox", "band", "py", "px", "ps",
                               "by", "bx", "bs", "step", "ly", "lx", "ls", "az", "ay", "ax",
                               "span"])  # fmt: skip
def scatter(
    symbols, expected, predicted, backs, mag, q, target,
    total, n, cy, cx, oz, oy, ox, band, py, px, ps, by, bx, bs, step,
    ly, lx, ls, az, ay, ax, span,
    PREDICTED: tl.constexpr, OFFSETS: tl.constexpr, EXPECTS: tl.constexpr, HALVED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Put the ``symbols`` (int32, (tiles, n)) of a class into ``mag``, ``q`` and ``target``.

    ``target`` (int32, (tiles, level)) takes what they stand for at ``span`` times the position plus
    (``az``, ``ay``, ``ax``): PREDICTED, with what was ``predicted`` added; else coefficients, which
    lie OFFSETS below their multiples of the step (``backs``: int32 (tiles, 3), for magnitude 1, for
    larger ones, and the share of the rest of an expectation that a zero decodes to, over 256).
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, iz, iy, ix = _place_of(i, n, cy, cx)
    z, y, x = 2 * iz + oz, 2 * iy + oy, 2 * ix + ox
    s = tl.load(symbols + i, mask=valid, other=0).to(tl.int64)
    k = s
    rest = tl.zeros([BLOCK], tl.int64)
    shift = tl.zeros([BLOCK], tl.int64)
    if EXPECTS:
        e = tl.load(expected + i, mask=valid, other=0)
        whole = (e + 32) >> 6
        rest += (e - (whole << 6)).to(tl.int64)
        shift += whole.to(tl.int64) << HALVED
        k = (s + shift).to(tl.int32).to(tl.int64)
    m = (tl.where(s < 0, -s, s) + HALVED) >> HALVED
    m = tl.where(k != 0, tl.maximum(m, 1), m)
    m = tl.minimum(m, 4095)
    inner = ((z + 1) * py + y + 1) * px + x + 1
    tl.store(mag + (tile * 8 + band) * ps + inner, m.to(tl.int16), mask=valid)
    if EXPECTS:
        clipped = tl.minimum(tl.maximum(k, -262144), 262144)
        tl.store(q + tile * ps + inner, clipped.to(tl.int32), mask=valid)
    wide = tl.zeros([BLOCK], tl.int64) + step
    if PREDICTED:
        at = tile * bs + (z * by + y) * bx + x
        v = tl.load(predicted + at, mask=valid, other=0).to(tl.int64) + wide * k
    else:
        v = (k * wide) >> HALVED
        if OFFSETS:
            s = k - shift
            back = backs + 3 * tile
            small = tl.load(back, mask=valid, other=0).to(tl.int64)
            large = tl.load(back + 1, mask=valid, other=0).to(tl.int64)
            share = tl.load(back + 2, mask=valid, other=0).to(tl.int64)
            size = tl.where(s < 0, -s, s)
            off = (tl.where(size <= 1 + HALVED, small, large) * wide) >> 8
            zero = (rest * share * wide) >> 14
            v += tl.where(s == 0, zero, tl.where(s < 0, off, -off))
    place = tile * ls + ((span * z + az) * ly + span * y + ay) * lx + span * x + ax
    tl.store(target + place, v.to(tl.int32), mask=valid)


@triton.jit(do_not_specialize=["total", "band", "by", "bx", "bs", "py", "px", "ps"])
def logarithms(
    mag, log, own, faces, total, band, by, bx, bs, py, px, ps, BLOCK: tl.constexpr,
):  # fmt: skip
    """LOG of the magnitudes of a band that is complete, and of their sums over faces."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile = i // bs
    p = i - tile * bs
    z = p // (by * bx)
    y = (p - z * by * bx) // bx
    x = p - z * by * bx - y * bx
    at = (tile * 8 + band) * ps + ((z + 1) * py + y + 1) * px + x + 1
    m = tl.load(mag + at, mask=valid, other=0).to(tl.int32)
    around = (
        _pair(mag + at, 1, valid) + _pair(mag + at, px, valid) + _pair(mag + at, py * px, valid)
    )
    tl.store(own + at, _log(log, m, valid).to(tl.uint8), mask=valid)
    tl.store(faces + at, _log(log, around, valid).to(tl.uint8), mask=valid)

"""Symbols to words: their contexts and histograms of tokens, tables, and rANS backwards.

Only signs that are raw bits: those of the classical contexts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .contexts import GEOMETRY, _context_of, _place_of
from .rans import _order_of


@triton.jit
def _token(m):
    """Tokens of magnitudes (int64), their raw bits and least magnitudes."""
    # whole numbers below 2**32 are exact in float64, whose exponent is the place of the highest bit
    e = (m.to(tl.float64).to(tl.int64, bitcast=True) >> 52) - 1023
    e = tl.maximum(e, 4)
    token = tl.where(m < 16, m, 16 + (e - 4) * 4 + ((m >> (e - 2)) & 3)).to(tl.int32)
    n = tl.where(m < 16, 0, e - 2)
    return token, n, tl.where(m < 16, m, (m >> n) << n)


@triton.jit(
    do_not_specialize=[
        *GEOMETRY, "divisor", "step", "ly", "lx", "ls", "az", "ay", "ax", "span", "contexts",
        "tokens", "row", "first", "ty", "tx", "ts", "stride",
    ]
)  # fmt: skip
def examine(
    mag, own, faces, up_mag, up_own, up_faces, hints, log, originals, hidden, predicted, target,
    symbols, keys, hist, total, n, cy, cx, oz, oy, ox, band, before, count, py, px, ps, uy, ux, us,
    by, bx, bs, divisor, step, ly, lx, ls, az, ay, ax, span, contexts, tokens, row, first, ty, tx,
    ts, stride, PARENT: tl.constexpr, HIDES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Symbols of a class in coding order, their contexts, and what they decode to.

    ``originals`` (int32, (tiles, z, ty, tx), a tile has ``ts``): what is coded, of which the level
    has every ``stride``; anything will do where ``hidden`` (uint8, the same shape; read only if it
    HIDES any). ``symbols`` (int32) and ``keys`` (uint8), both (tiles, row), take those of the class
    from column ``first`` on; ``mag`` and ``target`` as ``scatter`` has them; no position of a class
    looks at another. Tokens are counted by context into ``hist`` (int32, (tiles, contexts,
    tokens)): all but zeros in context 0, by far the most.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, iz, iy, ix = _place_of(i, n, cy, cx)
    key = _context_of(
        mag, own, faces, up_mag, up_own, up_faces, hints, log, tile, iz, iy, ix, valid,
        oz, oy, ox, band, before, count, py, px, ps, uy, ux, us, by, bx, bs, divisor, PARENT,
    )  # fmt: skip
    z, y, x = 2 * iz + oz, 2 * iy + oy, 2 * ix + ox
    at = tile * bs + (z * by + y) * bx + x
    wz, wy, wx = span * z + az, span * y + ay, span * x + ax
    there = tile * ts + (wz * ty + wy) * stride * tx + wx * stride
    expected = tl.load(predicted + at, mask=valid, other=0).to(tl.int64)
    left = tl.load(originals + there, mask=valid, other=0).to(tl.int64) - expected
    if HIDES:
        left = tl.where(tl.load(hidden + there, mask=valid, other=0) != 0, 0, left)
    size = tl.where(left < 0, -left, left).to(tl.float64)
    # steps are odd: halves are far enough from what rounding of floats can do
    m = (size * (1.0 / step.to(tl.float64)) + 0.5).to(tl.int64)
    k = tl.where(left < 0, -m, m)
    s = k.to(tl.int32)
    to = tile * row + first + i - tile * n
    tl.store(symbols + to, s, mask=valid)
    tl.store(keys + to, key.to(tl.uint8), mask=valid)
    token, _, _ = _token(m)
    counted = hist + (tile * contexts + key) * tokens + token
    one = tl.zeros([BLOCK], tl.int32) + 1
    tl.atomic_add(counted, one, mask=valid & ((token | key) != 0))
    inner = (tile * 8 + band) * ps + ((z + 1) * py + y + 1) * px + x + 1
    tl.store(mag + inner, tl.minimum(m, 4095).to(tl.int16), mask=valid)
    place = tile * ls + (wz * ly + wy) * lx + wx
    tl.store(target + place, (expected + k * step.to(tl.int64)).to(tl.int32), mask=valid)


@triton.jit
def _table(keys, maps, i, tile, valid):
    """Tables of ``keys`` (uint8) by ``maps`` (uint8, (tiles, 256))."""
    key = tl.load(keys + i, mask=valid, other=0).to(tl.int32)
    return tl.load(maps + tile * 256 + key, mask=valid, other=0).to(tl.int32)


@triton.jit(do_not_specialize=["total", "n"])
def mark(keys, maps, skips, coded, total, n, BLOCK: tl.constexpr):
    """Whether each position is ``coded`` (uint8): its table is not below ``skips`` (int32)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile = i // n
    table = _table(keys, maps, i, tile, valid)
    is_coded = table >= tl.load(skips + tile, mask=valid, other=0)
    tl.store(coded + i, is_coded.to(tl.uint8), mask=valid)


@triton.jit(do_not_specialize=["total", "n"])
def pushes(
    keys, maps, coded, ends, symbols, pairs, shares, raws, told, total, n, BLOCK: tl.constexpr
):
    """What rANS pushes for each position that is coded, listed tile by tile.

    ``ends`` (int32, (tiles, n)): how many there are up to each; ``pairs``: see ``_tokens``. Of each
    (int32): ``shares``, the frequency and from bit 16 on the start; ``raws``, the raw bits;
    ``told``, how many (bits 0 to 7), the token (8 to 15), and whether it escapes (16).
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile = i // n
    keep = valid & (tl.load(coded + i, mask=valid, other=0) != 0)
    table = _table(keys, maps, i, tile, keep)
    s = tl.load(symbols + i, mask=keep, other=0).to(tl.int64)
    m = tl.where(s < 0, -s, s)
    token, bits, base = _token(m)
    some = (s != 0).to(tl.int64)
    raw = ((m - base) << some) | (s < 0).to(tl.int64)
    own = tl.load(pairs + table * 129 + token, mask=keep, other=1)
    escapes = (own & 0xFFFF) == 0
    other = tl.load(pairs + table * 129 + 128, mask=keep & escapes, other=1)
    to = tile * n + tl.load(ends + i, mask=valid, other=1) - 1
    tl.store(shares + to, tl.where(escapes, other, own), mask=keep)
    tl.store(raws + to, raw.to(tl.int32), mask=keep)
    more = (bits + some).to(tl.int32) | (token << 8) | (escapes.to(tl.int32) << 16)
    tl.store(told + to, more, mask=keep)


@triton.jit
def _put_bits(x, value, n):
    """Push ``n`` <= 16 raw bits: the state, and whether its low word has to go first (uint32)."""
    over = ((x >> 16) >> (16 - n)) != 0
    return (tl.where(over, x >> 16, x) << n) | value, over


@triton.jit
def _save(words, at, x, over):
    """The low word of a state, at places that are within the room of its stream."""
    tl.store(words + at, (x & 0xFFFF).to(tl.int16), mask=over & (at >= 0))


@triton.jit(do_not_specialize=["n", "runs"])
def encode_runs(
    words, offsets, states, positions, lanes, ends, bounds, shares, raws, told, n, runs,
    LANES: tl.constexpr, VOTE: tl.constexpr,
):  # fmt: skip
    """Encode some runs of every tile, from the last round of the last to the first of the first.

    ``words`` (int16): room for the streams of all tiles, from ``offsets`` (int64) on, filled from
    its end; ``positions`` (int32) are of the words written last, and below 0 where there was no
    room. ``states`` (int64, (tiles, LANES)) are taken on. Run r has the positions from
    ``bounds[r]`` to ``bounds[r + 1]`` (int32). ``ends`` as ``pushes`` has them, which lists the
    rest. What the next round needs is asked for before this one is worked on.
    """
    tile = tl.program_id(0)
    lane = tl.arange(0, LANES)
    words += tl.load(offsets + tile)
    width = tl.load(lanes + tile)
    position = tl.load(positions + tile) + lane * 0
    x = tl.load(states + tile * LANES + lane).to(tl.uint32)
    for back in range(runs):
        r = runs - 1 - back
        begin = tl.load(bounds + r)
        before = tl.load(ends + tile * n + begin - 1, mask=begin > 0, other=0)
        size = tl.load(ends + tile * n + tl.load(bounds + r + 1) - 1) - before
        first = tile * n + before
        rounds = (size + width - 1) // width
        j = (rounds - 1) * width + lane
        live = (lane < width) & (j >= 0) & (j < size)
        pair = tl.load(shares + first + j, mask=live, other=1)
        raw = tl.load(raws + first + j, mask=live, other=0)
        t = tl.load(told + first + j, mask=live, other=0)
        for _ in range(rounds):
            j -= width
            here = (lane < width) & (j >= 0)
            next_pair = tl.load(shares + first + j, mask=here, other=1)
            next_raw = tl.load(raws + first + j, mask=here, other=0)
            next_t = tl.load(told + first + j, mask=here, other=0)
            bits = (t & 255).to(tl.uint32)
            value = raw.to(tl.uint32)
            if tl.max(((bits > 16) | (t >= 65536)).to(tl.int32), 0) == 0:
                z, over = _put_bits(x, value, bits)
                order, count = _order_of(over, VOTE)
                position -= count
                _save(words, position + order, x, over)
            else:
                # what follows the token, its last first: bits above 16, those below, an escape
                more = tl.where(bits > 16, bits - 16, 0)
                y, over1 = _put_bits(x, value >> 16, more)
                y = tl.where(more > 0, y, x)
                over1 = over1 & (more > 0)
                w, over2 = _put_bits(y, value & 0xFFFF, bits - more)
                escapes = t >= 65536
                named, over3 = _put_bits(w, ((t >> 8) & 255).to(tl.uint32), tl.zeros_like(x) + 7)
                over3 = over3 & escapes
                used = over1.to(tl.int32) + over2.to(tl.int32) + over3.to(tl.int32)
                # lanes before have their words before; of a lane, what is pushed first comes last
                position -= tl.sum(used, 0)
                at = position + tl.cumsum(used, 0) - 1
                _save(words, at, x, over1)
                at -= over1.to(tl.int32)
                _save(words, at, y, over2)
                at -= over2.to(tl.int32)
                _save(words, at, w, over3)
                z = tl.where(escapes, named, w)
            f = (pair & 0xFFFF).to(tl.uint32)
            start = (pair >> 16).to(tl.uint32)
            over = live & ((z >> 18) >= f)
            order, count = _order_of(over, VOTE)
            position -= count
            _save(words, position + order, z, over)
            y = tl.where(over, z >> 16, z)
            # float64 rounds only quotients of multiples: to one less, which is made good
            q = (y.to(tl.float64) * (1.0 / f.to(tl.float64))).to(tl.int32).to(tl.uint32)
            q += ((y - q * f) >= f).to(tl.uint32)
            x = tl.where(live, (q << 14) + (y - q * f) + start, z)
            live, pair, raw, t = here, next_pair, next_raw, next_t
    tl.store(states + tile * LANES + lane, x.to(tl.int64))
    tl.store(positions + tile + lane * 0, position, mask=lane == 0)

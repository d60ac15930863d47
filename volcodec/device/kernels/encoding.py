"""Symbols to words: histograms of tokens, tables of contexts, and rANS backwards.

Only signs that are raw bits: those of the classical contexts.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _token(m):
    """Tokens of magnitudes (int64), their raw bits and least magnitudes."""
    # whole numbers below 2**32 are exact in float64, whose exponent is the place of the highest bit
    e = (m.to(tl.float64).to(tl.int64, bitcast=True) >> 52) - 1023
    e = tl.maximum(e, 4)
    token = tl.where(m < 16, m, 16 + (e - 4) * 4 + ((m >> (e - 2)) & 3)).to(tl.int32)
    n = tl.where(m < 16, 0, e - 2)
    return token, n, tl.where(m < 16, m, (m >> n) << n)


@triton.jit(do_not_specialize=["total", "n", "contexts", "tokens"])
def tally(symbols, told, hist, total, n, contexts, tokens, BLOCK: tl.constexpr):
    """Count tokens by context into ``hist`` (int32, (tiles, contexts, tokens)).

    Zeros in context 0, by far the most, are left out: they are what is left of all.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    s = tl.load(symbols + i, mask=valid, other=0).to(tl.int64)
    key = (tl.load(told + i, mask=valid, other=0) >> 8) & 255
    token, _, _ = _token(tl.where(s < 0, -s, s))
    at = ((i // n) * contexts + key) * tokens + token
    one = tl.zeros([BLOCK], tl.int32) + 1
    tl.atomic_add(hist + at, one, mask=valid & ((token | key) != 0))


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
    """Push ``n`` <= 16 raw bits: the state, and whether its low word has to go first."""
    over = x >= ((tl.zeros_like(x) + 1) << (32 - n))
    return (tl.where(over, x >> 16, x) << n) | value, over


@triton.jit
def _save(words, at, x, over):
    """The low word of a state, at places that are within the room of its stream."""
    tl.store(words + at, (x & 0xFFFF).to(tl.int16), mask=over & (at >= 0))


@triton.jit(do_not_specialize=["n"])
def encode_runs(
    words, offsets, states, positions, lanes, ends, shares, raws, told, n, LANES: tl.constexpr,
):  # fmt: skip
    """Encode one run of every tile, from its last round to its first.

    ``words`` (int16): room for the streams of all tiles, from ``offsets`` (int64) on, filled from
    its end; ``positions`` (int32) are of the words written last, and below 0 where there was no
    room. ``states`` (int64, (tiles, LANES)) are taken on. ``ends`` as ``pushes`` has them, which
    lists the rest. What the next round needs is asked for before this one is worked on.
    """
    tile = tl.program_id(0)
    lane = tl.arange(0, LANES)
    words += tl.load(offsets + tile)
    width = tl.load(lanes + tile)
    count = tl.load(ends + tile * n + n - 1)
    position = tl.load(positions + tile)
    x = tl.load(states + tile * LANES + lane)
    first = tile * n
    rounds = (count + width - 1) // width
    j = (rounds - 1) * width + lane
    live = (lane < width) & (j < count)
    pair = tl.load(shares + first + j, mask=live, other=1)
    raw = tl.load(raws + first + j, mask=live, other=0)
    t = tl.load(told + first + j, mask=live, other=0)
    for _ in range(rounds):
        j -= width
        here = (lane < width) & (j >= 0)
        next_pair = tl.load(shares + first + j, mask=here, other=1)
        next_raw = tl.load(raws + first + j, mask=here, other=0)
        next_t = tl.load(told + first + j, mask=here, other=0)
        bits = (t & 255).to(tl.int64)
        value = raw.to(tl.int64)
        if tl.max(((bits > 16) | (t >= 65536)).to(tl.int32), 0) == 0:
            z, over = _put_bits(x, value, bits)
            one = over.to(tl.int32)
            position -= tl.sum(one, 0)
            _save(words, position + tl.cumsum(one, 0) - 1, x, over)
        else:
            # what follows the token, the last of it first: bits above 16, those below, an escape
            more = tl.maximum(bits - 16, 0)
            y, over1 = _put_bits(x, value >> 16, more)
            y = tl.where(more > 0, y, x)
            over1 = over1 & (more > 0)
            w, over2 = _put_bits(y, value & 0xFFFF, bits - more)
            escapes = t >= 65536
            named, over3 = _put_bits(w, ((t >> 8) & 255).to(tl.int64), tl.zeros_like(x) + 7)
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
        f = (pair & 0xFFFF).to(tl.int64)
        start = (pair >> 16).to(tl.int64)
        over = live & (z >= (f << 18))
        one = over.to(tl.int32)
        position -= tl.sum(one, 0)
        _save(words, position + tl.cumsum(one, 0) - 1, z, over)
        y = tl.where(over, z >> 16, z)
        # exact: quotients of 32 by 14 bits lie farther below a whole number than float64 rounds
        q = (y.to(tl.float64) / f.to(tl.float64)).to(tl.int64)
        x = tl.where(live, (q << 14) + (y - q * f) + start, z)
        live, pair, raw, t = here, next_pair, next_raw, next_t
    tl.store(states + tile * LANES + lane, x)
    tl.store(positions + tile, position)

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


@triton.jit(do_not_specialize=["total", "n"])
def tell(
    keys, maps, skips, told, coded, total, n, CODED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """``told`` and ``coded`` of ``keys`` (uint8), as the kernel ``keys`` has them."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile = i // n
    key = tl.load(keys + i, mask=valid, other=0).to(tl.int32)
    table = tl.load(maps + tile * 256 + key, mask=valid, other=0).to(tl.int32)
    flag = (table >= tl.load(skips + tile, mask=valid, other=0)).to(tl.int32)
    tl.store(told + i, table | (key << 8) | (32 << 16) | (flag << CODED), mask=valid)
    tl.store(coded + i, flag.to(tl.uint8), mask=valid)


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
    words, offsets, states, positions, lanes, ends, places, told, symbols, pairs, n,
    LANES: tl.constexpr,
):  # fmt: skip
    """Encode one run of every tile, from its last round to its first.

    ``words`` (int16): room for the streams of all tiles, from ``offsets`` (int64) on, filled from
    its end; ``positions`` (int32) are of the words written last, and below 0 where there was no
    room. ``states`` (int64, (tiles, LANES)) are taken on. ``ends``, ``places`` and ``told``: as
    ``compact`` lists what is coded; ``symbols``: int32 (tiles, n); ``pairs``: see ``_tokens``.
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
    for k in range(rounds):
        j = (rounds - 1 - k) * width + lane
        live = (lane < width) & (j < count)
        table = tl.load(told + first + j, mask=live, other=0) & 255
        place = tl.load(places + first + j, mask=live, other=0)
        s = tl.load(symbols + first + place, mask=live, other=0).to(tl.int64)
        m = tl.where(s < 0, -s, s)
        token, bits, base = _token(m)
        pair = tl.load(pairs + table * 129 + token, mask=live, other=1)
        escapes = live & ((pair & 0xFFFF) == 0)
        some = (s != 0).to(tl.int64)
        raw = ((m - base) << some) | (s < 0).to(tl.int64)
        bits += some
        # what follows the token, the last of it first: bits above 16, those below, an escape
        more = tl.maximum(bits - 16, 0)
        y, over1 = _put_bits(x, raw >> 16, more)
        y = tl.where(more > 0, y, x)
        over1 = over1 & (more > 0)
        low = bits - more
        z, over2 = _put_bits(y, raw & 0xFFFF, low)
        seven = tl.zeros_like(x) + 7
        named, over3 = _put_bits(z, token.to(tl.int64), seven)
        over3 = over3 & escapes
        used = over1.to(tl.int32) + over2.to(tl.int32) + over3.to(tl.int32)
        # lanes before have their words before; of a lane, what is pushed first comes last
        position -= tl.sum(used, 0)
        at = position + tl.cumsum(used, 0) - 1
        _save(words, at, x, over1)
        at -= over1.to(tl.int32)
        _save(words, at, y, over2)
        at -= over2.to(tl.int32)
        _save(words, at, z, over3)
        x = tl.where(escapes, named, z)
        column = tl.where(escapes, 128, token)
        pair = tl.load(pairs + table * 129 + column, mask=live, other=1)
        f = (pair & 0xFFFF).to(tl.int64)
        start = (pair >> 16).to(tl.int64)
        over = live & (x >= (f << 18))
        one = over.to(tl.int32)
        position -= tl.sum(one, 0)
        _save(words, position + tl.cumsum(one, 0) - 1, x, over)
        y = tl.where(over, x >> 16, x)
        # exact: quotients of 32 by 14 bits lie farther below a whole number than float64 rounds
        q = (y.to(tl.float64) / f.to(tl.float64)).to(tl.int64)
        x = tl.where(live, (q << 14) + (y - q * f) + start, x)
    tl.store(states + tile * LANES + lane, x)
    tl.store(positions + tile, position)

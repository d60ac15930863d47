"""Interleaved range asymmetric numeral systems (rANS; Duda 2013) with static tables.

A run of symbols is coded in rounds of ``lanes`` symbols, one per lane. Each lane is a 32-bit
state; all lanes share one sequence of 16-bit words, read in this order: round by round, first the
words that the tokens of lanes 0, 1, ... need, then those of their raw bits. Lanes can therefore be
decoded in parallel (a prefix sum over the lanes that need a word gives each its place), and one
bitstream serves every device (interleaving: Giesen 2014).
"""

from __future__ import annotations

import numba
import numpy as np

from ..kernel import inlined, kernel
from .expectation import KNOWN
from .lanes import LANES as TOGETHER
from .lanes import available
from .pulls import pull_details, pull_tokens
from .pushes import push_details, push_tokens
from .tables import ESCAPE, ESCAPE_BITS, PROB_BITS, extra_bits, token_base, token_of

MAX_LANES = 32
_FEW = 8  # lanes below which they go one by one
LOW = 1 << 16  # states stay in [2**16, 2**32)
_TOTAL = 1 << PROB_BITS
_MASK = _TOTAL - 1
NO_ROOMS = (np.empty(0, np.int32), np.empty(0, np.int32))  # down and up of a run without limits
# rests, keys and signs where every sign is a raw bit
RAW_SIGNS = (np.empty(0, np.int8), np.empty(0, np.uint8), np.zeros((2, 1, 1), np.uint16))


@inlined()
def _put_bits(x: int, value: int, n: int, words: np.ndarray, w: int) -> tuple[int, int]:
    """Push ``n`` <= 16 raw bits; returns the state and the write position."""
    over = np.int64(x >= (1 << (32 - n)))
    words[w - 1] = x & 0xFFFF
    return ((x >> (over << 4)) << n) | value, w - over


@inlined()
def _put(x: int, f: int, start: int, words: np.ndarray, w: int) -> tuple[int, int]:
    """Push a symbol of frequency ``f`` that begins at ``start``; returns state and position."""
    over = np.int64(x >= (f << (32 - PROB_BITS)))
    words[w - 1] = x & 0xFFFF
    x >>= over << 4
    # exact: quotients of 32 by 14 bits lie farther below a whole number than float64 rounds
    q = np.int64(np.float64(x) / np.float64(f))
    return (q << PROB_BITS) + (x - q * f) + start, w - over


@inlined()
def _refill(x: int, words: np.ndarray, position: int) -> tuple[int, int]:
    """Bring a state back above the lower end with the next word, where it fell below.

    ``words`` are at least one; those past the end are as the last.
    """
    low = np.int64(x < LOW)
    word = np.int64(words[min(position, words.size - 1)])
    return (((x << 16) | word) if low else x), position + low


@inlined()
def push_detail(
    x: int, s: int, signed: bool, rest: int, t: int, key: int, freq: np.ndarray,
    signs: np.ndarray, limited: bool, words: np.ndarray, w: int,
) -> tuple[int, int]:  # fmt: skip
    """Push what follows the token of symbol ``s``: raw bits, sign, what an escape stands for.

    A sign is a raw bit unless the run is ``signed``. ``rest``: the side that the sign is expected
    on, and how much; its probability is ``signs[magnitude > 1, key, |rest|]``, and a raw bit where
    the rest is zero. In a ``limited`` run that bit stands alone, and there is none where the rest
    is KNOWN.

    Whatever a symbol lacks is pushed as nothing: a branch that is hard to foresee costs more.
    """
    m = -s if s < 0 else s
    token = token_of(m)
    n = extra_bits(token)
    raw = m - token_base(token)
    escapes = freq[t, token] == 0  # read before words are written, which it could depend on
    some = np.int64(s != 0)
    negative = np.int64(s < 0)
    if signed:
        coin = some & np.int64(rest == 0)
        if limited:
            x, w = _put_bits(x, negative & coin, coin, words, w)
        else:
            raw = (raw << coin) | (negative & coin)
            n += coin
        unknown = np.int64(rest != KNOWN)
        p = np.int64(signs[np.int64(m > 1), key, abs(rest) * unknown])
        agrees = np.int64((rest > 0) == (s > 0))
        tells = some & np.int64(rest != 0) & unknown
        f = agrees * p + (1 - agrees) * (_TOTAL - p)
        x, w = _put(x, _TOTAL + tells * (f - _TOTAL), tells * (1 - agrees) * p, words, w)
    else:
        raw = (raw << some) | negative
        n += some
    if n > 16:
        x, w = _put_bits(x, raw >> 16, n - 16, words, w)
        n = np.int64(16)
        raw &= 0xFFFF
    x, w = _put_bits(x, raw, n, words, w)
    if escapes:
        x, w = _put_bits(x, token, ESCAPE_BITS, words, w)
    return x, w


@inlined()
def push_token(
    x: int, s: int, t: int, freq: np.ndarray, start: np.ndarray, words: np.ndarray, w: int
) -> tuple[int, int]:
    """Push the token of symbol ``s`` by table ``t``."""
    token = token_of(-s if s < 0 else s)
    if freq[t, token] == 0:
        token = np.int64(ESCAPE)
    return _put(x, np.int64(freq[t, token]), np.int64(start[t, token]), words, w)


@inlined()
def pull_token(
    x: int, t: int, freq: np.ndarray, start: np.ndarray, slots: np.ndarray, words: np.ndarray,
    position: int,
) -> tuple[int, int, int]:  # fmt: skip
    """The inverse of :func:`push_token`: token, state, next word position."""
    slot = x & _MASK
    token = np.int64(slots[t, slot])
    x = np.int64(freq[t, token]) * (x >> PROB_BITS) + slot - np.int64(start[t, token])
    x, position = _refill(x, words, position)
    return token, x, position


@inlined()
def pull_detail(
    x: int, token: int, signed: bool, rest: int, key: int, signs: np.ndarray, limited: bool,
    down: int, up: int, words: np.ndarray, position: int,
) -> tuple[int, int, int]:  # fmt: skip
    """The inverse of :func:`push_detail` after a ``token``: symbol, state, position.

    In a ``limited`` run the sign is known where of the magnitudes that are possible below zero, up
    to ``down``, and above, up to ``up``, just one has the symbol's.
    """
    if token == ESCAPE:
        token = x & ((1 << ESCAPE_BITS) - 1)
        x, position = _refill(x >> ESCAPE_BITS, words, position)
    some = np.int64(token != 0)
    n = extra_bits(token)
    coin = some & np.int64(not signed or rest == 0)
    if not limited:
        n += coin
    high = np.int64(0)
    low = min(n, 16)
    raw = x & ((1 << low) - 1)
    x, position = _refill(x >> low, words, position)
    if n > 16:
        high = x & ((1 << (n - 16)) - 1)
        x, position = _refill(x >> (n - 16), words, position)
        raw |= high << 16
    base = np.int64(token_base(token))
    if not signed and not limited:
        m = base + (raw >> coin)
        return m - 2 * m * (raw & coin), x, position
    unknown = np.int64(1)
    if limited:
        m = base + raw
        below = np.int64(m <= down)
        unknown = np.int64(below == np.int64(m <= up))
        coin &= unknown
        negative = below * (1 - unknown) | (coin & x)
        x, position = _refill(x >> coin, words, position)
    else:
        m = base + (raw >> coin)
        negative = raw & coin
    if signed:
        tells = some & np.int64(rest != 0) & unknown
        p = np.int64(signs[np.int64(m > 1), key, abs(rest)])
        p = _TOTAL + tells * (p - _TOTAL)
        slot = x & _MASK
        agrees = np.int64(slot < p)
        other = 1 - agrees
        x = (agrees * p + other * (_TOTAL - p)) * (x >> PROB_BITS) + slot - other * p
        x, position = _refill(x, words, position)
        negative |= tells & (agrees ^ np.int64(rest > 0))
    return m - 2 * m * negative, x, position


@numba.njit(cache=True, nogil=True)
def encode_runs(
    symbols: np.ndarray,
    tables: np.ndarray,
    ends: np.ndarray,
    lanes: int,
    freq: np.ndarray,
    start: np.ndarray,
    rests: np.ndarray,
    keys: np.ndarray,
    signs: np.ndarray,
    limited: bool,
    words: np.ndarray,
    states: np.ndarray,
) -> int:
    """Encode runs of ``symbols`` (int32) with ``tables`` (uint8), backwards.

    ``ends`` are the ends of the runs. Words are written at the end of ``words`` (uint16, at least
    five per symbol); returns the position of the first. ``states`` (int64) takes the final states.

    ``rests`` (int8), ``keys`` (uint8), ``signs`` (uint16) and ``limited``: see :func:`push_detail`;
    every sign is a raw bit where ``rests`` is empty. ``freq`` and ``start`` (uint16) are those of
    :class:`.Tables`; these and ``signs`` have memory behind them that vectors may read.
    """
    held = np.full(MAX_LANES, LOW, np.uint32)
    w = _encode(
        symbols, tables, ends, lanes, freq, start, rests, keys, signs, limited, words, held,
        np.empty(MAX_LANES, np.uint32),
    )  # fmt: skip
    for lane in range(lanes):
        states[lane] = held[lane]
    return w


@kernel()
def _encode(
    symbols: np.ndarray, tables: np.ndarray, ends: np.ndarray, lanes: int, freq: np.ndarray,
    start: np.ndarray, rests: np.ndarray, keys: np.ndarray, signs: np.ndarray, limited: bool,
    words: np.ndarray, states: np.ndarray, ranges: np.ndarray,
) -> int:  # fmt: skip
    signed = rests.size > 0
    vectors = available() and lanes >= _FEW
    w = words.size
    for r in range(ends.size - 1, -1, -1):
        begin = ends[r - 1] if r > 0 else 0
        rounds = (ends[r] - begin + lanes - 1) // lanes
        for k in range(rounds - 1, -1, -1):
            base = begin + k * lanes
            count = min(lanes, ends[r] - base)
            top = (count - 1) // TOGETHER * TOGETHER
            together = 0  # bits of the lanes whose details were pushed by vectors
            for lane in range(top, -1, -TOGETHER):
                n = min(count - lane, TOGETHER)
                at = np.int64(-1)
                if vectors and w >= TOGETHER and base + lane + TOGETHER <= symbols.size:
                    at = push_details(
                        symbols, tables, base + lane, n, states, lane, start, signed, rests, keys,
                        signs, limited, words, w, ranges,
                    )  # fmt: skip
                if at >= 0:
                    w = at
                    together |= 1 << lane
                    continue
                for j in range(lane + n - 1, lane - 1, -1):
                    i = base + j
                    s, t = np.int64(symbols[i]), np.int64(tables[i])
                    rest = np.int64(rests[i]) if signed else np.int64(0)
                    key = np.int64(keys[i]) if signed else np.int64(0)
                    x, w = push_detail(
                        np.int64(states[j]), s, signed, rest, t, key, freq, signs, limited, words, w
                    )
                    states[j] = x
            for lane in range(top, -1, -TOGETHER):
                n = min(count - lane, TOGETHER)
                at = np.int64(-1)
                if together >> lane & 1 and w >= TOGETHER:
                    at = push_tokens(ranges, n, states, lane, words, w)
                if at >= 0:
                    w = at
                    continue
                for j in range(lane + n - 1, lane - 1, -1):
                    s, t = np.int64(symbols[base + j]), np.int64(tables[base + j])
                    x, w = push_token(np.int64(states[j]), s, t, freq, start, words, w)
                    states[j] = x
    return w


@numba.njit(cache=True, nogil=True)
def decode_run(
    words: np.ndarray,
    position: int,
    states: np.ndarray,
    lanes: int,
    tables: np.ndarray,
    freq: np.ndarray,
    start: np.ndarray,
    slots: np.ndarray,
    rests: np.ndarray,
    keys: np.ndarray,
    signs: np.ndarray,
    down: np.ndarray,
    up: np.ndarray,
    out: np.ndarray,
) -> int:
    """Decode ``tables.size`` symbols into ``out`` (int32); returns the next word position.

    ``rests``, ``keys`` and ``signs`` as :func:`encode_runs` has them. A run is limited where
    ``down`` and ``up`` (int32) are not empty, see :func:`pull_detail`.

    Past the end the last word is read, so no bytes can lead outside of ``words``; the caller checks
    that the position returned does not exceed ``words.size``.
    """
    if words.size == 0:
        words = np.zeros(1, np.uint16)
    held = np.empty(MAX_LANES, np.uint32)
    for lane in range(lanes):
        held[lane] = states[lane]
    position = _decode(
        words, position, held, lanes, tables, freq, start, slots, rests, keys, signs, down, up,
        np.empty(MAX_LANES, np.uint32), out,
    )  # fmt: skip
    for lane in range(lanes):
        states[lane] = held[lane]
    return position


@kernel()
def _decode(
    words: np.ndarray, position: int, states: np.ndarray, lanes: int, tables: np.ndarray,
    freq: np.ndarray, start: np.ndarray, slots: np.ndarray, rests: np.ndarray, keys: np.ndarray,
    signs: np.ndarray, down: np.ndarray, up: np.ndarray, tokens: np.ndarray, out: np.ndarray,
) -> int:  # fmt: skip
    size = tables.size
    signed = rests.size > 0
    limited = down.size > 0
    vectors = available() and lanes >= _FEW
    for base in range(0, size, lanes):
        count = min(lanes, size - base)
        for lane in range(0, count, TOGETHER):
            n = min(count - lane, TOGETHER)
            first = base + lane
            at = np.int64(-1)
            if vectors and first + TOGETHER <= size and position + TOGETHER <= words.size:
                at = pull_tokens(
                    words, position, states, lane, tables, first, n, slots, start, tokens
                )  # fmt: skip
            if at >= 0:
                position = at
                continue
            for j in range(lane, lane + n):
                token, x, position = pull_token(
                    np.int64(states[j]), np.int64(tables[base + j]), freq, start, slots, words,
                    position,
                )  # fmt: skip
                tokens[j], states[j] = token, x
        for lane in range(0, count, TOGETHER):
            n = min(count - lane, TOGETHER)
            first = base + lane
            at = np.int64(-1)
            if vectors and first + TOGETHER <= size and position + TOGETHER <= words.size:
                at = pull_details(
                    words, position, states, lane, tokens, first, n, signed, rests, keys, signs,
                    limited, down, up, out,
                )  # fmt: skip
            if at >= 0:
                position = at
                continue
            for j in range(lane, lane + n):
                i = base + j
                rest = np.int64(rests[i]) if signed else np.int64(0)
                key = np.int64(keys[i]) if signed else np.int64(0)
                s, x, position = pull_detail(
                    np.int64(states[j]), np.int64(tokens[j]), signed, rest, key, signs, limited,
                    np.int64(down[i]) if limited else np.int64(0),
                    np.int64(up[i]) if limited else np.int64(0), words, position,
                )  # fmt: skip
                states[j] = x
                out[i] = np.int32(s)
    return position

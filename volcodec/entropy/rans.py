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

from .tables import ESCAPE, ESCAPE_BITS, PROB_BITS, extra_bits, token_base, token_of

MAX_LANES = 32
KNOWN = 127  # rest of a symbol whose sign follows from what is possible
LOW = 1 << 16  # states stay in [2**16, 2**32)
_MASK = (1 << PROB_BITS) - 1
NO_ROOMS = (np.empty(0, np.int32), np.empty(0, np.int32))  # down and up of a run without limits
# rests, keys and signs where every sign is a raw bit
RAW_SIGNS = (np.empty(0, np.int8), np.empty(0, np.uint8), np.zeros((2, 1, 1), np.uint16))


@numba.njit(cache=True, nogil=True, inline="always")
def _put_bits(x: int, value: int, n: int, words: np.ndarray, w: int) -> tuple[int, int]:
    """Push ``n`` <= 16 raw bits; returns the state and the write position."""
    if x >= (1 << (32 - n)):
        w -= 1
        words[w] = x & 0xFFFF
        x >>= 16
    return (x << n) | value, w


@numba.njit(cache=True, nogil=True, inline="always")
def _refill(x: int, words: np.ndarray, position: int) -> tuple[int, int]:
    """Bring a state back above the lower end with the next word, where it fell below."""
    if x < LOW:
        x <<= 16
        if position < words.size:
            x |= np.int64(words[position])
        position += 1
    return x, position


@numba.njit(cache=True, nogil=True)
def push_detail(
    x: int, s: int, rest: int, t: int, key: int, freq: np.ndarray, signs: np.ndarray,
    limited: bool, words: np.ndarray, w: int,
) -> tuple[int, int]:  # fmt: skip
    """Push what follows the token of symbol ``s``: raw bits, sign, what an escape stands for.

    ``rest``: the side that the sign is expected on, and how much; its probability is
    ``signs[magnitude > 1, key, |rest|]``, and a raw bit where the rest is zero. In a ``limited``
    run that bit stands alone, and there is none where the rest is KNOWN.
    """
    m = -s if s < 0 else s
    token = token_of(m)
    if s != 0:
        n = extra_bits(token)
        raw = m - token_base(token)
        if rest == 0 and not limited:
            n += 1
            raw = (raw << 1) | (1 if s < 0 else 0)
        elif rest == 0:
            x, w = _put_bits(x, 1 if s < 0 else 0, 1, words, w)
        elif rest != KNOWN:
            p = np.int64(signs[1 if m > 1 else 0, key, abs(rest)])
            agrees = (rest > 0) == (s > 0)
            f = p if agrees else (1 << PROB_BITS) - p
            if x >= (f << (32 - PROB_BITS)):
                w -= 1
                words[w] = x & 0xFFFF
                x >>= 16
            x = ((x // f) << PROB_BITS) + x % f + (0 if agrees else p)
        if n > 16:
            x, w = _put_bits(x, raw >> 16, n - 16, words, w)
            n = 16
            raw &= 0xFFFF
        if n > 0:
            x, w = _put_bits(x, raw, n, words, w)
    if freq[t, token] == 0:
        x, w = _put_bits(x, token, ESCAPE_BITS, words, w)
    return x, w


@numba.njit(cache=True, nogil=True)
def push_token(
    x: int, s: int, t: int, freq: np.ndarray, start: np.ndarray, words: np.ndarray, w: int
) -> tuple[int, int]:
    """Push the token of symbol ``s`` by table ``t``."""
    token = token_of(-s if s < 0 else s)
    if freq[t, token] == 0:
        token = ESCAPE
    f = np.int64(freq[t, token])
    if x >= (f << (32 - PROB_BITS)):
        w -= 1
        words[w] = x & 0xFFFF
        x >>= 16
    q = np.int64(np.uint32(x) // np.uint32(f))
    return (q << PROB_BITS) + (x - q * f) + start[t, token], w


@numba.njit(cache=True, nogil=True)
def pull_token(
    x: int, t: int, freq: np.ndarray, start: np.ndarray, slots: np.ndarray, words: np.ndarray,
    position: int,
) -> tuple[int, int, int]:  # fmt: skip
    """The inverse of :func:`push_token`: token, state, next word position."""
    slot = x & _MASK
    token = np.int64(slots[t, slot])
    x = np.int64(freq[t, token]) * (x >> PROB_BITS) + slot - start[t, token]
    x, position = _refill(x, words, position)
    return token, x, position


@numba.njit(cache=True, nogil=True)
def pull_detail(
    x: int, token: int, rest: int, key: int, signs: np.ndarray, limited: bool, down: int, up: int,
    words: np.ndarray, position: int,
) -> tuple[int, int, int]:  # fmt: skip
    """The inverse of :func:`push_detail` after a ``token`` above 0: symbol, state, position.

    In a ``limited`` run the sign is known where of the magnitudes that are possible below zero, up
    to ``down``, and above, up to ``up``, just one has the symbol's.
    """
    if token == ESCAPE:
        token = x & ((1 << ESCAPE_BITS) - 1)
        x, position = _refill(x >> ESCAPE_BITS, words, position)
        if token == 0:
            return np.int64(0), x, position
    n = extra_bits(token) + (1 if rest == 0 and not limited else 0)
    raw = np.int64(0)
    if n > 0:
        low = min(n, 16)
        raw = x & ((1 << low) - 1)
        x, position = _refill(x >> low, words, position)
        if n > 16:
            raw |= (x & ((1 << (n - 16)) - 1)) << 16
            x, position = _refill(x >> (n - 16), words, position)
    m = np.int64(token_base(token))
    if rest == 0 and not limited:
        m += raw >> 1
        return (-m if (raw & 1) != 0 else m), x, position
    m += raw
    if limited and (m <= down) != (m <= up):
        return (-m if m <= down else m), x, position
    if rest == 0:
        negative = (x & 1) != 0
        x, position = _refill(x >> 1, words, position)
    else:
        p = np.int64(signs[1 if m > 1 else 0, key, abs(rest)])
        slot = x & _MASK
        agrees = slot < p
        if agrees:
            x = p * (x >> PROB_BITS) + slot
        else:
            x = ((1 << PROB_BITS) - p) * (x >> PROB_BITS) + slot - p
        x, position = _refill(x, words, position)
        negative = agrees != (rest > 0)
    return (-m if negative else m), x, position


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

    ``rests`` (int8), ``keys``, ``signs`` and ``limited``: see :func:`push_detail`; every sign is a
    raw bit where ``rests`` is empty.
    """
    signed = rests.size > 0
    for lane in range(lanes):
        states[lane] = LOW
    w = words.size
    for r in range(ends.size - 1, -1, -1):
        begin = ends[r - 1] if r > 0 else 0
        size = ends[r] - begin
        rounds = (size + lanes - 1) // lanes
        for k in range(rounds - 1, -1, -1):
            base = begin + k * lanes
            count = min(lanes, ends[r] - base)
            for lane in range(count - 1, -1, -1):
                i = base + lane
                s, t = np.int64(symbols[i]), np.int64(tables[i])
                if s == 0 and freq[t, 0] > 0:
                    continue
                rest = np.int64(rests[i]) if signed else 0
                key = np.int64(keys[i]) if signed else 0
                states[lane], w = push_detail(
                    states[lane], s, rest, t, key, freq, signs, limited, words, w
                )  # fmt: skip
            for lane in range(count - 1, -1, -1):
                i = base + lane
                s, t = np.int64(symbols[i]), np.int64(tables[i])
                states[lane], w = push_token(states[lane], s, t, freq, start, words, w)
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

    Words past the end read as zero, so no bytes can lead outside of ``words``; the caller checks
    that the position returned does not exceed ``words.size``.
    """
    size = tables.size
    signed = rests.size > 0
    limited = down.size > 0
    tokens = np.empty(MAX_LANES, np.int64)
    for base in range(0, size, lanes):
        count = min(lanes, size - base)
        for lane in range(count):
            tokens[lane], states[lane], position = pull_token(
                states[lane], np.int64(tables[base + lane]), freq, start, slots, words, position
            )
        for lane in range(count):
            i = base + lane
            if tokens[lane] == 0:
                out[i] = 0
                continue
            rest = np.int64(rests[i]) if signed else 0
            key = np.int64(keys[i]) if signed else 0
            s, states[lane], position = pull_detail(
                states[lane], tokens[lane], rest, key, signs, limited, down[i] if limited else 0,
                up[i] if limited else 0, words, position,
            )  # fmt: skip
            out[i] = np.int32(s)
    return position

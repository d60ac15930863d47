"""Trellis-coded quantisation: two quantisers that take turns, and how their symbols are coded.

A symbol k of quantiser 0 stands for 2 k halves of a step, one of quantiser 1 for 2 k - sign(k):
even multiples, and odd ones with zero. Which quantiser a symbol belongs to follows from the
parities of the symbols before it in its chain, by a machine of eight states (Marcellin and Fischer
1990; as dependent quantisation in video coding: Schwarz et al. 2019). Both sides follow it in
integers.

Long runs are dealt out to chains, symbol by symbol, so that they can be decoded in parallel.
"""

from __future__ import annotations

import numba
import numpy as np

from ..kernel import kernel
from . import rans

STATES = 8
# state after a symbol of even and of odd parity; odd states belong to quantiser 1
NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]], dtype=np.int64)
CHAINS = 32
_LONG = 1 << 14  # symbols from which a run has several chains
SKIPPED = -1  # table of a symbol that is known to be zero


@numba.njit(cache=True, nogil=True, inline="always")
def chains_of(size: int) -> int:
    """Chains of a run of ``size`` symbols."""
    return CHAINS if size >= _LONG else 1


@numba.njit(cache=True, nogil=True, inline="always")
def halves_of(symbol: int, quantiser: int) -> int:
    """What a symbol stands for, in halves of a step."""
    if quantiser == 0 or symbol == 0:
        return 2 * symbol
    return 2 * symbol - 1 if symbol > 0 else 2 * symbol + 1


@kernel()
def encode_runs(
    symbols: np.ndarray, tables: np.ndarray, ends: np.ndarray, lanes: int, freq: np.ndarray,
    start: np.ndarray, rests: np.ndarray, keys: np.ndarray, signs: np.ndarray, words: np.ndarray,
    states: np.ndarray,
) -> int:  # fmt: skip
    """As :func:`.rans.encode_runs`, in rounds of one symbol a chain.

    ``tables`` (int16) name the table of the symbol's own quantiser, or SKIPPED. Symbol ``j`` of a
    run belongs to lane ``j % lanes``.
    """
    signed = rests.size > 0
    for lane in range(lanes):
        states[lane] = rans.LOW
    w = words.size
    for r in range(ends.size - 1, -1, -1):
        begin = ends[r - 1] if r > 0 else 0
        size = ends[r] - begin
        chains = chains_of(size)
        rounds = (size + chains - 1) // chains
        for k in range(rounds - 1, -1, -1):
            first = k * chains
            last = min(first + chains, size)
            for j in range(last - 1, first - 1, -1):
                i = begin + j
                s, t = np.int64(symbols[i]), np.int64(tables[i])
                if t == SKIPPED:
                    continue
                rest = np.int64(rests[i]) if signed else np.int64(0)
                key = np.int64(keys[i]) if signed else np.int64(0)
                lane = j % lanes
                states[lane], w = rans.push_detail(
                    states[lane], s, signed, rest, t, key, freq, signs, False, words, w
                )
            for j in range(last - 1, first - 1, -1):
                i = begin + j
                s, t = np.int64(symbols[i]), np.int64(tables[i])
                if t != SKIPPED:
                    lane = j % lanes
                    states[lane], w = rans.push_token(states[lane], s, t, freq, start, words, w)
    return w


@numba.njit(cache=True, nogil=True)
def decode_run(
    words: np.ndarray, position: int, states: np.ndarray, lanes: int, tables: np.ndarray,
    skip: int, second: int, freq: np.ndarray, start: np.ndarray, slots: np.ndarray,
    rests: np.ndarray, keys: np.ndarray, signs: np.ndarray, out: np.ndarray,
) -> int:  # fmt: skip
    """Decode a run of ``tables.size`` symbols into ``out`` (int32), in halves.

    ``tables`` (uint8): below ``skip`` a symbol is zero; quantiser 1 has its tables (and signs)
    ``second`` places on. The rest as :func:`.rans.decode_run` has it.
    """
    if words.size == 0:
        words = np.zeros(1, np.uint16)
    return _decode(
        words,
        position,
        states,
        lanes,
        tables,
        skip,
        second,
        freq,
        start,
        slots,
        rests,
        keys,
        signs,
        np.empty(CHAINS, np.int64),
        np.zeros(CHAINS, np.int64),
        out,
    )


@kernel()
def _decode(
    words: np.ndarray, position: int, states: np.ndarray, lanes: int, tables: np.ndarray,
    skip: int, second: int, freq: np.ndarray, start: np.ndarray, slots: np.ndarray,
    rests: np.ndarray, keys: np.ndarray, signs: np.ndarray, tokens: np.ndarray, turns: np.ndarray,
    out: np.ndarray,
) -> int:  # fmt: skip
    size = tables.size
    signed = rests.size > 0
    chains = chains_of(size)
    for first in range(0, size, chains):
        count = min(chains, size - first)
        for c in range(count):
            t = np.int64(tables[first + c])
            tokens[c] = 0
            if t >= skip:
                lane = (first + c) % lanes
                tokens[c], states[lane], position = rans.pull_token(
                    states[lane], t + second * (turns[c] & 1), freq, start, slots, words, position
                )
        for c in range(count):
            i = first + c
            s = np.int64(0)
            quantiser = turns[c] & 1
            if tokens[c] != 0:
                lane = i % lanes
                rest = np.int64(rests[i]) if signed else np.int64(0)
                key = np.int64(keys[i]) + second * quantiser if signed else np.int64(0)
                s, states[lane], position = rans.pull_detail(
                    states[lane], tokens[c], signed, rest, key, signs, False, 0, 0, words, position
                )
            out[i] = np.int32(halves_of(s, quantiser))
            turns[c] = NEXT[turns[c], s & 1]
    return position

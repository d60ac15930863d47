"""Frozen integer probability tables over tokens, and the split of a symbol into token and bits.

A symbol (int32) is a magnitude token, then raw bits: the bits of the magnitude below the token's
resolution and, unless the magnitude is zero, the sign. Magnitudes below 16 are tokens of their own;
above, a token is the exponent and the two bits that follow the leading one.
A table gives tokens integer frequencies that sum to 2**14. A token too rare for a frequency of its
own has none: it is coded as the escape, followed by seven raw bits that name it.
"""

from __future__ import annotations

import numba
import numpy as np

PROB_BITS = 14
DIRECT = 16  # magnitudes with a token of their own
TOKENS = DIRECT + 4 * 28  # exponents 4 .. 31
ESCAPE = TOKENS  # column of the escape
ESCAPE_BITS = 7
SLACK = 4  # bytes behind a table that may be read
COST_BITS = 8  # costs are in 1/256 bit


@numba.njit(cache=True, nogil=True, inline="always")
def token_of(magnitude: int) -> int:
    """The token of a magnitude in [0, 2**32)."""
    if magnitude < 16:
        return magnitude
    e = 4
    m = magnitude >> 5
    while m > 0:
        m >>= 1
        e += 1
    return 16 + (e - 4) * 4 + ((magnitude >> (e - 2)) & 3)


@numba.njit(cache=True, nogil=True, inline="always")
def extra_bits(token: int) -> int:
    """Raw magnitude bits that follow a token (the sign is not counted)."""
    if token < 16:
        return 0
    return ((token - 16) >> 2) + 2


@numba.njit(cache=True, nogil=True, inline="always")
def token_base(token: int) -> int:
    """The least magnitude of a token."""
    if token < 16:
        return token
    return (4 + ((token - 16) & 3)) << (((token - 16) >> 2) + 2)


def normalise(weights: np.ndarray) -> np.ndarray:
    """Integer frequencies (N, TOKENS + 1), rows summing to 2**14, from token weights (N, TOKENS).

    A token of less than half a unit gets none; what they lack goes to the escape, at least one.
    """
    total = 1 << PROB_BITS
    w = np.asarray(weights, dtype=np.float64)
    w = w / w.sum(axis=1, keepdims=True) * (total - 1)
    rare = w < 0.5
    escape = 1 + np.floor(np.where(rare, w, 0.0).sum(axis=1))
    freq = np.concatenate([np.where(rare, 0.0, np.rint(w)), escape[:, None]], axis=1)
    out = freq.astype(np.int64)
    for row in out:
        row[int(np.argmax(row))] += total - int(row.sum())
    return out.astype(np.uint16)


def roomy(table: np.ndarray) -> np.ndarray:
    """A copy with memory behind it that vectors may reach into."""
    out = np.zeros(table.nbytes + SLACK, np.uint8)[: table.nbytes]
    copy = out.view(table.dtype).reshape(table.shape)
    copy[...] = table
    return copy


class Tables:
    """Coding tables from frequencies (uint16, (N, TOKENS + 1), rows summing to 2**14)."""

    def __init__(self, freq: np.ndarray) -> None:
        freq = np.ascontiguousarray(freq, dtype=np.uint16)
        if freq.ndim != 2 or freq.shape[1] != TOKENS + 1 or not 1 <= freq.shape[0] <= 256:
            raise ValueError(f"tables must be (1..256, {TOKENS + 1}), not {freq.shape}")
        total = freq.astype(np.int64).sum(axis=1)
        if (freq[:, ESCAPE] == 0).any() or (total != 1 << PROB_BITS).any():
            raise ValueError("every escape must be positive and every table sum to 2**14")
        self.freq = freq
        self.start = roomy((np.cumsum(freq.astype(np.int64), axis=1) - freq).astype(np.uint16))
        self.slots = roomy(np.empty((freq.shape[0], 1 << PROB_BITS), dtype=np.uint8))
        for row, f in zip(self.slots, freq, strict=True):
            row[:] = np.repeat(np.arange(TOKENS + 1, dtype=np.uint8), f)
        p = freq.astype(np.float64) / (1 << PROB_BITS)
        own = -np.log2(np.maximum(p[:, :TOKENS], 1e-9))
        escaped = ESCAPE_BITS - np.log2(p[:, ESCAPE:])
        bits = np.where(freq[:, :TOKENS] > 0, own, escaped)
        self.cost = np.rint((bits + _RAW_BITS) * (1 << COST_BITS)).astype(np.int32)

    def __len__(self) -> int:
        return int(self.freq.shape[0])


_RAW_BITS = np.array(
    [(t > 0) + (0 if t < DIRECT else ((t - DIRECT) >> 2) + 2) for t in range(TOKENS)]
)

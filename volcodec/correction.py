"""Outliers: what still breaks the bound after decoding, as sparse integers, coded losslessly.

The tile is cut into blocks of 8 x 8 x 8. Each block codes how many outliers it holds, given the
counts of its three neighbours before it; then, cell by cell, whether the cell is one, with the
probability that the remaining count and the remaining cells imply; then signs and magnitudes.
One rANS lane, integer arithmetic only. See "Correction" in docs/format.md.
"""

from __future__ import annotations

import numba
import numpy as np

from .entropy.classic import classic_tables
from .entropy.contexts import LOG
from .entropy.rans import LOW
from .entropy.tables import ESCAPE, ESCAPE_BITS, PROB_BITS, extra_bits, token_base, token_of
from .errors import FormatError

BLOCK = 8
_MAGNITUDE_TABLE = 3  # mean 2**-5: nearly all outliers are +1 or -1
_NEIGHBOUR_TABLE = 14  # table of a neighbour sum of one


@numba.njit(cache=True, nogil=True)
def _count_table(counts: np.ndarray, z: int, y: int, x: int, quiet: int, log: np.ndarray) -> int:
    """Table for a block's count from the counts of the blocks before it on each axis."""
    c = np.int64(0)
    if z > 0:
        c += counts[z - 1, y, x]
    if y > 0:
        c += counts[z, y - 1, x]
    if x > 0:
        c += counts[z, y, x - 1]
    if c == 0:
        return quiet
    return _NEIGHBOUR_TABLE - 3 + (3 * np.int64(log[min(c, 4095)])) // 16


@numba.njit(cache=True, nogil=True)
def _symbol(
    ops: np.ndarray, n: int, m: int, table: int, freq: np.ndarray, start: np.ndarray
) -> int:
    """Append the operations of magnitude ``m``; returns the new length."""
    token = token_of(m)
    column = token if freq[table, token] > 0 else ESCAPE
    ops[n, 0] = start[table, column]
    ops[n, 1] = freq[table, column]
    n += 1
    if column == ESCAPE:
        ops[n, 0] = token
        ops[n, 1] = -ESCAPE_BITS
        n += 1
    bits = extra_bits(token)
    if bits > 0:
        rest = m - token_base(token)
        if bits > 16:
            ops[n, 0] = rest & 0xFFFF
            ops[n, 1] = -16
            n += 1
            rest >>= 16
            bits -= 16
        ops[n, 0] = rest
        ops[n, 1] = -bits
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _plan(
    o: np.ndarray, counts: np.ndarray, quiet: int, freq: np.ndarray, start: np.ndarray,
    log: np.ndarray, ops: np.ndarray,
) -> int:  # fmt: skip
    nz, ny, nx = o.shape
    n = 0
    for bz in range(counts.shape[0]):
        for by in range(counts.shape[1]):
            for bx in range(counts.shape[2]):
                left = np.int64(counts[bz, by, bx])
                table = _count_table(counts, bz, by, bx, quiet, log)
                n = _symbol(ops, n, left, table, freq, start)
                if left == 0:
                    continue
                z1, y1, x1 = min(8 * bz + 8, nz), min(8 * by + 8, ny), min(8 * bx + 8, nx)
                cells = (z1 - 8 * bz) * (y1 - 8 * by) * (x1 - 8 * bx)
                for z in range(8 * bz, z1):
                    for y in range(8 * by, y1):
                        for x in range(8 * bx, x1):
                            v = np.int64(o[z, y, x])
                            if 0 < left < cells:
                                one = max((left << PROB_BITS) // cells, 1)
                                ops[n, 0] = 0 if v != 0 else one
                                ops[n, 1] = one if v != 0 else (1 << PROB_BITS) - one
                                n += 1
                            cells -= 1
                            if v != 0:
                                left -= 1
                                ops[n, 0] = 1 if v < 0 else 0
                                ops[n, 1] = -1
                                n += 1
                                m = -v if v < 0 else v
                                n = _symbol(ops, n, m - 1, _MAGNITUDE_TABLE, freq, start)
    return n


@numba.njit(cache=True, nogil=True)
def _count(o: np.ndarray, counts: np.ndarray) -> int:
    total = 0
    for z in range(o.shape[0]):
        for y in range(o.shape[1]):
            for x in range(o.shape[2]):
                if o[z, y, x] != 0:
                    counts[z >> 3, y >> 3, x >> 3] += 1
                    total += 1
    return total


@numba.njit(cache=True, nogil=True)
def _encode(ops: np.ndarray, words: np.ndarray) -> tuple[int, int]:
    x = np.int64(LOW)
    w = words.size
    for i in range(ops.shape[0] - 1, -1, -1):
        f = np.int64(ops[i, 1])
        if f > 0:
            if x >= f << (32 - PROB_BITS):
                w -= 1
                words[w] = x & 0xFFFF
                x >>= 16
            x = ((x // f) << PROB_BITS) + x % f + ops[i, 0]
        else:
            if x >= np.int64(1) << (32 + f):
                w -= 1
                words[w] = x & 0xFFFF
                x >>= 16
            x = (x << -f) | ops[i, 0]
    return x, w


def encode(outliers: np.ndarray) -> bytes:
    """Code ``outliers`` (int32, (Z, Y, X), mostly zero); all zero gives no bytes."""
    shape = tuple((n + BLOCK - 1) // BLOCK for n in outliers.shape)
    counts = np.zeros(shape, np.int32)
    total = _count(outliers, counts)
    if total == 0:
        return b""
    quiet_mean = total / counts.size / 8
    quiet = int(np.clip(round(18 + 3 * np.log2(max(quiet_mean, 2.0**-6))), 0, 30))
    t = classic_tables()
    ops = np.empty((3 * counts.size + 512 * int((counts > 0).sum()) + 5 * total, 2), np.int32)
    n = _plan(outliers, counts, quiet, t.freq, t.start, LOG, ops)
    words = np.empty(n + 2, np.uint16)
    state, first = _encode(ops[:n], words)
    return bytes([quiet]) + int(state).to_bytes(4, "little") + words[first:].astype("<u2").tobytes()


@numba.njit(cache=True, nogil=True, inline="always")
def _next(x: int, position: int, words: np.ndarray) -> tuple[int, int]:
    if x < LOW:
        x <<= 16
        if position < words.size:
            x |= np.int64(words[position])
        position += 1
    return x, position


@numba.njit(cache=True, nogil=True)
def _read(
    x: int, position: int, words: np.ndarray, table: int, freq: np.ndarray, start: np.ndarray,
    slots: np.ndarray,
) -> tuple[int, int, int]:  # fmt: skip
    slot = x & ((1 << PROB_BITS) - 1)
    token = np.int64(slots[table, slot])
    x = np.int64(freq[table, token]) * (x >> PROB_BITS) + slot - np.int64(start[table, token])
    x, position = _next(x, position, words)
    if token == ESCAPE:
        token = x & ((1 << ESCAPE_BITS) - 1)
        x, position = _next(x >> ESCAPE_BITS, position, words)
    bits = extra_bits(token)
    m = np.int64(token_base(token))
    if bits > 0:
        low = min(bits, 16)
        m += x & ((1 << low) - 1)
        x, position = _next(x >> low, position, words)
        if bits > 16:
            m += (x & ((1 << (bits - 16)) - 1)) << 16
            x, position = _next(x >> (bits - 16), position, words)
    return m, x, position


@numba.njit(cache=True, nogil=True)
def _decode(
    words: np.ndarray, x: int, quiet: int, freq: np.ndarray, start: np.ndarray, slots: np.ndarray,
    log: np.ndarray, counts: np.ndarray, o: np.ndarray,
) -> int:  # fmt: skip
    """Words read, or -1 where the counts can't be."""
    nz, ny, nx = o.shape
    position = 0
    for bz in range(counts.shape[0]):
        for by in range(counts.shape[1]):
            for bx in range(counts.shape[2]):
                table = _count_table(counts, bz, by, bx, quiet, log)
                left, x, position = _read(x, position, words, table, freq, start, slots)
                z1, y1, x1 = min(8 * bz + 8, nz), min(8 * by + 8, ny), min(8 * bx + 8, nx)
                cells = (z1 - 8 * bz) * (y1 - 8 * by) * (x1 - 8 * bx)
                if left > cells or position > words.size:
                    return -1
                counts[bz, by, bx] = left
                for z in range(8 * bz, z1):
                    if left == 0:
                        break
                    for y in range(8 * by, y1):
                        for i in range(8 * bx, x1):
                            if left == 0:
                                break
                            one = True
                            if left < cells:
                                f = max((left << PROB_BITS) // cells, 1)
                                slot = x & ((1 << PROB_BITS) - 1)
                                one = slot < f
                                if one:
                                    x = f * (x >> PROB_BITS) + slot
                                else:
                                    x = ((1 << PROB_BITS) - f) * (x >> PROB_BITS) + slot - f
                                x, position = _next(x, position, words)
                            cells -= 1
                            if one:
                                left -= 1
                                negative = x & 1
                                x, position = _next(x >> 1, position, words)
                                m, x, position = _read(
                                    x, position, words, _MAGNITUDE_TABLE, freq, start, slots
                                )
                                v = m + 1
                                o[z, y, i] = np.int32(-v if negative else v)
    return position if x == LOW else -1


def decode(data: bytes, shape: tuple[int, int, int]) -> np.ndarray | None:
    """The outliers (int32) of a tile of ``shape``, None where there are none.

    FormatError where ``data`` is not what :func:`encode` writes.
    """
    if not data:
        return None
    state = int.from_bytes(data[1:5], "little")
    if len(data) < 5 or len(data) % 2 == 0 or state < LOW or data[0] > 30:
        raise FormatError("a correction is malformed")
    words = np.frombuffer(data, "<u2", offset=5).astype(np.uint16)
    counts = np.zeros(tuple((n + BLOCK - 1) // BLOCK for n in shape), np.int32)
    out = np.zeros(shape, np.int32)
    t = classic_tables()
    read = _decode(words, state, data[0], t.freq, t.start, t.slots, LOG, counts, out)
    if read != words.size:
        raise FormatError("a correction does not decode to its own end")
    return out

"""Which weights make the expectations of a band: fitted to its moments, or from a codebook."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ..kernel import inlined, kernel
from .dots import LANES, dot
from .expectation import (
    BITS,
    CLASSES,
    COUNT,
    LIMIT,
    NONE,
    OWN_WEIGHTS,
    PAIRS,
    expect_row,
    spread_out,
    sum_rows,
    whole_of,
)  # fmt: skip

MANY, FEW = 1 << 13, 1 << 11  # positions of a band that weights are fitted to
_KNOWN = np.zeros((8, 8), bool)  # class, axes off: whether that neighbour is decoded before
_KNOWN[PAIRS[:, 0], PAIRS[:, 1]] = True
_CLASSES = np.array(CLASSES, dtype=np.int64)
_DEAD = 0.42  # rounding offset of the symbols that weights are fitted to
_RIDGE = 1e-3
_TOGETHER = 512  # positions that are added up at once
_FEWER = 3  # times as few tell whether symbols get smaller
_LEAST_GAIN = 40.0  # bits that the weights of a band must save
_SIZES = np.log2(1.0 + 2 * np.arange(1024))
_SMALLEST = 256  # positions of a band that may have weights


class Moments(NamedTuple):
    """Weighted second moments of a band's classes: what weights are fitted to.

    ``between`` (8, 8, 8): of the sums of neighbours that are decoded before; ``across`` (8, 8): of
    these with the coefficient, in steps; ``own`` (8,): of the coefficient; ``busy`` (8,): symbols
    off zero. ``symbols`` (int32, margin of one): of the band, of which every ``every``-th row was
    looked at; 0 where hardly any is not zero.
    """

    between: np.ndarray
    across: np.ndarray
    own: np.ndarray
    busy: np.ndarray
    symbols: np.ndarray
    every: int

    def left(self, weights: np.ndarray) -> np.ndarray:
        """What weights (int8 over 2**BITS, (..., 28)) leave of ``own``, (..., 8)."""
        return _left_by(self, weights.reshape(-1, COUNT)).reshape(*weights.shape[:-1], 8)

    def saved(self, weights: np.ndarray) -> np.ndarray:
        """Bits that they save, roughly, (...)."""
        return _saved_by(self, weights.reshape(-1, COUNT)).reshape(weights.shape[:-1])

    def fitted(self) -> np.ndarray:
        """The best 28 weights, int8."""
        return _fitted(self)


@kernel()
def _fit(
    between: np.ndarray, across: np.ndarray, pairs: np.ndarray, a: np.ndarray, w: np.ndarray,
    out: np.ndarray,
) -> None:  # fmt: skip
    """Solve the equations of every class, whose pairs follow one another, by elimination."""
    first = 0
    for c in range(1, 8):  # class c has c axes
        size = 0.0
        for i in range(c):
            d = pairs[first + i, 1]
            size += between[c, d, d] / c
            w[i] = across[c, d]
            for j in range(c):
                a[i, j] = between[c, d, pairs[first + j, 1]]
        for i in range(c):
            a[i, i] += _RIDGE * size if size > 0 else 1.0
        for k in range(c):
            for i in range(k + 1, c):
                share = a[i, k] / a[k, k]
                w[i] -= share * w[k]
                for j in range(k, c):
                    a[i, j] -= share * a[k, j]
        for i in range(c - 1, -1, -1):
            for j in range(i + 1, c):
                w[i] -= a[i, j] * w[j]
            w[i] /= a[i, i]
            out[first + i] = np.int8(np.rint(min(max(w[i] * (1 << BITS), -127.0), 127.0)))
        first += c


@kernel()
def _left(
    between: np.ndarray, across: np.ndarray, own: np.ndarray, sets: np.ndarray, pairs: np.ndarray,
    w: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    w[:] = 0.0
    for k in range(sets.shape[0]):
        for i in range(pairs.shape[0]):
            w[pairs[i, 0], pairs[i, 1]] = sets[k, i] / (1 << BITS)
        for c in range(8):
            total = own[c]
            for d in range(1, 8):
                if w[c, d] != 0:
                    within = -2 * across[c, d]
                    for e in range(1, 8):
                        within += between[c, d, e] * w[c, e]
                    total += w[c, d] * within
            out[8 * k + c] = total


@kernel()
def _saved(left: np.ndarray, own: np.ndarray, busy: np.ndarray, out: np.ndarray) -> None:
    for k in range(out.size):
        out[k] = 0.0
        for c in range(8):
            ratio = max(left[8 * k + c], 1e-9) / max(own[c], 1e-9)
            out[k] -= 0.5 * busy[c] * np.log2(max(ratio, 1e-4))


@kernel()
def _symbols(coefs: np.ndarray, step: int, out: np.ndarray) -> int:
    """Plainly quantised ``coefs`` into ``out`` (margin of one); how many are not zero."""
    inverse = 1.0 / step
    found = 0
    for z in range(coefs.shape[0]):
        for y in range(coefs.shape[1]):
            row, to = coefs[z, y], out[z + 1, y + 1, 1:]
            for x in range(row.size):
                r = row[x] * inverse
                k = np.int32(min(abs(r) + _DEAD, LIMIT + 0.0))
                to[x] = k if r > 0 else -k
                found += k > 0
    return found


@kernel()
def _moments(
    coefs: np.ndarray, step: int, v: np.ndarray, every: int, classes: np.ndarray,
    known: np.ndarray, rows: np.ndarray, f: np.ndarray, between: np.ndarray, across: np.ndarray,
    own: np.ndarray, busy: np.ndarray,
) -> None:  # fmt: skip
    """``rows`` (int32, (3, a row with margins)) and ``f`` (float64, (10, ...)) are scratch."""
    inverse = 1.0 / step
    for c in range(8):
        ox = classes[c, 2]
        half = (coefs.shape[2] - ox + 1) // 2
        n = 0  # positions in f
        for z in range(classes[c, 0], coefs.shape[0], 2):
            for y in range(classes[c, 1], coefs.shape[1], 2):
                if ((z >> 1) + 3 * (y >> 1)) % every:
                    continue
                _sums_beside(v, z + 1, y + 1, ox, half, rows, f[:, n:])
                here, there = coefs[z, y], v[z + 1, y + 1]
                sizes, r, busies = f[0, n:], f[8, n:], f[9, n:]
                for i in range(half):
                    r[i] = here[ox + 2 * i] * inverse
                    busies[i] = 1.0 if there[ox + 2 * i + 1] != 0 and sizes[i] > 0 else 0.0
                n += half
                if n + half > f.shape[1] - LANES:
                    _add_moments(f, n, c, known, between, across, own, busy)
                    n = 0
        _add_moments(f, n, c, known, between, across, own, busy)


@kernel()
def _add_moments(
    f: np.ndarray, n: int, c: int, known: np.ndarray, between: np.ndarray, across: np.ndarray,
    own: np.ndarray, busy: np.ndarray,
) -> None:  # fmt: skip
    """Add ``n`` positions of class ``c``: ``f`` has sums of sizes, of neighbours by the axes that
    they lie off, coefficients, and whether symbols are not zero; it is weighted on the way."""
    whole = (n + LANES - 1) // LANES * LANES
    f[:, n:whole] = 0.0
    sizes, r = f[0], f[8]
    for i in range(n):
        w = 1.0 / (1.0 + abs(r[i]) + sizes[i] / 8)
        sizes[i] = w if sizes[i] > 0 else 0.0
    for d in (1, 2, 3, 4, 5, 6, 7, 8):
        for i in range(n):
            f[d, i] *= sizes[i]
    own[c] += dot(f, 8, 8, whole)
    for i in range(n):
        busy[c] += f[9, i]
    for d in range(1, 8):
        if known[c, d]:
            across[c, d] += dot(f, d, 8, whole)
            for e in range(1, d + 1):
                if known[c, e]:
                    between[c, d, e] += dot(f, d, e, whole)


@inlined()
def _sums_beside(
    v: np.ndarray, z: int, y: int, ox: int, n: int, rows: np.ndarray, f: np.ndarray
) -> None:
    """Sums of the neighbours of a class's positions in row (z, y) of ``v``, by the axes that they
    lie off, to ``f``; the sum of their sizes to ``f[0]``."""
    beside, above, across = rows
    sum_rows(v, z, y, beside, above, across)
    h, b, a, d = v[z, y, ox:], beside[ox:], above[ox:], across[ox:]
    for i in range(n):
        s1, s2, s3 = h[2 * i] + h[2 * i + 2], b[2 * i + 1], b[2 * i] + b[2 * i + 2]
        s4, s5 = a[2 * i + 1], a[2 * i] + a[2 * i + 2]
        s6, s7 = d[2 * i + 1], d[2 * i] + d[2 * i + 2]
        f[0, i] = abs(s1) + abs(s2) + abs(s3) + abs(s4) + abs(s5) + abs(s6) + abs(s7)
        f[1, i], f[2, i], f[3, i] = s1, s2, s3
        f[4, i], f[5, i], f[6, i], f[7, i] = s4, s5, s6, s7


@kernel()
def _sizes(
    v: np.ndarray, every: int, weights: np.ndarray, classes: np.ndarray, partial: np.ndarray,
    row: np.ndarray, sizes: np.ndarray,
) -> tuple[float, float]:  # fmt: skip
    """Sums of log2(1 + 2 |symbol|), as they are and counted from their expectations.

    ``sizes``: that logarithm of small symbols. Scratch as :func:`expect_row` has it.
    """
    before = after = 0.0
    for c in range(8):
        for z in range(classes[c, 0], v.shape[0] - 2, 2):
            for y in range(classes[c, 1], v.shape[1] - 2, 2):
                if ((z >> 1) + 3 * (y >> 1)) % every:
                    continue
                expect_row(v, z + 1, y + 1, weights[c], partial, row)
                for x in range(classes[c, 2] + 1, v.shape[2] - 1, 2):
                    whole = whole_of(row[x])
                    if whole != 0:
                        k = abs(v[z + 1, y + 1, x])
                        left = abs(v[z + 1, y + 1, x] - whole)
                        before += sizes[k] if k < sizes.size else np.log2(1.0 + 2 * k)
                        after += sizes[left] if left < sizes.size else np.log2(1.0 + 2 * left)
    return before, after


@numba.njit(cache=True, nogil=True)
def gather(coefs: np.ndarray, step: int, samples: int) -> Moments:
    """Moments of a band (int32) quantised by ``step``, from so many positions, about."""
    between, across, own, busy = np.zeros((8, 8, 8)), np.zeros((8, 8)), np.zeros(8), np.zeros(8)
    some = coefs.size >= _SMALLEST
    margin = 2 if some else 0
    nz, ny, nx = coefs.shape
    v = np.empty((nz + margin, ny + margin, nx + margin), np.int32)
    if some:
        v[0] = v[-1] = 0
        v[:, 0] = v[:, -1] = 0
        v[:, :, 0] = v[:, :, -1] = 0
        some = _symbols(coefs, step, v) >= _LEAST_GAIN
    if not some:
        return Moments(between, across, own, busy, v, 0)
    every = max(1, coefs.size // samples)
    rows, f = np.empty((3, v.shape[2]), np.int32), np.empty((10, _TOGETHER + v.shape[2]))
    _moments(coefs, step, v, every, _CLASSES, _KNOWN, rows, f, between, across, own, busy)
    for c in range(8):
        busy[c] *= every
        for d in range(8):
            for e in range(d):
                between[c, e, d] += between[c, d, e]
    return Moments(between, across, own, busy, v, every)


@numba.njit(cache=True, nogil=True)
def _left_by(m: Moments, sets: np.ndarray) -> np.ndarray:
    out = np.empty(8 * sets.shape[0])
    _left(m.between, m.across, m.own, sets, PAIRS, np.empty((8, 8)), out)
    return out


@numba.njit(cache=True, nogil=True)
def _saved_by(m: Moments, sets: np.ndarray) -> np.ndarray:
    out = np.empty(sets.shape[0])
    _saved(_left_by(m, sets), m.own, m.busy, out)
    return out


@numba.njit(cache=True, nogil=True)
def _fitted(m: Moments) -> np.ndarray:
    out = np.empty(COUNT, np.int8)
    _fit(m.between, m.across, PAIRS, np.empty((8, 8)), np.empty(8), out)
    return out


@numba.njit(cache=True, nogil=True)
def _shrinks(m: Moments, weights: np.ndarray) -> bool:
    """Whether symbols don't get larger on the whole when they count from expectations.

    Squares say otherwise where few large symbols stand among zeros.
    """
    width = m.symbols.shape[2]
    by_class = np.empty((8, 8), np.int32)
    spread_out(weights, by_class)
    before, after = _sizes(
        m.symbols, _FEWER * m.every, by_class, _CLASSES, np.empty((3, width), np.int32),
        np.zeros(width, np.int32), _SIZES,
    )  # fmt: skip
    return after <= before


@numba.njit(cache=True, nogil=True)
def select(m: Moments, codebook: np.ndarray, out: np.ndarray) -> int:
    """Code and, to ``out`` (int8), 28 weights for a band with such moments.

    ``codebook``: int8 (K, 28) of the band. Weights of its own where these save their bytes.
    """
    out[:] = 0
    if m.every == 0:
        return NONE
    best, gain = -1, 0.0
    if codebook.shape[0] > 0:
        gains = _saved_by(m, codebook)
        best = int(np.argmax(gains))
        gain = gains[best]
    price = max(gain, _LEAST_GAIN) + 1.2 * 8 * COUNT
    if m.busy.sum() > 2 * price:  # half a bit a symbol is more than weights save
        own = _fitted(m)
        if _saved_by(m, own.reshape(1, COUNT))[0] > price and _shrinks(m, own):
            out[:] = own
            return OWN_WEIGHTS
    if gain > _LEAST_GAIN and _shrinks(m, codebook[best]):
        out[:] = codebook[best]
        return best + 1
    return NONE


def moments(coefs: np.ndarray, step: int, samples: int = MANY) -> Moments | None:
    """The same as :func:`gather`; None where hardly any symbol is not zero."""
    found = gather(np.ascontiguousarray(coefs), step, samples)
    return found if found.every else None


def choose_weights(found: Moments | None, codebook: np.ndarray) -> tuple[int, np.ndarray]:
    """Code and 28 weights (int8) for a band, see :func:`select`; of None none."""
    out = np.zeros(COUNT, np.int8)
    return (NONE if found is None else int(select(found, codebook, out))), out

"""One band of the closed loop: predictions, their contexts, symbols coded, in raster order.

Three predictions are blended by how far each was off around the voxel: interpolation (as in
SZ3, Zhao et al. 2021) and two linear ones whose weights follow the tile, slowly with many taps and
quickly with few. The distance to the blend is quantised, and its bits (is it zero, its sign, its
exponent, what follows its leading one) are coded in contexts of all three and of the errors around.
Distances are in steps, as float64.
"""

from __future__ import annotations

import numba
import numpy as np

from ..kernel import inlined, kernel
from ..support.binary import adapt, chance, code_bit
from .mixing import code, code_raw, inputs_of
from .regression import fade, gather, solve

CONTEXTS = 14
FEW = 12  # taps of the quick regression
ERRORS = 4  # of the blend and the three predictions
SETS = 32 * 64, 48 * 64  # of weights: by band and level, by size of the errors around
TABLES = 128
_EVERY = 16  # voxels between two solutions of the same regression
_EARLY = 4096  # voxels, after which the slow regression sees every other one, half as often
_FADE_EVERY, _FADE = 64, 0.998
_FADE_FEW_EVERY, _FADE_FEW = 8, 0.98
_AROUND = 18  # taps whose errors count
_PATTERN = 8  # taps whose symbols do
_MODELLED = 3  # bits after the leading one that are
_INPUTS = inputs_of(CONTEXTS)
_RATE = 3  # at which weights learn
_CLIP = 100  # symbols are remembered within this


def _levels() -> np.ndarray:
    """Quarters of octaves: of w in 8 .. 4095, from 0 on."""
    out = np.zeros(4096, np.uint8)
    for w in range(8, 4096):
        e = w.bit_length()
        out[w] = (e - 4) * 4 + (w >> (e - 3) & 3)
    return out


_LEVELS = _levels()


@kernel()
def level_of(value: float) -> int:
    """Size of a distance >= 0: quarters of octaves above an eighth of 1/32 of a step."""
    w = np.int64(min(value, 1e6) * 256.0) + 8
    more = np.int64(0)
    while w >= 4096:
        w >>= 8
        more += 32
    return np.int64(_LEVELS[w]) + more


@inlined()
def scramble(i: int, a: int, b: int, c: int) -> int:
    """A hash of 32 bits."""
    x = (a * 0x9E3779B1 + b * 0x85EBCA6B + c * 0xC2B2AE35 + i * 0x27D4EB2F) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 0x2C1B3C6D) & 0xFFFFFFFF
    x ^= x >> 13
    x = (x * 0x297A2D39) & 0xFFFFFFFF
    return x ^ x >> 15


@inlined()
def _along(r: np.ndarray, z: int, y: int, x: int, axis: int, far: int) -> float:
    if axis == 0:
        return np.float64(r[z + far, y, x])
    if axis == 1:
        return np.float64(r[z, y + far, x])
    return np.float64(r[z, y, x + far])


@kernel()
def _interpolate(r: np.ndarray, z: int, y: int, x: int, band: int, out: np.ndarray) -> None:
    """The mean over the axes a band is high on, how far these disagree, and the differences across.

    Along an axis cubic where there are four neighbours, else linear, else the one there is.
    """
    total, low, high, across = 0.0, 1e300, -1e300, 0.0
    count = 0
    for axis in range(3):
        if not band >> (2 - axis) & 1:
            continue
        at = z if axis == 0 else y if axis == 1 else x
        size = r.shape[axis]
        before = _along(r, z, y, x, axis, -1)
        value = before
        if at + 1 < size:
            after = _along(r, z, y, x, axis, 1)
            across += abs(before - after)
            value = (before + after) * 0.5
            if at >= 3 and at + 3 < size:
                outer = _along(r, z, y, x, axis, -3) + _along(r, z, y, x, axis, 3)
                value = (9.0 * (before + after) - outer) * 0.0625
        total += value
        count += 1
        low, high = min(low, value), max(high, value)
    out[0] = total / count
    out[1] = high - low
    out[2] = across


@inlined()
def _before(r: np.ndarray, z: int, y: int, x: int) -> float:
    """The neighbour before, in the low band."""
    if x > 0:
        return np.float64(r[z, y, x - 1])
    if y > 0:
        return np.float64(r[z, y - 1, x])
    return np.float64(r[z - 1, y, x]) if z > 0 else 0.0


@inlined()
def _relative(value: float) -> int:
    return np.int64(max(min(np.floor(value + 0.5), 9.0), -9.0)) + 9


@inlined()
def _small(symbol: int) -> int:
    return max(min(np.int64(symbol), 3), -3)


@inlined()
def _within(value: float, limit: float) -> float:
    if abs(value) <= limit:
        return value
    return limit if value > 0 else -limit


@kernel()
def _code_symbol(
    s: int, contexts: np.ndarray, slow: np.ndarray, quick: np.ndarray, weights: np.ndarray,
    others: np.ndarray, tables: np.ndarray, first: int, second: int, size: int, side: int,
    inputs: np.ndarray, places: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool,
) -> int:  # fmt: skip
    """Code a symbol, which is returned. ``first`` and ``second``: where the sets of weights begin;
    ``size`` (below 48) and ``side`` (below 19) choose among the tables that refine."""
    zero = code(
        s == 0, 0, 0, _RATE, contexts, slow, quick, weights[first], others[second], tables[size],
        inputs, places, data, state, decode,
    )  # fmt: skip
    if zero:
        return 0
    positive = code(
        s > 0, 1, 0, _RATE, contexts, slow, quick, weights[first + 1], others[second + 1],
        tables[48 + side], inputs, places, data, state, decode,
    )  # fmt: skip
    m = abs(s)
    e = 0
    while True:
        node = 2 + 7 * positive + e if e < 7 else 16 + (e - 7) * 2 + positive
        k = min(2 + e, 20)
        stop = code(
            m >> (e + 1) == 0, node, 0, _RATE, contexts, slow, quick, weights[first + k],
            others[second + k], tables[68 + min(e, 15)], inputs, places, data, state, decode,
        )  # fmt: skip
        if stop or e >= 31:
            break
        e += 1
    out, branch = 1, 1
    modelled = min(e, _MODELLED)
    for i in range(modelled):
        k = 21 + min(e, 5) * 4 + i
        bit = code(
            m >> (e - 1 - i) & 1, 128 + e * 16 + branch, 0, _RATE, contexts, slow, quick,
            weights[first + k], others[second + k], tables[84 + min(e, 9) * 4 + i],
            inputs, places, data, state, decode,
        )  # fmt: skip
        branch = branch << 1 | bit
        out = out << 1 | bit
    rest = e - modelled
    if rest > 0:
        out = out << rest | code_raw(m, rest, data, state, decode)
    return out if positive else -out


@numba.njit(cache=True, nogil=True)
def code_band(
    target: np.ndarray, values: np.ndarray, symbols: np.ndarray, errors: np.ndarray,
    hidden: np.ndarray, band: int, apart: int, kind: int, step: int,
    limits: np.ndarray, taps: np.ndarray, slow: np.ndarray, quick: np.ndarray,
    weights: np.ndarray, others: np.ndarray,
    tables: np.ndarray, quiet: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool,
) -> bool:  # fmt: skip
    """Code the band of a level.

    ``values`` (int32), ``symbols`` (int8) and ``errors`` (float32, (Z, Y, X, ERRORS)) of the level
    are complete but for this band and those after it. ``target`` (int32): what is to be coded
    (decoding: anything). Voxels that are ``hidden`` (bool) are predicted, not coded. ``kind``: 0 to
    3, of the level. ``limits`` (int32): the least and the largest value there is. ``taps``: of
    :func:`.stencils.stencil`. What learns: ``slow``, ``quick``,
    ``weights``, ``others``, ``tables`` (see mixing) and ``quiet`` (uint32, 32).

    False where the data end long before the band does.
    """
    nz, ny, nx = values.shape
    n = taps.shape[0]
    few = min(n, FEW)
    near, linear, linear_few = np.zeros(n), np.zeros(n), np.zeros(few)
    gram, cross, lower = np.zeros((n, n)), np.zeros(n), np.zeros((n, n))
    gram_few, cross_few, lower_few = np.zeros((few, few)), np.zeros(few), np.zeros((few, few))
    scratch, guess, off = np.zeros(n), np.zeros(3), np.zeros(ERRORS)
    ways = np.zeros(3)
    contexts, places = np.zeros(CONTEXTS, np.int64), np.zeros(CONTEXTS, np.int64)
    inputs = np.zeros(_INPUTS, np.int32)
    inverse, half = 1.0 / step, (step - 1) // 2
    least, most = np.float64(limits[0]), np.float64(limits[1])
    seen = 0
    solved = solved_few = False
    first = (band * 4 + kind) * 64
    for z in range(band >> 2, nz, apart):
        for y in range(band >> 1 & 1, ny, apart):
            if state[3] > data.size + 8:
                return False
            for x in range(band & 1, nx, apart):
                if band:
                    _interpolate(values, z, y, x, band, guess)
                else:
                    guess[0], guess[1], guess[2] = _before(values, z, y, x), 0.0, 0.0
                plain = guess[0]
                # neighbours, and errors around: sums by weight
                total = largest = inside = outside = 0.0
                inside_weight = outside_weight = 0
                pattern = 0
                busy = False
                off[0], off[1], off[2], off[3] = 0.0, 5.0, 5.0, 5.0
                for j in range(n):
                    zz, yy, xx = z + taps[j, 0], y + taps[j, 1], x + taps[j, 2]
                    if zz < 0 or zz >= nz or yy < 0 or yy >= ny or xx < 0 or xx >= nx:
                        near[j] = 0.0
                        continue
                    d = (np.float64(values[zz, yy, xx]) - plain) * inverse
                    near[j] = d
                    total += abs(d)
                    busy |= d != 0
                    if j < _AROUND:
                        w = taps[j, 4]
                        error = w * np.float64(errors[zz, yy, xx, 0])
                        if taps[j, 3]:
                            inside += error
                            inside_weight += w
                        else:
                            outside += error
                            outside_weight += w
                        for k in range(1, ERRORS):
                            off[k] += w * np.float64(errors[zz, yy, xx, k])
                        if j < _PATTERN:
                            largest = max(largest, abs(d))
                            pattern |= np.int64(symbols[zz, yy, xx] != 0) << j
                around = inside + outside
                still = not busy and around == 0
                around /= max(inside_weight + outside_weight, 1)
                outside = outside / outside_weight if outside_weight else 0.0
                inside = inside / inside_weight if inside_weight else outside
                if not outside_weight:
                    outside = inside
                # predictions, relative to interpolation, and their blend
                ways[0] = ways[1] = ways[2] = 0.0
                if busy:
                    if seen > n and seen % (_EVERY if seen < _EARLY else 2 * _EVERY) == 0:
                        solved |= solve(gram, cross, lower, scratch, linear)
                    if seen > few and seen % _EVERY == _EVERY // 2:
                        solved_few |= solve(gram_few, cross_few, lower_few, scratch, linear_few)
                    limit = 2.0 * largest
                    if solved:
                        d = 0.0
                        for j in range(n):
                            d += linear[j] * near[j]
                        ways[1] = _within(d, limit)
                    if solved_few:
                        d = 0.0
                        for j in range(few):
                            d += linear_few[j] * near[j]
                        ways[2] = _within(d, limit)
                blend = share = 0.0
                for k in range(3):
                    q = 1.0 / (off[k + 1] * off[k + 1])
                    q *= q
                    share += q
                    blend += q * ways[k]
                blend = min(max(blend / share, (least - plain) * inverse), (most - plain) * inverse)
                base = np.int64(np.floor(plain + blend * step + 0.5))
                back = (np.float64(base) - plain) * inverse  # the base, relative as well
                if hidden.size and hidden[z, y, x]:
                    values[z, y, x] = base
                    symbols[z, y, x] = 0
                    for k in range(ERRORS):
                        errors[z, y, x, k] = 0.0
                    continue
                s = np.int64(0)
                if not decode:
                    s = (np.int64(target[z, y, x]) - base + half) // step
                calm = False
                if still:
                    k = first >> 6
                    p = chance(quiet, k)
                    a, b, c, e, one = code_bit(
                        state[0], state[1], state[2], state[3], data, p, s == 0, decode
                    )
                    state[0], state[1], state[2], state[3] = a, b, c, e
                    adapt(quiet, k, one)
                    calm = one == 1
                if calm:
                    s = np.int64(0)
                else:
                    rest = blend - back
                    eighth = np.int64(np.floor(rest * 8.0)) + 4 if step < 64 else 0
                    scale = 4.0 / (1.0 + around)
                    d0 = _relative((ways[0] - back) * scale)
                    d1 = _relative((ways[1] - back) * scale)
                    d2 = _relative((ways[2] - back) * scale)
                    size = min(level_of(around), 47)
                    s2, s1 = size >> 1, size >> 2
                    w1 = symbols[z, y, x - apart] if x >= apart else 0
                    w2 = symbols[z, y - apart, x] if y >= apart else 0
                    w3 = symbols[z - apart, y, x] if z >= apart else 0
                    beside = 0.0
                    if band & 1:
                        beside = np.float64(errors[z, y, x - 1, 0])
                    elif band & 2:
                        beside = np.float64(errors[z, y - 1, x, 0])
                    li, lo = level_of(inside), level_of(outside)
                    contexts[0] = scramble(0, size, eighth, 0)
                    contexts[1] = scramble(1, li >> 1, lo >> 1, eighth)
                    contexts[2] = scramble(2, level_of(guess[1] * inverse) >> 1, s2, 0)
                    contexts[3] = scramble(3, level_of(guess[2] * inverse) >> 1, s1, 0)
                    contexts[4] = scramble(
                        4, _small(w1) + 7 * _small(w2) + 49 * _small(w3) + 200, s1, 0
                    )
                    contexts[5] = scramble(5, pattern, s1, 0)
                    contexts[6] = scramble(
                        6, level_of(abs(plain * inverse + blend)) >> 1, s1, eighth >> 1
                    )
                    contexts[7] = scramble(7, d0 * 32 + d1, s1, 0)
                    contexts[8] = scramble(8, band * 4 + kind, s2, 0)
                    contexts[9] = scramble(9, level_of(total / n), eighth >> 1, 0)
                    contexts[10] = scramble(10, level_of(beside) >> 1, li >> 2, lo >> 2)
                    contexts[11] = scramble(
                        11, level_of(abs(ways[2] - ways[1])) >> 1, s1, pattern & 15
                    )
                    contexts[12] = scramble(12, d1 * 32 + d2, s2, 0)
                    contexts[13] = scramble(13, d0 * 32 + d2, level_of(off[3] * 0.001) >> 1, 0)
                    s = _code_symbol(
                        s, contexts, slow, quick, weights, others, tables, first, size * 64,
                        size, d1, inputs, places, data, state, decode,
                    )  # fmt: skip
                now = base + s * step
                values[z, y, x] = now
                symbols[z, y, x] = max(min(s, _CLIP), -_CLIP)
                d = (np.float64(values[z, y, x]) - plain) * inverse
                errors[z, y, x, 0] = abs(d - blend)
                for k in range(3):
                    errors[z, y, x, k + 1] = abs(d - ways[k])
                if busy:
                    weight = 1.0 / (around * around + 0.3)
                    if seen < _EARLY or seen & 1:
                        gather(near, d, weight, gram, cross)
                    gather(near, d, weight, gram_few, cross_few)
                    seen += 1
                    if seen % _FADE_EVERY == 0:
                        fade(gram, cross, _FADE)
                    if seen % _FADE_FEW_EVERY == 0:
                        fade(gram_few, cross_few, _FADE_FEW)
    return True

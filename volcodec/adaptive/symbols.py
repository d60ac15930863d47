"""Symbols that a trellis decided, coded bit by bit in contexts that learn from the tile.

What the network's table says of a bit is one input of a logistic mixing (see mixing); cells in
contexts of what is decoded around the symbol are the others, and at first the table alone counts.
A linear regression on the signed coefficients around, which follows the band, tells signs.
"""

from __future__ import annotations

import numpy as np

from ..entropy.expectation import BITS, whole_of
from ..entropy.trellis import NEXT, chains_of, halves_of
from ..kernel import inlined, kernel
from ..support.binary import adapt, code_bit
from .bands import level_of, scramble
from .mixing import code, code_raw, inputs_of
from .priors import LARGEST, MODELLED, bit_node, exponent_node
from .regression import fade, gather, solve

CONTEXTS, SIGNS = 15, 11  # of the bits of a magnitude, of a sign
INPUTS = inputs_of(CONTEXTS)  # as many as inputs_of(SIGNS)
NEAR = 39  # inputs of the regression
_EXPONENTS = 21  # of a set of weights, the first of those for bits after the leading one
_SET = 64  # weights' rows that belong together, one a node or so
_BY_PLACE = 8  # sets by class and whether the band is the low one
_BY_TABLE = 64  # sets by table
SIGN_ROWS = (_BY_PLACE + _BY_TABLE) * _SET  # where the rows for signs begin
_BY_REST = SIGN_ROWS + 64
ROWS = _BY_REST + 64  # of weights
TABLES = 192  # that refine: zeros by table, exponents, bits after the leading one, signs
_EXPONENT_TABLES, _BIT_TABLES, _SIGN_TABLES = 64, 96, 176
QUIET = 64  # cells of symbols amid zeros
_RATE = 2
_EVERY, _EARLY, _LATER = 64, 4096, 512  # samples between two solutions, before and from EARLY on
_FADE = 0.999
_FAR = 1000.0  # a regression that says more is not heard


@inlined()
def _size(m: int) -> int:
    """A magnitude, coarser from four on, up to 7."""
    if m < 4:
        return m
    if m < 8:
        return 4 + ((m - 4) >> 1)
    return 6 if m < 16 else 7


@kernel()
def _halved_octaves(total: int) -> int:
    """A sum of magnitudes: its logarithm in halves, up to 31."""
    v = np.int64(total)
    if v < 3:
        return v
    e = np.int64(0)
    while v >= 4:
        v >>= 1
        e += 1
    return min(2 + e * 2 + (v & 1), 31)


@inlined()
def _sign(v: int) -> int:
    return 0 if v == 0 else 1 if v > 0 else 2


@inlined()
def _signs(a: int, b: int) -> int:
    return _sign(a) * 3 + _sign(b)


@kernel()
def _look_around(
    kept: np.ndarray, parent: np.ndarray, low: np.ndarray, inverse: float, band: int,
    z: int, y: int, x: int, near: np.ndarray,
) -> float:  # fmt: skip
    """Inputs of the regression, in halves of a step; returns the sum of those of coefficients.

    ``kept`` and ``parent``: coefficients of the level and of the one above (margin of one), zero
    where they are not decoded; ``low``: the low band of the level in ``1 / inverse`` units.
    """
    b = kept[band]
    near[0], near[1] = b[z, y, x - 1], b[z, y, x + 1]
    near[2], near[3] = b[z, y - 1, x], b[z, y + 1, x]
    near[4], near[5] = b[z - 1, y, x], b[z + 1, y, x]
    plane_x = plane_y = plane_z = corners = 0
    for i in range(-1, 2, 2):
        for j in range(-1, 2, 2):
            plane_z += b[z, y + i, x + j]
            plane_y += b[z + i, y, x + j]
            plane_x += b[z + i, y + j, x]
            corners += b[z + i, y + j, x - 1] + b[z + i, y + j, x + 1]
    near[6], near[7], near[8], near[9] = plane_z, plane_y, plane_x, corners
    near[10] = b[z, y, x - 2] if x > 1 else 0
    near[11] = b[z, y - 2, x] if y > 1 else 0
    near[12] = b[z - 2, y, x] if z > 1 else 0
    above = parent.shape[1] > 2
    pz, py, px = (z + 1) >> 1, (y + 1) >> 1, (x + 1) >> 1
    for k in range(1, 8):
        near[12 + k] = parent[k, pz, py, px] if above else 0
        near[19 + k] = kept[k, z, y, x] if k != band else 0
    total = 0.0
    for k in range(27):
        total += abs(near[k])
    if band == 0:
        return total
    # siblings that differ from the band along one axis, on both sides of the position
    along_z, along_y, along_x = kept[band ^ 4], kept[band ^ 2], kept[band ^ 1]
    near[27] = along_z[z + 1, y, x] if band != 4 else 0
    near[28] = along_z[z - 1, y, x] if band != 4 else 0
    near[29] = along_y[z, y + 1, x] if band != 2 else 0
    near[30] = along_y[z, y - 1, x] if band != 2 else 0
    near[31] = along_x[z, y, x + 1] if band != 1 else 0
    near[32] = along_x[z, y, x - 1] if band != 1 else 0
    nz, ny, nx = low.shape
    here = 2.0 * np.float64(low[z - 1, y - 1, x - 1])
    for axis in range(3):
        if axis == 0:
            before, after = low[max(z - 2, 0), y - 1, x - 1], low[min(z, nz - 1), y - 1, x - 1]
        elif axis == 1:
            before, after = low[z - 1, max(y - 2, 0), x - 1], low[z - 1, min(y, ny - 1), x - 1]
        else:
            before, after = low[z - 1, y - 1, max(x - 2, 0)], low[z - 1, y - 1, min(x, nx - 1)]
        one, other = np.float64(before), np.float64(after)
        near[33 + 2 * axis] = (other - one) * inverse
        near[34 + 2 * axis] = (other + one - here) * inverse
    return total


@kernel()
def _code_magnitude(
    m: int, prior: np.ndarray, contexts: np.ndarray, slow: np.ndarray, quick: np.ndarray,
    weights: np.ndarray, tables: np.ndarray, place: int, table: int, inputs: np.ndarray,
    places: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool,
) -> int:  # fmt: skip
    """Code a magnitude, which is returned. ``place`` and ``table`` choose the sets of weights."""
    first, second = place * _SET, (_BY_PLACE + table) * _SET
    zero = code(
        m == 0, 0, prior[0], _RATE, contexts, slow, quick, weights[first], weights[second],
        tables[table], inputs, places, data, state, decode,
    )  # fmt: skip
    if zero:
        return 0
    e = 0
    while True:
        k = min(1 + e, _EXPONENTS - 1)
        stop = code(
            m >> (e + 1) == 0, k, prior[exponent_node(e)], _RATE, contexts, slow, quick,
            weights[first + k], weights[second + k],
            tables[_EXPONENT_TABLES + min(e, 15) * 2 + (table >> 5)], inputs, places, data, state,
            decode,
        )  # fmt: skip
        if stop or e >= LARGEST:
            break
        e += 1
    branch = 1
    modelled = min(e, MODELLED)
    for i in range(modelled):
        k = _EXPONENTS + min(e, 5) * 4 + i
        node = bit_node(e, branch)
        bit = code(
            m >> (e - 1 - i) & 1, 32 + min(e, 15) * 16 + branch, prior[node] if node >= 0 else 0,
            _RATE, contexts, slow, quick, weights[first + k], weights[second + k],
            tables[_BIT_TABLES + min(e, 9) * 8 + branch], inputs, places, data, state, decode,
        )  # fmt: skip
        branch = branch << 1 | bit
    rest = e - modelled
    if rest > 0:
        branch = branch << rest | code_raw(m, rest, data, state, decode)
    return branch


@kernel()
def code_class(
    band: int, kind: int, c: int, offset: np.ndarray, counts: np.ndarray, table: np.ndarray,
    skip: int, expected: np.ndarray, x: np.ndarray, where: np.ndarray, count: int, used: int,
    kept: np.ndarray, parent: np.ndarray, low: np.ndarray, inverse: float, tones: np.ndarray,
    prior: np.ndarray, sign_prior: np.ndarray, symbols: np.ndarray, halves: np.ndarray,
    slow: np.ndarray, quick: np.ndarray, weights: np.ndarray, tables: np.ndarray,
    quiet: np.ndarray, gram: np.ndarray, cross: np.ndarray, taps: np.ndarray, seen: np.ndarray,
    turns: np.ndarray, f: np.ndarray, contexts: np.ndarray, signs: np.ndarray, places: np.ndarray,
    inputs: np.ndarray, sign_inputs: np.ndarray, lower: np.ndarray, found: np.ndarray,
    near: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool,
) -> bool:  # fmt: skip
    """Code the symbols of a class (int32; decoding: written) in raster order; halves are written.

    ``counts``: positions of the class along each axis, ``offset`` of the first. ``table``,
    ``expected``, ``x``, ``where``, ``count`` and ``used`` are what :mod:`..entropy.contexts` makes;
    symbols of a table below ``skip`` are zero. ``tones`` (uint8, or empty): the low band, coarsely.
    What learns: ``slow``, ``quick``, ``weights``, ``tables`` (see mixing), ``quiet``, and ``gram``,
    ``cross``, ``taps`` and ``seen`` (int64, 1) of the class. The rest is scratch.

    False where the data end long before the class does.
    """
    second = prior.shape[0] // 2
    own = kept[band]
    place = (band * 8 + c) * 4 + kind
    ny, nx = counts[1], counts[2]
    chains = chains_of(symbols.size)
    for i in range(chains):
        turns[i] = 0
    above = parent.shape[1] > 2
    column = 0
    for i in range(symbols.size):
        ix, iy, iz = i % nx, i // nx % ny, i // nx // ny
        if ix == 0 and state[3] > data.size + 8:
            return False
        has = column < count and where[column] == i
        t = np.int64(table[i])
        turn = turns[i % chains]
        q = turn & 1
        s = np.int64(symbols[i])
        if t < skip:
            column += has
            symbols[i] = 0
            halves[i] = 0
            turns[i % chains] = NEXT[turn, 0]
            continue
        w1 = np.int64(symbols[i - 1]) if ix > 0 else 0
        w2 = np.int64(symbols[i - nx]) if iy > 0 else 0
        w3 = np.int64(symbols[i - nx * ny]) if iz > 0 else 0
        w4 = np.int64(symbols[i - nx + 1]) if iy > 0 and ix + 1 < nx else 0
        m1, m2, m3, m4 = abs(w1), abs(w2), abs(w3), abs(w4)
        calm = False
        if not has and m1 + m2 + m3 == 0:
            k = (band * 4 + kind) * 2 + q
            p = min(max(np.int64(quiet[k]) >> 16, 1), 65535)
            state[0], state[1], state[2], state[3], one = code_bit(
                state[0], state[1], state[2], state[3], data, p, s == 0, decode
            )
            adapt(quiet, k, one)
            calm = one == 1
        if calm:
            symbols[i] = 0
            halves[i] = 0
            turns[i % chains] = NEXT[turn, 0]
            continue
        for k in range(used):
            f[k] = (np.int64(x[k >> 2, column]) >> 8 * (k & 3)) & 255 if has else 0
        column += has
        zz, yy, xx = offset[0] + 2 * iz + 1, offset[1] + 2 * iy + 1, offset[2] + 2 * ix + 1
        whole = whole_of(np.int64(expected[i]))
        rest = np.int64(expected[i]) - (whole << BITS)
        busy = _look_around(kept, parent, low, inverse, band, zz, yy, xx, near)
        guess = 0.0
        for k in range(NEAR):
            guess += taps[k] * near[k]
        if not abs(guess) < _FAR:
            guess = 0.0
        beyond = guess - 2.0 * whole  # of what the symbol counts from
        distance = min(np.int64(abs(beyond) * 8.0), 63)
        parents = np.int64(0)
        for k in range(13, 20):
            parents += np.int64(abs(near[k]))
        tone = np.int64(tones[zz - 1, yy - 1, xx - 1]) if tones.size else 0
        beside = f[0] + f[1] + f[2]
        chosen = (t >> 1) * 2 + q
        sizes = (_size(m1) * 8 + _size(m2)) * 8 + _size(m3)
        contexts[0] = scramble(0, t, q, 0)
        contexts[1] = scramble(1, (f[0] >> 2) * 2 + q, f[1] >> 3, f[2] >> 3)
        contexts[2] = scramble(2, (f[3] >> 2) * 2 + q, f[4] >> 2, 0)
        contexts[3] = scramble(3, (f[5] >> 2) * 2 + q, f[6] >> 2, band)
        contexts[4] = scramble(4, (f[7] >> 2) * 2 + q, f[8] >> 3, t >> 3)
        contexts[5] = scramble(5, (f[8] >> 2) * 2 + q, f[9] >> 2, band)
        contexts[6] = scramble(6, (f[10] >> 2) * 2 + q, f[11] >> 4, t >> 3)
        contexts[7] = scramble(7, sizes, _size(m4) * 2 + q, 0)
        contexts[8] = scramble(8, chosen, _halved_octaves(parents), 0)
        contexts[9] = scramble(9, chosen, place, 0)
        contexts[10] = scramble(
            10, (beside >> 3) * 2 + q, _halved_octaves(2 * (m1 + m2 + m3) + m4), 0
        )
        contexts[11] = scramble(11, (t >> 1) * 8 + turn, 0, 0)
        contexts[12] = scramble(12, chosen, tone, 0)
        contexts[13] = scramble(13, distance >> 1, q, t >> 2)
        contexts[14] = scramble(14, level_of(abs(beyond)) * 2 + q, t >> 1, 0)
        m = _code_magnitude(
            abs(s), prior[t + second * q], contexts, slow, quick, weights, tables,
            min(band, 1) * 4 + min(c, 3), min(t, _BY_TABLE - 1), inputs, places, data, state,
            decode,
        )  # fmt: skip
        if m:
            # the bit is whether the sign is the expected one, and contexts are turned with it
            turned = rest < 0
            g = -1 if turned else 1
            big = 1 if m > 1 else 0
            r = abs(rest)
            s1 = _signs(g * own[zz, yy, xx - 1], g * own[zz, yy, xx + 1])
            s2 = _signs(g * own[zz, yy - 1, xx], g * own[zz, yy + 1, xx])
            s3 = _signs(g * own[zz - 1, yy, xx], g * own[zz + 1, yy, xx])
            causal = _sign(g * w1) * 9 + _signs(g * w2, g * w3)
            siblings = 0
            for k in range(1, 8):
                if k != band:
                    siblings = siblings * 3 + _sign(g * kept[k, zz, yy, xx])
            up = _sign(g * near[12 + band]) if above and band else 0
            toward = np.int64(min(max(g * beyond * 16.0, -127.0), 127.0)) + 127
            signs[0] = scramble(15, r >> 1, big, place)
            signs[1] = scramble(16, r >> 2, s1, band)
            signs[2] = scramble(17, r >> 2, s2, band)
            signs[3] = scramble(18, r >> 2, s3, band)
            signs[4] = scramble(19, causal, place, 0)
            signs[5] = scramble(20, (s1 * 9 + s2) * 9 + s3, causal, 0)
            signs[6] = scramble(21, up, place, r >> 3)
            signs[7] = scramble(22, siblings, band, c)
            signs[8] = scramble(23, toward >> 2, min(m, 3), q)
            signs[9] = scramble(24, toward, 0, 0)
            signs[10] = scramble(25, toward >> 3, r >> 2, t >> 2)
            agrees = code(
                (s > 0) != turned, 0, sign_prior[big, t + second * q, r], _RATE, signs,
                slow[CONTEXTS:], quick[CONTEXTS:], weights[SIGN_ROWS + band * 8 + c],
                weights[_BY_REST + r], tables[_SIGN_TABLES + big], sign_inputs, places, data,
                state, decode,
            )  # fmt: skip
            s = m if (agrees != 0) != turned else -m
        else:
            s = np.int64(0)
        symbols[i] = s
        half = halves_of(s, q)
        halves[i] = half
        turns[i % chains] = NEXT[turn, s & 1]
        if busy > 0:
            target = np.float64(half) + 2.0 * whole
            weight = 1.0 / (1.0 + abs(target) + busy / 16.0)
            gather(near, target, weight * weight, gram, cross)
            seen[0] += 1
            if seen[0] % _EVERY == 0:
                if seen[0] < _EARLY or seen[0] % _LATER == 0:
                    solve(gram, cross, lower, found, taps)
                fade(gram, cross, _FADE)
    return True

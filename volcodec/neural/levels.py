"""A level of the closed loop, pass by pass: what the network predicts, and symbols that follow."""

from __future__ import annotations

import math

import numba
import numpy as np

from ..kernel import inlined, kernel
from .mixture import NODES, SHAPE, code_symbol, nearer, tail
from .neighbours import APART, gather, normalise
from .network import (
    CLIP,
    FIRST,
    KINDS,
    LEAST,
    SHARES,
    SIZES,
    SPREADS,
    TILTS,
    Network,
)
from .passes import REACH, TAPS
from .products import BLOCK, LANES, layer

_POWERS = np.array([2.0**e for e in range(-64, 65)], np.float64)
_LEAST, _CLIP = np.float32(LEAST), np.float32(CLIP)
_LOW, _HIGH = SIZES
_LOW_SHAPE = (0.0, 1.0, 0.0, 1.0 / 64.0, 0.5, 0.5)  # the mixture of the coarsest low band
MARGIN = 128  # places that vectors may reach beyond a level
_CASES = 4  # of a neighbourhood that is all the same: at the least value or not, the largest or not


@inlined()
def _log2(x: float) -> float:
    """log2 of a positive float32, linear between powers of two."""
    fraction, exponent = math.frexp(x)
    return np.float64(exponent) - 2.0 + 2.0 * fraction


@inlined()
def _exp2(x: float) -> float:
    """The inverse of :func:`_log2`, |x| < 64."""
    whole = np.floor(x)
    return _POWERS[np.int64(whole) + 64] * (1.0 + (x - whole))


@inlined()
def _within(x: float, low: float, high: float) -> float:
    """x, kept within; the low end where it is not a number."""
    x = x if x > low else low
    return x if x < high else high


@kernel()
def _describe(
    out: np.ndarray, lane: int, shift: float, scale: float, size: float, shape: np.ndarray
) -> float:
    """The prediction, from the neighbours' mean in steps, that a lane of outputs stands for, and
    the mixture around it."""
    size = _within(size + np.float64(out[1, lane]), _LOW, _HIGH)
    spread = _within(np.float64(out[2, lane]), 0.0, SPREADS)
    tilt = _within(np.float64(out[3, lane]), -TILTS, TILTS)
    share = tail(-_within(np.float64(out[4, lane]), -SHARES, SHARES))
    wide = _exp2(size + spread)
    shape[0] = 0.0
    shape[1] = 1.0 / _exp2(size - spread)
    shape[2] = tilt * wide
    shape[3] = 1.0 / wide
    shape[4] = 1.0 - share
    shape[5] = share
    return (shift + np.float64(out[0, lane])) * scale


@kernel()
def _gather_one(
    flat: np.ndarray, at: int, x: int, nx: int, lane: int, taps: np.ndarray, steps: np.ndarray,
    count: int, near: np.ndarray, inverse: float, origin: np.ndarray, d: np.ndarray,
    weights: np.ndarray,
) -> None:  # fmt: skip
    """What :func:`.neighbours.gather` does, of a lane around which some are outside along x, and
    don't count."""
    known = False
    for t in range(count):
        xx = x + taps[t, 2]
        weights[t, lane] = 0.0
        d[t, lane] = 0.0
        if near[t] > 0.0 and xx >= 0 and xx < nx:
            value = flat[at + steps[t]]
            if not known:
                known = True
                origin[lane] = value
            weights[t, lane] = near[t]
            off = np.int32(np.int64(value) - np.int64(origin[lane]))  # 32 bits of it
            d[t, lane] = np.float32(off) * inverse


@kernel()
def _inside(
    shape: tuple[int, int, int], z: int, y: int, taps: np.ndarray, count: int, near: np.ndarray,
    steps: np.ndarray, row_near: np.ndarray, row_steps: np.ndarray,
) -> None:  # fmt: skip
    """The taps of a row: what lies outside along z or y does not count, and the nearest that lies
    inside is read instead."""
    if z >= REACH and z < shape[0] - REACH and y >= REACH and y < shape[1] - REACH:
        for t in range(count):
            row_near[t] = near[t]
            row_steps[t] = steps[t]
        return
    first = np.int64(-1)
    for t in range(count):
        zz, yy = z + taps[t, 0], y + taps[t, 1]
        inside = zz >= 0 and zz < shape[0] and yy >= 0 and yy < shape[1]
        row_near[t] = near[t] if inside else np.float32(0.0)
        row_steps[t] = steps[t]
        if inside and first < 0:
            first = t
    for t in range(count):
        if not row_near[t] > 0.0:
            row_steps[t] = steps[max(first, 0)]


@numba.njit(cache=True, nogil=True)
def code_level(
    target: np.ndarray, roomy: np.ndarray, shape: tuple[int, int, int], hidden: np.ndarray,
    kind: int, step: int, limits: np.ndarray, net: Network, lam: float, maps: np.ndarray,
    data: np.ndarray, state: np.ndarray, decode: bool,
) -> bool:  # fmt: skip
    """Code a level, whose values are (Z, Y, X), int32, amid ``roomy`` memory that vectors may read:
    MARGIN places before and behind them. Those at even places are known.

    ``target`` (int32): what is to be coded (decoding: anything). Voxels that are ``hidden`` (bool,
    or empty) are predicted, not coded. ``kind``: of the level. ``limits`` (int64): the least and
    the largest value there is. ``lam``: square steps that are worth a bit; 0: the nearest symbols
    are taken. ``maps``: of :func:`.mixture.fresh_maps`. False where the data end
    long before the level does.
    """
    nz, ny, nx = shape
    flat = roomy[MARGIN : roomy.size - MARGIN]
    h1, h2 = net.w2.shape
    steps, row_steps = np.zeros(TAPS, np.int64), np.zeros(TAPS, np.int64)
    row_near, origin = np.zeros(TAPS, np.float32), np.zeros(LANES, np.int32)
    d, weights = np.zeros((TAPS, LANES), np.float32), np.ones((TAPS, LANES), np.float32)
    u = np.zeros((FIRST + TAPS, LANES), np.float32)
    neighbours = u[FIRST:]
    mean, scale, shift = (
        np.zeros(LANES, np.float32), np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    )  # fmt: skip
    size = np.zeros(LANES)
    first, second = np.zeros((h1, LANES), np.float32), np.zeros((h2, LANES), np.float32)
    out = np.zeros((BLOCK, LANES), np.float32)
    same, found = np.zeros((BLOCK, _CASES), np.float32), np.zeros(_CASES, np.bool_)
    case = np.zeros(LANES, np.int64)
    mixture = np.zeros(SHAPE)
    low, high = limits[0], limits[1]
    half = (step - 1) // 2
    inverse = 1.0 / step
    inverse32 = np.float32(inverse)
    for index in range(net.counts.size):
        count, taps, near = net.counts[index], net.taps[index], net.near[index]
        found[:] = False
        weights[:] = 1.0
        d[:] = 0.0
        for t in range(count):
            steps[t] = (taps[t, 0] * ny + taps[t, 1]) * nx + taps[t, 2]
        for z in range(net.places[index, 0], nz, APART):
            for y in range(net.places[index, 1], ny, APART):
                if state[3] > data.size + 8:
                    return False
                _inside(shape, z, y, taps, count, near, steps, row_near, row_steps)
                for x in range(net.places[index, 2], nx, APART * LANES):
                    lanes = min(LANES, (nx - x + APART - 1) // APART)
                    at = (z * ny + y) * nx + x
                    busy = gather(
                        roomy, MARGIN + at, row_steps, row_near, count, inverse32, origin, d,
                        weights,
                    )  # fmt: skip
                    for v in range(lanes):
                        own = x + APART * v
                        if own < REACH or own >= nx - REACH:
                            _gather_one(
                                flat, at + APART * v, own, nx, v, taps, row_steps, count, row_near,
                                inverse32, origin, d, weights,
                            )  # fmt: skip
                    asks = busy
                    if busy:
                        normalise(
                            d, weights, net.linear[index], count, _LEAST, _CLIP, mean, scale,
                            shift, neighbours,
                        )  # fmt: skip
                    else:
                        mean[:] = 0.0
                        scale[:] = _LEAST
                        shift[:] = 0.0
                    for v in range(lanes):
                        size[v] = _log2(scale[v])
                        wide = np.float64(scale[v])
                        place = mean[v] + np.float64(np.int64(origin[v]) - low) * inverse
                        below = _within(place / wide, 0.0, CLIP)
                        place = np.float64(high - np.int64(origin[v])) * inverse - mean[v]
                        above = _within(place / wide, 0.0, CLIP)
                        u[0, v], u[1, v], u[2, v] = size[v], below, above
                        case[v] = _CASES
                        if (below == 0.0 or below == CLIP) and (above == 0.0 or above == CLIP):
                            case[v] = (2 if below > 0.0 else 0) + (1 if above > 0.0 else 0)
                        asks |= case[v] == _CASES or not found[case[v]]
                    if asks:
                        if not busy:
                            u[FIRST:] = 0.0
                        b1 = (index * KINDS + kind) * h1
                        rows = net.rows[index]
                        layer(u, rows, FIRST + count, net.w1, net.b1, b1, True, first)
                        layer(first, net.plain, h1, net.w2, net.b2, 0, True, second)
                        layer(second, net.plain, h2, net.w3, net.b3, 0, False, out)
                        if not busy:
                            for v in range(lanes):
                                if case[v] < _CASES:
                                    found[case[v]] = True
                                    same[:, case[v]] = out[:, v]
                    else:
                        for v in range(lanes):
                            out[:, v] = same[:, case[v]]
                    for v in range(lanes):
                        nearest = np.int64(origin[v])
                        guess = np.float64(mean[v]) + _describe(
                            out, v, np.float64(shift[v]), np.float64(scale[v]), size[v], mixture
                        )
                        guess = _within(
                            guess, (low - nearest) * inverse, (high - nearest) * inverse
                        )
                        base = nearest + np.int64(np.floor(guess * step + 0.5))
                        base = min(max(base, low), high)
                        if scale[v] == _LEAST:  # all that is known is the same
                            base = nearest
                        if 5 * (base - low) <= 2 * step:  # two fifths of a step
                            base = low
                        elif 5 * (high - base) <= 2 * step:
                            base = high
                        if hidden.size and hidden[z, y, x + APART * v]:
                            flat[at + APART * v] = base
                            continue
                        rest = guess - np.float64(base - nearest) * inverse
                        mixture[0] += rest
                        mixture[2] += rest
                        s = np.int64(0)
                        if not decode:
                            left = np.int64(target[z, y, x + APART * v]) - base
                            s = (left + half) // step
                            m = abs(s)
                            off = m - abs(left) * inverse
                            if lam > 0.0 and off > 0.0:
                                side = 1.0 if s > 0 else -1.0
                                m = nearer(m, off, mixture, side, lam)
                                s = m if s > 0 else -m
                        least = (low - base + half) // step
                        most = (high - base + half) // step
                        s = code_symbol(
                            s, least, most, mixture, maps, kind * NODES, data, state, decode
                        )
                        flat[at + APART * v] = min(max(base + s * step, low), high)
    return True


@numba.njit(cache=True, nogil=True)
def code_low(
    target: np.ndarray, values: np.ndarray, hidden: np.ndarray, step: int, limits: np.ndarray,
    maps: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool,
) -> bool:  # fmt: skip
    """Code the low band of the coarsest level as :func:`code_level` does a level: each voxel from
    the one before it, by a mixture that is always the same."""
    shape = np.array(_LOW_SHAPE)
    half = (step - 1) // 2
    low, high = limits[0], limits[1]
    before = low
    for z in range(values.shape[0]):
        for y in range(values.shape[1]):
            if state[3] > data.size + 8:
                return False
            for x in range(values.shape[2]):
                if x > 0:
                    before = np.int64(values[z, y, x - 1])
                elif y > 0:
                    before = np.int64(values[z, y - 1, x])
                elif z > 0:
                    before = np.int64(values[z - 1, y, x])
                base = min(max(before, low), high)
                s = np.int64(0)
                if hidden.size == 0 or not hidden[z, y, x]:
                    if not decode:
                        s = (np.int64(target[z, y, x]) - base + half) // step
                    least, most = (low - base + half) // step, (high - base + half) // step
                    s = code_symbol(
                        s, least, most, shape, maps, (KINDS - 1) * NODES, data, state, decode
                    )
                values[z, y, x] = min(max(base + s * step, low), high)
    return True

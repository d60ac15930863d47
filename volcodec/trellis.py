"""Decisions of trellis-coded quantisation: the cheapest path through a class (Viterbi 1967).

The tables of a class follow from the classes before it alone, so that what every symbol would cost
is known before the first is decided, and the path is optimal for them.
"""

from __future__ import annotations

import numba
import numpy as np

from .entropy.expectation import BITS, whole_of
from .entropy.tables import COST_BITS, token_of
from .entropy.trellis import NEXT, STATES, chains_of
from .quantiser import REST_SHARE

_QUIET = 0.2  # below this share of a step a coefficient is zero in either quantiser
_FAR = 1e30
_SLOTS = 4  # of a symbol's candidates: the best of each quantiser and parity
# the two ways into a state: the state before, and the parity of the symbol between
_BEFORE = np.array(
    [[(s, p) for s in range(STATES) for p in range(2) if NEXT[s, p] == into]
     for into in range(STATES)],
    dtype=np.int64,
)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _candidates(
    r: float, zero: float, prices0: np.ndarray, prices1: np.ndarray, lam: float,
    sign: np.ndarray, best: np.ndarray, chosen: np.ndarray,
) -> None:  # fmt: skip
    """Least costs by quantiser and parity, and the magnitudes that have them.

    ``r``: the magnitude in steps, ``zero``: what a zero is off by, ``sign`` (2, 2): price of the
    sign by quantiser, for magnitude 1 and for larger ones.
    """
    floor = np.int64(r)
    for slot in range(_SLOTS):
        best[slot] = _FAR
    best[0] = zero * zero + lam * prices0[0]
    best[2] = zero * zero + lam * prices1[0]
    chosen[0] = chosen[2] = 0
    for k in range(max(floor - 1, 1), floor + 3):
        token = token_of(k)
        if k <= floor + 1:
            d = r - k
            j = d * d + lam * (prices0[token] + sign[0, 0 if k == 1 else 1])
            slot = k & 1
            if j < best[slot]:
                best[slot] = j
                chosen[slot] = k
        if k >= floor:
            d = r - k + 0.5
            j = d * d + lam * (prices1[token] + sign[1, 0 if k == 1 else 1])
            slot = 2 + (k & 1)
            if j < best[slot]:
                best[slot] = j
                chosen[slot] = k


@numba.njit(cache=True, nogil=True)
def decide(
    band: np.ndarray, step: int, expected: np.ndarray, tables: np.ndarray, cost: np.ndarray,
    sign_cost: np.ndarray, lam: float, out: np.ndarray, quantisers: np.ndarray,
) -> None:  # fmt: skip
    """Symbols for the coefficients ``band`` (int32, (z, y, x), any strides) in raster order.

    As :func:`.quantiser.decide`, with two quantisers: ``cost`` and ``sign_cost`` hold the tables
    of the first, then those of the second. Written are ``out`` (int32) and ``quantisers`` (uint8).
    """
    ny, nx = band.shape[1], band.shape[2]
    size = out.size
    second = cost.shape[0] // 2
    inverse = 1.0 / step
    lam /= 1 << COST_BITS
    chains = chains_of(size)
    total = np.full((chains, STATES), _FAR)
    total[:, 0] = 0.0
    turned = np.empty(STATES)
    ways = np.empty(size, np.uint8)  # a bit a state: which of the two ways leads there
    picks = np.empty((size, _SLOTS), np.int32)
    best = np.empty(_SLOTS)
    chosen = np.zeros(_SLOTS, np.int64)
    sign = np.zeros((2, 2))
    for i in range(size):
        z, y, x = i // (ny * nx), i // nx % ny, i % nx
        e = np.int64(expected[i])
        whole = whole_of(e)
        u = band[z, y, x] * inverse - whole
        r = abs(u)
        t = np.int64(tables[i])
        rest = e - (whole << BITS)
        zero = r
        sign[:] = 0.0
        if rest != 0:
            agrees = (rest > 0) == (u > 0)
            side = 0 if agrees else 1
            for k in range(2):
                for q in range(2):
                    sign[q, k] = sign_cost[k, t + q * second, abs(rest), side]
            shift = abs(rest) * (REST_SHARE / (1 << BITS))
            zero = r - shift if agrees else r + shift
        row = total[i % chains]
        if r < _QUIET:
            c0, c1 = zero * zero + lam * cost[t, 0], zero * zero + lam * cost[t + second, 0]
            for s in range(STATES):
                turned[NEXT[s, 0]] = row[s] + (c1 if s & 1 else c0)
            way = 0
            for s in range(STATES):
                row[s] = turned[s]
                way |= (_BEFORE[s, 0, 1] != 0) << s
            picks[i, 0] = picks[i, 2] = 0
            ways[i] = way
            continue
        _candidates(r, zero, cost[t], cost[t + second], lam, sign, best, chosen)
        way = 0
        for s in range(STATES):
            s0, p0, s1, p1 = _BEFORE[s, 0, 0], _BEFORE[s, 0, 1], _BEFORE[s, 1, 0], _BEFORE[s, 1, 1]
            j0 = row[s0] + best[2 * (s0 & 1) + p0]
            j1 = row[s1] + best[2 * (s1 & 1) + p1]
            if j1 < j0:
                way |= 1 << s
                j0 = j1
            turned[s] = j0
        for s in range(STATES):
            row[s] = turned[s]
        for slot in range(_SLOTS):
            picks[i, slot] = chosen[slot] if u >= 0 else -chosen[slot]
        ways[i] = way
    for c in range(min(chains, size)):
        s = int(np.argmin(total[c]))
        for i in range(c + (size - 1 - c) // chains * chains, -1, -chains):
            way = (ways[i] >> s) & 1
            s, parity = _BEFORE[s, way, 0], _BEFORE[s, way, 1]
            quantisers[i] = s & 1
            out[i] = picks[i, 2 * (s & 1) + parity]

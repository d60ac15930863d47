"""The classical path: contexts by a fixed rule, tables of geometric distributions, no model.

The tables are computed with integers alone, so they are the same everywhere. A context is the mean
of the features of the network path; which table a context uses is chosen by the encoder for each
level of each tile and written in the stream.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numba
import numpy as np

from .contexts import FIXED, OWN, PARENT
from .tables import DIRECT, PROB_BITS, TOKENS, Tables

CONTEXTS = 24
COUNT = 56  # tables
_BLOCK = 256
_Q = 64  # fixed-point bits of the powers


def _power(base: int, exponent: int) -> int:
    """``base**exponent`` in fixed point (2**64 is one), truncated at each product."""
    result = 1 << _Q
    while exponent:
        if exponent & 1:
            result = (result * base) >> _Q
        base = (base * base) >> _Q
        exponent >>= 1
    return result


def _cube_root(n: int) -> int:
    x = 1 << ((n.bit_length() + 2) // 3)
    while True:
        y = (2 * x + n // (x * x)) // 3
        if y >= x:
            return x
        x = y


@lru_cache(maxsize=1)
def classic_tables() -> Tables:
    """Geometric tables: table ``k`` has mean magnitude ``2**((k - 18) / 3)``."""
    total = 1 << PROB_BITS
    rows = []
    edges = [t if t < DIRECT else (4 + (t - DIRECT) % 4) << ((t - DIRECT) // 4 + 2)
             for t in range(TOKENS)]  # fmt: skip
    edges.append(1 << 32)
    for k in range(COUNT):
        mean = _cube_root(1 << (k + 3 * 32 - 18))  # times 2**32
        ratio = (mean << _Q) // ((1 << 32) + mean)
        powers = [_power(ratio, e) for e in edges]
        row = []
        dropped = 0
        for a, b in pairwise(powers):
            scaled = (a - b) * (total - 1)
            f = (scaled + (1 << (_Q - 1))) >> _Q
            if f == 0:
                dropped += scaled
            row.append(f)
        row.append(1 + (dropped >> _Q))
        largest = row.index(max(row))
        row[largest] += total - sum(row)
        rows.append(row)
    return Tables(np.array(rows, dtype=np.uint16))


@numba.njit(cache=True, nogil=True)
def classify(
    x: np.ndarray, count: int, where: np.ndarray, used: int, has_parent: bool, out: np.ndarray
) -> None:
    """Context (below CONTEXTS, 0 = all features zero) of ``count`` columns of features.

    The mean of the own, parent and sibling features, those of the own band counted twice; hints
    are left out.
    """
    rows = 2 * OWN + (PARENT if has_parent else 0) + used - FIXED
    # floor(s / (4 rows)) exactly: s is below 2**13, and 4 rows below 2**7
    reciprocal = (1 << 20) // (4 * rows) + 1
    sums = np.empty(_BLOCK, np.uint16)
    for first in range(0, count, _BLOCK):
        n = min(_BLOCK, count - first)
        part = sums[:n]
        part[:] = 0
        for f in range(used):
            if f < OWN + PARENT or f >= FIXED:
                row = x[f, first : first + n]
                for j in range(n):
                    part[j] += row[j]
            if f == OWN - 1:
                for j in range(n):
                    part[j] *= 2
        for j in range(n):
            out[where[first + j]] = 1 + min((np.int64(part[j]) * reciprocal) >> 20, 22)

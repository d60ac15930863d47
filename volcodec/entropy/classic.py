"""The classical path: contexts by a fixed rule, tables of geometric distributions, no model.

The tables are computed with integers alone, so they are the same everywhere. A context (below
CONTEXTS) is 0 where all features of the network path are zero, else one more than a quarter of the
mean of its own, parent and sibling features, those of the own band counted twice, and 23 at most.
Which table a context uses is chosen by the encoder for each level of each tile and written in the
stream.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from .tables import DIRECT, PROB_BITS, TOKENS, Tables

CONTEXTS = 24
COUNT = 56  # tables
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

"""What the decoded neighbours in its own band let expect of a symbol: integers only.

Oversampled volumes leave a band's coefficients correlated with each other, sign included. Each
parity class is therefore predicted linearly from the classes of its band that are decoded: for each
of them the sum of the nearest neighbours, times a weight. An expectation is an integer over
2**BITS: its nearest whole number is subtracted from the symbol before coding, and the rest is a
context for magnitude and sign.

A band has 28 weights (one for each pair of classes), int8 over 2**BITS: those of a codebook in the
model, or its own, which travel in the stream.
"""

from __future__ import annotations

import numba
import numpy as np

from ..kernel import inlined, kernel
from .tables import COST_BITS, PROB_BITS, roomy

BITS = 6
HALF = 1 << (BITS - 1)
RESTS = HALF + 1  # magnitudes of the rest
KNOWN = 127  # rest of a symbol whose sign follows from what is possible
LIMIT = 1 << 18  # symbols are clipped to this in sums, so that 32 bits hold every expectation
NONE, OWN_WEIGHTS = 0, 255  # codes of a band; those between are places in the codebook, from 1
CLASSES = ((0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1))
# weight i belongs to class PAIRS[i, 0] and to the neighbours that lie off it on the axes whose
# bits are set in PAIRS[i, 1] (4: z, 2: y, 1: x); they are of the class decoded earlier
PAIRS = np.array(
    [
        (c, sum(b << (2 - axis) for axis, b in enumerate(np.bitwise_xor(CLASSES[c], CLASSES[e]))))
        for c in range(8)
        for e in range(c)
    ],
    dtype=np.int64,
)
COUNT = len(PAIRS)


class Signs:
    """How likely a sign is the expected one, by size of the symbol, table and rest.

    ``freq`` (uint16, (2, tables, RESTS)): of 2**14, for magnitude 1 and for larger ones.
    ``cost`` (int32, (2, tables, RESTS, 2)): of the expected sign and of the other, beyond one bit.
    """

    def __init__(self, freq: np.ndarray) -> None:
        freq = np.ascontiguousarray(freq, dtype=np.uint16)
        total = 1 << PROB_BITS
        if freq.ndim != 3 or freq.shape[0] != 2 or freq.shape[2] != RESTS:
            raise ValueError(f"signs must be (2, tables, {RESTS}), not {freq.shape}")
        if (freq == 0).any() or (freq >= total).any():
            raise ValueError("both signs must be possible")
        self.freq = roomy(freq)
        p = freq.astype(np.float64) / total
        bits = -np.log2(np.stack([p, 1 - p], axis=-1)) - 1
        self.cost = np.rint(bits * (1 << COST_BITS)).astype(np.int32)

    @classmethod
    def even(cls, tables: int) -> Signs:
        """Of a model that expects nothing."""
        return cls(np.full((2, tables, RESTS), 1 << (PROB_BITS - 1), np.uint16))


def unpack(weights: np.ndarray) -> np.ndarray:
    """28 weights of a band, (..., 28), as int32 (..., class, axes off)."""
    out = np.zeros((*weights.shape[:-1], 8, 8), np.int32)
    out[..., PAIRS[:, 0], PAIRS[:, 1]] = weights
    return out


@numba.njit(cache=True, nogil=True)
def spread_out(weights: np.ndarray, out: np.ndarray) -> None:
    """28 weights of a band as int32 (class, axes off)."""
    out[...] = 0
    for i in range(COUNT):
        out[PAIRS[i, 0], PAIRS[i, 1]] = weights[i]


@inlined()
def sum_rows(
    v: np.ndarray, z: int, y: int, beside: np.ndarray, above: np.ndarray, across: np.ndarray
) -> None:
    """Sums of the rows around row (z, y) that lie off it along y, along z, and along both."""
    y0, y1, z0, z1 = v[z, y - 1], v[z, y + 1], v[z - 1, y], v[z + 1, y]
    d0, d1, d2, d3 = v[z - 1, y - 1], v[z - 1, y + 1], v[z + 1, y - 1], v[z + 1, y + 1]
    for x in range(y0.size):
        beside[x] = y0[x] + y1[x]
        above[x] = z0[x] + z1[x]
        across[x] = d0[x] + d1[x] + d2[x] + d3[x]


@kernel()
def expect_row(
    v: np.ndarray, z: int, y: int, w: np.ndarray, sums: np.ndarray, out: np.ndarray
) -> None:
    """Expectations along row (z, y) of symbols ``v`` (int32, margin of one) by one class's weights.

    ``sums``: int32 scratch (3, row); ``out`` int32, both with the margin.
    """
    beside, above, across = sums
    r = v[z, y]
    sum_rows(v, z, y, beside, above, across)
    w1, w2, w3, w4, w5, w6, w7 = w[1], w[2], w[3], w[4], w[5], w[6], w[7]
    for x in range(1, out.size - 1):
        out[x] = (
            w1 * (r[x - 1] + r[x + 1]) + w2 * beside[x] + w3 * (beside[x - 1] + beside[x + 1])
            + w4 * above[x] + w5 * (above[x - 1] + above[x + 1])
            + w6 * across[x] + w7 * (across[x - 1] + across[x + 1])
        )  # fmt: skip


@inlined()
def whole_of(e: int) -> int:
    """The whole number nearest to an expectation; ``e - (whole_of(e) << BITS)`` is its rest."""
    return (e + HALF) >> BITS

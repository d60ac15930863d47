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

from dataclasses import dataclass

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
_KNOWN = np.zeros((8, 8), bool)  # class, axes off: whether that neighbour is decoded before
_KNOWN[PAIRS[:, 0], PAIRS[:, 1]] = True
_ONE = np.eye(8)
_LOWER = np.tril(np.ones((8, 8)), -1)
_CLASSES = np.array(CLASSES, dtype=np.int64)
_DEAD = 0.42  # rounding offset of the symbols that weights are fitted to
_RIDGE = 1e-3
_SAMPLES = 1 << 13  # positions of a band that weights are fitted to, about
_LEAST_GAIN = 40.0  # bits that the weights of a band must save
_SIZES = np.log2(1.0 + 2 * np.arange(1024))
_BRIEF_SAMPLES = 1 << 11  # the same where a look is brief
_SMALLEST = 256  # positions of a band that may have weights


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


@kernel()
def expect_row(
    v: np.ndarray, z: int, y: int, w: np.ndarray, sums: np.ndarray, out: np.ndarray
) -> None:
    """Expectations along row (z, y) of symbols ``v`` (int32, margin of one) by one class's weights.

    ``sums``: int32 scratch (3, row); ``out`` int32, both with the margin.
    """
    beside, above, across = sums
    r, y0, y1, z0, z1 = v[z, y], v[z, y - 1], v[z, y + 1], v[z - 1, y], v[z + 1, y]
    d0, d1, d2, d3 = v[z - 1, y - 1], v[z - 1, y + 1], v[z + 1, y - 1], v[z + 1, y + 1]
    for x in range(out.size):
        beside[x] = y0[x] + y1[x]
        above[x] = z0[x] + z1[x]
        across[x] = d0[x] + d1[x] + d2[x] + d3[x]
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


@dataclass
class Moments:
    """Weighted second moments of a band's classes: what weights are fitted to.

    ``between`` (8, 8, 8): of the sums of neighbours; ``across`` (8, 8): of these with the
    coefficient, in steps; ``own`` (8,): of the coefficient; ``busy`` (8,): symbols off zero.
    ``symbols`` (int32, margin of one): of the band, of which every ``every``-th row was looked at.
    """

    between: np.ndarray
    across: np.ndarray
    own: np.ndarray
    busy: np.ndarray
    symbols: np.ndarray | None = None
    every: int = 1

    def left(self, weights: np.ndarray) -> np.ndarray:
        """What weights (over 2**BITS, (..., 28)) leave of ``own``, (..., 8)."""
        w = unpack(weights).astype(np.float64) / (1 << BITS)
        out = np.empty(w.shape[:-1])
        _left(self.between, self.across, self.own, w.reshape(-1, 8, 8), out.reshape(-1, 8))
        return out

    def saved(self, weights: np.ndarray) -> np.ndarray:
        """Bits that they save, roughly, (...)."""
        ratio = np.maximum(self.left(weights), 1e-9) / np.maximum(self.own, 1e-9)
        return -0.5 * (self.busy * np.log2(np.maximum(ratio, 1e-4))).sum(-1)

    def shrinks(self, weights: np.ndarray) -> bool:
        """Whether symbols don't get larger on the whole when they count from expectations.

        Squares say otherwise where few large symbols stand among zeros.
        """
        assert self.symbols is not None
        width = self.symbols.shape[2]
        scratch = np.empty((3, width), np.int32), np.zeros(width, np.int32)
        before, after = _sizes(
            self.symbols, self.every, unpack(weights), _CLASSES, *scratch, _SIZES
        )
        return bool(after <= before)

    def fitted(self) -> np.ndarray:
        """The best 28 weights, int8."""
        # axes that no class has decoded neighbours on stand alone, with a weight of zero
        a = np.where(_KNOWN[:, :, None] & _KNOWN[:, None, :], self.between, 0.0)
        size = np.einsum("cdd->c", a) / np.maximum(_KNOWN.sum(1), 1)
        a += (np.where(_KNOWN, _RIDGE * size[:, None], 1.0) + (size[:, None] <= 0))[
            ..., None
        ] * _ONE
        w = np.linalg.solve(a, np.where(_KNOWN, self.across, 0.0)[..., None])[..., 0]
        fitted: np.ndarray = w[PAIRS[:, 0], PAIRS[:, 1]]
        return np.clip(np.rint(fitted * (1 << BITS)), -127, 127).astype(np.int8)


@kernel()
def _left(
    between: np.ndarray, across: np.ndarray, own: np.ndarray, w: np.ndarray, out: np.ndarray
) -> None:
    for k in range(w.shape[0]):
        for c in range(8):
            total = own[c]
            for d in range(1, 8):
                if w[k, c, d] != 0:
                    within = -2 * across[c, d]
                    for e in range(1, 8):
                        within += between[c, d, e] * w[k, c, e]
                    total += w[k, c, d] * within
            out[k, c] = total


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
    between: np.ndarray, across: np.ndarray, own: np.ndarray, busy: np.ndarray,
    f: np.ndarray,
) -> None:  # fmt: skip
    inverse = 1.0 / step
    for c in range(8):
        for z in range(classes[c, 0], coefs.shape[0], 2):
            for y in range(classes[c, 1], coefs.shape[1], 2):
                if ((z >> 1) + 3 * (y >> 1)) % every:
                    continue
                for x in range(classes[c, 2], coefs.shape[2], 2):
                    size = 0.0
                    for d in range(1, 8):
                        s = 0
                        for a in range(-1 if d & 4 else 0, 2 if d & 4 else 1, 2):
                            for b in range(-1 if d & 2 else 0, 2 if d & 2 else 1, 2):
                                for e in range(-1 if d & 1 else 0, 2 if d & 1 else 1, 2):
                                    s += v[z + a + 1, y + b + 1, x + e + 1]
                        f[d] = s
                        size += abs(s)
                    if size == 0:
                        continue
                    r = coefs[z, y, x] * inverse
                    weight = 1.0 / (1.0 + abs(r) + size / 8)
                    weight *= weight
                    own[c] += weight * r * r
                    busy[c] += v[z + 1, y + 1, x + 1] != 0
                    for d in range(1, 8):
                        across[c, d] += weight * f[d] * r
                        for e in range(1, d + 1):
                            between[c, d, e] += weight * f[d] * f[e]


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


def moments(coefs: np.ndarray, step: int, brief: bool = False) -> Moments | None:
    """Moments of a band (int32) quantised by ``step``; None where hardly any is not zero.

    A ``brief`` look has fewer samples.
    """
    if coefs.size < _SMALLEST:
        return None
    samples = _BRIEF_SAMPLES if brief else _SAMPLES
    v = np.zeros(tuple(n + 2 for n in coefs.shape), np.int32)
    if _symbols(coefs, step, v) < _LEAST_GAIN:
        return None
    every = max(1, coefs.size // samples)
    out = Moments(np.zeros((8, 8, 8)), np.zeros((8, 8)), np.zeros(8), np.zeros(8), v, every)
    _moments(
        coefs, step, v, every, _CLASSES, out.between, out.across, out.own, out.busy, np.empty(8)
    )
    out.between += (out.between * _LOWER).transpose(0, 2, 1)
    out.busy *= every
    return out


def choose_weights(found: Moments | None, codebook: np.ndarray) -> tuple[int, np.ndarray]:
    """Code and 28 weights (int8) for a band with the moments ``found``.

    ``codebook``: int8 (K, 28) of the band. Weights of its own where these save their bytes.
    """
    nothing = NONE, np.zeros(COUNT, np.int8)
    if found is None:
        return nothing
    gains = found.saved(codebook)
    best = int(np.argmax(gains)) if gains.size else -1
    gain = float(gains[best]) if gains.size else 0.0
    price = max(gain, _LEAST_GAIN) + 1.2 * 8 * COUNT
    if found.busy.sum() > 2 * price:  # half a bit a symbol is more than weights save
        own = found.fitted()
        if found.saved(own) > price and found.shrinks(own):
            return OWN_WEIGHTS, own
    if gain > _LEAST_GAIN and found.shrinks(codebook[best]):
        return best + 1, codebook[best]
    return nothing

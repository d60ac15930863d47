"""What chooses a table: exact integer arithmetic from decoded symbols to table indices.

Everything that must agree on every machine is in this file. Features are integers below 256:
logarithms, by table look-up, of sums of magnitudes of symbols that are already decoded. A network
of three layers turns them into a table index; its weights and activations are integers held in
float32, and every sum of absolute products stays below 2**24 (checked when a model is loaded), so
any order of summation, any vector width and any device gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from ..transform.pyramid import BAND_ORDER, half_shape
from .expectation import BITS, CLASSES, expect_row, whole_of

# features of the own band, of the parent, of coarser values, of the expectation
OWN, PARENT, HINTS, EXPECTED = 5, 3, 2, 2
FIXED = OWN + PARENT + HINTS + EXPECTED  # these come first; two for each sibling band follow
FEATURES = FIXED + 2 * (len(BAND_ORDER) - 1)
NETS = 8 * len(CLASSES)
LEVEL_KINDS = 4  # levels 1, 2, 3 and the coarser ones have biases of their own
ACTIVATION = 255
EXACT = 1 << 24
_CLIP = 4095  # magnitudes and sums are clipped here
_BLOCK = 128

# floor(16 * log2(1 + s)): computed once with exact integers, (1 + s)**16 against powers of two
LOG = np.array([((1 + s) ** 16).bit_length() - 1 for s in range(_CLIP + 1)], dtype=np.uint8)


@dataclass
class LevelState:
    """Magnitudes (and their face sums) of the subbands of one level, as far as decoded.

    ``mag`` and ``faces``: uint16 (8, z + 2, y + 2, x + 2), a margin of zeros around each band.
    """

    mag: np.ndarray
    faces: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> LevelState:
        """For a level whose lifted array has ``shape`` (the level's input)."""
        z, y, x = half_shape(shape)
        full = (8, z + 2, y + 2, x + 2)
        return cls(np.zeros(full, np.uint16), np.zeros(full, np.uint16))

    def close_band(self, band: int, shape: tuple[int, int, int]) -> None:
        """Sum the faces of a band that is complete."""
        _face_sums(self.mag[band], self.faces[band], shape[0], shape[1], shape[2])


@numba.njit(cache=True, nogil=True)
def _face_sums(m: np.ndarray, out: np.ndarray, nz: int, ny: int, nx: int) -> None:
    for z in range(1, nz + 1):
        for y in range(1, ny + 1):
            for x in range(1, nx + 1):
                s = (
                    np.int32(m[z, y, x - 1]) + m[z, y, x + 1] + m[z, y - 1, x]
                    + m[z, y + 1, x] + m[z - 1, y, x] + m[z + 1, y, x]
                )  # fmt: skip
                out[z, y, x] = min(s, 4095)


@numba.njit(cache=True, nogil=True, inline="always")
def _gather(row: np.ndarray, at: np.ndarray, log: np.ndarray, out: np.ndarray) -> None:
    for t in range(at.size):
        out[t] = log[row[at[t]]]


@numba.njit(cache=True, nogil=True)
def features(
    mag: np.ndarray,
    faces: np.ndarray,
    parent_mag: np.ndarray,
    parent_faces: np.ndarray,
    hints: np.ndarray,
    band: int,
    before: np.ndarray,
    shape: tuple[int, int, int],
    offset: tuple[int, int, int],
    log: np.ndarray,
    symbols: np.ndarray,
    weights: np.ndarray,
    halved: int,
    out: np.ndarray,
    where: np.ndarray,
    expected: np.ndarray,
) -> int:
    """Features of the positions ``offset + 2 k`` of a band, in raster order.

    Positions whose features are all zero are left out: column ``j`` of ``out`` (uint8,
    (FEATURES, count)) belongs to position ``where[j]``. Returns the number of columns.
    Row by row: sums over whole rows first, then the logarithms at the positions that count.

    ``expected`` (int32, zero when given) takes the expectation of each position, by the class's
    ``weights`` (int32, 8) from the band's decoded ``symbols`` (int32, margin of one), which are in
    halves of a step where ``halved`` is 1.
    """
    nz, ny, nx = shape
    m = mag[band]
    has_parent = parent_mag.shape[1] > 2
    width = nx + 2
    half = (nx - offset[2] + 1) // 2
    sums = np.zeros((8, width), np.uint16)
    along, sides, ends, edges, corners, across, near, busy = sums
    at = np.empty(half, np.uint32)  # positions that count, in rows with a margin
    inner = np.empty(half, np.uint32)  # the same in rows without
    up = np.empty(half, np.uint32)  # the same in rows of the parent
    expects = weights.any()
    row = np.zeros(width, np.int32)
    partial = np.empty((3, width), np.int32)
    i = 0
    j = 0
    for z in range(offset[0] + 1, nz + 1, 2):
        for y in range(offset[1] + 1, ny + 1, 2):
            r, z0, z1, y0, y1 = m[z, y], m[z - 1, y], m[z + 1, y], m[z, y - 1], m[z, y + 1]
            d0, d1, d2, d3 = m[z - 1, y - 1], m[z - 1, y + 1], m[z + 1, y - 1], m[z + 1, y + 1]
            for x in range(width):
                ends[x] = z0[x] + z1[x]
                sides[x] = y0[x] + y1[x]
                across[x] = d0[x] + d1[x] + d2[x] + d3[x]
            h0, h1 = hints[0, z - 1, y - 1], hints[1, z - 1, y - 1]
            for x in range(1, width - 1):
                along[x] = r[x - 1] + r[x + 1]
                edges[x] = ends[x - 1] + ends[x + 1] + sides[x - 1] + sides[x + 1] + across[x]
                corners[x] = across[x - 1] + across[x + 1]
                busy[x] = along[x] | sides[x] | ends[x] | edges[x] | corners[x]
                busy[x] |= h0[x - 1] | h1[x - 1]
            for b in range(before.size):
                s0, s6 = mag[before[b], z, y], faces[before[b], z, y]
                for x in range(1, width - 1):
                    busy[x] |= s0[x] | s6[x]
            pz, py = (
                ((z - 1) >> 1) + 1 if has_parent else 0,
                ((y - 1) >> 1) + 1 if has_parent else 0,
            )
            p0, p6 = parent_mag[band, pz, py], parent_faces[band, pz, py]
            n = 0
            for k in range(half):
                x = 2 * k + offset[2] + 1
                any_ = busy[x]
                if has_parent:
                    any_ |= p0[k + 1] | p6[k + 1]
                at[n], inner[n], up[n] = x, x - 1, k + 1
                where[j + n] = i + k
                n += any_ != 0
            i += half
            if n == 0:
                continue
            for x in range(width):
                along[x] = min(along[x], _CLIP)
                sides[x] = min(sides[x], _CLIP)
                ends[x] = min(ends[x], _CLIP)
                edges[x] = min(edges[x], _CLIP)
                corners[x] = min(corners[x], _CLIP)
            last = j + n
            for f in range(OWN):
                _gather(sums[f], at[:n], log, out[f, j:last])
            if has_parent:
                py1 = parent_mag[band, pz, py + 1 - 2 * (y & 1)]
                pz1 = parent_mag[band, pz + 1 - 2 * (z & 1), py]
                px1 = 2 * offset[2]  # the neighbour on the side of this class
                for k in range(half):
                    near[k + 1] = min(p0[k + px1] + py1[k + 1] + pz1[k + 1], _CLIP)
                _gather(p0, up[:n], log, out[OWN, j:last])
                _gather(p6, up[:n], log, out[OWN + 1, j:last])
                _gather(near, up[:n], log, out[OWN + 2, j:last])
            else:
                out[OWN : OWN + PARENT, j:last] = 0
            _gather(h0, inner[:n], log, out[OWN + PARENT, j:last])
            _gather(h1, inner[:n], log, out[OWN + PARENT + 1, j:last])
            if expects:
                expect_row(symbols, z, y, weights, partial, row)
                for k in range(n):
                    e = row[at[k]] >> halved
                    expected[where[j + k]] = e
                    out[FIXED - 2, j + k] = log[min(abs(e), _CLIP)]
                    out[FIXED - 1, j + k] = abs(e - (whole_of(e) << BITS)) << 2
            else:
                out[FIXED - EXPECTED : FIXED, j:last] = 0
            for b in range(before.size):
                _gather(mag[before[b], z, y], at[:n], log, out[FIXED + 2 * b, j:last])
                _gather(faces[before[b], z, y], at[:n], log, out[FIXED + 2 * b + 1, j:last])
            j = last
    return j


# Contraction and reassociation are safe: every sum is exact in any order
_EXACT_SUMS = {"contract", "reassoc", "nnan", "ninf", "nsz"}


@numba.njit(cache=True, nogil=True, fastmath=_EXACT_SUMS)
def _layer(
    a: np.ndarray, used: int, w: np.ndarray, b: np.ndarray, scale: float, out: np.ndarray
) -> None:
    """``out[h] = clip(floor((w a + b) scale), 0, 255)``, two rows of ``w`` at a time."""
    full = used - used % 4
    for h in range(0, w.shape[0], 2):
        o0, o1 = out[h], out[h + 1]
        b0, b1 = b[h], b[h + 1]
        for v in range(_BLOCK):
            o0[v] = b0
            o1[v] = b1
        for f in range(0, full, 4):
            r0, r1, r2, r3 = a[f], a[f + 1], a[f + 2], a[f + 3]
            u0, u1, u2, u3 = w[h, f], w[h, f + 1], w[h, f + 2], w[h, f + 3]
            v0, v1, v2, v3 = w[h + 1, f], w[h + 1, f + 1], w[h + 1, f + 2], w[h + 1, f + 3]
            for v in range(_BLOCK):
                x0, x1, x2, x3 = r0[v], r1[v], r2[v], r3[v]
                o0[v] += u0 * x0 + u1 * x1 + u2 * x2 + u3 * x3
                o1[v] += v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3
        for f in range(full, used):
            row = a[f]
            wf0, wf1 = w[h, f], w[h + 1, f]
            for v in range(_BLOCK):
                o0[v] += wf0 * row[v]
                o1[v] += wf1 * row[v]
        for v in range(_BLOCK):
            t0 = np.floor(o0[v] * scale)
            t1 = np.floor(o1[v] * scale)
            o0[v] = min(max(t0, np.float32(0)), np.float32(ACTIVATION))
            o1[v] = min(max(t1, np.float32(0)), np.float32(ACTIVATION))


@numba.njit(cache=True, nogil=True, fastmath=_EXACT_SUMS)
def choose(
    x: np.ndarray,
    count: int,
    where: np.ndarray,
    used: int,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    w3: np.ndarray,
    b3: float,
    scales: np.ndarray,
    top: int,
    out: np.ndarray,
) -> None:
    """Table index for ``count`` columns of features, of which the first ``used`` rows count.

    ``out`` (uint8) at ``where[j]`` becomes the index of column ``j``. Weights are float32 holding
    integers, layers have even widths; ``scales`` are the powers of two that follow each layer.
    """
    h1 = w1.shape[0]
    h2 = w2.shape[0]
    a0 = np.zeros((w1.shape[1], _BLOCK), np.float32)
    a1 = np.empty((h1, _BLOCK), np.float32)
    a2 = np.empty((h2, _BLOCK), np.float32)
    acc = np.empty(_BLOCK, np.float32)
    for start in range(0, count, _BLOCK):
        n = min(_BLOCK, count - start)
        for f in range(used):
            row = a0[f]
            for v in range(n):
                row[v] = x[f, start + v]
        _layer(a0, used, w1, b1, scales[0], a1)
        _layer(a1, h1, w2, b2, scales[1], a2)
        for v in range(_BLOCK):
            acc[v] = b3
        for k in range(h2):
            w = w3[k]
            row = a2[k]
            for v in range(_BLOCK):
                acc[v] += w * row[v]
        for v in range(n):
            t = np.floor(acc[v] * scales[2])
            out[where[start + v]] = np.uint8(min(max(t, np.float32(0)), np.float32(top)))

"""What the restoration filter sees of a voxel: differences to its neighbours, and its activity.

All of it is integers, so that every machine restores the same values. See "Restoration" in
docs/format.md.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ..kernel import inlined, kernel

MARGIN: Final = 3
"""Voxels that the filter sees beyond its own, on each side; edges repeat there."""

PAIRS: Final = np.array(
    [
        (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2), (0, 2, 0), (2, 0, 0),
        (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
        (0, 0, 3), (0, 3, 0), (3, 0, 0),
    ],
    np.int64,
)  # fmt: skip
"""Offsets; each stands for itself and its opposite."""

LINEAR: Final = len(PAIRS)
FEATURES: Final = LINEAR + 3  # and sums of small differences: two of faces, one of edges
NEAR, FAR, EDGE = 64, 256, 128  # what the differences in these sums are cut to; a step is 256
CUT: Final = 1 << 15  # what all differences are cut to
BINS: Final = 46
"""Classes of activity: two in each octave."""


def padded(integers: np.ndarray) -> np.ndarray:
    """``integers`` (int32, (Z, Y, X)) with their edges repeated ``MARGIN`` times."""
    return np.pad(integers, MARGIN, mode="edge")


@inlined
def _cut(a: Any, b: Any, most: Any) -> Any:
    """The difference, modulo 2**32, within -most ... most."""
    return min(max(np.int32(a - b), -most), most)


@kernel
def _roughness(p: np.ndarray, out: np.ndarray) -> None:
    """Sum of the magnitudes of the second differences along the axes, at each voxel."""
    nz, ny, nx = out.shape
    cut = np.int32(CUT)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                c = p[z + 3, y + 3, x + 3]
                a = _cut(p[z + 3, y + 3, x + 2], c, cut) + _cut(p[z + 3, y + 3, x + 4], c, cut)
                b = _cut(p[z + 3, y + 2, x + 3], c, cut) + _cut(p[z + 3, y + 4, x + 3], c, cut)
                d = _cut(p[z + 2, y + 3, x + 3], c, cut) + _cut(p[z + 4, y + 3, x + 3], c, cut)
                out[z, y, x] = np.int32(abs(a) + abs(b) + abs(d))


@kernel
def _activity(r: np.ndarray, row: np.ndarray, out: np.ndarray) -> None:
    """Sum of ``r`` over 3 x 3 x 3 voxels, as float32: whole numbers below 2**24 are exact."""
    nz, ny, nx = r.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                row[x + 1] = 0
            for dz in range(-1, 2):
                zz = min(max(z + dz, 0), nz - 1)
                for dy in range(-1, 2):
                    yy = min(max(y + dy, 0), ny - 1)
                    for x in range(nx):
                        row[x + 1] += r[zz, yy, x]
            row[0], row[nx + 1] = row[1], row[nx]
            for x in range(nx):
                out[z, y, x] = np.float32(row[x] + row[x + 1] + row[x + 2])


def activity(p: np.ndarray) -> np.ndarray:
    """The class (int32) of each voxel of a tile that is ``padded``: floor(2 log2 of activity).

    Halves of an octave are cut where the mantissa is one half.
    """
    shape = tuple(n - 2 * MARGIN for n in p.shape)
    rough = np.empty(shape, np.int32)
    _roughness(p, rough)
    sums = np.empty(shape, np.float32)
    _activity(rough, np.empty(shape[2] + 2, np.int32), sums)
    bins = sums.view(np.int32)
    bins >>= 22
    bins -= 254
    return np.maximum(bins, 0, out=bins)


@inlined
def features(p: np.ndarray, z: Any, y: Any, out: np.ndarray) -> None:
    """The features (int32) of a row of voxels: out (FEATURES, nx)."""
    nx = out.shape[1]
    cut, near, far, edge = np.int32(CUT), np.int32(NEAR), np.int32(FAR), np.int32(EDGE)
    centre = p[z + 3, y + 3]
    for k in range(LINEAR, FEATURES):
        for x in range(nx):
            out[k, x] = 0
    for k in range(LINEAR):
        dz, dy, dx = PAIRS[k]
        one, two = p[z + 3 + dz, y + 3 + dy], p[z + 3 - dz, y + 3 - dy]
        for x in range(nx):
            c = centre[x + 3]
            a, b = _cut(one[x + 3 + dx], c, cut), _cut(two[x + 3 - dx], c, cut)
            out[k, x] = np.int32(a + b)
        if k < 3:
            for x in range(nx):
                c = centre[x + 3]
                a, b = _cut(one[x + 3 + dx], c, cut), _cut(two[x + 3 - dx], c, cut)
                out[LINEAR, x] += np.int32(min(max(a, -near), near) + min(max(b, -near), near))
                out[LINEAR + 1, x] += np.int32(min(max(a, -far), far) + min(max(b, -far), far))
        elif 6 <= k < 12:
            for x in range(nx):
                c = centre[x + 3]
                a, b = _cut(one[x + 3 + dx], c, cut), _cut(two[x + 3 - dx], c, cut)
                out[LINEAR + 2, x] += np.int32(min(max(a, -edge), edge) + min(max(b, -edge), edge))

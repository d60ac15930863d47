"""Classes of voxels by how rough their neighbourhood is, in integers."""

from __future__ import annotations

import numpy as np

from ..kernel import kernel
from .rows import LANES, roughness_block
from .taps import MARGIN


def padded(integers: np.ndarray) -> np.ndarray:
    """``integers`` ((Z, Y, X)) as int32, with their edges repeated ``MARGIN`` times.

    At the end of rows they are so more often, for X to become a multiple of ``LANES``.
    """
    sides = (MARGIN, MARGIN)
    ends = (MARGIN, MARGIN + -integers.shape[2] % LANES)
    return np.pad(np.ascontiguousarray(integers, np.int32), (sides, sides, ends), mode="edge")


def activity(p: np.ndarray, nx: int) -> np.ndarray:
    """The class of each voxel of a ``padded`` tile of ``nx`` columns: uint8, (Z, Y, columns).

    It is floor(2 log2 of activity), but at least 0, halves of an octave being cut where the
    mantissa is one half. Activity is the sum over 3 x 3 x 3 voxels of roughness: the magnitudes of
    second differences along the axes. The columns from ``nx`` on are those of no voxel.
    """
    nz, ny, columns = (n - 2 * MARGIN for n in p.shape)
    out = np.empty((nz, ny, columns), np.uint8)
    _classify(p, nx, np.zeros((3, ny, columns), np.int32), np.zeros(columns + 2, np.int32), out)
    return out


@kernel
def _classify(p: np.ndarray, nx: int, rough: np.ndarray, sums: np.ndarray, out: np.ndarray) -> None:
    """Roughness is kept of three slices: a slice is classified once the next one's is known."""
    nz, ny, columns = out.shape
    for ahead in range(nz + 1):
        if ahead < nz:
            for y in range(ny):
                for x in range(0, columns, LANES):
                    roughness_block(p, ahead, y, x, rough[ahead % 3, y])
        z = ahead - 1
        if z < 0:
            continue
        for y in range(ny):
            sums[:] = 0
            for zz in (max(z - 1, 0), z, min(z + 1, nz - 1)):
                for yy in (max(y - 1, 0), y, min(y + 1, ny - 1)):
                    _add(rough[zz % 3, yy], sums[1:-1])
            sums[0], sums[nx + 1] = sums[1], sums[nx]
            _bins(sums, out[z, y])


@kernel
def _add(row: np.ndarray, sums: np.ndarray) -> None:
    for x in range(row.size):
        sums[x] += row[x]


@kernel
def _bins(sums: np.ndarray, out: np.ndarray) -> None:
    """Classes of a row, by the bits of float32: sums are whole, and exact below 2**24."""
    for x in range(out.size):
        total = np.float32(np.int32(sums[x] + sums[x + 1] + sums[x + 2]))
        out[x] = max((total.view(np.int32) >> 22) - 254, 0)

"""What is told of a voxel by how rough its neighbourhood is, in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernel import kernel
from .rows import LANES, roughness_block
from .taps import MARGIN, PLANES


@dataclass(frozen=True)
class Seen:
    """A tile of ``nx`` columns as the filter sees it, with columns up to a multiple of ``LANES``.

    ``voxels``: int32, its edges repeated ``MARGIN`` times. ``bins``: classes of activity, uint8.
    ``sides``: bit k is set where of the diagonals of plane k the second is smoother, uint8.
    """

    voxels: np.ndarray
    bins: np.ndarray
    sides: np.ndarray
    nx: int

    @classmethod
    def of(cls, integers: np.ndarray) -> Seen:
        """Of integers ((Z, Y, X)).

        A bin is floor(2 log2 of activity), but at least 0, halves of an octave being cut where the
        mantissa is one half. Activity is the sum over 3 x 3 x 3 voxels of roughness: the magnitudes
        of second differences along the axes. By such sums diagonals are compared, too.
        """
        around, ends = (MARGIN, MARGIN), (MARGIN, MARGIN + -integers.shape[2] % LANES)
        whole = np.ascontiguousarray(integers, np.int32)
        p = np.pad(whole, (around, around, ends), mode="edge")
        nz, ny, columns = (n - 2 * MARGIN for n in p.shape)
        bins, sides = (np.empty((nz, ny, columns), np.uint8) for _ in range(2))
        rough = np.zeros((3, ny, 1 + PLANES, columns), np.int32)
        sums = np.zeros((1 + PLANES, columns + 2), np.int32)
        _classify(p, integers.shape[2], rough, sums, bins, sides)
        return cls(p, bins, sides, integers.shape[2])


@kernel
def _classify(
    p: np.ndarray, nx: int, rough: np.ndarray, sums: np.ndarray, bins: np.ndarray, sides: np.ndarray
) -> None:
    """Roughness is kept of three slices: a slice is classified once the next one's is known."""
    nz, ny, columns = bins.shape
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
                    for k in range(sums.shape[0]):
                        _add(rough[zz % 3, yy, k], sums[k, 1:-1])
            for k in range(sums.shape[0]):
                sums[k, 0], sums[k, nx + 1] = sums[k, 1], sums[k, nx]
            _bins(sums[0], bins[z, y])
            _sides(sums[1], sums[2], sums[3], sides[z, y])


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


@kernel
def _sides(a: np.ndarray, b: np.ndarray, c: np.ndarray, out: np.ndarray) -> None:
    """Where sums of what first diagonals are rougher by than second ones are positive."""
    for x in range(out.size):
        first = np.int32(a[x] + a[x + 1] + a[x + 2]) > 0
        second = np.int32(b[x] + b[x + 1] + b[x + 2]) > 0
        third = np.int32(c[x] + c[x + 1] + c[x + 2]) > 0
        out[x] = np.uint8(first) | np.uint8(second) << 1 | np.uint8(third) << 2

"""What a voxel of a mask sees: the rows before it and the blocks ahead, as contexts.

A mask is kept as a bit array: rows of bytes, eight voxels of x to a byte, the first in the lowest
bit, with two slices before the first, three rows and one byte on either side. A window is 24 bits
of a row: the byte of the voxel and its two neighbours.
"""

from __future__ import annotations

import numba
import numpy as np

from .binary import Int

MIXED = 2
"""Class of a block with both values; blocks past the end count as mixed where they lie ahead."""

BEFORE, BESIDE = 2, 3  # slices, rows

# Rows seen from the current voxel, in the order of the windows: (dz, dy).
_ROWS = np.array(
    [(0, 0), (0, -1), (0, -2)]
    + [(-1, dy) for dy in range(-3, 4)]
    + [(-2, dy) for dy in range(-2, 3)]
)

FAR = np.array([0, 1, 2, 3, 3, 4, 4, 4, 4], np.int64)
"""Distance to the next block, in four steps."""


@numba.njit(cache=True, nogil=True)
def look(bits: np.ndarray, z: int, y: int, c: int, windows: np.ndarray) -> None:
    """Fill the 15 windows: 24 bits of each row in sight, voxel 0 of byte c at bit 8."""
    for i in range(15):
        row = bits[z + BEFORE + _ROWS[i, 0], y + BESIDE + _ROWS[i, 1]]
        windows[i] = np.int64(row[c]) | np.int64(row[c + 1]) << 8 | np.int64(row[c + 2]) << 16
    for i in range(3, 15):
        if z == 0:  # nothing above yet: the rows before stand in
            windows[i] = windows[1 if i < 10 else 2]
        elif z == 1 and i >= 10:
            windows[i] = windows[i - 6]


@numba.njit(cache=True, nogil=True)
def ahead_of(classes: np.ndarray, z: int, y: int, c: int) -> Int:
    """What is known of the next blocks on z and y: 81 cases."""
    k = np.int64(0)
    kind = np.int64(classes[z // 8 + 2, y // 8 + 1, c + 1])
    if kind < MIXED:
        k = (kind * 4 + FAR[8 - z % 8]) * 9
    kind = np.int64(classes[z // 8 + 1, y // 8 + 2, c + 1])
    if kind < MIXED:
        k += kind * 4 + FAR[8 - y % 8]
    return k


@numba.njit(cache=True, nogil=True)
def near(w: np.ndarray, j: Int, two: Int) -> Int:
    """The six nearest voxels before bit j (two: those of its own row): selector of the weights."""
    return two >> 1 | (w[1] >> j & 3) << 1 | (w[6] >> j & 3) << 3 | (w[7] >> j & 1) << 5


@numba.njit(cache=True, nogil=True)
def around(w: np.ndarray, j: Int, two: Int) -> Int:
    """Fourteen neighbours: two, three of the row before, nine of the slice before."""
    i = j - 1
    return (
        two
        | (w[1] >> i & 7) << 2
        | (w[6] >> i & 7) << 5
        | (w[5] >> i & 7) << 8
        | (w[7] >> i & 7) << 11
    )


@numba.njit(cache=True, nogil=True)
def column(w: np.ndarray, j: Int, two: Int) -> Int:
    """Fifteen neighbours: two, and those of the same x in the rows and slices before."""
    return (
        two
        | (w[1] >> j & 1) << 2
        | (w[3] >> j & 1) << 3
        | (w[4] >> j & 1) << 4
        | (w[5] >> j & 1) << 5
        | (w[6] >> j & 1) << 6
        | (w[7] >> j & 1) << 7
        | (w[8] >> j & 1) << 8
        | (w[9] >> j & 1) << 9
        | (w[10] >> j & 1) << 10
        | (w[11] >> j & 1) << 11
        | (w[12] >> j & 1) << 12
        | (w[13] >> j & 1) << 13
        | (w[14] >> j & 1) << 14
    )


@numba.njit(cache=True, nogil=True)
def wide(w: np.ndarray, j: Int, two: Int) -> Int:
    """Sixteen neighbours, two steps apart for the most part."""
    i = j - 2
    return (
        two
        | (w[1] >> i & 1) << 2
        | (w[1] >> j & 1) << 3
        | (w[1] >> (j + 2) & 1) << 4
        | (w[6] >> i & 1) << 5
        | (w[6] >> j & 1) << 6
        | (w[6] >> (j + 2) & 1) << 7
        | (w[8] >> j & 1) << 8
        | (w[4] >> j & 1) << 9
        | (w[12] >> j & 7) << 10
        | (w[13] >> j & 1) << 13
        | (w[2] >> j & 1) << 14
        | (w[8] >> (j + 2) & 1) << 15
    )

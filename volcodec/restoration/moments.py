"""What a filter is fitted to: sums of products of features and errors, by class of activity.

Sums are of integers, and so the same in any order. What is seen of voxels is put together by their
class first, so that the sums run over voxels side by side.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..kernel import kernel
from .activity import Seen
from .rows import LANES, feature_block
from .taps import BINS, FEATURES, MARGIN

WIDTH: Final = FEATURES + 1 + (FEATURES + 1) % 2  # features, the error, a zero up to an even number
ERROR: Final = FEATURES
_SAMPLES: Final = 1 << 18  # voxels, about, that a filter is fitted to
_BLOCK: Final = 128  # voxels of a class that are summed at once
_CUT: Final = 1 << 26  # of errors: sums of their squares in a block stay below 2**63


def moments(original: np.ndarray, seen: Seen, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments (float64, (BINS, WIDTH, WIDTH)) and how many voxels are seen of each class (int64).

    Of ``original`` (int32, (Z, Y, X)) and what is ``seen`` decoded of it, except where ``hidden``
    (bool). Large tiles are seen in part, for which moments make up.
    """
    rows = original.shape[0] * original.shape[1]
    every = max(1, min(rows, original.size // _SAMPLES))
    sums = np.zeros((BINS, WIDTH, WIDTH))
    counts = np.zeros(BINS, np.int64)
    block = np.zeros((BINS, WIDTH, _BLOCK), np.int32)
    room = np.zeros((FEATURES, seen.bins.shape[2]), np.int32)
    _sum(seen.voxels, seen.bins, seen.sides, original, hidden, every, room, block, sums, counts)
    upper = np.triu(sums) * every
    return upper + np.triu(upper, 1).transpose(0, 2, 1), counts


@kernel
def _sum(
    p: np.ndarray, bins: np.ndarray, sides: np.ndarray, original: np.ndarray, hidden: np.ndarray,
    every: int, room: np.ndarray, seen: np.ndarray, sums: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """Add the moments of every so many rows' voxels to the upper triangles of ``sums``."""
    nz, ny, nx = original.shape
    for row in range(every // 2, nz * ny, every):
        z, y = row // ny, row % ny
        classes, masked, wanted = bins[z, y], hidden[z, y], original[z, y]
        centre = p[z + MARGIN, y + MARGIN, MARGIN:]
        for x in range(0, classes.size, LANES):
            feature_block(p, z, y, x, sides, room)
        for x in range(nx):
            b = classes[x]
            if b == 0 or masked[x]:
                continue
            into, n = seen[b], counts[b] % _BLOCK
            for k in range(FEATURES):
                into[k, n] = room[k, x]
            error = np.int64(wanted[x]) - np.int64(centre[x])
            into[ERROR, n] = min(max(error, -_CUT), _CUT)
            counts[b] += 1
            if n == _BLOCK - 1:
                _add(into, _BLOCK, sums[b])
    for b in range(counts.size):
        _add(seen[b], counts[b] % _BLOCK, sums[b])


@kernel
def _add(seen: np.ndarray, n: int, sums: np.ndarray) -> None:
    """Add the products of all rows of ``seen``, summed over its first ``n`` voxels."""
    for j in range(0, WIDTH, 2):
        for k in range(j, WIDTH, 2):
            _add_four(seen[j], seen[j + 1], seen[k], seen[k + 1], n, sums[j, k:], sums[j + 1, k:])


@kernel
def _add_four(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, n: int,
    first: np.ndarray, second: np.ndarray,
) -> None:  # fmt: skip
    """Add the products of two rows with two others, the fewest loads a product."""
    ac = ad = bc = bd = np.int64(0)
    for i in range(n):
        one, two = np.int64(a[i]), np.int64(b[i])
        ac += one * np.int64(c[i])
        ad += one * np.int64(d[i])
        bc += two * np.int64(c[i])
        bd += two * np.int64(d[i])
    first[0] += ac
    first[1] += ad
    second[0] += bc
    second[1] += bd

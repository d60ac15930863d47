"""What the closed loop makes of a band, row by row: predictions, what they leave, values again."""

from __future__ import annotations

import numpy as np

from ..kernel import kernel
from .rows import (
    LANES,
    NARROW_LANES,
    SLACK,
    predict_block,
    predict_narrow,
    rebuild_block,
    residual_block,
)

Shape = tuple[int, int, int]


def roomy(shape: Shape) -> np.ndarray:
    """An array (int32) amid memory that vectors may reach into."""
    size = shape[0] * shape[1] * shape[2]
    return np.empty(size + 2 * SLACK, np.int32)[SLACK : SLACK + size].reshape(shape)


@kernel()
def predict(
    r: np.ndarray, band: int, step: int, narrow: bool, p: np.ndarray, hints: np.ndarray
) -> None:
    """Interpolate a band from the decoded positions of a level, with hints in steps.

    Along each axis that the band is high on, cubic where four neighbours exist, else linear, else
    the neighbour itself; then the mean over the axes. Hints: how far the axes disagree (for one
    axis, cubic and linear), and the differences across the position. ``r`` is roomy; ``narrow``:
    whether its values are all below NARROW.
    """
    inverse = 1.0 / step
    for z in range(p.shape[0]):
        for y in range(p.shape[1]):
            begin = 0
            if narrow:
                while begin + NARROW_LANES <= p.shape[2]:
                    predict_narrow(r, band, z, y, begin, step, inverse, p, hints)
                    begin += NARROW_LANES
            for first in range(begin, p.shape[2], LANES):
                predict_block(r, band, z, y, first, step, inverse, p, hints)


@kernel()
def residuals(tile: np.ndarray, p: np.ndarray, oz: int, oy: int, ox: int, out: np.ndarray) -> None:
    """What predictions leave of every other voxel of a contiguous ``tile`` from an offset on."""
    for z in range(p.shape[0]):
        for y in range(p.shape[1]):
            at = ((2 * z + oz) * tile.shape[1] + 2 * y + oy) * tile.shape[2] + ox
            begin = 0
            while (
                begin + NARROW_LANES <= p.shape[2] and at + 2 * (begin + NARROW_LANES) <= tile.size
            ):
                residual_block(tile, at + 2 * begin, p, z, y, begin, out)
                begin += NARROW_LANES
            for x in range(begin, p.shape[2]):
                out[z, y, x] = np.int32(
                    np.int64(tile[2 * z + oz, 2 * y + oy, 2 * x + ox]) - np.int64(p[z, y, x])
                )


@kernel()
def keep(p: np.ndarray, least: int, most: int) -> None:
    """Bring predictions within limits."""
    for i in range(p.size):
        p[i] = max(least, min(p[i], most))


@kernel()
def rebuild(
    p: np.ndarray, q: np.ndarray, step: int, band: int, stride: int, out: np.ndarray
) -> int:
    """What is predicted and ``step`` times ``q``, to where a band lies in ``out``: at its offset,
    ``stride`` apart, 2 where ``out`` is roomy. Bits of which the highest is the largest value's.
    """
    bits = np.int64(0)
    oz, oy, ox = band >> 2 & 1, band >> 1 & 1, band & 1
    for z in range(p.shape[0]):
        for y in range(p.shape[1]):
            begin = 0
            if stride == 2:
                while begin + NARROW_LANES <= p.shape[2]:
                    bits |= rebuild_block(p, q, step, z, y, begin, out, oz, oy, ox)
                    begin += NARROW_LANES
            here, there, to = p[z, y], q[z, y], out[stride * z + oz, stride * y + oy]
            for x in range(begin, here.size):
                value = np.int32(np.int64(here[x]) + step * np.int64(there[x]))
                to[stride * x + ox] = value
                bits |= value ^ (value >> 31)
    return bits

"""Which voxels around one that is coded are decoded already, nearest first.

A level is a grid of voxels, of which those at even places are known from the level above. The
others come band by band (a band holds the places of one parity on each axis), and within a band in
raster order. What is known around a voxel is therefore the same all over a band.
"""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np

from ..transform.pyramid import BAND_ORDER

TAPS = 48
REACH = 4
_ORDER = (0, *BAND_ORDER)


@cache
def stencil(band: int, apart: int) -> np.ndarray:
    """What is known around a voxel of a band: int64 (taps, 5).

    Rows are nearest first (ties: the band decoded first, then raster order backwards): how far off
    on z, y, x; whether in the same band; and 100 over the distance, cut to an integer. ``apart``:
    voxels between neighbours of the band, 2, or 1 for the low band of the coarsest level, of which
    nothing but what comes before in raster order is known.
    """
    mine = tuple(band >> axis & 1 for axis in (2, 1, 0))
    found = []
    span = range(-REACH, REACH + 1)
    for off in ((z, y, x) for z in span for y in span for x in span):
        to = sum(
            ((m + d) & (apart - 1)) << axis for m, d, axis in zip(mine, off, (2, 1, 0), strict=True)
        )
        own = to == band
        if (own and off < (0, 0, 0)) or (not own and _ORDER.index(to) < _ORDER.index(band)):
            square = sum(d * d for d in off)
            back = tuple(-d for d in off)
            found.append((square, _ORDER.index(to), back, (*off, int(own), isqrt(10000 // square))))
    found.sort()
    out = np.array([row for *_, row in found[:TAPS]], np.int64)
    out.setflags(write=False)
    return out

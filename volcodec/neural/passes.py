"""The passes in which a level is decoded, and what is known around a voxel in each of them.

A level is a grid of voxels, of which those at even places are known from the level above. The
others come band by band (a band holds the places of one parity on each axis), and a band in eight
phases, again by parity, so that what is known around a voxel is the same all over a pass, and no
voxel of a pass depends on another: a pass is decoded at once (as by Reed et al. 2017).
"""

from __future__ import annotations

import itertools

import numpy as np

from ..transform.pyramid import BAND_ORDER

REACH = 3
TAPS = 64  # most voxels that are looked at
# of a band's places, halved: what is odd along z, y, x
PHASES = (
    (0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1),
)  # fmt: skip
PASSES = len(BAND_ORDER) * len(PHASES)
Place = tuple[int, int, int]


def _offsets() -> np.ndarray:
    """Around a voxel: a cube of 5 a side, and three steps along each axis, nearest first."""
    near = [o for o in itertools.product(range(-2, 3), repeat=3) if any(o)]
    far = [tuple(s * REACH * (a == axis) for a in range(3)) for axis in range(3) for s in (-1, 1)]
    found = sorted([*near, *far], key=lambda o: (sum(d * d for d in o), o))
    return np.array(found, np.int64)


OFFSETS = _offsets()
COUNT = len(OFFSETS)
# how much an offset counts where the neighbourhood's mean and spread are taken
NEARNESS = (1.0 / (OFFSETS**2).sum(1) ** 1.5).astype(np.float32)


def place_of(index: int) -> Place:
    """Where a pass begins, its voxels being 4 apart on each axis."""
    band, phase = BAND_ORDER[index // len(PHASES)], PHASES[index % len(PHASES)]
    z, y, x = ((band >> s & 1) + 2 * p for s, p in zip((2, 1, 0), phase, strict=True))
    return z, y, x


def _order() -> np.ndarray:
    """The pass (int64) of a place of a level, by its remainders of 4; -1: known beforehand."""
    out = np.full((4, 4, 4), -1, np.int64)
    for index in range(PASSES):
        out[place_of(index)] = index
    return out


ORDER = _order()


def taps_of(index: int) -> np.ndarray:
    """The numbers of the offsets (int64) that are known in a pass, nearest first."""
    at = (np.array(place_of(index)) + OFFSETS) & 3
    return np.flatnonzero(ORDER[tuple(at.T)] < index)[:TAPS]


KNOWN = [taps_of(index) for index in range(PASSES)]

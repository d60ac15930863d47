"""What the restoration filter sees of a voxel: the places of its neighbours, and its limits.

See "Restoration" in docs/format.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np

MARGIN: Final = 4
"""Voxels that the filter sees beyond its own, on each side; edges repeat there."""

PAIRS: Final = np.array(
    [
        (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2), (0, 2, 0), (2, 0, 0),
        (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
        (0, 0, 3), (0, 3, 0), (3, 0, 0), (0, 0, 4), (0, 4, 0), (4, 0, 0),
    ],
    np.int64,
)  # fmt: skip
"""Offsets; each stands for itself and its opposite, and makes the sum of both differences."""

OWN: Final = 15
"""So many pairs are features; all have a part in sums."""

FACES, SECOND, THIRD, FOURTH = range(3), range(3, 6), range(12, 15), range(15, 18)
"""Pairs along axes, at distances 1 to 4."""

EDGES: Final = range(6, 12)
"""Pairs along diagonals, two of each plane."""

CUT: Final = 1 << 15
"""What all differences are cut to."""

SUMS: Final = (
    (FACES, 64), (FACES, 256), (EDGES, 128), (EDGES, 400), (SECOND, 64), (THIRD, 128),
    (FOURTH, CUT),
)  # fmt: skip
"""The features after those: sums of pairs, whose differences are cut to so much."""

PLANES: Final = 3

FEATURES: Final = OWN + len(SUMS) + 1
"""Pairs, sums, and the sum over planes of the smoother diagonal's pair."""

SHORT: Final = 18
"""Features that filters of the short form have weights for."""

STEP: Final = 256
"""A step of the quantiser, in integers."""

BINS: Final = 46
"""Classes of activity: two in each octave."""

SHIFT: Final = 8
"""Weights are applied in multiples of 2**-SHIFT."""

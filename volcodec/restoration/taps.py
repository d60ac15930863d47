"""What the restoration filter sees of a voxel: the places of its neighbours, and its limits.

See "Restoration" in docs/format.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np

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
"""Offsets; each stands for itself and its opposite. A feature is the sum of both differences."""

FACES: Final = range(3)
EDGES: Final = range(6, 12)
"""The nearest pairs along axes and along diagonals of two."""

FEATURES: Final = len(PAIRS) + 3
"""Pairs, and sums of small differences: two of faces, one of edges."""

STEP: Final = 256
"""A step of the quantiser, in integers."""

NEAR, FAR, EDGE = 64, 256, 128
"""What the differences in these sums are cut to."""

CUT: Final = 1 << 15
"""What all differences are cut to."""

BINS: Final = 46
"""Classes of activity: two in each octave."""

SHIFT: Final = 8
"""Weights are applied in multiples of 2**-SHIFT."""

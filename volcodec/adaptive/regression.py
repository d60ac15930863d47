"""Linear prediction whose weights are fitted, by weighted least squares, to what is decoded.

Moments of neighbours and voxel are gathered as voxels are decoded, older ones fading; every so
often the normal equations are solved anew. Floats are float64, and every sum is made in the order
of the loops that are written here: the same on every machine.
"""

from __future__ import annotations

import numpy as np

from ..kernel import kernel

RIDGE = 1e-2
_RIDGE_SHARE = 1e-6  # of the first moment


@kernel()
def gather(
    near: np.ndarray, value: float, weight: float, gram: np.ndarray, cross: np.ndarray
) -> None:
    """Add a voxel to the moments: ``gram`` (lower triangle, of neighbours), ``cross`` (with it)."""
    for i in range(cross.size):
        part = near[i] * weight
        if part != 0:
            row = gram[i]
            for j in range(i + 1):
                row[j] += part * near[j]
            cross[i] += part * value


@kernel()
def fade(gram: np.ndarray, cross: np.ndarray, factor: float) -> None:
    """Make what was gathered weigh less."""
    for i in range(cross.size):
        row = gram[i]
        for j in range(i + 1):
            row[j] *= factor
        cross[i] *= factor


@kernel()
def solve(
    gram: np.ndarray, cross: np.ndarray, lower: np.ndarray, found: np.ndarray, taps: np.ndarray
) -> bool:
    """Weights into ``taps``, by Cholesky; False, and they stay, where the moments don't allow it.

    ``lower`` (n, n) and ``found`` (n) are scratch.
    """
    n = cross.size
    ridge = RIDGE + RIDGE * _RIDGE_SHARE * gram[0, 0]
    for i in range(n):
        for j in range(i + 1):
            lower[j, i] = gram[i, j]  # transposed: its rows are what is subtracted below
        lower[i, i] += ridge
    for k in range(n):
        pivot = lower[k, k]
        if not pivot > 1e-12:
            return False
        row = lower[k]
        inverse = 1.0 / np.sqrt(pivot)
        for j in range(k, n):
            row[j] *= inverse
        for i in range(k + 1, n):
            factor = row[i]
            to = lower[i]
            for j in range(i, n):
                to[j] -= factor * row[j]
    for i in range(n):
        found[i] = cross[i]
    for i in range(n):
        row = lower[i]
        found[i] /= row[i]
        for j in range(i + 1, n):
            found[j] -= row[j] * found[i]
    for i in range(n - 1, -1, -1):
        row = lower[i]
        left = found[i]
        for k in range(i + 1, n):
            left -= row[k] * found[k]
        found[i] = left / row[i]
        if not abs(found[i]) < 1e6:
            return False
    for i in range(n):
        taps[i] = found[i]
    return True

"""Fill what is unknown with a smooth extension of what is known, so that a wavelet sees no cliff.

Only the encoder does this: the decoder throws the filled voxels away. A pyramid of means gives
every unknown voxel a first value from the nearest scale that knows one; at each scale on the way
back a few sweeps of successive over-relaxation bring it near the harmonic (membrane) extension.
"""

from __future__ import annotations

import numba
import numpy as np

_COARSE_SWEEPS = 12
_FINE_SWEEPS = 3  # more gain less than 0.2 % of the bits behind it
_OVER = 1.4


@numba.njit(cache=True, nogil=True)
def _pull(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the known voxels of each 2 x 2 x 2 cell, and which cells have one."""
    nz, ny, nx = values.shape
    shape = ((nz + 1) // 2, (ny + 1) // 2, (nx + 1) // 2)
    real = values.dtype.type
    means = np.zeros(shape, values.dtype)
    has = np.zeros(shape, np.bool_)
    for a in range(shape[0]):
        for b in range(shape[1]):
            for c in range(shape[2]):
                total = real(0)
                n = 0
                for z in range(2 * a, min(2 * a + 2, nz)):
                    for y in range(2 * b, min(2 * b + 2, ny)):
                        for x in range(2 * c, min(2 * c + 2, nx)):
                            if known[z, y, x]:
                                total += values[z, y, x]
                                n += 1
                if n:
                    means[a, b, c] = total / real(n)
                    has[a, b, c] = True
    return means, has


@numba.njit(cache=True, nogil=True)
def _beside(i: int, n: int) -> int:
    """The second nearest of n coarse cells to fine voxel i."""
    return min(max((i >> 1) + (1 if i & 1 else -1), 0), n - 1)


@numba.njit(cache=True, nogil=True)
def _push(values: np.ndarray, known: np.ndarray, coarse: np.ndarray) -> None:
    """Give unknown voxels the trilinear interpolation of the scale above."""
    nz, ny, nx = values.shape
    real = values.dtype.type
    w3, w2, w1, w0 = real(27 / 64), real(9 / 64), real(3 / 64), real(1 / 64)
    for z in range(nz):
        a, a2 = z >> 1, _beside(z, coarse.shape[0])
        for y in range(ny):
            b, b2 = y >> 1, _beside(y, coarse.shape[1])
            for x in range(nx):
                if known[z, y, x]:
                    continue
                c, c2 = x >> 1, _beside(x, coarse.shape[2])
                values[z, y, x] = (
                    w3 * coarse[a, b, c]
                    + w2 * (coarse[a2, b, c] + coarse[a, b2, c] + coarse[a, b, c2])
                    + w1 * (coarse[a2, b2, c] + coarse[a2, b, c2] + coarse[a, b2, c2])
                    + w0 * coarse[a2, b2, c2]
                )


@numba.njit(cache=True, nogil=True)
def _relax(values: np.ndarray, known: np.ndarray, sweeps: int) -> None:
    """Move unknown voxels towards the mean of their neighbours, back and forth through the tile."""
    nz, ny, nx = values.shape
    real = values.dtype.type
    over = real(_OVER)
    for sweep in range(sweeps):
        back = sweep % 2 == 1
        for k in range(nz):
            z = nz - 1 - k if back else k
            for j in range(ny):
                y = ny - 1 - j if back else j
                for i in range(nx):
                    x = nx - 1 - i if back else i
                    if known[z, y, x]:
                        continue
                    total = real(0)
                    n = 0
                    if z > 0:
                        total += values[z - 1, y, x]
                        n += 1
                    if z < nz - 1:
                        total += values[z + 1, y, x]
                        n += 1
                    if y > 0:
                        total += values[z, y - 1, x]
                        n += 1
                    if y < ny - 1:
                        total += values[z, y + 1, x]
                        n += 1
                    if x > 0:
                        total += values[z, y, x - 1]
                        n += 1
                    if x < nx - 1:
                        total += values[z, y, x + 1]
                        n += 1
                    if n:
                        values[z, y, x] += over * (total / real(n) - values[z, y, x])


def fill(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Replace unknown voxels by a smooth extension of the known ones.

    ``values`` is float32 or float64 of shape (Z, Y, X), ``known`` bool of the same shape. Known
    values must be finite and come back unchanged; unknown ones are never read and become values
    within the range of the known ones, or zero when nothing is known.
    """
    dtype = values.dtype.newbyteorder("=")
    if dtype not in (np.float32, np.float64) or values.shape != known.shape:
        raise ValueError("fill takes float32 or float64 and a mask of the same shape")
    if values.ndim != 3 or known.dtype != np.bool_:
        raise ValueError("fill takes a three-dimensional volume and a bool mask")
    filled = np.ascontiguousarray(np.where(known, values, 0), dtype)
    if known.all() or not known.any():
        return filled
    bottom = values.min(where=known, initial=np.inf)
    top = values.max(where=known, initial=-np.inf)
    # Sums of a few voxels must not overflow; a power of two loses nothing where that matters.
    large = max(abs(float(bottom)), abs(float(top))) > float(np.finfo(dtype).max) / 64
    if large:
        filled *= dtype.type(2.0**-6)
    scales = [(filled, np.ascontiguousarray(known))]
    while not scales[-1][1].all():
        scales.append(_pull(*scales[-1]))
    for (fine, has), (coarse, _) in zip(scales[-2::-1], scales[:0:-1], strict=True):
        _push(fine, has, coarse)
        _relax(fine, has, _FINE_SWEEPS if fine is filled else _COARSE_SWEEPS)
    if large:
        filled *= dtype.type(2.0**6)
    np.clip(filled, bottom, top, out=filled)
    return np.where(known, values, filled).astype(dtype, copy=False)

"""What a tile takes from the same tile of the frame before: a shift by voxels, and a weight."""

from __future__ import annotations

from itertools import product

import numba
import numpy as np

from .values import Mapping, to_ordered

REACH = 2  # voxels that a tile is searched to have moved along each axis
WEIGHTS = 16  # weights are integers over this
_EVERY = 3  # of the voxels along each axis are compared
Shift = tuple[int, int, int]


@numba.njit(cache=True, nogil=True)
def _differences(a: np.ndarray, b: np.ndarray, shifts: np.ndarray, out: np.ndarray) -> None:
    """Sums of absolute differences between ``a`` and ``b`` moved by each of ``shifts``."""
    nz, ny, nx = a.shape
    for z in range(0, nz, _EVERY):
        for y in range(0, ny, _EVERY):
            for x in range(0, nx, _EVERY):
                here = a[z, y, x]
                for i in range(shifts.shape[0]):
                    u = min(max(z - shifts[i, 0], 0), nz - 1)
                    v = min(max(y - shifts[i, 1], 0), ny - 1)
                    w = min(max(x - shifts[i, 2], 0), nx - 1)
                    out[i] += abs(here - b[u, v, w])


def moved(values: np.ndarray, shift: Shift) -> np.ndarray:
    """``values`` moved by ``shift``; what comes in from outside is the border repeated."""
    for axis, d in enumerate(shift):
        if d:
            n = values.shape[axis]
            values = np.take(values, np.clip(np.arange(n) - d, 0, n - 1), axis=axis)
    return values


def match(values: np.ndarray, before: np.ndarray) -> tuple[Shift, int]:
    """Shift and weight by which ``before`` resembles ``values`` most; weight 0 where it does not.

    Both are of one shape (Z, Y, X); NaN and infinities count as 0. The weight is that of the
    differences between neighbours, which are what costs bits.
    """
    a, b = (
        np.nan_to_num(v.astype(np.float64, order="C"), nan=0.0, posinf=0.0, neginf=0.0)
        for v in (values, before)
    )
    span = range(-REACH, REACH + 1)
    shifts = np.array(sorted(product(span, span, span), key=lambda d: sum(map(abs, d))))
    found = np.zeros(len(shifts))
    _differences(a, b, shifts, found)
    best: Shift = tuple(int(d) for d in shifts[int(np.argmin(found))])  # type: ignore[assignment]
    b = moved(b, best)
    across = within = 0.0
    for axis in range(3):
        da, db = np.diff(a, axis=axis).reshape(-1), np.diff(b, axis=axis).reshape(-1)
        across += float(np.dot(da, db))
        within += float(np.dot(db, db))
    if not within > 0 or not np.isfinite(across):
        return best, 0
    return best, int(np.clip(np.rint(WEIGHTS * across / within), 0, WEIGHTS))


def base(
    before: np.ndarray, shift: Shift, weight: int, m: Mapping, unit: float
) -> np.ndarray | None:
    """What ``before`` (decoded values) lets expect, as integers (int32) in ``unit``.

    None where they leave the range of integers. NaN and infinities count as the origin.
    """
    if before.dtype.kind == "f" and m.domain != "bits":
        before = np.where(np.isfinite(before), before, before.dtype.type(m.origin))
    integers: np.ndarray | None
    if m.domain == "bits":
        narrow = before.astype(np.float32) if before.dtype == np.float64 else before
        integers = to_ordered(np.ascontiguousarray(narrow))
    else:
        integers = m.to_integers(np.ascontiguousarray(before), unit)
    if integers is None:
        return None
    return (moved(integers, shift).astype(np.int64) * weight // WEIGHTS).astype(np.int32)

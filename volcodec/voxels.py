"""Single passes over the voxels of a tile: what is hidden, what spread is left, what was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True)
class Look:
    """What a tile holds.

    ``special``: NaN and infinities; ``masked``: the background, where it is kept exactly;
    ``hidden``: either (all bool, the tile's shape). ``visible`` voxels are the others: their
    number, least and greatest value, and the place of the first in C order.
    """

    special: np.ndarray
    masked: np.ndarray
    hidden: np.ndarray
    any_special: bool
    any_masked: bool
    visible: int
    low: float
    high: float
    first: int


def plain(values: np.ndarray) -> np.ndarray:
    """Flat view of ``values`` (C order) in a dtype that kernels know: float16 as float32."""
    return (values.astype(np.float32) if values.dtype == np.float16 else values).reshape(-1)


def look(values: np.ndarray, background: float | None, *, specials: bool) -> Look:
    """Look at ``values`` (C order).

    A ``background`` of None masks nothing; without ``specials`` no value is special.
    """
    special, masked, hidden = (np.zeros(values.shape, bool) for _ in range(3))
    found = _look(
        plain(values), specials and values.dtype.kind == "f", background is not None,
        float(background or 0.0),
        special.reshape(-1), masked.reshape(-1), hidden.reshape(-1),
    )  # fmt: skip
    odd, equal, low, high, first = found
    visible = values.size - odd - equal
    return Look(special, masked, hidden, odd > 0, equal > 0, visible, low, high, first)


@numba.njit(cache=True, nogil=True)
def _look(
    values: np.ndarray, is_float: bool, exact: bool, background: float,
    special: np.ndarray, masked: np.ndarray, hidden: np.ndarray,
) -> tuple[int, int, float, float, int]:  # fmt: skip
    specials = backgrounds = 0
    low, high = np.inf, -np.inf
    first = -1
    for i in range(values.size):
        v = np.float64(values[i])
        if is_float and not np.isfinite(v):
            special[i] = hidden[i] = True
            specials += 1
        elif exact and v == background:
            masked[i] = hidden[i] = True
            backgrounds += 1
        else:
            low, high = min(low, v), max(high, v)
            if first < 0:
                first = i
    return specials, backgrounds, low, high, first


def measure(
    values: np.ndarray, decoded: np.ndarray, scale: float, background: float | None
) -> tuple[float, float, int] | None:
    """Largest error, sum of (error / ``scale``)**2 and number of the finite voxels.

    None where finite voxels, or those equal to a ``background``, are not the same in both.
    """
    if values.dtype.kind in "iu" and np.array_equal(values, decoded):
        return 0.0, 0.0, values.size
    found = _measure(
        plain(values), plain(decoded), values.dtype.kind == "f", scale,
        background is not None, float(background or 0.0),
    )  # fmt: skip
    return None if found[2] < 0 else found


@numba.njit(cache=True, nogil=True)
def _measure(
    values: np.ndarray, decoded: np.ndarray, is_float: bool, scale: float, exact: bool,
    background: float,
) -> tuple[float, float, int]:  # fmt: skip
    largest = 0.0
    square = 0.0
    finite = 0
    for i in range(values.size):
        v, d = np.float64(values[i]), np.float64(decoded[i])
        if is_float:
            if np.isfinite(v) != np.isfinite(d):
                return largest, square, -1
            if not np.isfinite(v):
                continue
        if exact and (v == background) != (d == background):
            return largest, square, -1
        finite += 1
        error = v - d
        largest = max(largest, abs(error))
        error /= scale
        square += error * error
    return largest, square, finite


def measure_snapped(
    values: np.ndarray, decoded: np.ndarray, scale: float, ground: float, reach: np.ndarray
) -> tuple[tuple[float, float], ...]:
    """Largest error and sum of (error / ``scale``)**2 for each ``reach``.

    Of the finite voxels where those decoded within ``reach`` (rising) of the ``ground`` became it.
    """
    largest, square = np.zeros((2, len(reach) + 1)), np.zeros((2, len(reach) + 1))
    _measure_snapped(plain(values), plain(decoded), scale, ground, reach, largest, square)
    # voxels of group i, the least reach that holds them, are on the ground from there on
    before = np.cumsum(square[1, :-1]) + np.cumsum(square[0, ::-1])[::-1][1:]
    far = np.maximum.accumulate(largest[0, ::-1])[::-1][1:]
    near = np.maximum.accumulate(largest[1, :-1])
    return tuple(zip(np.maximum(near, far).tolist(), before.tolist(), strict=True))


@numba.njit(cache=True, nogil=True)
def _measure_snapped(
    values: np.ndarray, decoded: np.ndarray, scale: float, ground: float, reach: np.ndarray,
    largest: np.ndarray, square: np.ndarray,
) -> None:  # fmt: skip
    """By group: errors as decoded (row 0), and on the ground (row 1)."""
    for i in range(values.size):
        v, d = np.float64(values[i]), np.float64(decoded[i])
        if not np.isfinite(v):
            continue
        far = abs(d - ground)
        group = 0
        while group < reach.size and far > reach[group]:
            group += 1
        for row in range(2):
            error = abs(v - (ground if row else d))
            largest[row, group] = max(largest[row, group], error)
            square[row, group] += (error / scale) ** 2

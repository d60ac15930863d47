"""Single passes over the voxels of a tile: what is hidden, what spread is left, what was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from .kernel import kernel


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
    special, masked = (np.zeros(values.shape, bool) for _ in range(2))
    if specials and values.dtype.kind == "f":
        np.logical_not(np.isfinite(values), out=special)
    if background is not None and float(values.dtype.type(background)) == background:
        np.equal(values, values.dtype.type(background), out=masked)
    odd, equal = int(np.count_nonzero(special)), int(np.count_nonzero(masked))
    hidden = special | masked if odd and equal else special if odd else masked
    visible = values.size - odd - equal
    low, high = _extremes(plain(values), hidden.reshape(-1)) if visible else (np.inf, -np.inf)
    first = int(np.argmin(hidden)) if visible else -1
    return Look(special, masked, hidden, odd > 0, equal > 0, visible, low, high, first)


def _extremes(values: np.ndarray, hidden: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value that is not hidden.

    Those of floats by their bits as integers, which rise with them where the magnitudes of negative
    ones are turned over.
    """
    floats = values.dtype.kind == "f"
    keys = values.view(f"i{values.itemsize}") if floats else values
    of = np.iinfo(keys.dtype)
    least, greatest = keys.dtype.type(of.min), keys.dtype.type(of.max)
    turned = greatest if floats else keys.dtype.type(0)
    ends = np.array(_ends(keys, hidden, least, greatest, turned), keys.dtype)
    ends ^= np.where(ends < 0, turned, 0).astype(keys.dtype)
    low, high = ends.view(values.dtype).tolist()
    return float(low), float(high)


@kernel()
def _ends(
    keys: np.ndarray, hidden: np.ndarray, least: np.integer, greatest: np.integer,
    turned: np.integer,
) -> tuple[np.integer, np.integer]:  # fmt: skip
    """The least and the greatest key; bits of negative ones are ``turned`` first."""
    low, high = greatest, least
    for i in range(keys.size):
        v = keys[i]
        v ^= turned if v < 0 else v ^ v
        shown, seen = greatest if hidden[i] else v, least if hidden[i] else v
        low = shown if shown < low else low
        high = seen if seen > high else high
    return low, high


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

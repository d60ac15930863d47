"""Voxels as small whole numbers, which stand for values of a range that several panels share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NAN, MINUS, LOWEST = 0, 1, 2  # the codes of NaN, of -Inf and of the least value
_BYTE, _WORD = 254, 65534  # the highest code of a value; the next one is that of +Inf
_SHARE = 1e-3  # of the voxels may lie above the window


@dataclass(frozen=True)
class Scale:
    """Code c means the value ``low + (c - LOWEST) * unit``, up to the code `top`.

    window: the lowest and the highest code that the colours are spread over at first.
    signed: the values lie on both sides of a zero that is common: code (LOWEST + top) / 2.
    """

    low: float
    unit: float
    top: int
    window: tuple[int, int]
    signed: bool = False


def scale_of(volumes: list[np.ndarray], whole: bool = False) -> Scale:
    """Return the scale for `volumes` (float64); `whole`: their values are integers.

    Integers of a range that fits are coded as they are, and zeros always.
    """
    finite = [volume[np.isfinite(volume)] for volume in volumes]
    low = min((float(values.min()) for values in finite if values.size), default=0.0)
    high = max((float(values.max()) for values in finite if values.size), default=0.0)
    signed = _signed(finite[0], low, high)
    if signed:
        high = max(-low, high)
        low = -high
    top = _WORD
    if whole and high - low <= _WORD - LOWEST:
        unit = 1.0
        top = max(int(high - low), 1) + LOWEST
    else:
        unit = (high / 2 - low / 2) / ((top - LOWEST - 1) / 2)
        if not unit > 0:  # one value, or so close that float64 can't tell the codes apart
            unit, top = 1.0, LOWEST + 1
        elif low < 0 < high:
            low = -math.ceil(-low / unit) * unit
    scale = Scale(low, unit, top, (LOWEST, top), signed)
    counts = np.bincount(encode(volumes[0], scale).ravel(), minlength=top + 2)[LOWEST : top + 1]
    middle = (LOWEST + top) // 2
    if signed:  # as far from the middle on both sides
        sides = counts[middle - LOWEST :].copy()
        sides += counts[: len(sides)][::-1] if len(counts) % 2 else 0
        reach = max(_below(sides, 1 - _SHARE), 1)
        window = (max(middle - reach, LOWEST), min(middle + reach, top))
    else:
        first = _below(counts, _SHARE)
        window = (LOWEST + first, LOWEST + max(_below(counts, 1 - _SHARE), first + 1))
    return Scale(low, unit, top, window, signed)


def scale_of_errors(errors: np.ndarray) -> Scale:
    """Return the scale for differences (float64, none of them negative), from zero upwards."""
    finite = errors[np.isfinite(errors)]
    unit = float(finite.max(initial=0.0)) / (_WORD - LOWEST)
    if not unit > 0:
        return Scale(0.0, 1.0, LOWEST + 1, (LOWEST, LOWEST + 1))
    return Scale(0.0, unit, _WORD, (LOWEST, _WORD))


def encode(volume: np.ndarray, scale: Scale) -> np.ndarray:
    """Return the codes of `volume` (float64), uint8 where they fit and else uint16."""
    with np.errstate(all="ignore"):
        steps = np.rint((volume / 2 - scale.low / 2) / scale.unit * 2)
    codes = np.clip(np.nan_to_num(steps), 0, scale.top - LOWEST) + LOWEST
    codes = np.where(np.isnan(volume), NAN, codes)
    codes = np.where(np.isposinf(volume), scale.top + 1, codes)
    codes = np.where(np.isneginf(volume), MINUS, codes)
    return codes.astype("u1" if scale.top <= _BYTE else "u2")


def _signed(values: np.ndarray, low: float, high: float) -> bool:
    """Whether zero is where most of the values are, and others lie far on both sides."""
    if not low < 0 < high or min(-low, high) < 0.1 * max(-low, high):
        return False
    reach = max(-low, high)
    near = int(np.count_nonzero(np.abs(values) < 0.1 * reach))
    ends = int(np.count_nonzero(values < low + 0.1 * reach))
    return near > ends and near > len(values) / 4


def _below(counts: np.ndarray, share: float) -> int:
    """Return the first place up to which `share` of the counts lie."""
    sums = np.cumsum(counts)
    return int(np.searchsorted(sums, share * sums[-1])) if sums[-1] else 0

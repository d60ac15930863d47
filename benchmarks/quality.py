"""What a reconstruction lost: maximum error and PSNR over the finite voxels, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Loss:
    """Distance of a reconstruction from its original.

    max_error is in the units of the data, psnr in dB (infinite where nothing was lost).
    """

    max_error: float
    psnr: float


def value_range(volume: NDArray[Any]) -> float:
    """Max minus min over the finite voxels, in float64; 0 where no voxel is finite."""
    values = np.asarray(volume)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0
    return float(values.max()) - float(values.min())


def measure(original: NDArray[Any], decoded: NDArray[Any]) -> Loss:
    """Loss of `decoded` (any real dtype, same shape); a non-finite voxel that should be finite is
    an infinite error."""
    before = np.asarray(original)
    after = np.asarray(decoded)
    if before.shape != after.shape:
        raise ValueError(f"shape {after.shape} instead of {before.shape}")
    if before.dtype.kind == "f":
        finite = np.isfinite(before)
        if not finite.all():
            before, after = before[finite], after[finite]
    if before.size == 0:
        return Loss(0.0, math.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        # astype(float64) is exact for every dtype volcodec takes (integers up to 32 bits).
        error = np.abs(after.astype(np.float64) - before.astype(np.float64))
    if not np.isfinite(error).all():
        return Loss(math.inf, -math.inf)
    largest = float(error.max())
    if largest == 0.0:
        return Loss(0.0, math.inf)
    # Scaled by the largest error so that squares neither overflow nor vanish.
    rms = largest * math.sqrt(float(np.mean(np.square(error / largest))))
    peak = value_range(before)
    return Loss(largest, 20.0 * math.log10(peak / rms) if peak > 0.0 else -math.inf)


def as_dtype(decoded: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Float reconstruction as its user would store it: rounded and clipped for integer dtypes."""
    if dtype.kind == "f":
        return decoded.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(decoded.astype(np.float64)), limits.min, limits.max).astype(dtype)

"""What a reconstruction lost: error, PSNR, SSIM, support, mass; over the finite voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SSIM_WINDOW = 7  # voxels a side, the default of scikit-image


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
    """Loss of ``decoded`` (any real dtype, same shape), in float64.

    A non-finite voxel that should be finite is an infinite error.
    """
    before, after = np.asarray(original), np.asarray(decoded)
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


def ssim(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Mean structural similarity (Wang et al. 2004) of two 3-D volumes, by scikit-image.

    The window is a cube of 7 voxels, less where an axis is shorter (axes of 1 are left out); the
    data range is that of the original. Non-finite voxels count as 0. NaN where no axis is as long
    as 3 or the range is 0.
    """
    span = value_range(original)
    before, after = (np.nan_to_num(np.squeeze(v).astype(np.float32), posinf=0, neginf=0)
                     for v in (original, decoded))  # fmt: skip
    shortest = min(before.shape, default=0)
    window = min(SSIM_WINDOW, shortest - 1 + shortest % 2)
    if window < 3 or not 0 < span < math.inf:
        return math.nan
    from skimage.metrics import structural_similarity

    return float(structural_similarity(before, after, win_size=window, data_range=span))


def support(
    original: NDArray[Any], decoded: NDArray[Any], background: float = 0.0
) -> tuple[float, float]:
    """IoU of the voxels that are not ``background``, and the share of background voxels kept.

    NaN where there are none of the kind.
    """
    before, after = original != background, decoded != background
    union = int(np.count_nonzero(before | after))
    empty = int(before.size - np.count_nonzero(before))
    iou = np.count_nonzero(before & after) / union if union else math.nan
    return iou, np.count_nonzero(~before & ~after) / empty if empty else math.nan


def mass_error(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Change of the sum over the finite voxels, as a share of it; NaN where it is 0."""
    finite = np.isfinite(original) if original.dtype.kind == "f" else np.ones(original.shape, bool)
    before = float(original.sum(where=finite, dtype=np.float64))
    after = float(decoded.sum(where=finite, dtype=np.float64))
    return abs(after - before) / abs(before) if before else math.nan

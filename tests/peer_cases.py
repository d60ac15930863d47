"""A volume for the tests of the adapters of volcodec bench."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (10, 12, 14)


def smooth(dtype: str = "f4", shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """Waves between about -50 and 150 (0 and 200 for unsigned dtypes), a little noisy."""
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    waves = np.sin(2 * axes[0]) + np.cos(3 * axes[1]) * np.sin(axes[2] + 1)
    noise = np.random.default_rng(7).standard_normal(shape)
    values = 49 * (waves + 0.01 * noise) + (99 if np.dtype(dtype).kind == "u" else 25)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), max(limits.min, -1e9), min(limits.max, 1e9))
    out: NDArray[Any] = values.astype(dtype)
    return out

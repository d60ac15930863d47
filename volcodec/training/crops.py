"""Crops to learn from: pieces of real volumes, turned and mirrored, and random fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIDES = (64, 96, 128)
SYNTHETIC = 0.15  # share of crops that are random fields


def random_field(rng: np.random.Generator) -> np.ndarray:
    """A float32 field with a power-law spectrum: anisotropic, sometimes warped, cut or noisy."""
    side = int(rng.choice((48, 64, 80)))
    shape = tuple(int(rng.integers(side // 2, side + 1)) for _ in range(3))
    k = np.meshgrid(
        *(np.fft.fftfreq(n) * rng.uniform(0.6, 1.6) for n in shape[:2]),
        np.fft.rfftfreq(shape[2]) * rng.uniform(0.6, 1.6),
        indexing="ij",
    )
    size = np.sqrt(sum(a * a for a in k)) + 0.5 / side
    spectrum = size ** -rng.uniform(1.0, 3.5)
    if rng.random() < 0.4:
        spectrum *= np.exp(-((size / rng.uniform(0.08, 0.4)) ** 2))
    noise = np.fft.rfftn(rng.standard_normal(shape))
    field = np.fft.irfftn(noise * spectrum, shape, axes=(0, 1, 2))
    field /= field.std()
    shape_of = rng.integers(4)
    if shape_of == 1:
        field = np.exp(field * rng.uniform(0.3, 1.2))
    elif shape_of == 2:
        field = np.maximum(field - rng.uniform(-0.5, 1.0), 0)
    elif shape_of == 3:
        field = np.tanh(field * rng.uniform(1, 6))
    if rng.random() < 0.3:
        field = field + rng.standard_normal(shape) * 10 ** rng.uniform(-4, -1)
    return field.astype(np.float32)


def draw_crop(
    volumes: Sequence[Any], index: int, rng: np.random.Generator, synthetic: float = SYNTHETIC
) -> np.ndarray:
    """A crop of volume ``index`` (they take turns), randomly placed, turned and mirrored.

    Volumes are arrays, or have their ``shape`` and are read by boxes of slices; ``synthetic`` is
    the share of crops that are random fields instead.
    """
    if rng.random() < synthetic:
        return random_field(rng)
    v = volumes[index % len(volumes)]
    sides = [min(n, int(rng.choice(SIDES))) for n in v.shape]
    starts = [int(rng.integers(0, n - s + 1)) for n, s in zip(v.shape, sides, strict=True)]
    x = v[tuple(slice(a, a + s) for a, s in zip(starts, sides, strict=True))]
    x = np.transpose(x, rng.permutation(3))
    for axis in range(3):
        if rng.random() < 0.5:
            x = np.flip(x, axis)
    return np.ascontiguousarray(x)

"""The closed loop's interpolation: what docs/format.md says, position by position."""

from __future__ import annotations

import numpy as np
import pytest
from volumes import random_of

from volcodec.transform.interpolation import predict, rebuild, residuals, roomy
from volcodec.transform.pyramid import band_shape, band_view
from volcodec.transform.rows import NARROW, SLACK


def interpolated(r: np.ndarray, band: int, step: int, at: tuple[int, ...]) -> list[int]:
    """Prediction and hints of one position, in Python's integers."""
    place = [2 * i + (band >> (2 - axis) & 1) for axis, i in enumerate(at)]
    found, slopes, pairs = [], [], []

    def value(axis: int, off: int) -> int:
        index = list(place)
        index[axis] += off
        return int(r[tuple(index)])

    for axis in range(3):
        if band >> (2 - axis) & 1:
            i, n = place[axis], r.shape[axis]
            a = value(axis, -1)
            b = value(axis, 1) if i + 1 < n else a
            wide = i >= 3 and i + 3 < n
            far = value(axis, -3) + value(axis, 3) if wide else a + b
            found.append(9 * (a + b) - far)
            slopes.append(abs(b - a))
            pairs.append(8 * (a + b))
    k = len(found)
    spread = abs(found[0] - pairs[0]) if k == 1 else max(found) - min(found)
    mean = (sum(found) + 8 * k) // (16 * k)
    return [mean, min(spread // (4 * step), 4095), min(2 * sum(slopes) // step, 4095)]


@pytest.mark.parametrize(
    "shape", [(2, 2, 2), (3, 4, 5), (6, 1, 1), (2, 1, 19), (1, 17, 9), (8, 7, 18), (5, 9, 35)]
)
@pytest.mark.parametrize(
    ("most", "step"),
    [(40, 1), (3000, 9), (1 << 24, 1), (1 << 24, 1 << 20), (1 << 27, 2047), (1 << 30, 1 << 21)],
)
def test_interpolation(shape: tuple[int, int, int], most: int, step: int) -> None:
    random = random_of(f"interpolated {shape} {most}")
    r = roomy(shape)
    r[:] = random.integers(-most, most, shape)
    for band in range(1, 8):
        size = band_shape(shape, band)
        if 0 in size:
            continue
        p, hints = np.zeros(size, np.int32), np.zeros((2, *size), np.uint16)
        for narrow in (False, True)[: 1 + (most <= NARROW)]:
            predict(r, band, step, narrow, p, hints)
            for at in np.ndindex(size):
                told = [int(p[at]), int(hints[0][at]), int(hints[1][at])]
                assert told == interpolated(r, band, step, at)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 3, 70), (6, 5, 64), (1, 1, 32)])
def test_residuals(shape: tuple[int, int, int]) -> None:
    random = random_of(f"left {shape}")
    tile = random.integers(-(1 << 31), 1 << 31, shape).astype(np.int32)
    for band in range(1, 8):
        size = band_shape(shape, band)
        if 0 in size:
            continue
        p, out = random.integers(-9, 9, size).astype(np.int32), np.zeros(size, np.int32)
        residuals(tile, p, band >> 2 & 1, band >> 1 & 1, band & 1, out)
        np.testing.assert_array_equal(out, band_view(tile, band) - p)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 3, 70), (6, 5, 64)])
def test_rebuilding(shape: tuple[int, int, int]) -> None:
    random = random_of(f"rebuilt {shape}")
    for band in range(1, 8):
        whole = roomy(shape)
        whole[...] = random.integers(-99, 99, shape)
        expected = whole.copy()
        size = band_shape(shape, band)
        if 0 in size:
            continue
        p, q = (random.integers(-most, most, size).astype(np.int32) for most in (1 << 20, 9))
        memory = whole.base
        assert memory is not None
        around = memory.copy()
        bits = rebuild(p, q, 101, band, 2, whole)
        band_view(expected, band)[...] = p + 101 * q
        np.testing.assert_array_equal(whole, expected)
        around[SLACK : SLACK + whole.size] = expected.reshape(-1)
        np.testing.assert_array_equal(memory, around)
        largest = int(np.abs(p + 101 * q).max())
        assert max(largest - 1, 0).bit_length() <= bits.bit_length() <= largest.bit_length()

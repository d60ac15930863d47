"""The pyramid: exact reconstruction at any size, the same integers as plain Python, its gains."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import random_of

from volcodec.preview import low_band, scale
from volcodec.transform.pyramid import (
    BAND_ORDER,
    MAX_LEVELS,
    SHIFT,
    Pyramid,
    band_shape,
    band_view,
    default_levels,
    half_shape,
)

SIZES = (1, 2, 15, 17, 91, 127)
Shape = tuple[int, int, int]
SHAPES = [s for s in itertools.product(SIZES, repeat=3) if s[0] * s[1] * s[2] < 50_000]
CLASSIC = Pyramid.classic()


def round_trip(pyramid: Pyramid, tile: np.ndarray, levels: int) -> np.ndarray:
    *lifted, low = pyramid.analysis(tile, levels)
    assert len(lifted) == levels
    return pyramid.synthesis(low, lifted[::-1])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_reconstruction_of_odd_shapes(shape: Shape) -> None:
    random = random_of(str(shape))
    for largest in (100, 1 << 27):
        tile = random.integers(-largest, largest, shape, np.int32)
        before = tile.copy()
        back = round_trip(CLASSIC, tile, default_levels(shape))
        assert back.dtype == np.int32
        assert np.array_equal(back, before)
        assert np.array_equal(tile, before)


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(1, 20)] * 3),
    st.integers(0, MAX_LEVELS),
    st.lists(st.integers(-(4 << SHIFT) + 1, (4 << SHIFT) - 1), min_size=1, max_size=8),
    st.integers(0, 1 << 32),
)
def test_any_lifting_wraps_and_comes_back(
    shape: Shape, levels: int, coefs: list[int], seed: int
) -> None:
    """The whole range of int32: sums wrap around, and reconstruction is exact all the same."""
    random = np.random.default_rng(seed)
    tile = random.integers(-(1 << 31), 1 << 31, shape, np.int64).astype(np.int32)
    tile.reshape(-1)[0] = -(1 << 31)
    pyramid = Pyramid(np.array(coefs, np.int64))
    assert np.array_equal(round_trip(pyramid, tile, levels), tile)


def wrap(n: int) -> int:
    """To 32 bits."""
    return (n + (1 << 31)) % (1 << 32) - (1 << 31)


def lift_in_python(line: list[int], coefs: list[int]) -> list[int]:
    """One level of one line, with integers that have no size."""
    if len(line) == 1:
        return line
    out = list(line)
    for step, coef in enumerate(coefs):
        for i in range(1 - step % 2, len(out), 2):
            left = out[i - 1] if i > 0 else out[i + 1]
            right = out[i + 1] if i + 1 < len(out) else out[i - 1]
            out[i] = wrap(out[i] + ((coef * (left + right) + (1 << (SHIFT - 1))) >> SHIFT))
    return out


def level_in_python(tile: np.ndarray, coefs: list[int]) -> np.ndarray:
    x = tile.astype(object)
    for axis in (2, 1, 0):
        moved = np.moveaxis(x, axis, 2)
        for index in np.ndindex(moved.shape[:2]):
            moved[index] = lift_in_python(list(moved[index]), coefs)
    return x.astype(np.int32)


@pytest.mark.parametrize("shape", [(1, 1, 9), (6, 1, 1), (2, 3, 4), (5, 6, 7)])
@pytest.mark.parametrize("largest", [1000, (1 << 31) - 1])
def test_same_integers_as_python(shape: Shape, largest: int) -> None:
    tile = random_of(f"{shape}").integers(-largest, largest, shape, np.int32)
    *lifted, low = CLASSIC.analysis(tile, 3)
    expected = tile
    for level in lifted:
        expected = level_in_python(expected, [int(c) for c in CLASSIC.coefs])
        # The low band's place in a lifted level is where the next level starts from.
        assert np.array_equal(level, expected)
        expected = np.ascontiguousarray(expected[::2, ::2, ::2])
    assert np.array_equal(low, expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (2, 1, 5), (15, 17, 4)])
def test_bands_cover_a_level(shape: Shape) -> None:
    level = np.zeros(shape, np.int32)
    for band in (0, *BAND_ORDER):
        view = band_view(level, band)
        assert view.shape == band_shape(shape, band)
        view += 1
    assert (level == 1).all()
    assert half_shape(shape) == band_shape(shape, 0)


def test_default_levels_end_at_four() -> None:
    for n in range(1, 700):
        sizes = [n]
        for _ in range(default_levels((1, n, 2))):
            assert sizes[-1] > 4
            sizes.append((sizes[-1] + 1) // 2)
        assert sizes[-1] <= 4


@pytest.mark.parametrize("pyramid", [CLASSIC, Pyramid(np.array([-6000, -300, 3500, 1900]))])
def test_gains_are_norms_of_synthesis_functions(pyramid: Pyramid) -> None:
    """A unit in one coefficient, through the integer synthesis, has the energy that is claimed."""
    unit, n, levels = 1 << 20, 512, 5
    low, high = pyramid.gains(levels)
    for depth in range(1, levels + 1):
        for odd, claimed in ((0, low), (1, high)):
            arrays = [np.zeros((1, 1, n >> k), np.int32) for k in range(levels)]
            coarsest = np.zeros((1, 1, n >> levels), np.int32)
            place = 2 * ((n >> (depth - 1)) // 4) + odd
            if odd:
                arrays[depth - 1][0, 0, place] = unit
                made = pyramid.synthesis(coarsest, arrays[::-1])
            else:
                start = np.zeros((1, 1, n >> depth), np.int32)
                start[0, 0, place // 2] = unit
                made = pyramid.synthesis(start, arrays[:depth][::-1])
            energy = float(np.sqrt(np.sum((made / unit) ** 2)))
            assert energy == pytest.approx(claimed[depth - 1], rel=1e-3)


@pytest.mark.parametrize("shape", [(16, 16, 16), (15, 17, 21), (1, 9, 30)])
def test_integer_low_band_is_the_float_one(shape: Shape) -> None:
    values = random_of(f"low{shape}").standard_normal(shape) * 1e6
    *_, low = CLASSIC.analysis(np.rint(values).astype(np.int32), 3)
    expected = low_band(CLASSIC, values, 3)
    assert low.shape == expected.shape
    np.testing.assert_allclose(low / scale(CLASSIC, shape, 3), expected, atol=8)


def test_constant_has_no_details() -> None:
    tile = np.full((9, 12, 31), 12345, np.int32)
    *lifted, low = CLASSIC.analysis(tile, 4)
    for level in lifted:
        for band in BAND_ORDER:
            assert np.abs(band_view(level, band)).max(initial=0) <= 64
    np.testing.assert_allclose(low / scale(CLASSIC, (9, 12, 31), 4), 12345, rtol=1e-2)

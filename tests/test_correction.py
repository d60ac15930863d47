"""Outliers: sparse integers of any size come back; no bytes do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import random_of

from volcodec import correction
from volcodec.errors import FormatError

Shape = tuple[int, int, int]
SHAPES = [(1, 1, 1), (1, 1, 9), (8, 8, 8), (9, 8, 17), (15, 17, 33), (2, 40, 3)]


def check(outliers: np.ndarray) -> bytes:
    before = outliers.copy()
    data = correction.encode(outliers)
    back = correction.decode(data, outliers.shape)
    if not outliers.any():
        assert data == b""
        assert back is None
    else:
        assert back is not None
        assert back.dtype == np.int32
        assert np.array_equal(back, before)
    assert np.array_equal(outliers, before)
    return data


def some(shape: Shape, share: float, largest: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.integers(1, largest, shape, np.int64, endpoint=True)
    values *= random.choice([-1, 1], shape)
    return np.where(random.random(shape) < share, values, 0).astype(np.int32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.97, 1.0])
def test_round_trip(shape: Shape, share: float) -> None:
    for largest in (1, 3, 40_000, (1 << 31) - 1):
        check(some(shape, share, largest, 7))


@settings(max_examples=60)
@given(
    st.sampled_from(SHAPES), st.floats(0, 1), st.sampled_from([1, 2, 100, 1 << 30]),
    st.integers(0, 1 << 32),
)  # fmt: skip
def test_random_round_trip(shape: Shape, share: float, largest: int, seed: int) -> None:
    check(some(shape, share, largest, seed))


def test_extreme_magnitudes() -> None:
    outliers = np.zeros((9, 9, 9), np.int32)
    outliers.reshape(-1)[::50] = -(1 << 31)
    outliers.reshape(-1)[7::90] = (1 << 31) - 1
    check(outliers)
    check(np.full((9, 9, 9), -(1 << 31), np.int32))


def test_any_layout_of_memory() -> None:
    outliers = some((20, 18, 16), 0.1, 3, 1)
    data = check(outliers)
    assert correction.encode(np.asfortranarray(outliers)) == data
    assert correction.encode(outliers[::-1][::-1]) == data


def test_a_few_outliers_are_cheap() -> None:
    """About the entropy of where they are, and a bit for the sign."""
    for share in (1e-4, 1e-3, 1e-2, 0.1):
        outliers = some((64, 64, 64), share, 1, 3)
        count = int((outliers != 0).sum())
        p = count / outliers.size
        entropy = -outliers.size * (p * np.log2(p) + (1 - p) * np.log2(1 - p)) + count
        assert 8 * len(check(outliers)) < 1.12 * entropy + 100


def test_every_cut_is_found() -> None:
    data = check(some((17, 16, 20), 0.05, 9, 5))
    for end in range(1, len(data)):
        with pytest.raises(FormatError):
            correction.decode(data[:end], (17, 16, 20))
    for rest in (b"\0", b"\0\0", b"ab"):
        with pytest.raises(FormatError):
            correction.decode(data + rest, (17, 16, 20))


def outcome(data: bytes, shape: Shape) -> np.ndarray | None:
    try:
        return correction.decode(data, shape)
    except FormatError:
        return None


def test_flipped_bits_do_no_harm() -> None:
    shape = (9, 8, 17)
    data = check(some(shape, 0.05, 9, 5))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        found = outcome(bytes(damaged), shape)
        assert found is None or found.shape == shape


@given(st.binary(max_size=60), st.sampled_from(SHAPES))
def test_any_bytes_do_no_harm(data: bytes, shape: Shape) -> None:
    found = outcome(data, shape)
    assert found is None or found.shape == shape


def test_noise_for_a_large_tile_is_refused_quickly() -> None:
    random = random_of("quick")
    for _ in range(20):
        data = bytes([30]) + b"\xff\xff\xff\xff" + random.bytes(64)
        assert outcome(data, (256, 256, 256)) is None

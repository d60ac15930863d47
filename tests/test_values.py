"""From values to integers and back: lattices, ordered bit patterns, fixed point, float16."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from volumes import SHAPE, blobs, random_of

import volcodec
from volcodec.values import LARGEST, Mapping, find_lattice, from_ordered, to_ordered


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_ordered_bits_are_in_the_order_of_the_values(dtype: str) -> None:
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    if dtype == "float16":
        bits = np.arange(1 << 16, dtype=unsigned)
    else:
        bits = random_of("bits").integers(0, 1 << 32, 200_000).astype(unsigned)
        bits[:6] = 0, 1, 1 << 31, (1 << 31) + 1, 0x7F800000, 0xFF800000
    values = bits.view(dtype)
    ordered = to_ordered(values)
    assert ordered.dtype == np.int32
    back = from_ordered(ordered, np.dtype(dtype))
    assert back.dtype == dtype
    assert back.tobytes() == values.tobytes()
    numbers = values[~np.isnan(values)]
    keys = to_ordered(np.ascontiguousarray(numbers))
    by_key = numbers[np.argsort(keys, kind="stable")].astype(np.float64)
    assert (np.diff(by_key[np.isfinite(by_key)]) >= 0).all()
    assert to_ordered(np.array([-0.0], dtype))[0] < to_ordered(np.array([0.0], dtype))[0]


def test_float64_that_was_float32_is_stored_as_such(codec: volcodec.Codec) -> None:
    ramp = np.linspace(1, 2, 20)
    narrow = (ramp[:, None, None] * ramp[:, None] * ramp + 1).astype(np.float32)
    narrow[0, 0, 0] = -0.0
    small = codec.encode(narrow, lossless=True)
    wide = codec.encode(narrow.astype(np.float64), lossless=True)
    assert len(wide) <= 1.25 * len(small) + 16
    assert codec.decode(wide).tobytes() == narrow.astype(np.float64).tobytes()
    narrow[0, 0, :4] = np.nan, -np.inf, -0.0, 1e-45
    wide = codec.encode(narrow.astype(np.float64), lossless=True)
    assert codec.decode(wide).tobytes() == narrow.astype(np.float64).tobytes()


LATTICES = {
    "integers": (np.arange(-100, 1000, dtype=np.float32), -100.0, 1.0),
    "halves": (np.arange(300) * 0.5 + 10, 10.0, 0.5),
    "rescaled": ((np.arange(256) * 0.0371 - 2).astype(np.float32), -2.0, 0.0371),
    "tiny": (np.arange(50) * 1e-12 + 1e-10, 1e-10, 1e-12),
    "large": ((np.arange(100) * 2.5e20).astype(np.float32), 0.0, 2.5e20),
    "two_values": (np.array([3.5, 9.25]), 3.5, 5.75),
}


@pytest.mark.parametrize("name", LATTICES)
def test_lattices_are_found(name: str) -> None:
    levels, start, pitch = LATTICES[name]
    sample = random_of(name).choice(levels, 8192)
    sample[: levels.size] = levels
    found = find_lattice(sample)
    assert found is not None
    origin, step = found
    assert step == pytest.approx(pitch, rel=1e-5)
    assert (start - origin) / step == pytest.approx(np.rint((start - origin) / step), abs=0.02)


@pytest.mark.parametrize("name", ["noise", "smooth", "constant", "empty", "two_combs", "squares"])
def test_what_is_no_lattice(name: str) -> None:
    random = random_of(name)
    sample = {
        "noise": random.standard_normal(4096),
        "smooth": blobs((16, 16, 16), name, zeros=False).reshape(-1),
        "constant": np.full(4096, 1.5),
        "empty": np.zeros(0),
        "two_combs": np.repeat(np.concatenate([np.arange(99) * 1.0, np.arange(99) * 2**0.5]), 20),
        "squares": np.repeat(np.sqrt(np.arange(400.0)), 10),
    }[name]
    assert find_lattice(sample) is None


@pytest.mark.parametrize("name", LATTICES)
def test_lattice_data_codes_like_integers(codec: volcodec.Codec, name: str) -> None:
    levels, _, pitch = LATTICES[name]
    if levels.size < 40:
        pytest.skip("too few levels to compare sizes")
    index = np.rint((levels.size - 1) * blobs((20, 21, 22), name)).astype(int)
    index.reshape(-1)[: levels.size] = np.arange(levels.size)
    volume = levels[index]
    blob = codec.encode(volume, max_error=0.4 * pitch, support="off")
    assert volcodec.inspect(blob).domain == "lattice"
    whole = codec.encode(index.astype(np.uint16), lossless=True)
    assert len(blob) <= 1.02 * len(whole) + 64
    assert np.abs(codec.decode(blob).astype(np.float64) - volume).max() <= 1e-6 * np.ptp(volume)


def test_a_lattice_that_only_the_sample_has_breaks_nothing(codec: volcodec.Codec) -> None:
    volume = np.rint(99 * blobs((30, 30, 30), "trap")).astype(np.float32)
    volume[17, 13, 11] = 3.7183
    for target in ({"max_error": 0.3}, {"max_error": 1.0}, {"lossless": True}):
        decoded = codec.decode(codec.encode(volume, **target))
        assert np.abs(decoded - volume).max() <= target.get("max_error", 0)


def test_fixed_point_overflow_is_told() -> None:
    mapping = Mapping(np.dtype(np.float32), "real", 0.0, 0.0, 1.0, 1.0)
    largest = np.full((1, 1, 1), LARGEST * mapping.unit, np.float32)
    assert mapping.to_integers(largest, mapping.unit) is not None
    for bad in (largest * 1.01, -largest * 1.01, largest * 1e30, largest * -1e30):
        assert mapping.to_integers(bad.astype(np.float32), mapping.unit) is None


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_integers_are_clipped_to_their_range(dtype: str) -> None:
    info = np.iinfo(dtype)
    mapping = Mapping(np.dtype(dtype), "lattice", float(info.max), 1.0, 256.0, 1.0)
    integers = np.array([[[-(1 << 30), -1, 0, 1, 1 << 30]]], np.int32)
    values = mapping.to_values(integers, 1e3, None)
    assert values.dtype == dtype
    assert values[0, 0, 2] == info.max
    assert values[0, 0, 3] == info.max
    assert values[0, 0, 4] == info.max
    assert values[0, 0, 0] == info.min


@given(
    st.lists(st.integers(-(1 << 15), 1 << 15), min_size=1, max_size=50),
    st.sampled_from([0.0, 7.0, -31.5]),
    st.sampled_from([1.0, 0.5, 3.25]),
)
def test_lattice_values_come_back(k: list[int], origin: float, pitch: float) -> None:
    mapping = Mapping(np.dtype(np.float64), "lattice", origin, pitch, 8.0, 1.0)
    values = (origin + pitch * np.array(k, np.float64)).reshape(1, 1, -1)
    integers = mapping.to_integers(values, mapping.lattice_step)
    assert integers is not None
    assert np.array_equal(integers.reshape(-1), k)
    assert np.array_equal(mapping.to_values(integers, mapping.lattice_step, None), values)
    outliers = np.arange(len(k), dtype=np.int32).reshape(1, 1, -1) - 3
    moved = mapping.to_values(integers, mapping.lattice_step, outliers)
    assert np.array_equal(moved, values + pitch * outliers)


@pytest.mark.parametrize("error", [1e-3, 1e-2, 1.0])
def test_float16_keeps_its_bound(codec: volcodec.Codec, error: float) -> None:
    """The last rounding, to eleven bits, is part of the error."""
    for scale in (1.0, 100.0, 6e4):
        volume = ((blobs(SHAPE, "half") - 0.4) * scale).astype(np.float16)
        decoded = codec.decode(codec.encode(volume, max_error=error * scale / 10))
        assert decoded.dtype == np.float16
        difference = decoded.astype(np.float64) - volume.astype(np.float64)
        assert np.abs(difference).max() <= error * scale / 10


def test_float_bounds_next_to_the_rounding_of_the_dtype(codec: volcodec.Codec) -> None:
    volume = (1e4 + blobs(SHAPE, "edge", zeros=False)).astype(np.float32)
    unit = float(np.spacing(np.float32(1e4)))
    for share in (0.3, 0.51, 0.99, 1.0, 1.01, 1.5, 2.0, 3.0, 10.0):
        decoded = codec.decode(codec.encode(volume, max_error=share * unit))
        assert np.abs(decoded.astype(np.float64) - volume).max() <= share * unit

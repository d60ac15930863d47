"""Support streams: exact round trips, no harm from hostile bytes, and a fill without cliffs."""

from __future__ import annotations

import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volcodec.errors import FormatError
from volcodec.support import decode_mask, decode_specials, encode_mask, encode_specials, fill
from volcodec.support.binary import SQUASH, STRETCH
from volcodec.support.mask import ADAPTIVE, ALL_FALSE, ALL_TRUE, PACKED, _encode_adaptive

Shape = tuple[int, int, int]

# The first example compiles the kernels.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

shapes: st.SearchStrategy[Shape] = st.tuples(
    st.integers(1, 20), st.integers(1, 20), st.integers(1, 40)
)


def blob(shape: Shape, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    """A smooth body with a rough skin: what masks of volumes look like."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    centre = rng.uniform(-0.3, 0.3, 3)
    far = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
    wave = 0.1 * np.sin(9 * grid[0] + 5 * grid[1]) * np.cos(7 * grid[2])
    return np.asarray(far + wave + noise * rng.standard_normal(shape) < 0.5)


def check(mask: np.ndarray) -> bytes:
    data = encode_mask(mask)
    again = decode_mask(data, mask.shape)
    assert again.dtype == np.bool_ and again.shape == mask.shape
    np.testing.assert_array_equal(again, mask)
    assert len(data) <= 1 + (mask.size + 7) // 8
    return data


# -- masks


@relaxed
@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.03, 0.3, 0.5, 0.9, 0.999]))
def test_random_masks_come_back(shape: Shape, seed: int, share: float) -> None:
    check(np.random.default_rng(seed).random(shape) < share)


@relaxed
@given(shapes, st.integers(0, 1000), st.sampled_from([0.0, 0.1]), st.booleans())
def test_bodies_come_back(shape: Shape, seed: int, noise: float, inverted: bool) -> None:
    check(blob(shape, seed, noise) ^ inverted)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 1, 2), (1, 1, 999), (1, 257, 1), (127, 1, 1), (1, 33, 65), (15, 17, 91),
     (8, 8, 8), (9, 16, 24), (16, 1, 17), (64, 64, 64)],
)  # fmt: skip
def test_odd_shapes(shape: Shape) -> None:
    rng = np.random.default_rng(1)
    for mask in (blob(shape), blob(shape, 1, 0.2), rng.random(shape) < 0.5, blob(shape)[::-1]):
        check(mask)
    one = np.zeros(shape, np.bool_)
    one[-1, -1, -1] = True
    check(one)
    check(~one)


def test_uniform_masks_take_a_byte() -> None:
    assert encode_mask(np.zeros((5, 6, 7), np.bool_)) == bytes([ALL_FALSE])
    assert encode_mask(np.ones((5, 6, 7), np.bool_)) == bytes([ALL_TRUE])
    assert decode_mask(bytes([ALL_TRUE]), (5, 6, 7)).all()
    check(np.zeros((0, 6, 7), np.bool_))


def test_noise_is_packed_and_patterns_are_cheap() -> None:
    noise = np.random.default_rng(0).random((40, 40, 40)) < 0.5
    assert check(noise)[0] == PACKED
    z, y, x = np.indices((64, 64, 64))
    for pattern in ((z + y + x) % 2 == 0, x % 2 == 0, z % 2 == 0, (x // 8 + y // 8) % 2 == 0):
        data = check(pattern)
        assert data[0] == ADAPTIVE and len(data) < 0.02 * pattern.size / 8
    assert len(check(blob((64, 64, 64)))) < 0.03 * 64**3 / 8


def test_any_layout_of_memory() -> None:
    mask = blob((20, 30, 40))
    for view in (mask.T, mask[::-1, ::2, ::-3], np.asfortranarray(mask), mask.transpose(1, 2, 0)):
        assert encode_mask(view) == check(np.ascontiguousarray(view))


def test_only_masks_are_taken() -> None:
    with pytest.raises(ValueError):
        encode_mask(np.zeros((3, 4, 5), np.uint8))  # not bool
    with pytest.raises(ValueError):
        encode_mask(np.zeros((4, 5), np.bool_))


def test_bytes_are_for_ever() -> None:
    """Tables and a stream as the format has them: a change here is a change of the format."""
    assert zlib.crc32(SQUASH.astype("<u2").tobytes()) == 0xFD4D7241
    assert zlib.crc32(STRETCH.astype("<i2").tobytes()) == 0x2BBE45F4
    z, y, x = np.indices((11, 19, 37))
    data = encode_mask((3 * z + 2 * y + x) % 61 < 25)
    assert data.hex() == MASK_STREAM
    classes = np.zeros((11, 19, 37))
    classes[2:5, 3:9, 30:] = np.nan
    classes[6:, 3:9, 20:] = np.inf
    classes[6:, 10:, ::2] = -np.inf
    data = encode_specials(classes)
    assert data.hex() == SPECIALS_STREAM


MASK_STREAM = "0300174affe6f15faa486471a20e9ca84bbde36c7ae11813b89f883e9d5f13333f6aadbd5c2bfa9e"

SPECIALS_STREAM = "071600000003d0fb299c3552682b20157d31371b5973b4cc5b2ef2fff8d2a9bc777a493116"

# -- hostile bytes


def decode_or_refuse(data: bytes, shape: Shape) -> np.ndarray | None:
    """What is not refused must be the one stream of its mask: no byte is left unread."""
    try:
        mask = decode_mask(data, shape)
    except FormatError:
        return None
    assert mask.shape == shape and mask.dtype == np.bool_
    if data[0] == ADAPTIVE:
        assert _encode_adaptive(mask, len(data)) == data[1:]
    else:
        assert len(data) == 1 or data[0] == PACKED
    return mask


def test_cuts_and_additions() -> None:
    for noise in (0.0, 0.5, 9.0):
        mask = blob((13, 17, 19), noise=noise)
        data = encode_mask(mask)
        others = [data[:n] for n in range(len(data))]
        others += [data + more for more in (b"\0", b"\1", b"\xff\xff", bytes(100))]
        found = [decode_or_refuse(other, mask.shape) for other in others]
        assert sum(other is not None for other in found) <= 2
        assert not any(other is not None and (other == mask).all() for other in found)


def test_masks_that_no_bytes_mean() -> None:
    for data in (b"", b"\0\0", b"\1x", b"\4", b"\xff" * 9):
        with pytest.raises(FormatError):
            decode_mask(data, (4, 5, 6))
    with pytest.raises(FormatError):
        decode_mask(bytes([PACKED, 0xFF]), (1, 1, 7))


@relaxed
@given(st.binary(max_size=200), shapes, st.sampled_from([None, PACKED, ADAPTIVE]))
def test_arbitrary_bytes_do_no_harm(data: bytes, shape: Shape, kind: int | None) -> None:
    decode_or_refuse(data if kind is None else bytes([kind]) + data, shape)


def test_flipped_bits_do_no_harm() -> None:
    rng = np.random.default_rng(3)
    mask = blob((24, 25, 26), noise=0.05)
    data = encode_mask(mask)
    begin = time.perf_counter()
    for _ in range(300):
        bad = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        decode_or_refuse(bytes(bad), mask.shape)
        decode_or_refuse(bytes(bad), (3, 50, 7))
    for filler in (b"\0", b"\xff", b"\x55"):
        decode_or_refuse(bytes([ADAPTIVE]) + filler * 1000, (100, 100, 100))
    assert time.perf_counter() - begin < 10


# -- NaN and infinities


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_specials_come_back(dtype: str) -> None:
    shape = (9, 10, 35)
    rng = np.random.default_rng(5)
    cases = [
        np.full(shape, np.nan),
        np.full(shape, -np.inf),
        np.where(blob(shape), 1.0, np.nan),
        np.where(blob(shape), 1.0, np.inf),
        np.where(blob(shape), -np.inf, np.inf),
        np.where(rng.random(shape) < 1 / 3, np.nan, rng.choice([0.0, np.inf, -np.inf], shape)),
        np.where(blob(shape), np.nan, rng.choice([np.inf, 1.0], shape)),
        rng.choice([np.nan, -np.inf], shape),
    ]
    for case in cases:
        values = case.astype(dtype)
        classes = decode_specials(encode_specials(values), shape)
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes == 1, np.isnan(values))
        np.testing.assert_array_equal(classes == 2, np.isposinf(values))
        np.testing.assert_array_equal(classes == 3, np.isneginf(values))


def test_plain_values_cost_nothing() -> None:
    assert encode_specials(np.ones((3, 4, 5), np.float32)) == b""
    assert encode_specials(np.ones((3, 4, 5), np.int16)) == b""
    assert not decode_specials(b"", (3, 4, 5)).any()
    assert len(encode_specials(np.full((9, 9, 9), np.nan))) == 2
    halves = np.full((32, 32, 32), np.nan)
    halves[:16] = np.inf
    assert len(encode_specials(halves)) < 300


@relaxed
@given(st.integers(0, 2**32 - 1))
def test_hostile_specials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (5, 6, 11)
    values = rng.choice([1.0, 1.0, np.nan, np.inf, -np.inf], shape)
    data = encode_specials(values)
    bad = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
    for hostile in (bytes(bad), rng.bytes(int(rng.integers(1, 40))), data + b"\0", data[:-1]):
        try:
            assert 1 <= decode_specials(hostile, shape).max() <= 3
        except FormatError:
            pass


def test_specials_must_exist() -> None:
    for data in (b"\1\0", b"\0", b"\x08\1", b"\3\1\0\0\0\0", b"\3\xff\xff\xff\xff\1", b"\3\1"):
        with pytest.raises(FormatError):
            decode_specials(data, (3, 4, 5))


# -- fill


@relaxed
@given(shapes, st.integers(0, 1000), st.sampled_from([np.float32, np.float64]))
def test_fill_keeps_the_known_and_stays_in_range(shape: Shape, seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    values: np.ndarray = rng.normal(100, 10, shape).astype(dtype)
    known = rng.random(shape) < rng.choice([0.02, 0.5, 0.98])
    values[~known] = rng.choice([np.nan, np.inf, 1e30, -7])
    filled = fill(values, known)
    assert filled.dtype == dtype and filled.shape == shape
    np.testing.assert_array_equal(filled[known], values[known])
    if known.any():
        assert values[known].min() <= filled.min() and filled.max() <= values[known].max()
    else:
        assert not filled.any()
    np.testing.assert_array_equal(filled, fill(values, known))


def test_fill_of_all_or_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(7, 1, 9)).astype(np.float32)
    np.testing.assert_array_equal(fill(values, np.ones(values.shape, np.bool_)), values)
    assert not fill(values, np.zeros(values.shape, np.bool_)).any()
    known = np.zeros(values.shape, np.bool_)
    known[3, 0, 4] = True
    np.testing.assert_array_equal(fill(values, known), np.full_like(values, values[3, 0, 4]))


def test_fill_leaves_no_cliff() -> None:
    shape = (40, 45, 50)
    z, y, x = np.indices(shape)
    values = (100 + z - 0.5 * y + 0.3 * x).astype(np.float32)
    known = blob(shape)
    filled = fill(values, known)
    for axis in range(3):
        assert np.abs(np.diff(filled, axis=axis)).max() < 5  # the cliff to zero is about 100


def test_fill_of_extreme_values() -> None:
    top = np.finfo(np.float64).max
    values = np.array([top, 0, 0, 0, -top, 0, 0, top, top]).reshape(1, 3, 3)
    known = values != 0
    filled = fill(values, known)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[known], values[known])
    swapped = values.astype(">f8")
    np.testing.assert_array_equal(fill(swapped, known), filled)

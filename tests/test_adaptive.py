"""The closed loop that learns from the tile: what it may see, what it fits, that all comes back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import blobs, random_of, third_nan

import volcodec
from volcodec.adaptive.coder import AdaptiveCoder
from volcodec.adaptive.regression import RIDGE, gather, solve
from volcodec.adaptive.stencils import TAPS, stencil
from volcodec.container import CODINGS, Reader
from volcodec.errors import FormatError
from volcodec.transform.pyramid import BAND_ORDER, default_levels

CODER = AdaptiveCoder()
AXES = (4, 2, 1)


def parity(*place: int) -> int:
    return sum(bit * (p & 1) for bit, p in zip(AXES, place, strict=True))


@pytest.mark.parametrize("band", range(8))
def test_taps_are_decoded_before(band: int) -> None:
    order = (0, *BAND_ORDER)
    at = [10 + (band & bit > 0) for bit in AXES]
    taps = stencil(band, 2)
    assert len(taps) == TAPS and len({tuple(t[:3]) for t in taps}) == TAPS
    for *off, own, weight in taps.tolist():
        there = parity(*(a + d for a, d in zip(at, off, strict=True)))
        assert own == (there == band) and weight > 0
        if own:
            assert tuple(off) < (0, 0, 0)
        else:
            assert order.index(there) < order.index(band)


def test_taps_of_the_coarsest_band_come_before() -> None:
    taps = stencil(0, 1)
    assert all(own and tuple(off) < (0, 0, 0) for *off, own, _ in taps.tolist())


def test_regression_is_weighted_least_squares() -> None:
    random = random_of("regression")
    near = random.standard_normal((200, 7))
    values = near @ np.arange(7) + random.standard_normal(200)
    weights = random.random(200) + 0.1
    gram, cross = np.zeros((7, 7)), np.zeros(7)
    for row, value, weight in zip(near, values, weights, strict=True):
        gather(row, value, weight, gram, cross)
    taps = np.zeros(7)
    assert solve(gram, cross, np.zeros((7, 7)), np.zeros(7), taps)
    left = near.T @ (weights[:, None] * near) + RIDGE * np.eye(7)
    np.testing.assert_allclose(taps, np.linalg.solve(left, near.T @ (weights * values)), rtol=1e-5)


def test_regression_without_moments_keeps_its_weights() -> None:
    taps = np.full(3, 0.5)
    gram = np.full((3, 3), np.nan)
    assert not solve(gram, np.zeros(3), np.zeros((3, 3)), np.zeros(3), taps)
    assert (taps == 0.5).all()


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 1, 17), (1, 15, 17), (16, 16, 16), (9, 31, 127), (91, 2, 3)]
)
@pytest.mark.parametrize("step", [1, 3, 2047])
def test_streams_come_back(shape: tuple[int, int, int], step: int) -> None:
    levels = default_levels(shape)
    tile = np.rint(step * 9 * blobs(shape, "adaptive")).astype(np.int32) - 40
    for scales in (1, 4):
        made = CODER.encode(tile, levels, step, None, scales)
        assert made is not None
        back = CODER.decode(made.streams, shape, levels, 0, step, None)
        assert np.array_equal(back, made.decoded)
        assert np.abs(back - tile).max() <= step // 2


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.sampled_from([1, 5, 2047]))
@settings(max_examples=20)
def test_any_integers_come_back(seed: int, bits: int, step: int) -> None:
    random = np.random.default_rng(seed)
    z, y, x = (int(n) for n in random.integers(1, 12, 3))
    shape = z, y, x
    tile = random.integers(-(1 << bits), (1 << bits) + 1, shape).astype(np.int32)
    hidden = random.random(shape) < 0.3 * random.random()
    levels = default_levels(shape)
    made = CODER.encode(tile, levels, step, hidden, 4)
    assert made is not None
    back = CODER.decode(made.streams, shape, levels, 0, step, hidden)
    assert np.array_equal(back, made.decoded)
    assert np.abs(np.where(hidden, 0, back.astype(np.int64) - tile)).max() <= step // 2


def test_the_largest_integers_come_back() -> None:
    tile = np.array([-(2**31), 2**31 - 1] * 32, np.int32).reshape(4, 4, 4)
    made = CODER.encode(tile, 2, 1, None, 2)
    assert made is not None
    assert np.array_equal(CODER.decode(made.streams, tile.shape, 2, 0, 1, None), tile)


def test_hidden_voxels_cost_nothing() -> None:
    tile = random_of("noise").integers(0, 1000, (24, 24, 24)).astype(np.int32)
    hidden = np.ones(tile.shape, bool)
    hidden[:12] = False
    made, whole = (CODER.encode(tile, 3, 1, h, 3) for h in (hidden, None))
    assert made is not None and whole is not None
    assert made.size < 0.55 * whole.size


def test_coarse_levels_are_those_of_the_whole() -> None:
    tile = np.rint(4000 * blobs((20, 29, 23), "coarse")).astype(np.int32)
    made = CODER.encode(tile, 3, 21, None, 3)
    assert made is not None
    for stop in (1, 2, 3):
        low = CODER.decode(made.streams, tile.shape, 3, stop, 21, None)
        every = (slice(None, None, 1 << stop),) * 3
        assert np.array_equal(low, made.decoded[every])


def damaged(data: st.DataObject, streams: list[bytes]) -> list[bytes]:
    """The first two, one of which is changed, cut, longer or something else."""
    out = [bytearray(s) for s in streams[:2]]
    victim = out[data.draw(st.integers(0, 1))]
    how = data.draw(st.sampled_from(["flip", "cut", "more", "other"]))
    if how == "flip":
        victim[data.draw(st.integers(0, len(victim) - 1))] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del victim[data.draw(st.integers(0, len(victim) - 1)) :]
    elif how == "more":
        victim += data.draw(st.binary(min_size=1, max_size=9))
    else:
        victim[:] = data.draw(st.binary(max_size=60))
    return [bytes(s) for s in out]


@given(st.data())
@settings(max_examples=60)
def test_damaged_streams_are_refused_or_decoded(data: st.DataObject) -> None:
    """Whatever the bytes: an array of the shape, or FormatError."""
    tile = np.rint(300 * blobs((9, 10, 11), "damage")).astype(np.int32)
    made = CODER.encode(tile, 2, 3, None, 2)
    assert made is not None
    try:
        back = CODER.decode(damaged(data, made.streams), tile.shape, 2, 0, 3, None)
    except FormatError:
        return
    assert back.shape == tile.shape


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bound": (blobs((40, 37, 41), "a").astype(np.float32), {"rel_error": 1e-3}),
    "psnr": (
        np.where(blobs((40, 37, 41), "m") > 0.3, 1 + blobs((40, 37, 41), "v"), 0),
        {"psnr": 60.0, "support": "off"},
    ),
    "lossless": (np.rint(200 * blobs((40, 37, 41), "a")).astype(np.int16), {"lossless": True}),
    "lattice": (np.rint(900 * blobs((40, 37, 41), "a")).astype(np.uint16), {"max_error": 3}),
    "specials": (third_nan(), {"rel_error": 1e-2}),
    "mask": (
        np.where(blobs((40, 37, 41), "m") > 0.3, 1 + blobs((40, 37, 41), "v"), 0),
        {"rel_error": 1e-3, "support": "exact"},
    ),
    "slice": (blobs((90, 91), "flat").astype(np.float64), {"rel_error": 1e-3}),
    "series": (
        [np.roll(blobs((30, 29, 31), "s"), i, 1).astype(np.float32) for i in range(2)],
        {"rel_error": 1e-3},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_promises_at_the_highest_effort(name: str) -> None:
    volume, options = CASES[name]
    usual, best = (packed(volume, effort=effort, **options) for effort in (5, 9))
    assert len(best) < len(usual)
    assert volcodec.verify(best, against=volume).ok
    assert {CODINGS[e.coding] for e in Reader(best).index} == {"adaptive"}


def packed(volume: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    volcodec.compress(volume, out, model="density", **options)
    return out.getvalue()

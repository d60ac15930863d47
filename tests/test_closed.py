"""Closed loops with coders of their own: all that is coded comes back, and damage is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import network
from volumes import blobs, random_of

from volcodec.adaptive.coder import AdaptiveCoder
from volcodec.errors import FormatError
from volcodec.neural.coder import NeuralCoder
from volcodec.transform.pyramid import default_levels

Coder = AdaptiveCoder | NeuralCoder
CODERS: dict[str, Coder] = {"adaptive": AdaptiveCoder(), "neural": NeuralCoder(network())}
each = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS)


@each
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 1, 17), (1, 15, 17), (16, 16, 16), (9, 31, 127), (91, 2, 3)]
)
@pytest.mark.parametrize("step", [1, 3, 2047])
def test_streams_come_back(coder: Coder, shape: tuple[int, int, int], step: int) -> None:
    levels = default_levels(shape)
    tile = np.rint(step * 9 * blobs(shape, "adaptive")).astype(np.int32) - 40
    for scales in (1, 4):
        made = coder.encode(tile, levels, step, None, scales)
        assert made is not None
        back = coder.decode(made.streams, shape, levels, 0, step, None)
        assert np.array_equal(back, made.decoded)
        assert np.abs(back - tile).max() <= step // 2


@each
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.sampled_from([1, 5, 2047]))
@settings(max_examples=20)
def test_any_integers_come_back(coder: Coder, seed: int, bits: int, step: int) -> None:
    random = np.random.default_rng(seed)
    z, y, x = (int(n) for n in random.integers(1, 12, 3))
    shape = z, y, x
    tile = random.integers(-(1 << bits), (1 << bits) + 1, shape).astype(np.int32)
    hidden = random.random(shape) < 0.3 * random.random()
    levels = default_levels(shape)
    made = coder.encode(tile, levels, step, hidden, 4)
    assert made is not None
    back = coder.decode(made.streams, shape, levels, 0, step, hidden)
    assert np.array_equal(back, made.decoded)
    assert np.abs(np.where(hidden, 0, back.astype(np.int64) - tile)).max() <= step // 2


@each
def test_the_largest_integers_come_back(coder: Coder) -> None:
    tile = np.array([-(2**31), 2**31 - 1] * 32, np.int32).reshape(4, 4, 4)
    made = coder.encode(tile, 2, 1, None, 2)
    assert made is not None
    assert np.array_equal(coder.decode(made.streams, tile.shape, 2, 0, 1, None), tile)


@each
def test_hidden_voxels_cost_nothing(coder: Coder) -> None:
    tile = random_of("noise").integers(0, 1000, (24, 24, 24)).astype(np.int32)
    hidden = np.ones(tile.shape, bool)
    hidden[:12] = False
    made, whole = (coder.encode(tile, 3, 1, h, 3) for h in (hidden, None))
    assert made is not None and whole is not None
    assert made.size < 0.55 * whole.size


@each
def test_coarse_levels_are_those_of_the_whole(coder: Coder) -> None:
    tile = np.rint(4000 * blobs((20, 29, 23), "coarse")).astype(np.int32)
    made = coder.encode(tile, 3, 21, None, 3)
    assert made is not None
    for stop in (1, 2, 3):
        low = coder.decode(made.streams, tile.shape, 3, stop, 21, None)
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


@each
@given(st.data())
@settings(max_examples=60)
def test_damaged_streams_are_refused_or_decoded(coder: Coder, data: st.DataObject) -> None:
    """Whatever the bytes: an array of the shape, or FormatError."""
    tile = np.rint(300 * blobs((9, 10, 11), "damage")).astype(np.int32)
    made = coder.encode(tile, 2, 3, None, 2)
    assert made is not None
    try:
        back = coder.decode(damaged(data, made.streams), tile.shape, 2, 0, 3, None)
    except FormatError:
        return
    assert back.shape == tile.shape

"""Signs that follow from the limits of the values: what they save, and that all comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from volumes import random_of

from volcodec import models, scales
from volcodec.entropy import streams
from volcodec.entropy.bands import _known
from volcodec.entropy.places import rooms
from volcodec.entropy.rows import SLACK
from volcodec.errors import FormatError
from volcodec.scales import ScaleCoder
from volcodec.transform.pyramid import default_levels

MODEL = models.load("density")
CODER = ScaleCoder(MODEL.banks["predicted"], MODEL.gains, predicted=True)
LIMITED = 0x40


def sparse(shape: tuple[int, int, int], top: int = 9) -> np.ndarray:
    """Integers of which most are zero, none below it."""
    random = random_of(f"sparse{shape}{top}")
    values = random.integers(0, top + 1, shape) * (random.random(shape) < 0.3)
    return values.astype(np.int32)


@pytest.mark.parametrize("shape", [(30, 33, 21), (1, 1, 400), (1, 50, 41), (16, 16, 16)])
@pytest.mark.parametrize("step", [1, 3, 2047])
def test_streams_with_limits_come_back(shape: tuple[int, int, int], step: int) -> None:
    levels = default_levels(shape)
    for tile in (sparse(shape), 2047 * sparse(shape), -5 - sparse(shape), sparse(shape, 60) - 30):
        made = CODER.encode(tile, levels, 0.0, step)
        back = CODER.decode(made.streams, shape, levels, 0, made.classical, step)
        assert np.array_equal(back, made.decoded)
        assert np.abs(back - tile).max() <= step // 2


def test_they_make_sparse_tiles_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    tile = sparse((40, 40, 40))
    with_limits = CODER.encode(tile, 3, 0.0, 1)
    assert any(s[0] & LIMITED for s in with_limits.streams if s)
    monkeypatch.setattr(streams, "_LIMITS", 1 << 40)  # never worth it
    monkeypatch.setattr(scales, "KEPT_FROM", 1 << 40)
    without = CODER.encode(tile, 3, 0.0, 1)
    assert not any(s[0] & LIMITED for s in without.streams if s)
    sizes = [sum(map(len, made.streams)) for made in (with_limits, without)]
    assert sizes[0] < 0.97 * sizes[1]


def test_hidden_voxels_beyond_the_limits_do_no_harm() -> None:
    """The closed loop leaves hidden voxels to the prediction, which may overshoot."""
    tile = 100 * sparse((20, 24, 22))
    hidden = random_of("hidden").random(tile.shape) < 0.4
    made = CODER.encode(tile, 3, 0.0, 1, hidden)
    back = CODER.decode(made.streams, (20, 24, 22), 3, 0, made.classical, 1)
    assert np.array_equal(back, made.decoded)
    assert np.array_equal(back[~hidden], tile[~hidden])


@given(st.integers(-50, 50), st.integers(0, 60), st.sampled_from([1, 3, 9]), st.integers(-3, 3))
def test_rooms_hold_what_can_come(least: int, span: int, step: int, whole: int) -> None:
    """By hand: every value within the limits, its nearest symbol, and the largest of them."""
    limits = np.array([least, least + span], np.int64)
    values = np.arange(least - 20, least + span + 21 + SLACK, dtype=np.int32)
    predicted = values[:-SLACK].reshape(1, 1, -1)
    expected = np.full(predicted.size + SLACK, whole * 64, np.int32)
    count = (predicted.size + 1) // 2
    down, up = np.full(count + 1, 99, np.int32), np.full(count + 1, 99, np.int32)
    rooms(predicted, limits, step, expected, 0, 0, 0, down, up)
    assert down[count] == up[count] == 99
    possible, quotients = np.arange(least, least + span + 1), np.arange(-200, 201)
    for i, p in enumerate(predicted[0, 0, ::2]):
        off = int(p) + step * quotients[:, None] - possible
        all_of_them = quotients[(abs(off) <= step // 2).any(axis=1)] - whole
        assert max(-all_of_them.min(), -1) == down[i]
        assert max(all_of_them.max(), -1) == up[i]


@given(st.integers(0, 1 << 32))
def test_rooms_of_any_size(seed: int) -> None:
    """Quotients of numbers of 33 bits, next to whole ones and not."""
    random = np.random.default_rng(seed)
    step = 2 * int(2 ** random.uniform(0, 29)) + 1
    limits = np.sort(random.integers(-(1 << 31), 1 << 31, 2))
    shape = (2, 3, 37)
    values = random.integers(-(1 << 31), 1 << 31, 2 * 3 * 37 + SLACK)
    near = step * random.integers(-1000, 1000, values.size) + limits[0] + random.integers(-1, 2)
    values = np.where(random.random(values.size) < 0.5, near, values).clip(
        -(1 << 31), (1 << 31) - 1
    )
    predicted = values.astype(np.int32)[:-SLACK].reshape(shape)
    expected = random.integers(-(1 << 18), 1 << 18, 40 + SLACK).astype(np.int32)
    z, y, x = (int(i) for i in random.integers(0, 2, 3))
    seen = [int(p) for p in predicted[z::2, y::2, x::2].reshape(-1)]
    down, up = np.zeros(len(seen), np.int32), np.zeros(len(seen), np.int32)
    rooms(predicted, limits, step, expected, z, y, x, down, up)
    for i, p in enumerate(seen):
        whole, half = (int(expected[i]) + 32) >> 6, (step - 1) // 2
        most = (1 << 31) - 1
        assert down[i] == min(max((p - int(limits[0]) + half) // step + whole, -1), most)
        assert up[i] == min(max((int(limits[1]) - p + half) // step - whole, -1), most)


def test_impossible_symbols_are_told() -> None:
    known = np.zeros(3, np.uint8)
    room = np.array([2, 2, 2], np.int32), np.array([5, 5, 5], np.int32)
    assert _known(np.array([0, -2, 3], np.int32), *room, known)
    assert list(known) == [0, 0, 1]
    assert not _known(np.array([0, -3, 3], np.int32), *room, known)


def test_limits_that_contradict_the_symbols_decode_to_something() -> None:
    """A hostile stream: no sign is possible, or the least is above the largest."""
    tile = sparse((20, 20, 20))
    made = CODER.encode(tile, 2, 0.0, 1)
    for i, stream in enumerate(made.streams):
        if stream and stream[0] & LIMITED:
            for least, largest in ((5, -5), (2**31 - 1, -(2**31)), (-(2**31), 2**31 - 1), (0, 0)):
                bad = list(made.streams)
                limits = np.array([least, largest], "<i4").tobytes()
                bad[i] = stream[:2] + limits + stream[10:]
                try:
                    assert CODER.decode(bad, (20, 20, 20), 2, 0, made.classical).shape == tile.shape
                except FormatError:
                    pass
    other = ScaleCoder(replace(MODEL.banks["lattice"]), MODEL.gains, lossless=True)
    with pytest.raises(FormatError, match="flags"):
        other.decode(made.streams, (20, 20, 20), 2, 0, made.classical)

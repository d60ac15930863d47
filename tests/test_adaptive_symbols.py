"""The trellis' symbols in contexts that learn: first guesses, streams, what it gains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from golden_cases import oversampled
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adaptive import packed
from test_closed import damaged
from test_scales import SHAPES, tiles
from volumes import blobs, random_of

import volcodec
from volcodec import models
from volcodec.adaptive import priors
from volcodec.adaptive.priors import MODELLED, bit_node, exponent_node
from volcodec.adaptive.trellis import TrellisAdaptiveCoder
from volcodec.container import CODINGS, Reader
from volcodec.encoder import VolumeEncoder
from volcodec.entropy.expectation import Signs
from volcodec.entropy.tables import COST_BITS
from volcodec.errors import FormatError
from volcodec.models import TRELLIS
from volcodec.request import Options
from volcodec.scales import ScaleCoder
from volcodec.support.binary import SQUASH, STRETCH_END
from volcodec.targets import target
from volcodec.tiledecoder import TRELLIS_ADAPTIVE, TileDecoder
from volcodec.tiles import LARGE_TILE, ArraySource, tile_shape
from volcodec.values import Mapping

MODEL = models.load("density")
BANK = MODEL.banks[TRELLIS]
STATIC = ScaleCoder(BANK, MODEL.gains)
CODER = TrellisAdaptiveCoder(STATIC)
Shape = tuple[int, int, int]


def likely(stretched: int, bit: bool) -> float:
    p = int(SQUASH[stretched + STRETCH_END]) / 65536
    return p if bit else 1 - p


@pytest.mark.parametrize("magnitude", [0, 1, 2, 3, 5, 11, 15, 18, 40, 70, 150])
def test_first_guesses_are_those_of_the_tables(magnitude: int) -> None:
    told = priors.of_magnitudes(BANK.tables)
    for table in range(0, len(BANK.tables), 9):
        nodes = told[table]
        p = likely(nodes[0], magnitude == 0)
        e = max(magnitude.bit_length() - 1, 0)
        if magnitude:
            for k in range(e + 1):
                p *= likely(nodes[exponent_node(k)], k == e)
        for i in range(e):
            bit, branch = bool(magnitude >> (e - 1 - i) & 1), magnitude >> (e - i)
            p *= likely(nodes[bit_node(e, branch)], bit) if i < MODELLED else 0.5
        cost = BANK.tables.cost[table, volcodec.entropy.tables.token_of(magnitude)]
        bits = cost / (1 << COST_BITS) - (magnitude > 0)
        if bits < 9:  # else the table escapes, or is as sure as chances of 1/4096 let guesses be
            assert -np.log2(p) == pytest.approx(bits, rel=0.1, abs=0.1)


def test_no_table_tells_what_lies_within_a_token() -> None:
    assert bit_node(10, 1) == -1
    told = priors.of_magnitudes(BANK.tables)
    assert (told[:, bit_node(9, 0b111)] == 0).all()  # the third bit of 512 and more


def test_signs_are_even_where_nothing_is_left_of_expectations() -> None:
    told = priors.of_signs(BANK.signs)
    assert told.shape == BANK.signs.freq.shape
    assert (told[..., 0] == 0).all()
    more = BANK.signs.freq[..., 1:].astype(int) - (1 << 13)
    assert (told[..., 1:] * more >= 0).all() and told[..., 1:].any()
    assert np.abs(priors.of_signs(Signs.even(4))).max() <= 1


@pytest.mark.parametrize(("shape", "levels"), SHAPES)
def test_streams_come_back(shape: Shape, levels: int) -> None:
    for tile in tiles(shape).values():
        for scales in (1, 4):
            made = STATIC.encode(tile, levels, 0.1, scales=scales)
            found = CODER.encode(made, shape, levels)
            assert found is not None and len(found.streams) == len(made.streams)
            for stop in range(levels + 1):
                back = CODER.decode(found.streams, shape, levels, stop)
                same = STATIC.decode(made.streams, shape, levels, stop, made.classical)
                assert np.array_equal(back, same)
            assert np.array_equal(CODER.decode(found.streams, shape, levels, 0), made.decoded)


@given(st.integers(0, 2**32 - 1), st.integers(0, 27))
@settings(max_examples=15)
def test_any_integers_come_back(seed: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    z, y, x = (int(n) for n in random.integers(1, 20, 3))
    tile = random.integers(-(1 << bits), (1 << bits) + 1, (z, y, x)).astype(np.int32)
    made = STATIC.encode(tile, 2, 0.05)
    found = CODER.encode(made, (z, y, x), 2)
    assert found is not None
    assert np.array_equal(CODER.decode(found.streams, (z, y, x), 2, 0), made.decoded)


def test_nothing_is_written_of_zeros() -> None:
    made = STATIC.encode(np.zeros((20, 30, 10), np.int32), 3, 0.1)
    found = CODER.encode(made, (20, 30, 10), 3)
    assert found is not None and not any(found.streams)
    assert not CODER.decode(found.streams, (20, 30, 10), 3, 0).any()


def test_long_runs_have_chains_of_states() -> None:
    tile = np.rint(4000 * random_of("chains").standard_normal((1, 300, 260))).astype(np.int32)
    made = STATIC.encode(tile, 1, 0.1)  # classes of more than 2**14 symbols
    found = CODER.encode(made, (1, 300, 260), 1)
    assert found is not None
    assert np.array_equal(CODER.decode(found.streams, (1, 300, 260), 1, 0), made.decoded)


def test_it_learns() -> None:
    tile = np.rint(6000 * oversampled((56, 60, 58))).astype(np.int32)
    made = STATIC.encode(tile, 4, 0.075)
    found = CODER.encode(made, (56, 60, 58), 4)
    assert found is not None and found.size < 0.97 * made.size


@given(st.data())
@settings(max_examples=40)
def test_damaged_streams_are_refused_or_decoded(data: st.DataObject) -> None:
    """Whatever the bytes: an array of the shape, or FormatError."""
    shape = 9, 14, 11
    tile = np.rint(3000 * blobs(shape, "damage")).astype(np.int32)
    found = CODER.encode(STATIC.encode(tile, 2, 0.1), shape, 2)
    assert found is not None
    try:
        back = CODER.decode(damaged(data, found.streams), shape, 2, 0)
    except FormatError:
        return
    assert back.shape == shape


@pytest.mark.parametrize(
    "stream",
    [b"\x04\x00", b"\x01\x80", b"\x02\x01\x00\xfe", b"\x00\x41\x00", b"\x00"],
    ids=["flags", "offsets", "codebook", "table", "short"],
)
def test_beginnings_are_checked(stream: bytes) -> None:
    with pytest.raises(FormatError, match=r"adaptive symbols|weights"):
        CODER.decode([stream, b""], (8, 8, 8), 2, 0)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "float": (oversampled((40, 37, 41)).astype(np.float32), {"psnr": 45.0}),
    "integers": (np.rint(3000 * oversampled((40, 37, 41))).astype(np.int16), {"psnr": 40.0}),
    "slice": (oversampled((1, 90, 91))[0], {"psnr": 42.0}),
    "size": (oversampled((40, 37, 41)).astype(np.float32), {"ratio": 12.0}),
    "series": (
        [(oversampled((30, 29, 31)) * (1 + 0.1 * i)).astype(np.float32) for i in range(2)],
        {"psnr": 45.0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_promises_at_the_highest_effort(name: str) -> None:
    volume, options = CASES[name]
    best = packed(volume, effort=9, **options)
    assert volcodec.verify(best, against=volume).ok
    assert {CODINGS[e.coding] for e in Reader(best).index} == {"trellis-adaptive"}
    if "psnr" in options:
        assert options["psnr"] <= volcodec.inspect(best).psnr <= options["psnr"] + 0.3
        assert len(best) < len(packed(volume, effort=7, **options))


def test_tiles_are_larger_at_the_highest_efforts() -> None:
    assert tile_shape((300, 321, 128), None) == (160, 112, 128)
    assert tile_shape((300, 321, 128), None, LARGE_TILE) == (300, 176, 128)
    assert tile_shape((300, 321, 128), 64, LARGE_TILE) == (64, 64, 64)
    source = ArraySource(np.zeros((2, 300, 9), np.uint8))
    found = [
        VolumeEncoder([source], MODEL, target(lossless=True), Options(effort=e)).tile
        for e in (7, 8)
    ]
    assert found == [(2, 160, 9), (2, 300, 9)]


def test_a_model_without_a_trellis_has_no_such_tiles() -> None:
    banks = {name: bank for name, bank in MODEL.banks.items() if name != TRELLIS}
    decoder = TileDecoder(replace(MODEL, banks=banks))
    mapping = Mapping(np.dtype(np.float32), "real", 0.0, 0.0, 1.0, 0.0)
    with pytest.raises(FormatError, match="model"):
        decoder.bank(TRELLIS_ADAPTIVE, mapping)

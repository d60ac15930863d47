"""The scales of a tile, by each bank of a model: the decoder gives what the encoder says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from volumes import blobs, random_of

from volcodec import models
from volcodec.errors import FormatError
from volcodec.scales import MAX_SCALES, ScaleCoder, levels_of, scale_count
from volcodec.tiledecoder import TileDecoder
from volcodec.transform.layers import level_shapes
from volcodec.transform.pyramid import default_levels

Shape = tuple[int, int, int]
CODERS = TileDecoder(models.load("density")).coders
SHAPES: list[tuple[Shape, int]] = [
    ((1, 1, 1), 0), ((1, 1, 1), 5), ((1, 1, 2), 1), ((3, 2, 1), 5), ((1, 1, 67), 5),
    ((15, 17, 9), 3), ((33, 5, 2), 4), ((16, 16, 16), 2), ((7, 6, 5), 0), ((2, 40, 3), 8),
]  # fmt: skip


def tiles(shape: Shape) -> dict[str, np.ndarray]:
    random = random_of(f"scales{shape}")
    smooth = 3000 * blobs(shape, f"smooth{shape}", zeros=False)
    return {
        "zeros": np.zeros(shape, np.int32),
        "constant": np.full(shape, -12345, np.int32),
        "smooth": np.rint(smooth).astype(np.int32),
        "noise": random.integers(-9000, 9000, shape, np.int32),
        "sparse": np.where(random.random(shape) < 0.03, 100_000, 0).astype(np.int32),
        "large": random.integers(-(1 << 27), 1 << 27, shape, np.int32),
    }


def decode(
    coder: ScaleCoder, streams: list[bytes], shape: Shape, levels: int, classical: bool, step: int,
    stop: int = 0,
) -> np.ndarray:  # fmt: skip
    return coder.decode(streams, shape, levels, stop, classical, step)


@pytest.mark.parametrize("bank", CODERS)
@pytest.mark.parametrize(("shape", "levels"), SHAPES)
def test_decoder_gives_what_the_encoder_says(bank: str, shape: Shape, levels: int) -> None:
    coder = CODERS[bank]
    for tile in tiles(shape).values():
        for step in (1, 33, 257) if coder.predicted else (1,):
            before = tile.copy()
            made = coder.encode(tile, levels, 0.1, step)
            assert np.array_equal(tile, before)
            assert len(made.streams) == scale_count(levels)
            back = decode(coder, made.streams, shape, levels, made.classical, step)
            assert back.dtype == np.int32
            assert np.array_equal(back, made.decoded)
            if coder.lossless or coder.predicted:
                # The closed loop is off by half a step at most.
                assert np.abs(back.astype(np.int64) - tile).max() <= step // 2


@pytest.mark.parametrize("bank", CODERS)
def test_all_of_int32(bank: str) -> None:
    """Sums that wrap around come back where nothing is lost."""
    coder = CODERS[bank]
    tile = random_of("wrap").integers(-(1 << 31), 1 << 31, (9, 10, 11)).astype(np.int32)
    made = coder.encode(tile, 2, 0.1, 1)
    back = decode(coder, made.streams, (9, 10, 11), 2, made.classical, 1)
    assert np.array_equal(back, made.decoded)
    if coder.lossless or coder.predicted:
        assert np.array_equal(back, tile)


@pytest.mark.parametrize("bank", CODERS)
def test_coarse_levels_need_only_the_first_scales(bank: str) -> None:
    coder = CODERS[bank]
    shape: Shape = (37, 20, 65)
    levels = default_levels(shape)
    tile = tiles(shape)["smooth"]
    made = coder.encode(tile, levels, 0.1, 9)
    scales = scale_count(levels)
    shapes = level_shapes(shape, levels)
    for stop in range(levels + 1):
        # Whatever lies in the finer scales is not looked at.
        needed = [i for i in range(scales) if i == 0 or levels_of(i, scales, levels)[0] > stop]
        streams = [s if i in needed else b"no stream" for i, s in enumerate(made.streams)]
        low = decode(coder, streams, shape, levels, made.classical, 9, stop)
        assert low.shape == shapes[stop]
        if coder.predicted:
            every = 1 << stop
            assert np.abs(low - tile[::every, ::every, ::every]).max() <= 4
    assert len(needed) == 1
    assert scales == MAX_SCALES


def test_hidden_voxels_are_free() -> None:
    """The closed loop codes nothing where nothing has to come back."""
    coder = CODERS["predicted"]
    tile = tiles((20, 21, 22))["smooth"]
    hidden = random_of("hidden").random(tile.shape) < 0.4
    noisy = np.where(hidden, random_of("junk").integers(-9999, 9999, tile.shape), tile)
    noisy = noisy.astype(np.int32)
    made = coder.encode(noisy, 3, 0.1, 9, hidden)
    back = decode(coder, made.streams, (20, 21, 22), 3, made.classical, 9)
    assert np.abs(back - tile)[~hidden].max() <= 4
    dear = coder.encode(noisy, 3, 0.1, 9)
    assert sum(map(len, made.streams)) < 0.7 * sum(map(len, dear.streams))


@pytest.mark.parametrize("bank", CODERS)
def test_either_path_is_taken(bank: str) -> None:
    """Data unlike the training set goes the classical way, and decodes by it alone."""
    coder = CODERS[bank]
    z, y, x = np.indices((16, 24, 24))
    waves = np.rint(4000 * (np.sin(2.3 * x) + np.cos(2.7 * y) * np.sin(1.9 * z))).astype(np.int32)
    made = coder.encode(waves, 3, 0.1, 33)
    back = decode(coder, made.streams, waves.shape, 3, made.classical, 33)
    assert np.array_equal(back, made.decoded)
    try:
        other = decode(coder, made.streams, waves.shape, 3, not made.classical, 33)
    except FormatError:
        return
    assert not np.array_equal(other, back)


def oversampled(shape: Shape) -> np.ndarray:
    """Neighbours in a band tell much about each other."""
    field = random_of("oversampled").standard_normal(shape)
    for axis in range(3):
        field = field + 0.5 * (np.roll(field, 1, axis) + np.roll(field, -1, axis))
    return np.rint(8000 * field).astype(np.int32)


@pytest.mark.parametrize("bank", CODERS)
def test_expectations_save_bytes_and_come_back(bank: str) -> None:
    shape: Shape = (30, 34, 36)
    tile = oversampled(shape)
    expecting = CODERS[bank]
    nothing = np.zeros((7, 0, 28), np.int8)
    blind = ScaleCoder(
        replace(expecting.bank, codebook=nothing), expecting.gains,
        lossless=expecting.lossless, predicted=expecting.predicted,
    )  # fmt: skip
    made, plain = (c.encode(tile, 3, 0.1, 601) for c in (expecting, blind))
    finest, other = made.streams[-1], plain.streams[-1]
    assert finest[0] & 0x20 and not other[0] & 0x20
    assert len(finest) < 0.97 * len(other)
    back = decode(expecting, made.streams, shape, 3, made.classical, 601)
    assert np.array_equal(back, made.decoded)
    if bank == "lossy":  # what is expected is a better guess than zero, too
        errors = [np.mean((m.decoded - tile.astype(float)) ** 2) for m in (made, plain)]
        assert errors[0] < 1.01 * errors[1]


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0x80), (0, 0xFF), (2, 0), (2, 200), (2, 254)],
    ids=["band 7", "all bands", "code 0", "code 200", "code 254"],
)  # fmt: skip
def test_hostile_expectations_are_refused(at: int, value: int) -> None:
    coder = CODERS["lossy"]
    shape: Shape = (30, 34, 36)
    made = coder.encode(oversampled(shape), 3, 0.1)
    stream = bytearray(made.streams[-1])
    start = 2 + (2 if stream[0] & 0x10 else 0)
    stream[start + at] = value
    with pytest.raises(FormatError):
        decode(coder, [*made.streams[:-1], bytes(stream)], shape, 3, made.classical, 1)


@pytest.mark.parametrize("bank", CODERS)
def test_empty_streams_are_zeros(bank: str) -> None:
    coder = CODERS[bank]
    made = coder.encode(np.zeros((20, 20, 20), np.int32), 3, 0.1, 9)
    assert made.streams == [b""] * 3
    assert not decode(coder, [b""] * 3, (20, 20, 20), 3, False, 9).any()

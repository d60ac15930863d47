"""Regions, levels and frames: equal to slices of the whole, read from their own bytes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container_cases import Counting
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import blobs, of_dtype, random_of

import volcodec
from volcodec import models
from volcodec.container import CODINGS, FIRST_READ, Reader
from volcodec.errors import InputError
from volcodec.preview import low_band
from volcodec.tiles import boxes, coarse_box, normal_region, overlap
from volcodec.transform.pyramid import CDF97_PREVIEW, Pyramid
from volcodec.values import from_ordered, to_ordered

Tiled = tuple[np.ndarray, bytes]

bounds = st.one_of(st.none(), st.integers(-50, 50))
slices = st.builds(slice, bounds, bounds)


@settings(max_examples=80)
@given(region=st.lists(slices, max_size=3), ellipsis=st.booleans())
def test_any_region(tiled: Tiled, region: list[slice], ellipsis: bool) -> None:
    _, blob = tiled
    whole = volcodec.decode(blob, threads=1)
    index: tuple[Any, ...] = (Ellipsis, *region) if ellipsis else tuple(region)
    part = volcodec.decode(blob, region=index, threads=1)
    assert part.dtype == whole.dtype
    assert part.shape == whole[index].shape
    assert part.tobytes() == np.ascontiguousarray(whole[index]).tobytes()


@pytest.mark.parametrize("tile", [1, 3, 7, 16, 23, 64])
def test_any_tile(codec: volcodec.Codec, tile: int) -> None:
    volume = blobs((9, 14, 11) if tile < 7 else (23, 31, 40), "tiles").astype(np.float32)
    blob = codec.encode(volume, rel_error=1e-2, tile=tile)
    whole = codec.decode(blob)
    assert np.abs(whole - volume).max() <= 1e-2 * np.ptp(volume)
    for region in (np.s_[2:9, 3:13, -6:-1], np.s_[:, 5], np.s_[8:, 8:, 8:]):
        if not isinstance(region[1], slice):
            continue
        assert np.array_equal(codec.decode(blob, region=region), whole[region])


@pytest.mark.parametrize(
    "region", [5, (1, 2, 3), np.s_[::2], np.s_[:, :, ::-1], np.s_[:, :, :, :], "0:5",
               np.s_[0.5:2], [slice(0, 1)]],
)  # fmt: skip
def test_regions_that_are_none(tiled: Tiled, region: Any) -> None:
    with pytest.raises(InputError):
        volcodec.decode(tiled[1], region=region)


def stream_bytes(blob: bytes, reads: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """(tile, stream) pairs of which ``reads`` touched at least one byte."""
    reader = Reader(blob)
    touched = set()
    for tile, entry in enumerate(reader.index):
        for stream, length in enumerate(entry.lengths):
            begin = reader.payload_offset + reader.index.offset(tile, stream)
            if any(a < begin + length and begin < a + size for a, size in reads):
                touched.add((tile, stream))
    return touched


def reads_of(blob: bytes, **options: Any) -> list[tuple[int, int]]:
    """What a decode reads beyond the first read, which every opening costs."""
    source = Counting(blob)
    volcodec.decode(source, threads=1, **options)
    assert source.reads[0] == (0, min(FIRST_READ, len(blob)))
    return source.reads[1:]


@pytest.fixture(scope="module")
def large(codec: volcodec.Codec) -> Tiled:
    """So many bytes that hardly any lie in the first read."""
    volume = blobs((80, 72, 90), "large", zeros=False)
    volume += 0.02 * random_of("grain").standard_normal(volume.shape)
    volume = volume.astype(np.float32)
    return volume, codec.encode(volume, rel_error=1e-4, tile=32)


def test_only_touched_tiles_are_read(large: Tiled) -> None:
    volume, blob = large
    whole = volcodec.decode(blob)
    header = Reader(blob).header
    cases = (
        (np.s_[32:64, 32:64, 32:64], 1),
        (np.s_[40:41, 50:52, 33:34], 1),
        (np.s_[31:33, 40:50, 40:50], 2),
        (np.s_[31:33, 31:33, 31:33], 8),
        (np.s_[:, 70:, 89:], 3),
        (np.s_[:0, :, :], 0),
    )
    for region, count in cases:
        source = Counting(blob)
        part = volcodec.decode(source, region=region, threads=1)
        assert np.array_equal(part, whole[region])
        touched = {tile for tile, _ in stream_bytes(blob, source.reads[1:])}
        inside = [
            i for i, box in enumerate(boxes(header.shape, header.tile))
            if volume[region].size
            and overlap(box, normal_region(region, volume.shape))
        ]  # fmt: skip
        assert len(inside) == count
        # The first tiles may have come with the first read.
        assert touched <= set(inside)
        assert len(source.reads) <= 1 + count


def test_a_preview_reads_only_coarse_scales(large: Tiled) -> None:
    _, blob = large
    reader = Reader(blob)
    previous = len(blob)
    for level in (1, 2, 3):
        reads = reads_of(blob, level=level)
        streams = {stream for tile, stream in stream_bytes(blob, reads) if tile}
        assert streams == set(range(2, 2 + max(1, reader.header.scales - level)))
        size = FIRST_READ + sum(n for _, n in reads)
        assert size <= previous
        previous = size
    assert previous < len(blob) / 8


@pytest.mark.parametrize("name", ["mri_otsu_head", "turb_wmag91"])
def test_previews_of_real_volumes_read_little(
    codec: volcodec.Codec, real_volumes: Path, name: str
) -> None:
    import h5py

    with h5py.File(real_volumes / f"{name}.h5") as file:
        volume = file["volume"][:96, :96, :96]
    source = Counting(codec.encode(volume, rel_error=1e-3))
    codec.decode(source, level=2)
    assert sum(n for _, n in source.reads) < max(len(source.blob) / 4, FIRST_READ + 1)


def coarse_band(values: np.ndarray, coding: str, domain: str, level: int) -> np.ndarray:
    """The coarse band of a tile's original by the transform of its coding, in float64."""
    every = 1 << level
    if coding == "constant" or coding.startswith("predicted"):
        return values[::every, ::every, ::every].astype(np.float64)
    banks = models.load("density").banks
    if coding == "raw":
        return low_band(Pyramid(CDF97_PREVIEW), values, level)
    if not coding.startswith("lattice"):
        return low_band(banks["lossy"].pyramid, values, level)
    if domain != "bits":
        return low_band(banks["lattice"].pyramid, values, level)
    band = low_band(banks["lattice"].pyramid, to_ordered(values), level)
    return from_ordered(np.rint(band), values.dtype).astype(np.float64)


@pytest.mark.parametrize("shape", [(39, 29, 41), (1, 1, 65), (33, 50), (20, 20, 20), (5, 1, 31)])
@pytest.mark.parametrize("target", [{"rel_error": 1e-4}, {"lossless": True}, {"psnr": 70.0}])
def test_levels_are_the_coarse_band_of_the_original(
    codec: volcodec.Codec, shape: tuple[int, ...], target: dict[str, Any]
) -> None:
    volume = (3 + blobs(shape, f"levels{shape}", zeros=False)).astype(np.float32)
    blob = codec.encode(volume, tile=32, support="off", **target)
    reader = Reader(blob)
    header = reader.header
    cube = volume.reshape(header.shape)
    for level in range(1, 4):
        preview = codec.decode(blob, level=level)
        assert preview.shape == tuple(-(-n // 2**level) for n in shape)
        assert preview.dtype == volume.dtype
        expected = np.empty([-(-n // 2**level) for n in header.shape])
        for entry, box in zip(reader.index, boxes(header.shape, header.tile), strict=True):
            tile = np.ascontiguousarray(cube[box])
            band = coarse_band(tile, CODINGS[entry.coding], header.domain, level)
            expected[coarse_box(box, level)] = band
        difference = np.abs(preview.reshape(expected.shape) - expected).max()
        # The quantisation of the band's coefficients and the rounding of the values.
        assert difference <= (1e-5 if "lossless" in target else 2e-3)


def test_regions_of_levels_are_slices_of_levels(tiled: Tiled) -> None:
    _, blob = tiled
    for level in (1, 2):
        whole = volcodec.decode(blob, level=level)
        for region in (np.s_[1:3, :2, 1:], np.s_[-2:, -1:, :], np.s_[0:0], np.s_[..., 2:3]):
            part = volcodec.decode(blob, level=level, region=region)
            assert np.array_equal(part, whole[region])


@pytest.mark.parametrize("level", [-1, 3, 40, 1 << 70, 1.5, "1", None])
def test_levels_that_are_none(tiled: Tiled, level: Any) -> None:
    with pytest.raises(InputError):
        volcodec.decode(tiled[1], level=level)


@pytest.mark.parametrize("target", [{"rel_error": 1e-3}, {"lossless": True}, {"psnr": 60.0}])
def test_levels_of_nan(codec: volcodec.Codec, target: dict[str, Any]) -> None:
    """A preview voxel is NaN exactly where it covers one; infinities likewise."""
    volume = blobs((22, 25, 33), "nan levels", zeros=False).astype(np.float32)
    volume[3, 4, 5] = np.nan
    volume[20:, 20:, 30:] = np.nan
    volume[10, 10, 10] = np.inf
    volume[15, 3, 17] = -np.inf
    blob = codec.encode(volume, tile=24, **target)
    for level in (1, 2, 3):
        preview = codec.decode(blob, level=level)
        side = 1 << level
        pad = [(0, -n % side) for n in volume.shape]
        grown = np.pad(volume, pad, mode="edge")
        z, y, x = (n // side for n in grown.shape)
        cells = grown.reshape(z, side, y, side, x, side).transpose(0, 2, 4, 1, 3, 5)
        cells = cells.reshape(z, y, x, -1)
        nan = np.isnan(cells).any(-1)
        assert np.array_equal(np.isnan(preview), nan)
        assert np.array_equal(np.isposinf(preview), (cells == np.inf).any(-1) & ~nan)
        assert np.array_equal(np.isneginf(preview), (cells == -np.inf).any(-1) & ~nan)
        finite = np.isfinite(preview)
        assert np.abs(preview[finite]).max() < 3


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float16", "float64"])
def test_levels_of_dtypes(codec: volcodec.Codec, dtype: str) -> None:
    volume = of_dtype(dtype, (20, 20, 40))
    for target in ({"rel_error": 1e-2}, {"lossless": True}):
        preview = codec.decode(codec.encode(volume, **target), level=2)
        assert preview.dtype == dtype
        assert preview.shape == (5, 5, 10)
    constant = np.full((9, 9, 19), volume.max(), dtype)
    assert (codec.decode(codec.encode(constant), level=3) == volume.max()).all()


def test_levels_where_tiles_do_not_halve(codec: volcodec.Codec) -> None:
    volume = blobs((30, 30, 50), "uneven").astype(np.float32)
    blob = codec.encode(volume, tile=20)
    assert codec.decode(blob, level=2).shape == (8, 8, 13)
    with pytest.raises(InputError, match="levels 0 to 2"):
        codec.decode(blob, level=3)
    assert codec.decode(codec.encode(volume), level=3).shape == (4, 4, 7)


def test_two_dimensions(codec: volcodec.Codec) -> None:
    image = blobs((45, 70), "image").astype(np.float32)
    blob = codec.encode(image, tile=16)
    whole = codec.decode(blob)
    assert whole.shape == image.shape
    assert np.array_equal(codec.decode(blob, region=np.s_[-9:, 3:33]), whole[-9:, 3:33])
    assert codec.decode(blob, level=2).shape == (12, 18)
    assert np.array_equal(codec.decode(blob, region=slice(0, 4)), whole[:4])
    with pytest.raises(InputError):
        codec.decode(blob, region=np.s_[:, :, :])


def test_frames(codec: volcodec.Codec, tmp_path: Path) -> None:
    frames = [blobs((18, 20, 22), f"frame{i}").astype(np.float32) for i in range(3)]
    path = tmp_path / "series.vc"
    volcodec.compress(list(frames), path, rel_error=1e-3, tile=16)
    blob = path.read_bytes()
    assert volcodec.inspect(blob).frames == 3
    whole = codec.decode(blob)
    assert whole.shape == (3, 18, 20, 22)
    peak = max(float(f.max()) for f in frames) - min(float(f.min()) for f in frames)
    for i, frame in enumerate(frames):
        assert np.abs(whole[i] - frame).max() <= 1e-3 * peak
        assert np.array_equal(codec.decode(blob, frame=i), whole[i])
        region = np.s_[3:17, 15:18, 1:]
        assert np.array_equal(codec.decode(blob, frame=i, region=region), whole[i][region])
    assert np.array_equal(codec.decode(blob, frame=-1), whole[2])
    part = codec.decode(blob, region=np.s_[3:4], level=1)
    assert part.shape == (3, 1, 10, 11)
    for bad in (3, -4):
        with pytest.raises(InputError, match="frames 0 to 2"):
            codec.decode(blob, frame=bad)

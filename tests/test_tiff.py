"""TIFF stacks: what tifffile reads of the file that comes back is what it read of the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import run, works
from format_cases import needs_library, ramp, read, refused, survives_damage, through
from volumes import blobs

from volcodec.formats import create_sink, open_series, open_source

tifffile = pytest.importorskip("tifffile")

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None, "resolution": (300, 300), "resolutionunit": "INCH"},
    "text": {"metadata": None, "description": "a volume of a test"},
    "tifffile": {"metadata": {"spacing": 3, "unit": "mm"}, "resolution": (2, 4)},
    "imagej": {
        "imagej": True,
        "resolution": (2, 4),
        "metadata": {"axes": "ZYX", "spacing": 3, "unit": "um", "min": 1.0, "max": 9.0},
    },
    "ome": {
        "ome": True,
        "metadata": {
            "axes": "ZYX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.25,
            "PhysicalSizeZ": 3,
            **{f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"},
            "Name": "µ",
        },
    },
}


def write(path: Path, volume: np.ndarray, kind: str = "plain", **more: Any) -> Path:
    order = ">" if volume.dtype.byteorder == ">" else "<"
    options = {"byteorder": order, "photometric": "minisblack", **KINDS[kind], **more}
    tifffile.imwrite(path, volume, **options)
    return path


def said(path: Path) -> dict[str, Any]:
    """What the first image of a file says, except where its parts lie and who wrote it."""
    places = ("StripOffsets", "StripByteCounts", "RowsPerStrip", "NewSubfileType", "Software")
    with tifffile.TiffFile(path) as file:
        tags = {tag.name: tag.value for tag in file.pages[0].tags if tag.name not in places}
        return {**tags, "byte order": file.byteorder, "series": file.series[0].axes}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [">u2", "<f4"])
def test_voxels_and_tags_come_back(tmp_path: Path, kind: str, dtype: str) -> None:
    volume = ramp(dtype)
    original = write(tmp_path / "a.tif", volume, kind)
    with open_source(original) as source:
        assert source.dtype == volume.dtype
        assert np.array_equal(source.read((slice(1, 3), slice(2, None))), volume[1:3, 2:])
        if kind not in ("plain", "text"):
            assert source.attrs["spacing"] == [3, 0.25, 0.5]
            assert source.attrs["spacing_unit"] == ("mm" if kind == "tifffile" else "um")
    through(original, tmp_path / "b.tif")
    before, after = said(original), said(tmp_path / "b.tif")
    description = before.pop("ImageDescription", None), after.pop("ImageDescription", None)
    if kind == "plain":  # a description says then which axes there are
        before["series"] = after["series"]
    else:
        assert description[0] == description[1]
    assert before == after
    assert np.array_equal(tifffile.imread(tmp_path / "b.tif"), volume)


@pytest.mark.parametrize("dtype", ["i1", ">u4", "f2", ">f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_dtypes(tmp_path: Path, dtype: str, compression: str | None) -> None:
    volume = ramp(dtype)
    original = write(tmp_path / "a.tiff", volume, compression=compression)
    through(original, tmp_path / "b.tiff")
    with open_source(tmp_path / "b.tiff") as source:
        assert source.dtype == volume.dtype
    assert np.array_equal(read(tmp_path / "b.tiff"), volume)


def test_bound(tmp_path: Path) -> None:
    volume = blobs((9, 17, 19), "tiff").astype("f4")
    volume[3, 4, 5:9] = np.nan
    through(write(tmp_path / "a.tif", volume), tmp_path / "b.tif", rel_error=0.01)
    error = read(tmp_path / "b.tif") - volume
    assert np.isnan(error).sum() == 4 and 0 < np.nanmax(np.abs(error)) <= 0.01


def test_parts_keep_their_spacing(tmp_path: Path) -> None:
    original = write(tmp_path / "a.tif", ramp("u2", (24, 20, 17)), "imagej")
    through(original, tmp_path / "b.tif", region=np.s_[4:12, 3:, -5:])
    assert np.array_equal(read(tmp_path / "b.tif"), read(original)[4:12, 3:, -5:])
    through(original, tmp_path / "c.tif", level=1)
    for name, step in {"b.tif": 1, "c.tif": 2}.items():
        with open_source(tmp_path / name) as source:
            assert np.allclose(source.attrs["spacing"], [3 * step, 0.25 * step, 0.5 * step])
            assert source.attrs["spacing_unit"] == "um"


def test_series(tmp_path: Path) -> None:
    frames = np.stack([ramp("u2") + t for t in range(3)]).astype("u2")
    metadata = {"axes": "TZYX", "spacing": 3, "unit": "um"}
    original = write(tmp_path / "a.tif", frames, "imagej", metadata=metadata)
    assert len(open_series(original)) == 3
    works("compress", original, tmp_path / "a.vc", "--lossless")
    works("verify", tmp_path / "a.vc", "--against", original)
    works("decompress", tmp_path / "a.vc", tmp_path / "b.tif")
    assert said(tmp_path / "b.tif") == said(original)
    assert np.array_equal(read(tmp_path / "b.tif"), frames)
    works("decompress", tmp_path / "a.vc", tmp_path / "c.tif", "--frame", 2)
    assert np.array_equal(read(tmp_path / "c.tif"), frames[2])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (3, 1, 1), (6, 7), (3, 4, 3)])
def test_odd_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with create_sink(tmp_path / "a.tif", shape, np.dtype("f4")) as sink:
        sink.write((slice(None),), ramp("f4", shape))
    through(tmp_path / "a.tif", tmp_path / "b.tif")
    assert read(tmp_path / "b.tif").shape == shape
    assert np.array_equal(read(tmp_path / "b.tif"), ramp("f4", shape))
    before, after = said(tmp_path / "a.tif"), said(tmp_path / "b.tif")
    assert before["ImageDescription"] == after["ImageDescription"]


def test_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp("u1", (6, 7, 3)), photometric="rgb")
    refused(tmp_path / "a.tif", "holds colours (RGB)")
    channels: dict[str, Any] = {"ome": True, "metadata": {"axes": "ZCYX"}}
    refused(write(tmp_path / "b.tif", ramp("u1", (2, 3, 4, 5)), **channels), "3 channels")
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        file.write(ramp("u1", (6, 7)), metadata=None)
        file.write(ramp("u2", (8, 9)), metadata=None)
    refused(tmp_path / "c.tif", "2 images of different kinds")
    refused(write(tmp_path / "d.tif", ramp("f4") > 2), "uint8")
    (tmp_path / "e.tif").write_text("no image")
    refused(tmp_path / "e.tif", "not a readable TIFF file")
    whole = write(tmp_path / "f.tif", ramp("f4"), compression="zlib").read_bytes()
    for part in (4, 2):  # both within the chain of images: the first ones are whole
        (tmp_path / "f.tif").write_bytes(whole[: -len(whole) // part])
        refused(tmp_path / "f.tif", "not a readable TIFF file")
    cut = run("compress", tmp_path / "f.tif", tmp_path / "f.vc")
    assert cut.returncode == 1 and cut.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_damage(tmp_path: Path, kind: str) -> None:
    survives_damage(write(tmp_path / "a.tif", ramp("u2"), kind), 400)


def test_without_tifffile(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_library(monkeypatch, "tifffile", "tiff", "tiff")

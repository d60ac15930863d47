"""MRC and CCP4 maps: every byte comes back, and mrcfile finds other volumes valid."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_calls import works
from format_cases import needs_library, ramp, read, refused, survives_damage, through
from volumes import blobs

from volcodec.errors import InputError
from volcodec.formats import create_sink, open_series, open_source

mrcfile = pytest.importorskip("mrcfile")


def write(path: Path, volume: np.ndarray, stack: bool = False) -> Path:
    """Write a volume with an extended header, an origin, a label and voxels of 1 x 2 x 3."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(volume)
        if stack:
            file.set_image_stack()
        file.voxel_size = (1, 2, 3)
        file.set_extended_header(np.frombuffer(b"extended " * 20, "V1"))
        file.header.exttyp = b"MRCO"
        file.header.origin = (10, 20, 30)
        file.add_label("a volume of a test")
    return path


@pytest.mark.parametrize("dtype", ["i1", "<i2", ">u2", "<f2", "<f4", ">f4"])
def test_every_byte_comes_back(tmp_path: Path, dtype: str) -> None:
    volume = ramp(dtype)
    original = write(tmp_path / "a.mrc", volume)
    with open_source(original) as source:
        assert source.dtype == volume.dtype
        assert np.array_equal(source.read((slice(1, 3), slice(2, None))), volume[1:3, 2:])
        assert source.attrs["spacing"] == [3, 2, 1]
        assert source.attrs["spacing_unit"] == "angstrom"
    through(original, tmp_path / "b.map")
    assert (tmp_path / "b.map").read_bytes() == original.read_bytes()


def test_bound(tmp_path: Path) -> None:
    volume = blobs((15, 17, 19), "mrc").astype("f4")
    volume[3, 4, 5:9] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mrcfile's statistics of NaN
        original = write(tmp_path / "a.ccp4", volume)
    through(original, tmp_path / "b.ccp4", rel_error=0.01)
    error = read(tmp_path / "b.ccp4") - volume
    assert np.isnan(error).sum() == 4 and 0 < np.nanmax(np.abs(error)) <= 0.01
    before, after = (path.read_bytes() for path in (original, tmp_path / "b.ccp4"))
    assert before[: 1024 + 180] == after[: 1024 + 180]


def test_parts_lie_where_they_lay(tmp_path: Path) -> None:
    original = write(tmp_path / "a.mrc", blobs((24, 20, 17), "part").astype("f4"))
    through(original, tmp_path / "b.mrc", region=np.s_[4:12, 3:, -5:])
    with mrcfile.open(tmp_path / "b.mrc") as file:
        assert file.data.shape == (8, 17, 5)
        assert file.voxel_size.tolist() == (1, 2, 3)
        assert file.header.origin.tolist() == (10 + 12, 20 + 2 * 3, 30 + 3 * 4)
        assert file.get_labels()[1].startswith("a volume of a test")
        assert bytes(file.extended_header.tobytes()) == b"extended " * 20
    assert mrcfile.validate(tmp_path / "b.mrc")
    through(original, tmp_path / "c.mrc", level=1)
    with mrcfile.open(tmp_path / "c.mrc") as file:
        assert file.voxel_size.tolist() == (2, 4, 6)
        assert file.header.origin.tolist() == (10, 20, 30)
    with mrcfile.open(original, "r+") as file:
        file.header.origin = (0, 0, 0)
        file.nstart = (4, 5, 6)
    through(original, tmp_path / "d.mrc", region=np.s_[4:12, 3:, -5:])
    with mrcfile.open(tmp_path / "d.mrc") as file:
        assert file.header.origin.tolist() == (0, 0, 0)
        assert file.nstart.tolist() == (4 + 12, 5 + 3, 6 + 4)


def test_axes_stay_as_they_lie(tmp_path: Path) -> None:
    original = write(tmp_path / "a.map", ramp("f4"))
    with mrcfile.open(original, "r+") as file:
        file.header.mapc, file.header.mapr, file.header.maps = 3, 1, 2
        file.header.mx, file.header.my, file.header.mz = 6, 5, 7
        file.header.cella = (6 * 1, 5 * 2, 7 * 3)
    with open_source(original) as source:
        assert source.shape == (5, 6, 7) and "affine" not in source.attrs
        assert source.attrs["spacing"] == [2, 1, 3]
    through(original, tmp_path / "b.map")
    assert (tmp_path / "b.map").read_bytes() == original.read_bytes()
    through(original, tmp_path / "c.map", level=1)
    with open_source(tmp_path / "c.map") as source:
        assert source.attrs["spacing"] == [4, 2, 6]


def test_series(tmp_path: Path) -> None:
    frames = np.stack([ramp("f4") + t for t in range(3)])
    original = write(tmp_path / "a.mrc", frames)
    assert len(open_series(original)) == 3
    works("compress", original, tmp_path / "a.vc", "--lossless")
    works("verify", tmp_path / "a.vc", "--against", original)
    works("decompress", tmp_path / "a.vc", tmp_path / "b.mrc")
    assert (tmp_path / "b.mrc").read_bytes() == original.read_bytes()
    works("decompress", tmp_path / "a.vc", tmp_path / "c.mrc", "--frame", 2)
    assert np.array_equal(read(tmp_path / "c.mrc"), frames[2])
    assert mrcfile.validate(tmp_path / "c.mrc")
    stack = write(tmp_path / "d.mrc", ramp("i2"), stack=True)
    through(stack, tmp_path / "e.mrc")
    assert (tmp_path / "e.mrc").read_bytes() == stack.read_bytes()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (3, 1, 1), (6, 7), (2, 3, 4, 5)])
def test_made_of_nothing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = ramp(">f4", shape)
    attrs = {"spacing": [0.3, 0.2, 0.1][-min(len(shape), 3) :], "spacing_unit": "nm"}
    with create_sink(tmp_path / "a.mrc", shape, volume.dtype, None, attrs) as sink:
        sink.write((slice(None),), volume)
    assert mrcfile.validate(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as file:
        assert np.array_equal(file.data, volume) and file.data.dtype == volume.dtype
        assert np.allclose(file.voxel_size.tolist()[: min(len(shape), 3)], (1, 2, 3)[: len(shape)])
    if len(shape) < 4:
        through(tmp_path / "a.mrc", tmp_path / "b.mrc")
        assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.mrc", ramp("c8")), "array.real")
    (tmp_path / "b.mrc").write_text("no map")
    refused(tmp_path / "b.mrc", "not a readable MRC file")
    cut = write(tmp_path / "c.mrc", ramp("f4"))
    cut.write_bytes(cut.read_bytes()[:-20])
    refused(cut, "not a readable MRC file")
    for dtype in ("u1", "i4", "u4", "f8"):
        with pytest.raises(InputError, match="int8, int16, uint16, float16 and float32"):
            create_sink(tmp_path / "d.mrc", (2, 3, 4), np.dtype(dtype))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damage(tmp_path: Path) -> None:
    survives_damage(write(tmp_path / "a.mrc", ramp("i2")), 224)


def test_without_mrcfile(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_library(monkeypatch, "mrcfile", "mrc", "mrc")

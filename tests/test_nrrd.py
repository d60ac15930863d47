"""NRRD: the fields and the voxels that pynrrd reads come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import works
from format_cases import needs_library, ramp, read, refused, survives_damage, through
from volumes import blobs

from volcodec.errors import InputError
from volcodec.formats import create_sink, open_series, open_source

nrrd = pytest.importorskip("nrrd")

FIELDS: dict[str, Any] = {
    "space": "left-posterior-superior",
    "space directions": np.array([[2, 0.1, 0], [0, 1.5, 0], [0, 0, 3]]),
    "space origin": np.array([10.0, -20, 5]),
    "kinds": ["domain"] * 3,
    "content": "a volume of a test",
    "modality": "CT",
}


def write(path: Path, volume: np.ndarray, encoding: str = "raw", **fields: Any) -> Path:
    header = {**FIELDS, **fields, "encoding": encoding}
    nrrd.write(str(path), volume, header, index_order="C")
    return path


def same_fields(one: Path, other: Path, but: tuple[str, ...] = ("encoding",)) -> None:
    before, after = (nrrd.read_header(str(path)) for path in (one, other))
    assert set(before) - set(but) == set(after) - set(but)
    for name in set(before) - set(but):
        assert np.array_equal(before[name], after[name]), name


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">u2", ">i4", "<f4", ">f8"])
def test_fields_and_voxels_come_back(tmp_path: Path, dtype: str) -> None:
    volume = ramp(dtype)
    original = write(tmp_path / "a.nrrd", volume)
    with open_source(original) as source:
        assert source.dtype == volume.dtype
        assert np.array_equal(source.read((slice(1, 3), slice(2, None))), volume[1:3, 2:])
    through(original, tmp_path / "b.nrrd")
    same_fields(original, tmp_path / "b.nrrd")
    again, _ = nrrd.read(str(tmp_path / "b.nrrd"), index_order="C")
    assert again.dtype == volume.dtype
    assert np.array_equal(again, volume)
    through(original, tmp_path / "c.nrrd")
    assert (tmp_path / "b.nrrd").read_bytes() == (tmp_path / "c.nrrd").read_bytes()


@pytest.mark.parametrize("encoding", ["gzip", "bzip2", "ascii"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    volume = blobs((8, 9, 10), "nrrd").astype("f4")
    volume[2, 3, 4] = np.nan
    original = write(tmp_path / "a.nrrd", volume, encoding)
    through(original, tmp_path / "b.nrrd", max_error=0.01)
    same_fields(original, tmp_path / "b.nrrd", ("encoding", "endian"))
    error = read(tmp_path / "b.nrrd") - volume
    assert np.isnan(error).sum() == 1 and np.nanmax(np.abs(error)) <= 0.01


def test_detached(tmp_path: Path) -> None:
    write(tmp_path / "a.nhdr", ramp("<i2"))
    assert np.array_equal(read(tmp_path / "a.nhdr"), ramp("i2"))
    through(tmp_path / "a.nhdr", tmp_path / "b.nrrd")
    assert np.array_equal(read(tmp_path / "b.nrrd"), ramp("i2"))
    with pytest.raises(InputError, match=r"name it \.nrrd"):
        create_sink(tmp_path / "b.nhdr", (2, 3, 4), np.dtype("f4"))
    next(path for path in tmp_path.iterdir() if path.name.startswith("a.raw")).unlink()
    refused(tmp_path / "a.nhdr", "not a readable NRRD file")


def test_parts_lie_where_they_lay(tmp_path: Path) -> None:
    original = write(tmp_path / "a.nrrd", blobs((24, 20, 17), "part").astype("f4"))
    through(original, tmp_path / "b.nrrd", region=np.s_[4:12, 3:, -5:])
    _, header = nrrd.read(str(tmp_path / "b.nrrd"))
    directions = FIELDS["space directions"]
    assert np.allclose(header["space directions"], directions)
    assert np.allclose(header["space origin"], FIELDS["space origin"] + [12, 3, 4] @ directions)
    assert header["content"] == FIELDS["content"]
    through(original, tmp_path / "c.nrrd", level=2)
    _, header = nrrd.read(str(tmp_path / "c.nrrd"))
    assert np.allclose(header["space directions"], 4 * directions)
    assert np.allclose(header["space origin"], FIELDS["space origin"])


def test_spacings(tmp_path: Path) -> None:
    header = {"spacings": [1.0, 2.0, 3.0], "units": ["mm"] * 3, "encoding": "raw"}
    nrrd.write(str(tmp_path / "a.nrrd"), ramp("u1"), header, index_order="C")
    with open_source(tmp_path / "a.nrrd") as source:
        assert source.attrs["spacing"] == [3, 2, 1] and source.attrs["spacing_unit"] == "mm"
    through(tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    same_fields(tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    through(tmp_path / "a.nrrd", tmp_path / "c.nrrd", level=1)
    _, header = nrrd.read(str(tmp_path / "c.nrrd"))
    assert list(header["spacings"]) == [2, 4, 6]


def test_part_of_a_slice(tmp_path: Path) -> None:
    header = {"axis mins": [3.0, 4.0], "spacings": [1.0, 2.0], "content": "c", "encoding": "raw"}
    nrrd.write(str(tmp_path / "a.nrrd"), ramp("f4", (20, 30)), header, index_order="C")
    through(tmp_path / "a.nrrd", tmp_path / "b.nrrd", region=np.s_[3:, 4:])
    found = nrrd.read_header(str(tmp_path / "b.nrrd"))
    assert "axis mins" not in found and found["content"] == "c"
    assert list(found["spacings"]) == [1, 2]


def test_series(tmp_path: Path) -> None:
    frames = np.stack([ramp("f4") + t for t in range(3)])
    directions = np.vstack([FIELDS["space directions"], [np.nan] * 3])
    axes: dict[str, Any] = {"space directions": directions, "kinds": ["domain"] * 3 + ["list"]}
    original = write(tmp_path / "a.nrrd", frames, **axes)
    assert len(open_series(original)) == 3
    works("compress", original, tmp_path / "a.vc", "--lossless")
    works("verify", tmp_path / "a.vc", "--against", original)
    works("decompress", tmp_path / "a.vc", tmp_path / "b.nrrd")
    assert np.array_equal(read(tmp_path / "b.nrrd"), frames)
    works("decompress", tmp_path / "a.vc", tmp_path / "c.nrrd", "--frame", 2)
    one, header = nrrd.read(str(tmp_path / "c.nrrd"), index_order="C")
    assert np.array_equal(one, frames[2])
    assert np.allclose(header["space directions"], FIELDS["space directions"])
    assert header["space"] == FIELDS["space"] and header["modality"] == "CT"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (3, 1, 1), (6, 7)])
def test_odd_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nrrd.write(str(tmp_path / "a.nrrd"), ramp("f4", shape), {"encoding": "raw"}, index_order="C")
    through(tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    assert read(tmp_path / "b.nrrd").shape == shape
    same_fields(tmp_path / "a.nrrd", tmp_path / "b.nrrd")


def test_refused(tmp_path: Path) -> None:
    colours = write(
        tmp_path / "a.nrrd", ramp("u1", (5, 6, 3)), kinds=["RGB-color", "domain", "domain"]
    )
    refused(colours, "kind rgb-color")
    vectors: dict[str, Any] = {
        "kinds": ["vector", *["domain"] * 3],
        "space directions": np.eye(4, 3, -1),
    }
    refused(write(tmp_path / "b.nrrd", ramp("f4", (4, 5, 6, 3)), **vectors), "kind vector")
    gradients = np.vstack([[np.nan] * 3, FIELDS["space directions"]])
    bare = {"space directions": gradients, "encoding": "raw", "space": "LPS"}
    nrrd.write(str(tmp_path / "b.nrrd"), ramp("f4", (4, 5, 6, 3)), bare, index_order="C")
    refused(tmp_path / "b.nrrd", "kind none")
    refused(write(tmp_path / "c.nrrd", ramp("i8")), "int32")
    (tmp_path / "d.nrrd").write_text("no volume")
    refused(tmp_path / "d.nrrd", "not a readable NRRD file")
    for encoding in ("raw", "gzip"):
        cut = write(tmp_path / "e.nrrd", ramp("f4"), encoding)
        cut.write_bytes(cut.read_bytes()[:-20])
        refused(cut, "not a readable NRRD file")
    with pytest.raises(InputError, match="no float16"):
        create_sink(tmp_path / "f.nrrd", (2, 3, 4), np.dtype("f2"))


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_damage(tmp_path: Path, encoding: str) -> None:
    survives_damage(write(tmp_path / "a.nrrd", ramp("i2"), encoding), 600)


def test_without_pynrrd(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_library(monkeypatch, "nrrd", "nrrd", "nrrd")

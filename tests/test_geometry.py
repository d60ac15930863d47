"""Spacing and affine between formats, and attributes that are not what their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from format_cases import ramp, read, through

from volcodec.errors import VolcodecError
from volcodec.formats import create_sink, open_source
from volcodec.formats.geometry import Geometry, geometry_of, part_of, unit_named

nib, nrrd, mrcfile, tifffile = map(pytest.importorskip, ("nibabel", "nrrd", "mrcfile", "tifffile"))

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -4], [0, 0, 0.5, 8], [0, 0, 0, 1]])
SUFFIXES = (".h5", ".npy", ".nii", ".nii.gz", ".nrrd", ".mrc", ".tif", ".raw")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = nib.Nifti1Image(ramp("f4").T, AFFINE)
    image.header.set_xyzt_units("micron", "unknown")
    nib.save(image, tmp_path / "a.nii")
    return tmp_path / "a.nii"


def test_nifti_to_the_others(image: Path) -> None:
    outs = {suffix: image.with_name(f"b{suffix}") for suffix in SUFFIXES}
    for out in outs.values():
        through(image, out)
    with mrcfile.open(outs[".mrc"]) as file:
        size = file.voxel_size
        assert np.allclose([size.x, size.y, size.z], [20_000, 15_000, 5_000])  # angstrom
    _, header = nrrd.read(str(outs[".nrrd"]))
    assert header["space"] == "right-anterior-superior"
    assert header["space units"] == ["um"] * 3
    assert np.array_equal(header["space directions"].T, AFFINE[:3, :3])
    assert np.array_equal(header["space origin"], AFFINE[:3, 3])
    with tifffile.TiffFile(outs[".tif"]) as file:
        assert file.shaped_metadata[0]["spacing"] == 0.5
    for suffix in (".h5", ".nrrd", ".mrc", ".tif"):
        with open_source(outs[suffix]) as source:
            found = geometry_of(source.attrs, 3).within("um")
        assert np.allclose(found.spacing, (0.5, 1.5, 2))
    for suffix in set(SUFFIXES) - {".raw"}:
        assert np.array_equal(read(outs[suffix]), ramp("f4"))
    assert outs[".raw"].read_bytes() == ramp("f4").tobytes()
    with h5py.File(outs[".h5"]) as file:
        assert np.array_equal(file["volume"].attrs["affine"], AFFINE)
    through(outs[".nrrd"], image.with_name("c.nii"))
    assert np.array_equal(nib.load(image.with_name("c.nii")).affine, AFFINE)


def test_units() -> None:
    assert [unit_named(name) for name in ("MM", " µm", "micron", "Å", "parsec", None)] == [
        "mm", "um", "um", "angstrom", "", "",
    ]  # fmt: skip
    lengths = Geometry((3.0, 2.0, 1.0), "mm", AFFINE).within("um")
    assert np.allclose(lengths.spacing, (3000, 2000, 1000))
    assert lengths.affine is not None and np.allclose(lengths.affine[0], [-2000, 0, 0, 30_000])
    assert Geometry((3.0,)).within("m").spacing == (3.0,)  # not known: as it is


def test_part() -> None:
    attrs = Geometry((0.5, 1.5, 2.0), "mm", AFFINE).attrs() | {"other": "x"}
    assert part_of(attrs, (0, 0, 0), 0, 3) == attrs
    part = part_of(attrs, (5, 0, 7), 2, 3)
    assert part["spacing"] == [2, 6, 8] and part["other"] == "x"
    at = np.array([1, 2, 3, 1])  # x, y, z of the part
    whole = [4 * (1 + 7), 4 * 2, 4 * (3 + 5), 1]
    assert np.allclose(np.array(part["affine"]) @ at, AFFINE @ whole)
    assert part_of({"spacing": "wide"}, (1, 0, 0), 1, 3) == {"spacing": "wide"}


HOSTILE: list[Any] = [
    None, "", "text\n\n", -1, 1e400, [], [0.0, 0.0, 0.0], [1e-300, 1e300, 1.0], [-1, 1, 1],
    [[0.0] * 4] * 4, [[1e300] * 4] * 4, [[1.0, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 0], [0, 0, 0, 1]],
    {}, {"dtype": "O"}, {"dtype": "|u1", "shape": [1024], "value": [255] * 1024},
    {"dtype": "|u1", "shape": [352], "value": [92, 1] + [0] * 350}, [255] * 352, [0] * 1024,
    "NRRD0005\ndimension: 3\ntype: block", "NRRD0004\ntype: float\ndimension: 3\nsizes: 5 5 5\n"
    "encoding: raw\nkinds: a\nspace directions: (1,0) none (x)", [0, 0, 0, 0, 0], [5, 6, 7],
    [1 << 40, 1, 1, 1, 9],
]  # fmt: skip
NAMES = (
    "spacing", "affine", "spacing_unit", "nifti_header", "nrrd_header", "mrc_header",
    "tiff_description", "tiff_resolution", "tiff_shape",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mrc", ".tif"])
def test_hostile_attributes(tmp_path: Path, suffix: str) -> None:
    volume = ramp("f4")
    path = tmp_path / f"a{suffix}"
    good = {"tiff_shape": list(volume.shape)}
    own = {".nii": "nifti", ".nrrd": "nrrd", ".mrc": "mrc", ".tif": "tiff"}[suffix]
    for name in [name for name in NAMES if name.startswith((own, "spacing", "affine"))]:
        for value in HOSTILE:
            attrs = {**good, name: value}
            try:
                with create_sink(path, volume.shape, volume.dtype, None, attrs, True) as sink:
                    sink.write((), volume)
            except VolcodecError:
                continue
            assert np.array_equal(read(path), volume), (name, value)

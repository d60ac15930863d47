"""NIfTI: what nibabel reads of the file that comes back is what it read of the original."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call, fails, works
from format_cases import needs_library, ramp, read, refused, survives_damage, through
from volumes import blobs

import volcodec
from volcodec.bench import volumes
from volcodec.errors import InputError
from volcodec.formats import create_sink, open_series, open_source
from volcodec.training import data

nib = pytest.importorskip("nibabel")

AFFINE = np.array([[0, -1.5, 0.25, 40], [2, 0, 0, -30], [0, 0.1, 3, 7.5], [0, 0, 0, 1]])


def write(path: Path, volume: np.ndarray, **fields: Any) -> Path:
    """Write a volume in volcodec's order of axes, with a header that says a lot."""
    order = ">" if volume.dtype.byteorder == ">" else "<"
    image = nib.Nifti1Image(volume.T, AFFINE, nib.Nifti1Header(endianness=order))
    header = image.header
    header.set_data_dtype(volume.dtype)
    image.set_sform(AFFINE, "mni")
    image.set_qform(AFFINE, "scanner")
    header.set_xyzt_units("mm", "sec")
    header.set_intent("t test", (11,), name="contrast")
    header["descrip"] = b"a volume of a test"
    header["cal_max"] = 77
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept as it is"))
    for name, value in fields.items():
        header[name] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "<f4", ">f8"])
def test_every_byte_comes_back(tmp_path: Path, dtype: str) -> None:
    volume = ramp(dtype)
    original = write(tmp_path / "a.nii", volume)
    with open_source(original) as source:
        assert source.dtype == volume.dtype
        assert np.array_equal(source.read((slice(1, 3), slice(2, None))), volume[1:3, 2:])
        assert source.attrs["spacing_unit"] == "mm"
        assert np.allclose(source.attrs["affine"], AFFINE)
    through(original, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == original.read_bytes()


def test_gzipped(tmp_path: Path) -> None:
    original = write(tmp_path / "a.nii", ramp(">i4"))
    through(original, tmp_path / "b.nii.gz")
    assert gzip.decompress((tmp_path / "b.nii.gz").read_bytes()) == original.read_bytes()
    through(tmp_path / "b.nii.gz", tmp_path / "c.nii")
    assert (tmp_path / "c.nii").read_bytes() == original.read_bytes()


def test_what_nibabel_says_is_the_same(tmp_path: Path) -> None:
    volume = blobs((11, 13, 17), "nifti").astype("f4")
    volume[3, 4, 5:9] = np.nan
    original = write(tmp_path / "a.nii.gz", volume)
    through(original, tmp_path / "b.nii.gz", max_error=0.01)
    before, after = nib.load(original), nib.load(tmp_path / "b.nii.gz")
    assert np.array_equal(before.affine, after.affine)
    for name in ("sform", "qform"):
        forms = [getattr(image, f"get_{name}")(coded=True) for image in (before, after)]
        assert np.array_equal(forms[0][0], forms[1][0]) and forms[0][1] == forms[1][1]
    assert before.header == after.header
    assert before.header.get_intent() == after.header.get_intent()
    assert before.header.extensions == after.header.extensions
    found = after.get_fdata()
    assert found.shape == (17, 13, 11)
    assert np.array_equal(np.isnan(found), np.isnan(volume.T))
    assert np.nanmax(np.abs(found - volume.T)) <= 0.01


def test_scaled_integers_stay_as_stored(tmp_path: Path) -> None:
    stored = np.rint(4000 * blobs((9, 10, 11), "scaled")).astype("i2")
    raw = bytearray(write(tmp_path / "a.nii", stored).read_bytes())
    raw[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(raw)
    through(tmp_path / "a.nii", tmp_path / "b.nii", max_error=3)
    before, after = nib.load(tmp_path / "a.nii"), nib.load(tmp_path / "b.nii")
    assert (after.dataobj.slope, after.dataobj.inter) == (0.5, -1024)
    assert after.get_data_dtype() == "i2"
    # the bound is in stored units: scaled ones are half as large
    assert 0 < np.abs(before.get_fdata() - after.get_fdata()).max() <= 1.5


def test_parts_lie_where_they_lay(tmp_path: Path) -> None:
    original = write(tmp_path / "a.nii", blobs((24, 20, 17), "part").astype("f4"))
    through(original, tmp_path / "b.nii", region=np.s_[4:12, 3:, -5:])
    part = nib.load(tmp_path / "b.nii")
    assert part.shape == (5, 17, 8)
    assert np.array_equal(part.dataobj, nib.load(original).dataobj[-5:, 3:, 4:12])
    assert np.allclose(part.affine @ [0, 0, 0, 1], AFFINE @ [12, 3, 4, 1], atol=1e-5)
    assert np.allclose(part.header.get_zooms(), nib.load(original).header.get_zooms())
    assert int(part.header["sform_code"]) == 4 and part.header["descrip"] == b"a volume of a test"
    through(original, tmp_path / "c.nii", level=1)
    quick = nib.load(tmp_path / "c.nii")
    assert quick.shape == (9, 10, 12)
    assert np.allclose(quick.affine @ [1, 2, 3, 1], AFFINE @ [2, 4, 6, 1], atol=1e-5)
    assert quick.header.extensions == nib.load(original).header.extensions


def test_series(tmp_path: Path) -> None:
    frames = np.stack([ramp(">i2", (4, 5, 6)) + t for t in range(3)]).astype(">i2")
    original = write(tmp_path / "a.nii", frames)
    assert [source.shape for source in open_series(original)] == [(4, 5, 6)] * 3
    with pytest.raises(InputError, match="series of 3 frames"):
        open_source(original)
    works("compress", original, tmp_path / "a.vc", "--lossless")
    assert volcodec.inspect(tmp_path / "a.vc").frames == 3
    works("verify", tmp_path / "a.vc", "--against", original)
    works("decompress", tmp_path / "a.vc", tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == original.read_bytes()
    works("decompress", tmp_path / "a.vc", tmp_path / "c.nii", "--frame", 1)
    one = nib.load(tmp_path / "c.nii")
    assert np.array_equal(one.dataobj, frames[1].T)
    assert np.array_equal(one.affine, nib.load(original).affine)
    works("view", original, "-o", tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (3, 1, 1), (6, 7), (1, 4, 5, 6)])
def test_odd_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    original = write(tmp_path / "a.nii", ramp("f4", shape))
    through(original, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes() == original.read_bytes()


def test_through_hdf5(tmp_path: Path) -> None:
    original = write(tmp_path / "a.nii", ramp("<f4"))
    through(original, tmp_path / "b.h5")
    through(tmp_path / "b.h5", tmp_path / "c.nii")
    assert (tmp_path / "c.nii").read_bytes() == original.read_bytes()


def test_made_of_nothing(tmp_path: Path) -> None:
    attrs = {"spacing": [3.0, 2.0, 1.0], "spacing_unit": "um", "nifti_header": [1, 2]}
    with create_sink(tmp_path / "a.nii", (2, 3, 4), np.dtype(">f4"), None, attrs) as sink:
        sink.write((slice(None),), ramp("f4", (2, 3, 4)))
    image = nib.load(tmp_path / "a.nii")
    assert image.header.get_zooms() == (1, 2, 3)
    assert image.header.get_xyzt_units()[0] == "micron"
    assert np.array_equal(image.dataobj, ramp("f4", (2, 3, 4)).T)
    with create_sink(tmp_path / "b.nii", (2, 1, 40_000), np.dtype("u1"), force=True):
        pass
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)
    with pytest.raises(InputError, match="no float16"):
        create_sink(tmp_path / "c.nii", (2, 3, 4), np.dtype("f2"))
    assert not (tmp_path / "c.nii").exists()


def test_refused(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    arrays = {
        "RGB": colours,
        "array.real": np.zeros((4, 5, 6), "c8"),
        "int32": np.zeros((4, 5, 6), "i8"),
        "5 dimensions": np.zeros((4, 5, 6, 2, 3), "f4"),
    }
    for words, array in arrays.items():
        image = nib.Nifti1Image(array, AFFINE, dtype=array.dtype)
        nib.save(image, tmp_path / "a.nii")
        refused(tmp_path / "a.nii", words)
    (tmp_path / "b.nii").write_text("no image")
    refused(tmp_path / "b.nii", "not a readable NIfTI file")
    refused(write_cut(tmp_path / "c.nii"), "not a readable NIfTI file")
    refused(write_cut(tmp_path / "c.nii.gz"), "not a readable NIfTI file")


def write_cut(path: Path) -> Path:
    whole = write(path, ramp("f4")).read_bytes()
    path.write_bytes(whole[:-20])
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damage(tmp_path: Path, suffix: str) -> None:
    survives_damage(write(tmp_path / f"a{suffix}", ramp("i2")), 348)


def test_command_line(tmp_path: Path) -> None:
    original = write(tmp_path / "a.nii.gz", ramp("f4"))
    packed = tmp_path / "a.vc"
    works("compress", original, packed, "--rel-error", "1e-2")
    said = works("info", packed).output
    assert "spacing: " in said and "affine: " in said and "spacing unit: mm" in said
    works("verify", packed, "--against", original)
    works("view", packed, "-o", tmp_path / "a.png", "--against", original)
    fails(call("decompress", packed, original), 1, "--force")
    assert np.array_equal(read(original), ramp("f4"))


def test_without_nibabel(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_library(monkeypatch, "nibabel", "nifti", "nifti")


def test_training_and_benchmarks_read_it(tmp_path: Path) -> None:
    volume = blobs((11, 13, 17), "read").astype("f4")
    write(tmp_path / "a.nii.gz", volume)
    (tmp_path / "bare.raw").write_bytes(b"123")  # says no shape: a folder is searched without it
    assert [path.name for path in data.find([tmp_path])] == ["a.nii.gz"]
    found = data.open_volume(tmp_path / "a.nii.gz", room=0)
    assert np.array_equal(found[0:4, 1:13, 5:9], volume[0:4, 1:13, 5:9])
    (measured,) = volumes.find([tmp_path], None)
    assert np.array_equal(measured.load(), volume)

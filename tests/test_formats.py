"""Formats of volumes: what is read comes back, what can't be read is said in one line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cli_calls import run

from volcodec.errors import FormatError, InputError, VolcodecError
from volcodec.formats import attributes, create_sink, open_source
from volcodec.formats.atomic import atomic_output
from volcodec.formats.h5 import _chunks

WHOLE = (slice(None),) * 3
DTYPES = ["u1", "i1", "<u2", ">i2", "<u4", ">i4", "<f2", "<f4", ">f4", "<f8", ">f8"]


def sample(dtype: Any = "<f4", shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 100).reshape(shape).astype(dtype)


def write_h5(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=array)
    return path


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".npy"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 6, 7), (3, 4), (1, 1, 1), (70, 65, 129)])
def test_round_trip(tmp_path: Path, suffix: str, dtype: str, shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape)
    path = tmp_path / f"volume{suffix}"
    with create_sink(path, shape, array.dtype, "group/density") as sink:
        for start in range(0, shape[0], 32):  # box by box, out of order on the last axis
            rows = slice(start, start + 32)
            for part in (slice(3, None), slice(0, 3)):
                box = (rows, *[slice(None)] * (len(shape) - 2), part)
                sink.write(box, array[box])
        assert not path.exists()
    with open_source(path) as source:
        assert source.shape == shape
        assert source.dtype == array.dtype
        assert source.dtype.str == array.dtype.str
        assert source.name == ("volume" if suffix == ".npy" else "group/density")
        assert np.array_equal(source.read((slice(None),) * len(shape)), array)
        box = (slice(-3, None), slice(1, 100))
        assert np.array_equal(source.read(box), array[box])
        assert source.read(box).flags.writeable
    assert leftovers(tmp_path) == []


def test_npy_orders_and_names(tmp_path: Path) -> None:
    array = np.asfortranarray(sample())
    np.save(tmp_path / "a.npy", array)
    with open_source(tmp_path / "a.npy", dataset="speed") as source:
        assert source.name == "speed"
        assert np.array_equal(source.read(WHOLE), array)


ATTRIBUTES: dict[str, Any] = {
    "text": "Dichte µ",
    "bytes": np.bytes_(b"kg/m3"),
    "scalar": np.float32(0.1),
    "big_endian": np.array([1.5, np.nan, -np.inf], ">f8"),
    "matrix": np.arange(6, dtype="i2").reshape(2, 3),
    "flag": np.bool_(True),
    "complex": np.complex64(1 + 2j),
    "texts": np.array(["a", "bc"], object),
    "bytes_array": np.array([b"ab", b"c"]),
    "none": np.zeros((0, 3), "u1"),
    "large": np.arange(20_000, dtype="f8"),
    "empty": h5py.Empty("f4"),
}


def test_attributes_round_trip(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        dataset = file.create_dataset("d", data=sample())
        dataset.attrs.update(ATTRIBUTES)
        dataset.attrs["reference"] = dataset.ref  # means nothing in another file
    with open_source(tmp_path / "a.h5") as source:
        attrs = source.attrs
    assert set(attrs) == set(ATTRIBUTES)
    attrs = json.loads(json.dumps(attrs, allow_nan=False))
    with create_sink(tmp_path / "b.h5", (2, 2), np.dtype("f4"), "d", attrs) as sink:
        sink.write((slice(None),), np.ones((2, 2), "f4"))
    with h5py.File(tmp_path / "b.h5") as file:
        for name, value in ATTRIBUTES.items():
            again = file["d"].attrs[name]
            if isinstance(value, h5py.Empty):
                assert isinstance(again, h5py.Empty) and again.dtype == value.dtype
            else:
                assert np.asarray(again).dtype.str == np.asarray(value).dtype.str
                assert np.array_equal(again, value, equal_nan=name == "big_endian")
        assert file["d"][1, 1] == 1


def test_attributes_of_other_makers(tmp_path: Path) -> None:
    attrs = {"spacing": [1.0, 0.5, 0.5], "n": 3, "ok": True, "nothing": None, "x": [1, ["a"]]}
    with create_sink(tmp_path / "b.h5", (2, 2), np.dtype("f4"), "d", attrs):
        pass
    with h5py.File(tmp_path / "b.h5") as file:
        assert list(file["d"].attrs["spacing"]) == [1.0, 0.5, 0.5]
        assert file["d"].attrs["n"] == 3


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"dtype": "O", "shape": [], "value": 1},
        {"dtype": "|S999999999", "shape": [], "base64": "YQ=="},
        {"dtype": "<f4", "shape": [1000000], "value": [1]},
        {"dtype": "<f4", "shape": [-1], "value": [1]},
        {"dtype": "<f4", "shape": [1], "value": ["nan nan"]},
        {"dtype": "<f4", "shape": [1], "value": [{}]},
        {"dtype": "<f4", "shape": 7, "value": 1},
        {"dtype": "<f8", "shape": [9], "base64": "?"},
        {"dtype": "|u1", "shape": [1], "value": [300]},
    ],
)
def test_hostile_attributes(value: Any) -> None:
    with pytest.raises(FormatError, match="malformed"):
        attributes.unpack(value)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Return files that can't be read, each with words of the message that says so."""
    volume = sample()
    text = folder / "text.h5"
    text.write_text("hello")
    whole = write_h5(folder / "whole.h5", d=np.zeros((64, 64, 64))).read_bytes()
    cut = folder / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    text_npy, cut_npy, objects, bad_header = (
        folder / f"{name}.npy" for name in ("text", "cut", "objects", "header")
    )
    text_npy.write_text("hello")
    np.save(folder / "whole.npy", volume)
    whole = (folder / "whole.npy").read_bytes()
    cut_npy.write_bytes(whole[:-10])
    bad_header.write_bytes(whole.replace(b"'descr'", b"'desc("))
    np.save(objects, np.array([None, 1]), allow_pickle=True)
    archive = folder / "archive.npy"
    with open(archive, "wb") as file:
        np.savez(file, a=volume, b=volume)
    (folder / "a.h5").mkdir()
    (folder / "a.xyz").touch()
    records = np.zeros(3, [("a", "i4")])
    files = {
        "missing": (folder / "missing.h5", "does not exist"),
        "folder": (folder / "a.h5", "folder"),
        "suffix": (folder / "a.xyz", ".h5, .hdf5, .npy"),
        "text": (text, "not an HDF5 file"),
        "cut": (cut, "truncated"),
        "text_npy": (text_npy, "not a readable .npy"),
        "cut_npy": (cut_npy, "not a readable .npy"),
        "header": (bad_header, "not a readable .npy"),
        "objects": (objects, "Python objects"),
        "archive": (archive, "archive"),
        "none": (write_h5(folder / "none.h5"), "no dataset"),
        "several": (write_h5(folder / "s.h5", g__a=volume, b=volume), "--dataset: b .*, g/a "),
        "unfit": (write_h5(folder / "u.h5", a=[1, 2], b=[3]), "no 2-D or 3-D.* a .*, b "),
        "single": (write_h5(folder / "0d.h5", a=5), "single number"),
        "records": (write_h5(folder / "records.h5", a=records), "not numeric"),
        "strings": (write_h5(folder / "strings.h5", a=[[b"x", b"y"]]), "not numeric"),
        "nothing": (write_h5(folder / "nothing.h5", a=h5py.Empty("f4")), "empty"),
    }
    arrays = {
        "1d": (volume.ravel(), "reshape"),
        "4d": (volume[None], "frame"),
        "zero": (volume[:0], "empty"),
        "bool": (volume > 3, "uint8"),
        "int64": (volume.astype("i8"), "int32"),
        "uint64": (volume.astype(">u8"), "uint32"),
        "complex": (volume.astype("c8"), "array.real"),
        "wide": (volume.astype(np.longdouble), "float64"),
    }
    for name, (array, words) in arrays.items():
        np.save(folder / f"{name}.npy", array)
        files[f"{name}_npy"] = (folder / f"{name}.npy", words)
        files[f"{name}_h5"] = (write_h5(folder / f"{name}.h5", a=array), words)
    np.save(folder / "v2.npy", np.zeros((2, 3, 4), "V2"))
    files["bfloat16_npy"] = (folder / "v2.npy", "bfloat16")
    return files


def test_bad_files(tmp_path: Path) -> None:
    for path, words in bad_files(tmp_path).values():
        with pytest.raises(InputError, match=words) as caught:
            open_source(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


def test_bfloat16_in_hdf5(tmp_path: Path) -> None:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((2, 3, 4)))
    with pytest.raises(InputError, match="float32"):
        open_source(tmp_path / "a.h5")


def test_choice_of_dataset(tmp_path: Path) -> None:
    volume = sample()
    path = write_h5(tmp_path / "a.h5", g__deep__v=volume, time=np.arange(4), g__n=volume[:, 0, 0])
    with open_source(path) as source:  # the only one that can be a volume
        assert source.name == "g/deep/v"
    with open_source(path, "/g/deep/v") as source:
        assert np.array_equal(source.read(WHOLE), volume)
    for name, words in {"w": "no dataset 'w'.*g/deep/v", "g": "group", "time": "1 dim"}.items():
        with pytest.raises(InputError, match=words):
            open_source(path, name)


def test_damaged_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = np.random.default_rng(0).integers(0, 255, (64, 64, 64), "u1")
        file.create_dataset("a", data=data, compression="gzip", chunks=(32, 64, 64))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(raw)
    with open_source(path) as source, pytest.raises(InputError, match="can't be read"):
        source.read(WHOLE)


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_existing_target(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("precious")
    with pytest.raises(InputError, match="--force"):
        create_sink(path, (2, 2), np.dtype("f4"))
    sink = create_sink(path, (2, 2), np.dtype("f4"), force=True)
    sink.abort()
    assert path.read_text() == "precious"
    path.unlink()
    sink = create_sink(path, (2, 2), np.dtype("f4"))
    path.write_text("came meanwhile")
    with pytest.raises(InputError, match="--force"):
        sink.commit()
    assert path.read_text() == "came meanwhile"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_failed_sink_leaves_nothing(tmp_path: Path, suffix: str) -> None:

    def interrupted() -> None:
        with create_sink(tmp_path / f"a{suffix}", (2, 2), np.dtype("f4")):
            assert len(leftovers(tmp_path)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_atomic_output(tmp_path: Path) -> None:
    path = tmp_path / "a.vc"
    with atomic_output(path) as file:
        file.write(b"xyz")
        file.seek(0)
        assert file.read() == b"xyz"
        file.seek(1)
        file.write(b"Y")
        assert [name.startswith(".a.vc.") for name in leftovers(tmp_path)] == [True]
    assert path.read_bytes() == b"xYz"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(InputError, match="--force"), atomic_output(path):
        pass

    def fail() -> None:
        with atomic_output(path, force=True) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"xYz"
    with atomic_output(path, force=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_targets_that_are_no_files(tmp_path: Path) -> None:
    for path, words in {
        tmp_path: "folder",
        tmp_path / "no" / "a.vc": "does not exist",
        Path(os.devnull): "ordinary",
    }.items():
        with pytest.raises(InputError, match=words), atomic_output(path, force=True):
            pass
    (tmp_path / "real.vc").write_text("old")
    (tmp_path / "link.vc").symlink_to("real.vc")
    with atomic_output(tmp_path / "link.vc", force=True) as file:
        file.write(b"new")
    assert (tmp_path / "link.vc").is_symlink()
    assert (tmp_path / "real.vc").read_text() == "new"


FULL_DISK = """
import resource, sys
import numpy as np
from volcodec.errors import VolcodecError
from volcodec.formats import create_sink
from volcodec.formats.atomic import atomic_output
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
data = np.random.default_rng(0).random((96, 64, 64))
try:
    if path.endswith(".vc"):
        with atomic_output(path) as file:
            file.write(data.tobytes()[:-7])
    else:
        with create_sink(path, data.shape, data.dtype, "d") as sink:
            for z in range(0, 96, 16):
                sink.write((slice(z, z + 16),), data[z : z + 16])
except VolcodecError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("suffix", [".h5", ".npy", ".vc"])
def test_full_disk(tmp_path: Path, suffix: str) -> None:
    """The limit on a file's size stands for the full disk: both fail in write()."""
    done = run(tmp_path / f"a{suffix}", code=FULL_DISK)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no space left" in done.stdout and done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".", "a\0b"])
def test_bad_dataset_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(VolcodecError, match="--dataset"):
        create_sink(tmp_path / "a.h5", (2, 2), np.dtype("f4"), name)
    assert list(tmp_path.iterdir()) == []


def test_chunks_waste_little() -> None:
    for n in (64, 65, 127, 128, 129, 300, 512, 1000):
        chunks = _chunks((n, n, n), np.dtype("f4"))
        for chunk in chunks or ():
            assert -(-n // chunk) * chunk <= 1.1 * n + 4


@pytest.mark.parametrize("shape", [(59, 100, 69), (60, 100, 500), (63, 64, 90), (2, 1030, 1000)])
def test_chunks_fit_into_the_volume(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = np.zeros(shape, np.float32)
    with create_sink(tmp_path / "a.h5", shape, volume.dtype) as sink:
        sink.write(tuple(slice(0, n) for n in shape), volume)
    with open_source(tmp_path / "a.h5") as source:
        assert source.shape == shape

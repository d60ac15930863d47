"""From files to files: the same bytes as in memory, any kind of source, series, file objects."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from volumes import blobs

import volcodec
from volcodec.errors import InputError
from volcodec.formats import create_sink, open_source

SHAPE = (20, 24, 28)
OPTIONS: dict[str, Any] = {"rel_error": 1e-3, "tile": 16}


@pytest.fixture
def volume() -> np.ndarray:
    return blobs(SHAPE, "files").astype("f4")


@pytest.fixture
def blob(codec: volcodec.Codec, volume: np.ndarray) -> bytes:
    return codec.encode(volume, **OPTIONS)


def h5_bytes(volume: np.ndarray, name: str = "volume") -> io.BytesIO:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5[name] = volume
    return file


def npy_bytes(volume: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    np.save(file, volume)
    return file


class Boxes:
    """A source of one's own."""

    def __init__(self, volume: np.ndarray) -> None:
        self.shape, self.dtype, self._volume = volume.shape, volume.dtype, volume

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        return self._volume[box].copy()


def test_all_ways_in_give_the_same_bytes(tmp_path: Path, volume: np.ndarray, blob: bytes) -> None:
    torch = pytest.importorskip("torch")
    np.save(tmp_path / "in.npy", volume)
    (tmp_path / "in.h5").write_bytes(h5_bytes(volume).getvalue())
    sources = {
        "npy": tmp_path / "in.npy",
        "text": str(tmp_path / "in.npy"),
        "h5": tmp_path / "in.h5",
        "npy file": npy_bytes(volume),
        "h5 file": h5_bytes(volume),
        "array": volume,
        "tensor": torch.from_numpy(volume),
        "own": Boxes(volume),
    }
    for name, source in sources.items():
        out = tmp_path / "out.vc"
        summary = volcodec.compress(source, out, force=True, threads=2, **OPTIONS)
        assert out.read_bytes() == blob, name
        assert summary.file_bytes == len(blob)
        assert summary.ratio == volume.nbytes / len(blob)
    with open(tmp_path / "in.npy", "rb") as opened, io.BytesIO() as memory:
        volcodec.compress(opened, memory, **OPTIONS)
        assert memory.getvalue() == blob
        assert not opened.closed


def test_file_objects_out(tmp_path: Path, codec: volcodec.Codec, blob: bytes) -> None:
    again = codec.decode(blob)
    memory = io.BytesIO(bytes(100_000))  # longer than what comes: it is cut
    volcodec.decompress(blob, memory)
    assert np.array_equal(np.load(io.BytesIO(memory.getvalue())), again)
    assert len(memory.getvalue()) == 128 + again.nbytes
    with open(tmp_path / "out.npy", "w+b", buffering=0) as file:
        volcodec.decompress(io.BytesIO(blob), file, region=np.s_[3:19, 2:-1, ::])
    assert np.array_equal(np.load(tmp_path / "out.npy"), again[3:19, 2:-1])
    with open(tmp_path / "out.vc", "wb") as file, pytest.raises(InputError, match=r"w\+b"):
        volcodec.compress(again, file, **OPTIONS)
    with open(tmp_path / "out.npy", "rb") as file, pytest.raises(InputError, match=r"w\+b"):
        volcodec.decompress(blob, file)
    with pytest.raises(InputError, match="neither"):
        volcodec.compress(io.BytesIO(b"hello"), tmp_path / "out.vc", force=True)


@pytest.mark.parametrize("shape", [(5, 6, 7), (3, 4), (1, 1, 1), (2, 5, 6, 7)])
@pytest.mark.parametrize("dtype", ["u1", ">f4", "<f8"])
def test_stream_of_boxes(shape: tuple[int, ...], dtype: str) -> None:
    array = (np.arange(np.prod(shape)) % 200).reshape(shape).astype(dtype)
    file = io.BytesIO()
    with create_sink(file, shape, array.dtype) as sink:
        for start in range(0, shape[-1], 3):
            box = (*[slice(None)] * (len(shape) - 1), slice(start, start + 3))
            sink.write(box, array[box])
        for start in range(0, shape[-2], 2):
            box = (*[slice(None)] * (len(shape) - 2), slice(start, start + 2), slice(None))
            sink.write(box, array[box])
    again = np.load(io.BytesIO(file.getvalue()))
    assert again.dtype.str == array.dtype.str
    assert np.array_equal(again, array)
    if len(shape) < 4:
        with open_source(file) as source:
            assert np.array_equal(source.read((slice(0, 2),)), array[:2])


def test_series(tmp_path: Path, volume: np.ndarray) -> None:
    frames = [volume, volume[::-1], volume * 2]
    volcodec.compress(frames, tmp_path / "out.vc", max_error=1e-3, tile=16)
    volcodec.decompress(tmp_path / "out.vc", tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5") as file:
        again = file["volume"][:]
    assert again.shape == (3, *SHAPE)
    assert max(np.abs(a - b).max() for a, b in zip(again, frames, strict=True)) <= 1e-3
    volcodec.decompress(tmp_path / "out.vc", tmp_path / "last.npy", frame=-1, level=1)
    assert np.load(tmp_path / "last.npy").shape == (10, 12, 14)
    assert volcodec.verify(tmp_path / "out.vc", against=frames).ok
    with pytest.raises(InputError, match="nothing"):
        volcodec.compress([], tmp_path / "none.vc")


def test_attributes_and_names_come_through(tmp_path: Path, volume: np.ndarray) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["g/density"] = volume
        file["g/density"].attrs.update({"spacing": np.array([1, 0.5, 0.5], "f4"), "unit": "kg/m³"})
    volcodec.compress(tmp_path / "in.h5", tmp_path / "out.vc", **OPTIONS)
    volcodec.decompress(tmp_path / "out.vc", tmp_path / "out.h5")
    volcodec.decompress(tmp_path / "out.vc", tmp_path / "renamed.hdf5", dataset="rho")
    for name, dataset in (("out.h5", "g/density"), ("renamed.hdf5", "rho")):
        with h5py.File(tmp_path / name) as file:
            attrs = file[dataset].attrs
            assert attrs["spacing"].dtype == np.float32 and attrs["unit"] == "kg/m³"
            assert list(attrs["spacing"]) == [1, 0.5, 0.5]


@pytest.mark.parametrize("attrs", [{"a": object()}, {"a": np.zeros(3)}, [1], {"a": "x" * 2**20}])
def test_attributes_that_cannot_be_kept(
    codec: volcodec.Codec, volume: np.ndarray, attrs: Any
) -> None:
    with pytest.raises(InputError, match="attr"):
        codec.encode(volume, attrs=attrs)


def test_swapped_and_strided(tmp_path: Path, volume: np.ndarray) -> None:
    odd = np.asfortranarray(volume.astype(">f8"))[::-1, :, ::2]
    np.save(tmp_path / "in.npy", odd)
    volcodec.compress(tmp_path / "in.npy", tmp_path / "out.vc", lossless=True)
    volcodec.decompress(tmp_path / "out.vc", tmp_path / "out.npy")
    again = np.load(tmp_path / "out.npy")
    assert again.dtype == np.dtype(">f8")
    assert again.tobytes() == odd.tobytes()

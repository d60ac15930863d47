"""The HDF5 filter: round trips, refusals, files that are damaged, left open or interrupted."""

from __future__ import annotations

import _thread
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import pytest
from volumes import DTYPES, blobs, of_dtype, third_nan

import volcodec.hdf5
from volcodec import models


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def write(
    path: Path, values: np.ndarray, chunks: Any, filter: Any = None, **options: Any
) -> np.ndarray:
    """The values of a dataset of a new file, read from it anew; within 1e-3 if not said else."""
    filter = volcodec.hdf5.filter(max_error=1e-3) if filter is None else filter
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=values, chunks=chunks, **filter, **options)
    return read(path)


def read(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["a"][()])


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Another process, that may fail."""
    return subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


# ------------------------------------------------------------------ round trips


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((9, 11, 17), (8, 8, 8)),
        ((9, 11, 17), (9, 11, 17)),
        ((33, 50), (16, 32)),
        ((700,), (300,)),
        ((3, 5, 9, 8), (2, 3, 8, 8)),
        ((2, 2, 3, 9, 8), (1, 2, 3, 8, 8)),
        ((1, 1, 1), (1, 1, 1)),
        ((9, 11, 17), True),
    ],
)
def test_shapes(path: Path, shape: tuple[int, ...], chunks: Any) -> None:
    values = blobs(shape, "shapes").astype("f4")
    assert np.abs(write(path, values, chunks) - values).max() <= 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_dtypes(path: Path, dtype: str, order: Any) -> None:
    values = of_dtype(dtype, (7, 9, 11)).astype(np.dtype(dtype).newbyteorder(order))
    again = write(path, values, (4, 9, 8), volcodec.hdf5.filter(lossless=True), fletcher32=True)
    assert again.dtype == values.dtype
    assert np.array_equal(again, values)
    with h5py.File(path) as file:
        assert file["a"].id.get_chunk_info(0).filter_mask == 0


def test_not_a_number(path: Path) -> None:
    values = third_nan()[:8]
    again = write(path, values, (5, 9, 23))
    finite = np.isfinite(values)
    assert np.array_equal(again[~finite], values[~finite], equal_nan=True)
    assert np.abs(again[finite] - values[finite]).max() <= 1e-3


def test_the_chunk_is_a_vc_file(path: Path) -> None:
    values = blobs((16, 16, 20), "chunk").astype("f4")
    filter = volcodec.hdf5.filter(rel_error=1e-2, support="exact", effort=3)
    again = write(path, values, (8, 16, 20), filter)
    with h5py.File(path) as file:
        mask, blob = file["a"].id.read_direct_chunk((8, 0, 0))
    info = volcodec.inspect(blob)
    assert (mask, info.target, info.target_value) == (0, "rel_error", 1e-2)
    assert info.range == float(values[8:].max()) - float(values[8:].min())
    assert np.array_equal(volcodec.decode(blob), again[8:])
    assert np.array_equal(again == 0, values == 0)
    assert np.abs(again[8:] - values[8:]).max() <= 1e-2 * info.range


def test_a_dataset_that_grows(path: Path) -> None:
    values = blobs((20, 8, 8), "grows").astype("f4")
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "a", shape=(5, 8, 8), maxshape=(None, 8, 8), chunks=(8, 8, 8), dtype="f4", fillvalue=9,
            compression=volcodec.hdf5.filter(max_error=1e-3),
        )  # fmt: skip
        dataset[:] = values[:5]
    with h5py.File(path, "a") as file:
        file["a"].resize(24, axis=0)
        file["a"][8:20] = values[8:]
    again = read(path)
    assert np.abs(again[:5] - values[:5]).max() <= 1e-3
    assert np.abs(again[8:20] - values[8:]).max() <= 1e-3
    assert np.abs(again[5:8] - 9).max() <= 1e-3
    assert np.abs(again[20:] - 9).max() <= 1e-3


def test_a_dataset_like_another(path: Path) -> None:
    values = blobs((8, 9, 10), "like").astype("f4")
    with h5py.File(path, "w") as file:
        filter = volcodec.hdf5.filter(lossless=True)
        one = file.create_dataset("one", (20, 20, 20), "u1", chunks=(5, 5, 5), **filter)
        properties = one.id.get_create_plist()
        properties.set_chunk((4, 9, 8))
        file.create_dataset("a", data=values, chunks=(4, 9, 8), dcpl=properties)
        assert file["a"].id.get_chunk_info(0).filter_mask == 0
    assert np.array_equal(read(path), values)


def test_read_in_another_process(path: Path) -> None:
    values = blobs((9, 10, 11), "another").astype("f4")
    write(path, values, (8, 8, 8), volcodec.hdf5.filter(lossless=True))
    code = "import h5py{}; print(h5py.File('a.h5')['a'][:].astype('f8').sum())"
    found = run(code.format(", volcodec.hdf5"), path.parent)
    assert float(found.stdout) == values.astype("f8").sum()
    without = run(code.format(""), path.parent)
    assert without.returncode == 1
    assert "OSError: Can't synchronously read data" in without.stderr
    opened = run(
        "from volcodec.formats import open_source; s = open_source('a.h5');"
        "print(s.read((slice(None),) * 3).astype('f8').sum())",
        path.parent,
    )
    assert float(opened.stdout) == values.astype("f8").sum()


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("dtype", ["i8", "u8", "?", "c8", "S3", [("a", "f4"), ("b", "f4")]])
def test_refused_dtypes(path: Path, dtype: Any) -> None:
    with h5py.File(path, "w") as file:
        with pytest.raises(ValueError, match="8 to 32-bit integers and 16 to 64-bit floats"):
            file.create_dataset("a", (8, 8), dtype, chunks=(4, 4), **volcodec.hdf5.filter())
        assert "a" not in file


@pytest.mark.parametrize("other", [{"shuffle": True}, {"scaleoffset": 3}])
def test_filters_before_it(path: Path, other: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file, pytest.raises(ValueError, match="first filter"):
        file.create_dataset("a", (8, 8), "f4", chunks=(4, 4), **other, **volcodec.hdf5.filter())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_error": 1, "psnr": 50}, "one target"),
        ({"max_error": -1}, "negative"),
        ({"support": "maybe"}, "support"),
        ({"ratio": 10}, "no size"),
        ({"bits": 2}, "no size"),
    ],
)
def test_refused_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(volcodec.InputError, match=words):
        volcodec.hdf5.filter(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"model": "100%"}, "no model called '100%'"), ({"background": 300}, "value of uint8")],
)
def test_settings_that_the_dataset_does_not_allow(
    path: Path, settings: dict[str, Any], words: str
) -> None:
    with h5py.File(path, "w") as file, pytest.raises(ValueError, match=words):
        file.create_dataset("a", (8, 8), "u1", chunks=(4, 4), **volcodec.hdf5.filter(**settings))


@pytest.mark.parametrize("words", [(), (0,), (5, 0), (99, 0x7D7B), (2, 0x7D7B, 3), (2, 0x5D5B)])
def test_values_that_are_no_settings(path: Path, words: tuple[int, ...]) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_filter(volcodec.hdf5.FILTER, h5py.h5z.FLAG_OPTIONAL, words)
    with h5py.File(path, "w") as file:
        if words[:2] == (2, 0x7D7B):  # {}: all settings by default
            file.create_dataset("a", (8, 8), "f4", chunks=(4, 4), dcpl=properties)
        else:
            with pytest.raises(ValueError):
                file.create_dataset("a", (8, 8), "f4", chunks=(4, 4), dcpl=properties)


# ------------------------------------------------------------------ what goes wrong


def test_damaged_chunks(path: Path, recwarn: pytest.WarningsRecorder) -> None:
    values = blobs((16, 8, 8), "damage").astype("f4")
    write(path, values, (8, 8, 8))
    with h5py.File(path) as file:
        place = file["a"].id.get_chunk_info(0)
        whole = bytes(file["a"].id.read_direct_chunk((0, 0, 0))[1])
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), bytes(len(whole)), whole[::-1]):
        with open(path, "r+b") as raw:
            raw.seek(place.byte_offset)
            raw.write(damaged)
        with h5py.File(path) as file:
            for how in ("always", "error"):  # a warning that is raised goes nowhere else
                warnings.simplefilter(how)  # type: ignore[arg-type]
                with pytest.raises(OSError, match="filter returned failure"):
                    file["a"][:8]
            assert np.abs(file["a"][8:] - values[8:]).max() <= 1e-3
        assert "can't be read: FormatError" in str(recwarn.pop(RuntimeWarning).message)
        assert not recwarn.list


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"dtype":"<f4"', b'"dtype":"<i4"'),
        (b'"dtype":"<f4"', b'"dtype":"|O8"'),
        (b'"shape":[8,8,8]', b'"shape":[8,8,9]'),
        (b'"shape":[8,8,8]', b'"shape":"8,8,8"'),
        (b'{"max_error"', b'["max_error"'),
    ],
)
def test_a_file_that_says_something_else_of_its_chunks(path: Path, old: bytes, new: bytes) -> None:
    write(path, blobs((8, 8, 8), "lies").astype("f4"), (8, 8, 8))
    raw = path.read_bytes()
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, new))
    with pytest.warns(RuntimeWarning, match="can't be read"), pytest.raises(OSError):
        read(path)


def test_a_chunk_that_can_not_be_coded_is_stored_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Path(next(m.path for m in models.available() if m.name == "density-1"))
    own = path.parent / "own.safetensors"
    own.write_bytes(shipped.read_bytes())
    monkeypatch.setenv("VOLCODEC_MODELS", str(path.parent))
    values = blobs((16, 8, 8), "as it is").astype("f4")
    write(path, values, (8, 8, 8), volcodec.hdf5.filter(max_error=1e-3, model="own"))
    own.unlink()
    told = pytest.warns(RuntimeWarning, match="stored without compression: ModelError")
    with told, h5py.File(path, "a") as file:
        file["a"][8:] = values[:8]
    again = read(path)
    assert np.array_equal(again[8:], values[:8])
    assert np.abs(again[:8] - values[:8]).max() <= 1e-3


def test_a_file_that_is_never_closed(tmp_path: Path) -> None:
    code = (
        "import h5py, numpy as np, volcodec.hdf5\n"
        "file = h5py.File('a.h5', 'w')\n"
        "values = np.arange(9 * 8 * 7.0).reshape(9, 8, 7)\n"
        "filter = volcodec.hdf5.filter(max_error=0.25)\n"
        "file.create_dataset('a', data=values, chunks=(4, 4, 4), **filter)\n"
    )
    found = run(code, tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    again = read(tmp_path / "a.h5")
    assert np.abs(again - np.arange(9 * 8 * 7.0).reshape(9, 8, 7)).max() <= 0.25


def test_an_interrupt_comes_when_hdf5_is_done(path: Path) -> None:
    values = blobs((8, 8, 8), "interrupt").astype("f4")

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "encode_chunk":
            sys.setprofile(None)
            _thread.interrupt_main()

    told = pytest.warns(RuntimeWarning, match="stored without compression: KeyboardInterrupt")

    def write_and_wait() -> None:
        file["a"][:] = values
        file.flush()
        for _ in range(6000):
            time.sleep(0.01)

    # a process that was begun in the background may ignore interrupts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with told, h5py.File(path, "w") as file:
            filter = volcodec.hdf5.filter(max_error=0.1)
            file.create_dataset("a", values.shape, values.dtype, chunks=values.shape, **filter)
            sys.setprofile(interrupt)
            with pytest.raises(KeyboardInterrupt):
                write_and_wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert np.array_equal(read(path), values)


def test_threads(path: Path) -> None:
    values = blobs((32, 8, 8), "threads").astype("f4")
    write(path, values, (4, 8, 8))
    found: list[float] = []

    def check(file: h5py.File, start: int) -> None:
        for at in (start, (start + 16) % 32):
            part = np.s_[at : at + 4]
            found.append(float(np.abs(file["a"][part] - values[part]).max()))

    with h5py.File(path) as file:
        threads = [threading.Thread(target=check, args=(file, 4 * i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 16
    assert max(found) <= 1e-3

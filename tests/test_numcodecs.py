"""The numcodecs codec: the contract tests of numcodecs itself, bounds, refusals, Zarr format 2."""

from __future__ import annotations

import array
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promise_cases import faults
from volumes import blobs, of_dtype, random_of, third_nan

import volcodec

pytest.importorskip("numcodecs")

from numcodecs.compat import ensure_ndarray
from numcodecs.registry import get_codec
from numcodecs.tests import common

from volcodec.plugins.numcodecs import Volcodec

SETTINGS: tuple[dict[str, Any], ...] = (
    {"rel_error": 1e-3},
    {"max_error": 0.5, "support": "exact", "background": 7.0},
    {"psnr": 50.0, "effort": 2},
    {"ratio": 4.0},
    {"bits": 3.0},
    {"lossless": True, "model": "density-1"},
)
ARRAYS = {
    "line": np.arange(300, dtype="i4"),
    "floats": np.linspace(1000, 1001, 200),
    "plane": random_of("plane").normal(1000, 1, (20, 10)),
    "bytes": random_of("cube").integers(0, 200, 512, "u1").reshape(8, 8, 8),
    "fortran": np.asfortranarray(blobs((7, 8, 9), "fortran").astype("f4")),
    "four axes": blobs((2, 3, 8, 9), "four").astype("f2"),
    "fortran of four": np.asfortranarray(blobs((2, 3, 8, 9), "four")),
    "swapped": of_dtype("uint16", (5, 6, 7)).astype(">u2"),
    "number": np.array(3.5, "f4"),
    "specials": third_nan()[:2],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_contract(name: str) -> None:
    codec = Volcodec(lossless=True)
    common.check_encode_decode(ARRAYS[name], codec)
    common.check_encode_decode_array(ARRAYS[name], codec)


@pytest.mark.parametrize("settings", SETTINGS)
def test_configuration(settings: dict[str, Any]) -> None:
    codec = Volcodec(**settings)
    common.check_config(codec)
    assert codec.get_config() == {"id": "volcodec", **settings}
    assert eval(repr(codec), {"Volcodec": Volcodec}) == codec
    assert codec != Volcodec(max_error=99)


def test_the_default_target_is_named() -> None:
    assert Volcodec().get_config() == {"id": "volcodec", "rel_error": 1e-3}


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float32"])
@pytest.mark.parametrize("settings", SETTINGS[2:])
def test_what_is_encoded_is_a_file_that_keeps_the_promise(
    codec: volcodec.Codec, settings: dict[str, Any], dtype: str
) -> None:
    volume = of_dtype(dtype)
    blob = Volcodec(**settings).encode(volume)
    target = {kind: settings[kind] for kind in settings if kind not in ("effort", "model")}
    assert not faults(codec, volume, blob, target)
    flat = Volcodec().decode(blob)  # what a file says of itself is enough
    assert flat.dtype == volume.dtype
    assert np.array_equal(flat.reshape(volume.shape), codec.decode(blob))


@pytest.mark.parametrize("shape", [(), (1,), (2500,), (40, 30), (3, 10, 11, 12), (2, 1, 3, 8, 9)])
def test_axes(shape: tuple[int, ...]) -> None:
    values = blobs(shape or (1,), "axes").astype("f4").reshape(shape)
    codec = Volcodec(max_error=1e-3)
    for form in (values, np.asfortranarray(values)):
        out = np.empty_like(form)
        codec.decode(codec.encode(form), out=out)
        assert np.abs(out - form).max() <= 1e-3


def test_a_smooth_line_takes_few_bytes() -> None:
    line = np.sin(np.linspace(0, 50, 20000)).astype("f4")
    assert len(Volcodec(max_error=1e-3).encode(line)) < line.nbytes / 20


def test_nothing() -> None:
    blob = Volcodec().encode(np.zeros((0, 4), "f4"))
    assert ensure_ndarray(Volcodec().decode(blob)).nbytes == 0


def test_bytes_have_no_error_that_could_be_bounded() -> None:
    raw = blobs((8, 8), "raw").astype("f4").tobytes()
    for buffer in (raw, bytearray(raw), memoryview(raw), array.array("b", raw)):
        with pytest.raises(volcodec.InputError, match="lossless"):
            Volcodec(max_error=1).encode(buffer)
        lossless = Volcodec(lossless=True)
        assert lossless.decode(lossless.encode(buffer)).tobytes() == raw


def test_objects() -> None:
    common.check_err_encode_object_buffer(Volcodec())
    blob = Volcodec().encode(np.zeros((4, 4), "f4"))
    with pytest.raises(TypeError):
        Volcodec().decode(blob, out=np.empty(16, object))


@pytest.mark.parametrize("dtype", ["i8", "u8", "?", "c8", "S3", "M8[s]"])
def test_refused_dtypes(dtype: str) -> None:
    with pytest.raises(volcodec.InputError, match="not supported"):
        Volcodec().encode(np.zeros((4, 4), dtype))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_error": 1, "psnr": 50}, "one target"),
        ({"rel_error": -1}, "negative"),
        ({"psnr": "high"}, "number"),
        ({"support": "maybe"}, "support"),
        ({"background": "black"}, "background"),
        ({"background": np.nan}, "background"),
        ({"effort": 10}, "effort"),
        ({"model": "models/own.safetensors"}, "VOLCODEC_MODELS"),
        ({"model": None}, "VOLCODEC_MODELS"),
    ],
)
def test_refused_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(volcodec.InputError, match=words):
        Volcodec(**settings)


def test_settings_from_another_time() -> None:
    with pytest.raises(TypeError, match="wavelets"):
        get_codec({"id": "volcodec", "max_error": 1, "wavelets": 3})


def test_damage() -> None:
    codec = Volcodec(max_error=1e-3)
    values = blobs((12, 12, 12), "damage").astype("f4")
    blob = codec.encode(values)
    for at in (0, 25, len(blob) // 2, len(blob) - 1):
        damaged = bytearray(blob)
        damaged[at] ^= 1
        with pytest.raises(volcodec.FormatError):
            codec.decode(damaged)
    for size in (1, 30, len(blob) - 1):
        with pytest.raises(volcodec.FormatError):
            codec.decode(blob[:size])
    with pytest.raises(ValueError):
        codec.decode(blob, out=np.empty(values.size + 1, "f4"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<u2"])
def test_zarr_format_2(tmp_path: Path, order: Any, dtype: str) -> None:
    zarr = pytest.importorskip("zarr", "3")
    values = (100 * blobs((10, 9, 15), "second")).astype(dtype)
    array = zarr.create_array(
        tmp_path / "a", shape=values.shape, chunks=(8, 8, 8), dtype=values.dtype, fill_value=7,
        zarr_format=2, order=order, compressors=Volcodec(max_error=1.5, effort=3),
    )  # fmt: skip
    array[:] = values
    array = zarr.open_array(tmp_path / "a", mode="r")
    assert array.compressors == (Volcodec(max_error=1.5, effort=3),)
    assert array.dtype == values.dtype
    assert np.abs(array[:].astype("f8") - values.astype("f8")).max() <= 1.5
    metadata = json.loads((tmp_path / "a" / ".zarray").read_text())
    assert metadata["compressor"] == {"id": "volcodec", "max_error": 1.5, "effort": 3}


def test_found_by_its_entry_point(tmp_path: Path) -> None:
    values = blobs((9, 10, 11), "entry").astype("f4")
    Path(tmp_path / "chunk").write_bytes(Volcodec(lossless=True).encode(values))
    code = (
        "import sys, numcodecs\n"
        "assert 'volcodec' not in sys.modules\n"
        "codec = numcodecs.get_codec({'id': 'volcodec', 'lossless': True})\n"
        "sys.stdout.buffer.write(codec.decode(open('chunk', 'rb').read()).tobytes())"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, check=True, stdout=subprocess.PIPE
    )
    assert found.stdout == values.tobytes()

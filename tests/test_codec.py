"""The codec's face: what it takes, what it refuses, and the options of decode."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import blobs, of_dtype

import volcodec
from benchmarks.generate import smoke
from volcodec.container import Reader
from volcodec.errors import FormatError, InputError, VolcodecError

Tiled = tuple[np.ndarray, bytes]


def test_one_voxel_to_default_target(codec: volcodec.Codec) -> None:
    volume = blobs((20, 21, 22), "default").astype(np.float32)
    info = volcodec.inspect(codec.encode(volume))
    assert (info.target, info.target_value) == ("rel_error", 1e-3)
    assert info.model == codec.model.name
    assert volcodec.encode(volume) == codec.encode(volume)


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [("bool", "uint8"), ("int64", "int32"), ("uint64", "uint32"), ("complex64", "real"),
     ("U3", "numbers"), ("S3", "numbers"), ("M8[s]", "numbers"), ("m8[s]", "numbers"),
     ("O", "numbers"), ([("a", "f4")], "numbers|supported"), ("longdouble", "float64")],
)  # fmt: skip
def test_dtypes_that_are_refused(codec: volcodec.Codec, dtype: Any, hint: str) -> None:
    volume = np.zeros((4, 4, 4), dtype)
    if volume.dtype in (np.float64,):
        pytest.skip("this platform's long double is a double")
    with pytest.raises(InputError, match=hint):
        codec.encode(volume)


def test_bfloat16_is_refused(codec: volcodec.Codec) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="float32"):
        codec.encode(torch.zeros((4, 4, 4), dtype=torch.bfloat16))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5), (0, 4, 4), (4, 0), (3, 3, 0)])
def test_shapes_that_are_refused(codec: volcodec.Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        codec.encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"rel_error": 1e-3, "psnr": 50.0}, {"ratio": 4, "lossless": True},
        {"rel_error": -1e-3}, {"max_error": float("nan")}, {"max_error": float("inf")},
        {"psnr": float("inf")}, {"ratio": 0}, {"bits": -1.0}, {"bits": "many"},
        {"max_error": [1.0]}, {"rel_error": 1j},
        {"support": "on"}, {"background": float("nan")}, {"background": 1e300},
        {"background": "black"},
        {"effort": 0}, {"effort": 10}, {"effort": 2.5}, {"tile": 0}, {"tile": 1025},
        {"tile": "big"}, {"tile": -4}, {"threads": 0}, {"threads": 1.5},
        {"attrs": {"a": {1}}}, {"attrs": {"x": "y" * (1 << 21)}}, {"dataset": "a\0b"},
        {"dataset": "d" * 300},
    ],
    ids=lambda options: str(options)[:40],
)  # fmt: skip
def test_options_that_are_refused(codec: volcodec.Codec, options: dict[str, Any]) -> None:
    volume = np.ones((4, 4, 4), np.float32)
    volume[0] = 2
    with pytest.raises(InputError):
        codec.encode(volume, **options)


@pytest.mark.parametrize("background", [0.5, -1, 256, float("nan")])
def test_backgrounds_that_no_voxel_can_have(codec: volcodec.Codec, background: float) -> None:
    with pytest.raises(InputError, match="background"):
        codec.encode(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), background=background)


@pytest.mark.parametrize("device", ["gpu", "", "cpu2", 3])
def test_devices_that_are_refused(device: Any) -> None:
    with pytest.raises(InputError, match="device"):
        volcodec.Codec(device=device)


def test_impossible_budgets_name_the_nearest(codec: volcodec.Codec) -> None:
    volume = blobs((20, 20, 20), "budget").astype(np.float32)
    with pytest.raises(InputError, match=r"ratio [0-9.]+ or [0-9.]+ bits") as caught:
        codec.encode(volume, ratio=1e6)
    best = float(str(caught.value).split("that is ratio ")[1].split()[0])
    assert volume.nbytes / len(codec.encode(volume, ratio=0.9 * best)) >= 0.9 * best
    with pytest.raises(InputError, match="ratio"):
        codec.encode(volume, bits=1e-4)


def test_attributes_are_carried(codec: volcodec.Codec) -> None:
    attrs = {"spacing": [1.0, 0.5, 0.5], "unit": "µm", "n": 3, "nested": {"a": [None, True]}}
    blob = codec.encode(np.ones((3, 4, 5), np.float32), attrs=attrs, dataset="scan/raw")
    info = volcodec.inspect(blob)
    assert info.attrs == attrs
    assert info.dataset == "scan/raw"


@pytest.mark.parametrize("effort", [1, 5, 9])
def test_efforts_keep_the_bound(codec: volcodec.Codec, effort: int) -> None:
    volume = blobs((20, 30, 25), "effort").astype(np.float32)
    blob = codec.encode(volume, rel_error=1e-3, effort=effort)
    assert np.abs(codec.decode(blob) - volume).max() <= 1e-3 * np.ptp(volume)
    if effort == 1:
        assert codec.encode(volume, rel_error=1e-3, fast=True) == blob


def test_progress_is_told(codec: volcodec.Codec, tiled: Tiled) -> None:
    volume, blob = tiled
    told: list[tuple[int, int, str]] = []
    again = codec.encode(volume, rel_error=1e-3, tile=16, progress=lambda *step: told.append(step))
    assert again == blob
    for stage in dict.fromkeys(step[2] for step in told):
        steps = [step for step in told if step[2] == stage]
        assert steps[-1][0] == steps[-1][1]
        assert [s[0] for s in steps] == sorted(s[0] for s in steps)
    told.clear()
    codec.decode(blob, progress=lambda *step: told.append(step))
    assert told[-1][:2] == (18, 18)


def test_any_kind_of_source(tiled: Tiled, tmp_path: Path) -> None:
    _, blob = tiled
    whole = volcodec.decode(blob)
    path = tmp_path / "a.vc"
    path.write_bytes(blob)
    sources = [bytearray(blob), memoryview(blob), np.frombuffer(blob, np.uint8), io.BytesIO(blob)]
    for source in sources:
        assert np.array_equal(volcodec.decode(source), whole)
        assert volcodec.inspect(source).shape == whole.shape
    for buffering in (-1, 0):
        with path.open("rb", buffering=buffering) as file:
            assert np.array_equal(volcodec.decode(file), whole)
    for place in (path, str(path)):
        assert np.array_equal(volcodec.decode(place), whole)
    with pytest.raises(InputError, match=r"b\.vc"):
        volcodec.decode(tmp_path / "b.vc")
    with pytest.raises(VolcodecError):
        volcodec.decode(b"")


def test_out(tiled: Tiled) -> None:
    _, blob = tiled
    whole = volcodec.decode(blob)
    out = np.full(whole.shape, -1, np.float32)
    assert volcodec.decode(blob, out=out) is out
    assert np.array_equal(out, whole)
    room = np.full((2 * 39, 29, 3 * 41), -1, np.float32)
    for view in (room[::2, :, ::3], room[-39:, ::-1, 41:82], np.asfortranarray(out)):
        view[...] = -1
        assert volcodec.decode(blob, out=view) is view
        assert np.array_equal(view, whole)
    part = np.zeros((4, 29, 1), np.float32)
    volcodec.decode(blob, out=part, region=np.s_[2:6, :, 9:10])
    assert np.array_equal(part, whole[2:6, :, 9:10])
    read_only = np.zeros(whole.shape, np.float32)
    read_only.setflags(write=False)
    bad: list[Any] = [
        np.zeros((39, 29, 40), np.float32), np.zeros(whole.shape, np.float64),
        np.zeros(whole.shape, ">f4"), read_only, [[0.0]],
    ]  # fmt: skip
    for wrong in bad:
        with pytest.raises((InputError, TypeError)):
            volcodec.decode(blob, out=wrong)
    image = blobs((20, 30), "out").astype(">f4")
    picture = np.zeros((20, 60), ">f4")[:, ::2]
    flat = volcodec.encode(image)
    volcodec.decode(flat, out=picture)
    assert np.array_equal(picture, volcodec.decode(flat))


def test_max_bytes(tiled: Tiled) -> None:
    volume, blob = tiled
    assert volcodec.decode(blob, max_bytes=volume.nbytes).shape == volume.shape
    with pytest.raises(FormatError, match="max_bytes"):
        volcodec.decode(blob, max_bytes=volume.nbytes - 1)
    part = volcodec.decode(blob, max_bytes=400, region=np.s_[:10, 0:1, :10])
    assert part.nbytes == 400


def damaged(blob: bytes, tiles: list[int]) -> bytes:
    """The file with a byte of the last stream of each of ``tiles`` changed."""
    reader = Reader(blob)
    out = bytearray(blob)
    for tile in tiles:
        end = reader.payload_offset + reader.index.start(tile) + reader.index[tile].size
        out[end - 1] ^= 0x10
    return bytes(out)


def test_damage_is_filled(tiled: Tiled) -> None:
    _, blob = tiled
    whole = volcodec.decode(blob)
    bad = damaged(blob, [4, 11])
    with pytest.raises(FormatError, match="tile 4 "):
        volcodec.decode(bad)
    with pytest.warns(UserWarning, match=r"\[4, 11\]"):
        filled = volcodec.decode(bad, on_damage="fill")
    expected = whole.copy()
    expected[0:16, 16:29, 16:32] = np.nan  # grid 3 x 2 x 3: tile 4 is (0, 1, 1)
    expected[16:32, 16:29, 32:41] = np.nan  # and 11 is (1, 1, 2)
    np.testing.assert_array_equal(filled, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part = volcodec.decode(bad, region=np.s_[32:, :, :], on_damage="fill")
        assert np.array_equal(part, whole[32:])
        assert np.array_equal(volcodec.decode(bad, region=np.s_[:, :16]), whole[:, :16])
    with pytest.warns(UserWarning, match=r"\[4"):
        preview = volcodec.decode(damaged(blob, [4]), on_damage="fill", level=0)
    assert np.isnan(preview).sum() == 16 * 13 * 16
    with pytest.raises(InputError, match="on_damage"):
        volcodec.decode(blob, on_damage="ignore")


def test_damage_of_integers_becomes_background(codec: volcodec.Codec) -> None:
    volume = of_dtype("int16", (20, 20, 20))
    blob = codec.encode(volume, tile=10, lossless=True, background=-7)
    with pytest.warns(UserWarning, match="damaged"):
        filled = codec.decode(damaged(blob, [0]), on_damage="fill")
    assert (filled[:10, :10, :10] == -7).all()
    assert np.array_equal(filled[10:], volume[10:])


def test_verify_says_what_is_wrong(codec: volcodec.Codec, tiled: Tiled) -> None:
    volume, blob = tiled
    report = volcodec.verify(blob, against=volume)
    assert report.ok
    assert report.kept
    assert report.max_error == np.abs(volcodec.decode(blob).astype(np.float64) - volume).max()
    worse = volume.copy()
    worse[20, 20, 20] += 0.5
    report = volcodec.verify(blob, against=worse)
    assert not report.ok
    assert report.kept is False
    report = volcodec.verify(damaged(blob, [3, 8]))
    assert report.damaged == [3, 8]
    assert not report.ok
    assert not volcodec.verify(blob + b"x").ok
    assert not volcodec.verify(blob[:-1]).ok


def test_what_values_are_counted_from() -> None:
    """A common background; but not where it is kept exactly: a visible voxel that decodes to it is
    put beside it, and could not be corrected any further."""
    plume = smoke(40)
    origins = [
        volcodec.inspect(volcodec.encode(plume, rel_error=1e-2, support=support)).lattice_origin
        for support in ("off", "exact")
    ]
    assert origins[0] == 0 and plume.min() < origins[1] < plume.max()
    rare = plume + np.float32(1)
    assert volcodec.inspect(volcodec.encode(rare, rel_error=1e-2)).lattice_origin > 1

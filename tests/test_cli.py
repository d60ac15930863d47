"""The command line: options reach the library, every end has its exit status and its line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from cli_calls import call, fails

import volcodec
from volcodec.cli.texts import as_json
from volcodec.demo import smoke
from volcodec.errors import FormatError, InputError
from volcodec.formats import open_source
from volcodec.view import compare, take_survey


@pytest.fixture
def volume() -> np.ndarray:
    ramp = np.linspace(-1, 1, 20 * 24 * 28, dtype="f4").reshape(20, 24, 28)
    return np.asarray(np.where(np.abs(ramp) < 0.3, 0, np.sin(7 * ramp)), "f4")


@pytest.fixture
def original(tmp_path: Path, volume: np.ndarray) -> Path:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["density"] = volume
        file["density"].attrs["spacing"] = [1.0, 0.5, 0.5]
    return tmp_path / "in.h5"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Replace the library's functions by one that notes what it is called with."""
    noted: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    summary = SimpleNamespace(
        raw_bytes=4000,
        file_bytes=100,
        voxels=1000,
        max_error=0.00123456,
        psnr=float("inf"),
        support="exact",
        codings={"learned": 3, "raw": 0, "constant": 1},
        seconds=1.25,
    )

    def note(*args: Any, **options: Any) -> Any:
        noted.append((args, options))
        return summary

    monkeypatch.setattr(volcodec, "compress", note)
    monkeypatch.setattr(volcodec, "decompress", note)
    return noted


def test_compress_defaults(calls: list[Any], original: Path) -> None:
    result = call("compress", original, "out.vc")
    assert result.exit_code == 0
    assert result.stdout == (
        "out.vc: 4,000 -> 100 bytes, ratio 40, 0.8 bpv, max error 0.001235, PSNR infinite, "
        "support exact, tiles 3 learned + 1 constant, 1.2 s\n"
    )
    (args, options) = calls[0]
    assert args == (str(original), "out.vc")
    assert options == {
        "rel_error": 1e-3,
        "dataset": None,
        "shape": None,
        "dtype": None,
        "model": "density",
        "support": "auto",
        "background": 0.0,
        "effort": 5,
        "fast": False,
        "tile": None,
        "threads": None,
        "device": "auto",
        "embed_model": False,
        "force": False,
        "progress": None,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--max-error", "0.5"], {"max_error": 0.5}),
        (["--rel-error", "1e-4"], {"rel_error": 1e-4}),
        (["--psnr", "50"], {"psnr": 50.0}),
        (["--ratio", "20"], {"ratio": 20.0}),
        (["--bits", "1.5"], {"bits": 1.5}),
        (["--lossless"], {"lossless": True}),
        (["--fast", "--background", "-1e3", "--tile", "32"], {"fast": True, "background": -1e3}),
        (["--effort", "9", "--embed-model", "--force"], {"effort": 9, "embed_model": True}),
        (["--support", "off", "--threads", "2", "--device", "cpu"], {"threads": 2}),
    ],
)
def test_compress_options(
    calls: list[Any], original: Path, options: list[str], expected: dict[str, Any]
) -> None:
    assert call("compress", original, original, "out.vc", *options).exit_code == 0
    args, given = calls[0]
    assert args[0] == [str(original), str(original)]  # two frames
    assert expected.items() <= given.items()
    targets = {"max_error", "rel_error", "psnr", "ratio", "bits", "lossless"} & given.keys()
    assert targets == expected.keys() & targets or targets == {"rel_error"}


@pytest.mark.parametrize(
    "options",
    [
        ["--max-error", "1", "--lossless"],
        ["--psnr", "50", "--ratio", "3"],
        ["--fast", "--effort", "5"],
        ["--effort", "0"],
        ["--max-error", "-1"],
        ["--bits", "zero"],
        ["--support", "maybe"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage(calls: list[Any], original: Path, options: list[str]) -> None:
    fails(call("compress", original, "out.vc", *options), 2, "Error")
    assert calls == []


def test_wrong_arguments(calls: list[Any], original: Path, tmp_path: Path) -> None:
    fails(call("compress", original), 2)
    fails(call("compress", tmp_path / "missing.h5", "out.vc"), 2, "missing.h5")
    fails(call("compress", original, tmp_path / "missing.h5", "out.vc"), 2, "missing.h5")
    fails(call("compress", original, original), 2, "OUT")
    fails(call("decompress", tmp_path / "missing.vc", "out.h5"), 2, "missing.vc")
    for command in ("info", "verify"):
        fails(call(command, tmp_path / "missing.vc"), 2, "missing.vc")
    fails(call("verify", original, "--against", tmp_path / "missing.h5"), 2, "missing.h5")
    fails(call("view", original, "-o", "page.pdf"), 2, ".png", ".html")
    fails(call("view", original), 2, "-o")
    fails(call("no-such-command"), 2)
    assert calls == []


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("0:32,:,64:128", (slice(0, 32), slice(None), slice(64, 128))),
        ("-5:,,:-1", (slice(-5, None), slice(None), slice(None, -1))),
        (" 1 : 2 , 3:4", (slice(1, 2), slice(3, 4))),
    ],
)
def test_region(calls: list[Any], original: Path, text: str, region: tuple[slice, ...]) -> None:
    options = ["--region", text, "--level", "2", "--frame", "1", "--dataset", "d"]
    assert call("decompress", original, "out.npy", *options).exit_code == 0
    args, given = calls[0]
    assert args == (str(original), "out.npy")
    assert given["region"] == region
    assert (given["level"], given["frame"], given["dataset"]) == (2, 1, "d")


@pytest.mark.parametrize("text", ["5,:,:", "0:9:2", "a:b", "1:2,3:4,5:6,7:8", "1.5:2"])
def test_wrong_region(calls: list[Any], original: Path, text: str) -> None:
    fails(call("decompress", original, "out.npy", "--region", text), 2, "region")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InputError("it can't\nbe met: ask for 3"), 1, "volcodec: it can't be met: ask for 3\n"),
        (FormatError("damaged"), 1, "volcodec: damaged\n"),
        (MemoryError(), 1, "memory"),
        (PermissionError(13, "Permission denied", "x.vc"), 1, "x.vc: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures(
    monkeypatch: pytest.MonkeyPatch, original: Path, error: Any, status: int, words: str
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(volcodec, "compress", fail)
    fails(call("compress", original, "out.vc"), status, words)


def test_a_bug_is_told_apart(monkeypatch: pytest.MonkeyPatch, original: Path) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(volcodec, "compress", fail)
    result = call("compress", original, "out.vc")
    assert result.exit_code == 1
    assert "internal error, ZeroDivisionError: bug" in result.stderr
    monkeypatch.setenv("VOLCODEC_DEBUG", "1")
    assert isinstance(call("compress", original, "out.vc").exception, ZeroDivisionError)


@pytest.mark.parametrize("broken", [False, True])
def test_verify_report(monkeypatch: pytest.MonkeyPatch, original: Path, broken: bool) -> None:
    report = SimpleNamespace(
        ok=not broken,
        problems=["voxel (1, 2, 3) is off by 2"] if broken else [],
        tiles=30,
        damaged=list(range(25)) if broken else [],
        promise="max error 1",
        kept=not broken,
        max_error=0.5,
        psnr=50.0,
        support_iou=1.0,
    )
    monkeypatch.setattr(volcodec, "verify", lambda *_a, **_o: report)
    result = call("verify", original)
    assert "max error 1: " + ("BROKEN" if broken else "kept") in result.stdout
    if broken:
        fails(result, 1, "voxel (1, 2, 3)")
    else:
        assert result.exit_code == 0


def test_json_is_plain() -> None:
    value = {"a": np.float32(0.5), "b": float("inf"), "c": (np.int64(3), b"\x01"), "d": np.ones(2)}
    value |= {"e": float("nan"), "f": Path("x"), "g": np.dtype("<f4"), "h": np.float64("-inf")}
    assert json.loads(as_json(value)) == {
        "a": 0.5,
        "b": "Infinity",
        "c": [3, "01"],
        "d": [1.0, 1.0],
        "e": "NaN",
        "f": "x",
        "g": "float32",
        "h": "-Infinity",
    }


@pytest.mark.parametrize("shape", [(20, 24, 28), (24, 28), (1, 1, 1), (2, 3, 300)])
def test_view_of_arrays(tmp_path: Path, volume: np.ndarray, shape: tuple[int, ...]) -> None:
    array = np.resize(volume, shape)
    copy = array.astype("f8")
    copy.flat[-1] += 0.25
    copy.flat[0] = np.nan
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", copy)
    with open_source(tmp_path / "b.npy") as one, open_source(tmp_path / "a.npy") as other:
        errors = compare(one, other)
        survey = take_survey(other)
    assert errors.strays == 1
    if array.size > 1:
        assert errors.max_error == 0.25
        mse = 0.25**2 / (array.size - 1)
        assert errors.psnr == pytest.approx(10 * np.log10(np.ptp(array).astype("f8") ** 2 / mse))
    assert (survey.low, survey.high) == (array.min(), array.max())
    if array.ndim == 3:
        for axis, (plane, largest) in enumerate(
            zip(survey.slices, survey.projections, strict=True)
        ):
            assert np.array_equal(plane, array.take(array.shape[axis] // 2, axis))
            assert np.array_equal(largest, array.max(axis))
    picture = tmp_path / "a.png"
    result = call("view", tmp_path / "b.npy", "-o", picture, "--against", tmp_path / "a.npy")
    assert (result.exit_code, result.stdout) == (0, f"{picture}\n")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    fails(call("view", tmp_path / "a.npy", "-o", picture), 1, "--force")


def test_view_of_nothing_finite(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((3, 4, 5), np.nan, "f4"))
    assert call("view", tmp_path / "a.npy", "-o", tmp_path / "a.png").exit_code == 0


def test_smoke() -> None:
    plume = smoke((24, 20, 20))
    assert plume.shape == (24, 20, 20)
    assert plume.dtype == np.dtype("f4")
    assert np.array_equal(plume, smoke((24, 20, 20)))
    assert plume.min() == 0 < plume.max()
    assert 0.3 < np.mean(plume == 0) < 0.95

"""The command line: options reach the library, every end has its exit status and its line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

import volcodec
from volcodec.cli import commands
from volcodec.cli.texts import as_json
from volcodec.demo import smoke
from volcodec.errors import FormatError, InputError
from volcodec.formats import open_source
from volcodec.view import compare, take_survey

needs_codec = pytest.mark.skipif(
    importlib.util.find_spec("volcodec.codec") is None, reason="the codec is not there yet"
)
MAIN = "from volcodec.cli import main; main()"


def call(*args: Any) -> Result:
    return CliRunner().invoke(commands, [str(arg) for arg in args])


def fails(result: Result, status: int, *words: str) -> None:
    """Assert that a call failed with `status`, without traceback; status 1 with one line."""
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    if status == 1:
        assert result.stderr.count("\n") == 1


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

    monkeypatch.setattr(volcodec, "compress", note, raising=False)
    monkeypatch.setattr(volcodec, "decompress", note, raising=False)
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
    fails(call("view", original, "-o", "page.html"), 2, ".png")
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
        (ZeroDivisionError("bug"), 1, "internal error, ZeroDivisionError: bug"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures(
    monkeypatch: pytest.MonkeyPatch, original: Path, error: Any, status: int, words: str
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(volcodec, "compress", fail, raising=False)
    fails(call("compress", original, "out.vc"), status, words)


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
    monkeypatch.setattr(volcodec, "verify", lambda *_a, **_o: report, raising=False)
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


def run(*args: Any, code: str = MAIN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numba', 'h5py', 'matplotlib', 'numpy', 'rich'} & set(sys.modules)"
    code = f"import atexit, sys; atexit.register(lambda: print({heavy}, file=sys.stderr)); {MAIN}"
    for args in (["--help"], ["--version"], ["compress", "--help"]):
        done = run(*args, code=code)
        assert (done.returncode, done.stderr) == (0, "set()\n")
        assert "olcodec" in done.stdout or "OUT.vc" in done.stdout
    assert run("--help", code="import runpy; runpy.run_module('volcodec')").returncode == 0


SLOW = f"""
import time, volcodec
from volcodec.formats.atomic import atomic_output

def compress(src, dst, **options):
    with atomic_output(dst) as file:
        file.write(b"half of it")
        print("writing", flush=True)
        for _ in range(600):  # a signal just before a sleep is only seen after it
            time.sleep(0.1)

volcodec.compress = compress
{MAIN}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_signals(tmp_path: Path, original: Path, number: int, status: int) -> None:
    out = tmp_path / "out.vc"
    command = [sys.executable, "-c", SLOW, "compress", str(original), str(out)]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in stderr
    assert not out.exists()
    left = [path.name for path in tmp_path.iterdir() if path != original]
    assert len(left) == (number == signal.SIGKILL)
    assert all(name.startswith(".out.vc.") and name.endswith(".part") for name in left)


@needs_codec
def test_main_job(tmp_path: Path, original: Path, volume: np.ndarray) -> None:
    packed, copy = tmp_path / "out.vc", tmp_path / "copy.h5"
    result = call("compress", original, packed, "--support", "exact", "--rel-error", "1e-2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1 and "support exact" in result.stdout
    assert call("decompress", packed, copy).exit_code == 0
    with h5py.File(copy) as file:
        again = file["density"][:]
        assert list(file["density"].attrs["spacing"]) == [1.0, 0.5, 0.5]
    assert again.dtype == volume.dtype
    assert np.abs(again.astype("f8") - volume).max() <= 1e-2 * np.ptp(volume)
    assert np.array_equal(again == 0, volume == 0)

    assert call("decompress", packed, tmp_path / "part.npy", "--region", "-4:,,3:9").exit_code == 0
    assert np.array_equal(np.load(tmp_path / "part.npy"), again[-4:, :, 3:9])

    assert call("verify", packed, "--against", original).exit_code == 0
    report = json.loads(call("verify", packed, "--against", original, "--json").stdout)
    assert report["ok"] and report["kept"]
    assert call("info", packed).exit_code == 0
    assert isinstance(json.loads(call("info", packed, "--json").stdout), dict)
    assert "density" in call("models").stdout

    picture = tmp_path / "picture.png"
    assert call("view", packed, "-o", picture, "--against", original).exit_code == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    fails(call("view", packed, "-o", picture), 1, "--force")


@needs_codec
def test_refusals(tmp_path: Path, original: Path) -> None:
    packed = tmp_path / "out.vc"
    assert call("compress", original, packed, "--lossless").exit_code == 0
    whole = packed.read_bytes()
    fails(call("compress", original, packed), 1, "--force")
    assert call("compress", original, packed, "--lossless", "--force").exit_code == 0
    assert packed.read_bytes() == whole
    fails(call("decompress", packed, tmp_path / "copy.xyz"), 1, ".npy")
    fails(call("decompress", packed, original), 1, "--force")
    fails(call("compress", original, tmp_path / "b.vc", "--ratio", "1e9"), 1)
    fails(call("compress", original, tmp_path / "b.vc", "--dataset", "x"), 1, "density")
    fails(call("info", original), 1)
    packed.write_bytes(whole[:-3])
    fails(call("decompress", packed, tmp_path / "copy.h5"), 1)
    fails(call("verify", packed), 1)
    packed.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    fails(call("verify", packed), 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.vc"]


@needs_codec
def test_two_dimensions_and_frames(tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", volume[10])
    np.save(tmp_path / "b.npy", volume[11])
    packed = tmp_path / "out.vc"
    inputs = [tmp_path / "a.npy", tmp_path / "b.npy"]
    assert call("compress", *inputs, packed, "--lossless").exit_code == 0
    assert call("decompress", packed, tmp_path / "c.npy", "--frame", "1").exit_code == 0
    assert np.array_equal(np.load(tmp_path / "c.npy"), volume[11])
    assert call("view", packed, "-o", tmp_path / "a.png").exit_code == 0


@needs_codec
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_interrupted_compression(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((256, 256, 256), "f4")
    np.save(tmp_path / "noise.npy", noise)
    out = tmp_path / "out.vc"
    command = [sys.executable, "-c", MAIN, "compress", str(tmp_path / "noise.npy"), str(out)]
    with subprocess.Popen(command, stderr=-1, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".*.part")) and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be interrupted"
            time.sleep(0.02)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (130, "volcodec: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["noise.npy"]


@needs_codec
def test_demo(tmp_path: Path) -> None:
    code = f"import os, sys; os.chdir(sys.argv.pop(1)); {MAIN}"
    done = run(tmp_path, "demo", code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "HDF5 gzip" in done.stdout and "kept in every voxel" in done.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["volcodec-demo.png", "volcodec-demo.vc"]
    fails(call("demo", "-o", tmp_path / "volcodec-demo.png"), 1, "--force")

"""The commands on real files, from end to end: what a person does with them, and stops."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_calls import MAIN, call, fails, names, run, start, works
from volumes import blobs

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def volume() -> np.ndarray:
    return blobs((20, 24, 28), "commands").astype("f4")


@pytest.fixture
def original(tmp_path: Path, volume: np.ndarray) -> Path:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["run/density"] = volume
        file["run/density"].attrs["spacing"] = [1.0, 0.5, 0.5]
        file["run/speed"] = volume
    return tmp_path / "in.h5"


def test_main_job(tmp_path: Path, original: Path, volume: np.ndarray) -> None:
    packed, copy = tmp_path / "out.vc", tmp_path / "copy.h5"
    options = ["--support", "exact", "--rel-error", "1e-2", "--dataset", "run/density"]
    result = works("compress", original, packed, *options)
    assert result.stdout.count("\n") == 1 and "support exact" in result.stdout
    works("decompress", packed, copy)
    with h5py.File(copy) as file:
        again = file["run/density"][:]
        assert list(file["run/density"].attrs["spacing"]) == [1.0, 0.5, 0.5]
    assert again.dtype == volume.dtype
    assert np.abs(again.astype("f8") - volume).max() <= 1e-2 * np.ptp(volume)
    assert np.array_equal(again == 0, volume == 0)

    works("decompress", packed, tmp_path / "part.npy", "--region", "-4:,,3:9")
    assert np.array_equal(np.load(tmp_path / "part.npy"), again[-4:, :, 3:9])
    works("decompress", packed, tmp_path / "quick.npy", "--level", "1")
    assert np.load(tmp_path / "quick.npy").shape == (10, 12, 14)

    # the dataset is the one that was compressed, though the file has others
    assert "kept" in works("verify", packed, "--against", original).stdout
    report = json.loads(works("verify", packed, "--against", original, "--json").stdout)
    assert report["ok"] and report["kept"] and report["support_iou"] == 1
    assert "dataset: run/density" in works("info", packed).stdout
    info = json.loads(works("info", packed, "--json").stdout)
    assert info["shape"] == [20, 24, 28] and info["file_size"] == packed.stat().st_size
    assert "density-" in works("models").stdout

    picture = tmp_path / "picture.png"
    arguments = ["view", packed, "-o", picture, "--against", original, "--dataset", "run/density"]
    works(*arguments)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    fails(call(*arguments), 1, "--force")
    works(*arguments, "--force")


def test_frames_of_slices(tmp_path: Path, volume: np.ndarray) -> None:
    frames = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path, plane in zip(frames, volume[10:], strict=False):
        np.save(path, plane)
    packed = tmp_path / "out.vc"
    works("compress", *frames, packed, "--lossless")
    works("decompress", packed, tmp_path / "c.npy", "--frame", "1")
    assert np.array_equal(np.load(tmp_path / "c.npy"), volume[11])
    works("decompress", packed, tmp_path / "all.npy")
    assert np.array_equal(np.load(tmp_path / "all.npy"), volume[10:12])
    works("view", packed, "-o", tmp_path / "a.png")
    works("verify", packed, "--against", frames[0], "--against", frames[1])
    fails(call("verify", packed, "--against", frames[0]), 1, "2 frames")
    fails(call("verify", packed, "--against", frames[1], "--against", frames[0]), 1, "bits differ")
    fails(call("decompress", packed, tmp_path / "d.npy", "--frame", "2"), 1, "0 to 1")


def test_verify_finds_another_volume(tmp_path: Path, original: Path, volume: np.ndarray) -> None:
    packed, other = tmp_path / "out.vc", tmp_path / "other.npy"
    works("compress", original, packed, "--dataset", "run/speed", "--max-error", "0.01")
    volume[3, 4, 5] += 0.5
    np.save(other, volume)
    result = call("verify", packed, "--against", other)
    fails(result, 1, "the error reaches")
    assert "BROKEN" in result.stdout
    np.save(other, volume.astype("f8"))
    fails(call("verify", packed, "--against", other), 1, "float64")


def test_demo_in_an_empty_folder(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "HDF5 gzip" in done.stdout and "kept in every voxel" in done.stdout
    assert names(tmp_path) == ["volcodec-demo.png", "volcodec-demo.vc"]
    fails(call("demo", "-o", tmp_path / "volcodec-demo.png"), 1, "--force")


def test_light_commands_import_nothing_heavy(
    tmp_path: Path, tiled: tuple[np.ndarray, bytes]
) -> None:
    packed = tmp_path / "a.vc"
    packed.write_bytes(tiled[1])
    heavy = "{'torch', 'numba', 'h5py', 'matplotlib', 'numpy', 'rich'} & set(sys.modules)"
    code = f"import atexit, sys; atexit.register(lambda: print({heavy}, file=sys.stderr)); {MAIN}"
    for args in (["--help"], ["--version"], ["compress", "--help"], ["info", packed]):
        done = run(*args, code=code)
        assert (done.returncode, done.stderr) == (0, "set()\n")
        assert "olcodec" in done.stdout or "OUT.vc" in done.stdout or "float32" in done.stdout
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


@posix
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_signals(tmp_path: Path, original: Path, number: int, status: int) -> None:
    out = tmp_path / "out.vc"
    with start("compress", original, out, code=SLOW) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in stderr
    assert not out.exists()
    left = [path.name for path in tmp_path.iterdir() if path != original]
    assert len(left) == (number == signal.SIGKILL)
    assert all(name.startswith(".out.vc.") and name.endswith(".part") for name in left)


@posix
def test_interrupted_compression(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((256, 256, 256), "f4")
    np.save(tmp_path / "noise.npy", noise)
    with start("compress", tmp_path / "noise.npy", tmp_path / "out.vc") as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".*.part")) and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be interrupted"
            time.sleep(0.02)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr.strip()) == (130, "volcodec: interrupted")
    assert names(tmp_path) == ["noise.npy"]

"""The same bytes and the same values: twice, with threads, in other processes, after a fork."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import CASES, blobs, of_dtype

import volcodec

TARGETS: tuple[dict[str, Any], ...] = (
    {"rel_error": 1e-3}, {"psnr": 50.0}, {"bits": 2.0}, {"lossless": True},
)  # fmt: skip


def digest(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def sample() -> np.ndarray:
    """Something of everything that has to be decided: masks, specials, several tiles."""
    volume = blobs((18, 35, 21), "sample").astype(np.float32)
    volume[3:6, 20:, :9] = np.nan
    volume[17, 20, 20] = np.inf
    return volume


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: next(iter(t)))
def test_same_bytes_twice_and_with_threads(target: dict[str, Any]) -> None:
    volume = sample()
    first = volcodec.Codec(threads=1).encode(volume, tile=16, **target)
    assert volcodec.Codec(threads=1).encode(volume, tile=16, **target) == first
    for threads in (2, 3, None):
        assert volcodec.encode(volume, tile=16, threads=threads, **target) == first
    assert volcodec.encode(np.asfortranarray(volume), tile=16, **target) == first
    values = volcodec.decode(first, threads=1).tobytes()
    for threads in (1, 2, 5, None):
        assert volcodec.decode(first, threads=threads).tobytes() == values


@pytest.mark.parametrize("name", ["dtype_uint8", "dtype_float64", "third_nan", "lattice"])
def test_same_bytes_of_other_kinds(codec: volcodec.Codec, name: str) -> None:
    volume = CASES[name]()
    assert codec.encode(volume) == codec.encode(volume.copy(order="F"))


def test_files_hold_the_same_bytes(codec: volcodec.Codec, tmp_path: Path) -> None:
    volume = sample()
    np.save(tmp_path / "in.npy", volume)
    for target in TARGETS:
        volcodec.compress(tmp_path / "in.npy", tmp_path / "a.vc", tile=16, force=True, **target)
        volcodec.compress(volume, tmp_path / "b.vc", tile=16, force=True, **target)
        expected = codec.encode(volume, tile=16, **target)
        assert (tmp_path / "b.vc").read_bytes() == expected
        assert (tmp_path / "a.vc").read_bytes() == expected


def test_tiles_do_not_depend_on_each_other(codec: volcodec.Codec) -> None:
    """Values of a tile decoded alone, in a batch, and in any order of regions."""
    blob = codec.encode(sample(), tile=16, rel_error=1e-3)
    whole = codec.decode(blob, threads=2)
    apart = np.empty_like(whole)
    for z in (16, 0):
        for y in (32, 0, 16):
            for x in (16, 0):
                box = np.s_[z : z + 16, y : y + 16, x : x + 16]
                apart[box] = codec.decode(blob, region=box)
    assert apart.tobytes() == whole.tobytes()


SCRIPT = """
import hashlib, sys
import numpy as np
import volcodec
blob = open(sys.argv[1], "rb").read()
values = volcodec.decode(blob, threads=2)
print(hashlib.sha256(values.tobytes()).hexdigest())
if len(sys.argv) > 2:
    volume = np.load(sys.argv[2])
    print(hashlib.sha256(volcodec.encode(volume, tile=16)).hexdigest())
"""


def elsewhere(arguments: list[Any], **environment: str) -> list[str]:
    """What the script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process(codec: volcodec.Codec, tmp_path: Path) -> None:
    volume = sample()
    blob = codec.encode(volume, tile=16)
    (tmp_path / "a.vc").write_bytes(blob)
    np.save(tmp_path / "v.npy", volume)
    expected = [digest(codec.decode(blob).tobytes()), digest(blob)]
    for seed in ("0", "1"):
        found = elsewhere(
            [tmp_path / "a.vc", tmp_path / "v.npy"],
            PYTHONHASHSEED=seed, OMP_NUM_THREADS="1", TORCH_ONEDNN_ENABLED=seed,
            ONEDNN_MAX_CPU_ISA="SSE41",
        )  # fmt: skip
        assert found == expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names a processor of another kind")
def test_a_plain_processor(codec: volcodec.Codec, tmp_path: Path) -> None:
    """Kernels compiled without wide vectors and fused products decode the same values."""
    blob = codec.encode(sample(), tile=16)
    (tmp_path / "a.vc").write_bytes(blob)
    plain = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    assert elsewhere([tmp_path / "a.vc"], **plain) == [digest(codec.decode(blob).tobytes())]


def test_threads_share_a_codec() -> None:
    codec = volcodec.Codec(threads=2)
    volumes = [blobs((18, 19, 20 + i), f"shared{i}").astype(np.float32) for i in range(6)]
    expected = [codec.encode(v, tile=10) for v in volumes]
    together = threading.Barrier(4)

    def work(i: int) -> tuple[bytes, bytes]:
        if i < 4:
            together.wait(timeout=60)
        blob = codec.encode(volumes[i % 6], tile=10)
        return blob, codec.decode(blob).tobytes()

    with ThreadPoolExecutor(4) as pool:
        for i, (blob, values) in enumerate(pool.map(work, range(12))):
            assert blob == expected[i % 6]
            assert values == codec.decode(blob).tobytes()


def test_readers_share_a_file(codec: volcodec.Codec, tmp_path: Path) -> None:
    blob = codec.encode(sample(), tile=8)
    (tmp_path / "a.vc").write_bytes(blob)
    whole = codec.decode(blob)
    with (tmp_path / "a.vc").open("rb") as file, ThreadPoolExecutor(4) as pool:
        parts = pool.map(
            lambda z: volcodec.decode(file, region=np.s_[z : z + 1], threads=2), range(18)
        )
        assert np.concatenate(list(parts)).tobytes() == whole.tobytes()


def _in_child(codec: volcodec.Codec, volume: np.ndarray, queue: Any) -> None:
    blob = codec.encode(volume, tile=16, threads=2)
    queue.put((blob, codec.decode(blob, threads=2).tobytes()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork() -> None:
    codec = volcodec.Codec(threads=2)
    volume = sample()
    blob = codec.encode(volume, tile=16)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(codec, volume, queue))
    child.start()
    try:
        found, values = queue.get(timeout=120)
    finally:
        child.join(timeout=10)
        if child.is_alive():
            child.kill()
    assert found == blob
    assert values == codec.decode(blob).tobytes()


def test_tensors(codec: volcodec.Codec) -> None:
    torch = pytest.importorskip("torch")
    volume = of_dtype("float32")
    blob = codec.encode(volume)
    tensor = torch.from_numpy(volume)
    assert codec.encode(tensor) == blob
    assert codec.encode(tensor.clone().requires_grad_()) == blob
    turned = torch.from_numpy(np.ascontiguousarray(volume.transpose(2, 0, 1))).permute(1, 2, 0)
    assert codec.encode(turned) == blob
    for dtype in (torch.uint8, torch.int16, torch.float16, torch.float64):
        array = (255 * blobs((9, 9, 9), "tensor")).astype(str(dtype).split(".")[1])
        assert codec.encode(torch.from_numpy(array)) == codec.encode(array)
    assert isinstance(codec.decode(blob), np.ndarray)


@pytest.mark.skipif("not __import__('importlib.util').util.find_spec('torch')", reason="no torch")
def test_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(volcodec.InputError, match="CUDA"):
            volcodec.Codec(device="cuda")
        pytest.skip("there is no CUDA device here")
    volume = of_dtype("float32")
    blob = volcodec.encode(volume)
    tensor = torch.from_numpy(volume).to("cuda")
    assert volcodec.encode(tensor) == blob
    decoded = volcodec.decode(blob, device="cuda")
    assert decoded.is_cuda
    assert decoded.cpu().numpy().tobytes() == volcodec.decode(blob).tobytes()

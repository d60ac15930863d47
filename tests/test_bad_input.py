"""Bad input: one clear line, the right exit status, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cli_calls import MAIN, call, fails, names, run, works
from safetensors.numpy import load, save
from volumes import blobs

import volcodec
from volcodec import models
from volcodec.container import Header, TileEntry
from volcodec.container.front import pack_front
from volcodec.container.index import pack_index

SHAPE = (12, 14, 16)


@pytest.fixture(autouse=True)
def within_an_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLCODEC_MODELS", raising=False)


@pytest.fixture
def volume() -> np.ndarray:
    return blobs(SHAPE, "bad input").astype("f4")


@pytest.fixture
def original(volume: np.ndarray) -> str:
    np.save("in.npy", volume)
    return "in.npy"


@pytest.fixture
def packed(tiled: tuple[np.ndarray, bytes]) -> bytes:
    """A file of several tiles, as `in.vc`; its bytes."""
    Path("in.vc").write_bytes(tiled[1])
    return tiled[1]


def write_h5(name: str, **arrays: Any) -> None:
    with h5py.File(name, "w") as file:
        for key, array in arrays.items():
            file[key] = array


def refused(*args: Any, words: tuple[str, ...] = (), status: int = 1) -> None:
    """Assert that a command fails and leaves every file as it was."""
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    fails(call(*args), status, *words)
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


# ------------------------------------------------------------------ volumes


def test_files_that_are_none(volume: np.ndarray) -> None:
    Path("text.h5").write_text("hello")
    Path("text.npy").write_text("hello")
    Path("text.dcm").write_text("hello")
    write_h5("whole.h5", d=np.zeros((64, 64, 64)))
    Path("cut.h5").write_bytes(Path("whole.h5").read_bytes()[:100_000])
    Path("folder.h5").mkdir()
    refused("compress", "text.h5", "out.vc", words=("text.h5 is not an HDF5 file",))
    refused("compress", "text.npy", "out.vc", words=("text.npy is not a readable .npy",))
    refused("compress", "text.dcm", "out.vc", words=(".dcm", ".h5, .hdf5, .npy"))
    refused("compress", "cut.h5", "out.vc", words=("cut.h5", "truncated"))
    refused("compress", "folder.h5", "out.vc", words=("folder.h5",), status=2)
    refused("compress", "missing.h5", "out.vc", words=("missing.h5",), status=2)


def test_no_dataset_or_several(volume: np.ndarray) -> None:
    write_h5("none.h5")
    write_h5("several.h5", density=volume, speed=volume, time=[1.0, 2.0])
    refused("compress", "none.h5", "out.vc", words=("none.h5 holds no dataset",))
    listed = ("--dataset", "density (12 x 14 x 16, float32), speed (12 x 14 x 16, float32)")
    refused("compress", "several.h5", "out.vc", words=listed)
    refused("compress", "several.h5", "out.vc", "--dataset", "x", words=("no dataset 'x'", "speed"))
    works("compress", "several.h5", "out.vc", "--dataset", "speed")


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((), "f4", "single number"),
        ((6,), "f4", "reshape it"),
        ((2, 3, 4, 5), "f4", "frame"),
        ((0, 3, 4), "f4", "empty"),
        ((3, 0), "u1", "empty"),
        (SHAPE, "S3", "not numeric"),
        (SHAPE, "?", "uint8"),
        (SHAPE, "i8", "int32"),
        (SHAPE, ">u8", "uint32"),
        (SHAPE, "c8", "array.real"),
    ],
)
def test_arrays_that_are_no_volumes(
    suffix: str, shape: tuple[int, ...], dtype: str, words: str
) -> None:
    array = np.zeros(shape, dtype)
    if suffix == ".h5":
        write_h5("in.h5", d=array)
    else:
        np.save("in.npy", array)
    refused("compress", f"in{suffix}", "out.vc", words=(f"in{suffix}", words))


def test_frames_that_differ(original: str, volume: np.ndarray) -> None:
    np.save("short.npy", volume[:-1])
    np.save("wide.npy", volume.astype("f8"))
    for other in ("short.npy", "wide.npy"):
        refused("compress", original, other, "out.vc", words=("frames",))


def test_attributes_that_do_not_fit(volume: np.ndarray) -> None:
    with h5py.File("in.h5", "w", libver="latest") as file:
        file["d"] = volume
        file["d"].attrs["table"] = np.arange(300_000.0)
    refused("compress", "in.h5", "out.vc", words=("attributes", "1,048,576"))


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--ratio 1e9", "smallest"),
        ("--bits 1e-9", "smallest"),
        ("--psnr nan", "finite"),
        ("--max-error inf", "finite"),
        ("--background nan", "background"),
        ("--background 1e300", "background"),
        ("--tile 5000", "tile"),
        ("--model nowhere", "density-"),
        ("--model in.npy", "not a volcodec model"),
    ],
)
def test_wishes_that_cannot_be_met(original: str, options: str, words: str) -> None:
    refused("compress", original, "out.vc", *options.split(), words=(words,))


def test_the_nearest_ratio_can_be_had(original: str) -> None:
    result = call("compress", original, "out.vc", "--ratio", "1e9")
    fails(result, 1, "ratio")
    nearest = result.stderr.split("ratio")[-1].split()[0]
    works("compress", original, "out.vc", "--ratio", nearest)


def test_no_cuda_device(original: str, packed: bytes) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    for command in (["compress", original, "out.vc"], ["decompress", "in.vc", "out.npy"]):
        refused(*command, "--device", "cuda", words=("no CUDA device", "cpu"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--level 14", "levels 0 to"),
        ("--frame 1", "frames 0 to 0"),
        ("--region 5:5,:,:", "empty"),
        ("--region 100:,:,:", "empty"),
    ],
)
def test_parts_that_are_not_there(packed: bytes, options: str, words: str) -> None:
    refused("decompress", "in.vc", "out.npy", *options.split(), words=(words,))


def test_outputs_that_exist(original: str, packed: bytes) -> None:
    for name in ("out.vc", "out.h5", "out.npy", "out.png"):
        Path(name).write_text("precious")
    refused("compress", original, "out.vc", words=("out.vc exists", "--force"))
    refused("decompress", "in.vc", "out.h5", words=("out.h5 exists", "--force"))
    refused("decompress", "in.vc", "out.npy", words=("out.npy exists", "--force"))
    refused("view", "in.vc", "-o", "out.png", words=("out.png exists", "--force"))
    refused("demo", "-o", "out.png", words=("out.png exists", "--force"))
    # a failure with --force loses nothing either
    refused("compress", original, "out.vc", "--force", "--ratio", "1e9")
    Path("in.vc").write_bytes(packed[:-20])
    refused("decompress", "in.vc", "out.npy", "--force")
    refused("decompress", "in.vc", "out.h5", "--force")


def test_outputs_that_cannot_be(original: str, packed: bytes) -> None:
    Path("folder").mkdir()
    refused("compress", original, "folder", words=("folder", "name a file"))
    refused("compress", original, "no/out.vc", words=("does not exist",))
    refused("compress", original, os.devnull, words=("not an ordinary file",))
    refused("decompress", "in.vc", "out.xyz", words=(".xyz", ".npy"))
    refused("decompress", "in.vc", "no/out.npy", words=("does not exist",))
    refused("decompress", "in.vc", "in.vc", "--force", words=(".vc",))


# ------------------------------------------------------------------ full disks

LIMITED = f"""
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
{MAIN}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("job", ["compress", "compress in one go", "h5", "npy", "view"])
def test_full_disk(job: str) -> None:
    """The limit on a file's size stands for the full disk: both fail in write()."""
    # a picture takes more than the limit, the small volume that it shows does not
    shape = (8, 8, 8) if job == "view" else (32, 24, 32)
    np.save("in.npy", np.random.default_rng(0).standard_normal(shape, "f4"))
    if not job.startswith("compress"):
        works("compress", "in.npy", "in.vc", "--rel-error", "1e-2")
        Path("in.npy").unlink()
    command = {
        "compress": ["compress", "in.npy", "out.vc", "--lossless", "--tile", "16"],
        "compress in one go": ["compress", "in.npy", "out.vc", "--psnr", "60"],
        "h5": ["decompress", "in.vc", "out.h5"],
        "npy": ["decompress", "in.vc", "out.npy"],
        "view": ["view", "in.vc", "-o", "out.png"],
    }[job]
    before = names(Path())
    # what a first use compiles is kept in files too: they must have been written by now
    works(*command)
    for name in set(names(Path())) - set(before):
        Path(name).unlink()
    done = run(20_000, *command, code=LIMITED)
    assert done.returncode == 1, done
    assert done.stderr.startswith("volcodec: ") and done.stderr.count("\n") == 1
    assert "no space left" in done.stderr
    assert names(Path()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_standard_output(packed: bytes) -> None:
    with open("/dev/full", "w") as full:
        done = run("info", "in.vc", capture_output=False, stdout=full, stderr=-1)
    assert (done.returncode, done.stderr) == (1, "volcodec: No space left on device\n")


# ------------------------------------------------------------------ .vc files

READERS = (
    ("info",),
    ("verify",),
    ("decompress", "out.npy"),
    ("decompress", "out.h5"),
    ("view", "-o", "out.png"),
)


def all_refuse(blob: bytes, *words: str, commands: Any = READERS) -> None:
    Path("in.vc").write_bytes(blob)
    for name, *rest in commands:
        refused(name, "in.vc", *rest, words=("in.vc: ", *words))


def test_files_that_are_no_vc(packed: bytes) -> None:
    all_refuse(b"", "not a .vc file")
    all_refuse(b"\x89HDF\r\n\x1a\n" + bytes(5000), "not a .vc file")
    all_refuse(packed[:10], "truncated")
    all_refuse(packed[:100], "truncated")


def test_newer_version(packed: bytes) -> None:
    all_refuse(packed[:7] + b"\x02" + packed[8:], "newer", "upgrade volcodec")


def test_truncated_payload(packed: bytes) -> None:
    works("info", "in.vc")
    for cut in (1, 1000):
        all_refuse(packed[:-cut], "truncated", commands=READERS[1:])
        assert f"missing: {cut}" in works("info", "in.vc").stdout.replace(",", "")


def test_flipped_bits(packed: bytes) -> None:
    for at in range(0, len(packed), len(packed) // 40):
        flipped = bytearray(packed)
        flipped[at] ^= 1 << at % 8
        all_refuse(bytes(flipped), commands=READERS[1:3])


def test_damage_is_named_and_the_rest_can_be_read(packed: bytes, tiled: Any) -> None:
    volume, _ = tiled
    damaged = packed[:-1] + bytes([packed[-1] ^ 1])
    Path("in.vc").write_bytes(damaged)
    report = json.loads(call("verify", "in.vc", "--json").stdout)
    assert report["damaged"] == [17] and not report["ok"]
    works("decompress", "in.vc", "part.npy", "--region", ":32,:16,:")
    part = np.load("part.npy")
    assert np.abs(part - volume[:32, :16]).max() <= 1e-3 * np.ptp(volume)


def front(shape: tuple[int, int, int], entries: int | None = None) -> bytes:
    """A whole file, its checksums right, of a float64 `shape` in constant tiles."""
    header = Header(
        dtype="float64", shape=shape, tile=(512, 256, 256), scales=4, levels=4,
        domain="bits", lattice_step=1.0,
    )  # fmt: skip
    entry = pack_index([TileEntry.of(0, 0, [b""] * header.streams)])
    return pack_front(header, entry * (header.tiles if entries is None else entries))


def test_header_that_claims_a_petabyte() -> None:
    petabyte = 1 << 15, 1 << 16, 1 << 16
    all_refuse(front(petabyte, 1000), "4194304 tiles", "at most 1000")
    all_refuse(front(petabyte)[:5000], "truncated")


def test_header_that_claims_more_than_the_disk_and_proves_it() -> None:
    blob = front((1 << 13, 1 << 16, 1 << 16))  # 2**48 bytes, more than can be addressed
    Path("in.vc").write_bytes(blob)
    assert volcodec.inspect(blob).raw_size == 1 << 48
    for suffix in (".npy", ".h5"):
        refused("decompress", "in.vc", f"out{suffix}", words=("no space left",))
    with pytest.raises(volcodec.FormatError, match="281474976710656 bytes"):
        volcodec.decode(blob)
    with pytest.raises(volcodec.FormatError, match="max_bytes"):
        volcodec.decode(blob, region=np.s_[:512, :512, :512], max_bytes=1 << 20)


# ------------------------------------------------------------------ models


@pytest.fixture
def own_model() -> str:
    """A model that decodes like the shipped one and is another by its identity."""
    shipped = models.load("density")
    meta = {"format": "volcodec-pyramid-1", "card": json.dumps({**shipped.card, "note": "own"})}
    size = int.from_bytes(shipped.data[:8], "little")
    known = json.loads(shipped.data[8 : 8 + size])["__metadata__"]
    Path("own.safetensors").write_bytes(save(load(shipped.data), {**known, **meta}))
    return "own"


def test_missing_model(original: str, own_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    works("compress", original, "out.vc", "--model", own_model, "--rel-error", "1e-3")
    works("compress", original, "whole.vc", "--model", own_model, "--embed-model")
    works("verify", "out.vc", "--against", original, "--model", own_model)
    works("decompress", "out.vc", "own.npy", "--model", "own.safetensors")
    again = np.load("own.npy")
    Path("elsewhere").mkdir()
    Path("own.safetensors").rename("elsewhere/renamed.safetensors")

    words = ("out.vc: ", "'own'", "VOLCODEC_MODELS")
    refused("decompress", "out.vc", "out.npy", words=words)
    refused("decompress", "out.vc", "out.h5", "--model", "density", words=("another", *words))
    refused("decompress", "out.vc", "out.npy", "--model", "nowhere", words=("nowhere",))
    refused("decompress", "out.vc", "out.npy", "--model", original, words=("not a volcodec model",))
    refused("verify", "out.vc", "--against", original, words=words)
    refused("view", "out.vc", "-o", "out.png", words=words)
    works("verify", "out.vc")  # the checksums need no model

    works("decompress", "whole.vc", "whole.npy")
    monkeypatch.setenv("VOLCODEC_MODELS", "elsewhere")
    works("decompress", "out.vc", "found.npy")
    assert "renamed" in works("models").stdout
    for name in ("whole.npy", "found.npy"):
        assert np.array_equal(np.load(name), again)


# ------------------------------------------------------------------ interruption


def test_interrupted_in_the_middle(
    original: str, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C when half of the tiles are done."""

    def press(done: int, total: int, _stage: str) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    def interrupted(function: Any) -> Any:
        return lambda *args, **options: function(*args, **{**options, "progress": press})

    for name in ("compress", "decompress"):
        monkeypatch.setattr(volcodec, name, interrupted(getattr(volcodec, name)))
    commands = [
        ["compress", original, "out.vc", "--tile", "8"],
        ["compress", original, "out.vc", "--tile", "8", "--psnr", "50", "--threads", "1"],
        ["decompress", "in.vc", "out.npy"],
        ["decompress", "in.vc", "out.h5", "--threads", "1"],
        ["view", "in.vc", "-o", "out.png"],
    ]
    for command in commands:
        refused(*command, status=130, words=("interrupted",))

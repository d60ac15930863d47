"""By the device path, files of the processor decode to the same bits, and come out the same."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_cases import oversampled
from volumes import blobs, random_of

import volcodec
from volcodec import codec as coding
from volcodec import device
from volcodec.container import CODINGS, Reader, TileEntry, pack
from volcodec.decoder import frame_settings
from volcodec.tilecoder import TileCoder
from volcodec.tiledecoder import CLASSICAL, TileDecoder

pytest.importorskip("torch", reason="the device path needs torch")
pytest.importorskip("triton", reason="the device path needs Triton")
import device_cases as on_device
import torch

from volcodec.device import parts
from volcodec.device.bank import bank_on
from volcodec.device.scales import BatchDecoder

on_device.quick_interpreter()
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.vc"))
ALL = on_device.DEVICE.type == "cuda" or bool(os.environ.get("VOLCODEC_DEVICE_ALL"))
SLOW = ("auto", "bound", "lossless", "unsigned", "halves")  # cases that tell little of their own
FEW = ("1.0-classic", "1.0-constant", "1.0-checkerboard")
UNUSUAL = np.array([np.nan, np.inf, -np.inf], np.float32)


def smooth(*shape: int) -> np.ndarray:
    return blobs(shape, f"device{shape}", zeros=False).astype(np.float32)  # type: ignore[arg-type]


def sparse(*shape: int) -> np.ndarray:
    return blobs(shape, f"sparse{shape}").astype(np.float32)  # type: ignore[arg-type]


def few(*shape: int) -> np.ndarray:
    return np.rint(9 * sparse(*shape)).astype(np.uint8)


def unusual() -> np.ndarray:
    volume = sparse(2, 9, 11).astype(np.float16)
    volume[0, 3, 2:5] = UNUSUAL.astype(np.float16)
    return volume


def steps() -> np.ndarray:
    """Floats on a lattice of irregular origin."""
    return (0.3 + 0.125 * np.rint(40 * smooth(9, 15))).astype(np.float64)


def rough() -> np.ndarray:
    """Outliers under any wavelet."""
    return np.asarray(random_of("rough").standard_normal((9, 11)))


def zeros_of_both_signs() -> np.ndarray:
    volume = smooth(9, 11).astype(np.float64)
    volume[2], volume[3] = -0.0, np.nan
    return volume


# name: volume, options of encode, whether the kernels decode runs too
CASES: dict[str, tuple[Callable[[], np.ndarray], dict[str, Any], bool]] = {
    "learned": (lambda: smooth(2, 5, 6), {"rel_error": 1e-2}, True),
    "fast": (lambda: smooth(15, 17), {"rel_error": 1e-3, "effort": 1}, False),
    "trellis": (lambda: smooth(2, 9, 15), {"psnr": 40.0}, False),
    "trellis-runs": (lambda: smooth(7, 6), {"psnr": 30.0}, True),
    "open-loop": (lambda: smooth(15, 17), {"psnr": 40.0, "effort": 1}, False),
    "lossless": (lambda: np.rint(900 * smooth(1, 7, 15)).astype(np.int16), {"lossless": True},
                 False),
    "reversible": (lambda: np.rint(30 * oversampled((1, 8, 16))).astype(np.int16),
                   {"lossless": True, "effort": 7}, False),
    "limits": (lambda: few(37, 38), {"lossless": True}, False),
    "snapped": (lambda: sparse(16, 17), {"psnr": 30.0, "support": "off"}, False),
    "bits": (zeros_of_both_signs, {"lossless": True}, False),
    "specials": (unusual, {"rel_error": 1e-2, "support": "exact"}, False),
    "lattice": (steps, {"rel_error": 2e-2}, False),
    "outliers": (rough, {"rel_error": 2e-2, "effort": 7}, False),
    "unsigned": (lambda: (4e9 * smooth(9, 8)).astype(np.uint32), {"rel_error": 1e-2}, False),
    "halves": (lambda: few(9, 8).astype(np.uint16) * 7000, {"max_error": 100}, False),
    "one": (lambda: np.full((1, 1, 1), 7.5), {}, False),
    "two": (lambda: np.array([[[1.5, 2.5]]], np.float32), {}, True),
    "tiles": (lambda: sparse(11, 19) + sparse(11, 19).round(2),
              {"rel_error": 1e-2, "tile": 8, "support": "exact"}, False),
}  # fmt: skip


def same(got: np.ndarray, want: np.ndarray) -> None:
    native = want.astype(want.dtype.newbyteorder("="), copy=False)
    assert got.dtype == native.dtype
    assert got.tobytes() == native.tobytes()


@pytest.mark.parametrize("name", CASES)
def test_same_values(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ALL and name in SLOW:
        pytest.skip("interpreted, all take minutes: VOLCODEC_DEVICE_ALL=1 runs them")
    volume, options, kernels = CASES[name]
    if not kernels:
        on_device.host_runs(monkeypatch)
    blob = volcodec.encode(volume(), threads=1, **options)
    got, damaged = on_device.decode(blob)
    assert not damaged
    same(got, volcodec.decode(blob))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ALL and path.stem not in FEW:
        pytest.skip("interpreted, all take minutes: VOLCODEC_DEVICE_ALL=1 runs them")
    on_device.host_runs(monkeypatch)
    blob = path.read_bytes()
    same(on_device.decode(blob)[0], volcodec.decode(blob))


def test_codings_of_the_cases() -> None:
    """What is written for the cases is of every coding that the device decodes."""
    found = set()
    for volume, options, _ in CASES.values():
        reader = Reader(volcodec.encode(volume(), threads=1, **options))
        found |= {CODINGS[entry.coding] for entry in reader.index}
    for path in GOLDEN:
        if path.stem in FEW:
            found |= {CODINGS[entry.coding] for entry in Reader(path.read_bytes()).index}
    assert found >= {
        "constant", "learned", "classic", "lattice-learned", "predicted-learned",
        "predicted-classic", "trellis-learned",
    }  # fmt: skip


def test_region(monkeypatch: pytest.MonkeyPatch) -> None:
    on_device.host_runs(monkeypatch)
    blob = volcodec.encode(smooth(11, 19), rel_error=1e-2, tile=8, threads=1)
    region = np.s_[2:7, 9:18]
    got, _ = on_device.decode(blob, region)
    same(got, volcodec.decode(blob, region=region))


def _damaged_blob() -> tuple[bytes, int]:
    """A file whose third tile's words end differently, checksums in order; and that tile."""
    blob = volcodec.encode(smooth(11, 19), rel_error=1e-3, tile=8, effort=1, threads=1)
    reader = Reader(blob)
    streams = [list(reader.streams(i, 0, reader.header.streams)) for i in range(len(reader.index))]
    at = max(range(len(streams[2])), key=lambda s: len(streams[2][s]))
    streams[2][at] = streams[2][at][:-2] + bytes(2)
    entries = [
        TileEntry.of(e.coding, e.flags, s) for e, s in zip(reader.index, streams, strict=True)
    ]
    return pack(reader.header, entries, [s for tile in streams for s in tile], None), 2


def test_damage_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    on_device.host_runs(monkeypatch)
    blob, tile = _damaged_blob()
    with pytest.raises(volcodec.FormatError, match=f"tile {tile}"):
        volcodec.decode(blob)
    with pytest.raises(volcodec.FormatError, match=f"tile {tile}"):
        on_device.decode(blob)
    got, damaged = on_device.decode(blob, on_damage="fill")
    assert damaged == [tile]
    with pytest.warns(UserWarning, match="damaged"):
        same(got, volcodec.decode(blob, on_damage="fill"))


def _altered(streams: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Streams of a tile with some bytes changed, mostly of their heads, or cut."""
    out = [bytearray(s) for s in streams]
    for _ in range(rng.integers(1, 3)):
        stream = out[rng.choice([k for k, s in enumerate(out) if s])]
        end = min(len(stream), rng.choice([40, 1000]))
        stream[rng.integers(end)] = rng.integers(256)
        if rng.integers(6) == 0:
            del stream[rng.integers(len(stream)) :]
            break
    return [bytes(s) for s in out]


@pytest.mark.parametrize("name", ["fast", "trellis-runs", "reversible"])
def test_damage_is_what_it_is_on_the_processor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of altered streams, the same are valid and decode to the same."""
    on_device.host_runs(monkeypatch)
    volume, options, _ = CASES[name]
    codec = volcodec.Codec("density", threads=1)
    reader = Reader(codec.encode(volume(), **options))
    settings, coding, h = frame_settings(reader.header), reader.index[0].coding, reader.header
    streams = reader.streams(0, 0, h.streams)[2:-1]
    rng = random_of(f"altered {name}")
    tiles = [list(streams), *(_altered(streams, rng) for _ in range(28))]
    decoder = TileDecoder(codec.model)
    bank, _, step = decoder.bank(coding, settings.mapping)
    coder, classical = decoder.coders[bank], coding in CLASSICAL
    batch = BatchDecoder(
        coder, bank_on(coder.bank, on_device.DEVICE), zip(*tiles, strict=True), len(tiles), h.shape,
        h.levels, h.scales, classical, step, on_device.DEVICE,
    )  # fmt: skip
    got, wrong = batch.decode()
    valid = 0
    for i, tile in enumerate(tiles):
        try:
            want = coder.decode(tile, h.shape, h.levels, 0, classical, step)
        except volcodec.FormatError:
            assert i in batch.faults or wrong[i]
            continue
        valid += 1
        assert i not in batch.faults and not wrong[i]
        assert np.array_equal(got[i].cpu().numpy(), want)
    assert 1 <= valid < len(tiles)


def test_nothing_is_imported_for_it() -> None:
    """Without a device, neither Triton nor torch is."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, numpy, volcodec as v;"
         "v.decode(v.encode(numpy.zeros((2, 3)), threads=1));"
         "print({'torch', 'triton'} & set(sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == "set()"


def partly_speckled() -> np.ndarray:
    """Masks cost nothing in the two of eight tiles of 6³ that tell about all, much elsewhere."""
    values = np.where(random_of("speckled").random((12, 12, 12)) < 0.5, 0, 3).astype(np.float32)
    values[::4] = 100
    values[:, 6:, :6] = 3 + smooth(12, 6, 6)
    return values


# name: volume, options of encode
FAST: dict[str, tuple[Callable[[], np.ndarray], dict[str, Any]]] = {
    "bound": (lambda: smooth(2, 5, 6), {"rel_error": 1e-2}),
    "tiles": (lambda: sparse(5, 11) + sparse(5, 11).round(2),
              {"rel_error": 1e-2, "tile": 5, "support": "exact"}),
    "specials": (lambda: unusual()[:, 1:7, 1:7], {"rel_error": 1e-2, "support": "exact"}),
    "auto": (lambda: sparse(5, 6), {"rel_error": 2e-2}),
    "sampled": (lambda: partly_speckled(), {"rel_error": 1e-1, "tile": 6}),
    "kept": (lambda: few(9, 10), {"lossless": True}),
    "lattice": (lambda: steps()[:7, :8], {"rel_error": 2e-2}),
    "unsigned": (lambda: few(5, 6).astype(np.uint16) * 7000, {"max_error": 100}),
    "bits": (lambda: smooth(7, 8).astype(np.float16), {"lossless": True}),
    "narrow": (lambda: zeros_of_both_signs()[:6, :7], {"lossless": True}),
    "constant": (lambda: np.full((3, 4), 2.5, np.float32), {}),
    "raw": (lambda: np.exp(20 * smooth(5, 7)), {"rel_error": 1e-9}),
}  # fmt: skip


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every tensor as one on a device."""
    on_device.host_runs(monkeypatch)
    if on_device.DEVICE.type == "cpu":
        monkeypatch.setattr(coding, "_on_device", lambda x: isinstance(x, torch.Tensor))


@pytest.mark.parametrize("name", FAST)
@pytest.mark.usefixtures("anywhere")
def test_same_bytes(name: str) -> None:
    if not ALL and name in SLOW:
        pytest.skip("interpreted, all take minutes: VOLCODEC_DEVICE_ALL=1 runs them")
    make, options = FAST[name]
    volume = make()
    codec = volcodec.Codec("density", threads=1)
    tensor = torch.from_numpy(volume).to(on_device.DEVICE)
    assert codec.encode(tensor, fast=True, **options) == codec.encode(volume, fast=True, **options)


@pytest.mark.usefixtures("anywhere")
def test_what_the_device_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary tile is not sent to the host; other targets and efforts are."""
    codec = volcodec.Codec("density", threads=1)
    volume = smooth(4, 4)
    tensor = torch.from_numpy(volume).to(on_device.DEVICE)
    by_host: list[str] = []
    write = TileCoder.write

    def told(self: TileCoder, *arguments: Any, **options: Any) -> Any:
        by_host.append("tile")
        return write(self, *arguments, **options)

    monkeypatch.setattr(TileCoder, "write", told)
    codec.encode(tensor, rel_error=1e-3, fast=True)
    assert not by_host
    volume = smooth(5, 7)
    tensor = torch.from_numpy(volume).to(on_device.DEVICE)
    assert codec.encode(tensor, psnr=40.0, effort=1) == codec.encode(volume, psnr=40.0, effort=1)
    assert by_host


@pytest.mark.usefixtures("anywhere")
def test_into_a_tensor() -> None:
    volume = smooth(5, 7)
    blob = volcodec.encode(volume, rel_error=1e-2, threads=1)
    whole = torch.zeros((5, 14), dtype=torch.float32, device=on_device.DEVICE)
    out = whole[:, ::2]  # any strides
    assert volcodec.decode(blob, out=out) is out
    same(out.contiguous().cpu().numpy(), volcodec.decode(blob))
    assert not whole[:, 1::2].any()
    with pytest.raises(volcodec.InputError, match="out must be"):
        volcodec.decode(blob, out=whole)
    with pytest.raises(volcodec.InputError, match="device must be auto or cuda"):
        volcodec.decode(blob, out=out, device="cpu")
    with pytest.raises(volcodec.FormatError, match="max_bytes"):
        volcodec.decode(blob, out=out, max_bytes=10)


@pytest.mark.usefixtures("anywhere")
def test_previews_and_series_into_a_tensor() -> None:
    frames = [smooth(5, 7) + i for i in range(2)]
    file = io.BytesIO()
    volcodec.compress(frames, file, rel_error=1e-2, threads=1)
    choices: list[dict[str, Any]] = [{"level": 1}, {"frame": 1}, {}]
    for options in choices:
        want = volcodec.decode(file.getvalue(), **options)
        out = torch.zeros(want.shape, dtype=torch.float32, device=on_device.DEVICE)
        same(volcodec.decode(file.getvalue(), out=out, **options).cpu().numpy(), want)


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(volcodec.InputError, match=r"volcodec\[cuda\]"):
        device.require()
    assert not device.available()


def test_out_of_a_tensor() -> None:
    blob = volcodec.encode(smooth(7, 8), rel_error=1e-3, threads=1)
    out = torch.empty((7, 8), dtype=torch.float32)
    assert volcodec.decode(blob, out=out) is out
    same(out.numpy(), volcodec.decode(blob))
    with pytest.raises(volcodec.InputError, match="out must be"):
        volcodec.decode(blob, out=torch.empty((7, 8), dtype=torch.float64))


@pytest.mark.usefixtures("anywhere")
def test_benchmark_of_the_device() -> None:
    """At toy size, on whatever device there is."""
    from benchmarks.device import measure

    row = measure("toy", smooth(4, 4), on_device.DEVICE, "density", 1)
    for kind in ("fast", "default"):
        assert row[f"same_values_{kind}"] and row[f"bound_held_{kind}"]
    assert row["same_bytes"] and row["encode_fast_gb_s"] > 0


@pytest.mark.usefixtures("anywhere")
def test_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is for one tile at a time."""
    monkeypatch.setattr(parts, "_MOST", 1)
    monkeypatch.setattr(parts, "_VOXELS", 1)
    make, options = FAST["tiles"]
    volume = make()
    codec = volcodec.Codec("density", threads=1)
    tensor = torch.from_numpy(volume).to(on_device.DEVICE)
    blob = codec.encode(tensor, fast=True, **options)
    assert blob == codec.encode(volume, fast=True, **options)
    same(on_device.decode(blob)[0], codec.decode(blob))

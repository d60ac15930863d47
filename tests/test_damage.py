"""Promise 7 on whole files: every flip, every cut, mutations, streams and models made to harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container_cases import parts, seal
from mutations import KINDS, Clean, clean_files, repacked
from volumes import blobs

import volcodec
from volcodec.container import CODINGS, Reader, TileEntry, pack, pack_header
from volcodec.container.header import MAX_TILE_VOXELS
from volcodec.errors import FormatError
from volcodec.tiles import boxes

Shape = tuple[int, int, int]
LARGEST: Shape = (256, 256, MAX_TILE_VOXELS >> 16)


@pytest.fixture(scope="module")
def small(codec: volcodec.Codec) -> Clean:
    """About a kilobyte in four tiles."""
    volume = blobs((8, 12, 14), "small").astype(np.float32)
    volume[0, 0, :3] = np.nan
    clean = Clean.of("small", codec.encode(volume, rel_error=2e-2, tile=8, support="exact"))
    assert 500 < len(clean.blob) < 1000
    assert len(clean.tiles) >= 4
    return clean


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check(clean: Clean, blob: bytes) -> tuple[bool, int]:
    """Whether the file opens, and how many of its tiles are lost; the others must be right."""
    try:
        found = volcodec.decode(blob, threads=1, on_damage="fill")
    except FormatError:
        return False, 0
    lost = 0
    for box in boxes(clean.header.shape, clean.header.tile):
        if found[box].tobytes() != clean.values[box].tobytes():
            assert np.isnan(found[box]).all()
            lost += 1
    return True, lost


def test_every_bit_flip(small: Clean) -> None:
    reader = Reader(small.blob)
    front = reader.header_size + reader.index_size
    places = list(boxes(small.header.shape, small.header.tile))
    first = [reader.payload_offset + reader.index.start(t) for t in range(len(places))]
    for bit in range(8 * len(small.blob)):
        damaged = bytearray(small.blob)
        damaged[bit // 8] ^= 1 << bit % 8
        blob = bytes(damaged)
        # In the front everything is lost, behind it the one tile.
        if bit // 8 < front:
            assert check(small, blob) == (False, 0)
        else:
            tile = bisect_right(first, bit // 8) - 1
            with pytest.raises(FormatError, match=f"tile {tile}"):
                volcodec.decode(blob, region=places[tile], threads=1)
        if bit % 5 == 0:
            assert check(small, blob) == ((False, 0) if bit // 8 < front else (True, 1))
            with pytest.raises(FormatError):
                volcodec.decode(blob, threads=1)


def test_every_truncation(small: Clean) -> None:
    reader = Reader(small.blob)
    front = reader.header_size + reader.index_size
    ends = [reader.payload_offset + reader.index.start(t) + reader.index[t].size
            for t in range(len(small.tiles))]  # fmt: skip
    for end in range(len(small.blob)):
        opened, lost = check(small, small.blob[:end])
        assert opened == (end >= front)
        if opened:
            assert lost == sum(e > end for e in ends)
        with pytest.raises(FormatError):
            volcodec.decode(small.blob[:end], threads=1)


def test_files_of_every_coding_are_tried() -> None:
    used = {CODINGS[tile[0]] for clean in clean_files() for tile in clean.tiles}
    kinds = {name.removesuffix("-learned").removesuffix("-classic") for name in used}
    expected = {name.removesuffix("-learned").removesuffix("-classic") for name in CODINGS}
    assert kinds >= expected - {"learned", "classic"}
    assert used & {"learned", "classic"}


@pytest.fixture(scope="module")
def hunted() -> dict[str, Any]:
    """What 40 files of each kind ended in.

    In a process of its own: a crash, a hang and memory that is not given back show.
    """
    script = Path(__file__).with_name("mutations.py")
    done = subprocess.run(
        [sys.executable, str(script), "--count", str(40 * len(KINDS)), "--seed", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if found["faults"] else 0)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_mutations(kind: str, hunted: dict[str, Any]) -> None:
    assert not hunted["faults"], "\n".join(hunted["faults"])
    ended = {k: n for k, n in hunted["outcomes"].items() if k.startswith(f"{kind}: ")}
    assert sum(ended.values()) == 40


def stream_of(clean: Clean, tile: int, stream: int, data: bytes) -> bytes:
    """The file with another stream and its right checksum."""
    tiles = [(c, f, list(s)) for c, f, s in clean.tiles]
    tiles[tile][2][stream] = data
    return repacked(clean, tiles=tiles)


def test_every_cut_of_every_stream(small: Clean) -> None:
    """Scales and corrections know their own end, checksum or not; a shorter mask is another."""
    for tile, (_, _, streams) in enumerate(small.tiles):
        for number, stream in enumerate(streams):
            if not stream:
                continue
            ends = range(1, len(stream), 1 + len(stream) // 12)
            for data in (*(stream[:end] for end in ends), stream + b"\0", stream + b"\0\0"):
                blob = stream_of(small, tile, number, data)
                if number < 2:
                    only_one(small, blob, tile)
                    continue
                with pytest.raises(FormatError, match=f"tile {tile}"):
                    volcodec.decode(blob, threads=1)


def only_one(clean: Clean, blob: bytes, touched: int) -> None:
    """The other tiles are right, whatever became of this one."""
    found = volcodec.decode(blob, threads=1, on_damage="fill")
    for tile, box in enumerate(boxes(clean.header.shape, clean.header.tile)):
        if tile != touched:
            assert found[box].tobytes() == clean.values[box].tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 100, 5000])
@pytest.mark.parametrize("byte", [0, 1, 3, 8, 127, 255])
def test_streams_of_one_byte_repeated(small: Clean, size: int, byte: int) -> None:
    for stream in range(small.header.streams):
        blob = stream_of(small, 1, stream, bytes([byte]) * size)
        only_one(small, blob, 1)


@pytest.mark.parametrize(
    "shape", [(1 << 17,) * 3, (1 << 40, 1, 1), (1 << 40,) * 3, (1, 1, 1 << 40)]
)
@pytest.mark.parametrize("tile", [(8, 8, 8), LARGEST, (1, 4096, 4096)])
def test_claims_of_a_petabyte(small: Clean, shape: Shape, tile: Shape) -> None:
    """Sizes in a header are held against the index before memory is taken."""
    header = replace(small.header, shape=shape, tile=tile)
    _, index, rest = parts(small.blob)
    blob = seal(pack_header(header), index, rest)
    for read in (volcodec.decode, volcodec.inspect, volcodec.verify):
        with pytest.raises(FormatError):
            read(blob)


@pytest.mark.parametrize("coding", CODINGS)
def test_one_large_tile_is_capped(small: Clean, coding: str) -> None:
    """One line of the index may stand for a large tile: max_bytes says no."""
    header = replace(small.header, shape=LARGEST, tile=LARGEST, levels=7, scales=4)
    streams = [b""] * 7
    blob = pack(header, [TileEntry.of(CODINGS.index(coding), 0, streams)], streams)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="max_bytes"):
            volcodec.decode(blob, max_bytes=1 << 24)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_newer_versions_are_told_apart(small: Clean) -> None:
    newer = bytearray(small.blob)
    newer[7] = 2
    with pytest.raises(FormatError, match="newer format version"):
        volcodec.decode(bytes(newer))


@pytest.mark.parametrize("blob", [b"", b"\0", b"\x89VC", b"\x89HDF\r\n\x1a\n" * 9, b"a" * 9999])
def test_what_is_no_file(blob: bytes) -> None:
    with pytest.raises(FormatError):
        volcodec.decode(blob)
    with pytest.raises(FormatError):
        volcodec.inspect(blob)
    with pytest.raises(FormatError):
        volcodec.verify(blob)

"""Containers and helpers that the tests of the container share."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from volcodec.container import (
    Header,
    Reader,
    TileEntry,
    describe,
    pack,
    stream_name,
)
from volcodec.errors import FormatError

ROOT = Path(__file__).parent.parent
Tile = tuple[int, int, list[bytes]]

GOLDEN = bytes.fromhex(
    "8956430d0a1a0a01000c0000000b000000f737cecd"
    "208008104001010203021440"
    "0450064acfeb309575e41f"
    "000102030405"
)
GOLDEN_HEADER = Header(
    dtype="uint8",
    shape=(1, 2, 3),
    tile=(1, 2, 3),
    scales=1,
    levels=0,
    ndim=2,
    bound=0.0,
    value_range=5.0,
)

PLAIN = Header(
    dtype="float32",
    shape=(96, 96, 96),
    tile=(96, 96, 96),
    scales=5,
    levels=4,
    target="rel_error",
    target_value=1e-3,
    bound=1e-3 * 254.3,
    max_error=0.25,
    relative_mse=0.0113,
    value_range=254.3,
    step=0.31,
    model_name="density",
    model_sha256=bytes(range(16)),
)

# Two frames of 2 x 1 x 2 tiles, attributes, an embedded model: something of everything.
SMALL = replace(
    PLAIN,
    shape=(5, 4, 7),
    tile=(3, 4, 4),
    frames=2,
    scales=2,
    dataset="a/b",
    attrs=json.dumps({"spacing": [1.0, 0.5, 0.5], "unit": "mm", "x": "ab" * 60}).encode(),
    support="exact",
    background=-1.0,
    nudge=0.5,
)
MODEL = b"weights" * 3


def small_tiles(header: Header = SMALL) -> list[Tile]:
    return [
        (t % 6, t % 3, [bytes((t + s,)) * ((t * 7 + s * 3) % 5) for s in range(header.streams)])
        for t in range(header.tiles)
    ]


def build(header: Header, tiles: list[Tile], model: bytes | None = None) -> bytes:
    entries = [TileEntry.of(*tile) for tile in tiles]
    return pack(header, entries, [s for tile in tiles for s in tile[2]], model)


SMALL_BLOB = build(SMALL, small_tiles(), MODEL)


def seal(section: bytes, index: bytes, rest: bytes = b"", *, minor: int = 0) -> bytes:
    """A file with right checksums around whatever the header and the index's entries hold."""
    start = struct.pack("<7sBBII", b"\x89VC\r\n\x1a\n", 1, minor, len(section), len(index) + 4)
    front = start + struct.pack("<I", zlib.crc32(start + section)) + section
    return front + index + struct.pack("<I", zlib.crc32(index)) + rest


def parts(blob: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, entries of the index, and what follows."""
    header, index = struct.unpack_from("<II", blob, 9)
    return (
        blob[21 : 21 + header],
        blob[21 + header : 17 + header + index],
        blob[21 + header + index :],
    )


def outcome(blob: bytes | bytearray) -> tuple[list[Any], bool]:
    """What can be read of ``blob`` (None for what can't), and whether it opened."""
    try:
        reader = Reader(blob)
        describe(reader).to_json_dict()
    except FormatError:
        return [], False
    found: list[Any] = [reader.header, list(reader.index.entries)]
    try:
        found.append(reader.model_bytes())
    except FormatError:
        found.append(None)
    scales = reader.header.scales
    for tile in range(len(reader.index)):
        for stream in range(reader.header.streams):
            try:
                found.append(reader.stream(tile, stream))
            except FormatError as error:
                told = str(error)
                named = f"tile {tile} (" in told and stream_name(stream, scales) in told
                found.append(None if named else error)
    return found, True


class Counting:
    """A source that counts what is read from it."""

    def __init__(self, blob: bytes, sized: bool = True) -> None:
        self.blob = blob
        self.reads: list[tuple[int, int]] = []
        if sized:
            self.size = len(blob)

    def read_at(self, offset: int, size: int, /) -> bytes:
        self.reads.append((offset, size))
        return self.blob[offset : offset + size]

"""Writes a .vc file: at once from its parts, or tile by tile into a seekable file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO

from volcodec.container.fields import pack_u32
from volcodec.container.front import PREAMBLE_SIZE, pack_front, pack_header
from volcodec.container.header import Header
from volcodec.container.index import TileEntry, pack_entry, pack_index, worst_index_size

_BLOCK = 1 << 20
_GEOMETRY = ("shape", "tile", "frames", "scales")


def pack(
    header: Header,
    entries: Sequence[TileEntry],
    payload_parts: Iterable[bytes],
    model_bytes: bytes | None = None,
) -> bytes:
    """A whole file; ``payload_parts`` joined are the streams of all tiles in order.

    ValueError where entries, payload and header don't agree; InputError where a field
    can't be stored.
    """
    header = _with_model(header, model_bytes)
    front = pack_front(header, pack_index(_checked(header, entries)))
    blob = b"".join((front, *_model_section(model_bytes), *payload_parts))
    if len(blob) != len(front) + _model_size(header) + sum(entry.size for entry in entries):
        raise ValueError("the payload is not as long as its index says")
    return blob


def packed_size(header: Header, entries: Sequence[TileEntry]) -> int:
    """Bytes of the file that ``pack`` makes (its model: ``header.model_length``)."""
    index = sum(len(pack_entry(entry)) for entry in entries) + 4
    front = PREAMBLE_SIZE + len(pack_header(replace(header, gap=0))) + index
    return front + _model_size(header) + sum(entry.size for entry in entries)


class Writer:
    """Writes tiles in order as they come; ``finish`` then writes the front.

    ``file`` is seekable and binary, and is written from its position 0. Where it can also be
    read (mode "w+b") the finished file is, byte for byte, what ``pack`` makes; else unused
    room stays between index and payload. Nothing at the front is valid before ``finish``.
    Memory: the packed index.
    """

    def __init__(self, file: BinaryIO, header: Header, *, model_bytes: bytes | None = None) -> None:
        self._file = file
        self._header = _with_model(header, model_bytes)
        reserved = len(pack_header(self._header, reserve=True))
        self._room = PREAMBLE_SIZE + reserved + worst_index_size(header) + 4
        self._index = bytearray()
        self._tiles = 0
        self._payload = 0
        self._finished = False
        file.seek(0)
        # Whatever the file held before must not look like a front of ours.
        self._write(bytes(min(self._room, PREAMBLE_SIZE)))
        file.seek(self._room)
        for part in _model_section(model_bytes):
            self._write(part)

    @property
    def tiles(self) -> int:
        """Tiles written so far."""
        return self._tiles

    @property
    def payload_size(self) -> int:
        """Bytes of all streams written so far."""
        return self._payload

    @property
    def size(self) -> int:
        """Bytes the file would have, compacted, if it were finished now with this header."""
        front = PREAMBLE_SIZE + len(pack_header(self._header)) + len(self._index) + 4
        return front + _model_size(self._header) + self._payload

    def write_tile(self, coding: int, flags: int, streams: Sequence[bytes]) -> TileEntry:
        """Append the next tile: its coding, its flags and its ``header.streams`` streams."""
        if self._finished or self._tiles >= self._header.tiles:
            raise ValueError("all tiles have been written")
        if len(streams) != self._header.streams:
            raise ValueError(f"{len(streams)} streams given, {self._header.streams} expected")
        entry = TileEntry.of(coding, flags, streams)
        packed = pack_entry(entry)
        for stream in streams:
            self._write(stream)
        self._index += packed
        self._tiles += 1
        self._payload += entry.size
        return entry

    def finish(self, header: Header | None = None) -> int:
        """Write the front, with the final ``header`` where given; the file's size in bytes."""
        final = header or self._header
        final = replace(final, model_length=self._header.model_length, gap=0)
        if any(getattr(final, n) != getattr(self._header, n) for n in _GEOMETRY):
            raise ValueError("the final header is of another volume")
        if self._finished or self._tiles != final.tiles:
            raise ValueError(f"{self._tiles} tiles written, {final.tiles} expected")
        behind = _model_size(final) + self._payload
        index = bytes(self._index)
        compact = self._file.readable()
        front = pack_front(final, index, reserve=not compact)
        if len(front) > self._room:
            raise ValueError("the final header is longer than the room kept for it")
        start = self._room
        if compact:
            start = len(front)
            self._move(self._room, start, behind)
        elif len(front) < self._room:
            final = replace(final, gap=self._room - len(front))
            front = pack_front(final, index, reserve=True)
        self._file.seek(start + behind)
        self._file.truncate()
        self._file.seek(0)
        self._write(front)
        self._file.flush()
        self._file.seek(0, os.SEEK_END)
        self._finished = True
        return start + behind

    def _move(self, source: int, target: int, size: int) -> None:
        """Move ``size`` bytes towards the front of the file, block by block."""
        while size > 0 and source != target:
            self._file.seek(source)
            block = self._file.read(min(size, _BLOCK))
            if not block:
                raise OSError("the file being written was cut short by someone else")
            self._file.seek(target)
            self._write(block)
            source += len(block)
            target += len(block)
            size -= len(block)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            # An unbuffered file may take only a part; some file-likes don't say how much.
            written: int | None = self._file.write(view)
            view = view[len(view) if written is None else written :]


def _with_model(header: Header, model_bytes: bytes | None) -> Header:
    return replace(header, model_length=len(model_bytes or b""), gap=0)


def _model_section(model_bytes: bytes | None) -> tuple[bytes, ...]:
    return (model_bytes, pack_u32(zlib.crc32(model_bytes))) if model_bytes else ()


def _model_size(header: Header) -> int:
    return header.model_length + 4 if header.model_length else 0


def _checked(header: Header, entries: Sequence[TileEntry]) -> Sequence[TileEntry]:
    if len(entries) != header.tiles:
        raise ValueError(f"{len(entries)} entries given, {header.tiles} tiles expected")
    if any(len(entry.lengths) != header.streams for entry in entries):
        raise ValueError(f"each tile has {header.streams} streams")
    return entries

"""The index of a .vc file: for each tile its coding, and the size and checksum of its streams."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

from volcodec.container.fields import pack_u32, pack_varint, read_varint
from volcodec.container.header import CODINGS, MAX_SECTION, Header
from volcodec.errors import FormatError, InputError

# 2**27 voxels of eight bytes and then some; five bytes as a varint.
MAX_STREAM = (1 << 35) - 1

_PRESENCE = 0x7FF
_HAS_FLAGS = 0x800
_CODING_SHIFT = 12


@dataclass(frozen=True, slots=True)
class TileEntry:
    """One tile's line in the index.

    coding: position in CODINGS; flags: eight bits whose meaning the coding gives.
    lengths, checksums: bytes and CRC-32 of each stream (0 where a stream is empty).
    """

    coding: int
    flags: int
    lengths: tuple[int, ...]
    checksums: tuple[int, ...]

    @classmethod
    def of(cls, coding: int, flags: int, streams: Sequence[bytes]) -> TileEntry:
        """The entry of a tile coded as ``streams``."""
        return cls(
            int(coding),
            int(flags),
            tuple(len(s) for s in streams),
            tuple(zlib.crc32(s) for s in streams),
        )

    @property
    def size(self) -> int:
        return sum(self.lengths)


def pack_entry(entry: TileEntry) -> bytes:
    """The bytes of one entry; ValueError where it can't be one."""
    if not 0 <= entry.coding < len(CODINGS) or not 0 <= entry.flags <= 0xFF:
        raise ValueError(f"no such coding ({entry.coding}) or flags ({entry.flags})")
    if len(entry.lengths) != len(entry.checksums) or len(entry.lengths) > 11:
        raise ValueError("an entry has one length and one checksum for each stream")
    word = entry.coding << _CODING_SHIFT | (_HAS_FLAGS if entry.flags else 0)
    lengths = []
    checksums = []
    for stream, (length, checksum) in enumerate(zip(entry.lengths, entry.checksums, strict=True)):
        if not 0 <= length <= MAX_STREAM:
            raise InputError("a tile's stream is too large; use smaller tiles")
        if length:
            word |= 1 << stream
            lengths.append(pack_varint(length))
            checksums.append(pack_u32(checksum))
    flags = bytes((entry.flags,)) if entry.flags else b""
    return b"".join((word.to_bytes(2, "little"), flags, *lengths, *checksums))


def pack_index(entries: Iterable[TileEntry]) -> bytes:
    return b"".join(map(pack_entry, entries))


def worst_index_size(header: Header) -> int:
    """Bytes that the entries of all tiles can't exceed."""
    return header.tiles * (3 + header.streams * (5 + 4))


class TileIndex(Sequence[TileEntry]):
    """The entries of all tiles, in the order frame, z, y, x.

    Entries stay packed until asked for, so an index takes its size in the file plus 16 bytes
    for each tile.
    """

    def __init__(self, data: bytes, header: Header) -> None:
        """Check every entry of ``data`` (the index without its checksum); else FormatError."""
        self._data = data
        self._streams = header.streams
        # Before anything is made for each tile: two bytes are the least an entry has.
        if 2 * header.tiles > len(data):
            raise FormatError(
                f"the header claims {header.tiles} tiles, the index holds at most {len(data) // 2}"
            )
        self._positions = array("Q")
        self._starts = array("Q", (0,))
        total = 0
        at = 0
        try:
            for tile in range(header.tiles):
                self._positions.append(at)
                at, size = self._skip(at, tile)
                total += size
                if total >= MAX_SECTION:
                    raise FormatError(f"index: impossible lengths at tile {tile}")
                self._starts.append(total)
        except IndexError:
            at = len(data) + 1
        if at > len(data):
            raise FormatError("the index ends early")
        if at < len(data):
            raise FormatError("the index has more bytes than the header's tiles need")

    def _skip(self, at: int, tile: int) -> tuple[int, int]:
        """Position after the entry at ``at``, and the size of its streams."""
        data = self._data
        word = data[at] | data[at + 1] << 8
        at += 2
        presence = word & _PRESENCE
        if word >> _CODING_SHIFT >= len(CODINGS):
            raise FormatError(f"index: tile {tile} has an unknown coding")
        if presence >> self._streams:
            raise FormatError(f"index: tile {tile} has more streams than the header says")
        if word & _HAS_FLAGS:
            if data[at] == 0:
                raise FormatError(f"index: tile {tile} has empty flags")
            at += 1
        size = 0
        count = presence.bit_count()
        for _ in range(count):
            length, at = read_varint(data, at)
            if not 1 <= length <= MAX_STREAM:
                raise FormatError(f"index: tile {tile} has a stream of {length} bytes")
            size += length
        return at + 4 * count, size

    @property
    def entries(self) -> Sequence[TileEntry]:
        """One TileEntry for each tile, unpacked when asked for."""
        return self

    @property
    def payload_size(self) -> int:
        """Bytes of all streams of all tiles."""
        return self._starts[-1]

    def start(self, tile: int) -> int:
        """Where the tile's streams begin, in bytes from the payload's start."""
        return self._starts[tile]

    def offset(self, tile: int, stream: int) -> int:
        """Where a stream of a tile begins, in bytes from the payload's start."""
        if not 0 <= stream < self._streams:
            raise IndexError(f"no stream {stream}")
        return self._starts[tile] + sum(self[tile].lengths[:stream])

    def tile_at(self, offset: int) -> int:
        """The tile whose streams hold byte ``offset`` of the payload."""
        low, high = 0, len(self) - 1
        while low < high:
            middle = (low + high) // 2
            if self._starts[middle + 1] > offset:
                high = middle
            else:
                low = middle + 1
        return low

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, tile: int) -> TileEntry: ...
    @overload
    def __getitem__(self, tile: slice) -> Sequence[TileEntry]: ...
    def __getitem__(self, tile: int | slice) -> TileEntry | Sequence[TileEntry]:
        if isinstance(tile, slice):
            return [self[i] for i in range(*tile.indices(len(self)))]
        data = self._data
        at = self._positions[tile]
        word = data[at] | data[at + 1] << 8
        at += 2
        flags = 0
        if word & _HAS_FLAGS:
            flags = data[at]
            at += 1
        lengths = [0] * self._streams
        checksums = [0] * self._streams
        present = [s for s in range(self._streams) if word >> s & 1]
        for stream in present:
            lengths[stream], at = read_varint(data, at)
        for stream in present:
            checksums[stream] = int.from_bytes(data[at : at + 4], "little")
            at += 4
        return TileEntry(word >> _CODING_SHIFT, flags, tuple(lengths), tuple(checksums))


def stream_name(stream: int, scales: int) -> str:
    """What a stream is called: specials, support, scale 0 (coarsest) .., correction."""
    if stream < 2:
        return ("specials", "support")[stream]
    return "correction" if stream == scales + 2 else f"scale {stream - 2}"

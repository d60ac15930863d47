"""Reads a .vc file: its front at once, streams when asked for, each against its checksum."""

from __future__ import annotations

import zlib

from volcodec.container.front import PREAMBLE_SIZE, parse_header, parse_preamble
from volcodec.container.header import Header
from volcodec.container.index import TileIndex, stream_name
from volcodec.container.sources import ByteSource, Ranges
from volcodec.errors import FormatError

FIRST_READ = 4096


class Reader:
    """A .vc file of which only the front has been read.

    Opening reads the first FIRST_READ bytes, and once more where header and index are longer.
    A file whose payload is cut short still opens; the streams that are missing raise.
    ``front_checksum`` covers the checksums of all that follows, so it changes where anything does.
    May be used from several threads. Raises FormatError for whatever is not a valid file.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = Ranges(source)
        head = self._source.read(0, FIRST_READ)
        if len(head) < FIRST_READ:
            self._source.size = len(head)
        minor, header_size, index_size, checksum = parse_preamble(head)
        front = PREAMBLE_SIZE + header_size + index_size
        if self._source.size is not None and front > self._source.size:
            raise FormatError(
                f"the file is truncated: header and index need {front} bytes, "
                f"there are {self._source.size}"
            )
        # Small files are served from the first read alone.
        self._head = head if front < len(head) else b""
        if front > len(head):
            head += self._source.read(len(head), front - len(head))
            if len(head) < front:
                raise FormatError("the file is truncated inside its header or index")
        section = head[PREAMBLE_SIZE : PREAMBLE_SIZE + header_size]
        packed = head[PREAMBLE_SIZE + header_size : front - 4]
        # The checksum covers the preamble too, all but itself.
        if zlib.crc32(section, zlib.crc32(head[: PREAMBLE_SIZE - 4])) != checksum:
            raise FormatError("the header is damaged (its checksum does not match)")
        if zlib.crc32(packed).to_bytes(4, "little") != head[front - 4 : front]:
            raise FormatError("the index is damaged (its checksum does not match)")
        self.minor: int = minor
        self.header: Header = parse_header(section, minor)
        self.index: TileIndex = TileIndex(packed, self.header)
        self.header_size: int = PREAMBLE_SIZE + header_size
        self.index_size: int = index_size
        self.front_checksum: int = zlib.crc32(head[:front])
        self._model_offset = front + self.header.gap
        model = self.header.model_length
        self.payload_offset: int = self._model_offset + (model + 4 if model else 0)

    @property
    def payload_size(self) -> int:
        """Bytes of all streams, as the index has it."""
        return self.index.payload_size

    @property
    def expected_size(self) -> int:
        """Bytes that the whole file must have."""
        return self.payload_offset + self.payload_size

    @property
    def file_size(self) -> int | None:
        """Bytes that the source has; None where it doesn't tell."""
        return self._source.size

    @property
    def missing(self) -> int:
        """Bytes cut off the end; 0 for a whole file, or one whose size isn't told."""
        size = self._source.size
        return 0 if size is None else max(0, self.expected_size - size)

    def check_length(self) -> None:
        """FormatError where the file is shorter or longer than its index says."""
        end = self.expected_size
        size = self._source.size
        if size is None:
            last = self._source.read(end - 1, 2)
            size = end - 1 + len(last)
        if size < end:
            tile = self.index.tile_at(size - self.payload_offset)
            raise FormatError(
                f"the file is truncated: {end} bytes expected, {size} found; "
                f"damaged from {self._where(tile)} on"
            )
        if size > end:
            raise FormatError(f"the file has bytes after its end ({end} expected)")

    def stream(self, tile: int, stream: int) -> bytes:
        """One stream of a tile, b"" where it is empty; FormatError where it is damaged."""
        return self.streams(tile, stream, stream + 1)[0]

    def streams(self, tile: int, first: int, last: int) -> list[bytes]:
        """Streams ``first .. last - 1`` of a tile in one read, each verified."""
        if not 0 <= tile < len(self.index):
            raise IndexError(f"no tile {tile}")
        if not 0 <= first <= last <= self.header.streams:
            raise IndexError(f"no streams {first} to {last}")
        entry = self.index[tile]
        offset = self.index.start(tile) + sum(entry.lengths[:first])
        data = self._read(self.payload_offset + offset, sum(entry.lengths[first:last]))
        found = []
        at = 0
        for stream in range(first, last):
            length = entry.lengths[stream]
            piece = data[at : at + length]
            if len(piece) < length:
                raise FormatError(f"{self._where(tile, stream)}: the file is truncated here")
            if zlib.crc32(piece) != entry.checksums[stream]:
                raise FormatError(f"{self._where(tile, stream)}: its checksum does not match")
            found.append(piece)
            at += length
        return found

    def model_bytes(self) -> bytes | None:
        """The embedded model, None where there is none; FormatError where it is damaged."""
        length = self.header.model_length
        if not length:
            return None
        section = self._read(self._model_offset, length + 4)
        if len(section) < length + 4:
            raise FormatError("the embedded model is truncated")
        model = section[:length]
        if zlib.crc32(model).to_bytes(4, "little") != section[length:]:
            raise FormatError("the embedded model is damaged (its checksum does not match)")
        return model

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        return self._source.read(offset, size)

    def _where(self, tile: int, stream: int | None = None) -> str:
        """A tile, and a stream of it, by name and place."""
        gz, gy, gx = self.header.grid
        rest, x = divmod(tile, gx)
        rest, y = divmod(rest, gy)
        frame, z = divmod(rest, gz)
        place = f"frame {frame}, " if self.header.frames > 1 else ""
        name = f"tile {tile} ({place}z {z}, y {y}, x {x} of the grid)"
        return name if stream is None else f"{name}, {stream_name(stream, self.header.scales)}"

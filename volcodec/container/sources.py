"""Where a container is read from: bytes, a file, or anything that reads ranges."""

from __future__ import annotations

import io
import os
import threading
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

# Reads from a source that doesn't tell its size go in pieces, so that a hostile length
# never takes more memory than the source has bytes for.
_PIECE = 1 << 22


@runtime_checkable
class ReadsAt(Protocol):
    """Anything that reads ranges; fewer bytes than asked for mean its end.

    An int attribute ``size`` (bytes in all) is used where there is one.
    """

    def read_at(self, offset: int, size: int, /) -> bytes: ...


ByteSource: TypeAlias = "bytes | bytearray | memoryview | BinaryIO | ReadsAt"


class Ranges:
    """Bounded range reads over any ByteSource; may be used from several threads."""

    def __init__(self, source: ByteSource) -> None:
        self.size: int | None
        self._inner: ReadsAt
        if isinstance(source, ReadsAt):
            size = getattr(source, "size", None)
            self.size = size if isinstance(size, int) else None
            self._inner = source
        elif hasattr(source, "read") and hasattr(source, "seek"):
            file = _File(source)
            self.size, self._inner = file.size, file
        else:
            memory = _Memory(source)
            self.size, self._inner = memory.size, memory

    def read(self, offset: int, size: int) -> bytes:
        """Bytes ``offset .. offset + size``; fewer where the source ends before."""
        if self.size is not None:
            size = min(size, max(0, self.size - offset))
            return bytes(self._inner.read_at(offset, size)[:size]) if size else b""
        pieces = []
        while size > 0:
            wanted = min(size, _PIECE)
            piece = bytes(self._inner.read_at(offset, wanted)[:wanted])
            pieces.append(piece)
            if len(piece) < wanted:
                break
            offset += wanted
            size -= wanted
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Memory:
    def __init__(self, source: Any) -> None:
        view = memoryview(source)
        self._view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        self.size = len(self._view)

    def read_at(self, offset: int, size: int, /) -> bytes:
        return bytes(self._view[offset : offset + size])


class _File:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.size: int = file.seek(0, os.SEEK_END)
        # A plain file is read without its position, which forked processes share.
        raw = file.raw if isinstance(file, io.BufferedReader) else file
        self._number = raw.fileno() if isinstance(raw, io.FileIO) and hasattr(os, "pread") else None

    def read_at(self, offset: int, size: int, /) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            piece = self._read_once(offset, size)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_once(self, offset: int, size: int) -> bytes:
        if self._number is not None:
            return os.pread(self._number, size, offset)
        with self._lock:
            self._file.seek(offset)
            piece: bytes = self._file.read(size)
            return piece

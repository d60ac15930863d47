"""The fields containers are made of: bounded little-endian reading, canonical varints."""

from __future__ import annotations

import struct

from volcodec.errors import FormatError

VARINT_BITS = 63
_VARINT_BYTES = 9

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_F64 = struct.Struct("<d")


def pack_varint(value: int) -> bytes:
    """Unsigned LEB128 of ``0 <= value < 2**63``: seven bits a byte, low ones first."""
    if not 0 <= value < 1 << VARINT_BITS:
        raise ValueError(f"{value} does not fit a varint")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at ``data[at]`` and the position after it.

    Raises IndexError where ``data`` ends early, FormatError where the varint is longer
    than its value needs or holds more than 63 bits.
    """
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value = byte & 0x7F
    for shift in range(7, 7 * _VARINT_BYTES, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0:
                raise FormatError("overlong integer: this is not a valid .vc file")
            return value, at
    raise FormatError("integer of more than 63 bits: this is not a valid .vc file")


class Cursor:
    """Reads fields one after the other; running off the end is a FormatError."""

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise FormatError(f"the {self._what} ends early: this is not a valid .vc file")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def u8(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def f64(self) -> float:
        """A count up to 8, then so many of the high bytes of a float64; the low ones are zero."""
        count = self.u8()
        if count > 8:
            raise FormatError(f"the {self._what} holds a number of more than 8 bytes")
        return float(_F64.unpack(bytes(8 - count) + self.take(count))[0])

    def varint(self) -> int:
        try:
            value, self._at = read_varint(self._data, self._at)
        except IndexError:
            raise FormatError(
                f"the {self._what} ends early: this is not a valid .vc file"
            ) from None
        return value

    def text(self) -> str:
        """A byte count (u8), then that many bytes of UTF-8 without NUL."""
        try:
            value = self.take(self.u8()).decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"the {self._what} holds a name that is not UTF-8") from None
        return value


def pack_u32(value: int) -> bytes:
    return _U32.pack(value)


def pack_u64(value: int) -> bytes:
    return _U64.pack(value)


def pack_f64(value: float, *, whole: bool = False) -> bytes:
    """A float64 without its low zero bytes, after their number (``whole``: all eight)."""
    raw = _F64.pack(value)
    kept = raw if whole else raw.lstrip(b"\0")
    return bytes((len(kept),)) + kept

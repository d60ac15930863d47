"""NaN and infinities: where they are and which, coded losslessly apart from the values.

Which voxels are not finite is a mask; where a tile has more than one kind, the kinds follow, coded
with the kinds of the three voxels before on x, y and z as context. The payload of a NaN is not
kept here. See "Specials" in docs/format.md.
"""

from __future__ import annotations

import struct

import numba
import numpy as np

from ..errors import FormatError
from .binary import HALF, Int, adapt, chance, check_end, close, code_bit, readable, start
from .mask import decode_mask, encode_mask

FINITE, NAN, PLUS_INF, MINUS_INF = range(4)

_LENGTH = struct.Struct("<I")


@numba.njit(cache=True, nogil=True)
def _code_kinds(
    kinds: np.ndarray, present: int, data: np.ndarray, state: np.ndarray, decode: bool
) -> int:
    """Code the kind (uint8) of every voxel that is not 0; returns which kinds there were.

    Decoding, those voxels hold any other number than 0 beforehand. ``present``: bit 0 NaN,
    bit 1 +Inf, bit 2 -Inf.
    """
    low, high, code, position = state[0], state[1], state[2], state[3]
    cells = np.full(128, HALF, np.uint32)
    nz, ny, nx = kinds.shape
    seen = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                kind = np.int64(kinds[z, y, x])
                if kind == FINITE:
                    continue
                k = np.int64(0)
                if x > 0:
                    k |= np.int64(kinds[z, y, x - 1]) << 1
                if y > 0:
                    k |= np.int64(kinds[z, y - 1, x]) << 3
                if z > 0:
                    k |= np.int64(kinds[z - 1, y, x]) << 5
                infinite: Int = 1
                if present & 1:
                    low, high, code, position, infinite = code_bit(
                        low, high, code, position, data, chance(cells, k), kind > NAN, decode
                    )
                    adapt(cells, k, infinite)
                minus: Int = present >> 2
                if infinite and present & 6 == 6:
                    low, high, code, position, minus = code_bit(
                        low, high, code, position, data, chance(cells, k + 1), kind > PLUS_INF,
                        decode,
                    )  # fmt: skip
                    adapt(cells, k + 1, minus)
                found = PLUS_INF + minus if infinite else NAN
                kinds[z, y, x] = found
                seen |= 1 << (found - 1)
    state[0], state[1], state[2], state[3] = low, high, code, position
    return seen


def classes_of(values: np.ndarray) -> np.ndarray:
    """Class of every voxel (uint8): 0 finite, 1 NaN, 2 +Inf, 3 -Inf."""
    classes = np.isnan(values).astype(np.uint8)
    classes[values == np.inf] = PLUS_INF
    classes[values == -np.inf] = MINUS_INF
    return classes


def encode_specials(values: np.ndarray) -> bytes:
    """Code where a volume (Z, Y, X) holds NaN, +Inf and -Inf; b"" where all is finite."""
    if values.dtype.kind != "f":
        return b""
    special = ~np.isfinite(values)
    if not special.any():
        return b""
    kinds = classes_of(values)
    present = 0
    for kind in (NAN, PLUS_INF, MINUS_INF):
        present |= int((kinds == kind).any()) << (kind - 1)
    where = encode_mask(special)
    if present in (1, 2, 4):
        return bytes([present]) + where
    # Two decisions a voxel, none of which can take more than four bytes.
    data = np.zeros(8 * int(special.sum()) + 8, np.uint8)
    state = start(data, False)
    _code_kinds(kinds, present, data, state, False)
    stream = close(data, state)
    assert stream is not None
    return bytes([present]) + _LENGTH.pack(len(where)) + where + stream


def decode_specials(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode to classes (uint8, shape (Z, Y, X)): 0 finite, 1 NaN, 2 +Inf, 3 -Inf.

    Raises FormatError where the bytes do not describe a volume of this shape.
    """
    if len(data) == 0:
        return np.zeros(shape, np.uint8)
    present = data[0]
    if not 1 <= present <= 7:
        raise FormatError(f"specials of an unknown kind ({present})")
    if present in (1, 2, 4):
        special = decode_mask(data[1:], shape)
        kinds = special * np.uint8(present.bit_length())
    else:
        kinds = _decode_kinds(data, present, shape)
    if not kinds.any():
        raise FormatError("specials without any voxel")
    return kinds


def _decode_kinds(data: bytes, present: int, shape: tuple[int, int, int]) -> np.ndarray:
    if len(data) < 1 + _LENGTH.size:
        raise FormatError("specials end too early")
    begin = 1 + _LENGTH.size
    end = begin + _LENGTH.unpack_from(data, 1)[0]
    if end > len(data):
        raise FormatError("specials end too early")
    kinds = decode_mask(data[begin:end], shape).astype(np.uint8)
    stream = readable(data[end:])
    state = start(stream, True)
    seen = _code_kinds(kinds, present, stream, state, True)
    check_end(data[end:], state)
    if seen != present:
        raise FormatError("specials do not hold the kinds they announce")
    return kinds

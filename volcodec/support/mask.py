"""Masks: one bit per voxel of a tile, coded losslessly with mixed adaptive contexts.

Blocks of 8 x 8 x 8 voxels are classed as all 0, all 1 or mixed; the voxels of mixed blocks are then
coded in raster order. Four adaptive contexts, made of the voxels before and of what is known about
the blocks ahead, each give a probability; these are mixed in the logistic domain with weights that
learn as they go (after lpaq, Mahoney 2007), all in integers. Rows are kept as bits, eight
voxels of x to a byte, so uniform blocks cost next to nothing. See "Masks" in docs/format.md.
"""

from __future__ import annotations

import numba
import numpy as np

from ..errors import FormatError
from .binary import (
    HALF,
    SQUASH,
    STRETCH,
    STRETCH_END,
    Int,
    adapt,
    chance,
    check_end,
    close,
    code_bit,
    readable,
    start,
)
from .neighbours import BEFORE, BESIDE, FAR, MIXED, ahead_of, around, column, look, near, wide

ALL_FALSE, ALL_TRUE, PACKED, ADAPTIVE = range(4)

_FIRST_WEIGHT = 21299  # 1.3 / 4 in 1/65536: four contexts that agree are worth more than one
_LEARN = 6


@numba.njit(cache=True, nogil=True)
def _classify(bits: np.ndarray, nx: int) -> np.ndarray:
    """Classes (uint8) of the blocks of a bit array, one block of margin on every side."""
    nz, ny, nb = bits.shape[0] - BEFORE, bits.shape[1] - 2 * BESIDE, bits.shape[2] - 2
    classes = _blank_classes(nz, ny, nb)
    last = 0xFF >> (nb * 8 - nx)
    for a in range((nz + 7) // 8):
        for b in range((ny + 7) // 8):
            for c in range(nb):
                full = last if c == nb - 1 else 0xFF
                any_one = 0
                all_one = full
                for z in range(a * 8, min(a * 8 + 8, nz)):
                    for y in range(b * 8, min(b * 8 + 8, ny)):
                        byte = bits[z + BEFORE, y + BESIDE, c + 1] & full
                        any_one |= byte
                        all_one &= byte
                kind = MIXED
                if any_one == 0:
                    kind = 0
                elif all_one == full:
                    kind = 1
                classes[a + 1, b + 1, c + 1] = kind
    return classes


@numba.njit(cache=True, nogil=True)
def _blank_classes(nz: int, ny: int, nb: int) -> np.ndarray:
    classes = np.zeros(((nz + 7) // 8 + 2, (ny + 7) // 8 + 2, nb + 2), np.uint8)
    for a in range(classes.shape[0]):
        for b in range(classes.shape[1]):
            for c in range(classes.shape[2]):
                if a > (nz + 7) // 8 or b > (ny + 7) // 8 or c > nb:
                    classes[a, b, c] = MIXED
    return classes


@numba.njit(cache=True, nogil=True)
def _code_classes(classes: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool) -> None:
    """Code the class of every block with the classes of seven neighbours before it as context."""
    low, high, code, position = state[0], state[1], state[2], state[3]
    cells = np.full(2 * 3**7, HALF, np.uint32)
    for a in range(1, classes.shape[0] - 1):
        for b in range(1, classes.shape[1] - 1):
            for c in range(1, classes.shape[2] - 1):
                k = np.int64(classes[a, b, c - 1])
                k = k * 3 + classes[a, b - 1, c]
                k = k * 3 + classes[a - 1, b, c]
                k = k * 3 + classes[a, b - 1, c + 1]
                k = k * 3 + classes[a - 1, b, c + 1]
                k = k * 3 + classes[a - 1, b + 1, c]
                k = 2 * (k * 3 + classes[a, b - 1, c - 1])
                kind = np.int64(classes[a, b, c])
                low, high, code, position, mixed = code_bit(
                    low, high, code, position, data, chance(cells, k), kind >> 1, decode
                )
                adapt(cells, k, mixed)
                if mixed:
                    classes[a, b, c] = MIXED
                    continue
                low, high, code, position, one = code_bit(
                    low, high, code, position, data, chance(cells, k + 1), kind, decode
                )
                adapt(cells, k + 1, one)
                classes[a, b, c] = one
    state[0], state[1], state[2], state[3] = low, high, code, position


@numba.njit(cache=True, nogil=True)
def _paint(bits: np.ndarray, classes: np.ndarray) -> None:
    """Set the voxels of blocks that are all 1."""
    nz, ny, nb = bits.shape[0] - BEFORE, bits.shape[1] - 2 * BESIDE, bits.shape[2] - 2
    for z in range(nz):
        for y in range(ny):
            for c in range(nb):
                if classes[z // 8 + 1, y // 8 + 1, c + 1] == 1:
                    bits[z + BEFORE, y + BESIDE, c + 1] = 0xFF


@numba.njit(cache=True, nogil=True)
def _code_run(
    windows: np.ndarray, kind: Int, ahead: Int, n: Int, data: np.ndarray, state: np.ndarray,
    decode: bool, cells: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    weights: np.ndarray,
) -> Int:  # fmt: skip
    """Code n <= 8 voxels of one row in one block; kind is the class of the next block on x.

    Returns the byte they make.
    """
    low, high, code, position = state[0], state[1], state[2], state[3]
    t0, t1, t2, t3 = cells
    now = windows[0]
    source = now >> 8
    now &= 0xFF
    for i in range(n):
        j = i + 8
        across = kind * 4 + FAR[8 - i] if kind < MIXED else 0
        two = now >> (j - 2) & 3
        s = near(windows, j, two)
        k0 = around(windows, j, two)
        k1 = column(windows, j, two)
        k2 = wide(windows, j, two)
        k3 = (ahead * 9 + across) << 6 | s
        x0 = np.int64(STRETCH[np.int64(t0[k0]) >> 20])
        x1 = np.int64(STRETCH[np.int64(t1[k1]) >> 20])
        x2 = np.int64(STRETCH[np.int64(t2[k2]) >> 20])
        x3 = np.int64(STRETCH[np.int64(t3[k3]) >> 20])
        d = weights[s, 0] * x0 + weights[s, 1] * x1 + weights[s, 2] * x2 + weights[s, 3] * x3
        d >>= 16
        p = np.int64(SQUASH[min(max(d, -STRETCH_END), STRETCH_END) + STRETCH_END])
        low, high, code, position, bit = code_bit(
            low, high, code, position, data, p, (source >> i) & 1, decode
        )
        error = ((bit << 16) - p) * _LEARN
        weights[s, 0] += (x0 * error + (1 << 17)) >> 18
        weights[s, 1] += (x1 * error + (1 << 17)) >> 18
        weights[s, 2] += (x2 * error + (1 << 17)) >> 18
        weights[s, 3] += (x3 * error + (1 << 17)) >> 18
        adapt(t0, k0, bit)
        adapt(t1, k1, bit)
        adapt(t2, k2, bit)
        adapt(t3, k3, bit)
        now |= bit << j
    state[0], state[1], state[2], state[3] = low, high, code, position
    return now >> 8


@numba.njit(cache=True, nogil=True)
def _code_voxels(
    bits: np.ndarray, nx: int, classes: np.ndarray, data: np.ndarray, state: np.ndarray,
    decode: bool,
) -> bool:  # fmt: skip
    """Code the voxels of all mixed blocks; False when data is too short for them."""
    nz, ny, nb = bits.shape[0] - BEFORE, bits.shape[1] - 2 * BESIDE, bits.shape[2] - 2
    cells = (
        np.full(1 << 14, HALF, np.uint32),
        np.full(1 << 15, HALF, np.uint32),
        np.full(1 << 16, HALF, np.uint32),
        np.full(729 << 6, HALF, np.uint32),
    )
    weights = np.full((64, 4), _FIRST_WEIGHT, np.int64)
    windows = np.zeros(15, np.int64)
    for z in range(nz):
        above = bits[z + BEFORE - 1]
        here = bits[z + BEFORE]
        for c in range(nb + 2):
            here[BESIDE - 2, c] = here[BESIDE - 1, c] = above[BESIDE, c]
        for y in range(ny):
            row = here[y + BESIDE]
            row[0] = here[y + BESIDE - 1, 0]
            for c in range(nb):
                if classes[z // 8 + 1, y // 8 + 1, c + 1] < MIXED:
                    continue
                look(bits, z, y, c, windows)
                kind = np.int64(classes[z // 8 + 1, y // 8 + 1, c + 2])
                ahead = ahead_of(classes, z, y, c)
                row[c + 1] = _code_run(
                    windows, kind, ahead, min(8, nx - c * 8), data, state, decode, cells, weights
                )
            _finish_row(row, nx)
        for i in range(BESIDE):
            for c in range(nb + 2):
                here[i, c] = here[BESIDE, c]
                here[ny + BESIDE + i, c] = here[ny + BESIDE - 1, c]
        if state[3] > data.size + (4 if decode else 0):
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _finish_row(row: np.ndarray, nx: int) -> None:
    """Repeat the first and the last voxel of a row into its margins."""
    nb = row.size - 2
    row[0] = 0xFF if row[1] & 1 else 0
    tail = (0xFF << (nx - nb * 8 + 8)) & 0xFF
    if row[nb] >> ((nx - 1) & 7) & 1:
        row[nb] |= tail
        row[nb + 1] = 0xFF
    else:
        row[nb] &= 0xFF ^ tail
        row[nb + 1] = 0


def _blank_bits(shape: tuple[int, int, int]) -> np.ndarray:
    nz, ny, nx = shape
    return np.zeros((nz + BEFORE, ny + 2 * BESIDE, (nx + 7) // 8 + 2), np.uint8)


def _encode_adaptive(mask: np.ndarray, room: int) -> bytes | None:
    """The adaptive stream, or None when it needs more than ``room`` bytes."""
    bits = _blank_bits(mask.shape)
    bits[BEFORE:, BESIDE:-BESIDE, 1:-1] = np.packbits(mask, axis=2, bitorder="little")
    data = np.zeros(room, np.uint8)
    state = start(data, False)
    classes = _classify(bits, mask.shape[2])
    _code_classes(classes, data, state, False)
    if not _code_voxels(bits, mask.shape[2], classes, data, state, False):
        return None
    stream = close(data, state)
    return stream if stream is not None and len(stream) <= room else None


def encode_mask(mask: np.ndarray) -> bytes:
    """Code a mask (bool, shape (Z, Y, X)) losslessly.

    A uniform mask takes one byte, any other at most one bit per voxel and two bytes.
    """
    if mask.dtype != np.bool_ or mask.ndim != 3:
        raise ValueError("a mask is a three-dimensional array of bool")
    if not mask.any():
        return bytes([ALL_FALSE])
    if mask.all():
        return bytes([ALL_TRUE])
    stream = _encode_adaptive(mask, (mask.size + 7) // 8 - 1)
    if stream is not None:
        return bytes([ADAPTIVE]) + stream
    return bytes([PACKED]) + np.packbits(mask, bitorder="little").tobytes()


def _decode_packed(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    size = shape[0] * shape[1] * shape[2]
    packed = np.frombuffer(data, np.uint8)
    if packed.size != (size + 7) // 8:
        raise FormatError("a packed mask does not have the size of its tile")
    bits = np.unpackbits(packed, bitorder="little")
    if bits[size:].any():
        raise FormatError("a packed mask goes on after its last voxel")
    return bits[:size].reshape(shape).astype(np.bool_)


def _decode_adaptive(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    if shape[0] * shape[1] * shape[2] == 0:
        raise FormatError("a mask without voxels has adaptive bits")
    stream = readable(data)
    bits = _blank_bits(shape)
    nz, ny, nx = shape
    state = start(stream, True)
    classes = _blank_classes(nz, ny, (nx + 7) // 8)
    _code_classes(classes, stream, state, True)
    _paint(bits, classes)
    if not _code_voxels(bits, nx, classes, stream, state, True):
        raise FormatError("a mask ends before its voxels do")
    check_end(data, state)
    if not np.array_equal(_classify(bits, nx), classes):
        raise FormatError("a mask has a block that is not what it is said to be")
    inner = bits[BEFORE:, BESIDE:-BESIDE, 1:-1]
    return np.unpackbits(inner, axis=2, count=nx, bitorder="little").view(np.bool_)


def decode_mask(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode what encode_mask wrote for a mask of this shape (Z, Y, X); returns bool.

    Raises FormatError where the bytes are not a mask of this shape; never reads past them.
    """
    if len(data) == 0:
        raise FormatError("a mask has no bytes")
    kind = data[0]
    if kind == PACKED:
        return _decode_packed(data[1:], shape)
    if kind == ADAPTIVE:
        return _decode_adaptive(data[1:], shape)
    if kind > ADAPTIVE:
        raise FormatError(f"a mask is coded in a way unknown to this version ({kind})")
    if len(data) > 1:
        raise FormatError("a uniform mask has bytes to spare")
    return np.full(shape, kind == ALL_TRUE)

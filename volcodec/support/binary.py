"""Adaptive binary arithmetic coding in integers only, for the mask and specials streams.

A bit is coded with the probability (in 1/65536) that it is 1 by a carry-less arithmetic coder whose
interval is [low, high], both 32 bits. Coder and decoder run the same function, so that they can't
drift apart. Everything fits 64-bit signed integers and nothing depends on the machine.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numba
import numpy as np

from ..errors import FormatError

Int: TypeAlias = Any
"""A 64-bit integer inside a kernel, which the stubs of NumPy would see as many types."""

LIMIT: Final = 255
"""A cell counts up to this many bits; from there on it forgets at a constant rate."""

HALF: Final = 1 << 31
"""A fresh cell: probability one half (22 bits, shifted by 10), nothing counted (10 bits)."""

STRETCH_END: Final = 3072
"""Stretched probabilities (256 ln(p / (1 - p))) are mixed within -STRETCH_END ... STRETCH_END."""

_ONE: Final = 1 << 64
_EXP_256TH: Final = 18374827034086858297  # round(2^64 exp(-1/256))
_EXP_512TH: Final = 18410750438167364678  # round(2^64 exp(-1/512))


def _squash_table() -> np.ndarray:
    """65536 / (1 + exp(-d / 256)) rounded to nearest, kept in 4 ... 65532, for d = index - 3072."""
    table = np.empty(2 * STRETCH_END + 1, np.uint16)
    power = _ONE
    for d in range(STRETCH_END + 1):
        value = (2 * 65536 * _ONE + _ONE + power) // (2 * (_ONE + power))
        table[STRETCH_END + d] = min(value, 65532)
        table[STRETCH_END - d] = max(65536 - value, 4)
        power = power * _EXP_256TH >> 64
    return table


def _stretch_table() -> np.ndarray:
    """256 ln(q / (1 - q)) rounded to nearest with q = (index + 1/2) / 4096."""
    table = np.empty(4096, np.int16)
    d, power = 0, _EXP_512TH  # power = exp(-(d + 1/2) / 256): beyond it the nearest is d + 1
    for i in range(2048, 4096):
        while (8191 - 2 * i) << 64 < power * (2 * i + 1):
            d += 1
            power = power * _EXP_256TH >> 64
        table[i], table[4095 - i] = d, -d
    return table


SQUASH: Final = _squash_table()
STRETCH: Final = _stretch_table()
RATE: Final = np.array([655360 // (10 * n + 14) for n in range(LIMIT + 1)], np.int32)
"""Share (in 1/65536) of the way to the last bit that a cell moves after n bits."""


@numba.njit(cache=True, nogil=True)
def adapt(cells: np.ndarray, k: Int, bit: int) -> None:
    """Move cell k towards the bit that was coded."""
    cell = np.int64(cells[k])
    count = cell & 1023
    p = cell >> 10
    p += (((bit << 22) - bit - p) * np.int64(RATE[count])) >> 16
    cells[k] = (p << 10) | (count + (count < LIMIT))


@numba.njit(cache=True, nogil=True)
def chance(cells: np.ndarray, k: Int) -> int:
    """Probability of a 1 in 1/65536 that cell k gives when it stands alone."""
    return min(max(int(np.int64(cells[k]) >> 16), 32), 65504)


@numba.njit(cache=True, nogil=True)
def code_bit(
    low: Int, high: Int, code: Int, position: Int, data: np.ndarray, p: Int, bit: Int, decode: bool
) -> tuple[Int, Int, Int, Int, Int]:
    """Code one bit of probability p; returns (low, high, code, position, bit).

    Encoding puts bytes to data[position] and drops what does not fit; decoding takes them from
    there, and zeros past the end. position counts on in both cases.
    """
    middle = low + (((high - low) * p) >> 16)
    if decode:
        bit = code <= middle
    one = 1 if bit else 0
    if one:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) & 0xFF000000 == 0:
        if decode:
            code = (code << 8) & 0xFFFFFFFF
            if position < data.size:
                code |= np.int64(data[position])
        elif position < data.size:
            data[position] = high >> 24
        position += 1
        low = (low << 8) & 0xFFFFFFFF
        high = ((high << 8) & 0xFFFFFFFF) | 255
    return low, high, code, position, one


@numba.njit(cache=True, nogil=True)
def start(data: np.ndarray, decode: bool) -> np.ndarray:
    """The coder's state before the first bit: low, high, code, position."""
    state = np.zeros(4, np.int64)
    state[1] = 0xFFFFFFFF
    if decode:
        for i in range(4):
            state[2] <<= 8
            if i < data.size:
                state[2] |= np.int64(data[i])
        state[3] = 4
    return state


def readable(data: bytes) -> np.ndarray:
    """The bytes as an array that the kernels take (writable, though they only read it)."""
    return np.frombuffer(bytearray(data), np.uint8)


def close(data: np.ndarray, state: np.ndarray) -> bytes | None:
    """The finished stream: zeros after it stay in the last interval. None if data was too short."""
    low, position = int(state[0]), int(state[3])
    if position > data.size:
        return None
    end = bytes([(low >> 24) + 1]) if low else b""
    return data[:position].tobytes() + end


def check_end(data: bytes, state: np.ndarray) -> None:
    """Raise FormatError unless data is exactly what close() wrote for the bits just decoded."""
    low, emitted = int(state[0]), int(state[3]) - 4
    good = len(data) == emitted + (low > 0)
    if good and low:
        good = data[-1] == (low >> 24) + 1
    if not good:
        raise FormatError("a support stream is damaged: it does not end where its voxels do")

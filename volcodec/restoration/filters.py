"""A restoration filter: its classes and weights, its bytes, what it makes of a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np

from ..errors import FormatError
from ..kernel import kernel
from ..support import binary
from .activity import activity, padded
from .rows import LANES, PACKED, restored_block
from .taps import BINS, FEATURES, STEP

FINEST: Final = 3
"""Weights of a class are multiples of 2**(e - SHIFT) with 0 <= e <= FINEST."""

LARGEST: Final = 1023
"""The largest weight in multiples of 2**-SHIFT."""

MAX_BYTES: Final = 255
_BITS: Final = 10  # of a magnitude at most


def _shift(step: int) -> int:
    return step.bit_length() - STEP.bit_length()


def to_usual(integers: Any, step: int) -> Any:
    """Integers (int32, of NumPy or torch) of which ``step`` are a step: as if 256 to 511 were."""
    shift = _shift(step)
    return integers if shift == 0 else integers >> shift if shift > 0 else integers << -shift


def from_usual(change: Any, step: int) -> Any:
    """What a change of those is for the integers themselves."""
    shift = _shift(step)
    return change << shift if shift >= 0 else (change + (1 << (-shift - 1))) >> -shift


@dataclass(frozen=True)
class Filter:
    """Classes of activity and their weights.

    ``starts``: the first bin of each class, rising; bins below the first are left alone.
    ``weights`` (int32, (classes, FEATURES)), in multiples of 2**(e - SHIFT) with ``scales`` e.
    """

    starts: tuple[int, ...]
    scales: tuple[int, ...]
    weights: np.ndarray

    def by_bin(self) -> np.ndarray:
        """Weights by bin in multiples of 2**-SHIFT: int32, (BINS, FEATURES)."""
        out = np.zeros((BINS, FEATURES), np.int32)
        for start, e, w in zip(self.starts, self.scales, self.weights, strict=True):
            out[start:] = w << e
        return out

    def table(self) -> np.ndarray:
        """The same, of two features side by side, the first in the lower half: (BINS, PACKED)."""
        out = np.zeros((BINS, 2 * PACKED), np.int32)
        out[:, :FEATURES] = self.by_bin()
        return out[:, 1::2] << 16 | out[:, ::2] & 0xFFFF

    def apply(self, integers: np.ndarray, step: int = STEP) -> np.ndarray:
        """The restored integers (int32, (Z, Y, X)) of a tile, of which a ``step`` is so many."""
        seen = to_usual(integers, step)
        p = padded(seen)
        bins = activity(p, seen.shape[2])
        out = np.empty(seen.shape, np.int32)
        _apply(p, bins, self.table(), self.starts[0], np.empty(bins.shape[2], np.int32), out)
        return out if seen is integers else integers + from_usual(out - seen, step)

    def pack(self) -> bytes:
        """The filter as bytes: their number, then the bits; b"" where that is over MAX_BYTES."""
        data = np.zeros(4 * MAX_BYTES, np.uint8)
        state = binary.start(data, False)
        _code(data, state, np.array(self.starts), np.array(self.scales), self.weights, False)
        packed = binary.close(data, state)
        if packed is None or len(packed) > MAX_BYTES:
            return b""
        return bytes([len(packed)]) + packed


def unpack(data: bytes) -> tuple[Filter, bytes]:
    """The filter in front of ``data``, and what follows it; FormatError where there is none."""
    size = data[0] if data else 0
    packed = data[1 : 1 + size]
    if not size or len(packed) < size:
        raise FormatError("a restoration filter is longer than the scale that holds it")
    starts, scales = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    weights = np.zeros((BINS, FEATURES), np.int32)
    readable = binary.readable(packed)
    state = binary.start(readable, True)
    classes = _code(readable, state, starts, scales, weights, True)
    if classes < 1:
        raise FormatError("a restoration filter has weights that are too large, or no class")
    binary.check_end(packed, state)
    found = Filter(
        tuple(starts[:classes].tolist()), tuple(scales[:classes].tolist()), weights[:classes]
    )
    return found, data[1 + size :]


@kernel
def _apply(
    p: np.ndarray, bins: np.ndarray, table: np.ndarray, first: int, row: np.ndarray,
    out: np.ndarray,
) -> None:  # fmt: skip
    nz, ny, nx = out.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(0, row.size, LANES):
                restored_block(p, z, y, x, bins, first, table, row)
            line = out[z, y]
            for x in range(nx):
                line[x] = row[x]


@kernel
def _bit(
    data: np.ndarray, state: np.ndarray, cells: np.ndarray, k: binary.Int, bit: binary.Int,
    decode: bool,
) -> binary.Int:  # fmt: skip
    p = binary.chance(cells, k)
    state[0], state[1], state[2], state[3], bit = binary.code_bit(
        state[0], state[1], state[2], state[3], data, p, bit, decode
    )
    binary.adapt(cells, k, bit)
    return bit


_GROUPS: Final = np.array([0] * 3 + [1] * 3 + [2] * 6 + [3] * 3 + [4, 5, 6], np.int64)
_STARTS, _SCALES, _ZERO, _SIGN, _MORE = 0, 2, 8, 8 + 7 * 3, 8 + 7 * 3 + 7 * 3
_CELLS: Final = _MORE + 4 * (_BITS + 1)


@numba.njit(cache=True, nogil=True)
def _code(
    data: np.ndarray, state: np.ndarray, starts: np.ndarray, scales: np.ndarray,
    weights: np.ndarray, decode: bool,
) -> int:  # fmt: skip
    """Code a filter; the number of its classes, 0 where weights can't be."""
    cells = np.full(_CELLS, binary.HALF, np.uint32)
    before = np.zeros(FEATURES, np.int64)  # weights of the class before, in 2**-SHIFT
    n = 0
    for b in range(1, BINS):
        new = 0 if decode else int(n < starts.size and starts[n] == b)
        if not _bit(data, state, cells, _STARTS + (n > 0), new, decode):
            continue
        if decode:
            starts[n] = b
        e = 0 if decode else scales[n]
        high = _bit(data, state, cells, _SCALES, e >> 1, decode)
        e = 2 * high + _bit(data, state, cells, _SCALES + 1 + high, e & 1, decode)
        scales[n] = e
        for k in range(FEATURES):
            w = 0 if decode else np.int64(weights[n, k])
            group = _GROUPS[k]
            was = 0 if before[k] == 0 else 1 if before[k] > 0 else 2
            if not _bit(data, state, cells, _ZERO + 3 * group + was, int(w != 0), decode):
                before[k] = 0
                continue
            minus = _bit(data, state, cells, _SIGN + 3 * group + was, int(w < 0), decode)
            m = abs(w) - 1
            like = 0
            while like < 3 and abs(before[k]) >> (e + 2 * like) > 0:
                like += 1
            cell = _MORE + like * (_BITS + 1)
            m = _magnitude(data, state, cells, cell, m, decode) + 1
            before[k] = (-m if minus else m) << e
            if m << e > LARGEST:
                return 0
            if decode:
                weights[n, k] = -m if minus else m
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _magnitude(
    data: np.ndarray, state: np.ndarray, cells: np.ndarray, cell: int, m: int, decode: bool
) -> int:
    """An Exp-Golomb number of order 0 whose prefix is adaptive; at most 2**(_BITS + 1)."""
    size = 0
    while size < _BITS and _bit(
        data, state, cells, cell + size, 0 if decode else int(m + 1 >= 2 << size), decode
    ):
        size += 1
    rest = 1
    for i in range(size - 1, -1, -1):
        bit = 0 if decode else (m + 1) >> i & 1
        state[0], state[1], state[2], state[3], bit = binary.code_bit(
            state[0], state[1], state[2], state[3], data, 32768, bit, decode
        )
        rest = 2 * rest + bit
    return rest - 1

"""A restoration filter: its passes, of classes and weights, its bytes, what it makes of a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np

from ..errors import FormatError
from ..kernel import kernel
from ..support import binary
from .activity import Seen
from .rows import LANES, PACKED, restored_block
from .taps import BINS, FEATURES, SHORT, STEP

FINEST: Final = 3
"""Weights of a class are multiples of 2**(e - SHIFT) with 0 <= e <= FINEST."""

LARGEST: Final = 1023
"""The largest weight in multiples of 2**-SHIFT."""

MAX_PASSES: Final = 4
MAX_BYTES: Final = 4095
_MAX_SHORT: Final = 255
_BITS: Final = 10  # of a magnitude at most


def _shift(step: int) -> int:
    return step.bit_length() - STEP.bit_length()


def to_usual(integers: Any, step: int) -> Any:
    """Integers (int32, of NumPy or torch) of which ``step`` are a step: as if 256 to 511 were."""
    shift = _shift(step)
    return integers if shift == 0 else integers >> shift if shift > 0 else integers << -shift


def from_usual(integers: Any, seen: Any, restored: Any, step: int) -> Any:
    """The integers restored, where ``to_usual`` made ``seen`` of them, and that is ``restored``."""
    shift = _shift(step)
    if shift == 0:
        return restored
    change = restored - seen
    change = change << shift if shift > 0 else (change + (1 << (-shift - 1))) >> -shift
    return integers + change


@dataclass(frozen=True)
class Pass:
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

    def apply(self, seen: Seen) -> np.ndarray:
        """The restored integers (int32, (Z, Y, X)) of a tile."""
        nz, ny, columns = seen.bins.shape
        out = np.empty((nz, ny, seen.nx), np.int32)
        row = np.empty(columns, np.int32)
        _apply(seen.voxels, seen.bins, seen.sides, self.table(), self.starts[0], row, out)
        return out


@dataclass(frozen=True)
class Filter:
    """Passes, each of which restores what the one before made."""

    passes: tuple[Pass, ...]

    def apply(self, integers: np.ndarray, step: int = STEP) -> np.ndarray:
        """The restored integers (int32, (Z, Y, X)) of a tile, of which a ``step`` is so many."""
        seen = restored = to_usual(integers, step)
        for one in self.passes:
            restored = one.apply(Seen.of(restored))
        return np.asarray(from_usual(integers, seen, restored, step))

    def pack(self) -> bytes:
        """The filter as bytes, of the short form where it says all; b"" where they are too many."""
        if len(self.passes) == 1 and not self.passes[0].weights[:, SHORT:].any():
            packed = self._bits(SHORT)
            if packed and len(packed) <= _MAX_SHORT:
                return bytes([len(packed)]) + packed
        packed = self._bits(FEATURES)
        return b"\0" + len(packed).to_bytes(2, "little") + packed if packed else b""

    def _bits(self, features: int) -> bytes:
        data = np.zeros(MAX_BYTES + 4, np.uint8)
        state, cells = binary.start(data, False), _cells(features)
        for i, p in enumerate(self.passes):
            if i > 0:
                _bit(data, state, cells, _AGAIN, 1, False)
            starts, scales = np.array(p.starts), np.array(p.scales)
            _code(data, state, cells, starts, scales, p.weights[:, :features], False)
        if features > SHORT and len(self.passes) < MAX_PASSES:
            _bit(data, state, cells, _AGAIN, 0, False)
        packed = binary.close(data, state)
        return packed if packed is not None and len(packed) <= MAX_BYTES else b""


def unpack(data: bytes) -> tuple[Filter, bytes]:
    """The filter in front of ``data``, and what follows it; FormatError where there is none."""
    size, begin, features = data[0] if data else 0, 1, SHORT
    if size == 0 and len(data) > 2:
        size, begin, features = int.from_bytes(data[1:3], "little"), 3, FEATURES
    packed = data[begin : begin + size]
    if not 0 < size <= MAX_BYTES or len(packed) < size:
        raise FormatError("a restoration filter is longer than the scale that holds it")
    readable = binary.readable(packed)
    state, cells = binary.start(readable, True), _cells(features)
    passes: list[Pass] = []
    again = True
    while again:
        passes.append(_unpacked(readable, state, cells, features))
        again = features > SHORT and len(passes) < MAX_PASSES
        again = again and bool(_bit(readable, state, cells, _AGAIN, 0, True))
    binary.check_end(packed, state)
    return Filter(tuple(passes)), data[begin + size :]


def _unpacked(data: np.ndarray, state: np.ndarray, cells: np.ndarray, features: int) -> Pass:
    starts, scales = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    weights = np.zeros((BINS, FEATURES), np.int32)
    n = _code(data, state, cells, starts, scales, weights[:, :features], True)
    if n < 1:
        raise FormatError("a restoration filter has weights that are too large, or no class")
    return Pass(tuple(starts[:n].tolist()), tuple(scales[:n].tolist()), weights[:n])


@kernel
def _apply(
    p: np.ndarray, bins: np.ndarray, sides: np.ndarray, table: np.ndarray, first: int,
    row: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    nz, ny, nx = out.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(0, row.size, LANES):
                restored_block(p, z, y, x, bins, sides, first, table, row)
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


_GROUPS: Final = np.array([0] * 3 + [1] * 3 + [2] * 6 + [3] * 3 + list(range(4, 12)), np.int64)
_STARTS, _SCALES, _AGAIN, _ZERO = 0, 2, 5, 8


def _cells(features: int) -> np.ndarray:
    """Fresh cells for filters of so many features."""
    groups = int(_GROUPS[features - 1]) + 1
    return np.full(_ZERO + 6 * groups + 4 * (_BITS + 1), binary.HALF, np.uint32)


@numba.njit(cache=True, nogil=True)
def _code(
    data: np.ndarray, state: np.ndarray, cells: np.ndarray, starts: np.ndarray, scales: np.ndarray,
    weights: np.ndarray, decode: bool,
) -> int:  # fmt: skip
    """Code a pass; the number of its classes, 0 where weights can't be."""
    features = weights.shape[1]
    sign = _ZERO + 3 * (_GROUPS[features - 1] + 1)
    more = 2 * sign - _ZERO
    before = np.zeros(features, np.int64)  # weights of the class before, in 2**-SHIFT
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
        for k in range(features):
            w = 0 if decode else np.int64(weights[n, k])
            group = _GROUPS[k]
            was = 0 if before[k] == 0 else 1 if before[k] > 0 else 2
            if not _bit(data, state, cells, _ZERO + 3 * group + was, int(w != 0), decode):
                before[k] = 0
                continue
            minus = _bit(data, state, cells, sign + 3 * group + was, int(w < 0), decode)
            m = abs(w) - 1
            like = 0
            while like < 3 and abs(before[k]) >> (e + 2 * like) > 0:
                like += 1
            cell = more + like * (_BITS + 1)
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

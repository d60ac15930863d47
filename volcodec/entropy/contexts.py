"""What chooses a table: exact integer arithmetic from decoded symbols to table indices.

Everything that must agree on every machine is in this file. Features are integers below 256:
logarithms, by table look-up, of sums of magnitudes of symbols that are already decoded. A network
of three layers turns them into a table index; its weights and activations are integers, and every
sum of absolute products stays below 2**24 (checked when a model is loaded), so that float32 is as
exact as integers, and any order of summation, vector width and device gives the same result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np

from ..kernel import kernel
from ..transform.pyramid import BAND_ORDER, half_shape
from .expectation import CLASSES
from .products import last_layer, layer, narrow_last_layer, narrow_layer, pack, pad, ups_of
from .rows import CLIP, LANES, SLACK, feature_block, logarithm_block

# features of the own band, of the parent, of coarser values, of the expectation
OWN, PARENT, HINTS, EXPECTED = 5, 3, 2, 2
FIXED = OWN + PARENT + HINTS + EXPECTED  # these come first; two for each sibling band follow
FEATURES = FIXED + 2 * (len(BAND_ORDER) - 1)
GROUPS = FEATURES // 4  # of four features, the bytes of an int32, the lowest first
NETS = 8 * len(CLASSES)
LEVEL_KINDS = 4  # levels 1, 2, 3 and the coarser ones have biases of their own
EXACT = 1 << 24
_BLOCK = 128

# floor(16 * log2(1 + s)): computed once with exact integers, (1 + s)**16 against powers of two
LOG = np.array([((1 + s) ** 16).bit_length() - 1 for s in range(CLIP + 1)], dtype=np.uint8)


class LevelState(NamedTuple):
    """Magnitudes of the subbands of one level, as far as decoded, and logarithms of whole bands.

    ``mag``: uint16 (8, z + 2, y + 2, x + 2), a margin of zeros around each band. ``logs``: uint8
    (2, 8, ...), of the magnitudes and of their sums over faces, once a band is closed; empty where
    neither features nor a finer level will ask. ``beside``: uint16, sums of logarithms of all bands
    that are closed, but the low one.
    """

    mag: np.ndarray
    logs: np.ndarray
    beside: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int, int], logs: bool = True) -> LevelState:
        """For a level whose lifted array has ``shape`` (the level's input)."""
        z, y, x = half_shape(shape)
        full = (8, z + 2, y + 2, x + 2)
        told = roomy((2, *full) if logs else (0,) * 5, np.uint8)
        return cls(roomy(full, np.uint16), told, roomy(full[1:], np.uint16))

    def close_band(self, band: int, shape: tuple[int, int, int]) -> None:
        """Take the logarithms of a band that is complete."""
        close_band(self, band, shape)


def roomy(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros, with memory behind them that vectors may reach into."""
    size = math.prod(shape)
    out: np.ndarray = np.empty(size + SLACK, dtype)
    out[:] = 0  # unlike numpy.zeros, this lets other threads run
    return out[:size].reshape(shape)


@kernel()
def _logarithms(
    mag: np.ndarray, band: int, logs: np.ndarray, beside: np.ndarray, nz: int, ny: int, nx: int
) -> None:
    for z in range(1, nz + 1):
        for y in range(1, ny + 1):
            for x in range(1, nx + 1, LANES):
                logarithm_block(mag, band, z, y, x, nx + 1 - x, logs, beside)


@numba.njit(cache=True, nogil=True)
def close_band(state: LevelState, band: int, shape: tuple[int, int, int]) -> None:
    """:meth:`LevelState.close_band`, for kernels."""
    beside = state.beside if band > 0 else state.beside[:0]
    _logarithms(state.mag, band, state.logs, beside, shape[0], shape[1], shape[2])


@numba.njit(cache=True, nogil=True)
def features(
    mag: np.ndarray,
    logs: np.ndarray,
    beside: np.ndarray,
    parent_mag: np.ndarray,
    parent_logs: np.ndarray,
    hints: np.ndarray,
    band: int,
    before: np.ndarray,
    shape: tuple[int, int, int],
    offset: tuple[int, int, int],
    symbols: np.ndarray,
    weights: np.ndarray,
    halved: int,
    out: np.ndarray,
    where: np.ndarray,
    expected: np.ndarray,
    classic: np.ndarray,
) -> int:
    """Features of the positions ``offset + 2 k`` of a band, in raster order.

    Positions whose features are all zero are left out: column ``j`` of ``out`` (int32, (GROUPS, at
    least count + SLACK)) belongs to position ``where[j]`` (int32, as many). Returns the number of
    columns. Arrays are contiguous, those of magnitudes of a :class:`LevelState`, in which the
    bands ``before`` are closed;
    ``hints`` (uint16, (HINTS, *shape)) have memory behind them.

    ``expected`` (int32) takes the expectation of each position, unless all of the class's
    ``weights`` (int32, 8) are zero, from the band's decoded ``symbols`` (see
    :func:`.rows.amid_zeros`), which are in halves of a step where ``halved`` is 1. ``classic``
    (uint8) takes the classical contexts (see :mod:`.classic`), unless it is empty; nor are features
    written where ``out`` is. Both are
    as long as there are positions.
    """
    if not weights.any():
        expected = expected[:0]
    # floor(s / (4 rows)) exactly: s is below 2**13, and 4 rows below 2**7
    rows = 2 * OWN + (PARENT if parent_mag.shape[1] > 2 else 0) + 2 * before.size
    return _features(
        mag, logs, beside, parent_mag, parent_logs, hints, band, before, shape, offset, symbols,
        weights, halved, (1 << 20) // (4 * rows) + 1, out, where, expected, classic,
    )  # fmt: skip


@kernel()
def _features(
    mag: np.ndarray, logs: np.ndarray, beside: np.ndarray, parent_mag: np.ndarray,
    parent_logs: np.ndarray, hints: np.ndarray, band: int, before: np.ndarray,
    shape: tuple[int, int, int], offset: tuple[int, int, int], symbols: np.ndarray,
    weights: np.ndarray, halved: int, reciprocal: int, out: np.ndarray, where: np.ndarray,
    expected: np.ndarray, classic: np.ndarray,
) -> int:  # fmt: skip
    oz, oy, ox = offset
    half = (shape[2] - ox + 1) // 2
    i = 0
    j = 0
    for z in range(oz + 1, shape[0] + 1, 2):
        for y in range(oy + 1, shape[1] + 1, 2):
            for first in range(0, half, LANES):
                found = feature_block(
                    mag, logs, beside, parent_mag, parent_logs, hints, band, before, z, y, oz, oy,
                    ox, first, half - first, i + first, symbols, weights, halved, expected,
                    reciprocal, classic, j, out, where,
                )  # fmt: skip
                if out.shape[1] > 0:
                    if (found >> LANES) & 1 == 0:
                        _squeeze(
                            out,
                            where,
                            j,
                            found & ((1 << LANES) - 1),
                            (FIXED + 2 * before.size + 3) // 4,
                        )
                    j += found >> 32
            i += half
    return j


@kernel()
def _squeeze(out: np.ndarray, where: np.ndarray, column: int, bits: int, groups: int) -> None:
    """Move those of sixteen columns whose bits are set side by side."""
    to = column
    for lane in range(LANES):
        if (bits >> lane) & 1:
            if to != column + lane:
                where[to] = where[column + lane]
                for g in range(groups):
                    out[g, to] = out[g, column + lane]
            to += 1


class Networks(NamedTuple):
    """The three layers of every network, packed for :func:`choose`.

    ``narrow``: whether weights are of 8 bits. Made of integers: ``w1`` (NETS, H1, FEATURES), ``b1``
    (NETS, LEVEL_KINDS, H1), ``w2`` (NETS, H2, H1), ``b2`` (NETS, H2), ``w3`` (NETS, H2), ``b3``
    (NETS,). ValueError where weights don't fit 16 bits.
    """

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    narrow: bool

    @classmethod
    def of(
        cls, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray, w3: np.ndarray,
        b3: np.ndarray, shifts: Sequence[int],
    ) -> Networks:  # fmt: skip
        """Pack them. Where a layer has an odd number of rows the next one's last weight is zero."""
        w3, b3 = w3[..., None, :], b3[..., None]
        ups = [ups_of(w, s) for w, s in zip((w1, w2, w3), shifts, strict=True)]
        narrow = all(up is not None for up in ups)
        first, second, third = ups if narrow else (None, None, None)
        of_kinds = None if first is None else first[:, None]
        return cls(
            pack(w1, first), pad(b1, shifts[0], of_kinds), pack(w2, second),
            pad(b2, shifts[1], second), pack(w3, third, 1), pad(b3, shifts[2], third, 1), narrow,
        )  # fmt: skip

    def of_net(self, net: int, kind: int) -> tuple[Any, ...]:
        """What :func:`choose` takes for one network at one kind of level."""
        return (
            self.w1[net], self.b1[net, kind], self.w2[net], self.b2[net], self.w3[net],
            self.b3[net], self.narrow,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def choose(
    x: np.ndarray,
    count: int,
    where: np.ndarray,
    used: int,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    w3: np.ndarray,
    b3: np.ndarray,
    narrow: bool,
    top: int,
    out: np.ndarray,
) -> None:
    """Table index for ``count`` columns of features, of which the first ``used`` count.

    ``x`` (int32, (GROUPS, at least count + SLACK)): see :func:`features`. ``out`` (uint8) at
    ``where[j]`` becomes the index of column ``j``. Weights and biases are those of one network of
    :class:`Networks`; ``used`` is even.
    """
    group = 4 if narrow else 2
    _choose(
        x, count, where, used, w1, b1, w2, b2, w3, b3, narrow, top,
        np.empty((0 if narrow else 2 * GROUPS, _BLOCK), np.int32),
        np.empty((8 // group * w1.shape[0], _BLOCK), np.int32),
        np.empty((8 // group * w2.shape[0], _BLOCK), np.int32),
        np.empty((1, _BLOCK), np.int32), out,
    )  # fmt: skip


@kernel()
def _choose(
    x: np.ndarray, count: int, where: np.ndarray, used: int, w1: np.ndarray, b1: np.ndarray,
    w2: np.ndarray, b2: np.ndarray, w3: np.ndarray, b3: np.ndarray, narrow: bool, top: int,
    a0: np.ndarray, a1: np.ndarray, a2: np.ndarray, a3: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    last = a3[0]
    for start in range(0, count, _BLOCK):
        n = min(_BLOCK, count - start)
        if narrow:
            for k in range(w1.shape[0]):
                narrow_layer(x, start, n, w1, k, (used + 3) // 4, b1, a1)
            for k in range(w2.shape[0]):
                narrow_layer(a1, 0, n, w2, k, w2.shape[1], b2, a2)
            narrow_last_layer(a2, 0, n, w3, 0, w3.shape[1], b3, a3)
        else:
            for g in range((used + 3) // 4):
                _split(x[g, start : start + n], a0[2 * g], a0[2 * g + 1])
            for k in range(w1.shape[0]):
                layer(a0, 0, n, w1, k, used // 2, b1, a1)
            for k in range(w2.shape[0]):
                layer(a1, 0, n, w2, k, w2.shape[1], b2, a2)
            last_layer(a2, 0, n, w3, 0, w3.shape[1], b3, a3)
        for v in range(n):
            out[where[start + v]] = np.uint8(min(last[v], top))


@kernel()
def _split(fours: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """The bytes of integers as pairs of int16."""
    for i in range(fours.size):
        four = np.uint32(fours[i])
        second, third = np.uint32(four >> np.uint32(8)), np.uint32(four >> np.uint32(16))
        low[i] = np.int32((four & np.uint32(255)) | (second & np.uint32(255)) << np.uint32(16))
        high[i] = np.int32((third & np.uint32(255)) | (second & np.uint32(0xFF0000)))


def columns_of(features: np.ndarray) -> np.ndarray:
    """Rows of features (uint8, (N, FEATURES)) as :func:`choose` takes them."""
    out = np.zeros((GROUPS, len(features) + SLACK), np.int32)
    out[:, : len(features)] = np.ascontiguousarray(features).view("<i4").T
    return out


def rows_of(columns: np.ndarray, count: int) -> np.ndarray:
    """The inverse of :func:`columns_of`."""
    return np.ascontiguousarray(columns[:, :count].T).astype("<i4").view(np.uint8)

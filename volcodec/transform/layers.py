"""The two ways between a tile and its subbands, level by level, behind one interface.

A pass over a tile goes from the coarsest level to the finest. For each level: ``open`` it; for each
band ask its ``hints`` (what decoded coarser values say about its magnitudes, exact integers) and,
encoding, its ``coefs``; give the quantised band back with ``put``; then ``close`` the level, after
which ``low`` is the decoded low band of the next.

``Lifted`` is open-loop: a wavelet pyramid. ``Predicted`` is closed-loop: every band is predicted by
interpolation from what is decoded and the residual is quantised, so errors never accumulate
(interpolation as in SZ3, Zhao et al. 2021; along all axes at once as in HPEZ, Liu et al. 2023).
"""

from __future__ import annotations

from typing import Protocol

import numba
import numpy as np

from ..entropy.expectation import BITS, whole_of
from ..kernel import inlined, kernel
from .pyramid import Pyramid, band_shape, band_view, half_shape
from .rows import (
    LANES,
    NARROW,
    NARROW_LANES,
    SLACK,
    predict_block,
    predict_narrow,
    rebuild_block,
    residual_block,
)

HINTS = 2
# floor(v / step) = v (floor(2**50 / step) + 1) >> 50 exactly, where v < 4096 step and step <= 2**19
_RECIPROCAL_BITS = 50
_LARGEST_RECIPROCAL = 1 << 19
_NONE_HIDDEN = np.zeros((0, 0, 0), bool)
Shape = tuple[int, int, int]


class Layers(Protocol):
    """One pass over a tile, coarsest level first.

    ``predicted``: what the band asked for last was predicted as (int32), in the closed loop;
    ``kept``: see Predicted.
    """

    low: np.ndarray
    predicted: np.ndarray
    kept: np.ndarray | None

    def open(self, level: int) -> None: ...
    def hints(self, band: int, step: int) -> np.ndarray: ...
    def coefs(self, band: int) -> np.ndarray: ...
    def put(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None: ...
    def close(self, back: tuple[int, int], share: int) -> None: ...


def level_shapes(shape: Shape, levels: int) -> list[Shape]:
    """Shapes of the input of each level, finest first, and last of the coarsest low band."""
    out = [shape]
    for _ in range(levels):
        out.append(half_shape(out[-1]))
    return out


def room_for_hints(shape: Shape) -> np.ndarray:
    """Memory (uint16) for the hints of a band, and more that vectors may reach into."""
    size = HINTS * shape[0] * shape[1] * shape[2]
    return np.empty(size + 4 * SLACK, np.uint16)[:size].reshape(HINTS, *shape)


def no_hints(shape: Shape) -> np.ndarray:
    """The same where there are none: zeros."""
    out = room_for_hints(shape)
    out[...] = 0
    return out


@numba.njit(cache=True, nogil=True)
def _reciprocal(step: int) -> int:
    """What :func:`_in_steps` multiplies by instead of dividing; 0 where it has to divide."""
    return (1 << _RECIPROCAL_BITS) // step + 1 if step <= _LARGEST_RECIPROCAL else 0


@inlined()
def _in_steps(value: int, step: int, reciprocal: int) -> int:
    """``min(value // step, 4095)`` of a value that is not negative."""
    if value >= step << 12:
        return 4095
    return (value * reciprocal) >> _RECIPROCAL_BITS if reciprocal else value // step


@inlined()
def _add_differences(
    a: np.ndarray, here: np.ndarray, b: np.ndarray, gradient: np.ndarray, curvature: np.ndarray
) -> None:
    for x in range(gradient.size):
        gradient[x] += abs(np.int64(b[x]) - np.int64(a[x]))
        curvature[x] += abs(2 * np.int64(here[x]) - np.int64(a[x]) - np.int64(b[x]))


@numba.njit(cache=True, nogil=True)
def _low_hints(low: np.ndarray, band: int, step: int, out: np.ndarray) -> None:
    """Gradient and curvature of the low band along the axes that ``band`` is high on, in steps."""
    nz, ny, nx = low.shape
    width = out.shape[3]
    gradient, curvature = np.zeros(width, np.int64), np.zeros(width, np.int64)
    wide = np.empty(nx + 2, np.int32)  # a row whose ends are repeated
    reciprocal = _reciprocal(step)
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            row = low[z, y]
            gradient[:] = 0
            curvature[:] = 0
            if band & 1:
                wide[1:-1] = row
                wide[0], wide[-1] = row[0], row[nx - 1]
                _add_differences(wide, row, wide[2:], gradient, curvature)
            if band & 2:
                before, after = low[z, max(y - 1, 0)], low[z, min(y + 1, ny - 1)]
                _add_differences(before, row, after, gradient, curvature)
            if band & 4:
                before, after = low[max(z - 1, 0), y], low[min(z + 1, nz - 1), y]
                _add_differences(before, row, after, gradient, curvature)
            for x in range(width):
                out[0, z, y, x] = _in_steps(2 * gradient[x], step, reciprocal)
                out[1, z, y, x] = _in_steps(2 * curvature[x], step, reciprocal)


@kernel()
def _predict(
    r: np.ndarray, band: int, step: int, narrow: bool, p: np.ndarray, hints: np.ndarray
) -> None:
    """Interpolate a band from the decoded positions of a level, with hints in steps.

    Along each axis that the band is high on, cubic where four neighbours exist, else linear, else
    the neighbour itself; then the mean over the axes. Hints: how far the axes disagree (for one
    axis, cubic and linear), and the differences across the position. ``r`` is roomy; ``narrow``:
    whether its values are all below NARROW.
    """
    inverse = 1.0 / step
    for z in range(p.shape[0]):
        for y in range(p.shape[1]):
            begin = 0
            if narrow:
                while begin + NARROW_LANES <= p.shape[2]:
                    predict_narrow(r, band, z, y, begin, step, inverse, p, hints)
                    begin += NARROW_LANES
            for first in range(begin, p.shape[2], LANES):
                predict_block(r, band, z, y, first, step, inverse, p, hints)


def roomy(shape: Shape) -> np.ndarray:
    """An array (int32) amid memory that vectors may reach into."""
    size = shape[0] * shape[1] * shape[2]
    return np.empty(size + 2 * SLACK, np.int32)[SLACK : SLACK + size].reshape(shape)


def _room(shape: Shape) -> np.ndarray:
    """Memory (int32), and more behind it that vectors may read."""
    size = shape[0] * shape[1] * shape[2]
    return np.empty(size + SLACK, np.int32)[:size].reshape(shape)


@kernel()
def _residuals(tile: np.ndarray, p: np.ndarray, oz: int, oy: int, ox: int, out: np.ndarray) -> None:
    """What predictions leave of every other voxel of a contiguous ``tile`` from an offset on."""
    for z in range(p.shape[0]):
        for y in range(p.shape[1]):
            at = ((2 * z + oz) * tile.shape[1] + 2 * y + oy) * tile.shape[2] + ox
            begin = 0
            while (
                begin + NARROW_LANES <= p.shape[2] and at + 2 * (begin + NARROW_LANES) <= tile.size
            ):
                residual_block(tile, at + 2 * begin, p, z, y, begin, out)
                begin += NARROW_LANES
            for x in range(begin, p.shape[2]):
                out[z, y, x] = np.int32(
                    np.int64(tile[2 * z + oz, 2 * y + oy, 2 * x + ox]) - np.int64(p[z, y, x])
                )


@kernel()
def _subtract(a: np.ndarray, b: np.ndarray, hidden: np.ndarray, out: np.ndarray) -> None:
    """What ``b`` leaves of ``a``; nothing where it is ``hidden`` (empty: nowhere)."""
    some = hidden.size > 0
    for z in range(b.shape[0]):
        for y in range(b.shape[1]):
            here, there, to = a[z, y], b[z, y], out[z, y]
            if some:
                free = hidden[z, y]
                for x in range(to.size):
                    left = np.int32(np.int64(here[x]) - np.int64(there[x]))
                    to[x] = np.int32(0) if free[x] else left
            else:
                for x in range(to.size):
                    to[x] = np.int32(np.int64(here[x]) - np.int64(there[x]))


@kernel()
def _keep(p: np.ndarray, least: int, most: int) -> None:
    """Bring predictions within limits."""
    for i in range(p.size):
        p[i] = max(least, min(p[i], most))


@kernel()
def _rebuild(
    p: np.ndarray, q: np.ndarray, step: int, band: int, stride: int, out: np.ndarray
) -> int:
    """What is predicted and ``step`` times ``q``, to where a band lies in ``out``: at its offset,
    ``stride`` apart, 2 where ``out`` is roomy. Bits of which the highest is the largest value's.
    """
    bits = np.int64(0)
    oz, oy, ox = band >> 2 & 1, band >> 1 & 1, band & 1
    for z in range(p.shape[0]):
        for y in range(p.shape[1]):
            begin = 0
            if stride == 2:
                while begin + NARROW_LANES <= p.shape[2]:
                    bits |= rebuild_block(p, q, step, z, y, begin, out, oz, oy, ox)
                    begin += NARROW_LANES
            here, there, to = p[z, y], q[z, y], out[stride * z + oz, stride * y + oy]
            for x in range(begin, here.size):
                value = np.int32(np.int64(here[x]) + step * np.int64(there[x]))
                to[stride * x + ox] = value
                bits |= value ^ (value >> 31)
    return bits


@kernel()
def _expecting(
    q: np.ndarray, expected: np.ndarray, halved: int, step: int, back1: int, back2: int,
    share: int, out: np.ndarray,
) -> None:  # fmt: skip
    """As :func:`dequantise`, with symbols that count from the whole part of what was expected.

    Where symbol and expectation agree, ``share`` / 256 of the rest is added.
    """
    small = 1 + halved
    for z in range(q.shape[0]):
        for y in range(q.shape[1]):
            for x in range(q.shape[2]):
                e = np.int64(expected[z, y, x])
                whole = whole_of(e)
                v = np.int64(q[z, y, x])
                s = v - (whole << halved)
                v = (v * step) >> halved
                if s == 0:
                    v += ((e - (whole << BITS)) * share * step) >> (BITS + 8)
                elif s > 0:
                    v -= back1 if s <= small else back2
                else:
                    v += back1 if s >= -small else back2
                out[z, y, x] = np.int32(v)


@kernel()
def dequantise(
    q: np.ndarray, halved: int, step: int, back1: int, back2: int, out: np.ndarray
) -> None:
    """Coefficients of symbols ``q``: ``|q| step - back``, with the sign of ``q``; zero stays zero.

    ``back1`` is for magnitude 1 and ``back2`` for the larger ones, in units. Where ``halved`` is 1,
    ``q`` is in halves of a step, and ``back1`` for magnitudes 1 and 2.
    """
    small = 1 + halved
    nz, ny, nx = q.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                s = np.int64(q[z, y, x])
                if s == 0:
                    v = np.int64(0)
                elif s > 0:
                    v = ((s * step) >> halved) - (back1 if s <= small else back2)
                else:
                    v = ((s * step) >> halved) + (back1 if s >= -small else back2)
                out[z, y, x] = np.int32(v)


class Lifted:
    """Open loop: subbands of a wavelet pyramid (``tile`` int32 to encode, None to decode).

    ``halved``: 1 where quantised bands are in halves of a step, else 0.
    """

    kept: np.ndarray | None = None

    def __init__(
        self, pyramid: Pyramid, shape: Shape, levels: int, tile: np.ndarray | None, halved: int = 0
    ):
        self._pyramid = pyramid
        self._halved = halved
        self._shapes = level_shapes(shape, levels)
        self._levels = levels
        self._arrays = None if tile is None else pyramid.analysis(tile, levels)
        self._level = levels
        self._bands: list[tuple[int, np.ndarray, np.ndarray, int]] = []
        self.low = np.zeros(self._shapes[levels], np.int32)
        self.predicted = np.empty((0, 0, 0), np.int32)

    def open(self, level: int) -> None:
        """Begin a level (0: the volume has none, only a low band)."""
        self._level, self._bands = level, []

    def hints(self, band: int, step: int) -> np.ndarray:
        """uint16 (HINTS, *band shape)."""
        if band == 0:
            return no_hints(self.low.shape)
        out = room_for_hints(band_shape(self._shapes[self._level - 1], band))
        _low_hints(self.low, band, step, out)
        return out

    def coefs(self, band: int) -> np.ndarray:
        """The coefficients of a band (int32, strided)."""
        assert self._arrays is not None
        if band == 0:
            return self._arrays[self._levels]
        return band_view(self._arrays[self._level - 1], band)

    def put(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None:
        """Take a quantised band and what was expected of it (empty: nothing)."""
        if band == 0:
            dequantise(q, self._halved, step, 0, 0, self.low)
        else:
            self._bands.append((band, q, expected, step))

    def close(self, back: tuple[int, int], share: int) -> None:
        """Synthesise the level.

        ``back``: how far magnitudes lie below their multiples; ``share``: of the rest of an
        expectation that a zero decodes to; both over 256.
        """
        if self._level == 0:
            return
        target = np.zeros(self._shapes[self._level - 1], np.int32)
        for band, q, expected, step in self._bands:
            offsets = [(b * step) >> 8 if step > 1 else 0 for b in back]
            view = band_view(target, band)
            if expected.size:
                kept = share if step > 1 else 0
                _expecting(q, expected, self._halved, step, *offsets, kept, view)
            else:
                dequantise(q, self._halved, step, *offsets, view)
        self.low = self._pyramid.synthesis(self.low, [target])


class Predicted:
    """Closed loop: bands are what interpolation from decoded positions leaves over.

    Voxels that are ``hidden`` may decode to anything, so nothing is left over there. ``kept``:
    limits (least, most) that predictions are kept within, None where there are none.
    """

    kept: np.ndarray | None = None

    def __init__(
        self,
        shape: Shape,
        levels: int,
        tile: np.ndarray | None,
        hidden: np.ndarray | None = None,
    ):
        self._hidden = hidden if hidden is not None and hidden.any() else _NONE_HIDDEN
        self._shapes = level_shapes(shape, levels)
        self._tile = None if tile is None else np.ascontiguousarray(tile)
        self._level = levels
        self._levels = levels
        self.predicted = np.empty((0, 0, 0), np.int32)
        self.low = np.zeros(self._shapes[levels], np.int32)
        self._whole = self.low
        self._bits = 0  # of all values so far

    def open(self, level: int) -> None:
        """Begin a level (0: the volume has none, only a low band)."""
        self._level = level
        if level:
            self._whole = roomy(self._shapes[level - 1])
            self._whole[::2, ::2, ::2] = self.low

    def hints(self, band: int, step: int) -> np.ndarray:
        """uint16 (HINTS, *band shape); predicts the band on the way."""
        if band == 0:
            self.predicted = _room(self.low.shape)
            self.predicted[...] = 0
            return no_hints(self.low.shape)
        shape = band_shape(self._whole.shape, band)  # type: ignore[arg-type]
        out = room_for_hints(shape)
        self.predicted = _room(shape)
        _predict(self._whole, band, step, self._bits < NARROW, self.predicted, out)
        if self.kept is not None:
            _keep(self.predicted.reshape(-1), *self.kept.astype(np.int32))
        return out

    def coefs(self, band: int) -> np.ndarray:
        """What the prediction of the band leaves over (int32)."""
        assert self._tile is not None
        stride = 1 << (self._levels if band == 0 else self._level - 1)
        out = np.empty(self.predicted.shape, np.int32)
        if band and stride == 1 and not self._hidden.size:
            _residuals(self._tile, self.predicted, band >> 2 & 1, band >> 1 & 1, band & 1, out)
            return out
        level, hidden = (
            a if band == 0 else band_view(a, band)
            for a in (a[::stride, ::stride, ::stride] for a in (self._tile, self._hidden))
        )
        _subtract(level, self.predicted, hidden, out)
        return out

    def put(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None:
        """Take the quantised residuals of a band."""
        if band == 0:
            self._bits |= _rebuild(self.predicted, q, step, 0, 1, self.low)
            if self._level:
                self._whole[::2, ::2, ::2] = self.low
        else:
            self._bits |= _rebuild(self.predicted, q, step, band, 2, self._whole)

    def close(self, back: tuple[int, int], share: int) -> None:
        """The level is complete."""
        if self._level:
            self.low = self._whole

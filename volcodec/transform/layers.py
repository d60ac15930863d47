"""The two ways between a tile and its subbands, level by level, behind one interface.

A pass over a tile goes from the coarsest level to the finest. For each level: ``open`` it; for each
band ask its ``hints`` (what decoded coarser values say about its magnitudes, exact integers) and,
encoding, its ``coefs``; give the quantised band back with ``put``; then ``close`` the level, after
which ``low`` is the decoded low band of the next. Kernels that code a whole level do the same with
its ``ground``.

``Lifted`` is open-loop: a wavelet pyramid. ``Predicted`` is closed-loop: every band is predicted by
interpolation from what is decoded and the residual is quantised, so errors never accumulate
(interpolation as in SZ3, Zhao et al. 2021; along all axes at once as in HPEZ, Liu et al. 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ..entropy.expectation import BITS, whole_of
from ..kernel import inlined, kernel
from .interpolation import Shape, keep, predict, rebuild, residuals, roomy
from .pyramid import Pyramid, band_shape, band_view, half_shape
from .rows import NARROW, SLACK

HINTS = 2
# floor(v / step) = v (floor(2**50 / step) + 1) >> 50 exactly, where v < 4096 step and step <= 2**19
_RECIPROCAL_BITS = 50
_LARGEST_RECIPROCAL = 1 << 19
_EMPTY = np.zeros((0, 0, 0), np.int32)
_NONE_HIDDEN = np.zeros((0, 0, 0), bool)
_NO_LIMITS = np.zeros(0, np.int64)


class Ground(NamedTuple):
    """What the bands of a level are taken from and lead to, as kernels take it.

    ``closed``: whether the loop is; ``halved``: 1 where quantised bands are in halves of a step.
    ``source`` (int32; nothing to decode): the tile, or the level as it was lifted, in which
    positions of a band lie ``apart``. ``hidden``: voxels that may decode to anything (of the tile's
    shape; empty: none). ``limits`` (int64, least and most; or empty): what predictions are kept
    within. ``low`` (int32): decoded low band; ``whole`` (int32): decoded positions of a level in
    the closed loop; ``bits`` (int64, 1): of all its values so far.
    """

    closed: bool
    halved: int
    apart: int
    source: np.ndarray
    hidden: np.ndarray
    limits: np.ndarray
    low: np.ndarray
    whole: np.ndarray
    bits: np.ndarray


def level_shapes(shape: Shape, levels: int) -> list[Shape]:
    """Shapes of the input of each level, finest first, and last of the coarsest low band."""
    out = [shape]
    for _ in range(levels):
        out.append(half_shape(out[-1]))
    return out


def shape_of(shapes: list[Shape], level: int, levels: int, band: int) -> Shape:
    """Of a band of a level."""
    return shapes[levels] if band == 0 else band_shape(shapes[level - 1], band)


def room_for_hints(positions: int) -> np.ndarray:
    """Memory (uint16) for hints, and more that vectors may reach into."""
    return np.empty(HINTS * positions + 4 * SLACK, np.uint16)[: HINTS * positions]


def room_for_predictions(positions: int) -> np.ndarray:
    """Memory (int32), and more behind it that vectors may read."""
    return np.empty(positions + SLACK, np.int32)[:positions]


def no_hints(shape: Shape) -> np.ndarray:
    """Hints of a band where there are none: zeros."""
    out = room_for_hints(shape[0] * shape[1] * shape[2]).reshape(HINTS, *shape)
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
def _copy(
    source: np.ndarray, apart: int, oz: int, oy: int, ox: int, p: np.ndarray, hidden: np.ndarray,
    out: np.ndarray,
) -> None:  # fmt: skip
    """What ``p`` (empty: zeros) leaves of positions of ``source`` that lie ``apart`` from an offset
    on; nothing where it is ``hidden`` (empty: nowhere)."""
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            row, to = source[apart * z + oz, apart * y + oy], out[z, y]
            if apart == 2:
                for x in range(to.size):
                    to[x] = row[2 * x + ox]
            else:
                for x in range(to.size):
                    to[x] = row[apart * x + ox]
            if p.size > 0:
                predicted = p[z, y]
                for x in range(to.size):
                    to[x] = np.int32(np.int64(to[x]) - np.int64(predicted[x]))
            if hidden.size > 0:
                free = hidden[apart * z + oz, apart * y + oy]
                for x in range(to.size):
                    to[x] = np.int32(0) if free[apart * x + ox] else to[x]


@kernel()
def _fill(low: np.ndarray, whole: np.ndarray) -> None:
    """A low band to its places in a level."""
    for z in range(low.shape[0]):
        for y in range(low.shape[1]):
            for x in range(low.shape[2]):
                whole[2 * z, 2 * y, 2 * x] = low[z, y, x]


@numba.njit(cache=True, nogil=True)
def foretell(
    ground: Ground, band: int, step: int, predicted: np.ndarray, hints: np.ndarray
) -> None:
    """Predictions (int32, the band's shape; none in the open loop) and hints (uint16, (HINTS, ...))
    of a band."""
    if band == 0:
        predicted[...] = 0
        hints[...] = 0
    elif not ground.closed:
        _low_hints(ground.low, band, step, hints)
    else:
        predict(ground.whole, band, step, ground.bits[0] < NARROW, predicted, hints)
        if ground.limits.size > 0:
            least, most = np.int32(ground.limits[0]), np.int32(ground.limits[1])
            keep(predicted.reshape(-1), least, most)


@numba.njit(cache=True, nogil=True)
def take(ground: Ground, band: int, predicted: np.ndarray, out: np.ndarray) -> None:
    """The coefficients of a band (int32): what is predicted is taken off them."""
    oz, oy, ox = band >> 2 & 1, band >> 1 & 1, band & 1
    if ground.closed and band > 0 and ground.apart == 2 and ground.hidden.size == 0:
        residuals(ground.source, predicted, oz, oy, ox, out)
        return
    half = ground.apart // 2
    _copy(
        ground.source, ground.apart, half * oz, half * oy, half * ox,
        predicted, ground.hidden, out,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def put(ground: Ground, band: int, q: np.ndarray, step: int, predicted: np.ndarray) -> None:
    """Let a quantised band (int32) take its place; those of the open loop wait for all."""
    if ground.closed and band > 0:
        ground.bits[0] |= rebuild(predicted, q, step, band, 2, ground.whole)
    elif band == 0:
        if ground.closed:
            ground.bits[0] |= rebuild(predicted, q, step, 0, 1, ground.low)
            if ground.whole.size > 0:
                _fill(ground.low, ground.whole)
        else:
            dequantise(q, ground.halved, step, 0, 0, ground.low)


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


class Layers:
    """One pass over a tile, coarsest level first.

    ``ground``: of the level that is open. ``low``: its decoded low band, and once it is closed, all
    of it. ``predicted`` (int32): what the band asked for last was predicted as, in the closed loop;
    ``kept``: limits (int64, least and most) that predictions are kept within, None: none.
    """

    closed = False
    kept: np.ndarray | None = None
    ground: Ground

    def __init__(self, shape: Shape, levels: int) -> None:
        self._shapes = level_shapes(shape, levels)
        self._levels = self._level = levels
        self.low = np.zeros(self._shapes[levels], np.int32)
        self.predicted: np.ndarray = _EMPTY

    def open(self, level: int) -> None:
        """Begin a level (0: the volume has none, only a low band)."""
        raise NotImplementedError

    def close(self, back: tuple[int, int], share: int) -> None:
        """The level is complete.

        ``back``: how far magnitudes lie below their multiples; ``share``: of the rest of an
        expectation that a zero decodes to; both over 256, and nothing in the closed loop.
        """
        raise NotImplementedError

    def hints(self, band: int, step: int) -> np.ndarray:
        """uint16 (HINTS, *band shape); predicts the band on the way."""
        shape = shape_of(self._shapes, self._level, self._levels, band)
        size = shape[0] * shape[1] * shape[2]
        out = room_for_hints(size).reshape(HINTS, *shape)
        self.predicted = room_for_predictions(size).reshape(shape) if self.closed else _EMPTY
        foretell(self.ground, band, step, self.predicted, out)
        return out

    def coefs(self, band: int) -> np.ndarray:
        """The coefficients of a band (int32), or what its prediction leaves over."""
        out = np.empty(shape_of(self._shapes, self._level, self._levels, band), np.int32)
        take(self.ground, band, self.predicted, out)
        return out

    def put(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None:
        """Take a quantised band and what was expected of it (empty: nothing)."""
        put(self.ground, band, q, step, self.predicted)


class Lifted(Layers):
    """Open loop: subbands of a wavelet pyramid (``tile`` int32 to encode, None to decode).

    ``halved``: 1 where quantised bands are in halves of a step, else 0.
    """

    def __init__(
        self, pyramid: Pyramid, shape: Shape, levels: int, tile: np.ndarray | None, halved: int = 0
    ):
        super().__init__(shape, levels)
        self._pyramid = pyramid
        self._halved = halved
        self._arrays = None if tile is None else pyramid.analysis(tile, levels)
        self._bands: list[tuple[int, np.ndarray, np.ndarray, int]] = []

    def open(self, level: int) -> None:
        """Begin a level (0: the volume has none, only a low band)."""
        self._level, self._bands = level, []
        source = _EMPTY if self._arrays is None else self._arrays[max(level - 1, 0)]
        self.ground = Ground(
            False, self._halved, 2 if level else 1, source, _NONE_HIDDEN, _NO_LIMITS, self.low,
            _EMPTY, np.zeros(1, np.int64),
        )  # fmt: skip

    def put(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None:
        """Take a quantised band and what was expected of it (empty: nothing)."""
        super().put(band, q, expected, step)
        self.keep(band, q, expected, step)

    def keep(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None:
        """Keep what closing the level takes of a band that has its place."""
        if band:
            self._bands.append((band, q, expected, step))

    def close(self, back: tuple[int, int], share: int) -> None:
        """Synthesise the level."""
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


class Predicted(Layers):
    """Closed loop: bands are what interpolation from decoded positions leaves over.

    Voxels that are ``hidden`` may decode to anything, so nothing is left over there.
    """

    closed = True

    def __init__(
        self,
        shape: Shape,
        levels: int,
        tile: np.ndarray | None,
        hidden: np.ndarray | None = None,
    ):
        super().__init__(shape, levels)
        hides = hidden is not None and hidden.any()
        self._hidden = np.ascontiguousarray(hidden) if hides else _NONE_HIDDEN
        self._tile = _EMPTY if tile is None else np.ascontiguousarray(tile)
        self._bits = np.zeros(1, np.int64)

    def open(self, level: int) -> None:
        """Begin a level (0: the volume has none, only a low band)."""
        self._level = level
        whole = roomy(self._shapes[level - 1]) if level else _EMPTY
        if level:
            whole[::2, ::2, ::2] = self.low
        limits = _NO_LIMITS if self.kept is None else self.kept
        self.ground = Ground(
            True, 0, 1 << level, self._tile, self._hidden, limits, self.low, whole, self._bits
        )

    def close(self, back: tuple[int, int], share: int) -> None:
        """The level is complete."""
        if self._level:
            self.low = self.ground.whole

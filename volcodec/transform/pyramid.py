"""The pyramid: a reversible 3-D integer lifting wavelet of any size, level by level.

A level lifts along x, y and z in place, so that even positions hold the low band and odd ones
the high band of each axis; the low band (``ceil(n / 2)`` per axis) is the input of the next level.
All arithmetic is on integers: sums and products in 64 bits, results kept in 32 bits (modulo
2**32), so synthesis undoes analysis exactly and gives the same numbers on every machine.
The lifting scheme is Daubechies & Sweldens 1998; rounding inside the steps makes it reversible
(Calderbank, Daubechies, Sweldens & Yeo 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

SHIFT = 12  # lifting coefficients are integers over 2**12
FRACTION = 8  # fixed-point bits: the unit of lossy coding is step / 2**8
MAX_LEVELS = 8
# CDF 9/7 (Cohen, Daubechies & Feauveau 1992) as predict, update, predict, update. Rounded together,
# so that a constant leaves 7e-6 of itself in the high bands; rounded one by one, as the format's
# previews have them, they leave 3e-4: more than a fine step where the background is far from zero.
CDF97 = np.array([-6496, -216, 3619, 1812], dtype=np.int64)
CDF97_PREVIEW = np.array([-6497, -217, 3616, 1817], dtype=np.int64)

BAND_ORDER = (1, 2, 4, 3, 5, 6, 7)  # bit 0: high along x, bit 1: along y, bit 2: along z


@numba.njit(cache=True, nogil=True)
def _lift_rows(target: np.ndarray, a: np.ndarray, b: np.ndarray, coef: int, sign: int) -> None:
    half = np.int64(1 << (SHIFT - 1))
    if sign > 0:
        for i in range(target.size):
            t = coef * (np.int64(a[i]) + np.int64(b[i])) + half
            target[i] = np.int32(np.int64(target[i]) + (t >> SHIFT))
    else:
        for i in range(target.size):
            t = coef * (np.int64(a[i]) + np.int64(b[i])) + half
            target[i] = np.int32(np.int64(target[i]) - (t >> SHIFT))


@numba.njit(cache=True, nogil=True)
def _lift_line(even: np.ndarray, odd: np.ndarray, coef: int, step: int, sign: int) -> None:
    """One lifting step of a line whose even and odd samples lie apart."""
    half = np.int64(1 << (SHIFT - 1))
    ne = even.size
    no = odd.size
    if step % 2 == 0:
        for i in range(ne - 1):
            t = (coef * (np.int64(even[i]) + np.int64(even[i + 1])) + half) >> SHIFT
            odd[i] = np.int32(np.int64(odd[i]) + sign * t)
        if no == ne:
            t = (coef * (2 * np.int64(even[ne - 1])) + half) >> SHIFT
            odd[no - 1] = np.int32(np.int64(odd[no - 1]) + sign * t)
    else:
        t = (coef * (2 * np.int64(odd[0])) + half) >> SHIFT
        even[0] = np.int32(np.int64(even[0]) + sign * t)
        for i in range(1, no):
            t = (coef * (np.int64(odd[i - 1]) + np.int64(odd[i])) + half) >> SHIFT
            even[i] = np.int32(np.int64(even[i]) + sign * t)
        if ne > no:
            t = (coef * (2 * np.int64(odd[no - 1])) + half) >> SHIFT
            even[ne - 1] = np.int32(np.int64(even[ne - 1]) + sign * t)


@numba.njit(cache=True, nogil=True)
def _lift_x(x: np.ndarray, coefs: np.ndarray, inverse: bool) -> None:
    nz, ny, nx = x.shape
    ne = (nx + 1) // 2
    no = nx // 2
    even = np.empty(ne, np.int32)
    odd = np.empty(no, np.int32)
    steps = coefs.size
    for z in range(nz):
        for y in range(ny):
            row = x[z, y]
            for i in range(no):
                even[i] = row[2 * i]
                odd[i] = row[2 * i + 1]
            if ne > no:
                even[no] = row[nx - 1]
            if inverse:
                for s in range(steps - 1, -1, -1):
                    _lift_line(even, odd, coefs[s], s, -1)
            else:
                for s in range(steps):
                    _lift_line(even, odd, coefs[s], s, 1)
            for i in range(no):
                row[2 * i] = even[i]
                row[2 * i + 1] = odd[i]
            if ne > no:
                row[nx - 1] = even[no]


@numba.njit(cache=True, nogil=True)
def _lift_planes(x: np.ndarray, coefs: np.ndarray, inverse: bool) -> None:
    """Lift along axis 1 of (outer, n, inner), rows of ``inner`` at a time."""
    outer, n, _ = x.shape
    steps = coefs.size
    for o in range(outer):
        plane = x[o]
        for k in range(steps):
            s = steps - 1 - k if inverse else k
            sign = -1 if inverse else 1
            start = 1 if s % 2 == 0 else 0
            for i in range(start, n, 2):
                before = i - 1 if i > 0 else i + 1
                after = i + 1 if i + 1 < n else i - 1
                _lift_rows(plane[i], plane[before], plane[after], coefs[s], sign)


def _lift(x: np.ndarray, coefs: np.ndarray, inverse: bool) -> None:
    nz, ny, nx = x.shape
    if inverse:
        if nz > 1:
            _lift_planes(x.reshape(1, nz, ny * nx), coefs, True)
        if ny > 1:
            _lift_planes(x, coefs, True)
        if nx > 1:
            _lift_x(x, coefs, True)
        return
    if nx > 1:
        _lift_x(x, coefs, False)
    if ny > 1:
        _lift_planes(x, coefs, False)
    if nz > 1:
        _lift_planes(x.reshape(1, nz, ny * nx), coefs, False)


def half_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Shape of the low band of one level: ``ceil(n / 2)`` per axis."""
    return ((shape[0] + 1) // 2, (shape[1] + 1) // 2, (shape[2] + 1) // 2)


def band_shape(shape: tuple[int, int, int], band: int) -> tuple[int, int, int]:
    """Shape of subband ``band`` (bits: high along x, y, z) of one level of ``shape``."""
    z, y, x = shape
    return (
        z // 2 if band & 4 else (z + 1) // 2,
        y // 2 if band & 2 else (y + 1) // 2,
        x // 2 if band & 1 else (x + 1) // 2,
    )


def band_view(level: np.ndarray, band: int) -> np.ndarray:
    """The strided view of subband ``band`` inside a lifted level."""
    return level[(band >> 2) & 1 :: 2, (band >> 1) & 1 :: 2, band & 1 :: 2]


def default_levels(shape: tuple[int, ...]) -> int:
    """Levels that bring the longest axis of ``shape`` down to four samples or fewer."""
    n, levels = max(shape), 0
    while n > 4 and levels < MAX_LEVELS:
        n, levels = (n + 1) // 2, levels + 1
    return levels


@dataclass(frozen=True)
class Pyramid:
    """A lifting wavelet: integer coefficients over 2**12, predict and update in turn."""

    coefs: np.ndarray

    @classmethod
    def classic(cls) -> Pyramid:
        """The CDF 9/7 wavelet, which every learned pyramid began as."""
        return cls(CDF97)

    def analysis(self, tile: np.ndarray, levels: int) -> list[np.ndarray]:
        """Lift ``tile`` (int32, C order, (Z, Y, X)) level by level, finest first.

        Returns ``levels`` interleaved arrays and, last, the coarsest low band.
        """
        out = []
        x = np.ascontiguousarray(tile, dtype=np.int32).copy()
        for _ in range(levels):
            _lift(x, self.coefs, inverse=False)
            out.append(x)
            x = np.ascontiguousarray(x[::2, ::2, ::2])
        out.append(x)
        return out

    def synthesis(self, low: np.ndarray, levels: list[np.ndarray]) -> np.ndarray:
        """Undo :meth:`analysis`: ``levels`` (coarsest first) are overwritten; returns int32."""
        x = low
        for level in levels:
            level[::2, ::2, ::2] = x
            _lift(level, self.coefs, inverse=True)
            x = level
        return x

    def dc_gain(self) -> float:
        """What one level makes of a constant, per axis: the low band over the value."""
        even, odd = 1.0, 1.0
        for s, c in enumerate(self.coefs / (1 << SHIFT)):
            if s % 2 == 0:
                odd += 2 * float(c) * even
            else:
                even += 2 * float(c) * odd
        return even

    def gains(self, levels: int) -> tuple[list[float], list[float]]:
        """L2 norms of the 1-D synthesis functions: of the low band and the high band per level."""
        n = 1 << (levels + 5)
        low: list[float] = []
        high: list[float] = []
        for level in range(1, levels + 1):
            for out, odd in ((low, 0), (high, 1)):
                x = np.zeros(n >> (level - 1))
                x[2 * (x.size // 4) + odd] = 1.0
                x = self._inverse_float(x)
                for _ in range(level - 1):
                    up = np.zeros(2 * x.size)
                    up[::2] = x
                    x = self._inverse_float(up)
                out.append(float(np.sqrt(np.sum(x * x))))
        return low, high

    def _inverse_float(self, x: np.ndarray) -> np.ndarray:
        x = x.copy()
        for s in range(self.coefs.size - 1, -1, -1):
            c = self.coefs[s] / (1 << SHIFT)
            if s % 2 == 0:
                x[1::2] -= c * (x[::2] + np.append(x[2::2], x[-2]))
            else:
                x[::2] -= c * (np.append(x[1], x[1:-1:2]) + x[1::2])
        return x

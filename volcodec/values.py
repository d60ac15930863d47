"""Between the values of a volume and the integers that are coded.

Three domains. ``real``: y = value - origin. ``lattice``: value = origin + pitch k with integer k,
for integers and for floats that lie on a lattice. ``bits``: the bit patterns of floats in the order
of their values, for lossless coding. Reconstruction is one multiplication and one addition in
float64 and one rounding to the dtype, never fused, so it is the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from .kernel import kernel
from .transform.pyramid import FRACTION

DTYPES = tuple(np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"))
LARGEST = 1 << 27  # of the fixed-point integers that the transform may be given
LARGEST_LATTICE = (1 << 30) - 1
CLOSED_STEP = 2047  # of the closed loop on real values; its unit is lattice_step / 2048


@dataclass(frozen=True)
class Mapping:
    """How values become integers: the part of a file's header that reconstruction needs.

    ``step`` and ``lattice_step`` are in units of y (real) or k (lattice); 0 where not in use.
    Values are kept within ``least`` ... ``most``; those within ``snap`` of ``ground`` become it.
    """

    dtype: np.dtype[Any]
    domain: str
    origin: float = 0.0
    pitch: float = 0.0
    step: float = 0.0
    lattice_step: float = 0.0
    least: float = -np.inf
    most: float = np.inf
    ground: float = 0.0
    snap: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether reconstructions are kept within limits of the values."""
        return self.least > -np.inf

    @property
    def on_lattice(self) -> bool:
        """Whether reconstructions are rounded to the lattice."""
        return self.domain == "lattice"

    @property
    def unit(self) -> float:
        """The fixed-point unit of the transform: step / 2**FRACTION (exact)."""
        return self.step / (1 << FRACTION)

    def units(self, bank: str) -> tuple[float, int]:
        """The unit of the integers that a bank codes, and the step of its closed loop in units."""
        if bank in ("lossy", "trellis"):
            return self.unit, 1
        if bank == "lattice":
            return self.lattice_step, 1
        if self.domain == "real":
            return self.lattice_step / (CLOSED_STEP + 1), CLOSED_STEP
        return 1.0, max(int(self.lattice_step), 1)

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value that is decoded."""
        of = np.iinfo(self.dtype) if self.dtype.kind in "iu" else np.finfo(self.dtype)
        return max(float(of.min), self.least), min(float(of.max), self.most)

    def largest(self, unit: float) -> int:
        """The largest integer that a bank may be given in multiples of ``unit``."""
        return LARGEST if unit == self.unit else LARGEST_LATTICE

    def to_integers(self, values: np.ndarray, unit: float) -> np.ndarray | None:
        """``values`` (native dtype, finite) in multiples of ``unit`` as int32; None on overflow."""
        pitch = self.pitch if self.on_lattice else 1.0
        most = self.largest(unit)
        if self.on_lattice and values.dtype.kind in "iu" and self._plain(unit, most):
            return values.astype(np.int32)
        if values.dtype == np.float16:  # numba has none
            values = values.astype(np.float32)
        out = np.empty(values.shape, np.int32)
        fits = _to_integers(
            values.reshape(-1),
            self.origin,
            pitch,
            self.on_lattice,
            unit,
            float(most),
            out.reshape(-1),
        )
        return out if fits else None

    def _plain(self, unit: float, most: int) -> bool:
        """Whether integers of the dtype are the multiples of ``unit`` themselves."""
        of = np.iinfo(self.dtype)
        alone = self.origin == 0 and self.pitch == 1 and unit == 1
        return alone and -most <= of.min and of.max <= most

    def to_values(
        self, integers: np.ndarray, unit: float, outliers: np.ndarray | None
    ) -> np.ndarray:
        """Values (dtype) of ``integers`` times ``unit``, outliers added in lattice steps.

        They are clipped to the finite range of the dtype and to the limits.
        """
        out = np.empty(integers.shape, self.dtype)
        o = np.zeros(0, np.int32) if outliers is None else outliers.reshape(-1)
        _to_values(
            integers.reshape(-1), unit, self.on_lattice, o, self.lattice_step, self.origin,
            self.pitch if self.on_lattice else 1.0, *self.limits, out.reshape(-1)
            if self.dtype != np.float16 else (wide := np.empty(out.size, np.float64)),
        )  # fmt: skip
        if self.dtype == np.float16:
            out = wide.astype(np.float16).reshape(out.shape)
        if self.snap > 0:
            out[np.abs(out.astype(np.float64) - self.ground) <= self.snap] = self.ground
        return out


@kernel()
def _to_integers(
    values: np.ndarray, origin: float, pitch: float, snap: bool, unit: float, most: float,
    out: np.ndarray,
) -> bool:  # fmt: skip
    """Whether no integer is larger than ``most``."""
    over = np.int32(0)
    for i in range(values.size):
        y = np.float64(values[i]) - origin
        if snap:
            y = np.rint(y / pitch)
        y = np.rint(y / unit)
        fits = abs(y) <= most
        over |= np.int32(0) if fits else np.int32(1)
        out[i] = np.int32(y if fits else 0.0)
    return over == 0


@numba.njit(cache=True, nogil=True)
def _to_values(
    integers: np.ndarray, unit: float, whole: bool, outliers: np.ndarray, jump: float,
    origin: float, pitch: float, low: float, high: float, out: np.ndarray,
) -> None:  # fmt: skip
    for i in range(integers.size):
        y = np.float64(integers[i]) * unit
        if whole:
            y = np.rint(y)
        if outliers.size > 0 and outliers[i] != 0:
            y = y + np.float64(outliers[i]) * jump
        if whole:
            y = y * pitch
        v = origin + y
        if v > high:
            v = high
        elif not v >= low:  # not a number either: only hostile steps lead there
            v = low
        out[i] = v


def shortened(value: float, bits: int = 20) -> float:
    """``value`` with ``bits`` bits of mantissa after the leading one: fewer bytes in a header."""
    if value == 0 or not math.isfinite(value):
        return value
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(fraction, bits + 1)), exponent - bits - 1)


def to_ordered(values: np.ndarray) -> np.ndarray:
    """Bit patterns of float16 or float32 as int32, in the order of the values."""
    if values.dtype == np.float16:
        b = values.view(np.int16).astype(np.int32)
        return np.where(b < 0, b ^ 0x7FFF, b)
    b = values.view(np.int32)
    return np.where(b < 0, b ^ 0x7FFFFFFF, b)


def from_ordered(integers: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Undo :func:`to_ordered`; a float64 volume was stored as the float32 it is equal to."""
    if dtype == np.float16:
        b = integers.astype(np.int16)
        return np.where(b < 0, b ^ np.int16(0x7FFF), b).astype(np.int16).view(np.float16)
    b = integers.astype(np.int32)
    return np.where(b < 0, b ^ np.int32(0x7FFFFFFF), b).view(np.float32).astype(dtype)


def find_lattice(sample: np.ndarray) -> tuple[float, float] | None:
    """Origin and pitch of the lattice that the finite floats ``sample`` seem to lie on, or None."""
    values = np.unique(sample.astype(np.float64))
    if values.size < 2:
        return None
    if (values == np.rint(values)).all() and np.abs(values).max() < 1 << 30:
        return float(np.rint((values[0] + values[-1]) / 2)), 1.0
    if values.size > 1 << 14 or values.size * 4 > sample.size:
        return None
    gaps = np.diff(values)
    pitch = float(gaps[gaps > 1e-6 * (values[-1] - values[0])].min(initial=np.inf))
    for _ in range(3):
        if not np.isfinite(pitch) or pitch <= 0:
            return None
        k = np.rint((values - values[0]) / pitch)
        if k[-1] > 1 << 20:
            return None
        pitch = float((k * (values - values[0])).sum() / (k * k).sum())
    if np.abs(values - values[0] - pitch * k).max() > 0.02 * pitch:
        return None
    return float(values[0]), pitch

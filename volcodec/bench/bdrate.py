"""BD-rate: by how many percent one codec needs more or fewer bits than another at equal quality.

After Bjøntegaard (VCEG-M33, 2001), with the piecewise cubic of Fritsch and Carlson (PCHIP) that
later test conditions use: the logarithm of the rate is interpolated as a function of quality and
the difference of the two curves is averaged over a stated range of quality. -20 % means a fifth
fewer bits at the same quality.

Two qualities are used here: PSNR in dB over 35..65, and -log10(maximum error / range) over 2..4.

What a curve says where it was not measured:

- Above its best point, a curve that ends in a lossless point (infinite quality) stays at the
  lossless rate for ever; a curve that just ends says nothing.
- Below its worst point a curve says nothing: whoever measures it goes down far enough or accepts
  that the codec can't go lower.
- Only qualities at which both curves say something are compared. `coverage` is their share of the
  stated range; where it is under MIN_COVERAGE there is no BD-rate (NaN).
- A point that is no better than one of less rate is dropped. Points of equal rate are kept: a codec
  may well write the same bytes for many targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

PSNR_RANGE = (35.0, 65.0)
ERROR_RANGE = (2.0, 4.0)
MIN_COVERAGE = 0.1
GRID = 4001
# Two rates on either side of a jump stand this far apart in quality.
JUMP = 1e-9


def error_quality(relative_error: float) -> float:
    """-log10 of a maximum error relative to the range; infinite for 0."""
    return -math.log10(relative_error) if relative_error > 0 else math.inf


class RateCurve:
    """Rate as a function of quality through measured points."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        """Points are (rate, quality); rates positive in any one unit, quality maybe infinite."""
        best_first = sorted(points, key=lambda point: (-point[1], point[0]))
        kept: list[tuple[float, float]] = []
        for rate, quality in best_first:
            if not (rate > 0 and math.isfinite(rate)) or math.isnan(quality):
                raise ValueError(f"not a point of a curve: rate {rate}, quality {quality}")
            if not kept or (rate <= kept[-1][0] and quality < kept[-1][1]):
                kept.append((rate, quality))
        kept.reverse()
        self.lossless_rate = kept.pop()[0] if kept and math.isinf(kept[-1][1]) else None
        self.rates = np.array([rate for rate, _ in kept], dtype=np.float64)
        self.qualities = np.array([quality for _, quality in kept], dtype=np.float64)

    def _interpolated(self, at: FloatArray) -> FloatArray:
        """The logarithm of the rate between the first and the last quality; NaN elsewhere."""
        if len(self.rates) == 1:
            return np.where(at == self.qualities[0], np.log(self.rates[0]), np.nan)
        from scipy.interpolate import PchipInterpolator

        found: FloatArray = PchipInterpolator(
            self.qualities, np.log(self.rates), extrapolate=False
        )(at)
        return found

    def log_rate(self, at: FloatArray) -> FloatArray:
        """Natural logarithm of the rate at each quality; NaN where the curve says nothing."""
        if len(self.rates) == 0:
            lossless = math.nan if self.lossless_rate is None else math.log(self.lossless_rate)
            return np.full(at.shape, lossless)
        out = self._interpolated(at)
        if self.lossless_rate is not None:
            out[at > self.qualities[-1]] = math.log(self.lossless_rate)
        return out


def staircase(points: Iterable[tuple[float, float]], value_range: float) -> RateCurve:
    """Curve over -log10(error / range) of a codec whose output is integers.

    Points are (rate, error in units of the data). Every bound from k up to k + 1 units asks for the
    same, so a rate measured within that interval holds at both ends of it.
    """
    ends: list[tuple[float, float]] = []
    for rate, error in points:
        units = math.floor(error + 1e-6)
        ends.append((rate, error_quality(units / value_range)))
        ends.append((rate, error_quality((units + 1) / value_range) + JUMP))
    return RateCurve(ends)


@dataclass(frozen=True)
class BDRate:
    """percent: mean change of the rate, negative where the tested codec needs fewer bits.

    low, high: the qualities compared; coverage: their share of the stated range.
    """

    percent: float
    low: float
    high: float
    coverage: float


def bd_rate(
    tested: RateCurve,
    anchors: RateCurve | Sequence[RateCurve],
    quality_range: tuple[float, float],
) -> BDRate:
    """BD-rate of `tested` to `anchors` over a range of quality.

    Of several anchors the one of least rate counts, at each quality anew.
    """
    if isinstance(anchors, RateCurve):
        anchors = [anchors]
    low, high = quality_range
    at = np.linspace(low, high, GRID)
    rates = [anchor.log_rate(at) for anchor in anchors]
    anchor = np.fmin.reduce(rates)  # fmin passes over NaN: where one anchor is silent, the other
    difference = tested.log_rate(at) - anchor
    both = np.isfinite(difference)
    coverage = float(both.mean())
    if coverage < MIN_COVERAGE:
        return BDRate(math.nan, math.nan, math.nan, coverage)
    compared = at[both]
    percent = 100 * math.expm1(float(difference[both].mean()))
    return BDRate(percent, float(compared[0]), float(compared[-1]), coverage)

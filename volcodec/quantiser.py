"""Quantisation of subbands: integer steps, rate-distortion optimised decisions, reconstruction.

Steps are integers in the fixed-point unit of the tile (the step of the file / 2**FRACTION), each
band's divided by the L2 norm of its synthesis function, so that one step of any band costs the
same mean square error.
"""

from __future__ import annotations

import numba
import numpy as np

from .entropy.expectation import BITS, whole_of
from .entropy.tables import COST_BITS, token_of
from .kernel import kernel
from .nearest import nearest
from .transform.pyramid import FRACTION

GAIN_BITS = 16
RECONSTRUCTION_BITS = 8
REST_SHARE = 0.75  # of the rest of an expectation that a zero is thought to decode to


def band_step(gains: np.ndarray, shape: tuple[int, int, int], level: int, band: int) -> int:
    """The step of ``band`` at ``level`` (1 = finest) of a tile of ``shape``, in units.

    ``gains`` (int, (2, levels)) are the L2 norms of the 1-D synthesis functions of the low and the
    high band per level, times 2**GAIN_BITS. An axis that is down to one sample is split no more.
    """
    product = 1
    for axis, n in enumerate(shape):
        depth = min(level, max(n - 1, 0).bit_length())
        high = bool(band >> (2 - axis) & 1)
        if depth == 0:
            product <<= GAIN_BITS
        else:
            product *= int(gains[1 if high else 0, depth - 1])
    numerator = 1 << (FRACTION + 3 * GAIN_BITS)
    return max(1, (numerator + product // 2) // product)


@kernel()
def decide(
    band: np.ndarray,
    step: int,
    expected: np.ndarray,
    tables: np.ndarray,
    cost: np.ndarray,
    sign_cost: np.ndarray,
    lam: float,
    out: np.ndarray,
) -> None:
    """Symbols for the coefficients ``band`` (int32, (z, y, x), any strides) in raster order.

    A symbol counts from the whole part of what is ``expected`` (see entropy.expectation). Of the
    nearest multiple of ``step`` and the next ones towards the expected one, the symbol that
    minimises squared error / step**2 + ``lam`` * bits (rate-distortion optimised quantisation);
    every bit is kept where ``lam`` is negative.
    """
    nz, ny, nx = band.shape
    inverse = 1.0 / step
    if lam <= 0:
        nearest(band, inverse, lam < 0, expected, out)
        return
    lam /= 1 << COST_BITS
    i = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                e = np.int64(expected[i])
                whole = whole_of(e)
                u = np.int64(band[z, y, x]) * inverse - whole
                r = abs(u)
                q = np.int64(r + 0.5)
                if q > 0:
                    rest = e - (whole << BITS)
                    sign1 = sign2 = np.int64(0)
                    zero = r
                    if rest != 0:
                        agrees = (rest > 0) == (u > 0)
                        side = 0 if agrees else 1
                        sign1 = np.int64(sign_cost[0, tables[i], abs(rest), side])
                        sign2 = np.int64(sign_cost[1, tables[i], abs(rest), side])
                        shift = abs(rest) * (REST_SHARE / (1 << BITS))
                        zero = r - shift if agrees else r + shift
                    prices = cost[tables[i]]
                    best = q
                    d = r - q
                    best_cost = d * d + lam * (prices[token_of(q)] + (sign1 if q == 1 else sign2))
                    lower = q - 1
                    if lower > 0:
                        d = r - lower
                        sign = sign1 if lower == 1 else sign2
                        j = d * d + lam * (prices[token_of(lower)] + sign)
                        if j < best_cost:
                            best = lower
                            best_cost = j
                    if lower <= 1:
                        j = zero * zero + lam * prices[0]
                        if j < best_cost:
                            best = np.int64(0)
                    q = best
                out[i] = np.int32(q if u >= 0 else -q)
                i += 1


@kernel()
def centroids(
    coefs: np.ndarray,
    q: np.ndarray,
    expected: np.ndarray,
    halved: int,
    step: int,
    sums: np.ndarray,
) -> None:
    """Add to ``sums`` where coefficients lie beside their symbols, in steps.

    ``sums`` (float64, 6): how far below the magnitude 1, and how many; the same for the larger
    ones; for zero, rest of the expectation times coefficient, and rest squared. In halves of a
    step (``halved`` is 1) the magnitudes 1 and 2 are the smaller ones.
    ``expected``: of the band's shape, or empty for nothing expected.
    """
    nz, ny, nx = q.shape
    inverse = 1.0 / step
    expects = expected.size > 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                whole = np.int64(0)
                rest = np.int64(0)
                if expects:
                    whole = whole_of(np.int64(expected[z, y, x]))
                    rest = expected[z, y, x] - (whole << BITS)
                s = np.int64(q[z, y, x]) - (whole << halved)
                if s != 0:
                    u = coefs[z, y, x] * inverse - whole
                    if s < 0:
                        s = -s
                        u = -u
                    k = 0 if s <= 1 + halved else 2
                    sums[k] += s / (1 + halved) - u
                    sums[k + 1] += 1
                elif rest != 0:
                    share = rest / (1 << BITS)
                    sums[4] += share * (coefs[z, y, x] * inverse - whole)
                    sums[5] += share * share


@numba.njit(cache=True, nogil=True)
def activity(coefs: np.ndarray, step: int) -> float:
    """Sum of log2(1 + (|c| / step)**2) / 2 over a band."""
    total = 0.0
    inverse = 1.0 / step
    for z in range(coefs.shape[0]):
        for y in range(coefs.shape[1]):
            product = 1.0
            for x in range(coefs.shape[2]):
                r = coefs[z, y, x] * inverse
                product *= 1.0 + r * r
                if product > 1e200:
                    total += np.log2(product)
                    product = 1.0
            total += np.log2(product)
    return total / 2


OCTAVES = 40  # of a spectrum, the first begins at 2**-8 steps
_PER_OCTAVE = 8
_FIRST = -8
# mean square error, in steps, of coefficients that are not rounded to zero: alone, by a trellis
_REST = (0.087, 0.067)


@numba.njit(cache=True, nogil=True)
def add_spectrum(coefs: np.ndarray, step: int, spectrum: np.ndarray) -> None:
    """Add a band to ``spectrum`` (float64, (2, OCTAVES * 8)): counts and squares by magnitude."""
    inverse = 1.0 / step
    last = spectrum.shape[1] - 1
    for z in range(coefs.shape[0]):
        for y in range(coefs.shape[1]):
            for x in range(coefs.shape[2]):
                r = abs(np.float64(coefs[z, y, x])) * inverse
                if r > 0:
                    bin_ = int((np.log2(r) - _FIRST) * _PER_OCTAVE)
                    bin_ = min(max(bin_, 0), last)
                    spectrum[0, bin_] += 1
                    spectrum[1, bin_] += r * r


def expected_square(spectrum: np.ndarray, step: float, lam: float, halved: int = 0) -> float:
    """Sum of squared errors, in steps of the spectrum, of quantisation by ``step`` of them.

    Fitted to what decisions do with a trained model: within a decibel, mostly a half. ``halved``: 1
    where a trellis decides.
    """
    middles = 2.0 ** (_FIRST + (np.arange(spectrum.shape[1]) + 0.5) / _PER_OCTAVE)
    count = max(float(spectrum[0].sum()), 1.0)
    share = np.clip(spectrum[0, middles > 0.6 * step].sum() / count, 1e-6, 0.9)
    bits = 1.5 + 0.5 * np.log2((1 - share) / share)  # what the first step off zero costs
    dead = middles < (1 + lam * bits) / 2 * step
    return float(spectrum[1, dead].sum() + _REST[halved] * step * step * spectrum[0, ~dead].sum())

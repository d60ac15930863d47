"""Learns the lifting of the lossy bank: which wavelet of a family codes the crops smallest.

The family has four lifting steps of two neighbours each, as CDF 9/7 has, and two free
coefficients: the other two follow, so that constants leave nothing in the high band and
alternating samples nothing in the low one. It reaches from 9/7, which suits smooth volumes, to
5/3, which suits thin structures and sharp fronts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from ..entropy.tables import TOKENS, token_of
from ..parallel import ordered_map
from ..quantiser import band_step
from ..transform.layers import dequantise
from ..transform.pyramid import BAND_ORDER, CDF97, FRACTION, SHIFT, Pyramid, band_view
from .samples import fixed_gains

_LEVELS = 4
_STEPS = (2.0**-4.5, 2.0**-6.5, 2.0**-8.5)  # of the range
_DEAD = 0.40
_FIRST = (-1.4, -1.2, -1.0, -0.8)
_SECOND = (-0.08, -0.053, -0.03)
_LEAST_GAIN = 0.005  # of the bits, to leave the wavelet that is there
_CONTEXTS = 48


def member(first: float, second: float) -> np.ndarray:
    """The member of the family with these coefficients, int64 over 2**SHIFT.

    Of the integers nearby, those that leave least of a constant in the high band.
    """
    one = float(1 << SHIFT)
    best, least = CDF97, np.inf
    for a in range(round(first * one) - 3, round(first * one) + 4):
        for b in range(round(second * one) - 3, round(second * one) + 4):
            odd = 1 + 2 * a / one
            even = 1 + 2 * b / one * odd
            c = round(-odd / (2 * even) * one)
            left = abs(odd + 2 * c / one * even)
            if left < least:
                # the last step: samples that alternate (even 1, odd -1) vanish from the low band
                high = -1 + 2 * a / one
                low = 1 + 2 * b / one * high
                d = round(-low / (2 * (high + 2 * c / one * low)) * one)
                best, least = np.array([a, b, c, d], dtype=np.int64), left
    return best


@numba.njit(cache=True, nogil=True)
def _quantised(coefs: np.ndarray, step: int, q: np.ndarray, hist: np.ndarray) -> None:
    """Symbols ``q`` of a band; adds their tokens to ``hist`` by the size of their neighbours."""
    inverse = 1.0 / step
    nz, ny, nx = coefs.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                r = coefs[z, y, x] * inverse
                k = np.int64(abs(r) + _DEAD)
                q[z, y, x] = k if r > 0 else -k
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                near = 0
                for a in range(max(z - 1, 0), min(z + 2, nz)):
                    for b in range(max(y - 1, 0), min(y + 2, ny)):
                        for c in range(max(x - 1, 0), min(x + 2, nx)):
                            near += min(abs(q[a, b, c]), 4095)
                k = abs(q[z, y, x])
                near -= min(k, 4095)
                hist[min(int(4 * np.log2(1.0 + near)), _CONTEXTS - 1), token_of(k)] += 1


def _coded(tile: np.ndarray, pyramid: Pyramid, gains: np.ndarray) -> tuple[float, float]:
    """Bits a simple context coder needs for ``tile`` (int32), and its mean square error."""
    shape: tuple[int, int, int] = tile.shape  # type: ignore[assignment]
    arrays = pyramid.analysis(tile, _LEVELS)
    bits = 0.0
    decoded = []
    for level in range(_LEVELS, 0, -1):
        target = np.zeros_like(arrays[level - 1])
        for band in BAND_ORDER:
            coefs = band_view(arrays[level - 1], band)
            if coefs.size == 0:
                continue
            step = band_step(gains, shape, level, band)
            q = np.zeros(coefs.shape, np.int32)
            hist = np.zeros((_CONTEXTS, TOKENS))
            _quantised(coefs, step, q, hist)
            dequantise(q, 0, step, step // 20, step // 20, band_view(target, band))
            share = hist / np.maximum(hist.sum(1, keepdims=True), 1)
            bits -= float((hist * np.log2(np.maximum(share, 1e-12))).sum())
            bits += float(np.count_nonzero(q)) + 0.5 * float((hist > 0).sum())
        decoded.append(target)
    found = pyramid.synthesis(arrays[_LEVELS].copy(), decoded)
    error = found.astype(np.float64) - tile
    return max(bits, 1.0), max(float(np.mean(error * error)), 1e-3)


def _curve(crop: np.ndarray, coefs: np.ndarray) -> np.ndarray:
    """log(bits) and log(error) of a crop at each step, (steps, 2)."""
    pyramid = Pyramid(coefs)
    gains = fixed_gains(pyramid, _LEVELS)
    low, high = float(crop.min()), float(crop.max())
    out = []
    for share in _STEPS:
        scale = (1 << FRACTION) / (share * (high - low))
        tile = np.rint((crop.astype(np.float64) - low) * scale).astype(np.int32)
        bits, error = _coded(tile, pyramid, gains)
        out.append((np.log(bits), np.log(error / scale**2)))
    return np.array(out)


def _change(curve: np.ndarray, base: np.ndarray) -> float:
    """Mean change of log(bits) at equal error, to first order."""
    slope = np.gradient(base[:, 0]) / np.minimum(np.gradient(base[:, 1]), -1e-3)
    moved = curve[:, 0] - base[:, 0] - np.clip(slope, -2, 0) * (curve[:, 1] - base[:, 1])
    return float(moved.mean())


def learn(crops: Sequence[np.ndarray], start: np.ndarray) -> tuple[np.ndarray, float]:
    """The member of the family that codes ``crops`` smallest, and the share of bits it saves.

    That is ``start`` (int64 over 2**SHIFT), with 0, unless another is better by half a percent.
    Crops are arrays (Z, Y, X) of any dtype that are not constant.
    """
    members = [member(a, b) for a in _FIRST for b in _SECOND]
    if not np.array_equal(start, CDF97):
        members.append(CDF97)

    def work(crop: np.ndarray) -> list[float]:
        base = _curve(crop, start)
        return [_change(_curve(crop, m), base) for m in members]

    changes = np.mean(list(ordered_map(work, crops, None)), axis=0)
    best = int(np.argmin(changes))
    saved = 1 - float(np.exp(changes[best]))
    return (members[best], saved) if saved > _LEAST_GAIN else (start, 0.0)

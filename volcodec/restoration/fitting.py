"""The filter that pays for itself: least squares by class, classes and weights by their bits.

Wiener filters by class of activity, as video codecs have them (Tsai et al., "Adaptive Loop Filtering
for Video Coding", 2013; Karczewicz et al., "VVC In-Loop Filters", 2021), here for three
dimensions: the encoder sums the moments of what it sees of the decoded voxels and of their errors
in narrow classes, merges neighbouring ones, and rounds weights, so that bits and the squared error
in the units of bits are least.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from ..kernel import kernel
from . import taps
from .filters import FINEST, LARGEST, SHIFT, Filter
from .taps import BINS, FEATURES

_WIDTH: Final = 20  # of moments: features, the error, padding
_ERROR: Final = FEATURES
_SAMPLES: Final = 1 << 18  # voxels, about, that a filter is fitted to
_LEAST: Final = 100.0  # bits that the error must be worth for a filter to be tried
_FEW: Final = 40  # samples below which a bin joins the next
_NEW_CLASS: Final = 8.0  # bits
_SWEEPS: Final = 3


def fit(
    original: np.ndarray, decoded: np.ndarray, hidden: np.ndarray, worth: float
) -> Filter | None:
    """The filter that brings ``decoded`` near ``original`` (both int32, (Z, Y, X)).

    ``hidden`` voxels (bool) do not count; ``worth``: the squared error that is worth a bit. None
    where no filter is worth its bits.
    """
    p = taps.padded(decoded)
    bins = taps.activity(p)
    rows = decoded.shape[0] * decoded.shape[1]
    every = max(1, min(rows, decoded.size // _SAMPLES))
    moments = np.zeros((BINS, _WIDTH, _WIDTH))
    counts = np.zeros(BINS, np.int64)
    room = np.zeros((FEATURES, decoded.shape[2]), np.int32)
    _sum(p, bins, original, hidden, every, room, np.zeros(_WIDTH), moments, counts)
    moments *= every / worth
    if moments[:, _ERROR, _ERROR].sum() < _LEAST:
        return None
    firsts, sums = _merged(moments, counts)
    return _best(firsts, sums)


@kernel
def _sum(
    p: np.ndarray, bins: np.ndarray, original: np.ndarray, hidden: np.ndarray, every: int,
    rows: np.ndarray, f: np.ndarray, moments: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """Add the moments of every so many rows' voxels, by bin."""
    nz, ny, nx = original.shape
    for row in range(every // 2, nz * ny, every):
        z, y = row // ny, row % ny
        classes, centre = bins[z, y], p[z + 3, y + 3]
        most = np.int32(0)
        for x in range(nx):
            most = max(most, classes[x])
        if most == 0:
            continue
        taps.features(p, z, y, rows)
        for x in range(nx):
            b = classes[x]
            if b == 0 or hidden[z, y, x]:
                continue
            counts[b] += 1
            for k in range(FEATURES):
                f[k] = np.float64(rows[k, x])
            f[_ERROR] = np.float64(original[z, y, x]) - np.float64(centre[x + 3])
            into = moments[b]
            for j in range(_ERROR + 1):
                fj = f[j]
                for k in range(_WIDTH):
                    into[j, k] += fj * f[k]


def _merged(moments: np.ndarray, counts: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Bins that hold anything, those of few voxels merged with the next: first bins, moments."""
    firsts: list[int] = []
    sums: list[np.ndarray] = []
    held = 0
    for b in np.flatnonzero(counts):
        if sums and (held < _FEW or counts[b:].sum() < _FEW):
            sums[-1] = sums[-1] + moments[b]
            held += int(counts[b])
        else:
            firsts.append(int(b))
            sums.append(moments[b])
            held = int(counts[b])
    return firsts, np.array(sums)


def _best(firsts: list[int], sums: np.ndarray) -> Filter | None:
    """The classes, of neighbouring bins, that cost least bits, with their weights."""
    n = len(firsts)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n + 1)]
    totals = np.concatenate([np.zeros((1, _WIDTH, _WIDTH)), np.cumsum(sums, axis=0)])
    spans = np.array([totals[j] - totals[i] for i, j in pairs])
    a = spans[:, :FEATURES, :FEATURES]
    b = spans[:, :FEATURES, _ERROR]
    ridge = 1e-5 * np.trace(a, axis1=1, axis2=2) / FEATURES + 1e-6
    solved = np.linalg.solve(a + ridge[:, None, None] * np.eye(FEATURES), b[..., None])[..., 0]
    costs: dict[tuple[int, int], tuple[float, int, Any]] = {}
    for pair, aa, bb, w in zip(pairs, a, b, solved, strict=True):
        found = (0.0, 0, np.zeros(FEATURES, np.int32))
        if np.isfinite(w).all():
            for e in range(FINEST + 1):
                whole = np.rint(np.clip(w * 2.0 ** (SHIFT - e), -(LARGEST >> e), LARGEST >> e))
                cost = _NEW_CLASS + _rounded(aa, bb, whole, 2.0 ** (e - SHIFT), LARGEST >> e)
                if cost < found[0]:
                    found = (cost, e, whole.astype(np.int32))
        costs[pair] = found
    best = [0.0] + [np.inf] * n
    back = [0] * (n + 1)
    for j in range(1, n + 1):
        for i in range(j):
            cost = best[i] + costs[i, j][0]
            if cost < best[j]:
                best[j], back[j] = cost, i
    if best[n] >= 0:
        return None
    chosen = []
    j = n
    while j > 0:
        chosen.append((firsts[back[j]], *costs[back[j], j][1:]))
        j = back[j]
    chosen.reverse()
    while chosen and not chosen[0][2].any():
        chosen.pop(0)
    starts, scales, weights = zip(*chosen, strict=True)
    return Filter(starts, scales, np.array(weights))


@numba.njit(cache=True, nogil=True)
def _bits(w: float) -> float:
    """What a weight costs, about."""
    return 0.8 if w == 0 else 2.7 + 1.6 * np.log2(abs(w))


@numba.njit(cache=True, nogil=True)
def _rounded(a: np.ndarray, b: np.ndarray, w: np.ndarray, unit: float, largest: int) -> float:
    """Change whole weights ``w``, one after the other, to what costs least; the whole cost."""
    n = w.size
    for _ in range(_SWEEPS):
        moved = False
        for k in range(n):
            others = -a[k, k] * w[k]
            for i in range(n):
                others += a[k, i] * w[i]
            slope = b[k] - others * unit  # what is left for this weight to explain
            best, least = w[k], np.inf
            for choice in range(4):
                v = w[k] + choice - 1 if choice < 3 else 0.0
                if abs(v) > largest:
                    continue
                cost = v * unit * (v * unit * a[k, k] - 2 * slope) + _bits(v)
                if cost < least:
                    best, least = v, cost
            if best != w[k]:
                w[k] = best
                moved = True
        if not moved:
            break
    total = 0.0
    for k in range(n):
        row = 0.0
        for i in range(n):
            row += a[k, i] * w[i]
        total += w[k] * unit * (row * unit - 2 * b[k]) + _bits(w[k])
    return total

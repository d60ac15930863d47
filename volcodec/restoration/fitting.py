"""The filter that pays for itself: least squares by class, classes and weights by their bits.

Wiener filters by class of activity, as video codecs have them (Tsai et al., "Adaptive Loop
Filtering for Video Coding", 2013; Karczewicz et al., "VVC In-Loop Filters", 2021), here for three
dimensions: the encoder sums the moments of what it sees of the decoded voxels and of their errors
in narrow classes, merges neighbouring ones, and rounds weights, so that bits and the squared error
in the units of bits are least. All of it is sums in a fixed order, the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from ..kernel import kernel
from .activity import Seen
from .filters import FINEST, LARGEST, Filter, Pass
from .moments import ERROR, WIDTH, moments
from .taps import FEATURES, SHIFT, SHORT

_LEAST: Final = 100.0  # bits that the error must be worth for a filter to be tried
_SMALL: Final = 32  # weights up to which the short form is tried, too
_FEW: Final = 40  # samples below which a bin joins the next
_NEW_CLASS: Final = 8.0  # bits
_SWEEPS: Final = 3
_BITS: Final = np.array([0.8] + [2.7 + 1.6 * math.log2(m) for m in range(1, LARGEST + 1)])
"""What a weight costs, about, by its magnitude."""


def fit(
    original: np.ndarray, decoded: np.ndarray, hidden: np.ndarray, worth: float, passes: int
) -> tuple[Filter, np.ndarray] | None:
    """The filter that brings ``decoded`` near ``original`` (both int32, (Z, Y, X)), and how near.

    Of so many ``passes`` at most. ``hidden`` voxels (bool) do not count; ``worth``: the squared
    error that is worth a bit. None where no filter is worth its bits.
    """
    made, spent = Filter(()), 0  # and its bits
    left = _square(original, decoded, hidden)
    for _ in range(passes):
        seen = Seen.of(decoded)
        best: tuple[float, Filter, int, np.ndarray, float] | None = None
        for found in _fits(original, seen, hidden, worth, small=spent == 0):
            more, restored = Filter((*made.passes, found)), found.apply(seen)
            bits, square = 8 * len(more.pack()), _square(original, restored, hidden)
            # of the whole tile, what a pass is fitted to being a part of it
            gain = (left - square) / worth - (bits - spent)
            if bits and gain > (best[0] if best else 0.0):
                best = gain, more, bits, restored, square
        if best is None:
            break
        _, made, spent, decoded, left = best
    return (made, decoded) if made.passes else None


@kernel
def _square(original: np.ndarray, decoded: np.ndarray, hidden: np.ndarray) -> float:
    """The sum of squared errors."""
    total = 0.0
    for z in range(original.shape[0]):
        for y in range(original.shape[1]):
            one, two, covered = original[z, y], decoded[z, y], hidden[z, y]
            for x in range(one.size):
                off = 0.0 if covered[x] else np.float64(one[x]) - np.float64(two[x])
                total += off * off
    return total


def _fits(
    original: np.ndarray, seen: Seen, hidden: np.ndarray, worth: float, small: bool
) -> Iterator[Pass]:
    """What may be the next pass, that brings what is ``seen`` near ``original``.

    One of few weights, if ``small``, is followed by one for the short form.
    """
    products, counts = moments(original, seen, hidden)
    products /= worth
    if products[:, ERROR, ERROR].sum() < _LEAST:
        return
    firsts, sums = _merged(products, counts)
    found = _best(firsts, sums)
    if found is None:
        return
    yield found
    if small and np.count_nonzero(found.weights) <= _SMALL:
        sums[:, SHORT:FEATURES] = sums[:, :, SHORT:FEATURES] = 0
        found = _best(firsts, sums)
        if found is not None:
            yield found


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


def _best(firsts: list[int], sums: np.ndarray) -> Pass | None:
    """The classes, of neighbouring bins, that cost least bits, with their weights."""
    n = len(firsts)
    costs, scales = np.zeros((n, n)), np.zeros((n, n), np.int64)
    weights = np.zeros((n, n, FEATURES))
    _spans(sums, np.zeros((3, WIDTH, WIDTH)), costs, scales, weights)
    best = [0.0] + [np.inf] * n
    back = [0] * (n + 1)
    for j in range(n):
        for i in range(j + 1):
            cost = best[i] + costs[i, j]
            if cost < best[j + 1]:
                best[j + 1], back[j + 1] = cost, i
    if best[n] >= 0:
        return None
    chosen: list[tuple[int, int]] = []
    j = n
    while j > 0:
        chosen.append((back[j], j - 1))
        j = back[j]
    chosen.reverse()
    while not weights[chosen[0]].any():
        chosen.pop(0)
    return Pass(
        tuple(firsts[i] for i, _ in chosen),
        tuple(int(scales[span]) for span in chosen),
        np.array([weights[span] for span in chosen]).astype(np.int32),
    )


@kernel
def _spans(
    sums: np.ndarray, room: np.ndarray, costs: np.ndarray, scales: np.ndarray, weights: np.ndarray
) -> None:
    """Bits of the classes from i to j, of ``sums``, and the scales and weights for them.

    Where no weights are worth theirs, all of these are left zero.
    """
    a, scratch, rows = room
    exact, whole, left = rows[:3]
    for i in range(costs.shape[0]):
        a[:] = 0
        for j in range(i, costs.shape[0]):
            for k in range(WIDTH):
                for m in range(WIDTH):
                    a[k, m] += sums[j, k, m]
            _solve(a, scratch, exact)
            for e in range(FINEST + 1):
                cost = _NEW_CLASS + _rounded(a, exact, e, whole, left)
                if cost < costs[i, j]:
                    costs[i, j], scales[i, j] = cost, e
                    for k in range(FEATURES):
                        weights[i, j, k] = whole[k]


@kernel
def _solve(a: np.ndarray, m: np.ndarray, w: np.ndarray) -> None:
    """The weights of least squares, by elimination: ``a`` is symmetric, its errors a column."""
    trace = 0.0
    for k in range(FEATURES):
        trace += a[k, k]
        for i in range(WIDTH):
            m[k, i] = a[k, i]
    for k in range(FEATURES):
        m[k, k] += 1e-5 * trace / FEATURES + 1e-6
    for k in range(FEATURES):
        for i in range(k + 1, FEATURES):
            share = m[k, i] / m[k, k]
            for j in range(i, ERROR + 1):
                m[i, j] -= share * m[k, j]
    for k in range(FEATURES - 1, -1, -1):
        w[k] = m[k, ERROR]
        for i in range(k + 1, FEATURES):
            w[k] -= m[k, i] * w[i]
        w[k] /= m[k, k]
        if not np.isfinite(w[k]):
            w[k] = 0.0


@kernel
def _rounded(a: np.ndarray, exact: np.ndarray, e: int, w: np.ndarray, left: np.ndarray) -> float:
    """Whole weights ``w``, in multiples of 2**(e - SHIFT), that cost little; the whole cost.

    The ``exact`` ones are rounded, then changed, one after the other, to what costs least; ``left``
    is what is left of the errors' column.
    """
    unit = 2.0 ** (e - SHIFT)
    largest = LARGEST >> e
    for k in range(FEATURES):
        w[k] = np.rint(min(max(exact[k] / unit, -largest), largest))
        left[k] = a[k, ERROR]
    for k in range(FEATURES):
        for i in range(FEATURES):
            left[i] -= a[k, i] * (w[k] * unit)
    for _ in range(_SWEEPS):
        moved = False
        for k in range(FEATURES):
            slope = left[k] + a[k, k] * (w[k] * unit)  # what is left for this weight to explain
            best, least = w[k], np.inf
            for choice in range(4):
                v = w[k] + choice - 1 if choice < 3 else 0.0
                if abs(v) > largest:
                    continue
                cost = v * unit * (v * unit * a[k, k] - 2 * slope) + _BITS[int(abs(v))]
                if cost < least:
                    best, least = v, cost
            if best != w[k]:
                for i in range(FEATURES):
                    left[i] -= a[k, i] * ((best - w[k]) * unit)
                w[k] = best
                moved = True
        if not moved:
            break
    total = 0.0
    for k in range(FEATURES):
        total += _BITS[int(abs(w[k]))] - w[k] * unit * (a[k, ERROR] + left[k])
    return total

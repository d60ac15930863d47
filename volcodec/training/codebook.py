"""The codebook of a bank: weights of expectations that suit many bands, by clustering."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..entropy.expectation import COUNT
from ..entropy.weights import Moments

SIZE = 15  # sets of weights of a band
_ROUNDS = 12


def cluster(bands: Sequence[tuple[int, Moments]], rng: np.random.Generator) -> np.ndarray:
    """Weights (int8, (7, SIZE, 28)) from the moments of many bands, each with its number (1 to 7).

    Lloyd's algorithm: each band of a volume takes the set that saves it most bits, each set is
    fitted to the bands that took it, all of which count by their symbols.
    """
    out = np.zeros((7, SIZE, COUNT), np.int8)
    for band in range(1, 8):
        mine = [m for b, m in bands if b == band and m.busy.sum() > 0]
        if mine:
            out[band - 1] = _cluster(mine, rng)
    return out


def _cluster(bands: list[Moments], rng: np.random.Generator) -> np.ndarray:
    chosen = rng.choice(len(bands), SIZE, replace=len(bands) < SIZE)
    sets = np.stack([bands[i].fitted() for i in chosen])
    for _ in range(_ROUNDS):
        saved = np.array([m.saved(sets) for m in bands])
        taken = saved.argmax(axis=1)
        for i in range(SIZE):
            members = [m for m, t, s in zip(bands, taken, saved.max(axis=1), strict=True)
                       if t == i and s > 0]  # fmt: skip
            if members:
                sets[i] = _together(members).fitted()
    return sets


def _together(bands: list[Moments]) -> Moments:
    """The sum of moments, each class scaled so that a share of it counts by its busy symbols."""
    scales = [m.busy / np.maximum(m.own, 1e-9) for m in bands]
    weighted = list(zip(scales, bands, strict=True))
    return Moments(
        sum((s[:, None, None] * m.between for s, m in weighted), np.zeros((8, 8, 8))),
        sum((s[:, None] * m.across for s, m in weighted), np.zeros((8, 8))),
        sum((s * m.own for s, m in weighted), np.zeros(8)),
        sum((m.busy for m in bands), np.zeros(8)),
        np.empty((0, 0, 0), np.int32),
        1,
    )

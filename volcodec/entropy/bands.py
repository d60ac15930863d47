"""Coding of one subband: eight parity classes in turn, each in the context of what is decoded.

For each class: features, table indices (learned network or classical rule), then the encoder
decides symbols or the decoder reads them, and they join what is decoded.
"""

from __future__ import annotations

import numba
import numpy as np

from ..quantiser import decide, scatter
from .classic import classify
from .contexts import FEATURES, FIXED, choose, features
from .rans import decode_run


@numba.njit(cache=True, nogil=True)
def class_size(shape: tuple[int, int, int], offset: np.ndarray) -> int:
    """Positions ``offset + 2 k`` of a band."""
    z = (shape[0] - offset[0] + 1) // 2
    y = (shape[1] - offset[1] + 1) // 2
    x = (shape[2] - offset[2] + 1) // 2
    return max(z, 0) * max(y, 0) * max(x, 0)


def class_ends(shape: tuple[int, ...], classes: np.ndarray) -> np.ndarray:
    """Ends of the runs of the eight classes in a band's symbols, int64 (8,)."""
    return np.cumsum([class_size(shape, off) for off in classes])


@numba.njit(cache=True, nogil=True)
def _lossless(band: np.ndarray, out: np.ndarray) -> None:
    i = 0
    for z in range(band.shape[0]):
        for y in range(band.shape[1]):
            for x in range(band.shape[2]):
                out[i] = band[z, y, x]
                i += 1


@numba.njit(cache=True, nogil=True)
def encode_band(
    coefs: np.ndarray,
    step: int,
    lam: float,
    mag: np.ndarray,
    faces: np.ndarray,
    parent_mag: np.ndarray,
    parent_faces: np.ndarray,
    hints: np.ndarray,
    band: int,
    before: np.ndarray,
    kind: int,
    classes: np.ndarray,
    log: np.ndarray,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    w3: np.ndarray,
    b3: np.ndarray,
    scales: np.ndarray,
    zero: np.ndarray,
    cost: np.ndarray,
    q: np.ndarray,
    symbols: np.ndarray,
    learned: np.ndarray,
    classic: np.ndarray,
) -> None:
    """Decide the symbols of a band, lossless where ``lam`` is negative.

    ``q`` (int32, the band's shape), ``symbols`` (int32), ``learned`` table indices and ``classic``
    contexts (uint8), in coding order, are written; ``mag`` is updated.
    """
    size = (coefs.shape[0] + 1) // 2 * ((coefs.shape[1] + 1) // 2) * ((coefs.shape[2] + 1) // 2)
    x = np.empty((FEATURES, size), np.uint8)
    where = np.empty(size, np.int32)
    used = FIXED + 2 * before.size
    has_parent = parent_mag.shape[1] > 2
    first = 0
    shape = (coefs.shape[0], coefs.shape[1], coefs.shape[2])
    for c in range(8):
        off = classes[c]
        n = class_size(shape, off)
        if n == 0:
            continue
        net = band * 8 + c
        t = learned[first : first + n]
        t[:] = zero[net, kind]
        k = classic[first : first + n]
        k[:] = 0
        offset = (off[0], off[1], off[2])
        count = features(
            mag,
            faces,
            parent_mag,
            parent_faces,
            hints,
            band,
            before,
            shape,
            offset,
            log,
            x,
            where,
        )
        choose(
            x, count, where, used, w1[net], b1[net, kind], w2[net], b2[net], w3[net], b3[net],
            scales, cost.shape[0] - 1, t,
        )  # fmt: skip
        classify(x, count, where, used, has_parent, k)
        s = symbols[first : first + n]
        part = coefs[off[0] :: 2, off[1] :: 2, off[2] :: 2]
        if lam < 0:
            _lossless(part, s)
        else:
            decide(part, step, t, cost, lam, s)
        scatter(s, mag[band], q, off[0], off[1], off[2])
        first += n


@numba.njit(cache=True, nogil=True)
def decode_band(
    words: np.ndarray,
    position: int,
    states: np.ndarray,
    lanes: int,
    skip: int,
    mapping: np.ndarray,
    use_network: bool,
    freq: np.ndarray,
    start: np.ndarray,
    slots: np.ndarray,
    mag: np.ndarray,
    faces: np.ndarray,
    parent_mag: np.ndarray,
    parent_faces: np.ndarray,
    hints: np.ndarray,
    band: int,
    before: np.ndarray,
    kind: int,
    classes: np.ndarray,
    log: np.ndarray,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    w3: np.ndarray,
    b3: np.ndarray,
    scales: np.ndarray,
    zero: np.ndarray,
    q: np.ndarray,
) -> int:
    """Decode a band into ``q`` (int32) and ``mag``; returns the next word position.

    ``mapping`` (uint8) turns a network's index or a classical context into a table; symbols whose
    table is below ``skip`` are zero and were not coded.
    """
    shape = (q.shape[0], q.shape[1], q.shape[2])
    size = (shape[0] + 1) // 2 * ((shape[1] + 1) // 2) * ((shape[2] + 1) // 2)
    x = np.empty((FEATURES, size), np.uint8)
    where = np.empty(size, np.int32)
    table = np.empty(size, np.uint8)
    coded = np.empty(size, np.int32)
    coded_table = np.empty(size, np.uint8)
    values = np.empty(size, np.int32)
    symbols = np.empty(size, np.int32)
    used = FIXED + 2 * before.size
    has_parent = parent_mag.shape[1] > 2
    for c in range(8):
        off = classes[c]
        n = class_size(shape, off)
        if n == 0:
            continue
        net = band * 8 + c
        t = table[:n]
        offset = (off[0], off[1], off[2])
        count = features(
            mag,
            faces,
            parent_mag,
            parent_faces,
            hints,
            band,
            before,
            shape,
            offset,
            log,
            x,
            where,
        )
        if use_network:
            t[:] = zero[net, kind]
            choose(
                x, count, where, used, w1[net], b1[net, kind], w2[net], b2[net], w3[net], b3[net],
                scales, mapping.size - 1, t,
            )  # fmt: skip
        else:
            t[:] = 0
            classify(x, count, where, used, has_parent, t)
        m = 0
        for i in range(n):
            k = mapping[t[i]]
            symbols[i] = 0
            if k >= skip:
                coded[m] = i
                coded_table[m] = k
                m += 1
        position = decode_run(
            words, position, states, lanes, coded_table[:m], freq, start, slots, values[:m]
        )
        for i in range(m):
            symbols[coded[i]] = values[i]
        scatter(symbols[:n], mag[band], q, off[0], off[1], off[2])
    return position

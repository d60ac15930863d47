"""Coding of one subband: eight parity classes in turn, each in the context of what is decoded.

For each class: features, table indices (learned network or classical rule), then the encoder
decides symbols or the decoder reads them, and they join what is decoded.
"""

from __future__ import annotations

import numba
import numpy as np

from .. import trellis
from ..kernel import kernel
from ..quantiser import decide
from .contexts import FIXED, GROUPS, LevelState, Networks, choose, features
from .expectation import BITS, whole_of
from .picks import LANES, list_coded, pick, spread, whole_mapping
from .places import place, rooms, scatter
from .rans import decode_run
from .rows import SLACK, amid_zeros
from .trellis import decode_run as decode_dependent
from .trellis import halves_of


@numba.njit(cache=True, nogil=True)
def class_size(shape: tuple[int, int, int], offset: np.ndarray) -> int:
    """Positions ``offset + 2 k`` of a band."""
    z = (shape[0] - offset[0] + 1) // 2
    y = (shape[1] - offset[1] + 1) // 2
    x = (shape[2] - offset[2] + 1) // 2
    return max(z, 0) * max(y, 0) * max(x, 0)


@numba.njit(cache=True, nogil=True)
def class_ends(shape: tuple[int, int, int], classes: np.ndarray) -> np.ndarray:
    """Ends of the runs of the eight classes in a band's symbols, int64 (8,)."""
    out = np.empty(8, np.int64)
    end = 0
    for c in range(8):
        end += class_size(shape, classes[c])
        out[c] = end
    return out


@kernel()
def _rests(expected: np.ndarray, out: np.ndarray) -> None:
    """What the whole parts of expectations leave, int8."""
    for i in range(expected.size):
        e = expected[i]
        out[i] = e - (whole_of(e) << BITS)


@kernel()
def _known(symbols: np.ndarray, down: np.ndarray, up: np.ndarray, known: np.ndarray) -> bool:
    """Where signs follow from what is possible; False where a symbol is not possible at all."""
    for i in range(symbols.size):
        s = np.int64(symbols[i])
        known[i] = 0
        if s != 0:
            m = -s if s < 0 else s
            if m > (down[i] if s < 0 else up[i]):
                return False
            known[i] = m > (up[i] if s < 0 else down[i])
    return True


@numba.njit(cache=True, nogil=True)
def encode_band(
    coefs: np.ndarray,
    step: int,
    lam: float,
    state: LevelState,
    parent: LevelState,
    hints: np.ndarray,
    band: int,
    before: np.ndarray,
    kind: int,
    classes: np.ndarray,
    network: Networks,
    zero: np.ndarray,
    cost: np.ndarray,
    sign_cost: np.ndarray,
    weights: np.ndarray,
    q: np.ndarray,
    expected: np.ndarray,
    symbols: np.ndarray,
    rests: np.ndarray,
    learned: np.ndarray,
    classic: np.ndarray,
    quantisers: np.ndarray,
    predicted: np.ndarray,
    limits: np.ndarray,
    known: np.ndarray,
    learns: bool,
) -> bool:
    """Decide the symbols of a band, lossless where ``lam`` is negative.

    By a trellis where ``quantisers`` is not empty: it takes the quantiser of each symbol (uint8),
    ``q`` is in halves of a step, and the tables are those of two quantisers.

    ``weights`` (int32, (8, 8)) make the expectations. Written are ``q`` (int32, the band's shape),
    ``expected`` (the same, or empty where it is not wanted), and in coding order ``symbols``
    (int32), ``rests`` (int8), ``learned`` table indices, if it ``learns``, and ``classic`` contexts
    (uint8, or empty where they are not wanted); magnitudes of the ``state`` are updated. ``rests``
    are zero when given.

    Where the band was ``predicted`` (int32, its shape, else empty) ``known`` (uint8) tells the
    symbols whose sign follows from the ``limits`` of the values; False is returned where one lies
    outside of these.
    """
    keeps = weights.any()
    kept = amid_zeros((coefs.shape[0], coefs.shape[1], coefs.shape[2]) if keeps else (0, 0, 0))
    size = (coefs.shape[0] + 1) // 2 * ((coefs.shape[1] + 1) // 2) * ((coefs.shape[2] + 1) // 2)
    room = size + SLACK if learns else 0
    x = np.empty((GROUPS, room), np.int32)
    where = np.empty(room, np.int32)
    used = FIXED + 2 * before.size
    told = np.empty(size + SLACK, np.int32) if keeps else np.zeros(size + SLACK, np.int32)
    halved = 1 if quantisers.size > 0 else 0
    tables = cost.shape[0] >> halved
    halves = np.empty(size if halved else 0, np.int32)
    down = np.empty(size if predicted.size > 0 else 0, np.int32)
    up = np.empty(down.size, np.int32)
    possible = predicted.size > 0
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
        k = classic[first : first + n] if classic.size > 0 else classic
        e = told[:n]
        if keeps and not weights[c].any():
            e[:] = 0
        offset = (off[0], off[1], off[2])
        count = features(
            state.mag,
            state.logs,
            state.beside,
            parent.mag,
            parent.logs,
            hints,
            band,
            before,
            shape,
            offset,
            kept,
            weights[c],
            halved,
            x,
            where,
            e,
            k,
        )
        if learns:
            choose(
                x, count, where, used, network.w1[net], network.b1[net, kind],
                network.w2[net], network.b2[net], network.w3[net], network.b3[net],
                network.narrow, tables - 1, t,
            )  # fmt: skip
        s = symbols[first : first + n]
        part = coefs[off[0] :: 2, off[1] :: 2, off[2] :: 2]
        if halved:
            turns = quantisers[first : first + n]
            trellis.decide(part, step, e, t, cost, sign_cost, lam, s, turns)
            for i in range(n):
                halves[i] = halves_of(s[i], turns[i])
            scatter(halves[:n], e, 1, state.mag[band], kept, keeps, q, off[0], off[1], off[2])
        else:
            decide(part, step, e, t, cost, sign_cost, lam, s)
            scatter(s, e, 0, state.mag[band], kept, keeps, q, off[0], off[1], off[2])
        if keeps:
            _rests(e, rests[first : first + n])
        if possible:
            rooms(predicted, limits, step, e, off[0], off[1], off[2], down, up)
            possible = _known(s, down, up, known[first : first + n])
        if expected.size > 0:
            place(e, expected, off[0], off[1], off[2])
        first += n
    return possible


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
    state: LevelState,
    parent: LevelState,
    hints: np.ndarray,
    band: int,
    before: np.ndarray,
    kind: int,
    classes: np.ndarray,
    network: Networks,
    zero: np.ndarray,
    signs: np.ndarray,
    weights: np.ndarray,
    halved: int,
    predicted: np.ndarray,
    limits: np.ndarray,
    step: int,
    q: np.ndarray,
    expected: np.ndarray,
) -> int:
    """Decode a band into ``q`` (int32) and the ``state``; returns the next word position.

    ``expected`` (int32, the band's shape) takes the expectations, unless it is empty.

    ``mapping`` (uint8) turns a network's index or a classical context into a table; symbols whose
    table is below ``skip`` are zero and were not coded. ``halved`` is 1 where symbols were decided
    by a trellis; ``q`` is then in halves of a step. Signs follow from ``limits`` where the band was
    ``predicted`` (else empty).
    """
    shape = (q.shape[0], q.shape[1], q.shape[2])
    size = (shape[0] + 1) // 2 * ((shape[1] + 1) // 2) * ((shape[2] + 1) // 2)
    room = size + SLACK if use_network else 0
    x = np.empty((GROUPS, room), np.int32)
    where = np.empty(room, np.int32)
    table = np.empty(size, np.uint8)
    coded = np.empty((size + LANES - 1) // LANES, np.uint16)
    coded_table = np.empty(size, np.uint8)
    values = np.empty(size, np.int32)
    symbols = np.empty(size, np.int32)
    limited = predicted.size > 0
    down = np.empty(size if limited else 0, np.int32)
    up = np.empty(down.size, np.int32)
    coded_down, coded_up = np.empty(down.size, np.int32), np.empty(down.size, np.int32)
    signed = use_network and weights.any()
    tables = whole_mapping(mapping)
    rests = np.empty(size, np.int8)
    coded_rests = np.empty(size if signed else 0, np.int8)
    coded_keys = np.empty(size if signed else 0, np.uint8)
    keeps = weights.any()
    kept = amid_zeros(shape if keeps else (0, 0, 0))
    told = np.empty(size + SLACK, np.int32) if keeps else np.zeros(size + SLACK, np.int32)
    used = FIXED + 2 * before.size
    for c in range(8):
        off = classes[c]
        n = class_size(shape, off)
        if n == 0:
            continue
        net = band * 8 + c
        t = table[:n]
        e = told[:n]
        if keeps and not weights[c].any():
            e[:] = 0
        offset = (off[0], off[1], off[2])
        count = features(
            state.mag,
            state.logs,
            state.beside,
            parent.mag,
            parent.logs,
            hints,
            band,
            before,
            shape,
            offset,
            kept,
            weights[c],
            halved,
            x,
            where,
            e,
            table[:0] if use_network else t,
        )
        if use_network:
            t[:] = zero[net, kind]
            choose(
                x, count, where, used, network.w1[net], network.b1[net, kind],
                network.w2[net], network.b2[net], network.w3[net], network.b3[net],
                network.narrow, mapping.size - 1, t,
            )  # fmt: skip
        if halved:
            if signed:
                _rests(e, rests)
            for i in range(n):
                coded_table[i] = mapping[t[i]]
            position = decode_dependent(
                words, position, states, lanes, coded_table[:n], skip,
                mapping.size if use_network else 0, freq, start, slots,
                rests[: n if signed else 0], t, signs, symbols[:n],
            )  # fmt: skip
            scatter(symbols[:n], e, 1, state.mag[band], kept, keeps, q, off[0], off[1], off[2])
            if expected.size > 0:
                place(e, expected, off[0], off[1], off[2])
            continue
        m = list_coded(t, tables, skip, coded, coded_table)
        if signed:
            _rests(e, rests)
        if limited:
            rooms(predicted, limits, step, e, off[0], off[1], off[2], down, up)
        if m == n:
            found = symbols[:n]
            position = decode_run(
                words, position, states, lanes, coded_table[:n], freq, start, slots,
                rests[: n if signed else 0], t, signs, down[: n if limited else 0],
                up[: n if limited else 0], found,
            )  # fmt: skip
        else:
            found = values[:m]
            if signed:
                pick(rests[:n], coded, coded_rests)
                pick(t, coded, coded_keys)
            if limited:
                pick(down[:n], coded, coded_down)
                pick(up[:n], coded, coded_up)
            position = decode_run(
                words, position, states, lanes, coded_table[:m], freq, start, slots,
                coded_rests[:m], coded_keys[:m], signs, coded_down[:m], coded_up[:m], found,
            )  # fmt: skip
            spread(values, coded, symbols[:n])
        scatter(symbols[:n], e, 0, state.mag[band], kept, keeps, q, off[0], off[1], off[2])
        if expected.size > 0:
            place(e, expected, off[0], off[1], off[2])
    return position

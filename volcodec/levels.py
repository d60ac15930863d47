"""All bands of one level of a tile in one call: their symbols from what they are taken from, and
back.

A level takes long enough for threads to be at work at once; of its bands, Python would see more
than of their symbols.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np

from .entropy import bands, expectation
from .entropy import weights as weighing
from .entropy.contexts import LevelState, Networks, close_band
from .entropy.runs import Runs
from .kernel import kernel
from .quantiser import centroids
from .transform.layers import (
    HINTS,
    Ground,
    foretell,
    put,
    room_for_hints,
    room_for_predictions,
    take,
)

STRAYED = -1
Shape = tuple[int, int, int]
Array = np.ndarray
_NOTHING = np.empty((0, 0, 0), np.int32)


class Bands(NamedTuple):
    """The bands of a level that are not empty, in coding order.

    ``names``, ``before`` (how many siblings were coded before), ``shapes`` (bands, 3), ``starts``
    of their symbols in the level's, ``steps``, ``samples``: how many positions their weights are
    fitted to, 0 where nothing is expected (all int64). ``kind``: of the level; ``closing``: how
    many are looked at by what comes after them.
    """

    names: np.ndarray
    before: np.ndarray
    shapes: np.ndarray
    starts: np.ndarray
    steps: np.ndarray
    samples: np.ndarray
    kind: int
    closing: int

    def whole(self) -> tuple[list[int], list[Shape], list[int], list[int]]:
        """Names, shapes, starts and steps, as Python's numbers."""
        shapes = [(z, y, x) for z, y, x in self.shapes.tolist()]
        return self.names.tolist(), shapes, self.starts.tolist(), self.steps.tolist()


class Room(NamedTuple):
    """What a level's bands are made by, one after the other in each array.

    ``hints`` (uint16), ``predicted`` (int32, in the closed loop), ``q`` (int32): quantised,
    ``expected`` (int32, where it matters).
    """

    hints: np.ndarray
    predicted: np.ndarray
    q: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, size: int, closed: bool, expects: bool) -> Room:
        """For so many positions."""
        return cls(
            room_for_hints(size), room_for_predictions(size if closed else 0),
            np.empty(size, np.int32), np.empty(size if expects else 0, np.int32),
        )  # fmt: skip

    def bands(self, todo: Bands, weights: np.ndarray) -> Iterator[tuple[int, Array, Array, int]]:
        """Of each band its name, what is quantised and expected of it (or nothing), and its step.

        ``weights``: of each band by its name, not zero where something is expected.
        """
        for band, shape, first, step in zip(*todo.whole(), strict=True):
            end = first + shape[0] * shape[1] * shape[2]
            expects = self.expected.size and weights[band].any()
            expected = self.expected[first:end].reshape(shape) if expects else _NOTHING
            yield band, self.q[first:end].reshape(shape), expected, step


@numba.njit(cache=True, nogil=True)
def _part(values: np.ndarray, first: int, shape: Shape) -> np.ndarray:
    """A band of an array of a level; nothing where that is empty."""
    if values.size == 0:
        return values[:0].reshape((0, 0, 0))
    return values[first : first + shape[0] * shape[1] * shape[2]].reshape(shape)


@numba.njit(cache=True, nogil=True)
def _hints(values: np.ndarray, first: int, shape: Shape) -> np.ndarray:
    size = HINTS * shape[0] * shape[1] * shape[2]
    begin = HINTS * first
    return values[begin : begin + size].reshape((HINTS, shape[0], shape[1], shape[2]))


@numba.njit(cache=True, nogil=True)
def encode_level(
    ground: Ground,
    todo: Bands,
    room: Room,
    state: LevelState,
    parent: LevelState,
    network: Networks,
    zero: np.ndarray,
    cost: np.ndarray,
    sign_cost: np.ndarray,
    codebook: np.ndarray,
    order: np.ndarray,
    classes: np.ndarray,
    lam: float,
    limits: np.ndarray,
    learns: bool,
    runs: Runs,
    codes: np.ndarray,
    weights: np.ndarray,
    sums: np.ndarray,
) -> bool:
    """Decide the symbols of a level, as :func:`.entropy.bands.encode_band` does those of a band.

    Of each band by its name, ``codes`` (int64, 8) and ``weights`` (int8, (8, 28)) take what it
    expects, of the ``codebook``. ``sums``: see :func:`.quantiser.centroids`; empty where symbols
    decode to their multiples of the step. ``limits`` (int64, 2, or empty) of the values: False is
    returned where one lies outside of them.
    """
    largest = 0
    for i in range(todo.names.size):
        largest = max(largest, todo.shapes[i, 0] * todo.shapes[i, 1] * todo.shapes[i, 2])
    coefs_room = np.empty(largest, np.int32)
    spread = np.empty((8, 8), np.int32)
    possible = limits.size > 0
    for i in range(todo.names.size):
        band, step, first = todo.names[i], todo.steps[i], todo.starts[i]
        shape = (todo.shapes[i, 0], todo.shapes[i, 1], todo.shapes[i, 2])
        end = first + shape[0] * shape[1] * shape[2]
        predicted = _part(room.predicted, first, shape)
        hints = _hints(room.hints, first, shape)
        foretell(ground, band, step, predicted, hints)
        coefs = _part(coefs_room, 0, shape)
        take(ground, band, predicted, coefs)
        codes[band] = expectation.NONE
        spread[...] = 0
        if todo.samples[i] > 0:
            found = weighing.gather(coefs, step, todo.samples[i])
            codes[band] = weighing.select(found, codebook[band - 1], weights[band])
        expects = codes[band] != expectation.NONE
        if expects:
            expectation.spread_out(weights[band], spread)
        q = _part(room.q, first, shape)
        expected = _part(room.expected if expects else room.expected[:0], first, shape)
        limited = possible
        weighed = -1.0 if step == 1 else lam
        told = _part(room.predicted if limited else room.predicted[:0], first, shape)
        possible = bands.encode_band(
            coefs, step, weighed, state, parent, hints, band, order[: todo.before[i]], todo.kind,
            classes, network, zero, cost, sign_cost, spread, q, expected,
            runs.symbols[first:end], runs.rests[first:end], runs.learned[first:end],
            runs.classic[first:end], runs.quantisers[first:end], told, limits,
            runs.known[first:end], learns,
        )  # fmt: skip
        possible = possible and limited
        if sums.size > 0 and band > 0:
            centroids(coefs, q, expected, ground.halved, step, sums)
        if i < todo.closing:
            close_band(state, band, shape)
        put(ground, band, q, step, predicted)
        runs.ends[8 * i : 8 * i + 8] = first + bands.class_ends(shape, classes)
    return possible


@kernel()
def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    differences = 0
    for i in range(a.size):
        differences |= a[i] ^ b[i]
    return differences == 0


@numba.njit(cache=True, nogil=True)
def decode_level(
    ground: Ground,
    todo: Bands,
    room: Room,
    follows: bool,
    words: np.ndarray,
    position: int,
    states: np.ndarray,
    lanes: int,
    skip: int,
    mapping: np.ndarray,
    learns: bool,
    freq: np.ndarray,
    start: np.ndarray,
    slots: np.ndarray,
    state: LevelState,
    parent: LevelState,
    network: Networks,
    zero: np.ndarray,
    signs: np.ndarray,
    order: np.ndarray,
    classes: np.ndarray,
    limits: np.ndarray,
    weights: np.ndarray,
) -> int:
    """Decode a level as :func:`.entropy.bands.decode_band` does a band, to ``room.q`` and
    ``room.expected``, and to its places; zeros where there are no ``lanes``.

    Returns the next word position, which may lie past the end: then what follows is not decoded.
    If it ``follows``, hints and predictions are taken as they are in ``room``, and so is what they
    lead to; STRAYED where symbols are not those of ``room``. ``weights`` (int32, (8, 8, 8)): of
    each band by its name.
    """
    for i in range(todo.names.size):
        band, step, first = todo.names[i], todo.steps[i], todo.starts[i]
        shape = (todo.shapes[i, 0], todo.shapes[i, 1], todo.shapes[i, 2])
        size = shape[0] * shape[1] * shape[2]
        predicted = _part(room.predicted, first, shape)
        hints = _hints(room.hints, first, shape)
        if not follows:
            foretell(ground, band, step, predicted, hints)
        expects = weights[band].any()
        told = room.q[first : first + size]
        told_expected = room.expected[first : first + size if expects else first]
        q_room = np.empty(size, np.int32) if follows else told
        expected_room = np.empty(told_expected.size, np.int32) if follows else told_expected
        q, expected = q_room.reshape(shape), _part(expected_room, 0, shape)
        limited = _part(room.predicted if limits.size > 0 else room.predicted[:0], first, shape)
        if lanes == 0:
            q[...] = 0
        else:
            position = bands.decode_band(
                words, position, states, lanes, skip, mapping, learns, freq, start, slots,
                state, parent, hints, band, order[: todo.before[i]], todo.kind, classes, network,
                zero, signs, weights[band], ground.halved, limited, limits, step, q, expected,
            )  # fmt: skip
            if position > words.size:
                return position
            if i < todo.closing:
                close_band(state, band, shape)
        if not follows:
            put(ground, band, q, step, predicted)
        elif not (_equal(q_room, told) and _equal(expected_room, told_expected)):
            return STRAYED
    return position

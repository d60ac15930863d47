"""A tile that a trellis quantised as one stream of bits a scale, coarsest first, and back.

What learns is carried on from scale to scale. See "Adaptive symbols" in docs/format.md.
"""

from __future__ import annotations

from itertools import chain

import numba
import numpy as np

from ..bitwise import Adapted
from ..entropy import contexts
from ..entropy.bands import class_size
from ..entropy.expectation import unpack
from ..entropy.places import place, scatter
from ..entropy.rows import SLACK
from ..entropy.runs import LevelRuns
from ..entropy.streams import NO_OFFSET, expectations, read_expectations
from ..entropy.trellis import CHAINS
from ..errors import FormatError
from ..scales import (
    BEFORE,
    CLASSES,
    EMPTY,
    NOTHING,
    Encoded,
    ScaleCoder,
    bands_of,
    empty_state,
    level_kind,
    levels_of,
    no_parent,
    signed,
)
from ..support import binary
from ..transform.layers import level_shapes, shape_of
from . import priors, symbols
from .mixing import fresh_cells, fresh_tables, fresh_weights
from .symbols import CONTEXTS, INPUTS, NEAR, SIGNS, code_class

_OFFSETS, _EXPECTS = 1, 2
_PAGES = 1 << 14
_FIRST, _PRIOR = 1000, 52000  # weights of contexts and tables before anything is learned
_TONES = 63
_ROOM = 4096  # bytes of a stream beyond those of the tile
_NO_TONES = np.empty((0, 0, 0), np.uint8)
Shape = tuple[int, int, int]


@numba.njit(cache=True, nogil=True)
def _code_band(
    given: np.ndarray, hints: np.ndarray, mag: np.ndarray, logs: np.ndarray,
    beside: np.ndarray, parent_mag: np.ndarray, parent_logs: np.ndarray, kept: np.ndarray,
    parent: np.ndarray, low: np.ndarray, inverse: float, tones: np.ndarray, band: int,
    before: np.ndarray, kind: int, skip: int, classes: np.ndarray, w1: np.ndarray, b1: np.ndarray,
    w2: np.ndarray, b2: np.ndarray, w3: np.ndarray, b3: np.ndarray, narrow: bool,
    zero: np.ndarray, expecting: np.ndarray, q: np.ndarray, expected: np.ndarray,
    prior: np.ndarray, sign_prior: np.ndarray, slow: np.ndarray, quick: np.ndarray,
    weights: np.ndarray, tables: np.ndarray, quiet: np.ndarray, grams: np.ndarray,
    crosses: np.ndarray, taps: np.ndarray, seen: np.ndarray, data: np.ndarray, state: np.ndarray,
    decode: bool,
) -> bool:  # fmt: skip
    """Code a band: the symbols ``given`` (int32, in coding order; decoding: empty).

    Written are ``q`` (int32, the band's shape, in halves of a step), ``expected`` (the same, or
    empty where it is not wanted), ``mag`` and ``kept`` (int32, as ``mag``: coefficients in halves).
    For the rest see :func:`..entropy.bands.decode_band` and :func:`.symbols.code_class`.

    False where the data end long before the band does.
    """
    shape = (q.shape[0], q.shape[1], q.shape[2])
    size = (shape[0] + 1) // 2 * ((shape[1] + 1) // 2) * ((shape[2] + 1) // 2)
    x = np.empty((contexts.GROUPS, size + SLACK), np.int32)
    where = np.empty(size + SLACK, np.int32)
    table = np.empty(size, np.uint8)
    found, halves = np.zeros(size, np.int32), np.empty(size, np.int32)
    turns, f = np.zeros(CHAINS, np.int64), np.zeros(contexts.FEATURES, np.int64)
    hashes, signs = np.zeros(CONTEXTS, np.int64), np.zeros(SIGNS, np.int64)
    places = np.zeros(CONTEXTS, np.int64)
    inputs, sign_inputs = np.zeros(INPUTS, np.int32), np.zeros(INPUTS, np.int32)
    lower, solution, near = np.zeros((NEAR, NEAR)), np.zeros(NEAR), np.zeros(NEAR)
    counts = np.zeros(3, np.int64)
    used = contexts.FIXED + 2 * before.size
    first = 0
    for c in range(8):
        off = classes[c]
        n = class_size(shape, off)
        if n == 0:
            continue
        net = band * 8 + c
        t, s = table[:n], found[:n]
        t[:] = zero[net, kind]
        e = np.zeros(n, np.int32)
        count = contexts.features(
            mag, logs, beside, parent_mag, parent_logs, hints, band, before, shape,
            (off[0], off[1], off[2]), kept[band], expecting[c], 1, x, where, e, table[:0],
        )  # fmt: skip
        contexts.choose(
            x, count, where, used, w1[net], b1[net, kind], w2[net], b2[net], w3[net], b3[net],
            narrow, prior.shape[0] // 2 - 1, t,
        )  # fmt: skip
        if not decode:
            s[:] = given[first : first + n]
        for axis in range(3):
            counts[axis] = (shape[axis] - off[axis] + 1) // 2
        whole = code_class(
            band, kind, c, off, counts, t, skip, e, x, where, count, used, kept, parent, low,
            inverse, tones, prior, sign_prior, s, halves, slow, quick, weights, tables, quiet,
            grams[net], crosses[net], taps[net], seen[net : net + 1], turns, f, hashes, signs,
            places, inputs, sign_inputs, lower, solution, near, data, state, decode,
        )  # fmt: skip
        if not whole:
            return False
        scatter(halves[:n], e, 1, mag[band], kept[band], True, q, off[0], off[1], off[2])
        if expected.size > 0:
            place(e, expected, off[0], off[1], off[2])
        first += n
    return True


class _Pass:
    """One pass over a tile, coarsest level first, by which it is coded or decoded."""

    def __init__(
        self, coder: ScaleCoder, told: tuple[np.ndarray, np.ndarray], shape: Shape, levels: int,
        decode: bool,
    ) -> None:  # fmt: skip
        self.coder, self.told, self.shape, self.levels, self.decode = (
            coder, told, shape, levels, decode
        )  # fmt: skip
        self.shapes = level_shapes(shape, levels)
        self.layers = coder.layers(shape, levels)
        self.low = self.layers.low
        self.parent = no_parent()
        self.parent_kept = np.zeros(self.parent.mag.shape, np.int32)
        slow, quick = fresh_cells(CONTEXTS + SIGNS, _PAGES)
        nets = len(coder.bank.zero)
        weights = np.concatenate(
            [
                fresh_weights(symbols.SIGN_ROWS, CONTEXTS, _FIRST, _PRIOR),
                fresh_weights(symbols.ROWS - symbols.SIGN_ROWS, SIGNS, _FIRST, _PRIOR),
            ]
        )
        self.learning = (
            slow, quick, weights, fresh_tables(symbols.TABLES),
            np.full(symbols.QUIET, binary.HALF, np.uint32), np.zeros((nets, NEAR, NEAR)),
            np.zeros((nets, NEAR)), np.zeros((nets, NEAR)), np.zeros(nets, np.int64),
        )  # fmt: skip

    def level(
        self, level: int, runs: LevelRuns, skip: int, data: np.ndarray, state: np.ndarray
    ) -> bool:
        """Code a level; False where the data end long before it does.

        ``runs``: offsets and expectations of the level and, encoding, its symbols.
        """
        mag = empty_state(self.shapes, level)
        kept = contexts.roomy(mag.mag.shape, np.int32)
        tones = _NO_TONES
        self.layers.open(level)
        given = iter(np.split(runs.runs.symbols, runs.runs.starts[1:]))
        for band in bands_of(level, self.levels):
            size = shape_of(self.shapes, level, self.levels, band)
            if 0 in size:
                continue
            if band and not tones.size:
                tones = _tones(self.layers.low)
            step = self.coder.step_of(self.shape, level, band, 1)
            hints = self.layers.hints(band, step)
            q = np.zeros(size, np.int32)
            weights, expected = NOTHING, EMPTY
            if band in runs.weights:
                weights = unpack(runs.weights[band][1])
                expected = np.empty(size, np.int32)
            whole = _code_band(
                EMPTY.reshape(-1) if self.decode else next(given), hints, mag.mag, mag.logs,
                mag.beside, self.parent.mag, self.parent.logs, kept, self.parent_kept,
                self.layers.low, 2.0 / step, tones, band, BEFORE[band], level_kind(level), skip,
                CLASSES, *self.coder.bank.networks, self.coder.bank.zero, weights, q, expected,
                *self.told, *self.learning, data, state, self.decode,
            )  # fmt: skip
            if not whole:
                return False
            mag.close_band(band, size)
            self.layers.put(band, q, expected, step)
            if band == 0:
                self.low = self.layers.low
        self.layers.close(signed(runs.back), runs.share)
        self.parent, self.parent_kept = mag, kept
        return True


class TrellisAdaptiveCoder:
    """Codes what a trellis decided by bits whose chances follow the tile."""

    def __init__(self, coder: ScaleCoder) -> None:
        self.coder = coder
        bank = coder.bank
        self.told = priors.of_magnitudes(bank.tables), priors.of_signs(bank.signs)

    def encode(self, made: Encoded, shape: Shape, levels: int) -> Adapted | None:
        """The same symbols as ``made`` holds; None where the streams were larger than the tile."""
        run = _Pass(self.coder, self.told, shape, levels, False)
        streams = []
        for scale, plan in enumerate(made.plans):
            wanted = levels_of(scale, len(made.plans), levels)
            data = np.empty(4 * int(np.prod(shape)) + _ROOM, np.uint8)
            state = binary.start(data, False)
            skips = [_skip(runs, self.coder.bank.choices) for runs in plan.levels]
            for level, runs, skip in zip(wanted, plan.levels, skips, strict=True):
                run.level(level, runs, skip, data, state)
            stream = binary.close(data, state)
            if stream is None:
                return None
            streams.append(b"" if plan.empty else _head(plan.levels, skips) + stream)
        return Adapted(streams, made.decoded)

    def decode(self, streams: list[bytes], shape: Shape, levels: int, stop: int) -> np.ndarray:
        """The low band after ``stop`` levels (0: the whole tile) from the first scales' streams.

        FormatError where a stream is too short or too long for what it codes.
        """
        run = _Pass(self.coder, self.told, shape, levels, True)
        low = run.low
        for scale, stream in enumerate(streams):
            wanted = levels_of(scale, len(streams), levels)
            if scale > 0 and wanted[0] <= stop:
                break
            found, skips, data = self._read(stream, len(wanted))
            source = binary.readable(data)
            state = binary.start(source, True)
            for level, runs, skip in zip(wanted, found, skips, strict=True):
                if not run.level(level, runs, skip, source, state):
                    raise FormatError("a stream of adaptive symbols ends before its tile does")
                if level == levels:
                    low = run.low
                if level > stop:
                    low = run.layers.low
            if stream:
                binary.check_end(data, state)
        return low

    def _read(self, stream: bytes, levels: int) -> tuple[list[LevelRuns], list[int], bytes]:
        """Levels without symbols, tables from which these are coded, and the bits of a stream."""
        bank = self.coder.bank
        found = [LevelRuns() for _ in range(levels)]
        if not stream:
            return found, [bank.choices] * levels, b""
        flags, at = stream[0], 1
        if flags & ~(_OFFSETS | _EXPECTS):
            raise FormatError("adaptive symbols begin with flags that are not defined")
        try:
            if flags & _OFFSETS:
                for runs in found:
                    runs.back = stream[at], stream[at + 1]
                    at += 2
            if flags & _EXPECTS:
                for runs in found:
                    runs.weights, runs.share, at = read_expectations(
                        stream, at, bank.codebook, True
                    )
            skips = [stream[at + i] for i in range(levels)]
        except (IndexError, ValueError):
            raise FormatError("adaptive symbols are shorter than their beginning says") from None
        if max(skips) > bank.choices:
            raise FormatError("adaptive symbols name a table that does not exist")
        return found, skips, stream[at + levels :]


def _head(levels: list[LevelRuns], skips: list[int]) -> bytes:
    offsets = any(back != NO_OFFSET for runs in levels for back in runs.back)
    expects = any(runs.weights for runs in levels)
    out = bytes([_OFFSETS * offsets | _EXPECTS * expects])
    if offsets:
        out += bytes(chain.from_iterable(runs.back for runs in levels))
    if expects:
        out += b"".join(expectations(runs, True) for runs in levels)
    return out + bytes(skips)


def _skip(runs: LevelRuns, choices: int) -> int:
    """The least table that any symbol but zeros has; ``choices`` where all are zero."""
    used = runs.runs.learned[runs.runs.symbols != 0]
    return int(used.min()) if used.size else choices


def _tones(low: np.ndarray) -> np.ndarray:
    """The low band in 64 even steps between its least and its largest value, uint8."""
    least, most = int(low.min()), int(low.max())
    wide = low.astype(np.int64) - least
    return (wide * _TONES // max(most - least, 1)).astype(np.uint8)

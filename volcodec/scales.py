"""A tile of integers as streams of symbols, one a scale, coarsest first, and back.

Scale ``S - l`` holds level ``l`` (1 is the finest); scale 0 holds the coarsest low band and every
level from ``S`` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .entropy import bands, contexts, expectation
from .entropy.classic import classic_tables
from .entropy.expectation import NONE, choose_weights, moments, unpack
from .entropy.streams import LevelRuns, Plan, StreamReader
from .kernel import kernel
from .models import Bank
from .quantiser import (
    OCTAVES,
    RECONSTRUCTION_BITS,
    activity,
    add_spectrum,
    band_step,
    centroids,
)
from .transform.layers import Layers, Lifted, Predicted, level_shapes
from .transform.pyramid import BAND_ORDER, band_shape, band_view
from .transform.trail import Following, Trail

MAX_SCALES = 4
KEPT_FROM = 64  # voxels at the limits of the values from which predictions are kept within
_LONGEST_TRAIL = 1 << 22  # voxels of a tile, of which a trail takes 12 bytes or more each
_WORTH = 100  # magnitudes of a level from which an offset of their own pays
CLASSES = np.array(expectation.CLASSES, dtype=np.int64)
NOTHING = np.zeros((8, 8), np.int32)  # weights of a band that nothing is expected of
EMPTY = np.empty((0, 0, 0), np.int32)
_NO_TURNS = np.empty(0, np.uint8)
_NO_LIMITS = np.zeros(2, np.int64)
_ALL_SHOWN = np.zeros(0, bool)
BEFORE = {b: np.array(BAND_ORDER[:i], np.int64) for i, b in enumerate(BAND_ORDER)}
BEFORE[0] = np.zeros(0, np.int64)
Shape = tuple[int, int, int]


def scale_count(levels: int) -> int:
    """Scales of a tile with ``levels`` levels."""
    return max(1, min(levels, MAX_SCALES))


def bands_of(level: int, levels: int) -> tuple[int, ...]:
    """The bands of a level in coding order; the coarsest begins with the low band."""
    if level == levels:
        return (0, *BAND_ORDER) if levels else (0,)
    return BAND_ORDER


def levels_of(scale: int, scales: int, levels: int) -> list[int]:
    """Levels of a scale, coarsest first (with 0 levels: level 0, the low band alone)."""
    if levels == 0:
        return [0]
    if scale == 0:
        return list(range(levels, scales - 1, -1))
    return [scales - scale]


def level_kind(level: int) -> int:
    """Which of the biases of the networks belongs to a level."""
    return min(max(level, 1), contexts.LEVEL_KINDS) - 1


def empty_state(shapes: list[Shape], level: int, learned: bool = True) -> contexts.LevelState:
    """Magnitudes of a level before anything of it is decoded, for contexts that are ``learned``
    or classical."""
    if level == 0:
        z, y, x = shapes[0]
        return contexts.LevelState.empty((2 * z, 2 * y, 2 * x), learned)
    return contexts.LevelState.empty(shapes[level - 1], learned or level > 1)


def no_parent() -> contexts.LevelState:
    """What stands for the parent of the coarsest level."""
    return contexts.LevelState.empty((0, 0, 0))


@dataclass
class Encoded:
    """A tile's scales, written by which path, and what they decode to.

    ``other``: bytes by the other path, infinite where it was not tried. ``trail``: what decoding
    may follow.
    """

    plans: list[Plan]
    classical: bool
    decoded: np.ndarray
    other: float = np.inf
    trail: Trail | None = None

    @property
    def size(self) -> int:
        """How many bytes the streams take, nearly, before they are written."""
        return sum(plan.bytes for plan in self.plans)

    @cached_property
    def streams(self) -> list[bytes]:
        """One a scale."""
        return [plan.write() for plan in self.plans]


class ScaleCoder:
    """Codes tiles with one bank of a model.

    ``lossless``: every step is one. ``predicted``: closed loop instead of the wavelet; all steps
    are then ``step``, an odd number of units, and no coefficient is off by more than half of it.
    """

    def __init__(
        self, bank: Bank, gains: np.ndarray, *, lossless: bool = False, predicted: bool = False
    ) -> None:
        self.bank = bank
        self.gains = gains
        self.lossless = lossless
        self.predicted = predicted
        self.halved = bank.quantisers - 1

    def step_of(self, shape: Shape, level: int, band: int, step: int) -> int:
        """The step of a band of a tile of ``shape``, ``step`` being that of the closed loop."""
        if self.lossless:
            return 1
        return step if self.predicted else band_step(self.gains, shape, level, band)

    def layers(
        self, shape: Shape, levels: int, tile: np.ndarray | None = None,
        hidden: np.ndarray | None = None,
    ) -> Layers:  # fmt: skip
        """A pass over a tile: int32 to encode, None to decode."""
        if self.predicted:
            return Predicted(shape, levels, tile, hidden)
        return Lifted(self.bank.pyramid, shape, levels, tile, self.halved)

    def network(self) -> tuple[Any, ...]:
        """The networks and the tables of symbols amid zeros, as kernels take them."""
        return *self.bank.networks.arrays(), self.bank.zero

    @property
    def _expects(self) -> bool:
        """Whether the model was trained with expectations."""
        return self.bank.codebook.shape[1] > 0

    def _samples(self, size: int, brief: bool) -> int:
        """Positions of a band of ``size`` that its weights are fitted to, about."""
        if brief:
            return expectation.FEW
        if self.has_offsets:  # rates may be low, where coarse bands count
            return 2 * expectation.MANY
        return min(max(size // 8, expectation.FEW), expectation.MANY)

    @property
    def has_offsets(self) -> bool:
        """Whether magnitudes may decode to less than their multiples of the step."""
        return not (self.lossless or self.predicted)

    def encode(
        self,
        tile: np.ndarray,
        levels: int,
        lam: float,
        step: int = 1,
        hidden: np.ndarray | None = None,
        scales: int = MAX_SCALES,
        quick: bool = False,
        brief: bool = False,
        both: bool = True,
    ) -> Encoded:
        """Code ``tile`` (int32, (Z, Y, X)); ``lam`` weighs bits against squared error.

        The closed loop may give ``hidden`` voxels any value. If ``quick``, nothing is expected of
        symbols, and the closed loop is coded in the classical contexts only, the others not.
        Where it is only to be compared, ``brief``, less is done to find what is expected, and
        nothing above the finest level. Unless
        ``both`` are to compete, the classical contexts are not tried elsewhere.
        """
        classical = quick and self.predicted
        shape: Shape = tile.shape  # type: ignore[assignment]
        layers = self.layers(shape, levels, tile, hidden)
        trail = Trail(layers)
        leads = not brief and tile.size <= _LONGEST_TRAIL
        shapes = level_shapes(shape, levels)
        parent = no_parent()
        found: dict[int, LevelRuns] = {}
        limits = limits_of(tile, hidden) if self.predicted else None
        if limits is not None and limits[0] < limits[1]:
            at_ends = _count_at(tile.reshape(-1), limits)
            layers.kept = limits if at_ends >= KEPT_FROM else None
        if classical:
            limits = None
        for level in range(levels, 0, -1) if levels else (0,):
            state = empty_state(shapes, level, not classical)
            out = LevelRuns()
            sums = np.zeros(6, np.float64)
            layers.open(level)
            for band in bands_of(level, levels):
                size = shape_of(shapes, level, levels, band)
                if 0 in size:
                    continue
                s = self.step_of(shape, level, band, step)
                hints = layers.hints(band, s)
                coefs = layers.coefs(band)
                q = np.empty(size, np.int32)
                symbols = np.empty(coefs.size, np.int32)
                rests = np.zeros(coefs.size, np.int8)
                learned = np.empty(coefs.size, np.uint8)
                classic = np.empty(coefs.size if both or classical else 0, np.uint8)
                turns = np.empty(coefs.size, np.uint8) if self.halved else _NO_TURNS
                weights, expected = NOTHING, EMPTY
                expects = self._expects and not quick and not (brief and level > 1)
                if band and expects:
                    codebook = self.bank.codebook[band - 1]
                    code, chosen = choose_weights(
                        moments(coefs, s, self._samples(coefs.size, brief)), codebook
                    )
                    if code != NONE:
                        out.weights[band] = code, chosen
                        weights = unpack(chosen)
                        expected = np.empty(size if self.has_offsets else (0, 0, 0), np.int32)
                predicted = layers.predicted if limits is not None else EMPTY
                known = np.empty(predicted.size, np.uint8)
                possible = bands.encode_band(
                    coefs, s, -1.0 if s == 1 else 0.0 if self.predicted else lam,
                    state.mag, state.logs, state.beside, parent.mag, parent.logs, hints, band,
                    BEFORE[band], level_kind(level), CLASSES, *self.network(),
                    self.bank.tables.cost, self.bank.signs.cost, weights, q, expected,
                    symbols, rests, learned, classic, turns,
                    predicted, _NO_LIMITS if limits is None else limits, known,
                    not classical,
                )  # fmt: skip
                if predicted.size and not possible:
                    limits = None
                if self.has_offsets and band:
                    centroids(coefs, q, expected, self.halved, s, sums)
                if band != BAND_ORDER[-1] or level > 1:  # or nothing is left to look at it
                    state.close_band(band, size)
                layers.put(band, q, expected, s)
                if leads:
                    trail.bands.append((hints, layers.predicted, q, expected))
                ends = bands.class_ends(size, CLASSES)
                out.add(symbols, rests, learned, classic, ends, turns, known)
            if self.has_offsets:
                out.back = _backs(sums)
                out.share = int(np.clip(np.rint(256 * sums[4] / max(sums[5], 1e-9)), 0, 255))
            layers.close(signed(out.back), out.share)
            trail.ends.append((signed(out.back), out.share))
            found[level] = out
            parent = state
        paths = (True,) if classical else (False, True) if both else (False,)
        scales = min(scales, scale_count(levels))
        plans, *others = sorted(
            self._plans(found, levels, scales, limits, layers.kept, paths),
            key=lambda plans: sum(p.bytes for p in plans),
        )
        other = sum(p.bytes for p in others[0]) if others else np.inf
        decoded = tile if self.lossless else layers.low
        return Encoded(plans, plans[0].classical, decoded, other, trail if leads else None)

    def activity(self, tile: np.ndarray, levels: int) -> float:
        """Sum of log2(1 + |coefficient| / step): how much ``tile`` (int32) would cost, roughly."""
        shape: Shape = tile.shape  # type: ignore[assignment]
        arrays = self.bank.pyramid.analysis(tile, min(levels, 2))
        return sum(
            activity(band_view(arrays[level - 1], band), self.step_of(shape, level, band, 1))
            for level in range(1, min(levels, 2) + 1)
            for band in BAND_ORDER
        )

    def spectrum(self, tile: np.ndarray, levels: int) -> np.ndarray:
        """How the coefficients of ``tile`` (int32) are spread over magnitudes in steps."""
        shape: Shape = tile.shape  # type: ignore[assignment]
        out = np.zeros((2, 8 * OCTAVES))
        arrays = self.bank.pyramid.analysis(tile, levels)
        for level in range(1, levels + 1):
            for band in BAND_ORDER:
                coefs = band_view(arrays[level - 1], band)
                add_spectrum(coefs, self.step_of(shape, level, band, 1), out)
        return out

    def _plans(
        self, found: dict[int, LevelRuns], levels: int, scales: int, limits: np.ndarray | None,
        kept: np.ndarray | None, paths: tuple[bool, ...],
    ) -> list[list[Plan]]:  # fmt: skip
        """The streams by each of the paths (classical or not) there are to choose from."""
        members = [[found[lv] for lv in levels_of(i, scales, levels)] for i in range(scales)]
        made = []
        for classical in paths:
            tables = classic_tables() if classical else self.bank.tables
            given = None if classical else limits
            signs, lossy = self.bank.signs, self.has_offsets
            made.append(
                [
                    Plan(m, tables, signs, classical, lossy, given, kept, i == 0)
                    for i, m in enumerate(members)
                ]
            )
        return made

    def decode(
        self,
        streams: list[bytes],
        shape: Shape,
        levels: int,
        stop: int,
        classical: bool,
        step: int = 1,
        trail: Trail | None = None,
    ) -> np.ndarray:
        """The low band after ``stop`` levels (0: the whole tile) from the first scales' streams.

        FormatError where a stream is too short or too long for what it codes. What the encoder
        computed is not computed again where its ``trail`` is given; StrayedError where it told
        another story than the streams.
        """
        shapes = level_shapes(shape, levels)
        scales = len(streams)
        tables = classic_tables() if classical else self.bank.tables
        layers = self.layers(shape, levels) if trail is None else Following(trail)
        parent = no_parent()
        low = layers.low
        for scale in range(scales):
            wanted = levels_of(scale, scales, levels)
            if scale > 0 and wanted[0] <= stop:
                break
            reader = StreamReader(
                streams[scale], len(wanted), len(tables) if classical else self.bank.choices,
                self.bank.codebook, classical, self.has_offsets, self.predicted, layers.kept,
                scale == 0,
            )  # fmt: skip
            layers.kept = reader.kept
            for i, level in enumerate(wanted):
                state = empty_state(shapes, level, not classical)
                layers.open(level)
                for band in bands_of(level, levels):
                    size = shape_of(shapes, level, levels, band)
                    if 0 in size:
                        continue
                    s = self.step_of(shape, level, band, step)
                    hints = layers.hints(band, s)
                    q = (np.zeros if reader.words is None else np.empty)(size, np.int32)
                    weights, expected = NOTHING, EMPTY
                    if band in reader.weights[i]:
                        weights = unpack(reader.weights[i][band][1])
                        expected = np.empty(size if self.has_offsets else (0, 0, 0), np.int32)
                    predicted = layers.predicted if reader.limits is not None else EMPTY
                    if reader.words is not None:
                        reader.position = bands.decode_band(
                            reader.words, reader.position, reader.states, reader.lanes,
                            reader.skip, reader.mapping[i], not classical,
                            tables.freq, tables.start, tables.slots,
                            state.mag, state.logs, state.beside, parent.mag, parent.logs, hints,
                            band, BEFORE[band], level_kind(level), CLASSES,
                            *self.network(), self.bank.signs.freq, weights, self.halved,
                            predicted, _NO_LIMITS if reader.limits is None else reader.limits, s, q,
                            expected,
                        )  # fmt: skip
                        if band != BAND_ORDER[-1] or level > 1:
                            state.close_band(band, size)
                        reader.check_room()
                    layers.put(band, q, expected, s)
                    if band == 0:
                        low = layers.low
                layers.close(signed(reader.back[i]), reader.share[i])
                parent = state
                if level > stop:
                    low = layers.low
            reader.check()
        return low


def limits_of(tile: np.ndarray, hidden: np.ndarray | None) -> np.ndarray | None:
    """The least and the largest value that is not hidden (int64), None where all are."""
    limits = np.array([np.iinfo(np.int32).max, np.iinfo(np.int32).min], np.int64)
    _limits(tile.reshape(-1), _ALL_SHOWN if hidden is None else hidden.reshape(-1), limits)
    return limits if limits[0] <= limits[1] else None


@kernel()
def _limits(tile: np.ndarray, hidden: np.ndarray, limits: np.ndarray) -> None:
    low, high = np.int32(limits[0]), np.int32(limits[1])
    if hidden.size == 0:
        for i in range(tile.size):
            low, high = min(low, tile[i]), max(high, tile[i])
    else:
        for i in range(hidden.size):
            low = min(low, low if hidden[i] else tile[i])
            high = max(high, high if hidden[i] else tile[i])
    limits[0], limits[1] = low, high


@kernel()
def _count_at(tile: np.ndarray, limits: np.ndarray) -> int:
    """How many are at the limits."""
    low, high = np.int32(limits[0]), np.int32(limits[1])
    count = 0
    for i in range(tile.size):
        count += (tile[i] == low) | (tile[i] == high)
    return count


def shape_of(shapes: list[Shape], level: int, levels: int, band: int) -> Shape:
    """Of a band of a level."""
    return shapes[levels] if band == 0 else band_shape(shapes[level - 1], band)


def _backs(sums: np.ndarray) -> tuple[int, int]:
    """Bytes of the reconstruction offsets from sums of (q step - |c|) / step and counts."""
    out = []
    for total, count in ((sums[0], sums[1]), (sums[2], sums[3])):
        mean = total / count if count >= _WORTH else 0.0
        out.append(int(min(max(round(mean * (1 << RECONSTRUCTION_BITS)) + 128, 0), 255)))
    return out[0], out[1]


def signed(back: tuple[int, int]) -> tuple[int, int]:
    """Offsets of their bytes."""
    return back[0] - 128, back[1] - 128

"""A tile of integers as streams of symbols, one a scale, coarsest first, and back.

Scale ``S - l`` holds level ``l`` (1 is the finest); scale 0 holds the coarsest low band and every
level from ``S`` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .entropy import contexts, expectation
from .entropy import weights as weighing
from .entropy.classic import classic_tables
from .entropy.expectation import unpack
from .entropy.runs import LevelRuns, Runs
from .entropy.streams import Plan, StreamReader
from .kernel import kernel
from .levels import STRAYED, Bands, Room, decode_level, encode_level
from .models import Bank
from .quantiser import (
    OCTAVES,
    RECONSTRUCTION_BITS,
    activity,
    add_spectrum,
    band_step,
)
from .trail import Following, StrayedError, Trail
from .transform.layers import Layers, Lifted, Predicted, level_shapes, shape_of
from .transform.pyramid import BAND_ORDER, band_view

MAX_SCALES = 4
KEPT_FROM = 64  # voxels at the limits of the values from which predictions are kept within
_LONGEST_TRAIL = 1 << 22  # voxels of a tile, of which a trail takes 12 bytes or more each
_LEVELS_KNOWN = 128  # descriptions of levels that are kept
_WORTH = 100  # magnitudes of a level from which an offset of their own pays
CLASSES = np.array(expectation.CLASSES, dtype=np.int64)
NOTHING = np.zeros((8, 8), np.int32)  # weights of a band that nothing is expected of
EMPTY = np.empty((0, 0, 0), np.int32)
_NO_LIMITS = np.zeros(0, np.int64)
_ALL_SHOWN = np.zeros(0, bool)
ORDER = np.array(BAND_ORDER, np.int64)
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
        self._bands = lru_cache(_LEVELS_KNOWN)(self._describe)

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
        return self.bank.networks, self.bank.zero

    @property
    def _expects(self) -> bool:
        """Whether the model was trained with expectations."""
        return self.bank.codebook.shape[1] > 0

    def _samples(self, size: int, brief: bool) -> int:
        """Positions of a band of ``size`` that its weights are fitted to, about."""
        if brief:
            return weighing.FEW
        if self.has_offsets:  # rates may be low, where coarse bands count
            return 2 * weighing.MANY
        return min(max(size // 8, weighing.FEW), weighing.MANY)

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
        nothing above the finest level. Unless ``both`` are to compete, the classical contexts are
        not tried elsewhere.
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
        expects = self._expects and not quick
        for level in range(levels, 0, -1) if levels else (0,):
            state = empty_state(shapes, level, not classical)
            samples = brief if expects and not (brief and level > 1) else None
            todo, size = self._bands(shape, levels, level, step, samples)
            room = Room.of(size, self.predicted, expects and self.has_offsets)
            runs = self._runs(todo, size, both or classical, limits is not None)
            codes, chosen = np.zeros(8, np.int64), np.zeros((8, expectation.COUNT), np.int8)
            sums = np.zeros(6 if self.has_offsets else 0, np.float64)
            layers.open(level)
            possible = encode_level(
                layers.ground, todo, room, state, parent, *self.network(), self.bank.tables.cost,
                self.bank.signs.cost, self.bank.codebook, ORDER, CLASSES,
                0.0 if self.predicted else lam, _NO_LIMITS if limits is None else limits,
                not classical, runs, codes, chosen, sums,
            )  # fmt: skip
            out = LevelRuns(runs)
            for band in np.flatnonzero(codes).tolist():
                out.weights[band] = int(codes[band]), chosen[band]
            if not possible:
                limits = None
            if self.has_offsets:
                out.back = _backs(sums)
                out.share = int(np.clip(np.rint(256 * sums[4] / max(sums[5], 1e-9)), 0, 255))
            if isinstance(layers, Lifted):
                for part in room.bands(todo, chosen):
                    layers.keep(*part)
            layers.close(signed(out.back), out.share)
            if leads:
                trail.add(room, unpack(chosen), (signed(out.back), out.share))
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

    def _describe(
        self, shape: Shape, levels: int, level: int, step: int, brief: bool | None = None
    ) -> tuple[Bands, int]:
        """The bands of a level, and how many positions they have; weights are to be fitted to
        them, more or less closely, unless ``brief`` is None."""
        shapes = level_shapes(shape, levels)
        told = [(band, shape_of(shapes, level, levels, band)) for band in bands_of(level, levels)]
        told = [(band, size) for band, size in told if 0 not in size]
        names = np.array([band for band, _ in told], np.int64)
        sizes = np.array([size for _, size in told], np.int64).reshape(-1, 3)
        positions = sizes.prod(axis=1)
        ends = np.cumsum(positions)
        samples = np.zeros(names.size, np.int64)
        if brief is not None:
            samples[:] = [self._samples(int(n), brief) for n in positions]
            samples[names == 0] = 0
        closing = names.size - int(level == 1 and BAND_ORDER[-1] in names)
        steps = [self.step_of(shape, level, band, step) for band, _ in told]
        before = [BEFORE[band].size for band, _ in told]
        return Bands(
            names, np.array(before, np.int64), sizes, ends - positions,
            np.array(steps, np.int64), samples, level_kind(level), closing,
        ), int(positions.sum())  # fmt: skip

    def _runs(self, todo: Bands, size: int, classic: bool, limited: bool) -> Runs:
        """Room for the symbols of a level."""
        return Runs(
            np.empty(size, np.int32), np.zeros(size, np.int8), np.empty(size, np.uint8),
            np.empty(size if classic else 0, np.uint8),
            np.empty(size if self.halved else 0, np.uint8),
            np.empty(size if limited else 0, np.uint8), todo.starts,
            np.empty(8 * todo.names.size, np.int64),
        )  # fmt: skip

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
                todo, size = self._bands(shape, levels, level, step)
                weights = np.zeros((8, 8, 8), np.int32)
                for band, (_, given) in reader.weights[i].items():
                    weights[band] = unpack(given)
                if isinstance(layers, Following):
                    room = layers.room(weights)
                else:
                    room = Room.of(size, self.predicted, self.has_offsets and bool(weights.any()))
                    layers.open(level)
                reader.position = decode_level(
                    layers.ground, todo, room, trail is not None, *reader.begun(i), not classical,
                    tables.freq, tables.start, tables.slots, state, parent, *self.network(),
                    self.bank.signs.freq, ORDER, CLASSES,
                    _NO_LIMITS if reader.limits is None else reader.limits, weights,
                )  # fmt: skip
                if reader.position == STRAYED:
                    raise StrayedError
                reader.check_room()
                if isinstance(layers, Lifted):
                    for part in room.bands(todo, weights):
                        layers.keep(*part)
                if level == levels:
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

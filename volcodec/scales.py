"""A tile of integers as streams of symbols, one a scale, coarsest first, and back.

``encode`` transforms, quantises and codes; ``decode`` reads as many scales as are asked for.
Scale ``S - l`` holds level ``l`` (1 is the finest); scale 0 holds the coarsest low band and every
level from ``S`` on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .entropy import bands, contexts
from .entropy.classic import classic_tables
from .entropy.streams import LevelRuns, Plan, StreamReader
from .models import Bank
from .quantiser import RECONSTRUCTION_BITS, activity, band_step, centroids, dequantise
from .transform.pyramid import BAND_ORDER, band_shape, band_view, half_shape

MAX_SCALES = 4
CLASSES = np.array(contexts.CLASSES, dtype=np.int64)
_BEFORE = {b: np.array(BAND_ORDER[:i], np.int64) for i, b in enumerate(BAND_ORDER)}
_BEFORE[0] = np.zeros(0, np.int64)
Shape = tuple[int, int, int]


def scale_count(levels: int) -> int:
    """Scales of a tile with ``levels`` levels."""
    return max(1, min(levels, MAX_SCALES))


def level_shapes(shape: Shape, levels: int) -> list[Shape]:
    """Shapes of the input of each level, finest first, and last of the coarsest low band."""
    out = [shape]
    for _ in range(levels):
        out.append(half_shape(out[-1]))
    return out


def _bands_of(level: int, levels: int) -> tuple[int, ...]:
    if level == levels:
        return (0, *BAND_ORDER) if levels else (0,)
    return BAND_ORDER


def _levels_of(scale: int, scales: int, levels: int) -> list[int]:
    """Levels of a scale, coarsest first (0 levels: the low band alone is level 0)."""
    if levels == 0:
        return [0]
    if scale == 0:
        return list(range(levels, scales - 1, -1))
    return [scales - scale]


def _shape_of(shapes: list[Shape], level: int, levels: int, band: int) -> Shape:
    return shapes[levels] if band == 0 else band_shape(shapes[level - 1], band)


def _empty_state(shapes: list[Shape], level: int) -> contexts.LevelState:
    if level == 0:
        z, y, x = shapes[0]
        return contexts.LevelState.empty((2 * z, 2 * y, 2 * x))
    return contexts.LevelState.empty(shapes[level - 1])


@dataclass
class Encoded:
    """Streams of a tile's scales by the learned and by the classical path, and what decodes."""

    streams: list[bytes]
    classical: bool
    decoded: np.ndarray


class ScaleCoder:
    """Codes tiles with one bank of a model; ``lossless`` takes every step as one."""

    def __init__(self, bank: Bank, gains: np.ndarray, lossless: bool) -> None:
        self.bank = bank
        self.gains = gains
        self.lossless = lossless

    def _step(self, shape: Shape, level: int, band: int, levels: int) -> int:
        return 1 if self.lossless else band_step(self.gains, shape, level, band)

    def _network(self) -> tuple[np.ndarray, ...]:
        b = self.bank
        return b.w1, b.b1, b.w2, b.b2, b.w3, b.b3, b.scales, b.zero

    def encode(self, tile: np.ndarray, levels: int, lam: float) -> Encoded:
        """Code ``tile`` (int32, (Z, Y, X)); ``lam`` weighs bits against squared error."""
        shape: Shape = tile.shape  # type: ignore[assignment]
        arrays = self.bank.pyramid.analysis(tile, levels)
        shapes = level_shapes(shape, levels)
        parent = contexts.LevelState.empty((0, 0, 0))
        found: dict[int, LevelRuns] = {}
        quantised: list[list[tuple[int, np.ndarray, int]]] = []
        order = list(range(levels, 0, -1)) or [0]
        for level in order:
            state = _empty_state(shapes, level)
            kind = min(max(level, 1), contexts.LEVEL_KINDS) - 1
            out = LevelRuns()
            sums = np.zeros(4, np.float64)
            kept = []
            for band in _bands_of(level, levels):
                coefs = arrays[levels] if band == 0 else band_view(arrays[level - 1], band)
                if coefs.size == 0:
                    continue
                step = self._step(shape, level, band, levels)
                q = np.empty(coefs.shape, np.int32)
                symbols = np.empty(coefs.size, np.int32)
                learned = np.empty(coefs.size, np.uint8)
                classic = np.empty(coefs.size, np.uint8)
                bands.encode_band(
                    coefs, step, -1.0 if self.lossless else lam,
                    state.mag, state.faces, parent.mag, parent.faces, band, _BEFORE[band], kind,
                    CLASSES, contexts.LOG, *self._network(), self.bank.tables.cost,
                    q, symbols, learned, classic,
                )  # fmt: skip
                if not self.lossless:
                    centroids(coefs, q, step, sums)
                state.close_band(band, coefs.shape)
                out.add(symbols, learned, classic, bands.class_ends(coefs.shape, CLASSES))
                kept.append((band, q, step))
            out.back = _backs(sums)
            found[level] = out
            quantised.append(kept)
            parent = state
        streams, classical = self._write(found, levels)
        if self.lossless:
            return Encoded(streams, classical, tile)
        low = arrays[levels]
        for level, kept in zip(order, quantised, strict=True):
            for band, q, step in kept:
                target = low if band == 0 else band_view(arrays[level - 1], band)
                _dequantise(q, step, found[level].back, target)
        decoded = self.bank.pyramid.synthesis(low, arrays[:levels][::-1])
        return Encoded(streams, classical, decoded)

    def activity(self, tile: np.ndarray, levels: int) -> float:
        """Sum of log2(1 + |coefficient| / step): how much ``tile`` (int32) would cost, roughly."""
        shape: Shape = tile.shape  # type: ignore[assignment]
        arrays = self.bank.pyramid.analysis(tile, levels)
        total = 0.0
        for level in range(1, min(levels, 2) + 1):
            for band in BAND_ORDER:
                total += activity(
                    band_view(arrays[level - 1], band), self._step(shape, level, band, levels)
                )
        return total

    def _write(self, found: dict[int, LevelRuns], levels: int) -> tuple[list[bytes], bool]:
        """The smaller of the learned and the classical streams."""
        scales = scale_count(levels)
        plain = classic_tables()
        learned, classic = [], []
        for scale in range(scales):
            members = [found[level] for level in _levels_of(scale, scales, levels)]
            learned.append(Plan(members, self.bank.tables, False, not self.lossless))
            classic.append(Plan(members, plain, True, not self.lossless))
        classical = sum(p.bytes for p in classic) < sum(p.bytes for p in learned)
        return [p.write() for p in (classic if classical else learned)], classical

    def decode(
        self, streams: list[bytes], shape: Shape, levels: int, stop: int, classical: bool
    ) -> np.ndarray:
        """The low band after ``stop`` levels (0: the whole tile) from the first scales' streams.

        FormatError where a stream is too short or too long for what it codes.
        """
        shapes = level_shapes(shape, levels)
        scales = scale_count(levels)
        tables = classic_tables() if classical else self.bank.tables
        parent = contexts.LevelState.empty((0, 0, 0))
        low = np.zeros(shapes[levels], np.int32)
        for scale in range(scales):
            wanted = _levels_of(scale, scales, levels)
            if levels and all(level <= stop for level in wanted) and scale > 0:
                break
            reader = StreamReader(
                streams[scale], len(wanted), tables, classical, not self.lossless
            )
            for i, level in enumerate(wanted):
                state = _empty_state(shapes, level)
                kind = min(max(level, 1), contexts.LEVEL_KINDS) - 1
                target = np.zeros(shapes[level - 1], np.int32) if level else low
                for band in _bands_of(level, levels):
                    q = np.zeros(_shape_of(shapes, level, levels, band), np.int32)
                    if q.size == 0:
                        continue
                    if reader.words is not None:
                        reader.position = bands.decode_band(
                            reader.words, reader.position, reader.states, reader.lanes,
                            reader.skip, reader.mapping[i], not classical,
                            tables.freq, tables.start, tables.slots,
                            state.mag, state.faces, parent.mag, parent.faces, band,
                            _BEFORE[band], kind, CLASSES, contexts.LOG, *self._network(), q,
                        )  # fmt: skip
                        state.close_band(band, q.shape)
                    step = self._step(shape, level, band, levels)
                    view = low if band == 0 else band_view(target, band)
                    _dequantise(q, step, reader.back[i], view)
                parent = state
                if level > stop:
                    low = self.bank.pyramid.synthesis(low, [target])
            reader.check()
        return low


def _backs(sums: np.ndarray) -> tuple[int, int]:
    """Bytes of the reconstruction offsets from sums of (q step - |c|) / step and counts."""
    out = []
    for total, count in ((sums[0], sums[1]), (sums[2], sums[3])):
        mean = total / count if count else 0.0
        out.append(int(min(max(round(mean * (1 << RECONSTRUCTION_BITS)) + 128, 0), 255)))
    return out[0], out[1]


def _dequantise(q: np.ndarray, step: int, back: tuple[int, int], out: np.ndarray) -> None:
    offsets = [((b - 128) * step) >> RECONSTRUCTION_BITS if step > 1 else 0 for b in back]
    dequantise(q, step, offsets[0], offsets[1], out)

"""A tile of integers as one stream of bits a scale, coarsest first, and back.

What learns is carried on from scale to scale. See "Adaptive" in docs/format.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ..scales import bands_of, levels_of, limits_of, scale_count
from ..support import binary
from ..transform.layers import level_shapes
from ..transform.pyramid import BAND_ORDER
from .bands import CONTEXTS, ERRORS, SETS, TABLES, code_band
from .mixing import fresh_cells, fresh_tables, fresh_weights
from .stencils import stencil

_KINDS = 4
_LIMITS = 8  # bytes of the least and the largest value
_ROOM = 4096  # bytes of a stream beyond those of the tile
_NOTHING = np.empty((0, 0, 0), bool)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Adapted:
    """A tile's streams, one a scale, and what they decode to."""

    streams: list[bytes]
    decoded: np.ndarray
    classical: bool = False

    @property
    def size(self) -> int:
        """Bytes of the streams."""
        return sum(map(len, self.streams))


class _Pass:
    """One pass over a tile, coarsest level first, by which it is coded or decoded."""

    def __init__(
        self, shape: Shape, levels: int, step: int, hidden: np.ndarray | None,
        limits: np.ndarray, tile: np.ndarray | None,
    ) -> None:  # fmt: skip
        self.levels, self.step, self.limits, self.tile = levels, step, limits, tile
        self.shapes = level_shapes(shape, levels)
        self.hidden = hidden if hidden is not None and hidden.any() else _NOTHING
        self.learning = (
            *fresh_cells(CONTEXTS), *(fresh_weights(n, CONTEXTS) for n in SETS),
            fresh_tables(TABLES),
            np.full(8 * _KINDS, binary.HALF, np.uint32),
        )  # fmt: skip
        self.values = self.coarsest = np.zeros((0, 0, 0), np.int32)
        self.symbols = np.zeros((0, 0, 0), np.int8)
        self.errors = np.zeros((0, 0, 0, ERRORS), np.float32)

    def _open(self, shape: Shape) -> None:
        """Make room for a level, around what is known of the one above."""
        values, symbols = np.zeros(shape, np.int32), np.zeros(shape, np.int8)
        errors = np.zeros((*shape, ERRORS), np.float32)
        if self.values.size:
            for new, old in (
                (values, self.values), (symbols, self.symbols), (errors, self.errors)
            ):  # fmt: skip
                new[::2, ::2, ::2] = old
        self.values, self.symbols, self.errors = values, symbols, errors

    def level(self, level: int, data: np.ndarray, state: np.ndarray) -> bool:
        """Code a level; False where the data end long before it does."""
        for band in bands_of(level, self.levels):
            low = band == 0
            if low:
                self._open(self.shapes[self.levels])
            elif band == BAND_ORDER[0]:
                self._open(self.shapes[level - 1])
            apart = 1 << (self.levels if low else level - 1)
            every = (slice(None, None, apart),) * 3
            whole = code_band(
                self.values if self.tile is None else self.tile[every],
                self.values, self.symbols, self.errors, self.hidden[every], band,
                1 if low else 2, 0 if low else min(level, _KINDS) - 1, self.step, self.limits,
                stencil(band, 1 if low else 2), *self.learning, data, state, self.tile is None,
            )  # fmt: skip
            if not whole:
                return False
            if low:
                self.coarsest = self.values
        return True


class AdaptiveCoder:
    """Codes tiles by the closed loop that learns from each of them."""

    def encode(
        self, tile: np.ndarray, levels: int, step: int, hidden: np.ndarray | None, scales: int
    ) -> Adapted | None:
        """Code ``tile`` (int32, (Z, Y, X)) so that nothing is off by more than half of ``step``.

        ``step`` is odd. ``hidden`` voxels may decode to anything. None where the streams were
        larger than the tile.
        """
        shown = limits_of(tile, hidden)
        limits = np.zeros(2, np.int32) if shown is None else shown.astype(np.int32)
        shape: Shape = tile.shape  # type: ignore[assignment]
        run = _Pass(shape, levels, step, hidden, limits, tile)
        scales = min(scales, scale_count(levels))
        streams = []
        for scale in range(scales):
            data = np.empty(tile.nbytes + _ROOM, np.uint8)
            state = binary.start(data, False)
            for level in levels_of(scale, scales, levels):
                run.level(level, data, state)
            stream = binary.close(data, state)
            if stream is None:
                return None
            streams.append(limits.astype("<i4").tobytes() + stream if scale == 0 else stream)
        return Adapted(streams, run.values)

    def decode(
        self, streams: list[bytes], shape: Shape, levels: int, stop: int, step: int,
        hidden: np.ndarray | None,
    ) -> np.ndarray:  # fmt: skip
        """What is left of the tile after ``stop`` levels (0: all of it).

        FormatError where a stream is too short or too long for what it codes.
        """
        if len(streams[0]) < _LIMITS:
            raise FormatError("an adaptive tile does not begin with its limits")
        limits = np.frombuffer(streams[0][:_LIMITS], "<i4").astype(np.int32)
        if limits[0] > limits[1]:
            raise FormatError("the limits of an adaptive tile are the wrong way round")
        run = _Pass(shape, levels, step, hidden, limits, None)
        low = run.coarsest
        for scale, stream in enumerate(streams):
            wanted = levels_of(scale, len(streams), levels)
            if scale > 0 and wanted[0] <= stop:
                break
            data = stream if scale > 0 else stream[_LIMITS:]
            source = binary.readable(data)
            state = binary.start(source, True)
            for level in wanted:
                if not run.level(level, source, state):
                    raise FormatError("an adaptive stream ends before its tile does")
                if level == levels:
                    low = run.coarsest
                if level > stop:
                    low = run.values
            binary.check_end(data, state)
        return low

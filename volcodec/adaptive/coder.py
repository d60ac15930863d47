"""A tile of integers as one stream of bits a scale, coarsest first, and back.

What learns is carried on from scale to scale. See "Adaptive" in docs/format.md.
"""

from __future__ import annotations

import numpy as np

from .. import bitwise
from ..scales import bands_of
from ..support import binary
from ..transform.layers import level_shapes
from ..transform.pyramid import BAND_ORDER
from .bands import CONTEXTS, ERRORS, SETS, TABLES, code_band
from .mixing import fresh_cells, fresh_tables, fresh_weights
from .stencils import stencil

_KINDS = 4
_NOTHING = np.empty((0, 0, 0), bool)
Shape = tuple[int, int, int]


class _Pass:
    """One pass over a tile, coarsest level first, by which it is coded or decoded."""

    def __init__(
        self, shape: Shape, levels: int, step: int, hidden: np.ndarray | None,
        limits: np.ndarray, tile: np.ndarray | None,
    ) -> None:  # fmt: skip
        self.levels, self.step, self.tile = levels, step, tile
        self.limits = limits.astype(np.int32)
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
    ) -> bitwise.Adapted | None:
        """Code ``tile`` (int32, (Z, Y, X)) so that nothing is off by more than half of ``step``.

        ``step`` is odd. ``hidden`` voxels may decode to anything. None where the streams were
        larger than the tile.
        """
        shape: Shape = tile.shape  # type: ignore[assignment]

        def begin(limits: np.ndarray) -> _Pass:
            return _Pass(shape, levels, step, hidden, limits, tile)

        return bitwise.encode(begin, tile, levels, hidden, scales)

    def decode(
        self, streams: list[bytes], shape: Shape, levels: int, stop: int, step: int,
        hidden: np.ndarray | None,
    ) -> np.ndarray:  # fmt: skip
        """What is left of the tile after ``stop`` levels (0: all of it).

        FormatError where a stream is too short or too long for what it codes.
        """

        def begin(limits: np.ndarray) -> _Pass:
            return _Pass(shape, levels, step, hidden, limits, None)

        return bitwise.decode(begin, streams, levels, stop)

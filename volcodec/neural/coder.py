"""A tile of integers as one stream of bits a scale, coarsest first, and back.

See "Neural" in docs/format.md.
"""

from __future__ import annotations

import numpy as np

from .. import bitwise
from ..transform.layers import level_shapes
from .levels import MARGIN, code_level, code_low
from .mixture import fresh_maps
from .network import KINDS, Weights

_NOTHING = np.empty((0, 0, 0), bool)
Shape = tuple[int, int, int]


class _Pass:
    """One pass over a tile, coarsest level first, by which it is coded or decoded."""

    def __init__(
        self, weights: Weights, shape: Shape, levels: int, step: int, hidden: np.ndarray | None,
        limits: np.ndarray, tile: np.ndarray | None, lam: float = 0.0,
    ) -> None:  # fmt: skip
        self.net, self.levels, self.step, self.tile = weights.network, levels, step, tile
        self.limits, self.lam = limits, lam
        self.shapes = level_shapes(shape, levels)
        self.hidden = hidden if hidden is not None and hidden.any() else _NOTHING
        self.maps = fresh_maps(KINDS)
        self.values: np.ndarray = np.zeros((0, 0, 0), np.int32)
        self.coarsest = self.values

    def level(self, level: int, data: np.ndarray, state: np.ndarray) -> bool:
        """Code a level; False where the data end long before it does."""
        decode = self.tile is None
        if level == self.levels:
            self.values = np.zeros(self.shapes[level], np.int32)
            target, hidden = self._every(level)
            if not code_low(
                target, self.values, hidden, self.step, self.limits, self.maps, data, state, decode
            ):  # fmt: skip
                return False
            self.coarsest = self.values
        if level == 0:
            return True
        shape = self.shapes[level - 1]
        size = shape[0] * shape[1] * shape[2]
        room = np.zeros(size + 2 * MARGIN, np.int32)
        values = room[MARGIN : MARGIN + size].reshape(shape)
        values[::2, ::2, ::2] = self.values
        self.values = values
        target, hidden = self._every(level - 1)
        return bool(
            code_level(
                target, room, shape, hidden, min(level, KINDS) - 1, self.step, self.limits,
                self.net, self.lam, self.maps, data, state, decode,
            )
        )  # fmt: skip

    def _every(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """What is coded of a level, and which of it is hidden."""
        every = (slice(None, None, 1 << level),) * 3
        target = self.values if self.tile is None else np.ascontiguousarray(self.tile[every])
        return target, np.ascontiguousarray(self.hidden[every])


class NeuralCoder:
    """Codes tiles by a closed loop whose predictions the network of a model makes."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def encode(
        self, tile: np.ndarray, levels: int, step: int, hidden: np.ndarray | None, scales: int,
        lam: float = 0.0,
    ) -> bitwise.Adapted | None:  # fmt: skip
        """Code ``tile`` (int32, (Z, Y, X)) so that nothing is off by more than half of ``step``.

        ``step`` is odd. ``hidden`` voxels may decode to anything. Unless ``lam`` is 0, voxels may
        be off by more where that saves bits, each worth so many square steps. None where the
        streams were larger than the tile.
        """
        shape: Shape = tile.shape  # type: ignore[assignment]

        def begin(limits: np.ndarray) -> _Pass:
            return _Pass(self.weights, shape, levels, step, hidden, limits, tile, lam)

        return bitwise.encode(begin, tile, levels, hidden, scales)

    def decode(
        self, streams: list[bytes], shape: Shape, levels: int, stop: int, step: int,
        hidden: np.ndarray | None,
    ) -> np.ndarray:  # fmt: skip
        """What is left of the tile after ``stop`` levels (0: all of it).

        FormatError where a stream is too short or too long for what it codes.
        """

        def begin(limits: np.ndarray) -> _Pass:
            return _Pass(self.weights, shape, levels, step, hidden, limits, None)

        return bitwise.decode(begin, streams, levels, stop)

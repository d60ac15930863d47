"""What a pass over a tile computed, for the pass that decodes the tile to check it.

All that a pass makes of a tile follows from the symbols it is given. Where these are the same, band
by band, so are hints, predictions and values, and need not be computed once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .levels import Room
from .transform.layers import Ground, Layers


class StrayedError(Exception):
    """A pass was given other symbols than the one that it follows."""


@dataclass
class Trail:
    """What ``layers`` computed and was given, level by level, in this order.

    ``rooms``: of the levels; ``weights`` (int32, (8, 8, 8)): what they expected symbols by;
    ``ends``: what they closed with.
    """

    layers: Layers
    rooms: list[Room] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    ends: list[tuple[tuple[int, int], int]] = field(default_factory=list)

    def add(self, room: Room, weights: np.ndarray, end: tuple[tuple[int, int], int]) -> None:
        """Go on by a level."""
        self.rooms.append(room)
        self.weights.append(weights)
        self.ends.append(end)


class Following:
    """A pass that follows a trail; StrayedError where it leads elsewhere."""

    def __init__(self, trail: Trail):
        self._trail = trail
        self._rooms = iter(trail.rooms)
        self._weights = iter(trail.weights)
        self._ends: Iterator[tuple[tuple[int, int], int]] = iter(trail.ends)
        self.kept: np.ndarray | None = None

    @property
    def low(self) -> np.ndarray:
        """Of the end of the trail, also on the way."""
        return self._trail.layers.low

    @property
    def ground(self) -> Ground:
        """Nothing is taken from it, nor put there."""
        return self._trail.layers.ground

    def room(self, weights: np.ndarray) -> Room:
        """Begin a level whose symbols are expected by such weights."""
        if _limits(self.kept) != _limits(self._trail.layers.kept):
            raise StrayedError
        if not np.array_equal(weights, next(self._weights)):
            raise StrayedError
        return next(self._rooms)

    def close(self, back: tuple[int, int], share: int) -> None:
        """The level is complete."""
        if next(self._ends) != (back, share):
            raise StrayedError


def _limits(kept: np.ndarray | None) -> tuple[int, ...] | None:
    return None if kept is None else tuple(map(int, kept))

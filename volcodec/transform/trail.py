"""What a pass over a tile computed, for the pass that decodes the tile to check it.

All that a pass makes of a tile follows from the symbols it is given. Where these are the same, band
by band, so are hints, predictions and values, and need not be computed once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..kernel import kernel
from .layers import Layers

_NOTHING = np.empty((0, 0, 0), np.int32)


class StrayedError(Exception):
    """A pass was given other symbols than the one that it follows."""


@dataclass
class Trail:
    """What ``layers`` computed and was given, in this order.

    ``bands``: hints, predictions, symbols and expectations; ``ends``: what levels closed with.
    """

    layers: Layers
    bands: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    ends: list[tuple[tuple[int, int], int]] = field(default_factory=list)


class Following:
    """A pass that follows a trail; StrayedError where it leads elsewhere."""

    def __init__(self, trail: Trail):
        self._trail = trail
        self._bands = iter(trail.bands)
        self._ends: Iterator[tuple[tuple[int, int], int]] = iter(trail.ends)
        self._q = self._expected = _NOTHING
        self.predicted = _NOTHING
        self.kept: np.ndarray | None = None

    @property
    def low(self) -> np.ndarray:
        """Of the end of the trail, also on the way."""
        return self._trail.layers.low

    def open(self, level: int) -> None:
        """Begin a level."""
        if _limits(self.kept) != _limits(self._trail.layers.kept):
            raise StrayedError

    def hints(self, band: int, step: int) -> np.ndarray:
        """As they were."""
        hints, self.predicted, self._q, self._expected = next(self._bands)
        return hints

    def coefs(self, band: int) -> np.ndarray:
        """Only what decodes follows."""
        raise NotImplementedError

    def put(self, band: int, q: np.ndarray, expected: np.ndarray, step: int) -> None:
        """Take the symbols of a band, which have to be the same."""
        if not (_same(q, self._q) and _same(expected, self._expected)):
            raise StrayedError

    def close(self, back: tuple[int, int], share: int) -> None:
        """The level is complete."""
        if next(self._ends) != (back, share):
            raise StrayedError


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(_equal(a.reshape(-1), b.reshape(-1)))


@kernel()
def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    differences = 0
    for i in range(a.size):
        differences |= a[i] ^ b[i]
    return differences == 0


def _limits(kept: np.ndarray | None) -> tuple[int, ...] | None:
    return None if kept is None else tuple(map(int, kept))

"""From coded tiles to what a header says of them, and to the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .container import Header, TileEntry, pack
from .models import Model
from .tilecoder import Tile
from .tiledecoder import ADAPTIVE, CONSTANT, RAW, bank_of
from .values import shortened

_STEPPED = ("predicted", "lattice")


def rounded_up(value: float, limit: float) -> float:
    """``value`` rounded up to a number that is short to store, unless that exceeds ``limit``."""
    short = shortened(value)
    if short < value:
        short = shortened(value * (1 + 2.0**-19))
    return short if value <= short <= limit else value


@dataclass
class Totals:
    """Sums over tiles that a header needs.

    ``closed``: whether any was coded by other steps than those of the transform.
    """

    max_error: float = 0.0
    square_error: float = 0.0
    finite: int = 0
    needs_model: bool = False
    closed: bool = False

    def add(self, t: Tile | Totals) -> None:
        """Take a tile, or other totals, in."""
        self.max_error = max(self.max_error, t.max_error)
        self.square_error += t.square_error
        self.finite += t.finite
        if isinstance(t, Totals):
            self.needs_model |= t.needs_model
            self.closed |= t.closed
        else:
            self.needs_model |= t.coding not in (CONSTANT, RAW, ADAPTIVE)
            self.closed |= t.coding not in (CONSTANT, RAW) and bank_of(t.coding) in _STEPPED


def to_bytes(header: Header, tiles: list[Tile], model: Model | None) -> bytes:
    """The whole file in memory."""
    entries = [TileEntry.of(t.coding, t.flags, t.streams) for t in tiles]
    embedded = model.data if model is not None and header.model_length else None
    return pack(
        replace(header, model_length=0), entries, [s for t in tiles for s in t.streams], embedded
    )

"""Restoration: a filter after the synthesis of a tile, fitted to it and kept in its stream."""

from .filters import Filter, from_usual, to_usual, unpack
from .fitting import fit
from .taps import STEP

__all__ = ["STEP", "Filter", "fit", "from_usual", "to_usual", "unpack"]

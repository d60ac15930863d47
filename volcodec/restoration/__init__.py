"""Restoration: a filter after the synthesis of a tile, fitted to it and kept in its stream."""

from .filters import MAX_PASSES, Filter, Pass, from_usual, to_usual, unpack
from .fitting import fit
from .taps import STEP

__all__ = ["MAX_PASSES", "STEP", "Filter", "Pass", "fit", "from_usual", "to_usual", "unpack"]

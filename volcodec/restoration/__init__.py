"""Restoration: a filter after the synthesis of a tile, fitted to it and kept in its stream."""

from .filters import Filter, unpack
from .fitting import fit

__all__ = ["Filter", "fit", "unpack"]

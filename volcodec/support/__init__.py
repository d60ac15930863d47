"""Which voxels hold data: masks, NaN and infinities, and the fill behind them."""

from __future__ import annotations

from .fill import fill
from .mask import decode_mask, encode_mask
from .specials import decode_specials, encode_specials

__all__ = ["decode_mask", "decode_specials", "encode_mask", "encode_specials", "fill"]

"""Training samples: context features and the symbols that came, from tiles at random steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..entropy import contexts
from ..models import Bank
from ..quantiser import GAIN_BITS, band_step, decide, scatter
from ..transform.pyramid import (
    BAND_ORDER,
    FRACTION,
    Pyramid,
    band_view,
    default_levels,
)


@dataclass
class Samples:
    """Columns of equal length: features (N, FEATURES) uint8, net, level kind, symbol, weight."""

    features: np.ndarray
    net: np.ndarray
    level: np.ndarray
    symbol: np.ndarray
    weight: np.ndarray

    @classmethod
    def join(cls, parts: list[Samples]) -> Samples:
        """One after the other."""
        return cls(
            *(
                np.concatenate([getattr(p, name) for p in parts])
                for name in ("features", "net", "level", "symbol", "weight")
            )
        )


def fixed_gains(pyramid: Pyramid, levels: int) -> np.ndarray:
    """The pyramid's 1-D synthesis norms as integers over 2**GAIN_BITS, (2, levels)."""
    low, high = pyramid.gains(levels)
    return np.rint(np.array([low, high]) * (1 << GAIN_BITS)).astype(np.int64)


def gather(
    tile: np.ndarray,
    step: float | None,
    pyramid: Pyramid,
    gains: np.ndarray,
    rng: np.random.Generator,
    per_pass: int = 400,
    bank: Bank | None = None,
    lam: float = 0.12,
    offset: float = 0.42,
) -> Samples:
    """Samples of one tile (float64 or integers): lossy at ``step``, or lossless where None.

    With ``bank`` symbols are decided as the encoder decides them, else by a plain dead zone that
    rounds up from ``1 - offset``.
    """
    if step is None:
        fixed = np.asarray(tile).astype(np.int32)
    else:
        fixed = np.rint(tile * ((1 << FRACTION) / step)).astype(np.int32)
    levels = default_levels(tile.shape)
    arrays = pyramid.analysis(fixed, levels)
    shapes = [fixed.shape]
    for _ in range(levels):
        shapes.append(arrays[len(shapes)].shape)
    parent = contexts.LevelState.empty((0, 0, 0))
    parts = []
    bits = 0.0
    for level in range(max(levels, 1), 0, -1):
        shape = shapes[level - 1]
        state = contexts.LevelState.empty(shape if levels else tuple(2 * n for n in shape))
        bands = ([0] if level >= levels else []) + (list(BAND_ORDER) if levels else [])
        kind = min(level, contexts.LEVEL_KINDS) - 1
        for band in bands:
            coefs = arrays[levels] if band == 0 else band_view(arrays[level - 1], band)
            if coefs.size == 0:
                continue
            s = 1 if step is None else band_step(gains, fixed.shape, level, band)
            m = np.floor(np.abs(coefs.astype(np.int64)) / s + (offset if s > 1 else 0))
            symbols = (np.sign(coefs) * m).astype(np.int32)
            bits += float(np.log2(1 + 2.0 * m).sum()) * 1.3 + 0.05 * float((m > 0).sum())
            before = np.array(BAND_ORDER[: BAND_ORDER.index(band)] if band else [], np.int64)
            q = np.zeros(coefs.shape, np.int32)
            for c, off in enumerate(contexts.CLASSES):
                chosen = coefs[off[0] :: 2, off[1] :: 2, off[2] :: 2]
                if chosen.size == 0:
                    continue
                part = np.ascontiguousarray(symbols[off[0] :: 2, off[1] :: 2, off[2] :: 2]).ravel()
                x = np.zeros((contexts.FEATURES, part.size), np.uint8)
                where = np.empty(part.size, np.int32)
                n = contexts.features(
                    state.mag, state.faces, parent.mag, parent.faces, band, before,
                    coefs.shape, off, contexts.LOG, x, where,
                )  # fmt: skip
                full = np.zeros((part.size, contexts.FEATURES), np.uint8)
                full[where[:n]] = x[:, :n].T
                if bank is not None and step is not None:
                    net = band * 8 + c
                    table = np.full(part.size, bank.zero[net, kind], np.uint8)
                    contexts.choose(
                        x, n, where, 8 + 2 * before.size, bank.w1[net], bank.b1[net, kind],
                        bank.w2[net], bank.b2[net], bank.w3[net], bank.b3[net], bank.scales,
                        len(bank.tables) - 1, table,
                    )  # fmt: skip
                    decide(chosen, s, table, bank.tables.cost, lam, part)
                pick = (
                    np.arange(part.size)
                    if part.size <= per_pass
                    else rng.choice(part.size, per_pass, replace=False)
                )
                weight = np.full(pick.size, part.size / pick.size, np.float32)
                nets = np.full(pick.size, band * 8 + c, np.uint8)
                parts.append(
                    Samples(full[pick], nets, np.full(pick.size, kind, np.uint8), part[pick], weight)
                )
                scatter(part, state.mag[band], q, off[0], off[1], off[2])
            state.close_band(band, coefs.shape)
        parent = state
    out = Samples.join(parts)
    # every tile counts alike, whatever its rate: the aim is relative savings
    out.weight /= max(bits, 0.002 * fixed.size)
    return out

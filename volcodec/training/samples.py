"""Training samples: context features and the symbols that came, from tiles at random steps."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numba
import numpy as np

from .. import trellis
from ..entropy import contexts
from ..entropy.expectation import (
    BITS,
    CLASSES,
    COUNT,
    HALF,
    Signs,
    unpack,
)
from ..entropy.places import place, scatter
from ..entropy.rows import SLACK, amid_zeros
from ..entropy.tables import TOKENS
from ..entropy.trellis import halves_of
from ..entropy.weights import Moments, choose_weights, moments
from ..models import TRELLIS, Bank
from ..quantiser import GAIN_BITS, band_step, decide
from ..scales import BEFORE, bands_of, empty_state, level_kind, no_parent
from ..transform.layers import Layers, Lifted, Predicted, level_shapes
from ..transform.pyramid import FRACTION, Pyramid, default_levels

WAVELET = ("lossy", TRELLIS)  # banks with a step of the wavelet
OFFSET = 0.42  # of the dead zone, before there is a model to decide with
_SHARE = 192  # of the rest of an expectation that a zero decodes to, over 256


_NO_CONTEXTS = np.empty(0, np.uint8)
_NO_COST, _NO_SIGN = np.zeros((1, TOKENS), np.int32), Signs.even(1)


@dataclass
class Samples:
    """Columns of equal length: features (N, FEATURES) uint8, net, level kind, symbol, rest, weight.

    ``rest`` (int8): of the expectation, as a share over 2**BITS. ``quantiser`` (uint8): of the
    symbol, 0 where no trellis decides.
    """

    features: np.ndarray
    net: np.ndarray
    level: np.ndarray
    symbol: np.ndarray
    rest: np.ndarray
    weight: np.ndarray
    quantiser: np.ndarray

    @classmethod
    def join(cls, parts: list[Samples]) -> Samples:
        """One after the other."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS))


COLUMNS = tuple(f.name for f in fields(Samples))


def fixed_gains(pyramid: Pyramid, levels: int) -> np.ndarray:
    """The pyramid's 1-D synthesis norms as integers over 2**GAIN_BITS, (2, levels)."""
    low, high = pyramid.gains(levels)
    return np.rint(np.array([low, high]) * (1 << GAIN_BITS)).astype(np.int64)


@dataclass(frozen=True)
class Recipe:
    """How a tile becomes symbols: ``kind`` is a bank's name.

    ``step``: of the wavelet in units of the tile (lossy), or the odd integer step (predicted).
    ``codebook``: weights of expectations (int8, (7, K, 28)), besides the bands' own.
    """

    kind: str
    pyramid: Pyramid
    gains: np.ndarray
    step: float = 1.0
    bank: Bank | None = None
    lam: float = 0.12
    codebook: np.ndarray = field(default_factory=lambda: np.zeros((7, 0, COUNT), np.int8))

    def integers(self, tile: np.ndarray) -> np.ndarray:
        """The tile in fixed point (by the wavelet) or as it is."""
        if self.kind in WAVELET:
            return np.rint(tile * ((1 << FRACTION) / self.step)).astype(np.int32)
        return np.asarray(tile).astype(np.int32)

    def layers(self, tile: np.ndarray, levels: int) -> Layers:
        """The pass over a tile of integers."""
        if self.kind == "predicted":
            return Predicted(tile.shape, levels, tile)  # type: ignore[arg-type]
        return Lifted(self.pyramid, tile.shape, levels, tile, self.halved)  # type: ignore[arg-type]

    @property
    def halved(self) -> int:
        """1 where a trellis decides, so that quantised bands are in halves of a step."""
        return int(self.kind == TRELLIS)

    def band_step(self, shape: tuple[int, int, int], level: int, band: int) -> int:
        """The integer step of a band."""
        if self.kind in WAVELET:
            return band_step(self.gains, shape, level, band)
        return int(self.step) if self.kind == "predicted" else 1


def gather(
    tile: np.ndarray, recipe: Recipe, rng: np.random.Generator, per_pass: int = 400,
    bands: list[tuple[int, Moments]] | None = None,
) -> Samples:  # fmt: skip
    """Samples of one tile: of each parity class of each band at most ``per_pass``.

    ``bands`` takes the moments of each band, where it is given.
    """
    fixed = recipe.integers(tile)
    shape: tuple[int, int, int] = fixed.shape  # type: ignore[assignment]
    levels = default_levels(shape)
    layers = recipe.layers(fixed, levels)
    shapes = level_shapes(shape, levels)
    parent = no_parent()
    parts = []
    bits = 0.0
    for level in range(levels, 0, -1) if levels else (0,):
        state = empty_state(shapes, level)
        kind = level_kind(level)
        layers.open(level)
        for band in bands_of(level, levels):
            step = recipe.band_step(shape, level, band)
            hints = layers.hints(band, step)
            coefs = layers.coefs(band)
            if coefs.size == 0:
                continue
            size: tuple[int, int, int] = coefs.shape  # type: ignore[assignment]
            q = np.zeros(size, np.int32)
            kept = amid_zeros(size)
            expected = np.zeros(size, np.int32)
            weights = np.zeros((8, 8), np.int32)
            found = moments(coefs, step) if band else None
            if found is not None:
                weights = unpack(choose_weights(found, recipe.codebook[band - 1])[1])
                if bands is not None:
                    bands.append((band, found._replace(symbols=np.empty((0, 0, 0), np.int32))))
            for c, off in enumerate(CLASSES):
                chosen = coefs[off[0] :: 2, off[1] :: 2, off[2] :: 2]
                if chosen.size == 0:
                    continue
                x = np.zeros((contexts.GROUPS, chosen.size + SLACK), np.int32)
                where = np.empty(chosen.size + SLACK, np.int32)
                e = np.zeros(chosen.size, np.int32)
                n = contexts.features(
                    state.mag, state.logs, state.beside, parent.mag, parent.logs, hints, band,
                    BEFORE[band], size, off, kept, weights[c], recipe.halved, x, where, e,
                    _NO_CONTEXTS,
                )  # fmt: skip
                full = np.zeros((chosen.size, contexts.FEATURES), np.uint8)
                full[where[:n]] = contexts.rows_of(x, n)
                part, turns = _symbols(recipe, chosen, step, band, c, kind, x, n, where, e)
                rest = (e - (((e + HALF) >> BITS) << BITS)).astype(np.int8)
                m = np.abs(part.astype(np.int64))
                bits += float(np.log2(1 + 2.0 * m).sum()) * 1.3 + 0.05 * float((m > 0).sum())
                pick = np.arange(part.size)
                if part.size > per_pass:
                    pick = rng.choice(part.size, per_pass, replace=False)
                weight = np.full(pick.size, part.size / pick.size, np.float32)
                nets = np.full(pick.size, band * 8 + c, np.uint8)
                kinds = np.full(pick.size, kind, np.uint8)
                parts.append(
                    Samples(
                        full[pick], nets, kinds, part[pick], rest[pick], weight, turns[pick]
                    )
                )  # fmt: skip
                scatter(
                    _halves(part, turns) if recipe.halved else part, e, recipe.halved,
                    state.mag[band], kept, True, q, off[0], off[1], off[2],
                )  # fmt: skip
                place(e, expected, off[0], off[1], off[2])
            state.close_band(band, size)
            layers.put(band, q, expected, step)
        layers.close((0, 0), _SHARE)
        parent = state
    out = Samples.join(parts)
    # every tile counts alike, whatever its rate: the aim is relative savings
    out.weight /= max(bits, 0.002 * fixed.size)
    return out


def _symbols(
    recipe: Recipe, coefs: np.ndarray, step: int, band: int, c: int, kind: int,
    x: np.ndarray, n: int, where: np.ndarray, expected: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The symbols of a class, decided as the encoder would, and their quantisers (uint8)."""
    part = np.empty(coefs.size, np.int32)
    turns = np.zeros(coefs.size, np.uint8)
    if recipe.bank is None and recipe.kind == "lossy":
        left = coefs.reshape(-1) / step - ((expected + HALF) >> BITS)
        part[:] = np.sign(left) * np.floor(np.abs(left) + OFFSET)
    elif recipe.bank is None:
        lam = -1.0 if recipe.kind == "lattice" else 0.0
        table = np.zeros(part.size, np.uint8)
        decide(coefs, step, expected, table, _NO_COST, _NO_SIGN.cost, lam, part)
    else:
        bank = recipe.bank
        net = band * 8 + c
        table = np.full(part.size, bank.zero[net, kind], np.uint8)
        contexts.choose(
            x, n, where, contexts.FIXED + 2 * BEFORE[band].size,
            *bank.networks.of_net(net, kind), bank.choices - 1, table,
        )  # fmt: skip
        costs = bank.tables.cost, bank.signs.cost
        if recipe.halved:
            trellis.decide(coefs, step, expected, table, *costs, recipe.lam, part, turns)
        else:
            decide(coefs, step, expected, table, *costs, recipe.lam, part)
    return part, turns


@numba.njit(cache=True)
def _halves(symbols: np.ndarray, quantisers: np.ndarray) -> np.ndarray:
    out = np.empty(symbols.size, np.int32)
    for i in range(symbols.size):
        out[i] = halves_of(symbols[i], quantisers[i])
    return out

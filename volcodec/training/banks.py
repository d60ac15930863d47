"""The pyramid's banks: a crop as the tile of one of them, and trained banks as a model file."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np

from ..models import NEURAL, PYRAMID, TRELLIS
from ..neural.network import Weights
from ..transform.pyramid import MAX_LEVELS, Pyramid
from ..values import CLOSED_STEP, to_ordered
from . import fit
from .samples import WAVELET, Recipe, fixed_gains

_WIDE = 2.0**18
RANGES = {
    "lossy": (0.03, 600.0), TRELLIS: (0.03, 600.0),
    "lattice": (0.04, _WIDE), "predicted": (0.04, _WIDE),
}  # fmt: skip


def _lossy(x: np.ndarray, kind: str, pyramid: Pyramid, gains: np.ndarray, bank: object,
           rng: np.random.Generator) -> tuple[np.ndarray, Recipe]:  # fmt: skip
    low, high = float(x.min()), float(x.max())
    step = (high - low) * 2.0 ** rng.uniform(-13.5, -2.5)
    recipe = Recipe(kind, pyramid, gains, step, bank, float(rng.uniform(0.04, 0.16)))  # type: ignore[arg-type]
    return x.astype(np.float64) - (low / 2 + high / 2), recipe


def _exact(x: np.ndarray, kind: str, pyramid: Pyramid, gains: np.ndarray,
           rng: np.random.Generator) -> tuple[np.ndarray, Recipe]:  # fmt: skip
    """Integers for the reversible wavelet or the closed loop: lossless, bits, or a bound."""
    low, high = float(x.min()), float(x.max())
    middle = low / 2 + high / 2
    bound = (high - low) * 10.0 ** rng.uniform(-4.3, -1.7)
    whole = x.dtype.kind in "iu"
    step = 1
    if whole and rng.random() < 0.55:
        y = x.astype(np.int64) - int(middle)
    elif not whole and rng.random() < 0.12:
        y = to_ordered(np.ascontiguousarray(x, dtype=np.float32)).astype(np.int64)
    elif kind == "lattice":
        y = np.rint((x.astype(np.float64) - middle) / (2 * bound)).astype(np.int64)
    elif whole:
        step = 2 * int(bound) + 1
        y = x.astype(np.int64) - int(middle)
    else:
        step = CLOSED_STEP
        unit = 2 * bound / (CLOSED_STEP + 1)
        y = np.rint((x.astype(np.float64) - middle) / unit).astype(np.int64)
    return y, Recipe(kind, pyramid, gains, step)


def prepare(kind: str, x: np.ndarray, pyramid: Pyramid, gains: np.ndarray, bank: object,
            rng: np.random.Generator) -> tuple[np.ndarray, Recipe]:  # fmt: skip
    """A crop that is not constant as the tile of a bank, and how it becomes symbols."""
    if kind in WAVELET:
        return _lossy(x, kind, pyramid, gains, bank, rng)
    return _exact(x, kind, pyramid, gains, rng)


def pack(
    banks: dict[str, fit.Bank], card: dict[str, object], predictor: Weights | None = None
) -> bytes:
    """The bytes of a model file."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    for name, bank in banks.items():
        for key in ("w1", "w2", "w3"):
            tensors[f"{name}.{key}"] = getattr(bank, key).astype(np.int16)
        for key in ("b1", "b2", "b3"):
            tensors[f"{name}.{key}"] = getattr(bank, key).astype(np.int32)
        tensors[f"{name}.freq"] = bank.freq
        if bank.codebook.shape[1]:  # else a bank that expects nothing, kept from an older model
            tensors[f"{name}.signs"] = bank.signs
            tensors[f"{name}.codebook"] = bank.codebook
        tensors[f"{name}.lifting"] = bank.lifting.astype(np.int32)
    if predictor is not None:
        for field in fields(Weights):
            tensors[f"{NEURAL}.{field.name}"] = getattr(predictor, field.name)
    wavelet = Pyramid(banks["lossy"].lifting)
    tensors["gains"] = fixed_gains(wavelet, MAX_LEVELS).astype(np.int32)
    bits = fit.WEIGHT_BITS
    card = {**card, "shifts": [bits, bits, bits + int(np.log2(fit.UNIT))]}
    return bytes(save(tensors, metadata={"format": PYRAMID, "card": json.dumps(card)}))

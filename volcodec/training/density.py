"""Trains a model from volumes: ``python -m volcodec.training.density DATA... -o MODEL``.

Each bank is trained by maximum likelihood on symbols gathered from crops at random steps. The
lossy bank is trained twice: first on symbols of a plain dead zone, then on those that the encoder
decides with the first result (rate-distortion optimised quantisation changes their statistics).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from .. import models
from ..transform.pyramid import CDF97, MAX_LEVELS, Pyramid
from ..values import CLOSED_STEP, to_ordered
from . import fit
from .crops import draw_crop, load_volumes
from .samples import Recipe, Samples, fixed_gains, gather

FORMAT = "volcodec-pyramid-1"
RANGES = {"lossy": (0.03, 600.0), "lattice": (0.04, 2.0**18), "predicted": (0.04, 2.0**18)}
Log = Callable[[str], None]


def _lossy(x: np.ndarray, pyramid: Pyramid, gains: np.ndarray, bank: object,
           rng: np.random.Generator) -> tuple[np.ndarray, Recipe]:  # fmt: skip
    low, high = float(x.min()), float(x.max())
    step = (high - low) * 2.0 ** rng.uniform(-13.5, -2.5)
    recipe = Recipe("lossy", pyramid, gains, step, bank, float(rng.uniform(0.04, 0.16)))  # type: ignore[arg-type]
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
    if kind == "lossy":
        return _lossy(x, pyramid, gains, bank, rng)
    return _exact(x, kind, pyramid, gains, rng)


def collect(
    kind: str, volumes: list[np.ndarray], crops: int, seed: int, bank: object = None
) -> Samples:
    """Samples of ``crops`` crops for one bank."""
    rng = np.random.default_rng(seed)
    pyramid = Pyramid.classic()
    gains = fixed_gains(pyramid, MAX_LEVELS)
    parts = []
    for i in range(crops):
        x = draw_crop(volumes, i, rng)
        if x.min() == x.max():
            continue
        tile, recipe = prepare(kind, x, pyramid, gains, bank, rng)
        parts.append(gather(tile, recipe, rng))
    return Samples.join(parts)


def pack(banks: dict[str, fit.Bank], card: dict[str, object]) -> bytes:
    """The bytes of a model file."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    for name, bank in banks.items():
        for key in ("w1", "w2", "w3"):
            tensors[f"{name}.{key}"] = getattr(bank, key).astype(np.int16)
        for key in ("b1", "b2", "b3"):
            tensors[f"{name}.{key}"] = getattr(bank, key).astype(np.int32)
        tensors[f"{name}.freq"] = bank.freq
        tensors[f"{name}.lifting"] = CDF97.astype(np.int32)
    tensors["gains"] = fixed_gains(Pyramid.classic(), MAX_LEVELS).astype(np.int32)
    bits = fit.WEIGHT_BITS
    card = {**card, "shifts": [bits, bits, bits + int(np.log2(fit.UNIT))]}
    return bytes(save(tensors, metadata={"format": FORMAT, "card": json.dumps(card)}))


def train(
    volumes: list[np.ndarray], minutes: float, crops: int, seed: int, trained_on: str, log: Log
) -> bytes:
    """Train all banks within about ``minutes`` of fitting; returns the model file."""
    began = time.monotonic()
    results: dict[str, object] = {}

    def fitted(kind: str, samples: Samples, share: float, start: object = None) -> object:
        low, high = RANGES[kind]
        return fit.train_bank(
            samples, low=low, high=high, steps=10**9, budget=60 * minutes * share, seed=seed,
            start=start, report=lambda s, b: log(f"{kind}: step {s}, {b:.5f} bits"),  # type: ignore[arg-type]
        )  # fmt: skip

    samples = collect("lossy", volumes, crops, seed)
    net = fitted("lossy", samples, 0.2)
    banks = {kind: fit.export(net, samples) for kind in models.BANKS}  # type: ignore[arg-type]
    first = models.read(pack(banks, {}), "first").banks["lossy"]
    del samples
    shares = {"lossy": 0.32, "predicted": 0.28, "lattice": 0.2}
    for kind, share in shares.items():
        bank = first if kind == "lossy" else None
        data = collect(kind, volumes, crops, seed + 1 + len(results), bank)
        net = fitted(kind, data, share, net if kind == "lossy" else None)
        banks[kind] = fit.export(net, data)  # type: ignore[arg-type]
        results[kind] = round(fit.mean_bits(banks[kind], data), 5)
        log(f"{kind}: {results[kind]} bits a symbol as integers, {len(data.net)} samples")
    card: dict[str, object] = {
        "trained_on": trained_on,
        "recipe": "volcodec.training.density",
        "crops": crops,
        "fitting_minutes": minutes,
        "total_minutes": round((time.monotonic() - began) / 60, 1),
        "seed": seed,
        "torch": torch.__version__,
        "bits_per_symbol": results,
        "licence": "Apache-2.0",
    }
    return pack(banks, card)


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option("--minutes", default=20.0, show_default=True, help="Time for fitting.")
@click.option("--crops", default=420, show_default=True, help="Crops for each bank.")
@click.option("--seed", default=1, show_default=True)
@click.option("--trained-on", default="", help="What the card says of the data.")
def main(
    data: tuple[Path, ...], output: Path, minutes: float, crops: int, seed: int, trained_on: str
) -> None:
    """Train a model on the volumes in DATA (files and folders)."""
    volumes = load_volumes(list(data))
    blob = train(
        volumes, minutes, crops, seed, trained_on or f"{len(volumes)} volumes",
        lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    models.read(blob, output.stem)
    output.write_bytes(blob)


if __name__ == "__main__":
    main()

"""Model files that tests alter: the tensors and the card of the shipped one, and how to save."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from volcodec import models
from volcodec.autoencoder import DOORS, RATES, SCALES, SYMBOL
from volcodec.neural.network import EXTRA, KINDS, OUTPUTS, Weights
from volcodec.neural.passes import COUNT, PASSES
from volcodec.tilecoder import TileCoder
from volcodec.transform.network import Layer, Triple

M, N = 6, 4  # channels of the latents and the hyper-latents of the tiny autoencoder
RAW = 1 << 23
Tensors = dict[str, np.ndarray]


@lru_cache(maxsize=1)
def _shipped() -> tuple[bytes, dict[str, str]]:
    data = models.load("density").data
    size = int.from_bytes(data[:8], "little")
    return data, json.loads(data[8 : 8 + size])["__metadata__"]


def shipped() -> tuple[Tensors, dict[str, Any], dict[str, str]]:
    """Writable tensors, card and metadata of the shipped model."""
    data, meta = _shipped()
    tensors = {name: a.copy() for name, a in load(data).items()}
    return tensors, json.loads(meta["card"]), dict(meta)


def model_file(tensors: Tensors, card: Any, meta: dict[str, str]) -> bytes:
    """The bytes of a model file."""
    text = card if isinstance(card, str) else json.dumps(card)
    return save(
        {name: np.ascontiguousarray(a) for name, a in tensors.items()}, {**meta, "card": text}
    )


@lru_cache(maxsize=1)
def tiny_model() -> bytes:
    """A valid model of a few kilobytes: the first rows of the shipped one's layers and tables."""
    tensors, card, meta = shipped()
    for bank in models.BANKS:
        cuts: dict[str, Any] = {
            "w1": np.s_[:, :2], "b1": np.s_[:, :, :2], "w2": np.s_[:, :2, :2], "b2": np.s_[:, :2],
            "w3": np.s_[:, :2], "freq": np.s_[:6], "signs": np.s_[:, :6], "codebook": np.s_[:, :2],
        }  # fmt: skip
        for key, cut in cuts.items():
            tensors[f"{bank}.{key}"] = tensors[f"{bank}.{key}"][cut]
    return model_file(tensors, {**card, "trained_on": "nothing: cut from another"}, meta)


def layer(
    rng: np.random.Generator, out: int, channels: int, kernel: Triple, *,
    stride: Triple = (1, 1, 1),
    shift: int = 6, low: int = -511, high: int = 511, rectify: bool = False, adds: int = -1,
    spread: Triple = (1, 1, 1),
) -> Layer:  # fmt: skip
    weight = rng.integers(-9, 10, (out, channels, *kernel)).astype(np.float32)
    bias = rng.integers(-300, 300, out).astype(np.float32)
    return Layer(weight, bias, stride, shift, low, high, rectify, adds, spread)


@lru_cache(maxsize=2)
def tiny_unet(door: Triple = DOORS[0]) -> bytes:
    """A valid model with an autoencoder of random weights, and the banks of the tiny one."""
    rng = np.random.default_rng(0)
    up = (1 if door[0] == 1 else 2, 2, 2)
    kernel: Triple = (1 if door[0] == 1 else 3, 3, 3)
    inside = int(np.prod(door))
    cells = int(np.prod(up))
    networks = {
        "encoder": [
            layer(rng, 8, inside, (1, 1, 1), shift=8),
            layer(rng, M, 8, kernel, stride=up, rectify=True, shift=0, low=-RAW, high=RAW),
        ],
        "hyper_encoder": [layer(rng, N, M, kernel, stride=up, shift=8, low=-SYMBOL, high=SYMBOL)],
        "hyper_decoder": [
            layer(rng, M * cells, N, (1, 1, 1), shift=4, low=0, high=SCALES - 1, spread=up)
        ],
        "decoder": [
            layer(rng, 8 * cells, M, (1, 1, 1), shift=3, spread=up),
            layer(rng, inside, 8, (1, 1, 1), rectify=True, shift=0, low=-RAW, high=RAW),
        ],
    }  # fmt: skip
    data = tiny_model()
    tensors = dict(load(data))
    about: dict[str, object] = {"unit": 2.0**-16, "door": list(door)}
    for name, layers in networks.items():
        about[name] = [
            {"stride": a.stride, "shift": a.shift, "low": a.low, "high": a.high,
             "rectify": a.rectify, "adds": a.adds, "spread": a.spread} for a in layers
        ]  # fmt: skip
        for i, a in enumerate(layers):
            tensors[f"unet.{name}.{i}.weight"] = a.weight.astype(np.int16)
            tensors[f"unet.{name}.{i}.bias"] = a.bias.astype(np.int32)
    full = models.load("density")
    freq = full.banks["lossy"].tables.freq
    tensors["unet.freq"] = np.concatenate([freq[:SCALES], freq[20 : 20 + N]])
    tensors["unet.gain"] = np.geomspace(1e-4, 1e-3, RATES)[:, None].repeat(M, 1)
    tensors["unet.back"] = np.full((RATES, M), 3 << 16, np.int32)
    card = {"shifts": full.card["shifts"], "unet": about, "trained_on": "nothing"}
    return bytes(save(tensors, metadata={"format": models.UNET, "card": json.dumps(card)}))


def network(h1: int = 8, h2: int = 8) -> Weights:
    """A network that predicts: the mean of what is known, roughly, and random weights besides."""
    rng = np.random.default_rng(3)

    def some(*shape: int, size: float = 0.05) -> np.ndarray:
        return (size * rng.standard_normal(shape)).astype(np.float32)

    last = np.array([0, -1, 0.5, 0, -1], np.float32)
    return Weights(
        some(PASSES, COUNT, size=0.02), some(COUNT + EXTRA, h1), some(PASSES, KINDS, h1),
        some(h1, h2, size=0.3), some(h2), some(h2, OUTPUTS, size=0.1), last,
    )  # fmt: skip


@lru_cache(maxsize=1)
def tiny_neural() -> bytes:
    """The tiny model with a network that predicts."""
    data = tiny_model()
    size = int.from_bytes(data[:8], "little")
    meta = json.loads(data[8 : 8 + size])["__metadata__"]
    made = network()
    tensors = {f"{models.NEURAL}.{f.name}": getattr(made, f.name) for f in fields(Weights)}
    return model_file({**load(data), **tensors}, meta["card"], meta)


@contextmanager
def coded_by(bank: str) -> Iterator[None]:
    """Tiles that can be coded by ``bank`` are, whatever it costs."""
    ways = TileCoder._ways

    def only(self: TileCoder, *given: Any) -> Iterator[Any]:
        found = list(ways(self, *given))
        return iter([w for w in found if w.bank == bank] or found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TileCoder, "_ways", only)
        patch.setattr(TileCoder, "raw", lambda self, values: bytes(9 * values.nbytes + 99))
        yield

"""Model files that tests alter: the tensors and the card of the shipped one, and how to save."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from volcodec import models

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
            "w3": np.s_[:, :2], "freq": np.s_[:6],
        }  # fmt: skip
        for key, cut in cuts.items():
            tensors[f"{bank}.{key}"] = tensors[f"{bank}.{key}"][cut]
    return model_file(tensors, {**card, "trained_on": "nothing: cut from another"}, meta)

"""Models: frozen integer weights and tables in one safetensors file, their card and identity."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import shipped
from .autoencoder import NETWORKS, Autoencoder
from .container.header import BRIEF_SIZE
from .entropy import contexts
from .entropy.expectation import COUNT, RESTS, Signs
from .entropy.products import ACTIVATION
from .entropy.tables import Tables
from .errors import ModelError
from .neural.network import Weights
from .shipped import SUFFIX
from .transform.network import Layer
from .transform.pyramid import MAX_LEVELS, SHIFT, Pyramid

MAX_BYTES = 64 << 20
BANKS = ("lossy", "lattice", "predicted")
NEURAL = "neural"  # what the tensors of a network that predicts are called after
TRELLIS = "trellis"  # a bank that newer models have besides; its tables are of two quantisers
PYRAMID, UNET = "volcodec-pyramid-1", "volcodec-unet-1"  # formats; a unet has a pyramid's banks too
_LAYERS, _CHANNELS = 64, 1024  # most of a network
_CODEBOOK = 254  # most sets of weights of a band


@dataclass(frozen=True)
class Bank:
    """Networks, tables, weights of expectations and lifting coefficients for one kind of coding.

    Weights of networks are float32 that hold integers; ``networks`` are the same as the coder takes
    them. ``codebook`` int8 (7, K, 28) by band; with K = 0 nothing is expected of symbols.
    ``quantisers``: 2 where a trellis decides; tables and signs of the first come before those of
    the second.
    """

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    scales: np.ndarray
    networks: contexts.Networks
    zero: np.ndarray
    tables: Tables
    signs: Signs
    codebook: np.ndarray
    pyramid: Pyramid
    quantisers: int = 1

    @property
    def choices(self) -> int:
        """Tables that the networks choose from: those of one quantiser."""
        return len(self.tables) // self.quantisers


@dataclass(frozen=True)
class Model:
    """A model in memory: its banks, gains (see quantiser), card and SHA-256 identity.

    ``unet``: the autoencoder, ``neural``: the network that predicts, where the model has one.
    ``path``: of its file, where it has one.
    """

    name: str
    identity: bytes
    card: dict[str, Any] = field(repr=False)
    banks: dict[str, Bank] = field(repr=False)
    gains: np.ndarray = field(repr=False)
    data: bytes = field(repr=False)
    unet: Autoencoder | None = field(repr=False, default=None)
    neural: Weights | None = field(repr=False, default=None)
    path: str = field(repr=False, default="")

    def named(self, identity: bytes) -> bool:
        """Whether ``identity``, the beginning of a SHA-256 in a file's header, is this model's."""
        return len(identity) >= BRIEF_SIZE and self.identity.startswith(identity)


@dataclass(frozen=True)
class ModelInfo:
    """A model at hand: name, path, bytes, what it was trained on, identity (hex)."""

    name: str
    path: str
    bytes: int
    trained_on: str
    identity: str


def read(data: bytes, name: str) -> Model:
    """A model from the bytes of its file; ModelError where they are not a valid model."""
    from safetensors.numpy import load

    if len(data) > MAX_BYTES:
        raise ModelError(f"model {name} has {len(data)} bytes; the most allowed is {MAX_BYTES}")
    try:
        tensors = load(data)
        meta = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        card = json.loads(meta["card"])
        if meta.get("format") not in (PYRAMID, UNET):
            raise ValueError(f"its format is {meta.get('format')!r}")
        names = (*BANKS, TRELLIS) if f"{TRELLIS}.w1" in tensors else BANKS
        banks = {b: _bank(tensors, b, card["shifts"]) for b in names}
        if tensors["gains"].dtype != np.int32:
            raise ValueError("gains must be int32")
        gains = tensors["gains"].astype(np.int64)
        if gains.shape != (2, MAX_LEVELS) or (gains <= 0).any() or (gains >= 1 << 24).any():
            raise ValueError("gains are out of range")
        unet = _autoencoder(tensors, card["unet"]) if meta["format"] == UNET else None
        neural = _predictor(tensors) if f"{NEURAL}.w1" in tensors else None
    except ModelError:
        raise
    except Exception as error:  # whatever hostile bytes provoke in the reader is one thing to us
        raise ModelError(f"{name} is not a volcodec model: {error}") from None
    return Model(name, hashlib.sha256(data).digest(), card, banks, gains, data, unet, neural)


def _autoencoder(tensors: dict[str, np.ndarray], card: dict[str, Any]) -> Autoencoder:
    networks: dict[str, tuple[Layer, ...]] = {}
    for name in NETWORKS:
        layers = []
        if not 1 <= len(card[name]) <= _LAYERS:
            raise ValueError(f"unet.{name} has {len(card[name])} layers")
        for i, about in enumerate(card[name]):
            weight, bias = (tensors[f"unet.{name}.{i}.{key}"] for key in ("weight", "bias"))
            if weight.dtype != np.int16 or bias.dtype != np.int32 or max(weight.shape) > _CHANNELS:
                raise ValueError(f"layer {i} of unet.{name} is of another type or too large")
            numbers = [about[key] for key in ("shift", "low", "high", "adds")]
            triples = [about[key] for key in ("stride", "spread")]
            if not all(type(n) is int for n in [*numbers, *triples[0], *triples[1]]):
                raise ValueError(f"layer {i} of unet.{name} is described by no integers")
            if any(len(t) != 3 or not all(1 <= n <= 8 for n in t) for t in triples):
                raise ValueError(f"layer {i} of unet.{name} has an impossible stride or spread")
            shift, low, high, adds = numbers
            layers.append(
                Layer(
                    np.ascontiguousarray(weight.astype(np.float32)), bias.astype(np.float32),
                    tuple(triples[0]), shift, low, high, about["rectify"] is True, adds,
                    tuple(triples[1]),
                )
            )  # fmt: skip
        networks[name] = tuple(layers)
    freq, gain, back = (tensors[f"unet.{key}"] for key in ("freq", "gain", "back"))
    if freq.dtype != np.uint16 or gain.dtype != np.float64 or back.dtype != np.int32:
        raise ValueError("unet.freq, unet.gain or unet.back is of another type")
    unit = float(card["unit"])
    if not 0 < unit < 1 or gain.ndim != 2 or not 1 <= gain.shape[1] <= _CHANNELS:
        raise ValueError("unet.unit or unet.gain is out of range")
    door = tuple(card["door"])
    found = Autoencoder(networks, Tables(freq), gain, back.astype(np.int64), unit, door)  # type: ignore[arg-type]
    found.check()
    return found


def _predictor(tensors: dict[str, np.ndarray]) -> Weights:
    parts = {f.name: np.ascontiguousarray(tensors[f"{NEURAL}.{f.name}"]) for f in fields(Weights)}
    return Weights(**parts)


def _bank(tensors: dict[str, np.ndarray], bank: str, shifts: list[int]) -> Bank:
    def get(key: str, shape: tuple[int | None, ...]) -> np.ndarray:
        a = tensors[f"{bank}.{key}"]
        if a.ndim != len(shape) or any(
            want is not None and n != want for n, want in zip(a.shape, shape, strict=True)
        ):
            raise ValueError(f"{bank}.{key} has shape {a.shape}")
        if a.dtype not in (np.int16, np.int32, np.uint16):
            raise ValueError(f"{bank}.{key} must be int16, int32 or uint16, not {a.dtype}")
        return np.ascontiguousarray(a)

    nets, kinds = contexts.NETS, contexts.LEVEL_KINDS
    w1 = get("w1", (nets, None, None))
    if w1.shape[2] == contexts.FEATURES - contexts.EXPECTED:
        # of a model that expects nothing: the features of expectations don't count
        at = contexts.FIXED - contexts.EXPECTED
        w1 = np.insert(w1, [at] * contexts.EXPECTED, 0, axis=2)
    if w1.shape[2] != contexts.FEATURES:
        raise ValueError(f"{bank}.w1 has shape {w1.shape}")
    h1 = w1.shape[1]
    w2 = get("w2", (nets, None, h1))
    h2 = w2.shape[1]
    if h1 % 2 or h2 % 2 or not 2 <= h1 <= 256 or not 2 <= h2 <= 256:
        raise ValueError("layer widths must be even and at most 256")
    w3 = get("w3", (nets, h2))
    b1 = get("b1", (nets, kinds, h1))
    b2 = get("b2", (nets, h2))
    b3 = get("b3", (nets,))
    for w, b in ((w1, b1.max(1)), (w1, -b1.min(1)), (w2, b2), (w3[:, None], b3[:, None])):
        most = np.abs(w.astype(np.int64)).sum(-1) * ACTIVATION + np.abs(b.astype(np.int64))
        if int(most.max()) >= contexts.EXACT:
            raise ValueError(f"{bank}: sums could reach 2**24 and be inexact")
    if len(shifts) != 3 or not all(isinstance(s, int) and 0 <= s <= 20 for s in shifts):
        raise ValueError("shifts must be three integers from 0 to 20")
    parts = (w1, b1, w2, b2, w3, b3)
    f = [np.ascontiguousarray(a.astype(np.float32)) for a in parts]
    networks = contexts.Networks.of(*parts, shifts)
    scales = np.array([2.0**-s for s in shifts], np.float32)
    freq = get("freq", (None, None))
    if freq.dtype != np.uint16:
        raise ValueError(f"{bank}.freq must be uint16")
    tables = Tables(freq)
    quantisers = 2 if bank == TRELLIS else 1
    if len(tables) % quantisers:
        raise ValueError(f"{bank}.freq has an odd number of tables for two quantisers")
    top = len(tables) // quantisers - 1
    signs, codebook = Signs.even(len(tables)), np.zeros((7, 0, COUNT), np.int8)
    if f"{bank}.signs" in tensors:
        signs = Signs(get("signs", (2, len(tables), RESTS)))
        codebook = tensors[f"{bank}.codebook"]
        if codebook.dtype != np.int8 or codebook.shape[::2] != (7, COUNT):
            raise ValueError(f"{bank}.codebook must be int8 (7, K, {COUNT})")
        if not 1 <= codebook.shape[1] <= _CODEBOOK:
            raise ValueError(f"{bank}.codebook has {codebook.shape[1]} sets of weights")
        codebook = np.ascontiguousarray(codebook)
    coefs = get("lifting", (None,)).astype(np.int64)
    if not 1 <= coefs.size <= 8 or (np.abs(coefs) >= 4 << SHIFT).any():
        raise ValueError("lifting coefficients are out of range")
    if not 2**-6 <= abs(Pyramid(coefs).dc_gain()) <= 2**6:
        raise ValueError("the lifting loses or swells constants")
    zero = np.zeros((nets, kinds), np.uint8)
    x = contexts.columns_of(np.zeros((1, contexts.FEATURES), np.uint8))
    for n in range(nets):
        for k in range(kinds):
            contexts.choose(
                x,
                1,
                np.zeros(1, np.int32),
                contexts.FIXED,
                *networks.of_net(n, k),
                top,
                zero[n, k : k + 1],
            )
    wavelet = Pyramid(coefs)
    return Bank(
        f[0], f[1], f[2], f[3], f[4], f[5], scales, networks, zero, tables, signs, codebook,
        wavelet, quantisers,
    )  # fmt: skip


def _folders() -> list[Path]:
    own = os.environ.get("VOLCODEC_MODELS")
    found = [Path(own)] if own else []
    return found + shipped.folders()


def _newest(name: str, files: list[Path]) -> Path | None:
    """``density`` is the newest of ``density-1``, ``density-2``, ..."""
    numbered = []
    for f in files:
        stem, dash, number = f.stem.rpartition("-")
        if f.stem == name:
            return f
        if dash and stem == name and number.isdigit():
            numbered.append((int(number), f))
    return max(numbered)[1] if numbered else None


@lru_cache(maxsize=8)
def _load(path: Path, stamp: tuple[int, int]) -> Model:
    return replace(read(path.read_bytes(), path.stem), path=os.path.abspath(path))


def _open(path: Path) -> Model:
    try:
        stat = path.stat()
        return _load(path, (stat.st_mtime_ns, stat.st_size))
    except OSError as error:
        raise ModelError(f"model {path} can't be read: {error.strerror}") from None


def load(model: str | os.PathLike[str]) -> Model:
    """A model by name or path (the suffix may be left out); ModelError where there is none."""
    for path in (Path(model), Path(f"{os.fspath(model)}{SUFFIX}")):
        if path.is_file():
            return _open(path)
    name = os.fspath(model)
    for folder in _folders():
        found = _newest(name, sorted(folder.glob(f"*{SUFFIX}")))
        if found is not None:
            return _open(found)
    raise ModelError(
        f"no model called {name!r}: not a file, not in the folder VOLCODEC_MODELS, not shipped "
        f"(there are: {', '.join(m.name for m in available()) or 'none'})"
    )


def find(identity: bytes, name: str, model: str | os.PathLike[str] | Model | None) -> Model:
    """The model of a file, by identity: ``model`` first, then the folders.

    ``name``: what the file calls it; those that come with volcodec go by their identity alone.
    """
    name = name or shipped.name_of(identity)
    if isinstance(model, Model) and model.named(identity):
        return model
    if model is not None and not isinstance(model, Model):
        given = load(model)
        if given.named(identity):
            return given
    for folder in _folders():
        paths = sorted(folder.glob(f"*{SUFFIX}"))
        for path in sorted(paths, key=lambda p: p.stem != name):
            try:
                candidate = _open(path)
            except ModelError:
                continue
            if candidate.named(identity):
                return candidate
    told = "the model given is another one" if model is not None else "it is not at hand"
    raise ModelError(
        f"the file was written with model {name!r} (SHA-256 {identity.hex()[:16]}...), and {told}: "
        "name its file as the model or put it into the folder VOLCODEC_MODELS"
    )


def available() -> list[ModelInfo]:
    """The models at hand, those in the folder VOLCODEC_MODELS first."""
    out = []
    for folder in _folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                data = path.read_bytes()
                size = int.from_bytes(data[:8], "little")
                meta = json.loads(data[8 : 8 + size])["__metadata__"]
                card = json.loads(meta["card"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            digest = hashlib.sha256(data).hexdigest()
            trained = str(card.get("trained_on", ""))
            out.append(ModelInfo(path.stem, str(path), len(data), trained, digest))
    return out

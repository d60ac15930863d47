"""Gathers what a bank is trained on: samples, weights of expectations, a wavelet."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from .. import models
from ..entropy.expectation import COUNT
from ..entropy.weights import Moments
from ..errors import InputError, VolcodecError
from ..formats.atomic import atomic_output
from ..parallel import ordered_map
from ..transform.pyramid import MAX_LEVELS, Pyramid
from . import lifting
from .banks import prepare
from .codebook import cluster
from .crops import draw_crop
from .data import Volume, fill
from .samples import COLUMNS, Samples, fixed_gains, gather

_EDGE = 64  # of the crops that lifting is learned from


@dataclass(frozen=True)
class Given:
    """What a stage's samples are made with: weights of expectations, coefficients of lifting."""

    codebook: np.ndarray
    lifting: np.ndarray


def sample(
    kind: str, volumes: Sequence[Volume], index: int, seed: int, bank: models.Bank | None,
    synthetic: float, given: Given, bands: list[tuple[int, Moments]] | None = None,
) -> Samples | None:  # fmt: skip
    """Samples of crop ``index``; None where it holds nothing or can't be read.

    They follow from the seed, the kind, the index and the models given alone. ``bands``: see
    :func:`.samples.gather`.
    """
    rng = np.random.default_rng((seed, zlib.crc32(kind.encode()), index))
    pyramid = Pyramid(given.lifting)
    try:
        x = fill(draw_crop(volumes, index, rng, synthetic))
    except (VolcodecError, OSError):
        return None
    if x.min() == x.max():
        return None
    tile, recipe = prepare(kind, x, pyramid, fixed_gains(pyramid, MAX_LEVELS), bank, rng)
    return gather(tile, replace(recipe, codebook=given.codebook), rng, bands=bands)


def learn_codebook(
    kind: str, volumes: Sequence[Volume], crops: int, seconds: float, seed: int,
    synthetic: float, wavelet: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Weights of expectations from up to ``crops`` crops, as many as ``seconds`` allow."""
    began = time.monotonic()
    bands: list[tuple[int, Moments]] = []
    nothing = Given(np.zeros((7, 0, COUNT), np.int8), wavelet)
    for i in range(crops):
        sample(kind, volumes, i, seed, None, synthetic, nothing, bands)
        if seconds and bands and time.monotonic() - began > seconds:
            break
    return cluster(bands, np.random.default_rng(seed))


def learn_lifting(
    volumes: Sequence[Volume], crops: int, seed: int, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """The wavelet for up to ``crops`` crops, and the share of bits that it saves."""
    found = []
    for i in range(crops):
        try:
            x = fill(draw_crop(volumes, i, np.random.default_rng((seed, i)), 0.0))
        except (VolcodecError, OSError):
            continue
        x = x[tuple(slice(0, _EDGE) for _ in range(3))]
        if x.min() < x.max():
            found.append(x)
    return lifting.learn(found, start) if found else (start, 0.0)


def collect(
    kind: str, volumes: Sequence[Volume], crops: int, seconds: float, seed: int,
    bank: models.Bank | None, synthetic: float, given: Given,
) -> Samples:  # fmt: skip
    """Samples of up to ``crops`` crops, as many as ``seconds`` allow (0: all of them).

    Raises InputError where none of them holds anything.
    """
    began = time.monotonic()
    parts = []
    found = ordered_map(
        lambda i: sample(kind, volumes, i, seed, bank, synthetic, given), range(crops), None
    )
    for part in found:
        if part is not None:
            parts.append(part)
        if seconds and parts and time.monotonic() - began > seconds:
            break
    if not parts:
        raise InputError("no crop of the volumes holds anything to learn from")
    return Samples.join(parts)


def keep_samples(path: Path, samples: dict[str, Samples], given: Given, origin: str) -> None:
    """Write named samples and what they are made of to ``path`` (.npz), whole or not at all."""
    arrays = {"origin": np.array(origin), "codebook": given.codebook, "lifting": given.lifting}
    arrays |= {f"{n}.{c}": getattr(s, c) for n, s in samples.items() for c in COLUMNS}
    with atomic_output(path, force=True) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def kept_samples(
    path: Path, names: Sequence[str], origin: str
) -> tuple[dict[str, Samples], Given] | None:
    """What :func:`keep_samples` wrote; None where it is of another origin or can't be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["origin"]) != origin:
                return None
            samples = {n: Samples(*(file[f"{n}.{c}"] for c in COLUMNS)) for n in names}
            return samples, Given(file["codebook"], file["lifting"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None

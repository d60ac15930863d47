"""How the pyramid's context networks are trained in the common loop: samples, banks, export.

A model has three banks (lossy, predicted, lattice), each a stage. Samples are gathered from the
user's volumes first, within a part of the stage's time, and kept in the run's folder until the
stage ends. Validation codes samples of the held volumes with the integer weights that would be
written, and a bank that did not get better on them stays that of the model it started from.
"""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from .. import models
from ..entropy import contexts
from ..entropy.expectation import COUNT, Moments
from ..errors import InputError, VolcodecError
from ..formats.atomic import atomic_output
from ..parallel import ordered_map
from ..transform.pyramid import CDF97, MAX_LEVELS, Pyramid
from . import banks as files
from . import fit
from .architectures import Batch, Log, Room, Stage, State
from .codebook import cluster
from .crops import SYNTHETIC, draw_crop
from .data import Collection, Volume, fill
from .recipe import Recipe
from .samples import COLUMNS, Samples, fixed_gains, gather

_WEIGHTS = ("w1", "b1", "w2", "b2", "w3", "b3")
_GATHERING = 0.3  # of a stage's time, at most, of which the held samples take a fifth
_MOST_CROPS, _HELD_CROPS = 420, 48
_CROPS_BY_STEPS = 24  # where steps are counted and not time
_REFIT_SAMPLES = 400_000  # that tables are refitted to for a validation
_FLOOR = 0.2  # of an even share: networks that carry little weight still learn
_ROUNDING = 8  # how far coefficients of the same wavelet may lie apart
_PLAIN = "first"  # the stage that trains on a plain dead zone, where there is no model yet


def sample(
    kind: str, volumes: Sequence[Volume], index: int, seed: int, bank: models.Bank | None,
    synthetic: float, codebook: np.ndarray, bands: list[tuple[int, Moments]] | None = None,
) -> Samples | None:  # fmt: skip
    """Samples of crop ``index``; None where it holds nothing or can't be read.

    They follow from the seed, the kind, the index and the models given alone. ``bands``: see
    :func:`.samples.gather`.
    """
    rng = np.random.default_rng((seed, zlib.crc32(kind.encode()), index))
    pyramid = Pyramid.classic()
    try:
        x = fill(draw_crop(volumes, index, rng, synthetic))
    except (VolcodecError, OSError):
        return None
    if x.min() == x.max():
        return None
    tile, recipe = files.prepare(kind, x, pyramid, fixed_gains(pyramid, MAX_LEVELS), bank, rng)
    return gather(tile, replace(recipe, codebook=codebook), rng, bands=bands)


def learn_codebook(
    kind: str, volumes: Sequence[Volume], crops: int, seconds: float, seed: int, synthetic: float
) -> np.ndarray:
    """Weights of expectations from up to ``crops`` crops, as many as ``seconds`` allow."""
    began = time.monotonic()
    bands: list[tuple[int, Moments]] = []
    nothing = np.zeros((7, 0, COUNT), np.int8)
    for i in range(crops):
        sample(kind, volumes, i, seed, None, synthetic, nothing, bands)
        if seconds and bands and time.monotonic() - began > seconds:
            break
    return cluster(bands, np.random.default_rng(seed))


def collect(
    kind: str, volumes: Sequence[Volume], crops: int, seconds: float, seed: int,
    bank: models.Bank | None, synthetic: float, codebook: np.ndarray,
) -> Samples:  # fmt: skip
    """Samples of up to ``crops`` crops, as many as ``seconds`` allow (0: all of them).

    Raises InputError where none of them holds anything.
    """
    began = time.monotonic()
    parts = []
    found = ordered_map(
        lambda i: sample(kind, volumes, i, seed, bank, synthetic, codebook), range(crops), None
    )
    for part in found:
        if part is not None:
            parts.append(part)
        if seconds and parts and time.monotonic() - began > seconds:
            break
    if not parts:
        raise InputError("no crop of the volumes holds anything to learn from")
    return Samples.join(parts)


def keep_samples(
    path: Path, samples: dict[str, Samples], codebook: np.ndarray, origin: str
) -> None:
    """Write named samples and what they are made of to ``path`` (.npz), whole or not at all."""
    arrays: dict[str, np.ndarray] = {
        f"{n}.{c}": getattr(s, c) for n, s in samples.items() for c in COLUMNS
    }
    with atomic_output(path, force=True) as file:
        np.savez(file, origin=np.array(origin), codebook=codebook, **arrays)  # type: ignore[arg-type]


def kept_samples(
    path: Path, names: Sequence[str], origin: str
) -> tuple[dict[str, Samples], np.ndarray] | None:
    """What :func:`keep_samples` wrote; None where it is of another origin or can't be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["origin"]) != origin:
                return None
            samples = {n: Samples(*(file[f"{n}.{c}"] for c in COLUMNS)) for n in names}
            return samples, file["codebook"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def as_state(bank: fit.Bank | models.Bank) -> State:
    """A bank as tensors, integers in int32."""
    arrays = {name: getattr(bank, name) for name in (*_WEIGHTS, "codebook")}
    if isinstance(bank, models.Bank):
        arrays |= {"freq": bank.tables.freq, "signs": bank.signs.freq}
    else:
        arrays |= {"freq": bank.freq, "signs": bank.signs}
    return {n: torch.from_numpy(np.asarray(a).astype(np.int32)) for n, a in arrays.items()}


def of_state(state: State) -> fit.Bank:
    """The inverse of :func:`as_state`."""
    weights = [state[name].numpy().astype(np.float32) for name in _WEIGHTS]
    freq, signs = (state[name].numpy().astype(np.uint16) for name in ("freq", "signs"))
    return fit.Bank(*weights, freq, signs, state["codebook"].numpy().astype(np.int8))


def as_model(bank: fit.Bank) -> models.Bank:
    """A bank as the codec holds it, once its reader has accepted it."""
    return models.read(files.pack(dict.fromkeys(models.BANKS, bank), {}), "trained").banks[
        "lossy"
    ]


class BankModule(nn.Module):
    """The networks of a bank; called with a batch it returns the bits of each token."""

    def __init__(self, net: fit.Networks) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, kind: Tensor, token: Tensor) -> Tensor:
        return self.net.bits(x, kind, token)


class BankTask:
    """One bank on samples; see :class:`.architectures.Task`.

    Args:
        name: of the stage.
        recipe: of the run.
        net: to train.
        samples, held: of the volumes for training and for validation.
        codebook: weights of expectations that the samples were made with.
        start: the bank of the model gone on from, and what that is called.
        kept: the file of samples, removed at the end.
    """

    def __init__(
        self, name: str, recipe: Recipe, net: fit.Networks, samples: Samples, held: Samples,
        codebook: np.ndarray, start: tuple[fit.Bank, str] | None, kept: Path,
    ) -> None:  # fmt: skip
        self.name, self.recipe, self.start, self.kept = name, recipe, start, kept
        self.codebook = codebook
        self.samples, self.held = samples, held
        self._module = BankModule(net)
        self.pool = fit.Pool(samples, recipe.seed)
        self.share = torch.from_numpy(self.pool.share)[:, None]
        rng = np.random.default_rng(recipe.seed)
        count = len(samples.net)
        chosen = rng.choice(count, min(count, _REFIT_SAMPLES), replace=False)
        self.few = Samples(*(getattr(samples, c)[chosen] for c in COLUMNS))

    @property
    def module(self) -> nn.Module:
        return self._module

    def batch(self, rng: np.random.Generator) -> Batch:
        """``x`` (nets, batch, FEATURES), ``kind`` and ``token`` (nets, batch)."""
        x, kind, token = self.pool.draw(self.recipe.batch, rng)
        return {"x": x, "kind": kind, "token": token}

    def loss(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``total`` is minimised; ``bits`` a symbol, as the samples are weighted."""
        bits = module(batch["x"], batch["kind"], batch["token"])
        share = self.share.to(bits.device)
        count = batch["x"].shape[1]
        total = (bits * (share + _FLOOR / contexts.NETS)).sum() / count
        return {"total": total, "bits": (bits.detach() * share).sum() / count}

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Bits a symbol of the held samples, coded with integer weights; infinite if they fail."""
        assert isinstance(module, BankModule)
        bank = self._export(module, self.few)
        bits = fit.mean_bits(bank, self.held) if bank is not None else float("inf")
        return {"total": bits}

    def _export(self, module: BankModule, samples: Samples) -> fit.Bank | None:
        """The integer bank, None where the codec would refuse it."""
        try:
            bank = fit.export(copy.deepcopy(module.net).cpu(), samples, self.codebook)
            as_model(bank)
        except (VolcodecError, ValueError, FloatingPointError):
            return None
        return bank

    def look(self, module: nn.Module) -> dict[str, Any]:
        """Tables that no held sample would choose."""
        assert isinstance(module, BankModule)
        bank = self._export(module, self.few)
        if bank is None:
            return {}
        used = len(np.unique(fit.place(bank, self.held.features, self.held.net, self.held.level)))
        return {"dead": {"tables": [len(bank.freq) - used, len(bank.freq)]}}

    def finish(self, module: nn.Module, log: Log) -> tuple[State, dict[str, Any]]:
        """The better of the trained bank, refitted to all samples, and the one started from."""
        assert isinstance(module, BankModule)
        bank = self._export(module, self.samples)
        bits = fit.mean_bits(bank, self.held) if bank is not None else float("inf")
        figures: dict[str, Any] = {"samples": len(self.samples.net)}
        said = f"{self.name} {bits:.5g} bits a symbol on the validation volumes"
        if self.start is not None:
            old, name = self.start
            before = fit.mean_bits(old, self.held)
            figures["bits_of_start"] = round(before, 6)
            if bits < before:
                said += f" ({name}: {before:.5g})"
            else:
                said = (
                    f"{self.name} kept from {name} ({before:.5g} bits a symbol, trained {bits:.5g})"
                )
                bank, bits = old, before
        if bank is None:
            raise VolcodecError(f"the {self.name} bank came out unusable: try a lower --lr")
        self.kept.unlink(missing_ok=True)
        return as_state(bank), {**figures, "bits": round(bits, 6), "said": said}


class PyramidArchitecture:
    """The pyramid's three banks, from random weights or from another model's."""

    name = "pyramid"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.start = models.load(recipe.start) if recipe.start else None
        if self.start is not None:
            _check_start(self.start)

    def stages(self) -> list[Stage]:
        if self.start is not None:
            return [Stage("lossy", 0.5), Stage("predicted", 0.3), Stage("lattice", 0.2)]
        shares = {_PLAIN: 0.2, "lossy": 0.32, "predicted": 0.28, "lattice": 0.2}
        return [Stage(name, share) for name, share in shares.items()]

    def begin(
        self, stage: str, data: Collection, finished: Mapping[str, State], room: Room
    ) -> BankTask:
        kind = "lossy" if stage == _PLAIN else stage
        decides = None  # the bank that decides symbols as the encoder would
        net: fit.Networks | None = None
        start = None
        if self.start is not None:
            own = self.start.banks[kind]
            decides, net = own, fit.widen(fit.restore(own), *self.recipe.hidden)
            start = of_state(as_state(own)), self.start.name
        elif stage == "lossy":
            decides = as_model(of_state(finished[_PLAIN]))
            net = fit.restore(decides)
        if net is None:
            low, high = files.RANGES[kind]
            net = fit.Networks(64, *self.recipe.hidden, low, high)
        decides = decides if kind == "lossy" else None
        samples, codebook = self._samples(stage, kind, data, decides, room)
        return BankTask(
            stage, self.recipe, net, samples["train"], samples["held"], codebook, start,
            _place(stage, room),
        )  # fmt: skip

    def _samples(
        self, stage: str, kind: str, data: Collection, bank: models.Bank | None, room: Room
    ) -> tuple[dict[str, Samples], np.ndarray]:
        path = _place(stage, room)
        recipe = self.recipe
        start = self.start.identity.hex() if self.start is not None else ""
        origin = f"{data.identity} {start} {recipe.seed} {recipe.crops} {recipe.steps > 0}"
        origin += f" {recipe.synthetic}"
        found = kept_samples(path, ("train", "held"), origin)
        if found is not None:
            return found
        seconds = 0.0 if recipe.steps or recipe.crops else room.seconds * _GATHERING
        crops = recipe.crops or (_CROPS_BY_STEPS if recipe.steps else _MOST_CROPS)
        held_crops = min(max(_HELD_CROPS, len(data.validation)), crops)
        seed = recipe.seed
        synthetic = recipe.synthetic
        if synthetic < 0:
            synthetic = 0.0 if self.start is not None else SYNTHETIC
        if bank is not None and self.start is None:
            codebook = bank.codebook  # of the stage before
        else:
            codebook = learn_codebook(
                kind, data.training, max(1, crops // 3), 0.2 * seconds, seed + 104729, synthetic
            )
        held = collect(kind, data.validation, held_crops, 0.2 * seconds, seed + 7919, bank, 0.0,
                       codebook)  # fmt: skip
        train = collect(kind, data.training, crops, 0.6 * seconds, seed, bank, synthetic, codebook)
        out = {"train": train, "held": held}
        keep_samples(path, out, codebook, origin)
        room.log(f"{stage}: {len(train.net)} samples to learn from, {len(held.net)} to validate on")
        return out, codebook

    def export(self, finished: Mapping[str, State], path: Path, card: Mapping[str, Any]) -> None:
        banks = {kind: of_state(finished[kind]) for kind in models.BANKS}
        more = {"from": self.start.name, "from_identity": self.start.identity.hex()} \
            if self.start is not None else {}  # fmt: skip
        blob = files.pack(banks, {**card, **more})
        models.read(blob, path.stem)
        with atomic_output(path, force=True) as file:
            file.write(blob)


def _place(stage: str, room: Room) -> Path:
    return room.folder / f"samples-{stage}.npz"


def _check_start(start: models.Model) -> None:
    """Raise InputError where a model is not of the kind that is written here."""
    unit = fit.layer_scales()
    for bank in start.banks.values():
        coefs = bank.pyramid.coefs
        same = coefs.shape == CDF97.shape and np.abs(coefs - CDF97).max() <= _ROUNDING
        if not (np.array_equal(bank.scales, unit) and same):
            raise InputError(f"model {start.name} can't be gone on from: its arithmetic is another")

"""How the pyramid's context networks are trained in the common loop: samples, banks, export.

A model has four banks (lossy, trellis, predicted, lattice), each a stage. Samples are gathered from
the user's volumes first, within a part of the stage's time, and kept in the run's folder until the
stage ends. Validation codes samples of the held volumes with the integer weights that would be
written, and a bank that did not get better on them stays that of the model it started from.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import models
from ..entropy import contexts
from ..errors import InputError, VolcodecError
from ..formats.atomic import atomic_output
from ..models import NEURAL, TRELLIS
from ..transform.pyramid import CDF97
from . import banks as files
from . import fit, neural
from .architectures import Batch, Log, Room, Stage, State, Task
from .crops import SYNTHETIC
from .data import Collection
from .gathering import Given, collect, keep_samples, kept_samples, learn_codebook, learn_lifting
from .recipe import Recipe
from .samples import COLUMNS, WAVELET, Samples

_WEIGHTS = ("w1", "b1", "w2", "b2", "w3", "b3")
_GATHERING = 0.3  # of a stage's time, at most, of which the held samples take a fifth
_MOST_CROPS, _HELD_CROPS = 420, 48
_CROPS_BY_STEPS = 24  # where steps are counted and not time
_REFIT_SAMPLES = 400_000  # that tables are refitted to for a validation
_FLOOR = 0.2  # of an even share: networks that carry little weight still learn
_ROUNDING = 8  # how far coefficients of the same wavelet may lie apart
_LIFTING_CROPS = 24  # that lifting is learned from
_REFITS, _REFITTING = 3, 0.1  # rounds before a trellis is trained first, share of its time of each
# of the budget: for the network that predicts, which is what a family of volumes gains most from
_PREDICTING, _PREDICTING_MORE = 0.3, 0.6
_BETTER = 0.99  # times the bits of the start: a smaller gain may be the held volumes' alone
_ANEW = 4.0  # times the rate for fine-tuning, at which such a network learns from the beginning
_PLAIN = "first"  # the stage that trains on a plain dead zone, where there is no model yet


def as_state(bank: fit.Bank | models.Bank) -> State:
    """A bank as tensors, integers in int32."""
    arrays = {name: getattr(bank, name) for name in (*_WEIGHTS, "codebook", "quantisers")}
    if isinstance(bank, models.Bank):
        arrays |= {"freq": bank.tables.freq, "signs": bank.signs.freq}
        arrays["lifting"] = bank.pyramid.coefs
    else:
        arrays |= {"freq": bank.freq, "signs": bank.signs, "lifting": bank.lifting}
    return {n: torch.from_numpy(np.asarray(a).astype(np.int32)) for n, a in arrays.items()}


def of_state(state: State) -> fit.Bank:
    """The inverse of :func:`as_state`."""
    types = {"freq": np.uint16, "signs": np.uint16, "codebook": np.int8, "lifting": np.int64}
    arrays = {n: a.numpy().astype(types.get(n, np.float32)) for n, a in state.items()}
    quantisers = int(arrays.pop("quantisers"))
    return fit.Bank(**arrays, quantisers=quantisers)


def as_model(bank: fit.Bank) -> models.Bank:
    """A bank as the codec holds it, once its reader has accepted it."""
    kind = TRELLIS if bank.quantisers > 1 else "lossy"
    banks = {**dict.fromkeys(models.BANKS, bank), kind: bank}
    return models.read(files.pack(banks, {}), "trained").banks[kind]


class BankModule(nn.Module):
    """The networks of a bank; called with a batch it returns the bits of each token."""

    def __init__(self, net: fit.Networks) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, kind: Tensor, token: Tensor, quantiser: Tensor) -> Tensor:
        return self.net.bits(x, kind, token, quantiser)


class BankTask:
    """One bank on samples; see :class:`.architectures.Task`.

    Args:
        name: of the stage.
        recipe: of the run.
        net: to train.
        samples, held: of the volumes for training and for validation.
        given: what the samples were made with.
        start: the bank of the model gone on from, and what that is called.
        kept: the file of samples, removed at the end.
    """

    def __init__(
        self, name: str, recipe: Recipe, net: fit.Networks, samples: Samples, held: Samples,
        given: Given, start: tuple[fit.Bank, str] | None, kept: Path,
    ) -> None:  # fmt: skip
        self.name, self.recipe, self.start, self.kept = name, recipe, start, kept
        self.given = given
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
        """``x`` (nets, batch, FEATURES); ``kind``, ``token``, ``quantiser`` (nets, batch)."""
        drawn = self.pool.draw(self.recipe.batch, rng)
        return dict(zip(("x", "kind", "token", "quantiser"), drawn, strict=True))

    def loss(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``total`` is minimised; ``bits`` a symbol, as the samples are weighted."""
        bits = module(batch["x"], batch["kind"], batch["token"], batch["quantiser"])
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
            net, given = copy.deepcopy(module.net).cpu(), self.given
            bank = fit.export(net, samples, given.codebook, given.lifting)
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
        return {"dead": {"tables": [module.net.tables - used, module.net.tables]}}

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
            if bits < _BETTER * before:
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
    """The pyramid's four banks, from random weights or from another model's."""

    name = "pyramid"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.start = models.load(recipe.start) if recipe.start else None
        if self.start is not None:
            _check_start(self.start)

    def stages(self) -> list[Stage]:
        shares = {"lossy": 0.33, TRELLIS: 0.33}
        if self.start is None:
            shares = {_PLAIN: 0.16, "lossy": 0.25, TRELLIS: 0.25}
        elif TRELLIS not in self.start.banks:
            shares = {"lossy": 0.26, TRELLIS: 0.4}
        shares |= {"predicted": 0.2, "lattice": 0.14}
        if not self.recipe.predictor:
            return [Stage(name, share) for name, share in shares.items()]
        begins = self.start is not None and self.start.neural is None
        rate = _ANEW if begins and self.recipe.optimiser != "velo" else 1.0
        own = _PREDICTING if self.start is None else _PREDICTING_MORE
        stages = [Stage(name, (1 - own) * share) for name, share in shares.items()]
        return [*stages, Stage(NEURAL, own, rate)]

    def begin(
        self, stage: str, data: Collection, finished: Mapping[str, State], room: Room
    ) -> Task:
        if stage == NEURAL:
            return neural.begin(self.recipe, data, self.start, self._synthetic, room)
        kind = "lossy" if stage == _PLAIN else stage
        decides = None  # the bank that decides symbols as the encoder would
        net: fit.Networks | None = None
        start = None
        given: Given | None = None  # by a stage before
        if self.start is not None and kind in self.start.banks:
            own = self.start.banks[kind]
            decides, net = own, fit.widen(fit.restore(own), *self.recipe.hidden)
            start = of_state(as_state(own)), self.start.name
        elif stage == "lossy":
            decides = as_model(of_state(finished[_PLAIN]))
            net = fit.restore(decides)
            given = Given(decides.codebook, decides.pyramid.coefs)
        if kind == TRELLIS:
            lossy = of_state(finished["lossy"])
            given = Given(lossy.codebook, lossy.lifting)
            if decides is None:
                bank = self._doubled(lossy, given, data, room)
                decides, start = as_model(bank), (bank, "the lossy bank")
                net = fit.restore(decides)
        if net is None:
            low, high = files.RANGES[kind]
            net = fit.Networks(64, *self.recipe.hidden, low, high)
        decides = decides if kind in WAVELET else None
        samples, given = self._samples(stage, kind, data, decides, given, room)
        return BankTask(
            stage, self.recipe, net, samples["train"], samples["held"], given, start,
            _place(stage, room),
        )  # fmt: skip

    def _doubled(self, lossy: fit.Bank, given: Given, data: Collection, room: Room) -> fit.Bank:
        """The lossy bank for two quantisers, its tables fitted to what a trellis decides by it."""
        bank = fit.double(lossy)
        crops = self.recipe.crops or (_CROPS_BY_STEPS if self.recipe.steps else _MOST_CROPS)
        seconds = 0.0 if self.recipe.steps or self.recipe.crops else room.seconds * _REFITTING
        for i in range(_REFITS):
            model, seed = as_model(bank), self.recipe.seed + 611953 + i
            samples = collect(
                TRELLIS, data.training, crops, seconds, seed, model, self._synthetic, given
            )
            bank = fit.export(fit.restore(model), samples, given.codebook, given.lifting)
        return bank

    @property
    def _synthetic(self) -> float:
        """The share of random fields among the crops."""
        if self.recipe.synthetic >= 0:
            return self.recipe.synthetic
        return 0.0 if self.start is not None else SYNTHETIC

    def _samples(
        self,
        stage: str,
        kind: str,
        data: Collection,
        bank: models.Bank | None,
        given: Given | None,
        room: Room,
    ) -> tuple[dict[str, Samples], Given]:
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
        synthetic = self._synthetic
        if given is None:
            wavelet = self._lifting(kind, data, room)
            given = Given(
                learn_codebook(
                    kind, data.training, max(1, crops // 3), 0.2 * seconds, seed + 104729,
                    synthetic, wavelet,
                ),
                wavelet,
            )  # fmt: skip
        held = collect(kind, data.validation, held_crops, 0.2 * seconds, seed + 7919, bank, 0.0,
                       given)  # fmt: skip
        train = collect(kind, data.training, crops, 0.6 * seconds, seed, bank, synthetic, given)
        out = {"train": train, "held": held}
        keep_samples(path, out, given, origin)
        room.log(f"{stage}: {len(train.net)} samples to learn from, {len(held.net)} to validate on")
        return out, given

    def _lifting(self, kind: str, data: Collection, room: Room) -> np.ndarray:
        """The lifting of a bank: learned for the lossy one, 9/7 where every bit is kept."""
        start = CDF97
        if kind != "lossy":
            return start
        if self.start is not None:
            own = self.start.banks[kind].pyramid.coefs
            start = start if _rounded_apart(own) else own
        wavelet, saved = learn_lifting(data.training, _LIFTING_CROPS, self.recipe.seed, start)
        if saved:
            room.log(f"lifting {wavelet.tolist()} saves {100 * saved:.1f} % before any context")
        return wavelet

    def export(self, finished: Mapping[str, State], path: Path, card: Mapping[str, Any]) -> None:
        banks = {kind: of_state(finished[kind]) for kind in (*models.BANKS, TRELLIS)}
        more = {"from": self.start.name, "from_identity": self.start.identity.hex()} \
            if self.start is not None else {}  # fmt: skip
        predictor = None
        if NEURAL in finished:
            predictor = neural.of_state(finished[NEURAL])
        elif self.start is not None:
            predictor = self.start.neural
        blob = files.pack(banks, {**card, **more}, predictor)
        models.read(blob, path.stem)
        with atomic_output(path, force=True) as file:
            file.write(blob)


def _place(stage: str, room: Room) -> Path:
    return room.folder / f"samples-{stage}.npz"


def _check_start(start: models.Model) -> None:
    """Raise InputError where a model is not of the kind that is written here."""
    unit = fit.layer_scales()
    for bank in start.banks.values():
        if not np.array_equal(bank.scales, unit) or bank.pyramid.coefs.shape != CDF97.shape:
            raise InputError(f"model {start.name} can't be gone on from: its arithmetic is another")


def _rounded_apart(coefs: np.ndarray) -> bool:
    """Whether these are 9/7's, rounded in another way than today's."""
    return bool(np.abs(coefs - CDF97).max() <= _ROUNDING)

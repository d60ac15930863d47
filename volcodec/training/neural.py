"""How the network that predicts is trained in the common loop, and how it becomes tensors.

It is trained for what it is used for: the bits of what its predictions leave, and the errors of
predictions that no symbol corrects, in voxels of pieces that a closed loop of interpolation has
decoded, at every place that a voxel may have in the order of decoding. By bits alone, empty space
is soon predicted just beyond two fifths of a step, and no zero of it is kept. Validation is the
same on pieces of the held volumes.
"""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import models
from ..errors import VolcodecError
from ..neural.network import Weights
from ..neural.products import BLOCK
from .architectures import Batch, Log, Room, State
from .data import Collection
from .pieces import Known, Pieces, collect
from .predictor import Predictor
from .recipe import Recipe

_GATHERING = 0.15  # of the stage's time, at most, of which the held pieces take a fifth
_MOST, _HELD, _BY_STEPS = 96, 24, 12  # pieces; those where steps are counted and not time
_VOXELS = 16  # of a batch, times the recipe's
_HELD_BATCHES = 8
_WORTH = 1.5  # bits that a square step is worth, at the finest level; twice as much at each coarser
_ASKED = ("near", "mask", "index", "kind", "low", "high", "value")


def as_state(weights: Weights) -> State:
    """The tensors, by their names."""
    return {f.name: torch.from_numpy(np.copy(getattr(weights, f.name))) for f in fields(Weights)}


def of_state(state: State) -> Weights:
    """The inverse of :func:`as_state`."""
    return Weights(**{name: a.numpy() for name, a in state.items()})


def fresh(hidden: tuple[int, int]) -> Predictor:
    """A network from random weights, each layer at least so wide."""
    h1, h2 = (-(-n // BLOCK) * BLOCK for n in hidden)
    return Predictor(h1, h2)


class NeuralTask:
    """The network that predicts, on pieces; see :class:`.architectures.Task`.

    Args:
        recipe: of the run.
        net: to train.
        train, held: pieces of the volumes for training and for validation.
        start: the model gone on from, where it has such a network.
        kept: the file that says how many crops were looked at, removed at the end.
    """

    name = models.NEURAL

    def __init__(
        self, recipe: Recipe, net: Predictor, train: Pieces, held: Pieces,
        start: models.Model | None, kept: Path,
    ) -> None:  # fmt: skip
        self.recipe, self.start, self.pieces, self.kept = recipe, start, train, kept
        self._module = net
        count = recipe.batch * _VOXELS
        rng = np.random.default_rng(recipe.seed)
        self.held = [_tensors(held.draw(count, rng)) for _ in range(_HELD_BATCHES)]

    @property
    def module(self) -> nn.Module:
        return self._module

    def batch(self, rng: np.random.Generator) -> Batch:
        """The fields of :class:`.pieces.Known`."""
        return _tensors(self.pieces.draw(self.recipe.batch * _VOXELS, rng))

    def loss(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``total``: bits a voxel and what its error is worth, as the pieces are weighted."""
        bits, errors = module(*(batch[name] for name in _ASKED))
        share = batch["weight"] / batch["weight"].sum()
        found = (bits * share).sum()
        lost = _WORTH * (errors * share * 2.0 ** batch["kind"]).sum()
        return {"total": found + lost, "bits": found, "error": lost}

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """The same of the held pieces."""
        device = next(module.parameters()).device
        found = [
            self.loss(module, {n: t.to(device) for n, t in batch.items()}) for batch in self.held
        ]
        return {n: float(torch.stack([f[n] for f in found]).mean()) for n in found[0]}

    def look(self, module: nn.Module) -> dict[str, Any]:
        """Nothing: there is no picture of it."""
        return {}

    def finish(self, module: nn.Module, log: Log) -> tuple[State, dict[str, Any]]:
        """The better of the trained network and the one started from."""
        assert isinstance(module, Predictor)
        net = copy.deepcopy(module).cpu()
        after = self.validate(net)
        try:
            net.weights()
        except ValueError:  # not numbers, or too large ones
            after["total"] = float("inf")
        said = f"{self.name} {after['bits']:.5g} bits a voxel on the validation volumes"
        figures: dict[str, Any] = {}
        if self.start is not None and self.start.neural is not None:
            old = Predictor.of(self.start.neural)
            before = self.validate(old)
            figures["loss_of_start"] = round(before["total"], 6)
            said += f" ({self.start.name}: {before['bits']:.5g})"
            if not after["total"] < before["total"]:
                said = (
                    f"{self.name} kept from {self.start.name} ({before['bits']:.5g} bits a voxel)"
                )
                net, after = old, before
        if not after["total"] < float("inf"):
            raise VolcodecError(f"the {self.name} network came out unusable: try a lower --lr")
        self.kept.unlink(missing_ok=True)
        figures |= {"loss": round(after["total"], 6), "bits": round(after["bits"], 6)}
        return as_state(net.weights()), {**figures, "said": said}


def begin(
    recipe: Recipe, data: Collection, start: models.Model | None, synthetic: float, room: Room
) -> NeuralTask:
    """The task, on as many pieces as there is time to gather, which a restart gathers again."""
    known = start.neural if start is not None else None
    net = Predictor.of(known) if known is not None else fresh(recipe.hidden)
    most = min(recipe.crops, _MOST) or (_BY_STEPS if recipe.steps else _MOST)
    seconds = 0.0 if recipe.steps or recipe.crops else room.seconds * _GATHERING
    place = room.folder / "pieces.json"
    origin = [data.identity, recipe.seed, recipe.crops, recipe.steps > 0, synthetic]
    held_most = min(max(_HELD, len(data.validation)), most)
    known_crops = False
    try:
        kept, crops, held_crops = json.loads(place.read_text(encoding="utf-8"))
        if kept == origin:
            most, held_most, seconds, known_crops = crops, held_crops, 0.0, True
    except (OSError, ValueError):
        pass
    held, held_crops = collect(data.validation, held_most, 0.2 * seconds, recipe.seed + 7919, 0.0)
    train, crops = collect(data.training, most, 0.8 * seconds, recipe.seed, synthetic)
    if not known_crops:
        place.write_text(json.dumps([origin, crops, held_crops]), encoding="utf-8")
    room.log(f"{models.NEURAL}: {len(train)} pieces to learn from, {len(held)} to validate on")
    return NeuralTask(recipe, net, Pieces(train), Pieces(held), start, place)


def _tensors(known: Known) -> Batch:
    return {name: torch.from_numpy(a) for name, a in vars(known).items()}

"""Optimisers, the schedule of the learning rate, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .recipe import Recipe

_UNDECAYED = ("gain", "bottleneck", "logits")  # of which a smaller value is no simpler model


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: kernels, which decay, and the rest, which do not."""
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim > 1 and not any(word in name for word in _UNDECAYED)
        (decayed if plain else rest).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make(module: nn.Module, recipe: Recipe, steps: int) -> torch.optim.Optimizer:
    """The optimiser that a recipe asks for.

    AdamW's decay is decoupled (arXiv 1711.05101), that of SGD (Nesterov momentum) and RMSprop is
    an L2 penalty. ``steps`` is how many there will be, as far as is known: VeLO wants it.
    Raises InputError where VeLO's port or weights are not at hand.
    """
    groups = parameter_groups(module, recipe.weight_decay)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas)
    if recipe.optimiser == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    if recipe.optimiser == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=recipe.lr, alpha=recipe.betas[1], momentum=recipe.momentum
        )
    from .velo import Velo

    return Velo(
        (p for group in groups for p in group["params"]),
        weights=recipe.velo, steps=steps, lr=recipe.lr, weight_decay=recipe.weight_decay,
    )  # fmt: skip


def rate_factor(recipe: Recipe, step: int, done: float) -> float:
    """What the learning rate is multiplied by at a step; ``done`` is the share of the run so far.

    A linear warm-up over ``recipe.warmup`` steps, then a constant or half a cosine down to zero
    (arXiv 1608.03983). The plateau schedule's factor follows the validations: :class:`Plateau`.
    """
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return warm


class Plateau:
    """Halves the rate after ``patience`` validations in a row that improve less than 0.1 %."""

    def __init__(self, patience: int = 3, factor: float = 0.5) -> None:
        self.patience, self.factor = patience, factor
        self.rate, self.best, self.waited = 1.0, math.inf, 0

    def see(self, total: float) -> None:
        """Take note of a validation loss."""
        if total < self.best * (1 - 1e-3):
            self.best, self.waited = total, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.rate, self.waited = self.rate * self.factor, 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"rate": self.rate, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.rate, self.best, self.waited = state["rate"], state["best"], state["waited"]


class Average:
    """An exponential moving average of a module's parameters (Polyak averaging).

    The decay grows to ``decay`` from 0.1 over the first steps, so that the beginning is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = [p.detach().clone() for p in module.parameters()]

    def update(self, parameters: Iterable[Tensor]) -> None:
        """Take the parameters in after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.values, [p.detach() for p in parameters], 1 - decay)

    def restart(self, parameters: Iterable[Tensor]) -> None:
        """Begin anew at these parameters."""
        with torch.no_grad():
            for value, parameter in zip(self.values, parameters, strict=True):
                value.copy_(parameter)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module with the averaged parameters; its own come back at the end."""
        own = [p.detach().clone() for p in module.parameters()]
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), self.values, strict=True):
                parameter.copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(module.parameters(), own, strict=True):
                    parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"steps": self.steps, "values": list(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.steps = int(state["steps"])
        self.restart(state["values"])

"""What the loop knows of a model: the interface of an architecture, and the register of them.

A further architecture is one new file with a class like the two here, entered in REGISTRY.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from .data import Collection
from .recipe import Recipe

Batch = dict[str, Tensor]
State = dict[str, Tensor]
Log = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """A part of a run with a module and data of its own; ``share`` of the budget.

    ``rate``: times the recipe's learning rate.
    """

    name: str
    share: float
    rate: float = 1.0


@dataclass(frozen=True)
class Room:
    """Where and how long a stage may prepare: a folder that survives a restart, seconds, a log."""

    folder: Path
    seconds: float
    log: Log


class Task(Protocol):
    """What a stage trains."""

    @property
    def module(self) -> nn.Module:
        """The trainable module; its forward is what `loss` calls."""

    def batch(self, rng: np.random.Generator) -> Batch:
        """What one step takes, on the CPU; it may depend on ``rng`` and on nothing that moves."""

    def loss(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named scalars; "total" is minimised, "part/..." are what it is the sum of.

        ``module`` is the task's own, perhaps wrapped for mixed precision or many devices.
        """

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Measures on the validation volumes; "total" decides which weights are the best."""

    def look(self, module: nn.Module) -> dict[str, Any]:
        """What the monitor shows of the inside: see :class:`.monitor.Monitor`. May be empty."""

    def finish(self, module: nn.Module, log: Log) -> tuple[State, dict[str, Any]]:
        """What the stage leaves, made of the best weights, and figures to be reported."""


class Architecture(Protocol):
    """A kind of model that can be trained and written to a file that volcodec reads."""

    name: str

    def stages(self) -> list[Stage]:
        """The stages in their order; their shares sum to 1."""

    def begin(
        self, stage: str, data: Collection, finished: Mapping[str, State], room: Room
    ) -> Task:
        """The task of a stage, given what the stages before it left."""

    def export(self, finished: Mapping[str, State], path: Path, card: Mapping[str, Any]) -> None:
        """Write the model file, which :func:`volcodec.models.read` accepts, to ``path``."""


# name -> module and class; imported when it is asked for
REGISTRY: dict[str, tuple[str, str]] = {
    "pyramid": ("volcodec.training.pyramid", "PyramidArchitecture"),
    "unet": ("volcodec.training.autoencoder", "Autoencoder"),
}


def named(recipe: Recipe) -> Architecture:
    """The architecture of a recipe."""
    module, name = REGISTRY[recipe.arch]
    made: Architecture = getattr(import_module(module), name)(recipe)
    return made

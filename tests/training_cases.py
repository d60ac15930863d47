"""Small volumes, recipes and stand-ins that the tests of training share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from volumes import blobs

from volcodec.training.architectures import Room, Stage
from volcodec.training.recipe import Recipe, recipe_for


def write_volumes(folder: Path, count: int = 3, shape: tuple[int, ...] = (24, 20, 28)) -> Path:
    """A folder of blobs, named a, b, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        np.save(folder / f"{'abcdef'[i]}.npy", blobs(shape, f"training {i}").astype(np.float32))
    return folder


def small(**given: Any) -> Recipe:
    """A recipe of a few quick steps of a plain autoencoder (no CompressAI needed)."""
    chosen = {
        "rate": False, "classical": False, "width": 8, "latents": 8, "hyper": 4, "patch": 16,
        "batch": 2, "steps": 12, "validations": 3, "warmup": 2, "device": "cpu", "ema": 0.0,
        "look_every": 5,
    }  # fmt: skip
    return recipe_for("unet", **{**chosen, **given})


class LineTask:
    """A line fitted to points; validation and batches can be spoiled by a test."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._module = nn.Linear(3, 1)
        self.validations = 0

    @property
    def module(self) -> nn.Module:
        return self._module

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.standard_normal((8, 3)).astype(np.float32))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        error = (module(batch["x"]) - batch["y"]).square().mean()
        return {"total": error, "mse": error.detach(), "part/mse": error}

    def validate(self, module: nn.Module) -> dict[str, float]:
        self.validations += 1
        with torch.no_grad():
            found = self.loss(module, self.batch(np.random.default_rng(1)))
        return {"total": float(found["total"]), "mse": float(found["mse"])}

    def look(self, module: nn.Module) -> dict[str, Any]:
        return {}

    def finish(self, module: nn.Module, log: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {k: v.clone() for k, v in module.state_dict().items()}, {}


class LineArchitecture:
    """An architecture as a third one would be: one class, entered in the register."""

    name = "line"
    task: type[LineTask] = LineTask

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def stages(self) -> list[Stage]:
        return [Stage("line", 1.0)]

    def begin(self, stage: str, data: Any, finished: Any, room: Room) -> LineTask:
        return self.task()

    def export(self, finished: Any, path: Path, card: Any) -> None:
        np.save(path.with_suffix(".npy"), finished["line"]["weight"].numpy())
        path.with_suffix(".npy").rename(path)


class FakeVelo(torch.optim.Optimizer):
    """Stands for PyLO's VeLO: weights of its own, at most four axes, wants the loss."""

    made: list[Any] = []  # noqa: RUF012

    def __init__(self, params: Any, lr: float, num_steps: int, weight_decay: float,
                 hf_key_rnn: str, hf_key_mlp: str) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr})
        from safetensors.torch import load_file

        self.rate = float(load_file(f"{hf_key_rnn}/model.safetensors")["rate"])
        assert Path(hf_key_mlp, "model.safetensors").is_file()
        self.num_steps, self.losses = num_steps, 0
        FakeVelo.made.append(self)

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:  # type: ignore[override]
        assert loss.ndim == 0
        self.losses += 1
        for group in self.param_groups:
            for p in group["params"]:
                assert p.ndim <= 4 and p.grad is not None and p.grad.shape == p.shape
                p.sub_(p.grad, alpha=self.rate * group["lr"])

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses = state_dict.pop("losses")
        super().load_state_dict(state_dict)


def velo_weights(folder: Path) -> Path:
    """Weights as the adapter looks for them."""
    from safetensors.torch import save_file

    for part in ("rnn", "mlp"):
        (folder / part).mkdir(parents=True)
        save_file({"rate": torch.tensor(0.05)}, folder / part / "model.safetensors")
    return folder

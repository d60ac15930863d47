"""How the UNet is trained: patches, the composite loss, validation, latents to look at, export."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from . import losses
from .architectures import Batch, Log, Room, Stage, State
from .data import Collection, draw_patch, fixed_patches
from .recipe import Recipe
from .unet import UNet, classical_start, inflate

_HELD_PATCHES = 12
_HELD_LAMBDAS = 3  # low, middle and high
_BINS = 41


def build(recipe: Recipe, dims: int) -> UNet:
    """The module that a recipe describes, as it is before training."""
    module = UNet(dims, recipe.width, recipe.latents, recipe.hyper, recipe.lambdas, recipe.rate)
    if recipe.classical:
        classical_start(module)
    return module


class PatchTask:
    """The UNet on patches of the volumes; see :class:`.architectures.Task`."""

    def __init__(self, recipe: Recipe, dims: int, data: Collection, module: UNet) -> None:
        self.recipe, self.dims, self.data = recipe, dims, data
        self._module = module
        self.loss_of = losses.Composite(recipe)
        count = max(_HELD_PATCHES, min(len(data.validation), 2 * _HELD_PATCHES))
        self.held = fixed_patches(data.validation, dims, recipe.patch, count)

    @property
    def module(self) -> nn.Module:
        return self._module

    def batch(self, rng: np.random.Generator) -> Batch:
        """``x`` (B, 1, ...) in 0..1, ``lam`` (B,) log-uniform over the range, ``zero`` (B,)."""
        drawn = [
            draw_patch(self.data, self.dims, self.recipe.patch, rng)
            for _ in range(self.recipe.batch)
        ]
        low, high = (math.log(v) for v in self.recipe.lambdas)
        lam = np.exp(rng.uniform(low, high, len(drawn)))
        return {
            "x": torch.from_numpy(np.stack([x for x, _ in drawn])[:, None]),
            "lam": torch.from_numpy(lam.astype(np.float32)),
            "zero": torch.tensor([zero for _, zero in drawn], dtype=torch.float32),
        }

    def loss(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return self.loss_of(module(batch["x"], batch["lam"]), batch)

    def _lambdas(self) -> list[float]:
        if not self.recipe.rate:
            return [1.0]
        low, high = self.recipe.lambdas
        return [float(v) for v in np.geomspace(low, high, _HELD_LAMBDAS)]

    def _held_batch(self, first: int, last: int, lam: float, device: torch.device) -> Batch:
        chosen = self.held[first:last]
        x = np.stack([x for _, x, _ in chosen])[:, None]
        return {
            "x": torch.from_numpy(x).to(device),
            "lam": torch.full((len(chosen),), lam, device=device),
            "zero": torch.tensor([z for _, _, z in chosen], dtype=torch.float32, device=device),
        }

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """Means over the held patches: total, terms, bpv, mse and iou, the last three by lambda."""
        assert isinstance(module, UNet)
        module.refresh_quantiles()
        device = next(module.parameters()).device
        sums: dict[str, float] = {}
        lambdas = self._lambdas()
        for k, lam in enumerate(lambdas):
            own: dict[str, float] = {}
            for first in range(0, len(self.held), self.recipe.batch):
                batch = self._held_batch(first, first + self.recipe.batch, lam, device)
                out = module(batch["x"], batch["lam"])
                found = self.loss_of(out, batch, training=False)
                share = len(batch["x"]) / len(self.held)
                iou = losses.support_iou(out["x_hat"], batch["x"], batch["zero"]).mean()
                for term, value in (*found.items(), ("iou", iou)):
                    if not term.startswith("part/"):
                        own[term] = own.get(term, 0.0) + share * float(value)
            for term, mean in own.items():
                name = {"rate": "bpv"}.get(term, term)
                sums[name] = sums.get(name, 0.0) + mean / len(lambdas)
                if len(lambdas) > 1 and name in ("bpv", "mse", "iou"):
                    sums[f"{name}@{k}"] = mean
        return sums

    @torch.no_grad()
    def look(self, module: nn.Module) -> dict[str, Any]:
        """Histograms and dead channels of y and z, a picture of each scale and a reconstruction."""
        device = next(module.parameters()).device
        lambdas = self._lambdas()
        batch = self._held_batch(0, min(4, len(self.held)), lambdas[len(lambdas) // 2], device)
        out = module(batch["x"], batch["lam"])
        found: dict[str, Any] = {"histograms": {}, "dead": {}, "pictures": {}}
        for name in ("y", "z"):
            latent = out[name].float().cpu()
            if latent.numel() == 0 or not bool(latent.isfinite().all()):
                continue  # a run that blew up has nothing to look at
            values = latent.flatten()
            reach = max(float(values.abs().quantile(0.999)) if len(values) < 1 << 24 else 64.0, 1.0)
            counts = torch.histc(values.clamp(-reach, reach), _BINS, -reach, reach)
            found["histograms"][name] = {"reach": reach, "counts": [int(c) for c in counts]}
            channels = latent.transpose(0, 1).flatten(1)
            largest = channels.abs().amax(1) if self.recipe.rate else channels.std(1)
            dead = largest < (0.5 if self.recipe.rate else 1e-6)
            found["dead"][name] = [int(dead.sum()), len(dead)]
            loudest = int(channels.std(1).argmax())
            found["pictures"][name] = _slice(latent[0, loudest])
        x, x_hat = (_slice(t[0, 0].float().cpu()) for t in (batch["x"], out["x_hat"]))
        found["pictures"]["original"] = x
        found["pictures"]["reconstruction"] = x_hat
        return found

    def finish(self, module: nn.Module, log: Log) -> tuple[State, dict[str, Any]]:
        assert isinstance(module, UNet)
        module.refresh_quantiles()
        return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}, {}


def _slice(t: torch.Tensor) -> np.ndarray:
    """The middle slice of a volume, or the slice itself, float32."""
    return np.asarray(t[t.shape[0] // 2] if t.ndim == 3 else t, dtype=np.float32)


class Autoencoder:
    """The unet, or first its 2-D form and then the unet inflated from it."""

    name = "unet"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def stages(self) -> list[Stage]:
        share = self.recipe.first_2d
        if share and self.recipe.dims == 3:
            return [Stage("slices", share), Stage("unet", 1 - share)]
        return [Stage("unet", 1.0)]

    def begin(
        self, stage: str, data: Collection, finished: Mapping[str, State], room: Room
    ) -> PatchTask:
        dims = 2 if stage == "slices" else self.recipe.dims
        module = build(self.recipe, dims)
        if self.recipe.start:
            module.load_state_dict(self._start(dims))
        if "slices" in finished:
            flat = build(self.recipe, 2)
            flat.load_state_dict(finished["slices"])
            inflate(flat, module)
        return PatchTask(self.recipe, dims, data, module)

    def _start(self, dims: int) -> State:
        from . import unet_export

        state = unet_export.weights(self.recipe.start)
        wanted = build(self.recipe, dims).state_dict()
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in wanted.items()}:
            raise InputError(
                f"{self.recipe.start} is a unet of another size: --dims and widths must be the same"
            )
        return state

    def export(self, finished: Mapping[str, State], path: Path, card: Mapping[str, Any]) -> None:
        from ..formats.atomic import atomic_output
        from . import unet_export

        module = build(self.recipe, self.recipe.dims)
        module.load_state_dict(finished["unet"])
        unet_export.keep(module, str(path))
        if not module.rate:  # a study: there is no codec to be made of it
            return
        with atomic_output(path, force=True) as file:
            file.write(unet_export.pack(module.eval(), dict(card)))

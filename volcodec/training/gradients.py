"""What a step does to the weights: gradients of each term, updates, moments, stability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Gradients:
    """Looks at one step of an optimiser: `before` its backward pass, `after` its update."""

    def __init__(self, module: nn.Module, curvature: bool = False) -> None:
        self.curvature = curvature
        self.vector: list[Tensor] = []  # where the curvature was largest, the last time
        self.named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        self.old: list[Tensor] = []

    def before(self, found: Mapping[str, Tensor], optimiser: Any) -> dict[str, float]:
        """``gradient/TERM``: norms of the gradient of each part of a loss, all parameters.

        Costs a backward pass for each part; weights are kept for `after`. With ``curvature`` also
        ``edge`` (see :func:`edge`), at the price of some twenty backward passes.
        """
        parameters = [p for _, p in self.named]
        out = {}
        for name, part in found.items():
            if not name.startswith("part/") or not part.requires_grad:
                continue
            gradients = torch.autograd.grad(part, parameters, retain_graph=True, allow_unused=True)
            squares = [
                float(g.detach().double().square().sum()) for g in gradients if g is not None
            ]
            out[f"gradient/{name[5:]}"] = math.sqrt(sum(squares))
        self.old = [p.detach().clone() for p in parameters]
        if self.curvature:
            value, self.vector = edge(found["total"], parameters, optimiser, self.vector)
            if value is not None:
                out["edge"] = value
        return out

    def after(self, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """``update/all`` and ``update/most``, and ``stale`` where the optimiser is of Adam's kind.

        ``update/all`` is the norm of the last update over that of the weights (healthy: about
        1e-3), ``update/most`` the same for the tensor where it is largest. ``stale`` compares
        what the optimiser divides by with what it should: root of the sum of second moments over
        the norm of this step's gradient (both as they are used: clipped, bias corrected). Far
        above 1, gradients have shrunk faster than the moments forget (arXiv 2506.04805): steps
        are small now and too large as soon as the old gradients are forgotten.
        """
        if not self.old:
            return {}
        moved = held = most = 0.0
        for (_, p), old in zip(self.named, self.old, strict=True):
            d = float((p.detach() - old).double().square().sum())
            w = float(old.double().square().sum())
            moved, held = moved + d, held + w
            if w > 0:
                most = max(most, math.sqrt(d / w))
        self.old = []
        out = {"update/all": math.sqrt(moved / max(held, 1e-30)), "update/most": most}
        stale = staleness(optimiser)
        return out if stale is None else {**out, "stale": stale}


def staleness(optimiser: Any) -> float | None:
    """Root of the sum of Adam's second moments over the norm of the gradient; None without them."""
    moments = squares = 0.0
    for group in optimiser.param_groups:
        beta = group.get("betas", (0.0, 0.0))[1]
        for p in group["params"]:
            state = optimiser.state.get(p, {})
            if "exp_avg_sq" not in state or p.grad is None:
                continue
            correction = 1 - beta ** float(state["step"])
            moments += float(state["exp_avg_sq"].double().sum()) / max(correction, 1e-12)
            squares += float(p.grad.double().square().sum())
    return math.sqrt(moments / squares) if squares > 0 else None


_TURNS = 6  # of the power iteration, which goes on from the last time's vector


def edge(
    total: Tensor, parameters: list[nn.Parameter], optimiser: Any, vector: list[Tensor]
) -> tuple[float | None, list[Tensor]]:
    """How near AdamW stands to instability on this batch: above 1 its steps overshoot and grow.

    The largest eigenvalue of the Hessian, preconditioned by the root of the second moments (by
    power iteration from ``vector``), times lr (1 - beta1) / (2 + 2 beta1), after Cohen et al.
    (arXiv 2207.14484): momentum widens the stable range, 38 / lr at beta1 0.9 and 6 / lr at 0.5.
    None, and no vector, where the optimiser is another or has not stepped yet.
    """
    scale: dict[int, Tensor] = {}
    lr = beta1 = 0.0
    for group in optimiser.param_groups:
        for p in group["params"]:
            state = optimiser.state.get(p, {})
            if "exp_avg_sq" not in state:
                return None, []
            lr, (beta1, beta2) = group["lr"], group["betas"]
            moment = state["exp_avg_sq"] / max(1 - beta2 ** float(state["step"]), 1e-12)
            scale[id(p)] = (moment.sqrt() + group["eps"]).rsqrt()
    roots = [scale[id(p)] for p in parameters]
    slopes = torch.autograd.grad(total, parameters, create_graph=True, allow_unused=True)
    used = [(g, p, r) for g, p, r in zip(slopes, parameters, roots, strict=True) if g is not None]
    if not vector:
        vector = [torch.randn_like(p) for _, p, _ in used]
    value = 0.0
    for _ in range(_TURNS):
        size = math.sqrt(sum(float(v.double().square().sum()) for v in vector))
        vector = [v / max(size, 1e-30) for v in vector]
        along = torch.stack(
            [(g * (r * v)).sum() for (g, _, r), v in zip(used, vector, strict=True)]
        ).sum()
        turned = torch.autograd.grad(
            along, [p for _, p, _ in used], retain_graph=True, allow_unused=True
        )
        following = [
            torch.zeros_like(r) if h is None else r * h.detach()
            for h, (_, _, r) in zip(turned, used, strict=True)
        ]
        value = sum(float((a * b).sum()) for a, b in zip(vector, following, strict=True))
        vector = following
    return value * lr * (1 - beta1) / (2 + 2 * beta1), vector

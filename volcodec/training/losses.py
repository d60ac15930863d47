"""The composite loss of the autoencoder: rate + lambda (w1 MSE + w2 Frobenius + w3 segmentation).

Volumes are normalised: density 0..1 over the range of the volume. Every function takes the
reconstruction and the original, (B, 1, ...), and returns one value an item, (B,). What each says of
its gradient near zero error is what decides whether training settles: a term whose gradient stays
of one size takes over once the others vanish (see docs/convergence.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .recipe import Recipe

FROBENIUS_FORMS = ("norm", "smooth", "squared")
FROBENIUS_OF = ("error", "density")
SEGMENTATION_FORMS = ("dice", "bce")
SMOOTHING = 1e-3  # eps of the smooth norm, in units of the density
THRESHOLD = 0.02  # of the soft support, above the density's zero
TAU = 0.01  # its width


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean square error of each item.

    Gradient 2 (x_hat - x) / n: it vanishes with the error, so steps shrink as training succeeds.
    """
    return (x_hat - x).square().flatten(1).mean(1)


def frobenius(
    x_hat: Tensor, x: Tensor, form: str = "squared", of: str = "error", per_voxel: bool = True,
    eps: float = SMOOTHING,
) -> Tensor:  # fmt: skip
    """Frobenius norm of each item: of its error, or of the reconstructed density alone.

    Args:
        form: "norm", the root of the sum of squares s: its gradient has norm 1 (1 / sqrt(n) with
            ``per_voxel``) however small the error is, and points anywhere when the error is noise;
            at exactly zero it is taken as 0. "smooth", sqrt(eps^2 + s) - eps: as the norm for
            errors well above eps, vanishing linearly below. "squared", s: vanishes with the error
            (with ``per_voxel`` it is the mean square error once more).
        of: "error", x_hat - x; "density", x_hat: a shrinkage whose gradient never vanishes where
            there is density, so the best reconstruction under it is darker than the original.
        per_voxel: s is a mean over the n voxels instead of a sum.
    """
    e = (x_hat - x if of == "error" else x_hat).flatten(1)
    n = e.shape[1] if per_voxel else 1
    if form == "norm":
        return torch.linalg.vector_norm(e, dim=1) / math.sqrt(n)
    s = e.square().sum(1) / n
    return s if form == "squared" else (eps**2 + s).sqrt() - eps


def support_overlap(
    x_hat: Tensor, x: Tensor, zero: Tensor, form: str = "dice", threshold: float = THRESHOLD,
    tau: float = TAU,
) -> Tensor:  # fmt: skip
    """How badly the regions of non-zero density coincide, for each item.

    Args:
        zero: (B,), where the density's zero lies in normalised units.
        form: "dice", 1 - 2 |A B| / (|A| + |B|) (Milletari et al., arXiv 1606.04797) of the support
            A = (x > zero) and the soft mask B = sigmoid((x_hat - zero - threshold) / tau), with one
            voxel added above and below so that empty items are 0; "bce", the binary cross-entropy.

    The gradient lives within some tau of the threshold, is up to 1 / (4 tau) of the mask's there,
    and is *not* zero at zero error: the soft mask never reaches the hard support, so faint density
    is pushed up and empty space down for ever. Keep its weight small.
    """
    level = zero.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)
    support = (x > level + 1e-6).to(x_hat.dtype).flatten(1)
    logits = ((x_hat - level - threshold) / tau).flatten(1)
    if form == "bce":
        return functional.binary_cross_entropy_with_logits(logits, support, reduction="none").mean(
            1
        )
    mask = torch.sigmoid(logits)
    both = (mask * support).sum(1)
    return 1 - (2 * both + 1) / (mask.sum(1) + support.sum(1) + 1)


def support_iou(x_hat: Tensor, x: Tensor, zero: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Intersection over union of the supports, hard masks, (B,); 1 where both are empty."""
    level = zero.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)
    a = (x > level + 1e-6).flatten(1)
    b = (x_hat > level + threshold).flatten(1)
    return ((a & b).sum(1) + 1e-9) / ((a | b).sum(1) + 1e-9)


def rate(likelihoods: Mapping[str, Tensor], voxels: int) -> Tensor:
    """Bits per voxel of each item, from the likelihoods of its latents; ``voxels`` of one item."""
    bits = [-torch.log2(p).flatten(1).sum(1) for p in likelihoods.values()]
    return torch.stack(bits).sum(0) / voxels


class Balancer:
    """Weights that are shares of the gradient (after encodec's balancer, arXiv 2210.13438).

    Each term's gradient with respect to the reconstruction is scaled to ``w_i / w_mse`` times the
    norm of the gradient of the MSE; norms are moving averages. So a term that does not vanish with
    the error is made to vanish with the MSE's gradient, and lambda keeps its meaning.
    """

    def __init__(self, decay: float = 0.99) -> None:
        self.decay = decay
        self.norms: dict[str, float] = {}
        self.steps = 0

    def scales(self, parts: Mapping[str, Tensor], x_hat: Tensor) -> dict[str, float]:
        """The factor for each term, with its norm of this step taken into the averages."""
        self.steps += 1
        for name, part in parts.items():
            (gradient,) = torch.autograd.grad(part, x_hat, retain_graph=True)
            norm = float(gradient.norm())
            if math.isfinite(norm):
                old = self.norms.get(name, 0.0)
                self.norms[name] = self.decay * old + (1 - self.decay) * norm
        reference = self.norms.get("mse", 0.0)
        return {
            name: 1.0 if name == "mse" else reference / max(self.norms.get(name, 0.0), 1e-12)
            for name in parts
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"norms": dict(self.norms), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.norms = {str(k): float(v) for k, v in state["norms"].items()}
        self.steps = int(state["steps"])


class Composite:
    """The loss that a recipe asks for.

    Called with the model's output, the batch and whether it is training, it returns scalars:
    ``total``, the terms as they are (``rate`` in bits per voxel), and as ``part/TERM`` what each
    contributes to ``total``, still differentiable.

    With a rate, each item's loss is divided by sqrt(lambda / middle): each lambda keeps its own
    optimum, and no end of the range drowns the other in the mean over a batch.
    """

    def __init__(self, recipe: Recipe) -> None:
        for what, form, known in (
            ("form of the Frobenius norm", recipe.frobenius, FROBENIUS_FORMS),
            ("thing to take the Frobenius norm of", recipe.frobenius_of, FROBENIUS_OF),
            ("form of the segmentation loss", recipe.segmentation, SEGMENTATION_FORMS),
        ):
            if form not in known:
                raise InputError(f"there is no {what} {form!r}: choose from {', '.join(known)}")
        self.recipe = recipe
        self.middle = math.sqrt(recipe.lambdas[0] * recipe.lambdas[1])
        self.weights = dict(zip(("mse", "frobenius", "segmentation"), recipe.weights, strict=True))
        self.balancer = Balancer() if recipe.balance and "mse" in recipe.terms else None

    def terms(self, x_hat: Tensor, x: Tensor, zero: Tensor) -> dict[str, Tensor]:
        """The terms of the distortion, (B,) each."""
        r = self.recipe
        out = {}
        for name in r.terms:
            if name == "mse":
                out[name] = mse(x_hat, x)
            elif name == "frobenius":
                out[name] = frobenius(x_hat, x, r.frobenius, r.frobenius_of, r.per_voxel)
            else:
                out[name] = support_overlap(x_hat, x, zero, r.segmentation)
        return out

    def __call__(
        self, out: Mapping[str, Any], batch: Mapping[str, Tensor], training: bool = True
    ) -> dict[str, Tensor]:
        x, lam = batch["x"], batch["lam"]
        x_hat = out["x_hat"].to(x.dtype)
        terms = self.terms(x_hat, x, batch["zero"])
        found = {name: term.mean().detach() for name, term in terms.items()}
        if "mse" not in found:
            found["mse"] = mse(x_hat, x).mean().detach()
        even = torch.ones_like(lam)
        parts: dict[str, Tensor] = {}
        if out.get("likelihoods"):
            even = (self.middle / lam).sqrt()
            bits = rate(out["likelihoods"], x[0].numel())
            found["rate"] = bits.mean().detach()
            parts["rate"] = (bits * even).mean()
            even = even * lam
        distortion = {name: (term * even).mean() for name, term in terms.items()}
        scales = dict.fromkeys(distortion, 1.0)
        if self.balancer is not None and training:
            scales = self.balancer.scales(distortion, out["x_hat"])
        elif self.balancer is not None:  # validation is a fixed yardstick: the error and the rate
            scales = {name: float(name == "mse") for name in distortion}
        for name, part in distortion.items():
            parts[name] = part * (self.weights[name] * scales[name])
        found["total"] = torch.stack(list(parts.values())).sum()
        return {**found, **{f"part/{name}": part for name, part in parts.items()}}

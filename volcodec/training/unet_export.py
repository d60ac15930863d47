"""The trained UNet as integers: the model file that the codec reads.

Activations become integers by scales that a few random fields calibrate; weights as fine integers
as keep every sum below 2**24 (see :mod:`volcodec.transform.network`). The tables come from the
trained distributions. The context networks and tables for what the base leaves are those of a
pyramid model, which travel in the same file.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import models
from ..autoencoder import INPUT, LAMBDAS, LATENT, RATES, SCALES, SYMBOL
from ..entropy.tables import TOKENS, normalise
from ..errors import InputError
from ..shipped import SUFFIX
from ..transform.network import EXACT
from .crops import random_field
from .unet import Residual, UNet, scale_table

BASE = "density"  # whose banks code what is left
_WIDEST = 511  # of activations in between
_HEADROOM = 1.25  # of an activation over the largest that was seen
_FIELDS, _SIDE = 6, 64
_RAW = EXACT - 1


class Chain:
    """Layers of one network, made integers one after the other.

    ``scale``: integers for a real 1 of the activation at hand; ``largest``: its magnitude.
    """

    def __init__(self, dims: int, scale: float, largest: int) -> None:
        self.dims, self.scale, self.largest = dims, scale, largest
        self.about: list[dict[str, Any]] = []
        self.tensors: list[tuple[np.ndarray, np.ndarray]] = []

    def add(
        self, conv: nn.Module, out: float | None, clip: tuple[int, int], *, rectify: bool,
        adds: int = -1,
    ) -> None:  # fmt: skip
        """Append a convolution whose result has scale ``out`` (None: as fine as it can be)."""
        weight = conv.weight.detach().double().numpy()  # type: ignore[operator,union-attr]
        bias = conv.bias.detach().double().numpy()  # type: ignore[operator,union-attr]
        spread, stride = [1, 1, 1], [1, 1, 1]
        if isinstance(conv, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            cells = int(np.prod(weight.shape[2:]))
            weight = np.moveaxis(weight.reshape(*weight.shape[:2], cells), 0, 2)
            weight = weight.reshape(-1, weight.shape[2], *[1] * self.dims)
            bias = np.repeat(bias, cells)
            spread = [1] * (3 - self.dims) + [2] * self.dims
        else:
            stride = [1] * (3 - self.dims) + list(conv.stride)  # type: ignore[arg-type]
        if self.dims == 2:
            weight = weight[:, :, None]
        sums = np.abs(weight).sum((1, 2, 3, 4)) * self.largest + np.abs(bias) * self.scale
        # of a weight's unit: no sum reaches 2**24, no weight 2**15
        widest = max(float(np.abs(weight).max()), 1e-9)
        finest = min(0.98 * EXACT / max(float(sums.max()), 1e-9), 32767 / widest)
        if out is None:
            shift, factor = 0, finest
            out = self.scale * factor
        else:
            ratio = out / self.scale
            shift = int(np.clip(math.floor(math.log2(max(finest / ratio, 1.0))), 0, 22))
            factor = ratio * 2.0**shift
        half = (1 << shift) // 2
        self.tensors.append(
            (
                np.rint(weight * factor).astype(np.int16),
                (np.rint(bias * self.scale * factor) + half).astype(np.int32),
            )
        )
        self.about.append(
            {
                "stride": stride, "spread": spread, "shift": shift, "low": clip[0],
                "high": clip[1], "rectify": rectify, "adds": adds,
            }
        )  # fmt: skip
        self.scale, self.largest = out, max(abs(clip[0]), abs(clip[1]))


def _seen(module: UNet, parts: dict[str, nn.Sequential]) -> dict[nn.Module, float]:
    """The largest magnitude of what each convolution and residual block gives on random fields."""
    most: dict[nn.Module, float] = {}

    def watch(layer: nn.Module, _: Any, out: torch.Tensor) -> None:
        most[layer] = max(most.get(layer, 0.0), float(out.abs().max()))

    layers = [layer for part in parts.values() for layer in part.modules()]
    hooks = [layer.register_forward_hook(watch) for layer in layers]
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for i in range(_FIELDS):
            field = random_field(rng)
            field = (field - field.min()) / max(float(np.ptp(field)), 1e-12)
            pads = [(0, max(0, _SIDE - n)) for n in field.shape]
            field = np.pad(field, pads, mode="symmetric")[:_SIDE, :_SIDE, :_SIDE]
            x = torch.from_numpy(field[_SIDE // 2] if module.dims == 2 else field)[None, None]
            low, high = module.lambdas
            module(x.float(), torch.tensor([low * (high / low) ** (i / (_FIELDS - 1))]))
    for hook in hooks:
        hook.remove()
    return most


def _network(
    part: nn.Sequential, dims: int, scale: float, largest: int, seen: dict[nn.Module, float],
    last: float | None, clip: tuple[int, int],
) -> tuple[Chain, float]:  # fmt: skip
    """The chain of a network and the scale of its result; ``last`` and ``clip`` are of that."""
    chain = Chain(dims, scale, largest)
    rectify = False
    layers = list(part)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.ReLU):
            rectify = True
        elif isinstance(layer, Residual):
            trunk, reach, at = chain.scale, chain.largest, len(chain.about)
            inner = _WIDEST / max(_HEADROOM * seen[layer.first], 1e-6)
            chain.add(layer.first, inner, (0, _WIDEST), rectify=True)
            chain.add(layer.second, trunk, (-reach, reach), rectify=False, adds=at)
        elif i == len(layers) - 1:
            chain.add(layer, last, clip, rectify=rectify)
        else:
            # what follows up to the next plain convolution shares this scale
            run = [layer]
            for after in layers[i + 1 :]:
                if not isinstance(after, Residual):
                    break
                run.append(after)
            most = max(seen[k] for k in run)
            out = _WIDEST / max(_HEADROOM * most, 1e-6)
            chain.add(layer, out, (-_WIDEST, _WIDEST), rectify=rectify)
            rectify = False
    return chain, chain.scale


def _token_weights(magnitudes: np.ndarray) -> np.ndarray:
    """(N, TOKENS) from probabilities (N, SYMBOL + 1) of magnitudes."""
    from .fit import tokens

    out = np.zeros((len(magnitudes), TOKENS))
    np.add.at(out.T, tokens(np.arange(SYMBOL + 1)), magnitudes.T)
    return out + 1e-9


def _tables(module: UNet) -> np.ndarray:
    """Frequencies of the scales of y, then of the channels of z."""
    k = torch.arange(SYMBOL + 1, dtype=torch.float64)
    sigma = torch.tensor(scale_table(), dtype=torch.float64)[:, None]

    def below(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    y = below((k + 0.5) / sigma) - below((k - 0.5) / sigma)
    y[:, 1:] *= 2
    bottleneck: Any = module.bottleneck
    both = torch.arange(-SYMBOL, SYMBOL + 1, dtype=torch.float32)
    ends = [
        torch.sigmoid(
            bottleneck._logits_cumulative(
                (both + side).expand(bottleneck.channels, 1, -1), stop_gradient=True
            )
        )[:, 0].double()
        for side in (-0.5, 0.5)
    ]
    p = (ends[1] - ends[0]).clamp_min(1e-12)
    z = p[:, SYMBOL:].clone()
    z[:, 1:] += torch.flip(p[:, :SYMBOL], [1])
    return normalise(_token_weights(torch.cat([y, z]).detach().numpy()))


def pack(module: UNet, card: dict[str, Any]) -> bytes:
    """The bytes of a model file; InputError where the module has no entropy models."""
    from safetensors.numpy import load, save

    if not module.rate:
        raise InputError("an autoencoder that was trained without a rate is no codec")
    module = module.eval()
    parts = {
        name: getattr(module, name)
        for name in ("encoder", "hyper_encoder", "hyper_decoder", "decoder")
    }
    seen = _seen(module, parts)
    dims = module.dims
    lambdas = torch.tensor(np.geomspace(*LAMBDAS, RATES), dtype=torch.float32)
    with torch.no_grad():
        gain, back = (g.reshape(RATES, -1).double().numpy() for g in module.gains(lambdas))
    everywhere = (-_RAW, _RAW)
    latent = LATENT / (_HEADROOM * _reach(module, gain, back, seen[parts["encoder"][-1]]))
    chains = {
        "encoder": _network(parts["encoder"], dims, INPUT, INPUT, seen, None, everywhere),
        "hyper_encoder": _network(
            parts["hyper_encoder"], dims, 1.0, SYMBOL, seen, 1.0, (-SYMBOL, SYMBOL)
        ),
        "hyper_decoder": _network(
            parts["hyper_decoder"], dims, 1.0, SYMBOL, seen, 1.0, (0, SCALES - 1)
        ),
        "decoder": _network(parts["decoder"], dims, latent, LATENT, seen, None, everywhere),
    }
    base = models.load(BASE)
    tensors = {k: v for k, v in load(base.data).items() if not k.startswith("unet.")}
    for name, (chain, _) in chains.items():
        for i, (weight, bias) in enumerate(chain.tensors):
            tensors[f"unet.{name}.{i}.weight"] = np.ascontiguousarray(weight)
            tensors[f"unet.{name}.{i}.bias"] = bias
    tensors["unet.freq"] = _tables(module)
    tensors["unet.gain"] = gain / chains["encoder"][1]
    tensors["unet.back"] = np.rint(back * latent * 65536).clip(-(2**31) + 1, 2**31 - 1).astype("i4")
    about = {name: chain.about for name, (chain, _) in chains.items()}
    about_all: dict[str, Any] = {
        **about, "unit": 1 / chains["decoder"][1], "door": [1, 4, 4] if dims == 2 else [4, 4, 4],
    }  # fmt: skip
    whole = {**card, "banks": base.name, "shifts": base.card["shifts"], "unet": about_all}
    return bytes(save(tensors, metadata={"format": models.UNET, "card": json.dumps(whole)}))


def _reach(module: UNet, gain: np.ndarray, back: np.ndarray, most: float) -> float:
    """The largest magnitude of y where it enters the decoder."""
    return float((np.minimum(most * gain + 0.5, SYMBOL) * back).max())


def keep(module: UNet, path: str) -> None:
    """Write the trained weights, which ``volcodec train --from`` goes on from, beside a model."""
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, _kept(path))


def weights(start: str) -> dict[str, torch.Tensor]:
    """The trained weights beside a model, by its name or path; InputError where there are none."""
    from safetensors.torch import load_file

    for path in (start, f"{start}{SUFFIX}"):
        if os.path.isfile(_kept(path)):
            return dict(load_file(_kept(path)))
    raise InputError(f"{start} is no model that a unet can go on from: {_kept(start)} is not there")


def _kept(path: str) -> str:
    stem = path[: -len(SUFFIX)] if path.endswith(SUFFIX) else path
    return f"{stem}.weights"

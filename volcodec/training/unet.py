"""The autoencoder: encoder and decoder of a UNet without skip connections, with a hyperprior.

No convolution runs at full resolution: blocks of 4^d voxels become channels at the door and voxels
again at the exit. In between: residual blocks at 1/4, a strided convolution, a residual block and
the latents y at 1/8; a hyper-encoder makes z at 1/16, from which the scales of y are told (Balle et
al., arXiv 1802.01436). The activation is ReLU, inside the residual blocks, so that all of the
decoder can be made of integers. The entropy models are CompressAI's.

It can start as a classical codec, a block transform whose coarsest coefficients are kept
(`classical_start`), and learn from there: on a CPU that is worth hours.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..autoencoder import SYMBOL
from ..errors import InputError

BLOCK = 4  # edge of what becomes channels at the door
STRIDE = 16  # voxels a side that one place of z stands for
SCALES = 64  # entries of the table of scales of y
SCALE_LOW, SCALE_HIGH = 0.11, 256.0
ANCHORS = 6  # lambdas with gains of their own; in between they are interpolated
FINEST = 20.0  # gain at the start, so that symbols of bright blocks are not clipped
_LEAK = 0.01  # of gradient where a value is clipped


def scale_table() -> list[float]:
    """The scales that the table of y's distributions holds: geometric, as CompressAI's."""
    step = math.log(SCALE_HIGH / SCALE_LOW) / (SCALES - 1)
    return [SCALE_LOW * math.exp(i * step) for i in range(SCALES)]


def entropy_models(latents: int, hyper: int) -> tuple[nn.Module, nn.Module]:
    """CompressAI's GaussianConditional for y and EntropyBottleneck for z (``hyper`` channels).

    The medians of the bottleneck stay 0, so that z is coded as plain integers.
    Raises InputError, saying how to get it, where CompressAI is not installed.
    """
    try:
        from compressai.entropy_models import EntropyBottleneck, GaussianConditional
    except ImportError:
        raise InputError(
            "the unet needs CompressAI to be trained: python -m pip install 'volcodec[train]'"
        ) from None
    bottleneck = EntropyBottleneck(hyper)
    bottleneck.quantiles.requires_grad_(False)  # found by bisection: see refresh_quantiles
    return GaussianConditional(scale_table()), bottleneck


def space_to_depth(x: Tensor, block: int = BLOCK) -> Tensor:
    """(B, C, ..., n, ...) to (B, C block^d, ..., n / block, ...); offsets in raster order."""
    sizes = x.shape[2:]
    d = len(sizes)
    split = [n for size in sizes for n in (size // block, block)]
    order = [0, 1, *(3 + 2 * i for i in range(d)), *(2 + 2 * i for i in range(d))]
    out = x.reshape(*x.shape[:2], *split).permute(order)
    return out.reshape(x.shape[0], -1, *(size // block for size in sizes))


def depth_to_space(x: Tensor, block: int = BLOCK) -> Tensor:
    """The inverse of :func:`space_to_depth`."""
    sizes = x.shape[2:]
    d = len(sizes)
    out = x.reshape(x.shape[0], -1, *[block] * d, *sizes)
    order = [0, 1, *(n for i in range(d) for n in (2 + d + i, 2 + i))]
    return out.permute(order).reshape(x.shape[0], -1, *(size * block for size in sizes))


def round_through(x: Tensor) -> Tensor:
    """Rounded; the gradient passes as if it were not."""
    return x + (torch.round(x) - x).detach()


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """Clipped; a little of the gradient passes where it is."""
    inside = x.clamp(low, high)
    return inside + _LEAK * (x - x.detach()) * (inside != x)


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), kernels of 3."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self.first = conv(channels, channels, 3, padding=1)
        self.second = conv(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # begins as the identity (arXiv 1901.09321)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.relu(self.first(torch.relu(x))))
        return x + out


class UNet(nn.Module):
    """The autoencoder, for patches whose edges are divisible by 16.

    Args:
        dims: 3 or 2.
        width: channels C at 1/4 of the resolution; 2 C at 1/8.
        latents: channels M of y.
        hyper: channels N of z.
        lambdas: the range of lambda whose gains are learned.
        rate: False for a plain autoencoder: no rounding, no entropy models, lambda ignored.

    Called with x (B, 1, ...) in 0..1 and lam (B,), it returns ``x_hat`` like x, the latents ``y``
    (B, M, ... / 8) as they are rounded (gains applied) and ``z`` (B, N, ... / 16), and the
    ``likelihoods`` of both ("y", "z"; none without rate). Training adds uniform noise for the rate
    and rounds with a straight-through gradient for the decoder (Minnen and Singh, arXiv
    2007.08739); in evaluation both see the rounded latents.
    """

    def __init__(
        self, dims: int = 3, width: int = 32, latents: int = 64, hyper: int = 16,
        lambdas: tuple[float, float] = (100.0, 30000.0), rate: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        conv: Any = nn.Conv3d if dims == 3 else nn.Conv2d
        up: Any = nn.ConvTranspose3d if dims == 3 else nn.ConvTranspose2d
        inside = BLOCK**dims
        self.dims, self.latents, self.lambdas, self.rate = dims, latents, lambdas, rate
        self.encoder = nn.Sequential(
            conv(inside, width, 1),
            Residual(dims, width), Residual(dims, width),
            conv(width, 2 * width, 3, stride=2, padding=1),
            Residual(dims, 2 * width),
            conv(2 * width, latents, 3, padding=1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            conv(latents, 2 * width, 3, padding=1),
            Residual(dims, 2 * width),
            up(2 * width, width, 2, stride=2),
            Residual(dims, width), Residual(dims, width),
            conv(width, inside, 1),
        )  # fmt: skip
        if not rate:
            return
        self.gaussian, self.bottleneck = entropy_models(latents, hyper)
        self.hyper_encoder = nn.Sequential(
            conv(latents, 2 * hyper, 3, padding=1),
            nn.ReLU(), conv(2 * hyper, hyper, 3, stride=2, padding=1),
        )  # fmt: skip
        self.hyper_decoder = nn.Sequential(
            up(hyper, 2 * hyper, 2, stride=2),
            nn.ReLU(), conv(2 * hyper, latents, 3, padding=1),
        )  # fmt: skip
        # the step that is best for an orthonormal transform at high rate: D = step^2 / 12 a latent,
        # and a bit more quarters it
        anchors = torch.logspace(math.log10(lambdas[0]), math.log10(lambdas[1]), ANCHORS)
        start = 0.5 * torch.log(anchors * (math.log(2) / 6)).clamp(max=math.log(FINEST) * 2)
        self.log_gain = nn.Parameter(start[:, None].repeat(1, latents))
        self.log_gain_back = nn.Parameter(-start[:, None].repeat(1, latents))
        places = 53 - 34 * torch.linspace(0, 1, latents).sqrt()  # of what lower frequencies have
        self.hyper_decoder[-1].bias.data.copy_(places)  # type: ignore[union-attr,operator]

    def gains(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Gain of y and gain back, (B, M, 1, ...), for lam (B,): what multiplies before and after.

        Logarithms of gains, linear between anchors that lie evenly in log(lambda).
        """
        low, high = (math.log(v) for v in self.lambdas)
        place = (torch.log(lam) - low) / max(high - low, 1e-12) * (ANCHORS - 1)
        place = place.clamp(0, ANCHORS - 1)
        k = place.floor().clamp(max=ANCHORS - 2).long()
        w = (place - k)[:, None]
        ends = [1] * self.dims
        both = [
            torch.exp(table[k] * (1 - w) + table[k + 1] * w).reshape(len(lam), -1, *ends)
            for table in (self.log_gain, self.log_gain_back)
        ]
        return both[0], both[1]

    @staticmethod
    def scales(place: Tensor) -> Tensor:
        """Scales of y from the hyper-decoder's output, which is a place in the table of scales."""
        place = clip(place, 0, SCALES - 1)
        return SCALE_LOW * torch.exp(place * (math.log(SCALE_HIGH / SCALE_LOW) / (SCALES - 1)))

    def forward(self, x: Tensor, lam: Tensor) -> dict[str, Any]:
        y = self.encoder(space_to_depth(x))
        if not self.rate:
            return {"x_hat": self.decode(y), "likelihoods": {}, "y": y, "z": y.new_zeros(0)}
        gain, back = self.gains(lam)
        y = clip(y * gain, -SYMBOL, SYMBOL)
        z = clip(self.hyper_encoder(round_through(y)), -SYMBOL, SYMBOL)
        _, z_likelihood = self.bottleneck(z.float())
        rounded = round_through(z)
        place = self.hyper_decoder(rounded)
        _, y_likelihood = self.gaussian(y.float(), self.scales(place.float()))
        return {
            "x_hat": self.decode(round_through(y) * back),
            "likelihoods": {"y": y_likelihood, "z": z_likelihood},
            "y": y,
            "z": z,
        }

    def decode(self, y_hat: Tensor) -> Tensor:
        """The reconstruction from latents that are rounded and scaled back."""
        return depth_to_space(self.decoder(y_hat))

    def refresh_quantiles(self) -> None:
        """Find the tails of the bottleneck's distributions by bisection; medians stay 0.

        To be called before the tables are made. What CompressAI's auxiliary loss approaches slowly.
        """
        if not self.rate:
            return
        with torch.no_grad():
            bottleneck: Any = self.bottleneck
            for i in (0, 2):
                low = torch.full_like(bottleneck.quantiles[:, :, :1], -1e4)
                high = -low
                for _ in range(60):
                    middle = (low + high) / 2
                    value = bottleneck._logits_cumulative(middle, stop_gradient=True)
                    below = value < bottleneck.target[i]
                    low = torch.where(below, middle, low)
                    high = torch.where(below, high, middle)
                bottleneck.quantiles[:, :, i : i + 1] = (low + high) / 2


def _cosines() -> Tensor:
    """The orthonormal DCT-II of BLOCK points, (frequency, point)."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    table = torch.cos(math.pi * n[:, None] * (2 * n + 1) / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    table[0] /= math.sqrt(2)
    return table


def classical_start(module: UNet) -> None:
    """Begin as an orthonormal block transform: the door is a DCT, the strided convolution a Haar.

    Of each block of 8^d voxels the coefficients of the lowest frequencies are the latents; the
    decoder is the transpose. Residual blocks begin as the identity, so they are not in the way.
    """
    encoder, decoder = cast("Any", module.encoder), cast("Any", module.decoder)
    d, width = module.dims, encoder[0].out_channels
    cosines, haar = _cosines(), torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double() / math.sqrt(2)
    waves = sorted(product(range(BLOCK), repeat=d), key=lambda k: sum(n * n for n in k))[:width]
    pairs = sorted(
        product(range(len(waves)), product(range(2), repeat=d)),
        key=lambda p: sum((2 * k + s) ** 2 for k, s in zip(waves[p[0]], p[1], strict=True)),
    )[: 2 * width]

    def outer(rows: list[Tensor]) -> Tensor:
        out = rows[0]
        for row in rows[1:]:
            out = out[..., None] * row
        return out

    door, down, latent = (encoder[i] for i in (0, 3, 5))
    spread, up, leave = (decoder[i] for i in (0, 2, 5))
    middle = (slice(None), slice(None), *[1] * d)
    count = min(module.latents, len(pairs))
    with torch.no_grad():
        for layer in (down, latent, spread, up, leave):
            layer.weight.zero_()
        for layer in (door, down, latent, spread, up, leave):
            layer.bias.zero_()
        for i, wave in enumerate(waves):
            block = outer([cosines[k] for k in wave]).flatten().float()
            door.weight[i].copy_(block.reshape(-1, *[1] * d))
            leave.weight[:, i].copy_(block.reshape(-1, *[1] * d))
        for j, (i, bands) in enumerate(pairs):
            cell = outer([haar[s] for s in bands]).float()
            down.weight[j, i][tuple([slice(1, 3)] * d)] = cell
            up.weight[j, i] = cell
        latent.weight[middle][:count, :count] = torch.eye(count)
        spread.weight[middle][:count, :count] = torch.eye(count)
        half = 0.5 * 8 ** (d / 2)  # what a block of density 0.5 has of the lowest frequency
        latent.bias[0], spread.bias[0] = -half, half


def inflate(flat: UNet, full: UNet) -> None:
    """Start a 3-D autoencoder from a 2-D one, so that a stack of slices is coded as its slices.

    Kernels get the 2-D ones in their middle plane (nearest-first planes for the up-convolutions),
    after the inflation of arXiv 1705.07750; the door and the exit treat a block's planes alike.
    """
    source = flat.state_dict()
    target = full.state_dict()
    depth = BLOCK
    for name, value in source.items():
        wanted = target[name]
        if value.shape == wanted.shape:
            wanted.copy_(value)
        elif name in ("encoder.0.weight",):  # (C, 16, 1, 1) to (C, 64, 1, 1, 1)
            wanted.copy_(value[..., None].repeat(1, depth, 1, 1, 1) / depth)
        elif name.endswith(".bias"):  # of the exit
            wanted.copy_(value.repeat(depth))
        elif wanted.shape[2:] == (1, 1, 1):  # the exit's weight, (16, C, 1, 1)
            wanted.copy_(value[..., None].repeat(depth, 1, 1, 1, 1))
        elif wanted.shape[2] == 2:  # up: both planes are the slice
            wanted.copy_(value[:, :, None].repeat(1, 1, 2, 1, 1))
        else:
            wanted.zero_()
            wanted[:, :, 1] = value
    full.load_state_dict(target)

"""The network that predicts and says how sure it is, in PyTorch: the arithmetic of
:mod:`volcodec.neural`, and what it is trained for, the bits of what is left.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..neural import network
from ..neural.network import CLIP, EXTRA, KINDS, LEAST, OUTPUTS, SHARES, SIZES, SPREADS, TILTS
from ..neural.passes import COUNT, NEARNESS, PASSES

_FLOOR = 2e-6  # probability that is given to whatever comes
_FAR = 1e7  # where what lies beyond a limit of the values ends
_FIRST = (0.0, -1.0, 0.5, 0.0, -1.0)  # outputs at first
_AT_LIMIT = 0.4  # steps from a limit at which a prediction becomes it, as in neural.levels


class Predictor(nn.Module):
    """See :mod:`volcodec.neural.network`; parameters are named as its tensors are."""

    def __init__(self, h1: int, h2: int) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(PASSES, COUNT))
        self.w1 = nn.Parameter(torch.randn(COUNT + EXTRA, h1) / 8.0)
        self.b1 = nn.Parameter(torch.randn(PASSES, KINDS, h1) * 0.1)
        self.w2 = nn.Parameter(torch.randn(h1, h2) / h1**0.5)
        self.b2 = nn.Parameter(torch.zeros(h2))
        self.w3 = nn.Parameter(torch.randn(h2, OUTPUTS) * 0.01)
        self.b3 = nn.Parameter(torch.tensor(_FIRST))

    def forward(
        self, near: Tensor, mask: Tensor, index: Tensor, kind: Tensor, low: Tensor, high: Tensor,
        value: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Bits of each value, and square steps by which it is off where no symbol corrects its
        prediction, (N,); what is asked is a batch of :class:`.pieces.Known`."""
        k = mask * torch.from_numpy(NEARNESS).to(near)
        total = k.sum(1)
        mean = (near * k).sum(1) / total
        d = near - mean[:, None]
        scale = ((d * d * k).sum(1) / total).sqrt() + LEAST
        u = (d / scale[:, None]).clamp(-CLIP, CLIP) * mask
        size = binary_log(scale)
        ends = [(e / scale).clamp(0, CLIP) for e in (mean - low, high - mean)]
        x = torch.cat([u, torch.stack([size, *ends], 1)], 1)
        h = torch.relu(x @ self.w1 + self.b1[index, kind])
        h = torch.relu(h @ self.w2 + self.b2)
        out = (h @ self.w3 + self.b3).float()
        guess = mean + ((u * self.linear[index]).sum(1) + out[:, 0]) * scale
        found = bits(guess, size + out[:, 1], out[:, 2], out[:, 3], out[:, 4], low, high, value)
        alike = scale == LEAST  # all that is known is the same, and is the prediction
        return found, errors(torch.where(alike, mean, guess), low, high, value)

    def weights(self) -> network.Weights:
        """What is trained, as the codec takes it."""
        named = self.named_parameters()
        return network.Weights(**{n: p.detach().cpu().float().numpy() for n, p in named})

    @classmethod
    def of(cls, weights: network.Weights) -> Predictor:
        """The inverse of :meth:`weights`."""
        out = cls(*weights.w2.shape)
        out.load_state_dict({n: torch.from_numpy(np.copy(a)) for n, a in vars(weights).items()
                             if isinstance(a, np.ndarray)})  # fmt: skip
        return out


def binary_log(x: Tensor) -> Tensor:
    """log2, linear between powers of two."""
    fraction, exponent = torch.frexp(x.detach())
    return exponent.to(x.dtype) - 2 + 2 * fraction


def binary_power(x: Tensor) -> Tensor:
    """The inverse of :func:`binary_log`, with a gradient."""
    whole = torch.floor(x.detach())
    return torch.exp2(whole) * (1 + (x - whole))


def errors(guess: Tensor, low: Tensor, high: Tensor, value: Tensor) -> Tensor:
    """Square steps from predictions to values, where these are not farther than half a step.

    There the symbol is 0, and what is decoded is the prediction; it is a limit of the values where
    it is near one. Farther off, what is left after the symbol says nothing of the prediction.
    """
    guess = torch.where(guess - low <= _AT_LIMIT, low, guess)
    guess = torch.where(high - guess <= _AT_LIMIT, high, guess)
    off = value - guess
    return torch.where(off.abs() <= 0.5, off * off, torch.zeros_like(off))


def bits(
    guess: Tensor, size: Tensor, spread: Tensor, tilt: Tensor, share: Tensor, low: Tensor,
    high: Tensor, value: Tensor,
) -> Tensor:  # fmt: skip
    """Bits of values that are known to half a step either way, in a mixture of two logistic
    distributions; what it has beyond the limits of the values counts as at the limits."""
    size, spread = size.clamp(*SIZES), spread.clamp(0, SPREADS)
    wide = torch.sigmoid(share.clamp(-SHARES, SHARES))
    begin = torch.where(value - 0.5 <= low, value - _FAR, value - 0.5)
    end = torch.where(value + 0.5 >= high, value + _FAR, value + 0.5)
    total = torch.zeros_like(guess)
    for part, side in ((1 - wide, -1), (wide, 1)):
        scale = binary_power(size + side * spread)
        middle = guess + (tilt.clamp(-TILTS, TILTS) * scale if side > 0 else 0)
        a, b = (begin - middle) / scale, (end - middle) / scale
        flipped = a + b > 0
        a, b = torch.where(flipped, -b, a), torch.where(flipped, -a, b)
        total = total + part * (torch.sigmoid(b) - torch.sigmoid(a))
    return -torch.log2(total + _FLOOR)

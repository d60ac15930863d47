"""Maximum-likelihood training of the context networks and of the tables they choose from.

One small network per subband and parity class gives a place on a line of tables; between two
neighbouring tables the probabilities are interpolated, so that networks and tables are trained
together by gradient. Afterwards weights become integers and tables are refitted to the symbols that
the integer networks send to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .. import models
from ..entropy import contexts
from ..entropy.expectation import BITS, RESTS, Signs
from ..entropy.products import ACTIVATION, NARROWEST
from ..entropy.tables import DIRECT, ESCAPE, ESCAPE_BITS, PROB_BITS, TOKENS, normalise
from .samples import Samples

WEIGHT_BITS = 8
UNIT = 16.0  # activations are integers over 16
_WIDEST = 32767  # of an integer weight


def tokens(symbols: np.ndarray) -> np.ndarray:
    """Token of each symbol (vectorised :func:`volcodec.entropy.tables.token_of`)."""
    m = np.abs(symbols.astype(np.int64))
    e = np.floor(np.log2(np.maximum(m, 1) + 0.5)).astype(np.int64)
    big = DIRECT + (e - 4) * 4 + ((m >> np.maximum(e - 2, 0)) & 3)
    return np.where(m < DIRECT, m, big)


def initial_tables(count: int, low: float, high: float) -> torch.Tensor:
    """Logits (count, TOKENS) of Laplace distributions, scales from ``low`` to ``high``."""
    t = np.arange(TOKENS)
    bits = np.where(t < DIRECT, 0, (t - DIRECT) // 4 + 2)
    base = np.where(t < DIRECT, t, (4.0 + (t - DIRECT) % 4) * 2.0**bits)
    scale = np.geomspace(low, high, count)[:, None]
    a = np.maximum(base - 0.5, 0.0)
    p = np.exp(-a / scale) - np.exp(-(base + 2.0**bits - 0.5) / scale)
    p = 0.98 * p + 0.02 * (np.exp(-a / (3 * scale)) - np.exp(-(base + 2.0**bits) / (3 * scale)))
    return torch.tensor(np.log(p + 1e-9), dtype=torch.float32)


class Networks(nn.Module):
    """The context networks of one bank, all at once (batched over the nets).

    ``tables`` for each of ``quantisers``, with scales from ``low`` to ``high`` at first.
    """

    def __init__(
        self, tables: int, h1: int, h2: int, low: float, high: float, quantisers: int = 1
    ) -> None:
        super().__init__()
        self.quantisers = quantisers
        n, f = contexts.NETS, contexts.FEATURES
        self.w1 = nn.Parameter(torch.randn(n, h1, f) / math.sqrt(f))
        self.b1 = nn.Parameter(torch.zeros(n, contexts.LEVEL_KINDS, h1))
        self.w2 = nn.Parameter(torch.randn(n, h2, h1) / math.sqrt(h1))
        self.b2 = nn.Parameter(torch.full((n, h2), 0.5))
        self.w3 = nn.Parameter(torch.rand(n, h2) / h2 * 4)
        self.b3 = nn.Parameter(torch.full((n,), tables / 8.0))
        self.logits = nn.Parameter(initial_tables(tables, low, high).repeat(quantisers, 1))

    @staticmethod
    def _round(x: torch.Tensor) -> torch.Tensor:
        x = x.clamp(0, ACTIVATION / UNIT)
        return x + (torch.floor(x * UNIT) / UNIT - x).detach()

    def place(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """Place on the line of tables, (nets, B), of features (nets, B, F) and level kinds."""
        b1 = torch.gather(self.b1, 1, kind[..., None].expand(-1, -1, self.b1.shape[2]))
        a = self._round(x @ self.w1.transpose(1, 2) + b1)
        a = self._round(a @ self.w2.transpose(1, 2) + self.b2[:, None])
        return (a @ self.w3[..., None])[..., 0] + self.b3[:, None]

    @property
    def tables(self) -> int:
        """Tables of one quantiser."""
        return self.logits.shape[0] // self.quantisers

    def bits(
        self, x: torch.Tensor, kind: torch.Tensor, token: torch.Tensor, quantiser: torch.Tensor
    ) -> torch.Tensor:
        """Bits of each token (raw bits not counted)."""
        top = self.tables - 1
        place = self.place(x, kind)
        t = place.clamp(0, top - 1e-3)
        t = t + 0.02 * (place - t)  # a little gradient beyond the ends
        k = t.detach().floor().clamp(0, top - 1).long()
        w = t - k
        k = k + quantiser * self.tables
        logp = torch.log_softmax(self.logits, 1)
        a = logp[k, token]
        b = logp[k + 1, token]
        p = a.exp() * (1 - w) + b.exp() * w
        return -torch.log2(p.clamp_min(1e-7))


@dataclass
class Bank:
    """One bank, all integers (networks as float32 holding integers); see :class:`.models.Bank`."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    freq: np.ndarray
    signs: np.ndarray
    codebook: np.ndarray
    lifting: np.ndarray
    quantisers: int = 1


class Pool:
    """Draws batches with as many samples for each net, by weight."""

    def __init__(self, samples: Samples, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        order = np.argsort(samples.net, kind="stable")
        self.x = samples.features[order]
        self.kind = samples.level[order]
        self.token = tokens(samples.symbol[order]).astype(np.int64)
        self.quantiser = samples.quantiser[order]
        ends = np.searchsorted(samples.net[order], np.arange(contexts.NETS + 1))
        self.cumulative = []
        self.share = np.zeros(contexts.NETS, np.float32)
        for n in range(contexts.NETS):
            w = samples.weight[order[ends[n] : ends[n + 1]]].astype(np.float64)
            self.share[n] = w.sum()
            self.cumulative.append((ends[n], np.cumsum(w)))
        self.share /= self.share.sum()

    def draw(
        self, batch: int, rng: np.random.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (nets, batch, F) in units; level kinds, tokens and quantisers (nets, batch).

        Chosen by ``rng``, by the pool's own where none is given.
        """
        rng = rng or self.rng
        index = np.empty((contexts.NETS, batch), np.int64)
        for n, (first, c) in enumerate(self.cumulative):
            if len(c) == 0:
                index[n] = 0
                continue
            index[n] = first + np.minimum(np.searchsorted(c, rng.random(batch) * c[-1]), len(c) - 1)
        x = torch.from_numpy(self.x[index]).float() / UNIT
        kind = torch.from_numpy(self.kind[index].astype(np.int64))
        quantiser = torch.from_numpy(self.quantiser[index].astype(np.int64))
        return x, kind, torch.from_numpy(self.token[index]), quantiser


def _integers(w: torch.Tensor, b: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Weights (nets, rows, inputs) and biases (nets, kinds, rows) of a layer as integers.

    A row whose sums could reach 2**24, or whose weights leave 16 bits, is scaled down until they
    don't: a unit that is as steep as that is a step either way. Weights are of 8 bits, see
    :func:`narrow`.
    """
    one = float(1 << WEIGHT_BITS)
    w, b = w.double() * one, b.double() * one * UNIT
    most = w.abs().sum(-1) * ACTIVATION + b.abs().amax(1)
    room = (contexts.EXACT - 1 - ACTIVATION * w.shape[-1]) / most.clamp_min(1)
    scale = torch.minimum(room, _WIDEST / w.abs().amax(-1).clamp_min(1)).clamp_max(1.0)
    w, b = w * scale[..., None], b * scale[:, None]
    return narrow(torch.round(w).float().numpy()), torch.round(b).float().numpy()


def narrow(w: np.ndarray) -> np.ndarray:
    """Integer weights rounded, row by row, to integers of 8 bits times a power of two.

    Some processors multiply four of these at once, see :mod:`..entropy.products`.
    """
    most = np.abs(w).max(-1, keepdims=True, initial=0)
    unit = 2.0 ** np.ceil(np.log2(np.maximum(most / NARROWEST, 1)))
    near = np.clip(np.rint(w / unit), -NARROWEST, NARROWEST) * unit
    # sums that may be next to 2**24 don't grow
    full = np.abs(w).sum(-1, keepdims=True) * ACTIVATION > contexts.EXACT / 2
    rounded: np.ndarray = np.where(full, np.trunc(w / unit) * unit, near)
    return rounded.astype(w.dtype)


def export(
    net: Networks, samples: Samples, codebook: np.ndarray, lifting: np.ndarray,
    prior: float = 300.0,
) -> Bank:  # fmt: skip
    """Integer weights, and tables refitted to the samples the integer networks send them."""
    with torch.no_grad():
        w1, b1 = _integers(net.w1, net.b1)
        w2, b2 = _integers(net.w2, net.b2[:, None])
        w3, b3 = _integers(net.w3[:, None], net.b3[:, None, None] + 0.5)
        b2, w3, b3 = b2[:, 0], w3[:, 0], b3[:, 0, 0]
        learned = torch.softmax(net.logits, 1).double().numpy()
    even = Signs.even(len(learned)).freq
    freq = normalise(learned)
    bank = Bank(w1, b1, w2, b2, w3, b3, freq, even, codebook, lifting, net.quantisers)
    index = _own_tables(bank, samples)
    hist = np.zeros(learned.shape)
    weight = samples.weight / samples.weight.mean()
    np.add.at(hist, (index, tokens(samples.symbol)), weight)
    bank.freq = normalise(hist + prior * learned)
    bank.signs = fit_signs(index, samples, net.tables, net.quantisers)
    assert ESCAPE == TOKENS
    return bank


def fit_signs(index: np.ndarray, samples: Samples, tables: int, quantisers: int = 1) -> np.ndarray:
    """Frequencies of the expected sign (uint16, (2, quantisers * tables, RESTS)).

    See :class:`.Signs`; ``index`` as the tables of all quantisers are numbered.

    The log odds of a sign are a slope times the rest (as of a Laplace distribution that is moved
    by it), one slope for each table and size of symbol, smoothed over neighbouring tables.
    """
    told = (samples.symbol != 0) & (samples.rest != 0)
    rest = samples.rest[told].astype(np.int64)
    symbol = samples.symbol[told].astype(np.int64)
    hist = np.zeros((2, quantisers * tables, RESTS, 2))
    place = (np.abs(symbol) > 1).astype(np.int64), index[told], np.abs(rest)
    agrees = ((symbol > 0) == (rest > 0)).astype(np.int64)
    weight = samples.weight[told] / samples.weight.mean()
    np.add.at(hist, (*place, agrees), weight)
    distance = np.subtract.outer(np.arange(tables), np.arange(tables))
    near = np.exp(-0.5 * (distance / 2.0) ** 2)
    near = np.kron(np.eye(quantisers), near)
    hist = np.einsum("tu,surb->strb", near, hist)
    x = np.arange(RESTS) / (1 << BITS)
    slope = np.full(hist.shape[:2], 1.0)
    for _ in range(30):  # Newton, with a prior that holds slopes without samples near 1
        p = 1 / (1 + np.exp(-slope[..., None] * x))
        both = hist.sum(-1)
        gradient = ((hist[..., 1] - both * p) * x).sum(-1) - (slope - 1)
        curvature = (both * p * (1 - p) * x * x).sum(-1) + 1
        slope = np.clip(slope + np.clip(gradient / curvature, -2, 2), 0, 40)
    p = 1 / (1 + np.exp(-slope[..., None] * x))
    total = 1 << PROB_BITS
    return np.clip(np.rint(p * total), 64, total - 64).astype(np.uint16)


def restore(bank: models.Bank) -> Networks:
    """Networks from a bank of a model: the inverse of :func:`export`, up to its rounding.

    A token without a frequency of its own gets its share of the escape's.
    """
    h1, h2 = bank.w2.shape[2:0:-1]
    net = Networks(bank.choices, h1, h2, 1.0, 2.0, bank.quantisers)
    freq = bank.tables.freq.astype(np.float64) / (1 << PROB_BITS)
    rare = freq[:, ESCAPE:] / (1 << ESCAPE_BITS)
    s1, s2, s3 = (float(s) for s in bank.scales)
    values = {
        "w1": bank.w1 * s1, "b1": bank.b1 * (s1 / UNIT),
        "w2": bank.w2 * s2, "b2": bank.b2 * (s2 / UNIT),
        "w3": bank.w3 * (s3 * UNIT), "b3": bank.b3 * s3 - 0.5,
        "logits": np.log(np.where(freq[:, :TOKENS] > 0, freq[:, :TOKENS], rare)),
    }  # fmt: skip
    with torch.no_grad():
        for name, value in values.items():
            getattr(net, name).copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))
    return net


def double(bank: Bank) -> Bank:
    """A bank for two quantisers, the same tables for both."""
    freq, signs = np.concatenate([bank.freq] * 2), np.concatenate([bank.signs] * 2, axis=1)
    return replace(bank, freq=freq, signs=signs, quantisers=2)


def widen(net: Networks, h1: int, h2: int) -> Networks:
    """Networks with more hidden units that compute the same: the new ones have no effect yet."""
    old1, old2 = net.w1.shape[1], net.w2.shape[1]
    h1, h2 = max(h1, old1), max(h2, old2)
    out = Networks(net.tables, h1, h2, 1.0, 2.0, net.quantisers)
    with torch.no_grad():
        out.w2[:, :old2, old1:] = 0
        out.w3[:, old2:] = 0
        out.w1[:, :old1] = net.w1
        out.b1[:, :, :old1] = net.b1
        out.w2[:, :old2, :old1] = net.w2
        out.b2[:, :old2] = net.b2
        out.w3[:, :old2] = net.w3
        out.b3.copy_(net.b3)
        out.logits.copy_(net.logits)
    return out


def _own_tables(bank: Bank, samples: Samples) -> np.ndarray:
    """Table of each sample, among those of all quantisers."""
    index = place(bank, samples.features, samples.net, samples.level).astype(np.int64)
    return index + samples.quantiser * (bank.freq.shape[0] // bank.quantisers)


def place(bank: Bank, features: np.ndarray, net: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Table index of each sample, by the coder's own integer arithmetic."""
    top = bank.freq.shape[0] // bank.quantisers - 1
    parts = (bank.w1, bank.b1, bank.w2, bank.b2, bank.w3, bank.b3)
    shifts = [round(-math.log2(s)) for s in layer_scales()]
    networks = contexts.Networks.of(*parts, shifts)
    out = np.zeros(len(net), np.uint8)
    for n in range(contexts.NETS):
        for kind in range(contexts.LEVEL_KINDS):
            chosen = np.flatnonzero((net == n) & (level == kind)).astype(np.int32)
            if chosen.size == 0:
                continue
            x = contexts.columns_of(features[chosen])
            part = np.zeros(chosen.size, np.uint8)
            contexts.choose(
                x, chosen.size, np.arange(chosen.size, dtype=np.int32), contexts.FEATURES,
                *networks.of_net(n, kind), top, part,
            )  # fmt: skip
            out[chosen] = part
    return out


def layer_scales() -> np.ndarray:
    """The powers of two after each layer."""
    one = 1 << WEIGHT_BITS
    return np.array([1 / one, 1 / one, 1 / (one * UNIT)], np.float32)


def mean_bits(bank: Bank, samples: Samples) -> float:
    """Weighted mean bits per symbol under the integer model, raw bits and escapes included."""
    from ..entropy.tables import COST_BITS, Tables

    index = _own_tables(bank, samples)
    cost = Tables(bank.freq).cost[index, tokens(samples.symbol)]
    symbol, rest = samples.symbol.astype(np.int64), samples.rest.astype(np.int64)
    side = ((symbol > 0) != (rest > 0)).astype(np.int64)
    sign = Signs(bank.signs).cost[(np.abs(symbol) > 1).astype(np.int64), index, np.abs(rest), side]
    cost = cost + np.where((symbol != 0) & (rest != 0), sign, 0)
    return float((cost * samples.weight).sum() / samples.weight.sum()) / (1 << COST_BITS)

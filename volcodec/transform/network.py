"""Networks of integers: convolutions whose every sum is exact, so that all machines agree.

A network is a list of layers over an array (channels, Z, Y, X) of integers held in float32. A
layer is a convolution with integer weights, a shift down by a power of two, and a clip. Before a
network is used it is checked that no filter can reach 2**24: the sum of the absolute weights times
the largest activation, plus the bias. Below that float32 holds every partial sum exactly, in any
order, with or without fused multiply-add; a convolution is a sum of matrix products, one for each
tap, and no algorithm that is not a plain sum of products is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

EXACT = 1 << 24
_ONE_THREAD = 1 << 18  # multiplications of a matrix product that OpenBLAS does not divide
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """One convolution, same-padded with zeros.

    ``weight`` float32 (out, in, kz, ky, kx) and ``bias`` float32 (out,) hold integers; ``stride``
    per axis; with ``rectify`` negative inputs count as 0. The sum is divided by 2**``shift`` and
    rounded down; with ``adds`` the input of layer number ``adds`` is then added; the result is
    clipped to ``low``..``high``. ``spread``: channels then become voxels, (out / product, Z spread,
    ...).
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: Triple
    shift: int
    low: int
    high: int
    rectify: bool = False
    adds: int = -1
    spread: Triple = (1, 1, 1)

    @property
    def out_channels(self) -> int:
        """Channels after the spread."""
        return int(self.weight.shape[0]) // int(np.prod(self.spread))


def check(layers: Sequence[Layer], channels: int, largest: int) -> int:
    """Channels that ``layers`` make of ``channels`` with magnitudes up to ``largest``.

    ValueError where the layers don't fit each other or a sum could be inexact.
    """
    inputs: list[tuple[int, int]] = []
    for layer in layers:
        inputs.append((channels, largest))
        w = layer.weight
        if w.ndim != 5 or w.shape[1] != channels or any(k not in (1, 3) for k in w.shape[2:]):
            raise ValueError(f"a layer of shape {w.shape} can't follow {channels} channels")
        if layer.bias.shape != w.shape[:1] or w.shape[0] % int(np.prod(layer.spread)):
            raise ValueError("a layer's bias or spread does not fit its weights")
        if any(s not in (1, 2) for s in layer.stride) or not 0 <= layer.shift <= 24:
            raise ValueError("a layer's stride or shift is out of range")
        most = np.abs(w).sum((1, 2, 3, 4), dtype=np.float64) * largest + np.abs(layer.bias)
        if float(most.max(initial=0)) >= EXACT:
            raise ValueError("sums of a layer could reach 2**24 and be inexact")
        if not -EXACT < layer.low <= layer.high < EXACT:
            raise ValueError("a layer clips to nothing")
        if layer.adds >= 0:
            before = inputs[layer.adds] if layer.adds < len(inputs) else None
            if before is None or before[0] != w.shape[0] or layer.spread != (1, 1, 1):
                raise ValueError("a layer adds what does not fit")
            if before[1] + EXACT // (1 << layer.shift) >= EXACT:
                raise ValueError("a layer adds too much")
        channels = layer.out_channels
        largest = max(abs(layer.low), abs(layer.high))
    return channels


def _add_product(w: np.ndarray, part: np.ndarray, out: np.ndarray) -> None:
    """Add ``w`` times the columns of ``part`` to ``out``, in pieces that BLAS leaves to one thread.

    Tiles are worked on in parallel already; threads below them would only wait for each other.
    """
    columns = part.reshape(part.shape[0], -1)
    width = max(64, _ONE_THREAD // w.size)
    for first in range(0, columns.shape[1], width):
        out[:, first : first + width] += w @ columns[:, first : first + width]


def _convolve(x: np.ndarray, layer: Layer) -> np.ndarray:
    w = layer.weight
    kernel = w.shape[2:]
    size = [(n + s - 1) // s for n, s in zip(x.shape[1:], layer.stride, strict=True)]
    padded = np.pad(x, [(0, 0), *((k // 2, k // 2) for k in kernel)])
    out = np.empty((w.shape[0], int(np.prod(size))), np.float32)
    out[:] = layer.bias[:, None]
    for tap in product(*map(range, kernel)):
        if not w[:, :, tap[0], tap[1], tap[2]].any():
            continue
        index: list[slice] = [slice(None)]
        for t, n, step in zip(tap, size, layer.stride, strict=True):
            index.append(slice(t, t + step * (n - 1) + 1, step))
        part = padded[tuple(index)]
        _add_product(np.ascontiguousarray(w[:, :, tap[0], tap[1], tap[2]]), part, out)
    return out.reshape(-1, *size)


def run(layers: Sequence[Layer], x: np.ndarray) -> np.ndarray:
    """What ``layers`` make of ``x``: float32 holding integers, (channels, Z, Y, X)."""
    inputs: list[np.ndarray] = []
    for layer in layers:
        inputs.append(x)
        y = _convolve(np.maximum(x, 0) if layer.rectify else x, layer)
        if layer.shift:
            y *= np.float32(2.0**-layer.shift)
            np.floor(y, out=y)
        if layer.adds >= 0:
            y += inputs[layer.adds]
        np.clip(y, layer.low, layer.high, out=y)
        x = spread(y, layer.spread)
    return x


def gather(x: np.ndarray, door: Triple) -> np.ndarray:
    """Voxels as channels: (C, Z, Y, X) to (C prod(door), Z / dz, ...); sizes are multiples."""
    c, z, y, x_ = x.shape
    a, b, d = door
    parts = x.reshape(c, z // a, a, y // b, b, x_ // d, d).transpose(0, 2, 4, 6, 1, 3, 5)
    return np.ascontiguousarray(parts).reshape(c * a * b * d, z // a, y // b, x_ // d)


def spread(x: np.ndarray, door: Triple) -> np.ndarray:
    """Undo :func:`gather`."""
    if door == (1, 1, 1):
        return x
    a, b, d = door
    c, z, y, x_ = x.shape
    parts = x.reshape(c // (a * b * d), a, b, d, z, y, x_).transpose(0, 4, 1, 5, 2, 6, 3)
    return np.ascontiguousarray(parts).reshape(-1, z * a, y * b, x_ * d)

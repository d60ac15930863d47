"""The network: what it is asked of a voxel, its weights, and what its outputs stand for.

Around a voxel lie values that are known. Their mean (nearer ones count more) and how far they are
spread make the network's inputs and outputs independent of the place and the size of a change: the
inputs are the values less the mean, over the spread. A linear part of its own for every pass and
two layers give the mean of what is left, the logarithm of its scale and the shape around it.

Everything is in float32, each operation rounded by itself, in an order that is written down: see
"Neural" in docs/format.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .passes import COUNT, KNOWN, NEARNESS, OFFSETS, PASSES, TAPS, place_of
from .products import BLOCK

EXTRA = 3  # inputs besides neighbours: size of their spread, distances to the limits of the values
KINDS = 3  # levels 1, 2 and the coarser ones have biases of their own
FIRST = 4  # the place of the first neighbour among the inputs
OUTPUTS = 5  # shift, size, spread, tilt, share
LEAST = 0.3  # of a step, which is added to the spread
CLIP = 8.0
SIZES = (-11.0, 16.0)  # log2 of the scale of what is left, in steps
SPREADS = 3.0  # log2 of how far the two scales lie from it, at most
TILTS = 2.0  # of the wide part, in its scale, at most
SHARES = 8.0  # log odds of the wide part, at most
WIDEST = 256
LARGEST = 2.0**20  # of a weight


class Network(NamedTuple):
    """What the kernels take.

    ``places`` (int64, (PASSES, 3)); of the taps of each pass ``counts``, ``taps`` (int64, (PASSES,
    TAPS, 3)), ``near`` and ``linear`` (float32, (PASSES, TAPS)), zero past their end, and ``rows``
    (int64, (PASSES, FIRST + TAPS)) of ``w1``, whose last is zero: those of the inputs that are no
    neighbours, then of the taps. ``plain``: rows of the other layers. Biases are one row; of the
    first layer one after the other, by pass and by kind of level.
    """

    places: np.ndarray
    counts: np.ndarray
    taps: np.ndarray
    near: np.ndarray
    linear: np.ndarray
    rows: np.ndarray
    plain: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray


@dataclass(frozen=True)
class Weights:
    """The tensors of a model, float32; ValueError where they can't be a network's.

    ``linear`` (PASSES, COUNT); ``w1`` (COUNT + EXTRA, H1), ``b1`` (PASSES, KINDS, H1); ``w2``
    (H1, H2), ``b2`` (H2); ``w3`` (H2, OUTPUTS), ``b3`` (OUTPUTS). H1 and H2 are multiples
    of 8.
    """

    linear: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray

    def __post_init__(self) -> None:
        h1, h2 = self.w2.shape if self.w2.ndim == 2 else (0, 0)
        if h1 % BLOCK or h2 % BLOCK or not 0 < h1 <= WIDEST or not 0 < h2 <= WIDEST:
            raise ValueError(f"the network that predicts can't have layers of {h1} and {h2}")
        shapes = {
            "linear": (PASSES, COUNT), "w1": (COUNT + EXTRA, h1), "b1": (PASSES, KINDS, h1),
            "w2": (h1, h2), "b2": (h2,), "w3": (h2, OUTPUTS), "b3": (OUTPUTS,),
        }  # fmt: skip
        for name, shape in shapes.items():
            a = getattr(self, name)
            if a.dtype != np.float32 or a.shape != shape:
                raise ValueError(f"neural.{name} must be float32 {shape}, not {a.dtype} {a.shape}")
            if not (np.abs(a) <= LARGEST).all():
                raise ValueError(f"neural.{name} holds weights that are too large")

    @cached_property
    def network(self) -> Network:
        """For the kernels."""
        h1, h2 = self.w2.shape
        counts = np.array([len(known) for known in KNOWN], np.int64)
        taps = np.zeros((PASSES, TAPS, 3), np.int64)
        near, linear = (np.zeros((PASSES, TAPS), np.float32) for _ in range(2))
        rows = np.full((PASSES, FIRST + TAPS), COUNT + EXTRA, np.int64)
        for i, known in enumerate(KNOWN):
            n = len(known)
            taps[i, :n], rows[i, FIRST : FIRST + n] = OFFSETS[known], known
            near[i, :n], linear[i, :n] = NEARNESS[known], self.linear[i, known]
        rows[:, :EXTRA] = COUNT + np.arange(EXTRA)
        w3, b3 = np.zeros((h2, BLOCK), np.float32), np.zeros(BLOCK, np.float32)
        w3[:, :OUTPUTS], b3[:OUTPUTS] = self.w3, self.b3
        return Network(
            np.array([place_of(i) for i in range(PASSES)], np.int64), counts, taps, near, linear,
            rows, np.arange(max(h1, h2), dtype=np.int64),
            np.concatenate([self.w1, np.zeros((1, h1), np.float32)]),
            np.ascontiguousarray(self.b1).reshape(-1), np.ascontiguousarray(self.w2),
            self.b2, w3, b3,
        )  # fmt: skip

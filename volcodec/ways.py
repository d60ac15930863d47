"""Ways to code a tile: what a bank is given of its values, and parts that tell which is best."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import support

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Way:
    """A bank and what it is given.

    ``values`` of the tile, of which those that are ``unknown`` (None: none) are filled smoothly
    first; ``free``: which may decode to anything; ``flags`` of the tile.
    """

    bank: str
    values: np.ndarray
    unknown: np.ndarray | None
    free: np.ndarray
    flags: int

    def usable(self, box: Any = ...) -> np.ndarray:
        """The values of a box, C order."""
        part = np.ascontiguousarray(self.values[box])
        if self.unknown is None:
            return part
        return filled(part, np.ascontiguousarray(self.unknown[box]))


def typical(values: np.ndarray, hidden: np.ndarray) -> list[Box]:
    """Two of the 32 parts of a tile: of those in which neighbours along x differ most, in value and
    in being hidden, the second and the thirteenth. (Of fewer, where an axis is too short for them.)

    Every fourth row is looked at; both differences count as shares of the largest of all.
    """
    cuts = [
        np.linspace(0, n, min(parts, n) + 1).astype(int)  # no part is empty
        for n, parts in zip(values.shape, (2, 4, 4), strict=True)
    ]
    spans = [[slice(a, b) for a, b in pairwise(cut.tolist())] for cut in cuts]
    boxes = [(z, y, x) for z in spans[0] for y in spans[1] for x in spans[2]]
    changes, edges = np.zeros(len(boxes)), np.zeros(len(boxes))
    for i, box in enumerate(boxes):
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(np.diff(values[box][::4, ::4].astype(np.float64), axis=2))
        changes[i] = change[np.isfinite(change)].sum()
        edges[i] = np.count_nonzero(np.diff(hidden[box][::4, ::4], axis=2))
    with np.errstate(invalid="ignore", over="ignore"):
        shares = changes / max(changes.max(), 1e-300) + edges / max(edges.max(), 1)
    order = np.argsort(-np.nan_to_num(shares), kind="stable")
    return [boxes[order[len(boxes) // 32]], boxes[order[3 * len(boxes) // 8]]]


def filled(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """``values`` (same dtype) with a smooth extension where they are ``unknown``."""
    narrow = values.dtype.itemsize < (4 if values.dtype.kind in "iu" else 8)
    with np.errstate(invalid="ignore"):
        smooth = support.fill(values.astype(np.float32 if narrow else np.float64), ~unknown)
    if values.dtype.kind in "iu":
        smooth = np.rint(smooth)
    return np.where(unknown, smooth.astype(values.dtype), values)

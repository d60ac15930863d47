"""Ways to code a tile: what a bank is given of its values, and parts that tell which is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import support

Box = tuple[slice, slice, slice]
_EVERY = 4  # rows of a part, of which one is looked at


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
    z, y = (
        np.concatenate([np.arange(a, b, _EVERY) for a, b in pairwise(cut.tolist())])
        for cut in cuts[:2]
    )
    rows, inner = np.ix_(z, y), cuts[2][1:-1]
    firsts = (np.searchsorted(z, cuts[0][:-1]), np.searchsorted(y, cuts[1][:-1]), cuts[2][:-1])
    seen, veiled = values[rows], hidden[rows]
    change, edge = np.zeros(seen.shape), np.zeros(seen.shape, np.int64)
    with np.errstate(invalid="ignore", over="ignore"):
        np.subtract(seen[..., 1:], seen[..., :-1], out=change[..., :-1], dtype=np.float64)
    np.abs(change, out=change)
    if values.dtype.kind == "f":
        change[~np.isfinite(change)] = 0
    np.not_equal(veiled[..., 1:], veiled[..., :-1], out=edge[..., :-1])
    for differences in (change, edge):  # of neighbours in one part alone
        differences[..., inner - 1] = 0
    changes, edges = _by_part(change, firsts), _by_part(edge, firsts)
    with np.errstate(invalid="ignore", over="ignore"):
        shares = changes / max(changes.max(), 1e-300) + edges / max(edges.max(), 1)
    order = np.argsort(-np.nan_to_num(shares), kind="stable")
    parts = [[slice(a, b) for a, b in pairwise(cut.tolist())] for cut in cuts]
    boxes = [(z, y, x) for z in parts[0] for y in parts[1] for x in parts[2]]
    return [boxes[order[len(boxes) // 32]], boxes[order[3 * len(boxes) // 8]]]


def _by_part(values: np.ndarray, firsts: Sequence[np.ndarray]) -> np.ndarray:
    """Sums over parts that begin at such places of each axis, in C order."""
    with np.errstate(over="ignore"):
        for axis, first in enumerate(firsts):
            values = np.add.reduceat(values, first, axis)
    return values.reshape(-1)


def filled(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """``values`` (same dtype) with a smooth extension where they are ``unknown``."""
    narrow = values.dtype.itemsize < (4 if values.dtype.kind in "iu" else 8)
    with np.errstate(invalid="ignore"):
        smooth = support.fill(values.astype(np.float32 if narrow else np.float64), ~unknown)
    if values.dtype.kind in "iu":
        smooth = np.rint(smooth)
    return np.where(unknown, smooth.astype(values.dtype), values)

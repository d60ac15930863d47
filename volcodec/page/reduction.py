"""Volumes reduced to what a page can carry: means, or the largest, of blocks of voxels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from volcodec.view import Progress, slabs

LONGEST = 1024  # voxels along an axis, which 3-D textures of weak devices can have
Factors = tuple[int, int, int]


class Volume(Protocol):
    """What is read box by box: a Source or a LazyVolume in its clothes."""

    shape: tuple[int, ...]

    def read(self, box: Any) -> np.ndarray: ...


def factors(shape: tuple[int, ...], budget: int) -> Factors:
    """Return the edges of the blocks that leave at most `budget` of (Z, Y, X) voxels.

    The longest axis is reduced first, so that thin volumes stay what they are.
    """
    extents = (1, *shape)[-3:]
    found = [-(-n // LONGEST) for n in extents]

    def left() -> list[int]:
        return [-(-n // f) for n, f in zip(extents, found, strict=True)]

    while math.prod(left()) > budget:
        found[int(np.argmax(left()))] += 1
    return found[0], found[1], found[2]


def means(source: Any, by: Factors, progress: Progress | None = None) -> np.ndarray:
    """Return the means of the finite voxels of blocks, float64 (Z, Y, X).

    A block without any is what its first voxel is: NaN or an infinity.
    """
    read = ((z, slab.astype(np.float64)) for z, slab in slabs(source, progress, "looking", by[0]))
    return _blocks(source.shape, by, read, _mean)


def largest_errors(source: Any, other: Any, by: Factors) -> np.ndarray:
    """Return the largest |difference| in each block, float64 (Z, Y, X).

    It is infinite where a voxel is finite, or a certain NaN or infinity, in one volume only.
    """

    def read() -> Iterator[tuple[int, np.ndarray]]:
        pairs = zip(slabs(source, None, "", by[0]), slabs(other, None, "", by[0]), strict=True)
        for (z, ours), (_, theirs) in pairs:
            a, b = ours.astype(np.float64), theirs.astype(np.float64)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            with np.errstate(all="ignore"):
                gap = np.abs(a - b)
            yield z, np.where(same, 0.0, np.where(np.isfinite(gap), gap, np.inf))

    return _blocks(source.shape, by, read(), _largest)


def _blocks(
    shape: tuple[int, ...], by: Factors, read: Iterable[tuple[int, np.ndarray]], reduce: Any
) -> np.ndarray:
    extents = (1, *shape)[-3:]
    out = np.empty(tuple(-(-n // f) for n, f in zip(extents, by, strict=True)))
    for z, voxels in read:
        part = voxels if by == (1, 1, 1) else reduce(voxels, by)
        out[z // by[0] : z // by[0] + len(part)] = part
    return out


def _over(how: Any, values: np.ndarray, by: Factors) -> np.ndarray:
    for axis, step in enumerate(by):
        values = how.reduceat(values, np.arange(0, values.shape[axis], step), axis=axis)
    return values


def _largest(values: np.ndarray, by: Factors) -> np.ndarray:
    return _over(np.maximum, values, by)


def _mean(values: np.ndarray, by: Factors) -> np.ndarray:
    finite = np.isfinite(values)
    count = _over(np.add, finite.astype(np.float64), by)
    whole = math.prod(by)  # divided by first, for a sum may be more than a float64 can hold
    with np.errstate(all="ignore"):
        found = _over(np.add, np.where(finite, values, 0) / whole, by) * (whole / count)
    return np.where(count > 0, found, values[:: by[0], :: by[1], :: by[2]])

"""Tiles: how a volume is cut into independent boxes, and how regions fall on them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from .errors import InputError
from .parallel import Pending

Box = tuple[slice, slice, slice]
Shape = tuple[int, int, int]
R = TypeVar("R")

DEFAULT_TILE = 128
LARGE_TILE = 256  # by default, at the highest efforts
MAX_TILE = 1024
MAX_TILE_VOXELS = 1 << 25


class Source(Protocol):
    """A volume that is read box by box: an array, a dataset in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """The voxels of ``box`` (one slice without step per axis) as an array of its own."""
        ...


@runtime_checkable
class WorkingSource(Source, Protocol):
    """A source that works on boxes where their voxels are: in other processes."""

    def ahead(self) -> int:
        """How many boxes may be under way at a time."""
        ...

    def submit(self, work: Callable[[np.ndarray], R], box: tuple[slice, ...]) -> Pending[R]:
        """Begin ``work``, which can be pickled, on the voxels of ``box``."""
        ...


class ArraySource:
    """An array in memory as a source."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """A copy of ``box``."""
        return np.array(self.array[box], order="C", copy=True)


def tile_shape(shape: Shape, tile: int | None, usual: int = DEFAULT_TILE) -> Shape:
    """The tile of a volume: ``tile`` on each axis, no larger than the volume.

    By default an axis longer than ``usual`` is cut into even parts that are multiples of 16, so
    that previews of four levels fit together, and an axis that one such tile nearly covers is not
    cut.
    """
    if tile is not None:
        if not 1 <= tile <= MAX_TILE:
            raise InputError(f"a tile has from 1 to {MAX_TILE} voxels an axis, not {tile}")
        z, y, x = (min(n, tile) for n in shape)
        if z * y * x > MAX_TILE_VOXELS:
            raise InputError(
                f"a tile of {z} x {y} x {x} voxels is too large: at most {MAX_TILE_VOXELS}"
            )
        return z, y, x
    out = []
    for n in shape:
        parts = max(1, -(-n // (usual + usual // 4)))
        part = -(-n // parts)
        out.append(n if parts == 1 else -(-part // 16) * 16)
    return out[0], out[1], out[2]


def preview_levels(shape: Shape, tile: Shape, levels: int) -> int:
    """How many halvings keep tiles aligned: every axis that is cut must divide evenly."""
    most = levels
    for n, t in zip(shape, tile, strict=True):
        if t < n:
            most = min(most, (t & -t).bit_length() - 1)
    return most


def boxes(shape: Shape, tile: Shape) -> Iterator[Box]:
    """The boxes of one frame's tiles in the order of the file: z, y, x."""
    ranges = [range(0, n, t) for n, t in zip(shape, tile, strict=True)]
    for z, y, x in itertools.product(*ranges):
        yield (
            slice(z, min(z + tile[0], shape[0])),
            slice(y, min(y + tile[1], shape[1])),
            slice(x, min(x + tile[2], shape[2])),
        )


def box_shape(box: Box) -> Shape:
    """Voxels of a box along each axis."""
    z, y, x = (s.stop - s.start for s in box)
    return z, y, x


def coarse(n: int, level: int) -> int:
    """``ceil(n / 2**level)``."""
    return (n + (1 << level) - 1) >> level


def coarse_box(box: Box, level: int) -> Box:
    """Where a tile's box lies in the volume of a coarser level."""
    z, y, x = (slice(s.start >> level, coarse(s.stop, level)) for s in box)
    return z, y, x


def normal_region(region: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices with plain bounds for ``region`` (Python's rules; no steps); InputError otherwise."""
    parts = region if isinstance(region, tuple) else (region,)
    if any(p is Ellipsis for p in parts):
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        missing = len(shape) - (len(parts) - 1)
        parts = (*parts[:at], *([slice(None)] * missing), *parts[at + 1 :])
    if len(parts) > len(shape):
        raise InputError(f"a region of {len(parts)} axes for a volume of {len(shape)}")
    parts = (*parts, *([slice(None)] * (len(shape) - len(parts))))
    out = []
    for part, n in zip(parts, shape, strict=True):
        if not isinstance(part, slice):
            raise InputError(f"a region is made of slices (a:b), not {part!r}")
        if part.step not in (None, 1):
            raise InputError("a region has no steps: slice the array that decode returns")
        try:
            start, stop, _ = part.indices(n)
        except TypeError:
            raise InputError(f"a region's bounds are integers, not {part!r}") from None
        out.append(slice(start, max(start, stop)))
    return tuple(out)


def overlap(box: Box, region: tuple[slice, ...]) -> tuple[Box, Box] | None:
    """The part of ``box`` inside ``region``: within the box, and within the region; or None."""
    inner, outer = [], []
    for b, r in zip(box, region, strict=True):
        start, stop = max(b.start, r.start), min(b.stop, r.stop)
        if start >= stop:
            return None
        inner.append(slice(start - b.start, stop - b.start))
        outer.append(slice(start - r.start, stop - r.start))
    return (inner[0], inner[1], inner[2]), (outer[0], outer[1], outer[2])


def whole_number(value: Any, what: str) -> int:
    """``value`` as an int, InputError where it is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{what} must be a whole number, not {value!r}") from None

"""What the host reads of tiles, and values from integers, some tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import correction, support
from ..errors import FormatError
from ..parallel import ordered_map
from ..restoration import Filter
from ..tiledecoder import Frame, restorer
from ..tiles import Shape
from .launch import Upload
from .values import Marks, values_of

_VOXELS = 1 << 24  # whose values are made at a time, in float64
_MOST = 1 << 28  # voxels of a batch, margins of bands included: kernels count in 32 bits
_BYTES = 48  # that a batch takes on the device, about, for each of its voxels


@dataclass(frozen=True)
class HostPart:
    """What the host reads of a tile: its scales' streams, and what the other streams say.

    Outliers (int32) and classes of specials (uint8) with their places in the tile (int64); the mask
    packed, a bit a voxel, lowest first; the filter that restores its integers.
    """

    scales: list[bytes]
    outlier_places: np.ndarray
    outliers: np.ndarray
    class_places: np.ndarray
    classes: np.ndarray
    mask: np.ndarray | None
    restore: Filter | None = None


def host_part(
    streams: Sequence[bytes], shape: Shape, dtype: np.dtype[Any], coding: int, restored: bool
) -> HostPart:  # fmt: skip
    """Decode what is left to the host; FormatError where it is not valid.

    ``restored``: whether a filter stands in front of scale 0.
    """
    specials, mask, *scales, fix = streams
    restore = None
    if restored:
        restore, scales = restorer(coding, scales)
    if specials and dtype.kind != "f":
        raise FormatError("a tile of integers claims NaN or infinities")
    classes = support.decode_specials(specials, shape) if specials else None
    masked = support.decode_mask(mask, shape) if mask else None
    outliers = correction.decode(fix, shape)
    packed = None if masked is None else np.packbits(masked.reshape(-1), bitorder="little")
    return HostPart(
        scales, *_sparse(outliers, np.int32), *_sparse(classes, np.uint8), packed, restore
    )


def mapped(
    work: Callable[[Any], Any], items: Sequence[Any], busy: Callable[[Any], bool],
    threads: int | None,
) -> list[Any]:  # fmt: skip
    """``work`` on ``items``, in order; threads are only started where any is ``busy``."""
    if any(map(busy, items)):
        return list(ordered_map(work, items, threads))
    return [work(item) for item in items]


def tiles_at_once(shape: Shape, device: torch.device) -> int:
    """Tiles of one batch, as the device's memory allows."""
    padded = 8 * int(np.prod([n // 2 + 3 for n in shape]))  # so that thin tiles count too
    room = _MOST
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        room = min(room, free // _BYTES)
    return max(1, room // padded)


def at_once(shape: Shape) -> int:
    """Tiles whose values are made at a time."""
    return max(1, _VOXELS // int(np.prod(shape)))


def values_in_parts(
    integers: torch.Tensor, tiles: list[HostPart], unit: float, f: Frame
) -> Iterator[tuple[int, torch.Tensor]]:
    """Values (tiles, z, y, x) of some tiles after the other, and the place of the first of them."""
    z, y, x = integers.shape[1:]
    many = at_once((z, y, x))
    for first in range(0, len(tiles), many):
        some = slice(first, first + many)
        marks = _marks_of(tiles[some], (z, y, x), integers.device)
        yield first, values_of(integers[some], unit, marks, f)


def _sparse(values: np.ndarray | None, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of what is not zero."""
    if values is None:
        return np.zeros(0, np.int64), np.zeros(0, dtype)
    places = np.flatnonzero(values)
    return places, values.reshape(-1)[places].astype(dtype)


def _marks_of(tiles: list[HostPart], shape: Shape, device: torch.device) -> Marks:
    """Marks of some tiles, brought to the device in one copy."""
    size = int(np.prod(shape))
    masks = [t.mask for t in tiles if t.mask is not None]
    upload = Upload()
    parts = (
        [t.outliers for t in tiles],
        [t.outlier_places + i * size for i, t in enumerate(tiles)],
        [t.classes for t in tiles],
        [t.class_places + i * size for i, t in enumerate(tiles)],
    )
    keys = [upload.add(np.concatenate(part)) for part in parts]
    keys.append(upload.add(np.stack(masks) if masks else np.zeros((0, 0), np.uint8)))
    upload.send(device)
    outliers, outlier_places, classes, class_places, packed = (upload[key] for key in keys)
    corrected = [i for i, t in enumerate(tiles) if t.outliers.size]
    masked = [i for i, t in enumerate(tiles) if t.mask is not None]
    return Marks(outliers, outlier_places, classes, class_places, packed, corrected, masked)

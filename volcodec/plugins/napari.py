"""The napari plugin "volcodec": .vc files as image layers. napari itself is not imported."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from volcodec.errors import InputError
from volcodec.formats import attributes
from volcodec.formats.geometry import geometry_of
from volcodec.inspection import inspect
from volcodec.lazy import LazyVolume
from volcodec.tiles import preview_levels

Layer = tuple[Any, dict[str, Any], str]

WHOLE = 1 << 28  # bytes up to which a layer is decoded at once, and shown in 3-D as it is
_COARSE = 256  # voxels along the longest axis of the last level, which napari shows in 3-D


def reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Return `read` for one .vc file (path or URL), or a list of them; None for others."""
    paths = [path] if isinstance(path, str) else list(path)
    fit = all(os.path.splitext(item)[1].lower() == ".vc" for item in paths)
    return read if paths and fit else None


def read(path: str | Sequence[str]) -> list[Layer]:
    """Return one image layer of a .vc file (path or URL), or of several, which are stacked.

    Its axes are (Z, Y, X) or (Y, X), before them the frames of a series or the files. Up to
    WHOLE bytes are decoded at once. What is larger has levels, finest first, that are decoded
    where they are looked at; without dask they are decoded at once, too. Raises what
    ``volcodec.decode`` raises, and InputError where files of a list differ in shape or dtype.
    """
    paths = [path] if isinstance(path, str) else list(path)
    volumes = [LazyVolume(item) for item in paths]
    first = volumes[0]
    for item, volume in zip(paths, volumes, strict=True):
        if (volume.shape, volume.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{item} has another shape or type than {paths[0]}: open them one by one"
            )
    size = len(paths) * math.prod(first.shape) * first.dtype.itemsize
    steps = range(1) if size <= WHOLE else range(_last(paths[0]) + 1)
    levels = [_array(paths, level, size <= WHOLE) for level in steps]
    return [(levels if len(levels) > 1 else levels[0], _options(paths, first, levels), "image")]


def _array(paths: list[str], level: int, now: bool) -> Any:
    """Return a level of all files, the files before its axes where there are several."""
    try:
        da = None if now else import_module("dask.array")
    except ImportError:
        da = None
    if da is None:
        decoded = [LazyVolume(path, level=level)[...] for path in paths]
        return decoded[0] if len(decoded) == 1 else np.stack(decoded)
    parts = []
    for path in paths:
        volume = LazyVolume(path, level=level, threads=1)  # chunks have threads of their own
        meta = np.empty((0,) * volume.ndim, volume.dtype)
        parts.append(da.from_array(volume, volume.chunks, meta=meta))
    return parts[0] if len(parts) == 1 else da.stack(parts)


def _last(path: str) -> int:
    """Return the level that is small enough to be shown in 3-D, or the coarsest there is."""
    info = inspect(path)
    z, y, x = (1, *info.shape)[-3:]
    wanted = max(0, math.ceil(math.log2(max(z, y, x) / _COARSE)))
    return min(wanted, preview_levels((z, y, x), info.tile, info.levels))


def _options(paths: list[str], volume: LazyVolume, levels: list[Any]) -> dict[str, Any]:
    space = sum(axis != "frame" for axis in volume.dims)
    lengths = geometry_of(volume.attrs, space).lengths(space) or (1.0,) * space
    before = (1.0,) * (levels[0].ndim - space)
    options = {
        "name": os.path.splitext(os.path.basename(paths[0]))[0],
        "scale": (*before, *lengths),
        "metadata": {
            **attributes.unpack_all(volume.attrs),
            "volcodec": inspect(paths[0]).to_json_dict(),
        },
        "multiscale": len(levels) > 1,
    }
    limits = _limits(levels[-1])
    return {**options, "contrast_limits": limits} if limits else options


def _limits(array: Any) -> tuple[float, float] | None:
    """Return the range of the finite voxels, of a lazy array those of the first frame."""
    if not isinstance(array, np.ndarray):
        array = np.asarray(array[(0,) * (array.ndim - 3)] if array.ndim > 3 else array)
    finite = array[np.isfinite(array)]
    if not finite.size or finite.min() == finite.max():
        return None
    return float(finite.min()), float(finite.max())

"""Bare voxels (`.raw`, `.bin`) in C order, of a shape and a dtype that the caller names."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from volcodec.errors import InputError
from volcodec.formats import Place, place_name
from volcodec.formats.base import Sink, Source, check_dtype, readable
from volcodec.formats.mapped import MappedSink, series_of


def open_series(
    path: Place,
    dataset: str | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Any = None,
) -> list[Source]:
    """Open a file of nothing but voxels: (Z, Y, X), (Y, X), or (T, Z, Y, X) for a series.

    `dtype` is what numpy.dtype takes, as "float32" or, of big-endian files, ">u2". Raises
    InputError where the two are not given, or the file is not of the size that they make.
    """
    where = place_name(path)
    name = readable(path)  # type: ignore[arg-type]
    if shape is None or dtype is None:
        raise InputError(
            f"{where} does not say what it holds: give --shape Z,Y,X and --dtype NAME, as in "
            "--shape 64,128,128 --dtype uint16, or convert it to .npy"
        )
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise InputError(f"{dtype!r} is no dtype: name one as float32, uint8 or >i2") from error
    check_dtype(where, kind)
    extents = tuple(int(n) for n in shape)
    size = os.path.getsize(name)
    if min(extents, default=0) < 1 or math.prod(extents) * kind.itemsize != size:
        text = " x ".join(map(str, extents))
        raise InputError(
            f"{where} has {size:,} bytes; {text} voxels of {kind} take "
            f"{math.prod(extents) * kind.itemsize:,}: check --shape and --dtype"
        )
    return series_of(where, np.memmap(name, kind, "r", shape=extents), dataset, {})


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin a file of nothing but voxels; shape, dtype and attributes have no place in it."""
    return MappedSink(path, shape, np.dtype(dtype), lambda _: 0, force)

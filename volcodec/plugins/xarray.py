"""The xarray engine "volcodec": .vc files as datasets that are decoded where they are indexed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from xarray import Dataset, Variable
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from volcodec.container.header import DEFAULT_DATASET
from volcodec.formats import attributes
from volcodec.lazy import AXES, LazyVolume


class _Array(BackendArray):
    """What xarray asks for voxels."""

    def __init__(self, volume: LazyVolume) -> None:
        self.volume = volume
        self.shape = volume.shape
        self.dtype = volume.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.volume.__getitem__
        )


class VolcodecBackend(BackendEntrypoint):
    """Opens a .vc file (path, URL, bytes or binary file) as a dataset of one variable.

    The variable is called what the volume is (of a path in an HDF5 file the last part), or
    ``volume`` where an axis is called that; its
    dimensions are ``z, y, x`` (a slice: ``y, x``), before them ``frame`` where there are several.
    With an attribute ``spacing``, a positive number for each axis of space, the axes have
    coordinates that begin at 0. The tiles are the preferred chunks.
    """

    description = "Volumes compressed by volcodec (.vc)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "level", "model")

    def open_dataset(  # type: ignore[override]  # the options are ours
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int = 0,
        model: Any = None,
    ) -> Dataset:
        """Open the volume, or with ``level`` its preview; nothing is decoded yet.

        Raises what ``volcodec.decode`` raises.
        """
        volume = LazyVolume(filename_or_obj, level=level, model=model)
        attrs = attributes.unpack_all(volume.attrs)
        coordinates = {}
        space = [axis for axis in volume.dims if axis in AXES]
        spacing = _spacing(attrs.get("spacing"), len(space))
        if spacing:
            spacing = [length * 2**level for length in spacing]
            attrs["spacing"] = np.array(spacing)
            for axis, length in zip(space, spacing, strict=True):
                places = np.arange(volume.shape[volume.dims.index(axis)]) * length
                coordinates[axis] = Variable((axis,), places)
        encoding = {"preferred_chunks": dict(zip(volume.dims, volume.chunks, strict=True))}
        data = indexing.LazilyIndexedArray(_Array(volume))
        name = volume.name.rsplit("/", 1)[-1]
        if name in ("", *volume.dims):
            name = DEFAULT_DATASET
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        variables = {name: Variable(volume.dims, data, attrs, encoding)}
        return Dataset(
            {key: value for key, value in variables.items() if key not in dropped},
            {key: value for key, value in coordinates.items() if key not in dropped},
        )

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether this is a path or a URL that ends in .vc."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        return os.path.splitext(os.fsdecode(filename_or_obj))[1].lower() == ".vc"


def _spacing(value: Any, axes: int) -> list[float]:
    """The distance of voxels along each axis; empty where ``value`` does not say."""
    if not isinstance(value, (list, np.ndarray)) or len(np.shape(value)) != 1:
        return []
    numbers = [v for v in value if isinstance(v, (int, float, np.integer, np.floating))]
    usable = len(numbers) == len(value) == axes and all(0 < v < math.inf for v in numbers)
    return [float(v) for v in numbers] if usable else []

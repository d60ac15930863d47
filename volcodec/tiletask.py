"""Work on a tile in another process: all that it needs, small enough to be sent each time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

from . import models
from .models import Model
from .tilecoder import TileCoder

R = TypeVar("R")
TileWork = Callable[[TileCoder, np.ndarray], R]


def tile_values(box: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The voxels of a box as tiles are coded: native dtype, three axes, C order."""
    values = np.ascontiguousarray(box, dtype=dtype)
    return values.reshape((1,) * (3 - values.ndim) + values.shape)


@dataclass(frozen=True)
class TileTask(Generic[R]):
    """``work(coder, values)`` as a function of the voxels of a box that can be pickled.

    ``work`` can be pickled; ``dtype``: of the values it takes; ``effort``: see TileCoder. The
    model goes by its identity, name and path: a process that runs tasks finds and reads it once.
    """

    work: TileWork[R]
    dtype: np.dtype[Any]
    identity: bytes
    name: str
    path: str
    effort: int

    @classmethod
    def of(
        cls, work: TileWork[R], dtype: np.dtype[Any], model: Model | None, effort: int
    ) -> TileTask[R]:
        """The task for a model at hand (None: as TileCoder has it)."""
        if model is None:
            return cls(work, dtype, b"", "", "", effort)
        return cls(work, dtype, model.identity, model.name, model.path, effort)

    def __call__(self, box: np.ndarray) -> R:
        """Do the work; ModelError where the model is not at hand in this process."""
        coder = _coder(self.identity, self.name, self.path, self.effort)
        return self.work(coder, tile_values(box, self.dtype))


@lru_cache(maxsize=4)
def _coder(identity: bytes, name: str, path: str, effort: int) -> TileCoder:
    model: Model | None = None
    if identity:
        model = models.find(identity, name, path if os.path.isfile(path) else None)
    return TileCoder(model, effort=effort)

"""What is asked of an encoder beyond the target, and which volumes it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import InputError
from .tiles import DEFAULT_TILE, LARGE_TILE, Shape
from .values import DTYPES

LEARNS = 8  # effort from which ways to code learn from the tile, and tiles are larger


@dataclass(frozen=True)
class Options:
    """How to encode, beyond the target; names as in the public API."""

    support: str = "auto"
    background: float = 0.0
    effort: int = 5
    tile: int | None = None
    threads: int | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    dataset: str = ""
    embed_model: bool = False


def usual_tile(effort: int) -> int:
    """About how many voxels an axis of a tile has, where nothing is said of it."""
    return LARGE_TILE if effort >= LEARNS else DEFAULT_TILE


def check_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The native form of a dtype that volcodec takes; InputError that says what to do else."""
    native = dtype.newbyteorder("=")
    if native not in DTYPES:
        hint = {
            "b": "convert it to uint8",
            "c": "encode its real and imaginary parts as two volumes",
        }.get(dtype.kind, "convert it to float64, or to int32 or uint32 where the values fit")
        if dtype.kind not in "biufcV" and dtype.name != "bfloat16":
            hint = "only numbers can be compressed"
        elif dtype.name == "bfloat16":
            hint = "convert it to float32"
        raise InputError(f"volumes of dtype {dtype} are not supported: {hint}")
    return native


def check_shape(shape: tuple[int, ...]) -> Shape:
    """(Z, Y, X) of a volume or of one slice; InputError that says what to do else."""
    if len(shape) not in (2, 3):
        hint = (
            "reshape it to two or three axes"
            if len(shape) < 2
            else "encode its volumes one by one, or as the frames of a series"
        )
        raise InputError(f"a volume has 3 axes (a slice 2), this array has {len(shape)}: {hint}")
    if 0 in shape:
        raise InputError(f"the volume is empty: its shape is {shape}")
    return (1, *shape) if len(shape) == 2 else shape  # type: ignore[return-value]

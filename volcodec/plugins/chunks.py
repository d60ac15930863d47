"""A chunk of an array of any number of axes as the bytes of a .vc file, and how it is asked for."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from volcodec.codec import DEFAULT_MODEL, Codec, decode, options
from volcodec.encoder import VolumeEncoder
from volcodec.errors import FormatError, InputError
from volcodec.inspection import inspect
from volcodec.targets import KINDS, target
from volcodec.tiles import ArraySource

_LINE_TILE = 1024  # voxels of a tile of a line: with the default a tile would be all overhead


@dataclass(frozen=True, kw_only=True, repr=False)
class ChunkCodec:
    """How the chunks of an array are coded; the names are those of ``volcodec.Codec.encode``.

    One target: ``max_error`` (units of the data), ``rel_error`` (share of the chunk's max - min),
    ``psnr`` (dB, with the chunk's max - min as peak), ``ratio`` (the chunk's raw bytes / its
    stored bytes), ``bits`` (per voxel) or ``lossless``; by default ``rel_error=1e-3``. A chunk
    is all that is seen: what a store pads it with at the ends of an array counts as data.

    ``support`` and ``background``: whether zeros, or another value, stay exactly what they are.
    ``model``: a name, never a path, for a store outlives the paths of a machine.

    InputError where a value is impossible.
    """

    max_error: float | None = None
    rel_error: float | None = None
    psnr: float | None = None
    ratio: float | None = None
    bits: float | None = None
    lossless: bool = False
    support: str = "auto"
    background: float = 0.0
    effort: int = 5
    model: str = DEFAULT_MODEL

    def __post_init__(self) -> None:
        asked = target(**{kind: getattr(self, kind) for kind in KINDS})
        chosen = options(background=self.background, effort=self.effort)
        plain = {
            asked.kind: True if asked.kind == "lossless" else asked.value,
            "background": chosen.background,
            "effort": chosen.effort,
        }
        for name, value in plain.items():  # numbers as JSON keeps them, the default target named
            object.__setattr__(self, name, value)
        if not isinstance(self.model, str) or os.path.basename(self.model) != self.model:
            raise InputError(
                f"the model of a chunk store is a name, not {self.model!r}: put the model's file "
                "into the folder VOLCODEC_MODELS, where readers will look for it too"
            )
        self.check(np.dtype(np.float64))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({given})"

    def config(self) -> dict[str, Any]:
        """The target and whatever is not as it is by default; plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(ChunkCodec)}
        defaults = {field.name: field.default for field in fields(ChunkCodec)}
        return {name: value for name, value in values.items() if value != defaults[name]}

    def check(self, dtype: np.dtype[Any]) -> None:
        """InputError where chunks of ``dtype`` can't be coded like this, and what to do."""
        wanted = options(support=self.support, background=self.background, effort=self.effort)
        asked = target(**{kind: getattr(self, kind) for kind in KINDS})
        # an encoder checks what it is asked for before it looks at a voxel
        VolumeEncoder([ArraySource(np.zeros((1, 1), dtype))], None, asked, wanted)

    def encode_chunk(self, chunk: np.ndarray, threads: int | None = None) -> bytes:
        """The .vc file of a chunk of any strides that isn't empty.

        InputError where its dtype or the target can't be honoured, ModelError where the model is
        not at hand.
        """
        asked = self.config()
        codec = Codec(asked.pop("model", DEFAULT_MODEL), threads=threads)
        tile = _LINE_TILE if chunk.ndim < 2 else None
        return codec.encode(chunk.reshape(volume_shape(chunk.shape)), tile=tile, **asked)


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as which a chunk of ``shape`` is coded, by a plain reshape.

    A number or a line becomes a slice of one row; axes before the last three are stacked on the
    first of those.
    """
    if len(shape) < 2:
        return 1, math.prod(shape)
    if len(shape) > 3:
        return math.prod(shape[:-2]), *shape[-2:]
    return shape


def decode_chunk(
    stored: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    region: tuple[slice, ...] | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """The chunk of ``shape`` and ``dtype`` that is ``stored`` (bytes, or what has ``read_at``).

    With ``region`` (chunks of two or three axes), only that part of it. FormatError where what is
    stored is damaged or another chunk, ModelError where its model is not at hand.
    """
    info = inspect(stored)
    if (info.dtype, info.frames, info.shape) != (dtype.name, 1, volume_shape(shape)):
        raise FormatError(
            f"a chunk of {dtype.name} {shape} should be stored here, "
            f"but it is one of {info.dtype} {info.shape}: it belongs to another array"
        )
    values = decode(stored, region=region, threads=threads)
    return (values if region else values.reshape(shape)).astype(dtype, copy=False)

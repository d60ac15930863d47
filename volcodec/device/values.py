"""From integers to values on the device: :class:`..values.Mapping` and what follows it, by torch.

Each operation is one of torch's, so each is rounded by itself, as the format wants it. Values of
integer dtypes are float64 that hold whole numbers until the end: torch lacks most operations on
unsigned integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import FormatError, InputError
from ..tiledecoder import Frame, beside
from ..values import Mapping

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32}
_FLOATS = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """The torch dtype of a volume's native dtype."""
    found: torch.dtype = getattr(torch, dtype.name)
    return found


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same bytes in a dtype that torch copies everywhere: unsigned integers as signed ones."""
    return tensor.view(_SIGNED[tensor.dtype]) if tensor.dtype in _SIGNED else tensor


def room(
    shape: tuple[int, ...], dtype: np.dtype[Any], out: Any, max_bytes: int | None,
    device: torch.device,
) -> torch.Tensor:  # fmt: skip
    """The tensor to decode to: ``out``, checked, or a new one of at most ``max_bytes``."""
    size = int(np.prod([float(n) for n in shape])) * dtype.itemsize
    if max_bytes is not None and size > max_bytes:
        raise FormatError(f"the result takes {size} bytes, more than max_bytes={max_bytes}")
    kind = torch_dtype(dtype)
    if out is None:
        try:
            return torch.empty(shape, dtype=kind, device=device)
        except RuntimeError:  # of which OutOfMemoryError is one
            raise FormatError(f"the volume takes {size} bytes, more than there is memory") from None
    if tuple(out.shape) != shape or out.dtype != kind:
        raise InputError(f"out must be {kind} {shape}, not {out.dtype} {tuple(out.shape)}")
    if out.requires_grad:
        raise InputError("out must be a tensor without gradient")
    return out  # type: ignore[no-any-return]


@dataclass
class Marks:
    """What a batch's specials, masks and corrections say; ``places`` count through its voxels.

    ``outliers`` (int32) at ``outlier_places`` (int64), in the tiles ``corrected``; ``classes``
    (uint8: NaN, +Inf, -Inf from 1) at ``class_places``; ``masks`` (uint8, (tiles, bytes): a bit a
    voxel, lowest first) of the tiles ``masked``.
    """

    outliers: torch.Tensor
    outlier_places: torch.Tensor
    classes: torch.Tensor
    class_places: torch.Tensor
    masks: torch.Tensor
    corrected: list[int]
    masked: list[int]


def values_of(integers: torch.Tensor, unit: float, marks: Marks, f: Frame) -> torch.Tensor:
    """Values (the dtype of ``f``) of integers (int32, (tiles, z, y, x)) of one batch."""
    m = f.mapping
    if m.domain == "bits":
        out = _from_ordered(integers, m.dtype)
    else:
        out = _to_values(integers, unit, m, marks)
        if f.exact and marks.corrected:
            _to_the_other_side(out, integers, unit, marks, f)
    background = _number(f.background, m.dtype)
    if f.exact:
        out = torch.where(out == background, _scalar(beside(f, 1.0), out), out)
    if marks.masked:
        bits = torch.arange(8, dtype=torch.uint8, device=out.device)
        masks = (marks.masks[:, :, None] >> bits & 1).to(torch.bool).flatten(1)
        shape = out.shape[1:]
        for i, tile in enumerate(marks.masked):
            out[tile].masked_fill_(masks[i, : shape.numel()].view(shape), background)
    if marks.classes.numel():
        odd = torch.tensor([0.0, np.nan, np.inf, -np.inf], dtype=out.dtype, device=out.device)
        out.view(-1)[marks.class_places] = odd[marks.classes.to(torch.int64)]
    return _finished(out, m.dtype)


def _number(value: float, dtype: np.dtype[Any]) -> float:
    return float(dtype.type(value))


def _scalar(value: Any, like: torch.Tensor) -> torch.Tensor:
    # filled there: a copy would wait for all that was launched before
    return torch.full((), float(value), dtype=like.dtype, device=like.device)


def rounded(v: torch.Tensor, dtype: np.dtype[Any]) -> torch.Tensor:
    """float64 rounded to a float dtype, or cut to whole numbers (still float64) for integers.

    What it is given may be overwritten.
    """
    if dtype.kind in "iu":
        return v.trunc_()
    if dtype != np.float16:
        return v.to(_FLOATS[dtype.name])
    # torch goes by way of float32: rounded to odd there, the second rounding is the only one
    near = v.to(torch.float32)
    wide = near.to(torch.float64)
    bits = near.view(torch.int32) - (wide.abs() > v.abs()).to(torch.int32)
    return torch.where(wide == v, bits, bits | 1).view(torch.float32).to(torch.float16)


def limits(m: Mapping) -> tuple[float, float]:
    """What values are kept within."""
    of_dtype = np.iinfo(m.dtype) if m.dtype.kind in "iu" else np.finfo(m.dtype)
    return max(float(of_dtype.min), m.least), min(float(of_dtype.max), m.most)


def _limited(v: torch.Tensor, m: Mapping) -> torch.Tensor:
    low, high = (_scalar(limit, v) for limit in limits(m))
    v = torch.where(v > high, high, v)
    return torch.where(v >= low, v, low)


def rough_values(integers: torch.Tensor, unit: float, m: Mapping) -> torch.Tensor:
    """Values without outliers; those of integer dtypes as float64."""
    return _to_values(integers, unit, m, None)


def _to_values(
    integers: torch.Tensor, unit: float, m: Mapping, marks: Marks | None
) -> torch.Tensor:
    t = integers.to(torch.float64).mul_(unit)
    if m.on_lattice:
        t.round_()
    if marks is not None and marks.corrected:
        flat = t.view(-1)
        more = marks.outliers.to(torch.float64) * m.lattice_step
        flat[marks.outlier_places] = flat[marks.outlier_places] + more
    if m.on_lattice:
        t.mul_(m.pitch)
    out = rounded(_limited(t.add_(m.origin), m), m.dtype)
    if m.snap > 0:
        near = (out.to(torch.float64) - m.ground).abs_() <= m.snap
        out = torch.where(near, _scalar(m.ground, out), out)
    return out


def _to_the_other_side(
    out: torch.Tensor, integers: torch.Tensor, unit: float, marks: Marks, f: Frame
) -> None:
    """Where values without outliers hit the background, an outlier names the side of it."""
    tiles, *shape = integers.shape
    size = integers[0].numel()
    below = torch.zeros(tiles * size, dtype=torch.bool, device=out.device)
    below[marks.outlier_places] = marks.outliers < 0
    for tile in marks.corrected:
        bare = rough_values(integers[tile], unit, f.mapping)
        below_here = below.view(tiles, *shape)[tile]
        sides = torch.where(below_here, _scalar(beside(f, -1.0), out), _scalar(beside(f, 1.0), out))
        hits = bare == _number(f.background, f.mapping.dtype)
        out[tile] = torch.where(hits, sides, out[tile])


def _from_ordered(integers: torch.Tensor, dtype: np.dtype[Any]) -> torch.Tensor:
    """As :func:`..values.from_ordered`."""
    if dtype == np.float16:
        b = integers.to(torch.int16)
        return torch.where(b < 0, b ^ 0x7FFF, b).view(torch.float16)
    b = torch.where(integers < 0, integers ^ 0x7FFFFFFF, integers)
    out = b.view(torch.float32)
    if dtype != np.float64:
        return out
    wide = out.to(torch.float64)
    # the payload of a NaN, which a device need not keep
    whole = b.to(torch.int64)
    odd = (whole & 0x7FFFFF) << 29 | 0x7FF8 << 48
    odd = torch.where(whole < 0, odd | -(1 << 63), odd)
    return torch.where(wide.isnan(), odd, wide.view(torch.int64)).view(torch.float64)


def _finished(out: torch.Tensor, dtype: np.dtype[Any]) -> torch.Tensor:
    if dtype.kind not in "iu":
        return out
    kind = torch_dtype(dtype)
    if kind in _SIGNED:
        return out.to(torch.int64).to(_SIGNED[kind]).view(kind)
    return out.to(kind)

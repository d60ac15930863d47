"""What an encoder asks of the values of some tiles, on their device.

The counterparts of the passes in :mod:`..survey`, :mod:`..voxels`, :mod:`..values` and of the
search for outliers in :mod:`..tilecoder`. Values are (tiles, z, y, x), unsigned integers as signed
ones of the same bits; everything is counted in float64, each operation rounded by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton

from ..survey import Part, sample_stride
from ..tilecoder import Settings
from ..tiledecoder import beside
from .kernels import looks as kernels
from .launch import Upload
from .values import limits, rounded

Shape = tuple[int, int, int]


def wide(values: torch.Tensor, dtype: np.dtype[np.generic]) -> torch.Tensor:
    """Values as float64."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return (values.to(torch.int64) & ((1 << 8 * dtype.itemsize) - 1)).to(torch.float64)
    return values.to(torch.float64)


def _each(v: torch.Tensor) -> torch.Tensor:
    """One row a tile."""
    return v.reshape(len(v), -1)


_BLOCK = 1024
_PARTS = 128  # of a tile, at most, that are gone through side by side


class _Pass:
    """One pass of a kernel over values: its table, and the arguments that are alike in all.

    ``given``: numbers that the kernel takes.
    """

    def __init__(
        self, values: torch.Tensor, dtype: np.dtype[np.generic], given: list[float], columns: int
    ) -> None:  # fmt: skip
        tiles, size = len(values), values[0].numel()
        on_device = values.device.type == "cuda"
        block = _BLOCK if on_device else min(triton.next_power_of_2(size), 1 << 14)
        parts = min(triton.cdiv(size, block), _PARTS if on_device else 1)
        span = triton.cdiv(size, parts * block) * block
        upload = Upload()
        key = upload.add(np.array(given, np.float64))
        upload.send(values.device)
        self.given = upload[key]
        self.table = torch.empty((tiles, parts, columns), dtype=torch.float64, device=values.device)
        self.grid = (tiles * parts,)
        self.geometry = size, span, parts
        wide = dtype.kind == "u" and dtype.itemsize > 1
        self.options: dict[str, Any] = {
            "UNSIGNED": 8 * dtype.itemsize if wide else 0, "BLOCK": block,
            "enable_fp_fusion": False,
        }  # fmt: skip

    def rows(self, ways: str) -> list[list[float]]:
        """One row a tile: of each column the least (``<``), the largest (``>``) or the sum."""
        by: dict[str, Any] = {"<": torch.amin, ">": torch.amax, "+": torch.sum}
        columns = [by[way](self.table[:, :, i], 1) for i, way in enumerate(ways)]
        out: list[list[float]] = torch.stack(columns, 1).tolist()
        return out


def parts_of(values: torch.Tensor, dtype: np.dtype[np.generic], background: float) -> list[Part]:
    """What each tile is like, as :func:`..survey.look` has it."""
    look = _Pass(values, dtype, [background], 5)
    kernels.survey[look.grid](values, look.given, look.table, *look.geometry, **look.options)
    table = look.rows("<>+++")
    narrow = [False] * len(values)
    if dtype == np.float64:
        v = _each(values)
        back = v.to(torch.float32).to(torch.float64).view(torch.int64)
        own = v.view(torch.int64)
        # a device need not keep the payload of a NaN on the way: that it fits is seen in the bits
        quiet = (own & ((1 << 29) - 1) == 0) & (own >> 51 & 1 == 1)
        narrow = torch.where(v.isnan(), quiet, back == own).all(1).tolist()
    out = []
    for (low, high, finite, same, minus), fits, found in zip(table, narrow, values, strict=True):
        n = int(finite)
        sample = np.zeros(0)
        if dtype.kind == "f":
            usable = found.reshape(-1)
            if n < len(usable):
                usable = usable[usable.isfinite()]
            sample = usable[:: sample_stride(n)].cpu().numpy().astype(np.float64)
        least, most = (low, high) if n else (math.nan, math.nan)
        zeros = dtype.kind == "f" and minus > 0
        out.append(Part(least, most, found.numel(), n, int(same), zeros, bool(fits), sample))
    return out


def distances(
    values: torch.Tensor, dtype: np.dtype[np.generic], origin: float, pitch: float
) -> list[float]:
    """Of each tile's finite values from a lattice, as :func:`..survey.distance` has them."""
    v = _each(wide(values, dtype))
    k = ((v - origin) / pitch).round_()
    on = rounded((k * pitch).add_(origin), dtype).to(torch.float64)
    far = (v - on).abs_()
    out: list[float] = torch.where(v.isfinite(), far, 0.0).amax(1).tolist()
    return out


@dataclass
class Sparse:
    """Integers of a tile that are not zero, and their places."""

    places: np.ndarray
    values: np.ndarray

    @classmethod
    def nothing(cls) -> Sparse:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int32))

    def dense(self, shape: Shape) -> np.ndarray:
        """All of them, int32."""
        out = np.zeros(shape, np.int32)
        out.reshape(-1)[self.places] = self.values
        return out


@dataclass
class Seen:
    """What a tile holds, and whether the device is to code it.

    ``uniform``: the bits that all voxels have, None where they differ. ``integers`` (int32) are
    what the bank is given; ``hidden`` (bool) on the device, None where nothing is; ``whole``: not
    finite, in domain bits. On the host: ``masked`` (packed bits, lowest first), and the classes of
    ``special`` voxels; None where there are none.
    """

    fits: bool
    uniform: int | None
    integers: torch.Tensor
    hidden: torch.Tensor | None
    whole: bool
    masked: np.ndarray | None
    special: Sparse | None

    def hidden_in(self, shape: Shape) -> torch.Tensor:
        """Which voxels are hidden, whether any are or not."""
        if self.hidden is None:
            return torch.zeros(shape, dtype=torch.bool, device=self.integers.device)
        return self.hidden

    def mask_in(self, shape: Shape) -> np.ndarray:
        """The mask (bool)."""
        assert self.masked is not None
        size = int(np.prod(shape))
        return np.unpackbits(self.masked, count=size, bitorder="little").reshape(shape).view(bool)

    def specials_in(self, shape: Shape) -> np.ndarray:
        """Values (float32) that have the tile's specials and are zero else."""
        assert self.special is not None
        odd = np.array([0.0, np.nan, np.inf, -np.inf], np.float32)
        return odd[self.special.dense(shape)]

    def hidden_array(self, shape: Shape) -> np.ndarray:
        """On the host (bool)."""
        return self.hidden_in(shape).cpu().numpy()


def _packed(flags: torch.Tensor) -> torch.Tensor:
    """Bits of flags (tiles, voxels), lowest first (uint8)."""
    more = -flags.shape[1] % 8
    eight = torch.nn.functional.pad(flags.to(torch.uint8), (0, more)).view(len(flags), -1, 8)
    weights = 1 << torch.arange(8, dtype=torch.uint8, device=flags.device)
    return (eight * weights).sum(2, dtype=torch.uint8)


def see(values: torch.Tensor, s: Settings) -> list[Seen]:
    """Look at tiles and make integers of them for the closed loop."""
    m = s.mapping
    dtype, bits = m.dtype, m.domain == "bits"
    flat, own = _each(values), _bits(_each(values))
    unit = 1.0 if bits else m.units("predicted")[0]
    most = 0.0 if bits else float(m.largest(unit))
    look = _Pass(values, dtype, [s.background, m.origin, m.pitch, unit, most], 8)
    integers = torch.empty(flat.shape, dtype=torch.int32, device=flat.device)
    hidden, masked = (torch.empty(flat.shape, dtype=torch.uint8, device=flat.device) for _ in "hm")
    kernels.see[look.grid](
        values, own, look.given, integers, hidden, masked, look.table, *look.geometry,
        FLOATS=dtype.kind == "f", REAL=not bits, LATTICE=m.on_lattice, EXACT=s.exact,
        **look.options,
    )  # fmt: skip
    table = look.rows("<>>+++++")
    hidden = hidden.view(torch.bool)
    if bits:
        integers = _ordered(flat, dtype)
    masks = _packed(masked).cpu().numpy() if any(row[4] for row in table) else None
    shape = values.shape[1:]
    out = []
    for i, (low, high, largest, covered, background, odd, unusual, differ) in enumerate(table):
        same = bits and not differ
        if not bits:
            same = low == high or largest > most
            same |= math.isfinite(s.bound) and s.slack > 0 and (high - low) / 2 < s.bound
        fits = not same and covered < flat.shape[1]
        out.append(
            Seen(
                fits, None if differ else int(own[i, 0]), integers[i].view(shape),
                hidden[i].view(shape) if covered else None,
                bits and bool(unusual), masks[i] if masks is not None and background else None,
                _specials(flat[i]) if odd and fits else None,
            )
        )  # fmt: skip
    return out


def _bits(values: torch.Tensor) -> torch.Tensor:
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return values.view(kinds[values.element_size()])


def _ordered(values: torch.Tensor, dtype: np.dtype[np.generic]) -> torch.Tensor:
    """As :func:`..values.to_ordered`, float64 by way of float32."""
    if dtype == np.float16:
        b = _bits(values).to(torch.int32)
        return torch.where(b < 0, b ^ 0x7FFF, b)
    if dtype == np.float64:
        own = _bits(values)
        # the bits of NaNs go over as they are; which ones there may be, `narrow` has seen to
        odd = (own >> 32 & -(1 << 31)) | 0x7F800000 | (own >> 29 & 0x7FFFFF)
        near = values.to(torch.float32).view(torch.int32)
        b = torch.where(values.isnan(), odd.to(torch.int32), near)
    else:
        b = _bits(values)
    return torch.where(b < 0, b ^ 0x7FFFFFFF, b)


def _specials(v: torch.Tensor) -> Sparse:
    places = torch.nonzero(~v.isfinite()).flatten()
    found = v[places]
    classes = torch.where(found.isnan(), 1, torch.where(found > 0, 2, 3)).to(torch.int32)
    return Sparse(places.cpu().numpy(), classes.cpu().numpy())


def outliers(
    values: torch.Tensor, decoded: torch.Tensor, unit: float, hidden: torch.Tensor | None,
    s: Settings,
) -> list[Sparse]:  # fmt: skip
    """What must be added to what ``decoded`` integers make, in lattice steps."""
    m = s.mapping
    low, high = limits(m)
    become = float(m.dtype.type(m.ground))
    beyond = float(beside(s, 1.0)) if s.exact else 0.0
    given = [s.background, m.origin, m.pitch, unit, low, high, m.ground, become, m.snap, s.slack,
             m.lattice_step, beyond, s.bound]  # fmt: skip
    look = _Pass(values, m.dtype, given, 1)
    out = torch.empty((len(values), values[0].numel()), dtype=torch.int32, device=values.device)
    kernels.outliers[look.grid](
        values, decoded, decoded if hidden is None else hidden.view(torch.uint8), look.given, out,
        look.table, *look.geometry, KIND=m.dtype.itemsize if m.dtype.kind == "f" else 0,
        LATTICE=m.on_lattice, SNAPS=m.snap > 0, BOUND=math.isfinite(s.bound), EXACT=s.exact,
        HIDES=hidden is not None, **look.options,
    )  # fmt: skip
    counts = [row[0] for row in look.rows("+")]
    found = []
    for tile, count in zip(out, counts, strict=True):
        if not count:
            found.append(Sparse.nothing())
            continue
        places = torch.nonzero(tile).flatten()
        found.append(Sparse(places.cpu().numpy(), tile[places].cpu().numpy()))
    return found


def measured(
    values: torch.Tensor, decoded: torch.Tensor, s: Settings
) -> list[tuple[float, float, int] | None]:
    """Of each tile: the largest error, the sum of (error / scale)**2, how many voxels are finite.

    None where finite voxels, or those of the background that is kept, are not the same in both; in
    domain bits, where any bit differs.
    """
    size = values[0].numel()
    if s.mapping.domain == "bits":
        same = (_bits(_each(values)) == _bits(_each(decoded))).all(1).tolist()
        return [(0.0, 0.0, size) if equal else None for equal in same]
    look = _Pass(values, s.mapping.dtype, [s.background, s.scale], 4)
    kernels.measure[look.grid](
        values, decoded, look.given, look.table, *look.geometry, EXACT=s.exact, **look.options
    )
    table = look.rows("+>++")
    return [None if row[0] else (row[1], row[2], int(row[3])) for row in table]

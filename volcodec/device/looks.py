"""What an encoder asks of the values of some tiles, by torch on their device.

The counterparts of the passes in :mod:`..survey`, :mod:`..voxels`, :mod:`..values` and of the
search for outliers in :mod:`..tilecoder`. Values are (tiles, z, y, x), unsigned integers as signed
ones of the same bits; everything is counted in float64, each operation rounded by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..survey import Part, sample_stride
from ..tilecoder import Settings
from ..tiledecoder import beside
from .values import rough_values, rounded

Shape = tuple[int, int, int]


def wide(values: torch.Tensor, dtype: np.dtype[np.generic]) -> torch.Tensor:
    """Values as float64."""
    if dtype.kind == "u" and dtype.itemsize > 1:
        return (values.to(torch.int64) & ((1 << 8 * dtype.itemsize) - 1)).to(torch.float64)
    return values.to(torch.float64)


def _each(v: torch.Tensor) -> torch.Tensor:
    """One row a tile."""
    return v.reshape(len(v), -1)


def parts_of(values: torch.Tensor, dtype: np.dtype[np.generic], background: float) -> list[Part]:
    """What each tile is like, as :func:`..survey.look` has it."""
    v = _each(wide(values, dtype))
    finite = v.isfinite()
    low = torch.where(finite, v, math.inf).amin(1)
    high = torch.where(finite, v, -math.inf).amax(1)
    minus = ((v == 0) & v.signbit()).any(1) if dtype.kind == "f" else torch.zeros_like(low)
    narrow = torch.zeros_like(low)
    if dtype == np.float64:
        back = v.to(torch.float32).to(torch.float64).view(torch.int64)
        own = v.view(torch.int64)
        # a device need not keep the payload of a NaN on the way: that it fits is seen in the bits
        quiet = (own & ((1 << 29) - 1) == 0) & (own >> 51 & 1 == 1)
        fits = torch.where(v.isnan(), quiet, back == own)
        narrow = fits.all(1).to(torch.float64)
    columns = [low, high, finite.sum(1), (v == background).sum(1), minus, narrow]
    table = torch.stack([c.to(torch.float64) for c in columns], 1).cpu().numpy()
    out = []
    for row, found, own in zip(table, v, finite, strict=True):
        n = int(row[2])
        sample = np.zeros(0)
        if dtype.kind == "f":
            usable = found if n == len(found) else found[own]
            sample = usable[:: sample_stride(n)].cpu().numpy()
        least, most = (float(x) if n else math.nan for x in row[:2])
        out.append(
            Part(least, most, len(found), n, int(row[3]), bool(row[4]), bool(row[5]), sample)
        )
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
    v = _each(wide(values, dtype))
    finite = v.isfinite()
    special = ~finite if dtype.kind == "f" and not bits else torch.zeros_like(finite)
    masked = v == s.background if s.exact else torch.zeros_like(finite)
    hidden = special | masked
    low = torch.where(hidden, math.inf, v).amin(1)
    high = torch.where(hidden, -math.inf, v).amax(1)
    own = _bits(_each(values))
    uniform = (own == own[:, :1]).all(1)
    if bits:
        integers = _ordered(_each(values), dtype)
        constant = uniform
        largest = torch.zeros_like(low)
    else:
        unit = m.units("predicted")[0]
        y = torch.where(special, s.background, v).sub_(m.origin)
        if m.on_lattice:
            y = (y / m.pitch).round_()
        y = (y / unit).round_()
        largest = torch.where(y.isnan(), math.inf, y.abs()).amax(1)
        most = m.largest(unit)
        integers = y.clamp_(-most, most).nan_to_num_(0.0).to(torch.int32)
        constant = low == high
        if np.isfinite(s.bound) and s.slack > 0:
            constant |= (high - low) / 2 < s.bound
        constant |= largest > most
    columns = [
        constant,
        hidden.sum(1),
        masked.sum(1),
        special.sum(1),
        (~finite).any(1),
        uniform,
        own[:, 0],
    ]
    table = torch.stack([c.to(torch.int64) for c in columns], 1).tolist()
    masks = _packed(masked).cpu().numpy() if any(row[2] for row in table) else None
    out = []
    for i, (same, covered, background, odd, unusual, equal, bit) in enumerate(table):
        fits = not same and covered < v.shape[1]
        shape = values.shape[1:]
        out.append(
            Seen(
                fits, bit if equal else None, integers[i].view(shape),
                hidden[i].view(shape) if covered else None,
                bits and bool(unusual), masks[i] if masks is not None and background else None,
                _specials(v[i]) if odd and fits else None,
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
    v = _each(wide(values, m.dtype))
    rough = _each(rough_values(decoded, unit, m)).to(torch.float64)
    shown = torch.ones_like(v, dtype=torch.bool) if hidden is None else ~_each(hidden)
    out = torch.zeros(v.shape, dtype=torch.int32, device=v.device)
    if np.isfinite(s.bound):
        r = (v - rough) / (m.pitch if m.on_lattice else 1.0)
        far = (r.abs() > s.slack) & shown
        jumps = (r / m.lattice_step).round_().clamp_(-2147483647.0, 2147483647.0)
        out = torch.where(far, jumps, 0.0).to(torch.int32)
    if s.exact:
        hits = (rough == s.background) & shown
        far = (v - float(beside(s, 1.0))).abs_() > s.bound
        out = torch.where(hits, -far.to(torch.int32), out)
    counts = torch.count_nonzero(out, 1).tolist()
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
    v, d = (_each(wide(a, s.mapping.dtype)) for a in (values, decoded))
    finite = v.isfinite()
    off = finite != d.isfinite()
    if s.exact:
        off |= (v == s.background) != (d == s.background)
    error = torch.where(finite, v - d, 0.0)
    columns = [off.any(1), error.abs().amax(1), (error / s.scale).square_().sum(1), finite.sum(1)]
    table = torch.stack([c.to(torch.float64) for c in columns], 1).tolist()
    return [None if row[0] else (row[1], row[2], int(row[3])) for row in table]

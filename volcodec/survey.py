"""One look at a whole volume: its range, its background, and whether it lies on a lattice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .values import find_lattice

_COMMON = 0.1  # share of the voxels
_COUNTED = 1 << 26  # steps of a lattice that can be counted from anywhere in the range
_SAMPLE = 4096  # voxels of each tile that the search for a lattice looks at


@dataclass(frozen=True)
class Survey:
    """What a volume is like.

    low, high: least and greatest finite value, as float64 (nan where none is finite);
    finite, background: how many voxels are finite, and equal to the background;
    ground: the background where it is common enough to be what integers count from, else None;
    declared: the background, however common;
    busy: voxels of each tile that are not the background;
    negative_zero: whether any -0.0; narrow: whether a float64 volume is equal to its float32;
    lattice: origin, pitch and largest distance from the lattice, where the volume lies on one.
    """

    low: float
    high: float
    voxels: int
    finite: int
    background: int
    negative_zero: bool
    narrow: bool
    lattice: tuple[float, float, float] | None
    ground: float | None = None
    busy: tuple[int, ...] = ()
    declared: float = 0.0

    @property
    def range(self) -> float:
        """Greatest minus least finite value (0 where none is finite, inf on overflow)."""
        return self.high - self.low if self.finite else 0.0


@dataclass(frozen=True)
class Part:
    """What one tile is like; ``sample``: some of its finite values, for the search of a lattice."""

    low: float
    high: float
    voxels: int
    finite: int
    background: int
    negative_zero: bool
    narrow: bool
    sample: np.ndarray


def look(values: np.ndarray, background: float) -> Part:
    """Look at one tile (native dtype)."""
    is_float = values.dtype.kind == "f"
    same = int(np.count_nonzero(values == values.dtype.type(background)))
    finite_values = values
    if is_float:
        ok = np.isfinite(values)
        if not ok.all():
            finite_values = values[ok]
    n = finite_values.size
    low = float(finite_values.min()) if n else np.nan
    high = float(finite_values.max()) if n else np.nan
    minus = is_float and bool(np.signbit(finite_values[finite_values == 0]).any())
    narrow = False
    if values.dtype == np.float64:
        with np.errstate(over="ignore", invalid="ignore"):
            back = values.astype(np.float32).astype(np.float64)
        narrow = back.tobytes() == values.tobytes()
    stride = sample_stride(n)
    sample = finite_values.reshape(-1)[::stride].astype(np.float64) if is_float else np.zeros(0)
    return Part(low, high, values.size, n, same, minus, narrow, sample)


def sample_stride(finite: int) -> int:
    """Every so many of a tile's finite values are looked at in the search for a lattice."""
    return max(1, finite // _SAMPLE)


def distance(values: np.ndarray, origin: float, pitch: float) -> float:
    """Largest distance of the finite ``values`` from the lattice, after rounding to the dtype."""
    v = values[np.isfinite(values)]
    k = np.rint((v.astype(np.float64) - origin) / pitch)
    on = (origin + pitch * k).astype(values.dtype).astype(np.float64)
    return float(np.abs(v - on).max(initial=0.0))


def survey(
    background: float,
    dtype: np.dtype[Any],
    parts: list[Part],
    distances: Callable[[float, float], Iterable[float]],
    centred: bool = False,
) -> Survey:
    """What the tiles' ``parts`` tell of a volume, in the order of the file.

    ``distances`` of each tile's values from the lattice of an origin and a pitch, as
    :func:`distance` has them. If ``centred``, integers count from near the middle of the range,
    whatever is common.
    """
    same, voxels = sum(p.background for p in parts), sum(p.voxels for p in parts)
    ground = background if same > _COMMON * voxels and not centred else None
    with np.errstate(invalid="ignore"):
        low = float(np.nanmin([p.low for p in parts] + [np.inf]))
        high = float(np.nanmax([p.high for p in parts] + [-np.inf]))
    finite = sum(p.finite for p in parts)
    lattice: tuple[float, float, float] | None = None
    if dtype.kind in "iu":
        lattice = (float(np.rint(low / 2 + high / 2)), 1.0, 0.0)
    elif finite and high > low and np.isfinite(high - low):
        found = find_lattice(np.concatenate([p.sample for p in parts]))
        if found is not None:
            origin, pitch = found
            worst = 0.0
            for far in distances(origin, pitch):
                worst = max(worst, far)
            if worst <= 0.05 * pitch:
                lattice = (origin, pitch, worst)
    if lattice is not None and ground is not None and (high - low) / lattice[1] < _COUNTED:
        origin, pitch, worst = lattice
        lattice = (origin + pitch * np.rint((ground - origin) / pitch), pitch, worst)
    return Survey(
        low if finite else np.nan,
        high if finite else np.nan,
        voxels,
        finite,
        same,
        any(p.negative_zero for p in parts),
        bool(parts) and all(p.narrow for p in parts),
        lattice,
        ground,
        tuple(p.voxels - p.background for p in parts),
        background,
    )

"""What decoded values miss of the originals: outliers, and what errors are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import correction, voxels
from .kernel import kernel
from .tiledecoder import beside

if TYPE_CHECKING:
    from .tilecoder import Settings
    from .values import Mapping

_TOGETHER = 256  # voxels that are looked at once more where one of them is an outlier


def fix(
    values: np.ndarray, decoded: np.ndarray, unit: float, hidden: np.ndarray, s: Settings
) -> bytes | None:
    """The correction that brings decoded integers within the bound; None where none can."""
    if not (np.isfinite(s.bound) or s.exact):
        return b""
    found = _outliers(values, decoded, unit, hidden, s)
    return None if found is None else correction.encode(found)


def loss(
    values: np.ndarray, decoded: np.ndarray, unit: float, hidden: np.ndarray, s: Settings
) -> float:
    """Bytes that the error of decoded integers is worth, snapped as suits this tile."""
    m = s.mapping
    if not np.isfinite(s.worth):
        return 0.0
    found = m.to_values(decoded, unit, None)
    scale = s.worth * (m.pitch if m.on_lattice else 1.0)
    if s.reaches:
        snapped = voxels.measure_snapped(values, found, scale, m.ground, np.array(s.reaches))
        return min(square for _, square in snapped)
    off = found.astype(np.float64) - values
    off[hidden] = 0
    off /= scale
    return float(np.vdot(off, off))


def _outliers(
    values: np.ndarray, decoded: np.ndarray, unit: float, hidden: np.ndarray, s: Settings
) -> np.ndarray | None:
    """What must be added to ``decoded``, in lattice steps, where it breaks the bound (int32).

    None where that can't be said: a voxel hits the background, and neither side of it is near.
    """
    m = s.mapping
    rough = m.to_values(decoded, unit, None)
    out = np.zeros(values.shape, np.int32)
    if np.isfinite(s.bound):
        wide, near = (a.astype(np.float32) if a.dtype == np.float16 else a for a in (values, rough))
        _find_outliers(
            wide.reshape(-1), near.reshape(-1), hidden.reshape(-1),
            m.pitch if m.on_lattice else 1.0, s.slack, m.lattice_step, out.reshape(-1),
        )  # fmt: skip
        _unclip(out, values, decoded, unit, m)
    if s.exact:
        # a voxel that hits the background is put beside it, on the other side where that is nearer
        hits = (rough == values.dtype.type(s.background)) & ~hidden
        if hits.any():
            there = values[hits].astype(np.float64)
            far = [np.abs(there - np.float64(beside(s, side))) > s.bound for side in (1.0, -1.0)]
            if (far[0] & far[1]).any():
                return None
            out[hits] = np.where(far[0], -1, 0)
    return out


def _unclip(
    out: np.ndarray, values: np.ndarray, decoded: np.ndarray, unit: float, m: Mapping
) -> None:
    """Outliers are added before values are clipped: count those of clipped ones from there."""
    places = np.flatnonzero(out)
    y = decoded.reshape(-1)[places] * unit
    pitch = 1.0
    if m.on_lattice:
        y, pitch = np.rint(y), m.pitch
    v = m.origin + y * pitch
    clipped = (v < m.limits[0]) | (v > m.limits[1])
    places, v = places[clipped], v[clipped]
    off = (values.reshape(-1)[places].astype(np.float64) - v) / pitch / m.lattice_step
    out.reshape(-1)[places] = np.clip(np.rint(off), -2147483647, 2147483647).astype(np.int32)


@kernel()
def _find_outliers(
    values: np.ndarray, rough: np.ndarray, hidden: np.ndarray, pitch: float, slack: float,
    jump: float, out: np.ndarray,
) -> None:  # fmt: skip
    for first in range(0, values.size, _TOGETHER):
        wanted, seen = values[first : first + _TOGETHER], rough[first : first + _TOGETHER]
        some = np.int32(0)
        for i in range(wanted.size):
            r = (np.float64(wanted[i]) - np.float64(seen[i])) / pitch
            some |= np.int32(1) if abs(r) > slack else np.int32(0)
        if some != 0:
            free, to = hidden[first : first + _TOGETHER], out[first : first + _TOGETHER]
            for i in range(wanted.size):
                r = (np.float64(wanted[i]) - np.float64(seen[i])) / pitch
                if abs(r) > slack and not free[i]:
                    to[i] = np.int32(min(max(np.rint(r / jump), -2147483647.0), 2147483647.0))

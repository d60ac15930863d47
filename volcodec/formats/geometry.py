"""Where the voxels lie, as attributes that all formats share.

    spacing        [z, y, x] (or [y, x]): the distance of voxels along each axis
    spacing_unit   of spacing and affine: "m", "cm", "mm", "um", "nm", "angstrom" or "inch"
    affine         4 x 4, from the voxel (x, y, z, 1) to the place (x, y, z, 1) in the space of
                   the file; where that is a patient's, x runs to the right, y to the front,
                   z to the head (RAS+, as nibabel has it)

Each may be absent. What a format has no place for stays in its own attributes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from volcodec.errors import FormatError
from volcodec.formats import attributes

METRES = {
    "m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "inch": 0.0254,
}  # fmt: skip
_SPELLINGS = {
    "µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometer": "um", "meter": "m",
    "millimeter": "mm", "centimeter": "cm", "nanometer": "nm", "å": "angstrom", "a": "angstrom",
    "angstroms": "angstrom", "in": "inch", r"\u00b5m": "um",
}  # fmt: skip


_FAR = 1e30  # what float32, in which headers count, can hold


@dataclass(frozen=True)
class Geometry:
    """The attributes of the module as values: () , "" and None where they are absent."""

    spacing: tuple[float, ...] = ()
    unit: str = ""
    affine: np.ndarray | None = None

    def attrs(self) -> dict[str, Any]:
        """Return the attributes; what can't be true is left out."""
        out: dict[str, Any] = {}
        if self.spacing and all(0 < length < _FAR for length in self.spacing):
            out["spacing"] = [float(length) for length in self.spacing]
        if self.affine is not None and _places(self.affine):
            out["affine"] = [[float(value) for value in row] for row in self.affine]
        if out and self.unit:
            out["spacing_unit"] = self.unit
        return out

    def lengths(self, dimensions: int) -> tuple[float, ...]:
        """Return the distance of voxels along each of (z, y, x) or (y, x), () if not known.

        Where there is no spacing the affine tells them.
        """
        if self.spacing or self.affine is None:
            return self.spacing
        steps = np.sqrt(np.sum(np.square(self.affine[:3, :dimensions]), axis=0))
        return tuple(float(step) for step in steps[::-1])

    def within(self, unit: str) -> Geometry:
        """Return the same lengths in `unit`; as they are where theirs is not known."""
        factor = METRES[self.unit] / METRES[unit] if self.unit else 1.0
        affine = self.affine
        if affine is not None:
            affine = np.diag([factor, factor, factor, 1.0]) @ affine
        return Geometry(tuple(length * factor for length in self.spacing), unit, affine)

    def differs(self, other: Geometry) -> bool:
        """Return whether the attributes of the two differ."""
        return self.attrs() != other.attrs()


def unit_named(name: Any) -> str:
    """Return the unit by the name that this module has for it, or ""."""
    text = str(name).strip().lower()
    text = _SPELLINGS.get(text, text)
    return text if text in METRES else ""


def geometry_of(attrs: dict[str, Any] | None, dimensions: int) -> Geometry:
    """Return what attributes say of where the voxels lie.

    `dimensions` is 2 or 3; values of another kind, as other makers may use the same names for,
    count as absent.
    """
    attrs = attrs or {}
    spacing = _numbers(attrs.get("spacing"), (dimensions,))
    affine = _numbers(attrs.get("affine"), (4, 4))
    found = Geometry(() if spacing is None else tuple(map(float, spacing)), affine=affine)
    unit = unit_named(attrs.get("spacing_unit", ""))
    said = found.attrs()
    return Geometry(
        found.spacing if "spacing" in said else (), unit, affine if "affine" in said else None
    )


def part_of(
    attrs: dict[str, Any], start: tuple[int, ...], level: int, dimensions: int
) -> dict[str, Any]:
    """Return the attributes of a part of a volume.

    `start` is its first voxel along (z, y, x), counted in those of `level`: voxel i of a level
    lies where voxel i * 2**level of the volume does.
    """
    if not any(start) and level == 0:
        return attrs
    whole = geometry_of(attrs, dimensions)
    step = 2.0**level
    part = replace(whole, spacing=tuple(length * step for length in whole.spacing))
    if whole.affine is not None:
        moved = np.diag([step, step, step if dimensions == 3 else 1.0, 1.0])
        moved[:3, 3] = [step * first for first in start[::-1]]
        part = replace(part, affine=whole.affine @ moved)
    return {**attrs, **part.attrs()}


def _places(affine: np.ndarray) -> bool:
    """Return whether a matrix gives every voxel a place of its own."""
    if not np.all(np.abs(affine) < _FAR) or not np.array_equal(affine[3], [0, 0, 0, 1]):
        return False
    return bool(np.linalg.matrix_rank(affine) == 4)


def _numbers(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        array = np.asarray(attributes.unpack(value), np.float64)
    except (FormatError, TypeError, ValueError):
        return None
    return array if array.shape == shape else None

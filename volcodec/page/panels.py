"""What a page shows side by side: volumes, reduced to its budget and coded, and their errors."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from volcodec.container import Info
from volcodec.formats.base import Box
from volcodec.formats.geometry import geometry_of
from volcodec.inspection import inspect
from volcodec.lazy import LazyVolume
from volcodec.page.coding import Scale, encode, scale_of, scale_of_errors
from volcodec.page.reduction import Factors, factors, largest_errors, means
from volcodec.tiles import coarse, preview_levels
from volcodec.view import Errors, Progress, compare, is_vc, open_volume, same_shape

BUDGET = 1 << 24  # voxels of all panels of a page
Path = str | os.PathLike[str]
Given = tuple[str | None, tuple[int, ...] | None, Any]


@dataclass(frozen=True)
class Panel:
    """One volume of the page: its codes (Z, Y, X) and what they mean."""

    title: str
    codes: np.ndarray
    scale: Scale
    error: bool = False


@dataclass(frozen=True)
class Contents:
    """Everything a page says of FILE and, where it was given, of OTHER.

    Attributes:
        shape, dtype: of the volume of FILE, (Z, Y, X) or (Y, X).
        info: what FILE says of itself, if it is a .vc file.
        errors: FILE beside OTHER, over all voxels.
        spacing: of the voxels of FILE along (z, y, x), in `unit` ("": not known).
        by: how many of them one of `panels` covers along (z, y, x).
        level: of the preview that is read, 0 for the volume itself.
        means: whether `panels` are means of what was read.
    """

    shape: tuple[int, ...]
    dtype: str
    info: Info | None
    errors: Errors | None
    spacing: tuple[float, float, float]
    unit: str
    by: Factors
    level: int
    means: bool
    panels: list[Panel]


class _Preview:
    """A level of the first frame of a .vc file, read box by box."""

    def __init__(self, file: Path, level: int) -> None:
        self._volume = LazyVolume(file, level=level)
        self._series = "frame" in self._volume.dims
        self.shape = self._volume.shape[1:] if self._series else self._volume.shape
        self.dtype = self._volume.dtype

    def read(self, box: Box) -> np.ndarray:
        return self._volume[(0, *box) if self._series else box]


def gather(
    file: Path,
    against: Path | None,
    given: Given,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> Contents:
    """Read the volume of `file`, of a series its first frame, and that of `against`.

    `given` is the dataset, shape and dtype that `open_series` takes. Without `against`, of a .vc
    file no more is decoded than the level that fits. Raises what `view.draw` raises.
    """
    info = inspect(file) if is_vc(file) else None
    level = 0
    errors = None
    with ExitStack() as stack:
        source: Any
        if info is not None and against is None:
            level = _level(info, budget)
            source = _Preview(file, level)
        else:
            source = open_volume(stack, file, given, progress)
        attrs = source.attrs if info is None else info.attrs
        shown = [(os.path.basename(file), source)]
        if against is not None:
            other = open_volume(stack, against, given, progress)
            same_shape((file, source), (against, other))
            errors = compare(source, other, progress)
            attrs = {**(inspect(against).attrs if is_vc(against) else other.attrs), **attrs}
            shown.insert(0, (os.path.basename(against), other))
            budget //= 3
        by = factors(source.shape, budget)
        panels = _volumes([(title, means(part, by, progress)) for title, part in shown], source, by)
        if against is not None:
            gaps = largest_errors(source, other, by)
            scale = scale_of_errors(gaps)
            panels.append(Panel("|error|", encode(gaps, scale), scale, error=True))
    spacing, unit = _spacing(attrs, source.shape)
    shape = source.shape if info is None else info.shape
    dtype = str(source.dtype) if info is None else info.dtype
    # an axis of one voxel has no coarser level
    z, y, x = (1 if n == 1 else f << level for n, f in zip((1, *shape)[-3:], by, strict=True))
    means_of = by != (1, 1, 1)
    return Contents(
        shape, dtype, info, errors, spacing, unit, (z, y, x), level, means_of, panels
    )  # fmt: skip


def _level(info: Info, budget: int) -> int:
    """Return the finest level of a file that fits, or the coarsest there is."""
    extents = (1, *info.shape)[-3:]
    z, y, x = extents
    most = preview_levels((z, y, x), info.tile, info.levels)
    fits = (
        level
        for level in range(most)
        if factors(tuple(coarse(n, level) for n in extents), budget) == (1, 1, 1)
    )
    return next(fits, most)


def _volumes(shown: list[tuple[str, np.ndarray]], source: Any, by: Factors) -> list[Panel]:
    """Return panels whose codes mean the same, so that equal colours are equal values."""
    whole = source.dtype.kind in "iu" and by == (1, 1, 1)
    scale = scale_of([values for _, values in shown], whole)
    return [Panel(title, encode(values, scale), scale) for title, values in shown]


def _spacing(
    attrs: dict[str, Any], shape: tuple[int, ...]
) -> tuple[tuple[float, float, float], str]:
    """Return the distances of voxels along (z, y, x) and their unit; 1 and "" if not known."""
    found = geometry_of(attrs, len(shape))
    lengths = found.lengths(len(shape))
    if not lengths:
        return (1.0, 1.0, 1.0), ""
    z, y, x = (min(lengths), *lengths)[-3:]
    return (z, y, x), found.unit

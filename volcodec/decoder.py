"""Decoding: whole volumes, regions, frames and previews, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from . import models, preview
from .container import Header, Reader
from .errors import FormatError, InputError, ModelError
from .models import Model
from .parallel import ordered_map, staged_map
from .tiledecoder import CONSTANT, FOLLOWS, GROUP, RAW, RESTORED, WHOLE, Begun, Frame, TileDecoder
from .tiles import (
    Box,
    Shape,
    box_shape,
    coarse,
    coarse_box,
    normal_region,
    overlap,
    preview_levels,
    whole_number,
)
from .transform.pyramid import MAX_LEVELS
from .values import Mapping

Progress = Callable[[int, int, str], None]
_WAITING = 1 << 24  # voxels up to which decoded tiles may wait in memory for those before them
_KEPT = 1 << 25  # voxels of a frame up to which the tiles of the last one are kept for the next


def frame_settings(header: Header) -> Frame:
    """What the tile coder has to know of a file."""
    dtype = np.dtype(header.dtype)
    mapping = Mapping(
        dtype, header.domain, header.lattice_origin, header.pitch, header.step, header.lattice_step,
        header.least if header.kept else -math.inf,
        header.least + header.value_range if header.capped else math.inf,
        header.background, header.snap,
    )  # fmt: skip
    whole = header.lattice_step.is_integer() and header.lattice_step < 1 << 31
    if header.domain != "real" and not whole:
        raise FormatError("the header's lattice step is not an integer below 2**31")
    with np.errstate(all="ignore"):
        if float(np.float64(header.background).astype(dtype)) != header.background:
            raise FormatError(f"the header's background is not a value of {dtype}")
    exact = header.support == "exact" and header.nudge != 0
    return Frame(
        mapping, header.levels, header.scales, exact, header.background, header.nudge,
        header.value_range,
    )  # fmt: skip


class VolumeDecoder:
    """Reads tiles of one file; the model is found when the first tile needs it."""

    def __init__(self, reader: Reader, model: Any = None, threads: int | None = None) -> None:
        self.reader, self.header = reader, reader.header
        self.settings = frame_settings(reader.header)
        self.threads = threads
        self._given = model
        self._coder: TileDecoder | None = None
        self._kept: dict[int, tuple[int, np.ndarray]] = {}  # by place: the tile decoded last
        h = self.header
        if h.levels > MAX_LEVELS or h.scales > max(1, min(h.levels, 4)):
            raise FormatError("the header names levels or scales that this version does not know")
        self.dtype = np.dtype(h.dtype)
        if h.swapped:
            self.dtype = self.dtype.newbyteorder()

    def coder(self) -> TileDecoder:
        """The tile coder with the file's model; ModelError where it is not at hand."""
        if self._coder is None:
            model: Model | None = None
            h = self.header
            if h.model_sha256:
                embedded = self.reader.model_bytes()
                if embedded is not None:
                    try:
                        model = models.read(embedded, h.model_name)
                    except ModelError as error:
                        raise FormatError(f"the embedded model is not valid: {error}") from None
                    if not model.named(h.model_sha256):
                        raise FormatError("the embedded model is not the one the header names")
                else:
                    model = models.find(h.model_sha256, h.model_name, self._given)
            self._coder = TileDecoder(model)
        return self._coder

    # ---------------------------------------------------------------- geometry

    def level_shape(self, level: int) -> Shape:
        """(Z, Y, X) of a preview; InputError where the file has no such level."""
        h = self.header
        most = preview_levels(h.shape, h.tile, h.levels)
        if not 0 <= level <= most:
            raise InputError(f"this file has levels 0 to {most}, not {level}")
        z, y, x = (coarse(n, level) for n in h.shape)
        return z, y, x

    def user_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``shape`` without the first axis where the volume is one slice."""
        return shape if self.header.ndim == 3 else shape[1:]

    def region(self, region: Any, level: int) -> tuple[slice, slice, slice]:
        """Three slices with plain bounds in the voxels of ``level``."""
        shape = self.level_shape(level)
        if region is None:
            return tuple(slice(0, n) for n in shape)  # type: ignore[return-value]
        found = normal_region(region, self.user_shape(shape))
        return (slice(0, 1), *found) if self.header.ndim == 2 else found  # type: ignore[return-value]

    def tiles_in(self, region: tuple[slice, ...], level: int) -> Iterator[tuple[int, Box]]:
        """Places in a frame's grid, and boxes at full resolution, of the tiles in ``region``."""
        for place, box in self._near(region, level):
            if overlap(coarse_box(box, level), region) is not None:
                yield place, box

    def _near(self, region: tuple[slice, ...], level: int) -> Iterator[tuple[int, Box]]:
        """Like enumerate(boxes(...)), only around ``region``: it may be a corner of many."""
        h = self.header
        grid = h.grid
        spans = []
        for r, n, t, g in zip(region, h.shape, h.tile, grid, strict=True):
            first = min((r.start << level) // t, g - 1)
            last = min(((max(r.stop, 1) << level) - 1) // t, g - 1)
            spans.append([(i, slice(i * t, min((i + 1) * t, n))) for i in range(first, last + 1)])
        for iz, sz in spans[0]:
            for iy, sy in spans[1]:
                for ix, sx in spans[2]:
                    yield (iz * grid[1] + iy) * grid[2] + ix, (sz, sy, sx)

    # ---------------------------------------------------------------- tiles

    def tile(self, index: int, shape: Shape, level: int) -> np.ndarray:
        """One tile of ``shape`` at ``level``, native dtype; FormatError where it is damaged."""
        return self._finish(index, self._begin(index, shape, level))

    def _begin(self, index: int, shape: Shape, level: int) -> Begun | np.ndarray:
        """The first half of that, which takes by far the longer; all of it where ``level`` > 0."""
        h = self.header
        entry = self.reader.index[index]
        coding = entry.coding
        last = h.streams
        whole = coding in (CONSTANT, RAW) or bool(entry.flags & WHOLE)
        if level > 0 and not whole:
            last = 2 + max(1, h.scales - level)
        streams = self.reader.streams(index, 0, last)
        coder = self.coder()
        try:
            before = self._before(index, shape) if entry.flags & FOLLOWS else None
            restored = bool(entry.flags & RESTORED)
            if level > 0:
                return preview.tile(
                    coder, coding, tuple(streams), shape, self.settings, level, whole, before,
                    restored,
                )  # fmt: skip
            return coder.begin(coding, tuple(streams), shape, self.settings, before, restored)
        except FormatError as error:
            raise FormatError(f"tile {index}: {error}") from None

    def _finish(self, index: int, begun: Begun | np.ndarray) -> np.ndarray:
        """The second half."""
        if isinstance(begun, np.ndarray):
            return begun
        h = self.header
        values = self.coder().finish(begun, self.settings)
        if h.frames > 1 and math.prod(h.shape) <= _KEPT:
            self._kept[index % math.prod(h.grid)] = index, values
        return values

    def _before(self, index: int, shape: Shape) -> np.ndarray:
        """The same tile in the frame before."""
        per_frame = math.prod(self.header.grid)
        if index // per_frame % GROUP == 0:
            raise FormatError("it follows another where the series begins anew")
        at, values = self._kept.get(index % per_frame, (-1, np.empty(0)))
        return values if at == index - per_frame else self.tile(index - per_frame, shape, 0)

    def fill_value(self) -> Any:
        """What a damaged voxel becomes: NaN, or the background of integers."""
        native = self.settings.mapping.dtype
        return native.type(np.nan if native.kind == "f" else self.header.background)

    def read(
        self,
        frame: int,
        region: tuple[slice, slice, slice],
        level: int,
        write: Callable[[Box, np.ndarray], None],
        on_damage: str = "raise",
        progress: Progress | None = None,
        in_turn: bool = True,
    ) -> list[int]:
        """Hand each tile's part of ``region`` to ``write``; returns the damaged tiles.

        In the order of the tiles, from the caller's thread; unless ``in_turn``, from the thread
        that decoded it, as soon as it has.
        """
        h = self.header
        per_frame = math.prod(h.grid)
        wanted = list(self.tiles_in(region, level))
        damaged: list[int] = []

        def begin(item: tuple[int, Box]) -> tuple[int, Box, Begun | np.ndarray]:
            place, box = item
            index, shape = frame * per_frame + place, box_shape(box)
            try:
                return index, box, self._begin(index, shape, level)
            except FormatError:
                if on_damage != "fill":
                    raise
                damaged.append(index)
                return index, box, np.full(box_shape(coarse_box(box, level)), self.fill_value())

        def finish(begun: tuple[int, Box, Begun | np.ndarray]) -> tuple[Box, np.ndarray] | None:
            index, box, half = begun
            both = overlap(coarse_box(box, level), region)
            assert both is not None
            inner, outer = both
            part = outer, self._finish(index, half)[inner]
            if in_turn:
                return part
            write(*part)
            return None

        if progress:
            progress(0, len(wanted), "decode")
        voxels = [math.prod(box_shape(box)) for _, box in wanted]
        found: Generator[tuple[Box, np.ndarray] | None, None, None]
        if sum(voxels) > _WAITING:
            found = ordered_map(lambda item: finish(begin(item)), wanted, self.threads)
        else:
            weights = self._weights(frame * per_frame, wanted, voxels)
            found = staged_map((begin, finish), wanted, self.threads, weights)
        with closing(found):  # no thread writes any more when this raises
            for done, part in enumerate(found, 1):
                if part is not None:
                    write(*part)
                if progress:
                    progress(done, len(wanted), "decode")
        return sorted(damaged)

    def _weights(self, first: int, wanted: list[tuple[int, Box]], voxels: list[int]) -> list[int]:
        """What tiles of a frame, whose first tile is given, take to decode, about: a voxel as much
        as a bit."""
        index = self.reader.index
        starts = [first + place for place, _ in wanted]
        sizes = [index.start(i + 1) - index.start(i) for i in starts]
        return [n + 8 * size for n, size in zip(voxels, sizes, strict=True)]

    def fill(
        self,
        out: np.ndarray,
        frames: list[int],
        region: tuple[slice, slice, slice],
        level: int,
        on_damage: str = "raise",
        progress: Progress | None = None,
    ) -> list[int]:
        """Decode ``region`` of ``frames`` to ``out`` (frame, z, y, x); returns damaged tiles."""
        damaged: list[int] = []
        for part, frame in zip(out, frames, strict=True):

            def write(box: Box, values: np.ndarray, part: np.ndarray = part) -> None:
                part[box] = values

            damaged += self.read(frame, region, level, write, on_damage, progress, False)
        return damaged

    def frame_of(self, frame: int | None) -> list[int]:
        """The frames asked for: one, or all."""
        if frame is None:
            return list(range(self.header.frames))
        frame = whole_number(frame, "frame")
        if not -self.header.frames <= frame < self.header.frames:
            raise InputError(f"this file has frames 0 to {self.header.frames - 1}, not {frame}")
        return [frame % self.header.frames]

"""Decoding into a tensor on a device: tiles of one shape and coding together, in large batches.

What is left to the processor: constants, raw tiles, those on an autoencoder's base and those that
follow a frame, previews; and the streams of masks, specials and corrections, whose bits depend on
each other one by one. Their results are brought to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from ..decoder import Progress, VolumeDecoder
from ..errors import FormatError
from ..parallel import ordered_map
from ..tiledecoder import (
    CLASSIC,
    CLASSICAL,
    FOLLOWS,
    LATTICE_CLASSIC,
    LATTICE_LEARNED,
    LEARNED,
    PREDICTED_CLASSIC,
    PREDICTED_LEARNED,
    RESTORED,
    TRELLIS_CLASSIC,
    TRELLIS_LEARNED,
    filter_step,
)
from ..tiles import Box, Shape, box_shape, coarse_box, overlap
from .bank import bank_on
from .launch import current
from .parts import HostPart, host_part, tiles_at_once, values_in_parts
from .restoring import restored
from .scales import BatchDecoder
from .values import plain

BATCHED = (
    LEARNED, CLASSIC, LATTICE_LEARNED, LATTICE_CLASSIC, PREDICTED_LEARNED, PREDICTED_CLASSIC,
    TRELLIS_LEARNED, TRELLIS_CLASSIC,
)  # fmt: skip
_Read = tuple[int, Box, HostPart]  # number of a tile in the file


class DeviceDecoder:
    """Decodes tiles of one file to tensors on ``device``."""

    def __init__(self, decoder: VolumeDecoder, device: torch.device) -> None:
        self.decoder, self.device = decoder, device
        self.header, self.settings = decoder.header, decoder.settings
        self._damaged: list[tuple[int, Box, FormatError]] = []
        self._pending: list[tuple[list[_Read], torch.Tensor]] = []

    def fill(
        self, out: torch.Tensor, frames: list[int], region: tuple[slice, slice, slice], level: int,
        on_damage: str = "raise", progress: Progress | None = None,
    ) -> list[int]:  # fmt: skip
        """As :meth:`.VolumeDecoder.fill`: ``out`` (frame, z, y, x) is on the device."""
        with current(self.device):
            return self._fill(out, frames, region, level, on_damage, progress)

    def _fill(
        self, out: torch.Tensor, frames: list[int], region: tuple[slice, slice, slice], level: int,
        on_damage: str, progress: Progress | None,
    ) -> list[int]:  # fmt: skip
        per_frame = int(np.prod(self.header.grid))
        wanted = [list(self.decoder.tiles_in(region, level)) for _ in frames]
        total, done = sum(map(len, wanted)), 0
        if progress:
            progress(0, total, "decode")
        damaged: list[int] = []
        for part, frame, tiles in zip(out, frames, wanted, strict=True):
            numbered = [(frame * per_frame + place, box) for place, box in tiles]

            def write(box: Box, values: torch.Tensor, part: torch.Tensor = part) -> None:
                both = overlap(coarse_box(box, level), region)
                assert both is not None
                inner, outer = both
                plain(part)[outer] = plain(values)[inner]

            for count in self._decode(numbered, level, write):
                done += count
                if progress:
                    progress(done, total, "decode")
            damaged += self._settle(level, write, on_damage)
        return damaged

    def _decode(
        self, tiles: list[tuple[int, Box]], level: int,
        write: Callable[[Box, torch.Tensor], None],
    ) -> Iterator[int]:  # fmt: skip
        """Decode tiles of a frame; yields how many more are done."""
        index = self.decoder.reader.index
        groups: dict[tuple[Shape, int], list[tuple[int, Box]]] = {}
        others: list[tuple[int, Box]] = []
        for number, box in tiles:
            entry = index[number]
            if level == 0 and entry.coding in BATCHED and not entry.flags & FOLLOWS:
                groups.setdefault((box_shape(box), entry.coding), []).append((number, box))
            else:
                others.append((number, box))
        for (shape, coding), group in groups.items():
            most = tiles_at_once(shape, self.device)
            for first in range(0, len(group), most):
                batch = group[first : first + most]
                self._batch(batch, shape, coding, write)
                yield len(batch)
        for _, box, values in self._by_host(others, level):
            if values is not None:
                write(box, torch.from_numpy(values).to(self.device))
            yield 1

    def _by_host(
        self, tiles: list[tuple[int, Box]], level: int
    ) -> Iterator[tuple[int, Box, np.ndarray | None]]:
        def work(tile: tuple[int, Box]) -> tuple[int, Box, np.ndarray | FormatError]:
            number, box = tile
            try:
                return number, box, self.decoder.tile(number, box_shape(box), level)
            except FormatError as error:
                return number, box, error

        for number, box, found in ordered_map(work, tiles, self.decoder.threads):
            if isinstance(found, FormatError):
                self._damaged.append((number, box, found))
                yield number, box, None
            else:
                yield number, box, found

    def _batch(
        self, tiles: list[tuple[int, Box]], shape: Shape, coding: int,
        write: Callable[[Box, torch.Tensor], None],
    ) -> None:  # fmt: skip
        """Decode tiles of one shape and coding, without waiting for the device."""
        f, h = self.settings, self.header
        coder = self.decoder.coder()
        read: list[_Read] = []
        for (number, box), found in zip(
            tiles,
            ordered_map(partial(self._read, coding), tiles, self.decoder.threads),
            strict=True,
        ):
            if isinstance(found, FormatError):
                self._damaged.append((number, box, found))
            else:
                read.append((number, box, found))
        try:
            name, unit, step = coder.bank(coding, f.mapping)
        except FormatError as error:
            self._damaged += [(number, box, _of(number, error)) for number, box, _ in read]
            return
        if not read:
            return
        used = coder.coders[name]
        parts = [part for *_, part in read]
        streams = zip(*(part.scales for part in parts), strict=True)
        batch = BatchDecoder(
            used, bank_on(used.bank, self.device), streams, len(parts), shape, h.levels, h.scales,
            coding in CLASSICAL, step, self.device,
        )  # fmt: skip
        integers, wrong = batch.decode()
        for i, fault in sorted(batch.faults.items()):
            number, box, _ = read[i]
            self._damaged.append((number, box, _of(number, FormatError(fault))))
        self._pending.append((read, wrong))
        size = filter_step(coding, f.mapping)
        integers = restored(integers, [part.restore for part in parts], size)
        for first, values in values_in_parts(integers, parts, unit, f):
            for (_, box, _), v in zip(read[first:], values, strict=False):
                write(box, v)

    def _read(self, coding: int, tile: tuple[int, Box]) -> HostPart | FormatError:
        """Read a tile's streams, and decode those that are not of scales."""
        number, box = tile
        try:
            streams = self.decoder.reader.streams(number, 0, self.header.streams)
        except FormatError as error:
            return error
        try:
            dtype = self.settings.mapping.dtype
            flags = self.decoder.reader.index[number].flags
            return host_part(streams, box_shape(box), dtype, coding, bool(flags & RESTORED))
        except FormatError as error:
            return _of(number, error)

    def _settle(
        self, level: int, write: Callable[[Box, torch.Tensor], None], on_damage: str
    ) -> list[int]:
        """Ask once how the streams of all batches ended; raise, or fill and return the damaged."""
        for tiles, wrong in self._pending:
            for i in torch.nonzero(wrong).flatten().tolist():
                number, box, _ = tiles[i]
                error = FormatError("a scale does not decode to its own end")
                self._damaged.append((number, box, _of(number, error)))
        self._pending.clear()
        found = {number: (box, error) for number, box, error in reversed(self._damaged)}
        self._damaged.clear()
        for _, (box, error) in sorted(found.items(), key=lambda item: item[0]):
            if on_damage != "fill":
                raise error
            shape = box_shape(coarse_box(box, level))
            values = np.full(shape, self.decoder.fill_value(), self.settings.mapping.dtype)
            write(box, torch.from_numpy(values).to(self.device))
        return sorted(found)


def _of(number: int, error: FormatError) -> FormatError:
    return FormatError(f"tile {number}: {error}")

"""A batch of tiles from their streams to integers: levels coarse to fine, as :mod:`..scales`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..entropy.contexts import FIXED, OWN, PARENT
from ..entropy.expectation import CLASSES
from ..entropy.rans import MAX_LANES
from ..entropy.trellis import CHAINS, chains_of
from ..scales import ScaleCoder, bands_of, level_kind, levels_of
from ..transform.layers import level_shapes
from ..transform.pyramid import BAND_ORDER, band_shape
from .bank import DeviceBank, DeviceTables
from .kernels import contexts, rans, transform
from .launch import Upload, blocks
from .streams import ScaleStreams

_POSITIONS = 128  # of a program that multiplies matrices
Shape = tuple[int, int, int]


@dataclass
class LevelArrays:
    """As :class:`..entropy.contexts.LevelState`, of all tiles: (tiles, 8, padded band)."""

    mag: torch.Tensor
    own: torch.Tensor
    faces: torch.Tensor

    @classmethod
    def empty(cls, count: int, band: Shape, device: torch.device) -> LevelArrays:
        """For bands of at most the extents ``band``."""
        full = (count, 8, *(n + 2 for n in band))
        return cls(*(torch.zeros(full, dtype=t, device=device)
                     for t in (torch.int16, torch.uint8, torch.uint8)))  # fmt: skip

    @property
    def rows(self) -> tuple[int, int, int]:
        """Extents on y and x, and size, of a padded band."""
        z, y, x = self.mag.shape[2:]
        return y, x, z * y * x


@dataclass
class _Scratch:
    """Of one class at a time; ``size`` positions of all tiles."""

    features: torch.Tensor
    expected: torch.Tensor
    told: torch.Tensor
    coded: torch.Tensor
    places: torch.Tensor
    kept: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    symbols: torch.Tensor

    @classmethod
    def of(cls, size: int, device: torch.device) -> _Scratch:
        bytes_ = [torch.empty(n * size, dtype=torch.uint8, device=device) for n in (24, 1)]
        words = [torch.empty(size, dtype=torch.int32, device=device) for _ in range(7)]
        return cls(bytes_[0], words[0], words[1], bytes_[1], *words[2:])


@dataclass(frozen=True)
class _Class:
    """One class of a band: its offset, extents and positions, in all tiles."""

    number: int
    offset: Shape
    n: int
    plane: tuple[int, int]
    total: int

    @property
    def geometry(self) -> tuple[int, ...]:
        """As most kernels take it."""
        return self.total, self.n, *self.plane, *self.offset


def _classes(size: Shape, count: int) -> list[_Class]:
    """The classes of a band that are not empty."""
    out = []
    for number, offset in enumerate(CLASSES):
        z, y, x = ((n - o + 1) // 2 for n, o in zip(size, offset, strict=True))
        if z > 0 and y > 0 and x > 0:
            out.append(_Class(number, offset, z * y * x, (y, x), count * z * y * x))
    return out


class BatchDecoder:
    """Decodes tiles of one shape and coding. ``streams``: of each tile, those of its scales.

    ``faults``, by place in the batch: heads that are not valid; such tiles decode to anything.
    """

    def __init__(
        self, coder: ScaleCoder, bank: DeviceBank, streams: list[list[bytes]], shape: Shape,
        levels: int, classical: bool, step: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.coder, self.bank, self.levels, self.device = coder, bank, levels, device
        self.classical, self.step, self.count = classical, step, len(streams)
        self.shapes = level_shapes(shape, levels)
        self.tables: DeviceTables = bank.classic if classical else bank.learned
        self.scales: list[tuple[list[int], ScaleStreams]] = []
        upload = Upload()
        for scale in range(len(streams[0])):
            wanted = levels_of(scale, len(streams[0]), levels)
            choices = bank.classic.count if classical else bank.choices
            lossy = not (coder.lossless or coder.predicted)
            found = ScaleStreams(
                [tile[scale] for tile in streams], len(wanted), choices, coder.bank.codebook,
                classical=classical, lossy=lossy, predicted=coder.predicted, upload=upload,
            )  # fmt: skip
            self.scales.append((wanted, found))
        upload.send(device)
        self.faults = {i: fault for _, s in self.scales for i, fault in s.faults.items()}
        self.low = torch.zeros((self.count, *self.shapes[levels]), dtype=torch.int32, device=device)

    def decode(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Integers (int32, (tiles, z, y, x)), and which tiles' streams are not valid (bool)."""
        wrong = torch.zeros(self.count, dtype=torch.bool, device=self.device)
        parent: LevelArrays | None = None
        for wanted, streams in self.scales:
            streams.receive()
            for i, level in enumerate(wanted):
                parent = self._level(level, i, streams, parent)
            if not streams.empty:
                wrong |= streams.wrong()
        return self.low, wrong

    def _level(
        self, level: int, i: int, streams: ScaleStreams, parent: LevelArrays | None
    ) -> LevelArrays:
        """Decode level ``level``, number ``i`` of its scale, and make ``low`` of it."""
        shapes, device = self.shapes, self.device
        arrays = LevelArrays.empty(self.count, shapes[level] if level else shapes[0], device)
        target = self.low
        if level:
            target = torch.zeros((self.count, *shapes[level - 1]), dtype=torch.int32, device=device)
            if self.coder.predicted:
                target[:, ::2, ::2, ::2] = self.low
        for band in bands_of(level, self.levels):
            size = shapes[self.levels] if band == 0 else band_shape(shapes[level - 1], band)
            if 0 in size:
                continue
            step = self.coder._step(shapes[0], level, band, self.step)
            hints, predicted = self._hints(level, band, size, step, target)
            if not streams.empty:
                self._band(level, i, band, size, step, streams, arrays, parent, hints, predicted,
                           target if band else self.low)  # fmt: skip
            elif self.coder.predicted and band:
                _part(target, band)[:] = predicted
            if band == 0 and level and self.coder.predicted:
                target[:, ::2, ::2, ::2] = self.low
        if level and not self.coder.predicted:
            target[:, ::2, ::2, ::2] = self.low
            self._synthesise(target)
        self.low = target
        return arrays

    def _hints(
        self, level: int, band: int, size: Shape, step: int, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hints of a band, and in the closed loop what it is predicted as."""
        new: dict[str, Any] = {"device": self.device}
        if band == 0:
            hints = torch.zeros((self.count, 2, *size), dtype=torch.int16, **new)
            return hints, torch.zeros((self.count, *size), dtype=torch.int32, **new)
        hints = torch.empty((self.count, 2, *size), dtype=torch.int16, **new)
        total = self.count * size[0] * size[1] * size[2]
        grid, block = blocks(total, self.device)
        inverse = torch.full((1,), 1.0 / step, dtype=torch.float64, **new)
        geometry = (inverse, total, size[1], size[2], size[0] * size[1] * size[2])
        axes = {"Z": band >> 2 & 1, "Y": band >> 1 & 1, "X": band & 1}
        if not self.coder.predicted:
            low = self.low
            transform.low_hints[grid](
                low, hints, *geometry, *low.shape[1:], step, **axes, BLOCK=block
            )
            return hints, low
        predicted = torch.empty((self.count, *size), dtype=torch.int32, **new)
        transform.predict[grid](
            target, predicted, hints, *geometry, *target.shape[1:], step, **axes, BLOCK=block
        )
        return hints, predicted

    def _band(
        self, level: int, i: int, band: int, size: Shape, step: int, streams: ScaleStreams,
        arrays: LevelArrays, parent: LevelArrays | None, hints: torch.Tensor,
        predicted: torch.Tensor, target: torch.Tensor,
    ) -> None:  # fmt: skip
        """Decode a band into ``target`` and ``arrays``, class by class."""
        on, device = streams.on, self.device
        expects = band in streams.expects[i]
        rows = arrays.rows
        extents = (size[1], size[2], size[0] * size[1] * size[2])
        classes = _classes(size, self.count)
        scratch = _Scratch.of(max(c.total for c in classes), device)
        q = arrays.mag
        if expects:
            q = torch.zeros((self.count, rows[2]), dtype=torch.int32, device=device)
        lossy = not (self.coder.lossless or self.coder.predicted)
        span = 2 if band else 1
        within = (*target.shape[2:], target[0].numel(), band >> 2 & 1, band >> 1 & 1, band & 1)
        for c in classes:
            self._features(c, band, arrays, parent, hints, q, on["weights"][i], extents, scratch,
                           expects)  # fmt: skip
            self._keys(c, level, band, parent is not None, on["maps"][i], on["skips"], scratch,
                       expects)  # fmt: skip
            self._symbols(c, streams, scratch, predicted, extents, step, expects)
            grid, block = blocks(c.total, device)
            contexts.scatter[grid](
                scratch.symbols, scratch.expected, predicted, on["backs"][i], arrays.mag, q, target,
                *c.geometry, band, *rows, *extents, step, *within, span,
                PREDICTED=self.coder.predicted, OFFSETS=lossy and band > 0 and step > 1,
                EXPECTS=expects, HALVED=self.coder.halved, BLOCK=block,
            )  # fmt: skip
        total = self.count * extents[2]
        grid, block = blocks(total, device)
        contexts.logarithms[grid](
            arrays.mag, self.bank.log, arrays.own, arrays.faces, total, band, *extents, *rows,
            BLOCK=block,
        )  # fmt: skip

    def _features(
        self, c: _Class, band: int, arrays: LevelArrays, parent: LevelArrays | None,
        hints: torch.Tensor, q: torch.Tensor, weights: torch.Tensor, extents: tuple[int, ...],
        scratch: _Scratch, expects: bool,
    ) -> None:  # fmt: skip
        up = parent if parent is not None else arrays
        siblings = _siblings(band)
        order = sum(sibling << 3 * k for k, sibling in enumerate(siblings))
        grid, block = blocks(c.total, self.device)
        contexts.features[grid](
            arrays.mag, arrays.own, arrays.faces, up.mag, up.own, up.faces, hints, q, weights,
            self.bank.log, scratch.features, scratch.expected,
            *c.geometry, band, c.number, order, len(siblings), *arrays.rows, *up.rows, *extents,
            PARENT=parent is not None, EXPECTS=expects, HALVED=self.coder.halved, BLOCK=block,
        )  # fmt: skip

    def _keys(
        self, c: _Class, level: int, band: int, has_parent: bool, maps: torch.Tensor,
        skips: torch.Tensor, scratch: _Scratch, expects: bool,
    ) -> None:  # fmt: skip
        bank = self.bank
        net = band * 8 + c.number
        siblings = len(_siblings(band))
        divisor = 4 * (2 * OWN + (PARENT if has_parent else 0) + 2 * siblings)
        h1, h2 = bank.widths
        grid, block = blocks(c.total, self.device, _POSITIONS)
        contexts.keys[grid](
            scratch.features, scratch.expected, maps, skips, bank.w1[net],
            bank.b1[net, level_kind(level)], bank.w2[net], bank.b2[net], bank.w3[net],
            bank.b3[net : net + 1], *bank.scales, scratch.told, scratch.coded,
            c.total, c.n, FIXED + 2 * siblings, divisor, bank.choices - 1,
            LEARNED=not self.classical, EXPECTS=expects, H1=h1, H2=h2, ROWS=contexts.FEATURE_ROWS,
            CODED=contexts.CODED, BLOCK=block,
        )  # fmt: skip

    def _symbols(
        self, c: _Class, streams: ScaleStreams, scratch: _Scratch, predicted: torch.Tensor,
        extents: tuple[int, ...], step: int, expects: bool,
    ) -> None:  # fmt: skip
        """Read the symbols of a class from the streams, in halves of a step of the trellis."""
        on, bank, tables = streams.on, self.bank, self.tables
        place = (on["words"], on["offsets"], on["sizes"], on["states"], on["positions"],
                 on["lanes"])  # fmt: skip
        second = 0 if self.classical else bank.choices
        coding = (tables.slots, tables.pairs, bank.signs)
        warp = {"LANES": MAX_LANES, "num_warps": 1}
        if self.coder.halved and chains_of(c.n) == CHAINS:
            turns = torch.zeros((self.count, CHAINS), dtype=torch.int32, device=self.device)
            rans.decode_chains[(self.count,)](
                *place, scratch.told, *coding, bank.next_turn, turns, scratch.symbols, c.n,
                tables.count, second, CODED=contexts.CODED, **warp,
            )  # fmt: skip
            return
        ends = torch.cumsum(scratch.coded[: c.total].view(self.count, c.n), 1, dtype=torch.int32)
        limited = streams.limited
        grid, block = blocks(c.total, self.device)
        contexts.compact[grid](
            scratch.told, ends, scratch.expected, predicted, on["limits"], scratch.places,
            scratch.kept, scratch.down, scratch.up, *c.geometry, *extents, step,
            LIMITED=limited, EXPECTS=expects, CODED=contexts.CODED, BLOCK=block,
        )  # fmt: skip
        scratch.symbols[: c.total].zero_()
        if self.coder.halved:
            rans.decode_chain[(self.count,)](
                *place, ends, scratch.places, scratch.kept, *coding, bank.zeros, bank.next_turn,
                scratch.symbols, c.n, tables.count, second, **warp,
            )  # fmt: skip
        else:
            rans.decode_runs[(self.count,)](
                *place, ends, scratch.places, scratch.kept, scratch.down, scratch.up,
                on["bounded"], *coding, scratch.symbols, c.n, tables.count, LIMITED=limited, **warp,
            )  # fmt: skip

    def _synthesise(self, level: torch.Tensor) -> None:
        """Lift a level (its bands in their places) to the low band of the next, in place."""
        count, nz, ny, nx = level.shape
        coefs = self.coder.bank.pyramid.coefs
        for outer, n, inner in (
            (count, nz, ny * nx),
            (count * nz, ny, nx),
            (count * nz * ny, nx, 1),
        ):
            for j in range(coefs.size - 1, -1, -1) if n > 1 else ():
                first = 1 - j % 2
                positions = (n - first + 1) // 2
                total = outer * positions * inner
                grid, block = blocks(total, self.device)
                transform.lift[grid](
                    level, total, n, inner, positions, first, int(coefs[j]), BLOCK=block
                )


def _siblings(band: int) -> tuple[int, ...]:
    """The bands before a band in its level, but the low band."""
    return BAND_ORDER[: BAND_ORDER.index(band)] if band else ()


def _part(level: torch.Tensor, band: int) -> torch.Tensor:
    """The strided view of a band inside a level of all tiles."""
    return level[:, (band >> 2) & 1 :: 2, (band >> 1) & 1 :: 2, band & 1 :: 2]

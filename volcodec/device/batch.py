"""Tiles of one shape, band by band and class by class: what decoding and encoding share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..entropy.contexts import FIXED, OWN, PARENT
from ..entropy.expectation import CLASSES
from ..scales import ScaleCoder, bands_of, level_kind
from ..transform.layers import level_shapes
from ..transform.pyramid import BAND_ORDER, band_shape
from .bank import DeviceBank, DeviceTables
from .kernels import contexts, transform
from .launch import blocks

_POSITIONS = 128  # of a program that multiplies matrices
_LISTED = 2048  # of one that lists those that are coded, at a time
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
class Scratch:
    """Of one class at a time; ``size`` positions of all tiles."""

    features: torch.Tensor
    expected: torch.Tensor
    told: torch.Tensor
    places: torch.Tensor
    kept: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    symbols: torch.Tensor

    @classmethod
    def of(cls, size: int, device: torch.device) -> Scratch:
        features = torch.empty(24 * size, dtype=torch.uint8, device=device)
        words = [torch.empty(size, dtype=torch.int32, device=device) for _ in range(7)]
        return cls(features, *words)


@dataclass(frozen=True)
class Class:
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


def classes_of(size: Shape, count: int) -> list[Class]:
    """The classes of a band that are not empty."""
    out = []
    for number, offset in enumerate(CLASSES):
        z, y, x = ((n - o + 1) // 2 for n, o in zip(size, offset, strict=True))
        if z > 0 and y > 0 and x > 0:
            out.append(Class(number, offset, z * y * x, (y, x), count * z * y * x))
    return out


@dataclass(frozen=True)
class Band:
    """One band of all tiles, while it is coded.

    ``arrays`` of its level, and of the ``parent`` level (None: it is the coarsest). ``target``
    takes what the symbols stand for; ``hints`` int16 (tiles, 2, band); ``predicted`` int32 (tiles,
    band), of the closed loop. Where it ``expects``, ``q`` (int32, (tiles, padded band)) keeps the
    quantised coefficients.
    """

    level: int
    number: int
    size: Shape
    step: int
    arrays: LevelArrays
    parent: LevelArrays | None
    target: torch.Tensor
    hints: torch.Tensor
    predicted: torch.Tensor
    expects: bool = False

    @property
    def extents(self) -> tuple[int, int, int]:
        """On y and x, and all of it."""
        z, y, x = self.size
        return y, x, z * y * x

    @cached_property
    def classes(self) -> list[Class]:
        """Those that are not empty."""
        return classes_of(self.size, len(self.target))

    @cached_property
    def scratch(self) -> Scratch:
        """Room for the largest class."""
        return Scratch.of(max(c.total for c in self.classes), self.target.device)

    @cached_property
    def q(self) -> torch.Tensor:
        """Zeros, as many as the band has padded; nothing of use where nothing is expected."""
        if not self.expects:
            return self.arrays.mag
        shape = (len(self.target), self.arrays.rows[2])
        return torch.zeros(shape, dtype=torch.int32, device=self.target.device)

    @property
    def siblings(self) -> tuple[int, ...]:
        """The bands before it in its level, but the low band."""
        return BAND_ORDER[: BAND_ORDER.index(self.number)] if self.number else ()

    @property
    def seen(self) -> tuple[torch.Tensor, ...]:
        """What contexts look at: arrays of its level, and of the parent level."""
        own = self.arrays
        up = self.parent if self.parent is not None else own
        return own.mag, own.own, own.faces, up.mag, up.own, up.faces

    @cached_property
    def geometry(self) -> tuple[int, ...]:
        """Its number, the siblings before it and how many, and the extents of what is seen."""
        up = self.parent if self.parent is not None else self.arrays
        order = sum(sibling << 3 * k for k, sibling in enumerate(self.siblings))
        rows = *self.arrays.rows, *up.rows, *self.extents
        return self.number, order, len(self.siblings), *rows

    @property
    def divisor(self) -> int:
        """Four times the features whose mean is a classical context."""
        parents = PARENT if self.parent is not None else 0
        return 4 * (2 * OWN + parents + 2 * len(self.siblings))

    @property
    def place(self) -> tuple[int, ...]:
        """Of its positions in the target: extents on y and x, and size, offset, and span."""
        z, y, x = self.target.shape[1:]
        return y, x, z * y * x, *self.offset, 2 if self.number else 1

    @property
    def offset(self) -> tuple[int, int, int]:
        """Where it begins in the level, on z, y and x."""
        return self.number >> 2 & 1, self.number >> 1 & 1, self.number & 1

    def part_of(self, level: torch.Tensor) -> torch.Tensor:
        """Its strided view inside a level of all tiles."""
        z, y, x = self.offset
        return level[:, z::2, y::2, x::2]


class Batch:
    """``count`` tiles of ``shape``, coded by one bank (or, of ``classical``, in its contexts).

    ``low`` (int32, (tiles, z, y, x)): what is known so far, at last the tiles' integers. ``kept``
    (int32, (tiles, 2)): what the closed loop's predictions are kept within (None: nothing).
    """

    def __init__(
        self, coder: ScaleCoder, bank: DeviceBank, count: int, shape: Shape, levels: int,
        classical: bool, step: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.coder, self.bank, self.levels, self.device = coder, bank, levels, device
        self.classical, self.step, self.count = classical, step, count
        self.shapes = level_shapes(shape, levels)
        self.tables: DeviceTables = bank.classic if classical else bank.learned
        self.low = self._zeros(torch.int32, *self.shapes[levels])
        self.kept: torch.Tensor | None = None
        self.parent: LevelArrays | None = None

    def _zeros(self, kind: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.zeros((self.count, *shape), dtype=kind, device=self.device)

    def walk(self, level: int, expects: frozenset[int] = frozenset()) -> Iterator[Band]:
        """The bands of a level, coarsest level first: each is coded before the next is asked for.

        After the last, ``low`` is the low band of the next level. ``expects``: bands of which
        something is expected.
        """
        closed = self.coder.predicted
        coarsest = self.shapes[self.levels]
        arrays = LevelArrays.empty(self.count, self.shapes[level], self.device)
        target = self.low
        if level:
            target = self._zeros(torch.int32, *self.shapes[level - 1])
            if closed:
                target[:, ::2, ::2, ::2] = self.low
        for number in bands_of(level, self.levels):
            size = coarsest if number == 0 else band_shape(self.shapes[level - 1], number)
            if 0 in size:
                continue
            step = self.coder.step_of(self.shapes[0], level, number, self.step)
            to = target if number else self.low
            hints, predicted = self._hints(number, size, step, target)
            yield Band(
                level, number, size, step, arrays, self.parent, to, hints, predicted,
                number in expects,
            )  # fmt: skip
            if number == 0 and level and closed:
                target[:, ::2, ::2, ::2] = self.low
        if level and not closed:
            target[:, ::2, ::2, ::2] = self.low
            self._synthesise(target)
        self.low, self.parent = target, arrays

    def _hints(
        self, number: int, size: Shape, step: int, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hints of a band, and in the closed loop what it is predicted as."""
        hints = self._zeros(torch.int16, 2, *size)
        if number == 0:
            return hints, self._zeros(torch.int32, *size)
        plane = size[1] * size[2]
        total = self.count * size[0] * plane
        grid, block = blocks(total, self.device)
        inverse = torch.full((1,), 1.0 / step, dtype=torch.float64, device=self.device)
        geometry: Any = (inverse, total, size[1], size[2], size[0] * plane)
        axes = {"Z": number >> 2 & 1, "Y": number >> 1 & 1, "X": number & 1}
        if not self.coder.predicted:
            extents = self.low.shape[1:]
            transform.low_hints[grid](
                self.low, hints, *geometry, *extents, step, **axes, BLOCK=block
            )
            return hints, self.low
        predicted = self._zeros(torch.int32, *size)
        transform.predict[grid](
            target, predicted, hints, *geometry, *target.shape[1:], step, **axes, BLOCK=block
        )
        if self.kept is not None:
            least, most = (edge.view(-1, 1, 1, 1) for edge in self.kept.unbind(1))
            predicted = predicted.clamp_(least, most)
        return hints, predicted

    def tell(
        self, band: Band, c: Class, maps: torch.Tensor, skips: torch.Tensor, weights: torch.Tensor
    ) -> None:  # fmt: skip
        """What is decoded so far tells of the symbols of a class; see the kernel ``keys``."""
        if self.classical and not band.expects:
            grid, block = blocks(c.total, self.device)
            contexts.classify[grid](
                *band.seen, band.hints, self.bank.log, maps, skips, band.scratch.told,
                *c.geometry, *band.geometry, band.divisor,
                PARENT=band.parent is not None, CODED=contexts.CODED, BLOCK=block,
            )  # fmt: skip
            return
        self.features(band, c, weights)
        self.keys(band, c, maps, skips)

    def features(self, band: Band, c: Class, weights: torch.Tensor) -> None:
        """Features of a class, and what is expected of it."""
        scratch = band.scratch
        number, *geometry = band.geometry
        grid, block = blocks(c.total, self.device)
        contexts.features[grid](
            *band.seen, band.hints, band.q, weights, self.bank.log, scratch.features,
            scratch.expected, *c.geometry, number, c.number, *geometry,
            PARENT=band.parent is not None, EXPECTS=band.expects, HALVED=self.coder.halved,
            BLOCK=block,
        )  # fmt: skip

    def keys(self, band: Band, c: Class, maps: torch.Tensor, skips: torch.Tensor) -> None:
        """What the features of a class say of its symbols; see the kernel."""
        bank, scratch = self.bank, band.scratch
        net = band.number * 8 + c.number
        h1, h2 = bank.widths
        grid, block = blocks(c.total, self.device, _POSITIONS)
        contexts.keys[grid](
            scratch.features, scratch.expected, maps, skips, bank.w1[net],
            bank.b1[net, level_kind(band.level)], bank.w2[net], bank.b2[net], bank.w3[net],
            bank.b3[net : net + 1], *bank.scales, scratch.told,
            c.total, c.n, FIXED + 2 * len(band.siblings), band.divisor, bank.choices - 1,
            0 if self.classical else bank.zero[net][level_kind(band.level)],
            LEARNED=not self.classical, EXPECTS=band.expects, H1=h1, H2=h2,
            ROWS=contexts.FEATURE_ROWS, CODED=contexts.CODED, BLOCK=block,
        )  # fmt: skip

    def scatter(self, band: Band, c: Class, symbols: torch.Tensor, backs: torch.Tensor) -> None:
        """Take the symbols (int32, (tiles, n)) of a class."""
        grid, block = blocks(c.total, self.device)
        contexts.scatter[grid](
            symbols, band.scratch.expected, band.predicted, backs, band.arrays.mag, band.q,
            band.target, *c.geometry, band.number, *band.arrays.rows, *band.extents, band.step,
            *band.place, PREDICTED=self.coder.predicted,
            OFFSETS=self.coder.has_offsets and band.number > 0 and band.step > 1,
            EXPECTS=band.expects, HALVED=self.coder.halved, BLOCK=block,
        )  # fmt: skip

    def close(self, band: Band) -> None:
        """Take the logarithms of a band that is complete."""
        total = self.count * band.extents[2]
        grid, block = blocks(total, self.device)
        arrays = band.arrays
        contexts.logarithms[grid](
            arrays.mag, self.bank.log, arrays.own, arrays.faces, total, band.number, *band.extents,
            *arrays.rows, BLOCK=block,
        )  # fmt: skip

    def list_coded(
        self, band: Band, c: Class, limits: torch.Tensor, limited: bool = False
    ) -> torch.Tensor:
        """List the positions that are coded in the scratch, whose symbols become zero; how many."""
        scratch = band.scratch
        counts = torch.empty(self.count, dtype=torch.int32, device=self.device)
        _, block = blocks(c.n, self.device, _LISTED)
        contexts.compact[(self.count,)](
            scratch.told, scratch.expected, band.predicted, limits, scratch.places, scratch.kept,
            scratch.down, scratch.up, scratch.symbols, counts, *c.geometry[1:], *band.extents,
            band.step, LIMITED=limited, EXPECTS=band.expects, CODED=contexts.CODED, BLOCK=block,
            num_warps=8,
        )  # fmt: skip
        return counts

    def _synthesise(self, level: torch.Tensor) -> None:
        """Lift a level (its bands in their places) to the low band of the next, in place."""
        count, nz, ny, nx = level.shape
        coefs = self.coder.bank.pyramid.coefs
        lines = ((count, nz, ny * nx), (count * nz, ny, nx), (count * nz * ny, nx, 1))
        for outer, n, inner in lines:
            for j in range(coefs.size - 1, -1, -1) if n > 1 else ():
                first = 1 - j % 2
                positions = (n - first + 1) // 2
                total = outer * positions * inner
                grid, block = blocks(total, self.device)
                transform.lift[grid](
                    level, total, n, inner, positions, first, int(coefs[j]), BLOCK=block
                )

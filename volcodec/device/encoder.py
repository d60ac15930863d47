"""Encoding of a tensor on a device as ``--fast`` encodes under a bound: to the same bytes.

Tiles of one shape go together: what they hold is looked at, they are coded by the closed loop in
the classical contexts, and what was written is decoded and measured, all on the device. The host
codes masks, specials and corrections, and tiles of another kind: constants, those whose integers
overflow, and those that zstd makes smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import correction, support
from ..container import Header
from ..encoder import VolumeEncoder
from ..errors import InputError
from ..models import Model
from ..parallel import finished, ordered_map
from ..request import Options
from ..survey import Part
from ..targets import Target
from ..tilecoder import QUICKEST, Settings, Tile, size_of
from ..tiledecoder import FILLED, PREDICTED_CLASSIC, WHOLE
from ..tiles import Shape, box_shape
from ..tilework import Likely, Progress
from . import looks
from .bank import bank_on
from .closed import ClosedEncoder
from .launch import beside, current
from .parts import HostPart, at_once, host_part, mapped, tiles_at_once, values_in_parts
from .scales import BatchDecoder
from .values import plain

_RAW_SHARE = 4  # the closed loop is kept unseen where it takes less than this part of the values


def suits(target: Target, options: Options) -> bool:
    """Whether a tensor is encoded on the device; else it is copied to the host."""
    return options.effort <= QUICKEST and target.kind in ("max_error", "rel_error", "lossless")


class TensorSource:
    """A tensor on a device as a source; boxes are read to the host."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.detach()
        self.shape = tuple(tensor.shape)
        name = str(tensor.dtype).removeprefix("torch.")
        try:
            self.dtype = np.dtype(name)
        except TypeError:
            raise InputError(
                f"volumes of dtype {name} are not supported: convert to float32"
            ) from None

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """A copy of ``box``."""
        part: np.ndarray = self.tensor[box].contiguous().cpu().numpy()
        return part


@dataclass
class _Coded:
    """A tile on its way: its place in the batch, and its streams, those of the host first."""

    index: int
    place: int
    flags: int
    streams: tuple[bytes, ...]

    def for_host(self) -> bool:
        """Whether it has streams that are left to the host."""
        specials, mask, *_, last = self.streams
        return bool(specials or mask or last)


@dataclass
class _Work:
    """What the host makes of a tile: streams of its scales (None: there was no room), outliers.

    ``size``: bytes that these scales take, nearly.
    """

    index: int
    place: int
    seen: looks.Seen
    scales: Sequence[bytes | None]
    fix: looks.Sparse
    size: int


def _is_busy(work: _Work) -> bool:
    """Whether the host has to code a part of a tile."""
    seen, fix = work.seen, work.fix
    return seen.special is not None or seen.masked is not None or fix.places.size > 0


class DeviceEncoder(VolumeEncoder):
    """Encodes one volume that lies on a device."""

    def __init__(
        self, volume: torch.Tensor, model: Model, target: Target, options: Options,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.source = TensorSource(volume)
        super().__init__([self.source], model, target, options, progress)
        self.device = volume.device
        self._uniform: dict[int, tuple[Shape, int]] = {}  # tiles of one value, and its bits

    def encode(self) -> tuple[Header, list[Tile]]:
        """Header and tiles of the volume."""
        with current(self.device):
            return super().encode()

    # ---------------------------------------------------------------- the look at the volume

    def _some(self, indices: Iterable[int]) -> Iterator[tuple[list[int], Shape]]:
        """Tiles of one shape, as many as are looked at together."""
        shapes: dict[Shape, list[int]] = {}
        for i in indices:
            shapes.setdefault(box_shape(self.per_frame[i]), []).append(i)
        for shape, members in shapes.items():
            many = at_once(shape)
            for first in range(0, len(members), many):
                yield members[first : first + many], shape

    def _stacked(self, indices: list[int]) -> torch.Tensor:
        """Values of tiles of one shape (tiles, z, y, x), unsigned integers as signed ones."""
        parts = [plain(self.source.tensor)[self._place(i)[1]] for i in indices]
        shape = box_shape(self.per_frame[indices[0]])
        return torch.stack(parts).view(len(parts), *shape)

    def _parts(self) -> list[Part]:
        found: dict[int, Part] = {}
        for indices, _ in self._some(range(self.count)):
            values = self._stacked(indices)
            parts = looks.parts_of(values, self.dtype, self.background)
            found.update(zip(indices, parts, strict=True))
            self._progress(len(found), self.count, "survey")
        return [found[i] for i in range(self.count)]

    def _distances(self, origin: float, pitch: float) -> Iterable[float]:
        for indices, _ in self._some(range(self.count)):
            yield from looks.distances(self._stacked(indices), self.dtype, origin, pitch)

    # ---------------------------------------------------------------- tiles

    def tiles(self, settings: Settings, stage: str = "encode") -> Iterator[Tile]:
        """All tiles in the order of the file."""
        found = {i: tile.result() for i, tile in self._taken(settings).items()}
        rest = [i for i in range(self.count) if i not in found]
        found.update(self._encoded(rest, settings, stage))
        return iter([found[i] for i in range(self.count)])

    def _sample(
        self, indices: Sequence[int], s: Settings, likely: Likely | None = None
    ) -> dict[int, Tile]:
        # all tiles at once take little longer than some
        together = self.count <= tiles_at_once(box_shape(self.per_frame[0]), self.device)
        tiles = self._encoded(list(range(self.count) if together else indices), s, "support")
        self._begun[s] = {i: finished(tile) for i, tile in tiles.items()}
        return {i: tiles[i] for i in indices}

    def _encoded(self, indices: list[int], s: Settings, stage: str) -> dict[int, Tile]:
        shapes: dict[Shape, list[int]] = {}
        for i in indices:
            shapes.setdefault(box_shape(self.per_frame[i]), []).append(i)
        done: dict[int, Tile] = {}
        self._progress(0, len(indices), stage)
        for shape, members in shapes.items():
            many = tiles_at_once(shape, self.device)
            for first in range(0, len(members), many):
                done.update(self._batch(members[first : first + many], shape, s))
                self._progress(len(done), len(indices), stage)
        others = [i for i in indices if i not in done]
        # tiles of one value are all coded alike
        alike: dict[int, Any] = {i: self._uniform.get(i, i) for i in others}
        one_of = {key: i for i, key in reversed(alike.items())}

        def by_host(i: int) -> Tile:
            return self.coder.encode(self._read(i), s)

        chosen = list(one_of.values())
        found = ordered_map(by_host, chosen, self.options.threads)
        coded = dict(zip(one_of, found, strict=True))
        done.update((i, coded[key]) for i, key in alike.items())
        self._progress(len(done), len(indices), stage)
        return done

    def _batch(self, indices: list[int], shape: Shape, s: Settings) -> dict[int, Tile]:
        """Those of some tiles that the device codes."""
        seen: list[looks.Seen] = []
        for first in range(0, len(indices), at_once(shape)):
            some = indices[first : first + at_once(shape)]
            seen += looks.see(self._stacked(some), s)
        for i, found in zip(indices, seen, strict=True):
            if found.uniform is not None:
                self._uniform[i] = (shape, found.uniform)
        fit = [i for i, found in enumerate(seen) if found.fits]
        if not fit:
            return {}
        hides = any(seen[i].hidden is not None for i in fit)
        hidden = torch.stack([seen[i].hidden_in(shape) for i in fit]) if hides else None
        coder = self.coder.coders["predicted"]
        unit, step = s.mapping.units("predicted")
        encoder = ClosedEncoder(
            coder, bank_on(coder.bank, self.device), torch.stack([seen[i].integers for i in fit]),
            hidden, s.levels, s.scales, step,
        )  # fmt: skip
        encoder.start()
        chosen = [indices[i] for i in fit]
        scales: list[list[bytes | None]] = []

        def told() -> Iterator[list[bytes]]:
            for streams in encoder.streams():
                scales.append(streams)
                yield [stream or b"" for stream in streams]

        # what is written already is decoded beside what is still written
        with beside(self.device):
            batch = BatchDecoder(
                coder, bank_on(coder.bank, self.device), told(), len(fit), shape, s.levels,
                s.scales, True, step, self.device,
            )  # fmt: skip
            integers, wrong = batch.decode()
        fixes = self._fixes(chosen, encoder.low, unit, hidden, s)
        work = [
            _Work(indices[i], place, seen[i], streams, fixes[place], encoder.sizes[place])
            for place, (i, streams) in enumerate(zip(fit, zip(*scales, strict=True), strict=True))
        ]
        del encoder.tiles
        written = mapped(self._with_host_part, work, _is_busy, self.options.threads)
        coded = [c for c in written if c is not None]
        return self._checked(coded, integers, wrong, shape, unit, s)

    def _with_host_part(self, work: _Work) -> _Coded | None:
        """Code what is left to the host; None where the tile is better left to it as a whole."""
        scales = [stream for stream in work.scales if stream is not None]
        if len(scales) < len(work.scales):
            return None
        seen, fix = work.seen, work.fix
        shape = box_shape(self.per_frame[work.index])
        specials = (
            support.encode_specials(seen.specials_in(shape)) if seen.special is not None else b""
        )
        mask = support.encode_mask(seen.mask_in(shape)) if seen.masked is not None else b""
        last = correction.encode(fix.dense(shape)) if fix.places.size else b""
        raw_size = int(np.prod(shape)) * self.dtype.itemsize
        if work.size + len(last) >= raw_size / _RAW_SHARE:
            values = self._read(work.index)
            if seen.hidden is not None:
                values = np.where(seen.hidden_array(shape), self.dtype.type(0), values)
            if size_of([self.coder.raw(values)]) < size_of([*scales, last]):
                return None
        flags = (FILLED if seen.hidden is not None else 0) | (WHOLE if seen.whole else 0)
        return _Coded(work.index, work.place, flags, (specials, mask, *scales, last))

    def _fixes(
        self, indices: list[int], decoded: torch.Tensor, unit: float,
        hidden: torch.Tensor | None, s: Settings,
    ) -> list[looks.Sparse]:  # fmt: skip
        """Outliers of tiles."""
        if s.mapping.domain == "bits":
            return [looks.Sparse.nothing() for _ in indices]
        found: list[looks.Sparse] = []
        many = at_once(box_shape(self.per_frame[indices[0]]))
        for first in range(0, len(indices), many):
            some = slice(first, first + many)
            values = self._stacked(indices[some])
            covered = None if hidden is None else hidden[some]
            found += looks.outliers(values, decoded[some], unit, covered, s)
        return found

    def _checked(
        self, coded: list[_Coded], integers: torch.Tensor, wrong: torch.Tensor, shape: Shape,
        unit: float, s: Settings,
    ) -> dict[int, Tile]:  # fmt: skip
        """Measure what was written, decoded to ``integers``: only tiles that keep the promise."""
        if not coded:
            return {}

        def part(c: _Coded) -> HostPart:
            return host_part(c.streams, shape, self.dtype, PREDICTED_CLASSIC, False)

        parts = mapped(part, coded, _Coded.for_host, self.options.threads)
        if len(coded) < len(integers):
            integers = integers[[c.place for c in coded]]
        out = {}
        bad = wrong.tolist()
        for first, decoded in values_in_parts(integers, parts, unit, s):
            some = coded[first : first + len(decoded)]
            measured = looks.measured(self._stacked([c.index for c in some]), plain(decoded), s)
            for c, found in zip(some, measured, strict=True):
                if found is not None and found[0] <= s.bound and not bad[c.place]:
                    out[c.index] = Tile(PREDICTED_CLASSIC, c.flags, c.streams, *found)
        return out

"""Tiles of integers to streams by the closed loop, in the classical contexts: what ``--fast`` does.

Nothing is expected of symbols, so a band is quantised at once; its classes are gone through for
their contexts. Tables are chosen on the host from histograms, then runs are encoded backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..entropy.classic import CONTEXTS, classic_tables
from ..entropy.rans import LOW, MAX_LANES
from ..entropy.runs import choose_tables
from ..entropy.streams import KEPT, lanes_log2
from ..entropy.tables import COST_BITS, TOKENS
from ..scales import KEPT_FROM, ScaleCoder, levels_of
from .bank import DeviceBank
from .batch import Band, Batch
from .kernels import encoding
from .launch import Download, Upload, blocks, warp

_NEVER = 1 << 20
_SLACK = 256  # words beyond what costs tell that a stream may need


@dataclass
class _Runs:
    """The classes of a band, a run each: symbols (int32) and contexts (uint8) in coding order.

    Both (tiles, positions); the classes begin, and the last ends, at the ``bounds`` (int32).
    """

    bounds: np.ndarray
    symbols: torch.Tensor
    keys: torch.Tensor

    @classmethod
    def of(cls, band: Band) -> _Runs:
        sizes = [c.n for c in band.classes]
        count, device = len(band.target), band.target.device
        both = (
            torch.empty((count, sum(sizes)), dtype=kind, device=device)
            for kind in (torch.int32, torch.uint8)
        )
        return cls(np.cumsum([0, *sizes]).astype(np.int32), *both)

    @property
    def n(self) -> int:
        """Positions of a tile."""
        return self.symbols.shape[1]


@dataclass
class _Level:
    """Of one level of one tile: tables (uint8 (contexts,)), what tokens cost, the least table."""

    mapping: np.ndarray
    units: int
    least: int


def _levels(hist: np.ndarray) -> list[_Level]:
    """One level of tiles, from histograms (int64 (tiles, contexts, tokens))."""
    tables = classic_tables()
    both = np.stack([hist, np.zeros_like(hist)])
    maps, units, least = choose_tables(both, tables, len(tables), True)
    return [_Level(*each) for each in zip(maps, units.tolist(), least.tolist(), strict=True)]


class _Plan:
    """How one scale of one tile is written. ``kept``: limits of predictions, if it states any."""

    def __init__(self, levels: list[_Level], kept: bytes) -> None:
        count = len(classic_tables())
        self.kept = kept
        self.empty = not kept and all(level.least == count for level in levels)
        self.skip, self.lanes_log2, self.bytes, self.room = _NEVER, 0, 0, 0
        self.maps: list[np.ndarray] = []
        if self.empty:
            return
        self.skip = min(level.least for level in levels)
        self.maps = [level.mapping for level in levels]
        payload = sum(level.units for level in levels) // (8 << COST_BITS)
        self.lanes_log2 = lanes_log2(payload, True)
        self.bytes = 2 + len(kept) + CONTEXTS * len(levels) + (4 << self.lanes_log2) + payload
        self.room = payload // 2 + payload // 16 + _SLACK

    def written(self, states: np.ndarray, words: np.ndarray) -> bytes:
        """The stream."""
        if self.empty:
            return b""
        flags = self.lanes_log2 | (KEPT if self.kept else 0)
        head = bytes([flags, self.skip]) + self.kept + b"".join(m.tobytes() for m in self.maps)
        first = states[: 1 << self.lanes_log2].astype("<u4").tobytes()
        return head + first + words.view(np.uint16).astype("<u2").tobytes()


@dataclass
class _Room:
    """For what is pushed of a band: which positions are coded (uint8), and lists (int32)."""

    coded: torch.Tensor
    listed: list[torch.Tensor]

    @classmethod
    def of(cls, size: int, device: torch.device) -> _Room:
        listed = [torch.empty(size, dtype=torch.int32, device=device) for _ in range(3)]
        return cls(torch.empty(size, dtype=torch.uint8, device=device), listed)


class ClosedEncoder(Batch):
    """Encodes ``tiles`` (int32, (tiles, z, y, x)) with the bank ``predicted``.

    ``hidden`` (bool, the same shape, or None): voxels that may decode to anything. Afterwards
    ``low`` is what the tiles decode to, ``sizes`` are the bytes that the streams take, nearly.
    """

    def __init__(
        self, coder: ScaleCoder, bank: DeviceBank, tiles: torch.Tensor,
        hidden: torch.Tensor | None, levels: int, scales: int, step: int,
    ) -> None:  # fmt: skip
        count, *shape = tiles.shape
        z, y, x = shape
        super().__init__(coder, bank, count, (z, y, x), levels, True, step, tiles.device)
        self.tiles, self.hidden = tiles, hidden
        self.scales = scales
        self._runs: dict[int, list[_Runs]] = {}
        self.sizes: list[int] = []
        self._plans: list[list[_Plan]] = []
        self._written: list[Download] = []
        self._limits = self._limited()

    def _limited(self) -> list[bytes]:
        """As a stream states them, the limits that each tile's predictions are kept within."""
        tiles, reach = self.tiles.flatten(1), torch.iinfo(torch.int32)
        lows = highs = tiles
        if self.hidden is not None:
            hidden = self.hidden.flatten(1)
            lows = tiles.masked_fill(hidden, reach.max)
            highs = tiles.masked_fill(hidden, reach.min)
        low, high = lows.amin(1, keepdim=True), highs.amax(1, keepdim=True)
        there = ((tiles == low) | (tiles == high)).sum(1, keepdim=True)
        kept = (low < high) & (there >= KEPT_FROM)
        if not kept.any():
            return [b""] * self.count
        limits = torch.cat(
            [torch.where(kept, low, reach.min), torch.where(kept, high, reach.max)], 1
        )
        self.kept = limits
        stated = limits.cpu().numpy().astype("<i4")
        told = kept.flatten().tolist()
        return [row.tobytes() if k else b"" for row, k in zip(stated, told, strict=True)]

    def start(self) -> None:
        """Launch all that there is to do: what the tiles decode to, and their streams."""
        levels = list(range(self.levels, 0, -1)) or [0]
        counted = []
        for level in levels:
            hist = torch.zeros(
                (self.count, CONTEXTS, TOKENS), dtype=torch.int32, device=self.device
            )
            self._level(level, hist)
            counted.append(Download(hist))
        by_level = {
            level: _levels(self._whole(hist.arrays()[0], level))
            for level, hist in zip(levels, counted, strict=True)
        }
        self._plans = [
            [
                _Plan([by_level[level][tile] for level in wanted], b"" if scale else limits)
                for tile, limits in enumerate(self._limits)
            ]
            for scale, wanted in enumerate(self._members())
        ]
        self.sizes = [sum(plan.bytes for plan in tile) for tile in zip(*self._plans, strict=True)]
        self._written = self._write()

    def streams(self) -> Iterator[list[bytes | None]]:
        """Of each scale those of the tiles, once they are there; None where room was short."""
        for scale, written in zip(self._plans, self._written, strict=True):
            words, states, positions = written.arrays()
            out: list[bytes | None] = []
            end = 0
            for plan, state, position in zip(scale, states, positions.tolist(), strict=True):
                first, end = end + position, end + plan.room
                out.append(plan.written(state, words[first:end]) if position >= 0 else None)
            yield out

    def _members(self) -> list[list[int]]:
        return [levels_of(i, self.scales, self.levels) for i in range(self.scales)]

    def _level(self, level: int, hist: torch.Tensor) -> None:
        """Quantise a level, keep its symbols and contexts, and count them."""
        runs = self._runs[level] = []
        hidden = (self.tiles if self.hidden is None else self.hidden).view(torch.uint8)
        for band in self.walk(level):
            stride = 1 << (self.levels if band.number == 0 else level - 1)
            made = _Runs.of(band)
            runs.append(made)
            for c, first in zip(band.classes, made.bounds.tolist(), strict=False):
                grid, block = blocks(c.total, self.device)
                encoding.examine[grid](
                    *band.seen, band.hints, self.bank.log, self.tiles, hidden, band.predicted,
                    band.target, made.symbols, made.keys, hist, *c.geometry, *band.geometry,
                    band.divisor, band.step, *band.place, CONTEXTS, TOKENS, made.n, first,
                    *self.tiles.shape[2:], self.tiles[0].numel(), stride,
                    PARENT=band.parent is not None, HIDES=self.hidden is not None, BLOCK=block,
                )  # fmt: skip
            self.close(band)

    def _whole(self, hist: np.ndarray, level: int) -> np.ndarray:
        """The histograms of a level with the zeros in context 0 (int64)."""
        out = hist.astype(np.int64)
        out[:, 0, 0] = sum(runs.n for runs in self._runs[level]) - out.sum(axis=(1, 2))
        return out

    def _write(self) -> list[Download]:
        """Launch what encodes the scales: their words, the states and positions of all tiles."""
        upload = Upload()
        keys = []
        for scale, wanted in zip(self._plans, self._members(), strict=True):
            tables = np.zeros((len(wanted), self.count, 256), np.uint8)
            for tile, plan in enumerate(scale):
                for k, mapping in enumerate(plan.maps):
                    tables[k, tile, : mapping.size] = mapping
            rooms = np.array([plan.room for plan in scale], np.int64)
            widths = np.array([1 << plan.lanes_log2 for plan in scale], np.int32)
            least = np.array([plan.skip for plan in scale], np.int32)
            fresh = np.full((self.count, MAX_LANES), LOW, np.int64)
            arrays = np.cumsum(rooms) - rooms, fresh, rooms.astype(np.int32), widths, tables, least
            keys.append([upload.add(array) for array in arrays])
        every = [runs for level in self._runs.values() for runs in level]
        bounds = {id(runs): upload.add(runs.bounds) for runs in every}
        upload.send(self.device)
        room = _Room.of(max(runs.symbols.numel() for runs in every), self.device)
        written = []
        for scale, given, wanted in zip(self._plans, keys, self._members(), strict=True):
            start, states, positions, width, maps, skips = (upload[key] for key in given)
            size = sum(plan.room for plan in scale)
            words = torch.empty(max(size, 1), dtype=torch.int16, device=self.device)
            if size:
                place = (words, start, states, positions, width)
                for k, level in reversed(list(enumerate(wanted))):
                    for runs in reversed(self._runs[level]):
                        self._push(runs, upload[bounds[id(runs)]], room, maps[k], skips, place)
            written.append(Download(words, states, positions))
        return written

    def _push(
        self, runs: _Runs, bounds: torch.Tensor, room: _Room, maps: torch.Tensor,
        skips: torch.Tensor, place: tuple[torch.Tensor, ...],
    ) -> None:  # fmt: skip
        """Encode the runs of a band of every tile."""
        n, total = runs.n, runs.symbols.numel()
        grid, block = blocks(total, self.device)
        encoding.mark[grid](runs.keys, maps, skips, room.coded, total, n, BLOCK=block)
        coded = room.coded[:total].view(self.count, n)
        ends = torch.cumsum(coded, 1, dtype=torch.int32)
        encoding.pushes[grid](
            runs.keys, maps, room.coded, ends, runs.symbols, self.tables.pairs, *room.listed,
            total, n, BLOCK=block,
        )  # fmt: skip
        encoding.encode_runs[(self.count,)](
            *place, ends, bounds, *room.listed, n, len(bounds) - 1, **warp(self.device),
        )  # fmt: skip

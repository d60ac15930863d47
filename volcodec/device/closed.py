"""Tiles of integers to streams by the closed loop, in the classical contexts: what ``--fast`` does.

Nothing is expected of symbols, so a band is quantised at once; its classes are gone through for
their contexts. Tables are chosen on the host from histograms, then runs are encoded backwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..entropy.classic import CONTEXTS, classic_tables
from ..entropy.rans import LOW, MAX_LANES
from ..entropy.streams import KEPT, choose_tables, lanes_log2
from ..entropy.tables import COST_BITS, TOKENS
from ..scales import KEPT_FROM, ScaleCoder, levels_of
from .bank import DeviceBank
from .batch import Band, Batch
from .kernels import encoding
from .launch import Upload, blocks, warp

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


def _levels(hist: np.ndarray) -> list[list[_Level]]:
    """Levels of tiles, from histograms (int64 (levels, tiles, contexts, tokens))."""
    tables = classic_tables()
    both = np.stack([hist, np.zeros_like(hist)])
    maps, units, least = choose_tables(both, tables, len(tables), True)
    return [
        [_Level(m, u, k) for m, u, k in zip(*level, strict=True)]
        for level in zip(maps, units.tolist(), least.tolist(), strict=True)
    ]


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

    def encode(self) -> list[list[bytes] | None]:
        """The streams of each tile's scales; None where a tile needed more room than foreseen."""
        levels = list(range(self.levels, 0, -1)) or [0]
        hist = torch.zeros(
            (len(levels), self.count, CONTEXTS, TOKENS), dtype=torch.int32, device=self.device
        )
        for of_level, level in zip(hist, levels, strict=True):
            self._level(level, of_level)
        by_level = dict(zip(levels, _levels(self._whole(hist, levels)), strict=True))
        plans = [
            [
                _Plan([by_level[level][tile] for level in wanted], b"" if scale else limits)
                for tile, limits in enumerate(self._limits)
            ]
            for scale, wanted in enumerate(self._members())
        ]
        self.sizes = [sum(plan.bytes for plan in tile) for tile in zip(*plans, strict=True)]
        return self._write(plans)

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

    def _whole(self, hist: torch.Tensor, levels: list[int]) -> np.ndarray:
        """The histograms on the host, with the zeros in context 0 (int64)."""
        out = hist.cpu().numpy().astype(np.int64)
        for found, level in zip(out, levels, strict=True):
            found[:, 0, 0] = sum(runs.n for runs in self._runs[level]) - found.sum(axis=(1, 2))
        return out

    def _write(self, plans: list[list[_Plan]]) -> list[list[bytes] | None]:
        upload = Upload()
        rooms = np.array([[plan.room for plan in scale] for scale in plans])
        starts = (np.cumsum(rooms) - rooms.reshape(-1)).reshape(rooms.shape).astype(np.int64)
        words = torch.empty(max(int(rooms.sum()), 1), dtype=torch.int16, device=self.device)
        keys = []
        for scale, begin, room, wanted in zip(plans, starts, rooms, self._members(), strict=True):
            tables = np.zeros((len(wanted), self.count, 256), np.uint8)
            for tile, plan in enumerate(scale):
                for k, mapping in enumerate(plan.maps):
                    tables[k, tile, : mapping.size] = mapping
            widths = np.array([1 << plan.lanes_log2 for plan in scale], np.int32)
            least = np.array([plan.skip for plan in scale], np.int32)
            fresh = np.full((self.count, MAX_LANES), LOW, np.int64)
            arrays = (begin, fresh, room.astype(np.int32), widths, tables, least)
            keys.append([upload.add(array) for array in arrays])
        every = [runs for level in self._runs.values() for runs in level]
        bounds = {id(runs): upload.add(runs.bounds) for runs in every}
        upload.send(self.device)
        room = _Room.of(max(runs.symbols.numel() for runs in every), self.device)
        ended = []
        for scale, given, wanted in zip(plans, keys, self._members(), strict=True):
            start, states, positions, width, maps, skips = (upload[key] for key in given)
            if not all(plan.empty for plan in scale):
                place = (words, start, states, positions, width)
                for k, level in reversed(list(enumerate(wanted))):
                    for runs in reversed(self._runs[level]):
                        self._push(runs, upload[bounds[id(runs)]], room, maps[k], skips, place)
            ended.append((states, positions))
        return self._gathered(plans, starts, rooms, words.cpu().numpy(), ended)

    def _gathered(
        self, plans: list[list[_Plan]], starts: np.ndarray, rooms: np.ndarray, words: np.ndarray,
        ended: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> list[list[bytes] | None]:  # fmt: skip
        """Streams by tile and scale from the words of all."""
        states = torch.stack([s for s, _ in ended]).cpu().numpy()
        positions = torch.stack([p for _, p in ended]).cpu().numpy()
        out: list[list[bytes] | None] = []
        for tile in range(self.count):
            if (positions[:, tile] < 0).any():
                out.append(None)
                continue
            streams = []
            for i, scale in enumerate(plans):
                first, end = starts[i, tile] + positions[i, tile], starts[i, tile] + rooms[i, tile]
                streams.append(scale[tile].written(states[i, tile], words[first:end]))
            out.append(streams)
        return out

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

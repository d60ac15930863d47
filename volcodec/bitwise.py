"""Closed loops that are coded bit by bit: a tile as one stream a scale, coarsest first, and back.

Scale 0 begins with the least and the largest value of the tile. What codes a level, and learns from
scale to scale, is a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .errors import FormatError
from .scales import levels_of, limits_of, scale_count
from .support import binary

_LIMITS = 8  # bytes of the least and the largest value
_ROOM = 4096  # bytes of a stream beyond those of the tile


@dataclass(frozen=True)
class Adapted:
    """A tile's streams, one a scale, and what they decode to."""

    streams: list[bytes]
    decoded: np.ndarray
    classical: bool = False

    @property
    def size(self) -> int:
        """Bytes of the streams."""
        return sum(map(len, self.streams))


class Run(Protocol):
    """One pass over a tile, coarsest level first; ``values`` (int32) of the level it is at, and
    those of the ``coarsest`` low band."""

    levels: int
    values: np.ndarray
    coarsest: np.ndarray

    def level(self, level: int, data: np.ndarray, state: np.ndarray) -> bool:
        """Code a level; False where the data end long before it does."""


Begin = Callable[[np.ndarray], Run]
"""Begins a run, given the least and the largest value (int64)."""


def encode(
    begin: Begin, tile: np.ndarray, levels: int, hidden: np.ndarray | None, scales: int
) -> Adapted | None:
    """Code ``tile`` (int32, (Z, Y, X)), of which ``hidden`` voxels may decode to anything; None
    where the streams were larger than the tile."""
    shown = limits_of(tile, hidden)
    limits = np.zeros(2, np.int64) if shown is None else shown
    run = begin(limits)
    scales = min(scales, scale_count(levels))
    streams = []
    for scale in range(scales):
        data = np.empty(tile.nbytes + _ROOM, np.uint8)
        state = binary.start(data, False)
        for level in levels_of(scale, scales, levels):
            run.level(level, data, state)
        stream = binary.close(data, state)
        if stream is None:
            return None
        streams.append(limits.astype("<i4").tobytes() + stream if scale == 0 else stream)
    return Adapted(streams, run.values)


def decode(begin: Begin, streams: list[bytes], levels: int, stop: int) -> np.ndarray:
    """What is left of the tile after ``stop`` levels (0: all of it).

    FormatError where a stream is too short or too long for what it codes.
    """
    if len(streams[0]) < _LIMITS:
        raise FormatError("a tile that is coded bit by bit does not begin with its limits")
    limits = np.frombuffer(streams[0][:_LIMITS], "<i4").astype(np.int64)
    if limits[0] > limits[1]:
        raise FormatError("the limits of a tile are the wrong way round")
    run = begin(limits)
    low = run.coarsest
    for scale, stream in enumerate(streams):
        wanted = levels_of(scale, len(streams), levels)
        if scale > 0 and wanted[0] <= stop:
            break
        data = stream if scale > 0 else stream[_LIMITS:]
        source = binary.readable(data)
        state = binary.start(source, True)
        for level in wanted:
            if not run.level(level, source, state):
                raise FormatError("a stream of bits ends before its tile does")
            if level == levels:
                low = run.coarsest
            if level > stop:
                low = run.values
        binary.check_end(data, state)
    return low

"""The streams of one scale of a batch of tiles: heads read on the host, words on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..entropy import rans
from ..entropy.expectation import unpack
from ..entropy.streams import StreamReader
from ..errors import FormatError
from .launch import Upload

_NEVER = 1 << 20  # a table from which symbols are coded that no symbol has
_MAPPING = 256


class ScaleStreams:
    """One stream a tile. ``faults``: what is wrong with those whose heads are not valid. ``kept``:
    by tile, the limits of the closed loop's predictions, which the streams of the first scale
    state and the others are given.

    On the device: ``words``, ``offsets``, ``sizes``, ``states``, ``positions``, ``lanes``,
    ``skips``, ``bounded``, ``limits``, and of each level ``maps``, ``backs`` and ``weights``; as
    the kernels take them.
    """

    def __init__(
        self, streams: Sequence[bytes], levels: int, tables: int, codebook: np.ndarray, *,
        classical: bool, lossy: bool, predicted: bool, upload: Upload,
        kept: list[np.ndarray | None] | None = None,
    ) -> None:  # fmt: skip
        self.count = len(streams)
        self.levels = levels
        self.faults: dict[int, str] = {}
        readers = []
        first = kept is None
        before = kept or [None] * len(streams)
        for i, data in enumerate(streams):
            arguments: Any = (
                levels, tables, codebook, classical, lossy, predicted, before[i], first
            )  # fmt: skip
            try:
                reader = StreamReader(data, *arguments)
            except FormatError as error:
                self.faults[i] = str(error)
                reader = StreamReader(b"", *arguments)
            readers.append(reader)
        self.kept = [r.kept for r in readers]
        self.empty = all(r.words is None for r in readers)
        self.limited = any(r.limits is not None for r in readers)
        # by level: the bands of which something is expected in any tile
        self.expects = [frozenset(b for r in readers for b in r.weights[i]) for i in range(levels)]
        self._upload = upload
        if not self.empty:
            self._keys = {name: upload.add(array) for name, array in self._arrays(readers).items()}

    def _arrays(self, readers: list[StreamReader]) -> dict[str, np.ndarray]:
        count, levels = self.count, self.levels
        nothing = np.zeros(1, np.uint16)
        words = [nothing if r.words is None or not r.words.size else r.words for r in readers]
        places = [self._upload.place(self._upload.add(w.view(np.int16))) for w in words]
        sizes = np.array([0 if r.words is None else r.words.size for r in readers], np.int32)
        states = np.full((count, rans.MAX_LANES), rans.LOW, np.int64)
        lanes, skips = np.ones(count, np.int32), np.full(count, _NEVER, np.int32)
        limits = np.zeros((count, 2), np.int64)
        maps = np.zeros((levels, count, _MAPPING), np.uint8)
        backs = np.zeros((levels, count, 3), np.int32)
        weights = np.zeros((levels, count, 8, 8, 8), np.int32)
        for i, r in enumerate(readers):
            if r.words is None:
                continue
            lanes[i], skips[i] = r.lanes, r.skip
            states[i, : r.lanes] = r.states[: r.lanes]
            if r.limits is not None:
                limits[i] = r.limits
            for k in range(levels):
                maps[k, i, : r.mapping[k].size] = r.mapping[k]
                backs[k, i] = r.back[k][0] - 128, r.back[k][1] - 128, r.share[k]
                for band, (_, given) in r.weights[k].items():
                    weights[k, i, band] = unpack(given)
        bounded = np.array([r.limits is not None for r in readers], np.int32)
        return {
            "offsets": np.array(places, np.int64) // 2, "sizes": sizes, "states": states,
            "positions": np.zeros(count, np.int32), "lanes": lanes, "skips": skips,
            "bounded": bounded, "limits": limits, "maps": maps, "backs": backs, "weights": weights,
        }  # fmt: skip

    def receive(self) -> None:
        """Take the arrays that the upload has brought; none where every stream is empty."""
        self.on: dict[str, torch.Tensor] = {}
        if not self.empty:
            self.on = {name: self._upload[key] for name, key in self._keys.items()}
            self.on["words"] = self._upload.whole(torch.int16)

    def wrong(self) -> torch.Tensor:
        """Which tiles' streams did not end where their symbols do, bool (count,)."""
        on = self.on
        off = (on["states"] != rans.LOW).any(1)
        return off | (on["positions"] != on["sizes"])

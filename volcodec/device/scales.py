"""A batch of tiles from their streams to integers: levels coarse to fine, as :mod:`..scales`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ..entropy.trellis import CHAINS, chains_of
from ..scales import ScaleCoder, levels_of
from .bank import DeviceBank
from .batch import Band, Batch, Class, Shape
from .kernels import contexts, rans
from .launch import Upload, warp
from .streams import ScaleStreams

_EVERYTHING = (-(2**31), 2**31 - 1)


class BatchDecoder(Batch):
    """Decodes ``count`` tiles of one shape and coding.

    ``streams``: of each scale, coarsest first, those of the tiles; each is asked for when the ones
    before are under way on the device. ``faults``, once all is decoded: by place in the batch,
    heads that are not valid; such tiles decode to anything.
    """

    def __init__(
        self, coder: ScaleCoder, bank: DeviceBank, streams: Iterable[Sequence[bytes]], count: int,
        shape: Shape, levels: int, scales: int, classical: bool, step: int, device: torch.device,
    ) -> None:  # fmt: skip
        super().__init__(coder, bank, count, shape, levels, classical, step, device)
        self.streams, self.scales = streams, scales
        self.faults: dict[int, str] = {}

    def decode(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Integers (int32, (tiles, z, y, x)), and which tiles' streams are not valid (bool)."""
        wrong = self._zeros(torch.bool)
        kept: list[np.ndarray | None] | None = None
        for scale, data in enumerate(self.streams):
            wanted = levels_of(scale, self.scales, self.levels)
            streams = self._read(data, len(wanted), kept)
            if kept is None:
                self._keep(streams.kept)
            kept = streams.kept
            for i, level in enumerate(wanted):
                for band in self.walk(level, streams.expects[i]):
                    if not streams.empty:
                        self._band(band, i, streams)
                    elif self.coder.predicted and band.number:
                        band.part_of(band.target)[:] = band.predicted
            if not streams.empty:
                wrong |= streams.wrong()
        return self.low, wrong

    def _read(
        self, data: Sequence[bytes], levels: int, kept: list[np.ndarray | None] | None
    ) -> ScaleStreams:
        """The streams of one scale, brought to the device."""
        choices = self.bank.classic.count if self.classical else self.bank.choices
        upload = Upload()
        found = ScaleStreams(
            data, levels, choices, self.coder.bank.codebook, classical=self.classical,
            lossy=self.coder.has_offsets, predicted=self.coder.predicted, upload=upload, kept=kept,
        )  # fmt: skip
        upload.send(self.device)
        found.receive()
        for i, fault in found.faults.items():
            self.faults.setdefault(i, fault)
        return found

    def _keep(self, kept: list[np.ndarray | None]) -> None:
        """Take what the closed loop's predictions are kept within, by tile."""
        if any(limits is not None for limits in kept):
            all_of_them = np.array([_EVERYTHING if k is None else k for k in kept], np.int32)
            self.kept = torch.from_numpy(all_of_them).to(self.device)

    def _band(self, band: Band, i: int, streams: ScaleStreams) -> None:
        """Decode a band of level number ``i`` of the scale, class by class."""
        on = streams.on
        for c in band.classes:
            self.tell(band, c, on["maps"][i], on["skips"], on["weights"][i])
            self._symbols(band, c, streams)
            self.scatter(band, c, band.scratch.symbols, on["backs"][i])
        self.close(band)

    def _symbols(self, band: Band, c: Class, streams: ScaleStreams) -> None:
        """Read the symbols of a class from the streams, of the trellis in halves of a step."""
        on, bank, tables, scratch = streams.on, self.bank, self.tables, band.scratch
        place = (
            on["words"], on["offsets"], on["sizes"], on["states"], on["positions"], on["lanes"]
        )  # fmt: skip
        second = 0 if self.classical else bank.choices
        coding = (tables.slots, tables.pairs, bank.signs)
        lanes = warp(self.device)
        if self.coder.halved and chains_of(c.n) == CHAINS:
            turns = self._zeros(torch.int32, CHAINS)
            rans.decode_chains[(self.count,)](
                *place, scratch.told, *coding, bank.next_turn, turns, scratch.symbols, c.n,
                tables.count, second, CODED=contexts.CODED, **lanes,
            )  # fmt: skip
            return
        counts = self.list_coded(band, c, on["limits"], streams.limited)
        if self.coder.halved:
            rans.decode_chain[(self.count,)](
                *place, counts, scratch.places, scratch.kept, *coding, bank.zeros, bank.next_turn,
                scratch.symbols, c.n, tables.count, second, **lanes,
            )  # fmt: skip
        else:
            rans.decode_runs[(self.count,)](
                *place, counts, scratch.places, scratch.kept, scratch.down, scratch.up,
                on["bounded"], *coding, scratch.symbols, c.n, tables.count,
                LIMITED=streams.limited, **lanes,
            )  # fmt: skip

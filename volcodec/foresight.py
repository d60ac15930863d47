"""What some tiles of a volume tell about all: the ways to code them, and whether masks pay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from . import targets
from .tilecoder import Settings, Tile, TileCoder
from .tilework import Tiles

SUPPORT_SHARE = 0.05  # what exact support may add to a file under "auto"
_SUPPORT_TILES = 8  # at most so many tiles decide under "auto"; two of a volume of up to 48
# of the size without them in drafts, masks where nothing is lost: clearly fewer bytes, hardly fewer
_CLEARLY, _HARDLY = 0.9, 0.97
_MANY = 4  # tiles from which some tell how all are coded
_WINS = 0.93  # of the size by another way: how the closed loop wins clearly
_CLOSED = ("predicted", "neural")
_MARGINS = {"lattice": 1.03}
_LOSES = 1.05  # times the size by learned contexts: classical ones that are not tried


class Foresight(Tiles):
    """The tiles of a volume, and the settings that they are best coded by.

    ``scales``: in how many streams a tile's levels lie.
    """

    scales: int

    def _common(self, s: Settings) -> Settings:
        """The settings with what all tiles of the file share besides."""
        return replace(s, scales=self.scales, spread=self.look().range)

    def settings(self, s: Settings) -> Settings:
        """The settings that the tiles say are best, exact support as the options wish."""
        s = self._common(s)
        masks = self._masks(s)
        self._run_ahead_of(s, masks)
        s = self._foreseen(s)
        exact = targets.with_support(s, self.background, self.look(), self.dtype)
        if masks is None:
            return self._sampled(exact, s)
        return exact if masks else s

    def _masks(self, s: Settings) -> bool | None:
        """Whether tiles have masks; None where only tiles themselves can tell."""
        wish = self.options.support
        if wish == "off" or s.mapping.domain == "bits":
            return False
        free = self._free(s)
        if self.look().background == 0:
            return not free
        if wish == "exact" and not free:
            return True
        if free and self.coder.quick:
            return False  # masks take time, and the support is kept without them
        if free and not self.coder.thorough:
            exact = targets.with_support(s, self.background, self.look(), self.dtype)
            work = partial(_drafts, settings=(exact, s))
            masked, bare = np.sum(list(self._each(work, self._spread(), "support")), axis=0)
            if masked <= _CLEARLY * bare or masked >= _HARDLY * bare:
                return bool(masked <= _CLEARLY * bare)
        return None

    def _spread(self) -> list[int]:
        """The tiles that tell whether masks pay."""
        parts = 2 * min(2 * max(1, self.count // 24), _SUPPORT_TILES)
        return sorted({self.count * i // parts for i in range(1, parts, 2)})

    def _sampled(self, exact: Settings, s: Settings) -> Settings:
        """Those of the two settings that tiles, coded by them, say are better."""
        free = self._free(s)  # a mask may still make it smaller

        def light(tiles: Iterable[Tile]) -> bool:
            total, masks = np.sum([(t.size, len(t.streams[1])) for t in tiles], axis=0)
            return not free and bool(masks <= 0.8 * SUPPORT_SHARE * (total - masks))

        def heavy(tiles: dict[int, Tile]) -> bool:
            overhead = 64 * len(tiles)
            total, without = (sum(t[i].size for i in tiles) for t in (with_masks, tiles))
            limit = 1.0 if free else 1 + SUPPORT_SHARE
            return total + overhead > limit * (without + overhead)

        chosen = self._spread()
        with_masks = self._sample(chosen, exact, lambda t: exact if light(t.values()) else s)
        if light(with_masks.values()):
            return exact
        return s if heavy(self._sample(chosen, s, lambda t: s if heavy(t) else exact)) else exact

    def _run_ahead_of(self, s: Settings, masks: bool | None) -> None:
        """While this thread finds out how tiles are coded, let others code some in the likely way.

        Where the lattice is kept, that is the closed loop: it has won for every volume so far.
        """
        if masks is not None and s.slack == 0 and len(self._tell(s)) == 1:
            if masks:
                s = targets.with_support(s, self.background, self.look(), self.dtype)
            self._run_ahead(replace(s, banks=("predicted",), both=False))

    def _free(self, s: Settings) -> bool:
        """Whether coding keeps the support by itself, without masks."""
        lattice = self.look().lattice
        return s.slack == 0 and lattice is not None and lattice[2] == 0

    def _foreseen(self, s: Settings) -> Settings:
        """The settings without the ways to code that have no prospect, or hardly one.

        Tiles that hold much tell. The transform may still win by far in others, so the closed loop
        has to win clearly against it; the reversible wavelet is nowhere far from it.
        """
        chosen = self._tell(s)
        found = [f for f in self._each(partial(TileCoder.contest, s=s), chosen, "look") if f]
        if not found or not all("predicted" in costs for costs in found):
            return s  # constant tiles tell nothing, nor does a model without the closed loop
        for costs in found:
            mine = min(costs[bank][0] for bank in _CLOSED if bank in costs)
            others = (
                cost * (1.0 if bank in _CLOSED else _MARGINS.get(bank, _WINS))
                for bank, (cost, _) in costs.items()
            )
            if mine > min(others) or math.isinf(mine):
                return s
        smaller, larger = np.sum([costs["predicted"] for costs in found], axis=0)
        return replace(s, banks=("predicted",), both=bool(larger < _LOSES * smaller))

    def _tell(self, s: Settings) -> list[int]:
        """The tiles that tell which ways have no prospect; none where that isn't asked."""
        tried = "predicted" in s.banks and len(s.banks) > 1 and math.isinf(s.worth)
        if not tried or self.coder.quick or self.coder.thorough or self.count < _MANY:
            return []
        parts = (1 if s.slack == 0 else 2) * max(1, self.count // 24)
        fullest = self._fullest()
        return sorted({fullest[self.count * i // (3 * parts)] for i in range(parts)})


def _drafts(
    coder: TileCoder, values: np.ndarray, settings: tuple[Settings, ...]
) -> tuple[float, ...]:
    return coder.drafts(values, *settings)

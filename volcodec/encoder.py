"""Encoding of a volume: settings for the target, sought where it is a quality or a size; header."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from . import search, targets
from .assembly import Totals, rounded_up
from .container import Header, TileEntry, packed_size
from .container.header import BRIEF_SIZE, IDENTITY_SIZE
from .errors import InputError
from .foresight import Foresight
from .models import Model
from .quantiser import expected_square
from .request import LEARNS, Options
from .scales import scale_count
from .search import Outcome
from .shipped import name_of
from .targets import Target
from .tilecoder import QUICKEST, Settings, Tile, TileCoder
from .tiledecoder import CLOSED
from .tiles import Source
from .tilework import Progress
from .transform.pyramid import FRACTION
from .values import Mapping, shortened

_SNAP_FROM = 0.99  # of the squared error: what snapping has to come down to
_COARSER = 1.6  # step of the transform over that of the closed loop at the same error, about
_TINY = 1500  # bytes a tile below which one scale holds all levels
_DRAFT = 5  # effort at which the step is sought for higher ones
_SPECTRUM_BITS, _SPECTRUM_TILES = 20, 64  # precision of the prediction, tiles that make it


class VolumeEncoder(Foresight):
    """Encodes the frames of one series (usually one) with a model."""

    def __init__(
        self,
        frames: list[Source],
        model: Model | None,
        target: Target,
        options: Options,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(frames, model, options, progress)
        self.target = target
        self._reach: int | None = None  # of snapping, in a series
        self.scales = scale_count(self.levels)
        if target.kind in ("ratio", "bits") and self._budget() < _TINY * self.count:
            self.scales = 1

    def _budget(self) -> int:
        """Bytes that the target leaves to the file, where it is one of size."""
        voxels = len(self.frames) * math.prod(self.shape)
        if self.target.kind == "ratio":
            return math.floor(voxels * self.dtype.itemsize / self.target.value)
        return math.floor(self.target.value * voxels / 8)

    def bound(self) -> float | None:
        """The absolute bound of the target, None where the target is another."""
        if self.target.kind == "max_error":
            return self.target.value
        if self.target.kind == "rel_error":
            return self.target.value * self.look().range
        return None

    def degenerate(self) -> bool:
        """Whether only lossless coding is defined: no range, or none that is finite."""
        spread = self.look().range
        return not (math.isfinite(spread) and spread > 0)

    def single_pass(self) -> Settings | None:
        """Settings where the target needs no search; None where it does."""
        sized = self.target.kind in ("ratio", "bits")
        if self.target.kind == "lossless" or (self.degenerate() and not sized):
            return self.settings(targets.lossless(self.look(), self.dtype, self.levels))
        bound = self.bound()
        if bound is None:
            return None
        return self.settings(targets.bounded(self.look(), self.dtype, self.levels, bound))

    def encode(self) -> tuple[Header, list[Tile]]:
        """Header and tiles of the whole volume, in memory."""
        self._gather()
        try:
            return self._encoded_whole()
        finally:
            self._settle()

    def _encoded_whole(self) -> tuple[Header, list[Tile]]:
        settings = self.single_pass()
        found = self._search() if settings is None else self._outcome(settings, "encode")
        header, tiles, used = found.result
        if self.scales > 1 and found.size < _TINY * self.count and self.small:
            # so few bytes that streams of their own for the finer scales cost more than they give
            packed = self._outcome(replace(used, scales=1), "pack")
            floor = self.target.value if self.target.kind == "psnr" else -math.inf
            if packed.size < found.size and packed.psnr >= min(floor, found.psnr):
                header, tiles, _ = packed.result
        return header, tiles

    def _search(self) -> Outcome:
        look, kind, value = self.look(), self.target.kind, self.target.value
        tries = 0
        exact: bool | None = None
        smooth: float | None = None
        coarse = 0  # bytes of the largest file that misses the PSNR
        kept: Outcome | None = None  # the smallest within its window
        at = 0.0  # step of the last try

        def stepped(step: float) -> Settings:
            return targets.stepped(look, self.dtype, self.levels, step, smooth)

        def attempt(step: float) -> Outcome:
            nonlocal tries, exact, coarse, kept, at
            tries += 1
            at = step
            s = stepped(step)
            if exact is None:
                s = self.settings(s)
                exact = s.exact
            else:
                s = self._common(s)
                if exact:
                    s = targets.with_support(s, self.background, look, self.dtype)
            out = self._outcome(s, f"encode, try {tries}")
            if kind == "psnr" and out.psnr < value:
                coarse = max(coarse, out.size)
            elif kind == "psnr" and out.psnr <= value + search.PSNR_WINDOW:
                kept = out if kept is None or out.size < kept.size else kept
            return out

        def lossless() -> Outcome:
            s = self.settings(targets.lossless(look, self.dtype, self.levels))
            return self._outcome(s, "encode, lossless")

        finest = look.range * 2.0**-29
        if kind == "psnr":
            predicted = self._prediction()

            def draft(step: float) -> Outcome:
                full, self.coder = self.coder, quicker
                try:
                    return attempt(step)
                finally:
                    self.coder = full

            def seek(start: float | None = None) -> Outcome | None:
                asked = value, look.range, finest, predicted, start
                if self.options.effort < LEARNS:
                    return search.search_psnr(attempt, *asked)
                return search.search_drafted(draft, attempt, *asked)

            quicker = TileCoder(self.model, _DRAFT)
            found = seek()
            if found is not None and found.psnr <= value + search.PSNR_WINDOW:
                if self.options.effort <= QUICKEST or not _is_closed(found):
                    return found
                # each way is best at a step of its own: the transform alone may be smaller
                smooth = targets.LAMBDA
                alone = seek(at * _COARSER)
                within = alone is not None and alone.psnr <= value + search.PSNR_WINDOW
                return alone if alone and within and alone.size < found.size else found
            # Tiles went from one way of coding to another, past the window.
            whole = lossless()
            jump, usual = at, stepped(at)
            lams: tuple[float, ...] = targets.SMOOTH
            if self.options.effort >= LEARNS:  # the transform alone was not sought for long
                lams = (targets.LAMBDA, *lams)
            for lam in lams:
                if coarse >= search.NEARLY * whole.size:
                    return whole
                smooth = lam
                if stepped(jump) == usual:
                    continue
                again = seek(jump)
                found = again if again and (not found or again.psnr < found.psnr) else found
                if found is not None and found.psnr <= value + search.PSNR_WINDOW:
                    break
            if kept is not None and (found is None or found.psnr > value + search.PSNR_WINDOW):
                found = kept
            return whole if found is None or whole.size <= found.size else found
        voxels = look.voxels
        raw = voxels * self.dtype.itemsize
        budget = self._budget()
        best: Outcome | None = None
        enough = False
        if not self.degenerate():
            start = look.range * 2.0 ** -min(max(8 * budget / voxels, 1), 16)
            best, enough = search.search_size(attempt, max(budget, 1), start, finest)
        if not enough:
            whole = lossless()
            if whole.size <= budget:
                best = whole
        if best is None or best.size > budget:
            least = whole.size if self.degenerate() else attempt(look.range * 64).size
            least += 8  # the number that names the target may be longer
            raise InputError(
                f"{kind} {value:g} can't be had: the smallest file has about {least} "
                f"bytes, that is ratio {math.floor(raw / least * 1000) / 1000:g} "
                f"or {math.ceil(8e3 * least / voxels) / 1e3:g} bits a voxel"
            )
        return best

    def _prediction(self) -> search.Prediction:
        """PSNR as a function of the log step, from how the coefficients are spread."""
        spread = self.look().range
        unit = spread * 2.0**-_SPECTRUM_BITS
        coder = self.coder.quantising
        if coder is None or unit < np.finfo(np.float64).tiny:
            return search.plain_prediction(spread)
        middle = self.look().low / 2 + self.look().high / 2
        mapping = Mapping(self.dtype, "real", middle, 0.0, unit * (1 << FRACTION), 0.0)
        chosen = range(0, self.count, -(-self.count // _SPECTRUM_TILES))
        work = partial(TileCoder.spectrum, mapping=mapping, unit=unit, levels=self.levels)
        found = [(part, size) for part, size in self._each(work, chosen, "look") if size]
        if not found:
            return search.plain_prediction(spread)
        spectrum = sum(part for part, _ in found)
        voxels = sum(size for _, size in found)

        def predicted(x: float) -> float:
            step = math.exp(x) / mapping.step
            square = expected_square(spectrum, step, targets.LAMBDA, coder.halved) / voxels
            return -10 * math.log10(max(square, 1e-300)) + 20 * math.log10(spread / mapping.step)

        return predicted

    def _keeps_support(self, s: Settings) -> bool:
        """Whether exact support was wished and lossless coding gives it without a mask."""
        lattice = self.look().lattice
        lossless = s.mapping.domain == "bits" or (
            s.slack == 0 and lattice is not None and lattice[2] == 0
        )
        return lossless and self.options.support != "off"

    def _outcome(self, s: Settings, stage: str) -> Outcome:
        if s.reaches and len(self.frames) > 1:
            # chosen for the first frame, kept for all: those that follow need what is decoded
            if self._reach is None:
                self._reach = _best_reach(self._sample(range(len(self.per_frame)), s).values())
            s = _snapping(s, self._reach)
        tiles = list(self.tiles(s, stage))
        if s.reaches:
            best = _best_reach(tiles)
            tiles, s = [t.at(best) for t in tiles], _snapping(s, best)
        header = self.header(s, tiles)
        entries = [TileEntry.of(t.coding, t.flags, t.streams) for t in tiles]
        psnr = math.inf
        if header.relative_mse > 0:
            psnr = -10 * math.log10(header.relative_mse)
        return Outcome(packed_size(header, entries), psnr, (header, tiles, s))

    def header(self, s: Settings, tiles: Iterable[Tile | Totals]) -> Header:
        """The header of the file; ``tiles`` (or their totals) give what was achieved."""
        total = Totals()
        for t in tiles:
            total.add(t)
        m = s.mapping
        look = self.look()
        model = self.model if total.needs_model else None
        embeds = self.options.embed_model
        brief = model is not None and not embeds and bool(name_of(model.identity))
        size = BRIEF_SIZE if brief else IDENTITY_SIZE
        named = self.options.support != "off" or m.kept or m.snap > 0
        attrs = json.dumps(self.options.attrs, separators=(",", ":")) if self.options.attrs else ""
        bound = self.bound()
        if bound is None or s.mapping.domain == "bits" or self.target.kind == "lossless":
            bound = 0.0 if s.bound == 0 else math.inf
        return Header(
            dtype=self.dtype.name,
            shape=self.shape,
            tile=self.tile,
            scales=s.scales,
            levels=self.levels,
            frames=len(self.frames),
            ndim=self.ndim,
            swapped=bool(self.swapped),
            dataset=self.options.dataset,
            target=self.target.kind,
            target_value=self.target.value,
            bound=bound,
            max_error=rounded_up(total.max_error, bound),
            relative_mse=shortened(total.square_error / total.finite) if total.finite else 0.0,
            value_range=look.range,
            support="exact" if s.exact or self._keeps_support(s) else "off",
            background=self.background if named else 0.0,
            nudge=s.nudge if s.exact else 0.0,
            domain=m.domain,
            pitch=m.pitch,
            kept=m.kept,
            capped=math.isfinite(m.most),
            least=m.least if m.kept else 0.0,
            snap=m.snap,
            step=m.step,
            lattice_step=m.lattice_step if total.closed or math.isinf(s.worth) else 0.0,
            lattice_origin=m.origin,
            attrs=attrs.encode(),
            model_name=model.name if model and not brief else "",
            model_sha256=model.identity[:size] if model else b"",
            model_length=len(model.data) if model and embeds else 0,
        )  # fmt: skip


def _is_closed(found: Outcome) -> bool:
    """Whether the closed loop won against the transform in any tile."""
    _, tiles, s = found.result
    return math.isfinite(s.worth) and any(t.coding in CLOSED for t in tiles)


def _best_reach(tiles: Iterable[Tile]) -> int:
    """The reach of snapping that leaves the least squared error; 0 where it matters little."""
    squares = np.sum([[square for _, square in t.snapped] for t in tiles], axis=0)
    best = int(np.argmin(squares))
    return best if squares[best] <= _SNAP_FROM * squares[0] else 0


def _snapping(s: Settings, reach: int) -> Settings:
    """The settings with that reach chosen."""
    return replace(s, mapping=replace(s.mapping, snap=s.reaches[reach]), reaches=())

"""Encoding of a volume: survey, settings for the target, tiles in parallel, header."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from . import search, targets
from .assembly import Totals, rounded_up
from .container import Header, TileEntry, packed_size
from .container.header import BRIEF_SIZE, IDENTITY_SIZE
from .errors import InputError
from .models import Model
from .parallel import Pending, ordered, ordered_map
from .quantiser import expected_square
from .request import LEARNS, Options, check_dtype, check_shape, usual_tile
from .scales import scale_count
from .search import Outcome
from .shipped import name_of
from .survey import Part, Survey, distance, survey
from .survey import look as look_at
from .targets import Target
from .tilecoder import QUICKEST, Settings, Tile, TileCoder
from .tiledecoder import CLOSED, GROUP
from .tiles import Source, WorkingSource, boxes, tile_shape
from .tiletask import TileTask, TileWork, tile_values
from .transform.pyramid import FRACTION, default_levels
from .values import Mapping, shortened

Progress = Callable[[int, int, str], None]
SUPPORT_SHARE = 0.05  # what exact support may add to a file under "auto"
_SUPPORT_TILES = 8  # at most so many tiles decide under "auto"; two of a volume of up to 48
# of the size without them in drafts, masks where nothing is lost: clearly fewer bytes, hardly fewer
_CLEARLY, _HARDLY = 0.9, 0.97
_MANY = 4  # tiles from which some tell how all are coded
_WINS = 0.93  # of the size by another way: how the closed loop wins clearly
_MARGINS = {"predicted": 1.0, "lattice": 1.03}
_LOSES = 1.05  # times the size by learned contexts: classical ones that are not tried
_SNAP_FROM = 0.99  # of the squared error: what snapping has to come down to
_COARSER = 1.6  # step of the transform over that of the closed loop at the same error, about
_TINY = 1500  # bytes a tile below which one scale holds all levels
_IN_MEMORY = 1 << 25  # voxels up to which a volume is coded in memory
_DRAFT = 5  # effort at which the step is sought for higher ones
_SPECTRUM_BITS, _SPECTRUM_TILES = 20, 64  # precision of the prediction, tiles that make it


class VolumeEncoder:
    """Encodes the frames of one series (usually one) with a model."""

    def __init__(
        self,
        frames: list[Source],
        model: Model | None,
        target: Target,
        options: Options,
        progress: Progress | None = None,
    ) -> None:
        first = frames[0]
        self.shape = check_shape(tuple(first.shape))
        self.ndim = len(first.shape)
        self.dtype = check_dtype(np.dtype(first.dtype))
        self.swapped = np.dtype(first.dtype).newbyteorder("S") == self.dtype != first.dtype
        for other in frames[1:]:
            if tuple(other.shape) != tuple(first.shape) or other.dtype != first.dtype:
                raise InputError(
                    "the frames of a series have one shape and dtype; "
                    f"{other.dtype} {tuple(other.shape)} follows {first.dtype} {first.shape}"
                )
        if options.support not in ("auto", "exact", "off"):
            raise InputError(f"support is auto, exact or off, not {options.support!r}")
        self.frames, self.model, self.target, self.options = frames, model, target, options
        self.coder = TileCoder(model, options.effort)
        self.tile = tile_shape(self.shape, options.tile, usual_tile(options.effort))
        self.levels = default_levels(self.tile)
        self.per_frame = list(boxes(self.shape, self.tile))
        self.count = len(frames) * len(self.per_frame)
        self.background = self._background()
        self._progress = progress or (lambda done, total, stage: None)
        self._look: Survey | None = None
        self._reach: int | None = None  # of snapping, in a series
        self._ready: tuple[Settings, dict[int, Tile]] | None = None
        self.scales = scale_count(self.levels)
        if target.kind in ("ratio", "bits") and self._budget() < _TINY * self.count:
            self.scales = 1

    def _background(self) -> float:
        """The background as a value of the dtype: floats are rounded to it."""
        value = np.float64(self.options.background)
        with np.errstate(all="ignore"):
            cast = np.float64(value.astype(self.dtype))
        rounded = self.dtype.kind == "f" or cast == value
        if not (np.isfinite(value) and np.isfinite(cast) and rounded):
            raise InputError(f"the background {value:g} is not a finite value of {self.dtype}")
        return float(cast)

    def _budget(self) -> int:
        """Bytes that the target leaves to the file, where it is one of size."""
        voxels = len(self.frames) * math.prod(self.shape)
        if self.target.kind == "ratio":
            return math.floor(voxels * self.dtype.itemsize / self.target.value)
        return math.floor(self.target.value * voxels / 8)

    # ---------------------------------------------------------------- tiles

    def _place(self, index: int) -> tuple[int, tuple[slice, ...]]:
        """Where a tile lies: the number of its frame, and the box in it."""
        frame, place = divmod(index, len(self.per_frame))
        return frame, self.per_frame[place][3 - self.ndim :]

    def _read(self, index: int) -> np.ndarray:
        """The values of a tile: native dtype, three axes, C order."""
        frame, box = self._place(index)
        return tile_values(self.frames[frame].read(box), self.dtype)

    def _map(self, work: Callable[[int], Any], indices: Iterable[int], stage: str) -> Iterator[Any]:
        indices = list(indices)
        weights: list[int] | None = None
        if self._look is not None and self.small and len(self.frames) == 1:
            weights = [self._look.busy[i] for i in indices]
        results = ordered_map(work, indices, self.options.threads, weights)
        return self._told(results, len(indices), stage)

    def _told(self, results: Iterator[Any], count: int, stage: str) -> Iterator[Any]:
        """``results``, of which there are ``count``, and progress with each."""
        self._progress(0, count, stage)
        for done, out in enumerate(results, 1):
            self._progress(done, count, stage)
            yield out

    def _each(
        self,
        work: TileWork[Any],
        indices: Sequence[int],
        stage: str,
        ready: dict[int, Any] | None = None,
    ) -> Iterator[Any]:
        """``work`` on tiles, in order, but for those ``ready``: here, or where the voxels are."""
        given = ready or {}
        sources = [frame for frame in self.frames if isinstance(frame, WorkingSource)]
        if len(sources) < len(self.frames):

            def here(i: int) -> Any:
                return given.pop(i) if i in given else work(self.coder, self._read(i))

            return self._map(here, indices, stage)
        task = TileTask.of(work, self.dtype, self.model, self.coder.effort)

        def submit(i: int) -> Pending[Any]:
            if i in given:
                done: Future[Any] = Future()
                done.set_result(given.pop(i))
                return done
            frame, box = self._place(i)
            return sources[frame].submit(task, box)

        return self._told(ordered(submit, indices, sources[0].ahead()), len(indices), stage)

    def look(self) -> Survey:
        """The survey of all frames (made once)."""
        if self._look is None:
            # an autoencoder was trained on values about the middle
            centred = self.model is not None and self.model.unet is not None
            parts = self._parts()
            self._look = survey(self.background, self.dtype, parts, self._distances, centred)
        return self._look

    def _parts(self) -> list[Part]:
        """What each tile is like."""
        work = partial(_without_coder, partial(look_at, background=self.background))
        return list(self._each(work, range(self.count), "survey"))

    def _distances(self, origin: float, pitch: float) -> Iterable[float]:
        """Of each tile's values from a lattice."""
        work = partial(_without_coder, partial(distance, origin=origin, pitch=pitch))
        return self._each(work, range(self.count), "survey")

    def tiles(self, settings: Settings, stage: str = "encode") -> Iterator[Tile]:
        """All tiles in the order of the file, coded in parallel."""
        ready = self._ready[1] if self._ready and self._ready[0] == settings else {}
        self._ready = None
        if len(self.frames) > 1:
            return self._following(settings, stage)
        work = partial(TileCoder.encode, s=settings)
        return self._each(work, range(self.count), stage, ready)

    def _following(self, settings: Settings, stage: str) -> Iterator[Tile]:
        """The tiles of a series, each given what the frame before decodes to at its place."""
        step = len(self.per_frame)
        decoded: dict[int, Future[np.ndarray]] = {i: Future() for i in range(self.count)}

        def work(i: int) -> Tile:
            # tiles are begun in order, so that what this one waits for is done or being done
            mine = decoded[i]
            try:
                before = decoded[i - step].result() if i // step % GROUP else None
                tile, values = self.coder.follow(self._read(i), before, settings)
            except BaseException as error:
                mine.set_exception(error)
                raise
            if (i // step + 1) % GROUP and i + step < self.count:
                mine.set_result(values)
            decoded.pop(i - step, None)  # its values are not needed any more
            return tile

        return self._map(work, range(self.count), stage)

    # ---------------------------------------------------------------- support

    def _common(self, s: Settings) -> Settings:
        """The settings with what all tiles of the file share besides."""
        return replace(s, scales=self.scales, spread=self.look().range)

    def settings(self, s: Settings) -> Settings:
        """The settings with or without exact support, as the options and the tiles say."""
        wish = self.options.support
        s = self._foreseen(self._common(s))
        if wish == "off" or s.mapping.domain == "bits":
            return s
        look = self.look()
        exact = targets.with_support(s, self.background, look, self.dtype)
        # lossless coding keeps the support by itself; a mask may still make it smaller
        free = s.slack == 0 and look.lattice is not None and look.lattice[2] == 0
        if look.background == 0:
            return s if free else exact
        if wish == "exact" and not free:
            return exact
        if free and self.coder.quick:
            return s  # masks take time, and the support is kept without them
        parts = 2 * min(2 * max(1, self.count // 24), _SUPPORT_TILES)
        chosen = sorted({self.count * i // parts for i in range(1, parts, 2)})
        if free and not self.coder.thorough:
            work = partial(_drafts, settings=(exact, s))
            masked, bare = np.sum(list(self._each(work, chosen, "support")), axis=0)
            if masked <= _CLEARLY * bare:
                return exact
            if masked >= _HARDLY * bare:
                return s
        with_masks = self._sample(chosen, exact)
        total = sum(with_masks[i].size for i in chosen)
        masks = sum(len(with_masks[i].streams[1]) for i in chosen)
        decided = not free and masks <= 0.8 * SUPPORT_SHARE * (total - masks)
        if not decided:
            plain = self._sample(chosen, s)
            without = sum(plain[i].size for i in chosen)
            overhead = 64 * len(chosen)
            limit = 1.0 if free else 1 + SUPPORT_SHARE
            if total + overhead > limit * (without + overhead):
                self._ready = (s, plain)
                return s
        self._ready = (exact, with_masks)
        return exact

    def _foreseen(self, s: Settings) -> Settings:
        """The settings without the ways to code that have no prospect, or hardly one.

        Tiles that hold much tell. The transform may still win by far in others, so the closed loop
        has to win clearly against it; the reversible wavelet is nowhere far from it.
        """
        busy = self.look().busy
        tried = "predicted" in s.banks and len(s.banks) > 1 and math.isinf(s.worth)
        if not tried or self.coder.quick or self.coder.thorough or self.count < _MANY:
            return s
        fullest = sorted(range(self.count), key=lambda i: -busy[i])
        parts = (1 if s.slack == 0 else 2) * max(1, self.count // 24)
        chosen = sorted({fullest[self.count * i // (3 * parts)] for i in range(parts)})
        threads = self.options.threads if len(chosen) == 1 else 1
        work = partial(TileCoder.contest, s=s, threads=threads)
        found = [f for f in self._each(work, chosen, "look") if f]
        if not found or not all("predicted" in costs for costs in found):
            return s  # constant tiles tell nothing, nor does a model without the closed loop
        for costs in found:
            mine = costs["predicted"][0]
            others = (cost * _MARGINS.get(bank, _WINS) for bank, (cost, _) in costs.items())
            if mine > min(others) or math.isinf(mine):
                return s
        smaller, larger = np.sum([costs["predicted"] for costs in found], axis=0)
        return replace(s, banks=("predicted",), both=bool(larger < _LOSES * smaller))

    def _sample(self, indices: Sequence[int], s: Settings) -> dict[int, Tile]:
        """Tiles, coded, at least those asked for.

        They are used again if these become the settings of the file.
        """
        found = self._each(partial(TileCoder.encode, s=s), indices, "support")
        return dict(zip(indices, found, strict=True))

    # ---------------------------------------------------------------- the whole

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

    @property
    def small(self) -> bool:
        """Whether the volume is coded in memory rather than as a stream of tiles."""
        return self.look().voxels <= _IN_MEMORY

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


def _drafts(
    coder: TileCoder, values: np.ndarray, settings: tuple[Settings, ...]
) -> tuple[float, ...]:
    return coder.drafts(values, *settings)


def _without_coder(work: Callable[[np.ndarray], Any], _: TileCoder, values: np.ndarray) -> Any:
    return work(values)

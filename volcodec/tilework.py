"""The tiles of a volume, and work on them: on all in order, or on some ahead of the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from .errors import InputError
from .models import Model
from .parallel import Pending, finished, ordered, ordered_map, staged_map, thread_count
from .request import Options, check_dtype, check_shape, usual_tile
from .survey import Part, Survey, distance, survey
from .survey import look as look_at
from .tilecoder import Settings, Tile, TileCoder
from .tiledecoder import GROUP
from .tiles import Source, WorkingSource, boxes, tile_shape
from .tiletask import TileTask, TileWork, tile_values
from .transform.pyramid import default_levels

Progress = Callable[[int, int, str], None]
Results = Generator[Any, None, None]
Likely = Callable[[dict[int, Tile]], Settings]  # which settings tiles, coded, speak for
_IN_MEMORY = 1 << 25  # voxels up to which a volume is coded in memory


class Tiles:
    """The tiles of the frames of one series (usually one)."""

    def __init__(
        self, frames: list[Source], model: Model | None, options: Options, progress: Progress | None
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
        self.frames, self.model, self.options = frames, model, options
        self.coder = TileCoder(model, options.effort)
        self.tile = tile_shape(self.shape, options.tile, usual_tile(options.effort))
        self.levels = default_levels(self.tile)
        self.per_frame = list(boxes(self.shape, self.tile))
        self.count = len(frames) * len(self.per_frame)
        self.background = self._background()
        self._progress = progress or (lambda done, total, stage: None)
        self._look: Survey | None = None
        # tiles that are coded, or being coded, before it is known by which settings they shall be
        self._begun: dict[Settings, dict[int, Future[Tile]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def _background(self) -> float:
        """The background as a value of the dtype: floats are rounded to it."""
        value = np.float64(self.options.background)
        with np.errstate(all="ignore"):
            cast = np.float64(value.astype(self.dtype))
        rounded = self.dtype.kind == "f" or cast == value
        if not (np.isfinite(value) and np.isfinite(cast) and rounded):
            raise InputError(f"the background {value:g} is not a finite value of {self.dtype}")
        return float(cast)

    def _place(self, index: int) -> tuple[int, tuple[slice, ...]]:
        """Where a tile lies: the number of its frame, and the box in it."""
        frame, place = divmod(index, len(self.per_frame))
        return frame, self.per_frame[place][3 - self.ndim :]

    def _read(self, index: int) -> np.ndarray:
        """The values of a tile: native dtype, three axes, C order."""
        frame, box = self._place(index)
        return tile_values(self.frames[frame].read(box), self.dtype)

    def _map(self, work: Callable[[int], Any], indices: Iterable[int], stage: str) -> Iterator[Any]:
        indices, threads = list(indices), self.options.threads
        if self._look is not None and self.small and len(self.frames) == 1:
            weights = [self._look.busy[i] for i in indices]
            results: Results = staged_map((work,), indices, threads, weights, pool=self._pool)
        else:
            results = ordered_map(work, indices, threads, self._pool)
        return self._told(results, len(indices), stage)

    def _told(self, results: Results, count: int, stage: str) -> Iterator[Any]:
        """``results``, of which there are ``count``, and progress with each."""
        self._progress(0, count, stage)
        with closing(results):
            for done, out in enumerate(results, 1):
                self._progress(done, count, stage)
                yield out

    def _each(
        self,
        work: TileWork[Any],
        indices: Sequence[int],
        stage: str,
        ready: dict[int, Future[Any]] | None = None,
    ) -> Iterator[Any]:
        """``work`` on tiles, in order, but for those ``ready``: here, or where the voxels are."""
        given = ready or {}
        sources = [frame for frame in self.frames if isinstance(frame, WorkingSource)]
        if len(sources) < len(self.frames):

            def here(i: int) -> Any:
                return given.pop(i).result() if i in given else work(self.coder, self._read(i))

            return self._map(here, indices, stage)
        task = TileTask.of(work, self.dtype, self.model, self.coder.effort)

        def submit(i: int) -> Pending[Any]:
            if i in given:
                return given.pop(i)
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
        ready = self._taken(settings)
        if len(self.frames) > 1:
            return self._following(settings, stage)
        if not self._at_hand:
            work = partial(TileCoder.encode, s=settings)
            return self._each(work, range(self.count), stage, ready)

        stages = (
            lambda i: self.coder.write(self._read(i), None, settings),
            partial(self.coder.decode, s=settings),
            lambda decoded: self.coder.check(decoded, settings)[0],
        )
        results = staged_map(
            stages, range(self.count), self.options.threads, self.look().busy, ready, self._pool
        )
        return self._told(results, self.count, stage)

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

    @property
    def small(self) -> bool:
        """Whether the volume is coded in memory rather than as a stream of tiles."""
        return self.look().voxels <= _IN_MEMORY

    # ---------------------------------------------------------------- ahead

    def _fullest(self) -> list[int]:
        """The tiles, those first that hold most."""
        busy = self.look().busy
        return sorted(range(self.count), key=lambda i: -busy[i])

    @property
    def _at_hand(self) -> bool:
        """Whether all tiles are there to be coded in any order, by threads."""
        sources = [frame for frame in self.frames if not isinstance(frame, WorkingSource)]
        return self.small and len(sources) == 1 == len(self.frames)

    def _begin(self, indices: Iterable[int], s: Settings) -> dict[int, Future[Tile]]:
        """Begin to code those tiles that aren't begun, in threads; all that are."""
        coder, pool = self.coder, self._gather()
        begun = self._begun.setdefault(s, {})
        for i in indices:
            if i not in begun:
                begun[i] = pool.submit(lambda i: coder.encode(self._read(i), s), i)
        return begun

    def _run_ahead(self, s: Settings) -> None:
        """Let all threads but this one begin the fullest tiles."""
        others = thread_count(self.options.threads) - 1
        if others and self._at_hand:
            self._begin(self._fullest()[:others], s)

    def _sample(
        self, indices: Sequence[int], s: Settings, likely: Likely | None = None
    ) -> dict[int, Tile]:
        """Tiles, coded, at least those asked for.

        They are used again if these become the settings of the file. Once some are done, threads
        that have none left to code go on by the settings that these say are ``likely``: with the
        same tiles first, where those settings have not been tried, else with the fullest.
        """
        threads = thread_count(self.options.threads)
        if threads == 1 or not self._at_hand or likely is None:
            found = self._each(partial(TileCoder.encode, s=s), indices, "support")
            tiles = dict(zip(indices, found, strict=True))
            self._begun[s] = {i: finished(tile) for i, tile in tiles.items()}
            return tiles
        fullest = self._fullest()
        begun = self._begin([i for i in fullest if i in indices], s)
        self._progress(0, len(indices), "support")
        left = {begun[i] for i in indices}
        while left:
            _, left = wait(left, return_when=FIRST_COMPLETED)
            done = {i: begun[i].result() for i in indices if begun[i] not in left}
            self._progress(len(done), len(indices), "support")
            then = likely(done)
            under_way = sum(not tile.done() for tile in self._all_begun())
            others = [i for i in fullest if i in indices]
            others += fullest if then in self._begun else []
            others = [i for i in others if i not in self._begun.get(then, {})]
            if left:
                self._begin(others[: max(0, threads - under_way)], then)
        return done

    def _taken(self, s: Settings) -> dict[int, Future[Tile]]:
        """Tiles that were begun by these settings; they are given once, and all others dropped."""
        taken = self._begun.pop(s, {})
        for tile in self._all_begun():
            tile.cancel()
        self._begun.clear()
        return taken

    def _all_begun(self) -> list[Future[Tile]]:
        return [tile for tiles in self._begun.values() for tile in tiles.values()]

    def _gather(self) -> ThreadPoolExecutor:
        """The threads that code all tiles, and look at them before, until they :meth:`_settle`."""
        if self._pool is None:
            threads = thread_count(self.options.threads)
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="volcodec")
        return self._pool

    def _settle(self) -> None:
        """Let threads end, once they are through with tiles which aren't needed."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _without_coder(work: Callable[[np.ndarray], Any], _: TileCoder, values: np.ndarray) -> Any:
    return work(values)

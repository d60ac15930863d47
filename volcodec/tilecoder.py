"""One tile: its values as the streams of the smallest coding that keeps the promise."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zstandard

from . import misses, motion, restoration, support, voxels
from .autoencoder import LAMBDAS, RATES
from .bitwise import Adapted
from .errors import VolcodecError
from .models import TRELLIS, Model
from .request import LEARNS
from .scales import Encoded, ScaleCoder
from .tiledecoder import (
    ADAPTIVE,
    CLASSIC,
    CLOSED,
    CONSTANT,
    FILLED,
    FOLLOWS,
    LATTICE_CLASSIC,
    LATTICE_LEARNED,
    LEARNED,
    NEURAL,
    PREDICTED_CLASSIC,
    PREDICTED_LEARNED,
    RAW,
    RESTORED,
    TRANSFORMED,
    TRELLIS_ADAPTIVE,
    TRELLIS_CLASSIC,
    TRELLIS_LEARNED,
    UNET_CLASSIC,
    UNET_LEARNED,
    WHOLE,
    Begun,
    Frame,
    TileDecoder,
    base_integers,
    filter_step,
    prefix,
)
from .trail import StrayedError, Trail
from .values import LARGEST, Mapping, to_ordered
from .voxels import Look
from .ways import Box, Way, typical

_ZSTD_LEVEL = 3
_CODINGS = {
    "lossy": (LEARNED, CLASSIC),
    "lattice": (LATTICE_LEARNED, LATTICE_CLASSIC),
    "predicted": (PREDICTED_LEARNED, PREDICTED_CLASSIC),
    TRELLIS: (TRELLIS_LEARNED, TRELLIS_CLASSIC),
    "unet": (UNET_LEARNED, UNET_CLASSIC),
    "adaptive": (ADAPTIVE, ADAPTIVE),
    "neural": (NEURAL, NEURAL),
}
QUICKEST = 2  # effort up to which nothing is tried twice
_THOROUGH = 7  # effort from which every way to code a tile is tried on the whole tile
_HOPELESS = 2.0  # times the smallest coding: a closed loop that does not learn, and needs as much
_QUIET = 2.0  # bpv below which the reversible wavelet does not win
_LARGE = 1 << 18  # voxels from which two parts decide between the ways
_TRIAL_LEVELS = 3  # of these parts
_RAW_SHARE = 16  # a tile is compressed as it is only where every such slice says that it may pay
_RAW_PROSPECT = 1.3  # times the smallest size so far: what slices may take at most
_PASSES = 2  # of the filter at most, at usual effort
_WORTH = 0.08  # squared error, in steps, that is worth a bit to the filter
_LAM_NEURAL = 0.1  # square steps that are worth a bit of a neural tile, where no bound is asked
_ENTRY = 5  # bytes of the index for each stream that is not empty, at least
_FAR = 1.2  # times the least cost of one part: a way that need not code the other
_CLOSE = 1.01  # sizes of the parts that don't decide under a bound
_NEAR = 1.05  # costs of the parts that don't decide without one
# cost, coding, flags, streams, and what decoding may follow
Candidate = tuple[float, int, int, tuple[bytes, ...], Trail | None]


@dataclass(frozen=True)
class Body:
    """A tile as one way codes it: what comes before the first scale, the scales, what outliers add.

    ``size`` in bytes is known, nearly, before the streams are written. ``loss``: bytes that its
    error is worth, see Settings. ``flags``: those that say what the head holds.
    """

    coding: int
    head: bytes
    scales: Encoded | Adapted
    fix: bytes
    loss: float = 0.0
    flags: int = 0

    @property
    def size(self) -> int:
        return len(self.head) + self.scales.size + len(self.fix)

    @property
    def cost(self) -> float:
        """What ways to code a tile are compared by, in bytes."""
        return self.size + self.loss

    def streams(self) -> tuple[bytes, ...]:
        first, *others = self.scales.streams
        return (self.head + first, *others, self.fix)


@dataclass(frozen=True)
class Settings(Frame):
    """What the encoder aims at in every tile of a file, beyond what the decoder knows.

    ``scale``: the range of the volume, by which errors are divided before they are squared.
    ``bound``: largest error in the units of the data (inf: none). ``slack``: the same for the
    reconstruction before outliers, in units of y or k. ``lam``: see quantiser. ``banks``: the
    ways to code that are tried, in this order, with ``both`` learned and classical contexts.
    ``worth``: the error, in units of y or k, whose square is worth a byte where ways are compared
    (inf: bytes alone count). ``reaches``: distances from the ground within which decoded values may
    become it, which is chosen when all tiles are coded; rising from 0.
    """

    scale: float = 1.0
    bound: float = np.inf
    slack: float = np.inf
    lam: float = 0.12
    banks: tuple[str, ...] = ("lossy",)
    both: bool = True
    worth: float = np.inf
    reaches: tuple[float, ...] = ()


@dataclass(frozen=True)
class Tile:
    """A coded tile and what its decoding measured over its ``finite`` voxels.

    ``square_error``: sum of (error / range)**2. ``snapped``: largest error and this sum for each of
    the settings' reaches, where there are any.
    """

    coding: int
    flags: int
    streams: tuple[bytes, ...]
    max_error: float
    square_error: float
    finite: int
    snapped: tuple[tuple[float, float], ...] = ()

    def at(self, reach: int) -> Tile:
        """The same tile where values are snapped within that reach."""
        largest, square = self.snapped[reach]
        return replace(self, max_error=largest, square_error=square, snapped=())

    @property
    def size(self) -> int:
        """Bytes of all streams."""
        return sum(len(s) for s in self.streams)


@dataclass(frozen=True)
class Written:
    """A tile that is coded, and not checked: its ``values``, what it may follow, what its streams
    begin with, the ways it is coded by, the smallest first, and that one half decoded, or not yet.
    """

    values: np.ndarray
    before: np.ndarray | None
    look: Look
    front: tuple[bytes, bytes]
    flags: int
    candidates: list[Candidate]
    begun: Begun | None = None


class TileCoder:
    """Encodes tiles with one model (None: constants and raw tiles only).

    ``effort``: 1 and 2 take one way to code, without expectations and with the classical contexts
    where a bound is kept, and restore in one pass; up to 6, the ways compete for a large tile on
    two parts of it; above, on the whole tile, and filters may have all the passes that there are.
    """

    def __init__(self, model: Model | None, effort: int = 9) -> None:
        self.effort = effort
        self.quick = effort <= QUICKEST
        self.thorough = effort >= _THOROUGH
        self.passes = restoration.MAX_PASSES if self.thorough else 1 if self.quick else _PASSES
        self.decoder = TileDecoder(model)
        self.coders = self.decoder.coders

    def encode(self, values: np.ndarray, s: Settings) -> Tile:
        """Code ``values`` (native dtype, (Z, Y, X), C order); decoded and checked on the way."""
        return self.follow(values, None, s)[0]

    def follow(
        self, values: np.ndarray, before: np.ndarray | None, s: Settings
    ) -> tuple[Tile, np.ndarray]:
        """The same, and what it decodes to; it may follow ``before``, which is decoded already."""
        return self.check(self.decode(self.write(values, before, s), s), s)

    def write(self, values: np.ndarray, before: np.ndarray | None, s: Settings) -> Written:
        """The first third of that: the streams."""
        specials = mask = b""
        whole = 0
        bits = s.mapping.domain == "bits"
        look = voxels.look(values, s.background if s.exact else None, specials=not bits)
        if bits:
            whole = 0 if np.isfinite(values).all() else WHOLE
        elif look.any_special:
            specials = support.encode_specials(values)
        if look.any_masked:
            mask = support.encode_mask(look.masked)
        candidates = sorted(self._candidates(values, before, look, s), key=lambda c: c[0])
        return Written(values, before, look, (specials, mask), whole, candidates)

    def decode(self, w: Written, s: Settings) -> Written:
        """The second third: what the smallest way wrote is read again, and its trail let go."""
        if not w.candidates:
            return w
        (cost, coding, flags, body, trail), *others = w.candidates
        begun = self._begun(w, coding, flags, (*w.front, *body), s, trail)
        return replace(w, candidates=[(cost, coding, flags, body, None), *others], begun=begun)

    def check(self, written: Written, s: Settings) -> tuple[Tile, np.ndarray]:
        """The last third: measure what they decode to; the first way that keeps the promise."""
        w = written
        for i, (_, coding, flags, body, trail) in enumerate(w.candidates):
            streams = (*w.front, *body)
            begun = w.begun if i == 0 else None
            if begun is None:
                begun = self._begun(w, coding, flags, streams, s, trail)
            found = self._measured(w.values, begun, coding, flags | w.flags, streams, s)
            if found is not None:
                return found
        streams = (*w.front, self._raw(w.values, w.look), *(b"",) * s.scales)
        begun = self._begun(w, RAW, 0, streams, s)
        found = self._measured(w.values, begun, RAW, w.flags, streams, s)
        if found is not None:
            return found
        raise VolcodecError("a tile could not be coded within its bound: please report this")

    def drafts(self, values: np.ndarray, *settings: Settings) -> tuple[float, ...]:
        """Bytes that typical parts of a tile, one of a large one, take at the least effort, by each
        of settings."""
        draft = copy.copy(self)
        draft.effort, draft.quick, draft.thorough, draft.passes = QUICKEST, True, False, 1
        look = voxels.look(values, settings[0].background, specials=True)
        totals = [0.0] * len(settings)
        for box in typical(values, look.hidden)[: 1 if values.size >= 2 * _LARGE else 2]:
            part = np.ascontiguousarray(values[box])
            for i, s in enumerate(settings):
                look = voxels.look(part, s.background if s.exact else None, specials=True)
                if look.any_masked:
                    totals[i] += len(support.encode_mask(look.masked))
                if look.visible and look.low < look.high:
                    ways = draft._ways(part, look, s)
                    hidden = look.hidden
                    made = (draft._coded(w.bank, w.usable(), hidden, w.free, s) for w in ways)
                    cost = min((m.cost for m in made if m is not None), default=np.inf)
                    if cost >= part.nbytes / 4 and self._pays_raw(part, cost):
                        cost = min(cost, len(self._raw(part, look)))
                    totals[i] += cost
        return tuple(totals)

    @property
    def quantising(self) -> ScaleCoder | None:
        """What codes tiles where no bound is asked; None without a model."""
        return self.coders.get(TRELLIS) or self.coders.get("lossy")

    def spectrum(
        self, values: np.ndarray, mapping: Mapping, unit: float, levels: int
    ) -> tuple[np.ndarray, int]:
        """How the coefficients of ``values`` are spread, and of how many voxels.

        Of 0 where they overflow: with an origin that float16 can't tell from infinity, say.
        """
        if values.dtype.kind == "f":
            values = np.where(np.isfinite(values), values, values.dtype.type(mapping.origin))
        integers = mapping.to_integers(values, unit)
        if integers is None:
            return np.zeros(0), 0
        coder = self.quantising
        assert coder is not None
        return coder.spectrum(integers, levels), values.size

    def _begun(
        self, w: Written, coding: int, flags: int, streams: tuple[bytes, ...], s: Settings,
        trail: Trail | None = None,
    ) -> Begun:  # fmt: skip
        """A tile half decoded from what was written."""
        shape: tuple[int, int, int] = w.values.shape  # type: ignore[assignment]
        base = w.before if flags & FOLLOWS else None
        asked = coding, streams, shape, s, base, bool(flags & RESTORED)
        try:
            return self.decoder.begin(*asked, trail)
        except StrayedError:  # other symbols: let what they decode to be measured
            return self.decoder.begin(*asked)

    def _measured(
        self, values: np.ndarray, begun: Begun, coding: int, flags: int,
        streams: tuple[bytes, ...], s: Settings,
    ) -> tuple[Tile, np.ndarray] | None:  # fmt: skip
        """Measure what was decoded; None where the promise does not hold."""
        decoded = self.decoder.finish(begun, s)
        if s.mapping.domain == "bits":
            same = decoded.tobytes() == values.tobytes()
            tile = Tile(coding, flags, streams, 0.0, 0.0, values.size)
            return (tile, decoded) if same else None
        found = voxels.measure(values, decoded, s.scale, s.background if s.exact else None)
        if found is None or found[0] > s.bound:
            return None
        snapped: tuple[tuple[float, float], ...] = ()
        if s.reaches:
            snapped = (found[:2],) * len(s.reaches)
            if coding not in (CONSTANT, RAW):
                snapped = voxels.measure_snapped(
                    values, decoded, s.scale, s.mapping.ground, np.array(s.reaches)
                )
        return Tile(coding, flags, streams, *found, snapped), decoded

    def _candidates(
        self, values: np.ndarray, before: np.ndarray | None, look: Look, s: Settings
    ) -> Iterator[Candidate]:
        """Ways to code the tile: their cost, coding, flags, and the streams from scale 0 on."""
        nothing = (b"",) * (s.scales + 1)
        bits = s.mapping.domain == "bits"
        if look.visible == 0:
            yield 0, CONSTANT, 0, nothing, None
            return
        constant = _constant_bits(values) if bits else _constant(values, look, s)
        if constant is not None:
            yield size_of([constant]), CONSTANT, 0, (constant, *nothing[1:]), None
            if bits or look.low == look.high:
                return
        smallest = closed = np.inf
        ways = list(self._ways(values, look, s))
        tried = len(ways)
        if len(ways) > 1 and values.size >= _LARGE and not self.thorough:
            best = self._best(ways, values, look.hidden, s)
            tried = len(best)
            ways = best + [way for way in ways if not any(way is chosen for chosen in best)]
        for i, way in enumerate(ways):
            if i >= tried and np.isfinite(smallest):
                break  # the others are for where those that seemed best can't keep the support
            if way.bank == "lattice" and smallest < _QUIET * values.size / 8:
                continue
            if way.bank == "adaptive" and closed > _HOPELESS * smallest:
                continue
            usable = way.usable()
            made = self._coded(way.bank, usable, look.hidden, way.free, s)
            if made is not None:
                smallest = min(smallest, made.size)
                if way.bank == "predicted":
                    closed = min(closed, made.size)
                yield _candidate(made, way.flags)
            if before is not None and way.bank != "unet":
                made = self._coded(way.bank, usable, look.hidden, way.free, s, before)
                if made is not None:
                    yield _candidate(made, way.flags | FOLLOWS | WHOLE)
        if self.quick and smallest < values.nbytes / 4:
            return
        if values.size >= _LARGE and not self._pays_raw(values, smallest):
            return
        raw = self._raw(values, look)
        yield size_of([raw]), RAW, 0, (raw, *nothing[1:]), None

    def _pays_raw(self, values: np.ndarray, smallest: float) -> bool:
        """Whether some slices say that values may be smaller as they are than ``smallest``."""
        part = values[min(_RAW_SHARE, len(values)) // 2 :: _RAW_SHARE]
        return len(self.raw(part)) * values.size <= _RAW_PROSPECT * smallest * part.size

    def _best(
        self, ways: list[Way], values: np.ndarray, hidden: np.ndarray, s: Settings
    ) -> list[Way]:
        """The way that codes two parts of the tile smallest, and the next one where it is close."""
        one, other = typical(values, hidden)
        totals = [cost for cost, _ in self._costs(ways, values, hidden, [one], s)]
        near = [i for i, cost in enumerate(totals) if cost <= _FAR * min(totals)]
        if len(near) == 1:
            return [ways[near[0]]]
        ways, totals = [ways[i] for i in near], [totals[i] for i in near]
        more = self._costs(ways, values, hidden, [other], s)
        totals = [a + b for a, (b, _) in zip(totals, more, strict=True)]
        first, second = np.argsort(totals, kind="stable")[:2]
        close = totals[second] <= (_CLOSE if np.isinf(s.worth) else _NEAR) * totals[first]
        return [ways[i] for i in sorted([first, second] if close else [first])]

    def _costs(
        self, ways: list[Way], values: np.ndarray, hidden: np.ndarray, boxes: list[Box],
        s: Settings,
    ) -> list[tuple[float, float]]:  # fmt: skip
        """What parts of the tile cost by each way, by the smaller and by the larger of its
        contexts; infinite where it can't win."""
        voxels = sum(values[box].size for box in boxes)
        s = replace(s, levels=min(s.levels, _TRIAL_LEVELS))
        totals: list[tuple[float, float]] = []
        for way in ways:
            smallest = min((cost for cost, _ in totals), default=np.inf)
            if way.bank == "lattice" and smallest < _QUIET * voxels / 8:
                totals.append((np.inf, np.inf))
                continue
            smaller = larger = 0.0
            for made in (self._brief(way, hidden, s, box) for box in boxes):
                smaller += made.cost if made is not None else np.inf
                if made is not None and isinstance(made.scales, Encoded):
                    larger += made.scales.other if not made.scales.classical else 0
            totals.append((smaller, larger))
        return totals

    def _brief(self, way: Way, hidden: np.ndarray, s: Settings, box: Box) -> Body | None:
        """A part of the tile, coded to be compared."""
        inside, free = (np.ascontiguousarray(a[box]) for a in (hidden, way.free))
        return self._coded(way.bank, way.usable(box), inside, free, s, brief=True)

    def contest(self, values: np.ndarray, s: Settings) -> dict[str, tuple[float, float]]:
        """What two typical parts of a tile cost by each bank that competes for it, if any do: by
        the smaller and by the larger of its contexts."""
        bits = s.mapping.domain == "bits"
        look = voxels.look(values, s.background if s.exact else None, specials=not bits)
        if look.visible == 0 or look.low == look.high:
            return {}
        ways = list(self._ways(values, look, s))
        boxes = typical(values, look.hidden)
        costs = zip(ways, self._costs(ways, values, look.hidden, boxes, s), strict=True)
        return {way.bank: cost for way, cost in sorted(costs, key=lambda found: -found[1][0])}

    def _ways(self, values: np.ndarray, look: Look, s: Settings) -> Iterator[Way]:
        """Ways to try."""
        if not self.coders:
            return
        hidden = look.hidden
        hides = look.visible < values.size
        special = look.special if look.any_special else None
        names = s.banks
        if self.quick:
            closed = np.isfinite(s.bound) or s.mapping.step == 0
            names = ("predicted",) if closed else ("lossy",)
        elif "predicted" in names:
            if self.decoder.neural is not None:
                names = (*names, "neural")
            if self.effort >= LEARNS:
                names = (*names, "adaptive")
        for name in names:
            if name in ("adaptive", "neural"):
                usable = values
                if look.any_special:
                    usable = np.where(look.special, values.dtype.type(s.background), values)
                yield Way(name, usable, None, hidden, FILLED if hides else 0)
                continue
            bank = name if name in self.coders else "lossy"
            if bank in ("lossy", TRELLIS):
                way = Way(bank, values, None, hidden, 0)
                if hides and self._has_cliffs(values, look, bank, s):
                    way = Way(bank, values, hidden, hidden, FILLED)
                elif hides:
                    way = Way(bank, values, special, hidden, 0)
                yield way
                if self.decoder.unet is not None and s.spread > 0 and not self.quick:
                    yield replace(way, bank="unet", flags=way.flags | WHOLE)
            elif not hides:
                yield Way(bank, values, None, hidden, 0)
            elif bank == "predicted":
                usable = values
                if look.any_special:
                    usable = np.where(look.special, values.dtype.type(s.background), values)
                yield Way(bank, usable, None, hidden, FILLED)
                if look.any_masked and not self.quick:
                    yield Way(bank, usable, None, look.special, 0)
            elif look.any_masked:  # a cliff costs the reversible wavelet less than what fills it
                yield Way(bank, values, special, hidden, 0)
            else:
                yield Way(bank, values, special, hidden, FILLED)

    def _coded(
        self, bank: str, values: np.ndarray, hidden: np.ndarray, free: np.ndarray, s: Settings,
        before: np.ndarray | None = None, brief: bool = False,
    ) -> Body | None:  # fmt: skip
        """What one bank makes of the values; None where the integers would overflow.

        Given ``before``, what it lets expect is subtracted first; None where that is nothing.
        ``brief``: see :meth:`.ScaleCoder.encode`.
        """
        m = s.mapping
        if bank == "unet":
            return self._on_base(values, hidden, s)
        unit, step = m.units(bank)
        if m.domain == "bits":
            narrow = values.astype(np.float32) if values.dtype == np.float64 else values
            integers: np.ndarray | None = to_ordered(np.ascontiguousarray(narrow))
        else:
            integers = m.to_integers(values, unit)
        if integers is None:
            return None
        head = b""
        base: np.ndarray | int = 0
        if before is not None:
            shift, weight = motion.match(values, before)
            found = motion.base(before, shift, weight, m, unit) if weight else None
            if found is None or np.abs(integers.astype(np.int64) - found).max() > LARGEST:
                return None
            head, base = prefix(shift, weight), found
        left = integers if before is None else integers - base
        made: Encoded | Adapted | None
        if bank == "neural":
            assert self.decoder.neural is not None
            lam = _LAM_NEURAL if np.isinf(s.bound) else 0.0
            made = self.decoder.neural.encode(left, s.levels, step, free, s.scales, lam)
            if made is None:
                return None
        elif bank == "adaptive":
            made = self.decoder.adaptive.encode(left, s.levels, step, free, s.scales)
            if made is None:
                return None
        else:
            made = self.coders[bank].encode(
                left, s.levels, s.lam, step, free, s.scales, self.quick, brief, s.both
            )
        coding = _CODINGS[bank][made.classical]
        if bank == TRELLIS and self.effort >= LEARNS:
            assert isinstance(made, Encoded)
            learned = self.decoder.trellis.encode(made, left.shape, s.levels)
            if learned is not None and learned.size < made.size:
                made, coding = learned, TRELLIS_ADAPTIVE
        if m.domain == "bits":
            return Body(coding, head, made, b"")
        decoded = made.decoded if before is None else made.decoded + base
        return self._body(coding, head, made, values, integers, decoded, unit, hidden, s)

    def _on_base(self, values: np.ndarray, hidden: np.ndarray, s: Settings) -> Body | None:
        """The same with the autoencoder's base, what is left of it coded by the lossy bank."""
        assert self.decoder.unet is not None
        m = s.mapping
        integers = m.to_integers(values, m.unit)
        if integers is None:
            return None
        scale = m.unit * (m.pitch if m.on_lattice else 1.0) / s.spread
        latents, base = self.decoder.unet.encode(integers * scale + 0.5, _rate(s))
        left = integers - base_integers(base, s)
        made = self.coders["lossy"].encode(left, s.levels, s.lam, 1, hidden, s.scales)
        head = len(latents).to_bytes(4, "little") + latents
        decoded = made.decoded + (integers - left)
        coding = _CODINGS["unet"][made.classical]
        return self._body(coding, head, made, values, integers, decoded, m.unit, hidden, s)

    def _body(
        self, coding: int, head: bytes, made: Encoded | Adapted, values: np.ndarray,
        integers: np.ndarray, decoded: np.ndarray, unit: float, hidden: np.ndarray, s: Settings,
    ) -> Body | None:  # fmt: skip
        """What codes ``values``; None where nothing can.

        Their ``integers`` come back ``decoded``, restored where that pays.
        """
        loss = misses.loss(values, decoded, unit, hidden, s)
        flags = 0
        if np.isinf(s.bound) and coding in TRANSFORMED + CLOSED:
            step = filter_step(coding, s.mapping)
            wanted, seen, usual = (restoration.to_usual(a, step) for a in (integers, decoded, step))
            found = restoration.fit(wanted, seen, hidden, _WORTH * usual**2, self.passes)
            packed = found[0].pack() if found is not None else b""
            if found is not None and packed:
                restored = restoration.from_usual(decoded, seen, found[1], step)
                less = misses.loss(values, restored, unit, hidden, s)
                if not np.isfinite(s.worth) or len(packed) + less <= loss:
                    head, flags, decoded, loss = packed + head, RESTORED, restored, less
        within = coding in CLOSED and s.mapping.on_lattice and not s.exact
        fix = b"" if within else misses.fix(values, decoded, unit, hidden, s)
        return None if fix is None else Body(coding, head, made, fix, loss, flags)

    def _has_cliffs(self, values: np.ndarray, look: Look, bank: str, s: Settings) -> bool:
        """Whether a tile seems to code smaller where hidden voxels are filled smoothly."""
        if not look.any_masked:
            return True
        parts: list[Any] = [...]
        if values.size >= _LARGE and not self.thorough:
            parts = list(typical(values, look.hidden))
        unit = s.mapping.units(bank)[0]
        special = look.special if look.any_special else None
        costs = [0.0, 0.0]
        for part in parts:
            for i, unknown in enumerate((look.hidden, special)):
                usable = Way(bank, values, unknown, look.hidden, 0).usable(part)
                integers = s.mapping.to_integers(usable, unit)
                if integers is None:
                    return True
                costs[i] += self.coders[bank].activity(integers, s.levels)
        return costs[0] < costs[1]

    def _raw(self, values: np.ndarray, look: Look) -> bytes:
        """The stream of a raw tile, in which hidden voxels are zero."""
        hides = look.visible < values.size
        return self.raw(np.where(look.hidden, values.dtype.type(0), values) if hides else values)

    def raw(self, values: np.ndarray) -> bytes:
        """The stream of a raw tile."""
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        planes = little.view(np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(planes)


def size_of(streams: Iterable[bytes]) -> int:
    """Bytes that streams take in a file, with what the index says of them."""
    return sum(len(stream) + _ENTRY for stream in streams if stream)


def _candidate(made: Body, flags: int) -> Candidate:
    streams = made.streams()
    trail = made.scales.trail if isinstance(made.scales, Encoded) else None
    return size_of(streams) + made.loss, made.coding, flags | made.flags, streams, trail


def _constant_bits(values: np.ndarray) -> bytes | None:
    """The one bit pattern that all of ``values`` have, None where there are several."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    first = little.reshape(-1)[:1].tobytes()
    return first if first * values.size == little.tobytes() else None


def _constant(values: np.ndarray, look: Look, s: Settings) -> bytes | None:
    """The one value that stands for all visible ones, None where there is none within bounds."""
    little = values.dtype.newbyteorder("<")
    low, high = look.low, look.high
    if low == high:
        return values.reshape(-1)[look.first : look.first + 1].astype(little).tobytes()
    if np.isfinite(s.bound) and s.slack > 0 and (high - low) / 2 < s.bound:
        middle = np.float64(low + (high - low) / 2)
        if values.dtype.kind in "iu":
            middle = np.rint(middle)
        return middle.astype(little).tobytes()
    return None


def _rate(s: Settings) -> int:
    """Which of the autoencoder's rates suits a step: at high rate lambda is 6 / ln 2 / step**2."""
    m = s.mapping
    step = m.step * (m.pitch if m.on_lattice else 1.0) / s.spread
    place = (np.log(6 / np.log(2) / step**2) - np.log(LAMBDAS[0])) / np.log(LAMBDAS[1] / LAMBDAS[0])
    return int(np.clip(np.rint(place * (RATES - 1)), 0, RATES - 1))

"""One tile: its values as the streams of the smallest coding that keeps the promise, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import zstandard

from . import correction, support
from .errors import FormatError, VolcodecError
from .models import Model
from .scales import ScaleCoder, scale_count
from .values import Mapping, from_ordered, to_ordered

CONSTANT, LEARNED, CLASSIC, LATTICE_LEARNED, LATTICE_CLASSIC, RAW = range(6)
FILLED = 1  # flag: hidden voxels were filled smoothly before the transform
_ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Settings:
    """What the encoder aims at in every tile of a file.

    ``bound``: largest error in the units of the data (inf: none). ``slack``: the same for the
    reconstruction before outliers, in units of y or k. ``lam``: see quantiser. ``exact``: keep
    the background; ``nudge``: what a visible voxel becomes where it would hit it.
    """

    mapping: Mapping
    levels: int
    bound: float = np.inf
    slack: float = np.inf
    lam: float = 0.12
    exact: bool = False
    background: float = 0.0
    nudge: float = 0.0
    transform: bool = True
    try_both: bool = True


@dataclass(frozen=True)
class Tile:
    """A coded tile and what its decoding measured: over ``finite`` voxels that are finite."""

    coding: int
    flags: int
    streams: tuple[bytes, ...]
    max_error: float
    square_error: float
    finite: int

    @property
    def size(self) -> int:
        return sum(len(s) for s in self.streams)


class TileCoder:
    """Encodes and decodes tiles with one model (None: constants and raw tiles only)."""

    def __init__(self, model: Model | None) -> None:
        self.lossy: ScaleCoder | None = None
        self.lattice: ScaleCoder | None = None
        if model is not None:
            self.lossy = ScaleCoder(model.banks["lossy"], model.gains, lossless=False)
            self.lattice = ScaleCoder(model.banks["lattice"], model.gains, lossless=True)

    # ---------------------------------------------------------------- encode

    def encode(self, values: np.ndarray, s: Settings) -> Tile:
        """Code ``values`` (native dtype, (Z, Y, X), C order); decoded and checked on the way."""
        specials = mask = b""
        hidden = np.zeros(values.shape, bool)
        masked = None
        if values.dtype.kind == "f" and s.mapping.domain != "bits":
            hidden = ~np.isfinite(values)
            if hidden.any():
                specials = support.encode_specials(values)
        special = hidden
        if s.exact and s.mapping.domain != "bits":
            masked = values == values.dtype.type(s.background)
            if masked.any():
                mask = support.encode_mask(masked)
                hidden = hidden | masked
        front = (specials, mask)
        best: Tile | None = None
        for candidate in self._candidates(values, hidden, special, s):
            coding, flags, body = candidate
            streams = (*front, *body)
            if best is not None and sum(map(len, streams)) >= best.size:
                continue
            tile = self._check(values, coding, flags, streams, s)
            if tile is not None:
                best = tile
        if best is None:
            best = self._check(values, RAW, 0, (*front, *self._raw(values, s)), s)
        if best is None:
            raise VolcodecError("a tile could not be coded within its bound: please report this")
        return best

    def _check(
        self, values: np.ndarray, coding: int, flags: int, streams: tuple[bytes, ...], s: Settings
    ) -> Tile | None:
        """Decode what was written; None where the promise does not hold."""
        shape = values.shape
        decoded = self.decode(coding, streams, shape, s)  # type: ignore[arg-type]
        if s.mapping.domain == "bits" or not np.isfinite(s.bound) and s.bound < 0:
            same = decoded.tobytes() == values.tobytes()
            return Tile(coding, flags, streams, 0.0, 0.0, values.size) if same else None
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not np.array_equal(finite, np.isfinite(decoded)):
                return None
            error = np.where(finite, values, 0).astype(np.float64)
            error -= np.where(finite, decoded, 0)
            count = int(finite.sum())
        else:
            error = values.astype(np.float64) - decoded
            count = values.size
        largest = float(np.abs(error).max(initial=0.0))
        if largest > s.bound:
            return None
        if s.exact:
            background = values.dtype.type(s.background)
            if not np.array_equal(values == background, decoded == background):
                return None
        with np.errstate(over="ignore"):
            square = float(np.dot(error.ravel(), error.ravel()))
        return Tile(coding, flags, streams, largest, square, count)

    def _candidates(
        self, values: np.ndarray, hidden: np.ndarray, special: np.ndarray, s: Settings
    ):  # type: ignore[no-untyped-def]
        count = scale_count(s.levels)
        nothing = (b"",) * (count + 1)
        visible = values[~hidden] if hidden.any() else values
        if visible.size == 0:
            yield CONSTANT, 0, nothing
            return
        constant = self._constant(visible, s)
        if constant is not None:
            yield CONSTANT, 0, (constant, *nothing[1:])
            if visible.min() == visible.max():
                return
        flags = 0
        if s.mapping.domain != "bits" and hidden.any() and self.lossy is not None:
            values, flags = self._without_cliffs(values, hidden, special, s)
        size = None
        if s.transform and s.mapping.step > 0 and self.lossy is not None:
            made = self._transformed(values, hidden, s)
            if made is not None:
                coding, body = made
                size = 8 * sum(map(len, body)) / values.size
                yield coding, flags, body
        # closer to noise the lattice wins, further away the transform: near 1 bpv both are tried
        if s.mapping.lattice_step > 0 and self.lattice is not None:
            if size is None or (s.try_both and size > 0.35):
                made = self._on_lattice(values, s)
                if made is not None:
                    coding, body = made
                    yield coding, flags, body
        yield RAW, 0, self._raw(np.where(hidden, values.dtype.type(0), values), s)

    def _constant(self, visible: np.ndarray, s: Settings) -> bytes | None:
        if s.mapping.domain == "bits":
            flat = np.ascontiguousarray(visible).reshape(-1)
            first = flat[:1].tobytes()
            return first if first * flat.size == flat.tobytes() else None
        low, high = float(visible.min()), float(visible.max())
        if low == high:
            return visible.reshape(-1)[:1].tobytes()
        if np.isfinite(s.bound) and (high - low) / 2 < s.bound:
            middle = np.float64(low + (high - low) / 2)
            if visible.dtype.kind in "iu":
                middle = np.rint(middle)
            return middle.astype(visible.dtype).tobytes()
        return None

    def _without_cliffs(
        self, values: np.ndarray, hidden: np.ndarray, special: np.ndarray, s: Settings
    ) -> tuple[np.ndarray, int]:
        """Values to transform: hidden voxels filled smoothly where that seems to code smaller."""
        background = values.dtype.type(s.background)
        filled = support.fill(np.where(hidden, background, values).astype(np.float64), ~hidden)
        if values.dtype.kind in "iu":
            filled = np.rint(filled)
        filled = np.where(hidden, filled.astype(values.dtype), values)
        plain = np.where(special, filled, values)
        if special is hidden or np.array_equal(special, hidden):
            return filled, FILLED
        if self._activity(filled, s) < self._activity(plain, s):
            return filled, FILLED
        return plain, 0

    def _activity(self, values: np.ndarray, s: Settings) -> float:
        """A quick estimate of the bits that ``values`` would take."""
        m = s.mapping
        lossless = m.step == 0
        integers = m.to_integers(values, m.lattice_step if lossless else m.unit)
        if integers is None:
            return np.inf
        coder = self.lattice if lossless else self.lossy
        assert coder is not None
        return coder.activity(integers, s.levels)

    def _transformed(
        self, values: np.ndarray, hidden: np.ndarray, s: Settings
    ) -> tuple[int, tuple[bytes, ...]] | None:
        m = s.mapping
        integers = m.to_integers(values, m.unit)
        if integers is None:
            return None
        assert self.lossy is not None
        made = self.lossy.encode(integers, s.levels, s.lam)
        fix = b""
        if np.isfinite(s.bound):
            rough = m.to_values(made.decoded, m.unit, None)
            fix = correction.encode(self._outliers(values, rough, hidden, s))
        return (CLASSIC if made.classical else LEARNED), (*made.streams, fix)

    def _outliers(
        self, values: np.ndarray, rough: np.ndarray, hidden: np.ndarray, s: Settings
    ) -> np.ndarray:
        """What must be added, in lattice steps, where ``rough`` breaks the bound."""
        m = s.mapping
        r = (values.astype(np.float64) - rough) / (m.pitch if m.snap else 1.0)
        out = np.where((np.abs(r) > s.slack) & ~hidden, np.rint(r / m.lattice_step), 0.0)
        if s.exact and m.snap:
            # a voxel that would hit the background goes to its other side where that is nearer
            hits = (rough == values.dtype.type(s.background)) & ~hidden
            other = (np.abs(values.astype(np.float64) - (s.background + s.nudge)) > s.bound) & hits
            out = np.where(hits, np.where(other, -1.0, 0.0), out)
        return out.astype(np.int32)

    def _on_lattice(
        self, values: np.ndarray, s: Settings
    ) -> tuple[int, tuple[bytes, ...]] | None:
        m = s.mapping
        integers: np.ndarray | None
        if m.domain == "bits":
            narrow = values.astype(np.float32) if values.dtype == np.float64 else values
            integers = to_ordered(np.ascontiguousarray(narrow))
        else:
            integers = m.to_integers(values, m.lattice_step)
        if integers is None:
            return None
        assert self.lattice is not None
        made = self.lattice.encode(integers, s.levels, 0.0)
        fix = b""
        if s.exact and m.snap:
            rough = m.to_values(integers, m.lattice_step, None)
            mask = values == values.dtype.type(s.background)
            fix = correction.encode(self._outliers(values, rough, mask, s))
        return (LATTICE_CLASSIC if made.classical else LATTICE_LEARNED), (*made.streams, fix)

    def _raw(self, values: np.ndarray, s: Settings) -> tuple[bytes, ...]:
        planes = np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize)
        data = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(planes.T.tobytes())
        return (data, *((b"",) * scale_count(s.levels)))

    # ---------------------------------------------------------------- decode

    def decode(
        self, coding: int, streams: tuple[bytes, ...], shape: tuple[int, int, int], s: Settings
    ) -> np.ndarray:
        """The values of a tile; FormatError where its streams are not valid."""
        m = s.mapping
        specials, mask, *scales, fix = streams
        classes = support.decode_specials(specials, shape) if specials else None
        masked = support.decode_mask(mask, shape) if mask else None
        outliers = correction.decode(fix, shape)
        if coding == CONSTANT:
            out = _constant_tile(scales, shape, m)
        elif coding == RAW:
            out = _raw_tile(scales, shape, m)
        else:
            integers, unit = self.integers(coding, scales, shape, s, 0)
            if m.domain == "bits":
                out = from_ordered(integers, m.dtype)
            else:
                hits_allowed = outliers is None or not s.exact
                out = m.to_values(integers, unit, outliers if hits_allowed else None)
                if s.exact:
                    out = _nudged(out, m, integers, unit, outliers, s)
        if s.exact and coding in (CONSTANT, RAW) and s.nudge:
            out = np.where(out == m.dtype.type(s.background), _near(m, s, 1.0), out)
        if masked is not None:
            out[masked] = m.dtype.type(s.background)
        if classes is not None:
            out[classes == 1] = np.nan
            out[classes == 2] = np.inf
            out[classes == 3] = -np.inf
        return out

    def integers(
        self, coding: int, scales: list[bytes], shape: tuple[int, int, int], s: Settings, stop: int
    ) -> tuple[np.ndarray, float]:
        """The low band after ``stop`` levels and the unit of its integers."""
        lossy = coding in (LEARNED, CLASSIC)
        coder = self.lossy if lossy else self.lattice
        if coder is None:
            raise FormatError("a tile is coded with a model, but the file names none")
        unit = s.mapping.unit if lossy else s.mapping.lattice_step
        if unit <= 0:
            raise FormatError("a tile is coded in a way for which the header gives no step")
        classical = coding in (CLASSIC, LATTICE_CLASSIC)
        return coder.decode(scales, shape, s.levels, stop, classical), unit


def _near(m: Mapping, s: Settings, side: float) -> np.generic:
    """The value next to the background that stands for it at a visible voxel."""
    value = s.background + side * s.nudge
    if m.dtype.kind in "iu":
        info = np.iinfo(m.dtype)
        value = min(max(value, float(info.min)), float(info.max))
    return m.dtype.type(value)  # type: ignore[no-any-return]


def _nudged(
    out: np.ndarray, m: Mapping, integers: np.ndarray, unit: float,
    outliers: np.ndarray | None, s: Settings,
) -> np.ndarray:  # fmt: skip
    """Move visible voxels off the background; ``out`` was made without outliers if there are any.

    Where the reconstruction without outliers hits the background, a negative outlier says that the
    voxel lies on the other side.
    """
    background = m.dtype.type(s.background)
    if outliers is None:
        hits = out == background
        return np.where(hits, _near(m, s, 1.0), out)
    hits = out == background
    full = m.to_values(integers, unit, outliers)
    side = np.where(outliers < 0, _near(m, s, -1.0), _near(m, s, 1.0))
    full = np.where(hits, side, full)
    return np.where(full == background, _near(m, s, 1.0), full)


def _constant_tile(scales: list[bytes], shape: tuple[int, int, int], m: Mapping) -> np.ndarray:
    data = scales[0]
    if any(scales[1:]) or len(data) not in (0, m.dtype.itemsize):
        raise FormatError("a constant tile holds more than one value")
    if not data:
        return np.zeros(shape, m.dtype)
    return np.full(shape, np.frombuffer(data, m.dtype.newbyteorder("<"))[0], m.dtype)


def _raw_tile(scales: list[bytes], shape: tuple[int, int, int], m: Mapping) -> np.ndarray:
    size = int(np.prod(shape)) * m.dtype.itemsize
    if any(scales[1:]):
        raise FormatError("a raw tile has more than one scale")
    try:
        if zstandard.frame_content_size(scales[0]) != size:
            raise FormatError("a raw tile has another size than its box")
        data = zstandard.ZstdDecompressor().decompress(scales[0], max_output_size=size)
    except zstandard.ZstdError as error:
        raise FormatError(f"a raw tile can't be decompressed: {error}") from None
    if len(data) != size:
        raise FormatError("a raw tile has another size than its box")
    planes = np.frombuffer(data, np.uint8).reshape(m.dtype.itemsize, -1)
    flat = np.ascontiguousarray(planes.T).reshape(-1).view(m.dtype)
    return flat.reshape(shape)


def coarser(s: Settings, step: float) -> Settings:
    """The same settings at another step."""
    return replace(s, mapping=replace(s.mapping, step=step))

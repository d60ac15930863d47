"""One tile: from its streams back to its values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zstandard

from . import correction, motion, restoration, support
from .adaptive.coder import AdaptiveCoder
from .adaptive.trellis import TrellisAdaptiveCoder
from .errors import FormatError
from .models import TRELLIS, Model
from .neural.coder import NeuralCoder
from .scales import MAX_SCALES, ScaleCoder
from .trail import Trail
from .values import LARGEST, Mapping, from_ordered

(
    CONSTANT, LEARNED, CLASSIC, LATTICE_LEARNED, LATTICE_CLASSIC, RAW,
    PREDICTED_LEARNED, PREDICTED_CLASSIC, UNET_LEARNED, UNET_CLASSIC, TRELLIS_LEARNED,
    TRELLIS_CLASSIC, ADAPTIVE, TRELLIS_ADAPTIVE, NEURAL,
) = range(15)  # fmt: skip
FILLED = 1  # flag: hidden voxels did not decode to what they were before the masks
WHOLE = 2  # flag: previews decode the whole tile
FOLLOWS = 4  # flag: what is coded is the difference to the frame before
RESTORED = 8  # flag: a filter, in front of scale 0, restores what is decoded
GROUP = 8  # every frame whose number is a multiple of this stands alone
_PREFIX = 4  # bytes in front of scale 0 of a tile that follows: weight, shift along z, y, x
CLASSICAL = (CLASSIC, LATTICE_CLASSIC, PREDICTED_CLASSIC, UNET_CLASSIC, TRELLIS_CLASSIC)
TRANSFORMED = (
    LEARNED, CLASSIC, UNET_LEARNED, UNET_CLASSIC, TRELLIS_LEARNED, TRELLIS_CLASSIC,
    TRELLIS_ADAPTIVE,
)  # fmt: skip
CLOSED = (PREDICTED_LEARNED, PREDICTED_CLASSIC, ADAPTIVE, NEURAL)
SPARING = (ADAPTIVE, NEURAL)  # hidden voxels are not coded
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Frame:
    """What all tiles of a file share.

    ``scales``: streams of symbols in a tile. ``exact``: keep the background; ``nudge``: how far
    from it a visible voxel is put where it would hit it. ``spread``: the range of the volume, as
    the header states it.
    """

    mapping: Mapping
    levels: int
    scales: int = MAX_SCALES
    exact: bool = False
    background: float = 0.0
    nudge: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Begun:
    """A tile half decoded: ``integers`` in ``unit`` (or ``values``, which need none), ``outliers``,
    voxels that are ``masked`` and the ``classes`` of those that are special (None: there are none).
    """

    integers: np.ndarray | None = None
    unit: float = 1.0
    values: np.ndarray | None = None
    outliers: np.ndarray | None = None
    masked: np.ndarray | None = None
    classes: np.ndarray | None = None


class TileDecoder:
    """Decodes tiles with one model (None: constants and raw tiles only)."""

    def __init__(self, model: Model | None) -> None:
        self.coders: dict[str, ScaleCoder] = {}
        self.adaptive = AdaptiveCoder()
        self.unet = model.unet if model is not None else None
        self.neural: NeuralCoder | None = None
        if model is not None:
            if model.neural is not None:
                self.neural = NeuralCoder(model.neural)
            for name, bank in model.banks.items():
                self.coders[name] = ScaleCoder(
                    bank, model.gains, lossless=name == "lattice", predicted=name == "predicted"
                )

    @cached_property
    def trellis(self) -> TrellisAdaptiveCoder:
        """Of what the model's trellis decides."""
        return TrellisAdaptiveCoder(self.coders[TRELLIS])

    def decode(
        self, coding: int, streams: tuple[bytes, ...], shape: Shape, f: Frame,
        before: np.ndarray | None = None, restored: bool = False, trail: Trail | None = None,
    ) -> np.ndarray:  # fmt: skip
        """The values of a tile; FormatError where its streams are not valid.

        ``before``: those of the same tile in the frame before, where the tile follows it.
        ``restored``: whether a filter stands in front of scale 0. ``trail``: see ScaleCoder.
        """
        return self.finish(self.begin(coding, streams, shape, f, before, restored, trail), f)

    def begin(
        self, coding: int, streams: tuple[bytes, ...], shape: Shape, f: Frame,
        before: np.ndarray | None = None, restored: bool = False, trail: Trail | None = None,
    ) -> Begun:  # fmt: skip
        """The first half of that, which takes by far the longer: all that is read from streams."""
        m = f.mapping
        specials, mask, *scales, fix = streams
        restore: restoration.Filter | None = None
        if restored:
            restore, scales = restorer(coding, scales)
        if specials and m.dtype.kind != "f":
            raise FormatError("a tile of integers claims NaN or infinities")
        classes = support.decode_specials(specials, shape) if specials else None
        masked = support.decode_mask(mask, shape) if mask else None
        outliers = correction.decode(fix, shape)
        if before is not None and coding in (CONSTANT, RAW):
            raise FormatError("a tile that is not coded by a bank claims to follow another")
        if coding in (CONSTANT, RAW):
            read = _constant_tile if coding == CONSTANT else _raw_tile
            return Begun(values=read(scales, shape, m), masked=masked, classes=classes)
        hidden = hidden_voxels(masked, classes) if coding in SPARING else None
        integers, unit = self.integers(coding, scales, shape, f, 0, before, hidden, trail)
        if restore is not None:
            integers = restore.apply(integers, filter_step(coding, m))
        return Begun(integers, unit, None, outliers, masked, classes)

    def finish(self, begun: Begun, f: Frame) -> np.ndarray:
        """The second half: the values that integers stand for, and those that have none."""
        m = f.mapping
        integers, unit, outliers = begun.integers, begun.unit, begun.outliers
        if integers is None:
            assert begun.values is not None
            out = begun.values
        elif m.domain == "bits":
            out = from_ordered(integers, m.dtype)
        else:
            out = m.to_values(integers, unit, outliers)
            if f.exact and outliers is not None:
                out = other_side(out, m.to_values(integers, unit, None), outliers, f)
        if f.exact:
            out = np.where(out == m.dtype.type(f.background), beside(f, 1.0), out)
        if begun.masked is not None:
            out[begun.masked] = m.dtype.type(f.background)
        if (classes := begun.classes) is not None:
            out[classes == 1] = np.nan
            out[classes == 2] = np.inf
            out[classes == 3] = -np.inf
        return out

    def integers(
        self, coding: int, scales: list[bytes], shape: Shape, f: Frame, stop: int,
        before: np.ndarray | None = None, hidden: np.ndarray | None = None,
        trail: Trail | None = None,
    ) -> tuple[np.ndarray, float]:  # fmt: skip
        """The low band after ``stop`` levels and the unit of its integers.

        ``hidden``: voxels that a sparing coding leaves out.
        """
        m = f.mapping
        base: np.ndarray | None = None
        if coding in (UNET_LEARNED, UNET_CLASSIC):
            if stop:
                raise FormatError("a tile on an autoencoder's base has no preview of its own")
            base, scales = self._base(scales, shape, f)
        if before is not None:
            if stop or base is not None:
                raise FormatError("a tile that follows another has no base or preview of its own")
            base, scales = _following(scales, before, m, m.units(bank_of(coding))[0])
        name, unit, step = self.bank(coding, m)
        if coding == NEURAL:
            if self.neural is None:
                raise FormatError("a tile is coded with a network that the model lacks")
            found = self.neural.decode(scales[: f.scales], shape, f.levels, stop, step, hidden)
        elif coding == ADAPTIVE:
            found = self.adaptive.decode(scales[: f.scales], shape, f.levels, stop, step, hidden)
        elif coding == TRELLIS_ADAPTIVE:
            found = self.trellis.decode(scales[: f.scales], shape, f.levels, stop)
        else:
            found = self.coders[name].decode(
                scales[: f.scales], shape, f.levels, stop, coding in CLASSICAL, step, trail
            )
        return found if base is None else found + base, unit

    def bank(self, coding: int, m: Mapping) -> tuple[str, float, int]:
        """The bank of a coding, the unit of its integers and the step of its closed loop.

        FormatError where the file can't have tiles of this coding.
        """
        name = bank_of(coding)
        if coding != ADAPTIVE and name not in self.coders:
            raise FormatError("a tile is coded with a model, but the file names none")
        unit, step = m.units(name)
        if m.domain == "bits" and m.dtype.kind != "f":
            raise FormatError("a tile of integers claims the bits of floats")
        if unit <= 0 and m.domain != "bits":
            raise FormatError("a tile is coded in a way for which the header gives no step")
        return name, unit, step

    def _base(self, scales: list[bytes], shape: Shape, f: Frame) -> tuple[np.ndarray, list[bytes]]:
        """The autoencoder's base of a tile, and the streams without the latents."""
        if self.unet is None:
            raise FormatError("a tile is coded with an autoencoder, which the model lacks")
        if f.mapping.domain == "bits" or f.mapping.step <= 0:
            raise FormatError("a tile on an autoencoder's base needs a step")
        first = scales[0]
        size = int.from_bytes(first[:4], "little")
        if len(first) < 4 or 4 + size > len(first):
            raise FormatError("latents are longer than the scale that holds them")
        base = self.unet.decode(first[4 : 4 + size], shape)
        return base_integers(base, f), [first[4 + size :], *scales[1:]]


def hidden_voxels(masked: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray | None:
    """Which voxels are not among the coded values; None where all are."""
    if classes is None:
        return masked
    return classes != 0 if masked is None else masked | (classes != 0)


def restorer(coding: int, scales: list[bytes]) -> tuple[restoration.Filter, list[bytes]]:
    """The filter of a tile, and the streams without it."""
    if coding not in TRANSFORMED + CLOSED:
        raise FormatError("a tile of a coding without steps claims a restoration filter")
    found, rest = restoration.unpack(scales[0])
    return found, [rest, *scales[1:]]


def filter_step(coding: int, m: Mapping) -> int:
    """How many of a tile's integers are a step, for the filter."""
    return restoration.STEP if coding in TRANSFORMED else m.units("predicted")[1]


def prefix(shift: motion.Shift, weight: int) -> bytes:
    """What stands in front of scale 0 of a tile that follows another."""
    return bytes([weight, *(d & 255 for d in shift)])


def _following(
    scales: list[bytes], before: np.ndarray, m: Mapping, unit: float
) -> tuple[np.ndarray, list[bytes]]:
    """What the frame before lets expect of a tile, and the streams without what says how."""
    head = np.frombuffer(scales[0][:_PREFIX], np.int8)
    if len(head) < _PREFIX or not 0 < head[0] <= motion.WEIGHTS:
        raise FormatError("a tile that follows another does not say how")
    if unit <= 0 and m.domain != "bits":
        raise FormatError("a tile is coded in a way for which the header gives no step")
    shift = int(head[1]), int(head[2]), int(head[3])
    found = motion.base(before, shift, int(head[0]), m, unit)
    if found is None:
        raise FormatError("a tile follows values that leave the range of its integers")
    return found, [scales[0][_PREFIX:], *scales[1:]]


def base_integers(base: np.ndarray, f: Frame) -> np.ndarray:
    """An autoencoder's base (shares of the range) in the units of the lossy bank, int32."""
    m = f.mapping
    with np.errstate(all="ignore"):
        # NumPy's division: a header may claim a pitch of 0
        share = (
            np.float64(f.spread) / np.float64(m.pitch if m.on_lattice else 1.0) / np.float64(m.unit)
        )
        units = np.rint((base - 0.5) * share)
    return np.clip(np.nan_to_num(units), -LARGEST, LARGEST).astype(np.int32)


def bank_of(coding: int) -> str:
    """The model's bank that codes a tile: by the wavelet (two), on a lattice, or by prediction."""
    if coding in (LEARNED, CLASSIC, UNET_LEARNED, UNET_CLASSIC):
        return "lossy"
    if coding in (TRELLIS_LEARNED, TRELLIS_CLASSIC, TRELLIS_ADAPTIVE):
        return TRELLIS
    return "lattice" if coding in (LATTICE_LEARNED, LATTICE_CLASSIC) else "predicted"


def beside(f: Frame, side: float) -> np.generic:
    """The value next to the background that stands for it at a visible voxel."""
    dtype = f.mapping.dtype
    value = f.background + side * f.nudge
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        value = min(max(value, float(info.min)), float(info.max))
    return dtype.type(value)  # type: ignore[no-any-return]


def other_side(out: np.ndarray, plain: np.ndarray, outliers: np.ndarray, f: Frame) -> np.ndarray:
    """Where ``plain``, without outliers, hits the background, an outlier names the side of it."""
    hits = plain == f.mapping.dtype.type(f.background)
    return np.where(hits, np.where(outliers < 0, beside(f, -1.0), beside(f, 1.0)), out)


def _constant_tile(scales: list[bytes], shape: Shape, m: Mapping) -> np.ndarray:
    data = scales[0]
    if any(scales[1:]) or len(data) not in (0, m.dtype.itemsize):
        raise FormatError("a constant tile holds more than one value")
    if not data:
        return np.zeros(shape, m.dtype)
    return np.full(shape, np.frombuffer(data, m.dtype.newbyteorder("<"))[0], m.dtype)


def _raw_tile(scales: list[bytes], shape: Shape, m: Mapping) -> np.ndarray:
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
    flat = np.ascontiguousarray(planes.T).reshape(-1).view(m.dtype.newbyteorder("<"))
    return flat.astype(m.dtype).reshape(shape)

"""What a .vc file says of itself: the fields of its header and the values they may have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from volcodec.errors import VolcodecError

# Position in these tuples is the number stored in the file: append, never reorder.
DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64",
)  # fmt: skip
TARGETS = ("max_error", "rel_error", "psnr", "ratio", "bits", "lossless")
SUPPORTS = ("off", "exact")
DOMAINS = ("real", "lattice", "bits")
CODINGS = (
    "constant", "learned", "classic", "lattice-learned", "lattice-classic", "raw",
    "predicted-learned", "predicted-classic", "unet-learned", "unet-classic",
    "trellis-learned", "trellis-classic", "adaptive", "trellis-adaptive", "neural",
)  # fmt: skip

ITEMSIZES = dict(zip(DTYPES, (1, 1, 2, 2, 4, 4, 2, 4, 8), strict=True))
DEFAULT_DATASET = "volume"

MAX_AXIS = 1 << 40
MAX_TILE_AXIS = 4096
MAX_TILE_VOXELS = 1 << 25
MAX_SCALES = 8
MAX_LEVELS = 15
MAX_ATTRS = 1 << 20
MAX_NAME = 255
MAX_EXTRA = 1 << 16
MAX_SECTION = 1 << 62
IDENTITY_SIZE = 16  # bytes of a model's SHA-256 that name it
BRIEF_SIZE = 8  # the same of a model that comes with volcodec

# Numbers that a header leaves out where they are +0.0 (a lattice's pitch: where it is 1.0);
# their order is that of the file.
NUMBERS = (
    "target_value", "max_error", "relative_mse", "value_range", "margin",
    "background", "nudge", "step", "lattice_step", "lattice_origin", "pitch",
)  # fmt: skip

_SIZES = (
    "bound",
    "max_error",
    "relative_mse",
    "value_range",
    "margin",
    "step",
    "lattice_step",
    "pitch",
)
_FINITE = (
    "margin", "background", "nudge", "step", "lattice_step", "lattice_origin", "pitch", "least",
    "snap",
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What the front of a .vc file says; numbers are float64, in the units of the data.

    dtype: one of DTYPES; ``swapped`` tells that the caller's array was big-endian.
    shape, tile: (Z, Y, X) in voxels; a 2-D volume has ndim 2 and shape (1, Y, X).
    scales: streams of symbols in each tile (1..8); levels: of the transform (0..15).
    dataset: where the volume lay in its file; "" means "volume".
    target, target_value: the promise asked for (TARGETS; the value is 0 for lossless).
    bound: absolute maximum error promised, inf where none is.
    max_error, relative_mse, value_range: achieved, over the finite voxels (range: max - min;
    relative: mean square error / range**2).
    margin: how far float reconstructions may differ between devices; counted in the bound.
    support, background, nudge: see docs/format.md, "Specials and support".
    domain: what the coded integers stand for (DOMAINS): with "real" a decoded value is
        lattice_origin + y, with "lattice" lattice_origin + pitch * k with an integer k, with
        "bits" the integers are the ordered bit patterns of the floats.
    step: of the transform's quantiser; lattice_step: of the data's lattice; both in units of
        y (real) or k (lattice). pitch: positive for a lattice, else 0.
    kept: whether decoded values are no less than ``least``; capped: nor more than ``least +
        value_range``; snap: those within this of the background become the background (0: none do).
    attrs: attributes carried over, UTF-8 JSON of one object, or b"".
    model_name, model_sha256: the model that wrote the file, by the first 16 bytes of its
    SHA-256; b"" where it needs none.
    model_length: bytes of the embedded model, 0 for none; gap: unused bytes before it.
    extra: reserved for later minor versions.
    """

    dtype: str
    shape: tuple[int, int, int]
    tile: tuple[int, int, int]
    scales: int
    levels: int
    frames: int = 1
    ndim: int = 3
    swapped: bool = False
    dataset: str = ""
    target: str = "lossless"
    target_value: float = 0.0
    bound: float = math.inf
    max_error: float = 0.0
    relative_mse: float = 0.0
    value_range: float = 0.0
    margin: float = 0.0
    support: str = "off"
    background: float = 0.0
    nudge: float = 0.0
    step: float = 0.0
    lattice_step: float = 0.0
    lattice_origin: float = 0.0
    domain: str = "real"
    pitch: float = 0.0
    kept: bool = False
    capped: bool = False
    least: float = 0.0
    snap: float = 0.0
    attrs: bytes = b""
    model_name: str = ""
    model_sha256: bytes = b""
    model_length: int = 0
    gap: int = 0
    extra: bytes = b""

    def __post_init__(self) -> None:
        # Array scalars would compare equal but not print or pack as plain numbers do.
        for name in (*NUMBERS, "bound", "least", "snap"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("frames", "ndim", "scales", "levels", "model_length", "gap"):
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in ("swapped", "kept", "capped"):
            object.__setattr__(self, name, bool(getattr(self, name)))
        for name in ("shape", "tile"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        if self.dataset == DEFAULT_DATASET:
            object.__setattr__(self, "dataset", "")

    @property
    def dataset_name(self) -> str:
        return self.dataset or DEFAULT_DATASET

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tiles of one frame along z, y and x."""
        z, y, x = (-(-n // t) for n, t in zip(self.shape, self.tile, strict=True))
        return z, y, x

    @property
    def tiles(self) -> int:
        return self.frames * math.prod(self.grid)

    @property
    def streams(self) -> int:
        """Streams of each tile: specials, support, the scales, correction."""
        return self.scales + 3

    @property
    def voxels(self) -> int:
        return self.frames * math.prod(self.shape)

    @property
    def raw_size(self) -> int:
        """Bytes of the uncompressed volume."""
        return self.voxels * ITEMSIZES[self.dtype]

    def check(self, error: type[VolcodecError]) -> None:
        """Raise ``error`` where a field is outside what the format allows."""
        wrong = next(_faults(self), None)
        if wrong is not None:
            raise error(f"header: {wrong}")


def _faults(h: Header) -> Iterator[str]:
    """What is wrong with the fields, one line each."""
    known = {"dtype": DTYPES, "target": TARGETS, "support": SUPPORTS, "domain": DOMAINS}
    for name, names in known.items():
        if getattr(h, name) not in names:
            yield f"unknown {name} {getattr(h, name)!r}"
    if len(h.shape) != 3 or len(h.tile) != 3:
        yield "shape and tile must have three axes"
        return
    if not all(1 <= n <= MAX_AXIS for n in (*h.shape, h.frames)):
        yield f"impossible shape {h.shape} or number of frames {h.frames}"
    if not all(1 <= n <= MAX_TILE_AXIS for n in h.tile) or math.prod(h.tile) > MAX_TILE_VOXELS:
        yield f"impossible tile {h.tile}"
    if h.ndim not in (2, 3) or (h.ndim == 2 and h.shape[0] != 1):
        yield f"impossible number of axes {h.ndim} for shape {h.shape}"
    if not 1 <= h.scales <= MAX_SCALES or not 0 <= h.levels <= MAX_LEVELS:
        yield f"impossible numbers of scales ({h.scales}) or levels ({h.levels})"
    yield from _number_faults(h)
    for name in ("dataset", "model_name"):
        yield from _name_faults(name, getattr(h, name))
    if len(h.attrs) > MAX_ATTRS:
        yield f"attributes of {len(h.attrs)} bytes; at most {MAX_ATTRS} are stored"
    if len(h.extra) > MAX_EXTRA:
        yield f"more than {MAX_EXTRA} extra bytes"
    if len(h.model_sha256) not in (0, BRIEF_SIZE, IDENTITY_SIZE):
        yield f"a model is named by {IDENTITY_SIZE} bytes of its SHA-256, or {BRIEF_SIZE}"
    if len(h.model_sha256) == BRIEF_SIZE and (h.model_name or h.model_length):
        yield "a model that comes with volcodec has no name in a file, and is not embedded"
    if not h.model_sha256 and (h.model_name or h.model_length):
        yield "a model without its SHA-256"
    if not 0 <= h.model_length < MAX_SECTION or not 0 <= h.gap < MAX_SECTION:
        yield "impossible length of a section"


def _number_faults(h: Header) -> Iterator[str]:
    for name in _SIZES:
        if not getattr(h, name) >= 0:
            yield f"{name} is {getattr(h, name)}"
    for name in _FINITE:
        if not math.isfinite(getattr(h, name)):
            yield f"{name} is {getattr(h, name)}"
    # A target in decibels may be negative; every other is a size or an error.
    if math.isnan(h.target_value) or (h.target != "psnr" and h.target_value < 0):
        yield f"target value is {h.target_value}"
    if h.target == "lossless" and h.target_value != 0:
        yield "lossless takes no target value"
    if h.support == "off" and h.nudge != 0:
        yield "a nudge without exact support"
    if h.snap != 0 and (h.support != "off" or not h.snap > 0):
        yield f"a snap of {h.snap} with support {h.support}"
    if not h.kept and (h.least != 0 or h.capped):
        yield "limits of the values without a least value"
    if (h.pitch > 0) != (h.domain == "lattice"):
        yield f"a pitch of {h.pitch} for domain {h.domain}"


def _name_faults(what: str, name: str) -> Iterator[str]:
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        yield f"{what} is not valid Unicode"
        return
    if size > MAX_NAME:
        yield f"{what} has {size} bytes; at most {MAX_NAME} are stored"
    if "\0" in name:
        yield f"{what} holds a NUL"

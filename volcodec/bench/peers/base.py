"""The one interface behind which every other codec stands, and what the adapters share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_ERROR = "max_error"
PSNR = "psnr"
LOSSLESS = "lossless"
QUALITY = "quality"

# Integers up to this size are exact in float64.
_EXACT = 2**53


class Peer(ABC):
    """A codec to compare with.

    family is "error-bounded", "lossless" or "slices". targets names what `encode` may be asked
    for: "max_error" (in the units of the data), "psnr" (dB, peak = max - min of the volume),
    "lossless" (the value is ignored) or "quality" (the codec's own setting; `settings` are those
    worth measuring, coarse to fine).

    Volumes are arrays of shape (Z, Y, X) of any dtype, byte order and memory layout. Libraries are
    imported by the methods that need them, so that an adapter exists where its library does not.
    `encode` and `decode` count on `missing` and `refuses` having said None: they don't look again,
    since they are timed.
    """

    name: str
    family: str
    targets: tuple[str, ...]
    settings: tuple[float, ...] = ()

    @abstractmethod
    def title(self) -> str:
        """Name and version of the library as loaded; the name alone where it is missing."""

    @abstractmethod
    def missing(self) -> str | None:
        """Why this codec can't be used here, or None if it can."""

    @abstractmethod
    def refuses(self, volume: Array) -> str | None:
        """Why this codec can't take this volume, or None if it can."""

    @abstractmethod
    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        """The volume as one stream of bytes, everything counted but shape and dtype.

        Raises ValueError for a target that is not among `targets` or a value that is not positive,
        and whatever the library raises.
        """

    @abstractmethod
    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        """The volume that `encode` was given, of this shape and dtype, as the codec kept it.

        Error-bounded codecs return the floats they decode to, whatever the dtype was; the others
        return the dtype.
        """

    def check(self, target: str, value: float) -> None:
        """Raise ValueError where `encode` can't be asked for this."""
        if target not in self.targets:
            known = ", ".join(self.targets)
            raise ValueError(f"{self.name} has no target {target!r}, only {known}")
        if target != LOSSLESS and not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{target} has to be positive and finite, not {value}")


def module_missing(module: str) -> str | None:
    """Why a Python module can't be imported, or None."""
    try:
        import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            return f"the Python module {module} is not installed"
        return f"the Python module {module} can't be loaded: {error}"
    return None


class ImagecodecsPeer(Peer):
    """A codec reached through imagecodecs. codec: its prefix there; label: what people call it."""

    codec: str
    label: str

    def title(self) -> str:
        if self.missing():
            return self.label
        import imagecodecs

        version = str(getattr(imagecodecs, f"{self.codec}_version")())
        return f"{self.label} {version.split()[-1]}"

    def missing(self) -> str | None:
        reason = module_missing("imagecodecs")
        if reason:
            return reason
        import imagecodecs

        constants = getattr(imagecodecs, self.codec.upper(), None)
        if not getattr(constants, "available", False):
            return f"imagecodecs {imagecodecs.__version__} comes without {self.label}"
        return None


def real_dtype(volume: Array) -> str | None:
    """Why a volume is refused by everyone: anything but integers and floats up to 64 bits."""
    if volume.dtype.kind not in "iuf" or volume.dtype.itemsize > 8:
        return f"takes integers and floats up to 64 bits, not {volume.dtype}"
    return None


def not_floats(volume: Array) -> str | None:
    """Why a volume can't be handed over as floats without changing it, or None if it can."""
    reason = real_dtype(volume)
    if reason:
        return reason
    if volume.dtype.kind == "f":
        lost = volume.size - int(np.count_nonzero(np.isfinite(volume)))
        return f"takes finite values only; {lost} are NaN or infinite" if lost else None
    if volume.dtype.itemsize < 8 or volume.size == 0:
        return None
    if int(volume.min()) >= -_EXACT and int(volume.max()) <= _EXACT:
        return None
    return f"takes floats only, and float64 does not hold these {volume.dtype} values"


def as_floats(volume: Array) -> Array:
    """The volume in C order and native bytes: float32 where that holds every value, else float64.

    Small integers and float16 always fit; of larger dtypes slice after slice is compared, up to
    the first that doesn't.
    """
    if volume.dtype.itemsize <= 2 or (volume.dtype.kind == "f" and volume.dtype.itemsize == 4):
        return np.ascontiguousarray(volume, dtype=np.float32)
    with np.errstate(over="ignore"):
        fits = all(
            np.array_equal(part.astype(np.float32).astype(np.float64), part.astype(np.float64))
            for part in volume
        )
    return np.ascontiguousarray(volume, dtype=np.float32 if fits else np.float64)


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order, as libraries take it."""
    return dtype.newbyteorder("=")

"""What every file format of volumes has in common: sources, sinks, and what they refuse."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from volcodec.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

Box = tuple[slice, ...]

DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8")


class Source(ABC):
    """A volume in a file, read box by box.

    Attributes:
        shape: (Z, Y, X), or (Y, X) for one slice.
        dtype: as stored, byte order included.
        name: what the dataset is called.
        attrs: its attributes as JSON-able values (see formats.attributes).
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    name: str
    attrs: dict[str, Any]

    @abstractmethod
    def read(self, box: Box) -> np.ndarray:
        """Return the voxels of `box`, one slice without step per axis, as an own array.

        Bounds follow Python's slices. Raises InputError where the file is damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Sink(ABC):
    """A volume being written box by box to a file that appears at `commit`.

    As a context manager it commits when the block ends well and aborts when it raises.
    """

    @abstractmethod
    def write(self, box: Box, array: np.ndarray) -> None:
        """Write `array` to `box`, one slice without step per axis.

        Raises VolcodecError where the disk is full.
        """

    @abstractmethod
    def commit(self) -> None:
        """Finish the file and rename it to its target."""

    @abstractmethod
    def abort(self) -> None:
        """Remove what was written; nothing after `commit` or another `abort`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


def check_volume(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise InputError, saying what to do, unless volcodec takes such an array.

    `where` names the file (and the dataset) at the beginning of the message.
    """
    if dtype.kind not in "biufcV" or dtype.names is not None:
        raise InputError(
            f"{where} is not numeric ({dtype}): volcodec takes integers up to 32 bits and floats"
        )
    size = " x ".join(map(str, shape))
    if math.prod(shape) == 0:
        raise InputError(f"{where} is empty ({size}): there is nothing to compress")
    if len(shape) == 0:
        raise InputError(f"{where} is a single number: a volume has 3 dimensions (or 2)")
    if len(shape) == 1:
        raise InputError(
            f"{where} has 1 dimension ({size}): reshape it to (Z, Y, X) or (Y, X) first"
        )
    if len(shape) > 3:
        raise InputError(
            f"{where} has {len(shape)} dimensions ({size}), a volume has 3 (or 2): reshape it, "
            "or write one frame or channel (array[0], array[1], ...) to a file of its own; "
            "several IN are the frames of one series"
        )
    check_dtype(where, dtype)


def check_dtype(where: str, dtype: np.dtype[Any]) -> None:
    """Raise InputError, saying what to convert it to, unless volcodec takes this dtype."""
    if dtype.kind in "uif" and dtype.newbyteorder("=").str[1:] in DTYPES:
        return
    advice = {
        "b": "convert it with array.astype('uint8')",
        "c": "compress array.real and array.imag as two volumes",
        "f": "convert it with array.astype('float64')",
        "i": "convert it with array.astype('int32') if the values fit, else 'float64'",
        "u": "convert it with array.astype('uint32') if the values fit, else 'float64'",
    }.get(dtype.kind, "if it is bfloat16, convert it with array.astype('float32')")
    raise InputError(f"{where} is of type {dtype}, which volcodec doesn't take: {advice}")


def normal_box(box: Box, shape: tuple[int, ...]) -> Box:
    """Return `box` with bounds clipped and negative ones resolved, all axes named."""
    if len(box) > len(shape):
        raise InputError(f"a box of {len(box)} slices for {len(shape)} dimensions")
    whole = (*box, *[slice(None)] * (len(shape) - len(box)))
    bounds = [part.indices(n) for part, n in zip(whole, shape, strict=True)]
    if any(step != 1 for _, _, step in bounds):
        raise InputError("a box has no steps")
    return tuple(slice(low, max(low, high)) for low, high, _ in bounds)


def reason(error: BaseException) -> str:
    """Return the message of a library's error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def readable(path: str | os.PathLike[str]) -> str:
    """Return `path` as text; InputError where no such file can be read."""
    name = os.fsdecode(path)
    if os.path.isdir(name):
        raise InputError(f"{name} is a folder: name a file")
    if not os.path.exists(name):
        raise InputError(f"{name} does not exist")
    if not os.access(name, os.R_OK):
        raise InputError(f"{name} is not readable: check its permissions")
    return name

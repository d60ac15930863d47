"""File formats of volumes, by suffix; each is one module that is imported when it is needed.

A format's module has `open_source` and `create_sink` with the signatures of this one. To add
a format, write the module and enter it in FORMATS.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from volcodec.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from volcodec.formats.base import Sink, Source


Place: TypeAlias = "str | os.PathLike[str] | BinaryIO"


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes (lower case), its first bytes, the module that handles it."""

    suffixes: tuple[str, ...]
    magic: bytes
    module: str


FORMATS = (
    Format((".h5", ".hdf5"), b"\x89HDF\r\n\x1a\n", "volcodec.formats.h5"),
    Format((".npy",), b"\x93NUMPY", "volcodec.formats.npy"),
)
STREAMED = "volcodec.formats.npy"  # what is written to a file object, which has no suffix


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of all formats."""
    return tuple(suffix for format in FORMATS for suffix in format.suffixes)


def is_file(thing: Any) -> bool:
    """Return whether `thing` is a file object and not a path."""
    return hasattr(thing, "read") and hasattr(thing, "seek")


def place_name(place: Place) -> str:
    """Return what messages call a path or a file object."""
    if is_file(place):
        name = getattr(place, "name", None)
        return name if isinstance(name, str) else "the file object"
    return os.fsdecode(place)  # type: ignore[arg-type]


def _sniff(file: BinaryIO) -> Any:
    """Return the module for an open file, by its first bytes; the file stands at its start."""
    file.seek(0)
    head = file.read(max(len(format.magic) for format in FORMATS))
    file.seek(0)
    for format in FORMATS:
        if head.startswith(format.magic):
            return import_module(format.module)
    raise InputError(f"{place_name(file)} is neither an HDF5 nor a .npy file")


def _module(path: str | os.PathLike[str]) -> Any:
    name = os.fsdecode(path)
    suffix = os.path.splitext(name)[1].lower()
    for format in FORMATS:
        if suffix in format.suffixes:
            return import_module(format.module)
    known = ", ".join(suffixes())
    what = f"the suffix {suffix} is not that of a volume" if suffix else "its name has no suffix"
    raise InputError(f"{name}: {what}: volcodec reads and writes {known}")


def open_source(path: Place, dataset: str | None = None) -> Source:
    """Open the volume in `path` to be read box by box; use it as a context manager.

    `path` may also be a seekable binary file; it stays open. `dataset` names the dataset of a
    file that holds several, or names the volume where the format has no names. Raises
    InputError, saying what to do, where the file is missing, damaged, of an unknown suffix, or
    holds no 2-D or 3-D array of a dtype that volcodec takes.
    """
    module = _sniff(path) if is_file(path) else _module(path)  # type: ignore[arg-type]
    source: Source = module.open_source(path, dataset)
    return source


def create_sink(
    path: Place,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin the file `path`, which appears whole at `commit` (see formats.base.Sink).

    `path` may also be a seekable binary file, to which a .npy is written from its position 0;
    what was written to it before an error stays. `dtype` keeps its byte order; `attrs` are
    JSON-able values as `Source.attrs` gives them. Raises InputError where the suffix is unknown
    or `path` exists and `force` is not given, VolcodecError where it can't be written.
    """
    sink: Sink
    if is_file(path):
        sink = import_module(STREAMED).create_stream(path, shape, dtype)
    else:
        module = _module(path)  # type: ignore[arg-type]
        sink = module.create_sink(path, shape, dtype, dataset, attrs, force)
    return sink

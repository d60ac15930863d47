"""File formats of volumes, by suffix; each is one module that is imported when it is needed.

A format's module has `open_series` and `create_sink` with the signatures of this one. To add
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
    """A file format: its suffixes (lower case), and the module that handles it.

    magic: its first bytes, by which a file object is known; none: it is read from paths alone.
    bare: its files do not say what shape and dtype they have.
    """

    suffixes: tuple[str, ...]
    module: str
    magic: bytes = b""
    bare: bool = False


FORMATS = (
    Format((".h5", ".hdf5"), "volcodec.formats.h5", b"\x89HDF\r\n\x1a\n"),
    Format((".npy",), "volcodec.formats.npy", b"\x93NUMPY"),
    Format((".nii", ".nii.gz"), "volcodec.formats.nifti"),
    Format((".nrrd", ".nhdr"), "volcodec.formats.nrrd"),
    Format((".mrc", ".ccp4", ".map"), "volcodec.formats.mrc"),
    Format((".tif", ".tiff"), "volcodec.formats.tiff"),
    Format((".raw", ".bin"), "volcodec.formats.raw", bare=True),
)
STREAMED = "volcodec.formats.npy"  # what is written to a file object, which has no suffix


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of all formats."""
    return tuple(suffix for format in FORMATS for suffix in format.suffixes)


def format_of(path: str | os.PathLike[str]) -> Format | None:
    """Return the format that a file's name says it has, or None."""
    name = os.fsdecode(path).lower()
    return next((format for format in FORMATS if name.endswith(format.suffixes)), None)


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Return whether a file of this name can be opened without being told its shape."""
    format = format_of(path)
    return format is not None and not format.bare


def is_file(thing: Any) -> bool:
    """Return whether `thing` is a file object and not a path."""
    return hasattr(thing, "read") and hasattr(thing, "seek")


def place_name(place: Place) -> str:
    """Return what messages call a path or a file object."""
    if is_file(place):
        name = getattr(place, "name", None)
        return name if isinstance(name, str) else "the file object"
    return os.fsdecode(place)  # type: ignore[arg-type]


def _sniff(file: BinaryIO) -> Format:
    """Return the format of an open file, by its first bytes; the file stands at its start."""
    file.seek(0)
    head = file.read(max(len(format.magic) for format in FORMATS))
    file.seek(0)
    for format in FORMATS:
        if format.magic and head.startswith(format.magic):
            return format
    raise InputError(
        f"{place_name(file)} is neither an HDF5 nor a .npy file: give files of other formats by "
        "their paths"
    )


def _named(path: str | os.PathLike[str]) -> Format:
    format = format_of(path)
    if format is not None:
        return format
    name = os.fsdecode(path)
    suffix = os.path.splitext(name)[1].lower()
    known = ", ".join(suffixes())
    what = f"the suffix {suffix} is not that of a volume" if suffix else "its name has no suffix"
    raise InputError(f"{name}: {what}: volcodec reads and writes {known}")


def open_series(
    path: Place,
    dataset: str | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Any = None,
) -> list[Source]:
    """Open the volumes in `path` to be read box by box: one, or the frames of a series.

    `path` may also be a seekable binary file; it stays open. `dataset` names the dataset of a
    file that holds several, or names the volume where the format has no names. `shape` and
    `dtype` say what a .raw or .bin file holds, and are for those alone. Raises InputError,
    saying what to do, where the file is missing, damaged, of an unknown suffix, or holds no
    array of a shape and dtype that volcodec takes.
    """
    format = _sniff(path) if is_file(path) else _named(path)  # type: ignore[arg-type]
    module = import_module(format.module)
    if format.bare:
        found: list[Source] = module.open_series(path, dataset, shape, dtype)
    elif shape is None and dtype is None:
        found = module.open_series(path, dataset)
    else:
        raise InputError(
            f"{place_name(path)} says itself what shape and dtype it has: --shape and --dtype are "
            "for .raw and .bin files"
        )
    return found


def open_source(path: Place, dataset: str | None = None) -> Source:
    """Open the only volume in `path`, as `open_series` does; use it as a context manager.

    Raises InputError also where the file holds a series.
    """
    frames = open_series(path, dataset)
    if len(frames) > 1:
        for frame in frames:
            frame.close()
        raise InputError(
            f"{place_name(path)} holds a series of {len(frames)} frames: write one of them to a "
            "file of its own"
        )
    return frames[0]


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
    JSON-able values as `Source.attrs` gives them. Raises InputError where the suffix is unknown,
    the format has no such dtype, or `path` exists and `force` is not given, VolcodecError where
    it can't be written.
    """
    sink: Sink
    if is_file(path):
        sink = import_module(STREAMED).create_stream(path, shape, dtype)
    else:
        module = import_module(_named(path).module)  # type: ignore[arg-type]
        sink = module.create_sink(path, shape, dtype, dataset, attrs, force)
    return sink

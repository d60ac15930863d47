"""File formats of volumes, by suffix; each is one module that is imported when it is needed.

A format's module has `open_source` and `create_sink` with the signatures of this one. To add
a format, write the module and enter it in FORMATS.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from volcodec.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from volcodec.formats.base import Sink, Source


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes (lower case) and the module that reads and writes it."""

    suffixes: tuple[str, ...]
    module: str


FORMATS = (
    Format((".h5", ".hdf5"), "volcodec.formats.h5"),
    Format((".npy",), "volcodec.formats.npy"),
)


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of all formats."""
    return tuple(suffix for format in FORMATS for suffix in format.suffixes)


def _module(path: str | os.PathLike[str]) -> Any:
    name = os.fspath(path)
    suffix = os.path.splitext(name)[1].lower()
    for format in FORMATS:
        if suffix in format.suffixes:
            return import_module(format.module)
    known = ", ".join(suffixes())
    what = f"the suffix {suffix} is not that of a volume" if suffix else "its name has no suffix"
    raise InputError(f"{name}: {what}: volcodec reads and writes {known}")


def open_source(path: str | os.PathLike[str], dataset: str | None = None) -> Source:
    """Open the volume in `path` to be read box by box; use it as a context manager.

    `dataset` names the dataset of a file that holds several, or names the volume where the
    format has no names. Raises InputError, saying what to do, where the file is missing,
    damaged, of an unknown suffix, or holds no 2-D or 3-D array of a dtype that volcodec takes.
    """
    source: Source = _module(path).open_source(path, dataset)
    return source


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin the file `path`, which appears whole at `commit` (see formats.base.Sink).

    `dtype` keeps its byte order; `attrs` are JSON-able values as `Source.attrs` gives them.
    Raises InputError where the suffix is unknown or `path` exists and `force` is not given,
    VolcodecError where it can't be written.
    """
    sink: Sink = _module(path).create_sink(path, shape, dtype, dataset, attrs, force)
    return sink

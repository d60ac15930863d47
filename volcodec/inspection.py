"""What a .vc file says of itself, read without decoding and without numpy."""

from __future__ import annotations

import os
from typing import Any

from .container import Info, Reader, describe
from .errors import InputError


def open_reader(src: Any) -> tuple[Reader, Any]:
    """A Reader of bytes, a path or a seekable binary file, and the file to close (or None)."""
    if isinstance(src, (str, os.PathLike)):
        try:
            file = open(src, "rb")  # noqa: SIM115 - closed by the caller, with the reader
        except OSError as error:
            raise InputError(f"{os.fspath(src)}: {error.strerror}") from None
        try:
            return Reader(file), file
        except BaseException:
            file.close()
            raise
    return Reader(src), None


def inspect(src: Any) -> Info:
    """Everything a .vc file (bytes, path or binary file) says of itself; nothing is decoded.

    FormatError where it is not a valid .vc file.
    """
    reader, file = open_reader(src)
    try:
        return describe(reader)
    finally:
        if file is not None:
            file.close()

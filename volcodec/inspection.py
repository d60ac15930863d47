"""What a .vc file says of itself, read without decoding and without numpy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .container import Info, Reader, describe
from .errors import FormatError, InputError, ModelError


@contextmanager
def open_reader(src: Any) -> Iterator[Reader]:
    """A Reader of bytes, a path, a seekable binary file or what has ``read_at``.

    FormatError where it is not a valid .vc file. This and every FormatError and ModelError that
    the block raises begins with the path, if there is one.
    """
    if not isinstance(src, (str, os.PathLike)):
        yield Reader(src)
        return
    name = os.fsdecode(src)
    try:
        file = open(src, "rb")  # noqa: SIM115 - closed below; what it raises here is ours to say
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    with file:
        try:
            yield Reader(file)
        except (FormatError, ModelError) as error:
            raise type(error)(f"{name}: {error}") from error


def inspect(src: Any) -> Info:
    """Everything a .vc file (bytes, path or binary file) says of itself; nothing is decoded.

    FormatError where it is not a valid .vc file.
    """
    with open_reader(src) as reader:
        return describe(reader)

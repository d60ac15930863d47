"""What a .vc file says of itself, read without decoding and without numpy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from .container import ByteSource, Info, Reader, describe
from .errors import FormatError, InputError, ModelError
from .remote import RemoteFile, is_url
from .shipped import name_of


@contextmanager
def open_reader(src: Any) -> Iterator[Reader]:
    """A Reader of bytes, a path, a URL, a seekable binary file or what has ``read_at``.

    FormatError where it is not a valid .vc file. This and every FormatError and ModelError that
    the block raises begins with the path or the URL, if there is one.
    """
    if not isinstance(src, (str, os.PathLike)):
        yield Reader(src)
        return
    name = os.fsdecode(src)
    with _opened(src, name) as file, named(name):
        yield Reader(file)


def _opened(src: Any, name: str) -> AbstractContextManager[ByteSource]:
    if is_url(src):
        return nullcontext(RemoteFile(src))
    try:
        return open(src, "rb")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None


@contextmanager
def named(name: str) -> Iterator[None]:
    """Begin each FormatError and ModelError of the block with ``name``, unless it is empty."""
    try:
        yield
    except (FormatError, ModelError) as error:
        raise type(error)(f"{name}: {error}" if name else str(error)) from error


def inspect(src: Any) -> Info:
    """Everything a .vc file (bytes, path, URL or binary file) says of itself; nothing is decoded.

    FormatError where it is not a valid .vc file.
    """
    with open_reader(src) as reader:
        info = describe(reader)
    return replace(info, model=info.model or name_of(bytes.fromhex(info.model_sha256)))

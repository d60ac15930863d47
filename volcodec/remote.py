"""Files behind URLs, through fsspec: read range by range, written whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from .errors import InputError, VolcodecError


def is_url(place: Any) -> bool:
    """Whether ``place`` names a file by a URL: text with ``://``."""
    return isinstance(place, str) and "://" in place


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the file's path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise InputError(
            f"{url}: URLs need fsspec: python -m pip install 'volcodec[remote]'"
        ) from None
    with _explained(url):
        found: tuple[Any, str] = url_to_fs(url)
        return found


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what a file system raises into errors of volcodec that begin with the URL."""
    try:
        yield
    except VolcodecError:
        raise
    except FileNotFoundError as error:
        # over HTTP whatever goes wrong is a file not found, and its cause the truth
        why = f": {error.__cause__}" if error.__cause__ else " does not exist"
        raise InputError(f"{url}{why}") from error
    except Exception as error:  # every file system has kinds of its own
        raise VolcodecError(f"{url}: {str(error) or type(error).__name__}") from error


class RemoteFile:
    """The file behind a URL, for reading: one request a range, with no cache and no read-ahead.

    Opening asks for its ``size`` (bytes). May be used from several threads, whose requests then
    run at the same time; holds nothing that has to be closed. InputError where there is no such
    file, or where a web server knows no ranges; VolcodecError where reading fails.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._file_system, self._path = _file_system(url)
        self._web = "http" in self._file_system.protocol
        with _explained(url):
            about = self._file_system.info(self._path)
        if about["type"] != "file":
            raise InputError(f"{url} is a folder: name a file")
        if about["size"] is None or about.get("partial") is False:
            raise self._no_ranges()
        self.size = int(about["size"])

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Bytes ``offset .. offset + size``, which lie within the file."""
        with _explained(self._url):
            if not self._web:
                data: bytes = self._file_system.cat_file(self._path, offset, offset + size)
                return data
            # its cat_file would take in the whole file from a server that ignores ranges
            with self._file_system.open(self._path, cache_type="none", size=self.size) as file:
                file.seek(offset)
                try:
                    data = file.read(size)
                except ValueError:
                    raise self._no_ranges() from None
            return data

    def _no_ranges(self) -> InputError:
        return InputError(
            f"{self._url}: the server can't send a part of a file: download it whole, by hand "
            f"or as simplecache::{self._url}"
        )


@contextmanager
def remote_output(url: str, force: bool = False) -> Iterator[BinaryIO]:
    """Yield a temporary file, open to write and read, that is uploaded to ``url`` at the end.

    When the block raises nothing is uploaded. InputError where ``url`` exists and ``force`` is
    not given, or is on a web server; VolcodecError where it can't be written.
    """
    file_system, path = _file_system(url)
    if "http" in file_system.protocol:
        raise InputError(f"{url}: a web server takes no files: write to a disk or an object store")
    with _explained(url):
        if not force and file_system.exists(path):
            raise InputError(f"{url} exists: choose another name or replace it with --force")
    with tempfile.TemporaryDirectory(prefix="volcodec-") as folder:
        local = os.path.join(folder, "out.vc")
        with open(local, "w+b") as file:
            yield file
        with _explained(url):
            file_system.put_file(local, path)

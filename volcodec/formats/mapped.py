"""Formats whose voxels lie in the file as an array: mapped to memory to be read and written."""

from __future__ import annotations

import errno
import gzip
import math
import os
import shutil
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from volcodec.formats.atomic import AtomicFile, explain_write_error, temporary_beside
from volcodec.formats.base import Box, Sink, Source, check_volume, normal_box


class MappedSource(Source):
    """A volume that is an array, mapped from its file or in memory."""

    def __init__(self, where: str, array: np.ndarray, name: str, attrs: dict[str, Any]) -> None:
        check_volume(where, array.shape, array.dtype)
        self._array: np.ndarray | None = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.name = name
        self.attrs = attrs

    def read(self, box: Box) -> np.ndarray:
        if self._array is None:
            raise ValueError("the source is closed")
        return np.array(self._array[normal_box(box, self.shape)], order="C", subok=False)

    def close(self) -> None:
        self._array = None  # the map goes with its last reference


def series_of(
    where: str, array: np.ndarray, dataset: str | None, attrs: dict[str, Any]
) -> list[Source]:
    """Return the volumes of an array: those along its first axis where it has four.

    Raises InputError, beginning with `where`, where volcodec takes no such array.
    """
    frames = list(array) if array.ndim == 4 and array.size else [array]
    return [MappedSource(where, frame, dataset or "volume", attrs) for frame in frames]


class MappedSink(Sink):
    """A new file of voxels in C order, behind what `begin` writes.

    `begin` is given the empty file and returns where in it the voxels start.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        begin: Callable[[BinaryIO], int],
        force: bool = False,
    ) -> None:
        self._path = path
        size = math.prod(shape) * dtype.itemsize
        self._output = AtomicFile(path, force, size)
        try:
            with open(self._output.temporary, "r+b") as file:
                start = begin(file)
                # reserved before it is mapped: a full disk is then an error here, not a SIGBUS
                _reserve(file, start + size)
            self._array: np.ndarray | None = np.memmap(
                self._output.temporary, dtype, "r+", start, tuple(shape)
            )
        except BaseException as error:
            self._output.abort()
            if isinstance(error, OSError):
                raise explain_write_error(error, path) from error
            raise

    def write(self, box: Box, array: np.ndarray) -> None:
        if self._array is None:
            raise ValueError("the sink is closed")
        self._array[normal_box(box, self._array.shape)] = array

    def commit(self) -> None:
        self._unmap()
        self._output.commit()

    def abort(self) -> None:
        self._array = None
        self._output.abort()

    def _unmap(self) -> None:
        if isinstance(self._array, np.memmap):
            self._array.flush()
        self._array = None


class GzippedSink(MappedSink):
    """The same compressed by gzip, which is done at `commit`; the disk holds both until then."""

    def commit(self) -> None:
        self._unmap()
        compressed = temporary_beside(self._output.target)
        try:
            # neither name nor time: the same volume gives the same bytes
            with (
                open(self._output.temporary, "rb") as plain,
                open(compressed, "xb") as file,
                gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped,
            ):
                shutil.copyfileobj(plain, zipped, 1 << 20)
            os.replace(compressed, self._output.temporary)
        except BaseException as error:
            compressed.unlink(missing_ok=True)
            self._output.abort()
            if isinstance(error, OSError):
                raise explain_write_error(error, self._path) from error
            raise
        self._output.commit()


def _reserve(file: BinaryIO, size: int) -> None:
    """Make `file` at least `size` bytes long, with the disk space to hold them."""
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), 0, size)
        return
    except AttributeError:
        pass  # not on this system
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    block = bytes(1 << 20)
    written = file.seek(0, os.SEEK_END)
    file.writelines(block[: size - start] for start in range(written, size, len(block)))
    file.flush()

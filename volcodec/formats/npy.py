"""NumPy's `.npy` files, mapped and not loaded; never pickles."""

from __future__ import annotations

import errno
import math
import os
from typing import Any, BinaryIO

import numpy as np

from volcodec.errors import InputError
from volcodec.formats.atomic import AtomicFile, explain_write_error
from volcodec.formats.base import Box, Sink, Source, check_volume, normal_box, readable


class NpySource(Source):
    """The array of a `.npy` file; it has no name of its own, so `dataset` names it."""

    def __init__(self, path: str | os.PathLike[str], dataset: str | None = None) -> None:
        where = readable(path)
        array = _load(where)
        check_volume(where, array.shape, array.dtype)
        self._array: np.ndarray | None = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.name = dataset or "volume"
        self.attrs: dict[str, Any] = {}

    def read(self, box: Box) -> np.ndarray:
        if self._array is None:
            raise ValueError("the source is closed")
        return np.array(self._array[normal_box(box, self.shape)], order="C", subok=False)

    def close(self) -> None:
        self._array = None  # the map goes with its last reference


def _load(where: str) -> np.ndarray:
    try:
        array = np.load(where, mmap_mode="r", allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # numpy parses headers with ast: what it raises is not bounded
        what = "holds Python objects" if "Python objects" in str(error) else "is damaged"
        raise InputError(
            f"{where} is not a readable .npy file ({what}): write it anew with "
            "numpy.save and allow_pickle=False"
        ) from error
    if not isinstance(array, np.ndarray):  # an .npz archive under the wrong name
        array.close()
        raise InputError(f"{where} is an archive of arrays: write the one to use with numpy.save")
    return array


class NpySink(Sink):
    """A new `.npy` file in C order; it has no place for attributes."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        force: bool = False,
    ) -> None:
        self._output = AtomicFile(path, force)
        try:
            with open(self._output.temporary, "r+b") as file:
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": tuple(shape),
                }
                np.lib.format.write_array_header_1_0(file, header)
                start = file.tell()
                # reserved before it is mapped: a full disk is then an error here, not a SIGBUS
                _reserve(file, start + math.prod(shape) * dtype.itemsize)
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
        if isinstance(self._array, np.memmap):
            self._array.flush()
        self._array = None
        self._output.commit()

    def abort(self) -> None:
        self._array = None
        self._output.abort()


def _reserve(file: BinaryIO, size: int) -> None:
    """Make `file` `size` bytes long, with the disk space to hold them."""
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
    file.writelines(block[: size - start] for start in range(file.tell(), size, len(block)))
    file.flush()


def open_source(path: str | os.PathLike[str], dataset: str | None = None) -> NpySource:
    """Open a `.npy` file to read; `dataset` is what the volume shall be called."""
    return NpySource(path, dataset)


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> NpySink:
    """Begin a `.npy` file; the name and the attributes of the volume have no place in it."""
    return NpySink(path, shape, np.dtype(dtype), force)

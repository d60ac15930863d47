"""NumPy's `.npy` files, mapped and not loaded; never pickles."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import numpy as np

from volcodec.errors import InputError
from volcodec.formats import Place, is_file, place_name
from volcodec.formats.base import Box, Sink, Source, normal_box, readable
from volcodec.formats.mapped import MappedSink, MappedSource


def _load(path: Place, where: str) -> np.ndarray:
    try:
        if is_file(path):  # it may have no number that could be mapped
            array = np.load(path, allow_pickle=False)  # type: ignore[arg-type]
        else:
            name = readable(path)  # type: ignore[arg-type]
            array = np.load(name, mmap_mode="r", allow_pickle=False)
    except (MemoryError, InputError):
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


class NpyStream(Sink):
    """A `.npy` file in C order in an open binary file, which can't be mapped: row after row."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file, self._shape, self._dtype = file, tuple(shape), dtype
        file.seek(0)
        file.truncate()
        self._start = _write_header(file, shape, dtype)
        file.truncate(self._start + math.prod(shape) * dtype.itemsize)

    def write(self, box: Box, array: np.ndarray) -> None:
        box = normal_box(box, self._shape)
        lengths = tuple(part.stop - part.start for part in box)
        values = np.ascontiguousarray(np.broadcast_to(array, lengths), self._dtype)
        # the axes from `whole` on are contiguous in the file as in the box
        whole = len(box) - 1
        while whole > 0 and lengths[whole] == self._shape[whole]:
            whole -= 1
        strides = [math.prod(self._shape[axis + 1 :]) for axis in range(len(box))]
        inside = sum(part.start * stride for part, stride in zip(box, strides, strict=True))
        for index in np.ndindex(*lengths[:whole]):
            steps = zip(index, strides, strict=False)
            at = inside + sum(i * stride for i, stride in steps)
            self._file.seek(self._start + at * self._dtype.itemsize)
            _write_all(self._file, values[index].tobytes())

    def commit(self) -> None:
        self._file.flush()
        self._file.seek(0, os.SEEK_END)

    def abort(self) -> None:
        """Nothing: what a file object held before can't be brought back."""


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Write a header at the file's position and return where the voxels begin."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(shape),
    }
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while len(view):  # an unbuffered file may take only a part
        view = view[file.write(view) :]


def open_series(path: Place, dataset: str | None = None) -> list[Source]:
    """Open a `.npy` file (or a binary file) to read; `dataset` names the volume."""
    where = place_name(path)
    return [MappedSource(where, _load(path, where), dataset or "volume", {})]


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin a `.npy` file; the name and the attributes of the volume have no place in it."""
    dtype = np.dtype(dtype)
    return MappedSink(path, shape, dtype, lambda file: _write_header(file, shape, dtype), force)


def create_stream(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NpyStream:
    """Begin a `.npy` file in an open, seekable binary file."""
    if not (file.writable() and file.seekable()):
        raise InputError(f"{place_name(file)} can't be written: open it with mode 'w+b'")
    return NpyStream(file, shape, np.dtype(dtype))

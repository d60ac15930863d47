"""HDF5 files (`.h5`, `.hdf5`): one dataset of them, read and written box by box."""

from __future__ import annotations

import io
import math
import os
from typing import Any

import h5py
import numpy as np

from volcodec.errors import InputError
from volcodec.formats import Place, attributes, is_file, place_name
from volcodec.formats.atomic import AtomicFile, explain_write_error
from volcodec.formats.base import Box, Sink, Source, check_volume, normal_box, readable

# Tiles seldom lie on the chunks of a file: those that a row of tiles shares stay in memory.
_READ_CACHE = {"rdcc_nbytes": 256 << 20, "rdcc_nslots": 100_003}
_WRITE_CACHE = {"rdcc_nbytes": 64 << 20, "rdcc_nslots": 10_007}
_CHUNK = 64  # voxels per axis of a 3-D dataset; a 2-D one has chunks of the same size in bytes
_CHUNK_2D = 512
FILTER = 476  # of volcodec.hdf5, one of the numbers (256 to 511) that HDF5 leaves to private use
_LISTED = 12  # datasets named in a message


class H5Source(Source):
    """One 2-D or 3-D numeric dataset of an HDF5 file.

    `dataset` may be left out where the file holds just one such dataset.
    """

    def __init__(self, path: Place, dataset: str | None = None) -> None:
        self._where = place_name(path)
        self._file = _open(path, self._where)
        try:
            self._dataset = _choose(self._file, self._where, dataset)
            _register_filter(self._dataset)
            self.name = (self._dataset.name or "").lstrip("/")
            where = f"{self._where}: dataset {self.name}"
            self.shape = tuple(self._dataset.shape or ((0,) if self._dataset.shape is None else ()))
            self.dtype = _dtype(self._dataset, where)
            check_volume(where, self.shape, self.dtype)
            self.attrs = _attributes(self._dataset)
        except BaseException:
            self._file.close()
            raise

    def read(self, box: Box) -> np.ndarray:
        try:
            return np.asarray(self._dataset[normal_box(box, self.shape)])
        except OSError as error:
            raise InputError(
                f"{self._where}: dataset {self.name} can't be read: {_reason(error)}"
            ) from error

    def close(self) -> None:
        self._file.close()


def _open(path: Place, where: str) -> h5py.File:
    if not is_file(path) and not h5py.is_hdf5(path := readable(path)):  # type: ignore[arg-type]
        raise InputError(
            f"{where} is not an HDF5 file: check the name, or whether its copy was complete"
        )
    try:
        return h5py.File(path, "r", **_READ_CACHE)
    except OSError as error:
        raise InputError(f"{where} is not a readable HDF5 file: {_reason(error)}") from error


def _choose(file: h5py.File, where: str, name: str | None) -> h5py.Dataset:
    """Return the dataset called `name`, or the only one that can be a volume."""
    found: list[h5py.Dataset] = []
    try:
        file.visititems(lambda _, thing: found.append(thing) if _is_dataset(thing) else None)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{where} is a damaged HDF5 file: {_reason(error)}") from error
    if name is not None:
        try:
            thing = file[name]
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            raise InputError(
                f"{where} has no dataset {name!r}: it has {_listing(found)}"
            ) from error
        if not _is_dataset(thing):
            raise InputError(f"{where}: {name!r} is a group: the file has {_listing(found)}")
        return thing
    if not found:
        raise InputError(f"{where} holds no dataset")
    candidates = [thing for thing in found if _may_be_volume(thing)]
    if len(candidates) == 1:
        return candidates[0]
    if len(found) == 1:
        return found[0]  # not a volume: the checks that follow say why
    if not candidates:
        raise InputError(f"{where} holds no 2-D or 3-D numeric dataset: it has {_listing(found)}")
    raise InputError(
        f"{where} holds several datasets: name one with --dataset: {_listing(candidates)}"
    )


def _register_filter(dataset: h5py.Dataset) -> None:
    """Make a dataset readable whose chunks volcodec codes."""
    made = dataset.id.get_create_plist()
    if any(made.get_filter(i)[0] == FILTER for i in range(made.get_nfilters())):
        import volcodec.hdf5  # noqa: F401


def _is_dataset(thing: Any) -> bool:
    return isinstance(thing, h5py.Dataset)


def _may_be_volume(thing: h5py.Dataset) -> bool:
    try:
        return thing.ndim in (2, 3) and thing.dtype.kind in "biufc"
    except (TypeError, ValueError):  # a type that numpy has no name for
        return False


def _listing(found: list[h5py.Dataset]) -> str:
    if not found:
        return "no dataset"
    names = []
    for thing in found[:_LISTED]:
        try:
            size = " x ".join(map(str, thing.shape)) if thing.shape is not None else "empty"
            kind = str(thing.dtype) if thing.dtype.names is None else "records"
        except (TypeError, ValueError):
            size, kind = "?", "?"
        names.append(f"{(thing.name or '').lstrip('/')} ({size or 'a single value'}, {kind})")
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return ", ".join(names) + more


def _dtype(dataset: h5py.Dataset, where: str) -> np.dtype[Any]:
    """Return the dtype; InputError where h5py would widen what is stored (bfloat16)."""
    try:
        dtype: np.dtype[Any] = (
            np.dtype(dataset.dtype.str) if dataset.dtype.kind in "iuf" else dataset.dtype
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is of a type that NumPy has no name for: {error}") from error
    if dtype.kind == "f" and dataset.id.get_type().get_size() != dtype.itemsize:
        raise InputError(
            f"{where} is of a {8 * dataset.id.get_type().get_size()}-bit float type that NumPy "
            "has no name for (bfloat16?): convert it with array.astype('float32')"
        )
    return dtype


def _attributes(dataset: h5py.Dataset) -> dict[str, Any]:
    """Return the attributes that can be carried over; references and records can't."""
    packed: dict[str, Any] = {}
    for name in dataset.attrs:
        try:
            value = dataset.attrs[name]
            if isinstance(value, h5py.Empty):
                value = attributes.Empty(value.dtype)
            packed[name] = attributes.pack(value)
        except (TypeError, ValueError, OSError, KeyError):
            continue
    return packed


def _reason(error: BaseException) -> str:
    """Return h5py's message without its prefix, and the remedy for a missing filter."""
    text = " ".join(str(error.args[-1] if error.args else error).split())
    if "(" in text and text.endswith(")"):
        text = text[text.index("(") + 1 : -1]
    if "filter" in text:
        text += "; install the plugin for it, or repack the file with h5repack -f NONE"
    return text


class _Patient(io.FileIO):
    """A file that keeps its first failure for later and pretends that all went well.

    When a write fails while the HDF5 library closes a file, the library keeps the file half
    open and crashes the process at its end. So it is not told; the sink looks at `failure`.
    """

    failure: BaseException | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while self.failure is None and len(view):
                view = view[super().write(view) :]
        except BaseException as error:  # raised anew by the sink
            self.failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            if self.failure is None:
                return super().truncate(size)
        except BaseException as error:  # raised anew by the sink
            self.failure = error
        return size or 0

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        count = super().readinto(view) or 0
        view[count:] = bytes(len(view) - count)  # of what was never written
        return len(view)


class H5Sink(Sink):
    """A new HDF5 file with one chunked, uncompressed dataset and its attributes."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        dataset: str | None = None,
        attrs: dict[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        self._path = path
        name = (dataset or "").strip("/") or "volume"
        values = {key: attributes.unpack(value) for key, value in (attrs or {}).items()}
        self._output = AtomicFile(path, force, math.prod(shape) * dtype.itemsize)
        self._raw: _Patient | None = None
        self._file: h5py.File | None = None
        try:
            self._raw = _Patient(self._output.temporary, "r+b")
            # format 1.8 and not the earliest: attributes beyond 64 KiB need it
            self._file = h5py.File(self._raw, "w", libver=("v108", "v110"), **_WRITE_CACHE)
            try:
                if "\0" in name:  # h5py would end the name there
                    raise ValueError("a name has no NUL")
                self._dataset = self._file.create_dataset(
                    name, shape, dtype, chunks=_chunks(shape, dtype), fill_time="never"
                )
            except (ValueError, TypeError, OSError) as error:
                raise InputError(
                    f"{path}: a dataset can't be called {name!r}: name it with --dataset"
                ) from error
            for key, value in values.items():
                _set_attribute(self._dataset, key, value)
            self._check()
        except BaseException:
            self.abort()
            raise

    def write(self, box: Box, array: np.ndarray) -> None:
        self._dataset[normal_box(box, self._dataset.shape)] = array
        self._check()

    def commit(self) -> None:
        try:
            self._close()
            self._check()
        except BaseException:
            self._output.abort()
            raise
        self._output.commit()

    def abort(self) -> None:
        self._close()
        self._output.abort()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._raw is not None:
            self._raw.close()

    def _check(self) -> None:
        failure = self._raw.failure if self._raw is not None else None
        if isinstance(failure, OSError):
            raise explain_write_error(failure, self._path) from failure
        if failure is not None:
            raise failure


def _set_attribute(dataset: h5py.Dataset, key: str, value: Any) -> None:
    if isinstance(value, attributes.Empty):
        value = h5py.Empty(value.dtype)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        dataset.attrs.create(key, value, dtype=h5py.string_dtype())
        return
    try:
        dataset.attrs[key] = value
    except (TypeError, ValueError):  # None, nested lists, objects of another maker
        dataset.attrs[key] = str(value)


def _chunks(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...] | None:
    """Return chunks of about 64^3 voxels, or None for a volume that is one chunk or less.

    Chunks at the ends are stored whole, so the axis is divided evenly where 64 wastes much.
    """
    if math.prod(shape) * dtype.itemsize <= 1 << 20 or len(shape) < 2:
        return None
    edge = _CHUNK_2D if len(shape) == 2 else _CHUNK
    chunks = []
    for axis, n in enumerate(shape):
        parts = -(-n // edge)
        if axis < len(shape) - 3:
            chunks.append(1)
        else:
            chunks.append(min(edge, n) if parts * edge <= 1.1 * n else -(-n // parts))
    return tuple(chunks)


def open_series(path: Place, dataset: str | None = None) -> list[Source]:
    """Open a dataset of an HDF5 file (a path or a binary file) to read."""
    return [H5Source(path, dataset)]


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> H5Sink:
    """Begin an HDF5 file with one dataset and its attributes."""
    return H5Sink(path, tuple(shape), np.dtype(dtype), dataset, attrs, force)

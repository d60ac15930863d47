"""A .vc file as an array that is decoded where it is indexed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .container import ByteSource, Reader
from .container.info import parse_attrs
from .decoder import VolumeDecoder
from .errors import FormatError, InputError
from .inspection import named
from .remote import RemoteFile, is_url
from .tiles import coarse, whole_number

AXES = ("z", "y", "x")


class _LocalFile:
    """A file that is opened for every read, so that nothing has to be closed or survive a fork."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self.size = os.stat(path).st_size
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None

    def read_at(self, offset: int, size: int, /) -> bytes:
        try:
            with open(self._path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror or error}") from None


class LazyVolume:
    """The volume of a .vc file, or its preview at ``level``, decoded where it is indexed.

    Attributes:
        shape, dtype, ndim: (Z, Y, X), for a slice (Y, X); before them the frames of a series.
        dims: the names of the axes, of "frame", "z", "y", "x".
        chunks: the voxels of one tile along each axis.
        name: what the dataset is called.
        attrs: the attributes carried over, as JSON-able values.

    ``src`` is a path, a URL, bytes or a seekable binary file; opening it reads its front. Indices
    are integers and slices. May be used from several threads, and from other processes after
    pickling, where the source can be pickled. FormatError, ModelError and InputError as for
    ``decode``; IndexError for an index that is out of range, TypeError for one of another kind.
    """

    def __init__(
        self, src: Any, *, level: int = 0, model: Any = None, threads: int | None = None
    ) -> None:
        self._place = ""
        if isinstance(src, (str, os.PathLike)):
            self._place = os.fsdecode(src)
            if not is_url(src):  # another process may have another working folder
                self._place = os.path.abspath(self._place)
        self._source = None if self._place else src
        self._model, self._threads = model, threads
        decoder = self._opened()
        header = decoder.header
        self._checksum = decoder.reader.front_checksum
        with named(self._place):
            self.attrs = parse_attrs(header.attrs)
        self.level = whole_number(level, "level")
        z, y, x = decoder.level_shape(self.level)
        tile = tuple(coarse(n, self.level) for n in header.tile)
        self._series = header.frames > 1
        front = (header.frames,) if self._series else ()
        self.shape = (*front, *decoder.user_shape((z, y, x)))
        self.chunks = (*(1 for _ in front), *decoder.user_shape(tile))
        self.dims = (*("frame" for _ in front), *AXES[-header.ndim :])
        self.dtype = decoder.dtype
        self.ndim = len(self.shape)
        self.name = header.dataset_name
        self._decoder: VolumeDecoder | None = decoder

    def _opened(self) -> VolumeDecoder:
        source: ByteSource | None = self._source
        if source is None:
            source = (RemoteFile if is_url(self._place) else _LocalFile)(self._place)
        with named(self._place):
            return VolumeDecoder(Reader(source), self._model, self._threads)

    def __getstate__(self) -> dict[str, Any]:
        # opened anew where it is first read, for an error there is one of the reading
        return {**self.__dict__, "_decoder": None}

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, self._place, self._checksum, self.level

    def __getitem__(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        if any(part is Ellipsis for part in parts):
            at = next(i for i, part in enumerate(parts) if part is Ellipsis)
            parts = (*parts[:at], *self._all(len(parts) - 1), *parts[at + 1 :])
        if len(parts) > self.ndim:
            raise IndexError(f"{len(parts)} indices for an array of {self.ndim} axes")
        parts = (*parts, *self._all(len(parts)))
        inside: list[Any] = []  # what is kept of the boxes that are decoded
        frames = [0]
        if self._series:
            found = range(self.shape[0])[parts[0]]
            frames = list(found) if isinstance(found, range) else [found]
            inside.append(slice(None) if isinstance(found, range) else 0)
            parts = parts[1:]
        region = []
        for part, n in zip(parts, self.shape[self.ndim - len(parts) :], strict=True):
            found = range(n)[part]
            many = isinstance(found, range)
            ends = [*found[:1], *found[-1:]] if many else [found]
            region.append(slice(min(ends), max(ends) + 1) if ends else slice(0, 0))
            inside.append(slice(None, None, found.step) if many else 0)
        return self._read(frames, tuple(region))[tuple(inside)]

    def _all(self, given: int) -> tuple[slice, ...]:
        """Whole axes in place of those that an index of ``given`` parts leaves out."""
        return (slice(None),) * (self.ndim - given)

    def _read(self, frames: list[int], region: tuple[slice, ...]) -> np.ndarray:
        lengths = tuple(part.stop - part.start for part in region)
        out = np.empty((len(frames), *lengths) if self._series else lengths, self.dtype)
        if out.size:
            decoder = self._decoder or self._opened()
            if decoder.reader.front_checksum != self._checksum:
                raise FormatError(f"{self._place}: it is no longer the file that was opened")
            self._decoder = decoder
            where = decoder.region(region, self.level)
            by_frame = out.reshape((len(frames), *(part.stop - part.start for part in where)))
            with named(self._place):
                decoder.fill(by_frame, frames, where, self.level)
        return out

"""The Zarr format 3 codec "volcodec": a serializer of chunks that reads only the tiles it needs."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from volcodec.plugins.chunks import ChunkCodec, decode_chunk
from volcodec.request import usual_tile
from volcodec.tiles import tile_shape

try:
    from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
    from zarr.abc.store import ByteGetter, RangeByteRequest
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, BufferPrototype, NDBuffer
    from zarr.core.common import parse_named_configuration
    from zarr.storage import StorePath
except ImportError as error:
    raise ImportError(f"{error}: pip install 'volcodec[zarr]'") from error

Region = tuple[slice, ...]
_FRONT = 4096  # bytes that open an ordinary .vc file


class Volcodec(ChunkCodec, ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Codes every chunk of a Zarr array as a .vc file; see ``ChunkCodec`` for the settings.

    ``zarr.create_array(..., serializer=Volcodec(max_error=1e-3), compressors=None)``. A part of
    a large chunk is decoded from the tiles it touches, and nothing else is read of the chunk.
    """

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Volcodec:
        """The codec of zarr.json; InputError or TypeError where a setting is impossible."""
        settings: Any
        _, settings = parse_named_configuration(data, "volcodec", require_configuration=False)
        return cls(**(settings or {}))

    def to_dict(self) -> dict[str, Any]:
        """The codec as zarr.json keeps it."""
        return {"name": "volcodec", "configuration": self.config()}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """InputError where an array of ``dtype`` can't be coded, and what to do."""
        self.check(dtype.to_native_dtype())

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Volcodec:
        """The same codec; a shard asks its codecs for this and not for :meth:`validate`."""
        self.check(array_spec.dtype.to_native_dtype())
        return self

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """NotImplementedError: no one knows before."""
        raise NotImplementedError

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        blob = self.encode_chunk(chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(blob)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return _decode(chunk_data.as_numpy_array(), chunk_spec)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        """The ``selection`` of a chunk; None where the chunk isn't stored."""
        region, within = _region(selection, chunk_spec.shape)
        in_store = isinstance(byte_getter, StorePath)  # a chunk of a shard is in memory already
        if in_store and region is not None and _worth_ranges(region, chunk_spec.shape, self.effort):
            return await _decode_ranges(byte_getter, chunk_spec, region, within)
        stored = await byte_getter.get(chunk_spec.prototype)
        if stored is None:
            return None
        return await asyncio.to_thread(_decode, stored.as_numpy_array(), chunk_spec, region, within)


def _decode(
    stored: Any, spec: ArraySpec, region: Region | None = None, within: Any = ()
) -> NDBuffer:
    """The part ``within`` the ``region`` (None: all) of a stored chunk."""
    values = decode_chunk(stored, spec.shape, spec.dtype.to_native_dtype(), region)
    return spec.prototype.nd_buffer.from_numpy_array(np.asarray(values[within]))


async def _decode_ranges(
    getter: ByteGetter, spec: ArraySpec, region: Region, within: Any
) -> NDBuffer | None:
    """What :func:`_decode` gives, reading of the chunk what the region needs; None: not stored."""
    front = await getter.get(spec.prototype, RangeByteRequest(0, _FRONT))
    if front is None:
        return None
    loop = asyncio.get_running_loop()
    stored = _Ranges(front.to_bytes(), getter, spec.prototype, loop)
    # What waits for the store here must not take a place in the pool that the store works in.
    pool = ThreadPoolExecutor(1, thread_name_prefix="volcodec")
    try:
        return await loop.run_in_executor(pool, _decode, stored, spec, region, within)
    finally:
        pool.shutdown(wait=False)


class _Ranges:
    """Byte ranges of a stored chunk, for threads other than the event loop's."""

    def __init__(
        self,
        front: bytes,
        getter: ByteGetter,
        prototype: BufferPrototype,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._front, self._getter, self._prototype, self._loop = front, getter, prototype, loop

    def read_at(self, offset: int, size: int, /) -> bytes:
        end = offset + size
        if end <= _FRONT:
            return self._front[offset:end]
        wanted = self._getter.get(self._prototype, RangeByteRequest(offset, end))
        found = asyncio.run_coroutine_threadsafe(wanted, self._loop).result()
        return b"" if found is None else found.to_bytes()


def _region(selection: Any, shape: tuple[int, ...]) -> tuple[Region | None, Any]:
    """The box around a selection of a chunk, and the selection within the box.

    None and the selection itself where it is not one of slices and integers, or where the axes
    of the chunk are not those of the volume it is coded as.
    """
    if len(shape) not in (2, 3) or not isinstance(selection, tuple):
        return None, selection
    box: list[slice] = []
    within: list[slice | int] = []
    for part, n in zip(selection, shape, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(n)
            box.append(slice(start, stop))
            within.append(slice(None, None, step))
        elif isinstance(part, (int, np.integer)):
            box.append(slice(int(part), int(part) + 1))
            within.append(0)
        else:
            return None, selection
    return tuple(box), tuple(within)


def _worth_ranges(region: Region, shape: tuple[int, ...], effort: int) -> bool:
    """Whether a chunk has several tiles, so many of them unneeded that two reads beat one."""
    z, y, x = volume = (1, *shape)[-3:]
    needed = math.prod(part.stop - part.start for part in region)
    return tile_shape((z, y, x), None, usual_tile(effort)) != volume and 2 * needed <= math.prod(
        shape
    )

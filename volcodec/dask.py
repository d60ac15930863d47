"""Dask arrays of .vc files, and .vc files of dask arrays, whose tiles a cluster codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .errors import InputError
from .files import Summary, compress
from .lazy import LazyVolume
from .parallel import Pending

try:
    import dask.array as da
    from dask.delayed import delayed
    from distributed import Client, default_client
except ImportError as error:
    raise ImportError(f"{error}: pip install 'volcodec[dask]'") from error

R = TypeVar("R")


def from_vc(src: Any, *, level: int = 0, chunks: Any = None, model: Any = None) -> da.Array:
    """A .vc file (path, URL, bytes or binary file), or its preview at ``level``, as a dask array.

    Shape and dtype are those of ``volcodec.decode``: (Z, Y, X) or (Y, X), before them the frames
    of a series. A chunk is one tile unless ``chunks`` says otherwise, as for
    ``dask.array.from_array``; chunks of whole tiles decode no tile twice. Workers must be able to
    read ``src``, and find the model: from the file, shipped, in VOLCODEC_MODELS or by the path
    ``model``. Raises what ``volcodec.decode`` raises, here for the front of the file, for a tile
    when it is computed.
    """
    volume = LazyVolume(src, level=level, model=model, threads=1)
    meta = np.empty((0,) * volume.ndim, volume.dtype)
    return da.from_array(volume, volume.chunks if chunks is None else chunks, meta=meta)


def to_vc(array: da.Array, dst: Any, *, client: Client | None = None, **options: Any) -> Summary:
    """Compress a dask array (Z, Y, X) or (Y, X) to a .vc file, its tiles on all workers.

    ``client`` is the cluster that computes and codes the tiles: by default the current one and,
    where there is none, this process. ``dst``, targets, options and errors are those of
    ``volcodec.compress``, and so are the bytes of the file. The tiles are gathered in order
    and written here; a few more than the workers have threads are under way at a time.
    InputError where ``array`` is none of dask, or has chunks of unknown size.
    """
    if not isinstance(array, da.Array):
        raise InputError(f"to_vc takes a dask array, not {type(array).__name__}: use compress")
    if np.isnan(array.shape).any():
        raise InputError("the array's chunks are of unknown size: call compute_chunk_sizes() first")
    if client is None:
        try:
            client = default_client()
        except ValueError:
            return compress(_Source(array), dst, **options)
    return compress(_ClusterSource(array, client), dst, **options)


class _Source:
    """A dask array as a source whose boxes are computed in the thread that reads them."""

    def __init__(self, array: da.Array) -> None:
        self._array = array
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self._array[box].compute(scheduler="synchronous"))


class _ClusterSource(_Source):
    """The same for a cluster, whose workers compute the boxes and do the work on them."""

    def __init__(self, array: da.Array, client: Client) -> None:
        super().__init__(array)
        self._client = client

    def ahead(self) -> int:
        return 2 * max(1, sum(self._client.nthreads().values()))

    def submit(self, work: Callable[[np.ndarray], R], box: tuple[slice, ...]) -> Pending[R]:
        task = delayed(work, pure=False, traverse=False)
        future: Pending[R] = self._client.compute(task(self._array[box]))
        return future

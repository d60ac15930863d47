"""Codecs that give every bit back: Blosc2, pcodec and HDF5's gzip.

All are given the volume in its own dtype, in C order and native bytes. NaN payloads and the signs
of zeros are bits like others.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .base import LOSSLESS, Array, ImagecodecsPeer, Peer, module_missing, native, real_dtype


def _plain(volume: Array) -> Array:
    return np.ascontiguousarray(volume, dtype=native(volume.dtype))


class Blosc2(ImagecodecsPeer):
    """Blosc2 with Zstandard at Blosc2's level of default, after a shuffle of the bits or bytes.

    Which shuffle is smaller depends on the volume, so both are measured. With several threads the
    order of the blocks in the stream may change, not its length.
    """

    family = "lossless"
    targets = (LOSSLESS,)
    codec = "blosc2"
    label = "Blosc2"

    LEVEL = 5
    # of one chunk, which is how imagecodecs writes
    _MOST_BYTES = 2**31 - 1 - 32

    def __init__(self, name: str, shuffle: str) -> None:
        self.name = name
        self.shuffle = shuffle

    def title(self) -> str:
        return f"{super().title()} ({self.shuffle}, zstd {self.LEVEL})"

    def refuses(self, volume: Array) -> str | None:
        if volume.nbytes > self._MOST_BYTES:
            return "takes less than 2 GiB in one piece"
        return real_dtype(volume)

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        import imagecodecs

        plain: Any = _plain(volume)  # the stubs know of bytes only, the functions of buffers
        return bytes(
            imagecodecs.blosc2_encode(
                plain,
                level=self.LEVEL,
                compressor="zstd",
                shuffle=self.shuffle,
                numthreads=threads,
            )
        )

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        import imagecodecs

        decoded: Array = np.empty(shape, dtype=native(dtype))
        into: Any = decoded.reshape(-1).view(np.uint8)
        imagecodecs.blosc2_decode(blob, numthreads=threads, out=into)
        return decoded.astype(dtype, copy=False)


class Pcodec(ImagecodecsPeer):
    """pcodec (`pco`) at its level of default, 8. It runs on one thread."""

    name = "pcodec"
    family = "lossless"
    targets = (LOSSLESS,)
    codec = "pcodec"
    label = "pcodec"

    def refuses(self, volume: Array) -> str | None:
        return real_dtype(volume)

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        import imagecodecs

        return bytes(imagecodecs.pcodec_encode(_plain(volume)))

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        import imagecodecs

        decoded: Array = imagecodecs.pcodec_decode(blob, shape, native(dtype))
        return decoded.astype(dtype, copy=False)


class Hdf5Gzip(Peer):
    """An HDF5 file in memory: one dataset with shuffle and gzip 4, in chunks as h5py guesses them.

    The whole file counts, as it would on disk. It runs on one thread.
    """

    name = "gzip"
    family = "lossless"
    targets = (LOSSLESS,)

    LEVEL = 4

    def title(self) -> str:
        if self.missing():
            return f"HDF5 (shuffle, gzip {self.LEVEL})"
        import h5py

        versions = f"HDF5 {h5py.version.hdf5_version}, h5py {h5py.__version__}"
        return f"{versions} (shuffle, gzip {self.LEVEL})"

    def missing(self) -> str | None:
        return module_missing("h5py")

    def refuses(self, volume: Array) -> str | None:
        return real_dtype(volume)

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        import h5py

        memory = io.BytesIO()
        with h5py.File(memory, "w") as file:
            file.create_dataset(
                "volume",
                data=_plain(volume),
                chunks=True,
                shuffle=True,
                compression="gzip",
                compression_opts=self.LEVEL,
            )
        return memory.getvalue()

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        import h5py

        with h5py.File(io.BytesIO(blob), "r") as file:
            decoded: Array = file["volume"][()]
        return decoded.reshape(shape).astype(dtype, copy=False)

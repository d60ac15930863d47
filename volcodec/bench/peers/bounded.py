"""Error-bounded codecs of floating-point volumes: SPERR, SZ3 and ZFP, all through imagecodecs.

Axes of length 1 are dropped first: SPERR ends the process on a volume of one slice, and ZFP fills
every block of such a volume up to 4 x 4 x 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import (
    MAX_ERROR,
    PSNR,
    Array,
    ImagecodecsPeer,
    as_floats,
    native,
    not_floats,
)


def dense_shape(shape: tuple[int, ...], least: int) -> tuple[int, ...]:
    """The shape without axes of length 1, filled up to `least` axes at its end."""
    kept = tuple(length for length in shape if length > 1)
    return kept + (1,) * (least - len(kept))


class Sperr(ImagecodecsPeer):
    """SPERR: `pwe` keeps a point-wise bound, `psnr` picks its step from an estimate of the PSNR.

    The volume is one chunk, which costs the fewest bytes; SPERR's threads share chunks among them,
    and imagecodecs builds it without any.
    """

    name = "sperr"
    family = "error-bounded"
    targets = (MAX_ERROR, PSNR)
    codec = "sperr"
    label = "SPERR"

    def refuses(self, volume: Array) -> str | None:
        return not_floats(volume)

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        if target == MAX_ERROR and value >= 2**63:
            # its corrections are 64-bit integers: it dies with a segmentation fault
            raise ValueError(f"SPERR takes bounds below 2**63, not {value:g}")
        import imagecodecs

        floats = as_floats(volume)
        modes = imagecodecs.SPERR.MODE
        mode = modes.PWE if target == MAX_ERROR else modes.PSNR
        dense = floats.reshape(dense_shape(floats.shape, 2))
        return bytes(imagecodecs.sperr_encode(dense, value, mode, numthreads=threads))

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        import imagecodecs

        decoded: Array = imagecodecs.sperr_decode(blob, numthreads=threads)
        return decoded.reshape(shape)


class Sz3(ImagecodecsPeer):
    """SZ3: its algorithm of default with an absolute bound. imagecodecs offers no threads for it.

    Its stream does not say which float it holds, and the wrong guess ends the process; so the dtype
    alone decides, without a look at the values: float64 for 64-bit floats and 32-bit integers.
    """

    name = "sz3"
    family = "error-bounded"
    targets = (MAX_ERROR,)
    codec = "sz3"
    label = "SZ3"

    @staticmethod
    def _float(dtype: np.dtype[Any]) -> np.dtype[Any]:
        small = dtype.itemsize <= 2 or (dtype.kind == "f" and dtype.itemsize == 4)
        return np.dtype(np.float32 if small else np.float64)

    def refuses(self, volume: Array) -> str | None:
        return not_floats(volume)

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        import imagecodecs

        floats = np.ascontiguousarray(volume, dtype=self._float(volume.dtype))
        dense = floats.reshape(dense_shape(floats.shape, 1))
        return bytes(imagecodecs.sz3_encode(dense, mode="abs", abs=value))

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        import imagecodecs

        dense = dense_shape(shape, 1)
        decoded: Array = imagecodecs.sz3_decode(blob, dense, self._float(native(dtype)))
        return decoded.reshape(shape)


class Zfp(ImagecodecsPeer):
    """ZFP in its fixed-accuracy mode. Threads help its encoder only.

    Its float32 breaks its bound where all values are tiny (it scales them by powers of two that
    float32 doesn't have), so those volumes are given to it as float64.
    """

    name = "zfp"
    family = "error-bounded"
    targets = (MAX_ERROR,)
    codec = "zfp"
    label = "ZFP"

    _TINY = 2.0**-90

    def refuses(self, volume: Array) -> str | None:
        return not_floats(volume)

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        import imagecodecs

        floats = as_floats(volume)
        if max(float(floats.max()), -float(floats.min())) < self._TINY:
            floats = floats.astype(np.float64, copy=False)
        mode = imagecodecs.ZFP.MODE.FIXED_ACCURACY
        dense = floats.reshape(dense_shape(floats.shape, 1))
        level: Any = value  # a float in this mode, of which the library's stub doesn't know
        return bytes(imagecodecs.zfp_encode(dense, level, mode=mode, numthreads=threads))

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        import imagecodecs

        decoded: Array = imagecodecs.zfp_decode(blob, numthreads=threads)
        return decoded.reshape(shape)

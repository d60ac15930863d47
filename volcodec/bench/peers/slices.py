"""Image codecs on every z slice of an integer volume: JPEG 2000, HTJ2K and JPEG XL.

The smallest value of the volume is subtracted and the slices get the bit depth that is left, 1 to
16: signed values become unsigned without loss, and a lossy setting means the same on 12-bit data
in 16-bit integers as on 8-bit ones. Threads share the slices among them; the stream does not depend
on their number.

Stream, little-endian: the smallest value (i32), the depth (u8), whether it is lossy (u8), then for
each slice its length (u32) and its bytes.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .base import LOSSLESS, QUALITY, Array, ImagecodecsPeer, native

_HEAD = struct.Struct("<iB?")
_LENGTH = struct.Struct("<I")


class SlicePeer(ImagecodecsPeer):
    """An image codec, one slice at a time."""

    family = "slices"
    targets = (LOSSLESS, QUALITY)

    def title(self) -> str:
        return f"{super().title()}, slice by slice"

    @abstractmethod
    def encode_slice(self, image: Array, depth: int, quality: float | None) -> bytes:
        """A uint8 or uint16 image (Y, X) of `depth` bits; lossless where quality is None."""

    @abstractmethod
    def decode_slice(self, blob: bytes, depth: int, lossy: bool) -> Array:
        """The image that `encode_slice` was given, in any dtype."""

    def refuses(self, volume: Array) -> str | None:
        if volume.dtype.kind not in "iu":
            return "takes integers only"
        if volume.dtype.itemsize > 2:
            return "takes 8- and 16-bit integers only"
        return None

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        quality = None if target == LOSSLESS else value
        lowest = int(volume.min())
        depth = max((int(volume.max()) - lowest).bit_length(), 1)
        unsigned = np.dtype(np.uint8 if depth <= 8 else np.uint16)

        def coded(image: Array) -> bytes:
            shifted = (image.astype(np.int32) - lowest).astype(unsigned)
            return self.encode_slice(shifted, depth, quality)

        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            slices = list(pool.map(coded, volume))
        framed = [part for blob in slices for part in (_LENGTH.pack(len(blob)), blob)]
        return b"".join([_HEAD.pack(lowest, depth, quality is not None), *framed])

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        lowest, depth, lossy = _HEAD.unpack_from(blob)
        parts: list[bytes] = []
        at = _HEAD.size
        for _ in range(shape[0]):
            (length,) = _LENGTH.unpack_from(blob, at)
            at += _LENGTH.size
            parts.append(blob[at : at + length])
            at += length
        limits = np.iinfo(dtype)
        decoded: Array = np.empty(shape, dtype=native(dtype))

        def restore(index: int) -> None:
            values = self.decode_slice(parts[index], depth, lossy).astype(np.int32) + lowest
            # a lossy codec may leave the range of the dtype
            decoded[index] = np.clip(values, limits.min, limits.max)

        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            list(pool.map(restore, range(shape[0])))
        return decoded.astype(dtype, copy=False)


class Jpeg2000(SlicePeer):
    """OpenJPEG, bare codestreams. Quality: the PSNR in dB that each slice is cut off at, with
    2**depth - 1 as its peak; 9/7 wavelet. Lossless: 5/3."""

    name = "jpeg2k"
    settings = (30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0)
    codec = "jpeg2k"
    label = "JPEG 2000, OpenJPEG"

    def encode_slice(self, image: Array, depth: int, quality: float | None) -> bytes:
        import imagecodecs

        level: Any = quality  # decibels need not be whole, whatever the stub says
        return bytes(
            imagecodecs.jpeg2k_encode(
                image,
                level=level,
                codecformat="j2k",
                bitspersample=depth,
                reversible=quality is None,
                numthreads=1,
            )
        )

    def decode_slice(self, blob: bytes, depth: int, lossy: bool) -> Array:
        import imagecodecs

        decoded: Array = imagecodecs.jpeg2k_decode(blob, numthreads=1)
        return decoded


class Htj2k(SlicePeer):
    """OpenJPH, JPEG 2000 with the fast block coder. Quality: the quantiser's step as a share of
    2**depth; 9/7 wavelet. Lossless: 5/3.

    OpenJPH 0.26 turns what lies above the top of the dtype into 0 when it decodes a lossy image,
    and imagecodecs takes its coarse step of default for one below 1e-5. So lossy images are scaled
    to 15 bits and handed over as 16: room above, and steps of a size that is taken as given. The
    factor is a power of two; 16-bit data loses its last bit, which no setting here would keep.
    """

    name = "htj2k"
    settings = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
    codec = "htj2k"
    label = "HTJ2K, OpenJPH"

    _BITS = 15

    def encode_slice(self, image: Array, depth: int, quality: float | None) -> bytes:
        import imagecodecs

        if quality is None:
            return bytes(imagecodecs.htj2k_encode(image, reversible=True))
        up = self._BITS - depth
        wide: Array = image.astype(np.uint16)
        scaled = wide << up if up >= 0 else wide >> -up
        # the library's step is a share of all 16 bits
        step = quality * 2.0 ** (self._BITS - 16)
        return bytes(imagecodecs.htj2k_encode(scaled, level=step, reversible=False))

    def decode_slice(self, blob: bytes, depth: int, lossy: bool) -> Array:
        import imagecodecs

        decoded: Array = imagecodecs.htj2k_decode(blob)
        if not lossy:
            return decoded
        return np.rint(decoded * 2.0 ** (depth - self._BITS))


class JpegXl(SlicePeer):
    """libjxl at effort 7, the default of its own tools. Quality: the Butteraugli distance."""

    name = "jpegxl"
    settings = (15.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
    codec = "jpegxl"
    label = "JPEG XL, libjxl"

    EFFORT = 7

    def encode_slice(self, image: Array, depth: int, quality: float | None) -> bytes:
        import imagecodecs

        return bytes(
            imagecodecs.jpegxl_encode(
                image,
                effort=self.EFFORT,
                distance=quality,
                lossless=quality is None,
                bitspersample=depth,
                numthreads=1,
            )
        )

    def decode_slice(self, blob: bytes, depth: int, lossy: bool) -> Array:
        import imagecodecs

        decoded: Array = imagecodecs.jpegxl_decode(blob, numthreads=1)
        return decoded

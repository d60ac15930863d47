"""The numcodecs codec "volcodec", for Zarr format 2 and all else that takes numcodecs codecs."""

from __future__ import annotations

from typing import Any

import numpy as np

from volcodec.codec import decode
from volcodec.errors import InputError
from volcodec.plugins.chunks import ChunkCodec

try:
    from numcodecs.abc import Codec
    from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy
except ImportError as error:
    raise ImportError(f"{error}: pip install 'volcodec[numcodecs]'") from error


class Volcodec(ChunkCodec, Codec):  # type: ignore[misc]
    """Codes one array, or one chunk of a Zarr array, as a .vc file."""

    codec_id = "volcodec"

    def encode(self, buf: Any) -> bytes:
        """The .vc file of a contiguous array of any shape; no bytes for one without elements.

        The axes are taken in the order of memory, so that Fortran order costs nothing. Any
        other buffer (bytes, array.array, ...) is refused but by ``lossless``: its bytes may
        well be those of other numbers than they seem. InputError where the dtype or the target
        can't be honoured.
        """
        if not self.lossless and not isinstance(buf, np.ndarray):
            raise InputError(
                f"a {type(buf).__name__} doesn't tell what its bytes are, so that no error can "
                "be bounded: give a numpy array, or code it with lossless=True"
            )
        array = ensure_contiguous_ndarray(buf, flatten=False)
        if not array.size:
            return b""
        return self.encode_chunk(array if array.flags.c_contiguous else array.T)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The elements of what was encoded, flat and in the order of memory, of their dtype.

        With ``out``, a contiguous writable buffer of the same number of bytes, they are written
        there. FormatError where ``buf`` is damaged.
        """
        stored = ensure_contiguous_ndarray(buf)
        values = decode(stored).reshape(-1) if stored.size else np.zeros(0, np.uint8)
        return ndarray_copy(values, None if out is None else ensure_contiguous_ndarray(out))

    def get_config(self) -> dict[str, Any]:
        """The settings with the codec's id, as .zarray keeps them."""
        return {"id": self.codec_id, **self.config()}

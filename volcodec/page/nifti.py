"""Volumes as the bytes of NIfTI-1 files, which the page's viewer reads."""

from __future__ import annotations

import struct

import numpy as np

_HEADER = 348
_OFFSET = 352
_CODES = {"u1": 2, "u2": 512}
_IN_PLACE = 2  # the form's code for "aligned with something"


def pack(voxels: np.ndarray, spacing: tuple[float, float, float]) -> bytes:
    """Return a NIfTI-1 file of `voxels` (Z, Y, X), uint8 or uint16, `spacing` in millimetres.

    Voxel (x, y, z) lies at `spacing` times its index: nothing is turned.
    """
    code = _CODES[voxels.dtype.str[1:]]
    z, y, x = voxels.shape
    dz, dy, dx = spacing
    header = bytearray(_OFFSET)
    struct.pack_into("<i", header, 0, _HEADER)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * voxels.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1, dx, dy, dz, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _OFFSET, 1, 0)
    struct.pack_into("<B", header, 123, 2)  # millimetres
    struct.pack_into("<2h", header, 252, 0, _IN_PLACE)
    rows = ((dx, 0, 0, 0), (0, dy, 0, 0), (0, 0, dz, 0))
    for i, row in enumerate(rows):
        struct.pack_into("<4f", header, 280 + 16 * i, *row)
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels.astype(voxels.dtype.newbyteorder("<")).tobytes()

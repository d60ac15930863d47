"""Small generated volumes of the shapes, dtypes and values on which codecs break."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[Any]

DTYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "float16",
    "float32",
    "float64",
)
SHAPE = (24, 20, 28)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(list(name.encode()))


def _blobs(shape: tuple[int, ...], name: str, zeros: bool = True) -> NDArray[np.float64]:
    """Smooth blobs with some noise in 0..1; the lower third is cut to exact zeros."""
    random = _random(name)
    grids = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    field = np.zeros(shape)
    for _ in range(6):
        centre, width = random.random(len(shape)), 0.1 + 0.2 * random.random()
        squares = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
        field += np.exp(-squares / (2 * width**2))
    field += 0.02 * random.standard_normal(shape)
    field -= np.quantile(field, 0.33) if zeros else field.min()
    field = np.maximum(field, 0)
    return field / max(float(field.max()), 1e-9)


def _of_dtype(name: str) -> Volume:
    dtype = np.dtype(name)
    field = _blobs(SHAPE, name)
    if dtype.kind == "f":
        return field.astype(dtype)
    limits = np.iinfo(dtype)
    if dtype.kind == "u":
        return np.rint(field * float(limits.max)).astype(dtype)
    # Both ends of a signed range: max - min does not fit the dtype.
    signed = np.where(field > 0, 2 * field - 1, 0)
    scaled = np.rint(signed * 2.0 ** (8 * dtype.itemsize - 1))
    return np.clip(scaled, limits.min, limits.max).astype(dtype)


def _with_specials() -> Volume:
    volume = _blobs(SHAPE, "specials").astype(np.float32)
    chance = _random("where").random(SHAPE)
    volume[chance < 1 / 3] = np.nan
    volume[(chance > 0.95) & (chance < 0.97)] = np.inf
    volume[chance > 0.97] = -np.inf
    # A payload and a sign that only lossless coding has to keep.
    volume.reshape(-1).view(np.uint32)[5] = 0xFFC12345
    return volume


def _negative_zeros() -> Volume:
    volume = (_blobs(SHAPE, "signs") - 0.5).astype(np.float32)
    volume[::3] = 0.0
    volume[1::3, ::2] = -0.0
    return volume


def _checkerboard() -> Volume:
    squares: Volume = np.indices(SHAPE).sum(axis=0) % 2
    return squares.astype(np.float32)


def _noise() -> Volume:
    return _random("noise").standard_normal(SHAPE).astype(np.float32)


def _impulse() -> Volume:
    volume = np.zeros(SHAPE, dtype=np.float32)
    volume[11, 7, 19] = 1e6
    return volume


def _offset() -> Volume:
    # Float32 steps near 1e6 are 1/16: a bound below that asks for the lossless coding.
    return (1e6 + _blobs(SHAPE, "offset", zeros=False)).astype(np.float32)


CASES: dict[str, Callable[[], Volume]] = {
    "constant": lambda: np.full(SHAPE, 3.25, dtype=np.float32),
    "constant_zero": lambda: np.zeros(SHAPE, dtype=np.uint16),
    "one_voxel": lambda: np.full((1, 1, 1), -7.5, dtype=np.float32),
    "two_voxels": lambda: np.array([[[0, 200]]], dtype=np.uint8),
    "row": lambda: _blobs((1, 1, 1009), "row").astype(np.float32),
    "column": lambda: _blobs((257, 1, 1), "column").astype(np.float64),
    "odd": lambda: _blobs((15, 17, 127), "odd").astype(np.float32),
    "slice_2d": lambda: _blobs((91, 127), "slice").astype(np.float32),
    "slice_2d_int": lambda: np.rint(255 * _blobs((64, 48), "pixels")).astype(np.uint8),
    "all_nan": lambda: np.full(SHAPE, np.nan, dtype=np.float32),
    "all_inf": lambda: np.full((8, 8, 8), -np.inf, dtype=np.float64),
    "specials": _with_specials,
    "negative_zeros": _negative_zeros,
    "denormals": lambda: (_blobs(SHAPE, "tiny") * 1e-40).astype(np.float32),
    "denormals_64": lambda: _blobs(SHAPE, "tiniest") * 1e-310,
    "large": lambda: ((_blobs(SHAPE, "large") - 0.3) * 1e30).astype(np.float32),
    "small": lambda: ((_blobs(SHAPE, "small") - 0.3) * 1e-30).astype(np.float32),
    "large_64": lambda: (_blobs(SHAPE, "huge") - 0.3) * 1e300,
    "offset": _offset,
    "impulse": _impulse,
    "noise": _noise,
    "noise_uint8": lambda: _random("bytes").integers(0, 256, SHAPE, dtype=np.uint8),
    "checkerboard": _checkerboard,
    **{f"dtype_{name}": partial(_of_dtype, name) for name in DTYPES},
    "swapped_float32": lambda: _of_dtype("float32").astype(">f4"),
    "swapped_uint16": lambda: _of_dtype("uint16").astype(">u2"),
    "fortran": lambda: np.asfortranarray(_of_dtype("float32")),
    "negative_strides": lambda: _of_dtype("float32")[::-1, ::-1, ::-1],
    "gaps": lambda: _of_dtype("int16")[::2, 1::3, ::2],
}
QUICK_CASES = (
    "constant",
    "one_voxel",
    "row",
    "odd",
    "slice_2d",
    "all_nan",
    "specials",
    "noise",
    "dtype_uint8",
    "dtype_int16",
    "dtype_float64",
    "swapped_float32",
    "negative_strides",
)

"""Small generated volumes of the shapes, dtypes and values on which codecs break."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64",
)  # fmt: skip
SHAPE = (13, 17, 23)  # odd, and enough voxels for a PSNR to be met within its window


def random_of(name: str) -> np.random.Generator:
    """A generator of its own for every name."""
    return np.random.default_rng(list(name.encode()))


def blobs(shape: tuple[int, ...], name: str, zeros: bool = True) -> np.ndarray:
    """Smooth blobs with some noise in 0..1 (float64); with ``zeros`` a third is exactly zero."""
    random = random_of(name)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    field = np.zeros(shape)
    for _ in range(6):
        centre, width = random.random(len(shape)), 0.1 + 0.2 * random.random()
        squares = sum(
            (a / max(n - 1, 1) - c) ** 2 for a, n, c in zip(axes, shape, centre, strict=True)
        )
        field = field + np.exp(-squares / (2 * width**2))
    field += 0.02 * random.standard_normal(shape)
    field = np.maximum(field - (np.quantile(field, 0.33) if zeros else field.min()), 0)
    return field / max(float(field.max()), 1e-9)


def of_dtype(name: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Blobs over the whole range of a dtype (floats: 0 to 1), both extremes included."""
    dtype = np.dtype(name)
    field = blobs(shape, name)
    if dtype.kind == "f":
        return field.astype(dtype)
    limits = np.iinfo(dtype)
    low, high = float(limits.min), float(limits.max)
    # Zeros stay zero; what is above runs from one end of the range to the other.
    values = np.where(field > 0, np.rint(low + field * (high - low)), 0)
    out = np.clip(values, low, high).astype(dtype)
    out.reshape(-1)[:2] = limits.min, limits.max
    return out


def third_nan() -> np.ndarray:
    """A third NaN, some infinities of both signs, one NaN with a payload and a sign."""
    volume = blobs(SHAPE, "specials").astype(np.float32)
    chance = random_of("where").random(SHAPE)
    volume[chance < 1 / 3] = np.nan
    volume[(chance > 0.95) & (chance < 0.97)] = np.inf
    volume[chance > 0.97] = -np.inf
    volume.reshape(-1).view(np.uint32)[5] = 0xFFC12345
    return volume


def nan_block() -> np.ndarray:
    """A slab of NaN and one infinity in else smooth values."""
    volume = blobs(SHAPE, "slab", zeros=False).astype(np.float64)
    volume[4:8] = np.nan
    volume[10, 3, 3] = -np.inf
    return volume


def negative_zeros() -> np.ndarray:
    """Zeros of both signs among other values."""
    volume = (blobs(SHAPE, "signs") - 0.5).astype(np.float32)
    volume[::3] = 0.0
    volume[1::3, ::2] = -0.0
    return volume


def checkerboard() -> np.ndarray:
    """Zeros and ones in turn on every axis."""
    squares: np.ndarray = np.indices(SHAPE).sum(axis=0) % 2
    return squares.astype(np.float32)


def impulse() -> np.ndarray:
    """One voxel that is not zero."""
    volume = np.zeros(SHAPE, dtype=np.float32)
    volume[6, 7, 9] = 1e6
    return volume


def waves(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Waves of some three voxels, unlike anything that a model has seen."""
    z, y, x = np.indices(shape)
    return (np.sin(2.3 * x) + np.cos(2.7 * y) * np.sin(1.9 * z)).astype(np.float32)


def lattice() -> np.ndarray:
    """Eight-bit data rescaled: floats on a lattice."""
    levels = np.rint(200 * blobs(SHAPE, "lattice")).astype(np.float32)
    return levels * np.float32(0.037) - np.float32(1.5)


def huge_64() -> np.ndarray:
    """A range that no float64 can hold."""
    volume = (blobs(SHAPE, "huge") - 0.5) * 2e308
    volume.reshape(-1)[:2] = -1.7e308, 1.7e308
    return volume


def read_only() -> np.ndarray:
    volume = of_dtype("float32")
    volume.setflags(write=False)
    return volume


CASES: dict[str, Callable[[], np.ndarray]] = {
    "constant": lambda: np.full(SHAPE, 3.25, dtype=np.float32),
    "constant_zero": lambda: np.zeros(SHAPE, dtype=np.uint16),
    "one_voxel": lambda: np.full((1, 1, 1), -7.5, dtype=np.float32),
    "one_pixel": lambda: np.full((1, 1), 200, dtype=np.uint8),
    "two_voxels": lambda: np.array([[[0, 200]]], dtype=np.uint8),
    "three_voxels": lambda: np.array([[[0.5], [0.0], [-1.0]]], dtype=np.float64),
    "row": lambda: blobs((1, 1, 1009), "row").astype(np.float32),
    "column": lambda: blobs((257, 1, 1), "column"),
    "odd": lambda: blobs((15, 17, 127), "odd").astype(np.float32),
    "slice_2d": lambda: blobs((91, 57), "slice").astype(np.float32),
    "slice_2d_int": lambda: np.rint(255 * blobs((64, 65), "pixels")).astype(np.uint8),
    "all_nan": lambda: np.full((9, 8, 7), np.nan, dtype=np.float32),
    "all_infinite": lambda: np.full((8, 8, 8), -np.inf, dtype=np.float64),
    "third_nan": third_nan,
    "nan_block": nan_block,
    "negative_zeros": negative_zeros,
    "denormals": lambda: (blobs(SHAPE, "tiny") * 1e-40).astype(np.float32),
    "denormals_64": lambda: blobs(SHAPE, "tiniest") * 1e-310,
    "denormals_16": lambda: (blobs(SHAPE, "half") * 6e-5).astype(np.float16),
    "large": lambda: ((blobs(SHAPE, "large") - 0.3) * 1e30).astype(np.float32),
    "small": lambda: ((blobs(SHAPE, "small") - 0.3) * 1e-30).astype(np.float32),
    "large_16": lambda: ((blobs(SHAPE, "half") - 0.5) * 1.3e5).astype(np.float16),
    "large_32": lambda: ((blobs(SHAPE, "full") - 0.5) * 6.8e38).astype(np.float32),
    "large_64": lambda: (blobs(SHAPE, "huge") - 0.3) * 1e300,
    "range_1e308": lambda: blobs(SHAPE, "wide") * 1e308,
    "huge_64": huge_64,
    # Float32 steps near 1e6 are 1/16: a bound below that asks for the lossless coding.
    "offset": lambda: (1e6 + blobs(SHAPE, "offset", zeros=False)).astype(np.float32),
    "impulse": impulse,
    "noise": lambda: random_of("noise").standard_normal(SHAPE).astype(np.float32),
    "noise_uint8": lambda: random_of("bytes").integers(0, 256, SHAPE, dtype=np.uint8),
    "noise_bits": lambda: random_of("bits").integers(0, 1 << 32, SHAPE, np.uint32).view("f4"),
    "checkerboard": checkerboard,
    "lattice": lattice,
    "waves": waves,
    "two_values": lambda: (blobs(SHAPE, "two") > 0.3).astype(np.float16) * np.float16(1e-4),
    "denormal_lattice": lambda: np.rint(50 * blobs(SHAPE, "comb")) * 1e-315,
    **{f"dtype_{name}": partial(of_dtype, name) for name in DTYPES},
    "swapped_float32": lambda: of_dtype("float32").astype(">f4"),
    "swapped_uint16": lambda: of_dtype("uint16").astype(">u2"),
    "fortran": lambda: np.asfortranarray(of_dtype("float32")),
    "negative_strides": lambda: of_dtype("float64")[::-1, ::-1, ::-1],
    "gaps": lambda: of_dtype("int16", (26, 51, 46))[::2, 1::3, ::2],
    "broadcast": lambda: np.broadcast_to(blobs((1, 1, 23), "line"), SHAPE),
    "read_only": read_only,
}

"""A smoke-like volume of any size: deterministic, the same however it is cut into boxes.

    python -m benchmarks.generate smoke.h5 --size 512

Octaves of value noise on hashed lattices, inside a rising and swaying plume; about four fifths of
the voxels are exactly zero, and density fades out to them as real smoke does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Box = tuple[slice, ...]

# Size of a noise cell as a share of the volume, and its amplitude (a -5/3 spectrum, roughly).
OCTAVES = (
    (1 / 4, 1.0),
    (1 / 8, 0.56),
    (1 / 16, 0.32),
    (1 / 32, 0.18),
    (1 / 64, 0.1),
    (1 / 128, 0.05),
)
THRESHOLD = 0.42


def _hashed(z: NDArray[np.uint32], y: NDArray[np.uint32], x: NDArray[np.uint32]) -> Array:
    """Uniform values in [0, 1) from lattice coordinates (integer hashing, equal everywhere)."""
    mixed = z * np.uint32(0x9E3779B1) ^ y * np.uint32(0x85EBCA77) ^ x * np.uint32(0xC2B2AE3D)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    uniform: Array = (mixed >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return uniform


def _along(dimension: int, values: Array) -> Array:
    """A vector as an array that broadcasts along one of three dimensions."""
    shape = [1, 1, 1]
    shape[dimension] = -1
    return values.reshape(shape)


def _noise(box: Box, cell: float, seed: int) -> Array:
    """Value noise over a box of voxel coordinates."""
    nodes, places = [], []
    for axis in box:
        position = np.arange(axis.start, axis.stop, dtype=np.float64) / cell
        low = np.floor(position).astype(np.int64)
        t = position - low
        nodes.append(np.arange(low[0], low[-1] + 2, dtype=np.uint32))
        places.append((low - low[0], (t * t * (3 - 2 * t)).astype(np.float32)))
    z, y, x = np.meshgrid(nodes[0] + np.uint32(seed * 1013), nodes[1], nodes[2], indexing="ij")
    values: Array = _hashed(z, y, x)
    for dimension in (2, 1, 0):
        below, share = places[dimension]
        near: Array = np.take(values, below, axis=dimension)
        far: Array = np.take(values, below + 1, axis=dimension)
        values = near + (far - near) * _along(dimension, share)
    return values


def smoke(size: int, box: Box | None = None) -> Array:
    """Density in 0..about 1.5 of a size³ volume, or of a box of it; float32, axes z (up), y, x."""
    box = box or (slice(0, size), slice(0, size), slice(0, size))
    z, y, x = (
        _along(
            i,
            (np.arange(side.start, side.stop, dtype=np.float32) + 0.5) / np.float32(size),
        )
        for i, side in enumerate(box)
    )
    turbulence = np.zeros([axis.stop - axis.start for axis in box], dtype=np.float32)
    for seed, (share, amplitude) in enumerate(OCTAVES):
        turbulence += np.float32(amplitude) * (_noise(box, share * size, seed) - np.float32(0.5))
    centre_y = np.float32(0.5) + np.float32(0.08) * np.sin(np.float32(7) * z)
    centre_x = np.float32(0.5) + np.float32(0.06) * np.cos(np.float32(5) * z)
    radius = np.float32(0.08) + np.float32(0.25) * z
    distance = np.sqrt((y - centre_y) ** 2 + (x - centre_x) ** 2) / radius
    envelope = np.float32(1.25) - np.float32(0.75) * distance
    density = envelope + turbulence - np.float32(THRESHOLD)
    density *= np.clip((np.float32(0.95) - z) * np.float32(8), 0, 1)
    smoky: Array = np.maximum(density, np.float32(0))
    return smoky


def write_smoke(path: Path, size: int, slab: int = 32) -> None:
    """Write smoke(size) as the dataset `volume`, slab by slab: memory stays that of a slab."""
    side = min(64, size)
    with h5py.File(path, "w") as file:
        shape, chunks = (size, size, size), (min(slab, size), side, side)
        dataset = file.create_dataset("volume", shape, np.float32, chunks=chunks)
        for start in range(0, size, slab):
            rows = slice(start, min(start + slab, size))
            dataset[rows] = smoke(size, (rows, slice(0, size), slice(0, size)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="HDF5 file to write")
    parser.add_argument("--size", type=int, default=256, help="voxels along each axis")
    options = parser.parse_args()
    write_smoke(options.output, options.size)


if __name__ == "__main__":
    main()

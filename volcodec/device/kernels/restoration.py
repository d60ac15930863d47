"""The restoration filter on tiles of integers (int32, (tiles, z, y, x)), a voxel at a time.

See :mod:`..restoration` for the processor's side, and "Restoration" in docs/format.md. ``total``
voxels, ``nz`` by ``ny`` by ``nx`` of them in each tile.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _place(i, nz, ny, nx):
    """Tiles of voxels, and their places in them."""
    row = i // nx
    plane = row // ny
    tile = plane // nz
    return tile, plane - tile * nz, row - plane * ny, i - row * nx


@triton.jit
def _inside(v, n):
    return tl.minimum(tl.maximum(v, 0), n - 1)


@triton.jit
def _cut(d, most):
    return tl.minimum(tl.maximum(d, -most), most)


@triton.jit
def _beside(values, own, tile, z, y, x, dz, dy, dx, nz, ny, nx, valid):
    """The differences to the voxels at an offset and at its opposite, cut."""
    tile = tile * nz
    after = ((tile + _inside(z + dz, nz)) * ny + _inside(y + dy, ny)) * nx + _inside(x + dx, nx)
    before = ((tile + _inside(z - dz, nz)) * ny + _inside(y - dy, ny)) * nx + _inside(x - dx, nx)
    a = tl.load(values + after, mask=valid, other=0) - own
    b = tl.load(values + before, mask=valid, other=0) - own
    return _cut(a, 32768), _cut(b, 32768)


@triton.jit(do_not_specialize=["total", "nz", "ny", "nx"])
def roughness(values, rough, total, nz, ny, nx, BLOCK: tl.constexpr):
    """What activity is the sum of (``rough``, int32)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, z, y, x = _place(i, nz, ny, nx)
    own = tl.load(values + i, mask=valid, other=0)
    a, b = _beside(values, own, tile, z, y, x, 0, 0, 1, nz, ny, nx, valid)
    found = tl.abs(a + b)
    a, b = _beside(values, own, tile, z, y, x, 0, 1, 0, nz, ny, nx, valid)
    found += tl.abs(a + b)
    a, b = _beside(values, own, tile, z, y, x, 1, 0, 0, nz, ny, nx, valid)
    tl.store(rough + i, found + tl.abs(a + b), mask=valid)


@triton.jit(do_not_specialize=["total", "nz", "ny", "nx"])
def restore(
    values, rough, pairs, bound, weights, out, total, nz, ny, nx,
    COUNT: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The restored integers (``out``).

    ``pairs`` (int32, (COUNT, 3)): offsets, z first; ``bound`` (int32, (COUNT, 4)): of each, which
    sum of small differences it has a part in, and what differences are cut to there, twice; -1 for
    none. ``weights`` (int32, (tiles, BINS, COUNT + 3)).
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, z, y, x = _place(i, nz, ny, nx)
    activity = tl.zeros([BLOCK], tl.int32)
    for k in range(27):
        zz = tile * nz + _inside(z + k // 9 - 1, nz)
        yy = _inside(y + k // 3 % 3 - 1, ny)
        xx = _inside(x + k % 3 - 1, nx)
        activity += tl.load(rough + (zz * ny + yy) * nx + xx, mask=valid, other=0)
    # whole below 2**24, so exact in float32: its exponent, and the bit below the leading one
    bits = activity.to(tl.float32).to(tl.int32, bitcast=True)
    own_weights = weights + (tile * BINS + tl.maximum((bits >> 22) - 254, 0)) * (COUNT + 3)
    own = tl.load(values + i, mask=valid, other=0)
    total_sum = tl.zeros([BLOCK], tl.int64) + 128
    for k in range(COUNT):
        dz = tl.load(pairs + 3 * k)
        dy = tl.load(pairs + 3 * k + 1)
        dx = tl.load(pairs + 3 * k + 2)
        a, b = _beside(values, own, tile, z, y, x, dz, dy, dx, nz, ny, nx, valid)
        w = tl.load(own_weights + k, mask=valid, other=0).to(tl.int64)
        total_sum += w * (a + b).to(tl.int64)
        for part in range(2):
            which = tl.load(bound + 4 * k + 2 * part)
            most = tl.load(bound + 4 * k + 2 * part + 1)
            if which >= 0:
                w = tl.load(own_weights + which, mask=valid, other=0).to(tl.int64)
                total_sum += w * (_cut(a, most) + _cut(b, most)).to(tl.int64)
    tl.store(out + i, own + (total_sum >> 8).to(tl.int32), mask=valid)

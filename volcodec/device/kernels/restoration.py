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


@triton.jit
def _rough(values, own, tile, z, y, x, dz, dy, dx, nz, ny, nx, valid):
    """The magnitude of the second difference along an offset."""
    a, b = _beside(values, own, tile, z, y, x, dz, dy, dx, nz, ny, nx, valid)
    return tl.abs(a + b)


@triton.jit(do_not_specialize=["total", "nz", "ny", "nx"])
def roughness(values, rough, total, nz, ny, nx, BLOCK: tl.constexpr):
    """What is summed over neighbourhoods (``rough``, int32, (4, total)).

    Roughness along the axes, then of each plane, how much rougher the first diagonal is.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, z, y, x = _place(i, nz, ny, nx)
    own = tl.load(values + i, mask=valid, other=0)
    found = _rough(values, own, tile, z, y, x, 0, 0, 1, nz, ny, nx, valid)
    found += _rough(values, own, tile, z, y, x, 0, 1, 0, nz, ny, nx, valid)
    found += _rough(values, own, tile, z, y, x, 1, 0, 0, nz, ny, nx, valid)
    tl.store(rough + i, found, mask=valid)
    found = _rough(values, own, tile, z, y, x, 0, 1, 1, nz, ny, nx, valid)
    found -= _rough(values, own, tile, z, y, x, 0, 1, -1, nz, ny, nx, valid)
    tl.store(rough + total + i, found, mask=valid)
    found = _rough(values, own, tile, z, y, x, 1, 0, 1, nz, ny, nx, valid)
    found -= _rough(values, own, tile, z, y, x, 1, 0, -1, nz, ny, nx, valid)
    tl.store(rough + 2 * total + i, found, mask=valid)
    found = _rough(values, own, tile, z, y, x, 1, 1, 0, nz, ny, nx, valid)
    found -= _rough(values, own, tile, z, y, x, 1, -1, 0, nz, ny, nx, valid)
    tl.store(rough + 3 * total + i, found, mask=valid)


@triton.jit(do_not_specialize=["total", "nz", "ny", "nx"])
def restore(
    values, rough, pairs, bound, weights, out, total, nz, ny, nx,
    COUNT: tl.constexpr, OWN: tl.constexpr, FEATURES: tl.constexpr, BINS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The integers (``out``) that a pass makes.

    ``pairs`` (int32, (COUNT, 3)): offsets, z first; the first OWN of them are features. ``bound``
    (int32, (COUNT, 5)): of each, which feature it is summed in and what differences are cut to
    there, twice; then its plane, twice, plus one for the second diagonal; -1 for none. ``weights``
    (int32, (tiles, BINS, FEATURES)).
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < total
    tile, z, y, x = _place(i, nz, ny, nx)
    activity = tl.zeros([BLOCK], tl.int32)
    first = tl.zeros([BLOCK], tl.int32)
    second = tl.zeros([BLOCK], tl.int32)
    third = tl.zeros([BLOCK], tl.int32)
    for k in range(27):
        zz = tile * nz + _inside(z + k // 9 - 1, nz)
        yy = _inside(y + k // 3 % 3 - 1, ny)
        xx = _inside(x + k % 3 - 1, nx)
        there = rough + (zz * ny + yy) * nx + xx
        activity += tl.load(there, mask=valid, other=0)
        first += tl.load(there + total, mask=valid, other=0)
        second += tl.load(there + 2 * total, mask=valid, other=0)
        third += tl.load(there + 3 * total, mask=valid, other=0)
    smoother = (first > 0).to(tl.int32) | (second > 0).to(tl.int32) << 1
    smoother |= (third > 0).to(tl.int32) << 2
    # whole below 2**24, so exact in float32: its exponent, and the bit below the leading one
    bits = activity.to(tl.float32).to(tl.int32, bitcast=True)
    own_weights = weights + (tile * BINS + tl.maximum((bits >> 22) - 254, 0)) * FEATURES
    own = tl.load(values + i, mask=valid, other=0)
    total_sum = tl.zeros([BLOCK], tl.int64) + 128
    for k in range(COUNT):
        dz = tl.load(pairs + 3 * k)
        dy = tl.load(pairs + 3 * k + 1)
        dx = tl.load(pairs + 3 * k + 2)
        a, b = _beside(values, own, tile, z, y, x, dz, dy, dx, nz, ny, nx, valid)
        if k < OWN:
            w = tl.load(own_weights + k, mask=valid, other=0).to(tl.int64)
            total_sum += w * (a + b).to(tl.int64)
        for part in range(2):
            which = tl.load(bound + 5 * k + 2 * part)
            most = tl.load(bound + 5 * k + 2 * part + 1)
            if which >= 0:
                w = tl.load(own_weights + which, mask=valid, other=0).to(tl.int64)
                total_sum += w * (_cut(a, most) + _cut(b, most)).to(tl.int64)
        side = tl.load(bound + 5 * k + 4)
        if side >= 0:
            chosen = valid & (((smoother >> (side >> 1)) & 1) == (side & 1))
            w = tl.load(own_weights + FEATURES - 1, mask=chosen, other=0).to(tl.int64)
            total_sum += w * (a + b).to(tl.int64)
    tl.store(out + i, own + (total_sum >> 8).to(tl.int32), mask=valid)

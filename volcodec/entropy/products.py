"""Layers of small integer networks by the processor's products of pairs and of fours.

A layer multiplies columns of activations, integers from 0 to 255, by whole weights into 32-bit
sums. Integers add up to the same in any order, so how the processor goes about it changes nothing:
AVX-512 and AVX2 have one instruction for two products of 16 bits and their sum, and some processors
one for four of 8 bits; everything else multiplies. The instructions are written in LLVM's own
language, for a compiler does not find them in a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import I8, I16, I32, I64, Array, load, processor, same, splat, store

ROWS = 8  # rows of weights that are multiplied at once, but of a layer that has only one
ACTIVATION = 255
_PAIRS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}
_FOURS = "llvm.x86.avx512.vpdpbusd.512"
_HALVED, _QUARTERED = "llvm.x86.avx512.packssdw.512", "llvm.x86.avx512.packuswb.512"
NARROWEST = 127  # the largest weight of 8 bits


def ups_of(weights: np.ndarray, shift: int) -> np.ndarray | None:
    """By how many bits (int32, (..., H)) rows of ``weights`` (..., H, F) are 8-bit ones shifted up.

    At most by ``shift``, by which their sums are shifted down. None where some row is not like it.
    """
    whole = np.abs(weights.astype(np.int64))
    bits = np.bitwise_or.reduce(whole, axis=-1)
    lowest = np.where(bits > 0, bits & -bits, 1)
    ups = np.minimum(np.log2(lowest).astype(np.int32), shift)
    return ups if (whole.max(axis=-1, initial=0) >> ups <= NARROWEST).all() else None


def pack(weights: np.ndarray, ups: np.ndarray | None, rows: int = ROWS) -> np.ndarray:
    """Weights (..., H, F) as int16 (..., ceil(H / rows), groups, rows, 2), padded with zeros.

    A group is a pair of columns or, of 8 bits less the ``ups`` of :func:`ups_of`, four. ValueError
    where a weight does not fit 16 bits.
    """
    *more, h, f = weights.shape
    if weights.size and (weights.min() < -(1 << 15) or weights.max() >= 1 << 15):
        raise ValueError("weights of networks must fit 16 bits")
    group, kind = (2, np.int16) if ups is None else (4, np.int8)
    whole = weights.astype(np.int64) >> (0 if ups is None else ups[..., None])
    blocks, groups = -(-h // rows), -(-f // group)
    out = np.zeros((*more, blocks * rows, group * groups), kind)
    out[..., :h, :f] = whole
    split = np.moveaxis(out.reshape(*more, blocks, rows, groups, group), -3, -2)
    return np.ascontiguousarray(split).view(np.int16)


def pad(biases: np.ndarray, shift: int, ups: np.ndarray | None, rows: int = ROWS) -> np.ndarray:
    """Biases (..., H) and shifts of sums as int32 (..., 2, H'), padded with zeros to a multiple.

    ``((s << up) + bias) >> shift`` is ``(s + (bias >> up)) >> (shift - up)``.
    """
    h = biases.shape[-1]
    up = np.zeros(h, np.int32) if ups is None else ups
    out = np.zeros((*biases.shape[:-1], 2, -(-h // rows) * rows), np.int32)
    out[..., 0, :h] = biases.astype(np.int64) >> up
    out[..., 1, :h] = shift - up
    return out


def _add_pairs(b: Any, total: Any, x: Any, w: Any, features: list[str]) -> Any:
    """``total + x[2 i] w[2 i] + x[2 i + 1] w[2 i + 1]`` of int16 vectors, as int32."""
    vector, width = total.type, total.type.count
    halves = ir.VectorType(I16, 2 * width)
    x, w = (b.bitcast(v, halves) for v in (x, w))
    if "+avx512bw" in features if width == 16 else "+avx2" in features:
        kind = ir.FunctionType(vector, [halves, halves])
        found = cgutils.get_or_insert_function(b.module, kind, _PAIRS[width])
        return b.add(total, b.call(found, [x, w]))

    def every_other(v: Any, first: int) -> Any:
        places = [I32(2 * i + first) for i in range(width)]
        chosen = ir.Constant(ir.VectorType(I32, width), places)
        return b.sext(b.shuffle_vector(v, ir.Constant(halves, ir.Undefined), chosen), vector)

    for i in (0, 1):
        total = b.add(total, b.mul(every_other(x, i), every_other(w, i)))
    return total


def _add_fours(b: Any, total: Any, x: Any, w: Any, features: list[str]) -> Any:
    """The same of four: unsigned bytes of ``x`` and signed ones of ``w``."""
    vector, width = total.type, total.type.count
    if width == 16 and "+avx512vnni" in features:
        kind = ir.FunctionType(vector, [vector] * 3)
        return b.call(cgutils.get_or_insert_function(b.module, kind, _FOURS), [total, x, w])
    halves = ir.VectorType(I16, 2 * width)
    x, w = (b.bitcast(v, halves) for v in (x, w))
    eight = same(halves, 8)
    even = b.and_(x, same(halves, 255)), b.ashr(b.shl(w, eight), eight)
    odd = b.lshr(x, eight), b.ashr(w, eight)
    for these, those in (even, odd):
        total = _add_pairs(b, total, these, those, features)
    return total


def _clipped(b: Any, v: Any) -> Any:
    none, most = (same(v.type, i) for i in (0, ACTIVATION))
    v = b.select(b.icmp_signed(">", v, none), v, none)
    return b.select(b.icmp_signed("<", v, most), v, most)


def _joined(b: Any, rows: list[Any], group: int, features: list[str]) -> Any:
    """A group of rows, clipped, as parts of the same integers."""
    vector = rows[0].type
    if len(rows) == 4 and vector.count == 16 and "+avx512bw" in features:

        def packed(name: str, out: Any, x: Any, y: Any) -> Any:
            kind = ir.FunctionType(out, [x.type, x.type])
            return b.call(cgutils.get_or_insert_function(b.module, kind, name), [x, y])

        halves, bytes_ = ir.VectorType(I16, 32), ir.VectorType(I8, 64)
        pairs = [packed(_HALVED, halves, *rows[i : i + 2]) for i in (0, 2)]
        fours = packed(_QUARTERED, bytes_, *pairs)  # of each four lanes: four bytes of each row
        places = [16 * i + 4 * r + k for i in range(4) for k in range(4) for r in range(4)]
        chosen = ir.Constant(ir.VectorType(I32, 64), [I32(i) for i in places])
        return b.bitcast(b.shuffle_vector(fours, fours, chosen), vector)
    total = same(vector, 0)
    for i, row in enumerate(rows):
        total = b.or_(total, b.shl(_clipped(b, row), same(vector, i * 32 // group)))
    return total


def _layer(rows: int, add: Any, group: int) -> Any:
    """An intrinsic for so many rows at once, of which columns are added by groups."""

    @intrinsic  # type: ignore[misc]
    def layer(
        typingctx: Any, x: Any, begin: Any, columns: Any, w: Any, block: Any, groups: Any,
        bias: Any, out: Any,
    ) -> Any:  # fmt: skip
        """``out = clip((w x + bias) >> shift, 0, 255)`` of a block of rows.

        Arrays are contiguous: ``x`` int32 (groups, ...), each element two int16 or four bytes of
        consecutive rows, of which columns from ``begin`` on are meant; ``w`` what :func:`pack`
        makes of one network, of whose blocks of rows ``block`` is meant, and its first ``groups``
        groups of columns; ``bias`` int32 (2, ...), see :func:`pad`. ``out`` is as ``x`` is, of a
        single row an element each. Of its columns at least the first ``columns`` are written, in
        steps of 32, for which there must be room, as there must be in ``x``.
        """
        whole = types.intp
        signature = types.void(x, whole, whole, w, whole, whole, bias, out)

        def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            px, begin, columns, pw, block, groups, pb, po = arguments
            features = processor(context)
            width = 16 if "+avx512bw" in features else 8
            side = 32 // width if width == 16 else 1  # vectors of columns at once
            vector = ir.VectorType(I32, width)

            arrays = [
                Array(context, b, signature.args[i], value)
                for i, value in ((0, px), (3, pw), (6, pb), (7, po))
            ]
            x32, w32, bias32, out32 = (b.bitcast(a.data, I32.as_pointer()) for a in arrays)
            total, height = arrays[1].shape[1], arrays[2].shape[1]
            stride, out_stride = arrays[0].shape[1], arrays[3].shape[1]
            x32 = b.gep(x32, [begin])
            w32 = b.gep(w32, [b.mul(b.mul(block, total), I64(rows))])
            bias32 = b.gep(bias32, [b.mul(block, I64(rows))])
            out32 = b.gep(out32, [b.mul(b.mul(block, I64(-(-rows // group))), out_stride)])
            sums = [[cgutils.alloca_once(b, vector) for _ in range(side)] for _ in range(rows)]

            def of_row(r: int, which: int) -> Any:
                place = b.add(b.mul(height, I64(which)), I64(r))
                return splat(b, b.load(b.gep(bias32, [place])), width)

            with cgutils.for_range_slice(b, I64(0), columns, I64(width * side), I64) as (first, _):
                for r, row in enumerate(sums):
                    for place in row:
                        b.store(of_row(r, 0), place)
                with cgutils.for_range(b, groups) as loop:
                    row_of_x = b.gep(x32, [b.add(b.mul(loop.index, stride), first)])
                    loaded = [
                        load(b, b.gep(row_of_x, [I64(c * width)]), vector) for c in range(side)
                    ]
                    row_of_w = b.gep(w32, [b.mul(loop.index, I64(rows))])
                    for r, row in enumerate(sums):
                        weight = splat(b, b.load(b.gep(row_of_w, [I64(r)])), width)
                        for column, place in zip(loaded, row, strict=True):
                            b.store(add(b, b.load(place), column, weight, features), place)
                for r in range(0, rows, group):
                    for c in range(side):
                        several = range(r, min(r + group, rows))
                        shifted = [b.ashr(b.load(sums[i][c]), of_row(i, 1)) for i in several]
                        joined = _joined(b, shifted, group, features)
                        index = b.add(b.mul(I64(r // group), out_stride), first)
                        store(b, joined, b.gep(out32, [b.add(index, I64(c * width))]))
            return context.get_dummy_value()

        return signature, generate

    return layer


layer, last_layer = (_layer(rows, _add_pairs, 2) for rows in (ROWS, 1))
narrow_layer, narrow_last_layer = (_layer(rows, _add_fours, 4) for rows in (ROWS, 1))

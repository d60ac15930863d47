"""What is known around voxels that lie 4 apart on x, side by side in vectors.

Each operation on floats is rounded by itself and sums are taken in the order of the taps, so that
every processor has the same result.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import F32, I32, I64, Array, load, same, splat, store
from .products import LANES

APART = 4  # places between voxels of a pass
_FLOATS, _WHOLE = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


def _every_fourth(b: Any, pointer: Any) -> Any:
    """Of 64 integers the first of each four."""
    parts = [load(b, b.gep(pointer, [I64(i * LANES)]), _WHOLE) for i in range(APART)]

    def chosen(one: Any, other: Any, places: range) -> Any:
        kind = ir.VectorType(I32, len(places))
        return b.shuffle_vector(one, other, ir.Constant(kind, [I32(i) for i in places]))

    fourths = range(0, 2 * LANES, APART)
    low, high = chosen(parts[0], parts[1], fourths), chosen(parts[2], parts[3], fourths)
    return chosen(low, high, range(LANES))


@intrinsic  # type: ignore[misc]
def gather(
    typingctx: Any, flat: Any, at: Any, steps: Any, near: Any, count: Any, inverse: Any,
    origin: Any, d: Any, weights: Any,
) -> Any:  # fmt: skip
    """Where all are inside: of each lane the nearest value (``origin``, int32), and the others less
    that, times ``inverse`` (``d``, float32, (TAPS, LANES)); ``weights`` take those of the taps.

    ``flat`` (int32) has 64 places behind what is read; lane v is at ``at`` + 4 v. Returns whether
    any value is another than its lane's nearest.
    """
    n = types.intp
    signature = types.boolean(flat, n, steps, near, n, types.float32, origin, d, weights)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        wanted = (0, 2, 3, 6, 7, 8)
        pf, ps, pn, po, pd, pw = (
            Array(context, b, signature.args[i], arguments[i]).data for i in wanted
        )
        pf = b.gep(pf, [arguments[1]])
        first = _every_fourth(b, b.gep(pf, [b.load(ps)]))
        store(b, first, po)
        scale = splat(b, arguments[5], LANES)
        differs = cgutils.alloca_once_value(b, same(_WHOLE, 0))
        with cgutils.for_range(b, arguments[4]) as loop:
            place = b.gep(pf, [b.load(b.gep(ps, [loop.index]))])
            off = b.sub(_every_fourth(b, place), first)
            b.store(b.or_(b.load(differs), off), differs)
            row = b.mul(loop.index, I64(LANES))
            store(b, b.fmul(b.sitofp(off, _FLOATS), scale), b.gep(pd, [row]))
            weight = splat(b, b.load(b.gep(pn, [loop.index])), LANES)
            store(b, weight, b.gep(pw, [row]))
        bits = b.bitcast(b.load(differs), ir.IntType(32 * LANES))
        return b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature, generate


@intrinsic  # type: ignore[misc]
def normalise(
    typingctx: Any, d: Any, weights: Any, linear: Any, count: Any, least: Any, clip: Any,
    mean: Any, scale: Any, shift: Any, u: Any,
) -> Any:  # fmt: skip
    """Of each lane (float32): the weighted ``mean`` of ``d``, their ``scale``, that is, ``least``
    and the root of the weighted mean square of what they differ by; what they differ by, over the
    scale, within ``clip``, and zero where they don't count (``u``); and its product with
    ``linear`` (``shift``)."""
    n, real = types.intp, types.float32
    signature = types.void(d, weights, linear, n, real, real, mean, scale, shift, u)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        wanted = (0, 1, 2, 6, 7, 8, 9)
        pd, pw, pl, pm, ps, ph, pu = (
            Array(context, b, signature.args[i], arguments[i]).data for i in wanted
        )
        count = arguments[3]
        nothing, one = (same(_FLOATS, v) for v in (0.0, 1.0))
        clip = splat(b, arguments[5], LANES)

        def at(pointer: Any, loop: Any) -> Any:
            return b.gep(pointer, [b.mul(loop.index, I64(LANES))])

        def sums(k: int) -> list[Any]:
            return [cgutils.alloca_once_value(b, nothing) for _ in range(k)]

        def add(total: Any, value: Any) -> None:
            b.store(b.fadd(b.load(total), value), total)

        total, product, square, shift = sums(4)
        for place in (total, product, square, shift):
            b.store(nothing, place)
        with cgutils.for_range(b, count) as loop:
            weight = load(b, at(pw, loop), _FLOATS)
            add(total, weight)
            add(product, b.fmul(weight, load(b, at(pd, loop), _FLOATS)))
        mean = b.fdiv(b.load(product), b.load(total))
        with cgutils.for_range(b, count) as loop:
            left = b.fsub(load(b, at(pd, loop), _FLOATS), mean)
            weight = load(b, at(pw, loop), _FLOATS)
            add(square, b.fmul(b.fmul(weight, left), left))
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        root = cgutils.get_or_insert_function(b.module, kind, f"llvm.sqrt.v{LANES}f32")
        scale = b.call(root, [b.fdiv(b.load(square), b.load(total))])
        scale = b.fadd(scale, splat(b, arguments[4], LANES))
        inverse = b.fdiv(one, scale)
        with cgutils.for_range(b, count) as loop:
            left = b.fmul(b.fsub(load(b, at(pd, loop), _FLOATS), mean), inverse)
            left = b.select(b.fcmp_ordered("<", left, clip), left, clip)
            low = b.fsub(nothing, clip)
            left = b.select(b.fcmp_ordered(">", left, low), left, low)
            counts = b.fcmp_ordered(">", load(b, at(pw, loop), _FLOATS), nothing)
            left = b.select(counts, left, nothing)
            store(b, left, at(pu, loop))
            weight = splat(b, b.load(b.gep(pl, [loop.index])), LANES)
            add(shift, b.fmul(left, weight))
        store(b, mean, pm)
        store(b, scale, ps)
        store(b, b.load(shift), ph)
        return context.get_dummy_value()

    return signature, generate

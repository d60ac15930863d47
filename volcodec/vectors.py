"""What kernels written in LLVM's own language share: lanes of one value, places in arrays."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


def same(kind: Any, value: float) -> Any:
    """A constant vector of ``kind`` whose lanes are all ``value``."""
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)


def splat(b: Any, value: Any, lanes: int) -> Any:
    """A vector whose lanes are all ``value``."""
    none = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    places = same(ir.VectorType(I32, lanes), 0)
    return b.shuffle_vector(b.insert_element(none, value, I32(0)), none, places)


def _alignment(element: Any) -> int:
    """Bytes of an element."""
    return 4 if element == F32 else 8 if element == F64 else element.width // 8


def load(b: Any, pointer: Any, kind: Any) -> Any:
    """A vector of ``kind`` from where its first element lies."""
    place = b.bitcast(pointer, kind.as_pointer())
    return b.load(place, align=_alignment(kind.element))


def store(b: Any, vector: Any, pointer: Any) -> None:
    """The inverse of :func:`load`."""
    place = b.bitcast(pointer, vector.type.as_pointer())
    b.store(vector, place, align=_alignment(vector.type.element))


def store_some(b: Any, vector: Any, pointer: Any, count: Any) -> None:
    """Store the lanes of a vector below ``count``."""
    lanes = vector.type.count
    with b.if_else(b.icmp_signed(">=", count, I64(lanes))) as (whole, part):
        with whole:
            store(b, vector, pointer)
        with part:
            for lane in range(lanes - 1):
                with b.if_then(b.icmp_signed("<", I64(lane), count)):
                    one = b.extract_element(vector, I32(lane))
                    b.store(one, b.gep(pointer, [I64(lane)]))


def halves_of_pairs(b: Any, pointer: Any, kind: Any) -> tuple[Any, Any]:
    """Two vectors of ``kind``: of twice as many elements those at even and those at odd places."""
    parts = [load(b, b.gep(pointer, [I64(i)]), kind) for i in (0, kind.count)]
    lanes = ir.VectorType(I32, kind.count)
    even, odd = (
        b.shuffle_vector(*parts, ir.Constant(lanes, [I32(2 * i + f) for i in range(kind.count)]))
        for f in (0, 1)
    )
    return even, odd


def store_pairs(b: Any, even: Any, odd: Any, pointer: Any) -> None:
    """The inverse of :func:`halves_of_pairs`."""
    count = even.type.count
    for part in (0, 1):
        first = part * count // 2
        order = [first + i // 2 + count * (i % 2) for i in range(count)]
        places = ir.Constant(ir.VectorType(I32, count), [I32(i) for i in order])
        store(b, b.shuffle_vector(even, odd, places), b.gep(pointer, [I64(part * count)]))


class Array:
    """A contiguous array of a kernel: its shape, the type of its elements and pointers to them."""

    def __init__(self, context: Any, b: Any, kind: Any, value: Any) -> None:
        array = cgutils.create_struct_proxy(kind)(context, b, value)
        self._b, self.data = b, array.data
        self.element = context.get_data_type(kind.dtype)
        self.shape = cgutils.unpack_tuple(b, array.shape, kind.ndim)

    def at(self, *index: Any) -> Any:
        """The pointer to an element."""
        flat = index[0]
        for size, i in zip(self.shape[1:], index[1:], strict=True):
            flat = self._b.add(self._b.mul(flat, size), i)
        return self._b.gep(self.data, [flat])


def processor(context: Any) -> list[str]:
    """The features of the processor that is compiled for, as ``+avx2``."""
    told: str = context.codegen().magic_tuple()[2]
    return told.split(",")

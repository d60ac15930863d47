"""Sixteen lanes of rANS at once, by vectors of 32-bit integers: what pulls and pushes are made of.

The steps of :mod:`.rans`, to the same states and words, written in LLVM's own language for
processors with AVX-512 (``available``): :mod:`.pulls` and :mod:`.pushes`. Each step tells -1,
having changed nothing, where it leaves the lanes to the steps that go one by one: escapes, more
than sixteen raw bits, two words for one lane.

A lane reads or writes one word at most. Which lanes need one makes a mask; the words of those, side
by side, are expanded to the lanes, or compressed from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import F32, I8, I16, I32, I64, Array, load, processor, same, splat, store
from .tables import DIRECT, ESCAPE, PROB_BITS, TOKENS

LANES = 16
WORDS, HALVES, BYTES, FLOATS = (ir.VectorType(t, LANES) for t in (I32, I16, I8, F32))
BITS = ir.VectorType(ir.IntType(1), LANES)
_NEEDED = ("avx512f", "avx512cd", "avx512bw", "avx512vl")
MOST_BITS = 16  # that a step takes from a state


def every(value: int) -> Any:
    return same(WORDS, value)


def _told(context: Any) -> bool:
    told = processor(context)
    return all(f"+{name}" in told for name in _NEEDED)


@intrinsic  # type: ignore[misc]
def available(typingctx: Any) -> Any:
    """Whether the processor has what the steps are made of."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.bool_t(int(_told(context)))

    return types.boolean(), generate


class Lanes:
    """Vectors of the lanes of a state, and what is done with them."""

    def __init__(self, b: Any, count: Any) -> None:
        self.b = b
        self.there = b.icmp_signed(
            "<", ir.Constant(WORDS, [I32(i) for i in range(LANES)]), self.splat(count)
        )

    def call(self, name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), arguments)

    def splat(self, value: Any) -> Any:
        return splat(self.b, self.b.trunc(value, I32), LANES)

    def select(self, condition: Any, yes: Any, no: Any) -> Any:
        return self.b.select(condition, yes, no)

    def number(self, condition: Any) -> Any:
        """1 where it holds, else 0."""
        return self.b.zext(condition, WORDS)

    def bytes(self, pointer: Any) -> Any:
        return self.b.zext(load(self.b, pointer, BYTES), WORDS)

    def signed_bytes(self, pointer: Any) -> Any:
        return self.b.sext(load(self.b, pointer, BYTES), WORDS)

    def words(self, pointer: Any) -> Any:
        return load(self.b, pointer, WORDS)

    def gather(self, data: Any, index: Any, scale: int, where: Any = None) -> Any:
        """32 bits from ``scale`` times the index behind a pointer, of lanes that count."""
        base = self.b.bitcast(data, I8.as_pointer())
        name = "llvm.x86.avx512.mask.gather.dpi.512"
        mask = self.there if where is None else self.b.and_(where, self.there)
        return self.call(name, WORDS, [every(0), base, index, mask, I32(scale)])

    def any(self, mask: Any) -> Any:
        bits = self.b.bitcast(self.b.and_(mask, self.there), ir.IntType(LANES))
        return self.b.icmp_unsigned("!=", bits, ir.IntType(LANES)(0))

    def count(self, mask: Any) -> Any:
        return self.b.zext(self.b.ctpop(self.b.bitcast(mask, ir.IntType(LANES))), I64)

    def size(self, v: Any) -> Any:
        negative = self.b.icmp_signed("<", v, every(0))
        return self.select(negative, self.b.sub(every(0), v), v)

    def low(self, n: Any) -> Any:
        """``n`` ones, of less than 32."""
        return self.b.sub(self.b.shl(every(1), n), every(1))

    def extra(self, token: Any) -> tuple[Any, Any]:
        """Which tokens have raw bits of their magnitudes, and how many."""
        b = self.b
        large = b.icmp_signed(">=", token, every(DIRECT))
        bits = b.add(b.lshr(b.sub(token, every(DIRECT)), every(2)), every(2))
        return large, self.select(large, bits, every(0))

    # ------------------------------------------------------------ decoding

    def refill(self, x: Any, words: Any, position: Any) -> tuple[Any, Any]:
        """The states after those below 2**16 took a word each, and the next position."""
        b = self.b
        needs = b.and_(b.icmp_unsigned("<", x, every(1 << 16)), self.there)
        there = b.zext(load(b, words.at(position), HALVES), WORDS)
        name = "llvm.x86.avx512.mask.expand.v16i32"
        word = self.call(name, WORDS, [there, every(0), needs])
        filled = b.or_(b.shl(x, every(16)), word)
        return self.select(needs, filled, x), b.add(position, self.count(needs))

    # ------------------------------------------------------------ encoding

    def spill(self, over: Any, x: Any, words: Any, w: Any) -> Any:
        """Write the low words of the lanes that are ``over``, before ``w``; the new position."""
        b = self.b
        over = b.and_(over, self.there)
        back = ir.Constant(WORDS, [I32(LANES - 1 - i) for i in range(LANES)])
        none = ir.Constant(WORDS, ir.Undefined)

        def turned(v: Any) -> Any:
            return b.shuffle_vector(v, none, back)

        mask = b.icmp_unsigned("!=", turned(b.zext(over, WORDS)), every(0))
        name = "llvm.x86.avx512.mask.compress.v16i32"
        packed = turned(self.call(name, WORDS, [turned(x), every(0), mask]))
        store(b, b.trunc(packed, HALVES), words.at(b.sub(w, I64(LANES))))
        return b.sub(w, self.count(over))

    def push_bits(self, x: Any, value: Any, n: Any) -> tuple[Any, Any]:
        """States after ``n`` raw bits, and which of them spill their low word first."""
        b = self.b
        over = b.icmp_unsigned(">", x, b.lshr(every(0xFFFFFFFF), n))
        left = self.select(over, b.lshr(x, every(16)), x)
        return b.or_(b.shl(left, n), value), over

    def push(self, x: Any, f: Any, start: Any) -> tuple[Any, Any]:
        """States after symbols of frequency ``f``, and which of them spill their low word first."""
        b = self.b
        over = b.icmp_unsigned(">=", b.lshr(x, every(32 - PROB_BITS)), f)
        x = self.select(over, b.lshr(x, every(16)), x)
        # x is below 2**18 f now, so that the quotient of floats is off by one at most
        q = b.fptoui(b.fdiv(b.uitofp(x, FLOATS), b.uitofp(f, FLOATS)), WORDS)
        rest = b.sub(x, b.mul(q, f))
        less, more = b.icmp_signed("<", rest, every(0)), b.icmp_signed(">=", rest, f)
        q = self.select(less, b.sub(q, every(1)), self.select(more, b.add(q, every(1)), q))
        rest = self.select(less, b.add(rest, f), self.select(more, b.sub(rest, f), rest))
        return b.add(b.add(b.shl(q, every(PROB_BITS)), rest), start), over


def range_of(v: Lanes, start: Any, table: Any, token: Any) -> tuple[Any, Any]:
    """Frequency and beginning of tokens: where the next one begins, or the table ends."""
    return split_range(v, ends_of(v, start, table, token), token)


def ends_of(v: Lanes, start: Any, table: Any, token: Any) -> Any:
    """Where tokens begin and, in the upper halves, where what follows them in memory does."""
    b = v.b
    return v.gather(start.data, b.add(b.mul(table, every(TOKENS + 1)), token), 2)


def split_range(v: Lanes, both: Any, token: Any) -> tuple[Any, Any]:
    """The frequency and the beginning of tokens with these ends."""
    b = v.b
    first = b.and_(both, every(0xFFFF))
    last = b.icmp_signed("==", token, every(ESCAPE))
    end = v.select(last, every(1 << PROB_BITS), b.lshr(both, every(16)))
    return b.sub(end, first), first


def step(body: Callable[..., Any], kinds: tuple[Any, ...], count: int) -> Any:
    """An intrinsic: ``body`` generates it, given the lanes and its arguments.

    ``count`` is the place of the argument that says how many of the lanes there are.
    """

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if not _told(context):
            return I64(-1)
        values = [
            Array(context, b, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        return body(Lanes(b, arguments[count]), *values)

    return types.int64(*kinds), generate


def unless(b: Any, left: Any, work: Callable[[], Any]) -> Any:
    """-1 where the step is ``left`` to others, else what ``work`` generates."""
    out = cgutils.alloca_once_value(b, I64(-1))
    with b.if_then(b.not_(left)):
        b.store(work(), out)
    return b.load(out)

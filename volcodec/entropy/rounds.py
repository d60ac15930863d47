"""Rounds of rANS for sixteen lanes at once, by vectors of 32-bit integers.

The steps of :mod:`.rans`, to the same states and words, written in LLVM's own language for
processors with AVX-512 (``available``). Each step tells -1, having changed nothing, where it leaves
the lanes to the steps that go one by one: escapes, more than sixteen raw bits, two words for one
lane.

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

from ..vectors import F64, I8, I16, I32, I64, Array, load, processor, same, splat, store
from .expectation import KNOWN
from .tables import DIRECT, ESCAPE, PROB_BITS, TOKENS

LANES = 16
_WORDS, _HALVES, _BYTES, _FLOATS = (ir.VectorType(t, LANES) for t in (I32, I16, I8, F64))
_BITS = ir.VectorType(ir.IntType(1), LANES)
_NEEDED = ("avx512f", "avx512cd", "avx512bw", "avx512vl")
_MOST_BITS = 16  # that a step takes from a state


def _all(value: int) -> Any:
    return same(_WORDS, value)


def _told(context: Any) -> bool:
    told = processor(context)
    return all(f"+{name}" in told for name in _NEEDED)


@intrinsic  # type: ignore[misc]
def available(typingctx: Any) -> Any:
    """Whether the processor has what the steps are made of."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.bool_t(int(_told(context)))

    return types.boolean(), generate


class _Lanes:
    """Vectors of the lanes of a state, and what is done with them."""

    def __init__(self, b: Any, count: Any) -> None:
        self.b = b
        self.there = b.icmp_signed(
            "<", ir.Constant(_WORDS, [I32(i) for i in range(LANES)]), self.splat(count)
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
        return self.b.zext(condition, _WORDS)

    def bytes(self, pointer: Any) -> Any:
        return self.b.zext(load(self.b, pointer, _BYTES), _WORDS)

    def signed_bytes(self, pointer: Any) -> Any:
        return self.b.sext(load(self.b, pointer, _BYTES), _WORDS)

    def words(self, pointer: Any) -> Any:
        return load(self.b, pointer, _WORDS)

    def gather(self, data: Any, index: Any, scale: int, where: Any = None) -> Any:
        """32 bits from ``scale`` times the index behind a pointer, of lanes that count."""
        base = self.b.bitcast(data, I8.as_pointer())
        name = "llvm.x86.avx512.mask.gather.dpi.512"
        mask = self.there if where is None else self.b.and_(where, self.there)
        return self.call(name, _WORDS, [_all(0), base, index, mask, I32(scale)])

    def any(self, mask: Any) -> Any:
        bits = self.b.bitcast(self.b.and_(mask, self.there), ir.IntType(LANES))
        return self.b.icmp_unsigned("!=", bits, ir.IntType(LANES)(0))

    def count(self, mask: Any) -> Any:
        return self.b.zext(self.b.ctpop(self.b.bitcast(mask, ir.IntType(LANES))), I64)

    def size(self, v: Any) -> Any:
        negative = self.b.icmp_signed("<", v, _all(0))
        return self.select(negative, self.b.sub(_all(0), v), v)

    def low(self, n: Any) -> Any:
        """``n`` ones, of less than 32."""
        return self.b.sub(self.b.shl(_all(1), n), _all(1))

    def extra(self, token: Any) -> tuple[Any, Any]:
        """Which tokens have raw bits of their magnitudes, and how many."""
        b = self.b
        large = b.icmp_signed(">=", token, _all(DIRECT))
        bits = b.add(b.lshr(b.sub(token, _all(DIRECT)), _all(2)), _all(2))
        return large, self.select(large, bits, _all(0))

    # ------------------------------------------------------------ decoding

    def refill(self, x: Any, words: Any, position: Any) -> tuple[Any, Any]:
        """The states after those below 2**16 took a word each, and the next position."""
        b = self.b
        needs = b.and_(b.icmp_unsigned("<", x, _all(1 << 16)), self.there)
        there = b.zext(load(b, words.at(position), _HALVES), _WORDS)
        name = "llvm.x86.avx512.mask.expand.v16i32"
        word = self.call(name, _WORDS, [there, _all(0), needs])
        filled = b.or_(b.shl(x, _all(16)), word)
        return self.select(needs, filled, x), b.add(position, self.count(needs))

    # ------------------------------------------------------------ encoding

    def spill(self, over: Any, x: Any, words: Any, w: Any) -> Any:
        """Write the low words of the lanes that are ``over``, before ``w``; the new position."""
        b = self.b
        over = b.and_(over, self.there)
        back = ir.Constant(_WORDS, [I32(LANES - 1 - i) for i in range(LANES)])
        none = ir.Constant(_WORDS, ir.Undefined)

        def turned(v: Any) -> Any:
            return b.shuffle_vector(v, none, back)

        mask = b.icmp_unsigned("!=", turned(b.zext(over, _WORDS)), _all(0))
        name = "llvm.x86.avx512.mask.compress.v16i32"
        packed = turned(self.call(name, _WORDS, [turned(x), _all(0), mask]))
        store(b, b.trunc(packed, _HALVES), words.at(b.sub(w, I64(LANES))))
        return b.sub(w, self.count(over))

    def push_bits(self, x: Any, value: Any, n: Any) -> tuple[Any, Any]:
        """States after ``n`` raw bits, and which of them spill their low word first."""
        b = self.b
        over = b.icmp_unsigned(">", x, b.lshr(_all(0xFFFFFFFF), n))
        left = self.select(over, b.lshr(x, _all(16)), x)
        return b.or_(b.shl(left, n), value), over

    def push(self, x: Any, f: Any, start: Any) -> tuple[Any, Any]:
        """States after symbols of frequency ``f``, and which of them spill their low word first."""
        b = self.b
        over = b.icmp_unsigned(">=", b.lshr(x, _all(32 - PROB_BITS)), f)
        x = self.select(over, b.lshr(x, _all(16)), x)
        # exact, see rans
        q = b.fptoui(b.fdiv(b.uitofp(x, _FLOATS), b.uitofp(f, _FLOATS)), _WORDS)
        rest = b.sub(x, b.mul(q, f))
        return b.add(b.add(b.shl(q, _all(PROB_BITS)), rest), start), over


def _range(v: _Lanes, start: Any, table: Any, token: Any) -> tuple[Any, Any]:
    """Frequency and beginning of tokens: where the next one begins, or the table ends."""
    b = v.b
    both = v.gather(start.data, b.add(b.mul(table, _all(TOKENS + 1)), token), 2)
    first = b.and_(both, _all(0xFFFF))
    last = b.icmp_signed("==", token, _all(ESCAPE))
    end = v.select(last, _all(1 << PROB_BITS), b.lshr(both, _all(16)))
    return b.sub(end, first), first


def _step(body: Callable[..., Any], kinds: tuple[Any, ...], count: int) -> Any:
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
        return body(_Lanes(b, arguments[count]), *values)

    return types.int64(*kinds), generate


def _unless(b: Any, left: Any, work: Callable[[], Any]) -> Any:
    """-1 where the step is ``left`` to others, else what ``work`` generates."""
    out = cgutils.alloca_once_value(b, I64(-1))
    with b.if_then(b.not_(left)):
        b.store(work(), out)
    return b.load(out)


@intrinsic  # type: ignore[misc]
def pull_tokens(
    typingctx: Any, words: Any, position: Any, states: Any, lane: Any, tables: Any, first: Any,
    count: Any, slots: Any, start: Any, tokens: Any,
) -> Any:  # fmt: skip
    """Tokens of ``count`` lanes from ``lane`` on (all uint32 (32,): ``states`` and ``tokens``).

    The symbols' ``tables`` (uint8) begin at ``first``. Read are sixteen of all. Returns the next
    position; sixteen words must follow the one given.
    """

    def body(
        v: _Lanes, words: Any, position: Any, states: Any, lane: Any, tables: Any, first: Any,
        count: Any, slots: Any, start: Any, tokens: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        x = v.words(states.at(lane))
        table = v.bytes(tables.at(first))
        slot = b.and_(x, _all((1 << PROB_BITS) - 1))
        place = b.add(b.shl(table, _all(PROB_BITS)), slot)
        token = b.and_(v.gather(slots.data, place, 1), _all(0xFF))
        f, begin = _range(v, start, table, token)
        new = b.add(b.mul(f, b.lshr(x, _all(PROB_BITS))), b.sub(slot, begin))
        new, position = v.refill(new, words, position)
        store(b, v.select(v.there, new, x), states.at(lane))
        store(b, token, tokens.at(lane))
        return position

    n = types.intp
    return _step(body, (words, n, states, n, tables, n, n, slots, start, tokens), 6)


@intrinsic  # type: ignore[misc]
def pull_details(
    typingctx: Any, words: Any, position: Any, states: Any, lane: Any, tokens: Any, first: Any,
    count: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, down: Any, up: Any,
    out: Any,
) -> Any:  # fmt: skip
    """What follows these ``tokens``, into ``out`` (int32) from ``first`` on, sixteen of it.

    The rest as :func:`.rans.pull_detail` has it.
    """

    def body(
        v: _Lanes, words: Any, position: Any, states: Any, lane: Any, tokens: Any, first: Any,
        count: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, down: Any,
        up: Any, out: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        signed, limited = (b.trunc(flag, ir.IntType(1)) for flag in (signed, limited))
        x, token = v.words(states.at(lane)), v.words(tokens.at(lane))
        some = b.icmp_signed("!=", token, _all(0))
        rest = cgutils.alloca_once_value(b, _all(0))
        with b.if_then(signed):
            b.store(v.signed_bytes(rests.at(first)), rest)
        told = b.icmp_signed("!=", b.load(rest), _all(0))
        coin = b.and_(some, b.not_(told))
        _, extra = v.extra(token)
        with_sign = v.select(splat(b, limited, LANES), _all(0), v.number(coin))
        bits = b.add(extra, with_sign)
        raw = b.and_(x, v.low(bits))
        after = b.lshr(x, bits)
        base = v.select(
            b.icmp_signed(">=", token, _all(DIRECT)),
            b.shl(b.add(_all(4), b.and_(token, _all(3))), extra),
            token,
        )
        m = b.add(base, b.lshr(raw, with_sign))
        # words for the raw bits, and for the sign that comes after them, are read one by one
        twice = b.icmp_unsigned("<", after, _all(1 << 16))
        negative = cgutils.alloca_once_value(b, b.and_(raw, with_sign))
        unknown = cgutils.alloca_once_value(b, ir.Constant(_BITS, [1] * LANES))
        left = cgutils.alloca_once_value(
            b,
            b.or_(
                v.any(b.icmp_signed("==", token, _all(ESCAPE))),
                v.any(b.icmp_signed(">", bits, _all(_MOST_BITS))),
            ),
        )
        state = cgutils.alloca_once_value(b, after)
        with b.if_then(limited):
            below = b.icmp_signed("<=", m, v.words(down.at(first)))
            above = b.icmp_signed("<=", m, v.words(up.at(first)))
            open_ = b.icmp_signed("==", v.number(below), v.number(above))
            flip = b.and_(coin, open_)
            b.store(open_, unknown)
            closed = v.number(b.and_(below, b.not_(open_)))
            b.store(b.or_(closed, b.and_(v.number(flip), after)), negative)
            b.store(b.lshr(after, v.number(flip)), state)
            b.store(b.or_(b.load(left), v.any(b.and_(flip, twice))), left)
        with b.if_then(signed):
            tells = b.and_(b.and_(some, told), b.load(unknown))
            b.store(b.or_(b.load(left), v.any(b.and_(tells, twice))), left)
            key = v.bytes(keys.at(first))
            size = b.and_(v.size(b.load(rest)), _all(0x7F))
            large = v.number(b.icmp_signed(">", m, _all(1)))
            row = b.add(b.mul(large, v.splat(signs.shape[1])), key)
            place = b.add(b.mul(row, v.splat(signs.shape[2])), size)
            p = b.and_(v.gather(signs.data, place, 2, tells), _all(0xFFFF))
            y = b.load(state)
            slot = b.and_(y, _all((1 << PROB_BITS) - 1))
            agrees = b.icmp_unsigned("<", slot, p)
            f = v.select(agrees, p, b.sub(_all(1 << PROB_BITS), p))
            begin = v.select(agrees, _all(0), p)
            new = b.add(b.mul(f, b.lshr(y, _all(PROB_BITS))), b.sub(slot, begin))
            b.store(v.select(tells, new, y), state)
            up_ = b.icmp_signed(">", b.load(rest), _all(0))
            wrong = b.and_(tells, b.xor(agrees, up_))
            b.store(b.or_(b.load(negative), v.number(wrong)), negative)

        def finish() -> Any:
            new, after = v.refill(b.load(state), words, position)
            store(b, v.select(v.there, new, x), states.at(lane))
            flip = b.icmp_signed("!=", b.load(negative), _all(0))
            store(b, v.select(flip, b.sub(_all(0), m), m), out.at(first))
            return after

        return _unless(b, b.load(left), finish)

    n = types.intp
    kinds = (words, n, states, n, tokens, n, n, n, rests, keys, signs, n, down, up, out)
    return _step(body, kinds, 6)


class _Symbols:
    """Sixteen symbols: magnitudes, tokens, raw bits of the magnitudes."""

    def __init__(self, v: _Lanes, symbol: Any) -> None:
        b = v.b
        self.symbol, self.size = symbol, v.size(symbol)
        large = b.icmp_unsigned(">=", self.size, _all(DIRECT))
        zeros = v.call("llvm.ctlz.v16i32", _WORDS, [self.size, cgutils.false_bit])
        extra = b.sub(_all(29), zeros)  # the exponent less the two bits that the token tells
        exponent = b.shl(b.sub(extra, _all(2)), _all(2))
        two = b.and_(b.lshr(self.size, extra), _all(3))
        token = b.add(b.add(exponent, _all(DIRECT)), two)
        self.token = v.select(large, token, self.size)
        self.extra = v.select(large, extra, _all(0))
        self.raw = b.and_(self.size, v.low(self.extra))


@intrinsic  # type: ignore[misc]
def push_details(
    typingctx: Any, symbols: Any, tables: Any, first: Any, count: Any, states: Any, lane: Any,
    start: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, words: Any, w: Any,
) -> Any:  # fmt: skip
    """Push what follows the tokens of ``count`` symbols from ``first`` on, sixteen of which are
    read, to the states from ``lane`` on.

    ``states`` are uint32 (32,). Returns the new position before which words are written; sixteen
    places below ``w`` may be written over. The rest as :func:`.rans.push_detail` has it.
    """

    def body(
        v: _Lanes, symbols: Any, tables: Any, first: Any, count: Any, states: Any, lane: Any,
        start: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, words: Any,
        w: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        signed, limited = (b.trunc(flag, ir.IntType(1)) for flag in (signed, limited))
        x = v.words(states.at(lane))
        s = _Symbols(v, v.words(symbols.at(first)))
        f, _ = _range(v, start, v.bytes(tables.at(first)), s.token)
        some = b.icmp_signed("!=", s.symbol, _all(0))
        negative = b.icmp_signed("<", s.symbol, _all(0))
        coin = cgutils.alloca_once_value(b, v.number(some))
        state = cgutils.alloca_once_value(b, x)
        spilt = cgutils.alloca_once_value(b, ir.Constant(_BITS, [0] * LANES))
        with b.if_then(signed):
            rest = v.signed_bytes(rests.at(first))
            told = b.icmp_signed("!=", rest, _all(0))
            b.store(v.number(b.and_(some, b.not_(told))), coin)
            flip = v.select(splat(b, limited, LANES), b.load(coin), _all(0))
            y, over_flip = v.push_bits(x, b.and_(v.number(negative), flip), flip)
            known = b.icmp_signed("==", rest, _all(KNOWN))
            tells = b.and_(b.and_(some, told), b.not_(known))
            large = v.number(b.icmp_signed(">", s.size, _all(1)))
            row = b.add(b.mul(large, v.splat(signs.shape[1])), v.bytes(keys.at(first)))
            place = b.add(b.mul(row, v.splat(signs.shape[2])), v.size(rest))
            p = b.and_(v.gather(signs.data, place, 2, tells), _all(0xFFFF))
            positive = b.icmp_signed(">", s.symbol, _all(0))
            agrees = b.not_(b.xor(b.icmp_signed(">", rest, _all(0)), positive))
            wide = v.select(agrees, p, b.sub(_all(1 << PROB_BITS), p))
            wide = v.select(tells, wide, _all(1 << PROB_BITS))
            new, over_sign = v.push(y, wide, v.select(agrees, _all(0), p))
            b.store(v.select(tells, new, y), state)
            b.store(b.or_(over_flip, b.and_(over_sign, tells)), spilt)
        with_sign = v.select(splat(b, limited, LANES), _all(0), b.load(coin))
        bits = b.add(s.extra, with_sign)
        raw = b.or_(b.shl(s.raw, with_sign), b.and_(v.number(negative), with_sign))
        new, over = v.push_bits(b.load(state), raw, bits)
        left = b.or_(
            v.any(b.icmp_signed(">", bits, _all(_MOST_BITS))),
            b.or_(v.any(b.icmp_signed("==", f, _all(0))), v.any(b.and_(over, b.load(spilt)))),
        )

        def finish() -> Any:
            store(b, v.select(v.there, new, x), states.at(lane))
            low = v.select(over, b.load(state), x)
            return v.spill(b.or_(over, b.load(spilt)), low, words, w)

        return _unless(b, left, finish)

    n = types.intp
    kinds = (symbols, tables, n, n, states, n, start, n, rests, keys, signs, n, words, n)
    return _step(body, kinds, 3)


@intrinsic  # type: ignore[misc]
def push_tokens(
    typingctx: Any, symbols: Any, tables: Any, first: Any, count: Any, states: Any, lane: Any,
    start: Any, words: Any, w: Any,
) -> Any:  # fmt: skip
    """Push the tokens of the same symbols."""

    def body(
        v: _Lanes, symbols: Any, tables: Any, first: Any, count: Any, states: Any, lane: Any,
        start: Any, words: Any, w: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        x = v.words(states.at(lane))
        s = _Symbols(v, v.words(symbols.at(first)))
        table = v.bytes(tables.at(first))
        f, begin = _range(v, start, table, s.token)

        def finish() -> Any:
            new, over = v.push(x, f, begin)
            store(b, v.select(v.there, new, x), states.at(lane))
            return v.spill(over, x, words, w)

        return _unless(b, v.any(b.icmp_signed("==", f, _all(0))), finish)

    n = types.intp
    return _step(body, (symbols, tables, n, n, states, n, start, words, n), 3)

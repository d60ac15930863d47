"""Encoding steps of sixteen lanes of rANS, see :mod:`.lanes`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import splat, store
from .expectation import KNOWN
from .lanes import BITS, LANES, MOST_BITS, WORDS, Lanes, ends_of, every, split_range, step, unless
from .tables import DIRECT, PROB_BITS


class _Symbols:
    """Sixteen symbols: magnitudes, tokens, raw bits of the magnitudes."""

    def __init__(self, v: Lanes, symbol: Any) -> None:
        b = v.b
        self.symbol, self.size = symbol, v.size(symbol)
        large = b.icmp_unsigned(">=", self.size, every(DIRECT))
        zeros = v.call("llvm.ctlz.v16i32", WORDS, [self.size, cgutils.false_bit])
        extra = b.sub(every(29), zeros)  # the exponent less the two bits that the token tells
        exponent = b.shl(b.sub(extra, every(2)), every(2))
        two = b.and_(b.lshr(self.size, extra), every(3))
        token = b.add(b.add(exponent, every(DIRECT)), two)
        self.token = v.select(large, token, self.size)
        self.extra = v.select(large, extra, every(0))
        self.raw = b.and_(self.size, v.low(self.extra))


@intrinsic  # type: ignore[misc]
def push_details(
    typingctx: Any, symbols: Any, tables: Any, first: Any, count: Any, states: Any, lane: Any,
    start: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, words: Any, w: Any,
    ranges: Any,
) -> Any:  # fmt: skip
    """Push what follows the tokens of ``count`` symbols from ``first`` on, sixteen of which are
    read, to the states from ``lane`` on.

    ``states`` are uint32 (32,), and so are ``ranges``, from ``lane`` on, that
    :func:`push_tokens` takes. Returns the new position before which words are written; sixteen
    places below ``w`` may be written over. The rest as :func:`.rans.push_detail` has it.
    """

    def body(
        v: Lanes, symbols: Any, tables: Any, first: Any, count: Any, states: Any, lane: Any,
        start: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, words: Any,
        w: Any, ranges: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        signed, limited = (b.trunc(flag, ir.IntType(1)) for flag in (signed, limited))
        x = v.words(states.at(lane))
        s = _Symbols(v, v.words(symbols.at(first)))
        both = ends_of(v, start, v.bytes(tables.at(first)), s.token)
        f, begin = split_range(v, both, s.token)
        some = b.icmp_signed("!=", s.symbol, every(0))
        negative = b.icmp_signed("<", s.symbol, every(0))
        coin = cgutils.alloca_once_value(b, v.number(some))
        state = cgutils.alloca_once_value(b, x)
        spilt = cgutils.alloca_once_value(b, ir.Constant(BITS, [0] * LANES))
        with b.if_then(signed):
            rest = v.signed_bytes(rests.at(first))
            told = b.icmp_signed("!=", rest, every(0))
            b.store(v.number(b.and_(some, b.not_(told))), coin)
            flip = v.select(splat(b, limited, LANES), b.load(coin), every(0))
            y, over_flip = v.push_bits(x, b.and_(v.number(negative), flip), flip)
            known = b.icmp_signed("==", rest, every(KNOWN))
            tells = b.and_(b.and_(some, told), b.not_(known))
            large = v.number(b.icmp_signed(">", s.size, every(1)))
            row = b.add(b.mul(large, v.splat(signs.shape[1])), v.bytes(keys.at(first)))
            place = b.add(b.mul(row, v.splat(signs.shape[2])), v.size(rest))
            p = b.and_(v.gather(signs.data, place, 2, tells), every(0xFFFF))
            positive = b.icmp_signed(">", s.symbol, every(0))
            agrees = b.not_(b.xor(b.icmp_signed(">", rest, every(0)), positive))
            wide = v.select(agrees, p, b.sub(every(1 << PROB_BITS), p))
            wide = v.select(tells, wide, every(1 << PROB_BITS))
            new, over_sign = v.push(y, wide, v.select(agrees, every(0), p))
            b.store(v.select(tells, new, y), state)
            b.store(b.or_(over_flip, b.and_(over_sign, tells)), spilt)
        with_sign = v.select(splat(b, limited, LANES), every(0), b.load(coin))
        bits = b.add(s.extra, with_sign)
        raw = b.or_(b.shl(s.raw, with_sign), b.and_(v.number(negative), with_sign))
        new, over = v.push_bits(b.load(state), raw, bits)
        left = b.or_(
            v.any(b.icmp_signed(">", bits, every(MOST_BITS))),
            b.or_(v.any(b.icmp_signed("==", f, every(0))), v.any(b.and_(over, b.load(spilt)))),
        )

        def finish() -> Any:
            store(b, v.select(v.there, new, x), states.at(lane))
            store(b, b.or_(b.shl(f, every(16)), begin), ranges.at(lane))
            low = v.select(over, b.load(state), x)
            return v.spill(b.or_(over, b.load(spilt)), low, words, w)

        return unless(b, left, finish)

    n = types.intp
    kinds = (symbols, tables, n, n, states, n, start, n, rests, keys, signs, n, words, n, ranges)
    return step(body, kinds, 3)


@intrinsic  # type: ignore[misc]
def push_tokens(
    typingctx: Any, ranges: Any, count: Any, states: Any, lane: Any, words: Any, w: Any
) -> Any:
    """Push the tokens of ``count`` symbols whose details were pushed by :func:`push_details`."""

    def body(v: Lanes, ranges: Any, count: Any, states: Any, lane: Any, words: Any, w: Any) -> Any:
        b = v.b
        x, both = v.words(states.at(lane)), v.words(ranges.at(lane))
        new, over = v.push(x, b.lshr(both, every(16)), b.and_(both, every(0xFFFF)))
        store(b, v.select(v.there, new, x), states.at(lane))
        return v.spill(over, x, words, w)

    n = types.intp
    return step(body, (ranges, n, states, n, words, n), 1)

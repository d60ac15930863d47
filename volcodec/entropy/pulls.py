"""Decoding steps of sixteen lanes of rANS, see :mod:`.lanes`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..vectors import splat, store
from .lanes import BITS, LANES, MOST_BITS, Lanes, every, range_of, step, unless
from .tables import DIRECT, ESCAPE, PROB_BITS


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
        v: Lanes, words: Any, position: Any, states: Any, lane: Any, tables: Any, first: Any,
        count: Any, slots: Any, start: Any, tokens: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        x = v.words(states.at(lane))
        table = v.bytes(tables.at(first))
        slot = b.and_(x, every((1 << PROB_BITS) - 1))
        place = b.add(b.shl(table, every(PROB_BITS)), slot)
        token = b.and_(v.gather(slots.data, place, 1), every(0xFF))
        f, begin = range_of(v, start, table, token)
        new = b.add(b.mul(f, b.lshr(x, every(PROB_BITS))), b.sub(slot, begin))
        new, position = v.refill(new, words, position)
        store(b, v.select(v.there, new, x), states.at(lane))
        store(b, token, tokens.at(lane))
        return position

    n = types.intp
    return step(body, (words, n, states, n, tables, n, n, slots, start, tokens), 6)


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
        v: Lanes, words: Any, position: Any, states: Any, lane: Any, tokens: Any, first: Any,
        count: Any, signed: Any, rests: Any, keys: Any, signs: Any, limited: Any, down: Any,
        up: Any, out: Any,
    ) -> Any:  # fmt: skip
        b = v.b
        signed, limited = (b.trunc(flag, ir.IntType(1)) for flag in (signed, limited))
        x, token = v.words(states.at(lane)), v.words(tokens.at(lane))
        some = b.icmp_signed("!=", token, every(0))
        rest = cgutils.alloca_once_value(b, every(0))
        with b.if_then(signed):
            b.store(v.signed_bytes(rests.at(first)), rest)
        told = b.icmp_signed("!=", b.load(rest), every(0))
        coin = b.and_(some, b.not_(told))
        _, extra = v.extra(token)
        with_sign = v.select(splat(b, limited, LANES), every(0), v.number(coin))
        bits = b.add(extra, with_sign)
        raw = b.and_(x, v.low(bits))
        after = b.lshr(x, bits)
        base = v.select(
            b.icmp_signed(">=", token, every(DIRECT)),
            b.shl(b.add(every(4), b.and_(token, every(3))), extra),
            token,
        )
        m = b.add(base, b.lshr(raw, with_sign))
        # words for the raw bits, and for the sign that comes after them, are read one by one
        twice = b.icmp_unsigned("<", after, every(1 << 16))
        negative = cgutils.alloca_once_value(b, b.and_(raw, with_sign))
        unknown = cgutils.alloca_once_value(b, ir.Constant(BITS, [1] * LANES))
        left = cgutils.alloca_once_value(
            b,
            b.or_(
                v.any(b.icmp_signed("==", token, every(ESCAPE))),
                v.any(b.icmp_signed(">", bits, every(MOST_BITS))),
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
            size = b.and_(v.size(b.load(rest)), every(0x7F))
            large = v.number(b.icmp_signed(">", m, every(1)))
            row = b.add(b.mul(large, v.splat(signs.shape[1])), key)
            place = b.add(b.mul(row, v.splat(signs.shape[2])), size)
            p = b.and_(v.gather(signs.data, place, 2, tells), every(0xFFFF))
            y = b.load(state)
            slot = b.and_(y, every((1 << PROB_BITS) - 1))
            agrees = b.icmp_unsigned("<", slot, p)
            f = v.select(agrees, p, b.sub(every(1 << PROB_BITS), p))
            begin = v.select(agrees, every(0), p)
            new = b.add(b.mul(f, b.lshr(y, every(PROB_BITS))), b.sub(slot, begin))
            b.store(v.select(tells, new, y), state)
            up_ = b.icmp_signed(">", b.load(rest), every(0))
            wrong = b.and_(tells, b.xor(agrees, up_))
            b.store(b.or_(b.load(negative), v.number(wrong)), negative)

        def finish() -> Any:
            new, after = v.refill(b.load(state), words, position)
            store(b, v.select(v.there, new, x), states.at(lane))
            flip = b.icmp_signed("!=", b.load(negative), every(0))
            store(b, v.select(flip, b.sub(every(0), m), m), out.at(first))
            return after

        return unless(b, b.load(left), finish)

    n = types.intp
    kinds = (words, n, states, n, tokens, n, n, n, rests, keys, signs, n, down, up, out)
    return step(body, kinds, 6)

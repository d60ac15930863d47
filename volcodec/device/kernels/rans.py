"""Interleaved rANS: one program for each tile's stream, its lanes side by side.

In a round every lane takes its token, then what follows it. Words have one order, so a lane has to
know how many the lanes before it take: for a token that is told by the states alone. What follows
may be several parts, and how many words the later ones take may depend on words of the earlier
ones. Then counts are guessed, and all lanes decoded with them, until they come out as guessed: the
first lane is right from the beginning, and each after it once those before it are. Mostly nothing
follows but a sign, and no guess is needed.

See :mod:`..entropy.rans` and :mod:`..entropy.trellis` for the processor's side.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _order_of(flags, VOTE: tl.constexpr):
    """How many of the lanes before each have their flag set, and how many there are in all.

    VOTE: by one vote of the warp, whose threads have a lane each. Else by sums over the lanes.
    """
    one = flags.to(tl.int32)
    if VOTE:
        before, count = tl.inline_asm_elementwise(
            """{
            .reg .pred p;
            .reg .b32 all, mine;
            setp.ne.s32 p, $2, 0;
            vote.sync.ballot.b32 all, p, 0xffffffff;
            mov.u32 mine, %lanemask_lt;
            and.b32 mine, mine, all;
            popc.b32 $0, mine;
            popc.b32 $1, all;
            }""",
            "=r,=r,r",
            [one],
            dtype=(tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        before = tl.cumsum(one, 0) - one
        count = tl.sum(one, 0) + one * 0
    return before, count


@triton.jit
def _word(words, at, last, mask):
    """Words of a stream, the last one where there are no more (int32)."""
    got = tl.load(words + tl.minimum(at, last), mask=mask, other=0)
    return got.to(tl.int32) & 0xFFFF


@triton.jit
def _refill(x, words, at, last):
    """Every lane's next word from its own place ``at``, where its state needs one."""
    low = x < 65536
    x = tl.where(low, (x << 16) | _word(words, at, last, low).to(x.dtype), x)
    return x, at + low.to(tl.int32)


@triton.jit
def _refill_in_turn(x, words, position, last, VOTE: tl.constexpr):
    """The same where each lane needs one word at most, which they take in order."""
    low = x < 65536
    order, count = _order_of(low, VOTE)
    word = _word(words, position + order, last, low)
    x = tl.where(low, (x << 16) | word.to(x.dtype), x)
    return x, position + count


@triton.jit
def _tokens(x, table, live, slots, pairs, words, position, last, VOTE: tl.constexpr):
    """Tokens by ``slots`` (uint8, (tables, 2**14)) and ``pairs`` (int32, (tables, 129)): the
    frequency, and from bit 16 on the start. States are uint32; those of lanes that are not ``live``
    stay."""
    slot = (x & 16383).to(tl.int32)
    token = tl.load(slots + table * 16384 + slot, mask=live, other=0).to(tl.int32)
    pair = tl.load(pairs + table * 129 + token, mask=live, other=0)
    f = (pair & 0xFFFF).to(tl.uint32)
    x = tl.where(live, f * (x >> 14) + (slot - (pair >> 16)).to(tl.uint32), x)
    x, position = _refill_in_turn(x, words, position, last, VOTE)
    return token, x, position


@triton.jit
def _extra(token):
    """Raw bits of the magnitude after a token, and its least magnitude (of its dtype)."""
    n = tl.where(token < 16, 0, ((token - 16) >> 2) + 2)
    base = (4 + ((token - 16) & 3)) << n
    return n, tl.where(token < 16, token, base)


@triton.jit
def _sign(x, tells, m, key, rest, signs, tables):
    """The sign of symbols that have an expected one: state before refill, 1 where negative.

    States are of any dtype, which the signs have too.
    """
    size = tl.where(rest < 0, -rest, rest)
    at = ((m > 1).to(tl.int32) * tables + key) * 33 + size
    p = tl.load(signs + at, mask=tells, other=0).to(x.dtype)
    slot = x & 16383
    agrees = slot < p
    high = x >> 14
    x = tl.where(tells, tl.where(agrees, p * high + slot, (16384 - p) * high + slot - p), x)
    return x, (agrees.to(tl.int32) ^ (rest > 0).to(tl.int32)).to(x.dtype)


@triton.jit
def _detail(x, token, live, key, rest, limited, down, up, signs, tables, words, at, last):
    """Symbols (int64) after their tokens, each lane from its own place ``at`` on.

    Returns the symbols, the states, and the places after the words that were taken.
    """
    escapes = live & (token == 128)
    token = tl.where(escapes, (x & 127).to(tl.int32), tl.where(live, token, 0))
    x = tl.where(escapes, x >> 7, x)
    x, at = _refill(x, words, at, last)
    n, base = _extra(token.to(tl.int64))
    n = n.to(tl.int32)
    some = token != 0
    coin = (some & (rest == 0)).to(tl.int32)
    with_sign = tl.where(limited, 0, coin)  # the sign is the lowest of the raw bits
    bits = n + with_sign
    low = tl.minimum(bits, 16).to(tl.int64)
    raw = x & (((tl.zeros_like(x) + 1) << low) - 1)
    x, at = _refill(x >> low, words, at, last)
    more = bits.to(tl.int64) - low
    raw |= (x & (((tl.zeros_like(x) + 1) << more) - 1)) << 16
    x, at = _refill(x >> more, words, at, last)
    m = base + (raw >> with_sign.to(tl.int64))
    negative = raw & with_sign.to(tl.int64)
    below = m <= down
    unknown = (below == (m <= up)) | (limited == 0)
    alone = tl.where(limited & unknown, coin, 0).to(tl.int64)  # a bit by itself
    negative = tl.where(unknown, negative | (x & alone), below.to(tl.int64))
    x, at = _refill(x >> alone, words, at, last)
    tells = some & (rest != 0) & unknown
    x, side = _sign(x, tells, m, key, rest, signs, tables)
    negative = tl.where(tells, side, negative)
    x, at = _refill(x, words, at, last)
    return m - 2 * m * negative, x, at


@triton.jit
def _details(
    x, token, live, key, rest, limited, down, up, signs, tables, words, position, last,
    LANES: tl.constexpr,
):  # fmt: skip
    """``_detail`` of all lanes, from the places where those before them end.

    Returns the symbols (int64), the states (uint32 as they came), and the position after them.
    """
    x = x.to(tl.int64)
    down = down.to(tl.int64)
    up = up.to(tl.int64)
    used = tl.full([LANES], 0, tl.int32)
    wrong = tl.max(live.to(tl.int32), 0)
    while wrong > 0:
        at = position + tl.cumsum(used, 0) - used
        _, _, after = _detail(
            x, token, live, key, rest, limited, down, up, signs, tables, words, at, last
        )
        wrong = tl.max((after - at != used).to(tl.int32), 0)
        used = after - at
    at = position + tl.cumsum(used, 0) - used
    s, x, _ = _detail(x, token, live, key, rest, limited, down, up, signs, tables, words, at, last)
    return s, x.to(tl.uint32), position + tl.sum(used, 0)


@triton.jit(do_not_specialize=["n", "tables"])
def decode_runs(
    words, offsets, sizes, states, positions, lanes, counts, places, told, down, up,
    bounded, slots, pairs, signs, out, n, tables,
    LIMITED: tl.constexpr, LANES: tl.constexpr, VOTE: tl.constexpr,
):  # fmt: skip
    """One run of every tile: the symbols of the positions that are coded.

    ``words`` (int16): the streams of all tiles, at ``offsets`` (int64), ``sizes`` (int32) of them
    and at least one. ``states`` (int64, (tiles, LANES)) and ``positions`` (int32) are taken on.
    ``counts``, ``places``, ``told``, ``down``, ``up``: as ``compact`` lists them; ``out`` (int32,
    (tiles, n)) takes the symbols at their places. Signs follow from ``down`` and ``up`` where
    ``bounded`` (int32) is not 0.
    ``signs``: int16 (2, tables, 33).
    """
    tile = tl.program_id(0)
    lane = tl.arange(0, LANES)
    words += tl.load(offsets + tile)
    last = tl.maximum(tl.load(sizes + tile), 1) - 1
    width = tl.load(lanes + tile)
    count = tl.load(counts + tile)
    limited = (tl.load(bounded + tile) != 0) & (lane >= 0)
    position = tl.load(positions + tile) + lane * 0
    x = tl.load(states + tile * LANES + lane).to(tl.uint32)
    first = tile * n
    here = (lane < width) & (lane < count)
    t = tl.load(told + first + lane, mask=here, other=32 << 16)
    place = tl.load(places + first + lane, mask=here, other=0)
    least = tl.full([LANES], 0, tl.int32)
    most = tl.full([LANES], 0, tl.int32)
    if LIMITED:
        least += tl.load(down + first + lane, mask=here, other=0)
        most += tl.load(up + first + lane, mask=here, other=0)
    for r in range((count + width - 1) // width):
        live = here
        # what the next round needs is asked for before this one waits for anything
        j = (r + 1) * width + lane
        here = (lane < width) & (j < count)
        next_t = tl.load(told + first + j, mask=here, other=32 << 16)
        next_place = tl.load(places + first + j, mask=here, other=0)
        next_least = least
        next_most = most
        if LIMITED:
            next_least = tl.load(down + first + j, mask=here, other=0)
            next_most = tl.load(up + first + j, mask=here, other=0)
        key = (t >> 8) & 255
        rest = ((t >> 16) & 127) - 32
        token, x, position = _tokens(
            x, t & 255, live, slots, pairs, words, position, last, VOTE
        )  # fmt: skip
        # beyond 15, or beyond 14 raw bits of a magnitude whose sign is one too, words may follow
        plain = (rest == 0) & (limited == 0) & (token < 72)
        hard = live & (token > 15) & (plain == 0)
        if tl.max(hard.to(tl.int32), 0) == 0:
            n_bits, base = _extra(token)
            some = token != 0
            coin = (some & (rest == 0)).to(tl.int32)
            unknown = some | (token == 0)
            negative = tl.full([LANES], 0, tl.int32)
            if LIMITED:
                below = base <= least
                unknown = (below == (base <= most)) | (limited == 0)
                negative += tl.where(unknown, 0, below.to(tl.int32))
                coin = tl.where(unknown, coin, 0)
            bits = n_bits + coin
            raw = (x & ((1 << bits) - 1).to(tl.uint32)).to(tl.int32)
            x = x >> bits.to(tl.uint32)
            m = base + (raw >> coin)
            negative |= raw & coin
            tells = some & (rest != 0) & unknown
            x, side = _sign(x, tells, m, key, rest, signs, tables)
            negative = tl.where(tells, side.to(tl.int32), negative)
            x, position = _refill_in_turn(x, words, position, last, VOTE)
            s = tl.where(negative != 0, -m, m)
        else:
            symbol, x, position = _details(
                x, token, live, key, rest, limited, least, most, signs, tables, words, position,
                last, LANES,
            )  # fmt: skip
            s = symbol.to(tl.int32)
        tl.store(out + first + place, s, mask=live)
        t, place, least, most = next_t, next_place, next_least, next_most
    tl.store(states + tile * LANES + lane, x.to(tl.int64))
    tl.store(positions + tile + lane * 0, position, mask=lane == 0)


@triton.jit
def _halves(s, quantiser):
    """What symbols stand for, in halves of a step (int64)."""
    side = tl.where(s > 0, 1, tl.where(s < 0, -1, 0)).to(tl.int64)
    return 2 * s - side * quantiser.to(tl.int64)


@triton.jit(do_not_specialize=["n", "tables", "second"])
def decode_chain(
    words, offsets, sizes, states, positions, lanes, counts, places, told, slots, pairs, signs,
    zeros, next_turn, out, n, tables, second, LANES: tl.constexpr, VOTE: tl.constexpr,
):  # fmt: skip
    """One run, of one chain, that a trellis decided: ``out`` is in halves.

    ``next_turn`` (int32, (8, 2)): by the turn and the parity of a symbol; ``zeros`` (int32,
    (4, 8)): after so many zeros, modulo four, which is how soon they come back to the same.
    Quantiser 1 has its tables ``second`` places on. The rest as ``decode_runs`` has it.
    """
    tile = tl.program_id(0)
    lane = tl.arange(0, LANES)
    words += tl.load(offsets + tile)
    last = tl.maximum(tl.load(sizes + tile), 1) - 1
    width = tl.load(lanes + tile)
    count = tl.load(counts + tile)
    position = tl.load(positions + tile) + lane * 0
    x = tl.load(states + tile * LANES + lane).to(tl.uint32)
    first = tile * n
    turn = count * 0
    before = count * 0
    none = tl.full([LANES], 0, tl.int64)
    for j in range(count):
        t = tl.load(told + first + j) + lane * 0
        place = tl.load(places + first + j)
        turn = tl.load(zeros + ((place - before) & 3) * 8 + turn)
        before = place + 1
        quantiser = (turn & 1) + lane * 0
        live = lane == place % width
        key = ((t >> 8) & 255) + second * quantiser
        rest = ((t >> 16) & 127) - 32
        table = (t & 255) + second * quantiser
        token, x, position = _tokens(x, table, live, slots, pairs, words, position, last, VOTE)
        s, y, after = _detail(
            x.to(tl.int64), token, live, key, rest, lane < 0, none, none, signs, tables, words,
            position, last,
        )  # fmt: skip
        x = y.to(tl.uint32)
        position += tl.sum(after - position, 0)
        tl.store(out + first + place + lane * 0, _halves(s, quantiser).to(tl.int32), mask=live)
        odd = tl.sum(tl.where(live, (s & 1).to(tl.int32), 0), 0)
        turn = tl.load(next_turn + turn * 2 + odd)
    tl.store(states + tile * LANES + lane, x.to(tl.int64))
    tl.store(positions + tile + lane * 0, position, mask=lane == 0)


@triton.jit(do_not_specialize=["n", "tables", "second"])
def decode_chains(
    words, offsets, sizes, states, positions, lanes, told, slots, pairs, signs, next_turn, turns,
    out, n, tables, second, CODED: tl.constexpr, LANES: tl.constexpr, VOTE: tl.constexpr,
):  # fmt: skip
    """One run, of LANES chains, that a trellis decided: ``out`` is in halves.

    ``turns`` (int32, (tiles, LANES)): of the chains, 0 at first. ``told`` is that of all positions,
    coded or not.
    """
    tile = tl.program_id(0)
    lane = tl.arange(0, LANES)
    words += tl.load(offsets + tile)
    last = tl.maximum(tl.load(sizes + tile), 1) - 1
    width = tl.load(lanes + tile)
    position = tl.load(positions + tile) + lane * 0
    x = tl.load(states + tile * LANES + lane).to(tl.uint32)
    first = tile * n
    none = tl.full([LANES], 0, tl.int64)
    for r in range((n + LANES - 1) // LANES):
        # a lane serves every chain that is a multiple of the lanes on: one after the other
        for begin in range(0, LANES, width):
            chain = begin + lane
            i = r * LANES + chain
            mine = (lane < width) & (i < n)
            t = tl.load(told + first + i, mask=mine, other=0)
            live = mine & (((t >> CODED) & 1) != 0)
            turn = tl.load(turns + tile * LANES + chain, mask=mine, other=0)
            table = (t & 255) + second * (turn & 1)
            token, x, position = _tokens(x, table, live, slots, pairs, words, position, last, VOTE)
            tl.store(out + first + i, token, mask=mine)
        tl.debug_barrier()
        for begin in range(0, LANES, width):
            chain = begin + lane
            i = r * LANES + chain
            mine = (lane < width) & (i < n)
            t = tl.load(told + first + i, mask=mine, other=0)
            token = tl.load(out + first + i, mask=mine, other=0)
            turn = tl.load(turns + tile * LANES + chain, mask=mine, other=0)
            quantiser = turn & 1
            live = mine & (token != 0)
            key = ((t >> 8) & 255) + second * quantiser
            rest = tl.where(live, ((t >> 16) & 127) - 32, 0)
            s, x, position = _details(
                x, token, live, key, rest, lane < 0, none, none, signs, tables, words, position,
                last, LANES,
            )  # fmt: skip
            tl.store(out + first + i, _halves(s, quantiser).to(tl.int32), mask=mine)
            turn = tl.load(next_turn + turn * 2 + (s & 1).to(tl.int32), mask=mine, other=0)
            tl.store(turns + tile * LANES + chain, turn, mask=mine)
        tl.debug_barrier()
    tl.store(states + tile * LANES + lane, x.to(tl.int64))
    tl.store(positions + tile + lane * 0, position, mask=lane == 0)

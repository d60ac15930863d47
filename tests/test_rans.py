"""rANS and its tables: round trips, extremes, every lane count, hostile words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from volumes import random_of

from volcodec.entropy import rans
from volcodec.entropy.classic import classic_tables
from volcodec.entropy.expectation import HALF, RESTS
from volcodec.entropy.tables import (
    COST_BITS,
    DIRECT,
    ESCAPE,
    PROB_BITS,
    TOKENS,
    Tables,
    extra_bits,
    normalise,
    token_base,
    token_of,
)

EXTREMES = (0, 1, -1, 15, 16, -16, 4095, 4096, (1 << 31) - 1, -(1 << 31) + 1, -(1 << 31))


def random_tables(seed: int, count: int = 7) -> Tables:
    """Tables of all sorts: flat, steep, some with hardly any token of its own."""
    random = np.random.default_rng(seed)
    decay = random.uniform(0.01, 3, (count, 1))
    weights = np.exp(-decay * np.arange(TOKENS)) * random.random((count, TOKENS)) + 1e-300
    weights[0] = 1e-300
    weights[0, 0] = 1.0
    return Tables(normalise(weights))


Signs = tuple[np.ndarray, np.ndarray, np.ndarray]


def encode(
    symbols: np.ndarray, keys: np.ndarray, ends: np.ndarray, lanes: int, t: Tables,
    signs: Signs = rans.RAW_SIGNS,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Words and states."""
    words = np.full(5 * symbols.size + 8, 0xDEAD, np.uint16)
    states = np.zeros(rans.MAX_LANES, np.int64)
    first = rans.encode_runs(
        symbols, keys, ends, lanes, t.freq, t.start, *signs, False, words, states
    )
    assert 0 <= first <= words.size
    assert (states[:lanes] >= rans.LOW).all()
    assert (states[:lanes] < 1 << 32).all()
    return words[first:], states


def decode(
    words: np.ndarray, states: np.ndarray, keys: np.ndarray, ends: np.ndarray, lanes: int,
    t: Tables, signs: Signs = rans.RAW_SIGNS,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Symbols and the position reached; ``states`` are written to."""
    out = np.full(keys.size, 77, np.int32)
    position = begin = 0
    for end in ends:
        position = rans.decode_run(
            words, position, states, lanes, keys[begin:end], t.freq, t.start, t.slots,
            signs[0][begin:end], signs[1][begin:end], signs[2], *rans.NO_ROOMS, out[begin:end],
        )  # fmt: skip
        begin = int(end)
    return out, position


def check(
    symbols: np.ndarray, keys: np.ndarray, ends: np.ndarray, lanes: int, t: Tables,
    signs: Signs = rans.RAW_SIGNS,
) -> int:  # fmt: skip
    """A round trip; returns the number of words."""
    words, states = encode(symbols, keys, ends, lanes, t, signs)
    back, position = decode(words, states, keys, ends, lanes, t, signs)
    assert np.array_equal(back, symbols)
    assert position == words.size
    assert (states[:lanes] == rans.LOW).all()
    return words.size


int32s = st.one_of(
    st.integers(-20, 20), st.sampled_from(EXTREMES), st.integers(-(1 << 31), (1 << 31) - 1)
)


@given(
    st.lists(st.tuples(int32s, st.integers(0, 6)), max_size=200),
    st.integers(1, 32),
    st.integers(0, 5),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_round_trip(pairs: list[tuple[int, int]], lanes: int, seed: int, cuts: list[int]) -> None:
    symbols = np.array([p[0] for p in pairs], np.int64).astype(np.int32)
    keys = np.array([p[1] for p in pairs], np.uint8)
    ends = np.array(sorted([min(c, symbols.size) for c in cuts] + [symbols.size]), np.int64)
    check(symbols, keys, ends, lanes, random_tables(seed))


@given(
    st.lists(
        st.tuples(int32s, st.integers(0, 6), st.integers(-HALF, HALF - 1)), min_size=1, max_size=200
    ),
    st.integers(1, 32),
    st.integers(0, 5),
)
def test_round_trip_with_expected_signs(
    triples: list[tuple[int, int, int]], lanes: int, seed: int
) -> None:
    symbols = np.array([p[0] for p in triples], np.int64).astype(np.int32)
    keys = np.array([p[1] for p in triples], np.uint8)
    rests = np.array([p[2] for p in triples], np.int8)
    freq = np.random.default_rng(seed).integers(1, 1 << PROB_BITS, (2, 7, RESTS)).astype(np.uint16)
    ends = np.array([symbols.size // 3, symbols.size], np.int64)
    check(symbols, keys, ends, lanes, random_tables(seed), (rests, keys, freq))


def test_expected_signs_cost_what_their_frequencies_say() -> None:
    random = random_of("signs")
    t = random_tables(1)
    count = 40_000
    keys = np.full(count, 3, np.uint8)
    symbols = np.where(random.random(count) < 0.9, 1, -1).astype(np.int32)
    freq = np.full((2, 7, RESTS), round(0.9 * (1 << PROB_BITS)), np.uint16)
    ends = np.array([count])
    raw = check(symbols, keys, ends, 4, t)
    told = check(symbols, keys, ends, 4, t, (np.full(count, 9, np.int8), keys, freq))
    entropy = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    assert (raw - told) * 16 == pytest.approx(count * (1 - entropy), rel=0.02)


@pytest.mark.parametrize("lanes", range(1, 33))
def test_every_lane_count_and_the_extremes(lanes: int) -> None:
    random = random_of(f"lanes{lanes}")
    t = random_tables(lanes)
    symbols = random.choice(np.array(EXTREMES, np.int64), 331).astype(np.int32)
    keys = random.integers(0, len(t), symbols.size).astype(np.uint8)
    check(symbols, keys, np.array([symbols.size]), lanes, t)
    check(symbols, keys, np.array([0, 5, 5, 100, symbols.size]), lanes, t)


def test_the_classical_tables_code_everything() -> None:
    t = classic_tables()
    assert (t.freq.astype(int).sum(1) == 1 << PROB_BITS).all()
    for key in range(len(t)):
        symbols = np.array(EXTREMES, np.int64).astype(np.int32)
        check(symbols, np.full(symbols.size, key, np.uint8), np.array([symbols.size]), 4, t)


def test_size_is_what_the_costs_say() -> None:
    random = random_of("cost")
    t = classic_tables()
    keys = random.integers(4, 40, 40_000).astype(np.uint8)
    mean = 2.0 ** ((keys.astype(float) - 18) / 3)
    symbols = random.geometric(1 / (1 + mean)) - 1
    symbols = (symbols * random.choice([-1, 1], symbols.size)).astype(np.int32)
    tokens = [token_of(abs(int(s))) for s in symbols]
    bits = t.cost[keys, tokens].sum() / (1 << COST_BITS)
    words = check(symbols, keys, np.array([symbols.size]), 8, t)
    assert 16 * words == pytest.approx(bits, rel=2e-3, abs=16 * 8)


def test_certain_zeros_cost_nothing() -> None:
    t = random_tables(3)
    symbols = np.zeros(100_000, np.int32)
    assert check(symbols, np.zeros(symbols.size, np.uint8), np.array([symbols.size]), 1, t) < 10


@given(st.integers(0, 1 << 32), st.integers(1, 32), st.integers(0, 60))
def test_hostile_words_are_never_read_outside(seed: int, lanes: int, size: int) -> None:
    """What lies before and after the words has no influence on what is decoded."""
    random = np.random.default_rng(seed)
    t = random_tables(seed % 4)
    keys = random.integers(0, len(t), 300).astype(np.uint8)
    ends = np.array([10, 10, 150, 300])
    states = random.integers(rans.LOW, 1 << 32, rans.MAX_LANES)
    results = []
    for _ in range(2):
        room = random.integers(0, 1 << 16, size + 200).astype(np.uint16)
        words = room[100 : 100 + size]
        words[:] = np.random.default_rng(seed).integers(0, 1 << 16, size)
        before = room.copy()
        out, position = decode(words, states.copy(), keys, ends, lanes, t)
        assert np.array_equal(room, before)
        results.append((out.tobytes(), position))
    assert results[0] == results[1]
    assert 0 <= results[0][1] <= 4 * 300


def test_hostile_states_do_no_harm() -> None:
    """States below the lower end, which no encoder writes, end in some symbols."""
    t = classic_tables()
    keys = np.arange(56, dtype=np.uint8)
    for state in (0, 1, rans.LOW - 1, (1 << 32) - 1):
        states = np.full(rans.MAX_LANES, state, np.int64)
        out, _ = decode(np.zeros(0, np.uint16), states, keys, np.array([56]), 4, t)
        assert out.shape == (56,)


def test_tokens_cover_every_magnitude_once() -> None:
    expected = 0
    for token in range(TOKENS):
        assert token_base(token) == expected
        expected += 1 << extra_bits(token)
    assert expected == 1 << 32
    for magnitude in (*range(5000), *(2**k + d for k in range(6, 32) for d in (-1, 0, 1))):
        token = token_of(magnitude)
        assert token_base(token) <= magnitude < token_base(token) + (1 << extra_bits(token))
    assert [token_of(m) for m in range(DIRECT)] == list(range(DIRECT))


def test_normalised_tables_sum_up() -> None:
    random = random_of("normalise")
    for spread in (0.1, 5, 40):
        freq = normalise(np.exp(spread * random.standard_normal((60, TOKENS))))
        assert (freq.astype(int).sum(1) == 1 << PROB_BITS).all()
        assert (freq[:, ESCAPE] > 0).all()
        Tables(freq)


@pytest.mark.parametrize("what", ["sum", "escape", "columns", "rows", "none"])
def test_bad_tables_are_refused(what: str) -> None:
    freq = random_tables(1).freq.copy()
    if what == "sum":
        freq[2, 0] += 1
    elif what == "escape":
        freq[1, 0] += freq[1, ESCAPE]
        freq[1, ESCAPE] = 0
    elif what == "columns":
        freq = freq[:, :-1]
    elif what == "rows":
        freq = np.repeat(freq, 40, axis=0)
    else:
        freq = freq[:0]
    with pytest.raises(ValueError, match=r"tables must be|must be positive"):
        Tables(freq)

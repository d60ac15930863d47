"""Trellis-coded quantisation: the machine, the best path, what it gains, runs of its symbols."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_rans import random_tables
from volumes import random_of

from volcodec import trellis
from volcodec.entropy import rans
from volcodec.entropy.expectation import BITS, HALF, RESTS, Signs
from volcodec.entropy.tables import COST_BITS, TOKENS, Tables, token_of
from volcodec.entropy.trellis import (
    NEXT,
    SKIPPED,
    STATES,
    chains_of,
    decode_run,
    encode_runs,
    halves_of,
)
from volcodec.quantiser import decide as decide_alone

STEP = 64


def turns_of(symbols: np.ndarray) -> np.ndarray:
    """The quantiser of each symbol of a run, followed one by one."""
    chains = chains_of(symbols.size)
    turns = [0] * chains
    out = []
    for j, s in enumerate(symbols):
        out.append(turns[j % chains] % 2)
        turns[j % chains] = int(NEXT[turns[j % chains], abs(int(s)) % 2])
    return np.array(out, np.uint8)


def flat_costs() -> np.ndarray:
    """Two tables, costs in COST_BITS, that grow with the token."""
    bits = 0.7 + 1.1 * np.arange(TOKENS)
    return np.rint(np.stack([bits, bits[::-1].cumsum()[::-1] / 900 + bits]) * 256).astype(np.int32)


def decided(
    coefs: np.ndarray, cost: np.ndarray, lam: float, expected: np.ndarray | None = None,
    signs: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    symbols, quantisers = np.zeros(coefs.size, np.int32), np.zeros(coefs.size, np.uint8)
    e = np.zeros(coefs.size, np.int32) if expected is None else expected
    sign = Signs.even(2).cost if signs is None else signs
    tables = np.zeros(coefs.size, np.uint8)
    trellis.decide(coefs, STEP, e, tables, cost, sign, lam, symbols, quantisers)
    return symbols, quantisers


def test_the_machine_takes_every_turn() -> None:
    for parity in range(2):
        assert sorted(NEXT[:, parity]) == list(range(STATES))
    reached = {0}
    for _ in range(STATES):
        reached |= {int(NEXT[s, p]) for s in reached for p in range(2)}
    assert reached == set(range(STATES))
    # what one quantiser misses the other has, but for zero, which both have
    points = [{halves_of(k, q) for k in range(-3, 4)} for q in range(2)]
    assert points[0] & points[1] == {0}
    assert points[0] | points[1] == {-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("lam", [0.0, 0.1])
@pytest.mark.parametrize("with_rests", [False, True])
def test_no_path_is_cheaper(lam: float, with_rests: bool) -> None:
    random = random_of(f"paths{lam}{with_rests}")
    cost = flat_costs()
    signs = random.integers(-200, 200, (2, 2, RESTS, 2)).astype(np.int32)
    for _ in range(6):
        coefs = random.integers(-140, 141, (1, 1, 5)).astype(np.int32)
        e = random.integers(-HALF, HALF, 5).astype(np.int32) * with_rests
        symbols, quantisers = decided(coefs, cost, lam, e, signs)

        def price(path: tuple[int, ...], coefs: np.ndarray = coefs, e: np.ndarray = e) -> float:
            total = 0.0
            for i, (k, q) in enumerate(zip(path, turns_of(np.array(path)), strict=True)):
                u, rest = coefs[0, 0, i] / STEP, int(e[i])
                point = halves_of(k, int(q)) / 2 if k else 0.75 * rest / (1 << BITS)
                bits = float(cost[q, token_of(abs(k))])
                if k and rest:
                    side = 0 if (k > 0) == (rest > 0) else 1
                    bits += signs[1 if abs(k) > 1 else 0, q, abs(rest), side]
                total += (u - point) ** 2 + lam * bits / (1 << COST_BITS)
            return total

        # paths whose symbols have the sign of what they stand for
        spans = [[k * (1 if c >= 0 else -1) for k in range(5)] for c in coefs.reshape(-1)]
        least = min(map(price, itertools.product(*spans)))
        assert price(tuple(map(int, symbols))) == pytest.approx(least)
        assert list(quantisers) == list(turns_of(symbols))


@pytest.mark.parametrize("size", [1, 31, 500, 20_000])
def test_quantisers_follow_from_parities(size: int) -> None:
    coefs = random_of(f"turns{size}").integers(-300, 300, (1, 1, size)).astype(np.int32)
    coefs[0, 0, size // 3 : size // 2] = 0
    symbols, quantisers = decided(coefs, flat_costs(), 0.05)
    assert np.array_equal(quantisers, turns_of(symbols))


def test_it_gains_what_theory_says() -> None:
    """At the rate of a uniform quantiser, the error of evenly spread values falls by a decibel."""
    coefs = random_of("gain").integers(-6000, 6000, (8, 64, 64)).astype(np.int32)
    symbols, quantisers = decided(coefs, np.zeros((2, TOKENS), np.int32), 0.0)
    halves = np.array([halves_of(s, q) for s, q in zip(symbols, quantisers, strict=True)])
    error = np.mean((halves * (STEP / 2) - coefs.reshape(-1)) ** 2)
    alone = np.zeros(coefs.size, np.int32)
    plain = np.zeros((1, TOKENS), np.int32), Signs.even(1).cost
    nothing = np.zeros(coefs.size, np.int32), np.zeros(coefs.size, np.uint8)
    decide_alone(coefs, STEP, *nothing, *plain, 0.0, alone)
    uniform = np.mean((alone * STEP - coefs.reshape(-1).astype(np.float64)) ** 2)
    assert 0.9 < 10 * np.log10(uniform / error) < 1.2
    assert len(np.unique(symbols)) <= len(np.unique(alone)) + 1


def runs(
    symbols: np.ndarray, keys: np.ndarray, ends: np.ndarray, lanes: int, skip: int, t: Tables,
    rests: np.ndarray, signs: np.ndarray,
) -> list[np.ndarray]:  # fmt: skip
    """What is decoded of encoded runs, in halves; checks that exactly all words are read."""
    second = len(t) // 2
    bounds = list(itertools.pairwise([0, *ends]))
    turns = np.concatenate([turns_of(symbols[a:b]) for a, b in bounds])
    tables = np.where(keys < skip, SKIPPED, keys + second * turns).astype(np.int16)
    own = (keys + second * turns).astype(np.uint8)
    words, states = np.zeros(5 * symbols.size + 8, np.uint16), np.zeros(rans.MAX_LANES, np.int64)
    first = encode_runs(
        symbols, tables, ends, lanes, t.freq, t.start, rests, own, signs, words, states
    )
    out, position = [], 0
    for a, b in bounds:
        part = np.zeros(b - a, np.int32)
        position = decode_run(
            words[first:], position, states, lanes, keys[a:b].astype(np.uint8), skip, second,
            t.freq, t.start, t.slots, rests[a:b], keys[a:b].astype(np.uint8), signs, part,
        )  # fmt: skip
        out.append(part)
    assert position == words.size - first
    assert (states[:lanes] == rans.LOW).all()
    return out


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4), st.sampled_from([1, 4, 8, 32]),
    st.integers(0, 3), st.booleans(), st.integers(0, 1000),
)  # fmt: skip
def test_runs_come_back(sizes: list[int], lanes: int, skip: int, signed: bool, seed: int) -> None:
    _check_runs(sizes, lanes, skip, signed, seed)


@pytest.mark.parametrize("lanes", [1, 8, 32])
def test_long_runs_come_back(lanes: int) -> None:
    _check_runs([16_384, 17, 16_500], lanes, 2, True, lanes)


def _check_runs(sizes: list[int], lanes: int, skip: int, signed: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    t = random_tables(seed, 10)
    size = sum(sizes)
    keys = random.integers(0, 5, size)
    symbols = (random.geometric(0.4, size) - 1) * random.choice([-1, 1], size)
    symbols[random.random(size) < 0.02] = random.choice([70_000, -(1 << 31) + 1, 16, -4097])
    symbols = np.where(keys < skip, 0, symbols).astype(np.int32)
    rests = random.integers(-32, 32, size).astype(np.int8) if signed else np.zeros(0, np.int8)
    signs = random.integers(1, 1 << 14, (2, 10, RESTS)).astype(np.uint16)
    ends = np.cumsum(sizes)
    back = runs(symbols, keys, ends, lanes, skip, t, rests, signs)
    for part, (a, b) in zip(back, itertools.pairwise([0, *ends]), strict=True):
        halves = [halves_of(int(s), int(q)) for s, q in
                  zip(symbols[a:b], turns_of(symbols[a:b]), strict=True)]  # fmt: skip
        assert np.array_equal(part, np.array(halves, np.int64).astype(np.int32))

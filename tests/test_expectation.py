"""Expectations: exact integers, weights that are the best, and what they are worth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from volumes import random_of

from volcodec.entropy import contexts
from volcodec.entropy.expectation import (
    BITS,
    CLASSES,
    COUNT,
    HALF,
    LIMIT,
    NONE,
    OWN_WEIGHTS,
    PAIRS,
    RESTS,
    Signs,
    expect_row,
    unpack,
)
from volcodec.entropy.rows import SLACK, amid_zeros
from volcodec.entropy.tables import COST_BITS, PROB_BITS
from volcodec.entropy.weights import choose_weights, moments
from volcodec.quantiser import decide
from volcodec.training.codebook import cluster
from volcodec.transform.layers import no_hints


def neighbours(v: np.ndarray, p: tuple[int, ...], axes: int) -> int:
    """Sum of the nearest samples that lie off ``p`` on the axes whose bits are set."""
    sides = [(-1, 1) if axes >> (2 - a) & 1 else (0,) for a in range(3)]
    total = 0
    for step in itertools.product(*sides):
        at = tuple(i + s for i, s in zip(p, step, strict=True))
        if all(0 <= i < n for i, n in zip(at, v.shape, strict=True)):
            total += int(v[at])
    return total


def test_pairs_name_every_earlier_class() -> None:
    assert COUNT == 28
    order = [(c, e) for c in range(8) for e in range(c)]
    for (said, axes), (later, earlier) in zip(PAIRS, order, strict=True):
        off = [axes >> (2 - a) & 1 for a in range(3)]
        assert said == later
        assert off == [x ^ y for x, y in zip(CLASSES[later], CLASSES[earlier], strict=True)]


@pytest.mark.parametrize("largest", [3, LIMIT])
def test_rows_are_the_sums_they_say(largest: int) -> None:
    random = random_of(f"rows{largest}")
    v = random.integers(-largest, largest + 1, (4, 5, 6)).astype(np.int32)
    v.reshape(-1)[:3] = largest
    w = random.integers(-128, 128, 8).astype(np.int32)
    if largest == LIMIT:
        v[:], w[:] = LIMIT, 127  # the largest that can be must fit 32 bits
    padded = np.pad(v, 1)
    out = np.zeros(8, np.int32)
    for z, y in itertools.product(range(4), range(5)):
        expect_row(padded, z + 1, y + 1, w, np.zeros((3, 8), np.int32), out)
        for x in range(6):
            said = sum(int(w[d]) * neighbours(v, (z, y, x), d) for d in range(1, 8))
            assert int(out[x + 1]) == said


def waves(shape: tuple[int, int, int], name: str) -> np.ndarray:
    """Coefficients that neighbours tell much about."""
    noise = random_of(name).standard_normal(shape)
    for axis in range(3):
        noise = noise - 0.9 * np.roll(noise, 1, axis)
    return np.rint(noise * 2000).astype(np.int32)


def test_fitted_weights_are_those_of_least_squares() -> None:
    coefs = waves((18, 16, 20), "fit")
    step = 700
    found = moments(coefs, step)
    assert found is not None
    fitted = unpack(found.fitted()).astype(float) / (1 << BITS)
    q = (np.sign(coefs) * np.floor(np.abs(coefs) / step + 0.42)).astype(np.int64)
    for c in (3, 7):
        axes = [int(d) for k, d in PAIRS if k == c]
        rows, targets, weights = [], [], []
        grid = [range(o, n, 2) for o, n in zip(CLASSES[c], coefs.shape, strict=True)]
        for p in itertools.product(*grid):
            sums = [neighbours(q, p, d) for d in range(1, 8)]
            if any(sums):
                size = 1 + abs(coefs[p] / step) + np.abs(sums).sum() / 8
                rows.append([sums[d - 1] for d in axes])
                targets.append(coefs[p] / step)
                weights.append(1 / size)
        a = np.array(rows, float) * np.array(weights)[:, None]
        best = np.linalg.lstsq(a, np.array(targets) * np.array(weights), rcond=None)[0]
        np.testing.assert_allclose(fitted[c, axes], best, atol=0.02)
        left = np.sum((a @ best - np.array(targets) * np.array(weights)) ** 2)
        assert found.left(found.fitted())[c] == pytest.approx(left, rel=0.02)


def test_weights_of_its_own_only_where_they_pay() -> None:
    coefs = waves((32, 32, 32), "large")
    found = moments(coefs, 500)
    assert found is not None
    nothing = np.zeros((0, COUNT), np.int8)
    code, own = choose_weights(found, nothing)
    assert code == OWN_WEIGHTS
    assert np.array_equal(own, found.fitted())
    # a codebook that has them already
    code, same = choose_weights(found, np.stack([np.zeros(COUNT, np.int8), own]))
    assert code == 2
    assert np.array_equal(same, own)
    noise = random_of("noise").integers(-5000, 5000, (32, 32, 32)).astype(np.int32)
    assert choose_weights(moments(noise, 500), nothing)[0] == NONE
    assert moments(np.zeros((9, 9, 9), np.int32), 500) is None
    assert choose_weights(None, nothing)[0] == NONE


def test_a_codebook_learns_the_kinds_there_are() -> None:
    kinds = [waves((20, 20, 20), "a"), waves((20, 20, 20), "b").transpose(2, 1, 0)[::-1].copy()]
    kinds.append(random_of("c").integers(-900, 900, (20, 20, 20)).astype(np.int32))
    bands = []
    for coefs in kinds * 6:
        found = moments(coefs, 400)
        assert found is not None
        bands.append((5, found))
    book = cluster(bands, np.random.default_rng(0))
    assert book.dtype == np.int8
    assert not book[[0, 1, 2, 3, 5, 6]].any()
    for _, found in bands:
        best = found.saved(book[4]).max()
        assert best >= 0.97 * found.saved(found.fitted())


def test_signs_are_checked() -> None:
    freq = np.full((2, 5, RESTS), 1 << (PROB_BITS - 1), np.uint16)
    assert not Signs(freq).cost.any()
    for bad in (freq[0], freq[:, :, 1:], np.zeros_like(freq), np.full_like(freq, 1 << PROB_BITS)):
        with pytest.raises(ValueError):
            Signs(bad)
    freq[:] = round(0.75 * (1 << PROB_BITS))
    told, other = Signs(freq).cost[0, 0, 0] / (1 << COST_BITS)
    assert told == pytest.approx(-np.log2(0.75) - 1, abs=0.01)
    assert other == pytest.approx(1.0, abs=0.01)


def test_decisions_count_from_what_is_expected() -> None:
    """Without a price for bits the nearest multiple is taken, whatever is expected."""
    random = random_of("decide")
    coefs = random.integers(-9000, 9000, (3, 4, 5)).astype(np.int32)
    expected = random.integers(-900, 900, coefs.size).astype(np.int32)
    table = np.zeros(coefs.size, np.uint8)
    cost, signs = np.zeros((1, 128), np.int32), Signs.even(1).cost
    out = np.empty(coefs.size, np.int32)
    whole = (expected.astype(np.int64) + HALF) >> BITS
    decide(coefs, 301, expected, table, cost, signs, 0.0, out)
    assert np.abs((out + whole) * 301 - coefs.reshape(-1)).max() <= 150
    decide(coefs, 1, expected, table, cost, signs, -1.0, out)
    assert np.array_equal(out + whole, coefs.reshape(-1))
    # bits that cost much pull towards the expected value, not towards zero
    price = np.arange(128, dtype=np.int32)[None] * 4096
    decide(coefs, 301, expected, table, price, signs, 0.1, out)
    near = np.abs(coefs.reshape(-1) / 301 - whole)
    assert (np.abs(out) <= near + 0.5).all()
    assert (out == 0).sum() > (near < 0.5).sum()


def test_features_tell_the_expectation() -> None:
    shape = (3, 4, 6)
    random = random_of("told")
    kept = amid_zeros(shape)
    kept[1:4, 1:5, 1:7] = random.integers(-4, 5, shape)
    state = contexts.LevelState.empty((6, 8, 12))
    state.mag[3, :5, :6, :8] = np.abs(kept)
    weights = unpack(random.integers(-60, 60, COUNT).astype(np.int8))
    parent = contexts.LevelState.empty((0, 0, 0))
    for c, offset in enumerate(CLASSES):
        out = np.zeros((contexts.GROUPS, 72 + SLACK), np.int32)
        where, expected = np.zeros(72 + SLACK, np.int32), np.zeros(72, np.int32)
        count = contexts.features(
            state.mag, state.logs, state.beside, parent.mag, parent.logs, no_hints(shape), 3,
            np.zeros(0, np.int64), shape, offset, kept, weights[c], 0, out, where, expected,
            np.zeros(0, np.uint8),
        )  # fmt: skip
        grid = [range(o, n, 2) for o, n in zip(offset, shape, strict=True)]
        said = [
            sum(int(weights[c, d]) * neighbours(kept[1:4, 1:5, 1:7], p, d) for d in range(1, 8))
            for p in itertools.product(*grid)
        ]
        assert list(expected[: len(said)]) == said
        for j in range(count):
            e = said[where[j]]
            told = contexts.rows_of(out, count)[j]
            assert told[contexts.FIXED - 2] == contexts.LOG[min(abs(e), 4095)]
            assert told[contexts.FIXED - 1] == 4 * abs(e - ((e + HALF) >> BITS << BITS))

"""What chooses a table: the same integers as plain integer arithmetic, whatever the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import shipped
from volumes import random_of

from volcodec import models
from volcodec.entropy import contexts
from volcodec.entropy.contexts import EXACT, FEATURES, GROUPS, LOG, columns_of, rows_of
from volcodec.entropy.expectation import CLASSES
from volcodec.entropy.products import ACTIVATION, ups_of
from volcodec.entropy.rows import LANES, SLACK, amid_zeros
from volcodec.transform.layers import no_hints
from volcodec.transform.pyramid import BAND_ORDER


def test_logarithms() -> None:
    """floor(16 log2(1 + s)), by integers alone."""
    for s, value in enumerate(LOG):
        assert 1 << int(value) <= (1 + s) ** 16 < 1 << int(value) + 1


def test_logarithms_of_vectors() -> None:
    """The same by a polynomial, for whatever a feature can be the logarithm of."""
    state, parent = (contexts.LevelState.empty(s) for s in ((2, 2, 2 * 4100), (0, 0, 0)))
    for d in range(2):  # as hints, at even and at odd places
        hints = no_hints((1, 1, 4100))
        hints[0, 0, 0, d::2] = np.arange(d, d + 2 * hints[0, 0, 0, d::2].size, 2)
        out = np.zeros((GROUPS, 2050 + SLACK), np.int32)
        where = np.zeros(2050 + SLACK, np.int32)
        count = contexts.features(
            state.mag, state.logs, state.beside, parent.mag, parent.logs, hints, 1,
            np.zeros(0, np.int64), (1, 1, 4100), (0, 0, d), amid_zeros((1, 1, 4100)),
            np.zeros(8, np.int32), 0, out, where, np.zeros(2050, np.int32), np.zeros(0, np.uint8),
        )  # fmt: skip
        values = np.minimum(hints[0, 0, 0, d::2], LOG.size - 1)
        assert list(where[:count]) == list(np.flatnonzero(values))
        assert list(rows_of(out, count)[:, contexts.OWN + contexts.PARENT]) == list(
            LOG[values[values > 0]]
        )


@pytest.mark.parametrize("count", [1, 7, LANES, LANES + 1])
def test_squeezing_without_the_instruction(count: int) -> None:
    random = random_of(f"squeezed {count}")
    out = random.integers(0, 1 << 31, (FEATURES, 2 * LANES)).astype(np.int32)
    where = np.arange(2 * LANES, dtype=np.int32)
    bits = int(random.integers(0, 1 << LANES))
    chosen = [lane for lane in range(LANES) if bits >> lane & 1]
    expected = out[:count, [3 + lane for lane in chosen]]
    contexts._squeeze(out, where, 3, bits, count)
    np.testing.assert_array_equal(out[:count, 3 : 3 + len(chosen)], expected)
    assert list(where[3 : 3 + len(chosen)]) == [3 + lane for lane in chosen]


def layer(a: np.ndarray, w: np.ndarray, b: np.ndarray, shift: int, top: int) -> np.ndarray:
    """clip((w a + b) >> shift, 0, top) in 64-bit integers."""
    sums = w.astype(np.int64) @ a.astype(np.int64) + b.astype(np.int64)[:, None]
    assert np.abs(sums).max() < EXACT
    return np.clip(sums >> shift, 0, top)


def chosen(x: np.ndarray, used: int, net: list[Any], shifts: list[int], top: int) -> np.ndarray:
    """What ``contexts.choose`` has to choose for columns of features, in plain integers."""
    w1, b1, w2, b2, w3, b3 = net
    a = layer(x[:used], w1[:, :used], b1, shifts[0], ACTIVATION)
    a = layer(a, w2, b2, shifts[1], ACTIVATION)
    return layer(a, w3[None], np.array([b3]), shifts[2], top)[0]


def choose(x: np.ndarray, used: int, net: list[Any], shifts: list[int], top: int) -> np.ndarray:
    """What the kernel chooses, scattered to the odd places of an array of 7."""
    w1, b1, w2, b2, w3, b3 = (np.asarray(a)[None] for a in net)
    networks = contexts.Networks.of(w1, b1[:, None], w2, b2, w3, b3, shifts)
    count = x.shape[1]
    where = np.arange(1, 2 * count, 2, dtype=np.int32)
    out = np.full(2 * count + 1, 7, np.uint8)
    contexts.choose(columns_of(x.T), count, where, used, *networks.of_net(0, 0), top, out)
    assert (out[::2] == 7).all()
    return out[1::2]


def within(random: np.random.Generator, shape: tuple[int, ...], room: int) -> np.ndarray:
    """Integer weights whose absolute sums along the last axis reach nearly ``room``."""
    w = random.standard_normal(shape) * random.choice([0.0, 1.0, 10.0], shape)
    total = np.abs(w).sum(-1, keepdims=True)
    w = np.trunc(w / np.maximum(total, 1e-9) * room).astype(np.int64)
    return np.clip(w, -(1 << 15), (1 << 15) - 1)


@settings(max_examples=80)
@given(
    st.integers(0, 1 << 32), st.integers(1, 200), st.integers(contexts.FIXED // 2, FEATURES // 2),
    st.sampled_from([(2, 2), (4, 6), (16, 16), (32, 2)]), st.integers(0, 255),
)  # fmt: skip
def test_exact_to_the_last_bit_of_24(
    seed: int, count: int, pairs: int, widths: tuple[int, int], top: int
) -> None:
    """Sums next to 2**24, where one rounding of float32 would change the choice."""
    random = np.random.default_rng(seed)
    h1, h2 = widths
    bias = 1 << 20
    room = (EXACT - 1 - bias) // ACTIVATION
    net = [
        within(random, (h1, FEATURES), room), random.integers(-bias, bias, h1),
        within(random, (h2, h1), room), random.integers(-bias, bias, h2),
        within(random, (h2,), room), int(random.integers(-bias, bias)),
    ]  # fmt: skip
    shifts = [int(s) for s in random.integers(0, 21, 3)]
    x = random.integers(0, 256, (FEATURES, count)).astype(np.uint8)
    used = 2 * pairs
    np.testing.assert_array_equal(
        choose(x, used, net, shifts, top), chosen(x, used, net, shifts, top)
    )


@settings(max_examples=80)
@given(
    st.integers(0, 1 << 32), st.integers(1, 200), st.integers(contexts.FIXED // 2, FEATURES // 2),
    st.sampled_from([(2, 2), (4, 6), (16, 16), (32, 2), (24, 10)]), st.integers(0, 255),
)  # fmt: skip
def test_weights_of_8_bits_choose_what_whole_numbers_do(
    seed: int, count: int, pairs: int, widths: tuple[int, int], top: int
) -> None:
    """Each row shifted by bits of its own, biases and shifts of any size."""
    random = np.random.default_rng(seed)
    h1, h2 = widths

    def rows(*shape: int) -> np.ndarray:
        w = random.integers(-127, 128, shape) * random.choice([0, 1, 1], shape)
        return np.left_shift(w, random.integers(0, 4, (*shape[:-1], 1)))

    net = [
        rows(h1, FEATURES), random.integers(-(1 << 20), 1 << 20, h1),
        rows(h2, h1), random.integers(-(1 << 20), 1 << 20, h2),
        rows(h2), int(random.integers(-(1 << 20), 1 << 20)),
    ]  # fmt: skip
    shifts = [int(s) for s in random.integers(3, 21, 3)]
    for w in net[::2]:
        whole = np.asarray(w)
        assert ups_of(whole.reshape(-1, whole.shape[-1]), 3) is not None
    x = random.integers(0, 256, (FEATURES, count)).astype(np.uint8)
    used = 2 * pairs
    np.testing.assert_array_equal(
        choose(x, used, net, shifts, top), chosen(x, used, net, shifts, top)
    )


def test_which_weights_are_of_8_bits() -> None:
    ups = ups_of(np.array([[127, -1], [254, -2], [0, 0], [-508, 64]]), 8)
    assert ups is not None
    assert ups.tolist() == [0, 1, 0, 2]
    assert ups_of(np.array([[128, 1]]), 8) is None
    assert ups_of(np.array([[1 << 13, 0]]), 6) is None


@pytest.mark.parametrize("bank", models.BANKS)
def test_shipped_networks_are_exact(bank: str) -> None:
    tensors, card, _ = shipped()
    model = models.load("density").banks[bank]
    top = len(model.tables) - 1
    random = random_of(bank)
    for net in range(0, contexts.NETS, 5):
        kind = net % contexts.LEVEL_KINDS
        parts = [tensors[f"{bank}.{k}"][net] for k in ("w1", "b1", "w2", "b2", "w3", "b3")]
        parts[1] = parts[1][kind]
        x = (random.random((FEATURES, 150)) ** 3 * 193).astype(np.uint8)
        x[:, 0] = 0
        shifts = card["shifts"][bank] if isinstance(card["shifts"], dict) else card["shifts"]
        expected = chosen(x, FEATURES, parts, shifts, top)
        np.testing.assert_array_equal(choose(x, FEATURES, parts, shifts, top), expected)
        # What a position without any neighbours gets is looked up, not computed.
        assert model.zero[net, kind] == expected[0]


def features_in_python(
    mag: np.ndarray, parent: np.ndarray | None, hints: np.ndarray, band: int, before: list[int],
    shape: tuple[int, int, int], offset: tuple[int, int, int],
) -> list[list[int]]:  # fmt: skip
    """A row of features for each position, sums written out."""

    def at(m: np.ndarray, z: int, y: int, x: int) -> int:
        inside = all(0 <= i < n for i, n in zip((z, y, x), m.shape, strict=True))
        return int(m[z, y, x]) if inside else 0

    def around(m: np.ndarray, p: tuple[int, int, int], axes: int) -> int:
        steps = [d for d in np.ndindex(3, 3, 3) if sum(i != 1 for i in d) == axes]
        return sum(at(m, *(a + b - 1 for a, b in zip(p, d, strict=True))) for d in steps)

    def log(s: int) -> int:
        return int(LOG[min(s, 4095)])

    rows = []
    grid = [range(o, n, 2) for o, n in zip(offset, shape, strict=True)]
    for p in ((z, y, x) for z in grid[0] for y in grid[1] for x in grid[2]):
        m = mag[band]
        z, y, x = p
        row = [
            log(at(m, z, y, x - 1) + at(m, z, y, x + 1)),
            log(at(m, z, y - 1, x) + at(m, z, y + 1, x)),
            log(at(m, z - 1, y, x) + at(m, z + 1, y, x)),
            log(around(m, p, 2)), log(around(m, p, 3)), 0, 0, 0,
            log(int(hints[0][p])), log(int(hints[1][p])), 0, 0,
        ]  # fmt: skip
        if parent is not None:
            # A voxel covers half a parent; the three nearest others lie on its side of it.
            c = (z // 2, y // 2, x // 2)
            side = [1 if i % 2 else -1 for i in p]
            near = sum(
                at(parent, *(v + side[a] * (a == b) for b, v in enumerate(c))) for a in range(3)
            )
            row[5:8] = log(at(parent, *c)), log(around(parent, c, 1)), log(near)
        for b in before:
            row += [log(at(mag[b], *p)), log(around(mag[b], p, 1))]
        rows.append(row)
    return rows


@pytest.mark.parametrize("with_parent", [False, True])
def test_features_are_what_they_say(with_parent: bool) -> None:
    random = random_of("features")
    level = (7, 10, 9)
    shape = (3, 5, 4)  # of band 5 (high along x and z) of such a level
    order = [b for b in BAND_ORDER if b < 5]
    state, parent = (contexts.LevelState.empty(s) for s in (level, (4, 5, 5)))
    if not with_parent:
        parent = contexts.LevelState.empty((0, 0, 0))
    mags = np.zeros((8, *shape), np.int64)
    for b in (*order, 5):
        mags[b] = random.choice([0, 0, 0, 1, 2, 50, 4095], shape)
        state.mag[b, 1:4, 1:6, 1:5] = mags[b]
        if b < 5:
            state.close_band(b, shape)
    above = random.choice([0, 0, 1, 9, 4095], (2, 3, 3))
    if with_parent:
        parent.mag[5, 1:3, 1:4, 1:4] = above
        parent.close_band(5, (2, 3, 3))
    hints = no_hints(shape)
    hints[...] = random.choice([0, 0, 0, 1, 300, 4095], (2, *shape))
    for offset in CLASSES:
        out = np.full((GROUPS, 60 + SLACK), 99, np.int32)
        where = np.zeros(60 + SLACK, np.int32)
        positions = int(np.prod([len(range(o, n, 2)) for o, n in zip(offset, shape, strict=True)]))
        around = np.full(positions + 2 * LANES, 99, np.uint8)
        classic = around[LANES:-LANES]
        count = contexts.features(
            state.mag, state.logs, state.beside, parent.mag, parent.logs, hints, 5,
            np.array(order, np.int64), shape, offset, amid_zeros(shape), np.zeros(8, np.int32), 0,
            out, where, np.zeros(60, np.int32), classic,
        )  # fmt: skip
        rows = features_in_python(
            mags, above if with_parent else None, hints, 5, order, shape, offset
        )
        told = [i for i, row in enumerate(rows) if any(row)]
        assert list(where[:count]) == told
        counted = [i for i in range(contexts.FIXED + 2 * len(order)) if not 8 <= i < contexts.FIXED]
        weight = (2 * contexts.OWN + (3 if with_parent else 0) + 2 * len(order)) * 4
        for i, row in enumerate(rows):
            total = sum(row[f] * (2 if f < contexts.OWN else 1) for f in counted)
            assert classic[i] == (1 + min(total // weight, 22) if any(row) else 0)
        assert (around[:LANES] == 99).all() and (around[-LANES:] == 99).all()
        used = contexts.FIXED + 2 * len(order)
        assert rows_of(out, count)[:, :used].tolist() == [rows[i] for i in told]

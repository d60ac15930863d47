"""Restoration: a filter's bytes, what it makes of integers, where it stands, what it is worth."""

from __future__ import annotations

import io
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_cases import cliffs, oversampled
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import coded_by, tiny_unet
from mutations import KINDS as HARM
from mutations import Clean, mutated, repacked, wrong
from volumes import blobs, random_of

import volcodec
from volcodec import models, restoration
from volcodec.container import CODINGS, Reader
from volcodec.decoder import VolumeDecoder, frame_settings
from volcodec.errors import FormatError
from volcodec.preview import low_band
from volcodec.restoration import MAX_PASSES, Filter, Pass, unpack
from volcodec.tiledecoder import ADAPTIVE, CLOSED, FOLLOWS, RESTORED, TRANSFORMED, WHOLE
from volcodec.transform.pyramid import CDF97_PREVIEW, Pyramid

BINS, FEATURES, SHORT = 46, 23, 18  # as the text has them
FINEST, LARGEST, MAX_BYTES = 3, 1023, 4095
SHAPE = (16, 24, 24)
FIRST = 2  # the stream of scale 0
EXTENTS = (1, 2, 15, 17)
WIDTHS = (*EXTENTS, 7, 8, 9, 33)
KINDS = ("quiet", "smooth", "wild", "edges")
seeds = st.integers(0, 2**32 - 1)


# ---------------------------------------------------------------- as docs/format.md says it


class Bits:
    """Adaptive bits, read as "Adaptive bits" in docs/format.md has it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.shifted = data, 0
        self.low, self.high = 0, 2**32 - 1
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self.cells: dict[int, list[int]] = defaultdict(lambda: [2**21, 0])

    def plain(self, p: int) -> int:
        middle = self.low + ((self.high - self.low) * p >> 16)
        bit = int(self.code <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            following = self.data[4 + self.shifted : 5 + self.shifted] or b"\0"
            self.code = (self.code << 8 | following[0]) % 2**32
            self.low, self.high = (self.low << 8) % 2**32, (self.high << 8) % 2**32 | 255
            self.shifted += 1
        return bit

    def cell(self, c: int) -> int:
        p, n = self.cells[c]
        bit = self.plain(min(max(p >> 6, 32), 65504))
        self.cells[c] = [p + (((2**22 - 1) * bit - p) * (655360 // (10 * n + 14)) >> 16),
                         min(n + 1, 255)]  # fmt: skip
        return bit

    def at_end(self) -> bool:
        size = len(self.data)
        if self.low == 0:
            return size == self.shifted
        return size == self.shifted + 1 and self.data[-1] == (self.low >> 24) + 1


Told = list[list[tuple[int, int, list[int]]]]  # passes of classes: first bin, e, weights


def size_of(first: bytes) -> int:
    """Bytes of the filter in front of a scale 0."""
    return 1 + first[0] if first[0] else 3 + int.from_bytes(first[1:3], "little")


def told(packed: bytes) -> Told:
    """The passes in the bytes of a filter: points 1 to 4 of "Restoration" in docs/format.md."""
    assert size_of(packed) == len(packed)
    long = packed[0] == 0
    bits = Bits(packed[3:] if long else packed[1:])
    groups = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 5, 6]
    groups += [7, 8, 9, 10, 11] if long else []
    several = groups[-1] + 1
    passes: Told = []
    while True:
        classes: list[tuple[int, int, list[int]]] = []
        before = [0] * len(groups)
        for b in range(1, 46):
            if not bits.cell(1 if classes else 0):
                continue
            high = bits.cell(2)
            e = 2 * high + bits.cell(3 + high)
            weights = []
            for g, q in zip(groups, before, strict=True):
                c = 0 if q == 0 else 1 if q > 0 else 2
                if not bits.cell(8 + 3 * g + c):
                    weights.append(0)
                    continue
                negative = bits.cell(8 + 3 * several + 3 * g + c)
                like = sum(all(abs(q) >> (e + 2 * j) > 0 for j in range(i + 1)) for i in range(3))
                size = 0
                while size < 10 and bits.cell(8 + 6 * several + 11 * like + size):
                    size += 1
                magnitude = 1
                for _ in range(size):
                    magnitude = 2 * magnitude + bits.plain(32768)
                assert magnitude << e <= 1023
                weights.append(-magnitude if negative else magnitude)
            before = [w << e for w in weights]
            classes.append((b, e, weights + [0] * (23 - len(weights))))
        assert classes
        passes.append(classes)
        if not long or len(passes) == 4 or not bits.cell(5):
            break
    assert bits.at_end()
    return passes


def restored(x: np.ndarray, passes: Told) -> np.ndarray:
    """What a filter makes of integers: the text of "Restoration", in 64 bits."""
    for classes in passes:
        x = passed(x, classes)
    return x


def passed(x: np.ndarray, classes: list[tuple[int, int, list[int]]]) -> np.ndarray:
    wide = x.astype(np.int64)

    def at(a: np.ndarray, o: tuple[int, ...]) -> np.ndarray:
        return a[np.ix_(*(np.clip(np.arange(n) + d, 0, n - 1)
                          for n, d in zip(a.shape, o, strict=True)))]  # fmt: skip

    def signed(a: np.ndarray) -> np.ndarray:
        return (a + 2**31) % 2**32 - 2**31

    def p(o: tuple[int, ...], most: int = 2**15) -> Any:
        opposite = tuple(-a for a in o)
        cut = [np.clip(signed(at(wide, q) - wide), -(2**15), 2**15) for q in (o, opposite)]
        return sum(np.clip(d, -most, most) for d in cut)

    def around(a: np.ndarray) -> Any:
        return sum(at(a, o) for o in product((-1, 0, 1), repeat=3))

    def axes(n: int) -> list[tuple[int, ...]]:
        return [(0, 0, n), (0, n, 0), (n, 0, 0)]

    edges = [(0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)]
    features = [p(o) for o in [*axes(1), *axes(2), *edges, *axes(3)]]
    features += [sum(p(o, most) for o in axes(1)) for most in (64, 256)]
    features += [sum(p(o, most) for o in edges) for most in (128, 400)]
    features += [sum(p(o, 64) for o in axes(2)), sum(p(o, 128) for o in axes(3))]
    features += [sum(p(o) for o in axes(4))]
    pairs = [(features[k], features[k + 1]) for k in (6, 8, 10)]
    features += [sum(np.where(around(np.abs(a) - np.abs(b)) > 0, b, a) for a, b in pairs)]

    activity = around(sum(np.abs(f) for f in features[:3]))
    out = wide.copy()
    for place in np.ndindex(x.shape):
        a = int(activity[place])
        e = a.bit_length() - 1
        b = 0 if a == 0 else 2 * e + (a >> (e - 1) & 1 if e else 0)
        weights, scale = next(((w, s) for start, s, w in classes[::-1] if start <= b), ([], 0))
        total = sum((w << scale) * int(f[place]) for w, f in zip(weights, features, strict=False))
        out[place] += (total + 128) >> 8
    return signed(out).astype(np.int32)


# ---------------------------------------------------------------- filters and volumes


def some_filter(
    random: np.random.Generator, classes: int, largest: int = LARGEST, zeros: float = 0.3,
    passes: int = 1, short: bool = False,
) -> Filter:  # fmt: skip
    """A valid filter whose passes have so many classes."""
    made = []
    for _ in range(passes):
        starts = sorted(random.choice(np.arange(1, BINS), classes, replace=False).tolist())
        scales = random.integers(0, FINEST + 1, classes)
        weights = random.integers(-largest, largest + 1, (classes, FEATURES))
        weights[random.random(weights.shape) < zeros] = 0
        most = (LARGEST >> scales)[:, None]
        weights = np.clip(weights, -most, most).astype(np.int32)
        if short:
            weights[:, SHORT:] = 0
        made.append(Pass(tuple(starts), tuple(scales.tolist()), weights))
    return Filter(tuple(made))


def one_pass(starts: tuple[int, ...], scales: tuple[int, ...], weights: np.ndarray) -> Filter:
    return Filter((Pass(starts, scales, weights.astype(np.int32)),))


def passes_of(f: Filter) -> Told:
    return [list(zip(p.starts, p.scales, p.weights.tolist(), strict=True)) for p in f.passes]


def largest_of(f: Filter) -> int:
    return max(abs(w) << e for p in passes_of(f) for _, e, weights in p for w in weights)


def some_integers(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Integers from quiet to such that leave 32 bits in every sum."""
    if kind == "quiet":
        x = random.integers(-1, 2, shape) * (random.random(shape) < 0.1)
    elif kind == "smooth":
        x = np.cumsum(random.integers(-300, 301, shape), axis=-1)
    elif kind == "wild":
        x = random.integers(-(2**31), 2**31, shape)
    else:
        ends = [-(2**31), 2**31 - 1, -(2**31) + 1, 0, 2**15, -(2**15) - 1, 63, 65, 256, -128]
        x = random.choice(ends, shape)
    return np.asarray(x, np.int32)


def noise(*shape: int) -> np.ndarray:
    """Noise without its highest frequencies, in 1 ... 2: what is coded of it can be restored."""
    field = oversampled(shape)  # type: ignore[arg-type]
    return np.asarray(1 + (field - field.min()) / np.ptp(field))


def gaps() -> np.ndarray:
    """Zero but for a region, in which such noise begins at zero."""
    volume = noise(26, 40, 38) - 0.98
    return np.where(blobs(volume.shape, "inside") > 0.2, volume, 0).astype(np.float32)


def unusual() -> np.ndarray:
    volume = noise(20, 28, 30).astype(np.float32)
    volume[4:8, 5:14, 6:16], volume[12, 3, 3], volume[13, 9, 9] = np.nan, np.inf, -np.inf
    return volume


def spread(name: str) -> np.ndarray:
    """Over the whole range of a dtype (floats: 1 to 2)."""
    dtype, field = np.dtype(name), noise(*SHAPE)
    if dtype.kind == "f":
        return field.astype(dtype)
    low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return np.clip(np.rint(low + (field - 1) * (high - low)), low, high).astype(dtype)


def flags_of(blob: bytes) -> list[int]:
    return [entry.flags for entry in Reader(blob).index]


def has_filter(blob: bytes) -> bool:
    return any(flags & RESTORED for flags in flags_of(blob))


@pytest.fixture(scope="module")
def clean(codec: volcodec.Codec) -> Clean:
    """One tile, restored."""
    found = Clean.of("restored", codec.encode(noise(*SHAPE).astype(np.float32), psnr=35))
    assert flags_of(found.blob) == [RESTORED]
    return found


def with_first(c: Clean, first: bytes, coding: int | None = None, flags: int = RESTORED) -> bytes:
    """The file of one tile with another scale 0, coding or flags, and right checksums."""
    was, _, streams = c.tiles[0]
    new = [*streams[:FIRST], first, *streams[FIRST + 1 :]]
    return repacked(c, tiles=[(was if coding is None else coding, flags, new)])


def survives(blob: bytes) -> None:
    """It decodes to finite values, or raises FormatError."""
    for level in (0, 1):
        try:
            found = volcodec.decode(blob, level=level, threads=1)
        except FormatError:
            continue
        assert found.shape == tuple(-(-n >> level) for n in SHAPE)
        assert np.isfinite(found).all()


# ---------------------------------------------------------------- bytes


@given(seeds, st.integers(1, BINS - 1), st.sampled_from([1, 2, 9, 80, LARGEST]),
       st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.integers(1, MAX_PASSES), st.booleans(),
       st.binary(max_size=3))  # fmt: skip
def test_filters_come_back(
    seed: int, classes: int, largest: int, zeros: float, passes: int, short: bool, rest: bytes
) -> None:
    f = some_filter(np.random.default_rng(seed), classes, largest, zeros, passes, short)
    packed = f.pack()
    if not packed:
        assert sum(np.count_nonzero(p.weights) for p in f.passes) > 8 * MAX_BYTES / 25
        return
    assert 2 <= len(packed) <= 3 + MAX_BYTES
    if packed[0]:
        assert passes == 1 and not f.passes[0].weights[:, SHORT:].any()
    again, left = unpack(packed + rest)
    assert left == rest
    assert passes_of(again) == passes_of(f)
    assert all(p.weights.dtype == np.int32 for p in again.passes)
    assert told(packed) == passes_of(f)


def test_the_short_form_where_it_says_all() -> None:
    f = some_filter(random_of("short"), 2, 9, short=True)
    assert f.pack()[0] == len(f.pack()) - 1
    twice = Filter(f.passes * 2)
    assert twice.pack()[0] == 0 and told(twice.pack()) == passes_of(twice)
    many = some_filter(random_of("short"), 30, 9, short=True)  # too many bits for it
    assert many.pack()[0] == 0 and told(many.pack()) == passes_of(many)


def test_long_filters_are_not_written() -> None:
    assert some_filter(random_of("long"), BINS - 1, zeros=0.0, passes=4).pack() == b""
    assert some_filter(random_of("long"), BINS - 1, 1, zeros=1.0).pack()


@pytest.mark.parametrize("e", range(FINEST + 1))
def test_the_largest_weights(e: int) -> None:
    scales = (e, FINEST - e)
    weights = np.array([[LARGEST >> scale] * FEATURES for scale in scales], np.int32)
    weights[1, ::2] *= -1
    f = one_pass((1, BINS - 1), scales, weights)
    assert told(f.pack()) == passes_of(f) == passes_of(unpack(f.pack())[0])


def test_too_large_weights_are_refused() -> None:
    """The bits can say 1024 and more; no filter may."""
    for w in (LARGEST + 1, 2 * LARGEST + 1, -LARGEST - 1):
        weights = np.zeros((1, FEATURES), np.int32)
        weights[0, -1] = w  # the last one: where it is refused, nothing else is missing
        for last in (weights, np.roll(weights, SHORT)):
            with pytest.raises(FormatError, match="too large"):
                unpack(one_pass((BINS - 1,), (0,), last).pack())
    with pytest.raises(FormatError, match="no class"):
        unpack(b"\x04" + b"\xff" * 4)  # all bits are 0
    with pytest.raises(FormatError, match="no class"):
        unpack(b"\0\x04\0" + b"\xff" * 4)


def sized(packed: bytes, size: int) -> bytes:
    """What stands in front of a filter of that size, of the form of another."""
    return bytes([min(size, 255)]) if packed[0] else b"\0" + size.to_bytes(2, "little")


@given(seeds, st.integers(1, 5), st.booleans())
def test_cut_and_lengthened_filters(seed: int, classes: int, short: bool) -> None:
    packed = some_filter(np.random.default_rng(seed), classes, 20, short=short).pack()
    front = 1 if packed[0] else 3
    for end in range(len(packed)):
        with pytest.raises(FormatError):
            unpack(packed[:end])
        if end <= front:
            continue
        cut = sized(packed, end - front) + packed[front:end]
        try:
            f, left = unpack(cut)
        except FormatError:
            continue
        assert f.pack() + left == cut or packed[0] == 0  # another filter, by chance
    for more in (b"\0", b"\0\0", bytes(200)):
        size = len(packed) - front + len(more)
        with pytest.raises(FormatError):
            unpack(sized(packed, size) + packed[front:] + more)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    try:
        f, left = unpack(data)
    except FormatError:
        return
    assert unpack(f.pack() + left)[1] == left  # maybe of the other form


@given(seeds)
def test_changed_bytes(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes, passes = (int(n) for n in random.integers(1, 4, 2))
    f = some_filter(random, classes, 9, passes=passes, short=bool(random.integers(2)))
    data = mutated(f.pack(), random)
    try:
        f, left = unpack(data)
    except FormatError:
        return
    assert passes_of(unpack(f.pack() + left)[0]) == passes_of(f)
    assert 1 <= len(f.passes) <= MAX_PASSES
    for p in f.passes:
        assert all(1 <= b < BINS for b in p.starts) and list(p.starts) == sorted(set(p.starts))
    assert largest_of(f) <= LARGEST


# ---------------------------------------------------------------- values


@settings(max_examples=60)
@given(st.tuples(*map(st.sampled_from, (EXTENTS, EXTENTS, WIDTHS))), st.sampled_from(KINDS),
       st.sampled_from([1, 4, BINS - 1]), st.integers(1, 3), seeds)  # fmt: skip
def test_it_does_what_the_text_says(
    shape: tuple[int, int, int], kind: str, classes: int, passes: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    shape = shape if np.prod(shape) < 2000 else (2, *shape[1:])
    f = some_filter(random, classes, passes=passes)
    x = some_integers(random, shape, kind)
    kept = x.copy()
    out = f.apply(x)
    assert out.dtype == np.int32 and out.shape == shape
    assert np.array_equal(out, restored(x, passes_of(f)))
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 15, 17), (1, 17, 2), (17, 1, 1), (2, 2, 2)])
def test_a_class_for_every_bin(shape: tuple[int, int, int], kind: str) -> None:
    random = random_of(f"bins{shape}{kind}")
    f = some_filter(random, BINS - 1, zeros=0.0)
    x = some_integers(random, shape, kind)
    assert np.array_equal(f.apply(x), restored(x, passes_of(f)))


def test_every_bin_is_met() -> None:
    """One voxel unlike its neighbours, by all amounts: classes change where the text says."""
    random = random_of("ladder")
    f = some_filter(random, BINS - 1, 200, zeros=0.0)
    heights = sorted({h for e in range(16) for h in ((1 << e) - 1, 1 << e, 3 << e >> 1)})
    changed = set()
    for h in [*heights, 2**20]:
        x = np.zeros((3, 4, 3), np.int32)
        x[1, 1, 1], x[0, 3, 2] = h, -h
        want = restored(x, passes_of(f))
        assert np.array_equal(f.apply(x), want)
        changed.add(want.tobytes())
    assert len(changed) > 30


def test_the_largest_sums() -> None:
    """All features at their ends, all weights too: no sum may leave 32 bits on its way."""
    wide = np.full((9, 9, 9), 2**15)
    wide[4, 4, 4] = 0
    for sign in (1, -1):
        f = one_pass((1,), (0,), np.full((1, FEATURES), sign * LARGEST))
        for x in (wide, -wide, wide + (2**31 - 1 - 2**15), -wide - 2**31 + 2**15):
            x = x.astype(np.int32)
            assert np.array_equal(f.apply(x), restored(x, passes_of(f)))


@pytest.mark.parametrize("step", [1, 3, 255, 256, 511, 512, 2047, 1 << 20, (1 << 31) - 1])
def test_other_steps(step: int) -> None:
    """The text on closed steps, in 64 bits."""
    rng = random_of(f"step {step}")
    n = step.bit_length()
    for kind in ("smooth", "wild"):
        x = some_integers(rng, (4, 5, 9), kind).astype(np.int32)
        f = some_filter(rng, 9)
        wide = x.astype(np.int64)
        seen = wide >> (n - 9) if n > 9 else wide << (9 - n)
        seen = ((seen + 2**31) % 2**32 - 2**31).astype(np.int32)
        change = restored(seen, passes_of(f)).astype(np.int64) - seen
        change = (change + 2**31) % 2**32 - 2**31
        if n >= 9:
            change <<= n - 9
        else:
            change = ((change + (1 << (8 - n)) + 2**31) % 2**32 - 2**31) >> (9 - n)
        want = ((wide + change + 2**31) % 2**32 - 2**31).astype(np.int32)
        assert np.array_equal(f.apply(x, step), want)


def test_quiet_voxels_are_left_alone() -> None:
    f = some_filter(random_of("alone"), BINS - 1)
    flat = np.full((3, 4, 5), -77, np.int32)
    assert np.array_equal(f.apply(flat), flat)
    loud = one_pass((30,), (0,), np.full((1, FEATURES), 9))
    x = some_integers(random_of("quiet"), (9, 10, 11), "quiet")
    assert np.array_equal(loud.apply(x), x)
    assert not np.array_equal(f.apply(x), x)


def test_any_memory_layout() -> None:
    f = some_filter(random_of("layout"), 9)
    x = some_integers(random_of("layout"), (15, 17, 4), "smooth")
    want = f.apply(x)
    for y in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert np.array_equal(f.apply(y), want)


# ---------------------------------------------------------------- fitting


def scanned(name: str = "scanned") -> tuple[np.ndarray, np.ndarray]:
    """Integers, and the same with noise."""
    original = np.rint(900 * blobs((15, 24, 22), name, zeros=False)).astype(np.int32)
    noisy = original + np.rint(40 * random_of(name).standard_normal(original.shape))
    return original, noisy.astype(np.int32)


def fitted(
    original: np.ndarray, decoded: np.ndarray, hidden: np.ndarray, worth: float, passes: int = 2
) -> Filter | None:
    """The filter, whose result is what was told."""
    found = restoration.fit(original, decoded, hidden, worth, passes)
    if found is None:
        return None
    assert np.array_equal(found[0].apply(decoded), found[1])
    assert 1 <= len(found[0].passes) <= passes
    return found[0]


@pytest.mark.parametrize("passes", [1, 4])
def test_it_is_worth_its_bits(passes: int) -> None:
    original, decoded = scanned()
    hidden = np.zeros(original.shape, bool)
    for worth in (20.0, 900.0, 9000.0):
        f = fitted(original, decoded, hidden, worth, passes)
        assert f is not None
        before, after = (
            float(np.sum((a.astype(np.float64) - original) ** 2))
            for a in (decoded, f.apply(decoded))
        )
        assert before - after > worth * 8 * len(f.pack())
    assert after < 0.6 * before
    assert fitted(original, decoded, hidden, 1e9) is None
    assert fitted(original, original, hidden, 1.0) is None


def test_each_pass_is_worth_its_bits() -> None:
    original, decoded = scanned()
    hidden = np.zeros(original.shape, bool)
    f = fitted(original, decoded, hidden, 20.0, 4)
    assert f is not None and len(f.passes) > 1
    costs = [float(np.sum((decoded - original) ** 2.0)) / 20]
    for n in range(1, len(f.passes) + 1):
        first = Filter(f.passes[:n])
        off = first.apply(decoded) - original
        costs.append(float(np.sum(off**2.0)) / 20 + 8 * len(first.pack()))
    assert costs == sorted(costs, reverse=True)


def test_the_smoother_diagonal_tells_most_of_slanted_edges() -> None:
    """Planes at 45 degrees, with noise: weights of the last feature are worth theirs."""
    z, y, x = np.indices((12, 24, 24))
    original = np.where((x + y) % 12 < 6, 900, 0) + np.where((x - z) % 16 < 8, 500, 0)
    decoded = original + np.rint(60 * random_of("slanted").standard_normal(z.shape)).astype(int)
    hidden = np.zeros(z.shape, bool)
    f = fitted(original.astype(np.int32), decoded.astype(np.int32), hidden, 900.0, 1)
    assert f is not None and f.passes[0].weights[:, -1].any()


def test_hidden_voxels_do_not_count() -> None:
    original, decoded = scanned()
    hidden = random_of("hidden").random(original.shape) < 0.3
    one = fitted(original, decoded, hidden, 900.0)
    original[hidden] = 10**6
    other = fitted(original, decoded, hidden, 900.0)
    assert one is not None and other is not None
    assert passes_of(one) == passes_of(other)
    assert fitted(original, decoded, np.ones_like(hidden), 1.0) is None


@pytest.mark.parametrize("kind", ["wild", "edges"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 2), (15, 9, 17)])
def test_fits_are_valid(shape: tuple[int, int, int], kind: str) -> None:
    """Whatever it is fitted to."""
    random = random_of(f"fits{shape}{kind}")
    original, decoded = (some_integers(random, shape, kind) // 16 for _ in range(2))
    f = fitted(original, decoded, np.zeros(shape, bool), 10.0)
    if f is not None:
        assert passes_of(unpack(f.pack())[0]) == passes_of(f)
        assert 0 < largest_of(f) <= LARGEST


# ---------------------------------------------------------------- files

# name: volume, options of encode
FILES: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (lambda name=name: spread(name), {"psnr": 35.0})
       for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32",
                    "float64")},
    "swapped": (lambda: spread("int16").astype(">i2"), {"psnr": 35.0}),
    "ratio": (lambda: spread("float32"), {"ratio": 25.0}),
    "bits": (lambda: spread("uint16"), {"bits": 1.2}),
    "quick": (lambda: spread("float32"), {"psnr": 35.0, "effort": 1}),
    "thorough": (lambda: spread("float32"), {"psnr": 30.0, "effort": 7}),
    "slice": (lambda: noise(1, 90, 110)[0].astype(np.float32), {"psnr": 30.0}),
    "tiles": (lambda: noise(26, 40, 38).astype(np.float32), {"psnr": 30.0, "tile": 24}),
    "support": (gaps, {"psnr": 30.0, "support": "exact"}),
    "snapped": (gaps, {"psnr": 30.0, "support": "off"}),
    "background": (
        lambda: (np.rint(3000 * gaps()) - 1000).astype(np.int16),
        {"psnr": 30.0, "support": "exact", "background": -1000},
    ),
    "unusual": (unusual, {"psnr": 35.0}),
    "closed": (lambda: hills("float32"), {"psnr": 44.0, "support": "off"}),
    "closed-lattice": (lambda: hills("int16"), {"psnr": 46.0, "support": "off"}),
    "closed-adaptive": (lambda: hills("float32"),
                        {"psnr": 50.0, "support": "off", "effort": 9}),
}  # fmt: skip


def hills(dtype: str) -> np.ndarray:
    """Density that ends in cliffs."""
    return (900 * cliffs((24, 25, 26))).astype(dtype)


@pytest.mark.parametrize("name", FILES)
def test_promises_are_kept(name: str, codec: volcodec.Codec) -> None:
    make, options = FILES[name]
    volume = make()
    blob = codec.encode(volume, **options)
    assert has_filter(blob)
    if name.startswith("closed"):
        coding = Reader(blob).index[0].coding
        assert coding in CLOSED and (coding == ADAPTIVE) == (name == "closed-adaptive")
    report = volcodec.verify(blob, against=volume)
    assert report.ok and report.kept
    out, header = codec.decode(blob), volcodec.inspect(blob)
    finite = np.isfinite(volume) if volume.dtype.kind == "f" else np.ones(volume.shape, bool)
    off = out[finite].astype(np.float64) - volume[finite]
    assert header.mse == pytest.approx(np.mean(off**2), rel=1e-5)
    assert header.max_error * (1 - 1e-5) <= np.abs(off).max() <= header.max_error
    if "psnr" in options:
        assert report.psnr is not None and report.psnr >= options["psnr"]
    assert np.array_equal(out[~finite], volume[~finite], equal_nan=True)
    if options.get("support") == "exact":
        background = options.get("background", 0)
        assert (volume == background).any()
        assert np.array_equal(out == background, volume == background)
    assert codec.decode(blob).tobytes() == out.tobytes()


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No filter is found."""
    monkeypatch.setattr(restoration, "fit", lambda *a: None)


@pytest.mark.parametrize(("name", "share"), [("float32", 0.99), ("tiles", 0.995), ("quick", 0.98)])
def test_files_get_smaller(
    name: str, share: float, codec: volcodec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, options = FILES[name]
    blob = codec.encode(make(), **options)
    alone(monkeypatch)
    without = codec.encode(make(), **options)
    assert not has_filter(without)
    assert len(blob) < share * len(without)


def test_a_ratio_buys_more(codec: volcodec.Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options = FILES["ratio"]
    blob = codec.encode(make(), **options)
    alone(monkeypatch)
    without = codec.encode(make(), **options)
    assert not has_filter(without)
    assert volcodec.inspect(blob).psnr > volcodec.inspect(without).psnr + 0.05


@pytest.mark.parametrize(
    "options", [{"rel_error": 1e-2}, {"max_error": 0.05}, {"rel_error": 0.1, "effort": 1},
                {"rel_error": 3e-2, "effort": 7}, {"lossless": True}],
)  # fmt: skip
def test_a_bound_has_none(options: dict[str, Any], codec: volcodec.Codec) -> None:
    volume = noise(*SHAPE).astype(np.float32)
    assert not has_filter(codec.encode(volume, **options))
    assert not has_filter(codec.encode(np.rint(90 * volume).astype(np.uint8), **options))


def test_a_bound_has_none_where_a_transform_is_taken() -> None:
    """As a test of an autoencoder's base has it, whatever that costs."""
    codec = volcodec.Codec(models.read(tiny_unet(), "tiny-unet"), threads=1)
    volume = noise(*SHAPE).astype(np.float32)
    with coded_by("unet"):
        blob = codec.encode(volume, rel_error=0.1, embed_model=True)
        free = codec.encode(volume, psnr=25.0, embed_model=True)
    for found in (blob, free):
        assert Reader(found).index[0].coding in TRANSFORMED
    assert has_filter(free) and not has_filter(blob)


def test_threads_regions_and_levels() -> None:
    make, options = FILES["tiles"]
    volume = make()
    one, two = (volcodec.Codec("density", threads=n) for n in (1, 2))
    blob = one.encode(volume, **options)
    assert two.encode(volume, **options) == blob
    assert len(flags_of(blob)) == 8 and has_filter(blob)
    whole = one.decode(blob)
    assert two.decode(blob).tobytes() == whole.tobytes()
    coarse = one.decode(blob, level=1)
    assert coarse.shape == (13, 20, 19)
    for region in (np.s_[2:9, 3:30, -6:-1], np.s_[23:26], np.s_[5:6, 20:28, 20:28]):
        part = one.decode(blob, region=region)
        assert part.tobytes() == np.ascontiguousarray(whole[region]).tobytes()
    for seen in (np.s_[1:4, 2:15, -3:-1], np.s_[11:13], np.s_[2:3, 11:14, 11:14]):
        part = one.decode(blob, region=seen, level=1)
        assert part.tobytes() == np.ascontiguousarray(coarse[seen]).tobytes()


@pytest.mark.parametrize("level", [1, 2])
def test_previews_skip_it(level: int, clean: Clean) -> None:
    first = clean.tiles[0][2][FIRST]
    bare = with_first(clean, first[size_of(first) :], flags=0)
    shown = volcodec.decode(clean.blob, level=level)
    assert shown.shape == tuple(-(-n >> level) for n in SHAPE)
    assert shown.tobytes() == volcodec.decode(bare, level=level).tobytes()
    assert volcodec.decode(bare).tobytes() != clean.values.tobytes()
    volume = noise(*SHAPE)
    assert np.sqrt(np.mean((shown - low_band(Pyramid(CDF97_PREVIEW), volume, level)) ** 2)) < 0.03


def as_told(blob: bytes, f: Filter | None = None) -> tuple[np.ndarray, bytes]:
    """What the text makes of the integers of a file's one tile, by its filter or another.

    And the scale 0 that the filter stands in front of.
    """
    reader = Reader(blob)
    h, coding = reader.header, reader.index[0].coding
    first, *others = reader.streams(0, 0, h.streams)[FIRST:-1]
    size = size_of(first)
    coder, frame = VolumeDecoder(reader, None, 1).coder(), frame_settings(h)
    integers, unit = coder.integers(coding, [first[size:], *others], h.shape, frame, 0)
    passes = told(first[:size]) if f is None else passes_of(f)
    return frame.mapping.to_values(restored(integers, passes), unit, None), first[size:]


@pytest.mark.parametrize(
    ("classes", "passes", "short"), [(1, 1, True), (3, 1, False), (6, 4, False)]
)
def test_another_filter_in_a_file(classes: int, passes: int, short: bool, clean: Clean) -> None:
    """What is handed out is what the text makes of the integers that the scales give."""
    other = some_filter(random_of(f"other{classes}"), classes, 300, passes=passes, short=short)
    want, rest = as_told(clean.blob, other)
    found = volcodec.decode(with_first(clean, other.pack() + rest))
    assert found.tobytes() == want.tobytes() != clean.values.tobytes()


@pytest.mark.parametrize(("name", "passes"), [("restored", 1), ("restored-again", 2)])
def test_golden_files_are_restored(name: str, passes: int) -> None:
    blob = (Path(__file__).parent / "golden" / f"1.0-{name}.vc").read_bytes()
    assert flags_of(blob) == [RESTORED]
    assert as_told(blob)[0].tobytes() == volcodec.decode(blob).tobytes()
    first = Reader(blob).streams(0, 0, FIRST + 1)[FIRST]
    assert len(unpack(first)[0].passes) == passes


def test_a_frame_that_follows_is_restored(codec: volcodec.Codec) -> None:
    still = noise(*SHAPE) - 1.5
    frames = [(still + 0.7 * i * still[::-1, ::-1, ::-1]).astype(np.float32) for i in range(2)]
    out = io.BytesIO()
    volcodec.compress(frames, out, model="density", psnr=32.0)
    blob = out.getvalue()
    assert flags_of(blob) == [RESTORED, FOLLOWS | WHOLE | RESTORED]
    assert volcodec.verify(blob, against=frames).ok
    whole = codec.decode(blob)
    assert codec.decode(blob, frame=1).tobytes() == whole[1].tobytes()
    shown = codec.decode(blob, frame=1, level=1)
    want = low_band(Pyramid(CDF97_PREVIEW), whole[1].astype(np.float64), 1)
    np.testing.assert_allclose(shown, want, rtol=1e-5, atol=1e-6)


def test_on_an_autoencoders_base(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = volcodec.Codec(models.read(tiny_unet(), "tiny-unet"), threads=1)
    volume = noise(*SHAPE).astype(np.float32)
    with coded_by("unet"):
        blob = codec.encode(volume, psnr=25.0, embed_model=True)
        alone(monkeypatch)
        without = codec.encode(volume, psnr=25.0, embed_model=True)
    assert Reader(blob).index[0].coding in (8, 9)
    assert flags_of(blob) == [RESTORED | WHOLE]
    assert volcodec.verify(blob, against=volume).ok
    assert len(blob) < len(without)
    out = codec.decode(blob)
    want = low_band(Pyramid(CDF97_PREVIEW), out.astype(np.float64), 1)
    np.testing.assert_allclose(codec.decode(blob, level=1), want, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    "coding", [c for c in range(len(CODINGS)) if c not in TRANSFORMED + CLOSED]
)
def test_only_what_has_steps_is_restored(coding: int, clean: Clean) -> None:
    blob = with_first(clean, clean.tiles[0][2][FIRST], coding)
    for level in (0, 1):
        with pytest.raises(FormatError, match="restoration"):
            volcodec.decode(blob, level=level)


def test_tiles_of_other_codings_that_claim_it(codec: volcodec.Codec) -> None:
    """Valid ones but for the flag: none has a filter in front."""
    smooth, random = blobs(SHAPE, "claims", zeros=False), random_of("claims")
    volumes: list[tuple[np.ndarray, dict[str, Any]]] = [
        (np.full(SHAPE, 2.5, np.float32), {}),
        (random.integers(0, 256, SHAPE, np.uint8), {"lossless": True}),
        (smooth.astype(np.float32), {"rel_error": 1e-2}),
        (smooth.astype(np.float32), {"rel_error": 1e-2, "effort": 1}),
        (np.rint(300 * noise(*SHAPE)).astype(np.int16), {"lossless": True}),
        (smooth.astype(np.float32), {"rel_error": 2e-3, "effort": 9}),
    ]
    found = set()
    for volume, options in volumes:
        c = Clean.of("claims", codec.encode(volume, **options))
        coding, flags, streams = c.tiles[0]
        found.add(CODINGS[coding].removesuffix("-learned").removesuffix("-classic"))
        for tile in ((coding, flags | RESTORED, streams), (coding, flags | 15, streams)):
            with pytest.raises(FormatError):
                volcodec.decode(repacked(c, tiles=[tile]))
    assert found >= {"constant", "raw", "predicted", "adaptive"}


def test_without_a_filter(clean: Clean) -> None:
    """The flag alone, with nothing, a size of nothing, or a size of more than there is."""
    first = clean.tiles[0][2][FIRST]
    for head in (b"", b"\0", b"\0\0", b"\0\0\0", b"\0\0\0" + first, b"\0\0\x10" + bytes(4096),
                 b"\xff", b"\x09" + bytes(8), first[: size_of(first) - 1]):  # fmt: skip
        blob = with_first(clean, head)
        for level in (0, 1):
            with pytest.raises(FormatError, match="tile 0"):
                volcodec.decode(blob, level=level)
    survives(with_first(clean, first[size_of(first) :]))  # the scale itself is read as a filter
    survives(with_first(clean, first, flags=0))  # the filter as a scale


@pytest.mark.parametrize("short", [False, True])
def test_every_cut_of_a_filter_in_a_file(short: bool, clean: Clean) -> None:
    first = clean.tiles[0][2][FIRST]
    rest = first[size_of(first) :]
    packed = some_filter(random_of("every cut"), 2, 90, short=short).pack()
    front = 1 if short else 3
    body = packed[front:]
    for end in range(1, len(body)):
        survives(with_first(clean, sized(packed, end) + body[:end] + rest))
        survives(with_first(clean, packed[:front] + body[:end] + rest))
    for more in (1, 2, 255 - len(body)):
        blob = with_first(clean, sized(packed, len(body) + more) + body + bytes(more) + rest)
        with pytest.raises(FormatError):
            volcodec.decode(blob)


@settings(max_examples=60)
@given(seeds)
def test_changed_files(clean: Clean, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = clean.tiles[0][2][FIRST]
    size = size_of(first)
    if random.random() < 0.5:
        head = mutated(first[:size], random)
    else:
        n = int(random.integers(1, 60))
        head = (bytes([n]) if random.integers(2) else bytes([0, n, 0])) + random.bytes(n)
    survives(with_first(clean, head + first[size:]))


@settings(max_examples=30)
@given(seeds, st.sampled_from(TRANSFORMED + CLOSED), st.integers(0, 15))
def test_other_codings_and_flags(clean: Clean, seed: int, coding: int, flags: int) -> None:
    """A valid filter in front of what was written for another coding."""
    f = some_filter(np.random.default_rng(seed), 2, 50, passes=1 + seed % 3)
    first = clean.tiles[0][2][FIRST]
    survives(with_first(clean, f.pack() + first[size_of(first) :], coding, flags))


@pytest.mark.parametrize("kind", ["streams", "codings", "headers"])
def test_mutations(kind: str, clean: Clean) -> None:
    for number in range(40):
        blob, touched = HARM[kind](clean, np.random.default_rng([7, number]))
        assert not wrong(clean, blob, touched)[1]


# ---------------------------------------------------------------- the device path


def test_a_device_restores_whole_tiles(
    codec: volcodec.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the device path needs torch")
    pytest.importorskip("triton", reason="the device path needs Triton")
    import device_cases as on_device

    on_device.quick_interpreter()
    on_device.host_runs(monkeypatch)
    opened = Clean.of("opened", codec.encode(noise(1, 24, 24).astype(np.float32), psnr=30))
    assert flags_of(opened.blob) == [RESTORED] and opened.tiles[0][0] not in CLOSED
    got, damaged = on_device.decode(opened.blob)
    assert not damaged
    assert got.tobytes() == opened.values.tobytes()
    hill = (900 * cliffs((9, 10, 12))).astype(np.float32)
    blob = codec.encode(hill, psnr=42.0, support="off")
    assert Reader(blob).index[0].coding in CLOSED and has_filter(blob)
    assert on_device.decode(blob)[0].tobytes() == volcodec.decode(blob).tobytes()
    blob = with_first(opened, b"\0")
    assert on_device.decode(blob, on_damage="fill")[1] == [0]
    with pytest.raises(FormatError, match="tile 0"):
        on_device.decode(blob)


def test_a_device_restores_integers() -> None:
    """Tiles with filters of their own and without, over the whole range of int32."""
    torch = pytest.importorskip("torch", reason="the device path needs torch")
    pytest.importorskip("triton", reason="the device path needs Triton")
    import device_cases as on_device

    from volcodec.device.restoring import restored as on_tiles

    on_device.quick_interpreter()
    rng = random_of("restored on a device")
    shapes = (1, 1, 1), (1, 2, 9), (5, 7, 17), (16, 3, 8)
    for shape, step in zip(shapes, (256, 2047, 3, 256), strict=True):
        tiles = np.stack(
            [
                rng.integers(-(1 << 31), 1 << 31, shape),
                np.rint(rng.laplace(0, 90, shape)),
                rng.integers(-9, 9, shape),
            ]
        ).astype(np.int32)
        filters = [some_filter(rng, 45, passes=2), some_filter(rng, 5), None]
        want = [t if f is None else f.apply(t, step) for t, f in zip(tiles, filters, strict=True)]
        got = on_tiles(torch.from_numpy(tiles).to(on_device.DEVICE), filters, step)
        assert np.array_equal(got.cpu().numpy(), np.stack(want))

"""The network that predicts: what it may see, its arithmetic as the format tells it, promises."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from model_cases import coded_by, model_file, network, shipped, tiny_neural
from safetensors.numpy import load
from test_adaptive import CASES as LEARNING
from volumes import blobs, random_of

import volcodec
from volcodec import models
from volcodec.container import CODINGS, Reader
from volcodec.errors import FormatError, ModelError
from volcodec.neural import levels
from volcodec.neural.coder import NeuralCoder
from volcodec.neural.mixture import TAILS, fresh_maps
from volcodec.neural.network import CLIP, KINDS, LEAST, Weights
from volcodec.neural.passes import KNOWN, NEARNESS, OFFSETS, ORDER, PASSES, TAPS, place_of
from volcodec.support import binary
from volcodec.transform.pyramid import BAND_ORDER


def test_every_place_has_its_pass() -> None:
    assert sorted(ORDER[ORDER >= 0].tolist()) == list(range(PASSES))
    known = np.argwhere(ORDER < 0)
    assert len(known) == 8 and not (known & 1).any()
    bands = [
        sum((p & 1) << s for p, s in zip(place_of(i), (2, 1, 0), strict=True))
        for i in range(PASSES)
    ]
    assert bands == [band for band in BAND_ORDER for _ in range(8)]


@pytest.mark.parametrize("index", range(PASSES))
def test_taps_are_known_before(index: int) -> None:
    assert 20 <= len(KNOWN[index]) <= TAPS
    for off in OFFSETS[KNOWN[index]]:
        z, y, x = (np.array(place_of(index)) + off) & 3
        assert ORDER[z, y, x] < index
    distances = (OFFSETS[KNOWN[index]] ** 2).sum(1)
    assert (np.diff(distances) >= 0).all()


def test_tails_are_those_of_the_logistic_distribution() -> None:
    expected = 1 / (1 + np.exp(np.arange(len(TAILS) - 1) / 64))
    assert np.abs(TAILS[:-1] - expected).max() < 1e-14


# ------------------------------- the arithmetic, voxel by voxel, as docs/format.md tells it

F = np.float32


def fused(x: F, y: F, z: F) -> F:
    """x y + z with one rounding."""
    exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
    guess = F(float(exact))
    near = [F(np.nextafter(guess, F(-np.inf))), guess, F(np.nextafter(guess, F(np.inf)))]
    errors = [abs(Fraction(float(n)) - exact) for n in near]
    best = min(errors)
    ties = [n for n, e in zip(near, errors, strict=True) if e == best]
    even = [n for n in ties if int(np.array(n).view(np.int32)) % 2 == 0]
    return even[0] if even and len(ties) > 1 else ties[0]


def plain(values: np.ndarray, place: tuple[int, ...], index: int, kind: int, step: int,
          limits: tuple[int, int], w: Weights) -> tuple[float, int]:  # fmt: skip
    """The prediction of a voxel, in steps from its nearest neighbour, and its base."""
    known = [
        (int(k), tuple(np.array(place) + OFFSETS[k])) for k in KNOWN[index]
        if all(0 <= p < n for p, n in zip(np.array(place) + OFFSETS[k], values.shape, strict=True))
    ]  # fmt: skip
    nearest = int(values[known[0][1]])
    d = {k: F(F(int(values[p]) - nearest) * F(1.0 / step)) for k, p in known}
    total, product, square = F(0), F(0), F(0)
    for k in d:
        total = F(total + NEARNESS[k])
        product = F(product + F(NEARNESS[k] * d[k]))
    mean = F(product / total)
    for k in d:
        left = F(d[k] - mean)
        square = F(square + F(F(NEARNESS[k] * left) * left))
    scale = F(np.sqrt(F(square / total)) + F(LEAST))
    inverse = F(F(1) / scale)
    u = {k: min(max(F(F(d[k] - mean) * inverse), F(-CLIP)), F(CLIP)) for k in d}
    shift = F(0)
    for k in KNOWN[index]:
        shift = F(shift + F(u.get(int(k), F(0)) * w.linear[index, k]))
    fraction, exponent = np.frexp(scale)
    size = float(exponent) - 2 + 2 * float(fraction)
    below = min(max((float(mean) + (nearest - limits[0]) / step) / float(scale), 0), CLIP)
    above = min(max(((limits[1] - nearest) / step - float(mean)) / float(scale), 0), CLIP)
    x = [F(size), F(below), F(above), F(0), *(u.get(int(k), F(0)) for k in KNOWN[index])]
    n = len(OFFSETS)
    rows = [n, n + 1, n + 2, None, *(int(k) for k in KNOWN[index])]
    first = []
    for j in range(w.w2.shape[0]):
        acc = w.b1[index, kind, j]
        for value, row in zip(x, rows, strict=True):
            acc = fused(value, F(0) if row is None else w.w1[row, j], acc)
        first.append(max(acc, F(0)))
    for weights, bias, cut in ((w.w2, w.b2, True), (w.w3, w.b3, False)):
        out = []
        for j in range(weights.shape[1]):
            acc = bias[j]
            for i, value in enumerate(first):
                acc = fused(value, weights[i, j], acc)
            out.append(max(acc, F(0)) if cut else acc)
        first = out
    guess = float(mean) + (float(shift) + float(first[0])) * float(scale)
    guess = min(max(guess, (limits[0] - nearest) / step), (limits[1] - nearest) / step)
    base = min(max(nearest + floor(guess * step + 0.5), limits[0]), limits[1])
    if scale == F(LEAST):
        base = nearest
    if 5 * (base - limits[0]) <= 2 * step:
        return guess, limits[0]
    return guess, limits[1] if 5 * (limits[1] - base) <= 2 * step else base


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 1, 70), (1, 4, 5)])
def test_predictions_are_as_the_format_tells(shape: tuple[int, int, int]) -> None:
    """Hidden voxels become what is predicted: so the predictions of a level are seen."""
    w, step = network(8, 16), 255
    tile = np.rint(900 * blobs(shape, "plain")).astype(np.int32)
    limits = np.array([tile.min(), tile.max()], np.int64)
    size = tile.size
    room = np.zeros(size + 2 * levels.MARGIN, np.int32)
    values = room[levels.MARGIN : levels.MARGIN + size].reshape(shape)
    values[::2, ::2, ::2] = tile[::2, ::2, ::2]
    expected = values.copy()
    data = np.zeros(100, np.uint8)
    assert levels.code_level(
        tile, room, shape, np.ones(shape, bool), 1, step, limits, w.network, 0.0, fresh_maps(KINDS),
        data, binary.start(data, False), False,
    )  # fmt: skip
    for index in range(PASSES):
        z, y, x = place_of(index)
        for place in np.ndindex(shape):
            if all((p - q) % 4 == 0 for p, q in zip(place, (z, y, x), strict=True)):
                found = plain(expected, place, index, 1, step, tuple(limits.tolist()), w)
                expected[place] = found[1]
    assert np.array_equal(values, expected)


# ---------------------------------------------------------------- as a codec

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    **LEARNING,
    "wide": (blobs((9, 17, 71), "a").astype(np.float32), {"rel_error": 1e-3}),
    "bits": (blobs((9, 17, 11), "a").astype(np.float16), {"lossless": True}),
}


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.read(tiny_neural(), "tiny-neural")


@pytest.mark.parametrize("name", CASES)
def test_promises(model: models.Model, name: str) -> None:
    volume, options = CASES[name]
    out = io.BytesIO()
    with coded_by("neural"):
        volcodec.compress(volume, out, model=model, **options)
    blob = out.getvalue()
    assert volcodec.verify(blob, against=volume, model=model).ok
    assert {CODINGS[e.coding] for e in Reader(blob).index} == {"neural"}


def test_zeros_stay_zeros(model: models.Model) -> None:
    """Without a mask: around what is there, nothing is smeared."""
    volume = np.zeros((32, 32, 64), np.float32)
    volume[8:16, 8:20, 9:30] = 1 + blobs((8, 12, 21), "there", zeros=False)
    with coded_by("neural"):
        blob = volcodec.Codec(model).encode(volume, rel_error=1e-2, support="off")
    kept = (volcodec.decode(blob, model=model) == 0) & (volume == 0)
    assert kept.sum() >= 0.97 * (volume == 0).sum()


def test_levels_and_regions(model: models.Model) -> None:
    volume = (3 + blobs((33, 34, 35), "levels", zeros=False)).astype(np.float32)
    with coded_by("neural"):
        blob = volcodec.Codec(model).encode(volume, rel_error=1e-3, tile=32, support="off")
    whole = volcodec.decode(blob, model=model)
    part = volcodec.decode(blob, model=model, region=np.s_[1:9, 30:, 3:])
    assert np.array_equal(part, whole[1:9, 30:, 3:])
    for level in (1, 2):
        preview = volcodec.decode(blob, model=model, level=level)
        every = volume[(slice(None, None, 1 << level),) * 3]
        assert preview.shape == every.shape


def test_a_model_without_a_network_is_refused(model: models.Model) -> None:
    volume = blobs((9, 10, 11), "refused").astype(np.float32)
    with coded_by("neural"):
        blob = volcodec.Codec(model).encode(volume, rel_error=1e-2, tile=8)
    with pytest.raises(FormatError, match="network that the model lacks"):
        volcodec.decode(blob, model=replace(model, neural=None))


def spoiled(name: str, array: np.ndarray) -> bytes:
    _, card, meta = shipped()
    tensors = dict(load(tiny_neural()))
    return model_file({**tensors, f"neural.{name}": array}, card, meta)


@pytest.mark.parametrize(
    ("name", "array"),
    {
        "shape": ("w1", np.zeros((3, 8), np.float32)),
        "dtype": ("b2", np.zeros(8, np.float64)),
        "nan": ("b3", np.array([np.nan, 0, 0, 0, 0], np.float32)),
        "huge": ("b3", np.array([3e6, 0, 0, 0, 0], np.float32)),
        "width": ("w2", np.zeros((8, 9), np.float32)),
        "none": ("w2", np.zeros((8, 0), np.float32)),
    }.values(),
)
def test_networks_that_are_none(name: str, array: np.ndarray) -> None:
    with pytest.raises(ModelError):
        models.read(spoiled(name, array), "spoiled")


def test_the_largest_weights_do_no_harm() -> None:
    """Outputs may be anything: what is coded comes back all the same."""
    w = network()
    large = [np.sign(a) * np.float32(2**20) for a in vars(w).values() if isinstance(a, np.ndarray)]
    coder = NeuralCoder(Weights(*large))
    tile = random_of("large").integers(-(2**31), 2**31, (6, 7, 9)).astype(np.int32)
    for step in (1, 255):
        made = coder.encode(tile, 2, step, None, 2)
        assert made is not None
        back = coder.decode(made.streams, (6, 7, 9), 2, 0, step, None)
        assert np.array_equal(back, made.decoded)
        assert np.abs(back.astype(np.int64) - tile).max() <= step // 2


def test_symbols_are_worth_their_bits(model: models.Model) -> None:
    """Without a bound fewer bits at more error are taken, and less than half of a step is kept."""
    assert model.neural is not None
    coder = NeuralCoder(model.neural)
    tile = np.rint(255 * 2 * blobs((24, 25, 26), "worth")).astype(np.int32)
    made = [coder.encode(tile, 3, 255, None, 3, lam) for lam in (0.0, 0.1)]
    assert made[0] is not None and made[1] is not None
    assert made[1].size < made[0].size
    errors = [np.abs(m.decoded - tile) for m in made if m is not None]
    assert errors[0].max() <= 127 < errors[1].max() <= 255
    for m in made:
        assert m is not None
        back = coder.decode(m.streams, tile.shape, 3, 0, 255, None)
        assert np.array_equal(back, m.decoded)

"""The closed loop that learns from the tile: what it may see, what it fits, that all comes back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from volumes import blobs, random_of, third_nan

import volcodec
from volcodec.adaptive.coder import AdaptiveCoder
from volcodec.adaptive.regression import RIDGE, gather, solve
from volcodec.adaptive.stencils import TAPS, stencil
from volcodec.container import CODINGS, Reader
from volcodec.transform.pyramid import BAND_ORDER

CODER = AdaptiveCoder()
AXES = (4, 2, 1)


def parity(*place: int) -> int:
    return sum(bit * (p & 1) for bit, p in zip(AXES, place, strict=True))


@pytest.mark.parametrize("band", range(8))
def test_taps_are_decoded_before(band: int) -> None:
    order = (0, *BAND_ORDER)
    at = [10 + (band & bit > 0) for bit in AXES]
    taps = stencil(band, 2)
    assert len(taps) == TAPS and len({tuple(t[:3]) for t in taps}) == TAPS
    for *off, own, weight in taps.tolist():
        there = parity(*(a + d for a, d in zip(at, off, strict=True)))
        assert own == (there == band) and weight > 0
        if own:
            assert tuple(off) < (0, 0, 0)
        else:
            assert order.index(there) < order.index(band)


def test_taps_of_the_coarsest_band_come_before() -> None:
    taps = stencil(0, 1)
    assert all(own and tuple(off) < (0, 0, 0) for *off, own, _ in taps.tolist())


def test_regression_is_weighted_least_squares() -> None:
    random = random_of("regression")
    near = random.standard_normal((200, 7))
    values = near @ np.arange(7) + random.standard_normal(200)
    weights = random.random(200) + 0.1
    gram, cross = np.zeros((7, 7)), np.zeros(7)
    for row, value, weight in zip(near, values, weights, strict=True):
        gather(row, value, weight, gram, cross)
    taps = np.zeros(7)
    assert solve(gram, cross, np.zeros((7, 7)), np.zeros(7), taps)
    left = near.T @ (weights[:, None] * near) + RIDGE * np.eye(7)
    np.testing.assert_allclose(taps, np.linalg.solve(left, near.T @ (weights * values)), rtol=1e-5)


def test_regression_without_moments_keeps_its_weights() -> None:
    taps = np.full(3, 0.5)
    gram = np.full((3, 3), np.nan)
    assert not solve(gram, np.zeros(3), np.zeros((3, 3)), np.zeros(3), taps)
    assert (taps == 0.5).all()


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bound": (blobs((40, 37, 41), "a").astype(np.float32), {"rel_error": 1e-3}),
    "psnr": (
        np.where(blobs((40, 37, 41), "m") > 0.3, 1 + blobs((40, 37, 41), "v"), 0),
        {"psnr": 60.0, "support": "off"},
    ),
    "lossless": (np.rint(200 * blobs((40, 37, 41), "a")).astype(np.int16), {"lossless": True}),
    "lattice": (np.rint(900 * blobs((40, 37, 41), "a")).astype(np.uint16), {"max_error": 3}),
    "specials": (third_nan(), {"rel_error": 1e-2}),
    "mask": (
        np.where(blobs((40, 37, 41), "m") > 0.3, 1 + blobs((40, 37, 41), "v"), 0),
        {"rel_error": 1e-3, "support": "exact"},
    ),
    "slice": (blobs((90, 91), "flat").astype(np.float64), {"rel_error": 1e-3}),
    "series": (
        [np.roll(blobs((30, 29, 31), "s"), i, 1).astype(np.float32) for i in range(2)],
        {"rel_error": 1e-3},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_promises_at_the_highest_effort(name: str) -> None:
    volume, options = CASES[name]
    usual, best = (packed(volume, effort=effort, **options) for effort in (5, 9))
    assert len(best) < len(usual)
    assert volcodec.verify(best, against=volume).ok
    assert {CODINGS[e.coding] for e in Reader(best).index} == {"adaptive"}


def packed(volume: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    volcodec.compress(volume, out, model="density", **options)
    return out.getvalue()

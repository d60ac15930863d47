"""What some tiles of a file tell about the others: ways that are not tried in vain."""

from __future__ import annotations

import numpy as np
import pytest
from volumes import random_of

from volcodec import Codec, foresight, models
from volcodec.entropy.products import NARROWEST, ups_of
from volcodec.tilecoder import Settings


def waves(period: float, noise: float, dtype: type) -> np.ndarray:
    """Waves along all axes, 64³: eight tiles of 32³."""
    z, y, x = np.mgrid[:64, :64, :64] / period
    values = 100 + 40 * (np.sin(x) + np.sin(y + z / 2)) + noise * random_of("w").random(x.shape)
    return values.astype(dtype)


def test_the_closed_loop_alone_gives_the_same_file(
    seen: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = waves(9.0, 4.0, np.uint8)
    codec = Codec()
    alone = codec.encode(volume, lossless=True, tile=32, support="off")
    assert {s.banks for s in seen} == {("predicted",)}
    seen.clear()
    monkeypatch.setattr(foresight, "_MANY", 1 << 30)
    assert codec.encode(volume, lossless=True, tile=32, support="off") == alone
    assert {s.banks for s in seen} == {("predicted", "lattice")}


def test_all_ways_are_tried_where_the_transform_may_win(seen: list[Settings]) -> None:
    volume = waves(2.5, 0.0, np.float32)  # too fast for the interpolation
    Codec().encode(volume, rel_error=1e-2, tile=32, support="off")
    assert all("lossy" in s.banks and s.both for s in seen)


@pytest.mark.parametrize("effort", [1, 7])
def test_neither_the_quickest_nor_the_thorough_foresee(effort: int, seen: list[Settings]) -> None:
    volume = waves(9.0, 4.0, np.uint8)
    Codec().encode(volume, lossless=True, tile=32, support="off", effort=effort)
    assert {s.banks for s in seen} == {("predicted", "lattice")}


def test_a_volume_whose_tiles_are_all_constant(seen: list[Settings]) -> None:
    volume = np.repeat(np.repeat(np.repeat(random_of("c").random((2, 2, 2)), 32, 0), 32, 1), 32, 2)
    back = Codec().decode(Codec().encode(volume, rel_error=1e-3, tile=32))
    assert np.abs(back - volume).max() <= 1e-3 * np.ptp(volume)
    assert all(len(s.banks) > 1 for s in seen)


@pytest.mark.parametrize(
    ("ratio", "tried"), [(0.8, [True]), (0.95, [False, True]), (0.99, [False])]
)
def test_drafts_decide_about_masks_where_they_are_clear(
    ratio: float, tried: list[bool], seen: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = waves(9.0, 4.0, np.uint8)
    volume[:, :, 20:44] = 0
    monkeypatch.setattr(foresight, "_drafts", lambda *_, **__: (ratio, 1.0))
    blob = Codec().encode(volume, lossless=True, tile=32)
    assert np.array_equal(Codec().decode(blob), volume)
    assert sorted({s.exact for s in seen}) == tried


def test_weights_of_the_newest_model_are_of_8_bits() -> None:
    model = models.load("density")
    assert all(bank.networks.narrow for bank in model.banks.values())
    assert not models.load("density-3").banks["predicted"].networks.narrow


def test_rounding_to_8_bits() -> None:
    fit = pytest.importorskip("volcodec.training.fit")
    random = random_of("narrow")
    w = np.rint(random.standard_normal((40, 24)) * 10 ** random.uniform(0, 4, (40, 1)))
    w[0] = 0
    w[1] = 2700  # sums next to 2**24
    rounded = fit.narrow(w)
    assert ups_of(rounded, 16) is not None
    assert (np.abs(rounded - w) <= np.abs(w).max(1, keepdims=True) * 2 / NARROWEST).all()
    assert np.abs(rounded[1]).sum() <= np.abs(w[1]).sum()
    small = np.abs(w).max(1) <= NARROWEST
    assert small.any() and np.array_equal(rounded[small], w[small])

"""Checking a tile along what its encoding computed, and where that leads astray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from volumes import random_of

import volcodec
from volcodec import models
from volcodec.scales import Encoded, ScaleCoder
from volcodec.tiledecoder import TileDecoder
from volcodec.trail import StrayedError, Trail
from volcodec.transform.layers import Predicted


def tile() -> np.ndarray:
    z, y, x = np.mgrid[:33, :40, :27]
    noise = 9 * random_of("trail").random((33, 40, 27))
    values: np.ndarray = np.maximum(100 * np.sin(z / 9) + 60 * np.cos((x + y) / 7) + noise, 0)
    return values.astype(np.int32)


def coder(bank: str) -> ScaleCoder:
    return TileDecoder(models.load("density")).coders[bank]


def waves() -> np.ndarray:
    """Coefficients that neighbours tell much about."""
    values = random_of("waves").standard_normal((40, 33, 37))
    for axis in range(3):
        values = sum((np.roll(values, i, axis) for i in range(1, 5)), values)
    rounded: np.ndarray = np.rint(values * (3000 / values.std())).astype(np.int32)
    return rounded


def encoded(bank: str, values: np.ndarray) -> tuple[Encoded, dict[str, Any]]:
    made = coder(bank).encode(values, 4, 0.12, 3)
    told: dict[str, Any] = {
        "shape": values.shape, "levels": 4, "stop": 0, "classical": made.classical, "step": 3,
    }  # fmt: skip
    return made, told


@pytest.mark.parametrize("values", [tile(), waves()], ids=["tile", "waves"])
@pytest.mark.parametrize("bank", ["lossy", "lattice", "predicted", "trellis"])
def test_a_trail_leads_to_what_is_decoded(bank: str, values: np.ndarray) -> None:
    made, told = encoded(bank, values)
    alone = coder(bank).decode(made.streams, **told)
    assert np.array_equal(coder(bank).decode(made.streams, **told, trail=made.trail), alone)
    assert np.array_equal(made.decoded, alone)


def _other_symbol(trail: Trail) -> None:
    trail.rooms[-1].q[-1] += 1


def _other_expectation(trail: Trail) -> None:
    for room in trail.rooms:
        room.expected[...] += 1


def _other_weights(trail: Trail) -> None:
    trail.weights[-1][3, 1, 7] += 1


def _other_limits(trail: Trail) -> None:
    trail.layers.kept = np.array([0, 1 << 20])


def _other_offsets(trail: Trail) -> None:
    trail.ends[-1] = ((trail.ends[-1][0][0] + 1, 0), 0)


@pytest.mark.parametrize(
    ("bank", "change"),
    [
        ("predicted", _other_symbol),
        ("lossy", _other_expectation),
        ("predicted", _other_weights),
        ("predicted", _other_limits),
        ("lossy", _other_offsets),
    ],
)
def test_a_wrong_trail_is_left(bank: str, change: Any) -> None:
    made, told = encoded(bank, waves())
    assert made.trail is not None and made.trail.weights[-1].any()
    change(made.trail)
    with pytest.raises(StrayedError):
        coder(bank).decode(made.streams, **told, trail=made.trail)


@pytest.mark.parametrize("target", [{"rel_error": 1e-3}, {"lossless": True}, {"psnr": 50.0}])
def test_encoding_measures_what_is_decoded_all_the_same(
    target: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the trail is wrong, the tile is decoded without it, to the same file."""
    volume = tile().astype(np.uint16)
    codec = volcodec.Codec(threads=1)
    blob = codec.encode(volume, **target)
    passes: list[int] = []
    for_decoding = Predicted.__init__

    def counted(self: Predicted, shape: Any, levels: int, given: Any, hidden: Any = None) -> None:
        passes.append(given is None)
        for_decoding(self, shape, levels, given, hidden)

    monkeypatch.setattr(Predicted, "__init__", counted)
    assert codec.encode(volume, **target) == blob
    followed = sum(passes)
    real = ScaleCoder.encode

    def misled(*given: Any, **more: Any) -> Encoded:
        made = real(*given, **more)
        if made.trail is not None:
            _other_symbol(made.trail)
        return made

    monkeypatch.setattr(ScaleCoder, "encode", misled)
    assert codec.encode(volume, **target) == blob
    by_closed_loop = any("predicted" in name for name in volcodec.inspect(blob).tiles_by_coding)
    assert followed == 0 and (sum(passes) > 0 or not by_closed_loop)

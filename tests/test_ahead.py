"""Tiles that threads begin before it is known how tiles are coded: the file is the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from volumes import random_of

from volcodec import Codec, foresight
from volcodec.tilecoder import Settings, TileCoder

SIDE, TILES = 64, 8  # of 32³


def waves(noise: float, hidden: slice, dtype: type) -> np.ndarray:
    """Waves along all axes, zero in a slab."""
    z, y, x = np.mgrid[:SIDE, :SIDE, :SIDE] / 9.0
    values = 100 + 40 * (np.sin(x) + np.sin(y + z / 2)) + noise * random_of("w").random(x.shape)
    values[:, :, hidden] = 0
    return values.astype(dtype)


def speckled() -> np.ndarray:
    """A few bright planes; all else next to zero, or zero, voxel by voxel."""
    values = np.where(random_of("m").random((SIDE,) * 3) < 0.5, 0, 3).astype(np.float32)
    values[::16] = 100
    return values


CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "no zeros": (waves(4.0, slice(0), np.uint8), {"lossless": True}),
    "drafts decide": (waves(4.0, slice(20, 44), np.uint8), {"lossless": True}),
    "masks decide under a bound": (waves(4.0, slice(20, 44), np.float32), {"rel_error": 1e-2}),
    "masks are dear": (speckled(), {"rel_error": 1e-1}),
    "many samples": (speckled()[:32, :32, :32], {"rel_error": 1e-1, "tile": 8}),
    "a quality, drafted": (
        waves(4.0, slice(20, 44), np.float32)[:16, :16, 12:28],
        {"psnr": 50.0, "effort": 8, "tile": 8},
    ),
    "all bits": (waves(4.0, slice(20, 44), np.float32), {"lossless": True}),
    "a quality": (waves(4.0, slice(20, 44), np.float32), {"psnr": 50.0}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_that_of_one_thread(name: str) -> None:
    volume, target = CASES[name]
    target = {"tile": 32, **target}
    one = Codec().encode(volume, threads=1, **target)
    assert Codec().encode(volume, threads=2, **target) == one
    assert Codec().encode(volume, threads=5, **target) == one
    assert not [t for t in threading.enumerate() if t.name.startswith("volcodec")]


def test_no_tile_is_coded_twice_where_the_likely_way_is_taken(seen: list[Settings]) -> None:
    Codec().encode(waves(4.0, slice(0), np.uint8), lossless=True, tile=32, threads=3)
    assert len(seen) == TILES


@pytest.mark.parametrize("threads", [2, 6])
def test_what_was_begun_in_vain_is_dropped(
    threads: int, seen: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = waves(4.0, slice(0), np.uint8)
    monkeypatch.setattr(foresight, "_MARGINS", {"predicted": 1.0, "lattice": 0.0})  # never clear
    one = Codec().encode(volume, lossless=True, tile=32, threads=1)
    seen.clear()
    assert Codec().encode(volume, lossless=True, tile=32, threads=threads) == one
    assert len([s for s in seen if len(s.banks) == 2]) == TILES
    assert len([s for s in seen if s.banks == ("predicted",)]) <= threads - 1


def failing(when: Callable[[Settings], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tiles whose settings are such fail."""
    write = TileCoder.write

    def noted(self: TileCoder, values: np.ndarray, before: Any, s: Settings) -> Any:
        if when(s):
            raise MemoryError("no room")
        return write(self, values, before, s)

    monkeypatch.setattr(TileCoder, "write", noted)


def test_what_fails_ahead_is_raised_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(lambda s: s.banks == ("predicted",), monkeypatch)
    volume = waves(4.0, slice(0), np.uint8)
    with pytest.raises(MemoryError):
        Codec().encode(volume, lossless=True, tile=32, threads=3)
    monkeypatch.setattr(foresight, "_MARGINS", {"predicted": 1.0, "lattice": 0.0})
    blob = Codec().encode(volume, lossless=True, tile=32, threads=3)  # dropped, never looked at
    monkeypatch.undo()
    assert np.array_equal(Codec().decode(blob), volume)


@pytest.mark.parametrize("exact", [True, False])
def test_what_fails_while_masks_are_tried(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(lambda s: s.exact == exact, monkeypatch)
    volume, target = CASES["masks are dear"]
    with pytest.raises(MemoryError):
        Codec().encode(volume, tile=32, threads=3, **target)
    assert not [t for t in threading.enumerate() if t.name.startswith("volcodec")]


def test_masks_are_dear(seen: list[Settings]) -> None:
    volume, target = CASES["masks are dear"]
    Codec().encode(volume, tile=32, threads=2, **target)
    assert {s.exact for s in seen} == {True, False}
    assert len([s for s in seen if not s.exact and s.scales > 1]) == TILES

"""The kernels of the device path: short runs as the host writes them, and all of them compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import random_of

from volcodec import models
from volcodec.entropy import expectation, rans, trellis

pytest.importorskip("torch", reason="the device path needs torch")
pytest.importorskip("triton", reason="the device path needs Triton")
import device_cases as on_device
import torch

from volcodec.device.bank import bank_on
from volcodec.device.kernels import contexts
from volcodec.device.kernels import rans as kernels
from volcodec.device.launch import warp

on_device.quick_interpreter()
DEVICE = on_device.DEVICE
RUNS = np.array([0, 23, 24, 60])  # ends
LARGE = np.array([15, 16, -17, 63, -64, 1 << 13, -(1 << 14), 1 << 16, -(1 << 20), 1 << 30,
                  (1 << 31) - 1, -(1 << 31)])  # fmt: skip


def _symbols(name: str) -> np.ndarray:
    """Mostly small, some of every kind of token (int32)."""
    rng = random_of(name)
    symbols = np.rint(rng.laplace(0, 2, RUNS[-1])).astype(np.int64)
    some = rng.choice(symbols.size, 2 * LARGE.size, replace=False)
    symbols[some[: LARGE.size]] = LARGE
    return symbols.astype(np.int32)


class _Tiles:
    """Streams of some tiles as kernels take them, and what is told of their symbols."""

    def __init__(self, words: list[np.ndarray], states: list[np.ndarray], lanes: list[int]) -> None:
        starts = np.cumsum([0, *(max(w.size, 1) for w in words)])
        flat = np.zeros(starts[-1], np.int16)
        for start, w in zip(starts, words, strict=False):
            flat[start : start + w.size] = w.view(np.int16)
        every = np.full((len(words), rans.MAX_LANES), rans.LOW, np.int64)
        for row, state, n in zip(every, states, lanes, strict=True):
            row[:n] = state[:n]
        sizes = np.array([w.size for w in words], np.int32)
        self.sizes, self.states, self.positions = (
            _on(a) for a in (sizes, every, np.zeros(len(words), np.int32))
        )
        self.place = (_on(flat), _on(starts[:-1].astype(np.int64)), self.sizes, self.states,
                      self.positions, _on(np.array(lanes, np.int32)))  # fmt: skip

    def check_end(self) -> None:
        assert torch.equal(self.positions, self.sizes)
        assert (self.states == rans.LOW).all()


def _on(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def _told(tables: np.ndarray, keys: np.ndarray, rests: np.ndarray, coded: Any) -> np.ndarray:
    parts = (a.astype(np.int32) for a in (tables, keys, rests))
    table, key, rest = parts
    out: np.ndarray = table | key << 8 | (rest + 32) << 16 | np.int32(coded) << contexts.CODED
    return out.astype(np.int32)


@pytest.mark.parametrize("bank", ["predicted", "lossy"])
@pytest.mark.parametrize("kind", ["plain", "signed", "limited"])
def test_runs(bank: str, kind: str) -> None:
    used = models.load("density").banks[bank]
    t, on = used.tables, bank_on(used, DEVICE)
    rng = random_of(f"runs {bank} {kind}")
    lanes = [1, 4, 32] if kind == "signed" else [8, 32, 2]
    limited = [kind == "limited"] * 2 + [False]
    told_of: list[list[np.ndarray]] = []
    words, states = [], []
    for i, n in enumerate(lanes):
        symbols = _symbols(f"{bank}{kind}{n}")
        table, key = (rng.integers(0, len(t), symbols.size).astype(np.uint8) for _ in "tk")
        rest = rng.integers(-32, 32, symbols.size) * rng.integers(0, 2, symbols.size)
        rest = (rest * (kind != "plain")).astype(np.int8)
        sizes = np.abs(symbols.astype(np.int64))
        down, up = (
            np.where(rng.integers(0, 2, symbols.size) | (symbols * side > 0), sizes + 1, sizes - 1)
            for side in (-1, 1)
        )
        down, up = (np.clip(a, -1, (1 << 31) - 1) for a in (down, up))
        known = (symbols != 0) & ((sizes <= down) != (sizes <= up))
        possible = np.where(symbols < 0, sizes <= down, sizes <= up) | (symbols == 0)
        if limited[i]:
            symbols = np.where(possible, symbols, 0).astype(np.int32)
            known &= possible
        given = np.where(known, np.int8(expectation.KNOWN), rest) if limited[i] else rest
        room, state = np.empty(5 * symbols.size + 8, np.uint16), np.zeros(32, np.int64)
        first = rans.encode_runs(
            symbols, table, RUNS[1:].astype(np.int64), n, t.freq, t.start, given.astype(np.int8),
            key, used.signs.freq, limited[i], room, state,
        )  # fmt: skip
        words.append(room[first:])
        states.append(state)
        told_of.append([symbols, table, key, rest, down, up])
    every, tables, keys, rests, downs, ups = (np.stack(a) for a in zip(*told_of, strict=True))
    tiles = _Tiles(words, states, lanes)
    for begin, end in pairwise(RUNS.tolist()):
        n = end - begin
        here = np.s_[:, begin:end]
        told = _told(tables[here], keys[here], rests[here], True)
        ends = np.tile(np.arange(1, n + 1, dtype=np.int32), (len(lanes), 1))
        down, up = (a[here].astype(np.int32) for a in (downs, ups))
        out = torch.zeros((len(lanes), n), dtype=torch.int32, device=DEVICE)
        kernels.decode_runs[(len(lanes),)](
            *tiles.place, _on(ends[:, -1]), _on(ends - 1), _on(told), _on(down), _on(up),
            _on(np.array(limited, np.int32)), on.learned.slots, on.learned.pairs, on.signs, out, n,
            len(t), LIMITED=kind == "limited", **warp(DEVICE),
        )  # fmt: skip
        assert np.array_equal(out.cpu().numpy(), every[here])
    tiles.check_end()


@pytest.mark.parametrize("chains", [1, 32])
def test_dependent_runs(chains: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trellis decided, in one chain and in many (the host's limit to that set aside)."""
    used = models.load("density").banks["trellis"]
    t, on, second = used.tables, bank_on(used, DEVICE), used.choices
    rng = random_of(f"chains {chains}")
    monkeypatch.setattr(trellis, "chains_of", lambda size: chains)
    n = 70
    lanes = [1, 4] if chains == 1 else [8, 32]
    every, told, coded = [], [], []
    words, states = [], []
    for lane in lanes:
        symbols = np.resize(_symbols(f"chain{lane}"), n).astype(np.int32)
        symbols[np.abs(symbols.astype(np.int64)) > 1 << 28] = 3
        skipped = rng.integers(0, 3, n) == 0
        symbols[skipped] = 0
        table, key = (rng.integers(0, second, n) for _ in "tk")
        rest = rng.integers(-32, 32, n) * rng.integers(0, 2, n)
        turns, quantisers, halves = np.zeros(chains, int), np.zeros(n, int), np.zeros(n, int)
        for j, s in enumerate(symbols.tolist()):
            turn = turns[j % chains]
            quantisers[j] = turn & 1
            halves[j] = trellis.halves_of(s, turn & 1)
            turns[j % chains] = trellis.NEXT[turn, s & 1]
        own = np.where(skipped, trellis.SKIPPED, table + second * quantisers).astype(np.int16)
        room, state = np.empty(5 * n + 8, np.uint16), np.zeros(32, np.int64)
        first = trellis.encode_runs.py_func(
            symbols, own, np.array([n]), lane, t.freq, t.start, rest.astype(np.int8),
            (key + second * quantisers).astype(np.uint8), used.signs.freq, room, state,
        )  # fmt: skip
        words.append(room[first:])
        states.append(state)
        every.append(halves)
        told.append(_told(table, key, rest, ~skipped))
        coded.append(~skipped)
    tiles = _Tiles(words, states, lanes)
    out = torch.zeros((len(lanes), n), dtype=torch.int32, device=DEVICE)
    coding = (on.learned.slots, on.learned.pairs, on.signs)
    if chains == 1:
        ends = np.cumsum(coded, axis=1).astype(np.int32)
        places, kept = np.zeros((len(lanes), n), np.int32), np.zeros((len(lanes), n), np.int32)
        for i, there in enumerate(coded):
            places[i, : there.sum()], kept[i, : there.sum()] = np.flatnonzero(there), told[i][there]
        kernels.decode_chain[(len(lanes),)](
            *tiles.place, _on(ends[:, -1]), _on(places), _on(kept), *coding, on.zeros, on.next_turn,
            out, n, len(t), second, **warp(DEVICE),
        )  # fmt: skip
    else:
        turned = torch.zeros((len(lanes), chains), dtype=torch.int32, device=DEVICE)
        kernels.decode_chains[(len(lanes),)](
            *tiles.place, _on(np.stack(told)), *coding, on.next_turn, turned, out, n, len(t),
            second, CODED=contexts.CODED, **warp(DEVICE),
        )  # fmt: skip
    assert np.array_equal(out.cpu().numpy(), np.stack(every))
    tiles.check_end()


def test_streams_that_end_early_stay_inside() -> None:
    """Words past the end are the last one; the position tells that there were too few."""
    used = models.load("density").banks["predicted"]
    on = bank_on(used, DEVICE)
    n = 20
    states = np.full(32, (1 << 32) - 1, np.int64)
    tiles = _Tiles([np.array([7, 9], np.uint16), np.zeros(0, np.uint16)], [states] * 2, [4, 2])
    told = _told(np.full((2, n), 40), np.zeros((2, n)), np.zeros((2, n)), True)
    ends = np.tile(np.arange(1, n + 1, dtype=np.int32), (2, 1))
    out = torch.zeros((2, n), dtype=torch.int32, device=DEVICE)
    kernels.decode_runs[(2,)](
        *tiles.place, _on(ends[:, -1]), _on(ends - 1), _on(told), _on(ends), _on(ends),
        _on(np.zeros(2, np.int32)), on.learned.slots, on.learned.pairs, on.signs, out, n,
        len(used.tables), LIMITED=False, **warp(DEVICE),
    )  # fmt: skip
    assert (tiles.positions > tiles.sizes).all()


def test_all_compile(tmp_path: Path) -> None:
    """To the instructions of a GPU, for which none is needed."""
    script = Path(__file__).parent / "device_compile.py"
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": path}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    if "no compiler" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) >= 20

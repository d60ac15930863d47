"""A model's bank on a device: networks and tables as the kernels take them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
import triton

from ..entropy import contexts
from ..entropy.classic import classic_tables
from ..entropy.tables import Tables
from ..entropy.trellis import NEXT
from ..models import Bank
from .kernels.contexts import FEATURE_ROWS

_LEAST = 16  # rows and columns of a matrix product


@dataclass(frozen=True)
class DeviceTables:
    """``slots`` uint8 (tables, 2**14); ``pairs`` int32 (tables, 129): frequency, start << 16."""

    slots: torch.Tensor
    pairs: torch.Tensor
    count: int


@dataclass(frozen=True)
class DeviceBank:
    """Layers (float32, padded with zeros to powers of two), tables, signs, turns of the trellis.

    ``scales``: what sums are multiplied by. ``choices``: tables of one quantiser. ``zero``: what
    networks make of zeros, by network and kind of level.
    """

    w1: torch.Tensor
    b1: torch.Tensor
    w2: torch.Tensor
    b2: torch.Tensor
    w3: torch.Tensor
    b3: torch.Tensor
    scales: tuple[float, float, float]
    learned: DeviceTables
    classic: DeviceTables
    signs: torch.Tensor
    log: torch.Tensor
    next_turn: torch.Tensor
    zeros: torch.Tensor
    choices: int
    zero: list[list[int]]

    @property
    def widths(self) -> tuple[int, int]:
        """Rows of the first two layers."""
        return self.w1.shape[1], self.w2.shape[1]


def _padded(a: np.ndarray, *sizes: int) -> np.ndarray:
    """``a`` with its last axes enlarged by zeros."""
    more = [(0, 0)] * (a.ndim - len(sizes))
    more += [(0, size - n) for size, n in zip(sizes, a.shape[-len(sizes) :], strict=True)]
    return np.ascontiguousarray(np.pad(a, more), np.float32)


def tables_on(tables: Tables, device: torch.device) -> DeviceTables:
    """Coding tables on a device."""
    pairs = tables.freq.astype(np.int32) | tables.start.astype(np.int32) << 16
    return DeviceTables(
        torch.from_numpy(tables.slots).to(device), torch.from_numpy(pairs).to(device), len(tables)
    )


def _turns_of_zeros() -> np.ndarray:
    """The turn after 0 to 3 zeros, int32 (4, 8)."""
    out = [np.arange(8)]
    for _ in range(3):
        out.append(NEXT[out[-1], 0])
    return np.array(out, np.int32)


_KEPT: dict[tuple[int, str], tuple[weakref.ref[Bank], DeviceBank]] = {}


def bank_on(bank: Bank, device: torch.device) -> DeviceBank:
    """A bank on a device, brought there once."""
    key = id(bank), str(device)
    kept = _KEPT.get(key)
    if kept is None or kept[0]() is not bank:
        forget = partial(_KEPT.pop, key, None)
        kept = weakref.ref(bank, lambda _: forget()), _bank_on(bank, device)
        _KEPT[key] = kept
    return kept[1]


def _bank_on(bank: Bank, device: torch.device) -> DeviceBank:
    h1, h2 = (max(triton.next_power_of_2(n), _LEAST) for n in (bank.w1.shape[1], bank.w2.shape[1]))
    parts = (
        _padded(bank.w1, h1, FEATURE_ROWS), _padded(bank.b1, h1), _padded(bank.w2, h2, h1),
        _padded(bank.b2, h2), _padded(bank.w3, h2), np.ascontiguousarray(bank.b3, np.float32),
    )  # fmt: skip
    w1, b1, w2, b2, w3, b3 = (torch.from_numpy(part).to(device) for part in parts)
    s1, s2, s3 = (float(s) for s in bank.scales)
    small = (
        bank.signs.freq.astype(np.int16), contexts.LOG, NEXT.astype(np.int32), _turns_of_zeros()
    )  # fmt: skip
    signs, log, following, zeros = (torch.from_numpy(part).to(device) for part in small)
    return DeviceBank(
        w1, b1, w2, b2, w3, b3, (s1, s2, s3), tables_on(bank.tables, device),
        _classic_on(device), signs, log, following, zeros, bank.choices,
        bank.zero.tolist(),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _classic_on(device: torch.device) -> DeviceTables:
    return tables_on(classic_tables(), device)

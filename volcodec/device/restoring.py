"""The restoration filter on a device: integers of some tiles, each with its own passes or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..restoration import Filter, from_usual, to_usual
from ..restoration.taps import BINS, EDGES, FEATURES, OWN, PAIRS, PLANES, SUMS
from .kernels import restoration as kernels
from .launch import Upload, blocks


def _bounds() -> np.ndarray:
    """Of each pair, the sums that it has a part in, and its diagonal: int32 (pairs, 5)."""
    out = np.full((len(PAIRS), 5), -1, np.int32)
    for i, (members, most) in enumerate(SUMS):
        for k in members:
            place = 0 if out[k, 0] < 0 else 2
            out[k, place : place + 2] = OWN + i, most
    out[list(EDGES), 4] = np.arange(2 * PLANES)
    return out


def restored(
    integers: torch.Tensor, filters: Sequence[Filter | None], step: int
) -> torch.Tensor:  # fmt: skip
    """``integers`` (int32, (tiles, z, y, x)), of which a ``step`` is so many, by their filters."""
    passes = max((len(found.passes) for found in filters if found is not None), default=0)
    if passes == 0:
        return integers
    weights = np.zeros((passes, len(filters), BINS, FEATURES), np.int32)
    for tile, found in enumerate(filters):
        for own, one in zip(weights, found.passes if found is not None else (), strict=False):
            own[tile] = one.by_bin()
    upload = Upload()
    keys = [upload.add(a) for a in (PAIRS.astype(np.int32), _bounds(), *weights)]
    upload.send(integers.device)
    pairs, bounds, *tables = (upload[key] for key in keys)
    shape, total = integers.shape[1:], integers.numel()
    grid, block = blocks(total, integers.device)
    rough = torch.empty((1 + PLANES, *integers.shape), dtype=torch.int32, device=integers.device)
    seen: torch.Tensor = to_usual(integers, step)
    made = seen
    for table in tables:
        given, made = made, torch.empty_like(integers)
        kernels.roughness[grid](given, rough, total, *shape, BLOCK=block)
        kernels.restore[grid](
            given, rough, pairs, bounds, table, made, total, *shape, COUNT=len(PAIRS), OWN=OWN,
            FEATURES=FEATURES, BINS=BINS, BLOCK=block,
        )  # fmt: skip
    out: torch.Tensor = from_usual(integers, seen, made, step)
    return out

"""The restoration filter on a device: integers of some tiles, each with its own weights or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..restoration import Filter, from_usual, to_usual
from ..restoration.taps import BINS, EDGE, EDGES, FACES, FAR, FEATURES, NEAR, PAIRS
from .kernels import restoration as kernels
from .launch import Upload, blocks


def _bounds() -> np.ndarray:
    """Of each pair, the sums of small differences it has a part in: int32 (pairs, 2, 2)."""
    out = np.full((len(PAIRS), 2, 2), -1, np.int32)
    for k in FACES:
        out[k] = (len(PAIRS), NEAR), (len(PAIRS) + 1, FAR)
    for k in EDGES:
        out[k, 0] = len(PAIRS) + 2, EDGE
    return out


def restored(
    integers: torch.Tensor, filters: Sequence[Filter | None], step: int
) -> torch.Tensor:  # fmt: skip
    """``integers`` (int32, (tiles, z, y, x)), of which a ``step`` is so many, by their filters."""
    if not any(filters):
        return integers
    seen: torch.Tensor = to_usual(integers, step)
    weights = np.zeros((len(filters), BINS, FEATURES), np.int32)
    for own, found in zip(weights, filters, strict=True):
        if found is not None:
            own[:] = found.by_bin()
    upload = Upload()
    keys = [upload.add(a) for a in (weights, PAIRS.astype(np.int32), _bounds())]
    upload.send(integers.device)
    table, pairs, bounds = (upload[key] for key in keys)
    rough, out = torch.empty_like(integers), torch.empty_like(integers)
    shape = integers.shape[1:]
    grid, block = blocks(integers.numel(), integers.device)
    kernels.roughness[grid](seen, rough, integers.numel(), *shape, BLOCK=block)
    kernels.restore[grid](
        seen, rough, pairs, bounds, table, out, integers.numel(), *shape, COUNT=len(PAIRS),
        BINS=BINS, BLOCK=block,
    )  # fmt: skip
    return out if seen is integers else integers + from_usual(out - seen, step)

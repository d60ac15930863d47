"""How kernels are launched, and how small arrays travel to the device: in one copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import triton

from ..entropy.rans import MAX_LANES

_ALIGN = 16
_INTERPRETED = 1 << 14  # positions of a program where it is interpreted: few programs, long vectors


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Make a device the current one, which kernels are launched on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def blocks(total: int, device: torch.device, size: int = 256) -> tuple[tuple[int], int]:
    """The grid and the block of a kernel over ``total`` positions."""
    if device.type != "cuda":
        size = min(triton.next_power_of_2(max(total, 16)), _INTERPRETED)
    return (-(-total // size),), size


def warp(device: torch.device) -> dict[str, Any]:
    """Constants of a kernel whose program is the lanes of one stream: a warp."""
    vote = device.type == "cuda" and torch.version.hip is None
    return {"LANES": MAX_LANES, "VOTE": vote, "num_warps": 1}


@contextmanager
def beside(device: torch.device) -> Iterator[None]:
    """What is launched in this context runs beside what was before, and before what is after it."""
    if device.type != "cuda":
        yield
        return
    other = _other_stream(device)
    with torch.cuda.stream(other):
        yield
    torch.cuda.current_stream(device).wait_stream(other)


@lru_cache
def _other_stream(device: torch.device) -> torch.cuda.Stream:
    """One, for memory that was used on a stream is kept for it."""
    return torch.cuda.Stream(device)


class Download:
    """Tensors on their way to the host, while the device goes on."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        on_device = tensors[0].device.type == "cuda"
        self._host = [
            torch.empty(t.shape, dtype=t.dtype, pin_memory=on_device).copy_(t, non_blocking=True)
            for t in tensors
        ]
        self._there = torch.cuda.Event() if on_device else None
        if self._there is not None:
            self._there.record()

    def arrays(self) -> list[np.ndarray]:
        """Wait for them."""
        if self._there is not None:
            self._there.synchronize()
        return [t.numpy() for t in self._host]


class Upload:
    """Arrays that are brought to the device together.

    ``add`` returns a key; after ``send``, indexing by it gives the tensor.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._places: list[int] = []
        self._size = 0
        self._data: torch.Tensor | None = None

    def add(self, array: np.ndarray) -> int:
        """Take an array (no unsigned integers but uint8); it must not change until ``send``."""
        self._parts.append(array)
        self._places.append(self._size)
        self._size += -(-max(array.nbytes, 1) // _ALIGN) * _ALIGN
        return len(self._parts) - 1

    def place(self, key: int) -> int:
        """Where an array begins, in bytes."""
        return self._places[key]

    def whole(self, kind: torch.dtype) -> torch.Tensor:
        """All that was sent, as elements of a dtype."""
        assert self._data is not None
        return self._data.view(kind)

    def send(self, device: torch.device) -> None:
        """Copy what was added."""
        pinned = device.type == "cuda"
        host = torch.empty(max(self._size, _ALIGN), dtype=torch.uint8, pin_memory=pinned)
        flat = host.numpy()
        for array, at in zip(self._parts, self._places, strict=True):
            flat[at : at + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._data = host.to(device, non_blocking=True)

    def __getitem__(self, key: int) -> torch.Tensor:
        array, at = self._parts[key], self._places[key]
        assert self._data is not None
        if array.nbytes == 0:
            return torch.empty(array.shape, dtype=_kind(array), device=self._data.device)
        part = self._data[at : at + array.nbytes]
        return part.view(_kind(array)).reshape(array.shape)


def _kind(array: np.ndarray) -> Any:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype

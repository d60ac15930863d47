"""The device path without a device: Triton's interpreter, and the host in place of its slow part.

Interpreted, a round of rANS takes milliseconds, whatever its lanes. So whole files are mostly
decoded with the processor's rANS, given what its kernels would have been given; the kernels
themselves are tested on short runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from volcodec.container import Reader
from volcodec.decoder import VolumeDecoder
from volcodec.entropy import rans as host_rans
from volcodec.entropy import trellis as host_trellis
from volcodec.entropy.tables import roomy

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_NONE = np.empty(0, np.int8)


def quick_interpreter() -> None:
    """Leave out what takes most of the interpreter's time and changes nothing that it computes.

    That are its own checks of overflows, and the search for the builtins of Triton's language,
    which it begins anew with every call of a function by a kernel.
    """
    try:
        from triton.runtime import interpreter

        object.__setattr__(interpreter.interpreter_builder.options, "sanitize_overflow", False)
        patch, is_builtin = interpreter._patch_attr, interpreter.tl.core.is_builtin
    except (ImportError, AttributeError):
        return  # another release of Triton; it only takes longer
    names: dict[Any, list[str]] = {}

    def patch_builtin(package: Any, *others: Any) -> None:
        if package not in names:
            names[package] = [n for n, m in inspect.getmembers(package) if is_builtin(m)]
        members = [getattr(package, name) for name in names[package]]
        if members and is_builtin(members[0]):  # else they are patched already
            for name, member in zip(names[package], members, strict=True):
                patch(package, name, member, *others)

    interpreter._patch_builtin = patch_builtin


def decode(blob: bytes, region: Any = None, **options: Any) -> tuple[np.ndarray, list[int]]:
    """All frames of a file by the device path (frame, z, y, x), and the damaged tiles."""
    from volcodec.device.decoder import DeviceDecoder
    from volcodec.device.values import room

    decoder = VolumeDecoder(Reader(blob), None, 1)
    where = decoder.region(region, 0)
    frames = list(range(decoder.header.frames))
    shape = (len(frames), *(s.stop - s.start for s in where))
    out = room(shape, decoder.settings.mapping.dtype, None, None, DEVICE)
    damaged = DeviceDecoder(decoder, DEVICE).fill(out, frames, where, 0, **options)
    return out.cpu().numpy(), damaged


class _Launch:
    """What stands for a kernel: ``kernel[grid](...)`` calls a function with the grid first."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            self._call(grid, *arguments, **constants)

        return launch


def _coding(slots: Any, pairs: Any, signs: Any) -> tuple[np.ndarray, ...]:
    freq, start = pairs.numpy() & 0xFFFF, pairs.numpy() >> 16
    kinds = (np.uint16, np.uint16, np.uint8, np.uint16)
    parts = (freq, start, slots.numpy(), signs.numpy())
    return tuple(roomy(a.astype(k)) for a, k in zip(parts, kinds, strict=True))


def _words(words: Any, offsets: Any, sizes: Any, tile: int) -> np.ndarray:
    first = int(offsets[tile])
    return words.numpy()[first : first + int(sizes[tile])].view(np.uint16).copy()


def _runs(
    grid: tuple[int], words: Any, offsets: Any, sizes: Any, states: Any, positions: Any, lanes: Any,
    counts: Any, places: Any, told: Any, down: Any, up: Any, bounded: Any, slots: Any, pairs: Any,
    signs: Any, out: Any, n: int, tables: int, **constants: Any,
) -> None:  # fmt: skip
    freq, start, slots, signs = _coding(slots, pairs, signs)
    for tile in range(grid[0]):
        count = int(counts[tile])
        here = np.s_[tile * n : tile * n + count]
        t = told.numpy()[here]
        rests = (((t >> 16) & 127) - 32).astype(np.int8)
        rooms: Any = (np.empty(0, np.int32),) * 2
        if constants["LIMITED"] and bounded[tile] and count:
            rooms = down.numpy()[here], up.numpy()[here]
        values = np.empty(count, np.int32)
        positions[tile] = host_rans.decode_run(
            _words(words, offsets, sizes, tile), int(positions[tile]), states.numpy()[tile],
            int(lanes[tile]), (t & 255).astype(np.uint8), freq, start, slots,
            rests if rests.any() else _NONE, ((t >> 8) & 255).astype(np.uint8), signs, *rooms,
            values,
        )  # fmt: skip
        out.numpy()[tile * n : (tile + 1) * n][places.numpy()[here]] = values


def _dependent(
    tile: int, words: np.ndarray, states: Any, positions: Any, lanes: Any, told: np.ndarray,
    coding: tuple[np.ndarray, ...], out: np.ndarray, second: int,
) -> None:  # fmt: skip
    freq, start, slots, signs = coding
    coded = (told >> 24) & 1
    # what is not coded has a table of its own, before the others
    freq, start, slots = (np.concatenate([a[:1], a]) for a in (freq, start, slots))
    rests = np.where(coded, ((told >> 16) & 127) - 32, 0).astype(np.int8)
    positions[tile] = host_trellis.decode_run(
        words, int(positions[tile]), states.numpy()[tile], int(lanes[tile]),
        np.where(coded, (told & 255) + 1, 0).astype(np.uint8), 1, second, freq, start, slots,
        rests if rests.any() else _NONE, ((told >> 8) & 255).astype(np.uint8), signs, out,
    )  # fmt: skip


def _chain(
    grid: tuple[int], words: Any, offsets: Any, sizes: Any, states: Any, positions: Any, lanes: Any,
    counts: Any, places: Any, told: Any, slots: Any, pairs: Any, signs: Any, zeros: Any, turns: Any,
    out: Any, n: int, tables: int, second: int, **constants: Any,
) -> None:  # fmt: skip
    for tile in range(grid[0]):
        here = np.s_[tile * n : tile * n + int(counts[tile])]
        whole = np.zeros(n, np.int64)
        whole[places.numpy()[here]] = told.numpy()[here]
        _dependent(tile, _words(words, offsets, sizes, tile), states, positions, lanes, whole,
                   _coding(slots, pairs, signs), out.numpy()[tile * n : (tile + 1) * n],
                   second)  # fmt: skip


def _chains(
    grid: tuple[int], words: Any, offsets: Any, sizes: Any, states: Any, positions: Any, lanes: Any,
    told: Any, slots: Any, pairs: Any, signs: Any, following: Any, turns: Any, out: Any, n: int,
    tables: int, second: int, **constants: Any,
) -> None:  # fmt: skip
    for tile in range(grid[0]):
        here = np.s_[tile * n : (tile + 1) * n]
        _dependent(tile, _words(words, offsets, sizes, tile), states, positions, lanes,
                   told.numpy()[here], _coding(slots, pairs, signs), out.numpy()[here],
                   second)  # fmt: skip


def host_runs(patch: pytest.MonkeyPatch) -> None:
    """Let the processor decode runs, unless there is a device."""
    from volcodec.device.kernels import rans

    if DEVICE.type == "cpu":
        for name, call in (("decode_runs", _runs), ("decode_chain", _chain),
                           ("decode_chains", _chains)):  # fmt: skip
            patch.setattr(rans, name, _Launch(call))

"""What a decoded volume owes its original: each check returns the sentences of what is broken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volcodec.bench.quality import measure, value_range

Volume = NDArray[Any]

PSNR_WINDOW = 0.3
# Fewer voxels than this can't be steered to a PSNR within the window.
STEERABLE_VOXELS = 4096


def same_kind(original: Volume, decoded: Volume) -> list[str]:
    """Shape and dtype, byte order included."""
    out = []
    if decoded.shape != original.shape:
        out.append(f"shape {decoded.shape} instead of {original.shape}")
    if decoded.dtype != original.dtype:
        out.append(f"dtype {decoded.dtype.str} instead of {original.dtype.str}")
    return out


def specials_kept(original: Volume, decoded: Volume) -> list[str]:
    """NaN, +Inf and -Inf where they were and nowhere else."""
    if original.dtype.kind != "f":
        return []
    out = []
    tests: tuple[tuple[str, Callable[[Volume], Any]], ...] = (
        ("NaN", np.isnan),
        ("+Inf", np.isposinf),
        ("-Inf", np.isneginf),
    )
    for name, test in tests:
        moved = int(np.count_nonzero(test(original) != test(decoded)))
        if moved:
            out.append(f"{name} changed at {moved} voxels")
    return out


def support_kept(original: Volume, decoded: Volume, background: float = 0.0) -> list[str]:
    """Background exactly where it was and nowhere else (IoU of the rest = 1)."""
    before, after = original == background, decoded == background
    lost = int(np.count_nonzero(before & ~after))
    gained = int(np.count_nonzero(~before & after))
    if lost or gained:
        return [f"support: {lost} background voxels filled, {gained} others emptied"]
    return []


def bound_kept(original: Volume, decoded: Volume, relative: float) -> list[str]:
    """Every finite voxel within relative * range, in float64."""
    error, bound = (
        measure(original, decoded).max_error,
        relative * value_range(original),
    )
    return [] if error <= bound else [f"error {error:.9g} over the bound {bound:.9g}"]


def psnr_kept(
    original: Volume, decoded: Volume, target: float, coarsest: Callable[[], float]
) -> list[str]:
    """PSNR at least the target and at most PSNR_WINDOW above it, save where nothing was lost or
    the coarsest coding (its PSNR asked only when needed) is better already."""
    psnr = measure(original, decoded).psnr
    if psnr < target:
        return [f"PSNR {psnr:.4f} dB under {target:g}"]
    if psnr <= target + PSNR_WINDOW or math.isinf(psnr) or original.size < STEERABLE_VOXELS:
        return []
    if psnr <= coarsest() + PSNR_WINDOW:
        return []
    return [f"PSNR {psnr:.4f} dB is more than {PSNR_WINDOW} over {target:g}"]


def bits_kept(original: Volume, decoded: Volume) -> list[str]:
    """Bit for bit: signs of zeros and payloads of NaNs too."""
    as_stored = np.ascontiguousarray(decoded).astype(original.dtype, copy=False)
    before = np.frombuffer(np.ascontiguousarray(original).tobytes(), dtype=np.uint8)
    after = np.frombuffer(as_stored.tobytes(), dtype=np.uint8)
    if before.shape != after.shape:
        return [f"{after.size} bytes instead of {before.size}"]
    changed = int(np.count_nonzero(before != after))
    return [f"lossless: {changed} bytes differ"] if changed else []


def broken_promises(
    original: Volume,
    decoded: Volume,
    target: dict[str, Any],
    support: str,
    coarsest: Callable[[], float],
) -> list[str]:
    """All promises of one target ({"rel_error": R}, {"psnr": dB} or {"lossless": True})."""
    wrong = same_kind(original, decoded)
    if decoded.shape != original.shape:
        return wrong
    wrong += specials_kept(original, decoded)
    if support == "exact":
        wrong += support_kept(original, decoded)
    if value_range(original) == 0 or "lossless" in target:
        wrong += bits_kept(original, decoded)
    elif "rel_error" in target:
        wrong += bound_kept(original, decoded, target["rel_error"])
    elif "psnr" in target:
        wrong += psnr_kept(original, decoded, target["psnr"], coarsest)
    return wrong

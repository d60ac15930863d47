"""What a decoded volume owes its original: each check returns sentences on what is broken."""

from __future__ import annotations

from typing import Any

import numpy as np

import volcodec

STEERABLE = 4096  # fewer voxels can't be steered to a PSNR within the window
PSNR_WINDOW = 0.3


def span(volume: np.ndarray) -> float:
    """max - min over the finite voxels in float64; 0 where none is finite."""
    finite = volume[np.isfinite(volume)].astype(np.float64)
    with np.errstate(over="ignore"):
        return float(finite.max() - finite.min()) if finite.size else 0.0


def errors(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """|x - x̂| over the finite voxels, float64."""
    finite = np.isfinite(original)
    with np.errstate(all="ignore"):
        return np.abs(original[finite].astype(np.float64) - decoded[finite].astype(np.float64))


def psnr_of(original: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR in dB, computed where neither squares nor the range over- or underflow."""
    peak = span(original)
    _, exponent = np.frexp(peak)
    scaled = np.ldexp(errors(original, decoded), -int(exponent))
    mean = float(np.mean(scaled**2)) if scaled.size else 0.0
    if mean == 0:
        return np.inf
    return float(20 * np.log10(np.ldexp(peak, -int(exponent))) - 10 * np.log10(mean))


def _same_kind(a: np.ndarray, b: np.ndarray) -> list[str]:
    out = [] if a.shape == b.shape else [f"shape {b.shape} instead of {a.shape}"]
    return out if a.dtype == b.dtype else [*out, f"dtype {b.dtype.str} instead of {a.dtype.str}"]


def _specials(a: np.ndarray, b: np.ndarray) -> list[str]:
    kinds: dict[str, Any] = {"NaN": np.isnan, "+Inf": np.isposinf, "-Inf": np.isneginf}
    return [
        f"{name} moved at {int((kind(a) != kind(b)).sum())} voxels"
        for name, kind in kinds.items()
        if a.dtype.kind == "f" and not np.array_equal(kind(a), kind(b))
    ]


def _bits(a: np.ndarray, b: np.ndarray) -> list[str]:
    return [] if a.tobytes() == b.tobytes() else ["the bits differ"]


def support_faults(a: np.ndarray, b: np.ndarray, background: float = 0.0) -> list[str]:
    """Background exactly where it was and nowhere else."""
    ground = a.dtype.type(background)
    lost = int(((a == ground) & (b != ground)).sum())
    gained = int(((a != ground) & (b == ground)).sum())
    return [f"support: {lost} lost, {gained} gained"] if lost or gained else []


def faults(
    codec: volcodec.Codec,
    original: np.ndarray,
    blob: bytes,
    target: dict[str, Any],
    support: str = "auto",
) -> list[str]:
    """Every promise of a target, measured on what ``blob`` decodes to."""
    decoded = codec.decode(blob)
    out = _same_kind(original, decoded)
    if out:
        return out
    out = _specials(original, decoded)
    info = volcodec.inspect(blob)
    if support == "exact" or info.support == "exact":
        out += support_faults(original, decoded, info.background)
    ((kind, value),) = target.items()
    peak = span(original)
    largest = float(errors(original, decoded).max(initial=0.0))
    if kind == "lossless" or ((peak == 0 or np.isinf(peak)) and kind not in ("ratio", "bits")):
        out += _bits(original, decoded)
    elif kind in ("max_error", "rel_error"):
        bound = value if kind == "max_error" else value * peak
        if largest > bound:
            out.append(f"error {largest:.9g} over the bound {bound:.9g}")
    elif kind == "psnr":
        out += _psnr_faults(codec, original, blob, value, support)
    elif kind == "ratio" and original.nbytes / len(blob) < value:
        out.append(f"ratio {original.nbytes / len(blob):g} under {value:g}")
    elif kind == "bits" and 8 * len(blob) / original.size > value:
        out.append(f"{8 * len(blob) / original.size:g} bits a voxel, over {value:g}")
    if not np.isclose(info.max_error, largest, rtol=1e-4, atol=0) and largest != info.max_error:
        out.append(f"the file says error {info.max_error:g}, it is {largest:g}")
    return out


def _psnr_faults(
    codec: volcodec.Codec, a: np.ndarray, blob: bytes, value: float, support: str
) -> list[str]:
    psnr = psnr_of(a, codec.decode(blob))
    if psnr < value:
        return [f"PSNR {psnr:.4f} dB under {value:g}"]
    if psnr <= value + PSNR_WINDOW or a.size < STEERABLE:
        return []
    if np.isinf(psnr):
        # Losing nothing is fine only where it is not dearer than a bound that implies the PSNR.
        other = codec.encode(a, rel_error=10 ** (-value / 20), support=support)
        dearer = len(blob) > 1.05 * len(other) + 64
        if dearer and not np.isinf(psnr_of(a, codec.decode(other))):
            return ["lossless, though dearer than lossy"]
        return []
    coarsest = psnr_of(a, codec.decode(codec.encode(a, psnr=1.0, support=support)))
    if psnr <= coarsest + PSNR_WINDOW:
        return []
    return [f"PSNR {psnr:.4f} dB is more than {PSNR_WINDOW} above {value:g}"]

"""Points of rate curves: one whole encode and decode each, and what it cost and lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volcodec.bench import quality
from volcodec.bench.records import rounded

Record = dict[str, Any]
Volume = NDArray[Any]

PSNR_TARGETS = (30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0)
QUICK_PSNR_TARGETS = (35.0, 50.0, 65.0)
# Peers are also asked for more, since what they reach may lie far from it, and for less where
# their curve has not come down to the range that is compared.
PEER_PSNR_TARGETS = (*PSNR_TARGETS, 70.0)
LOW_PSNR_TARGETS = (25.0, 20.0, 15.0, 10.0, 5.0, 1.0)
LOW_ENOUGH_DB = 34.0
RELATIVE_ERRORS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
QUICK_RELATIVE_ERRORS = (1e-2, 1e-3, 1e-4)
PEER_RELATIVE_ERRORS = (3e-2, *RELATIVE_ERRORS, 3e-5)
# Integer data: a bound of exactly 1 or 2 units is a corner of our staircase; just under these
# errors rounding brings a peer to an error of 0, 1 or 2 units. Without such points a peer's rate
# for lossless would be read off at a needlessly small bound.
CORNER_UNITS = (1, 2)
PEER_UNITS = (0.499, 1.499, 2.499)


def asked_errors(volume: Volume, quick: bool) -> list[float]:
    """Relative errors to ask volcodec for; of those that mean the same whole units the first."""
    span = quality.value_range(volume)
    errors = list(QUICK_RELATIVE_ERRORS if quick else RELATIVE_ERRORS)
    if volume.dtype.kind == "f":
        return errors
    if not quick and span:
        # A little above the corner, so that rounding in error * range can't fall below it.
        corners = [units * (1 + 1e-9) / span for units in CORNER_UNITS]
        errors += [error for error in corners if errors[-1] < error < errors[0]]
    distinct: dict[int, float] = {}
    for error in sorted(errors, reverse=True):
        distinct.setdefault(math.floor(error * span), error)
    return list(distinct.values())


def peer_errors(volume: Volume, quick: bool) -> list[float]:
    """Relative errors to ask a peer for."""
    errors = set(QUICK_RELATIVE_ERRORS if quick else PEER_RELATIVE_ERRORS)
    span = quality.value_range(volume)
    if volume.dtype.kind != "f" and span and not quick:
        relative = [units / span for units in PEER_UNITS]
        smallest, largest = PEER_RELATIVE_ERRORS[-1], PEER_RELATIVE_ERRORS[0]
        errors.update(float(f"{r:.4g}") for r in relative if smallest < r < largest)
    return sorted(errors, reverse=True)


def record(
    volume: Volume,
    target: str,
    asked: float | None,
    encode: Callable[[], bytes],
    decode: Callable[[bytes], Volume],
) -> Record:
    """Encode, decode and measure once; see docs/benchmarking.md for the fields of a point."""
    began = time.perf_counter()
    blob = encode()
    encoded = time.perf_counter()
    decoded = decode(blob).reshape(volume.shape)
    ended = time.perf_counter()
    span = quality.value_range(volume) or 1.0
    loss = quality.measure(volume, decoded)
    iou, kept = quality.support(volume, decoded)
    point = {
        "target": target,
        "asked": asked,
        "bytes": len(blob),
        "bpv": rounded(8 * len(blob) / volume.size, 6),
        "max": rounded(loss.max_error / span, 6),
        "psnr": rounded(loss.psnr, 6),
        "ssim": 1.0 if loss.max_error == 0 else rounded(quality.ssim(volume, decoded), 6),
        "iou": rounded(iou, 6),
        "zeros_kept": rounded(kept, 6),
        "mass_error": rounded(quality.mass_error(volume, decoded), 3),
        "encode_s": rounded(encoded - began, 3),
        "decode_s": rounded(ended - encoded, 3),
    }
    if volume.dtype.kind != "f" and decoded.dtype.kind == "f":
        native = quality.measure(volume, quality.as_dtype(decoded, volume.dtype))
        point["max_native"] = rounded(native.max_error / span, 6)
        point["psnr_native"] = rounded(native.psnr, 6)
    return point


def own_points(codec: Any, volume: Volume, support: str, effort: int, quick: bool) -> list[Record]:
    """The curve of a volcodec.Codec: PSNR, maximum error, lossless."""
    span = quality.value_range(volume)
    # Start-up (compiled kernels, the model) is apart from the seconds of the first point.
    corner = np.ascontiguousarray(volume[tuple(slice(0, 32) for _ in volume.shape)])
    codec.decode(codec.encode(corner, lossless=True, threads=1), threads=1)

    def point(target: str, asked: float | None, **given: Any) -> Record:
        return record(
            volume,
            target,
            asked,
            lambda: codec.encode(volume, support=support, effort=effort, threads=1, **given),
            lambda blob: codec.decode(blob, threads=1),
        )

    points = []
    if span:
        errors = asked_errors(volume, quick)
        targets = QUICK_PSNR_TARGETS if quick else PSNR_TARGETS
        points += [point("max_error", error, rel_error=error) for error in errors]
        points += [point("psnr", target, psnr=target) for target in targets]
    return [*points, point("lossless", None, lossless=True)]


def peer_points(peer: Any, volume: Volume, quick: bool) -> list[Record]:
    """All that a peer is asked for on one volume; (Z, Y, X) or (Y, X)."""
    shape = (1,) * (3 - volume.ndim) + volume.shape
    whole = np.ascontiguousarray(volume).reshape(shape)
    span = quality.value_range(volume)

    def point(target: str, asked: float | None, value: float) -> Record:
        return record(
            volume,
            target,
            asked,
            lambda: peer.encode(whole, target, value, 1),
            lambda blob: peer.decode(blob, shape, volume.dtype, 1),
        )

    points: list[Record] = []
    if "max_error" in peer.targets and span:
        points += [point("max_error", error, error * span) for error in peer_errors(volume, quick)]
    if "psnr" in peer.targets and span:
        curve = [point("psnr", t, t) for t in (QUICK_PSNR_TARGETS if quick else PEER_PSNR_TARGETS)]
        for target in LOW_PSNR_TARGETS:
            lowest = curve[0]["psnr"]
            if lowest is not None and lowest <= LOW_ENOUGH_DB:
                break
            curve.insert(0, point("psnr", target, target))
        points += curve
    if "quality" in peer.targets:
        chosen = peer.settings[::3] if quick else peer.settings
        points += [point("quality", setting, setting) for setting in chosen]
    if "lossless" in peer.targets:
        points.append(point("lossless", None, 0.0))
    return points

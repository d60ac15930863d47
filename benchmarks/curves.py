"""From recorded points to rate curves, and the two games that are played with them.

Game `psnr`: equal PSNR over 35..65 dB, against SPERR. Game `error`: equal maximum error over 1e-2
to 1e-4 of the range, against the better of SZ3 and SPERR at each error. A peer is counted at the
error it really had, volcodec at the error it was asked for, since that is what it promises.

The `_native` variant of a game measures the peers after rounding to the integer dtype of the
volume, as their user would; for floating-point volumes both variants are the same.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.bdrate import (
    ERROR_RANGE,
    PSNR_RANGE,
    BDRate,
    RateCurve,
    bd_rate,
    error_quality,
    staircase,
)
from benchmarks.records import rounded

Record = dict[str, Any]
GAMES = ("psnr", "psnr_native", "error", "error_native")


def is_integer(volume: Record) -> bool:
    """Whether a recorded volume has an integer dtype."""
    return "int" in volume["dtype"]


def _psnr(value: float | None) -> float:
    return math.inf if value is None else value


def psnr_curve(points: list[Record], native: bool = False) -> RateCurve:
    """Bits per voxel over measured PSNR in dB."""
    key = "psnr_native" if native else "psnr"
    return RateCurve((point["bpv"], _psnr(point[key])) for point in points)


def measured_error_curve(points: list[Record]) -> RateCurve:
    """Bits per voxel over -log10 of the measured error relative to the range."""
    return RateCurve((point["bpv"], error_quality(point["max"])) for point in points)


def _native_error_curve(points: list[Record], value_range: float) -> RateCurve:
    return staircase(((p["bpv"], p["max_native"] * value_range) for p in points), value_range)


def asked_error_curve(points: list[Record], volume: Record) -> RateCurve:
    """Bits per voxel over -log10 of the error asked for relative to the range."""
    if is_integer(volume):
        span = volume["range"]
        return staircase(((p["bpv"], p["asked"] * span) for p in points), span)
    return RateCurve((point["bpv"], error_quality(point["asked"])) for point in points)


def games(ours: Record, peers: Record) -> dict[str, BDRate]:
    """BD-rates of one volume of rate_distortion's results against its peers' curves."""
    native = is_integer(ours)
    tested = psnr_curve(ours["psnr"])
    curves = peers["curves"]
    anchor = psnr_curve(curves["sperr_psnr"])
    anchor_native = psnr_curve(curves["sperr_psnr"], native=True) if native else anchor
    bounded = asked_error_curve(ours["error"], ours)
    best = [measured_error_curve(curves[name]) for name in ("sz3", "sperr")]
    best_native = best
    if native:
        span = ours["range"]
        best_native = [_native_error_curve(curves[name], span) for name in ("sz3", "sperr")]
    return {
        "psnr": bd_rate(tested, anchor, PSNR_RANGE),
        "psnr_native": bd_rate(tested, anchor_native, PSNR_RANGE),
        "error": bd_rate(bounded, best, ERROR_RANGE),
        "error_native": bd_rate(bounded, best_native, ERROR_RANGE),
    }


def recorded_bd(result: BDRate) -> Record:
    """A BD-rate as results hold it; percent is null where too little could be compared."""
    return {
        "percent": rounded(result.percent, 4),
        "low": rounded(result.low, 4),
        "high": rounded(result.high, 4),
        "coverage": rounded(result.coverage, 3),
    }


def summary(volumes: dict[str, Record]) -> dict[str, Record]:
    """Mean and worst BD-rate of each game over the volumes that have one."""
    out: dict[str, Record] = {}
    for game in GAMES:
        percents = {
            name: volume["bd"][game]["percent"]
            for name, volume in volumes.items()
            if volume["bd"][game]["percent"] is not None
        }
        if not percents:
            out[game] = {
                "mean": None,
                "volumes": 0,
                "worst": None,
                "worst_volume": None,
            }
            continue
        worst = max(percents, key=lambda name: percents[name])
        out[game] = {
            "mean": rounded(sum(percents.values()) / len(percents), 4),
            "volumes": len(percents),
            "won": sum(percent < 0 for percent in percents.values()),
            "worst": percents[worst],
            "worst_volume": worst,
        }
    return out

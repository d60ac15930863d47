"""The two games that are played with recorded points, and what comes of them over many volumes.

Game `psnr`: equal PSNR over 35..65 dB. Game `error`: equal maximum error over 1e-2..1e-4 of the
range. A peer counts at the error it had: where it kept the bound asked, that is the kinder of the
two, and where it did not, the bound was not kept. volcodec counts at the error it was asked for,
since that is what it promises.

The `_native` variant of a game measures the peers after rounding to the integer dtype of the
volume, as their user would; for floating-point volumes both variants are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from volcodec.bench.bdrate import (
    ERROR_RANGE,
    PSNR_RANGE,
    BDRate,
    RateCurve,
    bd_rate,
    error_quality,
    staircase,
)
from volcodec.bench.records import rounded

Record = dict[str, Any]
GAMES = ("psnr", "error", "psnr_native", "error_native")
BEST = "best"  # stands for the best of all peers, at each quality anew
LOSSY = ("error-bounded",)  # families of peers that take part


def is_integer(volume: Record) -> bool:
    """Whether a recorded volume has an integer dtype."""
    return "int" in volume["dtype"]


def _of(points: Sequence[Record], *targets: str) -> list[Record]:
    """The points of these targets, without those whose error is not finite (max is null)."""
    return [p for p in points if p["target"] in targets and p["max"] is not None]


def _decibels(value: float | None) -> float:
    return math.inf if value is None else value


def psnr_curve(points: Sequence[Record], native: bool = False) -> RateCurve:
    """Bits per voxel over measured PSNR in dB, of what was asked for a PSNR where anything was."""
    chosen = _of(points, "psnr") or _of(points, "max_error")
    key = "psnr_native" if native else "psnr"
    return RateCurve((p["bpv"], _decibels(p.get(key, p["psnr"]))) for p in chosen)


def measured_error_curve(points: Sequence[Record], volume: Record, native: bool) -> RateCurve:
    """Bits per voxel over -log10 of the measured error relative to the range."""
    chosen = _of(points, "max_error")
    if native and any("max_native" in p for p in chosen):
        span = volume["range"]
        return staircase(((p["bpv"], p["max_native"] * span) for p in chosen), span)
    return RateCurve((p["bpv"], error_quality(p["max"])) for p in chosen)


def asked_error_curve(points: Sequence[Record], volume: Record) -> RateCurve:
    """Bits per voxel over -log10 of the error asked for relative to the range."""
    chosen = _of(points, "max_error")
    if is_integer(volume):
        span = volume["range"]
        return staircase(((p["bpv"], p["asked"] * span) for p in chosen), span)
    return RateCurve((p["bpv"], error_quality(p["asked"])) for p in chosen)


def _curve(game: str, points: Sequence[Record], volume: Record, ours: bool) -> RateCurve:
    native = game.endswith("_native") and is_integer(volume)
    if game.startswith("psnr"):
        return psnr_curve(points, native and not ours)
    if ours:
        return asked_error_curve(points, volume)
    return measured_error_curve(points, volume, native)


def recorded_bd(result: BDRate) -> Record:
    """A BD-rate as results hold it; percent is null where too little could be compared."""
    return {
        "percent": rounded(result.percent, 4),
        "low": rounded(result.low, 4),
        "high": rounded(result.high, 4),
        "coverage": rounded(result.coverage, 3),
    }


def play(volume: Record, codecs: Record) -> Record:
    """BD-rates of one volume: game -> our codec -> peer (or BEST) -> recorded BD-rate."""
    points = volume["points"]
    ours = [name for name in points if codecs[name]["family"] == "volcodec"]
    peers = [name for name in points if codecs[name]["family"] in LOSSY]
    out: Record = {}
    for game in GAMES:
        stated = PSNR_RANGE if game.startswith("psnr") else ERROR_RANGE
        anchors = {name: _curve(game, points[name], volume, False) for name in peers}
        out[game] = {}
        for name in ours:
            tested = _curve(game, points[name], volume, True)
            row = {peer: bd_rate(tested, anchor, stated) for peer, anchor in anchors.items()}
            if anchors:
                row[BEST] = bd_rate(tested, list(anchors.values()), stated)
            out[game][name] = {peer: recorded_bd(found) for peer, found in row.items()}
    return out


def lossless_bytes(volume: Record) -> dict[str, int]:
    """Bytes of the codecs that keep every bit of a volume."""
    found = {}
    for codec, points in volume["points"].items():
        sizes = [p["bytes"] for p in _of(points, "lossless")]
        if sizes:
            found[codec] = min(sizes)
    return found


def _totals(percents: dict[str, float]) -> Record:
    worst = max(percents, key=lambda name: percents[name])
    return {
        "mean": rounded(sum(percents.values()) / len(percents), 4),
        "volumes": len(percents),
        "won": sum(percent < 0 for percent in percents.values()),
        "worst": percents[worst],
        "worst_volume": worst,
    }


def _found(volumes: dict[str, Record], game: str, codec: str, peer: str) -> dict[str, float]:
    out = {}
    for name, volume in volumes.items():
        bd = volume["bd"][game].get(codec, {}).get(peer)
        if bd is not None and bd["percent"] is not None:
            out[name] = bd["percent"]
    return out


def summary(volumes: dict[str, Record]) -> Record:
    """Mean, worst and won of each game, over all volumes and (against BEST) by group."""
    out: Record = {"groups": {}}
    for game in GAMES:
        out[game], out["groups"][game] = {}, {}
        ours = {codec for volume in volumes.values() for codec in volume["bd"][game]}
        for codec in sorted(ours):
            rows = [volume["bd"][game].get(codec, {}) for volume in volumes.values()]
            found = {
                peer: _found(volumes, game, codec, peer)
                for peer in sorted({peer for row in rows for peer in row})
            }
            out[game][codec] = {peer: _totals(p) for peer, p in found.items() if p}
            by_group: dict[str, dict[str, float]] = {}
            for name, percent in found.get(BEST, {}).items():
                by_group.setdefault(volumes[name]["group"], {})[name] = percent
            out["groups"][game][codec] = {
                BEST: {group: _totals(percents) for group, percents in sorted(by_group.items())}
            }
    return out

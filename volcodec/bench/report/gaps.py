"""What a study did not measure, in words: absent codecs, refusals, failures, empty fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from volcodec.bench.report.words import (
    BEST,
    GAME_TITLES,
    GAMES,
    OURS,
    bit_rates,
    counted,
    listed,
    of_family,
    title,
    whole,
)

Record = dict[str, Any]

_METRICS = {
    "bpv": "bits per voxel",
    "max": "maximum error",
    "ssim": "SSIM",
    "iou": "IoU of the support",
    "zeros_kept": "the share of zeros kept",
    "mass_error": "the error of the mass",
    "encode_s": "seconds to encode",
    "decode_s": "seconds to decode",
}
_NAMED = 6  # as many volumes are named where something is not there


def by_reason(reasons: Record) -> list[str]:
    """'jpeg2k and htj2k: takes integers only', one line a reason."""
    codecs: dict[str, list[str]] = {}
    for codec, reason in reasons.items():
        codecs.setdefault(str(reason or "no reason recorded"), []).append(codec)
    return [f"{listed(names)}: {reason}" for reason, names in codecs.items()]


def unreadable(results: Record) -> list[tuple[str, str]]:
    """The files that are no volumes or are damaged, and why."""
    found = (results.get("unread") or {}).items()
    return [(str(file), str(reason or "no reason recorded")) for file, reason in found]


def not_measured(results: Record) -> list[str]:
    """Every kind of figure that the report would have room for and lacks, a sentence each."""
    volumes = results.get("volumes") or {}
    unread = [f"{file} could not be read: {reason}" for file, reason in unreadable(results)]
    if not volumes:
        return ["No volume was measured.", *unread]
    return [
        *unread,
        *_uncompared(results),
        *_silent(results),
        *_metrics(volumes),
        *_pictures(volumes),
        *_lossless(volumes),
        *([] if results.get("throughput") else ["Throughput was not measured."]),
    ]


def _names(found: list[str], everything: int) -> str:
    if len(found) == everything and everything > 1:
        return f"any of the {everything} volumes"
    more = f" and {len(found) - _NAMED} more"
    return ", ".join(found[:_NAMED]) + more if len(found) > _NAMED else listed(found)


def _uncompared(results: Record) -> Iterator[str]:
    volumes = results["volumes"]
    for codec in of_family(results, OURS):
        for game in GAMES:
            compared = bit_rates(results, game, codec, BEST)
            missing = [name for name in volumes if name not in compared]
            if missing:
                yield (
                    f"{codec} could not be compared at {GAME_TITLES[game]} on "
                    f"{_names(missing, len(volumes))}: no peer, or too little of the curves "
                    "overlaps."
                )


def _silent(results: Record) -> Iterator[str]:
    """Codecs that are there, yet have neither points nor a reason on some volume."""
    volumes = results["volumes"]
    for codec, record in (results.get("codecs") or {}).items():
        if record.get("missing"):
            continue
        silent = [
            name
            for name, volume in volumes.items()
            if not (volume.get("points") or {}).get(codec)
            and codec not in (volume.get("refused") or {})
            and codec not in (volume.get("failed") or {})
        ]
        if silent:
            yield (
                f"{title(results, codec)} has no points on {_names(silent, len(volumes))}, "
                "and no reason is recorded."
            )


def _metrics(volumes: Record) -> Iterator[str]:
    points = [
        point
        for volume in volumes.values()
        for found in (volume.get("points") or {}).values()
        for point in found or ()
    ]
    if not points:
        yield "No point of any curve was measured."
        return
    for key, name in _METRICS.items():
        there = sum(point.get(key) is not None for point in points)
        if not there:
            yield f"{name[0].upper()}{name[1:]}: measured at no point."
        elif there < len(points):
            yield (
                f"{name[0].upper()}{name[1:]}: there at {whole(there)} of "
                f"{counted(len(points), 'point')}."
            )


def _pictures(volumes: Record) -> Iterator[str]:
    missing = [name for name, volume in volumes.items() if not volume.get("slices")]
    if missing:
        yield f"No slices were drawn of {_names(missing, len(volumes))}."


def _lossless(volumes: Record) -> Iterator[str]:
    missing = [name for name, volume in volumes.items() if not volume.get("lossless")]
    if missing:
        yield f"Lossless sizes were not measured on {_names(missing, len(volumes))}."

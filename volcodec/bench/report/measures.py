"""The tables beside the two games: lossless sizes, support and mass, throughput, absences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from volcodec.bench.report.cells import Cell, Column, Row, Table
from volcodec.bench.report.words import (
    FAMILIES,
    LOSSY,
    OURS,
    Record,
    decibels,
    number,
    of_family,
    seconds,
    share,
    title,
    whole,
)

_ASKED = 1e-3  # the maximum error, share of the range, at which support and mass are shown


def lossless(results: Record) -> Table | None:
    """Bytes and ratio of the codecs that keep every bit, the smallest of each volume marked."""
    every = results.get("volumes") or {}
    used = {codec for volume in every.values() for codec in volume.get("lossless") or {}}
    codecs = [name for name in results.get("codecs") or {} if name in used]
    codecs += sorted(used - set(codecs))
    if not codecs:
        return None
    columns = [Column("Volume", numeric=False), Column("Raw")]
    columns += [Column(title(results, codec)) for codec in codecs]
    rows = []
    ratios: dict[str, list[float]] = {codec: [] for codec in codecs}
    smallest = dict.fromkeys(codecs, 0)
    for name, volume in every.items():
        sizes, raw = volume.get("lossless") or {}, volume.get("raw_bytes")
        least = min((size for size in sizes.values() if size is not None), default=None)
        cells = [Cell(name, name), Cell(whole(raw), raw)]
        for codec in codecs:
            size = sizes.get(codec)
            if size is None:
                cells.append(Cell("\N{EN DASH}", None, "none", _why_not(volume, codec)))
                continue
            note = f"{raw / size:.2f} : 1" if raw and size else ""
            if raw and size:
                ratios[codec].append(raw / size)
            smallest[codec] += size == least
            first = size == least
            cells.append(Cell(whole(size), size, "first" if first else "", note))
            cells[-1].note += ", smallest" if first else ""
        rows.append(Row(cells))
    foot = [Cell("Mean ratio", note="geometric"), Cell("")]
    for codec in codecs:
        found = ratios[codec]
        text = f"{statistics.geometric_mean(found):.2f} : 1" if found else "\N{EN DASH}"
        foot.append(Cell(text, note=f"{len(found)} volumes, smallest on {smallest[codec]}"))
    caption = "Lossless: bytes of the whole file"
    return Table("lossless", caption, columns, rows, foot=[Row(foot, "total")])


def _why_not(volume: Record, codec: str) -> str:
    found = [kind for kind in ("refused", "failed") if codec in (volume.get(kind) or {})]
    return found[0] if found else "not measured"


def throughput(results: Record) -> Table | None:
    """Megabytes a second, start-up and memory, as they were measured."""
    measured = results.get("throughput") or []
    if not measured:
        return None
    columns = [Column("Codec", numeric=False), Column("Volume", numeric=False)]
    columns += [Column(name) for name in ("Threads", "Asked", "Encode", "Decode")]
    columns += [
        Column(name)
        for name in ("Ratio", "Start\N{NON-BREAKING HYPHEN}up", "Peak memory", "Repeats")
    ]
    columns.append(Column("Data on", numeric=False))
    rows = []
    for row in measured:
        raw, size = row.get("raw_mb"), row.get("bytes")
        ratio = raw * 1e6 / size if raw and size else None
        codec = str(row.get("codec"))
        cells = [
            Cell(title(results, codec), title(results, codec)),
            Cell(str(row.get("volume")), row.get("volume"), note=_unit(raw, " MB")),
            Cell(number(row.get("threads")), row.get("threads")),
            Cell(asked(row.get("target"), row.get("asked")), row.get("asked")),
            Cell(_unit(row.get("encode_mb_s"), " MB/s"), row.get("encode_mb_s")),
            Cell(_unit(row.get("decode_mb_s"), " MB/s"), row.get("decode_mb_s")),
            Cell(f"{ratio:.1f} : 1" if ratio else "\N{EN DASH}", ratio),
            Cell(seconds(row.get("startup_s")), row.get("startup_s")),
            Cell(_unit(row.get("peak_mb"), " MB"), row.get("peak_mb")),
            Cell(number(row.get("repeats")), row.get("repeats")),
            Cell(str(row.get("residence") or "\N{EN DASH}"), row.get("residence")),
        ]
        rows.append(Row(cells))
    return Table("throughput", "Throughput: median of the repeats", columns, rows)


def _unit(value: float | None, unit: str) -> str:
    return number(value) + (unit if value is not None else "")


def asked(target: str | None, value: float | None) -> str:
    """What a codec was asked for, in words."""
    if target == "lossless":
        return "lossless"
    if value is None:
        return str(target or "\N{EN DASH}")
    if target == "psnr":
        return f"PSNR {number(value)} dB"
    if target == "max_error":
        return f"error \N{LESS-THAN OR EQUAL TO} {number(value)} of range"
    return f"{target or 'setting'} {number(value)}"


def missing(results: Record) -> Table | None:
    """The codecs that are not here, and why; all codecs with what they left out otherwise."""
    codecs = results.get("codecs") or {}
    if not codecs:
        return None
    columns = [Column("Codec", numeric=False), Column("Family", numeric=False)]
    columns += [Column("Volumes"), Column("What is not there, and why", numeric=False)]
    every = results.get("volumes") or {}
    rows = []
    for name, codec in codecs.items():
        there = sum(bool((v.get("points") or {}).get(name)) for v in every.values())
        reason = codec.get("missing")
        parts = [f"not installed: {reason}"] if reason else _absences(name, every)
        family = str(codec.get("family") or "")
        cells = [
            Cell(title(results, name), title(results, name)),
            Cell(FAMILIES.get(family, family), family),
            Cell(f"{there} of {len(every)}", there),
            Cell("; ".join(parts) or "nothing", len(parts), "prose" if parts else "quiet"),
        ]
        rows.append(Row(cells, "absent" if reason else ""))
    return Table("missing", "All codecs, and what is missing of them", columns, rows)


def _absences(codec: str, every: Record) -> list[str]:
    out = []
    for kind in ("failed", "refused"):
        where: dict[str, list[str]] = {}
        for name, volume in every.items():
            if codec in (volume.get(kind) or {}):
                where.setdefault(str(volume[kind][codec] or "no reason recorded"), []).append(name)
        for reason, names in where.items():
            on = ", ".join(names) if len(names) <= 4 else f"{len(names)} volumes"
            out.append(f"{kind} on {on}: {reason}")
    return out


def _comparable(points: list[Record], bound: float, rate: float | None) -> Record | None:
    """Of a codec's points the one asked for that bound; without bounds the one nearest in rate."""
    bounded = [p for p in points if p.get("target") == "max_error" and p.get("asked")]
    if bounded:
        return min(bounded, key=lambda p: abs(math.log(p["asked"] / bound)))
    others = [p for p in points if p.get("target") != "lossless" and p.get("bpv")]
    if not others or not rate:
        return None
    return min(others, key=lambda p: abs(math.log(p["bpv"] / rate)))


def comparable(results: Record) -> dict[str, dict[str, Record]]:
    """Volume -> lossy codec -> the point at which support and mass are compared."""
    out: dict[str, dict[str, Record]] = {}
    lossy = of_family(results, OURS, *LOSSY)
    for name, volume in (results.get("volumes") or {}).items():
        curves = volume.get("points") or {}
        first: list[Record] = next((curves[codec] for codec in lossy if curves.get(codec)), [])
        reference = _comparable(first, _ASKED, None) or {}
        bound, rate = reference.get("asked") or _ASKED, reference.get("bpv")
        found = {c: _comparable(curves[c], bound, rate) for c in lossy if curves.get(c)}
        out[name] = {codec: point for codec, point in found.items() if point is not None}
    return out


def support(results: Record) -> tuple[Table, Table] | None:
    """Support and mass: a row a codec over all volumes, and a row a codec and volume."""
    chosen = comparable(results)
    rows = []
    for name, codecs in chosen.items():
        for codec, point in codecs.items():
            cells = [
                Cell(name, name),
                Cell(title(results, codec), title(results, codec)),
                Cell(asked(point.get("target"), point.get("asked")), point.get("asked")),
            ]
            for key, text in _SUPPORT_FIELDS:
                value = decibels(point) if key == "psnr" else point.get(key)
                cells.append(Cell(text(value), value))
            rows.append(Row(cells))
    if not rows:
        return None
    heads = [Column("Volume", numeric=False), Column("Codec", numeric=False), Column("Asked")]
    heads += [Column(text) for text in ("Bits per voxel", "Max. error / range", "PSNR, dB")]
    heads += [Column(text) for text in ("SSIM", "IoU", "Zeros kept", "Mass error")]
    return _support_by_codec(results, chosen), Table("support-all", "Every volume", heads, rows)


_SUPPORT_FIELDS: tuple[tuple[str, Callable[[float | None], str]], ...] = (
    ("bpv", number),
    ("max", number),
    ("psnr", number),
    ("ssim", lambda value: number(value, 4)),
    ("iou", lambda value: number(value, 4)),
    ("zeros_kept", share),
    ("mass_error", number),
)


def _support_by_codec(results: Record, chosen: dict[str, dict[str, Record]]) -> Table:
    columns = [Column("Codec", numeric=False)]
    columns += [
        Column("Mean", group="IoU of the support"),
        Column("Worst", group="IoU of the support"),
    ]
    columns += [Column("Mean", group="Zeros kept"), Column("Worst", group="Zeros kept")]
    columns += [Column("Median", group="Mass error"), Column("Worst", group="Mass error")]
    rows = []
    for codec in of_family(results, OURS, *LOSSY):
        points = {name: found[codec] for name, found in chosen.items() if codec in found}
        if not points:
            continue
        cells = [Cell(title(results, codec), title(results, codec))]
        cells[0].note = f"{len(points)} of {len(chosen)} volumes"
        cells += _mean_and_worst(points, "iou", lambda value: number(value, 4))
        cells += _mean_and_worst(points, "zeros_kept", share)
        cells += _mean_and_worst(points, "mass_error", number, errors=True)
        rows.append(Row(cells))
    caption = "Support and mass at comparable points"
    return Table("support", caption, columns, rows)


def _mean_and_worst(
    points: dict[str, Record], key: str, text: Callable[[float | None], str], errors: bool = False
) -> list[Cell]:
    """Mean (of errors the median) and worst over the volumes where the figure is there."""
    found = {name: point[key] for name, point in points.items() if point.get(key) is not None}
    if not found:
        return [Cell("\N{EN DASH}", None, "none", "not measured") for _ in range(2)]
    if errors:
        size = {name: abs(value) for name, value in found.items()}
        worst = max(size, key=lambda name: size[name])
        middle = statistics.median(size.values())
    else:
        worst = min(found, key=lambda name: found[name])
        middle = statistics.fmean(found.values())
    note = "" if len(found) == len(points) else f"of {len(found)}"
    return [
        Cell(text(middle), middle, note=note),
        Cell(text(found[worst]), found[worst], note=worst),
    ]

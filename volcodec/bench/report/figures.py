"""The figures of the report: rate curves and speeds, drawn by plotly.

A figure is given as JSON for plotly.js and as the entries of the legend that the page shows above
it. Colours are those of the light page: `meta` of a trace says which colour of the page's palette
it has (`series`), so that the page can repaint it, and to which entry it belongs (`key`).
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass
from typing import Any

from volcodec.bench.report.measures import asked
from volcodec.bench.report.words import LOSSY, OURS, Record, decibels, number, of_family, title

# The palette of report.css, light page (--s0 and so on).
COLOURS = (
    "#1257b8", "#b3470b", "#0b7a6b", "#7a45b5", "#8a6a00", "#b0246a",
    "#4a7a1c", "#536170", "#8b4a3a", "#1f7f9c",
)  # fmt: skip
# What plotly calls a sign, and the character that stands for it in a legend.
_SYMBOLS = (
    ("circle", "\u25cf"), ("square", "\u25a0"), ("diamond", "\u25c6"), ("triangle-up", "\u25b2"),
    ("cross", "\u271a"), ("x", "\u2716"), ("triangle-down", "\u25bc"), ("star", "\u2605"),
    ("pentagon", "\u2b1f"), ("hexagram", "\u2736"),
)  # fmt: skip
_PSNR_COUNTED = (35.0, 65.0)  # dB
_ERROR_COUNTED = (1e-4, 1e-2)
# What is shown at first: the part that games count and some around it.
_PSNR_SHOWN = (20.0, 85.0)
_ERROR_SHOWN = (1e-6, 1e-1)
# What a codec was asked for decides which of its points make the line; the others stand alone.
_PSNR_LINE = ("psnr", "max_error", "quality")
_ERROR_LINE = ("max_error", "quality", "psnr")

Figure = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """An entry of a legend: what it is called, its colour, its sign; `hatched` for speeds."""

    key: int
    text: str
    series: int
    sign: str
    hatched: bool = False


@dataclass(frozen=True)
class _Point:
    """A point where it is drawn; a height of infinity means that nothing was lost."""

    codec: str
    record: Record
    rate: float
    height: float


def series(results: Record) -> dict[str, int]:
    """Codec -> number of its colour and sign, the same in every figure; ours come first."""
    codecs = results.get("codecs") or {}
    used = {c for v in (results.get("volumes") or {}).values() for c in v.get("points") or {}}
    order = [*of_family(results, OURS), *of_family(results, *LOSSY)]
    order += [name for name in codecs if name not in order]
    order += sorted(used - set(order))
    return {name: index for index, name in enumerate(order)}


def _colour(index: int) -> int:
    """The colour of a codec; the first, which is ours, comes once only."""
    return index if index < len(COLOURS) else 1 + (index - 1) % (len(COLOURS) - 1)


def _sign(index: int) -> tuple[str, str]:
    """Its sign: another one where the colour has been had."""
    return _SYMBOLS[(index + 4 * (index // len(COLOURS))) % len(_SYMBOLS)]


def legend(volume: Record, results: Record, numbers: dict[str, int]) -> list[Key]:
    """The codecs that have points on a volume."""
    there = [codec for codec, points in (volume.get("points") or {}).items() if points]
    return [
        Key(i, title(results, codec), _colour(i), _sign(i)[1])
        for i, codec in sorted((numbers[codec], codec) for codec in there)
    ]


def psnr_figure(volume: Record, results: Record, numbers: dict[str, int]) -> str | None:
    """PSNR in dB over bits per voxel; what lost nothing is in a strip of its own at the top."""
    return _rates(volume, results, numbers, error=False)


def error_figure(volume: Record, results: Record, numbers: dict[str, int]) -> str | None:
    """Maximum error over bits per voxel, both logarithmic: ours as asked for, peers' as it was."""
    return _rates(volume, results, numbers, error=True)


def _height(point: Record, error: bool, ours: bool) -> float | None:
    """Where a point lies: infinity for nothing lost, None for what was not measured."""
    if not error:
        return decibels(point)
    if point.get("target") == "lossless" or point.get("max") == 0:
        return math.inf
    promised = point.get("asked") if ours and point.get("target") == "max_error" else None
    value = promised or point.get("max")
    return float(value) if value and value > 0 else None


def _rates(volume: Record, results: Record, numbers: dict[str, int], error: bool) -> str | None:
    import plotly.graph_objects as go

    own = set(of_family(results, OURS))
    drawn: list[_Point] = []
    traces: list[Figure] = []
    for codec in sorted(volume.get("points") or {}, key=lambda c: numbers[c]):
        points = []
        for record in volume["points"][codec] or ():
            height = _height(record, error, codec in own)
            if record.get("bpv") and height is not None:
                points.append(_Point(codec, record, record["bpv"], height))
        points.sort(key=lambda point: point.rate)
        traces += _traces(points, results, numbers[codec], error, codec in own)
        drawn += points
    if not drawn:
        return None
    figure = go.Figure([go.Scatter(**trace) for trace in traces])
    figure.update_layout(**_layout(drawn, error))
    return as_json(figure)


def _traces(
    points: list[_Point], results: Record, index: int, error: bool, ours: bool
) -> list[Figure]:
    """The line of a codec, its points beside the line, and those in the strip of nothing lost."""
    finite = [point for point in points if math.isfinite(point.height)]
    targets = {point.record.get("target") for point in finite}
    line = next((t for t in (_ERROR_LINE if error else _PSNR_LINE) if t in targets), None)
    on_line = [point for point in finite if point.record.get("target") == line]
    beside = [point for point in finite if point.record.get("target") != line]
    kept = [point for point in points if math.isinf(point.height)]
    colour = COLOURS[_colour(index)]
    symbol = _sign(index)[0]
    out = []
    for kind, chosen in (("line", on_line), ("beside", beside), ("kept", kept)):
        if not chosen:
            continue
        name = html.escape(title(results, chosen[0].codec))
        trace: Figure = {
            "x": [point.rate for point in chosen],
            "y": [point.height for point in chosen],
            "text": [_hover(point.record) for point in chosen],
            "hovertemplate": f"<b>{name}</b><br>%{{text}}<extra></extra>",
            "name": name,
            "mode": "lines+markers" if kind == "line" else "markers",
            "meta": {"series": _colour(index), "key": index},
            "marker": {
                "symbol": f"{symbol}-open" if kind == "beside" else symbol,
                "size": (8 if ours else 7) if kind != "beside" else 6,
                "color": colour,
            },
        }
        if kind == "line":
            dash = "solid" if index < len(COLOURS) else "dash"
            trace["line"] = {"color": colour, "width": 2.6 if ours else 1.4, "dash": dash}
        elif kind == "beside":
            trace["opacity"] = 0.75
        else:  # three heights, so that codecs of one rate do not cover each other
            trace.update(yaxis="y2", y=[index % 3 - 1] * len(chosen))
        out.append(trace)
    return out


def _hover(point: Record) -> str:
    value, error = decibels(point), point.get("max")
    lines = [f"{number(point.get('bpv'))} bits per voxel"]
    if value is not None:
        lines.append("PSNR infinite" if math.isinf(value) else f"PSNR {number(value)} dB")
    if error is not None:
        lines.append("no error" if error == 0 else f"max. error {number(error)} of range")
    lines.append(f"asked: {asked(point.get('target'), point.get('asked'))}")
    if point.get("ssim") is not None:
        lines.append(f"SSIM {number(point['ssim'], 4)}")
    return "<br>".join(html.escape(line) for line in lines)


def _layout(drawn: list[_Point], error: bool) -> Figure:
    counted, (least, most) = (
        (_ERROR_COUNTED, _ERROR_SHOWN) if error else (_PSNR_COUNTED, _PSNR_SHOWN)
    )
    heights = [point.height for point in drawn if math.isfinite(point.height)]
    shown = [height for height in heights if least <= height <= most] or heights
    low, high = min([*shown, counted[0]]), max([*shown, counted[1]])
    strip = len(heights) < len(drawn)
    rates = [p.rate for p in drawn if math.isinf(p.height) or low <= p.height <= high]
    band: Figure = {
        "type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": counted[0], "y1": counted[1],
        "layer": "below", "line": {"width": 0}, "fillcolor": "rgba(128,128,128,0.10)",
    }  # fmt: skip
    note: Figure = {
        "text": "counted", "xref": "paper", "x": 0.005, "xanchor": "left", "yanchor": "top",
        "y": math.log10(counted[0]) if error else counted[1], "showarrow": False,
        "font": {"size": 11},
    }  # fmt: skip
    if error:  # better is higher in both figures
        axis: Figure = {"type": "log", "exponentformat": "power", "dtick": 1}
        axis["title"] = {"text": "maximum error / range", "standoff": 4}
        limits = [math.log10(high) + 0.15, math.log10(low) - 0.15]
    else:
        axis = {"title": {"text": "PSNR, dB", "standoff": 4}}
        limits = [low - 2, high + 2]
    layout: Figure = {
        "xaxis": {
            "type": "log",
            "title": {"text": "bits per voxel", "standoff": 4},
            "range": [math.log10(min(rates)) - 0.1, math.log10(max(rates)) + 0.1],
            "dtick": "D2",
        },
        "yaxis": {**axis, "range": limits, "domain": [0, 0.88 if strip else 1]},
        "shapes": [band],
        "annotations": [note],
        "margin": {"l": 56, "r": 8, "t": 8, "b": 44},
        "showlegend": False,
        "hovermode": "closest",
        "height": 360,
    }
    if strip:
        layout["yaxis2"] = {
            "domain": [0.91, 1], "range": [-2, 2], "fixedrange": True, "tickvals": [0],
            "ticktext": ["no loss"], "showgrid": False,
        }  # fmt: skip
    return layout


def speed_figures(results: Record) -> list[tuple[str, list[Key], str]]:
    """Bars of MB/s, one figure a volume: (volume, legend, figure)."""
    volumes: dict[str, list[Record]] = {}
    for row in results.get("throughput") or []:
        volumes.setdefault(str(row.get("volume")), []).append(row)
    return [(volume, *_speeds(rows)) for volume, rows in volumes.items()]


def _speeds(rows: list[Record]) -> tuple[list[Key], str]:
    import plotly.graph_objects as go

    def bar(row: Record) -> str:
        what = asked(row.get("target"), row.get("asked"))
        return f"<b>{html.escape(str(row.get('codec')))}</b><br>{html.escape(what)}"

    bars = list(dict.fromkeys(bar(row) for row in rows))
    ways = list(dict.fromkeys((row.get("threads"), row.get("residence")) for row in rows))
    keys: list[Key] = []
    figure = go.Figure()
    for way in ways:
        mine = [row for row in rows if (row.get("threads"), row.get("residence")) == way]
        for field, verb, colour in (("encode_mb_s", "encode", 0), ("decode_mb_s", "decode", 2)):
            text = f"{verb}, {number(way[0])} thread{'' if way[0] == 1 else 's'}"
            text += f", data on the {way[1]}" if way[1] not in (None, "host") else ""
            keys.append(Key(len(keys), text, colour, "\u25a0", hatched=way != ways[0]))
            of = {bar(row): row.get(field) for row in mine}
            values = [of.get(name) for name in bars]
            figure.add_bar(
                orientation="h",
                y=bars,
                x=values,
                text=["" if value is None else number(value) for value in values],
                textposition="outside",
                cliponaxis=False,
                name=html.escape(text),
                hovertemplate=f"<b>%{{y}}</b><br>{verb}: %{{text}} MB/s<extra></extra>",
                marker={
                    "color": COLOURS[colour],
                    "pattern": {"shape": "/" if way != ways[0] else "", "fillmode": "replace"},
                },
                meta={"series": colour, "key": keys[-1].key},
            )
    figure.update_layout(
        barmode="group",
        height=70 + len(bars) * (20 + 14 * max(2, len(keys))),
        margin={"l": 8, "r": 44, "t": 6, "b": 44},
        xaxis={"title": {"text": "MB/s, more is faster", "standoff": 4}, "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
        bargap=0.25,
    )
    return keys, as_json(figure)


def as_json(figure: Any) -> str:
    """A figure for a script element: no `<`, and not the template that plotly adds."""
    content = figure.to_dict()
    content["layout"].pop("template", None)
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028")

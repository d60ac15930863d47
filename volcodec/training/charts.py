"""Curves and histograms as SVG for the page of a run; a script there reads values off them."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 20
_INNER_X, _INNER_Y = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_MOST_POINTS = 400
_COLOURS = 6


@dataclass
class Line:
    """A curve: its name and points (x, y), x ascending; what is not finite is left out."""

    name: str
    points: list[tuple[float, float]]

    def thinned(self) -> list[tuple[float, float]]:
        """At most some hundred of the finite points, the last one kept."""
        good = [(x, y) for x, y in self.points if y is not None and math.isfinite(y)]
        step = max(1, math.ceil(len(good) / _MOST_POINTS))
        return good[::step] + ([good[-1]] if good and (len(good) - 1) % step else [])


def chart(title: str, lines: Sequence[Line], log: bool = True, about: str = "") -> str:
    """A figure of curves over steps; empty where there is no point. ``log``: of the values."""
    drawn = [(line.name, line.thinned()) for line in lines]
    if log and any(y > 0 for _, points in drawn for _, y in points):
        drawn = [(name, [(x, y) for x, y in points if y > 0]) for name, points in drawn]
    else:
        log = False
    drawn = [(name, points) for name, points in drawn if points]
    if not drawn:
        return ""
    xs = [x for _, points in drawn for x, _ in points]
    ys = [math.log10(y) if log else y for _, points in drawn for _, y in points]
    x0, x1 = min(xs), max(max(xs), min(xs) + 1)
    y0, y1 = _range(min(ys), max(ys), 0.1 if log else 0.0)
    if not log and min(ys) >= 0:
        y0 = max(y0, 0.0)

    def at(x: float, y: float) -> str:
        value = math.log10(y) if log else y
        left = _LEFT + (x - x0) / (x1 - x0) * _INNER_X
        return f"{left:.1f},{_TOP + (y1 - value) / (y1 - y0) * _INNER_Y:.1f}"

    parts = []
    for value in _ticks(y0, y1):
        y = _TOP + (y1 - value) / (y1 - y0) * _INNER_Y
        text = _short(10**value if log else value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/><text x="{_LEFT - 5}" y="{y + 3:.1f}" '
                     f'text-anchor="end">{text}</text>')  # fmt: skip
    for x, anchor in ((x0, "start"), (x1, "end")):
        left = _LEFT + (x - x0) / (x1 - x0) * _INNER_X
        parts.append(f'<text x="{left:.0f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{x:g}</text>')
    for i, (_, points) in enumerate(drawn):
        path = " ".join(at(x, y) for x, y in points)
        parts.append(
            f'<polyline class="line" style="stroke:var(--s{i % _COLOURS})" points="{path}"/>'
        )
    parts.append(f'<line class="cursor" visibility="hidden" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
    data = {
        "width": WIDTH, "left": _LEFT, "inner": _INNER_X, "x0": x0, "x1": x1,
        "lines": [
            {"name": name, "x": [x for x, _ in points], "y": [float(f"{y:.5g}") for _, y in points]}
            for name, points in drawn
        ],
    }  # fmt: skip
    return _figure(title, about, parts, [name for name, _ in drawn], json.dumps(data))


def histogram(title: str, reach: float, counts: Sequence[int]) -> str:
    """A figure of counts over -reach..reach, heights as roots so that tails are seen."""
    top = math.sqrt(max([*counts, 1]))
    each = _INNER_X / max(len(counts), 1)
    parts = [
        f'<rect style="fill:var(--s0)" x="{_LEFT + i * each:.1f}" width="{max(each - 1, 0.5):.1f}" '
        f'y="{_TOP + _INNER_Y * (1 - math.sqrt(c) / top):.1f}" '
        f'height="{_INNER_Y * math.sqrt(c) / top:.1f}"/>'
        for i, c in enumerate(counts)
    ]
    for value, place, anchor in ((-reach, 0.0, "start"), (0.0, 0.5, "middle"), (reach, 1, "end")):
        left = _LEFT + place * _INNER_X
        parts.append(
            f'<text x="{left:.0f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{_short(value)}</text>'
        )
    return _figure(title, f"{sum(counts):,} values, heights as roots", parts, [], "")


def _figure(title: str, about: str, parts: list[str], names: list[str], data: str) -> str:
    attribute = f' data-chart="{html.escape(data)}"' if data else ""
    key = "".join(
        f'<span><i style="border-color:var(--s{i % _COLOURS})"></i>{html.escape(name)}</span>'
        for i, name in enumerate(names)
    )
    label = html.escape(f"{title}: {', '.join(names)}" if names else title)
    return (
        f"<figure{attribute}><strong>{html.escape(title)}</strong>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
        + (f'<div class="key">{key}</div>' if key else "")
        + (f"<figcaption>{html.escape(about)}</figcaption>" if about else "")
        + ('<div class="read" aria-live="polite"></div>' if data else "")
        + "</figure>"
    )


def _range(low: float, high: float, least: float) -> tuple[float, float]:
    """Ends of an axis somewhat beyond the values, and apart by ``least``."""
    pad = max(0.06 * (high - low), (least - high + low) / 2)
    pad = pad if high > low or pad > 0 else max(abs(high) * 0.1, 0.1)
    return low - pad, high + pad


def _ticks(low: float, high: float) -> list[float]:
    """A few round places between two values."""
    raw = (high - low) / 4
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    text = f"{value:.3g}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
    if 0 < abs(value) < 0.01 and "e" not in text:
        text = f"{value:.1e}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "\N{MINUS SIGN}")

"""What the template of the page is given, part by part."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from volcodec.bench.report import figures, gaps, measures, pictures, tables, words
from volcodec.bench.report.cells import Cell, bits
from volcodec.bench.report.words import Record

_HERE = Path(__file__).parent
_RUNS: dict[Any, str] = {True: "quick: few points a curve", False: "full"}
_PICTURES = ("original", "ours", "ours_error", "peer", "peer_error")


def render(folder: Path, results: Record) -> str:
    """The whole page as HTML; pictures are read from `folder`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["soft"] = lambda text: Markup(str(escape(text)).replace("_", "_<wbr>"))
    numbers = figures.series(results)
    every = results.get("volumes") or {}
    anchors = {name: f"volume-{i}" for i, name in enumerate(every, 1)}
    support = measures.support(results)
    return environment.get_template("report.html.j2").render(
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "report.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        finding=words.finding(results),
        caveats=words.caveats(results),
        essentials=essentials(results),
        conditions=list(_flat(results.get("conditions") or {})),
        summary=tables.summary(results),
        outside=words.outside(results),
        has_native=len(tables.variants(results)) > len(words.GAMES),
        pairs=tables.pairs(results),
        volumes=tables.volumes(results, anchors),
        groups=tables.groups(results),
        details=[_detail(name, anchors[name], folder, results, numbers) for name in every],
        error_colours=pictures.error_colours(),
        nan_colour=pictures.nan_colour(),
        lossless=measures.lossless(results),
        support=support,
        speeds=[(name, keys, Markup(data)) for name, keys, data in figures.speed_figures(results)],
        throughput=measures.throughput(results),
        missing=measures.missing(results),
        gaps=gaps.not_measured(results),
    )


def essentials(results: Record) -> list[tuple[str, str]]:
    """The conditions a reader has to know before any figure: (name, value)."""
    told = results.get("conditions") or {}
    unknown = "not recorded"
    volumes = results.get("volumes") or {}
    peers = words.of_family(results, *words.LOSSY, "lossless")
    here = [p for p in peers if not results["codecs"][p].get("missing")]
    absent = [p for p in peers if p not in here]
    compared = "; ".join(words.title(results, p) for p in here) or "none"
    if absent:
        compared += f". Not installed: {'; '.join(words.title(results, p) for p in absent)}"
    cores = told.get("cores")
    cpu = str(told.get("cpu") or unknown) + (f", {words.counted(cores, 'core')}" if cores else "")
    jobs = told.get("jobs")
    commit = str(told.get("commit") or "")
    version = str(told.get("volcodec") or unknown)
    models = [
        f"{m.get('name')} ({words.whole(m.get('bytes'))} bytes, {str(m.get('identity'))[:12]})"
        for m in told.get("models") or []
    ]
    if commit:
        version += f", commit {commit.rstrip('+')}"
        version += " with changes" if commit.endswith("+") else ""
    return [
        ("Command", str(told.get("command") or unknown)),
        ("Peers", compared),
        ("volcodec", version),
        ("Model", ", ".join(models) or unknown),
        ("Processor", cpu),
        ("GPU", str(told.get("gpu") or ("none used" if "gpu" in told else unknown))),
        ("Device", str(told.get("device") or unknown)),
        ("Volumes", words.whole(len(volumes))),
        ("At a time", words.counted(jobs, "job") if jobs else unknown),
        ("Support", str(told.get("support") or unknown)),
        ("Effort", str(told.get("effort") or unknown)),
        ("Run", _RUNS.get(told.get("quick"), unknown)),
    ]


def _flat(record: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Everything in a record, (path of the name, value)."""
    if isinstance(record, dict):
        items = list(record.items())
    elif isinstance(record, list):
        items = [(str(i), value) for i, value in enumerate(record, 1)]
    else:
        yield name, "none" if record is None else str(record)
        return
    for key, value in items:
        yield from _flat(value, f"{name} {key}".strip())


def _detail(
    name: str, anchor: str, folder: Path, results: Record, numbers: dict[str, int]
) -> Record:
    """One volume: facts, its outcome in both games, curves, slices, every peer."""
    from markupsafe import Markup

    volume = results["volumes"][name]
    ours = words.of_family(results, words.OURS)
    outcome = []
    for game in words.GAMES:
        row = ((volume.get("bd") or {}).get(game) or {}).get(ours[0] if ours else "") or {}
        found = (row.get(words.BEST) or {}).get("percent")
        outcome.append((words.GAME_TITLES[game], bits(found)))
    curves = [
        (kind, title, Markup(data))
        for kind, title, data in (
            ("psnr", "PSNR over rate", figures.psnr_figure(volume, results, numbers)),
            ("error", "Maximum error over rate", figures.error_figure(volume, results, numbers)),
        )
        if data is not None
    ]
    about = (volume.get("group"), volume.get("dtype"), words.shape(volume.get("shape")))
    return {
        "name": name,
        "anchor": anchor,
        "about": ", ".join(dict.fromkeys(str(part) for part in about if part)),
        "facts": _facts(volume),
        "outcome": outcome,
        "curves": curves,
        "legend": figures.legend(volume, results, numbers),
        "left_out": [
            (kind, line)
            for kind in ("failed", "refused")
            for line in gaps.by_reason(volume.get(kind) or {})
        ],
        "each": tables.against_each(name, f"{anchor}-each", results),
        "slices": _slices(name, volume.get("slices"), folder, results),
    }


def _facts(volume: Record) -> list[tuple[str, str]]:
    raw, span = volume.get("raw_bytes"), volume.get("range")
    return [
        ("Size", words.shape(volume.get("shape"))),
        ("Type", str(volume.get("dtype") or words.NOT_MEASURED)),
        ("Raw", f"{words.whole(raw)} bytes" if raw else words.NOT_MEASURED),
        ("Range", words.number(span, 5)),
        ("Zeros", words.share(volume.get("zeros"))),
        ("Finite", words.share(volume.get("finite"))),
    ]


def _slices(name: str, found: Record | None, folder: Path, results: Record) -> Record | None:
    """The pictures of a volume with what stands under them; None where there are none."""
    if not found:
        return None
    files = found.get("files") or {}
    axis, index = found.get("axis"), found.get("index")
    where = f"{pictures.AXES[axis]} = {index}" if axis in (0, 1, 2) else "one slice"
    shown = []
    for key in _PICTURES:
        side = "peer" if key.startswith("peer") else "ours"
        figures_of = found.get(side) or {}
        name_of = str(figures_of.get("codec") or side)
        if key == "original":
            caption = Cell("Original", note=where)
        elif key.endswith("_error"):
            caption = Cell(f"|error| of {name_of}", note=_under(figures_of, ("max",)))
        else:
            caption = Cell(words.title(results, name_of), note=_under(figures_of, ("bpv", "psnr")))
        if key in files or key == "original" or figures_of:
            alt = f"{name}, {where}: {caption.text}"
            shown.append(
                {"key": key, "caption": caption, "alt": alt, "uri": _uri(folder, files.get(key))}
            )
    scale = found.get("error_scale")
    return {"pictures": shown, "scale": None if scale is None else words.number(scale)}


def _under(found: Record, keys: tuple[str, ...]) -> str:
    """The figures under a picture; a PSNR of null is infinite, as everywhere."""
    parts = []
    for key in keys:
        value = found.get(key)
        if key == "bpv" and value is not None:
            parts.append(f"{words.number(value)} bits per voxel")
        elif key == "psnr" and found:
            psnr = words.decibels(found)
            parts.append("PSNR not measured" if psnr is None else f"PSNR {words.number(psnr)} dB")
        elif key == "max" and value is not None:
            parts.append(f"largest in the volume {words.number(value)} of range")
    return ", ".join(parts) or words.NOT_MEASURED


def _uri(folder: Path, file: str | None) -> str | None:
    """A picture as a data URI, None where there is no such file."""
    if not file:
        return None
    try:
        data = (folder / file).read_bytes()
    except OSError:
        return None
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"

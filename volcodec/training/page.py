"""The page at the end of a run: one HTML file made of its log, in need of nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from ..formats.atomic import atomic_output
from .charts import Line, chart, histogram
from .monitor import LOG, PICTURES, read

NAME = "report.html"
Record = dict[str, Any]
_MEASURES = {
    "total": "Loss that is minimised",
    "bits": "Bits a symbol",
    "bpv": "Rate, bits per voxel",
    "mse": "Mean square error",
    "frobenius": "Frobenius term",
    "segmentation": "Segmentation term",
    "iou": "Support, intersection over union",
}
_SHOWN_EVENTS = 50


def write(folder: Path, title: str) -> Path:
    """Write ``folder / "report.html"`` from the log and the pictures there; returns its path."""
    records = list(read(folder / LOG))
    text = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    page = text.safe_substitute(title=html.escape(title), body=_body(folder, records))
    with atomic_output(folder / NAME, force=True) as file:
        file.write(page.encode())
    return folder / NAME


def _body(folder: Path, records: list[Record]) -> str:
    notes = [r for r in records if r["kind"] == "note"]
    began = next((n for n in notes if n["text"] == "began"), {})
    ended = next((n for n in reversed(notes) if n["text"] == "finished"), {})
    outcomes = {r["stage"]: r for r in ended.get("records", [])}
    parts = [_summary(outcomes, began, ended)]
    for stage in dict.fromkeys(r["stage"] for r in records if "stage" in r):
        own = [r for r in records if r.get("stage") == stage]
        parts.append(_stage(folder, stage, own))
    parts.append(_choices(began))
    return "\n".join(parts)


def _summary(outcomes: Mapping[str, Record], began: Record, ended: Record) -> str:
    rows = []
    for stage, r in outcomes.items():
        skipped = r["skipped_not_finite"] + r["skipped_exploding"]
        rows.append([
            stage, _number(r["untrained"].get("total")), _number(r["validation"].get("total")),
            f"{r['best_step']} of {r['steps']}", str(skipped), str(r["rollbacks"]),
            r.get("said", ""), r["ended"],
        ])  # fmt: skip
    if not rows:
        return '<p class="word">The run has not ended; this is what its log holds so far.</p>'
    head = ["stage", "loss before", "best loss", "at step", "steps left out", "roll-backs",
            "result", "ended"]  # fmt: skip
    told = (
        f"Trained on {len(began.get('training', []))} volumes, validated on "
        f"{', '.join(map(str, began.get('validation', [])))}. The model holds the weights that "
        "were best on the validation volumes."
    )
    left_out = "".join(f"<li>left out: {html.escape(str(why))}</li>" for _, why in ended["skipped"])
    return f'<p class="word">{html.escape(told)}</p>{_table(head, rows)}<ul>{left_out}</ul>'


def _stage(folder: Path, stage: str, records: list[Record]) -> str:
    epochs = [r for r in records if r["kind"] == "epoch"]
    steps = [r for r in records if r["kind"] == "step"]
    events = [r for r in records if r["kind"] == "event"]
    figures = [*_curves(epochs, steps), *_inside(epochs)]
    shown = "".join(figure for figure in figures if figure)
    return (
        f"<section><h2>{html.escape(stage)}</h2>"
        f'<div class="charts">{shown}</div>{_strips(folder, epochs)}{_events(events)}</section>'
    )


def _curves(epochs: list[Record], steps: list[Record]) -> Iterable[str]:
    names = dict.fromkeys(n for r in epochs for n in (*r["validation"], *r["train"]))
    for name in names:
        if name in ("norm", "rate") or "@" in name:
            continue
        own = {"bpv": "rate"}.get(name, name)  # what training calls it
        lines = [
            Line("training", [(r["step"], r["train"].get(own)) for r in epochs if r["train"]]),
            Line("validation", [(r["step"], r["validation"].get(name)) for r in epochs]),
        ]
        lines += [
            Line(
                f"at lambda {n.partition('@')[2]}",
                [(r["step"], r["validation"].get(n)) for r in epochs],
            )
            for n in names
            if n.startswith(f"{name}@")
        ]
        yield chart(_MEASURES.get(name, name), lines, log=name != "iou")
    by_step = dict.fromkeys(n for r in steps for n in r["terms"] if n != "norm")
    lines = [Line(n, [(r["step"], r["terms"].get(n)) for r in steps]) for n in by_step]
    yield chart("Terms, step by step", lines)
    gradients = [Line("all, before clipping", [(r["step"], r["terms"].get("norm")) for r in steps])]
    seen = dict.fromkeys(n for r in steps for n in r.get("seen", {}))

    def looked(name: str) -> list[tuple[float, float]]:
        return [(r["step"], r["seen"].get(name)) for r in steps if "seen" in r]

    gradients += [Line(n[9:], looked(n)) for n in seen if n.startswith("gradient/")]
    yield chart(
        "Norm of the gradient", gradients, about="of each part of the loss, as it is weighted"
    )
    yield chart(
        "Update over weights", [Line(n[7:], looked(n)) for n in seen if n.startswith("update/")],
        about="norm of the last update over that of the weights, and the tensor of the most",
    )  # fmt: skip
    yield chart(
        "Staleness of second moments", [Line("stale", looked("stale"))],
        about="root of the second moments over the gradient: far above 1, steps are too small now "
        "and too large once the old gradients are forgotten",
    )  # fmt: skip
    yield chart(
        "Edge of stability", [Line("edge", looked("edge"))],
        about="curvature as the optimiser sees it: above 1 its steps overshoot and grow",
    )  # fmt: skip
    yield chart("Learning rate", [Line("rate", [(r["step"], r["rate"]) for r in steps])])
    yield chart(
        "Caught", [Line(n, [(r["step"], r[n]) for r in epochs]) for n in ("skipped", "rollbacks")],
        log=False,
    ) if any(r["skipped"] or r["rollbacks"] for r in epochs) else ""  # fmt: skip


def _inside(epochs: list[Record]) -> Iterable[str]:
    dead = dict.fromkeys(n for r in epochs for n in r["dead"])
    lines = [
        Line(f"{n}, of {next(r['dead'][n][1] for r in epochs if n in r['dead'])}",
             [(r["step"], r["dead"][n][0]) for r in epochs if n in r["dead"]])
        for n in dead
    ]  # fmt: skip
    yield chart("Dead channels", lines, log=False)
    last = next((r for r in reversed(epochs) if r["histograms"]), None)
    for name, found in (last["histograms"] if last else {}).items():
        yield histogram(f"Values of {name} at the end", found["reach"], found["counts"])


def _strips(folder: Path, epochs: list[Record]) -> str:
    """The pictures over time, one strip for each kind."""
    out = []
    for kind in dict.fromkeys(n for r in epochs for n in r["pictures"]):
        shots = []
        for r in epochs:
            path = folder / PICTURES / r["pictures"].get(kind, "")
            if kind not in r["pictures"] or not path.is_file():
                continue
            data = base64.b64encode(path.read_bytes()).decode()
            shots.append(
                f'<figure><img alt="{html.escape(kind)} at step {r["step"]}" '
                f'src="data:image/png;base64,{data}"><figcaption>step {r["step"]}</figcaption>'
                "</figure>"
            )
            if kind == "original":
                break
        if shots:
            out.append(
                f"<h3>{html.escape(kind)}</h3>"
                f'<div class="strip" tabindex="0">{"".join(shots)}</div>'
            )
    return "".join(out)


def _events(events: list[Record]) -> str:
    if not events:
        return ""
    rows = [
        [str(r["step"]), r["what"], ", ".join(
            f"{k} {_number(v) if not isinstance(v, str) else v}"
            for k, v in r.items() if k not in ("kind", "stage", "step", "what")
        )]
        for r in events[:_SHOWN_EVENTS]
    ]  # fmt: skip
    more = len(events) - _SHOWN_EVENTS
    tail = f"<p>and {more} more, in log.jsonl</p>" if more > 0 else ""
    return f"<h3>What was caught</h3>{_table(['step', 'what', 'figures'], rows)}{tail}"


def _choices(began: Record) -> str:
    rows = [[k, str(v)] for k, v in began.get("recipe", {}).items()]
    return (
        "<h2>Choices</h2><details><summary>All that this run was asked to do</summary>"
        f"{_table(['choice', 'value'], rows)}</details>"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        '<div class="scroll" tabindex="0"><table><thead><tr>'
        f"{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4g}"

"""The page itself: template, style, script, viewer and voxels in one HTML file."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
from pathlib import Path
from string import Template
from typing import Any

from volcodec.formats.atomic import atomic_output, check_target
from volcodec.page import library
from volcodec.page.figures import remarks, rows
from volcodec.page.library import Library
from volcodec.page.nifti import pack
from volcodec.page.panels import BUDGET, Contents, Panel, gather
from volcodec.view import Progress

_HERE = Path(__file__).parent
_EXTENT = 200.0  # of the longest side, in the viewer's millimetres


def write(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Any = None,
    force: bool = False,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> None:
    """Write the page `out` on the volume of `file`, of a series its first frame.

    With `against` the two stand side by side, and the map of errors beside them. More than
    `budget` voxels, all panels counted, are reduced. Raises InputError as `view.draw` does, and
    where the viewer is not installed.
    """
    check_target(out, force)
    viewer = library.load()
    contents = gather(file, against, (dataset, shape, dtype), budget, progress)
    page = render(os.path.basename(file), contents, viewer)
    with atomic_output(out, force) as stream:
        stream.write(page.encode())


def render(title: str, contents: Contents, viewer: Library) -> str:
    """Return the page as text."""
    figures = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in rows(contents)
    )
    spacing = _spacing(contents)
    voxels = "".join(
        f'<script type="text/plain" class="voxels">{_packed(panel, spacing)}</script>\n'
        for panel in contents.panels
    )
    template = Template((_HERE / "page.html").read_text("utf-8"))
    return template.substitute(
        title=html.escape(title),
        remarks="".join(f"<p>{html.escape(text)}</p>" for text in remarks(contents)),
        figures=figures,
        count=len(contents.panels),
        style=(_HERE / "page.css").read_text("utf-8"),
        voxels=voxels,
        facts=_as_json(_facts(contents)),
        version=html.escape(viewer.version),
        licence=html.escape(viewer.licence),
        viewer=viewer.code,
        niivue=viewer.niivue,
        script=(_HERE / "page.js").read_text("utf-8"),
    )


def _facts(contents: Contents) -> dict[str, Any]:
    return {
        "flat": len(contents.shape) == 2,
        "by": contents.by,
        "panels": [
            {
                "title": panel.title,
                "error": panel.error,
                "shape": panel.codes.shape,
                "bytes": panel.codes.dtype.itemsize,
                "low": panel.scale.low,
                "unit": panel.scale.unit,
                "top": panel.scale.top,
                "window": panel.scale.window,
                "signed": panel.scale.signed,
            }
            for panel in contents.panels
        ],
    }


def _as_json(value: Any) -> str:
    """Return JSON that may stand in a script of HTML."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _spacing(contents: Contents) -> tuple[float, float, float]:
    """Return the spacing of the panels' voxels, the longest side brought to a usual length."""
    z, y, x = (step * by for step, by in zip(contents.spacing, contents.by, strict=True))
    extents = zip((z, y, x), contents.panels[0].codes.shape, strict=True)
    by = _EXTENT / max(step * n for step, n in extents)
    return z * by, y * by, x * by


def _packed(panel: Panel, spacing: tuple[float, float, float]) -> str:
    return base64.b64encode(gzip.compress(pack(panel.codes, spacing), 6, mtime=0)).decode()

"""The report of a study: one HTML file that needs nothing beside it and no network."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from volcodec.errors import InputError

_LIBRARIES = ("jinja2", "plotly", "skimage")  # the last for SSIM


def missing() -> str | None:
    """Why no report can be made here, None if it can."""
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f"a study needs {' and '.join(absent)}: python -m pip install 'volcodec[bench]'"


def write(folder: Path, results: dict[str, Any]) -> Path:
    """Render ``folder / "report.html"`` from the results of a study.

    Args:
        folder: of the report, it exists; the pictures that ``results`` names are read from it.
        results: as in results.json. Fields that are null or not there are said to be so.

    Returns the path of the page. Raises InputError where jinja2 or plotly is not installed.
    """
    reason = missing()
    if reason:
        raise InputError(reason)
    from volcodec.bench.report.page import render

    target = Path(folder) / "report.html"
    unfinished = target.with_suffix(".html.part")
    unfinished.write_text(render(Path(folder), results), encoding="utf-8")
    os.replace(unfinished, target)
    return target

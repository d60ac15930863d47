"""The figures of a page and what it has to say of how it came about, as text."""

from __future__ import annotations

import math

import numpy as np

from volcodec.page.coding import MINUS, NAN
from volcodec.page.panels import Contents
from volcodec.verification import promise


def rows(contents: Contents) -> list[tuple[str, str]]:
    """Return the figures of a page: name and value."""
    size = " x ".join(map(str, contents.shape))
    out = [("shape (z, y, x)" if len(contents.shape) == 3 else "shape (y, x)", size)]
    out.append(("type", contents.dtype))
    if contents.unit or contents.spacing != (1.0, 1.0, 1.0):
        lengths = contents.spacing[-len(contents.shape) :]
        apart = " x ".join(number(length) for length in lengths)
        out.append(("voxels apart", f"{apart} {contents.unit}".strip()))
    info = contents.info
    if info is None:
        values = math.prod(contents.shape)
        out.append(("voxels", f"{values:,}"))
    else:
        out += [
            ("bytes", f"{info.file_size:,} of {info.raw_size:,}"),
            ("ratio", f"{info.ratio:.4g}"),
            ("bits per voxel", f"{info.bits_per_voxel:.4g}"),
            ("promise", promise(info)),
            ("model", info.model or "none needed"),
        ]
        if contents.errors is None:
            out.append(("max error, by the encoder", number(info.max_error)))
            out.append(("PSNR, by the encoder", _decibels(info.psnr)))
    errors = contents.errors
    if errors is not None:
        out += [
            ("max error, measured", number(errors.max_error)),
            ("PSNR, measured", _decibels(errors.psnr)),
            ("support IoU, measured", f"{errors.support_iou:.6g}"),
        ]
        if errors.strays:
            out.append(("not finite in one only", f"{errors.strays:,} voxels"))
    return out


def remarks(contents: Contents) -> list[str]:
    """Return sentences on what is not shown as it is."""
    out = []
    if contents.info is not None and contents.info.frames > 1:
        out.append(f"This is the first of {contents.info.frames} frames.")
    if contents.by != (1, 1, 1):
        by = " x ".join(map(str, contents.by))
        shape = " x ".join(map(str, contents.panels[0].codes.shape))
        how = f"preview level {contents.level} of the file" if contents.level else "means"
        if contents.level and contents.means:
            how += ", of which means were taken"
        text = f"Reduced to {shape} to fit the page: a voxel here is {by} of the volume ({how}"
        text += "; of the errors, the largest)." if contents.errors is not None else ")."
        out.append(text)
        if contents.errors is not None:
            out.append("The figures are those of all voxels.")
    shown = [panel for panel in contents.panels if not panel.error]
    if any((panel.codes == NAN).any() for panel in shown):
        out.append("Voxels that are NaN are left empty.")
    if any(np.isin(panel.codes, (MINUS, panel.scale.top + 1)).any() for panel in shown):
        out.append("Infinite voxels have the colours at the ends.")
    return out


def number(value: float) -> str:
    """Return a measured number with four digits."""
    return f"{value:.4g}"


def _decibels(value: float) -> str:
    return "infinite" if value == math.inf else f"{value:.2f} dB"

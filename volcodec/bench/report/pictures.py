"""Pictures of a slice: the original, two codecs' copies, and their errors on one scale."""

from __future__ import annotations

import functools
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]

AXES = ("z", "y", "x")
LONGEST = 384  # pixels of the longer side of a picture, about
_NAN_COLOUR = (46, 196, 182)  # neither a grey nor a colour of the error scale
_ERROR_COLOURS = "inferno"
_STEPS = 255  # levels of a picture; the last entry of the palette is NaN


def slices(
    original: NDArray[Any],
    ours: NDArray[Any],
    peer: NDArray[Any] | None,
    stem: str,
    folder: Path,
    value_range: float,
) -> dict[str, Any]:
    """Write five PNG files into ``folder / "slices"``; returns what results hold of them.

    Args:
        original: the volume, (Z, Y, X) of any real dtype; NaN and infinities may occur.
        ours: what volcodec gives back of it, of the same shape.
        peer: what the peer gives back; None leaves its two pictures out.
        stem: how the names of the files begin.
        folder: of the report; the names that come back are relative to it.
        value_range: max - min of the original, the unit of the errors.

    The slice is the middle one of the axis along which it shows most. Grey runs from the 0.5th to
    the 99.5th percentile of the original; both errors share a scale that ends at ``error_scale``
    (share of the range), the larger of their 99.5th percentiles. Voxels that are not finite have a
    colour of their own; where only the copy is not, its error is at the end of the scale. Slices
    of more than 384 pixels are reduced by a whole factor: values to their mean, errors to their
    largest.

    Raises ValueError where shapes differ or a volume is not three-dimensional.
    """
    if original.ndim != 3 or any(
        np.shape(v) != original.shape for v in (ours, peer) if v is not None
    ):
        raise ValueError("slices takes volumes (Z, Y, X) of one shape")
    axis, index = _telling(original)
    planes = {"original": _plane(original, axis, index), "ours": _plane(ours, axis, index)}
    if peer is not None:
        planes["peer"] = _plane(peer, axis, index)
    unit = value_range if value_range > 0 else 1.0
    errors = {
        f"{name}_error": _error(planes["original"], planes[name], unit)
        for name in ("ours", "peer")
        if name in planes
    }
    low, high = _limits(planes["original"])
    scale = max((_percentile(plane, 99.5) for plane in errors.values()), default=0.0)
    scale = scale or max((_percentile(plane, 100) for plane in errors.values()), default=0.0)

    place = folder / "slices"
    place.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^\w.-]", "_", stem)
    files = {}
    for name, plane in {**planes, **errors}.items():
        error = name in errors
        small = _reduced(plane, -(-max(plane.shape) // LONGEST), largest=error)
        limits = (0.0, scale) if error else (low, high)
        file = place / f"{safe}-{name.replace('_', '-')}.png"
        file.write_bytes(_png(_levels(small, *limits)[::-1], _palette(error)))
        files[name] = f"slices/{file.name}"
    return {"axis": axis, "index": index, "error_scale": float(f"{scale:.4g}"), "files": files}


def error_colours(stops: int = 9) -> list[str]:
    """The colours of the error scale, evenly spaced, as CSS writes them."""
    palette = _palette(True)
    return [f"#{bytes(palette[round(i * (_STEPS - 1) / (stops - 1))]).hex()}" for i in range(stops)]


def nan_colour() -> str:
    """The colour of voxels that are not finite, as CSS writes it."""
    return f"#{bytes(_NAN_COLOUR).hex()}"


def _plane(volume: NDArray[Any], axis: int, index: int) -> Plane:
    plane = np.asarray(np.take(volume, index, axis), np.float64)
    return np.where(np.isfinite(plane), plane, np.nan)


def _telling(volume: NDArray[Any]) -> tuple[int, int]:
    """The axis whose middle slice varies most; another slice where all of those are flat."""
    middles = [(axis, size // 2) for axis, size in enumerate(volume.shape)]
    found = max(middles, key=lambda place: _variation(_plane(volume, *place)))
    if _variation(_plane(volume, *found)) > 0:
        return found
    along_z = [(0, index) for index in range(volume.shape[0])]
    other = max(along_z, key=lambda place: _variation(_plane(volume, *place)))
    return other if _variation(_plane(volume, *other)) > 0 else found


def _variation(plane: Plane) -> float:
    # half of it first: the difference of two float64 may be beyond their range
    half = plane / 2
    return sum(float(np.nansum(np.abs(np.diff(half, axis=axis)))) for axis in (0, 1))


def _error(original: Plane, copy: Plane, unit: float) -> Plane:
    """|copy - original| over the range; NaN where the original is, infinite where the copy is."""
    with np.errstate(over="ignore"):
        error = np.abs(copy / unit - original / unit)
    return np.where(np.isnan(copy) & np.isfinite(original), np.inf, error)


def _percentile(plane: Plane, percent: float) -> float:
    finite = plane[np.isfinite(plane)]
    return float(np.percentile(finite, percent)) if finite.size else 0.0


def _limits(plane: Plane) -> tuple[float, float]:
    low, high = _percentile(plane, 0.5), _percentile(plane, 99.5)
    return (low, high) if low < high else (_percentile(plane, 0), _percentile(plane, 100))


def _reduced(plane: Plane, factor: int, largest: bool) -> Plane:
    """Blocks of factor x factor to their mean or largest, NaN only where all of a block is."""
    if factor <= 1:
        return plane
    height, width = (-(-size // factor) for size in plane.shape)
    padded = np.full((height * factor, width * factor), np.nan)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    blocks = padded.reshape(height, factor, width, factor)
    if largest:
        return np.asarray(np.fmax.reduce(np.fmax.reduce(blocks, 3), 1))
    count = np.isfinite(blocks).sum((1, 3))
    total = np.nansum(blocks / factor**2, (1, 3))
    return np.where(count > 0, total * (factor**2 / np.maximum(count, 1)), np.nan)


def _levels(plane: Plane, low: float, high: float) -> NDArray[np.uint8]:
    """Entries of the palette: 0.._STEPS - 1 from low to high, _STEPS for NaN."""
    half = high / 2 - low / 2
    shown = (plane / 2 - low / 2) / half if half > 0 else np.where(np.isnan(plane), np.nan, 0.0)
    levels = np.rint(np.clip(shown, 0, 1) * (_STEPS - 1))
    return np.where(np.isnan(plane), _STEPS, np.nan_to_num(levels)).astype(np.uint8)


@functools.cache
def _palette(error: bool) -> list[tuple[int, int, int]]:
    """256 colours: grey or the error scale, and that of NaN."""
    if not error:
        greys = [round(255 * i / (_STEPS - 1)) for i in range(_STEPS)]
        return [*((grey, grey, grey) for grey in greys), _NAN_COLOUR]
    from matplotlib import colormaps

    table = colormaps[_ERROR_COLOURS](np.linspace(0, 1, _STEPS), bytes=True)
    return [*((int(r), int(g), int(b)) for r, g, b, _ in table), _NAN_COLOUR]


def _png(levels: NDArray[np.uint8], palette: list[tuple[int, int, int]]) -> bytes:
    """A PNG with a palette: a byte a pixel, a quarter of what RGBA would take."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width = levels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the first byte of a row: no filter
    rows[:, 1:] = levels
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes(v for colour in palette for v in colour)),
            chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            chunk(b"IEND", b""),
        )
    )

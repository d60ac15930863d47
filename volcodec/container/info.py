"""Everything a .vc file says of itself, without decoding any of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from volcodec.container.front import MAJOR
from volcodec.container.header import CODINGS
from volcodec.container.index import stream_name
from volcodec.container.reader import Reader
from volcodec.errors import FormatError

_MAX_DEPTH = 64


@dataclass(frozen=True)
class Info:
    """What a .vc file says of itself; see Header for the fields of the same name.

    shape: of one frame, (Z, Y, X), or (Y, X) for a 2-D volume; tile: always (tz, ty, tx).
    byte_order: "big" where the caller's array was; range: max - min of the finite voxels.
    psnr: achieved, in dB with peak ``range``; inf without error.
    attrs: the attributes carried over.
    tiles_by_coding: how many tiles went which way; bytes_by_part: what the file's bytes are.
    ratio: raw bytes / file bytes; bits_per_voxel: of the whole file.
    missing: bytes cut off the end of the file (file_size is that of the whole).
    """

    version: str
    dtype: str
    byte_order: str
    ndim: int
    frames: int
    shape: tuple[int, ...]
    dataset: str
    target: str
    target_value: float
    bound: float
    max_error: float
    mse: float
    psnr: float
    range: float
    margin: float
    support: str
    background: float
    nudge: float
    step: float
    lattice_step: float
    lattice_origin: float
    domain: str
    pitch: float
    kept: bool
    capped: bool
    least: float
    snap: float
    attrs: dict[str, Any]
    model: str
    model_sha256: str
    model_embedded: bool
    model_length: int
    tile: tuple[int, int, int]
    scales: int
    levels: int
    tiles: int
    tiles_by_coding: dict[str, int]
    bytes_by_part: dict[str, int]
    file_size: int
    raw_size: int
    ratio: float
    bits_per_voxel: float
    missing: int

    def to_json_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values; inf and nan become strings."""
        plain: dict[str, Any] = _plain(asdict(self), 0)
        return plain


def describe(reader: Reader) -> Info:
    """The Info of an open file; FormatError where its attributes are not a JSON object."""
    h = reader.header
    codings: Counter[str] = Counter()
    totals = [0] * h.streams
    for entry in reader.index.entries:
        codings[CODINGS[entry.coding]] += 1
        for stream, length in enumerate(entry.lengths):
            totals[stream] += length
    parts = {"header": reader.header_size, "index": reader.index_size, "gap": h.gap}
    parts["model"] = h.model_length + 4 if h.model_length else 0
    parts |= {stream_name(stream, h.scales): total for stream, total in enumerate(totals)}
    size = reader.expected_size
    return Info(
        version=f"{MAJOR}.{reader.minor}",
        dtype=h.dtype,
        byte_order="big" if h.swapped else "little",
        ndim=h.ndim,
        frames=h.frames,
        shape=h.shape[3 - h.ndim :],
        dataset=h.dataset_name,
        target=h.target,
        target_value=h.target_value,
        bound=h.bound,
        max_error=h.max_error,
        mse=h.relative_mse * h.value_range * h.value_range,
        psnr=_psnr(h.relative_mse),
        range=h.value_range,
        margin=h.margin,
        support=h.support,
        background=h.background,
        nudge=h.nudge,
        step=h.step,
        lattice_step=h.lattice_step,
        lattice_origin=h.lattice_origin,
        domain=h.domain,
        pitch=h.pitch,
        kept=h.kept,
        capped=h.capped,
        least=h.least,
        snap=h.snap,
        attrs=parse_attrs(h.attrs),
        model=h.model_name,
        model_sha256=h.model_sha256.hex(),
        model_embedded=h.model_length > 0,
        model_length=h.model_length,
        tile=h.tile,
        scales=h.scales,
        levels=h.levels,
        tiles=h.tiles,
        tiles_by_coding={name: codings[name] for name in CODINGS if codings[name]},
        bytes_by_part={name: count for name, count in parts.items() if count},
        file_size=size,
        raw_size=h.raw_size,
        ratio=h.raw_size / size,
        bits_per_voxel=8 * size / h.voxels,
        missing=reader.missing,
    )


def _psnr(relative_mse: float) -> float:
    """In dB; inf where nothing differs."""
    return -10 * math.log10(relative_mse) if relative_mse > 0 else math.inf


def parse_attrs(raw: bytes) -> dict[str, Any]:
    """The attributes in a header's ``attrs``; FormatError where they are not a JSON object."""
    if not raw:
        return {}
    try:
        attrs = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        attrs = None
    if not isinstance(attrs, dict):
        raise FormatError("the attributes are not a JSON object")
    return {name: _plain(value, 2) for name, value in attrs.items()}


def _plain(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise FormatError("the attributes are nested too deeply")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return value

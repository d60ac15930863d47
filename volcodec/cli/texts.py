"""Results as text for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from typing import Any

_LONGEST_LIST = 12


def number(value: float) -> str:
    """Return a measured number with three or four digits."""
    return f"{value:.4g}"


def decibels(value: float) -> str:
    """Return a PSNR."""
    return "infinite" if value == math.inf else f"{value:.2f} dB"


def plain(value: Any) -> Any:
    """Return `value` made of JSON's own types.

    JSON has no NaN and no infinities: they become the text that Python's float() reads.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # of numpy
        return plain(value.tolist())
    return str(value)


def as_json(value: Any) -> str:
    """Return `value` as one JSON object."""
    return json.dumps(plain(value), allow_nan=False, indent=2)


def as_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield `name: value` lines; what is nested is indented, long lists are cut."""
    for key, part in plain(value).items():
        name = key.replace("_", " ")
        if isinstance(part, dict) and part:
            yield f"{indent}{name}:"
            yield from as_lines(part, indent + "  ")
        elif isinstance(part, list) and len(part) > _LONGEST_LIST:
            yield f"{indent}{name}: {len(part)} entries (all of them with --json)"
        elif part not in (None, [], {}, ""):
            yield f"{indent}{name}: {_line(part)}"


def _line(part: Any) -> str:
    if isinstance(part, bool):
        return "yes" if part else "no"
    if isinstance(part, list):
        return ", ".join(_line(item) for item in part)
    if isinstance(part, int):
        return f"{part:,}" if abs(part) >= 10_000 else str(part)
    if isinstance(part, dict):
        return json.dumps(part)
    return str(part)

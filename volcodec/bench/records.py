"""Results as data: sensible rounding, and JSON that stays small and reads well in a diff."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def rounded(value: float, digits: int) -> float | None:
    """Value to `digits` significant digits; None where it is not finite (JSON has no infinity)."""
    if not math.isfinite(value):
        return None
    return float(f"{float(value):.{digits}g}")


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (dict, list)) or not value


def _is_flat(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return all(_is_leaf(item) for item in items)


def _format(value: Any, indent: int) -> str:
    if _is_leaf(value) or _is_flat(value):
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        rows = [
            f"{json.dumps(key, ensure_ascii=False)}: {_format(value[key], indent + 1)}"
            for key in sorted(value)
        ]
        opening, closing = "{", "}"
    else:
        rows = [_format(item, indent + 1) for item in value]
        opening, closing = "[", "]"
    body = ",\n".join(pad + row for row in rows)
    return f"{opening}\n{body}\n{' ' * indent}{closing}"


def dump(value: Any) -> str:
    """JSON text with sorted keys, one line for each innermost object or list."""
    return _format(value, 0) + "\n"


def save(path: Path, value: Any) -> None:
    """Write `dump(value)` beside its place and rename it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(dump(value), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows beside their place and rename them there; None is an empty cell."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    partial.replace(path)

"""The models that come with volcodec: where they lie, and their names by identity."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from .container.header import BRIEF_SIZE

SUFFIX = ".safetensors"
_HERE = Path(__file__).parent


def folders() -> list[Path]:
    """The folder in the package, or that of the source tree."""
    return [p for p in (_HERE / "weights", _HERE.parent / "models") if p.is_dir()]


@lru_cache(maxsize=1)
def _names() -> dict[bytes, str]:
    found = {}
    for folder in folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found[hashlib.sha256(path.read_bytes()).digest()[:BRIEF_SIZE]] = path.stem
    return found


def name_of(identity: bytes) -> str:
    """The name of a model by the beginning of its SHA-256; empty where it is another's."""
    return _names().get(identity[:BRIEF_SIZE], "")

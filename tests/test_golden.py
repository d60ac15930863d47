"""Files that a released format version wrote are read as they were then, for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from golden_cases import CASES, expected_of

import volcodec
from volcodec.container import CODINGS, DOMAINS, DTYPES, TARGETS, Reader
from volcodec.tiledecoder import FOLLOWS

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.vc"))
if not FILES:
    pytest.skip("no format version is released yet: tests/golden holds no files",
                allow_module_level=True)  # fmt: skip
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    blob = path.read_bytes()
    expected = EXPECTED[path.name]
    # The file is checked first, for a checkout may have changed it.
    assert hashlib.sha256(blob).hexdigest() == expected["file"]
    assert expected_of(blob) == expected
    assert volcodec.verify(blob).ok


def test_none_was_lost() -> None:
    assert sorted(EXPECTED) == [p.name for p in FILES]
    assert {p.stem.partition("-")[2] for p in FILES} >= set(CASES)


def test_every_feature_is_there() -> None:
    readers = [Reader(p.read_bytes()) for p in FILES]
    assert {r.header.dtype for r in readers} == set(DTYPES)
    assert {r.header.domain for r in readers} == set(DOMAINS)
    assert {r.header.target for r in readers} == set(TARGETS)
    assert {CODINGS[e.coding] for r in readers for e in r.index} == set(CODINGS)
    assert {r.header.support for r in readers} == {"off", "exact"}
    streams = {i for r in readers for e in r.index for i, n in enumerate(e.lengths) if n}
    assert {0, 1, 2, 3} <= streams
    assert any(e.lengths[-1] for r in readers for e in r.index)  # a correction
    assert any(e.flags & FOLLOWS for r in readers for e in r.index)
    first = [
        stream[0]
        for r in readers
        for i, e in enumerate(r.index)
        if CODINGS[e.coding] == "predicted-learned" and not e.flags & FOLLOWS
        for stream in r.streams(i, 0, r.header.streams)[2:-1]
        if stream
    ]
    assert any(flags & 0x40 for flags in first)  # limits

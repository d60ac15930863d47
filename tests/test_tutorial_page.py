"""docs/tutorial.md: its blocks run in order and print what it says, figures within 15 %."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cli_calls import works

PAGE = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text("utf-8")
TOLERANCE = 0.15  # another model or another NumPy changes sizes a little
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def blocks() -> list[tuple[str, str]]:
    """Language and text of every block, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S)


def assert_alike(printed: str, shown: str) -> None:
    """The same words, and numbers near each other; seconds and ways of coding may be any."""
    free = re.compile(r"[\d.]+ s\b|(?<=tiles )[^,\n]+,")
    printed, shown = (free.sub("ANY", text) for text in (printed, shown))
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    assert words[0] == words[1]
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(t)] for t in (printed, shown)]
    for got, told in zip(*numbers, strict=True):
        assert math.isclose(got, told, rel_tol=TOLERANCE, abs_tol=1e-4), (printed, shown)


def test_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed, compared = "", 0
    for language, text in blocks():
        if language == "python":
            exec(text, names)
            printed = capsys.readouterr().out
        elif language == "text":
            assert_alike(printed, text)
            compared += 1
        else:
            calls = [shlex.split(line)[1:] for line in text.splitlines()]
            printed = "".join(works(*call).stdout for call in calls)
    assert compared == 8
    assert Path("error.png").stat().st_size > 10_000

"""The pages in docs/: their commands are those that there are, their figures those of the study."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from doc_pages import python_examples
from volumes import blobs

import volcodec
from benchmarks.targets import chest
from volcodec import models
from volcodec.bench.records import load
from volcodec.cli import commands

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
TOLERANCE = 0.1  # a newer study may move the figures of a page a little


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text("utf-8")


def command_lines(text: str) -> list[list[str]]:
    """What follows `volcodec` in the blocks of a page."""
    blocks = re.findall(r"^```(?:bash|console|sh)?\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(s, comments=True)[1:] for s in lines if s.startswith("volcodec ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_that_pages_give_them(page: Path) -> None:
    for name, *arguments in command_lines(page.read_text("utf-8")):
        command = commands.commands[name]
        context = click.Context(command, info_name=name)
        given, _, _ = command.make_parser(context).parse_args(arguments)
        needed = {p.name for p in command.params if p.required}
        assert needed <= {key for key, value in given.items() if value}, (name, arguments)


def test_quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = python_examples("quickstart.md")
    names: dict[str, Any] = {"volume": blobs((24, 20, 28), "start").astype("f4")}
    exec(code, names)
    assert names["part"].shape == (16, 20, 16) and names["quick"].shape == (12, 10, 14)


def test_a_card_is_read_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = python_examples("training.md")
    (shipped,) = (m for m in models.available() if m.name == "density-1")
    exec(code, {"model": shipped.path})
    assert capsys.readouterr().out.strip() == shipped.trained_on


def test_the_reference_has_the_whole_public_face() -> None:
    page = text_of("api.md")
    for name in set(volcodec.__all__) - {"models"}:
        error = isinstance(getattr(volcodec, name), type) and name.endswith("Error")
        assert ("::: volcodec.errors" if error else f"::: volcodec.{name}\n") in page
    assert "::: volcodec.models" in page


def test_ratios_are_those_of_the_committed_study() -> None:
    volumes = load(ROOT / "benchmarks" / "results" / "test.json")["volumes"]
    rows = re.findall(r"^\| [^|]*\(`(\w+)`\) \|(.*)\|$", text_of("targets.md"), re.M)
    assert len(rows) >= 10
    for name, cells in rows:
        volume = volumes[name]
        points = {(p["target"], p["asked"]): p["bytes"] for p in volume["points"]["volcodec"]}
        sizes = [points.get(key) for key in (("max_error", 1e-2), ("max_error", 1e-3))]
        sizes += [points.get(("psnr", 50.0)), volume["lossless"]["volcodec"]]
        shown = [cell.strip() for cell in cells.split("|")][2:]
        for size, cell in zip(sizes, shown, strict=True):
            assert (size is None) == (cell == "-"), name
            if size is not None:
                ratio = volume["raw_bytes"] / size
                assert math.isclose(ratio, float(cell), rel_tol=TOLERANCE), (name, cell)


def test_the_volumes_that_targets_are_timed_on() -> None:
    volume = chest((8, 20, 20))
    assert np.isnan(volume).any() and (volume == 0).any() and volume.dtype == np.float32

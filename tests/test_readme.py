"""The README: its examples run, its commands are those that are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_calls import works
from volumes import blobs

from benchmarks import tables
from volcodec.bench.records import load

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    volume = blobs((40, 36, 130), "readme").astype("f4")
    for name in ("scan.h5", "large.h5"):
        with h5py.File(name, "w") as file:
            file["volume"] = volume
    return volume


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


def test_python_example(volume: np.ndarray) -> None:
    names = {"volume": volume}
    (code,) = blocks("python")
    exec(code, names)
    assert np.abs(names["again"] - volume).max() <= 1e-3
    assert names["part"].shape == (32, 36, 64)
    assert names["quick"].shape == (10, 9, 33)
    assert Path("large.vc").exists()


def test_commands(volume: np.ndarray) -> None:
    lines = [line for block in blocks("") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("volcodec ")]
    names = [command[1] for command in commands]
    assert names == ["compress", "decompress", "compress", "verify", "view"]
    for _, *arguments in commands:
        works(*arguments)
    assert np.load("part.npy").shape == (32, 36, 64)


def test_the_table_is_that_of_the_committed_study() -> None:
    study = README.parent / "benchmarks" / "results" / "test.json"
    assert "\n".join(tables.rate(load(study))) in README.read_text("utf-8")

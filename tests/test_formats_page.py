"""The page on file formats: its examples run, its table names what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from cli_calls import works
from volumes import blobs

from volcodec.formats import suffixes

nib = pytest.importorskip("nibabel")
pytest.importorskip("nrrd")

PAGE = (Path(__file__).parent.parent / "docs" / "formats.md").read_text("utf-8")


@pytest.fixture
def brain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    volume = np.rint(1000 * blobs((24, 20, 28), "brain")).astype("i2")
    nib.save(nib.Nifti1Image(volume.T, np.diag([1, 1, 2, 1])), "brain.nii.gz")
    volume.tofile("brain.raw")
    return volume


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_commands(brain: np.ndarray) -> None:
    lines = [line for block in blocks("") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("volcodec ")]
    assert len(commands) == 5
    for command in commands:
        works(*command)
    again = nib.load("again.nii.gz")
    assert np.abs(np.asarray(again.dataobj).T - brain).max() <= 2
    assert np.array_equal(again.affine, np.diag([1, 1, 2, 1]))


def test_python_example(brain: np.ndarray) -> None:
    (code,) = blocks("python")
    exec(code, {})
    assert nib.load("preview.nii").shape == (14, 10, 12)
    assert nib.load("preview.nii").header.get_zooms() == (2, 2, 4)


def test_table() -> None:
    for suffix in suffixes():
        assert re.search(rf"^\|.*{re.escape(suffix)}[` ]", PAGE, re.M), suffix

"""docs/chunks.md: its examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import blobs

PAGE = Path(__file__).parent.parent / "docs" / "chunks.md"


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    return blobs((40, 36, 34), "page").astype("f4")


def run(volume: np.ndarray, module: str) -> dict[str, Any]:
    """What the page's example of a module leaves behind."""
    examples = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    (code,) = (example for example in examples if module in example)
    names: dict[str, Any] = {"volume": volume}
    exec(code, names)
    return names


def test_zarr(volume: np.ndarray) -> None:
    pytest.importorskip("zarr", "3.1")
    names = run(volume, "volcodec.plugins.zarr")
    assert np.abs(names["array"][:] - volume).max() <= 1e-3
    assert np.array_equal(names["part"], names["array"][0:32, 10])


def test_numcodecs(volume: np.ndarray) -> None:
    pytest.importorskip("zarr", "3.1")
    names = run(volume, "volcodec.plugins.numcodecs")
    assert np.abs(names["array"][:] - volume).max() <= 1e-3


def test_hdf5(volume: np.ndarray) -> None:
    names = run(volume, "volcodec.hdf5")
    assert np.abs(names["again"] - volume).max() <= 1e-3

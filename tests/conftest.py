"""What all tests share: repeatable examples, one codec, one file of several tiles."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Triton's kernels run on the processor where there is no GPU: asked for before Triton is imported
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

import browsing
import numpy as np
import pytest
from hypothesis import settings
from volumes import blobs

import volcodec
from volcodec.tilecoder import Settings, TileCoder

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

DATA = Path(__file__).parents[2] / "shared" / "data" / "test"


@pytest.fixture(scope="session")
def codec() -> volcodec.Codec:
    """The shipped model, one thread."""
    return volcodec.Codec("density", threads=1)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that tiles are coded with, one entry a tile."""
    found: list[Settings] = []
    write = TileCoder.write

    def noted(self: TileCoder, values: np.ndarray, before: Any, s: Settings) -> Any:
        found.append(s)
        return write(self, values, before, s)

    monkeypatch.setattr(TileCoder, "write", noted)
    return found


@pytest.fixture(scope="session")
def tiled(codec: volcodec.Codec) -> tuple[np.ndarray, bytes]:
    """A volume of 3 x 2 x 3 tiles of 16, clipped at the ends, and its file."""
    volume = blobs((39, 29, 41), "tiled").astype(np.float32)
    return volume, codec.encode(volume, rel_error=1e-3, tile=16)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium; skips where there is none."""
    pytest.importorskip("selenium", reason="this needs selenium")
    yield from browsing.chromium(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="session")
def real_volumes() -> Path:
    """The folder of real volumes that lies beside a developer's checkout; skips without it."""
    pytest.importorskip("h5py")
    if not any(DATA.glob("*.h5")):
        pytest.skip("the real volumes (../shared/data/test) are not beside this checkout")
    return DATA

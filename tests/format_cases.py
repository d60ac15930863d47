"""What every format of volumes must do, as functions that the tests of each hand their files to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call, fails
from volumes import random_of

import volcodec
from volcodec.errors import InputError
from volcodec.formats import open_series


def ramp(dtype: Any, shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray:
    """Different values at different voxels, from 0 to 199, as (Z, Y, X)."""
    return (np.arange(np.prod(shape)) % 120).reshape(shape).astype(dtype)


def through(src: Path, dst: Path, region: Any = None, level: int = 0, **options: Any) -> None:
    """Compress `src`, without loss unless `options` say else, and decompress it to `dst`."""
    packed = dst.with_name(dst.name + ".vc")
    volcodec.compress(src, packed, force=True, **(options or {"lossless": True}))
    volcodec.decompress(packed, dst, region=region, level=level, force=True)


def read(path: Path) -> np.ndarray:
    """The voxels of all frames of a file."""
    frames = open_series(path)
    volumes = [frame.read((slice(None),) * len(frame.shape)) for frame in frames]
    return volumes[0] if len(volumes) == 1 else np.stack(volumes)


def refused(path: Path, *words: str) -> None:
    """Assert that a file is refused: by the library, and in one line by the command line."""
    with pytest.raises(InputError) as caught:
        open_series(path)
    for word in words:
        assert word in str(caught.value)
    assert path.name in str(caught.value)
    fails(call("compress", path, path.with_name("refused.vc")), 1, path.name)
    assert not path.with_name("refused.vc").exists()


def survives_damage(path: Path, reach: int) -> None:
    """Assert that no cut and no change of the first `reach` bytes raises but InputError."""
    whole = path.read_bytes()
    random = random_of(path.name)
    damaged = path.with_name("damaged" + path.name[path.name.index(".") :])
    cuts = {0, 1, reach, len(whole) - 1, *random.integers(0, len(whole), 12).tolist()}
    versions = [whole[:cut] for cut in sorted(cuts)]
    for _ in range(40):
        changed = bytearray(whole)
        changed[random.integers(0, reach)] = random.integers(0, 256)
        versions.append(bytes(changed))
    for version in versions:
        damaged.write_bytes(version)
        try:
            read(damaged)
        except InputError:
            continue


def needs_library(monkeypatch: pytest.MonkeyPatch, library: str, format: str, extra: str) -> None:
    """Assert that without its library a format says which extra to install."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"volcodec.formats.{format}", raising=False)
    suffix = {"nifti": ".nii", "nrrd": ".nrrd", "mrc": ".mrc", "tiff": ".tif"}[format]
    with pytest.raises(InputError, match=rf"pip install 'volcodec\[{extra}\]'"):
        open_series(Path(f"volume{suffix}"))

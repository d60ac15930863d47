"""The measured volumes: which files a folder holds, how they are read, how paths are recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parent.parent


def recorded_path(path: Path) -> str:
    """Path as results record it: relative to the repository, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), REPOSITORY)).as_posix()


def volume_files(folder: Path, only: Sequence[str] | None = None) -> list[Path]:
    """HDF5 files of a folder in name order; `only` keeps those named and refuses unknown names."""
    files = {path.stem: path for path in sorted(folder.glob("*.h5"))}
    if not files:
        raise SystemExit(f"no .h5 files in {folder}")
    if not only:
        return list(files.values())
    unknown = sorted(set(only) - set(files))
    if unknown:
        raise SystemExit(f"no such volume in {folder}: {', '.join(unknown)}")
    return [files[name] for name in sorted(set(only))]


def load_volume(path: Path) -> NDArray[Any]:
    """The dataset `volume` of an HDF5 file, in its own dtype, C order."""
    with h5py.File(path, "r") as file:
        return np.ascontiguousarray(file["volume"][()])

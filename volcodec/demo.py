"""The main job on a small smoke volume that is made on the spot, in figures and a picture."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import volcodec
from volcodec.errors import VolcodecError
from volcodec.formats import create_sink, open_source
from volcodec.formats.atomic import check_target
from volcodec.view import draw

Progress = Callable[[int, int, str], None]

SHAPE = (96, 80, 80)
REL_ERROR = 1e-3
_PUFFS = 28
_SEED = 7
_COLUMNS = (
    *("bytes", "ratio", "bpv", "max\nerror", "PSNR\ndB", "zeros\nkept"),
    *("write\ns", "read\ns"),
)


def smoke(shape: tuple[int, int, int] = SHAPE, seed: int = _SEED) -> np.ndarray:
    """Return a plume of smoke density, float32 of `shape` (Z, Y, X), z upwards.

    Gaussian puffs that rise from the floor, carried by a swirling flow; exactly zero around.
    The flow is the curl of sines, as in Bridson et al., "Curl-noise for procedural fluid
    flow" (2007), and is followed backwards from each voxel.
    """
    random = np.random.default_rng(seed)
    scale = max(shape)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) / scale for n in shape), indexing="ij")
    y, x = y - shape[1] / scale / 2, x - shape[2] / scale / 2
    waves = []
    for octave in range(4):
        number = (2 * np.pi * 1.3 * 2**octave * random.uniform(0.8, 1.3, 3)).astype(np.float32)
        phase = random.uniform(0, 2 * np.pi, 3).astype(np.float32)
        waves.append((number, phase, np.float32(0.011 / 1.45**octave)))
    for _ in range(8):
        calm = np.clip(0.1 + 1.7 * z, 0.1, 1)  # the source stands still
        u, v, w = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        for (kz, ky, kx), (pz, py, px), size in waves:
            u += size * (np.sin(kz * z + pz) + np.cos(ky * y + py))
            v += size * (np.sin(kx * x + px) + np.cos(kz * z + pz))
            w += size * (np.sin(ky * y + py) + np.cos(kx * x + px))
        x, y, z = x - calm * u, y - calm * v, z - calm * w
    density = np.zeros(shape, np.float32)
    for puff in range(_PUFFS):
        age = (puff + 0.5) / _PUFFS
        height = np.float32(0.08 + 0.66 * age**0.8)
        radius = np.float32(0.07 + 0.2 * age)
        drift = random.normal(0, 0.05 * age, 2).astype(np.float32)
        squares = (x - drift[0]) ** 2 + (y - drift[1]) ** 2 + (z - height) ** 2
        density += np.float32(1 - 0.8 * age) * np.exp(-squares / (2 * (radius / 2) ** 2))
    return np.asarray(np.maximum(density - np.float32(0.05), 0), np.float32)


@dataclass
class Row:
    """One line of the table: a way to store the volume, and what it cost."""

    name: str
    size: int
    seconds: tuple[float, float] | None = None
    copy: np.ndarray | None = None


@dataclass
class Outcome:
    """What the demo did: its sample, the rows of its table, the promise kept, its files."""

    volume: np.ndarray
    rows: list[Row]
    promise: str
    picture: str
    packed: str


def run(
    picture: str | os.PathLike[str], *, force: bool = False, progress: Progress | None = None
) -> Outcome:
    """Compress, decompress and verify the sample; write `picture` and a .vc file.

    The .vc file lies beside the picture under its name. Raises InputError where one of them
    exists and `force` is not given, VolcodecError where a promise was broken.
    """
    packed = Path(picture).with_suffix(".vc")
    for path in (picture, packed):
        check_target(path, force)
    if progress is not None:
        progress(0, 1, "making smoke")
    volume = smoke()
    with tempfile.TemporaryDirectory(prefix="volcodec-") as folder:
        original = Path(folder) / "smoke.h5"
        _write(original, volume)
        # compiled or loaded now, once per machine and process, so that the seconds compare
        _warm_up(Path(folder), volume, progress)
        rows = [Row("raw float32", volume.nbytes), _gzip(Path(folder) / "gzip.h5", volume)]
        rows.append(
            _volcodec(
                f"volcodec rel. {REL_ERROR:g}",
                (original, packed, Path(folder) / "lossy.h5"),
                force,
                progress,
                rel_error=REL_ERROR,
            )
        )
        exact = (original, Path(folder) / "exact.vc", Path(folder) / "exact.h5")
        rows.append(_volcodec("volcodec lossless", exact, False, progress, lossless=True))
        report = volcodec.verify(packed, against=original)
        if not report.ok:
            raise VolcodecError(f"{packed}: the promise is broken: {'; '.join(report.problems)}")
        draw(packed, picture, against=original, force=force)
    return Outcome(volume, rows, str(report.promise), os.fspath(picture), str(packed))


def _write(path: Path, volume: np.ndarray) -> None:
    with create_sink(path, volume.shape, volume.dtype, "density") as sink:
        sink.write((slice(None),) * 3, volume)


def _read(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return source.read((slice(None),) * 3)


def _warm_up(folder: Path, volume: np.ndarray, progress: Progress | None) -> None:
    if progress is not None:
        progress(0, 1, "compiling (first use only)")
    original, packed, copy = (folder / name for name in ("warm.h5", "warm.vc", "warm-copy.h5"))
    _write(original, volume[:64, 8:72, 8:72])  # as large as what is coded like large tiles
    for target in ({"rel_error": REL_ERROR}, {"lossless": True}):
        volcodec.compress(original, packed, force=True, **target)
        volcodec.decompress(packed, copy, force=True)


def _gzip(path: Path, volume: np.ndarray) -> Row:
    import h5py

    start = time.perf_counter()
    with h5py.File(path, "w") as file:
        file.create_dataset("density", data=volume, compression="gzip")
    written = time.perf_counter()
    copy = _read(path)
    seconds = (written - start, time.perf_counter() - written)
    return Row("HDF5 gzip", path.stat().st_size, seconds, copy)


def _volcodec(
    name: str,
    paths: tuple[Path, Path, Path],
    force: bool,
    progress: Progress | None,
    **target: Any,
) -> Row:
    original, packed, copy = paths
    start = time.perf_counter()
    volcodec.compress(original, packed, force=force, progress=progress, **target)
    written = time.perf_counter()
    volcodec.decompress(packed, copy, progress=progress)
    seconds = (written - start, time.perf_counter() - written)
    return Row(name, packed.stat().st_size, seconds, _read(copy))


def show(outcome: Outcome) -> None:
    """Print the table and the names of the files to standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    volume = outcome.volume
    size = " x ".join(map(str, volume.shape))
    empty = np.count_nonzero(volume == 0) / volume.size
    title = f"A plume of smoke, {size} float32, {empty:.0%} exactly zero"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=0)
    table.add_column("", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in outcome.rows:
        table.add_row(*_cells(volume, row))
    Console().print(table)
    print(f"Verified against the original: {outcome.promise}, kept in every voxel.")
    print(f"Wrote {outcome.picture} and {outcome.packed}: try volcodec info {outcome.packed}")


def _cells(volume: np.ndarray, row: Row) -> list[str]:
    cells = [
        row.name,
        f"{row.size:,}",
        f"{volume.nbytes / row.size:.1f}",
        f"{8 * row.size / volume.size:.2f}",
    ]
    if row.copy is None or row.seconds is None:
        return [*cells, *[""] * 5]
    gap = np.abs(volume.astype(np.float64) - row.copy)
    square = float(np.mean(np.square(gap)))
    peak = float(volume.max() - volume.min())
    psnr = math.inf if square == 0 else 20 * math.log10(peak) - 10 * math.log10(square)
    zeros = volume == 0
    kept = int(np.count_nonzero(zeros & (row.copy == 0))) / int(np.count_nonzero(zeros))
    return [
        *cells,
        f"{gap.max():.2g}",
        f"{psnr:.1f}",
        f"{100 * kept:.4g}%",
        *(f"{seconds:.2f}" for seconds in row.seconds),
    ]

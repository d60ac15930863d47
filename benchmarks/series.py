"""A series whose frames follow each other closely, coded as one and frame by frame.

A plume of smoke rises and folds: an incompressible flow with buoyancy on a periodic grid, advected
backwards along its own velocity (Stam 1999), projected onto divergence-free fields by Fourier
transform. `python -m benchmarks.series -o results/series.json` writes sizes of real files.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from scipy.ndimage import map_coordinates

import volcodec
from volcodec import models

_TARGETS: tuple[dict[str, float], ...] = (
    {"rel_error": 1e-2}, {"rel_error": 1e-3}, {"rel_error": 1e-4}, {"psnr": 45}, {"psnr": 60},
)  # fmt: skip


def simulate(side: int, frames: int, every: int, seed: int = 1, warm: int = 40) -> np.ndarray:
    """Density, float32 (frames, side, side, side), a frame at ``every`` steps of the flow.

    In a step the fastest parts move by about half a voxel.
    """
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(side, dtype=np.float64)] * 3, indexing="ij"))
    k = np.stack(
        np.meshgrid(
            np.fft.fftfreq(side), np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"
        )
    )
    norm = np.maximum((k**2).sum(0), 1e-12)
    noise = np.fft.rfftn(rng.standard_normal((3, side, side, side)), axes=(1, 2, 3))
    velocity = np.fft.irfftn(noise * np.exp(-norm * (side / 5) ** 2), axes=(1, 2, 3), s=(side,) * 3)
    velocity *= 0.25 / np.abs(velocity).max()
    distance = ((grid - np.array([0.2, 0.5, 0.5]).reshape(3, 1, 1, 1) * side) ** 2).sum(0)
    source = np.exp(-distance / (2 * (side / 14) ** 2))
    source[source < 0.05] = 0
    density = source.copy()
    out = []
    for step in range(warm + frames * every):
        velocity[0] += 0.02 * density
        spectrum = np.fft.rfftn(velocity, axes=(1, 2, 3))
        spectrum -= k * (k * spectrum).sum(0) / norm
        velocity = np.fft.irfftn(spectrum, axes=(1, 2, 3), s=(side,) * 3)
        velocity *= min(1.0, 0.5 / np.abs(velocity).max())
        back = grid - velocity
        density = np.maximum(density, 0.5 * source)
        density = map_coordinates(density, back, order=3, mode="grid-wrap")
        density[density < 1e-4] = 0
        velocity = np.stack([map_coordinates(v, back, order=1, mode="grid-wrap") for v in velocity])
        if step >= warm and (step - warm) % every == 0:
            out.append(density.astype(np.float32))
    return np.stack(out)


def measure(frames: np.ndarray, model: str = "density") -> list[dict[str, float | str]]:
    """Bytes of the series in one file, and of a file for each frame, at each target."""
    found: list[dict[str, float | str]] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "series.vc"
        for target in _TARGETS:
            ((kind, value),) = target.items()
            # a bound relative to the range means the same for one frame as for all
            if kind == "rel_error":
                target = {"max_error": value * float(frames.max() - frames.min())}
            given: dict[str, Any] = {"model": model, "force": True, **target}
            series = volcodec.compress(list(frames), path, **given).file_bytes
            alone = sum(volcodec.compress(frame, path, **given).file_bytes for frame in frames)
            found.append(
                {"target": kind, "value": value, "series": series, "alone": alone,
                 "saved": round(1 - series / alone, 4)}
            )  # fmt: skip
    return found


@click.command()
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--side", default=96, help="Voxels along each axis.")
@click.option("--frames", default=8)
@click.option("--every", default=1, help="Steps of the flow between two frames.")
@click.option("--model", default="density")
def main(out: Path, side: int, frames: int, every: int, model: str) -> None:
    """Simulate a series, compress it as one and frame by frame, write the sizes to OUT."""
    found = measure(simulate(side, frames, every), model)
    about = {"side": side, "frames": frames, "every": every, "model": models.load(model).name}
    out.write_text(json.dumps({"about": about, "sizes": found}, indent=1) + "\n")
    for row in found:
        share = 100 * float(row["saved"])
        click.echo(
            f"{row['target']} {row['value']:g}: {row['alone']} bytes alone, "
            f"{row['series']} as a series, {share:.1f} % saved"
        )


if __name__ == "__main__":
    main()

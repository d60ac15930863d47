"""What each target costs on two generated volumes: the tables of docs/targets.md.

python -m benchmarks.targets
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import volcodec
from volcodec.demo import smoke

TARGETS: tuple[dict[str, Any], ...] = (
    {"rel_error": 1e-2},
    {"rel_error": 1e-3},
    {"rel_error": 1e-3, "effort": 9},
    {"rel_error": 1e-3, "fast": True},
    {"psnr": 45},
    {"psnr": 60},
    {"ratio": 30},
    {"bits": 1},
    {"lossless": True},
)
SHAPE = (128, 128, 128)


def chest(shape: tuple[int, int, int], blurred: bool = False) -> np.ndarray:
    """A chest as CT sees it, in g/cm³: noise of 0.01, air of exactly 0, NaN outside the field.

    ``blurred``: noise of neighbours is correlated, as a smooth reconstruction kernel leaves it.
    """
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip((z, y, x), centre, radii, strict=True)
        r = np.sqrt(sum(((a - c) / size) ** 2 for a, c, size in parts))
        return np.asarray(np.clip((1 - r) * min(radii) / 0.03 + 0.5, 0, 1))

    body = ellipsoid((0, 0, 0), (1.6, 0.62, 0.85))
    lungs = sum(ellipsoid((0.1, -0.05, side), (0.8, 0.4, 0.27)) for side in (-0.4, 0.4))
    heart = ellipsoid((0.2, -0.1, 0.08), (0.35, 0.25, 0.22))
    spine = ellipsoid((0, 0.38, 0), (2, 0.13, 0.12))
    density = body - 0.7 * np.clip(lungs - heart, 0, 1) + 0.05 * heart + 0.8 * spine
    noise = np.random.default_rng(1).standard_normal(shape)
    if blurred:
        for axis in range(3):
            noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
    density += 0.01 * noise / noise.std()
    density[body == 0] = 0
    density[np.hypot(y, x) > 1] = np.nan
    return density.astype(np.float32)


def row(codec: volcodec.Codec, volume: np.ndarray, target: dict[str, Any]) -> str:
    """One line of the table: target, ratio, what was reached, CPU-seconds."""
    began = time.process_time()
    blob = codec.encode(volume, **target)
    encoded = time.process_time()
    codec.decode(blob)
    decoded = time.process_time()
    info = volcodec.inspect(blob)
    said = ", ".join(f"{name}={value}" for name, value in target.items())
    return (
        f"| `{said}` | {info.ratio:.1f} | {info.max_error / info.range:.2g} | {info.psnr:.1f} "
        f"| {info.support} | {encoded - began:.1f} | {decoded - encoded:.1f} |"
    )


def main() -> None:
    """Print the tables."""
    codec = volcodec.Codec(threads=1)
    volumes = {
        "smoke": smoke(SHAPE),
        "chest": chest(SHAPE),
        "chest, blurred noise": chest(SHAPE, blurred=True),
    }
    for target in TARGETS:  # compiled now
        codec.decode(codec.encode(volumes["chest"][:40, 30:70, 30:70], **target))
    for name, volume in volumes.items():
        print(f"\n{name}: {' x '.join(map(str, volume.shape))} {volume.dtype}, one thread\n")
        print("| target | ratio | error / range | PSNR | support | encode s | decode s |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for target in TARGETS:
            print(row(codec, volume, target), flush=True)


if __name__ == "__main__":
    main()

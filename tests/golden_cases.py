"""The golden files: one for each feature of the format, and what is recorded of each."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from model_cases import coded_by, tiny_model, tiny_neural, tiny_unet
from volumes import blobs, checkerboard, impulse, lattice, of_dtype, random_of, third_nan, waves

import volcodec
from volcodec import models
from volcodec.autoencoder import DOORS

SMALL = (11, 14, 13)


def smooth(name: str) -> np.ndarray:
    return blobs(SMALL, name, zeros=False)


def signed_zeros() -> np.ndarray:
    volume = smooth("zeros").astype(np.float32)
    volume[2], volume[3, 4], volume[5, 5, 5] = -0.0, 0.0, np.nan
    volume.reshape(-1).view(np.uint32)[7] = 0xFFC12345
    return volume


def opposed() -> np.ndarray:
    """Smooth values whose sign turns from voxel to voxel."""
    field = blobs((16, 24, 24), "opposed")
    return np.where(np.indices(field.shape).sum(0) % 2, field, -field).astype(np.float32)


def stripes() -> np.ndarray:
    """Every other plane is zero, the others nearly one."""
    x = np.arange(24) % 2
    return (x * (1 + 0.1 * random_of("stripes").standard_normal((16, 24, 24)))).astype(np.float32)


def cliffs(shape: tuple[int, int, int] = (30, 29, 31)) -> np.ndarray:
    """Zero but for a region, at whose edge values fall from one or more."""
    return np.where(blobs(shape, "inside") > 0.25, 1 + blobs(shape, "cliffs"), 0)


def oversampled(shape: tuple[int, int, int] = (26, 40, 38)) -> np.ndarray:
    """Noise without its highest frequencies: neighbours in a band tell much about each other."""
    field = random_of("oversampled").standard_normal(shape)
    for axis in range(3):
        field = field + 0.5 * (np.roll(field, 1, axis) + np.roll(field, -1, axis))
    return field


# name: (volume, options of encode); a case that is not here any more keeps its file
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "default": (lambda: blobs(SMALL, "default").astype(np.float32), {}),
    "tiles": (lambda: blobs((20, 29, 23), "tiles").astype(np.float32), {"tile": 8}),
    "levels": (lambda: blobs((9, 70, 33), "levels").astype(np.float32), {"rel_error": 1e-2}),
    "max-error": (lambda: smooth("bound") * 50, {"max_error": 0.25}),
    "psnr": (lambda: smooth("psnr").astype(np.float32), {"psnr": 45.0}),
    "ratio": (lambda: smooth("ratio").astype(np.float32), {"ratio": 9.0}),
    "bits": (lambda: smooth("rate").astype(np.float32), {"bits": 3.0}),
    "corrections": (lambda: random_of("n").standard_normal(SMALL), {"rel_error": 2e-2}),
    "support": (lambda: blobs(SMALL, "support").astype(np.float32), {"support": "exact"}),
    "background": (
        lambda: np.where(smooth("ground") < 0.2, -1000, 3000 * smooth("ground")).astype(np.int16),
        {"support": "exact", "background": -1000, "max_error": 4},
    ),
    "specials": (lambda: third_nan()[:, :9, :11], {"rel_error": 1e-2}),
    "lattice": (lambda: lattice()[:, :9, :11], {"rel_error": 1e-2}),
    "checkerboard": (lambda: checkerboard()[:8, :9, :10], {}),
    "impulse": (lambda: impulse(), {}),
    "waves": (lambda: waves((16, 24, 24)), {"psnr": 20.0}),
    "classic": (opposed, {"psnr": 30.0}),
    "predicted-classic": (stripes, {"rel_error": 1e-4}),
    "noise": (lambda: random_of("raw").integers(0, 256, (6, 7, 8), np.uint8), {"lossless": True}),
    "constant": (lambda: np.full(SMALL, -2.5), {}),
    "one-voxel": (lambda: np.full((1, 1, 1), 7, np.int8), {}),
    "slice": (lambda: blobs((30, 41), "slice").astype(np.float32), {"rel_error": 1e-2}),
    "swapped": (lambda: of_dtype("uint16", SMALL).astype(">u2"), {"rel_error": 1e-2}),
    "attributes": (
        lambda: np.arange(60, dtype=np.uint16).reshape(3, 4, 5),
        {"attrs": {"spacing": [1.0, 0.5, 0.5], "unit": "µm"}, "dataset": "scan/raw"},
    ),
    "frames": (lambda: [blobs(SMALL, f"f{i}").astype(np.float32) for i in range(3)], {"tile": 12}),
    "expected": (lambda: oversampled().astype(np.float32), {"psnr": 45.0}),
    "expected-codebook": (
        lambda: oversampled((14, 16, 15)).astype(np.float32), {"psnr": 50.0},
    ),
    "expected-lattice": (lambda: oversampled().astype(np.float32), {"rel_error": 2e-3}),
    "expected-lossless": (
        lambda: np.rint(300 * oversampled()).astype(np.int16), {"lossless": True},
    ),
    "trellis": (lambda: blobs((20, 29, 23), "tr").astype(np.float32), {"psnr": 50.0, "tile": 16}),
    "trellis-chains": (
        lambda: oversampled((104, 106, 105)).astype(np.float32), {"psnr": 25.0},
    ),
    "trellis-integers": (
        lambda: np.rint(3000 * oversampled()).astype(np.int16), {"psnr": 55.0},
    ),
    "trellis-classic": (opposed, {"psnr": 30.0}),
    "limits": (lambda: np.rint(9 * blobs((40, 41, 39), "few")).astype(np.uint8),
               {"lossless": True}),
    "limits-bound": (lambda: blobs((40, 41, 39), "thin").astype(np.float32) ** 3,
                     {"rel_error": 5e-3}),
    "kept": (lambda: blobs((24, 27, 25), "kept").astype(np.float32), {"max_error": 2e-3}),
    "kept-classic": (
        lambda: blobs((24, 27, 25), "kept").astype(np.float32), {"max_error": 2e-3, "effort": 1},
    ),
    "snapped": (lambda: cliffs().astype(np.float32), {"psnr": 35.0, "support": "off"}),
    "snapped-integers": (
        lambda: np.rint(900 * cliffs()).astype(np.int16), {"psnr": 35.0, "support": "off"},
    ),
    "closed-psnr": (lambda: cliffs().astype(np.float32), {"psnr": 60.0, "support": "off"}),
    "restored": (
        lambda: (oversampled((20, 27, 29)) * blobs((20, 27, 29), "restored")).astype(np.float32),
        {"psnr": 40.0},
    ),
    "restored-again": (
        lambda: cliffs((40, 41, 39)).astype(np.float32), {"psnr": 28.0, "support": "off"},
    ),
    "adaptive": (
        lambda: blobs((40, 37, 41), "adaptive").astype(np.float32),
        {"rel_error": 2e-3, "effort": 9},
    ),
    "adaptive-mask": (
        lambda: cliffs(), {"rel_error": 1e-3, "effort": 9, "support": "exact", "tile": 24},
    ),
    "adaptive-integers": (
        lambda: np.rint(900 * blobs((40, 37, 41), "adaptive")).astype(np.uint16),
        {"max_error": 3, "effort": 9},
    ),
    "adaptive-lossless": (
        lambda: np.rint(200 * blobs((40, 37, 41), "adaptive")).astype(np.uint8),
        {"lossless": True, "effort": 9},
    ),
    "adaptive-series": (
        lambda: [np.roll(cliffs(), i, 1).astype(np.float32) for i in range(2)],
        {"rel_error": 1e-3, "effort": 9},
    ),
    "trellis-adaptive": (
        lambda: oversampled((24, 29, 27)).astype(np.float32), {"psnr": 45.0, "effort": 9},
    ),
    "trellis-adaptive-integers": (
        lambda: np.rint(3000 * oversampled()).astype(np.int16),
        {"psnr": 30.0, "effort": 9, "tile": 24},
    ),
    "trellis-adaptive-chains": (
        lambda: oversampled((1, 520, 530))[0].astype(np.float32), {"psnr": 20.0, "effort": 9},
    ),
    "trellis-adaptive-series": (
        lambda: [(oversampled((20, 21, 22)) * (1 + 0.01 * i)).astype(np.float32) for i in range(2)],
        {"psnr": 40.0, "effort": 9},
    ),
    "series": (
        lambda: [np.roll(blobs((20, 29, 23), "follow"), i, 1).astype(np.float32) for i in range(9)],
        {"max_error": 5e-3, "tile": 16},
    ),
    "series-psnr": (
        lambda: [smooth("still").astype(np.float32) * (1 + 0.01 * i) for i in range(2)],
        {"psnr": 45.0},
    ),
    "series-lossless": (
        lambda: [np.rint(99 * smooth("still") + i).astype(np.int16) for i in range(2)],
        {"lossless": True},
    ),
    "unet": (
        lambda: blobs((20, 29, 23), "tiles").astype(np.float32),
        {"psnr": 20.0, "embed_model": True},
    ),
    "unet-integers": (
        lambda: np.rint(200 * smooth("unet")).astype(np.uint8),
        {"rel_error": 2e-2, "embed_model": True, "support": "exact"},
    ),
    "unet-classic": (opposed, {"rel_error": 5e-2, "embed_model": True}),
    "unet-slices": (lambda: smooth("flat"), {"psnr": 40.0, "embed_model": True}),
    "neural": (
        lambda: blobs((20, 29, 70), "neural").astype(np.float32),
        {"rel_error": 1e-2, "embed_model": True, "support": "off"},
    ),
    "neural-mask": (
        lambda: np.where(np.arange(17) == 7, np.nan, cliffs((13, 15, 17))),
        {"rel_error": 1e-3, "embed_model": True, "support": "exact"},
    ),
    "embedded": (lambda: smooth("embedded").astype(np.float32), {"embed_model": True}),
    "lossless-signs": (signed_zeros, {"lossless": True}),
    "lossless-narrow": (lambda: smooth("narrow").astype("f4").astype("f8"), {"lossless": True}),
    **{
        f"{kind}-{name}": (
            partial(of_dtype, name, SMALL),
            {"lossless": True} if kind == "lossless" else {"rel_error": 1e-2},
        )
        for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32",
                     "float64")
        for kind in ("lossless", "lossy")
    },
}  # fmt: skip


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array in C order, little-endian."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()


def expected_of(blob: bytes) -> dict[str, Any]:
    """What has to be found again in a golden file, by whatever reads it."""
    values = volcodec.decode(blob)
    return {
        "file": hashlib.sha256(blob).hexdigest(),
        "dtype": values.dtype.str,
        "shape": list(values.shape),
        "values": digest(values),
        "level1": digest(volcodec.decode(blob, level=1)) if min(values.shape[-2:]) > 4 else "",
    }


def made(name: str) -> bytes:
    """The bytes of a golden file."""
    volume, options = CASES[name]
    model: Any = "density"
    if name == "embedded":
        model = models.read(tiny_model(), "tiny")
    elif name.startswith("neural"):
        model = models.read(tiny_neural(), "tiny-neural")
    elif name.startswith("unet"):
        door = DOORS[1] if name == "unet-slices" else DOORS[0]
        model = models.read(tiny_unet(door), "tiny-unet")
    out = io.BytesIO()
    bank = name.partition("-")[0]
    with coded_by(bank) if bank in ("unet", "neural") else nullcontext():
        volcodec.compress(volume(), out, model=model, **options)
    return out.getvalue()

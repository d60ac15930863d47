"""TTHRESH, a Tucker decomposition with coded coefficients, by its command-line program.

What its sources say of the options used here: `-s` takes the fastest axis first; `-p` is a PSNR
whose peak is half the range of the values, in digits and a point only; the compressed file starts
with the number of axes (one byte), their lengths (four bytes each) and a code for the type, 3 for
float and 4 for double. OpenMP shares the work among OMP_NUM_THREADS.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .base import PSNR, Array, Peer, as_floats, not_floats

PROGRAM = "tthresh"
# What its PSNR lacks of one whose peak is the whole range, in dB.
HALF_RANGE_DB = 20 * math.log10(2)
_TYPES: dict[int, np.dtype[Any]] = {3: np.dtype(np.float32), 4: np.dtype(np.float64)}
_TYPE_NAMES: dict[np.dtype[Any], str] = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
}
_TYPE_AT = 1 + 3 * 4


def _run(arguments: list[str], folder: Path, threads: int) -> None:
    """Run the program in a folder; raise RuntimeError with its last words where it fails."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise RuntimeError(f"no program `{PROGRAM}` on the PATH")
    done = subprocess.run(
        [os.path.abspath(program), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        said = next((line for line in lines if line.startswith("Error")), "".join(lines[-1:]))
        raise RuntimeError(f"`{PROGRAM}` ended with status {done.returncode}: {said}")


class Tthresh(Peer):
    """TTHRESH at a target PSNR; reading and writing temporary files counts to its seconds."""

    name = "tthresh"
    family = "error-bounded"
    targets = (PSNR,)

    def title(self) -> str:
        return "TTHRESH"

    def missing(self) -> str | None:
        return None if shutil.which(PROGRAM) else f"no program `{PROGRAM}` on the PATH"

    def refuses(self, volume: Array) -> str | None:
        reason = not_floats(volume)
        if reason is None and (volume.size == 0 or volume.min() == volume.max()):
            return "takes no constant volume: its PSNR needs a range of values"
        return reason

    def encode(self, volume: Array, target: str, value: float, threads: int) -> bytes:
        self.check(target, value)
        floats = as_floats(volume)
        asked = max(value - HALF_RANGE_DB, 0.0)  # it knows no negative numbers
        with tempfile.TemporaryDirectory(prefix="volcodec-tthresh-") as name:
            folder = Path(name)
            floats.tofile(folder / "volume.raw")
            sizes = [str(length) for length in reversed(floats.shape)]
            kind = _TYPE_NAMES[floats.dtype]
            options = ["-t", kind, "-s", *sizes, "-p", f"{asked:.6f}"]
            _run(["-i", "volume.raw", *options, "-c", "coded"], folder, threads)
            return (folder / "coded").read_bytes()

    def decode(
        self, blob: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> Array:
        with tempfile.TemporaryDirectory(prefix="volcodec-tthresh-") as name:
            folder = Path(name)
            (folder / "coded").write_bytes(blob)
            _run(["-c", "coded", "-o", "volume.raw"], folder, threads)
            decoded = np.fromfile(folder / "volume.raw", dtype=_TYPES[blob[_TYPE_AT]])
        return decoded.reshape(shape)

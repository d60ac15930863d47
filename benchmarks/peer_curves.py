"""Curves of SPERR, SZ3 and ZFP on every volume of a folder, as JSON that other studies compare to.

Per volume: `sperr_psnr` (SPERR asked for a PSNR) and `sperr`, `sz3`, `zfp` (asked for a maximum
error relative to the range). A point holds what was asked, bpv (bits per voxel of the whole
stream), psnr (dB) and max (largest error over the range) as measured on the float32 result;
psnr_native and max_native, measured after rounding to the volume's own dtype, where that is an
integer; and the seconds of one encode and one decode on one thread. psnr is null where nothing was
lost.

    python -m benchmarks.peer_curves DATA -o benchmarks/results/peers_NAME.json
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from benchmarks.data import load_volume, recorded_path, volume_files
from benchmarks.peers import PEERS, SPERR, Peer, as_peer_input
from benchmarks.quality import as_dtype, measure, value_range
from benchmarks.records import rounded, save
from benchmarks.workers import JobError, run_jobs

PSNR_TARGETS = tuple(range(30, 71, 5))
# Asked only where the curve has not come down to the range that is compared.
LOW_PSNR_TARGETS = (25, 20, 15, 10, 5, 1)
LOW_ENOUGH_DB = 34.0
RELATIVE_ERRORS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
# Integer data: just under these errors, rounding brings a peer to an error of 0, 1 or 2 units.
# Without such points a peer's rate for lossless would be read off at a needlessly small bound.
INTEGER_ERRORS = (0.499, 1.499, 2.499)

Point = dict[str, float | None]


def _point(
    peer: Peer,
    original: NDArray[Any],
    volume: NDArray[np.float32],
    asked: float,
    psnr: bool,
) -> Point:
    span = value_range(original)
    began = time.perf_counter()
    if psnr:
        assert peer.encode_psnr is not None
        blob = peer.encode_psnr(volume, asked)
    else:
        blob = peer.encode_bound(volume, asked * span)
    encoded = time.perf_counter()
    decoded = peer.decode(blob, volume.shape)
    ended = time.perf_counter()
    loss = measure(volume, decoded)
    point: Point = {
        "asked": asked,
        "bpv": rounded(8 * len(blob) / volume.size, 6),
        "max": rounded(loss.max_error / span, 6),
        "psnr": rounded(loss.psnr, 6),
        "encode_s": rounded(encoded - began, 3),
        "decode_s": rounded(ended - encoded, 3),
    }
    if original.dtype.kind != "f":
        native = measure(original, as_dtype(decoded, original.dtype).reshape(original.shape))
        point["max_native"] = rounded(native.max_error / span, 6)
        point["psnr_native"] = rounded(native.psnr, 6)
    return point


def _psnr_curve(peer: Peer, original: NDArray[Any], volume: NDArray[np.float32]) -> list[Point]:
    points = [_point(peer, original, volume, target, True) for target in PSNR_TARGETS]
    for target in LOW_PSNR_TARGETS:
        lowest = points[0]["psnr"]
        if lowest is not None and lowest <= LOW_ENOUGH_DB:
            break
        points.insert(0, _point(peer, original, volume, target, True))
    return points


def _asked_errors(original: NDArray[Any], quick: bool) -> list[float]:
    errors = set(RELATIVE_ERRORS[1::2] if quick else RELATIVE_ERRORS)
    if original.dtype.kind != "f":
        relative = [error / value_range(original) for error in INTEGER_ERRORS]
        smallest, largest = RELATIVE_ERRORS[-1], RELATIVE_ERRORS[0]
        errors.update(float(f"{r:.4g}") for r in relative if smallest < r < largest)
    return sorted(errors, reverse=True)


def volume_curves(path: Path, quick: bool = False) -> dict[str, Any]:
    """All peers' curves on one volume."""
    original = load_volume(path)
    volume = as_peer_input(original)
    errors = _asked_errors(original, quick)
    curves = {
        peer.name: [_point(peer, original, volume, error, False) for error in errors]
        for peer in PEERS
    }
    curves["sperr_psnr"] = _psnr_curve(SPERR, original, volume)
    return {
        "curves": curves,
        "dtype": str(original.dtype),
        "range": value_range(original),
        "shape": list(original.shape),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of .h5 files with a dataset `volume`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--volumes", help="names, separated by commas; all without it")
    parser.add_argument("--jobs", type=int, default=2, help="volumes at a time (default 2)")
    parser.add_argument("--quick", action="store_true", help="three error bounds instead of seven")
    options = parser.parse_args()
    files = volume_files(options.data, options.volumes and options.volumes.split(","))
    volumes: dict[str, Any] = {}
    failed = 0
    for path, result in run_jobs(partial(volume_curves, quick=options.quick), files, options.jobs):
        if isinstance(result, JobError):
            failed += 1
            print(f"{path.stem}: {result}", flush=True)
            continue
        volumes[path.stem] = result
        save(
            options.output,
            {
                "data": recorded_path(options.data),
                "imagecodecs": imagecodecs.__version__,
                "volumes": volumes,
            },
        )
        print(f"{path.stem} ({len(volumes)} of {len(files)})", flush=True)
    if failed:
        raise SystemExit(f"{failed} volumes failed")


if __name__ == "__main__":
    main()

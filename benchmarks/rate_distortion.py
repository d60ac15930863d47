"""Rate-distortion of volcodec on a folder of volumes, in their own dtypes, beside the peers.

Every point is a whole encode and decode: bytes are those of the file, PSNR and error those of the
decoded array. The support is left free (`support="off"`), as the peers leave it. curves.py says
which games are played; bdrate.py how a BD-rate is taken.

    python -m benchmarks.rate_distortion DATA -o benchmarks/results/NAME.json

writes NAME.json (all points, BD-rates, summary) and NAME.csv (a row per volume).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves import GAMES, Record, games, recorded_bd, summary
from benchmarks.data import REPOSITORY, load_volume, recorded_path, volume_files
from benchmarks.quality import measure, value_range
from benchmarks.records import load, rounded, save
from benchmarks.workers import JobError, run_jobs

PSNR_TARGETS = (30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0)
QUICK_PSNR_TARGETS = (35.0, 50.0, 65.0)
RELATIVE_ERRORS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
QUICK_RELATIVE_ERRORS = (1e-2, 1e-3, 1e-4)
# Integer data: bounds of exactly 1 and 2 units, the corners of its staircase.
CORNER_UNITS = (1, 2)


def asked_errors(volume: NDArray[Any], quick: bool) -> list[float]:
    """Relative errors to ask for; of those that mean the same whole units, only the first."""
    span = value_range(volume)
    errors = list(QUICK_RELATIVE_ERRORS if quick else RELATIVE_ERRORS)
    if volume.dtype.kind == "f":
        return errors
    if not quick:
        # A little above the corner, so that rounding in error * range can't fall below it.
        corners = [units * (1 + 1e-9) / span for units in CORNER_UNITS]
        errors += [error for error in corners if errors[-1] < error < errors[0]]
    distinct: dict[int, float] = {}
    for error in sorted(errors, reverse=True):
        distinct.setdefault(math.floor(error * span), error)
    return list(distinct.values())


def _point(codec: Any, volume: NDArray[Any], span: float, **target: float) -> Record:
    began = time.perf_counter()
    blob = codec.encode(volume, support="off", threads=1, **target)
    encoded = time.perf_counter()
    decoded = codec.decode(blob, threads=1)
    ended = time.perf_counter()
    loss = measure(volume, decoded)
    return {
        "asked": next(iter(target.values())),
        "bytes": len(blob),
        "bpv": rounded(8 * len(blob) / volume.size, 6),
        "max": rounded(loss.max_error / span, 6),
        "psnr": rounded(loss.psnr, 6),
        "encode_s": rounded(encoded - began, 3),
        "decode_s": rounded(ended - encoded, 3),
    }


def volume_record(path: Path, model: str, device: str, quick: bool) -> Record:
    """Both curves of one volume."""
    import volcodec

    volume = load_volume(path)
    span = value_range(volume)
    codec = volcodec.Codec(model, device=device, threads=1)
    # Start-up (compiled kernels, the model) is apart from the seconds of the first point.
    corner = np.ascontiguousarray(volume[tuple(slice(0, 32) for _ in volume.shape)])
    codec.decode(codec.encode(corner, psnr=50.0, support="off", threads=1), threads=1)
    targets = QUICK_PSNR_TARGETS if quick else PSNR_TARGETS
    return {
        "dtype": str(volume.dtype),
        "error": [
            _point(codec, volume, span, rel_error=error) for error in asked_errors(volume, quick)
        ],
        "psnr": [_point(codec, volume, span, psnr=target) for target in targets],
        "range": span,
        "shape": list(volume.shape),
    }


def write_csv(path: Path, volumes: dict[str, Record]) -> None:
    """A row per volume: BD-rates in percent, then bits per voxel at each target."""
    columns = {
        f"bpv_{kind}_{point['asked']:g}": (kind, point["asked"])
        for kind in ("psnr", "error")
        for volume in volumes.values()
        for point in volume[kind]
        if point["asked"] in (*PSNR_TARGETS, *RELATIVE_ERRORS)
    }
    ordered = sorted(columns, key=lambda name: (columns[name][0] == "error", columns[name][1]))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["volume", "dtype", *(f"bd_{game}" for game in GAMES), *ordered])
        for name in sorted(volumes):
            volume = volumes[name]
            rates = {
                f"bpv_{kind}_{point['asked']:g}": point["bpv"]
                for kind in ("psnr", "error")
                for point in volume[kind]
            }
            percents = [volume["bd"][game]["percent"] for game in GAMES]
            rows.writerow([name, volume["dtype"], *percents, *(rates.get(c) for c in ordered)])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


def print_table(volumes: dict[str, Record], totals: dict[str, Record]) -> None:
    """BD-rates per volume, mean and worst; a coverage is shown where it is not the whole range."""
    print(f"{'volume':28}" + "".join(f"{game:>20}" for game in GAMES))
    for name in sorted(volumes):
        cells = []
        for game in GAMES:
            bd = volumes[name]["bd"][game]
            part = "" if bd["coverage"] >= 0.98 else f" (of {100 * bd['coverage']:.0f} %)"
            cells.append(_percent(bd["percent"]) + part)
        print(f"{name:28}" + "".join(f"{cell:>20}" for cell in cells))
    for row in ("mean", "worst"):
        print(f"{row:28}" + "".join(f"{_percent(totals[game][row]):>20}" for game in GAMES))


def default_peers(data: Path) -> Path:
    """The peers' curves that belong to a folder of volumes, by its name."""
    return REPOSITORY / "benchmarks" / "results" / f"peers_{data.resolve().name}.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of .h5 files with a dataset `volume`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--model", default="density", help="a model's name or path")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    parser.add_argument("--peers", type=Path, help="JSON of peer_curves; results/peers_DATA.json")
    parser.add_argument("--volumes", help="names, separated by commas; all without it")
    parser.add_argument("--quick", action="store_true", help="three targets of each kind")
    parser.add_argument("--jobs", type=int, default=2, help="volumes at a time (default 2)")
    options = parser.parse_args()
    peers_path = options.peers or default_peers(options.data)
    peers = load(peers_path)["volumes"]
    files = volume_files(options.data, options.volumes and options.volumes.split(","))
    missing = [path.stem for path in files if path.stem not in peers]
    if missing:
        raise SystemExit(f"{peers_path} lacks {', '.join(missing)}: run benchmarks.peer_curves")
    work = partial(volume_record, model=options.model, device=options.device, quick=options.quick)
    volumes: dict[str, Record] = {}
    failed: dict[str, str] = {}
    for path, result in run_jobs(work, files, options.jobs):
        print(
            f"{len(volumes) + len(failed) + 1}/{len(files)} {path.stem}",
            file=sys.stderr,
        )
        if isinstance(result, JobError):
            failed[path.stem] = str(result)
            continue
        bd = games(result, peers[path.stem])
        result["bd"] = {game: recorded_bd(bd[game]) for game in GAMES}
        volumes[path.stem] = result
        save(
            options.output,
            {
                "data": recorded_path(options.data),
                "failed": failed,
                "model": Path(options.model).name,
                "peers": recorded_path(peers_path),
                "quick": options.quick,
                "summary": summary(volumes),
                "volumes": volumes,
            },
        )
    if volumes:
        write_csv(options.output.with_suffix(".csv"), volumes)
        print_table(volumes, summary(volumes))
    for name, reason in sorted(failed.items()):
        print(f"{name} failed: {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

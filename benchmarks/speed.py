"""Speed beside SPERR, SZ3 and ZFP, by stage and by size; from the command line, start-up included.

Six studies, each by itself or, by default, all:

- `volumes`: encode and decode of real volumes of at least five million voxels at a relative error
  of 1e-3, one thread and all, volcodec as it comes and `--fast`, the peers in the same run; each
  codec in a process of its own, their repeats interleaved, medians.
- `threads`: what all threads gain over one, beside what as many processes gain (`scaling.py`).
- `psnr`: sizes of `--fast` beside SPERR's at equal PSNR (`equal_psnr.py`).
- `stages`: where the time of one thread goes, in nanoseconds a voxel.
- `sizes`: nanoseconds a voxel and peak memory of generated smoke, 32³ to 512³.
- `command`: wall time of `volcodec compress` of 256³ float32, and of the same through SPERR's HDF5
  filter (hdf5plugin, where it is installed), start-up included.

    python -m benchmarks.speed ../shared/data/test -o benchmarks/results/speed.json

Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.util
import json
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import equal_psnr, scaling
from benchmarks.generate import smoke, write_smoke
from benchmarks.throughput import machine
from volcodec.bench import throughput, volumes
from volcodec.bench.records import rounded, save
from volcodec.bench.workers import JobError, run_jobs

Record = dict[str, Any]
LEAST_VOXELS = 5_000_000
CODECS = {"volcodec": "density", throughput.FAST: "density", "sperr": "", "sz3": "", "zfp": ""}
_TURNS = 7  # repeats of the study of threads, for each that is asked for: they are short
SIZES = (32, 64, 128, 256, 512)
# functions by the stage they belong to; what is left is called "other"
STAGES = {
    "look and survey": ("_ends", "_measure", "survey", "look"),
    "support masks": ("_code_voxels", "encode_mask", "decode_mask"),
    "filling": ("_relax", "fill"),
    "levels: bands, contexts, network, decisions": ("encode_level",),
    "levels: contexts, network, rANS (decoding)": ("decode_level",),
    "wavelet": ("_lift_x", "_lift_planes", "dequantise", "_expecting"),
    "rANS (encoding)": ("encode_runs", "compact"),
    "plans": ("_weigh", "__init__"),
    "values and outliers": ("_to_integers", "_to_values", "_find_outliers"),
    "raw tiles": ("compress",),
}  # fmt: skip


def _large(paths: list[Path]) -> Iterator[volumes.Measured]:
    """The volumes that are large enough to say something about speed."""
    for volume in volumes.find(paths, None):
        if volume.load().size >= LEAST_VOXELS:
            yield volume


def beside_peers(paths: list[Path], repeats: int) -> list[Record]:
    """Rows of :func:`volcodec.bench.throughput.measure`, and each codec's speed over SPERR's."""
    rows: list[Record] = []
    for volume in _large(paths):
        found = throughput.measure(volume, CODECS, "cpu", repeats)
        for row in found:
            (sperr,) = (
                r for r in found if r["codec"] == "sperr" and r["threads"] == row["threads"]
            )
            for way in ("encode", "decode"):
                row[f"{way}_over_sperr"] = rounded(row[f"{way}_mb_s"] / sperr[f"{way}_mb_s"], 3)
            print(
                f"{volume.name:26}{row['codec']:16}{row['threads']} threads"
                f"  encode {row['encode_mb_s']:8.4g} MB/s ({row['encode_over_sperr']:.2f})"
                f"  decode {row['decode_mb_s']:8.4g} MB/s ({row['decode_over_sperr']:.2f})"
                f"  {row['bytes']} bytes",
                flush=True,
            )
            rows.append({"volume": volume.name, **row})
    return rows


def at_equal_psnr(paths: list[Path]) -> list[Record]:
    """Rows of :func:`benchmarks.equal_psnr.measure`."""
    rows: list[Record] = []
    for volume in _large(paths):
        for row in equal_psnr.measure(volume):
            print(row, flush=True)
            rows.append(row)
    return rows


def by_threads(paths: list[Path], repeats: int) -> list[Record]:
    """Rows of :func:`benchmarks.scaling.measure`."""
    rows: list[Record] = []
    for volume in _large(paths):
        for row in scaling.measure(volume, repeats):
            print(f"{row['volume']:26}{row['codec']:16}", end="")
            for step in ("encode", "decode"):
                median, least = (row[f"{step}_{kind}"] for kind in ("median", "least"))
                print(
                    f"  {step} threads {median['threads_gain']:.2f} ({least['threads_gain']:.2f})"
                    f" processes {median['processes_gain']:.2f} ({least['processes_gain']:.2f})",
                    end="",
                )
            print(flush=True)
            rows.append(row)
    return rows


def _stages(work: Callable[[], Any], voxels: int) -> Record:
    work()
    profile = cProfile.Profile()
    profile.enable()
    work()
    profile.disable()
    names = {name: stage for stage, group in STAGES.items() for name in group}
    out: Record = {}
    stats: Any = pstats.Stats(profile)
    for (_, _, name), (_, _, own, _, _) in stats.stats.items():
        short = name.partition("'")[2].partition("'")[0] or name
        stage = names.get(short, "other")
        out[stage] = out.get(stage, 0.0) + own * 1e9 / voxels
    return {stage: rounded(ns, 3) for stage, ns in sorted(out.items(), key=lambda i: -i[1])}


def by_stage(paths: list[Path]) -> list[Record]:
    """Nanoseconds a voxel of one thread, for the first volume that is large enough."""
    import volcodec

    volume = next(_large(paths))
    values = volume.load()
    rows = []
    codec = volcodec.Codec(threads=1)
    for effort in (5, 1):
        blob = codec.encode(values, rel_error=1e-3, effort=effort)
        for step, work in (
            ("encode", lambda e=effort: codec.encode(values, rel_error=1e-3, effort=e)),
            ("decode", lambda b=blob: codec.decode(b)),
        ):
            found = _stages(work, values.size)
            rows.append({"volume": volume.name, "effort": effort, "step": step, "ns": found})
            print(f"{volume.name} effort {effort} {step}: {found}", flush=True)
    return rows


def _size(size: int) -> Record:
    import volcodec

    codec = volcodec.Codec(threads=1)
    values = np.empty((size,) * 3, np.float32)
    for z in range(0, size, 32):  # in slabs: the peak is to be the codec's
        slab = (slice(z, z + 32), slice(0, size), slice(0, size))
        values[slab] = smoke(size, slab)
    corner = np.ascontiguousarray(values[:32, :32, :32])
    codec.decode(codec.encode(corner, rel_error=1e-3))
    seconds: dict[str, list[float]] = {"encode": [], "decode": []}
    for _ in range(3 if size <= 256 else 1):
        began = time.perf_counter()
        blob = codec.encode(values, rel_error=1e-3)
        between = time.perf_counter()
        codec.decode(blob)
        seconds["encode"].append(between - began)
        seconds["decode"].append(time.perf_counter() - between)
    ns = {
        f"{step}_ns": rounded(statistics.median(s) * 1e9 / values.size, 4)
        for step, s in seconds.items()
    }
    return {"size": size, **ns, "bytes": len(blob), "peak_mb": rounded(throughput.peak_mb(), 4)}


def by_size() -> list[Record]:
    """Nanoseconds a voxel of one thread; each size in a process of its own."""
    rows = []
    for size in SIZES:
        ((_, row),) = run_jobs(_size, [size], 1)
        if isinstance(row, JobError):
            raise SystemExit(f"{size}³ failed: {row}")
        print(row, flush=True)
        rows.append(row)
    return rows


_SPERR = """
import sys, h5py, hdf5plugin, numpy as np
with h5py.File(sys.argv[1]) as f:
    volume = f["volume"][()]
bound = 1e-3 * float(volume.max() - volume.min())
with h5py.File(sys.argv[2], "w") as f:
    f.create_dataset("volume", data=volume, chunks=volume.shape,
                     **hdf5plugin.Sperr(absolute=bound))
"""


def from_the_command_line(repeats: int) -> Record:
    """Seconds of a process each, medians; the first run of each, which fills caches, left out."""
    with tempfile.TemporaryDirectory(prefix="volcodec-speed-") as name:
        folder = Path(name)
        source = folder / "smoke.h5"
        write_smoke(source, 256)
        main = "from volcodec.cli import main; main()"
        ours = [sys.executable, "-c", main, "compress", str(source), str(folder / "out.vc")]
        commands = {
            "volcodec compress": [*ours, "--force"],
            "volcodec compress --fast": [*ours, "--force", "--fast"],
            "volcodec --help": [sys.executable, "-c", main, "--help"],
        }
        if importlib.util.find_spec("hdf5plugin") is not None:
            out = str(folder / "sperr.h5")
            commands["h5py with SPERR"] = [sys.executable, "-c", _SPERR, str(source), out]
        seconds: dict[str, list[float]] = {key: [] for key in commands}
        for turn in range(repeats + 1):
            for key, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if turn:
                    seconds[key].append(time.perf_counter() - began)
        found = {key: rounded(statistics.median(s), 3) for key, s in seconds.items()}
        sizes = {p.name: p.stat().st_size for p in folder.iterdir() if p != source}
    print(f"{found} {sizes}", flush=True)
    return {"seconds": found, "bytes": sizes}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="*", type=Path, help="files or folders of volumes")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--only", default="volumes,threads,psnr,stages,sizes,command")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    results: Record = {}
    if options.output.exists():
        results = json.loads(options.output.read_text(encoding="utf-8"))
    results["machine"] = machine()
    for study in options.only.split(","):
        if study == "volumes":
            results[study] = beside_peers(options.data, options.repeats)
        elif study == "threads":
            results[study] = by_threads(options.data, _TURNS * options.repeats)
        elif study == "psnr":
            results[study] = at_equal_psnr(options.data)
        elif study == "stages":
            results[study] = by_stage(options.data)
        elif study == "sizes":
            results[study] = by_size()
        elif study == "command":
            results[study] = from_the_command_line(options.repeats)
        else:
            parser.error(f"there is no study called {study!r}")
        save(options.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

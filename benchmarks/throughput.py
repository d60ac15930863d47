"""Speed and memory of volcodec on a generated smoke-like volume, start-up apart.

For 1 and 2 threads: encode and decode of 256³ float32 at a relative error of 1e-3, MB/s of raw data
(10^6 bytes), median of three after a warm-up; start-up is the seconds from `import volcodec` to the
end of the first encode and decode of a 32³ corner. Each direction runs in a process of its own, so
that its peak memory is its own. `--stream` also compresses and decompresses a larger HDF5 file
between paths, which should need memory for tiles and not for the volume. Volumes that lie on a CUDA
device: benchmarks.device.

    python -m benchmarks.throughput -o benchmarks/results/throughput.json
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generate import smoke, write_smoke
from volcodec.bench.conditions import processor
from volcodec.bench.records import rounded, save
from volcodec.bench.workers import JobError, run_jobs

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One direction at one number of threads."""

    folder: Path
    size: int
    threads: int
    repeats: int
    model: str
    device: str

    @property
    def raw_mb(self) -> float:
        return 4 * self.size**3 / 1e6

    @property
    def volume(self) -> Path:
        return self.folder / f"smoke{self.size}"

    @property
    def blob(self) -> Path:
        return self.folder / f"smoke{self.size}-{self.threads}.vc"


def _peak_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _timed(action: Callable[[], Any], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return seconds


def _started(job: Job) -> tuple[Any, float]:
    """A codec that has encoded and decoded something, and the seconds that took."""
    corner = smoke(job.size, tuple(slice(job.size // 2, job.size // 2 + 32) for _ in range(3)))
    began = time.perf_counter()
    import volcodec

    codec = volcodec.Codec(job.model, device=job.device, threads=job.threads)
    codec.decode(codec.encode(corner, rel_error=1e-3, threads=job.threads), threads=job.threads)
    return codec, time.perf_counter() - began


def _record(job: Job, seconds: list[float], start: float, before: float) -> Record:
    return {
        "mb_per_s": rounded(job.raw_mb / statistics.median(seconds), 4),
        "seconds": [rounded(value, 4) for value in seconds],
        "start_s": rounded(start, 3),
        "start_memory_mb": rounded(before, 4),
        "peak_memory_mb": rounded(_peak_mb(), 4),
    }


def encode(job: Job) -> Record:
    """Encode the volume (read before the clock starts) and leave the file for `decode`."""
    codec, start = _started(job)
    before = _peak_mb()
    volume = np.load(job.volume.with_suffix(".npy"))
    blobs: list[bytes] = []

    def once() -> None:
        blobs[:] = [codec.encode(volume, rel_error=1e-3, threads=job.threads)]

    once()
    seconds = _timed(once, job.repeats)
    job.blob.write_bytes(blobs[0])
    return {**_record(job, seconds, start, before), "bytes": len(blobs[0])}


def decode(job: Job) -> Record:
    """Decode the file that `encode` left."""
    codec, start = _started(job)
    before = _peak_mb()
    blob = job.blob.read_bytes()

    def once() -> None:
        codec.decode(blob, threads=job.threads)

    once()
    return _record(job, _timed(once, job.repeats), start, before)


def compress(job: Job) -> Record:
    """Compress the HDF5 file from path to path, once."""
    _, start = _started(job)
    before = _peak_mb()
    import volcodec

    options: Record = {
        "rel_error": 1e-3,
        "threads": job.threads,
        "device": job.device,
        "force": True,
    }
    source = job.volume.with_suffix(".h5")
    seconds = _timed(lambda: volcodec.compress(source, job.blob, model=job.model, **options), 1)
    return {**_record(job, seconds, start, before), "bytes": job.blob.stat().st_size}


def decompress(job: Job) -> Record:
    """Decompress what `compress` wrote from path to path, once."""
    _, start = _started(job)
    before = _peak_mb()
    import volcodec

    out = job.folder / "again.h5"
    options: Record = {"threads": job.threads, "device": job.device, "force": True}
    seconds = _timed(lambda: volcodec.decompress(job.blob, out, **options), 1)
    out.unlink()
    return _record(job, seconds, start, before)


def write_array(job: Job) -> Record:
    """The volume as .npy. In a process of its own: a parent's memory counts as its child's."""
    np.save(job.volume.with_suffix(".npy"), smoke(job.size))
    return {}


def write_hdf5(job: Job) -> Record:
    """The volume as HDF5."""
    write_smoke(job.volume.with_suffix(".h5"), job.size)
    return {}


def _run(step: Callable[[Job], Record], job: Job) -> Record:
    ((_, result),) = run_jobs(step, [job], 1)
    if isinstance(result, JobError):
        raise SystemExit(f"{step.__name__} failed: {result}")
    if result:
        print(
            f"{step.__name__:11}{job.size:>5}³ {job.threads} threads{result['mb_per_s']:>9.1f} MB/s"
            f"   start {result['start_s']:.2f} s   peak {result['peak_memory_mb']:.0f} MB"
            f" (volume {job.raw_mb:.0f} MB)",
            flush=True,
        )
    return dict(result)


def machine() -> Record:
    """What the figures were taken on."""
    return {
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--model", default="density", help="a model's name or path")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    parser.add_argument("--size", type=int, default=256, help="voxels along each axis")
    parser.add_argument("--threads", default="1,2", help="numbers, separated by commas")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stream", type=int, metavar="SIZE", help="a path to path run too: 512")
    options = parser.parse_args()
    results: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="volcodec-throughput-") as folder:

        def job(size: int, threads: int) -> Job:
            return Job(
                Path(folder),
                size,
                threads,
                options.repeats,
                options.model,
                options.device,
            )

        numbers = [int(number) for number in options.threads.split(",")]
        _run(write_array, job(options.size, 1))
        plan = [(step, job(options.size, n)) for n in numbers for step in (encode, decode)]
        if options.stream:
            _run(write_hdf5, job(options.stream, 1))
            streamed = job(options.stream, max(numbers))
            plan += [(compress, streamed), (decompress, streamed)]
        for step, work in plan:
            about = {"step": step.__name__, "size": work.size, "threads": work.threads}
            results.append({**about, **_run(step, work)})
    model = Path(options.model).name
    save(options.output, {"machine": machine(), "model": model, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())

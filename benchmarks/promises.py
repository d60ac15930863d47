"""Every promise of a target, checked through files on every volume of a folder and on edge cases.

For each volume, each target and each support, one process compresses to a file on disk and another,
fresh one decompresses it to a second file, reads that back and holds it against the original:
bound, PSNR window, lossless bits, support, NaN and Inf, dtype, shape. One file of each volume is
also compressed again (same bytes?), decoded with two threads and by region (same values?) and
verified. Recorded are bytes and what an exact support costs.

    python -m benchmarks.promises DATA -o benchmarks/results/promises.json

Exit status 1 where anything is broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import load_volume, recorded_path, volume_files
from benchmarks.edge_cases import CASES, QUICK_CASES
from benchmarks.promise_checks import broken_promises, support_kept
from volcodec.bench.quality import measure, value_range
from volcodec.bench.records import rounded, save
from volcodec.bench.workers import JobError, run_jobs

Volume = NDArray[Any]
Row = dict[str, Any]

TARGETS: tuple[dict[str, Any], ...] = (
    {"rel_error": 1e-2},
    {"rel_error": 1e-3},
    {"rel_error": 1e-4},
    {"psnr": 40.0},
    {"psnr": 50.0},
    {"psnr": 60.0},
    {"lossless": True},
)
QUICK_TARGETS = (TARGETS[1], TARGETS[4], TARGETS[6])
# The target whose file is looked at most closely, and for which `auto` is tried as well.
MAIN_TARGET = {"rel_error": 1e-3}
# `auto` owes an exact support that costs at most 5 %; a file this near to that may fall either way.
AUTO_COST, AUTO_SLACK = 0.05, 0.002
# Broken promises printed in full.
SHOWN = 40


@dataclass(frozen=True)
class Job:
    """One volume: an HDF5 file (path) or an edge case (path is None), and where its files go."""

    name: str
    path: Path | None
    folder: Path
    model: str
    quick: bool

    @property
    def runs(self) -> list[tuple[dict[str, Any], str]]:
        """(target, support) pairs."""
        targets = QUICK_TARGETS if self.quick else TARGETS
        pairs = [(target, support) for target in targets for support in ("exact", "off")]
        return [*pairs, (MAIN_TARGET, "auto")]

    def original(self) -> Volume:
        return load_volume(self.path) if self.path else CASES[self.name]()

    def file(self, target: dict[str, Any], support: str) -> Path:
        ((kind, value),) = target.items()
        return self.folder / f"{kind}-{value}-{support}.vc"


def label(target: dict[str, Any]) -> str:
    """A target as the tables name it."""
    ((kind, value),) = target.items()
    return kind if value is True else f"{kind}={value:g}"


def _source(job: Job, original: Volume) -> Path | None:
    """The file that is compressed; None for strides that no file format has."""
    if job.path:
        return job.path
    if not (original.flags.c_contiguous or original.flags.f_contiguous):
        return None
    source = job.folder / "original.npy"
    if not source.exists():
        np.save(source, original)
    return source


def _compress(job: Job, original: Volume, target: dict[str, Any], support: str, to: Path) -> None:
    import volcodec

    options = {**target, "support": support, "threads": 1}
    source = _source(job, original)
    if source is None:
        to.write_bytes(volcodec.Codec(job.model, device="cpu").encode(original, **options))
    else:
        volcodec.compress(source, to, model=job.model, device="cpu", force=True, **options)


def _decompress(job: Job, original: Volume, file: Path) -> Volume:
    import volcodec

    source = _source(job, original)
    if source is None:
        decoded: Volume = volcodec.decode(file.read_bytes(), threads=1)
        return decoded
    out = file.with_suffix(source.suffix)
    volcodec.decompress(file, out, threads=1, device="cpu", force=True)
    try:
        loaded: Volume = load_volume(out) if out.suffix == ".h5" else np.load(out)
    finally:
        out.unlink()
    return loaded


def _attempt(broken: list[str], what: str, action: Callable[[], Any]) -> Any:
    """The action's result; None, and a sentence in `broken`, where it raises."""
    try:
        return action()
    except Exception as error:  # whatever a codec raises is what is measured
        traceback.print_exc(file=sys.stderr)
        broken.append(f"{what}: {type(error).__name__}: {error}")
        return None


def compress_all(job: Job) -> list[str]:
    """Write all files of a job; a sentence ("" if all went well) for each run."""
    job.folder.mkdir(parents=True, exist_ok=True)
    original = job.original()
    problems = []
    for target, support in job.runs:
        broken: list[str] = []
        to = job.file(target, support)
        _attempt(broken, "compress", partial(_compress, job, original, target, support, to))
        problems.append("; ".join(broken))
    return problems


def _coarsest_psnr(job: Job, original: Volume, support: str) -> float:
    import volcodec

    codec = volcodec.Codec(job.model, device="cpu", threads=1)
    blob = codec.encode(original, psnr=1.0, support=support, threads=1)
    return measure(original, codec.decode(blob, threads=1)).psnr


def _middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(n // 3, max(n // 3 + 1, 2 * n // 3)) for n in shape)


def closer_look(job: Job, original: Volume, file: Path) -> list[str]:
    """Same bytes again, same values with more threads and by region, and what verify says."""
    import volcodec

    wrong = []
    again = file.with_suffix(".again")
    _compress(job, original, MAIN_TARGET, "exact", again)
    if again.read_bytes() != file.read_bytes():
        wrong.append("compressing again gave other bytes")
    blob = file.read_bytes()
    whole = volcodec.decode(blob, threads=1)
    if volcodec.decode(blob, threads=2).tobytes() != whole.tobytes():
        wrong.append("two threads decode other values than one")
    region = _middle(original.shape)
    if volcodec.decode(blob, region=region).tobytes() != whole[region].tobytes():
        wrong.append(f"region {region} is not that part of the whole")
    source = _source(job, original)
    report = volcodec.verify(file, against=source) if source else volcodec.verify(file)
    if not report.ok:
        wrong.append(f"verify: {report.problems}")
    return wrong


def _check_run(job: Job, original: Volume, target: dict[str, Any], support: str) -> Row:
    file = job.file(target, support)
    row: Row = {
        "target": label(target),
        "support": support,
        "bytes": file.stat().st_size,
    }
    broken: list[str] = []
    decoded = _attempt(broken, "decompress", partial(_decompress, job, original, file))
    if decoded is not None:
        coarsest = partial(_coarsest_psnr, job, original, support)
        checks = partial(broken_promises, original, decoded, target, support, coarsest)
        broken += _attempt(broken, "check", checks) or []
        if decoded.shape == original.shape:
            loss, span = measure(original, decoded), value_range(original)
            row["max"] = rounded(loss.max_error / span if span else loss.max_error, 6)
            row["psnr"] = rounded(loss.psnr, 6)
            row["support_kept"] = not support_kept(original, decoded)
    if target == MAIN_TARGET and support == "exact":
        broken += _attempt(broken, "closer look", partial(closer_look, job, original, file)) or []
    row["broken"] = "; ".join(broken)
    return row


def check_all(job: Job) -> Row:
    """Decompress and check all files that compress_all wrote."""
    original = job.original()
    rows = [
        _check_run(job, original, target, support)
        for target, support in job.runs
        if job.file(target, support).exists()
    ]
    return {"dtype": original.dtype.str, "shape": list(original.shape), "runs": rows}


def _bytes(rows: list[Row], target: str, support: str) -> int | None:
    found = (r["bytes"] for r in rows if (r["target"], r["support"]) == (target, support))
    return next(found, None)


def support_costs(rows: list[Row]) -> dict[str, float | None]:
    """Percent that an exact support adds to the file, for each target."""
    costs = {}
    for target in dict.fromkeys(row["target"] for row in rows):
        exact, off = _bytes(rows, target, "exact"), _bytes(rows, target, "off")
        if exact and off:
            costs[target] = rounded(100 * (exact / off - 1), 4)
    return costs


def check_auto(rows: list[Row]) -> None:
    """Mark `auto` broken where an exact support was cheap and was not kept."""
    cost = support_costs(rows).get(label(MAIN_TARGET))
    if cost is None or cost / 100 > AUTO_COST - AUTO_SLACK:
        return
    for row in rows:
        if row["support"] == "auto" and not row.get("support_kept", True):
            sentence = f"auto: an exact support costs {cost:.2f} % and was not kept"
            row["broken"] = "; ".join(filter(None, (row["broken"], sentence)))


def examine(jobs: list[Job], parallel: int) -> dict[str, Row]:
    """Compress and check every job; a record per volume, failures included."""
    volumes: dict[str, Row] = {}
    problems = dict(run_jobs(compress_all, jobs, parallel))
    for job, result in run_jobs(check_all, jobs, parallel):
        record: Row = {"runs": []}
        if isinstance(result, JobError):
            record["runs"].append({"target": "all", "support": "", "broken": f"decode: {result}"})
        else:
            record = result
        written = problems[job]
        sentences = [str(written)] if isinstance(written, JobError) else written
        for (target, support), sentence in zip(job.runs, sentences, strict=False):
            if sentence:
                record["runs"].append(
                    {"target": label(target), "support": support, "broken": sentence}
                )
        complete = [row for row in record["runs"] if "bytes" in row]
        check_auto(complete)
        record["exact_cost_percent"] = support_costs(complete)
        volumes[job.name] = record
        broken = sum(bool(row["broken"]) for row in record["runs"])
        print(f"{job.name}: {broken or 'none'} broken", file=sys.stderr)
        for file in job.folder.glob("*"):
            file.unlink()
    return volumes


def print_table(volumes: dict[str, Row]) -> int:
    """A row per volume and then what is broken; returns how many runs broke a promise."""
    main = label(MAIN_TARGET)
    heads = f"{'runs':>5}{'broken':>8}{f'bytes, {main}':>24}{'exact costs':>13}{'auto':>7}"
    print(f"{'volume':28}{heads}")
    total = 0
    for name in sorted(volumes):
        rows = volumes[name]["runs"]
        broken = sum(bool(row["broken"]) for row in rows)
        total += broken
        cost = volumes[name]["exact_cost_percent"].get(main)
        auto = next((r.get("support_kept") for r in rows if r["support"] == "auto"), None)
        kept = {True: "kept", False: "not", None: "-"}[auto]
        shown = "-" if cost is None else f"{cost:+.2f} %"
        size = _bytes([row for row in rows if "bytes" in row], main, "off")
        print(f"{name:28}{len(rows):>5}{broken:>8}{size or '-':>24}{shown:>13}{kept:>7}")
    sentences = [
        f"BROKEN {name}, {row['target']}, support {row['support']}: {row['broken']}"
        for name in sorted(volumes)
        for row in volumes[name]["runs"]
        if row["broken"]
    ]
    print("\n".join(sentences[:SHOWN]))
    if len(sentences) > SHOWN:
        print(f"... and {len(sentences) - SHOWN} more, all of them in the JSON")
    print(f"{total} of {sum(len(v['runs']) for v in volumes.values())} runs broke a promise")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of .h5 files with a dataset `volume`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--model", default="density", help="a model's name or path")
    parser.add_argument("--volumes", help="names, separated by commas; `none` for edge cases only")
    parser.add_argument("--quick", action="store_true", help="three targets, fewer edge cases")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="volumes at a time")
    options = parser.parse_args()
    files: list[Path] = []
    if options.volumes != "none":
        files = volume_files(options.data, options.volumes and options.volumes.split(","))
    with tempfile.TemporaryDirectory(prefix="volcodec-promises-") as scratch:
        sources: list[tuple[str, Path | None]] = [(path.stem, path) for path in files]
        sources += [(name, None) for name in (QUICK_CASES if options.quick else CASES)]
        jobs = [
            Job(name, path, Path(scratch) / name, options.model, options.quick)
            for name, path in sources
        ]
        volumes = examine(jobs, options.jobs)
    broken = print_table(volumes)
    save(
        options.output,
        {
            "broken": broken,
            "data": recorded_path(options.data),
            "model": Path(options.model).name,
            "quick": options.quick,
            "volumes": volumes,
        },
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

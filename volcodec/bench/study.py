"""A study: every codec on every volume, each pair in a process of its own, kept for the next time.

What was measured lies in REPORT/cache, one JSON for each volume and codec, named after the content
of the volume, the codec's version (for volcodec its sources and the model) and what was asked. A
study that was cut off goes on where it was; one after a change of volcodec measures volcodec only.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volcodec import models as shipped
from volcodec.bench import conditions, games, peers, points, throughput, volumes
from volcodec.bench.records import load, save, write_csv
from volcodec.bench.volumes import Measured
from volcodec.bench.workers import JobError, run_jobs
from volcodec.errors import InputError, VolcodecError

Record = dict[str, Any]
Progress = Callable[[int, int, str], None]
FORMAT = 1
OURS = "volcodec"
_ASKED = 1  # raise where points.py asks for something else: the cache is then made anew


@dataclass(frozen=True)
class Options:
    """How a study is made; names as on the command line."""

    models: tuple[str, ...] = ("density",)
    device: str = "cpu"
    support: str = "off"
    effort: int = 5
    quick: bool = False
    jobs: int = 2
    repeats: int = 3
    dataset: str | None = None
    only_peers: tuple[str, ...] | None = None
    speed: bool = True


@dataclass(frozen=True)
class Job:
    """One codec on one volume. ``kind``: describe, points or slices."""

    kind: str
    volume: Measured
    codec: str
    options: Options
    model: str = ""
    peer: str = ""
    stem: str = ""
    folder: Path = Path()


def work(job: Job) -> Any:
    """What a process does for a job; a string says why the codec refuses the volume."""
    import volcodec

    if job.kind == "describe":
        return volumes.describe(job.volume)
    volume = job.volume.load()
    if job.kind == "points" and not job.model:
        peer = peers.named(job.codec)
        reason = peer.refuses(volume.reshape((1,) * (3 - volume.ndim) + volume.shape))
        return reason or points.peer_points(peer, volume, job.options.quick)
    codec = volcodec.Codec(job.model, device=job.options.device, threads=1)
    if job.kind == "points":
        o = job.options
        return points.own_points(codec, volume, o.support, o.effort, o.quick)
    from volcodec.bench import slices

    return slices.compare(codec, job.codec, peers.named(job.peer), volume, job.stem, job.folder)


class Study:
    """One study into one folder."""

    def __init__(
        self,
        data: Sequence[Path],
        report: Path,
        options: Options,
        command: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.report, self.options = report, options
        self.progress = progress or (lambda done, total, stage: None)
        found = volumes.find(data, options.dataset)
        self.volumes = volumes.a_few(found) if options.quick else found
        self.codecs: Record = {}
        self.models: dict[str, str] = {}
        self.identities: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self._know_models()
        self._know_peers()
        self.command = command or " ".join(map(shlex.quote, ["volcodec", "bench", *map(str, data)]))

    def _know_models(self) -> None:
        import volcodec

        self.model_records = []
        code = conditions.code_identity()
        for given in self.options.models:
            model = shipped.load(given)
            codec = OURS if len(self.options.models) == 1 else f"{OURS}:{model.name}"
            title = f"volcodec {volcodec.__version__} ({model.name})"
            self.codecs[codec] = {"title": title, "family": "volcodec", "missing": None}
            self.models[codec] = given
            identity = model.identity.hex()
            self.identities[codec] = (
                f"{code} {identity} {self.options.support} {self.options.effort}"
            )
            self.model_records.append(
                {
                    "codec": codec,
                    "name": model.name,
                    "identity": identity,
                    "bytes": len(model.data),
                }
            )

    def _know_peers(self) -> None:
        wanted = self.options.only_peers
        for peer in peers.ALL:
            if wanted is not None and peer.name not in wanted:
                continue
            missing = peer.missing()
            title = peer.title()
            self.codecs[peer.name] = {"title": title, "family": peer.family, "missing": missing}
            if not missing:
                self.identities[peer.name] = title
        unknown = set(wanted or ()) - {peer.name for peer in peers.ALL}
        if unknown:
            known = ", ".join(peer.name for peer in peers.ALL)
            raise InputError(f"there is no peer {', '.join(sorted(unknown))}; there are {known}")

    # ------------------------------------------------------------------ what is kept

    def _kept(self, digest: str, kind: str, identity: str) -> Path:
        asked = f"{_ASKED} {kind} {identity} quick={self.options.quick}"
        name = hashlib.sha256(asked.encode()).hexdigest()[:16]
        return self.report / "cache" / digest / f"{kind}-{name}.json"

    def _run(
        self, jobs: Iterable[Job], place: Callable[[Job], Path | None], stage: str
    ) -> dict[Job, Any]:
        """Results of the jobs, from the cache where they are there; JobError where one failed."""
        found: dict[Job, Any] = {}
        todo = []
        for job in jobs:
            kept = place(job)
            if kept is not None and kept.exists():
                found[job] = load(kept)["result"]
            else:
                todo.append(job)
        self.progress(0, len(todo), stage)
        for done, (job, result) in enumerate(run_jobs(work, todo, self.options.jobs), 1):
            found[job] = result
            kept = place(job)
            if kept is not None and not isinstance(result, JobError):
                save(kept, {"volume": job.volume.name, "codec": job.codec, "result": result})
            self.progress(done, len(todo), f"{stage}: {job.volume.name}, {job.codec}")
        return found

    # ------------------------------------------------------------------ the stages

    def run(self) -> Record:
        """Measure everything; returns the results, which are also written to the report."""
        records = self._describe()
        self._points(records)
        for record in records.values():
            record["bd"] = games.play(record, self.codecs)
            record["lossless"] = games.lossless_bytes(record)
        self._slices(records)
        results = {
            "format": FORMAT,
            "conditions": conditions.conditions(
                self.command, self.options.device, self.options.jobs, self.options.quick,
                self.options.support, self.options.effort, self.model_records,
            ),
            "codecs": self.codecs,
            "volumes": records,
            "unread": self.unread,
            "summary": games.summary(records),
            "throughput": self._throughput(records) if self.options.speed else [],
        }  # fmt: skip
        save(self.report / "results.json", results)
        write_csv(self.report / "results.csv", rows(results))
        return results

    def _describe(self) -> dict[str, Record]:
        jobs = [Job("describe", v, "", self.options) for v in self.volumes]
        found = self._run(jobs, lambda job: None, "look")
        records: dict[str, Record] = {}
        for job in jobs:
            if isinstance(found[job], JobError):
                self.unread[str(job.volume.path)] = str(found[job])
                print(f"volcodec: not measured: {found[job]}", file=sys.stderr)
                continue
            records[job.volume.name] = {
                **found[job],
                "points": {},
                "refused": {},
                "failed": {},
                "slices": None,
            }
        if not records:
            raise InputError("none of the volumes can be read: " + next(iter(self.unread.values())))
        self.volumes = [v for v in self.volumes if v.name in records]
        return records

    def _points(self, records: dict[str, Record]) -> None:
        jobs = [
            Job("points", volume, codec, self.options, self.models.get(codec, ""))
            for volume in sorted(self.volumes, key=lambda v: -records[v.name]["raw_bytes"])
            for codec in self.identities
        ]

        def place(job: Job) -> Path:
            digest = records[job.volume.name]["digest"]
            return self._kept(digest, "points", f"{job.codec} {self.identities[job.codec]}")

        for job, result in self._run(jobs, place, "rate and distortion").items():
            record = records[job.volume.name]
            if isinstance(result, JobError):
                kind = "refused" if "InputError" in str(result) else "failed"
                record[kind][job.codec] = str(result)
            elif isinstance(result, str):
                record["refused"][job.codec] = result
            else:
                record["points"][job.codec] = result
        for record in records.values():
            record["points"] = dict(sorted(record["points"].items()))

    def _slices(self, records: dict[str, Record]) -> None:
        codec = next(iter(self.models))
        jobs = []
        for volume in self.volumes:
            record = records[volume.name]
            played = record["bd"]["psnr"].get(codec, {})
            percents = {
                peer: bd["percent"]
                for peer, bd in played.items()
                if peer != games.BEST and bd["percent"] is not None
            }
            if percents:
                best = max(percents, key=lambda peer: percents[peer])
                job = Job(
                    "slices", volume, codec, self.options, self.models[codec], best,
                    record["digest"], self.report,
                )  # fmt: skip
                jobs.append(job)

        def place(job: Job) -> Path:
            names = f"{self.identities[job.codec]} {job.peer} {self.identities[job.peer]}"
            return self._kept(records[job.volume.name]["digest"], "slices", names)

        for job, result in self._run(jobs, place, "slices").items():
            if isinstance(result, JobError):
                print(f"{job.volume.name}: no pictures: {result}", file=sys.stderr)
            else:
                records[job.volume.name]["slices"] = result

    def _throughput(self, records: dict[str, Record]) -> list[Record]:
        chosen = throughput.choose(self.volumes, records, self.options.quick)
        out: list[Record] = []
        for volume in chosen:
            record = records[volume.name]
            codecs = {
                codec: self.models.get(codec, "")
                for codec in self.identities
                if codec in record["points"] and self.codecs[codec]["family"] != "slices"
            }
            names = json.dumps([sorted((c, self.identities[c]) for c in codecs), conditions.gpu()])
            kept = self._kept(record["digest"], "throughput", f"{names} {self.options.repeats}")
            if not kept.exists():
                self.progress(len(out), len(chosen), f"speed: {volume.name}")
                measured = throughput.measure(
                    volume, codecs, self.options.device, self.options.repeats
                )
                save(kept, {"volume": volume.name, "result": measured})
            out += [{**row, "volume": volume.name} for row in load(kept)["result"]]
        return out


_COLUMNS = (
    "target", "asked", "bytes", "bpv", "max", "psnr", "ssim", "iou", "zeros_kept", "mass_error",
    "max_native", "psnr_native", "encode_s", "decode_s",
)  # fmt: skip


def rows(results: Record) -> list[list[Any]]:
    """A head, then one row a point: the table of results.csv."""
    out: list[list[Any]] = [["volume", "group", "dtype", "codec", *_COLUMNS]]
    for name, volume in results["volumes"].items():
        for codec, found in volume["points"].items():
            for point in found:
                values = [point.get(column) for column in _COLUMNS]
                out.append([name, volume["group"], volume["dtype"], codec, *values])
    return out


def bench(
    data: Sequence[str | Path],
    report: str | Path,
    *,
    command: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Record:
    """Measure volcodec beside its peers on the volumes of ``data`` and write the report.

    Args:
        data: files that volcodec reads, or folders of them.
        report: a folder: report.html, results.json, results.csv, and what was measured (cache).
        options: see :class:`Options`.

    Returns the results as written to results.json. Raises InputError where there is nothing to
    measure, ModelError where a model is not at hand.
    """
    from volcodec.bench import report as pages

    absent = pages.missing()
    if absent:  # before an hour of measuring, not after it
        raise InputError(absent)
    place = Path(report)
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is a file: the report is a folder")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VolcodecError(f"{place}: {error.strerror}") from None
    study = Study([Path(d) for d in data], place, Options(**options), command, progress)
    results = study.run()
    pages.write(place, results)
    return results

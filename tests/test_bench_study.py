"""A study from volumes to its files: names, cache, refusals, failures, the command line."""

from __future__ import annotations

import csv
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cli_calls import call, fails, run

from volcodec.bench import conditions, study, throughput, volumes, workers
from volcodec.bench.study import Options, Study
from volcodec.errors import InputError

pytest.importorskip("imagecodecs", reason="peers come with the extra `bench`")
pytest.importorskip("plotly", reason="the report comes with the extra `bench`")
pytest.importorskip("skimage", reason="SSIM comes with the extra `bench`")


def _smooth(shape: tuple[int, ...], dtype: str = "f4") -> np.ndarray:
    axes = np.indices(shape)
    return (30 + 30 * np.sin(sum(axes) / 4) * np.cos(axes[0] / 3)).astype(dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "a.npy", _smooth((9, 10, 12)))
    with h5py.File(data / "b.h5", "w") as file:
        file["volume"] = _smooth((8, 9, 10), "u1")
        file["volume"].attrs["family"] = "CT"
    return data


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs are done here, without starting processes; what was done."""
    done: list[str] = []

    def run_here(function: Any, jobs: Any, parallel: int) -> Any:
        for job in jobs:
            done.append(f"{job.kind} {job.volume.name} {job.codec}")
            yield job, function(job)

    monkeypatch.setattr(study, "run_jobs", run_here)
    return done


def _options(**more: Any) -> Options:
    return Options(quick=True, jobs=1, repeats=1, **more)


def test_volumes_are_found_and_named(folder: Path) -> None:
    found = volumes.find([folder], None)
    assert [v.name for v in found] == ["a", "b"]
    described = [volumes.describe(v) for v in found]
    assert [d["group"] for d in described] == ["float32", "CT"]
    assert described[1]["shape"] == [8, 9, 10] and described[1]["raw_bytes"] == 720
    assert len({d["digest"] for d in described}) == 2
    both = volumes.find([folder / "a.npy", folder], None)
    assert [v.name for v in both] == ["a", "b"]  # a file named twice is measured once
    with pytest.raises(InputError, match="holds no volumes"):
        volumes.find([folder.parent], None)


def test_jobs_that_are_given_up_leave_no_process() -> None:
    """As where the command is interrupted or terminated."""
    jobs = workers.run_jobs(time.sleep, [0.0, 300.0, 301.0, 302.0], 2)
    assert next(jobs) == (0.0, None)
    begun = time.monotonic()
    jobs.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert time.monotonic() - begun < 200  # not a matter of speed: the others would sleep on


def test_a_few_are_spread_over_sizes(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.npy").write_bytes(bytes(100 * (i + 1)))
    chosen = volumes.a_few(volumes.find([tmp_path], None))
    assert len(chosen) == 4 and "11" not in [v.name for v in chosen]


def test_a_study_is_kept_and_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: list[str]
) -> None:
    report, done = tmp_path / "report", in_this_process
    wanted = _options(only_peers=("sz3", "pcodec"), speed=False)
    first = Study([folder], report, wanted).run()
    assert sorted(first["volumes"]) == ["a", "b"] and not first["throughput"]
    assert first["codecs"]["sz3"]["missing"] is None
    for record in first["volumes"].values():
        assert set(record["points"]) == {"volcodec", "sz3", "pcodec"}
        assert record["bd"]["psnr"]["volcodec"]["sz3"].keys() >= {"percent", "coverage"}
        assert set(record["lossless"]) == {"volcodec", "pcodec"}
    assert json.loads((report / "results.json").read_text())["format"] == study.FORMAT
    with (report / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(p) for v in first["volumes"].values() for p in v["points"].values())

    done.clear()
    again = Study([folder], report, wanted).run()
    assert not [d for d in done if not d.startswith("describe")]
    assert again["volumes"] == first["volumes"]

    monkeypatch.setattr(conditions, "code_identity", lambda: "another")
    done.clear()
    Study([folder], report, wanted).run()
    assert {d.split()[2] for d in done if d.startswith("points")} == {"volcodec"}


@pytest.mark.usefixtures("in_this_process")
def test_what_a_codec_can_not_take_is_said(tmp_path: Path) -> None:
    holes = _smooth((8, 9, 10))
    holes[2, 3, 4] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    np.save(tmp_path / "flat.npy", np.full((6, 6, 6), 3, np.int16))
    report = tmp_path / "report"
    results = Study([tmp_path], report, _options(only_peers=("sperr", "zfp"), speed=False)).run()
    holes_record = results["volumes"]["holes"]
    assert set(holes_record["refused"]) == {"sperr", "zfp"}
    assert all(len(reason) > 5 for reason in holes_record["refused"].values())
    assert holes_record["points"]["volcodec"]
    assert [p["target"] for p in results["volumes"]["flat"]["points"]["volcodec"]] == ["lossless"]


def test_throughput_rows(folder: Path) -> None:
    volume = volumes.find([folder / "a.npy"], None)[0]
    rows = throughput.measure(volume, {"volcodec": "density", "sz3": ""}, "cpu", 1)
    assert {(r["codec"], r["residence"]) for r in rows} == {("volcodec", "host"), ("sz3", "host")}
    for row in rows:
        assert row["encode_mb_s"] > 0 and row["decode_mb_s"] > 0 and row["bytes"] > 0
        assert row["peak_mb"] > 10 and row["repeats"] == 1
    assert throughput.measure(volume, {"nonsense": ""}, "cpu", 1)[0]["failed"]


def test_what_is_not_installed_is_said_before_measuring(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volcodec.bench import report

    monkeypatch.setattr(report, "missing", lambda: "a study needs plotly")
    with pytest.raises(InputError, match="plotly"):
        study.bench([folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_line(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "out"
    arguments = ["bench", str(folder / "a.npy"), "-o", str(report), "--quick", "--no-speed",
                 "--peers", "sz3", "--jobs", "1"]  # fmt: skip
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "equal PSNR, against sz3" in done.stdout and "report.html" in done.stdout
    assert "<html" in (report / "report.html").read_text()[:200].lower()
    fails(call(*arguments[:-3], "winzip"), 1, "there is no peer winzip")

"""The study of convergence at toy size: it runs, is kept, goes on, and becomes a table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from training_cases import write_volumes

pytest.importorskip("lightning_fabric", reason="training needs the extra `train`")
from benchmarks import convergence
from volcodec.bench.records import load


def test_every_recipe_can_be_made() -> None:
    options = {"width": 8, "patch": 16, "batch": 2, "steps": 0, "rate": False, "velo": "somewhere"}
    for name in convergence.RECIPES:
        recipe = convergence.recipe_of(name, 1, 1.0, options)
        assert recipe.guard == (name == "together")
    original = convergence.recipe_of("original", 1, 1.0, options)
    assert (original.lr, original.betas[0], original.frobenius) == (2e-4, 0.5, "norm")
    one = convergence.recipe_of("lower rate", 1, 1.0, options)
    assert original.changed(one) == ["lr 0.0002, now 2e-05"]


def test_a_study_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "VALIDATIONS", 4)
    data, results = write_volumes(tmp_path / "data", 2), tmp_path / "results.json"
    call = [str(data), "-o", str(results), "--work", str(tmp_path / "runs"), "--minutes", "0.06",
            "--seeds", "1", "--recipes", "original,VeLO", "--width", "4", "--patch", "16",
            "--batch", "2", "--threads", str(torch.get_num_threads())]  # fmt: skip
    first = CliRunner().invoke(convergence.main, call)
    assert first.exit_code == 0, first.exception
    assert "original, seed 1" in first.output
    found = load(results)["recipes"]
    run = found["original"]["seeds"]["1"]
    assert len(run["curve"]) >= 2 and run["best_mse"] <= run["final_mse"] and run["steps"] > 0
    assert "gradient/frobenius" in run["looks"][0]
    assert "weights" in found["VeLO"]["missing"] and found["VeLO"]["seeds"] == {}
    again = CliRunner().invoke(convergence.main, call)
    assert again.exit_code == 0 and "seed 1" not in again.output
    shown = CliRunner().invoke(convergence.main, ["--table", str(results)])
    rows = shown.output.splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["original", "VeLO"]
    alone = CliRunner().invoke(convergence.main, ["--table", str(results), "--by-seed"])
    (row,) = alone.output.splitlines()[2:]
    assert row.startswith("| original | 1 | ") and row.count("|") == 9


def test_a_run_with_entropy_models_tells_of_its_rate(tmp_path: Path) -> None:
    from volcodec.training import monitor

    pytest.importorskip("compressai", reason="the unet needs CompressAI")
    data, results = write_volumes(tmp_path / "data", 2), tmp_path / "results.json"
    call = [str(data), "-o", str(results), "--work", str(tmp_path / "runs"), "--steps", "4",
            "--seeds", "1", "--recipes", "original", "--width", "4", "--patch", "16",
            "--batch", "2", "--rate", "--threads", str(torch.get_num_threads())]  # fmt: skip
    done = CliRunner().invoke(convergence.main, call)
    assert done.exit_code == 0, done.exception
    run = load(results)["recipes"]["original"]["seeds"]["1"]
    log = monitor.read(tmp_path / "runs" / "original-1.train" / monitor.LOG)
    last = [r for r in log if r["kind"] == "epoch"][-1]["validation"]
    assert run["rate"]["final_bpv"] == pytest.approx(last["bpv"], rel=1e-3)
    assert run["rate"]["best_total"] <= run["rate"]["final_total"]
    assert [found["final_mse"] for found in run["rate"]["by_lambda"]] == pytest.approx(
        [last[f"mse@{k}"] for k in range(3)], rel=1e-3
    )
    shown = CliRunner().invoke(convergence.main, ["--table", str(results), "--by-seed"])
    assert "bits per voxel" in shown.output


def test_a_curve_that_rises_and_comes_back_is_told() -> None:
    curve: list[list[float | None]] = [
        [0, 0.0, 2.0, 1.0],
        [1, 0.1, 1.0, 1.0],
        [2, 0.2, 4.0, 1.0],
        [3, 0.3, 0.5, 1.0],
    ]
    assert convergence._highest_rise(curve) == 4.0
    assert convergence._highest_rise([*curve, [4, 0.4, None, 1.0]]) == float("inf")

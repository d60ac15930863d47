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

"""Runs of training: optimisers, dimensions, volumes, guards, going on after a kill, never worse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_calls import environment
from torch import nn
from training_cases import FakeVelo, LineArchitecture, LineTask, small, velo_weights, write_volumes

from volcodec import models
from volcodec.errors import InputError
from volcodec.training import architectures, fit, monitor, optimisers, page, pyramid, unet
from volcodec.training.gathering import Given, keep_samples, kept_samples
from volcodec.training.guard import StepGuard, ValidationGuard
from volcodec.training.recipe import Recipe, recipe_for
from volcodec.training.samples import COLUMNS, Samples
from volcodec.transform.pyramid import CDF97

pytest.importorskip("lightning_fabric", reason="training needs the extra `train`")
from volcodec.training.run import train

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("volumes") / "data")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path.with_suffix(".weights"))


def _records(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [r for r in monitor.read(folder / "log.jsonl") if r["kind"] == kind]


# ---------------------------------------------------------------- optimisers and dimensions


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "rmsprop", "velo"])
def test_optimisers_and_dimensions(
    volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimiser: str, dims: int
) -> None:
    given: dict[str, Any] = {"optimiser": optimiser, "dims": dims, "batch": 2, "patch": 16}
    if optimiser == "velo":
        monkeypatch.setattr("volcodec.training.velo.find_port", lambda: FakeVelo)
        given["velo"] = str(velo_weights(tmp_path / "velo"))
    schedule = {"adamw": "cosine", "sgd": "plateau"}.get(optimiser, "constant")
    outcome = train([volumes], tmp_path / "m", small(schedule=schedule, **given))
    (record,) = outcome.records
    assert record["steps"] == 12 and record["ended"] == "at the end of its budget"
    assert record["validation"]["total"] < record["untrained"]["total"]
    assert _weights(outcome.model) and (outcome.folder / page.NAME).is_file()
    if optimiser == "velo":
        assert FakeVelo.made[-1].num_steps == 12 and FakeVelo.made[-1].losses == 12
    seen = [r["seen"] for r in _records(outcome.folder, "step") if "seen" in r]
    assert {"gradient/mse", "gradient/frobenius", "update/all"} <= set(seen[-1])
    assert ("stale" in seen[-1]) == (optimiser == "adamw")


def test_slices_first_then_volumes(volumes: Path, tmp_path: Path) -> None:
    outcome = train([volumes], tmp_path / "m", small(first_2d=0.5))
    assert [r["stage"] for r in outcome.records] == ["slices", "unet"]


def test_inflated_slices_are_coded_alike() -> None:
    torch.manual_seed(1)
    flat, full = (unet.UNet(d, 8, 8, 4, rate=False) for d in (2, 3))
    for module in flat.modules():
        if isinstance(module, unet.Residual):
            nn.init.normal_(module.second.weight, std=0.05)
    unet.inflate(flat, full)
    x = torch.rand(1, 1, 32, 32)
    lam = torch.ones(1)
    stack = x[:, :, None].expand(1, 1, 32, 32, 32)
    wanted = flat(x, lam)["x_hat"][:, :, None].expand(stack.shape)
    got = full(stack, lam)["x_hat"]
    assert torch.allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize(("dims", "width"), [(2, 8), (2, 32), (3, 16)])
def test_classical_start_is_a_projection(dims: int, width: int) -> None:
    module = unet.UNet(dims, width, 12, 4, rate=False)
    unet.classical_start(module)
    with torch.no_grad():
        y = torch.randn(2, 12, *[3] * dims)
        assert torch.allclose(module.encoder(unet.space_to_depth(module.decode(y))), y, atol=1e-4)
        flat = torch.full((1, 1, *[32] * dims), 0.3)
        assert torch.allclose(module(flat, torch.ones(1))["x_hat"], flat, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_blocks_go_to_channels_and_back(dims: int) -> None:
    x = torch.arange(float(2 * 8 * 4 * 12)).reshape(
        (2, 1, 8, 4, 12) if dims == 3 else (2, 1, 32, 12)
    )
    y = unet.space_to_depth(x)
    assert y.shape[1] == 4**dims
    assert torch.equal(y[0, 1].flatten()[:1], x.flatten()[1:2])  # the last axis runs fastest
    assert torch.equal(unet.depth_to_space(y), x)


def test_original_recipe_and_bad_choices() -> None:
    recipe = recipe_for("unet", original=True)
    assert (recipe.lr, recipe.betas[0], recipe.clip, recipe.frobenius) == (2e-4, 0.5, 0, "norm")
    assert recipe.schedule == "constant" and not recipe.guard
    assert Recipe.of_record(json.loads(json.dumps(recipe.record()))) == recipe
    for wrong in ({"patch": 40}, {"dims": 4}, {"lr": -1.0}, {"betas": (0.9, 1.0)}, {"ema": 1.0}):
        with pytest.raises(InputError):
            recipe_for("unet", **wrong)
    with pytest.raises(InputError, match="precision"):
        recipe_for("pyramid", precision="bf16")


def test_velo_says_how_to_get_it(volumes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Belilovsky-Lab/pylo"):
        train([volumes], tmp_path / "m", small(optimiser="velo", velo=str(tmp_path)))


# ---------------------------------------------------------------- what divergence does


def _train_line(
    folder: Path, task: type[LineTask], monkeypatch: pytest.MonkeyPatch, **given: Any
) -> Any:
    class Mine(LineArchitecture):
        pass

    Mine.task = task
    monkeypatch.setattr(architectures, "named", lambda recipe: Mine(recipe))
    monkeypatch.setattr("volcodec.training.run.named", lambda recipe: Mine(recipe))
    values = write_volumes(folder / "line", 2)
    chosen = {"steps": 60, "validations": 10, "lr": 0.05, "warmup": 0, "weight_decay": 0.0}
    return train([values], folder / "line-model", small(**{**chosen, **given}), fresh=True)


def test_a_batch_of_nan_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoiled(LineTask):
        def batch(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
            out = super().batch(rng)
            if rng.random() < 0.2:
                out["x"][0] = float("nan")
            return out

    outcome = _train_line(tmp_path, Spoiled, monkeypatch)
    (record,) = outcome.records
    assert 2 <= record["skipped_not_finite"] <= 30 and record["rollbacks"] == 0
    assert record["validation"]["total"] < 0.1 * record["untrained"]["total"]
    assert "steps left out" in outcome.lines()[-1]
    events = _records(outcome.folder, "event")
    assert {e["what"] for e in events} == {"step left out"}
    assert "step left out" in (outcome.folder / page.NAME).read_text()


def test_an_exploding_validation_rolls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exploding(LineTask):
        def validate(self, module: nn.Module) -> dict[str, float]:
            if self.validations == 5:  # as if a step had thrown the weights away
                with torch.no_grad():
                    for p in module.parameters():
                        p.fill_(1e6)
            return super().validate(module)

    outcome = _train_line(tmp_path, Exploding, monkeypatch)
    (record,) = outcome.records
    assert record["rollbacks"] == 1
    assert record["validation"]["total"] < 0.1 * record["untrained"]["total"]
    weight = np.load(outcome.model)
    assert np.abs(weight - 1).max() < 0.5
    told = [e for e in _records(outcome.folder, "event") if e["what"] == "rolled back"]
    assert len(told) == 1 and told[0]["rate"] == 0.5


def test_patience_ends_a_stage_with_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worsening(LineTask):
        def validate(self, module: nn.Module) -> dict[str, float]:
            super().validate(module)
            return {"total": 1.0 + 0.01 * abs(self.validations - 3)}

    (record,) = _train_line(tmp_path, Worsening, monkeypatch, patience=3).records
    assert record["steps"] < 60 and "stopped early" in record["ended"]
    assert record["best_step"] == 12 and record["validation"]["total"] == 1.0


def test_step_guard() -> None:
    guard = StepGuard()
    assert all(guard.accept(1.0, 1.0 + 0.1 * i) for i in range(30))
    assert not guard.accept(float("nan"), 1.0) and not guard.accept(1.0, float("inf"))
    assert not guard.accept(1.0, 1e4) and guard.accept(1.0, 10.0)
    assert (guard.not_finite, guard.exploding, guard.skipped) == (2, 1, 3)
    for _ in range(40):
        guard.accept(float("nan"), 1.0)
    assert guard.stuck
    again = StepGuard()
    again.load_state_dict(guard.state_dict())
    assert again.state_dict() == guard.state_dict()
    lax = StepGuard(enabled=False)
    assert all(lax.accept(1.0, 1.0) for _ in range(30)) and lax.accept(1.0, 1e9)
    assert not lax.accept(1.0, float("nan"))


def test_validation_guard() -> None:
    guard = ValidationGuard(patience=2)
    assert [guard.see(0, 4.0), guard.see(1, 2.0), guard.see(2, 3.0)] == ["best", "best", "worse"]
    assert guard.see(3, 5.0) == "back" and guard.rate == 0.5
    assert guard.see(4, 1.0) == "best" and guard.see(5, float("nan")) == "back"
    assert [guard.see(6, 1.1)] == ["stop"] and "2 validations" in guard.stopped
    wild = ValidationGuard()
    wild.see(0, 1.0)
    verdicts = [wild.see(i, 9.0) for i in range(8)]
    assert verdicts[:5] == ["back"] * 5 and verdicts[5] == "stop" and "given up" in wild.stopped


def test_schedules() -> None:
    recipe = small(schedule="cosine", warmup=10)
    factors = [optimisers.rate_factor(recipe, s, s / 100) for s in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == max(factors[8:12])
    assert factors[-1] < 0.001
    plateau = optimisers.Plateau(patience=1)
    for total in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        plateau.see(total)
    assert plateau.rate == 0.25


def test_averaged_weights_come_and_go() -> None:
    module = nn.Linear(2, 2)
    average = optimisers.Average(module, 0.5)
    old = [p.detach().clone() for p in module.parameters()]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1.0)
    average.update(module.parameters())
    with average.applied(module):
        for p, before in zip(module.parameters(), old, strict=True):
            assert ((p > before) & (p < before + 1)).all()
    for p, before in zip(module.parameters(), old, strict=True):
        assert torch.equal(p, before + 1)


# ---------------------------------------------------------------- killed and started again

_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from training_cases import small
from volcodec.training.loop import Loop
from volcodec.training.run import train
take = Loop._take
def killed(self, *given):
    if self.step >= 25 and os.path.exists({place!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    take(self, *given)
Loop._take = killed
train([{data!r}], {model!r}, small(**{choices!r}, checkpoint_seconds=0.1))
"""


def test_killed_and_started_again(volumes: Path, tmp_path: Path) -> None:
    model = tmp_path / "killed"
    place = tmp_path / "killed.train" / "checkpoint.pt"
    choices: dict[str, Any] = {"steps": 60, "validations": 6, "ema": 0.9}
    code = _KILLED.format(
        tests=str(TESTS), data=str(volumes), model=str(model), place=str(place), choices=choices
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert place.exists() and not model.with_suffix(".safetensors").exists()
    where = torch.load(place, weights_only=True)["loop"]["step"]
    assert 0 < where < 60

    recipe = small(**choices)
    with pytest.raises(InputError, match=r"lr .*--fresh"):
        train([volumes], model, small(**choices, lr=0.5))
    resumed = train([volumes], model, recipe)
    whole = train([volumes], tmp_path / "whole", recipe)
    went_on = [n for n in _records(resumed.folder, "note") if n["text"] == "went on"]
    assert [n["step"] for n in went_on] == [where]
    a, b = (_weights(o.model) for o in (resumed, whole))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    one, two = (
        [(r["step"], r["validation"]) for r in _records(o.folder, "epoch")]
        for o in (resumed, whole)
    )
    assert one == two
    again = train([volumes], model, recipe)
    assert again.finished_before and "finished before" in again.lines()[-1]


def test_a_damaged_checkpoint_is_named(volumes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m.train"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="--fresh"):
        train([volumes], tmp_path / "m", small())
    outcome = train([volumes], tmp_path / "m", small(steps=2), fresh=True)
    assert outcome.records[0]["steps"] == 2
    outcome.model.write_bytes(b"a model of another run")
    with pytest.raises(InputError, match="--force"):
        train([volumes], tmp_path / "m", small(steps=2), fresh=True)


# ---------------------------------------------------------------- the pyramid


@pytest.fixture
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few to learn the lifting from as the recipes here have for the banks."""
    monkeypatch.setattr(pyramid, "_LIFTING_CROPS", 3)


def test_networks_come_back_from_a_model() -> None:
    bank = models.load("density").banks["lattice"]
    net = fit.restore(bank)
    for key, factor in (("w1", 256), ("w2", 256), ("w3", 256), ("b1", 4096), ("b2", 4096)):
        assert np.array_equal(
            np.rint(getattr(net, key).detach().numpy() * factor), getattr(bank, key)
        )
    assert np.array_equal(np.rint((net.b3.detach().numpy() + 0.5) * 4096), bank.b3)
    p = torch.exp(net.logits.double()).detach().numpy()
    assert np.allclose(p.sum(1), 1, atol=0.05)


def test_wider_networks_begin_as_the_narrow_ones() -> None:
    torch.manual_seed(2)
    net = fit.restore(models.load("density").banks["lossy"])
    wide = fit.widen(net, 48, 24)
    assert wide.w2.shape[1:] == (24, 48)
    x = torch.randint(0, 192, (net.w1.shape[0], 50, net.w1.shape[2])) / fit.UNIT
    kind = torch.randint(0, 4, x.shape[:2])
    assert torch.allclose(net.place(x, kind), wide.place(x, kind), atol=1e-4)


@pytest.mark.usefixtures("_few_crops")
def test_pyramid_is_never_worse_than_its_start(volumes: Path, tmp_path: Path) -> None:
    import volcodec

    recipe = recipe_for("pyramid", steps=6, validations=2, crops=3, start="density", device="cpu",
                        lr=1.0, clip=0.0, batch=64)  # fmt: skip
    outcome = train([volumes], tmp_path / "wild", recipe)  # a rate that ruins it
    trained, start = models.load(outcome.model), models.load("density")
    kept = 0
    for record in outcome.records[:-1]:
        assert record["bits"] <= record["bits_of_start"] + 1e-9
        bank, old = (m.banks[record["stage"]] for m in (trained, start))
        if "kept from density" in record["said"]:
            kept += 1
            assert np.array_equal(bank.w1, old.w1) and np.array_equal(
                bank.tables.freq, old.tables.freq
            )
    assert kept or all(r["bits"] < r["bits_of_start"] for r in outcome.records[:-1])
    assert outcome.records[-1]["stage"] == "neural" and trained.neural is not None
    assert trained.card["from"] == start.name and trained.card["trained_on"].startswith("2 volumes")
    volume = np.load(volumes / "a.npy")
    blob = volcodec.Codec(outcome.model).encode(volume, rel_error=1e-3)
    assert np.abs(volcodec.decode(blob, model=outcome.model) - volume).max() <= 1e-3
    assert not list(outcome.folder.glob("samples-*"))


def test_samples_of_another_run_are_not_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    one = Samples(*(rng.integers(0, 9, 5) for _ in COLUMNS))
    given = Given(rng.integers(-9, 9, (7, 2, 28)).astype(np.int8), CDF97)
    path = tmp_path / "samples.npz"
    assert kept_samples(path, ("held",), "these") is None
    keep_samples(path, {"held": one}, given, "these")
    again = kept_samples(path, ("held",), "these")
    assert again is not None and np.array_equal(again[0]["held"].symbol, one.symbol)
    assert np.array_equal(again[1].codebook, given.codebook)
    assert np.array_equal(again[1].lifting, CDF97)
    assert kept_samples(path, ("held",), "others") is None
    path.write_bytes(path.read_bytes()[:100])
    assert kept_samples(path, ("held",), "these") is None


@pytest.mark.usefixtures("_few_crops")
def test_pyramid_from_nothing(volumes: Path, tmp_path: Path) -> None:
    recipe = recipe_for("pyramid", steps=10, validations=2, crops=3, device="cpu", batch=64,
                        hidden=(16, 8))  # fmt: skip
    outcome = train([volumes], tmp_path / "fresh", recipe)
    stages = ["first", "lossy", "trellis", "predicted", "lattice", "neural"]
    assert [r["stage"] for r in outcome.records] == stages
    for record in outcome.records:
        if record["stage"] == "trellis":  # begins with the networks of the lossy bank
            assert record["bits"] <= record["bits_of_start"]
        else:
            assert record["validation"]["total"] < record["untrained"]["total"]
    model = models.load(outcome.model)
    assert model.name == "fresh" and model.banks["lossy"].w2.shape[1:] == (8, 16)
    assert model.neural is not None and model.neural.w2.shape == (16, 8)
    assert os.path.getsize(outcome.folder / page.NAME) > 5000

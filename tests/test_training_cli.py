"""`volcodec train` from the command line: models, what it refuses, its page in a real browser."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_calls import call, fails, names, run, works
from training_cases import write_volumes

from volcodec import models
from volcodec.training import pyramid

pytest.importorskip("lightning_fabric", reason="training needs the extra `train`")

FEW = 3  # crops, for each bank
QUICK = ("--steps", 4, "--validations", 2, "--batch", 64, "--device", "cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line has no option of how many crops are learned from."""
    for constant in ("_CROPS_BY_STEPS", "_LIFTING_CROPS"):
        monkeypatch.setattr(pyramid, constant, FEW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_volumes(tmp_path / "data", 3, (14, 12, 16))


def test_a_model_of_ones_own(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "flat.npy", np.zeros((9, 9, 9), np.float32))
    (folder / "corrupt.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    mine = tmp_path / "mine"
    result = works("train", folder, "-o", mine, "--from", "density", *QUICK)
    lines = result.output.splitlines()
    assert lines[0].startswith("left out: ") and "corrupt.h5" in lines[0]
    assert "flat.npy is constant" in lines[1]
    assert lines[-1].startswith(f"{mine}.safetensors: lossy ")
    assert lines[-1].endswith("mine.train/report.html")
    assert {"mine.safetensors", "mine.train"} <= set(names(tmp_path))
    model = models.load(mine)
    assert model.card["from"] == models.load("density").name
    assert model.card["validated_on"] and model.card["recipe"]["seed"] == 1
    works("compress", folder / "a.npy", tmp_path / "a.vc", "--model", mine)
    works("verify", tmp_path / "a.vc", "--against", folder / "a.npy", "--model", mine)
    for line in (tmp_path / "mine.train" / "log.jsonl").read_text().splitlines():
        assert json.loads(line)["kind"] in ("note", "step", "epoch", "event")

    again = works("train", folder, "-o", mine, "--from", "density", *QUICK)
    assert "was finished before" in again.output
    other = call("train", folder, "-o", mine, "--from", "density", "--seed", 2, *QUICK)
    fails(other, 1, "other choices", "--fresh")
    fresh = call("train", folder, "-o", mine, "--fresh", *QUICK)
    fails(fresh, 1, "exists", "--force")


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    (tmp_path / "empty").mkdir()
    fails(call("train", tmp_path / "empty", "-o", out), 1, "holds no volumes")
    assert call("train", tmp_path / "missing", "-o", out).exit_code == 2
    assert call("train", folder).exit_code == 2
    for wrong in ("soon", "0m", "-3", "5x"):
        assert call("train", folder, "-o", out, "--budget", wrong).exit_code == 2
    assert call("train", folder, "-o", out, "--betas", "0.9").exit_code == 2
    fails(call("train", folder, "-o", out, "--from", "nobody"), 1, "no model called 'nobody'")
    fails(call("train", folder, "-o", out, "--terms", "mse,taste"), 1, "no term 'taste'")
    fails(call("train", folder, "-o", out, "--dims", 2), 1, "pyramid")
    fails(call("train", folder, "-o", tmp_path / "no" / "m", *QUICK), 1, "does not exist")
    if not torch.cuda.is_available():
        fails(call("train", folder, "-o", out, *QUICK, "--device", "cuda"), 1, "cuda")
    velo = ("--optimiser", "velo", "--steps", 2, "--device", "cpu")
    fails(call("train", folder, "-o", out, *velo), 1, "Belilovsky-Lab/pylo")
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.skipif(
    importlib.util.find_spec("compressai") is not None, reason="CompressAI is installed"
)
def test_the_unet_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    result = call("train", folder, "-o", tmp_path / "m", "--arch", "unet", "--device", "cpu")
    fails(result, 1, "CompressAI", "volcodec[train]")


def test_the_unet_with_its_entropy_models(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressai", reason="the unet needs CompressAI")
    out = tmp_path / "unet"
    for dims in (2, 3):
        result = works(
            "train", folder, "-o", out, "--arch", "unet", "--dims", dims, "--patch", 16,
            "--steps", 6, "--validations", 2, "--batch", 2, "--device", "cpu", "--fresh", "--force",
        )  # fmt: skip
        assert "bpv" in result.output and out.with_suffix(".safetensors").is_file()


def test_two_processes_train_together(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch; torch.set_num_threads(1)\n"
        "from volcodec.training import pyramid\n"
        f"pyramid._CROPS_BY_STEPS = pyramid._LIFTING_CROPS = {FEW}\n"
        "from volcodec.cli import main; main()\n"
    )
    done = run(
        "train", folder, "-o", tmp_path / "both", "--from", "density", *QUICK, "--devices", 2,
        code=f"import runpy, sys; sys.argv[0] = {str(script)!r}; runpy.run_path({str(script)!r})",
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("both.safetensors: ") == 1
    assert models.load(tmp_path / "both").card["recipe"]["devices"] == 2


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    pytest.importorskip("selenium", reason="selenium comes with the extra `test`")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver here")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    monkeypatch.setenv("SE_OFFLINE", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=420,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    page = webdriver.Chrome(options=options, service=Service(driver))
    yield page
    page.quit()


def test_the_page_in_a_browser(folder: Path, tmp_path: Path, browser: Any) -> None:
    from training_cases import small

    from volcodec.training.run import train

    outcome = train([folder], tmp_path / "m<b>", small(steps=20, first_2d=0.5))
    report = outcome.folder / "report.html"
    text = report.read_text()
    assert "http://" not in text and "https://" not in text  # it needs nothing beside itself
    browser.get(report.as_uri())
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return document.body.dataset.ready") == "yes"
    assert browser.find_element("tag name", "h1").text == "m<b>.safetensors"
    heads = [h.text for h in browser.find_elements("tag name", "h2")]
    assert heads == ["slices", "unet", "Choices"]
    titles = {f.text for f in browser.find_elements("css selector", "figure strong")}
    assert {"Mean square error", "Norm of the gradient", "Update over weights",
            "Staleness of second moments", "Dead channels",
            "Values of y at the end"} <= titles  # fmt: skip
    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert widths[0] <= widths[1]  # nothing sticks out on a narrow screen
    images = "return [...document.images].map(i => i.naturalWidth)"
    assert len(browser.execute_script(images)) >= 4 and min(browser.execute_script(images)) > 0
    told = browser.execute_script(
        "const f = document.querySelector('figure[data-chart]'), s = f.querySelector('svg');"
        "const b = s.getBoundingClientRect();"
        "s.dispatchEvent(new PointerEvent('pointermove',"
        " {clientX: b.left + b.width / 2, clientY: b.top + 5}));"
        "return f.querySelector('.read').textContent"
    )
    assert told.startswith("step ") and "validation" in told

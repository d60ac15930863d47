"""A whole run: volumes, stages, checkpoints in MODEL.train/, the model file, the page, the word.

The run folder holds log.jsonl, checkpoint.pt, pictures, tensorboard, recipe.json and report.html.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, VolcodecError
from ..formats.atomic import check_target
from ..shipped import SUFFIX
from . import checkpoint, page
from .architectures import Log, Room, State, named
from .data import Collection, gather
from .loop import Loop
from .monitor import Monitor
from .recipe import PRECISIONS, Recipe

Progress = Callable[[int, int, str], None]
_TRAINING_SHARE = 0.96  # of the budget; the rest is for finishing and writing


@dataclass
class Outcome:
    """What a run came to: the model file, the folder, a record of each stage, the word."""

    model: Path
    folder: Path
    records: list[dict[str, Any]]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    finished_before: bool = False
    silent: bool = False  # another process tells

    def lines(self) -> list[str]:
        """What happened, the most important thing last."""
        if self.silent:
            return []
        out = [f"left out: {why}" for _, why in self.skipped]
        told = "; ".join(_told(record) for record in self.records)
        how = "was finished before: " if self.finished_before else ""
        return [*out, f"{self.model}: {how}{told}; {self.folder / page.NAME}"]


def _told(record: dict[str, Any]) -> str:
    """A stage in one clause."""
    found, untrained = record["validation"], record["untrained"]
    words = record.get("said") or (
        f"{record['stage']}: best at step {record['best_step']} of {record['steps']}, validation "
        f"loss {_figure(found.get('total'))} (it began at {_figure(untrained.get('total'))}"
        + "".join(f", {name} {found[name]:.4g}" for name in ("mse", "bpv", "iou") if name in found)
        + ")"
    )
    skipped = record["skipped_not_finite"] + record["skipped_exploding"]
    for count, what in ((skipped, "steps left out"), (record["rollbacks"], "roll-backs")):
        words += f", {count} {what}" if count else ""
    return f"{words}, {record['ended']}"


def _figure(value: float | None) -> str:
    return "not finite" if value is None or value != value else f"{value:.4g}"


def places(output: str | Path) -> tuple[Path, Path]:
    """The model file that ``-o`` means, and the folder of its run beside it."""
    path = Path(output)
    if path.suffix != SUFFIX:
        path = path.with_name(path.name + SUFFIX)
    return path, path.with_name(path.name[: -len(SUFFIX)] + ".train")


def _fabric_class() -> Any:
    """Fabric from either of the packages that have it."""
    for module in ("lightning_fabric", "lightning.fabric"):
        try:
            return import_module(module).Fabric
        except ImportError:
            continue
    raise InputError("training needs Lightning's Fabric: python -m pip install 'volcodec[train]'")


def make_fabric(recipe: Recipe) -> Any:
    """Lightning's Fabric for a recipe, launched on all its devices.

    Raises InputError where it is not installed or the devices are not there.
    """
    Fabric = _fabric_class()  # noqa: N806
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is no CUDA device here that torch can use")
    many = recipe.devices * recipe.nodes > 1
    try:
        fabric = Fabric(
            accelerator=recipe.device, devices=recipe.devices, num_nodes=recipe.nodes,
            precision=PRECISIONS[recipe.precision],
            strategy="ddp" if many else "auto",
        )  # fmt: skip
        fabric.launch()
    except (RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--device {recipe.device} can't be used: {reason}") from None
    except Exception as error:
        if type(error).__name__ == "MisconfigurationException":
            raise InputError(f"--device {recipe.device} can't be used: {error}") from None
        raise
    return fabric


class Run:
    """One run of :func:`train`."""

    def __init__(
        self, data: Collection, output: str | Path, recipe: Recipe, log: Log,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.data, self.recipe, self.log = data, recipe, log
        self.progress = progress or (lambda done, total, stage: None)
        self.model, self.folder = places(output)
        self.finished: dict[str, State] = {}
        self.records: list[dict[str, Any]] = []
        self.stage, self.began, self.before = 0, time.monotonic(), 0.0

    @property
    def spent(self) -> float:
        """Seconds of the run so far, those before a restart included."""
        return self.before + time.monotonic() - self.began

    def _content(self, loop: dict[str, Any] | None, done: bool = False) -> dict[str, Any]:
        return {
            "recipe": json.dumps(self.recipe.record()),
            "data": self.data.identity,
            "stage": self.stage,
            "finished": self.finished,
            "records": json.dumps(self.records),
            "loop": loop,
            "log": self.monitor.position,
            "spent": self.spent,
            "done": done,
        }

    def _check(self, previous: dict[str, Any]) -> None:
        """Raise InputError unless ``previous`` is a checkpoint of this very run."""
        changed = Recipe.of_record(json.loads(previous["recipe"])).changed(self.recipe)
        if previous["data"] != self.data.identity:
            changed.append("other volumes")
        if changed:
            raise InputError(
                f"{self.folder} holds a run with other choices ({'; '.join(changed)}): "
                "give the same ones to go on, or --fresh to start anew"
            )

    def run(self, previous: dict[str, Any] | None) -> Outcome:
        """Train, from a checkpoint where there is one, and write the model."""
        if previous is not None:
            self._check(previous)
            self.finished, self.stage = dict(previous["finished"]), previous["stage"]
            self.records, self.before = json.loads(previous["records"]), previous["spent"]
            if previous["done"]:
                if not self.model.exists():  # it was taken away
                    self._export()
                return self._outcome(before=True)
        self.fabric = make_fabric(self.recipe)
        if self.fabric.is_global_zero:
            self._make_folder()
        self.fabric.barrier()
        own = self.folder if self.fabric.is_global_zero else None
        keep = previous["log"] if previous is not None else None
        self.monitor = Monitor(own, keep, self.recipe.validations)
        try:
            if previous is None:
                self._introduce()
            else:
                self.monitor.note("went on", step=(previous["loop"] or {}).get("step", 0))
            self._stages(previous["loop"] if previous is not None else None)
            if self.fabric.is_global_zero:
                self._export()
            checkpoint.save(self.fabric, self.folder, self._content(None, done=True))
            self.monitor.note("finished", records=self.records, skipped=self.data.skipped)
        finally:
            self.monitor.close()
        if self.fabric.is_global_zero:
            page.write(self.folder, self.model.name)
        self.fabric.barrier()
        return self._outcome()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.recipe.record(), indent=1)
            (self.folder / "recipe.json").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise VolcodecError(f"{self.folder} can't be written: {error.strerror}") from None

    def _introduce(self) -> None:
        self.monitor.note(
            "began",
            recipe=self.recipe.record(),
            training=[v.name for v in self.data.training],
            validation=[v.name for v in self.data.validation],
            skipped=self.data.skipped,
            notes=self.data.notes,
            torch=torch.__version__,
        )

    def _stages(self, resumed: dict[str, Any] | None) -> None:
        architecture = named(self.recipe)
        stages = architecture.stages()
        while self.stage < len(stages):
            stage = stages[self.stage]
            seconds = self.recipe.budget * _TRAINING_SHARE * stage.share
            torch.manual_seed(self.recipe.seed + self.stage)
            began = time.monotonic()
            room = Room(self.folder, seconds, self.log)
            with self.fabric.rank_zero_first():  # the others find what it has gathered
                task = architecture.begin(stage.name, self.data, self.finished, room)
            done_before = sum(s.share for s in stages[: self.stage])

            def show(
                share: float, line: str, first: float = done_before, own: float = stage.share
            ) -> None:
                self.progress(int(1000 * (first + own * share)), 1000, line)

            loop = Loop(
                self.fabric, stage.name, task, self.recipe, seconds, self.monitor,
                lambda state: checkpoint.save(self.fabric, self.folder, self._content(state)),
                self.log, show, stage.rate,
            )  # fmt: skip
            loop.before = time.monotonic() - began
            outcome = loop.run(resumed)
            resumed = None
            self.finished[stage.name] = outcome.state
            self.records.append(outcome.record)
            self.log(_told(outcome.record))
            self.stage += 1
            checkpoint.save(self.fabric, self.folder, self._content(None))

    def _export(self) -> None:
        import volcodec

        names = [v.name for v in self.data.training]
        some = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        card = {
            "trained_on": f"{len(names)} volumes: {some}",
            "validated_on": [v.name for v in self.data.validation],
            "recipe": {**self.recipe.record(), "start": Path(self.recipe.start).name},
            "stages": self.records,
            "total_minutes": round(self.spent / 60, 1),
            "tool": f"volcodec {volcodec.__version__} train",
            "torch": torch.__version__,
        }
        named(self.recipe).export(self.finished, self.model, card)

    def _outcome(self, before: bool = False) -> Outcome:
        silent = not before and not self.fabric.is_global_zero
        return Outcome(self.model, self.folder, self.records, self.data.skipped, before, silent)


def train(
    data: Sequence[str | Path],
    output: str | Path,
    recipe: Recipe,
    *,
    validation: str | Path = "0.1",
    fresh: bool = False,
    force: bool = False,
    log: Log | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train a model on the volumes of ``data`` and write it to ``output``.

    Args:
        data: .h5, .hdf5 and .npy files, or folders that hold some.
        output: the model file; its suffix may be left out. Beside it the run's folder, in which a
            checkpoint of the same run is gone on from.
        recipe: see :func:`volcodec.training.recipe.recipe_for`.
        validation: a share of the volumes, or a file or folder of others.
        fresh: start anew where there is a checkpoint.
        force: replace ``output`` where it is not what a checkpoint belongs to.
        log: told of a line now and then.
        progress: called with (done, total, what).

    Raises InputError where there is nothing to train on, an option can't be honoured, or a library
    is missing.
    """
    say = log or (lambda line: None)
    model, folder = places(output)
    previous = None if fresh else checkpoint.load(folder)
    check_target(model, force=force or previous is not None)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is in the way: it is to be the folder of the run")
    collection = gather([Path(d) for d in data], validation, recipe.seed)
    for path, why in collection.skipped:
        say(f"left out: {why if path in why else f'{path}: {why}'}")
    for note in collection.notes:
        say(note)
    return Run(collection, output, recipe, say, progress).run(previous)

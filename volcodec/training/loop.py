"""One stage of a run: steps, validations, checkpoints, ways back, until the budget is spent.

Device, precision, several devices and nodes are Lightning Fabric's business. The batch of a step
follows from the seed, the stage, the step and the rank alone, so a run that was killed goes on from
its checkpoint with the very batches it would have seen.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from . import optimisers
from .architectures import Batch, Log, State, Task
from .gradients import Gradients
from .guard import StepGuard, ValidationGuard
from .monitor import Monitor
from .recipe import Recipe

Save = Callable[[dict[str, Any]], None]
_TIMED_STEPS = 3  # from which the number of steps is estimated for an optimiser that asks


@dataclass
class Outcome:
    """What came of a stage: what it leaves, and what is said of it."""

    state: State
    record: dict[str, Any]


class Loop:
    """Trains one task.

    Args:
        fabric: Lightning's Fabric, launched.
        name: of the stage.
        task: what is trained.
        recipe: how.
        seconds: the stage's part of the budget.
        monitor: what is told of every step.
        save: writes a checkpoint; called on all ranks with what :meth:`resume` takes.
        progress: called with the share done and a line.
        rate: times the recipe's learning rate.
    """

    def __init__(
        self, fabric: Any, name: str, task: Task, recipe: Recipe, seconds: float,
        monitor: Monitor, save: Save, log: Log,
        progress: Callable[[float, str], None] | None = None, rate: float = 1.0,
    ) -> None:  # fmt: skip
        self.fabric, self.name, self.task, self.recipe = fabric, name, task, recipe
        self.seconds, self.monitor, self.save, self.log = seconds, monitor, save, log
        self.rate = rate
        self.progress = progress or (lambda share, line: None)
        self.began, self.before = time.monotonic(), 0.0
        self.step = self.validated = 0
        self.measured_at = -1
        self.steps_guard = StepGuard(recipe.guard)
        self.guard = ValidationGuard(recipe.guard, recipe.patience)
        self.plateau = optimisers.Plateau()
        self.best: State = {}
        self.found: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.expected_steps = recipe.steps
        self.saved_at = time.monotonic()

    # ------------------------------------------------------------------ set up

    def _set_up(self) -> None:
        module = self.task.module
        self.fabric.to_device(module)
        if self.recipe.optimiser == "velo" and not self.expected_steps:
            self.expected_steps = self._estimate_steps(module)
        optimiser = optimisers.make(module, self.recipe, self.expected_steps)
        self.average = optimisers.Average(module, self.recipe.ema) if self.recipe.ema else None
        self.inner: Any = optimiser
        self.wrapped, self.optimiser = self.fabric.setup(module, optimiser)
        self.wrapped.train()
        self.gradients = Gradients(module, self.recipe.curvature)

    @property
    def module(self) -> nn.Module:
        """The task's own module, which the optimiser changes."""
        return self.task.module

    def _estimate_steps(self, module: nn.Module) -> int:
        module.train()
        began = time.monotonic()
        for i in range(_TIMED_STEPS):
            batch = self.fabric.to_device(self._draw(-1 - i))
            self.task.loss(module, batch)["total"].backward()
            module.zero_grad(set_to_none=True)
        each = (time.monotonic() - began) / _TIMED_STEPS
        return max(100, int(self.seconds / max(each, 1e-4)))

    def _draw(self, step: int) -> Batch:
        stage = zlib.crc32(self.name.encode())
        place = (self.recipe.seed, stage, step & 0xFFFFFFFF, self.fabric.global_rank)
        return self.task.batch(np.random.default_rng(place))

    # ------------------------------------------------------------------ time

    @property
    def elapsed(self) -> float:
        """Seconds spent in this stage, those before a restart included."""
        return self.before + time.monotonic() - self.began

    def _done(self) -> float:
        """The share of the stage that is behind it, the same on all ranks."""
        if self.recipe.steps:
            return self.step / self.recipe.steps
        done = self.elapsed / max(self.seconds, 1e-9)
        if self.fabric.world_size > 1:
            done = float(self.fabric.broadcast(done))
        return done

    # ------------------------------------------------------------------ the stage

    def run(self, state: dict[str, Any] | None = None) -> Outcome:
        """Train to the end of the stage, from the beginning or from a checkpoint's ``state``."""
        if state is not None:
            self.expected_steps = state["expected_steps"]
        self._set_up()
        if state is not None:
            self._resume(state)
        else:
            self.best = self._copy()
            self._validate(0.0)
        pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        waiting: Future[Batch] = pool.submit(self._draw, self.step)
        try:
            while (done := self._done()) < 1 and not self.guard.stopped:
                batch = waiting.result()
                waiting = pool.submit(self._draw, self.step + 1)
                self._take(self.fabric.to_device(batch), done)
                self.step += 1
                done = self._done()
                if self.steps_guard.stuck:
                    self._back("no step could be taken")
                if done * self.recipe.validations >= self.validated or done >= 1:
                    self._validate(done)
                if self._due():
                    self.checkpoint()
                self.progress(min(done, 1.0), self._line())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if self.measured_at != self.step:  # the clock ran out between two steps
            self._validate(1.0)
        return self._outcome()

    def _take(self, batch: Batch, done: float) -> None:
        """One step of the optimiser, unless it is left out."""
        recipe = self.recipe
        rate = (
            recipe.lr
            * self.rate
            * optimisers.rate_factor(recipe, self.step, done)
            * self.guard.rate
        )
        if recipe.schedule == "plateau":
            rate *= self.plateau.rate
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        looking = self.step % recipe.look_every == 0
        found = self.task.loss(self.wrapped, batch)
        seen = (
            self.gradients.before(found, self.inner)
            if looking and self.fabric.is_global_zero
            else {}
        )
        self.fabric.backward(found["total"])
        limit = recipe.clip or float("inf")
        norm = float(
            self.fabric.clip_gradients(
                self.wrapped, self.optimiser, max_norm=limit, error_if_nonfinite=False
            )
        )
        terms = {k: float(v.detach()) for k, v in found.items() if not k.startswith("part/")}
        taken = self.steps_guard.accept(terms["total"], norm)
        if taken or recipe.precision == "16":  # whose scaler has to see what overflowed
            if recipe.optimiser == "velo":
                self.inner.loss = found["total"].detach().float()
            self.optimiser.step()
        if taken and self.average is not None:
            self.average.update(self.module.parameters())
        if looking and taken:
            seen.update(self.gradients.after(self.inner))
        self.optimiser.zero_grad(set_to_none=True)
        if not taken:
            self.monitor.event(self.name, self.step, "step left out", norm=norm, **terms)
        self.monitor.step(self.name, self.step, self.elapsed, rate, norm, terms, seen)

    # ------------------------------------------------------------------ validation

    def _averaged(self) -> Any:
        return self.average.applied(self.module) if self.average is not None else nullcontext()

    def _validate(self, done: float) -> None:
        """Measure, keep what is best, go back where it diverged."""
        self.validated = int(done * self.recipe.validations) + 1
        self.measured_at = self.step
        self.module.eval()
        with self._averaged():
            found = self.task.validate(self.module)
            if self.fabric.world_size > 1:
                found = self.fabric.broadcast(found)
            verdict = self.guard.see(self.step, found["total"])
            if verdict == "best":
                self.best = self._copy()
                self.found = found
            inside = self.task.look(self.module) if self.fabric.is_global_zero else {}
        self.module.train()
        self.first = self.first or found
        self.plateau.see(found["total"])
        self.monitor.epoch(
            self.name, self.step, self.elapsed, found, verdict, inside,
            {"skipped": self.steps_guard.skipped, "rollbacks": self.guard.rollbacks},
        )  # fmt: skip
        if verdict == "back":
            self._restore(f"validation loss {found['total']:.4g}, best {self.guard.best:.4g}")

    def _copy(self) -> State:
        return {k: v.detach().cpu().clone() for k, v in self.module.state_dict().items()}

    def _back(self, why: str) -> None:
        if self.guard.go_back() == "back":
            self._restore(why)

    def _restore(self, why: str) -> None:
        """Return to the best weights; the optimiser forgets, the rate is halved."""
        self.module.load_state_dict(self.best)
        getattr(self.inner, "restart", self.inner.state.clear)()
        self.steps_guard.in_a_row = 0
        self.steps_guard.norms.clear()
        if self.average is not None:
            self.average.restart(self.module.parameters())
        self.monitor.event(self.name, self.step, "rolled back", why=why, rate=self.guard.rate)
        self.log(f"{self.name}: rolled back to step {self.guard.best_step} ({why})")

    # ------------------------------------------------------------------ checkpoints

    def _due(self) -> bool:
        due = time.monotonic() - self.saved_at >= self.recipe.checkpoint_seconds
        if self.fabric.world_size > 1:
            due = bool(self.fabric.broadcast(due))
        return due

    def checkpoint(self) -> None:
        """Write what :meth:`run` can go on from."""
        state: dict[str, Any] = {
            "step": self.step,
            "validated": self.validated,
            "measured_at": self.measured_at,
            "elapsed": self.elapsed,
            "module": self._copy(),
            "optimiser": self.inner.state_dict(),
            "steps_guard": self.steps_guard.state_dict(),
            "guard": self.guard.state_dict(),
            "plateau": self.plateau.state_dict(),
            "best": self.best,
            "found": self.found,
            "first": self.first,
            "expected_steps": self.expected_steps,
            "average": self.average.state_dict() if self.average is not None else None,
            "balancer": getattr(_balancer(self.task), "state_dict", dict)(),
            "random": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        self.save(state)
        self.saved_at = time.monotonic()

    def _resume(self, state: dict[str, Any]) -> None:
        self.step, self.validated = state["step"], state["validated"]
        self.measured_at = state["measured_at"]
        self.before, self.began = state["elapsed"], time.monotonic()
        self.module.load_state_dict(state["module"])
        self.inner.load_state_dict(state["optimiser"])
        self.steps_guard.load_state_dict(state["steps_guard"])
        self.guard.load_state_dict(state["guard"])
        self.plateau.load_state_dict(state["plateau"])
        self.best, self.found, self.first = state["best"], state["found"], state["first"]
        self.expected_steps = state["expected_steps"]
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        balancer = _balancer(self.task)
        if balancer is not None and state["balancer"]:
            balancer.load_state_dict(state["balancer"])
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])

    # ------------------------------------------------------------------ the end

    def _line(self) -> str:
        return f"{self.name}: step {self.step}, best {self.guard.best:.4g}"

    def _outcome(self) -> Outcome:
        if self.best:
            self.module.load_state_dict(self.best)
        self.module.eval()
        state, figures = self.task.finish(self.module, self.log)
        guard, steps = self.guard, self.steps_guard
        record = {
            "stage": self.name,
            "steps": self.step,
            "best_step": guard.best_step,
            "validation": self.found,
            "untrained": self.first,
            "skipped_not_finite": steps.not_finite,
            "skipped_exploding": steps.exploding,
            "rollbacks": guard.rollbacks,
            "ended": guard.stopped or "at the end of its budget",
            "seconds": round(self.elapsed, 1),
            **figures,
        }
        return Outcome(state, record)


def _balancer(task: Task) -> Any:
    return getattr(getattr(task, "loss_of", None), "balancer", None)

"""Divergence is caught: bad steps are left out, a bad turn is taken back, the best is kept."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

EXPLODING = 50.0  # times the median norm of the gradient makes a step one to leave out
_WINDOW, _WARM = 100, 20
_STUCK = 40  # steps left out in a row: the weights themselves are bad
WORSE = 2.0  # times the best validation loss is rolled back
_MOST_ROLLBACKS = 5


class StepGuard:
    """Which steps to take: those whose loss and gradient are finite and of a usual size.

    With ``enabled`` False only what is not finite is left out (no weights survive that).
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.norms: deque[float] = deque(maxlen=_WINDOW)
        self.not_finite = self.exploding = self.in_a_row = 0

    @property
    def skipped(self) -> int:
        """Steps left out so far."""
        return self.not_finite + self.exploding

    @property
    def stuck(self) -> bool:
        """Whether so many steps in a row were left out that waiting won't help."""
        return self.in_a_row >= _STUCK

    def accept(self, loss: float, norm: float) -> bool:
        """Whether to take a step with this loss and this norm of the gradient (before clipping)."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.not_finite += 1
            self.in_a_row += 1
            return False
        usual = median(self.norms) if len(self.norms) >= _WARM else math.inf
        if self.enabled and norm > EXPLODING * max(usual, 1e-12):
            self.exploding += 1
            self.in_a_row += 1
            return False
        self.norms.append(norm)
        self.in_a_row = 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "norms": list(self.norms),
            "counts": [self.not_finite, self.exploding, self.in_a_row],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.norms = deque(state["norms"], maxlen=_WINDOW)
        self.not_finite, self.exploding, self.in_a_row = state["counts"]


class ValidationGuard:
    """What follows from a validation loss: a new best, going on, a way back, or the end.

    ``see`` returns "best", "worse", "back" (return to the best weights with half the rate) or
    "stop". ``patience`` validations in a row without a new best end the stage, 0 never does.
    """

    def __init__(self, enabled: bool = True, patience: int = 0) -> None:
        self.enabled, self.patience = enabled, patience
        self.best, self.best_step, self.waited = math.inf, -1, 0
        self.rollbacks, self.rate = 0, 1.0
        self.stopped = ""

    def see(self, step: int, total: float) -> str:
        """Judge the validation loss after ``step`` steps."""
        if math.isfinite(total) and total < self.best:
            self.best, self.best_step, self.waited = total, step, 0
            return "best"
        self.waited += 1
        if self.enabled and not (math.isfinite(total) and total <= WORSE * abs(self.best)):
            return self.go_back()
        if self.patience and self.waited >= self.patience:
            self.stopped = f"stopped early: {self.waited} validations without a better one"
            return "stop"
        return "worse"

    def go_back(self) -> str:
        """Count a roll-back; "stop" after too many of them."""
        self.rollbacks += 1
        self.rate *= 0.5
        if self.rollbacks > _MOST_ROLLBACKS:
            self.stopped = f"given up: it diverged again after {_MOST_ROLLBACKS} roll-backs"
            return "stop"
        return "back"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        names = ("best", "best_step", "waited", "rollbacks", "rate", "stopped")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)

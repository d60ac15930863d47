"""Rate control on functions whose answer is known: few tries, and the windows that are promised."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from volcodec.search import (
    BUDGET_SHARE,
    PSNR_WINDOW,
    Outcome,
    Try,
    plain_prediction,
    search_drafted,
    search_psnr,
    search_size,
)

SPREAD = 100.0
FINEST = 1e-12 * SPREAD


class Counted:
    """A try whose PSNR and size are functions of the step; it counts its calls."""

    def __init__(self, psnr: Callable[[float], float], size: Callable[[float], int]) -> None:
        self.psnr, self.size, self.calls = psnr, size, 0

    def __call__(self, step: float) -> Outcome:
        self.calls += 1
        return Outcome(self.size(step), self.psnr(step), step)


def usual(step: float) -> float:
    """Every error uniform within its step."""
    return 10.8 + 20 * math.log10(SPREAD / step)


def dead(step: float) -> float:
    """As of a volume most of which is rounded to zero: half as many dB a step."""
    return 30 + 10 * math.log10(SPREAD / step)


def stepped(step: float) -> float:
    """Jumps of 2 dB, as where all tiles change their coding together."""
    return 2.0 * math.floor(usual(step) / 2)


def lossless_below(step: float) -> float:
    return math.inf if step < 1e-3 * SPREAD else usual(step)


def search(attempt: Try, psnr: float, finest: float = FINEST) -> Outcome | None:
    return search_psnr(attempt, psnr, SPREAD, finest, plain_prediction(SPREAD))


@pytest.mark.parametrize("psnr", [20.0, 40.0, 61.5, 90.0])
@pytest.mark.parametrize(("curve", "tries"), [(usual, 1), (dead, 7)])
def test_psnr_of_a_smooth_curve(curve: Callable[[float], float], tries: int, psnr: float) -> None:
    attempt = Counted(curve, lambda _: 1)
    found = search(attempt, psnr)
    assert found is not None
    assert psnr <= found.psnr <= psnr + PSNR_WINDOW
    assert attempt.calls <= tries


@pytest.mark.parametrize("psnr", [33.0, 47.0, 71.0])
def test_psnr_across_a_jump(psnr: float) -> None:
    """The window holds nothing: the coarsest side of the jump that keeps the promise."""
    attempt = Counted(stepped, lambda _: 1)
    found = search(attempt, psnr)
    assert found is not None
    assert found.psnr == psnr + 1
    assert attempt.calls <= 20


def test_psnr_across_lossless() -> None:
    found = search(Counted(lossless_below, lambda _: 1), 80.0)
    assert found is not None
    assert math.isinf(found.psnr)
    assert found.result < 1e-3 * SPREAD


def test_psnr_out_of_reach() -> None:
    assert search(Counted(usual, lambda _: 1), 150.0, finest=1e-3 * SPREAD) is None


def sizes(step: float) -> int:
    return int(1000 + 5000 * max(0.0, math.log2(SPREAD / step)))


@pytest.mark.parametrize("budget", [1500, 20_000, 100_000])
@pytest.mark.parametrize("start", [1e-3, 1.0, SPREAD])
def test_size_of_a_smooth_curve(budget: int, start: float) -> None:
    attempt = Counted(usual, sizes)
    found, used = search_size(attempt, budget, start, FINEST)
    assert found is not None
    assert used
    assert BUDGET_SHARE * budget <= found.size <= budget
    assert attempt.calls <= 14


def test_size_out_of_reach() -> None:
    found, used = search_size(Counted(usual, sizes), 900, 1.0, FINEST)
    assert found is None
    assert not used


def test_size_that_cannot_be_used() -> None:
    """The finest step leaves most of the budget: the finest file, and the word of it."""
    found, used = search_size(Counted(usual, sizes), 10_000_000, 1.0, FINEST)
    assert found is not None
    assert not used
    assert found.result == pytest.approx(FINEST)


def drafted(draft: Try, attempt: Try, psnr: float) -> Outcome | None:
    return search_drafted(draft, attempt, psnr, SPREAD, FINEST, plain_prediction(SPREAD))


def test_drafts_find_the_step() -> None:
    draft = Counted(dead, lambda step: 100)
    attempt = Counted(dead, lambda step: 90)
    out = drafted(draft, attempt, 50.0)
    assert out is not None and out.size == 90 and 50 <= out.psnr <= 50 + PSNR_WINDOW
    assert draft.calls > 1 and attempt.calls == 1


def test_attempts_go_on_where_drafts_ended() -> None:
    attempt = Counted(lambda step: usual(step) - 1, lambda step: 90)
    out = drafted(Counted(usual, lambda step: 100), attempt, 50.0)
    assert out is not None and 50 <= out.psnr <= 50 + PSNR_WINDOW
    assert 1 < attempt.calls <= 5


def test_few_attempts_where_they_jump() -> None:
    attempt = Counted(stepped, lambda step: 90)
    out = drafted(Counted(usual, lambda step: 100), attempt, 51.0)
    assert out is not None and out.psnr == 52 and attempt.calls <= 5


def test_one_attempt_where_drafts_jump() -> None:
    draft, attempt = Counted(stepped, lambda step: 100), Counted(stepped, lambda step: 90)
    out = drafted(draft, attempt, 51.0)
    assert out is not None and (out.psnr, out.size, attempt.calls) == (52, 90, 1)


def test_the_draft_where_the_attempt_falls_short() -> None:
    attempt = Counted(lambda step: stepped(step) - 2, lambda step: 90)
    out = drafted(Counted(stepped, lambda step: 100), attempt, 51.0)
    assert out is not None and (out.psnr, out.size) == (52, 100)


def test_no_attempt_without_a_draft() -> None:
    draft, attempt = (Counted(lambda step: 20.0, lambda step: 100) for _ in range(2))
    assert drafted(draft, attempt, 50.0) is None and attempt.calls == 0

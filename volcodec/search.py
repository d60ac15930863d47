"""Rate control: the search for a step that meets a PSNR or fills a budget of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

PSNR_WINDOW = 0.3  # dB above the target that still count as meeting it
BUDGET_SHARE = 0.97  # of a size budget that has to be used
NEARLY = 0.985  # of the size of a lossless file: from there on nothing is gained by a loss
_TRIES = 40
_MORE_TRIES = 5  # from the step that drafts end with
_JUMP = 2e-3  # two log steps this close (0.02 dB) enclose a jump over the PSNR window
_LARGEST = 709.0  # exp of more overflows
_NEAR = 3.0  # dB between two tries, from which a line between them tells more
_USUAL = math.log(10) / 20  # log steps a dB, where nothing is rounded to zero
_USUAL_SLOPE = 1.1  # of the log size a log step, where most symbols are zero
_FLATTEST = 0.02  # the same where a voxel takes fifty bits
_FARTHEST = 6.0  # log steps of one move


@dataclass(frozen=True)
class Outcome:
    """What one try gave: bytes of the file, PSNR in dB, the thing itself; its step where sought."""

    size: int
    psnr: float
    result: Any
    step: float = math.nan


Try = Callable[[float], Outcome]
Prediction = Callable[[float], float]  # PSNR in dB of a log step, falling


def plain_prediction(spread: float) -> Prediction:
    """PSNR where every error is uniform within its step, of a volume of range ``spread``."""
    return lambda x: 10.8 + (math.log(spread) - x) / _USUAL


def search_psnr(
    attempt: Try,
    psnr: float,
    spread: float,
    finest: float,
    predicted: Prediction,
    start: float | None = None,
    tries: int = _TRIES,
) -> Outcome | None:
    """The coarsest step whose PSNR lies within the window above ``psnr``; None where none does.

    ``spread`` is the volume's range; steps are tried between ``finest`` and 20 times the range,
    the step ``start`` first. Each try moves ``predicted`` by what it was off. The search ends
    without the window where a file that is too coarse is as large as one that lost nothing.
    """
    low: tuple[float, float] | None = None  # log step that is too coarse, its PSNR
    high: tuple[float, float] | None = None  # fine enough
    tried: list[tuple[float, float]] = []
    best: Outcome | None = None
    aim = psnr + PSNR_WINDOW / 3
    top, bottom = min(math.log(spread) + 3, _LARGEST), math.log(max(finest, 5e-324))
    x = math.log(start) if start else _solve(predicted, aim, bottom, top)
    lossless = math.inf  # bytes of a file without loss
    for _ in range(tries):
        x = min(max(x, bottom), top)
        step = math.exp(x)
        out = replace(attempt(step), step=step)
        if math.isinf(out.psnr):
            lossless = min(lossless, out.size)
        if out.psnr >= psnr and (best is None or out.psnr < best.psnr):
            best = out
        if psnr <= out.psnr <= psnr + PSNR_WINDOW:
            return out
        if out.psnr < psnr:
            low = (x, out.psnr)
            if x <= bottom:
                return None
            if out.size >= NEARLY * lossless:
                break
        else:
            high = (x, out.psnr)
            if x >= top:
                return out
        if low and high and abs(low[0] - high[0]) < _JUMP:
            break
        tried.append((x, out.psnr))
        x = _next(low, high, aim, tried, predicted)
    return best


def search_drafted(
    draft: Try,
    attempt: Try,
    psnr: float,
    spread: float,
    finest: float,
    predicted: Prediction,
    start: float | None = None,
) -> Outcome | None:
    """As :func:`search_psnr`, where an ``attempt`` takes long: drafts find the step it begins at.

    A ``draft`` loses nearly the same by the same step. Few attempts follow, one where even the
    drafts don't end in the window.
    """
    near = search_psnr(draft, psnr, spread, finest, predicted, start)
    if near is None:
        return None
    if near.psnr <= psnr + PSNR_WINDOW:
        return search_psnr(attempt, psnr, spread, finest, predicted, near.step, _MORE_TRIES)
    out = attempt(near.step)
    return out if out.psnr >= psnr else near


def _solve(predicted: Prediction, aim: float, bottom: float, top: float) -> float:
    """The log step at which ``predicted`` comes down to ``aim``."""
    for _ in range(40):
        middle = (bottom + top) / 2
        if predicted(middle) > aim:
            bottom = middle
        else:
            top = middle
    return (bottom + top) / 2


def _next(
    low: tuple[float, float] | None,
    high: tuple[float, float] | None,
    aim: float,
    tried: list[tuple[float, float]],
    predicted: Prediction,
) -> float:
    """The next log step: along the prediction, or between two tries that enclose the aim."""
    x, value = tried[-1]
    if low and high and not math.isfinite(high[1]):
        return (low[0] + high[0]) / 2
    if low and high and high[1] - low[1] < _NEAR:
        share = (aim - low[1]) / (high[1] - low[1])
        return low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])
    if not math.isfinite(value):
        return x + 1.5
    fall = 1.0  # of the prediction over that of the last two tries
    if len(tried) > 1 and abs(tried[-2][1] - value) > 0.05 and math.isfinite(tried[-2][1]):
        real = tried[-2][1] - value
        fall = min(max((predicted(tried[-2][0]) - predicted(x)) / real, 0.4), 3.0)
    wanted = predicted(x) - (value - aim) * fall
    reach = 1 + 0.5 * abs(value - aim)
    found = _solve(predicted, wanted, x - reach, x + reach)
    if abs(found - x) < 0.01:
        found = x + math.copysign(0.01, value - aim)
    if low and high:
        margin = 0.1 * (low[0] - high[0])  # low is the coarser, the larger step
        found = min(max(found, high[0] + margin), low[0] - margin)
    return found


def search_size(
    attempt: Try, budget: int, start: float, finest: float
) -> tuple[Outcome | None, bool]:
    """The finest step whose file fits ``budget`` bytes, and whether it uses enough of it.

    The second value is False where even the finest step leaves more than 3 % unused.
    """
    top, bottom = min(math.log(start) + 12, _LARGEST), math.log(max(finest, 5e-324))
    x = math.log(start)
    fits: tuple[float, float] | None = None
    over: tuple[float, float] | None = None
    best: Outcome | None = None
    aim = math.log(budget * (1 + BUDGET_SHARE) / 2)
    slope = _USUAL_SLOPE
    last: tuple[float, float] | None = None
    for _ in range(_TRIES):
        x = min(max(x, bottom), top)
        out = attempt(math.exp(x))
        if out.size <= budget:
            if best is None or out.size > best.size:
                best = out
            fits = (x, math.log(out.size))
            if out.size >= BUDGET_SHARE * budget:
                return best, True
            if x <= bottom:
                return best, False
        else:
            over = (x, math.log(out.size))
            if x >= top:
                return best, False
        here = (x, math.log(out.size))
        if fits is None or over is None:
            if last is not None and abs(x - last[0]) > 1e-9:
                fall = (last[1] - here[1]) / (x - last[0])
                slope = min(max(fall, _FLATTEST), _USUAL_SLOPE)
            move = min(max((here[1] - aim) / slope, -_FARTHEST), _FARTHEST)
            last = here
            x += math.copysign(max(abs(move), 0.05), move)
        else:
            share = (aim - fits[1]) / (over[1] - fits[1])
            x = fits[0] + min(max(share, 0.15), 0.85) * (over[0] - fits[0])
            if abs(fits[0] - over[0]) < 1e-6:
                break
    return best, best is not None and best.size >= BUDGET_SHARE * budget

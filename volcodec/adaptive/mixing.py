"""Bits in many contexts at once: adaptive cells, mixed in the logistic domain, then refined.

Logistic mixing (Mahoney 2005, PAQ) in integers only. Every context has two cells for a bit: one
that counts (as those of masks do), one that forgets quickly. What they say is stretched, weighed by
two sets of weights that learn from every bit, and the mean is refined by a table of its own
(adaptive probability maps, after Shkarin's secondary estimation).
"""

from __future__ import annotations

import numpy as np

from ..kernel import kernel
from ..support.binary import HALF, RATE, SQUASH, STRETCH, STRETCH_END, adapt, code_bit

PAGE = 16  # cells of one context that lie together
PAGES = 1 << 12  # of a context, in the closed loop
ONE = 1 << 16  # a weight
_FIRST = 9830  # 0.15
_CONSTANT = 77
_QUICK = 2730  # least rate of the quick cells: 1 / 24 of 2**16
_SURE = 20  # bits after which a quick cell counts in full
_MOST = 1 << 18  # weights stay within 4
STEPS = 33  # of the refining tables, half a nat apart
_STEP_BITS = 7


def inputs_of(contexts: int) -> int:
    """Inputs of the mixing: two a context, a constant, a prior; zeros up to a multiple of 16."""
    return -(-(2 * contexts + 2) // 16) * 16


def fresh_cells(contexts: int, pages: int = PAGES) -> tuple[np.ndarray, np.ndarray]:
    """Counting (uint32) and quick cells (uint16), each (contexts, cells), before the first bit."""
    shape = contexts, PAGE * pages
    return np.full(shape, HALF, np.uint32), np.full(shape, 1 << 15, np.uint16)


def fresh_weights(sets: int, contexts: int, first: int = _FIRST, prior: int = 0) -> np.ndarray:
    """int32 (sets, inputs): ``first`` for the counting cells, ``prior`` for the prior."""
    out = np.zeros((sets, inputs_of(contexts)), np.int32)
    out[:, : 2 * contexts : 2] = first
    out[:, 2 * contexts + 1] = prior
    return out


def fresh_tables(count: int) -> np.ndarray:
    """Refining tables (uint16, (count, STEPS)) that refine nothing yet."""
    steps = np.arange(STEPS) * (1 << _STEP_BITS) - (STEPS // 2 << _STEP_BITS)
    return np.tile(SQUASH[np.clip(steps, -STRETCH_END, STRETCH_END) + STRETCH_END], (count, 1))


@kernel()
def _weighed(inputs: np.ndarray, weights: np.ndarray) -> int:
    total = np.int64(0)
    for i in range(inputs.size):
        total += np.int64(inputs[i]) * np.int64(weights[i])
    return min(max(total >> 16, -STRETCH_END), STRETCH_END)


@kernel()
def _learn(inputs: np.ndarray, weights: np.ndarray, error: int, rate: int) -> None:
    for i in range(inputs.size):
        w = np.int64(weights[i]) + ((np.int64(inputs[i]) * error * rate + (1 << 16)) >> 17)
        weights[i] = min(max(w, -_MOST), _MOST)


@kernel()
def code(
    bit: int, node: int, prior: int, rate: int, contexts: np.ndarray, slow: np.ndarray,
    quick: np.ndarray, weights: np.ndarray, others: np.ndarray, table: np.ndarray,
    inputs: np.ndarray, places: np.ndarray, data: np.ndarray, state: np.ndarray, decode: bool,
) -> int:  # fmt: skip
    """Code one bit, which is returned, at ``node`` of the ``contexts`` (int64, hashes of pages).

    ``prior``: what is known of it besides, stretched; ``rate``: at which weights learn, over 2**17;
    ``weights`` and ``others``: the two sets; ``table``: what refines; ``inputs`` (int32) and
    ``places`` (int64, as contexts) are scratch.
    """
    n = contexts.size
    page = (node >> 4) * 0x9E5
    last = slow.shape[1] // PAGE - 1
    for j in range(n):
        k = ((contexts[j] + page) & last) << 4 | (node & 15)
        places[j] = k
        cell = np.int64(slow[j, k])
        count = min(cell & 1023, _SURE)
        inputs[2 * j] = STRETCH[cell >> 20]
        inputs[2 * j + 1] = (np.int64(STRETCH[quick[j, k] >> 4]) * count * 3277) >> 16
    inputs[2 * n] = _CONSTANT
    inputs[2 * n + 1] = prior
    first, second = _weighed(inputs, weights), _weighed(inputs, others)
    mean = (first + second) >> 1
    p1 = np.int64(SQUASH[first + STRETCH_END])
    p2 = np.int64(SQUASH[second + STRETCH_END])
    at = min(max(mean + (STEPS // 2 << _STEP_BITS), 0), (STEPS - 1 << _STEP_BITS) - 1)
    step, part = at >> _STEP_BITS, at & ((1 << _STEP_BITS) - 1)
    low, high = np.int64(table[step]), np.int64(table[step + 1])
    refined = (low * ((1 << _STEP_BITS) - part) + high * part) >> _STEP_BITS
    p = (np.int64(SQUASH[mean + STRETCH_END]) + refined) >> 1
    p = min(max(p, 4), 65532)
    a, b, c, d, one = code_bit(state[0], state[1], state[2], state[3], data, p, bit, decode)
    state[0], state[1], state[2], state[3] = a, b, c, d
    target = one * 65535
    table[step] += ((target - low) * ((1 << _STEP_BITS) - part)) >> (_STEP_BITS + 6)
    table[step + 1] += ((target - high) * part) >> (_STEP_BITS + 6)
    _learn(inputs, weights, (one << 16) - p1, rate)
    _learn(inputs, others, (one << 16) - p2, rate)
    for j in range(n):
        k = places[j]
        share = max(np.int64(RATE[np.int64(slow[j, k]) & 1023]), _QUICK)
        q = np.int64(quick[j, k])
        quick[j, k] = min(max(q + (((one << 16) - q) * share >> 16), 64), 65472)
        adapt(slow[j], k, one)
    return one


@kernel()
def code_raw(value: int, bits: int, data: np.ndarray, state: np.ndarray, decode: bool) -> int:
    """Code the lowest ``bits`` of a value as they are, the highest first."""
    out = 0
    for i in range(bits - 1, -1, -1):
        a, b, c, d, one = code_bit(
            state[0], state[1], state[2], state[3], data, 1 << 15, value >> i & 1, decode
        )
        state[0], state[1], state[2], state[3] = a, b, c, d
        out = out << 1 | one
    return out

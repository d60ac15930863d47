"""The symbols of a level as they are to be coded, and what they would cost.

A level's symbols lie in one array, so that one kernel goes over them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np

from ..kernel import kernel
from .classic import CONTEXTS
from .expectation import Signs
from .picks import LANES, count_before, list_coded, pick
from .tables import COST_BITS, DIRECT, TOKENS, Tables, token_of

_PAIR_BITS = 16  # what an exception in a learned mapping costs
_MANY = 1 << 13  # symbols of a band from which
_SIGN_SHARE = 4  # one of so many tells what signs cost
Weights = tuple[int, np.ndarray]  # code and 28 weights of a band


class Runs(NamedTuple):
    """Symbols of a level in coding order, band by band, with both choices of keys, as kernels write
    them.

    ``symbols`` (int32); ``rests`` (int8): of the expectations; ``learned`` (uint8): table indices;
    ``classic`` (uint8, or empty): contexts; ``quantisers`` (uint8, or empty): of the symbols, where
    a trellis decided them; ``known`` (uint8, or empty): which signs the limits of the values tell;
    ``starts`` (int64) of the bands; ``ends`` (int64) of the class runs, eight a band.
    """

    symbols: np.ndarray
    rests: np.ndarray
    learned: np.ndarray
    classic: np.ndarray
    quantisers: np.ndarray
    known: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


_NO_BYTES = np.empty(0, np.uint8)
_NO_PLACES = np.empty(0, np.int64)
NO_RUNS = Runs(
    np.empty(0, np.int32), np.empty(0, np.int8), *(_NO_BYTES,) * 4, *(_NO_PLACES,) * 2
)  # fmt: skip


@dataclass
class LevelRuns:
    """What a stream says of one level.

    ``weights``: of the bands 1 to 7 that expect something; ``back`` and ``share``: bytes of what
    symbols decode to, see :mod:`..transform.layers`.
    """

    runs: Runs = NO_RUNS
    back: tuple[int, int] = (128, 128)
    weights: dict[int, Weights] = field(default_factory=dict)
    share: int = 0


@kernel()
def _histogram(symbols: np.ndarray, keys: np.ndarray, hist: np.ndarray) -> None:
    """Add tokens, TOKENS places for each key; unsigned places are not looked at for being
    negative."""
    for i in range(symbols.size):
        s = np.int64(symbols[i])
        token = np.uint64(-s if s < 0 else s)
        if token >= DIRECT:
            token = np.uint64(token_of(np.int64(token)))
        hist[np.uint64(keys[i]) * np.uint64(TOKENS) + token] += 1


@kernel()
def _sign_units(
    symbols: np.ndarray, keys: np.ndarray, rests: np.ndarray, starts: np.ndarray, cost: np.ndarray
) -> int:
    """What the signs cost beyond one bit each, as a share of those of large bands says."""
    total = np.int64(0)
    for band in range(starts.size):
        first = starts[band]
        end = starts[band + 1] if band + 1 < starts.size else symbols.size
        every = 1 if end - first < _MANY else _SIGN_SHARE
        found = np.int64(0)
        for i in range(first, end, every):
            s, rest = np.int64(symbols[i]), np.int64(rests[i])
            if s != 0 and rest != 0:
                side = 0 if (s > 0) == (rest > 0) else 1
                found += cost[1 if abs(s) > 1 else 0, keys[i], abs(rest), side]
        total += found * every
    return total


@numba.njit(cache=True, nogil=True)
def _count(
    runs: Runs, classical: bool, second: int, sign_cost: np.ndarray, hist: np.ndarray
) -> int:
    """Tokens by keys, of both quantisers, whose tables are ``second`` apart, to ``hist`` (int64,
    (2, contexts, TOKENS)). Returns what signs cost beyond one bit each, as a share of those of
    large bands says (``sign_cost``: see :class:`.expectation.Signs`; empty: they cost one)."""
    keys = runs.classic if classical else runs.learned
    own = keys
    if second > 0:
        own = keys + np.uint8(second) * runs.quantisers
    _histogram(runs.symbols, own, hist.reshape(-1))
    if sign_cost.size > 0:
        return _sign_units(runs.symbols, own, runs.rests, runs.starts, sign_cost)
    return 0


@kernel()
def _cheapest(
    hist: np.ndarray, cost: np.ndarray, count: int, names: int, price: int, costs: np.ndarray,
    mapping: np.ndarray, least: np.ndarray,
) -> None:  # fmt: skip
    """See :func:`choose_tables`; ``hist`` (2, keys, TOKENS) of keys of levels with ``names`` each.

    ``price``: what another table than the one of the same name costs; negative: they have none.
    ``costs``: int64 scratch (count,) that becomes those of the chosen tables, (keys,).
    """
    by_table, found = costs
    for key in range(mapping.size):
        by_table[:count] = 0
        used = False
        for half in range(cost.shape[0] // count):
            for token in range(hist.shape[2]):
                n = hist[half, key, token]
                if n > 0:
                    used = used or token > 0
                    for table in range(count):
                        by_table[table] += n * cost[half * count + table, token]
        best = 0
        for table in range(1, count):
            best = table if by_table[table] < by_table[best] else best
        name = key % names
        if price >= 0 and by_table[name] - by_table[best] <= price:
            best = name
        mapping[key] = best
        found[key] = by_table[best]
        if used:
            least[key // names] = min(least[key // names], best)


@numba.njit(cache=True, nogil=True)
def _weigh(
    runs: Runs, classical: bool, second: int, sign_cost: np.ndarray, cost: np.ndarray, count: int,
    price: int, mapping: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    hist = np.zeros((2, mapping.size, TOKENS), np.int64)
    units = _count(runs, classical, second, sign_cost, hist)
    costs = np.empty((2, max(mapping.size, count)), np.int64)
    least = np.empty(1, np.int64)
    least[0] = count
    _cheapest(hist, cost, count, mapping.size, price, costs, mapping, least)
    return units + costs[1, : mapping.size].sum(), least[0]


def weigh(
    level: LevelRuns, tables: Tables, signs: Signs, classical: bool, count: int
) -> tuple[np.ndarray, int, int]:
    """The tables of a level's contexts or of a network's indices (uint8), what its symbols cost
    (over 2**COST_BITS bits), and the least table that any but zeros have.

    ``count``: tables of one quantiser, and what is returned where all symbols are zero.
    """
    mapping = np.empty(CONTEXTS if classical else count, np.uint8)
    second = count if count < len(tables) else 0
    signed = bool(level.weights) and not classical
    units, least = _weigh(
        level.runs, classical, second, signs.cost if signed else signs.cost[:0], tables.cost, count,
        _price(classical), mapping,
    )  # fmt: skip
    return mapping, units, least


def _price(classical: bool) -> int:
    """What another table than one's own costs; contexts have none."""
    return -1 if classical else (_PAIR_BITS + 4) << COST_BITS


def choose_tables(
    hist: np.ndarray, tables: Tables, count: int, classical: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables of levels' contexts or, of a network, of their indices (uint8 (..., contexts)).

    ``hist`` (int64, (2, ..., contexts, TOKENS)): tokens, of both quantisers where there are two,
    whose ``count`` tables each follow one another. Also what the tokens of each level cost, and the
    least table that any but zeros have (``count`` where all are zero), both int64 (...).
    """
    mapping = np.empty(hist.shape[1:-1], np.uint8)
    costs = np.empty((2, max(mapping.size, count)), np.int64)
    least = np.full(mapping.shape[:-1], count)
    _cheapest(
        hist.reshape(2, -1, TOKENS), tables.cost, count, hist.shape[-2], _price(classical), costs,
        mapping.reshape(-1), least.reshape(-1),
    )  # fmt: skip
    return mapping, costs[1, : mapping.size].reshape(mapping.shape).sum(axis=-1), least


@numba.njit(cache=True, nogil=True)
def compact(
    symbols: np.ndarray, keys: np.ndarray, rests: np.ndarray, ends: np.ndarray,
    mapping: np.ndarray, skip: int, signed: bool, out_symbols: np.ndarray, out_tables: np.ndarray,
    out_keys: np.ndarray, out_rests: np.ndarray, out_ends: np.ndarray,
) -> int:  # fmt: skip
    """Copy the symbols that are coded, and their keys and rests if they are ``signed``; how many.

    ``ends`` of runs become those among what is copied.
    """
    chosen = np.empty((keys.size + LANES - 1) // LANES, np.uint16)
    n = list_coded(keys, mapping, skip, chosen, out_tables)
    pick(symbols, chosen, out_symbols)
    if signed:
        pick(keys, chosen, out_keys)
        pick(rests, chosen, out_rests)
    count_before(chosen, ends, out_ends)
    return n

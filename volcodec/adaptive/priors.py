"""What a model's tables say of the bits of symbols: the first guess of what learns from the tile.

A magnitude is taken apart into bits: is it zero; is its exponent 0, if not, is it 1, and so on; the
bits after the leading one, of which the first three are modelled. Each has a node. Everything is
integers: the same on every machine.
"""

from __future__ import annotations

import numpy as np

from ..entropy.expectation import Signs
from ..entropy.tables import TOKENS, Tables, token_of
from ..kernel import inlined
from ..support.binary import STRETCH

LARGEST = 30  # exponent of a magnitude
MODELLED = 3  # bits after the leading one that are
_TOLD = 10  # exponents below this have such bits told by tables
_BITS = 2 + LARGEST  # first node of them
NODES = _BITS + _TOLD * (1 << MODELLED)
_SMOOTH = 64  # frequencies weigh this many times what an impossible token does


@inlined()
def exponent_node(e: int) -> int:
    """Node of the question whether an exponent is ``e``, being at least that."""
    return 1 + e


@inlined()
def bit_node(e: int, branch: int) -> int:
    """Node of a bit after the leading one; ``branch``: it and those before. -1: nothing is told."""
    return _BITS + (e << MODELLED) + branch if e < _TOLD else -1


def of_magnitudes(tables: Tables) -> np.ndarray:
    """How likely tables hold each bit for 1, stretched (see support.binary): int16 (tables, NODES).

    Of an exponent: that it is the one asked for.
    """
    freq = tables.freq[:, :TOKENS].astype(np.int64) * _SMOOTH + 1
    before = np.concatenate([np.zeros((len(freq), 1), np.int64), np.cumsum(freq, axis=1)], axis=1)
    out = np.zeros((len(freq), NODES), np.int16)

    def share(begin: int, end: int, of: tuple[int, int]) -> np.ndarray:
        part, whole = (before[:, b] - before[:, a] for a, b in ((begin, end), of))
        return STRETCH[np.minimum(part * 4096 // whole, 4095)]

    out[:, 0] = share(0, 1, (0, TOKENS))
    for e in range(LARGEST + 1):
        first, past = token_of(1 << e), token_of(2 << e)
        out[:, exponent_node(e)] = share(first, past, (first, TOKENS))
    for e in range(1, _TOLD):
        for i in range(min(e, MODELLED)):
            for branch in range(1 << i, 2 << i):
                low, width = branch << (e - i), 1 << (e - i)
                first, middle, past = (token_of(low + d) for d in (0, width // 2, width))
                if first < middle < past:  # else a token holds both, and bits are even
                    out[:, bit_node(e, branch)] = share(middle, past, (first, past))
    return out


def of_signs(signs: Signs) -> np.ndarray:
    """How likely signs are the expected ones, stretched: int16, axes as :class:`.Signs` has them.

    Where nothing is left of the expectation, both are as likely.
    """
    out: np.ndarray = STRETCH[signs.freq >> 2]
    out[..., 0] = 0
    return out

"""Symbols by a mixture of two logistic distributions, bit by bit (Salimans et al. 2017).

Of a symbol is coded whether it is zero, then its sign, then its exponent, then the bits below its
leading one; the chance of each bit is what the mixture says of the symbols that are left. What the
limits of the values rule out is not coded. How often a bit came where the mixture gave it such a
chance is counted, and the mean of both is used (adaptive probability maps, after Shkarin's
secondary estimation).
"""

from __future__ import annotations

import numpy as np

from ..kernel import inlined, kernel
from ..support.binary import SQUASH, STRETCH, STRETCH_END, code_bit

SHAPE = 6  # of a mixture: middle and inverse of the scale of each part, shares of both
_STEPS = 64  # of the table of tails, in one scale
_END = 20  # scales from the middle, beyond which nothing is left
_MODELLED = 3  # bits after the leading one that are
_TINY = 1e-7  # chance that either value of a bit has besides
_SURE = 32  # chances nearer to 0 or 1 than this, over 2**16, are left as they are
_NEVER = 14.0  # scales, beyond which so little is left that it is taken to be nothing
_ONE = 1 << 64
_EXP_64TH = 18160753814917686420  # round(2^64 exp(-1/64))
# what counts: by the ends that a symbol can't be beyond, by exponents and bits
_SIGN, _EXPONENTS, _BITS = 4, 5, 21
_EXPONENTS_APART, _BITS_APART = 8, 8
NODES = _BITS + _BITS_APART * _MODELLED
_BINS, _BIN_BITS = 33, 7  # of what counts, half a nat apart
_RATE = 6


def _tails() -> np.ndarray:
    """1 / (1 + exp(x)), in steps of 1/64 from 0 on, as whole multiples of 2**-50 (float64)."""
    out = np.zeros(_END * _STEPS + 2)
    power = _ONE
    for i in range(_END * _STEPS + 1):
        out[i] = ((power << 50) // (_ONE + power)) / 2.0**50
        power = power * _EXP_64TH >> 64
    return out


TAILS = _tails()


def fresh_maps(kinds: int) -> np.ndarray:
    """What counts (uint16, (kinds * NODES, bins)), before anything was."""
    middles = np.clip((np.arange(_BINS) - _BINS // 2) << _BIN_BITS, -STRETCH_END, STRETCH_END)
    return np.tile(SQUASH[middles + STRETCH_END], (kinds * NODES, 1))


@inlined()
def tail(x: float) -> float:
    """What a logistic distribution of scale one has above x."""
    a = min(abs(x), _END - 1e-9) * _STEPS
    k = np.int64(a)
    low = TAILS[k]
    t = low + (TAILS[k + 1] - low) * (a - k)
    return t if x >= 0 else 1.0 - t


@kernel()
def _beyond(shape: np.ndarray, x: float, side: float) -> float:
    """What a mixture has above x (side 1), or below -x (side -1)."""
    narrow = tail((x - side * shape[0]) * shape[1])
    return shape[4] * narrow + shape[5] * tail((x - side * shape[2]) * shape[3])


@kernel()
def _code(p: int, bit: int, data: np.ndarray, state: np.ndarray, decode: bool) -> int:
    """Code a bit that is one with a chance of ``p`` / 65536."""
    a, b, c, d, one = code_bit(state[0], state[1], state[2], state[3], data, p, bit, decode)
    state[0], state[1], state[2], state[3] = a, b, c, d
    return one


@kernel()
def _code_bit(
    part: float, whole: float, bit: int, bins: np.ndarray, data: np.ndarray, state: np.ndarray,
    decode: bool,
) -> int:  # fmt: skip
    """Code a bit that is one with a chance of ``part`` of ``whole``, which ``bins`` refine."""
    p = np.int64(65536.0 * ((part + _TINY) / (whole + 2.0 * _TINY)))
    p = min(max(p, 2), 65534)
    if p < _SURE or p > 65536 - _SURE:
        return _code(p, bit, data, state, decode)
    at = np.int64(STRETCH[p >> 4]) + (_BINS // 2 << _BIN_BITS)
    at = min(max(at, 0), (_BINS - 1 << _BIN_BITS) - 1)
    k, above = at >> _BIN_BITS, at & ((1 << _BIN_BITS) - 1)
    below = (1 << _BIN_BITS) - above
    low, high = np.int64(bins[k]), np.int64(bins[k + 1])
    p = (p + ((low * below + high * above) >> _BIN_BITS)) >> 1
    one = _code(min(max(p, 2), 65534), bit, data, state, decode)
    bins[k] = low + (((one * 65535 - low) * below) >> (_BIN_BITS + _RATE))
    bins[k + 1] = high + (((one * 65535 - high) * above) >> (_BIN_BITS + _RATE))
    return one


@kernel()
def nearer(m: int, off: float, shape: np.ndarray, side: float, lam: float) -> int:
    """The magnitude ``m`` > 0, or the one below it where that is worth its error.

    ``off``: of the magnitude that is wished, which is not above ``m``. A bit is worth ``lam``
    square steps.
    """
    here = _beyond(shape, m - 0.5, side)
    own = here - _beyond(shape, m + 0.5, side)
    if m > 1:
        below = _beyond(shape, m - 1.5, side) - here
    else:
        below = 1.0 - here - _beyond(shape, 0.5, -side)
    saved = np.log2((below + _TINY) / (own + _TINY))
    return m - 1 if 1.0 - 2.0 * off < lam * saved else m


@kernel()
def code_symbol(
    s: int, least: int, most: int, shape: np.ndarray, maps: np.ndarray, first: int,
    data: np.ndarray, state: np.ndarray, decode: bool,
) -> int:  # fmt: skip
    """Code a symbol from ``least`` <= 0 to ``most`` >= 0, which is returned.

    ``shape``: of the mixture, in symbols. ``maps``: of :func:`fresh_maps`, from ``first`` on.
    """
    if most == 0 and least == 0:
        return 0
    if (0.5 - abs(shape[0])) * shape[1] > _NEVER and (0.5 - abs(shape[2])) * shape[3] > _NEVER:
        up = down = 0.0
    else:
        up = _beyond(shape, 0.5, 1.0)
        down = _beyond(shape, 0.5, -1.0)
    ends = (1 if least == 0 else 0) + (2 if most == 0 else 0)
    up = up if most > 0 else 0.0
    down = down if least < 0 else 0.0
    none = max(1.0 - up - down, 0.0)
    if _code_bit(none, 1.0, s == 0, maps[first + ends], data, state, decode):
        return 0
    positive = 1 if least == 0 else 0
    if ends == 0:
        positive = _code_bit(up, up + down, s > 0, maps[first + _SIGN], data, state, decode)
    side = 1.0 if positive else -1.0
    top = most if positive else -least
    m = abs(s)
    here = up if positive else down  # what is left from the least possible magnitude on
    beyond = 0.0  # the same of what is too large
    e = 0
    while 2 << e <= top:
        beyond = _beyond(shape, np.float64(2 << e) - 0.5, side)
        node = _EXPONENTS + 2 * min(e, _EXPONENTS_APART - 1) + (1 if ends else 0)
        if _code_bit(
            here - beyond, here, m >> (e + 1) == 0, maps[first + node], data, state, decode
        ):  # fmt: skip
            break
        here = beyond
        beyond = 0.0
        e += 1
    out = np.int64(1) << e
    for i in range(e - 1, -1, -1):
        middle = out + (1 << i)
        if middle > top:
            continue
        one = m >> i & 1
        if e - 1 - i < _MODELLED:
            node = _BITS + _MODELLED * min(e, _BITS_APART - 1) + e - 1 - i
            upper = _beyond(shape, np.float64(middle) - 0.5, side)
            one = _code_bit(
                upper - beyond, here - beyond, one, maps[first + node], data, state, decode
            )
            if one:
                here = upper
            else:
                beyond = upper
        else:
            one = _code(1 << 15, one, data, state, decode)
        if one:
            out = middle
    return out if positive else -out

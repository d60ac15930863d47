"""Targets: what the user asks for, as settings of the tile coder, and the search for a step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import InputError
from .models import TRELLIS
from .survey import Survey
from .tilecoder import Settings
from .values import Mapping, shortened

DEFAULT = ("rel_error", 1e-3)
KINDS = ("max_error", "rel_error", "psnr", "ratio", "bits", "lossless")
STEP_PER_BOUND = 2.0  # step of the transform over the error bound
LAMBDA_BOUND = 0.05
LAMBDA = 0.075
_WORTH = 0.1  # squared error, in steps, that is worth a bit where ways to code are compared
SMOOTH = (0.12, 0.06, 0.2, 0.03, 0.3, 0.0)  # in turn, where no step alone ends in a PSNR window
_FINEST = 2.0**-15  # of the range: below, floats are coded on a lattice instead
_COUNTED = 2.0**17  # steps within the range that can be counted from anywhere in it
_MOST_STEPS = 1 << 28  # lattice steps that a bound may span
_NEAR = 0.01  # of the range: how far above the background the least value may lie
_REACHES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5)  # of snapping, in steps
_ALL = ("lossy", "predicted", "lattice")
_FREE = (TRELLIS, "predicted", "lattice")  # without a bound


@dataclass(frozen=True)
class Target:
    """One of ``max_error, rel_error, psnr, ratio, bits, lossless`` and its value."""

    kind: str
    value: float


def target(**given: Any) -> Target:
    """The one target among the keywords that are not None; InputError where several or bad."""
    chosen = {k: v for k, v in given.items() if v is not None and v is not False}
    if len(chosen) > 1:
        raise InputError(f"one target at a time: {' and '.join(chosen)} were given")
    if not chosen:
        return Target(*DEFAULT)
    ((kind, value),) = chosen.items()
    if kind == "lossless":
        return Target(kind, 0.0)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{kind} must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise InputError(f"{kind} must be finite, not {number}")
    if kind in ("max_error", "rel_error") and number < 0:
        raise InputError(f"{kind} must not be negative; it is {number:g}")
    if kind in ("ratio", "bits") and number <= 0:
        raise InputError(f"{kind} must be positive; it is {number:g}")
    return Target(kind, number)


def _scale(look: Survey) -> float:
    return look.range if 0 < look.range < math.inf else 1.0


def _middle(look: Survey) -> float:
    """A number near the middle of the range that is short to store."""
    middle = look.low / 2 + look.high / 2
    grain = 2.0 ** (math.frexp(look.range)[1] - 10)
    near = math.floor(middle / grain) * grain if grain > 0 else middle
    return near if math.isfinite(near) else middle


def _origin(look: Survey, step: float) -> float:
    """What values are counted from: a common background, which then costs nothing."""
    if look.ground is not None and look.range < _COUNTED * step:
        return look.ground
    return _middle(look)


def lossless(look: Survey, dtype: np.dtype[Any], levels: int) -> Settings:
    """Settings that keep every bit."""
    mapping = Mapping(dtype, "bits")
    if dtype.kind in "iu" and look.lattice is not None:
        mapping = Mapping(dtype, "lattice", look.lattice[0], 1.0, 0.0, 1.0)
    elif (
        look.lattice is not None and look.lattice[2] == 0
        and look.finite == look.voxels and not look.negative_zero
    ):  # fmt: skip
        mapping = Mapping(dtype, "lattice", look.lattice[0], look.lattice[1], 0.0, 1.0)
    elif dtype.itemsize <= 4 or look.narrow:
        mapping = Mapping(dtype, "bits", lattice_step=1.0)
    banks = ("predicted", "lattice") if mapping.lattice_step else ()
    return Settings(mapping, levels, scale=_scale(look), bound=0.0, slack=0.0, banks=banks)


def bounded(look: Survey, dtype: np.dtype[Any], levels: int, bound: float) -> Settings:
    """Settings under which no voxel is off by more than ``bound``."""
    most = max(abs(look.low), abs(look.high))
    near = min(bound, 0.45 * look.range)  # a larger bound gains little, and steps stay finite
    if look.lattice is not None:
        origin, pitch, distance = look.lattice
        k = math.floor(min((near - distance) / pitch, _MOST_STEPS)) if near >= distance else -1
        if k == 0:
            m = Mapping(dtype, "lattice", origin, pitch, 0.0, 1.0)
            return Settings(
                m,
                levels,
                scale=_scale(look),
                bound=bound,
                slack=0.0,
                banks=("predicted", "lattice"),
            )
        if k > 0:
            m = Mapping(
                dtype, "lattice", origin, pitch, STEP_PER_BOUND * (k + 0.5), float(2 * k + 1)
            )
            return Settings(
                m,
                levels,
                scale=_scale(look),
                bound=bound,
                slack=k + 0.25,
                lam=LAMBDA_BOUND,
                banks=_ALL,
            )
    with np.errstate(over="ignore"):
        rounding = 0.51 * float(np.spacing(dtype.type(most))) + 4 * float(np.spacing(most))
    slack = near - rounding
    if not slack > near / 2:
        return lossless(look, dtype, levels)
    jump = shortened(2 * slack * (1 - 2.0**-18))
    step = shortened(STEP_PER_BOUND * slack, 12)
    m = Mapping(dtype, "real", _origin(look, step), 0.0, step, jump)
    return Settings(
        m, levels, scale=_scale(look), bound=bound, slack=slack, lam=LAMBDA_BOUND, banks=_ALL
    )


def stepped(
    look: Survey, dtype: np.dtype[Any], levels: int, step: float, smooth: float | None = None
) -> Settings:
    """Settings without a bound, quantised by ``step`` in the units of the data.

    With ``smooth``, only by the transform, whose error follows the step without jumps, and with
    that ``lam``.
    """
    step = shortened(step, 12)
    lam = LAMBDA if smooth is None else smooth
    if look.lattice is not None:
        origin, pitch, _ = look.lattice
        k = shortened(step / pitch, 12)
        if k < 4 and smooth is None:  # near enough to lossless coding for that to be smaller
            m = Mapping(dtype, "lattice", origin, pitch, k, 1.0)
            return Settings(m, levels, scale=_scale(look), lam=lam, banks=_FREE)
        odd = float(2 * min(int(k / 2), _MOST_STEPS) + 1)
        m = Mapping(dtype, "lattice", origin, pitch, k, odd if smooth is None else 0.0)
        return _open(m, levels, look, lam, k)
    if step < _FINEST * look.range and smooth is None:
        m = Mapping(dtype, "real", _middle(look), 0.0, 0.0, step)
        return Settings(m, levels, scale=_scale(look), banks=("predicted", "lattice"))
    m = Mapping(dtype, "real", _origin(look, step), 0.0, step, step if smooth is None else 0.0)
    return _open(m, levels, look, lam, step)


def _open(m: Mapping, levels: int, look: Survey, lam: float, step: float) -> Settings:
    """Without a bound: the transform, or the closed loop where bits and squared error say so."""
    banks: tuple[str, ...] = (TRELLIS,)
    worth = math.inf
    if m.lattice_step:
        banks, worth = (TRELLIS, "predicted"), math.sqrt(8 * _WORTH) * step
    reaches: tuple[float, ...] = ()
    zero = look.declared
    if zero <= look.low < zero + _NEAR * look.range:
        # nothing lies below the background, which costs nothing to say
        m = replace(m, least=zero, most=zero + look.range if look.low == zero else math.inf)
    if look.background:
        m = replace(m, ground=zero)
        pitch = m.pitch if m.on_lattice else 1.0
        reaches = tuple(share * step * pitch for share in _REACHES)
    return Settings(
        m, levels, scale=_scale(look), lam=lam, banks=banks, worth=worth, reaches=reaches
    )


def with_support(s: Settings, background: float, look: Survey, dtype: np.dtype[Any]) -> Settings:
    """The same settings keeping the background exactly."""
    if s.mapping.domain == "bits":
        return s
    nudge = 1.0
    if dtype.kind in "iu":
        nudge = -1.0 if background == np.iinfo(dtype).max else 1.0
    elif s.mapping.domain == "lattice":
        nudge = s.mapping.pitch
    elif background != 0:
        nudge = float(np.spacing(dtype.type(abs(background))))
    else:
        info = np.finfo(dtype)
        small = float(info.tiny)
        limit = min(s.bound, look.range * 1e-6)
        nudge = small if small < limit * 1e-3 else float(info.smallest_subnormal)
    if s.mapping.domain == "real":
        # visible voxels that decode to the background itself could not be corrected any more
        s = replace(s, mapping=replace(s.mapping, origin=_middle(look)))
    return replace(s, exact=True, background=background, nudge=nudge, reaches=())

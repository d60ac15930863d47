"""Previews: a tile's own coarse band, scaled to the units of the data."""

from __future__ import annotations

import numpy as np

from . import support
from .tiledecoder import CONSTANT, SPARING, Frame, TileDecoder, bank_of, hidden_voxels, restorer
from .tiles import Shape, coarse
from .transform.pyramid import CDF97_PREVIEW, SHIFT, Pyramid
from .values import from_ordered


def scale(pyramid: Pyramid, shape: Shape, level: int) -> float:
    """What ``level`` levels make of a constant tile of ``shape``."""
    gain, one = 1.0, pyramid.dc_gain()
    for n in shape:
        for _ in range(min(level, max(n - 1, 0).bit_length())):
            gain *= one
    return gain


def low_band(pyramid: Pyramid, values: np.ndarray, level: int) -> np.ndarray:
    """The band after ``level`` levels of float64 ``values``, scaled: the float analysis."""
    coefs = pyramid.coefs / (1 << SHIFT)
    x = values.astype(np.float64)
    for axis in range(3):
        x = np.moveaxis(x, axis, 0)
        for _ in range(level):
            if x.shape[0] < 2:
                break
            even, odd = x[::2].copy(), x[1::2].copy()
            for s, c in enumerate(coefs):
                if s % 2 == 0:
                    right = np.concatenate([even[1:], even[-1:]])[: len(odd)]
                    odd += c * (even[: len(odd)] + right)
                else:
                    padded = np.concatenate([odd[:1], odd, odd[-1:]])
                    even += c * (padded[: len(even)] + padded[1 : len(even) + 1])
            x = even / pyramid.dc_gain()
        x = np.moveaxis(x, 0, axis)
    return x


def tile(
    coder: TileDecoder, coding: int, streams: tuple[bytes, ...], shape: Shape, s: Frame, level: int,
    whole: bool, before: np.ndarray | None = None, restored: bool = False,
) -> np.ndarray:  # fmt: skip
    """The preview of a tile: shape ``ceil(n / 2**level)``, in the dtype of the volume.

    A voxel that covers a NaN is NaN (likewise an infinity, unless it covers both signs: NaN); one
    that covers nothing but background is background. A ``whole`` tile is decoded and then reduced;
    ``before``, ``restored``: see :meth:`.TileDecoder.decode`; where it is not ``whole``, a preview
    is not restored.
    """
    m = s.mapping
    out_shape = tuple(coarse(n, level) for n in shape)
    specials, mask = streams[0], streams[1]
    classes = support.decode_specials(specials, shape) if specials else None
    masked = support.decode_mask(mask, shape) if mask else None
    if whole:
        full = coder.decode(coding, streams, shape, s, before, restored)
        finite = np.isfinite(full) if m.dtype.kind == "f" else np.ones(shape, bool)
        if not finite.all():
            classes = np.where(np.isnan(full), 1, np.where(full > 0, 2, 3)) * ~finite
        if coding == CONSTANT:
            values = full[:: 1 << level, :: 1 << level, :: 1 << level].astype(np.float64)
        else:
            values = low_band(Pyramid(CDF97_PREVIEW), np.where(finite, full, 0), level)
    else:
        scales = [*streams[2 : 2 + s.scales], *([b""] * s.scales)][: s.scales]
        if restored:
            _, scales = restorer(coding, scales)
        hidden = hidden_voxels(masked, classes) if coding in SPARING else None
        integers, unit = coder.integers(coding, scales, shape, s, level, hidden=hidden)
        bank = bank_of(coding)
        closed = bank == "predicted"
        gain = 1.0 if closed else scale(coder.coders[bank].bank.pyramid, shape, level)
        values = integers * (1.0 / gain)
        if m.domain == "bits":
            limit = 0x7FFF if m.dtype == np.float16 else 0x7FFFFFFF
            ordered = np.clip(np.rint(values), -limit, limit).astype(np.int32)
            values = from_ordered(ordered, m.dtype).astype(np.float64)
            if classes is None and not np.isfinite(values).all():
                values = np.where(np.isfinite(values), values, np.nan)
        else:
            values = m.origin + values * unit * (m.pitch if m.on_lattice else 1.0)
    values = values.reshape(out_shape)
    if masked is not None:
        values = np.where(_covers(masked, level, all), s.background, values)
    if classes is not None:
        plus, minus = (_covers(classes == k, level, any) for k in (2, 3))
        values = np.where(plus, np.inf, np.where(minus, -np.inf, values))
        values = np.where(_covers(classes == 1, level, any) | (plus & minus), np.nan, values)
    if m.dtype.kind in "iu":
        info = np.iinfo(m.dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    with np.errstate(over="ignore"):
        return values.astype(m.dtype)


def _covers(flags: np.ndarray, level: int, how: object) -> np.ndarray:
    """Whether any (or all) of the voxels that each preview voxel covers are flagged."""
    wanted = flags if how is any else ~flags
    for axis in range(3):
        starts = np.arange(0, wanted.shape[axis], 1 << level)
        wanted = np.logical_or.reduceat(wanted, starts, axis=axis)
    return wanted if how is any else ~wanted

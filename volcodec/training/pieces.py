"""What a network that predicts is trained on: pieces of volumes, what is decoded around a voxel.

A piece is a crop in integers and what a closed loop of interpolation decodes of it at some step.
Its decoded values stand for those that any closed loop has at that step: what is known around a
voxel in a pass is cut out of them, at places and by symmetries that no pass knows of.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, VolcodecError
from ..neural.network import KINDS
from ..neural.passes import COUNT, KNOWN, OFFSETS, PASSES, REACH
from ..parallel import ordered_map
from ..scales import bands_of
from ..transform.layers import Predicted
from ..transform.pyramid import default_levels
from ..values import CLOSED_STEP, LARGEST_LATTICE
from .crops import draw_crop
from .data import Volume, fill

_PARTS = (0.7, 10), (0.2, 4), (0.1, 2)  # of a batch, by kind of level, and of how many pieces
_MARGIN = REACH << (KINDS - 1)
_UNKNOWN = np.iinfo(np.int32).min
_SIDE = 96  # most voxels of a piece along an axis
_QUIET = 0.12  # share of the voxels that lie apart from any change which is drawn
_BOUNDS = (-4.3, -1.0)  # powers of ten, of the range
_UNBOUND = 0.5  # share of pieces as without a bound
_COARSE, _DEAD = (-3.2, -1.0), (0.1, 0.3)  # instead of _BOUNDS, for them; dead zones, in steps
_LEAST = 0.02  # bits a voxel that a piece is thought to take at least, where pieces are weighed
_SYMMETRIES = [
    (p, s)
    for p in itertools.permutations(range(3))
    for s in itertools.product((1, -1), repeat=3)
]  # fmt: skip
_MASKS = np.zeros((PASSES, COUNT), bool)
for _index, _known in enumerate(KNOWN):
    _MASKS[_index, _known] = True


@dataclass(frozen=True)
class Piece:
    """``tile`` (int32) and what is ``decoded`` of it, with a margin of unknown voxels; the closed
    ``step``; ``limits`` of the tile; voxels that lie at a change, and those that don't (flat
    indices); ``weight`` of the piece."""

    tile: np.ndarray
    decoded: np.ndarray
    step: int
    limits: tuple[int, int]
    busy: np.ndarray
    quiet: np.ndarray
    weight: float


@dataclass(frozen=True)
class Known:
    """What is known around voxels, and what they are.

    ``near`` (float32, (N, COUNT)): known values less the first known, in steps; ``mask`` (bool):
    which are known; ``index``: the pass; ``kind`` of level; ``value``, ``low``, ``high`` (float32):
    of the voxel and the limits, as ``near`` is; ``weight``.
    """

    near: np.ndarray
    mask: np.ndarray
    index: np.ndarray
    kind: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def closed_loop(tile: np.ndarray, step: int, dead: float = 0.0) -> np.ndarray:
    """What interpolation in a closed loop decodes of a tile (int32).

    ``dead``: steps by which a symbol's interval begins later, as where symbols are taken only
    when they are worth their bits.
    """
    offset = step // 2 - int(dead * step)
    shape: tuple[int, int, int] = tile.shape  # type: ignore[assignment]
    levels = default_levels(shape)
    layers = Predicted(shape, levels, tile)
    for level in range(levels, 0, -1) if levels else (0,):
        layers.open(level)
        for band in bands_of(level, levels):
            layers.hints(band, step)
            coefs = layers.coefs(band)
            if coefs.size:
                m = (np.abs(coefs.astype(np.int64)) + offset) // step
                q = (np.sign(coefs) * m).astype(np.int32)
                layers.put(band, q, np.zeros(q.shape, np.int32), step)
        layers.close((0, 0), 0)
    return layers.low


def piece_of(x: np.ndarray, rng: np.random.Generator) -> Piece | None:
    """A crop at a step that is drawn; None where nothing is left to learn."""
    if x.min() == x.max():
        return None
    if x.dtype.kind in "iu" and int(x.max()) - int(x.min()) > LARGEST_LATTICE:
        return None  # no closed loop codes such integers
    unbound = rng.random() < _UNBOUND
    dead = rng.uniform(*_DEAD) if unbound else 0.0
    tile, step = _integers(x, 10.0 ** rng.uniform(*(_COARSE if unbound else _BOUNDS)))
    decoded = np.ascontiguousarray(closed_loop(tile, step, dead))
    calm = np.ones(tile.shape, bool)
    for axis in range(3):
        same = np.diff(decoded, axis=axis) == 0
        first = tuple(slice(None, -1 if a == axis else None) for a in range(3))
        last = tuple(slice(1 if a == axis else None, None) for a in range(3))
        calm[first] &= same
        calm[last] &= same
    busy, quiet = (np.flatnonzero(a).astype(np.int32) for a in (~calm, calm))
    if busy.size == 0:
        return None
    rough = np.abs(tile.astype(np.int64) - _smooth(decoded)).reshape(-1)[busy] / step
    bits = float(np.log2(1 + 4 * rough).sum())
    return Piece(
        tile, np.pad(decoded, _MARGIN, constant_values=_UNKNOWN), step,
        (int(tile.min()), int(tile.max())), busy, quiet,
        bits / max(bits, _LEAST * tile.size) ** 0.5,
    )  # fmt: skip


def _integers(x: np.ndarray, share: float) -> tuple[np.ndarray, int]:
    """A crop as a closed loop has it at a bound, a share of its range, and the step."""
    low, high = float(x.min()), float(x.max())
    bound = (high - low) * share
    if x.dtype.kind in "iu":
        return (x.astype(np.int64) - int(low)).astype(np.int32), 2 * int(bound) + 1
    unit = 2 * bound / (CLOSED_STEP + 1)
    return np.rint((x.astype(np.float64) - low) / unit).astype(np.int32), CLOSED_STEP


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of the neighbours along each axis."""
    v = np.pad(values.astype(np.int64), 1, mode="reflect" if min(values.shape) > 1 else "edge")
    c = slice(1, -1)
    total = v[:-2, c, c] + v[2:, c, c] + v[c, :-2, c] + v[c, 2:, c] + v[c, c, :-2] + v[c, c, 2:]
    return total // 6


def collect(
    volumes: Sequence[Volume], count: int, seconds: float, seed: int, synthetic: float
) -> tuple[list[Piece], int]:
    """Pieces of up to ``count`` crops, as many as ``seconds`` allow (0: all), and of how many.

    Raises InputError where none of them holds anything.
    """
    began = time.monotonic()

    def made(index: int) -> Piece | None:
        rng = np.random.default_rng((seed, zlib.crc32(b"neural"), index))
        try:
            x = draw_crop(volumes, index, rng, synthetic)[:_SIDE, :_SIDE, :_SIDE]
            return piece_of(np.ascontiguousarray(fill(x)), rng)
        except (VolcodecError, OSError):
            return None

    out: list[Piece] = []
    crops = 0
    for piece in ordered_map(made, range(count), None):
        crops += 1
        if piece is not None:
            out.append(piece)
        if seconds and out and time.monotonic() - began > seconds:
            break
    if not out:
        raise InputError("no crop of the volumes holds anything to learn from")
    return out, crops


class Pieces:
    """Draws what is known around voxels of pieces."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces
        weights = np.array([piece.weight for piece in pieces])
        self.shares = weights / weights.sum()

    def draw(self, count: int, rng: np.random.Generator) -> Known:
        """What is known around about ``count`` voxels."""
        parts = []
        for kind, (share, pieces) in enumerate(_PARTS):
            each = -(-round(count * share) // pieces)
            for i in rng.choice(len(self.pieces), pieces, p=self.shares):
                parts.append(_around(self.pieces[i], each, kind, rng))
        rows = list(zip(*parts, strict=True))
        return Known(*(np.concatenate(row) for row in rows))


def _around(
    piece: Piece, count: int, kind: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """The fields of :class:`Known`, of up to ``count`` voxels."""
    calm = _QUIET * piece.quiet.size
    busy = rng.binomial(count, piece.busy.size / (piece.busy.size + calm))
    chosen = np.concatenate([
        piece.busy[rng.integers(0, piece.busy.size, busy)],
        piece.quiet[rng.integers(0, max(piece.quiet.size, 1), count - busy)],
    ])  # fmt: skip
    weight = np.where(np.arange(count) < busy, 1.0, 1.0 / _QUIET).astype(np.float32)
    order, signs = _SYMMETRIES[int(rng.integers(len(_SYMMETRIES)))]
    offsets = (OFFSETS[:, order] * np.array(signs)) << kind
    index = rng.integers(0, PASSES, count)
    _, ny, nx = piece.decoded.shape
    z, y, x = np.unravel_index(chosen, piece.tile.shape)
    places = ((z + _MARGIN) * ny + (y + _MARGIN)) * nx + x + _MARGIN
    near = piece.decoded.reshape(-1)[
        places[:, None] + ((offsets[:, 0] * ny + offsets[:, 1]) * nx + offsets[:, 2])
    ]
    mask = _MASKS[index] & (near != _UNKNOWN)
    inside = mask.any(1)
    first = near[np.arange(count), mask.argmax(1)].astype(np.int64)
    scale = 1.0 / piece.step
    out = (
        np.where(mask, (near - first[:, None]) * scale, 0).astype(np.float32), mask, index,
        np.full(count, kind),
        ((piece.tile.reshape(-1)[chosen] - first) * scale).astype(np.float32),
        ((piece.limits[0] - first) * scale).astype(np.float32),
        ((piece.limits[1] - first) * scale).astype(np.float32), weight,
    )  # fmt: skip
    return tuple(a[inside] for a in out)

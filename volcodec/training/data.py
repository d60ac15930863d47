"""The volumes of a run: found, looked at, split by volume, and cut into patches.

A file that can't be read or holds nothing to learn from is named and left out; the run goes on
with the others. Values that are not finite are replaced by the mean of the finite ones of a patch.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, VolcodecError
from ..formats import is_volume, open_source, suffixes

IN_MEMORY = 2 << 30  # bytes of volumes that are kept; what is beyond is read patch by patch
_SLAB = 1 << 24  # voxels looked at in one go
_FRAME = re.compile(r"[-_.]?[a-zA-Z]?\d+$")
_EMPTY_TRIES = 4  # patches drawn for one that is not constant


class Volume:
    """A volume to learn from, (Z, Y, X); in memory or read box by box.

    Attributes:
        name: of its file; with the part of it that is used, where that is not all.
        low, high: over its finite voxels, as floats; low < high.
        part: the first and last z of the file that belong to it.
    """

    def __init__(self, path: Path, values: np.ndarray | None, shape: tuple[int, ...],
                 low: float, high: float) -> None:  # fmt: skip
        self.path, self.name = path, path.stem
        self.values = values
        self.full: tuple[int, int, int] = (1,) * (3 - len(shape)) + tuple(shape)  # type: ignore[assignment]
        self.flat = len(shape) == 2
        self.low, self.high = low, high
        self.axis, self.part = 0, (0, self.full[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return tuple(  # type: ignore[return-value]
            self.part[1] - self.part[0] if axis == self.axis else n
            for axis, n in enumerate(self.full)
        )

    def piece(self, axis: int, first: int, last: int) -> Volume:
        """The slab from ``first`` to ``last`` along an axis as a volume of its own."""
        shape = self.full[1:] if self.flat else self.full
        out = Volume(self.path, self.values, shape, self.low, self.high)
        out.axis, out.part = axis, (first, last)
        out.name = f"{self.name}[{'zyx'[axis]} {first}:{last}]"
        return out

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        """The voxels of a box (three slices with bounds inside the volume), native byte order.

        Raises VolcodecError or OSError where the file can't be read any more.
        """
        offsets = [self.part[0] if axis == self.axis else 0 for axis in range(3)]
        box = tuple(
            slice(s.start + o, s.stop + o) for s, o in zip(box, offsets, strict=True)
        )  # fmt: skip
        if self.values is not None:
            return self.values[box]
        with open_source(self.path) as source:
            found = source.read(box[1:] if self.flat else box)
        return _native(found).reshape([s.stop - s.start for s in box])

    @property
    def zero(self) -> float:
        """Where the density's zero lies between low (0) and high (1); 0 where it is not between."""
        inside = self.low <= 0 <= self.high
        return -self.low / (self.high - self.low) if inside else 0.0


@dataclass
class Collection:
    """The volumes of a run, and what was left out: (path, why)."""

    training: list[Volume]
    validation: list[Volume]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        """Stands for what is trained and validated on."""
        said = [
            [(v.name, v.shape, v.low, v.high) for v in part]
            for part in (self.training, self.validation)
        ]
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]

    def drop(self, volume: Volume, why: str) -> None:
        """Leave out a volume that could not be read any more; InputError when it was the last."""
        self.skipped.append((str(volume.path), why))
        self.training[:] = [v for v in self.training if v is not volume]
        if not self.training:
            raise InputError(f"no volume is left to train on; the last one: {why}")


def _native(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def find(places: Iterable[Path]) -> list[Path]:
    """The files that are meant: files themselves, and those in folders and below, by name.

    Raises InputError where a place does not exist, or a folder holds no volume.
    """
    out: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(p for p in place.rglob("*") if is_volume(p) and p.is_file())
            if not inside:
                known = ", ".join(suffixes())
                raise InputError(f"{place} holds no volumes: no file ends in {known}")
            out += inside
        elif place.exists():
            out.append(place)
        else:
            raise InputError(f"{place} does not exist")
    return list(dict.fromkeys(out))


def open_volume(path: Path, room: int) -> Volume:
    """Look at a file: shape, finite range; its values are kept where they fit ``room`` bytes.

    Raises VolcodecError, saying why, where it can't be read or there is nothing to learn from.
    """
    with open_source(path) as source:
        shape = tuple(source.shape)
        rows = max(1, _SLAB // max(1, int(np.prod(shape[1:]))))
        keep = int(np.prod(shape)) * source.dtype.itemsize <= room
        low, high, slabs = np.inf, -np.inf, []
        for first in range(0, shape[0], rows):
            slab = source.read((slice(first, first + rows), *[slice(0, n) for n in shape[1:]]))
            finite = slab[np.isfinite(slab)] if slab.dtype.kind == "f" else slab
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            if keep:
                slabs.append(slab)
    if low > high:
        raise InputError(f"{path} has no finite voxel: there is nothing to learn from it")
    if low == high:
        raise InputError(f"{path} is constant ({low:g}): there is nothing to learn from it")
    if not np.isfinite(high - low):
        raise InputError(f"{path} has a range that float64 can't hold: scale it down")
    values = None
    if keep:
        values = _native(np.concatenate(slabs))
        values = values.reshape((1,) * (3 - len(shape)) + shape)
    return Volume(path, values, shape, low, high)


def _open_all(paths: Sequence[Path], skipped: list[tuple[str, str]], room: int) -> list[Volume]:
    out = []
    for path in paths:
        try:
            volume = open_volume(path, room)
        except (VolcodecError, OSError, ValueError, MemoryError) as error:
            skipped.append((str(path), " ".join(str(error).split())))
            continue
        room -= volume.values.nbytes if volume.values is not None else 0
        out.append(volume)
    return out


def family(volume: Volume) -> str:
    """Frames of one series have names that differ in a last number only: they belong together."""
    return str(volume.path.parent / (_FRAME.sub("", volume.name) or volume.name))


def split(volumes: list[Volume], share: float, seed: int) -> tuple[list[Volume], list[Volume]]:
    """Volumes to train on and to validate on, about ``share`` of them, whole series where it goes.

    Frames of a series are kept on one side as long as that does not take twice the share. A single
    volume is cut in two across its longest axis, the last fifth validates.
    """
    if len(volumes) == 1:
        (only,) = volumes
        axis = int(np.argmax(only.shape))
        n = only.shape[axis]
        if n < 2:
            raise InputError(f"{only.path} is a single voxel: there is nothing to learn from it")
        cut = n - max(1, round(n * 0.2))
        return [only.piece(axis, 0, cut)], [only.piece(axis, cut, n)]
    wanted = min(max(1, round(share * len(volumes))), len(volumes) - 1)
    families: dict[str, list[Volume]] = defaultdict(list)
    for volume in volumes:
        families[family(volume)].append(volume)
    random = np.random.default_rng(seed)
    small = [group for group in families.values() if len(group) <= max(1, 2 * wanted)]
    if sum(map(len, small)) < wanted or len(families) == 1:
        small = [[volume] for volume in volumes]
    chosen: list[Volume] = []
    for at in random.permutation(len(small)):
        group = small[int(at)]
        if len(chosen) < wanted and len(chosen) + len(group) <= min(2 * wanted, len(volumes) - 1):
            chosen += group
    taken = {id(v) for v in chosen}
    return [v for v in volumes if id(v) not in taken], [v for v in volumes if id(v) in taken]


def gather(data: Sequence[Path], validation: str | Path = "0.1", seed: int = 1) -> Collection:
    """The volumes in ``data`` (files and folders), split for training and validation.

    Args:
        data: .h5, .hdf5 and .npy files, or folders that hold some.
        validation: a share of the volumes, or a file or folder of others.
        seed: of the split.

    Raises InputError where there is nothing to train on or to validate on.
    """
    skipped: list[tuple[str, str]] = []
    volumes = _open_all(find(data), skipped, IN_MEMORY)
    if not volumes:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise InputError(f"none of the files can be trained on: {skipped[0][1]}{more}")
    share = _share(validation)
    if share is None:
        held = _open_all(find([Path(validation)]), skipped, IN_MEMORY)
        if not held:
            raise InputError(f"none of the files in {validation} can be validated on")
        own = {v.path.resolve() for v in held}
        kept = [v for v in volumes if v.path.resolve() not in own]
        if not kept:
            raise InputError(f"all of DATA is in {validation}: nothing is left to train on")
        return Collection(kept, held, skipped)
    training, held = split(volumes, share, seed)
    out = Collection(training, held, skipped)
    if len(volumes) == 1:
        out.notes.append(f"one volume only: {held[0].name} is kept for validation")
    return out


def _share(validation: str | Path) -> float | None:
    try:
        share = float(str(validation))
    except ValueError:
        return None
    if not 0 < share < 1:
        raise InputError(f"the share for validation is {share:g}: it lies between 0 and 1")
    return share


def fill(values: np.ndarray) -> np.ndarray:
    """Floats that are not finite replaced by the mean of the finite ones (0 without any)."""
    if values.dtype.kind != "f":
        return values
    good = np.isfinite(values)
    if good.all():
        return values
    mean = float(values[good].mean(dtype=np.float64)) if good.any() else 0.0
    return np.where(good, values, values.dtype.type(mean))


def cut(volume: Volume, starts: Sequence[int], sides: Sequence[int]) -> np.ndarray:
    """A patch in 0..1 of its volume's range, float32; where it is clipped the edge is repeated."""
    box = tuple(
        slice(a, min(a + s, n)) for a, s, n in zip(starts, sides, volume.shape, strict=True)
    )
    x = fill(volume[box]).astype(np.float64)
    x = (x - volume.low) / (volume.high - volume.low)
    lacking = [(0, s - n) for s, n in zip(sides, x.shape, strict=True)]
    if any(after for _, after in lacking):
        x = np.pad(x, lacking, mode="edge")
    return np.clip(x, 0, 1).astype(np.float32)


def _sides(dims: int, side: int, axis: int) -> list[int]:
    return [side] * 3 if dims == 3 else [1 if a == axis else side for a in range(3)]


def draw_patch(
    data: Collection, dims: int, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A random patch, (side,) * dims float32 in 0..1, turned and mirrored, and its zero's place.

    Volumes have equal chances. A patch that is constant is drawn again a few times; a volume that
    can't be read any more is left out from then on.
    """
    x, zero = np.zeros((side,) * dims, np.float32), 0.0
    for _ in range(_EMPTY_TRIES):
        volume = data.training[int(rng.integers(len(data.training)))]
        axis = 0 if volume.shape[0] == 1 else int(rng.integers(3))
        sides = _sides(dims, side, axis)
        starts = [
            int(rng.integers(0, max(1, n - s + 1)))
            for n, s in zip(volume.shape, sides, strict=True)
        ]
        try:
            x = cut(volume, starts, sides)
        except (VolcodecError, OSError) as error:
            data.drop(volume, f"{volume.path} can't be read any more: {error}")
            continue
        zero = volume.zero
        x = x if dims == 3 else x.squeeze(axis)
        if x.max() > x.min():
            break
    x = np.transpose(x, rng.permutation(dims))
    for axis in range(dims):
        if rng.random() < 0.5:
            x = np.flip(x, axis)
    return np.ascontiguousarray(x), zero


def fixed_patches(
    volumes: Sequence[Volume], dims: int, side: int, count: int, seed: int = 0
) -> list[tuple[str, np.ndarray, float]]:
    """The same patches every time: (volume's name, patch, its zero's place), volumes in turn."""
    rng = np.random.default_rng(seed)
    out: list[tuple[str, np.ndarray, float]] = []
    for i in range(count):
        volume = volumes[i % len(volumes)]
        axis = 0 if volume.shape[0] == 1 else i % 3
        sides = _sides(dims, side, axis)
        best: np.ndarray[Any, Any] | None = None
        for _ in range(_EMPTY_TRIES):
            starts = [
                int(rng.integers(0, max(1, n - s + 1)))
                for n, s in zip(volume.shape, sides, strict=True)
            ]
            try:
                x = cut(volume, starts, sides)
            except (VolcodecError, OSError):
                continue
            if best is None or np.ptp(x) > np.ptp(best):
                best = x
        if best is not None:
            out.append((volume.name, best if dims == 3 else best.squeeze(axis), volume.zero))
    if not out:
        raise InputError("none of the volumes for validation can be read")
    return out

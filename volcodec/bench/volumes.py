"""The volumes of a study: which files are meant, what is in them, how results name them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volcodec import formats
from volcodec.bench import quality
from volcodec.bench.records import rounded
from volcodec.errors import InputError

# Attributes of a dataset that say what kind of data it is, the first that is there counts.
_GROUP_ATTRIBUTES = ("family", "domain", "modality", "kind")
# A representative few of a folder: how many, and where in the order of their sizes.
_QUICK_VOLUMES = 4


@dataclass(frozen=True)
class Measured:
    """A volume to measure: its name in the results, its file, the dataset (None: the only one)."""

    name: str
    path: Path
    dataset: str | None = None

    def load(self) -> NDArray[Any]:
        """The whole volume in native byte order, (Z, Y, X) or (Y, X), C order."""
        with formats.open_source(self.path, self.dataset) as source:
            values = source.read(tuple(slice(0, n) for n in source.shape))
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def find(data: Iterable[Path], dataset: str | None) -> list[Measured]:
    """The volumes of files and folders (their files, not below), by name.

    InputError where there are none, or a file's name says no format.
    """
    paths: list[Path] = []
    for place in data:
        if place.is_dir():
            inside = sorted(p for p in place.iterdir() if formats.is_volume(p))
            if not inside:
                known = ", ".join(formats.suffixes())
                raise InputError(f"{place} holds no volumes: none of its files ends in {known}")
            paths += inside
        else:
            paths.append(place)
    paths = list(dict.fromkeys(paths))
    names = [path.stem for path in paths]
    return [
        Measured(path.stem if names.count(path.stem) == 1 else str(path), path, dataset)
        for path in paths
    ]


def a_few(volumes: list[Measured]) -> list[Measured]:
    """A representative few: spread over the sizes of their files, the largest left out."""
    if len(volumes) <= _QUICK_VOLUMES:
        return volumes
    by_size = sorted(volumes, key=lambda v: (v.path.stat().st_size, v.name))
    places = [(2 * i + 1) * len(by_size) // (2 * _QUICK_VOLUMES + 1) for i in range(_QUICK_VOLUMES)]
    return [by_size[place] for place in places]


def describe(volume: Measured) -> dict[str, Any]:
    """What results say of a volume; ``digest`` stands for its content."""
    with formats.open_source(volume.path, volume.dataset) as source:
        attributes = source.attrs
    values = volume.load()
    finite = int(np.isfinite(values).sum()) if values.dtype.kind == "f" else values.size
    group = next((str(attributes[a]) for a in _GROUP_ATTRIBUTES if a in attributes), None)
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    digest.update(values.data)
    return {
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "range": quality.value_range(values),
        "raw_bytes": values.nbytes,
        "zeros": rounded(np.count_nonzero(values == 0) / values.size, 4),
        "finite": rounded(finite / values.size, 6),
        "group": group or str(values.dtype),
        "digest": digest.hexdigest()[:16],
    }

"""Outliers: where they are counted from, and what they can't say."""

from __future__ import annotations

import numpy as np
import pytest
from volumes import random_of

import volcodec
from volcodec import misses
from volcodec.tilecoder import Settings
from volcodec.values import Mapping


def settings(exact: bool) -> Settings:
    """Integers within 2 of what they were."""
    m = Mapping(np.dtype(np.uint8), "lattice", 0.0, 1.0, 1.0, 5.0, 0.0, 255.0)
    return Settings(m, 1, exact=exact, nudge=1.0, bound=2.5, slack=2.25)


def outliers(value: int, decoded: int, exact: bool) -> int | None:
    """Of one voxel."""
    values, found = (np.full((1, 1, 1), v, t) for v, t in ((value, np.uint8), (decoded, np.int32)))
    out = misses._outliers(values, found, 1.0, np.zeros((1, 1, 1), bool), settings(exact))
    return None if out is None else int(out[0, 0, 0])


@pytest.mark.parametrize(("value", "decoded"), [(4, -5), (3, -1), (250, 262), (9, 9), (7, 1)])
def test_outliers_count_from_values_before_they_are_clipped(value: int, decoded: int) -> None:
    found = outliers(value, decoded, exact=False)
    assert found is not None
    m = settings(False).mapping
    one, by = (np.full((1, 1, 1), v, np.int32) for v in (decoded, found))
    assert abs(int(m.to_values(one, 1.0, by)[0, 0, 0]) - value) <= 2.5


def test_a_visible_voxel_can_hit_the_background_too_far_away() -> None:
    assert outliers(3, 0, exact=True) == 0  # put beside the background, at 1
    assert outliers(4, 0, exact=True) is None
    assert outliers(4, 0, exact=False) == 1


def test_another_way_codes_what_can_not_hit_the_background() -> None:
    """The transform misses some voxels near the ground by too much: the tile is not raw for it."""
    random = random_of("near the ground")
    smooth = np.cumsum(np.cumsum(random.normal(0, 1, (72, 72, 72)), axis=0), axis=1)
    smooth = np.clip(128 + smooth * 6, 0, 255)
    volume = np.where(random.random(smooth.shape) < 0.002, 4, smooth).astype(np.uint8)
    kept, free = (volcodec.encode(volume, rel_error=1e-2, support=s) for s in ("exact", "off"))
    decoded = volcodec.decode(kept)
    assert ((decoded == 0) == (volume == 0)).all()
    assert len(kept) < 1.5 * len(free)

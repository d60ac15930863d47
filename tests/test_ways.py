"""The parts of a tile on which ways to code it compete."""

from __future__ import annotations

import numpy as np
import pytest
from volumes import random_of

from volcodec.ways import Way, typical


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 600), (1, 40, 40), (3, 2, 5), (16, 18, 20)])
def test_typical_parts_hold_voxels(shape: tuple[int, int, int]) -> None:
    values = np.zeros(shape, np.float32)  # nothing tells the parts apart
    for box in typical(values, np.zeros(shape, bool)):
        assert values[box].size > 0


def test_typical_parts_are_the_second_and_the_thirteenth() -> None:
    shape = (16, 32, 32)
    steps = random_of("typical").permutation(32).reshape(2, 4, 4) + 1.0
    stairs = np.cumsum(np.ones(8), 0) * steps[..., None]  # along x, by part
    values = np.repeat(np.repeat(stairs.reshape(2, 4, 32), 8, 0), 8, 1)
    found = [steps[b[0].start // 8, b[1].start // 8, b[2].start // 8] for b in
             typical(values, np.zeros(shape, bool))]  # fmt: skip
    assert found == [31, 20]


def test_what_is_unknown_is_filled() -> None:
    values = np.full((4, 4, 4), 5, np.float32)
    values[1, 2, 3] = np.nan
    way = Way("lossy", values, np.isnan(values), np.isnan(values), 0)
    assert np.array_equal(way.usable(), np.full((4, 4, 4), 5, np.float32))
    assert way.usable(np.s_[:2, 1:, 2:]).shape == (2, 3, 2)

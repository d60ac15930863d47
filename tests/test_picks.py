"""Which symbols are coded, side by side and back."""

from __future__ import annotations

import numpy as np
import pytest
from volumes import random_of

from volcodec.entropy.picks import (
    FEW,
    LANES,
    count_before,
    list_coded,
    pick,
    spread,
    whole_mapping,
)
from volcodec.nearest import nearest


@pytest.mark.parametrize("tables", [1, 24, FEW, 200])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 91, 1000])
def test_what_is_coded(size: int, tables: int) -> None:
    random = random_of(f"picks {size} {tables}")
    mapping = random.permutation(tables).astype(np.uint8)
    keys = random.integers(0, tables, size).astype(np.uint8)
    skip = tables // 3
    coded = mapping[keys] >= skip
    masks = np.full((size + LANES - 1) // LANES, 0xFFFF, np.uint16)
    found = np.full(size, 255, np.uint8)
    m = list_coded(keys, whole_mapping(mapping), skip, masks, found)
    assert m == coded.sum()
    assert np.array_equal(found[:m], mapping[keys][coded])
    for dtype in (np.int32, np.int8, np.uint8):
        values = random.integers(-100, 100, size).astype(dtype)
        out = np.full(m, 7, dtype)
        pick(values, masks, out)
        assert np.array_equal(out, values[coded])
        back = np.full(size, 7, dtype)
        spread(out, masks, back)
        assert np.array_equal(back, np.where(coded, values, 0))
    ends = np.sort(random.integers(0, size + 1, 8))
    before = np.empty(8, np.int64)
    count_before(masks, ends, before)
    assert list(before) == [coded[:end].sum() for end in ends]


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 3, 40), (1, 1, 65), (17, 2, 127)])
def test_nearest_multiples(shape: tuple[int, int, int], stride: int, lossless: bool) -> None:
    random = random_of(f"nearest {shape}")
    wide = random.integers(-(1 << 20), 1 << 20, [stride * n for n in shape]).astype(np.int32)
    for first in (0, stride):  # of every other element, as classes of bands are
        band = wide[first :: 2 * stride, :: 2 * stride, first :: 2 * stride]
        expected = random.integers(-500, 500, band.size).astype(np.int32)
        out = np.full(band.size, 99, np.int32)
        nearest(band, 1 / 301, lossless, expected, out)
        whole = (expected.astype(np.int64) + 32) >> 6
        values = band.reshape(-1).astype(np.int64)
        if lossless:
            assert np.array_equal(out, values - whole)
        else:
            left = values * (1 / 301) - whole
            assert np.array_equal(out, np.trunc(left + np.copysign(0.5, left)))

"""The family of wavelets that lifting is learned from."""

from __future__ import annotations

import numpy as np
import pytest
from volumes import random_of

from volcodec.training.lifting import learn, member
from volcodec.transform.pyramid import BAND_ORDER, CDF97, SHIFT, Pyramid, band_view


@pytest.mark.parametrize(("first", "second"), [(-1.586, -0.053), (-1.2, -0.08), (-0.8, -0.03)])
def test_members_have_two_vanishing_moments(first: float, second: float) -> None:
    coefs = member(first, second)
    assert abs(coefs[0] / (1 << SHIFT) - first) < 1e-3
    pyramid = Pyramid(coefs)
    constant = np.full((16, 16, 16), 1 << 20, np.int32)
    level, _ = pyramid.analysis(constant, 1)
    assert max(np.abs(band_view(level, b)).max() for b in BAND_ORDER) < 1e-4 * (1 << 20)
    alternating = np.where(np.arange(32) % 2, -1, 1)[None, None].astype(np.int32) << 20
    *_, low = pyramid.analysis(alternating, 1)
    assert np.abs(low).max() < 2e-3 * (1 << 20)


def test_the_standard_wavelet_leaves_least_of_a_constant() -> None:
    a, b, c, _ = CDF97 / (1 << SHIFT)
    odd = 1 + 2 * a
    assert abs(odd + 2 * c * (1 + 2 * b * odd)) < 1e-5
    exact = np.array([-1.586134342, -0.052980119, 0.882911076, 0.443506852])
    np.testing.assert_allclose(CDF97 / (1 << SHIFT), exact, atol=1.5e-3)


def test_thin_structures_get_a_shorter_wavelet_and_smooth_ones_keep_theirs() -> None:
    smooth = []
    for i in range(2):
        field = random_of(f"smooth{i}").standard_normal((48, 48, 48))
        for axis in (0, 1, 2) * 3:
            field = field + 0.5 * (np.roll(field, 1, axis) + np.roll(field, -1, axis))
        smooth.append(field)
    kept, saved = learn(smooth, CDF97)
    assert np.array_equal(kept, CDF97) and saved == 0
    points = [(random_of(f"points{i}").random((40, 40, 40)) < 0.01) * 1.0 for i in range(2)]
    found, saved = learn(points, CDF97)
    assert abs(found[0]) < abs(CDF97[0]) and saved > 0.02
    # learned again from there, nothing changes
    again, _ = learn(points, found)
    assert np.array_equal(again, found)

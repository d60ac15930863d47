"""BD-rate: known answers, the ends of curves, and the staircase of integer data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from volcodec.bench import bdrate

pytest.importorskip("scipy")  # comes with the extra `bench`

ANCHOR = [(1.0, 35.0), (2.0, 45.0), (4.0, 60.0), (6.0, 70.0)]


def test_constant_saving() -> None:
    tested = bdrate.RateCurve([(0.8 * rate, quality) for rate, quality in ANCHOR])
    result = bdrate.bd_rate(tested, bdrate.RateCurve(ANCHOR), bdrate.PSNR_RANGE)
    assert result.percent == pytest.approx(-20)
    assert result.coverage == 1
    assert (result.low, result.high) == bdrate.PSNR_RANGE


def test_by_hand() -> None:
    # Two points: the logarithm of the rate is linear. From 1 to 4 bpv over 35..65 dB the mean of
    # log2 is 1; a codec at 1 bpv throughout needs half of it, one at 3 bpv half as much again.
    anchor = bdrate.RateCurve([(1.0, 35.0), (4.0, 65.0)])
    for rate, percent in ((1.0, -50.0), (3.0, 50.0), (2.0, 0.0)):
        flat = bdrate.RateCurve([(rate, 35.0), (rate, 65.0)])
        found = bdrate.bd_rate(flat, anchor, bdrate.PSNR_RANGE)
        assert found.percent == pytest.approx(percent, abs=1e-9)


def test_one_point_says_nothing_beside_itself() -> None:
    curve = bdrate.RateCurve([(1.5, 40.0)])
    found = np.exp(curve.log_rate(np.array([39.0, 40.0, 41.0])))
    assert found == pytest.approx([math.nan, 1.5, math.nan], nan_ok=True)


def test_lossless_end_stays_at_its_rate() -> None:
    curve = bdrate.RateCurve([(1.0, 35.0), (2.0, 45.0), (2.5, math.inf)])
    rates = np.exp(curve.log_rate(np.array([34.0, 45.0, 45.1, 65.0])))
    assert rates == pytest.approx([math.nan, 2.0, 2.5, 2.5], nan_ok=True)


def test_only_the_overlap_is_compared() -> None:
    tested = bdrate.RateCurve([(1.0, 50.0), (2.0, 80.0)])
    result = bdrate.bd_rate(tested, bdrate.RateCurve(ANCHOR), bdrate.PSNR_RANGE)
    assert result.coverage == pytest.approx(0.5, abs=1e-3)
    assert result.low == pytest.approx(50, abs=0.01)
    far = bdrate.RateCurve([(1.0, 64.0), (2.0, 80.0)])
    assert math.isnan(bdrate.bd_rate(far, bdrate.RateCurve(ANCHOR), bdrate.PSNR_RANGE).percent)


def test_best_of_several_anchors_counts_at_each_quality() -> None:
    low = bdrate.RateCurve([(1.0, 35.0), (100.0, 65.0)])
    high = bdrate.RateCurve([(10.0, 35.0), (10.0, 65.0)])
    both = bdrate.bd_rate(high, [low, high], bdrate.PSNR_RANGE)
    assert both.percent > bdrate.bd_rate(high, high, bdrate.PSNR_RANGE).percent == pytest.approx(0)


def test_dominated_points_go_and_equal_rates_stay() -> None:
    curve = bdrate.RateCurve([(1.0, 2.0), (1.5, 1.9), (1.4, 3.0), (1.4, 4.0)])
    assert list(curve.rates) == [1.0, 1.4, 1.4]
    with pytest.raises(ValueError, match="not a point"):
        bdrate.RateCurve([(0.0, 40.0)])


def test_staircase_of_integer_data() -> None:
    curve = bdrate.staircase([(1.0, 2.55), (2.0, 1.0), (3.0, 0.2)], 255)
    asked = np.array([2.9, 2.01, 1.99, 1.01, 0.99, 0.03]) / 255
    rates = np.exp(curve.log_rate(-np.log10(asked)))
    assert rates == pytest.approx([1, 1, 2, 2, 3, 3])

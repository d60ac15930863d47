"""What a point of a study measures, and what the games make of points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from volcodec.bench import games, points, quality


def _volume(dtype: str = "f4") -> np.ndarray:
    z, y, x = np.indices((12, 14, 16))
    v = 40 * np.maximum(np.sin(z / 3) + np.cos(y / 4) * np.sin(x / 5), 0)
    return v.astype(dtype)


def test_measure_known_answers() -> None:
    v = np.array([[[0.0, 1.0, 2.0, 10.0]]], np.float32)
    loss = quality.measure(v, v + np.float32(0.5))
    assert loss.max_error == 0.5
    assert loss.psnr == pytest.approx(20 * math.log10(10 / 0.5))
    assert quality.measure(v, v) == quality.Loss(0.0, math.inf)
    broken = v.copy()
    broken[0, 0, 1] = np.nan
    assert quality.measure(v, broken).max_error == math.inf
    assert quality.measure(broken, v).psnr == math.inf  # what is not finite does not count


def test_support_and_mass() -> None:
    v = np.array([0.0, 0.0, 0.0, 2.0, 2.0])
    d = np.array([0.0, 0.1, 0.0, 2.0, 0.0])
    assert list(quality.support(v, d)) == pytest.approx([1 / 3, 2 / 3])
    assert quality.mass_error(v, d) == pytest.approx(1.9 / 4)
    iou, kept = quality.support(np.zeros(3), np.zeros(3))
    assert math.isnan(iou) and kept == 1
    assert math.isnan(quality.mass_error(np.zeros(3), np.ones(3)))


def test_ssim() -> None:
    pytest.importorskip("skimage")
    v = _volume()
    noisy = v + np.random.default_rng(0).normal(0, 5, v.shape).astype(np.float32)
    assert quality.ssim(v, v) == pytest.approx(1)
    assert 0 < quality.ssim(v, noisy) < 0.95
    assert quality.ssim(v[:1], noisy[:1]) < 0.95  # one slice is measured in two dimensions
    assert math.isnan(quality.ssim(v[:, :2], v[:, :2]))
    assert math.isnan(quality.ssim(np.ones_like(v), v))


def test_native_means_rounded_and_clipped() -> None:
    found = quality.as_dtype(np.array([-0.7, 0.4, 254.6, 300.0]), np.dtype("u1"))
    assert found.tolist() == [0, 0, 255, 255]


def test_asked_errors_of_integers_are_distinct_units() -> None:
    v = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    units = [math.floor(error * 255) for error in points.asked_errors(v, quick=False)]
    assert units == sorted(set(units), reverse=True) and {2, 1, 0} <= set(units)
    assert points.asked_errors(v.astype(np.float32), True) == list(points.QUICK_RELATIVE_ERRORS)


def _peer_point(bpv: float, psnr: float, error: float, **more: Any) -> dict[str, Any]:
    return {"target": "max_error", "asked": error, "bpv": bpv, "psnr": psnr, "max": error,
            "bytes": int(1000 * bpv), **more}  # fmt: skip


def _study(share: float, had: float = 1.0, dtype: str = "float32") -> dict[str, Any]:
    """A volume on which `share` of the peer's bits is needed; the peer's errors are `had` of what
    was asked."""
    rates = {1e-2: 1.0, 1e-3: 2.0, 1e-4: 4.0}
    theirs = [_peer_point(b, 35 + 10 * b, e * had) for e, b in rates.items()]
    ours = [{**_peer_point(share * b, 35 + 10 * b, e), "max": e / 2} for e, b in rates.items()]
    ours.append(
        {"target": "lossless", "asked": None, "bpv": 9, "psnr": None, "max": 0.0, "bytes": 9}
    )
    return {"dtype": dtype, "range": 255.0, "group": "g", "points": {"v": ours, "p": theirs}}


CODECS = {"v": {"family": "volcodec"}, "p": {"family": "error-bounded"}}


def test_games_by_hand() -> None:
    played = games.play(_study(0.8), CODECS)
    assert played["error"]["v"]["p"]["percent"] == pytest.approx(-20)
    assert played["psnr"]["v"]["p"]["percent"] == pytest.approx(-20)
    assert played["error"]["v"]["best"] == played["error"]["v"]["p"]
    assert played["error_native"] == played["error"]


def test_a_peer_counts_at_the_error_it_had() -> None:
    # The peer has a tenth of the error it was asked for: at equal error it needs a point less.
    played = games.play(_study(1.0, had=0.1), CODECS)
    assert played["error"]["v"]["p"]["percent"] > 50


def test_native_error_of_integers_is_a_staircase() -> None:
    volume = _study(1.0, dtype="uint8")
    for point, units in zip(volume["points"]["p"], (2.0, 1.0, 0.0), strict=True):
        point["max_native"], point["psnr_native"] = units / 255, point["psnr"]
    played = games.play(volume, CODECS)
    # Without rounding the peer has no point between its three; rounded, whole intervals are its.
    assert played["error_native"]["v"]["p"]["percent"] != played["error"]["v"]["p"]["percent"]


def test_summary() -> None:
    volumes = {"a": _study(0.5), "b": _study(1.5)}
    for volume in volumes.values():
        volume["bd"] = games.play(volume, CODECS)
    total = games.summary(volumes)["psnr"]["v"]["p"]
    assert (total["mean"], total["worst"], total["worst_volume"]) == (0, 50, "b")
    assert (total["won"], total["volumes"]) == (1, 2)
    assert games.summary(volumes)["groups"]["psnr"]["v"]["best"]["g"]["volumes"] == 2
    assert games.lossless_bytes(volumes["a"]) == {"v": 9}


def test_own_points_keep_what_was_asked() -> None:
    import volcodec

    v = _volume("u2")
    found = points.own_points(volcodec.Codec(threads=1), v, "off", effort=5, quick=True)
    by_target = {t: [p for p in found if p["target"] == t] for t in ("max_error", "lossless")}
    for point in by_target["max_error"]:
        assert point["max"] <= point["asked"] * (1 + 1e-9)
        assert point["bpv"] == pytest.approx(8 * point["bytes"] / v.size, rel=1e-5)
    assert by_target["lossless"][0]["max"] == 0 and by_target["lossless"][0]["psnr"] is None

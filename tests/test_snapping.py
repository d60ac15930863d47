"""Without a bound: values are kept within the volume's range, and snap to the background."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from golden_cases import cliffs
from hypothesis import given
from hypothesis import strategies as st
from volumes import blobs

import volcodec
from volcodec import targets
from volcodec.values import Mapping
from volcodec.voxels import measure_snapped

REACHES = np.array([0.0, 0.25, 1.0, 3.0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5]))
def test_measured_as_if_snapped(seed: int, ground: float) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(-4, 5, 60) / 2
    decoded = values + random.integers(-3, 4, 60) / 8
    values[random.random(60) < 0.1] = np.nan
    found = measure_snapped(values, decoded, 2.0, ground, REACHES)
    for reach, (largest, square) in zip(REACHES, found, strict=True):
        snapped = np.where(np.abs(decoded - ground) <= reach, ground, decoded)
        off = (snapped - values)[np.isfinite(values)]
        assert largest == np.abs(off).max(initial=0)
        np.testing.assert_allclose(square, ((off / 2) ** 2).sum(), rtol=1e-12)


def test_mapping_keeps_and_snaps() -> None:
    m = Mapping(np.dtype("f4"), "real", 0.0, 0.0, 256.0, least=0.0, most=9.0, ground=1.0, snap=0.5)
    out = m.to_values(np.array([-7, 0, 1, 2, 8, 9, 12], np.int32), 1.0, None)
    assert out.tolist() == [0, 0, 1, 2, 8, 9, 9]
    half = m.to_values(np.array([1, 2, 3, 4], np.int32), 0.5, None)
    assert half.tolist() == [1, 1, 1, 2]


def test_negative_zero_is_left_alone_where_nothing_snaps() -> None:
    out = Mapping(np.dtype("f8"), "real", -0.0).to_values(np.array([-0], np.int32), -1.0, None)
    assert np.signbit(out[0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "int16"])
def test_sparse_volumes_get_smaller(
    codec: volcodec.Codec, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = (900 * cliffs((40, 41, 39))).astype(dtype)
    with_both = codec.encode(volume, psnr=42, support="off")
    header = volcodec.inspect(with_both)
    assert header.snap > 0 and header.kept and header.least == 0
    again = codec.decode(with_both)
    assert again.min() == 0 and again.max() <= volume.max()
    assert volcodec.verify(with_both, against=volume).ok
    off = np.abs(again.astype(np.float64) - volume)
    assert header.max_error * (1 - 1e-5) <= off.max() <= header.max_error
    monkeypatch.setattr(targets, "_REACHES", (0.0,))
    monkeypatch.setattr(targets, "_NEAR", -1.0)
    without = codec.encode(volume, psnr=42, support="off")
    assert not volcodec.inspect(without).kept
    assert len(with_both) < 0.97 * len(without)


def test_nothing_snaps_where_the_support_is_exact(codec: volcodec.Codec) -> None:
    volume = cliffs().astype(np.float32)
    blob = codec.encode(volume, psnr=40, support="exact")
    assert volcodec.inspect(blob).snap == 0
    assert np.array_equal(codec.decode(blob) == 0, volume == 0)


def test_a_background_that_is_not_zero(codec: volcodec.Codec) -> None:
    volume = (cliffs((40, 41, 39)) - 1000).astype(np.float32)
    blob = codec.encode(volume, psnr=35, support="off", background=-1000)
    header = volcodec.inspect(blob)
    assert header.kept and header.least == header.background == -1000 and header.snap > 0
    assert volcodec.verify(blob, against=volume).ok


@pytest.mark.parametrize("target", [{"psnr": 40.0}, {"ratio": 40.0}])
def test_series_snap_alike(target: dict[str, Any]) -> None:
    frames = [np.roll(cliffs((20, 21, 22)), i, 1).astype(np.float32) for i in range(3)]
    out = io.BytesIO()
    volcodec.compress(frames, out, model="density", support="off", **target)
    assert volcodec.inspect(out.getvalue()).snap > 0
    assert volcodec.verify(out.getvalue(), against=frames).ok


def test_dense_volumes_say_nothing_of_it(codec: volcodec.Codec) -> None:
    volume = 5 + blobs((30, 29, 31), "dense", zeros=False)
    header = volcodec.inspect(codec.encode(volume, psnr=40))
    assert not header.kept and header.snap == 0

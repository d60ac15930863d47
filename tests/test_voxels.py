"""Passes over voxels against the same in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcodec import voxels
from volcodec.transform import layers

DTYPES = ("u1", "i2", "u4", "f2", "f4", "f8")


def _volume(dtype: str, seed: int, specials: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    v = np.maximum(rng.normal(0, 20, (5, 7, 9)), 0).astype(dtype)
    if specials and v.dtype.kind == "f":
        v[rng.random(v.shape) < 0.1] = np.nan
        v[0, 0, :3] = np.inf, -np.inf, np.nan
    return v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("background", [None, 0.0])
@pytest.mark.parametrize("specials", [False, True])
def test_look(dtype: str, background: float | None, specials: bool) -> None:
    v = _volume(dtype, 1, specials)
    look = voxels.look(v, background, specials=True)
    special = ~np.isfinite(v)
    masked = (v == 0) if background is not None else np.zeros(v.shape, bool)
    shown = v[~(special | masked)]
    assert np.array_equal(look.special, special) and np.array_equal(look.masked, masked)
    assert np.array_equal(look.hidden, special | masked)
    assert (look.any_special, look.any_masked) == (special.any(), masked.any())
    assert (look.visible, look.low, look.high) == (shown.size, shown.min(), shown.max())
    assert v.reshape(-1)[look.first] == shown[0]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i8", "u8", "f2", "f4", "f8"])
@given(st.lists(st.sampled_from([-3.5, -1.0, -0.0, 0.0, 1.0, 2.5, 100.0]), min_size=1))
def test_look_finds_the_ends_on_both_sides_of_zero(dtype: str, drawn: list[float]) -> None:
    v = np.abs(drawn) if dtype[0] == "u" else np.array(drawn)
    v = np.resize(v, (1, 1, len(drawn))).astype(dtype)
    look = voxels.look(v, 1.0, specials=True)
    shown = v[v != 1]
    assert look.visible == shown.size
    if shown.size:
        assert (look.low, look.high) == (shown.min(), shown.max())
        assert v.reshape(-1)[look.first] == shown[0]


def test_look_takes_every_value_where_none_is_special() -> None:
    v = _volume("f4", 2, True)
    look = voxels.look(v, None, specials=False)
    assert look.visible == v.size and not look.hidden.any() and look.first == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_measure(dtype: str) -> None:
    v = _volume(dtype, 3, True)
    d = np.where(v > 0, v + v.dtype.type(1), v).astype(dtype)
    with np.errstate(invalid="ignore"):
        error = v.astype(np.float64) - d.astype(np.float64)
    ok = np.isfinite(v)
    found = voxels.measure(v, d, 2.0, 0.0)
    assert found is not None
    assert found[0] == np.abs(error[ok]).max() and found[2] == ok.sum()
    assert found[1] == pytest.approx(np.square(error[ok] / 2).sum())


def test_measure_refuses_what_breaks_a_promise() -> None:
    v = _volume("f4", 4, True)
    lost, smeared = v.copy(), v.copy()
    lost[np.unravel_index(np.flatnonzero(np.isnan(v))[0], v.shape)] = 1
    smeared[np.unravel_index(np.flatnonzero(v == 0)[0], v.shape)] = 1e-3
    assert voxels.measure(v, lost, 1.0, None) is None
    assert voxels.measure(v, smeared, 1.0, None) is not None
    assert voxels.measure(v, smeared, 1.0, 0.0) is None


@given(st.integers(1, 1 << 28), st.integers(0, 4200), st.integers(-2, 2))
@settings(max_examples=500, deadline=None)
def test_hints_are_exact_quotients(step: int, quotient: int, beside: int) -> None:
    value = max(quotient * step + beside, 0)
    found = layers._in_steps(value, step, layers._reciprocal(step))
    assert found == min(value // step, 4095)

"""Promises 1 to 5 and 9 on generated volumes: bound, support, NaN, types, never worse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from promise_cases import errors, faults, psnr_of, span, support_faults
from volumes import CASES, DTYPES, SHAPE, blobs, of_dtype, random_of

import volcodec

TARGETS: tuple[dict[str, Any], ...] = (
    {"rel_error": 1e-2},
    {"rel_error": 1e-4},
    {"lossless": True},
    {"psnr": 45.0},
    {"ratio": 5.0},
    {"bits": 3.0},
)
BUDGETS = ("ratio", "bits")
RUNS = [(t, s) for t in TARGETS[:3] for s in ("auto", "exact", "off")]
RUNS += [(TARGETS[3], "exact"), (TARGETS[3], "off"), (TARGETS[4], "auto"), (TARGETS[5], "exact")]
LABELS = [f"{next(iter(t))}-{next(iter(t.values()))}-{s}" for t, s in RUNS]


def encode(codec: volcodec.Codec, volume: np.ndarray, **options: Any) -> bytes | None:
    """The file; None where a size budget can't be had, which has to be said with a figure."""
    try:
        return codec.encode(volume, **options)
    except volcodec.InputError as error:
        told = str(error)
    assert any(kind in options for kind in BUDGETS), told
    assert "can't be had" in told
    return None


@pytest.mark.parametrize(("target", "support"), RUNS, ids=LABELS)
@pytest.mark.parametrize("name", CASES)
def test_every_target(
    codec: volcodec.Codec, name: str, target: dict[str, Any], support: str
) -> None:
    volume = CASES[name]()
    before = volume.tobytes()
    blob = encode(codec, volume, support=support, **target)
    if blob is not None:
        assert not faults(codec, volume, blob, target, support)
    assert volume.tobytes() == before  # the input is not written to


@pytest.mark.parametrize("psnr", [52.0, 58.0, 65.0])
def test_psnr_of_integers_is_never_dearer_than_lossless(codec: volcodec.Codec, psnr: float) -> None:
    volume = np.rint(blobs((40, 41, 42), "near", zeros=False) * 255).astype(np.uint8)
    blob = codec.encode(volume, psnr=psnr, support="off")
    assert len(blob) <= len(codec.encode(volume, lossless=True)) + 16
    assert not faults(codec, volume, blob, {"psnr": psnr}, "off")


@pytest.mark.parametrize("name", [n for n in CASES if span(CASES[n]()) > 0])
def test_absolute_bound(codec: volcodec.Codec, name: str) -> None:
    volume = CASES[name]()
    peak = min(span(volume), 1e308)
    for bound in (1e308, 1e30, 0.62 * peak, 0.3 * peak, 3e-3 * peak, 1e-6 * peak, 0.0):
        for support in ("exact", "off") if bound > 1e-2 * peak else ("auto",):
            target: dict[str, Any] = {"max_error": bound}
            blob = codec.encode(volume, support=support, **target)
            assert not faults(codec, volume, blob, target, support)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_orders(codec: volcodec.Codec, dtype: str) -> None:
    native = of_dtype(dtype)
    target: dict[str, Any] = {"rel_error": 5e-3}
    values = codec.decode(codec.encode(native, **target))
    forms = (
        native.astype(np.dtype(dtype).newbyteorder(">")),
        native.astype(np.dtype(dtype).newbyteorder("<")),
        np.asfortranarray(native),
        np.ascontiguousarray(native[::-1, :, ::-1])[::-1, :, ::-1],
    )
    for form in forms:
        decoded = codec.decode(codec.encode(form, **target))
        assert decoded.dtype == form.dtype
        assert decoded.shape == native.shape
        assert decoded.flags.writeable
        np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize("bound", [0.1, 0.49, 0.5, 0.99, 1.0, 1.49, 2.0, 7.3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int32"])
def test_integers_fall_on_integers(codec: volcodec.Codec, dtype: str, bound: float) -> None:
    volume = of_dtype(dtype)
    target: dict[str, Any] = {"max_error": bound}
    blob = codec.encode(volume, **target)
    assert not faults(codec, volume, blob, target)
    if bound < 0.5:
        assert np.array_equal(codec.decode(blob), volume)
        lossless = len(codec.encode(volume, lossless=True, support="off"))
        assert len(codec.encode(volume, support="off", **target)) <= 1.01 * lossless + 32


@pytest.mark.parametrize("background", [0, 7, 255])
@pytest.mark.parametrize("error", [0.4, 1.0, 5.0, 60.0])
def test_declared_background_of_integers(
    codec: volcodec.Codec, background: int, error: float
) -> None:
    volume = np.rint(255 * blobs(SHAPE, "ground", zeros=False)).astype(np.uint8)
    volume[random_of("holes").random(SHAPE) < 0.3] = background
    blob = codec.encode(volume, max_error=error, background=background, support="exact")
    decoded = codec.decode(blob)
    assert not support_faults(volume, decoded, background)
    assert errors(volume, decoded).max() <= error
    assert volcodec.inspect(blob).background == background


@pytest.mark.parametrize("background", [0.0, -1000.0, 0.25, 1e-3])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_declared_background_of_floats(
    codec: volcodec.Codec, background: float, dtype: str
) -> None:
    volume = blobs(SHAPE, "grounds", zeros=False).astype(dtype)
    ground = float(np.dtype(dtype).type(background))
    volume[:5] = ground
    volume[6, :4] = np.nextafter(volume.dtype.type(ground), volume.dtype.type(9))
    for relative in (1e-1, 1e-3):
        blob = codec.encode(volume, rel_error=relative, background=ground, support="exact")
        decoded = codec.decode(blob)
        assert not support_faults(volume, decoded, ground)
        assert errors(volume, decoded).max() <= relative * span(volume)


def test_support_modes(codec: volcodec.Codec) -> None:
    volume = blobs((40, 40, 40), "body").astype(np.float32)
    sizes = {}
    for support in ("off", "exact", "auto"):
        blob = codec.encode(volume, rel_error=1e-3, support=support)
        sizes[support] = len(blob)
        kept = not support_faults(volume, codec.decode(blob))
        told = volcodec.inspect(blob).support
        assert kept or told == "off"
        if support != "auto":
            assert told == support
    cheap = sizes["exact"] <= 1.05 * sizes["off"]
    assert sizes["auto"] == sizes["exact" if cheap else "off"]


def test_auto_keeps_what_is_cheap_and_leaves_what_is_dear(codec: volcodec.Codec) -> None:
    z, y, x = np.ogrid[-1:1:40j, -1:1:40j, -1:1:40j]
    ball: np.ndarray = z * z + y * y + x * x < 0.6
    texture = 1 + blobs(ball.shape, "texture", zeros=False)
    cheap = np.where(ball, texture, 0).astype(np.float32)
    assert volcodec.inspect(codec.encode(cheap, rel_error=1e-3)).support == "exact"
    holes = random_of("sieve").random(ball.shape) < 0.5
    dear = np.where(holes, 0, 1e-4 * blobs(ball.shape, "faint", zeros=False)).astype(np.float32)
    dear[0, 0, 0] = 1
    blob = codec.encode(dear, rel_error=1e-2)
    assert volcodec.inspect(blob).support == "off"
    assert not faults(codec, dear, blob, {"rel_error": 1e-2})


def test_specials_disturb_no_other_voxel(codec: volcodec.Codec) -> None:
    clean = blobs((33, 35, 37), "clean", zeros=False).astype(np.float32)
    holed = clean.copy()
    at = random_of("at").random(clean.shape) < 0.02
    holed[at] = random_of("which").choice([np.nan, np.inf, -np.inf], int(at.sum()))
    for target in ({"rel_error": 1e-3}, {"psnr": 50.0}, {"lossless": True}):
        blob = codec.encode(holed, **target)
        assert not faults(codec, holed, blob, target)


def test_lossless_keeps_payloads_and_signs(codec: volcodec.Codec) -> None:
    for dtype, unsigned in (("f2", "u2"), ("f4", "u4"), ("f8", "u8")):
        top = np.iinfo(unsigned).max
        bits = random_of(dtype).integers(0, top, (9, 10, 11), unsigned, endpoint=True)
        volume = bits.view(dtype)
        assert codec.decode(codec.encode(volume, lossless=True)).tobytes() == volume.tobytes()
        smooth = blobs((9, 10, 11), dtype).astype(dtype)
        smooth[2] = -0.0
        smooth[3] = np.nan
        smooth[4] = -smooth[4]
        blob = codec.encode(smooth, lossless=True)
        assert codec.decode(blob).tobytes() == smooth.tobytes()
        assert volcodec.inspect(blob).max_error == 0


@pytest.mark.parametrize("kind", BUDGETS)
def test_budgets_are_used(codec: volcodec.Codec, kind: str) -> None:
    volume = blobs((40, 36, 44), "budget", zeros=False).astype(np.float32)
    for ratio in (4.0, 12.0, 40.0):
        target: dict[str, Any] = {kind: ratio if kind == "ratio" else 32 / ratio}
        blob = codec.encode(volume, **target)
        used = len(blob) * ratio / volume.nbytes
        assert 0.97 <= used <= 1
    target = {kind: 1.01 if kind == "ratio" else 31.0}
    generous = codec.encode(volume, **target)
    assert codec.decode(generous).tobytes() == volume.tobytes()


def test_least_error_for_the_size(codec: volcodec.Codec) -> None:
    volume = blobs((32, 32, 32), "order", zeros=False).astype(np.float32)
    found = [psnr_of(volume, codec.decode(codec.encode(volume, bits=b))) for b in (0.5, 1, 2, 4)]
    assert found == sorted(found)


def test_psnr_of_small_volumes(codec: volcodec.Codec) -> None:
    """Whatever is done to make a small file smaller, the target is met."""
    for number in range(24):
        volume = np.rint(32 * blobs((17, 9, 6), f"l{number}")).astype(np.int16)
        psnr = 37 + number / 10
        blob = codec.encode(volume, psnr=psnr, support="exact", tile=16)
        assert psnr_of(volume, codec.decode(blob)) >= psnr


def test_psnr_of_an_unreachable_height_is_lossless(codec: volcodec.Codec) -> None:
    volume = blobs(SHAPE, "height").astype(np.float32)
    assert codec.decode(codec.encode(volume, psnr=400.0)).tobytes() == volume.tobytes()


@pytest.mark.parametrize("name", ["noise", "noise_uint8", "noise_bits", "dtype_int32"])
def test_never_much_larger_than_raw(codec: volcodec.Codec, name: str) -> None:
    volume = CASES[name]()
    assert len(codec.encode(volume, lossless=True)) <= volume.nbytes + 150


def test_never_worse_than_the_classical_path(codec: volcodec.Codec) -> None:
    # A checkerboard is unlike anything a model was trained on: nearly nothing has to be coded.
    board = CASES["checkerboard"]()
    assert len(codec.encode(board, rel_error=1e-3)) < 600
    assert len(codec.encode(board, lossless=True)) < 600


@st.composite
def volumes(draw: st.DrawFn) -> np.ndarray:
    """Any dtype, any small shape, any values, sometimes strided."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):
        dtype = dtype.newbyteorder()
    ndim = draw(st.sampled_from((2, 3, 3)))
    shape = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=9))
    elements = None
    if dtype.kind == "f":
        special = st.sampled_from((np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0))
        width: Any = 8 * dtype.itemsize
        elements = st.one_of(st.floats(width=width), special, st.floats(0, 1, width=width))
    volume = draw(hnp.arrays(dtype, shape, elements=elements))
    return volume[tuple(slice(None, None, draw(st.sampled_from((1, 1, -1, 2)))) for _ in shape)]


@settings(max_examples=150)
@given(
    volumes(),
    st.one_of(
        st.fixed_dictionaries({"rel_error": st.floats(0, 1)}),
        st.fixed_dictionaries({"max_error": st.floats(0, 1e300)}),
        st.fixed_dictionaries({"psnr": st.floats(-10, 200)}),
        st.just({"lossless": True}),
    ),
    st.sampled_from(("auto", "exact", "off")),
)
def test_any_volume(
    codec: volcodec.Codec, volume: np.ndarray, target: dict[str, Any], support: str
) -> None:
    blob = codec.encode(volume, support=support, tile=5, **target)
    assert not faults(codec, volume, blob, target, support)


@pytest.mark.parametrize("name", ["mri_otsu_head", "stat_narps_z", "vtk_bolt"])
def test_real_volumes(codec: volcodec.Codec, real_volumes: Any, name: str) -> None:
    import h5py

    with h5py.File(real_volumes / f"{name}.h5") as file:
        whole = file["volume"]
        middle = tuple(slice(max(0, n // 2 - 18), n // 2 + 18) for n in whole.shape)
        volume = whole[middle]
    for target in TARGETS:
        for support in ("exact", "off"):
            blob = encode(codec, volume, support=support, **target)
            assert blob is not None
            assert not faults(codec, volume, blob, target, support)

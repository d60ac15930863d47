"""The adapters of volcodec bench: the bytes of a direct call, what comes back, what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from peer_cases import SHAPE, smooth

from volcodec.bench import peers
from volcodec.bench.peers import bounded, slices
from volcodec.bench.peers.base import Array, as_floats

REALS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f4", ">f8")
BOUNDED = ("sperr", "sz3", "zfp")
LOSSLESS = ("blosc2", "blosc2-shuffle", "pcodec", "gzip")
SLICES = ("jpeg2k", "htj2k", "jpegxl")


@pytest.fixture(scope="module")
def imagecodecs() -> Any:
    return pytest.importorskip("imagecodecs")


def usable(name: str) -> peers.Peer:
    peer = peers.named(name)
    reason = peer.missing()
    if reason:
        pytest.skip(reason)
    return peer


def there_and_back(peer: peers.Peer, volume: Array, target: str, value: float) -> tuple[int, Array]:
    """Bytes and what they decode to; refusals fail."""
    assert peer.refuses(volume) is None
    blob = peer.encode(volume, target, value, 1)
    assert type(blob) is bytes
    decoded = peer.decode(blob, volume.shape, volume.dtype, 2)
    assert decoded.shape == volume.shape
    return len(blob), decoded


def furthest(decoded: Array, volume: Array) -> float:
    return float(np.abs(decoded.astype(np.float64) - volume.astype(np.float64)).max())


def bits(volume: Array) -> bytes:
    return np.ascontiguousarray(volume).tobytes()


# ------------------------------------------------------------------ all of them


def test_registry() -> None:
    names = [peer.name for peer in peers.ALL]
    assert len(set(names)) == len(names)
    known = {peers.MAX_ERROR, peers.PSNR, peers.LOSSLESS, peers.QUALITY}
    for peer in peers.ALL:
        assert peers.named(peer.name) is peer
        assert peer.family in ("error-bounded", "lossless", "slices")
        assert peer.targets and set(peer.targets) <= known
        assert bool(peer.settings) == (peers.QUALITY in peer.targets)
    with pytest.raises(KeyError, match="there are sperr"):
        peers.named("zip")


def test_importing_the_registry_imports_no_library() -> None:
    code = (
        "import sys, volcodec.bench.peers\n"
        "loaded = {'imagecodecs', 'h5py', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for module in ("imagecodecs", "h5py"):
        monkeypatch.setitem(sys.modules, module, None)
    for peer in peers.ALL:
        reason = peer.missing()
        assert reason is not None
        if peer.name == "tthresh":
            assert reason == "no program `tthresh` on the PATH"
        else:
            module = "h5py" if peer.name == "gzip" else "imagecodecs"
            assert reason == f"the Python module {module} is not installed"
        assert peer.title()


def test_imagecodecs_without_a_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    lean = SimpleNamespace(__version__="1.2", ZFP=SimpleNamespace(available=False))
    monkeypatch.setitem(sys.modules, "imagecodecs", lean)
    assert peers.named("sperr").missing() == "imagecodecs 1.2 comes without SPERR"
    assert peers.named("zfp").missing() == "imagecodecs 1.2 comes without ZFP"
    assert peers.named("zfp").title() == "ZFP"


@pytest.mark.parametrize("name", [*BOUNDED, *LOSSLESS, *SLICES])
def test_titles_carry_a_version(name: str) -> None:
    assert any(character.isdigit() for character in usable(name).title())


@pytest.mark.parametrize("peer", peers.ALL, ids=lambda peer: peer.name)
def test_targets_that_make_no_sense(peer: peers.Peer) -> None:
    volume = smooth("u1")
    with pytest.raises(ValueError, match="has no target"):
        peer.encode(volume, "beauty", 1.0, 1)
    for target in set(peer.targets) - {peers.LOSSLESS}:
        for value in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="positive"):
                peer.encode(volume, target, value, 1)


@pytest.mark.parametrize("peer", peers.ALL, ids=lambda peer: peer.name)
def test_refuses_what_is_no_number(peer: peers.Peer) -> None:
    assert peer.refuses(smooth("u1")) is None
    for dtype in ("bool", "complex64"):
        assert peer.refuses(np.ones(SHAPE, dtype=dtype))


# ------------------------------------------------------------------ error-bounded


def test_float32_only_where_it_holds_every_value() -> None:
    for dtype in ("u1", "i2", "f2", "f4", ">f4", "i4", "f8"):
        assert as_floats(smooth(dtype).astype("f4").astype(dtype)).dtype == np.float32
    large = smooth("i4") * 2**20 + 1
    assert as_floats(large).dtype == np.float64
    assert as_floats(smooth("f8")).dtype == np.float64
    assert as_floats(np.asfortranarray(smooth(">f8"))).flags.c_contiguous
    assert as_floats(np.full(SHAPE, 1e300)).dtype == np.float64


@pytest.mark.parametrize("target", ["max_error", "psnr"])
def test_sperr_is_a_direct_call(imagecodecs: Any, target: str) -> None:
    peer, volume = usable("sperr"), smooth()
    mode, value = ("pwe", 0.1) if target == "max_error" else ("psnr", 50.0)
    expected = imagecodecs.sperr_encode(volume, value, mode, numthreads=1)
    assert peer.encode(volume, target, value, 1) == expected
    decoded = peer.decode(expected, SHAPE, volume.dtype, 1)
    assert bits(decoded) == bits(imagecodecs.sperr_decode(expected))


def test_sz3_is_a_direct_call(imagecodecs: Any) -> None:
    peer = usable("sz3")
    for dtype, given in (("f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("u4", "f8")):
        volume = smooth(dtype)
        expected = imagecodecs.sz3_encode(volume.astype(given), mode="abs", abs=0.1)
        assert peer.encode(volume, "max_error", 0.1, 1) == expected
        decoded = peer.decode(expected, SHAPE, volume.dtype, 1)
        assert bits(decoded) == bits(imagecodecs.sz3_decode(expected, SHAPE, given))


def test_zfp_is_a_direct_call(imagecodecs: Any) -> None:
    peer, volume = usable("zfp"), smooth()
    mode = imagecodecs.ZFP.MODE.FIXED_ACCURACY
    expected = imagecodecs.zfp_encode(volume, 0.1, mode=mode)
    assert peer.encode(volume, "max_error", 0.1, 1) == expected
    assert peer.encode(volume, "max_error", 0.1, 2) == expected
    decoded = peer.decode(expected, SHAPE, volume.dtype, 1)
    assert bits(decoded) == bits(imagecodecs.zfp_decode(expected))


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("dtype", REALS)
def test_bounds_are_kept(name: str, dtype: str) -> None:
    volume = smooth(dtype)
    for bound in (10.0, 1.0, 0.1):
        size, decoded = there_and_back(usable(name), volume, "max_error", bound)
        assert decoded.dtype in (np.float32, np.float64)
        # float32 rounds the result once more
        assert furthest(decoded, volume) <= bound + float(np.spacing(np.float32(200)))
        assert size < volume.nbytes or volume.itemsize == 1


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("shape", [(1, 20, 18), (20, 1, 18), (2, 9, 9), (1, 1, 40), (1, 1, 1)])
def test_bounds_are_kept_in_odd_shapes(name: str, shape: tuple[int, ...]) -> None:
    volume = smooth("f4", shape)
    _, decoded = there_and_back(usable(name), volume, "max_error", 0.5)
    assert furthest(decoded, volume) <= 0.5 + 1e-4


@pytest.mark.parametrize("name", BOUNDED)
def test_memory_layout_makes_no_difference(name: str) -> None:
    peer, volume = usable(name), smooth()
    expected = peer.encode(volume, "max_error", 0.1, 1)
    for other in (np.asfortranarray(volume), volume.astype(">f4"), volume[::-1].copy()[::-1]):
        assert peer.encode(other, "max_error", 0.1, 1) == expected


def test_one_slice_goes_in_as_an_image(imagecodecs: Any) -> None:
    assert bounded.dense_shape((1, 20, 18), 2) == (20, 18)
    assert bounded.dense_shape((1, 1, 40), 2) == (40, 1)
    assert bounded.dense_shape((1, 1, 1), 1) == (1,)
    volume = smooth("f4", (1, 20, 18))
    mode = imagecodecs.ZFP.MODE.FIXED_ACCURACY
    whole = imagecodecs.zfp_encode(volume, 0.1, mode=mode)
    assert len(usable("zfp").encode(volume, "max_error", 0.1, 1)) < len(whole) / 2


def test_zfp_keeps_its_bound_on_tiny_values() -> None:
    volume = (smooth("f8") * 1e-32).astype(np.float32)
    _, decoded = there_and_back(usable("zfp"), volume, "max_error", 1e-32)
    assert furthest(decoded, volume) <= 1e-32


def test_sperr_is_not_asked_for_what_kills_it() -> None:
    with pytest.raises(ValueError, match=r"below 2\*\*63"):
        usable("sperr").encode(smooth("f8") * 1e25, "max_error", 1e24, 1)


def test_sperr_comes_near_the_psnr_asked() -> None:
    volume = smooth()
    _, decoded = there_and_back(usable("sperr"), volume, "psnr", 60.0)
    rms = float(np.sqrt(np.mean((decoded.astype(np.float64) - volume) ** 2)))
    assert 58 < 20 * np.log10(float(np.ptp(volume)) / rms) < 66


@pytest.mark.parametrize("name", [*BOUNDED, "tthresh"])
def test_floats_have_to_be_finite_and_exact(name: str) -> None:
    peer, volume = peers.named(name), smooth()
    volume[1, 2, 3], volume[4, 5, 6] = np.nan, np.inf
    assert peer.refuses(volume) == "takes finite values only; 2 are NaN or infinite"
    far = np.arange(8, dtype="i8").reshape(2, 2, 2) - 2**60
    for volume in (far, far.astype("u8")):
        assert "float64 does not hold" in (peer.refuses(volume) or "")
    assert peer.refuses(smooth("i8")) is None


# ------------------------------------------------------------------ lossless


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("dtype", REALS)
def test_every_bit_comes_back(name: str, dtype: str) -> None:
    volume = smooth(dtype)
    if volume.dtype.kind == "f":
        volume[0, 0, :3] = np.nan, -np.inf, -0.0
        raw = volume.view(f"{volume.dtype.byteorder}u{volume.itemsize}")
        raw[0, 0, 0] |= 5  # a payload
    for layout in (volume, np.asfortranarray(volume), volume[::2, :, ::-1]):
        size, decoded = there_and_back(usable(name), layout, "lossless", 0.0)
        assert decoded.dtype == volume.dtype
        assert bits(decoded) == bits(layout)
        assert size > 0


def test_lossless_codecs_are_direct_calls(imagecodecs: Any) -> None:
    volume = smooth("i2")
    for name, shuffle in (("blosc2", "bitshuffle"), ("blosc2-shuffle", "shuffle")):
        expected = imagecodecs.blosc2_encode(volume, 5, compressor="zstd", shuffle=shuffle)
        assert usable(name).encode(volume, "lossless", 0.0, 1) == expected
    expected = imagecodecs.pcodec_encode(volume)
    assert usable("pcodec").encode(volume, "lossless", 0.0, 1) == expected


def test_gzip_is_a_whole_hdf5_file() -> None:
    h5py = pytest.importorskip("h5py")
    volume, memory = smooth("i2"), io.BytesIO()
    with h5py.File(memory, "w") as file:
        options = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        file.create_dataset("volume", data=volume, **options)
    blob = peers.named("gzip").encode(volume, "lossless", 0.0, 1)
    assert blob == memory.getvalue()
    with h5py.File(io.BytesIO(blob)) as file:
        dataset = file["volume"]
        assert dataset.compression == "gzip" and dataset.shuffle
        assert np.array_equal(dataset[()], volume)


def test_blosc2_takes_less_than_2_gib() -> None:
    huge = np.broadcast_to(np.uint8(0), (2, 2**15, 2**15))
    assert "2 GiB" in (peers.named("blosc2").refuses(huge) or "")


# ------------------------------------------------------------------ slices


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", ">i2"])
def test_slices_without_loss(name: str, dtype: str) -> None:
    for volume in (smooth(dtype), np.full(SHAPE, 7, dtype), smooth(dtype, (3, 1, 1))):
        _, decoded = there_and_back(usable(name), volume, "lossless", 0.0)
        assert decoded.dtype == volume.dtype
        assert np.array_equal(decoded, volume)


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_slices_use_the_whole_range(name: str, dtype: str) -> None:
    limits = np.iinfo(dtype)
    volume = np.full((2, 32, 32), limits.min, dtype)
    volume[:, 3:20, 5:25] = limits.max
    peer = usable(name)
    _, decoded = there_and_back(peer, volume, "lossless", 0.0)
    assert np.array_equal(decoded, volume)
    # values that a lossy codec pushes beyond the ends must not come out at the other one
    for setting in peer.settings:
        _, decoded = there_and_back(peer, volume, "quality", setting)
        assert furthest(decoded, volume) < (float(limits.max) - float(limits.min)) * 0.7


@pytest.mark.parametrize("name", SLICES)
def test_slices_get_smaller_and_worse(name: str) -> None:
    peer, volume = usable(name), smooth("i2", (3, 48, 48)) * 16
    found = [there_and_back(peer, volume, "quality", setting) for setting in peer.settings]
    sizes = [size for size, _ in found]
    errors = [float(np.mean((decoded - volume.astype(float)) ** 2)) for _, decoded in found]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    span = float(np.ptp(volume))
    # a smooth volume: even the coarsest setting keeps most of it
    assert 20 * np.log10(span / errors[0] ** 0.5) < 42
    assert 20 * np.log10(span / max(errors[-1], 1e-9) ** 0.5) > 65


@pytest.mark.parametrize("name", SLICES)
def test_threads_share_slices(name: str) -> None:
    peer, volume = usable(name), smooth("u2")
    assert peer.encode(volume, "lossless", 0.0, 1) == peer.encode(volume, "lossless", 0.0, 3)


def test_slices_are_framed_direct_calls(imagecodecs: Any) -> None:
    volume = smooth("i2", (2, 20, 24)) * 16
    lowest = int(volume.min())
    shifted = (volume - lowest).astype(np.uint16)
    assert int(shifted.max()).bit_length() == 11
    calls: dict[str, Callable[[Array], bytes]] = {
        "jpeg2k": lambda image: imagecodecs.jpeg2k_encode(
            image, 40, codecformat="j2k", bitspersample=11, reversible=False
        ),
        "htj2k": lambda image: imagecodecs.htj2k_encode(image << 4, 0.005, reversible=False),
        "jpegxl": lambda image: imagecodecs.jpegxl_encode(
            image, distance=1.0, effort=7, bitspersample=11
        ),
    }
    settings = {"jpeg2k": 40.0, "htj2k": 0.01, "jpegxl": 1.0}
    for name, call in calls.items():
        expected = lowest.to_bytes(4, "little", signed=True) + bytes([11, 1])
        for image in shifted:
            blob = bytes(call(image))
            expected += len(blob).to_bytes(4, "little") + blob
        assert usable(name).encode(volume, "quality", settings[name], 1) == expected


def test_slices_refuse() -> None:
    for name in SLICES:
        peer = peers.named(name)
        assert isinstance(peer, slices.SlicePeer)
        assert peer.refuses(smooth("f4")) == "takes integers only"
        assert peer.refuses(smooth("i4")) == "takes 8- and 16-bit integers only"

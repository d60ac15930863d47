"""Integer networks against plain sums, and the autoencoder as a base of tiles."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from model_cases import coded_by, layer, tiny_model, tiny_unet
from safetensors.numpy import load, save

import volcodec
from volcodec import models
from volcodec.autoencoder import DOORS, RATES, Autoencoder
from volcodec.errors import FormatError, ModelError
from volcodec.tiledecoder import Frame, base_integers
from volcodec.transform import network
from volcodec.transform.network import Layer
from volcodec.values import LARGEST, Mapping


def by_hand(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    """The same in int64, voxel by voxel."""
    inputs = []
    x = x.astype(np.int64)
    for a in layers:
        inputs.append(x)
        source = np.maximum(x, 0) if a.rectify else x
        size = [-(-n // s) for n, s in zip(x.shape[1:], a.stride, strict=True)]
        out = np.zeros((a.weight.shape[0], *size), np.int64)
        kernel = a.weight.shape[2:]
        for place in product(*map(range, size)):
            total = a.bias.astype(np.int64)
            for tap in product(*map(range, kernel)):
                at = [
                    p * s + t - k // 2
                    for p, s, t, k in zip(place, a.stride, tap, kernel, strict=True)
                ]
                if all(0 <= i < n for i, n in zip(at, x.shape[1:], strict=True)):
                    w = np.moveaxis(a.weight, (0, 1), (3, 4))[tap].astype(np.int64)
                    total = total + w @ np.moveaxis(source, 0, 3)[tuple(at)]
            np.moveaxis(out, 0, 3)[place] = total >> a.shift
        if a.adds >= 0:
            out += inputs[a.adds]
        x = np.clip(out, a.low, a.high)
        x = network.spread(x, a.spread)
    return x


def test_networks_are_plain_sums() -> None:
    rng = np.random.default_rng(0)
    layers = [
        layer(rng, 5, 3, (1, 1, 1)),
        layer(rng, 5, 5, (3, 3, 3), low=0, rectify=True),
        layer(rng, 5, 5, (3, 3, 3), adds=1),
        layer(rng, 4, 5, (3, 3, 3), stride=(2, 2, 2), rectify=True),
        layer(rng, 16, 4, (1, 1, 1), spread=(2, 2, 2)),
        layer(rng, 3, 2, (1, 3, 3), stride=(1, 2, 2), shift=0, low=-(1 << 23), high=1 << 23),
    ]
    assert network.check(layers, 3, 511) == 3
    for shape in ((3, 4, 5), (1, 1, 1), (2, 7, 3)):
        x = rng.integers(-511, 512, (3, *shape)).astype(np.float32)
        assert np.array_equal(network.run(layers, x), by_hand(layers, x))


def test_voxels_and_channels() -> None:
    x = np.arange(2 * 8 * 4 * 8, dtype=np.float32).reshape(2, 8, 4, 8)
    for door in ((4, 4, 4), (1, 4, 2), (1, 1, 1)):
        assert np.array_equal(network.spread(network.gather(x, door), door), x)
    assert np.array_equal(network.gather(x, (4, 4, 4))[:64, 0, 0, 0], x[0, :4, :4, :4].reshape(-1))


@pytest.mark.parametrize("what", ["sum", "channels", "kernel", "stride", "adds", "bias", "clip"])
def test_networks_that_could_be_inexact_are_refused(what: str) -> None:
    rng = np.random.default_rng(1)
    good = layer(rng, 4, 4, (3, 3, 3))
    bad = {
        "sum": Layer(good.weight * 2000, good.bias, (1, 1, 1), 6, -511, 511),
        "channels": layer(rng, 4, 5, (3, 3, 3)),
        "kernel": layer(rng, 4, 4, (2, 1, 1)),
        "stride": layer(rng, 4, 4, (3, 3, 3), stride=(3, 1, 1)),
        "adds": layer(rng, 5, 4, (1, 1, 1), adds=0),
        "bias": Layer(good.weight, good.bias[:2], (1, 1, 1), 6, -511, 511),
        "clip": layer(rng, 4, 4, (1, 1, 1), low=3, high=2),
    }[what]
    assert network.check([good], 4, 511) == 4
    with pytest.raises(ValueError):
        network.check([bad], 4, 511)


@pytest.fixture(params=DOORS, ids=["3-D", "2-D"])
def model(request: pytest.FixtureRequest) -> models.Model:
    return models.read(tiny_unet(request.param), "random")


def _coder(model: models.Model) -> Autoencoder:
    assert model.unet is not None
    return model.unet


def _volume(shape: tuple[int, int, int], dtype: str = "f4") -> np.ndarray:
    z, y, x = np.indices(shape)
    return (50 * np.maximum(np.sin(z / 5) + np.cos(y / 7 + x / 6), 0)).astype(dtype)


@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 15, 2), (16, 32, 16), (33, 31, 40)])
def test_latents_decode_to_the_base_that_the_encoder_used(
    model: models.Model, shape: tuple[int, int, int]
) -> None:
    share = _volume(shape).astype(np.float64) / 100
    for rate in (0, RATES - 1):
        stream, base = _coder(model).encode(share, rate)
        again = _coder(model).decode(stream, shape)
        assert base.shape == shape and np.array_equal(base, again)
        with pytest.raises(FormatError):
            _coder(model).decode(stream[:-2], shape)
        with pytest.raises(FormatError):
            _coder(model).decode(bytes([RATES]) + stream[1:], shape)


@pytest.mark.parametrize("dtype", ["f4", "u1", "f8", "i2"])
def test_tiles_coded_by_keep_the_promises(model: models.Model, dtype: str) -> None:
    v = _volume((37, 20, 33), dtype)
    holes = v.copy()
    if v.dtype.kind == "f":
        holes[3, 4, 5] = np.nan
    codec = volcodec.Codec(model, threads=1)
    for support in ("off", "exact"):
        with coded_by("unet"):
            blob = codec.encode(holes, rel_error=2e-2, support=support, tile=32)
        assert any("unet" in name for name in volcodec.inspect(blob).tiles_by_coding)
        again = codec.decode(blob)
        ok = np.isfinite(holes.astype(np.float64))
        assert np.array_equal(np.isnan(again.astype(np.float64)), ~ok)
        error = np.abs(again[ok].astype(np.float64) - holes[ok].astype(np.float64))
        assert error.max() <= 2e-2 * (float(v.max()) - float(v.min()))
        if support == "exact":
            assert np.array_equal(again == 0, holes == 0)
        part = volcodec.decode(blob, region=np.s_[3:9, :, 30:], model=model)
        assert np.array_equal(part, again[3:9, :, 30:], equal_nan=v.dtype.kind == "f")
        level = codec.decode(blob, level=1)
        assert level.shape == (19, 10, 17)


@pytest.mark.parametrize("pitch", [0.0, 5e-324, 1e308])
def test_a_base_in_absurd_units_is_cut_off(pitch: float) -> None:
    """What a hostile header may claim of them."""
    mapping = Mapping(np.dtype("f4"), "lattice", 0.0, pitch, 1.0, 1.0)
    frame = Frame(mapping, 1, spread=1.0)
    units = base_integers(np.array([[[-1.0, 0.5, 2.0]]]), frame)
    assert units.dtype == np.int32
    assert units[0, 0, 1] == 0
    assert abs(units).max() <= LARGEST


def test_the_smallest_way_wins() -> None:
    v = _volume((40, 40, 40)) + np.float32(1)  # no zeros, from which only one would count
    on_random = volcodec.Codec(models.read(tiny_unet(), "tiny"), threads=1)
    plain = volcodec.Codec(models.read(tiny_model(), "tiny"), threads=1)
    blob = on_random.encode(v, rel_error=1e-3, support="off")
    assert len(blob) <= len(plain.encode(v, rel_error=1e-3, support="off"))
    assert on_random.encode(v, rel_error=1e-3, support="off") == blob


@pytest.mark.parametrize("what", ["door", "weight", "freq", "back", "shift", "missing"])
def test_hostile_models_are_refused(what: str) -> None:
    data = tiny_unet()
    tensors = dict(load(data))
    meta = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    card = json.loads(meta["card"])
    if what == "door":
        card["unet"]["door"] = [2, 2, 2]
    elif what == "weight":
        tensors["unet.decoder.0.weight"] = np.full_like(tensors["unet.decoder.0.weight"], 32767)
    elif what == "freq":
        tensors["unet.freq"] = tensors["unet.freq"][:-1]
    elif what == "back":
        tensors["unet.back"] = tensors["unet.back"].astype(np.float32)
    elif what == "shift":
        card["unet"]["encoder"][0]["shift"] = "8"
    else:
        del tensors["unet.encoder.0.bias"]
    blob = save(tensors, metadata={"format": models.UNET, "card": json.dumps(card)})
    with pytest.raises(ModelError):
        models.read(blob, "hostile")

"""Models: what is refused, and where one is looked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_cases import Tensors, model_file, shipped
from volumes import blobs, random_of

import volcodec
from volcodec import models
from volcodec.container import Reader
from volcodec.entropy.contexts import EXACT
from volcodec.errors import FormatError, InputError, ModelError

Change = Callable[[Tensors, dict[str, Any], dict[str, str]], None]
B = models.BANKS[0]


def _set(key: str, value: Any) -> Change:
    def change(tensors: Tensors, card: dict[str, Any], meta: dict[str, str]) -> None:
        tensors[key] = value(tensors[key]) if callable(value) else value

    return change


def _first(value: int, dtype: str = "int32") -> Callable[[np.ndarray], np.ndarray]:
    def change(a: np.ndarray) -> np.ndarray:
        a = a.astype(dtype)
        a.reshape(-1)[0] = value
        return a

    return change


REFUSED: dict[str, Change] = {
    # 65794 * 255 is the first product of an activation that reaches 2**24.
    "w1_wide": _set(f"{B}.w1", _first(1 << 15)),
    "w1_sum": _set(f"{B}.w1", _first(65794)),
    "w2_sum": _set(f"{B}.w2", _first(-65794)),
    "w3_sum": _set(f"{B}.w3", _first(65794)),
    "b1_sum": _set(f"{B}.b1", _first(EXACT)),
    "b1_negative": _set(f"{B}.b1", _first(-EXACT)),
    "b2_sum": _set(f"{B}.b2", _first(EXACT)),
    "b3_sum": _set(f"{B}.b3", _first(-EXACT)),
    "w1_least_int64": _set(f"{B}.w1", _first(-(1 << 63), "int64")),
    "b1_least_int64": _set(f"{B}.b1", _first(-(1 << 63), "int64")),
    "b3_least_int64": _set(f"{B}.b3", _first(-(1 << 63), "int64")),
    "w2_wraps_uint64": _set(f"{B}.w2", lambda a: _first((1 << 64) - 1, "uint64")(np.abs(a))),
    "freq_wraps": _set(f"{B}.freq", lambda a: a.astype(np.int64) + (1 << 16)),
    "w1_sum_wraps": _set(f"{B}.w1", lambda a: np.full(a.shape, 1 << 61, np.int64)),
    "w1_float": _set(f"{B}.w1", lambda a: a.astype(np.float32)),
    "w1_bool": _set(f"{B}.w1", lambda a: a.astype(bool)),
    "w1_flat": _set(f"{B}.w1", lambda a: a.reshape(-1)),
    "w1_nets": _set(f"{B}.w1", lambda a: a[:-1]),
    "odd_width": lambda t, c, m: t.update({
        f"{B}.w1": t[f"{B}.w1"][:, :-1], f"{B}.b1": t[f"{B}.b1"][:, :, :-1],
        f"{B}.w2": t[f"{B}.w2"][:, :, :-1],
    }),
    "empty_width": lambda t, c, m: t.update({
        f"{B}.w1": t[f"{B}.w1"][:, :0], f"{B}.b1": t[f"{B}.b1"][:, :, :0],
        f"{B}.w2": t[f"{B}.w2"][:, :, :0],
    }),
    "freq_sum": _set(f"{B}.freq", _first(1, "uint16")),
    "freq_empty": _set(f"{B}.freq", lambda a: a[:0]),
    "freq_many": _set(f"{B}.freq", lambda a: np.repeat(a, 100, 0)),
    "freq_escape": _set(f"{B}.freq", lambda a: np.concatenate([
        a[:, :1] + a[:, -1:], a[:, 1:-1], 0 * a[:, -1:]], 1)),
    "lifting_large": _set(f"{B}.lifting", _first(1 << 14)),
    "lifting_least_int64": _set(f"{B}.lifting", _first(-(1 << 63), "int64")),
    "lifting_none": _set(f"{B}.lifting", lambda a: a[:0]),
    "gains_zero": _set("gains", _first(0)),
    "gains_large": _set("gains", _first(1 << 24)),
    "gains_shape": _set("gains", lambda a: a[:, :3]),
    "missing": lambda t, c, m: t.__delitem__(f"{B}.w2"),
    "format": lambda t, c, m: m.update(format="volcodec-pyramid-999"),
    "shifts_missing": lambda t, c, m: c.__delitem__("shifts"),
    "shifts_large": lambda t, c, m: c.update(shifts=[99, 99, 99]),
    "shifts_text": lambda t, c, m: c.update(shifts="abc"),
    "shifts_negative": lambda t, c, m: c.update(shifts=[-1, 3, 3]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_models_that_could_be_inexact_are_refused(what: str) -> None:
    tensors, card, meta = shipped()
    assert models.read(model_file(tensors, card, meta), "same").banks
    REFUSED[what](tensors, card, meta)
    with pytest.raises(ModelError, match="altered"):
        models.read(model_file(tensors, card, meta), "altered")


def test_largest_sums_are_taken() -> None:
    tensors, card, meta = shipped()
    for key in ("w1", "w2", "w3"):
        a = np.zeros_like(tensors[f"{B}.{key}"], np.int16)
        a[..., :2], a[..., 2] = 32767, 259
        tensors[f"{B}.{key}"] = a
    for key in ("b1", "b2", "b3"):
        # (2 * 32767 + 259) * 255 = 2**24 - 1: no room for a bias.
        tensors[f"{B}.{key}"] = np.zeros_like(tensors[f"{B}.{key}"])
    models.read(model_file(tensors, card, meta), "full")
    tensors[f"{B}.b3"] = np.ones_like(tensors[f"{B}.b3"])
    with pytest.raises(ModelError, match="inexact"):
        models.read(model_file(tensors, card, meta), "too full")


@pytest.mark.parametrize("card", ["", "[]", "3", "null", '{"shifts": {}}', "[" * 5000])
def test_hostile_cards(card: str) -> None:
    tensors, _, meta = shipped()
    with pytest.raises(ModelError):
        models.read(model_file(tensors, card, meta), "hostile")


def test_bytes_that_are_no_model() -> None:
    tensors, card, meta = shipped()
    data = model_file(tensors, card, meta)
    random = random_of("model")
    for end in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(ModelError):
            models.read(data[:end], "cut")
    for noise in (random.bytes(1000), b"\xff" * 64, (1 << 40).to_bytes(8, "little") + b"{}"):
        with pytest.raises(ModelError):
            models.read(noise, "noise")


def other_model(folder: Path, name: str = "other") -> Path:
    """A valid model that is not the shipped one."""
    tensors, card, meta = shipped()
    path = folder / f"{name}.safetensors"
    path.write_bytes(model_file(tensors, {**card, "trained_on": "nothing"}, meta))
    return path


def test_where_a_model_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = blobs((14, 15, 16), "models").astype(np.float32)
    path = other_model(tmp_path)
    for name in (path, str(path), tmp_path / "other"):
        blob = volcodec.Codec(name).encode(volume)
        assert volcodec.inspect(blob).model == "other"
        with pytest.raises(ModelError, match="other"):
            volcodec.decode(blob)
        with pytest.raises(ModelError, match="another one"):
            volcodec.decode(blob, model="density")
        decoded = volcodec.decode(blob, model=name)
        assert np.array_equal(volcodec.Codec(name).decode(blob), decoded)
    monkeypatch.setenv("VOLCODEC_MODELS", str(tmp_path))
    assert np.array_equal(volcodec.decode(blob), decoded)
    assert volcodec.Codec("other").encode(volume) == blob
    assert next(m.name for m in models.available()) == "other"
    path.rename(tmp_path / "renamed.safetensors")  # the identity counts, not the name
    assert np.array_equal(volcodec.decode(blob), decoded)


def test_shipped_models_go_by_their_identity(tmp_path: Path) -> None:
    """Eight bytes of it, wherever the same model is read from; embedded, sixteen and the name."""
    volume = blobs((9, 10, 11), "brief").astype(np.float32)
    model = volcodec.Codec("density").model
    blob = volcodec.encode(volume)
    header = Reader(blob).header
    assert (header.model_sha256, header.model_name) == (model.identity[:8], "")
    info = volcodec.inspect(blob)
    assert (info.model, info.model_sha256) == (model.name, model.identity[:8].hex())
    path = tmp_path / "mine.safetensors"
    path.write_bytes(model.data)
    assert volcodec.Codec(path).encode(volume) == blob
    own = Reader(volcodec.Codec("density").encode(volume, embed_model=True)).header
    assert (own.model_sha256, own.model_name) == (model.identity[:16], model.name)


def test_density_is_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLCODEC_MODELS", str(tmp_path))
    for number in (2, 10, 9):
        other_model(tmp_path, f"mine-{number}")
    assert models.load("mine").name == "mine-10"
    assert models.load("mine-9").name == "mine-9"
    with pytest.raises(ModelError, match="no model called 'min'"):
        models.load("min")


def test_embedded_model(tmp_path: Path) -> None:
    volume = blobs((14, 15, 16), "embedded").astype(np.float32)
    blob = volcodec.Codec(other_model(tmp_path)).encode(volume, embed_model=True)
    assert volcodec.inspect(blob).model_embedded
    decoded = volcodec.decode(blob)
    assert np.abs(decoded - volume).max() <= 1e-3 * np.ptp(volume)
    assert np.array_equal(volcodec.decode(blob, model="density"), decoded)


def test_available_models_tell_of_themselves() -> None:
    (info,) = (m for m in models.available() if m.name == models.load("density").name)
    data = Path(info.path).read_bytes()
    assert info.bytes == len(data) <= 2_000_000
    assert info.identity == hashlib.sha256(data).hexdigest()
    assert info.trained_on


@pytest.mark.parametrize("model", ["", "nothing", 5, None, b"density", Path("/no/such")])
def test_models_that_are_none(model: Any) -> None:
    with pytest.raises((ModelError, InputError, TypeError)):
        volcodec.Codec(model)


def test_a_file_that_names_no_model_but_needs_one(codec: volcodec.Codec) -> None:
    from dataclasses import replace

    from volcodec.container import Reader, pack

    volume = blobs((14, 15, 16), "none").astype(np.float32)
    reader = Reader(codec.encode(volume))
    header = replace(reader.header, model_sha256=b"", model_name="")
    streams = reader.streams(0, 0, header.streams)
    with pytest.raises(FormatError, match="model"):
        volcodec.decode(pack(header, list(reader.index), streams))

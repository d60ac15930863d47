"""The napari plugin: found and read by npe2, lazily where it is large, shown by napari."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_pages import python_examples
from volumes import blobs

import volcodec
from volcodec.errors import FormatError, InputError
from volcodec.plugins import napari as plugin

npe2 = pytest.importorskip("npe2", reason="this needs npe2")
SHAPE = (12, 18, 20)


@pytest.fixture(scope="module")
def folder(codec: volcodec.Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One volume as scan.vc, two of a shape as t0.vc and t1.vc, and as one series."""
    folder = tmp_path_factory.mktemp("napari")
    frames = [k * blobs(SHAPE, "napari").astype("f4") for k in (1, 2)]
    for k, frame in enumerate(frames):
        (folder / f"t{k}.vc").write_bytes(codec.encode(frame, max_error=1e-2))
    volcodec.compress(frames, folder / "series.vc", max_error=1e-2)
    frames[0][0, 0, :3] = np.nan, np.inf, -np.inf
    attrs = {"spacing": [2.0, 1.0, 0.5], "spacing_unit": "um", "day": 3}
    volcodec.compress(frames[0], folder / "scan.vc", max_error=1e-2, attrs=attrs, tile=16)
    return folder


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Any:
    """npe2 with this plugin alone."""
    found = npe2.PluginManager()
    found.register(npe2.PluginManifest.from_file(Path(plugin.__file__).with_name("napari.yaml")))
    monkeypatch.setattr(npe2.PluginManager, "instance", classmethod(lambda cls: found))
    return found


def test_manifest(manager: Any) -> None:
    manifest = manager.get_manifest("volcodec")
    manifest.validate_imports()
    readers = manager.iter_compatible_readers(["a.vc"])
    assert [found.plugin_name for found in readers] == ["volcodec"]
    assert not list(manager.iter_compatible_readers(["a.npy"]))


def test_layer(manager: Any, folder: Path) -> None:
    ((data, options, kind),) = npe2.io_utils.read([str(folder / "scan.vc")], stack=False)
    assert kind == "image" and type(data) is np.ndarray
    assert np.array_equal(data, volcodec.decode(folder / "scan.vc"), equal_nan=True)
    assert options["name"] == "scan" and options["scale"] == (2, 1, 0.5)
    assert options["metadata"]["day"] == 3 and not options["multiscale"]
    assert options["metadata"]["volcodec"]["shape"] == list(SHAPE)
    finite = data[np.isfinite(data)]
    assert options["contrast_limits"] == (finite.min(), finite.max())


def test_frames_and_files_come_before_the_axes_of_space(manager: Any, folder: Path) -> None:
    paths = [str(folder / name) for name in ("t0.vc", "t1.vc")]
    ((stacked, options, _),) = npe2.io_utils.read(paths, stack=True)
    assert stacked.shape == (2, *SHAPE) and options["scale"] == (1, 1, 1, 1)
    assert np.array_equal(stacked[1], volcodec.decode(paths[1]))
    ((series, options, _),) = npe2.io_utils.read([str(folder / "series.vc")], stack=False)
    assert np.array_equal(series, volcodec.decode(folder / "series.vc"))
    assert options["scale"] == (1, 1, 1, 1)


@pytest.mark.parametrize("with_dask", [True, False])
def test_large_volumes_have_levels(
    folder: Path, monkeypatch: pytest.MonkeyPatch, with_dask: bool
) -> None:
    monkeypatch.setattr(plugin, "WHOLE", 100)
    monkeypatch.setattr(plugin, "_COARSE", 5)
    if with_dask:
        pytest.importorskip("dask.array", reason="this needs dask")
    else:
        monkeypatch.setitem(sys.modules, "dask.array", None)
    paths = [str(folder / "t0.vc"), str(folder / "t1.vc")]
    for path in ([str(folder / "scan.vc")], paths, [str(folder / "series.vc")]):
        ((levels, options, _),) = plugin.read(path)
        assert options["multiscale"] and len(levels) == 3
        assert [level.shape[-3:] for level in levels] == [SHAPE, (6, 9, 10), (3, 5, 5)]
        assert all(isinstance(level, np.ndarray) != with_dask for level in levels)
        for number, level in enumerate(levels):
            whole = volcodec.decode(path[-1], level=number)
            found = np.asarray(level)[-1] if len(path) > 1 else np.asarray(level)
            assert np.array_equal(found, whole, equal_nan=True)


def test_refusals(folder: Path, tmp_path: Path) -> None:
    assert plugin.reader("a.npy") is None and plugin.reader(["a.vc", "b.h5"]) is None
    assert plugin.reader([]) is None and plugin.reader("A.VC") is plugin.read
    (tmp_path / "a.vc").write_bytes(b"nothing")
    with pytest.raises(FormatError, match=r"a\.vc"):
        plugin.read(str(tmp_path / "a.vc"))
    volcodec.compress(np.ones((3, 4), "u1"), tmp_path / "b.vc", lossless=True)
    with pytest.raises(InputError, match=r"b\.vc.*one by one"):
        plugin.read([str(folder / "t0.vc"), str(tmp_path / "b.vc")])
    ((flat, options, _),) = plugin.read(str(tmp_path / "b.vc"))
    assert flat.shape == (3, 4) and "contrast_limits" not in options


def test_the_page_in_napari(manager: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    components = pytest.importorskip(
        "napari.components", reason="this needs napari, which needs no window for it"
    )
    monkeypatch.chdir(folder)
    (code,) = python_examples("napari.md")
    names: dict[str, Any] = {"napari": type("napari", (), {"Viewer": components.ViewerModel})}
    exec(code, names)
    assert tuple(names["layer"].scale) == (2, 1, 0.5) and names["layer"].name == "scan"
    assert names["movie"].data.shape == names["series"].data.shape == (2, *SHAPE)
    assert len(names["viewer"].layers) == 3

    monkeypatch.setattr(plugin, "WHOLE", 100)
    monkeypatch.setattr(plugin, "_COARSE", 5)
    (layer,) = names["viewer"].open("series.vc", plugin="volcodec")
    names["viewer"].dims.set_point(0, 1)
    assert layer.multiscale and len(layer.data) == 3

"""The xarray engine: lazy by region, with coordinates and chunks, of every kind of file."""

from __future__ import annotations

import io
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_pages import python_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import blobs, of_dtype

import volcodec
from volcodec.container import Reader
from volcodec.errors import FormatError, InputError, VolcodecError
from volcodec.lazy import LazyVolume

xr = pytest.importorskip("xarray")

Tiled = tuple[np.ndarray, bytes]


@pytest.fixture
def path(tmp_path: Path, tiled: Tiled) -> Path:
    (tmp_path / "a.vc").write_bytes(tiled[1])
    return tmp_path / "a.vc"


@pytest.fixture(scope="module")
def series(codec: volcodec.Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("series") / "series.vc"
    frames = [(k * blobs((18, 13, 11), "series")).astype(">f4") for k in (1, 2, 3)]
    attrs = {"spacing": [2.0, 1.0, 0.5], "unit": "kg/m³", "nested": {"a": [None, True]}}
    volcodec.compress(frames, out, max_error=1e-3, tile=8, attrs=attrs, dataset="run/rho")
    return out


@pytest.fixture(scope="module")
def lazy(series: Path) -> LazyVolume:
    """The series, as another process has it."""
    again: LazyVolume = pickle.loads(pickle.dumps(LazyVolume(series, threads=1)))
    return again


@pytest.fixture(scope="module")
def whole(series: Path) -> np.ndarray:
    return np.asarray(volcodec.decode(series))


def test_only_the_tiles_of_a_region_are_decoded(
    path: Path, tiled: Tiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = volcodec.decode(tiled[1])
    read: list[int] = []
    streams = Reader.streams

    def note(self: Reader, tile: int, first: int, last: int) -> list[bytes]:
        read.append(tile)
        return streams(self, tile, first, last)

    monkeypatch.setattr(Reader, "streams", note)
    array = xr.open_dataset(path)["volume"]
    assert (array.dims, array.shape, array.dtype) == (("z", "y", "x"), whole.shape, whole.dtype)
    assert not read
    assert np.array_equal(
        array.isel(z=slice(33, 36), y=20, x=slice(2, 14, 3)), whole[33:36, 20, 2:14:3]
    )
    assert read == [15]


def test_a_series_with_coordinates(series: Path, whole: np.ndarray) -> None:
    with xr.open_dataset(series, engine="volcodec") as ds:
        array = ds["rho"]
        assert array.dims == ("frame", "z", "y", "x")
        assert array.dtype == np.dtype(">f4")
        assert array.attrs["unit"] == "kg/m³" and array.attrs["nested"] == {"a": [None, True]}
        assert list(ds.coords) == ["z", "y", "x"]
        assert list(ds["x"].values[:3]) == [0, 0.5, 1] and ds["z"].values[-1] == 34
        near = array.sel(x=2.0, y=slice(3, 5)).isel(frame=[2, 0])
        assert np.array_equal(near.values, whole[[2, 0], :, 3:6, 4])
        assert np.array_equal(array[::-2, -1], whole[::-2, -1])
        assert array[:0].shape == (0, 18, 13, 11)
    preview = xr.open_dataset(series, level=1)["rho"]
    assert np.array_equal(preview.values, volcodec.decode(series, level=1))
    assert list(preview["x"].values[:3]) == [0, 1, 2]
    assert list(preview.attrs["spacing"]) == [4, 2, 1]


@pytest.mark.parametrize("level", [0, 1])
def test_chunks_are_the_tiles(series: Path, level: int) -> None:
    pytest.importorskip("dask")
    array = xr.open_dataset(series, chunks={}, level=level)["rho"]
    expected = {0: ((8, 8, 2), (8, 5), (8, 3)), 1: ((4, 4, 1), (4, 3), (4, 2))}[level]
    assert array.chunks == ((1, 1, 1), *expected)
    whole = volcodec.decode(series, level=level)
    assert np.array_equal(array.compute(scheduler="threads"), whole)
    assert np.array_equal(array[1:, 3, ::2].compute(scheduler="sync"), whole[1:, 3, ::2])


def test_any_kind_of_source(path: Path, tiled: Tiled) -> None:
    fsspec = pytest.importorskip("fsspec")
    url = f"memory://{uuid.uuid4().hex}/a.vc"
    fsspec.filesystem("memory").pipe_file(url, tiled[1])
    whole = volcodec.decode(tiled[1])
    for place in (str(path), url):
        assert np.array_equal(xr.open_dataset(place)["volume"], whole)
    with path.open("rb") as file:
        for source in (file, io.BytesIO(tiled[1])):
            assert np.array_equal(xr.open_dataset(source, engine="volcodec")["volume"], whole)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_dtypes_slices_and_nan(codec: volcodec.Codec, tmp_path: Path, dtype: str) -> None:
    flat = of_dtype(dtype, (31, 17))
    if flat.dtype.kind == "f":
        flat[3:9, 4:] = np.nan
    volcodec.compress(flat, tmp_path / "flat.VC", lossless=True, attrs={"spacing": [3, 2]})
    array = xr.open_dataset(tmp_path / "flat.VC")["volume"]
    assert array.dims == ("y", "x") and array.dtype == dtype
    assert array.values.tobytes() == flat.tobytes()
    assert list(array["y"].values[:2]) == [0, 3]


@pytest.mark.parametrize("spacing", [[1, 2], "wide", [1, 2, "x"], [1, 2, 0], [[1], [2], [3]], None])
def test_no_coordinates_without_a_spacing(codec: volcodec.Codec, spacing: Any) -> None:
    volume = np.arange(27, dtype="u1").reshape(3, 3, 3)
    blob = codec.encode(volume, lossless=True, attrs={"spacing": spacing}, dataset="x")
    ds = xr.open_dataset(io.BytesIO(blob), engine="volcodec")
    assert not ds.coords
    assert np.array_equal(ds["volume"], volume)  # not called x, as an axis is
    assert not xr.open_dataset(
        io.BytesIO(blob), engine="volcodec", drop_variables="volume"
    ).variables


def test_what_cannot_be_opened(path: Path, tiled: Tiled) -> None:
    with pytest.raises(InputError, match=r"b\.vc"):
        xr.open_dataset(path.with_name("b.vc"))
    with pytest.raises(InputError, match="levels 0 to"):
        xr.open_dataset(path, level=9)
    array = xr.open_dataset(path)["volume"]
    path.write_bytes(tiled[1][:-20])
    with pytest.raises(FormatError, match=r"a\.vc.*truncated"):
        array.values  # noqa: B018 - this is where it is read
    path.write_bytes(b"something else")
    with pytest.raises(FormatError, match="not a"):
        xr.open_dataset(path)
    path.unlink()
    with pytest.raises(VolcodecError, match=r"a\.vc"):
        array[0].values  # noqa: B018


_index = st.one_of(
    st.integers(-20, 19),
    st.slices(20),
    st.builds(slice, *3 * [st.one_of(st.none(), st.integers(-25, 25).filter(bool))]),
)


@settings(max_examples=60)
@given(st.lists(_index, max_size=4), st.integers(0, 4))
def test_it_is_indexed_as_an_array(
    lazy: LazyVolume, whole: np.ndarray, key: list[Any], at: int
) -> None:
    if at < len(key) < 4:
        key.insert(at, Ellipsis)
    try:
        expected = whole[tuple(key)]
    except IndexError:
        with pytest.raises(IndexError):
            lazy[tuple(key)]
        return
    found = lazy[tuple(key)]
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask")
    monkeypatch.chdir(tmp_path)
    volume = blobs((40, 36, 130), "page").astype("f4")
    volcodec.compress(volume, "scan.vc", max_error=1e-3, dataset="density")
    names: dict[str, Any] = {"xr": xr}
    (code,) = python_examples("xarray.md")
    exec(code, names)
    assert np.abs(names["part"] - volume[:32, :, 64:128]).max() <= 1e-3
    assert names["quick"].shape == (10, 9, 33)
    assert np.abs(names["mean"] - volume.mean(0)).max() <= 1e-3

"""The Zarr format 3 codec: round trips, refusals at creation, tiles read alone, damage, shards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import DTYPES, blobs, of_dtype, third_nan

import volcodec

pytest.importorskip("zarr", "3.1")

import zarr
from zarr.codecs import Crc32cCodec, TransposeCodec
from zarr.storage import LocalStore, MemoryStore, WrapperStore
from zarr.testing.strategies import basic_indices, orthogonal_indices

from volcodec.container import Reader
from volcodec.plugins.zarr import Volcodec

WIDE = (12, 14, 400)  # a chunk of three tiles along its last axis


def create(store: Any, values: np.ndarray, chunks: tuple[int, ...], **options: Any) -> Any:
    """An array in ``store`` with those values, coded to within 1e-3 unless said otherwise."""
    serializer = options.pop("serializer", Volcodec(max_error=1e-3))
    array = zarr.create_array(
        store, shape=values.shape, chunks=chunks, dtype=values.dtype, serializer=serializer,
        compressors=None, **options,
    )  # fmt: skip
    array[...] = values
    return array


def stored(path: Path) -> dict[str, Path]:
    """The chunks in a folder by key."""
    chunks = path / "c"
    return {p.relative_to(chunks).as_posix(): p for p in chunks.rglob("*") if p.is_file()}


class Counting(WrapperStore[MemoryStore]):
    """A store in memory that counts what is read of its chunks."""

    reads = 0
    read_bytes = 0

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        found = await super().get(key, *args, **kwargs)
        if found is not None and not key.endswith(".json"):
            self.reads += 1
            self.read_bytes += len(found)
        return found


# ------------------------------------------------------------------ round trips


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((9, 11, 17), (8, 8, 8)),
        ((9, 11, 17), (9, 11, 17)),
        ((33, 50), (16, 32)),
        ((700,), (300,)),
        ((3, 5, 9, 8), (2, 3, 8, 8)),
        ((2, 2, 3, 9, 8), (1, 2, 3, 8, 8)),
        ((1, 1, 1), (1, 1, 1)),
        ((), ()),
    ],
)
def test_shapes(tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    values = blobs(shape or (1,), "shapes").astype("f4").reshape(shape)
    create(tmp_path / "a", values, chunks)
    array = zarr.open_array(tmp_path / "a", mode="r")
    assert array.chunks == chunks
    assert np.abs(array[...] - values).max() <= 1e-3
    if len(shape) > 3:
        assert np.abs(array[1, ..., 2:5, 3] - values[1, ..., 2:5, 3]).max() <= 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_dtypes(dtype: str, order: Any) -> None:
    values = of_dtype(dtype, (7, 9, 11)).astype(np.dtype(dtype).newbyteorder(order))
    store = MemoryStore()
    create(store, values, (4, 9, 8), serializer=Volcodec(lossless=True))
    again = np.asarray(zarr.open_array(store, mode="r")[:])
    assert again.dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
    assert np.array_equal(again, values)


def test_not_a_number() -> None:
    values = third_nan()[:8]
    again = create(MemoryStore(), values, (5, 9, 23), fill_value=np.nan)[:]
    finite = np.isfinite(values)
    assert np.array_equal(again[~finite], values[~finite], equal_nan=True)
    assert np.abs(again[finite] - values[finite]).max() <= 1e-3


@pytest.mark.parametrize("target", [{"psnr": 40.0}, {"bits": 6.0}, {"ratio": 3.0}, {}])
def test_targets_are_those_of_a_chunk(tmp_path: Path, target: dict[str, Any]) -> None:
    values = blobs((16, 16, 32), "targets").astype("f4") * np.linspace(1, 100, 32, dtype="f4")
    array = create(tmp_path / "a", values, (16, 16, 16), serializer=Volcodec(**target))
    for key, path in stored(tmp_path / "a").items():
        info = volcodec.inspect(path)
        part = values[..., 16 * int(key[-1]) :][..., :16]
        assert (info.target, info.target_value) == next(iter(target.items()), ("rel_error", 1e-3))
        assert info.range == float(part.max()) - float(part.min())
        if not target:
            assert np.abs(array[..., 16 * int(key[-1]) :][..., :16] - part).max() <= info.bound
            assert info.bound == 1e-3 * info.range


def test_a_size_that_can_not_be_had_fails_the_write() -> None:
    noise = np.random.default_rng(0).standard_normal((8, 8, 8)).astype("f4")
    with pytest.raises(volcodec.InputError, match="can't be had"):
        create(MemoryStore(), noise, (8, 8, 8), serializer=Volcodec(bits=0.1))


def test_fill_values(tmp_path: Path) -> None:
    values = np.full((16, 8, 8), 2.5, "f4")
    array = create(tmp_path / "a", values, (8, 8, 8), fill_value=2.5)
    assert not stored(tmp_path / "a")
    values[9, 3, 4] = 7
    array[9, 3, 4] = 7
    assert list(stored(tmp_path / "a")) == ["1/0/0"]
    assert np.abs(array[:] - values).max() <= 1e-3
    assert array[3, 3, 3] == 2.5


def test_support() -> None:
    values = blobs((16, 16, 16), "support").astype("f4")
    again = create(
        MemoryStore(), values, (8, 16, 16), serializer=Volcodec(max_error=0.05, support="exact")
    )[:]
    assert np.array_equal(again == 0, values == 0)


# ------------------------------------------------------------------ metadata


def test_metadata(tmp_path: Path) -> None:
    codec = Volcodec(max_error=np.float32(0.25), support="exact", background=3, effort=4)
    values = blobs((8, 8, 8), "metadata").astype("f4")
    create(tmp_path / "a", values, (8, 8, 8), serializer=codec)
    metadata = json.loads((tmp_path / "a" / "zarr.json").read_text())
    settings = {"max_error": 0.25, "support": "exact", "background": 3.0, "effort": 4}
    assert metadata["codecs"] == [{"name": "volcodec", "configuration": settings}]
    array = zarr.open_array(tmp_path / "a", mode="r")
    assert array.serializer == codec
    assert Volcodec.from_dict({"name": "volcodec"}) == Volcodec(rel_error=1e-3)


@pytest.mark.parametrize("dtype", ["i8", "u8", "?", "c8", "S3", [("a", "f4"), ("b", "i2")]])
@pytest.mark.parametrize("shards", [None, (8, 8, 8)])
@pytest.mark.filterwarnings("ignore:The data type")
def test_refused_dtypes(dtype: Any, shards: Any) -> None:
    with pytest.raises(volcodec.InputError, match="not supported"):
        zarr.create_array(
            MemoryStore(), shape=(8, 8, 8), chunks=(4, 4, 4), shards=shards, dtype=dtype,
            serializer=Volcodec(),
        )  # fmt: skip


def test_refused_settings() -> None:
    with pytest.raises(volcodec.InputError, match="not a finite value of uint8"):
        create(MemoryStore(), np.zeros((4, 4), "u1"), (4, 4), serializer=Volcodec(background=300))
    with pytest.raises(volcodec.InputError, match="one target"):
        zarr.create_array(
            MemoryStore(), shape=(4, 4), dtype="f4",
            serializer={"name": "volcodec", "configuration": {"max_error": 1, "bits": 2}},
        )  # fmt: skip
    values = blobs((4, 4), "model").astype("f4")
    with pytest.raises(volcodec.ModelError, match="no model called 'nonesuch'"):
        create(MemoryStore(), values, (4, 4), serializer=Volcodec(model="nonesuch"))


def test_found_by_its_entry_point(tmp_path: Path) -> None:
    values = blobs((12, 12, 12), "entry").astype("f4")
    create(tmp_path / "a", values, (8, 8, 8))
    np.save(tmp_path / "values.npy", values)
    code = (
        "import sys, numpy as np, zarr\n"
        "assert 'volcodec' not in sys.modules\n"
        "array = zarr.open_array('a', mode='r')\n"
        "assert np.abs(array[:] - np.load('values.npy')).max() <= 1e-3\n"
        "print(array.serializer)"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, check=True, stdout=subprocess.PIPE
    )
    assert found.stdout.decode().strip() == "Volcodec(max_error=0.001)"


# ------------------------------------------------------------------ parts of chunks


Wide = tuple[np.ndarray, Any, Counting, bytes]


@pytest.fixture(scope="module")
def wide() -> Wide:
    """Values that decode exactly, their array in one chunk of three tiles, store and chunk."""
    values = np.rint(200 * blobs(WIDE, "wide")).astype("u1")
    chunks: dict[str, Any] = {}
    store = Counting(MemoryStore(chunks))
    array = create(store, values, WIDE, serializer=Volcodec(lossless=True))
    return values, array, store, chunks["c/0/0/0"].to_bytes()


@pytest.mark.parametrize(
    ("selection", "tiles"),
    [(np.s_[:, :, 5:90], {0}), (np.s_[3, 4:6, 150], {1}), (np.s_[::2, ::3, 120:260:7], {0, 1})],
)
def test_only_the_tiles_of_a_part_are_read(wide: Wide, selection: Any, tiles: set[int]) -> None:
    values, array, store, chunk = wide
    index = Reader(chunk).index
    assert len(index) == 3
    before = store.reads, store.read_bytes
    assert np.array_equal(array[selection], values[selection])
    assert store.read_bytes - before[1] == 4096 + sum(index[i].size for i in tiles)
    assert store.reads - before[0] == 1 + len(tiles)


def test_most_of_a_chunk_is_read_at_once(wide: Wide) -> None:
    values, array, store, _ = wide
    before = store.reads
    assert np.array_equal(array[:, :, 20:], values[:, :, 20:])
    assert store.reads == before + 1


@settings(max_examples=25)
@given(data=st.data())
def test_any_selection(wide: Wide, data: st.DataObject) -> None:
    values, array, _, _ = wide
    basic = data.draw(basic_indices(shape=WIDE))
    assert np.array_equal(array[basic], values[basic])
    of_zarr, of_numpy = data.draw(orthogonal_indices(shape=WIDE))
    assert np.array_equal(array.oindex[of_zarr], values[of_numpy])


def test_parts_of_many_chunks_at_once(tmp_path: Path) -> None:
    """More of them than the store has threads."""
    values = np.rint(200 * blobs((18, 2, 330), "many")).astype("u1")
    array = create(LocalStore(tmp_path), values, (2, 2, 330), serializer=Volcodec(lossless=True))
    assert np.array_equal(array[:, 1:, 250:], values[:, 1:, 250:])
    array[:, :, 200:210] = 9
    values[:, :, 200:210] = 9
    assert np.array_equal(array[:, 1, 195:215], values[:, 1, 195:215])


def test_part_of_a_chunk_that_is_not_stored() -> None:
    array: Any = zarr.create_array(
        MemoryStore(), shape=WIDE, chunks=WIDE, dtype="f4", fill_value=4, serializer=Volcodec(),
        compressors=None,
    )  # fmt: skip
    assert (array[:, :, 5:90] == 4).all()
    assert (array[3] == 4).all()


@pytest.mark.parametrize(
    ("chunks", "shard"), [((6, 7, 8), (12, 14, 24)), ((4, 14, 200), (8, 14, 400))]
)
def test_shards(tmp_path: Path, chunks: tuple[int, ...], shard: tuple[int, ...]) -> None:
    values = blobs((8, 28, shard[2]), "shards").astype("f4")
    array = create(tmp_path / "a", values, chunks, shards=shard)
    assert len(stored(tmp_path / "a")) == 2
    for selection in (np.s_[:], np.s_[4, 3:20, 7], np.s_[:, :, 15:-5:2], np.s_[:, 20:, -9:]):
        assert np.abs(array[selection] - values[selection]).max() <= 1e-3


def test_between_other_codecs(tmp_path: Path) -> None:
    values = blobs((12, 10, 14), "between").astype("f4")
    array = zarr.create_array(
        tmp_path / "a", shape=values.shape, chunks=(8, 8, 8), dtype="f4",
        filters=TransposeCodec(order=(2, 0, 1)), serializer=Volcodec(max_error=1e-3),
        compressors=Crc32cCodec(),
    )  # fmt: skip
    array[:] = values
    assert np.abs(array[3:, 5] - values[3:, 5]).max() <= 1e-3


# ------------------------------------------------------------------ damage


def test_damaged_chunks(tmp_path: Path) -> None:
    values = blobs((16, 8, 400), "damage").astype("f4")
    array = create(tmp_path / "a", values, (8, 8, 400))
    path = stored(tmp_path / "a")["0/0/0"]
    whole = path.read_bytes()
    assert len(whole) > 8192
    for damaged in (whole[:-1], whole[:5000], whole[:10], b"", whole[::-1], _flipped(whole)):
        path.write_bytes(damaged)
        for selection in (np.s_[:8], np.s_[2, :, 300:]):
            with pytest.raises(volcodec.FormatError):
                array[selection]
    assert np.abs(array[8:] - values[8:]).max() <= 1e-3


def _flipped(blob: bytes) -> bytes:
    """With a bit of the last tile changed."""
    return blob[:-100] + bytes([blob[-100] ^ 4]) + blob[-99:]


@pytest.mark.parametrize("other", [np.zeros((8, 8, 12), "f4"), np.zeros((8, 8, 8), "i4")])
def test_a_chunk_of_another_array(tmp_path: Path, other: np.ndarray) -> None:
    array = create(tmp_path / "a", blobs((8, 8, 8), "one").astype("f4"), (8, 8, 8))
    stored(tmp_path / "a")["0/0/0"].write_bytes(volcodec.encode(other))
    for selection in (np.s_[:], np.s_[3, 4]):
        with pytest.raises(volcodec.FormatError, match="another array"):
            array[selection]

"""Dask: arrays of files, and files of arrays, the same bytes whoever codes the tiles."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import run
from doc_pages import python_examples
from model_cases import tiny_model
from volumes import blobs, nan_block, of_dtype

import volcodec
from volcodec import tiletask, tilework
from volcodec.errors import FormatError, InputError, ModelError
from volcodec.parallel import ordered

pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import dask.array as da  # noqa: E402 - where there is one

Tiled = tuple[np.ndarray, bytes]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two processes of one thread."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def compressed(volume: np.ndarray, path: Path, **options: Any) -> bytes:
    """What this process alone makes of a volume."""
    volcodec.compress(volume, path, force=True, threads=1, **options)
    return path.read_bytes()


def test_from_vc(tmp_path: Path, tiled: Tiled, client: Any) -> None:
    (tmp_path / "a.vc").write_bytes(tiled[1])
    whole = volcodec.decode(tiled[1])
    array = volcodec.dask.from_vc(tmp_path / "a.vc")
    assert array.dtype == whole.dtype
    assert array.chunks == ((16, 16, 7), (16, 13), (16, 16, 9))
    assert np.array_equal(client.compute(array).result(), whole)
    assert np.array_equal(array[5, ::3, -7:].compute(scheduler="threads"), whole[5, ::3, -7:])
    larger = volcodec.dask.from_vc(str(tmp_path / "a.vc"), chunks=(32, -1, 16), level=1)
    assert larger.chunks == ((20,), (15,), (16, 5))
    assert np.array_equal(larger.compute(), volcodec.decode(tiled[1], level=1))


def test_an_array_is_of_one_file(tmp_path: Path, tiled: Tiled, client: Any) -> None:
    volume, blob = tiled
    path = tmp_path / "a.vc"
    path.write_bytes(blob)
    first = volcodec.dask.from_vc(path)
    assert first.name == volcodec.dask.from_vc(path).name
    assert first.name != volcodec.dask.from_vc(path, level=1).name
    volcodec.compress(volume, path, rel_error=1e-2, tile=16, force=True)
    assert first.name != volcodec.dask.from_vc(path).name
    with pytest.raises(FormatError, match=r"a\.vc"):  # of the old file, whose place is taken
        first.compute()
    with pytest.raises(FormatError, match="no longer the file"):
        client.compute(first).result()
    path.unlink()
    with pytest.raises(InputError, match=r"a\.vc"):
        client.compute(first[:9]).result()


@pytest.mark.parametrize(
    "target",
    [
        {"max_error": 1e-2},
        {"rel_error": 1e-3, "support": "exact"},
        {"psnr": 40},
        {"ratio": 8, "effort": 7},
        {"lossless": True},
    ],
    ids=lambda target: next(iter(target)),
)
def test_the_same_bytes_for_every_target(
    tmp_path: Path, client: Any, target: dict[str, Any]
) -> None:
    volume = blobs((16, 17, 18), "cluster").astype("f4")
    expected = compressed(volume, tmp_path / "one.vc", tile=12, **target)
    array = da.from_array(volume, chunks=(9, 17, 12))
    summary = volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, tile=12, **target)
    assert (tmp_path / "many.vc").read_bytes() == expected
    assert summary.file_bytes == len(expected)
    assert summary.ratio == volume.nbytes / len(expected)


@pytest.mark.parametrize("name", ["integers", "float64 with NaN", "swapped slice"])
def test_the_same_bytes_for_every_kind_of_array(tmp_path: Path, client: Any, name: str) -> None:
    makers: dict[str, Callable[[], np.ndarray]] = {
        "integers": lambda: of_dtype("int16"),
        "float64 with NaN": nan_block,
        "swapped slice": lambda: blobs((33, 21), "flat").astype(">f4"),
    }
    volume = makers[name]()
    expected = compressed(volume, tmp_path / "one.vc", tile=12)
    array = da.from_array(volume, chunks=7)
    volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, tile=12)
    assert (tmp_path / "many.vc").read_bytes() == expected


def test_a_worker_is_killed(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilework, "_IN_MEMORY", 0)  # tile by tile, as a large volume is written
    volume = blobs((24, 32, 24), "killed").astype("f4")
    expected = compressed(volume, tmp_path / "one.vc", tile=8)
    before = set(client.run(os.getpid).values())
    victim = min(before)
    told: list[tuple[int, int, str]] = []

    def kill(*step: Any) -> None:
        told.append(step)
        if step == (11, 36, "encode"):
            os.kill(victim, signal.SIGKILL)

    array = da.from_array(volume, chunks=8)
    volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, tile=8, progress=kill)
    assert (tmp_path / "many.vc").read_bytes() == expected
    assert [done for done, _, stage in told if stage == "encode"] == list(range(37))
    client.wait_for_workers(2, timeout=60)
    after = set(client.run(os.getpid).values())
    assert victim not in after and len(after) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["one.vc", "many.vc"]


def _models_read() -> tuple[int, int]:
    """Coders made and used, in a worker."""
    info = tiletask._coder.cache_info()
    return info.misses, info.hits


def test_a_model_by_its_path_is_read_once(tmp_path: Path, client: Any) -> None:
    (tmp_path / "own.safetensors").write_bytes(tiny_model())
    volume = blobs((16, 16, 24), "own").astype("f4")
    options: dict[str, Any] = {"model": tmp_path / "own", "tile": 8}
    expected = compressed(volume, tmp_path / "one.vc", **options)
    client.run(tiletask._coder.cache_clear)
    array = da.from_array(volume, chunks=8)
    volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, **options)
    assert (tmp_path / "many.vc").read_bytes() == expected
    counts = client.run(_models_read).values()
    assert max(misses for misses, _ in counts) == 1
    assert sum(misses + hits for misses, hits in counts) >= 2 * 12  # surveyed and coded


def test_a_task_says_which_model_it_lacks(codec: volcodec.Codec) -> None:
    task = tiletask.TileTask(len, np.dtype("f4"), bytes(32), "lost", "/nowhere", True)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"'lost'.*not at hand"):
        pickle.loads(pickle.dumps(task))(np.zeros((2, 2, 2)))


def test_without_a_cluster(tmp_path: Path) -> None:
    volume = blobs((20, 20, 20), "alone").astype("f4")
    expected = compressed(volume, tmp_path / "one.vc", tile=10)
    array = da.from_array(volume, chunks=(20, 7, 20)) * 2 / 2
    volcodec.dask.to_vc(array, tmp_path / "many.vc", tile=10, threads=2)
    assert (tmp_path / "many.vc").read_bytes() == expected


def _broken(block: np.ndarray) -> np.ndarray:
    raise ZeroDivisionError("a chunk can't be computed")


def test_what_goes_wrong(tmp_path: Path, client: Any) -> None:
    out = tmp_path / "out.vc"
    good = da.zeros((8, 8, 8), chunks=4)
    broken = good.map_blocks(_broken, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    with pytest.raises(ZeroDivisionError, match="chunk"):
        volcodec.dask.to_vc(broken, out, client=client)
    refused: tuple[tuple[Any, str], ...] = (
        (np.zeros((4, 4, 4)), "dask array"),
        (good[good[:, 0, 0] > 0], "unknown size"),
        (good.astype("i8"), "int64"),
        (good[None], "4"),
    )
    for array, words in refused:
        with pytest.raises(InputError, match=words):
            volcodec.dask.to_vc(array, out, client=client)
    assert not list(tmp_path.iterdir())
    out.touch()
    with pytest.raises(InputError, match="exists"):
        volcodec.dask.to_vc(good, out, client=client)


def test_few_are_under_way_and_all_are_given_up() -> None:
    begun: list[Future[int]] = []

    def submit(item: int) -> Future[int]:
        begun.append(Future())
        if item < 7:
            begun[item].set_result(item)
        return begun[item]

    results = ordered(submit, range(100), 4)
    for expected in range(7):
        assert next(results) == expected
        assert len(begun) == expected + 4
    begun[7].set_exception(KeyError("seven"))
    with pytest.raises(KeyError):
        next(results)
    assert len(begun) == 11
    assert all(future.cancelled() for future in begun[8:])


def test_a_missing_library_is_named() -> None:
    code = "import sys; sys.modules['distributed'] = None; import volcodec; volcodec.dask.to_vc"
    result = run(code=code)
    assert result.returncode == 1
    assert "volcodec[dask]" in result.stderr


def test_examples_of_the_page(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    volume = blobs((24, 26, 50), "page").astype("f4")
    names: dict[str, Any] = {
        "volcodec": volcodec,
        "array": da.from_array(volume, chunks=(12, 26, 25)),
        "Client": lambda n_workers: client,
    }
    (code,) = python_examples("dask.md")
    with client.as_current():
        exec(code, names)
    assert np.abs(names["mean"] - volume.mean(0)).max() <= 1e-3
    assert names["quick"].shape == (6, 7, 13)

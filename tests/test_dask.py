"""Dask: arrays of files, and files of arrays, the same bytes whoever codes the tiles."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import run
from doc_pages import python_examples
from model_cases import tiny_model
from volumes import blobs, nan_block, of_dtype

import volcodec
from volcodec import encoder, tiletask
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


def test_the_name_of_an_array_is_that_of_what_it_holds(tmp_path: Path, tiled: Tiled) -> None:
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


@pytest.mark.parametrize(
    "target",
    [
        {"max_error": 1e-2},
        {"rel_error": 1e-3, "support": "exact"},
        {"psnr": 40},
        {"ratio": 8},
        {"bits": 3, "effort": 7},
        {"lossless": True},
    ],
    ids=lambda target: next(iter(target)),
)
def test_the_same_bytes_for_every_target(
    tmp_path: Path, client: Any, target: dict[str, Any]
) -> None:
    volume = blobs((20, 21, 22), "cluster").astype("f4")
    expected = compressed(volume, tmp_path / "one.vc", tile=12, **target)
    array = da.from_array(volume, chunks=(9, 21, 12))
    summary = volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, tile=12, **target)
    assert (tmp_path / "many.vc").read_bytes() == expected
    assert summary.file_bytes == len(expected)
    assert summary.ratio == volume.nbytes / len(expected)


@pytest.mark.parametrize("name", ["uint8", "int16", "float64", "nan", "slice", "swapped"])
def test_the_same_bytes_for_every_kind_of_array(tmp_path: Path, client: Any, name: str) -> None:
    volume = {
        "nan": nan_block,
        "slice": lambda: blobs((33, 21), "flat").astype("f4"),
        "swapped": lambda: of_dtype("float32").astype(">f4"),
    }.get(name, partial(of_dtype, name))()
    expected = compressed(volume, tmp_path / "one.vc", tile=12)
    array = da.from_array(volume, chunks=7)
    volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, tile=12)
    assert (tmp_path / "many.vc").read_bytes() == expected


def test_a_worker_is_killed(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_IN_MEMORY", 0)  # tile by tile, as a large volume is written
    volume = blobs((40, 40, 30), "killed").astype("f4")
    expected = compressed(volume, tmp_path / "one.vc", tile=10)
    before = set(client.run(os.getpid).values())
    victim = min(before)
    told: list[tuple[int, int, str]] = []

    def kill(*step: Any) -> None:
        told.append(step)
        if step == (11, 48, "encode"):
            os.kill(victim, signal.SIGKILL)

    array = da.from_array(volume, chunks=10)
    volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, tile=10, progress=kill)
    assert (tmp_path / "many.vc").read_bytes() == expected
    assert [done for done, _, stage in told if stage == "encode"] == list(range(49))
    client.wait_for_workers(2)
    after = set(client.run(os.getpid).values())
    assert victim not in after and len(after) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["one.vc", "many.vc"]


def _models_read() -> tuple[int, int]:
    """Coders made and used, in a worker."""
    info = tiletask._coder.cache_info()
    return info.misses, info.hits


def test_a_model_by_its_path_is_read_once(tmp_path: Path, client: Any) -> None:
    (tmp_path / "own.safetensors").write_bytes(tiny_model())
    volume = blobs((24, 24, 24), "own").astype("f4")
    options: dict[str, Any] = {"model": tmp_path / "own", "tile": 8}
    expected = compressed(volume, tmp_path / "one.vc", **options)
    client.run(tiletask._coder.cache_clear)
    array = da.from_array(volume, chunks=8)
    volcodec.dask.to_vc(array, tmp_path / "many.vc", client=client, **options)
    assert (tmp_path / "many.vc").read_bytes() == expected
    counts = client.run(_models_read).values()
    assert [misses for misses, _ in counts] == [1, 1]
    assert sum(hits for _, hits in counts) > 27


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
    for array, words in (
        (np.zeros((4, 4, 4)), "dask array"),
        (good[good[:, 0, 0] > 0], "unknown size"),
        (good.astype("i8"), "int64"),
        (good[None], "4"),
    ):
        with pytest.raises(InputError, match=words):
            volcodec.dask.to_vc(array, out, client=client)
    assert not list(tmp_path.iterdir())
    out.touch()
    with pytest.raises(InputError, match="exists"):
        volcodec.dask.to_vc(good, out, client=client)


def test_few_are_under_way_and_all_are_given_up() -> None:
    pending: dict[int, Future[int]] = {}

    def submit(item: int) -> Future[int]:
        pending[item] = Future()
        if item != 7:
            pending[item].set_result(item)
        return pending[item]

    results = ordered(submit, range(100), 4)
    for expected in range(7):
        assert next(results) == expected
        assert len(pending) == expected + 4
    pending[7].set_exception(KeyError("seven"))
    with pytest.raises(KeyError):
        next(results)
    assert len(pending) == 11
    results = ordered(submit, range(7, 20), 4)
    pending.clear()
    with pytest.raises(InputError):
        results.throw(InputError("before it began"))
    assert not pending


def test_a_missing_library_is_named() -> None:
    code = "import sys; sys.modules['distributed'] = None; import volcodec; volcodec.dask.to_vc"
    result = run(code=code)
    assert result.returncode == 1
    assert "volcodec[dask]" in result.stderr


def test_examples_of_the_page(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    volume = blobs((40, 36, 130), "page").astype("f4")
    names: dict[str, Any] = {
        "volcodec": volcodec,
        "array": da.from_array(volume, chunks=(20, 36, 65)),
        "Client": lambda n_workers: client,
    }
    (code,) = python_examples("dask.md")
    with client.as_current():
        exec(code, names)
    assert np.abs(names["mean"] - volume.mean(0)).max() <= 1e-3
    assert names["quick"].shape == (10, 9, 33)

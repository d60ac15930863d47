"""Files behind URLs: what is asked of a server, what is uploaded, and what goes wrong."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call, fails, run, works
from doc_pages import python_examples
from volumes import blobs

import volcodec
from volcodec.container import FIRST_READ, Reader
from volcodec.errors import FormatError, InputError, VolcodecError

fsspec = pytest.importorskip("fsspec")

Tiled = tuple[np.ndarray, bytes]
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Server(ThreadingHTTPServer):
    """Serves ``files`` on this machine and notes each request: its method, range and answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True  # whether it heeds the Range of a request
        self.requests: list[tuple[str, str, int]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def gets(self) -> list[tuple[int, int]]:
        """First byte and length of each answer to a GET so far; forgets them."""
        found = [
            (int(match[1]) if (match := _RANGE.fullmatch(asked)) else 0, size)
            for method, asked, size in self.requests
            if method == "GET"
        ]
        self.requests.clear()
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_GET(self) -> None:
        self.answer("GET")

    def answer(self, method: str) -> None:
        data = self.server.files.get(self.path[1:])
        if data is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        match = _RANGE.fullmatch(asked) if self.server.ranges else None
        if match:
            first, last = int(match[1]), min(int(match[2]), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        self.server.requests.append((method, asked, len(data)))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: standard error is that of the test."""


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running: Server, tiled: Tiled) -> Server:
    running.files = {"a.vc": tiled[1]}
    running.ranges = True
    running.requests.clear()
    return running


@pytest.fixture
def memory() -> str:
    """A folder of its own in the file system that lives in memory."""
    return f"memory://{uuid.uuid4().hex}"


def test_info_costs_one_small_read(server: Server, tiled: Tiled) -> None:
    assert volcodec.inspect(server.url("a.vc")) == volcodec.inspect(tiled[1])
    assert [request[0] for request in server.requests] == ["HEAD", "GET"]
    assert server.gets() == [(0, FIRST_READ)]
    told = works("info", server.url("a.vc"), "--json").stdout
    assert '"dtype": "float32"' in told
    assert server.gets() == [(0, FIRST_READ)]


def test_a_long_index_costs_a_second_read(server: Server, codec: volcodec.Codec) -> None:
    blob = codec.encode(blobs((32, 40, 40), "index").astype("f4"), max_error=1, tile=4)
    reader = Reader(blob)
    front = reader.header_size + reader.index_size
    assert front > FIRST_READ
    server.files["a.vc"] = blob
    assert volcodec.inspect(server.url("a.vc")).tiles == 800
    assert server.gets() == [(0, FIRST_READ), (FIRST_READ, front - FIRST_READ)]


@pytest.fixture(scope="module")
def fine(codec: volcodec.Codec, tiled: Tiled) -> bytes:
    """A file that keeps its scales in streams of their own."""
    return codec.encode(tiled[0], rel_error=1e-5, tile=16)


@pytest.mark.parametrize("level", [0, 1])
def test_a_region_costs_its_tiles(server: Server, fine: bytes, level: int) -> None:
    server.files["a.vc"] = blob = fine
    region = (slice(34 >> level, None), slice(0, 8 >> level), slice(10 >> level, 20 >> level))
    part = volcodec.decode(server.url("a.vc"), region=region, level=level, threads=4)
    assert np.array_equal(part, volcodec.decode(blob, region=region, level=level))
    front, *tiles = sorted(server.gets())
    assert front == (0, FIRST_READ)
    reader = Reader(blob)
    wanted = [(reader.payload_offset + reader.index.start(i), reader.index[i]) for i in (12, 13)]
    if level == 0:
        assert tiles == [(start, entry.size) for start, entry in wanted]
    else:  # the coarse scales stand first
        assert [start for start, _ in tiles] == [start for start, _ in wanted]
        assert all(size < entry.size for (_, size), (_, entry) in zip(tiles, wanted, strict=True))


def test_decompress_and_verify(server: Server, tiled: Tiled, tmp_path: Path) -> None:
    volume, blob = tiled
    works("decompress", server.url("a.vc"), tmp_path / "a.npy", "--region", "3:9,:,:")
    assert np.array_equal(np.load(tmp_path / "a.npy"), volcodec.decode(blob)[3:9])
    assert volcodec.verify(server.url("a.vc"), against=volume).kept
    with pytest.raises(InputError, match="not to a URL"):
        volcodec.decompress(blob, "memory://out.npy")


def test_an_open_file_of_fsspec(server: Server, tiled: Tiled) -> None:
    _, blob = tiled
    with fsspec.open(server.url("a.vc"), cache_type="none") as file:
        assert np.array_equal(volcodec.decode(file, region=np.s_[:16]), volcodec.decode(blob)[:16])
    assert sum(size for _, size in server.gets()) < len(blob)


def test_a_server_without_ranges(server: Server, tiled: Tiled) -> None:
    server.ranges = False
    url = server.url("a.vc")
    assert volcodec.inspect(url).shape == (39, 29, 41)  # the front is where the answer begins
    with pytest.raises(InputError, match=r"part of a file.*simplecache::http"):
        volcodec.decode(url)
    assert np.array_equal(volcodec.decode(f"simplecache::{url}"), volcodec.decode(tiled[1]))


def test_what_is_wrong_is_said_with_the_url(server: Server, tiled: Tiled, memory: str) -> None:
    _, blob = tiled
    server.files |= {"cut.vc": blob[:-100], "other": b"hello", "empty": b""}
    for name, error, words in (
        ("none.vc", InputError, "404"),
        ("other", FormatError, "not a"),
        ("empty", FormatError, "not a"),
    ):
        with pytest.raises(error, match=f"{re.escape(server.url(name))}.*{words}"):
            volcodec.inspect(server.url(name))
    with pytest.raises(FormatError, match=r"cut\.vc.*truncated"):
        volcodec.decode(server.url("cut.vc"))
    fails(call("info", server.url("none.vc")), 1, "404")
    for place, words in (
        (f"{memory}/none.vc", "does not exist"),
        ("http://127.0.0.1:1/a.vc", "onnect"),
        ("nothing://a.vc", "nothing"),
    ):
        with pytest.raises(VolcodecError, match=words):
            volcodec.inspect(place)
    fsspec.filesystem("memory").mkdir(memory)
    with pytest.raises(InputError, match="folder"):
        volcodec.inspect(memory)


def test_compress_to_a_url(codec: volcodec.Codec, memory: str, tmp_path: Path) -> None:
    volume = blobs((20, 17, 18), "upload").astype("f4")
    blob = codec.encode(volume, rel_error=1e-2)
    url = f"{memory}/a.vc"
    summary = volcodec.compress(volume, url, rel_error=1e-2)
    assert fsspec.filesystem("memory").cat_file(url) == blob
    assert summary.file_bytes == len(blob)
    with pytest.raises(InputError, match="exists"):
        volcodec.compress(volume, url, rel_error=1e-1)
    assert volcodec.inspect(url).target_value == 1e-2
    np.save(tmp_path / "a.npy", volume)
    works("compress", tmp_path / "a.npy", url, "--rel-error", "0.1", "--force")
    assert volcodec.inspect(url).target_value == 1e-1


def test_a_failed_compression_uploads_nothing(memory: str) -> None:
    class Breaks:
        shape, dtype = (8, 8, 8), np.dtype("f4")

        def read(self, box: tuple[slice, ...]) -> np.ndarray:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        volcodec.compress(Breaks(), f"{memory}/a.vc")
    assert not fsspec.filesystem("memory").exists(f"{memory}/a.vc")
    with pytest.raises(InputError, match="web server"):
        volcodec.compress(np.zeros((4, 4)), "https://example.org/a.vc")


def test_without_fsspec_the_message_names_the_extra() -> None:
    code = "import sys; sys.modules['fsspec'] = None; from volcodec.cli import main; main()"
    result = run("info", "https://example.org/a.vc", code=code)
    assert result.returncode == 1
    assert "volcodec[remote]" in result.stderr


def test_fsspec_is_not_imported_without_need() -> None:
    code = "import sys, volcodec; volcodec.inspect; assert 'fsspec' not in sys.modules"
    assert run(code=code).returncode == 0


def test_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    volume = blobs((40, 36, 130), "page").astype("f4")
    names = {"np": np, "volcodec": volcodec, "volume": volume}
    (code,) = python_examples("remote.md")
    exec(code, names)
    assert np.abs(names["part"] - volume[:32, :, 64:128]).max() <= 1e-3
    assert np.load("quick.npy").shape == (10, 9, 33)

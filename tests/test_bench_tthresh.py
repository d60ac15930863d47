"""The adapter of TTHRESH, with a program in its place that keeps everything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from peer_cases import SHAPE, smooth

from volcodec.bench import peers
from volcodec.bench.peers import tthresh

FAKE = """#!{python}
import os, pathlib, sys
arguments, options, key = sys.argv[1:], {{}}, ""
for word in arguments:
    if word.startswith("-"):
        key = word
    options.setdefault(key, []).append(word)
with open({log!r}, "a") as log:
    print(" ".join(arguments), os.environ["OMP_NUM_THREADS"], file=log)
value = {{name: words[1:] for name, words in options.items()}}
if "-i" in value:
    raw = pathlib.Path(value["-i"][0]).read_bytes()
    sizes = [int(size) for size in value["-s"]]
    head = bytes([3]) + b"".join(size.to_bytes(4, "little") for size in sizes)
    code = {{"float": 3, "double": 4}}[value["-t"][0]]
    pathlib.Path(value["-c"][0]).write_bytes(head + bytes([code]) + raw)
else:
    blob = pathlib.Path(value["-c"][0]).read_bytes()
    if len(blob) < 14:
        print("\\nError: cut short\\nRun again")
        sys.exit(1)
    pathlib.Path(value["-o"][0]).write_bytes(blob[14:])
"""


@pytest.fixture
def fake_tthresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A program `tthresh` that keeps everything; returns what it was called with so far."""
    if sys.platform == "win32":
        pytest.skip("the program is a script")
    program, log = tmp_path / "tthresh", tmp_path / "calls"
    program.write_text(FAKE.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return lambda: log.read_text().splitlines()


def test_tthresh_is_called_as_it_wants(fake_tthresh: Callable[[], list[str]]) -> None:
    peer = peers.named("tthresh")
    assert peer.missing() is None
    for dtype, kind in (("f4", "float"), ("f8", "double"), ("u2", "float")):
        volume = smooth(dtype)
        assert peer.refuses(volume) is None
        blob = peer.encode(volume, "psnr", 50.0, 3)
        # the fastest axis first; its peak is half the range: 6.02 dB less mean the same
        options = f"-i volume.raw -t {kind} -s 14 12 10 -p 43.979400 -c coded 3"
        assert fake_tthresh()[-1] == options
        decoded = peer.decode(blob, SHAPE, volume.dtype, 2)
        assert fake_tthresh()[-1] == "-c coded -o volume.raw 2"
        assert decoded.dtype == (np.float64 if kind == "double" else np.float32)
        assert np.array_equal(decoded, volume)
    peer.encode(smooth(), "psnr", 1.0, 1)
    assert "-p 0.000000" in fake_tthresh()[-1]


def test_tthresh_failing(fake_tthresh: Callable[[], list[str]]) -> None:
    with pytest.raises(RuntimeError, match=r"`tthresh` ended with status 1: Error: cut short$"):
        peers.named("tthresh").decode(b"short", SHAPE, np.dtype("f4"), 1)


def test_tthresh_refuses_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = peers.named("tthresh")
    assert "constant" in (peer.refuses(np.full(SHAPE, 3.0)) or "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=f"no program `{tthresh.PROGRAM}`"):
        peer.encode(smooth(), "psnr", 50.0, 1)

"""Speed and memory of the codecs on whole volumes, start-up apart, nothing else running.

Every codec lives in a process of its own that stays alive, so that its start-up is paid once and
its peak memory is its own; the repeats go around the codecs in turn, so that a slow minute of the
machine hits all of them. Seconds are medians.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from volcodec.bench import peers, quality
from volcodec.bench.records import rounded
from volcodec.bench.volumes import Measured
from volcodec.parallel import thread_count

Record = dict[str, Any]
RELATIVE_ERROR = 1e-3
FAST = "volcodec --fast"  # volcodec at its least effort
PSNR = 60.0  # dB, of a peer that keeps no bound
_VOLUMES, _QUICK_VOLUMES = 3, 1
_SMALLEST = 1 << 20  # voxels from which a volume says something about speed
_LARGEST = 1 << 28  # bytes up to which the processes of all codecs may hold it at once


def choose(volumes: list[Measured], records: dict[str, Record], quick: bool) -> list[Measured]:
    """The largest volumes, of different groups as far as that goes; quick: one of middling size."""
    by_size = sorted(volumes, key=lambda v: (-records[v.name]["raw_bytes"], v.name))
    by_size = [v for v in by_size if records[v.name]["raw_bytes"] <= _LARGEST]
    if quick:
        fair = [v for v in by_size if np.prod(records[v.name]["shape"]) >= _SMALLEST]
        return (fair[-_QUICK_VOLUMES:] or by_size)[:_QUICK_VOLUMES]
    chosen: list[Measured] = []
    groups: set[str] = set()
    for volume in by_size:
        if records[volume.name]["group"] not in groups:
            groups.add(records[volume.name]["group"])
            chosen.append(volume)
    return (chosen + [v for v in by_size if v not in chosen])[:_VOLUMES]


def peak_mb() -> float:
    """Peak resident memory of this process in MB, without what its parent had."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _calls(
    volume: Any, codec: str, model: str, device: str, threads: int
) -> tuple[str, Callable[[], bytes], Callable[[bytes], Any]]:
    """What is measured: the target, and how to encode and to decode."""
    bound = RELATIVE_ERROR * quality.value_range(volume)
    corner = np.ascontiguousarray(volume[tuple(slice(0, 32) for _ in volume.shape)])
    if model:
        import volcodec

        own = volcodec.Codec(model, device=device, threads=threads)
        own.decode(own.encode(corner, rel_error=RELATIVE_ERROR))
        return (
            "max_error",
            lambda: own.encode(volume, max_error=bound, threads=threads, fast=codec == FAST),
            lambda blob: own.decode(blob, threads=threads),
        )
    peer = peers.named(codec)
    target = next(t for t in ("max_error", "lossless", "psnr") if t in peer.targets)
    value = PSNR if target == "psnr" else bound
    whole, small = (v.reshape((1,) * (3 - v.ndim) + v.shape) for v in (volume, corner))
    peer.decode(peer.encode(small, target, value, threads), small.shape, small.dtype, threads)
    return (
        target,
        lambda: peer.encode(whole, target, value, threads),
        lambda blob: peer.decode(blob, whole.shape, whole.dtype, threads),
    )


def _device_resident(
    volume: Any, model: str, fast: bool
) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The same from and into a tensor on the CUDA device, warmed up."""
    import torch

    import volcodec

    own = volcodec.Codec(model, device="cuda")
    bound = RELATIVE_ERROR * quality.value_range(volume)
    tensor = torch.from_numpy(volume).cuda()
    own.decode(own.encode(tensor, max_error=bound, fast=fast), device="cuda")
    return (
        lambda: own.encode(tensor, max_error=bound, fast=fast),
        lambda blob: own.decode(blob, device="cuda"),
    )


def _seconds(call: Callable[[], Any], cuda: bool) -> tuple[float, Any]:
    """Seconds of a call and its result; by CUDA events where it is on the device."""
    if not cuda:
        began = time.perf_counter()
        result = call()
        return time.perf_counter() - began, result
    import torch

    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()  # type: ignore[no-untyped-call]
    result = call()
    last.record()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3, result  # type: ignore[no-untyped-call]


def _serve(
    pipe: Connection, volume: Measured, codec: str, model: str, device: str, threads: int,
    resident: bool,
) -> None:  # fmt: skip
    """The process of one codec: starts up, then encodes and decodes once for each request."""
    try:
        began = time.perf_counter()
        values = volume.load()
        loaded = time.perf_counter()
        target, encode, decode = _calls(values, codec, model, device, threads)
        if resident:
            encode, decode = _device_resident(values, model, codec == FAST)
        startup = time.perf_counter() - loaded
        pipe.send({"target": target, "startup_s": startup, "load_s": loaded - began})
        while pipe.recv() == "measure":
            encode_s, blob = _seconds(encode, resident)
            decode_s, _ = _seconds(lambda b=blob: decode(b), resident)  # type: ignore[misc]
            pipe.send(
                {
                    "encode_s": encode_s,
                    "decode_s": decode_s,
                    "bytes": len(blob),
                    "peak_mb": peak_mb(),
                }
            )
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        pipe.send({"failed": f"{type(error).__name__}: {error}"})


class _Server:
    """The other end of such a process."""

    def __init__(self, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, *arguments), daemon=True)
        self._process.start()
        far.close()
        self.failed: str | None = None
        self.start = self._receive()
        self.repeats: list[Record] = []

    def _receive(self) -> Record:
        try:
            answer: Record = self._pipe.recv()
        except EOFError:
            answer = {"failed": "the process died"}
        self.failed = answer.get("failed")
        return answer

    def measure(self) -> None:
        """One more encode and decode."""
        if self.failed is None:
            self._pipe.send("measure")
            answer = self._receive()
            if self.failed is None:
                self.repeats.append(answer)

    def close(self) -> None:
        """End the process."""
        if self.failed is None:
            self._pipe.send("end")
        self._process.join()


def measure(volume: Measured, codecs: dict[str, str], device: str, repeats: int) -> list[Record]:
    """Speed of ``codecs`` (name -> model, empty for a peer), with one thread and with all.

    With ``device`` cuda, volcodec is measured from host and from device memory, without threads of
    its own. A warm-up round is not counted.
    """
    raw = volume.load().nbytes
    out: list[Record] = []
    for threads in sorted({1, thread_count(None)}):
        servers = {
            (codec, resident): _Server(volume, codec, model, device, threads, resident)
            for codec, model in codecs.items()
            for resident in ((False, True) if model and device == "cuda" else (False,))
        }
        try:
            for turn in range(repeats + 1):
                for server in servers.values():
                    server.measure()
                    if turn == 0:
                        server.repeats.clear()
        finally:
            for server in servers.values():
                server.close()
        for (codec, resident), server in servers.items():
            out.append(_row(codec, resident, threads, raw, server))
    return out


def _row(codec: str, resident: bool, threads: int, raw: int, server: _Server) -> Record:
    row: Record = {
        "codec": codec,
        "threads": threads,
        "residence": "device" if resident else "host",
        "raw_mb": rounded(raw / 1e6, 6),
    }
    if server.failed is not None or not server.repeats:
        return {**row, "failed": server.failed or "not measured"}
    seconds = {
        key: statistics.median(r[key] for r in server.repeats) for key in ("encode_s", "decode_s")
    }
    target = server.start["target"]
    return {
        **row,
        "target": target,
        "asked": {"max_error": RELATIVE_ERROR, "psnr": PSNR}.get(target),
        "bytes": server.repeats[-1]["bytes"],
        "encode_mb_s": rounded(raw / 1e6 / seconds["encode_s"], 4),
        "decode_mb_s": rounded(raw / 1e6 / seconds["decode_s"], 4),
        "startup_s": rounded(server.start["startup_s"], 3),
        "peak_mb": rounded(server.repeats[-1]["peak_mb"], 4),
        "repeats": len(server.repeats),
    }

"""What more threads give, beside what the machine gives to as many processes of one thread.

Processes share nothing, so what they gain over one alone is what the machine has to give: its
cores share their memory, their caches and their clock, and perhaps themselves with other machines.
All are measured in turn, repeat after repeat, so that a slow minute hits them alike.

Part of `benchmarks/speed.py`: `--only threads`.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from volcodec.bench import quality
from volcodec.bench.records import rounded
from volcodec.bench.throughput import RELATIVE_ERROR
from volcodec.bench.volumes import Measured
from volcodec.parallel import thread_count

Record = dict[str, Any]
EFFORTS = {"volcodec": 5, "volcodec --fast": 1}
_STEPS = ("encode", "decode")


def _serve(pipe: Connection, volume: Measured, effort: int) -> None:
    """The process: encodes or decodes by as many threads as it is told, and tells the seconds."""
    import volcodec

    values = volume.load()
    bound = RELATIVE_ERROR * quality.value_range(values)
    codec = volcodec.Codec()
    blob = codec.encode(values, max_error=bound, effort=effort)
    codec.decode(blob)
    pipe.send(None)
    while (asked := pipe.recv()) is not None:
        step, threads = asked
        began = time.perf_counter()
        if step == "encode":
            codec.encode(values, max_error=bound, effort=effort, threads=threads)
        else:
            codec.decode(blob, threads=threads)
        pipe.send(time.perf_counter() - began)


def measure(volume: Measured, repeats: int) -> list[Record]:
    """For each effort and step: seconds of one thread, of all, and of as many processes at once.

    ``threads_gain``: how many times the speed of one thread all threads have; ``processes_gain``:
    the same of the processes together. Under ``median``, that of the gains turn by turn, for the
    machine is a slow one in one minute and a fast one in the next; under ``least``, by the least
    seconds of all turns.
    """
    count = thread_count(None)
    return [_row(volume, name, effort, count, repeats) for name, effort in EFFORTS.items()]


def _row(volume: Measured, name: str, effort: int, count: int, repeats: int) -> Record:
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for _ in range(count):
        near, far = context.Pipe()
        workers.append(context.Process(target=_serve, args=(far, volume, effort), daemon=True))
        workers[-1].start()
        far.close()  # so that a process that dies is heard of
        pipes.append(near)
    for pipe in pipes:
        pipe.recv()

    def seconds(step: str, threads: int, processes: int) -> float:
        for pipe in pipes[:processes]:
            pipe.send((step, threads))
        return statistics.mean([pipe.recv() for pipe in pipes[:processes]])

    ways = {"one": (1, 1), "threads": (count, 1), "processes": (1, count)}
    found: dict[tuple[str, str], list[float]] = {(s, w): [] for s in _STEPS for w in ways}
    for turn in range(repeats):
        order = list(ways) if turn % 2 else list(ways)[::-1]
        for step in _STEPS:
            for way in order:
                found[step, way].append(seconds(step, *ways[way]))
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
    row: Record = {"volume": volume.name, "codec": name, "threads": count, "repeats": repeats}
    for step in _STEPS:
        for kind, of in (("median", statistics.median), ("least", min)):
            one, threads, processes = (of(found[step, way]) for way in ways)
            gains = one / threads, count * one / processes
            if kind == "median":
                turns = list(zip(*(found[step, way] for way in ways), strict=True))
                gains = of([a / b for a, b, _ in turns]), of([count * a / c for a, _, c in turns])
            row[f"{step}_{kind}"] = {
                "one_s": rounded(one, 4),
                "threads_s": rounded(threads, 4),
                "processes_s": rounded(processes, 4),
                "threads_gain": rounded(gains[0], 3),
                "processes_gain": rounded(gains[1], 3),
            }
    return row

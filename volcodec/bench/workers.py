"""One fresh process per job, some at a time: a codec that crashes takes only its own job along."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

Job = TypeVar("Job")


class JobError(Exception):
    """A job raised or its process died; the message says which."""


def _child(sender: Connection, function: Callable[[Any], Any], job: Any) -> None:
    try:
        sender.send((True, function(job)))
    except BaseException as error:  # the parent reports it
        traceback.print_exc(file=sys.stderr)
        sender.send((False, f"{type(error).__name__}: {error}"))


class _Processes:
    """Those that run, so that they can be ended."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._running: set[SpawnProcess] = set()
        self._ended = False

    def run(self, function: Callable[[Job], Any], job: Job) -> Any:
        """What a job gives in a process of its own; JobError where it gives nothing."""
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(sender, function, job))
        with self._lock:
            if self._ended:
                raise JobError("not begun")
            process.start()
            self._running.add(process)
        sender.close()
        try:
            done, value = receiver.recv()
        except EOFError:
            process.join()
            raise JobError(f"process died with status {process.exitcode}") from None
        finally:
            process.join()
            self._running.discard(process)
        if not done:
            raise JobError(value)
        return value

    def end(self) -> None:
        """End all, and let no other begin."""
        with self._lock:
            self._ended = True
            for process in list(self._running):
                process.terminate()


def run_jobs(
    function: Callable[[Job], Any], jobs: Sequence[Job], parallel: int
) -> Iterator[tuple[Job, Any]]:
    """Yield (job, result) as jobs end; the result is a JobError where a job failed.

    `function` is a module-level function of one picklable argument. What is not done when the
    iteration ends, with whatever exception, is given up.
    """
    processes = _Processes()
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        futures = {pool.submit(processes.run, function, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except JobError as failure:
                    yield futures[future], failure
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.end()

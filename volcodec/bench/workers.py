"""One fresh process per job, some at a time: a codec that crashes takes only its own job along."""

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection
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


def _run(function: Callable[[Job], Any], job: Job) -> Any:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, function, job))
    process.start()
    sender.close()
    try:
        done, value = receiver.recv()
    except EOFError:
        process.join()
        raise JobError(f"process died with status {process.exitcode}") from None
    process.join()
    if not done:
        raise JobError(value)
    return value


def run_jobs(
    function: Callable[[Job], Any], jobs: Sequence[Job], parallel: int
) -> Iterator[tuple[Job, Any]]:
    """Yield (job, result) as jobs end; the result is a JobError where a job failed.

    `function` is a module-level function of one picklable argument.
    """
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        futures = {pool.submit(_run, function, job): job for job in jobs}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except JobError as failure:
                yield futures[future], failure

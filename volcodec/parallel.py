"""Work on tiles in parallel threads, results in order, a bounded number ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .errors import InputError

T = TypeVar("T")
R = TypeVar("R")


def thread_count(threads: int | None) -> int:
    """``threads``, or as many as there are cores to use."""
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    return threads


def ordered_map(work: Callable[[T], R], items: Iterable[T], threads: int | None) -> Iterator[R]:
    """``map(work, items)`` over a pool of threads, at most two items a thread ahead.

    The pool lives only as long as the iteration, so that a process may fork between calls. What
    ``work`` raises is raised here, and the items after it are given up.
    """
    todo = list(items)
    count = min(thread_count(threads), len(todo))
    if count <= 1:
        yield from map(work, todo)
        return
    waiting: deque[Future[R]] = deque()
    rest = iter(todo)
    pool = ThreadPoolExecutor(count, thread_name_prefix="volcodec")
    try:
        for item in rest:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

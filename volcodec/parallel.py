"""Work on tiles in parallel threads, results in order, a bounded number ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Protocol, TypeVar

import numpy as np

from .errors import InputError

T = TypeVar("T")
H = TypeVar("H")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


_LAST = 2  # items a thread that are finished when all are begun


class Pending(Protocol[R_co]):
    """Work under way: a future."""

    def result(self) -> R_co:
        """What the work gives, once it is done; what it raised is raised here."""
        ...

    def cancel(self) -> object:
        """Give the work up, unless it is done."""
        ...


def finished(value: R) -> Future[R]:
    """Work whose result is at hand."""
    future: Future[R] = Future()
    future.set_result(value)
    return future


def thread_count(threads: int | None) -> int:
    """``threads``, or as many as there are cores to use."""
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    return threads


@cache
def keep_freed_memory() -> None:
    """Let the memory of one tile serve the next.

    What is free at the end of its heap the GNU C library gives back to the system, to be mapped
    anew page by page, from twice the largest block on that was freed so far, of those up to 32 MiB.
    One that is never touched costs nothing.
    """
    np.empty(31 << 20, np.uint8)


def ordered_map(
    work: Callable[[T], R],
    items: Iterable[T],
    threads: int | None,
    weights: Sequence[float] | None = None,
) -> Iterator[R]:
    """``map(work, items)`` over a pool of threads, at most two items a thread ahead.

    Given ``weights``, what each item costs, all are begun at once, the heaviest first, so that no
    thread is left with a long one at the end; results come in the order of the items all the same.

    The pool lives only as long as the iteration, so that a process may fork between calls. What
    ``work`` raises is raised here, and the items after it are given up.
    """
    keep_freed_memory()
    todo = list(items)
    count = min(thread_count(threads), len(todo))
    if count <= 1:
        yield from map(work, todo)
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="volcodec")
    try:
        if weights is None:
            yield from ordered(lambda item: pool.submit(work, item), todo, 2 * count)
        else:
            heaviest = sorted(range(len(todo)), key=lambda i: -weights[i])
            begun = {i: pool.submit(work, todo[i]) for i in heaviest}
            for i in range(len(todo)):
                yield begun.pop(i).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def balanced_map(
    begin: Callable[[T], H],
    finish: Callable[[H], R],
    items: Iterable[T],
    threads: int | None,
    weights: Sequence[float],
) -> Iterator[R]:
    """``finish(begin(item))`` of all items, in order, over a pool of threads.

    All are begun at once, the heaviest first; the last ones are finished when all are begun, so
    that the threads, which come to the end at different times, find something small to do.
    """
    keep_freed_memory()
    todo = list(items)
    count = min(thread_count(threads), len(todo))
    if count <= 1:
        yield from (finish(begin(item)) for item in todo)
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="volcodec")
    try:
        heaviest = sorted(range(len(todo)), key=lambda i: -weights[i])
        first, last = heaviest[: -_LAST * count], heaviest[-_LAST * count :]
        done = {i: pool.submit(lambda i: finish(begin(todo[i])), i) for i in first}
        halves = {i: pool.submit(begin, todo[i]) for i in last}
        done.update({i: pool.submit(lambda i: finish(halves.pop(i).result()), i) for i in last})
        for i in range(len(todo)):
            yield done.pop(i).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ordered(submit: Callable[[T], Pending[R]], items: Iterable[T], ahead: int) -> Iterator[R]:
    """The results of ``submit(item)``, in order, with at most ``ahead`` items under way."""
    waiting: deque[Pending[R]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for pending in waiting:
            pending.cancel()

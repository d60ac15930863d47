"""Work on tiles in parallel threads, results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, reduce
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from .errors import InputError

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


_LAST = 2  # items a thread that go through each stage together


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
    pool: ThreadPoolExecutor | None = None,
) -> Generator[R, None, None]:
    """``map(work, items)`` over a pool of threads, at most two items a thread ahead.

    Without a ``pool`` one is made, which lives only as long as the iteration, so that a process may
    fork between calls. What ``work`` raises is raised here, and the items after it are given up.
    """
    keep_freed_memory()
    todo = list(items)
    count = min(thread_count(threads), len(todo))
    if count <= 1:
        yield from map(work, todo)
        return
    with _threads(count, pool) as workers:
        yield from ordered(lambda item: workers.submit(work, item), todo, 2 * count)


def staged_map(
    stages: Sequence[Callable[[Any], Any]],
    items: Sequence[Any],
    threads: int | None,
    weights: Sequence[float],
    ready: Mapping[int, Pending[Any]] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Generator[Any, None, None]:
    """What the last of the ``stages`` makes of each item, in order, over a pool of threads.

    The first stage takes the item, each other what the one before gives. All items but those
    ``ready``, by their places, are begun at once, in the order of their ``weights``, the heaviest
    first. The last of them go through a stage when all are through the one before, or being taken
    through, so that threads, which come to the end at different times, find something small to do.
    For the rest see :func:`ordered_map`.
    """
    keep_freed_memory()
    given = ready or {}
    todo = sorted((i for i in range(len(items)) if i not in given), key=lambda i: -weights[i])
    count = min(thread_count(threads), len(items))
    if count <= 1:
        for i, item in enumerate(items):
            yield given[i].result() if i in given else reduce(lambda v, f: f(v), stages, item)
        return
    late = set(todo[-_LAST * count :])
    with _threads(count, pool) as workers:
        begun = {
            i: workers.submit(_go_on, stages, items[i], workers if i in late else None)
            for i in todo
        }
        try:
            for i in range(len(items)):
                found = given[i].result() if i in given else begun.pop(i).result()
                while isinstance(found, _Later):
                    found = found.rest.result()
                yield found
        finally:
            for future in begun.values():
                future.cancel()


class _Later(NamedTuple):
    """What an item that is not through all stages yet will be."""

    rest: Future[Any]


def _go_on(
    stages: Sequence[Callable[[Any], Any]], value: Any, workers: ThreadPoolExecutor | None
) -> Any:
    """What stages make of ``value``; given ``workers``, the first, which then take the others."""
    for done, stage in enumerate(stages, 1):
        value = stage(value)
        if workers is not None and done < len(stages):
            try:
                return _Later(workers.submit(_go_on, stages[done:], value, workers))
            except RuntimeError:  # there are none any more: the interpreter ends
                workers = None
    return value


@contextmanager
def _threads(count: int, pool: ThreadPoolExecutor | None) -> Iterator[ThreadPoolExecutor]:
    """``pool``, or so many threads for a while."""
    if pool is not None:
        yield pool
        return
    own = ThreadPoolExecutor(count, thread_name_prefix="volcodec")
    try:
        yield own
    finally:
        own.shutdown(wait=True, cancel_futures=True)


def ordered(
    submit: Callable[[T], Pending[R]], items: Iterable[T], ahead: int
) -> Generator[R, None, None]:
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
        for pending in reversed(waiting):  # what waits for another is not begun without it
            pending.cancel()

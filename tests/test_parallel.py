"""Work over threads: order, balance, failures."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import pytest

from volcodec.parallel import finished, ordered_map, staged_map

WEIGHTS = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0]
HEAVIEST = [5, 7, 4, 8, 2, 0, 9, 6, 1, 3]


@pytest.fixture(params=[None, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor | None]:
    """None, or threads that are there already."""
    if request.param is None:
        yield None
        return
    with ThreadPoolExecutor(request.param) as threads:
        yield threads


@pytest.mark.parametrize("threads", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_results_come_in_order(count: int, threads: int, pool: ThreadPoolExecutor | None) -> None:
    items = list(range(count))
    stages = (lambda i: i * i, lambda n: n + 1, lambda n: -n)
    wanted = [-i * i - 1 for i in items]
    assert list(staged_map(stages, items, threads, WEIGHTS[:count], pool=pool)) == wanted
    found = ordered_map(lambda i: -i * i - 1, items, threads, pool)
    assert list(found) == wanted


@pytest.mark.parametrize("threads", [1, 3])
def test_items_that_are_ready_are_not_begun(threads: int) -> None:
    begun: list[int] = []

    def begin(i: int) -> int:
        begun.append(i)
        return -i

    ready: dict[int, Future[int]] = {0: Future(), 7: finished(70)}
    found = staged_map((begin,), range(10), threads, WEIGHTS, ready)
    if threads > 1:  # the others don't wait for the first

        def when_all_are_begun() -> None:
            while len(begun) < 8:
                time.sleep(0.001)
            ready[0].set_result(80)

        threading.Thread(target=when_all_are_begun, daemon=True).start()
    else:
        ready[0].set_result(80)
    assert next(found) == 80
    assert list(found) == [-1, -2, -3, -4, -5, -6, 70, -8, -9]
    assert sorted(begun) == [1, 2, 3, 4, 5, 6, 8, 9]


def test_the_heaviest_begin_first_and_the_last_go_through_stages_together() -> None:
    said: list[str] = []
    lock = threading.Lock()

    def say(what: str, i: int) -> int:
        with lock:
            said.append(f"{what}{i}")
        return i

    # one thread works while the other waits in the heaviest item, so that all is in order
    waits = threading.Event()

    def begin(i: int) -> int:
        if i == HEAVIEST[0]:
            assert waits.wait(60)
        return say("a", i)

    def finish(i: int) -> int:
        say("c", i)
        if i == HEAVIEST[-1]:
            waits.set()
        return i

    list(staged_map((begin, lambda i: say("b", i), finish), range(10), 2, WEIGHTS))
    early, late = HEAVIEST[1:-4], HEAVIEST[-4:]
    wanted = [f"{what}{i}" for i in early for what in "abc"]
    wanted += [f"{what}{i}" for what in "abc" for i in late]
    assert said == wanted + [f"{what}{HEAVIEST[0]}" for what in "abc"]


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("failing", [5, 3])
def test_what_a_stage_raises_is_raised(stage: int, failing: int) -> None:
    def fail(at: int, i: int) -> int:
        if at == stage and i == failing:
            raise ValueError("no")
        return i

    stages = [partial(fail, at) for at in range(3)]
    with pytest.raises(ValueError, match="no"):
        list(staged_map(stages, range(10), 2, WEIGHTS))
    assert not [t for t in threading.enumerate() if t.name.startswith("volcodec")]


def test_what_waits_is_given_up_when_an_item_fails() -> None:
    begun: list[int] = []

    def begin(i: int) -> int:
        begun.append(i)
        if i == 0:
            raise ValueError("no")
        time.sleep(0.01)
        return i

    with ThreadPoolExecutor(2) as threads:
        with pytest.raises(ValueError, match="no"):
            list(staged_map((begin,), range(200), 2, range(200, 0, -1), pool=threads))
        assert threads.submit(len, begun).result() < 50


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_kept_when_the_work_is_done(fails: bool) -> None:
    class Volume:
        """What work refers to."""

    def seen_by_work() -> tuple[Callable[[int], int], weakref.ref[Volume]]:
        volume = Volume()

        def work(i: int) -> int:
            if fails and i == 3:
                raise ValueError("no")
            return i + 0 * id(volume)

        return work, weakref.ref(volume)

    work, seen = seen_by_work()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no") if fails else nullcontext():
            list(staged_map((work, work), range(10), 2, WEIGHTS))
        del work
        assert seen() is None
    finally:
        gc.enable()

"""Work over threads: order, balance, failures."""

from __future__ import annotations

import threading

import pytest

from volcodec.parallel import balanced_map

WEIGHTS = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0]


@pytest.mark.parametrize("threads", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_results_come_in_order(count: int, threads: int) -> None:
    items = list(range(count))
    found = balanced_map(lambda i: i * i, lambda n: -n, items, threads, WEIGHTS[:count])
    assert list(found) == [-i * i for i in items]


def test_the_heaviest_begin_first_and_the_last_are_finished_late() -> None:
    said: list[str] = []
    lock = threading.Lock()

    def say(what: str, i: int) -> int:
        with lock:
            said.append(f"{what}{i}")
        return i

    # one thread works while the other waits in the heaviest item, so that all is in order
    waits = threading.Event()

    def begin(i: int) -> int:
        if i == 5:
            assert waits.wait(60)
        return say("b", i)

    def finish(i: int) -> int:
        say("f", i)
        if i == 9:
            waits.set()
        return i

    list(balanced_map(begin, finish, range(10), 2, WEIGHTS))
    heaviest = [7, 4, 8, 2, 0]
    assert said[: 2 * len(heaviest)] == [f"{what}{i}" for i in heaviest for what in "bf"]
    assert said[10:15] == ["b9", "b6", "b1", "b3", "f9"]
    assert sorted(said[15:]) == ["b5", "f1", "f3", "f5", "f6"]


@pytest.mark.parametrize("half", ["begin", "finish"])
@pytest.mark.parametrize("failing", [5, 3])
def test_what_a_half_raises_is_raised(half: str, failing: int) -> None:
    def fail(at: str, i: int) -> int:
        if at == half and i == failing:
            raise ValueError("no")
        return i

    with pytest.raises(ValueError, match="no"):
        list(
            balanced_map(
                lambda i: fail("begin", i), lambda i: fail("finish", i), range(10), 2, WEIGHTS
            )
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("volcodec")]

"""core/slices.py: much work is done in slices, and in the order in which it came."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wsdaemon.core.slices import SLICE_SECONDS, Slices


class Bench:
    """The turns of a loop, by hand. Each item is a number of seconds that it takes, or an error."""

    def __init__(self, at_once: int = 1) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []
        self.done: list[float | Exception] = []
        self.after: Callable[[], None] = lambda: None
        self.slices: Slices[float | Exception] = Slices(self.calls.append, self._work, at_once, now=lambda: self.now)

    def _work(self, item: float | Exception) -> None:
        self.done.append(item)
        if isinstance(item, Exception):
            raise item
        self.now += item
        self.after()

    def turn(self) -> None:
        [call] = self.calls
        self.calls.clear()
        call()


def test_all_that_is_quick_is_done_in_one_turn() -> None:
    bench = Bench()
    for _ in range(100):
        bench.slices.add(0.0)
    assert (bench.done, len(bench.slices)) == ([], 100)
    bench.turn()
    assert (bench.done, len(bench.slices), bench.calls) == ([0.0] * 100, 0, [])
    bench.slices.add(0.0)
    bench.turn()
    assert len(bench.done) == 101


@pytest.mark.parametrize(("at_once", "turns"), [(1, [5, 10]), (4, [8, 10]), (100, [10])])
def test_the_loop_goes_on_after_a_slice(at_once: int, turns: list[int]) -> None:
    bench = Bench(at_once)
    for _ in range(10):
        bench.slices.add(SLICE_SECONDS / 4)
    seen = []
    while bench.calls:
        bench.turn()
        seen.append(len(bench.done))
    assert seen == turns


def test_what_is_added_meanwhile_is_for_a_later_turn() -> None:
    bench = Bench()

    def again() -> None:
        if len(bench.done) < 5:
            bench.slices.add(0.0)

    bench.after = again
    bench.slices.add(0.0)
    for count in range(1, 6):
        bench.turn()
        assert len(bench.done) == count
    assert bench.calls == []


def test_one_that_fails_does_not_leave_the_others_waiting_for_ever() -> None:
    bench = Bench()
    error = ValueError("broken")
    bench.slices.add(error)
    bench.slices.add(0.0)
    with pytest.raises(ValueError, match="broken"):
        bench.turn()
    bench.turn()
    assert bench.done == [error, 0.0]
    bench.slices.add(1.0)
    bench.turn()
    assert bench.done == [error, 0.0, 1.0]
